//! The masks of dropout.

use super::buffers::Buffer;
use super::fault::Fault;
use crate::mask::Mask;
use crate::mask::MaskMut;

/// How a mask is stored.
pub type evenkeel_mask = u32;
/// One bit an element, least significant first, 1 where it is kept: (len + 7) / 8 bytes. Bits beyond the last element
/// are written as 0 and not looked at.
pub const EVENKEEL_MASK_PACKED: evenkeel_mask = 0;
/// One byte an element, 1 where it is kept and else 0; not 0 counts as kept.
pub const EVENKEEL_MASK_BYTES: evenkeel_mask = 1;

const MASKS: &str = "a number EVENKEEL_MASK_...";

/// A mask to be read.
///
/// # Safety
///
/// As for [`Buffer::slice`].
pub(super) unsafe fn mask<'a>(
    buffer: Buffer<u8>,
    kind: evenkeel_mask,
) -> Result<Mask<'a>, Box<Fault>> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { buffer.slice() };
    match kind {
        EVENKEEL_MASK_PACKED => Ok(Mask::Packed(bytes)),
        EVENKEEL_MASK_BYTES => Ok(Mask::Bytes(bytes)),
        got => Err(Fault::Option { arg: "mask_kind", expected: MASKS, got }.boxed()),
    }
}

/// A mask to be written.
///
/// # Safety
///
/// As for [`Buffer::slice_mut`].
pub(super) unsafe fn mask_mut<'a>(
    buffer: Buffer<u8>,
    kind: evenkeel_mask,
) -> Result<MaskMut<'a>, Box<Fault>> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { buffer.slice_mut() };
    match kind {
        EVENKEEL_MASK_PACKED => Ok(MaskMut::Packed(bytes)),
        EVENKEEL_MASK_BYTES => Ok(MaskMut::Bytes(bytes)),
        got => Err(Fault::Option { arg: "mask_kind", expected: MASKS, got }.boxed()),
    }
}
