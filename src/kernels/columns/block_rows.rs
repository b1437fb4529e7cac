//! The rows of a block of a matrix, eight at a time: those that are kept, where they are in memory.
//!
//! Where the rows of a block are together in memory, and mostly they are, they are read where they lie; else they are found
//! in the mask, and nothing is moved but narrow rows that are to lie side by side, eight wide ones (16 KB) at a time.
#![forbid(unsafe_code)]

use core::ops::Range;

use super::narrow;
use crate::kernels::lanes::load_columns;
use crate::kernels::row_filter::RowFilter;
use crate::simd::{Float, LANES, Simd};

/// Rows of a block: 8 sums of 8 terms.
pub(super) const BLOCK_ROWS: usize = 64;

/// Rows that are summed in registers.
pub(super) const STEP: usize = 8;

/// Some of the rows of a matrix `x` of `cols` columns: `count` of those that are kept, from row `first` on.
#[derive(Clone, Copy)]
pub(crate) struct Selection<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) cols: usize,
    /// Elements from the start of a row to the start of the next.
    pub(crate) pitch: usize,
    pub(crate) kept: RowFilter<'a>,
    pub(crate) first: usize,
    pub(crate) count: usize,
}

impl<'a> Selection<'a> {
    /// All rows.
    #[inline(always)]
    pub(crate) fn all(x: &'a [f32], cols: usize) -> Self {
        let count = x.len() / cols;
        Self { x, cols, pitch: cols, kept: RowFilter::new(None, count), first: 0, count }
    }
}

/// The vectors of a panel, from `first` up to `end`, of rows of `cols` elements, in which every column occurs `factor`
/// times (`kernels/columns/narrow.rs`).
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
    pub(super) fn full<'a>(&self, row: &'a [f32]) -> &'a [[f32; LANES]] {
        let full = self.cols / LANES;
        &row.as_chunks::<LANES>().0[self.first..self.end.min(full)]
    }
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
    let block = BlockRows { x, cols, pitch: cols, factor, count, scattered: None };
    for_each_vector(token, &block, &mut None, panel, from, visit);
}

/// Calls `visit` with the place in the panel and eight vectors, and how many of them are rows, of every vector
/// of columns of the wide rows `first`, `first + stride` ... of a block: where there are fewer than eight, the
/// others are zeros.
#[inline(always)]
pub(super) fn for_each_vector<S: Simd>(
    token: S,
    block: &BlockRows<'_>,
    gathered: &mut Option<Gathered>,
    panel: Panel,
    (first, stride): (usize, usize),
    mut visit: impl FnMut(usize, [S::F32; STEP], usize),
) {
    let zero = S::F32::splat(token, 0.0);
    let (rows, count) = block.step(gathered, (first, stride));
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

/// The rows of a block, at most [`BLOCK_ROWS`] wide ones of `factor` each (`kernels/columns/narrow.rs`): together in memory, or not.
#[derive(Clone, Copy)]
pub(super) struct BlockRows<'a> {
    /// Together: the rows of the block. Else the matrix.
    x: &'a [f32],
    pub(super) cols: usize,
    pitch: usize,
    factor: usize,
    /// Rows that are not wide.
    pub(super) count: usize,
    scattered: Option<&'a Scattered<'a>>,
}

impl<'a> BlockRows<'a> {
    /// The next `count` rows from row `from` on of those that are kept, and the row after them.
    #[inline(always)]
    pub(super) fn next<'k: 'a>(
        x: &'a [f32],
        (cols, pitch): (usize, usize),
        (count, factor): (usize, usize),
        kept: RowFilter<'k>,
        from: usize,
        scattered: &'a mut Option<Scattered<'k>>,
    ) -> (Self, usize) {
        let run = kept.next_run(from, count);
        if run.len() == count {
            let x = &x[run.start * pitch..(run.end - 1) * pitch + cols];
            return (Self { x, cols, pitch, factor, count, scattered: None }, run.end);
        }
        let scattered = scattered.get_or_insert_with(|| Scattered::new(kept));
        let wide = count / factor;
        scattered.find(from, wide, factor);
        let end = scattered.ends[wide - 1];
        (Self { x, cols, pitch, factor, count, scattered: Some(scattered) }, end)
    }

