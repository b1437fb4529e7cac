//! The rows of the registry.
#![forbid(unsafe_code)]

mod arguments;
mod buffers;
mod calls;
mod channel_gradients;
mod channels;
mod elementwise;
mod moments;
mod normalize_scale_shift;
mod preprocess;
mod row_gradients;
mod rows;

use evenkeel::{Error, InOut};

pub use arguments::{ARGUMENTS, Argument};

use super::{Bag, Buffer, Operation, Setting, Takes};

/// Every operation.
pub static OPERATIONS: &[Operation] = &all();

const PARTS: [&[Operation]; 8] = [
    rows::ROWS,
    row_gradients::ROWS,
    normalize_scale_shift::ROWS,
    channel_gradients::ROWS,
    channels::ROWS,
    elementwise::ROWS,
    moments::ROWS,
    preprocess::ROWS,
];

const fn all() -> [Operation; count()] {
    let mut all = [PARTS[0][0]; count()];
    let (mut at, mut part, mut row) = (0, 0, 0);
    while at < all.len() {
        if row == PARTS[part].len() {
            (part, row) = (part + 1, 0);
        } else {
            all[at] = PARTS[part][row];
            (at, row) = (at + 1, row + 1);
        }
    }
    all
}

const fn count() -> usize {
    let (mut count, mut part) = (0, 0);
    while part < PARTS.len() {
        (count, part) = (count + PARTS[part].len(), part + 1);
    }
    count
}

/// A row whose options all go together.
const fn operation(
    name: &'static str,
    takes: Takes,
    buffers: &'static [Buffer],
    run: fn(&Setting, Option<InOut<'_, '_>>, &mut Bag<'_>) -> Result<(), Error>,
) -> Operation {
    Operation { name, takes, buffers, excludes: &[], needs: &[], run }
}

impl Operation {
    const fn excludes(mut self, excludes: &'static [(&'static str, &'static str)]) -> Self {
        self.excludes = excludes;
        self
    }
    const fn needs(mut self, needs: &'static [(&'static str, &'static [&'static str])]) -> Self {
        self.needs = needs;
        self
    }
}
