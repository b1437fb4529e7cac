//! Where the statistics of rows come from: the row itself, with or without its mean, or the caller.
#![forbid(unsafe_code)]

use core::marker::PhantomData;

use super::block::BlockStatistic;
use super::norms::RowNorm;
use super::reduce::{Cascades, reduce_row, reduce_rows};
use super::short_rows::{ShortRows, short_moments, short_squares};
use crate::kernels::lanes::{Lanes64, rstd, rstd_lanes};
use crate::kernels::range::LARGEST;
use crate::kernels::split::split_optional;
use crate::simd::{Double, Float, Kernel, LANES, Simd};
use crate::welford::Moments;

/// Where the statistics of rows come from, and where they are written to.
pub(crate) trait RowSource: Sized + Send {
    /// Whether the mean is subtracted.
    const CENTRED: bool;
    /// Whether there is no gamma and no beta, ever: what is for them is not compiled.
    const BARE: bool = false;
    /// Whether the operation takes a gate and something to add: otherwise what is for them is not compiled.
    const TAKES_INPUTS: bool = false;
    /// Whether a row may have several parts: otherwise what is for them is not compiled.
    const HAS_PARTS: bool = false;
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

    /// Mean and rstd of sixteen short rows, the first of them row `first`.
    fn short_rows<S: Simd>(
        &mut self,
        token: S,
        first: usize,
        rows: &ShortRows<'_>,
    ) -> (Lanes64, Lanes64);

    /// How many parts of one length a row has, each with statistics of its own.
    #[inline(always)]
    fn parts(&self) -> usize {
        1
    }

    /// The sources for the rows before `at`, and for the others.
    fn split_at(self, at: usize) -> (Self, Self);
}

/// Mean and 1 / sqrt(var + eps) of a row. Mean is 0 where the operation does not centre.
#[derive(Clone, Copy)]
pub(crate) struct RowStatistics {
    pub(crate) mean: f64,
    pub(crate) rstd: f64,
}

impl RowStatistics {
    /// Of `R` rows.
    #[inline(always)]
    fn array<const R: usize>(means: &[f64], rstds: &[f64]) -> [Self; R] {
        let mut rows = [Self { mean: 0.0, rstd: 0.0 }; R];
        for (row, (&mean, &rstd)) in rows.iter_mut().zip(means.iter().zip(rstds)) {
            *row = Self { mean, rstd };
        }
        rows
    }

    #[inline(always)]
    pub(crate) fn fit_f32(self) -> bool {
        let Self { mean, rstd } = self;
        // As `ShortStatistics` has it. A given rstd may be negative.
        let rstd_fits = rstd == 0.0 || (1.0 / LARGEST..=LARGEST).contains(&rstd.abs());
        rstd_fits && mean.abs() <= LARGEST && (mean * rstd).abs() <= LARGEST
    }
}

/// LayerNorm's: mean and population variance of the row.
pub(crate) struct MeanVariance<'a> {
    pub(crate) eps: f64,
    pub(crate) mean: Option<&'a mut [f64]>,
    pub(crate) rstd: Option<&'a mut [f64]>,
}

impl RowSource for MeanVariance<'_> {
    const CENTRED: bool = true;
    const TAKES_INPUTS: bool = true;
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
        let (mut means, mut rstds) = ([0.0; R], [0.0; R]);
        for r in 0..R {
            (means[r], rstds[r]) = (moments[r].mean, rstd(moments[r].m2 / n, self.eps));
        }
        record(&mut self.mean, first, means);
        record(&mut self.rstd, first, rstds);
        RowStatistics::array(&means, &rstds)
    }

    #[inline(always)]
    fn short_rows<S: Simd>(
        &mut self,
        token: S,
        first: usize,
        rows: &ShortRows<'_>,
    ) -> (Lanes64, Lanes64) {
        let (mean, m2) = short_moments(token, rows);
        let rstd = rstds(token, m2, rows.cols(), self.eps);
        record(&mut self.mean, first, mean);
        record(&mut self.rstd, first, rstd);
        (mean, rstd)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { eps, mean, rstd } = self;
        let (mean, high_mean) = split_optional(mean, at);
        let (rstd, high_rstd) = split_optional(rstd, at);
        (Self { eps, mean, rstd }, Self { eps, mean: high_mean, rstd: high_rstd })
    }
}

/// RmsNorm's: the mean of the squares of the row, or of each of its groups.
pub(crate) struct MeanSquare<'a> {
    pub(crate) eps: f64,
    pub(crate) groups: usize,
    pub(crate) rstd: Option<&'a mut [f64]>,
}

