//! The definition of every operation: scalar, in f64, slow.
//!
//! What the fast kernels are tested against, and what to read to know what an operation computes. Nothing
//! here depends on a kernel or a backend. Sums of f32 data in f64 are compensated (Neumaier), so that the
//! error of a statistic is a few units of f64 for every length and every ratio of mean to std.
#![forbid(unsafe_code)]

mod channel_gradients;
mod gated;

pub use channel_gradients::{
    batch_norm_backward, group_norm_backward, layer_norm_channels_backward,
    normalize_scale_shift_channels_backward,
};
pub use gated::GatedRow;

use crate::preprocess::normalizer::Norm;
use crate::shape::Channels;

/// Mean and population variance of x: two passes, the second corrected by the sum of deviations.
///
/// Both are NaN if x is empty.
///
/// ```
/// assert_eq!(evenkeel::reference::mean_variance(&[1.0, 2.0, 3.0, 6.0]), (3.0, 3.5));
/// ```
#[must_use]
pub fn mean_variance(x: &[f32]) -> (f64, f64) {
    let n = x.len() as f64;
    let rough = sum(x.iter().map(|&x| f64::from(x))) / n;
    let deviation = sum(x.iter().map(|&x| f64::from(x) - rough));
    let squares = sum(x.iter().map(|&x| (f64::from(x) - rough) * (f64::from(x) - rough)));
    (rough + deviation / n, (squares - deviation * deviation / n).max(0.0 * squares) / n)
}

/// The mean of the squares of x.
#[must_use]
pub fn mean_square(x: &[f32]) -> f64 {
    sum(x.iter().map(|&x| f64::from(x) * f64::from(x))) / x.len() as f64
}

/// Sum with Neumaier's compensation.
fn sum(terms: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0);
    for term in terms {
        let next = sum + term;
        lost += if sum.abs() >= term.abs() { (sum - next) + term } else { (term - next) + sum };
        sum = next;
    }
    if lost.is_finite() { sum + lost } else { sum }
}

/// 1 / sqrt(var + eps), and 0 where var + eps = 0.
#[must_use]
pub fn rstd(var: f64, eps: f64) -> f64 {
    if var + eps == 0.0 { 0.0 } else { 1.0 / (var + eps).sqrt() }
}

/// Normalise, scale and shift one row with its statistics: `gamma * (x - mean) * rstd + beta`.
///
/// # Panics
///
/// If the lengths of `x`, `y`, `gamma` and `beta` differ.
pub fn normalize_scale_shift(
    x: &[f32],
    mean: f64,
    rstd: f64,
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    y: &mut [f64],
) {
    assert_eq!(x.len(), y.len(), "x and y have the same number of elements");
    for (i, (&x, y)) in x.iter().zip(y).enumerate() {
        let x_hat = (f64::from(x) - mean) * rstd;
        *y = gamma.map_or(x_hat, |gamma| x_hat * f64::from(gamma[i]));
        *y += beta.map_or(0.0, |beta| f64::from(beta[i]));
    }
}

/// [`LayerNorm`](crate::LayerNorm) of one row. Returns mean and rstd.
///
/// # Panics
///
/// If the lengths of `x`, `y`, `gamma` and `beta` differ.
pub fn layer_norm(
    x: &[f32],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    eps: f64,
    y: &mut [f64],
) -> (f64, f64) {
    let (mean, var) = mean_variance(x);
    let rstd = rstd(var, eps);
    normalize_scale_shift(x, mean, rstd, gamma, beta, y);
    (mean, rstd)
}

/// [`RmsNorm`](crate::RmsNorm) of one row. Returns rstd.
///
/// # Panics
///
/// If the lengths of `x`, `y`, `gamma` and `beta` differ.
pub fn rms_norm(
    x: &[f32],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    eps: f64,
    y: &mut [f64],
) -> f64 {
    let rstd = rstd(mean_square(x), eps);
    normalize_scale_shift(x, 0.0, rstd, gamma, beta, y);
    rstd
}

