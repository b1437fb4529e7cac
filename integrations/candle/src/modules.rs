//! The norms as modules.

use candle_core::{Result, Tensor};
use candle_nn::{LayerNormConfig, Module, VarBuilder};

use crate::dropout::Dropout;
use crate::ops;

/// LayerNorm over the last dimension, in the place of `candle_nn::LayerNorm`.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Option<Tensor>,
    remove_mean: bool,
    eps: f64,
}

impl LayerNorm {
    /// With gamma and beta.
    #[must_use]
    pub const fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self { weight, bias: Some(bias), remove_mean: true, eps }
    }

    /// With gamma alone.
    #[must_use]
    pub const fn new_no_bias(weight: Tensor, eps: f64) -> Self {
        Self { weight, bias: None, remove_mean: true, eps }
    }

    /// With gamma alone, and without a mean.
    #[must_use]
    pub const fn rms_norm(weight: Tensor, eps: f64) -> Self {
        Self { weight, bias: None, remove_mean: false, eps }
    }

    /// gamma.
    #[must_use]
    pub const fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// beta, if there is one.
    #[must_use]
    pub const fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// What is added to the variance.
    #[must_use]
    pub const fn eps(&self) -> f64 {
        self.eps
    }

    /// The norm of `x + residual`, and that sum, in one sweep over memory.
    ///
    /// # Errors
    ///
    /// As of [`ops::add_layer_norm`]. An `RmsNorm` with a bias has none.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<(Tensor, Tensor)> {
        let Self { weight, bias, remove_mean, eps } = self;
        if *remove_mean {
            return ops::add_layer_norm(x, residual, weight, bias.as_ref(), *eps);
        }
        let (y, sum) = ops::add_rms_norm(x, residual, weight, *eps)?;
        Ok((add(y, bias.as_ref())?, sum))
    }
}

impl LayerNorm {
    /// The norm of `residual + dropout(x)`, and that sum, in one sweep over memory; without dropout unless `train`. No mask is kept: the
    /// backward pass draws it again.
    ///
    /// # Errors
    ///
    /// As of [`forward_add`](Self::forward_add), and if p is no probability.
    pub fn forward_dropout_add(
        &self,
        x: &Tensor,
        residual: &Tensor,
        dropout: &Dropout,
        train: bool,
    ) -> Result<(Tensor, Tensor)> {
        let Self { weight, bias, remove_mean, eps } = self;
        let (sum, dropout) = ([x, residual], dropout.next(x, train));
        if *remove_mean {
            return ops::add_norm(ops::layer(*eps), sum, weight, bias.as_ref(), dropout);
        }
        let (y, sum) = ops::add_norm(ops::rms(*eps), sum, weight, None, dropout)?;
        Ok((add(y, bias.as_ref())?, sum))
    }
}

fn add(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        None => Ok(y),
        Some(bias) => y.broadcast_add(bias),
    }
}

impl Module for LayerNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let Self { weight, bias, remove_mean, eps } = self;
        if *remove_mean {
            return ops::layer_norm(x, Some(weight), bias.as_ref(), *eps);
        }
        add(ops::rms_norm(x, Some(weight), *eps)?, bias.as_ref())
    }
}

/// A LayerNorm whose parameters are `weight` and `bias`, or `gamma` and `beta` where these are there.
///
/// # Errors
///
/// If a parameter cannot be had.
pub fn layer_norm(
    size: usize,
    config: impl Into<LayerNormConfig>,
    vb: VarBuilder<'_>,
) -> Result<LayerNorm> {
    // candle reads the parameters; the layer of these is ours.
    let config = config.into();
    let theirs = candle_nn::layer_norm(size, config, vb)?;
    let (weight, bias) = (theirs.weight().clone(), theirs.bias().cloned());
    Ok(LayerNorm { weight, bias, remove_mean: config.remove_mean, eps: config.eps })
}

/// A LayerNorm without a bias.
///
/// # Errors
///
/// As of [`layer_norm`].
pub fn layer_norm_no_bias(size: usize, eps: f64, vb: VarBuilder<'_>) -> Result<LayerNorm> {
    layer_norm(size, LayerNormConfig { eps, remove_mean: true, affine: false }, vb)
}

/// `RmsNorm` over the last dimension, in the place of `candle_nn::RmsNorm`.
#[derive(Clone, Debug)]
pub struct RmsNorm(LayerNorm);

impl RmsNorm {
    /// With gamma.
    #[must_use]
    pub const fn new(weight: Tensor, eps: f64) -> Self {
        Self(LayerNorm::rms_norm(weight, eps))
    }

    /// gamma.
    #[must_use]
    pub const fn weight(&self) -> &Tensor {
        self.0.weight()
    }

    /// What is added to the mean of squares.
    #[must_use]
    pub const fn eps(&self) -> f64 {
        self.0.eps()
    }

    /// The norm of `x + residual`, and that sum, in one sweep over memory.
    ///
    /// # Errors
    ///
    /// As of [`ops::add_rms_norm`].
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<(Tensor, Tensor)> {
        self.0.forward_add(x, residual)
    }

    /// The norm of `residual + dropout(x)`, and that sum: see [`LayerNorm::forward_dropout_add`].
    ///
    /// # Errors
    ///
    /// As of [`LayerNorm::forward_dropout_add`].
    pub fn forward_dropout_add(
        &self,
        x: &Tensor,
        residual: &Tensor,
        dropout: &Dropout,
        train: bool,
    ) -> Result<(Tensor, Tensor)> {
        self.0.forward_dropout_add(x, residual, dropout, train)
    }
}

impl Module for RmsNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward(x)
    }
}

/// An `RmsNorm` whose parameter is `weight`, or `gamma` where that is there.
///
/// # Errors
///
/// As of [`layer_norm`].
pub fn rms_norm(size: usize, eps: f64, vb: VarBuilder<'_>) -> Result<RmsNorm> {
    let config = LayerNormConfig { eps, remove_mean: false, affine: false };
    Ok(RmsNorm(layer_norm(size, config, vb)?))
}
