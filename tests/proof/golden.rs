//! The bits themselves, checked in: nothing changes them unnoticed.
//!
//! If a change of bits is meant, say so in CHANGELOG.md and take the new table from
//! `EVENKEEL_BLESS=1 cargo test --test proof golden -- --nocapture`.

use evenkeel::{Backend, LayerNorm, Moments, Parallelism, RmsNorm, RowMoments};

use crate::common::*;

/// Shape, and the hashes of `LayerNorm` (with statistics), `RmsNorm` (with statistics) and `RowMoments`.
/// Each row is of another data set.
const GOLDEN: [(usize, usize, [u64; 3]); 12] = [
    (1, 1, [0x34b10571fc4f1065, 0x53a7e1d2e24a83be, 0x78b6bb3887d5fe6b]),
    (3, 7, [0xd87db65fb64bd9df, 0x52ef10ab2a751969, 0x1e7d1b67030d6bc8]),
    (5, 16, [0x12acb35bccb6b33c, 0x010cf1ed5b44b240, 0xaf95b25df17e1fbd]),
    (4, 64, [0x695068042bc0cfa4, 0x3e72d65ff2148bf7, 0xadc78bed37aeacbb]),
    (9, 100, [0xa7bbc0e32be104de, 0xe03bd1bd129eebd3, 0x97c882371e3475fd]),
    (128, 768, [0xc38bf8547e2250d0, 0x4a4534165c0d8bfd, 0x7ee6b1cdd9a3fcb7]),
    (7, 1000, [0x3d81ba1090882f50, 0x8fe660ba4484fdf5, 0x985ae5fdc42c83ee]),
    (6, 1024, [0x47426e0aed63c8e4, 0xd98706221c22b4fc, 0xc6a181fa17bb62aa]),
    (3, 1025, [0xc1cb96ecdc3d766a, 0x10d6ee8bc367d1ca, 0xcee6f403cccd91ea]),
    (5, 5000, [0x0f9478d8000f70cf, 0xbcac8466f943d649, 0xe647e4725c59fd68]),
    (2, 65536, [0x8d792d2a3842b2ce, 0xcd19c982f5f9c3d2, 0xae50f39701a87f0a]),
    (512, 1024, [0xb19c45ac79889851, 0x526d2985870f21da, 0x2a4c9f278da20a7f]),
];

/// FNV-1a over 64-bit words, every NaN one.
fn hash(words: impl Iterator<Item = u64>) -> u64 {
    words.flat_map(u64::to_le_bytes).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn hashes(backend: Backend, parallelism: Parallelism, count: usize, cols: usize) -> [u64; 3] {
    let (shape, random) = (rows(count, cols), &mut Random::new((count * 31 + cols) as u64));
    let mut x = Vec::new();
    for _ in 0..count {
        x.extend(DATA_SETS[random.below(DATA_SETS.len())].row(cols, random));
    }
    let (gamma, beta) = (random.normals(cols), random.normals(cols));
    let (gamma, beta) = (Some(gamma.as_slice()), Some(beta.as_slice()));
    let (mut y, mut mean, mut rstd) = (vec![0.0; x.len()], vec![0.0; count], vec![0.0; count]);
    LayerNorm::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .forward_with_stats(&x, gamma, beta, shape, &mut y, &mut mean, &mut rstd)
        .unwrap();
    let statistics = mean.iter().chain(&rstd).map(|&x| bits64(x));
    let layer_norm = hash(y.iter().map(|&y| u64::from(bits(y))).chain(statistics));
    RmsNorm::new()
        .with_eps(1e-6)
        .with_backend(backend)
        .with_parallelism(parallelism)
        .forward_with_stats(&x, gamma, None, shape, &mut y, &mut rstd)
        .unwrap();
    let statistics = rstd.iter().map(|&x| bits64(x));
    let rms_norm = hash(y.iter().map(|&y| u64::from(bits(y))).chain(statistics));
    let mut moments = vec![Moments::new(); count];
    RowMoments::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .compute(&x, shape, &mut moments)
        .unwrap();
    let row_moments = hash(moments.iter().flat_map(|m| [bits64(m.mean), bits64(m.m2)]));
    [layer_norm, rms_norm, row_moments]
}

#[test]
fn golden_hashes_hold_on_every_fused_backend_and_thread_count() {
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        let backend = Backend::detect();
        assert!(backend.is_fused(), "only a fused backend can make golden hashes");
        for (count, cols, _) in GOLDEN {
            let [a, b, c] = hashes(backend, Parallelism::Serial, count, cols);
            println!("    ({count}, {cols}, [{a:#018x}, {b:#018x}, {c:#018x}]),");
        }
        return;
    }
    let backends = fused_backends();
    if backends.is_empty() {
        eprintln!("SKIPPED: golden hashes (no backend of this CPU and build fuses)");
    }
    for backend in backends {
        for parallelism in [Parallelism::Serial, Parallelism::AtMost(2), Parallelism::Auto] {
            for (count, cols, expected) in GOLDEN {
                let got = hashes(backend, parallelism, count, cols);
                assert_eq!(got, expected, "{backend}, {parallelism:?}, {count}x{cols}");
            }
        }
    }
}
