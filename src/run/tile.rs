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

/// f32 of a cache line.
const LINE: usize = 16;

/// Some f32 from the start of a cache line on: a vector of AVX-512 that is not aligned lies in two of them. Their values are those of
/// an earlier call.
#[derive(Debug)]
pub(crate) struct Tile {
    memory: Vec<f32>,
    start: usize,
    len: usize,
}

impl Tile {
    /// At least so many elements, of memory that an earlier call has given back if there is any.
    pub(crate) fn new(len: usize) -> Result<Self, Error> {
        // A thread that ends has no such memory any more.
        let mut memory =
            FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten().unwrap_or_default();
        memory::grow(&mut memory, 0.0, len.saturating_add(LINE - 1))?;
        // There may be no such offset: then any place will do.
        let start = memory.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE - 1);
        Ok(Self { memory, start, len })
    }

    /// The elements of [`Rooms`] of so many elements each.
    pub(crate) fn rooms(lens: impl IntoIterator<Item = usize>) -> Result<Self, Error> {
        Self::new(lens.into_iter().map(|len| len.next_multiple_of(LINE)).sum())
    }
}

/// Memory that is cut into rooms, each of which begins at a cache line.
#[derive(Debug)]
pub(crate) struct Rooms<'a>(&'a mut [f32]);

impl<'a> Rooms<'a> {
    pub(crate) fn of(tile: &'a mut Tile) -> Self {
        Self(tile)
    }

    /// Room for so many elements.
    pub(crate) fn next(&mut self, len: usize) -> &'a mut [f32] {
        let (room, rest) = core::mem::take(&mut self.0).split_at_mut(len.next_multiple_of(LINE));
        self.0 = rest;
        &mut room[..len]
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
        &self.memory[self.start..][..self.len]
    }
}

impl DerefMut for Tile {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.start..][..self.len]
    }
}
