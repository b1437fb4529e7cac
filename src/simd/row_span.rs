//! Rows that are read and written: a pitch each for x, y and every other input, and addends whose sum x becomes.
//!
//! Invariant of [`RowSpan`]:
//!
//! * Row `r` of a buffer is the `cols` elements from `r` times its pitch on.
//! * All rows of x and of the inputs are valid for reads, those of y for writes. y is valid for reads too where it is x or
//!   an addend, and where a kernel has written it and reads it [again](RowSpan::again).
//! * The rows of x are those of y or do not overlap them. Rows of the other inputs do not overlap y. Rows of y do not
//!   overlap each other.
//! * Nothing else writes to any of them during `'a`, and nothing else reads y.
//! * Where there is no y, its pointer is null and its pitch 0. No group that writes is made then.
//! * Where x is made of terms, it is valid for writes, its rows do not overlap each other, and nothing else reads it. Each
//!   term is valid for reads and is x, or y, or overlaps neither.
//! * Where the terms are multiplied with a gate, x is y, and the place of their sum has what is said of x, too.
//!
//! The constructors establish it from references, checked shapes and the promises of `inout.rs`; splitting keeps it.

use core::marker::PhantomData;
use core::ptr;

use super::contract::LANES;
use super::group::{Group, Input, ReadGroup};
use super::memory::fence;
use super::span::Span;
use crate::gate::GateFunction;

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
    x: Input,
    dst: *mut f32,
    dst_pitch: usize,
    rows: usize,
    cols: usize,
    streams: bool,
    /// The row of `others` that belongs to row 0.
    first: usize,
    others: Option<&'a RowInputs<'a>>,
    lifetime: PhantomData<(&'a [f32], &'a mut [f32])>,
}

/// What is read beside x. Each input has a row for every row of x.
#[derive(Debug)]
pub(crate) struct RowInputs<'a> {
    shape: (usize, usize),
    /// x, where it is a term: x of the span is the place of the sum or the product then.
    x: Option<Input>,
    bias: Option<Input>,
    residual: Option<Input>,
    /// Whether the residual becomes the sum.
    updated: bool,
    /// Whether dropout is between bias and residual, so that x is a sum without them too; and whether it goes row by row.
    dropped: bool,
    by_row: bool,
    /// Where the sum is made, if not in y.
    sum: Option<Input>,
    gate: Option<Input>,
    /// The function of the gate, if x is multiplied with it.
    gate_first: Option<GateFunction>,
    added: Option<Input>,
    /// Whether the rows of x and of all its terms are contiguous.
    contiguous: bool,
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

