//! How a call runs: on which backend, with which stores, in how many tasks, on whose threads, in which environment.

use core::ffi::c_void;

use super::backends::{backend, evenkeel_backend};
use super::members::members;
use super::pool::{HostPool, evenkeel_parallel_for};
use super::status::{Fault, unknown};
use super::versions::{of_another_version, size_of_args};
use crate::run::execution::Execution;
use crate::run::parallel::Parallelism;
use crate::run::pool::Pool;
use crate::run::write_policy::Stores;
use crate::simd::Control;

/// How an output is written. It never changes the result.
pub type evenkeel_stores = u32;
/// By non-temporal stores where the output is large.
pub const EVENKEEL_STORES_AUTO: evenkeel_stores = 0;
/// By ordinary stores: where the output is read again soon.
pub const EVENKEEL_STORES_CACHED: evenkeel_stores = 1;
/// By non-temporal stores: where it is not.
pub const EVENKEEL_STORES_NON_TEMPORAL: evenkeel_stores = 2;

/// The floating-point environment of a call.
pub type evenkeel_environment = u32;
/// Round to nearest, subnormal numbers are numbers like any other. The control word of the calling thread is restored after the
/// call. The bits are the same in every host.
pub const EVENKEEL_ENVIRONMENT_DEFAULT: evenkeel_environment = 0;
/// That of the calling thread, in every task: a host that flushes subnormal numbers (FTZ, DAZ) keeps the speed that it gains by
/// that. Exceptions do not trap. Bits are not promised, and errors are bounded where rounding is to nearest: the bounds hold for
/// inputs as they are read, plus 2^-126.
pub const EVENKEEL_ENVIRONMENT_HOST: evenkeel_environment = 1;

/// How a call runs. It never changes what is computed, and in the default environment not a bit of it between backends that
/// fuse multiply-adds. A call whose `execution` is NULL runs as `EVENKEEL_EXECUTION_INIT` says.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_execution {
    pub size: usize,
    /// `EVENKEEL_BACKEND_...`
    pub backend: evenkeel_backend,
    /// `EVENKEEL_STORES_...`
    pub stores: evenkeel_stores,
    /// 0: one task for each 64 Ki elements, at most one a thread. On the host's threads or in a thread of a rayon pool, a call
    /// uses more than one from 128 Ki elements on; on any other thread from 1 Mi elements on, since rayon's workers sleep there.
    /// 1: serial, on the calling thread alone, without a pool. n: as 0, but at most n.
    pub tasks: usize,
    /// `EVENKEEL_ENVIRONMENT_...`
    pub environment: evenkeel_environment,
    /// 0
    pub reserved: u32,
    /// The host's threads, in place of the library's own; NULL: the library's own. A host's pool may exist for this call only.
    /// Functions that say so do not use it: they run on the calling thread then.
    pub parallel_for: evenkeel_parallel_for,
    /// What `parallel_for` is passed.
    pub pool_context: *mut c_void,
    /// How many threads `parallel_for` has, the calling one among them if it takes part. 0 without one. With 1 it is not called:
    /// the calling thread does the work.
    pub pool_threads: usize,
}

members! {
    evenkeel_execution {}, 56, |_| core::ptr::null(),
    [size 0, backend 8, tasks 16, environment 24, parallel_for 32, pool_context 40, pool_threads 48]
}

/// How a call of C runs.
pub(super) struct Run {
    execution: Execution,
    pool: Option<HostPool>,
    pub(super) control: Control,
}

impl Run {
    /// What C passes, or the default.
    ///
    /// # Safety
    ///
    /// `execution` is NULL or points to a structure as the header says.
    #[inline(always)]
    pub(super) unsafe fn of(execution: *const evenkeel_execution) -> Result<Self, Box<Fault>> {
        let control = Control::DEFAULT;
        let default = Execution { control: Some(control), ..Execution::DEFAULT };
        if execution.is_null() {
            return Ok(Self { execution: default, pool: None, control });
        }
        // SAFETY: the caller's promise.
        let said = unsafe { read_execution(execution)? };
        let parallelism = match said.tasks {
            0 => Parallelism::Auto,
            1 => Parallelism::Serial,
            most => Parallelism::AtMost(most),
        };
        let stores = match said.stores {
            EVENKEEL_STORES_AUTO => Stores::Auto,
            EVENKEEL_STORES_CACHED => Stores::Cached,
            EVENKEEL_STORES_NON_TEMPORAL => Stores::NonTemporal,
            got => return Err(unknown("stores", "a number EVENKEEL_STORES_...", got.into())),
        };
        let control = match said.environment {
            EVENKEEL_ENVIRONMENT_DEFAULT => control,
            EVENKEEL_ENVIRONMENT_HOST => Control::of_thread(),
            got => {
                return Err(unknown(
                    "environment",
                    "a number EVENKEEL_ENVIRONMENT_...",
                    got.into(),
                ));
            }
        };
        if said.reserved != 0 {
            return Err(unknown("reserved", "0", said.reserved.into()));
        }
        let pool = HostPool::new(said.parallel_for, said.pool_context, said.pool_threads)?;
        let backend = backend(said.backend)?;
        let execution = Execution { backend, parallelism, stores, control: Some(control) };
        Ok(Self { execution, pool, control })
    }

    /// How an operation runs whose arguments take a pool.
    #[inline(always)]
    pub(super) fn execution(&self) -> Execution {
        self.execution
    }

    /// How an operation runs that takes no pool: on the calling thread where there is one.
    pub(super) fn without_pool(&self) -> Execution {
        let parallelism =
            if self.pool.is_some() { Parallelism::Serial } else { self.execution.parallelism };
        Execution { parallelism, ..self.execution }
    }

    /// The host's threads.
    #[inline(always)]
    pub(super) fn pool(&self) -> Option<&dyn Pool> {
        self.pool.as_ref().map(|pool| -> &dyn Pool { pool })
    }
}

/// How a call runs that C passes, or the default.
///
/// # Safety
///
/// `execution` points to a structure as the header says.
#[inline(always)]
unsafe fn read_execution(
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
