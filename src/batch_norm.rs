//! BatchNorm: every column normalised by the mean and variance of the batch, or by running ones.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;

use crate::column_moments::{column_statistics, scratch_len};
use crate::execution::{Execution, output_setters};
use crate::kernels::batch::{self, Statistics, Update};
use crate::kernels::columns::Lanes64;
use crate::kernels::normalize_columns::{ColumnSource, Given, Running};
use crate::kernels::planes::{MergeSamples, NormalizePlanes, PlaneMoments, Planes};
use crate::kernels::valid_rows::{Kept, ZeroPadding};
use crate::normalize_scale_shift::normalize_columns;
use crate::shape::{check_at_least, check_eps, check_length, check_optional};
use crate::simd::{LANES, Span, write_whole};
use crate::valid_rows::kept_rows;
use crate::{Channels, Error, Rows, ValidRows, scratch};

/// Batch normalisation of a matrix `[rows, channels]`, of `[batch, channels, positions]` or of `[batch, positions,
/// channels]` (Ioffe and Szegedy, 2015, arXiv 1502.03167).
///
/// The shape is a [`Rows`](crate::Rows), whose columns are the channels, or a [`Channels`]. For every element r of
/// channel c (of every row; of every position of every sample):
///
/// ```text
/// y[r, c] = gamma[c] * (x[r, c] - mean[c]) / sqrt(var[c] + eps) + beta[c]
/// ```
///
/// In training, mean and var are those of the channel in this batch (the population variance, always), and the
/// running statistics move towards them; in inference they are the running statistics.
///
/// # Momentum
///
/// Libraries disagree on what momentum multiplies. The default is that of Keras and ONNX, with the
/// population variance; PyTorch's rule, and its unbiased running variance, are a setter each:
///
/// | setter | rule |
/// |---|---|
/// | [`with_momentum(m)`](Self::with_momentum), default 0.9 | `running = m * running + (1 - m) * batch` |
/// | [`with_pytorch_momentum(m)`](Self::with_pytorch_momentum) | `running = (1 - m) * running + m * batch` |
/// | [`with_cumulative_average(k)`](Self::with_cumulative_average) | `running += (batch - running) / (k + 1)`, k batches before this one |
/// | [`with_unbiased_running_var`](Self::with_unbiased_running_var) | the batch's variance in these is M2 / (n - 1) |
///
/// # Promises
///
/// * **Accuracy**: relative error of the variance at most 1e-6; with `x_hat = (x - mean) * rstd`, error of y
///   at most `1e-6 * (|gamma| * max(1, |x_hat|) + |beta|) + 2^-149`, for every finite input. Inference is exact for the f32
///   running statistics it is given, up to that bound.
/// * **Method**: the moments of a batch are those of [`ColumnMoments`](crate::ColumnMoments); with channels first, those
///   of [`RowMoments`](crate::RowMoments) of each channel of each sample, merged in f64 in a tree fixed by the shape.
/// * **Cost**: training reads x twice and writes y once, inference reads it once; training needs
///   [`scratch_len`](Self::scratch_len) numbers of scratch. Nothing else is allocated on a single thread.
/// * **Determinism**: the same bits for every thread count, alignment, in place or not, and on every
///   backend that [fuses multiply-adds](crate::Backend::is_fused); channels are independent of each other. How many
///   there are, and which layout, may change the last bits of a batch's statistics; inference has the same bits in both
///   layouts.
/// * **Special values**: a constant channel gives beta (`==`). Where var + eps = 0, rstd is taken as 0. A NaN or infinity
///   makes its own channel NaN in training (and its running statistics with it, for good), its own element in inference.
///   There, a running mean or variance of NaN makes its channel NaN, and an infinite running variance gives beta.
///
/// * **Padding**: the `_masked` methods take the statistics of the valid rows alone, with the bits of a batch without the
///   others, and write `+0.0` to padding.
///
/// # Example
///
/// ```
/// use evenkeel::{BatchNorm, Rows, RunningStatistics};
///
/// let batch_norm = BatchNorm::new().with_eps(0.0);
/// let (x, rows) = ([1.0, 10.0, 3.0, 30.0], Rows::new(2, 2)?);
/// let (mut y, mut mean, mut rstd) = ([0.0; 4], [0.0; 2], [0.0; 2]);
/// let (mut running_mean, mut running_var) = ([0.0; 2], [1.0; 2]);
/// let running = RunningStatistics { mean: &mut running_mean, var: &mut running_var };
/// batch_norm.forward_training(&x, None, None, rows, &mut y, &mut mean, &mut rstd, Some(running))?;
/// assert_eq!(y, [-1.0, -1.0, 1.0, 1.0]);
/// assert_eq!((mean, rstd), ([2.0, 20.0], [1.0, 0.1]));
/// assert_eq!(running_mean, [0.2, 2.0]);
///
/// batch_norm.forward_inference(&x, &running_mean, &running_var, None, None, rows, &mut y)?;
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    eps: f64,
    update: Update,
    unbiased: bool,
    execution: Execution,
}

