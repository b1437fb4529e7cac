//! AVX2 and FMA: sixteen f32 lanes in two registers, sixteen f64 lanes in four.
//!
//! Tails use masked loads and stores, which do not touch the lanes that are masked off.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::ops::{Add, BitXor, Div, Mul, Sub};

use crate::simd::contract::{Double, Float, Keep, Kernel, LANES, Line, Simd, Single, Word};
use crate::simd::features::{avx2_features, backend_features};

/// Proof that the CPU has the features of this backend: only `detect` makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

avx2_features!(Avx2);

/// Evaluates what needs the features of this backend and nothing else: intrinsics that take and give values, and
/// the entry.
macro_rules! with_token {
    ($token:expr, $intrinsics:expr) => {{
        let _: Avx2 = $token;
        // SAFETY: an `Avx2` exists only where `detect` saw every feature of the backend, and nothing
        // passed here needs more or takes a pointer.
        unsafe { $intrinsics }
    }};
}

impl Simd for Avx2 {
    type F32 = F32;
    type F64 = F64;
    type U64 = U64;
    type Keep = Keep16;

    // Measured, of memcpy, LayerNorm and RmsNorm at 128x768: 1 row 0.51 and 0.65, 2 rows 0.62 and 0.69, 4
    // rows 0.39 and 0.68 (the sums of 4 rows spill). The outer sums of 2 rows live on the stack.
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
}

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

/// Sixteen lanes of f32, lanes 0 to 7 first, and the proof that its instructions exist.
#[derive(Clone, Copy)]
pub(crate) struct F32([__m256; 2], Avx2);

/// Sixteen lanes of f64, lanes 0 to 3 first, and the proof that its instructions exist.
#[derive(Clone, Copy)]
pub(crate) struct F64([__m256d; 4], Avx2);

macro_rules! lanewise {
    ($($trait:ident $method:ident $f32:ident $f64:ident),+) => {$(
        impl $trait for F32 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                let (a, b) = (self.0, other.0);
                Self(with_token!(self.1, [$f32(a[0], b[0]), $f32(a[1], b[1])]), self.1)
            }
        }
        impl $trait for F64 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                let (a, b) = (self.0, other.0);
                let low = with_token!(self.1, [$f64(a[0], b[0]), $f64(a[1], b[1])]);
                let high = with_token!(self.1, [$f64(a[2], b[2]), $f64(a[3], b[3])]);
                Self([low[0], low[1], high[0], high[1]], self.1)
            }
        }
    )+};
}

lanewise!(
    Add add _mm256_add_ps _mm256_add_pd,
    Sub sub _mm256_sub_ps _mm256_sub_pd,
    Mul mul _mm256_mul_ps _mm256_mul_pd,
    Div div _mm256_div_ps _mm256_div_pd
);

impl F64 {
    /// The steps 8 and 4 of a sum by halving.
    #[inline(always)]
    fn halve(self) -> __m256d {
        let [a, b, c, d] = self.0;
        with_token!(self.1, _mm256_add_pd(_mm256_add_pd(a, c), _mm256_add_pd(b, d)))
    }
}

/// The steps 2 and 1 of a sum by halving, for the four lanes of one register.
#[inline(always)]
fn sum_halved(token: Avx2, v: __m256d) -> f64 {
    with_token!(token, {
        let v = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd::<1>(v));
        _mm_cvtsd_f64(_mm_add_sd(v, _mm_unpackhi_pd(v, v)))
    })
}

/// Step 2 for two registers: 128-bit halves of the result hold (a, b).
#[inline(always)]
fn halve_two(token: Avx2, a: __m256d, b: __m256d) -> __m256d {
    with_token!(token, {
        let low = _mm256_permute2f128_pd::<0x20>(a, b);
        _mm256_add_pd(low, _mm256_permute2f128_pd::<0x31>(a, b))
    })
}

