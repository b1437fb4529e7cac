//! LayerNorm: every row normalised by its own mean and variance.
#![forbid(unsafe_code)]

use crate::args::grad::GradArgs;
use crate::args::norm::{NormArgs, unsupported};
use crate::element::{Element, Elements};
use crate::error::Error;
use crate::gate::{Gate, GateFunction, GatePlace};
use crate::kernels::rows::source::MeanVariance;
use crate::norm::channel_gradients::{position_gradients, position_scratch_len};
use crate::norm::channels::normalize_positions;
use crate::norm::row_gradients::{as_rows, scratch_len};
use crate::norm::rows::{RowNorm, clear_statistics, padding};
use crate::norm::stored_row_gradients::backward;
use crate::norm::stored_rows::normalize;
use crate::run::execution::{Execution, output_setters};
use crate::shape::{Rows, Shape, check_eps};
use crate::simd::{InOut, Io};

/// Layer normalisation over the last axis (Ba, Kiros and Hinton, 2016, arXiv 1607.06450).
///
/// For every row r and column c of a matrix `[rows, cols]`, with the mean and the population variance of the row:
///
/// ```text
/// y[r, c] = gamma[c] * (x[r, c] - mean[r]) / sqrt(var[r] + eps) + beta[c]
/// ```
///
/// gamma (absent: 1) and beta (absent: 0) are independent of each other. Training and inference are the same. The shape is a
/// [`Rows`](crate::Rows), or a [`Channels`](crate::Channels): then every position of every sample is normalised over its
/// channels.
///
/// * **Accuracy**: relative error of the variance at most 2.2e-6; with `x_hat = (x - mean) * rstd`, error of
///   y at most `2e-6 * (|gamma| * max(1, |x_hat|) + |beta|) + 2^-149`; for every finite input, whatever its
///   mean / std, its magnitude or its outliers. A search found 0.55e-6 at worst.
/// * **Cost**: reads x from memory once, writes y once; O(rows * cols); no allocation on a single thread.
/// * **Determinism**: the same bits for every thread count, batch size, alignment, in place or not, and on
///   every backend that [fuses multiply-adds](crate::Backend::is_fused).
/// * **Special values**: a constant row gives beta (`==`), as does a row of one element. Where var + eps = 0,
///   rstd is taken as 0. A NaN or infinity makes its own row NaN and touches no other row. Subnormal
///   numbers are numbers like any other.
///
/// # Example
///
/// ```
/// use evenkeel::{InOut, LayerNorm, NormArgs, Rows};
///
/// let x = [1.0_f32, 2.0, 3.0, 4.0, 1e6, 1e6, 1e6, 1e6];
/// let mut y = [0.0_f32; 8];
/// let norm = LayerNorm::new().with_eps(0.0);
/// norm.forward(InOut::new(&x, &mut y), Rows::new(2, 4)?, NormArgs::new())?;
/// assert!((y[0] + 1.341_641).abs() < 1e-6);
/// assert_eq!(y[4..], [0.0; 4]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[doc(alias = "layernorm")]
#[doc(alias = "layer_norm")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    eps: f64,
    gate: Gate,
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
        Self { eps: 1e-5, gate: Gate::DEFAULT, execution: Execution::DEFAULT }
    }

    /// Adds `eps` to the variance, under the root; finite and at least 0 (checked by the calls).
    #[doc(alias = "epsilon")]
    #[must_use]
    pub const fn with_eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// What a [gate](NormArgs::gate) does, where a call is passed one: at first, `norm(x) * silu(z)`.
    #[must_use]
    pub const fn with_gate(mut self, function: GateFunction, place: GatePlace) -> Self {
        self.gate = Gate { function, place };
        self
    }

    output_setters!();

    /// Normalises x and returns y.
    ///
    /// | shape | gamma, beta | mean, rstd |
    /// |---|---|---|
    /// | [`Rows`](crate::Rows) | `cols` | one a row |
    /// | [`Channels`](crate::Channels) | `channels` | one a position of every sample |
    ///
    /// With channels last the result is that of rows `[batch * positions, channels]`, bit for bit. With channels first no
    /// element of x is moved: the statistics are those of [`ColumnMoments`](crate::ColumnMoments) of each sample
    /// `[channels, positions]`, and y differs from that of the transposed data in its last bits. It reads x from memory once
    /// and allocates nothing on a single thread (the statistics of a sample, if it has more than 16 thousand channels and fewer
    /// than 256 positions).
    ///
    /// ```
    /// use evenkeel::{Channels, InOut, LayerNorm, NormArgs};
    ///
    /// // One sample of two channels at three positions.
    /// let (x, mut y) = ([1.0_f32, 5.0, -4.0, 3.0, 5.0, 4.0], [0.0_f32; 6]);
    /// let args = NormArgs::new().gamma(&[1.0_f32, 2.0]);
    /// LayerNorm::new().with_eps(0.0).forward(InOut::new(&x, &mut y), Channels::first(1, 2, 3)?, args)?;
    /// assert_eq!(y, [-1.0, 0.0, -1.0, 2.0, 0.0, 2.0]);
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Parameter`]: eps is negative or not finite, or the steps of
    ///   [`ValidRows::Lengths`](crate::ValidRows::Lengths) do not divide the rows.
    /// * [`Error::SampleLength`]: a length of `ValidRows::Lengths` is above the steps.
    /// * [`Error::Length`], [`Error::TooShort`]: a slice does not fit the shape and its pitch, or rows at a pitch overlap.
    /// * [`Error::ShapeOverflow`]: rows at a pitch reach beyond what memory has addresses for.
    /// * [`Error::Unsupported`]: an argument or a pitch that this shape does not take ([`NormArgs`] has a table).
    /// * [`Error::OutOfMemory`]: there is no memory for [`NormArgs::sum_vec`], for a copy of statistics in f32, or for those of
    ///   channels that come first.
    #[inline]
    pub fn forward<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        shape: impl Into<Shape>,
        mut args: NormArgs<'_>,
    ) -> Result<&'a mut [Y], Error> {
        let shape = shape.into();
        io.write_whole(|io| self.run(io, shape, &mut args))
    }

    /// Reads dy, the gradient of a loss by y, and writes and returns dx, its gradient by x; those of gamma and beta too, if
    /// [`GradArgs`] has places for them. x is that of the forward pass, or the sum that it kept.
    ///
    /// With `g = dy * gamma`, and means over the row:
    ///
    /// ```text
    /// dx[r, c] = rstd[r] * (g[r, c] - mean(g[r]) - x_hat[r, c] * mean(g[r] * x_hat[r]))
    /// dgamma[c] = sum of dy[r, c] * x_hat[r, c] over all r;  dbeta[c] = sum of dy[r, c]
    /// ```
    ///
    /// With a [gate](GradArgs::gate) after the norm, `dy * f(z)` takes the place of dy, and `dz = dy * (gamma * x_hat + beta) * f'(z)`.
    /// With one [before it](Self::with_gate), `u = x * f(z)` takes the place of x; of du that comes back,
    /// `dx = du * f(z)` and `dz = du * x * f'(z)`.
    ///
    /// dx may be written over dy. With [`InOut::read_only`] there is none. With channels last the gradients are those of rows
    /// `[batch * positions, channels]`. With channels first no element is moved: a position is what a row is else, and there is
    /// neither a pitch, nor dsum, nor a second place for dx.
    ///
    /// * **Accuracy**, at any mean / std up to 1e9: error of dx at most
    ///   `7e-6 * rstd * max|g| * (1 + |x_hat|) + 2^-149 * (1 + rstd)`, the maximum being that of the row; of dgamma
    ///   `4e-6 * sum of |dy| * max(1, |x_hat|)` and `2^-149` for each row; of dbeta `1e-6 * sum of |dy|`; of dz, after the norm,
    ///   `3e-6 * |dy| * (|gamma| * max(1, |x_hat|) + |beta|) * s`, with `s = sigmoid(z) + |z| * sigmoid'(z)` for silu and
    ///   `sigmoid'(z)` for sigmoid; before it, dx and dz are as exact as du (`docs/accuracy.md`); where f(z), `f'(z)`, g, `x_hat`, dx
    ///   and `rstd * max|g| * (1 + |x_hat|)` are in the range of f32, and
    ///   f(z) and `f'(z)` and their products with dy are not subnormal.
    /// * **Cost**: reads x and dy from memory once, writes dx once. Without scratch it allocates
    ///   [`backward_scratch_len`](Self::backward_scratch_len) numbers, if dgamma or dbeta is wanted, if rows have a gate or several groups, and
    ///   of channels that come first. Rows with a gate are worked on one by one.
    /// * **Determinism**: as of the forward pass; dgamma and dbeta are functions of all rows, in order, and have the same bits for
    ///   every thread count.
    /// * **Special values**: a constant row has `x_hat` = 0, and adds nothing to dgamma. Where var + eps = 0, rstd is taken as 0.
    ///   A NaN or infinity in dy makes dx of its row, dgamma and dbeta of its column NaN or infinite; one in x makes dx of its row
    ///   and all of dgamma NaN.
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Parameter`]: eps is negative or not finite, or the steps of
    ///   [`ValidRows::Lengths`](crate::ValidRows::Lengths) do not divide the rows.
    /// * [`Error::SampleLength`]: a length of `ValidRows::Lengths` is above the steps.
    /// * [`Error::Length`], [`Error::TooShort`]: a slice does not fit the shape and its pitch, or rows at a pitch overlap.
    /// * [`Error::ShapeOverflow`]: rows at a pitch reach beyond what memory has addresses for.
    /// * [`Error::Unsupported`]: rstd is passed without a mean, or dgate without a gate; dsum or a second place for dx without a
    ///   first one; or channels come first, and there is a pitch, a gate, dsum or a second place.
    /// * [`Error::OutOfMemory`]: there is no memory for scratch, or for a copy of statistics in f32.
    pub fn backward<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        x: &[X],
        shape: impl Into<Shape>,
        mut args: GradArgs<'_>,
    ) -> Result<&'a mut [Y], Error> {
        let shape = shape.into();
        io.write_whole(|io| self.run_backward(io, Elements::of(x), shape, &mut args))
    }

    /// How many numbers of scratch [`backward`](Self::backward) needs ([`GradArgs::scratch`]). Depends on the shape alone.
    #[must_use]
    pub fn backward_scratch_len(&self, shape: impl Into<Shape>) -> usize {
        match shape.into() {
            Shape::Rows(rows) => scratch_len(rows),
            Shape::Channels(shape) => match shape.as_rows() {
                Some(rows) => scratch_len(rows),
                None => position_scratch_len(shape),
            },
        }
    }

    pub(crate) fn run(
        &self,
        io: Io<'_>,
        shape: Shape,
        args: &mut NormArgs<'_>,
    ) -> Result<(), Error> {
        if args.has_f32_stats() {
            return args.with_f64_stats(statistics(shape), |args| self.run(io, shape, args));
        }
        check_eps(self.eps)?;
        match shape {
            Shape::Rows(rows) => self.run_rows(io, rows, args),
            Shape::Channels(shape) => match shape.as_rows() {
                Some(rows) => self.run_rows(io, rows, args),
                None => normalize_positions(self.execution, self.eps, io, shape, args),
            },
        }
    }

    #[inline(never)]
    pub(crate) fn run_backward(
        &self,
        io: Io<'_>,
        x: Elements<'_>,
        shape: Shape,
        args: &mut GradArgs<'_>,
    ) -> Result<(), Error> {
        if args.has_f32_stats() {
            return args
                .with_f64_stats(statistics(shape), |args| self.run_backward(io, x, shape, args));
        }
        check_eps(self.eps)?;
        if let Shape::Channels(shape) = shape
            && shape.as_rows().is_none()
        {
            let args = args.reborrow();
            return position_gradients(self.execution, self.eps, io, x, shape, args);
        }
        let rows = as_rows(shape)?;
        unsupported([("rstd", args.rstd.is_some() && args.mean.is_none())])?;
        let source = MeanVariance { eps: self.eps, mean: None, rstd: None };
        let norm = RowNorm { gate: self.gate, ..RowNorm::plain(source) };
        backward(self.execution.call(args.pool), io, x, rows, norm, &mut args.reborrow())
    }

    fn run_rows(&self, io: Io<'_>, rows: Rows, args: &mut NormArgs<'_>) -> Result<(), Error> {
        args.check_stats(rows.rows())?;
        let padding = padding(args, rows.rows())?;
        let (mut mean, mut rstd) = (args.mean.take(), args.rstd.take());
        let (of_mean, of_rstd) = (mean.as_deref_mut(), rstd.as_deref_mut());
        let source = MeanVariance { eps: self.eps, mean: of_mean, rstd: of_rstd };
        let call = self.execution.call(args.pool);
        let norm = RowNorm { gate: self.gate, ..RowNorm::plain(source) };
        normalize(call, io, rows, norm, padding, args)?;
        clear_statistics([mean, rstd], rows, padding);
        Ok(())
    }
}

/// One of each a row, or a position.
fn statistics(shape: Shape) -> usize {
    match shape {
        Shape::Rows(rows) => rows.rows(),
        Shape::Channels(channels) => channels.all_positions(),
    }
}
