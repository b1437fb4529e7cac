//! The gradients of rows: backward of LayerNorm, RmsNorm, and of rows whose statistics are given.
//!
//! The plain algorithm, for each row x of n elements, whose gradient of y is dy:
//!
//! ```text
//! (mean, rstd) = statistics of x;  x_hat = (x - mean) * rstd;  g = dy * gamma
//! c = sum of g / n;  d = sum of g * x_hat / n
//! dx = rstd * (g - c - x_hat * d);  dgamma += dy * x_hat;  dbeta += dy
//! ```
//!
//! `RmsNorm` has no mean and no c. Given statistics are constants: dx is `rstd * g`.
//!
//! What makes it exact and fast:
//!
//! * **One sweep over memory.** A group of rows is read for its statistics, for c and d, and once more for dx and the sums of
//!   columns. It lies in L1 then: x and dy are read from memory once, dx is written once.
//! * **The mean is a pair**, as in the forward pass (`kernels/rows/normalize.rs`): `x_hat` keeps its digits at any mean / std, and so
//!   do d and dgamma. The form that frameworks use, `rstd * g + b * x + c`, is off by 9e-3 where mean / std is 1e6.
//! * **c and d are sums of blocks** of 1024 elements, in two levels as those of statistics, merged in f64.
//! * **dgamma and dbeta** are sums of blocks of rows (`kernels/rows/column_sums.rs`). A group of rows shares their loads and stores.
//! * **One test a row.** The sum of dy^2 bounds every gradient, and c and d show that not all of them are tiny. A row that fails is
//!   looked at again; where f32 does not hold it, the same code runs on f64 lanes.
#![forbid(unsafe_code)]

use core::marker::PhantomData;
use core::ops::Range;

use super::column_sums::{ChunkSums, ChunkWork, ColumnSums, DbiasSums, RowBlocks};
use super::dropped::{DroppedPart, DroppedRows, RowDropout, dropped_rows, in_parts};
use super::gradient_sweeps::{
    Coefficients, DROPPED, EXTRA, Extra, Gamma, Means, PLAIN, add_columns, extremes,
    largest_factor, row_sums, write_dx,
};
use super::reduce::Cascades;
use super::source::{Measure, RowSource, RowStatistics};
use super::sweep::Standardize;
use crate::kernels::elementwise::choices::REACH;
use crate::kernels::row_filter::RowFilter;
use crate::kernels::split::Split;
use crate::simd::{FORWARD_X, INPUTS, Kernel, RowSpan, Simd};

/// The gradients of rows. Rows of the work are chunks; a row has at least one element.
pub(crate) struct BackwardRows<'a, T> {
    /// dy, and dx if it is wanted; beside dy, x and what is added to dx.
    pub(crate) io: RowSpan<'a>,
    pub(crate) source: GradientSource<'a, T>,
    pub(crate) gamma: Gamma<'a>,
    /// Whether something is added to dx.
    pub(crate) has_dsum: bool,
    /// A second place for dx, x and y of it, and whether dx is added to what is there.
    pub(crate) dresidual: Option<RowSpan<'a>>,
    pub(crate) adds_dresidual: bool,
    /// Dropout of dx, once it is in its second place.
    pub(crate) dropout: Option<&'a RowDropout<'a>>,
    /// Whether dx is summed, in the last numbers of the scratch of each chunk.
    pub(crate) has_dbias: bool,
    /// The rows that have gradients, and the number of row 0 among them.
    pub(crate) kept: Option<RowFilter<'a>>,
    pub(crate) first: usize,
    pub(crate) blocks: RowBlocks,
    /// How many sums there are of each column: none, that of dgamma, or both.
    pub(crate) sums: usize,
    pub(crate) scratch: &'a mut [f64],
}

/// Where statistics come from.
pub(crate) enum GradientSource<'a, T> {
    /// The forward pass kept them, of each of so many parts of a row. Without a mean it is 0.
    Saved { mean: Option<&'a [f64]>, rstd: &'a [f64], parts: usize },
    /// They are made again.
    Made(T),
}

