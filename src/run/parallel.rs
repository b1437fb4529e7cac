//! How an operation's rows are spread over threads. The only file that names rayon.
#![forbid(unsafe_code)]

use crate::kernels::split::{Split, cut};
use crate::kernels::tuning::{OUTSIDE_ELEMENTS, TASK_ELEMENTS};
use crate::run::pool::{self, Part, Pool};

/// How many threads an operation may use. It never changes the result: the same bits come out for
/// every setting and every number of threads.
///
/// Tasks run on the threads of the [`Pool`](crate::Pool) that is passed to the call, or else in the current rayon pool: the
/// global one, or the pool whose `install` the caller is in.
/// evenkeel starts no pool of its own; where the global one cannot be started, everything runs on the calling thread.
/// Without the `rayon` feature, a call that is passed no pool is [`Serial`](Self::Serial). A pool's threads do not follow a process
/// that forks: a child whose parent has used the pool runs everything on the calling thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Parallelism {
    /// One task for each 64 Ki elements, up to one a thread of the pool. A call that is too small to gain from a second thread
    /// stays on the calling one, and does not touch rayon.
    ///
    /// | the call comes from | it uses more than one thread from |
    /// |---|---|
    /// | a thread of a rayon pool, or passes a [`Pool`](crate::Pool) | 128 Ki elements |
    /// | any other thread: rayon's workers sleep, and waking them takes longer than a small call | 1 Mi elements |
    ///
    /// An engine whose calls are smaller runs its whole model inside `rayon::ThreadPool::install`, or lends its own threads.
    #[default]
    Auto,
    /// Everything on the calling thread; rayon is not touched.
    Serial,
    /// As [`Auto`](Self::Auto), in at most this many tasks (0 counts as 1).
    AtMost(usize),
}

impl Parallelism {
    /// How many tasks pay for so many elements, regardless of the number of threads.
    fn tasks(self, elements: usize) -> usize {
        let most = match self {
            Self::Serial => 1,
            Self::Auto => usize::MAX,
            Self::AtMost(tasks) => tasks,
        };
        (elements / TASK_ELEMENTS).min(most)
    }

    /// Whether threads may share work on so many elements, from whatever thread the call comes. The length of scratch depends on it.
    pub(crate) fn may_fork(self, elements: usize) -> bool {
        self.tasks(elements) > 1
    }

    /// Whether threads share work on so many elements of a call from this thread.
    pub(crate) fn forks(self, pool: Option<&dyn Pool>, elements: usize) -> bool {
        let awake = || pool.is_some() || elements >= OUTSIDE_ELEMENTS || in_rayon_pool();
        self.may_fork(elements) && awake()
    }

    /// Runs `task` on contiguous ranges of the rows of `work`, in the host's pool or rayon's, and merges the results of neighbouring
    /// ranges, the lower one first. The number of ranges, and the pairs in which they are merged, depend on the threads. So
    /// `merge` must be associative to the bit.
    #[inline]
    pub(crate) fn reduce<W: Split, T: Send>(
        self,
        pool: Option<&dyn Pool>,
        work: W,
        elements: usize,
        task: impl Fn(W) -> T + Sync,
        merge: impl Fn(T, T) -> T + Sync,
    ) -> T {
        // The fast path of short calls: `share` is not inlined.
        if !self.may_fork(elements) {
            return task(work);
        }
        self.share(pool, work, elements, &task, &merge)
    }

    #[inline(never)]
    fn share<W: Split, T: Send>(
        self,
        pool: Option<&dyn Pool>,
        work: W,
        elements: usize,
        task: &(impl Fn(W) -> T + Sync),
        merge: &(impl Fn(T, T) -> T + Sync),
    ) -> T {
        let worth = self.tasks(elements).min(work.rows());
        if worth <= 1 || !self.forks(pool, elements) {
            return task(work);
        }
        match pool {
            Some(pool) => match worth.min(pool.threads()) {
                0 | 1 => task(work),
                parts => pool::reduce(pool, work, parts, task, merge),
            },
            None => fork(work, worth.min(threads()), task, merge),
        }
    }
}

/// Whether the calling thread is one of a rayon pool's: its workers are awake, or wake up while it works.
fn in_rayon_pool() -> bool {
    #[cfg(feature = "rayon")]
    return rayon::current_thread_index().is_some();
    #[cfg(not(feature = "rayon"))]
    false
}

