//! The sums of columns that a backward pass makes: of g, and of `g * x_hat`.
//!
//! The plain algorithm, where g is dy, or dy times a factor of its row:
//!
//! ```text
//! for row r: for each column c: x_hat = (x[r, c] - mean[c]) * rstd[c];  b[c] += g[r, c];  d[c] += g[r, c] * x_hat
//! ```
//!
//! What makes it exact, fast, and the same for any number of threads:
//!
//! * **`x_hat` is that of the forward pass**: the mean is a pair, so that no digit is lost at any mean / std.
//! * **Blocks** of [`BLOCK_ROWS`] rows are those of moments (`kernels/columns/moments.rs`): two levels of sums in f32, padding left
//!   out by the choice of rows, narrow rows side by side. A block is added to f64.
//! * **Chunks of blocks**, at most [`MOST_CHUNKS`], are what threads share. Each has sums of its own. The cut depends on the number
//!   of rows that count and of columns alone, and chunks are added in order.
//! * **Panels** keep three coefficients and two sums of each column (20 KB) in L1.
//! * **One test a block and 16 columns.** Sums that left f32, or are so small that their terms may have, are made again on f64 lanes,
//!   and so are those of columns whose statistics do not fit f32.
#![forbid(unsafe_code)]

use super::block_rows::{BLOCK_ROWS, BlockRows, Gathered, Panel, STEP};
use super::coefficients::Coefficients;
use super::narrow;
use crate::kernels::lanes::{Lanes64, lanes_below, load_columns, load_f64};
use crate::kernels::range::LARGEST;
use crate::kernels::row_filter::RowFilter;
use crate::kernels::split::Split;
use crate::kernels::tuning::COEFFICIENT_PANEL;
use crate::simd::{Double, Float, Kernel, LANES, Simd};

/// Vectors of a panel.
const PANEL_VECTORS: usize = COEFFICIENT_PANEL / LANES;

/// At most this many chunks of blocks for threads to share: each has scratch of its own.
const MOST_CHUNKS: usize = 16;

/// Some rows of dy, and the same of x.
#[derive(Clone, Copy)]
pub(crate) struct GradientRows<'a> {
    pub(crate) dy: &'a [f32],
    pub(crate) x: &'a [f32],
    pub(crate) cols: usize,
    /// Elements from the start of a row to the start of the next, of dy and of x.
    pub(crate) pitches: [usize; 2],
    pub(crate) kept: RowFilter<'a>,
    /// The rows are `count` of those that are kept, from this one on.
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// What dy is multiplied with, one a row, where all rows are kept.
    pub(crate) factors: Option<&'a [f32]>,
}

/// How the rows that count are cut into chunks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SumChunks {
    /// Rows of every chunk but the last.
    rows: usize,
    /// The number of chunks.
    pub(crate) count: usize,
    /// Vectors of f64 of a chunk's sums.
    pub(crate) scratch: usize,
}

impl SumChunks {
    /// Depends on the number of rows that count, and of columns, alone.
    #[inline(always)]
    pub(crate) fn new(count: usize, cols: usize) -> Self {
        let block = BLOCK_ROWS * narrow::factor(cols);
        let blocks = count.div_ceil(block).max(1);
        let each = blocks.div_ceil(MOST_CHUNKS);
        Self {
            rows: each.saturating_mul(block),
            count: blocks.div_ceil(each),
            scratch: sums_len(cols),
        }
    }

    /// Vectors of f64 of all chunks.
    #[inline(always)]
    pub(crate) fn total_scratch(self) -> usize {
        self.count * self.scratch
    }

    /// The most vectors of f64 that any of so many rows need.
    #[inline(always)]
    pub(crate) fn most_scratch(rows: usize, cols: usize) -> usize {
        let blocks = rows.div_ceil(BLOCK_ROWS * narrow::factor(cols)).max(1);
        blocks.min(MOST_CHUNKS).saturating_mul(sums_len(cols))
    }
}

/// Vectors of f64 of both sums of so many columns.
#[inline(always)]
pub(crate) fn sums_len(cols: usize) -> usize {
    cols.div_ceil(LANES).saturating_mul(2)
}

