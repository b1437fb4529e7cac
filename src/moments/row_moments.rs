//! The moments of every row, and of a slice.
#![forbid(unsafe_code)]

use crate::args::moments::MomentArgs;
use crate::args::norm::unsupported;
use crate::args::valid_rows::check_lengths;
use crate::element::{Element, Elements};
use crate::error::Error;
use crate::kernels::rows::moments::{MeasurePrefixes, MeasureRows};
use crate::pitch::{PitchedRows, check_rows};
use crate::run::execution::{Call, Execution, execution_setters};
use crate::run::stored::read_in_f32;
use crate::shape::{Rows, check_length};
use crate::simd::Widen;
use crate::welford::Moments;

/// Mean and variance of every row of a matrix `[rows, cols]`, in one pass.
///
/// Writes one [`Moments`] a row, which holds the mean and the sum of squared deviations, gives the
/// population and the sample variance, and can be merged with the moments of other data.
///
/// * **Accuracy**: relative error of the variance at most 2.2e-6, error of the mean at most 1e-6 standard
///   deviations (or one rounding of f64), for every finite input, whatever its mean / std, its magnitude
///   or its outliers.
/// * **Method**: blocks of 1024 elements summed around a shift taken from the block itself, merged in f64 by
///   Welford's rule as Chan, Golub and LeVeque generalised it (1979), in a tree fixed by the row's length.
/// * **Cost**: reads x once; O(rows * cols); no allocation on a single thread, and no scratch.
/// * **Determinism**: the same bits for every thread count, batch size and alignment, and on every
///   backend that [fuses multiply-adds](crate::Backend::is_fused).
/// * **Special values**: a constant row has exactly its value as mean and the variance 0. A NaN or infinity
///   makes the moments of its own row NaN and touches no other row.
///
/// # Example
///
/// ```
/// use evenkeel::{MomentArgs, Moments, RowMoments, Rows};
///
/// let mut moments = [Moments::new(); 2];
/// let (x, rows) = ([1.0_f32, 3.0, 5.0, 5.0], Rows::new(2, 2)?);
/// RowMoments::new().compute(&x, rows, &mut moments, MomentArgs::new())?;
/// assert_eq!(moments[0], Moments { count: 2, mean: 2.0, m2: 2.0, ..Moments::new() });
/// assert_eq!(moments[1].population_variance(), Some(0.0));
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[doc(alias = "var_mean")]
#[doc(alias = "variance")]
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

    /// Writes the moments of every row of `x`, one a row: those of the empty set, [`Moments::new`], of a row without data.
    ///
    /// With [`lengths`](MomentArgs::lengths) they have the bits of the first elements of every row alone.
    ///
    /// ```
    /// use evenkeel::{MomentArgs, Moments, RowMoments, Rows};
    ///
    /// let x = [1.0_f32, 3.0, f32::NAN, 4.0, f32::NAN, 0.0];
    /// let (mut moments, args) = ([Moments::new(); 2], MomentArgs::new().lengths(&[2, 1]));
    /// RowMoments::new().compute(&x, Rows::new(2, 3)?, &mut moments, args)?;
    /// assert_eq!(moments[0], Moments { count: 2, mean: 2.0, m2: 2.0, ..Moments::new() });
    /// assert_eq!(moments[1], Moments { count: 1, mean: 4.0, ..Moments::new() });
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Length`], [`Error::TooShort`]: a slice does not fit the shape and its pitch, or rows at a pitch overlap.
    /// * [`Error::SampleLength`]: a length is above `rows.cols()`.
    /// * [`Error::ShapeOverflow`]: rows at a pitch reach beyond what memory has addresses for.
    /// * [`Error::Unsupported`]: which rows are valid.
    #[inline]
    pub fn compute<X: Element>(
        &self,
        x: &[X],
        rows: Rows,
        moments: &mut [Moments],
        args: MomentArgs<'_>,
    ) -> Result<(), Error> {
        self.run(Elements::of(x), rows, moments, &args)
    }

    #[inline(never)]
    pub(crate) fn run(
        &self,
        x: Elements<'_>,
        rows: Rows,
        moments: &mut [Moments],
        args: &MomentArgs<'_>,
    ) -> Result<(), Error> {
        let call = self.execution.call(args.pool);
        read_in_f32(call, x, |x| self.run_f32(x, rows, moments, args))
    }

    fn run_f32(
        &self,
        x: &[f32],
        rows: Rows,
        moments: &mut [Moments],
        args: &MomentArgs<'_>,
    ) -> Result<(), Error> {
        let (cols, elements) = (rows.cols(), rows.elements());
        let pitch = check_rows(rows, ("x", x.len()), ("x_pitch", args.x_pitch))?;
        let x = PitchedRows::new(x, pitch);
        check_length("moments", moments.len(), rows.rows())?;
        unsupported([("valid", args.valid.is_some())])?;
        let call = self.execution.call(args.pool);
        if let Some(lengths) = args.lengths {
            check_length("lengths", lengths.len(), rows.rows())?;
            check_lengths(lengths, cols)?;
            call.run_parallel(MeasurePrefixes { x, lengths, moments }, elements);
        } else if cols == 0 {
            moments.fill(Moments::new());
        } else if rows.rows() > 0 {
            call.run_parallel(MeasureRows { x, cols, moments }, elements);
        }
        Ok(())
    }
}

/// Elements that are widened at a time: 16 KiB.
const PIECE: usize = 4096;

impl Moments {
    /// Adds every value of a slice: the fast kernel's moments of the slice, merged.
    ///
    /// Accuracy as [`RowMoments`], which does the same for many rows; runs on the calling thread. Elements of bf16 and f16 are added in
    /// pieces of 4096, each as if it were a slice.
    pub fn extend_from_slice<X: Element>(&mut self, x: &[X]) {
        self.extend_from(Elements::of(x));
    }

    #[inline(never)]
    pub(crate) fn extend_from(&mut self, x: Elements<'_>) {
        let call = Execution::DEFAULT.call(None);
        match x {
            Elements::F32(x) => self.extend(call, x),
            Elements::Half(half, bits) => {
                let mut x = [0.0; PIECE];
                for bits in bits.chunks(PIECE) {
                    let out = &mut x[..bits.len()];
                    call.run_serial(Widen { half, bits, out });
                    self.extend(call, out);
                }
            }
        }
    }

    fn extend(&mut self, call: Call<'_>, x: &[f32]) {
        if x.is_empty() {
            return;
        }
        let mut moments = [Self::new()];
        let (x, cols) = (PitchedRows::contiguous(x, x.len()), x.len());
        let work = MeasureRows { x, cols, moments: &mut moments };
        call.run_serial(work);
        self.merge(&moments[0]);
    }
}
