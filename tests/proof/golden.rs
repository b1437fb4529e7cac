//! The bits themselves, checked in: nothing changes them unnoticed.
//!
//! If a change of bits is meant, say so in CHANGELOG.md and take the new table from
//! `EVENKEEL_BLESS=1 cargo test --test proof golden -- --nocapture`.

use evenkeel::{
    Backend, BatchNorm, ColumnMoments, Dropout, LayerNorm, MaskMut, Moments, Parallelism, RmsNorm,
    RowMoments, RunningStatistics, Stream,
};

use crate::common::*;

/// Shape, and the hashes of the outputs of every operation in the order of [`OPERATIONS`].
const GOLDEN: [(usize, usize, [u64; 7]); 13] = [
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
fn hash(words: impl Iterator<Item = u64>) -> u64 {
    words.flat_map(u64::to_le_bytes).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn words(x: &[f32]) -> impl Iterator<Item = u64> {
    x.iter().map(|&x| u64::from(bits(x)))
}

fn words64(x: &[f64]) -> impl Iterator<Item = u64> {
    x.iter().map(|&x| bits64(x))
}

fn words_of_moments(moments: &[Moments]) -> impl Iterator<Item = u64> {
    moments.iter().flat_map(|m| [m.count, bits64(m.mean), bits64(m.m2)])
}

/// Each row is of another data set.
fn hashes(backend: Backend, parallelism: Parallelism, count: usize, cols: usize) -> [u64; 7] {
    let (shape, random) = (rows(count, cols), &mut Random::new((count * 31 + cols) as u64));
    let mut x = Vec::new();
    for _ in 0..count {
        x.extend(DATA_SETS[random.below(DATA_SETS.len())].row(cols, random));
    }
    let (gamma, beta) = (random.normals(cols), random.normals(cols));
    let (gamma, beta) = (Some(gamma.as_slice()), Some(beta.as_slice()));
    let mut y = vec![0.0; x.len()];
    let (mut mean, mut rstd) = (vec![0.0; count], vec![0.0; count]);
    LayerNorm::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .forward_with_stats(&x, gamma, beta, shape, &mut y, &mut mean, &mut rstd)
        .unwrap();
    let layer_norm = hash(words(&y).chain(words64(&mean)).chain(words64(&rstd)));
    RmsNorm::new()
        .with_eps(1e-6)
        .with_backend(backend)
        .with_parallelism(parallelism)
        .forward_with_stats(&x, gamma, None, shape, &mut y, &mut rstd)
        .unwrap();
    let rms_norm = hash(words(&y).chain(words64(&rstd)));
    let mut moments = vec![Moments::new(); count];
    RowMoments::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .compute(&x, shape, &mut moments)
        .unwrap();
    let row_moments = hash(words_of_moments(&moments));

    let batch_norm = BatchNorm::new().with_backend(backend).with_parallelism(parallelism);
    let (mut mean, mut rstd) = (vec![0.0; cols], vec![0.0; cols]);
    let (mut running_mean, mut running_var) = (vec![0.5; cols], vec![2.0; cols]);
    let running = RunningStatistics { mean: &mut running_mean, var: &mut running_var };
    batch_norm
        .forward_training(&x, gamma, beta, shape, &mut y, &mut mean, &mut rstd, Some(running))
        .unwrap();
    let statistics = words64(&mean).chain(words64(&rstd));
    let running = words(&running_mean).chain(words(&running_var));
    let training = hash(words(&y).chain(statistics).chain(running));
    batch_norm
        .forward_inference(&x, &running_mean, &running_var, gamma, beta, shape, &mut y)
        .unwrap();
    let inference = hash(words(&y));
    let mut moments = vec![Moments::new(); cols];
    ColumnMoments::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .compute(&x, shape, &mut moments)
        .unwrap();
    let column_moments = hash(words_of_moments(&moments));

    let mut mask = vec![0; x.len().div_ceil(8)];
    let p = if cols.is_multiple_of(2) { 0.1 } else { 0.001 };
    Dropout::new()
        .with_p(p)
        .with_backend(backend)
        .with_parallelism(parallelism)
        .forward_with_mask(
            &x,
            Stream { seed: cols as u64, offset: count as u64 },
            &mut y,
            MaskMut::Packed(&mut mask),
        )
        .unwrap();
    let dropout = hash(words(&y).chain(mask.iter().map(|&byte| byte.into())));
    [layer_norm, rms_norm, row_moments, training, inference, column_moments, dropout]
}

#[test]
fn golden_hashes_hold_on_every_fused_backend_and_thread_count() {
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        let backend = Backend::detect();
        assert!(backend.is_fused(), "only a fused backend can make golden hashes");
        for (count, cols, _) in GOLDEN {
            let hashes = hashes(backend, Parallelism::Serial, count, cols);
            println!("    ({count}, {cols}, {hashes:#018x?}),");
        }
        return;
    }
    let backends = fused_backends();
    if backends.is_empty() {
        skipped("golden hashes", "no backend of this CPU and build fuses");
    }
    for backend in backends {
        for parallelism in [Parallelism::Serial, Parallelism::AtMost(2), Parallelism::Auto] {
            for (count, cols, expected) in GOLDEN {
                let got = hashes(backend, parallelism, count, cols);
                for (operation, (got, expected)) in OPERATIONS.iter().zip(got.iter().zip(&expected))
                {
                    assert_eq!(
                        got, expected,
                        "{operation}, {backend}, {parallelism:?}, {count}x{cols}"
                    );
                }
            }
        }
    }
}
