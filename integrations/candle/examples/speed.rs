//! Forward and backward of a norm: candle's operations that have a gradient, and evenkeel's kernels. `cargo run --release --example
//! speed`.

use std::time::Instant;

use candle_core::{Device, Result, Tensor, Var};
use candle_nn::ops::{layer_norm_slow, rms_norm_slow};
use evenkeel_candle::ops;

const EPS: f32 = 1e-5;

/// The median time of a call of each, in turns, in microseconds.
fn times(calls: [&dyn Fn() -> Result<()>; 2]) -> Result<[f64; 2]> {
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..41 {
        for (call, all) in calls.iter().zip(&mut all) {
            let start = Instant::now();
            for _ in 0..5 {
                call()?;
            }
            all.push(start.elapsed().as_secs_f64() * 1e6 / 5.0);
        }
    }
    Ok(all.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    }))
}

fn main() -> Result<()> {
    println!("forward + backward, us, the median of 41 turns    candle   evenkeel   ratio");
    for (rows, cols) in [(128, 384), (512, 384), (512, 768), (2048, 1024)] {
        let x = Var::randn(0_f32, 1.0, (rows, cols), &Device::Cpu)?;
        let gamma = Var::ones(cols, candle_core::DType::F32, &Device::Cpu)?;
        let beta = Var::zeros(cols, candle_core::DType::F32, &Device::Cpu)?;
        // What both add to: the gradient that comes from above is a tensor of its own.
        let above = Tensor::randn(0_f32, 1.0, (rows, cols), &Device::Cpu)?;
        for (name, beta) in [("LayerNorm", Some(beta.as_tensor())), ("RmsNorm", None)] {
            let run = |y: Tensor| (y * &above)?.sum_all()?.backward().map(drop);
            let theirs = || match beta {
                Some(beta) => run(layer_norm_slow(&x, &gamma, beta, EPS)?),
                None => run(rms_norm_slow(&x, &gamma, EPS)?),
            };
            let ours = || match beta {
                Some(_) => run(ops::layer_norm(&x, Some(&gamma), beta, EPS.into())?),
                None => run(ops::rms_norm(&x, Some(&gamma), EPS.into())?),
            };
            let [theirs, ours] = times([&theirs, &ours])?;
            println!(
                "{name:10} {rows:5} x {cols:<5} {:25.0} {ours:10.0} {:7.1}",
                theirs,
                theirs / ours
            );
        }
    }
    Ok(())
}
