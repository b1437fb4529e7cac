//! What dropout keeps, for kernels that go through elements in order and do more with them than dropout does.
//!
//! * **A block of the stream is drawn at a time**, as bits, into a ring of two blocks that lies in L1. So a row may begin anywhere in
//!   a block, and nothing is drawn twice: seeding costs as much as drawing for 250 elements, and a row may have fewer.
//! * **A given mask takes the same way**, 512 bytes at a time.
#![forbid(unsafe_code)]

use super::dropout::{Bytes, Choice, Chooser, Drawn, GROUP, bits};
use super::stream::{STREAM_BLOCK, Threshold};
use crate::mask::Mask;
use crate::simd::{Keep, Kernel, Simd};

/// Elements that are looked at between two calls of [`Choices::reach`], at most.
pub(crate) const REACH: usize = STREAM_BLOCK as usize;

/// Bytes of a block's bits.
const BLOCK_BYTES: usize = REACH / 8;

/// Bytes of a group's bits: what is read at once, and what follows the ring so that no read has to be cut.
const WORD: usize = GROUP / 8;

/// Which elements are kept.
pub(crate) struct Choices<'a> {
    choice: Choice<'a>,
    /// What is added to the number of an element to get its index in the stream.
    offset: u64,
    /// The index of the last element.
    last: u64,
    /// The block that is made next.
    next: u64,
    /// A bit an element of two blocks, and the first ones again.
    ring: [u8; 2 * BLOCK_BYTES + WORD],
}

impl<'a> Choices<'a> {
    /// For elements `start` up to `end`, of which there is one at least.
    pub(crate) fn new(choice: Choice<'a>, start: usize, end: usize) -> Self {
        assert!(start < end, "there are elements");
        let offset = match choice {
            Choice::Stream { offset, .. } => offset,
            Choice::Mask(_) => 0,
        };
        let first = offset + start as u64;
        let last = first + (end - start - 1) as u64;
        Self { choice, offset, last, next: first / STREAM_BLOCK, ring: [0; _] }
    }

    /// The same for every element.
    pub(crate) fn all(keep: bool) -> Self {
        let mut all = Self {
            choice: Choice::Mask(Mask::Packed(&[])),
            offset: 0,
            last: 0,
            next: u64::MAX,
            ring: [0; _],
        };
        all.fill(keep);
        all
    }

    /// Keeps every element, or none.
    pub(crate) fn fill(&mut self, keep: bool) {
        self.ring.fill(if keep { u8::MAX } else { 0 });
    }

    /// Makes sure of elements `start` up to `end`, at most [`REACH`] of them. Nothing before `start` is looked at any more.
    #[inline(always)]
    pub(crate) fn reach<S: Simd>(&mut self, token: S, start: usize, end: usize) {
        let last = (self.offset + (end - 1) as u64) / STREAM_BLOCK;
        if last >= self.next {
            let first = (self.offset + start as u64) / STREAM_BLOCK;
            token.outline(MakeBlocks { choices: self, first, last });
        }
    }

    /// Which of sixteen elements are kept, the first of them element `at`.
    #[inline(always)]
    pub(crate) fn keep<S: Simd>(&self, token: S, at: usize) -> S::Keep {
        S::Keep::from_bits(token, self.bits(at) as u16)
    }

    /// A bit each for elements from `at` on, of which the first 25 count.
    #[inline(always)]
    pub(crate) fn bits(&self, at: usize) -> u32 {
        let index = self.offset.wrapping_add(at as u64) as usize;
        let byte = index / 8 % (2 * BLOCK_BYTES);
        let mut word = [0; WORD];
        word.copy_from_slice(&self.ring[byte..byte + WORD]);
        u32::from_le_bytes(word) >> (index % 8)
    }
}

/// Makes the bits of blocks that are not made yet, up to the last.
struct MakeBlocks<'w, 'a> {
    choices: &'w mut Choices<'a>,
    first: u64,
    last: u64,
}

impl Kernel for MakeBlocks<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { choices, first, last } = self;
        let mut block = choices.next.max(first);
        while block <= last {
            let at = (block % 2) as usize * BLOCK_BYTES;
            // The last element may be in an earlier block only where nothing is looked at.
            let rest = choices.last.saturating_sub(block * STREAM_BLOCK);
            let groups = (rest.min(STREAM_BLOCK - 1) as usize + 1).div_ceil(GROUP);
            let bytes = &mut choices.ring[at..at + BLOCK_BYTES];
            let words = &mut bytes.as_chunks_mut().0[..groups];
            match choices.choice {
                Choice::Stream { seed, threshold: Threshold::Bits16(least), .. } => {
                    let least = i32::from(least);
                    choose(token, &mut Drawn::<S, 16>::new(token, seed, block, least), words);
                }
                Choice::Stream { seed, threshold: Threshold::Bits32(least), .. } => {
                    choose(token, &mut Drawn::<S, 32>::new(token, seed, block, least), words);
                }
                Choice::Mask(Mask::Packed(mask)) => {
                    let mask = &mask[block as usize * BLOCK_BYTES..];
                    let len = mask.len().min(words.as_flattened().len());
                    words.as_flattened_mut()[..len].copy_from_slice(&mask[..len]);
                }
                Choice::Mask(Mask::Bytes(mask)) => {
                    let bytes = &mask[block as usize * REACH..];
                    choose(token, &mut Bytes { bytes }, words);
                }
            }
            if at == 0 {
                let (ring, first_again) = choices.ring.split_at_mut(2 * BLOCK_BYTES);
                first_again.copy_from_slice(&ring[..WORD]);
            }
            block += 1;
        }
        choices.next = block;
    }
}

/// Writes the bits of groups.
#[inline(always)]
fn choose<S: Simd>(token: S, chooser: &mut impl Chooser<S>, words: &mut [[u8; WORD]]) {
    for word in words {
        *word = bits::<S>(chooser.next(token)).to_le_bytes();
    }
}
