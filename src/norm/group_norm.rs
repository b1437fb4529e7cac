//! GroupNorm: every group of channels of every sample normalised by its own mean and variance.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;

use crate::error::Error;
use crate::norm::channels::GroupSpec;
use crate::run::execution::{Execution, output_setters};
use crate::shape::{Channels, check_length};
use crate::simd::{Span, write_whole};

/// Group normalisation (Wu and He, 2018, arXiv 1803.08494) of `[batch, channels, positions]` or `[batch, positions,
/// channels]`.
///
/// The channels of a sample fall into groups of `channels / groups` neighbours. For every sample n, channel c, its group g,
/// and position p, with the mean and the population variance over all positions of all channels of the group:
///
/// ```text
/// y[n, c, p] = gamma[c] * (x[n, c, p] - mean[n, g]) / sqrt(var[n, g] + eps) + beta[c]
/// ```
///
/// gamma (absent: 1) and beta (absent: 0) are independent of each other. Training and inference are the same. The
/// `_with_stats` methods also write `mean` and `rstd = 1 / sqrt(var + eps)` of every group, `[batch, groups]`. With one
/// group the channels of a sample have their statistics in common; with as many groups as channels this is
/// [`InstanceNorm`](crate::InstanceNorm).
///
/// * **Accuracy**: relative error of the variance at most 1e-6; with `x_hat = (x - mean) * rstd`, error of
///   y at most `1e-6 * (|gamma| * max(1, |x_hat|) + |beta|) + 2^-149`; for every finite input, whatever its
///   mean / std, its magnitude or its outliers.
/// * **Method**: with channels first a group is a row, whose statistics are those of
///   [`RowMoments`](crate::RowMoments); with channels last they are those of
///   [`ColumnMoments`](crate::ColumnMoments) of the sample, merged over the channels of a group.
/// * **Cost**: O(elements). With channels first, reads x from memory once and writes y once, and needs no scratch. With channels
///   last, a sample is read twice, the second time from a cache that holds it, and the statistics of its channels take
///   [`scratch_len`](Self::scratch_len) numbers. Nothing else is allocated on a single thread. Threads share samples, and
///   groups (first) or positions (last) of one.
/// * **Determinism**: the same bits for every thread count, batch size, alignment, in place or not, and on
///   every backend that [fuses multiply-adds](crate::Backend::is_fused). The two layouts differ in their last bits.
/// * **Special values**: a constant group gives beta (`==`). Where var + eps = 0, rstd is taken as 0. A NaN or infinity
///   makes its own group NaN and touches no other.
///
/// # Example
///
/// ```
/// use evenkeel::{Channels, GroupNorm};
///
/// // One sample of four channels at two positions, in two groups.
/// let x = [1.0, 3.0, 5.0, 7.0, 20.0, 20.0, 20.0, 20.0];
/// let (gamma, beta) = ([1.0, 2.0, 1.0, 1.0], [0.0, 0.0, 0.5, -0.5]);
/// let (mut y, mut mean, mut rstd) = ([0.0; 8], [0.0; 2], [0.0; 2]);
/// let norm = GroupNorm::new().with_groups(2).with_eps(0.0);
/// let shape = Channels::first(1, 4, 2)?;
/// norm.forward_with_stats(&x, Some(&gamma), Some(&beta), shape, &mut y, &mut mean, &mut rstd)?;
/// assert_eq!((mean, rstd), ([4.0, 20.0], [0.2_f64.sqrt(), 0.0]));
/// assert!((y[3] - 2.0 * 1.341_641).abs() < 1e-6);
/// assert_eq!(y[4..], [0.5, 0.5, -0.5, -0.5]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNorm {
    groups: usize,
    eps: f64,
    execution: Execution,
}

impl Default for GroupNorm {
    fn default() -> Self {
        Self::new()
    }
}

impl GroupNorm {
    /// 32 groups, eps = 1e-5, on the detected backend, with automatic parallelism.
    #[must_use]
    pub const fn new() -> Self {
        Self { groups: 32, eps: 1e-5, execution: Execution::DEFAULT }
    }

    /// How many groups the channels of a sample fall into; divides their number (checked by the calls).
    #[must_use]
    pub const fn with_groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Adds `eps` to the variance, under the root; finite and at least 0 (checked by the calls).
    #[must_use]
    pub const fn with_eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    output_setters!();

    /// How much scratch the methods `_with_scratch` need: none for channels that come first, about
    /// `2 * channels * log2(positions / 64)` numbers a thread for channels that come last.
    #[must_use]
    pub fn scratch_len(&self, shape: Channels) -> usize {
        self.spec().scratch_len(shape)
    }

