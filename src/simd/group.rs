//! A group of rows: what a kernel reads, from any number of inputs, and writes, vector by vector.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::slice;

use super::contract::{Float, LANES, Line};
use super::memory;
use crate::pitch::Pitch;

/// `R` rows of one length, read from `IN` inputs and written, vector by vector. The first input is x.
///
/// Each row of x and y keeps the invariant of a span of `cols` elements (`span.rs`). Each row of the other inputs is valid for
/// reads of as many, and is y itself or does not overlap it.
#[derive(Debug)]
pub(crate) struct Group<'a, const R: usize, const IN: usize = 1> {
    inputs: [[*const f32; R]; IN],
    dst: [*mut f32; R],
    cols: usize,
    streams: bool,
    lifetime: PhantomData<&'a mut [f32]>,
}

/// A [`Group`] that is read alone: there is no `&mut` to it, which writing takes, and its y is null.
pub(crate) struct ReadGroup<'a, const R: usize, const IN: usize>(Group<'a, R, IN>);

impl<const R: usize, const IN: usize> ReadGroup<'_, R, IN> {
    /// Rows of each input.
    ///
    /// # Safety
    ///
    /// Every row of every input keeps the invariant.
    #[inline(always)]
    pub(super) unsafe fn new(inputs: [[*const f32; R]; IN], cols: usize) -> Self {
        // SAFETY: the caller's promise. There is no y.
        Self(unsafe { Group::new(inputs, [core::ptr::null_mut(); R], cols, false) })
    }
}

impl<'a, const R: usize, const IN: usize> Deref for ReadGroup<'a, R, IN> {
    type Target = Group<'a, R, IN>;

    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// The starts of `R` rows at one stride, the first of them row `row`, each `apart` rows after the one before.
#[inline(always)]
pub(super) fn at_one_stride<const R: usize>(
    first: *const f32,
    pitch: usize,
    row: usize,
    apart: usize,
) -> [*const f32; R] {
    let first = first.wrapping_add(row.wrapping_mul(pitch));
    let step = pitch.wrapping_mul(apart);
    let mut rows = [first; R];
    for r in 1..R {
        rows[r] = first.wrapping_add(r.wrapping_mul(step));
    }
    rows
}

/// The same at two strides, of rows one after the other. A call, so that no kernel is larger by it; it returns by value, so that
/// the other rows stay in registers.
#[inline(never)]
pub(super) fn nested_rows<const R: usize>(
    first: *const f32,
    pitch: Pitch,
    row: usize,
) -> [*const f32; R] {
    pitch.offsets(row).map(|offset| first.wrapping_add(offset))
}

impl<const R: usize, const IN: usize> Group<'_, R, IN> {
    /// Rows of each input and of y.
    ///
    /// # Safety
    ///
    /// Every row of every input and of y keeps the invariant.
    #[inline(always)]
    pub(super) unsafe fn new(
        inputs: [[*const f32; R]; IN],
        dst: [*mut f32; R],
        cols: usize,
        streams: bool,
    ) -> Self {
        Self { inputs, dst, cols, streams, lifetime: PhantomData }
    }

    /// Elements of a row.
    #[inline(always)]
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Full vectors in a row; the elements after them are the tail.
    #[inline(always)]
    pub(crate) fn full(&self) -> usize {
        self.cols / LANES
    }

    /// Elements of the first row of y before its first cache line boundary: the whole row if there is none.
    #[inline(always)]
    pub(crate) fn before_line(&self) -> usize {
        const LINE: usize = 64;
        self.dst[0].align_offset(LINE).min(self.cols)
    }

    /// Whether y is to be written by non-temporal stores, and each of its rows begins at a cache line.
    #[inline(always)]
    pub(crate) fn streams(&self) -> bool {
        self.streams
            && self.dst.iter().all(
                #[inline(always)]
                |y| y.cast::<Line>().is_aligned(),
            )
    }

