//! Padding becomes `+0.0`, and nothing else does.
#![forbid(unsafe_code)]

use crate::kernels::row_filter::RowFilter;
use crate::kernels::split::Split;
use crate::simd::{Float, Kernel, RowSpan, Simd};

/// Writes `+0.0` to the padding of y.
#[derive(Debug)]
pub(crate) struct ZeroPadding<'a> {
    pub(crate) io: RowSpan<'a>,
    pub(crate) kept: RowFilter<'a>,
    /// The row of the matrix that is the first of `io`.
    pub(crate) first: usize,
}

impl Split for ZeroPadding<'_> {
    fn rows(&self) -> usize {
        self.io.rows()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { io, kept, first } = self;
        let (low, high) = io.split_at(at);
        (Self { io: low, kept, first }, Self { io: high, kept, first: first + at })
    }
}

impl Kernel for ZeroPadding<'_> {
    type Output = ();

    /// No vectors here: to fill memory with zeros is the compiler's business. With ordinary stores: rows that are not padding
    /// share cache lines with it.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { mut io, kept, first } = self;
        let last = first + io.rows();
        let mut row = first;
        loop {
            let padding = kept.next_padding(row);
            let (start, end) = (padding.start, padding.end.min(last));
            if start >= end {
                return;
            }
            io.zero_rows(start - first, end - first);
            row = end;
        }
    }
}

/// The same of samples whose channels come first: the rows of the filter are positions of the batch, and every plane of a
/// sample has its padding.
#[derive(Debug)]
pub(crate) struct ZeroPlanePadding<'a> {
    /// A row is a plane.
    pub(crate) io: RowSpan<'a>,
    pub(crate) channels: usize,
    pub(crate) kept: RowFilter<'a>,
    /// The plane of the batch that is the first of `io`.
    pub(crate) first: usize,
}

impl Split for ZeroPlanePadding<'_> {
    fn rows(&self) -> usize {
        self.io.rows()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (low, high) = self.io.split_at(at);
        (Self { io: low, ..self }, Self { io: high, first: self.first + at, ..self })
    }
}

impl Kernel for ZeroPlanePadding<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { mut io, channels, kept, first } = self;
        let (positions, zero) = (io.cols(), S::F32::splat(token, 0.0));
        for plane in 0..io.rows() {
            let sample = (first + plane) / channels * positions;
            let kept = kept.before(sample + positions);
            let mut padding = kept.next_padding(sample);
            while !padding.is_empty() {
                let mut plane = io.group::<1, 1>(plane);
                let mut part = plane.columns(padding.start - sample, padding.end - sample);
                for i in 0..part.full() {
                    part.store::<S::F32, false>(0, i, zero);
                }
                part.store_tail(0, zero);
                padding = kept.next_padding(padding.end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::row_filter::tests::{cases, packed};
    use crate::mask::{Mask, ValidRows};
    use crate::simd::{Portable, Span};

    #[test]
    fn padding_becomes_zero_and_nothing_else() {
        for kept in cases() {
            let bits = packed(&kept);
            let valid = ValidRows::Mask(Mask::Packed(&bits));
            for cols in [1, 3, 16, 21] {
                let mut y = vec![f32::NAN; kept.len() * cols];
                let rows = RowFilter::new(Some(valid), kept.len());
                let io = RowSpan::new(Span::in_place(&mut y), kept.len(), cols);
                let work = ZeroPadding { io, kept: rows, first: 0 };
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
