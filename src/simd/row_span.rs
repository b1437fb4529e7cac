//! Rows that are read and written: with a pitch each for x and y, a second input, and terms whose sum x becomes.
//!
//! Invariant of [`RowSpan`]:
//!
//! * Row `r` of x is the `cols` elements from `r * pitches.src` on. The rows of the second input and of y follow their
//!   pitches likewise.
//! * All rows of x and of the second input are valid for reads, those of y for writes. y is valid for reads too where it is
//!   x or a term.
//! * The rows of x are those of y or do not overlap them, and so are those of the second input. Rows of y do not overlap
//!   each other.
//! * Nothing else writes to any of them during `'a`, and nothing else reads y.
//! * Where there are terms, all rows are contiguous. x is valid for writes, and nothing else reads it. Each term is valid
//!   for reads and is x, or y, or overlaps neither.
//!
//! The constructors establish it from references; splitting keeps it.

use core::marker::PhantomData;
use core::ptr;

use super::contract::LANES;
use super::group::{Group, Pitches};
use super::memory::fence;
use super::span::Span;

/// Rows that a kernel reads from x and writes to y.
#[derive(Debug)]
pub(crate) struct RowSpan<'a> {
    src: *const f32,
    /// The second input, or the first term, or x.
    second: *const f32,
    dst: *mut f32,
    rows: usize,
    cols: usize,
    pitches: Pitches,
    /// What x becomes the sum of ([`terms`](Self::terms)).
    terms: Option<(*const f32, *const f32)>,
    streams: bool,
    lifetime: PhantomData<(&'a [f32], &'a mut [f32])>,
}

// SAFETY: a `RowSpan` stands for `&[f32]` and `&mut [f32]`, which are both `Send`.
unsafe impl Send for RowSpan<'_> {}

/// Elements from the start of the first row to the end of the last row; `None` if they are too many to count.
pub(crate) fn reach(rows: usize, cols: usize, pitch: usize) -> Option<usize> {
    match rows.checked_sub(1) {
        Some(before) => before.checked_mul(pitch)?.checked_add(cols),
        None => Some(0),
    }
}

impl<'a> RowSpan<'a> {
    /// The rows of a span, which are contiguous.
    pub(crate) fn new(span: Span<'a>, rows: usize, cols: usize) -> Self {
        let (src, dst, len) = span.pointers();
        assert_eq!(rows.checked_mul(cols), Some(len), "the rows are the whole span");
        Self::at_pitches(src, dst, (rows, cols), Pitches { src: cols, second: cols, dst: cols })
    }

    fn at_pitches(
        src: *const f32,
        dst: *mut f32,
        (rows, cols): (usize, usize),
        pitches: Pitches,
    ) -> Self {
        let (second, terms, lifetime) = (src, None, PhantomData);
        Self { src, second, dst, rows, cols, pitches, terms, streams: false, lifetime }
    }

    /// Rows that begin every `x_pitch` elements of `x` and every `y_pitch` of `y`.
    pub(crate) fn strided(
        x: &'a [f32],
        x_pitch: usize,
        y: &'a mut [f32],
        y_pitch: usize,
        (rows, cols): (usize, usize),
    ) -> Self {
        for (len, pitch) in [(x.len(), x_pitch), (y.len(), y_pitch)] {
            let reach = reach(rows, cols, pitch);
            assert!(reach.is_some_and(|reach| reach <= len), "the rows lie within x and y");
            assert!(pitch >= cols, "rows do not overlap");
        }
        let pitches = Pitches { src: x_pitch, second: x_pitch, dst: y_pitch };
        Self::at_pitches(x.as_ptr(), y.as_mut_ptr(), (rows, cols), pitches)
    }

    /// Rows that begin every `pitch` elements of `xy`, read and written.
    pub(crate) fn strided_in_place(
        xy: &'a mut [f32],
        pitch: usize,
        (rows, cols): (usize, usize),
    ) -> Self {
        let reach = reach(rows, cols, pitch);
        assert!(reach.is_some_and(|reach| reach <= xy.len()), "the rows lie within x");
        assert!(pitch >= cols, "rows do not overlap");
        let dst = xy.as_mut_ptr();
        Self::at_pitches(dst, dst, (rows, cols), Pitches { src: pitch, second: pitch, dst: pitch })
    }

