//! Rows that are read and written: a pitch each for x, y and every other input, and addends whose sum x becomes.
//!
//! Invariant of [`RowSpan`]:
//!
//! * Row `r` of a buffer is the `cols` elements from the offset of `r` at its pitch on.
//! * All rows of x and of the inputs are valid for reads, those of y for writes. y is valid for reads too where it is x or
//!   an addend, and where a kernel has written it and reads it [again](RowSpan::again).
//! * The rows of x are those of y or do not overlap them. Rows of the other inputs do not overlap y. Rows of y do not
//!   overlap each other.
//! * Nothing else writes to any of them during `'a`, and nothing else reads y.
//! * Where there is no y, its pointer is null. No group that writes is made then.
//! * Where x is made of terms, it is valid for writes, its rows do not overlap each other, and nothing else reads it. Each
//!   term is valid for reads and is x, or y, or overlaps neither.
//! * Where the terms are multiplied with a gate, x is y, and the place of their sum has what is said of x, too.
//!
//! The constructors establish it from references, checked shapes and the promises of `inout.rs`; splitting keeps it.

use core::marker::PhantomData;
use core::ptr;

use super::contract::LANES;
use super::group::{Group, ReadGroup, at_one_stride, nested_rows};
use super::memory::fence;
use super::row_inputs::{Buffer, RowInputs};
use super::span::Span;
use crate::gate::GateFunction;
use crate::pitch::Pitch;

/// Inputs beside x that a kernel may read: their places in a group of [`INPUTS`].
pub(crate) const GATE: usize = 1;
/// What is added to y.
pub(crate) const ADDED: usize = 2;
/// In a backward pass, whose x is dy: the x of the forward pass.
pub(crate) const FORWARD_X: usize = 1;
/// In a backward pass: what is added to dx, the gradient of a sum that the forward pass kept.
pub(crate) const DSUM: usize = 2;
/// Inputs of a group that reads all of them.
pub(crate) const INPUTS: usize = 3;

/// What x becomes the sum of, in this order: x itself, a bias of the columns, a residual.
const ADDENDS: usize = 3;

/// What x becomes the product of: x itself or the sum, and a gate.
const FACTORS: usize = 2;

/// Rows that a kernel reads from x and writes to y.
///
/// A call passes it on by value several times, which counts where there is one row. So it is small, and holds a reference to what
/// most calls do not have.
#[derive(Debug)]
pub(crate) struct RowSpan<'a> {
    x: *const f32,
    x_pitch: usize,
    dst: *mut f32,
    dst_pitch: usize,
    rows: usize,
    cols: usize,
    streams: bool,
    /// The row of `others`, and of `nest`, that belongs to row 0.
    first: usize,
    others: Option<&'a RowInputs<'a>>,
    /// Pitches of x and y that count in place of those above, if one of them has two strides. Their pointers stay at the row
    /// `first` rows before row 0.
    nest: Option<&'a [Pitch; 2]>,
    lifetime: PhantomData<(&'a [f32], &'a mut [f32])>,
}

/// Rows whose sums are to be stored in their y before they are read as x.
pub(crate) struct Sums<'a> {
    /// The addends: x, the bias, the residual.
    pub(crate) rows: Group<'a, 1, ADDENDS>,
    pub(crate) has_bias: bool,
    pub(crate) has_residual: bool,
}

// SAFETY: a `RowSpan` stands for `&[f32]` and `&mut [f32]`, which are both `Send`, and so do its `RowInputs`, of which no two
// spans have the same rows.
unsafe impl Send for RowSpan<'_> {}

impl<'a> RowSpan<'a> {
    /// The rows of a span, which are contiguous.
    pub(crate) fn new(span: Span<'a>, rows: usize, cols: usize) -> Self {
        let (src, dst, len) = span.pointers();
        assert_eq!(rows.checked_mul(cols), Some(len), "the rows are the whole span");
        // SAFETY: the span's invariant, and the assertion.
        unsafe { Self::from_pointers((src, cols), (dst, cols), (rows, cols)) }
    }

