//! f16 and bf16 to f32 and back.
//!
//! bf16 goes in pairs of vectors: one comparison tells whether either has a NaN, which is rare and left to the definition, and one
//! permutation gathers the upper halves of both. The instructions of AVX512-BF16 are not used: they flush subnormal numbers.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::token::Avx512;
use crate::simd::contract::LANES;
use crate::simd::half_words::{from_bf16, from_f16, narrow_each, to_bf16, to_f16, widen_each};

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

/// Elements of two vectors.
const PAIR: usize = 2 * LANES;

/// Widens all of `x`.
#[inline(always)]
pub(super) fn widen_bf16(_: Avx512, x: &[u16], y: &mut [f32]) {
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<PAIR>(), y.as_chunks_mut::<PAIR>());
    for (y, x) in y.iter_mut().zip(x) {
        // SAFETY: the token proves the instructions; `x` is 32 readable elements of 16 bits, and `y` 32 writable ones of 32.
        let nans = unsafe {
            let low = _mm256_loadu_si256(x.as_ptr().cast());
            let high = _mm256_loadu_si256(x.as_ptr().add(LANES).cast());
            let wide =
                |bits| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)));
            let (low, high) = (wide(low), wide(high));
            _mm512_storeu_ps(y.as_mut_ptr(), low);
            _mm512_storeu_ps(y.as_mut_ptr().add(LANES), high);
            _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(low, high)
        };
        if nans != 0 {
            widen_each(x, y, from_bf16);
        }
    }
    widen_each(x_tail, y_tail, from_bf16);
}

/// Narrows all of `x`.
#[inline(always)]
pub(super) fn narrow_bf16(_: Avx512, x: &[f32], y: &mut [MaybeUninit<u16>]) {
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<PAIR>(), y.as_chunks_mut::<PAIR>());
    // The upper halves of the lanes of two vectors.
    let upper: [u16; PAIR] = core::array::from_fn(|i| 2 * i as u16 + 1);
    for (y, x) in y.iter_mut().zip(x) {
        // SAFETY: the token proves the instructions; `x` is 32 readable elements of 32 bits, `y` 32 writable ones of 16, and `upper`
        // 32 readable ones of 16.
        let nans = unsafe {
            let (low, high) = (_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(LANES)));
            // As `to_bf16`: half of the last place less one, and one more where the upper half is odd.
            let rounded = |x| {
                let bits = _mm512_castps_si512(x);
                let odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x1_0000));
                let sum = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
                _mm512_mask_add_epi32(sum, odd, sum, _mm512_set1_epi32(1))
            };
            let upper = _mm512_loadu_si512(upper.as_ptr().cast());
            let bits = _mm512_permutex2var_epi16(rounded(low), upper, rounded(high));
            _mm512_storeu_si512(y.as_mut_ptr().cast(), bits);
            _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(low, high)
        };
        if nans != 0 {
            narrow_each(x, y, to_bf16);
        }
    }
    narrow_each(x_tail, y_tail, to_bf16);
}
