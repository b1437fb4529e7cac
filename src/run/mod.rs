//! How a call runs: on which instructions, on how many threads, with which stores. Never what it computes.
#![forbid(unsafe_code)]

pub(crate) mod backend;
pub(crate) mod execution;
pub(crate) mod parallel;
pub(crate) mod pool;
pub(crate) mod stored;
pub(crate) mod tile;
pub(crate) mod write_policy;
