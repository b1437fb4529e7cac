//! The types that elements of buffers may be stored as.
#![forbid(unsafe_code)]

use core::fmt::Debug;

/// A type that elements of inputs and outputs may be stored as: f32.
///
/// Arithmetic is that of f32 and statistics are f64, whatever the elements are stored as. The trait is sealed: which types
/// there are is decided by this crate.
pub trait Element: sealed::Sealed + Copy + Debug + Send + Sync + 'static {}

impl Element for f32 {}

/// A type that gradients of parameters are written as: f32 or f64, whatever the elements of x are. Their sums are f64, and f32 is
/// one rounding of them. The trait is sealed.
pub trait GradElement: sealed::Sealed + Copy + Debug + Send + Sync + 'static {
    #[doc(hidden)]
    fn gradient(out: &mut [Self]) -> ParameterGradient<'_>;
}

impl GradElement for f32 {
    #[inline]
    fn gradient(out: &mut [Self]) -> ParameterGradient<'_> {
        ParameterGradient::Single(out)
    }
}

impl GradElement for f64 {
    #[inline]
    fn gradient(out: &mut [Self]) -> ParameterGradient<'_> {
        ParameterGradient::Double(out)
    }
}

pub(crate) use sealed::ParameterGradient;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}

    /// Where a gradient of parameters is written.
    #[derive(Debug)]
    pub enum ParameterGradient<'a> {
        /// Rounded to f32.
        Single(&'a mut [f32]),
        /// In f64.
        Double(&'a mut [f64]),
    }

    impl ParameterGradient<'_> {
        /// Elements.
        pub(crate) fn len(&self) -> usize {
            match self {
                Self::Single(out) => out.len(),
                Self::Double(out) => out.len(),
            }
        }

        /// Writes zeros.
        pub(crate) fn clear(self) {
            match self {
                Self::Single(out) => out.fill(0.0),
                Self::Double(out) => out.fill(0.0),
            }
        }

        /// The same place for one call.
        pub(crate) fn reborrow(&mut self) -> ParameterGradient<'_> {
            match self {
                Self::Single(out) => ParameterGradient::Single(out),
                Self::Double(out) => ParameterGradient::Double(out),
            }
        }
    }
}
