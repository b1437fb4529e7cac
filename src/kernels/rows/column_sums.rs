//! The sums of a backward pass over rows, one for each column: dgamma, dbeta, and dbias.
//!
//! The plain algorithm, for the rows of a matrix:
//!
//! ```text
//! for row r: for each column c: dgamma[c] += dy[r, c] * x_hat[r, c];  dbeta[c] += dy[r, c]
//! ```
//!
//! What makes it exact, fast, and the same for any number of threads:
//!
//! * **Blocks of rows**, whose height ([`RowBlocks`]) depends on the shape alone. A block is summed in f32 and added to f64.
//! * **Two levels of sums** in a block: [`STEP`] rows one after the other, then the sums of up to [`STEP`] such steps: at most 16
//!   roundings, where one sum of 64 rows has 64.
//! * **Chunks of blocks**, at most [`MOST_CHUNKS`], are what threads share. Each has sums of its own; the order in which chunks
//!   are added depends on the shape alone.
//! * **dbias is summed in f64** ([`DbiasSums`]): nothing bounds what is added to dx, so that a sum in f32 could overflow.
//! * **A row that leaves f32** is added to the f64 of its chunk, and to no sum in f32.
#![forbid(unsafe_code)]

use core::ops::Range;

use crate::element::WideMut;
use crate::kernels::lanes::Lanes64;
use crate::kernels::row_filter::RowFilter;
use crate::simd::{Double, Float, Kernel, LANES, Simd, halves};

/// Rows that are summed before their sum is.
pub(super) const STEP: usize = 8;

/// At most this many chunks of blocks for threads to share: each has scratch of its own.
const MOST_CHUNKS: usize = 16;

/// How rows are cut into blocks, and these into chunks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowBlocks {
    /// Rows of a block, a multiple of [`STEP`].
    pub(super) rows: usize,
    /// Rows of a chunk, a multiple of the rows of a block.
    pub(crate) chunk: usize,
    /// The number of chunks.
    pub(crate) chunks: usize,
    /// Numbers of a chunk's scratch.
    pub(crate) scratch: usize,
}

impl RowBlocks {
    /// Depends on the shape alone, on how many sums there are (none, that of dgamma, or both), and on how many rows of f64 a chunk has
    /// beside them.
    pub(crate) fn new(rows: usize, cols: usize, sums: usize, others: usize) -> Self {
        // Four blocks of few rows, for threads to share.
        let block = rows.div_ceil(4).next_power_of_two().clamp(STEP, STEP * STEP);
        let blocks = rows.div_ceil(block).max(1);
        let each = blocks.div_ceil(MOST_CHUNKS);
        // A sum in f64, and two in f32.
        let scratch = cols.saturating_mul(2 * sums + others);
        Self {
            rows: block,
            chunk: each.saturating_mul(block),
            chunks: blocks.div_ceil(each),
            scratch,
        }
    }

    /// Numbers of the scratch of all chunks.
    pub(crate) fn total_scratch(self) -> usize {
        self.scratch.saturating_mul(self.chunks)
    }

    /// Goes through the kept ones of so many rows, in order, and through the scratch of their chunks. Row 0 is number `first` of
    /// what is kept.
    #[inline(always)]
    pub(super) fn go_through<'s, S: Simd>(
        self,
        token: S,
        rows: usize,
        (kept, first): (Option<RowFilter<'_>>, usize),
        scratch: &'s mut [f64],
        work: &mut impl ChunkWork<'s>,
    ) {
        let mut scratch = scratch.chunks_mut(self.scratch.max(1));
        for start in (0..rows).step_by(self.chunk) {
            if self.scratch > 0 {
                work.begin_chunk(scratch.next().expect("scratch of each chunk"));
            }
            let end = rows.min(start + self.chunk);
            for block in (start..end).step_by(self.rows) {
                let end = end.min(block + self.rows);
                for step in (block..end).step_by(STEP) {
                    let end = end.min(step + STEP);
                    let mut row = step;
                    while row < end {
                        let run = match kept {
                            None => row..end,
                            Some(kept) => {
                                // It looks no further than the step.
                                let kept = kept.before(first + end);
                                let run = kept.next_run(first + row, end - row);
                                run.start - first..run.end - first
                            }
                        };
                        if run.is_empty() || run.start >= end {
                            break;
                        }
                        row = run.end.min(end);
                        work.rows(token, run.start..row);
                    }
                    work.end_step();
                }
                work.end_block();
            }
        }
    }
}