impl RowSource for MeanSquare<'_> {
    const CENTRED: bool = false;
    const TAKES_INPUTS: bool = true;
    const HAS_PARTS: bool = true;
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
        let mut rstds = [0.0; R];
        for r in 0..R {
            rstds[r] = rstd(squares[r] / n, self.eps);
        }
        record(&mut self.rstd, first, rstds);
        RowStatistics::array(&[0.0; R], &rstds)
    }

    #[inline(always)]
    fn short_rows<S: Simd>(
        &mut self,
        token: S,
        first: usize,
        rows: &ShortRows<'_>,
    ) -> (Lanes64, Lanes64) {
        let rstd = rstds(token, short_squares(token, rows), rows.cols(), self.eps);
        record(&mut self.rstd, first, rstd);
        ([0.0; LANES], rstd)
    }

    #[inline(always)]
    fn parts(&self) -> usize {
        self.groups
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (rstd, high) = split_optional(self.rstd, at * self.groups);
        (Self { rstd, ..self }, Self { rstd: high, ..self })
    }
}

/// One over the norm of the row, and 0 where the norm is 0: Normalizer's.
pub(crate) struct Reciprocal<N>(PhantomData<N>);

impl<N> Reciprocal<N> {
    pub(crate) const NEW: Self = Self(PhantomData);
}

impl<N: RowNorm + Send> RowSource for Reciprocal<N> {
    const BARE: bool = true;
    const CENTRED: bool = false;
    type Block = N;

    #[inline(always)]
    fn rows<S: Simd, const R: usize>(
        &mut self,
        token: S,
        _: usize,
        x: [&[f32]; R],
        cascades: &mut Cascades<N, R>,
    ) -> [RowStatistics; R] {
        let statistics = measure(token, x, cascades);
        let mut rstds = [0.0; R];
        for r in 0..R {
            rstds[r] = reciprocal(statistics[r].norm());
        }
        RowStatistics::array(&[0.0; R], &rstds)
    }

    #[inline(always)]
    fn short_rows<S: Simd>(
        &mut self,
        token: S,
        _: usize,
        rows: &ShortRows<'_>,
    ) -> (Lanes64, Lanes64) {
        let mut rstds = N::short(token, rows);
        for rstd in &mut rstds {
            *rstd = reciprocal(*rstd);
        }
        ([0.0; LANES], rstds)
    }

    fn split_at(self, _: usize) -> (Self, Self) {
        (Self::NEW, Self::NEW)
    }
}

/// 1 / norm, and 0 where that is 1 / 0.
#[inline(always)]
fn reciprocal(norm: f64) -> f64 {
    if norm == 0.0 { 0.0 } else { 1.0 / norm }
}

/// Statistics that the caller has.
pub(crate) struct GivenRows<'a> {
    pub(crate) mean: &'a [f64],
    pub(crate) rstd: &'a [f64],
}

impl RowSource for GivenRows<'_> {
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
        RowStatistics::array(&self.mean[first..first + R], &self.rstd[first..first + R])
    }

    #[inline(always)]
    fn short_rows<S: Simd>(&mut self, _: S, first: usize, _: &ShortRows<'_>) -> (Lanes64, Lanes64) {
        let (mut mean, mut rstd) = ([0.0; LANES], [0.0; LANES]);
        mean.copy_from_slice(&self.mean[first..first + LANES]);
        rstd.copy_from_slice(&self.rstd[first..first + LANES]);
        (mean, rstd)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (mean, high_mean) = self.mean.split_at(at);
        let (rstd, high_rstd) = self.rstd.split_at(at);
        (Self { mean, rstd }, Self { mean: high_mean, rstd: high_rstd })
    }
}

/// The statistics of `R` rows, as a call that the cases of LayerNorm and `RmsNorm` share, forward and backward.
pub(super) struct Measure<'w, 'x, T: RowSource, const R: usize> {
    pub(super) source: &'w mut T,
    pub(super) first: usize,
    pub(super) rows: [&'x [f32]; R],
    pub(super) cascades: &'w mut Cascades<T::Block, R>,
}

impl<T: RowSource, const R: usize> Kernel for Measure<'_, '_, T, R> {
    type Output = [RowStatistics; R];

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> [RowStatistics; R] {
        self.source.rows(token, self.first, self.rows, self.cascades)
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
        return [reduce_row::<_, S, R, false>(token, x[0], cascades); R];
    }
    reduce_rows::<_, S, R, false>(token, x, cascades)
}

/// The same of sixteen rows, whose sums of squares are given.
#[inline(always)]
fn rstds<S: Simd>(token: S, squares: Lanes64, n: usize, eps: f64) -> Lanes64 {
    let var = S::F64::load_f64(token, &squares) / S::F64::splat(token, n as f64);
    let mut rstds = [0.0; LANES];
    rstd_lanes(token, var, eps).store_f64(&mut rstds);
    rstds
}

/// Writes the statistics of rows where they are wanted.
#[inline(always)]
fn record<const R: usize>(out: &mut Option<&mut [f64]>, first: usize, values: [f64; R]) {
    if let Some(out) = out {
        out[first..first + R].copy_from_slice(&values);
    }
}
