//! Arithmetic, sums and comparisons.
#![forbid(unsafe_code)]

use core::array::from_fn;

use super::scalar::{
    Lanes, Lcg, Scalar, Vector, assert_lanes, bits, from_f32, halved, inputs, pairs, rotations,
    same,
};
use crate::simd::contract::{Double, Float, LANES, Real, Simd, Single};

#[inline(always)]
pub(super) fn arithmetic<E: Scalar, S: Simd>(token: S) {
    for (a, b) in pairs::<E>(&inputs()) {
        let (x, y) = (E::vector(token, a), E::vector(token, b));
        assert_lanes(token, x + y, from_fn(|i| a[i] + b[i]), format_args!("{a:?} + {b:?}"));
        assert_lanes(token, x - y, from_fn(|i| a[i] - b[i]), format_args!("{a:?} - {b:?}"));
        assert_lanes(token, x * y, from_fn(|i| a[i] * b[i]), format_args!("{a:?} * {b:?}"));
        assert_lanes(token, x / y, from_fn(|i| a[i] / b[i]), format_args!("{a:?} / {b:?}"));
        assert_lanes(token, x.sqrt(), a.map(E::root), format_args!("roots of {a:?}"));
        assert_lanes(token, x.abs(), a.map(E::magnitude), format_args!("{a:?} without signs"));
        let lesser = from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] });
        assert_lanes(token, x.min(y), lesser, format_args!("the lesser of {a:?} and {b:?}"));
        let greater = from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] });
        assert_lanes(token, x.max(y), greater, format_args!("the greater of {a:?} and {b:?}"));
    }
}

#[inline(always)]
pub(super) fn mul_add<E: Scalar, S: Simd>(token: S) {
    let check = |a: Lanes<E>, b: Lanes<E>, c: Lanes<E>| {
        let fused = |i: usize| a[i].fused(b[i], c[i]);
        let expected = from_fn(|i| if S::FUSED { fused(i) } else { a[i] * b[i] + c[i] });
        let got = E::vector(token, a).mul_add(E::vector(token, b), E::vector(token, c));
        assert_lanes(token, got, expected, format_args!("{a:?} * {b:?} + {c:?}"));
    };
    for (a, b) in pairs(&rotations()) {
        for named in E::named() {
            check(a, b, [named; LANES]);
        }
    }
    let mut lcg = Lcg(4);
    for _ in 0..1000 {
        let (a, b) = (lcg.lanes::<E>(), lcg.lanes());
        check(a, b, lcg.lanes());
        // Where the product cancels, one rounding leaves a remainder that two roundings do not.
        check(a, b, from_fn(|i| from_f32::<E>(0.0) - a[i] * b[i]));
    }
}

#[inline(always)]
pub(super) fn sum<E: Scalar, S: Simd>(token: S) {
    for lanes in inputs::<E>() {
        let (got, expected) = (E::vector(token, lanes).sum(), halved(lanes));
        assert!(same(got, expected), "sum of {lanes:?}: {got:?}, expected {expected:?}");
    }
}

#[inline(always)]
pub(super) fn sums<E: Scalar, S: Simd>(token: S) {
    macro_rules! at_once {
        ($($n:literal)+) => { $(sums_of::<E, S, $n>(token);)+ };
    }
    at_once!(1 2 3 4 5 6 7 8 9 12 17);
}

#[inline(always)]
fn sums_of<E: Scalar, S: Simd, const N: usize>(token: S) {
    for some in inputs::<E>().windows(N) {
        let got = Vector::<E, S>::sums::<N>(from_fn(|i| E::vector(token, some[i])));
        for (got, lanes) in got.into_iter().zip(some) {
            let expected = halved(lanes.map(Real::to_f64));
            assert!(same(got, expected), "{N} at once, {lanes:?}: {got}, expected {expected}");
        }
    }
}

#[inline(always)]
pub(super) fn equal<E: Scalar, S: Simd>(token: S) {
    let check = |a: Lanes<E>, b: Lanes<E>| {
        let got = E::vector(token, a).equal(E::vector(token, b));
        assert_eq!(got, bits(a, b, E::eq), "{a:?} == {b:?}");
    };
    for (a, b) in pairs(&inputs()) {
        check(a, b);
        // All the same but for the last digit of one lane.
        for i in 0..LANES {
            let mut b = a;
            b[i] = a[i] + a[i] * E::EPSILON;
            check(a, b);
        }
    }
}

#[inline(always)]
pub(super) fn scale<E: Scalar, S: Simd>(token: S) {
    for x in [1.0, -1.0, 0.0, 1.276_491_2, 110.000_01, 1e-20, -1e-40, f32::MAX] {
        for least in -126..=127 - LANES as i32 + 1 {
            let n: [f32; LANES] = from_fn(|i| (least + i as i32) as f32);
            let got = f32::vector(token, [x; LANES]).scale(f32::vector(token, n));
            // Exact in f64.
            let expected = n.map(|n| (f64::from(x) * 2.0_f64.powi(n as i32)) as f32);
            assert_lanes::<f32, S>(token, got, expected, format_args!("{x} {n:?}"));
        }
    }
}

/// The comparison that f64 lanes alone have. `E` is f64.
#[inline(always)]
pub(super) fn double_arithmetic<E: Scalar, S: Simd>(token: S) {
    for (a, b) in pairs(&inputs::<f64>()) {
        let (x, y) = (f64::vector(token, a), f64::vector(token, b));
        assert_eq!(x.less_or_equal(y), bits(a, b, f64::le), "{a:?} <= {b:?}");
    }
}
