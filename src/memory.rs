//! Fallible allocation of temporary buffers: a lack of memory is an `Error`, never an abort.
#![forbid(unsafe_code)]

use crate::error::Error;

/// Makes `elements` at least `len` long.
pub(crate) fn grow<T: Clone>(
    elements: &mut Vec<T>,
    element: T,
    len: usize,
) -> Result<&mut [T], Error> {
    let more = len.saturating_sub(elements.len());
    if more > 0 {
        reserve(elements, more)?;
        elements.resize(len, element);
    }
    Ok(elements)
}

/// So many elements, all alike.
pub(crate) fn filled<T: Clone>(element: T, len: usize) -> Result<Vec<T>, Error> {
    let mut elements = Vec::new();
    grow(&mut elements, element, len)?;
    Ok(elements)
}

/// Makes room for so many more elements.
pub(crate) fn reserve<T>(elements: &mut Vec<T>, more: usize) -> Result<(), Error> {
    let bytes = (elements.len() + more).saturating_mul(size_of::<T>());
    elements.try_reserve(more).map_err(|_| Error::OutOfMemory { bytes })
}

/// The caller's scratch, or zeros in `allocated`, as many as are needed.
pub(crate) fn or_allocated<'s>(
    scratch: Option<&'s mut [f64]>,
    allocated: &'s mut Vec<f64>,
    needed: usize,
) -> Result<&'s mut [f64], Error> {
    match scratch {
        Some(scratch) => Ok(scratch),
        None => grow(allocated, 0.0, needed),
    }
}
