//! RmsNorm: every row divided by its root mean square.
#![forbid(unsafe_code)]

use crate::args::grad::GradArgs;
use crate::args::norm::{NormArgs, unsupported};
use crate::element::{Element, Elements};
use crate::error::Error;
use crate::gate::{Gate, GateFunction, GatePlace};
use crate::kernels::rows::source::MeanSquare;
use crate::norm::row_gradients::{as_rows, scratch_len};
use crate::norm::rows::{PLAIN_GAMMA, RowNorm, clear_statistics, padding};
use crate::norm::stored_row_gradients::backward;
use crate::norm::stored_rows::normalize;
use crate::run::execution::{Execution, output_setters};
use crate::shape::{Rows, Shape, check_eps};
use crate::simd::{InOut, Io};

/// Root mean square normalisation over the last axis (Zhang and Sennrich, 2019, arXiv 1910.07467).
///
/// For every row r and column c of a matrix `[rows, cols]`:
///
/// ```text
/// y[r, c] = gamma[c] * x[r, c] / sqrt(mean of x[r, :]^2 + eps) + beta[c]
/// ```
///
/// gamma (absent: 1, or 0 where it is [stored less 1](Self::with_one_plus_gamma)) and beta (absent: 0) are independent of each
/// other. With a gate z the result is multiplied with silu(z): `(gamma * x_hat + beta) * silu(z)`;
/// [`with_gate`](Self::with_gate) has the other gates that models use. The mean can be that of
/// [groups](Self::with_group_size) of a row.
///
/// * **Accuracy**: relative error of the mean of squares at most 1e-6; with `x_hat = x * rstd`, error of y
///   at most `1e-6 * (|gamma| * max(1, |x_hat|) + |beta|) + 2^-149`; for every finite input of any magnitude.
/// * **Cost**: reads x from memory once, writes y once; O(rows * cols); no allocation on a single
///   thread.
/// * **Determinism**: the same bits for every thread count, batch size, alignment, in place or not, and on
///   every backend that [fuses multiply-adds](crate::Backend::is_fused).
/// * **Special values**: where the mean of squares + eps is 0, rstd is taken as 0, so that a row of zeros
///   gives beta. A NaN or infinity makes its own row NaN (also where the formula has finite / infinity = 0)
///   and touches no other row.
///
/// # Example
///
/// ```
/// use evenkeel::{InOut, NormArgs, RmsNorm, Rows};
///
/// let mut x = [3.0_f32, 4.0, 0.0, 0.0];
/// let norm = RmsNorm::new().with_eps(0.0);
/// norm.forward(InOut::in_place(&mut x), Rows::new(2, 2)?, NormArgs::new())?;
/// assert!((x[0] - 0.848_528).abs() < 1e-6);
/// assert_eq!(x[2..], [0.0, 0.0]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[doc(alias = "rmsnorm")]
#[doc(alias = "rms_norm")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsNorm {
    eps: f64,
    one_plus_gamma: bool,
    gate: Gate,
    group_size: Option<usize>,
    execution: Execution,
}

impl Default for RmsNorm {
    fn default() -> Self {
        Self::new()
    }
}

