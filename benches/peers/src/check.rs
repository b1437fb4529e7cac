//! Only those who compute the same thing are compared.

use crate::problem::{Operation, P, Problem};

/// How far an output may be from evenkeel's, as a multiple of `max(1, |evenkeel's|)`: what the f32 sums of
/// the peers need. Dropout scales by 1 / (1 - p), of which evenkeel rounds p to a multiple of 2^-16.
const TOLERANCE: f64 = 1e-4;
/// How far the share of dropped elements may be from p, in standard deviations.
const SIGMAS: f64 = 5.0;

/// An error that says by how much the output is off, if it is.
pub fn check(
    operation: Operation,
    problem: &Problem,
    expected: &[f32],
    output: &[f32],
) -> Result<(), String> {
    if output.len() != problem.x.len() {
        return Err(format!("{} elements instead of {}", output.len(), problem.x.len()));
    }
    match operation {
        Operation::Dropout => dropout(&problem.x, output),
        _ => near(expected.iter().map(|&y| f64::from(y)).zip(output.iter().copied())),
    }
}

/// The masks are random, so that what they do is compared.
fn dropout(x: &[f32], output: &[f32]) -> Result<(), String> {
    let n = x.len() as f64;
    let dropped = output.iter().filter(|&&y| y == 0.0).count() as f64;
    let sigmas = (dropped - P * n) / (P * (1.0 - P) * n).sqrt();
    if sigmas.abs() > SIGMAS {
        return Err(format!("{dropped} of {n} are dropped, {sigmas:.1} sigma from p"));
    }
    let kept = x.iter().zip(output).filter(|&(_, &y)| y != 0.0);
    near(kept.map(|(&x, &y)| (f64::from(x) / (1.0 - P), y)))
}

fn near(pairs: impl Iterator<Item = (f64, f32)>) -> Result<(), String> {
    let differences = pairs.map(|(expected, y)| {
        let difference = (f64::from(y) - expected).abs() / expected.abs().max(1.0);
        if difference.is_nan() { f64::INFINITY } else { difference }
    });
    let largest = differences.fold(0.0, f64::max);
    if largest > TOLERANCE {
        return Err(format!("the largest difference is {largest:.1e}, more than {TOLERANCE:.0e}"));
    }
    Ok(())
}
