//! The driver of backward passes over samples of channels: GroupNorm, InstanceNorm and LayerNorm over channels.
#![forbid(unsafe_code)]

use crate::args::grad::GradArgs;
use crate::args::norm::unsupported;
use crate::args::valid_rows::kept_rows;
use crate::element::{Elements, single};
use crate::error::Error;
use crate::kernels::channels::gradients::MergePlanes;
use crate::kernels::channels::group_gradients::{GroupGradients, SampleGradients, Slots};
use crate::kernels::channels::padded::{PutSample, parts, valid_runs};
use crate::kernels::channels::position_gradients::PositionGradients;
use crate::kernels::columns::gradient_sums::{AddSums, MergeSums, sums_len};
use crate::kernels::row_filter::RowFilter;
use crate::memory;
use crate::norm::channels::GroupSpec;
use crate::norm::column_gradients::{
    channel_sums, check_channels, check_no_row_arguments, write_no_parameters, write_parameters,
};
use crate::norm::columns::zero_planes;
use crate::norm::rows::zero_padding;
use crate::norm::stored_whole::gradients_whole;
use crate::run::execution::{Call, Execution};
use crate::shape::{Channels, check_at_least, check_eps, check_length};
use crate::simd::{Io, LANES, RowSpan, Span};

/// Work of a backward pass for each element, in elements of a forward pass.
const WORK: usize = 2;

/// Whether the channels of a sample are planes; else a sample is a matrix whose columns they are.
fn has_planes(shape: Channels) -> bool {
    !shape.is_last() || shape.positions() == 1
}

/// Checks dy and dx, which are planes or positions.
fn gradient_rows<'a>(
    io: Io<'a>,
    x: &[f32],
    shape: Channels,
    args: &GradArgs<'_>,
) -> Result<RowSpan<'a>, Error> {
    let rows = if has_planes(shape) { shape.planes() } else { shape.position_rows() };
    let io = io.gradient_planes(rows)?;
    unsupported([("x_pitch", args.x_pitch.is_some())])?;
    check_length("x", x.len(), shape.elements())?;
    check_no_row_arguments(args)?;
    Ok(io)
}

/// Numbers of the sums of the channels of a sample.
fn sample_sums(shape: Channels) -> usize {
    if has_planes(shape) {
        shape.channels().saturating_mul(2)
    } else {
        sums_len(shape.channels()).saturating_mul(LANES)
    }
}

/// Numbers of the scratch of slots.
fn slots_len(shape: Channels) -> usize {
    if has_planes(shape) { 0 } else { slots(shape).scratch().saturating_mul(LANES) }
}

fn slots(shape: Channels) -> Slots {
    Slots::new(shape.batch(), shape.positions(), shape.channels())
}

impl GroupSpec {
    /// Numbers of scratch that [`backward`](Self::backward) needs.
    pub(crate) fn backward_scratch_len(shape: Channels) -> usize {
        let sums = shape.batch().saturating_mul(sample_sums(shape));
        // The sums of all samples, and of one of them.
        sums.saturating_add(shape.channels().saturating_mul(4)).saturating_add(slots_len(shape))
    }

    /// Makes the gradients of every group of every sample.
    pub(crate) fn backward(
        &self,
        io: Io<'_>,
        x: Elements<'_>,
        shape: Channels,
        mut args: GradArgs<'_>,
    ) -> Result<(), Error> {
        if args.has_f32_stats() {
            let statistics = shape.batch().saturating_mul(self.groups_of(shape));
            return args
                .with_f64_stats(statistics, |args| self.backward(io, x, shape, args.reborrow()));
        }
        let (call, rows) = (self.execution.call(args.pool), shape.planes());
        gradients_whole(call, io, (x, rows), args, |io, x, args| {
            self.backward_f32(io, x, shape, args)
        })
    }