impl<T: RowSource> Split for BackwardRows<'_, T> {
    fn rows(&self) -> usize {
        self.io.rows().div_ceil(self.blocks.chunk)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { io, source, dresidual, scratch, first, blocks, .. } = self;
        let row = (at * blocks.chunk).min(io.rows());
        let (low_residual, high_residual) = dresidual.map(|rows| rows.split_at(row)).unzip();
        let (low, high) = io.split_at(row);
        let (low_source, high_source) = source.split_at(row);
        let (low_scratch, high_scratch) = scratch.split_at_mut(at * blocks.scratch);
        (
            Self {
                io: low,
                source: low_source,
                dresidual: low_residual,
                scratch: low_scratch,
                ..self
            },
            Self {
                io: high,
                source: high_source,
                dresidual: high_residual,
                scratch: high_scratch,
                first: first + row,
                ..self
            },
        )
    }
}

impl<T: RowSource> GradientSource<'_, T> {
    fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Self::Saved { mean, rstd, parts } => {
                let (low, high) = rstd.split_at(at * parts);
                let (low_mean, high_mean) = mean.map(|mean| mean.split_at(at * parts)).unzip();
                let low = Self::Saved { mean: low_mean, rstd: low, parts };
                (low, Self::Saved { mean: high_mean, rstd: high, parts })
            }
            Self::Made(source) => {
                let (low, high) = source.split_at(at);
                (Self::Made(low), Self::Made(high))
            }
        }
    }
}

impl<T: RowSource> Kernel for BackwardRows<'_, T> {
    type Output = ();

    /// As of the forward pass, each case is a function of its own. What is rare has none: dx without the sums of columns and
    /// `RmsNorm` with beta test what is added to dx; the sums of rows whose statistics are given test everything.
    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let extra = self.has_dsum || self.dresidual.is_some();
        let dropped = self.dropout.is_some() || self.has_dbias;
        match self.sums {
            0 if !dropped => token.vectorize(BackwardRowsBy::<T, 0, EXTRA>(self)),
            _ if T::ONE_SWEEP || dropped => token.vectorize(BackwardRowsBy::<T, 2, DROPPED>(self)),
            1 if !T::CENTRED && !extra => token.vectorize(BackwardRowsBy::<T, 1, PLAIN>(self)),
            2 if T::CENTRED && !extra => token.vectorize(BackwardRowsBy::<T, 2, PLAIN>(self)),
            _ => token.vectorize(BackwardRowsBy::<T, 2, EXTRA>(self)),
        }
    }
}

/// How many sums of each column are made where so many are wanted. One that nobody wants costs less than to compile another case:
/// `RmsNorm` has no beta, and LayerNorm has one.
pub(crate) fn sums_made<T: RowSource>(wanted: usize, extra: bool) -> usize {
    match wanted {
        0 => 0,
        _ if T::CENTRED || extra => 2,
        wanted => wanted,
    }
}

/// The same with `N` sums of each column, and what `KIND` says is done with dx.
struct BackwardRowsBy<'a, T, const N: usize, const KIND: u8>(BackwardRows<'a, T>);

impl<T: RowSource, const N: usize, const KIND: u8> Kernel for BackwardRowsBy<'_, T, N, KIND> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let largest = largest_factor::<S>(token, self.0.gamma);
        match S::ROWS {
            // The choices of dropout are made in the order of the elements.
            _ if KIND == DROPPED => self.chunks::<S, 1>(token, largest),
            2.. => self.chunks::<S, 2>(token, largest),
            _ => self.chunks::<S, 1>(token, largest),
        }
    }
}

impl<T: RowSource, const N: usize, const KIND: u8> BackwardRowsBy<'_, T, N, KIND> {
    #[inline(always)]
    fn chunks<S: Simd, const R: usize>(self, token: S, largest: f64) {
        let BackwardRows { io, source, gamma, kept, first, blocks, scratch, .. } = self.0;
        let BackwardRows { has_dsum, dresidual, adds_dresidual, dropout, has_dbias, .. } = self.0;
        let (rows, cols) = (io.rows(), io.cols());
        let mut dropped = dropped_rows(dropout, first, (rows, cols));
        let dropped = dropped.as_mut();
        let (sums, dbias) = (ColumnSums::new(&mut [], 0), None);
        let rows_of = GradientRows {
            io,
            gamma,
            largest,
            has_dsum,
            dresidual,
            adds_dresidual,
            dropped,
            first,
            dbias,
        };
        let work = &mut Groups::<_, R, N, KIND> {
            cols,
            has_dbias,
            source,
            part: Part { rows: rows_of, sums },
            cascades: None,
            cascade: None,
        };
        blocks.go_through(token, rows, (kept, first), scratch, work);
    }
}

