//! The moments of every column.
#![forbid(unsafe_code)]

use crate::args::valid_rows::kept_rows;
use crate::error::Error;
use crate::kernels::columns::moments::write_moments;
use crate::mask::ValidRows;
use crate::memory;
use crate::norm::columns::{column_scratch_len, column_statistics};
use crate::run::execution::{Execution, execution_setters};
use crate::shape::{Rows, check_at_least, check_length};
use crate::welford::Moments;

/// Mean and variance of every column of a matrix `[rows, cols]`, in one pass.
///
/// With channels last, `[batch, height, width, channels]` is `[batch * height * width, channels]`. Writes one
/// [`Moments`] a column.
///
/// * **Accuracy**: relative error of the variance at most 1e-6, error of the mean at most 1e-6 standard
///   deviations (or one rounding of f64), for every finite input, whatever its mean / std, its magnitude
///   or its outliers.
/// * **Method**: blocks of 64 rows (of fewer than 256 columns: a power of two more, so that several rows side by side
///   fill the vectors) summed around a shift taken from the block itself, merged in f64 by Welford's rule as
///   Chan, Golub and LeVeque generalised it (1979), in a tree fixed by the shape.
/// * **Cost**: reads x once; O(rows * cols); needs [`scratch_len`](Self::scratch_len) numbers of scratch.
/// * **Determinism**: the same bits for every thread count and alignment, and on every backend that
///   [fuses multiply-adds](crate::Backend::is_fused); what is in one column changes no bit of another. How many columns
///   there are may: blocks of narrow matrices are of more rows.
/// * **Special values**: a constant column has exactly its value as mean and the variance 0. A NaN or infinity
///   makes the moments of its own column NaN and touches no other column.
/// * **Padding**: [`compute_masked`](Self::compute_masked) takes the moments of the valid rows alone, with the bits of the matrix
///   without the others.
///
/// # Example
///
/// ```
/// use evenkeel::{ColumnMoments, Moments, Rows};
///
/// let mut moments = [Moments::new(); 2];
/// ColumnMoments::new().compute(&[1.0, 5.0, 3.0, 5.0], Rows::new(2, 2)?, &mut moments)?;
/// assert_eq!(moments[0], Moments { count: 2, mean: 2.0, m2: 2.0, ..Moments::new() });
/// assert_eq!(moments[1].population_variance(), Some(0.0));
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColumnMoments {
    execution: Execution,
}

impl Default for ColumnMoments {
    fn default() -> Self {
        Self::new()
    }
}

impl ColumnMoments {
    /// The operation on the detected backend, with automatic parallelism.
    #[must_use]
    pub const fn new() -> Self {
        Self { execution: Execution::DEFAULT }
    }

    execution_setters!();

    /// How much scratch [`compute_with_scratch`](Self::compute_with_scratch) needs: about
    /// `2 * cols * log2(rows / 64)` numbers on one thread.
    #[must_use]
    pub fn scratch_len(&self, rows: Rows) -> usize {
        column_scratch_len(self.execution, rows)
    }

    /// Reads `x`, `rows.elements()` long, and writes the moments of every column. Allocates the
    /// scratch.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if `x` is not `rows.elements()` long or `moments` not `rows.cols()`;
    /// [`Error::EmptyAxis`] if there are columns and they are empty. Nothing is written then.
    pub fn compute(&self, x: &[f32], rows: Rows, moments: &mut [Moments]) -> Result<(), Error> {
        self.check(x, rows, moments)?;
        let mut allocated = Vec::new();
        let scratch = memory::grow(&mut allocated, 0.0, self.scratch_len(rows))?;
        self.compute_with_scratch(x, rows, moments, scratch)
    }

