//! The driver of backward passes over rows: what they check and how they run.
#![forbid(unsafe_code)]

use crate::args::grad::{Accumulated, GradArgs};
use crate::args::norm::unsupported;
use crate::args::valid_rows::kept_rows;
use crate::element::single;
use crate::error::Error;
use crate::kernels::rows::backward::{BackwardRows, GradientSource, sums_made};
use crate::kernels::rows::column_sums::{RowBlocks, WriteSums};
use crate::kernels::rows::gate_gradients::{BackwardParts, GateGradient};
use crate::kernels::rows::gradient_sweeps::Gamma;
use crate::kernels::rows::source::RowSource;
use crate::memory;
use crate::norm::row_dropout::MatrixDropout;
use crate::norm::rows::{RowNorm, zero_padding};
use crate::run::execution::Call;
use crate::shape::{Rows, Shape, check_at_least};
use crate::simd::{Io, RowInputs, RowSpan};

/// Work of a backward pass for each element, in elements of a forward pass: threads share it from half as many elements on.
const WORK: usize = 2;

/// Numbers of scratch that a backward pass over so many rows needs at most.
pub(crate) fn scratch_len(rows: Rows) -> usize {
    RowBlocks::new(rows.rows(), rows.cols(), 2, 2).total_scratch()
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

/// Makes the gradients of rows that are normalised with the statistics of `norm`, or with those that the forward pass kept.
pub(crate) fn backward<'a, T: RowSource>(
    call: Call<'_>,
    io: Io<'_>,
    x: &'a [f32],
    rows: Rows,
    norm: RowNorm<T>,
    args: &mut GradArgs<'a>,
) -> Result<(), Error> {
    let RowNorm { source, gamma_offset, gate } = norm;
    let parts = source.parts();
    let mut io = io;
    let mut io = io.gradient_rows(rows)?;
    args.check(rows, parts)?;
    let (kept, count) = kept_rows(args.valid, rows.rows())?;
    let kept = (count < rows.rows()).then_some(kept);
    let (x, [dsum, z]) = args.inputs(x, rows)?;
    let (mut dresidual, mut dgate) = (args.take_dresidual()?, args.take_dgate()?);
    let mut dresidual = in_place(&mut dresidual, rows, ("dresidual", "dresidual_pitch"))?;
    let mut dgate = in_place(&mut dgate, rows, ("dgate", "dgate_pitch"))?;
    let keeps_mask = matches!(&args.dropout, Some((_, dropout)) if dropout.mask.is_some());
    let dropout = MatrixDropout::check(args.dropout.take(), rows)?;
    unsupported([
        ("gate", z.is_some() && !T::TAKES_INPUTS),
        ("dgate", dgate.is_some() && z.is_none()),
        ("keep_mask", keeps_mask),
        ("dbias", args.dbias.is_some() && !io.writes()),
        ("dsum", dsum.is_some() && !io.writes()),
        ("dresidual", dresidual.is_some() && !io.writes()),
    ])?;

    // Rows that are not worked on as a whole need more room, and have both sums.
    let in_parts = T::TAKES_INPUTS && (parts > 1 || z.is_some());
    let extra = args.dsum.is_some() || dresidual.is_some();
    let dropout = dropout.and_then(|dropout| dropout.keep_mask(call)).filter(|_| io.writes());
    let has_dbias = args.dbias.is_some();
    let wanted = match (&args.dgamma, &args.dbeta) {
        (None, None) => 0,
        (Some(_), None) => 1,
        (_, Some(_)) => 2,
    };
    let sums = match wanted {
        _ if in_parts || dropout.is_some() || has_dbias => 2,
        wanted => sums_made::<T>(wanted, extra),
    };
    let others = usize::from(in_parts) + usize::from(has_dbias);
    let blocks = RowBlocks::new(rows.rows(), rows.cols(), sums, others);
    let has_work = rows.elements() > 0 && (io.writes() || wanted > 0 || dgate.is_some());
    let writes_sums = wanted > 0 || has_dbias;
    let needed = if has_work || writes_sums { blocks.total_scratch() } else { 0 };
    if let Some(scratch) = &args.scratch {
        check_at_least("scratch", scratch.len(), scratch_len(rows))?;
    }
    let mut allocated = Vec::new();
    let scratch = memory::or_allocated(args.scratch.take(), &mut allocated, needed)?;
    let scratch = &mut scratch[..needed];
    let (gamma, beta) = (single("gamma", args.gamma)?, single("beta", args.beta)?);
    // No check comes after this line.

    if has_work {
        let source = match (args.mean, args.rstd) {
            (mean, Some(rstd)) => GradientSource::Saved { mean, rstd, parts },
            (_, None) => GradientSource::Made(source),
        };
        // Dropout of parts reads dx again.
        let reads_dx = in_parts && (dropout.is_some() || has_dbias);
        let io = io.reborrow();
        let mut work = BackwardRows {
            io: if reads_dx { io } else { call.stores().apply_to_rows(io) },
            source,
            gamma: Gamma { gamma, offset: gamma_offset },
            has_dsum: args.dsum.is_some(),
            dresidual: dresidual.as_mut().map(|rows| match args.adds_dresidual {
                true => rows.reborrow(),
                false => call.stores().apply_to_written(rows.reborrow()),
            }),
            adds_dresidual: args.adds_dresidual,
            dropout: dropout.as_ref(),
            has_dbias,
            kept,
            first: 0,
            blocks,
            sums,
            scratch: &mut *scratch,
        };
        let elements = rows.elements().saturating_mul(WORK);
        // The constant comes first: for other sources the kernel is then not compiled.
        if T::TAKES_INPUTS && in_parts {
            let (dz, adds) = (dgate.as_mut().map(RowSpan::reborrow), args.adds_dgate);
            let gate = z.map(|z| GateGradient { gate, z, dz, adds });
            call.run_parallel(BackwardParts { rows: work, parts, x, dsum, beta, gate }, elements);
        } else {
            let mut inputs = RowInputs::new(rows.rows(), rows.cols());
            inputs.forward_x(x.elements, x.pitch);
            if let Some(dsum) = dsum {
                inputs.dsum(dsum.elements, dsum.pitch);
            }
            work.io = work.io.with_inputs(&mut inputs);
            call.run_parallel(work, elements);
        }
    } else {
        scratch.fill(0.0);
    }
    if writes_sums {
        let out = [args.dgamma.take(), args.dbeta.take(), args.dbias.take()]
            .map(|out| out.map(|Accumulated { out, adds }| (out, adds)));
        call.run_serial(WriteSums { scratch, blocks, out });
    }
    if let Some(kept) = kept {
        if io.writes() {
            zero_padding(call, io, kept);
        }
        // What is added to keeps its padding.
        let written =
            [dresidual.filter(|_| !args.adds_dresidual), dgate.filter(|_| !args.adds_dgate)];
        for rows in written.into_iter().flatten() {
            zero_padding(call, rows, kept);
        }
    }
    Ok(())
}

/// Rows of an output that is there.
fn in_place<'s>(
    out: &'s mut Option<Io<'_>>,
    rows: Rows,
    names: (&'static str, &'static str),
) -> Result<Option<RowSpan<'s>>, Error> {
    out.as_mut().map(|io| io.rows_in_place(rows, names)).transpose()
}
