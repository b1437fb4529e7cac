//! Minima and maxima of columns, and what maps them to a range: what a `MinMaxScaler` is fitted with.
//!
//! The plain algorithm:
//!
//! ```text
//! for row in x: for each column c, unless row[c] is NaN:
//!     least[c] = min(least[c], row[c]);  greatest[c] = max(greatest[c], row[c])
//! ```
//!
//! What makes it fast:
//!
//! * **NaN needs no test.** The minimum of a value and of what there is so far gives the latter where the value is NaN,
//!   by the definition of the instruction.
//! * **Eight rows at a time, panels, narrow matrices as wide ones**: as in `kernels/columns/moments.rs`, from which this
//!   takes its loops. Minima and maxima of eight rows are loaded and stored once.
//!
//! Minima are exact, and the least of the two zeros is always written as `+0.0`: any order, any number of threads and
//! any batches give the same bits.
#![forbid(unsafe_code)]

use super::block_rows::{Panel, STEP, for_each_vector_together};
use super::coefficients::ColumnSource;
use super::narrow;
use crate::kernels::lanes::{load_columns, replace};
use crate::kernels::split::Split;
use crate::kernels::tuning::FIT_VECTORS;
use crate::simd::{Double, Float, Kernel, LANES, Simd};

/// At most this many chunks of rows for threads to share: each has minima and maxima of its own.
const MOST_RANGE_CHUNKS: usize = 16;

/// The ranges of the columns of some chunks. Rows of the work are chunks, columns are at least one.
pub(crate) struct FitRanges<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) cols: usize,
    /// Rows of a chunk.
    pub(crate) rows: usize,
    /// `cols / 16`, rounded up, for every chunk.
    pub(crate) ranges: &'a mut [MinMax],
}

impl Split for FitRanges<'_> {
    fn rows(&self) -> usize {
        self.ranges.len() / self.cols.div_ceil(LANES)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { x, cols, rows, ranges } = self;
        let (low_x, high_x) = x.split_at(at * rows * cols);
        let (low, high) = ranges.split_at_mut(at * cols.div_ceil(LANES));
        (Self { x: low_x, cols, rows, ranges: low }, Self { x: high_x, cols, rows, ranges: high })
    }
}

impl Kernel for FitRanges<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { x, cols, rows, ranges } = self;
        let chunks = x.chunks(rows.saturating_mul(cols));
        for (x, ranges) in chunks.zip(ranges.chunks_exact_mut(cols.div_ceil(LANES))) {
            range_of_chunk(token, x, cols, ranges);
        }
    }
}

/// The ranges of the columns of one chunk.
#[inline(always)]
fn range_of_chunk<S: Simd>(token: S, x: &[f32], cols: usize, ranges: &mut [MinMax]) {
    let (vectors, factor) = (ranges.len(), narrow::factor(cols));
    let (wide, rest) = x.split_at(x.len() - x.len() % (factor * cols));
    let mut first = 0;
    while first < vectors {
        let end = vectors.min(first + FIT_VECTORS);
        let mut panel = [MinMax::EMPTY; FIT_VECTORS];
        if factor > 1 {
            let (cols, end) = (cols * factor, (cols * factor).div_ceil(LANES));
            add_to_ranges(token, wide, Panel { cols, first, end, factor }, &mut panel);
            let (mut min, mut max) = ([0.0; narrow::WIDEST], [0.0; narrow::WIDEST]);
            for (i, range) in panel[..end].iter().enumerate() {
                min.as_chunks_mut().0[i] = range.min;
                max.as_chunks_mut().0[i] = range.max;
            }
            narrow::combine_parts(&mut min[..cols], factor, least);
            narrow::combine_parts(&mut max[..cols], factor, greatest);
            for (i, range) in panel[..vectors].iter_mut().enumerate() {
                range.min = min.as_chunks().0[i];
                range.max = max.as_chunks().0[i];
            }
            add_to_ranges(
                token,
                rest,
                Panel { cols: cols / factor, first, end: vectors, factor: 1 },
                &mut panel,
            );
        } else {
            add_to_ranges(token, wide, Panel { cols, first, end, factor }, &mut panel);
        }
        let zero = S::F32::splat(token, 0.0);
        for (range, of_panel) in ranges[first..end].iter_mut().zip(&panel) {
            // Of -0.0, +0.0.
            (S::F32::load(token, &of_panel.min) + zero).store_init(&mut range.min);
            (S::F32::load(token, &of_panel.max) + zero).store_init(&mut range.max);
        }
        first = end;
    }
}

