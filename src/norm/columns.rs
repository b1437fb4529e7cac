//! The driver of operations on columns, and of channels whose statistics are those of a batch or given.
#![forbid(unsafe_code)]

use crate::args::norm::{NormArgs, unsupported};
use crate::args::train::{TrainArgs, check_running};
use crate::args::valid_rows::kept_rows;
use crate::element::single;
use crate::error::Error;
use crate::kernels::channels::first::{MergeSamples, NormalizePlanes, PlaneMoments, Planes};
use crate::kernels::columns::coefficients::{ColumnSource, GivenColumns};
use crate::kernels::columns::moments::{ColumnChunks, MergeChunks, RowChunks};
use crate::kernels::columns::normalize::NormalizeColumns;
use crate::kernels::columns::running::{
    BatchStatistics, MomentStatistics, Momentum, Overflow, RunningUpdate,
};
use crate::kernels::elementwise::zero_padding::ZeroPlanePadding;
use crate::kernels::lanes::Lanes64;
use crate::kernels::row_filter::RowFilter;
use crate::memory;
use crate::norm::rows::{padding, zero_padding};
use crate::norm::stored_whole::normalize_whole;
use crate::run::execution::{Call, Execution};
use crate::shape::{Channels, Rows, check_at_least, check_eps};
use crate::simd::{Io, LANES, RowSpan, Span};
use crate::welford::{Moments, check_moments};

/// x and y of samples of channels: rows whose columns are the channels, or planes.
pub(crate) enum ChannelSpan<'a> {
    Rows(RowSpan<'a>),
    Planes(Span<'a>),
}

impl<'a> ChannelSpan<'a> {
    /// The buffers of a call, checked against the shape.
    pub(crate) fn new(io: Io<'a>, shape: Channels) -> Result<Self, Error> {
        Ok(match shape.as_rows() {
            Some(rows) => Self::Rows(io.plain_rows(rows)?),
            None => Self::Planes(io.span(shape.elements())?),
        })
    }

    /// x, and the pitch of its rows.
    fn src(&self) -> (&[f32], usize) {
        match self {
            Self::Rows(io) => (io.src(), io.src_pitch()),
            Self::Planes(io) => (io.src(), 0),
        }
    }

    fn reborrow(&mut self) -> ChannelSpan<'_> {
        match self {
            Self::Rows(io) => ChannelSpan::Rows(io.reborrow()),
            Self::Planes(io) => ChannelSpan::Planes(io.reborrow()),
        }
    }

    /// Writes `+0.0` to padding: the rows of the filter are positions of the batch.
    pub(crate) fn zero_padding(self, call: Call<'_>, shape: Channels, kept: RowFilter<'_>) {
        match self {
            Self::Rows(io) => zero_padding(call, io, kept),
            Self::Planes(io) if shape.elements() > 0 => {
                let planes = shape.planes();
                zero_planes(call, RowSpan::new(io, planes.rows(), planes.cols()), shape, kept);
            }
            Self::Planes(_) => {}
        }
    }
}

/// Writes `+0.0` to the padding of planes, at least one element. A row is a plane.
pub(crate) fn zero_planes(call: Call<'_>, io: RowSpan<'_>, shape: Channels, kept: RowFilter<'_>) {
    let work = ZeroPlanePadding { io, channels: shape.channels(), kept, first: 0 };
    call.run_parallel(work, shape.elements());
}

/// Checks the buffers, gamma, beta and the padding, then normalises every channel with the statistics of `source`. Everything
/// else has been checked.
pub(crate) fn normalize_channels<T: ColumnSource>(
    call: Call<'_>,
    io: Io<'_>,
    shape: Channels,
    source: T,
    args: &NormArgs<'_>,
) -> Result<(), Error> {
    let NormArgs { gamma, beta, valid, .. } = *args;
    let args = NormArgs { gamma, beta, valid, ..NormArgs::new() };
    normalize_whole(call, io, matrix(shape), args, |io, args| {
        let io = ChannelSpan::new(io, shape)?;
        args.check_affine(shape.channels())?;
        let padding = padding(&args, shape.all_positions())?;
        sweep(call, io, shape, source, &args, padding)
    })
}

