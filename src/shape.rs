//! Shapes: checked arithmetic on lengths, no data.
#![forbid(unsafe_code)]

use crate::Error;
use crate::simd::{RowSpan, Span, reach};

/// The shape of a row-major matrix: `rows` rows of `cols` contiguous elements.
///
/// A `Rows` that exists is one whose elements a slice can hold, so code that has one need not check
/// for overflow again.
///
/// ```
/// use evenkeel::{Error, Rows};
///
/// let rows = Rows::new(32, 768)?;
/// assert_eq!((rows.rows(), rows.cols(), rows.elements()), (32, 768, 24_576));
/// assert!(Rows::new(usize::MAX, 2).is_err());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rows {
    rows: usize,
    cols: usize,
}

impl Rows {
    /// As many elements as a slice of the widest element type can have.
    pub(crate) const MOST_ELEMENTS: usize = isize::MAX as usize / size_of::<f64>();

    /// `rows` rows of `cols` elements. Either may be 0.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeOverflow`] if `rows * cols` elements of 8 bytes (the widest element type) are
    /// more than `isize::MAX` bytes.
    pub const fn new(rows: usize, cols: usize) -> Result<Self, Error> {
        match rows.checked_mul(cols) {
            Some(elements) if elements <= Self::MOST_ELEMENTS => Ok(Self { rows, cols }),
            _ => Err(Error::ShapeOverflow { arg: "rows", got: [rows, cols] }),
        }
    }

    /// The number of rows.
    #[must_use]
    pub const fn rows(self) -> usize {
        self.rows
    }

    /// The number of elements of a row.
    #[must_use]
    pub const fn cols(self) -> usize {
        self.cols
    }

    /// `rows * cols`.
    #[must_use]
    pub const fn elements(self) -> usize {
        self.rows * self.cols
    }

    /// Refuses an x or y of another length.
    pub(crate) fn check_io(self, x: usize, y: usize) -> Result<(), Error> {
        check_length("x", x, self.elements())?;
        check_length("y", y, self.elements())
    }

    /// A span of this shape.
    pub(crate) fn span(self, span: Span<'_>) -> RowSpan<'_> {
        RowSpan::new(span, self.rows, self.cols)
    }

    /// Refuses rows that begin every `pitch` elements where they overlap or are not all there.
    pub(crate) fn check_strided(
        self,
        arg: &'static str,
        len: usize,
        pitch_arg: &'static str,
        pitch: usize,
    ) -> Result<(), Error> {
        check_at_least(pitch_arg, pitch, self.cols)?;
        match reach(self.rows, self.cols, pitch) {
            Some(reach) if reach <= Self::MOST_ELEMENTS => check_at_least(arg, len, reach),
            _ => Err(Error::ShapeOverflow { arg: pitch_arg, got: [self.rows, pitch] }),
        }
    }

    /// Refuses an empty row where every row must have a statistic.
    pub(crate) fn check_statistic(self) -> Result<(), Error> {
        if self.cols == 0 && self.rows > 0 {
            return Err(Error::EmptyAxis { arg: "cols" });
        }
        Ok(())
    }
}

/// Refuses a slice of another length.
pub(crate) fn check_length(arg: &'static str, got: usize, expected: usize) -> Result<(), Error> {
    if got == expected { Ok(()) } else { Err(Error::Length { arg, expected, got }) }
}

/// Refuses a slice that is shorter.
pub(crate) fn check_at_least(arg: &'static str, got: usize, expected: usize) -> Result<(), Error> {
    if got >= expected { Ok(()) } else { Err(Error::Length { arg, expected, got }) }
}

/// Like [`check_length`]; an absent slice has every length.
pub(crate) fn check_optional<T>(
    arg: &'static str,
    slice: Option<&[T]>,
    expected: usize,
) -> Result<(), Error> {
    slice.map_or(Ok(()), |slice| check_length(arg, slice.len(), expected))
}

/// Refuses an epsilon that is negative, infinite or NaN.
pub(crate) fn check_eps(eps: f64) -> Result<(), Error> {
    check_not_negative("eps", eps)
}

/// Refuses a parameter that is negative, infinite or NaN.
pub(crate) fn check_not_negative(arg: &'static str, got: f64) -> Result<(), Error> {
    if got >= 0.0 && got.is_finite() {
        return Ok(());
    }
    Err(Error::Parameter { arg, expected: "a finite number of at least 0", got })
}
