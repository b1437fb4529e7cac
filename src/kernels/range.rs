//! What f32 can hold: every threshold beyond which a kernel goes to f64.
#![forbid(unsafe_code)]

/// rstd, |mean| and |mean * rstd| up to this, and rstd down to its inverse, are f32's business: then
/// x - hi, lo * rstd and their products cannot overflow unless `x_hat` does, and nothing that counts
/// underflows.
pub(crate) const LARGEST: f64 = (1_u128 << 100) as f64;

/// The largest share of Q that S^2/n may be. M2 is what is left, so the roundings of Q and S count for more of
/// it the larger the share is: with 1/2, a search for bad rows found errors of the variance of 1.14e-6. `docs/accuracy.md` derives
/// what they can be with a quarter, 2.2e-6.
pub(crate) const LARGEST_SHIFT: f64 = 0.25;

/// Below this mean square, squares have left the f32 range or come near its end (2^-126), where they
/// lose digits.
pub(crate) const SMALLEST_MEAN_SQUARE: f64 = 1.0 / (1_u128 << 70) as f64;

/// Whether f32 held the squares.
#[inline(always)]
pub(crate) fn squares_fit(q: f64, n: f64) -> bool {
    (SMALLEST_MEAN_SQUARE * n..f64::INFINITY).contains(&q)
}

/// The largest share of Q that S^2/n may be: K is then within eight standard deviations of the mean, where the first
/// value of normal data always is, and M2 has 64 times the relative error of Q.
pub(crate) const LARGEST_FIT_SHIFT: f64 = 63.0 / 64.0;

/// Up to this many gradients' squares, and so up to its root of each gradient, no sum of a backward pass leaves f32.
pub(crate) const LARGEST_GRADIENT_SQUARES: f64 = (1_u128 << 120) as f64;
