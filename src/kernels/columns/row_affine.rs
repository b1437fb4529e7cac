//! What becomes of a row after its columns are normalised, scaled and shifted: gamma and beta of the row, or nothing.
#![forbid(unsafe_code)]

use crate::simd::{Float, Real};

/// What becomes of a row after its columns are normalised, scaled and shifted.
pub(crate) trait RowAffine: Copy + Send {
    /// Whether that is nothing, so that several narrow rows may be worked on as one.
    const NONE: bool;

    /// The same without the first `rows` rows.
    fn skip(self, rows: usize) -> Self;

    /// gamma and beta of a row.
    fn load<V: Float>(self, token: V::Token, row: usize) -> (V, V);

    /// `x * gamma + beta`.
    fn apply<V: Float>(coefficients: (V, V), x: V) -> V;
}

/// Nothing.
impl RowAffine for () {
    const NONE: bool = true;

    fn skip(self, _: usize) -> Self {}

    #[inline(always)]
    fn load<V: Float>(self, token: V::Token, _: usize) -> (V, V) {
        let zero = V::splat(token, V::Elem::from_f64(0.0));
        (zero, zero)
    }

    #[inline(always)]
    fn apply<V: Float>(_: (V, V), x: V) -> V {
        x
    }
}

/// gamma and beta of every row.
#[derive(Clone, Copy)]
pub(crate) struct PerRow<'a> {
    pub(crate) gamma: Option<&'a [f32]>,
    pub(crate) beta: Option<&'a [f32]>,
}

impl RowAffine for PerRow<'_> {
    const NONE: bool = false;

    fn skip(self, rows: usize) -> Self {
        let Self { gamma, beta } = self;
        Self { gamma: gamma.map(|gamma| &gamma[rows..]), beta: beta.map(|beta| &beta[rows..]) }
    }

    #[inline(always)]
    fn load<V: Float>(self, token: V::Token, row: usize) -> (V, V) {
        let gamma = self.gamma.map_or(1.0, |gamma| gamma[row]);
        // Adding -0.0 changes nothing, not even 0.0.
        let beta = self.beta.map_or(-0.0, |beta| beta[row]);
        let splat = |x: f32| V::splat(token, V::Elem::from_f64(x.into()));
        (splat(gamma), splat(beta))
    }

    #[inline(always)]
    fn apply<V: Float>((gamma, beta): (V, V), x: V) -> V {
        x.mul_add(gamma, beta)
    }
}
