//! What the border of the C ABI costs: one row of 768, from Rust and from C, the same kernel.
//!
//! `cargo bench --features capi --bench capi`
#![expect(unsafe_code, reason = "the entries are C's")]

use std::hint::black_box;
use std::ptr::{null, null_mut};

use criterion::Criterion;
use evenkeel::capi::{
    EVENKEEL_F64, evenkeel_execution, evenkeel_layer_norm_f32, evenkeel_rms_norm_f32,
};
use evenkeel::{InOut, LayerNorm, NormArgs, Parallelism, RmsNorm, Rows};

const COLS: usize = 768;
const EPS: f64 = 1e-5;

fn border(c: &mut Criterion) {
    let rows = Rows::new(1, COLS).expect("a small shape");
    let x: Vec<f32> = (0..COLS).map(|i| (i * i % 97) as f32).collect();
    let (gamma, beta, mut y) = (vec![1.5; COLS], vec![0.5; COLS], vec![0.0; COLS]);
    let serial = evenkeel_execution { backend: 0, stores: 0, tasks: 1 };

    let mut group = c.benchmark_group("border/1x768");
    group.bench_function("layer_norm/rust", |bencher| {
        let operation = LayerNorm::new().with_eps(EPS).with_parallelism(Parallelism::Serial);
        bencher.iter(|| {
            let io = InOut::new(black_box(&x), black_box(&mut y));
            let written = operation.forward(io, rows, NormArgs::new().affine(&gamma, &beta));
            written.map(|y| y.as_ptr())
        });
    });
    group.bench_function("layer_norm/c", |bencher| {
        bencher.iter(|| {
            let (x, y) = (black_box(&x), black_box(&mut y));
            // SAFETY: each buffer has as many elements as its length says.
            unsafe {
                evenkeel_layer_norm_f32(
                    x.as_ptr(),
                    COLS,
                    gamma.as_ptr(),
                    COLS,
                    beta.as_ptr(),
                    COLS,
                    1,
                    COLS,
                    EPS,
                    y.as_mut_ptr(),
                    COLS,
                    null_mut(),
                    0,
                    null_mut(),
                    0,
                    EVENKEEL_F64,
                    &raw const serial,
                )
            }
        });
    });
    group.bench_function("rms_norm/rust", |bencher| {
        let operation = RmsNorm::new().with_eps(EPS).with_parallelism(Parallelism::Serial);
        bencher.iter(|| {
            let io = InOut::new(black_box(&x), black_box(&mut y));
            operation.forward(io, rows, NormArgs::new().gamma(&gamma)).map(|y| y.as_ptr())
        });
    });
    group.bench_function("rms_norm/c", |bencher| {
        bencher.iter(|| {
            let (x, y) = (black_box(&x), black_box(&mut y));
            // SAFETY: each buffer has as many elements as its length says.
            unsafe {
                evenkeel_rms_norm_f32(
                    x.as_ptr(),
                    COLS,
                    gamma.as_ptr(),
                    COLS,
                    0,
                    null(),
                    0,
                    1,
                    COLS,
                    EPS,
                    y.as_mut_ptr(),
                    COLS,
                    null_mut(),
                    0,
                    EVENKEEL_F64,
                    &raw const serial,
                )
            }
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    border(&mut criterion);
    criterion.final_summary();
}
