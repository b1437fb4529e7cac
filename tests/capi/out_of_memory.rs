//! A process that is out of memory: a status, nothing written, and the process lives on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;

use evenkeel::capi::*;

use crate::arguments::{Call, Owned};
use crate::calls::CALLS;
use crate::registry::{Memory, OPERATIONS};
use crate::*;

/// Enough for an error and its message.
const LITTLE: usize = 100;

/// The system's allocator, which fails where an allocation is too large for the thread.
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
fn without_memory_a_call_returns_an_error_or_needs_none() {
    let mut without = Vec::new();
    for (row, operation) in OPERATIONS.iter().enumerate() {
        for options in option_sets(operation) {
            // Without scratch, the call allocates it.
            if options.contains(&"scratch") {
                continue;
            }
            let values = values((17, 9));
            let setting = setting(values.rows);
            let memory = Memory::new(operation, &values, Place::New, &options);
            let mut owned = Owned::new(operation, &memory);
            let before = owned.clone();
            let given = owned.given(operation, &memory);
            let call = Call::new(&setting, &given);
            LARGEST.set(LITTLE);
            let status = (CALLS[row].call)(&call);
            LARGEST.set(usize::MAX);
            if status == EVENKEEL_OK {
                continue;
            }
            assert_eq!(status, EVENKEEL_OUT_OF_MEMORY, "{}: {}", operation.name, message());
            assert!(message().starts_with("no memory for "), "{}: {}", operation.name, message());
            for (own, before) in owned.0.iter().zip(&before.0) {
                assert!(own.words == before.words, "{}: {} was written", operation.name, own.name);
            }
            without.push(CALLS[row].function);
            assert_eq!((CALLS[row].call)(&call), EVENKEEL_OK, "{}: {}", operation.name, message());
        }
    }
    for name in [
        "evenkeel_column_moments",
        "evenkeel_batch_norm_training",
        "evenkeel_instance_norm",
        "evenkeel_standard_scaler_partial_fit",
    ] {
        assert!(without.contains(&name), "{name} needs no memory? {without:?}");
    }
}
