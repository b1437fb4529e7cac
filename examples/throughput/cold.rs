//! Calls as a model makes them: each finds the caches full of other data and of other code.
//!
//! The plain norms beside which they are measured are what one would write: two sums in single precision, then the output. The
//! compiler vectorises them.

use std::hint::black_box;

use evenkeel::Backend;

use crate::contenders::{Buffers, operation};
use crate::cpu::caches;

/// The bytes of L2 where the system does not say.
const L2: u64 = 2 << 20;

/// Operations whose code takes the place of others' in the caches.
const OTHERS: [&str; 5] = [
    "batch_norm_backward",
    "dropout_mask",
    "group_norm_first",
    "instance_norm_masked_last",
    "penalty_gradient",
];

/// What fills the caches.
pub struct Sweep(Vec<f32>);

impl Sweep {
    /// Of twice the bytes of L2: what was there lies in L3 afterwards, as behind the weights of a layer.
    pub fn new() -> Self {
        let l2 = caches().into_iter().find(|&(level, _)| level == 2).map_or(L2, |(_, bytes)| bytes);
        Self(vec![1.0; 2 * l2 as usize / size_of::<f32>()])
    }

    /// Calls other operations, then reads and writes more than L2 holds.
    pub fn run(&mut self, buffers: &mut Buffers) {
        for name in OTHERS {
            operation(name).expect("the operation exists").run(buffers, Backend::detect());
        }
        for x in &mut self.0 {
            *x = 1.5 - *x * 0.5;
        }
        black_box(self.0.as_mut_ptr());
    }
}

/// The operations that have a plain one.
pub const NORMS: [&str; 2] = ["layer_norm", "rms_norm"];

/// The plain norm of every row, on the instructions of the fastest backend.
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls what the CPU was seen to have")
)]
pub fn plain(name: &str, b: &mut Buffers) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,fma")]
        fn avx512(name: &str, b: &mut Buffers) {
            rows::<64>(name, b);
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2(name: &str, b: &mut Buffers) {
            rows::<32>(name, b);
        }
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
            // SAFETY: the CPU has AVX-512F and FMA.
            return unsafe { avx512(name, b) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the CPU has AVX2 and FMA.
            return unsafe { avx2(name, b) };
        }
    }
    rows::<16>(name, b);
}

#[inline(always)]
fn rows<const N: usize>(name: &str, b: &mut Buffers) {
    let cols = b.rows.cols();
    let Buffers { x, y, gamma, beta, .. } = b;
    for (x, y) in x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)) {
        if name == "layer_norm" {
            let mean = sum::<N>(x, |x| x) / cols as f32;
            let var = sum::<N>(x, |x| (x - mean) * (x - mean)) / cols as f32;
            let rstd = 1.0 / (var + 1e-5).sqrt();
            for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(gamma.iter()).zip(beta.iter()) {
                *y = ((x - mean) * rstd).mul_add(*gamma, *beta);
            }
        } else {
            let rstd = 1.0 / (sum::<N>(x, |x| x * x) / cols as f32 + 1e-5).sqrt();
            for ((y, x), gamma) in y.iter_mut().zip(x).zip(gamma.iter()) {
                *y = x * rstd * gamma;
            }
        }
    }
}

#[inline(always)]
fn sum<const N: usize>(x: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; N];
    let (chunks, rest) = x.as_chunks::<N>();
    for chunk in chunks {
        for i in 0..N {
            sums[i] += term(chunk[i]);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|&x| term(x)).sum::<f32>()
}
