//! The functions of gates: silu(z) = z / (1 + exp(-z)), also called swish, and sigmoid(z) = 1 / (1 + exp(-z)).
//!
//! The plain algorithm, with t = exp(-|z|), which cannot overflow:
//!
//! ```text
//! silu(z)    = max(z, 0) - |z| * t / (1 + t)
//! sigmoid(z) = max(t, step) / (1 + t)         with step = 1 where z > 0, and 0 where it is not
//! ```
//!
//! * **No branch, no select**: silu is z / (1 + t) where z >= 0, and z * t / (1 + t) where it is not. What is subtracted is at
//!   most half of z, so that nothing cancels. A NaN is in max(z, 0), and in the step. The step is z * 2^127 between 0 and 1: less
//!   than 1 only where z is subnormal, and there t is 1.
//! * **exp by parts**: exp(-|z|) = 2^n * exp(-s), with whole n and |s| <= ln(2) / 2. ln(2) is two numbers, so that s is exact
//!   but for a rounding; the first has few enough bits that n times it is exact without a fused multiply-add too.
//! * **The polynomial of degree 6 that is nearest to exp(-s)** (Remez): 1.9e-9, a thirtieth of a rounding.
//! * **2^n in two steps**: below 2^-126, one has no f32. The second comes last, so that the result is rounded once where it is
//!   subnormal.
//!
//! Counted: the one division takes AVX-512 16 cycles for 16 elements, in which the other 21 operations are done. Without it (a cubic
//! that is within 1/577 of the inverse, and 1 + e + e^2 for what is missing, e) there are 26, and AVX2, whose divisions take less
//! than the rest, loses by it. What was measured is in `docs/performance.md`, under "What did not help".
//!
//! Together the relative error of each is at most 3e-7, which `tests/proof/gates.rs` asserts for one in 40009 of all f32.
#![forbid(unsafe_code)]

use crate::gate::GateFunction;
use crate::simd::{Float, Simd, Single};

/// The function of every lane.
#[inline(always)]
pub(crate) fn gate<S: Simd>(token: S, function: GateFunction, z: S::F32) -> S::F32 {
    let Exp { size, n, first, exp } = Exp::new(token, z);
    let (zero, one) = (splat(token, 0.0), splat(token, 1.0));
    match function {
        GateFunction::Silu => {
            let numerator = (size * exp).scale(n - first);
            zero.max(z) - numerator / (exp + one)
        }
        GateFunction::Sigmoid => exp.scale(n - first).max(step(token, z)) / (exp + one),
    }
}

/// The function of every lane and its derivative, with one division for both. With `s = sigmoid(z)` and `s' = t / (1 + t)^2`,
/// in which nothing cancels, the derivatives are `s + z * s'` and `s'`. The function may differ from [`gate`]'s by a rounding.
#[inline(always)]
pub(super) fn gate_and_slope<S: Simd>(
    token: S,
    function: GateFunction,
    z: S::F32,
) -> (S::F32, S::F32) {
    let Exp { size, n, first, exp } = Exp::new(token, z);
    let (zero, one) = (splat(token, 0.0), splat(token, 1.0));
    let inverse = one / (exp + one);
    let t = exp.scale(n - first);
    let sigmoid = t.max(step(token, z)) * inverse;
    match function {
        GateFunction::Silu => {
            // z, but an infinite one has a finite derivative. Times t, with t rounded last.
            let bounded = z.min(size).max(zero - size);
            let product = (bounded * exp).scale(n - first) * inverse;
            (zero.max(z) - product.abs(), product.mul_add(inverse, sigmoid))
        }
        // sigmoid(z) * sigmoid(-z): a NaN is in both, and in t it is not.
        GateFunction::Sigmoid => (sigmoid, sigmoid * (t.max(step(token, zero - z)) * inverse)),
    }
}

/// exp(-|z|), which is `exp * 2^(n - first)`.
struct Exp<V> {
    /// |z|, where it is not too large to matter; of a NaN some number.
    size: V,
    n: V,
    first: V,
    exp: V,
}

impl<V: Single> Exp<V> {
    #[inline(always)]
    fn new<S: Simd<F32 = V>>(token: S, z: V) -> Self {
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
        Self { size, n, first, exp: exp.scale(first) }
    }
}

/// 1 where z is a positive number, 0 where it is not, NaN of a NaN.
#[inline(always)]
fn step<S: Simd>(token: S, z: S::F32) -> S::F32 {
    // Of a NaN both choose it.
    splat(token, 1.0).min(splat(token, 0.0).max(z * splat(token, LARGEST_POWER)))
}

/// Where z is less than minus this, both functions round to zero, and so do they at minus this: it counts as this.
const LARGEST_GATE: f32 = 110.0;

/// ln(2) as two numbers, the first of them of nine bits.
const LN_2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];

/// Of exp(-s), from s^6 down.
const EXP: [f32; 7] =
    [1.383_684_6e-3, -8.374_816e-3, 4.166_822_5e-2, -0.166_664_2, 0.499_999_9, -1.0, 1.0];

/// Times this, every normal number is 1 or more.
const LARGEST_POWER: f32 = f32::from_bits(0x7f00_0000);

/// n from here on is taken in two steps.
const SMALLEST_POWER: f32 = -100.0;

#[inline(always)]
fn splat<S: Simd>(token: S, x: f32) -> S::F32 {
    S::F32::splat(token, x)
}
