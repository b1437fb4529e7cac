//! The SIMD contract: what a kernel may do with a CPU, and the backends that do it.
//!
//! | file | subject |
//! |---|---|
//! | `contract.rs` | the traits of backends, kernels and vectors |
//! | `memory.rs` | prefetches and the fence |
//! | `group.rs` | rows that a kernel reads and writes vector by vector |
//! | `span.rs`, `row_span.rs`, `row_inputs.rs` | x and y, two buffers or one, and what is read beside them, which give groups |
//! | `stored.rs` | rows of any storage, which are widened and narrowed |
//! | `convert.rs`, `half_words.rs` | between f32 and the formats of 16 bits |
//! | `inout.rs`, `sum_output.rs` | where a call reads and writes, as its caller says it; where it keeps a sum |
//! | `features.rs` | the CPU features of each backend |
//! | `portable.rs`, `x86_64/` | the backends |
//! | `environment.rs` | the floating-point environment of calls from C |
//!
//! **Virtual lanes.** Every vector has [`LANES`] = 16 lanes on every backend, however many registers
//! that takes: AVX-512 holds 16 f32 in one, AVX2 in two, SSE2 and NEON in four. A kernel written on
//! these vectors therefore has one order of operations, and backends that fuse multiply-adds give
//! the same bits. Why 16 and not 32: with 16 a group of rows keeps its sums in AVX2's 16 registers,
//! and rows of fewer than 32 elements do not waste half of a vector.
//!
//! **Safety.** A backend is a zero-sized token that only its own `detect` makes, after it has seen
//! every CPU feature of the backend. A vector is made from a token or from another vector, so having
//! one proves that its instructions exist: arithmetic on vectors is safe. Loads and stores take
//! references to arrays and slices of known length. All of the crate's `unsafe` is in this folder and in
//! the C ABI.
//!
//! **Inlining.** Every method is `#[inline(always)]` and carries no target feature of its own; it is
//! inlined into the one `#[target_feature]` function of its backend, [`Simd::vectorize`]. A method
//! that is not inlined there is a slow function call, and nothing else would show it.

mod contract;
mod convert;
#[cfg(feature = "capi")]
mod environment;
mod features;
mod group;
#[cfg(feature = "half")]
mod half_words;
mod inout;
mod memory;
mod portable;
mod row_inputs;
mod row_span;
mod span;
mod stored;
mod sum_output;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub(crate) use contract::{BACKENDS, Double, Float, Keep, Kernel, LANES, Real, Simd, Single, Word};
pub(crate) use convert::{Widen, round_to};
#[cfg(feature = "capi")]
pub(crate) use environment::Control;
pub(crate) use group::Group;
pub(crate) use inout::Io;
pub use inout::{InOut, to_vec};
pub(crate) use memory::{halves, prefetch};
pub(crate) use portable::Portable;
pub(crate) use row_inputs::RowInputs;
pub(crate) use row_span::{ADDED, DSUM, FORWARD_X, GATE, INPUTS, RowSpan, Sums};
pub(crate) use span::Span;
pub(crate) use stored::StoredRows;
pub(crate) use sum_output::SumOutput;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{Avx2, Avx512};
