//! evenkeel, as `examples/throughput` calls it.

use evenkeel::{
    BatchNorm, Dropout, LayerNorm, MaskMut, Parallelism, RmsNorm, Rows, RunningStatistics, Stream,
};

use super::{Contender, writes};
use crate::problem::{EPS, MOMENTUM, Operation, P, Problem};

const FITS: &str = "the buffers fit";
const SERIAL: Parallelism = Parallelism::Serial;

pub fn contender(operation: Operation, problem: &Problem) -> Option<Box<dyn Contender + '_>> {
    let Problem { x, gamma, beta, running_mean, running_var, .. } = problem;
    let rows = Rows::new(problem.rows, problem.cols).expect("the shape can be held");
    Some(match operation {
        Operation::LayerNorm => {
            let layer = LayerNorm::new().with_eps(EPS).with_parallelism(SERIAL);
            writes(move |y| layer.forward(x, Some(gamma), Some(beta), rows, y).expect(FITS))
        }
        Operation::RmsNorm => {
            let layer = RmsNorm::new().with_eps(EPS).with_parallelism(SERIAL);
            writes(move |y| layer.forward(x, Some(gamma), None, rows, y).expect(FITS))
        }
        Operation::BatchNormTraining => training(rows, problem),
        Operation::BatchNormInference => {
            let layer = BatchNorm::new().with_eps(EPS).with_parallelism(SERIAL);
            writes(move |y| {
                let (gamma, beta) = (Some(&**gamma), Some(&**beta));
                layer
                    .forward_inference(x, running_mean, running_var, gamma, beta, rows, y)
                    .expect(FITS);
            })
        }
        Operation::Dropout => {
            let layer = Dropout::new().with_p(P).with_parallelism(SERIAL);
            let stream = Stream { seed: 42, offset: 0 };
            let mut mask = vec![0; x.len().div_ceil(8)];
            writes(move |y| {
                layer.forward_with_mask(x, stream, y, MaskMut::Packed(&mut mask)).expect(FITS);
            })
        }
    })
}

fn training(rows: Rows, problem: &Problem) -> Box<dyn Contender + '_> {
    let Problem { cols, x, gamma, beta, .. } = problem;
    let layer =
        BatchNorm::new().with_eps(EPS).with_pytorch_momentum(MOMENTUM).with_parallelism(SERIAL);
    let (mut mean, mut rstd) = (vec![0.0; *cols], vec![0.0; *cols]);
    let mut running_mean = problem.running_mean.to_vec();
    let mut running_var = problem.running_var.to_vec();
    let mut scratch = vec![0.0; layer.scratch_len(rows)];
    writes(move |y| {
        let running = RunningStatistics { mean: &mut running_mean, var: &mut running_var };
        layer
            .forward_training_with_scratch(
                x,
                Some(gamma),
                Some(beta),
                rows,
                y,
                &mut mean,
                &mut rstd,
                Some(running),
                &mut scratch,
            )
            .expect(FITS);
    })
}
