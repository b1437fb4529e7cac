//! What an operation reads and writes: x and y, two buffers or one, and a residual with its sum.

use super::buffers::{Buffer, Extent, check_buffers};
use super::fault::Fault;
use crate::args::residual::Residual;
use crate::error::Error;
use crate::norm::rows::{check_strided, strided, strided_in_place};
use crate::shape::Rows;
use crate::simd::{RowSpan, Span};

/// The x and y of an operation: two buffers, or exactly one.
pub(super) struct Io {
    x: Buffer<f32>,
    y: Buffer<f32>,
    in_place: bool,
}

impl Io {
    /// Checks x and y, the first of the inputs and of the outputs, with the other buffers.
    #[inline(always)]
    pub(super) fn check<const OUT: usize, const IN: usize>(
        x: Buffer<f32>,
        y: Buffer<f32>,
        outputs: [Extent; OUT],
        inputs: [Extent; IN],
    ) -> Result<Self, Box<Fault>> {
        Self::check_pitches((x, 0), (y, 0), outputs, inputs)
    }

    /// The same for rows at pitches: with different pitches, one buffer is an overlap.
    #[inline(always)]
    pub(super) fn check_pitches<const OUT: usize, const IN: usize>(
        (x, x_pitch): (Buffer<f32>, usize),
        (y, y_pitch): (Buffer<f32>, usize),
        outputs: [Extent; OUT],
        mut inputs: [Extent; IN],
    ) -> Result<Self, Box<Fault>> {
        // One address means one buffer. Equal lengths are checked with the shape.
        let in_place = x.begins_with(&y) && x_pitch == y_pitch;
        if in_place {
            // Without bytes, x overlaps nothing. y, the same buffer, is checked.
            inputs[0].clear();
        }
        check_buffers(&outputs, &inputs)?;
        Ok(Self { x, y, in_place })
    }

    /// Returns an error if x or y has another length.
    pub(super) fn check_lengths(&self, elements: usize) -> Result<(), Box<Fault>> {
        self.x.check_length(elements)?;
        self.y.check_length(elements)
    }

    /// Runs an operation on x and y, `elements` each.
    ///
    /// # Safety
    ///
    /// C promises that x is readable and y writable.
    #[inline(always)]
    pub(super) unsafe fn with_span(
        &self,
        elements: usize,
        run: impl FnOnce(Span<'_>) -> Result<(), Error>,
    ) -> Result<(), Box<Fault>> {
        self.check_lengths(elements)?;
        let Self { x, y, in_place } = self;
        // One call of the operation, so that it is compiled once.
        let io = match in_place {
            // SAFETY: the caller's promise. Both are one buffer, of which this is the only slice.
            true => Span::in_place(unsafe { y.slice_mut() }),
            // SAFETY: the caller's promise. The two are disjoint.
            false => Span::uninit(unsafe { x.slice() }, unsafe { y.uninit() }),
        };
        Ok(run(io)?)
    }

    /// Runs an operation on rows of x and y at pitches.
    ///
    /// # Safety
    ///
    /// C promises that x is readable and y readable and writable.
    #[inline(always)]
    pub(super) unsafe fn with_rows(
        &self,
        rows: Rows,
        [x_pitch, y_pitch]: [usize; 2],
        run: impl FnOnce(RowSpan<'_>) -> Result<(), Error>,
    ) -> Result<(), Box<Fault>> {
        let Self { x, y, in_place } = self;
        let io = if *in_place {
            check_strided(rows, x.arg(), x.len(), "x_pitch", x_pitch)?;
            check_strided(rows, y.arg(), y.len(), "y_pitch", y_pitch)?;
            // SAFETY: the caller's promise. Both are one buffer, of which this is the only slice.
            strided_in_place(rows, unsafe { y.slice_mut() }, y_pitch)?
        } else {
            // SAFETY: the caller's promise. The two are disjoint.
            let (x, y) = unsafe { (x.slice(), y.slice_mut()) };
            strided(rows, x, x_pitch, y, y_pitch)?
        };
        Ok(run(io)?)
    }
}

/// A residual, and the buffer of its sum with x: another buffer, the residual itself, or none.
pub(super) struct ResidualSum {
    residual: Buffer<f32>,
    sum: Buffer<f32>,
    in_place: bool,
}

impl ResidualSum {
    pub(super) fn new(residual: Buffer<f32>, sum: Buffer<f32>) -> Self {
        // As in `Io::check`. An absent sum has no address.
        let in_place = residual.begins_with(&sum) && !sum.is_absent();
        Self { residual, sum, in_place }
    }

    /// The buffer that is only read, as [`Buffer::extent`].
    #[inline(always)]
    pub(super) fn residual(&self) -> Extent {
        if self.in_place { Extent::default() } else { self.residual.extent() }
    }

    /// The buffer that is written, as [`Buffer::extent`].
    #[inline(always)]
    pub(super) fn extent(&self) -> Extent {
        self.sum.extent()
    }

    /// Returns an error if the residual or the sum has another length.
    pub(super) fn check_lengths(&self, elements: usize) -> Result<(), Box<Fault>> {
        let Self { residual, sum, .. } = self;
        residual.check_length(elements)?;
        if !sum.is_absent() {
            sum.check_length(elements)?;
        }
        Ok(())
    }

    /// Both for the operation.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice`] and [`Buffer::slice_mut`]; the lengths [were checked](Self::check_lengths).
    pub(super) unsafe fn get<'a>(&self) -> Residual<'a> {
        // SAFETY: the caller's promise. In place both are one buffer, of which this is the only slice.
        unsafe {
            match self.in_place {
                true => Residual::Updated(self.sum.slice_mut()),
                false => Residual::Added(self.residual.slice(), self.sum.optional_mut()),
            }
        }
    }
}
