//! How far operations and plain loops are from the scalar f64 reference.
#![forbid(unsafe_code)]

use evenkeel::{
    BatchNorm, Error, GradArgs, InOut, LayerNorm, NormArgs, TrainArgs, reference, to_vec,
};

use super::Layer;
use super::plain::Gradients;

const EPS: f64 = 1e-5;

/// The largest errors of an operation's outputs, which are of the order of 1.
pub struct Errors {
    pub name: &'static str,
    pub evenkeel: f64,
    pub plain: f64,
}

pub fn measure(layer: &Layer) -> Result<[Errors; 3], Error> {
    Ok([layer_norm(layer)?, gradients(layer)?, batch_norm(layer)?])
}

fn layer_norm(layer: &Layer) -> Result<Errors, Error> {
    let cols = layer.rows.cols();
    let Layer { rows, x, gamma, beta, .. } = layer;
    let args = NormArgs::new().affine(gamma, beta);
    let y = to_vec(x.len(), |y| LayerNorm::new().forward(InOut::uninit(x, y), *rows, args))?;
    let mut plain = vec![0.0; x.len()];
    layer.plain().layer_norm(x, &mut plain);

    let mut exact = vec![0.0; x.len()];
    for (x, y) in x.chunks_exact(cols).zip(exact.chunks_exact_mut(cols)) {
        reference::layer_norm(x, Some(gamma), Some(beta), EPS, y);
    }
    Ok(compared("LayerNorm", &y, &plain, &exact))
}

/// Of dx, the gradient of x.
fn gradients(layer: &Layer) -> Result<Errors, Error> {
    let cols = layer.rows.cols();
    let Layer { rows, x, dy, gamma, .. } = layer;
    let args = GradArgs::new().gamma(gamma);
    let dx =
        to_vec(x.len(), |dx| LayerNorm::new().backward(InOut::uninit(dy, dx), x, *rows, args))?;
    let (mut plain, mut dgamma, mut dbeta) = (vec![0.0; x.len()], vec![0.0; cols], vec![0.0; cols]);
    let mut gradients = Gradients { dx: &mut plain, dgamma: &mut dgamma, dbeta: &mut dbeta };
    layer.plain().layer_norm_backward(dy, x, &mut gradients);

    let mut exact = vec![0.0; x.len()];
    let (mut dgamma, mut dbeta) = (vec![0.0; cols], vec![0.0; cols]);
    let inputs = dy.chunks_exact(cols).zip(x.chunks_exact(cols));
    for ((dy, x), dx) in inputs.zip(exact.chunks_exact_mut(cols)) {
        let mut gradients = reference::RowGradients { dx, dgamma: &mut dgamma, dbeta: &mut dbeta };
        reference::layer_norm_backward(dy, x, Some(gamma), EPS, &mut gradients);
    }
    Ok(compared("LayerNorm backward", &dx, &plain, &exact))
}

fn batch_norm(layer: &Layer) -> Result<Errors, Error> {
    let cols = layer.rows.cols();
    let Layer { rows, x, gamma, beta, .. } = layer;
    let args = TrainArgs::new().affine(gamma, beta);
    let y =
        to_vec(x.len(), |y| BatchNorm::new().forward_training(InOut::uninit(x, y), *rows, args))?;
    let mut plain = vec![0.0; x.len()];
    layer.plain().batch_norm(x, &mut plain);

    let (mean, rstd) = reference::batch_statistics(x, cols, EPS);
    let mut exact = vec![0.0; x.len()];
    let (gamma, beta) = (Some(gamma.as_slice()), Some(beta.as_slice()));
    reference::normalize_scale_shift_columns(x, &mean, &rstd, gamma, beta, &mut exact);
    Ok(compared("BatchNorm training", &y, &plain, &exact))
}

fn compared(name: &'static str, evenkeel: &[f32], plain: &[f32], exact: &[f64]) -> Errors {
    let largest = |y: &[f32]| {
        let errors = y.iter().zip(exact).map(|(&y, exact)| (f64::from(y) - exact).abs());
        errors.fold(0.0, f64::max)
    };
    Errors { name, evenkeel: largest(evenkeel), plain: largest(plain) }
}
