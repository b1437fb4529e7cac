//! AVX-512 (F, BW, DQ, VL): sixteen f32 lanes in one register, sixteen f64 lanes in two.
//!
//! Tails use masked loads and stores, which do not touch the lanes that are masked off.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::ops::{Add, BitXor, Div, Mul, Sub};

use crate::simd::contract::{Double, Float, Keep, Kernel, LANES, Line, Simd, Single, Word};
use crate::simd::features::{avx512_features, backend_features};

/// Proof that the CPU has the features of this backend: only `detect` makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512(());

avx512_features!(Avx512);

/// Evaluates what needs the features of this backend and nothing else: intrinsics that take and give values, and
/// the entry.
macro_rules! with_token {
    ($token:expr, $intrinsics:expr) => {{
        let _: Avx512 = $token;
        // SAFETY: an `Avx512` exists only where `detect` saw every feature of the backend, and nothing
        // passed here needs more or takes a pointer.
        unsafe { $intrinsics }
    }};
}

impl Simd for Avx512 {
    type F32 = F32;
    type F64 = F64;
    type U64 = U64;
    type Keep = Keep16;

    // Measured, of memcpy, LayerNorm and RmsNorm at 128x768: 1 row 0.61 and 0.83, 2 rows 0.75 and 0.85, 4
    // rows 0.67 and 0.76 (four streams of stores compete for the lines of L1).
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

/// A mask of the first `len` lanes.
#[inline(always)]
fn first_lanes(len: usize) -> __mmask16 {
    assert!(len <= LANES, "a partial vector has at most {LANES} lanes");
    ((1_u32 << len) - 1) as __mmask16
}

/// Sixteen lanes of f32, and the proof that its instructions exist.
#[derive(Clone, Copy)]
pub(crate) struct F32(__m512, Avx512);

/// Sixteen lanes of f64, lanes 0 to 7 first, and the proof that its instructions exist.
#[derive(Clone, Copy)]
pub(crate) struct F64(__m512d, __m512d, Avx512);

macro_rules! lanewise {
    ($($trait:ident $method:ident $f32:ident $f64:ident),+) => {$(
        impl $trait for F32 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(with_token!(self.1, $f32(self.0, other.0)), self.1)
            }
        }
        impl $trait for F64 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                let low = with_token!(self.2, $f64(self.0, other.0));
                Self(low, with_token!(self.2, $f64(self.1, other.1)), self.2)
            }
        }
    )+};
}

lanewise!(
    Add add _mm512_add_ps _mm512_add_pd,
    Sub sub _mm512_sub_ps _mm512_sub_pd,
    Mul mul _mm512_mul_ps _mm512_mul_pd,
    Div div _mm512_div_ps _mm512_div_pd
);

impl F64 {
    /// Lane `i` plus lane `i + 8`: the first step of a sum by halving.
    #[inline(always)]
    fn halve(self) -> __m512d {
        with_token!(self.2, _mm512_add_pd(self.0, self.1))
    }
}

/// The steps 4, 2 and 1 of a sum by halving, for the eight lanes of one register.
#[inline(always)]
fn sum_halved(token: Avx512, v: __m512d) -> f64 {
    with_token!(token, {
        let v = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd::<1>(v));
        let v = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd::<1>(v));
        _mm_cvtsd_f64(_mm_add_sd(v, _mm_unpackhi_pd(v, v)))
    })
}

/// Step 4 for two registers: 128-bit quarters of the result hold (a, a, b, b).
#[inline(always)]
fn halve_two(token: Avx512, a: __m512d, b: __m512d) -> __m512d {
    with_token!(token, {
        let low = _mm512_shuffle_f64x2::<0b01_00_01_00>(a, b);
        _mm512_add_pd(low, _mm512_shuffle_f64x2::<0b11_10_11_10>(a, b))
    })
}

/// Steps 4 and 2 for four registers: quarters of the result hold (a, b, c, d).
#[inline(always)]
fn halve_four(token: Avx512, [a, b, c, d]: [__m512d; 4]) -> __m512d {
    let (ab, cd) = (halve_two(token, a, b), halve_two(token, c, d));
    with_token!(token, {
        let low = _mm512_shuffle_f64x2::<0b10_00_10_00>(ab, cd);
        _mm512_add_pd(low, _mm512_shuffle_f64x2::<0b11_01_11_01>(ab, cd))
    })
}

