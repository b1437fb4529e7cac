//! Mean and variance of columns: one pass over memory.
//!
//! The plain algorithm, for a block of n rows and a shift K for each column:
//!
//! ```text
//! for row in block: for each column c: d = row[c] - K[c];  S[c] += d;  Q[c] += d * d
//! for each column c: mean[c] = K[c] + S[c] / n;  M2[c] = Q[c] - S[c]^2 / n
//! ```
//!
//! What makes it exact and fast is what does it for rows (`kernels/rows/block.rs`), turned by a quarter:
//!
//! * **Blocks** of [`BLOCK_ROWS`] rows that know nothing of each other, merged in f64 in the tree that splits at the
//!   largest power of two below the number of blocks. A power of two of blocks, aligned, is a subtree,
//!   so chunks of rows can be done by different threads.
//! * **The pilot** K is the mean of half of the block's rows, which are in L2 when they are read again.
//! * **Two levels of sums**: [`STEP`] rows at a time are summed in registers, then added to S and Q in L1. Eight rows
//!   are eight streams that the prefetchers can follow, and S and Q are loaded and stored once for
//!   eight vectors of x.
//! * **Panels** of [`PANEL`] columns keep K, S and Q (24 KB) in L1.
//! * **Narrow matrices** are worked on as wide ones (`kernels/columns/narrow.rs`): a block is 64 wide rows.
//! * **Padding** is left out by the choice of rows: a block is of the next 64 rows that are kept. Where these are together in
//!   memory, and mostly they are, it is read as any other; else its rows are found in the mask, and nothing is moved but
//!   narrow rows that are to lie side by side, eight wide ones (16 KB) at a time.
//! * **One test a block and 16 columns.** Columns that f32 cannot do (`kernels/rows/block.rs` has the test) are done again:
//!   constant ones are recognised, the others gathered and done as rows are.
//!
//! No division is spent on merging: the row counts of both sides are the same for all columns, so the
//! weights are two scalars.
#![forbid(unsafe_code)]

use core::ops::Range;

use super::block::{PANEL_VECTORS, PanelSums, block_moments};
use super::block_rows::{BLOCK_ROWS, BlockRows, Panel, Selection};
use super::narrow;
use crate::kernels::lanes::Lanes64;
use crate::kernels::merge::columns::merge_columns;
use crate::kernels::row_filter::RowFilter;
use crate::kernels::split::Split;
use crate::simd::{Kernel, LANES, Simd};
use crate::welford::Moments;

/// The moments of the columns of every chunk. Rows of the work are chunks, columns are at least one.
pub(crate) struct ColumnChunks<'a> {
    /// The matrix.
    pub(crate) x: &'a [f32],
    pub(crate) cols: usize,
    /// Elements from the start of a row to the start of the next.
    pub(crate) pitch: usize,
    pub(crate) kept: RowFilter<'a>,
    /// The row from which on the rows of these chunks are, and their number.
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) chunks: RowChunks,
    pub(crate) scratch: &'a mut [Lanes64],
}

impl Split for ColumnChunks<'_> {
    fn rows(&self) -> usize {
        self.scratch.len() / self.chunks.scratch
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { x, cols, pitch, kept, first, count, chunks, scratch } = self;
        let (low, high) = scratch.split_at_mut(at * chunks.scratch);
        let cut = at * chunks.rows;
        let second = kept.skip(first, cut);
        (
            Self { x, cols, pitch, kept, first, count: cut, chunks, scratch: low },
            Self { x, cols, pitch, kept, first: second, count: count - cut, chunks, scratch: high },
        )
    }
}

impl Kernel for ColumnChunks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { x, cols, pitch, kept, first, count, chunks, scratch } = self;
        let (mut first, mut left) = (first, count);
        let mut sums = PanelSums::new();
        for scratch in scratch.chunks_exact_mut(chunks.scratch) {
            let count = left.min(chunks.rows);
            let rows = Selection { x, cols, pitch, kept, first, count };
            first = column_moments(token, rows, scratch, &mut sums);
            left -= count;
        }
    }
}

