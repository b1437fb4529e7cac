//! BatchNorm: every column normalised by the mean and variance of the batch, or by running ones.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;

use crate::args::running::RunningStatistics;
use crate::error::Error;
use crate::kernels::columns::running::Momentum;
use crate::mask::ValidRows;
use crate::norm::columns::BatchDriver;
use crate::run::execution::{Execution, output_setters};
use crate::shape::{Channels, Rows, check_length};
use crate::simd::{Span, write_whole};

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
    momentum: Momentum,
    unbiased: bool,
    execution: Execution,
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
        let momentum = Momentum::Keep(0.9);
        Self { eps: 1e-5, momentum, unbiased: false, execution: Execution::DEFAULT }
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
        self.momentum = Momentum::Keep(momentum);
        self
    }

    /// `running = (1 - momentum) * running + momentum * batch`: PyTorch's rule, whose default is 0.1. From
    /// 0 to 1.
    #[must_use]
    pub const fn with_pytorch_momentum(mut self, momentum: f64) -> Self {
        self.momentum = Momentum::Take(momentum);
        self
    }

    /// `running += (batch - running) / (batches + 1)`: the mean of this batch and `batches` earlier
    /// ones, PyTorch's rule for `momentum=None` (whose `num_batches_tracked` before the call `batches` is).
    #[must_use]
    pub const fn with_cumulative_average(mut self, batches: u64) -> Self {
        self.momentum = Momentum::Cumulative(batches);
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
        self.driver().scratch_len(shape.into())
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
        self.driver().train(Span::new(x, y), None, gamma, beta, shape, mean, rstd, running, None)
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
        self.driver().train(
            Span::new(x, y),
            None,
            gamma,
            beta,
            shape,
            mean,
            rstd,
            running,
            Some(scratch),
        )
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
        self.driver().train(Span::in_place(x), None, gamma, beta, shape, mean, rstd, running, None)
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
        self.driver().train(
            Span::in_place(x),
            None,
            gamma,
            beta,
            shape,
            mean,
            rstd,
            running,
            Some(scratch),
        )
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
            self.driver().train(io, None, gamma, beta, shape, mean, rstd, running, Some(scratch))
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
        self.driver().infer(Span::new(x, y), None, running_mean, running_var, gamma, beta, shape)
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
        self.driver().infer(Span::in_place(x), None, running_mean, running_var, gamma, beta, shape)
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
        write_whole(x, y, |io| {
            self.driver().infer(io, None, running_mean, running_var, gamma, beta, shape)
        })
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
        self.driver().train(io, valid, gamma, beta, rows.into(), mean, rstd, running, None)
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
        self.driver().train(io, valid, gamma, beta, rows.into(), mean, rstd, running, Some(scratch))
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
        self.driver().train(io, valid, gamma, beta, rows.into(), mean, rstd, running, None)
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
        self.driver().train(io, valid, gamma, beta, rows.into(), mean, rstd, running, Some(scratch))
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
            self.driver().train(io, valid, gamma, beta, rows.into(), mean, rstd, running, scratch)
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
        self.driver().infer(io, valid, running_mean, running_var, gamma, beta, rows.into())
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
        self.driver().infer(io, valid, running_mean, running_var, gamma, beta, rows.into())
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
            self.driver().infer(
                io,
                Some(valid),
                running_mean,
                running_var,
                gamma,
                beta,
                rows.into(),
            )
        })
    }

    pub(crate) const fn driver(&self) -> BatchDriver {
        let Self { eps, momentum, unbiased, execution } = *self;
        BatchDriver { eps, momentum, unbiased, execution }
    }
}
