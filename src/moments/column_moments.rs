//! The moments of every column.
#![forbid(unsafe_code)]

use crate::args::moments::MomentArgs;
use crate::args::norm::unsupported;
use crate::args::valid_rows::kept_rows;
use crate::element::{Element, Elements};
use crate::error::Error;
use crate::kernels::columns::moments::write_moments;
use crate::memory;
use crate::norm::columns::{column_scratch_len, column_statistics};
use crate::run::execution::{Execution, execution_setters};
use crate::run::stored::read_in_f32;
use crate::shape::{Rows, check_at_least, check_length};
use crate::simd::check_rows;
use crate::welford::Moments;

/// Mean and variance of every column of a matrix `[rows, cols]`, in one pass.
///
/// With channels last, `[batch, height, width, channels]` is `[batch * height * width, channels]`. Writes one
/// [`Moments`] a column.
///
/// * **Accuracy**: relative error of the variance at most 2.2e-6, error of the mean at most 1e-6 standard
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
/// * **Padding**: where [`valid`](crate::MomentArgs::valid) says which rows are data, the moments are those of these alone, with the
///   bits of the matrix without the others.
///
/// # Example
///
/// ```
/// use evenkeel::{ColumnMoments, MomentArgs, Moments, Rows};
///
/// let mut moments = [Moments::new(); 2];
/// let (x, rows) = ([1.0_f32, 5.0, 3.0, 5.0], Rows::new(2, 2)?);
/// ColumnMoments::new().compute(&x, rows, &mut moments, MomentArgs::new())?;
/// assert_eq!(moments[0], Moments { count: 2, mean: 2.0, m2: 2.0, ..Moments::new() });
/// assert_eq!(moments[1].population_variance(), Some(0.0));
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[doc(alias = "var_mean")]
#[doc(alias = "variance")]
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

    /// How much scratch [`compute`](Self::compute) needs: about `2 * cols * log2(rows / 64)` numbers on one thread.
    #[must_use]
    pub fn scratch_len(&self, rows: Rows) -> usize {
        column_scratch_len(self.execution, rows)
    }

    /// Writes the moments of every column of `x`, one a column: those of the empty set, [`Moments::new`], if no row is data.
    /// Allocates its scratch unless it is passed.
    ///
    /// Padding costs what it takes to skip it: rows are not copied, but for those of fewer than 256 columns that lie
    /// between padding, or at a pitch.
    ///
    /// ```
    /// use evenkeel::{ColumnMoments, MomentArgs, Moments, Rows, ValidRows};
    ///
    /// // Two samples of up to two steps; of the second only the first is valid.
    /// let (x, lengths) = ([1.0_f32, 3.0, 5.0, f32::NAN], [2, 1]);
    /// let args = MomentArgs::new().valid(ValidRows::Lengths { lengths: &lengths, steps: 2 });
    /// let mut moments = [Moments::new()];
    /// ColumnMoments::new().compute(&x, Rows::new(4, 1)?, &mut moments, args)?;
    /// assert_eq!(moments[0], Moments { count: 3, mean: 3.0, m2: 8.0, ..Moments::new() });
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Length`], [`Error::TooShort`]: a slice does not fit the shape and its pitch, or rows at a pitch overlap.
    /// * [`Error::Parameter`]: the steps of [`ValidRows::Lengths`](crate::ValidRows::Lengths) do not divide the rows.
    /// * [`Error::SampleLength`]: a length of `ValidRows::Lengths` is above the steps.
    /// * [`Error::ShapeOverflow`]: rows at a pitch reach beyond what memory has addresses for.
    /// * [`Error::Unsupported`]: lengths of rows.
    /// * [`Error::OutOfMemory`]: there is no memory for the scratch.
    #[inline]
    pub fn compute<X: Element>(
        &self,
        x: &[X],
        rows: Rows,
        moments: &mut [Moments],
        args: MomentArgs<'_>,
    ) -> Result<(), Error> {
        self.run(Elements::of(x), rows, moments, args)
    }

    #[inline(never)]
    pub(crate) fn run(
        &self,
        x: Elements<'_>,
        rows: Rows,
        moments: &mut [Moments],
        args: MomentArgs<'_>,
    ) -> Result<(), Error> {
        let call = self.execution.call(args.pool);
        read_in_f32(call, x, |x| self.run_f32(x, rows, moments, args))
    }

    fn run_f32(
        &self,
        x: &[f32],
        rows: Rows,
        moments: &mut [Moments],
        args: MomentArgs<'_>,
    ) -> Result<(), Error> {
        let pitch = check_rows(rows, ("x", x.len()), ("x_pitch", args.x_pitch))?;
        check_length("moments", moments.len(), rows.cols())?;
        unsupported([("lengths", args.lengths.is_some())])?;
        let needed = self.scratch_len(rows);
        if let Some(scratch) = &args.scratch {
            check_at_least("scratch", scratch.len(), needed)?;
        }
        let (kept, count) = kept_rows(args.valid, rows.rows())?;
        if count == 0 || rows.cols() == 0 {
            moments.fill(Moments::new());
            return Ok(());
        }
        let mut allocated = Vec::new();
        let scratch = memory::or_allocated(args.scratch, &mut allocated, needed)?;
        let call = self.execution.call(args.pool);
        let (means, m2s) = column_statistics(call, (x, pitch), rows, (kept, count), scratch);
        write_moments(count, means, m2s, moments);
        Ok(())
    }
}