/// The gradients of a row: what of dy goes to x, and what it adds to dgamma and dbeta, each one a column.
#[derive(Debug)]
pub struct RowGradients<'a> {
    /// Written.
    pub dx: &'a mut [f64],
    /// Added to.
    pub dgamma: &'a mut [f64],
    /// Added to.
    pub dbeta: &'a mut [f64],
}

/// Backward of [`LayerNorm`](crate::LayerNorm), of one row. With `g = dy * gamma`:
/// `dx = rstd * (g - mean(g) - x_hat * mean(g * x_hat))`.
///
/// # Panics
///
/// If the lengths of slices differ.
pub fn layer_norm_backward(
    dy: &[f32],
    x: &[f32],
    gamma: Option<&[f32]>,
    eps: f64,
    gradients: &mut RowGradients<'_>,
) {
    let (mean, var) = mean_variance(x);
    let rstd = rstd(var, eps);
    row_backward(dy, x, [mean, rstd], gamma, [true, true], gradients);
}

/// Backward of [`RmsNorm`](crate::RmsNorm), of one row. With `g = dy * gamma`: `dx = rstd * (g - x_hat * mean(g * x_hat))`.
///
/// # Panics
///
/// If the lengths of slices differ.
pub fn rms_norm_backward(
    dy: &[f32],
    x: &[f32],
    gamma: Option<&[f32]>,
    eps: f64,
    gradients: &mut RowGradients<'_>,
) {
    let rstd = rstd(mean_square(x), eps);
    row_backward(dy, x, [0.0, rstd], gamma, [false, true], gradients);
}

/// Backward of [`NormalizeScaleShift`](crate::NormalizeScaleShift), of one row: `dx = rstd * dy * gamma`.
///
/// # Panics
///
/// If the lengths of slices differ.
pub fn normalize_scale_shift_backward(
    dy: &[f32],
    x: &[f32],
    statistics: [f64; 2],
    gamma: Option<&[f32]>,
    gradients: &mut RowGradients<'_>,
) {
    row_backward(dy, x, statistics, gamma, [false, false], gradients);
}

/// Backward of a row: whether its mean depends on x, and whether rstd does.
fn row_backward(
    dy: &[f32],
    x: &[f32],
    [mean, rstd]: [f64; 2],
    gamma: Option<&[f32]>,
    [of_mean, of_rstd]: [bool; 2],
    RowGradients { dx, dgamma, dbeta }: &mut RowGradients<'_>,
) {
    assert!(dy.len() == x.len() && dx.len() == x.len(), "dy, x and dx have one length");
    let n = x.len() as f64;
    let g = |i: usize| f64::from(dy[i]) * gamma.map_or(1.0, |gamma| f64::from(gamma[i]));
    let x_hat = |i: usize| (f64::from(x[i]) - mean) * rstd;
    let c = if of_mean { sum((0..x.len()).map(g)) / n } else { 0.0 };
    let d = if of_rstd { sum((0..x.len()).map(|i| g(i) * x_hat(i))) / n } else { 0.0 };
    for i in 0..x.len() {
        // Where rstd is a constant, dx does not depend on x, not even where that is infinite.
        let by_x = if of_rstd { x_hat(i) * d } else { 0.0 };
        dx[i] = rstd * (g(i) - c - by_x);
        dgamma[i] += f64::from(dy[i]) * x_hat(i);
        dbeta[i] += f64::from(dy[i]);
    }
}

/// silu(z) = z / (1 + exp(-z)), the factor of a [gate](crate::NormArgs::gate).
#[must_use]
pub fn silu(z: f32) -> f64 {
    let z = f64::from(z);
    z / (1.0 + (-z).exp())
}

/// sigmoid(z) = 1 / (1 + exp(-z)), the factor of a gate by [sigmoid](crate::GateFunction::Sigmoid).
#[must_use]
pub fn sigmoid(z: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(z)).exp())
}

/// The derivative of [`silu`]: `s + z * (s - s^2)`, with `s = sigmoid(z)`.
#[must_use]
pub fn silu_derivative(z: f32) -> f64 {
    sigmoid(z) + f64::from(z) * sigmoid_derivative(z)
}

