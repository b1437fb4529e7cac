//! A choice among sixteen lanes.

use core::arch::x86_64::*;

use super::single::F32;
use super::token::{Avx512, with_token};
use crate::simd::contract::Keep;

/// A choice among 16 lanes: a mask register.
#[derive(Clone, Copy)]
pub(crate) struct LaneMask(pub(super) __mmask16, pub(super) Avx512);

impl Keep for LaneMask {
    type Token = Avx512;
    type Values = F32;

    #[inline(always)]
    fn from_bits(token: Avx512, bits: u16) -> Self {
        Self(bits, token)
    }

    #[inline(always)]
    fn to_bits(self) -> u16 {
        self.0
    }

    #[inline(always)]
    fn or_zero(self, value: F32) -> F32 {
        F32(with_token!(self.1, _mm512_maskz_mov_ps(self.0, value.0)), self.1)
    }
}
