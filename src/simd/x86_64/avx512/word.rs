//! Eight lanes of u64.

use core::arch::x86_64::*;
use core::ops::{Add, BitXor};

use super::lane_mask::LaneMask;
use super::token::{Avx512, with_token};
use crate::simd::contract::Word;

/// Eight lanes of u64, and the proof that its instructions exist.
#[derive(Clone, Copy)]
pub(crate) struct U64(__m512i, Avx512);

impl Word for U64 {
    type Token = Avx512;
    type Keep = LaneMask;

    #[inline(always)]
    fn new(token: Avx512, lanes: [u64; 8]) -> Self {
        // SAFETY: the token proves the instruction; `lanes` is 64 readable bytes.
        Self(unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }, token)
    }

    #[inline(always)]
    fn to_array(self) -> [u64; 8] {
        let mut lanes = [0; 8];
        // SAFETY: the token proves the instruction; `lanes` is 64 writable bytes.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), self.0) };
        lanes
    }

    #[inline(always)]
    fn shift_left<const LEFT: u32>(self) -> Self {
        Self(with_token!(self.1, _mm512_slli_epi64::<LEFT>(self.0)), self.1)
    }

    #[inline(always)]
    fn rotate_left<const LEFT: u32, const RIGHT: u32>(self) -> Self {
        // The compiler makes one rotation of it; the intrinsic's count has another type.
        Self(
            with_token!(
                self.1,
                _mm512_or_si512(
                    _mm512_slli_epi64::<LEFT>(self.0),
                    _mm512_srli_epi64::<RIGHT>(self.0)
                )
            ),
            self.1,
        )
    }

    #[inline(always)]
    fn keep_16(self, least: i16) -> [LaneMask; 2] {
        let bits = with_token!(self.1, _mm512_cmpge_epi16_mask(self.0, _mm512_set1_epi16(least)));
        [LaneMask(bits as u16, self.1), LaneMask((bits >> 16) as u16, self.1)]
    }

    #[inline(always)]
    fn keep_32(self, least: i32) -> LaneMask {
        let bits = with_token!(self.1, _mm512_cmpge_epi32_mask(self.0, _mm512_set1_epi32(least)));
        LaneMask(bits, self.1)
    }
}

impl Add for U64 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(with_token!(self.1, _mm512_add_epi64(self.0, other.0)), self.1)
    }
}

impl BitXor for U64 {
    type Output = Self;
    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        Self(with_token!(self.1, _mm512_xor_si512(self.0, other.0)), self.1)
    }
}
