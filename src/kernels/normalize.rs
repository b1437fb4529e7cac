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
//! * **The next group is asked for** while this one is written (short rows: while its statistics are made): the first sweep then
//!   finds it in L1.
//!   RmsNorm of 128x768 in L2 went from 79 to 87 GB/s, LayerNorm of 2048x1024 in L3 from 0.93 to 0.99 of
//!   a copy (AVX-512). Whether y is asked for too depends ([`WRITE_AHEAD`]). The gate is, which took gated rows of
//!   4096x4096 from 12.7 to 15.8 GB/s; of x and a residual, whose sum is asked for as x, x itself is where y is written
//!   around the caches: 16384x4096 went from 0.94 to 1.10 of two copies, but in L2 it was slower.
//! * **All loads of a step before its stores.** A store whose address equals that of a later load in
//!   its low 12 bits stalls the load; rows of 1024 elements are 4096 bytes apart.
//! * **Stores do not cross cache lines**: the second sweep begins with the elements before the first boundary in
//!   y, which large allocations of f32 seldom start at. (For the sums the order of the lanes counts, so the
//!   first sweep takes x as it lies.)
//! * **Large outputs go around the caches** (`src/stores.rs`), line by line.
//! * **Short rows** have their statistics made sixteen at a time (`kernels/short.rs`), and are swept over one by one.
//! * **A range test a row.** Where hi, lo or rstd leave what f32 can hold, the same code runs on f64
//!   lanes.
#![forbid(unsafe_code)]

use core::marker::PhantomData;

use super::affine::{ABSENT, Affine, Columns, GIVEN, Gated, OFFSET, zero};
use super::moments::{Cascades, GROUP_COLS};
use super::row_statistics::{RowStatistics, Source};
use super::silu::silu;
use super::{Split, short};
use crate::simd::{Float, Group, Kernel, LANES, Real, RowSpan, Simd};

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
    pub(crate) io: RowSpan<'a>,
    pub(crate) source: T,
    pub(crate) gamma: Option<&'a [f32]>,
    pub(crate) beta: Option<&'a [f32]>,
    /// What is added to gamma, where the operation does not centre: 1, or -0.0, which changes no number.
    pub(crate) gamma_offset: f32,
    /// Whether `x_hat * gamma` is multiplied with silu of the second input, instead of adding beta, where the operation
    /// does not centre.
    pub(crate) gated: bool,
}

impl<T: Source> Split for NormalizeRows<'_, T> {
    fn rows(&self) -> usize {
        self.io.rows()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (low, high) = self.io.split_at(at);
        let (low_source, high_source) = self.source.split_at(at);
        (
            Self { io: low, source: low_source, ..self },
            Self { io: high, source: high_source, ..self },
        )
    }
}

impl<T: Source> Kernel for NormalizeRows<'_, T> {
    type Output = ();

    /// Each case is a function of its own, called once a task: a compiler that does not optimise gives every value that it
    /// inlines a place on the stack, which for all cases of RmsNorm was 3.3 MB on AVX2, more than a thread has.
    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        if T::BARE {
            return self.with(token, Columns::NONE);
        }
        if T::CENTRED {
            return self.affine::<S, GIVEN>(token);
        }
        match (self.gamma, self.gated) {
            (_, false) => self.affine::<S, OFFSET>(token),
            (Some(gamma), true) => {
                let columns = Columns::<OFFSET, false>::new(gamma, &[], self.gamma_offset);
                self.with(token, Gated(columns));
            }
            (None, true) => self.with(token, Gated(Columns::NONE)),
        }
    }
}

