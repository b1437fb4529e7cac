//! The driver of backward passes over columns, and over channels whose statistics are those of a batch or given.
#![forbid(unsafe_code)]

use crate::args::grad::{Accumulated, GradArgs};
use crate::args::gradient_sums::GradientSums;
use crate::args::norm::unsupported;
use crate::args::train::check_running;
use crate::args::valid_rows::kept_rows;
use crate::element::{Elements, check_elements, single};
use crate::error::Error;
use crate::kernels::channels::batch_gradients::ChannelGradients;
use crate::kernels::channels::gradients::{MergePlanes, PlaneGradients, PlaneSums};
use crate::kernels::columns::coefficients::RunningColumns;
use crate::kernels::columns::gradient_sums::{ColumnSums, GradientRows, MergeSums, SumChunks};
use crate::kernels::columns::gradients::{ColumnGradients, GradientColumns, GradientMeans};
use crate::kernels::columns::running::{BatchStatistics, WriteRunning};
use crate::kernels::lanes::Lanes64;
use crate::kernels::row_filter::RowFilter;
use crate::kernels::rows::column_sums::WriteGradients;
use crate::kernels::tuning::CHANNEL_ELEMENTS;
use crate::memory;
use crate::norm::columns::{batch_moments, batch_scratch_len, matrix, vectors, zero_planes};
use crate::norm::rows::zero_padding;
use crate::norm::stored_whole::gradients_whole;
use crate::pitch::check_rows;
use crate::run::execution::{Call, Execution};
use crate::shape::{Channels, check_at_least, check_eps, check_length, check_optional};
use crate::simd::{Io, LANES, RowSpan};

/// What is differentiated.
#[derive(Clone, Copy)]
pub(crate) struct ChannelBackward<'a> {
    pub(crate) execution: Execution,
    pub(crate) shape: Channels,
    pub(crate) statistics: ChannelStatistics<'a>,
}

/// Where the statistics of channels come from.
#[derive(Clone, Copy)]
pub(crate) enum ChannelStatistics<'a> {
    /// They are those of the batch, which depend on x.
    Batch { eps: f64 },
    /// They are those of a batch of which this is a part.
    Part { sums: GradientSums<'a>, eps: f64 },
    /// They are running ones, which are constants.
    Running { mean: &'a [f32], var: &'a [f32], eps: f64 },
    /// They are constants.
    Given { mean: &'a [f64], rstd: &'a [f64] },
}

/// Numbers of scratch: of the statistics, of the sums, and of the means c and d.
struct ScratchLen {
    statistics: usize,
    sums: usize,
    means: usize,
}

impl ScratchLen {
    fn total(&self) -> usize {
        self.statistics.saturating_add(self.sums).saturating_add(self.means)
    }
}

/// Numbers of scratch that a backward pass needs at most.
pub(crate) fn scratch_len(execution: Execution, shape: Channels) -> usize {
    most_scratch(execution, shape).total()
}

fn most_scratch(execution: Execution, shape: Channels) -> ScratchLen {
    let statistics =
        batch_scratch_len(execution, shape).max((2 * LANES).saturating_mul(vectors(shape)));
    let sums = match shape.as_rows() {
        Some(rows) => SumChunks::most_scratch(rows.rows(), rows.cols()).saturating_mul(LANES),
        None => plane_sums_len(shape),
    };
    ScratchLen { statistics, sums, means: shape.channels().saturating_mul(2) }
}

/// A pair of sums a plane, and one a channel.
fn plane_sums_len(shape: Channels) -> usize {
    shape.planes().rows().saturating_add(shape.channels()).saturating_mul(2)
}

/// Returns an error where there is an argument that belongs to rows.
pub(crate) fn check_no_row_arguments(args: &GradArgs<'_>) -> Result<(), Error> {
    unsupported([
        ("gate", args.gate.is_some()),
        ("dgate", args.dgate.is_some()),
        ("dbias", args.dbias.is_some()),
        ("dropout", args.dropout.is_some()),
        ("dsum", args.dsum.is_some()),
        ("dresidual", args.dresidual.is_some()),
        ("rstd", args.rstd.is_some() && args.mean.is_none()),
    ])
}

/// Checks everything that has an element a channel, and the statistics, of which there are so many.
pub(crate) fn check_channels(
    args: &GradArgs<'_>,
    channels: usize,
    statistics: usize,
) -> Result<(), Error> {
    check_elements("gamma", args.gamma, channels)?;
    check_elements("beta", args.beta, channels)?;
    check_optional("mean", args.mean, statistics)?;
    check_optional("rstd", args.rstd, statistics)?;
    for (arg, gradient) in [("dgamma", &args.dgamma), ("dbeta", &args.dbeta)] {
        if let Some(gradient) = gradient {
            check_length(arg, gradient.out.len(), channels)?;
        }
    }
    Ok(())
}