/// Elements from the start of the first row to the end of the last row; `None` if they are too many to count.
pub(crate) fn reach(rows: usize, cols: usize, pitch: usize) -> Option<usize> {
    match rows.checked_sub(1) {
        Some(before) => before.checked_mul(pitch)?.checked_add(cols),
        None => Some(0),
    }
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
            x: Input { first: x, pitch: x_pitch },
            dst: y,
            dst_pitch: y_pitch,
            rows,
            cols,
            streams: false,
            first: 0,
            others: None,
            lifetime: PhantomData,
        }
    }

    /// Rows that begin every pitch elements from `x` on, and no y.
    ///
    /// # Safety
    ///
    /// The rows keep the invariant for `'a`.
    pub(super) unsafe fn of_reads(x: (*const f32, usize), shape: (usize, usize)) -> Self {
        // SAFETY: the caller's promise; a pitch of 0 leaves the pointer null wherever the rows are split.
        unsafe { Self::from_pointers(x, (ptr::null_mut(), 0), shape) }
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
        let mut io = self;
        // The rows may be some of others; those of the inputs are theirs alone.
        io.first = 0;
        let y = Input { first: io.dst.cast_const(), pitch: io.dst_pitch };
        let gate = inputs.gate.filter(|_| inputs.gate_first.is_some());
        if inputs.has_sum() || gate.is_some() {
            inputs.x = Some(io.x);
            inputs.sum = inputs.sum.or(inputs.residual.filter(|_| inputs.updated));
            let mut terms = [inputs.x, inputs.residual, inputs.sum, gate].into_iter().flatten();
            io.x = if gate.is_some() { y } else { inputs.sum.unwrap_or(y) };
            let contiguous = |input: Input| input.pitch == io.cols;
            let one = inputs.bias.is_none() && !inputs.by_row;
            inputs.contiguous = one && contiguous(io.x) && terms.all(contiguous);
        }
        io.others = Some(inputs);
        io
    }

    /// x, and what it is made of together with the other inputs, where it is.
    #[inline(always)]
    fn terms(&self) -> Option<(Input, &RowInputs<'a>)> {
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
        self.x.pitch == self.cols && self.dst_pitch == self.cols
    }

    /// `factor` rows as one, of rows that are contiguous; those that do not fill one are left out.
    pub(crate) fn widened(&mut self, factor: usize) -> RowSpan<'_> {
        assert!(self.is_contiguous(), "several rows are one only where they are contiguous");
        assert!(self.others.is_none(), "other inputs may lie otherwise");
        let (rows, cols) = (self.rows / factor, self.cols * factor);
        let x = Input { first: self.x.first, pitch: cols };
        RowSpan { x, dst_pitch: cols, rows, cols, lifetime: PhantomData, ..*self }
    }

    /// The same rows with non-temporal stores, unless y is read.
    pub(crate) fn streaming(mut self) -> Self {
        let y = self.dst.cast_const();
        let is_read = self.terms().is_some_and(|(x, others)| others.reads(x, y));
        self.streams = self.writes() && !ptr::eq(self.x.first, y) && !is_read;
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
        self.dst_pitch.is_multiple_of(LANES)
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
        assert!(self.terms().is_none(), "x is there");
        let len = match self.rows {
            0 => return &[],
            rows => reach(rows, self.cols, self.x.pitch).unwrap_or(0),
        };
        // SAFETY: the constructors were given a buffer that holds all rows. The result borrows this span, so nothing is
        // written while it lives.
        unsafe { core::slice::from_raw_parts(self.x.first, len) }
    }

    /// Elements from the start of a row of x to the start of the next.
    #[inline(always)]
    pub(crate) fn src_pitch(&self) -> usize {
        self.x.pitch
    }

    /// Elements of x from a row to the one that is `rows` after it.
    #[inline(always)]
    pub(crate) fn ahead(&self, rows: usize) -> usize {
        self.x.pitch.wrapping_mul(rows)
    }

    /// The rows before `at`, and the others.
    pub(crate) fn split_at(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows, "{} rows have none at {at}", self.rows);
        let high = Self {
            x: self.x.row(at),
            // Wrapping: less than a pitch of elements may follow the last row. No row is left then.
            dst: self.dst.wrapping_add(at.wrapping_mul(self.dst_pitch)),
            rows: self.rows - at,
            first: self.first + at,
            ..self
        };
        (Self { rows: at, ..self }, high)
    }

    /// Columns `start` up to `end` of row `row`, as a row of its own. No input may be beside x.
    #[inline(always)]
    pub(crate) fn part(&mut self, row: usize, (start, end): (usize, usize)) -> RowSpan<'_> {
        assert!(row < self.rows && start <= end && end <= self.cols, "the part is there");
        assert!(self.others.is_none(), "other inputs may lie otherwise");
        let mut x = self.x.row(row);
        x.first = x.first.wrapping_add(start);
        // What is absent stays null.
        let at = if self.writes() { row * self.dst_pitch + start } else { 0 };
        let dst = self.dst.wrapping_add(at);
        RowSpan { x, dst, rows: 1, cols: end - start, first: 0, lifetime: PhantomData, ..*self }
    }

    /// The rows of y, which are written already, as x and y.
    #[inline(always)]
    pub(crate) fn again(self) -> Self {
        assert!(self.writes() && self.others.is_none(), "there is a y alone");
        Self {
            x: Input { first: self.dst.cast_const(), pitch: self.dst_pitch },
            streams: false,
            ..self
        }
    }

    /// The same row, whose x is another. No input may be beside x.
    #[inline(always)]
    pub(crate) fn reading<'s>(self, x: &'s [f32]) -> RowSpan<'s>
    where
        'a: 's,
    {
        assert!(self.rows == 1 && x.len() == self.cols, "x is one row");
        assert!(self.others.is_none(), "other inputs belong to x");
        // Nothing else reads y, by the invariant, so that `x` does not overlap it.
        RowSpan { x: Input { first: x.as_ptr(), pitch: self.cols }, ..self }
    }

    /// Writes `+0.0` to the rows of y from `first` up to `end`.
    pub(crate) fn zero_rows(&mut self, first: usize, end: usize) {
        assert!(self.writes() && first <= end && end <= self.rows, "the rows are there");
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
        assert!(self.writes(), "there is a y");
        let inputs = self.inputs::<R, IN>(first, apart);
        // SAFETY: by the assertions and the invariant.
        unsafe {
            let dst = self.dst.add(first * self.dst_pitch);
            Group::new(inputs, (dst, self.dst_pitch * apart), self.cols, self.streams)
        }
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

    /// The first of `R` rows of each of the first `IN` inputs, each row `apart` rows after the one before. Checks that they are
    /// there.
    #[inline(always)]
    fn inputs<const R: usize, const IN: usize>(&self, first: usize, apart: usize) -> [Input; IN] {
        let last = apart.checked_mul(R - 1).and_then(|rows| rows.checked_add(first));
        assert!(last.is_some_and(|last| last < self.rows), "the rows are there");
        let mut inputs = [self.x.row(first); IN];
        if IN > 1
            && let Some(others) = self.others
        {
            // x stands for what is not there.
            inputs[GATE] = others.gate.map_or(inputs[0], |z| z.row(self.first + first));
            inputs[ADDED] = others.added.map_or(inputs[0], |z| z.row(self.first + first));
        }
        for input in &mut inputs {
            input.pitch = input.pitch.wrapping_mul(apart);
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
        let row = |input: Input| input.row(self.first + first);
        let (bias, residual) = (others.bias, others.residual);
        let (has_bias, has_residual) = (bias.is_some(), residual.is_some());
        let x = row(x);
        let inputs = [x, bias.unwrap_or(x), residual.map_or(x, row)];
        let sum = self.sum(others, first);
        // SAFETY: by the assertions and the invariant: the place of a sum is valid for writes, and rows that are one are
        // contiguous in every buffer.
        let rows = unsafe { Group::of_part(inputs, sum.first.cast_mut(), part) };
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
        let (function, gate) = (others.gate_first?, others.gate?.row(self.first + first));
        self.assert_one((first, rows), part);
        let factor =
            if others.has_sum() { self.sum(others, first) } else { x.row(self.first + first) };
        let x = self.x.row(first).first.cast_mut();
        // SAFETY: by the assertions and the invariant: where there is a product, x is y, and rows that are one are contiguous in
        // every buffer.
        Some((function, unsafe { Group::of_part([factor, gate], x, part) }))
    }

    /// Row `first` of the sum: of its place if that is not x.
    #[inline(always)]
    fn sum(&self, others: &RowInputs<'_>, first: usize) -> Input {
        let place = others.sum.filter(|_| others.gate_first.is_some());
        place.map_or(self.x.row(first), |sum| sum.row(self.first + first))
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

impl<'a> RowInputs<'a> {
    /// None yet, for so many rows and columns.
    pub(crate) fn new(rows: usize, cols: usize) -> Self {
        Self {
            shape: (rows, cols),
            x: None,
            bias: None,
            residual: None,
            updated: false,
            dropped: false,
            by_row: false,
            sum: None,
            gate: None,
            gate_first: None,
            contiguous: false,
            added: None,
            lifetime: PhantomData,
        }
    }

    /// Whether x, where it is a term, or another term begins at an address.
    #[inline(never)]
    fn reads(&self, x: Input, address: *const f32) -> bool {
        let mut terms = [Some(x), self.bias, self.residual].into_iter().flatten();
        terms.any(|term| ptr::eq(term.first, address))
    }

    /// Whether x becomes a sum.
    #[inline(always)]
    fn has_sum(&self) -> bool {
        self.dropped || self.bias.is_some() || self.residual.is_some()
    }

    /// The same inputs, where the sum of the addends is made in `sum`, which has rows of a shape at a pitch.
    ///
    /// # Safety
    ///
    /// The rows of `sum` are valid for writes during `'s`, do not overlap each other, and nothing else reads or writes them.
    pub(super) unsafe fn with_sum<'s>(
        self,
        (sum, pitch): (*mut f32, usize),
        shape: (usize, usize),
    ) -> RowInputs<'s>
    where
        'a: 's,
    {
        assert!(self.has_sum() && !self.updated, "there is a sum, and no other place for it");
        assert_eq!(self.shape, shape, "a row of the sum for each row of x");
        RowInputs { sum: Some(Input { first: sum.cast_const(), pitch }), ..self }
    }

    /// Adds `bias`, of the columns, to every row of x before it is read.
    pub(crate) fn bias(&mut self, bias: &'a [f32]) {
        assert_eq!(bias.len(), self.shape.1, "a bias for every column");
        // Every row has the same bias.
        self.bias = Some(Input { first: bias.as_ptr(), pitch: 0 });
    }

    /// Puts dropout between x with its bias and the residual: of single rows alone, or of several as one too.
    pub(crate) fn dropped(&mut self, by_row: bool) {
        (self.dropped, self.by_row) = (true, by_row);
    }

    /// Adds `residual` to x before it is read.
    pub(crate) fn residual(&mut self, residual: &'a [f32], pitch: usize) {
        self.residual = Some(self.rows(residual.as_ptr(), residual.len(), pitch));
    }

    /// The same, and `residual` becomes the sum.
    pub(crate) fn updated_residual(&mut self, residual: &'a mut [f32], pitch: usize) {
        let len = residual.len();
        // A pointer that may write.
        self.residual = Some(self.rows(residual.as_mut_ptr().cast_const(), len, pitch));
        self.updated = true;
    }

    /// A gate beside x. `first` is its function, if x is multiplied with it before it is read.
    pub(crate) fn gate(&mut self, gate: &'a [f32], pitch: usize, first: Option<GateFunction>) {
        self.gate = Some(self.rows(gate.as_ptr(), gate.len(), pitch));
        self.gate_first = first;
    }

    /// The x of the forward pass, beside dy: in the place of a gate, which backward passes have not.
    pub(crate) fn forward_x(&mut self, x: &'a [f32], pitch: usize) {
        self.gate(x, pitch, None);
    }

    /// What is added to dx: in the place of what is added to y.
    pub(crate) fn dsum(&mut self, dsum: &'a [f32], pitch: usize) {
        self.added(dsum, pitch);
    }

    /// What is added to y.
    pub(crate) fn added(&mut self, added: &'a [f32], pitch: usize) {
        self.added = Some(self.rows(added.as_ptr(), added.len(), pitch));
    }

    /// Rows of a buffer of `len` elements. Checks that they lie within it and do not overlap.
    fn rows(&self, first: *const f32, len: usize, pitch: usize) -> Input {
        let (rows, cols) = self.shape;
        let reach = reach(rows, cols, pitch);
        assert!(reach.is_some_and(|reach| reach <= len), "the rows lie within the buffer");
        assert!(pitch >= cols || rows <= 1, "rows do not overlap");
        Input { first, pitch }
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
