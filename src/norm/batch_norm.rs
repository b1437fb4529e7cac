//! BatchNorm: every column normalised by the mean and variance of the batch, or by running ones.
#![forbid(unsafe_code)]

use crate::args::grad::GradArgs;
use crate::args::gradient_sums::GradientSums;
use crate::args::norm::NormArgs;
use crate::args::train::{TrainArgs, check_running};
use crate::element::{Element, Elements};
use crate::error::Error;
use crate::kernels::columns::coefficients::RunningColumns;
use crate::kernels::columns::running::Momentum;
use crate::norm::column_gradients::{ChannelBackward, ChannelStatistics, scratch_len};
use crate::norm::columns::{BatchDriver, normalize_channels};
use crate::run::execution::{Execution, output_setters};
use crate::shape::{Channels, check_eps};
use crate::simd::{InOut, Io};
use crate::welford::Moments;

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
/// Libraries disagree on what momentum multiplies. The default is the rule of Keras 3 and ONNX, with the
/// population variance. PyTorch's rule, and its unbiased running variance, are a setter each. The fused kernel of TensorFlow 2, which
/// `tf.keras` takes for images, has Keras's rule with the unbiased variance:
///
/// | setter | rule |
/// |---|---|
/// | [`with_momentum(m)`](Self::with_momentum), default 0.9 | `running = m * running + (1 - m) * batch` |
/// | [`with_pytorch_momentum(m)`](Self::with_pytorch_momentum) | `running = (1 - m) * running + m * batch` |
/// | [`with_cumulative_average(k)`](Self::with_cumulative_average) | `running += (batch - running) / (k + 1)`, k batches before this one |
/// | [`with_unbiased_running_var`](Self::with_unbiased_running_var) | the batch's variance in these is M2 / (n - 1) |
///
/// | library | momentum | running variance |
/// |---|---|---|
/// | Keras 3, ONNX | `with_momentum` | population |
/// | TensorFlow 2, fused (4 dimensions) | `with_momentum` | unbiased |
/// | TensorFlow 2, not fused | `with_momentum` | population |
/// | PyTorch | `with_pytorch_momentum`, or `with_cumulative_average` where it is None | unbiased |
///
/// # Promises
///
/// * **Accuracy**: relative error of the variance at most 2.2e-6; with `x_hat = (x - mean) * rstd`, error of y
///   at most `2e-6 * (|gamma| * max(1, |x_hat|) + |beta|) + 2^-149`, for every finite input. Inference is exact for the f32
///   running statistics it is given, up to half of that bound.
/// * **Method**: the moments of a batch are those of [`ColumnMoments`](crate::ColumnMoments); with channels first, those
///   of [`RowMoments`](crate::RowMoments) of each channel of each sample, merged in f64 in a tree fixed by the shape.
/// * **Cost**: training reads x twice and writes y once, inference reads it once; training needs
///   [`scratch_len`](Self::scratch_len) numbers of scratch. Nothing else is allocated on a single thread.
/// * **Determinism**: the same bits for every thread count, alignment, in place or not, and on every
///   backend that [fuses multiply-adds](crate::Backend::is_fused); channels are independent of each other. How many
///   there are, and which layout, may change the last bits of a batch's statistics; inference has the same bits in both
///   layouts.
/// * **Special values**: a constant channel gives beta (`==`). Where var + eps = 0, rstd is taken as 0. A NaN or infinity
///   makes its own channel NaN in training, its own element in inference.
///   There, a running mean or variance of NaN makes its channel NaN, and an infinite running variance gives beta.
/// * **Running statistics** are finite as long as those before the call and the batch are: where the variance would leave f32, as
///   that of 1e25 and 3e25 does, the call returns [`Error::StatisticOverflow`]. A NaN or infinity in the batch makes those of its
///   channel NaN, for good, unless [`with_skip_non_finite_updates`](Self::with_skip_non_finite_updates) leaves them as they are.
///
/// * **Padding**: where [`valid`](crate::TrainArgs::valid) says which rows are data, the statistics are those of these alone, and
///   padding becomes `+0.0`.
///
/// # Example
///
/// ```
/// use evenkeel::{BatchNorm, InOut, NormArgs, Rows, TrainArgs};
///
/// let batch_norm = BatchNorm::new().with_eps(0.0);
/// let (x, rows) = ([1.0_f32, 10.0, 3.0, 30.0], Rows::new(2, 2)?);
/// let (mut y, mut mean, mut rstd) = ([0.0_f32; 4], [0.0; 2], [0.0; 2]);
/// let (mut running_mean, mut running_var) = ([0.0; 2], [1.0; 2]);
/// let args = TrainArgs::new().stats(&mut mean, &mut rstd).running(&mut running_mean, &mut running_var);
/// batch_norm.forward_training(InOut::new(&x, &mut y), rows, args)?;
/// assert_eq!(y, [-1.0, -1.0, 1.0, 1.0]);
/// assert_eq!((mean, rstd), ([2.0, 20.0], [1.0, 0.1]));
/// assert_eq!(running_mean, [0.2, 2.0]);
///
/// let io = InOut::new(&x, &mut y);
/// batch_norm.forward_inference(io, rows, &running_mean, &running_var, NormArgs::new())?;
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[doc(alias = "batchnorm")]
#[doc(alias = "batch_norm")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    eps: f64,
    momentum: Momentum,
    unbiased: bool,
    skip_non_finite: bool,
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
        let (unbiased, skip_non_finite) = (false, false);
        Self { eps: 1e-5, momentum, unbiased, skip_non_finite, execution: Execution::DEFAULT }
    }

    /// Adds `eps` to the variance, under the root; finite and at least 0 (checked by the calls).
    #[doc(alias = "epsilon")]
    #[must_use]
    pub const fn with_eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// `running = momentum * running + (1 - momentum) * batch`: the rule of Keras 3 and ONNX. From 0 to 1.
    #[doc(alias = "momentum")]
    #[doc(alias = "decay")]
    #[must_use]
    pub const fn with_momentum(mut self, momentum: f64) -> Self {
        self.momentum = Momentum::Keep(momentum);
        self
    }

    /// `running = (1 - momentum) * running + momentum * batch`: PyTorch's rule, whose default is 0.1. From
    /// 0 to 1.
    #[doc(alias = "momentum")]
    #[must_use]
    pub const fn with_pytorch_momentum(mut self, momentum: f64) -> Self {
        self.momentum = Momentum::Take(momentum);
        self
    }

    /// `running += (batch - running) / (batches + 1)`: the mean of this batch and `batches` earlier
    /// ones, PyTorch's rule for `momentum=None` (whose `num_batches_tracked` before the call `batches` is).
    #[doc(alias = "num_batches_tracked")]
    #[must_use]
    pub const fn with_cumulative_average(mut self, batches: u64) -> Self {
        self.momentum = Momentum::Cumulative(batches);
        self
    }

    /// Whether the running variance follows the unbiased variance of the batch, M2 / (n - 1), as
    /// that of PyTorch and of TensorFlow 2's fused kernel does, instead of M2 / n. A batch of one row, which is one element a
    /// channel, is an error then.
    #[must_use]
    pub const fn with_unbiased_running_var(mut self, unbiased: bool) -> Self {
        self.unbiased = unbiased;
        self
    }

    /// Whether a channel keeps its running mean and variance where this batch has a NaN or an infinity in it. Otherwise both become
    /// NaN, for good. y, mean and rstd of the batch show the NaN either way.
    ///
    /// ```
    /// use evenkeel::{BatchNorm, InOut, Rows, TrainArgs};
    ///
    /// let (x, mut y) = ([1.0_f32, f32::NAN, 3.0, 5.0], [0.0_f32; 4]); // two channels
    /// let (mut mean, mut var) = ([0.0; 2], [1.0; 2]);
    /// let batch_norm = BatchNorm::new().with_skip_non_finite_updates(true);
    /// let args = TrainArgs::new().running(&mut mean, &mut var);
    /// batch_norm.forward_training(InOut::new(&x, &mut y), Rows::new(2, 2)?, args)?;
    /// assert_eq!((mean, var), ([0.2, 0.0], [1.0, 1.0]));
    /// assert!(y[0].is_finite() && y[1].is_nan());
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    #[must_use]
    pub const fn with_skip_non_finite_updates(mut self, skip: bool) -> Self {
        self.skip_non_finite = skip;
        self
    }

    output_setters!();

    /// How much scratch [`forward_training`](Self::forward_training) needs: about `2 * channels * log2(rows / 64)` numbers on one
    /// thread; with channels first, `2 * channels * batch`.
    #[must_use]
    pub fn scratch_len(&self, shape: impl Into<Channels>) -> usize {
        self.driver().scratch_len(shape.into())
    }

    /// Normalises x by the statistics of this batch, moves the running ones towards them, and returns y.
    ///
    /// The shape is a [`Rows`](crate::Rows), whose columns are the channels, or a [`Channels`]. A batch without data (no rows, or
    /// padding alone) has zeros in y, mean and rstd, and leaves the running statistics as they are. Allocates its scratch
    /// unless it is passed.
    ///
    /// ```
    /// use evenkeel::{BatchNorm, InOut, Mask, Rows, TrainArgs, ValidRows};
    ///
    /// // Three rows of one channel, of which the second is padding.
    /// let (x, mask) = ([1.0_f32, f32::NAN, 3.0], [1, 0, 1]);
    /// let (mut y, mut mean, mut rstd) = ([7.0_f32; 3], [0.0], [0.0]);
    /// let args = TrainArgs::new().valid(ValidRows::Mask(Mask::Bytes(&mask))).stats(&mut mean, &mut rstd);
    /// let io = InOut::new(&x, &mut y);
    /// BatchNorm::new().with_eps(0.0).forward_training(io, Rows::new(3, 1)?, args)?;
    /// assert_eq!((y, mean, rstd), ([-1.0, 0.0, 1.0], [2.0], [1.0]));
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned, but for scratch.
    ///
    /// * [`Error::StatisticOverflow`]: the batch is finite, and a running variance would not be in the range of f32 after it.
    /// * [`Error::Parameter`]: eps or the momentum is not what its setter takes, a running variance is negative, or the steps
    ///   of [`ValidRows::Lengths`](crate::ValidRows::Lengths) do not divide the rows.
    /// * [`Error::Length`], [`Error::TooShort`]: a slice does not fit the shape and its pitch, or rows at a pitch overlap.
    /// * [`Error::SampleLength`]: a length of `ValidRows::Lengths` is above the steps.
    /// * [`Error::TooFewRows`]: the running variance is unbiased, and the batch has one valid row.
    /// * [`Error::ShapeOverflow`]: rows at a pitch reach beyond what memory has addresses for.
    /// * [`Error::Unsupported`]: a pitch, with channels that come first.
    /// * [`Error::OutOfMemory`]: there is no memory for the scratch, or for a copy of statistics in f32.
    #[inline]
    pub fn forward_training<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        shape: impl Into<Channels>,
        args: TrainArgs<'_>,
    ) -> Result<&'a mut [Y], Error> {
        let shape = shape.into();
        io.write_whole(|io| self.driver().train(io, shape, args))
    }

    /// Writes mean and rstd of a batch that is in several places, and moves the running statistics, from the moments of the whole
    /// batch, one set a channel.
    ///
    /// It is the second of three steps that [`forward_training`](Self::forward_training) consists of, between which other places can
    /// add their moments:
    ///
    /// 1. [`ColumnMoments::compute`](crate::ColumnMoments::compute) in every place, and [`merge`](crate::ColumnMoments::merge).
    /// 2. This method. [`TrainArgs`] may have [`stats`](TrainArgs::stats) and [`running`](TrainArgs::running), each if it is wanted.
    ///    With `running` alone it is an update of the running statistics without a forward pass.
    /// 3. [`NormalizeScaleShift::forward`](crate::NormalizeScaleShift::forward) with
    ///    [`Statistics::of_columns`](crate::Statistics::of_columns), in every place.
    ///
    /// In one place, the three steps give the bits of `forward_training`, in every layout. A place without rows takes part in all of
    /// them. The gradients have two steps likewise ([`backward_apply`](Self::backward_apply)).
    ///
    /// ```
    /// use evenkeel::{
    ///     BatchNorm, ColumnMoments, InOut, MomentArgs, Moments, NormArgs, NormalizeScaleShift, Rows, Statistics, TrainArgs,
    /// };
    ///
    /// // Two places, with two rows and one row of one channel.
    /// let places = [&[1.0_f32, 3.0][..], &[8.0]];
    /// let mut parts = [Moments::new(); 2];
    /// for (x, part) in places.iter().zip(&mut parts) {
    ///     ColumnMoments::new().compute(x, Rows::new(x.len(), 1)?, std::slice::from_mut(part), MomentArgs::new())?;
    /// }
    /// let mut whole = [Moments::new()];
    /// ColumnMoments::new().merge(&parts, &mut whole)?;
    ///
    /// let (mut mean, mut rstd, mut running_mean, mut running_var) = ([0.0], [0.0], [0.0], [1.0]);
    /// let args = TrainArgs::new().stats(&mut mean, &mut rstd).running(&mut running_mean, &mut running_var);
    /// BatchNorm::new().training_statistics(&whole, args)?;
    /// assert_eq!((mean, running_mean), ([4.0], [0.4]));
    ///
    /// let (statistics, mut y) = (Statistics::of_columns(&mean, &rstd), [0.0_f32]);
    /// let io = InOut::new(places[1], &mut y);
    /// NormalizeScaleShift::new().forward(io, Rows::new(1, 1)?, statistics, NormArgs::new())?;
    /// assert!((y[0] - 1.358_731).abs() < 1e-6); // 4 / sqrt(26 / 3 + 1e-5)
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::StatisticOverflow`], [`Error::TooFewRows`]: as of [`forward_training`](Self::forward_training).
    /// * [`Error::Parameter`]: eps or the momentum is not what its setter takes, a running variance is negative, channels have
    ///   different counts, or an m2 is negative.
    /// * [`Error::Length`]: statistics are not one a channel, of which there are as many as moments.
    /// * [`Error::Unsupported`]: gamma, beta, padding, scratch or a pool.
    /// * [`Error::OutOfMemory`]: there is no memory for a copy of statistics in f32.
    pub fn training_statistics(
        &self,
        moments: &[Moments],
        args: TrainArgs<'_>,
    ) -> Result<(), Error> {
        self.driver().statistics(moments, args)
    }

    /// Normalises x by running statistics, one of each a channel, and returns y: the same bits in either layout.
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Parameter`]: eps is negative or not finite, a running variance is negative, or the steps of
    ///   [`ValidRows::Lengths`](crate::ValidRows::Lengths) do not divide the rows.
    /// * [`Error::Length`], [`Error::TooShort`]: a slice does not fit the shape and its pitch, or rows at a pitch overlap.
    /// * [`Error::SampleLength`]: a length of [`ValidRows::Lengths`](crate::ValidRows::Lengths) is above the steps.
    /// * [`Error::ShapeOverflow`]: rows at a pitch reach beyond what memory has addresses for.
    /// * [`Error::Unsupported`]: an argument that inference does not take ([`NormArgs`] has a table), or a pitch, with channels
    ///   that come first.
    #[inline]
    pub fn forward_inference<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        shape: impl Into<Channels>,
        running_mean: &[f32],
        running_var: &[f32],
        args: NormArgs<'_>,
    ) -> Result<&'a mut [Y], Error> {
        let shape = shape.into();
        io.write_whole(|io| self.infer(io, shape, running_mean, running_var, &args))
    }

    /// Reads dy, the gradient of a loss by y, and writes and returns dx, its gradient by x; those of gamma and beta too, if
    /// [`GradArgs`] has places for them. The statistics are those of this batch, as in
    /// [`forward_training`](Self::forward_training).
    ///
    /// With means over the n elements of the channel:
    ///
    /// ```text
    /// dx[r, c] = gamma[c] * rstd[c] * (dy[r, c] - mean(dy[c]) - x_hat[r, c] * mean(dy[c] * x_hat[c]))
    /// dgamma[c] = sum of dy[r, c] * x_hat[r, c] over all r;  dbeta[c] = sum of dy[r, c]
    /// ```
    ///
    /// dx may be written over dy. With [`InOut::read_only`] there is none. gamma, mean, rstd, dgamma and dbeta have an element a
    /// channel. Without [`GradArgs::stats`] the statistics are made again from x: the gradients have the bits of statistics kept in f64, for one more
    /// sweep over x.
    ///
    /// * **Accuracy**, at any mean / std up to 1e9: error of dx at most `7e-6 * rstd * max|g| * (1 + |x_hat|) + 2^-149 * (1 + rstd)`,
    ///   the maximum being that of the channel, with `g = dy * gamma`; of dgamma `4e-6 * sum of |dy| * max(1, |x_hat|)` and
    ///   `2^-149` for each row; of dbeta `1e-6 * sum of |dy|`; where g, `x_hat`, dx and `rstd * max|g| * (1 + |x_hat|)` are in the
    ///   range of f32.
    /// * **Cost**: reads x and dy twice, writes dx once. Without scratch it allocates at most
    ///   [`backward_scratch_len`](Self::backward_scratch_len) numbers.
    /// * **Determinism**: as of the forward pass. The sums are those of blocks of 64 rows, or of the planes of a channel, added in
    ///   an order that the shape and the valid rows fix.
    /// * **Special values**: a constant channel has `x_hat` = 0 and dgamma = 0. Where var + eps = 0, rstd is taken as 0. One element
    ///   a channel has dx = 0. A NaN or infinity in x or dy makes dx of its channel NaN, and dgamma NaN or infinite;
    ///   dbeta only if it is in dy.
    /// * **Padding** has dx = `+0.0` and adds nothing. A batch without data adds nothing, and its dgamma and dbeta are 0.
    ///
    /// ```
    /// use evenkeel::{BatchNorm, GradArgs, InOut, Rows};
    ///
    /// // Three rows of one channel, whose x_hat are about -1.22, 0 and 1.22.
    /// let (x, dy, gamma) = ([1.0_f32, 2.0, 3.0], [1.0_f32, 0.0, 0.0], [2.0_f32]);
    /// let (mut dx, mut dgamma, mut dbeta) = ([0.0_f32; 3], [0.0_f32], [0.0_f64]);
    /// let args = GradArgs::new().gamma(&gamma).dgamma(&mut dgamma).dbeta(&mut dbeta);
    /// BatchNorm::new().with_eps(0.0).backward(InOut::new(&dy, &mut dx), &x, Rows::new(3, 1)?, args)?;
    /// assert!((dx[0] - 0.408_248).abs() < 1e-5 && (dx[1] + 0.816_497).abs() < 1e-5);
    /// assert!((dgamma[0] + 1.224_745).abs() < 1e-5 && dbeta[0] == 1.0);
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Parameter`]: eps is negative or not finite, or the steps of [`ValidRows::Lengths`](crate::ValidRows::Lengths) do
    ///   not divide the rows.
    /// * [`Error::SampleLength`]: a length of `ValidRows::Lengths` is above the steps.
    /// * [`Error::Length`], [`Error::TooShort`]: a slice does not fit the shape and its pitch, or rows at a pitch overlap.
    /// * [`Error::ShapeOverflow`]: rows at a pitch reach beyond what memory has addresses for.
    /// * [`Error::Unsupported`]: a gate or its gradient, dsum or a second place for dx; rstd without a mean; or a pitch, with channels that come first.
    /// * [`Error::OutOfMemory`]: there is no memory for scratch, or for a copy of statistics in f32.
    pub fn backward<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        x: &[X],
        shape: impl Into<Channels>,
        args: GradArgs<'_>,
    ) -> Result<&'a mut [Y], Error> {
        let statistics = self.of_batch();
        let (shape, x) = (shape.into(), Elements::of(x));
        io.write_whole(|io| self.gradients(io, x, shape, statistics, args))
    }

    /// Writes and returns dx of a batch that is in several places, from the sums of all of them.
    ///
    /// Between the two steps of [`backward`](Self::backward), other places can add their sums. The first step is `backward` with
    /// [`InOut::read_only`] and with dbeta and dgamma in f64: the sums of dy and of `dy * x_hat`. Both steps take the mean and rstd of
    /// the whole batch from [`GradArgs::stats`]; [`training_statistics`](Self::training_statistics) makes these. In one
    /// place, both steps give the bits of `backward`.
    ///
    /// ```
    /// use evenkeel::{BatchNorm, GradArgs, GradientSums, InOut, Rows};
    ///
    /// // Two places, with a row of one channel each: mean 2, rstd 1.
    /// let (norm, rows, mean, rstd) = (BatchNorm::new(), Rows::new(1, 1)?, [2.0], [1.0]);
    /// let places = [([1.0_f32], [3.0_f32]), ([3.0], [0.5])];
    /// let (mut of_dy, mut of_dy_x_hat) = ([0.0_f64], [0.0_f64]);
    /// for (x, dy) in &places {
    ///     let args = GradArgs::new().stats(&mean, &rstd);
    ///     let args = args.add_dbeta(&mut of_dy).add_dgamma(&mut of_dy_x_hat);
    ///     norm.backward(InOut::read_only(dy), x, rows, args)?;
    /// }
    /// assert_eq!((of_dy, of_dy_x_hat), ([3.5], [-2.5]));
    ///
    /// let sums = GradientSums::new(2, &of_dy, &of_dy_x_hat);
    /// let (x, mut dx) = places[0];
    /// let args = GradArgs::new().stats(&mean, &rstd);
    /// norm.backward_apply(InOut::in_place(&mut dx), &x, rows, sums, args)?;
    /// assert_eq!(dx, [0.0]); // two rows: 3 - 1.75 - (-1) * (-1.25)
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`backward`](Self::backward). [`Error::Length`] where the sums or the statistics are not one a channel;
    /// [`Error::TooFewRows`] where the batch has fewer rows than this place; [`Error::Unsupported`] where there is a place for
    /// dgamma or dbeta.
    pub fn backward_apply<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        x: &[X],
        shape: impl Into<Channels>,
        sums: GradientSums<'_>,
        args: GradArgs<'_>,
    ) -> Result<&'a mut [Y], Error> {
        let statistics = self.of_part(sums);
        let (shape, x) = (shape.into(), Elements::of(x));
        io.write_whole(|io| self.gradients(io, x, shape, statistics, args))
    }

    /// The gradients of [`forward_inference`](Self::forward_inference), whose running statistics are constants:
    ///
    /// ```text
    /// dx[r, c] = dy[r, c] * gamma[c] / sqrt(running_var[c] + eps)
    /// ```
    ///
    /// dgamma and dbeta, places, accuracy and determinism are those of [`backward`](Self::backward). A NaN or infinity in x makes its own
    /// element of dx NaN.
    ///
    /// # Errors
    ///
    /// Those of [`backward`](Self::backward). [`Error::Parameter`] where a running variance is negative;
    /// [`Error::Unsupported`] where [`GradArgs`] has statistics too.
    pub fn backward_inference<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        x: &[X],
        shape: impl Into<Channels>,
        (running_mean, running_var): (&[f32], &[f32]),
        args: GradArgs<'_>,
    ) -> Result<&'a mut [Y], Error> {
        let statistics = self.of_running(running_mean, running_var);
        let (shape, x) = (shape.into(), Elements::of(x));
        io.write_whole(|io| self.gradients(io, x, shape, statistics, args))
    }

    /// How many numbers of scratch the backward passes need at most ([`GradArgs::scratch`]).
    #[must_use]
    pub fn backward_scratch_len(&self, shape: impl Into<Channels>) -> usize {
        scratch_len(self.execution, shape.into())
    }

    pub(crate) fn of_batch(&self) -> ChannelStatistics<'static> {
        ChannelStatistics::Batch { eps: self.eps }
    }

    pub(crate) fn of_part<'a>(&self, sums: GradientSums<'a>) -> ChannelStatistics<'a> {
        ChannelStatistics::Part { sums, eps: self.eps }
    }

    pub(crate) fn of_running<'a>(&self, mean: &'a [f32], var: &'a [f32]) -> ChannelStatistics<'a> {
        ChannelStatistics::Running { mean, var, eps: self.eps }
    }

    pub(crate) fn gradients(
        &self,
        io: Io<'_>,
        x: Elements<'_>,
        shape: Channels,
        statistics: ChannelStatistics<'_>,
        args: GradArgs<'_>,
    ) -> Result<(), Error> {
        ChannelBackward { execution: self.execution, shape, statistics }.run(io, x, args)
    }

    pub(crate) fn infer(
        &self,
        io: Io<'_>,
        shape: Channels,
        running_mean: &[f32],
        running_var: &[f32],
        args: &NormArgs<'_>,
    ) -> Result<(), Error> {
        check_eps(self.eps)?;
        args.check_no_row_arguments()?;
        args.check_no_stats()?;
        check_running(running_mean, running_var, shape.channels())?;
        let source = RunningColumns { mean: running_mean, var: running_var, eps: self.eps };
        normalize_channels(self.execution.call(args.pool), io, shape, source, args)
    }

    pub(crate) const fn driver(&self) -> BatchDriver {
        let Self { eps, momentum, unbiased, skip_non_finite, execution } = *self;
        BatchDriver { eps, momentum, unbiased, skip_non_finite, execution }
    }
}
