//! Backward of LayerNorm with gamma, whose forward pass kept mean and rstd: dx, dgamma and dbeta. `scalar` is two passes over each row,
//! the second of which writes.
#![forbid(unsafe_code)]

mod common;

use common::{Aligned, Io, Loops, Operation, assert_close, spread};
use evenkeel::reference::{self, RowGradients};
use evenkeel::{Backend, GradArgs, InOut, LayerNorm, NormArgs, Parallelism};

const EPS: f64 = 1e-5;

struct Backward {
    dy: Aligned,
    gamma: Aligned,
    mean: Vec<f64>,
    rstd: Vec<f64>,
    dgamma: Vec<f32>,
    dbeta: Vec<f32>,
    scratch: Vec<f64>,
}

impl Operation for Backward {
    const NAME: &'static str = "layer_norm_backward";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        let (count, cols) = (io.rows.rows(), io.rows.cols());
        let (mut mean, mut rstd) = (vec![0.0; count], vec![0.0; count]);
        let mut y = vec![0.0; io.x.len()];
        let norm = LayerNorm::new().with_eps(EPS);
        let args = NormArgs::new().stats(&mut mean, &mut rstd);
        norm.forward(InOut::new(&io.x, &mut y), io.rows, args).expect("the buffers fit");
        Self {
            dy: Aligned::new(io.x.len(), |i| spread(i + 3)),
            gamma: Aligned::new(cols, |i| 1.0 + 0.1 * spread(i)),
            mean,
            rstd,
            dgamma: vec![0.0; cols],
            dbeta: vec![0.0; cols],
            scratch: vec![0.0; norm.backward_scratch_len(io.rows)],
        }
    }

    /// x, dy and dx.
    fn bytes(rows: evenkeel::Rows) -> usize {
        3 * size_of::<f32>() * rows.elements()
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        let args = GradArgs::new()
            .gamma(&self.gamma)
            .stats(&self.mean, &self.rstd)
            .dgamma(&mut self.dgamma)
            .dbeta(&mut self.dbeta)
            .scratch(&mut self.scratch);
        LayerNorm::new()
            .with_eps(EPS)
            .with_backend(backend)
            .with_parallelism(Parallelism::Serial)
            .backward(InOut::new(&self.dy, &mut io.y), &io.x, io.rows, args)
            .expect("the buffers fit");
    }

    fn spoil(&mut self) {
        self.dgamma.fill(f32::NAN);
        self.dbeta.fill(f32::NAN);
    }

    fn check(&self, io: &Io, tolerance: f64) {
        let cols = io.rows.cols();
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; cols], vec![0.0; cols], vec![0.0; cols]);
        let rows = io.x.chunks_exact(cols).zip(self.dy.chunks_exact(cols));
        for ((x, dy), got) in rows.zip(io.y.chunks_exact(cols)) {
            let gradients =
                &mut RowGradients { dx: &mut dx, dgamma: &mut dgamma, dbeta: &mut dbeta };
            reference::layer_norm_backward(dy, x, Some(&self.gamma), EPS, gradients);
            assert_close(got, &dx, tolerance);
        }
        // Sums of many rows.
        let tolerance = tolerance * io.rows.rows() as f64;
        assert_close(&self.dgamma, &dgamma, tolerance);
        assert_close(&self.dbeta, &dbeta, tolerance);
    }
}

impl Backward {
    fn scalar(&mut self, io: &mut Io) {
        let cols = io.rows.cols();
        let n = cols as f32;
        self.dgamma.fill(0.0);
        self.dbeta.fill(0.0);
        let rows = io.x.chunks_exact(cols).zip(self.dy.chunks_exact(cols));
        for (r, ((x, dy), dx)) in rows.zip(io.y.chunks_exact_mut(cols)).enumerate() {
            let (mean, rstd) = (self.mean[r] as f32, self.rstd[r] as f32);
            let (mut sum, mut sum_x_hat) = (0.0, 0.0);
            for i in 0..cols {
                let (x_hat, g) = ((x[i] - mean) * rstd, dy[i] * self.gamma[i]);
                sum += g;
                sum_x_hat += g * x_hat;
                self.dgamma[i] += dy[i] * x_hat;
                self.dbeta[i] += dy[i];
            }
            for i in 0..cols {
                let (x_hat, g) = ((x[i] - mean) * rstd, dy[i] * self.gamma[i]);
                dx[i] = rstd * (g - sum / n - x_hat * sum_x_hat / n);
            }
        }
    }
}

fn main() {
    common::measure::<Backward>();
}
