//! Law: any number of threads and tasks gives the bits of one.
#![forbid(unsafe_code)]

use evenkeel::{
    Channels, GroupNorm, InOut, LayerNorm, MomentArgs, Moments, NormArgs, NormalizeScaleShift,
    Parallelism, RmsNorm, RowMoments, Statistics,
};

use crate::common::*;

/// Shapes large enough to be split into several tasks, with rows that do not divide evenly.
const SHAPES: [(usize, usize); 6] =
    [(200_003, 3), (4099, 64), (523, 1000), (17, 30_001), (5, 100_000), (2, 65_537)];

#[test]
fn parallel_gives_the_bits_of_serial() {
    for (count, cols) in SHAPES.into_iter().filter(|(n, cols)| !short() || n * cols < 300_000) {
        let (shape, random) = (rows(count, cols), &mut Random::new(cols as u64));
        let x: Vec<f32> = (0..count * cols).map(|_| random.mantissa() - 1.4).collect();
        let (gamma, beta) = (random.normals(cols), random.normals(cols));
        let args = || NormArgs::new().affine(&gamma, &beta);
        let run = |parallelism| {
            let (mut y, mut mean, mut rstd) =
                (vec![0.0; x.len()], vec![0.0; count], vec![0.0; count]);
            let mut all: Vec<Vec<u64>> = Vec::new();
            LayerNorm::new()
                .with_parallelism(parallelism)
                .forward(InOut::new(&x, &mut y), shape, args().stats(&mut mean, &mut rstd))
                .unwrap();
            all.push(y.iter().map(|&y| u64::from(bits(y))).collect());
            all.push(mean.iter().chain(&rstd).map(|&x| bits64(x)).collect());
            NormalizeScaleShift::new()
                .with_parallelism(parallelism)
                .forward(InOut::new(&x, &mut y), shape, Statistics::of_rows(&mean, &rstd), args())
                .unwrap();
            all.push(y.iter().map(|&y| u64::from(bits(y))).collect());
            assert_eq!(all[0], all[2], "{count}x{cols}: forward is its two halves");
            RmsNorm::new()
                .with_parallelism(parallelism)
                .forward(InOut::new(&x, &mut y), shape, args().rstd(&mut rstd))
                .unwrap();
            all.push(y.iter().map(|&y| u64::from(bits(y))).collect());
            all.push(rstd.iter().map(|&x| bits64(x)).collect());
            let mut moments = vec![Moments::new(); count];
            RowMoments::new()
                .with_parallelism(parallelism)
                .compute(&x, shape, &mut moments, MomentArgs::new())
                .unwrap();
            all.push(
                moments.iter().flat_map(|m| [m.count, bits64(m.mean), bits64(m.m2)]).collect(),
            );
            all
        };
        let expected = run(Parallelism::Serial);
        let settings = [0, 1, 2, 3, 7, 16].map(Parallelism::AtMost);
        let largest = rayon::ThreadPoolBuilder::new().num_threads(16).build().unwrap();
        for parallelism in settings {
            let got = largest.install(|| run(parallelism));
            assert!(got == expected, "{count}x{cols}, {parallelism:?}");
        }
        assert!(run(Parallelism::Auto) == expected, "{count}x{cols}, outside of a pool");
        for threads in [1, 2, 3, 7, 16] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let in_pool = pool.install(|| run(Parallelism::Auto));
            assert!(in_pool == expected, "{count}x{cols}, a pool of {threads}");
        }
    }
}

/// Law: samples of channels have the same bits, and need no more scratch than `scratch_len` says, wherever the call comes from: from
/// a pool each sample is shared, from outside of one it is not.
#[test]
fn samples_are_shared_or_not_by_where_the_call_comes_from() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    // Each sample is worth two threads inside of a pool. Outside of one, the three together are not, and the eight are.
    for (batch, positions, channels) in [(3, 4500, 32), (8, 2200, 64)] {
        let x = Random::new(3).normals(batch * positions * channels);
        for is_last in [false, true] {
            let shape = match is_last {
                true => Channels::last(batch, positions, channels),
                false => Channels::first(batch, channels, positions),
            };
            let shape = shape.unwrap();
            let run = |parallelism| {
                let operation = GroupNorm::new().with_groups(4).with_parallelism(parallelism);
                let mut y = vec![f32::NAN; x.len()];
                let mut scratch = vec![f64::NAN; operation.scratch_len(shape)];
                let args = NormArgs::new().scratch(&mut scratch);
                operation.forward(InOut::new(&x, &mut y), shape, args).unwrap();
                let mut z = vec![f32::NAN; x.len()];
                let operation = LayerNorm::new().with_parallelism(parallelism);
                operation.forward(InOut::new(&x, &mut z), shape, NormArgs::new()).unwrap();
                y.into_iter().chain(z).map(bits).collect::<Vec<_>>()
            };
            let expected = run(Parallelism::Serial);
            assert!(run(Parallelism::Auto) == expected, "{shape:?}, outside of a pool");
            let inside = pool.install(|| run(Parallelism::Auto));
            assert!(inside == expected, "{shape:?}, inside of a pool");
        }
    }
}
