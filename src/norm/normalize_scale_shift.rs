//! Normalise, scale and shift rows or columns whose statistics the caller has.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;

use crate::error::Error;
use crate::kernels::columns::coefficients::GivenColumns;
use crate::kernels::rows::source::GivenRows;
use crate::norm::columns::normalize_columns;
use crate::norm::rows::{PLAIN, contiguous, normalize_rows, strided, strided_in_place};
use crate::run::execution::{Execution, output_setters};
use crate::shape::{Rows, check_length, check_optional};
use crate::simd::{RowSpan, Span, write_whole};

/// Normalise-scale-shift of rows, or of columns, whose statistics are given.
///
/// For every row r and column c of a matrix `[rows, cols]`:
///
/// ```text
/// y[r, c] = gamma[c] * (x[r, c] - mean[r]) * rstd[r] + beta[c]
/// ```
///
/// gamma (absent: 1) and beta (absent: 0) are independent of each other. This is the second half of
/// [`LayerNorm`](crate::LayerNorm): with the mean of [`RowMoments`](crate::RowMoments) and
/// `rstd = 1 / sqrt(var + eps)` it gives the bits of `LayerNorm`.
///
/// * **Accuracy**: with `x_hat = (x - mean) * rstd`, the error of y is at most
///   `1e-6 * (|gamma| * max(1, |x_hat|) + |beta|) + 2^-149` wherever `x_hat` and y are in the range of f32. The mean
///   is used in f64 precision.
/// * **Cost**: reads x once, writes y once; no allocation on a single thread.
/// * **Determinism**: the same bits for every thread count, alignment, in place or not, and on every
///   backend that [fuses multiply-adds](crate::Backend::is_fused).
/// * **Special values**: a NaN or infinity in x makes its own element of y what the formula says in
///   IEEE arithmetic and touches no other. mean and rstd may be any f64, rstd negative too; a NaN or infinity makes its
///   own row NaN, or its own column what the formula says.
///
/// # Example
///
/// ```
/// use evenkeel::{NormalizeScaleShift, Rows};
///
/// let (x, mean, rstd) = ([1.0, 3.0, 10.0, 30.0], [2.0, 20.0], [1.0, 0.1]);
/// let mut y = [0.0; 4];
/// NormalizeScaleShift::new().forward(
///     &x, &mean, &rstd, Some(&[1.0, 2.0]), None, Rows::new(2, 2)?, &mut y,
/// )?;
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

    /// Reads `x`, writes `y`, both `rows.elements()` long.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if `mean` or `rstd` is not `rows.rows()` long, `gamma` or `beta` not
    /// `rows.cols()`, `x` or `y` not `rows.elements()`. Nothing is written then.
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward(
        &self,
        x: &[f32],
        mean: &[f64],
        rstd: &[f64],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &mut [f32],
    ) -> Result<(), Error> {
        rows.check_io(x.len(), y.len())?;
        self.run(contiguous(rows, Span::new(x, y)), mean, rstd, gamma, beta, rows)
    }

    /// Reads and writes `x`.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_in_place(
        &self,
        x: &mut [f32],
        mean: &[f64],
        rstd: &[f64],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
    ) -> Result<(), Error> {
        check_length("x", x.len(), rows.elements())?;
        self.run(contiguous(rows, Span::in_place(x)), mean, rstd, gamma, beta, rows)
    }

    /// Reads `x`, initialises `y` and returns it.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_uninit<'y>(
        &self,
        x: &[f32],
        mean: &[f64],
        rstd: &[f64],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &'y mut [MaybeUninit<f32>],
    ) -> Result<&'y mut [f32], Error> {
        rows.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| self.run(contiguous(rows, io), mean, rstd, gamma, beta, rows))
    }

    /// As [`forward`](Self::forward) for rows that begin every `x_pitch` elements of `x` and every `y_pitch` of `y`, as the
    /// parts of a wider matrix do. What lies between two rows of `y` is not touched.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if a pitch is less than `rows.cols()`, `x` or `y` shorter than
    /// `(rows.rows() - 1) * pitch + rows.cols()`, or another slice of the wrong length; [`Error::ShapeOverflow`] if that is
    /// more than memory has addresses. Nothing is written then.
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_strided(
        &self,
        x: &[f32],
        x_pitch: usize,
        mean: &[f64],
        rstd: &[f64],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &mut [f32],
        y_pitch: usize,
    ) -> Result<(), Error> {
        let io = strided(rows, x, x_pitch, y, y_pitch)?;
        self.run(io, mean, rstd, gamma, beta, rows)
    }

    /// As [`forward_strided`](Self::forward_strided); reads and writes `x`.
    ///
    /// # Errors
    ///
    /// As [`forward_strided`](Self::forward_strided).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_strided_in_place(
        &self,
        x: &mut [f32],
        x_pitch: usize,
        mean: &[f64],
        rstd: &[f64],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
    ) -> Result<(), Error> {
        let io = strided_in_place(rows, x, x_pitch)?;
        self.run(io, mean, rstd, gamma, beta, rows)
    }

    /// Normalises columns instead: `mean` and `rstd` are one a column.
    ///
    /// `y[r, c] = gamma[c] * (x[r, c] - mean[c]) * rstd[c] + beta[c]`, the second half of
    /// [`BatchNorm`](crate::BatchNorm)'s training.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if `mean`, `rstd`, `gamma` or `beta` is not `rows.cols()` long, `x` or `y` not
    /// `rows.elements()`. Nothing is written then.
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_columns(
        &self,
        x: &[f32],
        mean: &[f64],
        rstd: &[f64],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &mut [f32],
    ) -> Result<(), Error> {
        rows.check_io(x.len(), y.len())?;
        self.run_columns(Span::new(x, y), mean, rstd, gamma, beta, rows)
    }

    /// As [`forward_columns`](Self::forward_columns); reads and writes `x`.
    ///
    /// # Errors
    ///
    /// As [`forward_columns`](Self::forward_columns).
    pub fn forward_columns_in_place(
        &self,
        x: &mut [f32],
        mean: &[f64],
        rstd: &[f64],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
    ) -> Result<(), Error> {
        check_length("x", x.len(), rows.elements())?;
        self.run_columns(Span::in_place(x), mean, rstd, gamma, beta, rows)
    }

    /// As [`forward_columns`](Self::forward_columns); initialises `y` and returns it.
    ///
    /// # Errors
    ///
    /// As [`forward_columns`](Self::forward_columns).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_columns_uninit<'y>(
        &self,
        x: &[f32],
        mean: &[f64],
        rstd: &[f64],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
        y: &'y mut [MaybeUninit<f32>],
    ) -> Result<&'y mut [f32], Error> {
        rows.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| self.run_columns(io, mean, rstd, gamma, beta, rows))
    }

    pub(crate) fn run_columns(
        &self,
        io: Span<'_>,
        mean: &[f64],
        rstd: &[f64],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
    ) -> Result<(), Error> {
        check_length("mean", mean.len(), rows.cols())?;
        check_length("rstd", rstd.len(), rows.cols())?;
        check_optional("gamma", gamma, rows.cols())?;
        check_optional("beta", beta, rows.cols())?;
        let source = GivenColumns { mean, rstd };
        normalize_columns(self.execution, io, source, gamma, beta, rows);
        Ok(())
    }

    pub(crate) fn run(
        &self,
        io: RowSpan<'_>,
        mean: &[f64],
        rstd: &[f64],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        rows: Rows,
    ) -> Result<(), Error> {
        check_length("mean", mean.len(), rows.rows())?;
        check_length("rstd", rstd.len(), rows.rows())?;
        let given = GivenRows { mean, rstd };
        normalize_rows(self.execution, io, given, gamma, beta, PLAIN)
    }
}
