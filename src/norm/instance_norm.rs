//! InstanceNorm: every channel of every sample normalised by its own mean and variance.
#![forbid(unsafe_code)]

use crate::args::grad::GradArgs;
use crate::args::norm::NormArgs;
use crate::element::{Element, Elements};
use crate::error::Error;
use crate::norm::channels::GroupSpec;
use crate::run::execution::{Execution, output_setters};
use crate::shape::Channels;
use crate::simd::InOut;

/// Instance normalisation (Ulyanov, Vedaldi and Lempitsky, 2016, arXiv 1607.08022) of `[batch, channels, positions]` or
/// `[batch, positions, channels]`.
///
/// For every sample n, channel c and position p, with the mean and the population variance over the positions of the
/// channel in the sample:
///
/// ```text
/// y[n, c, p] = gamma[c] * (x[n, c, p] - mean[n, c]) / sqrt(var[n, c] + eps) + beta[c]
/// ```
///
/// gamma (absent: 1) and beta (absent: 0) are independent of each other. Training and inference are the same: for running
/// statistics see [`BatchNorm`](crate::BatchNorm). Mean and rstd are those of every
/// channel of every sample, `[batch, channels]`.
///
/// This is [`GroupNorm`](crate::GroupNorm) with a group for each channel, bit for bit, and has its accuracy, cost,
/// determinism and special values: a constant channel gives beta (`==`), a NaN or infinity makes its own channel of its
/// own sample NaN.
///
/// # Example
///
/// ```
/// use evenkeel::{Channels, InOut, InstanceNorm, NormArgs};
///
/// // Two samples of two positions of two channels, which come last.
/// let x = [1.0_f32, 10.0, 3.0, 30.0, 5.0, 5.0, 7.0, 5.0];
/// let mut y = [0.0_f32; 8];
/// let shape = Channels::last(2, 2, 2)?;
/// let args = NormArgs::new().beta(&[0.0_f32, 0.5]);
/// InstanceNorm::new().with_eps(0.0).forward(InOut::new(&x, &mut y), shape, args)?;
/// assert_eq!(y, [-1.0, -0.5, 1.0, 1.5, -1.0, 0.5, 1.0, 0.5]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[doc(alias = "instancenorm")]
#[doc(alias = "instance_norm")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstanceNorm {
    eps: f64,
    execution: Execution,
}

impl Default for InstanceNorm {
    fn default() -> Self {
        Self::new()
    }
}

impl InstanceNorm {
    /// eps = 1e-5, on the detected backend, with automatic parallelism.
    #[must_use]
    pub const fn new() -> Self {
        Self { eps: 1e-5, execution: Execution::DEFAULT }
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

    /// Normalises x and returns y. gamma and beta have `shape.channels()` elements, mean and rstd one a channel of every sample.
    /// Allocates its scratch, where channels come last, unless it is passed.
    ///
    /// # Padding
    ///
    /// Where [`valid`](NormArgs::valid) says which positions are data, their y and the statistics have the bits of samples that
    /// have only these; a sample without any has 0 and 0. A row of the mask is a position of a sample, in either layout, and
    /// holds for all its channels. It costs two copies of a sample more, unless channels come last and the valid positions are
    /// neighbours, as those of lengths are, and allocates one on each thread.
    ///
    /// ```
    /// use evenkeel::{Channels, InOut, InstanceNorm, NormArgs, ValidRows};
    ///
    /// // Two samples of one channel, of three positions and of two.
    /// let x = [1.0_f32, 2.0, 3.0, 5.0, 7.0, f32::NAN];
    /// let (mut y, shape) = ([9.0_f32; 6], Channels::first(2, 1, 3)?);
    /// let args = NormArgs::new().valid(ValidRows::Lengths { lengths: &[3, 2], steps: 3 });
    /// InstanceNorm::new().with_eps(1.0 / 3.0).forward(InOut::new(&x, &mut y), shape, args)?;
    /// assert_eq!(y[..3], [-1.0, 0.0, 1.0]);
    /// assert_eq!(y[5], 0.0);
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Parameter`]: eps is negative or not finite, or the steps of
    ///   [`ValidRows::Lengths`](crate::ValidRows::Lengths) do not divide the positions.
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
    /// With `g = dy * gamma`, and means over the channel of a sample:
    ///
    /// ```text
    /// dx = rstd * (g - mean(g) - x_hat * mean(g * x_hat))
    /// dgamma[c] = sum of dy * x_hat over the channel in all samples;  dbeta[c] = sum of dy
    /// ```
    ///
    /// dx may be written over dy. With [`InOut::read_only`] there is none. gamma, dgamma and dbeta have an element a channel.
    /// [`GradArgs::stats`] are the mean and rstd of every channel of every sample; without them they are made again from x, with
    /// the same bits.
    ///
    /// * **Accuracy, special values**: those of [`BatchNorm::backward`](crate::BatchNorm::backward), the channel of a sample in the place
    ///   of the channel.
    /// * **Cost**: reads x and dy from memory once where a channel of a sample (with channels last, a sample) fits a cache, and writes dx
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
        let Self { eps, execution } = *self;
        GroupSpec { groups: None, eps, execution }
    }
}