fn fork<W: Split, T: Send>(
    work: W,
    tasks: usize,
    task: &(impl Fn(W) -> T + Sync),
    merge: &(impl Fn(T, T) -> T + Sync),
) -> T {
    if tasks <= 1 {
        return task(work);
    }
    let left = tasks / 2;
    let at = cut(work.rows(), left, tasks);
    let (low, high) = work.split_at(at);
    let (mut low, mut high) = (Part::Waiting(low), Part::Waiting(high));
    join(&mut || low.run(|work| fork(work, left, task, merge)), &mut || {
        high.run(|work| fork(work, tasks - left, task, merge))
    });
    match (low.result(), high.result()) {
        (Some(low), Some(high)) => merge(low, high),
        _ => unreachable!("`join` has run both"),
    }
}

/// Threads of the current pool; 1 if the global pool cannot be started, as where a container allows no more threads, and in a
/// process that was forked from the pool's: its threads stayed behind.
fn threads() -> usize {
    #[cfg(feature = "rayon")]
    if pool_is_here() {
        return rayon::current_num_threads();
    }
    1
}

/// Whether the current pool runs in this process.
#[cfg(feature = "rayon")]
fn pool_is_here() -> bool {
    use std::process::id;
    use std::sync::OnceLock;

    thread_local! {
        /// The process that a thread of a pool has worked in. A child after a fork inherits it with the thread.
        static WORKS_IN: u32 = id();
    }
    /// The process that uses the global pool, if that runs.
    static GLOBAL: OnceLock<Option<u32>> = OnceLock::new();

    if in_rayon_pool() {
        return WORKS_IN.with(|&process| process == id());
    }
    *GLOBAL.get_or_init(|| global_pool_runs().then(id)) == Some(id())
}

/// Whether the global pool runs, or could be started as rayon starts it: rayon itself would panic where it cannot.
#[cfg(feature = "rayon")]
fn global_pool_runs() -> bool {
    use core::error::Error;

    // An error with a source is one of the operating system's; the other says that the pool runs already.
    rayon::ThreadPoolBuilder::new().build_global().err().is_none_or(|e| e.source().is_none())
}

/// Runs both, perhaps at the same time. Rayon's part of it is compiled once, and not for every kernel.
fn join(a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
    #[cfg(feature = "rayon")]
    rayon::join(a, b);
    #[cfg(not(feature = "rayon"))]
    {
        a();
        b();
    }
}

#[cfg(test)]
mod tests {
    use core::ops::Range;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{OUTSIDE_ELEMENTS, Parallelism, Pool, Split, TASK_ELEMENTS};
    use crate::kernels::split::CUT_ROWS;

    /// Rows that know which they are.
    struct Work(Range<usize>);

    impl Split for Work {
        fn rows(&self) -> usize {
            self.0.len()
        }
        fn split_at(self, at: usize) -> (Self, Self) {
            let cut = self.0.start + at;
            (Self(self.0.start..cut), Self(cut..self.0.end))
        }
    }