/// Rows that are worked on in groups of `R`.
struct Groups<'a, 's, T: RowSource, const R: usize, const N: usize, const KIND: u8> {
    cols: usize,
    has_dbias: bool,
    source: GradientSource<'a, T>,
    part: Part<'a, 's, N, KIND>,
    cascades: Cascades<T::Block, R>,
    cascade: Cascades<T::Block, 1>,
}

impl<'s, T: RowSource, const R: usize, const N: usize, const KIND: u8> ChunkWork<'s>
    for Groups<'_, 's, T, R, N, KIND>
{
    #[inline(always)]
    fn begin_chunk(&mut self, mut scratch: &'s mut [f64]) {
        if KIND == DROPPED && self.has_dbias {
            let (others, dbias) = DbiasSums::new(scratch, self.cols);
            (scratch, self.part.rows.dbias) = (others, Some(dbias));
        }
        self.part.sums = ColumnSums::new(scratch, self.cols);
    }

    #[inline(always)]
    fn rows<S: Simd>(&mut self, token: S, rows: Range<usize>) {
        let Range { start: mut row, end } = rows;
        // The statistics of the last group that f32 may not hold. Its rows, those before `alone`, are taken one at a time.
        let mut made = [RowStatistics { mean: 0.0, rstd: 0.0 }; R];
        let mut alone = row;
        while row < end {
            // A group of one row would be compiled for nothing.
            if R > 1 && row >= alone && row + R <= end {
                let x = self.part.rows.io.read_group::<R, INPUTS>(row);
                let x = x.rows_of(FORWARD_X);
                let statistics = self.source.rows(token, row, x, &mut self.cascades);
                if self.part.group::<T, S, R>(token, row, statistics) {
                    row += R;
                    continue;
                }
                (made, alone) = (statistics, row + R);
            }
            let statistics = if row < alone {
                made[row + R - alone]
            } else {
                let x = self.part.rows.io.read_group::<1, INPUTS>(row);
                let [statistics] =
                    self.source.rows(token, row, x.rows_of(FORWARD_X), &mut self.cascade);
                statistics
            };
            self.part.row::<T, S>(token, row, statistics);
            row += 1;
        }
    }

    #[inline(always)]
    fn end_step(&mut self) {
        self.part.sums.end_step();
    }

    #[inline(always)]
    fn end_block(&mut self) {
        self.part.sums.end_block();
    }
}

/// Rows whose gradients are made of their statistics, or some columns of them that have statistics of their own.
pub(super) struct Part<'a, 's, const N: usize, const KIND: u8> {
    pub(super) rows: GradientRows<'a, 's>,
    pub(super) sums: ColumnSums<'s, N>,
}

/// The rows of a [`Part`], and all that is made of them beside the sums of columns.
pub(super) struct GradientRows<'a, 's> {
    /// As of [`BackwardRows`].
    pub(super) io: RowSpan<'a>,
    pub(super) gamma: Gamma<'a>,
    /// The largest magnitude of a factor of dy.
    pub(super) largest: f64,
    pub(super) has_dsum: bool,
    pub(super) dresidual: Option<RowSpan<'a>>,
    pub(super) adds_dresidual: bool,
    /// Dropout of dx, with the number of row 0, and the sums of it.
    pub(super) dropped: Option<&'a mut DroppedRows<'a>>,
    pub(super) first: usize,
    pub(super) dbias: Option<DbiasSums<'s>>,
}

impl<T: RowSource> GradientSource<'_, T> {
    /// The statistics of `R` rows x, the first of them row `first`.
    #[inline(always)]
    pub(super) fn rows<S: Simd, const R: usize>(
        &mut self,
        token: S,
        first: usize,
        rows: [&[f32]; R],
        cascades: &mut Cascades<T::Block, R>,
    ) -> [RowStatistics; R] {
        match self {
            Self::Saved { mean, rstd, .. } => {
                let mut each = [RowStatistics { mean: 0.0, rstd: 0.0 }; R];
                for r in 0..R {
                    let mean = mean.map_or(0.0, |mean| mean[first + r]);
                    each[r] = RowStatistics { mean, rstd: rstd[first + r] };
                }
                each
            }
            Self::Made(source) => token.vectorize(Measure { source, first, rows, cascades }),
        }
    }
}

