//! A process that is out of memory: a status, nothing written, and the process lives on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;

use evenkeel::capi::evenkeel_status::*;

use crate::message;
use crate::refused::entries;

/// Enough for an error and its message.
const LITTLE: usize = 100;

/// The system's allocator, which refuses what is too much for the thread.
struct Limited;

#[global_allocator]
static ALLOCATOR: Limited = Limited;

thread_local! {
    /// Without a destructor and made at compile time, so that using it allocates nothing.
    static LARGEST: Cell<usize> = const { Cell::new(usize::MAX) };
}

unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST.get() {
            return null_mut();
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[test]
fn without_memory_a_call_is_refused_or_needs_none() {
    let mut refused = Vec::new();
    for mut entry in entries() {
        let mut given = entry.given();
        // Without scratch, the call allocates it.
        for (given, arg) in given.iter_mut().zip(&entry.args) {
            if arg.name == "scratch" {
                *given = (null_mut(), 0);
            }
        }
        let before: Vec<_> = entry.args.iter().map(|arg| arg.memory.clone()).collect();
        LARGEST.set(LITTLE);
        let status = (entry.call)(&given);
        LARGEST.set(usize::MAX);
        if status == EVENKEEL_OK {
            continue;
        }
        assert_eq!(status, EVENKEEL_OUT_OF_MEMORY, "{}: {}", entry.name, message());
        assert!(message().starts_with("no memory for "), "{}: {}", entry.name, message());
        for (arg, before) in entry.args.iter().zip(&before) {
            assert_eq!(&arg.memory, before, "{}: {} was written", entry.name, arg.name);
        }
        refused.push(entry.name);
        assert_eq!((entry.call)(&given), EVENKEEL_OK, "{}: {}", entry.name, message());
    }
    for name in [
        "evenkeel_column_moments_f32",
        "evenkeel_batch_norm_training_f32",
        "evenkeel_instance_norm_masked_f32",
        "evenkeel_standard_scaler_partial_fit_f32",
    ] {
        assert!(refused.contains(&name), "{name} needs no memory? refused: {refused:?}");
    }
}
