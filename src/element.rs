//! The types that elements of buffers may be stored as.
#![forbid(unsafe_code)]

use core::fmt::Debug;

use crate::error::Error;
use crate::shape::check_length;

/// A type that elements of inputs and outputs may be stored as: f32, and with the feature `half` [`bf16`](half::bf16) and
/// [`f16`](half::f16) of the crate `half`.
///
/// Arithmetic is that of f32 and statistics are f64, whatever the elements are stored as. Widening to f32 is exact. Narrowing rounds
/// to the nearest, ties to even, with the bits of `half` on every backend; it keeps subnormal numbers, and a NaN stays a NaN. f16 has no
/// number above 65504: a result from 65520 on becomes infinite.
///
/// A call has at most one type of 16 bits.
///
/// | argument | its type |
/// |---|---|
/// | x, y, gamma, beta, the bias of x, residual, gate, what is added to y, and their gradients where they are as large as x | f32, or the 16-bit type of the call |
/// | the sum of x, its bias and the residual | that of the residual; without one, that of x. It is rounded to its type before it is normalised |
/// | statistics | f64 or f32 |
/// | gradients of gamma, beta and the bias | f32 or f64 |
///
/// Another combination is [`Error::Type`](crate::Error::Type). The trait is sealed: which types there are is decided by this crate.
pub trait Element: sealed::Stored + Copy + Debug + Send + Sync + 'static {}

impl Element for f32 {}
#[cfg(feature = "half")]
impl Element for half::bf16 {}
#[cfg(feature = "half")]
impl Element for half::f16 {}

/// A format of 16 bits. Without the feature `half` there is none, and what handles it is not compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The upper half of an f32: 8 bits of exponent, 7 of mantissa.
    #[cfg(feature = "half")]
    Bf16,
    /// IEEE 754 binary16: 5 bits of exponent, 10 of mantissa.
    #[cfg(feature = "half")]
    F16,
}

/// How an element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// As it is.
    F32,
    /// Narrowed.
    Half(Half),
}

impl Storage {
    /// Bytes of an element.
    #[inline]
    pub(crate) const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Half(_) => 2,
        }
    }
}

/// Elements of a type that is known at run time.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// f32.
    F32(&'a [f32]),
    /// The bits of a format.
    Half(Half, &'a [u16]),
}

impl<'a> Elements<'a> {
    /// The elements of a slice.
    #[inline]
    pub(crate) fn of<P: Element>(elements: &'a [P]) -> Self {
        P::elements(elements)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(elements) => elements.len(),
            Self::Half(_, bits) => bits.len(),
        }
    }

    #[inline]
    pub(crate) fn storage(&self) -> Storage {
        match *self {
            Self::F32(_) => Storage::F32,
            Self::Half(half, _) => Storage::Half(half),
        }
    }

    /// The elements, if they are f32.
    #[inline]
    pub(crate) fn single(self, arg: &'static str) -> Result<&'a [f32], Error> {
        match self {
            Self::F32(elements) => Ok(elements),
            Self::Half(..) => Err(Error::Type { arg }),
        }
    }
}

/// The elements of an optional argument, if they are f32.
#[inline]
pub(crate) fn single<'a>(
    arg: &'static str,
    elements: Option<Elements<'a>>,
) -> Result<Option<&'a [f32]>, Error> {
    elements.map(|elements| elements.single(arg)).transpose()
}

/// Checks the length of elements, if they are there.
#[inline]
pub(crate) fn check_elements(
    arg: &'static str,
    elements: Option<Elements<'_>>,
    expected: usize,
) -> Result<(), Error> {
    elements.map_or(Ok(()), |elements| check_length(arg, elements.len(), expected))
}

/// Elements of a type that is known at run time, which are written.
#[derive(Debug)]
pub enum ElementsMut<'a> {
    /// f32.
    F32(&'a mut [f32]),
    /// The bits of a format.
    Half(Half, &'a mut [u16]),
}

impl<'a> ElementsMut<'a> {
    /// The elements of a slice.
    #[inline]
    pub(crate) fn of<P: Element>(elements: &'a mut [P]) -> Self {
        P::elements_mut(elements)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(elements) => elements.len(),
            Self::Half(_, bits) => bits.len(),
        }
    }

    #[inline]
    pub(crate) fn storage(&self) -> Storage {
        match *self {
            Self::F32(_) => Storage::F32,
            Self::Half(half, _) => Storage::Half(half),
        }
    }

    /// The elements, if they are f32.
    #[inline]
    pub(crate) fn single(self, arg: &'static str) -> Result<&'a mut [f32], Error> {
        match self {
            Self::F32(elements) => Ok(elements),
            Self::Half(..) => Err(Error::Type { arg }),
        }
    }

    /// The same place for one call.
    #[inline]
    pub(crate) fn reborrow(&mut self) -> ElementsMut<'_> {
        match self {
            Self::F32(elements) => ElementsMut::F32(elements),
            Self::Half(half, bits) => ElementsMut::Half(*half, bits),
        }
    }
}

