//! The driver of operations on samples of channels: GroupNorm, InstanceNorm and LayerNorm over channels.
#![forbid(unsafe_code)]

use crate::args::norm::NormArgs;
use crate::element::single;
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
use crate::memory;
use crate::norm::columns::{
    ChannelSpan, all_rows, column_scratch_len, column_statistics, normalize_columns,
};
use crate::norm::rows::{clear_statistics, padding};
use crate::norm::stored_whole::normalize_whole;
use crate::run::execution::{Call, Execution};
use crate::shape::{Channels, check_at_least, check_eps};
use crate::simd::{Io, LANES, RowSpan, Span};

/// The configuration of GroupNorm and InstanceNorm.
#[derive(Clone, Copy)]
pub(crate) struct GroupSpec {
    /// How many groups; `None`: every channel is one.
    pub(crate) groups: Option<usize>,
    pub(crate) eps: f64,
    pub(crate) execution: Execution,
}

/// How the work is cut. No plan changes a result.
enum GroupPlan {
    /// Every group is a row.
    Rows,
    /// Threads share the samples, in slots of so many samples. A slot has so many vectors of scratch.
    Samples { slots: usize, samples: usize, each: usize },
    /// One sample after the other, each on all threads.
    Within,
}

/// The most slots of samples that threads share.
const MOST_SLOTS: usize = 16;

impl GroupPlan {
    /// Numbers of scratch.
    fn scratch_len(&self, execution: Execution, shape: Channels) -> usize {
        match self {
            Self::Rows => 0,
            Self::Samples { slots, each, .. } => slots.saturating_mul(*each).saturating_mul(LANES),
            Self::Within => column_scratch_len(execution, shape.sample_rows()),
        }
    }
}

impl GroupSpec {
    /// `forks` says whether threads share work on so many elements.
    fn plan(&self, shape: Channels, forks: impl Fn(usize) -> bool) -> GroupPlan {
        if !shape.is_last() || shape.positions() == 1 {
            return GroupPlan::Rows;
        }
        let most = if forks(shape.elements()) { MOST_SLOTS } else { 1 };
        if shape.batch() < most && forks(shape.sample()) {
            return GroupPlan::Within;
        }
        let samples = shape.batch().div_ceil(most).max(1);
        let each = RowChunks::new(shape.positions(), shape.channels(), false).scratch;
        GroupPlan::Samples { slots: shape.batch().div_ceil(samples), samples, each }
    }

    /// Numbers of scratch that [`run`](Self::run) needs at most: its plan depends on where it is called from, this does not.
    pub(crate) fn scratch_len(&self, shape: Channels) -> usize {
        let may_fork = |elements| self.execution.parallelism.may_fork(elements);
        let shared = self.plan(shape, may_fork);
        let by_samples =
            self.plan(shape, |elements| elements > shape.sample() && may_fork(elements));
        let len = |plan: GroupPlan| plan.scratch_len(self.execution, shape);
        len(shared).max(len(by_samples))
    }

    /// Groups of a sample.
    pub(crate) fn groups_of(&self, shape: Channels) -> usize {
        self.groups.unwrap_or(shape.channels())
    }

    /// Normalises every group of every sample.
    pub(crate) fn run(
        &self,
        io: Io<'_>,
        shape: Channels,
        mut args: NormArgs<'_>,
    ) -> Result<(), Error> {
        if args.has_f32_stats() {
            let statistics = shape.batch().saturating_mul(self.groups_of(shape));
            return args.with_f64_stats(statistics, |args| self.run(io, shape, args.reborrow()));
        }
        let call = self.execution.call(args.pool);
        normalize_whole(call, io, shape.planes(), args, |io, args| self.run_f32(io, shape, args))
    }

