//! Short rows: sixteen at a time, a lane for each where their sums are finished.
//!
//! Of a row of a few vectors, the sums are the least work: a reduction, two divisions, a root and the tests that follow
//! cost more. For sixteen rows they are done in the lanes of a vector, with the operations of `kernels/rows/block.rs` in
//! the same order, so that a row has the bits that it has by itself.
//!
//! `docs/performance.md` has what it gains, under "What helped".
#![forbid(unsafe_code)]

use super::block::{
    Magnitude, MagnitudesInF64, MomentsInF64, PILOT, Square, SquaresInF64, TERMS, Term, deviation,
    pilot_sum,
};
use crate::kernels::lanes::Lanes64;
use crate::kernels::range::{LARGEST, LARGEST_SHIFT, SMALLEST_MEAN_SQUARE};
use crate::simd::{Double, Float, LANES, Simd, prefetch};

/// The longest rows that are short: the terms of a lane are one sum.
pub(crate) const SHORT_COLS: usize = TERMS * LANES;

const HALF: usize = LANES / 2;

/// Sixteen rows of one length, 1 to [`SHORT_COLS`], and how many elements on the next sixteen are.
pub(crate) struct ShortRows<'a> {
    x: [&'a [f32]; LANES],
    ahead: usize,
}

impl<'a> ShortRows<'a> {
    #[inline(always)]
    pub(crate) fn new(x: [&'a [f32]; LANES], ahead: usize) -> Self {
        Self { x, ahead }
    }

    /// Elements of a row.
    #[inline(always)]
    pub(crate) fn cols(&self) -> usize {
        self.x[0].len()
    }

    /// Row `r`.
    #[inline(always)]
    pub(crate) fn row(&self, r: usize) -> &'a [f32] {
        self.x[r]
    }

    /// Prefetches what a vector of a row is in the next sixteen. While the statistics are made, memory has nothing else to do; in
    /// the sweep that writes y it has, and row moments have no such sweep. Vector by vector, since all of a row at once is slower
    /// (`docs/performance.md`, "What helped" and "What did not help").
    #[inline(always)]
    pub(crate) fn prefetch_next(&self, vector: &[f32]) {
        prefetch(vector.as_ptr().wrapping_add(self.ahead));
    }
}

/// Mean and M2 of sixteen rows.
#[inline(always)]
pub(crate) fn short_moments<S: Simd>(token: S, rows: &ShortRows<'_>) -> (Lanes64, Lanes64) {
    let n = rows.cols() as f64;
    let (k, s, q) = short_sums::<S, Square, true>(token, rows);
    let offset = s / S::F64::splat(token, n);
    let square = s * offset;
    let share = q * S::F64::splat(token, LARGEST_SHIFT);
    let good = square.less_or_equal(share) & lanes_fit(token, q, n);
    let (mut mean, mut m2) = ([0.0; LANES], [0.0; LANES]);
    (S::F64::widen(S::F32::load(token, &k)) + offset).store_f64(&mut mean);
    (q - square).store_f64(&mut m2);
    for r in (0..LANES).filter(|r| good >> r & 1 == 0) {
        let moments = token.outline(MomentsInF64 { x: rows.x[r] });
        (mean[r], m2[r]) = (moments.mean, moments.m2);
    }
    (mean, m2)
}

/// The sum of squares of sixteen rows.
#[inline(always)]
pub(crate) fn short_squares<S: Simd>(token: S, rows: &ShortRows<'_>) -> Lanes64 {
    let (_, _, q) = short_sums::<S, Square, false>(token, rows);
    let good = lanes_fit(token, q, rows.cols() as f64);
    let mut squares = [0.0; LANES];
    q.store_f64(&mut squares);
    for r in (0..LANES).filter(|r| good >> r & 1 == 0) {
        squares[r] = token.outline(SquaresInF64 { x: rows.x[r] });
    }
    squares
}

/// The sum of magnitudes of sixteen rows.
#[inline(always)]
pub(crate) fn short_magnitudes<S: Simd>(token: S, rows: &ShortRows<'_>) -> Lanes64 {
    let (_, _, q) = short_sums::<S, Magnitude, false>(token, rows);
    let good = q.less_or_equal(S::F64::splat(token, f64::MAX));
    let mut sums = [0.0; LANES];
    q.store_f64(&mut sums);
    for r in (0..LANES).filter(|r| good >> r & 1 == 0) {
        sums[r] = token.outline(MagnitudesInF64 { x: rows.x[r] });
    }
    sums
}

