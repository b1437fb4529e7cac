//! What BatchNorm does once a channel: the statistics of a batch, and the running ones.
#![forbid(unsafe_code)]

use super::columns::Lanes64;
use super::normalize_columns::rstd;
use super::welford::Moments;
use crate::simd::{Double, Float, Kernel, LANES, Simd};

/// Writes the mean and 1 / sqrt(var + eps) of every column, from the means and M2 of `rows` rows.
pub(crate) struct Statistics<'a> {
    pub(crate) rows: usize,
    pub(crate) eps: f64,
    pub(crate) means: &'a [Lanes64],
    pub(crate) m2s: &'a [Lanes64],
    pub(crate) mean: &'a mut [f64],
    pub(crate) rstd: &'a mut [f64],
}

impl Kernel for Statistics<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let n = S::F64::splat(token, self.rows as f64);
        let columns = self.mean.chunks_mut(LANES).zip(self.rstd.chunks_mut(LANES));
        for ((mean, rstd_out), (means, m2s)) in columns.zip(self.means.iter().zip(self.m2s)) {
            let var = S::F64::load_f64(token, m2s).div(n);
            let mut lanes = [0.0; LANES];
            rstd(token, var, self.eps).store_f64(&mut lanes);
            mean.copy_from_slice(&means[..mean.len()]);
            rstd_out.copy_from_slice(&lanes[..rstd_out.len()]);
        }
    }
}

/// Writes the moments of every column, from the means and M2 of `rows` rows.
pub(crate) fn collect(rows: usize, means: &[Lanes64], m2s: &[Lanes64], out: &mut [Moments]) {
    let columns = means.as_flattened().iter().zip(m2s.as_flattened());
    for (moments, (&mean, &m2)) in out.iter_mut().zip(columns) {
        *moments = Moments { count: rows as u64, mean, m2 };
    }
}

/// How running statistics follow those of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Update {
    /// `running = m * running + (1 - m) * batch`.
    Keep(f64),
    /// `running = (1 - m) * running + m * batch`.
    Take(f64),
    /// The mean of this and so many earlier batches: `running += (batch - running) / (batches + 1)`.
    Cumulative(u64),
}

impl Update {
    /// The new running statistic, in f64, rounded once.
    fn apply(self, running: f32, batch: f64) -> f32 {
        let running = f64::from(running);
        let next = match self {
            Self::Keep(m) => m * running + (1.0 - m) * batch,
            Self::Take(m) => (1.0 - m) * running + m * batch,
            Self::Cumulative(batches) => running + (batch - running) / (batches as f64 + 1.0),
        };
        next as f32
    }
}

/// Moves running statistics towards those of a batch. `divisor` is n, or n - 1 for the unbiased
/// variance.
pub(crate) fn update_running(
    update: Update,
    divisor: f64,
    (means, m2s): (&[Lanes64], &[Lanes64]),
    (running_mean, running_var): (&mut [f32], &mut [f32]),
) {
    for (running, &mean) in running_mean.iter_mut().zip(means.as_flattened()) {
        *running = update.apply(*running, mean);
    }
    for (running, &m2) in running_var.iter_mut().zip(m2s.as_flattened()) {
        *running = update.apply(*running, m2 / divisor);
    }
}
