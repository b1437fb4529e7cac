//! The mask is random: a battery of statistical tests, which the stream passes and four weak generators fail.
//!
//! A check draws masks, counts, and turns every count into a p-value: the probability that a perfect generator is at
//! least as far from what is expected, to either side. It fails if a p-value is too small to be chance, or if its
//! p-values together are not uniform (by the test of Kolmogorov and Smirnov, where there are enough of them). Seeds
//! are fixed, so the answer is always the same; [`ALARM`] bounds the probability that seeds of another choice would
//! have failed a perfect generator. `docs/randomness.md` has the results, and those of other people's tests.
#![forbid(unsafe_code)]

use evenkeel::{Dropout, MaskMut, Stream};
use statrs::distribution::{ChiSquared, ContinuousCDF, DiscreteCDF, Poisson};
use statrs::function::erf::erfc;

use crate::common::*;

/// The probability that the battery fails a perfect generator. One half is shared equally by all p-values, the other
/// by the tests that they are uniform.
const ALARM: f64 = 1e-4;

/// P-values from which on their uniformity is tested.
const MANY: usize = 100;

/// Probabilities whose structure is looked at: random integers of 16 bits, 16 bits whose lower ones matter, 32 bits.
const PROBABILITIES: [f64; 3] = [0.5, 0.1, 0.015];

/// Probabilities whose rate is looked at: of both widths, at their borders, and tiny ones.
const RATES: [f64; 16] = [
    0.5,
    0.1,
    0.2,
    0.3,
    0.8,
    0.9,
    1.0 / 64.0,
    63.0 / 64.0,
    0.015_624_9,
    0.984_375_1,
    0.01,
    0.99,
    0.001,
    1e-5,
    1.0 - 1e-6,
    1e-9,
];

/// Elements of a draw, of what each instruction set has in a vector, of a line of x and of the packed mask, of rows that
/// users have, and of a block of the stream.
const WIDTHS: [usize; 13] = [2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1000, 1024, 4096];
const STREAM_BLOCK: usize = 4096;

/// A number of threads that share a mask.
const THREADS: [usize; 6] = [2, 3, 4, 7, 8, 16];

/// Draws the elements that are kept, packed 64 a word: p, where in the stream, how many.
type Source = fn(f64, Stream, usize) -> Vec<u64>;

/// The mask of a plain call.
fn evenkeel(p: f64, stream: Stream, len: usize) -> Vec<u64> {
    let mut packed = vec![0; len / 8];
    Dropout::new().with_p(p).mask(stream, len, MaskMut::Packed(&mut packed)).unwrap();
    packed.as_chunks().0.iter().map(|&bytes| u64::from_le_bytes(bytes)).collect()
}

/// A p-value, and of what.
struct Measured {
    what: String,
    p_value: f64,
}

/// What failed, and the worst of it.
#[derive(Debug)]
struct Failure {
    check: &'static str,
    #[expect(dead_code, reason = "for those who read the message")]
    why: String,
}

struct Battery {
    source: Source,
    /// Elements of a mask.
    len: usize,
    /// Masks, where one is not like the others.
    seeds: u64,
}