    /// Wide rows.
    #[inline(always)]
    pub(super) fn wide(&self) -> usize {
        self.count / self.factor
    }

    /// The wide rows `first`, `first + stride` ..., eight or as many as there are, and their number.
    #[inline(always)]
    pub(super) fn step<'r>(
        &self,
        gathered: &'r mut Option<Gathered>,
        (first, stride): (usize, usize),
    ) -> ([&'r [f32]; STEP], usize)
    where
        'a: 'r,
    {
        let mut rows: [&[f32]; STEP] = [&[]; STEP];
        let count = (self.wide() - first).div_ceil(stride).min(STEP);
        let mut all_together = true;
        for r in 0..count {
            match self.together(first + r * stride) {
                Some(row) => rows[r] = row,
                None => all_together = false,
            }
        }
        if !all_together {
            let gathered = gathered.get_or_insert([[0.0; narrow::WIDEST]; STEP]);
            for r in 0..count {
                if rows[r].is_empty() {
                    self.gather(first + r * stride, &mut gathered[r]);
                }
            }
            for r in 0..count {
                if rows[r].is_empty() {
                    rows[r] = &gathered[r][..self.cols * self.factor];
                }
            }
        }
        (rows, count)
    }

    /// Wide row `i`, if its rows are together.
    #[inline(always)]
    fn together(&self, i: usize) -> Option<&'a [f32]> {
        let width = self.cols * self.factor;
        if self.factor > 1 && self.pitch != self.cols {
            return None;
        }
        match self.scattered {
            None => Some(&self.x[i * self.factor * self.pitch..][..width]),
            Some(rows) if rows.ends[i] - rows.starts[i] == self.factor => {
                Some(&self.x[rows.starts[i] * self.pitch..][..width])
            }
            Some(_) => None,
        }
    }

    /// Copies the rows of wide row `i` side by side. A function of its own, as `find` is.
    #[inline(never)]
    fn gather(&self, i: usize, wide: &mut [f32; narrow::WIDEST]) {
        let (mut row, mut left) = match self.scattered {
            Some(rows) => (rows.starts[i], self.factor),
            None => (i * self.factor, self.factor),
        };
        let mut done = 0;
        while left > 0 {
            let run = match self.scattered {
                Some(rows) => rows.kept.next_run(row, left),
                None => row..row + left,
            };
            (row, left) = (run.end, left - run.len());
            // Where rows are contiguous, those of a run are copied at once.
            let together = if self.pitch == self.cols { run.len() } else { 1 };
            for first in run.step_by(together) {
                let len = together * self.cols;
                wide[done..done + len].copy_from_slice(&self.x[first * self.pitch..][..len]);
                done += len;
            }
        }
    }

    /// The first rows that are neighbours, for [`next_row`](Self::next_row).
    #[inline(always)]
    pub(super) fn first_run(&self) -> Range<usize> {
        match self.scattered {
            Some(rows) => rows.kept.next_run(rows.starts[0], self.count),
            None => 0..self.count,
        }
    }

    /// The next row of a run, or of the run after it. There is one.
    #[inline(always)]
    pub(super) fn next_row(&self, run: &mut Range<usize>) -> &'a [f32] {
        if let (true, Some(rows)) = (run.start == run.end, self.scattered) {
            *run = rows.kept.next_run(run.end, self.count);
        }
        let row = run.start;
        run.start += 1;
        &self.x[row * self.pitch..][..self.cols]
    }
}

/// Rows of a block that are kept, with padding between them.
pub(super) struct Scattered<'a> {
    kept: RowFilter<'a>,
    /// Of each wide row, the first row of the matrix, and the one after the last.
    starts: [usize; BLOCK_ROWS],
    ends: [usize; BLOCK_ROWS],
}

impl<'a> Scattered<'a> {
    #[inline(always)]
    fn new(kept: RowFilter<'a>) -> Self {
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

/// Narrow rows that are made wide ones, where their rows are not together.
pub(super) type Gathered = [[f32; narrow::WIDEST]; STEP];
