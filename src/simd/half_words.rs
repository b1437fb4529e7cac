//! Formats of 16 bits as words, with the bits of the crate `half`, NaN and subnormal numbers among them.
//!
//! The functions are the definition. Loops over them are vectorised by the compiler, in the function of the backend that they are inlined
//! into. Their arithmetic is on integers, but for a sum and a difference in f16, which meet no subnormal number: a floating-point
//! environment that flushes those changes nothing.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;

/// A NaN with this bit is a quiet one.
const QUIET: u32 = 0x0040_0000;
/// The bits of infinity: those of a NaN are greater.
const INFINITE: u32 = 0x7f80_0000;

/// The f32 that the bits of a bf16 are.
#[inline(always)]
pub(super) fn from_bf16(bits: u16) -> u32 {
    let wide = u32::from(bits) << 16;
    if wide & 0x7fff_ffff > INFINITE { wide | QUIET } else { wide }
}

/// The bf16 next to an f32, the even one of two.
#[inline(always)]
pub(super) fn to_bf16(x: u32) -> u16 {
    // A carry into the exponent is right: the next greater number, or infinity.
    let rounded = x.wrapping_add(0x7fff + ((x >> 16) & 1));
    let bits = if x & 0x7fff_ffff > INFINITE { x | QUIET } else { rounded };
    (bits >> 16) as u16
}

/// The exponent of f32 is greater than that of f16 by so much, in the bits of an f32.
const BIAS: u32 = (127 - 15) << 23;
/// 2^-14 as an f32: the least f16 that is not subnormal.
const LEAST: u32 = BIAS + (1 << 23);

/// The f32 that the bits of an f16 are.
#[inline(always)]
pub(super) fn from_f16(bits: u16) -> u32 {
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let normal = magnitude + BIAS;
    // The greatest exponent stays the greatest.
    let infinite = magnitude + 2 * BIAS;
    // A subnormal m * 2^-24 is what 2^-14 + m * 2^-24 has more than 2^-14.
    let subnormal = f32::from_bits(magnitude + LEAST) - f32::from_bits(LEAST);
    let mut wide = if magnitude < 1 << 23 { subnormal.to_bits() } else { normal };
    wide = if magnitude >= 0x1f << 23 { infinite } else { wide };
    wide = if magnitude > 0x1f << 23 { wide | QUIET } else { wide };
    wide | u32::from(bits & 0x8000) << 16
}

/// The f16 next to an f32, the even one of two; infinite from 65520 on.
#[inline(always)]
pub(super) fn to_f16(x: u32) -> u16 {
    /// 0.5: its last bit is 2^-24, as that of subnormal f16 is, so that a sum with it rounds to them.
    const HALF: u32 = 126 << 23;
    /// 2^16
    const TOO_LARGE: u32 = (127 + 16) << 23;
    let magnitude = x & 0x7fff_ffff;
    let subnormal = (f32::from_bits(magnitude) + f32::from_bits(HALF)).to_bits().wrapping_sub(HALF);
    let rounded = magnitude.wrapping_sub(BIAS).wrapping_add(0xfff + ((magnitude >> 13) & 1)) >> 13;
    let mut bits = if magnitude < LEAST { subnormal } else { rounded };
    bits = if magnitude >= TOO_LARGE { 0x7c00 } else { bits };
    let nan = 0x7e00 | (magnitude >> 13) & 0x3ff;
    bits = if magnitude > INFINITE { nan } else { bits };
    (bits | (x >> 16) & 0x8000) as u16
}

/// Widens all of `x`.
#[inline(always)]
pub(super) fn widen_each(x: &[u16], y: &mut [f32], from: impl Fn(u16) -> u32) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f32::from_bits(from(x));
    }
}

/// Narrows all of `x`.
#[inline(always)]
pub(super) fn narrow_each(x: &[f32], y: &mut [MaybeUninit<u16>], to: impl Fn(u32) -> u16) {
    for (y, &x) in y.iter_mut().zip(x) {
        y.write(to(x.to_bits()));
    }
}
