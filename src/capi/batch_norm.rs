//! What the entries of BatchNorm share: of matrices, of channels and of padded batches.

use super::buffers::{Buffer, Extent};
use super::execution::{evenkeel_execution, execution};
use super::fault::Fault;
use super::io::Io;
use super::running::{
    EVENKEEL_MOMENTUM_CUMULATIVE, EVENKEEL_MOMENTUM_KEEP, EVENKEEL_MOMENTUM_PYTORCH,
    evenkeel_running,
};
use super::statistics::{StatisticBuffer, write_statistics};
use super::valid::ValidBuffer;
use crate::args::norm::NormArgs;
use crate::args::train::TrainArgs;
use crate::norm::batch_norm::BatchNorm;
use crate::shape::Channels;

/// The arguments of BatchNorm's training, without the shape.
pub(super) struct BatchNormTraining {
    pub(super) x: Buffer<f32>,
    pub(super) gamma: Buffer<f32>,
    pub(super) beta: Buffer<f32>,
    pub(super) eps: f64,
    pub(super) y: Buffer<f32>,
    pub(super) mean: StatisticBuffer,
    pub(super) rstd: StatisticBuffer,
    pub(super) running: Buffer<evenkeel_running>,
    pub(super) scratch: Buffer<f64>,
    pub(super) valid: Option<ValidBuffer>,
    pub(super) execution: *const evenkeel_execution,
}

impl BatchNormTraining {
    /// # Safety
    ///
    /// The duties of the entries.
    pub(super) unsafe fn run(
        &self,
        shape: impl FnOnce() -> Result<Channels, Box<Fault>>,
    ) -> Result<(), Box<Fault>> {
        let Self { x, gamma, beta, eps, y, mean, rstd, running, scratch, valid, execution } = self;
        running.check()?;
        // SAFETY: the caller's promise.
        let (running, execution) =
            unsafe { (running.slice().first().copied(), self::execution(*execution)?) };
        let mut operation = BatchNorm::new().with_eps(*eps).with_execution(execution);
        if let Some(running) = &running {
            operation = operation.with_unbiased_running_var(running.unbiased_var != 0);
            operation = match running.rule {
                EVENKEEL_MOMENTUM_KEEP => operation.with_momentum(running.momentum),
                EVENKEEL_MOMENTUM_PYTORCH => operation.with_pytorch_momentum(running.momentum),
                EVENKEEL_MOMENTUM_CUMULATIVE => operation.with_cumulative_average(running.batches),
                got => {
                    let expected = "a number EVENKEEL_MOMENTUM_...";
                    return Err(Fault::Option { arg: "rule", expected, got }.boxed());
                }
            };
        }
        let running = running.map(|running| {
            let mean = Buffer::output("running_mean", running.mean, running.mean_len);
            (mean, Buffer::output("running_var", running.var, running.var_len))
        });
        let [running_mean, running_var] = match &running {
            Some((mean, var)) => [mean.extent(), var.extent()],
            None => Default::default(),
        };
        let mask = valid.map_or(Extent::default(), |valid| valid.extent());
        let inputs = [x.extent(), gamma.extent(), beta.extent(), mask];
        let outputs =
            [y.extent(), mean.extent(), rstd.extent(), scratch.extent(), running_mean, running_var];
        let io = Io::check(*x, *y, outputs, inputs)?;
        let shape = shape()?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let mut args =
                TrainArgs::new().maybe_gamma(gamma.optional()).maybe_beta(beta.optional());
            if let Some(valid) = valid {
                args = args.valid(valid.rows());
            }
            if let Some((mean, var)) = &running {
                args = args.running(mean.slice_mut(), var.slice_mut());
            }
            if let Some(scratch) = scratch.optional_mut() {
                args = args.scratch(scratch);
            }
            write_statistics([mean, rstd], shape.channels(), |stats| {
                // Absent, they are too short.
                let [mean, rstd] = stats.map(Option::unwrap_or_default);
                operation.forward_training(io.get(), shape, args.stats(mean, rstd))?;
                Ok(())
            })
        }
    }
}

/// The arguments of BatchNorm's inference, without the shape.
pub(super) struct BatchNormInference {
    pub(super) x: Buffer<f32>,
    pub(super) running_mean: Buffer<f32>,
    pub(super) running_var: Buffer<f32>,
    pub(super) gamma: Buffer<f32>,
    pub(super) beta: Buffer<f32>,
    pub(super) eps: f64,
    pub(super) y: Buffer<f32>,
    pub(super) valid: Option<ValidBuffer>,
    pub(super) execution: *const evenkeel_execution,
}

impl BatchNormInference {
    /// # Safety
    ///
    /// The duties of the entries.
    pub(super) unsafe fn run(
        &self,
        shape: impl FnOnce() -> Result<Channels, Box<Fault>>,
    ) -> Result<(), Box<Fault>> {
        let Self { x, running_mean: mean, running_var: var, gamma, beta, eps, y, valid, execution } =
            self;
        let mask = valid.map_or(Extent::default(), |valid| valid.extent());
        let inputs = [x.extent(), mean.extent(), var.extent(), gamma.extent(), beta.extent(), mask];
        let io = Io::check(*x, *y, [y.extent()], inputs)?;
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(*execution)? };
        let operation = BatchNorm::new().with_eps(*eps).with_execution(execution);
        let shape = shape()?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let mut args =
                NormArgs::new().maybe_gamma(gamma.optional()).maybe_beta(beta.optional());
            if let Some(valid) = valid {
                args = args.valid(valid.rows());
            }
            operation.forward_inference(io.get(), shape, mean.slice(), var.slice(), args)?;
            Ok(())
        }
    }
}
