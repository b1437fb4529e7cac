//! Law: a call on the host's threads has the bits of one thread, whatever the pool does and however many threads it claims.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel::{
    BatchNorm, Channels, ColumnMoments, Dropout, DropoutArgs, Error, GroupNorm, InOut,
    InstanceNorm, LayerNorm, Mask, MaskMut, MomentArgs, Moments, NormArgs, NormalizeScaleShift,
    Parallelism, Pool, RmsNorm, RowMoments, Statistics, Stream, TrainArgs, ValidRows,
};

use crate::common::*;
use crate::golden::{words, words64};

/// What a pool does with the parts of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    InOrder,
    Reversed,
    /// A thread for each.
    Threads,
    EveryOther,
    Twice,
    /// Two threads for each.
    TwiceAtOnce,
    NoPart,
    /// Each part, and some that there are not.
    TooMany,
}

impl Manner {
    const ALL: [Self; 8] = [
        Self::InOrder,
        Self::Reversed,
        Self::Threads,
        Self::EveryOther,
        Self::Twice,
        Self::TwiceAtOnce,
        Self::NoPart,
        Self::TooMany,
    ];
}

/// A host's pool, which remembers the most parts that it was passed.
#[derive(Debug)]
struct Host {
    manner: Manner,
    threads: usize,
    most_parts: AtomicUsize,
}

impl Host {
    fn new(manner: Manner, threads: usize) -> Self {
        Self { manner, threads, most_parts: AtomicUsize::new(0) }
    }

    fn most_parts(&self) -> usize {
        self.most_parts.load(Ordering::Relaxed)
    }
}

impl Pool for Host {
    fn threads(&self) -> usize {
        self.threads
    }

    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        self.most_parts.fetch_max(parts, Ordering::Relaxed);
        let on_threads = |times| {
            std::thread::scope(|scope| {
                for i in (0..parts).flat_map(|i| std::iter::repeat_n(i, times)) {
                    scope.spawn(move || part(i));
                }
            });
        };
        match self.manner {
            Manner::InOrder => (0..parts).for_each(part),
            Manner::Reversed => (0..parts).rev().for_each(part),
            Manner::Threads => on_threads(1),
            Manner::EveryOther => (0..parts).skip(1).step_by(2).for_each(part),
            Manner::Twice => (0..parts).chain(0..parts).for_each(part),
            Manner::TwiceAtOnce => on_threads(2),
            Manner::NoPart => {}
            Manner::TooMany => (0..parts + 100).chain([usize::MAX]).for_each(part),
        }
    }
}

/// A call's data, worth five tasks: 330 rows, or samples.
struct Data {
    x: Vec<f32>,
    other: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    mask: Vec<u8>,
}

const ROWS: usize = 330;
const COLS: usize = 1000;
const BATCH: usize = 6;
const CHANNELS: usize = 50;
const POSITIONS: usize = 1100;

impl Data {
    fn new() -> Self {
        let random = &mut Random::new(21);
        let len = ROWS * COLS;
        assert_eq!(len, BATCH * CHANNELS * POSITIONS, "the same elements");
        Self {
            x: random.normals(len),
            other: random.normals(len),
            gamma: random.normals(COLS),
            beta: random.normals(COLS),
            mask: (0..BATCH * POSITIONS).map(|_| u8::from(random.below(5) > 1)).collect(),
        }
    }

    /// gamma, beta and the pool.
    fn args<'a>(&'a self, columns: usize, pool: Option<&'a dyn Pool>) -> NormArgs<'a> {
        let args = NormArgs::new().affine(&self.gamma[..columns], &self.beta[..columns]);
        if let Some(pool) = pool { args.pool(pool) } else { args }
    }

    fn valid(&self, rows: usize) -> ValidRows<'_> {
        ValidRows::Mask(Mask::Bytes(&self.mask[..rows]))
    }

    /// The bits of y, whose elements `write` is passed.
    fn y(
        &self,
        write: impl for<'y> FnOnce(InOut<'_, 'y>) -> Result<&'y mut [f32], Error>,
    ) -> Vec<u64> {
        let mut y = vec![f32::NAN; self.x.len()];
        write(InOut::new(&self.x, &mut y)).unwrap();
        words(&y).collect()
    }
}

