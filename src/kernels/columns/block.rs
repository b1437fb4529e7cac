//! The moments of the columns of one block of rows.
//!
//! The plain algorithm, for a block of n rows and a shift K for each column:
//!
//! ```text
//! for row in block: for each column c: d = row[c] - K[c];  S[c] += d;  Q[c] += d * d
//! for each column c: mean[c] = K[c] + S[c] / n;  M2[c] = Q[c] - S[c]^2 / n
//! ```
//!
//! `kernels/columns/moments.rs` says what makes it exact and fast.
#![forbid(unsafe_code)]

use super::block_rows::{BLOCK_ROWS, BlockRows, Gathered, Panel, STEP, for_each_vector};
use super::narrow;
use crate::kernels::lanes::{Lanes64, lanes_below, load_columns};
use crate::kernels::merge::cascade::Merge;
use crate::kernels::range::{LARGEST_SHIFT, SMALLEST_MEAN_SQUARE};
use crate::kernels::rows::block::{BLOCK, MomentsInF64};
use crate::kernels::tuning::COLUMN_PANEL;
use crate::simd::{Double, Float, Kernel, LANES, Simd};
use crate::welford::Moments;

/// Of every eight rows, how many the shift is the mean of: 32 of a block. Of normal data, the mean of 32 is far
/// enough off to fail the test in one column of a block of 4 million, that of 16 rows in one of 140, of 8 in
/// one of 12. Rows from all over the block, since those of an image or a signal drift: the first 32 of a
/// ramp would fail. And the prefetchers follow them better (`docs/performance.md`, "What helped").
const PILOT_OF_STEP: usize = 4;

/// Vectors of a panel.
pub(super) const PANEL_VECTORS: usize = COLUMN_PANEL / LANES;

/// K, S and Q of a panel, aligned so that no vector of them lies in two cache lines.
#[repr(align(64))]
pub(crate) struct PanelSums {
    k: [[f32; LANES]; PANEL_VECTORS],
    s: [[f32; LANES]; PANEL_VECTORS],
    q: [[f32; LANES]; PANEL_VECTORS],
}

impl PanelSums {
    pub(crate) const fn new() -> Self {
        let zeros = [[0.0; LANES]; PANEL_VECTORS];
        Self { k: zeros, s: zeros, q: zeros }
    }
}

/// The moments of the columns of one block of at most [`BLOCK_ROWS`] wide rows.
#[inline(always)]
pub(super) fn block_moments<S: Simd>(
    token: S,
    block: &BlockRows<'_>,
    gathered: &mut Option<Gathered>,
    panel: Panel,
    sums: &mut PanelSums,
    mean: &mut [Lanes64],
    m2: &mut [Lanes64],
) {
    pilot(token, block, gathered, panel, sums);
    add_rows::<S, true>(token, block, gathered, panel, 0, sums);
    for first in (STEP..block.wide()).step_by(STEP) {
        add_rows::<S, false>(token, block, gathered, panel, first, sums);
    }

    let mut parts = None;
    if panel.factor > 1 {
        let [s, q] = parts.insert([[[0.0; LANES]; narrow::WIDEST / LANES]; 2]);
        for (parts, sums) in [(s, &sums.s), (q, &sums.q)] {
            for (part, sum) in parts.iter_mut().zip(sums) {
                S::F64::load(token, sum).store_f64(part);
            }
            narrow::add_parts(&mut parts.as_flattened_mut()[..panel.cols_here()], panel.factor);
        }
    }
    finish_block(
        token,
        block,
        panel,
        mean,
        m2,
        #[inline(always)]
        |i| {
            let k = S::F32::load(token, &sums.k[i]);
            match &parts {
                Some([s, q]) => (k, S::F64::load_f64(token, &s[i]), S::F64::load_f64(token, &q[i])),
                None => (k, S::F64::load(token, &sums.s[i]), S::F64::load(token, &sums.q[i])),
            }
        },
    );
}

/// Makes K of a block: the mean of those rows of every eight that are among the first [`PILOT_OF_STEP`], or of all
/// rows of a block that is not full: of 8 rows, the mean of 4 would fail the test in one column of ten.
#[inline(always)]
fn pilot<S: Simd>(
    token: S,
    block: &BlockRows<'_>,
    gathered: &mut Option<Gathered>,
    panel: Panel,
    sums: &mut PanelSums,
) {
    let rows = block.wide();
    let width = panel.end - panel.first;
    let (k, s) = (&mut sums.k[..width], &mut sums.s[..width]);
    // Pairs of trees of eight rows: a tree over all, so that the K of a constant column is the constant.
    let full = rows == BLOCK_ROWS;
    let trees = if full { PILOT_OF_STEP } else { rows.div_ceil(STEP) };
    for first in 0..trees {
        let of_tree = if full { (first, STEP) } else { (first * STEP, 1) };
        for_each_vector(
            token,
            block,
            gathered,
            panel,
            of_tree,
            #[inline(always)]
            |i, x, _| {
                let mut sum = tree_sum(x);
                if first > 1 && first % 2 == 0 {
                    return sum.store_init(&mut s[i]);
                }
                if first > 1 {
                    sum = S::F32::load(token, &s[i]) + sum;
                }
                if first > 0 {
                    sum = S::F32::load(token, &k[i]) + sum;
                }
                sum.store_init(&mut k[i]);
            },
        );
    }
    if trees > 1 && trees % 2 == 1 {
        for i in 0..width {
            (S::F32::load(token, &k[i]) + S::F32::load(token, &s[i])).store_init(&mut k[i]);
        }
    }
    narrow::add_parts(&mut sums.k.as_flattened_mut()[..panel.cols_here()], panel.factor);

    let (k, width) = (&mut sums.k, panel.merged());
    let count = (if full { trees * STEP } else { rows } * panel.factor) as f64;
    let (inverse, n) = (S::F32::splat(token, (1.0 / count) as f32), S::F64::splat(token, count));
    for i in 0..width {
        let sum = S::F32::load(token, &k[i]);
        // For a power of two of rows, as all blocks but the last have, the product is the quotient.
        let mean = if full { sum * inverse } else { (S::F64::widen(sum) / n).narrow() };
        mean.store_init(&mut k[i]);
    }
    narrow::repeat_part(&mut k.as_flattened_mut()[..panel.cols_here()], panel.factor);
}