/// What is done with the rows of chunks.
pub(super) trait ChunkWork<'s> {
    /// A chunk, which has scratch, begins.
    fn begin_chunk(&mut self, scratch: &'s mut [f64]);
    /// Some rows of a step.
    fn rows<S: Simd>(&mut self, token: S, rows: Range<usize>);
    /// A step is done.
    fn end_step(&mut self);
    /// A block is done.
    fn end_block(&mut self);
}

/// The sums of one chunk: `N` of each column.
pub(super) struct ColumnSums<'s, const N: usize> {
    /// Of the rows of a step.
    step: Sums<'s, f32, N>,
    /// Of the steps of a block.
    block: Sums<'s, f32, N>,
    /// Of the blocks of the chunk, and of the rows that leave f32.
    chunk: Sums<'s, f64, N>,
}

/// The sums of dx of a chunk, one of each column.
pub(super) struct DbiasSums<'s>(&'s mut [f64]);

impl<'s> DbiasSums<'s> {
    /// No sums yet, at the end of the scratch of a chunk; and the rest of it.
    pub(super) fn new(scratch: &'s mut [f64], cols: usize) -> (&'s mut [f64], Self) {
        let (scratch, sums) = scratch.split_at_mut(scratch.len() - cols);
        sums.fill(0.0);
        (scratch, Self(sums))
    }

    /// Those of columns `start` up to `end`.
    #[inline(always)]
    pub(super) fn columns(&mut self, start: usize, end: usize) -> DbiasSums<'_> {
        DbiasSums(&mut self.0[start..end])
    }

    /// Adds vector `i` of dx.
    #[inline(always)]
    pub(super) fn add<S: Simd>(&mut self, token: S, i: usize, dx: S::F32) {
        let sums = &mut self.0.as_chunks_mut::<LANES>().0[i];
        (S::F64::load_f64(token, sums) + S::F64::widen(dx)).store_f64(sums);
    }

    /// Adds the lanes after the full vectors.
    #[inline(always)]
    pub(super) fn add_tail<S: Simd>(&mut self, _: S, dx: S::F32) {
        let mut all = [0.0; LANES];
        dx.store_init(&mut all);
        for (sum, dx) in self.0.as_chunks_mut::<LANES>().1.iter_mut().zip(all) {
            *sum += f64::from(dx);
        }
    }
}

/// A sum of each column, `N` times.
pub(super) struct Sums<'s, E, const N: usize>([&'s mut [E]; N]);

/// The sums of a chunk in f64: two of each column, of which some are absent. One function serves every `N`, since few rows leave f32.
pub(super) struct ChunkSums<'w>([Option<&'w mut [f64]>; 2]);

impl ChunkSums<'_> {
    /// Columns `start` up to `end`.
    #[inline(always)]
    pub(super) fn columns(&mut self, start: usize, end: usize) -> ChunkSums<'_> {
        let mut parts = [None, None];
        for (part, sums) in parts.iter_mut().zip(&mut self.0) {
            if let Some(sums) = sums {
                *part = Some(&mut sums[start..end]);
            }
        }
        ChunkSums(parts)
    }
}

impl<'s, const N: usize> ColumnSums<'s, N> {
    /// No sums yet, of so many columns, in the scratch of a chunk.
    pub(super) fn new(scratch: &'s mut [f64], cols: usize) -> Self {
        scratch.fill(0.0);
        let (chunk, singles) = scratch.split_at_mut(N * cols);
        let (step, block) = halves(singles).split_at_mut(N * cols);
        Self {
            step: Sums::new(step, cols),
            block: Sums::new(block, cols),
            chunk: Sums::new(chunk, cols),
        }
    }