/// Makes the sums of every chunk: `cols / 16`, rounded up, vectors of those of g, then as many of those of `g * x_hat`. Rows of the
/// work are chunks; there is at least one row that counts, and one column.
pub(crate) struct ColumnSums<'a> {
    pub(crate) rows: GradientRows<'a>,
    pub(crate) mean: &'a [f64],
    pub(crate) rstd: &'a [f64],
    pub(crate) chunks: SumChunks,
    pub(crate) sums: &'a mut [Lanes64],
}

impl Split for ColumnSums<'_> {
    fn rows(&self) -> usize {
        self.sums.len() / self.chunks.scratch
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (low, high) = self.sums.split_at_mut(at * self.chunks.scratch);
        let GradientRows { kept, first, count, .. } = self.rows;
        let cut = (at * self.chunks.rows).min(count);
        let low_rows = GradientRows { count: cut, ..self.rows };
        let high_rows =
            GradientRows { first: kept.skip(first, cut), count: count - cut, ..self.rows };
        (Self { rows: low_rows, sums: low, ..self }, Self { rows: high_rows, sums: high, ..self })
    }
}

impl Kernel for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { mut rows, mean, rstd, chunks, sums } = self;
        let mut left = rows.count;
        let mut memory = SumPanel::new();
        for sums in sums.chunks_exact_mut(chunks.scratch) {
            rows.count = left.min(chunks.rows);
            left -= rows.count;
            rows.first = column_sums::<S, false>(token, rows, [mean, rstd], sums, &mut memory);
        }
    }
}

/// The sums of the columns of some rows, which are left in `sums`. Gives the row after them. `WEIGHTED` says whether rows have
/// factors.
#[inline(always)]
pub(crate) fn column_sums<S: Simd, const WEIGHTED: bool>(
    token: S,
    rows: GradientRows<'_>,
    statistics: [&[f64]; 2],
    sums: &mut [Lanes64],
    memory: &mut SumPanel,
) -> usize {
    let vectors = rows.cols.div_ceil(LANES);
    sums.as_flattened_mut().fill(0.0);
    let (of_g, of_x_hat) = sums.split_at_mut(vectors);
    let mut row = rows.first;
    for first in (0..vectors).step_by(PANEL_VECTORS) {
        let end = vectors.min(first + PANEL_VECTORS);
        let sums = [&mut of_g[first..end], &mut of_x_hat[first..end]];
        let panel = PanelSums::<WEIGHTED> { rows, statistics, columns: (first, end), sums, memory };
        row = token.vectorize(panel);
    }
    row
}

/// Coefficients of `x_hat`, and sums, of the columns of a panel, aligned so that no vector of them lies in two cache lines.
#[repr(align(64))]
pub(crate) struct SumPanel {
    hi: [[f32; LANES]; PANEL_VECTORS],
    rstd: [[f32; LANES]; PANEL_VECTORS],
    shift: [[f32; LANES]; PANEL_VECTORS],
    of_g: [[f32; LANES]; PANEL_VECTORS],
    of_x_hat: [[f32; LANES]; PANEL_VECTORS],
    /// A bit for each column whose coefficients do not fit f32.
    outside: [u16; PANEL_VECTORS],
}

impl SumPanel {
    pub(crate) const fn new() -> Self {
        let zeros = [[0.0; LANES]; PANEL_VECTORS];
        let outside = [0; PANEL_VECTORS];
        Self { hi: zeros, rstd: zeros, shift: zeros, of_g: zeros, of_x_hat: zeros, outside }
    }
}

