//! How an operation's rows are spread over threads. The only file that names rayon.
#![forbid(unsafe_code)]

use crate::kernels::Split;

/// How many threads an operation may use. It never changes the result: the same bits come out for
/// every setting and every number of threads.
///
/// Tasks run in the current rayon pool: the global one, or the pool whose `install` the caller is in.
/// evenkeel starts no pool of its own; where the global one cannot be started, everything runs on the calling thread.
/// Without the `rayon` feature every setting is [`Serial`](Self::Serial). A pool's threads do not follow a process
/// that forks: use [`Serial`](Self::Serial) in the child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Parallelism {
    /// One task for each 64 Ki elements, up to one a thread of the pool: calls too small to gain
    /// from a second thread stay on the caller's, and do not touch rayon.
    #[default]
    Auto,
    /// Everything on the calling thread; nothing is allocated and rayon is not touched.
    Serial,
    /// As [`Auto`](Self::Auto), in at most this many tasks (0 counts as 1).
    AtMost(usize),
}

/// Elements that make a task worth forking. Measured in a pool of two, in us on one thread and on two:
/// LayerNorm of 33 thousand elements 3.2 and 3.1, of 131 thousand 12.4 and 8.0; BatchNorm's training, which
/// forks twice, of 66 thousand 12.8 and 15.6, of 263 thousand 50 and 30. A caller outside of the pool
/// also waits for a worker to wake up.
const TASK_ELEMENTS: usize = 1 << 16;

/// Where there are enough rows, tasks begin at multiples of this many, so that only the last one has
/// rows that do not fill a group.
const CUT_ROWS: usize = 8;

impl Parallelism {
    /// How many tasks so many elements are worth, before the threads are counted.
    fn tasks(self, elements: usize) -> usize {
        let most = match self {
            Self::Serial => 1,
            Self::Auto => usize::MAX,
            Self::AtMost(tasks) => tasks,
        };
        (elements / TASK_ELEMENTS).min(most)
    }

    /// Whether work on so many elements may be shared between threads.
    pub(crate) fn may_fork(self, elements: usize) -> bool {
        cfg!(feature = "rayon") && self.tasks(elements) > 1
    }

    /// Runs `task` on the rows of `work`, in as many contiguous ranges as `elements` are worth.
    pub(crate) fn run<W: Split>(self, work: W, elements: usize, task: impl Fn(W) + Sync) {
        let worth = self.tasks(elements).min(work.rows());
        if worth <= 1 {
            return task(work);
        }
        fork(work, worth.min(threads()), &task);
    }
}

fn fork<W: Split>(work: W, tasks: usize, task: &(impl Fn(W) + Sync)) {
    if tasks <= 1 {
        return task(work);
    }
    let (rows, left) = (work.rows(), tasks / 2);
    // rows * left / tasks without overflow.
    let cut = rows / tasks * left + rows % tasks * left / tasks;
    let cut = if rows >= CUT_ROWS * tasks { cut - cut % CUT_ROWS } else { cut };
    let (low, high) = work.split_at(cut);
    join(|| fork(low, left, task), || fork(high, tasks - left, task));
}

/// Threads of the current pool; 1 if the global pool cannot be started, as where a container allows no more threads.
fn threads() -> usize {
    #[cfg(feature = "rayon")]
    if rayon::current_thread_index().is_some() || global_pool_runs() {
        return rayon::current_num_threads();
    }
    1
}

/// Whether the global pool runs, or could be started as rayon starts it: rayon itself would panic where it cannot.
#[cfg(feature = "rayon")]
fn global_pool_runs() -> bool {
    use core::error::Error;
    use std::sync::OnceLock;

    static RUNS: OnceLock<bool> = OnceLock::new();
    // An error with a source is one of the operating system's; the other says that the pool runs already.
    *RUNS.get_or_init(|| {
        rayon::ThreadPoolBuilder::new().build_global().err().is_none_or(|e| e.source().is_none())
    })
}

/// Runs both, perhaps at the same time.
fn join(a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
    #[cfg(feature = "rayon")]
    rayon::join(a, b);
    #[cfg(not(feature = "rayon"))]
    {
        a();
        b();
    }
}
