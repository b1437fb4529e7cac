//! What BatchNorm does once a channel: the statistics of a batch, and the running ones.
//!
//! The plain algorithm, for each channel:
//!
//! ```text
//! rstd = 1 / sqrt(M2 / n + eps)
//! running_mean = (1 - m) * running_mean + m * mean;  running_var likewise
//! ```
#![forbid(unsafe_code)]

use core::ops::Range;

use super::coefficients::{ColumnSource, RunningColumns};
use crate::kernels::lanes::{Lanes64, rstd_lanes};
use crate::simd::{Double, Float, Kernel, LANES, Simd};
use crate::welford::Moments;

/// Makes the mean and 1 / sqrt(var + eps) of every column, from the means and M2 of `rows` rows, where these are, and moves the
/// running statistics towards them.
pub(crate) struct BatchStatistics<'a> {
    /// A whole number.
    pub(crate) rows: f64,
    pub(crate) eps: f64,
    pub(crate) means: &'a mut [Lanes64],
    /// Becomes 1 / sqrt(var + eps).
    pub(crate) m2s: &'a mut [Lanes64],
    /// Where both are written too, if they are wanted.
    pub(crate) mean: Option<&'a mut [f64]>,
    pub(crate) rstd: Option<&'a mut [f64]>,
    pub(crate) running: Option<RunningUpdate<'a>>,
}

impl Kernel for BatchStatistics<'_> {
    /// A variance that f32 cannot hold. Nothing is written then.
    type Output = Result<(), Overflow>;

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> Self::Output {
        let Self { rows, eps, means, m2s, mean, rstd, mut running } = self;
        let (n, less_one) = (S::F64::splat(token, rows), S::F64::splat(token, rows - 1.0));
        if let Some(running) = &running {
            running.check(token, rows, m2s)?;
        }
        for (i, (batch_mean, m2)) in means.iter().zip(m2s.iter_mut()).enumerate() {
            let of_m2 = S::F64::load_f64(token, m2);
            let var = of_m2 / n;
            rstd_lanes(token, var, eps).store_f64(m2);
            if let Some(running) = &mut running {
                let batch_mean = S::F64::load_f64(token, batch_mean);
                let batch_var = if running.unbiased { of_m2 / less_one } else { var };
                running.update::<S>(token, i, batch_mean, batch_var);
            }
        }
        for (out, lanes) in [(mean, means), (rstd, m2s)] {
            if let Some(out) = out {
                out.copy_from_slice(&lanes.as_flattened()[..out.len()]);
            }
        }
        Ok(())
    }
}

/// The same from the moments of every column, which all have one count above 0.
pub(crate) struct MomentStatistics<'a> {
    pub(crate) eps: f64,
    pub(crate) moments: &'a [Moments],
    pub(crate) mean: Option<&'a mut [f64]>,
    pub(crate) rstd: Option<&'a mut [f64]>,
    pub(crate) running: Option<RunningUpdate<'a>>,
}

/// Columns that are gathered at a time.
const GATHERED: usize = 16 * LANES;

impl Kernel for MomentStatistics<'_> {
    /// A variance that f32 cannot hold. Nothing is written then.
    type Output = Result<(), Overflow>;

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> Self::Output {
        let Self { eps, moments, mut mean, mut rstd, mut running } = self;
        let rows = moments.first().map_or(0.0, |moments| moments.count as f64);
        let mut lanes = [[[0.0; LANES]; GATHERED / LANES]; 2];
        // All are checked before any is written.
        for writes in [false, true] {
            for (i, moments) in moments.chunks(GATHERED).enumerate() {
                let columns = i * GATHERED..i * GATHERED + moments.len();
                let [means, m2s] = gather(&mut lanes, moments);
                let running = running.as_mut().map(|running| running.part(columns.clone()));
                if !writes {
                    let checked = running.map_or(Ok(()), |part| part.check(token, rows, m2s));
                    checked.map_err(|Overflow { channel, var }| Overflow {
                        channel: channel + columns.start,
                        var,
                    })?;
                    continue;
                }
                let mean = mean.as_deref_mut().map(|mean| &mut mean[columns.clone()]);
                let rstd = rstd.as_deref_mut().map(|rstd| &mut rstd[columns]);
                BatchStatistics { rows, eps, means, m2s, mean, rstd, running }.run(token)?;
            }
        }
        Ok(())
    }
}

/// Vectors of the means and of the M2 of at most [`GATHERED`] columns.
#[inline(always)]
fn gather<'l>(
    lanes: &'l mut [[Lanes64; GATHERED / LANES]; 2],
    moments: &[Moments],
) -> [&'l mut [Lanes64]; 2] {
    let vectors = moments.len().div_ceil(LANES);
    let [means, m2s] = lanes;
    let (means, m2s) = (&mut means[..vectors], &mut m2s[..vectors]);
    means.fill([0.0; LANES]);
    m2s.fill([0.0; LANES]);
    for (c, moments) in moments.iter().enumerate() {
        means[c / LANES][c % LANES] = moments.mean;
        m2s[c / LANES][c % LANES] = moments.m2;
    }
    [means, m2s]
}

/// Writes the mean and 1 / sqrt(var + eps) of running statistics.
pub(crate) struct WriteRunning<'a> {
    pub(crate) source: RunningColumns<'a>,
    pub(crate) out: [&'a mut [Lanes64]; 2],
}

