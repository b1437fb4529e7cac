//! A group of rows: what a kernel reads and writes vector by vector.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::{ptr, slice};

use super::contract::{Float, LANES, Line, Real};
use super::memory;

/// `R` rows of one length, read and written vector by vector.
///
/// Each row keeps the invariant of a span of `cols` elements (`span.rs`). So does each row of `second`, the second
/// input, which is x itself where there is no other.
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
    /// `R` rows, from pointers to the first row of x, of the second input and of y.
    ///
    /// # Safety
    ///
    /// Row `r` starts `r` pitches after the first row, and every row keeps the invariant.
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
    pub(crate) fn columns(&mut self, start: usize, end: usize) -> Group<'_, R> {
        assert!(start <= end && end <= self.cols, "the columns lie within the rows");
        let mut columns = Group { cols: end - start, lifetime: PhantomData, ..*self };
        for r in 0..R {
            // SAFETY: `start` is within the row.
            unsafe {
                columns.src[r] = opaque(self.src[r].add(start));
                columns.second[r] = opaque(self.second[r].add(start));
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
        let mut rows: [&[f32]; R] = [&[]; R];
        for (row, &src) in rows.iter_mut().zip(&self.src) {
            // SAFETY: `src` is valid for reads of `cols` elements. The result borrows this group, so
            // nothing is written while it lives.
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
        memory::prefetch(self.src[r].wrapping_add(ahead.wrapping_add(i * LANES)));
    }

    /// Whether there is a second input beside x.
    #[inline(always)]
    pub(crate) fn has_second(&self) -> bool {
        !ptr::eq(self.second[0], self.src[0])
    }

    /// Prefetches vector `i` of what is `ahead` elements after row `r` of the second input.
    #[inline(always)]
    pub(crate) fn prefetch_second(&self, r: usize, i: usize, ahead: usize) {
        memory::prefetch(self.second[r].wrapping_add(ahead.wrapping_add(i * LANES)));
    }

    /// Prefetches vector `i` of what is `ahead` elements after row `r` of y, for a store.
    #[inline(always)]
    pub(crate) fn prefetch_write(&self, r: usize, i: usize, ahead: usize) {
        memory::prefetch_write(self.dst[r].wrapping_add(ahead.wrapping_add(i * LANES)));
    }

    /// The tail of row `r` of x, `fill` in the lanes beyond it.
    #[inline(always)]
    pub(crate) fn load_tail<V: Float>(&self, token: V::Token, r: usize, fill: V::Elem) -> V {
        let (start, len) = (self.cols - self.tail(), self.tail());
        // SAFETY: the last `tail` elements of the row. Nothing is written while they are borrowed.
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

/// The pitch of each buffer: elements from the start of a row to the start of the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pitches {
    pub(super) src: usize,
    pub(super) second: usize,
    pub(super) dst: usize,
}

/// The same address, whose computation the optimiser cannot see. A loop over several rows then counts one index.
/// Otherwise the optimiser keeps a pointer for each row, gamma and beta, and advances every one of them.
/// Normalise-scale-shift of 1x768 went from 198 to 163 ns (AVX-512).
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
