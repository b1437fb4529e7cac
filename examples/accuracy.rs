//! The relative error of the variance of a row of 4096, evenkeel's and that of the usual f32 algorithms.
//!
//! ```text
//! cargo run --release --example accuracy
//! ```
#![forbid(unsafe_code)]

use evenkeel::{Moments, reference};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const LEN: usize = 4096;
const SEEDS: u64 = 20;

/// The textbook's E[x^2] - E[x]^2.
fn naive(x: &[f32]) -> f64 {
    let (mut sum, mut squares) = (0.0_f32, 0.0_f32);
    for &x in x {
        sum += x;
        squares += x * x;
    }
    let mean = sum / x.len() as f32;
    f64::from(squares / x.len() as f32 - mean * mean)
}

/// Welford's update, element by element.
fn welford(x: &[f32]) -> f64 {
    let (mut mean, mut m2) = (0.0_f32, 0.0_f32);
    for (i, &x) in x.iter().enumerate() {
        let delta = x - mean;
        mean += delta / (i + 1) as f32;
        m2 += delta * (x - mean);
    }
    f64::from(m2 / x.len() as f32)
}

/// The mean first, then the squared deviations.
fn two_pass(x: &[f32]) -> f64 {
    let mean = x.iter().sum::<f32>() / x.len() as f32;
    f64::from(x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / x.len() as f32)
}

fn evenkeel(x: &[f32]) -> f64 {
    let mut moments = Moments::new();
    moments.extend_from_slice(x);
    moments.population_variance().expect("the row has elements")
}

/// Nearly normal: twelve uniform numbers.
fn normal(random: &mut Xoshiro256PlusPlus) -> f64 {
    (0..12).map(|_| (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64).sum::<f64>() - 6.0
}

fn main() {
    println!("Worst relative error of the variance of {LEN} elements, {SEEDS} seeds\n");
    println!(
        "{:<34} {:>14} {:>12} {:>12} {:>12}",
        "data", "E[x^2]-E[x]^2", "f32 Welford", "f32 two-pass", "evenkeel"
    );
    let far = |mean: f64| (format!("normal, mean/std {mean:e}"), mean, None);
    let rows = [0.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6].map(far);
    let outlier = ("normal, the first element 1e6".to_owned(), 0.0, Some(1e6));
    for (name, mean, first) in rows.into_iter().chain([outlier]) {
        let mut worst = [0.0_f64; 4];
        for seed in 0..SEEDS {
            let random = &mut Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut x: Vec<f32> = (0..LEN).map(|_| (normal(random) + mean) as f32).collect();
            if let Some(first) = first {
                x[0] = first;
            }
            let (_, exact) = reference::mean_variance(&x);
            for (worst, algorithm) in worst.iter_mut().zip([naive, welford, two_pass, evenkeel]) {
                *worst = worst.max((algorithm(&x) - exact).abs() / exact);
            }
        }
        let [naive, welford, two_pass, evenkeel] = worst;
        println!("{name:<34} {naive:>14.0e} {welford:>12.0e} {two_pass:>12.0e} {evenkeel:>12.0e}");
    }
}
