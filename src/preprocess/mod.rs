//! Preprocessing of features, as scikit-learn has it.
#![forbid(unsafe_code)]

pub(crate) mod min_max_scaler;
pub(crate) mod normalizer;
pub(crate) mod standard_scaler;
