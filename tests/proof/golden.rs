//! The bits themselves, checked in: nothing changes them unnoticed, and there is one answer, however the call is made.
//!
//! **A change of bits is a line in CHANGELOG.md.** If one is meant, write that line and take the new table from
//! `EVENKEEL_BLESS=1 cargo test --test proof golden_hashes_hold_on_every -- --nocapture`.
#![forbid(unsafe_code)]

use std::ops::Range;

use evenkeel::{
    Backend, BatchNorm, ColumnMoments, Dropout, DropoutArgs, InOut, LayerNorm, MaskMut, MomentArgs,
    Moments, NormArgs, Parallelism, RmsNorm, RowMoments, Stream, TrainArgs,
};

use crate::common::*;
use crate::dropout::pack;

/// Shape, and the hashes of the outputs of every operation in the order of [`OPERATIONS`].
const GOLDEN: [(usize, usize, [u64; 7]); 14] = [
    (
        1,
        1,
        [
            0x34b10571fc4f1065,
            0x53a7e1d2e24a83be,
            0xb14c9a753139eace,
            0x5a3594dd6a34afc2,
            0x50351b8ba32a652b,
            0xb14c9a753139eace,
            0x90dd4bde224d8ab8,
        ],
    ),
    (
        3,
        7,
        [
            0xd87db65fb64bd9df,
            0x52ef10ab2a751969,
            0xec28ef06b956e56f,
            0x9b035fc80177d680,
            0xff170ad4197ac9d5,
            0xb1400bab24f0f2ef,
            0x6e8df218d7b89ab3,
        ],
    ),
    (
        5,
        16,
        [
            0x12acb35bccb6b33c,
            0x010cf1ed5b44b240,
            0xfdf20a3b268bbc4d,
            0xf8bff5281a6f0357,
            0x10a8028553456896,
            0x336881021143ead0,
            0xb8c2813ba6a53020,
        ],
    ),
    (
        4,
        64,
        [
            0x695068042bc0cfa4,
            0x3e72d65ff2148bf7,
            0xf086d0560a0eca9b,
            0xef41503a9acf399d,
            0x27f1517aa2d68254,
            0x87f47767267a3835,
            0xa0eefb9f2227cdba,
        ],
    ),
    (
        9,
        100,
        [
            0xa7bbc0e32be104de,
            0xe03bd1bd129eebd3,
            0x0b164c6dd65b6ab1,
            0x6e4f8ff4da977240,
            0xf68a7f6a001115a1,
            0x93c7eaaa57268545,
            0xbf50d1e7345165a8,
        ],
    ),
    (
        128,
        768,
        [
            0x6f0b2374ad55c059,
            0x4a4534165c0d8bfd,
            0x5acd99107dbf88a5,
            0xa9a07021e7768ca1,
            0x479cfe8cbcd0c825,
            0xa0b6eef46b2e6fea,
            0x700f0448eb6fe373,
        ],
    ),
    (
        7,
        1000,
        [
            0x3d81ba1090882f50,
            0x8fe660ba4484fdf5,
            0xc20d45e150e2984f,
            0x2db53f5c7916c5c0,
            0xee63c123072ecdd1,
            0x53a27c645a1279b5,
            0x24959e2503d2b543,
        ],
    ),
    (
        6,
        1024,
        [
            0x47426e0aed63c8e4,
            0xd98706221c22b4fc,
            0x6891b652413823c2,
            0xaf85e7f1c24e8ee4,
            0x618c48536ad1c33c,
            0x2de68a66c85ffd20,
            0x9efa4e2bccbdbd04,
        ],
    ),
    (
        3,
        1025,
        [
            0xc1cb96ecdc3d766a,
            0x10d6ee8bc367d1ca,
            0xc3eeb10a4277bd33,
            0xdef4957606a25dd4,
            0x2e5af294931b18f9,
            0x38ecb5087f2f54c4,
            0xcbdb4209c6ef1b2a,
        ],
    ),
    (
        5,
        5000,
        [
            0x6a021ee85f1ed456,
            0xbcac8466f943d649,
            0x05816036c94e409d,
            0xb82ab8858c16beb7,
            0x1d866cad0b59481b,
            0xffff3b79b9984d76,
            0xc00c1c65769cac04,
        ],
    ),
    (
        2,
        65536,
        [
            0x8d792d2a3842b2ce,
            0xcd19c982f5f9c3d2,
            0x8c5ed34601bb0e32,
            0x99ad4a0667c125cf,
            0x2aaed1f1776bb33e,
            0x20ee5f3dc1a5ae08,
            0x01f26f4d63c824a3,
        ],
    ),
    (
        512,
        1024,
        [
            0xa0023a22ad4411f7,
            0x526d2985870f21da,
            0x9a6207454442e423,
            0x939c0da91766e233,
            0x181e2da9402f2325,
            0xfc5f5df2cb99656d,
            0xfc36510c4989bba3,
        ],
    ),
    (
        3000,
        37,
        [
            0x8b10742d1692fce2,
            0xf87859e31fa9e7c6,
            0x4967539ab1c143a3,
            0xa15fdd5f272db5d3,
            0x6863dc5027ec7835,
            0x89d18c1219a4673c,
            0x9f4713e188c93dff,
        ],
    ),
    (
        2859,
        367,
        [
            0xbbf7603b419fe14a,
            0x101fd141378e6be8,
            0xa72a2749909e35be,
            0x74f58d31c3389e7d,
            0x92c4c6f7dd1a0e24,
            0x374b447b1ca3d255,
            0xac68bfed02a3e0be,
        ],
    ),
];

