//! What the sweep over columns does to each: `y = (x - hi) * alpha + shift`, and where the statistics for that come from.
//!
//! `kernels/columns/normalize.rs` says why there are three coefficients.
#![forbid(unsafe_code)]

use crate::kernels::lanes::{lanes_below, load_columns, load_f64, rstd_lanes};
use crate::kernels::range::LARGEST;
use crate::simd::{Double, Float, LANES, Simd};

/// What the sweep does to a vector of columns: `y = (x - hi) * alpha + shift`.
#[derive(Clone, Copy)]
pub(crate) struct Coefficients<V> {
    pub(crate) hi: V,
    pub(crate) alpha: V,
    pub(crate) shift: V,
}

impl<V: Double> Coefficients<V> {
    /// From the statistics, gamma and beta of vector `vector` of `cols` columns, and a bit for each column whose do not fit
    /// f32.
    #[inline(always)]
    pub(crate) fn new(
        token: V::Token,
        (mean, rstd, shift): (V, V, V),
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        (vector, cols): (usize, usize),
    ) -> (Self, u16) {
        let mut alpha = rstd;
        if let Some(gamma) = gamma {
            alpha = rstd * V::widen(load_columns(token, gamma, vector, 0.0));
        }
        let mut shift = shift;
        if let Some(beta) = beta {
            shift = V::widen(load_columns(token, beta, vector, 0.0));
        }
        let largest = V::splat(token, LARGEST * LARGEST);
        let least = V::splat(token, 1.0 / LARGEST / LARGEST);
        // Squares, for want of an absolute value, and their sum, for one comparison: they cannot overflow before
        // they are too large.
        let alpha_square = alpha * alpha;
        let product = mean * alpha;
        let sum = product.mul_add(product, mean.mul_add(mean, alpha_square));
        let zero = alpha.equal(V::splat(token, 0.0));
        let fits = (least.less_or_equal(alpha_square) | zero) & sum.less_or_equal(largest);
        let lanes = lanes_below(cols - vector * LANES);
        (Self { hi: mean, alpha, shift }, !fits & lanes)
    }

    /// The same in f32, whose hi leaves a part of the mean to shift.
    #[inline(always)]
    pub(crate) fn narrow(self, token: V::Token) -> Coefficients<V::Single> {
        let hi = self.hi.narrow();
        let lo = self.hi - V::widen(hi);
        let shift = (V::splat(token, 0.0) - lo).mul_add(self.alpha, self.shift);
        Coefficients { hi, alpha: self.alpha.narrow(), shift: shift.narrow() }
    }
}

impl<V: Float> Coefficients<V> {
    #[inline(always)]
    pub(crate) fn apply(self, x: V) -> V {
        (x - self.hi).mul_add(self.alpha, self.shift)
    }
}

/// Where the statistics of columns come from.
pub(crate) trait ColumnSource: Copy + Send {
    /// Whether y is clamped to [`limits`](Self::limits).
    const CLIPS: bool = false;

    /// mean and rstd of the columns of a vector; anything in lanes beyond the last column.
    fn load<S: Simd>(self, token: S, vector: usize) -> (S::F64, S::F64);

    /// What is added to the columns of a vector where there is no beta.
    #[inline(always)]
    fn shift<S: Simd>(self, token: S, _: usize) -> S::F64 {
        S::F64::splat(token, 0.0)
    }

    /// The least and the greatest y.
    #[inline(always)]
    fn limits(self) -> [f32; 2] {
        [f32::NEG_INFINITY, f32::INFINITY]
    }
}

/// Statistics in f64.
#[derive(Clone, Copy)]
pub(crate) struct GivenColumns<'a> {
    pub(crate) mean: &'a [f64],
    pub(crate) rstd: &'a [f64],
}

impl ColumnSource for GivenColumns<'_> {
    #[inline(always)]
    fn load<S: Simd>(self, token: S, vector: usize) -> (S::F64, S::F64) {
        (load_f64(token, self.mean, vector, 0.0), load_f64(token, self.rstd, vector, 0.0))
    }
}

/// Running statistics: rstd = 1 / sqrt(var + eps), and 0 where that is 1 / 0.
#[derive(Clone, Copy)]
pub(crate) struct RunningColumns<'a> {
    pub(crate) mean: &'a [f32],
    pub(crate) var: &'a [f32],
    pub(crate) eps: f64,
}

impl ColumnSource for RunningColumns<'_> {
    #[inline(always)]
    fn load<S: Simd>(self, token: S, vector: usize) -> (S::F64, S::F64) {
        let mean = S::F64::widen(load_columns(token, self.mean, vector, 0.0));
        let var = S::F64::widen(load_columns(token, self.var, vector, 1.0));
        (mean, rstd_lanes(token, var, self.eps))
    }
}
