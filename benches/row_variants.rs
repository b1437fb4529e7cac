//! RmsNorm with gamma: of x and a residual, which becomes the sum, and gated by silu of z. `scalar` is the loop.
//!
//! Bytes are those of x, the residual, y and the residual again, or of x, z and y; `memcpy` copies as many, of the first in
//! two copies of x.
#![forbid(unsafe_code)]

mod common;

use common::{Aligned, Io, Loops, Operation, assert_close, spread};
use evenkeel::{Backend, InOut, NormArgs, Parallelism, RmsNorm, Rows, reference};

const EPS: f64 = 1e-5;

fn rms_norm(backend: Backend) -> RmsNorm {
    RmsNorm::new().with_eps(EPS).with_backend(backend).with_parallelism(Parallelism::Serial)
}

fn gamma(io: &Io) -> Aligned {
    Aligned::new(io.rows.cols(), |i| 1.0 + 0.1 * spread(i))
}

/// What a residual holds before the first call.
fn before(i: usize) -> f32 {
    spread(i + 3)
}

fn rstd(x: &[f32]) -> f32 {
    let mean_square = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
    1.0 / (mean_square + EPS as f32).sqrt()
}

struct UpdateResidual {
    gamma: Aligned,
    residual: Aligned,
}

impl Operation for UpdateResidual {
    const NAME: &'static str = "rms_norm_residual";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];
    const IN_MEMORY: bool = true;

    fn new(io: &Io) -> Self {
        Self { gamma: gamma(io), residual: Aligned::new(io.rows.elements(), before) }
    }

    fn bytes(rows: Rows) -> usize {
        4 * size_of::<f32>() * rows.elements()
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        let args = NormArgs::new().gamma(&self.gamma).update_residual(&mut self.residual);
        rms_norm(backend)
            .forward(InOut::new(&io.x, &mut io.y), io.rows, args)
            .expect("the buffers fit");
    }

    /// Each run adds x to the residual again.
    fn spoil(&mut self) {
        self.residual.iter_mut().enumerate().for_each(|(i, residual)| *residual = before(i));
    }

    fn check(&self, io: &Io, tolerance: f64) {
        let cols = io.rows.cols();
        for (i, (x, sum)) in io.x.iter().zip(&*self.residual).enumerate() {
            assert_eq!(*sum, x + before(i), "element {i} of the sum");
        }
        let mut expected = vec![0.0; cols];
        for (sum, y) in self.residual.chunks_exact(cols).zip(io.y.chunks_exact(cols)) {
            reference::rms_norm(sum, Some(&self.gamma), None, EPS, &mut expected);
            assert_close(y, &expected, tolerance);
        }
    }
}

impl UpdateResidual {
    fn scalar(&mut self, io: &mut Io) {
        let cols = io.rows.cols();
        let rows = io.x.chunks_exact(cols).zip(self.residual.chunks_exact_mut(cols));
        for ((x, residual), y) in rows.zip(io.y.chunks_exact_mut(cols)) {
            for (residual, x) in residual.iter_mut().zip(x) {
                *residual += x;
            }
            let rstd = rstd(residual);
            for ((y, x), gamma) in y.iter_mut().zip(residual).zip(&*self.gamma) {
                *y = *x * rstd * gamma;
            }
        }
    }
}

struct Gated {
    gamma: Aligned,
    z: Aligned,
}

impl Operation for Gated {
    const NAME: &'static str = "rms_norm_gated";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        Self { gamma: gamma(io), z: Aligned::new(io.rows.elements(), |i| 3.0 * spread(i + 3)) }
    }

    fn bytes(rows: Rows) -> usize {
        3 * size_of::<f32>() * rows.elements()
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        let args = NormArgs::new().gamma(&self.gamma).gate(&self.z);
        rms_norm(backend)
            .forward(InOut::new(&io.x, &mut io.y), io.rows, args)
            .expect("the buffers fit");
    }

    fn check(&self, io: &Io, tolerance: f64) {
        let cols = io.rows.cols();
        let mut expected = vec![0.0; cols];
        let rows = io.x.chunks_exact(cols).zip(self.z.chunks_exact(cols));
        for ((x, z), y) in rows.zip(io.y.chunks_exact(cols)) {
            reference::rms_norm(x, Some(&self.gamma), None, EPS, &mut expected);
            for (expected, &z) in expected.iter_mut().zip(z) {
                *expected *= reference::silu(z);
            }
            assert_close(y, &expected, tolerance);
        }
    }
}

impl Gated {
    fn scalar(&mut self, io: &mut Io) {
        let cols = io.rows.cols();
        let rows = io.x.chunks_exact(cols).zip(self.z.chunks_exact(cols));
        for ((x, z), y) in rows.zip(io.y.chunks_exact_mut(cols)) {
            let rstd = rstd(x);
            for (((y, x), z), gamma) in y.iter_mut().zip(x).zip(z).zip(&*self.gamma) {
                *y = x * rstd * gamma * (z / (1.0 + (-z).exp()));
            }
        }
    }
}

fn main() {
    common::measure::<UpdateResidual>();
    common::measure::<Gated>();
}
