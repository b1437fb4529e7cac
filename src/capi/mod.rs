//! The C ABI: the crate's operations for engines in C and C++. The documentation of the header `evenkeel.h`, which is
//! made from this folder.
//!
//! No logic is here: pointers become slices, the Rust operation is called, and its result becomes a status.
//!
//! | file | subject |
//! |---|---|
//! | `status.rs` | how a call ended |
//! | `boundary.rs`, `fault.rs` | errors and panics become a status |
//! | `backends.rs`, `execution.rs` | how an operation runs |
//! | `buffers.rs`, `io.rs`, `statistics.rs` | pointers are checked and become slices |
//! | `layout.rs`, `masks.rs`, `running.rs`, `valid.rs` | other arguments |
//! | `batch_norm.rs`, `own_statistics.rs` | what several entries share |
//! | the others | an entry for every operation |
#![expect(non_camel_case_types, reason = "the names are C's")]

// The order of these groups is the order of the header.
mod status;

mod boundary;
mod fault;

mod backends;
mod buffers;
mod execution;
mod io;
mod statistics;

mod layout;
mod masks;
mod running;
mod valid;

mod batch_norm;
mod own_statistics;

mod channels;
mod dropout;
mod moments;
mod normalize;
mod padding;
mod regularize;
mod row_variants;
mod scalers;

pub use backends::*;
pub use channels::*;
pub use dropout::*;
pub use execution::*;
pub use fault::*;
pub use layout::*;
pub use masks::*;
pub use moments::*;
pub use normalize::*;
pub use padding::*;
pub use regularize::*;
pub use row_variants::*;
pub use running::*;
pub use scalers::*;
pub use statistics::*;
pub use status::*;
pub use valid::*;