/// The columns of the vectors `columns`, from the first up to the second.
struct PanelSums<'a, const WEIGHTED: bool> {
    rows: GradientRows<'a>,
    statistics: [&'a [f64]; 2],
    columns: (usize, usize),
    /// Of g and of `g * x_hat`, added to.
    sums: [&'a mut [Lanes64]; 2],
    memory: &'a mut SumPanel,
}

impl<const WEIGHTED: bool> Kernel for PanelSums<'_, WEIGHTED> {
    /// The row after those.
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(mut self, token: S) -> usize {
        let GradientRows { dy, x, cols, pitches, kept, first, count, factors } = self.rows;
        // Several rows side by side would have several factors.
        let factor = if WEIGHTED { 1 } else { narrow::factor(cols) };
        self.prepare(token, factor);
        let mut gathered = [None, None];
        let (mut row, mut left) = (first, count);
        while left > 0 {
            let mut of_block = left.min(BLOCK_ROWS * factor);
            left -= of_block;
            while of_block > 0 {
                // What does not fill a wide row is done by itself.
                let factor = if of_block >= factor { factor } else { 1 };
                let count = (of_block - of_block % factor).min(BLOCK_ROWS * factor);
                of_block -= count;
                let (mut scattered_dy, mut scattered_x) = (None, None);
                let (shape, size) = ((cols, pitches[0]), (count, factor));
                let (dy, end) = BlockRows::next(dy, shape, size, kept, row, &mut scattered_dy);
                let shape = (cols, pitches[1]);
                let (x, _) = BlockRows::next(x, shape, size, kept, row, &mut scattered_x);
                let factors = if WEIGHTED { factors } else { None };
                let block = Block { dy, x, factors: factors.map(|factors| &factors[row..]) };
                self.add_block(token, &block, factor, &mut gathered);
                row = end;
            }
        }
        row
    }
}

/// The rows of a block, of dy and of x, and their factors.
struct Block<'a> {
    dy: BlockRows<'a>,
    x: BlockRows<'a>,
    factors: Option<&'a [f32]>,
}