impl Kernel for WriteRunning<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { source, out: [means, rstds] } = self;
        for (i, (of_mean, of_rstd)) in means.iter_mut().zip(rstds).enumerate() {
            let (mean, rstd) = source.load(token, i);
            mean.store_f64(of_mean);
            rstd.store_f64(of_rstd);
        }
    }
}

/// A running variance that would not be finite in f32, though it was and the batch is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overflow {
    pub(crate) channel: usize,
    /// The variance, in f64.
    pub(crate) var: f64,
}

/// The running statistics, and how they follow those of a batch.
pub(crate) struct RunningUpdate<'a> {
    pub(crate) momentum: Momentum,
    /// Whether M2 is divided by n - 1 instead of n.
    pub(crate) unbiased: bool,
    /// Whether a channel of which the batch has a NaN or an infinity keeps its statistics.
    pub(crate) skip_non_finite: bool,
    pub(crate) mean: &'a mut [f32],
    pub(crate) var: &'a mut [f32],
}

impl RunningUpdate<'_> {
    /// Those of some columns.
    #[inline(always)]
    fn part(&mut self, columns: Range<usize>) -> RunningUpdate<'_> {
        let Self { mean, var, .. } = self;
        let (mean, var) = (&mut mean[columns.clone()], &mut var[columns]);
        RunningUpdate { mean, var, ..*self }
    }

    /// Columns of vector `i`.
    fn columns(&self, i: usize) -> Range<usize> {
        i * LANES..self.mean.len().min((i + 1) * LANES)
    }

    /// Finds the first channel whose variance leaves f32. A mean cannot: it lies between two numbers that f32 holds.
    #[inline(always)]
    fn check<S: Simd>(&self, token: S, rows: f64, m2s: &[Lanes64]) -> Result<(), Overflow> {
        let divisor = S::F64::splat(token, if self.unbiased { rows - 1.0 } else { rows });
        // The new variance lies between the old one and the batch's. Half of what fits needs no division, and no closer look.
        let half = S::F64::splat(token, f64::from(f32::MAX) / 2.0) * divisor;
        // Without an early end, several at a time; a loop, since the closure of an iterator is not always inlined.
        let mut all_fit = u16::MAX;
        for m2 in m2s {
            all_fit &= S::F64::load_f64(token, m2).less_or_equal(half);
        }
        if all_fit == u16::MAX {
            return Ok(());
        }
        for (i, m2) in m2s.iter().enumerate() {
            let columns = self.columns(i);
            let batch = S::F64::load_f64(token, m2) / divisor;
            let before = S::F64::load_partial(token, &self.var[columns.clone()], 0.0);
            let next = self.momentum.next::<S>(token, before, batch);
            let [mut of_batch, mut after] = [[0.0; LANES]; 2];
            batch.store_f64(&mut of_batch);
            next.store_f64(&mut after);
            for (lane, channel) in columns.enumerate() {
                let was_finite = self.var[channel].is_finite() && of_batch[lane].is_finite();
                if was_finite && !(after[lane] as f32).is_finite() {
                    return Err(Overflow { channel, var: after[lane] });
                }
            }
        }
        Ok(())
    }

    /// Moves the statistics of vector `i` of the channels.
    #[inline(always)]
    fn update<S: Simd>(&mut self, token: S, i: usize, batch_mean: S::F64, batch_var: S::F64) {
        let columns = self.columns(i);
        // 0, or NaN where either is a NaN or an infinity.
        let zero = S::F64::splat(token, 0.0);
        let finite = (batch_mean * zero + batch_var * zero).equal(zero);
        let moved = if self.skip_non_finite { finite } else { u16::MAX };
        let Self { momentum, mean, var, .. } = self;
        momentum.apply::<S>(token, &mut mean[columns.clone()], batch_mean, moved);
        momentum.apply::<S>(token, &mut var[columns], batch_var, moved);
    }
}

/// How running statistics follow those of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Momentum {
    /// `running = m * running + (1 - m) * batch`.
    Keep(f64),
    /// `running = (1 - m) * running + m * batch`.
    Take(f64),
    /// The mean of this and so many earlier batches: `running += (batch - running) / (batches + 1)`.
    Cumulative(u64),
}

impl Momentum {
    /// Moves running statistics of at most sixteen columns, those whose bit is set: in f64, rounded once to f32.
    #[inline(always)]
    fn apply<S: Simd>(self, token: S, statistics: &mut [f32], batch: S::F64, moved: u16) {
        let running = S::F64::load_partial(token, statistics, 0.0);
        let next = self.next::<S>(token, running, batch).narrow();
        if moved == u16::MAX {
            next.store_partial_init(statistics);
            return;
        }
        let mut lanes = [0.0; LANES];
        next.store_init(&mut lanes);
        for (i, (statistic, next)) in statistics.iter_mut().zip(lanes).enumerate() {
            if moved >> i & 1 == 1 {
                *statistic = next;
            }
        }
    }

    #[inline(always)]
    fn next<S: Simd>(self, token: S, running: S::F64, batch: S::F64) -> S::F64 {
        match self {
            Self::Keep(m) => {
                S::F64::splat(token, m) * running + S::F64::splat(token, 1.0 - m) * batch
            }
            Self::Take(m) => {
                S::F64::splat(token, 1.0 - m) * running + S::F64::splat(token, m) * batch
            }
            Self::Cumulative(batches) => {
                running + (batch - running) / S::F64::splat(token, batches as f64 + 1.0)
            }
        }
    }
}
