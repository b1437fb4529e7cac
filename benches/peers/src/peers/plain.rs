//! The loops that the author of an engine would write. The sums over a row stay scalar, since Rust keeps
//! the order of additions; everything else vectorises.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{Contender, writes};
use crate::problem::{EPS, MOMENTUM, Operation, P, Problem};

pub fn contender(operation: Operation, problem: &Problem) -> Option<Box<dyn Contender + '_>> {
    Some(match operation {
        Operation::LayerNorm => writes(|y| layer_norm(problem, y)),
        Operation::RmsNorm => writes(|y| rms_norm(problem, y)),
        Operation::BatchNormTraining => {
            let mut training = Training::new(problem);
            writes(move |y| training.run(problem, y))
        }
        Operation::BatchNormInference => {
            let mut rstd = vec![0.0; problem.cols];
            writes(move |y| {
                for (rstd, var) in rstd.iter_mut().zip(&*problem.running_var) {
                    *rstd = 1.0 / (var + EPS as f32).sqrt();
                }
                normalize(problem, &problem.running_mean, &rstd, y);
            })
        }
        Operation::Dropout => {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(42);
            writes(move |y| dropout(&problem.x, &mut random, y))
        }
    })
}

fn layer_norm(problem: &Problem, y: &mut [f32]) {
    let Problem { cols, x, gamma, beta, .. } = problem;
    for (x, y) in x.chunks_exact(*cols).zip(y.chunks_exact_mut(*cols)) {
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let var = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / x.len() as f32;
        let rstd = 1.0 / (var + EPS as f32).sqrt();
        for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(&**gamma).zip(&**beta) {
            *y = (x - mean) * rstd * gamma + beta;
        }
    }
}

fn rms_norm(problem: &Problem, y: &mut [f32]) {
    let Problem { cols, x, gamma, .. } = problem;
    for (x, y) in x.chunks_exact(*cols).zip(y.chunks_exact_mut(*cols)) {
        let mean_square = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
        let rrms = 1.0 / (mean_square + EPS as f32).sqrt();
        for ((y, x), gamma) in y.iter_mut().zip(x).zip(&**gamma) {
            *y = x * rrms * gamma;
        }
    }
}

/// What a layer keeps from batch to batch.
struct Training {
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
    mean: Vec<f32>,
    /// The variance, then its rstd.
    rstd: Vec<f32>,
}

impl Training {
    fn new(problem: &Problem) -> Self {
        Self {
            running_mean: problem.running_mean.to_vec(),
            running_var: problem.running_var.to_vec(),
            mean: vec![0.0; problem.cols],
            rstd: vec![0.0; problem.cols],
        }
    }

    fn run(&mut self, problem: &Problem, y: &mut [f32]) {
        let Problem { rows, cols, x, .. } = problem;
        let n = *rows as f32;
        self.mean.fill(0.0);
        for x in x.chunks_exact(*cols) {
            for (mean, x) in self.mean.iter_mut().zip(x) {
                *mean += x;
            }
        }
        self.mean.iter_mut().for_each(|mean| *mean /= n);

        self.rstd.fill(0.0);
        for x in x.chunks_exact(*cols) {
            for ((squares, x), mean) in self.rstd.iter_mut().zip(x).zip(&self.mean) {
                *squares += (x - mean) * (x - mean);
            }
        }

        let momentum = MOMENTUM as f32;
        for (running, mean) in self.running_mean.iter_mut().zip(&self.mean) {
            *running += momentum * (mean - *running);
        }
        for (running, rstd) in self.running_var.iter_mut().zip(&mut self.rstd) {
            let var = *rstd / n;
            *running += momentum * (var - *running);
            *rstd = 1.0 / (var + EPS as f32).sqrt();
        }
        normalize(problem, &self.mean, &self.rstd, y);
    }
}

/// Every column by its statistics.
fn normalize(problem: &Problem, mean: &[f32], rstd: &[f32], y: &mut [f32]) {
    let Problem { cols, x, gamma, beta, .. } = problem;
    for (x, y) in x.chunks_exact(*cols).zip(y.chunks_exact_mut(*cols)) {
        let parameters = mean.iter().zip(rstd).zip(&**gamma).zip(&**beta);
        for ((y, x), (((mean, rstd), gamma), beta)) in y.iter_mut().zip(x).zip(parameters) {
            *y = (x - mean) * rstd * gamma + beta;
        }
    }
}

fn dropout(x: &[f32], random: &mut Xoshiro256PlusPlus, y: &mut [f32]) {
    let scale = 1.0 / (1.0 - P as f32);
    for (x, y) in x.iter().zip(y) {
        let uniform = (random.next_u64() >> 40) as f32 / (1 << 24) as f32;
        *y = if uniform >= P as f32 { x * scale } else { 0.0 };
    }
}
