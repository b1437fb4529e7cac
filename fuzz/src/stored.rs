//! Elements stored as bf16 and f16: an output is what f32 gives for the same numbers, rounded once by the crate `half`.
#![forbid(unsafe_code)]

use std::fmt::Arguments;

use arbitrary::Arbitrary;
use evenkeel::Error;
use half::{bf16, f16};

use crate::{Affine, Element};

/// What elements are stored as. Parameters have the type of x, or f32.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum StoredAs {
    F32,
    Bf16 { f32_parameters: bool },
    F16 { f32_parameters: bool },
}

/// Calls a method for the drawn types of x and of parameters, if one of them is no f32.
#[macro_export]
macro_rules! for_stored {
    ($stored:expr, $this:ident.$method:ident($($arg:expr),*)) => {
        match $stored {
            $crate::StoredAs::F32 => {}
            $crate::StoredAs::Bf16 { f32_parameters: false } => {
                $this.$method::<half::bf16, half::bf16>($($arg),*);
            }
            $crate::StoredAs::Bf16 { f32_parameters: true } => {
                $this.$method::<half::bf16, f32>($($arg),*);
            }
            $crate::StoredAs::F16 { f32_parameters: false } => {
                $this.$method::<half::f16, half::f16>($($arg),*);
            }
            $crate::StoredAs::F16 { f32_parameters: true } => {
                $this.$method::<half::f16, f32>($($arg),*);
            }
        }
    };
}

/// A type that elements are stored as, converted by the crate `half`.
pub trait Stored: evenkeel::Element + Element {
    fn narrow(x: f32) -> Self;
    fn wide(self) -> f32;
}

impl Stored for f32 {
    fn narrow(x: f32) -> Self {
        x
    }

    fn wide(self) -> f32 {
        self
    }
}

macro_rules! stored {
    ($($half:ident)+) => {$(
        impl Element for $half {
            const BEFORE: Self = Self::from_bits(0xa5a5);
        }

        impl Stored for $half {
            fn narrow(x: f32) -> Self {
                Self::from_f32(x)
            }

            fn wide(self) -> f32 {
                self.to_f32()
            }
        }
    )+};
}

stored!(bf16 f16);

/// Asserts that a call gives the result of the same call with f32. Text is compared: an error may hold a NaN, which equals nothing.
pub fn assert_same_result(
    got: &Result<(), Error>,
    expected: &Result<(), Error>,
    what: Arguments<'_>,
) {
    if got != expected {
        assert_eq!(format!("{got:?}"), format!("{expected:?}"), "{what}");
    }
}

/// Each number as a type stores it.
pub fn narrowed<T: Stored>(x: &[f32]) -> Vec<T> {
    x.iter().map(|&x| T::narrow(x)).collect()
}

/// What is stored, as numbers.
pub fn widened<T: Stored>(x: &[T]) -> Vec<f32> {
    x.iter().map(|x| x.wide()).collect()
}

/// Each number rounded to what a type holds.
pub fn rounded<T: Stored>(x: &[f32]) -> Vec<f32> {
    x.iter().map(|&x| T::narrow(x).wide()).collect()
}

impl Affine {
    /// The same as a type stores it.
    pub fn rounded<P: Stored>(&self) -> Self {
        let (gamma, beta) = (self.gamma().map(rounded::<P>), self.beta().map(rounded::<P>));
        Self::of(gamma.as_deref(), beta.as_deref())
    }
}
