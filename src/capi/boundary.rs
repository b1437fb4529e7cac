//! The FFI boundary: every entry runs here. A fault or a panic becomes a status.

use core::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::fault::{Fault, report};
use super::status::evenkeel_status;
use crate::simd::with_default_environment;

/// Runs the body of an entry in the default floating-point environment, and catches its panics.
///
/// Each step passes on a reference to the body. Its captures, up to 20 arguments, would be copied otherwise.
#[inline(always)]
pub(super) fn guarded(body: impl Fn() -> Result<(), Box<Fault>>) -> evenkeel_status {
    match with_default_environment(|| catch_unwind(AssertUnwindSafe(&body))) {
        Ok(Ok(())) => evenkeel_status::EVENKEEL_OK,
        Ok(Err(fault)) => report(fault),
        Err(payload) => panicked(payload),
    }
}

/// The same for a call of 200 ns, in which the FFI boundary may cost no more than 20: `check` runs first, and its result is
/// passed on instead of the arguments. `check` has no panic to catch.
///
/// Arguments would be copied by loads of 16 bytes, right after the caller stored them as 8 bytes each. No CPU forwards two
/// stores to one load. With as many instructions, LayerNorm's boundary takes 20 ns instead of 28 (Zen 3).
#[inline(always)]
pub(super) fn guarded_after<T>(
    check: impl FnOnce() -> Result<T, Box<Fault>>,
    body: impl Fn(&T) -> Result<(), Box<Fault>>,
) -> evenkeel_status {
    match check() {
        Ok(checked) => guarded(|| body(&checked)),
        Err(fault) => report(fault),
    }
}

#[cold]
fn panicked(payload: Box<dyn Any + Send>) -> evenkeel_status {
    let text = payload.downcast::<String>().map(|text| *text);
    let text = text.or_else(|payload| payload.downcast::<&str>().map(|text| (*text).to_owned()));
    let message = text.unwrap_or_else(|payload| {
        // The destructor of another payload is unknown, and it might panic.
        core::mem::forget(payload);
        "a panic without a message".to_owned()
    });
    report(Fault::Panic(message).boxed())
}

#[cfg(test)]
mod tests {
    use core::ffi::CStr;

    use super::super::fault::evenkeel_last_error_message;
    use super::*;

    fn message() -> String {
        // SAFETY: a C string that lives until the next fault of this thread.
        unsafe { CStr::from_ptr(evenkeel_last_error_message()) }.to_str().expect("UTF-8").to_owned()
    }

    #[test]
    fn a_panic_becomes_a_status() {
        let status = guarded(|| panic!("seven of {}", 9));
        assert_eq!(status, evenkeel_status::EVENKEEL_PANIC);
        assert_eq!(message(), "a bug of evenkeel: seven of 9");
        assert_eq!(guarded(|| panic!("without a value")), evenkeel_status::EVENKEEL_PANIC);
        assert_eq!(message(), "a bug of evenkeel: without a value");
    }

    #[cfg(feature = "rayon")]
    #[test]
    fn a_panic_in_a_worker_thread_becomes_a_status() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a pool");
        let status = guarded(|| {
            pool.install(|| rayon::join(|| (), || panic!("in a worker")));
            Ok(())
        });
        assert_eq!(status, evenkeel_status::EVENKEEL_PANIC);
        assert_eq!(message(), "a bug of evenkeel: in a worker");
    }
}
