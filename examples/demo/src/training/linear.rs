//! A linear layer in plain Rust: forward, gradients, and a step against them.
#![forbid(unsafe_code)]

use rand_core::Rng;
use rayon::prelude::*;

/// Rows of a batch, and rows of weights, that one task works on.
const TASK_ROWS: usize = 16;

/// `y = x * weight + bias`, for a batch of rows.
///
/// Tasks share no sum, and every sum runs over its terms in order. So the bits do not depend on the number of threads.
#[derive(Clone)]
pub struct Linear {
    inputs: usize,
    outputs: usize,
    /// A row for each input, a column for each output.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Linear {
    /// Weights that keep the variance of what passes a rectifier (He et al., 2015), and biases of 0.
    pub fn new(inputs: usize, outputs: usize, random: &mut impl Rng) -> Self {
        let bound = (6.0 / inputs as f32).sqrt();
        let uniform = |bits: u64| (bits >> 40) as f32 / (1_u64 << 24) as f32;
        let mut draw = || (2.0 * uniform(random.next_u64()) - 1.0) * bound;
        let weight = (0..inputs * outputs).map(|_| draw()).collect();
        Self { inputs, outputs, weight, bias: vec![0.0; outputs] }
    }

    /// All that the layer learns.
    pub fn parameters(&self) -> impl Iterator<Item = f32> {
        self.weight.iter().chain(&self.bias).copied()
    }

    /// Writes y, one row for each row of x.
    pub fn forward(&self, x: &[f32], y: &mut [f32]) {
        let tasks = y.par_chunks_mut(TASK_ROWS * self.outputs);
        tasks.zip(x.par_chunks(TASK_ROWS * self.inputs)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(self.outputs).zip(x.chunks_exact(self.inputs)) {
                y.copy_from_slice(&self.bias);
                for (&x, weight) in x.iter().zip(self.weight.chunks_exact(self.outputs)) {
                    add_multiple(x, weight, y);
                }
            }
        });
    }

    /// Writes dx, the gradient of the loss by x.
    pub fn backward(&self, dy: &[f32], dx: &mut [f32]) {
        let tasks = dx.par_chunks_mut(TASK_ROWS * self.inputs);
        tasks.zip(dy.par_chunks(TASK_ROWS * self.outputs)).for_each(|(dx, dy)| {
            for (dx, dy) in dx.chunks_exact_mut(self.inputs).zip(dy.chunks_exact(self.outputs)) {
                for (dx, weight) in dx.iter_mut().zip(self.weight.chunks_exact(self.outputs)) {
                    *dx = dy.iter().zip(weight).map(|(dy, weight)| dy * weight).sum();
                }
            }
        });
    }

    /// Steps against the gradients of weight and bias, which are sums over the rows of the batch.
    pub fn step(&mut self, rate: f32, x: &[f32], dy: &[f32]) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let tasks = self.weight.par_chunks_mut(TASK_ROWS * outputs).enumerate();
        tasks.for_each(|(task, weight)| {
            let mut gradient = vec![0.0; outputs];
            for (row, weight) in weight.chunks_exact_mut(outputs).enumerate() {
                let input = task * TASK_ROWS + row;
                gradient.fill(0.0);
                for (x, dy) in x.chunks_exact(inputs).zip(dy.chunks_exact(outputs)) {
                    add_multiple(x[input], dy, &mut gradient);
                }
                add_multiple(-rate, &gradient, weight);
            }
        });
        let mut gradient = vec![0.0; outputs];
        dy.chunks_exact(outputs).for_each(|dy| add_multiple(1.0, dy, &mut gradient));
        add_multiple(-rate, &gradient, &mut self.bias);
    }
}

/// `y += a * x`.
pub fn add_multiple(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}