/// Writes the gradients of gamma and beta, from the sums of dy and of `dy * x_hat`.
pub(crate) fn write_parameters(call: Call<'_>, args: &mut GradArgs<'_>, sums: [&[f64]; 2]) {
    let out = [args.dgamma.take(), args.dbeta.take()]
        .map(|out| out.map(|Accumulated { out, adds }| (out, adds)));
    let [of_dy, of_x_hat] = sums;
    call.run_serial(WriteGradients { sums: [of_x_hat, of_dy], out });
}

/// The same of a batch without data.
pub(crate) fn write_no_parameters(args: &mut GradArgs<'_>) {
    for Accumulated { out, adds } in [args.dgamma.take(), args.dbeta.take()].into_iter().flatten() {
        if !adds {
            out.clear();
        }
    }
}

/// Writes `+0.0` to the gradients of padding. A row is a plane where channels come first.
pub(crate) fn zero_gradients(
    call: Call<'_>,
    io: RowSpan<'_>,
    shape: Channels,
    kept: RowFilter<'_>,
) {
    if shape.as_rows().is_some() {
        zero_padding(call, io, kept);
    } else if shape.elements() > 0 {
        zero_planes(call, io, shape, kept);
    }
}

impl<'a> ChannelStatistics<'a> {
    /// Whether dx has the means c and d.
    fn depend_on_x(self) -> bool {
        matches!(self, Self::Batch { .. } | Self::Part { .. })
    }

    /// Checks them, and the arguments that they rule out, for `n` elements a channel.
    fn check(self, args: &GradArgs<'_>, channels: usize, n: usize) -> Result<(), Error> {
        match self {
            Self::Batch { eps } => return check_eps(eps),
            Self::Part { sums, eps } => {
                check_eps(eps)?;
                unsupported([("dgamma", args.dgamma.is_some()), ("dbeta", args.dbeta.is_some())])?;
                check_length("sum_dy", sums.dy.len(), channels)?;
                check_length("sum_dy_x_hat", sums.dy_x_hat.len(), channels)?;
                if sums.count < n as u64 {
                    let got = usize::try_from(sums.count).unwrap_or(usize::MAX);
                    return Err(Error::TooFewRows { arg: "count", expected: n, got });
                }
                return check_length("mean", args.mean.map_or(0, <[f64]>::len), channels);
            }
            Self::Running { mean, var, eps } => {
                check_eps(eps)?;
                check_running(mean, var, channels)?;
            }
            Self::Given { mean, rstd } => {
                check_length("mean", mean.len(), channels)?;
                check_length("rstd", rstd.len(), channels)?;
            }
        }
        args.check_no_stats()
    }
}

impl<'a> ChannelBackward<'a> {
    /// Makes the gradients of every channel.
    pub(crate) fn run(
        &self,
        io: Io<'_>,
        x: Elements<'_>,
        mut args: GradArgs<'_>,
    ) -> Result<(), Error> {
        if args.has_f32_stats() {
            let channels = self.shape.channels();
            return args.with_f64_stats(channels, |args| self.run(io, x, args.reborrow()));
        }
        let call = self.execution.call(args.pool);
        gradients_whole(call, io, (x, matrix(self.shape)), args, |io, x, args| {
            self.run_f32(io, x, args)
        })
    }

