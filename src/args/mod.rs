//! Optional inputs of a call. Each checks itself, once.
#![forbid(unsafe_code)]

pub(crate) mod residual;
pub(crate) mod running;
pub(crate) mod valid_rows;
