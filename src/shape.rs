//! Shapes: checked arithmetic on lengths.
#![forbid(unsafe_code)]

use crate::error::{Error, MOST_ELEMENTS};

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
    /// `rows` rows of `cols` elements. Either may be 0.
    ///
    /// # Errors
    ///
    /// * [`Error::ShapeOverflow`]: `rows * cols` elements of 8 bytes (the widest element type) are
    ///   more than `isize::MAX` bytes.
    pub const fn new(rows: usize, cols: usize) -> Result<Self, Error> {
        match rows.checked_mul(cols) {
            Some(elements) if elements <= MOST_ELEMENTS => Ok(Self { rows, cols }),
            _ => Err(Error::ShapeOverflow { arg: "rows", got: [1, rows, cols] }),
        }
    }

    /// One row of a slice's elements.
    pub(crate) const fn one(cols: usize) -> Self {
        Self { rows: 1, cols }
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
}

/// The shape of a batch of images, signals or volumes: `batch` samples, each of `channels` channels at `positions`
/// positions (height times width, or whatever there is of axes), and which of the two comes first.
///
/// | layout | constructor | rows of contiguous elements |
/// |---|---|---|
/// | NCHW, `[batch, channels, positions]` | [`Channels::first`] | the positions of a channel |
/// | NHWC, `[batch, positions, channels]` | [`Channels::last`] | the channels of a position |
///
/// A `Channels` that exists is one whose elements a slice can hold, as a [`Rows`] is. A matrix [`Rows`] converts to a batch of
/// its rows, each of `cols` channels at one position.
///
/// ```
/// use evenkeel::{Channels, Error};
///
/// let shape = Channels::first(8, 64, 56 * 56)?;
/// assert_eq!((shape.batch(), shape.channels(), shape.positions()), (8, 64, 3136));
/// assert_eq!(Channels::last(8, 56 * 56, 64)?.elements(), shape.elements());
/// assert!(Channels::first(1 << 40, 1 << 20, 8).is_err());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Channels {
    batch: usize,
    channels: usize,
    positions: usize,
    last: bool,
}

impl Channels {
    /// `batch` samples of `channels` channels of `positions` elements: channels first, NCHW. Any may be 0.
    ///
    /// # Errors
    ///
    /// * [`Error::ShapeOverflow`]: `batch * channels * positions` elements of 8 bytes (the widest element type) are more
    ///   than `isize::MAX` bytes, or the product of two of the three overflows a `usize`.
    pub const fn first(batch: usize, channels: usize, positions: usize) -> Result<Self, Error> {
        Self::checked([batch, channels, positions], channels, positions, false)
    }

    /// `batch` samples of `positions` positions of `channels` elements: channels last, NHWC. Any may be 0.
    ///
    /// # Errors
    ///
    /// Those of [`first`](Self::first).
    pub const fn last(batch: usize, positions: usize, channels: usize) -> Result<Self, Error> {
        Self::checked([batch, positions, channels], channels, positions, true)
    }

    const fn checked(
        got: [usize; 3],
        channels: usize,
        positions: usize,
        last: bool,
    ) -> Result<Self, Error> {
        // Of any two dimensions, so that whoever multiplies them need not check again, even where the third is 0.
        let [a, b, c] = got;
        let pairs = [a.checked_mul(b), b.checked_mul(c), a.checked_mul(c)];
        let fit = matches!(pairs, [Some(_), Some(_), Some(_)]);
        if let Some(outer) = pairs[0]
            && let Some(elements) = outer.checked_mul(c)
            && elements <= MOST_ELEMENTS
            && fit
        {
            return Ok(Self { batch: a, channels, positions, last });
        }
        Err(Error::ShapeOverflow { arg: "shape", got })
    }

    /// The number of samples.
    #[must_use]
    pub const fn batch(self) -> usize {
        self.batch
    }

    /// The number of channels.
    #[must_use]
    pub const fn channels(self) -> usize {
        self.channels
    }