    fn backward_f32(
        &self,
        io: Io<'_>,
        x: &[f32],
        shape: Channels,
        mut args: GradArgs<'_>,
    ) -> Result<(), Error> {
        let io = gradient_rows(io, x, shape, &args)?;
        let (channels, groups) = (shape.channels(), self.groups_of(shape));
        check_eps(self.eps)?;
        if shape.elements() > 0 && (groups == 0 || !channels.is_multiple_of(groups)) {
            return Err(Error::Groups { channels, got: groups });
        }
        check_channels(&args, channels, shape.batch().saturating_mul(groups))?;
        let (kept, n) = kept_rows(args.valid, shape.all_positions())?;
        let needed = Self::backward_scratch_len(shape);
        if let Some(scratch) = &args.scratch {
            check_at_least("scratch", scratch.len(), needed)?;
        }
        let call = self.execution.call(args.pool);
        if n == 0 || channels == 0 {
            write_no_parameters(&mut args);
            zero(call, io, shape, kept);
            return Ok(());
        }
        if !io.writes() && args.dgamma.is_none() && args.dbeta.is_none() {
            return Ok(());
        }
        let mut allocated = Vec::new();
        let scratch = memory::or_allocated(args.scratch.take(), &mut allocated, needed)?;
        let (totals, scratch) = scratch.split_at_mut(2 * channels);
        let saved = args.mean.zip(args.rstd).map(|(mean, rstd)| [mean, rstd]);
        let gamma = single("gamma", args.gamma)?;
        let work = GroupWork { spec: self, call, gamma, per_group: channels / groups };
        let totals = if n == shape.all_positions() {
            work.run(io, x, shape, saved, (totals, scratch))
        } else {
            work.run_padded(io, x, shape, saved, kept, (totals, scratch))?
        };
        write_parameters(call, &mut args, totals);
        Ok(())
    }
}

/// Writes `+0.0` to the gradients of padding.
fn zero(call: Call<'_>, io: RowSpan<'_>, shape: Channels, kept: RowFilter<'_>) {
    if !io.writes() || shape.elements() == 0 {
        return;
    }
    if has_planes(shape) {
        zero_planes(call, io, shape, kept);
    } else {
        zero_padding(call, io, kept);
    }
}

/// What is done with samples.
#[derive(Clone, Copy)]
struct GroupWork<'w> {
    spec: &'w GroupSpec,
    call: Call<'w>,
    gamma: Option<&'w [f32]>,
    per_group: usize,
}

impl GroupWork<'_> {
    /// Makes the gradients of samples without padding, at least one element. Gives the sums of dy and of `dy * x_hat` of every
    /// channel, which are made in the first part of scratch.
    fn run<'s>(
        self,
        io: RowSpan<'_>,
        x: &[f32],
        shape: Channels,
        saved: Option<[&[f64]; 2]>,
        (totals, scratch): (&'s mut [f64], &mut [f64]),
    ) -> [&'s [f64]; 2] {
        let Self { spec, call, gamma, per_group } = self;
        let (channels, positions, eps) = (shape.channels(), shape.positions(), spec.eps);
        let elements = shape.elements().saturating_mul(WORK);
        let io = call.stores().apply_to_rows(io);
        let (sums, scratch) = scratch.split_at_mut(shape.batch() * sample_sums(shape));
        let (of_dy, of_x_hat) = totals.split_at_mut(channels);
        if has_planes(shape) {
            let sums = sums.as_chunks_mut().0;
            let work = GroupGradients {
                io,
                x,
                channels,
                per_group,
                gamma,
                eps,
                saved,
                first: 0,
                sums: &mut *sums,
            };
            call.run_parallel(work, elements);
            let sums = MergePlanes { planes: sums, sums: [&mut *of_dy, &mut *of_x_hat] };
            call.run_serial(sums);
        } else {
            let (sums, slots) = (sums.as_chunks_mut().0, slots(shape));
            let scratch = &mut scratch.as_chunks_mut().0[..slots.scratch()];
            let work = SampleGradients {
                io,
                x,
                positions,
                per_group,
                gamma,
                eps,
                saved,
                slots,
                scratch,
                sums: &mut *sums,
            };
            call.run_parallel(work, elements);
            call.run_serial(MergeSums { part: sums_len(channels), sums: &mut *sums });
            let [dy, x_hat] = channel_sums(sums, channels);
            of_dy.copy_from_slice(dy);
            of_x_hat.copy_from_slice(x_hat);
        }
        [of_dy, of_x_hat]
    }

    /// The same of samples with padding, one after the other: each is gathered, and its dx is put back.
    fn run_padded<'s>(
        self,
        mut io: RowSpan<'_>,
        x: &[f32],
        shape: Channels,
        saved: Option<[&[f64]; 2]>,
        kept: RowFilter<'_>,
        (totals, scratch): (&'s mut [f64], &mut [f64]),
    ) -> Result<[&'s [f64]; 2], Error> {
        let call = self.call;
        let (channels, positions, sample) = (shape.channels(), shape.positions(), shape.sample());
        let groups = channels / self.per_group;
        let rows = io.rows() / shape.batch();
        let (mut of_x, mut of_dy): (Vec<f32>, Vec<f32>) = (Vec::new(), Vec::new());
        let mut runs = Vec::new();
        memory::reserve(&mut of_x, sample)?;
        memory::reserve(&mut of_dy, sample)?;
        totals.fill(0.0);
        let (of_sample, scratch) = scratch.split_at_mut(2 * channels);
        {
            let mut rest = io.reborrow();
            for n in 0..shape.batch() {
                let here;
                (here, rest) = rest.split_at(rows);
                valid_runs(kept, n * positions..(n + 1) * positions, &mut runs)?;
                let valid = runs.iter().map(|run| run.len()).sum();
                if valid == 0 {
                    continue;
                }
                for (to, from) in [(&mut of_x, &x[n * sample..]), (&mut of_dy, here.src())] {
                    to.clear();
                    parts(shape, &runs).for_each(|part| to.extend_from_slice(&from[part]));
                }
                let compact = shape.with_one_sample(valid);
                let gathered =
                    if has_planes(compact) { compact.planes() } else { compact.position_rows() };
                let gathered =
                    RowSpan::new(Span::in_place(&mut of_dy), gathered.rows(), gathered.cols());
                let saved = saved.map(|saved| saved.map(|of| &of[n * groups..(n + 1) * groups]));
                let sums = self.run(gathered, &of_x, compact, saved, (of_sample, scratch));
                call.run_serial(AddSums { sums, totals: &mut *totals });
                if here.writes() {
                    let planes = has_planes(shape);
                    let (runs, values) = (&*runs, &*of_dy);
                    call.run_serial(PutSample { io: here, planes, runs, values });
                }
            }
        }
        zero(call, io, shape, kept);
        let (of_dy, of_x_hat) = totals.split_at(channels);
        Ok([of_dy, of_x_hat])
    }
}

