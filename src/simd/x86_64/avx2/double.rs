//! Sixteen lanes of f64.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::ops::{Add, Div, Mul, Sub};

use super::single::F32;
use super::sums::{finish, finish_each, halve, widen};
use super::token::{Avx2, with_token};
use crate::simd::contract::{Double, Float, LANES, Line};

/// Sixteen lanes of f64, lanes 0 to 3 first, and the proof that its instructions exist.
#[derive(Clone, Copy)]
pub(crate) struct F64([__m256d; 4], Avx2);

/// The vector whose quarter number `I` is the given expression. A loop would be unrolled again in every kernel, which takes time to compile.
macro_rules! quarters {
    ($token:expr, |$i:ident| $quarter:expr) => {
        Self(
            [
                quarters!(@at $token, $i, 0, $quarter),
                quarters!(@at $token, $i, 1, $quarter),
                quarters!(@at $token, $i, 2, $quarter),
                quarters!(@at $token, $i, 3, $quarter),
            ],
            $token,
        )
    };
    (@at $token:expr, $i:ident, $n:literal, $quarter:expr) => {{
        const $i: usize = $n;
        with_token!($token, $quarter)
    }};
}

impl Float for F64 {
    type Token = Avx2;
    type Elem = f64;

    #[inline(always)]
    fn splat(token: Avx2, x: f64) -> Self {
        Self([with_token!(token, _mm256_set1_pd(x)); 4], token)
    }

    #[inline(always)]
    fn load(token: Avx2, x: &[f32; LANES]) -> Self {
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
    fn load_partial(token: Avx2, x: &[f32], fill: f64) -> Self {
        assert!(x.len() <= LANES, "a partial vector has at most {LANES} lanes");
        let len = x.len() as f64;
        let x = Self::widen(F32::load_partial(token, x, 0.0)).0;
        Self(
            [
                fill_from(token, x[0], 0, len, fill),
                fill_from(token, x[1], 4, len, fill),
                fill_from(token, x[2], 8, len, fill),
                fill_from(token, x[3], 12, len, fill),
            ],
            token,
        )
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
        let (a, f, b) = (self.0, factor.0, addend.0);
        quarters!(self.1, |I| _mm256_fmadd_pd(a[I], f[I], b[I]))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        quarters!(self.1, |I| _mm256_sqrt_pd(self.0[I]))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        let sign = with_token!(self.1, _mm256_set1_pd(-0.0));
        quarters!(self.1, |I| _mm256_andnot_pd(sign, self.0[I]))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        quarters!(self.1, |I| _mm256_min_pd(self.0[I], other.0[I]))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        quarters!(self.1, |I| _mm256_max_pd(self.0[I], other.0[I]))
    }

    #[inline(always)]
    fn sum(self) -> f64 {
        let token = self.1;
        finish(token, halve(token, self.0))
    }

    #[inline(always)]
    fn sums<const N: usize>(vectors: [Self; N]) -> [f64; N] {
        let token = vectors[0].1;
        let mut halved = [halve(token, vectors[0].0); N];
        for i in 1..N {
            halved[i] = halve(token, vectors[i].0);
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
        Self(widen(x.1, x.0), x.1)
    }

    #[inline(always)]
    fn narrow(self) -> F32 {
        let [a, b, c, d] = self.0;
        with_token!(self.1, {
            let low = _mm256_set_m128(_mm256_cvtpd_ps(b), _mm256_cvtpd_ps(a));
            F32([low, _mm256_set_m128(_mm256_cvtpd_ps(d), _mm256_cvtpd_ps(c))], self.1)
        })
    }

    #[inline(always)]
    fn load_f64(token: Avx2, x: &[f64; LANES]) -> Self {
        let (quarters, _) = x.as_chunks::<4>();
        let mut lanes = Self::splat(token, 0.0);
        for i in 0..4 {
            // SAFETY: the token proves the instruction; each quarter of `x` is 4 readable elements.
            lanes.0[i] = unsafe { _mm256_loadu_pd(quarters[i].as_ptr()) };
        }
        lanes
    }

    #[inline(always)]
    fn store_f64(self, y: &mut [f64; LANES]) {
        let (quarters, _) = y.as_chunks_mut::<4>();
        for i in 0..4 {
            // SAFETY: the token proves the instruction; each quarter of `y` is 4 writable elements.
            unsafe { _mm256_storeu_pd(quarters[i].as_mut_ptr(), self.0[i]) };
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
                let (a, b) = (self.0, other.0);
                quarters!(self.1, |I| $intrinsic(a[I], b[I]))
            }
        }
    )+};
}

lanewise!(
    Add add _mm256_add_pd,
    Sub sub _mm256_sub_pd,
    Mul mul _mm256_mul_pd,
    Div div _mm256_div_pd
);

/// A bit for each lane of which the predicate holds.
#[inline(always)]
fn compare<const PREDICATE: i32>(a: F64, b: F64) -> u16 {
    let mut bits = 0;
    for i in 0..4 {
        let lanes =
            with_token!(a.1, _mm256_movemask_pd(_mm256_cmp_pd::<PREDICATE>(a.0[i], b.0[i])));
        bits |= lanes << (4 * i);
    }
    bits as u16
}

/// The lanes of `x`, which start with lane `first` of a vector, with `fill` in lane `len` and every later lane.
#[inline(always)]
fn fill_from(token: Avx2, x: __m256d, first: usize, len: f64, fill: f64) -> __m256d {
    let first = first as f64;
    with_token!(token, {
        let lanes = _mm256_setr_pd(first, first + 1.0, first + 2.0, first + 3.0);
        let dead = _mm256_cmp_pd::<_CMP_GE_OQ>(lanes, _mm256_set1_pd(len));
        _mm256_blendv_pd(x, _mm256_set1_pd(fill), dead)
    })
}
