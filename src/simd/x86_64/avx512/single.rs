//! Sixteen lanes of f32.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::ops::{Add, Div, Mul, Sub};

use super::sums::{finish_each, halve, widen};
use super::token::{Avx512, with_token};
use crate::simd::contract::{Float, LANES, Line, Single};

/// Sixteen lanes of f32, and the proof that its instructions exist.
#[derive(Clone, Copy)]
pub(crate) struct F32(pub(super) __m512, pub(super) Avx512);

impl Float for F32 {
    type Token = Avx512;
    type Elem = f32;

    #[inline(always)]
    fn splat(token: Avx512, x: f32) -> Self {
        Self(with_token!(token, _mm512_set1_ps(x)), token)
    }

    #[inline(always)]
    fn load(token: Avx512, x: &[f32; LANES]) -> Self {
        // SAFETY: the token proves the instruction; `x` is 16 readable elements.
        Self(unsafe { _mm512_loadu_ps(x.as_ptr()) }, token)
    }

    #[inline(always)]
    fn of_single(x: F32) -> Self {
        x
    }

    #[inline(always)]
    fn to_single(self) -> F32 {
        self
    }

    #[inline(always)]
    fn load_partial(token: Avx512, x: &[f32], fill: f32) -> Self {
        let fill = Self::splat(token, fill);
        let mask = first_lanes(x.len());
        // SAFETY: the token proves the instruction; the mask selects `x.len()` lanes, which are
        // readable, and the others are not accessed.
        Self(unsafe { _mm512_mask_loadu_ps(fill.0, mask, x.as_ptr()) }, token)
    }

    #[inline(always)]
    fn store(self, y: &mut [MaybeUninit<f32>; LANES]) {
        // SAFETY: the token proves the instruction; `y` is 16 writable elements.
        unsafe { _mm512_storeu_ps(y.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn stream(self, y: &mut Line) {
        // SAFETY: the token proves the instruction; `y` is 16 writable elements, aligned to 64 bytes. A span
        // that streams fences when it is dropped (`span.rs`).
        unsafe { _mm512_stream_ps(y.0.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn store_partial(self, y: &mut [MaybeUninit<f32>]) {
        let mask = first_lanes(y.len());
        // SAFETY: the token proves the instruction; the mask selects `y.len()` lanes, which are
        // writable, and the others are not accessed.
        unsafe { _mm512_mask_storeu_ps(y.as_mut_ptr().cast(), mask, self.0) }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(with_token!(self.1, _mm512_fmadd_ps(self.0, factor.0, addend.0)), self.1)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(with_token!(self.1, _mm512_sqrt_ps(self.0)), self.1)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self(with_token!(self.1, _mm512_abs_ps(self.0)), self.1)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(with_token!(self.1, _mm512_min_ps(self.0, other.0)), self.1)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(with_token!(self.1, _mm512_max_ps(self.0, other.0)), self.1)
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        with_token!(self.1, {
            let v = self.0;
            let v = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        })
    }

    #[inline(always)]
    fn sums<const N: usize>(vectors: [Self; N]) -> [f64; N] {
        let token = vectors[0].1;
        let mut halved = [halve(token, widen(token, vectors[0].0)); N];
        for i in 1..N {
            halved[i] = halve(token, widen(token, vectors[i].0));
        }
        finish_each(token, halved)
    }

    #[inline(always)]
    fn equal(self, other: Self) -> u16 {
        with_token!(self.1, _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0))
    }
}

impl Single for F32 {
    #[inline(always)]
    fn scale(self, n: Self) -> Self {
        Self(with_token!(self.1, _mm512_scalef_ps(self.0, n.0)), self.1)
    }
}

macro_rules! lanewise {
    ($($trait:ident $method:ident $intrinsic:ident),+) => {$(
        impl $trait for F32 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(with_token!(self.1, $intrinsic(self.0, other.0)), self.1)
            }
        }
    )+};
}

lanewise!(
    Add add _mm512_add_ps,
    Sub sub _mm512_sub_ps,
    Mul mul _mm512_mul_ps,
    Div div _mm512_div_ps
);

/// A mask of the first `len` lanes.
#[inline(always)]
pub(super) fn first_lanes(len: usize) -> __mmask16 {
    assert!(len <= LANES, "a partial vector has at most {LANES} lanes");
    ((1_u32 << len) - 1) as __mmask16
}
