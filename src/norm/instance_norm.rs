//! InstanceNorm: every channel of every sample normalised by its own mean and variance.
#![forbid(unsafe_code)]

use crate::args::norm::NormArgs;
use crate::element::Element;
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
    /// * [`Error::OutOfMemory`]: there is no memory for the scratch, or for a sample with padding. In the latter case other
    ///   samples of y may have been written.
    #[inline]
    pub fn forward<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        shape: Channels,
        args: NormArgs<'_>,
    ) -> Result<&'a mut [Y], Error> {
        io.write_whole(|io| self.spec().run(io, shape, args))
    }

    pub(crate) const fn spec(&self) -> GroupSpec {
        let Self { eps, execution } = *self;
        GroupSpec { groups: None, eps, execution }
    }
}
