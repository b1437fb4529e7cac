//! Elements that start at a cache line, as engines allocate them.

use std::ops::{Deref, DerefMut};

const LINE: usize = 64;

pub struct Buffer {
    elements: Vec<f32>,
    start: usize,
}

impl Buffer {
    /// Allocated and touched.
    pub fn new(len: usize, element: impl Fn(usize) -> f32) -> Self {
        let mut elements: Vec<f32> = Vec::with_capacity(len + LINE / size_of::<f32>());
        let start = elements.as_ptr().align_offset(LINE);
        elements.resize(start, 0.0);
        elements.extend((0..len).map(element));
        Self { elements, start }
    }

    /// The vector, with its elements forgotten: for those who append to spare capacity. As many elements as
    /// before land where those were.
    pub fn cleared(&mut self) -> &mut Vec<f32> {
        self.elements.truncate(self.start);
        &mut self.elements
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.elements[self.start..]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.elements[self.start..]
    }
}
