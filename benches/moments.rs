//! Mean and variance of rows and of columns. `welford` is Welford's update in f32, `scalar` two passes in f32.
//!
//! Only x is read, so `memcpy` copies half of it.
#![forbid(unsafe_code)]

mod common;

use common::{Io, Loops, Operation, assert_close};
use evenkeel::{
    Backend, ColumnMoments, MomentArgs, Moments, Parallelism, RowMoments, Rows, reference,
};

struct OfRows(Vec<Moments>);

impl Operation for OfRows {
    const NAME: &'static str = "row_moments";
    const LOOPS: Loops<Self> = &[("welford", Self::welford), ("scalar", Self::scalar)];
    const IN_MEMORY: bool = true;

    fn new(io: &Io) -> Self {
        Self(vec![Moments::new(); io.rows.rows()])
    }

    fn bytes(rows: Rows) -> usize {
        size_of::<f32>() * rows.elements()
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        RowMoments::new()
            .with_backend(backend)
            .with_parallelism(Parallelism::Serial)
            .compute(&io.x, io.rows, &mut self.0, MomentArgs::new())
            .expect("the buffers fit");
    }

    fn spoil(&mut self) {
        self.0.fill(Moments::new());
    }

    fn check(&self, io: &Io, tolerance: f64) {
        for (x, moments) in io.x.chunks_exact(io.rows.cols()).zip(&self.0) {
            assert_moments(moments, reference::mean_variance(x), tolerance);
        }
    }
}

impl OfRows {
    fn welford(&mut self, io: &mut Io) {
        for (x, moments) in io.x.chunks_exact(io.rows.cols()).zip(&mut self.0) {
            let (mut mean, mut m2) = (0.0_f32, 0.0_f32);
            for (i, &x) in x.iter().enumerate() {
                let delta = x - mean;
                mean += delta / (i + 1) as f32;
                m2 += delta * (x - mean);
            }
            *moments = to_moments(x.len(), mean, m2);
        }
    }

    fn scalar(&mut self, io: &mut Io) {
        for (x, moments) in io.x.chunks_exact(io.rows.cols()).zip(&mut self.0) {
            let mean = x.iter().sum::<f32>() / x.len() as f32;
            let m2 = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>();
            *moments = to_moments(x.len(), mean, m2);
        }
    }
}

struct OfColumns {
    moments: Vec<Moments>,
    scratch: Vec<f64>,
    /// Of the loops, one a column.
    mean: Vec<f32>,
    m2: Vec<f32>,
    /// Mean and variance.
    expected: Vec<(f64, f64)>,
}

impl Operation for OfColumns {
    const NAME: &'static str = "column_moments";
    const LOOPS: Loops<Self> = &[("welford", Self::welford), ("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        let cols = io.rows.cols();
        let of_column = |c| reference::mean_variance(&reference::column(&io.x, cols, c));
        Self {
            moments: vec![Moments::new(); cols],
            scratch: vec![0.0; ColumnMoments::new().scratch_len(io.rows)],
            mean: vec![0.0; cols],
            m2: vec![0.0; cols],
            expected: (0..cols).map(of_column).collect(),
        }
    }

    fn bytes(rows: Rows) -> usize {
        size_of::<f32>() * rows.elements()
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        let args = MomentArgs::new().scratch(&mut self.scratch);
        ColumnMoments::new()
            .with_backend(backend)
            .with_parallelism(Parallelism::Serial)
            .compute(&io.x, io.rows, &mut self.moments, args)
            .expect("the buffers fit");
    }

    fn spoil(&mut self) {
        self.moments.fill(Moments::new());
    }

    fn check(&self, _: &Io, tolerance: f64) {
        for (moments, &expected) in self.moments.iter().zip(&self.expected) {
            assert_moments(moments, expected, tolerance);
        }
    }
}

impl OfColumns {
    fn welford(&mut self, io: &mut Io) {
        self.mean.fill(0.0);
        self.m2.fill(0.0);
        for (r, x) in io.x.chunks_exact(io.rows.cols()).enumerate() {
            for ((x, mean), m2) in x.iter().zip(&mut self.mean).zip(&mut self.m2) {
                let delta = x - *mean;
                *mean += delta / (r + 1) as f32;
                *m2 += delta * (x - *mean);
            }
        }
        self.collect(io.rows);
    }

    fn scalar(&mut self, io: &mut Io) {
        self.mean.fill(0.0);
        self.m2.fill(0.0);
        for x in io.x.chunks_exact(io.rows.cols()) {
            for (x, mean) in x.iter().zip(&mut self.mean) {
                *mean += x;
            }
        }
        for mean in &mut self.mean {
            *mean /= io.rows.rows() as f32;
        }
        for x in io.x.chunks_exact(io.rows.cols()) {
            for ((x, mean), m2) in x.iter().zip(&self.mean).zip(&mut self.m2) {
                *m2 += (x - mean) * (x - mean);
            }
        }
        self.collect(io.rows);
    }

    fn collect(&mut self, rows: Rows) {
        for ((moments, &mean), &m2) in self.moments.iter_mut().zip(&self.mean).zip(&self.m2) {
            *moments = to_moments(rows.rows(), mean, m2);
        }
    }
}

fn to_moments(count: usize, mean: f32, m2: f32) -> Moments {
    Moments { count: count as u64, mean: f64::from(mean), m2: f64::from(m2), ..Moments::new() }
}

fn assert_moments(moments: &Moments, (mean, var): (f64, f64), tolerance: f64) {
    let got = moments.population_variance().expect("there are elements");
    assert_close(&[moments.mean, got], &[mean, var], tolerance);
}

fn main() {
    common::measure::<OfRows>();
    common::measure::<OfColumns>();
}
