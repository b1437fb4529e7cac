//! What BatchNorm does once a channel: the statistics of a batch, and the running ones.
#![forbid(unsafe_code)]

use super::columns::Lanes64;
use super::normalize_columns::rstd;
use super::welford::Moments;
use crate::simd::{Double, Float, Kernel, LANES, Simd};

/// Writes the mean and 1 / sqrt(var + eps) of every column, from the means and M2 of `rows` rows, and moves the
/// running statistics towards them.
pub(crate) struct Statistics<'a> {
    pub(crate) rows: usize,
    pub(crate) eps: f64,
    pub(crate) means: &'a [Lanes64],
    pub(crate) m2s: &'a [Lanes64],
    pub(crate) mean: &'a mut [f64],
    pub(crate) rstd: &'a mut [f64],
    pub(crate) running: Option<Running<'a>>,
}

/// The running statistics, and how they follow those of a batch.
pub(crate) struct Running<'a> {
    pub(crate) update: Update,
    /// Whether M2 is divided by n - 1 instead of n.
    pub(crate) unbiased: bool,
    pub(crate) mean: &'a mut [f32],
    pub(crate) var: &'a mut [f32],
}

impl Kernel for Statistics<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { rows, eps, means, m2s, mean, rstd: rstds, mut running } = self;
        let n = S::F64::splat(token, rows as f64);
        let less_one = S::F64::splat(token, rows as f64 - 1.0);
        let columns = mean.chunks_mut(LANES).zip(rstds.chunks_mut(LANES));
        for (i, (mean, rstd_out)) in columns.enumerate() {
            let m2 = S::F64::load_f64(token, &m2s[i]);
            let var = m2 / n;
            let mut lanes = [0.0; LANES];
            rstd(token, var, eps).store_f64(&mut lanes);
            mean.copy_from_slice(&means[i][..mean.len()]);
            rstd_out.copy_from_slice(&lanes[..rstd_out.len()]);
            if let Some(Running { update, unbiased, mean, var: running_var }) = &mut running {
                let columns = i * LANES..mean.len().min((i + 1) * LANES);
                let batch_mean = S::F64::load_f64(token, &means[i]);
                update.apply::<S>(token, &mut mean[columns.clone()], batch_mean);
                let batch_var = if *unbiased { m2 / less_one } else { var };
                update.apply::<S>(token, &mut running_var[columns], batch_var);
            }
        }
    }
}

/// Writes the moments of every column, from the means and M2 of `rows` rows.
pub(crate) fn collect(rows: usize, means: &[Lanes64], m2s: &[Lanes64], out: &mut [Moments]) {
    let columns = means.as_flattened().iter().zip(m2s.as_flattened());
    for (moments, (&mean, &m2)) in out.iter_mut().zip(columns) {
        *moments = Moments { count: rows as u64, mean, mean_low: 0.0, m2 };
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
    /// Moves running statistics of at most sixteen columns: in f64, rounded once to f32.
    #[inline(always)]
    fn apply<S: Simd>(self, token: S, statistics: &mut [f32], batch: S::F64) {
        let running = S::F64::load_partial(token, statistics, 0.0);
        let next = match self {
            Self::Keep(m) => {
                S::F64::splat(token, m) * running + S::F64::splat(token, 1.0 - m) * batch
            }
            Self::Take(m) => {
                S::F64::splat(token, 1.0 - m) * running + S::F64::splat(token, m) * batch
            }
            Self::Cumulative(batches) => {
                running + (batch - running) / S::F64::splat(token, batches as f64 + 1.0)
            }
        };
        next.narrow().store_partial_init(statistics);
    }
}
