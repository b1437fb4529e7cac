//! `NormalizeScaleShift` of rows and of columns.
#![forbid(unsafe_code)]

use std::fmt::Arguments;

use arbitrary::Arbitrary;
use evenkeel::{Backend, Error, NormalizeScaleShift, Rows};

use crate::*;

#[derive(Arbitrary, Debug)]
pub struct Given {
    matrix: Matrix,
    gamma: Option<Source>,
    beta: Option<Source>,
    statistics: Vec<Statistics>,
    thorough: Thorough,
    threads: Threads,
    shifts: [u8; 6],
    wrong: Wrong,
}

/// The statistics of a line.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Statistics {
    Any {
        mean: Number,
        rstd: Number,
    },
    /// Together they give `x_hat` an ordinary size, whatever theirs is.
    Tied {
        exponent: i16,
        mean: Number,
    },
    /// The mean is an element, or next to one.
    Near {
        rstd: Number,
        less: Number,
    },
}

impl Statistics {
    fn mean_rstd(self, element: f32) -> (f64, f64) {
        match self {
            Self::Any { mean, rstd } => (mean.f64(), rstd.f64()),
            Self::Tied { exponent, mean } => {
                let scale = 2.0_f64.powi(i32::from(exponent) % 1023);
                (mean.f64() / scale, scale)
            }
            Self::Near { rstd, less } => (f64::from(element) - less.f64() / rstd.f64(), rstd.f64()),
        }
    }
}

struct Buffers {
    x: Buffer<f32>,
    y: Buffer<f32>,
    gamma: Option<Buffer<f32>>,
    beta: Option<Buffer<f32>>,
    mean: Buffer<f64>,
    rstd: Buffer<f64>,
}

fn run(
    operation: NormalizeScaleShift,
    lines: Lines,
    io: Io,
    rows: Rows,
    buffers: &mut Buffers,
) -> Result<(), Error> {
    let Buffers { x, y, gamma, beta, mean, rstd } = buffers;
    let (gamma, beta) = (gamma.as_deref(), beta.as_deref());
    match (lines, io) {
        (Lines::Rows, Io::TwoBuffers) => operation.forward(x, mean, rstd, gamma, beta, rows, y),
        (Lines::Rows, Io::InPlace) => operation.forward_in_place(x, mean, rstd, gamma, beta, rows),
        (Lines::Rows, Io::Uninit) => {
            operation.forward_uninit(x, mean, rstd, gamma, beta, rows, uninit(y)).map(drop)
        }
        (Lines::Columns, Io::TwoBuffers) => {
            operation.forward_columns(x, mean, rstd, gamma, beta, rows, y)
        }
        (Lines::Columns, Io::InPlace) => {
            operation.forward_columns_in_place(x, mean, rstd, gamma, beta, rows)
        }
        (Lines::Columns, Io::Uninit) => {
            operation.forward_columns_uninit(x, mean, rstd, gamma, beta, rows, uninit(y)).map(drop)
        }
    }
}

/// Checks every method that works on such lines.
pub fn check(given: &Given, lines_are: Lines) {
    let (x, rows) = given.matrix.make(lines_are);
    let cols = rows.cols();
    let affine = Affine::new(&given.gamma, &given.beta, cols);
    let count = if lines_are == Lines::Rows { rows.rows() } else { cols };
    let line_of = |i: usize| if lines_are == Lines::Rows { i / cols } else { i % cols };
    let (mean, rstd): (Vec<f64>, Vec<f64>) = (0..count)
        .map(|line| {
            let first = if lines_are == Lines::Rows { line * cols } else { line };
            let element = x.get(first).copied().unwrap_or(0.0);
            let statistics = given.statistics.get(line % given.statistics.len().max(1));
            statistics.map_or((0.5, 2.0), |statistics| statistics.mean_rstd(element))
        })
        .unzip();

    let right = [x.len(), x.len(), cols, cols, count, count];
    let lengths = lengths(right, given.wrong);
    let fits = |i: usize| lengths[i] == right[i];
    let mut outputs = Expected::new();
    for backend in Backend::available() {
        let operation =
            NormalizeScaleShift::new().with_backend(backend).with_parallelism(given.threads.into());
        let methods = if given.thorough.is(backend) { &Io::ALL[..] } else { &Io::ALL[..1] };
        for &io in methods {
            let what =
                format_args!("NormalizeScaleShift, {lines_are:?}, {io:?}, {backend}, {rows:?}");
            let shifts = given.shifts;
            let optional = |values: Option<&[f32]>, i: usize| {
                values.map(|values| Buffer::of(values, lengths[i], shifts[i]))
            };
            let mut buffers = Buffers {
                x: Buffer::of(&x, lengths[0], shifts[0]),
                y: Buffer::new(lengths[1], shifts[1]),
                gamma: optional(affine.gamma(), 2),
                beta: optional(affine.beta(), 3),
                mean: Buffer::of(&mean, lengths[4], shifts[4]),
                rstd: Buffer::of(&rstd, lengths[5], shifts[5]),
            };
            let before = raw_bits(&buffers.x);
            let result = run(operation, lines_are, io, rows, &mut buffers);
            let valid = fits(0)
                && (io == Io::InPlace || fits(1))
                && (affine.gamma().is_none() || fits(2))
                && (affine.beta().is_none() || fits(3))
                && fits(4)
                && fits(5);
            assert_eq!(result.is_ok(), valid, "{what}: {result:?}");

            let Buffers { x: x_after, y, .. } = &buffers;
            assert!(y.is_untouched() || valid && io != Io::InPlace, "{what}: y");
            let x_may_change = valid && io == Io::InPlace;
            assert!(x_may_change || raw_bits(x_after) == before, "{what}: x");
            if !valid {
                continue;
            }
            let y: &[f32] = if io == Io::InPlace { x_after } else { y };
            outputs.check(backend, Written::default().f32(y), what, || {
                for i in 0..x.len() {
                    let (line, affine) = (line_of(i), affine.at(i % cols));
                    let what = format_args!("{what}, element {i}");
                    let gamma = affine.0.unwrap_or(1.0);
                    let (rstd, mean) = (rstd[line], mean[line]);
                    let coefficient = rstd * f64::from(gamma);
                    let is_whole = coefficient.is_normal() || rstd == 0.0 || gamma == 0.0;
                    if lines_are == Lines::Rows || is_whole {
                        check_element(x[i], y[i], (mean, rstd), affine, what);
                    }
                }
            });
        }
    }
}

fn check_element(
    x: f32,
    y: f32,
    (mean, rstd): (f64, f64),
    affine: (Option<f32>, Option<f32>),
    what: Arguments<'_>,
) {
    let what = format_args!("{what}, x {x:e}, mean {mean:e}, rstd {rstd:e}, affine {affine:?}");
    if x.is_nan() || mean.is_nan() || rstd.is_nan() {
        assert!(y.is_nan(), "{what}: expected NaN, got {y:e}");
        return;
    }
    if !mean.is_finite() || !rstd.is_finite() {
        return;
    }
    if x.is_finite() {
        return check_output(y, (f64::from(x) - mean) * rstd, affine, what);
    }
    let (gamma, beta) = (affine.0.unwrap_or(1.0), affine.1.unwrap_or(0.0));
    let expected = f64::from(x) * rstd * f64::from(gamma) + f64::from(beta);
    assert_eq!(bits(y), bits(expected as f32), "{what}");
}
