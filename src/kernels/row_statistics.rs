//! Where the statistics of rows come from: the row itself, with or without its mean, or the caller.
#![forbid(unsafe_code)]

use core::marker::PhantomData;

use super::columns::Lanes64;
use super::moments::{self, BlockStatistic, Cascades};
use super::normalize::LARGEST;
use super::row_norms::Norm;
use super::welford::Moments;
use super::{normalize_columns, short};
use crate::simd::{Double, Float, LANES, Simd};

/// Mean and 1 / sqrt(var + eps) of a row. Mean is 0 where the operation does not centre.
#[derive(Clone, Copy)]
pub(crate) struct RowStatistics {
    pub(crate) mean: f64,
    pub(crate) rstd: f64,
}

impl RowStatistics {
    /// Of `R` rows.
    #[inline(always)]
    fn of<const R: usize>(means: &[f64], rstds: &[f64]) -> [Self; R] {
        let mut rows = [Self { mean: 0.0, rstd: 0.0 }; R];
        for (row, (&mean, &rstd)) in rows.iter_mut().zip(means.iter().zip(rstds)) {
            *row = Self { mean, rstd };
        }
        rows
    }

    #[inline(always)]
    pub(crate) fn fit_f32(self) -> bool {
        let Self { mean, rstd } = self;
        // As `short::Statistics` has it. A given rstd may be negative.
        let rstd_fits = rstd == 0.0 || (1.0 / LARGEST..=LARGEST).contains(&rstd.abs());
        rstd_fits && mean.abs() <= LARGEST && (mean * rstd).abs() <= LARGEST
    }
}

/// 1 / sqrt(var + eps), and 0 where that is 1 / 0.
#[inline(always)]
pub(crate) fn rstd(var: f64, eps: f64) -> f64 {
    let var = var + eps;
    // A select, not a branch. NaN stays NaN.
    if var == 0.0 { 0.0 } else { 1.0 / var.sqrt() }
}

/// The same of sixteen rows, whose sums of squares are given.
#[inline(always)]
fn rstds<S: Simd>(token: S, squares: Lanes64, n: usize, eps: f64) -> Lanes64 {
    let var = S::F64::load_f64(token, &squares) / S::F64::splat(token, n as f64);
    let mut rstds = [0.0; LANES];
    normalize_columns::rstd(token, var, eps).store_f64(&mut rstds);
    rstds
}

/// Where the statistics of rows come from, and where they are written to.
pub(crate) trait Source: Sized + Send {
    /// Whether the mean is subtracted.
    const CENTRED: bool;
    /// Whether there is no gamma and no beta, ever: what is for them is not compiled.
    const BARE: bool = false;
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
        rows: &short::Rows<'_>,
    ) -> (Lanes64, Lanes64);

    /// The sources for the rows before `at`, and for the others.
    fn split_at(self, at: usize) -> (Self, Self);
}

/// Splits what may be absent.
#[inline(always)]
pub(crate) fn split_optional(
    out: Option<&mut [f64]>,
    at: usize,
) -> (Option<&mut [f64]>, Option<&mut [f64]>) {
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
        return [moments::row::<_, S, R, false>(token, x[0], cascades); R];
    }
    moments::rows::<_, S, R, false>(token, x, cascades)
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
        let (mut means, mut rstds) = ([0.0; R], [0.0; R]);
        for r in 0..R {
            (means[r], rstds[r]) = (moments[r].mean, rstd(moments[r].m2 / n, self.eps));
        }
        record(&mut self.mean, first, means);
        record(&mut self.rstd, first, rstds);
        RowStatistics::of(&means, &rstds)
    }

    #[inline(always)]
    fn short_rows<S: Simd>(
        &mut self,
        token: S,
        first: usize,
        rows: &short::Rows<'_>,
    ) -> (Lanes64, Lanes64) {
        let (mean, m2) = short::moments(token, rows);
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
        let mut rstds = [0.0; R];
        for r in 0..R {
            rstds[r] = rstd(squares[r] / n, self.eps);
        }
        record(&mut self.rstd, first, rstds);
        RowStatistics::of(&[0.0; R], &rstds)
    }

    #[inline(always)]
    fn short_rows<S: Simd>(
        &mut self,
        token: S,
        first: usize,
        rows: &short::Rows<'_>,
    ) -> (Lanes64, Lanes64) {
        let rstd = rstds(token, short::squares(token, rows), rows.cols(), self.eps);
        record(&mut self.rstd, first, rstd);
        ([0.0; LANES], rstd)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (rstd, high) = split_optional(self.rstd, at);
        (Self { rstd, ..self }, Self { eps: self.eps, rstd: high })
    }
}

/// One over the norm of the row, and 0 where the norm is 0: Normalizer's.
pub(crate) struct Reciprocal<N>(PhantomData<N>);

impl<N> Reciprocal<N> {
    pub(crate) const NEW: Self = Self(PhantomData);
}

impl<N: Norm + Send> Source for Reciprocal<N> {
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
        RowStatistics::of(&[0.0; R], &rstds)
    }

    #[inline(always)]
    fn short_rows<S: Simd>(
        &mut self,
        token: S,
        _: usize,
        rows: &short::Rows<'_>,
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
        RowStatistics::of(&self.mean[first..first + R], &self.rstd[first..first + R])
    }

    #[inline(always)]
    fn short_rows<S: Simd>(
        &mut self,
        _: S,
        first: usize,
        _: &short::Rows<'_>,
    ) -> (Lanes64, Lanes64) {
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
