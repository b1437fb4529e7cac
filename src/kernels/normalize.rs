//! Normalise, scale and shift rows: LayerNorm, RmsNorm, and rows whose statistics are given.
//!
//! The plain algorithm, for each row x of y:
//!
//! ```text
//! (mean, rstd) = statistics of x
//! y[i] = (x[i] - mean) * rstd * gamma[i] + beta[i]
//! ```
//!
//! What makes it exact and fast:
//!
//! * **The mean is a pair**, hi + lo, of f32: `t = x - hi; t = t * rstd - lo * rstd; y = t * gamma + beta`
//!   with fused multiply-adds. It costs what `sub, mul, fma` costs; with the mean rounded to f32 the
//!   output is off by 3e-2 where mean / std is 1e6, and `x * rstd - mean * rstd` cancels worse still.
//! * **Rows in groups.** The statistics of `S::ROWS` rows, then the second sweep over all of them, so
//!   that gamma and beta are loaded once a group and the rows are still in L1 or L2. A row is
//!   read from memory once.
//! * **The next group is asked for** while this one is written: the first sweep then finds it in L1.
//!   RmsNorm of 128x768 in L2 went from 79 to 87 GB/s, LayerNorm of 2048x1024 in L3 from 0.93 to 0.99 of
//!   a copy (AVX-512). Asking for y during the first sweep instead lost 15%.
//! * **All loads of a step before its stores.** A store whose address equals that of a later load in
//!   its low 12 bits stalls the load; rows of 1024 elements are 4096 bytes apart.
//! * **Stores do not cross cache lines**: the second sweep begins with the elements before the first boundary in
//!   y, which large allocations of f32 seldom start at. (For the sums the order of the lanes counts, so the
//!   first sweep takes x as it lies.)
//! * **A range test a row.** Where hi, lo or rstd leave what f32 can hold, the same code runs on f64
//!   lanes.
#![forbid(unsafe_code)]

use core::marker::PhantomData;

use super::Split;
use super::moments::{self, BlockStatistic, Cascades, GROUP_COLS};
use super::welford::Moments;
use crate::simd::{Float, Group, Kernel, LANES, Real, Simd, Span};

/// rstd, |mean| and |mean * rstd| up to this, and rstd down to its inverse, are f32's business: then
/// x - hi, lo * rstd and their products cannot overflow unless `x_hat` does, and nothing that counts
/// underflows.
pub(crate) const LARGEST: f64 = (1_u128 << 100) as f64;

/// Elements that y is asked for ahead where x is swept over once. Measured, normalise-scale-shift of 128x768, of
/// memcpy: without 0.84, 64 to 256 elements 0.90. Where another sweep comes first, as in LayerNorm, the stores
/// that wait drain meanwhile, and asking for y only makes the second sweep wait instead: 0.73 became 0.61. Not so
/// where the rows of a group do not begin alike in their lines and stores cross them: LayerNorm of 96x1000 went
/// from 0.41 to 0.61, of 2048x1000 from 0.77 to 1.02.
const WRITE_AHEAD: usize = 64;

/// Longest rows that are worked on several at a time where y is written around the caches: memory likes to be read in
/// several places. Of the faster of memcpy and a non-temporal copy, LayerNorm of 16384x4096 0.89 two rows at a
/// time and 0.79 one by one.
const STREAMED_GROUP_COLS: usize = 4096;

/// Mean and 1 / sqrt(var + eps) of a row. Mean is 0 where the operation does not centre.
#[derive(Clone, Copy)]
pub(crate) struct RowStatistics {
    mean: f64,
    rstd: f64,
}

impl RowStatistics {
    const NONE: Self = Self { mean: 0.0, rstd: 0.0 };

    #[inline(always)]
    fn fit_f32(self) -> bool {
        let Self { mean, rstd } = self;
        let rstd_fits = rstd == 0.0 || (1.0 / LARGEST..=LARGEST).contains(&rstd);
        rstd_fits && mean.abs() <= LARGEST && (mean * rstd).abs() <= LARGEST
    }
}

