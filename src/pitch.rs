//! Where the rows of a buffer begin: one stride, or two.
#![forbid(unsafe_code)]

use core::num::NonZeroUsize;

use crate::error::{Error, MOST_ELEMENTS};
use crate::shape::{Rows, check_at_least, check_length};

/// How far apart the rows of a buffer begin, in elements: one stride (`From<usize>`), or two ([`Pitch::nested`]).
///
/// Attention needs two: queries `[tokens, heads, dim]` within a buffer of queries, keys and values are rows of `dim` elements,
/// of which those of a token begin every `dim` elements, and the tokens every `3 * heads * dim`.
///
/// ```
/// use evenkeel::{InOut, NormArgs, Pitch, RmsNorm, Rows};
///
/// let (tokens, heads, dim) = (5, 2, 4);
/// let token = 3 * heads * dim;
/// let mut qkv = vec![1.0_f32; tokens * token];
/// // The queries of every token and head, in place.
/// let queries = Pitch::nested(heads, dim, token);
/// let norm = RmsNorm::new();
/// let rows = Rows::new(tokens * heads, dim)?;
/// norm.forward(InOut::strided_in_place(&mut qkv, queries), rows, NormArgs::new())?;
/// // The keys of every token lie behind its queries.
/// norm.forward(InOut::strided_in_place(&mut qkv[heads * dim..], queries), rows, NormArgs::new())?;
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pitch {
    /// Elements from the start of a row to the start of the next.
    elements: usize,
    /// After so many rows it is `outer` elements from the first of them to the next. [`ALL`](Self::ALL): never. Not 0, which
    /// leaves room for the `None` of an `Option`: arguments have many.
    inner_rows: NonZeroUsize,
    outer: usize,
}

impl From<usize> for Pitch {
    fn from(elements: usize) -> Self {
        Self { elements, inner_rows: Self::ALL, outer: 0 }
    }
}

impl Pitch {
    /// Rows of no buffer.
    const ALL: NonZeroUsize = NonZeroUsize::MAX;

    /// Two strides. Row `r` begins `r / inner_rows * outer + r % inner_rows * elements` elements after row 0.
    ///
    /// `inner_rows` is at least 1, and no two rows overlap: each group of `inner_rows` ends before the next one begins, or the first rows
    /// of all groups end before the second rows begin. Operations return an error otherwise. Either stride may be the greater one: of heads that a view has put before the tokens, the inner
    /// rows are the tokens of a head, and `outer` is the length of a head.
    ///
    /// What works row by row takes two strides: [`LayerNorm`](crate::LayerNorm), [`RmsNorm`](crate::RmsNorm),
    /// [`NormalizeScaleShift`](crate::NormalizeScaleShift) with statistics of rows, [`RowMoments`](crate::RowMoments) and
    /// [`Normalizer`](crate::preprocess::Normalizer). Operations on columns return [`Error::Unsupported`].
    #[must_use]
    pub const fn nested(inner_rows: usize, elements: usize, outer: usize) -> Self {
        match NonZeroUsize::new(inner_rows) {
            Some(inner_rows) => Self { elements, inner_rows, outer },
            // Rows that overlap.
            None => Self { elements: 0, inner_rows: NonZeroUsize::MIN, outer: 0 },
        }
    }

    /// Elements from the start of a row to the start of the next; of two strides, the inner one.
    #[must_use]
    pub const fn elements(self) -> usize {
        self.elements
    }

    /// Whether there are two strides.
    #[must_use]
    pub const fn is_nested(self) -> bool {
        self.inner_rows.get() != Self::ALL.get()
    }

    const fn inner_rows(self) -> usize {
        self.inner_rows.get()
    }

    /// Elements from row 0 to row `row`. It wraps where there is no such row.
    #[inline(always)]
    pub(crate) fn offset(self, row: usize) -> usize {
        if !self.is_nested() {
            return row.wrapping_mul(self.elements);
        }
        let (group, row) = (row / self.inner_rows, row % self.inner_rows);
        group.wrapping_mul(self.outer).wrapping_add(row.wrapping_mul(self.elements))
    }

