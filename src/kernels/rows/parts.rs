//! Rows of several parts of one length, each with statistics of its own: RmsNorm of groups.
//!
//! A part is what a row is in `kernels/rows/normalize.rs`: the same sums, and the same second sweep, with the gamma and beta of its
//! columns. Parts are worked on one by one, whatever their length. Sums and products are made of a part at a time, so that it is in
//! L1 when its statistics are made.
#![forbid(unsafe_code)]

use core::marker::PhantomData;

use super::affine::ColumnAffine;
use super::dropped::{RowDropout, dropped_rows};
use super::source::RowSource;
use super::sweep::{Standardize, SweepOneByOne, sweep};
use super::terms::make_part;
use crate::simd::{Kernel, RowSpan, Simd};

/// Normalises, scales and shifts every part of every row.
pub(super) struct NormalizeParts<'a, T, A, const IN: usize> {
    pub(super) io: RowSpan<'a>,
    pub(super) source: T,
    pub(super) affine: A,
    pub(super) dropout: Option<&'a RowDropout<'a>>,
}

impl<T: RowSource, A: ColumnAffine, const IN: usize> Kernel for NormalizeParts<'_, T, A, IN> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { mut io, mut source, affine, dropout } = self;
        let shape = (io.rows(), io.cols());
        let dropped = &mut dropped_rows(dropout, io.first(), shape);
        let parts = source.parts();
        let cols = io.cols() / parts;
        let mut cascade = None;
        for row in 0..io.rows() {
            for part in 0..parts {
                let columns = (part * cols, (part + 1) * cols);
                make_part(token, &mut io, dropped, row, columns);
                let [statistics] = source.rows::<S, 1>(
                    token,
                    row * parts + part,
                    io.group::<1, 1>(row).columns(columns.0, columns.1).rows(),
                    &mut cascade,
                );
                let affine = affine.columns(columns.0, columns.1);
                let Some(rows) = Standardize::in_f32(token, &[statistics]) else {
                    token.outline(SweepOneByOne {
                        io: &mut io,
                        first: row,
                        columns,
                        statistics: &[statistics],
                        affine: affine.general(),
                        source: PhantomData::<T>,
                    });
                    continue;
                };
                let mut row = io.group::<1, IN>(row);
                let part = &mut row.columns(columns.0, columns.1);
                sweep::<T, S::F32, A, 1, IN>(token, part, rows, affine, cols);
            }
        }
    }
}
