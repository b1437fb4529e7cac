//! Mean and variance of rows, of columns and of slices.
#![forbid(unsafe_code)]

pub(crate) mod column_moments;
pub(crate) mod row_moments;