impl<const N: usize, const KIND: u8> Part<'_, '_, N, KIND> {
    /// `R` rows with these statistics, if f32 holds the gradients of each for sure; otherwise it does nothing.
    #[inline(always)]
    fn group<T: RowSource, S: Simd, const R: usize>(
        &mut self,
        token: S,
        first: usize,
        statistics: [RowStatistics; R],
    ) -> bool {
        let group = self.rows.io.read_group::<R, INPUTS>(first);
        let Some(lanes) = Standardize::in_f32(token, &statistics) else { return false };
        let sums = row_sums::<T, S::F32, R>(token, &group, &lanes, self.rows.gamma);
        let (largest, cols) = (self.rows.largest, self.rows.io.cols());
        let mut means = [Means::NONE; R];
        let mut fit = true;
        for r in 0..R {
            means[r] = Means::new::<T>(sums[r], cols);
            fit &= means[r].fit_f32::<T>(statistics[r].rstd, sums[r].squares, largest, cols);
        }
        if fit {
            self.sweep::<T, S, R>(token, first, lanes, statistics, means);
        }
        fit
    }

    /// One row with these statistics. Its bits are those that it has in a group.
    #[inline(always)]
    pub(super) fn row<T: RowSource, S: Simd>(
        &mut self,
        token: S,
        row: usize,
        statistics: RowStatistics,
    ) {
        let group = self.rows.io.read_group::<1, INPUTS>(row);
        let (largest, cols) = (self.rows.largest, self.rows.io.cols());
        let (lanes, mut means, mut squares) =
            (Standardize::in_f32(token, &[statistics]), Means::NONE, 0.0);
        let mut fits = false;
        if let Some(lanes) = &lanes {
            let [sums] = row_sums::<T, S::F32, 1>(token, &group, lanes, self.rows.gamma);
            (means, squares) = (Means::new::<T>(sums, cols), sums.squares);
            fits = means.fit_f32::<T>(statistics.rstd, squares, largest, cols);
        }
        if !fits {
            fits = token.outline(Unfit::<T> {
                rows: &mut self.rows,
                sums: self.sums.chunk(),
                row,
                statistics: &{ statistics },
                in_f32: lanes.is_some().then_some(&{ (means, squares) }),
                source: PhantomData,
            });
        }
        if let (true, Some(lanes)) = (fits, lanes) {
            self.sweep::<T, S, 1>(token, row, lanes, [statistics], [means]);
        }
    }

    /// The second sweep, where f32 holds everything.
    #[inline(always)]
    fn sweep<T: RowSource, S: Simd, const R: usize>(
        &mut self,
        token: S,
        first: usize,
        lanes: [Standardize<S::F32>; R],
        statistics: [RowStatistics; R],
        means: [Means; R],
    ) {
        let rows = Coefficients::array(token, lanes, statistics, means);
        let Self { rows: GradientRows { io, gamma, dresidual, .. }, sums } = self;
        if !io.writes() {
            let group = io.read_group::<R, INPUTS>(first);
            let sums = &mut sums.step(0, io.cols());
            return add_columns::<T, S::F32, _, R, N>(token, &group, &rows, sums);
        }
        let ahead = io.ahead(first, R);
        let mut group = io.group::<R, INPUTS>(first);
        let mut second = dresidual.as_mut().map(
            #[inline(always)]
            |rows| rows.group::<R, 1>(first),
        );
        let (cols, head) = (group.cols(), group.before_line());
        for (start, end) in [(0, head), (head, cols)] {
            for (start, end) in parts::<KIND>(start, end) {
                let part = &mut group.columns(start, end);
                let gamma = gamma.columns(start, end);
                let sums = &mut sums.step(start, end);
                let extra = Extra {
                    has_dsum: self.rows.has_dsum,
                    second: second.as_mut().map(
                        #[inline(always)]
                        |rows| rows.columns(start, end),
                    ),
                    adds: self.rows.adds_dresidual,
                    dropped: dropped_part::<S, KIND>(
                        token,
                        &mut self.rows.dropped,
                        self.rows.first + first,
                        (start, end),
                    ),
                    dbias: dbias_part::<KIND>(&mut self.rows.dbias, start, end),
                };
                if part.streams() {
                    write_dx::<T, S::F32, _, true, R, N, KIND>(
                        token, part, &rows, gamma, ahead, extra, sums,
                    );
                } else {
                    write_dx::<T, S::F32, _, false, R, N, KIND>(
                        token, part, &rows, gamma, ahead, extra, sums,
                    );
                }
            }
        }
    }
}

