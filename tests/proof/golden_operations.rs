//! The bits of every operation of the registry, checked in; and the bits of settings that the registry has not.
//!
//! Each has a table with a column for each case. Not there is what a method returns: `regularizer.rs` has the bits of penalties.
//!
//! **A change of bits is a line in CHANGELOG.md.** If one is meant, write that line and make new tables by
//! `EVENKEEL_BLESS=1 cargo test --test proof golden_operations`.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use evenkeel::preprocess::{MinMaxScaler, StandardScaler};
use evenkeel::{
    Backend, BatchNorm, Channels, ColumnMoments, Dropout, Error, GroupNorm, InOut, InstanceNorm,
    LayerNorm, Mask, MomentArgs, Moments, Parallelism, RmsNorm, Rows, Stores, Stream, TrainArgs,
    ValidRows,
};

use crate::channels::{data, first, last, to_last};
use crate::common::*;
use crate::golden::{words, words64};
use crate::registry::{Memory, OPERATIONS, PAINT, Place, Setting, Values};

/// What no operation writes.
const PAINT_64: f64 = f64::from_bits(0xfffc_a5a5_a5a5_a5a5);

/// How a case is run. None may change a bit.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub backend: Backend,
    pub parallelism: Parallelism,
    pub stores: Stores,
}

/// Names of methods or settings, and the hash of what each writes.
pub type Hashes = Vec<(String, u32)>;

/// The hash of tables in rustc, a word at a time: all methods together write much.
pub fn hash(words: impl IntoIterator<Item = u64>) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let hash =
        words.into_iter().fold(0_u64, |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(ODD));
    (hash ^ hash >> 32) as u32
}

pub fn words_of_moments(moments: &[Moments]) -> impl Iterator<Item = u64> {
    moments.iter().flat_map(|m| [m.count, bits64(m.mean), bits64(m.mean_low), bits64(m.m2)])
}

/// A table that is checked in: a line with the names of the cases, then one for every method or setting.
pub struct Table {
    pub file: &'static str,
    pub text: &'static str,
}

impl Table {
    /// Asserts that every case has its hashes on every fused backend, on one thread and on three; or makes the table.
    /// `cases` are names and numbers of elements.
    pub fn assert_holds(
        &self,
        cases: &[(String, usize)],
        run: impl Fn(usize, Way) -> Hashes + Sync,
    ) {
        let (parallelism, stores) = (Parallelism::Serial, Stores::Cached);
        let serial = |backend| Way { backend, parallelism, stores };
        let shared =
            |backend| Way { backend, parallelism: Parallelism::Auto, stores: Stores::NonTemporal };
        if std::env::var_os("EVENKEEL_BLESS").is_some() {
            let backend = Backend::detect();
            assert!(backend.is_fused(), "only a fused backend can make golden hashes");
            let all = (0..cases.len()).map(|case| run(case, serial(backend))).collect();
            return self.write(cases, all);
        }
        let backends = fused_backends();
        if backends.is_empty() {
            skipped(self.file, "no backend of this CPU and build fuses");
        }
        // On a machine of one core too.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a pool");
        for (case, (name, elements)) in cases.iter().enumerate() {
            if short() && *elements > 10_000 {
                continue;
            }
            let expected = self.hashes(cases, case);
            for way in backends.iter().flat_map(|&backend| [serial(backend), shared(backend)]) {
                let got = pool.install(|| run(case, way));
                assert!(
                    got == expected,
                    "{} has other bits for {name}, {way:?}:\n{}A change of bits is a line in CHANGELOG.md; \
                     its test's file says how to make the table",
                    self.file,
                    differences(&expected, &got)
                );
            }
        }
    }

    /// The hashes of a case.
    fn hashes(&self, cases: &[(String, usize)], case: usize) -> Hashes {
        let mut lines = self.text.lines();
        let named: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
        assert!(named.iter().eq(cases.iter().map(|(name, _)| name)), "{}: cases", self.file);
        let hash = |line: &str| {
            let fields: Vec<&str> = line.splitn(cases.len() + 1, ' ').collect();
            let hash = u32::from_str_radix(fields[case], 16).expect("a hash");
            (fields[cases.len()].to_owned(), hash)
        };
        lines.map(hash).collect()
    }

