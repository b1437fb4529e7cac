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
//!
//! # Saved scalers
//!
//! [`StandardScaler::to_bytes`] and [`MinMaxScaler::to_bytes`] give the whole state of a scaler, what it has learnt and its settings.
//! `from_bytes` reads it, on any machine. All numbers are little-endian. Version 1:
//!
//! | bytes | what |
//! |---|---|
//! | 0 to 7 | `EVENKEEL`, in ASCII |
//! | 8 to 11 | u32, the version: 1 |
//! | 12 to 15 | u32, the kind: 1 for [`StandardScaler`], 2 for [`MinMaxScaler`] |
//! | 16 to 23 | u64, the number of features |
//! | 24 to 31 | u64, bits of settings: 1 `with_mean`, 2 `with_std`; of a [`MinMaxScaler`] 1 `with_clip` |
//!
//! A [`StandardScaler`] goes on with 40 bytes a feature: the count as u64, then mean, `mean_low`, m2 and what rounding left of m2 as
//! f64. A [`MinMaxScaler`] goes on with its feature range as two f64, then has 8 bytes a feature: minimum and maximum as f32. There is
//! one sequence of bytes for each state.
#![forbid(unsafe_code)]

pub(crate) mod min_max_scaler;
pub(crate) mod normalizer;
pub(crate) mod standard_scaler;
pub(crate) mod state;

pub use min_max_scaler::MinMaxScaler;
pub use normalizer::{Norm, Normalizer};
pub use standard_scaler::StandardScaler;
