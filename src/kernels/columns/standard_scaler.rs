//! Number, mean and M2 of the numbers of columns, so exact that batches can be merged in any order: what a
//! `StandardScaler` is fitted with.
//!
//! The plain algorithm, for a block of rows and a shift K for each column:
//!
//! ```text
//! for row in block: for each column c, unless row[c] is NaN:
//!     d = row[c] - K[c];  n[c] += 1;  S[c] += d;  Q[c] += d * d
//! for each column c: mean[c] = K[c] + S[c] / n[c];  M2[c] = Q[c] - S[c]^2 / n[c]
//! ```
//!
//! and Chan's merge of blocks (`kernels/merge/cascade.rs`). The kernel of `kernels/columns/moments.rs` sums in f32, which is right to
//! 1e-6 and fast in L1. Batches are to agree to 1e-12, so here:
//!
//! * **f64 lanes.** The difference of two f32 is exact in f64, or nearly so. Data to fit on come from memory,
//!   which is slower than the caches that the f32 kernel is made for.
//! * **K is the first row of the block.** In f64 it need not be near the mean: M2 loses as much as Q is larger. No pass
//!   over the block to find it, and a constant column has d = 0.
//! * **NaN is not looked for.** It makes Q NaN. A column whose Q is not finite, or whose K was an outlier, is done again
//!   ([`ColumnsAgain`]): with NaN skipped and K near the mean, sixteen columns at a time.
//! * **Two levels of sums, panels, narrow matrices as wide ones**: as in `kernels/columns/moments.rs`, from which this
//!   takes its loops.
//! * **The mean is two f64, and M2 another two** while they are merged. The rounding of a mean that is large beside the
//!   deviation would be that of the next delta; and one f64 would lose a little of M2 with every batch, always to
//!   the same side where batches are alike. So the error does not grow with the number of batches.
//! * **Every column has its own weight**, as NaN is not in all of them: one division a column and block.
//!
//! Blocks, chunks and the order in which they are merged depend on the shape alone, so that any number of threads
//! gives the same bits.
#![forbid(unsafe_code)]

use super::block_rows::{Panel, STEP, for_each_vector_together};
use super::coefficients::ColumnSource;
use super::narrow;
use crate::kernels::lanes::{Lanes64, lanes_below, load_columns, load_f64};
use crate::kernels::range::LARGEST_FIT_SHIFT;
use crate::kernels::split::Split;
use crate::kernels::tuning::FIT_VECTORS;
use crate::simd::{Double, Float, Keep, Kernel, LANES, Simd};
use crate::welford::Moments;

/// Rows of a block (wide ones, where several narrow rows are one): 32 sums of 8. More would make sums longer, fewer would
/// merge more often. Not chosen by measurement.
const FIT_ROWS: usize = 256;

/// Rows from one of the eight that are summed in registers to the next, in a whole block: eight streams that the
/// prefetchers can follow, where eight rows of a narrow matrix, one behind the other, are none (`docs/performance.md`, "What
/// helped").
const STREAM_ROWS: usize = FIT_ROWS / STEP;

/// At most this many chunks of rows for threads to share.
const MOST_FIT_CHUNKS: usize = 16;

/// Rows whose sums begin afresh where a column is done again.
const AGAIN_ROWS: usize = 64;

/// The moments of the columns of some chunks. Rows of the work are chunks, columns are at least one.
pub(crate) struct FitMoments<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) cols: usize,
    /// Rows of a chunk.
    pub(crate) rows: usize,
    /// `cols / 16`, rounded up, for every chunk.
    pub(crate) partials: &'a mut [Partial],
}

impl Split for FitMoments<'_> {
    fn rows(&self) -> usize {
        self.partials.len() / self.cols.div_ceil(LANES)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { x, cols, rows, partials } = self;
        let (low_x, high_x) = x.split_at(at * rows * cols);
        let (low, high) = partials.split_at_mut(at * cols.div_ceil(LANES));
        (
            Self { x: low_x, cols, rows, partials: low },
            Self { x: high_x, cols, rows, partials: high },
        )
    }
}

impl Kernel for FitMoments<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { x, cols, rows, partials } = self;
        let zeros = [[0.0; LANES]; FIT_VECTORS];
        let mut sums =
            FitSums { k: zeros, s: [[0.0; LANES]; FIT_VECTORS], q: [[0.0; LANES]; FIT_VECTORS] };
        let chunks = x.chunks(rows.saturating_mul(cols));
        for (x, partials) in chunks.zip(partials.chunks_exact_mut(cols.div_ceil(LANES))) {
            fit_chunk(token, x, cols, &mut sums, partials);
        }
    }
}

