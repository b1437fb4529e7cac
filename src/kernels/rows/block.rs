//! Mean and variance, or the mean of squares, of rows: one pass over memory.
//!
//! The plain algorithm, for a block of n elements x with a shift K near their mean:
//!
//! ```text
//! for x: d = x - K;  S += d;  Q += d * d
//! mean = K + S / n;  M2 = Q - S * S / n
//! ```
//!
//! It costs three operations and one load a vector, as many as two passes and fewer than Welford's
//! update, whose dependent chain makes it the slowest inner loop of all, and which in f32 loses 8e-4
//! to 4e-2 of the variance where mean / std is 1e6. What makes the plain algorithm exact and fast:
//!
//! * **Blocks.** A row is cut into blocks of [`BLOCK`] elements that know nothing of each other; their
//!   (n, mean, M2) are merged in f64 by Welford's rule in a fixed tree (`kernels/merge/cascade.rs`). The
//!   cut depends on the row's length alone, so rows, blocks and threads can be worked on in any way.
//! * **The pilot.** K is the mean of the block's own first [`PILOT`] elements. x - K is then exact or
//!   nearly so however large mean / std is.
//! * **Two levels of sums.** A lane adds at most [`TERMS`] terms to a sum that starts afresh, adds that
//!   to an outer sum at most `BLOCK / LANES / TERMS` times, and goes to f64: 16 roundings instead of
//!   64, for one more addition in 25. And since each inner sum starts afresh, the chains of several
//!   overlap and hide the latency of the adder.
//! * **One test a block.** S^2/n above Q/4 means that the pilot was no good (an outlier in it); Q that
//!   is not finite, or below 2^-70 * n, that f32 cannot hold the squares. Such a block is done again by
//!   the same code on f64 lanes; a constant one is recognised first, so that rows of padding stay fast.
//! * **Several rows at a time.** `R` blocks of one length in turns fill the pipeline and let the
//!   reductions share shuffles; of short rows sixteen (`kernels/rows/short_rows.rs`).
//!
//! `RmsNorm`'s sum of squares is the same code with K = 0 and without S (`CENTRED = false`).
#![forbid(unsafe_code)]

use crate::kernels::merge::cascade::Merge;
use crate::kernels::range::{LARGEST_SHIFT, squares_fit};
use crate::kernels::tuning::READ_AHEAD;
use crate::simd::{Float, Kernel, LANES, Real, Simd, prefetch};
use crate::welford::Moments;

/// Elements of a block: 64 terms a lane, 8 sums of 8.
pub(crate) const BLOCK: usize = 1024;

/// Elements whose mean is the shift. More cost time before the first addition; with fewer, the
/// pilot of ordinary data misses more often. The chance that the mean of 64 normal deviates is off by
/// a standard deviation is 1e-15.
pub(crate) const PILOT: usize = 64;

/// Terms that a lane adds before the outer sum: with 8 and 8, the longest chain of roundings is
/// shortest.
pub(crate) const TERMS: usize = 8;

/// A statistic that blocks have and that merges into that of a row.
pub(crate) trait BlockStatistic: Merge {
    /// The statistic of `R` blocks of one length, 1 to [`BLOCK`]. With `PREFETCH`, what comes after them is prefetched.
    fn blocks<S: Simd, const R: usize, const PREFETCH: bool>(token: S, x: [&[f32]; R])
    -> [Self; R];
}

impl BlockStatistic for Moments {
    #[inline(always)]
    fn blocks<S: Simd, const R: usize, const PREFETCH: bool>(
        token: S,
        x: [&[f32]; R],
    ) -> [Self; R] {
        let n = x[0].len() as f64;
        let BlockSums { shift, s, q } = block_sums::<S::F32, Square, R, true, PREFETCH>(token, x);
        let mut moments = [Self::EMPTY; R];
        let mut good = true;
        for r in 0..R {
            let mean = s[r] / n;
            let square = s[r] * mean;
            moments[r] = Self {
                count: x[0].len() as u64,
                mean: shift[r].to_f64() + mean,
                mean_low: 0.0,
                m2: q[r] - square,
            };
            good &= square <= LARGEST_SHIFT * q[r] && squares_fit(q[r], n);
        }
        if !good {
            for r in 0..R {
                let square = s[r] * (s[r] / n);
                if !(square <= LARGEST_SHIFT * q[r] && squares_fit(q[r], n)) {
                    moments[r] = token.outline(MomentsInF64 { x: x[r] });
                }
            }
        }
        moments
    }
}

/// The sum of squares.
impl BlockStatistic for f64 {
    #[inline(always)]
    fn blocks<S: Simd, const R: usize, const PREFETCH: bool>(
        token: S,
        x: [&[f32]; R],
    ) -> [Self; R] {
        let n = x[0].len() as f64;
        let mut sums = block_sums::<S::F32, Square, R, false, PREFETCH>(token, x).q;
        for r in 0..R {
            if !squares_fit(sums[r], n) {
                sums[r] = token.outline(SquaresInF64 { x: x[r] });
            }
        }
        sums
    }
}

