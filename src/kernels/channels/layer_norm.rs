//! LayerNorm over channels that come first: every position of `[batch, channels, positions]` by its own mean and variance.
//!
//! The plain algorithm, for every sample, a matrix of a row a channel and a column a position:
//!
//! ```text
//! for each position p: (mean[p], rstd[p]) = statistics of the column
//! for each channel c, each position p: y = (x - mean[p]) * rstd[p] * gamma[c] + beta[c]
//! ```
//!
//! No element is moved: both sweeps are those of columns (`kernels/columns/moments.rs`, `kernels/columns/normalize.rs`), the second
//! with gamma and beta of rows. What makes it fast:
//!
//! * **Panels of positions** so narrow that all channels of one stay in L2 between the sweeps: x is read from memory once
//!   (but see [`PAGE`]). The statistics of a panel, while they are merged, are on the stack, so that no call needs scratch.
#![forbid(unsafe_code)]

use super::statistics::GroupStatistics;
use crate::kernels::columns::block::PanelSums;
use crate::kernels::columns::block_rows::Selection;
use crate::kernels::columns::coefficients::ColumnSource;
use crate::kernels::columns::moments::{MergeTree, RowChunks};
use crate::kernels::columns::narrow::WIDE;
use crate::kernels::columns::normalize::{COEFFICIENT_VECTORS, NormalizeColumns};
use crate::kernels::columns::row_affine::PerRow;
use crate::kernels::lanes::Lanes64;
use crate::kernels::split::{Split, split_optional};
use crate::kernels::tuning::{PAGE, PANEL_ELEMENTS};
use crate::simd::{Double, Kernel, LANES, RowSpan, Simd, Span};

/// Vectors of f64 in which the moments of a panel are merged: 32 KB, which are cleared once a task.
const SCRATCH: usize = 256;

/// Vectors of the widest rows that are narrow.
const NARROW_VECTORS: usize = WIDE / LANES;

/// Normalises every position by its own mean and variance over the channels.
pub(crate) struct NormalizePositions<'a> {
    pub(crate) io: Span<'a>,
    /// Neither is 0.
    pub(crate) channels: usize,
    pub(crate) positions: usize,
    pub(crate) eps: f64,
    pub(crate) rows: PerRow<'a>,
    /// One a position of every sample, where they are wanted.
    pub(crate) mean: Option<&'a mut [f64]>,
    pub(crate) rstd: Option<&'a mut [f64]>,
}

impl Split for NormalizePositions<'_> {
    fn rows(&self) -> usize {
        self.io.len() / (self.channels * self.positions)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (io, high_io) = self.io.split_at(at * self.channels * self.positions);
        let (mean, high_mean) = split_optional(self.mean, at * self.positions);
        let (rstd, high_rstd) = split_optional(self.rstd, at * self.positions);
        (
            Self { io, mean, rstd, ..self },
            Self { io: high_io, mean: high_mean, rstd: high_rstd, ..self },
        )
    }
}

impl Kernel for NormalizePositions<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { mut io, channels, positions, eps, rows, mut mean, mut rstd } = self;
        let (vectors, width) = (positions.div_ceil(LANES), panel_vectors(channels, positions));
        let mut scratch = [[0.0; LANES]; SCRATCH];
        let mut sums = PanelSums::new();
        while io.len() > 0 {
            let mut sample;
            (sample, io) = io.split_at(channels * positions);
            let mut first = 0;
            while first < vectors {
                let end = vectors.min(first + width);
                let columns = positions.min(end * LANES) - first * LANES;
                let mut tree = MergeTree { scratch: &mut scratch, stride: end - first, at: 0 };
                tree.panel(token, Selection::all(sample.src(), positions), (first, end), &mut sums);
                let (means, m2s) = scratch[..2 * (end - first)].split_at_mut(end - first);
                let (of_mean, of_rstd);
                (of_mean, mean) = split_optional(mean, columns);
                (of_rstd, rstd) = split_optional(rstd, columns);
                token.outline(GroupStatistics {
                    rows: channels,
                    channels: columns,
                    per_group: 1,
                    eps,
                    means: &mut *means,
                    m2s: &mut *m2s,
                    mean: of_mean,
                    rstd: of_rstd,
                });
                let source = Local { first, mean: means, rstd: m2s };
                let io = RowSpan::new(sample.reborrow(), channels, positions);
                let (gamma, beta) = (None, None);
                NormalizeColumns { io, source, gamma, beta, rows }.panel(token, first, end);
                first = end;
            }
        }
    }
}

/// Whether the moments of a panel have room on the stack: always for up to 16 thousand channels, and where there are 256
/// positions or more.
#[inline(always)]
pub(crate) fn panel_fits(channels: usize, positions: usize) -> bool {
    2 * merge_levels(channels, positions) * panel_vectors(channels, positions) <= SCRATCH
}

/// Vectors of positions of a panel.
#[inline(always)]
fn panel_vectors(channels: usize, positions: usize) -> usize {
    let vectors = positions.div_ceil(LANES);
    if vectors <= NARROW_VECTORS {
        // Several narrow rows are worked on as one (`kernels/columns/narrow.rs`), which takes all columns.
        return vectors;
    }
    let widest = if positions.is_multiple_of(PAGE) {
        COEFFICIENT_VECTORS
    } else {
        // Runs of fewer than 64 elements are not worth a cache.
        (PANEL_ELEMENTS / channels / LANES).clamp(4, COEFFICIENT_VECTORS)
    };
    widest.min(SCRATCH / 2 / merge_levels(channels, positions)).min(vectors)
}

/// Sets of moments that are merged at a time.
#[inline(always)]
fn merge_levels(channels: usize, positions: usize) -> usize {
    RowChunks::new(channels, positions, false).scratch / positions.div_ceil(LANES) / 2
}

/// Statistics of the vectors from `first` on.
#[derive(Clone, Copy)]
struct Local<'a> {
    first: usize,
    mean: &'a [Lanes64],
    rstd: &'a [Lanes64],
}

impl ColumnSource for Local<'_> {
    #[inline(always)]
    fn load<S: Simd>(self, token: S, vector: usize) -> (S::F64, S::F64) {
        let i = vector - self.first;
        (S::F64::load_f64(token, &self.mean[i]), S::F64::load_f64(token, &self.rstd[i]))
    }
}
