//! Sixteen lanes of f64.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::ops::{Add, Div, Mul, Sub};

use super::single::{F32, first_lanes};
use super::sums::{finish, finish_each, halve, widen};
use super::token::{Avx512, with_token};
use crate::simd::contract::{Double, Float, LANES, Line};

/// Sixteen lanes of f64, lanes 0 to 7 first, and the proof that its instructions exist.
#[derive(Clone, Copy)]
pub(crate) struct F64(__m512d, __m512d, Avx512);

impl Float for F64 {
    type Token = Avx512;
    type Elem = f64;

    #[inline(always)]
    fn splat(token: Avx512, x: f64) -> Self {
        let x = with_token!(token, _mm512_set1_pd(x));
        Self(x, x, token)
    }

    #[inline(always)]
    fn load(token: Avx512, x: &[f32; LANES]) -> Self {
        Self::widen(F32::load(token, x))
    }

    #[inline(always)]
    fn of_single(x: F32) -> Self {
        Self::widen(x)
    }

    #[inline(always)]
    fn to_single(self) -> F32 {
        self.narrow()
    }

    #[inline(always)]
    fn load_partial(token: Avx512, x: &[f32], fill: f64) -> Self {
        let mask = first_lanes(x.len());
        let x = Self::widen(F32::load_partial(token, x, 0.0));
        with_token!(token, {
            let fill = _mm512_set1_pd(fill);
            let low = _mm512_mask_blend_pd(mask as __mmask8, fill, x.0);
            Self(low, _mm512_mask_blend_pd((mask >> 8) as __mmask8, fill, x.1), token)
        })
    }

    #[inline(always)]
    fn store(self, y: &mut [MaybeUninit<f32>; LANES]) {
        self.narrow().store(y);
    }

    #[inline(always)]
    fn stream(self, y: &mut Line) {
        self.narrow().stream(y);
    }

    #[inline(always)]
    fn store_partial(self, y: &mut [MaybeUninit<f32>]) {
        self.narrow().store_partial(y);
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        let low = with_token!(self.2, _mm512_fmadd_pd(self.0, factor.0, addend.0));
        let high = with_token!(self.2, _mm512_fmadd_pd(self.1, factor.1, addend.1));
        Self(low, high, self.2)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        let low = with_token!(self.2, _mm512_sqrt_pd(self.0));
        Self(low, with_token!(self.2, _mm512_sqrt_pd(self.1)), self.2)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        let low = with_token!(self.2, _mm512_abs_pd(self.0));
        Self(low, with_token!(self.2, _mm512_abs_pd(self.1)), self.2)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        let low = with_token!(self.2, _mm512_min_pd(self.0, other.0));
        Self(low, with_token!(self.2, _mm512_min_pd(self.1, other.1)), self.2)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        let low = with_token!(self.2, _mm512_max_pd(self.0, other.0));
        Self(low, with_token!(self.2, _mm512_max_pd(self.1, other.1)), self.2)
    }

    #[inline(always)]
    fn sum(self) -> f64 {
        let token = self.2;
        finish(token, halve(token, [self.0, self.1]))
    }

    #[inline(always)]
    fn sums<const N: usize>(vectors: [Self; N]) -> [f64; N] {
        let token = vectors[0].2;
        let mut halved = [halve(token, [vectors[0].0, vectors[0].1]); N];
        for i in 1..N {
            halved[i] = halve(token, [vectors[i].0, vectors[i].1]);
        }
        finish_each(token, halved)
    }

    #[inline(always)]
    fn equal(self, other: Self) -> u16 {
        compare::<_CMP_EQ_OQ>(self, other)
    }
}

impl Double for F64 {
    type Single = F32;

    #[inline(always)]
    fn widen(x: F32) -> Self {
        let [low, high] = widen(x.1, x.0);
        Self(low, high, x.1)
    }

    #[inline(always)]
    fn narrow(self) -> F32 {
        let low = with_token!(self.2, _mm512_castps256_ps512(_mm512_cvtpd_ps(self.0)));
        let high = with_token!(self.2, _mm512_cvtpd_ps(self.1));
        F32(with_token!(self.2, _mm512_insertf32x8::<1>(low, high)), self.2)
    }

    #[inline(always)]
    fn load_f64(token: Avx512, x: &[f64; LANES]) -> Self {
        let (halves, _) = x.as_chunks::<8>();
        // SAFETY: the token proves the instruction; each half of `x` is 8 readable elements.
        let [low, high] =
            unsafe { [_mm512_loadu_pd(halves[0].as_ptr()), _mm512_loadu_pd(halves[1].as_ptr())] };
        Self(low, high, token)
    }

    #[inline(always)]
    fn store_f64(self, y: &mut [f64; LANES]) {
        let (halves, _) = y.as_chunks_mut::<8>();
        // SAFETY: the token proves the instruction; each half of `y` is 8 writable elements.
        unsafe {
            _mm512_storeu_pd(halves[0].as_mut_ptr(), self.0);
            _mm512_storeu_pd(halves[1].as_mut_ptr(), self.1);
        }
    }

    #[inline(always)]
    fn less_or_equal(self, other: Self) -> u16 {
        compare::<_CMP_LE_OQ>(self, other)
    }
}

macro_rules! lanewise {
    ($($trait:ident $method:ident $intrinsic:ident),+) => {$(
        impl $trait for F64 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                let low = with_token!(self.2, $intrinsic(self.0, other.0));
                Self(low, with_token!(self.2, $intrinsic(self.1, other.1)), self.2)
            }
        }
    )+};
}

lanewise!(
    Add add _mm512_add_pd,
    Sub sub _mm512_sub_pd,
    Mul mul _mm512_mul_pd,
    Div div _mm512_div_pd
);

/// A bit for each lane of which the predicate holds.
#[inline(always)]
fn compare<const PREDICATE: i32>(a: F64, b: F64) -> u16 {
    let low = with_token!(a.2, _mm512_cmp_pd_mask::<PREDICATE>(a.0, b.0));
    let high = with_token!(a.2, _mm512_cmp_pd_mask::<PREDICATE>(a.1, b.1));
    u16::from_le_bytes([low, high])
}
