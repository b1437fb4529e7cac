//! The portable backend, on `wide`: SSE2, NEON, WASM, or whatever the crate was compiled for.
//!
//! `wide` selects its instructions when the crate is compiled, so this backend runs on every CPU that
//! the build allows. Its multiply-add is fused only where the build has FMA. Its bits are then those of
//! every other backend. Otherwise it keeps the error bounds with bits of its own.

use core::mem::MaybeUninit;
use core::ops::{Add, BitXor, Div, Mul, Sub};

use super::contract::{Double, Float, Keep, Kernel, LANES, Line, Simd, Single, Word};
use super::{convert, features};
use crate::element::Half;

/// The token of the portable backend. Every CPU has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Portable;

impl Simd for Portable {
    type F32 = F32;
    type F64 = F64;
    type U64 = U64;
    type Keep = LaneMask;

    // Sixteen lanes take four registers of sixteen, so a second row's sums spill (`docs/performance.md`, "Rows at a time").
    const ROWS: usize = 1;
    const FUSED: bool = features::PORTABLE_FUSED;

    // Never inlined, as in the other backends.
    #[inline(never)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[cold]
    #[inline(never)]
    fn outline<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn widen(self, half: Half, x: &[u16], y: &mut [f32]) {
        convert::widen(half, x, y);
    }

    #[inline(always)]
    fn narrow(self, half: Half, x: &[f32], y: &mut [MaybeUninit<u16>]) {
        convert::narrow(half, x, y);
    }
}

/// The sum of the lanes by halving. It compiles to vector additions.
#[inline(always)]
fn sum_by_halving<T: Copy + Add<Output = T>>(mut lanes: [T; LANES]) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = lanes[i] + lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// The first lanes from `x`, `fill` in the others.
#[inline(always)]
fn lanes_or_fill(x: &[f32], fill: f32) -> [f32; LANES] {
    let mut lanes = [fill; LANES];
    lanes[..x.len()].copy_from_slice(x);
    lanes
}

/// Sixteen lanes of f32.
#[derive(Clone, Copy)]
pub(crate) struct F32(wide::f32x16);

macro_rules! lanewise {
    ($type:ident: $($trait:ident $method:ident $op:tt),+) => {$(
        impl $trait for $type {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                lanewise!(@body $type self other $op)
            }
        }
    )+};
    (@body F32 $a:ident $b:ident $op:tt) => { Self($a.0 $op $b.0) };
    (@body F64 $a:ident $b:ident $op:tt) => { Self([$a.0[0] $op $b.0[0], $a.0[1] $op $b.0[1]]) };
}

lanewise!(F32: Add add +, Sub sub -, Mul mul *, Div div /);
lanewise!(F64: Add add +, Sub sub -, Mul mul *, Div div /);

impl Float for F32 {
    type Token = Portable;
    type Elem = f32;

    #[inline(always)]
    fn splat(_: Portable, x: f32) -> Self {
        Self(wide::f32x16::splat(x))
    }

