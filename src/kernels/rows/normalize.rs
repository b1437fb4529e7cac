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
//! * **The next group is prefetched** while this one is written (short rows: while its statistics are made): the first sweep then
//!   finds it in L1. Whether y is prefetched too depends ([`WRITE_AHEAD`]). The gate is; of x and a residual, whose sum is
//!   prefetched as x, x itself is where y is written by non-temporal stores (`docs/performance.md`, "What helped").
//! * **All loads of a step before its stores.** A store whose address equals that of a later load in
//!   its low 12 bits stalls the load; rows of 1024 elements are 4096 bytes apart.
//! * **Stores do not cross cache lines**: the second sweep begins with the elements before the first boundary in
//!   y, which large allocations of f32 seldom start at. (For the sums the order of the lanes counts, so the
//!   first sweep takes x as it lies.)
//! * **Large outputs are written by non-temporal stores** (`src/run/write_policy.rs`), line by line.
//! * **Short rows** have their statistics made sixteen at a time (`kernels/rows/short_rows.rs`), and are swept over one by one.
//! * **A range test a row.** Where hi, lo or rstd leave what f32 can hold, the same code runs on f64
//!   lanes.
#![forbid(unsafe_code)]

use core::marker::PhantomData;

use super::affine::{ColumnAffine, GIVEN, GammaBeta, Gated, Inputs, OFFSET, WithInputs};
use super::dropped::{DroppedRows, RowDropout, dropped_rows};
use super::parts::NormalizeParts;
use super::reduce::Cascades;
use super::short_rows::{SHORT_COLS, ShortRows, ShortStatistics};
use super::source::{Measure, RowSource, RowStatistics};
use super::sweep::{Standardize, SweepOneByOne, SweepShort, in_groups, sweep};
use super::terms::make_rows;
use crate::gate::GateFunction;
use crate::kernels::split::Split;
use crate::simd::{INPUTS, Kernel, LANES, RowSpan, Simd};

/// Normalises, scales and shifts every row. Rows have at least one element.
pub(crate) struct NormalizeRows<'a, T> {
    pub(crate) io: RowSpan<'a>,
    pub(crate) source: T,
    pub(crate) gamma: Option<&'a [f32]>,
    pub(crate) beta: Option<&'a [f32]>,
    /// What is added to gamma, where the operation does not centre: 1, or -0.0, which changes no number.
    pub(crate) gamma_offset: f32,
    /// What `io` has beside x.
    pub(crate) inputs: Inputs,
    /// Dropout of x before its residual is added.
    pub(crate) dropout: Option<&'a RowDropout<'a>>,
}

impl<T: RowSource> Split for NormalizeRows<'_, T> {
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

impl<T: RowSource> Kernel for NormalizeRows<'_, T> {
    type Output = ();

    /// Each case is a function of its own, called once a task: a compiler that does not optimise gives every value that it
    /// inlines a place on the stack, which for all cases of RmsNorm was 3.3 MB on AVX2, more than a thread has.
    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        if T::BARE {
            return self.with::<S, _, 1>(token, GammaBeta::NONE);
        }
        if T::HAS_PARTS && self.source.parts() > 1 {
            return self.in_parts(token);
        }
        let Self { gamma, beta, gamma_offset: offset, inputs, .. } = self;
        if T::TAKES_INPUTS && (inputs.gate.is_some() || inputs.added) {
            // Models gate RmsNorm, with gamma alone. The rest is too rare for an instance of its own.
            if !T::CENTRED
                && let (Some(gamma), None, Inputs { gate: Some(GateFunction::Silu), added: false }) =
                    (gamma, beta, inputs)
            {
                let affine = Gated(GammaBeta::new(gamma, &[], offset));
                return self.with::<S, _, INPUTS>(token, affine);
            }
            let affine = WithInputs { gamma, beta, offset, inputs };
            return self.with::<S, _, INPUTS>(token, affine);
        }
        match (gamma, beta) {
            (Some(gamma), Some(beta)) if T::CENTRED => {
                self.with::<S, _, 1>(token, GammaBeta::<GIVEN, true>::new(gamma, beta, offset));
            }
            (Some(gamma), None) if T::CENTRED && !T::ONE_SWEEP => {
                self.with::<S, _, 1>(token, GammaBeta::<GIVEN, false>::new(gamma, &[], offset));
            }
            (Some(gamma), None) if !T::CENTRED => {
                self.with::<S, _, 1>(token, GammaBeta::<OFFSET, false>::new(gamma, &[], offset));
            }
            (None, None) => self.with::<S, _, 1>(token, GammaBeta::NONE),
            // Too rare for an instance of its own: beta without gamma, RmsNorm with beta, given statistics with gamma alone.
            _ if T::TAKES_INPUTS => {
                self.with::<S, _, INPUTS>(token, WithInputs { gamma, beta, offset, inputs });
            }
            _ => self.with::<S, _, 1>(token, WithInputs { gamma, beta, offset, inputs }),
        }
    }
}

