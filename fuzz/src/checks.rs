//! What the reference says of each operation's output. Where a bound applies is said in the crate's docs.
#![forbid(unsafe_code)]

use std::fmt::Arguments;

use arbitrary::Arbitrary;
use evenkeel::{GateFunction, Moments, Stream, reference};

use crate::*;

/// An operation that normalises rows by statistics of their own.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
pub enum RowNorm {
    LayerNorm,
    RmsNorm,
}

/// What the reference says of a row.
pub struct ExactRow {
    mean: f64,
    rstd: f64,
    moments: Option<Exact>,
    finite: bool,
}

impl ExactRow {
    /// The statistics of an empty row are 0.
    pub fn of(operation: RowNorm, row: &[f32], eps: f64) -> Self {
        match operation {
            _ if row.is_empty() => {
                let moments = (operation == RowNorm::LayerNorm).then(|| Exact::of(row));
                Self { mean: 0.0, rstd: 0.0, moments, finite: true }
            }
            RowNorm::LayerNorm => {
                let moments = Exact::of(row);
                let rstd = reference::rstd(moments.var, eps);
                let finite = moments.finite;
                Self { mean: moments.mean, rstd, moments: Some(moments), finite }
            }
            RowNorm::RmsNorm => {
                let rstd = reference::rstd(reference::mean_square(row), eps);
                Self { mean: 0.0, rstd, moments: None, finite: is_finite(row) }
            }
        }
    }

    /// Asserts that y is the row x, normalised.
    pub fn check_output(&self, x: &[f32], y: &[f32], affine: &Affine, what: Arguments<'_>) {
        for i in 0..x.len() {
            if !self.finite {
                assert!(y[i].is_nan(), "{what}, element {i}: expected NaN, got {:e}", y[i]);
                continue;
            }
            let x_hat = (f64::from(x[i]) - self.mean) * self.rstd;
            let what = format_args!("{what}, element {i}");
            check_output(y[i], x_hat, affine.at(i), what);
        }
        if self.moments.is_some_and(|moments| moments.finite && moments.var == 0.0) {
            for (i, &y) in y.iter().enumerate() {
                check_constant(y, affine.at(i), format_args!("{what}, element {i}"));
            }
        }
    }

    /// Asserts that y is the row x, normalised and multiplied with a function of z, within what the documentation says without
    /// beta. With it: what the errors of the normalised element and of the function can make of their product.
    pub fn check_gated(
        &self,
        (x, z): (&[f32], &[f32]),
        function: GateFunction,
        y: &[f32],
        affine: &Affine,
        what: Arguments<'_>,
    ) {
        for i in 0..x.len() {
            let what = format_args!("{what}, element {i}, x {:e}, z {:e}", x[i], z[i]);
            if !self.finite || z[i].is_nan() {
                assert!(y[i].is_nan(), "{what}: expected NaN, got {:e}", y[i]);
                continue;
            }
            let x_hat = (f64::from(x[i]) - self.mean) * self.rstd;
            let factor = match function {
                GateFunction::Sigmoid => reference::sigmoid(z[i]),
                _ if z[i] == f32::NEG_INFINITY => 0.0,
                _ => reference::silu(z[i]),
            };
            let (gamma, beta) = affine.at(i);
            let gamma = gamma.map_or(1.0, f64::from);
            let (parts, expected, bound) = match beta.map(f64::from) {
                None => {
                    let whole = gamma * factor;
                    let bound = OUTPUT * whole.abs() + 2.0 * SUBNORMAL * gamma.abs().max(1.0);
                    ([whole, 0.0], x_hat * whole, bound * x_hat.abs().max(1.0))
                }
                Some(beta) => {
                    let normalized = x_hat * gamma + beta;
                    let error = OUTPUT * (gamma.abs() * x_hat.abs().max(1.0) + beta.abs());
                    let expected = normalized * factor;
                    let bound = (error + SUBNORMAL) * factor.abs()
                        + OUTPUT * expected.abs()
                        + 2.0 * SUBNORMAL * normalized.abs().max(1.0);
                    ([x_hat * gamma, beta], expected, bound)
                }
            };
            let in_range = |value: f64| value.abs() <= LARGEST;
            if [x_hat, gamma, factor, parts[0], parts[1], expected].into_iter().all(in_range) {
                assert_within(Bound::Output, y[i].into(), expected, bound, what);
            }
        }
    }

