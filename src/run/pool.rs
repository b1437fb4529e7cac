//! The host's own threads, in place of rayon's.
#![forbid(unsafe_code)]

use core::fmt;
use std::sync::Mutex;

use crate::kernels::split::{Split, cut};

/// Threads of a host: an engine that has a pool of its own lends it to a call
/// ([`NormArgs::pool`](crate::NormArgs::pool)), so that no second one competes with it.
///
/// The result has the same bits as with any other number of threads. A pool that does less than it should costs time and nothing
/// else: a part that it does not run is run by the calling thread, and a part that it runs twice is done once. If its
/// `run` panics, or keeps a part's panic to itself, the call panics.
///
/// An operation may call `run` several times, one after the other. Operations that take no arguments (`Dropout::mask`, those of
/// [`penalty`](crate::penalty) and [`preprocess`](crate::preprocess)) run in rayon's pool.
///
/// ```
/// use evenkeel::Pool;
///
/// /// A thread for each part: the simplest pool.
/// struct Threads(usize);
///
/// impl Pool for Threads {
///     fn threads(&self) -> usize {
///         self.0
///     }
///     fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
///         std::thread::scope(|scope| {
///             for i in 0..parts {
///                 scope.spawn(move || part(i));
///             }
///         });
///     }
/// }
/// ```
pub trait Pool: Sync {
    /// How many threads there are, the calling one among them if it takes part.
    fn threads(&self) -> usize;

    /// Calls `part(i)` for every i from 0 up to `parts`, each once, on any threads in any order, and returns when all calls
    /// have returned. `parts` is at most 64, at most [`threads`](Self::threads), and at least 2: what is for one thread runs on
    /// the calling one.
    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync));
}

impl fmt::Debug for dyn Pool + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool of {} threads", self.threads())
    }
}

/// The most parts of a call.
pub(crate) const MOST_PARTS: usize = 64;

/// A part of the work: not begun, begun, or done.
pub(crate) enum Part<W, T> {
    Waiting(W),
    Begun,
    Done(T),
}

impl<W, T> Part<W, T> {
    /// The work, if it has not been begun: it is then.
    fn take(&mut self) -> Option<W> {
        match core::mem::replace(self, Self::Begun) {
            Self::Waiting(work) => Some(work),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Does the work, if it has not been begun.
    pub(crate) fn run(&mut self, task: impl FnOnce(W) -> T) {
        if let Some(work) = self.take() {
            *self = Self::Done(task(work));
        }
    }

    /// What came of it, if it is done.
    pub(crate) fn result(self) -> Option<T> {
        match self {
            Self::Done(result) => Some(result),
            Self::Waiting(_) | Self::Begun => None,
        }
    }
}

/// Runs `task` on so many parts of `work`, at least one, and merges the results of neighbouring parts, that of the lower one first.
///
/// # Panics
///
/// If a task has panicked in a thread of the pool.
pub(crate) fn reduce<W: Split, T: Send>(
    pool: &dyn Pool,
    work: W,
    parts: usize,
    task: &(impl Fn(W) -> T + Sync),
    merge: &impl Fn(T, T) -> T,
) -> T {
    let parts = parts.min(MOST_PARTS);
    let slots: [Mutex<Part<W, T>>; MOST_PARTS] = core::array::from_fn(|_| Mutex::new(Part::Begun));
    let mut rest = work;
    for (i, slot) in slots.iter().enumerate().take(parts - 1) {
        let part;
        (part, rest) = {
            let at = cut(rest.rows(), 1, parts - i);
            rest.split_at(at)
        };
        *lock(slot) = Part::Waiting(part);
    }
    *lock(&slots[parts - 1]) = Part::Waiting(rest);

    let run = |i: usize| {
        let Some(slot) = slots.get(i) else { return };
        let work = lock(slot).take();
        if let Some(work) = work {
            let done = task(work);
            *lock(slot) = Part::Done(done);
        }
    };
    pool.run(parts, &run);
    // What the pool has left out.
    (0..parts).for_each(run);

    let results = slots.into_iter().take(parts).map(|slot| {
        let part = slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        part.result().unwrap_or_else(|| panic!("a task panicked in a thread of the pool"))
    });
    let merged = results.reduce(merge);
    merged.unwrap_or_else(|| unreachable!("there is at least one part"))
}

/// No task runs while a slot is locked, so that no panic poisons it.
fn lock<T>(slot: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