    /// The number of positions of a sample.
    #[must_use]
    pub const fn positions(self) -> usize {
        self.positions
    }

    /// Whether the channels of a position lie one behind the other (NHWC), not the positions of a channel (NCHW).
    #[must_use]
    pub const fn is_last(self) -> bool {
        self.last
    }

    /// `batch * channels * positions`.
    #[must_use]
    pub const fn elements(self) -> usize {
        self.batch * self.channels * self.positions
    }

    /// The elements of one sample.
    pub(crate) const fn sample(self) -> usize {
        self.channels * self.positions
    }

    /// A sample as a matrix: `[positions, channels]` if channels come last, else `[channels, positions]`.
    pub(crate) const fn sample_rows(self) -> Rows {
        let (rows, cols) = match self.last {
            true => (self.positions, self.channels),
            false => (self.channels, self.positions),
        };
        Rows { rows, cols }
    }

    /// One sample of so many positions, at most as many as there are.
    pub(crate) fn with_one_sample(self, positions: usize) -> Self {
        debug_assert!(positions <= self.positions, "{positions} of {self:?}");
        Self { batch: 1, positions, ..self }
    }

    /// The same as a matrix whose columns are the channels, if it is one.
    pub(crate) fn as_rows(self) -> Option<Rows> {
        (self.last || self.positions == 1).then(|| self.position_rows())
    }

    /// The positions of all samples.
    pub(crate) fn all_positions(self) -> usize {
        self.batch.saturating_mul(self.positions)
    }

    /// A matrix of a row for each channel of each sample, whose columns are the positions.
    pub(crate) fn planes(self) -> Rows {
        Rows { rows: self.batch.saturating_mul(self.channels), cols: self.positions }
    }

    /// A matrix of a row for each position of each sample, whose columns are the channels.
    pub(crate) fn position_rows(self) -> Rows {
        Rows { rows: self.all_positions(), cols: self.channels }
    }
}

impl From<Rows> for Channels {
    /// A batch of rows whose columns are channels.
    fn from(rows: Rows) -> Self {
        Self { batch: rows.rows, channels: rows.cols, positions: 1, last: true }
    }
}

/// The shape of what an operation works on: a matrix, or samples of channels. `From` both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shape {
    /// A matrix.
    Rows(Rows),
    /// Samples of channels.
    Channels(Channels),
}

impl From<Rows> for Shape {
    fn from(rows: Rows) -> Self {
        Self::Rows(rows)
    }
}

impl From<Channels> for Shape {
    fn from(channels: Channels) -> Self {
        Self::Channels(channels)
    }
}

/// Checks that a slice has this length.
pub(crate) fn check_length(arg: &'static str, got: usize, expected: usize) -> Result<(), Error> {
    if got == expected { Ok(()) } else { Err(Error::Length { arg, expected, got }) }
}

/// Checks that a slice is at least as long.
pub(crate) fn check_at_least(arg: &'static str, got: usize, expected: usize) -> Result<(), Error> {
    if got >= expected { Ok(()) } else { Err(Error::TooShort { arg, expected, got }) }
}

/// Like [`check_length`]; an absent slice has every length.
pub(crate) fn check_optional<T>(
    arg: &'static str,
    slice: Option<&[T]>,
    expected: usize,
) -> Result<(), Error> {
    slice.map_or(Ok(()), |slice| check_length(arg, slice.len(), expected))
}

/// Checks that an epsilon is finite and not negative.
pub(crate) fn check_eps(eps: f64) -> Result<(), Error> {
    check_not_negative("eps", eps)
}

/// Checks that a parameter is finite and not negative.
pub(crate) fn check_not_negative(arg: &'static str, got: f64) -> Result<(), Error> {
    if got >= 0.0 && got.is_finite() {
        return Ok(());
    }
    Err(Error::Parameter { arg, expected: "a finite number of at least 0", got })
}
