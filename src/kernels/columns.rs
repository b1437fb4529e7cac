//! Mean and variance of columns: one pass over memory.
//!
//! The plain algorithm, for a block of n rows and a shift K for each column:
//!
//! ```text
//! for row in block: for each column c: d = row[c] - K[c];  S[c] += d;  Q[c] += d * d
//! for each column c: mean[c] = K[c] + S[c] / n;  M2[c] = Q[c] - S[c]^2 / n
//! ```
//!
//! What makes it exact and fast is what does it for rows (`kernels/moments.rs`), turned by a quarter:
//!
//! * **Blocks** of [`BLOCK_ROWS`] rows that know nothing of each other, merged in f64 in the tree that splits at the
//!   largest power of two below the number of blocks. A power of two of blocks, aligned, is a subtree,
//!   so chunks of rows can be done by different threads.
//! * **The pilot** K is the mean of half of the block's rows, which are in L2 when they are read again.
//! * **Two levels of sums**: [`STEP`] rows at a time are summed in registers, then added to S and Q in L1. Eight rows
//!   are eight streams that the prefetchers can follow, and S and Q are loaded and stored once for
//!   eight vectors of x.
//! * **Panels** of [`PANEL`] columns keep K, S and Q (24 KB) in L1.
//! * **Narrow matrices** are worked on as wide ones (`kernels/fold.rs`): a block is 64 wide rows.
//! * **Padding** is left out by the choice of rows: a block is of the next 64 rows that are kept. Where these are together in
//!   memory, and mostly they are, it is read as any other; else its rows are found in the mask, and nothing is moved but
//!   narrow rows that are to lie side by side, eight wide ones (16 KB) at a time.
//! * **One test a block and 16 columns.** Columns that f32 cannot do (`kernels/moments.rs` has the test) are done again:
//!   constant ones are recognised, the others gathered and done as rows are.
//!
//! No division is spent on merging: the row counts of both sides are the same for all columns, so the
//! weights are two scalars.
#![forbid(unsafe_code)]

use core::ops::Range;

use super::moments::{BLOCK, LARGEST_SHIFT, MomentsInF64, SMALLEST_MEAN_SQUARE};
use super::valid_rows::Kept;
use super::welford::{Merge, Moments};
use super::{Split, fold};
use crate::simd::{Double, Float, Kernel, LANES, Simd};

/// Rows of a block: 8 sums of 8 terms.
const BLOCK_ROWS: usize = 64;

/// Rows that are summed in registers.
pub(super) const STEP: usize = 8;

/// Of every eight rows, how many the shift is the mean of: 32 of a block. Of normal data, the mean of 32 is far
/// enough off to fail the test in one column of a block of 4 million, that of 16 rows in one of 140, of 8 in
/// one of 12. Rows from all over the block, since those of an image or a signal drift: the first 32 of a
/// ramp would fail. And the prefetchers follow them better: column moments at 2048x1024 in L3 went from 0.81 to
/// 0.90 of a plain sum.
const PILOT_OF_STEP: usize = 4;

/// Columns that are worked on at a time: three f32 of each are 24 KB of a 32 or 48 KB L1. Longer runs of a row are
/// easier for the prefetchers: of a plain sum, column moments at 4096x4096 0.68 with 1024 and 0.75 with 2048.
const PANEL: usize = 2048;

/// Vectors of a panel.
const PANEL_VECTORS: usize = PANEL / LANES;

/// At most this many chunks of rows for threads to share: each has scratch of its own.
const MOST_CHUNKS: usize = 16;

/// Sixteen f64, one for each lane of a vector of columns.
pub(crate) type Lanes64 = [f64; LANES];

/// How the rows of a matrix are cut into chunks, and what scratch that takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunks {
    /// Rows of every chunk but the last.
    pub(crate) rows: usize,
    /// Vectors of f64 of a chunk's scratch.
    pub(crate) scratch: usize,
    /// The number of chunks.
    pub(crate) count: usize,
}