/// The running mean and variance of every channel, which training updates.
#[derive(Debug)]
pub struct RunningStatistics<'a> {
    /// The running mean; start with 0.
    pub mean: &'a mut [f32],
    /// The running variance, at least 0; start with 1.
    pub var: &'a mut [f32],
}

impl Default for BatchNorm {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchNorm {
    /// eps = 1e-5, momentum 0.9 (`running = 0.9 * running + 0.1 * batch`), population variance, on the
    /// detected backend, with automatic parallelism.
    #[must_use]
    pub const fn new() -> Self {
        let update = Update::Keep(0.9);
        Self { eps: 1e-5, update, unbiased: false, execution: Execution::DEFAULT }
    }

    /// Adds `eps` to the variance, under the root; finite and at least 0 (checked by the calls).
    #[must_use]
    pub const fn with_eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// `running = momentum * running + (1 - momentum) * batch`: the rule of Keras and ONNX. From 0 to 1.
    #[must_use]
    pub const fn with_momentum(mut self, momentum: f64) -> Self {
        self.update = Update::Keep(momentum);
        self
    }

    /// `running = (1 - momentum) * running + momentum * batch`: PyTorch's rule, whose default is 0.1. From
    /// 0 to 1.
    #[must_use]
    pub const fn with_pytorch_momentum(mut self, momentum: f64) -> Self {
        self.update = Update::Take(momentum);
        self
    }

    /// `running += (batch - running) / (batches + 1)`: the mean of this batch and `batches` earlier
    /// ones, PyTorch's rule for `momentum=None` (whose `num_batches_tracked` before the call `batches` is).
    #[must_use]
    pub const fn with_cumulative_average(mut self, batches: u64) -> Self {
        self.update = Update::Cumulative(batches);
        self
    }

    /// Whether the running variance follows the unbiased variance of the batch, M2 / (n - 1), as
    /// PyTorch's does, instead of M2 / n. A batch of one row, which is one element a channel, is an error then.
    #[must_use]
    pub const fn with_unbiased_running_var(mut self, unbiased: bool) -> Self {
        self.unbiased = unbiased;
        self
    }

    output_setters!();

    /// How much scratch the training methods `_with_scratch` need: about `2 * channels * log2(rows / 64)` numbers on one
    /// thread; with channels first, `2 * channels * batch`.
    #[must_use]
    pub fn scratch_len(&self, shape: impl Into<Channels>) -> usize {
        let shape = shape.into();
        match shape.as_rows() {
            Some(rows) => scratch_len(self.execution, rows),
            None => shape.batch().saturating_mul(vectors(shape)).saturating_mul(2 * LANES),
        }
    }

    /// Normalises `x` by the statistics of the batch: reads `x`, writes `y`, and writes `mean` and
    /// `rstd = 1 / sqrt(var + eps)` of every channel; updates the running statistics if there are any. Allocates
    /// the scratch.
    ///
    /// A batch of no elements is fine and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] if eps is negative or not finite, the momentum not from 0 to 1, or a running variance
    /// negative; [`Error::Length`] if `x` or `y` is not `shape.elements()` long, or another slice not
    /// `shape.channels()`; [`Error::TooFewRows`] if the running variance is to be unbiased and a channel has one element.
    /// Nothing is written then.
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_training(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: impl Into<Channels>,
        y: &mut [f32],
        mean: &mut [f64],
        rstd: &mut [f64],
        running: Option<RunningStatistics<'_>>,
    ) -> Result<(), Error> {
        let shape = shape.into();
        shape.check_io(x.len(), y.len())?;
        self.train(Span::new(x, y), None, gamma, beta, shape, mean, rstd, running, None)
    }

