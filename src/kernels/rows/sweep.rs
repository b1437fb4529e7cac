//! The second sweep over rows: `y = (x - mean) * rstd * gamma + beta`, the statistics being known.
//!
//! `kernels/rows/normalize.rs` says what makes it exact and fast; channels that come first are swept over by it too.
#![forbid(unsafe_code)]

use core::marker::PhantomData;

use super::affine::{ColumnAffine, GammaBeta, Inputs, WithInputs, zero};
use super::gate::gate;
use super::short_rows::ShortStatistics;
use super::source::{RowSource, RowStatistics};
use crate::kernels::tuning::{GROUP_COLS, STREAMED_GROUP_COLS, WRITE_AHEAD};
use crate::simd::{ADDED, Float, GATE, Group, INPUTS, Kernel, LANES, Real, RowSpan, Simd};

/// Whether rows of so many elements are swept over several at a time: depends on whether y is written by non-temporal stores,
/// and whether its rows begin alike in their lines.
#[inline(always)]
pub(crate) fn in_groups(streams: bool, alike: bool, cols: usize) -> bool {
    match streams {
        // Non-temporal stores write whole lines, which must begin alike in the rows of a group.
        true if alike => cols <= STREAMED_GROUP_COLS,
        true => false,
        false => cols <= GROUP_COLS,
    }
}

/// The second sweep over `R` rows on lanes of type `V`. The next group of rows is `ahead` elements on.
#[inline(always)]
pub(super) fn sweep<T: RowSource, V: Float, A: ColumnAffine, const R: usize, const IN: usize>(
    token: V::Token,
    group: &mut Group<'_, R, IN>,
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
                sweep_columns::<T, V, A, true, false, R, IN>(token, part, rows, affine, ahead);
            } else if T::ONE_SWEEP || head > 0 || !cols.is_multiple_of(LANES) {
                sweep_columns::<T, V, A, false, true, R, IN>(token, part, rows, affine, ahead);
            } else {
                sweep_columns::<T, V, A, false, false, R, IN>(token, part, rows, affine, ahead);
            }
        }
    }
}

/// The same over rows, one behind the other, to which nothing else is done.
#[inline(always)]
pub(crate) fn sweep_plain<T: RowSource, V: Float, const R: usize>(
    token: V::Token,
    group: &mut Group<'_, R>,
    rows: [Standardize<V>; R],
) {
    let ahead = R * group.cols();
    sweep::<T, V, _, R, 1>(token, group, rows, GammaBeta::NONE, ahead);
}

/// The second sweep over some columns of `R` rows. With `STREAM`, y is written by non-temporal stores; with
/// `PREFETCH_WRITE`, it is prefetched.
#[inline(always)]
fn sweep_columns<
    T: RowSource,
    V: Float,
    A: ColumnAffine,
    const STREAM: bool,
    const PREFETCH_WRITE: bool,
    const R: usize,
    const IN: usize,
>(
    token: V::Token,
    group: &mut Group<'_, R, IN>,
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
            prefetch_inputs(group, r, i, ahead, affine.inputs());
            if PREFETCH_WRITE {
                group.prefetch_write(r, i, WRITE_AHEAD);
            }
        }
        for r in 0..R {
            write::<T, V, A, STREAM, R, IN>(
                token,
                group,
                (r, i),
                rows[r],
                affine,
                coefficients,
                x[r],
            );
        }
    }
    if group.tail() > 0 {
        let coefficients = affine.load_tail(token);
        for r in 0..R {
            write_tail::<T, V, A, R, IN>(token, group, r, rows[r], affine, coefficients);
        }
    }
}

/// Prefetches vector `i` of the inputs beside x that are there.
#[inline(always)]
fn prefetch_inputs<const R: usize, const IN: usize>(
    group: &Group<'_, R, IN>,
    r: usize,
    i: usize,
    ahead: usize,
    Inputs { gate, added }: Inputs,
) {
    if IN == INPUTS {
        if gate.is_some() {
            group.prefetch_input(GATE, r, i, ahead);
        }
        if added {
            group.prefetch_input(ADDED, r, i, ahead);
        }
    }
}

