//! The host's threads: a function that C passes, which may be wrong without harm.
//!
//! The host is passed a ticket in place of an address. Tickets are numbers, each used for one call, and the table that they
//! stand in is never freed. So a part that the host runs when the call has long returned finds that its ticket is void. What
//! skips and repeats parts do is seen to in `run/pool.rs`.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::panics::panic_message;
use super::status::{Fault, unknown};
use crate::run::pool::Pool;

/// A part of the work of a call, for a host's thread: to be called with the `work` that the host was passed, and the number of
/// the part.
pub type evenkeel_part = Option<unsafe extern "C" fn(work: *mut c_void, index: usize)>;

/// A host's loop over threads: calls `part(work, i)` for every i from 0 up to `parts`, each once, on any threads, in any order,
/// and returns when all these calls have returned. `context` is `pool_context`. `parts` is at least 2, and at most 64 and
/// `pool_threads`.
///
/// It returns normally: it throws no exception and does not jump (longjmp) over the call. What it leaves out is done by the
/// calling thread, what it calls twice is done once, and calls after its return do nothing, as long as the library is loaded.
pub type evenkeel_parallel_for = Option<
    unsafe extern "C" fn(
        context: *mut c_void,
        parts: usize,
        part: evenkeel_part,
        work: *mut c_void,
    ),
>;

/// A pool of the host.
pub(super) struct HostPool {
    parallel_for: unsafe extern "C" fn(*mut c_void, usize, evenkeel_part, *mut c_void),
    context: *mut c_void,
    threads: usize,
}

// SAFETY: `context` is passed on and never looked at; that `parallel_for` may be called is the host's promise.
unsafe impl Sync for HostPool {}

impl HostPool {
    #[inline(always)]
    pub(super) fn new(
        parallel_for: evenkeel_parallel_for,
        context: *mut c_void,
        threads: usize,
    ) -> Result<Option<Self>, Box<Fault>> {
        match (parallel_for, threads) {
            (None, 0) => Ok(None),
            (None, got) => Err(unknown("pool_threads", "0 without parallel_for", got as u64)),
            (Some(_), 0) => Err(unknown("pool_threads", "at least 1 beside parallel_for", 0)),
            (Some(parallel_for), threads) => Ok(Some(Self { parallel_for, context, threads })),
        }
    }
}

impl Pool for HostPool {
    fn threads(&self) -> usize {
        self.threads
    }

    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        // Where more calls are under way than there are tickets, the calling thread does what the pool leaves out: everything.
        let Some(open) = Open::new(part) else { return };
        // SAFETY: the host's promise; `run_part` is safe with any numbers.
        unsafe { (self.parallel_for)(self.context, parts, Some(run_part), open.ticket()) };
    }
}

/// Runs a part of the call that a ticket was made for, unless that has ended.
unsafe extern "C" fn run_part(work: *mut c_void, index: usize) {
    let Some(entered) = Entered::new(work.addr()) else { return };
    // A part that panics is never done, which its call finds. No panic may unwind into the host.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| entered.part()(index))) {
        drop(panic_message(payload));
    }
}

/// A part of a call's work, as the table keeps it: for a shorter time than its type says.
type Part = dyn Fn(usize) + Sync + 'static;

/// A place for the work of one call.
struct Slot {
    /// [`TAKEN`], [`OPEN`], how many threads are within, and how many calls the slot has had.
    state: AtomicU64,
    /// Where `state` is open: a closure that lives until `state` is closed and nobody is within.
    part: UnsafeCell<Option<*const Part>>,
}

// SAFETY: `part` is written by the one call that has taken the slot, while it is closed and nobody is within; it is read by
// threads that are within. What it points to may be called from any thread.
unsafe impl Sync for Slot {}

const SLOTS: usize = 64;
static TABLE: [Slot; SLOTS] =
    [const { Slot { state: AtomicU64::new(0), part: UnsafeCell::new(None) } }; SLOTS];

/// One thread within.
const WITHIN: u64 = 1;
/// All threads within, of which there are fewer than 2^24.
const ALL_WITHIN: u64 = (1 << 24) - 1;
const OPEN: u64 = 1 << 24;
const TAKEN: u64 = 1 << 25;
/// One call.
const CALL: u64 = 1 << 26;