    /// Columns `start` up to `end` of every row.
    #[inline(always)]
    pub(crate) fn columns(&mut self, start: usize, end: usize) -> Group<'_, R, IN> {
        assert!(start <= end && end <= self.cols, "the columns lie within the rows");
        let mut columns = Group { cols: end - start, lifetime: PhantomData, ..*self };
        for r in 0..R {
            // SAFETY: `start` is within the row.
            unsafe {
                for i in 0..IN {
                    columns.inputs[i][r] = opaque(self.inputs[i][r].add(start));
                }
                columns.dst[r] = opaque(self.dst[r].add(start).cast_const()).cast_mut();
            }
        }
        columns
    }

    /// Elements of a row after its full vectors.
    #[inline(always)]
    pub(crate) fn tail(&self) -> usize {
        self.cols % LANES
    }

    /// The rows of x.
    #[inline(always)]
    pub(crate) fn rows(&self) -> [&[f32]; R] {
        self.rows_of(0)
    }

    /// The rows of an input.
    #[inline(always)]
    pub(crate) fn rows_of(&self, input: usize) -> [&[f32]; R] {
        let mut rows: [&[f32]; R] = [&[]; R];
        for (row, &src) in rows.iter_mut().zip(&self.inputs[input]) {
            // SAFETY: `src` is valid for reads of `cols` elements. The result borrows this group, so
            // nothing is written while it lives.
            *row = unsafe { slice::from_raw_parts(src, self.cols) };
        }
        rows
    }

    /// Vector `i` of row `r` of x.
    #[inline(always)]
    pub(crate) fn load<V: Float>(&self, token: V::Token, r: usize, i: usize) -> V {
        self.load_input(token, 0, r, i)
    }

    /// Vector `i` of row `r` of an input.
    #[inline(always)]
    pub(crate) fn load_input<V: Float>(
        &self,
        token: V::Token,
        input: usize,
        r: usize,
        i: usize,
    ) -> V {
        assert!(i < self.full(), "a vector within the row");
        // SAFETY: elements `i * LANES` and the next 15 are within the row, by the assertion.
        let x = unsafe { &*self.inputs[input][r].add(i * LANES).cast::<[f32; LANES]>() };
        V::load(token, x)
    }

    /// Writes vector `i` of row `r` of y. `STREAM` selects a non-temporal store, which requires that the group
    /// [streams](Self::streams).
    #[inline(always)]
    pub(crate) fn store<V: Float, const STREAM: bool>(&mut self, r: usize, i: usize, vector: V) {
        assert!(i < self.full(), "a vector within the row");
        // SAFETY: elements `i * LANES` and the next 15 are within the row, by the assertion.
        let y = unsafe { self.dst[r].add(i * LANES) };
        if STREAM {
            let line = y.cast::<Line>();
            assert!(self.streams && line.is_aligned(), "a span that streams, and a line of it");
            // SAFETY: as above, and aligned. y is not x, so nothing reads the line before the fence.
            vector.stream(unsafe { &mut *line });
        } else {
            // SAFETY: as above.
            vector.store(unsafe { &mut *y.cast::<[MaybeUninit<f32>; LANES]>() });
        }
    }

    /// Prefetches vector `i` of what is `ahead` elements after row `r` of x.
    #[inline(always)]
    pub(crate) fn prefetch(&self, r: usize, i: usize, ahead: usize) {
        self.prefetch_input(0, r, i, ahead);
    }

    /// Prefetches vector `i` of what is `ahead` elements after row `r` of an input.
    #[inline(always)]
    pub(crate) fn prefetch_input(&self, input: usize, r: usize, i: usize, ahead: usize) {
        memory::prefetch(self.inputs[input][r].wrapping_add(ahead.wrapping_add(i * LANES)));
    }

    /// Prefetches vector `i` of what is `ahead` elements after row `r` of y, for a store.
    #[inline(always)]
    pub(crate) fn prefetch_write(&self, r: usize, i: usize, ahead: usize) {
        memory::prefetch_write(self.dst[r].wrapping_add(ahead.wrapping_add(i * LANES)));
    }

    /// The tail of row `r` of x, `fill` in the lanes beyond it.
    #[inline(always)]
    pub(crate) fn load_tail<V: Float>(&self, token: V::Token, r: usize, fill: V::Elem) -> V {
        self.load_input_tail(token, 0, r, fill)
    }

    /// The tail of row `r` of an input, `fill` in the lanes beyond it.
    #[inline(always)]
    pub(crate) fn load_input_tail<V: Float>(
        &self,
        token: V::Token,
        input: usize,
        r: usize,
        fill: V::Elem,
    ) -> V {
        let (start, len) = (self.cols - self.tail(), self.tail());
        // SAFETY: the last `tail` elements of the row. Nothing is written while they are borrowed.
        let x = unsafe { slice::from_raw_parts(self.inputs[input][r].add(start), len) };
        V::load_partial(token, x, fill)
    }

    /// Writes the tail of row `r` of y.
    #[inline(always)]
    pub(crate) fn store_tail<V: Float>(&mut self, r: usize, vector: V) {
        let (start, len) = (self.cols - self.tail(), self.tail());
        // SAFETY: the last `tail` elements of the row.
        vector.store_partial(unsafe {
            slice::from_raw_parts_mut(self.dst[r].add(start).cast::<MaybeUninit<f32>>(), len)
        });
    }
}

/// The same address, whose computation the optimiser cannot see. A loop over several rows then counts one index.
/// Otherwise the optimiser keeps a pointer for each row, gamma and beta, and advances every one of them.
/// `docs/performance.md` has the gain ("one index in loops over rows").
#[inline(always)]
#[cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read there")
)]
fn opaque(address: *const f32) -> *const f32 {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        let mut address = address;
        // SAFETY: there is no instruction; the output is the input.
        unsafe {
            core::arch::asm!(
                "/* {} */",
                inout(reg) address,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        address
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    address
}
