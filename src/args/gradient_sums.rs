//! The sums of a batch that other places have parts of.
#![forbid(unsafe_code)]

/// The sums of all parts of a batch, which [`BatchNorm::backward_apply`](crate::BatchNorm::backward_apply) makes dx of, one of each
/// a channel: those of dy, which are dbeta, and those of `dy * x_hat`, which are dgamma.
#[derive(Clone, Copy, Debug)]
pub struct GradientSums<'a> {
    pub(crate) count: u64,
    pub(crate) dy: &'a [f64],
    pub(crate) dy_x_hat: &'a [f64],
}

impl<'a> GradientSums<'a> {
    /// Those of `count` elements a channel.
    #[inline]
    #[must_use]
    pub const fn new(count: u64, sum_dy: &'a [f64], sum_dy_x_hat: &'a [f64]) -> Self {
        Self { count, dy: sum_dy, dy_x_hat: sum_dy_x_hat }
    }
}
