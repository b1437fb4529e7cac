//! Where the sum of x and its addends is kept: [`SumOutput`].

#[cfg(feature = "capi")]
use core::mem::MaybeUninit;

use super::row_inputs::RowInputs;
use super::stored::{Place, StoredRows};
use crate::element::{ElementsMut, ElementsVec, Storage};
use crate::error::Error;
use crate::pitch::{Pitch, check_rows};
use crate::shape::Rows;

/// Where the sum of x and a residual is written: a buffer, or a vector that grows to hold it.
#[derive(Debug)]
pub(crate) enum SumOutput<'a> {
    Slice(ElementsMut<'a>),
    Vec(ElementsVec<'a>),
    /// Memory that need not be initialised, from C.
    #[cfg(feature = "capi")]
    Uninit(Storage, &'a mut [MaybeUninit<u8>]),
}

impl SumOutput<'_> {
    /// The same place for one call.
    pub(crate) fn reborrow(&mut self) -> SumOutput<'_> {
        match self {
            Self::Slice(sum) => SumOutput::Slice(sum.reborrow()),
            Self::Vec(sum) => SumOutput::Vec(sum.reborrow()),
            #[cfg(feature = "capi")]
            Self::Uninit(storage, sum) => SumOutput::Uninit(*storage, sum),
        }
    }

    /// How it is stored.
    pub(crate) fn storage(&self) -> Storage {
        match self {
            Self::Slice(sum) => sum.storage(),
            Self::Vec(sum) => sum.storage(),
            #[cfg(feature = "capi")]
            Self::Uninit(storage, _) => *storage,
        }
    }

    /// Calls `write` with the inputs, the sum of whose addends is made here, as f32. If it succeeds, a vector has the sum.
    ///
    /// `write` has the duty of [`InOut::write_whole`](super::inout::InOut::write_whole): if it returns `Ok`, every row's sum has been made. The rows of a vector
    /// are contiguous, whatever the pitch.
    pub(crate) fn write_whole(
        self,
        pitch: Option<Pitch>,
        inputs: RowInputs<'_>,
        rows: Rows,
        write: impl FnOnce(RowInputs<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.storage() != Storage::F32 {
            return Err(Error::Type { arg: "sum" });
        }
        let shape = (rows.rows(), rows.cols());
        self.place(pitch, rows, |Place { first, pitch, .. }| {
            // SAFETY: `place` says that the rows are valid for writes, do not overlap and belong to this call.
            write(unsafe { inputs.with_sum((first.cast(), pitch), shape) })
        })
    }

    /// Calls `write` with rows of any storage, which it writes: it has the duty of [`InOut::write_whole`](super::inout::InOut::write_whole).
    pub(crate) fn write_stored(
        self,
        pitch: Option<Pitch>,
        rows: Rows,
        write: impl FnOnce(StoredRows<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let shape = (rows.rows(), rows.cols());
        self.place(pitch, rows, |place| {
            // SAFETY: as above. There is no x to read: it has no rows.
            write(unsafe { StoredRows::of_writes(place, shape) })
        })
    }

    /// Calls `write` with the place, whose rows are valid for writes, do not overlap each other, and which nothing else reads or
    /// writes until `write` returns. If that succeeds, a vector has its elements.
    fn place(
        self,
        pitch: Option<Pitch>,
        rows: Rows,
        write: impl FnOnce(Place) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let storage = self.storage();
        let check = |len| check_rows(rows, ("sum", len), ("sum_pitch", pitch));
        match self {
            Self::Slice(sum) => {
                let pitch = check(sum.len())?;
                let first = match sum {
                    ElementsMut::F32(sum) => sum.as_mut_ptr().cast::<u8>(),
                    ElementsMut::Half(_, sum) => sum.as_mut_ptr().cast(),
                };
                write(Place::new(first, storage, pitch))
            }
            Self::Vec(sum) => match sum {
                ElementsVec::F32(sum) => fill_vec(sum, storage, rows, write),
                #[cfg(feature = "half")]
                ElementsVec::Bf16(sum) => fill_vec(sum, storage, rows, write),
                #[cfg(feature = "half")]
                ElementsVec::F16(sum) => fill_vec(sum, storage, rows, write),
            },
            #[cfg(feature = "capi")]
            Self::Uninit(_, sum) => {
                let pitch = check(sum.len() / storage.size())?;
                write(Place::new(sum.as_mut_ptr().cast(), storage, pitch))
            }
        }
    }
}

/// Makes a vector of what `write` writes.
fn fill_vec<T>(
    sum: &mut Vec<T>,
    storage: Storage,
    rows: Rows,
    write: impl FnOnce(Place) -> Result<(), Error>,
) -> Result<(), Error> {
    let len = rows.elements();
    sum.clear();
    crate::memory::reserve(sum, len)?;
    write(Place::new(sum.as_mut_ptr().cast(), storage, rows.cols().into()))?;
    // SAFETY: the first `len` elements are within the capacity, and initialised by the duty of `write`.
    unsafe { sum.set_len(len) };
    Ok(())
}
