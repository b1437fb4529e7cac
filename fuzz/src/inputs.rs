//! What libFuzzer's bytes become: shapes, values, parameters, wrong lengths.
#![forbid(unsafe_code)]

use arbitrary::{Arbitrary, Unstructured};
use evenkeel::{Backend, BatchNorm, Mask, Parallelism, Rows, Stores, ValidRows};

use crate::{Buffer, store_mask};

/// Most elements of a matrix.
const ELEMENTS: usize = 5200;

/// What is worth three tasks.
pub const LARGE: usize = 3 << 16;

/// An input of any length, continued by random bytes that its first eight seed: short inputs, with which
/// libFuzzer begins, are whole ones, too, and a byte that it changes still changes one thing.
#[derive(Debug)]
pub struct Continued<T>(pub T);

impl<'a, T: for<'b> Arbitrary<'b>> Arbitrary<'a> for Continued<T> {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut bytes = u.bytes(u.len())?.to_vec();
        let mut seed = [0; 8];
        let first = bytes.len().min(8);
        seed[..first].copy_from_slice(&bytes[..first]);
        let mut random = Random(u64::from_le_bytes(seed));
        bytes.drain(..first);
        bytes.extend((0..64).flat_map(|_| random.bits().to_le_bytes()));
        T::arbitrary(&mut Unstructured::new(&bytes)).map(Self)
    }
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Roughly normal, mean 0 and variance 1: the sum of four uniform numbers of 16 bits.
    fn normal(&mut self) -> f64 {
        let bits = self.bits();
        let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xffff).sum();
        (sum as f64 / 65536.0 - 2.0) * 3.0_f64.sqrt()
    }
}

/// An f32, or an f64: any bits, or one of ordinary size.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Number {
    Bits(u64),
    Small(i16),
    Scaled { mantissa: u32, exponent: i8 },
    Zero,
    One,
}

impl Number {
    pub fn f32(self) -> f32 {
        match self {
            Self::Bits(bits) => f32::from_bits(bits as u32),
            _ => self.f64() as f32,
        }
    }

    pub fn f64(self) -> f64 {
        match self {
            Self::Bits(bits) => f64::from_bits(bits),
            Self::Small(number) => f64::from(number) / 16.0,
            Self::Scaled { mantissa, exponent } => {
                let sign = if mantissa & 1 == 0 { 1.0 } else { -1.0 };
                let mantissa = 1.0 + f64::from(mantissa >> 1) / f64::from(1_u32 << 31);
                sign * mantissa * 2.0_f64.powi(exponent.into())
            }
            Self::Zero => 0.0,
            Self::One => 1.0,
        }
    }

    /// As f32 has it, for arithmetic.
    fn wide(self) -> f64 {
        self.f32().into()
    }
}

/// What is put in place of an element.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Patch {
    Number(Number),
    Largest(bool),
    Smallest(bool),
    Infinity(bool),
    NaN,
}

impl Patch {
    fn value(self) -> f32 {
        let sign = |negative| if negative { -1.0 } else { 1.0 };
        match self {
            Self::Number(number) => number.f32(),
            Self::Largest(negative) => f32::MAX * sign(negative),
            Self::Smallest(negative) => f32::from_bits(1) * sign(negative),
            Self::Infinity(negative) => f32::INFINITY * sign(negative),
            Self::NaN => f32::NAN,
        }
    }
}

/// A parameter (eps, momentum, p): more often than not one that is accepted.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Parameter {
    Any(Number),
    Magnitude(Number),
    Unit(u32),
    Part { bits: u8, steps: u64 },
    Zero,
    One,
    Usual,
}

impl Parameter {
    pub fn value(self, usual: f64) -> f64 {
        match self {
            Self::Any(number) => number.f64(),
            Self::Magnitude(number) => number.f64().abs(),
            Self::Unit(number) => f64::from(number) / f64::from(u32::MAX),
            // Multiples of powers of two from 0 to 1, which are borders of dropout's thresholds.
            Self::Part { bits, steps } => {
                let range = 1_u64 << (bits % 54);
                (steps % (range + 1)) as f64 / range as f64
            }
            Self::Zero => 0.0,
            Self::One => 1.0,
            Self::Usual => usual,
        }
    }
}