/// The derivative of [`sigmoid`]: `s - s^2`, as `exp(-|z|) / (1 + exp(-|z|))^2`, in which nothing cancels.
#[must_use]
pub fn sigmoid_derivative(z: f32) -> f64 {
    let exp = (-f64::from(z).abs()).exp();
    exp / ((1.0 + exp) * (1.0 + exp))
}

/// Column c of a matrix of `cols` columns.
///
/// # Panics
///
/// If there is no column c.
#[must_use]
pub fn column(x: &[f32], cols: usize, c: usize) -> Vec<f32> {
    assert!(c < cols, "a matrix of {cols} columns has no column {c}");
    x.chunks_exact(cols).map(|row| row[c]).collect()
}

/// [`NormalizeScaleShift`](crate::NormalizeScaleShift) of a row, by [statistics of columns](crate::Statistics::of_columns).
///
/// # Panics
///
/// If a slice is too short.
pub fn normalize_scale_shift_columns(
    x: &[f32],
    mean: &[f64],
    rstd: &[f64],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    y: &mut [f64],
) {
    let cols = mean.len();
    for (row, y) in x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)) {
        for c in 0..cols {
            let one = |slice: Option<&[f32]>| slice.map(|slice| [slice[c]]);
            let (gamma, beta) = (one(gamma), one(beta));
            let (gamma, beta) = (gamma.as_ref().map(|g| &g[..]), beta.as_ref().map(|b| &b[..]));
            normalize_scale_shift(&row[c..=c], mean[c], rstd[c], gamma, beta, &mut y[c..=c]);
        }
    }
}

/// The statistics of [`BatchNorm`](crate::BatchNorm)'s training: mean and rstd of every column.
#[must_use]
pub fn batch_statistics(x: &[f32], cols: usize, eps: f64) -> (Vec<f64>, Vec<f64>) {
    let of_column = |c| mean_variance(&column(x, cols, c));
    (0..cols).map(of_column).map(|(mean, var)| (mean, rstd(var, eps))).unzip()
}

/// The penalty of a [`Regularizer`](crate::penalty::Regularizer): `l1 * (sum of |w|) + l2 / 2 * (sum of w^2)`.
#[must_use]
pub fn penalty(w: &[f32], l1: f64, l2: f64) -> f64 {
    let w = || w.iter().map(|&w| f64::from(w));
    l1 * sum(w().map(f64::abs)) + l2 / 2.0 * sum(w().map(|w| w * w))
}

/// The gradient of the penalty of one parameter: `l1 * sign(w) + l2 * w`, where sign(0) = 0.
#[must_use]
pub fn penalty_gradient(w: f32, l1: f64, l2: f64) -> f64 {
    let sign = if w == 0.0 { 0.0 } else { f64::from(w.signum()) };
    l1 * sign + l2 * f64::from(w)
}

/// One parameter after decoupled weight decay.
#[must_use]
pub fn decay(w: f32, l2: f64, learning_rate: f64) -> f64 {
    f64::from(w) * (1.0 - learning_rate * l2)
}

/// One parameter after the proximal step of a penalty: the y for which `(y - w)^2 / 2 + step * (l1 * |y| + l2 / 2 * y^2)` is
/// least.
#[must_use]
pub fn proximal(w: f32, l1: f64, l2: f64, step: f64) -> f64 {
    let (w, threshold) = (f64::from(w), step * l1);
    let soft = match w {
        w if w > threshold => w - threshold,
        w if w < -threshold => w + threshold,
        w if w.is_nan() => w,
        _ => 0.0,
    };
    soft / (1.0 + step * l2)
}

