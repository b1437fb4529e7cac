//! The stream of the dropout masks: (seed, block) to the states of eight xoshiro256++ generators.
//!
//! [`Dropout`](crate::Dropout) documents the stream; the scalar code that defines it is
//! [`reference::dropout_mask`](crate::reference::dropout_mask). The generators are those of Blackman and Vigna
//! (xoshiro256++ 1.0, SplitMix64), as the crate `rand_xoshiro` has them, with which the tests compare.
#![forbid(unsafe_code)]

/// Elements of a block. Each costs its seeding (`docs/performance.md`, "Single calls"), and an offset into a block the draws before
/// it.
pub(crate) const STREAM_BLOCK: u64 = 4096;

/// What SplitMix64 adds to its state at each step.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64.
const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The four state words of the eight generators of a block, word by word: `state[word][lane]`.
#[inline(always)]
pub(crate) fn block_state(seed: u64, block: u64) -> [[u64; 8]; 4] {
    let x = mix(mix(seed).wrapping_add(GOLDEN.wrapping_mul(block.wrapping_add(1))));
    let mut state = [[0; 8]; 4];
    for (word, lanes) in state.iter_mut().enumerate() {
        for (lane, out) in lanes.iter_mut().enumerate() {
            let step = (4 * lane + word) as u64 + 1;
            *out = mix(x.wrapping_add(GOLDEN.wrapping_mul(step)));
        }
    }
    state
}

/// How random bits decide: the width of an integer and the least one that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threshold {
    /// Signed 16-bit integers, 32 elements a draw.
    Bits16(i16),
    /// Signed 32-bit integers, 16 elements a draw.
    Bits32(i32),
}

impl Threshold {
    /// The threshold for dropping with probability p, 0 < p < 1, and the probability that it realises.
    pub(crate) fn new(p: f64) -> (Self, f64) {
        let bits = if (1.0 / 64.0..=63.0 / 64.0).contains(&p) { 16 } else { 32 };
        let range = 1_i64 << bits;
        let dropped = ((p * range as f64).round_ties_even() as i64).min(range - 1);
        let least = dropped - range / 2;
        let threshold = match bits {
            16 => Self::Bits16(least as i16),
            _ => Self::Bits32(least as i32),
        };
        (threshold, dropped as f64 / range as f64)
    }
}