impl Chunks {
    /// One chunk, or, to be shared, as many as there may be. Depends on the shape alone.
    pub(crate) fn new(rows: usize, cols: usize, shared: bool) -> Self {
        let factor = fold::factor(cols);
        let block_rows = BLOCK_ROWS * factor;
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

/// K, S and Q of a panel, aligned so that no vector of them lies in two cache lines.
#[repr(align(64))]
pub(crate) struct Sums {
    k: [[f32; LANES]; PANEL_VECTORS],
    s: [[f32; LANES]; PANEL_VECTORS],
    q: [[f32; LANES]; PANEL_VECTORS],
}

/// The rows of a block, at most [`BLOCK_ROWS`] wide ones of `factor` each (`kernels/fold.rs`): together in memory, or not.
#[derive(Clone, Copy)]
struct BlockRows<'a> {
    /// Together: the rows of the block. Else the matrix.
    x: &'a [f32],
    cols: usize,
    factor: usize,
    /// Rows that are not wide.
    count: usize,
    scattered: Option<&'a Scattered<'a>>,
}

/// Rows of a block that are kept, with padding between them.
struct Scattered<'a> {
    kept: Kept<'a>,
    /// Of each wide row, the first row of the matrix, and the one after the last.
    starts: [usize; BLOCK_ROWS],
    ends: [usize; BLOCK_ROWS],
}

/// Narrow rows that are made wide ones, where their rows are not together.
type Gathered = [[f32; fold::WIDEST]; STEP];

impl<'a> Scattered<'a> {
    #[inline(always)]
    fn new(kept: Kept<'a>) -> Self {
        Self { kept, starts: [0; BLOCK_ROWS], ends: [0; BLOCK_ROWS] }
    }

    /// Finds the next `count` wide rows of `factor` from row `from` on. A function of its own: there is no vector in it, and
    /// it is once a block.
    #[inline(never)]
    fn find(&mut self, from: usize, count: usize, factor: usize) {
        let mut row = from;
        for (start, end) in self.starts.iter_mut().zip(&mut self.ends).take(count) {
            let mut run = self.kept.next_run(row, factor);
            (*start, row) = (run.start, run.end);
            let mut left = factor - run.len();
            while left > 0 {
                run = self.kept.next_run(row, left);
                (row, left) = (run.end, left - run.len());
            }
            *end = row;
        }
    }
}

impl<'a> BlockRows<'a> {
    /// The next `count` rows from row `from` on of those that are kept, and the row after them.
    #[inline(always)]
    fn next<'k: 'a>(
        x: &'a [f32],
        cols: usize,
        (count, factor): (usize, usize),
        kept: Kept<'k>,
        from: usize,
        scattered: &'a mut Option<Scattered<'k>>,
    ) -> (Self, usize) {
        let run = kept.next_run(from, count);
        if run.len() == count {
            let x = &x[run.start * cols..run.end * cols];
            return (Self { x, cols, factor, count, scattered: None }, run.end);
        }
        let scattered = scattered.get_or_insert_with(|| Scattered::new(kept));
        let wide = count / factor;
        scattered.find(from, wide, factor);
        let end = scattered.ends[wide - 1];
        (Self { x, cols, factor, count, scattered: Some(scattered) }, end)
    }

    /// Wide rows.
    #[inline(always)]
    fn wide(&self) -> usize {
        self.count / self.factor
    }

    /// Wide row `i`, if its rows are together.
    #[inline(always)]
    fn together(&self, i: usize) -> Option<&'a [f32]> {
        let width = self.cols * self.factor;
        match self.scattered {
            None => Some(&self.x[i * width..][..width]),
            Some(rows) if rows.ends[i] - rows.starts[i] == self.factor => {
                Some(&self.x[rows.starts[i] * self.cols..][..width])
            }
            Some(_) => None,
        }
    }

    /// Copies the rows of wide row `i` side by side. A function of its own, as `find` is.
    #[inline(never)]
    fn gather(&self, i: usize, wide: &mut [f32; fold::WIDEST]) {
        let Some(rows) = self.scattered else { return };
        let (mut row, mut done) = (rows.starts[i], 0);
        let mut left = self.factor;
        while left > 0 {
            let run = rows.kept.next_run(row, left);
            left -= run.len();
            let x = &self.x[run.start * self.cols..run.end * self.cols];
            wide[done..done + x.len()].copy_from_slice(x);
            (row, done) = (run.end, done + x.len());
        }
    }

    /// The first rows that are neighbours, for [`next_row`](Self::next_row).
    #[inline(always)]
    fn first_run(&self) -> Range<usize> {
        match self.scattered {
            Some(rows) => rows.kept.next_run(rows.starts[0], self.count),
            None => 0..self.count,
        }
    }

    /// The next row of a run, or of the run after it. There is one.
    #[inline(always)]
    fn next_row(&self, run: &mut Range<usize>) -> &'a [f32] {
        if let (true, Some(rows)) = (run.start == run.end, self.scattered) {
            *run = rows.kept.next_run(run.end, self.count);
        }
        let row = run.start;
        run.start += 1;
        &self.x[row * self.cols..][..self.cols]
    }
}

