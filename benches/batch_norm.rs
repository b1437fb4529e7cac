//! BatchNorm with gamma and beta: training, with running statistics, and inference. `scalar` goes through the
//! rows in order, so that compilers vectorise it.
//!
//! Training reads x twice. Its bytes count x once, as those of every operation do.
#![forbid(unsafe_code)]

mod common;

use common::{Aligned, Io, Loops, Operation, assert_close, spread};
use evenkeel::{Backend, BatchNorm, InOut, NormArgs, Parallelism, TrainArgs, reference};

const EPS: f64 = 1e-5;

struct Training {
    gamma: Aligned,
    beta: Aligned,
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
    mean: Vec<f64>,
    rstd: Vec<f64>,
    scratch: Vec<f64>,
    /// Of the loop: the mean, and the variance or its rstd, of every column.
    loop_mean: Vec<f32>,
    loop_var: Vec<f32>,
    expected_mean: Vec<f64>,
    expected_rstd: Vec<f64>,
}

impl Operation for Training {
    const NAME: &'static str = "batch_norm_training";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];
    const IN_MEMORY: bool = true;

    fn new(io: &Io) -> Self {
        let cols = io.rows.cols();
        let (expected_mean, expected_rstd) = reference::batch_statistics(&io.x, cols, EPS);
        Self {
            gamma: Aligned::new(cols, |i| 1.0 + 0.1 * spread(i)),
            beta: Aligned::new(cols, |i| 0.1 * spread(i + 7)),
            running_mean: vec![0.0; cols],
            running_var: vec![1.0; cols],
            mean: vec![0.0; cols],
            rstd: vec![0.0; cols],
            scratch: vec![0.0; BatchNorm::new().scratch_len(io.rows)],
            loop_mean: vec![0.0; cols],
            loop_var: vec![0.0; cols],
            expected_mean,
            expected_rstd,
        }
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        let args = TrainArgs::new()
            .affine(&self.gamma, &self.beta)
            .stats(&mut self.mean, &mut self.rstd)
            .running(&mut self.running_mean, &mut self.running_var)
            .scratch(&mut self.scratch);
        BatchNorm::new()
            .with_eps(EPS)
            .with_backend(backend)
            .with_parallelism(Parallelism::Serial)
            .forward_training(InOut::new(&io.x, &mut io.y), io.rows, args)
            .expect("the buffers fit");
    }

    fn check(&self, io: &Io, tolerance: f64) {
        let statistics = (&*self.expected_mean, &*self.expected_rstd);
        check_rows(io, statistics, &self.gamma, &self.beta, tolerance);
    }
}

impl Training {
    fn scalar(&mut self, io: &mut Io) {
        let (cols, n) = (io.rows.cols(), io.rows.rows() as f32);
        let (means, vars) = (&mut self.loop_mean, &mut self.loop_var);
        means.fill(0.0);
        vars.fill(0.0);
        for x in io.x.chunks_exact(cols) {
            for (x, mean) in x.iter().zip(&mut *means) {
                *mean += x;
            }
        }
        for mean in &mut *means {
            *mean /= n;
        }
        for x in io.x.chunks_exact(cols) {
            for ((x, mean), var) in x.iter().zip(&*means).zip(&mut *vars) {
                *var += (x - mean) * (x - mean);
            }
        }
        for c in 0..cols {
            let var = vars[c] / n;
            self.running_mean[c] = 0.9 * self.running_mean[c] + 0.1 * means[c];
            self.running_var[c] = 0.9 * self.running_var[c] + 0.1 * var;
            vars[c] = 1.0 / (var + EPS as f32).sqrt();
        }
        normalize(io, means, vars, &self.gamma, &self.beta);
    }
}

struct Inference {
    gamma: Aligned,
    beta: Aligned,
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
    /// Of the loop.
    rstd: Vec<f32>,
}

impl Operation for Inference {
    const NAME: &'static str = "batch_norm_inference";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        let cols = io.rows.cols();
        Self {
            gamma: Aligned::new(cols, |i| 1.0 + 0.1 * spread(i)),
            beta: Aligned::new(cols, |i| 0.1 * spread(i + 7)),
            running_mean: (0..cols).map(|i| 0.1 * spread(i + 11)).collect(),
            running_var: (0..cols).map(|i| 1.0 + 0.1 * spread(i + 13)).collect(),
            rstd: vec![0.0; cols],
        }
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        let (mean, var) = (&self.running_mean, &self.running_var);
        let args = NormArgs::new().affine(&self.gamma, &self.beta);
        BatchNorm::new()
            .with_eps(EPS)
            .with_backend(backend)
            .with_parallelism(Parallelism::Serial)
            .forward_inference(InOut::new(&io.x, &mut io.y), io.rows, mean, var, args)
            .expect("the buffers fit");
    }

    fn check(&self, io: &Io, tolerance: f64) {
        let mean: Vec<_> = self.running_mean.iter().copied().map(f64::from).collect();
        let vars = self.running_var.iter().copied().map(f64::from);
        let rstd: Vec<_> = vars.map(|var| reference::rstd(var, EPS)).collect();
        check_rows(io, (&mean, &rstd), &self.gamma, &self.beta, tolerance);
    }
}

impl Inference {
    fn scalar(&mut self, io: &mut Io) {
        for (rstd, var) in self.rstd.iter_mut().zip(&self.running_var) {
            *rstd = 1.0 / (var + EPS as f32).sqrt();
        }
        normalize(io, &self.running_mean, &self.rstd, &self.gamma, &self.beta);
    }
}

fn normalize(io: &mut Io, mean: &[f32], rstd: &[f32], gamma: &[f32], beta: &[f32]) {
    let cols = io.rows.cols();
    let (mean, rstd, gamma, beta) = (&mean[..cols], &rstd[..cols], &gamma[..cols], &beta[..cols]);
    for (x, y) in io.x.chunks_exact(cols).zip(io.y.chunks_exact_mut(cols)) {
        for c in 0..cols {
            y[c] = (x[c] - mean[c]) * rstd[c] * gamma[c] + beta[c];
        }
    }
}

fn check_rows(
    io: &Io,
    (mean, rstd): (&[f64], &[f64]),
    gamma: &[f32],
    beta: &[f32],
    tolerance: f64,
) {
    let cols = io.rows.cols();
    let (gamma, beta) = (Some(gamma), Some(beta));
    let mut expected = vec![0.0; cols];
    for (x, y) in io.x.chunks_exact(cols).zip(io.y.chunks_exact(cols)) {
        reference::normalize_scale_shift_columns(x, mean, rstd, gamma, beta, &mut expected);
        assert_close(y, &expected, tolerance);
    }
}

fn main() {
    common::measure::<Training>();
    common::measure::<Inference>();
}
