//! The running statistics that BatchNorm's training moves.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::shape::check_length;

/// The running mean and variance of every channel, which training updates.
#[derive(Debug)]
pub struct RunningStatistics<'a> {
    /// The running mean; start with 0.
    pub mean: &'a mut [f32],
    /// The running variance, at least 0; start with 1.
    pub var: &'a mut [f32],
}

/// Refuses running statistics of another length, and negative variances.
pub(crate) fn check_running(mean: &[f32], var: &[f32], channels: usize) -> Result<(), Error> {
    check_length("running_mean", mean.len(), channels)?;
    check_length("running_var", var.len(), channels)?;
    // Without an early end, several at a time.
    let negative = var.iter().fold(false, |negative, &var| negative | (var < 0.0));
    if !negative {
        return Ok(());
    }
    let got = var.iter().copied().fold(f32::INFINITY, f32::min).into();
    Err(Error::Parameter { arg: "running_var", expected: "numbers of at least 0", got })
}
