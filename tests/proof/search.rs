//! A search for the data that rounding treats worst: hill climbing on the error of a variance, and of an output.
//!
//! `docs/accuracy.md` derives the bound that holds for all data. The search says how much of it data reach: `.ci/full` runs it for
//! minutes. In its rows every value fills a vector, so that each lane adds the same numbers and no error averages out.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use evenkeel::{
    Backend, Channels, ColumnMoments, InOut, InstanceNorm, LayerNorm, MomentArgs, Moments,
    NormArgs, RowMoments, Rows, reference,
};

use crate::common::*;

/// The relative error of a variance that is promised.
const PROMISED: f64 = 2.2e-6;

/// Each value so often that it fills a vector.
fn row_of(values: &[f32]) -> Vec<f32> {
    values.iter().flat_map(|value| [*value; LANES]).collect()
}

fn shape(rows: usize, cols: usize) -> Rows {
    Rows::new(rows, cols).expect("a small shape")
}

/// The relative error of a variance.
fn error(got: &Moments, values: &[f32]) -> f64 {
    let (_, exact) = reference::mean_variance(values);
    (got.population_variance().expect("not empty") - exact).abs() / exact
}

fn of_rows(backend: Backend, values: &[f32]) -> f64 {
    let (x, mut moments) = (row_of(values), [Moments::new()]);
    let operation = RowMoments::new().with_backend(backend);
    operation.compute(&x, shape(1, x.len()), &mut moments, MomentArgs::new()).unwrap();
    error(&moments[0], values)
}

fn of_columns(backend: Backend, values: &[f32]) -> f64 {
    let (x, mut moments) = (row_of(values), [Moments::new(); LANES]);
    let operation = ColumnMoments::new().with_backend(backend);
    operation.compute(&x, shape(values.len(), LANES), &mut moments, MomentArgs::new()).unwrap();
    error(&moments[0], values)
}

/// The worst error of an output, as a part of what is promised.
fn of_outputs(backend: Backend, values: &[f32]) -> f64 {
    let (x, mut x_hat) = (row_of(values), vec![0.0; values.len()]);
    reference::layer_norm(values, None, None, 0.0, &mut x_hat);
    let mut y = vec![f32::NAN; x.len()];
    let norm = LayerNorm::new().with_eps(0.0).with_backend(backend);
    norm.forward(InOut::new(&x, &mut y), shape(1, x.len()), NormArgs::new()).unwrap();
    let of = |(y, x_hat): (&[f32], &f64)| (f64::from(y[0]) - x_hat).abs() / x_hat.abs().max(1.0);
    y.chunks_exact(LANES).zip(&x_hat).map(of).fold(0.0, f64::max)
}

/// A row that a search found, 17 values: S^2/n is 0.24996 of Q there.
const FOUND: [u32; 17] = [
    0x3c17_cb7e,
    0xb9f0_eaf0,
    0xb9d4_7d07,
    0xb9cc_47a8,
    0xbec0_a302,
    0xbeb4_a4fd,
    0xbe8f_39fa,
    0xbe6d_82f4,
    0xbfff_da16,
    0xbdb3_6ac0,
    0xbe11_4f00,
    0xbe04_3780,
    0xbddb_d6a1,
    0xbe71_6e90,
    0xbe03_5360,
    0xbe03_5360,
    0xbe46_c038,
];

/// The variance of it is further off than that of any other data in these tests, and within the promise: in a row, in channels
/// that come first, and in a stream.
#[test]
fn the_variance_of_a_row_that_a_search_found() {
    let values = FOUND.map(f32::from_bits);
    let (x, (_, exact)) = (row_of(&values), reference::mean_variance(&values));
    let mut stream = Moments::new();
    stream.extend_from_slice(&x);
    assert!(error(&stream, &values) <= PROMISED, "{:e}", error(&stream, &values));
    for backend in backends() {
        let error = of_rows(backend, &values);
        assert!(error <= PROMISED, "{backend}: {error:e}");

        let (mut y, mut mean, mut rstd) = (vec![f32::NAN; x.len()], [f64::NAN], [f64::NAN]);
        let channels = Channels::first(1, 1, x.len()).expect("a small shape");
        let args = NormArgs::new().stats(&mut mean, &mut rstd);
        let norm = InstanceNorm::new().with_eps(0.0).with_backend(backend);
        norm.forward(InOut::new(&x, &mut y), channels, args).unwrap();
        let error = (rstd[0].powi(-2) - exact).abs() / exact;
        assert!(error <= PROMISED, "{backend}, channels first: {error:e}");
        assert!(of_outputs(backend, &values) <= OUTPUT, "{backend}: outputs");
    }
}

/// The function that the search maximises.
type Objective = fn(Backend, &[f32]) -> f64;

/// Climbs from random rows until the time is over, and returns the worst.
fn climb(
    random: &mut Random,
    time: Duration,
    most: usize,
    objective: impl Fn(&[f32]) -> f64,
) -> (f64, Vec<f32>) {
    let (start, mut worst) = (Instant::now(), (0.0, Vec::new()));
    while start.elapsed() < time {
        let mut values: Vec<f32> = (0..3 + random.below(most - 2)).map(|_| any(random)).collect();
        let (mut reached, mut since) = (objective(&values), 0);
        while since < 4000 && start.elapsed() < time {
            let mut next = values.clone();
            for _ in 0..=random.below(3) {
                let (i, j) = (random.below(next.len()), random.below(next.len()));
                next[i] = match random.below(6) {
                    0 => any(random),
                    1 => -next[i],
                    2 => next[j],
                    3 => next[i] * (1.0 + 0.1 * random.normal() as f32),
                    // By a few units in the last place.
                    _ => f32::from_bits(next[i].to_bits() ^ 1 << random.below(12)),
                };
            }
            let error = objective(&next);
            since += 1;
            if error > reached {
                (values, reached, since) = (next, error, 0);
            }
        }
        if reached > worst.0 {
            worst = (reached, values);
        }
    }
    worst
}

/// A number of any sign from 2^-12 to 2.
fn any(random: &mut Random) -> f32 {
    let size = (random.uniform() * 13.0 - 12.0).exp2() as f32;
    if random.below(2) == 0 { size } else { -size }
}

/// `EVENKEEL_SEARCH_SECONDS` says how long it climbs, a minute if nothing is said.
#[test]
#[ignore = "takes minutes; .ci/full runs it"]
fn what_a_search_finds_is_within_the_promise() {
    let seconds = std::env::var("EVENKEEL_SEARCH_SECONDS").ok();
    let seconds: f64 = seconds.map_or(60.0, |seconds| seconds.parse().expect("seconds"));
    let time = Duration::from_secs_f64(seconds / 3.0);
    // All that fuse have the same bits.
    let backend = *backends().last().expect("a backend");
    let random = &mut Random::new(std::process::id().into());
    let searches: [(&str, Objective, f64); 3] = [
        ("variance of a row", of_rows, PROMISED),
        ("variance of a column", of_columns, PROMISED),
        ("output of LayerNorm", of_outputs, OUTPUT),
    ];
    for (name, objective, bound) in searches {
        let (error, values) =
            climb(random, time, BLOCK / LANES, |values| objective(backend, values));
        println!("{name}: {error:.3e} of {bound:e}, {} values", values.len());
        let bits: Vec<String> = values.iter().map(|x| format!("{:#010x}", x.to_bits())).collect();
        assert!(error <= bound, "{name}: {error:e} of {bound:e}: {}", bits.join(", "));
    }
}
