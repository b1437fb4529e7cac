//! LayerNorm of a residual and dropout of x, which becomes the residual, with gamma and beta; and backward, with the gradients of x, of the
//! residual and of the parameters. The mask is drawn in both. `scalar` draws each element from xoshiro256++.
//!
//! Bytes are those of x, the residual, y and the residual again; backward, of x, dy, dx and the gradient of the residual.
#![forbid(unsafe_code)]

mod common;

use common::{Aligned, Io, Loops, Operation, assert_close, spread};
use evenkeel::reference::{self, RowGradients};
use evenkeel::{Backend, Dropout, GradArgs, InOut, LayerNorm, NormArgs, Parallelism, Rows, Stream};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const EPS: f64 = 1e-5;
const P: f64 = 0.1;
const STREAM: Stream = Stream { seed: 42, offset: 0 };

fn layer_norm(backend: Backend) -> LayerNorm {
    LayerNorm::new().with_eps(EPS).with_backend(backend).with_parallelism(Parallelism::Serial)
}

fn parameter(io: &Io, mean: f32, seed: usize) -> Aligned {
    Aligned::new(io.rows.cols(), |i| mean + 0.1 * spread(i + seed))
}

/// What a residual holds before the first call.
fn before(i: usize) -> f32 {
    spread(i + 3)
}

/// What the mask multiplies each element with.
fn factors(len: usize) -> Vec<f32> {
    let scale = Dropout::new().with_p(P).scale().expect("a probability");
    let mask = reference::dropout_mask(P, STREAM.seed, STREAM.offset, len);
    mask.into_iter().map(|kept| if kept { scale } else { 0.0 }).collect()
}

struct Forward {
    gamma: Aligned,
    beta: Aligned,
    residual: Aligned,
    factors: Vec<f32>,
}

impl Operation for Forward {
    const NAME: &'static str = "dropout_residual_layer_norm";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        Self {
            gamma: parameter(io, 1.0, 0),
            beta: parameter(io, 0.0, 7),
            residual: Aligned::new(io.rows.elements(), before),
            factors: factors(io.rows.elements()),
        }
    }

    fn bytes(rows: Rows) -> usize {
        4 * size_of::<f32>() * rows.elements()
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        let args = NormArgs::new()
            .affine(&self.gamma, &self.beta)
            .dropout(P, STREAM)
            .update_residual(&mut self.residual);
        layer_norm(backend)
            .forward(InOut::new(&io.x, &mut io.y), io.rows, args)
            .expect("the buffers fit");
    }

    /// Each run adds to the residual again.
    fn spoil(&mut self) {
        self.residual.iter_mut().enumerate().for_each(|(i, residual)| *residual = before(i));
    }

    fn check(&self, io: &Io, tolerance: f64) {
        for (i, (x, sum)) in io.x.iter().zip(&*self.residual).enumerate() {
            assert_eq!(*sum, x * self.factors[i] + before(i), "element {i} of the sum");
        }
        self.check_norm(io, tolerance);
    }

    /// A loop has a mask of its own.
    fn check_loop(&self, io: &Io) {
        self.check_norm(io, 1e-4);
    }
}

impl Forward {
    fn check_norm(&self, io: &Io, tolerance: f64) {
        let cols = io.rows.cols();
        let mut expected = vec![0.0; cols];
        for (sum, y) in self.residual.chunks_exact(cols).zip(io.y.chunks_exact(cols)) {
            let (gamma, beta) = (Some(&*self.gamma), Some(&*self.beta));
            reference::layer_norm(sum, gamma, beta, EPS, &mut expected);
            assert_close(y, &expected, tolerance);
        }
    }

    fn scalar(&mut self, io: &mut Io) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(STREAM.seed);
        let (cols, scale) = (io.rows.cols(), 1.0 / (1.0 - P as f32));
        let n = cols as f32;
        let rows = io.x.chunks_exact(cols).zip(self.residual.chunks_exact_mut(cols));
        for ((x, sum), y) in rows.zip(io.y.chunks_exact_mut(cols)) {
            for (sum, x) in sum.iter_mut().zip(x) {
                let keep = random.next_u64() >= (P * 2.0_f64.powi(64)) as u64;
                *sum += if keep { x * scale } else { 0.0 };
            }
            let mean = sum.iter().sum::<f32>() / n;
            let var = sum.iter().map(|s| (s - mean) * (s - mean)).sum::<f32>() / n;
            let rstd = 1.0 / (var + EPS as f32).sqrt();
            for i in 0..cols {
                y[i] = (sum[i] - mean) * rstd * self.gamma[i] + self.beta[i];
            }
        }
    }
}

