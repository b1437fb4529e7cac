//! The driver of operations on columns, and of BatchNorm, whose channels are columns or planes.
#![forbid(unsafe_code)]

use crate::args::running::{RunningStatistics, check_running};
use crate::args::valid_rows::kept_rows;
use crate::error::Error;
use crate::kernels::channels::first::{MergeSamples, NormalizePlanes, PlaneMoments, Planes};
use crate::kernels::columns::coefficients::{ColumnSource, GivenColumns, RunningColumns};
use crate::kernels::columns::moments::{ColumnChunks, MergeChunks, RowChunks};
use crate::kernels::columns::normalize::NormalizeColumns;
use crate::kernels::columns::running::{BatchStatistics, Momentum, RunningUpdate};
use crate::kernels::elementwise::zero_padding::ZeroPadding;
use crate::kernels::lanes::Lanes64;
use crate::kernels::row_filter::RowFilter;
use crate::mask::ValidRows;
use crate::memory;
use crate::run::execution::Execution;
use crate::shape::{Channels, Rows, check_at_least, check_eps, check_length, check_optional};
use crate::simd::{LANES, Span};

/// What BatchNorm is.
#[derive(Clone, Copy)]
pub(crate) struct BatchDriver {
    pub(crate) eps: f64,
    pub(crate) momentum: Momentum,
    pub(crate) unbiased: bool,
    pub(crate) execution: Execution,
}