impl<const WEIGHTED: bool> PanelSums<'_, WEIGHTED> {
    /// Makes the coefficients of `x_hat`.
    #[inline(always)]
    fn prepare<S: Simd>(&mut self, token: S, factor: usize) {
        let (cols, (first, end)) = (self.rows.cols, self.columns);
        let [mean, rstd] = self.statistics;
        let zero = S::F64::splat(token, 0.0);
        let memory = &mut *self.memory;
        for i in 0..end - first {
            let vector = first + i;
            let statistics =
                (load_f64(token, mean, vector, 0.0), load_f64(token, rstd, vector, 0.0), zero);
            let (wide, outside) = Coefficients::new(token, statistics, None, None, (vector, cols));
            let single = wide.narrow(token);
            single.hi.store_init(&mut memory.hi[i]);
            single.alpha.store_init(&mut memory.rstd[i]);
            single.shift.store_init(&mut memory.shift[i]);
            memory.outside[i] = outside;
        }
        if factor > 1 {
            for coefficients in [&mut memory.hi, &mut memory.rstd, &mut memory.shift] {
                narrow::repeat_part(&mut coefficients.as_flattened_mut()[..cols * factor], factor);
            }
        }
    }

    /// Adds the sums of a block, in whose rows every column occurs `factor` times.
    #[inline(always)]
    fn add_block<S: Simd>(
        &mut self,
        token: S,
        block: &Block<'_>,
        factor: usize,
        gathered: &mut [Option<Gathered>; 2],
    ) {
        let (first, mut end) = self.columns;
        let cols = self.rows.cols * factor;
        if factor > 1 {
            end = cols.div_ceil(LANES);
        }
        let panel = Panel { cols, first, end, factor };
        let width = end - first;
        self.memory.of_g[..width].as_flattened_mut().fill(0.0);
        self.memory.of_x_hat[..width].as_flattened_mut().fill(0.0);
        for row in (0..block.dy.wide()).step_by(STEP) {
            self.add_step(token, block, panel, row, gathered);
        }
        self.finish_block(token, block, panel);
    }

    /// Adds the eight rows from `first` on, or fewer at the end of the matrix, of every column of a panel.
    #[inline(always)]
    fn add_step<S: Simd>(
        &mut self,
        token: S,
        block: &Block<'_>,
        panel: Panel,
        first: usize,
        [of_dy, of_x]: &mut [Option<Gathered>; 2],
    ) {
        let zero = S::F32::splat(token, 0.0);
        let (dy, count) = block.dy.step(of_dy, (first, 1));
        let (x, _) = block.x.step(of_x, (first, 1));
        let mut factors = [zero; STEP];
        if WEIGHTED && let Some(all) = block.factors {
            for (factor, &of_row) in factors.iter_mut().zip(&all[first..first + count]) {
                *factor = S::F32::splat(token, of_row);
            }
        }
        let mut done = 0;
        if count == STEP {
            let width = panel.full(dy[0]).len();
            let mut full: [[&[[f32; LANES]]; STEP]; 2] = [[&[]; STEP]; 2];
            for r in 0..STEP {
                full[0][r] = &panel.full(dy[r])[..width];
                full[1][r] = &panel.full(x[r])[..width];
            }
            for i in 0..width {
                let terms = self.memory.load(token, i);
                let mut sums = [zero; 2];
                for r in 0..STEP {
                    let dy = S::F32::load(token, &full[0][r][i]);
                    let x = S::F32::load(token, &full[1][r][i]);
                    terms.add::<WEIGHTED>((dy, x, factors[r]), &mut sums);
                }
                self.memory.add(token, i, sums);
            }
            done = width;
        }
        for i in done..panel.end - panel.first {
            let terms = self.memory.load(token, i);
            let mut sums = [zero; 2];
            for r in 0..count {
                let dy = load_columns(token, dy[r], panel.first + i, 0.0);
                let x = load_columns(token, x[r], panel.first + i, 0.0);
                terms.add::<WEIGHTED>((dy, x, factors[r]), &mut sums);
            }
            self.memory.add(token, i, sums);
        }
    }

    /// Adds the sums of a block to those of the panel.
    #[inline(always)]
    fn finish_block<S: Simd>(&mut self, token: S, block: &Block<'_>, panel: Panel) {
        let mut parts = [[[0.0; LANES]; narrow::WIDEST / LANES]; 2];
        if panel.factor > 1 {
            let all = [&self.memory.of_g, &self.memory.of_x_hat];
            for (parts, sums) in parts.iter_mut().zip(all) {
                for (part, sum) in parts.iter_mut().zip(sums) {
                    S::F64::load(token, sum).store_f64(part);
                }
                narrow::add_parts(&mut parts.as_flattened_mut()[..panel.cols_here()], panel.factor);
            }
        }
        let cols = self.rows.cols;
        let least = S::F64::splat(token, 1.0 / LARGEST / LARGEST);
        let most = S::F64::splat(token, f64::MAX);
        let (first, end) = self.columns;
        for i in 0..end - first {
            let (mut g, mut x_hat) = if panel.factor > 1 {
                (S::F64::load_f64(token, &parts[0][i]), S::F64::load_f64(token, &parts[1][i]))
            } else {
                let memory = &self.memory;
                (S::F64::load(token, &memory.of_g[i]), S::F64::load(token, &memory.of_x_hat[i]))
            };
            // Neither can overflow. Both sums are large enough if one is: what is lost of terms that are not has no weight.
            let squares = g.mul_add(g, x_hat * x_hat);
            let good = least.less_or_equal(squares) & squares.less_or_equal(most);
            let vector = first + i;
            let outside = self.memory.outside[i];
            let bad = (!good | outside) & lanes_below(cols - vector * LANES);
            if bad != 0 {
                let sums = SumsInF64 { block, vector, statistics: self.statistics };
                let [of_g, of_x_hat] = token.outline(sums);
                g = choose(token, bad, &of_g, g);
                x_hat = choose(token, bad, &of_x_hat, x_hat);
            }
            for (sum, more) in self.sums.iter_mut().zip([g, x_hat]) {
                (S::F64::load_f64(token, &sum[i]) + more).store_f64(&mut sum[i]);
            }
        }
    }
}

