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

use super::block::{BLOCK, TERMS};
use super::column_sums::{ColumnSums, LaneSums, RowBlocks, STEP};
use super::reduce::Cascades;
use super::source::{RowSource, RowStatistics};
use super::sweep::Standardize;
use crate::kernels::range::{LARGEST, LARGEST_GRADIENT_SQUARES};
use crate::kernels::row_filter::RowFilter;
use crate::kernels::split::Split;
use crate::simd::{DSUM, FORWARD_X, Float, Group, INPUTS, Kernel, LANES, Real, RowSpan, Simd};

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
    /// The forward pass kept them. Without a mean it is 0.
    Saved { mean: Option<&'a [f64]>, rstd: &'a [f64] },
    /// They are made again.
    Made(T),
}

/// What dy is multiplied with.
#[derive(Clone, Copy)]
pub(crate) struct Gamma<'a> {
    pub(crate) gamma: Option<&'a [f32]>,
    /// What is added to gamma: 1, or -0.0, which changes no number. Where gamma is absent the factor is 1 either way.
    pub(crate) offset: f32,
}

impl<T: RowSource> Split for BackwardRows<'_, T> {
    fn rows(&self) -> usize {
        self.io.rows().div_ceil(self.blocks.chunk)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { io, source, dresidual, scratch, first, blocks, .. } = self;
        let row = (at * blocks.chunk).min(io.rows());
        let (low_residual, high_residual) = match dresidual.map(|rows| rows.split_at(row)) {
            Some((low, high)) => (Some(low), Some(high)),
            None => (None, None),
        };
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
            Self::Saved { mean, rstd } => {
                let (low, high) = rstd.split_at(at);
                let (low_mean, high_mean) = match mean.map(|mean| mean.split_at(at)) {
                    Some((low, high)) => (Some(low), Some(high)),
                    None => (None, None),
                };
                let low = Self::Saved { mean: low_mean, rstd: low };
                (low, Self::Saved { mean: high_mean, rstd: high })
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

    /// As of the forward pass, each case is a function of its own.
    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let extra = self.has_dsum || self.dresidual.is_some();
        match self.sums {
            0 if extra => token.vectorize(BackwardRowsBy::<T, 0, true>(self)),
            0 => token.vectorize(BackwardRowsBy::<T, 0, false>(self)),
            _ if extra => token.vectorize(BackwardRowsBy::<T, 2, true>(self)),
            1 if !T::CENTRED => token.vectorize(BackwardRowsBy::<T, 1, false>(self)),
            _ => token.vectorize(BackwardRowsBy::<T, 2, false>(self)),
        }
    }
}

/// How many sums of each column are made where so many are wanted, one at least. One that nobody wants costs less than to compile
/// another case: `RmsNorm` has no beta, and LayerNorm has one.
pub(crate) fn sums_made<T: RowSource>(wanted: usize, extra: bool) -> usize {
    if T::CENTRED || extra { 2 } else { wanted }
}

/// The same with `N` sums of each column; with `EXTRA`, something may be added to dx, and it may have a second place.
struct BackwardRowsBy<'a, T, const N: usize, const EXTRA: bool>(BackwardRows<'a, T>);

impl<T: RowSource, const N: usize, const EXTRA: bool> Kernel for BackwardRowsBy<'_, T, N, EXTRA> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let largest = largest_factor::<S>(token, self.0.gamma);
        match S::ROWS {
            2.. => self.chunks::<S, 2>(token, largest),
            _ => self.chunks::<S, 1>(token, largest),
        }
    }
}

