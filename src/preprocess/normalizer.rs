//! Normalizer: every row divided by its norm.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;

use crate::error::Error;
use crate::kernels::rows::norms::{Largest, Magnitudes, Squares};
use crate::kernels::rows::source::Reciprocal;
use crate::norm::rows::{PLAIN, contiguous, normalize_rows};
use crate::run::execution::{Execution, output_setters};
use crate::shape::{Rows, check_length};
use crate::simd::{Span, write_whole};

/// What the length of a row is.
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
/// with the norm L2 unless [`with_norm`](Self::with_norm) says otherwise. A row of zeros stays one. It does what
/// scikit-learn's `Normalizer` does, but that every norm that is not 0 counts, however small it is.
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
/// use evenkeel::{Norm, Normalizer, Rows};
///
/// let (x, rows) = ([3.0, -4.0, 0.0, 0.0], Rows::new(2, 2)?);
/// let mut y = [0.0; 4];
/// Normalizer::new().forward(&x, rows, &mut y)?;
/// assert_eq!(y, [0.6, -0.8, 0.0, 0.0]);
/// Normalizer::new().with_norm(Norm::Max).forward(&x, rows, &mut y)?;
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

    /// Reads `x`, writes `y`, both `rows.elements()` long.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if `x` or `y` is not `rows.elements()` long. Nothing is written then.
    pub fn forward(&self, x: &[f32], rows: Rows, y: &mut [f32]) -> Result<(), Error> {
        rows.check_io(x.len(), y.len())?;
        self.run(Span::new(x, y), rows)
    }

    /// Reads and writes `x`.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_in_place(&self, x: &mut [f32], rows: Rows) -> Result<(), Error> {
        check_length("x", x.len(), rows.elements())?;
        self.run(Span::in_place(x), rows)
    }

    /// Reads `x`, initialises `y` and returns it.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_uninit<'y>(
        &self,
        x: &[f32],
        rows: Rows,
        y: &'y mut [MaybeUninit<f32>],
    ) -> Result<&'y mut [f32], Error> {
        rows.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| self.run(io, rows))
    }

    pub(crate) fn run(&self, io: Span<'_>, rows: Rows) -> Result<(), Error> {
        let (execution, io) = (self.execution, contiguous(rows, io));
        match self.norm {
            Norm::L1 => {
                normalize_rows(execution, io, Reciprocal::<Magnitudes>::NEW, None, None, PLAIN)
            }
            Norm::L2 => {
                normalize_rows(execution, io, Reciprocal::<Squares>::NEW, None, None, PLAIN)
            }
            Norm::Max => {
                normalize_rows(execution, io, Reciprocal::<Largest>::NEW, None, None, PLAIN)
            }
        }
    }
}