/// The sum of magnitudes, of `R` blocks of one length: what the norm L1 is made of.
#[inline(always)]
pub(crate) fn magnitudes<S: Simd, const R: usize>(token: S, x: [&[f32]; R]) -> [f64; R] {
    let mut sums = block_sums::<S::F32, Magnitude, R, false, false>(token, x).q;
    for r in 0..R {
        if !sums[r].is_finite() {
            sums[r] = token.outline(MagnitudesInF64 { x: x[r] });
        }
    }
    sums
}

/// K, S and Q of `R` blocks.
struct BlockSums<E, const R: usize> {
    shift: [E; R],
    s: [f64; R],
    q: [f64; R],
}

/// What Q is the sum of.
pub(crate) trait Term {
    /// Adds the term of d.
    fn add<V: Float>(d: V, sum: V) -> V;
    /// The term of d.
    fn first<V: Float>(d: V) -> V;
}

/// d * d.
pub(crate) struct Square;

impl Term for Square {
    #[inline(always)]
    fn add<V: Float>(d: V, sum: V) -> V {
        d.mul_add(d, sum)
    }
    #[inline(always)]
    fn first<V: Float>(d: V) -> V {
        d * d
    }
}

/// |d|.
pub(crate) struct Magnitude;

impl Term for Magnitude {
    #[inline(always)]
    fn add<V: Float>(d: V, sum: V) -> V {
        sum + d.abs()
    }
    #[inline(always)]
    fn first<V: Float>(d: V) -> V {
        d.abs()
    }
}

/// The sums of `R` blocks of one length, 1 to [`BLOCK`], on lanes of type `V`. With `PREFETCH`, what comes after them is prefetched.
#[inline(always)]
fn block_sums<V: Float, T: Term, const R: usize, const CENTRED: bool, const PREFETCH: bool>(
    token: V::Token,
    x: [&[f32]; R],
) -> BlockSums<V::Elem, R> {
    let len = x[0].len();
    let shift = if CENTRED { pilots::<V, R>(token, x) } else { [V::Elem::from_f64(0.0); R] };

    let zero = V::splat(token, V::Elem::from_f64(0.0));
    let mut k = [zero; R];
    for r in 0..R {
        k[r] = V::splat(token, shift[r]);
    }
    let (mut s, mut q) = ([zero; R], [zero; R]);

    let mut groups: [&[[[f32; LANES]; TERMS]]; R] = [&[]; R];
    let mut rest: [&[[f32; LANES]]; R] = [&[]; R];
    let mut tail: [&[f32]; R] = [&[]; R];
    for r in 0..R {
        let (vectors, end) = x[r][..len].as_chunks::<LANES>();
        let (full, more) = vectors.as_chunks::<TERMS>();
        (groups[r], rest[r], tail[r]) = (full, more, end);
    }

    for i in 0..groups[0].len() {
        let (mut inner_s, mut inner_q) = ([zero; R], [zero; R]);
        for r in 0..R {
            if PREFETCH {
                prefetch_ahead(&groups[r][i]);
            }
            let d = deviation::<V, CENTRED>(V::load(token, &groups[r][i][0]), k[r]);
            (inner_s[r], inner_q[r]) = (d, T::first(d));
        }
        for j in 1..TERMS {
            for r in 0..R {
                let d = deviation::<V, CENTRED>(V::load(token, &groups[r][i][j]), k[r]);
                (inner_s[r], inner_q[r]) = (inner_s[r] + d, T::add(d, inner_q[r]));
            }
        }
        for r in 0..R {
            (s[r], q[r]) = (s[r] + inner_s[r], q[r] + inner_q[r]);
        }
    }
    if rest[0].len() + tail[0].len() > 0 {
        let (mut inner_s, mut inner_q) = ([zero; R], [zero; R]);
        for j in 0..rest[0].len() {
            for r in 0..R {
                let d = deviation::<V, CENTRED>(V::load(token, &rest[r][j]), k[r]);
                (inner_s[r], inner_q[r]) = (inner_s[r] + d, T::add(d, inner_q[r]));
            }
        }
        if !tail[0].is_empty() {
            for r in 0..R {
                // Lanes beyond the row hold K, so that d is 0 there.
                let x = V::load_partial(token, tail[r], shift[r]);
                let d = deviation::<V, CENTRED>(x, k[r]);
                (inner_s[r], inner_q[r]) = (inner_s[r] + d, T::add(d, inner_q[r]));
            }
        }
        for r in 0..R {
            (s[r], q[r]) = (s[r] + inner_s[r], q[r] + inner_q[r]);
        }
    }

    let s = if CENTRED { V::sums(s) } else { [0.0; R] };
    BlockSums { shift, s, q: V::sums(q) }
}

