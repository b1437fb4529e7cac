//! Optional inputs and outputs of a training step of BatchNorm.
#![forbid(unsafe_code)]

use crate::args::norm::NormArgs;
use crate::element::{Element, WideElement};
use crate::error::Error;
use crate::mask::ValidRows;
use crate::run::pool::Pool;
use crate::shape::check_length;

/// Optional inputs and outputs of [`BatchNorm::forward_training`](crate::BatchNorm::forward_training). All are absent at first;
/// each setter adds one.
///
/// | setter | what it is | length |
/// |---|---|---|
/// | [`gamma`](Self::gamma), [`beta`](Self::beta), [`affine`](Self::affine) | what `x_hat` is multiplied with, and what is added then | channels |
/// | [`stats`](Self::stats) | mean and `1 / sqrt(var + eps)` of the batch, written | channels |
/// | [`running`](Self::running) | the running mean and variance, updated | channels |
/// | [`valid`](Self::valid) | which rows (positions, of samples) are data | rows |
/// | [`scratch`](Self::scratch) | memory, so that the call allocates none | [`scratch_len`](crate::BatchNorm::scratch_len) |
/// | [`pool`](Self::pool) | the host's threads, in place of rayon's | |
#[derive(Debug, Default)]
#[must_use]
pub struct TrainArgs<'a> {
    pub(crate) norm: NormArgs<'a>,
    pub(crate) running: Option<[&'a mut [f32]; 2]>,
}

impl<'a> TrainArgs<'a> {
    /// No optional arguments.
    #[inline]
    pub const fn new() -> Self {
        Self { norm: NormArgs::new(), running: None }
    }

    /// Multiplies `x_hat` with gamma, one a channel.
    #[doc(alias = "weight")]
    #[doc(alias = "scale")]
    #[inline]
    pub fn gamma<P: Element>(mut self, gamma: &'a [P]) -> Self {
        self.norm = self.norm.gamma(gamma);
        self
    }

    /// The same, if there is one.
    #[inline]
    pub fn maybe_gamma<P: Element>(mut self, gamma: Option<&'a [P]>) -> Self {
        self.norm = self.norm.maybe_gamma(gamma);
        self
    }

    /// Adds beta, one a channel.
    #[doc(alias = "bias")]
    #[doc(alias = "shift")]
    #[inline]
    pub fn beta<P: Element>(mut self, beta: &'a [P]) -> Self {
        self.norm = self.norm.beta(beta);
        self
    }

    /// The same, if there is one.
    #[inline]
    pub fn maybe_beta<P: Element>(mut self, beta: Option<&'a [P]>) -> Self {
        self.norm = self.norm.maybe_beta(beta);
        self
    }

    /// gamma and beta.
    #[inline]
    pub fn affine<P: Element>(self, gamma: &'a [P], beta: &'a [P]) -> Self {
        self.gamma(gamma).beta(beta)
    }

    /// Writes the mean and `rstd = 1 / sqrt(var + eps)` of every channel of the batch. Those of a batch without data are 0. In f32
    /// they are as [`NormArgs::stats`] says.
    #[inline]
    pub fn stats<S: WideElement>(mut self, mean: &'a mut [S], rstd: &'a mut [S]) -> Self {
        self.norm = self.norm.stats(mean, rstd);
        self
    }

    /// Moves the running mean and variance of every channel towards those of the batch, by the operation's momentum. Start with
    /// 0 and 1. A batch without data leaves them as they are.
    #[doc(alias = "running_mean")]
    #[doc(alias = "running_var")]
    #[inline]
    pub fn running(mut self, mean: &'a mut [f32], var: &'a mut [f32]) -> Self {
        self.running = Some([mean, var]);
        self
    }

    /// Only these rows (positions, of samples) are data. The others are padding: the statistics are those of the batch without
    /// them, and their y is `+0.0`, whatever x holds there.
    ///
    /// With rows the statistics have the bits of a batch without the others. With channels first so has every channel of
    /// every sample, and samples are merged by the number of their valid positions.
    #[doc(alias = "mask")]
    #[doc(alias = "padding")]
    #[inline]
    pub fn valid(mut self, valid: ValidRows<'a>) -> Self {
        self.norm = self.norm.valid(valid);
        self
    }

    /// Memory for the call, at least as long as [`scratch_len`](crate::BatchNorm::scratch_len) says, so that it allocates none.
    #[inline]
    pub fn scratch(mut self, scratch: &'a mut [f64]) -> Self {
        self.norm = self.norm.scratch(scratch);
        self
    }

    /// Runs on the host's threads.
    #[inline]
    pub fn pool(mut self, pool: &'a dyn Pool) -> Self {
        self.norm = self.norm.pool(pool);
        self
    }

    /// The same arguments for one call, after which these can be used again.
    #[inline]
    pub fn reborrow(&mut self) -> TrainArgs<'_> {
        let running = self.running.as_mut().map(|[mean, var]| [&mut **mean, &mut **var]);
        TrainArgs { norm: self.norm.reborrow(), running }
    }
}

/// Checks the lengths of running statistics, and that no variance is negative.
pub(crate) fn check_running(mean: &[f32], var: &[f32], channels: usize) -> Result<(), Error> {
    check_length("running_mean", mean.len(), channels)?;
    check_length("running_var", var.len(), channels)?;
    // Without an early exit, so that it is vectorised.
    let negative = var.iter().fold(false, |negative, &var| negative | (var < 0.0));
    if !negative {
        return Ok(());
    }
    let got = var.iter().copied().fold(f32::INFINITY, f32::min).into();
    Err(Error::Parameter { arg: "running_var", expected: "numbers of at least 0", got })
}
