//! The operations that are measured on bf16 and f16 too.
#![forbid(unsafe_code)]

use ::half::{bf16, f16};
use evenkeel::{Backend, Dropout, Element, GradArgs, InOut, LayerNorm, NormArgs, RmsNorm};

use crate::contenders::{Buffers, STREAM};

/// Their names.
pub const OPERATIONS: [&str; 5] =
    ["layer_norm", "rms_norm", "layer_norm_backward", "rms_norm_backward", "dropout"];

/// Elements of a type, made of those of f32 when they are first wanted.
#[derive(Default)]
pub struct Narrowed {
    bf16: Option<Elements<bf16>>,
    f16: Option<Elements<f16>>,
}

struct Elements<T> {
    x: Vec<T>,
    y: Vec<T>,
    z: Vec<T>,
    gamma: Vec<T>,
    beta: Vec<T>,
}

impl<T> Elements<T> {
    fn new(b: &Buffers, narrow: fn(f32) -> T) -> Self {
        let of = |x: &[f32]| x.iter().map(|&x| narrow(x)).collect();
        Self { x: of(&b.x), y: of(&b.y), z: of(&b.z), gamma: of(&b.gamma), beta: of(&b.beta) }
    }
}

/// Runs an operation on elements of a type.
pub fn run(name: &str, dtype: &str, buffers: &mut Buffers, backend: Backend) {
    let mut narrowed = std::mem::take(&mut buffers.narrowed);
    if dtype == "bf16" {
        let elements = narrowed.bf16.get_or_insert_with(|| Elements::new(buffers, bf16::from_f32));
        run_on(name, elements, buffers, backend);
    } else {
        let elements = narrowed.f16.get_or_insert_with(|| Elements::new(buffers, f16::from_f32));
        run_on(name, elements, buffers, backend);
    }
    buffers.narrowed = narrowed;
}

fn run_on<T: Element>(name: &str, e: &mut Elements<T>, b: &mut Buffers, backend: Backend) {
    let (parallelism, stores, rows) = (b.parallelism(), b.stores, b.rows);
    let io = InOut::new(&e.x, &mut e.y);
    let layer_norm = LayerNorm::new().with_backend(backend).with_parallelism(parallelism);
    let rms_norm = RmsNorm::new().with_backend(backend).with_parallelism(parallelism);
    let gradients = GradArgs::new().gamma(&e.gamma).rstd(&b.rstd).dgamma(&mut b.dgamma);
    let result = match name {
        "layer_norm" => layer_norm.with_stores(stores).forward(
            io,
            rows,
            NormArgs::new().affine(&e.gamma, &e.beta),
        ),
        "rms_norm" => {
            rms_norm.with_stores(stores).forward(io, rows, NormArgs::new().gamma(&e.gamma))
        }
        "layer_norm_backward" => {
            let gradients = gradients.stats(&b.mean, &b.rstd).dbeta(&mut b.dbeta);
            layer_norm.backward(InOut::new(&e.z, &mut e.y), &e.x, rows, gradients)
        }
        "rms_norm_backward" => rms_norm.backward(InOut::new(&e.z, &mut e.y), &e.x, rows, gradients),
        _ => Dropout::new().with_backend(backend).with_parallelism(parallelism).forward(io, STREAM),
    };
    result.expect("the buffers fit");
}