/// The shape as a matrix of what is contiguous.
pub(crate) fn matrix(shape: Channels) -> Rows {
    shape.as_rows().unwrap_or(shape.planes())
}

/// Normalises every channel with the statistics of `source`, then zeroes padding. Everything has been checked.
fn sweep<T: ColumnSource>(
    call: Call<'_>,
    mut io: ChannelSpan<'_>,
    shape: Channels,
    source: T,
    args: &NormArgs<'_>,
    padding: Option<RowFilter<'_>>,
) -> Result<(), Error> {
    let (gamma, beta) = (single("gamma", args.gamma)?, single("beta", args.beta)?);
    match io.reborrow() {
        ChannelSpan::Rows(io) => normalize_columns(call, io, source, gamma, beta),
        ChannelSpan::Planes(io) if shape.elements() > 0 => {
            let io = call.stores().apply(io, shape.positions());
            let io = Planes::new(io, (shape.channels(), shape.positions()), gamma, beta);
            call.run_parallel(NormalizePlanes { io, source }, shape.elements());
        }
        ChannelSpan::Planes(_) => {}
    }
    if let Some(kept) = padding {
        io.zero_padding(call, shape, kept);
    }
    Ok(())
}

/// Normalises every column with the statistics of `source`. Everything has been checked.
pub(crate) fn normalize_columns<T: ColumnSource>(
    call: Call<'_>,
    io: RowSpan<'_>,
    source: T,
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
) {
    let elements = io.rows() * io.cols();
    if elements > 0 {
        let io = call.stores().apply_to_columns(io);
        call.run_parallel(NormalizeColumns { io, source, gamma, beta, rows: () }, elements);
    }
}

/// The configuration of BatchNorm's training.
#[derive(Clone, Copy)]
pub(crate) struct BatchDriver {
    pub(crate) eps: f64,
    pub(crate) momentum: Momentum,
    pub(crate) unbiased: bool,
    pub(crate) skip_non_finite: bool,
    pub(crate) execution: Execution,
}

impl BatchDriver {
    /// Numbers of scratch that [`train`](Self::train) needs.
    pub(crate) fn scratch_len(&self, shape: Channels) -> usize {
        batch_scratch_len(self.execution, shape)
    }

    /// Normalises every channel by its statistics in this batch.
    pub(crate) fn train(
        &self,
        io: Io<'_>,
        shape: Channels,
        TrainArgs { mut norm, running }: TrainArgs<'_>,
    ) -> Result<(), Error> {
        if norm.has_f32_stats() {
            return norm.with_f64_stats(shape.channels(), |norm| {
                self.train(io, shape, TrainArgs { norm: norm.reborrow(), running })
            });
        }
        let call = self.execution.call(norm.pool);
        normalize_whole(call, io, matrix(shape), norm, |io, args| {
            self.train_f32(io, shape, args, running)
        })
    }