    #[inline(always)]
    fn load(_: Portable, x: &[f32; LANES]) -> Self {
        Self(wide::f32x16::new(*x))
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
    fn load_partial(_: Portable, x: &[f32], fill: f32) -> Self {
        Self(wide::f32x16::new(lanes_or_fill(x, fill)))
    }

    #[inline(always)]
    fn store(self, y: &mut [MaybeUninit<f32>; LANES]) {
        *y = each(self.0.to_array(), MaybeUninit::new);
    }

    // `wide` has no non-temporal store; every x86-64 CPU has one.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn stream(self, y: &mut Line) {
        use core::arch::x86_64::{_mm_loadu_ps, _mm_stream_ps};
        let (lanes, (quarters, _)) = (self.0.to_array(), y.0.as_chunks_mut::<4>());
        for (lanes, y) in lanes.as_chunks::<4>().0.iter().zip(quarters) {
            // SAFETY: SSE is part of x86-64; `lanes` is 4 readable elements, `y` 4 writable ones, aligned to 16
            // bytes. A span that streams fences when it is dropped (`span.rs`).
            unsafe { _mm_stream_ps(y.as_mut_ptr().cast(), _mm_loadu_ps(lanes.as_ptr())) };
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline(always)]
    fn stream(self, y: &mut Line) {
        self.store(&mut y.0);
    }

    #[inline(always)]
    fn store_partial(self, y: &mut [MaybeUninit<f32>]) {
        let lanes = each(self.0.to_array(), MaybeUninit::new);
        y.copy_from_slice(&lanes[..y.len()]);
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(self.0.mul_add(factor.0, addend.0))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.sqrt())
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.abs())
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        let (a, b) = (self.0.to_array(), other.0.to_array());
        Self(wide::f32x16::new(select(a, b, |a, b| a < b)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        let (a, b) = (self.0.to_array(), other.0.to_array());
        Self(wide::f32x16::new(select(a, b, |a, b| a > b)))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        sum_by_halving(self.0.to_array())
    }

    #[inline(always)]
    fn sums<const N: usize>(vectors: [Self; N]) -> [f64; N] {
        each(vectors, |vector| sum_by_halving(each(vector.0.to_array(), f64::from)))
    }

    #[inline(always)]
    fn equal(self, other: Self) -> u16 {
        let (a, b) = (self.0.to_array(), other.0.to_array());
        bits(|i| a[i] == b[i])
    }
}

/// The result of a rule for each index. `core::array::from_fn` and `map` do the same, but the compiler may not inline them,
/// even in a release build: `sums` of eight rows called `map`. Lanes then go through memory.
#[inline(always)]
fn generate<T: Copy, const N: usize>(rule: impl Fn(usize) -> T) -> [T; N] {
    let mut all = [rule(0); N];
    for i in 1..N {
        all[i] = rule(i);
    }
    all
}

/// The result of a rule for each element.
#[inline(always)]
fn each<T: Copy, U: Copy, const N: usize>(elements: [T; N], rule: impl Fn(T) -> U) -> [U; N] {
    generate(|i| rule(elements[i]))
}

/// The lane of `a` where the predicate holds, else the lane of `b`. Every lane is written, so that the loop compiles to vector
/// minima and maxima. Where only the lanes of `b` were written, LLVM made branches of the loop in the longer kernels.
///
/// `docs/performance.md` has the gain ("minima and maxima that write every lane") and what the blend of `wide` takes.
#[inline(always)]
fn select<T: Copy>(a: [T; LANES], b: [T; LANES], first: impl Fn(T, T) -> bool) -> [T; LANES] {
    generate(|i| if first(a[i], b[i]) { a[i] } else { b[i] })
}

/// A bit for each lane of which the predicate holds.
#[inline(always)]
fn bits(holds: impl Fn(usize) -> bool) -> u16 {
    (0..LANES).fold(0, |bits, i| bits | u16::from(holds(i)) << i)
}

/// Sixteen lanes of f64.
#[derive(Clone, Copy)]
pub(crate) struct F64([wide::f64x8; 2]);

impl F64 {
    #[inline(always)]
    fn new(lanes: [f64; LANES]) -> Self {
        let (halves, _) = lanes.as_chunks::<8>();
        Self([wide::f64x8::new(halves[0]), wide::f64x8::new(halves[1])])
    }

    #[inline(always)]
    fn to_array(self) -> [f64; LANES] {
        let halves = each(self.0, wide::f64x8::to_array);
        generate(|i| halves[i / 8][i % 8])
    }
}

impl Float for F64 {
    type Token = Portable;
    type Elem = f64;

    #[inline(always)]
    fn splat(_: Portable, x: f64) -> Self {
        Self([wide::f64x8::splat(x); 2])
    }

    #[inline(always)]
    fn load(_: Portable, x: &[f32; LANES]) -> Self {
        Self::new(each(*x, f64::from))
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
    fn load_partial(_: Portable, x: &[f32], fill: f64) -> Self {
        let mut lanes = [fill; LANES];
        for (lane, &x) in lanes[..x.len()].iter_mut().zip(x) {
            *lane = f64::from(x);
        }
        Self::new(lanes)
    }

    #[inline(always)]
    fn store(self, y: &mut [MaybeUninit<f32>; LANES]) {
        *y = each(self.to_array(), |lane| MaybeUninit::new(lane as f32));
    }

    #[inline(always)]
    fn stream(self, y: &mut Line) {
        self.store(&mut y.0);
    }

    #[inline(always)]
    fn store_partial(self, y: &mut [MaybeUninit<f32>]) {
        let lanes = each(self.to_array(), |lane| MaybeUninit::new(lane as f32));
        y.copy_from_slice(&lanes[..y.len()]);
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        let [a, b] = self.0;
        Self([a.mul_add(factor.0[0], addend.0[0]), b.mul_add(factor.0[1], addend.0[1])])
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(each(self.0, wide::f64x8::sqrt))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self(each(self.0, wide::f64x8::abs))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self::new(select(self.to_array(), other.to_array(), |a, b| a < b))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self::new(select(self.to_array(), other.to_array(), |a, b| a > b))
    }

    #[inline(always)]
    fn sum(self) -> f64 {
        sum_by_halving(self.to_array())
    }

    #[inline(always)]
    fn sums<const N: usize>(vectors: [Self; N]) -> [f64; N] {
        each(vectors, Self::sum)
    }

    #[inline(always)]
    fn equal(self, other: Self) -> u16 {
        let (a, b) = (self.to_array(), other.to_array());
        bits(|i| a[i] == b[i])
    }
}

impl Single for F32 {
    #[inline(always)]
    fn scale(self, n: Self) -> Self {
        // The lowest bits of the sum are n. The shift keeps nothing else of it.
        const WHOLE: f32 = 1.5 * (1 << 23) as f32;
        let power = |n: f32| ((n + WHOLE).to_bits() << 23).wrapping_add(1.0_f32.to_bits());
        let powers = each(n.0.to_array(), |n| f32::from_bits(power(n)));
        self * Self(wide::f32x16::new(powers))
    }
}

impl Double for F64 {
    type Single = F32;

