//! Mean and 1 / sqrt(var + eps) of groups of columns, from the moments of each column.
//!
//! The plain algorithm, for a group of g columns of n rows each:
//!
//! ```text
//! mean = (sum of means) / g
//! M2 = (sum of M2s) + n * sum of (means - mean)^2
//! rstd = 1 / sqrt(M2 / (g * n) + eps)
//! ```
//!
//! * **Not pairwise**: all columns have one count, so that two passes over a few f64 in L1 do, sixteen at a time, without a
//!   division but the last.
//! * **The mean is taken around that of the first column**, so that a constant group has exactly the constant.
//! * **Groups of one column** are done sixteen at a time.
#![forbid(unsafe_code)]

use crate::kernels::lanes::{Lanes64, load_f64, rstd, rstd_lanes};
use crate::simd::{Double, Float, Kernel, LANES, Simd};

/// Puts mean and 1 / sqrt(var + eps) of a channel's group where the mean and M2 of the channel are.
pub(crate) struct GroupStatistics<'a> {
    /// Elements of a channel.
    pub(crate) rows: usize,
    pub(crate) channels: usize,
    /// Channels of a group.
    pub(crate) per_group: usize,
    pub(crate) eps: f64,
    /// Vectors of means, and of M2, of the channels.
    pub(crate) means: &'a mut [Lanes64],
    pub(crate) m2s: &'a mut [Lanes64],
    /// One a group, where they are wanted.
    pub(crate) mean: Option<&'a mut [f64]>,
    pub(crate) rstd: Option<&'a mut [f64]>,
}

impl Kernel for GroupStatistics<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { rows, channels, per_group, eps, means, m2s, mean, rstd: rstd_out } = self;
        let (mut mean_out, mut rstd_out) = (mean, rstd_out);
        let n = S::F64::splat(token, rows as f64);
        if per_group == 1 {
            // As below, for sixteen groups at a time.
            for m2 in m2s.iter_mut() {
                let var = S::F64::load_f64(token, m2) / n;
                rstd_lanes(token, var, eps).store_f64(m2);
            }
            for (out, lanes) in [(&mut mean_out, means), (&mut rstd_out, m2s)] {
                if let Some(out) = out {
                    out.copy_from_slice(&lanes.as_flattened()[..channels]);
                }
            }
            return;
        }
        let (means, m2s) = (means.as_flattened_mut(), m2s.as_flattened_mut());
        let elements = rows as f64 * per_group as f64;
        let groups = means[..channels].chunks_exact_mut(per_group);
        for (group, (means, m2s)) in groups.zip(m2s.chunks_exact_mut(per_group)).enumerate() {
            let shift = means[0];
            let k = S::F64::splat(token, shift);
            let zero = S::F64::splat(token, 0.0);
            let (mut sum, mut m2) = (zero, zero);
            for i in 0..per_group.div_ceil(LANES) {
                sum = sum + (load_f64(token, means, i, shift) - k);
                m2 = m2 + load_f64(token, m2s, i, 0.0);
            }
            let mean = shift + sum.sum() / per_group as f64;
            let centre = S::F64::splat(token, mean);
            let mut between = zero;
            for i in 0..per_group.div_ceil(LANES) {
                let d = load_f64(token, means, i, mean) - centre;
                between = d.mul_add(d, between);
            }
            let m2 = between.mul_add(n, m2).sum();
            let rstd = rstd(m2 / elements, eps);
            means.fill(mean);
            m2s.fill(rstd);
            for (out, value) in [(&mut mean_out, mean), (&mut rstd_out, rstd)] {
                if let Some(out) = out {
                    out[group] = value;
                }
            }
        }
    }
}
