//! evenkeel
#![deny(unsafe_code)]

mod backend;
mod error;
mod execution;
mod kernels;
mod layer_norm;
mod moments;
mod normalize_scale_shift;
mod parallel;
pub mod reference;
mod rms_norm;
mod shape;
#[expect(unsafe_code, reason = "intrinsics and the pointers of in-place buffers; see simd/mod.rs")]
mod simd;

pub use backend::Backend;
pub use error::Error;
pub use kernels::welford::Moments;
pub use layer_norm::LayerNorm;
pub use moments::RowMoments;
pub use normalize_scale_shift::NormalizeScaleShift;
pub use parallel::Parallelism;
pub use rms_norm::RmsNorm;
pub use shape::Rows;