    /// Reads `x`, writes `y`, both `shape.elements()` long; `gamma` and `beta` are `shape.channels()` long. Allocates the
    /// scratch, where channels come last.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] if eps is negative or not finite;
    /// [`Error::Groups`] if the groups do not divide the channels; [`Error::Length`] if a slice has another length.
    /// Nothing is written then.
    pub fn forward(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &mut [f32],
    ) -> Result<(), Error> {
        shape.check_io(x.len(), y.len())?;
        self.spec().run(Span::new(x, y), gamma, beta, shape, None, None)
    }

    /// As [`forward`](Self::forward), and writes `mean` and `rstd`, one of each a group of every sample.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward); [`Error::Length`] if `mean` or `rstd` is not `shape.batch() * groups` long;
    /// [`Error::EmptyAxis`] if there are groups and they are empty.
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_with_stats(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &mut [f32],
        mean: &mut [f64],
        rstd: &mut [f64],
    ) -> Result<(), Error> {
        shape.check_io(x.len(), y.len())?;
        self.spec().run(Span::new(x, y), gamma, beta, shape, Some((mean, rstd)), None)
    }

    /// As [`forward_with_stats`](Self::forward_with_stats), with scratch of at least
    /// [`scratch_len`](Self::scratch_len) numbers. Allocates nothing on a single thread.
    ///
    /// # Errors
    ///
    /// As [`forward_with_stats`](Self::forward_with_stats); [`Error::Length`] if `scratch` is too short.
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_with_scratch(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &mut [f32],
        mean: &mut [f64],
        rstd: &mut [f64],
        scratch: &mut [f64],
    ) -> Result<(), Error> {
        shape.check_io(x.len(), y.len())?;
        let stats = Some((mean, rstd));
        self.spec().run(Span::new(x, y), gamma, beta, shape, stats, Some(scratch))
    }

    /// Reads and writes `x`.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_in_place(
        &self,
        x: &mut [f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
    ) -> Result<(), Error> {
        check_length("x", x.len(), shape.elements())?;
        self.spec().run(Span::in_place(x), gamma, beta, shape, None, None)
    }

    /// As [`forward_in_place`](Self::forward_in_place), and writes `mean` and `rstd`, one of each a group of every sample.
    ///
    /// # Errors
    ///
    /// As [`forward_with_stats`](Self::forward_with_stats).
    pub fn forward_in_place_with_stats(
        &self,
        x: &mut [f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        mean: &mut [f64],
        rstd: &mut [f64],
    ) -> Result<(), Error> {
        check_length("x", x.len(), shape.elements())?;
        self.spec().run(Span::in_place(x), gamma, beta, shape, Some((mean, rstd)), None)
    }

    /// As [`forward_in_place_with_stats`](Self::forward_in_place_with_stats), with scratch of at least
    /// [`scratch_len`](Self::scratch_len) numbers. Allocates nothing on a single thread.
    ///
    /// # Errors
    ///
    /// As [`forward_with_scratch`](Self::forward_with_scratch).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_in_place_with_scratch(
        &self,
        x: &mut [f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        mean: &mut [f64],
        rstd: &mut [f64],
        scratch: &mut [f64],
    ) -> Result<(), Error> {
        check_length("x", x.len(), shape.elements())?;
        let stats = Some((mean, rstd));
        self.spec().run(Span::in_place(x), gamma, beta, shape, stats, Some(scratch))
    }

    /// Reads `x`, initialises `y` and returns it. Allocates the scratch, where channels come last.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_uninit<'y>(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &'y mut [MaybeUninit<f32>],
    ) -> Result<&'y mut [f32], Error> {
        shape.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| self.spec().run(io, gamma, beta, shape, None, None))
    }

    /// As [`forward_with_scratch`](Self::forward_with_scratch); initialises `y` and returns it.
    ///
    /// # Errors
    ///
    /// As [`forward_with_scratch`](Self::forward_with_scratch).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_uninit_with_scratch<'y>(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &'y mut [MaybeUninit<f32>],
        mean: &mut [f64],
        rstd: &mut [f64],
        scratch: &mut [f64],
    ) -> Result<&'y mut [f32], Error> {
        shape.check_io(x.len(), y.len())?;
        let stats = Some((mean, rstd));
        write_whole(x, y, |io| self.spec().run(io, gamma, beta, shape, stats, Some(scratch)))
    }

    pub(crate) const fn spec(&self) -> GroupSpec {
        let Self { groups, eps, execution } = *self;
        GroupSpec { groups: Some(groups), eps, execution }
    }
}
