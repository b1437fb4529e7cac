//! The library: its version, and the backends that this CPU has.

use core::ffi::{CStr, c_char};

use super::boundary::guarded;
use super::buffers::{Buffer, text};
use super::fault::Fault;
use super::status::evenkeel_status;
use crate::run::backend::Backend;

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
    guarded(move || {
        let out = Buffer::output("backend", backend, 1);
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

/// Names of backends, by `evenkeel_backend`.
const BACKENDS: [&CStr; 4] = [c"detect", c"portable", c"avx2", c"avx512"];

/// The backend of this number; `None` where the backend is to be detected.
#[inline(always)]
pub(super) fn backend(number: evenkeel_backend) -> Result<Option<Backend>, Box<Fault>> {
    if number == EVENKEEL_BACKEND_DETECT { Ok(None) } else { named(number).map(Some) }
}

#[inline(never)]
fn named(number: evenkeel_backend) -> Result<Backend, Box<Fault>> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
