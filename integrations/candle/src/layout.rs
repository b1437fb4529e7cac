//! Where the rows of a tensor lie.

use candle_core::{CpuStorage, Layout, Result, bail};
use evenkeel::Rows;

/// Rows of the last dimension that begin every pitch elements of a slice.
pub(crate) struct RowsOf<'a> {
    pub(crate) elements: &'a [f32],
    pub(crate) pitch: usize,
    pub(crate) rows: Rows,
}

/// The elements of a storage.
pub(crate) fn f32s(storage: &CpuStorage) -> Result<&[f32]> {
    match storage {
        CpuStorage::F32(elements) => Ok(elements),
        _ => bail!("evenkeel takes f32"),
    }
}

/// Rows and columns of a shape: the last dimension, and all others.
pub(crate) fn shape(layout: &Layout) -> Result<Rows> {
    let Some((&cols, others)) = layout.dims().split_last() else {
        bail!("a norm needs a dimension")
    };
    Rows::new(others.iter().product(), cols).map_err(candle_core::Error::wrap)
}

/// The pitch of the rows, if their elements are neighbours and all begin equally far from each other.
pub(crate) fn pitch(layout: &Layout) -> Option<usize> {
    let (dims, strides) = (layout.dims(), layout.stride());
    let (&cols, others) = dims.split_last()?;
    let (&last, strides) = strides.split_last()?;
    if cols > 1 && last != 1 {
        return None;
    }
    let (mut pitch, mut next) = (None, 0);
    for (&dim, &stride) in others.iter().zip(strides).rev() {
        // A dimension of one element has no stride.
        if dim == 1 {
            continue;
        }
        match pitch {
            None => (pitch, next) = (Some(stride), stride * dim),
            Some(_) if stride == next => next *= dim,
            Some(_) => return None,
        }
    }
    let pitch = pitch.unwrap_or(cols);
    (pitch >= cols).then_some(pitch)
}

/// The rows of a storage.
pub(crate) fn rows<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<RowsOf<'a>> {
    let (elements, rows) = (f32s(storage)?, shape(layout)?);
    let Some(pitch) = pitch(layout) else { bail!("rows lie at no pitch") };
    let len = match rows.rows() {
        0 => 0,
        count => (count - 1) * pitch + rows.cols(),
    };
    let start = layout.start_offset();
    Ok(RowsOf { elements: &elements[start..start + len], pitch, rows })
}

/// The elements of a vector of parameters.
pub(crate) fn vector<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&f32s(storage)?[start..end]),
        None => bail!("parameters of a norm have to be contiguous"),
    }
}
