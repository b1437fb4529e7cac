//! The layers that are swapped: a norm and dropout, candle's or evenkeel's.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};
use evenkeel_candle::LayerNorm;

/// Whose norms and dropout a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// candle's fused norm, which `candle_nn::LayerNorm` calls. It has no gradient.
    Fused,
    /// candle's norm of eight operations, which has one.
    Slow,
    /// evenkeel's norm in the place of candle's.
    Swapped,
    /// evenkeel's norm, and the addition before it in the same sweep over memory.
    Added,
}

pub const KINDS: [Kind; 4] = [Kind::Fused, Kind::Slow, Kind::Swapped, Kind::Added];

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fused => "candle, fused",
            Self::Slow => "candle, slow",
            Self::Swapped => "evenkeel",
            Self::Added => "evenkeel, add + norm",
        }
    }

    const fn is_candles(self) -> bool {
        matches!(self, Self::Fused | Self::Slow)
    }
}

/// Nanoseconds that the norms of a model have taken, with the addition before each.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    fn add<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.0.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }

    /// What the clock says, in seconds. It starts again at 0.
    pub fn take(&self) -> f64 {
        self.0.swap(0, Ordering::Relaxed) as f64 * 1e-9
    }
}

pub struct Norm {
    kind: Kind,
    ours: LayerNorm,
    bias: Tensor,
    clock: Rc<Clock>,
}

impl Norm {
    pub fn new(kind: Kind, cols: usize, vb: VarBuilder<'_>, clock: &Rc<Clock>) -> Result<Self> {
        let ours = evenkeel_candle::layer_norm(cols, 1e-12, vb)?;
        let bias = ours.bias().expect("layer_norm has a bias").clone();
        Ok(Self { kind, ours, bias, clock: Rc::clone(clock) })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.clock.add(|| self.normalise(x))
    }

    /// The norm of a sum.
    pub fn forward_residual(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.clock.add(|| match self.kind {
            Kind::Added => self.ours.forward_residual(x, residual),
            _ => self.normalise(&(x + residual)?),
        })
    }

    fn normalise(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias, eps) = (self.ours.weight(), &self.bias, self.ours.eps());
        match self.kind {
            Kind::Fused => candle_nn::ops::layer_norm(x, weight, bias, eps as f32),
            Kind::Slow => candle_nn::ops::layer_norm_slow(x, weight, bias, eps as f32),
            Kind::Swapped | Kind::Added => self.ours.forward(x),
        }
    }
}

/// candle's random numbers cannot be seeded on a CPU: its masks are other ones in each run.
pub enum Dropout {
    Candle(candle_nn::Dropout),
    Evenkeel(evenkeel_candle::Dropout),
}

impl Dropout {
    /// Each place of a model has a seed of its own.
    pub fn new(kind: Kind, p: f64, seed: u64) -> Self {
        if kind.is_candles() {
            return Self::Candle(candle_nn::Dropout::new(p as f32));
        }
        Self::Evenkeel(evenkeel_candle::Dropout::new(p, seed))
    }

    pub fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        match self {
            Self::Candle(dropout) => dropout.forward(x, train),
            Self::Evenkeel(dropout) => dropout.forward(x, train),
        }
    }
}
