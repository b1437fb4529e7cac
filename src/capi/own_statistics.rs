//! What the entries share whose operation takes its statistics from samples of channels.

use super::buffers::{Buffer, Extent};
use super::fault::Fault;
use super::io::Io;
use super::statistics::{StatisticBuffer, both_or_neither, with_statistics, write_statistics};
use super::valid::ValidBuffer;
use crate::args::norm::NormArgs;
use crate::error::Error;
use crate::shape::Channels;
use crate::simd::InOut;

/// The buffers of an operation that takes its statistics from x.
pub(super) struct OwnStatistics {
    pub(super) x: Buffer<f32>,
    pub(super) gamma: Buffer<f32>,
    pub(super) beta: Buffer<f32>,
    pub(super) y: Buffer<f32>,
    pub(super) mean: StatisticBuffer,
    pub(super) rstd: StatisticBuffer,
    pub(super) scratch: Option<Buffer<f64>>,
    pub(super) valid: Option<ValidBuffer>,
}

impl OwnStatistics {
    /// Runs an operation. `statistics` is the number of means for its shape.
    ///
    /// # Safety
    ///
    /// The duties of the entries.
    pub(super) unsafe fn run(
        &self,
        shape: impl FnOnce() -> Result<Channels, Box<Fault>>,
        statistics: impl FnOnce(Channels) -> usize,
        operation: impl for<'a> FnOnce(
            InOut<'_, 'a>,
            Channels,
            NormArgs<'_>,
        ) -> Result<&'a mut [f32], Error>,
    ) -> Result<(), Box<Fault>> {
        let Self { x, gamma, beta, y, mean, rstd, scratch, valid } = self;
        let mask = valid.map_or(Extent::default(), |valid| valid.extent());
        let scratch_extent = scratch.map_or(Extent::default(), |scratch| scratch.extent());
        let inputs = [x.extent(), gamma.extent(), beta.extent(), mask];
        let outputs = [y.extent(), mean.extent(), rstd.extent(), scratch_extent];
        let io = Io::check(*x, *y, outputs, inputs)?;
        let shape = shape()?;
        let statistics = statistics(shape);
        both_or_neither(mean, rstd, statistics)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let mut args =
                NormArgs::new().maybe_gamma(gamma.optional()).maybe_beta(beta.optional());
            if let Some(valid) = valid {
                args = args.valid(valid.rows());
            }
            if let Some(scratch) = scratch.and_then(|scratch| scratch.optional_mut()) {
                args = args.scratch(scratch);
            }
            write_statistics([mean, rstd], statistics, |stats| {
                operation(io.get(), shape, with_statistics(args, stats))?;
                Ok(())
            })
        }
    }
}
