//! How a call ended: its status, and the message for `evenkeel_last_error_message`.

use core::cell::RefCell;
use core::ffi::{CStr, c_char};
use core::fmt;
use std::ffi::CString;

use super::dtype::type_names;
use super::member::Member;
use crate::error::Error;

/// How a call ended. Where it is not `EVENKEEL_OK`, nothing has been written, but for scratch and after `EVENKEEL_OUT_OF_MEMORY`
/// and `EVENKEEL_PANIC`. `evenkeel_last_error_message` says which member of the structure is wrong, what was expected and what
/// came.
pub type evenkeel_status = u32;
/// Done.
pub const EVENKEEL_OK: evenkeel_status = 0;
/// A pointer is NULL, or a member absent, that has to be there.
pub const EVENKEEL_NULL_POINTER: evenkeel_status = 1;
/// A buffer does not begin at a multiple of its element's size.
pub const EVENKEEL_MISALIGNED: evenkeel_status = 2;
/// An output shares memory with another buffer and is not exactly in place.
pub const EVENKEEL_OVERLAP: evenkeel_status = 3;
/// A buffer has the wrong number of elements.
pub const EVENKEEL_LENGTH: evenkeel_status = 4;
/// The elements of a shape, or the bytes of a buffer, are more than memory has addresses.
pub const EVENKEEL_SHAPE_OVERFLOW: evenkeel_status = 5;
/// A parameter is outside its domain.
pub const EVENKEEL_PARAMETER: evenkeel_status = 6;
/// There are too few rows for a statistic.
pub const EVENKEEL_TOO_FEW_ROWS: evenkeel_status = 7;
/// A range of a random stream ends beyond its 2^64 elements.
pub const EVENKEEL_STREAM_OVERFLOW: evenkeel_status = 8;
/// A number or a name that means no option, or a reserved member that is not 0.
pub const EVENKEEL_UNKNOWN_OPTION: evenkeel_status = 9;
/// The backend exists, but this CPU or this build does not have it.
pub const EVENKEEL_UNAVAILABLE_BACKEND: evenkeel_status = 10;
/// A temporary could not be allocated. GroupNorm and InstanceNorm with padding may have written samples of y.
pub const EVENKEEL_OUT_OF_MEMORY: evenkeel_status = 11;
/// A bug of this library was caught; outputs may have been written in part.
pub const EVENKEEL_PANIC: evenkeel_status = 12;
/// A scaler that has seen no number was to transform.
pub const EVENKEEL_NOT_FITTED: evenkeel_status = 13;
/// The operation does not take an argument or a pitch, or not with this shape.
pub const EVENKEEL_UNSUPPORTED: evenkeel_status = 14;
/// A buffer has no dtype, or one that the operation does not take there.
pub const EVENKEEL_TYPE: evenkeel_status = 15;
/// The size of a structure is none that this version of the library knows, or it has members that this version lacks.
pub const EVENKEEL_STRUCT_SIZE: evenkeel_status = 16;
/// A running variance would not be finite as float after this batch, which is finite.
pub const EVENKEEL_STATISTIC_OVERFLOW: evenkeel_status = 17;
/// Bytes are not the state of a scaler.
pub const EVENKEEL_FORMAT: evenkeel_status = 18;

/// A name for a status.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_status_text(status: evenkeel_status) -> *const c_char {
    TEXTS.get(status as usize).copied().unwrap_or(c"not a status of evenkeel").as_ptr()
}

const TEXTS: [&CStr; 19] = [
    c"done",
    c"a pointer is NULL or a member is absent",
    c"a buffer is not aligned to its elements",
    c"an output shares memory with another buffer",
    c"a buffer has the wrong number of elements",
    c"a shape is too large",
    c"a parameter is outside its domain",
    c"there are too few rows",
    c"a range of a random stream ends beyond 2^64",
    c"a number or a name means no option",
    c"this CPU or this build lacks the backend",
    c"no memory for a temporary",
    c"a bug of evenkeel was caught",
    c"a scaler has seen no number",
    c"the operation does not take an argument",
    c"a buffer has no type, or one that the operation does not take",
    c"a structure has a size that this version does not know",
    c"a running statistic would leave the range of float",
    c"bytes are not the state of a scaler",
];

/// What the last call of this thread that did not return `EVENKEEL_OK` complained of, in full: the member, what was
/// expected and what came. Empty if there was none. The text lives until the next such call of this thread.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_last_error_message() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

thread_local! {
    /// The message of this thread's last fault.
    static LAST: RefCell<CString> = RefCell::default();
}

