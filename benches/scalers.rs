//! Scalers and norms: fits, transforms, and rows divided by their norms. `scalar` is the plain loop.
//!
//! Bytes are those of x and y. Of a fit, which only reads, those of x: `memcpy` copies half of it.
#![forbid(unsafe_code)]

mod common;

use std::mem::replace;

use common::{Io, Loops, Operation, assert_close};
use evenkeel::preprocess::{MinMaxScaler, Norm, Normalizer, StandardScaler};
use evenkeel::{Backend, InOut, Parallelism, Rows, reference};

/// What `learn` says of every column.
fn columns<T>(io: &Io, learn: impl Fn(&[f32]) -> T) -> Vec<T> {
    let cols = io.rows.cols();
    (0..cols).map(|c| learn(&reference::column(&io.x, cols, c))).collect()
}

struct StandardFit {
    scaler: StandardScaler,
    mean: Vec<f64>,
    scale: Vec<f64>,
    expected: Vec<(f64, f64)>,
}

impl Operation for StandardFit {
    const NAME: &'static str = "standard_scaler_fit";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        let cols = io.rows.cols();
        Self {
            scaler: StandardScaler::new(cols)
                .expect("memory")
                .with_parallelism(Parallelism::Serial),
            mean: vec![f64::NAN; cols],
            scale: vec![f64::NAN; cols],
            expected: columns(io, reference::mean_scale),
        }
    }

    fn bytes(rows: Rows) -> usize {
        size_of::<f32>() * rows.elements()
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        // A setter takes the scaler, whose buffers are to stay.
        let scaler = replace(&mut self.scaler, StandardScaler::new(0).expect("memory"));
        self.scaler = scaler.with_backend(backend);
        self.scaler.fit(&io.x, io.rows).expect("as many features");
        self.mean.copy_from_slice(self.scaler.mean());
        self.scale.copy_from_slice(self.scaler.scale());
    }

    fn spoil(&mut self) {
        self.mean.fill(f64::NAN);
        self.scale.fill(f64::NAN);
    }

    fn check(&self, _: &Io, tolerance: f64) {
        let (mean, scale): (Vec<_>, Vec<_>) = self.expected.iter().copied().unzip();
        assert_close(&self.mean, &mean, tolerance);
        assert_close(&self.scale, &scale, tolerance);
    }
}

impl StandardFit {
    /// Sums of values and of squares, in f64.
    fn scalar(&mut self, io: &mut Io) {
        let Self { mean, scale, .. } = self;
        mean.fill(0.0);
        scale.fill(0.0);
        for row in io.x.chunks_exact(mean.len()) {
            for ((&x, mean), scale) in row.iter().zip(&mut *mean).zip(&mut *scale) {
                let x = f64::from(x);
                *mean += x;
                *scale += x * x;
            }
        }
        let n = io.rows.rows() as f64;
        for (mean, scale) in mean.iter_mut().zip(scale) {
            *mean /= n;
            *scale = (*scale / n - *mean * *mean).sqrt();
        }
    }
}

struct StandardTransform(StandardScaler);

impl Operation for StandardTransform {
    const NAME: &'static str = "standard_scaler_transform";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        let mut scaler = StandardScaler::new(io.rows.cols())
            .expect("memory")
            .with_parallelism(Parallelism::Serial);
        scaler.fit(&io.x, io.rows).expect("as many features");
        Self(scaler)
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        self.0 =
            replace(&mut self.0, StandardScaler::new(0).expect("memory")).with_backend(backend);
        self.0.transform(InOut::new(&io.x, &mut io.y), io.rows).expect("the buffers fit");
    }

    fn check(&self, io: &Io, tolerance: f64) {
        let (mean, scale) = (self.0.mean(), self.0.scale());
        let columns = mean.iter().zip(scale).cycle();
        let expected = io.x.iter().zip(columns);
        let expected =
            expected.map(|(&x, (&mean, &scale))| reference::standardized(x, mean, scale));
        assert_close(&io.y, &expected.collect::<Vec<_>>(), tolerance);
    }
}

impl StandardTransform {
    fn scalar(&mut self, io: &mut Io) {
        let (mean, scale) = (self.0.mean(), self.0.scale());
        let cols = mean.len();
        for (x, y) in io.x.chunks_exact(cols).zip(io.y.chunks_exact_mut(cols)) {
            for c in 0..cols {
                y[c] = (x[c] - mean[c] as f32) / scale[c] as f32;
            }
        }
    }
}

struct MinMaxFit {
    scaler: MinMaxScaler,
    min: Vec<f32>,
    max: Vec<f32>,
    expected: Vec<(f32, f32)>,
}

impl Operation for MinMaxFit {
    const NAME: &'static str = "min_max_scaler_fit";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        let cols = io.rows.cols();
        Self {
            scaler: MinMaxScaler::new(cols).expect("memory").with_parallelism(Parallelism::Serial),
            min: vec![f32::NAN; cols],
            max: vec![f32::NAN; cols],
            expected: columns(io, reference::min_max),
        }
    }

    fn bytes(rows: Rows) -> usize {
        size_of::<f32>() * rows.elements()
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        let scaler = replace(&mut self.scaler, MinMaxScaler::new(0).expect("memory"));
        self.scaler = scaler.with_backend(backend);
        self.scaler.fit(&io.x, io.rows).expect("as many features");
        self.min.copy_from_slice(self.scaler.data_min());
        self.max.copy_from_slice(self.scaler.data_max());
    }

    fn spoil(&mut self) {
        self.min.fill(f32::NAN);
        self.max.fill(f32::NAN);
    }

    fn check(&self, _: &Io, _: f64) {
        let got = self.min.iter().copied().zip(self.max.iter().copied());
        assert!(got.eq(self.expected.iter().copied()), "minima and maxima are exact");
    }
}

impl MinMaxFit {
    fn scalar(&mut self, io: &mut Io) {
        self.min.fill(f32::INFINITY);
        self.max.fill(f32::NEG_INFINITY);
        for row in io.x.chunks_exact(self.min.len()) {
            for ((&x, min), max) in row.iter().zip(&mut self.min).zip(&mut self.max) {
                *min = min.min(x);
                *max = max.max(x);
            }
        }
    }
}

struct L2;

impl Operation for L2 {
    const NAME: &'static str = "normalizer_l2";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(_: &Io) -> Self {
        Self
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        Normalizer::new()
            .with_backend(backend)
            .with_parallelism(Parallelism::Serial)
            .forward(InOut::new(&io.x, &mut io.y), io.rows)
            .expect("the buffers fit");
    }

    fn check(&self, io: &Io, tolerance: f64) {
        let (cols, mut expected) = (io.rows.cols(), vec![0.0; io.x.len()]);
        for (x, expected) in io.x.chunks_exact(cols).zip(expected.chunks_exact_mut(cols)) {
            reference::normalizer(x, Norm::L2, expected);
        }
        assert_close(&io.y, &expected, tolerance);
    }
}

impl L2 {
    fn scalar(&mut self, io: &mut Io) {
        let cols = io.rows.cols();
        for (x, y) in io.x.chunks_exact(cols).zip(io.y.chunks_exact_mut(cols)) {
            let norm = x.iter().map(|x| x * x).sum::<f32>().sqrt();
            for (&x, y) in x.iter().zip(y) {
                *y = x / norm;
            }
        }
    }
}

fn main() {
    common::measure::<StandardFit>();
    common::measure::<StandardTransform>();
    common::measure::<MinMaxFit>();
    common::measure::<L2>();
}
