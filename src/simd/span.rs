//! Buffers that are read and written: x and y, two buffers or one (in place).
//!
//! A kernel that reads and writes through a [`Span`] works out of place, into uninitialised memory
//! and in place without knowing which. This file and `row_span.rs` hold the pointers that make that possible.
//!
//! Invariant of both types: `src` is valid for reads and `dst` for writes of the same number of f32;
//! either they are one pointer, or the two ranges do not overlap; nothing else writes to either range
//! during `'a`, and nothing else reads the range of `dst`. The constructors establish it from
//! references, and splitting and reborrowing keep it.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::{ptr, slice};

use super::{Float, LANES, Line, Real, fence};

/// Elements that a kernel reads from x and writes to y.
#[derive(Debug)]
pub(crate) struct Span<'a> {
    src: *const f32,
    dst: *mut f32,
    len: usize,
    /// Whether y is written around the caches where that can be.
    streams: bool,
    lifetime: PhantomData<(&'a [f32], &'a mut [f32])>,
}

// SAFETY: a `Span` stands for a `&[f32]` and a `&mut [f32]`, which are both `Send`.
unsafe impl Send for Span<'_> {}

impl<'a> Span<'a> {
    /// Reads `x`, writes `y`.
    #[inline(always)]
    pub(crate) fn new(x: &'a [f32], y: &'a mut [f32]) -> Self {
        assert_eq!(x.len(), y.len(), "x and y have the same number of elements");
        Self {
            src: x.as_ptr(),
            dst: y.as_mut_ptr(),
            len: x.len(),
            streams: false,
            lifetime: PhantomData,
        }
    }

    /// Reads and writes `xy`.
    pub(crate) fn in_place(xy: &'a mut [f32]) -> Self {
        let dst = xy.as_mut_ptr();
        Self { src: dst, dst, len: xy.len(), streams: false, lifetime: PhantomData }
    }

    /// Reads `x`, writes `y`, which holds nothing yet.
    #[inline(always)]
    pub(crate) fn uninit(x: &'a [f32], y: &'a mut [MaybeUninit<f32>]) -> Self {
        assert_eq!(x.len(), y.len(), "x and y have the same number of elements");
        Self {
            src: x.as_ptr(),
            dst: y.as_mut_ptr().cast(),
            len: x.len(),
            streams: false,
            lifetime: PhantomData,
        }
    }

    /// The same, and y is written around the caches, unless it is x.
    pub(crate) fn streaming(mut self) -> Self {
        self.streams = !ptr::eq(self.src, self.dst);
        self
    }

    /// Whether y is written around the caches where that can be.
    #[inline(always)]
    pub(crate) fn streams(&self) -> bool {
        self.streams
    }

    /// The number of elements.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The elements of x.
    pub(crate) fn src(&self) -> &[f32] {
        // SAFETY: `src` is valid for reads of `len` elements, and while the result lives this span is
        // borrowed, so that nothing is written.
        unsafe { slice::from_raw_parts(self.src, self.len) }
    }

    /// The elements before `at`, and the others.
    pub(crate) fn split_at(self, at: usize) -> (Self, Self) {
        assert!(at <= self.len, "a span of {} elements has none at {at}", self.len);
        // SAFETY: `at` is within both ranges.
        let (src, dst) = unsafe { (self.src.add(at), self.dst.add(at)) };
        let high = Self { src, dst, len: self.len - at, ..self };
        (Self { len: at, ..self }, high)
    }

