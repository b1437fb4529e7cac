//! Normalise-scale-shift of rows, with gamma and beta. `scalar` is the same in one pass, which compilers
//! vectorise.
#![forbid(unsafe_code)]

mod common;

use common::{Aligned, Io, Loops, Operation, assert_close, spread};
use evenkeel::{Backend, InOut, NormArgs, NormalizeScaleShift, Parallelism, Statistics, reference};

struct Forward {
    mean: Vec<f64>,
    rstd: Vec<f64>,
    gamma: Aligned,
    beta: Aligned,
}

impl Operation for Forward {
    const NAME: &'static str = "normalize_scale_shift";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        let cols = io.rows.cols();
        let statistics = io.x.chunks_exact(cols).map(reference::mean_variance);
        let (mean, rstd) = statistics.map(|(mean, var)| (mean, reference::rstd(var, 1e-5))).unzip();
        Self {
            mean,
            rstd,
            gamma: Aligned::new(cols, |i| 1.0 + 0.1 * spread(i)),
            beta: Aligned::new(cols, |i| 0.1 * spread(i + 7)),
        }
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        let statistics = Statistics::of_rows(&self.mean, &self.rstd);
        let args = NormArgs::new().affine(&self.gamma, &self.beta);
        NormalizeScaleShift::new()
            .with_backend(backend)
            .with_parallelism(Parallelism::Serial)
            .forward(InOut::new(&io.x, &mut io.y), io.rows, statistics, args)
            .expect("the buffers fit");
    }

    fn check(&self, io: &Io, tolerance: f64) {
        let cols = io.rows.cols();
        let (gamma, beta) = (Some(&*self.gamma), Some(&*self.beta));
        let mut expected = vec![0.0; cols];
        for (r, (x, y)) in io.x.chunks_exact(cols).zip(io.y.chunks_exact(cols)).enumerate() {
            let (mean, rstd) = (self.mean[r], self.rstd[r]);
            reference::normalize_scale_shift(x, mean, rstd, gamma, beta, &mut expected);
            assert_close(y, &expected, tolerance);
        }
    }
}

impl Forward {
    fn scalar(&mut self, io: &mut Io) {
        let cols = io.rows.cols();
        for (r, (x, y)) in io.x.chunks_exact(cols).zip(io.y.chunks_exact_mut(cols)).enumerate() {
            let (mean, rstd) = (self.mean[r] as f32, self.rstd[r] as f32);
            for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(&*self.gamma).zip(&*self.beta) {
                *y = (x - mean) * rstd * gamma + beta;
            }
        }
    }
}

fn main() {
    common::measure::<Forward>();
}
