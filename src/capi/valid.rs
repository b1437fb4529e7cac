//! Flags: which rows are data, which elements dropout keeps.

use super::buffers::{Buffer, evenkeel_input, evenkeel_output};
use super::dtype::{EVENKEEL_BITS, EVENKEEL_NONE, EVENKEEL_SIZE};
use super::status::Fault;
use super::status::unknown;
use crate::mask::{Mask, MaskMut, ValidRows};

/// Which rows are data: by flags, or by the length of each sample, of so many rows.
///
/// # Safety
///
/// As for [`Buffer::slice`].
#[inline(always)]
pub(super) unsafe fn valid_rows<'a>(
    valid: &evenkeel_input,
    steps: usize,
) -> Result<Option<ValidRows<'a>>, Box<Fault>> {
    if valid.dtype == EVENKEEL_SIZE {
        // SAFETY: the caller's promise; checked to be of this type.
        return Ok(Some(ValidRows::Lengths { lengths: unsafe { valid.slice() }, steps }));
    }
    if steps != 0 {
        return Err(unknown("valid_steps", "0 without lengths in `valid`", steps as u64));
    }
    if valid.dtype == EVENKEEL_NONE {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    Ok(Some(ValidRows::Mask(unsafe { mask(valid) })))
}

/// A mask that is there.
///
/// # Safety
///
/// As for [`Buffer::slice`].
pub(super) unsafe fn mask<'a>(mask: &evenkeel_input) -> Mask<'a> {
    // SAFETY: the caller's promise; checked to be of one of two types.
    unsafe {
        if mask.dtype == EVENKEEL_BITS {
            Mask::Packed(mask.slice())
        } else {
            Mask::Bytes(mask.slice())
        }
    }
}

/// A mask that is there and is written.
///
/// # Safety
///
/// As for [`evenkeel_output::slice_mut`].
pub(super) unsafe fn mask_mut<'a>(mask: &evenkeel_output) -> MaskMut<'a> {
    // SAFETY: the caller's promise; checked to be of one of two types.
    unsafe {
        match mask.dtype {
            EVENKEEL_BITS => MaskMut::Packed(mask.slice_mut()),
            _ => MaskMut::Bytes(mask.slice_mut()),
        }
    }
}
