//! What a kernel reads beside x.

use core::marker::PhantomData;
use core::ptr;

use super::group::{at_one_stride, nested_rows};
use crate::gate::GateFunction;
use crate::pitch::Pitch;

/// What is read beside x. Each input has a row for every row of x.
#[derive(Debug)]
pub(crate) struct RowInputs<'a> {
    pub(super) shape: (usize, usize),
    /// x, where it is a term: x of the span is the place of the sum or the product then.
    pub(super) x: Option<Buffer>,
    pub(super) bias: Option<Buffer>,
    pub(super) residual: Option<Buffer>,
    /// Whether the residual becomes the sum.
    pub(super) updated: bool,
    /// Whether dropout is between bias and residual, so that x is a sum without them too; and whether it goes row by row.
    pub(super) dropped: bool,
    pub(super) by_row: bool,
    /// Where the sum is made, if not in y.
    pub(super) sum: Option<Buffer>,
    pub(super) gate: Option<Buffer>,
    /// The function of the gate, if x is multiplied with it.
    pub(super) gate_first: Option<GateFunction>,
    pub(super) added: Option<Buffer>,
    /// The pitches of x, where its terms become it, and of y: for a span to refer to.
    pub(super) pitches: [Pitch; 2],
    /// Whether the rows of x and of all its terms are contiguous.
    pub(super) contiguous: bool,
    lifetime: PhantomData<(&'a [f32], &'a mut [f32])>,
}

/// Rows of an input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer {
    pub(super) first: *const f32,
    pub(super) pitch: Pitch,
}

impl Buffer {
    /// The start of row `row`. There may be less than a pitch of elements after the last row, and then no row is left.
    #[inline(always)]
    pub(super) fn row(self, row: usize) -> *const f32 {
        self.first.wrapping_add(self.pitch.offset(row))
    }

    /// The starts of `R` rows, the first of them row `row`, each `apart` rows after the one before: one, at two strides.
    #[inline(always)]
    pub(super) fn rows<const R: usize>(self, row: usize, apart: usize) -> [*const f32; R] {
        let Self { first, pitch } = self;
        if pitch.is_nested() {
            assert!(apart == 1, "rows that are apart have one stride");
            return nested_rows(first, pitch, row);
        }
        at_one_stride(first, pitch.elements(), row, apart)
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
            added: None,
            pitches: [cols.into(); 2],
            contiguous: false,
            lifetime: PhantomData,
        }
    }

    /// Whether x, where it is a term, or another term begins at an address.
    #[inline(never)]
    pub(super) fn reads(&self, x: Buffer, address: *const f32) -> bool {
        let mut terms = [Some(x), self.bias, self.residual].into_iter().flatten();
        terms.any(|term| ptr::eq(term.first, address))
    }

    /// Whether x becomes a sum.
    #[inline(always)]
    pub(super) fn has_sum(&self) -> bool {
        self.dropped || self.bias.is_some() || self.residual.is_some()
    }

    /// The same inputs, where the sum of the addends is made in `sum`, which has rows of a shape at a pitch.
    ///
    /// # Safety
    ///
    /// The rows of `sum` are valid for writes during `'s`, do not overlap each other, and nothing else reads or writes them.
    pub(super) unsafe fn with_sum<'s>(
        self,
        (sum, pitch): (*mut f32, Pitch),
        shape: (usize, usize),
    ) -> RowInputs<'s>
    where
        'a: 's,
    {
        assert!(self.has_sum() && !self.updated, "there is a sum, and no other place for it");
        assert_eq!(self.shape, shape, "a row of the sum for each row of x");
        RowInputs { sum: Some(Buffer { first: sum.cast_const(), pitch }), ..self }
    }

    /// Adds `bias`, of the columns, to every row of x before it is read.
    pub(crate) fn bias(&mut self, bias: &'a [f32]) {
        assert_eq!(bias.len(), self.shape.1, "a bias for every column");
        // Every row has the same bias.
        self.bias = Some(Buffer { first: bias.as_ptr(), pitch: 0.into() });
    }

    /// Puts dropout between x with its bias and the residual: of single rows alone, or of several as one too.
    pub(crate) fn dropped(&mut self, by_row: bool) {
        (self.dropped, self.by_row) = (true, by_row);
    }

    /// Adds `residual` to x before it is read.
    pub(crate) fn residual(&mut self, residual: &'a [f32], pitch: impl Into<Pitch>) {
        self.residual = Some(self.rows(residual.as_ptr(), residual.len(), pitch));
    }

    /// The same, and `residual` becomes the sum.
    pub(crate) fn updated_residual(&mut self, residual: &'a mut [f32], pitch: impl Into<Pitch>) {
        let len = residual.len();
        // A pointer that may write.
        self.residual = Some(self.rows(residual.as_mut_ptr().cast_const(), len, pitch));
        self.updated = true;
    }

    /// A gate beside x. `first` is its function, if x is multiplied with it before it is read.
    pub(crate) fn gate(
        &mut self,
        gate: &'a [f32],
        pitch: impl Into<Pitch>,
        first: Option<GateFunction>,
    ) {
        self.gate = Some(self.rows(gate.as_ptr(), gate.len(), pitch));
        self.gate_first = first;
    }

    /// The x of the forward pass, beside dy: in the place of a gate, which backward passes have not.
    pub(crate) fn forward_x(&mut self, x: &'a [f32], pitch: impl Into<Pitch>) {
        self.gate(x, pitch, None);
    }

    /// What is added to dx: in the place of what is added to y.
    pub(crate) fn dsum(&mut self, dsum: &'a [f32], pitch: impl Into<Pitch>) {
        self.added(dsum, pitch);
    }

    /// What is added to y.
    pub(crate) fn added(&mut self, added: &'a [f32], pitch: impl Into<Pitch>) {
        self.added = Some(self.rows(added.as_ptr(), added.len(), pitch));
    }

    /// Rows of a buffer of `len` elements. Checks that they lie within it and do not overlap.
    fn rows(&self, first: *const f32, len: usize, pitch: impl Into<Pitch>) -> Buffer {
        let (pitch, (rows, cols)) = (pitch.into(), self.shape);
        let reach = pitch.reach(rows, cols);
        assert!(reach.is_some_and(|reach| reach <= len), "the rows lie within the buffer");
        assert!(pitch.keeps_apart(rows, cols), "rows do not overlap");
        Buffer { first, pitch }
    }
}