/// Writes vector `i` of row `r` of y.
#[inline(always)]
fn write<
    T: RowSource,
    V: Float,
    A: ColumnAffine,
    const STREAM: bool,
    const R: usize,
    const IN: usize,
>(
    token: V::Token,
    group: &mut Group<'_, R, IN>,
    (r, i): (usize, usize),
    row: Standardize<V>,
    affine: A,
    coefficients: (V, V),
    x: V,
) {
    let x_hat = row.apply::<T>(x);
    if IN < INPUTS {
        return group.store::<V, STREAM>(r, i, A::apply(coefficients, x_hat));
    }
    let y = with_inputs::<V, A>(
        token,
        affine,
        coefficients,
        x_hat,
        #[inline(always)]
        |input| group.load_input(token, input, r, i),
    );
    group.store::<Single<V>, STREAM>(r, i, y);
}

/// The same of the tail.
#[inline(always)]
fn write_tail<T: RowSource, V: Float, A: ColumnAffine, const R: usize, const IN: usize>(
    token: V::Token,
    group: &mut Group<'_, R, IN>,
    r: usize,
    row: Standardize<V>,
    affine: A,
    coefficients: (V, V),
) {
    let x = group.load_tail(token, r, V::Elem::from_f64(0.0));
    let x_hat = row.apply::<T>(x);
    if IN < INPUTS {
        return group.store_tail(r, A::apply(coefficients, x_hat));
    }
    let y = with_inputs::<V, A>(
        token,
        affine,
        coefficients,
        x_hat,
        #[inline(always)]
        |input| group.load_input_tail(token, input, r, 0.0),
    );
    group.store_tail(r, y);
}

/// f32 lanes of the same backend.
type Single<V> = <<V as Float>::Token as Simd>::F32;

/// y with a gate and something to add, each if it is there. The sum is one of f32, whatever the lanes: y is what it would be
/// if it were added afterwards.
#[inline(always)]
fn with_inputs<V: Float, A: ColumnAffine>(
    token: V::Token,
    affine: A,
    (gamma, beta): (V, V),
    x_hat: V,
    load: impl Fn(usize) -> Single<V>,
) -> Single<V> {
    let Inputs { gate: function, added } = affine.inputs();
    let y = if let Some(function) = function {
        let gate = V::of_single(gate(token, function, load(GATE)));
        // Without beta the factor is one: an infinite gate then makes no NaN of a zero beta.
        if affine.has_beta() {
            A::apply((gamma, beta), x_hat) * gate
        } else {
            x_hat * (gamma * gate)
        }
    } else {
        A::apply((gamma, beta), x_hat)
    };
    let y = y.to_single();
    if added { load(ADDED) + y } else { y }
}

/// The second sweep over sixteen short rows, one after the other, as they lie in memory: with a few vectors each, what begins and
/// ends a sweep over several is more than the sweep. y is always prefetched. The next sixteen rows of x were prefetched while the
/// statistics of these were made (`ShortRows::prefetch_next`), unless there was nothing to make, or a gate, which takes longer than
/// memory: then x and the gate are prefetched here. `docs/performance.md` has what each gains, under "What helped".
pub(super) struct SweepShort<'w, 's, T, A, const IN: usize> {
    pub(super) rows: Group<'w, LANES, IN>,
    pub(super) statistics: &'s ShortStatistics,
    pub(super) affine: A,
    pub(super) ahead: usize,
    pub(super) source: PhantomData<T>,
}