impl<T: RowSource, const N: usize, const EXTRA: bool> BackwardRowsBy<'_, T, N, EXTRA> {
    #[inline(always)]
    fn chunks<S: Simd, const R: usize>(self, token: S, largest: f64) {
        let BackwardRows { io, source, gamma, kept, first, blocks, scratch, .. } = self.0;
        let BackwardRows { has_dsum, dresidual, adds_dresidual, .. } = self.0;
        let (rows, cols) = (io.rows(), io.cols());
        let mut work = Chunk::<T, N, EXTRA> {
            io,
            source,
            gamma,
            largest,
            has_dsum,
            dresidual,
            adds_dresidual,
            sums: ColumnSums::new(&mut [], 0),
        };
        let (mut cascades, mut cascade) = (None, None);
        let mut scratch = scratch.chunks_mut(blocks.scratch.max(1));
        for start in (0..rows).step_by(blocks.chunk) {
            if N > 0 {
                work.sums = ColumnSums::new(scratch.next().expect("scratch of each chunk"), cols);
            }
            let end = rows.min(start + blocks.chunk);
            for block in (start..end).step_by(blocks.rows) {
                let end = end.min(block + blocks.rows);
                for step in (block..end).step_by(STEP) {
                    let end = end.min(step + STEP);
                    let mut row = step;
                    while row < end {
                        let run = match kept {
                            None => row..end,
                            Some(kept) => {
                                let run = kept.next_run(first + row, end - row);
                                run.start - first..run.end - first
                            }
                        };
                        if run.is_empty() || run.start >= end {
                            break;
                        }
                        row = run.start;
                        let run = row..run.end.min(end);
                        while row + R <= run.end {
                            work.group::<S, R>(token, row, &mut cascades);
                            row += R;
                        }
                        while row < run.end {
                            work.group::<S, 1>(token, row, &mut cascade);
                            row += 1;
                        }
                    }
                    work.sums.end_step();
                }
                work.sums.end_block();
            }
        }
    }
}

/// The rows of a chunk.
struct Chunk<'a, 's, T, const N: usize, const EXTRA: bool> {
    io: RowSpan<'a>,
    source: GradientSource<'a, T>,
    gamma: Gamma<'a>,
    /// The largest magnitude of a factor of dy.
    largest: f64,
    has_dsum: bool,
    dresidual: Option<RowSpan<'a>>,
    adds_dresidual: bool,
    sums: ColumnSums<'s, N>,
}

/// The statistics of some rows.
struct Measure<'w, 'x, T: RowSource, const R: usize> {
    source: &'w mut T,
    first: usize,
    rows: [&'x [f32]; R],
    cascades: &'w mut Cascades<T::Block, R>,
}

impl<T: RowSource, const R: usize> Kernel for Measure<'_, '_, T, R> {
    type Output = [RowStatistics; R];

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> [RowStatistics; R] {
        self.source.rows(token, self.first, self.rows, self.cascades)
    }
}

/// What the first sweep makes of a row: the sums of g, of `g * x_hat`, and of dy^2.
#[derive(Clone, Copy)]
struct RowSums {
    g: f64,
    g_x_hat: f64,
    squares: f64,
}

impl<T: RowSource, const N: usize, const EXTRA: bool> Chunk<'_, '_, T, N, EXTRA> {
    /// `R` rows.
    #[inline(always)]
    fn group<S: Simd, const R: usize>(
        &mut self,
        token: S,
        first: usize,
        cascades: &mut Cascades<T::Block, R>,
    ) {
        let rows = self.io.read_group::<R, INPUTS>(first);
        let statistics = match &mut self.source {
            GradientSource::Saved { mean, rstd } => {
                let mut each = [RowStatistics { mean: 0.0, rstd: 0.0 }; R];
                for r in 0..R {
                    let mean = mean.map_or(0.0, |mean| mean[first + r]);
                    each[r] = RowStatistics { mean, rstd: rstd[first + r] };
                }
                each
            }
            GradientSource::Made(source) => {
                token.outline(Measure { source, first, rows: rows.rows_of(FORWARD_X), cascades })
            }
        };
        let Some(lanes) = Standardize::in_f32(token, &statistics) else {
            return self.one_by_one(token, first, &{ statistics });
        };
        let sums = row_sums::<T, S::F32, R>(token, &rows, &lanes, self.gamma);
        let mut c = [Means { c: 0.0, d: 0.0 }; R];
        let mut fit = true;
        for r in 0..R {
            c[r] = Means::new::<T>(sums[r], self.io.cols());
            fit &= c[r].fit_f32::<T>(
                statistics[r].rstd,
                sums[r].squares,
                self.largest,
                self.io.cols(),
            );
        }
        if !fit {
            return self.one_by_one(token, first, &{ statistics });
        }
        self.sweep::<S, S::F32, R>(token, first, lanes, statistics, c);
    }

