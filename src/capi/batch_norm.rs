//! What the entries of BatchNorm share: of matrices, of channels and of padded batches.

use super::buffers::{Buffer, Extent, temporary};
use super::execution::{evenkeel_execution, execution};
use super::fault::Fault;
use super::io::Io;
use super::running::{
    EVENKEEL_MOMENTUM_CUMULATIVE, EVENKEEL_MOMENTUM_KEEP, EVENKEEL_MOMENTUM_PYTORCH,
    evenkeel_running,
};
use super::statistics::StatisticBuffer;
use super::valid::ValidBuffer;
use crate::args::running::RunningStatistics;
use crate::args::valid_rows::kept_rows;
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
            let (gamma, beta) = (gamma.optional(), beta.optional());
            let valid = valid.map(|valid| valid.rows());
            let running = running.map(|(mean, var)| RunningStatistics {
                mean: mean.slice_mut(),
                var: var.slice_mut(),
            });
            let mut allocated;
            let scratch = if scratch.is_absent() {
                io.check_lengths(shape.elements())?;
                allocated = temporary(operation.scratch_len(shape))?;
                &mut allocated
            } else {
                scratch.slice_mut()
            };
            let mut wide = [mean.temporary(shape.channels())?, rstd.temporary(shape.channels())?];
            let [wide_mean, wide_rstd] = &mut wide;
            let means = mean.write(wide_mean).unwrap_or_default();
            let rstds = rstd.write(wide_rstd).unwrap_or_default();
            io.with_span(shape.elements(), |io| {
                let scratch = Some(scratch);
                operation
                    .driver()
                    .train(io, valid, gamma, beta, shape, means, rstds, running, scratch)
            })?;
            // A batch of no rows has no statistics: the buffers keep their elements.
            if kept_rows(valid, shape.batch() * shape.positions())?.1 > 0 {
                mean.finish(&wide[0]);
                rstd.finish(&wide[1]);
            }
            Ok(())
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
            let (mean, var) = (mean.slice(), var.slice());
            let (gamma, beta) = (gamma.optional(), beta.optional());
            let valid = valid.map(|valid| valid.rows());
            let elements = shape.elements();
            io.with_span(elements, |io| {
                operation.driver().infer(io, valid, mean, var, gamma, beta, shape)
            })
        }
    }
}
