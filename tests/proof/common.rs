//! Lengths, data sets, tolerances and backends: the one place for each.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::ops::{Deref, DerefMut};
use std::sync::Once;

use evenkeel::{Backend, Error, NormArgs, Rows, TrainArgs};

pub use crate::registry::{Random, short};

/// Elements of a vector, of a block and of a first level of sums, as the docs of the kernels have them.
pub const LANES: usize = 16;
pub const BLOCK: usize = 1024;
pub const INNER: usize = 128;

/// The lengths of a short run. 16, 64, 256, 769, 1024 and 2047 are among them: whole vectors and
/// blocks, and one element more and less.
pub fn in_short(len: usize) -> bool {
    len % 3 == 1
}

/// Every length up to 4 vectors + 3, and around each size at which the algorithm changes.
pub fn lengths() -> Vec<usize> {
    let mut lengths: Vec<usize> = (1..=4 * LANES + 3).collect();
    for size in [INNER, 2 * INNER, 768, BLOCK, 2 * BLOCK, 3 * BLOCK, 4 * BLOCK, 9 * BLOCK] {
        lengths.extend([size - 1, size, size + 1]);
    }
    lengths.extend([100, 1000, BLOCK + LANES + 5, 5000, 65535, 65536]);
    if short() {
        lengths.retain(|&len| len <= 2 * BLOCK && in_short(len));
    }
    lengths
}

/// The lengths at which exact data are tried: every one up to eight vectors and some, and around blocks.
pub fn exact_lengths() -> impl Iterator<Item = usize> {
    let around = [256, 768, BLOCK, 4 * BLOCK].into_iter().flat_map(|size| size - 1..=size + 1);
    let all = (1..=130).chain(around).chain([65535, 65536]);
    all.filter(|&len| !short() || len <= 2 * BLOCK && in_short(len))
}

/// Lengths at which a read or a write too far is likely: 0 to 4 vectors + 3, and around rows of 768 and a block.
pub fn edges() -> impl Iterator<Item = usize> + Clone {
    let all = (0..=4 * LANES + 3).chain(767..=769).chain(BLOCK - 1..=BLOCK + 1);
    all.filter(|&len| !short() || in_short(len))
}

/// The error of a variance, relative, that the data of these tests keep. `search.rs` has rows with a larger one, and the promise.
pub const VARIANCE: f64 = 1e-6;
/// The error of an output, as a part of `|gamma| * max(1, |x_hat|) + |beta|`.
pub const OUTPUT: f64 = 1e-6;
/// The same on exact data: what oneDNN requires on such data.
pub const EXACT_OUTPUT: f64 = 5e-7;
/// The distance of subnormal f32, as the docs have it: no bound relative to the output can undercut half of it.
pub const SUBNORMAL: f64 = 1.0 / (1_u128 << 75) as f64 / (1_u128 << 74) as f64;

/// Every backend of this machine. Those that it lacks are named once, or fail if they are required.
pub fn backends() -> Vec<Backend> {
    static MISSING: Once = Once::new();
    let required = std::env::var("EVENKEEL_REQUIRE_BACKENDS").unwrap_or_default();
    MISSING.call_once(|| {
        for name in Backend::NAMES {
            if let Err(error) = Backend::by_name(name) {
                let must =
                    required.split(',').any(|required| required == "all" || required == name);
                assert!(!must, "EVENKEEL_REQUIRE_BACKENDS={required}: {error}");
                skipped(name, "this CPU lacks it");
            }
        }
    });
    Backend::available().collect()
}

/// Each of some things with each backend.
pub fn with_backends<T: Copy>(
    things: impl IntoIterator<Item = T>,
) -> impl Iterator<Item = (T, Backend)> {
    things.into_iter().flat_map(|thing| backends().into_iter().map(move |backend| (thing, backend)))
}

/// Says what is not tested. Written to stderr itself: the harness shows what `eprintln!` prints only
/// where a test fails.
pub fn skipped(what: &str, why: &str) {
    writeln!(io::stderr(), "SKIPPED: {what} ({why})").expect("stderr can be written to");
}

/// Those whose bits must be equal. Unless the build fuses, the portable backend is not among them.
pub fn fused_backends() -> Vec<Backend> {
    backends().into_iter().filter(|backend| backend.is_fused()).collect()
}

