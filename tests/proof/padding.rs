//! Padding of columns: rows that do not count. The definition is the matrix without them. `masks.rs` has the padding of other
//! operations.
#![forbid(unsafe_code)]

use evenkeel::{
    Backend, BatchNorm, ColumnMoments, Error, InOut, Mask, MomentArgs, Moments, NormArgs,
    Parallelism, RowMoments, Stores, TrainArgs, ValidRows, reference,
};

use crate::common::*;
use crate::dropout::pack;

/// Which rows are valid, by a name.
pub type Rule = (&'static str, fn(row: usize, rows: usize) -> bool);

pub const RULES: [Rule; 9] = [
    ("all", |_, _| true),
    ("none", |_, _| false),
    ("the first", |row, _| row == 0),
    ("the last", |row, rows| row + 1 == rows),
    ("every other", |row, _| row % 2 == 1),
    ("two of three", |row, _| row % 3 != 1),
    ("blocks", |row, _| row / 64 % 2 == 0),
    ("all but one in the middle", |row, rows| row != rows / 2),
    ("some", |row, _| (row * row + row / 7) % 11 < 6),
];

/// Around blocks of rows, narrow ones (many rows are one then) and wide ones, and more than a panel of columns.
const SHAPES: [(usize, usize); 18] = [
    (1, 1),
    (5, 1),
    (300, 1),
    (20_003, 1),
    (33_000, 1),
    (8195, 2),
    (2000, 3),
    (700, 16),
    (1100, 17),
    (530, 100),
    (260, 255),
    (129, 256),
    (64, 257),
    (65, 300),
    (128, 300),
    (200, 300),
    (130, 2049),
    (7, 4100),
];

/// Shapes, or few of them.
fn shapes() -> impl Iterator<Item = (usize, usize)> {
    SHAPES.into_iter().filter(|(count, cols)| !short() || count * cols < 20_000)
}

/// A matrix, which of its rows are valid, and the matrix without the others.
pub struct Padded {
    pub name: String,
    pub shape: (usize, usize),
    pub valid: Vec<bool>,
    bytes: Vec<u8>,
    bits: Vec<u8>,
    pub x: Vec<f32>,
    compact: Vec<f32>,
}

impl Padded {
    /// Columns of different data sets, those that f32 cannot do among them; NaN, infinities and the largest numbers in
    /// the padding.
    pub fn new((count, cols): (usize, usize), (name, rule): Rule) -> Self {
        let random = &mut Random::new((count * 31 + cols) as u64);
        let valid: Vec<bool> = (0..count).map(|row| rule(row, count)).collect();
        let (mut x, mut compact) = (Vec::new(), Vec::new());
        for (r, &valid) in valid.iter().enumerate() {
            for c in 0..cols {
                // A column has one data set, and every third is normal.
                let set = if c % 3 == 0 { 0 } else { c * 7 % DATA_SETS.len() };
                let element = DATA_SETS[set].element(r, count, random);
                if valid {
                    compact.push(element);
                }
                let bad = [f32::NAN, f32::INFINITY, f32::MAX, -f32::NAN][(r + c) % 4];
                x.push(if valid { element } else { bad });
            }
        }
        let bytes: Vec<u8> = valid.iter().map(|&valid| 3 * u8::from(valid)).collect();
        let bits = pack(&valid.iter().map(|&valid| u8::from(valid)).collect::<Vec<_>>());
        let name = format!("{count}x{cols}, {name}");
        Self { name, shape: (count, cols), valid, bytes, bits, x, compact }
    }

    fn all() -> impl Iterator<Item = Self> {
        shapes().flat_map(|shape| RULES.map(|rule| Self::new(shape, rule)))
    }

    pub fn masks(&self) -> [ValidRows<'_>; 2] {
        [ValidRows::Mask(Mask::Packed(&self.bits)), ValidRows::Mask(Mask::Bytes(&self.bytes))]
    }

    /// The matrix without padding.
    pub fn compact(&self) -> &[f32] {
        &self.compact
    }

    /// The number of valid rows.
    fn count(&self) -> usize {
        self.compact.len() / self.shape.1
    }

    /// The rows of the compact matrix where they are in the padded one, `+0.0` in the padding.
    fn spread(&self, compact: &[f32]) -> Vec<f32> {
        let mut rows = compact.chunks_exact(self.shape.1);
        let zeros = &*vec![0.0; self.shape.1];
        self.valid
            .iter()
            .flat_map(|&valid| if valid { rows.next().unwrap() } else { zeros })
            .copied()
            .collect()
    }
}

fn bits_of(moments: &[Moments]) -> Vec<[u64; 3]> {
    moments.iter().map(|m| [m.count, bits64(m.mean), bits64(m.m2)]).collect()
}

/// Law: the moments of columns have the bits of those of the matrix without padding, for either kind of mask.
#[test]
fn moments_of_columns_are_those_without_padding() {
    for padded in Padded::all() {
        let ((count, cols), n) = (padded.shape, padded.count());
        for backend in backends() {
            let operation =
                ColumnMoments::new().with_backend(backend).with_parallelism(Parallelism::Serial);
            let (mut expected, mut got) = (vec![Moments::new(); cols], vec![Moments::new(); cols]);
            // Of no rows, too.
            operation
                .compute(&padded.compact, rows(n, cols), &mut expected, MomentArgs::new())
                .unwrap();
            for valid in padded.masks() {
                let args = MomentArgs::new().valid(valid);
                operation.compute(&padded.x, rows(count, cols), &mut got, args).unwrap();
                assert_eq!(bits_of(&got), bits_of(&expected), "{backend}, {}", padded.name);
            }
        }
    }
}

/// What training leaves.
#[derive(Debug, PartialEq)]
struct Trained {
    y: Vec<u32>,
    statistics: Vec<u64>,
    running: Vec<u32>,
}

/// Trains, with a mask or without.
fn train(
    operation: BatchNorm,
    (x, count, cols): (&[f32], usize, usize),
    valid: Option<ValidRows<'_>>,
    in_place: bool,
) -> (Vec<f32>, Trained) {
    let random = &mut Random::new(3);
    let (gamma, beta) = (random.normals(cols), random.normals(cols));
    let mut y = x.to_vec();
    let (mut mean, mut rstd) = (vec![7.0; cols], vec![7.0; cols]);
    let (mut m, mut v) = (vec![0.5; cols], vec![2.0; cols]);
    let mut args =
        TrainArgs::new().affine(&gamma, &beta).stats(&mut mean, &mut rstd).running(&mut m, &mut v);
    if let Some(valid) = valid {
        args = args.valid(valid);
    }
    let io = if in_place { InOut::in_place(&mut y) } else { InOut::new(x, &mut y) };
    operation.forward_training(io, rows(count, cols), args).unwrap();
    let trained = Trained {
        y: Vec::new(),
        statistics: mean.iter().chain(&rstd).map(|&x| bits64(x)).collect(),
        running: m.iter().chain(&v).map(|&x| bits(x)).collect(),
    };
    (y, trained)
}

/// Law: training gives the bits of the batch without padding, in the valid rows, the statistics and the running
/// statistics; padding becomes `+0.0`; in place as out of place, in any tasks, with either kind of stores.
#[test]
fn training_is_that_without_padding() {
    for padded in Padded::all() {
        let ((count, cols), n) = (padded.shape, padded.count());
        for backend in backends() {
            let operation = BatchNorm::new().with_backend(backend);
            let (y, expected) = train(operation, (&padded.compact, n, cols), None, false);
            let expected =
                Trained { y: padded.spread(&y).into_iter().map(bits).collect(), ..expected };
            for (i, valid) in padded.masks().into_iter().enumerate() {
                for in_place in [false, true] {
                    let stores = [Stores::Cached, Stores::NonTemporal][i];
                    let operation = operation.with_stores(stores);
                    let x = (&padded.x[..], count, cols);
                    let (y, got) = train(operation, x, Some(valid), in_place);
                    let got = Trained { y: y.into_iter().map(bits).collect(), ..got };
                    assert!(got == expected, "{backend}, {}, in place {in_place}", padded.name);
                }
            }
        }
    }
}

/// Law: inference gives the bits of the batch without padding, and `+0.0` in the padding.
#[test]
fn inference_is_that_without_padding() {
    for padded in Padded::all() {
        let ((count, cols), n) = (padded.shape, padded.count());
        let random = &mut Random::new(4);
        let (m, gamma, beta) = (random.normals(cols), random.normals(cols), random.normals(cols));
        let v: Vec<f32> = random.normals(cols).iter().map(|v| v.abs()).collect();
        let args = || NormArgs::new().affine(&gamma, &beta);
        for backend in backends() {
            let operation = BatchNorm::new().with_backend(backend);
            let mut compact = padded.compact.clone();
            let io = InOut::in_place(&mut compact);
            operation.forward_inference(io, rows(n, cols), &m, &v, args()).unwrap();
            let expected = padded.spread(&compact);
            for valid in padded.masks() {
                let (mut y, mut xy) = (vec![7.0; count * cols], padded.x.clone());
                let shape = rows(count, cols);
                let args = || args().valid(valid);
                let io = InOut::new(&padded.x, &mut y);
                operation.forward_inference(io, shape, &m, &v, args()).unwrap();
                let io = InOut::in_place(&mut xy);
                operation.forward_inference(io, shape, &m, &v, args()).unwrap();
                assert_same(&padded.name, &expected, &y);
                assert_same(&padded.name, &expected, &xy);
                let zeros = y.iter().zip(&expected).all(|(y, e)| *e != 0.0 || y.to_bits() == 0);
                assert!(zeros || n > 0, "{}: padding is +0.0", padded.name);
            }
        }
    }
}

/// Law: any number of threads and tasks gives the bits of one. (Where work is shared, chunks of the valid rows are.)
#[test]
fn parallel_gives_the_bits_of_serial() {
    let shapes = [(100_003, 3), (33_001, 17), (2100, 257)];
    for shape in shapes.into_iter().filter(|(n, cols)| !short() || n * cols < 400_000) {
        for rule in [RULES[4], RULES[6], RULES[7], RULES[8]] {
            let padded = Padded::new(shape, rule);
            let x = (&padded.x[..], shape.0, shape.1);
            let valid = padded.masks();
            let run = |parallelism, valid| {
                let operation = BatchNorm::new().with_parallelism(parallelism);
                let (y, got) = train(operation, x, Some(valid), false);
                Trained { y: y.into_iter().map(bits).collect(), ..got }
            };
            let expected = run(Parallelism::Serial, valid[0]);
            for threads in [1, 2, 7] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                for (i, parallelism) in
                    [Parallelism::Auto, Parallelism::AtMost(3)].into_iter().enumerate()
                {
                    let got = pool.install(|| run(parallelism, valid[i]));
                    assert!(got == expected, "{}, {threads} threads", padded.name);
                }
            }
        }
    }
}