/// The sum of eight vectors, as a tree.
#[inline(always)]
fn tree_sum<V: Float>(x: [V; STEP]) -> V {
    ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]))
}

/// Adds the eight rows from `first` on, or fewer at the end of the matrix, of every column of a panel. With
/// `FIRST`, S and Q begin.
#[inline(always)]
fn add_rows<S: Simd, const FIRST: bool>(
    token: S,
    block: &BlockRows<'_>,
    gathered: &mut Option<Gathered>,
    panel: Panel,
    first: usize,
    sums: &mut PanelSums,
) {
    let width = panel.end - panel.first;
    let (k, s, q) = (&sums.k[..width], &mut sums.s[..width], &mut sums.q[..width]);
    for_each_vector(
        token,
        block,
        gathered,
        panel,
        (first, 1),
        #[inline(always)]
        |i, x, count| {
            let k = S::F32::load(token, &k[i]);
            let d = x[0] - k;
            let (mut sum, mut squares) = (d, d * d);
            for &x in &x[1..count] {
                let d = x - k;
                (sum, squares) = (sum + d, d.mul_add(d, squares));
            }
            if !FIRST {
                sum = S::F32::load(token, &s[i]) + sum;
                squares = S::F32::load(token, &q[i]) + squares;
            }
            sum.store_init(&mut s[i]);
            squares.store_init(&mut q[i]);
        },
    );
}

/// Makes the moments of K, S and Q, which `sums` has of every vector of columns.
#[inline(always)]
fn finish_block<S: Simd>(
    token: S,
    block: &BlockRows<'_>,
    panel: Panel,
    mean: &mut [Lanes64],
    m2: &mut [Lanes64],
    sums: impl Fn(usize) -> (S::F32, S::F64, S::F64),
) {
    let (cols, rows) = (block.cols, block.count);
    let n = S::F64::splat(token, rows as f64);
    let inverse = S::F64::splat(token, 1.0 / rows as f64);
    let least = S::F64::splat(token, SMALLEST_MEAN_SQUARE * rows as f64);
    let most = S::F64::splat(token, f64::MAX);
    let share = S::F64::splat(token, LARGEST_SHIFT);
    for i in 0..panel.merged() {
        let (k, s, q) = sums(i);
        // For a power of two of rows, as all blocks but the last have, the product is the quotient.
        let offset = if rows.is_power_of_two() { s * inverse } else { s / n };
        let square = s * offset;
        (S::F64::widen(k) + offset).store_f64(&mut mean[i]);
        (q - square).store_f64(&mut m2[i]);
        let good = square.less_or_equal(q * share) & least.less_or_equal(q) & q.less_or_equal(most);
        let first = (panel.first + i) * LANES;
        let bad = !good & lanes_below(cols - first);
        if bad != 0 {
            let (mean, m2) = (&mut mean[i], &mut m2[i]);
            token.outline(ColumnsInF64 { block, first, bad, mean, m2 });
        }
    }
}

/// The moments of columns of a block that f32 cannot do.
struct ColumnsInF64<'a> {
    block: &'a BlockRows<'a>,
    /// The column of lane 0.
    first: usize,
    /// A bit for each lane whose column it is.
    bad: u16,
    mean: &'a mut Lanes64,
    m2: &'a mut Lanes64,
}

impl Kernel for ColumnsInF64<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { block, first, bad, mean, m2 } = self;
        // Columns of zeros are common, and should not cost a pass in f64.
        let vector = first / LANES;
        let first_row = block.next_row(&mut block.first_run());
        let top: S::F32 = load_columns(token, first_row, vector, 0.0);
        let (mut constant, mut run) = (bad, block.first_run());
        for _ in 0..block.count {
            let row = block.next_row(&mut run);
            constant &= load_columns::<S::F32>(token, row, vector, 0.0).equal(top);
        }
        let mut column = [0.0; BLOCK];
        for lane in (0..LANES).filter(|lane| bad >> lane & 1 == 1) {
            let head = first_row[first + lane];
            if constant >> lane & 1 == 1 && head.is_finite() {
                (mean[lane], m2[lane]) = (f64::from(head), 0.0);
                continue;
            }
            let mut moments = Moments::new();
            let (mut run, mut left) = (block.first_run(), block.count);
            while left > 0 {
                let count = left.min(BLOCK);
                left -= count;
                for element in &mut column[..count] {
                    *element = block.next_row(&mut run)[first + lane];
                }
                moments = moments.merged(MomentsInF64 { x: &column[..count] }.run(token));
            }
            (mean[lane], m2[lane]) = (moments.mean, moments.m2);
        }
    }
}
