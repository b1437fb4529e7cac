//! Batches of samples of channels: each sample, or each channel, by itself.
#![forbid(unsafe_code)]

pub(crate) mod batch_gradients;
pub(crate) mod first;
pub(crate) mod gradients;
pub(crate) mod group_gradients;
pub(crate) mod last;
pub(crate) mod layer_norm;
pub(crate) mod padded;
pub(crate) mod position_gradients;
pub(crate) mod statistics;
