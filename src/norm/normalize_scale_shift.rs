//! Normalise, scale and shift rows or columns whose statistics the caller has.
#![forbid(unsafe_code)]

use crate::args::grad::GradArgs;
use crate::args::norm::NormArgs;
use crate::element::{Element, Elements, Wide, WideElement};
use crate::error::Error;
use crate::kernels::columns::coefficients::GivenColumns;
use crate::kernels::rows::source::GivenRows;
use crate::norm::column_gradients::{
    ChannelBackward, ChannelStatistics, scratch_len as channel_scratch_len,
};
use crate::norm::columns::normalize_channels;
use crate::norm::row_gradients::{as_rows, scratch_len};
use crate::norm::rows::{RowNorm, padding};
use crate::norm::stored_row_gradients::backward;
use crate::norm::stored_rows::normalize;
use crate::run::execution::{Execution, output_setters};
use crate::shape::{Channels, Shape, check_length};
use crate::simd::{InOut, Io};

/// Statistics that the caller passes: means, and `rstd = 1 / sqrt(var + eps)`, in f64 or f32. For f32 a call allocates a copy in f64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics<'a> {
    of_rows: bool,
    mean: Wide<'a>,
    rstd: Wide<'a>,
}

impl<'a> Statistics<'a> {
    #[cfg(feature = "capi")]
    pub(crate) fn new(of_rows: bool, [mean, rstd]: [Wide<'a>; 2]) -> Self {
        Self { of_rows, mean, rstd }
    }

    /// A mean and an rstd for each row.
    #[must_use]
    pub fn of_rows<S: WideElement>(mean: &'a [S], rstd: &'a [S]) -> Self {
        Self { of_rows: true, mean: S::wide(mean), rstd: S::wide(rstd) }
    }

    /// Mean and rstd, `expected` of each, in f64.
    fn in_f64(
        self,
        expected: usize,
        [mean, rstd]: &'a mut WideStatistics,
    ) -> Result<[&'a [f64]; 2], Error> {
        check_length("mean", self.mean.len(), expected)?;
        check_length("rstd", self.rstd.len(), expected)?;
        Ok([self.mean.in_f64(mean)?, self.rstd.in_f64(rstd)?])
    }

    /// A mean and an rstd for each column, or channel.
    #[must_use]
    pub fn of_columns<S: WideElement>(mean: &'a [S], rstd: &'a [S]) -> Self {
        Self { of_rows: false, mean: S::wide(mean), rstd: S::wide(rstd) }
    }
}

/// Copies in f64 of statistics that are stored in f32.
type WideStatistics = [Vec<f64>; 2];

/// Normalise-scale-shift of rows, or of columns, whose statistics are given.
///
/// For every row r and column c of a matrix `[rows, cols]`:
///
/// ```text
/// y[r, c] = gamma[c] * (x[r, c] - mean[r]) * rstd[r] + beta[c]
/// ```
///
/// or, with statistics of columns, mean\[c\] and rstd\[c\]. gamma (absent: 1) and beta (absent: 0) are independent of each other.
/// This is the second half of
/// [`LayerNorm`](crate::LayerNorm): with the mean of [`RowMoments`](crate::RowMoments) and
/// `rstd = 1 / sqrt(var + eps)` it gives the bits of `LayerNorm`. With the statistics that
/// [`BatchNorm`](crate::BatchNorm)'s training returns it gives the bits of that y, in every layout: a synchronised BatchNorm merges the
/// statistics of all processes in f64 and calls this. Running statistics in f32 are off by up to `2^-24 * |mean| * rstd`.
///
/// * **Accuracy**: with `x_hat = (x - mean) * rstd`, the error of y is at most
///   `1e-6 * (|gamma| * max(1, |x_hat|) + |beta|) + 2^-149` wherever `x_hat` and y are in the range of f32. The mean
///   is used in f64 precision.
/// * **Cost**: reads x once, writes y once; no allocation on a single thread.
/// * **Determinism**: the same bits for every thread count, alignment, in place or not, and on every
///   backend that [fuses multiply-adds](crate::Backend::is_fused).
/// * **Special values**: a NaN or infinity in x makes its own element of y what the formula says in
///   IEEE arithmetic and touches no other. mean and rstd may be any number, rstd negative too; a NaN or infinity makes its
///   own row NaN, or its own column what the formula says.
///
/// # Example
///
/// ```
/// use evenkeel::{InOut, NormArgs, NormalizeScaleShift, Rows, Statistics};
///
/// let (x, mean, rstd) = ([1.0_f32, 3.0, 10.0, 30.0], [2.0, 20.0], [1.0, 0.1]);
/// let (mut y, rows) = ([0.0_f32; 4], Rows::new(2, 2)?);
/// let args = NormArgs::new().gamma(&[1.0_f32, 2.0]);
/// let operation = NormalizeScaleShift::new();
/// operation.forward(InOut::new(&x, &mut y), rows, Statistics::of_rows(&mean, &rstd), args)?;
/// assert_eq!(y, [-1.0, 2.0, -1.0, 2.0]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormalizeScaleShift {
    execution: Execution,
}

impl Default for NormalizeScaleShift {
    fn default() -> Self {
        Self::new()
    }
}

impl NormalizeScaleShift {
    /// The operation on the detected backend, with automatic parallelism.
    #[must_use]
    pub const fn new() -> Self {
        Self { execution: Execution::DEFAULT }
    }