    fn run_f32(&self, io: Io<'_>, x: &[f32], mut args: GradArgs<'_>) -> Result<(), Error> {
        let Self { execution, shape, statistics } = *self;
        let channels = shape.channels();
        let io = match shape.as_rows() {
            Some(rows) => io.plain_gradient_rows(rows)?,
            None => {
                unsupported([("x_pitch", args.x_pitch.is_some())])?;
                io.gradient_planes(shape.planes())?
            }
        };
        let rows = shape.as_rows().unwrap_or(shape.planes());
        let pitch = check_rows(rows, ("x", x.len()), ("x_pitch", args.x_pitch))?;
        let pitch = pitch.single("x_pitch")?;
        check_no_row_arguments(&args)?;
        check_channels(&args, channels, channels)?;
        let (kept, n) = kept_rows(args.valid, shape.all_positions())?;
        statistics.check(&args, channels, n)?;
        if let Some(scratch) = &args.scratch {
            check_at_least("scratch", scratch.len(), scratch_len(execution, shape))?;
        }
        let call = execution.call(args.pool);
        if n == 0 || channels == 0 {
            write_no_parameters(&mut args);
            if io.writes() {
                zero_gradients(call, io, shape, kept);
            }
            return Ok(());
        }
        if !io.writes() && args.dgamma.is_none() && args.dbeta.is_none() {
            return Ok(());
        }
        let lens = self.scratch(&args, io.writes(), n);
        let mut allocated = Vec::new();
        let scratch = memory::or_allocated(args.scratch.take(), &mut allocated, lens.total())?;
        let gamma = single("gamma", args.gamma)?;
        // No check comes after this line.

        let (of_statistics, rest) = scratch.split_at_mut(lens.statistics);
        let (of_sums, rest) = rest.split_at_mut(lens.sums);
        let work = Work { call, io, x, pitch, shape, kept: (kept, n) };
        let [mean, rstd] = work.statistics(statistics, [args.mean, args.rstd], of_statistics);
        if lens.sums > 0 && work.fits_a_cache() {
            let elements = statistics.depend_on_x().then_some(n as f64);
            work.by_channels([mean, rstd], elements, of_sums, gamma, args);
            return Ok(());
        }
        let mut sums = None;
        if lens.sums > 0 {
            sums = Some(work.sums([mean, rstd], of_sums));
        }
        if let Some(sums) = sums {
            write_parameters(call, &mut args, sums);
        }
        if !work.io.writes() {
            return Ok(());
        }
        let mut elements = n as f64;
        if let ChannelStatistics::Part { sums: all, .. } = statistics {
            (sums, elements) = (Some([all.dy, all.dy_x_hat]), all.count as f64);
        }
        let means = sums.filter(|_| statistics.depend_on_x()).map(|sums| {
            let (c, d) = rest[..lens.means].split_at_mut(channels);
            let means = [&mut *c, &mut *d];
            call.run_serial(GradientMeans { sums, gamma, per_group: 1, elements, means });
            [&*c, &*d]
        });
        let alone = means.is_some() && elements == 1.0;
        work.write(GradientColumns { mean, rstd, gamma, means, alone });
        Ok(())
    }

    /// The scratch that a call needs, of which `n` rows count.
    fn scratch(&self, args: &GradArgs<'_>, writes: bool, n: usize) -> ScratchLen {
        let Self { execution, shape, statistics } = *self;
        let mut lens = most_scratch(execution, shape);
        if args.mean.is_some() || matches!(statistics, ChannelStatistics::Given { .. }) {
            lens.statistics = 0;
        } else if !statistics.depend_on_x() {
            lens.statistics = 2 * vectors(shape) * LANES;
        }
        let is_batch = matches!(statistics, ChannelStatistics::Batch { .. });
        if args.dgamma.is_none() && args.dbeta.is_none() && !(is_batch && writes) {
            lens.sums = 0;
        } else if let Some(rows) = shape.as_rows() {
            lens.sums = SumChunks::new(n, rows.cols()).total_scratch() * LANES;
        }
        if !(writes && statistics.depend_on_x()) {
            lens.means = 0;
        }
        lens
    }
}

/// The buffers of a call. There is at least one element that counts.
struct Work<'w> {
    call: Call<'w>,
    /// dy and dx.
    io: RowSpan<'w>,
    x: &'w [f32],
    pitch: usize,
    shape: Channels,
    kept: (RowFilter<'w>, usize),
}