impl<T: Source> NormalizeRows<'_, T> {
    /// With gamma and beta, each if it is there; gamma as `KIND` has it.
    #[inline(always)]
    fn affine<S: Simd, const KIND: u8>(self, token: S) {
        let Self { gamma, beta, gamma_offset: offset, .. } = self;
        match (gamma, beta) {
            (Some(gamma), Some(beta)) => {
                self.with(token, Columns::<KIND, true>::new(gamma, beta, offset));
            }
            (Some(gamma), None) => {
                self.with(token, Columns::<KIND, false>::new(gamma, &[], offset));
            }
            (None, Some(beta)) => {
                self.with(token, Columns::<ABSENT, true>::new(&[], beta, offset));
            }
            (None, None) => self.with(token, Columns::NONE),
        }
    }

    #[inline(always)]
    fn with<S: Simd, A: Affine>(self, token: S, affine: A) {
        token.vectorize(InRows { io: self.io, source: self.source, affine });
    }
}

/// The same for what is known to be there.
struct InRows<'a, T, A> {
    io: RowSpan<'a>,
    source: T,
    affine: A,
}

impl<T: Source, A: Affine> Kernel for InRows<'_, T, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        match S::ROWS {
            // exp takes more time than gamma's loads, and this is less to compile.
            _ if A::GATED => self.in_groups::<S, 1>(token),
            4.. => self.in_groups::<S, 4>(token),
            2.. => self.in_groups::<S, 2>(token),
            _ => self.in_groups::<S, 1>(token),
        }
    }
}

impl<T: Source, A: Affine> InRows<'_, T, A> {
    #[inline(always)]
    fn in_groups<S: Simd, const R: usize>(mut self, token: S) {
        let (rows, cols) = (self.io.rows(), self.io.cols());
        let short = if cols <= short::COLS { rows - rows % LANES } else { 0 };
        let grouped = R > 1 && in_groups(self.io.streams(), self.io.alike(), cols);
        let grouped = if grouped { rows - rows % R } else { 0 };
        let (mut cascades, mut cascade) = (None, None);
        let mut first = 0;
        while first < short {
            self.short_rows(token, first);
            first += LANES;
        }
        while first < grouped {
            let statistics = self.statistics::<S, R>(token, first, &mut cascades);
            self.sweep_group(token, first, statistics);
            first += R;
        }
        while first < rows {
            let statistics = self.statistics::<S, 1>(token, first, &mut cascade);
            self.sweep_group(token, first, statistics);
            first += 1;
        }
    }

    /// Sixteen rows.
    #[inline(always)]
    fn short_rows<S: Simd>(&mut self, token: S, first: usize) {
        self.add_terms(token, first, LANES);
        let ahead = self.io.ahead(LANES);
        let rows = self.io.group::<LANES>(first);
        let (source, x) = (&mut self.source, short::Rows::new(rows.rows(), ahead));
        let statistics = token.outline(ShortRows { source, first, rows: x });
        if statistics.fit_f32 {
            let (statistics, affine, source) = (&statistics, self.affine, PhantomData::<T>);
            token.outline(SweepShort { rows, statistics, affine, ahead, source });
        } else {
            let mut each = [RowStatistics { mean: 0.0, rstd: 0.0 }; LANES];
            for r in 0..LANES {
                each[r] = RowStatistics { mean: statistics.mean[r], rstd: statistics.rstd[r] };
            }
            self.one_by_one(token, first, &each);
        }
    }

    /// The first sweep over `R` rows.
    #[inline(always)]
    fn statistics<S: Simd, const R: usize>(
        &mut self,
        token: S,
        first: usize,
        cascades: &mut Cascades<T::Block, R>,
    ) -> [RowStatistics; R] {
        self.add_terms(token, first, R);
        let x = self.io.group::<R>(first);
        self.source.rows(token, first, x.rows(), cascades)
    }

    /// Makes x the sum of its terms, if it has any, before its rows are read.
    #[inline(always)]
    fn add_terms<S: Simd>(&mut self, token: S, first: usize, rows: usize) {
        if let Some(terms) = self.io.terms(first, rows) {
            token.outline(AddTerms { terms });
        }
    }

    /// The second sweep over `R` rows: at once, unless f32 does not hold the statistics of each.
    #[inline(always)]
    fn sweep_group<S: Simd, const R: usize>(
        &mut self,
        token: S,
        first: usize,
        statistics: [RowStatistics; R],
    ) {
        let Some(rows) = Standardize::in_f32(token, &statistics) else {
            // Only here are they in memory: of a reference to those above, every group would store its own.
            return self.one_by_one(token, first, &{ statistics });
        };
        let ahead = self.io.ahead(R);
        let mut group = self.io.group::<R>(first);
        sweep::<T, S::F32, A, R>(token, &mut group, rows, self.affine, ahead);
    }

    /// The same over rows of which some leave f32.
    #[inline(always)]
    fn one_by_one<S: Simd>(&mut self, token: S, first: usize, statistics: &[RowStatistics]) {
        let Self { io, affine, .. } = self;
        let (affine, source) = (*affine, PhantomData::<T>);
        token.outline(OneByOne { io, first, statistics, affine, source });
    }
}

