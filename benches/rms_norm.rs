//! RmsNorm with gamma. `scalar` is one pass over each row, then a second that writes.
#![forbid(unsafe_code)]

mod common;

use common::{Aligned, Io, Loops, Operation, assert_close, spread};
use evenkeel::{Backend, InOut, NormArgs, Parallelism, RmsNorm, reference};

const EPS: f64 = 1e-5;

struct Forward {
    gamma: Aligned,
}

impl Operation for Forward {
    const NAME: &'static str = "rms_norm";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        Self { gamma: Aligned::new(io.rows.cols(), |i| 1.0 + 0.1 * spread(i)) }
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        let args = NormArgs::new().gamma(&self.gamma);
        RmsNorm::new()
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
            reference::rms_norm(x, Some(&self.gamma), None, EPS, &mut expected);
            assert_close(y, &expected, tolerance);
        }
    }
}

impl Forward {
    fn scalar(&mut self, io: &mut Io) {
        let cols = io.rows.cols();
        for (x, y) in io.x.chunks_exact(cols).zip(io.y.chunks_exact_mut(cols)) {
            let mean_square = x.iter().map(|x| x * x).sum::<f32>() / cols as f32;
            let rstd = 1.0 / (mean_square + EPS as f32).sqrt();
            for ((y, x), gamma) in y.iter_mut().zip(x).zip(&*self.gamma) {
                *y = x * rstd * gamma;
            }
        }
    }
}

fn main() {
    common::measure::<Forward>();
}
