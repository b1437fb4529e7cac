//! The moments of columns, sixteen at a time, merged by the rule of Chan, Golub and LeVeque.
//!
//! Between blocks no division is spent: the row counts of both sides are the same for all columns, so the weights are two scalars.
//! Between places, each of which has the moments of all columns, every column has its own counts. The arithmetic is the same, and so
//! are the bits.
#![forbid(unsafe_code)]

use crate::kernels::lanes::Lanes64;
use crate::simd::{Double, Float, Kernel, LANES, Simd};
use crate::welford::Moments;

/// Merges the moments of `count.1` rows into those of `count.0` rows that come before them.
#[inline(always)]
pub(crate) fn merge_columns<S: Simd>(
    token: S,
    count: (usize, usize),
    (mean, m2): (&mut [Lanes64], &mut [Lanes64]),
    (other_mean, other_m2): (&[Lanes64], &[Lanes64]),
) {
    let (a, b) = (count.0 as f64, count.1 as f64);
    let n = a + b;
    let mean_weight = S::F64::splat(token, b / n);
    let m2_weight = S::F64::splat(token, a * b / n);
    for i in 0..mean.len() {
        let mean_a = S::F64::load_f64(token, &mean[i]);
        let delta = S::F64::load_f64(token, &other_mean[i]) - mean_a;
        let sum = S::F64::load_f64(token, &m2[i]) + S::F64::load_f64(token, &other_m2[i]);
        delta.mul_add(mean_weight, mean_a).store_f64(&mut mean[i]);
        (delta * delta).mul_add(m2_weight, sum).store_f64(&mut m2[i]);
    }
}

/// Merges the moments of several places, one set a column of each, in the tree of `cascade.rs`: a place is what a block is there.
pub(crate) struct MergePlaces<'a> {
    /// Those of the first place, then of the second, and so on: as many times as many as `moments`.
    pub(crate) parts: &'a [Moments],
    /// Written; at least one.
    pub(crate) moments: &'a mut [Moments],
}

impl Kernel for MergePlaces<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { parts, moments } = self;
        let (cols, places) = (moments.len(), parts.len() / moments.len());
        let mut levels = [Columns::EMPTY; LEVELS];
        for (i, out) in moments.chunks_mut(LANES).enumerate() {
            let mut counts = [0_u64; LANES];
            for place in 0..places {
                let of_place = &parts[place * cols + i * LANES..][..out.len()];
                let mut depth = place.count_ones() as usize;
                levels[depth] = Columns::gather(of_place);
                for (count, moments) in counts.iter_mut().zip(of_place) {
                    *count = count.saturating_add(moments.count);
                }
                for _ in 0..place.trailing_ones() {
                    depth -= 1;
                    merge_level(token, &mut levels, depth);
                }
            }
            for depth in (1..places.count_ones() as usize).rev() {
                merge_level(token, &mut levels, depth - 1);
            }
            let all = &levels[0];
            for (c, moments) in out.iter_mut().enumerate() {
                let (mean, m2) = (all.mean[c], all.m2[c]);
                *moments = Moments { count: counts[c], mean, mean_low: 0.0, m2 };
            }
        }
    }
}

/// A place more than the binary digits of the largest index of one.
const LEVELS: usize = usize::BITS as usize;

/// The moments of sixteen columns, a lane for each.
#[derive(Clone, Copy)]
struct Columns {
    count: Lanes64,
    mean: Lanes64,
    m2: Lanes64,
}

impl Columns {
    const EMPTY: Self = Self { count: [0.0; LANES], mean: [0.0; LANES], m2: [0.0; LANES] };

    /// Those of at most sixteen columns.
    #[inline(always)]
    fn gather(moments: &[Moments]) -> Self {
        let mut columns = Self::EMPTY;
        for (c, moments) in moments.iter().enumerate() {
            columns.count[c] = moments.count as f64;
            columns.mean[c] = moments.mean;
            columns.m2[c] = moments.m2;
        }
        columns
    }
}

/// Merges level `depth + 1` into level `depth`. A column without values takes what the other has, and the other way round.
#[inline(always)]
fn merge_level<S: Simd>(token: S, levels: &mut [Columns; LEVELS], depth: usize) {
    let (left, right) = (levels[depth], levels[depth + 1]);
    let (zero, one) = (S::F64::splat(token, 0.0), S::F64::splat(token, 1.0));
    let (a, b) = (S::F64::load_f64(token, &left.count), S::F64::load_f64(token, &right.count));
    let n = a + b;
    let divisor = n.max(one);
    let mean_a = S::F64::load_f64(token, &left.mean);
    let delta = S::F64::load_f64(token, &right.mean) - mean_a;
    let sum = S::F64::load_f64(token, &left.m2) + S::F64::load_f64(token, &right.m2);
    let into = &mut levels[depth];
    n.store_f64(&mut into.count);
    delta.mul_add(b / divisor, mean_a).store_f64(&mut into.mean);
    (delta * delta).mul_add(a * b / divisor, sum).store_f64(&mut into.m2);
    let (is_left_empty, is_right_empty) = (a.equal(zero), b.equal(zero));
    if is_left_empty | is_right_empty == 0 {
        return;
    }
    for c in 0..LANES {
        if is_right_empty >> c & 1 == 1 {
            (into.mean[c], into.m2[c]) = (left.mean[c], left.m2[c]);
        } else if is_left_empty >> c & 1 == 1 {
            (into.mean[c], into.m2[c]) = (right.mean[c], right.m2[c]);
        }
    }
}
