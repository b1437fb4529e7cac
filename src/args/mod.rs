//! Optional inputs of a call. Each checks itself, once.
#![forbid(unsafe_code)]

pub(crate) mod dropout;
mod f32_stats;
pub(crate) mod grad;
pub(crate) mod gradient_sums;
pub(crate) mod moments;
pub(crate) mod norm;
pub(crate) mod train;
pub(crate) mod valid_rows;
