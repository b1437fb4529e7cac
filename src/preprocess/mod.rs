//! Preprocessing of features, as scikit-learn has it: scalers, which learn from batches, and row norms.
#![forbid(unsafe_code)]

pub(crate) mod min_max_scaler;
pub(crate) mod normalizer;
pub(crate) mod standard_scaler;

pub use min_max_scaler::MinMaxScaler;
pub use normalizer::{Norm, Normalizer};
pub use standard_scaler::StandardScaler;