impl BatchDriver {
    pub(crate) fn scratch_len(&self, shape: Channels) -> usize {
        match shape.as_rows() {
            Some(rows) => column_scratch_len(self.execution, rows),
            None => shape.batch().saturating_mul(vectors(shape)).saturating_mul(2 * LANES),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub(crate) fn train(
        &self,
        io: Span<'_>,
        valid: Option<ValidRows<'_>>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        mean: &mut [f64],
        rstd: &mut [f64],
        running: Option<RunningStatistics<'_>>,
        scratch: Option<&mut [f64]>,
    ) -> Result<(), Error> {
        let channels = shape.channels();
        check_eps(self.eps)?;
        self.check_momentum()?;
        check_optional("gamma", gamma, channels)?;
        check_optional("beta", beta, channels)?;
        check_length("mean", mean.len(), channels)?;
        check_length("rstd", rstd.len(), channels)?;
        if let Some(running) = &running {
            check_running(running.mean, running.var, channels)?;
        }
        let (kept, n) = kept_rows(valid, shape.batch().saturating_mul(shape.positions()))?;
        if running.is_some() && self.unbiased && n == 1 {
            let arg = "unbiased variance";
            return Err(Error::TooFewRows { arg, expected: 2, got: 1 });
        }
        let needed = self.scratch_len(shape);
        if let Some(scratch) = &scratch {
            check_at_least("scratch", scratch.len(), needed)?;
        }
        if shape.elements() == 0 {
            return Ok(());
        }
        if n == 0 {
            io.zero();
            return Ok(());
        }

        let mut allocated = Vec::new();
        let scratch = memory::or_allocated(scratch, &mut allocated, needed)?;
        let (means, m2s) = self.statistics(io.src(), shape, (kept, n), scratch);
        let running = running.map(|RunningStatistics { mean, var }| RunningUpdate {
            momentum: self.momentum,
            unbiased: self.unbiased,
            mean,
            var,
        });
        let statistics =
            BatchStatistics { rows: n, eps: self.eps, means, m2s, mean, rstd, running };
        self.execution.run_serial(statistics);
        self.normalize(io, (kept, n), GivenColumns { mean, rstd }, gamma, beta, shape);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub(crate) fn infer(
        &self,
        io: Span<'_>,
        valid: Option<ValidRows<'_>>,
        running_mean: &[f32],
        running_var: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
    ) -> Result<(), Error> {
        check_eps(self.eps)?;
        check_optional("gamma", gamma, shape.channels())?;
        check_optional("beta", beta, shape.channels())?;
        check_running(running_mean, running_var, shape.channels())?;
        let source = RunningColumns { mean: running_mean, var: running_var, eps: self.eps };
        let kept = kept_rows(valid, shape.batch().saturating_mul(shape.positions()))?;
        self.normalize(io, kept, source, gamma, beta, shape);
        Ok(())
    }

    /// Vectors of the mean and of M2 of every channel, at the beginning of `scratch`. There is at least one element.
    fn statistics<'s>(
        &self,
        x: &[f32],
        shape: Channels,
        kept: (RowFilter<'_>, usize),
        scratch: &'s mut [f64],
    ) -> (&'s [Lanes64], &'s [Lanes64]) {
        if let Some(rows) = shape.as_rows() {
            let (means, m2s) = column_statistics(self.execution, x, rows, kept, scratch);
            return (means, m2s);
        }
        let (samples, positions, vectors) = (shape.batch(), shape.positions(), vectors(shape));
        let scratch = &mut scratch.as_chunks_mut().0[..2 * samples * vectors];
        let (means, m2s) = scratch.split_at_mut(samples * vectors);
        let channels = shape.channels();
        let work =
            PlaneMoments { x, positions, channels, first: 0, means: &mut *means, m2s: &mut *m2s };
        self.execution.run_parallel(work, shape.elements());
        let merge = MergeSamples { samples, positions, means: &mut *means, m2s: &mut *m2s };
        self.execution.run_serial(merge);
        (&means[..vectors], &m2s[..vectors])
    }

    /// Normalises every channel with the statistics of `source`, then zeroes padding, which only rows can have. Everything
    /// has been checked.
    fn normalize<T: ColumnSource>(
        &self,
        mut io: Span<'_>,
        (kept, count): (RowFilter<'_>, usize),
        source: T,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
    ) {
        if let Some(rows) = shape.as_rows() {
            normalize_columns(self.execution, io.reborrow(), source, gamma, beta, rows);
            if rows.elements() > 0 && count < rows.rows() {
                let work = ZeroPadding { io, cols: rows.cols(), kept, first: 0 };
                self.execution.run_parallel(work, (rows.rows() - count) * rows.cols());
            }
        } else if shape.elements() > 0 {
            let io = self.execution.stores.apply(io, shape.positions());
            let io = Planes::new(io, (shape.channels(), shape.positions()), gamma, beta);
            self.execution.run_parallel(NormalizePlanes { io, source }, shape.elements());
        }
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

/// Vectors of channels.
fn vectors(shape: Channels) -> usize {
    shape.channels().div_ceil(LANES)
}

/// Normalises every column with the statistics of `source`. Everything has been checked.
pub(crate) fn normalize_columns<T: ColumnSource>(
    execution: Execution,
    io: Span<'_>,
    source: T,
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    rows: Rows,
) {
    if rows.elements() > 0 {
        // Narrow rows are worked on as wide ones.
        let io = execution.stores.apply(io, rows.elements());
        let cols = rows.cols();
        let work = NormalizeColumns { io, cols, source, gamma, beta, rows: () };
        execution.run_parallel(work, rows.elements());
    }
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

/// Vectors of the mean and of M2 of every column, at the beginning of `scratch`, which is long enough; of the rows that
/// are kept, and their number. There is at least one such row and one column.
pub(crate) fn column_statistics<'s>(
    execution: Execution,
    x: &[f32],
    rows: Rows,
    (kept, count): (RowFilter<'_>, usize),
    scratch: &'s mut [f64],
) -> (&'s mut [Lanes64], &'s mut [Lanes64]) {
    let (cols, chunks) = (rows.cols(), chunks(execution, rows).of_rows(count));
    let scratch = &mut scratch.as_chunks_mut().0[..chunks.total_scratch()];
    execution.run_parallel(
        ColumnChunks { x, cols, kept, first: 0, count, chunks, scratch },
        rows.elements(),
    );
    execution.run_serial(MergeChunks { rows: count, cols, chunks, scratch });
    let vectors = cols.div_ceil(LANES);
    scratch[..2 * vectors].split_at_mut(vectors)
}