/// Law: lengths are the mask in which the first steps of every sample are valid.
#[test]
fn lengths_of_samples_are_a_mask() {
    for (samples, steps, cols) in [(1, 1, 1), (5, 3, 2), (40, 70, 3), (9, 50, 33), (6, 31, 260)] {
        let random = &mut Random::new(steps as u64);
        let mut lengths: Vec<usize> = (0..samples).map(|_| random.below(steps + 1)).collect();
        lengths[0] = steps;
        let bytes: Vec<u8> = lengths
            .iter()
            .flat_map(|&length| (0..steps).map(move |step| u8::from(step < length)))
            .collect();
        let x = random.normals(samples * steps * cols);
        let mask = ValidRows::Mask(Mask::Bytes(&bytes));
        let lengths = ValidRows::Lengths { lengths: &lengths, steps };
        for backend in backends() {
            let operation = BatchNorm::new().with_backend(backend);
            let [expected, got] = [mask, lengths]
                .map(|valid| train(operation, (&x, samples * steps, cols), Some(valid), false));
            assert_same("lengths", &expected.0, &got.0);
            assert_eq!(got.1, expected.1, "{samples}x{steps}x{cols}");
        }
    }
}

/// Law: without a valid row y is `+0.0`, the statistics are 0, and the running ones stay; the moments of columns are those of
/// nothing.
#[test]
fn a_batch_without_a_valid_row_has_zeros_and_leaves_the_running_statistics() {
    for (count, cols) in [(1, 1), (5, 3), (70, 300)] {
        let (x, bytes, shape) = (vec![f32::NAN; count * cols], vec![0; count], rows(count, cols));
        let valid = ValidRows::Mask(Mask::Bytes(&bytes));
        for (unbiased, backend) in with_backends([false, true]) {
            let operation =
                BatchNorm::new().with_backend(backend).with_unbiased_running_var(unbiased);
            let (y, trained) = train(operation, (&x, count, cols), Some(valid), false);
            assert!(y.iter().all(|y| y.to_bits() == 0), "{count}x{cols}");
            assert!(trained.statistics.iter().all(|&bits| bits == 0.0_f64.to_bits()));
            let running = trained.running.split_at(cols);
            assert!(running.0.iter().all(|&mean| mean == 0.5_f32.to_bits()));
            assert!(running.1.iter().all(|&var| var == 2.0_f32.to_bits()));
        }
        let mut moments = vec![Moments { count: 9, ..Moments::new() }; cols];
        let args = MomentArgs::new().valid(valid);
        ColumnMoments::new().compute(&x, shape, &mut moments, args).unwrap();
        assert_eq!(moments, vec![Moments::new(); cols]);
    }
}

