//! Norms of rows: what `Normalizer` divides by.
//!
//! The plain algorithms, for each row x:
//!
//! ```text
//! L1 = sum of |x[i]|;  L2 = sqrt(sum of x[i]^2);  largest = max of |x[i]|
//! ```
//!
//! L1 and L2 are sums over the blocks of `kernels/rows/block.rs`, with its two levels and its way to f64: with at most 14
//! roundings of positive terms, a sum is right to 8.4e-7. The largest value is exact. It looks for NaN and infinities
//! without a test: `0 * x` is NaN for these and 0 for everything else, one multiply-add a vector.
#![forbid(unsafe_code)]

use super::block::{BlockStatistic, magnitudes};
use super::short_rows::{ShortRows, short_magnitudes, short_squares};
use crate::kernels::lanes::Lanes64;
use crate::kernels::merge::cascade::Merge;
use crate::simd::{Float, LANES, Simd};

/// A statistic of blocks that a norm is made of.
pub(crate) trait RowNorm: BlockStatistic {
    /// The norm.
    fn norm(self) -> f64;

    /// The norms of sixteen short rows, with the bits that each has by itself.
    fn short<S: Simd>(token: S, rows: &ShortRows<'_>) -> Lanes64;
}

/// The sum of magnitudes.
#[derive(Clone, Copy)]
pub(crate) struct Magnitudes(f64);

impl Merge for Magnitudes {
    const EMPTY: Self = Self(0.0);

    #[inline(always)]
    fn merged(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl BlockStatistic for Magnitudes {
    #[inline(always)]
    fn blocks<S: Simd, const R: usize, const PREFETCH: bool>(
        token: S,
        x: [&[f32]; R],
    ) -> [Self; R] {
        let sums = magnitudes(token, x);
        let mut blocks = [Self::EMPTY; R];
        for r in 0..R {
            blocks[r].0 = sums[r];
        }
        blocks
    }
}

impl RowNorm for Magnitudes {
    #[inline(always)]
    fn norm(self) -> f64 {
        self.0
    }

    #[inline(always)]
    fn short<S: Simd>(token: S, rows: &ShortRows<'_>) -> Lanes64 {
        short_magnitudes(token, rows)
    }
}

/// The sum of squares.
pub(crate) type Squares = f64;

impl RowNorm for Squares {
    #[inline(always)]
    fn norm(self) -> f64 {
        self.sqrt()
    }

    #[inline(always)]
    fn short<S: Simd>(token: S, rows: &ShortRows<'_>) -> Lanes64 {
        let mut norms = short_squares(token, rows);
        for norm in &mut norms {
            *norm = norm.sqrt();
        }
        norms
    }
}

/// The largest magnitude.
#[derive(Clone, Copy)]
pub(crate) struct Largest(f64);

impl Merge for Largest {
    const EMPTY: Self = Self(0.0);

    /// NaN where either is.
    #[inline(always)]
    fn merged(self, other: Self) -> Self {
        if self.0 >= other.0 || self.0.is_nan() { self } else { other }
    }
}

impl BlockStatistic for Largest {
    #[inline(always)]
    fn blocks<S: Simd, const R: usize, const PREFETCH: bool>(
        token: S,
        x: [&[f32]; R],
    ) -> [Self; R] {
        let mut blocks = [Self::EMPTY; R];
        for r in 0..R {
            blocks[r].0 = largest(token, x[r]);
        }
        blocks
    }
}

impl RowNorm for Largest {
    #[inline(always)]
    fn norm(self) -> f64 {
        self.0
    }

    #[inline(always)]
    fn short<S: Simd>(token: S, rows: &ShortRows<'_>) -> Lanes64 {
        let mut norms = [0.0; LANES];
        for r in 0..LANES {
            let row = rows.row(r);
            row.chunks(LANES).for_each(|vector| rows.prefetch_next(vector));
            norms[r] = largest(token, row);
        }
        norms
    }
}

/// Chains of operations that overlap.
const CHAINS: usize = 4;

/// The largest magnitude of a slice, NaN if there is one, or an infinity.
#[inline(always)]
fn largest<S: Simd>(token: S, x: &[f32]) -> f64 {
    let zero = S::F32::splat(token, 0.0);
    let (mut most, mut poison) = ([zero; CHAINS], [zero; CHAINS]);
    let (vectors, tail) = x.as_chunks::<LANES>();
    let (groups, rest) = vectors.as_chunks::<CHAINS>();
    for group in groups {
        for i in 0..CHAINS {
            let x = S::F32::load(token, &group[i]);
            (most[i], poison[i]) = (x.abs().max(most[i]), x.mul_add(zero, poison[i]));
        }
    }
    for vector in rest {
        let x = S::F32::load(token, vector);
        (most[0], poison[0]) = (x.abs().max(most[0]), x.mul_add(zero, poison[0]));
    }
    let x = S::F32::load_partial(token, tail, 0.0);
    (most[1], poison[1]) = (x.abs().max(most[1]), x.mul_add(zero, poison[1]));
    let most = (most[0].max(most[1])).max(most[2].max(most[3]));
    let poison = (poison[0] + poison[1]) + (poison[2] + poison[3]);

    let mut lanes = [0.0; LANES];
    most.store_init(&mut lanes);
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = if lanes[i + half] > lanes[i] { lanes[i + half] } else { lanes[i] };
        }
        half /= 2;
    }
    f64::from(lanes[0] + poison.sum())
}