/// Runs on one thread, or in a pool.
type Run = fn(&Data, Parallelism, Option<&dyn Pool>) -> Vec<u64>;

/// Every operation that takes a pool, and the bits that it writes.
const OPERATIONS: [(&str, Run); 12] = [
    ("layer norm", layer_norm),
    ("rms norm", rms_norm),
    ("normalise-scale-shift", normalize_scale_shift),
    ("batch norm of rows", |data, parallelism, pool| {
        batch_norm(data, parallelism, pool, rows(ROWS, COLS).into())
    }),
    ("batch norm, channels first", |data, parallelism, pool| {
        batch_norm(data, parallelism, pool, first())
    }),
    ("batch norm, channels last", |data, parallelism, pool| {
        batch_norm(data, parallelism, pool, last())
    }),
    ("channels first", |data, parallelism, pool| samples(data, parallelism, pool, first())),
    ("channels last", |data, parallelism, pool| samples(data, parallelism, pool, last())),
    ("layer norm over channels", layer_norm_over_channels),
    ("row moments", row_moments),
    ("column moments", column_moments),
    ("dropout", dropout),
];

fn first() -> Channels {
    Channels::first(BATCH, CHANNELS, POSITIONS).expect("a shape of test data")
}

fn last() -> Channels {
    Channels::last(BATCH, POSITIONS, CHANNELS).expect("a shape of test data")
}

fn layer_norm(data: &Data, parallelism: Parallelism, pool: Option<&dyn Pool>) -> Vec<u64> {
    let operation = LayerNorm::new().with_parallelism(parallelism);
    let [mut mean, mut rstd] = [(); 2].map(|()| vec![f64::NAN; ROWS]);
    let mut sum = vec![f32::NAN; data.x.len()];
    let args = data.args(COLS, pool).residual(&data.other).sum(&mut sum).valid(data.valid(ROWS));
    let args = args.stats(&mut mean, &mut rstd);
    let mut all = data.y(|io| operation.forward(io, rows(ROWS, COLS), args));
    all.extend(words(&sum).chain(words64(&mean)).chain(words64(&rstd)));
    all
}

fn rms_norm(data: &Data, parallelism: Parallelism, pool: Option<&dyn Pool>) -> Vec<u64> {
    let operation = RmsNorm::new().with_parallelism(parallelism);
    let mut rstd = vec![f64::NAN; ROWS];
    let args = data.args(COLS, pool).gate(&data.other).plus(&data.x).rstd(&mut rstd);
    let mut all = data.y(|io| operation.forward(io, rows(ROWS, COLS), args));
    all.extend(words64(&rstd));
    all
}

fn normalize_scale_shift(
    data: &Data,
    parallelism: Parallelism,
    pool: Option<&dyn Pool>,
) -> Vec<u64> {
    let operation = NormalizeScaleShift::new().with_parallelism(parallelism);
    let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let (mean, rstd) = (wide(&data.other[..COLS]), wide(&data.gamma));
    let of_rows = Statistics::of_rows(&mean[..ROWS], &rstd[..ROWS]);
    let of_columns = Statistics::of_columns(&mean, &rstd);
    let of = |given, args| data.y(|io| operation.forward(io, rows(ROWS, COLS), given, args));
    let args = || data.args(COLS, pool);
    [of(of_rows, args()), of(of_columns, args().valid(data.valid(ROWS)))].concat()
}

