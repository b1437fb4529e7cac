//! The types that elements of buffers may be stored as.
#![forbid(unsafe_code)]

use core::fmt::Debug;

/// A type that elements of inputs and outputs may be stored as: f32.
///
/// Arithmetic is that of f32 and statistics are f64, whatever the elements are stored as. The trait is sealed: which types
/// there are is decided by this crate.
pub trait Element: sealed::Sealed + Copy + Debug + Send + Sync + 'static {}

impl Element for f32 {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
}
