//! RmsNorm: every row divided by its root mean square.
#![forbid(unsafe_code)]

use crate::args::norm::{NormArgs, unsupported};
use crate::element::Element;
use crate::error::Error;
use crate::kernels::rows::source::MeanSquare;
use crate::norm::rows::{PLAIN_GAMMA, clear_statistics, normalize, padding};
use crate::run::execution::{Execution, output_setters};
use crate::shape::{Rows, check_eps};
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
/// other. With a gate z the result is multiplied with silu(z): `(gamma * x_hat + beta) * silu(z)`.
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
        Self { eps: 1e-5, one_plus_gamma: false, execution: Execution::DEFAULT }
    }

    /// Adds `eps` to the mean of squares, under the root; finite and at least 0 (checked by the calls).
    #[must_use]
    pub const fn with_eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Whether 1 + gamma, rounded to f32, takes the place of gamma, as in the models of the Gemma family, whose weights are
    /// stored less 1. A gamma that is absent is 0 then: `x_hat` is multiplied by 1 + 0.
    #[must_use]
    pub const fn with_one_plus_gamma(mut self, one_plus_gamma: bool) -> Self {
        self.one_plus_gamma = one_plus_gamma;
        self
    }

    output_setters!();

    /// Normalises x and returns y. gamma and beta have `rows.cols()` elements, `rstd` has one a row.
    ///
    /// # Gate
    ///
    /// With `factor = gamma * silu(z)`, which has to be in the range of f32, and without beta, the error of y is at most
    /// `(1e-6 * |factor| + 2^-148 * max(1, |gamma|)) * max(1, |x_hat|)`. A NaN in z makes its own element NaN; minus infinity is a
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
    /// * [`Error::Parameter`]: eps is negative or not finite, or the steps of
    ///   [`ValidRows::Lengths`](crate::ValidRows::Lengths) do not divide the rows.
    /// * [`Error::SampleLength`]: a length of `ValidRows::Lengths` is above the steps.
    /// * [`Error::Length`], [`Error::TooShort`]: a slice does not fit the shape and its pitch, or rows at a pitch overlap.
    /// * [`Error::ShapeOverflow`]: rows at a pitch reach beyond what memory has addresses for.
    /// * [`Error::Unsupported`]: a mean is to be written ([`NormArgs::stats`]), or a sum of nothing.
    /// * [`Error::OutOfMemory`]: there is no memory for [`NormArgs::sum_vec`].
    #[inline]
    pub fn forward<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        rows: Rows,
        mut args: NormArgs<'_>,
    ) -> Result<&'a mut [Y], Error> {
        io.write_whole(|io| self.run(io, rows, &mut args))
    }

    pub(crate) fn run(&self, io: Io<'_>, rows: Rows, args: &mut NormArgs<'_>) -> Result<(), Error> {
        check_eps(self.eps)?;
        unsupported([("mean", args.mean.is_some())])?;
        args.check_stats(rows.rows())?;
        let padding = padding(args, rows.rows())?;
        let mut rstd = args.rstd.take();
        let source = MeanSquare { eps: self.eps, rstd: rstd.as_deref_mut() };
        let gamma_offset = if self.one_plus_gamma { 1.0 } else { PLAIN_GAMMA };
        normalize(self.execution.call(args.pool), io, rows, source, gamma_offset, padding, args)?;
        clear_statistics([None, rstd], rows, padding);
        Ok(())
    }
}
