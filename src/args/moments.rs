//! Optional inputs of the moments of rows and columns.
#![forbid(unsafe_code)]

use crate::mask::ValidRows;
use crate::pitch::Pitch;
use crate::run::pool::Pool;

/// Optional inputs of [`RowMoments::compute`](crate::RowMoments::compute) and
/// [`ColumnMoments::compute`](crate::ColumnMoments::compute). All are absent at first; each setter adds one.
///
/// An operation that does not take an argument returns [`Error::Unsupported`](crate::Error::Unsupported).
///
/// | setter | what it is | rows | columns |
/// |---|---|---|---|
/// | [`x_pitch`](Self::x_pitch) | elements from the start of a row of x to the start of the next | yes | yes |
/// | [`lengths`](Self::lengths) | how many elements of each row are data, the first ones | yes | no |
/// | [`valid`](Self::valid) | which rows are data | no | yes |
/// | [`scratch`](Self::scratch) | memory, so that the call allocates none | not needed | [`scratch_len`](crate::ColumnMoments::scratch_len) |
/// | [`pool`](Self::pool) | the host's threads, in place of rayon's | yes | yes |
#[derive(Debug, Default)]
#[must_use]
pub struct MomentArgs<'a> {
    pub(crate) x_pitch: Option<Pitch>,
    pub(crate) lengths: Option<&'a [usize]>,
    pub(crate) valid: Option<ValidRows<'a>>,
    pub(crate) scratch: Option<&'a mut [f64]>,
    pub(crate) pool: Option<&'a dyn Pool>,
}

impl<'a> MomentArgs<'a> {
    /// No optional arguments.
    #[inline]
    pub const fn new() -> Self {
        Self { x_pitch: None, lengths: None, valid: None, scratch: None, pool: None }
    }

    /// Elements from the start of a row of x to the start of the next.
    #[inline]
    pub fn x_pitch(mut self, pitch: impl Into<Pitch>) -> Self {
        self.x_pitch = Some(pitch.into());
        self
    }

    /// Only the first `lengths[r]` elements of row r are data: sequences that are padded to the longest. Values of padding do not
    /// matter, NaN included.
    #[inline]
    pub const fn lengths(mut self, lengths: &'a [usize]) -> Self {
        self.lengths = Some(lengths);
        self
    }

    /// Only these rows are data. The values of the others do not matter, NaN included.
    #[doc(alias = "mask")]
    #[inline]
    pub const fn valid(mut self, valid: ValidRows<'a>) -> Self {
        self.valid = Some(valid);
        self
    }

    /// Memory for the call, at least as long as [`scratch_len`](crate::ColumnMoments::scratch_len) says. Rows need none, and leave it
    /// as it is.
    #[inline]
    pub const fn scratch(mut self, scratch: &'a mut [f64]) -> Self {
        self.scratch = Some(scratch);
        self
    }

    /// Runs on the host's threads.
    #[inline]
    pub const fn pool(mut self, pool: &'a dyn Pool) -> Self {
        self.pool = Some(pool);
        self
    }

    /// The same arguments for one call, after which these can be used again.
    #[inline]
    pub fn reborrow(&mut self) -> MomentArgs<'_> {
        MomentArgs { scratch: self.scratch.as_deref_mut(), ..*self }
    }
}