/// The values of a row or a column. What is called a power is one of two that something is smaller than
/// something else.
#[derive(Arbitrary, Clone, Debug)]
pub enum Source {
    /// Any bit patterns.
    Bits,
    /// Bit patterns of finite numbers of at most so many exponents.
    Exponents { low: u8, span: u8 },
    /// Ordinary numbers around 0.
    Centred { std: Number },
    /// Ordinary numbers of any ratio of mean to std.
    Normal { mean: Number, power: u8 },
    /// One value.
    Constant(Number),
    /// Two values at random, one of them less often.
    Two { often: Number, seldom: Number, one_in: u8 },
    /// Two values that differ in their last bits.
    Near { value: Number, ulps: u8, one_in: u8 },
    /// `value + step` and `value - step` in turns.
    Alternating { value: Number, power: u8 },
    /// The first elements of each block around one value, the rest around another.
    Pilot { value: Number, factor: i8, noise: u8, step: u8, columns: bool },
    /// `start + i * step`.
    Ramp { start: Number, power: u8 },
    /// Bit patterns that the fuzzer wrote, over and over.
    Written(Vec<u32>),
}

impl Source {
    /// Element i.
    fn element(&self, i: usize, random: &mut Random) -> f32 {
        let sign = if i.is_multiple_of(2) { 1.0 } else { -1.0 };
        let part = |power: u8| 2.0_f64.powi(-i32::from(power % 32));
        match self {
            Self::Bits => f32::from_bits(random.bits() as u32),
            Self::Exponents { low, span } => {
                let bits = random.bits();
                let exponent = u32::from(*low) + (bits >> 32) as u32 % (u32::from(*span) + 1);
                f32::from_bits(bits as u32 & 0x807f_ffff | exponent.min(254) << 23)
            }
            Self::Centred { std } => (std.wide() * random.normal()) as f32,
            Self::Normal { mean, power } => {
                (mean.wide() * (1.0 + part(*power) * random.normal())) as f32
            }
            Self::Constant(value) => value.f32(),
            Self::Two { often, seldom, one_in } => {
                let seldom_now = random.bits().is_multiple_of(u64::from(*one_in) + 1);
                if seldom_now { seldom.f32() } else { often.f32() }
            }
            Self::Near { value, ulps, one_in } => {
                let near = random.bits().is_multiple_of(u64::from(*one_in) + 1);
                let more = if near { u32::from(*ulps) } else { 0 };
                f32::from_bits(value.f32().to_bits().wrapping_add(more))
            }
            Self::Alternating { value, power } => {
                (value.wide() * (1.0 + sign * part(*power))) as f32
            }
            Self::Pilot { value, factor, noise, step, columns } => {
                let in_pilot = if *columns { i % 64 < 8 } else { i % 1024 < 64 };
                let relative = if in_pilot {
                    1.0 + part(*noise) * random.normal()
                } else {
                    2.0_f64.powi(i32::from(factor % 32)) * (1.0 + sign * part(*step))
                };
                (value.wide() * relative) as f32
            }
            Self::Ramp { start, power } => (start.wide() * (1.0 + i as f64 * part(*power))) as f32,
            Self::Written(values) if values.is_empty() => 0.0,
            Self::Written(values) => f32::from_bits(values[i % values.len()]),
        }
    }

    /// `len` elements.
    pub fn values(&self, len: usize, seed: u64) -> Vec<f32> {
        let random = &mut Random(seed);
        (0..len).map(|i| self.element(i, random)).collect()
    }
}

/// How many lines (rows or columns, what has statistics) of how many elements.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Shape {
    Tiny { lines: u8, len: u8 },
    Small { lines: u8, len: u8 },
    Square { lines: u8, len: u8 },
    Long { lines: u8, len: u16 },
    Many { lines: u16, len: u8 },
    LongAround { lines: u8, edge: u8, delta: i8 },
    ManyAround { edge: u8, delta: i8, len: u8 },
}

impl Shape {
    /// How many lines of how many elements.
    pub fn resolve(self) -> (usize, usize) {
        /// Where the algorithms change, in elements, rows or columns.
        const EDGES: [usize; 12] = [8, 16, 64, 128, 192, 256, 768, 1024, 2048, 3072, 4096, 5120];
        let around = |edge: u8, delta: i8| {
            EDGES[usize::from(edge) % EDGES.len()].saturating_add_signed(isize::from(delta % 4))
        };
        let (lines, len): (usize, usize) = match self {
            Self::Tiny { lines, len } => ((lines % 4).into(), (len % 6).into()),
            Self::Small { lines, len } => ((1 + lines % 6).into(), (len % 80).into()),
            Self::Square { lines, len } => ((lines % 70).into(), (len % 70).into()),
            Self::Long { lines, len } => ((1 + lines % 6).into(), usize::from(len) % 5001),
            Self::Many { lines, len } => (usize::from(lines) % 5001, (len % 24).into()),
            Self::LongAround { lines, edge, delta } => {
                ((1 + lines % 9).into(), around(edge, delta))
            }
            Self::ManyAround { edge, delta, len } => (around(edge, delta), (1 + len % 140).into()),
        };
        // The longer of the two stays as it is.
        if len > lines {
            (lines.min(ELEMENTS / len.max(1)), len)
        } else {
            (lines, len.min(ELEMENTS / lines.max(1)))
        }
    }
}