/// The moments of the columns of one chunk.
#[inline(always)]
fn fit_chunk<S: Simd>(
    token: S,
    x: &[f32],
    cols: usize,
    sums: &mut FitSums,
    partials: &mut [Partial],
) {
    let (vectors, factor) = (partials.len(), narrow::factor(cols));
    partials.fill(Partial::EMPTY);
    let mut first = 0;
    while first < vectors {
        let end = vectors.min(first + FIT_VECTORS);
        let partials = &mut partials[first..end];
        // Where usize has 32 bits, a block may be more elements than it can count.
        for x in x.chunks(cols.saturating_mul(FIT_ROWS * factor)) {
            let (wide, rest) = x.split_at(x.len() - x.len() % (factor * cols));
            if !wide.is_empty() {
                let mut panel = Panel { cols, first, end, factor };
                if factor > 1 {
                    panel.cols *= factor;
                    panel.end = panel.cols.div_ceil(LANES);
                }
                fit_block(token, wide, panel, sums, partials);
            }
            if !rest.is_empty() {
                fit_block(token, rest, Panel { cols, first, end, factor: 1 }, sums, partials);
            }
        }
        first = end;
    }
}

/// Merges the moments of the columns of one block into those of the rows before it.
#[inline(always)]
fn fit_block<S: Simd>(
    token: S,
    x: &[f32],
    panel: Panel,
    sums: &mut FitSums,
    partials: &mut [Partial],
) {
    let (wide_rows, here) = (x.len() / panel.cols, panel.cols_here());
    let k = &mut sums.k.as_flattened_mut()[..here];
    k.copy_from_slice(&x[panel.first * LANES..][..here]);
    narrow::repeat_part(k, panel.factor);

    let whole = wide_rows == FIT_ROWS;
    let step = |first| if whole { (first, STREAM_ROWS) } else { (first * STEP, 1) };
    add_fit_rows::<S, true>(token, x, panel, step(0), sums);
    for first in 1..wide_rows.div_ceil(STEP) {
        add_fit_rows::<S, false>(token, x, panel, step(first), sums);
    }
    narrow::add_parts(&mut sums.s.as_flattened_mut()[..here], panel.factor);
    narrow::add_parts(&mut sums.q.as_flattened_mut()[..here], panel.factor);

    let (cols, rows) = (panel.cols / panel.factor, wide_rows * panel.factor);
    let n = S::F64::splat(token, rows as f64);
    let share = S::F64::splat(token, LARGEST_FIT_SHIFT);
    let most = S::F64::splat(token, f64::MAX);
    for i in 0..panel.merged() {
        let (s, q) = (S::F64::load_f64(token, &sums.s[i]), S::F64::load_f64(token, &sums.q[i]));
        let offset = s / n;
        let square = s * offset;
        let good = square.less_or_equal(q * share) & q.less_or_equal(most);
        let k = S::F64::widen(S::F32::load(token, &sums.k[i]));
        let (mean, mean_low) = two_sum(k, offset);
        let mut of_block = Partial { count: [rows as f64; LANES], ..Partial::EMPTY };
        mean.store_f64(&mut of_block.mean);
        mean_low.store_f64(&mut of_block.mean_low);
        (q - square).store_f64(&mut of_block.m2);
        let first = (panel.first + i) * LANES;
        let bad = !good & lanes_below(cols - first);
        if bad != 0 {
            token.outline(ColumnsAgain { x, cols, first, bad, of_block: &mut of_block });
        }
        merge_partials(token, &mut partials[i], &of_block);
    }
}

/// Adds eight rows, or fewer at the end of the block, of every column of a panel: the first, and how many there are from one
/// to the next. With `FIRST`, S and Q begin.
#[inline(always)]
fn add_fit_rows<S: Simd, const FIRST: bool>(
    token: S,
    x: &[f32],
    panel: Panel,
    from: (usize, usize),
    sums: &mut FitSums,
) {
    let width = panel.end - panel.first;
    let (k, s, q) = (&sums.k[..width], &mut sums.s[..width], &mut sums.q[..width]);
    for_each_vector_together(
        token,
        x,
        panel,
        from,
        #[inline(always)]
        |i, x, count| {
            let k = S::F64::widen(S::F32::load(token, &k[i]));
            let d = S::F64::widen(x[0]) - k;
            let (mut sum, mut squares) = (d, d * d);
            for &x in &x[1..count] {
                let d = S::F64::widen(x) - k;
                (sum, squares) = (sum + d, d.mul_add(d, squares));
            }
            if !FIRST {
                sum = S::F64::load_f64(token, &s[i]) + sum;
                squares = S::F64::load_f64(token, &q[i]) + squares;
            }
            sum.store_f64(&mut s[i]);
            squares.store_f64(&mut q[i]);
        },
    );
}

