//! f16 to f32 and back, sixteen at a time.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::token::Avx512;
use crate::simd::contract::LANES;
use crate::simd::half_words::{from_f16, to_f16};

/// Widens all of `x`.
#[inline(always)]
pub(super) fn widen_f16(_: Avx512, x: &[u16], y: &mut [f32]) {
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<LANES>(), y.as_chunks_mut::<LANES>());
    for (y, x) in y.iter_mut().zip(x) {
        // SAFETY: the token proves the instructions; `x` is 16 readable elements of 16 bits, and `y` 16 writable ones of 32.
        unsafe {
            let bits = _mm256_loadu_si256(x.as_ptr().cast());
            _mm512_storeu_ps(y.as_mut_ptr(), _mm512_cvtph_ps(bits));
        }
    }
    for (y, &x) in y_tail.iter_mut().zip(x_tail) {
        *y = f32::from_bits(from_f16(x));
    }
}

/// Narrows all of `x`, ties to even whatever the rounding mode is.
#[inline(always)]
pub(super) fn narrow_f16(_: Avx512, x: &[f32], y: &mut [MaybeUninit<u16>]) {
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<LANES>(), y.as_chunks_mut::<LANES>());
    for (y, x) in y.iter_mut().zip(x) {
        // SAFETY: the token proves the instructions; `x` is 16 readable elements of 32 bits, and `y` 16 writable ones of 16.
        unsafe {
            let x = _mm512_loadu_ps(x.as_ptr());
            let bits = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
            _mm256_storeu_si256(y.as_mut_ptr().cast(), bits);
        }
    }
    for (y, x) in y_tail.iter_mut().zip(x_tail) {
        y.write(to_f16(x.to_bits()));
    }
}
