//! F16C: f16 to f32 and back, eight at a time. The backend of AVX2 uses it where the CPU has it.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use crate::simd::features::f16c_features;
use crate::simd::half_words::{from_f16, to_f16};

/// Elements of a register.
const EIGHT: usize = 8;

f16c_features! {
    /// Widens all of `x`.
    #[inline(never)]
    pub(super) fn widen(x: &[u16], y: &mut [f32]) {
        let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<EIGHT>(), y.as_chunks_mut::<EIGHT>());
        for (y, x) in y.iter_mut().zip(x) {
            // SAFETY: `x` is 8 readable elements of 16 bits, and `y` 8 writable ones of 32.
            unsafe {
                let bits = _mm_loadu_si128(x.as_ptr().cast());
                _mm256_storeu_ps(y.as_mut_ptr(), _mm256_cvtph_ps(bits));
            }
        }
        for (y, &x) in y_tail.iter_mut().zip(x_tail) {
            *y = f32::from_bits(from_f16(x));
        }
    }

    /// Narrows all of `x`, ties to even whatever the rounding mode is.
    #[inline(never)]
    pub(super) fn narrow(x: &[f32], y: &mut [MaybeUninit<u16>]) {
        let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<EIGHT>(), y.as_chunks_mut::<EIGHT>());
        for (y, x) in y.iter_mut().zip(x) {
            // SAFETY: `x` is 8 readable elements of 32 bits, and `y` 8 writable ones of 16.
            unsafe {
                let x = _mm256_loadu_ps(x.as_ptr());
                let bits = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
                _mm_storeu_si128(y.as_mut_ptr().cast(), bits);
            }
        }
        for (y, x) in y_tail.iter_mut().zip(x_tail) {
            y.write(to_f16(x.to_bits()));
        }
    }
}
