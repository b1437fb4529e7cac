//! The definition of backward passes over columns and channels.
#![forbid(unsafe_code)]

use super::{Element, RowGradients, by, mean_variance, row_backward, rstd};
use crate::shape::Channels;

/// Backward of [`BatchNorm`](crate::BatchNorm)'s training. With `g = dy * gamma` and means over a channel:
/// `dx = rstd * (g - mean(g) - x_hat * mean(g * x_hat))`. Gradients of parameters are one a channel.
///
/// # Panics
///
/// If a slice is too short.
pub fn batch_norm_backward(
    dy: &[f32],
    x: &[f32],
    gamma: Option<&[f32]>,
    shape: Channels,
    eps: f64,
    gradients: &mut RowGradients<'_>,
) {
    let sets = by(shape.channels(), shape, |_, c, _| c);
    backward_by([dy, x], gamma, sets, |_, x| of_row(x, eps), [true; 2], gradients);
}

/// Backward of [`GroupNorm`](crate::GroupNorm), and of [`InstanceNorm`](crate::InstanceNorm), which has as many groups as
/// channels: as of BatchNorm, with means over a group of a sample.
///
/// # Panics
///
/// If a slice is too short, or the groups do not divide the channels.
pub fn group_norm_backward(
    dy: &[f32],
    x: &[f32],
    gamma: Option<&[f32]>,
    shape: Channels,
    groups: usize,
    eps: f64,
    gradients: &mut RowGradients<'_>,
) {
    let channels = shape.channels() / groups.max(1);
    assert_eq!(channels * groups, shape.channels(), "the groups divide the channels");
    let sets = by(shape.batch() * groups, shape, |n, c, _| n * groups + c / channels);
    backward_by([dy, x], gamma, sets, |_, x| of_row(x, eps), [true; 2], gradients);
}

/// Backward of [`LayerNorm`](crate::LayerNorm) over [`Channels`]: as of BatchNorm, with means over the channels of a position.
///
/// # Panics
///
/// If a slice is too short.
pub fn layer_norm_channels_backward(
    dy: &[f32],
    x: &[f32],
    gamma: Option<&[f32]>,
    shape: Channels,
    eps: f64,
    gradients: &mut RowGradients<'_>,
) {
    let positions = shape.positions();
    let sets = by(shape.batch() * positions, shape, |n, _, p| n * positions + p);
    backward_by([dy, x], gamma, sets, |_, x| of_row(x, eps), [true; 2], gradients);
}

/// Backward of [`NormalizeScaleShift`](crate::NormalizeScaleShift) by [statistics of columns](crate::Statistics::of_columns), the
/// columns being channels: `dx = dy * gamma * rstd`.
///
/// # Panics
///
/// If a slice is too short.
pub fn normalize_scale_shift_channels_backward(
    dy: &[f32],
    x: &[f32],
    [mean, rstd]: [&[f64]; 2],
    gamma: Option<&[f32]>,
    shape: Channels,
    gradients: &mut RowGradients<'_>,
) {
    let sets = by(shape.channels(), shape, |_, c, _| c);
    backward_by([dy, x], gamma, sets, |c, _| [mean[c], rstd[c]], [false; 2], gradients);
}

/// Mean and rstd of some elements.
fn of_row(x: &[f32], eps: f64) -> [f64; 2] {
    let (mean, var) = mean_variance(x);
    [mean, rstd(var, eps)]
}

/// Backward of sets of elements, each with statistics of its own, on which x may act, and gamma of its elements' channels.
fn backward_by(
    [dy, x]: [&[f32]; 2],
    gamma: Option<&[f32]>,
    sets: Vec<Vec<Element>>,
    statistics: impl Fn(usize, &[f32]) -> [f64; 2],
    depend: [bool; 2],
    RowGradients { dx, dgamma, dbeta }: &mut RowGradients<'_>,
) {
    for (number, set) in sets.into_iter().enumerate() {
        let row = |of: &[f32]| -> Vec<f32> { set.iter().map(|&(i, _)| of[i]).collect() };
        let (of_dy, of_x) = (row(dy), row(x));
        let gamma: Option<Vec<f32>> =
            gamma.map(|gamma| set.iter().map(|&(_, c)| gamma[c]).collect());
        let [mut of_dx, mut of_dgamma, mut of_dbeta] = [(); 3].map(|()| vec![0.0; set.len()]);
        let gradients =
            &mut RowGradients { dx: &mut of_dx, dgamma: &mut of_dgamma, dbeta: &mut of_dbeta };
        let statistics = statistics(number, &of_x);
        row_backward(&of_dy, &of_x, statistics, gamma.as_deref(), depend, gradients);
        for (e, &(i, c)) in set.iter().enumerate() {
            dx[i] = of_dx[e];
            dgamma[c] += of_dgamma[e];
            dbeta[c] += of_dbeta[e];
        }
    }
}