/// The steps 2 and 1 for four registers: 6 shuffles and 3 additions instead of 8 and 8.
#[inline(always)]
fn sum_halved_each(token: Avx2, v: [__m256d; 4]) -> [f64; 4] {
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

/// `x`, which holds the lanes from `first` on, with `fill` in lane `len` and all after it.
#[inline(always)]
fn pad(token: Avx2, x: __m256d, first: usize, len: f64, fill: f64) -> __m256d {
    let first = first as f64;
    with_token!(token, {
        let lanes = _mm256_setr_pd(first, first + 1.0, first + 2.0, first + 3.0);
        let dead = _mm256_cmp_pd::<_CMP_GE_OQ>(lanes, _mm256_set1_pd(len));
        _mm256_blendv_pd(x, _mm256_set1_pd(fill), dead)
    })
}

/// Sums each of `N` vectors that have been halved twice.
#[inline(always)]
fn sums_halved<const N: usize>(token: Avx2, v: [__m256d; N]) -> [f64; N] {
    let mut out = [0.0; N];
    let mut i = 0;
    while i < N {
        if N - i >= 4 {
            let sums = sum_halved_each(token, [v[i], v[i + 1], v[i + 2], v[i + 3]]);
            out[i..i + 4].copy_from_slice(&sums);
            i += 4;
        } else {
            out[i] = sum_halved(token, v[i]);
            i += 1;
        }
    }
    out
}

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
        // bytes. A span that streams fences when it is dropped (`simd/span.rs`).
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
        let mut halved = [F64::widen(vectors[0]).halve(); N];
        for i in 1..N {
            halved[i] = F64::widen(vectors[i]).halve();
        }
        sums_halved(token, halved)
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
    fn load_partial(token: Avx2, x: &[f32], fill: f64) -> Self {
        assert!(x.len() <= LANES, "a partial vector has at most {LANES} lanes");
        let len = x.len() as f64;
        let x = Self::widen(F32::load_partial(token, x, 0.0)).0;
        Self(
            [
                pad(token, x[0], 0, len, fill),
                pad(token, x[1], 4, len, fill),
                pad(token, x[2], 8, len, fill),
                pad(token, x[3], 12, len, fill),
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
        let mut sum = b;
        for i in 0..4 {
            sum[i] = with_token!(self.1, _mm256_fmadd_pd(a[i], f[i], b[i]));
        }
        Self(sum, self.1)
    }

    #[inline(always)]
    fn sqrt(mut self) -> Self {
        for i in 0..4 {
            self.0[i] = with_token!(self.1, _mm256_sqrt_pd(self.0[i]));
        }
        self
    }

    #[inline(always)]
    fn abs(mut self) -> Self {
        let sign = with_token!(self.1, _mm256_set1_pd(-0.0));
        for i in 0..4 {
            self.0[i] = with_token!(self.1, _mm256_andnot_pd(sign, self.0[i]));
        }
        self
    }

    #[inline(always)]
    fn min(mut self, other: Self) -> Self {
        for i in 0..4 {
            self.0[i] = with_token!(self.1, _mm256_min_pd(self.0[i], other.0[i]));
        }
        self
    }

    #[inline(always)]
    fn max(mut self, other: Self) -> Self {
        for i in 0..4 {
            self.0[i] = with_token!(self.1, _mm256_max_pd(self.0[i], other.0[i]));
        }
        self
    }

    #[inline(always)]
    fn sum(self) -> f64 {
        sum_halved(self.1, self.halve())
    }

    #[inline(always)]
    fn sums<const N: usize>(vectors: [Self; N]) -> [f64; N] {
        let token = vectors[0].1;
        let mut halved = [vectors[0].halve(); N];
        for i in 1..N {
            halved[i] = vectors[i].halve();
        }
        sums_halved(token, halved)
    }

    #[inline(always)]
    fn equal(self, other: Self) -> u16 {
        compare::<_CMP_EQ_OQ>(self, other)
    }
}

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

impl Double for F64 {
    type Single = F32;

    #[inline(always)]
    fn widen(x: F32) -> Self {
        let [a, b] = x.0;
        with_token!(
            x.1,
            Self(
                [
                    _mm256_cvtps_pd(_mm256_castps256_ps128(a)),
                    _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(a)),
                    _mm256_cvtps_pd(_mm256_castps256_ps128(b)),
                    _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(b)),
                ],
                x.1
            )
        )
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

/// Eight lanes of u64, lanes 0 to 3 first, and the proof that its instructions exist.
#[derive(Clone, Copy)]
pub(crate) struct U64([__m256i; 2], Avx2);

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

impl Word for U64 {
    type Token = Avx2;
    type Keep = Keep16;

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
    fn keep_16(self, least: i16) -> [Keep16; 2] {
        let [low, high] = with_token!(self.1, {
            let least = _mm256_set1_epi16(least);
            [_mm256_cmpgt_epi16(least, self.0[0]), _mm256_cmpgt_epi16(least, self.0[1])]
        });
        [Keep16(widen_mask(self.1, low), self.1), Keep16(widen_mask(self.1, high), self.1)]
    }

    #[inline(always)]
    fn keep_32(self, least: i32) -> Keep16 {
        let dropped = with_token!(self.1, {
            let least = _mm256_set1_epi32(least);
            [_mm256_cmpgt_epi32(least, self.0[0]), _mm256_cmpgt_epi32(least, self.0[1])]
        });
        Keep16(dropped, self.1)
    }
}

/// A choice among 16 lanes: all bits of the lanes that are *not* chosen, since AVX2 compares for
/// greater, and has and-not.
#[derive(Clone, Copy)]
pub(crate) struct Keep16([__m256i; 2], Avx2);

impl Keep for Keep16 {
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
