//! Scalers and Normalizer.
#![forbid(unsafe_code)]

use evenkeel::preprocess::{MinMaxScaler, Norm, StandardScaler};
use evenkeel::{Error, Moments};

use super::buffers::*;
use super::calls::*;
use super::operation;
use crate::registry::Kind::{F32, F64};
use crate::registry::{Bag, Buffer, Kind, Operation, Setting, Takes};

/// A scaler that has seen statistics, whatever x is.
fn standard_scaler(s: &Setting, bag: &mut Bag<'_>) -> Result<StandardScaler, Error> {
    let (mean, m2) = (bag.f64("col_mean"), bag.f64("col_rstd"));
    let of = |(&mean, &m2): (&f64, &f64)| Moments { count: 9, mean, mean_low: 0.0, m2: m2.abs() };
    let seen: Vec<Moments> = mean.iter().zip(m2).map(of).collect();
    Ok(configured!(s, StandardScaler::from_moments(&seen)?))
}
fn min_max_scaler(s: &Setting, bag: &mut Bag<'_>) -> Result<MinMaxScaler, Error> {
    let (min, spread) = (bag.f32("running_mean"), bag.f32("running_var"));
    let max: Vec<f32> = min.iter().zip(spread).map(|(min, spread)| min + spread).collect();
    Ok(configured!(s, MinMaxScaler::from_ranges(min, &max)?))
}
/// What a scaler has seen is a part of its state: always there, and of the right length.
const SEEN: [Buffer; 2] = [read("col_mean", F64, cols_of), read("col_rstd", F64, cols_of)];
const RANGES: [Buffer; 2] = [read("running_mean", F32, cols_of), read("running_var", F32, cols_of)];

pub const ROWS: &[Operation] = &[
    operation("Normalizer::forward, L1", Takes::Rows, &[], |s, x, _| {
        done(normalizer(s, Norm::L1).forward(io(x), s.rows))
    }),
    operation("Normalizer::forward, L2", Takes::Rows, &[], |s, x, _| {
        done(normalizer(s, Norm::L2).forward(io(x), s.rows))
    }),
    operation("Normalizer::forward, largest", Takes::Rows, &[], |s, x, _| {
        done(normalizer(s, Norm::Max).forward(io(x), s.rows))
    }),
    operation(
        "StandardScaler::fit",
        Takes::Nothing,
        &[read("x", F32, elements), write("moments", Kind::Moments, cols_of)],
        |s, _, bag| {
            let mut scaler = configured!(s, StandardScaler::new(s.rows.cols())?);
            scaler.fit(bag.f32("x"), s.rows)?;
            bag.moments_mut("moments").copy_from_slice(scaler.moments());
            Ok(())
        },
    ),
    operation(
        "StandardScaler::partial_fit",
        Takes::Nothing,
        &[SEEN[0], SEEN[1], read("x", F32, elements), write("moments", Kind::Moments, cols_of)],
        |s, _, bag| {
            let mut scaler = standard_scaler(s, bag)?;
            scaler.partial_fit(bag.f32("x"), s.rows)?;
            bag.moments_mut("moments").copy_from_slice(scaler.moments());
            Ok(())
        },
    ),
    operation("StandardScaler::transform", Takes::Rows, &SEEN, |s, x, bag| {
        done(standard_scaler(s, bag)?.transform(io(x), s.rows))
    }),
    operation("StandardScaler::inverse_transform", Takes::Rows, &SEEN, |s, x, bag| {
        done(standard_scaler(s, bag)?.inverse_transform(io(x), s.rows))
    }),
    operation(
        "MinMaxScaler::fit",
        Takes::Nothing,
        &[
            read("x", F32, elements),
            write("data_min", F32, cols_of),
            write("data_max", F32, cols_of),
        ],
        |s, _, bag| {
            let mut scaler = configured!(s, MinMaxScaler::new(s.rows.cols())?);
            scaler.fit(bag.f32("x"), s.rows)?;
            bag.f32_mut("data_min").copy_from_slice(scaler.data_min());
            bag.f32_mut("data_max").copy_from_slice(scaler.data_max());
            Ok(())
        },
    ),
    operation(
        "MinMaxScaler::partial_fit",
        Takes::Nothing,
        &[
            RANGES[0],
            RANGES[1],
            read("x", F32, elements),
            write("data_min", F32, cols_of),
            write("data_max", F32, cols_of),
        ],
        |s, _, bag| {
            let mut scaler = min_max_scaler(s, bag)?;
            scaler.partial_fit(bag.f32("x"), s.rows)?;
            bag.f32_mut("data_min").copy_from_slice(scaler.data_min());
            bag.f32_mut("data_max").copy_from_slice(scaler.data_max());
            Ok(())
        },
    ),
    operation("MinMaxScaler::transform", Takes::Rows, &RANGES, |s, x, bag| {
        done(min_max_scaler(s, bag)?.transform(io(x), s.rows))
    }),
    operation("MinMaxScaler::transform, clipped", Takes::Rows, &RANGES, |s, x, bag| {
        done(min_max_scaler(s, bag)?.with_clip(true).transform(io(x), s.rows))
    }),
    operation("MinMaxScaler::inverse_transform", Takes::Rows, &RANGES, |s, x, bag| {
        done(min_max_scaler(s, bag)?.inverse_transform(io(x), s.rows))
    }),
];
