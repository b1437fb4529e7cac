//! How a call ended.

use core::ffi::{CStr, c_char};

/// How a call ended. Where it is not `EVENKEEL_OK`, nothing has been written (but after `EVENKEEL_PANIC`), and
/// `evenkeel_last_error_message` says what is wrong: the argument, what was expected and what came.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum evenkeel_status {
    /// Done.
    EVENKEEL_OK = 0,
    /// A buffer is NULL and its length is not 0, or something that must be there is NULL.
    EVENKEEL_NULL_POINTER = 1,
    /// A buffer does not begin at a multiple of its element's size.
    EVENKEEL_MISALIGNED = 2,
    /// An output shares memory with another buffer and is not exactly in place.
    EVENKEEL_OVERLAP = 3,
    /// A buffer has the wrong number of elements.
    EVENKEEL_LENGTH = 4,
    /// The elements of a shape, or the bytes of a buffer, are more than memory has addresses.
    EVENKEEL_SHAPE_OVERFLOW = 5,
    /// A parameter is outside its domain.
    EVENKEEL_PARAMETER = 6,
    /// There are too few rows for a statistic.
    EVENKEEL_TOO_FEW_ROWS = 7,
    /// A range of a random stream ends beyond its 2^64 elements.
    EVENKEEL_STREAM_OVERFLOW = 8,
    /// A number or a name that means no option.
    EVENKEEL_UNKNOWN_OPTION = 9,
    /// The backend exists, but this CPU or this build does not have it.
    EVENKEEL_UNAVAILABLE_BACKEND = 10,
    /// A temporary could not be allocated.
    EVENKEEL_OUT_OF_MEMORY = 11,
    /// A bug of this library was caught; outputs may have been written in part.
    EVENKEEL_PANIC = 12,
    /// A scaler that has seen no number was to transform.
    EVENKEEL_NOT_FITTED = 13,
    /// The operation does not take an argument, or not with this shape.
    EVENKEEL_UNSUPPORTED = 14,
    /// A buffer has elements of a type that the operation does not take.
    EVENKEEL_TYPE = 15,
}

/// A name for a status.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_status_text(status: u32) -> *const c_char {
    const TEXTS: [&CStr; 16] = [
        c"done",
        c"a buffer is NULL",
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
        c"the operation does not take a type of elements",
    ];
    TEXTS.get(status as usize).copied().unwrap_or(c"not a status of evenkeel").as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_text_and_nothing_else_has() {
        let unknown = evenkeel_status_text(u32::MAX);
        for status in 0..=evenkeel_status::EVENKEEL_TYPE as u32 {
            assert_ne!(evenkeel_status_text(status), unknown, "{status}");
        }
        assert_eq!(evenkeel_status_text(evenkeel_status::EVENKEEL_TYPE as u32 + 1), unknown);
    }
}