/// [`GroupNorm`](crate::GroupNorm), and [`InstanceNorm`](crate::InstanceNorm), which has as many groups as channels. Returns
/// mean and rstd of every group of every sample.
///
/// # Panics
///
/// If a slice is too short, or the groups do not divide the channels.
pub fn group_norm(
    x: &[f32],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    shape: Channels,
    groups: usize,
    eps: f64,
    y: &mut [f64],
) -> (Vec<f64>, Vec<f64>) {
    let channels = shape.channels() / groups.max(1);
    assert_eq!(channels * groups, shape.channels(), "the groups divide the channels");
    let by_group = by(shape.batch() * groups, shape, |n, c, _| n * groups + c / channels);
    normalize_by(x, gamma, beta, shape, by_group, eps, y)
}

/// [`LayerNorm`](crate::LayerNorm) over [`Channels`]. Returns mean and rstd of every position of every
/// sample.
///
/// # Panics
///
/// If a slice is too short.
pub fn layer_norm_channels(
    x: &[f32],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    shape: Channels,
    eps: f64,
    y: &mut [f64],
) -> (Vec<f64>, Vec<f64>) {
    let positions = shape.positions();
    let by_position = by(shape.batch() * positions, shape, |n, _, p| n * positions + p);
    normalize_by(x, gamma, beta, shape, by_position, eps, y)
}

/// [`BatchNorm`](crate::BatchNorm)'s training. Returns mean and rstd of every channel.
///
/// # Panics
///
/// If a slice is too short.
pub fn batch_norm(
    x: &[f32],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    shape: Channels,
    eps: f64,
    y: &mut [f64],
) -> (Vec<f64>, Vec<f64>) {
    normalize_by(x, gamma, beta, shape, by(shape.channels(), shape, |_, c, _| c), eps, y)
}

/// An element: its index, its channel.
type Element = (usize, usize);

/// The elements of each of `sets` sets, where the one that an element (sample, channel, position) is in is given.
fn by(
    sets: usize,
    shape: Channels,
    set: impl Fn(usize, usize, usize) -> usize,
) -> Vec<Vec<Element>> {
    let mut elements = vec![Vec::new(); sets];
    let (channels, positions) = (shape.channels(), shape.positions());
    for n in 0..shape.batch() {
        for c in 0..channels {
            for p in 0..positions {
                let index = match shape.is_last() {
                    true => (n * positions + p) * channels + c,
                    false => (n * channels + c) * positions + p,
                };
                elements[set(n, c, p)].push((index, c));
            }
        }
    }
    elements
}

/// Normalises sets of elements by their own mean and variance, gamma and beta of their channels. Returns mean and rstd of
/// every set.
fn normalize_by(
    x: &[f32],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    shape: Channels,
    sets: Vec<Vec<Element>>,
    eps: f64,
    y: &mut [f64],
) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(x.len(), shape.elements(), "x has the elements of the shape");
    let statistics = sets.into_iter().map(|set| {
        let of_channel = |of: Option<&[f32]>| -> Option<Vec<f32>> {
            of.map(|of| set.iter().map(|&(_, c)| of[c]).collect())
        };
        let (gamma, beta) = (of_channel(gamma), of_channel(beta));
        let row: Vec<f32> = set.iter().map(|&(i, _)| x[i]).collect();
        let mut of_row = vec![0.0; row.len()];
        let statistics = layer_norm(&row, gamma.as_deref(), beta.as_deref(), eps, &mut of_row);
        for (&(i, _), of_row) in set.iter().zip(of_row) {
            y[i] = of_row;
        }
        statistics
    });
    statistics.unzip()
}

/// What [`StandardScaler`](crate::preprocess::StandardScaler) learns of one feature: its mean and scale. NaN are ignored.
#[must_use]
pub fn mean_scale(x: &[f32]) -> (f64, f64) {
    let numbers: Vec<f32> = x.iter().copied().filter(|x| !x.is_nan()).collect();
    let (n, (mean, var)) = ((numbers.len() as f64), mean_variance(&numbers));
    let n = n.min(2.0_f64.powi(26));
    let constant = var <= n * f64::EPSILON * var + (n * f64::EPSILON * mean).powi(2);
    (mean, if constant { 1.0 } else { var.sqrt() })
}