/// 1 / sqrt(var + eps), and 0 where that is 1 / 0.
#[inline(always)]
fn rstd(var: f64, eps: f64) -> f64 {
    let var = var + eps;
    // A select, not a branch. NaN stays NaN.
    if var == 0.0 { 0.0 } else { 1.0 / var.sqrt() }
}

/// Where the statistics of rows come from, and where they are written to.
pub(crate) trait Source: Sized + Send {
    /// Whether the mean is subtracted.
    const CENTRED: bool;
    /// Whether x is swept over once: its statistics are known.
    const ONE_SWEEP: bool = false;
    /// What blocks have of it.
    type Block: BlockStatistic;

    /// The statistics of `R` rows, the first of them row `first`.
    fn rows<S: Simd, const R: usize>(
        &mut self,
        token: S,
        first: usize,
        x: [&[f32]; R],
        cascades: &mut Cascades<Self::Block, R>,
    ) -> [RowStatistics; R];

    /// The sources for the rows before `at`, and for the others.
    fn split_at(self, at: usize) -> (Self, Self);
}

/// Splits what may be absent.
#[inline(always)]
fn split_optional(out: Option<&mut [f64]>, at: usize) -> (Option<&mut [f64]>, Option<&mut [f64]>) {
    match out {
        Some(out) => {
            let (low, high) = out.split_at_mut(at);
            (Some(low), Some(high))
        }
        None => (None, None),
    }
}

/// Writes the statistics of rows where they are asked for.
#[inline(always)]
fn record<const R: usize>(out: &mut Option<&mut [f64]>, first: usize, values: [f64; R]) {
    if let Some(out) = out {
        out[first..first + R].copy_from_slice(&values);
    }
}

/// The statistics of `R` rows of x.
#[inline(always)]
fn measure<T: BlockStatistic, S: Simd, const R: usize>(
    token: S,
    x: [&[f32]; R],
    cascades: &mut Cascades<T, R>,
) -> [T; R] {
    if R == 1 {
        // By itself a row keeps the pipeline full with several of its blocks at a time.
        return [moments::row(token, x[0], cascades); R];
    }
    moments::rows(token, x, cascades)
}

/// LayerNorm's: mean and population variance of the row.
pub(crate) struct MeanVariance<'a> {
    pub(crate) eps: f64,
    pub(crate) mean: Option<&'a mut [f64]>,
    pub(crate) rstd: Option<&'a mut [f64]>,
}

impl Source for MeanVariance<'_> {
    const CENTRED: bool = true;
    type Block = Moments;

    #[inline(always)]
    fn rows<S: Simd, const R: usize>(
        &mut self,
        token: S,
        first: usize,
        x: [&[f32]; R],
        cascades: &mut Cascades<Moments, R>,
    ) -> [RowStatistics; R] {
        let n = x[0].len() as f64;
        let moments = measure(token, x, cascades);
        let mut statistics = [RowStatistics::NONE; R];
        for r in 0..R {
            let rstd = rstd(moments[r].m2 / n, self.eps);
            statistics[r] = RowStatistics { mean: moments[r].mean, rstd };
        }
        record(
            &mut self.mean,
            first,
            statistics.map(
                #[inline(always)]
                |row| row.mean,
            ),
        );
        record(
            &mut self.rstd,
            first,
            statistics.map(
                #[inline(always)]
                |row| row.rstd,
            ),
        );
        statistics
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { eps, mean, rstd } = self;
        let (mean, high_mean) = split_optional(mean, at);
        let (rstd, high_rstd) = split_optional(rstd, at);
        (Self { eps, mean, rstd }, Self { eps, mean: high_mean, rstd: high_rstd })
    }
}

/// RmsNorm's: the mean of the squares of the row.
pub(crate) struct MeanSquare<'a> {
    pub(crate) eps: f64,
    pub(crate) rstd: Option<&'a mut [f64]>,
}