struct Backward {
    dy: Aligned,
    gamma: Aligned,
    mean: Vec<f64>,
    rstd: Vec<f64>,
    dresidual: Aligned,
    dgamma: Vec<f32>,
    dbeta: Vec<f32>,
    dbias: Vec<f32>,
    scratch: Vec<f64>,
    factors: Vec<f32>,
}

impl Operation for Backward {
    const NAME: &'static str = "dropout_residual_layer_norm_backward";
    const LOOPS: Loops<Self> = &[];

    fn new(io: &Io) -> Self {
        let (count, cols) = (io.rows.rows(), io.rows.cols());
        let (mut mean, mut rstd) = (vec![0.0; count], vec![0.0; count]);
        let mut y = vec![0.0; io.x.len()];
        let norm = LayerNorm::new().with_eps(EPS);
        let args = NormArgs::new().stats(&mut mean, &mut rstd);
        norm.forward(InOut::new(&io.x, &mut y), io.rows, args).expect("the buffers fit");
        Self {
            dy: Aligned::new(io.x.len(), |i| spread(i + 3)),
            gamma: parameter(io, 1.0, 0),
            mean,
            rstd,
            dresidual: Aligned::new(io.x.len(), |_| f32::NAN),
            dgamma: vec![0.0; cols],
            dbeta: vec![0.0; cols],
            dbias: vec![0.0; cols],
            scratch: vec![0.0; norm.backward_scratch_len(io.rows)],
            factors: factors(io.x.len()),
        }
    }

    fn bytes(rows: Rows) -> usize {
        4 * size_of::<f32>() * rows.elements()
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        let args = GradArgs::new()
            .gamma(&self.gamma)
            .stats(&self.mean, &self.rstd)
            .dropout(P, STREAM)
            .dresidual(&mut self.dresidual)
            .dgamma(&mut self.dgamma)
            .dbeta(&mut self.dbeta)
            .dbias(&mut self.dbias)
            .scratch(&mut self.scratch);
        layer_norm(backend)
            .backward(InOut::new(&self.dy, &mut io.y), &io.x, io.rows, args)
            .expect("the buffers fit");
    }

    fn spoil(&mut self) {
        self.dresidual.fill(f32::NAN);
        self.dgamma.fill(f32::NAN);
        self.dbeta.fill(f32::NAN);
        self.dbias.fill(f32::NAN);
    }

    fn check(&self, io: &Io, tolerance: f64) {
        let cols = io.rows.cols();
        let (mut ds, mut dgamma, mut dbeta) = (vec![0.0; cols], vec![0.0; cols], vec![0.0; cols]);
        let mut dbias = vec![0.0; cols];
        for (r, (x, dy)) in io.x.chunks_exact(cols).zip(self.dy.chunks_exact(cols)).enumerate() {
            let gradients =
                &mut RowGradients { dx: &mut ds, dgamma: &mut dgamma, dbeta: &mut dbeta };
            reference::layer_norm_backward(dy, x, Some(&self.gamma), EPS, gradients);
            let row = r * cols..(r + 1) * cols;
            assert_close(&self.dresidual[row.clone()], &ds, tolerance);
            for (c, i) in row.clone().enumerate() {
                assert_eq!(io.y[i], self.dresidual[i] * self.factors[i], "dx {i}");
                dbias[c] += f64::from(io.y[i]);
            }
        }
        // Sums of many rows.
        let tolerance = tolerance * io.rows.rows() as f64;
        assert_close(&self.dgamma, &dgamma, tolerance);
        assert_close(&self.dbeta, &dbeta, tolerance);
        assert_close(&self.dbias, &dbias, tolerance);
    }
}

fn main() {
    common::measure::<Forward>();
    common::measure::<Backward>();
}
