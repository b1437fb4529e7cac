//! What becomes of a row's `x_hat`: gamma and beta, each if it is there, 1 + gamma, a gate.
//!
//! Each case is a type, so that the sweeps (`kernels/rows/normalize.rs`) have no test of what is there in their loops.
#![forbid(unsafe_code)]

use crate::simd::{Float, LANES, Real, Simd};

/// What becomes of `x_hat`.
pub(super) trait ColumnAffine: Copy {
    /// Whether a gate takes part.
    const GATED: bool = false;

    /// The part for columns `start` up to `end`.
    fn columns(self, start: usize, end: usize) -> Self;

    /// gamma and beta of vector `i`, anything where there is none.
    fn load<V: Float>(self, token: V::Token, i: usize) -> (V, V);

    /// The same of the tail.
    fn load_tail<V: Float>(self, token: V::Token) -> (V, V);

    /// The coefficients with a gate.
    #[inline(always)]
    fn gated<V: Float>(coefficients: (V, V), _: V) -> (V, V) {
        coefficients
    }

    /// `x_hat * gamma + beta`, of what is there.
    fn apply<V: Float>(coefficients: (V, V), x_hat: V) -> V;
}

/// There is no gamma.
pub(super) const ABSENT: u8 = 0;

/// gamma is what `x_hat` is multiplied with.
pub(super) const GIVEN: u8 = 1;

/// gamma and an offset is: an addition for each vector of gamma.
pub(super) const OFFSET: u8 = 2;

/// gamma and beta of every column, each if it is there (otherwise its slice is empty and never looked at).
#[derive(Clone, Copy)]
pub(super) struct GammaBeta<'a, const GAMMA: u8, const BETA: bool> {
    gamma: &'a [f32],
    beta: &'a [f32],
    offset: f32,
}

impl GammaBeta<'_, ABSENT, false> {
    pub(super) const NONE: Self = Self { gamma: &[], beta: &[], offset: 0.0 };
}

impl<'a, const GAMMA: u8, const BETA: bool> GammaBeta<'a, GAMMA, BETA> {
    #[inline(always)]
    pub(super) fn new(gamma: &'a [f32], beta: &'a [f32], offset: f32) -> Self {
        Self { gamma, beta, offset }
    }

    /// What `x_hat` is multiplied with. The offset is added in f32 where lanes are f64 too: y does not depend on whether
    /// the caller added it.
    #[inline(always)]
    fn factor<V: Float>(self, token: V::Token, gamma: <V::Token as Simd>::F32) -> V {
        if GAMMA != OFFSET {
            return V::of_single(gamma);
        }
        V::of_single(<V::Token as Simd>::F32::splat(token, self.offset) + gamma)
    }
}

impl<const GAMMA: u8, const BETA: bool> ColumnAffine for GammaBeta<'_, GAMMA, BETA> {
    #[inline(always)]
    fn columns(self, start: usize, end: usize) -> Self {
        let gamma = if GAMMA == ABSENT { &[] } else { &self.gamma[start..end] };
        Self { gamma, beta: if BETA { &self.beta[start..end] } else { &[] }, offset: self.offset }
    }

    #[inline(always)]
    fn load<V: Float>(self, token: V::Token, i: usize) -> (V, V) {
        let gamma = match GAMMA {
            ABSENT => zero(token),
            _ => self.factor(token, vector(token, self.gamma, i)),
        };
        (gamma, if BETA { vector(token, self.beta, i) } else { zero(token) })
    }

    #[inline(always)]
    fn load_tail<V: Float>(self, token: V::Token) -> (V, V) {
        let gamma = match GAMMA {
            ABSENT => zero(token),
            _ => self.factor(token, tail(token, self.gamma)),
        };
        (gamma, if BETA { tail(token, self.beta) } else { zero(token) })
    }

    #[inline(always)]
    fn apply<V: Float>((gamma, beta): (V, V), x_hat: V) -> V {
        match (GAMMA != ABSENT, BETA) {
            (true, true) => x_hat.mul_add(gamma, beta),
            (true, false) => x_hat * gamma,
            (false, true) => x_hat + beta,
            (false, false) => x_hat,
        }
    }
}

/// An affine without beta, times a gate.
#[derive(Clone, Copy)]
pub(super) struct Gated<A>(pub(super) A);

impl<A: ColumnAffine> ColumnAffine for Gated<A> {
    const GATED: bool = true;

    #[inline(always)]
    fn columns(self, start: usize, end: usize) -> Self {
        Self(self.0.columns(start, end))
    }

    #[inline(always)]
    fn load<V: Float>(self, token: V::Token, i: usize) -> (V, V) {
        self.0.load(token, i)
    }

    #[inline(always)]
    fn load_tail<V: Float>(self, token: V::Token) -> (V, V) {
        self.0.load_tail(token)
    }

    #[inline(always)]
    fn gated<V: Float>((gamma, beta): (V, V), gate: V) -> (V, V) {
        (A::apply((gamma, beta), gate), beta)
    }

    #[inline(always)]
    fn apply<V: Float>((factor, _): (V, V), x_hat: V) -> V {
        x_hat * factor
    }
}

#[inline(always)]
fn vector<V: Float>(token: V::Token, x: &[f32], i: usize) -> V {
    V::load(token, &x.as_chunks().0[i])
}

#[inline(always)]
fn tail<V: Float>(token: V::Token, x: &[f32]) -> V {
    V::load_partial(token, x.as_chunks::<LANES>().1, V::Elem::from_f64(0.0))
}

#[inline(always)]
pub(super) fn zero<V: Float>(token: V::Token) -> V {
    V::splat(token, V::Elem::from_f64(0.0))
}
