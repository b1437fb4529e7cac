//! The norms as functions of tensors.

use std::sync::Mutex;

use candle_core::{D, DType, Result, Tensor, WithDType, bail};

use evenkeel::Stream;

use crate::autograd::{Norm, Sum, rows_at_a_pitch};
use crate::dropout::apply;
use crate::layout::for_dtype;

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

/// Whether rows of this type are taken as they are.
const fn is_stored(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::BF16 | DType::F16)
}

/// The tensor, or the same in f32, by an operation that has a gradient.
fn stored(x: &Tensor) -> Result<Tensor> {
    if is_stored(x.dtype()) { Ok(x.clone()) } else { x.to_dtype(DType::F32) }
}

/// gamma or beta for an x of this type, in which it may be stored; otherwise in f32.
fn parameter(parameter: &Tensor, x: DType) -> Result<Tensor> {
    if parameter.dtype() == x { stored(parameter) } else { parameter.to_dtype(DType::F32) }
}

pub(crate) fn norm(
    norm: Norm,
    x: &Tensor,
    gamma: Option<&Tensor>,
    beta: Option<&Tensor>,
) -> Result<Tensor> {
    let dtype = x.dtype();
    let x = rows_at_a_pitch(&stored(x)?)?;
    let of_x = |tensor: &Tensor| parameter(tensor, dtype);
    let (mut gamma, beta) = (gamma.map(of_x).transpose()?, beta.map(of_x).transpose()?);
    if gamma.is_none() && beta.is_some() {
        gamma = Some(Tensor::ones(x.dim(D::Minus1)?, DType::F32, x.device())?);
    }
    let application = norm.application();
    let y = match (gamma, beta) {
        (None, _) => x.apply_op1(application)?,
        (Some(gamma), None) => x.apply_op2(&gamma, application)?,
        (Some(gamma), Some(beta)) => x.apply_op3(&gamma, &beta, application)?,
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
    // The sum has the type of x, and is rounded to it before it is normalised.
    if !is_stored(x.dtype()) {
        let sum = match dropout {
            Some((p, stream)) => (apply(p, stream, x)? + residual)?,
            None => (x + residual)?,
        };
        return Ok((self::norm(norm, &sum, Some(gamma), beta)?, sum));
    }
    let (x, residual) = (rows_at_a_pitch(x)?, rows_at_a_pitch(residual)?);
    let gamma = parameter(gamma, x.dtype())?;
    let beta = beta.map(|beta| parameter(beta, x.dtype())).transpose()?;
    let affine = (&gamma, beta.as_ref());
    let (sum, application) = for_dtype!(x.dtype(), {
        let mut sum = Vec::<T>::new();
        let (y, application) = norm.of_sum([&x, &residual], affine, dropout, Some(&mut sum))?;
        (T::to_cpu_storage_owned(sum), application.with_output(T::to_cpu_storage_owned(y)))
    });
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
    if has_gradient || !is_stored(x.dtype()) {
        return Ok(add_norm(norm, [x, residual], gamma, beta, None)?.0);
    }
    check_addends(x, residual)?;
    let (x, residual) = (rows_at_a_pitch(x)?, rows_at_a_pitch(residual)?);
    let gamma = parameter(gamma, x.dtype())?;
    let beta = beta.map(|beta| parameter(beta, x.dtype())).transpose()?;
    for_dtype!(x.dtype(), {
        let affine = (&gamma, beta.as_ref());
        let (y, _) = norm.of_sum::<T>([&x, &residual], affine, None, None)?;
        Tensor::from_vec(y, x.shape(), x.device())
    })
}

fn check_addends(x: &Tensor, residual: &Tensor) -> Result<()> {
    if x.shape() != residual.shape() || x.dtype() != residual.dtype() {
        let of = |x: &Tensor| format!("{:?} of {:?}", x.dtype(), x.shape());
        bail!("x and the residual have to agree: {} and {}", of(x), of(residual));
    }
    Ok(())
}