/// A row of hard data: its name, and element i of a row of len elements (rounded to f32).
pub struct DataSet {
    pub name: &'static str,
    element: fn(i: usize, len: usize, random: &mut Random) -> f64,
}

impl DataSet {
    pub fn row(&self, len: usize, random: &mut Random) -> Vec<f32> {
        (0..len).map(|i| self.element(i, len, random)).collect()
    }

    pub fn element(&self, i: usize, len: usize, random: &mut Random) -> f32 {
        (self.element)(i, len, random) as f32
    }
}

const fn set(
    name: &'static str,
    element: fn(i: usize, len: usize, random: &mut Random) -> f64,
) -> DataSet {
    DataSet { name, element }
}

fn sign(i: usize) -> f64 {
    if i.is_multiple_of(2) { 1.0 } else { -1.0 }
}

/// What has broken kernels before: each name says why.
pub const DATA_SETS: &[DataSet] = &[
    set("normal", |_, _, random| random.normal()),
    set("mean/std 1e1", |_, _, random| random.normal() + 1e1),
    set("mean/std 1e2", |_, _, random| random.normal() - 1e2),
    set("mean/std 1e3", |_, _, random| random.normal() + 1e3),
    set("mean/std 1e4", |_, _, random| random.normal() - 1e4),
    set("mean/std 1e5", |_, _, random| random.normal() + 1e5),
    set("mean/std 1e6", |_, _, random| random.normal() + 1e6),
    set("outlier first", |i, _, random| random.normal() + if i == 0 { 1e6 } else { 0.0 }),
    set("outlier in the middle", |i, len, random| {
        random.normal() + if i == len / 2 { -1e6 } else { 0.0 }
    }),
    set("outlier last", |i, len, random| random.normal() + if i + 1 == len { 1e8 } else { 0.0 }),
    set("outlier in each block", |i, _, random| {
        random.normal() + if i % BLOCK == 7 { 1e6 } else { 0.0 }
    }),
    set("outlier in one block", |i, _, random| {
        random.normal() + if i == BLOCK { 1e7 } else { 0.0 }
    }),
    set("pilot of outliers, rest constant", |i, _, _| if i % BLOCK < 64 { 1e6 } else { 1.1 }),
    set("pilot of outliers, rest 1 +- 1e-3", |i, _, _| {
        if i % BLOCK < 64 { 1e6 } else { 1.0 + 1e-3 * sign(i) }
    }),
    set("pilot of noise, rest 1 +- 1e-3", |i, _, random| {
        if i % BLOCK < 64 { 1e3 * random.normal() } else { 1.0 + 1e-3 * sign(i) }
    }),
    set(
        "constant pilot, rest normal",
        |i, _, random| if i % BLOCK < 64 { 5.0 } else { random.normal() },
    ),
    set(
        "two values",
        |_, _, random| if random.bits() & 1 == 0 { 1.234_567_8 } else { -3.456_789_1 },
    ),
    set(
        "two near values",
        |_, _, random| if random.bits() & 1 == 0 { 1.000_001_4 } else { 1.000_003_9 },
    ),
    set("two far values", |i, _, _| if i.is_multiple_of(3) { 7.654_321e8 } else { 1.928_374e-7 }),
    set("alternating signs", |i, _, random| 1.23 * sign(i) * f64::from(random.mantissa())),
    set("alternating, equal squares", |i, _, _| 1.345_678_9 * sign(i)),
    set("sorted", |i, len, _| (i as f64 / len as f64).powi(3) * 100.0 - 20.0),
    set("ramp", |i, _, _| i as f64),
    set("ramp far off", |i, _, _| 1e6 + i as f64 / 16.0),
    set("falling ramp", |i, _, _| -0.1 * i as f64),
    set("constant 0", |_, _, _| 0.0),
    set("constant 1e7", |_, _, _| 1e7),
    set("constant of random mantissa", |_, _, _| 1.276_491_213_7),
    set("constant of subnormal", |_, _, _| 1.1e-40),
    set("constant of f32::MAX", |_, _, _| f64::from(f32::MAX)),
    set("constant but the last", |i, len, _| if i + 1 == len { 3.000_000_2 } else { 3.0 }),
    set("steps", |i, len, random| (i * 7 / len) as f64 * 10.0 + 0.1 * random.normal()),
    set("steps between blocks", |i, _, random| (i / BLOCK) as f64 * 1e5 + random.normal()),
    set("heavy tails", |i, _, random| sign(i) / (random.uniform() + 1e-6)),
    set("very heavy tails", |_, _, random| {
        sign(random.below(2)) / (random.uniform() + 1e-9).powi(3)
    }),
    set("wide exponents", |_, _, random| {
        sign(random.below(2)) * 2.0_f64.powi(random.below(60) as i32 - 30)
    }),
    set("1e30", |_, _, random| 1e30 * random.normal()),
    set("1e30 far off", |_, _, random| 1e30 * (1.0 + 1e-5 * random.normal())),
    set("1e-25", |_, _, random| 1e-25 * random.normal()),
    set("1e-25 far off", |_, _, random| 1e-25 * (1.0 + 1e-5 * random.normal())),
    set("1e18", |_, _, random| 1e18 * random.normal()),
    set("1e-12", |_, _, random| 1e-12 * random.normal()),
    set("1e-17", |_, _, random| 1e-17 * random.normal()),
    set("1e-19", |_, _, random| 1e-19 * random.normal()),
    set("subnormal", |_, _, random| 1e-40 * random.normal()),
    set("smallest subnormals", |_, _, random| f64::from(f32::from_bits(random.below(3) as u32))),
    set("almost all zero", |i, _, _| if i % 97 == 0 { 1e-22 } else { 0.0 }),
    set("both ends", |i, _, _| f64::from(f32::MAX) * sign(i)),
    set("tiny beside huge", |i, _, _| if i % 5 == 0 { 1e30 } else { 1e-30 }),
];

