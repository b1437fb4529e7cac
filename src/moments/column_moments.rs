//! The moments of every column or channel, and those of places that become the whole.
#![forbid(unsafe_code)]

use crate::args::moments::MomentArgs;
use crate::args::norm::unsupported;
use crate::args::valid_rows::kept_rows;
use crate::element::{Element, Elements};
use crate::error::Error;
use crate::kernels::columns::moments::{block_rows, write_moments};
use crate::kernels::merge::columns::MergePlaces;
use crate::memory;
use crate::norm::columns::{batch_moments, batch_scratch_len};
use crate::pitch::check_rows;
use crate::run::execution::{Execution, execution_setters};
use crate::run::stored::read_in_f32;
use crate::shape::{Channels, check_at_least, check_length};
use crate::welford::{Moments, check_moments};

/// Mean and variance of every column of a matrix `[rows, cols]`, or of every channel of `[batch, channels, positions]` or `[batch,
/// positions, channels]`, in one pass.
///
/// The shape is a [`Rows`](crate::Rows), whose columns are the channels, or a [`Channels`]. Writes one [`Moments`] a channel.
/// [`merge`](Self::merge) makes those of a whole from those of its parts.
///
/// * **Accuracy**: relative error of the variance at most 2.2e-6, error of the mean at most 1e-6 standard
///   deviations (or one rounding of f64), for every finite input, whatever its mean / std, its magnitude
///   or its outliers.
/// * **Method**: blocks of 64 rows (of fewer than 256 columns: a power of two more, so that several rows side by side
///   fill the vectors) summed around a shift taken from the block itself, merged in f64 by Welford's rule as
///   Chan, Golub and LeVeque generalised it (1979), in a tree fixed by the shape. With channels first, the moments are those of
///   [`RowMoments`](crate::RowMoments) of each channel of each sample, merged in the same tree of samples.
/// * **Cost**: reads x once; O(elements); needs [`scratch_len`](Self::scratch_len) numbers of scratch.
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

    /// How much scratch [`compute`](Self::compute) needs: about `2 * channels * log2(rows / 64)` numbers on one thread; with channels
    /// first, `2 * channels * batch`.
    #[must_use]
    pub fn scratch_len(&self, shape: impl Into<Channels>) -> usize {
        batch_scratch_len(self.execution, shape.into())
    }

    /// Rows of a block of a matrix of so many columns: 64, or a power of two more of fewer than 256 columns.
    ///
    /// Where parts of a matrix begin at multiples of it, their blocks are those of the whole ([`merge`](Self::merge)).
    #[must_use]
    pub const fn block_rows(cols: usize) -> usize {
        block_rows(cols)
    }

    /// Writes the moments of every channel of `x`, one a channel: those of the empty set, [`Moments::new`], if no row is data.
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
    /// * [`Error::Unsupported`]: lengths of rows, or a pitch, with channels that come first.
    /// * [`Error::OutOfMemory`]: there is no memory for the scratch.
    #[inline]
    pub fn compute<X: Element>(
        &self,
        x: &[X],
        shape: impl Into<Channels>,
        moments: &mut [Moments],
        args: MomentArgs<'_>,
    ) -> Result<(), Error> {
        self.run(Elements::of(x), shape.into(), moments, args)
    }

    /// Writes the moments of a whole from those of its parts, one set a column of each: `parts` has those of the first part, then
    /// those of the second, and so on, each as long as `moments`. Two parts or many, in one fixed order.
    ///
    /// The parts are merged in the tree in which [`compute`](Self::compute) merges blocks: it splits at the largest power of two below
    /// their number. So the result depends on the parts and their order alone, and is near that of the whole:
    ///
    /// | parts of a matrix | moments |
    /// |---|---|
    /// | each but the last has the same power of two of [blocks](Self::block_rows), and the last as many or fewer | the bits of the whole |
    /// | each begins at a multiple of the rows of a block | within 1e-12 of the whole, and one rounding of the mean |
    /// | any | within the accuracy of `compute` |
    ///
    /// A power of two of neighbouring parts may be merged first, which changes no bit. With channels first, a sample is what a block is
    /// here. A part may be empty. Columns may have different counts. A
    /// [`mean_low`](Moments::mean_low) is not looked at, and 0 in the result. Runs on the calling thread; O(parts), nothing is
    /// allocated.
    ///
    /// ```
    /// use evenkeel::{ColumnMoments, Moments};
    ///
    /// let one = |mean| Moments { count: 1, mean, ..Moments::new() };
    /// // Three parts of two columns.
    /// let parts = [one(1.0), one(5.0), one(3.0), one(5.0), one(5.0), Moments::new()];
    /// let mut moments = [Moments::new(); 2];
    /// ColumnMoments::new().merge(&parts, &mut moments)?;
    /// assert_eq!(moments[0], Moments { count: 3, mean: 3.0, m2: 8.0, ..Moments::new() });
    /// assert_eq!(moments[1], Moments { count: 2, mean: 5.0, ..Moments::new() });
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Length`]: the length of `parts` is not a multiple of that of `moments`.
    /// * [`Error::Parameter`]: an m2 is negative.
    pub fn merge(&self, parts: &[Moments], moments: &mut [Moments]) -> Result<(), Error> {
        let cols = moments.len();
        let expected = parts.len().checked_next_multiple_of(cols).unwrap_or(0);
        check_length("parts", parts.len(), expected)?;
        check_moments("parts", parts)?;
        if parts.is_empty() {
            moments.fill(Moments::new());
            return Ok(());
        }
        self.execution.call(None).run_serial(MergePlaces { parts, moments });
        Ok(())
    }

    #[inline(never)]
    pub(crate) fn run(
        &self,
        x: Elements<'_>,
        shape: Channels,
        moments: &mut [Moments],
        args: MomentArgs<'_>,
    ) -> Result<(), Error> {
        let call = self.execution.call(args.pool);
        read_in_f32(call, x, |x| self.run_f32(x, shape, moments, args))
    }

    fn run_f32(
        &self,
        x: &[f32],
        shape: Channels,
        moments: &mut [Moments],
        args: MomentArgs<'_>,
    ) -> Result<(), Error> {
        let (channels, all_rows) = (shape.channels(), shape.all_positions());
        let pitch = match shape.as_rows() {
            Some(rows) => {
                let pitch = check_rows(rows, ("x", x.len()), ("x_pitch", args.x_pitch))?;
                pitch.single("x_pitch")?
            }
            None => {
                unsupported([("x_pitch", args.x_pitch.is_some())])?;
                check_length("x", x.len(), shape.elements())?;
                0
            }
        };
        check_length("moments", moments.len(), channels)?;
        unsupported([("lengths", args.lengths.is_some())])?;
        let needed = batch_scratch_len(self.execution, shape);
        if let Some(scratch) = &args.scratch {
            check_at_least("scratch", scratch.len(), needed)?;
        }
        let (kept, count) = kept_rows(args.valid, all_rows)?;
        if count == 0 || channels == 0 {
            moments.fill(Moments::new());
            return Ok(());
        }
        let mut allocated = Vec::new();
        let scratch = memory::or_allocated(args.scratch, &mut allocated, needed)?;
        let call = self.execution.call(args.pool);
        let (means, m2s) = batch_moments(call, (x, pitch), shape, (kept, count), scratch);
        write_moments(count, means, m2s, moments);
        Ok(())
    }
}
