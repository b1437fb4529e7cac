//! Preprocessing of features, as scikit-learn has it: scalers, which learn from batches, and row norms.
//!
//! # Where results differ from scikit-learn's
//!
//! Of scikit-learn 1.9.1, for arrays of the same type (f32):
//!
//! | | scikit-learn | here | why |
//! |---|---|---|---|
//! | [`MinMaxScaler`], a range above 0 and below 1.19e-6 (10 eps of f32) | a constant feature: its range is taken as 1 | mapped to the whole range | in f64 scikit-learn maps it, too: the bound depends on the type of the array and on the unit of the feature |
//! | [`Normalizer`], a norm above 0 and below 1.19e-6 | the row stays as it is | the row is divided by its norm | the same; each row that is not 0 has norm 1 |
//! | [`StandardScaler`], [`MinMaxScaler`]: all that was fitted is NaN | `transform` gives NaN | `transform` returns [`Error::NotFitted`](crate::Error::NotFitted) | no number was seen: a scaler is its statistics, and these are those of a new one |
//! | any `fit`, `partial_fit`, `transform` of no samples | an error | nothing happens | what has no elements is never an error |
//!
//! Of features of which only some are all NaN, both give NaN for these. Constant features of [`StandardScaler`] are those of
//! scikit-learn.
#![forbid(unsafe_code)]

pub(crate) mod min_max_scaler;
pub(crate) mod normalizer;
pub(crate) mod standard_scaler;

pub use min_max_scaler::MinMaxScaler;
pub use normalizer::{Norm, Normalizer};
pub use standard_scaler::StandardScaler;
