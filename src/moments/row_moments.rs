//! The moments of every row, and of a slice.
#![forbid(unsafe_code)]

use crate::args::valid_rows::check_lengths;
use crate::error::Error;
use crate::kernels::rows::moments::{MeasurePrefixes, MeasureRows};
use crate::norm::rows::check_strided;
use crate::run::execution::{Execution, execution_setters};
use crate::shape::{Rows, check_length};
use crate::welford::Moments;

/// Mean and variance of every row of a matrix `[rows, cols]`, in one pass.
///
/// Writes one [`Moments`] a row, which holds the mean and the sum of squared deviations, gives the
/// population and the sample variance, and can be merged with the moments of other data.
///
/// * **Accuracy**: relative error of the variance at most 1e-6, error of the mean at most 1e-6 standard
///   deviations (or one rounding of f64), for every finite input, whatever its mean / std, its magnitude
///   or its outliers.
/// * **Method**: blocks of 1024 elements summed around a shift taken from the block itself, merged in f64 by
///   Welford's rule as Chan, Golub and LeVeque generalised it (1979), in a tree fixed by the row's length.
/// * **Cost**: reads x once; O(rows * cols); no allocation on a single thread.
/// * **Determinism**: the same bits for every thread count, batch size and alignment, and on every
///   backend that [fuses multiply-adds](crate::Backend::is_fused).
/// * **Special values**: a constant row has exactly its value as mean and the variance 0. A NaN or infinity
///   makes the moments of its own row NaN and touches no other row.
///
/// # Example
///
/// ```
/// use evenkeel::{Moments, RowMoments, Rows};
///
/// let mut moments = [Moments::new(); 2];
/// RowMoments::new().compute(&[1.0, 3.0, 5.0, 5.0], Rows::new(2, 2)?, &mut moments)?;
/// assert_eq!(moments[0], Moments { count: 2, mean: 2.0, m2: 2.0, ..Moments::new() });
/// assert_eq!(moments[1].population_variance(), Some(0.0));
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowMoments {
    execution: Execution,
}

impl Default for RowMoments {
    fn default() -> Self {
        Self::new()
    }
}

impl RowMoments {
    /// The operation on the detected backend, with automatic parallelism.
    #[must_use]
    pub const fn new() -> Self {
        Self { execution: Execution::DEFAULT }
    }

    execution_setters!();

    /// Reads `x`, `rows.elements()` long, and writes the moments of every row.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if `x` is not `rows.elements()` long or `moments` not `rows.rows()`;
    /// [`Error::EmptyAxis`] if there are rows and they are empty. Nothing is written then.
    pub fn compute(&self, x: &[f32], rows: Rows, moments: &mut [Moments]) -> Result<(), Error> {
        check_length("x", x.len(), rows.elements())?;
        self.run(x, rows.cols(), rows, moments)
    }

    /// As [`compute`](Self::compute) for rows that begin every `x_pitch` elements of `x`, as the parts of a wider matrix do.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if `x_pitch` is less than `rows.cols()`, `x` shorter than `(rows.rows() - 1) * x_pitch +
    /// rows.cols()`, or `moments` not `rows.rows()` long; [`Error::ShapeOverflow`] if that is more than memory has
    /// addresses; [`Error::EmptyAxis`] if there are rows and they are empty. Nothing is written then.
    pub fn compute_strided(
        &self,
        x: &[f32],
        x_pitch: usize,
        rows: Rows,
        moments: &mut [Moments],
    ) -> Result<(), Error> {
        check_strided(rows, "x", x.len(), "x_pitch", x_pitch)?;
        self.run(x, x_pitch, rows, moments)
    }

    fn run(
        &self,
        x: &[f32],
        pitch: usize,
        rows: Rows,
        moments: &mut [Moments],
    ) -> Result<(), Error> {
        check_length("moments", moments.len(), rows.rows())?;
        rows.check_statistic()?;
        if rows.rows() > 0 {
            let work = MeasureRows { x, cols: rows.cols(), pitch, moments };
            self.execution.run_parallel(work, rows.elements());
        }
        Ok(())
    }
}

impl RowMoments {
    /// The moments of the first `lengths[r]` elements of every row r of `x`: of sequences that are padded to the longest.
    ///
    /// They have the bits of [`compute`](Self::compute) on that part. What is in the padding, NaN too, does not matter. The
    /// moments of a row without elements are those of the empty set, [`Moments::new`].
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if `x` is not `rows.elements()` long or `lengths` or `moments` not `rows.rows()`;
    /// [`Error::SampleLength`] if a length is above `rows.cols()`; [`Error::EmptyAxis`] if there are rows and all are empty,
    /// padding too. Nothing is written then.
    ///
    /// # Example
    ///
    /// ```
    /// use evenkeel::{Moments, RowMoments, Rows};
    ///
    /// let (x, mut moments) = ([1.0, 3.0, f32::NAN, 4.0, f32::NAN, 0.0], [Moments::new(); 2]);
    /// RowMoments::new().compute_prefixes(&x, &[2, 1], Rows::new(2, 3)?, &mut moments)?;
    /// assert_eq!(moments[0], Moments { count: 2, mean: 2.0, m2: 2.0, ..Moments::new() });
    /// assert_eq!(moments[1], Moments { count: 1, mean: 4.0, ..Moments::new() });
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    pub fn compute_prefixes(
        &self,
        x: &[f32],
        lengths: &[usize],
        rows: Rows,
        moments: &mut [Moments],
    ) -> Result<(), Error> {
        check_length("x", x.len(), rows.elements())?;
        check_length("lengths", lengths.len(), rows.rows())?;
        check_length("moments", moments.len(), rows.rows())?;
        rows.check_statistic()?;
        check_lengths(lengths, rows.cols())?;
        let work = MeasurePrefixes { x, cols: rows.cols(), lengths, moments };
        self.execution.run_parallel(work, rows.elements());
        Ok(())
    }
}

impl Moments {
    /// Adds every value of a slice: the fast kernel's moments of the slice, merged.
    ///
    /// Accuracy as [`RowMoments`], which does the same for many rows; runs on the calling thread.
    pub fn extend_from_slice(&mut self, x: &[f32]) {
        if x.is_empty() {
            return;
        }
        let mut moments = [Self::new()];
        let work = MeasureRows { x, cols: x.len(), pitch: x.len(), moments: &mut moments };
        Execution::DEFAULT.run_serial(work);
        self.merge(&moments[0]);
    }
}
