//! The norms of channels as modules: x is `[batch, channels, ...]`.

use candle_core::{DType, Result, Tensor, Var, bail};
use candle_nn::{BatchNormConfig, Module, ModuleT, VarBuilder};

use crate::channels::{ChannelApplication, ChannelNorm};

/// `GroupNorm`, in the place of `candle_nn::GroupNorm`.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    num_groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// With gamma and beta, one a channel.
    ///
    /// # Errors
    ///
    /// If the groups do not divide the channels, or a parameter has another length.
    pub fn new(
        weight: Tensor,
        bias: Tensor,
        num_channels: usize,
        num_groups: usize,
        eps: f64,
    ) -> Result<Self> {
        if num_groups == 0 || !num_channels.is_multiple_of(num_groups) {
            bail!("{num_groups} groups do not divide {num_channels} channels");
        }
        for parameter in [&weight, &bias] {
            if parameter.dims() != [num_channels] {
                bail!("a parameter of {num_channels} channels has shape {:?}", parameter.shape());
            }
        }
        Ok(Self { weight, bias, num_groups, eps })
    }
}

impl Module for GroupNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let Self { weight, bias, num_groups, eps } = self;
        let norm = evenkeel::GroupNorm::new().with_groups(*num_groups).with_eps(*eps);
        let application = ChannelApplication::new(ChannelNorm::Groups(norm), None);
        apply(application, x, Some((weight, bias)), &mut |_| Ok(()))
    }
}

/// A `GroupNorm` whose parameters are `weight` and `bias`.
///
/// # Errors
///
/// If a parameter cannot be had, or the groups do not divide the channels.
pub fn group_norm(
    num_groups: usize,
    num_channels: usize,
    eps: f64,
    vb: VarBuilder<'_>,
) -> Result<GroupNorm> {
    let weight = vb.get_with_hints(num_channels, "weight", candle_nn::Init::Const(1.0))?;
    let bias = vb.get_with_hints(num_channels, "bias", candle_nn::Init::Const(0.0))?;
    GroupNorm::new(weight, bias, num_channels, num_groups, eps)
}

/// `BatchNorm`, in the place of `candle_nn::BatchNorm`. Running statistics are variables that [`forward_train`](Self::forward_train)
/// updates by PyTorch's rule, with the unbiased variance.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    running_mean: Var,
    running_var: Var,
    weight_and_bias: Option<(Tensor, Tensor)>,
    eps: f64,
    momentum: f64,
}

impl BatchNorm {
    /// With gamma and beta, and a momentum of 0.1.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape than `[num_features]`.
    pub fn new(
        num_features: usize,
        running_mean: Tensor,
        running_var: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: f64,
    ) -> Result<Self> {
        let affine = Some((weight, bias));
        Self::with([running_mean, running_var], affine, (eps, 0.1))?.of(num_features)
    }

    /// Without gamma and beta.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new).
    pub fn new_no_bias(
        num_features: usize,
        running_mean: Tensor,
        running_var: Tensor,
        eps: f64,
    ) -> Result<Self> {
        Self::with([running_mean, running_var], None, (eps, 0.1))?.of(num_features)
    }

    fn with(
        [mean, var]: [Tensor; 2],
        weight_and_bias: Option<(Tensor, Tensor)>,
        (eps, momentum): (f64, f64),
    ) -> Result<Self> {
        let (running_mean, running_var) = (Var::from_tensor(&mean)?, Var::from_tensor(&var)?);
        Ok(Self { running_mean, running_var, weight_and_bias, eps, momentum })
    }

    /// Checks the shapes.
    fn of(self, num_features: usize) -> Result<Self> {
        let running = [self.running_mean.as_tensor(), self.running_var.as_tensor()];
        let affine = self.weight_and_bias.iter().flat_map(|(weight, bias)| [weight, bias]);
        for tensor in running.into_iter().chain(affine) {
            if tensor.dims() != [num_features] {
                bail!("a tensor of {num_features} features has shape {:?}", tensor.shape());
            }
        }
        Ok(self)
    }