    /// The second sweep, where f32 holds everything.
    #[inline(always)]
    fn sweep<S: Simd, V: Float<Token = S, Elem = f32>, const R: usize>(
        &mut self,
        token: S,
        first: usize,
        lanes: [Standardize<V>; R],
        statistics: [RowStatistics; R],
        means: [Means; R],
    ) {
        let rows = Coefficients::array(token, lanes, statistics, means);
        if !self.io.writes() {
            let group = self.io.read_group::<R, INPUTS>(first);
            let sums = &mut self.sums.step(0, self.io.cols());
            return add_columns::<T, V, _, R, N>(token, &group, &rows, sums);
        }
        let ahead = self.io.ahead(R);
        let mut group = self.io.group::<R, INPUTS>(first);
        let mut second = self.dresidual.as_mut().map(
            #[inline(always)]
            |rows| rows.group::<R, 1>(first),
        );
        let (cols, head) = (group.cols(), group.before_line());
        for (start, end) in [(0, head), (head, cols)] {
            if start < end {
                let part = &mut group.columns(start, end);
                let gamma = self.gamma.columns(start, end);
                let sums = &mut self.sums.step(start, end);
                let second = second.as_mut().map(
                    #[inline(always)]
                    |rows| rows.columns(start, end),
                );
                let (has_dsum, adds) = (self.has_dsum, self.adds_dresidual);
                let extra = Extra { has_dsum, second, adds };
                if part.streams() {
                    write_dx::<T, V, _, true, R, N, EXTRA>(
                        token, part, &rows, gamma, ahead, extra, sums,
                    );
                } else {
                    write_dx::<T, V, _, false, R, N, EXTRA>(
                        token, part, &rows, gamma, ahead, extra, sums,
                    );
                }
            }
        }
    }

    /// Rows of which some may leave f32.
    #[inline(always)]
    fn one_by_one<S: Simd>(&mut self, token: S, first: usize, statistics: &[RowStatistics]) {
        token.outline(OneByOne { work: self, first, statistics });
    }
}

/// The same of rows of which some leave f32, one by one.
struct OneByOne<'w, 'a, 's, T, const N: usize, const EXTRA: bool> {
    work: &'w mut Chunk<'a, 's, T, N, EXTRA>,
    first: usize,
    statistics: &'w [RowStatistics],
}

impl<T: RowSource, const N: usize, const EXTRA: bool> Kernel for OneByOne<'_, '_, '_, T, N, EXTRA> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { work, first, statistics } = self;
        for (i, &statistics) in statistics.iter().enumerate() {
            let row = first + i;
            let group = work.io.read_group::<1, INPUTS>(row);
            if let Some(lanes) = Standardize::in_f32(token, &[statistics]) {
                let [sums] = row_sums::<T, S::F32, 1>(token, &group, &lanes, work.gamma);
                let means = Means::new::<T>(sums, group.cols());
                let extremes = extremes::<S>(token, &group, work.gamma);
                if means.hold_in_f32::<T>(statistics.rstd, sums.squares, extremes, group.cols()) {
                    work.sweep::<S, S::F32, 1>(token, row, lanes, [statistics], [means]);
                    continue;
                }
            }
            let lanes = [Standardize::new(token, statistics)];
            let [sums] = row_sums::<T, S::F64, 1>(token, &group, &lanes, work.gamma);
            let means = Means::new::<T>(sums, group.cols()).finite_or_nan();
            let rows = Coefficients::array(token, lanes, [statistics], [means]);
            let sums = work.sums.chunk();
            if work.io.writes() {
                let mut group = work.io.group::<1, INPUTS>(row);
                let second = work.dresidual.as_mut().map(
                    #[inline(always)]
                    |rows| rows.group::<1, 1>(row),
                );
                let extra = Extra { has_dsum: work.has_dsum, second, adds: work.adds_dresidual };
                write_dx::<T, S::F64, _, false, 1, N, EXTRA>(
                    token, &mut group, &rows, work.gamma, 0, extra, sums,
                );
            } else {
                add_columns::<T, S::F64, _, 1, N>(token, &group, &rows, sums);
            }
        }
    }
}

