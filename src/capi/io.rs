//! What an operation reads and writes: x and y, two buffers or one, and a residual with its sum.

use super::buffers::{Buffer, Extent, check_buffers};
use super::fault::Fault;
use crate::args::norm::NormArgs;
use crate::simd::InOut;

/// Where the x and y of an operation begin, and how many elements they have. They have been checked: two buffers, or exactly
/// one.
pub(super) struct Io {
    x: (*const f32, usize),
    y: (*mut f32, usize),
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
        // One address means one buffer. The operation checks that the lengths fit the shape.
        if x.begins_with(&y) && x_pitch == y_pitch {
            // Without bytes, x overlaps nothing. y, the same buffer, is checked.
            inputs[0].clear();
        }
        check_buffers(&outputs, &inputs)?;
        let (start, len) = x.raw();
        Ok(Self { x: (start.cast_const(), len), y: y.raw() })
    }

    /// Both for the operation, which checks their lengths.
    ///
    /// # Safety
    ///
    /// C promises that x is readable and y writable. Nothing else uses them during `'a`.
    #[inline(always)]
    pub(super) unsafe fn get<'a>(&self) -> InOut<'a, 'a> {
        // SAFETY: aligned and not NULL, as checked. They do not overlap, or begin at one address. The rest is the caller's
        // promise.
        unsafe { InOut::from_raw(self.x, self.y, [None; 2]) }
    }

    /// Both as rows at the pitches that were checked.
    ///
    /// # Safety
    ///
    /// As for [`get`](Self::get), and y is readable too.
    #[inline(always)]
    pub(super) unsafe fn get_strided<'a>(&self, pitches: [usize; 2]) -> InOut<'a, 'a> {
        // SAFETY: as above. One address has one pitch, as checked.
        unsafe { InOut::from_raw(self.x, self.y, pitches.map(Some)) }
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

    /// Both for the operation on so many elements. Two buffers that begin at one address have to be one.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice`] and [`Buffer::slice_mut`].
    pub(super) unsafe fn add_to<'a>(
        &self,
        args: NormArgs<'a>,
        elements: usize,
    ) -> Result<NormArgs<'a>, Box<Fault>> {
        let Self { residual, sum, in_place } = self;
        if *in_place {
            residual.check_length(elements)?;
            sum.check_length(elements)?;
            // SAFETY: the caller's promise. Both are one buffer, of which this is the only slice.
            return Ok(args.update_residual(unsafe { sum.slice_mut() }));
        }
        // SAFETY: the caller's promise; checked and disjoint.
        let (residual, sum) = unsafe { (residual.slice(), sum.optional_uninit()) };
        let args = args.residual(residual);
        Ok(match sum {
            Some(sum) => args.sum_uninit(sum),
            None => args,
        })
    }
}
