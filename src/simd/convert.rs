//! Between f32 and the formats of 16 bits: what every backend can do. f16 has instructions of its own (`x86_64/`), with the same bits.

use core::mem::MaybeUninit;

use super::contract::{Kernel, Simd};
#[cfg(feature = "half")]
use super::half_words::{from_bf16, from_f16, narrow_each, to_bf16, to_f16, widen_each};
use crate::element::Half;

/// Widens all of `x`.
#[inline(always)]
pub(super) fn widen(half: Half, x: &[u16], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "an element of y for each of x");
    match half {
        #[cfg(feature = "half")]
        Half::Bf16 => widen_each(x, y, from_bf16),
        #[cfg(feature = "half")]
        Half::F16 => widen_each(x, y, from_f16),
    }
}

/// Narrows all of `x`.
#[inline(always)]
pub(super) fn narrow(half: Half, x: &[f32], y: &mut [MaybeUninit<u16>]) {
    assert_eq!(x.len(), y.len(), "an element of y for each of x");
    match half {
        #[cfg(feature = "half")]
        Half::Bf16 => narrow_each(x, y, to_bf16),
        #[cfg(feature = "half")]
        Half::F16 => narrow_each(x, y, to_f16),
    }
}

/// Widens all of `bits`. One function a backend, which all kernels call: a copy in each would cost more than the calls.
pub(crate) struct Widen<'a> {
    pub(crate) half: Half,
    pub(crate) bits: &'a [u16],
    pub(crate) out: &'a mut [f32],
}

/// Narrows all of `from`, likewise.
pub(super) struct Narrow<'a> {
    pub(super) half: Half,
    pub(super) from: &'a [f32],
    pub(super) out: &'a mut [MaybeUninit<u16>],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        token.widen(self.half, self.bits, self.out);
    }
}

impl Kernel for Narrow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        token.narrow(self.half, self.from, self.out);
    }
}

/// Elements that are rounded at a time: what is between lies in L1.
const ROUNDED: usize = 256;

/// Rounds all of `x` to a format.
#[inline(always)]
pub(crate) fn round_to<S: Simd>(token: S, half: Half, x: &mut [f32]) {
    let mut bits = [MaybeUninit::<u16>::uninit(); ROUNDED];
    for x in x.chunks_mut(ROUNDED) {
        let bits = &mut bits[..x.len()];
        token.outline(Narrow { half, from: x, out: &mut *bits });
        // SAFETY: `narrow` has written every element, and the types have one layout.
        let bits = unsafe { &*(core::ptr::from_ref(bits) as *const [u16]) };
        token.outline(Widen { half, bits, out: x });
    }
}