impl<T: RowSource> NormalizeRows<'_, T> {
    #[inline(always)]
    fn with<S: Simd, A: ColumnAffine, const IN: usize>(self, token: S, affine: A) {
        let Self { io, source, dropout, .. } = self;
        token.vectorize(NormalizeRowsBy::<T, A, IN> { io, source, affine, dropout });
    }

    /// With several parts a row. The case that models have is compiled for itself: gamma alone.
    #[inline(always)]
    fn in_parts<S: Simd>(self, token: S) {
        let Self { io, source, gamma, beta, gamma_offset: offset, inputs, dropout } = self;
        if let (Some(gamma), None, Inputs { gate: None, added: false }) = (gamma, beta, inputs) {
            let affine = GammaBeta::<OFFSET, false>::new(gamma, &[], offset);
            return token.vectorize(NormalizeParts::<T, _, 1> { io, source, affine, dropout });
        }
        let affine = WithInputs { gamma, beta, offset, inputs };
        token.vectorize(NormalizeParts::<T, _, INPUTS> { io, source, affine, dropout });
    }
}

/// The same for what is known to be there.
struct NormalizeRowsBy<'a, T, A, const IN: usize> {
    io: RowSpan<'a>,
    source: T,
    affine: A,
    dropout: Option<&'a RowDropout<'a>>,
}

impl<T: RowSource, A: ColumnAffine, const IN: usize> Kernel for NormalizeRowsBy<'_, T, A, IN> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        match S::ROWS {
            // Other inputs take more time than gamma's loads, other cases are rare, and this is less to compile.
            _ if IN > 1 => self.in_groups::<S, 1>(token),
            4.. => self.in_groups::<S, 4>(token),
            2.. => self.in_groups::<S, 2>(token),
            _ => self.in_groups::<S, 1>(token),
        }
    }
}

impl<T: RowSource, A: ColumnAffine, const IN: usize> NormalizeRowsBy<'_, T, A, IN> {
    #[inline(always)]
    fn in_groups<S: Simd, const R: usize>(mut self, token: S) {
        let (rows, cols) = (self.io.rows(), self.io.cols());
        let short = if cols <= SHORT_COLS { rows - rows % LANES } else { 0 };
        let grouped = R > 1 && in_groups(self.io.streams(), self.io.alike(), cols);
        let grouped = if grouped { rows - rows % R } else { 0 };
        let (mut cascades, mut cascade) = (None, None);
        let dropped = &mut dropped_rows(self.dropout, self.io.first(), (rows, cols));
        let mut first = 0;
        while first < short {
            self.short_rows(token, first, dropped);
            first += LANES;
        }
        while first < grouped {
            let statistics = self.statistics::<S, R>(token, first, dropped, &mut cascades);
            self.sweep_group(token, first, statistics);
            first += R;
        }
        while first < rows {
            let statistics = self.statistics::<S, 1>(token, first, dropped, &mut cascade);
            self.sweep_group(token, first, statistics);
            first += 1;
        }
    }

    /// Sixteen rows.
    #[inline(always)]
    fn short_rows<S: Simd>(
        &mut self,
        token: S,
        first: usize,
        dropped: &mut Option<DroppedRows<'_>>,
    ) {
        make_rows(token, &mut self.io, dropped, (first, LANES));
        let ahead = self.io.ahead(first, LANES);
        let rows = self.io.group::<LANES, IN>(first);
        let (source, x) = (&mut self.source, ShortRows::new(rows.rows(), ahead));
        let statistics = token.outline(MeasureShort { source, first, rows: x });
        if statistics.fit_f32 {
            let (statistics, affine, source) = (&statistics, self.affine, PhantomData::<T>);
            token.outline(SweepShort::<T, A, IN> { rows, statistics, affine, ahead, source });
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
        dropped: &mut Option<DroppedRows<'_>>,
        cascades: &mut Cascades<T::Block, R>,
    ) -> [RowStatistics; R] {
        make_rows(token, &mut self.io, dropped, (first, R));
        let x = self.io.group::<R, 1>(first);
        let (source, rows) = (&mut self.source, x.rows());
        // A source without other inputs has few cases, and nobody to share the function with.
        if T::TAKES_INPUTS {
            return token.vectorize(Measure { source, first, rows, cascades });
        }
        source.rows(token, first, rows, cascades)
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
        let ahead = self.io.ahead(first, R);
        let mut group = self.io.group::<R, IN>(first);
        sweep::<T, S::F32, A, R, IN>(token, &mut group, rows, self.affine, ahead);
    }

    /// The same over rows of which some leave f32.
    #[inline(always)]
    fn one_by_one<S: Simd>(&mut self, token: S, first: usize, statistics: &[RowStatistics]) {
        let Self { io, affine, .. } = self;
        let (affine, source, columns) = (affine.general(), PhantomData::<T>, (0, io.cols()));
        token.outline(SweepOneByOne { io, first, columns, statistics, affine, source });
    }
}

/// The statistics of sixteen short rows.
pub(crate) struct MeasureShort<'s, 'x, T> {
    pub(crate) source: &'s mut T,
    pub(crate) first: usize,
    pub(crate) rows: ShortRows<'x>,
}

impl<T: RowSource> Kernel for MeasureShort<'_, '_, T> {
    type Output = ShortStatistics;

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> ShortStatistics {
        let (mean, rstd) = self.source.short_rows(token, self.first, &self.rows);
        ShortStatistics::new(token, mean, rstd)
    }
}
