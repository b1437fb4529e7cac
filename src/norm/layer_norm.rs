//! LayerNorm: every row normalised by its own mean and variance.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;

use crate::args::residual::Residual;
use crate::error::Error;
use crate::kernels::rows::source::MeanVariance;
use crate::norm::channels::normalize_positions;
use crate::norm::row_variants::row_variants;
use crate::norm::rows::{PLAIN, contiguous, normalize_rows, strided, strided_in_place};
use crate::run::execution::{Execution, output_setters};
use crate::shape::{Channels, Rows, check_eps, check_length, check_optional};
use crate::simd::{RowSpan, Span, write_whole};

/// Layer normalisation over the last axis (Ba, Kiros and Hinton, 2016, arXiv 1607.06450).
///
/// For every row r and column c of a matrix `[rows, cols]`, with the mean and the population variance
/// of the row:
///
/// ```text
/// y[r, c] = gamma[c] * (x[r, c] - mean[r]) / sqrt(var[r] + eps) + beta[c]
/// ```
///
/// gamma (absent: 1) and beta (absent: 0) are independent of each other. Training and inference are the
/// same. The `_with_stats` methods also write `mean` and `rstd = 1 / sqrt(var + eps)` of every row.
///
/// * **Accuracy**: relative error of the variance at most 1e-6; with `x_hat = (x - mean) * rstd`, error of
///   y at most `1e-6 * (|gamma| * max(1, |x_hat|) + |beta|) + 2^-149`; for every finite input, whatever its
///   mean / std, its magnitude or its outliers.
/// * **Cost**: reads x from memory once, writes y once; O(rows * cols); no allocation on a single
///   thread.
/// * **Determinism**: the same bits for every thread count, batch size, alignment, in place or not, and on
///   every backend that [fuses multiply-adds](crate::Backend::is_fused).
/// * **Special values**: a constant row gives beta (`==`), as does a row of one element. Where var + eps = 0,
///   rstd is taken as 0. A NaN or infinity makes its own row NaN and touches no other row. Subnormal
///   numbers are numbers like any other.
///
/// # Example
///
/// ```
/// use evenkeel::{LayerNorm, Rows};
///
/// let x = [1.0, 2.0, 3.0, 4.0, 1e6, 1e6, 1e6, 1e6];
/// let mut y = [0.0; 8];
/// LayerNorm::new().with_eps(0.0).forward(&x, None, None, Rows::new(2, 4)?, &mut y)?;
/// assert!((y[0] + 1.341_641).abs() < 1e-6);
/// assert_eq!(y[4..], [0.0; 4]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    eps: f64,
    execution: Execution,
}

impl Default for LayerNorm {
    fn default() -> Self {
        Self::new()
    }
}

impl LayerNorm {
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

    /// Reads `x`, writes `y`, both `rows.elements()` long.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] if eps is negative or not finite; [`Error::Length`] if `x` or `y` is not
    /// `rows.elements()` long, `gamma` or `beta` not `rows.cols()`. Nothing is written then.
    pub fn forward(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &mut [f32],
    ) -> Result<(), Error> {
        rows.check_io(x.len(), y.len())?;
        self.run(Span::new(x, y), gamma, beta, rows, None)
    }

    /// As [`forward`](Self::forward), and writes `mean` and `rstd`, one of each a row.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward); [`Error::Length`] if `mean` or `rstd` is not `rows.rows()` long;
    /// [`Error::EmptyAxis`] if there are rows and they are empty.
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_with_stats(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &mut [f32],
        mean: &mut [f64],
        rstd: &mut [f64],
    ) -> Result<(), Error> {
        rows.check_io(x.len(), y.len())?;
        self.run(Span::new(x, y), gamma, beta, rows, Some((mean, rstd)))
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
        rows: Rows,
    ) -> Result<(), Error> {
        check_length("x", x.len(), rows.elements())?;
        self.run(Span::in_place(x), gamma, beta, rows, None)
    }

