//! RmsNorm: every row divided by its root mean square.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;

use crate::args::residual::Residual;
use crate::error::Error;
use crate::kernels::rows::source::MeanSquare;
use crate::norm::row_variants::row_variants;
use crate::norm::rows::{Variant, contiguous, normalize_rows, strided, strided_in_place};
use crate::run::execution::{Execution, output_setters};
use crate::shape::{Rows, check_eps, check_length, check_optional};
use crate::simd::{RowSpan, Span, write_whole};

/// Root mean square normalisation over the last axis (Zhang and Sennrich, 2019, arXiv 1910.07467).
///
/// For every row r and column c of a matrix `[rows, cols]`:
///
/// ```text
/// y[r, c] = gamma[c] * x[r, c] / sqrt(mean of x[r, :]^2 + eps) + beta[c]
/// ```
///
/// gamma (absent: 1) and beta (absent: 0) are independent of each other. The `_with_stats` methods also
/// write `rstd = 1 / sqrt(mean of squares + eps)` of every row.
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
/// use evenkeel::{RmsNorm, Rows};
///
/// let mut x = [3.0, 4.0, 0.0, 0.0];
/// RmsNorm::new().with_eps(0.0).forward_in_place(&mut x, None, None, Rows::new(2, 2)?)?;
/// assert!((x[0] - 0.848_528).abs() < 1e-6);
/// assert_eq!(x[2..], [0.0, 0.0]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
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
    /// stored less 1.
    #[must_use]
    pub const fn with_one_plus_gamma(mut self, one_plus_gamma: bool) -> Self {
        self.one_plus_gamma = one_plus_gamma;
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

    /// As [`forward`](Self::forward), and writes `rstd`, one a row.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward); [`Error::Length`] if `rstd` is not `rows.rows()` long;
    /// [`Error::EmptyAxis`] if there are rows and they are empty.
    pub fn forward_with_stats(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &mut [f32],
        rstd: &mut [f64],
    ) -> Result<(), Error> {
        rows.check_io(x.len(), y.len())?;
        self.run(Span::new(x, y), gamma, beta, rows, Some(rstd))
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

    /// As [`forward_in_place`](Self::forward_in_place), and writes `rstd`, one a row.
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
        rstd: &mut [f64],
    ) -> Result<(), Error> {
        check_length("x", x.len(), rows.elements())?;
        self.run(Span::in_place(x), gamma, beta, rows, Some(rstd))
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

    /// As [`forward_uninit`](Self::forward_uninit), and writes `rstd`, one a row.
    ///
    /// # Errors
    ///
    /// As [`forward_with_stats`](Self::forward_with_stats).
    pub fn forward_uninit_with_stats<'y>(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &'y mut [MaybeUninit<f32>],
        rstd: &mut [f64],
    ) -> Result<&'y mut [f32], Error> {
        rows.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| self.run(io, gamma, beta, rows, Some(rstd)))
    }

    row_variants!(rstd: &mut [f64]);

    /// Gated: `y = gamma * x / sqrt(mean of x^2 + eps) * silu(z)` with `silu(z) = z / (1 + exp(-z))`, as in the Mamba-2 and
    /// gated-attention families of models. `z` is as long as `x`.
    ///
    /// With `factor = gamma * silu(z)`, which has to be in the range of f32, the error of y is at most
    /// `(1e-6 * |factor| + 2^-148 * max(1, |gamma|)) * max(1, |x_hat|)`. A NaN in `z` makes its own element NaN;
    /// minus infinity is a gate of 0, infinity an infinite one.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward); [`Error::Length`] if `z` is not `rows.elements()` long.
    ///
    /// # Example
    ///
    /// ```
    /// use evenkeel::{RmsNorm, Rows};
    ///
    /// let (x, z, mut y) = ([3.0, 4.0], [100.0, -100.0], [0.0; 2]);
    /// RmsNorm::new().with_eps(0.0).forward_gated(&x, &z, None, Rows::new(1, 2)?, &mut y)?;
    /// assert!((y[0] - 84.852_8).abs() < 1e-3 && y[1].abs() < 1e-40);
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    pub fn forward_gated(
        &self,
        x: &[f32],
        z: &[f32],
        gamma: Option<&[f32]>,
        rows: Rows,
        y: &mut [f32],
    ) -> Result<(), Error> {
        rows.check_io(x.len(), y.len())?;
        self.run_gated(Span::new(x, y), z, gamma, rows)
    }

    /// As [`forward_gated`](Self::forward_gated); reads and writes `x`.
    ///
    /// # Errors
    ///
    /// As [`forward_gated`](Self::forward_gated).
    pub fn forward_gated_in_place(
        &self,
        x: &mut [f32],
        z: &[f32],
        gamma: Option<&[f32]>,
        rows: Rows,
    ) -> Result<(), Error> {
        check_length("x", x.len(), rows.elements())?;
        self.run_gated(Span::in_place(x), z, gamma, rows)
    }

    /// As [`forward_gated`](Self::forward_gated); initialises `y` and returns it.
    ///
    /// # Errors
    ///
    /// As [`forward_gated`](Self::forward_gated).
    pub fn forward_gated_uninit<'y>(
        &self,
        x: &[f32],
        z: &[f32],
        gamma: Option<&[f32]>,
        rows: Rows,
        y: &'y mut [MaybeUninit<f32>],
    ) -> Result<&'y mut [f32], Error> {
        rows.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| self.run_gated(io, z, gamma, rows))
    }

    pub(crate) fn run_gated(
        &self,
        io: Span<'_>,
        z: &[f32],
        gamma: Option<&[f32]>,
        rows: Rows,
    ) -> Result<(), Error> {
        check_eps(self.eps)?;
        check_length("z", z.len(), rows.elements())?;
        let source = MeanSquare { eps: self.eps, rstd: None };
        let io = contiguous(rows, io).with_second(z);
        let gate = Variant { one_plus_gamma: self.one_plus_gamma, gated: true };
        normalize_rows(self.execution, io, source, gamma, None, gate)
    }

    pub(crate) fn run(
        &self,
        io: Span<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        rstd: Option<&mut [f64]>,
    ) -> Result<(), Error> {
        self.run_rows(contiguous(rows, io), gamma, beta, rows, rstd)
    }

    /// `io` has the shape `rows`.
    pub(crate) fn run_rows(
        &self,
        io: RowSpan<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        rstd: Option<&mut [f64]>,
    ) -> Result<(), Error> {
        check_eps(self.eps)?;
        check_optional("rstd", rstd.as_deref(), rows.rows())?;
        if rstd.is_some() {
            rows.check_statistic()?;
        }
        let source = MeanSquare { eps: self.eps, rstd };
        let variant = Variant { one_plus_gamma: self.one_plus_gamma, gated: false };
        normalize_rows(self.execution, io, source, gamma, beta, variant)
    }
}
