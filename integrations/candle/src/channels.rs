//! The norms of channels as operations of candle's graph: x is `[batch, channels, ...]`.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Error, Layout, Result, Shape, Tensor, bail};
use evenkeel::{Channels, GradArgs, InOut, NormArgs, TrainArgs, to_vec};

use crate::autograd::cpu;
use crate::layout::{f32s, vector};

/// Which norm.
#[derive(Clone, Debug)]
pub(crate) enum ChannelNorm {
    /// By the statistics of the batch.
    Train(evenkeel::BatchNorm),
    /// By running statistics, mean and variance.
    Eval(evenkeel::BatchNorm, [Vec<f32>; 2]),
    Groups(evenkeel::GroupNorm),
}

/// One application of a norm. candle keeps it until the backward pass, and so it keeps the statistics of a batch.
pub(crate) struct ChannelApplication {
    norm: ChannelNorm,
    statistics: OnceLock<[Vec<f64>; 2]>,
    /// Running statistics, which a training step updates.
    running: Mutex<Option<[Vec<f32>; 2]>>,
}

/// The shape of x.
fn channels(layout: &Layout) -> Result<Channels> {
    match layout.dims() {
        [batch, channels, positions @ ..] => {
            Channels::first(*batch, *channels, positions.iter().product()).map_err(Error::wrap)
        }
        dims => bail!("a norm of channels needs two dimensions, not {dims:?}"),
    }
}

/// The elements of a tensor, which has to be contiguous.
fn elements<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&f32s(storage)?[start..end]),
        None => bail!("a tensor of channels has to be contiguous"),
    }
}

impl ChannelApplication {
    pub(crate) fn new(norm: ChannelNorm, running: Option<[Vec<f32>; 2]>) -> Self {
        Self { norm, statistics: OnceLock::new(), running: Mutex::new(running) }
    }

    /// Normalises x. Without parameters gamma is 1 and beta 0. Gives the running statistics on through `updated`.
    pub(crate) fn apply(
        self,
        x: &Tensor,
        affine: Option<(&Tensor, &Tensor)>,
        updated: &mut dyn FnMut([Vec<f32>; 2]) -> Result<()>,
    ) -> Result<Tensor> {
        let shared = Arc::new(self);
        let y = match affine {
            None => x.apply_op1(Shared(shared.clone()))?,
            Some((gamma, beta)) => x.apply_op3(gamma, beta, Shared(shared.clone()))?,
        };
        let running = shared.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            updated(running)?;
        }
        Ok(y)
    }

    fn forward(
        &self,
        (storage, layout): (&CpuStorage, &Layout),
        affine: Option<(&[f32], &[f32])>,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, shape) = (elements(storage, layout)?, channels(layout)?);
        let (gamma, beta) = affine.unzip();
        let args = NormArgs::new().maybe_gamma(gamma).maybe_beta(beta);
        let y = to_vec(x.len(), |y| match &self.norm {
            ChannelNorm::Train(norm) => {
                let [mut mean, mut rstd] = [(); 2].map(|()| vec![0.0; shape.channels()]);
                let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
                let mut args = TrainArgs::new().maybe_gamma(gamma).maybe_beta(beta);
                args = args.stats(&mut mean, &mut rstd);
                if let Some([mean, var]) = &mut *running {
                    args = args.running(mean, var);
                }
                let y = norm.forward_training(InOut::uninit(x, y), shape, args);
                let _ = self.statistics.set([mean, rstd]);
                y
            }
            ChannelNorm::Eval(norm, [mean, var]) => {
                norm.forward_inference(InOut::uninit(x, y), shape, mean, var, args)
            }
            ChannelNorm::Groups(norm) => norm.forward(InOut::uninit(x, y), shape, args),
        })
        .map_err(Error::wrap)?;
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    /// The gradients of x, gamma and beta, each if somebody wants it.
    fn backward(
        &self,
        x: &Tensor,
        affine: Option<(&Tensor, &Tensor)>,
        dy: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let dy = dy.contiguous()?;
        let (x_storage, of_x) = x.storage_and_layout();
        let (dy_storage, of_dy) = dy.storage_and_layout();
        let (of_elements, dy_elements) =
            (elements(cpu(&x_storage)?, of_x)?, elements(cpu(&dy_storage)?, of_dy)?);
        let shape = channels(of_x)?;
        let gamma = affine.map(|(gamma, _)| gamma.storage_and_layout());
        let wants = [affine.map(|(gamma, _)| gamma), affine.map(|(_, beta)| beta)]
            .map(|tensor| tensor.is_some_and(Tensor::track_op));
        let [mut dgamma, mut dbeta] =
            wants.map(|wanted| vec![0.0_f32; if wanted { shape.channels() } else { 0 }]);
        let mut args = GradArgs::new();
        if let Some((storage, layout)) = &gamma {
            args = args.gamma(vector::<f32>(cpu(storage)?, layout)?);
        }
        if let Some([mean, rstd]) = self.statistics.get() {
            args = args.stats(mean, rstd);
        }
        if wants[0] {
            args = args.dgamma(&mut dgamma);
        }
        if wants[1] {
            args = args.dbeta(&mut dbeta);
        }
        let dx = to_vec(of_elements.len(), |dx| {
            let io = InOut::uninit(dy_elements, dx);
            match &self.norm {
                ChannelNorm::Train(norm) => norm.backward(io, of_elements, shape, args),
                ChannelNorm::Eval(norm, [mean, var]) => {
                    norm.backward_inference(io, of_elements, shape, (mean, var), args)
                }
                ChannelNorm::Groups(norm) => norm.backward(io, of_elements, shape, args),
            }
        })
        .map_err(Error::wrap)?;
        let dx = Tensor::from_vec(dx, x.shape(), x.device())?;
        let parameter = |gradient: Vec<f32>, wanted: bool| {
            wanted.then(|| Tensor::from_vec(gradient, shape.channels(), x.device())).transpose()
        };
        Ok([Some(dx), parameter(dgamma, wants[0])?, parameter(dbeta, wants[1])?])
    }
}

/// The application, which the caller asks for running statistics after candle has it.
struct Shared(Arc<ChannelApplication>);

impl CustomOp1 for Shared {
    fn name(&self) -> &'static str {
        "evenkeel norm of channels"
    }

    fn cpu_fwd(&self, x: &CpuStorage, of_x: &Layout) -> Result<(CpuStorage, Shape)> {
        self.0.forward((x, of_x), None)
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let [dx, ..] = self.0.backward(x, None, dy)?;
        Ok(dx)
    }
}

impl CustomOp3 for Shared {
    fn name(&self) -> &'static str {
        "evenkeel norm of channels"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        of_x: &Layout,
        gamma: &CpuStorage,
        of_gamma: &Layout,
        beta: &CpuStorage,
        of_beta: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let affine = (vector::<f32>(gamma, of_gamma)?, vector::<f32>(beta, of_beta)?);
        self.0.forward((x, of_x), Some(affine))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, dgamma, dbeta] = self.0.backward(x, Some((gamma, beta)), dy)?;
        Ok((dx, dgamma, dbeta))
    }
}
