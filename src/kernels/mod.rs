//! The algorithms, each written once, generic over the SIMD contract: the map.
//!
//! A kernel is safe code without `cfg` and without intrinsics. Every function and closure in it is `#[inline(always)]`,
//! because it must be compiled inside the target-feature entry of each backend. A backend chooses how many rows it takes at a
//! time, never the order of operations of one row.
//!
//! A file opens with the plain algorithm, then each trick and why it pays, then its entry, then what that calls; what f32
//! cannot hold comes last. Dependencies point downwards in this table, and within a folder likewise.
//!
//! | read | for |
//! |---|---|
//! | `channels/` | `[batch, channels, positions]` (`first`) and `[batch, positions, channels]` (`last`), LayerNorm over channels, gradients, padding |
//! | `elementwise/` | dropout and its random stream, penalties, zeroed padding |
//! | `columns/` | `moments`: mean and variance of columns; `normalize`: the second sweep; `gradient_sums`, `gradients`: their gradients; the scalers; running statistics |
//! | `rows/` | `block`: the sums of a block, where all exactness comes from; `normalize`: LayerNorm, RmsNorm and their like; `backward`: their gradients; `gate_gradients`: those with gates |
//! | `merge/` | the fixed trees in which the results of blocks are merged |
//! | `row_filter`, `lanes`, `range`, `tuning`, `split` | which rows count; vectors of f64; what f32 can hold; measured constants; work cut for threads |
//!
//! To start, read `rows/block.rs`, then `rows/normalize.rs`, then `columns/moments.rs`.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | lane | one of the 16 elements of a vector, on every backend |
//! | block | elements of a row (1024), or rows of a column (64), whose sums are made in f32 and merged in f64 |
//! | pilot, shift K | the mean of a part of a block, subtracted from its elements before they are squared |
//! | S, Q, M2 | the sum of x - K; of (x - K)^2; of (x - mean)^2 |
//! | group | rows worked on at a time, to keep the pipeline full and to share the loads of gamma and beta |
//! | short row | a row of at most 128 elements; sixteen have their sums finished in the lanes of one vector |
//! | panel | columns worked on at a time, so that what belongs to them stays in L1 |
//! | wide row | several narrow rows side by side, worked on as one |
//! | chunk | blocks of rows that one task takes |
//! | plane | the positions of one channel of one sample, where channels come first |
//! | hi, lo | the mean as the sum of two f32 |
//! | tail | the elements after the last full vector of a row |
#![forbid(unsafe_code)]

pub(crate) mod channels;
pub(crate) mod columns;
pub(crate) mod elementwise;
pub(crate) mod lanes;
pub(crate) mod merge;
pub(crate) mod range;
pub(crate) mod row_filter;
pub(crate) mod rows;
pub(crate) mod split;
pub(crate) mod tuning;
