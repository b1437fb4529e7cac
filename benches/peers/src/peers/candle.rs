//! `candle-nn` on candle's CPU. Tensors are built outside of the timed part; every operation allocates its output.

use candle_core::{Device, Module, ModuleT, Tensor};
use candle_nn::{BatchNorm, Dropout, LayerNorm, RmsNorm};

use super::{Contender, returns};
use crate::problem::{EPS, MOMENTUM, Operation, P, Problem};

const FITS: &str = "the shapes fit";

pub fn contender(operation: Operation, problem: &Problem) -> Option<Box<dyn Contender + '_>> {
    let vector = |x: &[f32]| Tensor::from_slice(x, x.len(), &Device::Cpu).expect(FITS);
    let x = Tensor::from_slice(&problem.x, (problem.rows, problem.cols), &Device::Cpu).expect(FITS);
    let (gamma, beta) = (vector(&problem.gamma), vector(&problem.beta));
    let batch_norm = || {
        BatchNorm::new_with_momentum(
            problem.cols,
            vector(&problem.running_mean),
            vector(&problem.running_var),
            gamma.clone(),
            beta.clone(),
            EPS,
            MOMENTUM,
        )
        .expect(FITS)
    };
    Some(match operation {
        Operation::LayerNorm => {
            let layer = LayerNorm::new(gamma, beta, EPS);
            returns(move || layer.forward(&x).expect(FITS), elements)
        }
        Operation::RmsNorm => {
            let layer = RmsNorm::new(gamma, EPS);
            returns(move || layer.forward(&x).expect(FITS), elements)
        }
        Operation::BatchNormTraining => {
            let layer = batch_norm();
            returns(move || layer.forward_t(&x, true).expect(FITS), elements)
        }
        Operation::BatchNormInference => {
            let layer = batch_norm();
            returns(move || layer.forward_t(&x, false).expect(FITS), elements)
        }
        Operation::Dropout => {
            let layer = Dropout::new(P as f32);
            returns(move || layer.forward(&x, true).expect(FITS), elements)
        }
    })
}

fn elements(y: Tensor) -> Vec<f32> {
    y.flatten_all().and_then(|y| y.to_vec1()).expect("y is a tensor of f32")
}