    /// The same of `R` rows from row `first` on, with one division.
    #[inline(always)]
    pub(crate) fn offsets<const R: usize>(self, first: usize) -> [usize; R] {
        let mut offsets = [0; R];
        let (mut group, mut row) = (first / self.inner_rows, first % self.inner_rows);
        for offset in &mut offsets {
            *offset = group.wrapping_mul(self.outer).wrapping_add(row.wrapping_mul(self.elements));
            row += 1;
            if row == self.inner_rows() {
                (group, row) = (group.wrapping_add(1), 0);
            }
        }
        offsets
    }

    /// Whether rows of `cols` elements lie one behind the other.
    #[inline(always)]
    pub(crate) fn is_contiguous(self, cols: usize) -> bool {
        !self.is_nested() && self.elements == cols
    }

    /// Whether all rows begin at the same offset in what `elements` elements fill.
    #[inline(always)]
    pub(crate) fn is_multiple_of(self, elements: usize) -> bool {
        let outer = if self.is_nested() { self.outer } else { 0 };
        self.elements.is_multiple_of(elements) && outer.is_multiple_of(elements)
    }

    /// The one stride, for an operation that takes no second.
    pub(crate) fn single(self, arg: &'static str) -> Result<usize, Error> {
        if self.is_nested() { Err(Error::Unsupported { arg }) } else { Ok(self.elements) }
    }

    /// Elements from the start of the first row to the end of the last one in memory; `None` if they are too many to count.
    pub(crate) fn reach(self, rows: usize, cols: usize) -> Option<usize> {
        let Some(before) = rows.checked_sub(1) else { return Some(0) };
        if !self.is_nested() {
            return before.checked_mul(self.elements)?.checked_add(cols);
        }
        let (group, row) = (before / self.inner_rows, before % self.inner_rows);
        let last = group.checked_mul(self.outer)?.checked_add(row.checked_mul(self.elements)?)?;
        // Where the last group is not full, a row of the one before it may lie behind.
        let full = match group.checked_sub(1) {
            Some(group) => (group.checked_mul(self.outer)?)
                .checked_add((self.inner_rows() - 1).checked_mul(self.elements)?)?,
            None => 0,
        };
        last.max(full).checked_add(cols)
    }

    /// Whether no two of the rows overlap.
    pub(crate) fn keeps_apart(self, rows: usize, cols: usize) -> bool {
        if self.elements < cols && rows > 1 {
            return false;
        }
        if !self.is_nested() || rows <= self.inner_rows() {
            return true;
        }
        let groups = rows.div_ceil(self.inner_rows());
        // Each group behind the one before it, or the first rows of all groups before the second rows.
        let reach = |rows, elements| Self::from(elements).reach(rows, cols);
        reach(self.inner_rows(), self.elements).is_some_and(|reach| reach <= self.outer)
            || (self.outer >= cols
                && reach(groups, self.outer).is_some_and(|reach| reach <= self.elements))
    }
}