/// A row that does not fit f32 for sure: one function for every `N` and `KIND`, since such rows are few. It looks at the row
/// again. Where f32 holds the row after all, it says so and does nothing; otherwise it makes the gradients on f64 lanes.
struct Unfit<'w, 'a, 's, T> {
    rows: &'w mut GradientRows<'a, 's>,
    sums: ChunkSums<'w>,
    row: usize,
    statistics: &'w RowStatistics,
    /// The means in f32, and the sum of dy^2, if f32 holds the statistics.
    in_f32: Option<&'w (Means, f64)>,
    source: PhantomData<T>,
}

impl<T: RowSource> Kernel for Unfit<'_, '_, '_, T> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> bool {
        let Self { rows, mut sums, row, statistics: &statistics, in_f32, .. } = self;
        let (gamma, largest) = (rows.gamma, rows.largest);
        let group = rows.io.read_group::<1, INPUTS>(row);
        if let Some(&(means, squares)) = in_f32 {
            let extremes = extremes::<S>(token, &group, gamma);
            if means.hold_in_f32::<T>(statistics.rstd, squares, extremes, largest, group.cols()) {
                return true;
            }
        }
        let lanes = [Standardize::new(token, statistics)];
        let [row_sums] = row_sums::<T, S::F64, 1>(token, &group, &lanes, gamma);
        let means = Means::new::<T>(row_sums, group.cols()).finite_or_nan();
        let coefficients = Coefficients::array(token, lanes, [statistics], [means]);
        if !rows.io.writes() {
            add_columns::<T, S::F64, _, 1, 2>(token, &group, &coefficients, &mut sums);
            return false;
        }
        let mut group = rows.io.group::<1, INPUTS>(row);
        let mut second = rows.dresidual.as_mut().map(
            #[inline(always)]
            |rows| rows.group::<1, 1>(row),
        );
        for (start, end) in parts::<DROPPED>(0, group.cols()) {
            let extra = Extra {
                has_dsum: rows.has_dsum,
                second: second.as_mut().map(
                    #[inline(always)]
                    |rows| rows.columns(start, end),
                ),
                adds: rows.adds_dresidual,
                dropped: dropped_part::<S, DROPPED>(
                    token,
                    &mut rows.dropped,
                    rows.first + row,
                    (start, end),
                ),
                dbias: dbias_part::<DROPPED>(&mut rows.dbias, start, end),
            };
            write_dx::<T, S::F64, _, false, 1, 2, DROPPED>(
                token,
                &mut group.columns(start, end),
                &coefficients,
                gamma.columns(start, end),
                0,
                extra,
                &mut sums.columns(start, end),
            );
        }
        false
    }
}

/// The parts of columns `start` up to `end` that are swept over at a time.
#[inline(always)]
fn parts<const KIND: u8>(start: usize, end: usize) -> impl Iterator<Item = (usize, usize)> {
    let len = if KIND == DROPPED { REACH } else { usize::MAX };
    in_parts(start, end, len)
}

/// Dropout of some columns of a row.
#[inline(always)]
fn dropped_part<'w, S: Simd, const KIND: u8>(
    token: S,
    dropped: &'w mut Option<&mut DroppedRows<'_>>,
    row: usize,
    columns: (usize, usize),
) -> Option<DroppedPart<'w>> {
    if KIND != DROPPED {
        return None;
    }
    dropped.as_mut().map(
        #[inline(always)]
        |dropped| dropped.reach(token, row, columns),
    )
}

/// The sums of dx of some columns.
#[inline(always)]
fn dbias_part<'w, const KIND: u8>(
    dbias: &'w mut Option<DbiasSums<'_>>,
    start: usize,
    end: usize,
) -> Option<DbiasSums<'w>> {
    if KIND != DROPPED {
        return None;
    }
    dbias.as_mut().map(
        #[inline(always)]
        |dbias| dbias.columns(start, end),
    )
}