impl RmsNorm {
    /// eps = 1e-5, on the detected backend, with automatic parallelism.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            eps: 1e-5,
            one_plus_gamma: false,
            gate: Gate::DEFAULT,
            group_size: None,
            execution: Execution::DEFAULT,
        }
    }

    /// Adds `eps` to the mean of squares, under the root; finite and at least 0 (checked by the calls).
    #[doc(alias = "epsilon")]
    #[must_use]
    pub const fn with_eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Whether 1 + gamma, rounded to f32, takes the place of gamma, as in the models of the Gemma family, whose weights are
    /// stored less 1. A gamma that is absent is 0 then: `x_hat` is multiplied by 1 + 0.
    #[doc(alias = "gemma")]
    #[doc(alias = "unit_offset")]
    #[doc(alias = "zero_centered_gamma")]
    #[must_use]
    pub const fn with_one_plus_gamma(mut self, one_plus_gamma: bool) -> Self {
        self.one_plus_gamma = one_plus_gamma;
        self
    }

    /// What a [gate](NormArgs::gate) does, where a call is passed one: at first, `norm(x) * silu(z)`.
    ///
    /// ```
    /// use evenkeel::{GateFunction, GatePlace, InOut, NormArgs, RmsNorm, Rows};
    ///
    /// // As Mamba-2 gates.
    /// let norm = RmsNorm::new().with_eps(0.0).with_gate(GateFunction::Silu, GatePlace::BeforeNorm);
    /// let (mut x, z) = ([3.0_f32, 4.0, -1.0, 2.0], [1.0_f32, -1.0, 2.0, 0.5]);
    /// let args = NormArgs::new().gamma(&[1.0_f32, 2.0, 1.0, 0.5]).gate(&z);
    /// norm.forward(InOut::in_place(&mut x), Rows::new(1, 4)?, args)?;
    /// assert!((x[0] - 1.4263).abs() < 1e-4);
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    #[must_use]
    pub const fn with_gate(mut self, function: GateFunction, place: GatePlace) -> Self {
        self.gate = Gate { function, place };
        self
    }

    /// Normalises every `group_size` elements of a row by themselves, as Mamba-2 does with several groups. The size divides the
    /// columns (checked by the calls). gamma, beta and the other arguments stay those of whole rows. `rstd` has `cols / group_size`
    /// elements a row.
    ///
    /// A group has the bits that it has as a row of its own. Groups are worked on one by one, while rows share loads and sums: groups
    /// cost more than as many rows (`docs/performance.md` in the repository says how much).
    ///
    /// ```
    /// use evenkeel::{InOut, NormArgs, RmsNorm, Rows};
    ///
    /// let (mut x, mut rstd) = ([3.0_f32, 3.0, 0.5, -0.5], [0.0; 2]);
    /// let norm = RmsNorm::new().with_eps(0.0).with_group_size(2);
    /// let args = NormArgs::new().gamma(&[1.0_f32, 2.0, 3.0, 4.0]).rstd(&mut rstd);
    /// norm.forward(InOut::in_place(&mut x), Rows::new(1, 4)?, args)?;
    /// assert_eq!((x, rstd), ([1.0, 2.0, 3.0, -4.0], [1.0 / 3.0, 2.0]));
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    #[doc(alias = "qk_norm")]
    #[must_use]
    pub const fn with_group_size(mut self, group_size: usize) -> Self {
        self.group_size = Some(group_size);
        self
    }

    output_setters!();

    /// Normalises x and returns y. gamma and beta have `rows.cols()` elements, `rstd` has one a row, or a
    /// [group](Self::with_group_size) of a row.
    ///
    /// # Gate
    ///
    /// After the norm, with `factor = gamma * silu(z)`, which has to be in the range of f32, and without beta, the error of y is at most
    /// `(1.2e-6 * |factor| + 2^-148 * max(1, |gamma|)) * max(1, |x_hat|)`. A NaN in z makes its own element NaN; minus infinity is a
    /// gate of 0, infinity an infinite one.
    ///
    /// ```
    /// use evenkeel::{InOut, NormArgs, RmsNorm, Rows};
    ///
    /// let (x, z, mut y) = ([3.0_f32, 4.0], [100.0_f32, -100.0], [0.0_f32; 2]);
    /// let args = NormArgs::new().gate(&z);
    /// RmsNorm::new().with_eps(0.0).forward(InOut::new(&x, &mut y), Rows::new(1, 2)?, args)?;
    /// assert!((y[0] - 84.852_8).abs() < 1e-3 && y[1].abs() < 1e-40);
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Parameter`]: eps is negative or not finite, the group size does not divide the columns, or the steps of
    ///   [`ValidRows::Lengths`](crate::ValidRows::Lengths) do not divide the rows.
    /// * [`Error::SampleLength`]: a length of `ValidRows::Lengths` is above the steps.
    /// * [`Error::Length`], [`Error::TooShort`]: a slice does not fit the shape and its pitch, or rows at a pitch overlap.
    /// * [`Error::ShapeOverflow`]: rows at a pitch reach beyond what memory has addresses for.
    /// * [`Error::Unsupported`]: a mean is to be written ([`NormArgs::stats`]), or a sum of nothing.
    /// * [`Error::OutOfMemory`]: there is no memory for [`NormArgs::sum_vec`], or for a copy of statistics in f32.
    #[inline]
    pub fn forward<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        rows: Rows,
        mut args: NormArgs<'_>,
    ) -> Result<&'a mut [Y], Error> {
        io.write_whole(|io| self.run(io, rows, &mut args))
    }

    /// Reads dy, the gradient of a loss by y, and writes and returns dx, its gradient by x; those of gamma and beta too, if
    /// [`GradArgs`] has places for them. x is that of the forward pass, or the sum that it kept.
    ///
    /// With `g = dy * gamma` (or `dy * (1 + gamma)`), and the mean over the row:
    ///
    /// ```text
    /// dx[r, c] = rstd[r] * (g[r, c] - x_hat[r, c] * mean(g[r] * x_hat[r]))
    /// dgamma[c] = sum of dy[r, c] * x_hat[r, c] over all r;  dbeta[c] = sum of dy[r, c]
    /// ```
    ///
    /// Places, cost and determinism are those of [`LayerNorm::backward`](crate::LayerNorm::backward), and so is accuracy, with an error
    /// of dx of at most `4e-6 * rstd * max|g| * (1 + |x_hat|) + 2^-149 * (1 + rstd)`. A row of zeros adds nothing to dgamma.
    ///
    /// ```
    /// use evenkeel::{GradArgs, InOut, RmsNorm, Rows};
    ///
    /// let (x, mut dy, mut dgamma) = ([3.0_f32, 4.0], [1.0_f32, 1.0], [0.0_f32; 2]);
    /// let args = GradArgs::new().dgamma(&mut dgamma);
    /// RmsNorm::new().with_eps(0.0).backward(InOut::in_place(&mut dy), &x, Rows::new(1, 2)?, args)?;
    /// // dx, over dy: orthogonal to x.
    /// assert!((dy[0] - 0.045_255).abs() < 1e-6 && (dy[1] + 0.033_941).abs() < 1e-6);
    /// assert!((dgamma[0] - 0.848_528).abs() < 1e-6 && (dgamma[1] - 1.131_371).abs() < 1e-6);
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`LayerNorm::backward`](crate::LayerNorm::backward), and:
    ///
    /// * [`Error::Unsupported`]: a mean is passed.
    /// * [`Error::Parameter`]: the group size does not divide the columns.
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
    pub fn backward_scratch_len(&self, rows: Rows) -> usize {
        scratch_len(rows)
    }

    pub(crate) fn run(&self, io: Io<'_>, rows: Rows, args: &mut NormArgs<'_>) -> Result<(), Error> {
        check_eps(self.eps)?;
        let groups = self.groups(rows.cols())?;
        if args.has_f32_stats() {
            return args.with_f64_stats(rows.rows() * groups, |args| self.run(io, rows, args));
        }
        unsupported([("mean", args.mean.is_some())])?;
        args.check_stats(rows.rows() * groups)?;
        let padding = padding(args, rows.rows())?;
        let mut rstd = args.rstd.take();
        let source = MeanSquare { eps: self.eps, groups, rstd: rstd.as_deref_mut() };
        let norm = self.norm(source);
        normalize(self.execution.call(args.pool), io, rows, norm, padding, args)?;
        clear_statistics([None, rstd], rows, padding);
        Ok(())
    }

    #[inline(never)]
    pub(crate) fn run_backward(
        &self,
        io: Io<'_>,
        x: Elements<'_>,
        shape: Shape,
        args: &mut GradArgs<'_>,
    ) -> Result<(), Error> {
        check_eps(self.eps)?;
        let rows = as_rows(shape)?;
        let groups = self.groups(rows.cols())?;
        if args.has_f32_stats() {
            return args.with_f64_stats(rows.rows() * groups, |args| {
                self.run_backward(io, x, shape, args)
            });
        }
        unsupported([("mean", args.mean.is_some())])?;
        let norm = self.norm(MeanSquare { eps: self.eps, groups, rstd: None });
        backward(self.execution.call(args.pool), io, x, rows, norm, &mut args.reborrow())
    }

    /// What is done with a row.
    #[inline]
    fn norm<'a>(&self, source: MeanSquare<'a>) -> RowNorm<MeanSquare<'a>> {
        let gamma_offset = if self.one_plus_gamma { 1.0 } else { PLAIN_GAMMA };
        RowNorm { source, gamma_offset, gate: self.gate }
    }

    /// Groups of a row.
    #[inline]
    fn groups(&self, cols: usize) -> Result<usize, Error> {
        let Some(group_size) = self.group_size else { return Ok(1) };
        let groups = cols.checked_div(group_size).filter(|groups| groups * group_size == cols);
        let (arg, expected) = ("group_size", "a divisor of the columns");
        groups.ok_or(Error::Parameter { arg, expected, got: group_size as f64 })
    }
}