impl Sums {
    pub(crate) const fn new() -> Self {
        let zeros = [[0.0; LANES]; PANEL_VECTORS];
        Self { k: zeros, s: zeros, q: zeros }
    }
}

/// The vectors of a panel, from `first` up to `end`, of rows of `cols` elements, in which every column occurs `factor`
/// times (`kernels/fold.rs`).
#[derive(Clone, Copy)]
pub(super) struct Panel {
    pub(super) cols: usize,
    pub(super) first: usize,
    pub(super) end: usize,
    pub(super) factor: usize,
}

impl Panel {
    /// Columns of the panel.
    #[inline(always)]
    pub(super) fn cols_here(&self) -> usize {
        self.cols.min(self.end * LANES) - self.first * LANES
    }

    /// Vectors of the panel once its parts are added.
    #[inline(always)]
    pub(super) fn merged(&self) -> usize {
        (self.cols_here() / self.factor).div_ceil(LANES)
    }

    /// The part of `row` that is full vectors of the panel.
    #[inline(always)]
    fn full<'a>(&self, row: &'a [f32]) -> &'a [[f32; LANES]] {
        let full = self.cols / LANES;
        &row.as_chunks::<LANES>().0[self.first..self.end.min(full)]
    }
}

/// Columns `16 * vector` and up of a row: sixteen, or as many as there are.
#[inline(always)]
pub(crate) fn load_columns<V: Float>(
    token: V::Token,
    row: &[f32],
    vector: usize,
    fill: V::Elem,
) -> V {
    let (vectors, tail) = row.as_chunks::<LANES>();
    match vectors.get(vector) {
        Some(vector) => V::load(token, vector),
        None => V::load_partial(token, tail, fill),
    }
}

/// The sum of eight vectors, as a tree.
#[inline(always)]
fn tree<V: Float>(x: [V; STEP]) -> V {
    ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]))
}

/// The same as [`for_each_vector`] of rows that lie one behind the other.
#[inline(always)]
pub(super) fn for_each_vector_together<S: Simd>(
    token: S,
    x: &[f32],
    panel: Panel,
    from: (usize, usize),
    visit: impl FnMut(usize, [S::F32; STEP], usize),
) {
    let Panel { cols: width, factor, .. } = panel;
    let (cols, count) = (width / factor, x.len() / width * factor);
    let block = BlockRows { x, cols, factor, count, scattered: None };
    for_each_vector(token, &block, &mut None, panel, from, visit);
}

/// Calls `visit` with the place in the panel and eight vectors, and how many of them are rows, of every vector
/// of columns of the wide rows `first`, `first + stride` ... of a block: where there are fewer than eight, the
/// others are zeros.
#[inline(always)]
fn for_each_vector<S: Simd>(
    token: S,
    block: &BlockRows<'_>,
    gathered: &mut Option<Gathered>,
    panel: Panel,
    (first, stride): (usize, usize),
    mut visit: impl FnMut(usize, [S::F32; STEP], usize),
) {
    let zero = S::F32::splat(token, 0.0);
    let mut rows: [&[f32]; STEP] = [&[]; STEP];
    let count = (block.wide() - first).div_ceil(stride).min(STEP);
    let mut all_together = true;
    for r in 0..count {
        match block.together(first + r * stride) {
            Some(row) => rows[r] = row,
            None => all_together = false,
        }
    }
    if !all_together {
        let gathered = gathered.get_or_insert([[0.0; fold::WIDEST]; STEP]);
        for r in 0..count {
            if rows[r].is_empty() {
                block.gather(first + r * stride, &mut gathered[r]);
            }
        }
        for r in 0..count {
            if rows[r].is_empty() {
                rows[r] = &gathered[r][..panel.cols];
            }
        }
    }
    let mut done = 0;
    if count == STEP {
        let width = panel.full(rows[0]).len();
        let mut full: [&[[f32; LANES]]; STEP] = [&[]; STEP];
        for r in 0..STEP {
            full[r] = &panel.full(rows[r])[..width];
        }
        for i in 0..width {
            let mut x = [zero; STEP];
            for r in 0..STEP {
                x[r] = S::F32::load(token, &full[r][i]);
            }
            visit(i, x, STEP);
        }
        done = width;
    }
    for i in done..panel.end - panel.first {
        let mut x = [zero; STEP];
        for r in 0..count {
            x[r] = load_columns(token, rows[r], panel.first + i, 0.0);
        }
        visit(i, x, count);
    }
}

