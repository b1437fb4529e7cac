//! Sums by halving: lane `i` plus lane `i + 8`, then `i + 4`, `i + 2` and `i + 1`.
//!
//! [`halve`] takes the first steps and leaves one register of every vector; [`finish`] and [`finish_each`] take the others.
//! f32 lanes are [widened](widen) before.

use core::arch::x86_64::*;

use super::token::{Avx2, with_token};

/// The steps 8 and 4: one register is left of four.
#[inline(always)]
pub(super) fn halve(token: Avx2, [a, b, c, d]: [__m256d; 4]) -> __m256d {
    with_token!(token, _mm256_add_pd(_mm256_add_pd(a, c), _mm256_add_pd(b, d)))
}

/// The remaining steps for `N` vectors: the sum of each.
#[inline(always)]
pub(super) fn finish_each<const N: usize>(token: Avx2, v: [__m256d; N]) -> [f64; N] {
    let mut out = [0.0; N];
    let mut i = 0;
    while i < N {
        if N - i >= 4 {
            let sums = finish_four(token, [v[i], v[i + 1], v[i + 2], v[i + 3]]);
            out[i..i + 4].copy_from_slice(&sums);
            i += 4;
        } else {
            out[i] = finish(token, v[i]);
            i += 1;
        }
    }
    out
}

/// The steps 2 and 1 for four registers: 6 shuffles and 3 additions instead of 8 and 8.
#[inline(always)]
fn finish_four(token: Avx2, v: [__m256d; 4]) -> [f64; 4] {
    let (even, odd) = (halve_two(token, v[0], v[2]), halve_two(token, v[1], v[3]));
    let sums = with_token!(
        token,
        _mm256_add_pd(_mm256_unpacklo_pd(even, odd), _mm256_unpackhi_pd(even, odd))
    );
    let mut out = [0.0; 4];
    // SAFETY: the token proves the instruction; `out` is 4 writable elements.
    unsafe { _mm256_storeu_pd(out.as_mut_ptr(), sums) };
    out
}

/// Step 2 for two registers: 128-bit halves of the result hold (a, b).
#[inline(always)]
fn halve_two(token: Avx2, a: __m256d, b: __m256d) -> __m256d {
    with_token!(token, {
        let low = _mm256_permute2f128_pd::<0x20>(a, b);
        _mm256_add_pd(low, _mm256_permute2f128_pd::<0x31>(a, b))
    })
}

/// The steps 2 and 1 for the four lanes of one register.
#[inline(always)]
pub(super) fn finish(token: Avx2, v: __m256d) -> f64 {
    with_token!(token, {
        let v = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd::<1>(v));
        _mm_cvtsd_f64(_mm_add_sd(v, _mm_unpackhi_pd(v, v)))
    })
}

/// Sixteen f32 lanes as f64.
#[inline(always)]
pub(super) fn widen(token: Avx2, [a, b]: [__m256; 2]) -> [__m256d; 4] {
    with_token!(
        token,
        [
            _mm256_cvtps_pd(_mm256_castps256_ps128(a)),
            _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(a)),
            _mm256_cvtps_pd(_mm256_castps256_ps128(b)),
            _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(b)),
        ]
    )
}