    /// The rows of each task of a call in a pool of so many threads, in order.
    fn tasks(parallelism: Parallelism, threads: usize, rows: usize, elements: usize) -> Vec<Work> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| tasks_here(None, parallelism, rows, elements))
    }

    /// The same of a call from this thread.
    fn tasks_here(
        pool: Option<&dyn Pool>,
        parallelism: Parallelism,
        rows: usize,
        elements: usize,
    ) -> Vec<Work> {
        let tasks = Mutex::new(Vec::new());
        let task = |part| tasks.lock().expect("no task panics").push(part);
        parallelism.reduce(pool, Work(0..rows), elements, task, |(), ()| ());
        let mut tasks = tasks.into_inner().expect("no task panics");
        tasks.sort_by_key(|task| task.0.start);
        tasks
    }

    /// A host's threads. It remembers whether it ran.
    struct Host(usize, AtomicBool);

    impl Pool for Host {
        fn threads(&self) -> usize {
            self.0
        }
        fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
            self.1.store(true, Ordering::Relaxed);
            (0..parts).for_each(part);
        }
    }

    #[test]
    fn as_many_tasks_as_are_worth_it_and_allowed() {
        for threads in [1, 2, 3, 7] {
            for (elements, worth) in [
                (0, 1),
                (TASK_ELEMENTS, 1),
                (2 * TASK_ELEMENTS - 1, 1),
                (2 * TASK_ELEMENTS, 2),
                (5 * TASK_ELEMENTS, 5),
                (100 * TASK_ELEMENTS, 100),
            ] {
                for rows in [0, 1, 2, 4, 5, 100] {
                    for (parallelism, most) in [
                        (Parallelism::Serial, 1),
                        (Parallelism::Auto, usize::MAX),
                        (Parallelism::AtMost(0), 1),
                        (Parallelism::AtMost(1), 1),
                        (Parallelism::AtMost(3), 3),
                    ] {
                        let threads = if cfg!(feature = "rayon") { threads } else { 1 };
                        let expected = worth.min(most).min(rows).min(threads).max(1);
                        let got = tasks(parallelism, threads, rows, elements).len();
                        let what = (parallelism, threads, rows, elements);
                        assert_eq!(got, expected, "{what:?}");
                        let may = worth.min(most) > 1;
                        assert_eq!(parallelism.may_fork(elements), may, "{what:?}");
                    }
                }
            }
        }
    }

    /// A test's own thread belongs to no pool: its calls fork from a mebi of elements on, in the global pool.
    #[test]
    fn a_call_from_outside_of_the_pool_forks_where_it_pays_to_wake_workers() {
        let threads = if cfg!(feature = "rayon") { rayon::current_num_threads() } else { 1 };
        for (parallelism, most) in
            [(Parallelism::Serial, 1), (Parallelism::Auto, 100), (Parallelism::AtMost(2), 2)]
        {
            for (elements, expected) in [
                (2 * TASK_ELEMENTS, 1),
                (OUTSIDE_ELEMENTS - 1, 1),
                (OUTSIDE_ELEMENTS, (OUTSIDE_ELEMENTS / TASK_ELEMENTS).min(most).min(threads)),
                (100 * TASK_ELEMENTS, most.min(threads)),
            ] {
                let got = tasks_here(None, parallelism, 100, elements).len();
                assert_eq!(got, expected, "{parallelism:?}, {elements} elements");
                let forks = parallelism != Parallelism::Serial && elements >= OUTSIDE_ELEMENTS;
                assert_eq!(parallelism.forks(None, elements), forks, "{parallelism:?}, {elements}");
            }
        }
    }

    /// A host's pool counts as awake. One of a single thread is left alone: the calling thread does the work.
    #[test]
    fn a_hosts_pool_runs_what_is_worth_two_of_its_threads() {
        for threads in [0, 1, 2, 3, 7] {
            for (elements, worth) in [(2 * TASK_ELEMENTS - 1, 1), (2 * TASK_ELEMENTS, 2)] {
                let host = Host(threads, AtomicBool::new(false));
                let got = tasks_here(Some(&host), Parallelism::Auto, 100, elements).len();
                let expected = threads.clamp(1, worth);
                let what = (threads, elements);
                assert_eq!(got, expected, "{what:?}");
                assert_eq!(host.1.into_inner(), expected > 1, "{what:?}");
            }
        }
    }

    /// Results of tasks are merged in the order of the rows, however many there are.
    #[test]
    fn results_are_merged_in_order() {
        for threads in [1, 2, 3, 7] {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            for rows in [0, 1, 2, 23, 4099] {
                let all = pool.install(|| {
                    Parallelism::Auto.reduce(
                        None,
                        Work(0..rows),
                        usize::MAX,
                        |part: Work| part.0.collect::<Vec<_>>(),
                        |low, high| [low, high].concat(),
                    )
                });
                assert!(all.into_iter().eq(0..rows), "{rows} rows, {threads} threads");
            }
        }
    }

    /// Every row is in one task; tasks are about as long as each other, and begin where a group does if they can.
    #[test]
    fn tasks_cover_the_rows_evenly() {
        for threads in [2, 3, 5, 7, 16] {
            for rows in [1, 7, 16, 23, 39, 40, 41, 100, 127, 128, 129, 1000, 4099] {
                let tasks = tasks(Parallelism::Auto, threads, rows, usize::MAX);
                let (count, mut end) = (tasks.len(), 0);
                let (fewest, grouped) = (rows / count, rows >= CUT_ROWS * count);
                for Work(task) in tasks {
                    assert_eq!(task.start, end, "{rows} rows in {count} tasks");
                    end = task.end;
                    let (least, most) = if grouped {
                        assert!(task.start.is_multiple_of(CUT_ROWS), "{rows}, {count}: {task:?}");
                        (fewest.saturating_sub(CUT_ROWS), fewest + 2 * CUT_ROWS)
                    } else {
                        (fewest, fewest + 1)
                    };
                    let len = task.len();
                    assert!((least..=most).contains(&len), "{rows}, {count}: {task:?}");
                }
                assert_eq!(end, rows, "{rows} rows in {count} tasks");
            }
        }
    }
}
