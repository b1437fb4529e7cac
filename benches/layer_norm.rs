//! LayerNorm with gamma and beta. `scalar` is two passes over each row, then a third that writes.
#![forbid(unsafe_code)]

mod common;

use common::{Aligned, Io, Loops, Operation, assert_close, spread};
use evenkeel::{Backend, InOut, LayerNorm, NormArgs, Parallelism, reference};

const EPS: f64 = 1e-5;

struct Forward {
    gamma: Aligned,
    beta: Aligned,
}

impl Operation for Forward {
    const NAME: &'static str = "layer_norm";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];
    const IN_MEMORY: bool = true;

    fn new(io: &Io) -> Self {
        Self {
            gamma: Aligned::new(io.rows.cols(), |i| 1.0 + 0.1 * spread(i)),
            beta: Aligned::new(io.rows.cols(), |i| 0.1 * spread(i + 7)),
        }
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        let args = NormArgs::new().affine(&self.gamma, &self.beta);
        LayerNorm::new()
            .with_eps(EPS)
            .with_backend(backend)
            .with_parallelism(Parallelism::Serial)
            .forward(InOut::new(&io.x, &mut io.y), io.rows, args)
            .expect("the buffers fit");
    }

    fn check(&self, io: &Io, tolerance: f64) {
        let cols = io.rows.cols();
        let mut expected = vec![0.0; cols];
        for (x, y) in io.x.chunks_exact(cols).zip(io.y.chunks_exact(cols)) {
            reference::layer_norm(x, Some(&self.gamma), Some(&self.beta), EPS, &mut expected);
            assert_close(y, &expected, tolerance);
        }
    }
}

impl Forward {
    fn scalar(&mut self, io: &mut Io) {
        let cols = io.rows.cols();
        for (x, y) in io.x.chunks_exact(cols).zip(io.y.chunks_exact_mut(cols)) {
            let mean = x.iter().sum::<f32>() / cols as f32;
            let var = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / cols as f32;
            let rstd = 1.0 / (var + EPS as f32).sqrt();
            for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(&*self.gamma).zip(&*self.beta) {
                *y = (x - mean) * rstd * gamma + beta;
            }
        }
    }
}

fn main() {
    common::measure::<Forward>();
}
