//! The C ABI: the crate's operations for engines in C and C++. The documentation of the header `evenkeel.h`, which is
//! made from this folder.
//!
//! No logic is here: pointers become slices (`border.rs`), the Rust operation is called, and its result becomes a status.
//! `moments.rs`, `normalize.rs`, `row_variants.rs`, `channels.rs`, `padding.rs`, `dropout.rs`, `regularize.rs` and `scalers.rs`
//! have an entry for every operation.
#![expect(non_camel_case_types, reason = "the names are C's")]

mod border;
mod channels;
mod dropout;
mod moments;
mod normalize;
mod padding;
mod regularize;
mod row_variants;
mod scalers;

use core::ffi::{CStr, c_char};

pub use channels::*;
pub use dropout::*;
pub use moments::*;
pub use normalize::*;
pub use padding::*;
pub use regularize::*;
pub use row_variants::*;
pub use scalers::*;

use border::{Fault, enter, last_message, text};

use crate::execution::Execution;
use crate::{Backend, Parallelism, Rows, Stores};

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
    /// A statistic was asked for over an axis without elements.
    EVENKEEL_EMPTY_AXIS = 7,
    /// There are too few rows for what is asked of them.
    EVENKEEL_TOO_FEW_ROWS = 8,
    /// A range of a random stream ends beyond its 2^64 elements.
    EVENKEEL_STREAM_OVERFLOW = 9,
    /// A number or a name that means no option.
    EVENKEEL_UNKNOWN_OPTION = 10,
    /// The backend exists, but this CPU or this build does not have it.
    EVENKEEL_UNAVAILABLE_BACKEND = 11,
    /// A temporary could not be allocated.
    EVENKEEL_OUT_OF_MEMORY = 12,
    /// A bug of this library was caught; outputs may have been written in part.
    EVENKEEL_PANIC = 13,
    /// A scaler that has seen no number was to transform.
    EVENKEEL_NOT_FITTED = 14,
}

/// Which instructions an operation runs on.
pub type evenkeel_backend = u32;
/// The fastest that this CPU has.
pub const EVENKEEL_BACKEND_DETECT: evenkeel_backend = 0;
/// What the library was compiled for: SSE2, NEON.
pub const EVENKEEL_BACKEND_PORTABLE: evenkeel_backend = 1;
/// AVX2 and FMA.
pub const EVENKEEL_BACKEND_AVX2: evenkeel_backend = 2;
/// AVX-512 F, BW, DQ and VL.
pub const EVENKEEL_BACKEND_AVX512: evenkeel_backend = 3;

/// How an output is written. It never changes the result.
pub type evenkeel_stores = u32;
/// Around the caches where the output is large.
pub const EVENKEEL_STORES_AUTO: evenkeel_stores = 0;
/// Through the caches: where the output is read again soon.
pub const EVENKEEL_STORES_CACHED: evenkeel_stores = 1;
/// Around the caches: where it is not.
pub const EVENKEEL_STORES_NON_TEMPORAL: evenkeel_stores = 2;

/// The element type of statistics.
pub type evenkeel_dtype = u32;
/// double, what the operations compute: nothing is lost.
pub const EVENKEEL_F64: evenkeel_dtype = 0;
/// float, as many engines keep statistics: each is rounded once. A call with float statistics allocates a temporary of
/// doubles for them.
pub const EVENKEEL_F32: evenkeel_dtype = 1;

/// How an operation runs. It never changes what it computes, and between backends that fuse multiply-adds not a
/// bit of it. All zeros is the default, and so is NULL for a pointer to it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_execution {
    /// `EVENKEEL_BACKEND_...`.
    pub backend: evenkeel_backend,
    /// `EVENKEEL_STORES_...`.
    pub stores: evenkeel_stores,
    /// 0: as many tasks as the work is worth and the pool has threads; 1: serial, on the calling thread alone, without a
    /// pool; n: as 0, but at most n.
    pub tasks: usize,
}

/// Names of backends, by `evenkeel_backend`.
const BACKENDS: [&CStr; 4] = [c"detect", c"portable", c"avx2", c"avx512"];

/// The backend of this number, if there is one; `None` where it is to be detected.
#[inline(always)]
fn backend(number: evenkeel_backend) -> Result<Option<Backend>, Box<Fault>> {
    if number == EVENKEEL_BACKEND_DETECT { Ok(None) } else { forced(number).map(Some) }
}

#[inline(never)]
fn forced(number: evenkeel_backend) -> Result<Backend, Box<Fault>> {
    let expected = "a number EVENKEEL_BACKEND_...";
    let unknown = || Fault::Option { arg: "backend", expected, got: number }.boxed();
    let name = BACKENDS.get(number as usize).and_then(|name| name.to_str().ok());
    let name = name.ok_or_else(unknown)?;
    Ok(Backend::by_name(name)?)
}

/// The number of a backend.
fn number(backend: Backend) -> evenkeel_backend {
    match backend.name() {
        "avx2" => EVENKEEL_BACKEND_AVX2,
        "avx512" => EVENKEEL_BACKEND_AVX512,
        _ => EVENKEEL_BACKEND_PORTABLE,
    }
}