/// Exact data: pairs `mean + k * unit, mean - k * unit` with `k < steps`, and the mean itself where the length is odd.
/// Every sum of deviations or of their squares that any order of any blocks can form is exact, so the mean and the
/// variance are, too.
pub struct ExactSet {
    pub name: &'static str,
    pub mean: f64,
    pub unit: f64,
    pub steps: usize,
}

const fn exact(name: &'static str, mean: f64, unit: f64, steps: usize) -> ExactSet {
    ExactSet { name, mean, unit, steps }
}

/// 2^100, above which and below whose inverse squares leave f32.
const FAR: f64 = (1_u128 << 100) as f64;

/// Steps are below 512, so that a lane's sum of 64 squares is below 2^24.
pub const EXACT_SETS: &[ExactSet] = &[
    exact("small integers", 3.0, 1.0, 8),
    exact("around 0", 0.0, 1.0, 16),
    exact("integers up to 506", -7.0, 1.0, 500),
    exact("powers of two", 0.25, 1.0 / 64.0, 8),
    exact("larger powers of two", 16.0, 1.0, 8),
    exact("mean / std 1e3", 8191.0, 1.0, 16),
    exact("mean / std 1e6", -4_194_303.0, 1.0, 8),
    exact("mean / std 5e6", 12_345_677.0, 1.0, 4),
    exact("2^100", 5.0 * FAR, FAR / 4.0, 16),
    exact("2^-100", -5.0 / FAR, 0.25 / FAR, 16),
    exact("subnormal", 100.0 * SUBNORMAL, SUBNORMAL, 100),
];

impl ExactSet {
    /// So many numbers, and their exact M2.
    pub fn make(&self, len: usize, random: &mut Random) -> (Vec<f32>, f64) {
        let (mut x, mut m2) = (Vec::with_capacity(len), 0.0);
        while x.len() + 1 < len {
            let step = random.below(self.steps) as f64 * self.unit;
            x.extend([(self.mean + step) as f32, (self.mean - step) as f32]);
            m2 += 2.0 * step * step;
        }
        if x.len() < len {
            x.push(self.mean as f32);
        }
        (x, m2)
    }

    /// Whether sums of the squares themselves, without the mean subtracted, are exact as well.
    pub fn has_exact_squares(&self) -> bool {
        self.mean.abs() / self.unit + (self.steps as f64) < 512.0
    }
}

/// A row, and what the reference says of it.
pub struct Case {
    pub name: String,
    pub x: Vec<f32>,
}

/// Every data set at every length.
pub fn cases() -> impl Iterator<Item = Case> {
    DATA_SETS.iter().enumerate().flat_map(|(seed, set)| {
        lengths().into_iter().map(move |len| Case {
            name: format!("{}, {len} elements", set.name),
            x: set.row(len, &mut Random::new((seed * 1_000_003 + len) as u64)),
        })
    })
}

