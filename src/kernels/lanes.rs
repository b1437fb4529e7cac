//! Sixteen lanes: the f64 of a vector of columns, tails, and 1 / sqrt(var + eps).
#![forbid(unsafe_code)]

use crate::simd::{Double, Float, LANES, Simd};

/// Sixteen f64, one for each lane of a vector of columns.
pub(crate) type Lanes64 = [f64; LANES];

/// A bit for each lane that is a column, where `columns` are left.
#[inline(always)]
pub(crate) fn lanes_below(columns: usize) -> u16 {
    if columns >= LANES { u16::MAX } else { (1 << columns) - 1 }
}

/// Columns `16 * vector` and up of a row: sixteen, or as many as there are.
#[inline(always)]
pub(crate) fn load_columns<V: Float>(
    token: V::Token,
    row: &[f32],
    vector: usize,
    fill: V::Elem,
) -> V {
    let (vectors, tail) = row.as_chunks::<LANES>();
    match vectors.get(vector) {
        Some(vector) => V::load(token, vector),
        None => V::load_partial(token, tail, fill),
    }
}

/// Vector `i` of `x`: sixteen elements, or those that there are, and `fill`.
#[inline(always)]
pub(crate) fn load_f64<S: Simd>(token: S, x: &[f64], i: usize, fill: f64) -> S::F64 {
    let (vectors, tail) = x.as_chunks::<LANES>();
    if let Some(vector) = vectors.get(i) {
        return S::F64::load_f64(token, vector);
    }
    let mut lanes: Lanes64 = [fill; LANES];
    lanes[..tail.len()].copy_from_slice(tail);
    S::F64::load_f64(token, &lanes)
}

/// `value` in the lanes whose bit is set.
#[inline(always)]
pub(crate) fn replace<S: Simd>(token: S, vector: S::F64, bits: u16, value: f64) -> S::F64 {
    let mut lanes = [0.0; LANES];
    vector.store_f64(&mut lanes);
    for (i, lane) in lanes.iter_mut().enumerate() {
        if bits >> i & 1 == 1 {
            *lane = value;
        }
    }
    S::F64::load_f64(token, &lanes)
}

/// 1 / sqrt(var + eps), and 0 where that is 1 / 0.
#[inline(always)]
pub(crate) fn rstd(var: f64, eps: f64) -> f64 {
    let var = var + eps;
    // A select, not a branch. NaN stays NaN.
    if var == 0.0 { 0.0 } else { 1.0 / var.sqrt() }
}

/// The same of every lane.
#[inline(always)]
pub(crate) fn rstd_lanes<S: Simd>(token: S, var: S::F64, eps: f64) -> S::F64 {
    let zero = S::F64::splat(token, 0.0);
    let var = var + S::F64::splat(token, eps);
    let rstd = S::F64::splat(token, 1.0) / var.sqrt();
    let bits = var.equal(zero);
    if bits == 0 { rstd } else { replace(token, rstd, bits, 0.0) }
}