/// The moments of the columns of some rows, which are left at the beginning of the scratch:
/// `cols / 16`, rounded up, vectors of means, then as many of M2. Gives the row after them.
#[inline(always)]
pub(crate) fn column_moments<S: Simd>(
    token: S,
    rows: Selection<'_>,
    scratch: &mut [Lanes64],
    sums: &mut PanelSums,
) -> usize {
    let vectors = rows.cols.div_ceil(LANES);
    let (mut first, mut row) = (0, rows.first);
    while first < vectors {
        let end = vectors.min(first + PANEL_VECTORS);
        let mut tree = MergeTree { scratch: &mut *scratch, stride: vectors, at: first };
        row = tree.panel(token, rows, (first, end), sums);
        first = end;
    }
    row
}

/// Merges the moments of all chunks into those of the first, in the tree of the blocks.
pub(crate) struct MergeChunks<'a> {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) chunks: RowChunks,
    pub(crate) scratch: &'a mut [Lanes64],
}

impl Kernel for MergeChunks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { rows, cols, chunks, scratch } = self;
        let vectors = cols.div_ceil(LANES);
        // Chunk i holds the moments of i's subtree: all chunks from i on, up to the next that has
        // more trailing zeros. Merging pairs at distance 1, 2, 4 ... is the tree of the blocks.
        let mut distance = 1;
        while distance < chunks.count {
            let mut left = 0;
            while left + distance < chunks.count {
                let right = left + distance;
                let (low, high) = scratch.split_at_mut(right * chunks.scratch);
                let (mean, m2) = low[left * chunks.scratch..].split_at_mut(vectors);
                let (other_mean, other_m2) = high[..2 * vectors].split_at(vectors);
                let end = rows.min((right + distance).saturating_mul(chunks.rows));
                let count = (distance * chunks.rows, end - right * chunks.rows);
                merge_columns(token, count, (mean, &mut m2[..vectors]), (other_mean, other_m2));
                left += 2 * distance;
            }
            distance *= 2;
        }
    }
}

/// Writes the moments of every column, from the means and M2 of `rows` rows.
pub(crate) fn write_moments(rows: usize, means: &[Lanes64], m2s: &[Lanes64], out: &mut [Moments]) {
    let columns = means.as_flattened().iter().zip(m2s.as_flattened());
    for (moments, (&mean, &m2)) in out.iter_mut().zip(columns) {
        *moments = Moments { count: rows as u64, mean, mean_low: 0.0, m2 };
    }
}

/// Rows of a block of so many columns.
#[inline(always)]
pub(crate) const fn block_rows(cols: usize) -> usize {
    BLOCK_ROWS * narrow::factor(cols)
}

/// How the rows of a matrix are cut into chunks, and what scratch that takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowChunks {
    /// Rows of every chunk but the last.
    pub(crate) rows: usize,
    /// Vectors of f64 of a chunk's scratch.
    pub(crate) scratch: usize,
    /// The number of chunks.
    pub(crate) count: usize,
}

/// At most this many chunks of rows for threads to share: each has scratch of its own.
const MOST_CHUNKS: usize = 16;

impl RowChunks {
    /// One chunk, or, to be shared, as many as there may be. Depends on the shape alone.
    pub(crate) fn new(rows: usize, cols: usize, shared: bool) -> Self {
        let factor = narrow::factor(cols);
        let block_rows = block_rows(cols);
        let blocks = rows.div_ceil(block_rows).max(1);
        let most = if shared { MOST_CHUNKS } else { 1 };
        let blocks_each = blocks.div_ceil(most).next_power_of_two();
        let levels = levels(blocks_each.min(blocks), factor);
        let rows = blocks_each.saturating_mul(block_rows);
        let scratch = levels.saturating_mul(2).saturating_mul(cols.div_ceil(LANES));
        Self { rows, scratch, count: blocks.div_ceil(blocks_each) }
    }

    /// The same cut of fewer rows, some of the matrix's: it needs no more scratch, and the bits do not depend on the cut.
    pub(crate) fn of_rows(self, rows: usize) -> Self {
        Self { count: rows.div_ceil(self.rows).max(1), ..self }
    }