    /// Rows at one stride each from `x` and from `y` on. Without a y, it is null.
    ///
    /// # Safety
    ///
    /// The rows keep the invariant for `'a`.
    pub(super) unsafe fn from_pointers(
        (x, x_pitch): (*const f32, usize),
        (dst, dst_pitch): (*mut f32, usize),
        (rows, cols): (usize, usize),
    ) -> Self {
        Self {
            x,
            x_pitch,
            dst,
            dst_pitch,
            rows,
            cols,
            streams: false,
            first: 0,
            others: None,
            nest: None,
            lifetime: PhantomData,
        }
    }

    /// Rows at pitches from `x` and from `y` on. Without a y, it is null.
    ///
    /// # Safety
    ///
    /// The rows keep the invariant for `'a`.
    #[inline(always)]
    pub(super) unsafe fn at_pitches(
        x: *const f32,
        y: *mut f32,
        pitches: &'a [Pitch; 2],
        shape: (usize, usize),
    ) -> Self {
        let [of_x, of_y] = pitches;
        // SAFETY: the caller's promise; where a pitch has two strides, `nest` counts.
        let rows =
            unsafe { Self::from_pointers((x, of_x.elements()), (y, of_y.elements()), shape) };
        Self { nest: (of_x.is_nested() || of_y.is_nested()).then_some(pitches), ..rows }
    }

    /// Whether there is a y.
    #[inline(always)]
    pub(crate) fn writes(&self) -> bool {
        !self.dst.is_null()
    }

    /// The same rows with inputs beside x. The sum of addends is made in y, unless it has another place or is to update the
    /// residual. The product with a gate is made in y.
    pub(crate) fn with_inputs<'s, 'i: 's>(self, inputs: &'s mut RowInputs<'i>) -> RowSpan<'s>
    where
        'a: 's,
    {
        assert_eq!(inputs.shape, (self.rows, self.cols), "a row of every input for each row of x");
        // Other addends would be forgotten, and the place of their sum read before it is written.
        assert!(self.others.is_none(), "a span has inputs once");
        assert!(self.first == 0 || self.nest.is_none(), "rows with two strides are all rows");
        let mut io = self;
        // The rows may be some of others; those of the inputs are theirs alone.
        io.first = 0;
        let [x_pitch, y_pitch] = io.pitches();
        let y = Buffer { first: io.dst.cast_const(), pitch: y_pitch };
        let gate = inputs.gate.filter(|_| inputs.gate_first.is_some());
        if inputs.has_sum() || gate.is_some() {
            let x = Buffer { first: io.x, pitch: x_pitch };
            inputs.x = Some(x);
            inputs.sum = inputs.sum.or(inputs.residual.filter(|_| inputs.updated));
            let made = if gate.is_some() { y } else { inputs.sum.unwrap_or(y) };
            let mut terms = [inputs.x, inputs.residual, inputs.sum, gate].into_iter().flatten();
            let contiguous = |rows: Buffer| rows.pitch.is_contiguous(io.cols);
            let one = inputs.bias.is_none() && !inputs.by_row;
            inputs.contiguous = one && contiguous(made) && terms.all(contiguous);
            inputs.pitches = [made.pitch, y_pitch];
            (io.x, io.x_pitch) = (made.first, made.pitch.elements());
            io.nest = None;
        }
        let inputs = &*inputs;
        if inputs.pitches.iter().any(|pitch| pitch.is_nested()) {
            io.nest = Some(&inputs.pitches);
        }
        io.others = Some(inputs);
        io
    }

    /// The pitches of x and y.
    #[inline(always)]
    fn pitches(&self) -> [Pitch; 2] {
        self.nest.copied().unwrap_or([self.x_pitch.into(), self.dst_pitch.into()])
    }

    /// x, and what it is made of together with the other inputs, where it is.
    #[inline(always)]
    fn terms(&self) -> Option<(Buffer, &RowInputs<'a>)> {
        let others = self.others?;
        Some((others.x?, others))
    }