    fn run_f32(&self, io: Io<'_>, shape: Channels, mut args: NormArgs<'_>) -> Result<(), Error> {
        let io = io.span(shape.elements())?;
        let (channels, groups) = (shape.channels(), self.groups_of(shape));
        check_eps(self.eps)?;
        if shape.elements() > 0 && (groups == 0 || !channels.is_multiple_of(groups)) {
            return Err(Error::Groups { channels, got: groups });
        }
        args.check_no_row_arguments()?;
        args.check_affine(channels)?;
        // Without channels, the number of groups is not checked and the product may overflow.
        args.check_stats(shape.batch().saturating_mul(groups))?;
        if let Some(scratch) = &args.scratch {
            check_at_least("scratch", scratch.len(), self.scratch_len(shape))?;
        }
        let padding = padding(&args, shape.all_positions())?;
        let (mean, rstd) = (args.mean.take(), args.rstd.take());
        if shape.elements() == 0 {
            mean.into_iter().chain(rstd).for_each(|statistics| statistics.fill(0.0));
            return Ok(());
        }
        let call = self.execution.call(args.pool);
        let Some(kept) = padding else {
            return self.normalize(call, io, shape, [mean, rstd], &mut args);
        };
        // With several samples, a sample is a task and runs on one thread.
        let within = if shape.batch() > 1 { call.serial() } else { call };
        let [gamma, beta] = [args.gamma, args.beta];
        let normalize = |io: Span<'_>, shape: Channels, [mean, rstd]: [Option<&mut [f64]>; 2]| {
            let mut args = NormArgs { gamma, beta, ..NormArgs::new() };
            self.normalize(within, io, shape, [mean, rstd], &mut args)
        };
        let work = PaddedSamples { normalize, io, shape, groups, kept, first: 0, mean, rstd };
        call.reduce(work, shape.elements(), Result::and)
    }

    /// Normalises samples without padding, of at least one element. Everything has been checked.
    fn normalize(
        &self,
        call: Call<'_>,
        io: Span<'_>,
        shape: Channels,
        [mean, rstd]: [Option<&mut [f64]>; 2],
        args: &mut NormArgs<'_>,
    ) -> Result<(), Error> {
        let (channels, positions) = (shape.channels(), shape.positions());
        let (gamma, beta) = (single("gamma", args.gamma)?, single("beta", args.beta)?);
        let (eps, groups) = (self.eps, self.groups_of(shape));
        let per_group = channels / groups;
        let mut allocated = Vec::new();
        let plan = self.plan(shape, |elements| call.forks(elements));
        let needed = plan.scratch_len(call.execution, shape);
        let scratch = memory::or_allocated(args.scratch.take(), &mut allocated, needed)?;
        match plan {
            GroupPlan::Rows => {
                let io = call.stores().apply(io, positions);
                let io = Planes::new(io, (channels, positions), gamma, beta);
                let source = MeanVariance { eps, mean, rstd };
                let work = NormalizeGroups { io, planes: per_group, source };
                call.run_parallel(work, shape.elements());
            }
            GroupPlan::Samples { slots, samples, each } => {
                let io = call.stores().apply(io, shape.elements());
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
                call.run_parallel(work, shape.elements());
            }
            GroupPlan::Within => {
                let (mut io, mut mean, mut rstd) =
                    (call.stores().apply(io, shape.elements()), mean, rstd);
                let rows = shape.sample_rows();
                for _ in 0..shape.batch() {
                    let (sample, of_mean, of_rstd);
                    (sample, io) = io.split_at(rows.elements());
                    (of_mean, mean) = split_optional(mean, groups);
                    (of_rstd, rstd) = split_optional(rstd, groups);
                    let (means, m2s) = column_statistics(
                        call,
                        (sample.src(), rows.cols()),
                        rows,
                        all_rows(rows),
                        scratch,
                    );
                    call.run_serial(GroupStatistics {
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
                    let sample = RowSpan::new(sample, rows.rows(), rows.cols());
                    normalize_columns(call, sample, source, gamma, beta);
                }
            }
        }
        Ok(())
    }
}

/// From so many samples on, threads share the samples. With fewer, large ones, threads share each sample.
const MOST_TASKS: usize = 16;

/// Normalises every position by its own mean and variance over the channels, which come first: LayerNorm over channels.
pub(crate) fn normalize_positions(
    execution: Execution,
    eps: f64,
    io: Io<'_>,
    shape: Channels,
    args: &mut NormArgs<'_>,
) -> Result<(), Error> {
    let (call, args) = (execution.call(args.pool), args.reborrow());
    normalize_whole(call, io, shape.planes(), args, |io, args| {
        normalize_positions_f32(call, eps, io, shape, args)
    })
}

fn normalize_positions_f32(
    call: Call<'_>,
    eps: f64,
    io: Io<'_>,
    shape: Channels,
    mut args: NormArgs<'_>,
) -> Result<(), Error> {
    let mut io = io.span(shape.elements())?;
    let statistics = shape.all_positions();
    args.check_no_row_arguments()?;
    args.check_affine(shape.channels())?;
    args.check_stats(statistics)?;
    let padding = padding(&args, statistics)?;
    let (mut mean, mut rstd) = (args.mean.take(), args.rstd.take());
    if shape.elements() > 0 {
        let (gamma, beta) = (single("gamma", args.gamma)?, single("beta", args.beta)?);
        let rows = PerRow { gamma, beta };
        let outputs = [mean.as_deref_mut(), rstd.as_deref_mut()];
        normalize_all_positions(call, eps, io.reborrow(), shape, rows, outputs)?;
    }
    if let Some(kept) = padding {
        ChannelSpan::Planes(io).zero_padding(call, shape, kept);
    }
    // A position is a row of its channels.
    clear_statistics([mean, rstd], shape.position_rows(), padding);
    Ok(())
}

/// Normalises all positions, of at least one element. Everything has been checked.
fn normalize_all_positions(
    call: Call<'_>,
    eps: f64,
    io: Span<'_>,
    shape: Channels,
    rows: PerRow<'_>,
    [mean, rstd]: [Option<&mut [f64]>; 2],
) -> Result<(), Error> {
    let (channels, positions) = (shape.channels(), shape.positions());
    let io = call.stores().apply(io, positions);
    let alone = shape.batch() < MOST_TASKS && call.forks(shape.sample());
    if panel_fits(channels, positions) && !alone {
        let work = NormalizePositions { io, channels, positions, eps, rows, mean, rstd };
        call.run_parallel(work, shape.elements());
        return Ok(());
    }
    // One sample after the other, each on all threads.
    let (mut io, mut mean, mut rstd) = (io, mean, rstd);
    let sample_rows = shape.sample_rows();
    let mut allocated = Vec::new();
    let needed = column_scratch_len(call.execution, sample_rows);
    let scratch = memory::grow(&mut allocated, 0.0, needed)?;
    for _ in 0..shape.batch() {
        let (sample, of_mean, of_rstd);
        (sample, io) = io.split_at(shape.sample());
        (of_mean, mean) = split_optional(mean, positions);
        (of_rstd, rstd) = split_optional(rstd, positions);
        let matrix = (sample.src(), positions);
        let (means, m2s) =
            column_statistics(call, matrix, sample_rows, all_rows(sample_rows), scratch);
        call.run_serial(GroupStatistics {
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
        let io = RowSpan::new(sample, channels, positions);
        let work = NormalizeColumns { io, source, gamma: None, beta: None, rows };
        call.run_parallel(work, shape.sample());
    }
    Ok(())
}
