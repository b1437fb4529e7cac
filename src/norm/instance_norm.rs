//! InstanceNorm: every channel of every sample normalised by its own mean and variance.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;

use crate::error::Error;
use crate::mask::ValidRows;
use crate::norm::channels::GroupSpec;
use crate::run::execution::{Execution, output_setters};
use crate::shape::{Channels, check_length};
use crate::simd::{Span, write_whole};

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
/// statistics see [`BatchNorm`](crate::BatchNorm). The `_with_stats` methods also write `mean` and
/// `rstd = 1 / sqrt(var + eps)` of every channel of every sample, `[batch, channels]`.
///
/// This is [`GroupNorm`](crate::GroupNorm) with a group for each channel, bit for bit, and has its accuracy, cost,
/// determinism and special values: a constant channel gives beta (`==`), a NaN or infinity makes its own channel of its
/// own sample NaN.
///
/// # Example
///
/// ```
/// use evenkeel::{Channels, InstanceNorm};
///
/// // Two samples of two positions of two channels, which come last.
/// let x = [1.0, 10.0, 3.0, 30.0, 5.0, 5.0, 7.0, 5.0];
/// let mut y = [0.0; 8];
/// let shape = Channels::last(2, 2, 2)?;
/// InstanceNorm::new().with_eps(0.0).forward(&x, None, Some(&[0.0, 0.5]), shape, &mut y)?;
/// assert_eq!(y, [-1.0, -0.5, 1.0, 1.5, -1.0, 0.5, 1.0, 0.5]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
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
    /// [`Error::Parameter`] if eps is negative or not finite; [`Error::Length`] if a slice has another length.
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

    /// As [`forward`](Self::forward), and writes `mean` and `rstd`, one of each a channel of every sample.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward); [`Error::Length`] if `mean` or `rstd` is not `shape.batch() * shape.channels()` long;
    /// [`Error::EmptyAxis`] if there are channels and they are empty.
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

    /// As [`forward_in_place`](Self::forward_in_place), and writes `mean` and `rstd`, one of each a channel of every sample.
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

    /// As [`forward`](Self::forward) of samples without their padding: the valid positions of a sample have the bits of one that
    /// has only these, and the padding of `y` is `+0.0`, whatever `x` holds there, NaN too.
    ///
    /// A row of `valid` is a position of a sample: `batch * positions`, in either layout, with the mask or the length of a
    /// sample in common for its channels. Costs two copies of a sample more than [`forward`](Self::forward), unless channels come
    /// last and the valid positions are neighbours, as those of lengths are; allocates one on each thread.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward); [`Error::Length`] if the mask is not as long as `shape.batch() * shape.positions()` asks for,
    /// or there are not as many lengths as samples; [`Error::Parameter`] if the steps do not divide that;
    /// [`Error::SampleLength`] if a length is above the steps; [`Error::OutOfMemory`] if there is no memory for a sample, and
    /// then other samples of `y` may have been written.
    ///
    /// # Example
    ///
    /// ```
    /// use evenkeel::{Channels, InstanceNorm, ValidRows};
    ///
    /// // Two samples of one channel, of three positions and of two.
    /// let x = [1.0, 2.0, 3.0, 5.0, 7.0, f32::NAN];
    /// let (mut y, shape) = ([9.0; 6], Channels::first(2, 1, 3)?);
    /// let valid = ValidRows::Lengths { lengths: &[3, 2], steps: 3 };
    /// InstanceNorm::new().with_eps(1.0 / 3.0).forward_masked(&x, valid, None, None, shape, &mut y)?;
    /// assert_eq!(y[..3], [-1.0, 0.0, 1.0]);
    /// assert_eq!(y[5], 0.0);
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    pub fn forward_masked(
        &self,
        x: &[f32],
        valid: ValidRows<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &mut [f32],
    ) -> Result<(), Error> {
        shape.check_io(x.len(), y.len())?;
        self.spec().run_masked(Span::new(x, y), valid, gamma, beta, shape, None)
    }

    /// As [`forward_masked`](Self::forward_masked), and writes `mean` and `rstd`, one of each a channel of every sample; 0
    /// and 0 for a sample without a valid position.
    ///
    /// # Errors
    ///
    /// As [`forward_masked`](Self::forward_masked) and [`forward_with_stats`](Self::forward_with_stats).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_masked_with_stats(
        &self,
        x: &[f32],
        valid: ValidRows<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &mut [f32],
        mean: &mut [f64],
        rstd: &mut [f64],
    ) -> Result<(), Error> {
        shape.check_io(x.len(), y.len())?;
        let stats = Some((mean, rstd));
        self.spec().run_masked(Span::new(x, y), valid, gamma, beta, shape, stats)
    }

    /// As [`forward_masked`](Self::forward_masked); reads and writes `x`.
    ///
    /// # Errors
    ///
    /// As [`forward_masked`](Self::forward_masked).
    pub fn forward_masked_in_place(
        &self,
        x: &mut [f32],
        valid: ValidRows<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
    ) -> Result<(), Error> {
        check_length("x", x.len(), shape.elements())?;
        self.spec().run_masked(Span::in_place(x), valid, gamma, beta, shape, None)
    }

    /// As [`forward_masked`](Self::forward_masked); initialises `y` and returns it.
    ///
    /// # Errors
    ///
    /// As [`forward_masked`](Self::forward_masked).
    pub fn forward_masked_uninit<'y>(
        &self,
        x: &[f32],
        valid: ValidRows<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &'y mut [MaybeUninit<f32>],
    ) -> Result<&'y mut [f32], Error> {
        shape.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| self.spec().run_masked(io, valid, gamma, beta, shape, None))
    }

    pub(crate) const fn spec(&self) -> GroupSpec {
        let Self { eps, execution } = *self;
        GroupSpec { groups: None, eps, execution }
    }
}