/// [`StandardScaler::transform`](crate::preprocess::StandardScaler::transform) of one feature.
#[must_use]
pub fn standardized(x: f32, mean: f64, scale: f64) -> f64 {
    (f64::from(x) - mean) / scale
}

/// What [`MinMaxScaler`](crate::preprocess::MinMaxScaler) learns of one feature: its least and greatest value. NaN are ignored.
#[must_use]
pub fn min_max(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), &x| (min.min(x), max.max(x)))
}

/// [`MinMaxScaler::transform`](crate::preprocess::MinMaxScaler::transform) of one feature, without clipping.
#[must_use]
pub fn min_maxed(x: f32, (min, max): (f32, f32), (from, to): (f64, f64)) -> f64 {
    let range = f64::from(max) - f64::from(min);
    let range = if range == 0.0 { 1.0 } else { range };
    if !range.is_finite() {
        return f64::NAN;
    }
    (f64::from(x) - f64::from(min)) * (to - from) / range + from
}

/// The norm that [`Normalizer`](crate::preprocess::Normalizer) divides a row by; NaN if the row has a NaN or an infinity.
#[must_use]
pub fn norm(x: &[f32], norm: Norm) -> f64 {
    if !x.iter().all(|x| x.is_finite()) {
        return f64::NAN;
    }
    let magnitudes = x.iter().map(|&x| f64::from(x).abs());
    match norm {
        Norm::L1 => sum(magnitudes),
        Norm::L2 => sum(magnitudes.map(|x| x * x)).sqrt(),
        Norm::Max => magnitudes.fold(0.0, f64::max),
    }
}

/// [`Normalizer`](crate::preprocess::Normalizer) of one row.
///
/// # Panics
///
/// If the lengths of `x` and `y` differ.
pub fn normalizer(x: &[f32], norm: Norm, y: &mut [f64]) {
    let norm = self::norm(x, norm);
    normalize_scale_shift(x, 0.0, if norm == 0.0 { 0.0 } else { 1.0 / norm }, None, None, y);
}

/// The mask of [`Dropout`](crate::Dropout): whether each of `len` elements from index `offset` on is kept. The
/// probability is between 0 and 1, and neither.
#[must_use]
pub fn dropout_mask(p: f64, seed: u64, offset: u64, len: usize) -> Vec<bool> {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    const BLOCK: u64 = 4096;
    let mix = |x: u64| {
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let bits = if (1.0 / 64.0..=63.0 / 64.0).contains(&p) { 16 } else { 32 };
    let dropped = (p * 2.0_f64.powi(bits)).round_ties_even().min(2.0_f64.powi(bits) - 1.0) as i64;
    let per_draw = 512 / bits as u64;

    let (mut block, mut words) = (None, Vec::new());
    (0..len as u64)
        .map(|i| {
            let index = offset + i;
            if block != Some(index / BLOCK) {
                // The words of a block: all draws of all eight generators.
                block = Some(index / BLOCK);
                let x = GOLDEN.wrapping_mul((index / BLOCK).wrapping_add(1));
                let mut x = mix(mix(seed).wrapping_add(x));
                let mut next = || {
                    x = x.wrapping_add(GOLDEN);
                    mix(x)
                };
                let mut lanes = [[0; 4]; 8];
                for word in lanes.as_flattened_mut() {
                    *word = next();
                }
                words.clear();
                for _ in 0..BLOCK / per_draw {
                    words.extend(lanes.iter_mut().map(xoshiro256plusplus));
                }
            }
            let (draw, place) = (index % BLOCK / per_draw, index % BLOCK % per_draw);
            let per_word = per_draw / 8;
            let word: u64 = words[(draw * 8 + place / per_word) as usize];
            let part = word >> (place % per_word * bits as u64);
            let random = if bits == 16 { i64::from(part as i16) } else { i64::from(part as i32) };
            random >= dropped - (1_i64 << (bits - 1))
        })
        .collect()
}

/// One draw of the generator of Blackman and Vigna.
fn xoshiro256plusplus(s: &mut [u64; 4]) -> u64 {
    let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
    let t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s[3].rotate_left(45);
    out
}