impl Gamma<'_> {
    /// The part for columns `start` up to `end`.
    #[inline(always)]
    fn columns(self, start: usize, end: usize) -> Self {
        let gamma = self.gamma.map(
            #[inline(always)]
            |gamma| &gamma[start..end],
        );
        Self { gamma, ..self }
    }

    /// The factors of vector `i`. The sum is one of f32 where lanes are f64 too, as in the forward pass.
    #[inline(always)]
    fn load<V: Float>(self, token: V::Token, i: usize) -> V {
        self.factor(
            token,
            #[inline(always)]
            |gamma| Float::load(token, &gamma.as_chunks().0[i]),
        )
    }

    /// The same of the tail.
    #[inline(always)]
    fn load_tail<V: Float>(self, token: V::Token) -> V {
        self.factor(
            token,
            #[inline(always)]
            |gamma| Float::load_partial(token, gamma.as_chunks::<LANES>().1, 0.0),
        )
    }

    #[inline(always)]
    fn factor<V: Float>(self, token: V::Token, load: impl Fn(&[f32]) -> Single<V>) -> V {
        match self.gamma {
            Some(gamma) => V::of_single(Single::<V>::splat(token, self.offset) + load(gamma)),
            None => V::splat(token, V::Elem::from_f64(1.0)),
        }
    }
}

/// The largest magnitude of a factor of dy. NaN is not looked for: c and d are NaN where a factor is.
#[inline(always)]
fn largest_factor<S: Simd>(token: S, gamma: Gamma<'_>) -> f64 {
    let Some(all) = gamma.gamma else { return 1.0 };
    let mut most = S::F32::splat(token, 0.0);
    for i in 0..all.len() / LANES {
        most = gamma.load::<S::F32>(token, i).abs().max(most);
    }
    // The lanes beyond the tail hold the offset alone.
    let mut largest = 0.0_f32;
    for factor in &all[all.len() - all.len() % LANES..] {
        largest = largest.max((gamma.offset + factor).abs());
    }
    let mut lanes = [0.0; LANES];
    most.store_init(&mut lanes);
    f64::from(lanes.into_iter().fold(largest, f32::max))
}

/// c and d.
#[derive(Clone, Copy)]
struct Means {
    c: f64,
    d: f64,
}

impl Means {
    #[inline(always)]
    fn new<T: RowSource>(sums: RowSums, cols: usize) -> Self {
        let n = cols as f64;
        Self { c: if T::CENTRED { sums.g / n } else { 0.0 }, d: sums.g_x_hat / n }
    }

    /// Whether f32 holds the gradients of a row for sure: none is too large, and c and d, which no mean of tiny numbers exceeds,
    /// say that some are large enough. What f32 loses of those that are not has no weight then.
    #[inline(always)]
    fn fit_f32<T: RowSource>(self, rstd: f64, squares: f64, largest: f64, cols: usize) -> bool {
        let (most, least) = (rstd.abs().max(1.0), rstd.abs().min(1.0));
        let sum = self.c.abs() + self.d.abs();
        let is_small = squares < LARGEST_GRADIENT_SQUARES
            && squares * (largest * largest) * (most * most) <= LARGEST * LARGEST;
        is_small && (T::ONE_SWEEP || (sum * least >= 1.0 / LARGEST && Self::rounds::<T>(cols)))
    }