/// One valid row has no unbiased variance, however many rows there are.
#[test]
fn one_valid_row_has_no_unbiased_variance() {
    let bytes = [0, 1, 0];
    let valid = ValidRows::Mask(Mask::Bytes(&bytes));
    let (mut y, mut mean, mut rstd) = ([7.0; 3], [7.0], [7.0]);
    let (mut m, mut v) = ([0.0], [1.0]);
    let operation = BatchNorm::new().with_unbiased_running_var(true);
    let args = TrainArgs::new().valid(valid).stats(&mut mean, &mut rstd).running(&mut m, &mut v);
    let io = InOut::new(&[1.0; 3], &mut y);
    let result = operation.forward_training(io, rows(3, 1), args).map(drop);
    let expected = Error::TooFewRows { arg: "unbiased variance", expected: 2, got: 1 };
    assert_eq!(result, Err(expected));
    assert_eq!((y, mean, rstd, m, v), ([7.0; 3], [7.0], [7.0], [0.0], [1.0]));
}

/// Law: the moments of prefixes have the bits of the moments of rows that end there.
#[test]
fn moments_of_prefixes_are_those_of_shorter_rows() {
    for set in DATA_SETS.iter().step_by(3) {
        for cols in [1, 5, 40, 1025, 5000] {
            let random = &mut Random::new(cols as u64);
            let lengths: Vec<usize> =
                (0..21).map(|r| if r == 3 { 0 } else { random.below(cols + 1) }).collect();
            let mut x = Vec::new();
            for &length in &lengths {
                x.extend(set.row(length, random));
                x.resize(x.len() + cols - length, f32::NAN);
            }
            for backend in backends() {
                let operation = RowMoments::new().with_backend(backend);
                let mut got = [Moments { count: 9, ..Moments::new() }; 21];
                let args = MomentArgs::new().lengths(&lengths);
                operation.compute(&x, rows(21, cols), &mut got, args).unwrap();
                for (r, &length) in lengths.iter().enumerate() {
                    let mut expected = [Moments::new()];
                    if length > 0 {
                        let (row, shape) = (&x[r * cols..][..length], rows(1, length));
                        operation.compute(row, shape, &mut expected, MomentArgs::new()).unwrap();
                    }
                    let (got, expected) = (bits_of(&got[r..=r]), bits_of(&expected));
                    assert_eq!(got, expected, "{backend}, {}, {length} of {cols}", set.name);
                }
            }
        }
    }
}