/// Adds the values of every column of a panel.
#[inline(always)]
fn add_to_ranges<S: Simd>(token: S, x: &[f32], panel: Panel, ranges: &mut [MinMax; FIT_VECTORS]) {
    let ranges = &mut ranges[..panel.end - panel.first];
    let rows = x.len() / panel.cols;
    let mut row = 0;
    while row < rows {
        for_each_vector_together(
            token,
            x,
            panel,
            (row, 1),
            #[inline(always)]
            |i, x, count| {
                let mut min = S::F32::load(token, &ranges[i].min);
                let mut max = S::F32::load(token, &ranges[i].max);
                for &x in &x[..count] {
                    (min, max) = (x.min(min), x.max(max));
                }
                min.store_init(&mut ranges[i].min);
                max.store_init(&mut ranges[i].max);
            },
        );
        row += STEP;
    }
}

/// Minima and maxima of sixteen columns.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct MinMax {
    pub(crate) min: [f32; LANES],
    pub(crate) max: [f32; LANES],
}

impl MinMax {
    /// That of no values.
    pub(crate) const EMPTY: Self =
        Self { min: [f32::INFINITY; LANES], max: [f32::NEG_INFINITY; LANES] };
}

/// Rows of a chunk, if threads may share the work or not.
pub(crate) fn chunk_rows(rows: usize, shared: bool) -> usize {
    if shared { rows.div_ceil(MOST_RANGE_CHUNKS).max(1) } else { rows.max(1) }
}

/// The same of chunks.
pub(crate) fn merge_chunk_ranges(min: &mut [f32], max: &mut [f32], ranges: &[MinMax]) {
    let columns = min.chunks_mut(LANES).zip(max.chunks_mut(LANES));
    for ((min, max), range) in columns.zip(ranges) {
        merge_ranges(min, max, &range.min, &range.max);
    }
}

/// Adds ranges to those of every column.
pub(crate) fn merge_ranges(min: &mut [f32], max: &mut [f32], of_min: &[f32], of_max: &[f32]) {
    for ((min, max), (&of_min, &of_max)) in min.iter_mut().zip(max).zip(of_min.iter().zip(of_max)) {
        (*min, *max) = (least(*min, of_min), greatest(*max, of_max));
    }
}

/// The lesser of two numbers.
#[inline(always)]
fn least(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}

/// The greater of two numbers.
#[inline(always)]
fn greatest(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// `y = (x - min) * (to[1] - to[0]) / (max - min) + to[0]`, with `CLIP` clamped to the range; or with `INVERSE` its
/// inverse. A constant column has 1 for max - min. One without values, or with an infinity, is NaN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToRange<'a, const INVERSE: bool, const CLIP: bool> {
    pub(crate) min: &'a [f32],
    pub(crate) max: &'a [f32],
    pub(crate) to: [f64; 2],
}

impl<const INVERSE: bool, const CLIP: bool> ToRange<'_, INVERSE, CLIP> {
    #[inline(always)]
    fn min<S: Simd>(self, token: S, vector: usize) -> S::F64 {
        S::F64::widen(load_columns(token, self.min, vector, 0.0))
    }
}

impl<const INVERSE: bool, const CLIP: bool> ColumnSource for ToRange<'_, INVERSE, CLIP> {
    const CLIPS: bool = CLIP;

    #[inline(always)]
    fn load<S: Simd>(self, token: S, vector: usize) -> (S::F64, S::F64) {
        let min = self.min(token, vector);
        let range = S::F64::widen(load_columns(token, self.max, vector, 0.0)) - min;
        let constant = range.equal(S::F64::splat(token, 0.0));
        let divisor = if constant == 0 { range } else { replace(token, range, constant, 1.0) };
        // 0, or NaN where the range is not finite.
        let poison = range * S::F64::splat(token, 0.0);
        let width = S::F64::splat(token, self.to[1] - self.to[0]);
        if INVERSE {
            return (S::F64::splat(token, self.to[0]), divisor / width + poison);
        }
        (min, width / divisor + poison)
    }

    #[inline(always)]
    fn shift<S: Simd>(self, token: S, vector: usize) -> S::F64 {
        if INVERSE { self.min(token, vector) } else { S::F64::splat(token, self.to[0]) }
    }

    #[inline(always)]
    fn limits(self) -> [f32; 2] {
        self.to.map(|bound| bound as f32)
    }
}