    #[inline(always)]
    fn widen(x: F32) -> Self {
        Self::new(each(x.0.to_array(), f64::from))
    }

    #[inline(always)]
    fn narrow(self) -> F32 {
        F32(wide::f32x16::new(each(self.to_array(), |lane| lane as f32)))
    }

    #[inline(always)]
    fn load_f64(_: Portable, x: &[f64; LANES]) -> Self {
        Self::new(*x)
    }

    #[inline(always)]
    fn store_f64(self, y: &mut [f64; LANES]) {
        *y = self.to_array();
    }

    #[inline(always)]
    fn less_or_equal(self, other: Self) -> u16 {
        let (a, b) = (self.to_array(), other.to_array());
        bits(|i| a[i] <= b[i])
    }
}

/// Eight lanes of u64.
#[derive(Clone, Copy)]
pub(crate) struct U64(wide::u64x8);

impl Add for U64 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl BitXor for U64 {
    type Output = Self;
    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
}

impl Word for U64 {
    type Token = Portable;
    type Keep = LaneMask;

    #[inline(always)]
    fn new(_: Portable, lanes: [u64; 8]) -> Self {
        Self(wide::u64x8::new(lanes))
    }

    #[inline(always)]
    fn to_array(self) -> [u64; 8] {
        self.0.to_array()
    }

    #[inline(always)]
    fn shift_left<const LEFT: u32>(self) -> Self {
        Self(self.0 << LEFT)
    }

    #[inline(always)]
    fn rotate_left<const LEFT: u32, const RIGHT: u32>(self) -> Self {
        Self((self.0 << LEFT) | (self.0 >> RIGHT))
    }

    #[inline(always)]
    fn keep_16(self, least: i16) -> [LaneMask; 2] {
        let mut keep = [[0; LANES]; 2];
        for (lane, bits) in self.to_array().into_iter().enumerate() {
            for part in 0..4 {
                let i = 4 * lane + part;
                let kept = (bits >> (16 * part)) as i16 >= least;
                keep[i / LANES][i % LANES] = u32::from(kept).wrapping_neg();
            }
        }
        each(keep, LaneMask)
    }

    #[inline(always)]
    fn keep_32(self, least: i32) -> LaneMask {
        let mut keep = [0; LANES];
        for (lane, bits) in self.to_array().into_iter().enumerate() {
            for part in 0..2 {
                let kept = (bits >> (32 * part)) as i32 >= least;
                keep[2 * lane + part] = u32::from(kept).wrapping_neg();
            }
        }
        LaneMask(keep)
    }
}

/// A choice among 16 lanes: all bits of the lanes that are chosen.
#[derive(Clone, Copy)]
pub(crate) struct LaneMask([u32; LANES]);

impl Keep for LaneMask {
    type Token = Portable;
    type Values = F32;

    #[inline(always)]
    fn from_bits(_: Portable, bits: u16) -> Self {
        Self(generate(|i| u32::from(bits >> i & 1).wrapping_neg()))
    }

    #[inline(always)]
    fn to_bits(self) -> u16 {
        bits(|i| self.0[i] != 0)
    }

    #[inline(always)]
    fn or_zero(self, value: F32) -> F32 {
        let value = value.0.to_array();
        let kept = |i: usize| f32::from_bits(value[i].to_bits() & self.0[i]);
        F32(wide::f32x16::new(generate(kept)))
    }
}