    /// The running mean.
    #[must_use]
    pub fn running_mean(&self) -> &Tensor {
        self.running_mean.as_tensor()
    }

    /// The running variance.
    #[must_use]
    pub fn running_var(&self) -> &Tensor {
        self.running_var.as_tensor()
    }

    /// What is added to the variance.
    #[must_use]
    pub const fn eps(&self) -> f64 {
        self.eps
    }

    /// How much of a running statistic a batch replaces.
    #[must_use]
    pub const fn momentum(&self) -> f64 {
        self.momentum
    }

    /// gamma and beta, if they are there.
    #[must_use]
    pub fn weight_and_bias(&self) -> Option<(&Tensor, &Tensor)> {
        self.weight_and_bias.as_ref().map(|(weight, bias)| (weight, bias))
    }

    /// Normalises x by its own statistics, and updates the running ones.
    ///
    /// # Errors
    ///
    /// If x has another number of channels, or the device is no CPU.
    pub fn forward_train(&self, x: &Tensor) -> Result<Tensor> {
        let norm = evenkeel::BatchNorm::new()
            .with_eps(self.eps)
            .with_pytorch_momentum(self.momentum)
            .with_unbiased_running_var(true);
        let running = self.running()?;
        let application = ChannelApplication::new(ChannelNorm::Train(norm), Some(running));
        apply(application, x, self.weight_and_bias(), &mut |[mean, var]| {
            for (variable, values) in [(&self.running_mean, mean), (&self.running_var, var)] {
                let len = values.len();
                let values = Tensor::from_vec(values, len, variable.device())?;
                variable.set(&values.to_dtype(variable.dtype())?)?;
            }
            Ok(())
        })
    }

    /// Normalises x by the running statistics.
    ///
    /// # Errors
    ///
    /// As of [`forward_train`](Self::forward_train).
    pub fn forward_eval(&self, x: &Tensor) -> Result<Tensor> {
        let norm = evenkeel::BatchNorm::new().with_eps(self.eps);
        let application = ChannelApplication::new(ChannelNorm::Eval(norm, self.running()?), None);
        apply(application, x, self.weight_and_bias(), &mut |_| Ok(()))
    }

    fn running(&self) -> Result<[Vec<f32>; 2]> {
        let values = |of: &Var| of.as_detached_tensor().to_dtype(DType::F32)?.to_vec1();
        Ok([values(&self.running_mean)?, values(&self.running_var)?])
    }
}

impl ModuleT for BatchNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        if train { self.forward_train(x) } else { self.forward_eval(x) }
    }
}

/// A `BatchNorm` whose parameters are `weight`, `bias`, `running_mean` and `running_var`.
///
/// # Errors
///
/// If a parameter cannot be had, or the configuration keeps the mean.
pub fn batch_norm(
    num_features: usize,
    config: impl Into<BatchNormConfig>,
    vb: VarBuilder<'_>,
) -> Result<BatchNorm> {
    let config = config.into();
    if !config.remove_mean {
        bail!("BatchNorm without its mean is not there");
    }
    // candle reads the parameters; the layer of these is ours.
    let theirs = candle_nn::batch_norm(num_features, config, vb)?;
    let affine = theirs.weight_and_bias().map(|(weight, bias)| (weight.clone(), bias.clone()));
    let running = [theirs.running_mean().clone(), theirs.running_var().clone()];
    BatchNorm::with(running, affine, (config.eps, config.momentum))?.of(num_features)
}

/// In f32, and back in the type of x.
fn apply(
    application: ChannelApplication,
    x: &Tensor,
    affine: Option<(&Tensor, &Tensor)>,
    updated: &mut dyn FnMut([Vec<f32>; 2]) -> Result<()>,
) -> Result<Tensor> {
    let single = x.to_dtype(DType::F32)?.contiguous()?;
    let y = match affine {
        None => application.apply(&single, None, updated)?,
        Some((weight, bias)) => {
            let (weight, bias) = (weight.to_dtype(DType::F32)?, bias.to_dtype(DType::F32)?);
            application.apply(&single, Some((&weight, &bias)), updated)?
        }
    };
    y.to_dtype(x.dtype())
}