/// K, S and Q of a panel, aligned so that no vector of them lies in two cache lines.
#[repr(align(64))]
struct FitSums {
    k: [[f32; LANES]; FIT_VECTORS],
    s: [Lanes64; FIT_VECTORS],
    q: [Lanes64; FIT_VECTORS],
}

/// How the rows of a matrix are cut into chunks. Depends on the shape alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FitChunks {
    /// Rows of every chunk but the last.
    pub(crate) rows: usize,
    /// The number of chunks.
    pub(crate) count: usize,
}

impl FitChunks {
    pub(crate) fn new(rows: usize, cols: usize) -> Self {
        let block_rows = FIT_ROWS * narrow::factor(cols);
        let blocks = rows.div_ceil(block_rows).max(1);
        let blocks_each = blocks.div_ceil(MOST_FIT_CHUNKS);
        Self { rows: blocks_each.saturating_mul(block_rows), count: blocks.div_ceil(blocks_each) }
    }
}

/// The moments of sixteen columns, a lane for each: `mean + mean_low` and `m2 + m2_low`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Partial {
    /// A whole number. Those of a call are far below 2^53.
    count: Lanes64,
    mean: Lanes64,
    mean_low: Lanes64,
    m2: Lanes64,
    m2_low: Lanes64,
}

impl Partial {
    /// The moments of nothing.
    pub(crate) const EMPTY: Self = {
        let zeros = [0.0; LANES];
        Self { count: zeros, mean: zeros, mean_low: zeros, m2: zeros, m2_low: zeros }
    };

    /// Those of at most sixteen columns.
    #[inline(always)]
    fn gather(moments: &[Moments], m2_low: Option<&[f64]>) -> Self {
        let mut partial = Self::EMPTY;
        for (i, moments) in moments.iter().enumerate() {
            partial.count[i] = moments.count as f64;
            partial.mean[i] = moments.mean;
            partial.mean_low[i] = moments.mean_low;
            partial.m2[i] = moments.m2;
            partial.m2_low[i] = m2_low.map_or(0.0, |m2_low| m2_low[i]);
        }
        partial
    }
}

/// Merges moments into those of every column.
pub(crate) struct MergeInto<'a> {
    pub(crate) moments: &'a mut [Moments],
    /// What rounding left of every M2, where that is kept.
    pub(crate) m2_low: Option<&'a mut [f64]>,
    pub(crate) input: MergeInput<'a>,
}

impl Kernel for MergeInto<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { moments, mut m2_low, input } = self;
        for (i, moments) in moments.chunks_mut(LANES).enumerate() {
            let columns = i * LANES..i * LANES + moments.len();
            let (other, other_counts) = match input {
                MergeInput::Chunk(partials) => {
                    let mut counts = [0; LANES];
                    for (count, &of_chunk) in counts.iter_mut().zip(&partials[i].count) {
                        *count = of_chunk as u64;
                    }
                    (partials[i], counts)
                }
                MergeInput::Moments(others, low) => {
                    let (others, low) =
                        (&others[columns.clone()], low.map(|low| &low[columns.clone()]));
                    let mut counts = [0; LANES];
                    for (count, other) in counts.iter_mut().zip(others) {
                        *count = other.count;
                    }
                    (Partial::gather(others, low), counts)
                }
            };
            let low = m2_low.as_deref().map(|low| &low[columns.clone()]);
            let mut all = Partial::gather(moments, low);
            merge_partials(token, &mut all, &other);
            for (c, moments) in moments.iter_mut().enumerate() {
                let m2 = all.m2[c] + all.m2_low[c];
                if let Some(m2_low) = &mut m2_low {
                    m2_low[i * LANES + c] = all.m2_low[c] - (m2 - all.m2[c]);
                }
                *moments = Moments {
                    count: moments.count.saturating_add(other_counts[c]),
                    mean: all.mean[c],
                    mean_low: all.mean_low[c],
                    m2,
                };
            }
        }
    }
}

/// What is merged into the moments of columns.
#[derive(Clone, Copy)]
pub(crate) enum MergeInput<'a> {
    /// Those of a chunk.
    Chunk(&'a [Partial]),
    /// Those of another set, and what rounding left of their M2, where that is kept.
    Moments(&'a [Moments], Option<&'a [f64]>),
}