/// Adds the terms of x where x is.
struct AddTerms<'a> {
    terms: Group<'a, 1>,
}

impl Kernel for AddTerms<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, token: S) {
        let terms = &mut self.terms;
        for i in 0..terms.full() {
            let sum = terms.load::<S::F32>(token, 0, i) + terms.load_second(token, 0, i);
            terms.store::<S::F32, false>(0, i, sum);
        }
        if terms.tail() > 0 {
            let sum = terms.load_tail::<S::F32>(token, 0, 0.0) + terms.load_second_tail(token, 0);
            terms.store_tail(0, sum);
        }
    }
}

/// Whether rows of so many elements are swept over several at a time: depends on whether y is written around the caches,
/// and whether its rows begin alike in their lines.
#[inline(always)]
pub(crate) fn in_groups(streams: bool, alike: bool, cols: usize) -> bool {
    match streams {
        // Lines that are written around the caches must begin alike in the rows of a group.
        true if alike => cols <= STREAMED_GROUP_COLS,
        true => false,
        false => cols <= GROUP_COLS,
    }
}

/// The statistics of sixteen short rows.
pub(crate) struct ShortRows<'s, 'x, T> {
    pub(crate) source: &'s mut T,
    pub(crate) first: usize,
    pub(crate) rows: short::Rows<'x>,
}

impl<T: Source> Kernel for ShortRows<'_, '_, T> {
    type Output = short::Statistics;

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> short::Statistics {
        let (mean, rstd) = self.source.short_rows(token, self.first, &self.rows);
        short::Statistics::new(token, mean, rstd)
    }
}

/// The second sweep over rows of which some leave f32.
struct OneByOne<'w, 'a, T, A> {
    io: &'w mut RowSpan<'a>,
    first: usize,
    statistics: &'w [RowStatistics],
    affine: A,
    source: PhantomData<T>,
}

impl<T: Source, A: Affine> Kernel for OneByOne<'_, '_, T, A> {
    type Output = ();

    /// Neither around the caches nor asked for: there are few such rows.
    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { io, first, statistics, affine, .. } = self;
        let ahead = io.ahead(1);
        for (i, &statistics) in statistics.iter().enumerate() {
            let mut row = io.group::<1>(first + i);
            if let Some(rows) = Standardize::in_f32(token, &[statistics]) {
                sweep_columns::<T, S::F32, A, false, false, 1>(
                    token, &mut row, &rows, affine, ahead,
                );
            } else {
                let rows = [Standardize::new(token, statistics)];
                sweep_columns::<T, S::F64, A, false, false, 1>(
                    token, &mut row, &rows, affine, ahead,
                );
            }
        }
    }
}

/// The second sweep over sixteen short rows, one after the other, as they lie in memory: with a few vectors each, what begins and
/// ends a sweep over several is more than the sweep. y is always asked for. By how much time went down, with AVX-512 and AVX2:
/// LayerNorm of 1536x64 in L2 by 12 and 18%, RmsNorm by 6 and 9%. The next sixteen rows of x were asked for while the statistics of
/// these were made ([`short::Rows::ask`]), unless there was nothing to make, or a gate, which takes longer than memory: gated
/// RmsNorm of 1000000x64 went from 65 to 55 ms with x and the gate asked for here.
struct SweepShort<'w, 's, T, A> {
    rows: Group<'w, LANES>,
    statistics: &'s short::Statistics,
    affine: A,
    ahead: usize,
    source: PhantomData<T>,
}