    fn write(&self, cases: &[(String, usize)], all: Vec<Hashes>) {
        let mut text: String = cases.iter().map(|(name, _)| format!("{name:8} ")).collect();
        text.truncate(text.trim_end().len());
        for (i, (name, _)) in all[0].iter().enumerate() {
            text.push('\n');
            all.iter().for_each(|hashes| text.push_str(&format!("{:08x} ", hashes[i].1)));
            text.push_str(name);
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof").join(self.file);
        fs::write(path, text + "\n").expect("the table can be written");
    }
}

/// A line for every name that has another hash in one than in the other, or is in one alone.
fn differences(expected: &Hashes, got: &Hashes) -> String {
    let hash = |hashes: &Hashes, name: &str| match hashes.iter().find(|(of, _)| of == name) {
        Some((_, hash)) => format!("{hash:08x}"),
        None => "none".to_owned(),
    };
    let names: BTreeSet<&String> = expected.iter().chain(got).map(|(name, _)| name).collect();
    let both = names.into_iter().map(|name| (name, hash(expected, name), hash(got, name)));
    both.filter(|(_, expected, got)| expected != got)
        .map(|(name, expected, got)| format!("  expected {expected}, got {got}: {name}\n"))
        .collect()
}

/// What the elements of a matrix are.
#[derive(Clone, Copy)]
enum Data {
    /// Near 1.
    Normal,
    /// Too large for sums of squares in f32, and for some coefficients.
    Large,
    /// With a NaN or an infinity here and there.
    Holes,
    /// Each row of a data set of its own.
    Rows,
    /// Each column of a data set of its own.
    Columns,
}

impl Data {
    /// A matrix, and about how large the statistics are that go with it.
    fn make(self, (count, cols): (usize, usize), random: &mut Random) -> (Vec<f32>, f32) {
        let set = |i: usize| &DATA_SETS[(i + count) % DATA_SETS.len()];
        let normals = random.normals(count * cols);
        match self {
            Self::Normal => (normals, 1.0),
            Self::Large => (normals.iter().map(|x| 1e34 * x).collect(), 1e34),
            Self::Holes => {
                let hole = |i: usize| [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][i % 3];
                let with_holes = |(i, x)| if i % 701 == 5 { hole(i) } else { x };
                (normals.into_iter().enumerate().map(with_holes).collect(), 1.0)
            }
            Self::Rows => {
                let mut x = Vec::new();
                (0..count).for_each(|r| x.extend(set(r).row(cols, random)));
                (x, 1.0)
            }
            Self::Columns => {
                let at = |i| set(i % cols).element(i / cols, count, random);
                ((0..count * cols).map(at).collect(), 1.0)
            }
        }
    }
}

/// A matrix; whether there are gamma and beta; eps; probability and offset of dropout.
type Case = ((usize, usize), Data, (bool, bool), f64, (f64, u64));

/// * Rows that are short, in groups of sixteen and not; longer, in groups of two and not; of several blocks, one by one.
/// * Columns that are narrow and wide; of one block and of several; in one panel and in several.
/// * Planes that do not fill a vector; of 49 elements; longer.
/// * Two matrices are large enough for several threads.
const CASES: [Case; 17] = [
    ((1, 1), Data::Normal, (false, false), 1e-5, (0.5, 0)),
    ((3, 7), Data::Normal, (true, true), 0.0, (0.3, 5)),
    ((33, 7), Data::Rows, (true, true), 1e-5, (0.1, 31)),
    ((33, 49), Data::Columns, (true, false), 1e-5, (0.5, 4090)),
    ((19, 100), Data::Rows, (false, true), 0.0, (0.001, 5)),
    ((35, 128), Data::Holes, (true, true), 1e-5, (0.3, 1 << 40)),
    ((300, 9), Data::Columns, (true, true), 0.0, (0.9, 0)),
    ((40, 130), Data::Large, (true, true), 1e-5, (0.3, 7)),
    ((2100, 16), Data::Columns, (false, false), 1e-5, (1.0, 0)),
    ((17, 768), Data::Rows, (true, true), 1e-5, (0.0, 0)),
    ((130, 257), Data::Columns, (true, true), 1e-5, (0.5, 1)),
    ((7, 1000), Data::Rows, (false, false), 0.0, (0.25, 4096)),
    ((3, 1025), Data::Columns, (true, true), 1e-5, (0.99, 3)),
    ((5, 2500), Data::Rows, (true, false), 1e-5, (0.3, 0)),
    ((2, 5000), Data::Holes, (true, true), 1e-5, (0.5, 100)),
    ((65, 2100), Data::Columns, (true, true), 0.0, (0.1, 0)),
    ((2700, 50), Data::Rows, (true, true), 1e-5, (0.02, 9)),
];

fn hashes_of_operations((shape, data, affine, eps, (p, offset)): Case, way: Way) -> Hashes {
    let random = &mut Random::new((shape.0 * 31 + shape.1) as u64);
    let rows = rows(shape.0, shape.1);
    let (x, scale) = data.make(shape, random);
    let values = Values::new(rows, x, scale, random);
    let setting = Setting {
        parallelism: way.parallelism,
        stores: way.stores,
        eps,
        stream: Stream { seed: 5, offset },
        dropout: Dropout::new().with_p(p),
        l2: p,
        ..Setting::new(way.backend, rows)
    };
    let mut hashes = Vec::new();
    for operation in OPERATIONS {
        for options in operation.option_sets() {
            let name = format!("{} {}", operation.name, options.join(" ")).trim_end().to_owned();
            let with_affine = [(affine.0, "gamma"), (affine.1, "beta")];
            let chosen = with_affine.into_iter().filter(|(is_there, _)| *is_there);
            let options: Vec<&str> =
                options.into_iter().chain(chosen.map(|(_, name)| name)).collect();
            let mut memory = Memory::new(operation, &values, Place::New, &options);
            memory.admit_overflow(operation, &setting);
            assert_eq!(memory.call(operation, &setting), Ok(()), "{name}");
            hashes.push((name.clone(), hash(memory.written(&name))));
        }
    }
    hashes
}

#[test]
fn every_operation_has_its_golden_bits() {
    let name = |((count, cols), ..): Case| (format!("{count}x{cols}"), count * cols);
    let text = include_str!("golden_operations.txt");
    let table = Table { file: "golden_operations.txt", text };
    table.assert_holds(&CASES.map(name), |case, way| hashes_of_operations(CASES[case], way));
}

/// Batch, channels, positions, groups: the registry has no batch of several samples of several channels.
const SHAPES: [(usize, usize, usize, usize); 9] = [
    (3, 5, 2, 5),
    (4, 12, 1, 4),
    (5, 3, 49, 3),
    (3, 16, 4, 2),
    (2, 33, 50, 11),
    (2, 20, 129, 4),
    (3, 2, 2049, 1),
    (2, 300, 20, 3),
    (20, 24, 300, 6),
];

/// gamma and beta, as far as they are there.
type Affine<'a> = (Option<&'a [f32]>, Option<&'a [f32]>);

/// A batch, and what goes with it.
struct Batch {
    first: Channels,
    last: Channels,
    groups: usize,
    /// With channels first, and with channels last.
    x_first: Vec<f32>,
    x_last: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
    /// Valid positions of each sample, and whether each position is valid.
    lengths: Vec<usize>,
    bytes: Vec<u8>,
}

impl Batch {
    fn new((batch, channels, positions, groups): (usize, usize, usize, usize)) -> Self {
        let (first, last) = (first(batch, channels, positions), last(batch, channels, positions));
        let random = &mut Random::new(first.elements() as u64);
        let x_first = data(first, channels);
        let x_last = to_last(&x_first, first);
        Self {
            first,
            last,
            groups,
            x_first,
            x_last,
            gamma: random.normals(channels),
            beta: random.normals(channels),
            running_mean: random.normals(channels),
            running_var: random.normals(channels).iter().map(|std| std * std).collect(),
            lengths: (0..batch).map(|_| random.below(positions + 1)).collect(),
            bytes: (0..batch * positions).map(|_| random.below(3) as u8).collect(),
        }
    }

