//! The host's pool: right ones give the bits of Rust, and wrong ones do no harm.

use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use evenkeel::capi::*;

use crate::arguments::{Call, Owned};
use crate::calls::CALLS;
use crate::registry::{Memory, OPERATIONS};
use crate::*;

type Part = unsafe extern "C" fn(*mut c_void, usize);
type ParallelFor = unsafe extern "C" fn(*mut c_void, usize, evenkeel_part, *mut c_void);

/// What a host passes on to its threads.
#[derive(Clone, Copy)]
struct Work(Part, usize);

impl Work {
    fn new(part: evenkeel_part, work: *mut c_void) -> Self {
        Self(part.unwrap(), work.addr())
    }
    fn run(self, i: usize) {
        unsafe { (self.0)(std::ptr::without_provenance_mut(self.1), i) }
    }
}

/// Counts its calls in its context.
fn count(context: *mut c_void) {
    unsafe { &*context.cast::<AtomicUsize>() }.fetch_add(1, Relaxed);
}

unsafe extern "C" fn threads(
    context: *mut c_void,
    parts: usize,
    part: evenkeel_part,
    work: *mut c_void,
) {
    count(context);
    let work = Work::new(part, work);
    thread::scope(|scope| (0..parts).for_each(|i| drop(scope.spawn(move || work.run(i)))));
}

/// Skips parts, repeats others, and makes some up.
unsafe extern "C" fn careless(
    context: *mut c_void,
    parts: usize,
    part: evenkeel_part,
    work: *mut c_void,
) {
    count(context);
    let work = Work::new(part, work);
    thread::scope(|scope| {
        for i in (0..parts + 9).step_by(2).chain([0, 0, usize::MAX]) {
            scope.spawn(move || work.run(i));
        }
    });
}

/// Does nothing, and remembers the work.
static LATE: Mutex<Vec<(Work, usize)>> = Mutex::new(Vec::new());
unsafe extern "C" fn late(
    context: *mut c_void,
    parts: usize,
    part: evenkeel_part,
    work: *mut c_void,
) {
    count(context);
    LATE.lock().unwrap().push((Work::new(part, work), parts));
}

/// Returns while its threads are at work.
static RUNNING: Mutex<Vec<thread::JoinHandle<()>>> = Mutex::new(Vec::new());
unsafe extern "C" fn early(
    context: *mut c_void,
    parts: usize,
    part: evenkeel_part,
    work: *mut c_void,
) {
    count(context);
    let work = Work::new(part, work);
    let spawn = |i| thread::spawn(move || work.run(i));
    RUNNING.lock().unwrap().extend((0..parts).map(spawn));
}

/// The status, what is written, and how often the pool was called.
fn call(row: usize, parallel_for: ParallelFor) -> (evenkeel_status, Vec<u64>, usize) {
    let (operation, values) = (&OPERATIONS[row], values((200, 768)));
    let setting = setting(values.rows);
    let memory = Memory::new(operation, &values, Place::New, &["gamma", "stats"]);
    let mut owned = Owned::new(operation, &memory);
    let given = owned.given(operation, &memory);
    let calls = AtomicUsize::new(0);
    let execution = evenkeel_execution {
        parallel_for: Some(parallel_for),
        pool_context: (&raw const calls).cast_mut().cast(),
        pool_threads: 3,
        ..evenkeel_execution::default()
    };
    let status =
        (CALLS[row].call)(&Call { execution: &raw const execution, ..Call::new(&setting, &given) });
    (status, owned.written(&memory), calls.into_inner())
}

#[test]
fn pools_of_every_kind_give_the_bits_of_rust() {
    let mut with_pool = 0;
    for (row, operation) in OPERATIONS.iter().enumerate() {
        let values = values((200, 768));
        let mut memory = Memory::new(operation, &values, Place::New, &["gamma", "stats"]);
        memory.call(operation, &setting(values.rows)).unwrap();
        let expected = memory.written(operation.name);
        for pool in [threads as ParallelFor, careless, late, early] {
            let (status, written, calls) = call(row, pool);
            assert_eq!(status, EVENKEEL_OK, "{}: {}", operation.name, message());
            assert!(written == expected, "{}: other bits", operation.name);
            with_pool += calls;
        }
    }
    assert!(with_pool > 0, "no pool was used");
    RUNNING.lock().unwrap().drain(..).for_each(|thread| thread.join().unwrap());
    // Everything that these calls used has been freed.
    for (work, parts) in LATE.lock().unwrap().drain(..) {
        (0..parts).for_each(|i| work.run(i));
    }
    // Numbers that no call was given.
    for work in [0, 1, 64, usize::MAX] {
        Work(unsafe_part(), work).run(0);
    }
}

/// The function that hosts are passed.
fn unsafe_part() -> Part {
    static PART: Mutex<Option<Part>> = Mutex::new(None);
    unsafe extern "C" fn keep(_: *mut c_void, _: usize, part: evenkeel_part, _: *mut c_void) {
        *PART.lock().unwrap() = part;
    }
    call(0, keep);
    PART.lock().unwrap().unwrap()
}

/// Many calls at a time, more than have places of their own.
#[test]
fn more_pools_than_there_are_places_for() {
    unsafe extern "C" fn slow(
        context: *mut c_void,
        parts: usize,
        part: evenkeel_part,
        work: *mut c_void,
    ) {
        count(context);
        thread::sleep(std::time::Duration::from_millis(200));
        (0..parts).for_each(|i| Work::new(part, work).run(i));
    }
    let (_, expected, _) = call(0, threads);
    thread::scope(|scope| {
        for _ in 0..80 {
            scope.spawn(|| {
                let (status, written, _) = call(0, slow);
                assert!(status == EVENKEEL_OK && written == expected, "{}", message());
            });
        }
    });
}
