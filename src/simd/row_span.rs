//! Rows that are read and written: a pitch each for x, y and every other input, and addends whose sum x becomes.
//!
//! Invariant of [`RowSpan`]:
//!
//! * Row `r` of a buffer is the `cols` elements from `r` times its pitch on.
//! * All rows of x and of the inputs are valid for reads, those of y for writes. y is valid for reads too where it is x or
//!   an addend.
//! * The rows of x are those of y or do not overlap them. Rows of the other inputs do not overlap y. Rows of y do not
//!   overlap each other.
//! * Nothing else writes to any of them during `'a`, and nothing else reads y.
//! * Where there are addends, x is valid for writes, its rows do not overlap each other, and nothing else reads it. Each
//!   addend is valid for reads and is x, or y, or overlaps neither.
//!
//! The constructors establish it from references, checked shapes and the promises of `inout.rs`; splitting keeps it.

use core::marker::PhantomData;
use core::ptr;

use super::contract::LANES;
use super::group::{Group, Input};
use super::memory::fence;
use super::span::Span;

/// Inputs beside x that a kernel may read: their places in a group of [`INPUTS`].
pub(crate) const GATE: usize = 1;
/// What is added to y.
pub(crate) const ADDED: usize = 2;
/// Inputs of a group that reads all of them.
pub(crate) const INPUTS: usize = 3;

/// What x becomes the sum of, in this order: x itself, a bias of the columns, a residual.
const ADDENDS: usize = 3;

/// Rows that a kernel reads from x and writes to y.
#[derive(Debug)]
pub(crate) struct RowSpan<'a> {
    /// x, the gate, and what is added to y; x again where there is none.
    inputs: [Input; INPUTS],
    dst: *mut f32,
    dst_pitch: usize,
    rows: usize,
    cols: usize,
    addends: Option<Addends>,
    streams: bool,
    lifetime: PhantomData<(&'a [f32], &'a mut [f32])>,
}

/// What x becomes the sum of ([`RowSpan::sums`]).
#[derive(Clone, Copy, Debug)]
struct Addends {
    /// x, the bias, the residual; x again where there is none.
    inputs: [Input; ADDENDS],
    has_bias: bool,
    has_residual: bool,
}

/// Rows whose sums are to be stored in their y before they are read as x.
pub(crate) struct Sums<'a> {
    /// The addends: x, the bias, the residual.
    pub(crate) rows: Group<'a, 1, ADDENDS>,
    pub(crate) has_bias: bool,
    pub(crate) has_residual: bool,
}

// SAFETY: a `RowSpan` stands for `&[f32]` and `&mut [f32]`, which are both `Send`.
unsafe impl Send for RowSpan<'_> {}

/// Elements from the start of the first row to the end of the last row; `None` if they are too many to count.
pub(crate) fn reach(rows: usize, cols: usize, pitch: usize) -> Option<usize> {
    match rows.checked_sub(1) {
        Some(before) => before.checked_mul(pitch)?.checked_add(cols),
        None => Some(0),
    }
}

/// Checks that rows lie within a buffer and do not overlap.
fn assert_rows(len: usize, (rows, cols): (usize, usize), pitch: usize) {
    let reach = reach(rows, cols, pitch);
    assert!(reach.is_some_and(|reach| reach <= len), "the rows lie within the buffer");
    assert!(pitch >= cols || rows <= 1, "rows do not overlap");
}

impl<'a> RowSpan<'a> {
    /// The rows of a span, which are contiguous.
    pub(crate) fn new(span: Span<'a>, rows: usize, cols: usize) -> Self {
        let (src, dst, len) = span.pointers();
        assert_eq!(rows.checked_mul(cols), Some(len), "the rows are the whole span");
        // SAFETY: the span's invariant, and the assertion.
        unsafe { Self::from_pointers((src, cols), (dst, cols), (rows, cols)) }
    }

    /// Rows that begin every pitch elements from `x` and from `y` on.
    ///
    /// # Safety
    ///
    /// The rows keep the invariant for `'a`.
    pub(super) unsafe fn from_pointers(
        (x, x_pitch): (*const f32, usize),
        (y, y_pitch): (*mut f32, usize),
        (rows, cols): (usize, usize),
    ) -> Self {
        Self {
            inputs: [Input { first: x, pitch: x_pitch }; INPUTS],
            dst: y,
            dst_pitch: y_pitch,
            rows,
            cols,
            addends: None,
            streams: false,
            lifetime: PhantomData,
        }
    }

    /// The same rows, where `bias`, of the columns, is added to x before it is read: in y, unless a residual says otherwise.
    pub(crate) fn plus_bias(mut self, bias: &'a [f32]) -> Self {
        assert_eq!(bias.len(), self.cols, "a bias for every column");
        let dst = (self.dst, self.dst_pitch);
        let addends = self.addends_in(dst);
        // Every row has the same bias.
        addends.inputs[1] = Input { first: bias.as_ptr(), pitch: 0 };
        addends.has_bias = true;
        self
    }