impl<T: RowSource, A: ColumnAffine, const IN: usize> Kernel for SweepShort<'_, '_, T, A, IN> {
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

impl<T: RowSource, A: ColumnAffine, const IN: usize> SweepShort<'_, '_, T, A, IN> {
    #[inline(always)]
    fn sweep<S: Simd, const STREAM: bool>(self, token: S) {
        let Self { rows: mut group, statistics, affine, ahead, .. } = self;
        let ShortStatistics { hi, rstd_f32, offset, .. } = statistics;
        let full = group.full();
        let vectors = affine.columns(0, full * LANES);
        for r in 0..LANES {
            let [row] = Standardize::from_lanes::<1>(token, [hi, rstd_f32, offset], r);
            for i in 0..full {
                let x = group.load(token, r, i);
                if T::ONE_SWEEP || IN == INPUTS {
                    group.prefetch(r, i, ahead);
                }
                prefetch_inputs(&group, r, i, ahead, affine.inputs());
                if !STREAM {
                    group.prefetch_write(r, i, WRITE_AHEAD);
                }
                let coefficients = vectors.load(token, i);
                write::<T, S::F32, A, STREAM, LANES, IN>(
                    token,
                    &mut group,
                    (r, i),
                    row,
                    affine,
                    coefficients,
                    x,
                );
            }
            if group.tail() > 0 {
                let coefficients = affine.load_tail(token);
                write_tail::<T, S::F32, A, LANES, IN>(
                    token,
                    &mut group,
                    r,
                    row,
                    affine,
                    coefficients,
                );
            }
        }
    }
}

/// What the second sweep does to a row: `x_hat = (x - hi) * rstd - lo * rstd`.
#[derive(Clone, Copy)]
pub(crate) struct Standardize<V> {
    hi: V,
    pub(super) rstd: V,
    offset: V,
}

impl<V: Float> Standardize<V> {
    #[inline(always)]
    pub(super) fn new(token: V::Token, RowStatistics { mean, rstd }: RowStatistics) -> Self {
        let hi = V::Elem::from_f64(mean);
        let minus_lo = V::splat(token, V::Elem::from_f64(hi.to_f64() - mean));
        let rstd = V::splat(token, V::Elem::from_f64(rstd));
        Self { hi: V::splat(token, hi), rstd, offset: minus_lo * rstd }
    }

    /// From the lanes `first` and up of hi, rstd and the offset. With another factor and offset, gamma and beta of the row
    /// are in them.
    #[inline(always)]
    pub(crate) fn from_lanes<const R: usize>(
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

    /// `x_hat`.
    #[inline(always)]
    pub(super) fn apply<T: RowSource>(self, x: V) -> V {
        if T::CENTRED { (x - self.hi).mul_add(self.rstd, self.offset) } else { x * self.rstd }
    }
}

impl<V: Float<Elem = f32>> Standardize<V> {
    /// Of rows, if f32 holds the statistics of each.
    #[inline(always)]
    pub(super) fn in_f32<const R: usize>(
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
        if fit { Some(Self::from_lanes(token, [&hi, &rstds, &offset], 0)) } else { None }
    }
}

/// The second sweep over some columns of rows of which some leave f32: one function for every affine, since such rows are few.
pub(super) struct SweepOneByOne<'w, 'a, T> {
    pub(super) io: &'w mut RowSpan<'a>,
    pub(super) first: usize,
    pub(super) columns: (usize, usize),
    pub(super) statistics: &'w [RowStatistics],
    pub(super) affine: WithInputs<'w>,
    pub(super) source: PhantomData<T>,
}

impl<T: RowSource> Kernel for SweepOneByOne<'_, '_, T> {
    type Output = ();

    /// Neither non-temporal stores nor prefetches: there are few such rows.
    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { io, first, columns: (start, end), statistics, affine, .. } = self;
        for (i, &statistics) in statistics.iter().enumerate() {
            let ahead = io.ahead(first + i, 1);
            let mut row = io.group::<1, INPUTS>(first + i);
            let row = &mut row.columns(start, end);
            if let Some(rows) = Standardize::in_f32(token, &[statistics]) {
                sweep_columns::<T, S::F32, _, false, false, 1, INPUTS>(
                    token, row, &rows, affine, ahead,
                );
            } else {
                let rows = [Standardize::new(token, statistics)];
                sweep_columns::<T, S::F64, _, false, false, 1, INPUTS>(
                    token, row, &rows, affine, ahead,
                );
            }
        }
    }
}
