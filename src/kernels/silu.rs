//! The gate of gated normalisation: silu(z) = z / (1 + exp(-z)), also called swish.
//!
//! The plain algorithm, with t = exp(-|z|), which cannot overflow:
//!
//! ```text
//! silu(z) = z / (1 + t) where z >= 0, else z * t / (1 + t)
//! ```
//!
//! * **exp by parts**: exp(-|z|) = 2^n * exp(r), with whole n and |r| <= ln(2) / 2. ln(2) is two numbers, so that r is exact
//!   but for a rounding; the first has few enough bits that n times it is exact without a fused multiply-add too.
//! * **Taylor's series to r^7** for exp(r): the first term left out is 5e-9 at most, a twelfth of a rounding.
//! * **No branch, no select**: of max(z, 0) and min(z, 0) one is 0, so that the numerator is the sum of both cases. A NaN is
//!   in both.
//! * **2^n in two steps**: below 2^-126, one has no f32. The result is rounded once where it is subnormal.
//!
//! Together the relative error is at most 4e-7, which `tests/proof/variants.rs` asserts for one in 40009 of all f32.
#![forbid(unsafe_code)]

use crate::simd::{Float, Simd, Single};

/// Where z is less than minus this, silu(z) rounds to zero, and so does silu of minus this: it counts as this.
const LARGEST: f32 = 110.0;

/// ln(2) as two numbers, the first of them of nine bits.
const LN_2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];

/// 1 / k!, from k = 7 down.
const INVERSE_FACTORIALS: [f32; 8] =
    [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];

/// n from here on is taken in two steps.
const SMALLEST_POWER: f32 = -100.0;

#[inline(always)]
fn splat<S: Simd>(token: S, x: f32) -> S::F32 {
    S::F32::splat(token, x)
}

/// silu of every lane.
#[inline(always)]
pub(crate) fn silu<S: Simd>(token: S, z: S::F32) -> S::F32 {
    let (zero, one) = (splat::<S>(token, 0.0), splat::<S>(token, 1.0));
    // Of a NaN some number: z brings the NaN back.
    let minus = zero - z.abs().min(splat::<S>(token, LARGEST));

    // Adding and subtracting this leaves the nearest whole number.
    let whole = splat::<S>(token, 1.5 * (1 << 23) as f32);
    let n = minus.mul_add(splat::<S>(token, core::f32::consts::LOG2_E), whole) - whole;
    let r = n.mul_add(splat::<S>(token, -LN_2[1]), n.mul_add(splat::<S>(token, -LN_2[0]), minus));
    let mut exp = splat::<S>(token, INVERSE_FACTORIALS[0]);
    for coefficient in &INVERSE_FACTORIALS[1..] {
        exp = exp.mul_add(r, splat::<S>(token, *coefficient));
    }
    let first = n.max(splat::<S>(token, SMALLEST_POWER));
    let (power, rest) = (first.power_of_two(), (n - first).power_of_two());

    let low = exp * power;
    let negative = splat::<S>(token, -LARGEST).max(zero.min(z));
    let numerator = zero.max(z) + negative * low * rest;
    numerator / low.mul_add(rest, one)
}
