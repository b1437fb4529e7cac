//! The definition of gated rows, forward and backward.
#![forbid(unsafe_code)]

use super::{RowGradients, rstd, sigmoid, sigmoid_derivative, silu, silu_derivative, sum};
use crate::gate::{GateFunction, GatePlace};

/// A row that is normalised with a gate, or a group of it.
#[derive(Clone, Copy, Debug)]
pub struct GatedRow<'a> {
    /// The row.
    pub x: &'a [f32],
    /// The gate.
    pub z: &'a [f32],
    /// Its function.
    pub function: GateFunction,
    /// What is multiplied with it.
    pub place: GatePlace,
    /// Whether the mean is subtracted.
    pub centred: bool,
    /// Absent: 1.
    pub gamma: Option<&'a [f32]>,
    /// Absent: 0.
    pub beta: Option<&'a [f32]>,
    /// Added to the variance or the mean of squares.
    pub eps: f64,
}

impl GatedRow<'_> {
    fn gamma(&self, i: usize) -> f64 {
        self.gamma.map_or(1.0, |gamma| f64::from(gamma[i]))
    }

    fn f(&self, i: usize) -> f64 {
        match self.function {
            GateFunction::Silu => silu(self.z[i]),
            GateFunction::Sigmoid => sigmoid(self.z[i]),
        }
    }

    fn derivative(&self, i: usize) -> f64 {
        match self.function {
            GateFunction::Silu => silu_derivative(self.z[i]),
            GateFunction::Sigmoid => sigmoid_derivative(self.z[i]),
        }
    }

    /// `x_hat` and rstd of what is normalised: of x, or of its product with the gate.
    #[must_use]
    pub fn x_hat(&self) -> (Vec<f64>, f64) {
        let of = |i: usize| match self.place {
            GatePlace::AfterNorm => f64::from(self.x[i]),
            GatePlace::BeforeNorm => f64::from(self.x[i]) * self.f(i),
        };
        let n = self.x.len();
        let mean = if self.centred { sum((0..n).map(of)) / n as f64 } else { 0.0 };
        let var = sum((0..n).map(|i| (of(i) - mean) * (of(i) - mean))) / n as f64;
        let rstd = rstd(var, self.eps);
        ((0..n).map(|i| (of(i) - mean) * rstd).collect(), rstd)
    }

    /// y.
    #[must_use]
    pub fn forward(&self) -> Vec<f64> {
        let (x_hat, _) = self.x_hat();
        let norm =
            |i: usize| x_hat[i] * self.gamma(i) + self.beta.map_or(0.0, |beta| f64::from(beta[i]));
        (0..self.x.len())
            .map(|i| match self.place {
                GatePlace::AfterNorm => norm(i) * self.f(i),
                GatePlace::BeforeNorm => norm(i),
            })
            .collect()
    }

    /// Its backward pass. Writes dz, too.
    ///
    /// # Panics
    ///
    /// If the lengths of slices differ.
    pub fn backward(&self, dy: &[f32], gradients: &mut RowGradients<'_>, dz: &mut [f64]) {
        let RowGradients { dx, dgamma, dbeta } = gradients;
        let n = self.x.len();
        assert!(dy.len() == n && dx.len() == n && dz.len() == n, "all have one length");
        let (x_hat, rstd) = self.x_hat();
        let after = self.place == GatePlace::AfterNorm;
        let of_norm = |i: usize| f64::from(dy[i]) * if after { self.f(i) } else { 1.0 };
        let g = |i: usize| of_norm(i) * self.gamma(i);
        let c = if self.centred { sum((0..n).map(g)) / n as f64 } else { 0.0 };
        let d = sum((0..n).map(|i| g(i) * x_hat[i])) / n as f64;
        for i in 0..n {
            let du = rstd * (g(i) - c - x_hat[i] * d);
            let norm = x_hat[i] * self.gamma(i) + self.beta.map_or(0.0, |beta| f64::from(beta[i]));
            (dx[i], dz[i]) = if after {
                (du, f64::from(dy[i]) * norm * self.derivative(i))
            } else {
                (du * self.f(i), du * f64::from(self.x[i]) * self.derivative(i))
            };
            dgamma[i] += of_norm(i) * x_hat[i];
            dbeta[i] += of_norm(i);
        }
    }
}
