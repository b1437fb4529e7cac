//! evenkeel, as `examples/throughput` calls it.

use evenkeel::{
    BatchNorm, Dropout, DropoutArgs, InOut, LayerNorm, MaskMut, NormArgs, Parallelism, RmsNorm,
    Rows, Stream, TrainArgs,
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
            writes(move |y| {
                let args = NormArgs::new().affine(gamma, beta);
                layer.forward(InOut::new(x, y), rows, args).expect(FITS);
            })
        }
        Operation::RmsNorm => {
            let layer = RmsNorm::new().with_eps(EPS).with_parallelism(SERIAL);
            writes(move |y| {
                let args = NormArgs::new().gamma(gamma);
                layer.forward(InOut::new(x, y), rows, args).expect(FITS);
            })
        }
        Operation::BatchNormTraining => training(rows, problem),
        Operation::BatchNormInference => {
            let layer = BatchNorm::new().with_eps(EPS).with_parallelism(SERIAL);
            writes(move |y| {
                let args = NormArgs::new().affine(gamma, beta);
                layer
                    .forward_inference(InOut::new(x, y), rows, running_mean, running_var, args)
                    .expect(FITS);
            })
        }
        Operation::Dropout => {
            let layer = Dropout::new().with_p(P).with_parallelism(SERIAL);
            let stream = Stream { seed: 42, offset: 0 };
            let mut mask = vec![0; x.len().div_ceil(8)];
            writes(move |y| {
                let args = DropoutArgs::draw(stream).keep_mask(MaskMut::Packed(&mut mask));
                layer.forward(InOut::new(x, y), args).expect(FITS);
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
        let args = TrainArgs::new()
            .affine(gamma, beta)
            .stats(&mut mean, &mut rstd)
            .running(&mut running_mean, &mut running_var)
            .scratch(&mut scratch);
        layer.forward_training(InOut::new(x, y), rows, args).expect(FITS);
    })
}
