//! `wide` used directly: eight lanes, and four sums at a time, so that additions need not wait for each other.
//! It has no random numbers.

use wide::f32x8;

use super::{Contender, writes};
use crate::problem::{EPS, MOMENTUM, Operation, Problem};

pub fn contender(operation: Operation, problem: &Problem) -> Option<Box<dyn Contender + '_>> {
    Some(match operation {
        Operation::LayerNorm => writes(|y| layer_norm(problem, y)),
        Operation::RmsNorm => writes(|y| rms_norm(problem, y)),
        Operation::BatchNormTraining => {
            let mut training = Training::new(problem);
            writes(move |y| training.run(problem, y))
        }
        Operation::BatchNormInference => {
            let mut columns = Columns::new(problem);
            writes(move |y| {
                columns.prepare(problem, &problem.running_mean, &problem.running_var);
                columns.normalize(problem, y);
            })
        }
        Operation::Dropout => return None,
    })
}

fn layer_norm(problem: &Problem, y: &mut [f32]) {
    let Problem { cols, x, gamma, beta, .. } = problem;
    let n = *cols as f32;
    for (x, y) in x.chunks_exact(*cols).zip(y.chunks_exact_mut(*cols)) {
        let mean = f32x8::splat(sum(x, |x| x) / n);
        let var = sum(x, |x| (x - mean) * (x - mean)) / n;
        let rstd = f32x8::splat(1.0 / (var + EPS as f32).sqrt());
        map(x, gamma, beta, y, |x, gamma, beta| ((x - mean) * rstd).mul_add(gamma, beta));
    }
}

fn rms_norm(problem: &Problem, y: &mut [f32]) {
    let Problem { cols, x, gamma, .. } = problem;
    for (x, y) in x.chunks_exact(*cols).zip(y.chunks_exact_mut(*cols)) {
        let mean_square = sum(x, |x| x * x) / *cols as f32;
        let rrms = f32x8::splat(1.0 / (mean_square + EPS as f32).sqrt());
        map(x, gamma, gamma, y, |x, gamma, _| x * rrms * gamma);
    }
}

/// What a layer keeps from batch to batch.
struct Training {
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
    mean: Vec<f32>,
    var: Vec<f32>,
    columns: Columns,
}

impl Training {
    fn new(problem: &Problem) -> Self {
        Self {
            running_mean: problem.running_mean.to_vec(),
            running_var: problem.running_var.to_vec(),
            mean: vec![0.0; problem.cols],
            var: vec![0.0; problem.cols],
            columns: Columns::new(problem),
        }
    }

    fn run(&mut self, problem: &Problem, y: &mut [f32]) {
        let Self { running_mean, running_var, mean, var, columns } = self;
        let n = problem.rows as f32;
        mean.fill(0.0);
        for x in problem.x.chunks_exact(problem.cols) {
            update(mean, x, x, |sum, x, _| sum + x);
        }
        mean.iter_mut().for_each(|mean| *mean /= n);
        var.fill(0.0);
        for x in problem.x.chunks_exact(problem.cols) {
            update(var, x, mean, |sum, x, mean| (x - mean).mul_add(x - mean, sum));
        }
        var.iter_mut().for_each(|var| *var /= n);

        let momentum = f32x8::splat(MOMENTUM as f32);
        for (running, batch) in [(running_mean, &*mean), (running_var, &*var)] {
            update(running, batch, batch, |old, new, _| momentum.mul_add(new - old, old));
        }
        columns.prepare(problem, mean, var);
        columns.normalize(problem, y);
    }
}

/// gamma and beta with the statistics folded in: a multiplication and an addition for each element.
struct Columns {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Columns {
    fn new(problem: &Problem) -> Self {
        Self { scale: vec![0.0; problem.cols], shift: vec![0.0; problem.cols] }
    }

    fn prepare(&mut self, problem: &Problem, mean: &[f32], var: &[f32]) {
        let (eps, one) = (f32x8::splat(EPS as f32), f32x8::splat(1.0));
        let Self { scale, shift } = self;
        map(&problem.gamma, var, var, scale, |gamma, var, _| gamma * (one / (var + eps).sqrt()));
        map(&problem.beta, mean, scale, shift, |beta, mean, scale| beta - mean * scale);
    }

    fn normalize(&self, problem: &Problem, y: &mut [f32]) {
        let cols = problem.cols;
        for (x, y) in problem.x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)) {
            map(x, &self.scale, &self.shift, y, |x, scale, shift| x.mul_add(scale, shift));
        }
    }
}

/// The sum of a term of every element.
#[inline(always)]
fn sum(x: &[f32], term: impl Fn(f32x8) -> f32x8) -> f32 {
    let (blocks, rest) = x.as_chunks::<32>();
    let mut sums = [f32x8::ZERO; 4];
    for block in blocks {
        for (sum, x) in sums.iter_mut().zip(block.as_chunks().0) {
            *sum += term(f32x8::new(*x));
        }
    }
    let (vectors, rest) = rest.as_chunks();
    for x in vectors {
        sums[0] += term(f32x8::new(*x));
    }
    let [a, b, c, d] = sums;
    let mut sum = ((a + b) + (c + d)).reduce_add();
    if !rest.is_empty() {
        sum += term(padded(rest)).to_array()[..rest.len()].iter().sum::<f32>();
    }
    sum
}

/// y[i] = f(x[i], a[i], b[i]).
#[inline(always)]
fn map(x: &[f32], a: &[f32], b: &[f32], y: &mut [f32], f: impl Fn(f32x8, f32x8, f32x8) -> f32x8) {
    let ((x, x_rest), (a, a_rest)) = (x.as_chunks(), a.as_chunks());
    let ((b, b_rest), (y, y_rest)) = (b.as_chunks(), y.as_chunks_mut());
    for (((x, a), b), y) in x.iter().zip(a).zip(b).zip(y) {
        *y = f(f32x8::new(*x), f32x8::new(*a), f32x8::new(*b)).to_array();
    }
    if !y_rest.is_empty() {
        let last = f(padded(x_rest), padded(a_rest), padded(b_rest)).to_array();
        y_rest.copy_from_slice(&last[..y_rest.len()]);
    }
}

/// y[i] = f(y[i], a[i], b[i]).
#[inline(always)]
fn update(y: &mut [f32], a: &[f32], b: &[f32], f: impl Fn(f32x8, f32x8, f32x8) -> f32x8) {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks(), b.as_chunks());
    let (y, y_rest) = y.as_chunks_mut();
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        *y = f(f32x8::new(*y), f32x8::new(*a), f32x8::new(*b)).to_array();
    }
    if !y_rest.is_empty() {
        let last = f(padded(y_rest), padded(a_rest), padded(b_rest)).to_array();
        y_rest.copy_from_slice(&last[..y_rest.len()]);
    }
}

/// The elements after the last whole vector, and zeros.
#[inline(always)]
fn padded(rest: &[f32]) -> f32x8 {
    let mut lanes = [0.0; 8];
    lanes[..rest.len()].copy_from_slice(rest);
    f32x8::new(lanes)
}