/// The ticket of a slot in a state: the number of its calls, and which slot it is.
const fn ticket(slot: usize, state: u64) -> usize {
    ((state / CALL) as usize).wrapping_mul(SLOTS) + slot
}

/// A slot that is open. When it goes out of scope it is closed, and nobody is within.
struct Open {
    slot: usize,
    state: u64,
}

impl Open {
    fn new(part: &(dyn Fn(usize) + Sync)) -> Option<Self> {
        // Begins behind the last one, since that is the least likely to be taken.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let first = NEXT.fetch_add(1, Ordering::Relaxed);
        let slot = (0..SLOTS).map(|i| first.wrapping_add(i) % SLOTS).find(|&slot| {
            let state = &TABLE[slot].state;
            state
                .fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| {
                    (state & TAKEN == 0).then_some(state.wrapping_add(CALL) | TAKEN)
                })
                .is_ok()
        })?;
        // SAFETY: only the lifetime changes. `drop` returns when nobody uses it any more.
        let part = unsafe { mem::transmute::<&(dyn Fn(usize) + Sync), &'static Part>(part) };
        // SAFETY: the slot is this call's, closed, and nobody is within.
        unsafe { *TABLE[slot].part.get() = Some(part) };
        let state = TABLE[slot].state.fetch_or(OPEN, Ordering::Release);
        Some(Self { slot, state })
    }

    /// What the host passes back.
    fn ticket(&self) -> *mut c_void {
        core::ptr::without_provenance_mut(ticket(self.slot, self.state))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let state = &TABLE[self.slot].state;
        state.fetch_and(!OPEN, Ordering::Relaxed);
        // A host that returns too early.
        while state.load(Ordering::Acquire) & ALL_WITHIN != 0 {
            std::thread::yield_now();
        }
        state.fetch_and(!TAKEN, Ordering::Release);
    }
}

/// A thread within an open slot.
struct Entered(usize);

impl Entered {
    fn new(given: usize) -> Option<Self> {
        let slot = given % SLOTS;
        let enter =
            |state| (state & OPEN != 0 && ticket(slot, state) == given).then_some(state + WITHIN);
        let state = &TABLE[slot].state;
        state.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).ok().map(|_| Self(slot))
    }

    /// The work of the call.
    fn part(&self) -> &(dyn Fn(usize) + Sync) {
        // SAFETY: the slot was open when this thread entered, so that there is a closure, and the call waits for it to leave.
        unsafe { (*TABLE[self.0].part.get()).map_or(&|_| (), |part| &*part) }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        TABLE[self.0].state.fetch_sub(WITHIN, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::split::Split;
    use crate::run::parallel::Parallelism;

    /// Calls each part, and returns.
    unsafe extern "C" fn in_turn(
        _: *mut c_void,
        parts: usize,
        part: evenkeel_part,
        work: *mut c_void,
    ) {
        let part = part.expect("a part");
        // SAFETY: `part` is safe with any numbers.
        (0..parts).for_each(|i| unsafe { part(work, i) });
    }

    struct Rows(usize);

    impl Split for Rows {
        fn rows(&self) -> usize {
            self.0
        }
        fn split_at(self, at: usize) -> (Self, Self) {
            (Self(at), Self(self.0 - at))
        }
    }

    /// A panic does not unwind into the host, and its call finds it. The slot is free again.
    #[test]
    fn a_panic_in_a_part_is_found_by_the_call() {
        let pool = HostPool { parallel_for: in_turn, context: core::ptr::null_mut(), threads: 4 };
        for _ in 0..2 * SLOTS {
            let begun = AtomicUsize::new(0);
            let call = AssertUnwindSafe(|| {
                let task = |_| {
                    assert!(begun.fetch_add(1, Ordering::Relaxed) != 1, "the second part panics")
                };
                let merge = |(), ()| ();
                Parallelism::Auto.reduce(Some(&pool), Rows(100), usize::MAX, task, merge);
            });
            assert!(catch_unwind(call).is_err(), "no panic");
        }
        let free =
            |slot: &Slot| slot.state.load(Ordering::Relaxed) & (TAKEN | OPEN | ALL_WITHIN) == 0;
        assert!(TABLE.iter().all(free), "a slot is taken still");
    }
}
