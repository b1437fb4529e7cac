//! Sixteen lanes of f32.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::ops::{Add, Div, Mul, Sub};

use super::sums::{finish_each, halve, widen};
use super::token::{Avx2, with_token};
use crate::simd::contract::{Float, LANES, Line, Single};

/// Sixteen lanes of f32, lanes 0 to 7 first, and the proof that its instructions exist.
#[derive(Clone, Copy)]
pub(crate) struct F32(pub(super) [__m256; 2], pub(super) Avx2);

impl Float for F32 {
    type Token = Avx2;
    type Elem = f32;

    #[inline(always)]
    fn splat(token: Avx2, x: f32) -> Self {
        Self([with_token!(token, _mm256_set1_ps(x)); 2], token)
    }

    #[inline(always)]
    fn load(token: Avx2, x: &[f32; LANES]) -> Self {
        let (halves, _) = x.as_chunks::<8>();
        // SAFETY: the token proves the instruction; each half of `x` is 8 readable elements.
        Self(
            unsafe { [_mm256_loadu_ps(halves[0].as_ptr()), _mm256_loadu_ps(halves[1].as_ptr())] },
            token,
        )
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
    fn load_partial(token: Avx2, x: &[f32], fill: f32) -> Self {
        let [low, high] = first_lanes(token, x.len());
        let fill = Self::splat(token, fill).0[0];
        // SAFETY: the token proves the instructions; the masks select `x.len()` lanes, which are
        // readable, and the others are not accessed (so the second pointer, which may lie beyond
        // `x`, is computed without the promise that it does not).
        unsafe {
            let a = _mm256_maskload_ps(x.as_ptr(), low);
            let b = _mm256_maskload_ps(x.as_ptr().wrapping_add(8), high);
            let low = _mm256_blendv_ps(fill, a, _mm256_castsi256_ps(low));
            Self([low, _mm256_blendv_ps(fill, b, _mm256_castsi256_ps(high))], token)
        }
    }

    #[inline(always)]
    fn store(self, y: &mut [MaybeUninit<f32>; LANES]) {
        let (halves, _) = y.as_chunks_mut::<8>();
        // SAFETY: the token proves the instruction; each half of `y` is 8 writable elements.
        unsafe {
            _mm256_storeu_ps(halves[0].as_mut_ptr().cast(), self.0[0]);
            _mm256_storeu_ps(halves[1].as_mut_ptr().cast(), self.0[1]);
        }
    }

    #[inline(always)]
    fn stream(self, y: &mut Line) {
        let (halves, _) = y.0.as_chunks_mut::<8>();
        // SAFETY: the token proves the instruction; each half of `y` is 8 writable elements, aligned to 32
        // bytes. A span that streams fences when it is dropped (`span.rs`).
        unsafe {
            _mm256_stream_ps(halves[0].as_mut_ptr().cast(), self.0[0]);
            _mm256_stream_ps(halves[1].as_mut_ptr().cast(), self.0[1]);
        }
    }

    #[inline(always)]
    fn store_partial(self, y: &mut [MaybeUninit<f32>]) {
        let [low, high] = first_lanes(self.1, y.len());
        let pointer: *mut f32 = y.as_mut_ptr().cast();
        // SAFETY: the token proves the instruction; the masks select `y.len()` lanes, which are
        // writable, and the others are not accessed.
        unsafe {
            _mm256_maskstore_ps(pointer, low, self.0[0]);
            _mm256_maskstore_ps(pointer.wrapping_add(8), high, self.0[1]);
        }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        let (a, f, b) = (self.0, factor.0, addend.0);
        let low = with_token!(self.1, _mm256_fmadd_ps(a[0], f[0], b[0]));
        Self([low, with_token!(self.1, _mm256_fmadd_ps(a[1], f[1], b[1]))], self.1)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        let [low, high] = self.0;
        Self(with_token!(self.1, [_mm256_sqrt_ps(low), _mm256_sqrt_ps(high)]), self.1)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        let [low, high] = self.0;
        let sign = with_token!(self.1, _mm256_set1_ps(-0.0));
        let lanes =
            with_token!(self.1, [_mm256_andnot_ps(sign, low), _mm256_andnot_ps(sign, high)]);
        Self(lanes, self.1)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        Self(with_token!(self.1, [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])]), self.1)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        Self(with_token!(self.1, [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])]), self.1)
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        with_token!(self.1, {
            let v = _mm256_add_ps(self.0[0], self.0[1]);
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
        let (a, b) = (self.0, other.0);
        with_token!(self.1, {
            let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(a[0], b[0]));
            let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(a[1], b[1]));
            (low | high << 8) as u16
        })
    }
}

impl Single for F32 {
    #[inline(always)]
    fn scale(self, n: Self) -> Self {
        let mut power = n;
        for i in 0..2 {
            power.0[i] = with_token!(n.1, {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.0[i]), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
            });
        }
        self * power
    }
}

macro_rules! lanewise {
    ($($trait:ident $method:ident $intrinsic:ident),+) => {$(
        impl $trait for F32 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                let (a, b) = (self.0, other.0);
                Self(with_token!(self.1, [$intrinsic(a[0], b[0]), $intrinsic(a[1], b[1])]), self.1)
            }
        }
    )+};
}

lanewise!(
    Add add _mm256_add_ps,
    Sub sub _mm256_sub_ps,
    Mul mul _mm256_mul_ps,
    Div div _mm256_div_ps
);

/// Masks of the first `len` of sixteen lanes, eight a register.
#[inline(always)]
fn first_lanes(token: Avx2, len: usize) -> [__m256i; 2] {
    assert!(len <= LANES, "a partial vector has at most {LANES} lanes");
    with_token!(token, {
        let len = _mm256_set1_epi32(len as i32);
        let low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let high = _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15);
        [_mm256_cmpgt_epi32(len, low), _mm256_cmpgt_epi32(len, high)]
    })
}
