//! Plain scalar code that vectors are compared with: its operations, the inputs, and comparisons of bits.
#![forbid(unsafe_code)]

use core::array::from_fn;
use core::fmt::{Arguments, Debug};
use core::hint::black_box;
use core::ops::{Add, Div, Mul, Sub};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::simd::contract::{Double, Float, LANES, Real, Simd};

/// What a vector does in one lane, in plain scalar code.
pub(super) trait Scalar:
    Real
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    /// The vector of such lanes.
    type Vector<S: Simd>: Float<Token = S, Elem = Self>;
    /// The distance from 1 to the next number.
    const EPSILON: Self;
    /// Numbers with which arithmetic may go wrong, more of them than lanes.
    fn named() -> Vec<Self>;
    /// `self * factor + addend`, rounded once.
    fn fused(self, factor: Self, addend: Self) -> Self;
    /// The square root.
    fn root(self) -> Self;
    /// Without the sign.
    fn magnitude(self) -> Self;

    fn vector<S: Simd>(token: S, lanes: [Self; LANES]) -> Self::Vector<S>;
    fn lanes<S: Simd>(vector: Self::Vector<S>) -> [Self; LANES];
}

pub(super) type Lanes<E> = [E; LANES];
pub(super) type Vector<E, S> = <E as Scalar>::Vector<S>;

impl Scalar for f32 {
    type Vector<S: Simd> = S::F32;
    const EPSILON: Self = f32::EPSILON;