/// Makes K of a block: the mean of those rows of every eight that are among the first [`PILOT_OF_STEP`], or of all
/// rows of a block that is not full: of 8 rows, the mean of 4 would fail the test in one column of ten.
#[inline(always)]
fn pilot<S: Simd>(
    token: S,
    block: &BlockRows<'_>,
    gathered: &mut Option<Gathered>,
    panel: Panel,
    sums: &mut Sums,
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
                let mut sum = tree(x);
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
    fold::add_parts(&mut sums.k.as_flattened_mut()[..panel.cols_here()], panel.factor);

    let (k, width) = (&mut sums.k, panel.merged());
    let count = (if full { trees * STEP } else { rows } * panel.factor) as f64;
    let (inverse, n) = (S::F32::splat(token, (1.0 / count) as f32), S::F64::splat(token, count));
    for i in 0..width {
        let sum = S::F32::load(token, &k[i]);
        // For a power of two of rows, as all blocks but the last have, the product is the quotient.
        let mean = if full { sum * inverse } else { (S::F64::widen(sum) / n).narrow() };
        mean.store_init(&mut k[i]);
    }
    fold::repeat_part(&mut k.as_flattened_mut()[..panel.cols_here()], panel.factor);
}

/// Adds the eight rows from `first` on, or fewer at the end of the matrix, of every column of a panel. With
/// `FIRST`, S and Q begin.
#[inline(always)]
fn add_step<S: Simd, const FIRST: bool>(
    token: S,
    block: &BlockRows<'_>,
    gathered: &mut Option<Gathered>,
    panel: Panel,
    first: usize,
    sums: &mut Sums,
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

/// The moments of the columns of one block of at most [`BLOCK_ROWS`] wide rows.
#[inline(always)]
fn block_moments<S: Simd>(
    token: S,
    block: &BlockRows<'_>,
    gathered: &mut Option<Gathered>,
    panel: Panel,
    sums: &mut Sums,
    mean: &mut [Lanes64],
    m2: &mut [Lanes64],
) {
    pilot(token, block, gathered, panel, sums);
    add_step::<S, true>(token, block, gathered, panel, 0, sums);
    for first in (STEP..block.wide()).step_by(STEP) {
        add_step::<S, false>(token, block, gathered, panel, first, sums);
    }

    let mut parts = None;
    if panel.factor > 1 {
        let [s, q] = parts.insert([[[0.0; LANES]; fold::WIDEST / LANES]; 2]);
        for (parts, sums) in [(s, &sums.s), (q, &sums.q)] {
            for (part, sum) in parts.iter_mut().zip(sums) {
                S::F64::load(token, sum).store_f64(part);
            }
            fold::add_parts(&mut parts.as_flattened_mut()[..panel.cols_here()], panel.factor);
        }
    }
    finish(
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

/// Makes the moments of K, S and Q, which `sums` has of every vector of columns.
#[inline(always)]
fn finish<S: Simd>(
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

/// A bit for each lane that is a column, where `columns` are left.
#[inline(always)]
pub(crate) fn lanes_below(columns: usize) -> u16 {
    if columns >= LANES { u16::MAX } else { (1 << columns) - 1 }
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

/// Merges the moments of `count.1` rows into those of `count.0` rows that come before them.
#[inline(always)]
pub(crate) fn merge<S: Simd>(
    token: S,
    count: (usize, usize),
    (mean, m2): (&mut [Lanes64], &mut [Lanes64]),
    (other_mean, other_m2): (&[Lanes64], &[Lanes64]),
) {
    let (a, b) = (count.0 as f64, count.1 as f64);
    let n = a + b;
    let mean_weight = S::F64::splat(token, b / n);
    let m2_weight = S::F64::splat(token, a * b / n);
    for i in 0..mean.len() {
        let mean_a = S::F64::load_f64(token, &mean[i]);
        let delta = S::F64::load_f64(token, &other_mean[i]) - mean_a;
        let sum = S::F64::load_f64(token, &m2[i]) + S::F64::load_f64(token, &other_m2[i]);
        delta.mul_add(mean_weight, mean_a).store_f64(&mut mean[i]);
        (delta * delta).mul_add(m2_weight, sum).store_f64(&mut m2[i]);
    }
}

/// Where the moments of columns are while the blocks of their rows are merged: for every level of the tree as many
/// vectors of means as `stride`, then as many of M2, of which those from `at` on are worked on.
pub(crate) struct Tree<'a> {
    pub(crate) scratch: &'a mut [Lanes64],
    pub(crate) stride: usize,
    pub(crate) at: usize,
}

/// Some of the rows of a matrix `x` of `cols` columns: `count` of those that are kept, from row `first` on.
#[derive(Clone, Copy)]
pub(crate) struct Selection<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) cols: usize,
    pub(crate) kept: Kept<'a>,
    pub(crate) first: usize,
    pub(crate) count: usize,
}

impl<'a> Selection<'a> {
    /// All rows.
    #[inline(always)]
    pub(crate) fn all(x: &'a [f32], cols: usize) -> Self {
        let count = x.len() / cols;
        Self { x, cols, kept: Kept::new(None, count), first: 0, count }
    }
}

impl Tree<'_> {
    /// The moments of the columns in the vectors `first` up to `end`, at most a panel, of some rows: left in the first
    /// level. Of fewer than 256 columns, all must be in it. Gives the row after those.
    #[inline(always)]
    pub(crate) fn panel<S: Simd>(
        &mut self,
        token: S,
        rows: Selection<'_>,
        (first, end): (usize, usize),
        sums: &mut Sums,
    ) -> usize {
        let Selection { x, cols, kept, first: mut row, count: mut left } = rows;
        let factor = fold::factor(cols);
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
                (rows, row) = BlockRows::next(x, cols, (count, factor), kept, row, &mut scattered);
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
        merge(token, (counts[depth], counts[depth + 1]), left, right);
        counts[depth] += counts[depth + 1];
    }
}

/// The moments of the columns of some rows, which are left at the beginning of the scratch:
/// `cols / 16`, rounded up, vectors of means, then as many of M2. Gives the row after them.
#[inline(always)]
pub(crate) fn columns<S: Simd>(
    token: S,
    rows: Selection<'_>,
    scratch: &mut [Lanes64],
    sums: &mut Sums,
) -> usize {
    let vectors = rows.cols.div_ceil(LANES);
    let (mut first, mut row) = (0, rows.first);
    while first < vectors {
        let end = vectors.min(first + PANEL_VECTORS);
        let mut tree = Tree { scratch: &mut *scratch, stride: vectors, at: first };
        row = tree.panel(token, rows, (first, end), sums);
        first = end;
    }
    row
}

/// The moments of the columns of every chunk. Rows of the work are chunks, columns are at least one.
pub(crate) struct ColumnChunks<'a> {
    /// The matrix.
    pub(crate) x: &'a [f32],
    pub(crate) cols: usize,
    pub(crate) kept: Kept<'a>,
    /// The row from which on the rows of these chunks are, and their number.
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) chunks: Chunks,
    pub(crate) scratch: &'a mut [Lanes64],
}

