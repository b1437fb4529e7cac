//! `rten-vecmath`: the kernels that its documentation names for LayerNorm and RmsNorm, row by row. Its
//! `Normalize` has one mean for a whole slice, so it has nothing for BatchNorm with channels last; it has no dropout.

use rten_simd::SimdOp;
use rten_vecmath::{ExtendInit, Normalize, NormalizeOptions, Sum, SumSquare, SumSquareSub};

use super::{Contender, writes};
use crate::buffer::Buffer;
use crate::problem::{EPS, Operation, Problem};

pub fn contender(operation: Operation, problem: &Problem) -> Option<Box<dyn Contender + '_>> {
    match operation {
        Operation::LayerNorm => Some(writes(|y| layer_norm(problem, y))),
        Operation::RmsNorm => Some(writes(|y| rms_norm(problem, y))),
        _ => None,
    }
}

fn layer_norm(problem: &Problem, y: &mut Buffer) {
    let n = problem.cols as f32;
    each_row(problem, y, |x| {
        let mean = Sum::new(x).dispatch() / n;
        let var = SumSquareSub::new(x, mean).dispatch() / n;
        NormalizeOptions {
            pre_scale_bias: mean,
            scale: 1.0 / (var + EPS as f32).sqrt(),
            element_scale: Some(&problem.gamma),
            element_bias: Some(&problem.beta),
            ..NormalizeOptions::default()
        }
    });
}

fn rms_norm(problem: &Problem, y: &mut Buffer) {
    let n = problem.cols as f32;
    each_row(problem, y, |x| NormalizeOptions {
        scale: 1.0 / (SumSquare::new(x).dispatch() / n + EPS as f32).sqrt(),
        element_scale: Some(&problem.gamma),
        ..NormalizeOptions::default()
    });
}

/// Writes over y without initialising it, which is how the crate takes its outputs.
fn each_row<'a>(
    problem: &'a Problem,
    y: &mut Buffer,
    options: impl Fn(&[f32]) -> NormalizeOptions<'a>,
) {
    let y = y.cleared();
    for x in problem.x.chunks_exact(problem.cols) {
        y.extend_init(|y| Normalize::new(x, &mut y[..x.len()], options(x)).dispatch());
    }
}
