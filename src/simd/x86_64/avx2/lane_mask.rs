//! A choice among sixteen lanes.

use core::arch::x86_64::*;

use super::single::F32;
use super::token::{Avx2, with_token};
use crate::simd::contract::Keep;

/// A choice among 16 lanes: all bits of the lanes that are *not* chosen, since AVX2 compares for
/// greater, and has and-not.
#[derive(Clone, Copy)]
pub(crate) struct LaneMask(pub(super) [__m256i; 2], pub(super) Avx2);

impl Keep for LaneMask {
    type Token = Avx2;
    type Values = F32;

    #[inline(always)]
    fn from_bits(token: Avx2, bits: u16) -> Self {
        with_token!(token, {
            let bits = _mm256_set1_epi32(i32::from(bits));
            let low = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let high = _mm256_slli_epi32::<8>(low);
            let zero = _mm256_setzero_si256();
            Self(
                [
                    _mm256_cmpeq_epi32(_mm256_and_si256(bits, low), zero),
                    _mm256_cmpeq_epi32(_mm256_and_si256(bits, high), zero),
                ],
                token,
            )
        })
    }

    #[inline(always)]
    fn to_bits(self) -> u16 {
        with_token!(self.1, {
            let low = _mm256_movemask_ps(_mm256_castsi256_ps(self.0[0]));
            !((low | _mm256_movemask_ps(_mm256_castsi256_ps(self.0[1])) << 8) as u16)
        })
    }

    #[inline(always)]
    fn or_zero(self, value: F32) -> F32 {
        let (dropped, value) = (self.0, value.0);
        with_token!(
            self.1,
            F32(
                [
                    _mm256_andnot_ps(_mm256_castsi256_ps(dropped[0]), value[0]),
                    _mm256_andnot_ps(_mm256_castsi256_ps(dropped[1]), value[1]),
                ],
                self.1
            )
        )
    }
}