/// How samples share scratch where each of their positions is normalised.
fn position_slots(shape: Channels) -> Slots {
    PositionGradients::slots(shape.batch(), shape.channels(), shape.positions())
}

/// Numbers of scratch that [`position_gradients`] needs.
pub(crate) fn position_scratch_len(shape: Channels) -> usize {
    let sums = shape.planes().rows().saturating_add(shape.channels()).saturating_mul(2);
    position_slots(shape).scratch().saturating_mul(LANES).saturating_add(sums)
}

/// Makes the gradients of every position, whose channels come first: LayerNorm over channels.
pub(crate) fn position_gradients(
    execution: Execution,
    eps: f64,
    io: Io<'_>,
    x: Elements<'_>,
    shape: Channels,
    args: GradArgs<'_>,
) -> Result<(), Error> {
    let call = execution.call(args.pool);
    gradients_whole(call, io, (x, shape.planes()), args, |io, x, args| {
        position_gradients_f32(call, eps, io, x, shape, args)
    })
}

fn position_gradients_f32(
    call: Call<'_>,
    eps: f64,
    io: Io<'_>,
    x: &[f32],
    shape: Channels,
    mut args: GradArgs<'_>,
) -> Result<(), Error> {
    let mut io = gradient_rows(io, x, shape, &args)?;
    let channels = shape.channels();
    check_channels(&args, channels, shape.all_positions())?;
    let (kept, n) = kept_rows(args.valid, shape.all_positions())?;
    let needed = position_scratch_len(shape);
    if let Some(scratch) = &args.scratch {
        check_at_least("scratch", scratch.len(), needed)?;
    }
    if n == 0 || channels == 0 {
        write_no_parameters(&mut args);
        zero(call, io, shape, kept);
        return Ok(());
    }
    let wanted = args.dgamma.is_some() || args.dbeta.is_some();
    if !io.writes() && !wanted {
        return Ok(());
    }
    let mut allocated = Vec::new();
    let scratch = memory::or_allocated(args.scratch.take(), &mut allocated, needed)?;
    let (totals, scratch) = scratch.split_at_mut(2 * channels);
    let (sums, scratch) = scratch.split_at_mut(2 * shape.planes().rows());
    let (sums, slots) = (sums.as_chunks_mut().0, position_slots(shape));
    let work = PositionGradients {
        io: call.stores().apply_to_rows(io.reborrow()),
        x,
        channels,
        gamma: single("gamma", args.gamma)?,
        eps,
        saved: args.mean.zip(args.rstd).map(|(mean, rstd)| [mean, rstd]),
        kept,
        first: 0,
        slots,
        scratch: &mut scratch.as_chunks_mut().0[..slots.scratch()],
        sums: if wanted { &mut *sums } else { &mut [] },
    };
    call.run_parallel(work, shape.elements().saturating_mul(WORK));
    if wanted {
        let (of_dy, of_x_hat) = totals.split_at_mut(channels);
        call.run_serial(MergePlanes { planes: sums, sums: [&mut *of_dy, &mut *of_x_hat] });
        write_parameters(call, &mut args, [of_dy, of_x_hat]);
    }
    if n < shape.all_positions() {
        zero(call, io, shape, kept);
    }
    Ok(())
}
