//! Channels last, every sample by itself: GroupNorm and InstanceNorm of `[batch, positions, channels]`.
//!
//! The plain algorithm, for every sample, a matrix of `positions` rows and a column a channel:
//!
//! ```text
//! for each channel c: (mean[c], M2[c]) = moments of the column
//! for each group: (mean, rstd) of the moments of its channels, merged
//! for each position, each channel c: y = (x - mean) * rstd * gamma[c] + beta[c]
//! ```
//!
//! Both sweeps are those of columns (`kernels/columns.rs`, `kernels/normalize_columns.rs`), with the same coefficients for the
//! channels of a group. Between them:
//!
//! * **The merge of a group** is not pairwise: all of its channels have one count n, so that its mean is the mean of their
//!   means, and M2 the sum of theirs plus n times the squared deviations of their means: two passes over a few f64 that
//!   are in L1, sixteen at a time, without a division but the last.
//! * **Its mean is taken around that of the first channel**, so that a constant group has exactly the constant.
//!
//! Samples are worked on one by one, so that the second sweep, which goes backwards, finds the end of a sample in cache, and
//! all of a small one.
#![forbid(unsafe_code)]

use super::Split;
use super::columns::{Lanes64, Selection, Sums, columns};
use super::normalize_columns::{self, Given, NormalizeColumns, load_f64};
use super::row_statistics::{rstd, split_optional};
use crate::simd::{Double, Float, Kernel, LANES, Simd, Span};

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
    /// One a group, where they are asked for.
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
                normalize_columns::rstd(token, var, eps).store_f64(m2);
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

/// Normalises the groups of every sample by their own mean and variance. Rows of the work are slots: so many samples that
/// share scratch.
pub(crate) struct NormalizeSamples<'a> {
    pub(crate) io: Span<'a>,
    pub(crate) positions: usize,
    pub(crate) channels: usize,
    pub(crate) per_group: usize,
    pub(crate) eps: f64,
    pub(crate) gamma: Option<&'a [f32]>,
    pub(crate) beta: Option<&'a [f32]>,
    /// One a group of every sample, where they are asked for.
    pub(crate) mean: Option<&'a mut [f64]>,
    pub(crate) rstd: Option<&'a mut [f64]>,
    /// Samples of a slot.
    pub(crate) samples: usize,
    /// Vectors of f64 of a slot's scratch.
    pub(crate) each: usize,
    pub(crate) scratch: &'a mut [Lanes64],
}

impl<'a> NormalizeSamples<'a> {
    /// The first so many samples without scratch, and the rest.
    #[inline(always)]
    fn samples_before(self, samples: usize) -> (Self, Self) {
        let elements = samples.saturating_mul(self.positions * self.channels).min(self.io.len());
        let groups = elements / self.positions / self.per_group;
        let (io, high_io) = self.io.split_at(elements);
        let (mean, high_mean) = split_optional(self.mean, groups);
        let (rstd, high_rstd) = split_optional(self.rstd, groups);
        (
            Self { io, mean, rstd, scratch: &mut [], ..self },
            Self { io: high_io, mean: high_mean, rstd: high_rstd, ..self },
        )
    }
}

impl Split for NormalizeSamples<'_> {
    fn rows(&self) -> usize {
        self.scratch.len() / self.each
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (samples, each) = (self.samples, self.each);
        let (mut low, mut high) = self.samples_before(at.saturating_mul(samples));
        let (scratch, high_scratch) = high.scratch.split_at_mut(at * each);
        (low.scratch, high.scratch) = (scratch, high_scratch);
        (low, high)
    }
}

impl Kernel for NormalizeSamples<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, token: S) {
        let mut sums = Sums::new();
        let scratch = core::mem::take(&mut self.scratch);
        let vectors = self.channels.div_ceil(LANES);
        // One slot's scratch is enough for a task, whose slots come one after the other.
        let scratch = &mut scratch[..self.each];
        while self.io.len() > 0 {
            let sample;
            (sample, self) = self.samples_before(1);
            let Self { io, positions, channels, per_group, eps, gamma, beta, mean, rstd, .. } =
                sample;
            columns(token, Selection::all(io.src(), channels), scratch, &mut sums);
            let (means, m2s) = scratch[..2 * vectors].split_at_mut(vectors);
            let rows = positions;
            let statistics = GroupStatistics {
                rows,
                channels,
                per_group,
                eps,
                means: &mut *means,
                m2s: &mut *m2s,
                mean,
                rstd,
            };
            token.outline(statistics);
            let source = Given {
                mean: &means.as_flattened()[..channels],
                rstd: &m2s.as_flattened()[..channels],
            };
            token.outline(NormalizeColumns { io, cols: channels, source, gamma, beta, rows: () });
        }
    }
}
