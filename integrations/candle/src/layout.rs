//! Where the rows of a tensor lie.

use candle_core::{CpuStorage, Layout, Result, WithDType, bail};
use evenkeel::{Element, Rows};

/// A type that rows are stored as.
pub(crate) trait Stored: Element + WithDType {}
impl<T: Element + WithDType> Stored for T {}

/// Evaluates an expression in which `T` is the type of this dtype.
macro_rules! for_dtype {
    ($dtype:expr, $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type T = f32;
                $body
            }
            candle_core::DType::BF16 => {
                type T = half::bf16;
                $body
            }
            candle_core::DType::F16 => {
                type T = half::f16;
                $body
            }
            dtype => candle_core::bail!("evenkeel takes f32, bf16 and f16, not {dtype:?}"),
        }
    };
}
pub(crate) use for_dtype;

/// Rows of the last dimension that begin every pitch elements of a slice.
pub(crate) struct RowsOf<'a, T> {
    pub(crate) elements: &'a [T],
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
pub(crate) fn rows<'a, T: Stored>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<RowsOf<'a, T>> {
    let (elements, rows) = (storage.as_slice::<T>()?, shape(layout)?);
    let Some(pitch) = pitch(layout) else { bail!("rows lie at no pitch") };
    let len = match rows.rows() {
        0 => 0,
        count => (count - 1) * pitch + rows.cols(),
    };
    let start = layout.start_offset();
    Ok(RowsOf { elements: &elements[start..start + len], pitch, rows })
}

/// The elements of a vector of parameters.
pub(crate) fn vector<'a, T: Stored>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => bail!("parameters of a norm have to be contiguous"),
    }
}