const OPERATIONS: [&str; 7] = [
    "layer_norm",
    "rms_norm",
    "row_moments",
    "batch_norm_training",
    "batch_norm_inference",
    "column_moments",
    "dropout",
];

/// FNV-1a over 64-bit words, every NaN one.
pub fn hash(words: impl Iterator<Item = u64>) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let byte = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    words.fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        let (low, high) = (word as u32, (word >> 32) as u32);
        let hash = low.to_le_bytes().into_iter().fold(hash, byte);
        if high == 0 {
            // Bytes that are 0 do nothing but multiply.
            return hash.wrapping_mul(PRIME.wrapping_pow(4));
        }
        high.to_le_bytes().into_iter().fold(hash, byte)
    })
}

pub fn words(x: &[f32]) -> impl Iterator<Item = u64> {
    x.iter().map(|&x| u64::from(bits(x)))
}

pub fn words64(x: &[f64]) -> impl Iterator<Item = u64> {
    x.iter().map(|&x| bits64(x))
}

fn words_of_moments(moments: &[Moments]) -> impl Iterator<Item = u64> {
    moments.iter().flat_map(|m| [m.count, bits64(m.mean), bits64(m.m2)])
}

/// A way to run the operations. None may change a bit.
#[derive(Clone, Copy, Debug)]
struct Way {
    backend: Backend,
    parallelism: Parallelism,
    in_place: bool,
    /// How many elements after a cache line every buffer begins.
    start: usize,
    /// In how many calls the batch is done: parts of the rows, or of the elements. Not those operations whose statistics
    /// are of the batch.
    calls: usize,
    /// Which random places the parts are cut at.
    seed: u64,
}

impl Way {
    /// Out of place, in one call on one thread.
    fn plain(backend: Backend) -> Self {
        let parallelism = Parallelism::Serial;
        Self { backend, parallelism, in_place: false, start: 0, calls: 1, seed: 0 }
    }

    /// The parts of n rows or elements: each by itself if there are no more of them than calls. Others may be empty.
    fn parts(self, n: usize) -> Vec<Range<usize>> {
        let random = &mut Random::new(self.seed);
        let mut cuts: Vec<usize> = (1..self.calls).map(|_| random.below(n + 1)).collect();
        cuts.sort_unstable();
        if n <= self.calls {
            cuts = (1..n).collect();
        }
        let starts = [0].into_iter().chain(cuts.clone());
        starts.zip(cuts.into_iter().chain([n])).map(|(start, end)| start..end).collect()
    }

    fn place<T: Copy + Default>(self, elements: &[T]) -> Placed<T> {
        Placed::new(elements, self.start)
    }

    /// Reads x and writes y, or reads and writes y, which is a copy of x.
    fn io<'a>(self, x: &'a [f32], y: &'a mut [f32]) -> InOut<'a, 'a> {
        if self.in_place { InOut::in_place(y) } else { InOut::new(x, y) }
    }
}

/// A golden shape, its data and the hashes of every operation on them. Each row is of another data set.
struct Golden {
    shape: (usize, usize),
    x: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    /// Before a batch.
    running_var: Vec<f32>,
    expected: [u64; 7],
}

/// Those of at most so many elements.
fn golden(most: usize) -> Vec<Golden> {
    let shapes = GOLDEN.into_iter().filter(|(count, cols, _)| count * cols <= most);
    let make = |(count, cols, expected)| {
        let random = &mut Random::new((count * 31 + cols) as u64);
        let mut x = Vec::new();
        for _ in 0..count {
            x.extend(DATA_SETS[random.below(DATA_SETS.len())].row(cols, random));
        }
        let (gamma, beta) = (random.normals(cols), random.normals(cols));
        // Infinite where f32 cannot hold what the batch makes of it.
        let mut moments = vec![Moments::new(); cols];
        ColumnMoments::new()
            .compute(&x, rows(count, cols), &mut moments, MomentArgs::new())
            .unwrap();
        let before = |m: &Moments| {
            let after = (0.9 * 2.0 + 0.1 * m.population_variance().unwrap()) as f32;
            if after.is_infinite() { after } else { 2.0 }
        };
        let running_var = moments.iter().map(before).collect();
        Golden { shape: (count, cols), x, gamma, beta, running_var, expected }
    };
    shapes.map(make).collect()
}