    /// The same rows, where `residual` is added to x before it is read: in y.
    pub(crate) fn plus_residual(mut self, residual: &'a [f32], pitch: usize) -> Self {
        assert_rows(residual.len(), (self.rows, self.cols), pitch);
        let dst = (self.dst, self.dst_pitch);
        let addends = self.addends_in(dst);
        addends.inputs[2] = Input { first: residual.as_ptr(), pitch };
        addends.has_residual = true;
        self
    }

    /// The same rows, where `residual` becomes the sum of x and itself, which is then read as x.
    pub(crate) fn added_to_residual(mut self, residual: &'a mut [f32], pitch: usize) -> Self {
        assert_rows(residual.len(), (self.rows, self.cols), pitch);
        let first = residual.as_mut_ptr();
        let addends = self.addends_in((first, pitch));
        addends.inputs[2] = Input { first, pitch };
        addends.has_residual = true;
        self
    }

    /// The same rows, where the sum of the addends is made in `sum` instead of y.
    ///
    /// # Safety
    ///
    /// The rows of `sum` are valid for writes during `'a`, do not overlap each other, and nothing else reads or writes them.
    pub(super) unsafe fn with_sum(mut self, sum: *mut f32, pitch: usize) -> Self {
        self.addends_in((sum, pitch));
        self
    }

    /// The addends, whose sum is made in rows at `sum` and read there.
    fn addends_in(&mut self, (sum, pitch): (*mut f32, usize)) -> &mut Addends {
        let x = self.inputs[0];
        self.inputs[0] = Input { first: sum.cast_const(), pitch };
        self.addends.get_or_insert(Addends {
            inputs: [x; ADDENDS],
            has_bias: false,
            has_residual: false,
        })
    }

    /// The same rows with a gate beside x.
    pub(crate) fn with_gate(mut self, gate: &'a [f32], pitch: usize) -> Self {
        assert_rows(gate.len(), (self.rows, self.cols), pitch);
        self.inputs[GATE] = Input { first: gate.as_ptr(), pitch };
        self
    }

    /// The same rows with what is added to y.
    pub(crate) fn with_added(mut self, added: &'a [f32], pitch: usize) -> Self {
        assert_rows(added.len(), (self.rows, self.cols), pitch);
        self.inputs[ADDED] = Input { first: added.as_ptr(), pitch };
        self
    }

