//! Eight lanes of u64.

use core::arch::x86_64::*;
use core::ops::{Add, BitXor};

use super::lane_mask::LaneMask;
use super::token::{Avx2, with_token};
use crate::simd::contract::Word;

/// Eight lanes of u64, lanes 0 to 3 first, and the proof that its instructions exist.
#[derive(Clone, Copy)]
pub(crate) struct U64([__m256i; 2], Avx2);

impl Word for U64 {
    type Token = Avx2;
    type Keep = LaneMask;

    #[inline(always)]
    fn new(token: Avx2, lanes: [u64; 8]) -> Self {
        let (halves, _) = lanes.as_chunks::<4>();
        // SAFETY: the token proves the instruction; each half of `lanes` is 32 readable bytes.
        let [low, high] = unsafe {
            [
                _mm256_loadu_si256(halves[0].as_ptr().cast()),
                _mm256_loadu_si256(halves[1].as_ptr().cast()),
            ]
        };
        Self([low, high], token)
    }

    #[inline(always)]
    fn to_array(self) -> [u64; 8] {
        let mut lanes = [0; 8];
        let (halves, _) = lanes.as_chunks_mut::<4>();
        // SAFETY: the token proves the instruction; each half of `lanes` is 32 writable bytes.
        unsafe {
            _mm256_storeu_si256(halves[0].as_mut_ptr().cast(), self.0[0]);
            _mm256_storeu_si256(halves[1].as_mut_ptr().cast(), self.0[1]);
        }
        lanes
    }

    #[inline(always)]
    fn shift_left<const LEFT: u32>(self) -> Self {
        let low = shift_left::<LEFT>(self.1, self.0[0]);
        self.both(low, shift_left::<LEFT>(self.1, self.0[1]))
    }

    #[inline(always)]
    fn rotate_left<const LEFT: u32, const RIGHT: u32>(self) -> Self {
        let left = self.shift_left::<LEFT>().0;
        let low = shift_right::<RIGHT>(self.1, self.0[0]);
        let high = shift_right::<RIGHT>(self.1, self.0[1]);
        let low = with_token!(self.1, _mm256_or_si256(left[0], low));
        self.both(low, with_token!(self.1, _mm256_or_si256(left[1], high)))
    }

    #[inline(always)]
    fn keep_16(self, least: i16) -> [LaneMask; 2] {
        let [low, high] = with_token!(self.1, {
            let least = _mm256_set1_epi16(least);
            [_mm256_cmpgt_epi16(least, self.0[0]), _mm256_cmpgt_epi16(least, self.0[1])]
        });
        [LaneMask(widen_mask(self.1, low), self.1), LaneMask(widen_mask(self.1, high), self.1)]
    }

    #[inline(always)]
    fn keep_32(self, least: i32) -> LaneMask {
        let dropped = with_token!(self.1, {
            let least = _mm256_set1_epi32(least);
            [_mm256_cmpgt_epi32(least, self.0[0]), _mm256_cmpgt_epi32(least, self.0[1])]
        });
        LaneMask(dropped, self.1)
    }
}

impl U64 {
    /// The same operation on both halves.
    #[inline(always)]
    fn both(self, low: __m256i, high: __m256i) -> Self {
        Self([low, high], self.1)
    }
}

impl Add for U64 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        let low = with_token!(self.1, _mm256_add_epi64(a[0], b[0]));
        self.both(low, with_token!(self.1, _mm256_add_epi64(a[1], b[1])))
    }
}

impl BitXor for U64 {
    type Output = Self;
    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        let low = with_token!(self.1, _mm256_xor_si256(a[0], b[0]));
        self.both(low, with_token!(self.1, _mm256_xor_si256(a[1], b[1])))
    }
}

/// `lane << LEFT`, with the count in the type that the intrinsic has.
#[inline(always)]
fn shift_left<const LEFT: u32>(token: Avx2, x: __m256i) -> __m256i {
    with_token!(token, _mm256_sll_epi64(x, _mm_cvtsi32_si128(LEFT as i32)))
}

/// `lane >> RIGHT`, with the count in the type that the intrinsic has.
#[inline(always)]
fn shift_right<const RIGHT: u32>(token: Avx2, x: __m256i) -> __m256i {
    with_token!(token, _mm256_srl_epi64(x, _mm_cvtsi32_si128(RIGHT as i32)))
}

/// The 32-bit masks of sixteen 16-bit masks.
#[inline(always)]
fn widen_mask(token: Avx2, mask: __m256i) -> [__m256i; 2] {
    with_token!(
        token,
        [
            _mm256_cvtepi16_epi32(_mm256_castsi256_si128(mask)),
            _mm256_cvtepi16_epi32(_mm256_extracti128_si256::<1>(mask)),
        ]
    )
}
