//! Moments of columns where every eighth row is padding, beside a matrix without it (`benches/moments.rs`). `scalar` is two
//! passes in f32 that ask of each row whether it is valid.
//!
//! Only x is read, so `memcpy` copies half of it.
#![forbid(unsafe_code)]

mod common;

use common::{Io, Loops, Operation, assert_close};
use evenkeel::{
    Backend, ColumnMoments, Mask, MomentArgs, Moments, Parallelism, Rows, ValidRows, reference,
};

struct OfValidRows {
    bits: Vec<u8>,
    moments: Vec<Moments>,
    scratch: Vec<f64>,
    /// Of the loop, one a column.
    mean: Vec<f32>,
    m2: Vec<f32>,
    /// Mean and variance.
    expected: Vec<(f64, f64)>,
}

fn is_valid(r: usize) -> bool {
    r % 8 != 5
}

impl Operation for OfValidRows {
    const NAME: &'static str = "column_moments_masked";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        let (rows, cols) = (io.rows.rows(), io.rows.cols());
        let of_column = |c| {
            let column = reference::column(&io.x, cols, c);
            let valid = column.into_iter().enumerate().filter(|(r, _)| is_valid(*r));
            reference::mean_variance(&valid.map(|(_, x)| x).collect::<Vec<_>>())
        };
        Self {
            bits: vec![!(1 << 5); rows.div_ceil(8)],
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
        let valid = ValidRows::Mask(Mask::Packed(&self.bits));
        let args = MomentArgs::new().valid(valid).scratch(&mut self.scratch);
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
        for (moments, &(mean, var)) in self.moments.iter().zip(&self.expected) {
            let got = moments.population_variance().expect("there are elements");
            assert_close(&[moments.mean, got], &[mean, var], tolerance);
        }
    }
}

impl OfValidRows {
    fn scalar(&mut self, io: &mut Io) {
        let (cols, bits) = (io.rows.cols(), &self.bits);
        let rows = || {
            let rows = io.x.chunks_exact(cols).enumerate();
            rows.filter(|(r, _)| bits[r / 8] >> (r % 8) & 1 == 1).map(|(_, row)| row)
        };
        let count = rows().count();
        self.mean.fill(0.0);
        self.m2.fill(0.0);
        for x in rows() {
            for (x, mean) in x.iter().zip(&mut self.mean) {
                *mean += x;
            }
        }
        for mean in &mut self.mean {
            *mean /= count as f32;
        }
        for x in rows() {
            for ((x, mean), m2) in x.iter().zip(&self.mean).zip(&mut self.m2) {
                *m2 += (x - mean) * (x - mean);
            }
        }
        for ((moments, &mean), &m2) in self.moments.iter_mut().zip(&self.mean).zip(&self.m2) {
            *moments = Moments {
                count: count as u64,
                mean: f64::from(mean),
                m2: f64::from(m2),
                ..Moments::new()
            };
        }
    }
}

fn main() {
    common::measure::<OfValidRows>();
}