impl<T: Source, A: Affine> Kernel for SweepShort<'_, '_, T, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        if self.rows.streams() {
            self.sweep::<S, true>(token);
        } else {
            self.sweep::<S, false>(token);
        }
    }
}

impl<T: Source, A: Affine> SweepShort<'_, '_, T, A> {
    #[inline(always)]
    fn sweep<S: Simd, const STREAM: bool>(self, token: S) {
        let Self { rows: mut group, statistics, affine, ahead, .. } = self;
        let short::Statistics { hi, rstd_f32, offset, .. } = statistics;
        let full = group.full();
        let vectors = affine.columns(0, full * LANES);
        for r in 0..LANES {
            let [row] = Standardize::of_lanes::<1>(token, [hi, rstd_f32, offset], r);
            for i in 0..full {
                let x = group.load(token, r, i);
                if T::ONE_SWEEP || A::GATED {
                    group.prefetch(r, i, ahead);
                }
                if A::GATED {
                    group.prefetch_second(r, i, ahead);
                }
                if !STREAM {
                    group.prefetch_write(r, i, WRITE_AHEAD);
                }
                let coefficients = vectors.load(token, i);
                write::<T, S::F32, A, STREAM, LANES>(
                    token,
                    &mut group,
                    (r, i),
                    row,
                    coefficients,
                    x,
                );
            }
            if group.tail() > 0 {
                let coefficients = affine.load_tail(token);
                write_tail::<T, S::F32, A, LANES>(token, &mut group, r, row, coefficients);
            }
        }
    }
}

/// What the second sweep does to a row: `x_hat = (x - hi) * rstd - lo * rstd`.
#[derive(Clone, Copy)]
pub(crate) struct Standardize<V> {
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

    /// From the lanes `first` and up of hi, rstd and the offset. With another factor and offset, gamma and beta of the row
    /// are in them.
    #[inline(always)]
    pub(crate) fn of_lanes<const R: usize>(
        token: V::Token,
        [hi, rstd, offset]: [&[V::Elem]; 3],
        first: usize,
    ) -> [Self; R] {
        let zero = zero(token);
        let mut rows = [Self { hi: zero, rstd: zero, offset: zero }; R];
        for r in 0..R {
            rows[r].hi = V::splat(token, hi[first + r]);
            rows[r].rstd = V::splat(token, rstd[first + r]);
            rows[r].offset = V::splat(token, offset[first + r]);
        }
        rows
    }

    #[inline(always)]
    fn apply<T: Source>(self, x: V) -> V {
        if T::CENTRED { (x - self.hi).mul_add(self.rstd, self.offset) } else { x * self.rstd }
    }
}

impl<V: Float<Elem = f32>> Standardize<V> {
    /// Of rows, if f32 holds the statistics of each.
    #[inline(always)]
    fn in_f32<const R: usize>(
        token: V::Token,
        statistics: &[RowStatistics; R],
    ) -> Option<[Self; R]> {
        let (mut hi, mut rstds, mut offset) = ([0.0; R], [0.0; R], [0.0; R]);
        let mut fit = true;
        for r in 0..R {
            let RowStatistics { mean, rstd } = statistics[r];
            hi[r] = mean as f32;
            rstds[r] = rstd as f32;
            offset[r] = (f64::from(hi[r]) - mean) as f32 * rstds[r];
            fit &= statistics[r].fit_f32();
        }
        if fit { Some(Self::of_lanes(token, [&hi, &rstds, &offset], 0)) } else { None }
    }
}