type Check = (&'static str, fn(&Battery) -> Vec<Measured>);

const CHECKS: [Check; 10] = [
    ("rate", Battery::rate),
    ("lanes", Battery::lanes),
    ("columns", Battery::columns),
    ("rows", Battery::rows),
    ("lags", Battery::lags),
    ("pairs of rows", Battery::pairs_of_rows),
    ("threads", Battery::threads),
    ("seeds", Battery::seeds),
    ("offsets", Battery::offsets),
    ("patterns", Battery::patterns),
];

impl Battery {
    fn new(source: Source) -> Self {
        let (len, seeds) = if short() { (1 << 16, 1) } else { (1 << 19, 4) };
        Self { source, len, seeds }
    }

    fn failures(&self) -> Vec<Failure> {
        let measured = CHECKS.map(|(name, check)| (name, check(self)));
        let all: usize = measured.iter().map(|(_, measured)| measured.len()).sum();
        let least = ALARM / 2.0 / all as f64;
        let mut failures = Vec::new();
        for (check, mut measured) in measured {
            measured.sort_by(|a, b| a.p_value.total_cmp(&b.p_value));
            let small = measured.iter().filter(|one| one.p_value < least).count();
            let Measured { what, p_value } = &measured[0];
            if small > 0 {
                let of = measured.len();
                let why =
                    format!("{small} of {of} p-values below {least:e}: {p_value:e} of {what}");
                failures.push(Failure { check, why });
            } else if measured.len() >= MANY {
                let uniform = kolmogorov_smirnov(&measured);
                if uniform < ALARM / 2.0 / CHECKS.len() as f64 {
                    let why = format!("{} p-values are uniform by {uniform:e}", measured.len());
                    failures.push(Failure { check, why });
                }
            }
        }
        failures
    }

    /// Elements to look at where the events are those of p: of small ones there must be enough.
    fn enough(&self, p: f64) -> usize {
        if p < 1.0 / 64.0 { 16 * self.len } else { self.len }
    }

    fn draw(&self, p: f64, seed: u64, len: usize) -> Vec<u64> {
        (self.source)(p, Stream { seed, offset: 0 }, len)
    }

    /// Law: the rate is p.
    fn rate(&self) -> Vec<Measured> {
        let mut measured = Vec::new();
        for p in RATES {
            for seed in 0..self.seeds {
                let len = (8 * self.len).max(1 << 22);
                let kept = ones(&self.draw(p, seed, len));
                let p_value = binomial(len as u64 - kept, len, realised(p));
                measured.push(Measured { what: format!("p {p}, seed {seed}"), p_value });
            }
        }
        measured
    }

    /// Law: each generator, and each part of its words, has the rate.
    fn lanes(&self) -> Vec<Measured> {
        self.cells(1000, |p, kept| {
            let per_draw = if p < 1.0 / 64.0 { 16 } else { 32 };
            let parts = by_column(kept, per_draw);
            let lanes = parts.chunks(per_draw / 8).map(|parts| parts.iter().sum()).collect();
            vec![("lanes".to_owned(), lanes), ("parts of a draw".to_owned(), parts)]
        })
    }

    /// Law: each column of a matrix has the rate.
    fn columns(&self) -> Vec<Measured> {
        self.cells(2000, |_, kept| {
            WIDTHS.map(|width| (format!("columns of {width}"), by_column(kept, width))).to_vec()
        })
    }

    /// Law: each row of a matrix has the rate.
    fn rows(&self) -> Vec<Measured> {
        self.cells(3000, |_, kept| {
            WIDTHS.map(|width| (format!("rows of {width}"), by_row(kept, width))).to_vec()
        })
    }

    /// Chi-square of the elements kept in cells of equal size.
    fn cells(
        &self,
        first_seed: u64,
        cells: impl Fn(f64, &[u8]) -> Vec<(String, Vec<u32>)>,
    ) -> Vec<Measured> {
        let mut measured = Vec::new();
        for p in PROBABILITIES {
            let len = self.enough(p);
            for seed in first_seed..first_seed + self.seeds {
                for (what, counts) in cells(p, &unpack(&self.draw(p, seed, len))) {
                    let (p, size) = (realised(p), (len / counts.len()) as f64);
                    let variance = size * p * (1.0 - p);
                    // Of fewer the sum is not distributed as chi-square.
                    if variance >= 40.0 {
                        let square = |&count| (f64::from(count) - size * (1.0 - p)).powi(2);
                        let statistic = counts.iter().map(square).sum::<f64>() / variance;
                        let p_value = chi_square(statistic, counts.len() as f64);
                        measured.push(Measured {
                            what: format!("p {p}, seed {seed}: {what}"),
                            p_value,
                        });
                    }
                }
            }
        }
        measured
    }

    /// Law: an element does not depend on one before it, at every distance to a block of the stream and 128, and at
    /// multiples of a block. In 32 bits: at distances to 128, and every width and a block around them.
    fn lags(&self) -> Vec<Measured> {
        let mut measured = Vec::new();
        for p in PROBABILITIES {
            let lags: Vec<usize> = if p < 1.0 / 64.0 {
                let widths = WIDTHS.into_iter().filter(|&width| width > 128);
                (1..=128).chain(widths.flat_map(|width| [width - 1, width, width + 1])).collect()
            } else {
                (1..=STREAM_BLOCK + 128).chain((2..=32).map(|n| n * STREAM_BLOCK)).collect()
            };
            let len = self.enough(p);
            let mask = self.draw(p, 4000, len + lags[lags.len() - 1].next_multiple_of(64) + 64);
            for lag in lags {
                let p_value = product(p, len, &mask, at(&mask, lag));
                measured.push(Measured { what: format!("p {p}, lag {lag}"), p_value });
            }
        }
        measured
    }

    /// Law: rows do not depend on each other: at distances to 64 of all of a matrix, and each pair of the first 16.
    fn pairs_of_rows(&self) -> Vec<Measured> {
        let mut measured = Vec::new();
        for p in PROBABILITIES {
            for width in WIDTHS.into_iter().filter(|&width| width >= 768) {
                let len = self.enough(p);
                let far = if p < 1.0 / 64.0 { 8 } else { 64 };
                let mask = self.draw(
                    p,
                    5000 + width as u64,
                    len + (far * width).next_multiple_of(64) + 64,
                );
                for distance in 1..=far {
                    let p_value = product(p, len, &mask, at(&mask, distance * width));
                    let what = format!("p {p}, rows of {width} at distance {distance}");
                    measured.push(Measured { what, p_value });
                }
                if p == 0.5 {
                    for (i, j) in pairs(16) {
                        let row: Vec<u64> = at(&mask, i * width).take(width / 64).collect();
                        let p_value = product(p, row.len() * 64, &row, at(&mask, j * width));
                        let what = format!("p {p}, rows {i} and {j} of {width}");
                        measured.push(Measured { what, p_value });
                    }
                }
            }
        }
        measured
    }

    /// Law: the parts of a mask that threads draw do not depend on each other.
    fn threads(&self) -> Vec<Measured> {
        let mut measured = Vec::new();
        for p in PROBABILITIES {
            let mask = self.draw(p, 6000, self.enough(p));
            for threads in THREADS {
                let share = mask.len() / threads;
                for (i, j) in pairs(threads) {
                    let other = mask[j * share..].iter().copied();
                    let p_value = product(p, share * 64, &mask[i * share..], other);
                    let what = format!("p {p}, shares {i} and {j} of {threads}");
                    measured.push(Measured { what, p_value });
                }
            }
        }
        measured
    }

    /// Law: neither do seeds that differ in one bit, nor neighbouring ones at any shift by up to a draw.
    fn seeds(&self) -> Vec<Measured> {
        let mut measured = Vec::new();
        for p in PROBABILITIES {
            let len = self.enough(p) / 8;
            for seed in [7000, 0x0123_4567_89ab_cdef, u64::MAX] {
                let mask = self.draw(p, seed, len);
                for bit in 0..64 {
                    let other = self.draw(p, seed ^ 1 << bit, len).into_iter();
                    let p_value = product(p, len, &mask, other);
                    let what = format!("p {p}, seed {seed:#x}, bit {bit}");
                    measured.push(Measured { what, p_value });
                }
            }
            let len = len + 64;
            let mask = self.draw(p, 7100, len);
            for other in [7101, 7102, 7103, 7104, 7107, 7108] {
                let neighbour = self.draw(p, other, len);
                for shift in 1..=32 {
                    for (left, right, side) in
                        [(&mask, &neighbour, "after"), (&neighbour, &mask, "before")]
                    {
                        let p_value = product(p, len - 64, left, at(right, shift));
                        let what = format!("p {p}, seed {other}, {shift} {side} seed 7100");
                        measured.push(Measured { what, p_value });
                    }
                }
            }
        }
        measured
    }

    /// Law: neither do parts of a stream whose offsets differ in one bit.
    fn offsets(&self) -> Vec<Measured> {
        let mut measured = Vec::new();
        for p in PROBABILITIES {
            let len = self.enough(p) / 8;
            for offset in [0, 0x0012_3456_789a_b000] {
                let draw = |offset| (self.source)(p, Stream { seed: 8000, offset }, len);
                let mask = draw(offset);
                for bit in STREAM_BLOCK.ilog2()..64 {
                    let p_value = product(p, len, &mask, draw(offset ^ 1 << bit).into_iter());
                    let what = format!("p {p}, offset {offset:#x}, bit {bit}");
                    measured.push(Measured { what, p_value });
                }
            }
        }
        measured
    }

    /// Law: k elements at a distance have each of their 2^k patterns as often as independent ones: neighbours, the
    /// same part of neighbouring generators, the same place in draws, lines and blocks.
    fn patterns(&self) -> Vec<Measured> {
        let mut measured = Vec::new();
        for p in PROBABILITIES {
            for distance in [1, 2, 4, 8, 16, 32, 64, 128, 512, 1024, 4096] {
                for k in 1..=12 {
                    let probability = |pattern: usize| {
                        let kept = pattern.count_ones() as i32;
                        (1.0 - realised(p)).powi(kept) * realised(p).powi(k as i32 - kept)
                    };
                    let patterns = self.len / (k * distance) * distance;
                    // Of fewer the sum is not distributed as chi-square.
                    if patterns as f64 * probability(0) < 10.0 {
                        break;
                    }
                    let seed = 9000 + (100 * distance + k) as u64;
                    let kept = unpack(&self.draw(p, seed, self.len));
                    let counts = by_pattern(&kept, k, distance).into_iter().enumerate();
                    let term = |(pattern, count)| {
                        let expected = patterns as f64 * probability(pattern);
                        (f64::from(count) - expected).powi(2) / expected
                    };
                    let statistic = counts.map(term).sum();
                    let p_value = chi_square(statistic, f64::from((1_u32 << k) - 1));
                    let what = format!("p {p}, {k} elements at distance {distance}");
                    measured.push(Measured { what, p_value });
                }
            }
        }
        measured
    }
}

/// The probability of dropping that p stands for.
fn realised(p: f64) -> f64 {
    Dropout::new().with_p(p).realised_p().unwrap()
}

fn ones(words: &[u64]) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}

