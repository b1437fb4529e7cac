//! Rows of any storage to f32 in a cache and back.
//!
//! The kernels of operations work on f32. Rows of another storage are widened into a tile that stays in a cache, worked on there, and
//! narrowed from there: their elements pass through memory once, as they are stored.
#![forbid(unsafe_code)]

use core::ops::Range;

use crate::element::Storage;
use crate::kernels::split::Split;
use crate::simd::{Kernel, Simd, StoredRows, round_to};

/// Widens rows of x, and makes the sum of them and their addends.
pub(crate) struct LoadRows<'a, 'r> {
    pub(crate) io: &'a StoredRows<'r>,
    pub(crate) rows: Range<usize>,
    pub(crate) out: &'a mut [f32],
    pub(crate) sum: Option<LoadSum<'a, 'r>>,
}

/// What is added to x, and where the sum goes.
pub(crate) struct LoadSum<'a, 'r> {
    /// Of the columns.
    pub(crate) bias: Option<&'a [f32]>,
    /// Rows, and room for them.
    pub(crate) residual: Option<(&'a mut StoredRows<'r>, &'a mut [f32])>,
    /// What the sum is rounded to before it is normalised.
    pub(crate) storage: Storage,
    pub(crate) place: SumPlace<'a, 'r>,
}

/// Where a sum is kept.
pub(crate) enum SumPlace<'a, 'r> {
    Nowhere,
    Residual,
    Rows(&'a mut StoredRows<'r>),
}

impl Kernel for LoadRows<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { io, rows, out, sum } = self;
        io.load(token, rows.clone(), out);
        if let Some(sum) = sum {
            sum.make(token, rows, out);
        }
    }
}

impl LoadSum<'_, '_> {
    /// Makes the sum of `out` and its addends in `out`.
    #[inline(always)]
    fn make<S: Simd>(self, token: S, rows: Range<usize>, out: &mut [f32]) {
        let Self { bias, mut residual, storage, place } = self;
        if let Some(bias) = bias {
            for row in out.chunks_exact_mut(bias.len().max(1)) {
                add(row, bias);
            }
        }
        if let Some((residual, room)) = &mut residual {
            residual.load(token, rows.clone(), room);
            add(out, room);
        }
        if let Storage::Half(half) = storage {
            round_to(token, half, out);
        }
        match (place, residual) {
            (SumPlace::Rows(place), _) => place.store(token, rows, out),
            (SumPlace::Residual, Some((residual, _))) => residual.store(token, rows, out),
            _ => {}
        }
    }
}

/// Makes the sum of rows in `out` and their addends there.
pub(crate) struct SumRows<'a, 'r> {
    pub(crate) rows: Range<usize>,
    pub(crate) out: &'a mut [f32],
    pub(crate) sum: LoadSum<'a, 'r>,
}

impl Kernel for SumRows<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        self.sum.make(token, self.rows, self.out);
    }
}

/// Narrows `from` into rows of y. With `room`, adds it to what is there.
pub(crate) struct StoreRows<'a, 'r> {
    pub(crate) io: &'a mut StoredRows<'r>,
    pub(crate) rows: Range<usize>,
    pub(crate) from: &'a [f32],
    pub(crate) room: Option<&'a mut [f32]>,
}

impl Kernel for StoreRows<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { io, rows, from, room } = self;
        let Some(room) = room else { return io.store(token, rows, from) };
        io.load(token, rows.clone(), room);
        add(room, from);
        io.store(token, rows, room);
    }
}

#[inline(always)]
fn add(to: &mut [f32], x: &[f32]) {
    for (to, x) in to.iter_mut().zip(x) {
        *to += x;
    }
}

/// Widens all rows of x.
pub(crate) struct WidenAll<'a> {
    pub(crate) io: StoredRows<'a>,
    pub(crate) out: &'a mut [f32],
}

/// Narrows `from` into all rows of y.
pub(crate) struct NarrowAll<'a> {
    pub(crate) io: StoredRows<'a>,
    pub(crate) from: &'a [f32],
}

impl Kernel for WidenAll<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let rows = 0..self.io.rows();
        self.io.load(token, rows, self.out);
    }
}

impl Kernel for NarrowAll<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, token: S) {
        let rows = 0..self.io.rows();
        self.io.store(token, rows, self.from);
    }
}

impl Split for WidenAll<'_> {
    fn rows(&self) -> usize {
        self.io.rows()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let elements = at * self.io.cols();
        let (io, high_io) = self.io.split_at(at);
        let (out, high_out) = self.out.split_at_mut(elements);
        (Self { io, out }, Self { io: high_io, out: high_out })
    }
}

impl Split for NarrowAll<'_> {
    fn rows(&self) -> usize {
        self.io.rows()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let elements = at * self.io.cols();
        let (io, high_io) = self.io.split_at(at);
        let (from, high_from) = self.from.split_at(elements);
        (Self { io, from }, Self { io: high_io, from: high_from })
    }
}
