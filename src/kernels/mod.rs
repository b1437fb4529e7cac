//! The algorithms, each written once, generic over the SIMD contract.
//!
//! How a kernel is written: it is safe code without `cfg` and without intrinsics; every function and
//! closure in it is `#[inline(always)]`, because it must be compiled inside the target-feature entry
//! of each backend; what a backend may choose is how many rows it takes at a time, never the order of
//! operations of one row.
#![forbid(unsafe_code)]

pub(crate) mod affine;
pub(crate) mod batch;
pub(crate) mod columns;
pub(crate) mod dropout;
pub(crate) mod fold;
pub(crate) mod forest;
pub(crate) mod moments;
pub(crate) mod normalize;
pub(crate) mod normalize_columns;
pub(crate) mod planes;
pub(crate) mod positions;
pub(crate) mod ranges;
pub(crate) mod regularize;
pub(crate) mod row_norms;
pub(crate) mod row_statistics;
pub(crate) mod samples;
pub(crate) mod scaling;
pub(crate) mod short;
pub(crate) mod silu;
pub(crate) mod valid_rows;
pub(crate) mod welford;

/// Work on rows that can be cut between any two of them, for parallel tasks.
pub(crate) trait Split: Send + Sized {
    /// The number of rows.
    fn rows(&self) -> usize;
    /// The rows before `at`, and the others.
    fn split_at(self, at: usize) -> (Self, Self);
}