/// A matrix whose lines are of several sources in turn, with any values anywhere.
#[derive(Arbitrary, Clone, Debug)]
pub struct Matrix {
    shape: Shape,
    seed: u64,
    first: Source,
    others: Vec<Source>,
    patches: Vec<(u16, Patch)>,
}

/// What a line is.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
pub enum Lines {
    Rows,
    Columns,
}

impl Matrix {
    /// The matrix row by row, and its shape.
    pub fn make(&self, lines_are: Lines) -> (Vec<f32>, Rows) {
        let (lines, len) = self.shape.resolve();
        let (rows, cols) = if lines_are == Lines::Rows { (lines, len) } else { (len, lines) };
        let mut x = vec![0.0; rows * cols];
        for line in 0..lines {
            let source = match line % (self.others.len() + 1) {
                0 => &self.first,
                other => &self.others[other - 1],
            };
            let random = &mut Random(self.seed ^ (line as u64) << 32);
            for i in 0..len {
                let place =
                    if lines_are == Lines::Rows { line * len + i } else { i * lines + line };
                x[place] = source.element(i, random);
            }
        }
        for (at, value) in &self.patches {
            if !x.is_empty() {
                let at = usize::from(*at) % x.len();
                x[at] = value.value();
            }
        }
        (x, Rows::new(rows, cols).expect("a small shape"))
    }
}

/// The rows of as many whole samples of `steps` as there are rows for.
pub fn whole_samples(x: &mut Vec<f32>, rows: Rows, steps: usize) -> Rows {
    let rows = Rows::new(rows.rows() / steps * steps, rows.cols()).expect("fewer rows");
    x.truncate(rows.elements());
    rows
}

/// The rows of a matrix over and over, until they are worth three tasks. Narrow ones stay as they are: they would be too many.
pub fn repeated(x: Vec<f32>, rows: Rows) -> (Vec<f32>, Rows) {
    const NARROW: usize = 16;
    if x.is_empty() || rows.cols() < NARROW {
        return (x, rows);
    }
    let times = LARGE.div_ceil(x.len());
    let rows = Rows::new(times * rows.rows(), rows.cols()).expect("less than twice as much");
    (x.repeat(times), rows)
}

/// The rows of a matrix.
pub fn lines(x: &[f32], rows: Rows) -> impl Iterator<Item = &[f32]> {
    let cols = rows.cols();
    (0..rows.rows()).map(move |r| &x[r * cols..(r + 1) * cols])
}

/// gamma and beta, each if it is there.
#[derive(Clone, Debug)]
pub struct Affine {
    gamma: Option<Vec<f32>>,
    beta: Option<Vec<f32>>,
}

impl Affine {
    pub fn new(gamma: &Option<Source>, beta: &Option<Source>, cols: usize) -> Self {
        let values =
            |source: &Option<Source>, seed| source.as_ref().map(|source| source.values(cols, seed));
        Self { gamma: values(gamma, 1), beta: values(beta, 2) }
    }

    pub fn of(gamma: Option<&[f32]>, beta: Option<&[f32]>) -> Self {
        Self { gamma: gamma.map(<[f32]>::to_vec), beta: beta.map(<[f32]>::to_vec) }
    }

    pub fn gamma(&self) -> Option<&[f32]> {
        self.gamma.as_deref()
    }

    pub fn beta(&self) -> Option<&[f32]> {
        self.beta.as_deref()
    }

    /// Those of column c.
    pub fn at(&self, c: usize) -> (Option<f32>, Option<f32>) {
        (self.gamma().map(|gamma| gamma[c]), self.beta().map(|beta| beta[c]))
    }
}

/// Which rows are valid.
#[derive(Arbitrary, Debug)]
pub enum Valid {
    /// Runs of valid rows and of padding in turns.
    Runs(Vec<u8>),
    OneIn(u8, u64),
    AllBut(u16),
    Only(u16),
    Bits(Vec<u8>),
}

/// How it is said.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum ValidIs {
    Packed,
    Bytes,
    /// Samples of so many steps. The rows after a sample's first padding are padding, too.
    Lengths(u8),
}