    fn train_f32(
        &self,
        io: Io<'_>,
        shape: Channels,
        mut args: NormArgs<'_>,
        running: Option<[&mut [f32]; 2]>,
    ) -> Result<(), Error> {
        let (channels, rows) = (shape.channels(), shape.all_positions());
        let io = ChannelSpan::new(io, shape)?;
        check_eps(self.eps)?;
        self.check_momentum()?;
        args.check_affine(channels)?;
        args.check_stats(channels)?;
        if let Some([mean, var]) = &running {
            check_running(mean, var, channels)?;
        }
        let (kept, n) = kept_rows(args.valid, rows)?;
        if n == 1 && channels > 0 {
            self.check_unbiased(running.is_some())?;
        }
        let needed = self.scratch_len(shape);
        if let Some(scratch) = &args.scratch {
            check_at_least("scratch", scratch.len(), needed)?;
        }
        let call = self.execution.call(args.pool);
        let (mean, rstd) = (args.mean.take(), args.rstd.take());
        if n == 0 || channels == 0 {
            mean.into_iter().chain(rstd).for_each(|statistics| statistics.fill(0.0));
            io.zero_padding(call, shape, kept);
            return Ok(());
        }

        let mut allocated = Vec::new();
        let scratch = memory::or_allocated(args.scratch.take(), &mut allocated, needed)?;
        let (means, m2s) = batch_moments(call, io.src(), shape, (kept, n), scratch);
        let running = running.map(|running| self.running_update(running));
        let statistics = BatchStatistics {
            rows: n as f64,
            eps: self.eps,
            means: &mut *means,
            m2s: &mut *m2s,
            mean,
            rstd,
            running,
        };
        // Until here nothing is written but scratch.
        call.run_serial(statistics).map_err(overflow)?;
        let source = GivenColumns {
            mean: &means.as_flattened()[..channels],
            rstd: &m2s.as_flattened()[..channels],
        };
        sweep(call, io, shape, source, &args, (n < rows).then_some(kept))?;
        Ok(())
    }

    /// Makes mean and rstd of every channel from its moments in the whole batch, and moves the running statistics, as far as these
    /// are there.
    pub(crate) fn statistics(
        &self,
        moments: &[Moments],
        TrainArgs { norm: mut args, running }: TrainArgs<'_>,
    ) -> Result<(), Error> {
        if args.has_f32_stats() {
            return args.with_f64_stats(moments.len(), |args| {
                self.statistics(moments, TrainArgs { norm: args.reborrow(), running })
            });
        }
        let channels = moments.len();
        check_eps(self.eps)?;
        self.check_momentum()?;
        unsupported([
            ("gamma", args.gamma.is_some()),
            ("beta", args.beta.is_some()),
            ("valid", args.valid.is_some()),
            ("scratch", args.scratch.is_some()),
            ("pool", args.pool.is_some()),
        ])?;
        check_moments("moments", moments)?;
        args.check_stats(channels)?;
        if let Some([mean, var]) = &running {
            check_running(mean, var, channels)?;
        }
        let n = moments.first().map_or(0, |moments| moments.count);
        if let Some(other) = moments.iter().find(|moments| moments.count != n) {
            let (expected, got) = ("one count of all channels", other.count as f64);
            return Err(Error::Parameter { arg: "moments", expected, got });
        }
        if n == 1 {
            self.check_unbiased(running.is_some())?;
        }
        if n == 0 {
            args.mean.into_iter().chain(args.rstd).for_each(|statistics| statistics.fill(0.0));
            return Ok(());
        }
        let running = running.map(|running| self.running_update(running));
        let (mean, rstd) = (args.mean, args.rstd);
        let statistics = MomentStatistics { eps: self.eps, moments, mean, rstd, running };
        self.execution.call(None).run_serial(statistics).map_err(overflow)
    }

    fn running_update<'r>(&self, [mean, var]: [&'r mut [f32]; 2]) -> RunningUpdate<'r> {
        let Self { momentum, unbiased, skip_non_finite, .. } = *self;
        RunningUpdate { momentum, unbiased, skip_non_finite, mean, var }
    }

    /// Returns an error where a batch of one row has to have an unbiased variance.
    fn check_unbiased(&self, is_running: bool) -> Result<(), Error> {
        if is_running && self.unbiased {
            return Err(Error::TooFewRows { arg: "unbiased variance", expected: 2, got: 1 });
        }
        Ok(())
    }

    fn check_momentum(&self) -> Result<(), Error> {
        match self.momentum {
            Momentum::Keep(m) | Momentum::Take(m) if !(0.0..=1.0).contains(&m) => {
                Err(Error::Parameter { arg: "momentum", expected: "a number from 0 to 1", got: m })
            }
            _ => Ok(()),
        }
    }
}