/// Why a call from C failed. Functions return it boxed, so that a result fits in a register.
#[derive(Debug)]
pub(super) enum Fault {
    /// NULL where there must be something, or elements.
    Null { arg: &'static str, len: usize },
    /// No buffer where there must be one.
    Absent { arg: &'static str },
    /// An address that is not a multiple of the alignment.
    Misaligned { arg: &'static str, align: usize, address: usize },
    /// More elements than memory has addresses.
    TooLong { arg: &'static str, len: usize },
    /// An output that shares memory with another buffer.
    Overlap { arg: &'static str, other: &'static str },
    /// An output that begins where another buffer does, whose rows or elements are others.
    Unequal { arg: &'static str, other: &'static str },
    /// Another type of elements than those of this set.
    Type { arg: &'static str, expected: u32, got: u32 },
    /// A pitch of what is contiguous.
    Pitch { arg: &'static str, got: usize },
    /// A number that names no option.
    Option { arg: &'static str, expected: &'static str, got: u64 },
    /// Dimensions that do not belong to the layout of a shape.
    Shape { expected: &'static str },
    /// A structure of a size that is not known.
    Size { arg: &'static str, expected: usize, got: usize },
    /// A structure with members that are not known.
    Tail { arg: &'static str, known: usize },
    /// A bug of this library.
    Panic(String),
    /// An error of the Rust operation, and whether the structure has the member `valid`.
    Operation(Error, bool),
}

impl From<Error> for Box<Fault> {
    #[cold]
    fn from(error: Error) -> Self {
        Fault::Operation(error, false).boxed()
    }
}

impl Fault {
    /// Of a call whose structure has these buffers.
    #[cold]
    pub(super) fn of_buffers(mut self: Box<Self>, buffers: &[Member]) -> Box<Self> {
        if let Self::Operation(_, has_valid) = &mut *self {
            *has_valid = buffers.iter().any(|member| member.name() == "valid");
        }
        self
    }

    #[cold]
    #[inline(never)]
    pub(super) fn boxed(self) -> Box<Self> {
        Box::new(self)
    }

    fn status(&self) -> evenkeel_status {
        match self {
            Self::Null { .. } | Self::Absent { .. } => EVENKEEL_NULL_POINTER,
            Self::Misaligned { .. } => EVENKEEL_MISALIGNED,
            Self::TooLong { .. } => EVENKEEL_SHAPE_OVERFLOW,
            Self::Overlap { .. } | Self::Unequal { .. } => EVENKEEL_OVERLAP,
            Self::Type { .. } => EVENKEEL_TYPE,
            Self::Pitch { .. } => EVENKEEL_UNSUPPORTED,
            Self::Option { .. } | Self::Shape { .. } => EVENKEEL_UNKNOWN_OPTION,
            Self::Size { .. } | Self::Tail { .. } => EVENKEEL_STRUCT_SIZE,
            Self::Panic(_) => EVENKEEL_PANIC,
            Self::Operation(error, _) => match error {
                Error::Length { .. } | Error::TooShort { .. } => EVENKEEL_LENGTH,
                Error::ShapeOverflow { .. } => EVENKEEL_SHAPE_OVERFLOW,
                Error::Parameter { .. } | Error::SampleLength { .. } | Error::Groups { .. } => {
                    EVENKEEL_PARAMETER
                }
                Error::TooFewRows { .. } => EVENKEEL_TOO_FEW_ROWS,
                Error::StatisticOverflow { .. } => EVENKEEL_STATISTIC_OVERFLOW,
                Error::NotFitted { .. } => EVENKEEL_NOT_FITTED,
                Error::Format { .. } => EVENKEEL_FORMAT,
                Error::StreamOverflow { .. } => EVENKEEL_STREAM_OVERFLOW,
                Error::OutOfMemory { .. } => EVENKEEL_OUT_OF_MEMORY,
                Error::UnknownBackend { .. } => EVENKEEL_UNKNOWN_OPTION,
                Error::UnavailableBackend { .. } => EVENKEEL_UNAVAILABLE_BACKEND,
                Error::Unsupported { .. } => EVENKEEL_UNSUPPORTED,
                Error::Type { .. } => EVENKEEL_TYPE,
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null { arg, len: 1 } => write!(f, "`{arg}`: expected a pointer, got NULL"),
            Self::Null { arg, len } => {
                write!(f, "`{arg}.data`: expected a pointer to {len} elements, got NULL")
            }
            Self::Absent { arg } => write!(f, "`{arg}`: expected a buffer, got none"),
            Self::Misaligned { arg, align, address } => {
                write!(f, "`{arg}`: expected an address that {align} divides, got {address:#x}")
            }
            Self::TooLong { arg, len } => {
                write!(f, "`{arg}.len`: expected at most SSIZE_MAX bytes, got {len} elements")
            }
            Self::Overlap { arg, other } => {
                write!(f, "`{arg}`: expected memory of its own, got some of `{other}`'s")
            }
            Self::Unequal { arg, other } => {
                write!(f, "`{arg}`: expected the pitch and dtype of `{other}`, whose memory it is")
            }
            Self::Type { arg, expected, got } => {
                write!(f, "`{arg}.dtype`: expected {}, got {got}", type_names(*expected))
            }
            Self::Pitch { arg, got } => {
                write!(f, "`{arg}.pitch`: expected 0, since it is contiguous, got {got}")
            }
            Self::Option { arg, expected, got } => {
                write!(f, "`{arg}`: expected {expected}, got {got}")
            }
            Self::Shape { expected } => {
                write!(f, "`shape`: expected {expected}, got a member that is not 0 beside")
            }
            Self::Size { arg, expected, got } => {
                write!(f, "`{arg}.size`: expected {expected} or an earlier version's, got {got}")
            }
            Self::Tail { arg, known } => {
                write!(
                    f,
                    "`{arg}`: expected zeros from byte {known} on, which no member is known for"
                )
            }
            Self::Panic(message) => write!(f, "a bug of evenkeel: {message}"),
            Self::Operation(error, has_valid) => {
                f.write_str(&with_members(error.to_string(), *has_valid))
            }
        }
    }
}

/// An error of Rust, with the name of the member of C in place of the argument's.
fn with_members(mut text: String, has_valid: bool) -> String {
    const VALID: [(&str, &str); 2] = [("`mask`", "`valid`"), ("`lengths`", "`valid`")];
    const NAMES: [(&str, &str); 16] = [
        ("`x_pitch`", "`x.pitch`"),
        ("`y_pitch`", "`y.pitch`"),
        ("`residual_pitch`", "`residual.pitch`"),
        ("`sum_pitch`", "`sum.pitch`"),
        ("`gate_pitch`", "`gate.pitch`"),
        ("`plus_pitch`", "`plus.pitch`"),
        ("`dy_pitch`", "`dy.pitch`"),
        ("`dx_pitch`", "`dx.pitch`"),
        ("`dsum_pitch`", "`dsum.pitch`"),
        ("`dresidual_pitch`", "`dresidual.pitch`"),
        ("`dgate_pitch`", "`dgate.pitch`"),
        ("`rows`", "`shape`"),
        ("`steps`", "`valid_steps`"),
        ("`statistics`", "`statistics_of`"),
        ("`scaler`", "`moments` or `data_min`"),
        ("`feature_range`", "`range_min`, `range_max`"),
    ];
    let names = NAMES.into_iter().chain(VALID.into_iter().filter(|_| has_valid));
    for (argument, member) in names {
        if text.starts_with(argument) {
            text.replace_range(..argument.len(), member);
        }
    }
    text
}

/// Keeps the message of a fault for this thread, and returns its status.
#[cold]
pub(super) fn report(fault: Box<Fault>) -> evenkeel_status {
    let mut text = fault.to_string();
    text.retain(|char| char != '\0');
    // A thread that is ending has no place for it any more.
    let _ = LAST.try_with(|last| *last.borrow_mut() = CString::new(text).unwrap_or_default());
    fault.status()
}

#[cold]
pub(super) fn unknown(arg: &'static str, expected: &'static str, got: u64) -> Box<Fault> {
    Fault::Option { arg, expected, got }.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_text_and_nothing_else_has() {
        let unknown = evenkeel_status_text(u32::MAX);
        for status in 0..=EVENKEEL_FORMAT {
            assert_ne!(evenkeel_status_text(status), unknown, "{status}");
        }
        assert_eq!(evenkeel_status_text(EVENKEEL_FORMAT + 1), unknown);
    }

    #[test]
    fn an_error_of_an_operation_has_a_status_of_its_kind() {
        let status = |error| Fault::Operation(error, false).status();
        let (arg, expected, got) = ("scratch", 2, 1);
        assert_eq!(status(Error::TooShort { arg, expected, got }), EVENKEEL_LENGTH);
        assert_eq!(status(Error::Unsupported { arg }), EVENKEEL_UNSUPPORTED);
        assert_eq!(status(Error::Type { arg }), EVENKEEL_TYPE);
        let overflow = Error::StatisticOverflow { arg, channel: 0, got: 1e39 };
        assert_eq!(status(overflow), EVENKEEL_STATISTIC_OVERFLOW);
    }

    #[test]
    fn an_error_names_the_member() {
        let error = Error::Length { arg: "x_pitch", expected: 2, got: 1 };
        let text = Fault::Operation(error, true).to_string();
        assert_eq!(text, "`x.pitch`: expected 2 elements, got 1");
        for (has_valid, name) in [(false, "mask"), (true, "valid")] {
            let error = Error::Length { arg: "mask", expected: 2, got: 1 };
            let text = Fault::Operation(error, has_valid).to_string();
            assert_eq!(text, format!("`{name}`: expected 2 elements, got 1"));
        }
    }
}