/// The lanes of `of_f64` whose bit is set, and those of `vector` else.
#[inline(always)]
fn choose<S: Simd>(token: S, bits: u16, of_f64: &Lanes64, vector: S::F64) -> S::F64 {
    let mut lanes = [0.0; LANES];
    vector.store_f64(&mut lanes);
    for (i, lane) in lanes.iter_mut().enumerate() {
        if bits >> i & 1 == 1 {
            *lane = of_f64[i];
        }
    }
    S::F64::load_f64(token, &lanes)
}

impl SumPanel {
    /// The coefficients of vector `i`.
    #[inline(always)]
    fn load<S: Simd>(&self, token: S, i: usize) -> Coefficients<S::F32> {
        Coefficients {
            hi: S::F32::load(token, &self.hi[i]),
            alpha: S::F32::load(token, &self.rstd[i]),
            shift: S::F32::load(token, &self.shift[i]),
        }
    }

    /// Adds to the sums of vector `i`.
    #[inline(always)]
    fn add<S: Simd>(&mut self, token: S, i: usize, [g, x_hat]: [S::F32; 2]) {
        (S::F32::load(token, &self.of_g[i]) + g).store_init(&mut self.of_g[i]);
        (S::F32::load(token, &self.of_x_hat[i]) + x_hat).store_init(&mut self.of_x_hat[i]);
    }
}

impl<V: Float> Coefficients<V> {
    /// Adds g and `g * x_hat` of an element to sums.
    #[inline(always)]
    fn add<const WEIGHTED: bool>(self, (dy, x, factor): (V, V, V), [of_g, of_x_hat]: &mut [V; 2]) {
        let g = if WEIGHTED { dy * factor } else { dy };
        *of_g = *of_g + g;
        *of_x_hat = g.mul_add(self.apply(x), *of_x_hat);
    }
}

/// Both sums of a vector of columns of a block, on f64 lanes.
struct SumsInF64<'a> {
    block: &'a Block<'a>,
    vector: usize,
    statistics: [&'a [f64]; 2],
}

impl Kernel for SumsInF64<'_> {
    type Output = [Lanes64; 2];

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> [Lanes64; 2] {
        let Self { block: Block { dy, x, factors }, vector, statistics: [mean, rstd] } = self;
        let (mean, rstd) = (load_f64(token, mean, vector, 0.0), load_f64(token, rstd, vector, 0.0));
        let zero = S::F64::splat(token, 0.0);
        let (mut of_g, mut of_x_hat) = (zero, zero);
        let (mut run_of_dy, mut run_of_x) = (dy.first_run(), x.first_run());
        for row in 0..dy.count {
            let mut g: S::F64 = load_columns(token, dy.next_row(&mut run_of_dy), vector, 0.0);
            if let Some(factors) = factors {
                g = g * S::F64::splat(token, f64::from(factors[row]));
            }
            let x: S::F64 = load_columns(token, x.next_row(&mut run_of_x), vector, 0.0);
            of_g = of_g + g;
            of_x_hat = g.mul_add((x - mean) * rstd, of_x_hat);
        }
        let mut sums = [[0.0; LANES]; 2];
        of_g.store_f64(&mut sums[0]);
        of_x_hat.store_f64(&mut sums[1]);
        sums
    }
}

/// Adds the sums of all parts, which are so many vectors each, to those of the first, in order.
pub(crate) struct MergeSums<'a> {
    pub(crate) part: usize,
    pub(crate) sums: &'a mut [Lanes64],
}

impl Kernel for MergeSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let (first, others) = self.sums.split_at_mut(self.part);
        for other in others.chunks_exact(self.part) {
            for (sum, other) in first.iter_mut().zip(other) {
                (S::F64::load_f64(token, sum) + S::F64::load_f64(token, other)).store_f64(sum);
            }
        }
    }
}

/// Adds the sums of dy and of `dy * x_hat` to totals: those of dy, then the others.
pub(crate) struct AddSums<'a> {
    pub(crate) sums: [&'a [f64]; 2],
    pub(crate) totals: &'a mut [f64],
}

impl Kernel for AddSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let [of_dy, of_x_hat] = self.sums;
        for (total, sum) in self.totals.iter_mut().zip(of_dy.iter().chain(of_x_hat)) {
            *total += sum;
        }
    }
}
