//! Buffers that are read and written: x and y, two buffers or one (in place).
//!
//! A kernel that reads and writes through a [`Span`] works out of place, into uninitialised memory
//! and in place without knowing which. `row_span.rs` has the same for rows at pitches, `group.rs` for the
//! rows that a kernel works on.
//!
//! Invariant of a span: `src` is valid for reads and `dst` for writes of the same number of f32. Either
//! they are one pointer, or the two ranges do not overlap. Nothing else writes to either range during
//! `'a`, and nothing else reads the range of `dst`. The constructors establish the invariant from
//! references; splitting and reborrowing keep it.

use core::marker::PhantomData;
use core::{ptr, slice};

use super::group::{Group, at_one_stride};
use super::memory::fence;

/// Elements that a kernel reads from x and writes to y.
#[derive(Debug)]
pub(crate) struct Span<'a> {
    src: *const f32,
    dst: *mut f32,
    len: usize,
    /// Whether y is written by non-temporal stores where that is possible.
    streams: bool,
    lifetime: PhantomData<(&'a [f32], &'a mut [f32])>,
}

// SAFETY: a `Span` stands for a `&[f32]` and a `&mut [f32]`, which are both `Send`.
unsafe impl Send for Span<'_> {}

impl<'a> Span<'a> {
    /// Reads `x`, writes `y`.
    #[cfg(test)]
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

    /// `len` elements from `x` and from `y` on.
    ///
    /// # Safety
    ///
    /// They keep the invariant for `'a`.
    #[inline(always)]
    pub(super) unsafe fn from_pointers(x: *const f32, y: *mut f32, len: usize) -> Self {
        Self { src: x, dst: y, len, streams: false, lifetime: PhantomData }
    }

    /// The same span with non-temporal stores, unless y is x.
    pub(crate) fn streaming(mut self) -> Self {
        self.streams = !ptr::eq(self.src, self.dst);
        self
    }

    /// Whether y is written by non-temporal stores where that is possible.
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
        // SAFETY: `src` is valid for reads of `len` elements. The result borrows this span, so nothing is
        // written while it lives.
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

    /// The same span again. This one cannot be used until the result is dropped and its non-temporal stores are
    /// fenced.
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

    /// Writes the elements of `y`, as many as the span has, to y.
    pub(crate) fn put(self, y: &[f32]) {
        assert_eq!(y.len(), self.len, "y is given as many elements as it has");
        // SAFETY: the lengths are equal, and the span alone has the range of `dst`, so `y` is elsewhere.
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

    /// `R` rows of `cols` elements, the first of them at `start`, each `pitch` elements after the one before.
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
        let src = at_one_stride(self.src.wrapping_add(start), pitch, 0, 1);
        let dst = at_one_stride(self.dst.wrapping_add(start).cast_const(), pitch, 0, 1);
        // SAFETY: row `r` is the `cols` elements from `start + r * pitch` on. The last row ends within both ranges.
        unsafe { Group::new([src], dst.map(<*const f32>::cast_mut), cols, self.streams) }
    }

    /// Pointers to x and y, and the number of elements.
    pub(super) fn pointers(&self) -> (*const f32, *mut f32, usize) {
        (self.src, self.dst, self.len)
    }
}

/// Non-temporal stores need a fence on the thread that made them: the task that worked on a span drops it.
impl Drop for Span<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.streams {
            fence();
        }
    }
}
