//! How an operation runs: on which backend, on how many threads. Every configuration has an [`Execution`].
#![forbid(unsafe_code)]

use crate::kernels::split::Split;
use crate::run::backend::Backend;
use crate::run::parallel::Parallelism;
use crate::run::pool::Pool;
use crate::run::write_policy::Stores;
use crate::simd::Kernel;

/// The part of a configuration that changes no result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Execution {
    /// `None` is [`Backend::detect`], looked up at the call so that configurations can be `const`.
    pub(crate) backend: Option<Backend>,
    pub(crate) parallelism: Parallelism,
    pub(crate) stores: Stores,
    /// The floating-point environment that tasks run in, where C says it; `None`: that of their threads.
    #[cfg(feature = "capi")]
    pub(crate) control: Option<crate::simd::Control>,
}

impl Execution {
    pub(crate) const DEFAULT: Self = Self {
        backend: None,
        parallelism: Parallelism::Auto,
        stores: Stores::Auto,
        #[cfg(feature = "capi")]
        control: None,
    };

    /// One call, on the host's threads if there is a pool of them.
    pub(crate) const fn call(self, pool: Option<&dyn Pool>) -> Call<'_> {
        Call { execution: self, pool }
    }
}

/// How one call runs.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) execution: Execution,
    pub(crate) pool: Option<&'a dyn Pool>,
}

impl Call<'_> {
    /// The same call on the calling thread alone.
    pub(crate) fn serial(mut self) -> Self {
        self.execution.parallelism = Parallelism::Serial;
        self
    }

    /// How outputs are written.
    pub(crate) fn stores(self) -> Stores {
        self.execution.stores
    }

    /// Whether threads share work on so many elements.
    pub(crate) fn forks(self, elements: usize) -> bool {
        self.execution.parallelism.forks(self.pool, elements)
    }

    /// Dispatches once, then enters the backend once in every task.
    pub(crate) fn run_parallel<W: Split + Kernel<Output = ()>>(self, work: W, elements: usize) {
        self.reduce(work, elements, |(), ()| ());
    }

    /// The same with a kernel that has a result: those of tasks are merged ([`Parallelism::reduce`]).
    pub(crate) fn reduce<W: Split + Kernel<Output: Send>>(
        self,
        work: W,
        elements: usize,
        merge: impl Fn(W::Output, W::Output) -> W::Output + Sync,
    ) -> W::Output {
        let backend = self.execution.backend.unwrap_or_else(Backend::detect);
        self.share(work, elements, |part| backend.dispatch(part), merge)
    }

    /// The same with tasks that dispatch themselves.
    pub(crate) fn share<W: Split, T: Send>(
        self,
        work: W,
        elements: usize,
        task: impl Fn(W) -> T + Sync,
        merge: impl Fn(T, T) -> T + Sync,
    ) -> T {
        let Self { execution: Execution { parallelism, .. }, pool } = self;
        // The calling thread is in that environment already (`capi/panics.rs`). One closure serves both cases, since each closure
        // has the code of `Parallelism::reduce` compiled for it again.
        #[cfg(feature = "capi")]
        let task = |part| match self.execution.control {
            Some(control) if parallelism.may_fork(elements) => control.run(|| task(part)),
            _ => task(part),
        };
        parallelism.reduce(pool, work, elements, task, merge)
    }

    /// Runs a kernel on the calling thread.
    pub(crate) fn run_serial<K: Kernel>(self, kernel: K) -> K::Output {
        self.execution.backend.unwrap_or_else(Backend::detect).dispatch(kernel)
    }
}

/// The setters of an operation's `execution` field.
macro_rules! execution_setters {
    () => {
        $crate::run::execution::place_setters!();

        #[cfg(feature = "capi")]
        pub(crate) const fn with_execution(
            mut self,
            execution: $crate::run::execution::Execution,
        ) -> Self {
            self.execution = execution;
            self
        }
    };
}

/// The same for an operation with an output of the size of its input.
macro_rules! output_setters {
    () => {
        $crate::run::execution::execution_setters!();
        $crate::run::execution::stores_setter!();
    };
}

/// The same for a scaler, whose statistics C has in buffers of its own.
macro_rules! scaler_setters {
    () => {
        $crate::run::execution::place_setters!();
        $crate::run::execution::stores_setter!();
    };
}

/// Where an operation runs.
macro_rules! place_setters {
    () => {
        /// Runs on this backend instead of [`Backend::detect`](crate::Backend::detect).
        #[must_use]
        pub const fn with_backend(mut self, backend: crate::Backend) -> Self {
            self.execution.backend = Some(backend);
            self
        }

        /// How many threads a call uses. Default: [`Parallelism::Auto`](crate::Parallelism::Auto). The
        /// result has the same bits for every setting.
        #[doc(alias = "threads")]
        #[must_use]
        pub const fn with_parallelism(mut self, parallelism: crate::Parallelism) -> Self {
            self.execution.parallelism = parallelism;
            self
        }
    };
}

/// How an operation writes.
macro_rules! stores_setter {
    () => {
        /// How a call writes its output. Default: [`Stores::Auto`](crate::Stores::Auto). The result has
        /// the same bits for every setting.
        #[must_use]
        pub const fn with_stores(mut self, stores: crate::Stores) -> Self {
            self.execution.stores = stores;
            self
        }
    };
}

pub(crate) use {execution_setters, output_setters, place_setters, scaler_setters, stores_setter};