/// Merges the moments of other values into `into`: the merge of Chan, Golub and LeVeque. A lane that has no values takes
/// those of the other as they are, and the other way round.
#[inline(always)]
fn merge_partials<S: Simd>(token: S, into: &mut Partial, other: &Partial) {
    macro_rules! load {
        ($lanes:expr) => {
            S::F64::load_f64(token, &$lanes)
        };
    }
    let (zero, one) = (S::F64::splat(token, 0.0), S::F64::splat(token, 1.0));
    let (count, other_count) = (load!(into.count), load!(other.count));
    let n = count + other_count;
    let weight = other_count / n.max(one);

    let (mean, mean_low) = (load!(into.mean), load!(into.mean_low));
    let (delta, lost) = two_sum(load!(other.mean), zero - mean);
    let delta_low = lost + (load!(other.mean_low) - mean_low);
    let step = delta * weight;
    let step_low = delta.mul_add(weight, zero - step) + delta_low * weight;
    let (sum, lost) = two_sum(mean, step);
    let low = mean_low + (lost + step_low);
    let new_mean = sum + low;

    let delta = delta + delta_low;
    let between = (delta * delta) * (count * weight);
    let (m2, lost) = two_sum(load!(into.m2), load!(other.m2) + between);
    let m2_low = load!(into.m2_low) + (load!(other.m2_low) + lost);

    n.store_f64(&mut into.count);
    new_mean.store_f64(&mut into.mean);
    (low - (new_mean - sum)).store_f64(&mut into.mean_low);
    m2.store_f64(&mut into.m2);
    m2_low.store_f64(&mut into.m2_low);
}

/// `a + b`, and what rounding lost of it: Knuth's sum of two numbers.
#[inline(always)]
fn two_sum<V: Float>(a: V, b: V) -> (V, V) {
    let sum = a + b;
    let taken = sum - a;
    (sum, (a - (sum - taken)) + (b - taken))
}

/// Rows that widen the bound below which a deviation counts as none; more do not. With so many the bound is a deviation
/// of 1.5e-8 of the mean, a quarter of the distance of two f32: a deviation that is more is one of the data.
const MOST_ROWS_OF_BOUND: f64 = (1 << 26) as f64;

/// The mean of a column and what its deviations are divided by: the standard deviation, or 1 if the column is
/// constant. Both are NaN if there are no values.
///
/// A column counts as constant if its variance is within the error that the two-pass algorithm in f64 may make on
/// a constant one.
pub(crate) fn mean_and_scale(moments: &Moments) -> (f64, f64) {
    if moments.count == 0 {
        return (f64::NAN, f64::NAN);
    }
    let n = moments.count as f64;
    let var = moments.m2 / n;
    let n = n.min(MOST_ROWS_OF_BOUND);
    let error = n * f64::EPSILON * moments.mean;
    let constant = var <= n * f64::EPSILON * var + error * error;
    (moments.mean, if constant { 1.0 } else { var.sqrt() })
}

/// The same of every column; a slice without elements is for what is not wanted.
pub(crate) fn means_and_scales(moments: &[Moments], mean: &mut [f64], scale: &mut [f64]) {
    for (c, moments) in moments.iter().enumerate() {
        let (of_mean, of_scale) = mean_and_scale(moments);
        if let Some(mean) = mean.get_mut(c) {
            *mean = of_mean;
        }
        if let Some(scale) = scale.get_mut(c) {
            *scale = of_scale;
        }
    }
}

/// `y = (x - mean) / scale`, or with `INVERSE` `y = x * scale + mean`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standard<'a, const INVERSE: bool> {
    /// Absent: 0.
    pub(crate) mean: Option<&'a [f64]>,
    /// Absent: 1.
    pub(crate) scale: Option<&'a [f64]>,
}

impl<const INVERSE: bool> Standard<'_, INVERSE> {
    #[inline(always)]
    fn mean<S: Simd>(self, token: S, vector: usize) -> S::F64 {
        match self.mean {
            Some(mean) => load_f64(token, mean, vector, 0.0),
            None => S::F64::splat(token, 0.0),
        }
    }
}

impl<const INVERSE: bool> ColumnSource for Standard<'_, INVERSE> {
    #[inline(always)]
    fn load<S: Simd>(self, token: S, vector: usize) -> (S::F64, S::F64) {
        let one = S::F64::splat(token, 1.0);
        let scale = match self.scale {
            Some(scale) => load_f64(token, scale, vector, 0.0),
            None => one,
        };
        if INVERSE {
            return (S::F64::splat(token, 0.0), scale);
        }
        (self.mean(token, vector), one / scale)
    }

    #[inline(always)]
    fn shift<S: Simd>(self, token: S, vector: usize) -> S::F64 {
        if INVERSE { self.mean(token, vector) } else { S::F64::splat(token, 0.0) }
    }
}