    /// The two layouts.
    fn layouts(&self) -> [(Channels, &[f32]); 2] {
        [(self.first, &self.x_first), (self.last, &self.x_last)]
    }

    /// The matrix of a row for each position, which is x with channels last.
    fn positions(&self) -> Rows {
        rows(self.last.batch() * self.last.positions(), self.last.channels())
    }

    /// The matrix of a row for each channel of each sample, which is x with channels first.
    fn planes(&self) -> Rows {
        rows(self.first.batch() * self.first.channels(), self.first.positions())
    }

    fn valid_lengths(&self) -> ValidRows<'_> {
        ValidRows::Lengths { lengths: &self.lengths, steps: self.first.positions() }
    }

    fn affine(&self) -> Affine<'_> {
        (Some(&self.gamma), Some(&self.beta))
    }

    /// gamma and beta where one of them, or both, are not there.
    fn affines(&self) -> [Affine<'_>; 3] {
        let (gamma, beta) = self.affine();
        [(gamma, None), (None, beta), (None, None)]
    }
}

/// An operation as it is run.
macro_rules! run {
    ($operation:expr, $way:expr) => {
        $operation
            .with_backend($way.backend)
            .with_parallelism($way.parallelism)
            .with_stores($way.stores)
    };
}
#[cfg(feature = "half")]
pub(crate) use run;