    /// The sums of a step, for columns `start` up to `end`.
    #[inline(always)]
    pub(super) fn step(&mut self, start: usize, end: usize) -> Sums<'_, f32, N> {
        self.step.columns(start, end)
    }

    /// Those of columns `start` up to `end`.
    #[inline(always)]
    pub(super) fn columns(&mut self, start: usize, end: usize) -> ColumnSums<'_, N> {
        ColumnSums {
            step: self.step.columns(start, end),
            block: self.block.columns(start, end),
            chunk: self.chunk.columns(start, end),
        }
    }

    /// The sums in f64.
    #[inline(always)]
    pub(super) fn chunk(&mut self) -> ChunkSums<'_> {
        let mut sums = [None, None];
        for (sum, of) in sums.iter_mut().zip(&mut self.chunk.0) {
            *sum = Some(&mut **of);
        }
        ChunkSums(sums)
    }

    /// Adds the sums of a step to those of its block.
    #[inline(always)]
    pub(super) fn end_step(&mut self) {
        for (block, step) in self.block.0.iter_mut().zip(&mut self.step.0) {
            for (block, step) in block.iter_mut().zip(step.iter_mut()) {
                *block += core::mem::take(step);
            }
        }
    }

    /// Adds the sums of a block to those of its chunk.
    #[inline(always)]
    pub(super) fn end_block(&mut self) {
        for (chunk, block) in self.chunk.0.iter_mut().zip(&mut self.block.0) {
            for (chunk, block) in chunk.iter_mut().zip(block.iter_mut()) {
                *chunk += f64::from(core::mem::take(block));
            }
        }
    }
}

impl<'s, E, const N: usize> Sums<'s, E, N> {
    fn new(mut memory: &'s mut [E], cols: usize) -> Self {
        Self(core::array::from_fn(|_| {
            memory.split_off_mut(..cols).expect("N sums for each column")
        }))
    }

    /// Columns `start` up to `end`.
    #[inline(always)]
    pub(super) fn columns(&mut self, start: usize, end: usize) -> Sums<'_, E, N> {
        let mut parts: [&mut [E]; N] = core::array::from_fn(
            #[inline(always)]
            |_| Default::default(),
        );
        for (part, sums) in parts.iter_mut().zip(&mut self.0) {
            *part = &mut sums[start..end];
        }
        Sums(parts)
    }
}

/// Sums of columns in lanes of type `V`.
pub(super) trait LaneSums<V: Float, const N: usize> {
    /// Vector `i` of each sum.
    fn load(&self, token: V::Token, i: usize) -> [V; N];
    /// Writes it.
    fn store(&mut self, i: usize, sums: [V; N]);
    /// The lanes after the full vectors.
    fn load_tail(&self, token: V::Token) -> [V; N];
    /// Writes them.
    fn store_tail(&mut self, sums: [V; N]);
}

impl<V: Float<Elem = f32>, const N: usize> LaneSums<V, N> for Sums<'_, f32, N> {
    #[inline(always)]
    fn load(&self, token: V::Token, i: usize) -> [V; N] {
        let mut lanes = [V::splat(token, 0.0); N];
        for k in 0..N {
            lanes[k] = V::load(token, &self.0[k].as_chunks().0[i]);
        }
        lanes
    }

    #[inline(always)]
    fn store(&mut self, i: usize, sums: [V; N]) {
        for k in 0..N {
            sums[k].store_init(&mut self.0[k].as_chunks_mut().0[i]);
        }
    }

    #[inline(always)]
    fn load_tail(&self, token: V::Token) -> [V; N] {
        let mut lanes = [V::splat(token, 0.0); N];
        for k in 0..N {
            lanes[k] = V::load_partial(token, self.0[k].as_chunks::<LANES>().1, 0.0);
        }
        lanes
    }

    #[inline(always)]
    fn store_tail(&mut self, sums: [V; N]) {
        for k in 0..N {
            sums[k].store_partial_init(self.0[k].as_chunks_mut::<LANES>().1);
        }
    }
}

