//! Moments of rows, columns and slices.
#![forbid(unsafe_code)]

use evenkeel::{MomentArgs, Moments, ValidRows};

use super::buffers::*;
use super::calls::*;
use super::operation;
use crate::registry::Kind::{F32, Usize};
use crate::registry::{Kind, Operation, Takes};

pub const ROWS: &[Operation] = &[
    operation(
        "RowMoments::compute",
        Takes::Nothing,
        &[
            read("x", F32, elements),
            read("lengths", Usize, rows_of).option("lengths"),
            write("moments", Kind::Moments, rows_of),
        ],
        |s, _, bag| {
            let (x, moments) = (bag.f32("x"), bag.moments_mut("moments"));
            row_moments(s).compute(x, s.rows, moments, moment_args(bag))
        },
    ),
    operation(
        "ColumnMoments::compute",
        Takes::Nothing,
        &[
            read("x", F32, elements),
            VALID_BITS,
            VALID_BYTES,
            VALID_LENGTHS,
            write("moments", Kind::Moments, cols_of),
            scratch(column_scratch),
        ],
        |s, _, bag| {
            let (x, moments) = (bag.f32("x"), bag.moments_mut("moments"));
            column_moments(s).compute(x, s.rows, moments, moment_args(bag))
        },
    )
    .excludes(ONE_VALID),
    operation(
        "ColumnMoments::compute, channels first",
        Takes::Nothing,
        &[
            read("x", F32, elements),
            read("lengths", Usize, rows_of).option("valid"),
            write("moments", Kind::Moments, one),
            scratch(plane_scratch),
        ],
        |s, _, bag| {
            let (x, moments) = (bag.f32("x"), bag.moments_mut("moments"));
            let mut args = MomentArgs::new();
            if let Some(lengths) = bag.maybe_usize("lengths") {
                args = args.valid(ValidRows::Lengths { lengths, steps: s.rows.cols() });
            }
            if let Some(scratch) = bag.maybe_f64_mut("scratch") {
                args = args.scratch(scratch);
            }
            column_moments(s).compute(x, planes(s.rows), moments, args)
        },
    ),
    operation(
        "ColumnMoments::merge",
        Takes::Nothing,
        &[
            read("parts", Kind::Moments, three_places).from("seen"),
            write("moments", Kind::Moments, cols_of),
        ],
        |s, _, bag| column_moments(s).merge(bag.moments("parts"), bag.moments_mut("moments")),
    ),
    operation(
        "Moments::extend_from_slice",
        Takes::Nothing,
        &[read("x", F32, elements), write("moments", Kind::Moments, single)],
        |_, _, bag| {
            let mut moments = Moments::new();
            moments.extend_from_slice(bag.f32("x"));
            bag.moments_mut("moments")[0] = moments;
            Ok(())
        },
    ),
];
