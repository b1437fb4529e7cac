//! What the border of the C ABI costs: one row of 768, from Rust and from C, the same kernel.
//!
//! `cargo bench --features capi --bench capi`
#![expect(unsafe_code, reason = "the entries are C's")]

use std::ffi::c_void;
use std::hint::black_box;

use criterion::Criterion;
use evenkeel::capi::*;
use evenkeel::{InOut, LayerNorm, NormArgs, Parallelism, RmsNorm, Rows};

const COLS: usize = 768;

fn input(x: &[f32]) -> evenkeel_input {
    let (data, len) = (x.as_ptr().cast(), x.len());
    evenkeel_input { data, len, pitch: 0, outer_pitch: 0, dtype: EVENKEEL_F32, inner_rows: 0 }
}

fn output(data: *mut c_void) -> evenkeel_output {
    let dtype = EVENKEEL_F32;
    evenkeel_output { data, len: COLS, pitch: 0, outer_pitch: 0, dtype, inner_rows: 0 }
}

fn border(c: &mut Criterion) {
    let rows = Rows::new(1, COLS).expect("a small shape");
    let x: Vec<f32> = (0..COLS).map(|i| (i * i % 97) as f32).collect();
    let (gamma, beta, mut y) = (vec![1.5; COLS], vec![0.5; COLS], vec![0.0; COLS]);
    let serial = evenkeel_execution { tasks: 1, ..evenkeel_execution::default() };
    let execution = &raw const serial;
    let layout = EVENKEEL_ROWS;
    let shape = evenkeel_shape {
        layout,
        reserved: 0,
        rows: 1,
        cols: COLS,
        batch: 0,
        channels: 0,
        positions: 0,
    };

    let mut group = c.benchmark_group("border/1x768");
    group.bench_function("layer_norm/rust", |bencher| {
        let operation = LayerNorm::new().with_parallelism(Parallelism::Serial);
        bencher.iter(|| {
            let io = InOut::new(black_box(&x), black_box(&mut y));
            let written = operation.forward(io, rows, NormArgs::new().affine(&gamma, &beta));
            written.map(|y| y.as_ptr())
        });
    });
    group.bench_function("layer_norm/c", |bencher| {
        bencher.iter(|| {
            let data = black_box(&mut y).as_mut_ptr().cast();
            let args = evenkeel_layer_norm_args {
                x: input(black_box(&x)),
                y: output(data),
                shape,
                execution,
                gamma: input(&gamma),
                beta: input(&beta),
                ..evenkeel_layer_norm_args::default()
            };
            // SAFETY: each buffer has as many elements as its length says.
            unsafe { evenkeel_layer_norm(&raw const args) }
        });
    });
    group.bench_function("rms_norm/rust", |bencher| {
        let operation = RmsNorm::new().with_parallelism(Parallelism::Serial);
        bencher.iter(|| {
            let io = InOut::new(black_box(&x), black_box(&mut y));
            operation.forward(io, rows, NormArgs::new().gamma(&gamma)).map(|y| y.as_ptr())
        });
    });
    group.bench_function("rms_norm/c", |bencher| {
        bencher.iter(|| {
            let data = black_box(&mut y).as_mut_ptr().cast();
            let args = evenkeel_rms_norm_args {
                x: input(black_box(&x)),
                y: output(data),
                shape,
                execution,
                gamma: input(&gamma),
                ..evenkeel_rms_norm_args::default()
            };
            // SAFETY: each buffer has as many elements as its length says.
            unsafe { evenkeel_rms_norm(&raw const args) }
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    border(&mut criterion);
    criterion.final_summary();
}
