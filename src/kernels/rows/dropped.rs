//! Dropout of rows that more is done with: before they are normalised, or of their gradient.
#![forbid(unsafe_code)]

use core::ops::Range;

use crate::kernels::elementwise::choices::Choices;
use crate::kernels::elementwise::dropout::Choice;
use crate::simd::{Float, Keep, LANES, Simd};

/// What dropout does with a matrix.
#[derive(Clone, Copy)]
pub(crate) struct RowDropout<'a> {
    pub(crate) kept: Kept<'a>,
    /// What a kept element is multiplied with.
    pub(crate) scale: f32,
}

/// What is kept.
#[derive(Clone, Copy)]
pub(crate) enum Kept<'a> {
    Nothing,
    /// An element by itself.
    Elements(Choice<'a>),
    /// So many rows as a whole.
    Rows(Choice<'a>, usize),
}

/// The same for rows that are gone through in order.
pub(super) struct DroppedRows<'a> {
    scale: f32,
    cols: usize,
    /// Of elements, or the same for all.
    choices: Choices<'a>,
    whole: Option<WholeRows<'a>>,
}

/// Rows that are kept or dropped as a whole.
struct WholeRows<'a> {
    choices: Choices<'a>,
    /// Rows of a unit.
    rows: usize,
    /// Whether the row that was looked at last is kept.
    kept: bool,
}

/// The same for so many rows of so many columns from row `first` on.
#[inline(always)]
pub(super) fn dropped_rows<'a>(
    dropout: Option<&'a RowDropout<'a>>,
    first: usize,
    (rows, cols): (usize, usize),
) -> Option<DroppedRows<'a>> {
    dropout.map(
        #[inline(always)]
        |&dropout| DroppedRows::new(dropout, first..first + rows, cols),
    )
}

impl<'a> DroppedRows<'a> {
    /// Of these rows, which have elements.
    fn new(RowDropout { kept, scale }: RowDropout<'a>, rows: Range<usize>, cols: usize) -> Self {
        let (choices, whole) = match kept {
            Kept::Nothing => (Choices::all(false), None),
            Kept::Elements(choice) => {
                (Choices::new(choice, rows.start * cols, rows.end * cols), None)
            }
            Kept::Rows(choice, each) => {
                let choices = Choices::new(choice, rows.start / each, (rows.end - 1) / each + 1);
                (Choices::all(false), Some(WholeRows { choices, rows: each, kept: false }))
            }
        };
        Self { scale, cols, choices, whole }
    }

    /// Elements `start` up to `end` of `row` and of those after it as one row: at most `REACH` of them, and of one row where rows
    /// are dropped as a whole. No row before it is looked at any more.
    #[inline(always)]
    pub(crate) fn reach<S: Simd>(
        &mut self,
        token: S,
        row: usize,
        (start, end): (usize, usize),
    ) -> DroppedPart<'_> {
        let at = row * self.cols;
        match &mut self.whole {
            None => self.choices.reach(token, at + start, at + end),
            Some(WholeRows { choices, rows, kept }) => {
                let unit = row / *rows;
                choices.reach(token, unit, unit + 1);
                let keep = choices.bits(unit) & 1 == 1;
                if keep != *kept {
                    *kept = keep;
                    self.choices.fill(keep);
                }
            }
        }
        DroppedPart { choices: &self.choices, at: at + start, scale: self.scale }
    }
}

/// Some elements, at most so many that [`DroppedRows::reach`] has them.
#[derive(Clone, Copy)]
pub(super) struct DroppedPart<'w> {
    choices: &'w Choices<'w>,
    at: usize,
    scale: f32,
}

impl DroppedPart<'_> {
    /// Dropout of vector `i`.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, token: S, i: usize, x: S::F32) -> S::F32 {
        let scale = S::F32::splat(token, self.scale);
        self.choices.keep(token, self.at + i * LANES).or_zero(x * scale)
    }
}

/// Elements `start` up to `end` in parts of a length.
#[inline(always)]
pub(super) fn in_parts(
    start: usize,
    end: usize,
    len: usize,
) -> impl Iterator<Item = (usize, usize)> {
    (start..end).step_by(len).map(
        #[inline(always)]
        move |from| (from, end.min(from.saturating_add(len))),
    )
}
