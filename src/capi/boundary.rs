//! The FFI boundary: how every function is entered. A fault or a panic becomes a status.

use core::any::Any;
use core::ptr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::buffers::check;
use super::execution::{Run, evenkeel_execution};
use super::members::Args;
use super::status::{EVENKEEL_OK, Fault, evenkeel_status, report};
use crate::simd::Control;

/// Runs an operation with the structure that C passes: its size, its buffers and how it runs are checked first.
///
/// # Safety
///
/// `args` is NULL or points to as many readable bytes as its first member says. What it points to is as the header says.
#[inline(always)]
pub(super) unsafe fn call<T: Args>(
    args: *const T,
    operation: impl Fn(&T, &Run) -> Result<(), Box<Fault>>,
) -> evenkeel_status {
    // SAFETY: the caller's promise.
    match unsafe { size_of_args(args) } {
        Err(fault) => report(fault),
        // SAFETY: aligned, not NULL and of this size; the rest is the caller's promise. Every bit pattern is a T.
        Ok(size) if size == size_of::<T>() => unsafe { run(&*args, &operation) },
        // SAFETY: the caller's promise.
        Ok(size) => unsafe { run_another_version(args, size, &operation) },
    }
}

/// # Safety
///
/// As for [`call`], and `size` is that of the structure.
#[cold]
unsafe fn run_another_version<T: Args>(
    args: *const T,
    size: usize,
    operation: &impl Fn(&T, &Run) -> Result<(), Box<Fault>>,
) -> evenkeel_status {
    // SAFETY: the caller's promise.
    match unsafe { of_another_version(args, size) } {
        Err(fault) => report(fault),
        // SAFETY: the caller's promise.
        Ok(args) => unsafe { run(&args, operation) },
    }
}

/// # Safety
///
/// What `args` points to is as the header says.
#[inline(always)]
unsafe fn run<T: Args>(
    args: &T,
    operation: &impl Fn(&T, &Run) -> Result<(), Box<Fault>>,
) -> evenkeel_status {
    if let Err(fault) = check(args) {
        return report(fault);
    }
    // SAFETY: the caller's promise.
    match unsafe { Run::of(args.execution()) } {
        Err(fault) => report(fault),
        Ok(run) => guarded(run.control, || {
            operation(args, &run).map_err(|fault| fault.of_buffers(T::BUFFERS))
        }),
    }
}

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

/// The size that a structure says it has.
///
/// # Safety
///
/// `args` is NULL or points to a `usize`.
#[inline(always)]
unsafe fn size_of_args<T: Args>(args: *const T) -> Result<usize, Box<Fault>> {
    if args.is_null() || !args.is_aligned() {
        return Err(no_args::<T>(args.addr()));
    }
    // SAFETY: aligned and not NULL; the rest is the caller's promise.
    Ok(unsafe { args.cast::<usize>().read() })
}

#[cold]
fn no_args<T: Args>(address: usize) -> Box<Fault> {
    let (arg, align) = (T::NAME, align_of::<T>());
    let fault = match address {
        0 => Fault::Null { arg, len: 1 },
        address => Fault::Misaligned { arg, align, address },
    };
    fault.boxed()
}

/// A structure of a caller that was compiled with another version of the header. What an earlier one lacks has its default. What
/// a later one has beside must be 0.
///
/// # Safety
///
/// `args` points to `size` bytes.
#[cold]
unsafe fn of_another_version<T: Args>(args: *const T, size: usize) -> Result<T, Box<Fault>> {
    let (arg, known) = (T::NAME, size_of::<T>());
    if size < known && !T::ENDS[1..].contains(&size) {
        return Err(Fault::Size { arg, expected: known, got: size }.boxed());
    }
    let from = args.cast::<u8>();
    for at in known..size {
        // SAFETY: the caller's promise.
        if unsafe { from.add(at).read() } != 0 {
            return Err(Fault::Tail { arg, known }.boxed());
        }
    }
    let mut own = T::default();
    let to = ptr::from_mut(&mut own).cast::<u8>();
    // SAFETY: both have as many bytes, and every bit pattern is a T.
    unsafe { to.copy_from_nonoverlapping(from, size.min(known)) };
    Ok(own)
}

/// How a call runs that C passes, or the default.
///
/// # Safety
///
/// As for [`call`].
#[inline(always)]
pub(super) unsafe fn read_execution(
    execution: *const evenkeel_execution,
) -> Result<evenkeel_execution, Box<Fault>> {
    // SAFETY: the caller's promise.
    unsafe {
        match size_of_args(execution)? {
            size if size == size_of::<evenkeel_execution>() => Ok(*execution),
            size => of_another_version(execution, size),
        }
    }
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
