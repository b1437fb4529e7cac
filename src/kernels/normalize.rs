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
//!   a copy (AVX-512). Whether y is asked for too depends ([`WRITE_AHEAD`]).
//! * **All loads of a step before its stores.** A store whose address equals that of a later load in
//!   its low 12 bits stalls the load; rows of 1024 elements are 4096 bytes apart.
//! * **Stores do not cross cache lines**: the second sweep begins with the elements before the first boundary in
//!   y, which large allocations of f32 seldom start at. (For the sums the order of the lanes counts, so the
//!   first sweep takes x as it lies.)
//! * **Large outputs go around the caches** (`src/stores.rs`), line by line.
//! * **Short rows** have their statistics made sixteen at a time (`kernels/short.rs`).
//! * **A range test a row.** Where hi, lo or rstd leave what f32 can hold, the same code runs on f64
//!   lanes.
#![forbid(unsafe_code)]

use core::marker::PhantomData;

use super::moments::GROUP_COLS;
use super::row_statistics::{RowStatistics, Source};
use super::{Split, short};
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
        while cols <= short::COLS && rows - first >= LANES {
            let x = self.io.group::<LANES>(first * cols, cols);
            let source = &mut self.source;
            let statistics = token.outline(ShortRows { source, first, x: x.rows() });
            if statistics.fit_f32 {
                for r in (0..LANES).step_by(R) {
                    let mut group = self.io.group::<R>((first + r) * cols, cols);
                    let rows = Standardize::of_short::<R>(token, &statistics, r);
                    sweep::<T, S::F32, GAMMA, BETA, R>(token, &mut group, rows, affine);
                }
            } else {
                for r in 0..LANES {
                    let (mean, rstd) = (statistics.mean[r], statistics.rstd[r]);
                    self.sweep_row(token, first + r, RowStatistics { mean, rstd }, affine);
                }
            }
            first += LANES;
        }
        while first < grouped {
            let mut group = self.io.group::<R>(first * cols, cols);
            let statistics = self.source.rows(token, first, group.rows(), &mut cascades);
            if all_fit_f32(&statistics) {
                let rows = Standardize::of(token, statistics);
                sweep::<T, S::F32, GAMMA, BETA, R>(token, &mut group, rows, affine);
            } else {
                for r in 0..R {
                    self.sweep_row(token, first + r, statistics[r], affine);
                }
            }
            first += R;
        }
        while first < rows {
            let row = self.io.group::<1>(first * cols, cols);
            let [statistics] = self.source.rows(token, first, row.rows(), &mut cascade);
            self.sweep_row(token, first, statistics, affine);
            first += 1;
        }
    }

    /// The second sweep over one row.
    #[inline(always)]
    fn sweep_row<S: Simd, const GAMMA: bool, const BETA: bool>(
        &mut self,
        token: S,
        row: usize,
        statistics: RowStatistics,
        affine: &Affine<'_, GAMMA, BETA>,
    ) {
        let mut row = self.io.group::<1>(row * self.cols, self.cols);
        if statistics.fit_f32() {
            let rows = Standardize::of(token, [statistics]);
            sweep::<T, S::F32, GAMMA, BETA, 1>(token, &mut row, rows, affine);
        } else {
            let (affine, source) = (*affine, PhantomData::<T>);
            token.outline(SweepInF64 { row, statistics, affine, source });
        }
    }
}

/// The statistics of sixteen short rows.
struct ShortRows<'s, 'x, T> {
    source: &'s mut T,
    first: usize,
    x: [&'x [f32]; LANES],
}

impl<T: Source> Kernel for ShortRows<'_, '_, T> {
    type Output = short::Statistics;

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> short::Statistics {
        let (mean, rstd) = self.source.short_rows(token, self.first, &self.x);
        short::Statistics::new(token, mean, rstd)
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
        let rows = Standardize::of(token, [self.statistics]);
        sweep::<T, S::F64, GAMMA, BETA, 1>(token, &mut self.row, rows, &self.affine);
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
    fn of<const R: usize>(token: V::Token, statistics: [RowStatistics; R]) -> [Self; R] {
        let mut rows = [Self::new(token, statistics[0]); R];
        for r in 1..R {
            rows[r] = Self::new(token, statistics[r]);
        }
        rows
    }

    #[inline(always)]
    fn apply<T: Source>(self, x: V) -> V {
        if T::CENTRED { (x - self.hi).mul_add(self.rstd, self.offset) } else { x * self.rstd }
    }
}

impl<V: Float<Elem = f32>> Standardize<V> {
    /// Rows `first` and up of sixteen.
    #[inline(always)]
    fn of_short<const R: usize>(
        token: V::Token,
        statistics: &short::Statistics,
        first: usize,
    ) -> [Self; R] {
        let zero = V::splat(token, 0.0);
        let mut rows = [Self { hi: zero, rstd: zero, offset: zero }; R];
        for r in 0..R {
            rows[r].hi = V::splat(token, statistics.hi[first + r]);
            rows[r].rstd = V::splat(token, statistics.rstd_f32[first + r]);
            rows[r].offset = V::splat(token, statistics.offset[first + r]);
        }
        rows
    }
}

/// The second sweep over `R` rows on lanes of type `V`.
#[inline(always)]
fn sweep<T: Source, V: Float, const GAMMA: bool, const BETA: bool, const R: usize>(
    token: V::Token,
    group: &mut Group<'_, R>,
    rows: [Standardize<V>; R],
    affine: &Affine<'_, GAMMA, BETA>,
) {
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