pub fn rows(rows: usize, cols: usize) -> Rows {
    Rows::new(rows, cols).expect("a shape of test data")
}

/// gamma and beta, each if it is there.
pub fn norm_args<'a>(gamma: Option<&'a [f32]>, beta: Option<&'a [f32]>) -> NormArgs<'a> {
    NormArgs::new().maybe_gamma(gamma).maybe_beta(beta)
}

/// The same for a training step.
pub fn train_args<'a>(gamma: Option<&'a [f32]>, beta: Option<&'a [f32]>) -> TrainArgs<'a> {
    TrainArgs::new().maybe_gamma(gamma).maybe_beta(beta)
}

/// Bits for comparison: every NaN is one.
pub fn bits(x: f32) -> u32 {
    if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }
}

/// Bits for comparison: every NaN is one.
pub fn bits64(x: f64) -> u64 {
    if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() }
}

/// Asserts equal bits, NaN equal to NaN, and names the first element that differs.
#[track_caller]
pub fn assert_same(what: &str, expected: &[f32], got: &[f32]) {
    assert_eq!(expected.len(), got.len(), "{what}: lengths");
    for (i, (&expected, &got)) in expected.iter().zip(got).enumerate() {
        assert!(
            bits(expected) == bits(got),
            "{what}: element {i}: expected {expected:e}, got {got:e}"
        );
    }
}

/// Asserts that outputs are within `OUTPUT * (|gamma| * max(1, |x_hat|) + |beta|)` of the reference.
#[track_caller]
pub fn assert_output(
    what: &str,
    y: &[f32],
    x_hat: &[f64],
    expected: &[f64],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
) {
    assert_output_within(OUTPUT, what, y, x_hat, expected, gamma, beta);
}

/// The same with another part than `OUTPUT`.
#[track_caller]
pub fn assert_output_within(
    part: f64,
    what: &str,
    y: &[f32],
    x_hat: &[f64],
    expected: &[f64],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
) {
    for i in 0..y.len() {
        let gamma = gamma.map_or(1.0, |gamma| f64::from(gamma[i].abs()));
        let beta = beta.map_or(0.0, |beta| f64::from(beta[i].abs()));
        let bound = part * (gamma * x_hat[i].abs().max(1.0) + beta) + SUBNORMAL;
        assert!(
            approx::abs_diff_eq!(f64::from(y[i]), expected[i], epsilon = bound),
            "{what}: element {i}: expected {:e}, got {:e}, bound {bound:e}",
            expected[i],
            y[i],
        );
    }
}

/// A copy of elements that begins so many elements after a cache line.
pub struct Placed<T> {
    memory: Vec<T>,
    first: usize,
    len: usize,
    start: usize,
}

impl<T: Copy + Default> Placed<T> {
    pub fn new(elements: &[T], start: usize) -> Self {
        const LINE: usize = 64;
        let len = elements.len();
        let mut memory = vec![T::default(); len + start + LINE / size_of::<T>()];
        let first = memory.as_ptr().align_offset(LINE) + start;
        memory[first..first + len].copy_from_slice(elements);
        Self { memory, first, len, start }
    }
}

/// A copy of the memory would begin elsewhere in a line.
impl<T: Copy + Default> Clone for Placed<T> {
    fn clone(&self) -> Self {
        Self::new(self, self.start)
    }
}

impl<T> Deref for Placed<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[self.first..self.first + self.len]
    }
}

impl<T> DerefMut for Placed<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.first..self.first + self.len]
    }
}

/// Trains where f32 cannot hold the running variances of some channels, which is an error if they are finite before. So they are
/// taken as infinite before, and are so afterwards.
pub fn train_past_overflow(
    running_var: &mut [f32],
    mut train: impl FnMut(&mut [f32]) -> Result<(), Error>,
) {
    let mut beyond = Vec::new();
    while let Err(error) = train(running_var) {
        let Error::StatisticOverflow { channel, .. } = error else { panic!("{error}") };
        running_var[channel] = f32::INFINITY;
        beyond.push(channel);
    }
    for channel in beyond {
        assert!(!running_var[channel].is_finite(), "channel {channel}");
        running_var[channel] = f32::INFINITY;
    }
}
