//! Which rows are valid, and which are padding.

use core::ffi::c_void;

use super::buffers::{Buffer, Extent};
use super::fault::Fault;
use crate::mask::Mask;
use crate::mask::ValidRows;

/// How it is said which rows are valid; the others are padding.
pub type evenkeel_valid = u32;
/// One bit a row, least significant first, 1 where it is valid: (rows + 7) / 8 bytes, `uint8_t`.
pub const EVENKEEL_VALID_PACKED: evenkeel_valid = 0;
/// One byte a row, not 0 where it is valid: rows bytes, `uint8_t`.
pub const EVENKEEL_VALID_BYTES: evenkeel_valid = 1;
/// One length a sample, `size_t`, at most `steps`: of each sample's `steps` rows the first so many are valid.
pub const EVENKEEL_VALID_LENGTHS: evenkeel_valid = 2;

/// The buffer by which C states which rows are valid.
#[derive(Clone, Copy)]
pub(super) enum ValidBuffer {
    Packed(Buffer<u8>),
    Bytes(Buffer<u8>),
    Lengths(Buffer<usize>, usize),
}

impl ValidBuffer {
    pub(super) fn new(
        start: *const c_void,
        len: usize,
        kind: evenkeel_valid,
        steps: usize,
    ) -> Result<Self, Box<Fault>> {
        match kind {
            EVENKEEL_VALID_PACKED => Ok(Self::Packed(Buffer::input("mask", start.cast(), len))),
            EVENKEEL_VALID_BYTES => Ok(Self::Bytes(Buffer::input("mask", start.cast(), len))),
            EVENKEEL_VALID_LENGTHS => {
                Ok(Self::Lengths(Buffer::input("lengths", start.cast(), len), steps))
            }
            got => {
                let expected = "a number EVENKEEL_VALID_...";
                Err(Fault::Option { arg: "valid_kind", expected, got }.boxed())
            }
        }
    }

    /// As [`Buffer::extent`].
    #[inline(always)]
    pub(super) fn extent(&self) -> Extent {
        match self {
            Self::Packed(mask) | Self::Bytes(mask) => mask.extent(),
            Self::Lengths(lengths, _) => lengths.extent(),
        }
    }

    /// The valid rows.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice`].
    pub(super) unsafe fn rows<'a>(&self) -> ValidRows<'a> {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Packed(mask) => ValidRows::Mask(Mask::Packed(mask.slice())),
                Self::Bytes(mask) => ValidRows::Mask(Mask::Bytes(mask.slice())),
                &Self::Lengths(lengths, steps) => {
                    ValidRows::Lengths { lengths: lengths.slice(), steps }
                }
            }
        }
    }
}
