//! What the entries share whose operation takes its statistics from x.

use super::buffers::{Buffer, Extent, temporary};
use super::fault::Fault;
use super::io::Io;
use super::statistics::{StatisticBuffer, both_or_neither};
use super::valid::ValidBuffer;
use crate::error::Error;
use crate::norm::channels::GroupSpec;
use crate::shape::Channels;
use crate::simd::Span;

/// The buffers of an operation that takes its statistics from x.
pub(super) struct OwnStatistics {
    pub(super) x: Buffer<f32>,
    pub(super) gamma: Buffer<f32>,
    pub(super) beta: Buffer<f32>,
    pub(super) y: Buffer<f32>,
    pub(super) mean: StatisticBuffer,
    pub(super) rstd: StatisticBuffer,
    pub(super) valid: Option<ValidBuffer>,
}

/// gamma and beta, where C passes them.
type GammaBeta<'a> = [Option<&'a [f32]>; 2];

/// Mean and rstd, where they are wanted.
type MeanRstd<'a> = Option<(&'a mut [f64], &'a mut [f64])>;

impl OwnStatistics {
    /// GroupNorm or InstanceNorm.
    ///
    /// # Safety
    ///
    /// The duties of the entries.
    pub(super) unsafe fn by_groups(
        &self,
        norm: GroupSpec,
        scratch: Buffer<f64>,
        shape: impl FnOnce() -> Result<Channels, Box<Fault>>,
    ) -> Result<(), Box<Fault>> {
        let statistics = |shape: Channels| shape.batch().saturating_mul(norm.groups_of(shape));
        // With padding the operation allocates its own scratch.
        let needed = |shape| if self.valid.is_some() { 0 } else { norm.scratch_len(shape) };
        // SAFETY: the caller's promise.
        unsafe {
            self.run(
                scratch,
                shape,
                (statistics, needed),
                |io, [gamma, beta], shape, stats, scratch| match self.valid {
                    None => norm.run(io, gamma, beta, shape, stats, Some(scratch)),
                    Some(valid) => norm.run_masked(io, valid.rows(), gamma, beta, shape, stats),
                },
            )
        }
    }

    /// Runs an operation. `statistics` and `needed` are the numbers of statistics and of scratch for its shape.
    ///
    /// # Safety
    ///
    /// The duties of the entries.
    pub(super) unsafe fn run(
        &self,
        scratch: Buffer<f64>,
        shape: impl FnOnce() -> Result<Channels, Box<Fault>>,
        (statistics, needed): (impl Fn(Channels) -> usize, impl Fn(Channels) -> usize),
        operation: impl FnOnce(
            Span<'_>,
            GammaBeta<'_>,
            Channels,
            MeanRstd<'_>,
            &mut [f64],
        ) -> Result<(), Error>,
    ) -> Result<(), Box<Fault>> {
        let Self { x, gamma, beta, y, mean, rstd, valid } = self;
        let mask = valid.map_or(Extent::default(), |valid| valid.extent());
        let inputs = [x.extent(), gamma.extent(), beta.extent(), mask];
        let outputs = [y.extent(), mean.extent(), rstd.extent(), scratch.extent()];
        let io = Io::check(*x, *y, outputs, inputs)?;
        let shape = shape()?;
        let statistics = statistics(shape);
        both_or_neither(mean, rstd, statistics)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let affine = [gamma.optional(), beta.optional()];
            let mut allocated;
            let scratch = if scratch.is_absent() {
                io.check_lengths(shape.elements())?;
                allocated = temporary(needed(shape))?;
                &mut allocated
            } else {
                scratch.slice_mut()
            };
            let mut wide = [mean.temporary(statistics)?, rstd.temporary(statistics)?];
            let [wide_mean, wide_rstd] = &mut wide;
            let stats = mean.write(wide_mean).zip(rstd.write(wide_rstd));
            io.with_span(shape.elements(), |io| operation(io, affine, shape, stats, scratch))?;
            mean.finish(&wide[0]);
            rstd.finish(&wide[1]);
            Ok(())
        }
    }
}
