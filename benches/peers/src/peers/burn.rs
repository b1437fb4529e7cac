//! `burn-flex`, called through the modules of `burn-nn`. Tensors are built outside of the timed part; every
//! operation allocates its output, since x is kept.

use burn_core::module::{Module, Param, RunningState};
use burn_core::tensor::{Device, Tensor, TensorData};
use burn_nn::{BatchNorm, BatchNormConfig, DropoutConfig, LayerNormConfig, RmsNormConfig};

use super::{Contender, returns};
use crate::problem::{EPS, MOMENTUM, Operation, P, Problem};

pub fn contender(operation: Operation, problem: &Problem) -> Option<Box<dyn Contender + '_>> {
    let Problem { rows, cols, .. } = *problem;
    // burn trains on devices that can differentiate, and there alone. Nothing here computes gradients.
    let device = match operation {
        Operation::BatchNormTraining | Operation::Dropout => Device::flex().autodiff(),
        _ => Device::flex(),
    };
    let x = Tensor::<2>::from_data(TensorData::new(problem.x.to_vec(), [rows, cols]), &device);
    let gamma = Param::from_tensor(vector(&problem.gamma, &device));
    let beta = Param::from_tensor(vector(&problem.beta, &device));
    Some(match operation {
        Operation::LayerNorm => {
            let mut layer = LayerNormConfig::new(cols).with_epsilon(EPS).init(&device);
            (layer.gamma, layer.beta) = (gamma, Some(beta));
            returns(move || layer.forward(x.clone()), elements)
        }
        Operation::RmsNorm => {
            let mut layer = RmsNormConfig::new(cols).with_epsilon(EPS).init(&device);
            layer.gamma = gamma;
            returns(move || layer.forward(x.clone()), elements)
        }
        Operation::BatchNormTraining | Operation::BatchNormInference => {
            let layer = BatchNorm {
                gamma,
                beta,
                running_mean: RunningState::new(vector(&problem.running_mean, &device)),
                running_var: RunningState::new(vector(&problem.running_var, &device)),
                ..BatchNormConfig::new(cols).with_epsilon(EPS).with_momentum(MOMENTUM).init(&device)
            }
            .no_grad();
            returns(move || layer.forward(x.clone()), elements)
        }
        Operation::Dropout => {
            let layer = DropoutConfig::new(P).init();
            returns(move || layer.forward(x.clone()), elements)
        }
    })
}

fn vector(x: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(x.to_vec(), [x.len()]), device)
}

fn elements(y: Tensor<2>) -> Vec<f32> {
    y.into_data().try_into_vec().expect("y is a tensor of f32")
}
