//! How the results of blocks become one: fixed trees, so that no bit depends on who did what.
#![forbid(unsafe_code)]

pub(crate) mod cascade;
pub(crate) mod columns;
pub(crate) mod segments;
