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
//! Both sweeps are those of columns (`kernels/columns/moments.rs`, `kernels/columns/normalize.rs`), with the same coefficients for the
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

use super::statistics::GroupStatistics;
use crate::kernels::columns::block::PanelSums;
use crate::kernels::columns::block_rows::Selection;
use crate::kernels::columns::coefficients::GivenColumns;
use crate::kernels::columns::moments::column_moments;
use crate::kernels::columns::normalize::NormalizeColumns;
use crate::kernels::lanes::Lanes64;
use crate::kernels::split::{Split, split_optional};
use crate::simd::{Kernel, LANES, RowSpan, Simd, Span};

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
    /// One a group of every sample, where they are wanted.
    pub(crate) mean: Option<&'a mut [f64]>,
    pub(crate) rstd: Option<&'a mut [f64]>,
    /// Samples of a slot.
    pub(crate) samples: usize,
    /// Vectors of f64 of a slot's scratch.
    pub(crate) each: usize,
    pub(crate) scratch: &'a mut [Lanes64],
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
        let mut sums = PanelSums::new();
        let scratch = core::mem::take(&mut self.scratch);
        let vectors = self.channels.div_ceil(LANES);
        // One slot's scratch is enough for a task, whose slots come one after the other.
        let scratch = &mut scratch[..self.each];
        while self.io.len() > 0 {
            let sample;
            (sample, self) = self.samples_before(1);
            let Self { io, positions, channels, per_group, eps, gamma, beta, mean, rstd, .. } =
                sample;
            column_moments(token, Selection::all(io.src(), channels), scratch, &mut sums);
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
            let source = GivenColumns {
                mean: &means.as_flattened()[..channels],
                rstd: &m2s.as_flattened()[..channels],
            };
            let io = RowSpan::new(io, positions, channels);
            token.outline(NormalizeColumns { io, source, gamma, beta, rows: () });
        }
    }
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
