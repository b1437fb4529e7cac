//! The gate of gated normalisation: silu(z) = z / (1 + exp(-z)), also called swish.
//!
//! The plain algorithm, with t = exp(-|z|), which cannot overflow:
//!
//! ```text
//! silu(z) = max(z, 0) - |z| * t / (1 + t)
//! ```
//!
//! * **No branch, no select**: this is z / (1 + t) where z >= 0, and z * t / (1 + t) where it is not. What is subtracted is at
//!   most half of z, so that nothing cancels. A NaN is in max(z, 0).
//! * **exp by parts**: exp(-|z|) = 2^n * exp(-s), with whole n and |s| <= ln(2) / 2. ln(2) is two numbers, so that s is exact
//!   but for a rounding; the first has few enough bits that n times it is exact without a fused multiply-add too.
//! * **The polynomial of degree 6 that is nearest to exp(-s)** (Remez): 1.9e-9, a thirtieth of a rounding.
//! * **2^n in two steps**: below 2^-126, one has no f32. The second comes last, so that the result is rounded once where it is
//!   subnormal.
//!
//! Counted: the one division takes AVX-512 16 cycles for 16 elements, in which the other 21 operations are done. Without it (a cubic
//! that is within 1/577 of the inverse, and 1 + e + e^2 for what is missing, e) there are 26, and AVX2, whose divisions take less
//! than the rest, loses by it. What was measured is in `benches/BENCHMARKING.md`.
//!
//! Together the relative error is at most 3e-7, which `tests/proof/variants.rs` asserts for one in 40009 of all f32.
#![forbid(unsafe_code)]

use crate::simd::{Float, Simd, Single};

/// silu of every lane.
#[inline(always)]
pub(crate) fn silu<S: Simd>(token: S, z: S::F32) -> S::F32 {
    // Of a NaN some number.
    let size = z.abs().min(splat(token, LARGEST_GATE));

    // Adding and subtracting this leaves the nearest whole number.
    let whole = splat(token, 1.5 * (1 << 23) as f32);
    let n = size.mul_add(splat(token, -core::f32::consts::LOG2_E), whole) - whole;
    let s = n.mul_add(splat(token, LN_2[1]), n.mul_add(splat(token, LN_2[0]), size));
    let mut exp = splat(token, EXP[0]);
    for coefficient in &EXP[1..] {
        exp = exp.mul_add(s, splat(token, *coefficient));
    }
    let first = n.max(splat(token, SMALLEST_POWER));
    let exp = exp.scale(first);

    let numerator = (size * exp).scale(n - first);
    splat(token, 0.0).max(z) - numerator / (exp + splat(token, 1.0))
}

/// Where z is less than minus this, silu(z) rounds to zero, and so does silu of minus this: it counts as this.
const LARGEST_GATE: f32 = 110.0;

/// ln(2) as two numbers, the first of them of nine bits.
const LN_2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];

/// Of exp(-s), from s^6 down.
const EXP: [f32; 7] =
    [1.383_684_6e-3, -8.374_816e-3, 4.166_822_5e-2, -0.166_664_2, 0.499_999_9, -1.0, 1.0];

/// n from here on is taken in two steps.
const SMALLEST_POWER: f32 = -100.0;

#[inline(always)]
fn splat<S: Simd>(token: S, x: f32) -> S::F32 {
    S::F32::splat(token, x)
}