/// The execution that C asks for.
///
/// # Safety
///
/// `execution` is NULL or points to one.
unsafe fn execution(execution: *const evenkeel_execution) -> Result<Execution, Box<Fault>> {
    let default = Execution { from_c: true, ..Execution::DEFAULT };
    if execution.is_null() {
        return Ok(default);
    }
    if !execution.is_aligned() {
        let (align, address) = (align_of::<evenkeel_execution>(), execution.addr());
        return Err(Fault::Misaligned { arg: "execution", align, address }.boxed());
    }
    // SAFETY: aligned and not NULL; the rest is the caller's promise.
    let evenkeel_execution { backend: number, stores, tasks } = unsafe { *execution };
    let parallelism = match tasks {
        0 => Parallelism::Auto,
        1 => Parallelism::Serial,
        most => Parallelism::AtMost(most),
    };
    let expected = "a number EVENKEEL_STORES_...";
    let stores = match stores {
        EVENKEEL_STORES_AUTO => Stores::Auto,
        EVENKEEL_STORES_CACHED => Stores::Cached,
        EVENKEEL_STORES_NON_TEMPORAL => Stores::NonTemporal,
        got => return Err(Fault::Option { arg: "stores", expected, got }.boxed()),
    };
    Ok(Execution { backend: backend(number)?, parallelism, stores, ..default })
}

/// A shape.
fn shape(rows: usize, cols: usize) -> Result<Rows, Box<Fault>> {
    Ok(Rows::new(rows, cols)?)
}

/// A name for a status.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_status_text(status: u32) -> *const c_char {
    const TEXTS: [&CStr; 15] = [
        c"done",
        c"a buffer is NULL",
        c"a buffer is not aligned to its elements",
        c"an output shares memory with another buffer",
        c"a buffer has the wrong number of elements",
        c"a shape is too large",
        c"a parameter is outside its domain",
        c"a statistic of no elements was asked for",
        c"there are too few rows",
        c"a range of a random stream ends beyond 2^64",
        c"a number or a name means no option",
        c"this CPU or this build lacks the backend",
        c"no memory for a temporary",
        c"a bug of evenkeel was caught",
        c"a scaler has seen no number",
    ];
    TEXTS.get(status as usize).copied().unwrap_or(c"not a status of evenkeel").as_ptr()
}

/// What the last call of this thread that did not return `EVENKEEL_OK` complained of, in full: the argument, what was
/// expected and what came. Empty if there was none. The text lives until the next such call of this thread.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_last_error_message() -> *const c_char {
    last_message()
}

/// The version of the library, as `0.1.0`.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The fastest backend that this CPU has: what `EVENKEEL_BACKEND_DETECT` means here.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_backend_detect() -> evenkeel_backend {
    number(Backend::detect())
}

/// Whether this CPU has a backend: 1 or 0.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_backend_is_available(backend: evenkeel_backend) -> i32 {
    i32::from(self::backend(backend).is_ok())
}

/// Whether a backend of this CPU rounds multiply-adds once: 1 or 0. All such backends give the same bits.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_backend_is_fused(backend: evenkeel_backend) -> i32 {
    let fused = self::backend(backend)
        .map(|backend| backend.unwrap_or_else(Backend::detect).is_fused())
        .unwrap_or(false);
    i32::from(fused)
}

/// The name of a backend (`detect`, `portable`, `avx2`, `avx512`), or NULL.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_backend_name(backend: evenkeel_backend) -> *const c_char {
    BACKENDS.get(backend as usize).map_or(core::ptr::null(), |name| name.as_ptr())
}

/// Writes the backend of a name to `backend`: `EVENKEEL_UNKNOWN_OPTION` if there is none, `EVENKEEL_UNAVAILABLE_BACKEND`
/// if this CPU does not have it.
///
/// # Safety
///
/// `name` is NULL or a C string, `backend` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_backend_by_name(
    name: *const c_char,
    backend: *mut evenkeel_backend,
) -> evenkeel_status {
    enter(move || {
        let out = border::Buffer::output("backend", backend, 1);
        out.check()?;
        // SAFETY: the caller's promise.
        let (name, out) = unsafe { (text("name", name)?, out.slice_mut()) };
        out[0] = match name {
            "detect" => EVENKEEL_BACKEND_DETECT,
            name => number(Backend::by_name(name)?),
        };
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> String {
        // SAFETY: a C string that lives until the next fault of this thread.
        unsafe { CStr::from_ptr(evenkeel_last_error_message()) }.to_str().expect("UTF-8").to_owned()
    }

    #[test]
    fn a_panic_becomes_a_status() {
        let status = enter(|| panic!("seven of {}", 9));
        assert_eq!(status, evenkeel_status::EVENKEEL_PANIC);
        assert_eq!(message(), "a bug of evenkeel: seven of 9");
        assert_eq!(enter(|| panic!("without a value")), evenkeel_status::EVENKEEL_PANIC);
        assert_eq!(message(), "a bug of evenkeel: without a value");
    }

    #[cfg(feature = "rayon")]
    #[test]
    fn a_panic_in_a_worker_thread_becomes_a_status() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a pool");
        let status = enter(|| {
            pool.install(|| rayon::join(|| (), || panic!("in a worker")));
            Ok(())
        });
        assert_eq!(status, evenkeel_status::EVENKEEL_PANIC);
        assert_eq!(message(), "a bug of evenkeel: in a worker");
    }

    #[test]
    fn every_status_has_a_text_and_nothing_else_has() {
        let unknown = evenkeel_status_text(u32::MAX);
        for status in 0..=evenkeel_status::EVENKEEL_NOT_FITTED as u32 {
            assert_ne!(evenkeel_status_text(status), unknown, "{status}");
        }
        assert_eq!(evenkeel_status_text(evenkeel_status::EVENKEEL_NOT_FITTED as u32 + 1), unknown);
    }

    #[test]
    fn names_and_numbers_of_backends_are_the_same_as_in_rust() {
        assert_eq!(BACKENDS.len(), Backend::NAMES.len() + 1);
        for available in Backend::available() {
            let number = number(available);
            assert_eq!(BACKENDS[number as usize].to_str(), Ok(available.name()));
            assert!(matches!(backend(number), Ok(Some(found)) if found == available));
        }
        assert_eq!(evenkeel_backend_is_available(4), 0);
    }
}