/// Training, with a mask and without, and inference.
fn batch_norm(
    data: &Data,
    parallelism: Parallelism,
    pool: Option<&dyn Pool>,
    shape: Channels,
) -> Vec<u64> {
    let operation = BatchNorm::new().with_parallelism(parallelism);
    let channels = shape.channels();
    let mut all = Vec::new();
    for masked in [false, true] {
        let [mut mean, mut rstd] = [(); 2].map(|()| vec![f64::NAN; channels]);
        let (mut running_mean, mut running_var) = (vec![0.5; channels], vec![2.0; channels]);
        let mut args = TrainArgs::new()
            .affine(&data.gamma[..channels], &data.beta[..channels])
            .stats(&mut mean, &mut rstd)
            .running(&mut running_mean, &mut running_var);
        if masked {
            args = args.valid(data.valid(shape.batch() * shape.positions()));
        }
        if let Some(pool) = pool {
            args = args.pool(pool);
        }
        all.extend(data.y(|io| operation.forward_training(io, shape, args)));
        all.extend(words64(&mean).chain(words64(&rstd)));
        all.extend(words(&running_mean).chain(words(&running_var)));
        let args = data.args(channels, pool);
        all.extend(
            data.y(|io| operation.forward_inference(io, shape, &running_mean, &running_var, args)),
        );
    }
    all
}

/// GroupNorm and InstanceNorm, with a mask and without.
fn samples(
    data: &Data,
    parallelism: Parallelism,
    pool: Option<&dyn Pool>,
    shape: Channels,
) -> Vec<u64> {
    let group_norm = GroupNorm::new().with_groups(10).with_parallelism(parallelism);
    let instance_norm = InstanceNorm::new().with_parallelism(parallelism);
    let args = || data.args(CHANNELS, pool);
    let valid = data.valid(BATCH * POSITIONS);
    let [mut mean, mut rstd] = [(); 2].map(|()| vec![f64::NAN; BATCH * 10]);
    let with_stats = args().valid(valid).stats(&mut mean, &mut rstd);
    let mut all = data.y(|io| group_norm.forward(io, shape, with_stats));
    all.extend(words64(&mean).chain(words64(&rstd)));
    all.extend(data.y(|io| group_norm.forward(io, shape, args())));
    all.extend(data.y(|io| instance_norm.forward(io, shape, args())));
    all.extend(data.y(|io| instance_norm.forward(io, shape, args().valid(valid))));
    all
}

/// Few samples, each of which all threads work on, and many.
fn layer_norm_over_channels(
    data: &Data,
    parallelism: Parallelism,
    pool: Option<&dyn Pool>,
) -> Vec<u64> {
    let operation = LayerNorm::new().with_parallelism(parallelism);
    let mut all = Vec::new();
    for shape in [Channels::first(2, 50, 3300), Channels::first(66, 50, 100)].map(Result::unwrap) {
        let positions = shape.batch() * shape.positions();
        let [mut mean, mut rstd] = [(); 2].map(|()| vec![f64::NAN; positions]);
        let args = data.args(CHANNELS, pool).stats(&mut mean, &mut rstd);
        let args = args.valid(data.valid(positions));
        all.extend(data.y(|io| operation.forward(io, shape, args)));
        all.extend(words64(&mean).chain(words64(&rstd)));
    }
    all
}

fn words_of(moments: &[Moments]) -> impl Iterator<Item = u64> {
    moments.iter().flat_map(|m| [m.count, bits64(m.mean), bits64(m.m2)])
}

fn row_moments(data: &Data, parallelism: Parallelism, pool: Option<&dyn Pool>) -> Vec<u64> {
    let operation = RowMoments::new().with_parallelism(parallelism);
    let lengths: Vec<usize> = (0..ROWS).map(|r| r * 3).collect();
    let mut moments = [Moments::new(); 2 * ROWS];
    let (all, prefixes) = moments.split_at_mut(ROWS);
    for (moments, args) in
        [(all, MomentArgs::new()), (prefixes, MomentArgs::new().lengths(&lengths))]
    {
        let args = if let Some(pool) = pool { args.pool(pool) } else { args };
        operation.compute(&data.x, rows(ROWS, COLS), moments, args).unwrap();
    }
    words_of(&moments).collect()
}

