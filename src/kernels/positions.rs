//! LayerNorm over channels that come first: every position of `[batch, channels, positions]` by its own mean and variance.
//!
//! The plain algorithm, for every sample, a matrix of a row a channel and a column a position:
//!
//! ```text
//! for each position p: (mean[p], rstd[p]) = statistics of the column
//! for each channel c, each position p: y = (x - mean[p]) * rstd[p] * gamma[c] + beta[c]
//! ```
//!
//! No element is moved: both sweeps are those of columns (`kernels/columns.rs`, `kernels/normalize_columns.rs`), the second
//! with gamma and beta of rows. What makes it fast:
//!
//! * **Panels of positions** so narrow that all channels of one stay in L2 between the sweeps: x is read from memory once
//!   (but see [`PAGE`]). The statistics of a panel, while they are merged, are on the stack, so that no call needs scratch.
#![forbid(unsafe_code)]

use super::Split;
use super::columns::{Chunks, Lanes64, Selection, Sums, Tree};
use super::fold::WIDE;
use super::normalize_columns::{ByRow, ColumnSource, NormalizeColumns, PANEL_VECTORS};
use super::row_statistics::split_optional;
use super::samples::GroupStatistics;
use crate::simd::{Double, Kernel, LANES, Simd, Span};

/// Vectors of f64 in which the moments of a panel are merged: 32 KB, which are cleared once a task.
const SCRATCH: usize = 256;

/// Vectors of the widest rows that are narrow.
const NARROW_VECTORS: usize = WIDE / LANES;

/// Elements of a panel that stay in a cache: 512 KB of a L2 of 1 or 2 MB, or of a share of L3.
const PANEL_ELEMENTS: usize = 1 << 17;

/// Where rows are a multiple of so many elements, 4096 bytes, apart, a column of them falls into a few sets of a cache, and no
/// panel of many channels stays there, however narrow. Wide ones are swept over faster then: 512x4096 went from 1349 to 1130 us,
/// 1024x4096 from 3670 to 2780, 1280x1024 from 1014 to 816, while 768x3136 would go from 1242 to 1390 (AVX-512).
const PAGE: usize = 1024;

/// Normalises every position by its own mean and variance over the channels.
pub(crate) struct NormalizePositions<'a> {
    pub(crate) io: Span<'a>,
    /// Neither is 0.
    pub(crate) channels: usize,
    pub(crate) positions: usize,
    pub(crate) eps: f64,
    pub(crate) rows: ByRow<'a>,
    /// One a position of every sample, where they are asked for.
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

/// Sets of moments that are merged at a time.
#[inline(always)]
fn levels(channels: usize, positions: usize) -> usize {
    Chunks::new(channels, positions, false).scratch / positions.div_ceil(LANES) / 2
}

/// Whether the moments of a panel have room on the stack: always for up to 16 thousand channels, and where there are 256
/// positions or more.
#[inline(always)]
pub(crate) fn fits(channels: usize, positions: usize) -> bool {
    2 * levels(channels, positions) * panel_vectors(channels, positions) <= SCRATCH
}

/// Vectors of positions of a panel.
#[inline(always)]
fn panel_vectors(channels: usize, positions: usize) -> usize {
    let vectors = positions.div_ceil(LANES);
    if vectors <= NARROW_VECTORS {
        // Several narrow rows are worked on as one (`kernels/fold.rs`), which takes all columns.
        return vectors;
    }
    let widest = if positions.is_multiple_of(PAGE) {
        PANEL_VECTORS
    } else {
        // Runs of fewer than 64 elements are not worth a cache.
        (PANEL_ELEMENTS / channels / LANES).clamp(4, PANEL_VECTORS)
    };
    widest.min(SCRATCH / 2 / levels(channels, positions)).min(vectors)
}

impl Kernel for NormalizePositions<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { mut io, channels, positions, eps, rows, mut mean, mut rstd } = self;
        let (vectors, width) = (positions.div_ceil(LANES), panel_vectors(channels, positions));
        let mut scratch = [[0.0; LANES]; SCRATCH];
        let mut sums = Sums::new();
        while io.len() > 0 {
            let mut sample;
            (sample, io) = io.split_at(channels * positions);
            let mut first = 0;
            while first < vectors {
                let end = vectors.min(first + width);
                let columns = positions.min(end * LANES) - first * LANES;
                let mut tree = Tree { scratch: &mut scratch, stride: end - first, at: 0 };
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
                let io = sample.reborrow();
                let (gamma, beta) = (None, None);
                NormalizeColumns { io, cols: positions, source, gamma, beta, rows }
                    .panel(token, first, end);
                first = end;
            }
        }
    }
}
