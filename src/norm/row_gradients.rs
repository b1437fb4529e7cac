//! The driver of backward passes over rows: what they check and how they run.
#![forbid(unsafe_code)]

use crate::args::grad::{Accumulated, GradArgs};
use crate::args::norm::unsupported;
use crate::args::valid_rows::kept_rows;
use crate::error::Error;
use crate::kernels::rows::backward::{BackwardRows, GradientSource, sums_made};
use crate::kernels::rows::column_sums::{RowBlocks, WriteSums};
use crate::kernels::rows::gradient_sweeps::Gamma;
use crate::kernels::rows::source::RowSource;
use crate::memory;
use crate::norm::rows::zero_padding;
use crate::run::execution::Call;
use crate::shape::{Rows, Shape, check_at_least};
use crate::simd::Io;

/// Work of a backward pass for each element, in elements of a forward pass: threads share it from half as many elements on.
const WORK: usize = 2;

/// Numbers of scratch that a backward pass over so many rows needs at most.
pub(crate) fn scratch_len(rows: Rows) -> usize {
    RowBlocks::new(rows.rows(), rows.cols(), 2).total_scratch()
}

/// The rows of a shape, if it is one of rows.
pub(crate) fn as_rows(shape: Shape) -> Result<Rows, Error> {
    match shape {
        Shape::Rows(rows) => Ok(rows),
        Shape::Channels(channels) => {
            channels.as_rows().ok_or(Error::Unsupported { arg: "channels" })
        }
    }
}

/// Makes the gradients of rows that are normalised with the statistics of `source`, or with those that the forward pass kept.
pub(crate) fn backward<'a, T: RowSource>(
    call: Call<'_>,
    io: Io<'_>,
    x: &'a [f32],
    rows: Rows,
    source: T,
    gamma_offset: f32,
    args: &mut GradArgs<'a>,
) -> Result<(), Error> {
    let io = io.gradient_rows(rows)?;
    args.check(rows)?;
    let (kept, count) = kept_rows(args.valid, rows.rows())?;
    let kept = (count < rows.rows()).then_some(kept);
    let mut inputs = args.inputs(x, rows)?;
    let mut dresidual = args.take_dresidual(rows)?;
    unsupported([("dresidual", dresidual.is_some() && !io.writes())])?;
    let mut io = io.with_inputs(&mut inputs);

    let extra = args.dsum.is_some() || dresidual.is_some();
    let wanted = match (&args.dgamma, &args.dbeta) {
        (None, None) => 0,
        (Some(_), None) => 1,
        (_, Some(_)) => 2,
    };
    let sums = if wanted > 0 { sums_made::<T>(wanted, extra) } else { 0 };
    let blocks = RowBlocks::new(rows.rows(), rows.cols(), sums);
    let needed = blocks.total_scratch();
    if let Some(scratch) = &args.scratch {
        check_at_least("scratch", scratch.len(), scratch_len(rows))?;
    }
    let mut allocated = Vec::new();
    let scratch = memory::or_allocated(args.scratch.take(), &mut allocated, needed)?;
    let scratch = &mut scratch[..needed];
    // No check comes after this line.

    let has_work = rows.elements() > 0 && (io.writes() || sums > 0);
    if has_work {
        let source = match (args.mean, args.rstd) {
            (mean, Some(rstd)) => GradientSource::Saved { mean, rstd },
            (_, None) => GradientSource::Made(source),
        };
        let work = BackwardRows {
            io: call.stores().apply_to_rows(io.reborrow()),
            source,
            gamma: Gamma { gamma: args.gamma, offset: gamma_offset },
            has_dsum: args.dsum.is_some(),
            dresidual: dresidual.as_mut().map(|rows| rows.reborrow()),
            adds_dresidual: args.adds_dresidual,
            kept,
            first: 0,
            blocks,
            sums,
            scratch: &mut *scratch,
        };
        call.run_parallel(work, rows.elements().saturating_mul(WORK));
    } else {
        scratch.fill(0.0);
    }
    if sums > 0 {
        let out = [args.dgamma.take(), args.dbeta.take()]
            .map(|out| out.map(|Accumulated { out, adds }| (out, adds)));
        call.run_serial(WriteSums { scratch, blocks, out });
    }
    if let Some(kept) = kept {
        if io.writes() {
            zero_padding(call, io, kept);
        }
        // What is added to keeps its padding.
        if let Some(dresidual) = dresidual.filter(|_| !args.adds_dresidual) {
            zero_padding(call, dresidual, kept);
        }
    }
    Ok(())
}
