//! The moments of columns, sixteen at a time, merged by the rule of Chan, Golub and LeVeque.
//!
//! No division is spent: the row counts of both sides are the same for all columns, so the weights are two scalars.
#![forbid(unsafe_code)]

use crate::kernels::lanes::Lanes64;
use crate::simd::{Double, Float, Simd};

/// Merges the moments of `count.1` rows into those of `count.0` rows that come before them.
#[inline(always)]
pub(crate) fn merge_columns<S: Simd>(
    token: S,
    count: (usize, usize),
    (mean, m2): (&mut [Lanes64], &mut [Lanes64]),
    (other_mean, other_m2): (&[Lanes64], &[Lanes64]),
) {
    let (a, b) = (count.0 as f64, count.1 as f64);
    let n = a + b;
    let mean_weight = S::F64::splat(token, b / n);
    let m2_weight = S::F64::splat(token, a * b / n);
    for i in 0..mean.len() {
        let mean_a = S::F64::load_f64(token, &mean[i]);
        let delta = S::F64::load_f64(token, &other_mean[i]) - mean_a;
        let sum = S::F64::load_f64(token, &m2[i]) + S::F64::load_f64(token, &other_m2[i]);
        delta.mul_add(mean_weight, mean_a).store_f64(&mut mean[i]);
        (delta * delta).mul_add(m2_weight, sum).store_f64(&mut m2[i]);
    }
}