    /// As [`forward_training`](Self::forward_training), with scratch of at least
    /// [`scratch_len`](Self::scratch_len) numbers. Allocates nothing on a single thread.
    ///
    /// # Errors
    ///
    /// As [`forward_training`](Self::forward_training); [`Error::Length`] if `scratch` is too short.
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_training_with_scratch(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: impl Into<Channels>,
        y: &mut [f32],
        mean: &mut [f64],
        rstd: &mut [f64],
        running: Option<RunningStatistics<'_>>,
        scratch: &mut [f64],
    ) -> Result<(), Error> {
        let shape = shape.into();
        shape.check_io(x.len(), y.len())?;
        self.train(Span::new(x, y), None, gamma, beta, shape, mean, rstd, running, Some(scratch))
    }

    /// As [`forward_training`](Self::forward_training); reads and writes `x`.
    ///
    /// # Errors
    ///
    /// As [`forward_training`](Self::forward_training).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_training_in_place(
        &self,
        x: &mut [f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: impl Into<Channels>,
        mean: &mut [f64],
        rstd: &mut [f64],
        running: Option<RunningStatistics<'_>>,
    ) -> Result<(), Error> {
        let shape = shape.into();
        check_length("x", x.len(), shape.elements())?;
        self.train(Span::in_place(x), None, gamma, beta, shape, mean, rstd, running, None)
    }

    /// As [`forward_training_in_place`](Self::forward_training_in_place), with scratch of at least
    /// [`scratch_len`](Self::scratch_len) numbers.
    ///
    /// # Errors
    ///
    /// As [`forward_training_with_scratch`](Self::forward_training_with_scratch).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_training_in_place_with_scratch(
        &self,
        x: &mut [f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: impl Into<Channels>,
        mean: &mut [f64],
        rstd: &mut [f64],
        running: Option<RunningStatistics<'_>>,
        scratch: &mut [f64],
    ) -> Result<(), Error> {
        let shape = shape.into();
        check_length("x", x.len(), shape.elements())?;
        self.train(Span::in_place(x), None, gamma, beta, shape, mean, rstd, running, Some(scratch))
    }