    /// The same span again. Until the result is dropped, and what it streamed is fenced, this one cannot be used.
    #[inline(always)]
    pub(crate) fn reborrow(&mut self) -> Span<'_> {
        Span { lifetime: PhantomData, ..*self }
    }

    /// Writes every element of x to y.
    pub(crate) fn copy(self) {
        // SAFETY: both ranges are valid; `copy` allows them to be one.
        unsafe { self.src.copy_to(self.dst, self.len) }
    }

    /// Writes `+0.0` to every element of y.
    pub(crate) fn zero(self) {
        // SAFETY: the range is valid for writes; zero bytes are `+0.0`.
        unsafe { self.dst.write_bytes(0, self.len) }
    }

    /// Writes the elements `y` to y, which are as many.
    pub(crate) fn put(self, y: &[f32]) {
        assert_eq!(y.len(), self.len, "y is given as many elements as it has");
        // SAFETY: they are those of the range of `dst`, which the span has for itself: `y` is elsewhere.
        unsafe { self.dst.copy_from_nonoverlapping(y.as_ptr(), y.len()) }
    }

    /// Element `i` of x.
    #[inline(always)]
    pub(crate) fn read(&self, i: usize) -> f32 {
        assert!(i < self.len, "an element of the span");
        // SAFETY: `i` is within the range of `src`.
        unsafe { *self.src.add(i) }
    }

    /// Writes element `i` of y.
    #[inline(always)]
    pub(crate) fn write(&mut self, i: usize, y: f32) {
        assert!(i < self.len, "an element of the span");
        // SAFETY: `i` is within the range of `dst`.
        unsafe { self.dst.add(i).write(y) }
    }

    /// `R` rows of `cols` elements, the first of them at `start`.
    #[inline(always)]
    pub(crate) fn group<const R: usize>(&mut self, start: usize, cols: usize) -> Group<'_, R> {
        self.group_apart(start, cols, cols)
    }

    /// `R` rows of `cols` elements, the first of them at `start`, and each so many elements after the one before.
    #[inline(always)]
    pub(crate) fn group_apart<const R: usize>(
        &mut self,
        start: usize,
        cols: usize,
        pitch: usize,
    ) -> Group<'_, R> {
        let last = pitch.checked_mul(R - 1).and_then(|elements| elements.checked_add(start));
        let end = last.and_then(|last| last.checked_add(cols));
        assert!(end.is_some_and(|end| end <= self.len), "the rows lie within the span");
        // SAFETY: `start` is within both ranges.
        let (src, dst) = unsafe { (self.src.add(start), self.dst.add(start)) };
        let pitches = Pitches { src: pitch, second: pitch, dst: pitch };
        // SAFETY: row `r` is `cols` elements from `start + r * pitch` on, and the last of them ends within both ranges.
        unsafe { Group::new((src, src, dst), pitches, cols, self.streams) }
    }

    /// x, y and the number of elements.
    pub(super) fn parts(&self) -> (*const f32, *mut f32, usize) {
        (self.src, self.dst, self.len)
    }
}

/// Whoever has written around the caches has to say when that is done: the task that worked on a span drops it.
impl Drop for Span<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.streams {
            fence();
        }
    }
}

/// Elements from a row to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pitches {
    pub(super) src: usize,
    pub(super) second: usize,
    pub(super) dst: usize,
}

/// `R` rows of one length, read and written vector by vector.
///
/// Each row of it keeps the invariant of a [`Span`] of `cols` elements, and so does `second`, a second input: x itself
/// where there is no other.
#[derive(Debug)]
pub(crate) struct Group<'a, const R: usize> {
    src: [*const f32; R],
    second: [*const f32; R],
    dst: [*mut f32; R],
    cols: usize,
    streams: bool,
    lifetime: PhantomData<&'a mut [f32]>,
}

