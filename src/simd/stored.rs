//! Rows of any storage, which are read by widening them to f32 and written by narrowing.
//!
//! Invariant of [`StoredRows`]:
//!
//! * Row `r` of x, or y, is the `cols` elements of its storage from the offset of `r` at its pitch on.
//! * All rows of x are valid for reads, those of y for writes. Rows of y do not overlap each other. Where there is no x, or no y, its
//!   pointer is null.
//! * The rows of x are those of y, in the same storage, or do not overlap them. Nothing else writes to any of them during `'a`, and
//!   nothing else reads y.
//!
//! The constructors establish it from references and checked shapes, or leave it to `inout.rs`; splitting keeps it.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::Range;
use core::{ptr, slice};

use super::contract::Simd;
use super::convert::{Narrow, Widen};
use crate::element::{Elements, ElementsMut, Storage};
use crate::pitch::Pitch;

/// Rows that are read from x and written to y.
#[derive(Debug)]
pub(crate) struct StoredRows<'a> {
    x: Place,
    y: Place,
    rows: usize,
    cols: usize,
    lifetime: PhantomData<(&'a [u8], &'a mut [u8])>,
}

/// Where the rows of a buffer begin, and how they are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) first: *mut u8,
    pub(super) storage: Storage,
    pub(super) pitch: Pitch,
    /// The row of the buffer that is row 0.
    pub(super) skipped: usize,
}

// SAFETY: it stands for a slice that is shared and one that is not, of numbers.
unsafe impl Send for StoredRows<'_> {}
// SAFETY: as above; through a shared one nothing is written.
unsafe impl Sync for StoredRows<'_> {}

impl Place {
    pub(super) fn new(first: *mut u8, storage: Storage, pitch: Pitch) -> Self {
        Self { first, storage, pitch, skipped: 0 }
    }

    /// The start of row `r`. No row may be left there.
    fn row(self, r: usize) -> *mut u8 {
        let elements = self.pitch.offset(self.skipped.wrapping_add(r));
        let bytes = elements.wrapping_mul(self.storage.size());
        // What is absent stays null.
        if self.first.is_null() { self.first } else { self.first.wrapping_add(bytes) }
    }

    /// The rows from row `r` on.
    fn skipping(self, r: usize) -> Self {
        Self { skipped: self.skipped + r, ..self }
    }

    fn absent() -> Self {
        Self::new(ptr::null_mut(), Storage::F32, 0.into())
    }
}

impl<'a> StoredRows<'a> {
    /// Rows from the first of x and of y on.
    ///
    /// # Safety
    ///
    /// They keep the invariant for `'a`.
    pub(super) unsafe fn from_places(x: Place, y: Place, (rows, cols): (usize, usize)) -> Self {
        Self { x, y, rows, cols, lifetime: PhantomData }
    }

