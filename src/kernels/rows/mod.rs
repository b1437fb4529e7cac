//! Matrices, every row by itself.
#![forbid(unsafe_code)]

pub(crate) mod affine;
pub(crate) mod backward;
pub(crate) mod block;
pub(crate) mod column_sums;
pub(crate) mod dropped;
pub(crate) mod gate;
pub(crate) mod gate_gradients;
pub(crate) mod gradient_sweeps;
pub(crate) mod moments;
pub(crate) mod normalize;
pub(crate) mod norms;
pub(crate) mod parts;
pub(crate) mod reduce;
pub(crate) mod short_rows;
pub(crate) mod source;
pub(crate) mod sweep;
pub(crate) mod terms;