    /// Asserts that the statistics are right. `RmsNorm` has no mean.
    pub fn check_statistics(&self, mean: f64, rstd: f64, what: Arguments<'_>) {
        check_rstd(rstd, self.rstd, self.finite, what);
        if let Some(moments) = self.moments {
            moments.check_mean(mean, what);
        }
    }
}

/// Asserts that a line's moments are right.
pub fn check_moments(moments: &Moments, exact: &Exact, len: usize, what: Arguments<'_>) {
    if len == 0 {
        return assert_eq!(*moments, Moments::new(), "{what}: of nothing");
    }
    assert_eq!(moments.count, len as u64, "{what}");
    exact.check_mean(moments.mean, what);
    exact.check_variance(moments.population_variance().expect("not empty"), what);
    if exact.finite && exact.var == 0.0 {
        assert_eq!((moments.mean, moments.m2), (exact.mean, 0.0), "{what}: constant");
    }
    let sample = moments.sample_variance().map(|var| var * (len as f64 - 1.0));
    assert_eq!(sample.is_some(), len > 1, "{what}");
    let agrees = |m2: f64| !m2.is_finite() || (m2 - moments.m2).abs() <= 1e-15 * m2;
    assert!(sample.is_none_or(agrees), "{what}: sample variance");
}

/// Asserts that element x of a line with statistics of the caller's became y.
pub fn check_given(
    x: f32,
    y: f32,
    (mean, rstd): (f64, f64),
    affine: (Option<f32>, Option<f32>),
    lines: Lines,
    what: Arguments<'_>,
) {
    let what = format_args!("{what}, x {x:e}, mean {mean:e}, rstd {rstd:e}, affine {affine:?}");
    let (gamma, beta) = (affine.0.unwrap_or(1.0), affine.1.unwrap_or(0.0));
    let coefficient = rstd * f64::from(gamma);
    let is_whole = coefficient.is_normal() || rstd == 0.0 || gamma == 0.0;
    if lines == Lines::Columns && !is_whole {
        return;
    }
    if x.is_nan() || mean.is_nan() || rstd.is_nan() {
        assert!(y.is_nan(), "{what}: expected NaN, got {y:e}");
        return;
    }
    if !mean.is_finite() || !rstd.is_finite() {
        return;
    }
    if f64::from(x) == mean {
        check_constant(y, affine, what);
    }
    if x.is_finite() {
        return check_output(y, (f64::from(x) - mean) * rstd, affine, what);
    }
    let expected = f64::from(x) * rstd * f64::from(gamma) + f64::from(beta);
    assert_eq!(bits(y), bits(expected as f32), "{what}");
}

/// What `BatchNorm` makes of a column in training, beside running statistics.
pub struct Trained<'a> {
    pub x: &'a [f32],
    pub y: &'a [f32],
    pub mean: f64,
    pub rstd: f64,
}

impl Trained<'_> {
    /// Asserts that it is what the reference says.
    pub fn check(
        &self,
        exact: &Exact,
        eps: f64,
        affine: (Option<f32>, Option<f32>),
        what: Arguments<'_>,
    ) {
        exact.check_mean(self.mean, what);
        let rstd = reference::rstd(exact.var, eps);
        check_rstd(self.rstd, rstd, exact.finite, what);
        for (r, (&x, &y)) in self.x.iter().zip(self.y).enumerate() {
            let what = format_args!("{what}, row {r}");
            if !exact.finite {
                assert!(y.is_nan(), "{what}: expected NaN, got {y:e}");
                continue;
            }
            check_output(y, (f64::from(x) - exact.mean) * rstd, affine, what);
            if exact.var == 0.0 {
                check_constant(y, affine, what);
            }
        }
    }
}

