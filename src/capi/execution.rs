//! How an operation runs: on which backend, with which stores, in how many tasks.

use super::backends::{backend, evenkeel_backend};
use super::fault::Fault;
use crate::run::execution::Execution;
use crate::run::parallel::Parallelism;
use crate::run::write_policy::Stores;

/// How an output is written. It never changes the result.
pub type evenkeel_stores = u32;
/// By non-temporal stores where the output is large.
pub const EVENKEEL_STORES_AUTO: evenkeel_stores = 0;
/// Through the caches: where the output is read again soon.
pub const EVENKEEL_STORES_CACHED: evenkeel_stores = 1;
/// By non-temporal stores: where it is not.
pub const EVENKEEL_STORES_NON_TEMPORAL: evenkeel_stores = 2;

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

/// The execution that C passes, or the default.
///
/// # Safety
///
/// `execution` is NULL or points to one.
pub(super) unsafe fn execution(
    execution: *const evenkeel_execution,
) -> Result<Execution, Box<Fault>> {
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