    /// The same without a y.
    ///
    /// # Safety
    ///
    /// They keep the invariant for `'a`.
    pub(super) unsafe fn of_reads(x: Place, shape: (usize, usize)) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::from_places(x, Place::absent(), shape) }
    }

    /// Rows that are written, and no x.
    ///
    /// # Safety
    ///
    /// They keep the invariant for `'a`.
    pub(super) unsafe fn of_writes(y: Place, shape: (usize, usize)) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::from_places(Place::absent(), y, shape) }
    }

    /// Rows of a slice, which are read.
    pub(crate) fn reading(x: Elements<'a>, pitch: Pitch, shape: (usize, usize)) -> Self {
        assert_within(x.len(), pitch, shape);
        let first = match x {
            Elements::F32(x) => x.as_ptr().cast::<u8>().cast_mut(),
            Elements::Half(_, x) => x.as_ptr().cast::<u8>().cast_mut(),
        };
        let x = Place::new(first, x.storage(), pitch);
        // SAFETY: the rows lie within the slice, by the assertion. There is no y.
        unsafe { Self::of_reads(x, shape) }
    }

    /// Rows of a slice, which are read and written.
    pub(crate) fn in_place(x: ElementsMut<'a>, pitch: Pitch, shape: (usize, usize)) -> Self {
        assert_within(x.len(), pitch, shape);
        assert!(pitch.keeps_apart(shape.0, shape.1), "rows do not overlap");
        let storage = x.storage();
        let first = match x {
            ElementsMut::F32(x) => x.as_mut_ptr().cast::<u8>(),
            ElementsMut::Half(_, x) => x.as_mut_ptr().cast(),
        };
        let x = Place::new(first, storage, pitch);
        // SAFETY: the rows lie within the slice and do not overlap, by the assertions. x is y.
        unsafe { Self::from_places(x, x, shape) }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Whether there is a y.
    pub(crate) fn writes(&self) -> bool {
        !self.y.first.is_null()
    }

    /// The same rows again. These cannot be used until the result is dropped.
    pub(crate) fn reborrow(&mut self) -> StoredRows<'_> {
        StoredRows { lifetime: PhantomData, ..*self }
    }

    /// One row, whose elements are contiguous, as rows of so many.
    pub(crate) fn cut(self, cols: usize) -> Self {
        assert!(self.rows == 1 && cols > 0 && self.cols.is_multiple_of(cols), "rows of it");
        let at = |place: Place| Place { pitch: cols.into(), ..place };
        let (x, y) = (at(self.x), at(self.y));
        assert!(self.x.skipped == 0 && self.y.skipped == 0, "the row is the first");
        Self { x, y, rows: self.cols / cols, cols, ..self }
    }

    /// The rows before `at`, and the others.
    pub(crate) fn split_at(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows, "{} rows have none at {at}", self.rows);
        let (x, y) = (self.x.skipping(at), self.y.skipping(at));
        let high = Self { x, y, rows: self.rows - at, ..self };
        (Self { rows: at, ..self }, high)
    }

    /// Widens rows of x into `out`, one after another.
    #[inline(always)]
    pub(crate) fn load<S: Simd>(&self, token: S, rows: Range<usize>, out: &mut [f32]) {
        assert!(!self.x.first.is_null(), "there is an x");
        let (runs, len) = self.runs(self.x.pitch, &rows, out.len());
        for run in 0..runs {
            let first = self.x.row(rows.start + run);
            let out = &mut out[run * len..][..len];
            match self.x.storage {
                Storage::F32 => {
                    // SAFETY: the rows are there, by the assertion of `runs`, and valid for reads by the invariant.
                    let x = unsafe { slice::from_raw_parts(first.cast::<f32>(), len) };
                    out.copy_from_slice(x);
                }
                Storage::Half(half) => {
                    // SAFETY: as above.
                    let bits = unsafe { slice::from_raw_parts(first.cast::<u16>(), len) };
                    token.outline(Widen { half, bits, out });
                }
            }
        }
    }

    /// Narrows `from` into rows of y, one after another.
    #[inline(always)]
    pub(crate) fn store<S: Simd>(&mut self, token: S, rows: Range<usize>, from: &[f32]) {
        assert!(self.writes(), "there is a y");
        let (runs, len) = self.runs(self.y.pitch, &rows, from.len());
        for run in 0..runs {
            let first = self.y.row(rows.start + run);
            let from = &from[run * len..][..len];
            match self.y.storage {
                // SAFETY: the rows are there, by the assertion of `runs`, and valid for writes by the invariant. `from` is a slice of
                // another owner, and does not overlap them.
                Storage::F32 => unsafe {
                    first.cast::<f32>().copy_from_nonoverlapping(from.as_ptr(), len);
                },
                Storage::Half(half) => {
                    // SAFETY: as above; no slice of x is in use.
                    let bits =
                        unsafe { slice::from_raw_parts_mut(first.cast::<MaybeUninit<u16>>(), len) };
                    token.outline(Narrow { half, from, out: bits });
                }
            }
        }
    }

    /// Writes `+0.0` to rows of y.
    pub(crate) fn zero_rows(&mut self, rows: Range<usize>) {
        assert!(self.writes(), "there is a y");
        let elements = rows.len() * self.cols;
        let (runs, len) = self.runs(self.y.pitch, &rows, elements);
        for run in 0..runs {
            let first = self.y.row(rows.start + run);
            // SAFETY: as of `store`; zero bytes are `+0.0` in every storage.
            unsafe { first.write_bytes(0, len * self.y.storage.size()) }
        }
    }

    /// As how many slices, of what length, rows lie that begin every pitch elements. Checks that they are there, and as many
    /// elements.
    #[inline(always)]
    fn runs(&self, pitch: Pitch, rows: &Range<usize>, elements: usize) -> (usize, usize) {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "the rows are there");
        assert_eq!(elements, rows.len() * self.cols, "an element for each");
        if pitch.is_contiguous(self.cols) { (1, elements) } else { (rows.len(), self.cols) }
    }
}

/// Asserts that rows lie within a buffer of so many elements.
fn assert_within(len: usize, pitch: Pitch, (rows, cols): (usize, usize)) {
    let reach = pitch.reach(rows, cols);
    assert!(reach.is_some_and(|reach| reach <= len), "the rows lie within the buffer");
}
