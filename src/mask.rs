//! Masks: which elements dropout keeps, and which rows of a matrix are data rather than padding.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::shape::check_length;

/// A mask that is read.
///
/// The element with index i of a call is bit `i % 8` (least significant first, as in Apache Arrow's
/// bitmaps) of byte `i / 8`, or byte i.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask<'a> {
    /// One bit an element, 1 where it is kept: `len / 8` bytes, rounded up. Bits beyond the last element
    /// are ignored.
    Packed(&'a [u8]),
    /// One byte an element, not 0 where it is kept, as in PyTorch and oneDNN.
    Bytes(&'a [u8]),
}

/// A mask that is written.
///
/// The element with index i of a call is bit `i % 8` (least significant first, as in Apache Arrow's
/// bitmaps) of byte `i / 8`, or byte i.
#[derive(Debug, PartialEq, Eq)]
pub enum MaskMut<'a> {
    /// One bit an element, 1 where it is kept: `len / 8` bytes, rounded up. Bits beyond the last element
    /// become 0.
    Packed(&'a mut [u8]),
    /// One byte an element, 1 where it is kept and else 0.
    Bytes(&'a mut [u8]),
}

/// Which rows of a matrix are data; the others are padding.
///
/// Sequences of different lengths, padded to the longest, are a matrix `[samples * steps, channels]` of which the first
/// rows of every sample are valid; in a batch of graphs or of crops they may be anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValidRows<'a> {
    /// Row r is valid where the mask's element r is set: packed bits, least significant first, or bytes that are not 0.
    Mask(Mask<'a>),
    /// The matrix is `[samples, steps, cols]`, and of sample n the first `lengths[n]` steps are valid.
    Lengths {
        /// One a sample, each at most `steps`.
        lengths: &'a [usize],
        /// Rows of a sample, valid ones and padding.
        steps: usize,
    },
}

impl<'a> Mask<'a> {
    /// Checks that the mask is that of `len` elements.
    pub(crate) fn check(self, arg: &'static str, len: usize) -> Result<(), Error> {
        match self {
            Self::Packed(bits) => check_length(arg, bits.len(), len.div_ceil(8)),
            Self::Bytes(bytes) => check_length(arg, bytes.len(), len),
        }
    }

    /// The elements before `at`, which begins a byte, and the others.
    pub(crate) fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Self::Packed(bits) => {
                let (low, high) = bits.split_at(at.div_ceil(8));
                (Self::Packed(low), Self::Packed(high))
            }
            Self::Bytes(bytes) => {
                let (low, high) = bytes.split_at(at);
                (Self::Bytes(low), Self::Bytes(high))
            }
        }
    }
}

impl<'a> MaskMut<'a> {
    /// The same mask for one call.
    pub(crate) fn reborrow(&mut self) -> MaskMut<'_> {
        match self {
            Self::Packed(bits) => MaskMut::Packed(bits),
            Self::Bytes(bytes) => MaskMut::Bytes(bytes),
        }
    }

    /// The mask, which is written, to be read.
    pub(crate) fn written(self) -> Mask<'a> {
        match self {
            Self::Packed(bits) => Mask::Packed(bits),
            Self::Bytes(bytes) => Mask::Bytes(bytes),
        }
    }

    /// Checks that the mask is that of `len` elements.
    pub(crate) fn check(&self, arg: &'static str, len: usize) -> Result<(), Error> {
        match self {
            Self::Packed(bits) => check_length(arg, bits.len(), len.div_ceil(8)),
            Self::Bytes(bytes) => check_length(arg, bytes.len(), len),
        }
    }

    /// Keeps all of `len` elements, or none.
    pub(crate) fn fill(self, len: usize, keep: bool) {
        match self {
            Self::Packed(bits) => {
                bits.fill(if keep { u8::MAX } else { 0 });
                if let (Some(last), true) = (bits.last_mut(), !len.is_multiple_of(8)) {
                    *last &= u8::MAX >> (8 - len % 8);
                }
            }
            Self::Bytes(bytes) => bytes.fill(u8::from(keep)),
        }
    }

    /// The elements before `at`, which begins a byte, and the others.
    pub(crate) fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Self::Packed(bits) => {
                let (low, high) = bits.split_at_mut(at.div_ceil(8));
                (Self::Packed(low), Self::Packed(high))
            }
            Self::Bytes(bytes) => {
                let (low, high) = bytes.split_at_mut(at);
                (Self::Bytes(low), Self::Bytes(high))
            }
        }
    }
}
