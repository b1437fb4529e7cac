//! Every element by itself.
#![forbid(unsafe_code)]

pub(crate) mod choices;
pub(crate) mod dropout;
pub(crate) mod dropout_units;
pub(crate) mod penalty;
pub(crate) mod storage;
pub(crate) mod stream;
pub(crate) mod zero_padding;