/// K, S and Q of sixteen rows, a lane for each.
#[inline(always)]
fn short_sums<S: Simd, T: Term, const CENTRED: bool>(
    token: S,
    rows: &ShortRows<'_>,
) -> ([f32; LANES], S::F64, S::F64) {
    let zero = S::F32::splat(token, 0.0);
    let mut shift = [0.0; LANES];
    if CENTRED {
        for r in 0..LANES {
            shift[r] = pilot_sum::<S::F32>(token, rows.x[r]);
        }
        if rows.cols() < PILOT {
            let n = S::F64::splat(token, rows.cols() as f64);
            (S::F64::widen(S::F32::load(token, &shift)) / n).narrow().store_init(&mut shift);
        }
    }
    let (mut s, mut q) = ([0.0; LANES], [0.0; LANES]);
    // Eight reductions share their shuffles, and are not more than the compiler keeps in registers.
    for first in [0, HALF] {
        let (mut sums, mut squares) = ([zero; HALF], [zero; HALF]);
        for i in 0..HALF {
            let (x, shift) = (rows.x[first + i], shift[first + i]);
            let k = S::F32::splat(token, shift);
            let (vectors, tail) = x.as_chunks::<LANES>();
            for vector in vectors {
                rows.prefetch_next(vector);
                let d = deviation::<S::F32, CENTRED>(S::F32::load(token, vector), k);
                (sums[i], squares[i]) = (sums[i] + d, T::add(d, squares[i]));
            }
            if !tail.is_empty() {
                rows.prefetch_next(tail);
                // Lanes beyond the row hold K, so that d is 0 there.
                let x = S::F32::load_partial(token, tail, shift);
                let d = deviation::<S::F32, CENTRED>(x, k);
                (sums[i], squares[i]) = (sums[i] + d, T::add(d, squares[i]));
            }
        }
        if CENTRED {
            s[first..first + HALF].copy_from_slice(&S::F32::sums(sums));
        }
        q[first..first + HALF].copy_from_slice(&S::F32::sums(squares));
    }
    (shift, S::F64::load_f64(token, &s), S::F64::load_f64(token, &q))
}

/// A bit for each row whose squares f32 held.
#[inline(always)]
fn lanes_fit<S: Simd>(token: S, q: S::F64, n: f64) -> u16 {
    let least = S::F64::splat(token, SMALLEST_MEAN_SQUARE * n);
    least.less_or_equal(q) & q.less_or_equal(S::F64::splat(token, f64::MAX))
}

/// Mean and rstd of sixteen rows, and what the second sweep needs of them in f32 (`kernels/rows/normalize.rs`).
pub(crate) struct ShortStatistics {
    pub(crate) mean: Lanes64,
    pub(crate) rstd: Lanes64,
    pub(crate) hi: [f32; LANES],
    pub(crate) rstd_f32: [f32; LANES],
    pub(crate) offset: [f32; LANES],
    /// Whether f32 holds all of it.
    pub(crate) fit_f32: bool,
}

impl ShortStatistics {
    #[inline(always)]
    pub(crate) fn new<S: Simd>(token: S, mean: Lanes64, rstd: Lanes64) -> Self {
        let (m, r) = (S::F64::load_f64(token, &mean), S::F64::load_f64(token, &rstd));
        // Squares, for want of an absolute value: LARGEST is a power of two, so that they compare alike.
        let largest = S::F64::splat(token, LARGEST * LARGEST);
        let least = S::F64::splat(token, 1.0 / LARGEST / LARGEST);
        let (square, product) = (r * r, m * r);
        let fits = (least.less_or_equal(square) | r.equal(S::F64::splat(token, 0.0)))
            & square.less_or_equal(largest)
            & (m * m).less_or_equal(largest)
            & (product * product).less_or_equal(largest);
        let (high, rounded) = (m.narrow(), r.narrow());
        let offset = (S::F64::widen(high) - m).narrow() * rounded;
        let (mut hi, mut rstd_f32, mut offsets) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        high.store_init(&mut hi);
        rounded.store_init(&mut rstd_f32);
        offset.store_init(&mut offsets);
        Self { mean, rstd, hi, rstd_f32, offset: offsets, fit_f32: fits == u16::MAX }
    }
}