    /// The same rows again. This span cannot be used until the result is dropped and its non-temporal stores are fenced.
    #[inline(always)]
    pub(crate) fn reborrow(&mut self) -> RowSpan<'_> {
        RowSpan { lifetime: PhantomData, ..*self }
    }

    /// Whether the rows of x, and those of y, are contiguous, so that several may be worked on as one.
    #[inline(always)]
    pub(crate) fn is_contiguous(&self) -> bool {
        self.inputs[0].pitch == self.cols && self.dst_pitch == self.cols
    }

    /// `factor` rows as one, of rows that are contiguous; those that do not fill one are left out.
    pub(crate) fn widened(&mut self, factor: usize) -> RowSpan<'_> {
        assert!(self.is_contiguous(), "several rows are one only where they are contiguous");
        assert!(self.addends.is_none(), "the sums have been made");
        let (rows, cols) = (self.rows / factor, self.cols * factor);
        let x = Input { first: self.inputs[0].first, pitch: cols };
        RowSpan { inputs: [x; INPUTS], dst_pitch: cols, rows, cols, lifetime: PhantomData, ..*self }
    }

    /// The same rows with non-temporal stores, unless y is read.
    pub(crate) fn streaming(mut self) -> Self {
        let dst = self.dst.cast_const();
        let is_y = |input: Input| ptr::eq(input.first, dst);
        self.streams = !is_y(self.inputs[0])
            && self.addends.is_none_or(|addends| !addends.inputs.into_iter().any(is_y));
        self
    }

    /// Whether y is written by non-temporal stores where that is possible.
    #[inline(always)]
    pub(crate) fn streams(&self) -> bool {
        self.streams
    }

    /// Whether all rows of y begin at the same offset in their cache lines.
    #[inline(always)]
    pub(crate) fn alike(&self) -> bool {
        self.dst_pitch.is_multiple_of(LANES)
    }

    /// The number of rows.
    #[inline(always)]
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    #[inline(always)]
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// x from its first row on to the end of its last.
    pub(crate) fn src(&self) -> &[f32] {
        assert!(self.addends.is_none(), "x is there");
        let len = match self.rows {
            0 => return &[],
            rows => reach(rows, self.cols, self.inputs[0].pitch).unwrap_or(0),
        };
        // SAFETY: the constructors were given a buffer that holds all rows. The result borrows this span, so nothing is
        // written while it lives.
        unsafe { core::slice::from_raw_parts(self.inputs[0].first, len) }
    }

    /// Elements from the start of a row of x to the start of the next.
    #[inline(always)]
    pub(crate) fn src_pitch(&self) -> usize {
        self.inputs[0].pitch
    }

    /// Elements of x from a row to the one that is `rows` after it.
    #[inline(always)]
    pub(crate) fn ahead(&self, rows: usize) -> usize {
        self.inputs[0].pitch.wrapping_mul(rows)
    }

    /// The rows before `at`, and the others.
    pub(crate) fn split_at(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows, "{} rows have none at {at}", self.rows);
        let high = Self {
            inputs: self.inputs.map(|input| input.row(at)),
            // Wrapping: less than a pitch of elements may follow the last row. No row is left then.
            dst: self.dst.wrapping_add(at.wrapping_mul(self.dst_pitch)),
            rows: self.rows - at,
            addends: self.addends.map(|addends| Addends {
                inputs: addends.inputs.map(|input| input.row(at)),
                ..addends
            }),
            ..self
        };
        (Self { rows: at, ..self }, high)
    }

    /// Writes `+0.0` to the rows of y from `first` up to `end`.
    pub(crate) fn zero_rows(&mut self, first: usize, end: usize) {
        assert!(first <= end && end <= self.rows, "the rows are there");
        let contiguous = self.dst_pitch == self.cols;
        let (rows, len) =
            if contiguous { (1, (end - first) * self.cols) } else { (end - first, self.cols) };
        for r in 0..rows {
            // SAFETY: the elements are those of rows of y, by the assertion; zero bytes are `+0.0`.
            unsafe { self.dst.add((first + r) * self.dst_pitch).write_bytes(0, len) }
        }
    }

    /// `R` rows of the first `IN` inputs, the first of them row `first`.
    #[inline(always)]
    pub(crate) fn group<const R: usize, const IN: usize>(
        &mut self,
        first: usize,
    ) -> Group<'_, R, IN> {
        self.group_apart(first, 1)
    }

    /// `R` rows, the first of them row `first`, each `apart` rows after the one before.
    #[inline(always)]
    pub(crate) fn group_apart<const R: usize, const IN: usize>(
        &mut self,
        first: usize,
        apart: usize,
    ) -> Group<'_, R, IN> {
        let last = apart.checked_mul(R - 1).and_then(|rows| rows.checked_add(first));
        assert!(last.is_some_and(|last| last < self.rows), "the rows are there");
        let mut inputs = [self.inputs[0]; IN];
        for i in 0..IN {
            let input = self.inputs[i].row(first);
            inputs[i] = Input { pitch: input.pitch.wrapping_mul(apart), ..input };
        }
        // SAFETY: by the assertion and the invariant.
        unsafe {
            let dst = self.dst.add(first * self.dst_pitch);
            Group::new(inputs, (dst, self.dst_pitch * apart), self.cols, self.streams)
        }
    }

    /// How many of `rows` rows from row `first` on have their sums made at a time: all of them as one row where every buffer is
    /// contiguous, else one.
    #[inline(always)]
    pub(crate) fn rows_of_sums(&self, rows: usize) -> Option<usize> {
        let Addends { inputs, has_bias, .. } = self.addends?;
        let contiguous = !has_bias
            && self.inputs[0].pitch == self.cols
            && inputs[0].pitch == self.cols
            && inputs[2].pitch == self.cols;
        Some(if contiguous { rows } else { 1 })
    }

    /// The addends of `rows` rows as one row, and the place of their sum as its y: as many as
    /// [`rows_of_sums`](Self::rows_of_sums) says.
    #[inline(always)]
    pub(crate) fn sums(&mut self, first: usize, rows: usize) -> Option<Sums<'_>> {
        let Addends { inputs, has_bias, has_residual } = self.addends?;
        let end = first.checked_add(rows);
        assert!(end.is_some_and(|end| end <= self.rows), "the rows are there");
        assert!(self.rows_of_sums(rows) == Some(rows), "the rows are one");
        let x = self.inputs[0].row(first);
        let inputs = inputs.map(
            #[inline(always)]
            |input| input.row(first),
        );
        let len = rows * self.cols;
        // SAFETY: by the assertions and the invariant: where there are addends, x is valid for writes, and rows that are one
        // are contiguous in every buffer.
        let rows = unsafe { Group::new(inputs, (x.first.cast_mut(), len), len, false) };
        Some(Sums { rows, has_bias, has_residual })
    }
}

/// As for a [`Span`]: non-temporal stores need a fence on the thread that made them.
impl Drop for RowSpan<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.streams {
            fence();
        }
    }
}
