//! The driver of operations on rows: what they check and how they run.
#![forbid(unsafe_code)]

use crate::args::norm::{NormArgs, Residual, unsupported};
use crate::args::valid_rows::kept_rows;
use crate::error::Error;
use crate::kernels::elementwise::zero_padding::ZeroPadding;
use crate::kernels::row_filter::RowFilter;
use crate::kernels::rows::affine::Inputs;
use crate::kernels::rows::normalize::NormalizeRows;
use crate::kernels::rows::source::RowSource;
use crate::run::execution::Call;
use crate::shape::Rows;
use crate::simd::{Io, RowSpan};

/// Added to gamma, it changes no number.
pub(crate) const PLAIN_GAMMA: f32 = -0.0;

/// Normalises every row with the statistics of `source`, with gamma, beta and the inputs of `args`; then zeroes padding. Where
/// the statistics are written has been checked.
pub(crate) fn normalize<T: RowSource>(
    call: Call<'_>,
    io: Io<'_>,
    rows: Rows,
    source: T,
    gamma_offset: f32,
    padding: Option<RowFilter<'_>>,
    args: &mut NormArgs<'_>,
) -> Result<(), Error> {
    let io = io.rows(rows)?;
    args.check_affine(rows.cols())?;
    if args.sum.is_some() {
        // There has to be a sum, and one place for it.
        let updated = matches!(args.residual, Some(Residual::Updated(_)));
        let is_sum = args.bias.is_some() || args.residual.is_some();
        unsupported([("sum", updated || !is_sum)])?;
    }
    let mut others;
    let io = if args.has_inputs() {
        others = args.take_inputs(rows)?;
        io.with_inputs(&mut others)
    } else {
        io
    };

    let run = |mut io: RowSpan<'_>| {
        if rows.elements() > 0 {
            let inputs = Inputs { gate: args.gate.is_some(), added: args.added.is_some() };
            let (gamma, beta) = (args.gamma, args.beta);
            let work = NormalizeRows {
                io: call.stores().apply_to_rows(io.reborrow()),
                source,
                gamma,
                beta,
                gamma_offset,
                inputs,
            };
            call.run_parallel(work, rows.elements());
        }
        if let Some(kept) = padding {
            zero_padding(call, io, kept);
        }
        Ok(())
    };
    match args.sum.take() {
        Some(sum) => sum.write_whole(args.sum_pitch, io, rows, run),
        None => run(io),
    }
}

/// The rows that are data, where some are not. Everything about them is checked.
#[inline]
pub(crate) fn padding<'a>(
    args: &NormArgs<'a>,
    rows: usize,
) -> Result<Option<RowFilter<'a>>, Error> {
    let Some(valid) = args.valid else { return Ok(None) };
    let (kept, count) = kept_rows(Some(valid), rows)?;
    Ok((count < rows).then_some(kept))
}

/// Writes `+0.0` to the rows that are not kept.
pub(crate) fn zero_padding(call: Call<'_>, io: RowSpan<'_>, kept: RowFilter<'_>) {
    let elements = io.rows() * io.cols();
    if elements > 0 {
        call.run_parallel(ZeroPadding { io, kept, first: 0 }, elements);
    }
}

/// Writes 0 to the statistics that no row of data has: those of padding, and of rows without elements.
#[inline]
pub(crate) fn clear_statistics(
    statistics: [Option<&mut [f64]>; 2],
    rows: Rows,
    padding: Option<RowFilter<'_>>,
) {
    if rows.cols() == 0 || padding.is_some() {
        clear_some(statistics, rows, padding);
    }
}

fn clear_some(statistics: [Option<&mut [f64]>; 2], rows: Rows, padding: Option<RowFilter<'_>>) {
    for statistics in statistics.into_iter().flatten() {
        let Some(kept) = padding.filter(|_| rows.cols() > 0) else {
            statistics.fill(0.0);
            continue;
        };
        let mut run = kept.next_padding(0);
        while !run.is_empty() {
            statistics[run.clone()].fill(0.0);
            run = kept.next_padding(run.end);
        }
    }
}