impl Source for MeanSquare<'_> {
    const CENTRED: bool = false;
    type Block = f64;

    #[inline(always)]
    fn rows<S: Simd, const R: usize>(
        &mut self,
        token: S,
        first: usize,
        x: [&[f32]; R],
        cascades: &mut Cascades<f64, R>,
    ) -> [RowStatistics; R] {
        let n = x[0].len() as f64;
        let squares = measure(token, x, cascades);
        let mut statistics = [RowStatistics::NONE; R];
        for r in 0..R {
            statistics[r].rstd = rstd(squares[r] / n, self.eps);
        }
        record(
            &mut self.rstd,
            first,
            statistics.map(
                #[inline(always)]
                |row| row.rstd,
            ),
        );
        statistics
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (rstd, high) = split_optional(self.rstd, at);
        (Self { rstd, ..self }, Self { eps: self.eps, rstd: high })
    }
}

/// Statistics that the caller has.
pub(crate) struct Given<'a> {
    pub(crate) mean: &'a [f64],
    pub(crate) rstd: &'a [f64],
}

impl Source for Given<'_> {
    const CENTRED: bool = true;
    const ONE_SWEEP: bool = true;
    type Block = Moments;

    #[inline(always)]
    fn rows<S: Simd, const R: usize>(
        &mut self,
        _: S,
        first: usize,
        _: [&[f32]; R],
        _: &mut Cascades<Moments, R>,
    ) -> [RowStatistics; R] {
        let mut statistics = [RowStatistics::NONE; R];
        let (mean, rstd) = (&self.mean[first..first + R], &self.rstd[first..first + R]);
        for r in 0..R {
            statistics[r] = RowStatistics { mean: mean[r], rstd: rstd[r] };
        }
        statistics
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (mean, high_mean) = self.mean.split_at(at);
        let (rstd, high_rstd) = self.rstd.split_at(at);
        (Self { mean, rstd }, Self { mean: high_mean, rstd: high_rstd })
    }
}

/// Normalises, scales and shifts every row. Rows have at least one element.
pub(crate) struct NormalizeRows<'a, T> {
    pub(crate) io: Span<'a>,
    pub(crate) cols: usize,
    pub(crate) source: T,
    pub(crate) gamma: Option<&'a [f32]>,
    pub(crate) beta: Option<&'a [f32]>,
}

impl<T: Source> Split for NormalizeRows<'_, T> {
    fn rows(&self) -> usize {
        self.io.len() / self.cols
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { io, cols, source, gamma, beta } = self;
        let (low, high) = io.split_at(at * cols);
        let (low_source, high_source) = source.split_at(at);
        (
            Self { io: low, cols, source: low_source, gamma, beta },
            Self { io: high, cols, source: high_source, gamma, beta },
        )
    }
}

impl<T: Source> Kernel for NormalizeRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        match (self.gamma, self.beta) {
            (Some(gamma), Some(beta)) => self.affine(token, &Affine::<true, true> { gamma, beta }),
            (Some(gamma), None) => self.affine(token, &Affine::<true, false> { gamma, beta: &[] }),
            (None, Some(beta)) => self.affine(token, &Affine::<false, true> { gamma: &[], beta }),
            (None, None) => self.affine(token, &Affine::<false, false> { gamma: &[], beta: &[] }),
        }
    }
}

