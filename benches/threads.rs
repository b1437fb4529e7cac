//! LayerNorm on the threads of a rayon pool, by where the call comes from: from which size a second thread pays.
//!
//! ```text
//! cargo bench --bench threads
//! ```
//!
//! The ids are `threads/CALLER/ROWSxCOLS`. `serial` uses one thread. `inside` is called by a task of the pool. `woken` enters the
//! pool for each call, after a pause in which its workers have fallen asleep: what a fork from outside of the pool costs.
//! `outside` is `Parallelism::Auto` from a thread of no pool after such a pause. It should be as `serial` is below the threshold
//! (`OUTSIDE_ELEMENTS` in `src/kernels/tuning.rs`), and as `woken` from there on.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use evenkeel::{InOut, LayerNorm, NormArgs, Parallelism, Rows};

/// From 2^17 elements, where calls inside of a pool fork, to 2^21.
const SHAPES: [(usize, usize); 6] =
    [(128, 1024), (512, 384), (1024, 384), (768, 1024), (1024, 1024), (2048, 1024)];

/// Rayon's workers look for work for some time before they sleep.
const PAUSE: Duration = Duration::from_micros(300);

/// The time of so many calls, with a pause before each. The calling thread spins meanwhile: an engine's is busy between two calls,
/// and one that sleeps wakes up to a slower core.
fn after_pauses(calls: u64, mut call: impl FnMut()) -> Duration {
    let timed = |_| {
        let pause = Instant::now();
        while pause.elapsed() < PAUSE {
            std::hint::spin_loop();
        }
        let start = Instant::now();
        call();
        start.elapsed()
    };
    (0..calls).map(timed).sum()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let pool = rayon::ThreadPoolBuilder::new().build().expect("a pool");
    for (count, cols) in SHAPES {
        let rows = Rows::new(count, cols).expect("a small shape");
        let x: Vec<f32> = (0..rows.elements()).map(|i| (i * 7 % 101) as f32).collect();
        let mut y = vec![0.0_f32; x.len()];
        let mut call = |parallelism| {
            let norm = LayerNorm::new().with_parallelism(parallelism);
            let io = InOut::new(&x, &mut y);
            black_box(norm.forward(io, rows, NormArgs::new()).expect("the buffers fit"));
        };
        let mut group = criterion.benchmark_group("threads");
        group.throughput(Throughput::Elements(rows.elements() as u64));
        let id = |caller| BenchmarkId::new(caller, format!("{count}x{cols}"));
        group.bench_function(id("serial"), |b| {
            b.iter_custom(|calls| after_pauses(calls, || call(Parallelism::Serial)));
        });
        group.bench_function(id("outside"), |b| {
            b.iter_custom(|calls| after_pauses(calls, || call(Parallelism::Auto)));
        });
        group.bench_function(id("woken"), |b| {
            b.iter_custom(|calls| after_pauses(calls, || pool.install(|| call(Parallelism::Auto))));
        });
        group.bench_function(id("inside"), |b| {
            b.iter_custom(|calls| {
                pool.install(|| {
                    let start = Instant::now();
                    (0..calls).for_each(|_| call(Parallelism::Auto));
                    start.elapsed()
                })
            });
        });
        group.finish();
    }
    criterion.final_summary();
}
