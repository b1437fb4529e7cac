//! How a sweep over columns goes through rows: from the last to the first, several at a time.
//!
//! * **Several rows share the loads of the coefficients** of the columns ([`SWEEP_ROWS`]).
//! * **They are far from each other** where rows are short ([`ROWS_APART`]), so that the prefetchers follow each.
//! * **From the last to the first**: where another sweep over the same rows came before, its last rows are still in a cache.
#![forbid(unsafe_code)]

use core::ops::Range;

use crate::kernels::tuning::{ROWS_APART, SWEEP_ROWS};
use crate::simd::{RowSpan, Simd};

/// What is done with rows that share coefficients.
pub(super) trait RowGroups {
    /// `R` rows, the first of them `row`, each `apart` rows after the one before.
    fn group<S: Simd, const R: usize>(&mut self, token: S, row: usize, apart: usize);
}

/// Whether the rows of a group may begin anywhere: non-temporal stores write whole lines, which must begin alike in all of them.
#[inline(always)]
pub(super) fn begin_alike(io: &RowSpan<'_>) -> bool {
    !io.streams() || io.alike()
}

/// Goes through rows of so many columns.
#[inline(always)]
pub(super) fn walk<S: Simd>(
    token: S,
    work: &mut impl RowGroups,
    rows: Range<usize>,
    cols: usize,
    alike: bool,
) {
    let mut apart = (ROWS_APART / cols).max(1);
    let Range { start: first, end: mut row } = rows;
    while row > first {
        if row - first < SWEEP_ROWS * apart {
            apart = 1;
        }
        if alike && row - first >= SWEEP_ROWS {
            row -= SWEEP_ROWS * apart;
            for row in row..row + apart {
                work.group::<S, SWEEP_ROWS>(token, row, apart);
            }
        } else {
            row -= 1;
            work.group::<S, 1>(token, row, 1);
        }
    }
}
