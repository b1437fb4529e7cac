//! The driver of operations on samples of channels: GroupNorm, InstanceNorm and LayerNorm over channels.
#![forbid(unsafe_code)]

use crate::args::valid_rows::kept_rows;
use crate::error::Error;
use crate::kernels::channels::first::{NormalizeGroups, Planes};
use crate::kernels::channels::last::NormalizeSamples;
use crate::kernels::channels::layer_norm::{NormalizePositions, panel_fits};
use crate::kernels::channels::padded::PaddedSamples;
use crate::kernels::channels::statistics::GroupStatistics;
use crate::kernels::columns::coefficients::GivenColumns;
use crate::kernels::columns::moments::RowChunks;
use crate::kernels::columns::normalize::NormalizeColumns;
use crate::kernels::columns::row_affine::PerRow;
use crate::kernels::rows::source::MeanVariance;
use crate::kernels::split::split_optional;
use crate::mask::ValidRows;
use crate::memory;
use crate::norm::columns::{all_rows, column_scratch_len, column_statistics, normalize_columns};
use crate::norm::rows::{PLAIN, contiguous, normalize_rows};
use crate::run::execution::Execution;
use crate::run::parallel::Parallelism;
use crate::shape::{Channels, check_at_least, check_eps, check_optional};
use crate::simd::{LANES, Span};

/// Where mean and rstd go, if they are asked for.
type GroupOutputs<'s> = (Option<&'s mut [f64]>, Option<&'s mut [f64]>);

/// What GroupNorm and InstanceNorm are.
#[derive(Clone, Copy)]
pub(crate) struct GroupSpec {
    /// `None`: every channel is one.
    pub(crate) groups: Option<usize>,
    pub(crate) eps: f64,
    pub(crate) execution: Execution,
}

/// How the work is done. What it is done on, and every result, is the same.
enum GroupPlan {
    /// Every group is a row.
    Rows,
    /// Every sample by itself, in slots of so many, each with so many vectors of scratch.
    Samples { slots: usize, samples: usize, each: usize },
    /// One sample after the other, each on all threads.
    Within,
}

/// Slots of samples, at most, for threads to share: each has scratch of its own.
const MOST_SLOTS: usize = 16;

impl GroupSpec {
    fn plan(&self, shape: Channels) -> GroupPlan {
        if !shape.is_last() || shape.positions() == 1 {
            return GroupPlan::Rows;
        }
        let parallelism = self.execution.parallelism;
        let most = if parallelism.may_fork(shape.elements()) { MOST_SLOTS } else { 1 };
        if shape.batch() < most && parallelism.may_fork(shape.sample()) {
            return GroupPlan::Within;
        }
        let samples = shape.batch().div_ceil(most).max(1);
        let each = RowChunks::new(shape.positions(), shape.channels(), false).scratch;
        GroupPlan::Samples { slots: shape.batch().div_ceil(samples), samples, each }
    }

    pub(crate) fn scratch_len(&self, shape: Channels) -> usize {
        match self.plan(shape) {
            GroupPlan::Rows => 0,
            GroupPlan::Samples { slots, each, .. } => {
                slots.saturating_mul(each).saturating_mul(LANES)
            }
            GroupPlan::Within => column_scratch_len(self.execution, shape.sample_rows()),
        }
    }

    /// Groups of a sample.
    pub(crate) fn groups_of(&self, shape: Channels) -> usize {
        self.groups.unwrap_or(shape.channels())
    }