impl ValidIs {
    /// Steps of a sample, if so many rows are samples.
    pub fn steps(self, rows: usize) -> usize {
        match self {
            Self::Packed | Self::Bytes => 1,
            Self::Lengths(steps) => usize::from(steps).max(1).min(rows.max(1)),
        }
    }
}

impl Valid {
    fn rows(&self, count: usize) -> Vec<bool> {
        match self {
            Self::Runs(runs) => {
                let mut runs = runs.iter().map(|&run| usize::from(run));
                let (mut valid, mut rows) = (true, Vec::new());
                while rows.len() < count {
                    let run = runs.next().unwrap_or(count).min(count - rows.len());
                    rows.extend(std::iter::repeat_n(valid, run));
                    valid = !valid;
                }
                rows
            }
            Self::OneIn(n, seed) => {
                let mut random = Random(*seed);
                (0..count).map(|_| random.bits().is_multiple_of(u64::from(*n) + 1)).collect()
            }
            Self::AllBut(row) => (0..count).map(|r| r != usize::from(*row)).collect(),
            Self::Only(row) => (0..count).map(|r| r == usize::from(*row) % count.max(1)).collect(),
            Self::Bits(bits) => {
                let bit = |r: usize| bits.get(r / 8).is_some_and(|bits| bits >> (r % 8) & 1 == 1);
                (0..count).map(bit).collect()
            }
        }
    }

    /// Which of `count` rows are valid, in samples of `steps` where lengths say so, of which there are whole ones.
    pub fn of(&self, is: ValidIs, count: usize, steps: usize) -> Filter {
        let mut valid = self.rows(count);
        let (mut of_samples, mut mask) = (Vec::new(), Vec::new());
        match is {
            ValidIs::Lengths(_) => {
                for sample in valid.chunks_mut(steps) {
                    let length = sample.iter().position(|valid| !valid).unwrap_or(steps);
                    sample[length..].fill(false);
                    of_samples.push(length);
                }
            }
            ValidIs::Packed | ValidIs::Bytes => {
                mask = store_mask(&valid, matches!(is, ValidIs::Packed));
                // Any byte but 0 is valid, and what is beyond the last row does not count.
                match (is, mask.last_mut()) {
                    (ValidIs::Packed, Some(last)) if !count.is_multiple_of(8) => {
                        *last |= u8::MAX << (count % 8);
                    }
                    (ValidIs::Packed, _) => {}
                    _ => mask.iter_mut().for_each(|byte| *byte *= 0x80),
                }
            }
        }
        Filter { is, valid, mask, of_samples, steps }
    }
}

/// Which rows are valid.
pub struct Filter {
    is: ValidIs,
    pub valid: Vec<bool>,
    mask: Vec<u8>,
    of_samples: Vec<usize>,
    steps: usize,
}

impl Filter {
    /// The number of bytes or of lengths that the operations expect.
    pub fn right_len(&self) -> usize {
        match self.is {
            ValidIs::Packed | ValidIs::Bytes => self.mask.len(),
            ValidIs::Lengths(_) => self.of_samples.len(),
        }
    }

    /// So many bytes or lengths of it.
    pub fn resized(&self, len: usize, shift: u8) -> PassedFilter {
        let mut of_samples = self.of_samples.clone();
        of_samples.resize(len, 0);
        let (is, steps) = (self.is, self.steps);
        PassedFilter { is, mask: Buffer::of(&self.mask, len, shift), of_samples, steps }
    }

    /// Writes `+0.0` to the rows of a matrix that are not valid.
    pub fn zero_padding(&self, y: &mut [f32], cols: usize) {
        for (r, _) in self.valid.iter().enumerate().filter(|(_, valid)| !**valid) {
            y[r * cols..(r + 1) * cols].fill(0.0);
        }
    }

    /// Writes 0 to the statistics of rows that are not valid. A row has `each` of them.
    pub fn zero_statistics(&self, statistics: &mut [f64], each: usize) {
        let rows = statistics.chunks_exact_mut(each.max(1)).zip(&self.valid);
        rows.filter(|(_, valid)| !**valid).for_each(|(statistics, _)| statistics.fill(0.0));
    }
}

/// Which rows are valid, as operations take it.
pub struct PassedFilter {
    is: ValidIs,
    mask: Buffer<u8>,
    of_samples: Vec<usize>,
    steps: usize,
}