/// The steps 4, 2 and 1 for eight registers: 14 shuffles and 7 additions instead of 24 and 24.
#[inline(always)]
fn sum_halved_each(token: Avx512, v: [__m512d; 8]) -> [f64; 8] {
    let even = halve_four(token, [v[0], v[2], v[4], v[6]]);
    let odd = halve_four(token, [v[1], v[3], v[5], v[7]]);
    let sums = with_token!(
        token,
        _mm512_add_pd(_mm512_unpacklo_pd(even, odd), _mm512_unpackhi_pd(even, odd))
    );
    let mut out = [0.0; 8];
    // SAFETY: the token proves the instruction; `out` is 8 writable elements.
    unsafe { _mm512_storeu_pd(out.as_mut_ptr(), sums) };
    out
}

/// Sums each of `N` vectors that have been halved once.
#[inline(always)]
fn sums_halved<const N: usize>(token: Avx512, v: [__m512d; N]) -> [f64; N] {
    let mut out = [0.0; N];
    let mut i = 0;
    while i < N {
        if N - i >= 4 {
            // Registers beyond the last are repeats whose sums are not used.
            let mut eight = [v[i]; 8];
            for (j, slot) in eight.iter_mut().enumerate() {
                *slot = v[if i + j < N { i + j } else { i }];
            }
            let sums = sum_halved_each(token, eight);
            let count = if N - i < 8 { N - i } else { 8 };
            out[i..i + count].copy_from_slice(&sums[..count]);
            i += count;
        } else {
            out[i] = sum_halved(token, v[i]);
            i += 1;
        }
    }
    out
}

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
        // that streams fences when it is dropped (`simd/span.rs`).
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
        let mut halved = [F64::widen(vectors[0]).halve(); N];
        for i in 1..N {
            halved[i] = F64::widen(vectors[i]).halve();
        }
        sums_halved(token, halved)
    }

    #[inline(always)]
    fn equal(self, other: Self) -> u16 {
        with_token!(self.1, _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0))
    }
}

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
        sum_halved(self.2, self.halve())
    }

    #[inline(always)]
    fn sums<const N: usize>(vectors: [Self; N]) -> [f64; N] {
        let token = vectors[0].2;
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
    let low = with_token!(a.2, _mm512_cmp_pd_mask::<PREDICATE>(a.0, b.0));
    let high = with_token!(a.2, _mm512_cmp_pd_mask::<PREDICATE>(a.1, b.1));
    u16::from_le_bytes([low, high])
}

impl Single for F32 {
    #[inline(always)]
    fn scale(self, n: Self) -> Self {
        Self(with_token!(self.1, _mm512_scalef_ps(self.0, n.0)), self.1)
    }
}

impl Double for F64 {
    type Single = F32;

    #[inline(always)]
    fn widen(x: F32) -> Self {
        let low = with_token!(x.1, _mm512_cvtps_pd(_mm512_castps512_ps256(x.0)));
        let high = with_token!(x.1, _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(x.0)));
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

/// Eight lanes of u64, and the proof that its instructions exist.
#[derive(Clone, Copy)]
pub(crate) struct U64(__m512i, Avx512);

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

impl Word for U64 {
    type Token = Avx512;
    type Keep = Keep16;

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
    fn keep_16(self, least: i16) -> [Keep16; 2] {
        let bits = with_token!(self.1, _mm512_cmpge_epi16_mask(self.0, _mm512_set1_epi16(least)));
        [Keep16(bits as u16, self.1), Keep16((bits >> 16) as u16, self.1)]
    }

    #[inline(always)]
    fn keep_32(self, least: i32) -> Keep16 {
        let bits = with_token!(self.1, _mm512_cmpge_epi32_mask(self.0, _mm512_set1_epi32(least)));
        Keep16(bits, self.1)
    }
}

/// A choice among 16 lanes: a mask register.
#[derive(Clone, Copy)]
pub(crate) struct Keep16(__mmask16, Avx512);

impl Keep for Keep16 {
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
