//! AVX-512 (F, BW, DQ, VL): sixteen f32 lanes in one register, sixteen f64 lanes in two.
//!
//! `token.rs` has the proof that the CPU has them. `single.rs`, `double.rs`, `word.rs` and `lane_mask.rs` have a vector type
//! each, `sums.rs` the sums that f32 and f64 lanes share. Tails use masked loads and stores, which do not touch the lanes
//! that are masked off.

mod double;
#[cfg(feature = "half")]
mod half;
mod lane_mask;
mod single;
mod sums;
mod token;
mod word;

use core::mem::MaybeUninit;

use self::double::F64;
use self::lane_mask::LaneMask;
use self::single::F32;
pub(crate) use self::token::Avx512;
use self::token::with_token;
use self::word::U64;
use crate::element::Half;
use crate::simd::contract::{Kernel, Simd};

impl Simd for Avx512 {
    type F32 = F32;
    type F64 = F64;
    type U64 = U64;
    type Keep = LaneMask;

    // Four streams of stores compete for the lines of L1 (`docs/performance.md`, "Rows at a time").
    const ROWS: usize = 2;
    const FUSED: bool = true;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        with_token!(self, self.enter(kernel))
    }

    #[inline(always)]
    fn outline<K: Kernel>(self, kernel: K) -> K::Output {
        with_token!(self, self.enter_outlined(kernel))
    }

    #[inline(always)]
    fn widen(self, half: Half, x: &[u16], y: &mut [f32]) {
        assert_eq!(x.len(), y.len(), "an element of y for each of x");
        match half {
            #[cfg(feature = "half")]
            Half::F16 => half::widen_f16(self, x, y),
            #[cfg(feature = "half")]
            Half::Bf16 => half::widen_bf16(self, x, y),
        }
    }

    #[inline(always)]
    fn narrow(self, half: Half, x: &[f32], y: &mut [MaybeUninit<u16>]) {
        assert_eq!(x.len(), y.len(), "an element of y for each of x");
        match half {
            #[cfg(feature = "half")]
            Half::F16 => half::narrow_f16(self, x, y),
            #[cfg(feature = "half")]
            Half::Bf16 => half::narrow_bf16(self, x, y),
        }
    }
}
