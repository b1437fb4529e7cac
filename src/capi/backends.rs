//! The library: its version, and the backends that this CPU has.

use core::ffi::{CStr, c_char};

use super::panics::guarded;
use super::status::{Fault, evenkeel_status};
use crate::run::backend::Backend;
use crate::simd::Control;

/// The version of the library: 10000 * major + 100 * minor + patch, as `EVENKEEL_VERSION` is that of the header.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_version() -> u32 {
    VERSION
}

/// The version of the library as text: `0.1.0`.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_version_text() -> *const c_char {
    const TEXT: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    TEXT.as_ptr().cast()
}

/// The version of this header, of which `evenkeel_version` tells the library's.
pub const EVENKEEL_VERSION: u32 = 100;

const VERSION: u32 = {
    let (mut version, mut number, text) = (0, 0, env!("CARGO_PKG_VERSION").as_bytes());
    let mut i = 0;
    while i < text.len() {
        match text[i] {
            b'.' => (version, number) = ((version + number) * 100, 0),
            digit => number = number * 10 + (digit - b'0') as u32,
        }
        i += 1;
    }
    version + number
};

const _: () = assert!(VERSION == EVENKEEL_VERSION, "`EVENKEEL_VERSION` is that of Cargo.toml");

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

/// A property of a backend: this CPU has it.
pub const EVENKEEL_BACKEND_AVAILABLE: u32 = 1;
/// A property of a backend: it rounds multiply-adds once. All such backends give the same bits.
pub const EVENKEEL_BACKEND_FUSED: u32 = 2;

/// The properties of a backend on this CPU, `EVENKEEL_BACKEND_AVAILABLE` and `EVENKEEL_BACKEND_FUSED` added. 0: this CPU lacks
/// it, or there is no such number.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_backend_properties(backend: evenkeel_backend) -> u32 {
    match self::backend(backend).map(|backend| backend.unwrap_or_else(Backend::detect)) {
        Ok(backend) if backend.is_fused() => EVENKEEL_BACKEND_AVAILABLE | EVENKEEL_BACKEND_FUSED,
        Ok(_) => EVENKEEL_BACKEND_AVAILABLE,
        Err(_) => 0,
    }
}

/// The name of a backend: `portable`, `avx2`, `avx512`; of `EVENKEEL_BACKEND_DETECT` that of the fastest that this CPU has. NULL
/// if there is no such number.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_backend_name(backend: evenkeel_backend) -> *const c_char {
    let number =
        if backend == EVENKEEL_BACKEND_DETECT { number(Backend::detect()) } else { backend };
    NAMES.get(number as usize).map_or(core::ptr::null(), |name| name.as_ptr())
}

/// Writes the backend of a name, as `evenkeel_backend_name` gives it or `detect`, to `backend`. `EVENKEEL_UNKNOWN_OPTION` if
/// there is none, `EVENKEEL_UNAVAILABLE_BACKEND` if this CPU does not have it.
///
/// # Safety
///
/// `name` is NULL or a C string, `backend` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_backend_by_name(
    name: *const c_char,
    backend: *mut evenkeel_backend,
) -> evenkeel_status {
    guarded(Control::DEFAULT, move || {
        if name.is_null() || backend.is_null() {
            let arg = if name.is_null() { "name" } else { "backend" };
            return Err(Fault::Null { arg, len: 1 }.boxed());
        }
        // SAFETY: not NULL; the rest is the caller's promise.
        let found = match unsafe { CStr::from_ptr(name) }.to_str().unwrap_or("\u{fffd}") {
            "detect" => EVENKEEL_BACKEND_DETECT,
            name => number(Backend::by_name(name)?),
        };
        // SAFETY: not NULL; the rest is the caller's promise.
        unsafe { backend.write(found) };
        Ok(())
    })
}

/// Names of backends, by `evenkeel_backend`.
const NAMES: [&CStr; 4] = [c"detect", c"portable", c"avx2", c"avx512"];

/// The backend of this number; `None` where the backend is to be detected.
#[inline(always)]
pub(super) fn backend(number: evenkeel_backend) -> Result<Option<Backend>, Box<Fault>> {
    if number == EVENKEEL_BACKEND_DETECT { Ok(None) } else { named(number).map(Some) }
}

#[inline(never)]
fn named(number: evenkeel_backend) -> Result<Backend, Box<Fault>> {
    let expected = "a number EVENKEEL_BACKEND_...";
    let unknown = || Fault::Option { arg: "backend", expected, got: number.into() }.boxed();
    let name = NAMES.get(number as usize).and_then(|name| name.to_str().ok());
    Ok(Backend::by_name(name.ok_or_else(unknown)?)?)
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
        assert_eq!(NAMES.len(), Backend::NAMES.len() + 1);
        for available in Backend::available() {
            let number = number(available);
            assert_eq!(NAMES[number as usize].to_str(), Ok(available.name()));
            assert!(matches!(backend(number), Ok(Some(found)) if found == available));
            let fused = evenkeel_backend_properties(number) == 3;
            assert_eq!(fused, available.is_fused(), "{available}");
        }
        let detected = number(Backend::detect()) as usize;
        assert_eq!(evenkeel_backend_name(0), NAMES[detected].as_ptr());
        assert_eq!(evenkeel_backend_properties(4), 0);
        assert!(evenkeel_backend_name(4).is_null());
    }
}
