//! Sums by halving: lane `i` plus lane `i + 8`, then `i + 4`, `i + 2` and `i + 1`.
//!
//! [`halve`] takes the first step and leaves one register of every vector; [`finish`] and [`finish_each`] take the others.
//! f32 lanes are [widened](widen) before.

use core::arch::x86_64::*;

use super::token::{Avx512, with_token};

/// The step 8: one register is left of two.
#[inline(always)]
pub(super) fn halve(token: Avx512, [a, b]: [__m512d; 2]) -> __m512d {
    with_token!(token, _mm512_add_pd(a, b))
}

/// The remaining steps for `N` vectors: the sum of each.
#[inline(always)]
pub(super) fn finish_each<const N: usize>(token: Avx512, v: [__m512d; N]) -> [f64; N] {
    let mut out = [0.0; N];
    let mut i = 0;
    while i < N {
        if N - i >= 4 {
            // Registers beyond the last are repeats whose sums are not used.
            let mut eight = [v[i]; 8];
            for (j, slot) in eight.iter_mut().enumerate() {
                *slot = v[if i + j < N { i + j } else { i }];
            }
            let sums = finish_eight(token, eight);
            let count = if N - i < 8 { N - i } else { 8 };
            out[i..i + count].copy_from_slice(&sums[..count]);
            i += count;
        } else {
            out[i] = finish(token, v[i]);
            i += 1;
        }
    }
    out
}

/// The steps 4, 2 and 1 for eight registers: 14 shuffles and 7 additions instead of 24 and 24.
#[inline(always)]
fn finish_eight(token: Avx512, v: [__m512d; 8]) -> [f64; 8] {
    let even = halve_four(token, [v[0], v[2], v[4], v[6]]);
    let odd = halve_four(token, [v[1], v[3], v[5], v[7]]);
    let sums = with_token!(
        token,
        _mm512_add_pd(_mm512_unpacklo_pd(even, odd), _mm512_unpackhi_pd(even, odd))
    );
    let mut out = [0.0; 8];
    // SAFETY: the token proves the instruction; `out` is 8 writable elements.
    unsafe { _mm512_storeu_pd(out.as_mut_ptr(), sums) };
    out
}

/// Steps 4 and 2 for four registers: quarters of the result hold (a, b, c, d).
#[inline(always)]
fn halve_four(token: Avx512, [a, b, c, d]: [__m512d; 4]) -> __m512d {
    let (ab, cd) = (halve_two(token, a, b), halve_two(token, c, d));
    with_token!(token, {
        let low = _mm512_shuffle_f64x2::<0b10_00_10_00>(ab, cd);
        _mm512_add_pd(low, _mm512_shuffle_f64x2::<0b11_01_11_01>(ab, cd))
    })
}

/// Step 4 for two registers: 128-bit quarters of the result hold (a, a, b, b).
#[inline(always)]
fn halve_two(token: Avx512, a: __m512d, b: __m512d) -> __m512d {
    with_token!(token, {
        let low = _mm512_shuffle_f64x2::<0b01_00_01_00>(a, b);
        _mm512_add_pd(low, _mm512_shuffle_f64x2::<0b11_10_11_10>(a, b))
    })
}

/// The steps 4, 2 and 1 for the eight lanes of one register.
#[inline(always)]
pub(super) fn finish(token: Avx512, v: __m512d) -> f64 {
    with_token!(token, {
        let v = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd::<1>(v));
        let v = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd::<1>(v));
        _mm_cvtsd_f64(_mm_add_sd(v, _mm_unpackhi_pd(v, v)))
    })
}

/// Sixteen f32 lanes as f64.
#[inline(always)]
pub(super) fn widen(token: Avx512, x: __m512) -> [__m512d; 2] {
    let low = with_token!(token, _mm512_cvtps_pd(_mm512_castps512_ps256(x)));
    [low, with_token!(token, _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(x)))]
}