/// The second sweep over `R` rows on lanes of type `V`. The next group of rows is `ahead` elements on.
#[inline(always)]
fn sweep<T: Source, V: Float, A: Affine, const R: usize>(
    token: V::Token,
    group: &mut Group<'_, R>,
    rows: [Standardize<V>; R],
    affine: A,
    ahead: usize,
) {
    // The part before the first cache line boundary of y, then the rest.
    let (cols, head) = (group.cols(), group.before_line());
    let rows = &rows;
    for (start, end) in [(0, head), (head, cols)] {
        if start < end {
            let part = &mut group.columns(start, end);
            let affine = affine.columns(start, end);
            if part.streams() {
                sweep_columns::<T, V, A, true, false, R>(token, part, rows, affine, ahead);
            } else if T::ONE_SWEEP || head > 0 || !cols.is_multiple_of(LANES) {
                sweep_columns::<T, V, A, false, true, R>(token, part, rows, affine, ahead);
            } else {
                sweep_columns::<T, V, A, false, false, R>(token, part, rows, affine, ahead);
            }
        }
    }
}

/// The same over rows, one behind the other, to which nothing else is done.
#[inline(always)]
pub(crate) fn sweep_plain<T: Source, V: Float, const R: usize>(
    token: V::Token,
    group: &mut Group<'_, R>,
    rows: [Standardize<V>; R],
) {
    let ahead = R * group.cols();
    sweep::<T, V, _, R>(token, group, rows, Columns::NONE, ahead);
}

/// The second sweep over some columns of `R` rows. With `STREAM`, y is written around the caches; with `ASK`, it is asked
/// for.
#[inline(always)]
fn sweep_columns<
    T: Source,
    V: Float,
    A: Affine,
    const STREAM: bool,
    const ASK: bool,
    const R: usize,
>(
    token: V::Token,
    group: &mut Group<'_, R>,
    rows: &[Standardize<V>; R],
    affine: A,
    ahead: usize,
) {
    let full = group.full();
    // A length that the optimiser knows.
    let vectors = affine.columns(0, full * LANES);
    let mut x = [zero::<V>(token); R];
    for i in 0..full {
        let coefficients = vectors.load(token, i);
        for r in 0..R {
            x[r] = group.load(token, r, i);
            group.prefetch(r, i, ahead);
            // x is not asked for twice: RmsNorm of 16384x4096 took 2% longer.
            if A::GATED || STREAM && group.has_second() {
                group.prefetch_second(r, i, ahead);
            }
            if ASK {
                group.prefetch_write(r, i, WRITE_AHEAD);
            }
        }
        for r in 0..R {
            write::<T, V, A, STREAM, R>(token, group, (r, i), rows[r], coefficients, x[r]);
        }
    }
    if group.tail() > 0 {
        let coefficients = affine.load_tail(token);
        for r in 0..R {
            write_tail::<T, V, A, R>(token, group, r, rows[r], coefficients);
        }
    }
}

/// Writes vector `i` of row `r` of y.
#[inline(always)]
fn write<T: Source, V: Float, A: Affine, const STREAM: bool, const R: usize>(
    token: V::Token,
    group: &mut Group<'_, R>,
    (r, i): (usize, usize),
    row: Standardize<V>,
    mut coefficients: (V, V),
    x: V,
) {
    if A::GATED {
        let gate = silu(token, group.load_second(token, r, i));
        coefficients = A::gated(coefficients, V::of_single(gate));
    }
    group.store::<V, STREAM>(r, i, A::apply(coefficients, row.apply::<T>(x)));
}

/// The same of the tail.
#[inline(always)]
fn write_tail<T: Source, V: Float, A: Affine, const R: usize>(
    token: V::Token,
    group: &mut Group<'_, R>,
    r: usize,
    row: Standardize<V>,
    mut coefficients: (V, V),
) {
    if A::GATED {
        let gate = silu(token, group.load_second_tail(token, r));
        coefficients = A::gated(coefficients, V::of_single(gate));
    }
    let x = group.load_tail(token, r, V::Elem::from_f64(0.0));
    group.store_tail(r, A::apply(coefficients, row.apply::<T>(x)));
}