impl<const R: usize> Group<'_, R> {
    /// Rows from the first of x, of the second input and of y.
    ///
    /// # Safety
    ///
    /// Row `r` starts `r` pitches after the first, and all of them keep the invariant.
    #[inline(always)]
    pub(super) unsafe fn new(
        (src, second, dst): (*const f32, *const f32, *mut f32),
        pitches: Pitches,
        cols: usize,
        streams: bool,
    ) -> Self {
        let mut group = Self {
            src: [src; R],
            second: [second; R],
            dst: [dst; R],
            cols,
            streams,
            lifetime: PhantomData,
        };
        for r in 1..R {
            // SAFETY: the caller's promise.
            unsafe {
                group.src[r] = src.add(r * pitches.src);
                group.second[r] = second.add(r * pitches.second);
                group.dst[r] = dst.add(r * pitches.dst);
            }
        }
        group
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

    /// Elements of the first row of y before its first cache line boundary, all if there is none.
    #[inline(always)]
    pub(crate) fn before_line(&self) -> usize {
        const LINE: usize = 64;
        self.dst[0].align_offset(LINE).min(self.cols)
    }

    /// Whether y is to be written around the caches, and every row of it begins at a cache line.
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
    pub(crate) fn columns(&mut self, start: usize, end: usize) -> Group<'_, R> {
        assert!(start <= end && end <= self.cols, "the columns lie within the rows");
        let mut columns = Group { cols: end - start, lifetime: PhantomData, ..*self };
        for r in 0..R {
            // SAFETY: `start` is within the row.
            unsafe {
                columns.src[r] = super::opaque(self.src[r].add(start));
                columns.second[r] = super::opaque(self.second[r].add(start));
                columns.dst[r] = super::opaque(self.dst[r].add(start).cast_const()).cast_mut();
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
        let mut rows: [&[f32]; R] = [&[]; R];
        for (row, &src) in rows.iter_mut().zip(&self.src) {
            // SAFETY: `src` is valid for reads of `cols` elements, and while the result lives this
            // group is borrowed, so that nothing is written.
            *row = unsafe { slice::from_raw_parts(src, self.cols) };
        }
        rows
    }

    /// Vector `i` of row `r` of x.
    #[inline(always)]
    pub(crate) fn load<V: Float>(&self, token: V::Token, r: usize, i: usize) -> V {
        assert!(i < self.full(), "a vector within the row");
        // SAFETY: elements `i * LANES` and the next 15 are within the row, by the assertion.
        let x = unsafe { &*self.src[r].add(i * LANES).cast::<[f32; LANES]>() };
        V::load(token, x)
    }

    /// Vector `i` of row `r` of the second input.
    #[inline(always)]
    pub(crate) fn load_second<V: Float>(&self, token: V::Token, r: usize, i: usize) -> V {
        assert!(i < self.full(), "a vector within the row");
        // SAFETY: as `load`.
        let x = unsafe { &*self.second[r].add(i * LANES).cast::<[f32; LANES]>() };
        V::load(token, x)
    }

    /// Writes vector `i` of row `r` of y; with `STREAM`, which asks for [`streams`](Self::streams), around the
    /// caches.
    #[inline(always)]
    pub(crate) fn store<V: Float, const STREAM: bool>(&mut self, r: usize, i: usize, vector: V) {
        assert!(i < self.full(), "a vector within the row");
        // SAFETY: elements `i * LANES` and the next 15 are within the row, by the assertion.
        let y = unsafe { self.dst[r].add(i * LANES) };
        if STREAM {
            let line = y.cast::<Line>();
            assert!(self.streams && line.is_aligned(), "a span that streams, and a line of it");
            // SAFETY: as above, and aligned. y is not x, so that nothing reads the line before the fence.
            vector.stream(unsafe { &mut *line });
        } else {
            // SAFETY: as above.
            vector.store(unsafe { &mut *y.cast::<[MaybeUninit<f32>; LANES]>() });
        }
    }

    /// Asks for vector `i` of what is `ahead` elements after row `r` of x.
    #[inline(always)]
    pub(crate) fn prefetch(&self, r: usize, i: usize, ahead: usize) {
        super::prefetch(self.src[r].wrapping_add(ahead.wrapping_add(i * LANES)));
    }

    /// Whether the second input is another than x.
    #[inline(always)]
    pub(crate) fn has_second(&self) -> bool {
        !ptr::eq(self.second[0], self.src[0])
    }

    /// Asks for vector `i` of what is `ahead` elements after row `r` of the second input.
    #[inline(always)]
    pub(crate) fn prefetch_second(&self, r: usize, i: usize, ahead: usize) {
        super::prefetch(self.second[r].wrapping_add(ahead.wrapping_add(i * LANES)));
    }

    /// Asks for vector `i` of what is `ahead` elements after row `r` of y, to write it.
    #[inline(always)]
    pub(crate) fn prefetch_write(&self, r: usize, i: usize, ahead: usize) {
        super::prefetch_write(self.dst[r].wrapping_add(ahead.wrapping_add(i * LANES)));
    }

    /// The tail of row `r` of x, `fill` in the lanes beyond it.
    #[inline(always)]
    pub(crate) fn load_tail<V: Float>(&self, token: V::Token, r: usize, fill: V::Elem) -> V {
        let (start, len) = (self.cols - self.tail(), self.tail());
        // SAFETY: the last `tail` elements of the row; nothing is written while they are borrowed.
        let x = unsafe { slice::from_raw_parts(self.src[r].add(start), len) };
        V::load_partial(token, x, fill)
    }

    /// The tail of row `r` of the second input, 0 in the lanes beyond it.
    #[inline(always)]
    pub(crate) fn load_second_tail<V: Float>(&self, token: V::Token, r: usize) -> V {
        let (start, len) = (self.cols - self.tail(), self.tail());
        // SAFETY: as `load_tail`.
        let x = unsafe { slice::from_raw_parts(self.second[r].add(start), len) };
        V::load_partial(token, x, V::Elem::from_f64(0.0))
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

/// Runs `write` on a span from `x` to the uninitialised `y`; where it succeeds, gives `y` as
/// initialised.
///
/// `write` has one duty that its type does not say: if it returns `Ok`, it has written every element
/// of the span. The row operations do (`kernels/rows/normalize.rs` goes through all rows, and in each row
/// through the full vectors and the tail), and `tests/memory.rs` looks at every element of outputs of
/// every length.
pub(crate) fn write_whole<'a, E>(
    x: &[f32],
    y: &'a mut [MaybeUninit<f32>],
    write: impl FnOnce(Span<'_>) -> Result<(), E>,
) -> Result<&'a mut [f32], E> {
    write(Span::uninit(x, y))?;
    // SAFETY: every element has been written, the duty of `write`.
    Ok(unsafe { &mut *(ptr::from_mut(y) as *mut [f32]) })
}