impl Split for ColumnChunks<'_> {
    fn rows(&self) -> usize {
        self.scratch.len() / self.chunks.scratch
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { x, cols, kept, first, count, chunks, scratch } = self;
        let (low, high) = scratch.split_at_mut(at * chunks.scratch);
        let cut = at * chunks.rows;
        let second = kept.skip(first, cut);
        (
            Self { x, cols, kept, first, count: cut, chunks, scratch: low },
            Self { x, cols, kept, first: second, count: count - cut, chunks, scratch: high },
        )
    }
}

impl Kernel for ColumnChunks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { x, cols, kept, first, count, chunks, scratch } = self;
        let (mut first, mut left) = (first, count);
        let mut sums = Sums::new();
        for scratch in scratch.chunks_exact_mut(chunks.scratch) {
            let count = left.min(chunks.rows);
            let rows = Selection { x, cols, kept, first, count };
            first = columns(token, rows, scratch, &mut sums);
            left -= count;
        }
    }
}

/// Merges the moments of all chunks into those of the first, in the tree of the blocks.
pub(crate) struct MergeChunks<'a> {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) chunks: Chunks,
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
                merge(token, count, (mean, &mut m2[..vectors]), (other_mean, other_m2));
                left += 2 * distance;
            }
            distance *= 2;
        }
    }
}
