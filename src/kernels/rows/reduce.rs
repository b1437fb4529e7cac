//! The statistic of whole rows: that of their blocks, merged in one fixed tree.
//!
//! Rows of one length are worked on several at a time; a long row several of its blocks at a time. Either keeps the
//! pipeline full, and neither changes a bit.
#![forbid(unsafe_code)]

use super::block::{BLOCK, BlockStatistic};
use crate::kernels::merge::cascade::Cascade;
use crate::simd::Simd;

/// The statistic of `R` rows of one length, 1 or more. With `PREFETCH`, what comes after them is prefetched.
#[inline(always)]
pub(crate) fn reduce_rows<T: BlockStatistic, S: Simd, const R: usize, const PREFETCH: bool>(
    token: S,
    x: [&[f32]; R],
    cascades: &mut Cascades<T, R>,
) -> [T; R] {
    let len = x[0].len();
    let mut start = 0;
    loop {
        let end = usize::min(start + BLOCK, len);
        let mut block: [&[f32]; R] = [&[]; R];
        for r in 0..R {
            block[r] = &x[r][start..end];
        }
        let statistics = T::blocks::<S, R, PREFETCH>(token, block);
        if len <= BLOCK {
            return statistics;
        }
        let cascades = cascades.get_or_insert_with(Cascade::array);
        for r in 0..R {
            cascades[r].push(statistics[r]);
        }
        if end == len {
            let mut all = statistics;
            for r in 0..R {
                all[r] = cascades[r].finish();
            }
            return all;
        }
        start = end;
    }
}

/// The statistic of one row of 1 or more elements, several blocks at a time. `PREFETCH` as above.
#[inline(always)]
pub(crate) fn reduce_row<T: BlockStatistic, S: Simd, const R: usize, const PREFETCH: bool>(
    token: S,
    x: &[f32],
    cascades: &mut Cascades<T, R>,
) -> T {
    let mut rest = x;
    if x.len() > BLOCK {
        let cascade = &mut cascades.get_or_insert_with(Cascade::array)[0];
        match S::ROWS {
            4.. => rest = push_blocks::<T, S, 4, PREFETCH>(token, x, cascade),
            2.. => rest = push_blocks::<T, S, 2, PREFETCH>(token, x, cascade),
            _ => {}
        }
    }
    for block in rest.chunks(BLOCK) {
        let [statistic] = T::blocks::<S, 1, PREFETCH>(token, [block]);
        if x.len() <= BLOCK {
            return statistic;
        }
        let cascade = &mut cascades.get_or_insert_with(Cascade::array)[0];
        cascade.push(statistic);
    }
    let cascade = &mut cascades.get_or_insert_with(Cascade::array)[0];
    cascade.finish()
}

/// Pushes full blocks, `R` at a time, and returns the elements after them.
#[inline(always)]
fn push_blocks<'a, T: BlockStatistic, S: Simd, const R: usize, const PREFETCH: bool>(
    token: S,
    x: &'a [f32],
    cascade: &mut Cascade<T>,
) -> &'a [f32] {
    let (groups, _) = x.as_chunks::<BLOCK>().0.as_chunks::<R>();
    for group in groups {
        let mut x: [&[f32]; R] = [&[]; R];
        for r in 0..R {
            x[r] = &group[r];
        }
        for statistic in T::blocks::<S, R, PREFETCH>(token, x) {
            cascade.push(statistic);
        }
    }
    &x[groups.len() * R * BLOCK..]
}

/// Where the blocks of rows longer than [`BLOCK`] are merged: made at the first such row, since the
/// 7 KB of four cascades cost a short call more than its arithmetic.
pub(crate) type Cascades<T, const R: usize> = Option<[Cascade<T>; R]>;
