//! Law: any number of threads and tasks gives the bits of one.
#![forbid(unsafe_code)]

use evenkeel::{
    InOut, LayerNorm, MomentArgs, Moments, NormArgs, NormalizeScaleShift, Parallelism, RmsNorm,
    RowMoments, Statistics,
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
        for parallelism in settings.into_iter().chain([Parallelism::Auto]) {
            assert!(run(parallelism) == expected, "{count}x{cols}, {parallelism:?}");
        }
        for threads in [1, 2, 3, 7, 16] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let in_pool = pool.install(|| run(Parallelism::Auto));
            assert!(in_pool == expected, "{count}x{cols}, a pool of {threads}");
        }
    }
}