    /// As [`forward_training_with_scratch`](Self::forward_training_with_scratch); initialises `y` and
    /// returns it.
    ///
    /// # Errors
    ///
    /// As [`forward_training_with_scratch`](Self::forward_training_with_scratch).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_training_uninit<'y>(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: impl Into<Channels>,
        y: &'y mut [MaybeUninit<f32>],
        mean: &mut [f64],
        rstd: &mut [f64],
        running: Option<RunningStatistics<'_>>,
        scratch: &mut [f64],
    ) -> Result<&'y mut [f32], Error> {
        let shape = shape.into();
        shape.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| {
            self.train(io, None, gamma, beta, shape, mean, rstd, running, Some(scratch))
        })
    }

    /// Normalises `x` by running statistics: reads `x`, writes `y`.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] if eps is negative or not finite, or a running variance negative; [`Error::Length`]
    /// if `x` or `y` is not `shape.elements()` long, or another slice not `shape.channels()` (`rows.cols()`). Nothing is
    /// written then.
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_inference(
        &self,
        x: &[f32],
        running_mean: &[f32],
        running_var: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: impl Into<Channels>,
        y: &mut [f32],
    ) -> Result<(), Error> {
        let shape = shape.into();
        shape.check_io(x.len(), y.len())?;
        self.infer(Span::new(x, y), None, running_mean, running_var, gamma, beta, shape)
    }

    /// As [`forward_inference`](Self::forward_inference); reads and writes `x`.
    ///
    /// # Errors
    ///
    /// As [`forward_inference`](Self::forward_inference).
    pub fn forward_inference_in_place(
        &self,
        x: &mut [f32],
        running_mean: &[f32],
        running_var: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: impl Into<Channels>,
    ) -> Result<(), Error> {
        let shape = shape.into();
        check_length("x", x.len(), shape.elements())?;
        self.infer(Span::in_place(x), None, running_mean, running_var, gamma, beta, shape)
    }

    /// As [`forward_inference`](Self::forward_inference); initialises `y` and returns it.
    ///
    /// # Errors
    ///
    /// As [`forward_inference`](Self::forward_inference).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_inference_uninit<'y>(
        &self,
        x: &[f32],
        running_mean: &[f32],
        running_var: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: impl Into<Channels>,
        y: &'y mut [MaybeUninit<f32>],
    ) -> Result<&'y mut [f32], Error> {
        let shape = shape.into();
        shape.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| self.infer(io, None, running_mean, running_var, gamma, beta, shape))
    }

    /// As [`forward_training`](Self::forward_training) of the batch without its padding: the statistics and the valid rows of
    /// `y` have the bits of a batch that has only these rows, and the padding of `y` is `+0.0`, whatever `x` holds there, NaN too.
    ///
    /// `+0.0`, since what comes after, a convolution, a sum over time, then takes padding for nothing, and nothing that was
    /// in it can come through. A batch without a valid row has its `y` zeroed and changes nothing else.
    ///
    /// # Errors
    ///
    /// As [`forward_training`](Self::forward_training), where rows are valid ones; [`Error::Length`] if the mask is not as long as `rows.rows()`
    /// asks for, or there are not as many lengths as samples; [`Error::Parameter`] if the steps do not divide `rows.rows()`;
    /// [`Error::SampleLength`] if a length is above the steps.
    ///
    /// # Example
    ///
    /// ```
    /// use evenkeel::{BatchNorm, Mask, Rows, ValidRows};
    ///
    /// // Three rows of one channel, of which the second is padding.
    /// let (x, mask) = ([1.0, f32::NAN, 3.0], [1, 0, 1]);
    /// let (mut y, mut mean, mut rstd) = ([7.0; 3], [0.0], [0.0]);
    /// let valid = ValidRows::Mask(Mask::Bytes(&mask));
    /// BatchNorm::new().with_eps(0.0).forward_training_masked(
    ///     &x, valid, None, None, Rows::new(3, 1)?, &mut y, &mut mean, &mut rstd, None,
    /// )?;
    /// assert_eq!((y, mean, rstd), ([-1.0, 0.0, 1.0], [2.0], [1.0]));
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_training_masked(
        &self,
        x: &[f32],
        valid: ValidRows<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &mut [f32],
        mean: &mut [f64],
        rstd: &mut [f64],
        running: Option<RunningStatistics<'_>>,
    ) -> Result<(), Error> {
        rows.check_io(x.len(), y.len())?;
        let (io, valid) = (Span::new(x, y), Some(valid));
        self.train(io, valid, gamma, beta, rows.into(), mean, rstd, running, None)
    }

    /// As [`forward_training_masked`](Self::forward_training_masked), with scratch of at least
    /// [`scratch_len`](Self::scratch_len) numbers. Allocates nothing on a single thread.
    ///
    /// # Errors
    ///
    /// As [`forward_training_masked`](Self::forward_training_masked); [`Error::Length`] if `scratch` is too short.
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_training_masked_with_scratch(
        &self,
        x: &[f32],
        valid: ValidRows<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &mut [f32],
        mean: &mut [f64],
        rstd: &mut [f64],
        running: Option<RunningStatistics<'_>>,
        scratch: &mut [f64],
    ) -> Result<(), Error> {
        rows.check_io(x.len(), y.len())?;
        let (io, valid) = (Span::new(x, y), Some(valid));
        self.train(io, valid, gamma, beta, rows.into(), mean, rstd, running, Some(scratch))
    }

    /// As [`forward_training_masked`](Self::forward_training_masked); reads and writes `x`.
    ///
    /// # Errors
    ///
    /// As [`forward_training_masked`](Self::forward_training_masked).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_training_masked_in_place(
        &self,
        x: &mut [f32],
        valid: ValidRows<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        mean: &mut [f64],
        rstd: &mut [f64],
        running: Option<RunningStatistics<'_>>,
    ) -> Result<(), Error> {
        check_length("x", x.len(), rows.elements())?;
        let (io, valid) = (Span::in_place(x), Some(valid));
        self.train(io, valid, gamma, beta, rows.into(), mean, rstd, running, None)
    }

    /// As [`forward_training_masked_in_place`](Self::forward_training_masked_in_place), with scratch of at least
    /// [`scratch_len`](Self::scratch_len) numbers.
    ///
    /// # Errors
    ///
    /// As [`forward_training_masked_with_scratch`](Self::forward_training_masked_with_scratch).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_training_masked_in_place_with_scratch(
        &self,
        x: &mut [f32],
        valid: ValidRows<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        mean: &mut [f64],
        rstd: &mut [f64],
        running: Option<RunningStatistics<'_>>,
        scratch: &mut [f64],
    ) -> Result<(), Error> {
        check_length("x", x.len(), rows.elements())?;
        let (io, valid) = (Span::in_place(x), Some(valid));
        self.train(io, valid, gamma, beta, rows.into(), mean, rstd, running, Some(scratch))
    }

    /// As [`forward_training_masked_with_scratch`](Self::forward_training_masked_with_scratch); initialises `y` and
    /// returns it.
    ///
    /// # Errors
    ///
    /// As [`forward_training_masked_with_scratch`](Self::forward_training_masked_with_scratch).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_training_masked_uninit<'y>(
        &self,
        x: &[f32],
        valid: ValidRows<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &'y mut [MaybeUninit<f32>],
        mean: &mut [f64],
        rstd: &mut [f64],
        running: Option<RunningStatistics<'_>>,
        scratch: &mut [f64],
    ) -> Result<&'y mut [f32], Error> {
        rows.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| {
            let (valid, scratch) = (Some(valid), Some(scratch));
            self.train(io, valid, gamma, beta, rows.into(), mean, rstd, running, scratch)
        })
    }

    /// Normalises the valid rows of `x` by running statistics, with the bits of
    /// [`forward_inference`](Self::forward_inference), and writes `+0.0` to the padding of `y`, whatever `x` holds there.
    ///
    /// # Errors
    ///
    /// As [`forward_inference`](Self::forward_inference); [`Error::Length`] if the mask is not as long as `rows.rows()`
    /// asks for, or there are not as many lengths as samples; [`Error::Parameter`] if the steps do not divide `rows.rows()`;
    /// [`Error::SampleLength`] if a length is above the steps.
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_inference_masked(
        &self,
        x: &[f32],
        valid: ValidRows<'_>,
        running_mean: &[f32],
        running_var: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &mut [f32],
    ) -> Result<(), Error> {
        rows.check_io(x.len(), y.len())?;
        let (io, valid) = (Span::new(x, y), Some(valid));
        self.infer(io, valid, running_mean, running_var, gamma, beta, rows.into())
    }

    /// As [`forward_inference_masked`](Self::forward_inference_masked); reads and writes `x`.
    ///
    /// # Errors
    ///
    /// As [`forward_inference_masked`](Self::forward_inference_masked).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_inference_masked_in_place(
        &self,
        x: &mut [f32],
        valid: ValidRows<'_>,
        running_mean: &[f32],
        running_var: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
    ) -> Result<(), Error> {
        check_length("x", x.len(), rows.elements())?;
        let (io, valid) = (Span::in_place(x), Some(valid));
        self.infer(io, valid, running_mean, running_var, gamma, beta, rows.into())
    }

    /// As [`forward_inference_masked`](Self::forward_inference_masked); initialises `y` and returns it.
    ///
    /// # Errors
    ///
    /// As [`forward_inference_masked`](Self::forward_inference_masked).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_inference_masked_uninit<'y>(
        &self,
        x: &[f32],
        valid: ValidRows<'_>,
        running_mean: &[f32],
        running_var: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &'y mut [MaybeUninit<f32>],
    ) -> Result<&'y mut [f32], Error> {
        rows.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| {
            self.infer(io, Some(valid), running_mean, running_var, gamma, beta, rows.into())
        })
    }

    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub(crate) fn train(
        &self,
        io: Span<'_>,
        valid: Option<ValidRows<'_>>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        mean: &mut [f64],
        rstd: &mut [f64],
        running: Option<RunningStatistics<'_>>,
        scratch: Option<&mut [f64]>,
    ) -> Result<(), Error> {
        let channels = shape.channels();
        check_eps(self.eps)?;
        self.check_momentum()?;
        check_optional("gamma", gamma, channels)?;
        check_optional("beta", beta, channels)?;
        check_length("mean", mean.len(), channels)?;
        check_length("rstd", rstd.len(), channels)?;
        if let Some(running) = &running {
            check_running(running.mean, running.var, channels)?;
        }
        let (kept, n) = kept_rows(valid, shape.batch().saturating_mul(shape.positions()))?;
        if running.is_some() && self.unbiased && n == 1 {
            let arg = "unbiased variance";
            return Err(Error::TooFewRows { arg, expected: 2, got: 1 });
        }
        let needed = self.scratch_len(shape);
        if let Some(scratch) = &scratch {
            check_at_least("scratch", scratch.len(), needed)?;
        }
        if shape.elements() == 0 {
            return Ok(());
        }
        if n == 0 {
            io.zero();
            return Ok(());
        }

        let mut allocated = Vec::new();
        let scratch = scratch::or_allocated(scratch, &mut allocated, needed)?;
        let (means, m2s) = self.statistics(io.src(), shape, (kept, n), scratch);
        let running = running.map(|RunningStatistics { mean, var }| batch::Running {
            update: self.update,
            unbiased: self.unbiased,
            mean,
            var,
        });
        let statistics = Statistics { rows: n, eps: self.eps, means, m2s, mean, rstd, running };
        self.execution.run_here(statistics);
        self.normalize(io, (kept, n), Given { mean, rstd }, gamma, beta, shape);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub(crate) fn infer(
        &self,
        io: Span<'_>,
        valid: Option<ValidRows<'_>>,
        running_mean: &[f32],
        running_var: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
    ) -> Result<(), Error> {
        check_eps(self.eps)?;
        check_optional("gamma", gamma, shape.channels())?;
        check_optional("beta", beta, shape.channels())?;
        check_running(running_mean, running_var, shape.channels())?;
        let source = Running { mean: running_mean, var: running_var, eps: self.eps };
        let kept = kept_rows(valid, shape.batch().saturating_mul(shape.positions()))?;
        self.normalize(io, kept, source, gamma, beta, shape);
        Ok(())
    }

    /// Vectors of the mean and of M2 of every channel, at the beginning of `scratch`. There is at least one element.
    fn statistics<'s>(
        &self,
        x: &[f32],
        shape: Channels,
        kept: (Kept<'_>, usize),
        scratch: &'s mut [f64],
    ) -> (&'s [Lanes64], &'s [Lanes64]) {
        if let Some(rows) = shape.as_rows() {
            let (means, m2s) = column_statistics(self.execution, x, rows, kept, scratch);
            return (means, m2s);
        }
        let (samples, positions, vectors) = (shape.batch(), shape.positions(), vectors(shape));
        let scratch = &mut scratch.as_chunks_mut().0[..2 * samples * vectors];
        let (means, m2s) = scratch.split_at_mut(samples * vectors);
        let channels = shape.channels();
        let work =
            PlaneMoments { x, positions, channels, first: 0, means: &mut *means, m2s: &mut *m2s };
        self.execution.run(work, shape.elements());
        let merge = MergeSamples { samples, positions, means: &mut *means, m2s: &mut *m2s };
        self.execution.run_here(merge);
        (&means[..vectors], &m2s[..vectors])
    }

    /// Normalises every channel with the statistics of `source`, then zeroes padding, which only rows can have. Everything
    /// has been checked.
    fn normalize<T: ColumnSource>(
        &self,
        mut io: Span<'_>,
        (kept, count): (Kept<'_>, usize),
        source: T,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
    ) {
        if let Some(rows) = shape.as_rows() {
            normalize_columns(self.execution, io.reborrow(), source, gamma, beta, rows);
            if rows.elements() > 0 && count < rows.rows() {
                let work = ZeroPadding { io, cols: rows.cols(), kept, first: 0 };
                self.execution.run(work, (rows.rows() - count) * rows.cols());
            }
        } else if shape.elements() > 0 {
            let io = self.execution.stores.apply(io, shape.positions());
            let io = Planes::new(io, (shape.channels(), shape.positions()), gamma, beta);
            self.execution.run(NormalizePlanes { io, source }, shape.elements());
        }
    }

    fn check_momentum(&self) -> Result<(), Error> {
        match self.update {
            Update::Keep(m) | Update::Take(m) if !(0.0..=1.0).contains(&m) => {
                Err(Error::Parameter { arg: "momentum", expected: "a number from 0 to 1", got: m })
            }
            _ => Ok(()),
        }
    }
}

/// Vectors of channels.
fn vectors(shape: Channels) -> usize {
    shape.channels().div_ceil(LANES)
}

/// Refuses running statistics of another length, and negative variances.
fn check_running(mean: &[f32], var: &[f32], channels: usize) -> Result<(), Error> {
    check_length("running_mean", mean.len(), channels)?;
    check_length("running_var", var.len(), channels)?;
    // Without an early end, several at a time.
    let negative = var.iter().fold(false, |negative, &var| negative | (var < 0.0));
    if !negative {
        return Ok(());
    }
    let got = var.iter().copied().fold(f32::INFINITY, f32::min).into();
    Err(Error::Parameter { arg: "running_var", expected: "numbers of at least 0", got })
}