    /// As [`compute`](Self::compute) of the matrix without its padding, bit for bit. What is in the padding, NaN too, does
    /// not matter.
    ///
    /// Padding costs what it takes to skip it: rows are not copied, but for those of fewer than 256 columns that lie
    /// between padding.
    ///
    /// # Errors
    ///
    /// As [`compute`](Self::compute), [`Error::EmptyAxis`] also if no row is valid. [`Error::Length`] if the mask is not as long
    /// as `rows.rows()` asks for, or there are not as many lengths as samples; [`Error::Parameter`] if the steps do not divide
    /// `rows.rows()`; [`Error::SampleLength`] if a length is above the steps. Nothing is written then.
    ///
    /// # Example
    ///
    /// ```
    /// use evenkeel::{ColumnMoments, Moments, Rows, ValidRows};
    ///
    /// // Two samples of up to two steps; of the second only the first is valid.
    /// let (x, lengths) = ([1.0, 3.0, 5.0, f32::NAN], [2, 1]);
    /// let valid = ValidRows::Lengths { lengths: &lengths, steps: 2 };
    /// let mut moments = [Moments::new()];
    /// ColumnMoments::new().compute_masked(&x, valid, Rows::new(4, 1)?, &mut moments)?;
    /// assert_eq!(moments[0], Moments { count: 3, mean: 3.0, m2: 8.0, ..Moments::new() });
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    pub fn compute_masked(
        &self,
        x: &[f32],
        valid: ValidRows<'_>,
        rows: Rows,
        moments: &mut [Moments],
    ) -> Result<(), Error> {
        self.check(x, rows, moments)?;
        let mut allocated = Vec::new();
        let scratch = memory::grow(&mut allocated, 0.0, self.scratch_len(rows))?;
        self.compute_masked_with_scratch(x, valid, rows, moments, scratch)
    }

    /// As [`compute_masked`](Self::compute_masked), with scratch of at least [`scratch_len`](Self::scratch_len) numbers.
    /// Allocates nothing on a single thread.
    ///
    /// # Errors
    ///
    /// As [`compute_masked`](Self::compute_masked); [`Error::Length`] if `scratch` is too short.
    pub fn compute_masked_with_scratch(
        &self,
        x: &[f32],
        valid: ValidRows<'_>,
        rows: Rows,
        moments: &mut [Moments],
        scratch: &mut [f64],
    ) -> Result<(), Error> {
        self.run(x, Some(valid), rows, moments, scratch)
    }

    /// As [`compute`](Self::compute), with scratch of at least [`scratch_len`](Self::scratch_len)
    /// numbers. Allocates nothing on a single thread.
    ///
    /// # Errors
    ///
    /// As [`compute`](Self::compute); [`Error::Length`] if `scratch` is too short.
    pub fn compute_with_scratch(
        &self,
        x: &[f32],
        rows: Rows,
        moments: &mut [Moments],
        scratch: &mut [f64],
    ) -> Result<(), Error> {
        self.run(x, None, rows, moments, scratch)
    }

    fn run(
        &self,
        x: &[f32],
        valid: Option<ValidRows<'_>>,
        rows: Rows,
        moments: &mut [Moments],
        scratch: &mut [f64],
    ) -> Result<(), Error> {
        self.check(x, rows, moments)?;
        check_at_least("scratch", scratch.len(), self.scratch_len(rows))?;
        let (kept, count) = kept_rows(valid, rows.rows())?;
        if rows.cols() == 0 {
            return Ok(());
        }
        if count == 0 {
            return Err(Error::EmptyAxis { arg: "rows" });
        }
        let (means, m2s) = column_statistics(self.execution, x, rows, (kept, count), scratch);
        write_moments(count, means, m2s, moments);
        Ok(())
    }

    pub(crate) fn check(&self, x: &[f32], rows: Rows, moments: &[Moments]) -> Result<(), Error> {
        check_length("x", x.len(), rows.elements())?;
        check_length("moments", moments.len(), rows.cols())?;
        if rows.rows() == 0 && rows.cols() > 0 {
            return Err(Error::EmptyAxis { arg: "rows" });
        }
        Ok(())
    }
}
