//! Padding becomes `+0.0`, and nothing else does.
#![forbid(unsafe_code)]

use crate::kernels::row_filter::RowFilter;
use crate::kernels::split::Split;
use crate::simd::{Float, Kernel, Simd, Span};

/// Writes `+0.0` to the padding of y.
#[derive(Debug)]
pub(crate) struct ZeroPadding<'a> {
    pub(crate) io: Span<'a>,
    pub(crate) cols: usize,
    pub(crate) kept: RowFilter<'a>,
    /// The row of the matrix that is the first of `io`.
    pub(crate) first: usize,
}

impl Split for ZeroPadding<'_> {
    fn rows(&self) -> usize {
        self.io.len() / self.cols
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { io, cols, kept, first } = self;
        let (low, high) = io.split_at(at * cols);
        (Self { io: low, cols, kept, first }, Self { io: high, cols, kept, first: first + at })
    }
}

impl Kernel for ZeroPadding<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { mut io, cols, kept, first } = self;
        let last = first + io.len() / cols;
        let zero = S::F32::splat(token, 0.0);
        let mut row = first;
        loop {
            let padding = kept.next_padding(row);
            let (start, end) = (padding.start, padding.end.min(last));
            if start >= end {
                return;
            }
            // As one row. Through the caches: it is fenced off what was streamed, and rows beside it share its lines.
            let mut rows = io.group::<1>((start - first) * cols, (end - start) * cols);
            for i in 0..rows.full() {
                rows.store::<S::F32, false>(0, i, zero);
            }
            if rows.tail() > 0 {
                rows.store_tail(0, zero);
            }
            row = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::row_filter::tests::{cases, packed};
    use crate::mask::{Mask, ValidRows};
    use crate::simd::Portable;

    #[test]
    fn padding_becomes_zero_and_nothing_else() {
        for kept in cases() {
            let bits = packed(&kept);
            let valid = ValidRows::Mask(Mask::Packed(&bits));
            for cols in [1, 3, 16, 21] {
                let mut y = vec![f32::NAN; kept.len() * cols];
                let rows = RowFilter::new(Some(valid), kept.len());
                let work = ZeroPadding { io: Span::in_place(&mut y), cols, kept: rows, first: 0 };
                let (low, high) = work.split_at(kept.len() / 3);
                Portable.vectorize(high);
                Portable.vectorize(low);
                for (y, kept) in y.chunks_exact(cols).zip(&kept) {
                    let zero = y.iter().all(|y| y.to_bits() == 0);
                    assert!(if *kept { y.iter().all(|y| y.is_nan()) } else { zero }, "{rows:?}");
                }
            }
        }
    }
}
