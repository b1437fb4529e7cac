//! The tree of `kernels/merge/cascade.rs` over blocks that are shared between threads.
//!
//! The results of blocks are merged in one tree, which splits at the largest power of two below the number of blocks. It
//! says in which order they are added, and so which bits come out. A task has a range of the blocks, anywhere. It can merge
//! what lies within its range: whole subtrees of 2^k blocks that begin at a multiple of 2^k, at most two of each size. These
//! are its segments.
//!
//! The segments of neighbouring ranges become those of both: the subtrees of the second are appended to those of the first,
//! and siblings are merged as they meet. Every merge is one of the tree. So any cut into ranges, put together in any pairs,
//! gives the same bits, and tasks can be of equal length. Cutting along the tree itself would give one task up to all of it.
//!
//! No memory is allocated: the subtrees of a range grow in size and then shrink, so that there are at most two for each bit
//! of the number of blocks.
#![forbid(unsafe_code)]

use super::cascade::Merge;

/// The results of a range of blocks, merged as far as the tree of all blocks has it.
#[derive(Debug)]
pub(crate) struct Segments<T> {
    trees: [T; MOST_TREES],
    /// The binary logarithm of the number of blocks of each tree.
    levels: [u8; MOST_TREES],
    count: usize,
    /// The block after the range.
    end: usize,
}

/// Enough for `isize::MAX` bytes of f32 in blocks of 1024: two trees of each of 52 sizes.
const MOST_TREES: usize = 104;

impl<T: Merge> Segments<T> {
    /// Of no blocks; the next one that is pushed is that with index `first`.
    #[inline(always)]
    pub(crate) fn new(first: usize) -> Self {
        Self { trees: [T::EMPTY; MOST_TREES], levels: [0; MOST_TREES], count: 0, end: first }
    }

    /// Adds the result of the next block.
    #[inline(always)]
    pub(crate) fn push(&mut self, block: T) {
        self.push_tree(block, 0);
    }

    /// Adds the result of the next 2^level blocks. They begin at a multiple of that.
    #[inline(always)]
    fn push_tree(&mut self, tree: T, level: u8) {
        let (mut tree, mut level, mut start) = (tree, level, self.end);
        self.end += 1 << level;
        // A tree that begins at an odd multiple of its size is the second of two siblings.
        while self.count > 0 && self.levels[self.count - 1] == level && start >> level & 1 == 1 {
            self.count -= 1;
            tree = self.trees[self.count].merged(tree);
            start -= 1 << level;
            level += 1;
        }
        self.trees[self.count] = tree;
        self.levels[self.count] = level;
        self.count += 1;
    }

    /// Those of two ranges, of which `other`'s begins where this one's ends.
    pub(crate) fn merged(mut self, other: Self) -> Self {
        for (&tree, &level) in other.trees.iter().zip(&other.levels).take(other.count) {
            self.push_tree(tree, level);
        }
        self
    }

    /// The result of all blocks, if the range begins at the first one.
    pub(crate) fn finish(&self) -> T {
        let trees = &self.trees[..self.count];
        let merged = trees.iter().copied().rev().reduce(|later, earlier| earlier.merged(later));
        merged.unwrap_or(T::EMPTY)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cascade::Cascade;
    use super::*;

    fn range(blocks: &[f64], start: usize, end: usize) -> Segments<f64> {
        let mut segments = Segments::new(start);
        blocks[start..end].iter().for_each(|&block| segments.push(block));
        segments
    }

    /// Law: three ranges, put together in either order, give the bits of the cascade.
    #[test]
    fn any_cut_gives_the_bits_of_the_cascade() {
        // Numbers whose sum depends on the order.
        let blocks: Vec<f64> = (1..=37_u32).map(|i| 1.0 / f64::from(i * i % 101)).collect();
        for n in 0..=blocks.len() {
            let mut cascade = Cascade::new();
            blocks[..n].iter().for_each(|&block| cascade.push(block));
            let expected = cascade.finish();
            for a in 0..=n {
                for b in a..=n {
                    let parts = || [(0, a), (a, b), (b, n)].map(|(s, e)| range(&blocks, s, e));
                    let [first, second, third] = parts();
                    let from_left = first.merged(second).merged(third).finish();
                    let [first, second, third] = parts();
                    let from_right = first.merged(second.merged(third)).finish();
                    assert_eq!(from_left.to_bits(), expected.to_bits(), "{n} blocks, {a}, {b}");
                    assert_eq!(from_right.to_bits(), expected.to_bits(), "{n} blocks, {a}, {b}");
                }
            }
        }
    }

    /// The most trees that a range can have, and one block more at either end.
    #[test]
    fn the_longest_range_fits() {
        // 51 where addresses have 64 bits.
        const SIZES: u8 = (usize::BITS - 13) as u8;
        let mut segments = Segments::new(1);
        for level in 0..SIZES {
            segments.push_tree(1.0, level);
        }
        for level in (0..SIZES).rev() {
            segments.push_tree(1.0, level);
        }
        let sizes = usize::from(SIZES);
        assert_eq!((segments.count, segments.end), (2 * sizes, (2 << sizes) - 1));
        let all = range(&[1.0], 0, 1).merged(segments);
        assert_eq!((all.count, all.finish()), (sizes + 1, 2.0 * sizes as f64 + 1.0));
    }
}