/// What a setting leaves.
type NamedSetting = (&'static str, fn(&Batch, Way) -> Vec<u64>);

const SETTINGS: [NamedSetting; 16] = [
    ("GroupNorm without gamma, beta, or both", |batch, way| {
        let operation = run!(GroupNorm::new().with_groups(batch.groups), way);
        without(batch, batch.first.batch() * batch.groups, |x, (gamma, beta), shape, to| {
            done(operation.forward(
                InOut::new(x, to.0),
                shape,
                norm_args(gamma, beta).stats(to.1, to.2),
            ))
        })
    }),
    ("LayerNorm over channels without gamma, beta, or both", |batch, way| {
        let operation = run!(LayerNorm::new(), way);
        without(batch, batch.positions().rows(), |x, (gamma, beta), shape, to| {
            done(operation.forward(
                InOut::new(x, to.0),
                shape,
                norm_args(gamma, beta).stats(to.1, to.2),
            ))
        })
    }),
    ("InstanceNorm, a mask", |batch, way| {
        masked(batch, way, ValidRows::Mask(Mask::Bytes(&batch.bytes)))
    }),
    ("InstanceNorm, lengths", |batch, way| masked(batch, way, batch.valid_lengths())),
    ("BatchNorm, training, PyTorch's momentum, unbiased", |batch, way| {
        let operation = BatchNorm::new().with_pytorch_momentum(0.1);
        trained(batch, run!(operation.with_unbiased_running_var(true), way))
    }),
    ("BatchNorm, training, a cumulative average", |batch, way| {
        trained(batch, run!(BatchNorm::new().with_cumulative_average(3), way))
    }),
    ("BatchNorm, training, lengths", |batch, way| {
        let (operation, (gamma, beta)) = (run!(BatchNorm::new(), way), batch.affine());
        let (x, rows, valid) = (&batch.x_last, batch.positions(), batch.valid_lengths());
        training(batch, x.len(), train_args(gamma, beta).valid(valid), |y, args| {
            done(operation.forward_training(InOut::new(x, y), rows, args))
        })
    }),
    ("BatchNorm, inference", |batch, way| {
        let (operation, (gamma, beta)) = (run!(BatchNorm::new(), way), batch.affine());
        let (mean, var) = (&batch.running_mean, &batch.running_var);
        let of = |(shape, x): (Channels, &[f32])| {
            let mut y = vec![PAINT; x.len()];
            let args = norm_args(gamma, beta);
            operation.forward_inference(InOut::new(x, &mut y), shape, mean, var, args).unwrap();
            words(&y).collect::<Vec<_>>()
        };
        batch.layouts().map(of).concat()
    }),
    ("BatchNorm, inference, lengths", |batch, way| {
        let (operation, (gamma, beta)) = (run!(BatchNorm::new(), way), batch.affine());
        let (mean, var) = (&batch.running_mean, &batch.running_var);
        let (x, rows, valid) = (&batch.x_last, batch.positions(), batch.valid_lengths());
        let mut y = vec![PAINT; x.len()];
        let args = norm_args(gamma, beta).valid(valid);
        operation.forward_inference(InOut::new(x, &mut y), rows, mean, var, args).unwrap();
        words(&y).collect()
    }),
    ("ColumnMoments, lengths", |batch, way| {
        let mut moments = vec![Moments::new(); batch.first.channels()];
        let operation = ColumnMoments::new().with_backend(way.backend);
        operation
            .with_parallelism(way.parallelism)
            .compute(
                &batch.x_last,
                batch.positions(),
                &mut moments,
                MomentArgs::new().valid(batch.valid_lengths()),
            )
            .unwrap();
        words_of_moments(&moments).collect()
    }),
    ("RmsNorm, 1 + gamma", |batch, way| {
        let operation = run!(RmsNorm::new().with_one_plus_gamma(true), way);
        let (x, rows) = (&batch.x_last, batch.positions());
        let mut all = Vec::new();
        for beta in [None, batch.affine().1] {
            let (mut y, mut rstd) = (vec![PAINT; x.len()], vec![0.0; rows.rows()]);
            let args = norm_args(batch.affine().0, beta).rstd(&mut rstd);
            operation.forward(InOut::new(x, &mut y), rows, args).unwrap();
            all.extend(words(&y).chain(words64(&rstd)));
        }
        all
    }),
    ("RmsNorm, 1 + gamma, a residual, gated, at a pitch", |batch, way| {
        let operation = run!(RmsNorm::new().with_one_plus_gamma(true), way);
        let (x, rows, gamma) = (&batch.x_last, batch.positions(), batch.affine().0);
        let z: Vec<f32> = Random::new(1).normals(x.len()).iter().map(|z| z * 5.0).collect();
        let (mut y, mut sum) = (vec![PAINT; x.len()], vec![PAINT; x.len()]);
        let args = norm_args(gamma, None).residual(&z).sum(&mut sum);
        operation.forward(InOut::new(x, &mut y), rows, args).unwrap();
        let mut all: Vec<u64> = words(&y).chain(words(&sum)).collect();
        operation.forward(InOut::new(x, &mut y), rows, norm_args(gamma, None).gate(&z)).unwrap();
        all.extend(words(&y));
        let pitch = rows.cols() + 5;
        let mut wide = vec![PAINT; rows.rows() * pitch];
        for (wide, x) in wide.chunks_mut(pitch).zip(x.chunks(rows.cols())) {
            wide[..rows.cols()].copy_from_slice(x);
        }
        let io = InOut::strided(&wide, pitch, &mut y, rows.cols());
        operation.forward(io, rows, norm_args(gamma, None)).unwrap();
        all.extend(words(&y));
        all
    }),
    ("StandardScaler, batches, merged", |batch, way| {
        let cols = batch.first.channels();
        let part = batch.first.positions() * cols;
        let mut scalers = [(); 2].map(|()| run!(StandardScaler::new(cols).unwrap(), way));
        for (i, x) in batch.x_last.chunks(part).enumerate() {
            scalers[i % 2].partial_fit(x, rows(x.len() / cols, cols)).unwrap();
        }
        let [mut scaler, other] = scalers;
        scaler.merge(&other).unwrap();
        let statistics = words64(scaler.mean()).chain(words64(scaler.scale()));
        let mut all: Vec<u64> = words_of_moments(scaler.moments()).chain(statistics).collect();
        for (mean, std) in [(true, true), (true, false), (false, true)] {
            scaler = scaler.with_mean(mean).with_std(std);
            let (mut y, shape) = (batch.x_last.clone(), batch.positions());
            scaler.transform(InOut::in_place(&mut y), shape).unwrap();
            all.extend(words(&y));
            scaler.inverse_transform(InOut::in_place(&mut y), shape).unwrap();
            all.extend(words(&y));
        }
        all
    }),
    ("MinMaxScaler, batches, merged, a range, clipped", |batch, way| {
        let cols = batch.first.channels();
        let part = batch.first.positions() * cols;
        let mut scalers = [(); 2].map(|()| run!(MinMaxScaler::new(cols).unwrap(), way));
        // The last sample is not seen, so that there is something to clip.
        let seen = &batch.x_last[..batch.x_last.len() - part];
        for (i, x) in seen.chunks(part).enumerate() {
            scalers[i % 2].partial_fit(x, rows(x.len() / cols, cols)).unwrap();
        }
        let [mut scaler, other] = scalers;
        scaler.merge(&other).unwrap();
        let mut all: Vec<u64> = words(scaler.data_min()).chain(words(scaler.data_max())).collect();
        for clip in [false, true] {
            scaler = scaler.with_feature_range(-1.5, 2.25).with_clip(clip);
            let (mut y, shape) = (batch.x_last.clone(), batch.positions());
            scaler.transform(InOut::in_place(&mut y), shape).unwrap();
            all.extend(words(&y));
            scaler.inverse_transform(InOut::in_place(&mut y), shape).unwrap();
            all.extend(words(&y));
        }
        all
    }),
    ("Moments, pushed", |batch, _| {
        let mut moments = Moments::new();
        batch.x_last.iter().for_each(|&x| moments.push(x.into()));
        words_of_moments(&[moments]).collect()
    }),
    ("Moments, slices, merged", |batch, _| {
        let mut all = [Moments::new(); 2];
        for (i, plane) in batch.x_first.chunks(batch.planes().cols()).enumerate() {
            all[i % 2].extend_from_slice(plane);
        }
        let [mut merged, other] = all;
        merged.merge(&other);
        words_of_moments(&[all[0], other, merged]).collect()
    }),
];

/// y, mean and rstd of something in both layouts, without gamma, beta, or both.
fn without(
    batch: &Batch,
    statistics: usize,
    forward: impl Fn(
        &[f32],
        Affine<'_>,
        Channels,
        (&mut [f32], &mut [f64], &mut [f64]),
    ) -> Result<(), Error>,
) -> Vec<u64> {
    let mut all = Vec::new();
    for (shape, x) in batch.layouts() {
        for affine in batch.affines() {
            let mut y = vec![PAINT; x.len()];
            let (mut mean, mut rstd) = (vec![0.0; statistics], vec![0.0; statistics]);
            forward(x, affine, shape, (&mut y, &mut mean, &mut rstd)).unwrap();
            all.extend(words(&y).chain(words64(&mean)).chain(words64(&rstd)));
        }
    }
    all
}

/// InstanceNorm of valid positions in both layouts.
fn masked(batch: &Batch, way: Way, valid: ValidRows<'_>) -> Vec<u64> {
    let (operation, (gamma, beta)) = (run!(InstanceNorm::new(), way), batch.affine());
    let of = |(shape, x): (Channels, &[f32])| {
        let mut y = vec![PAINT; x.len()];
        let statistics = shape.batch() * shape.channels();
        let (mut mean, mut rstd) = (vec![PAINT_64; statistics], vec![PAINT_64; statistics]);
        let (to_y, mean, rstd) = (&mut y, &mut mean, &mut rstd);
        let args = norm_args(gamma, beta).valid(valid).stats(mean, rstd);
        operation.forward(InOut::new(x, to_y), shape, args).unwrap();
        let (mean, rstd) = (&*mean, &*rstd);
        words(&y).chain(words64(mean)).chain(words64(rstd)).collect::<Vec<_>>()
    };
    batch.layouts().map(of).concat()
}

/// All that training leaves.
fn training(
    batch: &Batch,
    elements: usize,
    mut args: TrainArgs<'_>,
    train: impl Fn(&mut [f32], TrainArgs<'_>) -> Result<(), Error>,
) -> Vec<u64> {
    let channels = batch.first.channels();
    let mut y = vec![PAINT; elements];
    let (mut mean, mut rstd) = (vec![0.0; channels], vec![0.0; channels]);
    let (mut m, mut v) = (batch.running_mean.clone(), batch.running_var.clone());
    train_past_overflow(&mut v, |v| {
        train(&mut y, args.reborrow().stats(&mut mean, &mut rstd).running(&mut m, v))
    });
    let statistics = words64(&mean).chain(words64(&rstd));
    words(&y).chain(statistics).chain(words(&m)).chain(words(&v)).collect()
}

/// BatchNorm's training in both layouts.
fn trained(batch: &Batch, operation: BatchNorm) -> Vec<u64> {
    let (gamma, beta) = batch.affine();
    let of = |(shape, x): (Channels, &[f32])| {
        training(batch, x.len(), train_args(gamma, beta), |y, args| {
            done(operation.forward_training(InOut::new(x, y), shape, args))
        })
    };
    batch.layouts().map(of).concat()
}

fn done<T>(result: Result<T, Error>) -> Result<(), Error> {
    result.map(drop)
}

#[test]
fn every_setting_has_its_golden_bits() {
    let batches = SHAPES.map(Batch::new);
    let name = |(batch, channels, positions, _)| {
        (format!("{batch}x{channels}x{positions}"), batch * channels * positions)
    };
    let table = Table { file: "golden_settings.txt", text: include_str!("golden_settings.txt") };
    table.assert_holds(&SHAPES.map(name), |case, way| {
        let hashed =
            |(name, setting): &NamedSetting| (name.to_string(), hash(setting(&batches[case], way)));
        SETTINGS.iter().map(hashed).collect()
    });
}