    /// Vectors of f64 of all chunks.
    pub(crate) fn total_scratch(self) -> usize {
        self.scratch.saturating_mul(self.count)
    }
}

/// How many sets of moments the tree over so many blocks, at least one, has at a time.
fn levels(blocks: usize, factor: usize) -> usize {
    // A block with rows that do not fill a wide one has parts to merge.
    blocks.ilog2() as usize + 1 + usize::from(factor > 1)
}

/// Where the moments of columns are while the blocks of their rows are merged: for every level of the tree as many
/// vectors of means as `stride`, then as many of M2, of which those from `at` on are worked on.
pub(crate) struct MergeTree<'a> {
    pub(crate) scratch: &'a mut [Lanes64],
    pub(crate) stride: usize,
    pub(crate) at: usize,
}

impl MergeTree<'_> {
    /// The moments of the columns in the vectors `first` up to `end`, at most a panel, of some rows: left in the first
    /// level. Of fewer than 256 columns, all must be in it. Gives the row after those.
    #[inline(always)]
    pub(crate) fn panel<S: Simd>(
        &mut self,
        token: S,
        rows: Selection<'_>,
        (first, end): (usize, usize),
        sums: &mut PanelSums,
    ) -> usize {
        let Selection { x, cols, pitch, kept, first: mut row, count: mut left } = rows;
        let factor = narrow::factor(cols);
        let range = self.at..self.at + (end - first);
        let mut counts = [0; usize::BITS as usize];
        let mut gathered = None;
        let mut blocks = 0_usize;
        while left > 0 {
            let mut depth = blocks.count_ones() as usize;
            let mut of_block = left.min(BLOCK_ROWS * factor);
            left -= of_block;
            let mut part = 0;
            while of_block > 0 {
                // What does not fill a wide row is done by itself.
                let factor = if of_block >= factor { factor } else { 1 };
                let count = (of_block - of_block % factor).min(BLOCK_ROWS * factor);
                of_block -= count;
                let mut scattered = None;
                let rows;
                (rows, row) =
                    BlockRows::next(x, (cols, pitch), (count, factor), kept, row, &mut scattered);
                let level = depth + usize::from(part > 0);
                counts[level] = count;
                let (mean, m2) = self.scratch[2 * self.stride * level..].split_at_mut(self.stride);
                let mut panel = Panel { cols, first, end, factor };
                if factor > 1 {
                    panel.cols *= factor;
                    panel.end = panel.cols.div_ceil(LANES);
                }
                let (mean, m2) = (&mut mean[range.clone()], &mut m2[range.clone()]);
                block_moments(token, &rows, &mut gathered, panel, sums, mean, m2);
                if part > 0 {
                    self.merge_level(token, range.clone(), &mut counts, depth);
                }
                part += 1;
            }
            for _ in 0..blocks.trailing_ones() {
                depth -= 1;
                self.merge_level(token, range.clone(), &mut counts, depth);
            }
            blocks += 1;
        }
        for depth in (0..blocks.count_ones() as usize - 1).rev() {
            self.merge_level(token, range.clone(), &mut counts, depth);
        }
        row
    }

    /// Merges level `depth + 1` into level `depth`.
    #[inline(always)]
    fn merge_level<S: Simd>(
        &mut self,
        token: S,
        range: Range<usize>,
        counts: &mut [usize],
        depth: usize,
    ) {
        let stride = self.stride;
        let level = &mut self.scratch[2 * stride * depth..][..4 * stride];
        let (left, right) = level.split_at_mut(2 * stride);
        let (mean, m2) = left.split_at_mut(stride);
        let (other_mean, other_m2) = right.split_at(stride);
        let left = (&mut mean[range.clone()], &mut m2[range.clone()]);
        let right = (&other_mean[range.clone()], &other_m2[range]);
        merge_columns(token, (counts[depth], counts[depth + 1]), left, right);
        counts[depth] += counts[depth + 1];
    }
}