impl<T: Source> NormalizeRows<'_, T> {
    #[inline(always)]
    fn affine<S: Simd, const GAMMA: bool, const BETA: bool>(
        self,
        token: S,
        affine: &Affine<'_, GAMMA, BETA>,
    ) {
        match S::ROWS {
            4.. => self.in_groups::<S, GAMMA, BETA, 4>(token, affine),
            2.. => self.in_groups::<S, GAMMA, BETA, 2>(token, affine),
            _ => self.in_groups::<S, GAMMA, BETA, 1>(token, affine),
        }
    }

    #[inline(always)]
    fn in_groups<S: Simd, const GAMMA: bool, const BETA: bool, const R: usize>(
        mut self,
        token: S,
        affine: &Affine<'_, GAMMA, BETA>,
    ) {
        let (rows, cols) = (self.rows(), self.cols);
        let grouped = match self.io.streams() {
            // Lines that are written around the caches must begin alike in the rows of a group.
            true if cols.is_multiple_of(LANES) => cols <= STREAMED_GROUP_COLS,
            true => false,
            false => cols <= GROUP_COLS,
        };
        let grouped = if grouped { rows - rows % R } else { 0 };
        let (mut cascades, mut cascade) = (None, None);
        let mut first = 0;
        while first < rows {
            let mut statistics = [RowStatistics::NONE; R];
            let taken = if first < grouped { R } else { 1 };
            if first < grouped {
                let mut group = self.io.group::<R>(first * cols, cols);
                statistics = self.source.rows(token, first, group.rows(), &mut cascades);
                if all_fit_f32(&statistics) {
                    sweep::<T, S::F32, GAMMA, BETA, R>(token, &mut group, statistics, affine);
                    first += R;
                    continue;
                }
            } else {
                let row = self.io.group::<1>(first * cols, cols);
                [statistics[0]] = self.source.rows(token, first, row.rows(), &mut cascade);
            }
            for statistics in &statistics[..taken] {
                let mut row = self.io.group::<1>(first * cols, cols);
                if statistics.fit_f32() {
                    sweep::<T, S::F32, GAMMA, BETA, 1>(token, &mut row, [*statistics], affine);
                } else {
                    let affine = *affine;
                    let source = PhantomData::<T>;
                    token.outline(SweepInF64 { row, statistics: *statistics, affine, source });
                }
                first += 1;
            }
        }
    }
}

/// gamma and beta, each if it is there (otherwise its slice is empty and never looked at).
#[derive(Clone, Copy)]
struct Affine<'a, const GAMMA: bool, const BETA: bool> {
    gamma: &'a [f32],
    beta: &'a [f32],
}

impl<'a, const GAMMA: bool, const BETA: bool> Affine<'a, GAMMA, BETA> {
    /// The part for columns `start` up to `end`.
    #[inline(always)]
    fn columns(&self, start: usize, end: usize) -> Self {
        let gamma = if GAMMA { &self.gamma[start..end] } else { &[] };
        Self { gamma, beta: if BETA { &self.beta[start..end] } else { &[] } }
    }

    /// The first `full` vectors of gamma and of beta: slices whose length the optimiser knows.
    #[inline(always)]
    fn vectors(&self, full: usize) -> (&'a [[f32; LANES]], &'a [[f32; LANES]]) {
        let gamma = if GAMMA { &self.gamma.as_chunks().0[..full] } else { &[] };
        (gamma, if BETA { &self.beta.as_chunks().0[..full] } else { &[] })
    }

    /// The tail of gamma and of beta.
    #[inline(always)]
    fn tail<V: Float>(&self, token: V::Token) -> (V, V) {
        let gamma = if GAMMA { tail(token, self.gamma) } else { zero(token) };
        (gamma, if BETA { tail(token, self.beta) } else { zero(token) })
    }

    /// `x_hat * gamma + beta`, of what is there.
    #[inline(always)]
    fn apply<V: Float>((gamma, beta): (V, V), x_hat: V) -> V {
        match (GAMMA, BETA) {
            (true, true) => x_hat.mul_add(gamma, beta),
            (true, false) => x_hat * gamma,
            (false, true) => x_hat + beta,
            (false, false) => x_hat,
        }
    }
}

#[inline(always)]
fn tail<V: Float>(token: V::Token, x: &[f32]) -> V {
    V::load_partial(token, x.as_chunks::<LANES>().1, V::Elem::from_f64(0.0))
}

#[inline(always)]
fn zero<V: Float>(token: V::Token) -> V {
    V::splat(token, V::Elem::from_f64(0.0))
}

#[inline(always)]
fn all_fit_f32(statistics: &[RowStatistics]) -> bool {
    let mut fit = true;
    for row in statistics {
        fit &= row.fit_f32();
    }
    fit
}

/// The second sweep over a row whose statistics leave f32.
struct SweepInF64<'a, T, const GAMMA: bool, const BETA: bool> {
    row: Group<'a, 1>,
    statistics: RowStatistics,
    affine: Affine<'a, GAMMA, BETA>,
    source: PhantomData<T>,
}

impl<T: Source, const GAMMA: bool, const BETA: bool> Kernel for SweepInF64<'_, T, GAMMA, BETA> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, token: S) {
        let statistics = [self.statistics];
        sweep::<T, S::F64, GAMMA, BETA, 1>(token, &mut self.row, statistics, &self.affine);
    }
}