    /// The same of a row whose largest gradients are known, so that c and d do not have to tell.
    #[inline(always)]
    fn hold_in_f32<T: RowSource>(
        self,
        rstd: f64,
        squares: f64,
        Extremes { dy, g }: Extremes,
        cols: usize,
    ) -> bool {
        let (most, least) = (rstd.abs().max(1.0), rstd.abs().min(1.0));
        let is_small = dy * dy <= LARGEST_GRADIENT_SQUARES && g * most <= LARGEST;
        let is_large = g * least >= 1.0 / LARGEST || dy == 0.0 || rstd == 0.0;
        let is_number = (squares + self.c + self.d).is_finite();
        is_number && is_small && (T::ONE_SWEEP || (is_large && Self::rounds::<T>(cols)))
    }

    /// Whether dx may have roundings. A row of one element that is centred has the gradient 0: in f64, g is exact and so is c.
    #[inline(always)]
    fn rounds<T: RowSource>(cols: usize) -> bool {
        !T::CENTRED || cols > 1
    }

    /// NaN, where an infinity would leave some gradients of the row infinite and others NaN.
    #[inline(always)]
    fn finite_or_nan(self) -> Self {
        if (self.c + self.d).is_finite() { self } else { Self { c: f64::NAN, d: f64::NAN } }
    }
}

/// The largest magnitudes of a row's dy and g.
#[derive(Clone, Copy)]
struct Extremes {
    dy: f64,
    g: f64,
}

#[inline(always)]
fn extremes<S: Simd>(token: S, row: &Group<'_, 1, INPUTS>, gamma: Gamma<'_>) -> Extremes {
    let zero = S::F32::splat(token, 0.0);
    let (mut most, mut most_g) = (zero, zero);
    for i in 0..row.full() {
        let dy: S::F32 = row.load(token, 0, i);
        most = dy.abs().max(most);
        most_g = (dy * gamma.load(token, i)).abs().max(most_g);
    }
    let dy: S::F32 = row.load_tail(token, 0, 0.0);
    let gamma = gamma.columns(row.full() * LANES, row.cols());
    most = dy.abs().max(most);
    most_g = (dy * gamma.load_tail(token)).abs().max(most_g);
    let largest = |most: S::F32| {
        let mut lanes = [0.0; LANES];
        most.store_init(&mut lanes);
        f64::from(lanes.into_iter().fold(0.0, f32::max))
    };
    Extremes { dy: largest(most), g: largest(most_g) }
}

/// The first sweep over `R` rows. Of given statistics it makes the sum of squares alone.
#[inline(always)]
fn row_sums<T: RowSource, V: Float, const R: usize>(
    token: V::Token,
    group: &Group<'_, R, INPUTS>,
    rows: &[Standardize<V>; R],
    gamma: Gamma<'_>,
) -> [RowSums; R] {
    let zero = V::splat(token, V::Elem::from_f64(0.0));
    let mut all = [RowSums { g: 0.0, g_x_hat: 0.0, squares: 0.0 }; R];
    let full = group.full();
    let mut start = 0;
    loop {
        let end = full.min(start + BLOCK / LANES);
        let (mut sum_g, mut sum_g_x_hat, mut squares) = ([zero; R], [zero; R], [zero; R]);
        let mut from = start;
        while from < end {
            let to = end.min(from + TERMS);
            let (mut of_g, mut of_g_x_hat) = ([zero; R], [zero; R]);
            for i in from..to {
                let gamma = gamma.load(token, i);
                for r in 0..R {
                    let x = rows[r].apply::<T>(group.load_input(token, FORWARD_X, r, i));
                    let dy: V = group.load(token, r, i);
                    add_terms::<T, V>(
                        (dy, x, gamma),
                        &mut of_g[r],
                        &mut of_g_x_hat[r],
                        &mut squares[r],
                    );
                }
            }
            for r in 0..R {
                sum_g[r] = sum_g[r] + of_g[r];
                sum_g_x_hat[r] = sum_g_x_hat[r] + of_g_x_hat[r];
            }
            from = to;
        }
        let last = end == full;
        if last && group.tail() > 0 {
            let gamma = gamma.columns(full * LANES, group.cols()).load_tail(token);
            for r in 0..R {
                let zero = V::Elem::from_f64(0.0);
                let x = rows[r].apply::<T>(group.load_input_tail(token, FORWARD_X, r, zero));
                let dy: V = group.load_tail(token, r, zero);
                add_terms::<T, V>(
                    (dy, x, gamma),
                    &mut sum_g[r],
                    &mut sum_g_x_hat[r],
                    &mut squares[r],
                );
            }
        }
        let squares = V::sums(squares);
        for r in 0..R {
            all[r].squares += squares[r];
        }
        if !T::ONE_SWEEP {
            let g_x_hat = V::sums(sum_g_x_hat);
            for r in 0..R {
                all[r].g_x_hat += g_x_hat[r];
            }
            if T::CENTRED {
                let g = V::sums(sum_g);
                for r in 0..R {
                    all[r].g += g[r];
                }
            }
        }
        if last {
            return all;
        }
        start = end;
    }
}