impl Golden {
    /// Asserts that every operation has its golden hash.
    #[track_caller]
    fn assert_holds(&self, way: Way) {
        let got = self.hashes(way);
        for (operation, (got, expected)) in OPERATIONS.iter().zip(got.iter().zip(&self.expected)) {
            assert!(
                got == expected,
                "{operation} of {:?} has other bits than before: {way:?}, {} threads: expected {expected:#018x}, got \
                 {got:#018x}. A change of bits is a line in CHANGELOG.md; golden.rs says how to make the new table",
                self.shape,
                rayon::current_num_threads(),
            );
        }
    }

    fn hashes(&self, way: Way) -> [u64; 7] {
        let (layer_norm, rms_norm) = (self.layer_norm(way), self.rms_norm(way));
        let (row_moments, column_moments) = (self.row_moments(way), self.column_moments(way));
        let [training, inference] = self.batch_norm(way);
        let dropout = self.dropout(way);
        [layer_norm, rms_norm, row_moments, training, inference, column_moments, dropout]
    }

    /// Parts of the rows, and of the elements that are in them.
    fn row_parts(&self, way: Way) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let (count, cols) = self.shape;
        way.parts(count).into_iter().map(move |part| {
            let elements = part.start * cols..part.end * cols;
            (part, elements)
        })
    }

    fn layer_norm(&self, way: Way) -> u64 {
        let (count, cols) = self.shape;
        let (x, gamma, beta) = (way.place(&self.x), way.place(&self.gamma), way.place(&self.beta));
        let mut y = x.clone();
        let (mut mean, mut rstd) = (way.place(&vec![0.0; count]), way.place(&vec![0.0; count]));
        let operation =
            LayerNorm::new().with_backend(way.backend).with_parallelism(way.parallelism);
        for (part, elements) in self.row_parts(way) {
            let (shape, x) = (rows(part.len(), cols), &x[elements.clone()]);
            let (mean, rstd) = (&mut mean[part.clone()], &mut rstd[part]);
            let args = NormArgs::new().affine(&gamma, &beta).stats(mean, rstd);
            operation.forward(way.io(x, &mut y[elements]), shape, args).unwrap();
        }
        hash(words(&y).chain(words64(&mean)).chain(words64(&rstd)))
    }

    fn rms_norm(&self, way: Way) -> u64 {
        let (count, cols) = self.shape;
        let (x, gamma) = (way.place(&self.x), way.place(&self.gamma));
        let (mut y, mut rstd) = (x.clone(), way.place(&vec![0.0; count]));
        let operation = RmsNorm::new()
            .with_eps(1e-6)
            .with_backend(way.backend)
            .with_parallelism(way.parallelism);
        for (part, elements) in self.row_parts(way) {
            let (shape, x) = (rows(part.len(), cols), &x[elements.clone()]);
            let args = NormArgs::new().gamma(&gamma).rstd(&mut rstd[part]);
            operation.forward(way.io(x, &mut y[elements]), shape, args).unwrap();
        }
        hash(words(&y).chain(words64(&rstd)))
    }

    fn row_moments(&self, way: Way) -> u64 {
        let (count, cols) = self.shape;
        let x = way.place(&self.x);
        let mut moments = vec![Moments::new(); count];
        let operation =
            RowMoments::new().with_backend(way.backend).with_parallelism(way.parallelism);
        for (part, elements) in self.row_parts(way) {
            let (shape, args) = (rows(part.len(), cols), MomentArgs::new());
            operation.compute(&x[elements], shape, &mut moments[part], args).unwrap();
        }
        hash(words_of_moments(&moments))
    }

    /// Training, and inference with the running statistics that it leaves.
    fn batch_norm(&self, way: Way) -> [u64; 2] {
        let (count, cols) = self.shape;
        let shape = rows(count, cols);
        let (x, gamma, beta) = (way.place(&self.x), way.place(&self.gamma), way.place(&self.beta));
        let mut y = x.clone();
        let [mut mean, mut rstd] = [0.0, 0.0].map(|before| way.place(&vec![before; cols]));
        let mut running_mean = way.place(&vec![0.5; cols]);
        let mut running_var = way.place(&self.running_var);
        let operation =
            BatchNorm::new().with_backend(way.backend).with_parallelism(way.parallelism);
        let args = TrainArgs::new()
            .affine(&gamma, &beta)
            .stats(&mut mean, &mut rstd)
            .running(&mut running_mean, &mut running_var);
        operation.forward_training(way.io(&x, &mut y), shape, args).unwrap();
        let statistics = words64(&mean).chain(words64(&rstd));
        let running = words(&running_mean).chain(words(&running_var));
        let training = hash(words(&y).chain(statistics).chain(running));

        let (mean, var) = (&running_mean, &running_var);
        y.copy_from_slice(&x);
        for (part, elements) in self.row_parts(way) {
            let (shape, x) = (rows(part.len(), cols), &x[elements.clone()]);
            let (io, args) = (way.io(x, &mut y[elements]), NormArgs::new().affine(&gamma, &beta));
            operation.forward_inference(io, shape, mean, var, args).unwrap();
        }
        [training, hash(words(&y))]
    }

    fn column_moments(&self, way: Way) -> u64 {
        let (count, cols) = self.shape;
        let (x, mut moments) = (way.place(&self.x), vec![Moments::new(); cols]);
        ColumnMoments::new()
            .with_backend(way.backend)
            .with_parallelism(way.parallelism)
            .compute(&x, rows(count, cols), &mut moments, MomentArgs::new())
            .unwrap();
        hash(words_of_moments(&moments))
    }

    fn dropout(&self, way: Way) -> u64 {
        let (count, cols) = self.shape;
        let x = way.place(&self.x);
        let (mut y, mut bytes) = (x.clone(), way.place(&vec![2; x.len()]));
        let mut packed = way.place(&vec![0; x.len().div_ceil(8)]);
        let p = if cols.is_multiple_of(2) { 0.1 } else { 0.001 };
        let operation =
            Dropout::new().with_p(p).with_backend(way.backend).with_parallelism(way.parallelism);
        for part in way.parts(x.len()) {
            let stream = Stream { seed: cols as u64, offset: (count + part.start) as u64 };
            let io = way.io(&x[part.clone()], &mut y[part.clone()]);
            // Parts begin between the elements of a byte of bits.
            let whole = way.calls == 1;
            let mask =
                if whole { MaskMut::Packed(&mut packed) } else { MaskMut::Bytes(&mut bytes[part]) };
            operation.forward(io, DropoutArgs::draw(stream).keep_mask(mask)).unwrap();
        }
        if way.calls > 1 {
            packed.copy_from_slice(&pack(&bytes));
        }
        hash(words(&y).chain(packed.iter().map(|&byte| byte.into())))
    }
}

