//! GroupNorm: every group of channels of every sample normalised by its own mean and variance.
#![forbid(unsafe_code)]

use crate::args::grad::GradArgs;
use crate::args::norm::NormArgs;
use crate::element::{Element, Elements};
use crate::error::Error;
use crate::norm::channels::GroupSpec;
use crate::run::execution::{Execution, output_setters};
use crate::shape::Channels;
use crate::simd::InOut;

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
/// gamma (absent: 1) and beta (absent: 0) are independent of each other. Training and inference are the same. Mean
/// and rstd are those of every group, `[batch, groups]`. With one
/// group the channels of a sample have their statistics in common; with as many groups as channels this is
/// [`InstanceNorm`](crate::InstanceNorm).
///
/// * **Accuracy**: relative error of the variance at most 2.2e-6; with `x_hat = (x - mean) * rstd`, error of
///   y at most `2e-6 * (|gamma| * max(1, |x_hat|) + |beta|) + 2^-149`; for every finite input, whatever its
///   mean / std, its magnitude or its outliers. A search found 0.55e-6 at worst.
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
/// use evenkeel::{Channels, GroupNorm, InOut, NormArgs};
///
/// // One sample of four channels at two positions, in two groups.
/// let x = [1.0_f32, 3.0, 5.0, 7.0, 20.0, 20.0, 20.0, 20.0];
/// let (gamma, beta) = ([1.0_f32, 2.0, 1.0, 1.0], [0.0_f32, 0.0, 0.5, -0.5]);
/// let (mut y, mut mean, mut rstd) = ([0.0_f32; 8], [0.0; 2], [0.0; 2]);
/// let norm = GroupNorm::new().with_groups(2).with_eps(0.0);
/// let shape = Channels::first(1, 4, 2)?;
/// let args = NormArgs::new().affine(&gamma, &beta).stats(&mut mean, &mut rstd);
/// norm.forward(InOut::new(&x, &mut y), shape, args)?;
/// assert_eq!((mean, rstd), ([4.0, 20.0], [0.2_f64.sqrt(), 0.0]));
/// assert!((y[3] - 2.0 * 1.341_641).abs() < 1e-6);
/// assert_eq!(y[4..], [0.5, 0.5, -0.5, -0.5]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[doc(alias = "groupnorm")]
#[doc(alias = "group_norm")]
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
    #[doc(alias = "num_groups")]
    #[must_use]
    pub const fn with_groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Adds `eps` to the variance, under the root; finite and at least 0 (checked by the calls).
    #[doc(alias = "epsilon")]
    #[must_use]
    pub const fn with_eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    output_setters!();

    /// How much scratch a call needs: none for channels that come first, about `2 * channels * log2(positions / 64)` numbers a
    /// thread for channels that come last.
    #[must_use]
    pub fn scratch_len(&self, shape: Channels) -> usize {
        self.spec().scratch_len(shape)
    }

    /// Normalises x and returns y. gamma and beta have `shape.channels()` elements, mean and rstd one a group of every sample.
    /// Allocates its scratch, where channels come last, unless it is passed.
    ///
    /// # Padding
    ///
    /// Where [`valid`](NormArgs::valid) says which positions are data, their y and the statistics have the bits of samples that
    /// have only these; a sample without any has 0 and 0. A row of the mask is a position of a sample, in either layout, and
    /// holds for all its channels. It costs two copies of a sample more, unless channels come last and the valid positions are
    /// neighbours, as those of lengths are, and allocates one on each thread.
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Parameter`]: eps is negative or not finite, or the steps of
    ///   [`ValidRows::Lengths`](crate::ValidRows::Lengths) do not divide the positions.
    /// * [`Error::Groups`]: the channels do not fall into so many groups. (A shape without elements has none to fall.)
    /// * [`Error::Length`], [`Error::TooShort`]: a slice does not fit the shape.
    /// * [`Error::SampleLength`]: a length of `ValidRows::Lengths` is above the steps.
    /// * [`Error::Unsupported`]: an argument that belongs to rows ([`NormArgs`] has a table), or a pitch.
    /// * [`Error::OutOfMemory`]: there is no memory for the scratch, for a copy of statistics in f32, or for a sample with
    ///   padding. In the last case other samples of y may have been written.
    #[inline]
    pub fn forward<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        shape: Channels,
        args: NormArgs<'_>,
    ) -> Result<&'a mut [Y], Error> {
        io.write_whole(|io| self.spec().run(io, shape, args))
    }

    /// Reads dy, the gradient of a loss by y, and writes and returns dx, its gradient by x; those of gamma and beta too, if
    /// [`GradArgs`] has places for them.
    ///
    /// With `g = dy * gamma`, and means over the group:
    ///
    /// ```text
    /// dx = rstd * (g - mean(g) - x_hat * mean(g * x_hat))
    /// dgamma[c] = sum of dy * x_hat over the channel in all samples;  dbeta[c] = sum of dy
    /// ```
    ///
    /// dx may be written over dy. With [`InOut::read_only`] there is none. gamma, dgamma and dbeta have an element a channel.
    /// [`GradArgs::stats`] are the mean and rstd of every group of every sample; without them they are made again from x, with
    /// the same bits.
    ///
    /// * **Accuracy, special values**: those of [`BatchNorm::backward`](crate::BatchNorm::backward), the group in the place
    ///   of the channel.
    /// * **Cost**: reads x and dy from memory once where a group (with channels last, a sample) fits a cache, and writes dx
    ///   once. Without scratch it allocates [`backward_scratch_len`](Self::backward_scratch_len) numbers.
    /// * **Determinism**: the same bits for every thread count. The sums of samples are added in order.
    /// * **Padding** has dx = `+0.0` and adds nothing. A sample with padding has the gradients of one that has only its valid
    ///   positions, and costs three copies of a sample more; two samples are allocated.
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Parameter`]: eps is negative or not finite, or the steps of
    ///   [`ValidRows::Lengths`](crate::ValidRows::Lengths) do not divide the positions.
    /// * [`Error::Groups`]: the channels do not fall into so many groups.
    /// * [`Error::Length`], [`Error::TooShort`]: a slice does not fit the shape.
    /// * [`Error::SampleLength`]: a length of `ValidRows::Lengths` is above the steps.
    /// * [`Error::Unsupported`]: a gate or its gradient, dsum, a second place for dx, or a pitch; or rstd without a mean.
    /// * [`Error::OutOfMemory`]: there is no memory for scratch, for a copy of statistics in f32, or for two samples with
    ///   padding.
    pub fn backward<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        x: &[X],
        shape: Channels,
        args: GradArgs<'_>,
    ) -> Result<&'a mut [Y], Error> {
        io.write_whole(|io| self.spec().backward(io, Elements::of(x), shape, args))
    }

    /// How many numbers of scratch [`backward`](Self::backward) needs ([`GradArgs::scratch`]). Depends on the shape alone.
    #[must_use]
    pub fn backward_scratch_len(&self, shape: Channels) -> usize {
        GroupSpec::backward_scratch_len(shape)
    }

    pub(crate) const fn spec(&self) -> GroupSpec {
        let Self { groups, eps, execution } = *self;
        GroupSpec { groups: Some(groups), eps, execution }
    }
}