    /// Refuses parameters that do not fit the shape; gives mean and rstd back.
    fn check<'s>(
        &self,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        stats: Option<(&'s mut [f64], &'s mut [f64])>,
        scratch: Option<&[f64]>,
    ) -> Result<GroupOutputs<'s>, Error> {
        let (channels, positions) = (shape.channels(), shape.positions());
        let groups = self.groups_of(shape);
        check_eps(self.eps)?;
        if self.groups.is_some() && (groups == 0 || !channels.is_multiple_of(groups)) {
            return Err(Error::Groups { channels, got: groups });
        }
        check_optional("gamma", gamma, channels)?;
        check_optional("beta", beta, channels)?;
        let (mean, rstd) = stats.unzip();
        // Where there are no channels, there may be more groups than can be counted.
        let statistics = shape.batch().saturating_mul(groups);
        check_optional("mean", mean.as_deref(), statistics)?;
        check_optional("rstd", rstd.as_deref(), statistics)?;
        if let Some(scratch) = scratch {
            check_at_least("scratch", scratch.len(), self.scratch_len(shape))?;
        }
        if mean.is_some() && statistics > 0 {
            for (arg, len) in [("channels", channels), ("positions", positions)] {
                if len == 0 {
                    return Err(Error::EmptyAxis { arg });
                }
            }
        }
        Ok((mean, rstd))
    }

    /// As [`run`](Self::run) of the samples without their padding, which becomes `+0.0`.
    pub(crate) fn run_masked(
        &self,
        io: Span<'_>,
        valid: ValidRows<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        stats: Option<(&mut [f64], &mut [f64])>,
    ) -> Result<(), Error> {
        let (mean, rstd) = self.check(gamma, beta, shape, stats, None)?;
        let (kept, _) = kept_rows(Some(valid), shape.batch() * shape.positions())?;
        if shape.elements() == 0 {
            return Ok(());
        }
        let mut one = *self;
        if shape.batch() > 1 {
            // The samples are the tasks.
            one.execution.parallelism = Parallelism::Serial;
        }
        let normalize = |io: Span<'_>, shape: Channels, stats: Option<(&mut [f64], &mut [f64])>| {
            one.run(io, gamma, beta, shape, stats, None)
        };
        let groups = self.groups_of(shape);
        let work = PaddedSamples { normalize, io, shape, groups, kept, first: 0, mean, rstd };
        self.execution.reduce(work, shape.elements(), Result::and)
    }

    pub(crate) fn run(
        &self,
        io: Span<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        stats: Option<(&mut [f64], &mut [f64])>,
        scratch: Option<&mut [f64]>,
    ) -> Result<(), Error> {
        let (channels, positions) = (shape.channels(), shape.positions());
        let (mean, rstd) = self.check(gamma, beta, shape, stats, scratch.as_deref())?;
        if shape.elements() == 0 {
            return Ok(());
        }

        let (Self { eps, execution, .. }, groups) = (*self, self.groups_of(shape));
        let per_group = channels / groups;
        let mut allocated = Vec::new();
        let scratch = memory::or_allocated(scratch, &mut allocated, self.scratch_len(shape))?;
        match self.plan(shape) {
            GroupPlan::Rows => {
                let io = execution.stores.apply(io, positions);
                let io = Planes::new(io, (channels, positions), gamma, beta);
                let source = MeanVariance { eps, mean, rstd };
                let work = NormalizeGroups { io, planes: per_group, source };
                execution.run_parallel(work, shape.elements());
            }
            GroupPlan::Samples { slots, samples, each } => {
                let io = execution.stores.apply(io, shape.elements());
                let scratch = &mut scratch.as_chunks_mut().0[..slots * each];
                let work = NormalizeSamples {
                    io,
                    positions,
                    channels,
                    per_group,
                    eps,
                    gamma,
                    beta,
                    mean,
                    rstd,
                    samples,
                    each,
                    scratch,
                };
                execution.run_parallel(work, shape.elements());
            }
            GroupPlan::Within => {
                let (mut io, mut mean, mut rstd) =
                    (execution.stores.apply(io, shape.elements()), mean, rstd);
                let rows = shape.sample_rows();
                for _ in 0..shape.batch() {
                    let (sample, of_mean, of_rstd);
                    (sample, io) = io.split_at(rows.elements());
                    (of_mean, mean) = split_optional(mean, groups);
                    (of_rstd, rstd) = split_optional(rstd, groups);
                    let (means, m2s) =
                        column_statistics(execution, sample.src(), rows, all_rows(rows), scratch);
                    execution.run_serial(GroupStatistics {
                        rows: positions,
                        channels,
                        per_group,
                        eps,
                        means: &mut *means,
                        m2s: &mut *m2s,
                        mean: of_mean,
                        rstd: of_rstd,
                    });
                    let source = GivenColumns {
                        mean: &means.as_flattened()[..channels],
                        rstd: &m2s.as_flattened()[..channels],
                    };
                    normalize_columns(execution, sample, source, gamma, beta, rows);
                }
            }
        }
        Ok(())
    }
}

/// From so many samples on, threads share them; of fewer large ones, each is shared.
const MOST_TASKS: usize = 16;

/// Normalises every position by its own mean and variance over the channels: LayerNorm over channels.
pub(crate) fn normalize_positions(
    execution: Execution,
    eps: f64,
    io: Span<'_>,
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    shape: Channels,
    stats: Option<(&mut [f64], &mut [f64])>,
) -> Result<(), Error> {
    check_eps(eps)?;
    let (channels, positions) = (shape.channels(), shape.positions());
    check_optional("gamma", gamma, channels)?;
    check_optional("beta", beta, channels)?;
    let (mean, rstd) = stats.unzip();
    let statistics = shape.batch() * positions;
    check_optional("mean", mean.as_deref(), statistics)?;
    check_optional("rstd", rstd.as_deref(), statistics)?;
    if mean.is_some() && channels == 0 && statistics > 0 {
        return Err(Error::EmptyAxis { arg: "channels" });
    }
    if shape.elements() == 0 {
        return Ok(());
    }
    if let Some(rows) = shape.as_rows() {
        let source = MeanVariance { eps, mean, rstd };
        let io = contiguous(rows, io);
        return normalize_rows(execution, io, source, gamma, beta, PLAIN);
    }

    let io = execution.stores.apply(io, positions);
    let rows = PerRow { gamma, beta };
    let parallelism = execution.parallelism;
    let alone = shape.batch() < MOST_TASKS && parallelism.may_fork(shape.sample());
    if panel_fits(channels, positions) && !alone {
        let work = NormalizePositions { io, channels, positions, eps, rows, mean, rstd };
        execution.run_parallel(work, shape.elements());
        return Ok(());
    }
    // One sample after the other, each on all threads.
    let (mut io, mut mean, mut rstd) = (io, mean, rstd);
    let sample_rows = shape.sample_rows();
    let mut allocated = Vec::new();
    let scratch = memory::grow(&mut allocated, 0.0, column_scratch_len(execution, sample_rows))?;
    for _ in 0..shape.batch() {
        let (sample, of_mean, of_rstd);
        (sample, io) = io.split_at(shape.sample());
        (of_mean, mean) = split_optional(mean, positions);
        (of_rstd, rstd) = split_optional(rstd, positions);
        let (means, m2s) =
            column_statistics(execution, sample.src(), sample_rows, all_rows(sample_rows), scratch);
        execution.run_serial(GroupStatistics {
            rows: channels,
            channels: positions,
            per_group: 1,
            eps,
            means: &mut *means,
            m2s: &mut *m2s,
            mean: of_mean,
            rstd: of_rstd,
        });
        let source = GivenColumns {
            mean: &means.as_flattened()[..positions],
            rstd: &m2s.as_flattened()[..positions],
        };
        let (gamma, beta) = (None, None);
        let work = NormalizeColumns { io: sample, cols: positions, source, gamma, beta, rows };
        execution.run_parallel(work, shape.sample());
    }
    Ok(())
}
