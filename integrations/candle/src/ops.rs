//! The norms as functions of tensors.

use std::sync::Mutex;

use candle_core::{DType, Result, Tensor, bail};

use evenkeel::Stream;

use crate::autograd::{Norm, Sum, rows_at_a_pitch};
use crate::dropout::apply;

/// LayerNorm over the last dimension of x: `gamma * (x - mean) / sqrt(var + eps) + beta`. Without gamma it is 1, without beta 0.
///
/// # Errors
///
/// If gamma or beta has another length than the last dimension, is not contiguous, or the device is no CPU.
pub fn layer_norm(
    x: &Tensor,
    gamma: Option<&Tensor>,
    beta: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    norm(layer(eps), x, gamma, beta)
}

/// `RmsNorm` over the last dimension of x: `gamma * x / sqrt(mean of x^2 + eps)`. Without gamma it is 1.
///
/// # Errors
///
/// As of [`layer_norm`].
pub fn rms_norm(x: &Tensor, gamma: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    norm(rms(eps), x, gamma, None)
}

/// `sum = x + residual`, and LayerNorm of it, in one sweep over memory. Returns the norm and the sum; both have gradients.
///
/// # Errors
///
/// As of [`layer_norm`], and if x and the residual have different shapes.
pub fn add_layer_norm(
    x: &Tensor,
    residual: &Tensor,
    gamma: &Tensor,
    beta: Option<&Tensor>,
    eps: f64,
) -> Result<(Tensor, Tensor)> {
    add_norm(layer(eps), [x, residual], gamma, beta, None)
}

/// The same with `RmsNorm`.
///
/// # Errors
///
/// As of [`add_layer_norm`].
pub fn add_rms_norm(
    x: &Tensor,
    residual: &Tensor,
    gamma: &Tensor,
    eps: f64,
) -> Result<(Tensor, Tensor)> {
    add_norm(rms(eps), [x, residual], gamma, None, None)
}

fn layer(eps: f64) -> Norm {
    Norm::Layer(evenkeel::LayerNorm::new().with_eps(eps))
}

fn rms(eps: f64) -> Norm {
    Norm::Rms(evenkeel::RmsNorm::new().with_eps(eps))
}

/// The tensor in f32, by an operation that has a gradient. The same tensor where it is f32 already.
fn single(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::F32)
}

pub(crate) fn norm(
    norm: Norm,
    x: &Tensor,
    gamma: Option<&Tensor>,
    beta: Option<&Tensor>,
) -> Result<Tensor> {
    let dtype = x.dtype();
    let x = rows_at_a_pitch(&single(x)?)?;
    let (gamma, beta) = (gamma.map(single).transpose()?, beta.map(single).transpose()?);
    let application = norm.application();
    let y = match (gamma, beta) {
        (None, None) => x.apply_op1(application)?,
        (Some(gamma), None) => x.apply_op2(&gamma, application)?,
        (Some(gamma), Some(beta)) => x.apply_op3(&gamma, &beta, application)?,
        (None, Some(beta)) => x.apply_op1(application)?.broadcast_add(&beta)?,
    };
    y.to_dtype(dtype)
}

/// The sum of x, with dropout where there is any, and a residual; and its norm.
pub(crate) fn add_norm(
    norm: Norm,
    [x, residual]: [&Tensor; 2],
    gamma: &Tensor,
    beta: Option<&Tensor>,
    dropout: Option<(f64, Stream)>,
) -> Result<(Tensor, Tensor)> {
    check_addends(x, residual)?;
    if x.dtype() != DType::F32 {
        // The sum has the type of x, and is rounded to it before it is normalised.
        let sum = match dropout {
            Some((p, stream)) => (apply(p, stream, x)? + residual)?,
            None => (x + residual)?,
        };
        return Ok((self::norm(norm, &sum, Some(gamma), beta)?, sum));
    }
    let (x, residual) = (rows_at_a_pitch(x)?, rows_at_a_pitch(residual)?);
    let (gamma, beta) = (single(gamma)?, beta.map(single).transpose()?);
    let mut sum = Vec::new();
    let affine = (&gamma, beta.as_ref());
    let (y, application) = norm.of_sum([&x, &residual], affine, dropout, Some(&mut sum))?;
    let application = application.with_output(y);
    let sum = x.apply_op2(&residual, Sum { sum: Mutex::new(Some(sum)), dropout })?;
    let y = match beta {
        None => sum.apply_op2(&gamma, application)?,
        Some(beta) => sum.apply_op3(&gamma, &beta, application)?,
    };
    Ok((y, sum))
}

/// The norm of the sum. The backward pass reads the sum; where there will be none, nobody does.
pub(crate) fn norm_of_sum(
    norm: Norm,
    [x, residual]: [&Tensor; 2],
    gamma: &Tensor,
    beta: Option<&Tensor>,
) -> Result<Tensor> {
    let has_gradient = [Some(x), Some(residual), Some(gamma), beta];
    let has_gradient = has_gradient.into_iter().flatten().any(Tensor::track_op);
    if has_gradient || x.dtype() != DType::F32 {
        return Ok(add_norm(norm, [x, residual], gamma, beta, None)?.0);
    }
    check_addends(x, residual)?;
    let (x, residual) = (rows_at_a_pitch(x)?, rows_at_a_pitch(residual)?);
    let (gamma, beta) = (single(gamma)?, beta.map(single).transpose()?);
    let (y, _) = norm.of_sum([&x, &residual], (&gamma, beta.as_ref()), None, None)?;
    Tensor::from_vec(y, x.shape(), x.device())
}

fn check_addends(x: &Tensor, residual: &Tensor) -> Result<()> {
    if x.shape() != residual.shape() || x.dtype() != residual.dtype() {
        let of = |x: &Tensor| format!("{:?} of {:?}", x.dtype(), x.shape());
        bail!("x and the residual have to agree: {} and {}", of(x), of(residual));
    }
    Ok(())
}