    /// The same rows, where x becomes x + `residual` before it is read: in `sum`, or in y if there is none.
    pub(crate) fn plus(self, residual: &'a [f32], sum: Option<&'a mut [f32]>) -> Self {
        assert_eq!(Some(residual.len()), self.contiguous(), "a residual for every element of x");
        let len = sum.as_ref().map_or(residual.len(), |sum| sum.len());
        assert_eq!(len, residual.len(), "a sum for every element of x");
        let src = sum.map_or(self.dst, <[f32]>::as_mut_ptr);
        let terms = Some((self.src, residual.as_ptr()));
        Self { src, second: self.src, terms, ..self }
    }

    /// The same rows, where `residual` becomes x + `residual`, which is then read as x.
    pub(crate) fn added_to(self, residual: &'a mut [f32]) -> Self {
        assert_eq!(Some(residual.len()), self.contiguous(), "a residual for every element of x");
        let src = residual.as_mut_ptr().cast_const();
        let terms = Some((self.src, src));
        Self { src, second: self.src, terms, ..self }
    }

    /// The same rows with a second input.
    pub(crate) fn with_second(mut self, second: &'a [f32]) -> Self {
        assert_eq!(Some(second.len()), self.contiguous(), "an element beside every one of x");
        self.second = second.as_ptr();
        self
    }

    /// The number of elements, if rows are contiguous.
    fn contiguous(&self) -> Option<usize> {
        let Pitches { src, dst, .. } = self.pitches;
        (src == self.cols && dst == self.cols).then_some(self.rows * self.cols)
    }

    /// The same rows with non-temporal stores, unless y is read.
    pub(crate) fn streaming(mut self) -> Self {
        let dst = self.dst.cast_const();
        self.streams =
            !ptr::eq(self.src, dst) && self.terms.is_none_or(|(term, _)| !ptr::eq(term, dst));
        self
    }

    /// Whether y is written by non-temporal stores where that is possible.
    #[inline(always)]
    pub(crate) fn streams(&self) -> bool {
        self.streams
    }

    /// Whether all rows of y begin at the same offset in their cache lines.
    #[inline(always)]
    pub(crate) fn alike(&self) -> bool {
        self.pitches.dst.is_multiple_of(LANES)
    }

    /// The number of rows.
    #[inline(always)]
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    #[inline(always)]
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Elements of x from a row to the one that is `rows` after it.
    #[inline(always)]
    pub(crate) fn ahead(&self, rows: usize) -> usize {
        self.pitches.src.wrapping_mul(rows)
    }

    /// The rows before `at`, and the others.
    pub(crate) fn split_at(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows, "{} rows have none at {at}", self.rows);
        // Wrapping: less than a pitch of elements may follow the last row. No row is left then.
        let Pitches { src, second, dst } = self.pitches;
        let skip = |term: *const f32| term.wrapping_add(at * self.cols);
        let high = Self {
            src: self.src.wrapping_add(at * src),
            second: self.second.wrapping_add(at * second),
            dst: self.dst.wrapping_add(at * dst),
            rows: self.rows - at,
            terms: self.terms.map(|(a, b)| (skip(a), skip(b))),
            ..self
        };
        (Self { rows: at, ..self }, high)
    }

    /// `R` rows, the first of them row `first`.
    #[inline(always)]
    pub(crate) fn group<const R: usize>(&mut self, first: usize) -> Group<'_, R> {
        let end = first.checked_add(R);
        assert!(end.is_some_and(|end| end <= self.rows), "the rows are there");
        let Pitches { src, second, dst } = self.pitches;
        // SAFETY: by the assertion and the invariant.
        unsafe {
            let src = self.src.add(first * src);
            let (second, dst) = (self.second.add(first * second), self.dst.add(first * dst));
            Group::new((src, second, dst), self.pitches, self.cols, self.streams)
        }
    }

    /// The terms of `rows` rows as one row: its x and its second input are the terms, its y is the x of these rows. The
    /// caller stores the sum there before it reads these rows.
    #[inline(always)]
    pub(crate) fn terms(&mut self, first: usize, rows: usize) -> Option<Group<'_, 1>> {
        let (a, b) = self.terms?;
        let end = first.checked_add(rows);
        assert!(end.is_some_and(|end| end <= self.rows), "the rows are there");
        let (start, len) = (first * self.cols, rows * self.cols);
        let pitches = Pitches { src: len, second: len, dst: len };
        // SAFETY: by the assertion and the invariant: where there are terms, rows are contiguous and x is valid for
        // writes.
        unsafe {
            let (a, b, sum) = (a.add(start), b.add(start), self.src.cast_mut().add(start));
            Some(Group::new((a, b, sum), pitches, len, false))
        }
    }
}

/// As for a [`Span`]: non-temporal stores need a fence on the thread that made them.
impl Drop for RowSpan<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.streams {
            fence();
        }
    }
}