/// The moments of those columns of a block, of sixteen, that have NaN or infinities in them or whose first value is far
/// from the others.
struct ColumnsAgain<'a> {
    x: &'a [f32],
    cols: usize,
    /// The column of lane 0.
    first: usize,
    /// A bit for each lane whose column it is: the others stay as they are.
    bad: u16,
    of_block: &'a mut Partial,
}

impl Kernel for ColumnsAgain<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { x, cols, first, bad, of_block } = self;
        let vector = first / LANES;
        let mut k = first_numbers(token, x, cols, vector);
        let mut sums = sums_of_numbers::<S>(token, x, cols, vector, k);
        let one = S::F64::splat(token, 1.0);
        // K near the mean, as f32: an ulp is at most twice the deviation of numbers that are not all equal.
        k = (S::F64::widen(k) + sums.s / sums.count.max(one)).narrow();
        sums = sums_of_numbers::<S>(token, x, cols, vector, k);
        let offset = sums.s / sums.count.max(one);
        let (mean, mean_low) = two_sum(S::F64::widen(k), offset);
        let mut again = Partial::EMPTY;
        sums.count.store_f64(&mut again.count);
        mean.store_f64(&mut again.mean);
        mean_low.store_f64(&mut again.mean_low);
        (sums.q - sums.s * offset).store_f64(&mut again.m2);
        let finite = sums.q.less_or_equal(S::F64::splat(token, f64::MAX));
        for lane in (0..LANES).filter(|lane| bad >> lane & 1 == 1) {
            let count = again.count[lane];
            let (mut mean, mut low, mut m2) =
                (again.mean[lane], again.mean_low[lane], again.m2[lane]);
            if count == 0.0 {
                (mean, low, m2) = (0.0, 0.0, 0.0);
            } else if finite >> lane & 1 == 0 {
                // Squares of finite f32 cannot overflow f64: there is an infinity among them.
                (mean, low, m2) = (f64::NAN, 0.0, f64::NAN);
            } else if m2 < 0.0 {
                m2 = 0.0;
            }
            of_block.count[lane] = count;
            (of_block.mean[lane], of_block.mean_low[lane]) = (mean, low);
            of_block.m2[lane] = m2;
        }
    }
}

/// The first value of each of sixteen columns that is not NaN; NaN where there is none.
#[inline(always)]
fn first_numbers<S: Simd>(token: S, x: &[f32], cols: usize, vector: usize) -> S::F32 {
    let mut k = S::F32::splat(token, f32::NAN);
    for row in x.chunks_exact(cols) {
        let known = k.equal(k);
        if known == u16::MAX {
            break;
        }
        let x = load_columns::<S::F32>(token, row, vector, 0.0);
        let (has, lacks) = (S::Keep::from_bits(token, known), S::Keep::from_bits(token, !known));
        k = has.or_zero(k) + lacks.or_zero(x);
    }
    k
}

/// n, S and Q of sixteen columns.
struct SumsOfNumbers<V> {
    count: V,
    s: V,
    q: V,
}

/// Of the values that are not NaN.
#[inline(always)]
fn sums_of_numbers<S: Simd>(
    token: S,
    x: &[f32],
    cols: usize,
    vector: usize,
    k: S::F32,
) -> SumsOfNumbers<S::F64> {
    let (zero, one) = (S::F64::splat(token, 0.0), S::F32::splat(token, 1.0));
    let mut sums = SumsOfNumbers { count: zero, s: zero, q: zero };
    for x in x.chunks(cols.saturating_mul(AGAIN_ROWS)) {
        let (mut count, mut s, mut q) = (S::F32::splat(token, 0.0), zero, zero);
        for row in x.chunks_exact(cols) {
            let x = load_columns::<S::F32>(token, row, vector, 0.0);
            let keep = S::Keep::from_bits(token, x.equal(x));
            let d = S::F64::widen(keep.or_zero(x)) - S::F64::widen(keep.or_zero(k));
            count = count + keep.or_zero(one);
            (s, q) = (s + d, d.mul_add(d, q));
        }
        sums.count = sums.count + S::F64::widen(count);
        (sums.s, sums.q) = (sums.s + s, sums.q + q);
    }
    sums
}
