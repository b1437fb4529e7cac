//! What BatchNorm does once a channel: the statistics of a batch, and the running ones.
//!
//! The plain algorithm, for each channel:
//!
//! ```text
//! rstd = 1 / sqrt(M2 / n + eps)
//! running_mean = (1 - m) * running_mean + m * mean;  running_var likewise
//! ```
#![forbid(unsafe_code)]

use crate::kernels::lanes::{Lanes64, rstd_lanes};
use crate::simd::{Double, Float, Kernel, LANES, Simd};

/// Makes the mean and 1 / sqrt(var + eps) of every column, from the means and M2 of `rows` rows, where these are, and moves the
/// running statistics towards them.
pub(crate) struct BatchStatistics<'a> {
    pub(crate) rows: usize,
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
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { rows, eps, means, m2s, mean, rstd, mut running } = self;
        let n = S::F64::splat(token, rows as f64);
        let less_one = S::F64::splat(token, rows as f64 - 1.0);
        for (i, (batch_mean, m2)) in means.iter().zip(m2s.iter_mut()).enumerate() {
            let of_m2 = S::F64::load_f64(token, m2);
            let var = of_m2 / n;
            rstd_lanes(token, var, eps).store_f64(m2);
            if let Some(RunningUpdate { momentum, unbiased, mean, var: running_var }) = &mut running
            {
                let columns = i * LANES..mean.len().min((i + 1) * LANES);
                let batch_mean = S::F64::load_f64(token, batch_mean);
                momentum.apply::<S>(token, &mut mean[columns.clone()], batch_mean);
                let batch_var = if *unbiased { of_m2 / less_one } else { var };
                momentum.apply::<S>(token, &mut running_var[columns], batch_var);
            }
        }
        for (out, lanes) in [(mean, means), (rstd, m2s)] {
            if let Some(out) = out {
                out.copy_from_slice(&lanes.as_flattened()[..out.len()]);
            }
        }
    }
}

/// The running statistics, and how they follow those of a batch.
pub(crate) struct RunningUpdate<'a> {
    pub(crate) momentum: Momentum,
    /// Whether M2 is divided by n - 1 instead of n.
    pub(crate) unbiased: bool,
    pub(crate) mean: &'a mut [f32],
    pub(crate) var: &'a mut [f32],
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