/// The words of a mask from the element with index `lag` on, but the last.
fn at(mask: &[u64], lag: usize) -> impl Iterator<Item = u64> {
    let bits = lag % 64;
    mask[lag / 64..].windows(2).map(move |pair| pair[0] >> bits | pair[1] << 1 << (63 - bits))
}

/// A byte an element.
fn unpack(mask: &[u64]) -> Vec<u8> {
    mask.iter()
        .flat_map(|word| std::array::from_fn::<_, 64, _>(|i| (word >> i) as u8 & 1))
        .collect()
}

fn by_column(kept: &[u8], width: usize) -> Vec<u32> {
    let mut counts = vec![0; width];
    for row in kept.chunks_exact(width) {
        for (count, &kept) in counts.iter_mut().zip(row) {
            *count += u32::from(kept);
        }
    }
    counts
}

fn by_row(kept: &[u8], width: usize) -> Vec<u32> {
    let sum = |row: &[u8]| row.iter().map(|&kept| u32::from(kept)).sum();
    kept.chunks_exact(width).map(sum).collect()
}

/// How often each pattern of k elements at a distance occurs, each element in one pattern.
fn by_pattern(kept: &[u8], k: usize, distance: usize) -> Vec<u32> {
    let mut counts = vec![0; 1 << k];
    for group in kept.chunks_exact(k * distance) {
        for first in 0..distance {
            let elements = group[first..].iter().step_by(distance);
            let pattern = elements.fold(0, |pattern, &kept| pattern << 1 | usize::from(kept));
            counts[pattern] += 1;
        }
    }
    counts
}

fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |j| (0..j).map(move |i| (i, j)))
}

/// Whether two masks depend on each other: the p-value of the sum of (a - E[a]) * (b - E[b]) over the first `len`
/// elements. Terms of independent elements are uncorrelated, even where a and b are parts of one mask.
fn product(p: f64, len: usize, a: &[u64], b: impl Iterator<Item = u64>) -> f64 {
    let (mut both, mut either) = (0, 0);
    let mut words = 0;
    for (a, b) in a.iter().zip(b).take(len / 64) {
        both += u64::from((a & b).count_ones());
        either += u64::from(a.count_ones() + b.count_ones());
        words += 1;
    }
    let (n, p) = ((words * 64) as f64, realised(p));
    let (kept, variance) = (1.0 - p, p * (1.0 - p));
    let sum = both as f64 - kept * either as f64 + n * kept * kept;
    two_sided(sum / (n.sqrt() * variance), (1.0 - 2.0 * p).powi(2) / variance / n.sqrt())
}

/// The p-value of `dropped` of `n` elements. Few are Poisson's.
fn binomial(dropped: u64, n: usize, p: f64) -> f64 {
    let n = n as f64;
    if n * p.min(1.0 - p) < 1000.0 {
        let rare = if p < 0.5 { dropped } else { n as u64 - dropped };
        let poisson = Poisson::new(n * p.min(1.0 - p)).unwrap();
        let at_least = if rare == 0 { 1.0 } else { poisson.sf(rare - 1) };
        return (2.0 * poisson.cdf(rare).min(at_least)).min(1.0);
    }
    let deviation = (n * p * (1.0 - p)).sqrt();
    two_sided((dropped as f64 - n * p) / deviation, (1.0 - 2.0 * p) / deviation)
}