#[inline(always)]
fn add_terms<T: RowSource, V: Float>(
    (dy, x_hat, gamma): (V, V, V),
    of_g: &mut V,
    of_g_x_hat: &mut V,
    squares: &mut V,
) {
    *squares = dy.mul_add(dy, *squares);
    if !T::ONE_SWEEP {
        let g = dy * gamma;
        *of_g_x_hat = g.mul_add(x_hat, *of_g_x_hat);
        if T::CENTRED {
            *of_g = *of_g + g;
        }
    }
}

/// What the second sweep does to a row: `dx = (g - c) * rstd + x_hat * k`, where k is `-d * rstd`.
#[derive(Clone, Copy)]
struct Coefficients<V> {
    x: Standardize<V>,
    minus_c: V,
    k: V,
}

impl<V: Float> Coefficients<V> {
    #[inline(always)]
    fn array<const R: usize>(
        token: V::Token,
        lanes: [Standardize<V>; R],
        statistics: [RowStatistics; R],
        means: [Means; R],
    ) -> [Self; R] {
        let zero = V::splat(token, V::Elem::from_f64(0.0));
        let mut rows = [Self { x: lanes[0], minus_c: zero, k: zero }; R];
        for r in 0..R {
            rows[r].x = lanes[r];
            rows[r].minus_c = V::splat(token, V::Elem::from_f64(-means[r].c));
            rows[r].k = V::splat(token, V::Elem::from_f64(-means[r].d * statistics[r].rstd));
        }
        rows
    }

    #[inline(always)]
    fn dx<T: RowSource>(self, (dy, x_hat, gamma): (V, V, V)) -> V {
        match (T::ONE_SWEEP, T::CENTRED) {
            (true, _) => dy * gamma * self.x.rstd,
            (false, true) => dy.mul_add(gamma, self.minus_c).mul_add(self.x.rstd, x_hat * self.k),
            (false, false) => (dy * gamma).mul_add(self.x.rstd, x_hat * self.k),
        }
    }
}

/// Adds to `N` sums of a column.
#[inline(always)]
fn add_to_sums<V: Float, const N: usize>(sums: &mut [V; N], dy: V, x_hat: V) {
    if N > 0 {
        sums[0] = dy.mul_add(x_hat, sums[0]);
    }
    if N > 1 {
        sums[1] = sums[1] + dy;
    }
}

/// What is done with dx beside writing it.
struct Extra<'w, const R: usize> {
    has_dsum: bool,
    second: Option<Group<'w, R>>,
    adds: bool,
}

