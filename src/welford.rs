//! Welford's update and its merge, in f64: the moments of a set of values, pushed or merged.
//!
//! The plain algorithm, for one value x after n others:
//!
//! ```text
//! n' = n + 1;  delta = x - mean;  mean' = mean + delta / n';  M2' = M2 + delta * (x - mean')
//! ```
//!
//! and Chan's merge of two sets, of which it is the case of one element:
//!
//! ```text
//! n = n_a + n_b;  delta = mean_b - mean_a
//! mean = mean_a + delta * n_b / n;  M2 = M2_a + M2_b + delta^2 * n_a * n_b / n
//! ```
//!
//! In f32 the update is far too slow and too rough (`kernels/rows/block.rs` has the figures), so the kernels use the merge
//! between blocks only. In f64 what is left of its error is the rounding of the mean: the next delta is off by as much,
//! and M2 by mean / std times that. So the mean is kept in two f64, the second of which holds what the first could not,
//! and `x - mean'` is `delta - delta / n'`, in which no mean is rounded.
#![forbid(unsafe_code)]

use crate::error::Error;

/// Number, mean and sum of squared deviations of a set of values: what statistics are merged from.
///
/// * `count`: n
/// * `mean`: (sum of x) / n, and 0 where n = 0
/// * `mean_low`: what rounding left of the mean
/// * `m2`: the sum of (x - mean)^2
///
/// [`push`](Self::push) is Welford's streaming update (B. P. Welford, Technometrics 4, 1962);
/// [`merge`](Self::merge) is the pairwise merge of Chan, Golub and LeVeque (1979), with which the
/// moments of parts of a data set, from several threads or machines, become those of the whole. Both
/// work in f64. The result of merging depends on the order only in its last bits. A count stops at
/// `u64::MAX`, and above 2^53 the weights of the merge are those of the count rounded to f64.
///
/// **Accuracy** of values that are pushed: mean and variance are those of the exact sums but for their last bits, whatever
/// mean / std, since the mean is kept to twice the digits of an f64. On the hardest of NIST's reference data
/// (`NumAcc4`, mean / std 1e8) all 15 digits of the deviation are right, where the plain update has 12.
///
/// A NaN or an infinity among the values makes `mean` or `m2` NaN.
///
/// **Layout**: plain old data of 32 bytes without padding, in Rust and in C: `count` at 0, `mean` at 8, `mean_low` at 16, `m2` at 24,
/// each in the byte order of the machine. Any 32 bytes are moments of this type. All zeros are those of no values. So a slice of them
/// can be sent to another process of the same byte order as it is.
///
/// ```
/// use evenkeel::Moments;
///
/// let mut left = Moments::new();
/// left.extend_from_slice(&[1.0, 2.0]);
/// let mut right = Moments::new();
/// right.push(3.0);
/// right.push(6.0);
///
/// left.merge(&right);
/// assert_eq!(left.mean, 3.0);
/// assert_eq!(left.population_variance(), Some(3.5));
/// assert_eq!(left.sample_variance(), Some(14.0 / 3.0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
// C has the same (`capi/moments.rs`).
#[repr(C)]
pub struct Moments {
    /// The number of values.
    pub count: u64,
    /// Their mean; 0 if there are none.
    pub mean: f64,
    /// What rounding left of it: `mean + mean_low` is the mean to twice the digits. 0 where that is not known, as in
    /// the moments of [`RowMoments`](crate::RowMoments) and [`ColumnMoments`](crate::ColumnMoments).
    pub mean_low: f64,
    /// The sum of their squared deviations from the mean.
    pub m2: f64,
}

impl Moments {
    /// The moments of no values.
    #[must_use]
    pub const fn new() -> Self {
        Self { count: 0, mean: 0.0, mean_low: 0.0, m2: 0.0 }
    }

    /// Adds one value: Welford's update.
    #[inline]
    pub fn push(&mut self, x: f64) {
        self.count = self.count.saturating_add(1);
        let delta = (x - self.mean) - self.mean_low;
        let step = delta / self.count as f64;
        self.move_mean(step);
        self.m2 += delta * (delta - step);
    }

    /// Adds the values of another set: the merge of Chan, Golub and LeVeque. Merging an empty set
    /// changes nothing.
    #[inline]
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let n = a + b;
        let delta = (other.mean - self.mean) + (other.mean_low - self.mean_low);
        self.count = self.count.saturating_add(other.count);
        self.move_mean(delta * b / n);
        self.m2 += other.m2 + delta * delta * a * b / n;
    }

    /// Adds `step` to the mean and keeps what its rounding loses: Knuth's sum of two numbers, then Dekker's.
    #[inline(always)]
    fn move_mean(&mut self, step: f64) {
        let sum = self.mean + step;
        let taken = sum - self.mean;
        let lost = (self.mean - (sum - taken)) + (step - taken);
        let low = self.mean_low + lost;
        self.mean = sum + low;
        self.mean_low = low - (self.mean - sum);
    }

    /// `m2 / n`, the variance that normalisation uses; `None` if there are no values.
    #[must_use]
    pub fn population_variance(&self) -> Option<f64> {
        (self.count > 0).then(|| self.m2 / self.count as f64)
    }

    /// `m2 / (n - 1)`, the unbiased estimate; `None` if there are fewer than two values.
    #[must_use]
    pub fn sample_variance(&self) -> Option<f64> {
        (self.count > 1).then(|| self.m2 / (self.count - 1) as f64)
    }
}

/// Checks that some values can have these moments.
pub(crate) fn check_moments(arg: &'static str, moments: &[Moments]) -> Result<(), Error> {
    // Without an early exit, so that it is vectorised.
    if !moments.iter().fold(false, |negative, moments| negative | (moments.m2 < 0.0)) {
        return Ok(());
    }
    let got = moments.iter().map(|moments| moments.m2).find(|m2| *m2 < 0.0).unwrap_or(f64::NAN);
    Err(Error::Parameter { arg, expected: "sums of squared deviations of at least 0", got })
}