/// The p-value of a sum that is z standard deviations from its mean: normal, but for its skewness, which counts far
/// out: then Pearson's type III, which is chi-square with 8 / skewness^2 degrees of freedom, moved and scaled.
fn two_sided(z: f64, skewness: f64) -> f64 {
    if skewness.abs() < 0.01 {
        return erfc(z.abs() / 2.0_f64.sqrt());
    }
    let freedom = 8.0 / (skewness * skewness);
    let statistic = freedom + z * skewness.signum() * (2.0 * freedom).sqrt();
    if statistic <= 0.0 { 0.0 } else { chi_square(statistic, freedom) }
}

fn chi_square(statistic: f64, freedom: f64) -> f64 {
    let distribution = ChiSquared::new(freedom).unwrap();
    2.0 * distribution.cdf(statistic).min(distribution.sf(statistic))
}

/// The p-value of sorted p-values, of which uniform ones are expected.
fn kolmogorov_smirnov(sorted: &[Measured]) -> f64 {
    let n = sorted.len() as f64;
    let distance = |(i, one): (usize, &Measured)| {
        (one.p_value - i as f64 / n).max((i + 1) as f64 / n - one.p_value)
    };
    let distance = sorted.iter().enumerate().map(distance).fold(0.0, f64::max);
    let scaled = (n.sqrt() + 0.12 + 0.11 / n.sqrt()) * distance;
    let term = |j: i32| {
        let sign = if j % 2 == 1 { 2.0 } else { -2.0 };
        sign * (-2.0 * (f64::from(j) * scaled).powi(2)).exp()
    };
    if scaled < 0.2 { 1.0 } else { (1..=100).map(term).sum() }
}