/// What the second sweep does to a row: `x_hat = (x - hi) * rstd - lo * rstd`.
#[derive(Clone, Copy)]
struct Standardize<V> {
    hi: V,
    rstd: V,
    offset: V,
}

impl<V: Float> Standardize<V> {
    #[inline(always)]
    fn new(token: V::Token, RowStatistics { mean, rstd }: RowStatistics) -> Self {
        let hi = V::Elem::from_f64(mean);
        let minus_lo = V::splat(token, V::Elem::from_f64(hi.to_f64() - mean));
        let rstd = V::splat(token, V::Elem::from_f64(rstd));
        Self { hi: V::splat(token, hi), rstd, offset: minus_lo * rstd }
    }

    #[inline(always)]
    fn apply<T: Source>(self, x: V) -> V {
        if T::CENTRED { (x - self.hi).mul_add(self.rstd, self.offset) } else { x * self.rstd }
    }
}

/// The second sweep over `R` rows on lanes of type `V`.
#[inline(always)]
fn sweep<T: Source, V: Float, const GAMMA: bool, const BETA: bool, const R: usize>(
    token: V::Token,
    group: &mut Group<'_, R>,
    statistics: [RowStatistics; R],
    affine: &Affine<'_, GAMMA, BETA>,
) {
    let mut rows = [Standardize::new(token, statistics[0]); R];
    for r in 1..R {
        rows[r] = Standardize::new(token, statistics[r]);
    }
    // The part before the first cache line boundary of y, then the rest.
    let (cols, head) = (group.cols(), group.before_line());
    let (rows, ahead) = (&rows, R * cols);
    for (start, end) in [(0, head), (head, cols)] {
        if start < end {
            let part = &mut group.columns(start, end);
            let affine = &affine.columns(start, end);
            if part.streams() {
                sweep_columns::<T, V, GAMMA, BETA, true, false, R>(
                    token, part, rows, affine, ahead,
                );
            } else if T::ONE_SWEEP || head > 0 || !cols.is_multiple_of(LANES) {
                sweep_columns::<T, V, GAMMA, BETA, false, true, R>(
                    token, part, rows, affine, ahead,
                );
            } else {
                sweep_columns::<T, V, GAMMA, BETA, false, false, R>(
                    token, part, rows, affine, ahead,
                );
            }
        }
    }
}

/// The second sweep over some columns of `R` rows. The next group of rows is `ahead` elements on. With `STREAM`, y is
/// written around the caches; with `ASK`, it is asked for.
#[inline(always)]
fn sweep_columns<
    T: Source,
    V: Float,
    const GAMMA: bool,
    const BETA: bool,
    const STREAM: bool,
    const ASK: bool,
    const R: usize,
>(
    token: V::Token,
    group: &mut Group<'_, R>,
    rows: &[Standardize<V>; R],
    affine: &Affine<'_, GAMMA, BETA>,
    ahead: usize,
) {
    let full = group.full();
    let (gammas, betas) = affine.vectors(full);
    let mut x = [zero::<V>(token); R];
    for i in 0..full {
        let gamma = if GAMMA { V::load(token, &gammas[i]) } else { zero(token) };
        let beta = if BETA { V::load(token, &betas[i]) } else { zero(token) };
        for r in 0..R {
            x[r] = group.load(token, r, i);
            group.prefetch(r, i, ahead);
            if ASK {
                group.prefetch_write(r, i, WRITE_AHEAD);
            }
        }
        for r in 0..R {
            let x_hat = rows[r].apply::<T>(x[r]);
            let y = Affine::<GAMMA, BETA>::apply((gamma, beta), x_hat);
            group.store::<V, STREAM>(r, i, y);
        }
    }
    if group.tail() > 0 {
        let coefficients = affine.tail(token);
        for r in 0..R {
            let x = group.load_tail(token, r, V::Elem::from_f64(0.0));
            let x_hat = rows[r].apply::<T>(x);
            group.store_tail(r, Affine::<GAMMA, BETA>::apply(coefficients, x_hat));
        }
    }
}