    /// As [`forward_in_place`](Self::forward_in_place), and writes `mean` and `rstd`, one of each a row.
    ///
    /// # Errors
    ///
    /// As [`forward_with_stats`](Self::forward_with_stats).
    pub fn forward_in_place_with_stats(
        &self,
        x: &mut [f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        mean: &mut [f64],
        rstd: &mut [f64],
    ) -> Result<(), Error> {
        check_length("x", x.len(), rows.elements())?;
        self.run(Span::in_place(x), gamma, beta, rows, Some((mean, rstd)))
    }

    /// Reads `x`, initialises `y` and returns it.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_uninit<'y>(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &'y mut [MaybeUninit<f32>],
    ) -> Result<&'y mut [f32], Error> {
        rows.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| self.run(io, gamma, beta, rows, None))
    }

    /// As [`forward_uninit`](Self::forward_uninit), and writes `mean` and `rstd`, one of each a row.
    ///
    /// # Errors
    ///
    /// As [`forward_with_stats`](Self::forward_with_stats).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_uninit_with_stats<'y>(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &'y mut [MaybeUninit<f32>],
        mean: &mut [f64],
        rstd: &mut [f64],
    ) -> Result<&'y mut [f32], Error> {
        rows.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| self.run(io, gamma, beta, rows, Some((mean, rstd))))
    }

    row_variants!(mean, rstd: (&mut [f64], &mut [f64]));

    pub(crate) fn run(
        &self,
        io: Span<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        stats: Option<(&mut [f64], &mut [f64])>,
    ) -> Result<(), Error> {
        self.run_rows(contiguous(rows, io), gamma, beta, rows, stats)
    }

    /// `io` has the shape `rows`.
    pub(crate) fn run_rows(
        &self,
        io: RowSpan<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        stats: Option<(&mut [f64], &mut [f64])>,
    ) -> Result<(), Error> {
        check_eps(self.eps)?;
        let (mean, rstd) = stats.unzip();
        check_optional("mean", mean.as_deref(), rows.rows())?;
        check_optional("rstd", rstd.as_deref(), rows.rows())?;
        if mean.is_some() {
            rows.check_statistic()?;
        }
        let source = MeanVariance { eps: self.eps, mean, rstd };
        normalize_rows(self.execution, io, source, gamma, beta, PLAIN)
    }

    /// Normalises over channels instead: each position of each sample by its own mean and variance over the channels. With
    /// `gamma` and `beta` of the channels, no element of x is moved.
    ///
    /// ```text
    /// y[n, c, p] = gamma[c] * (x[n, c, p] - mean[n, p]) / sqrt(var[n, p] + eps) + beta[c]
    /// ```
    ///
    /// With channels last this is [`forward`](Self::forward) of `[batch * positions, channels]`, bit for bit. With channels
    /// first the statistics are those of [`ColumnMoments`](crate::ColumnMoments) of each sample `[channels, positions]`, the
    /// second half is that of columns, and y differs from `forward` of the transposed data in its last bits. It reads x from
    /// memory once and allocates nothing on a single thread (the statistics of a sample, if it has more than 16 thousand
    /// channels and fewer than 256 positions).
    ///
    /// ```
    /// use evenkeel::{Channels, LayerNorm};
    ///
    /// // One sample of two channels at three positions.
    /// let (x, mut y) = ([1.0, 5.0, -4.0, 3.0, 5.0, 4.0], [0.0; 6]);
    /// let shape = Channels::first(1, 2, 3)?;
    /// LayerNorm::new().with_eps(0.0).forward_channels(&x, Some(&[1.0, 2.0]), None, shape, &mut y)?;
    /// assert_eq!(y, [-1.0, 0.0, -1.0, 2.0, 0.0, 2.0]);
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] if eps is negative or not finite; [`Error::Length`] if `x` or `y` is not `shape.elements()` long,
    /// `gamma` or `beta` not `shape.channels()`. Nothing is written then.
    pub fn forward_channels(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &mut [f32],
    ) -> Result<(), Error> {
        shape.check_io(x.len(), y.len())?;
        normalize_positions(self.execution, self.eps, Span::new(x, y), gamma, beta, shape, None)
    }

    /// As [`forward_channels`](Self::forward_channels), and writes `mean` and `rstd`, one of each a position of every sample.
    ///
    /// # Errors
    ///
    /// As [`forward_channels`](Self::forward_channels); [`Error::Length`] if `mean` or `rstd` is not
    /// `shape.batch() * shape.positions()` long; [`Error::EmptyAxis`] if there are positions and no channels.
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_channels_with_stats(
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
        normalize_positions(
            self.execution,
            self.eps,
            Span::new(x, y),
            gamma,
            beta,
            shape,
            Some((mean, rstd)),
        )
    }

    /// As [`forward_channels`](Self::forward_channels); reads and writes `x`.
    ///
    /// # Errors
    ///
    /// As [`forward_channels`](Self::forward_channels).
    pub fn forward_channels_in_place(
        &self,
        x: &mut [f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
    ) -> Result<(), Error> {
        check_length("x", x.len(), shape.elements())?;
        normalize_positions(self.execution, self.eps, Span::in_place(x), gamma, beta, shape, None)
    }

    /// As [`forward_channels_with_stats`](Self::forward_channels_with_stats); reads and writes `x`.
    ///
    /// # Errors
    ///
    /// As [`forward_channels_with_stats`](Self::forward_channels_with_stats).
    pub fn forward_channels_in_place_with_stats(
        &self,
        x: &mut [f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        mean: &mut [f64],
        rstd: &mut [f64],
    ) -> Result<(), Error> {
        check_length("x", x.len(), shape.elements())?;
        normalize_positions(
            self.execution,
            self.eps,
            Span::in_place(x),
            gamma,
            beta,
            shape,
            Some((mean, rstd)),
        )
    }

    /// As [`forward_channels`](Self::forward_channels); initialises `y` and returns it.
    ///
    /// # Errors
    ///
    /// As [`forward_channels`](Self::forward_channels).
    pub fn forward_channels_uninit<'y>(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &'y mut [MaybeUninit<f32>],
    ) -> Result<&'y mut [f32], Error> {
        shape.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| {
            normalize_positions(self.execution, self.eps, io, gamma, beta, shape, None)
        })
    }

    /// As [`forward_channels_with_stats`](Self::forward_channels_with_stats); initialises `y` and returns it.
    ///
    /// # Errors
    ///
    /// As [`forward_channels_with_stats`](Self::forward_channels_with_stats).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_channels_uninit_with_stats<'y>(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &'y mut [MaybeUninit<f32>],
        mean: &mut [f64],
        rstd: &mut [f64],
    ) -> Result<&'y mut [f32], Error> {
        shape.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| {
            normalize_positions(
                self.execution,
                self.eps,
                io,
                gamma,
                beta,
                shape,
                Some((mean, rstd)),
            )
        })
    }
}