/// The second sweep over `R` rows: dx, and the sums of columns. The next group of rows is `ahead` elements on.
#[inline(always)]
fn write_dx<
    T: RowSource,
    V: Float,
    L: LaneSums<V, N>,
    const STREAM: bool,
    const R: usize,
    const N: usize,
    const EXTRA: bool,
>(
    token: V::Token,
    group: &mut Group<'_, R, INPUTS>,
    rows: &[Coefficients<V>; R],
    gamma: Gamma<'_>,
    ahead: usize,
    mut extra: Extra<'_, R>,
    sums: &mut L,
) {
    let zero = V::splat(token, V::Elem::from_f64(0.0));
    let (mut dy, mut x_hat) = ([zero; R], [zero; R]);
    for i in 0..group.full() {
        let factor = gamma.load(token, i);
        for r in 0..R {
            x_hat[r] = rows[r].x.apply::<T>(group.load_input(token, FORWARD_X, r, i));
            dy[r] = group.load(token, r, i);
            group.prefetch(r, i, ahead);
            group.prefetch_input(FORWARD_X, r, i, ahead);
        }
        let mut of_columns = sums.load(token, i);
        for r in 0..R {
            add_to_sums(&mut of_columns, dy[r], x_hat[r]);
        }
        sums.store(i, of_columns);
        for r in 0..R {
            let mut dx = rows[r].dx::<T>((dy[r], x_hat[r], factor)).to_single();
            if EXTRA && extra.has_dsum {
                dx = group.load_input::<Single<V>>(token, DSUM, r, i) + dx;
            }
            group.store::<_, STREAM>(r, i, dx);
            if let (true, Some(second)) = (EXTRA, &mut extra.second) {
                let added =
                    if extra.adds { second.load::<Single<V>>(token, r, i) + dx } else { dx };
                second.store::<_, false>(r, i, added);
            }
        }
    }
    if group.tail() > 0 {
        let factor = gamma.columns(group.full() * LANES, group.cols()).load_tail(token);
        let mut of_columns = sums.load_tail(token);
        for r in 0..R {
            let fill = V::Elem::from_f64(0.0);
            let x = rows[r].x.apply::<T>(group.load_input_tail(token, FORWARD_X, r, fill));
            let dy: V = group.load_tail(token, r, fill);
            add_to_sums(&mut of_columns, dy, x);
            let mut dx = rows[r].dx::<T>((dy, x, factor)).to_single();
            if EXTRA && extra.has_dsum {
                dx = group.load_input_tail::<Single<V>>(token, DSUM, r, 0.0) + dx;
            }
            group.store_tail(r, dx);
            if let (true, Some(second)) = (EXTRA, &mut extra.second) {
                let added =
                    if extra.adds { second.load_tail::<Single<V>>(token, r, 0.0) + dx } else { dx };
                second.store_tail(r, added);
            }
        }
        sums.store_tail(of_columns);
    }
}

/// f32 lanes of the same backend.
type Single<V> = <<V as Float>::Token as Simd>::F32;

/// The sums of columns alone.
#[inline(always)]
fn add_columns<T: RowSource, V: Float, L: LaneSums<V, N>, const R: usize, const N: usize>(
    token: V::Token,
    group: &Group<'_, R, INPUTS>,
    rows: &[Coefficients<V>; R],
    sums: &mut L,
) {
    for i in 0..group.full() {
        let mut of_columns = sums.load(token, i);
        for r in 0..R {
            let x = rows[r].x.apply::<T>(group.load_input(token, FORWARD_X, r, i));
            add_to_sums(&mut of_columns, group.load(token, r, i), x);
        }
        sums.store(i, of_columns);
    }
    if group.tail() > 0 {
        let mut of_columns = sums.load_tail(token);
        for r in 0..R {
            let fill = V::Elem::from_f64(0.0);
            let x = rows[r].x.apply::<T>(group.load_input_tail(token, FORWARD_X, r, fill));
            add_to_sums(&mut of_columns, group.load_tail(token, r, fill), x);
        }
        sums.store_tail(of_columns);
    }
}
