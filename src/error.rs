//! What a call returns where an argument is wrong, before it writes anything.
#![forbid(unsafe_code)]

use core::fmt;

use crate::simd::BACKENDS;

/// As many elements as a slice of the widest element type, 8 bytes, can have.
pub(crate) const MOST_ELEMENTS: usize = isize::MAX as usize / size_of::<f64>();

/// Why a call failed. Nothing has been written when an operation returns one (but see
/// [`OutOfMemory`](Self::OutOfMemory)).
///
/// Every variant names the argument as the method's signature does, what was expected and what came.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A slice has the wrong number of elements.
    Length {
        /// The argument's name.
        arg: &'static str,
        /// The number of elements that the shape has.
        expected: usize,
        /// The number of elements that came.
        got: usize,
    },
    /// A slice is shorter than what it has to hold: rows at a pitch, or scratch.
    TooShort {
        /// The argument's name.
        arg: &'static str,
        /// The least number of elements.
        expected: usize,
        /// The number of elements that came.
        got: usize,
    },
    /// The operation does not take this argument, or not with this shape.
    Unsupported {
        /// The argument's name.
        arg: &'static str,
    },
    /// A slice has elements of a type that the operation does not take.
    Type {
        /// The argument's name.
        arg: &'static str,
    },
    /// A shape has more elements than a slice can hold (`isize::MAX` bytes, of 8 bytes each).
    ShapeOverflow {
        /// The shape's name.
        arg: &'static str,
        /// The dimensions, outermost first; of a matrix, 1 and then its own.
        got: [usize; 3],
    },
    /// A parameter is outside its domain.
    Parameter {
        /// The parameter's name.
        arg: &'static str,
        /// The domain.
        expected: &'static str,
        /// The value that came.
        got: f64,
    },
    /// The channels do not fall into so many groups of one size.
    Groups {
        /// The number of channels.
        channels: usize,
        /// The number of groups that came.
        got: usize,
    },
    /// There are too few rows for a statistic.
    TooFewRows {
        /// The statistic.
        arg: &'static str,
        /// The least number of rows.
        expected: usize,
        /// The number of rows that came.
        got: usize,
    },
    /// A running statistic would overflow f32 after the update, though the batch is finite. The call may have written to its
    /// scratch.
    StatisticOverflow {
        /// The statistic.
        arg: &'static str,
        /// The first channel of which it is too large.
        channel: usize,
        /// Its value after the update.
        got: f64,
    },
    /// A sample has more valid elements or steps than there are.
    SampleLength {
        /// Which sample.
        sample: usize,
        /// How many there are.
        most: usize,
        /// Its length that came.
        got: usize,
    },
    /// A scaler has seen no number, and cannot transform.
    NotFitted {
        /// What has not been fitted.
        arg: &'static str,
    },
    /// Bytes are not the state of a scaler.
    Format {
        /// The first byte of what is wrong.
        at: usize,
        /// What has to be there.
        expected: &'static str,
        /// The number that came.
        got: u64,
    },
    /// A range of a random stream ends beyond its 2^64 elements.
    StreamOverflow {
        /// The index of the first element.
        offset: u64,
        /// The number of elements.
        len: usize,
    },
    /// A temporary buffer, or a new `Vec`, could not be allocated. Pass scratch to avoid temporary buffers
    /// ([`NormArgs::scratch`](crate::NormArgs::scratch)). Two operations allocate even then:
    ///
    /// * [`LayerNorm`](crate::LayerNorm) of more than 16 thousand channels that come first;
    /// * [`GroupNorm`](crate::GroupNorm) and [`InstanceNorm`](crate::InstanceNorm) with padding, on every thread. They alone may
    ///   have written samples of `y` before they return this error.
    OutOfMemory {
        /// How much was needed.
        bytes: usize,
    },
    /// No backend has this name.
    UnknownBackend {
        /// The name that came.
        got: String,
    },
    /// The backend exists, but this CPU or this build does not have it.
    UnavailableBackend {
        /// The backend's name.
        got: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { arg, expected, got } => {
                write!(f, "`{arg}`: expected {expected} elements, got {got}")
            }
            Self::TooShort { arg, expected, got } => {
                write!(f, "`{arg}`: expected at least {expected} elements, got {got}")
            }
            Self::Unsupported { arg } => {
                write!(f, "`{arg}`: expected none, since the operation does not take it here")
            }
            Self::Type { arg } => {
                write!(f, "`{arg}`: expected elements of a type that the operation takes")
            }
            Self::ShapeOverflow { arg, got: [outer, a, b] } => {
                write!(f, "`{arg}`: expected at most {MOST_ELEMENTS} elements, got ")?;
                if *outer != 1 {
                    write!(f, "{outer} x ")?;
                }
                write!(f, "{a} x {b}")
            }
            Self::Groups { channels, got } => {
                write!(f, "`groups`: expected a divisor of the {channels} channels, got {got}")
            }
            Self::Parameter { arg, expected, got } => {
                write!(f, "`{arg}`: expected {expected}, got {got}")
            }
            Self::TooFewRows { arg, expected, got } => {
                write!(f, "`rows`: expected at least {expected} rows for the {arg}, got {got}")
            }
            Self::StatisticOverflow { arg, channel, got } => {
                let most = f32::MAX;
                write!(
                    f,
                    "`{arg}`: expected at most {most:e} after the update of channel {channel}, got {got:e}"
                )
            }
            Self::SampleLength { sample, most, got } => {
                write!(f, "`lengths`: expected at most {most} for sample {sample}, got {got}")
            }
            Self::NotFitted { arg } => {
                write!(
                    f,
                    "`{arg}`: expected one that has been fitted, got one that has seen nothing"
                )
            }
            Self::Format { at, expected, got } => {
                write!(f, "`bytes`: expected {expected} at byte {at}, got {got:#x}")
            }
            Self::StreamOverflow { offset, len } => {
                write!(
                    f,
                    "`offset`: expected at most 2^64 - {len} for {len} elements, got {offset}"
                )
            }
            Self::OutOfMemory { bytes } => write!(f, "no memory for {bytes} bytes"),
            Self::UnknownBackend { got } => {
                write!(f, "`name`: expected one of {:?}, got {got:?}", BACKENDS)
            }
            Self::UnavailableBackend { got } => {
                write!(f, "`name`: expected a backend that this CPU has, got {got:?}")
            }
        }
    }
}

impl core::error::Error for Error {}
