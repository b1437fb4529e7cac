//! Normalizer: every row divided by its norm.
#![forbid(unsafe_code)]

use crate::args::norm::NormArgs;
use crate::element::Element;
use crate::error::Error;
use crate::kernels::rows::norms::{Largest, Magnitudes, Squares};
use crate::kernels::rows::source::{Reciprocal, RowSource};
use crate::norm::rows::RowNorm;
use crate::norm::stored_rows::normalize;
use crate::run::execution::{Execution, output_setters};
use crate::shape::Rows;
use crate::simd::{InOut, Io};

/// The norm of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Norm {
    /// The sum of absolute values.
    L1,
    /// The root of the sum of squares.
    #[default]
    L2,
    /// The largest absolute value.
    Max,
}

/// Divides every row by its norm, so that its norm becomes 1.
///
/// For every row r and column c of a matrix `[rows, cols]`:
///
/// ```text
/// y[r, c] = x[r, c] / norm(x[r, :])
/// ```
///
/// with the norm L2 unless [`with_norm`](Self::with_norm) says otherwise. A row of zeros does not change. Matches
/// scikit-learn's `Normalizer`, except that a norm below 1.2e-6 is not taken as 0 ([a table](crate::preprocess) of
/// all differences).
///
/// * **Accuracy**: relative error of a norm at most 1e-6; error of y at most `1e-6 * max(1, |y|) + 2^-149`, for
///   every finite input of any magnitude.
/// * **Method**: sums of blocks of 1024 elements in f32, of two levels, merged in f64; a block that f32 cannot hold
///   is done again in f64.
/// * **Cost**: reads x from memory once, writes y once; O(rows * cols); no allocation on a single thread.
/// * **Determinism**: the same bits for every thread count, batch size, alignment, in place or not, and on
///   every backend that [fuses multiply-adds](crate::Backend::is_fused).
/// * **Special values**: a NaN or infinity makes its own row NaN and touches no other row.
///
/// # Example
///
/// ```
/// use evenkeel::preprocess::{Norm, Normalizer};
/// use evenkeel::{InOut, Rows};
///
/// let (x, rows) = ([3.0_f32, -4.0, 0.0, 0.0], Rows::new(2, 2)?);
/// let mut y = [0.0_f32; 4];
/// Normalizer::new().forward(InOut::new(&x, &mut y), rows)?;
/// assert_eq!(y, [0.6, -0.8, 0.0, 0.0]);
/// Normalizer::new().with_norm(Norm::Max).forward(InOut::new(&x, &mut y), rows)?;
/// assert_eq!(y, [0.75, -1.0, 0.0, 0.0]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalizer {
    norm: Norm,
    execution: Execution,
}

impl Default for Normalizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Normalizer {
    /// The norm L2, on the detected backend, with automatic parallelism.
    #[must_use]
    pub const fn new() -> Self {
        Self { norm: Norm::L2, execution: Execution::DEFAULT }
    }

    /// Divides by this norm.
    #[must_use]
    pub const fn with_norm(mut self, norm: Norm) -> Self {
        self.norm = norm;
        self
    }

    output_setters!();

    /// Divides every row of x by its norm, and returns y.
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Length`], [`Error::TooShort`]: a slice does not fit the shape and its pitch, or rows at a pitch overlap.
    /// * [`Error::ShapeOverflow`]: rows at a pitch reach beyond what memory has addresses for.
    #[inline]
    pub fn forward<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        rows: Rows,
    ) -> Result<&'a mut [Y], Error> {
        io.write_whole(|io| self.run(io, rows))
    }

    pub(crate) fn run(&self, io: Io<'_>, rows: Rows) -> Result<(), Error> {
        match self.norm {
            Norm::L1 => self.divide(io, rows, Reciprocal::<Magnitudes>::NEW),
            Norm::L2 => self.divide(io, rows, Reciprocal::<Squares>::NEW),
            Norm::Max => self.divide(io, rows, Reciprocal::<Largest>::NEW),
        }
    }

    fn divide<T: RowSource>(&self, io: Io<'_>, rows: Rows, source: T) -> Result<(), Error> {
        let call = self.execution.call(None);
        normalize(call, io, rows, RowNorm::plain(source), None, &mut NormArgs::new())
    }
}
