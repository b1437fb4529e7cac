//! Dropout of units: rows, or channels of samples, that are kept or dropped as a whole.
//!
//! The plain algorithm, for the element i of unit u:
//!
//! ```text
//! y[i] = if kept(u) { x[i] * scale } else { 0 }
//! ```
//!
//! A unit is a run of elements, or a column of a sample, which is in every position of it: then a tile of columns is gone through
//! position by position, so that its bits stay in L1.
#![forbid(unsafe_code)]

use super::choices::{Choices, REACH};
use super::dropout::Choice;
use crate::kernels::split::Split;
use crate::simd::{Float, Group, Keep, Kernel, LANES, Simd, Span};

/// How the elements of units lie.
#[derive(Clone, Copy)]
pub(crate) enum Lie {
    /// One behind the other, so many of each.
    Runs(usize),
    /// As the columns of a sample's positions.
    Columns { positions: usize, columns: usize },
}

impl Lie {
    /// Elements of a run or a position.
    fn cols(self) -> usize {
        match self {
            Self::Runs(cols) | Self::Columns { columns: cols, .. } => cols,
        }
    }
}

/// Writes y. Rows of the work are runs or positions, which have elements.
pub(crate) struct ApplyToUnits<'a> {
    pub(crate) io: Span<'a>,
    pub(crate) lie: Lie,
    /// The number of row 0.
    pub(crate) first: usize,
    pub(crate) scale: f32,
    pub(crate) choice: Choice<'a>,
}

impl Split for ApplyToUnits<'_> {
    fn rows(&self) -> usize {
        self.io.len() / self.lie.cols()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { io, first, .. } = self;
        let (low, high) = io.split_at(at * self.lie.cols());
        (Self { io: low, ..self }, Self { io: high, first: first + at, ..self })
    }
}

impl Kernel for ApplyToUnits<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        match self.lie {
            Lie::Runs(cols) => self.runs(token, cols),
            Lie::Columns { positions, columns } => self.columns(token, positions, columns),
        }
    }
}

impl ApplyToUnits<'_> {
    #[inline(always)]
    fn runs<S: Simd>(self, token: S, cols: usize) {
        let Self { mut io, first, scale, choice, .. } = self;
        let rows = io.len() / cols;
        let mut choices = Choices::new(choice, first, first + rows);
        for row in 0..rows {
            let unit = first + row;
            choices.reach(token, unit, unit + 1);
            let keep = if choices.bits(unit) & 1 == 1 { u16::MAX } else { 0 };
            let keep = S::Keep::from_bits(token, keep);
            apply(token, io.group::<1>(row * cols, cols), scale, |_| keep);
        }
    }

    #[inline(always)]
    fn columns<S: Simd>(self, token: S, positions: usize, columns: usize) {
        let Self { mut io, first, scale, choice, .. } = self;
        let rows = io.len() / columns;
        let mut row = 0;
        while row < rows {
            let sample = (first + row) / positions;
            let end = rows.min((sample + 1) * positions - first);
            let units = sample * columns;
            let mut choices = Choices::new(choice, units, units + columns);
            for start in (0..columns).step_by(REACH) {
                let stop = columns.min(start + REACH);
                choices.reach(token, units + start, units + stop);
                for row in row..end {
                    let group = io.group::<1>(row * columns + start, stop - start);
                    let at = units + start;
                    apply(token, group, scale, |i| choices.keep(token, at + i * LANES));
                }
            }
            row = end;
        }
    }
}

/// Keeps elements of a row as `keep` says of each vector, and scales them.
#[inline(always)]
fn apply<S: Simd>(token: S, mut row: Group<'_, 1>, scale: f32, keep: impl Fn(usize) -> S::Keep) {
    let scale = S::F32::splat(token, scale);
    let (full, streams) = (row.full(), row.streams());
    for i in 0..full {
        let x: S::F32 = row.load(token, 0, i);
        let y = keep(i).or_zero(x * scale);
        if streams {
            row.store::<_, true>(0, i, y);
        } else {
            row.store::<_, false>(0, i, y);
        }
    }
    if row.tail() > 0 {
        let x: S::F32 = row.load_tail(token, 0, 0.0);
        row.store_tail(0, keep(full).or_zero(x * scale));
    }
}