/// Prefixes in any tasks.
#[test]
fn parallel_prefixes_have_the_bits_of_serial_ones() {
    let (count, cols) = (if short() { 300 } else { 3000 }, 1000);
    let random = &mut Random::new(2);
    let x: Vec<f32> = (0..count * cols).map(|_| random.mantissa()).collect();
    let lengths: Vec<usize> = (0..count).map(|_| random.below(cols + 1)).collect();
    let run = |parallelism| {
        let mut moments = vec![Moments::new(); count];
        let args = MomentArgs::new().lengths(&lengths);
        RowMoments::new()
            .with_parallelism(parallelism)
            .compute(&x, rows(count, cols), &mut moments, args)
            .unwrap();
        bits_of(&moments)
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap();
    let expected = run(Parallelism::Serial);
    assert_eq!(pool.install(|| run(Parallelism::Auto)), expected);
    assert_eq!(pool.install(|| run(Parallelism::AtMost(3))), expected);
}

/// Known answers of PyTorch 2.15.0 in f64, of the valid rows alone: two samples of three steps, the first with three
/// valid ones, the second with one. `torch.nn.BatchNorm1d(2, eps=1e-3, momentum=0.1)` in training, with the weight
/// [2, 0.5] and the bias [0.25, -1].
#[test]
fn known_answers_of_pytorch() {
    const NAN: f32 = f32::NAN;
    let x = [1.0, -2.0, 3.5, 0.25, -0.5, 4.0, 10.0, 20.0, NAN, 1e9, -7.0, NAN];
    let valid = ValidRows::Lengths { lengths: &[3, 1], steps: 3 };
    let expected: [f64; 12] = [
        -0.995_107_005_358_776_7,
        -1.439_338_153_774_814_2,
        0.25,
        -1.308_625_975_792_225,
        -1.742_171_208_574_042_6,
        -1.090_772_345_821_242_6,
        3.487_278_213_932_819_3,
        -0.161_263_524_611_718_42,
        0.0,
        0.0,
        0.0,
        0.0,
    ];
    let (expected_mean, expected_running_var) = ([0.35, 0.55625], [3.05, 10.776_562_5]);
    for backend in backends() {
        let operation: BatchNorm = BatchNorm::new()
            .with_eps(1e-3)
            .with_pytorch_momentum(0.1)
            .with_unbiased_running_var(true)
            .with_backend(backend);
        let (mut y, mut mean, mut rstd) = ([7.0; 12], [7.0; 2], [7.0; 2]);
        let (mut m, mut v) = ([0.0; 2], [1.0; 2]);
        let args = TrainArgs::new()
            .affine(&[2.0_f32, 0.5], &[0.25_f32, -1.0])
            .valid(valid)
            .stats(&mut mean, &mut rstd)
            .running(&mut m, &mut v);
        operation.forward_training(InOut::new(&x, &mut y), rows(6, 2), args).unwrap();
        for (y, expected) in y.iter().zip(expected) {
            assert!((f64::from(*y) - expected).abs() <= 4e-6, "{backend}: {y}, {expected}");
        }
        for c in 0..2 {
            approx::assert_relative_eq!(f64::from(m[c]), expected_mean[c], max_relative = 1e-6);
            approx::assert_relative_eq!(
                f64::from(v[c]),
                expected_running_var[c],
                max_relative = 1e-6
            );
        }
    }
}

/// The definition once more, in scalar code: the statistics of the valid rows, whichever they are.
#[test]
fn statistics_are_those_of_the_reference() {
    for rule in RULES.into_iter().filter(|(name, _)| *name != "none") {
        let padded = Padded::new((300, 20), rule);
        let (mean, rstd) = reference::batch_statistics(&padded.compact, 20, 1e-5);
        let operation = BatchNorm::new().with_backend(Backend::detect());
        let (_, got) = train(operation, (&padded.x, 300, 20), Some(padded.masks()[0]), false);
        for c in 0..20 {
            let near = |got: u64, expected: f64, scale: f64| {
                let got = f64::from_bits(got);
                (got - expected).abs() <= 1e-6 * scale || got.is_nan() && expected.is_nan()
            };
            let std = 1.0 / rstd[c];
            let mean_scale = std + f64::EPSILON * 1e7 * mean[c].abs();
            assert!(near(got.statistics[c], mean[c], mean_scale), "{}, column {c}", padded.name);
            assert!(near(got.statistics[20 + c], rstd[c], rstd[c]), "{}, column {c}", padded.name);
        }
    }
}
