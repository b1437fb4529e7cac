//! The driver of operations on rows: checks, then runs the kernel.
#![forbid(unsafe_code)]

use crate::args::norm::NormArgs;
use crate::args::valid_rows::kept_rows;
use crate::element::single;
use crate::error::Error;
use crate::gate::{Gate, GatePlace};
use crate::kernels::elementwise::zero_padding::ZeroPadding;
use crate::kernels::row_filter::RowFilter;
use crate::kernels::rows::affine::Inputs;
use crate::kernels::rows::normalize::NormalizeRows;
use crate::kernels::rows::source::RowSource;
use crate::norm::row_dropout::MatrixDropout;
use crate::run::execution::Call;
use crate::shape::Rows;
use crate::simd::{Io, RowInputs, RowSpan};

/// Added to gamma, it changes no number.
pub(crate) const PLAIN_GAMMA: f32 = -0.0;

/// How a row is normalised.
pub(crate) struct RowNorm<T> {
    /// Where its statistics come from.
    pub(crate) source: T,
    pub(crate) gamma_offset: f32,
    pub(crate) gate: Gate,
}

impl<T> RowNorm<T> {
    /// Without an offset of gamma, and with the default gate.
    pub(crate) const fn plain(source: T) -> Self {
        Self { source, gamma_offset: PLAIN_GAMMA, gate: Gate::DEFAULT }
    }
}

/// Normalises every row of f32, with nothing but gamma and beta: what most calls do. A model calls it for a few rows while other code is in the
/// caches. So it runs through as little code as it can (`docs/performance.md`, "Short rows, few rows, cold calls").
#[inline(always)]
pub(crate) fn normalize_usual<T: RowSource>(
    call: Call<'_>,
    io: RowSpan<'_>,
    norm: RowNorm<T>,
    [gamma, beta]: [Option<&[f32]>; 2],
) {
    let (elements, inputs, dropout) = (io.rows() * io.cols(), Inputs::NONE, None);
    let RowNorm { source, gamma_offset, .. } = norm;
    if elements > 0 {
        let io = call.stores().apply_to_rows(io);
        let work = NormalizeRows { io, source, gamma, beta, gamma_offset, inputs, dropout };
        call.run_parallel(work, elements);
    }
}

/// Normalises every row of f32, with gamma, beta and the inputs of `args`, then zeroes padding. The caller has checked the outputs of
/// statistics.
pub(crate) fn normalize<T: RowSource>(
    call: Call<'_>,
    io: Io<'_>,
    rows: Rows,
    norm: RowNorm<T>,
    padding: Option<RowFilter<'_>>,
    args: &mut NormArgs<'_>,
) -> Result<(), Error> {
    let RowNorm { source, gamma_offset, gate } = norm;
    let mut io = io;
    let io = io.rows(rows)?;
    args.check_affine(rows.cols())?;
    args.check_sum()?;
    let (gamma, beta) = (single("gamma", args.gamma)?, single("beta", args.beta)?);
    let run = |mut io: RowSpan<'_>, inputs: Inputs, dropout: Option<MatrixDropout<'_>>| {
        let dropout = dropout.and_then(|dropout| dropout.keep_mask(call));
        if rows.elements() > 0 {
            let work = NormalizeRows {
                io: call.stores().apply_to_rows(io.reborrow()),
                source,
                gamma,
                beta,
                gamma_offset,
                inputs,
                dropout: dropout.as_ref(),
            };
            call.run_parallel(work, rows.elements());
        }
        if let Some(kept) = padding {
            zero_padding(call, io, kept);
        }
        Ok(())
    };
    let mut others;
    let (io, inputs, dropout) = if args.has_inputs() {
        let gate_at = |place| args.gate.and_then(|_| gate.at(place));
        let inputs = Inputs { gate: gate_at(GatePlace::AfterNorm), added: args.added.is_some() };
        let gate_first = gate_at(GatePlace::BeforeNorm);
        others = RowInputs::new(rows.rows(), rows.cols());
        args.take_inputs(rows, gate_first, &mut others)?;
        let dropout = MatrixDropout::check(args.dropout.take(), rows)?;
        if let Some(dropout) = &dropout
            && (dropout.changes() || args.sum.is_some())
        {
            others.dropped(dropout.goes_by_row());
        }
        if let Some(sum) = args.sum.take() {
            return sum.write_whole(args.sum_pitch, others, rows, |mut others| {
                run(io.with_inputs(&mut others), inputs, dropout)
            });
        }
        (io.with_inputs(&mut others), inputs, dropout)
    } else {
        (io, Inputs::NONE, None)
    };
    run(io, inputs, dropout)
}

/// Checks which rows are data. `None` if all of them are.
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

/// Writes 0 to the statistics of padding and of rows without elements. Every row has equally many.
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
        let a_row = statistics.len() / rows.rows();
        let mut run = kept.next_padding(0);
        while !run.is_empty() {
            statistics[run.start * a_row..run.end * a_row].fill(0.0);
            run = kept.next_padding(run.end);
        }
    }
}
