//! The C ABI. `include/evenkeel.h` is made of it, and its documentation is the header's.
//!
//! One function an operation and pass, each with a pointer to a structure whose first member is its size. Buffers carry their
//! length, pitch and type. A function checks the structure and its buffers in one place, calls the Rust operation, and returns
//! a status.
//!
//! | file | subject |
//! |---|---|
//! | `boundary.rs`, `versions.rs`, `panics.rs` | how every function is entered: the structure's size, the control word, panics |
//! | `buffers.rs` | buffers, and their checks; slices of what has been checked |
//! | `members.rs`, `member.rs` | where the members of structures lie, and what their buffers may be |
//! | `execution.rs`, `pool.rs`, `backends.rs` | how a call runs: backend, stores, tasks, the host's pool |
//! | `shape.rs`, `statistics.rs`, `valid.rs` | arguments that several operations have |
//! | `rows.rs`, `gradients.rs`, `channels.rs`, `channel_gradients.rs`, `moments.rs`, `dropout.rs`, `penalty.rs`, `scalers.rs`, `scaler_state.rs` | the operations |
//! | `status.rs` | how a call ended |
#![expect(
    non_camel_case_types,
    missing_docs,
    reason = "names and structures are those of C; the header documents what a name does not say"
)]

mod backends;
mod boundary;
mod buffers;
mod channel_gradients;
mod channels;
mod dropout;
mod dtype;
mod execution;
mod gradients;
mod member;
mod members;
mod moments;
mod panics;
mod penalty;
mod pool;
mod rows;
mod scaler_state;
mod scalers;
mod shape;
mod statistics;
mod status;
mod valid;
mod versions;

pub use backends::*;
pub use buffers::*;
pub use channel_gradients::*;
pub use channels::*;
pub use dropout::*;
pub use dtype::*;
pub use execution::*;
pub use gradients::*;
pub use moments::*;
pub use penalty::*;
pub use pool::*;
pub use rows::*;
pub use scaler_state::*;
pub use scalers::*;
pub use shape::*;
pub use status::*;