/// Prefetches what is [`READ_AHEAD`] elements on.
#[inline(always)]
pub(crate) fn prefetch_ahead(group: &[[f32; LANES]; TERMS]) {
    for vector in group {
        prefetch(vector.as_ptr().wrapping_add(READ_AHEAD));
    }
}

#[inline(always)]
pub(crate) fn deviation<V: Float, const CENTRED: bool>(x: V, k: V) -> V {
    if CENTRED { x - k } else { x }
}

/// The mean of the first [`PILOT`] elements of each block, or of all if there are fewer.
#[inline(always)]
fn pilots<V: Float, const R: usize>(token: V::Token, x: [&[f32]; R]) -> [V::Elem; R] {
    let mut shift = [V::Elem::from_f64(0.0); R];
    for r in 0..R {
        shift[r] = pilot_sum::<V>(token, x[r]);
        if x[r].len() < PILOT {
            // f64, so that the pilot of a short constant block is the constant.
            shift[r] = V::Elem::from_f64(shift[r].to_f64() / x[r].len() as f64);
        }
    }
    shift
}

/// The mean of the first [`PILOT`] elements, or the sum of all if there are fewer.
#[inline(always)]
pub(crate) fn pilot_sum<V: Float>(token: V::Token, x: &[f32]) -> V::Elem {
    if let Some(first) = x.first_chunk::<PILOT>() {
        let (vectors, _) = first.as_chunks::<LANES>();
        let low = V::load(token, &vectors[0]) + V::load(token, &vectors[1]);
        let sum = low + (V::load(token, &vectors[2]) + V::load(token, &vectors[3]));
        return (sum * V::splat(token, V::Elem::from_f64(1.0 / PILOT as f64))).sum();
    }
    let (vectors, tail) = x.as_chunks::<LANES>();
    let mut sum = V::load_partial(token, tail, V::Elem::from_f64(0.0));
    for vector in vectors {
        sum = sum + V::load(token, vector);
    }
    sum.sum()
}

/// The moments of a block that f32 cannot do.
pub(crate) struct MomentsInF64<'a> {
    pub(crate) x: &'a [f32],
}

impl Kernel for MomentsInF64<'_> {
    type Output = Moments;

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> Moments {
        let (x, count, n) = (self.x, self.x.len() as u64, self.x.len() as f64);
        if is_constant(token, x) {
            return Moments { count, mean: f64::from(x[0]), ..Moments::new() };
        }
        let BlockSums { shift: [shift], s: [s], q: [q] } =
            block_sums::<S::F64, Square, 1, true, false>(token, [x]);
        if !q.is_finite() {
            // Squares of finite f32 cannot overflow f64: there is a NaN or an infinity in x.
            return Moments { count, mean: f64::NAN, mean_low: 0.0, m2: f64::NAN };
        }
        let mean = s / n;
        let m2 = q - s * mean;
        let m2 = if m2 < 0.0 { 0.0 } else { m2 };
        Moments { count, mean: shift + mean, mean_low: 0.0, m2 }
    }
}

/// The sum of squares of a block that f32 cannot do.
pub(crate) struct SquaresInF64<'a> {
    pub(crate) x: &'a [f32],
}

impl Kernel for SquaresInF64<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> f64 {
        if self.x[0] == 0.0 && is_constant(token, self.x) {
            return 0.0;
        }
        let BlockSums { q: [q], .. } =
            block_sums::<S::F64, Square, 1, false, false>(token, [self.x]);
        // Squares of finite f32 cannot overflow f64: there is an infinity in x.
        if q == f64::INFINITY { f64::NAN } else { q }
    }
}

/// The sum of magnitudes of a block that f32 cannot do.
pub(crate) struct MagnitudesInF64<'a> {
    pub(crate) x: &'a [f32],
}

impl Kernel for MagnitudesInF64<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> f64 {
        let BlockSums { q: [q], .. } =
            block_sums::<S::F64, Magnitude, 1, false, false>(token, [self.x]);
        // The sum of finite f32 cannot overflow f64: there is an infinity in x.
        if q == f64::INFINITY { f64::NAN } else { q }
    }
}

/// Whether every element of a block is one finite number.
#[inline(always)]
fn is_constant<S: Simd>(token: S, x: &[f32]) -> bool {
    let first = S::F32::splat(token, x[0]);
    let (vectors, tail) = x.as_chunks::<LANES>();
    x[0].is_finite()
        && vectors.iter().all(|vector| S::F32::load(token, vector).equal(first) == u16::MAX)
        && S::F32::load_partial(token, tail, x[0]).equal(first) == u16::MAX
}