/// The error of a running variance that f32 cannot hold.
fn overflow(Overflow { channel, var }: Overflow) -> Error {
    Error::StatisticOverflow { arg: "running_var", channel, got: var }
}

/// Numbers of scratch that [`batch_moments`] needs.
pub(crate) fn batch_scratch_len(execution: Execution, shape: Channels) -> usize {
    match shape.as_rows() {
        Some(rows) => column_scratch_len(execution, rows),
        None => shape.batch().saturating_mul(vectors(shape)).saturating_mul(2 * LANES),
    }
}

/// Vectors of the mean and of M2 of every channel of x, whose rows begin every pitch elements if they are rows, at the beginning
/// of `scratch`. There is at least one valid element.
pub(crate) fn batch_moments<'s>(
    call: Call<'_>,
    (x, pitch): (&[f32], usize),
    shape: Channels,
    (kept, n): (RowFilter<'_>, usize),
    scratch: &'s mut [f64],
) -> (&'s mut [Lanes64], &'s mut [Lanes64]) {
    if let Some(rows) = shape.as_rows() {
        return column_statistics(call, (x, pitch), rows, (kept, n), scratch);
    }
    let (samples, positions, vectors) = (shape.batch(), shape.positions(), vectors(shape));
    let scratch = &mut scratch.as_chunks_mut().0[..2 * samples * vectors];
    let (means, m2s) = scratch.split_at_mut(samples * vectors);
    let channels = shape.channels();
    let kept = (n < samples * positions).then_some(kept);
    let work =
        PlaneMoments { x, positions, channels, first: 0, kept, means: &mut *means, m2s: &mut *m2s };
    call.run_parallel(work, shape.elements());
    let merge = MergeSamples { samples, positions, kept, means: &mut *means, m2s: &mut *m2s };
    call.run_serial(merge);
    (&mut means[..vectors], &mut m2s[..vectors])
}

/// Vectors of channels.
pub(crate) fn vectors(shape: Channels) -> usize {
    shape.channels().div_ceil(LANES)
}

/// Numbers of scratch that [`column_statistics`] needs.
pub(crate) fn column_scratch_len(execution: Execution, rows: Rows) -> usize {
    chunks(execution, rows).total_scratch().saturating_mul(LANES)
}

fn chunks(execution: Execution, rows: Rows) -> RowChunks {
    let shared = execution.parallelism.may_fork(rows.elements());
    RowChunks::new(rows.rows(), rows.cols(), shared)
}

/// All rows, and their number.
pub(crate) fn all_rows(rows: Rows) -> (RowFilter<'static>, usize) {
    (RowFilter::new(None, rows.rows()), rows.rows())
}

/// Writes the mean and M2 of every column of a matrix to the beginning of `scratch`, and returns both as vectors. Only the rows that
/// are kept count; there is at least one, and one column. `scratch` is long enough.
pub(crate) fn column_statistics<'s>(
    call: Call<'_>,
    (x, pitch): (&[f32], usize),
    rows: Rows,
    (kept, count): (RowFilter<'_>, usize),
    scratch: &'s mut [f64],
) -> (&'s mut [Lanes64], &'s mut [Lanes64]) {
    let (cols, chunks) = (rows.cols(), chunks(call.execution, rows).of_rows(count));
    let scratch = &mut scratch.as_chunks_mut().0[..chunks.total_scratch()];
    let work = ColumnChunks { x, cols, pitch, kept, first: 0, count, chunks, scratch };
    call.run_parallel(work, rows.elements());
    call.run_serial(MergeChunks { rows: count, cols, chunks, scratch });
    let vectors = cols.div_ceil(LANES);
    scratch[..2 * vectors].split_at_mut(vectors)
}
