//! What becomes of a row's `x_hat`: gamma and beta, each if it is there, 1 + gamma, a gate.
//!
//! Each case is a type, so that the sweeps (`kernels/rows/normalize.rs`) have no test of what is there in their loops.
#![forbid(unsafe_code)]

use crate::gate::GateFunction;
use crate::simd::{Float, LANES, Real, Simd};

/// What becomes of `x_hat`.
pub(super) trait ColumnAffine: Copy {
    /// The part for columns `start` up to `end`.
    fn columns(self, start: usize, end: usize) -> Self;

    /// gamma and beta of vector `i`, anything where there is none.
    fn load<V: Float>(self, token: V::Token, i: usize) -> (V, V);

    /// The same of the tail.
    fn load_tail<V: Float>(self, token: V::Token) -> (V, V);

    /// What the group has beside x.
    #[inline(always)]
    fn inputs(self) -> Inputs {
        Inputs::NONE
    }

    /// Whether there is a beta.
    fn has_beta(self) -> bool;

    /// `x_hat * gamma + beta`, of what is there.
    fn apply<V: Float>(coefficients: (V, V), x_hat: V) -> V;

    /// The case that serves all others: it has the same bits, and tests in the loop what is there.
    fn general(&self) -> WithInputs<'_>;
}

/// Inputs of a group of rows beside x.
#[derive(Clone, Copy)]
pub(crate) struct Inputs {
    /// The function of the gate that is a factor of the result, if there is one.
    pub(crate) gate: Option<GateFunction>,
    /// Whether something is added to it.
    pub(crate) added: bool,
}

impl Inputs {
    /// x alone.
    pub(crate) const NONE: Self = Self { gate: None, added: false };
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
    fn has_beta(self) -> bool {
        BETA
    }

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

    #[inline(always)]
    fn general(&self) -> WithInputs<'_> {
        WithInputs {
            gamma: if GAMMA == ABSENT { None } else { Some(self.gamma) },
            beta: if BETA { Some(self.beta) } else { None },
            offset: if GAMMA == OFFSET { self.offset } else { -0.0 },
            inputs: Inputs::NONE,
        }
    }
}

/// gamma and a gate by silu, as models have them. It does without the tests of [`WithInputs`], which cost (`docs/performance.md`,
/// "What helped").
#[derive(Clone, Copy)]
pub(super) struct Gated<'a>(pub(super) GammaBeta<'a, OFFSET, false>);

impl ColumnAffine for Gated<'_> {
    #[inline(always)]
    fn inputs(self) -> Inputs {
        Inputs { gate: Some(GateFunction::Silu), added: false }
    }

    #[inline(always)]
    fn has_beta(self) -> bool {
        false
    }

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
    fn apply<V: Float>(coefficients: (V, V), x_hat: V) -> V {
        GammaBeta::<OFFSET, false>::apply(coefficients, x_hat)
    }

    #[inline(always)]
    fn general(&self) -> WithInputs<'_> {
        WithInputs { inputs: self.inputs(), ..self.0.general() }
    }
}

/// gamma and beta, a gate and something to add, each if it is there. A test of each is in the loop. It serves what has other
/// inputs and waits for their memory, the combinations that are rare, and rows that leave f32.
#[derive(Clone, Copy)]
pub(super) struct WithInputs<'a> {
    pub(super) gamma: Option<&'a [f32]>,
    pub(super) beta: Option<&'a [f32]>,
    /// What is added to gamma, as of [`GammaBeta`].
    pub(super) offset: f32,
    pub(super) inputs: Inputs,
}

impl WithInputs<'_> {
    #[inline(always)]
    fn coefficients<V: Float>(
        self,
        token: V::Token,
        load: impl Fn(&[f32]) -> <V::Token as Simd>::F32,
    ) -> (V, V) {
        let gamma = match self.gamma {
            Some(gamma) => <V::Token as Simd>::F32::splat(token, self.offset) + load(gamma),
            None => <V::Token as Simd>::F32::splat(token, 1.0),
        };
        let beta = match self.beta {
            Some(beta) => load(beta),
            // Adding -0.0 changes nothing, not even 0.0.
            None => <V::Token as Simd>::F32::splat(token, -0.0),
        };
        (V::of_single(gamma), V::of_single(beta))
    }
}

impl ColumnAffine for WithInputs<'_> {
    #[inline(always)]
    fn inputs(self) -> Inputs {
        self.inputs
    }

    #[inline(always)]
    fn has_beta(self) -> bool {
        self.beta.is_some()
    }

    #[inline(always)]
    fn columns(self, start: usize, end: usize) -> Self {
        Self {
            gamma: self.gamma.map(
                #[inline(always)]
                |gamma| &gamma[start..end],
            ),
            beta: self.beta.map(
                #[inline(always)]
                |beta| &beta[start..end],
            ),
            ..self
        }
    }

    #[inline(always)]
    fn load<V: Float>(self, token: V::Token, i: usize) -> (V, V) {
        self.coefficients(
            token,
            #[inline(always)]
            |x| vector(token, x, i),
        )
    }

    #[inline(always)]
    fn load_tail<V: Float>(self, token: V::Token) -> (V, V) {
        self.coefficients(
            token,
            #[inline(always)]
            |x| tail(token, x),
        )
    }

    #[inline(always)]
    fn apply<V: Float>((gamma, beta): (V, V), x_hat: V) -> V {
        x_hat.mul_add(gamma, beta)
    }

    #[inline(always)]
    fn general(&self) -> WithInputs<'_> {
        *self
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
