//! Memory for elements that are widened to f32 before they are worked on: kept for the next call on the same thread.
#![forbid(unsafe_code)]

use core::cell::RefCell;
use core::ops::{Deref, DerefMut};

use crate::error::Error;
use crate::memory;

thread_local! {
    /// What calls on this thread have given back.
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// What is larger is not kept: 4 MiB.
const MOST_KEPT: usize = 1 << 20;

/// As many are kept on a thread at most: a call has one for parameters, and one for a task's rows.
const KEPT: usize = 2;

/// Some f32. Their values are those of an earlier call.
#[derive(Debug)]
pub(crate) struct Tile {
    memory: Vec<f32>,
    len: usize,
}

impl Tile {
    /// At least so many elements, of memory that an earlier call has given back if there is any.
    pub(crate) fn new(len: usize) -> Result<Self, Error> {
        // A thread that ends has no such memory any more.
        let mut memory =
            FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten().unwrap_or_default();
        memory::grow(&mut memory, 0.0, len)?;
        Ok(Self { memory, len })
    }
}

impl Drop for Tile {
    fn drop(&mut self) {
        if self.memory.capacity() > MOST_KEPT {
            return;
        }
        let memory = core::mem::take(&mut self.memory);
        // Without room for it, or on a thread that ends, it is freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT && free.try_reserve(1).is_ok() {
                free.push(memory);
            }
        });
    }
}

impl Deref for Tile {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Tile {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[..self.len]
    }
}