impl PassedFilter {
    pub fn rows(&self) -> ValidRows<'_> {
        match self.is {
            ValidIs::Packed => ValidRows::Mask(Mask::Packed(&self.mask)),
            ValidIs::Bytes => ValidRows::Mask(Mask::Bytes(&self.mask)),
            ValidIs::Lengths(_) => {
                ValidRows::Lengths { lengths: &self.of_samples, steps: self.steps }
            }
        }
    }
}

/// The backend on which every method is called. On the others, one method of an operation is enough.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Thorough(u8);

impl Thorough {
    pub fn is(self, backend: Backend) -> bool {
        let choice = usize::from(self.0) % Backend::available().count();
        Backend::available().nth(choice) == Some(backend)
    }
}

/// Threads as the fuzzer has it; most matrices are too small for a second one.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Threads {
    Auto,
    Serial,
    AtMost(usize),
}

impl From<Threads> for Parallelism {
    fn from(threads: Threads) -> Self {
        match threads {
            Threads::Auto => Self::Auto,
            Threads::Serial => Self::Serial,
            Threads::AtMost(tasks) => Self::AtMost(tasks),
        }
    }
}

/// How outputs are written.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum StoresAre {
    Auto,
    Cached,
    NonTemporal,
}

impl From<StoresAre> for Stores {
    fn from(stores: StoresAre) -> Self {
        match stores {
            StoresAre::Auto => Self::Auto,
            StoresAre::Cached => Self::Cached,
            StoresAre::NonTemporal => Self::NonTemporal,
        }
    }
}

/// How much of the running statistics stays, and how much of a batch's is taken.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Momentum {
    Keep(Parameter),
    Take(Parameter),
    Cumulative(u64),
    CumulativeFew(u8),
}

impl Momentum {
    /// The operation with this rule.
    pub fn set(self, operation: BatchNorm) -> BatchNorm {
        match self {
            Self::Keep(momentum) => operation.with_momentum(momentum.value(0.9)),
            Self::Take(momentum) => operation.with_pytorch_momentum(momentum.value(0.1)),
            Self::Cumulative(batches) => operation.with_cumulative_average(batches),
            Self::CumulativeFew(batches) => operation.with_cumulative_average(batches.into()),
        }
    }

    /// Whether the operation accepts it.
    pub fn is_valid(self) -> bool {
        match self {
            Self::Keep(momentum) => (0.0..=1.0).contains(&momentum.value(0.9)),
            Self::Take(momentum) => (0.0..=1.0).contains(&momentum.value(0.1)),
            Self::Cumulative(_) | Self::CumulativeFew(_) => true,
        }
    }

    /// What the running and the batch's statistic are multiplied by.
    pub fn weights(self) -> (f64, f64) {
        match self {
            Self::Keep(momentum) => (momentum.value(0.9), 1.0 - momentum.value(0.9)),
            Self::Take(momentum) => (1.0 - momentum.value(0.1), momentum.value(0.1)),
            Self::Cumulative(batches) => {
                let weight = 1.0 / (batches as f64 + 1.0);
                (1.0 - weight, weight)
            }
            Self::CumulativeFew(batches) => Self::Cumulative(batches.into()).weights(),
        }
    }

    /// Moves a running statistic towards that of a batch, as the docs of `BatchNorm` have it.
    pub fn apply(self, running: &mut f32, batch: f64) {
        let (keep, take) = self.weights();
        let before = f64::from(*running);
        let next = match self {
            Self::Keep(_) | Self::Take(_) => keep * before + take * batch,
            Self::Cumulative(batches) => before + (batch - before) / (batches as f64 + 1.0),
            Self::CumulativeFew(batches) => {
                return Self::Cumulative(batches.into()).apply(running, batch);
            }
        };
        *running = next as f32;
    }
}

/// Makes one of the buffers longer or shorter than it has to be, in one of eight inputs.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Wrong {
    one_in_eight: u8,
    buffer: u8,
    delta: i8,
}

/// The lengths that buffers have to have, or one of them changed.
pub fn lengths<const N: usize>(right: [usize; N], wrong: Wrong) -> [usize; N] {
    let mut lengths = right;
    if wrong.one_in_eight % 8 == 7 {
        let length = &mut lengths[usize::from(wrong.buffer) % N];
        *length = length.saturating_add_signed(wrong.delta.into());
    }
    lengths
}

/// The largest divisor of n that is at most `most`, and at least 1.
pub fn divisor(n: usize, most: u8) -> usize {
    let most = usize::from(most).max(1);
    (1..=most).rev().find(|divisor| n.is_multiple_of(*divisor)).unwrap_or(1)
}