    output_setters!();

    /// Normalises x by the statistics of its rows, or of its columns, and returns y.
    ///
    /// | shape | statistics | gamma, beta |
    /// |---|---|---|
    /// | [`Rows`](crate::Rows) | of rows: one of each a row; of columns: one of each a column | `cols` |
    /// | [`Channels`](crate::Channels), in either layout | of columns: one of each a channel | `channels` |
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Parameter`]: the steps of [`ValidRows::Lengths`](crate::ValidRows::Lengths) do not divide the rows.
    /// * [`Error::SampleLength`]: a length of `ValidRows::Lengths` is above the steps.
    /// * [`Error::Length`], [`Error::TooShort`]: a slice does not fit the shape and its pitch, or rows at a pitch overlap.
    /// * [`Error::ShapeOverflow`]: rows at a pitch reach beyond what memory has addresses for.
    /// * [`Error::OutOfMemory`]: there is no memory for a copy of statistics in f32.
    /// * [`Error::Unsupported`]: statistics of rows with channels, or an argument or a pitch that the shape does not take
    ///   ([`NormArgs`] has a table).
    #[inline]
    pub fn forward<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        shape: impl Into<Shape>,
        statistics: Statistics<'_>,
        mut args: NormArgs<'_>,
    ) -> Result<&'a mut [Y], Error> {
        let shape = shape.into();
        io.write_whole(|io| self.run(io, shape, statistics, &mut args))
    }

    /// Reads dy, the gradient of a loss by y, and writes and returns dx, its gradient by x; those of gamma and beta too, if
    /// [`GradArgs`] has places for them. The statistics are constants:
    ///
    /// ```text
    /// dx[r, c] = dy[r, c] * gamma[c] * rstd
    /// dgamma[c] = sum of dy[r, c] * x_hat[r, c] over all r;  dbeta[c] = sum of dy[r, c]
    /// ```
    ///
    /// Places, accuracy, cost and determinism are those of [`LayerNorm::backward`](crate::LayerNorm::backward) where statistics are
    /// those of rows, and those of [`BatchNorm::backward`](crate::BatchNorm::backward) where they are those of columns.
    ///
    /// # Errors
    ///
    /// Those of either. [`Error::Unsupported`] where [`GradArgs`] has statistics too, or the statistics are those of rows and
    /// channels come first.
    pub fn backward<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        x: &[X],
        shape: impl Into<Shape>,
        statistics: Statistics<'_>,
        mut args: GradArgs<'_>,
    ) -> Result<&'a mut [Y], Error> {
        let shape = shape.into();
        io.write_whole(|io| self.run_backward(io, Elements::of(x), shape, statistics, &mut args))
    }

    /// How many numbers of scratch [`backward`](Self::backward) needs at most ([`GradArgs::scratch`]): of [`Rows`](crate::Rows) with
    /// statistics of rows, of [`Channels`] (also those of `Channels::from(rows)`) with statistics of columns.
    #[must_use]
    pub fn backward_scratch_len(&self, shape: impl Into<Shape>) -> usize {
        match shape.into() {
            Shape::Rows(rows) => scratch_len(rows),
            Shape::Channels(shape) => channel_scratch_len(self.execution, shape),
        }
    }

    #[inline(never)]
    pub(crate) fn run_backward(
        &self,
        io: Io<'_>,
        x: Elements<'_>,
        shape: Shape,
        statistics: Statistics<'_>,
        args: &mut GradArgs<'_>,
    ) -> Result<(), Error> {
        args.check_no_stats()?;
        let wide = &mut WideStatistics::default();
        if !statistics.of_rows {
            let shape = channels_of(shape);
            let [mean, rstd] = statistics.in_f64(shape.channels(), wide)?;
            let statistics = ChannelStatistics::Given { mean, rstd };
            let work = ChannelBackward { execution: self.execution, shape, statistics };
            return work.run(io, x, args.reborrow());
        }
        let rows = as_rows(shape)?;
        let [mean, rstd] = statistics.in_f64(rows.rows(), wide)?;
        let norm = RowNorm::plain(GivenRows { mean, rstd });
        backward(self.execution.call(args.pool), io, x, rows, norm, &mut args.reborrow())
    }

    pub(crate) fn run(
        &self,
        io: Io<'_>,
        shape: Shape,
        statistics: Statistics<'_>,
        args: &mut NormArgs<'_>,
    ) -> Result<(), Error> {
        args.check_no_row_arguments()?;
        args.check_no_stats()?;
        let wide = &mut WideStatistics::default();
        let call = self.execution.call(args.pool);
        if statistics.of_rows {
            let Shape::Rows(rows) = shape else {
                return Err(Error::Unsupported { arg: "statistics" });
            };
            let [mean, rstd] = statistics.in_f64(rows.rows(), wide)?;
            let padding = padding(args, rows.rows())?;
            let source = GivenRows { mean, rstd };
            return normalize(call, io, rows, RowNorm::plain(source), padding, args);
        }
        let channels = channels_of(shape);
        let [mean, rstd] = statistics.in_f64(channels.channels(), wide)?;
        normalize_channels(call, io, channels, GivenColumns { mean, rstd }, args)
    }
}

/// The same shape, whose columns are channels.
fn channels_of(shape: Shape) -> Channels {
    match shape {
        Shape::Rows(rows) => Channels::from(rows),
        Shape::Channels(channels) => channels,
    }
}
