//! A panic becomes a status.

use core::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::status::{EVENKEEL_OK, Fault, evenkeel_status, report};
use crate::simd::Control;

/// Runs in this floating-point environment, and catches panics.
#[inline(always)]
pub(super) fn guarded(
    control: Control,
    body: impl Fn() -> Result<(), Box<Fault>>,
) -> evenkeel_status {
    match control.run(|| catch_unwind(AssertUnwindSafe(&body))) {
        Ok(Ok(())) => EVENKEEL_OK,
        Ok(Err(fault)) => report(fault),
        Err(payload) => panicked(payload),
    }
}

#[cold]
fn panicked(payload: Box<dyn Any + Send>) -> evenkeel_status {
    report(Fault::Panic(panic_message(payload)).boxed())
}

/// The message of a panic, whose payload is freed if that is a message.
pub(super) fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast::<String>().map(|text| *text);
    let text = text.or_else(|payload| payload.downcast::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|payload| {
        // The destructor of another payload is unknown, and it might panic.
        core::mem::forget(payload);
        "a panic without a message".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use core::ffi::CStr;

    use super::super::status::{EVENKEEL_PANIC, evenkeel_last_error_message};
    use super::*;

    fn message() -> String {
        // SAFETY: a C string that lives until the next fault of this thread.
        unsafe { CStr::from_ptr(evenkeel_last_error_message()) }.to_str().expect("UTF-8").to_owned()
    }

    #[test]
    fn a_panic_becomes_a_status() {
        let status = guarded(Control::DEFAULT, || panic!("seven of {}", 9));
        assert_eq!(status, EVENKEEL_PANIC);
        assert_eq!(message(), "a bug of evenkeel: seven of 9");
        let status = guarded(Control::DEFAULT, || panic!("without a value"));
        assert_eq!(status, EVENKEEL_PANIC);
        assert_eq!(message(), "a bug of evenkeel: without a value");
    }

    #[cfg(feature = "rayon")]
    #[test]
    fn a_panic_in_a_worker_thread_becomes_a_status() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a pool");
        let status = guarded(Control::DEFAULT, || {
            pool.install(|| rayon::join(|| (), || panic!("in a worker")));
            Ok(())
        });
        assert_eq!(status, EVENKEEL_PANIC);
        assert_eq!(message(), "a bug of evenkeel: in a worker");
    }
}