impl Work<'_> {
    /// Mean and rstd of every channel, saved, given, or made in scratch.
    fn statistics<'s>(
        &self,
        source: ChannelStatistics<'s>,
        saved: [Option<&'s [f64]>; 2],
        scratch: &'s mut [f64],
    ) -> [&'s [f64]; 2] {
        if let [Some(mean), Some(rstd)] = saved {
            return [mean, rstd];
        }
        let (channels, vectors) = (self.shape.channels(), vectors(self.shape));
        let (means, rstds): (&[Lanes64], &[Lanes64]) = match source {
            ChannelStatistics::Given { mean, rstd } => return [mean, rstd],
            ChannelStatistics::Running { mean, var, eps } => {
                let scratch = &mut scratch.as_chunks_mut().0[..2 * vectors];
                let (means, rstds) = scratch.split_at_mut(vectors);
                let source = RunningColumns { mean, var, eps };
                let out = [&mut *means, &mut *rstds];
                self.call.run_serial(WriteRunning { source, out });
                (means, rstds)
            }
            ChannelStatistics::Batch { eps } => self.batch_statistics(eps, scratch),
            // Its statistics have been passed.
            ChannelStatistics::Part { .. } => return [&[], &[]],
        };
        [means, rstds].map(|all| &all.as_flattened()[..channels])
    }

    fn batch_statistics<'s>(
        &self,
        eps: f64,
        scratch: &'s mut [f64],
    ) -> (&'s [Lanes64], &'s [Lanes64]) {
        let Self { call, x, pitch, shape, kept: (kept, n), .. } = *self;
        let (means, m2s) = batch_moments(call, (x, pitch), shape, (kept, n), scratch);
        let statistics = BatchStatistics {
            rows: n as f64,
            eps,
            means: &mut *means,
            m2s: &mut *m2s,
            mean: None,
            rstd: None,
            running: None,
        };
        // Without running statistics it cannot fail.
        let _ = call.run_serial(statistics);
        (means, m2s)
    }

    /// The sums of dy and of `dy * x_hat` of every channel, at the beginning of scratch.
    fn sums<'s>(&self, [mean, rstd]: [&[f64]; 2], scratch: &'s mut [f64]) -> [&'s [f64]; 2] {
        let Self { call, x, pitch, shape, kept: (kept, n), .. } = *self;
        let (channels, dy) = (shape.channels(), self.io.src());
        if let Some(rows) = shape.as_rows() {
            let chunks = SumChunks::new(n, channels);
            let sums = &mut scratch.as_chunks_mut().0[..chunks.total_scratch()];
            let rows = GradientRows {
                dy,
                x,
                cols: rows.cols(),
                pitches: [self.io.src_pitch(), pitch],
                kept,
                first: 0,
                count: n,
                factors: None,
            };
            let work = ColumnSums { rows, mean, rstd, chunks, sums };
            call.run_parallel(work, shape.elements());
            call.run_serial(MergeSums { part: chunks.scratch, sums });
            return channel_sums(sums, channels);
        }
        let (sums, planes) = scratch[..plane_sums_len(shape)].split_at_mut(2 * channels);
        let planes = planes.as_chunks_mut().0;
        let kept = (n < shape.all_positions()).then_some(kept);
        let positions = shape.positions();
        let work = PlaneSums { dy, x, positions, mean, rstd, kept, first: 0, sums: &mut *planes };
        call.run_parallel(work, shape.elements());
        let (of_dy, of_x_hat) = sums.split_at_mut(channels);
        call.run_serial(MergePlanes { planes, sums: [&mut *of_dy, &mut *of_x_hat] });
        [of_dy, of_x_hat]
    }

    /// Whether sums and gradients are made channel by channel: where channels are planes that stay in a cache, and threads either
    /// share those of one sample or do not share.
    fn fits_a_cache(&self) -> bool {
        let Self { call, shape, .. } = *self;
        let is_one_task = shape.batch() == 1 || !call.forks(shape.elements());
        shape.as_rows().is_none() && shape.all_positions() <= CHANNEL_ELEMENTS && is_one_task
    }

    /// Makes the sums and writes dx, channel by channel.
    fn by_channels(
        mut self,
        [mean, rstd]: [&[f64]; 2],
        elements: Option<f64>,
        scratch: &mut [f64],
        gamma: Option<&[f32]>,
        mut args: GradArgs<'_>,
    ) {
        let Self { call, x, shape, kept: (kept, n), .. } = self;
        let (of_dy, of_x_hat) = scratch[..2 * shape.channels()].split_at_mut(shape.channels());
        let some = n < shape.all_positions();
        let work = ChannelGradients {
            io: call.stores().apply_to_rows(self.io.reborrow()),
            x,
            batch: shape.batch(),
            mean,
            rstd,
            gamma,
            elements,
            kept: some.then_some(kept),
            sums: [&mut *of_dy, &mut *of_x_hat],
        };
        call.run_parallel(work, shape.elements());
        write_parameters(call, &mut args, [of_dy, of_x_hat]);
        if some && self.io.writes() {
            zero_gradients(call, self.io, shape, kept);
        }
    }

    /// Writes dx.
    fn write(mut self, columns: GradientColumns<'_>) {
        let Self { call, x, pitch, shape, kept: (kept, n), .. } = self;
        if shape.as_rows().is_some() {
            let io = call.stores().apply_to_columns(self.io.reborrow());
            let work = ColumnGradients { io, x, pitch, columns, factors: None };
            call.run_parallel(work, shape.elements());
        } else {
            let io = call.stores().apply_to_rows(self.io.reborrow());
            let work = PlaneGradients { io, x, channels: columns, first: 0 };
            call.run_parallel(work, shape.elements());
        }
        if n < shape.all_positions() {
            zero_gradients(call, self.io, shape, kept);
        }
    }
}

/// Both sums of every channel, where the vectors of one lie behind those of the other.
pub(crate) fn channel_sums(sums: &[Lanes64], channels: usize) -> [&[f64]; 2] {
    let (of_dy, of_x_hat) = sums.split_at(channels.div_ceil(LANES));
    [&of_dy.as_flattened()[..channels], &of_x_hat.as_flattened()[..channels]]
}