/// A vector of a type that is known at run time, which is filled.
#[derive(Debug)]
pub enum ElementsVec<'a> {
    /// f32.
    F32(&'a mut Vec<f32>),
    /// bf16.
    #[cfg(feature = "half")]
    Bf16(&'a mut Vec<half::bf16>),
    /// f16.
    #[cfg(feature = "half")]
    F16(&'a mut Vec<half::f16>),
}

impl<'a> ElementsVec<'a> {
    /// A vector of elements.
    #[inline]
    pub(crate) fn of<P: Element>(elements: &'a mut Vec<P>) -> Self {
        P::elements_vec(elements)
    }

    pub(crate) fn storage(&self) -> Storage {
        match self {
            Self::F32(_) => Storage::F32,
            #[cfg(feature = "half")]
            Self::Bf16(_) => Storage::Half(Half::Bf16),
            #[cfg(feature = "half")]
            Self::F16(_) => Storage::Half(Half::F16),
        }
    }

    /// The same place for one call.
    pub(crate) fn reborrow(&mut self) -> ElementsVec<'_> {
        match self {
            Self::F32(elements) => ElementsVec::F32(elements),
            #[cfg(feature = "half")]
            Self::Bf16(elements) => ElementsVec::Bf16(elements),
            #[cfg(feature = "half")]
            Self::F16(elements) => ElementsVec::F16(elements),
        }
    }
}

/// A type that statistics and gradients of parameters are stored as: f32 or f64, whatever the elements of x are. An operation
/// makes and uses them in f64; f32 is one rounding of them. The trait is sealed.
pub trait WideElement: sealed::Sealed + Copy + Debug + Send + Sync + 'static {
    #[doc(hidden)]
    fn wide(elements: &[Self]) -> Wide<'_>;
    #[doc(hidden)]
    fn wide_mut(elements: &mut [Self]) -> WideMut<'_>;
}

impl WideElement for f32 {
    #[inline]
    fn wide(elements: &[Self]) -> Wide<'_> {
        Wide::Single(elements)
    }

    #[inline]
    fn wide_mut(elements: &mut [Self]) -> WideMut<'_> {
        WideMut::Single(elements)
    }
}

impl WideElement for f64 {
    #[inline]
    fn wide(elements: &[Self]) -> Wide<'_> {
        Wide::Double(elements)
    }

    #[inline]
    fn wide_mut(elements: &mut [Self]) -> WideMut<'_> {
        WideMut::Double(elements)
    }
}

pub(crate) use sealed::{Wide, WideMut};

mod sealed {
    use super::{Elements, ElementsMut, ElementsVec, Storage};
    use crate::error::Error;
    use crate::memory::reserve;

    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}

    /// What an [`Element`](super::Element) is beside its name.
    pub trait Stored: Sized {
        const STORAGE: Storage;
        fn elements(elements: &[Self]) -> Elements<'_>;
        fn elements_mut(elements: &mut [Self]) -> ElementsMut<'_>;
        fn elements_vec(elements: &mut Vec<Self>) -> ElementsVec<'_>;
    }

    impl Stored for f32 {
        const STORAGE: Storage = Storage::F32;

        #[inline(always)]
        fn elements(elements: &[Self]) -> Elements<'_> {
            Elements::F32(elements)
        }

        #[inline(always)]
        fn elements_mut(elements: &mut [Self]) -> ElementsMut<'_> {
            ElementsMut::F32(elements)
        }

        #[inline(always)]
        fn elements_vec(elements: &mut Vec<Self>) -> ElementsVec<'_> {
            ElementsVec::F32(elements)
        }
    }

    #[cfg(feature = "half")]
    macro_rules! stored {
        ($($type:ty, $half:ident);+) => {
            $(impl Stored for $type {
                const STORAGE: Storage = Storage::Half(super::Half::$half);

                #[inline(always)]
                fn elements(elements: &[Self]) -> Elements<'_> {
                    Elements::Half(super::Half::$half, elements.reinterpret_cast())
                }

                #[inline(always)]
                fn elements_mut(elements: &mut [Self]) -> ElementsMut<'_> {
                    ElementsMut::Half(super::Half::$half, elements.reinterpret_cast_mut())
                }

                #[inline(always)]
                fn elements_vec(elements: &mut Vec<Self>) -> ElementsVec<'_> {
                    ElementsVec::$half(elements)
                }
            })+
        };
    }
    #[cfg(feature = "half")]
    use half::slice::HalfFloatSliceExt;
    #[cfg(feature = "half")]
    stored!(half::bf16, Bf16; half::f16, F16);

    /// Statistics that are read.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Wide<'a> {
        /// In f32.
        Single(&'a [f32]),
        /// In f64.
        Double(&'a [f64]),
    }

    impl<'a> Wide<'a> {
        /// Elements.
        pub(crate) fn len(self) -> usize {
            match self {
                Self::Single(elements) => elements.len(),
                Self::Double(elements) => elements.len(),
            }
        }

        /// The same numbers in f64, in memory of `wide` if they are f32.
        pub(crate) fn in_f64(self, wide: &'a mut Vec<f64>) -> Result<&'a [f64], Error> {
            match self {
                Self::Single(elements) => {
                    reserve(wide, elements.len())?;
                    wide.extend(elements.iter().map(|&x| f64::from(x)));
                    Ok(wide)
                }
                Self::Double(elements) => Ok(elements),
            }
        }
    }

    /// Where statistics or a gradient of parameters are written.
    #[derive(Debug)]
    pub enum WideMut<'a> {
        /// Rounded to f32.
        Single(&'a mut [f32]),
        /// In f64.
        Double(&'a mut [f64]),
    }

    impl WideMut<'_> {
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
        pub(crate) fn reborrow(&mut self) -> WideMut<'_> {
            match self {
                Self::Single(out) => WideMut::Single(out),
                Self::Double(out) => WideMut::Double(out),
            }
        }
    }
}
