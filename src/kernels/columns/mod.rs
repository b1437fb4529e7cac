//! Matrices, every column by itself.
#![forbid(unsafe_code)]

pub(crate) mod block;
pub(crate) mod block_rows;
pub(crate) mod coefficients;
pub(crate) mod gradient_sums;
pub(crate) mod gradients;
pub(crate) mod min_max;
pub(crate) mod moments;
pub(crate) mod narrow;
pub(crate) mod normalize;
pub(crate) mod row_affine;
pub(crate) mod row_walk;
pub(crate) mod running;
pub(crate) mod standard_scaler;
