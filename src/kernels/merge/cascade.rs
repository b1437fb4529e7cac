//! The results of blocks, merged in one fixed tree.
#![forbid(unsafe_code)]

use crate::welford::Moments;

/// What can be merged in a [`Cascade`].
pub(crate) trait Merge: Copy {
    /// The empty set.
    const EMPTY: Self;
    /// The set of both.
    fn merged(self, other: Self) -> Self;
}

impl Merge for Moments {
    const EMPTY: Self = Self::new();

    #[inline(always)]
    fn merged(mut self, other: Self) -> Self {
        self.merge(&other);
        // The mean of a block is one f64: a second one would hold nothing but the roundings of merges.
        self.mean_low = 0.0;
        self
    }
}

/// A plain sum: what `RmsNorm` merges.
impl Merge for f64 {
    const EMPTY: Self = 0.0;

    #[inline(always)]
    fn merged(self, other: Self) -> Self {
        self + other
    }
}

/// Merges the results of blocks in one fixed tree, in O(log n) memory.
///
/// The tree over n blocks is the one that splits at the largest power of two below n. It is fixed by
/// the number of blocks alone, so that any split of the blocks over threads can follow it. Levels
/// are merged as in a binary counter: after block `i`, as many merges as `i` has trailing ones.
pub(crate) struct Cascade<T> {
    levels: [T; LEVELS],
    blocks: usize,
}

/// Enough for `isize::MAX` bytes of f32 in blocks of 1024: 2^51 blocks.
const LEVELS: usize = 52;

impl<T: Merge> Cascade<T> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { levels: [T::EMPTY; LEVELS], blocks: 0 }
    }

    pub(crate) fn array<const R: usize>() -> [Self; R] {
        core::array::from_fn(|_| Self::new())
    }

    /// Adds the result of the next block.
    #[inline(always)]
    pub(crate) fn push(&mut self, mut block: T) {
        let mut depth = self.blocks.count_ones() as usize;
        for _ in 0..self.blocks.trailing_ones() {
            depth -= 1;
            block = self.levels[depth].merged(block);
        }
        self.levels[depth] = block;
        self.blocks += 1;
    }

    /// The result of all blocks, and the cascade is empty again.
    #[inline(always)]
    pub(crate) fn finish(&mut self) -> T {
        let mut depth = self.blocks.count_ones() as usize;
        self.blocks = 0;
        if depth == 0 {
            return T::EMPTY;
        }
        depth -= 1;
        let mut all = self.levels[depth];
        while depth > 0 {
            depth -= 1;
            all = self.levels[depth].merged(all);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree by its definition: split at the largest power of two below the number of blocks.
    fn tree(blocks: &[Moments]) -> Moments {
        if let [block] = blocks {
            return *block;
        }
        let (left, right) = blocks.split_at(blocks.len().next_power_of_two() / 2);
        tree(left).merged(tree(right))
    }

    #[test]
    fn cascade_is_the_tree_that_splits_at_the_largest_power_of_two() {
        let blocks: Vec<_> = (0..100_u64)
            .map(|i| Moments {
                count: 1 + i % 7,
                mean: (i * i % 31) as f64 / 3.0,
                mean_low: 0.0,
                m2: i as f64 / 7.0,
            })
            .collect();
        let mut cascade = Cascade::new();
        for n in 1..=blocks.len() {
            for block in &blocks[..n] {
                cascade.push(*block);
            }
            assert_eq!(cascade.finish(), tree(&blocks[..n]), "{n} blocks");
        }
        assert_eq!(cascade.finish(), Moments::new());
    }
}
