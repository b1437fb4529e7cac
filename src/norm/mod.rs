//! The normalisation layers: one public operation a file, and the drivers that they share.
//!
//! A driver checks, plans and runs: `rows` for operations on rows, `columns` for those on columns, `channels` for batches of
//! samples of channels. `stored_rows` and `stored_whole` run them on what is not stored as f32.
#![forbid(unsafe_code)]

pub(crate) mod batch_norm;
pub(crate) mod channel_gradients;
pub(crate) mod channels;
pub(crate) mod column_gradients;
pub(crate) mod columns;
pub(crate) mod group_norm;
pub(crate) mod instance_norm;
pub(crate) mod layer_norm;
pub(crate) mod normalize_scale_shift;
pub(crate) mod rms_norm;
pub(crate) mod row_dropout;
pub(crate) mod row_gradients;
pub(crate) mod rows;
pub(crate) mod stored_row_gradients;
pub(crate) mod stored_rows;
pub(crate) mod stored_whole;
