//! The FFI boundary: how every function is entered. A fault or a panic becomes a status.

use super::buffers::check;
use super::execution::Run;
use super::members::Args;
use super::panics::guarded;
use super::status::{Fault, evenkeel_status, report};
use super::versions::{of_another_version, size_of_args};

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
    match unsafe { Run::of(args.execution().cast()) } {
        Err(fault) => report(fault),
        Ok(run) => guarded(run.control, || {
            operation(args, &run).map_err(|fault| fault.of_buffers(T::BUFFERS))
        }),
    }
}