/// Checks that the rows of a shape lie within a buffer, at a pitch if there is one, and do not overlap. Returns the pitch.
#[inline(always)]
pub(crate) fn check_rows(
    rows: Rows,
    buffer @ (arg, len): (&'static str, usize),
    (pitch_arg, pitch): (&'static str, Option<Pitch>),
) -> Result<Pitch, Error> {
    match pitch {
        None => check_length(arg, len, rows.elements()).map(|()| rows.cols().into()),
        Some(pitch) => check_pitched(rows, buffer, (pitch_arg, pitch)),
    }
}

#[inline(never)]
fn check_pitched(
    rows: Rows,
    (arg, len): (&'static str, usize),
    (pitch_arg, pitch): (&'static str, Pitch),
) -> Result<Pitch, Error> {
    let (count, cols) = (rows.rows(), rows.cols());
    check_at_least(pitch_arg, pitch.elements, cols)?;
    match pitch.reach(count, cols) {
        Some(reach) if reach <= MOST_ELEMENTS => check_at_least(arg, len, reach)?,
        _ => {
            return Err(Error::ShapeOverflow { arg: pitch_arg, got: [1, count, pitch.elements] });
        }
    }
    if !pitch.keeps_apart(count, cols) {
        let expected = Pitch::from(pitch.elements).reach(pitch.inner_rows(), cols);
        let expected = expected.unwrap_or(MOST_ELEMENTS);
        return Err(Error::TooShort { arg: pitch_arg, expected, got: pitch.outer });
    }
    Ok(pitch)
}

/// Rows of a slice.
#[derive(Clone, Copy)]
pub(crate) struct PitchedRows<'a> {
    pub(crate) elements: &'a [f32],
    pub(crate) pitch: Pitch,
    /// The row that is row 0 of these.
    first: usize,
}

impl<'a> PitchedRows<'a> {
    pub(crate) fn new(elements: &'a [f32], pitch: Pitch) -> Self {
        Self { elements, pitch, first: 0 }
    }

    /// Rows that lie one behind the other.
    pub(crate) fn contiguous(elements: &'a [f32], cols: usize) -> Self {
        Self::new(elements, cols.into())
    }

    /// Elements from row `row` to the one that is `rows` after it.
    #[inline(always)]
    pub(crate) fn ahead(self, row: usize, rows: usize) -> usize {
        let offset = |row| self.pitch.offset(self.first + row);
        offset(row + rows).wrapping_sub(offset(row))
    }

    /// Elements `start` up to `end` of a row.
    #[inline(always)]
    pub(crate) fn part(self, row: usize, (start, end): (usize, usize)) -> &'a [f32] {
        let row = self.pitch.offset(self.first + row);
        &self.elements[row + start..row + end]
    }

    /// The rows before a row, and those from it on.
    pub(crate) fn split_at(self, row: usize) -> (Self, Self) {
        (self, Self { first: self.first + row, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_reach_from_the_first_element_to_the_last() {
        let reach = |rows, cols, pitch| Pitch::from(pitch).reach(rows, cols);
        assert_eq!([reach(0, 5, 9), reach(1, 5, 9), reach(3, 5, 9)], [Some(0), Some(5), Some(23)]);
        assert_eq!(reach(3, 5, usize::MAX / 2), None);
        assert_eq!(reach(2, 2, usize::MAX - 1), None);
        assert_eq!(reach(2, 1, usize::MAX - 1), Some(usize::MAX));
    }

    /// Every row, for every small pitch: rows overlap, and lie within the reach, exactly where the two say so.
    #[test]
    fn rows_lie_as_a_list_of_their_elements_says() {
        for cols in 1..4 {
            for rows in 0..8 {
                for inner_rows in 1..5 {
                    for elements in 0..14 {
                        for outer in 0..20 {
                            let pitch = Pitch::nested(inner_rows, elements, outer);
                            let mut taken = [0; 200];
                            let mut reach = 0;
                            for row in 0..rows {
                                let start = row / inner_rows * outer + row % inner_rows * elements;
                                assert_eq!(pitch.offset(row), start);
                                assert_eq!(pitch.offsets::<3>(row)[0], start);
                                assert_eq!(pitch.offsets::<3>(row)[2], pitch.offset(row + 2));
                                taken[start..start + cols].iter_mut().for_each(|n| *n += 1);
                                reach = reach.max(start + cols);
                            }
                            let apart = taken.iter().all(|&n| n <= 1);
                            let case = (rows, cols, pitch);
                            assert_eq!(pitch.reach(rows, cols), Some(reach), "{case:?}");
                            // Rows that mesh otherwise are apart too, but that is said of none.
                            assert!(apart || !pitch.keeps_apart(rows, cols), "{case:?}");
                            let blocks = outer >= (inner_rows - 1) * elements + cols;
                            let full = elements >= cols && blocks;
                            assert!(!full || pitch.keeps_apart(rows, cols), "{case:?}");
                        }
                    }
                }
            }
        }
    }
}