/// The tail of a few rows that leave f32 goes through an array.
impl<V: Double> LaneSums<V, 2> for ChunkSums<'_> {
    #[inline(always)]
    fn load(&self, token: V::Token, i: usize) -> [V; 2] {
        let mut lanes = [V::splat(token, 0.0); 2];
        for k in 0..2 {
            if let Some(sums) = &self.0[k] {
                lanes[k] = V::load_f64(token, &sums.as_chunks().0[i]);
            }
        }
        lanes
    }

    #[inline(always)]
    fn store(&mut self, i: usize, lanes: [V; 2]) {
        for k in 0..2 {
            if let Some(sums) = &mut self.0[k] {
                lanes[k].store_f64(&mut sums.as_chunks_mut().0[i]);
            }
        }
    }

    #[inline(always)]
    fn load_tail(&self, token: V::Token) -> [V; 2] {
        let mut lanes = [V::splat(token, 0.0); 2];
        for k in 0..2 {
            if let Some(sums) = &self.0[k] {
                let tail = sums.as_chunks::<LANES>().1;
                let mut all: Lanes64 = [0.0; LANES];
                all[..tail.len()].copy_from_slice(tail);
                lanes[k] = V::load_f64(token, &all);
            }
        }
        lanes
    }

    #[inline(always)]
    fn store_tail(&mut self, lanes: [V; 2]) {
        for k in 0..2 {
            if let Some(sums) = &mut self.0[k] {
                let mut all: Lanes64 = [0.0; LANES];
                lanes[k].store_f64(&mut all);
                let tail = sums.as_chunks_mut::<LANES>().1;
                tail.copy_from_slice(&all[..tail.len()]);
            }
        }
    }
}

/// Adds the sums of chunks, in order, and writes them, or adds them to what is there.
pub(crate) struct WriteSums<'s, 'a> {
    pub(crate) scratch: &'s mut [f64],
    pub(crate) blocks: RowBlocks,
    /// dgamma, dbeta and dbias.
    pub(crate) out: [Option<(WideMut<'a>, bool)>; 3],
}

impl Kernel for WriteSums<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { scratch, blocks, out } = self;
        for (k, out) in out.into_iter().enumerate() {
            let Some((out, adds)) = out else { continue };
            // The last is at the end of the scratch.
            let start = if k < 2 { k * out.len() } else { blocks.scratch - out.len() };
            let at = start..start + out.len();
            let (first, others) = scratch.split_at_mut(blocks.scratch);
            let sums = &mut first[at.clone()];
            for other in others.chunks_exact(blocks.scratch.max(1)) {
                for (sum, other) in sums.iter_mut().zip(&other[at.clone()]) {
                    *sum += other;
                }
            }
            write_gradient(out, adds, sums);
        }
    }
}

/// Writes sums, or adds them to what is there.
pub(crate) struct WriteGradients<'s, 'a> {
    /// Those of dgamma and of dbeta.
    pub(crate) sums: [&'s [f64]; 2],
    pub(crate) out: [Option<(WideMut<'a>, bool)>; 2],
}

impl Kernel for WriteGradients<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (sums, out) in self.sums.into_iter().zip(self.out) {
            if let Some((out, adds)) = out {
                write_gradient(out, adds, sums);
            }
        }
    }
}

/// Writes the gradient of a parameter, or adds it to what is there.
#[inline(always)]
fn write_gradient(out: WideMut<'_>, adds: bool, sums: &[f64]) {
    match out {
        WideMut::Single(out) if adds => {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = (f64::from(*out) + *sum) as f32;
            }
        }
        WideMut::Single(out) => {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = *sum as f32;
            }
        }
        WideMut::Double(out) if adds => {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out += *sum;
            }
        }
        WideMut::Double(out) => out.copy_from_slice(sums),
    }
}
