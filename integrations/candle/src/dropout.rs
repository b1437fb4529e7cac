//! Dropout with a seed.

use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{CpuStorage, CustomOp1, DType, Error, Layout, Result, Shape, Tensor, bail};
use candle_nn::ModuleT;
use evenkeel::{InOut, Stream, to_vec};

use crate::autograd::cpu;
use crate::layout::f32s;

/// Dropout, in the place of `candle_nn::Dropout`, whose masks are a function of a seed: a run can be repeated, with any number of
/// threads. Nothing is kept for the backward pass: it draws the mask again.
#[derive(Debug)]
pub struct Dropout {
    p: f64,
    seed: u64,
    /// Where in the stream of the seed the next mask begins.
    next: AtomicU64,
}

impl Dropout {
    /// Drops with probability p.
    #[must_use]
    pub const fn new(p: f64, seed: u64) -> Self {
        Self { p, seed, next: AtomicU64::new(0) }
    }

    /// Drops elements of x if `train`; otherwise gives x back.
    ///
    /// # Errors
    ///
    /// If p is no probability, or the device is no CPU.
    pub fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        match self.next(x, train) {
            None => Ok(x.clone()),
            Some((p, stream)) => apply(p, stream, x),
        }
    }

    /// p and the stream of the next mask, for as many elements as x has; none where nothing is dropped.
    pub(crate) fn next(&self, x: &Tensor, train: bool) -> Option<(f64, Stream)> {
        if !train || self.p == 0.0 {
            return None;
        }
        let offset = self.next.fetch_add(x.elem_count() as u64, Ordering::Relaxed);
        Some((self.p, Stream { seed: self.seed, offset }))
    }
}

impl ModuleT for Dropout {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.forward(x, train)
    }
}

/// Drops elements of x.
pub(crate) fn apply(p: f64, stream: Stream, x: &Tensor) -> Result<Tensor> {
    let drop = Drop { dropout: evenkeel::Dropout::new().with_p(p), stream };
    let single = x.to_dtype(DType::F32)?.contiguous()?;
    single.apply_op1(drop)?.to_dtype(x.dtype())
}

/// One mask.
struct Drop {
    dropout: evenkeel::Dropout,
    stream: Stream,
}

impl Drop {
    fn apply(&self, storage: &CpuStorage, layout: &Layout) -> Result<Vec<f32>> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("dropout takes contiguous tensors")
        };
        let x = &f32s(storage)?[start..end];
        to_vec(x.len(), |y| self.dropout.forward(InOut::uninit(x, y), self.stream))
            .map_err(Error::wrap)
    }
}

impl CustomOp1 for Drop {
    fn name(&self) -> &'static str {
        "evenkeel dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.apply(x, layout)?), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let (storage, layout) = dy.storage_and_layout();
        let dx = self.apply(cpu(&storage)?, layout)?;
        Ok(Some(Tensor::from_vec(dx, dy.shape(), dy.device())?))
    }
}
