//! `NormalizeScaleShift` of rows and of columns.
#![forbid(unsafe_code)]
#![no_main]

use arbitrary::Arbitrary;
use evenkeel::{Backend, Error, NormArgs, NormalizeScaleShift, Rows, Statistics, reference};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input {
    Rows(Given),
    Columns(Given),
}

#[derive(Arbitrary, Debug)]
struct Given {
    matrix: Matrix,
    gamma: Option<Source>,
    beta: Option<Source>,
    statistics: Vec<MeanRstd>,
    thorough: Thorough,
    threads: Threads,
    stores: StoresAre,
    shifts: [u8; 6],
    wrong: Wrong,
    /// Elements between rows of x and of y.
    between: [u8; 2],
}

fuzz_target!(|input: Continued<Input>| {
    match input.0 {
        Input::Rows(given) => given.check(Lines::Rows),
        Input::Columns(given) => given.check(Lines::Columns),
    }
});

/// The statistics of a line.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum MeanRstd {
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

impl MeanRstd {
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
    (rows, pitches): (Rows, [usize; 2]),
    buffers: &mut Buffers,
) -> Result<(), Error> {
    let Buffers { x, y, gamma, beta, mean, rstd } = buffers;
    let args = NormArgs::new().maybe_gamma(gamma.as_deref()).maybe_beta(beta.as_deref());
    let statistics = match lines {
        Lines::Rows => Statistics::of_rows(mean, rstd),
        Lines::Columns => Statistics::of_columns(mean, rstd),
    };
    io.call(x, y, pitches, |io| operation.forward(io, rows, statistics, args))
}

impl Given {
    /// Checks every method that works on such lines.
    fn check(&self, lines_are: Lines) {
        let (x, rows) = self.matrix.make(lines_are);
        let (count, cols) = (rows.rows(), rows.cols());
        let affine = Affine::new(&self.gamma, &self.beta, cols);
        let lines = if lines_are == Lines::Rows { count } else { cols };
        let line_of = |i: usize| if lines_are == Lines::Rows { i / cols } else { i % cols };
        let (mean, rstd): (Vec<f64>, Vec<f64>) = (0..lines)
            .map(|line| {
                let first = if lines_are == Lines::Rows { line * cols } else { line };
                let element = x.get(first).copied().unwrap_or(0.0);
                let statistics = self.statistics.get(line % self.statistics.len().max(1));
                statistics.map_or((0.5, 2.0), |statistics| statistics.mean_rstd(element))
            })
            .unzip();

        let pitches = pitches(rows, self.between);
        let mut outputs = Expected::new();
        for backend in Backend::available() {
            let operation = NormalizeScaleShift::new()
                .with_backend(backend)
                .with_parallelism(self.threads.into())
                .with_stores(self.stores.into());
            let methods = if self.thorough.is(backend) { &Io::ALL[..] } else { &Io::ALL[..1] };
            for &io in methods {
                let what =
                    format_args!("{lines_are:?}, {io:?}, {backend}, {count}x{cols}, {pitches:?}");
                let [of_x, of_y] = io.layouts(rows, pitches);
                let right = [of_x.reach(), of_y.reach(), cols, cols, lines, lines];
                let lengths = lengths(right, self.wrong);
                let fits = |i: usize| lengths[i] == right[i];
                let shifts = self.shifts;
                let optional = |values: Option<&[f32]>, i: usize| {
                    values.map(|values| Buffer::of(values, lengths[i], shifts[i]))
                };
                let mut buffers = Buffers {
                    x: Buffer::of(&of_x.spread(&x), lengths[0], shifts[0]),
                    y: Buffer::new(lengths[1], shifts[1]),
                    gamma: optional(affine.gamma(), 2),
                    beta: optional(affine.beta(), 3),
                    mean: Buffer::of(&mean, lengths[4], shifts[4]),
                    rstd: Buffer::of(&rstd, lengths[5], shifts[5]),
                };
                let (x_before, y_before) = (buffers.x.to_vec(), buffers.y.to_vec());
                let result = run(operation, lines_are, io, (rows, pitches), &mut buffers);
                let valid = of_x.fits(lengths[0])
                    && (io.in_place() || of_y.fits(lengths[1]))
                    && (affine.gamma().is_none() || fits(2))
                    && (affine.beta().is_none() || fits(3))
                    && fits(4)
                    && fits(5);
                assert_eq!(result.is_ok(), valid, "{what}: {result:?}");
                let (x_both, y_both) = ([&x_before, &*buffers.x], [&y_before, &*buffers.y]);
                let y = io.written(valid, [of_x, of_y], x_both, y_both, what);
                let Some(y) = y else { continue };
                outputs.check(backend, Written::default().f32(&y), what, || {
                    for i in 0..x.len() {
                        let (line, affine) = (line_of(i), affine.at(i % cols));
                        let what = format_args!("{what}, element {i}");
                        let (mean, rstd) = (mean[line], rstd[line]);
                        check_given(x[i], y[i], (mean, rstd), affine, lines_are, what);
                    }
                });
                if self.thorough.is(backend) && io == Io::TwoBuffers && !x.is_empty() {
                    for line in (0..lines).step_by(lines / 16 + 1) {
                        check_line_alone(operation, lines_are, line, rows, &buffers);
                    }
                }
            }
        }
    }
}

/// A line has the bits that it has alone, whatever the others hold.
fn check_line_alone(
    operation: NormalizeScaleShift,
    lines: Lines,
    line: usize,
    rows: Rows,
    all: &Buffers,
) {
    let (count, cols) = (rows.rows(), rows.cols());
    let (shape, columns) = match lines {
        Lines::Rows => (Rows::new(1, cols), 0..cols),
        Lines::Columns => (Rows::new(count, 1), line..line + 1),
    };
    let of_line = |all: &[f32]| match lines {
        Lines::Rows => all[line * cols..(line + 1) * cols].to_vec(),
        Lines::Columns => reference::column(all, cols, line),
    };
    let part = |values: &Option<Buffer<f32>>| {
        let columns = columns.clone();
        values.as_ref().map(|values| Buffer::of(&values[columns.clone()], columns.len(), 0))
    };
    let (x, together) = (of_line(&all.x), of_line(&all.y));
    let mut buffers = Buffers {
        x: Buffer::of(&x, x.len(), 0),
        y: Buffer::new(x.len(), 0),
        gamma: part(&all.gamma),
        beta: part(&all.beta),
        mean: Buffer::of(&all.mean[line..=line], 1, 0),
        rstd: Buffer::of(&all.rstd[line..=line], 1, 0),
    };
    let shape = shape.expect("a line");
    let shape = (shape, [shape.cols(); 2]);
    run(operation, lines, Io::TwoBuffers, shape, &mut buffers).expect("what was accepted");
    let what = format_args!("{operation:?}, {lines:?}, line {line} of {count}x{cols}, alone");
    Written::default().f32(&buffers.y).assert_same(&Written::default().f32(&together), what);
}