    /// The same rows again. This span cannot be used until the result is dropped and its non-temporal stores are fenced.
    #[inline(always)]
    pub(crate) fn reborrow(&mut self) -> RowSpan<'_> {
        RowSpan { lifetime: PhantomData, ..*self }
    }

    /// Whether the rows of x, and those of y, are contiguous, so that several may be worked on as one.
    #[inline(always)]
    pub(crate) fn is_contiguous(&self) -> bool {
        self.x_pitch == self.cols && self.dst_pitch == self.cols && self.nest.is_none()
    }

    /// `factor` rows as one, of rows that are contiguous; those that do not fill one are left out.
    pub(crate) fn widened(&mut self, factor: usize) -> RowSpan<'_> {
        assert!(self.is_contiguous(), "several rows are one only where they are contiguous");
        assert!(self.others.is_none(), "other inputs may lie otherwise");
        let (rows, cols) = (self.rows / factor, self.cols * factor);
        RowSpan { x_pitch: cols, dst_pitch: cols, rows, cols, lifetime: PhantomData, ..*self }
    }

    /// The same rows with non-temporal stores, unless y is read.
    pub(crate) fn streaming(mut self) -> Self {
        let y = self.dst.cast_const();
        let is_read = self.terms().is_some_and(|(x, others)| others.reads(x, y));
        self.streams = self.writes() && !ptr::eq(self.x, y) && !is_read;
        self
    }

    /// The same rows with non-temporal stores, where x is y and is not read.
    pub(crate) fn streaming_unread(mut self) -> Self {
        self.streams = self.writes();
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
        match self.nest {
            None => self.dst_pitch.is_multiple_of(LANES),
            Some([_, y]) => y.is_multiple_of(LANES),
        }
    }

    /// The number of row 0 among those that the inputs were added to.
    #[inline(always)]
    pub(crate) fn first(&self) -> usize {
        self.first
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
        assert!(self.terms().is_none() && self.nest.is_none(), "x is there, at one stride");
        let len = Pitch::from(self.x_pitch).reach(self.rows, self.cols).unwrap_or(0);
        if len == 0 {
            return &[];
        }
        // SAFETY: the constructors were given a buffer that holds all rows. The result borrows this span, so nothing is
        // written while it lives.
        unsafe { core::slice::from_raw_parts(self.x, len) }
    }

    /// Elements from the start of a row of x to the start of the next.
    #[inline(always)]
    pub(crate) fn src_pitch(&self) -> usize {
        self.x_pitch
    }

    /// Row `row` of x.
    #[inline(always)]
    pub(crate) fn src_row(&self, row: usize) -> &[f32] {
        assert!(row < self.rows && self.terms().is_none(), "the row is there");
        // SAFETY: by the assertion and the invariant. The result borrows this span, so nothing is written while it lives.
        unsafe { core::slice::from_raw_parts(self.x_row(row), self.cols) }
    }

    /// Elements of x from row `row` to the one that is `rows` after it.
    #[inline(always)]
    pub(crate) fn ahead(&self, row: usize, rows: usize) -> usize {
        match self.nest {
            None => self.x_pitch.wrapping_mul(rows),
            Some([x, _]) => {
                let row = self.first + row;
                x.offset(row + rows).wrapping_sub(x.offset(row))
            }
        }
    }

    /// The start of row `row` of x. There may be less than a pitch of elements after the last row, and then no row is left.
    #[inline(always)]
    fn x_row(&self, row: usize) -> *const f32 {
        self.x.wrapping_add(match self.nest {
            None => row.wrapping_mul(self.x_pitch),
            Some([x, _]) => x.offset(self.first + row),
        })
    }

    /// The start of row `row` of y. What is absent stays null.
    #[inline(always)]
    fn y_row(&self, row: usize) -> *mut f32 {
        if !self.writes() {
            return self.dst;
        }
        self.dst.wrapping_add(match self.nest {
            None => row.wrapping_mul(self.dst_pitch),
            Some([_, y]) => y.offset(self.first + row),
        })
    }

    /// The rows before `at`, and the others.
    pub(crate) fn split_at(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows, "{} rows have none at {at}", self.rows);
        let first = self.first + at;
        let (rows, x, dst) = match self.nest {
            None => (self.rows - at, self.x_row(at), self.y_row(at)),
            Some(_) => (self.rows - at, self.x, self.dst),
        };
        let high = Self { x, dst, rows, first, ..self };
        (Self { rows: at, ..self }, high)
    }

    /// Columns `start` up to `end` of row `row`, as a row of its own. No input may be beside x.
    #[inline(always)]
    pub(crate) fn part(&mut self, row: usize, (start, end): (usize, usize)) -> RowSpan<'_> {
        assert!(row < self.rows && start <= end && end <= self.cols, "the part is there");
        assert!(self.others.is_none(), "other inputs may lie otherwise");
        let x = self.x_row(row).wrapping_add(start);
        // What is absent stays null.
        let dst = self.y_row(row).wrapping_add(if self.writes() { start } else { 0 });
        let (rows, cols) = (1, end - start);
        RowSpan { x, dst, rows, cols, first: 0, nest: None, lifetime: PhantomData, ..*self }
    }

    /// The rows of y, which are written already, as x and y.
    #[inline(always)]
    pub(crate) fn again(self) -> Self {
        assert!(self.writes() && self.others.is_none(), "there is a y alone");
        assert!(self.nest.is_none(), "at one stride");
        Self { x: self.dst.cast_const(), x_pitch: self.dst_pitch, streams: false, ..self }
    }

    /// The same row, whose x is another. No input may be beside x.
    #[inline(always)]
    pub(crate) fn reading<'s>(self, x: &'s [f32]) -> RowSpan<'s>
    where
        'a: 's,
    {
        assert!(self.rows == 1 && x.len() == self.cols, "x is one row");
        assert!(self.others.is_none() && self.nest.is_none(), "other inputs belong to x");
        // Nothing else reads y, by the invariant, so that `x` does not overlap it.
        RowSpan { x: x.as_ptr(), x_pitch: self.cols, ..self }
    }

    /// Writes `+0.0` to the rows of y from `first` up to `end`.
    pub(crate) fn zero_rows(&mut self, first: usize, end: usize) {
        assert!(self.writes() && first <= end && end <= self.rows, "the rows are there");
        let contiguous = self.dst_pitch == self.cols && self.nest.is_none();
        let (rows, len) =
            if contiguous { (1, (end - first) * self.cols) } else { (end - first, self.cols) };
        for r in 0..rows {
            // SAFETY: the elements are those of rows of y, by the assertion; zero bytes are `+0.0`.
            unsafe { self.y_row(first + r).write_bytes(0, len) }
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
        assert!(self.writes(), "there is a y");
        let inputs = self.inputs::<R, IN>(first, apart);
        let dst = match self.nest {
            None => at_one_stride(self.dst.cast_const(), self.dst_pitch, first, apart),
            Some([_, y]) => nested_rows(self.dst.cast_const(), *y, self.first + first),
        };
        // SAFETY: by the assertions and the invariant.
        unsafe { Group::new(inputs, dst.map(<*const f32>::cast_mut), self.cols, self.streams) }
    }

    /// `R` rows of the first `IN` inputs, the first of them row `first`, that are read alone.
    #[inline(always)]
    pub(crate) fn read_group<const R: usize, const IN: usize>(
        &self,
        first: usize,
    ) -> ReadGroup<'_, R, IN> {
        let inputs = self.inputs::<R, IN>(first, 1);
        // SAFETY: by the assertion of `inputs` and the invariant. A `ReadGroup` never looks at its y.
        unsafe { ReadGroup::new(inputs, self.cols) }
    }

    /// `R` rows of each of the first `IN` inputs from row `first` on, each `apart` rows after the one before. Checks that they are
    /// there.
    #[inline(always)]
    fn inputs<const R: usize, const IN: usize>(
        &self,
        first: usize,
        apart: usize,
    ) -> [[*const f32; R]; IN] {
        let last = apart.checked_mul(R - 1).and_then(|rows| rows.checked_add(first));
        assert!(last.is_some_and(|last| last < self.rows), "the rows are there");
        // Only kernels of columns have rows that are apart, and they have one stride.
        assert!(apart == 1 || self.nest.is_none(), "rows that are apart have one stride");
        let x = match self.nest {
            None => at_one_stride(self.x, self.x_pitch, first, apart),
            Some([x, _]) => nested_rows(self.x, *x, self.first + first),
        };
        // x stands for what is not there.
        let mut inputs = [x; IN];
        if IN > 1
            && let Some(others) = self.others
        {
            if let Some(gate) = others.gate {
                inputs[GATE] = gate.rows(self.first + first, apart);
            }
            if let Some(added) = others.added {
                inputs[ADDED] = added.rows(self.first + first, apart);
            }
        }
        inputs
    }

    /// How many of `rows` rows of x are made of their terms at a time, where they are: all of them as one row where every buffer
    /// is contiguous, else one.
    #[inline(always)]
    pub(crate) fn rows_of_terms(&self, rows: usize) -> Option<usize> {
        let (_, others) = self.terms()?;
        Some(if others.contiguous { rows } else { 1 })
    }

    /// Whether x is made of a sum.
    #[inline(always)]
    pub(crate) fn is_sum(&self) -> bool {
        self.others.is_some_and(
            #[inline(always)]
            |others| others.has_sum(),
        )
    }

    /// Whether x is a product.
    #[inline(always)]
    pub(crate) fn is_product(&self) -> bool {
        self.others.is_some_and(
            #[inline(always)]
            |others| others.gate_first.is_some(),
        )
    }

    /// Elements `start` up to `end` of the addends of `rows` rows as one row, and the place of their sum as its y: as many rows as
    /// [`rows_of_terms`](Self::rows_of_terms) says. None where x is no sum.
    #[inline(always)]
    pub(crate) fn sums(
        &mut self,
        (first, rows): (usize, usize),
        part: (usize, usize),
    ) -> Option<Sums<'_>> {
        let (x, others) = self.terms()?;
        if !others.has_sum() {
            return None;
        }
        self.assert_one((first, rows), part);
        let row = |buffer: Buffer| buffer.row(self.first + first);
        let (bias, residual) = (others.bias, others.residual);
        let (has_bias, has_residual) = (bias.is_some(), residual.is_some());
        let x = row(x);
        let inputs = [x, bias.map_or(x, row), residual.map_or(x, row)];
        let sum = self.sum(others, first);
        // SAFETY: by the assertions and the invariant: the place of a sum is valid for writes, and rows that are one are
        // contiguous in every buffer.
        let rows = unsafe { part_of_one(inputs, sum.cast_mut(), part) };
        Some(Sums { rows, has_bias, has_residual })
    }

    /// Elements `start` up to `end` of the factors of `rows` rows as one row, and their x as its y: as many rows as
    /// [`rows_of_terms`](Self::rows_of_terms) says; and the function of the second. None where x is no product.
    #[inline(always)]
    pub(crate) fn products(
        &mut self,
        (first, rows): (usize, usize),
        part: (usize, usize),
    ) -> Option<(GateFunction, Group<'_, 1, FACTORS>)> {
        let (x, others) = self.terms()?;
        let row = self.first + first;
        let (function, gate) = (others.gate_first?, others.gate?.row(row));
        self.assert_one((first, rows), part);
        let factor = if others.has_sum() { self.sum(others, first) } else { x.row(row) };
        let x = self.x_row(first).cast_mut();
        // SAFETY: by the assertions and the invariant: where there is a product, x is y, and rows that are one are contiguous in
        // every buffer.
        Some((function, unsafe { part_of_one([factor, gate], x, part) }))
    }

    /// Row `first` of the sum: of its place if that is not x.
    #[inline(always)]
    fn sum(&self, others: &RowInputs<'_>, first: usize) -> *const f32 {
        let place = others.sum.filter(|_| others.gate_first.is_some());
        place.map_or(self.x_row(first), |sum| sum.row(self.first + first))
    }

    /// Asserts that there are `rows` rows from row `first` on whose terms are one row, which has the part.
    #[inline(always)]
    fn assert_one(&self, (first, rows): (usize, usize), (start, end): (usize, usize)) {
        let last = first.checked_add(rows);
        assert!(last.is_some_and(|last| last <= self.rows), "the rows are there");
        assert!(self.rows_of_terms(rows) == Some(rows), "the rows are one");
        assert!(start <= end && end <= rows * self.cols, "the part is there");
    }
}

/// Elements `start` up to `end` of one row of each input and of y.
///
/// # Safety
///
/// These elements keep the invariant of a [`Group`].
#[inline(always)]
unsafe fn part_of_one<'a, const IN: usize>(
    inputs: [*const f32; IN],
    dst: *mut f32,
    (start, end): (usize, usize),
) -> Group<'a, 1, IN> {
    let part = |row: *const f32| [row.wrapping_add(start)];
    // SAFETY: the elements are valid, the caller's promise.
    unsafe { Group::new(inputs.map(part), [dst.wrapping_add(start)], end - start, false) }
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