fn column_moments(data: &Data, parallelism: Parallelism, pool: Option<&dyn Pool>) -> Vec<u64> {
    let operation = ColumnMoments::new().with_parallelism(parallelism);
    let mut moments = [Moments::new(); 2 * COLS];
    let (all, masked) = moments.split_at_mut(COLS);
    for (moments, args) in
        [(all, MomentArgs::new()), (masked, MomentArgs::new().valid(data.valid(ROWS)))]
    {
        let args = if let Some(pool) = pool { args.pool(pool) } else { args };
        operation.compute(&data.x, rows(ROWS, COLS), moments, args).unwrap();
    }
    words_of(&moments).collect()
}

/// Drawn, the mask written, and with a given mask.
fn dropout(data: &Data, parallelism: Parallelism, pool: Option<&dyn Pool>) -> Vec<u64> {
    let operation = Dropout::new().with_p(0.3).with_parallelism(parallelism);
    let mut bits = vec![0; data.x.len().div_ceil(8)];
    let args = DropoutArgs::draw(Stream { seed: 3, offset: 77 });
    let args = args.keep_mask(MaskMut::Packed(&mut bits));
    let args = if let Some(pool) = pool { args.pool(pool) } else { args };
    let mut all = data.y(|io| operation.forward(io, args));
    let args = DropoutArgs::given(Mask::Packed(&bits));
    let args = if let Some(pool) = pool { args.pool(pool) } else { args };
    all.extend(data.y(|io| operation.backward(io, args)));
    all.extend(bits.iter().map(|&byte| u64::from(byte)));
    all
}

#[test]
fn any_pool_gives_the_bits_of_one_thread() {
    let data = Data::new();
    for (name, run) in OPERATIONS {
        let expected = run(&data, Parallelism::Serial, None);
        for threads in [0, 1, 3, 64, 1000] {
            for manner in Manner::ALL {
                let host = Host::new(manner, threads);
                let what = format!("{name}, {host:?}");
                assert!(run(&data, Parallelism::Auto, Some(&host)) == expected, "{what}");
                // No more parts than threads, nor than the elements are worth. A pool of one thread is not touched.
                let parts = host.most_parts();
                let expected = if threads < 2 { 0..=0 } else { 2..=threads.min(5) };
                assert!(expected.contains(&parts), "{what}: {parts} parts");
            }
        }
    }
}

/// A pool has no more parts than the setting allows. Where the call is for one thread it is not touched.
#[test]
fn a_pool_keeps_to_the_setting() {
    let data = Data::new();
    for (name, run) in OPERATIONS {
        let expected = run(&data, Parallelism::Serial, None);
        for (parallelism, most) in [
            (Parallelism::Serial, 0),
            (Parallelism::AtMost(0), 0),
            (Parallelism::AtMost(1), 0),
            (Parallelism::AtMost(2), 2),
            (Parallelism::AtMost(3), 3),
        ] {
            let host = Host::new(Manner::Threads, 64);
            assert!(run(&data, parallelism, Some(&host)) == expected, "{name}, {parallelism:?}");
            assert!(host.most_parts() <= most, "{name}, {parallelism:?}, {host:?}");
        }
    }
}

/// A call that is worth more is cut into 64 parts at most.
#[test]
fn a_large_call_has_64_parts() {
    let (count, cols) = (70_000, 64);
    let x: Vec<f32> = Random::new(4).normals(cols).repeat(count);
    let run = |args: NormArgs<'_>| {
        let mut y = vec![f32::NAN; x.len()];
        LayerNorm::new().forward(InOut::new(&x, &mut y), rows(count, cols), args).unwrap();
        y.into_iter().map(bits).collect::<Vec<_>>()
    };
    let expected = run(NormArgs::new());
    for manner in Manner::ALL {
        let host = Host::new(manner, 1000);
        assert!(run(NormArgs::new().pool(&host)) == expected, "{manner:?}");
        assert_eq!(host.most_parts(), 64, "{manner:?}");
    }
}