    fn named() -> Vec<Self> {
        let (least, subnormal) = (f32::from_bits(1), f32::MIN_POSITIVE - f32::from_bits(1));
        let (above, below) = (1.0 + f32::EPSILON, 1.0 - f32::EPSILON / 2.0);
        let mut named = vec![0.0, -0.0, 1.0, above, below, -0.1, 3.0];
        named.extend([least, -subnormal, f32::MIN_POSITIVE, 1e30, -1e-30, f32::MAX, f32::MIN]);
        named.extend([f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
        named
    }
    fn fused(self, factor: Self, addend: Self) -> Self {
        self.mul_add(factor, addend)
    }
    fn root(self) -> Self {
        self.sqrt()
    }
    fn magnitude(self) -> Self {
        self.abs()
    }
    #[inline(always)]
    fn vector<S: Simd>(token: S, lanes: [Self; LANES]) -> S::F32 {
        S::F32::load(token, &black_box(lanes))
    }
    #[inline(always)]
    fn lanes<S: Simd>(vector: S::F32) -> [Self; LANES] {
        stored(vector)
    }
}

impl Scalar for f64 {
    type Vector<S: Simd> = S::F64;
    const EPSILON: Self = f64::EPSILON;

    fn named() -> Vec<Self> {
        let (ulp, max) = (f64::from(f32::EPSILON), f64::from(f32::MAX));
        let mut named: Vec<_> = f32::named().into_iter().map(f64::from).collect();
        // Halfway between two f32: to even, which is down and up; and just off halfway.
        named.extend([1.0 + 0.5 * ulp, 1.0 + 1.5 * ulp, 1.0 + 0.5 * ulp + f64::EPSILON]);
        // Halfway from f32::MAX to what would be next: infinite in f32; and less than halfway.
        named.extend([max * (1.0 + 0.25 * ulp), max * (1.0 + 0.125 * ulp)]);
        // Subnormal in f32, below half of its least, and nowhere near it.
        named.extend([-1.234e-41, -1e-46, f64::MIN_POSITIVE, f64::from_bits(1), 1e300, f64::MIN]);
        named
    }
    fn fused(self, factor: Self, addend: Self) -> Self {
        self.mul_add(factor, addend)
    }
    fn root(self) -> Self {
        self.sqrt()
    }
    fn magnitude(self) -> Self {
        self.abs()
    }
    #[inline(always)]
    fn vector<S: Simd>(token: S, lanes: [Self; LANES]) -> S::F64 {
        S::F64::load_f64(token, &black_box(lanes))
    }
    #[inline(always)]
    fn lanes<S: Simd>(vector: S::F64) -> [Self; LANES] {
        let mut y = [0.0; LANES];
        vector.store_f64(&mut y);
        y
    }
}

/// The linear congruential generator of Knuth's MMIX.
pub(super) struct Lcg(pub(super) u64);

impl Lcg {
    /// One of 0 to `n - 1`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((u128::from(self.0) * u128::from(n)) >> 64) as u64
    }

    /// Either sign, random digits, a magnitude of 2^-20 to 2^20.
    pub(super) fn number<E: Real>(&mut self) -> E {
        let (sign, exponent) = (self.below(2) << 63, (1023 - 20 + self.below(41)) << 52);
        E::from_f64(f64::from_bits(sign | exponent | self.below(1 << 52)))
    }

    pub(super) fn lanes<E: Real>(&mut self) -> Lanes<E> {
        from_fn(|_| self.number())
    }
}

/// The named numbers, each of them in each lane.
pub(super) fn rotations<E: Scalar>() -> Vec<Lanes<E>> {
    let named = E::named();
    (0..named.len()).map(|k| from_fn(|i| named[(k + i) % named.len()])).collect()
}

/// Lanes of all kinds.
pub(super) fn inputs<E: Scalar>() -> Vec<Lanes<E>> {
    let mut lcg = Lcg(1);
    let mut inputs = rotations();
    for (k, named) in E::named().into_iter().enumerate() {
        let mut with_named = lcg.lanes();
        with_named[k % LANES] = named;
        inputs.extend([[named; LANES], with_named, lcg.lanes(), lcg.lanes()]);
    }
    inputs
}

/// Every pair of two of these.
pub(super) fn pairs<E: Scalar>(lanes: &[Lanes<E>]) -> impl Iterator<Item = (Lanes<E>, Lanes<E>)> {
    lanes.iter().flat_map(|&a| lanes.iter().map(move |&b| (a, b)))
}

/// The value of memory that must not be written: a NaN that no arithmetic makes.
pub(super) const SENTINEL: f32 = f32::from_bits(0x7fc5_a5a5);

/// Whether the bits are the same; NaN equals NaN.
pub(super) fn same<E: Real>(a: E, b: E) -> bool {
    let (a, b) = (a.to_f64(), b.to_f64());
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// The same for memory; the sentinel equals no other NaN.
pub(super) fn same_memory(a: &[f32], b: &[f32]) -> bool {
    let sentinel = |x: f32| x.to_bits() == SENTINEL.to_bits();
    let alike = |(&a, &b): (&f32, &f32)| same(a, b) && sentinel(a) == sentinel(b);
    a.len() == b.len() && a.iter().zip(b).all(alike)
}

pub(super) fn from_f32<E: Real>(x: f32) -> E {
    E::from_f64(f64::from(x))
}

pub(super) fn to_f32<E: Real>(x: E) -> f32 {
    x.to_f64() as f32
}

#[inline(always)]
pub(super) fn stored<V: Float>(vector: V) -> [f32; LANES] {
    let mut y = [SENTINEL; LANES];
    vector.store_init(&mut y);
    y
}

#[inline(always)]
pub(super) fn assert_lanes<E: Scalar, S: Simd>(
    _: S,
    got: Vector<E, S>,
    expected: Lanes<E>,
    what: Arguments,
) {
    let got = E::lanes::<S>(got);
    let same = got.iter().zip(&expected).all(|(&got, &expected)| same(got, expected));
    assert!(same, "{what}: got {got:?}, expected {expected:?}");
}

/// Bit `i` is whether the predicate holds of lane `i`.
pub(super) fn bits<E: Scalar>(a: Lanes<E>, b: Lanes<E>, holds: impl Fn(&E, &E) -> bool) -> u16 {
    (0..LANES).map(|i| u16::from(holds(&a[i], &b[i])) << i).sum()
}

/// Lane `i` plus lane `i + 8`, then `i + 4`, `i + 2`, `i + 1`.
pub(super) fn halved<E: Scalar>(lanes: Lanes<E>) -> E {
    let mut sums = lanes.to_vec();
    while sums.len() > 1 {
        let (low, high) = sums.split_at(sums.len() / 2);
        sums = low.iter().zip(high).map(|(&low, &high)| low + high).collect();
    }
    sums[0]
}

pub(super) fn panics<T>(action: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(action)).is_err()
}

/// `len` different numbers, in memory that exists even for none. qemu's AVX2 reads the lanes that a masked load masks
/// off, also at the address 4 of an empty `Vec`.
pub(super) fn numbers(len: usize) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(len + LANES);
    numbers.extend((0..len).map(|i| i as f32 + 0.5));
    black_box(numbers)
}

pub(super) fn minus(x: &[f32]) -> Vec<f32> {
    x.iter().map(|x| -x).collect()
}