/// How running statistics follow those of batches of so many rows.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub momentum: Momentum,
    pub unbiased: bool,
    pub rows: usize,
}

impl Rule {
    /// Asserts that a column's running mean and variance are right after a batch.
    pub fn check(
        &self,
        exact: &Exact,
        (mean, var): (f32, f32),
        (mean_after, var_after): (f32, f32),
        what: Arguments<'_>,
    ) {
        if !exact.finite {
            let both = mean_after.is_nan() && var_after.is_nan();
            assert!(both, "{what}: running statistics: {mean_after:e}, {var_after:e}");
            return;
        }
        let is_variance = var_after >= 0.0 || var_after.is_nan();
        assert!(is_variance, "{what}: negative running variance {var_after:e}");
        let n = self.rows as f64;
        let batch_var = if self.unbiased { exact.var * n / (n - 1.0) } else { exact.var };
        let mean_error = MEAN * exact.var.sqrt() + MEAN_ROUNDING * exact.mean.abs();
        let (keep, take) = self.momentum.weights();
        let check = |before: f32, batch: f64, error: f64, after: f32| {
            let before = f64::from(before);
            let next = keep * before + take * batch;
            let in_f64 = MEAN_ROUNDING * (before.abs() + batch.abs());
            let rounding = 0.5 * f64::from(f32::EPSILON) * next.abs() + SUBNORMAL;
            // 1.000_001, since what is rounded is not `next` itself.
            let bound = take * error + in_f64 + 1.000_001 * rounding;
            if next.abs() <= LARGEST {
                assert_within(Bound::Running, after.into(), next, bound, what);
            }
        };
        check(mean, exact.mean, mean_error, mean_after);
        check(var, batch_var, VARIANCE * batch_var, var_after);
    }
}

/// Asserts that `BatchNorm`'s inference made y of x.
pub fn check_inferred(
    x: f32,
    y: f32,
    (mean, var, eps): (f32, f32, f64),
    affine: (Option<f32>, Option<f32>),
    what: Arguments<'_>,
) {
    let what = format_args!("{what}, x {x:e}, mean {mean:e}, var {var:e}, affine {affine:?}");
    if x.is_nan() || mean.is_nan() || var.is_nan() {
        assert!(y.is_nan(), "{what}: expected NaN, got {y:e}");
    } else if !x.is_finite() {
        assert!(!y.is_finite(), "{what}: expected NaN or infinity, got {y:e}");
    } else if mean.is_finite() && var.is_finite() {
        let rstd = reference::rstd(var.into(), eps);
        let x_hat = (f64::from(x) - f64::from(mean)) * rstd;
        check_output(y, x_hat, affine, what);
    }
}

/// A mask as it is stored.
pub fn store_mask(kept: &[bool], packed: bool) -> Vec<u8> {
    if !packed {
        return kept.iter().map(|&kept| kept.into()).collect();
    }
    let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
    kept.chunks(8).map(byte).collect()
}

/// Bytes of a stored mask.
pub fn mask_len(len: usize, packed: bool) -> usize {
    if packed { len.div_ceil(8) } else { len }
}

/// Element i of a stored mask.
pub fn is_kept(mask: &[u8], packed: bool, i: usize) -> bool {
    if packed { mask[i / 8] >> (i % 8) & 1 == 1 } else { mask[i] != 0 }
}

/// Which elements the definition keeps.
pub fn defined_mask(p: f64, stream: Stream, len: usize) -> Vec<bool> {
    if p == 0.0 || p == 1.0 {
        return vec![p == 0.0; len];
    }
    reference::dropout_mask(p, stream.seed, stream.offset, len)
}

/// What dropout makes of an element.
pub fn dropped_out(x: f32, kept: bool, p: f64, scale: f32) -> f32 {
    match (kept && p != 1.0, p == 0.0) {
        (false, _) => 0.0,
        (true, true) => x,
        (true, false) => x * scale,
    }
}