/// The backends that have one answer. Where there is none, the tests say that they are skipped.
fn ways() -> impl Iterator<Item = Way> {
    let backends = fused_backends();
    if backends.is_empty() {
        skipped("golden hashes", "no backend of this CPU and build fuses");
    }
    backends.into_iter().map(Way::plain)
}

#[test]
fn golden_hashes_hold_on_every_fused_backend() {
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        let backend = Backend::detect();
        assert!(backend.is_fused(), "only a fused backend can make golden hashes");
        for golden in golden(usize::MAX) {
            let ((count, cols), hashes) = (golden.shape, golden.hashes(Way::plain(backend)));
            println!("    ({count}, {cols}, {hashes:#018x?}),");
        }
        return;
    }
    for golden in golden(usize::MAX) {
        ways().for_each(|way| golden.assert_holds(way));
    }
}

/// In a caller's pool of so many threads, and in so many tasks of a larger pool.
#[test]
fn golden_hashes_hold_on_any_number_of_threads() {
    let golden = golden(if short() { 150_000 } else { usize::MAX });
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let largest = pool(16);
    for threads in [1, 2, 3, 7, 16] {
        let pool = pool(threads);
        for golden in &golden {
            for way in ways() {
                let auto = Way { parallelism: Parallelism::Auto, ..way };
                pool.install(|| golden.assert_holds(auto));
                let tasks = Way { parallelism: Parallelism::AtMost(threads), ..way };
                largest.install(|| golden.assert_holds(tasks));
            }
        }
    }
}

/// A buffer begins anywhere in a cache line.
#[test]
fn golden_hashes_hold_in_place_and_at_any_alignment() {
    for golden in golden(if short() { 10_000 } else { 150_000 }) {
        for way in ways() {
            for start in 0..LANES {
                golden.assert_holds(Way { start, in_place: start % 2 == 1, ..way });
                golden.assert_holds(Way { start, in_place: start % 2 == 0, ..way });
            }
        }
    }
}

/// Anywhere between rows, down to one in each call; dropout anywhere between elements.
#[test]
fn golden_hashes_hold_for_a_batch_split_anywhere() {
    let (most, seeds) = if short() { (10_000, 2) } else { (150_000, 4) };
    for golden in golden(most) {
        for way in ways() {
            for calls in [2, 5, 40] {
                for seed in 0..seeds {
                    let in_place = seed % 2 == 1;
                    golden.assert_holds(Way { calls, seed, in_place, ..way });
                }
            }
        }
    }
}
