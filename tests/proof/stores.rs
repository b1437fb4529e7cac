//! Law: an output has the same bits whether it is written with ordinary or with non-temporal stores, and nothing
//! beside it is written.
#![forbid(unsafe_code)]

use evenkeel::{
    Backend, BatchNorm, Dropout, InOut, LayerNorm, NormArgs, NormalizeScaleShift, Parallelism,
    RmsNorm, Statistics, Stores, Stream, TrainArgs,
};

use crate::common::*;

/// Rows that fill lines, that do not, that have no whole line, and those that are worked on one at a time.
const SHAPES: [(usize, usize); 9] =
    [(9, 64), (7, 768), (1030, 48), (5, 100), (33, 17), (40, 3), (3, 5000), (9, 1040), (3, 65_536)];

const SENTINEL: f32 = -12345.0;

/// Every operation's output on rows that begin `start` elements after a cache line.
fn outputs(
    backend: Backend,
    stores: Stores,
    parallelism: Parallelism,
    (count, cols): (usize, usize),
    start: usize,
) -> Vec<Vec<u32>> {
    let (shape, random) = (rows(count, cols), &mut Random::new(cols as u64));
    let x = random.normals(count * cols);
    let (gamma, beta) = (random.normals(cols), random.normals(cols));
    let args = || NormArgs::new().affine(&gamma, &beta);
    let (row_mean, row_rstd) = (vec![0.25; count], vec![0.75; count]);
    let (mean, var) = (vec![0.5; cols], vec![2.0; cols]);
    let (mut column_mean, mut column_rstd) = (vec![0.0; cols], vec![0.0; cols]);

    let mut memory = vec![SENTINEL; x.len() + 3 * LANES];
    let first = memory.as_ptr().align_offset(64) + start;
    let mut all = Vec::new();
    let mut collect = |what: &str, write: &mut dyn FnMut(&mut [f32])| {
        memory.fill(SENTINEL);
        write(&mut memory[first..first + x.len()]);
        let (before, rest) = memory.split_at(first);
        let (y, after) = rest.split_at(x.len());
        assert!(
            before.iter().chain(after).all(|&x| x == SENTINEL),
            "{what} {count}x{cols} {start}"
        );
        all.push(y.iter().map(|&y| bits(y)).collect());
    };
    macro_rules! configured {
        ($operation:ty) => {
            <$operation>::new()
                .with_backend(backend)
                .with_stores(stores)
                .with_parallelism(parallelism)
        };
    }
    collect("layer norm", &mut |y| {
        configured!(LayerNorm).forward(InOut::new(&x, y), shape, args()).unwrap();
    });
    collect("rms norm", &mut |y| {
        let args = NormArgs::new().gamma(&gamma);
        configured!(RmsNorm).forward(InOut::new(&x, y), shape, args).unwrap();
    });
    collect("normalize scale shift", &mut |y| {
        let given = Statistics::of_rows(&row_mean, &row_rstd);
        configured!(NormalizeScaleShift).forward(InOut::new(&x, y), shape, given, args()).unwrap();
    });
    collect("batch norm", &mut |y| {
        let args = TrainArgs::new().affine(&gamma, &beta).stats(&mut column_mean, &mut column_rstd);
        configured!(BatchNorm).forward_training(InOut::new(&x, y), shape, args).unwrap();
    });
    collect("batch norm, inference", &mut |y| {
        let io = InOut::new(&x, y);
        configured!(BatchNorm).forward_inference(io, shape, &mean, &var, args()).unwrap();
    });
    for offset in [0, 5, 32] {
        collect("dropout", &mut |y| {
            configured!(Dropout).forward(InOut::new(&x, y), Stream { seed: 1, offset }).unwrap();
        });
    }
    all
}

#[test]
fn non_temporal_stores_give_the_same_bits() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for backend in backends() {
        for shape in SHAPES.into_iter().filter(|shape| !short() || shape.0 * shape.1 < 30_000) {
            for start in (0..LANES).step_by(if short() { 5 } else { 1 }) {
                let run = |stores, parallelism| outputs(backend, stores, parallelism, shape, start);
                let cached = run(Stores::Cached, Parallelism::Serial);
                let what = format!("{backend} {shape:?}, {start} elements after a line");
                assert!(cached == run(Stores::NonTemporal, Parallelism::Serial), "{what}");
                let tasks = pool.install(|| run(Stores::NonTemporal, Parallelism::AtMost(3)));
                assert!(cached == tasks, "{what}");
            }
        }
    }
}

/// The sizes at which `Auto` takes non-temporal stores by itself, with rows for which it does and does not.
#[test]
fn automatic_stores_give_the_bits_of_cached_ones() {
    let shapes = [(8193, 1024), (90_001, 100), (17, 500_003)];
    for &(count, cols) in if short() { &shapes[..1] } else { &shapes } {
        let (shape, random) = (rows(count, cols), &mut Random::new(cols as u64));
        let x: Vec<f32> = (0..count * cols).map(|_| random.mantissa() - 1.4).collect();
        let (mean, var) = (vec![0.5; cols], vec![2.0; cols]);
        let run = |stores| {
            let mut all = vec![f32::NAN; 3 * x.len()];
            let (layer_norm, rest) = all.split_at_mut(x.len());
            let (batch_norm, dropout) = rest.split_at_mut(x.len());
            LayerNorm::new()
                .with_stores(stores)
                .forward(InOut::new(&x, layer_norm), shape, NormArgs::new())
                .unwrap();
            BatchNorm::new()
                .with_stores(stores)
                .forward_inference(InOut::new(&x, batch_norm), shape, &mean, &var, NormArgs::new())
                .unwrap();
            Dropout::new()
                .with_stores(stores)
                .forward(InOut::new(&x, dropout), Stream { seed: 1, offset: 0 })
                .unwrap();
            all.into_iter().map(bits).collect::<Vec<_>>()
        };
        assert!(run(Stores::Auto) == run(Stores::Cached), "{count}x{cols}");
    }
}