/// Law: the mask is random.
#[test]
fn the_stream_passes() {
    let failures = Battery::new(evenkeel).failures();
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The same with 16 times as many elements.
#[test]
#[ignore = "takes a minute"]
fn the_stream_passes_a_longer_battery() {
    let failures = Battery { len: 1 << 23, ..Battery::new(evenkeel) }.failures();
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Asserts that a generator fails these checks and no other. Of few elements, that it fails.
#[track_caller]
fn assert_caught(weak: Source, expected: &[&str]) {
    let failures = Battery::new(weak).failures();
    let names: Vec<&str> = failures.iter().map(|failure| failure.check).collect();
    if short() {
        assert!(!names.is_empty());
    } else {
        assert_eq!(names, expected, "{failures:#?}");
    }
}

/// A linear congruential generator (Knuth's MMIX) a lane, begun with seed + lane.
#[test]
fn neighbouring_seeds_in_lanes_are_caught() {
    const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
    const INCREMENT: u64 = 1_442_695_040_888_963_407;

    /// The multiplier and increment of n steps at once.
    fn steps(mut n: u64) -> (u64, u64) {
        let (mut step, mut all) = ((MULTIPLIER, INCREMENT), (1_u64, 0_u64));
        while n > 0 {
            let (a, c) = step;
            if n % 2 == 1 {
                all = (all.0.wrapping_mul(a), all.1.wrapping_mul(a).wrapping_add(c));
            }
            step = (a.wrapping_mul(a), a.wrapping_add(1).wrapping_mul(c));
            n /= 2;
        }
        all
    }

    fn kept<const BITS: u32>(p: f64, Stream { seed, offset }: Stream, len: usize) -> Vec<u64> {
        let dropped = (realised(p) * 2.0_f64.powi(BITS as i32)) as u64;
        let per_lane = 64 / BITS;
        let (a, c) = steps(offset / u64::from(8 * per_lane));
        let mut lanes: [u64; 8] = std::array::from_fn(|lane| {
            seed.wrapping_add(lane as u64).wrapping_mul(a).wrapping_add(c)
        });
        let mut draw = || {
            let mut kept = 0;
            for (lane, state) in lanes.iter_mut().enumerate() {
                *state = state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
                for part in 0..per_lane {
                    let random = *state >> (BITS * part) & ((1 << BITS) - 1);
                    kept |= u64::from(random >= dropped) << (lane as u32 * per_lane + part);
                }
            }
            kept
        };
        let per_draw = 8 * per_lane;
        let word = |_| (0..64 / per_draw).fold(0, |word, i| word | draw() << (i * per_draw));
        (0..len / 64).map(word).collect()
    }

    fn weak(p: f64, stream: Stream, len: usize) -> Vec<u64> {
        let bits_16 = (1.0 / 64.0..=63.0 / 64.0).contains(&p);
        if bits_16 { kept::<16>(p, stream, len) } else { kept::<32>(p, stream, len) }
    }

    assert_caught(weak, &["pairs of rows", "threads", "seeds", "offsets", "patterns"]);
}

/// Two threads, each with half of the mask, begin with the same seed.
#[test]
fn one_seed_in_two_threads_is_caught() {
    fn weak(p: f64, stream: Stream, len: usize) -> Vec<u64> {
        evenkeel(p, stream, len / 2).repeat(2)
    }
    let checks =
        ["lanes", "columns", "lags", "pairs of rows", "threads", "seeds", "offsets", "patterns"];
    assert_caught(weak, &checks);
}

/// Every row of 768 begins at the same place of the stream.
#[test]
fn a_counter_that_is_reset_each_row_is_caught() {
    fn weak(p: f64, stream: Stream, len: usize) -> Vec<u64> {
        let mut mask = evenkeel(p, stream, 768).repeat(len.div_ceil(768));
        mask.truncate(len / 64);
        mask
    }
    assert_caught(weak, &CHECKS.map(|(name, _)| name));
}

/// A byte decides at p = 0.1, which becomes 26 / 256: 16 bits, compared with a multiple of 256, are such a byte.
#[test]
fn a_threshold_of_8_bits_is_caught() {
    fn weak(p: f64, stream: Stream, len: usize) -> Vec<u64> {
        evenkeel(if p == 0.1 { 26.0 / 256.0 } else { p }, stream, len)
    }
    assert_caught(weak, &["rate", "patterns"]);
}
