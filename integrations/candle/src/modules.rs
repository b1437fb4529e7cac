//! The norms as modules.

use candle_core::{Result, Tensor};
use candle_nn::{LayerNormConfig, Module, VarBuilder};
use evenkeel::Stream;

use crate::autograd::Norm;
use crate::dropout::Dropout;
use crate::ops;

/// LayerNorm over the last dimension, in the place of `candle_nn::LayerNorm`.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Option<Tensor>,
    remove_mean: bool,
    one_plus_weight: bool,
    eps: f64,
}

impl LayerNorm {
    /// With gamma and beta.
    #[must_use]
    pub const fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self { weight, bias: Some(bias), remove_mean: true, one_plus_weight: false, eps }
    }

    /// With gamma alone.
    #[must_use]
    pub const fn new_no_bias(weight: Tensor, eps: f64) -> Self {
        Self { weight, bias: None, remove_mean: true, one_plus_weight: false, eps }
    }

    /// With gamma alone, and without a mean.
    #[must_use]
    pub const fn rms_norm(weight: Tensor, eps: f64) -> Self {
        Self { weight, bias: None, remove_mean: false, one_plus_weight: false, eps }
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
    /// As of [`ops::add_layer_norm`].
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<(Tensor, Tensor)> {
        self.add([x, residual], None)
    }

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
        self.add([x, residual], dropout.next(x, train))
    }

    fn add(
        &self,
        addends: [&Tensor; 2],
        dropout: Option<(f64, Stream)>,
    ) -> Result<(Tensor, Tensor)> {
        let (y, sum) =
            ops::add_norm(self.norm(), addends, &self.weight, self.fused_bias(), dropout)?;
        Ok((self.add_bias(y)?, sum))
    }

    /// The norm of `x + residual` alone, for a model that normalises after the addition, as BERT does. The sum is written to memory
    /// only where a gradient will need it.
    ///
    /// # Errors
    ///
    /// As of [`ops::add_layer_norm`].
    pub fn forward_residual(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.add_bias(ops::norm_of_sum(
            self.norm(),
            [x, residual],
            &self.weight,
            self.fused_bias(),
        )?)
    }

    const fn norm(&self) -> Norm {
        if self.remove_mean {
            return Norm::Layer(evenkeel::LayerNorm::new().with_eps(self.eps));
        }
        let norm = evenkeel::RmsNorm::new().with_eps(self.eps);
        Norm::Rms(norm.with_one_plus_gamma(self.one_plus_weight))
    }

    /// beta, where the kernel adds it. `RmsNorm` has none: candle can read one nevertheless.
    const fn fused_bias(&self) -> Option<&Tensor> {
        if self.remove_mean { self.bias.as_ref() } else { None }
    }

    fn add_bias(&self, y: Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) if !self.remove_mean => y.broadcast_add(bias),
            _ => Ok(y),
        }
    }
}

impl Module for LayerNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.add_bias(ops::norm(self.norm(), x, Some(&self.weight), self.fused_bias())?)
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
    let LayerNormConfig { remove_mean, eps, .. } = config;
    Ok(LayerNorm { weight, bias, remove_mean, one_plus_weight: false, eps })
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

    /// Whether 1 + gamma takes the place of gamma, as in the models of the Gemma family.
    #[must_use]
    pub const fn with_one_plus_gamma(mut self, one_plus_gamma: bool) -> Self {
        self.0.one_plus_weight = one_plus_gamma;
        self
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

    /// The norm of `x + residual` alone. The sum is written to memory only where a gradient will need it.
    ///
    /// # Errors
    ///
    /// As of [`ops::add_rms_norm`].
    pub fn forward_residual(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.0.forward_residual(x, residual)
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
