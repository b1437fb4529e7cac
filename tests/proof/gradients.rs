//! Law: the error bounds of backward passes over rows. Data: every hard row, with gradients of every kind. Every backend.
#![forbid(unsafe_code)]

use evenkeel::reference::{self, RowGradients};
use evenkeel::{
    Backend, Error, GradArgs, InOut, LayerNorm, NormalizeScaleShift, Parallelism, RmsNorm, Rows,
    Statistics,
};

use crate::common::*;

/// The error of dx, as a part of `rstd * max|g| * (1 + |x_hat|)`, and of dgamma, as one of the sum of `|dy| * max(1, |x_hat|)`: half
/// of what the docs promise.
pub const GRADIENT: f64 = 2e-6;
/// The error of dbeta, as a part of the sum of `|dy|`.
const DBETA: f64 = 1e-6;
/// Beyond it the docs promise nothing.
const LARGEST: f64 = 3e38;

/// What is differentiated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    LayerNorm,
    RmsNorm,
    OnePlusGamma,
    /// Rows whose statistics are given: those that LayerNorm would make.
    Given,
}

pub const LAYERS: [Kind; 4] = [Kind::LayerNorm, Kind::RmsNorm, Kind::OnePlusGamma, Kind::Given];

/// A call: rows of x and dy, and gamma.
pub struct Problem<'a> {
    pub layer: Kind,
    pub shape: Rows,
    pub x: &'a [f32],
    pub dy: &'a [f32],
    pub gamma: Option<&'a [f32]>,
    pub eps: f64,
}

/// Gradients in f64, and what their errors are measured in.
pub struct Expected {
    pub dx: Vec<f64>,
    pub dx_scale: Vec<f64>,
    rstd: Vec<f64>,
    pub dgamma: Vec<f64>,
    pub dgamma_scale: Vec<f64>,
    dbeta: Vec<f64>,
    dbeta_scale: Vec<f64>,
    /// Whether g, `x_hat`, dx and the scale of its error are in the range of f32.
    in_range: bool,
}

impl Problem<'_> {
    /// Mean and rstd of a row.
    fn statistics(&self, x: &[f32]) -> (f64, f64) {
        let mut x_hat = vec![0.0; x.len()];
        match self.layer {
            Kind::LayerNorm | Kind::Given => {
                reference::layer_norm(x, None, None, self.eps, &mut x_hat)
            }
            _ => (0.0, reference::rms_norm(x, None, None, self.eps, &mut x_hat)),
        }
    }

    /// The factors of dy: gamma as the layer has it.
    fn factors(&self) -> Option<Vec<f32>> {
        let offset = if self.layer == Kind::OnePlusGamma { 1.0 } else { 0.0 };
        self.gamma.map(|gamma| gamma.iter().map(|gamma| gamma + offset).collect())
    }

    pub fn expected(&self) -> Expected {
        let (cols, factors) = (self.shape.cols(), self.factors());
        let factors = factors.as_deref();
        let mut all = Expected {
            dx: vec![0.0; self.x.len()],
            dx_scale: vec![0.0; self.x.len()],
            rstd: vec![0.0; self.x.len()],
            dgamma: vec![0.0; cols],
            dgamma_scale: vec![0.0; cols],
            dbeta: vec![0.0; cols],
            dbeta_scale: vec![0.0; cols],
            in_range: true,
        };
        for r in 0..self.shape.rows() {
            let row = r * cols..(r + 1) * cols;
            let (x, dy) = (&self.x[row.clone()], &self.dy[row.clone()]);
            let (mean, rstd) = self.statistics(x);
            let gradients = &mut RowGradients {
                dx: &mut all.dx[row.clone()],
                dgamma: &mut all.dgamma,
                dbeta: &mut all.dbeta,
            };
            match self.layer {
                Kind::LayerNorm => {
                    reference::layer_norm_backward(dy, x, factors, self.eps, gradients);
                }
                Kind::RmsNorm | Kind::OnePlusGamma => {
                    reference::rms_norm_backward(dy, x, factors, self.eps, gradients);
                }
                Kind::Given => reference::normalize_scale_shift_backward(
                    dy,
                    x,
                    [mean, rstd],
                    factors,
                    gradients,
                ),
            }
            let g: Vec<f64> = (0..cols)
                .map(|c| f64::from(dy[c]) * factors.map_or(1.0, |gamma| f64::from(gamma[c])))
                .collect();
            let most = g.iter().fold(0.0, |most, g| g.abs().max(most));
            for c in 0..cols {
                let x_hat = (f64::from(x[c]) - mean) * rstd;
                let dy = f64::from(dy[c]).abs();
                all.dx_scale[r * cols + c] = rstd * most * (1.0 + x_hat.abs());
                all.rstd[r * cols + c] = rstd;
                all.dgamma_scale[c] += dy * x_hat.abs().max(1.0);
                all.dbeta_scale[c] += dy;
                let numbers = [g[c], x_hat, all.dx[r * cols + c], all.dx_scale[r * cols + c]];
                all.in_range &= numbers.iter().all(|number| number.abs() < LARGEST);
            }
        }
        let sums = all.dgamma.iter().chain(&all.dbeta);
        all.in_range &= sums.into_iter().all(|sum| sum.abs() < LARGEST);
        all
    }

    /// dx, dgamma and dbeta of a call.
    pub fn call(
        &self,
        backend: Backend,
        parallelism: Parallelism,
    ) -> (Vec<f32>, Vec<f64>, Vec<f64>) {
        let cols = self.shape.cols();
        let mut dx = vec![f32::NAN; self.x.len()];
        let (mut dgamma, mut dbeta) = (vec![f64::NAN; cols], vec![f64::NAN; cols]);
        let args = GradArgs::new().dgamma(&mut dgamma).dbeta(&mut dbeta);
        let io = InOut::new(self.dy, &mut dx);
        self.run(backend, parallelism, io, args).unwrap();
        (dx, dgamma, dbeta)
    }

    pub fn run<'a>(
        &self,
        backend: Backend,
        parallelism: Parallelism,
        io: InOut<'_, 'a>,
        args: GradArgs<'_>,
    ) -> Result<&'a mut [f32], Error> {
        let args = args.maybe_gamma(self.gamma);
        match self.layer {
            Kind::LayerNorm => LayerNorm::new()
                .with_eps(self.eps)
                .with_backend(backend)
                .with_parallelism(parallelism)
                .backward(io, self.x, self.shape, args),
            Kind::RmsNorm | Kind::OnePlusGamma => RmsNorm::new()
                .with_eps(self.eps)
                .with_one_plus_gamma(self.layer == Kind::OnePlusGamma)
                .with_backend(backend)
                .with_parallelism(parallelism)
                .backward(io, self.x, self.shape, args),
            Kind::Given => {
                let statistics =
                    self.x.chunks(self.shape.cols().max(1)).map(|x| self.statistics(x));
                let (mean, rstd): (Vec<f64>, Vec<f64>) = statistics.unzip();
                let given = Statistics::of_rows(&mean, &rstd);
                NormalizeScaleShift::new()
                    .with_backend(backend)
                    .with_parallelism(parallelism)
                    .backward(io, self.x, self.shape, given, args)
            }
        }
    }

    /// Asserts the bounds of the docs.
    #[track_caller]
    fn check(&self, name: &str) {
        let expected = self.expected();
        if !expected.in_range {
            return;
        }
        for backend in backends() {
            let (dx, dgamma, dbeta) = self.call(backend, Parallelism::Auto);
            let what =
                format!("{:?}, {backend}, {:?}, {name}, eps {}", self.layer, self.shape, self.eps);
            for (i, &dx) in dx.iter().enumerate() {
                let bound = GRADIENT * expected.dx_scale[i] + SUBNORMAL * (1.0 + expected.rstd[i]);
                let error = (f64::from(dx) - expected.dx[i]).abs();
                assert!(
                    error <= bound,
                    "{what}: dx {i}: expected {:e}, got {dx:e}, {} of the bound",
                    expected.dx[i],
                    error / bound,
                );
            }
            let rows = self.shape.rows() as f64;
            for c in 0..self.shape.cols() {
                let bound = GRADIENT * expected.dgamma_scale[c] + rows * SUBNORMAL;
                let error = (dgamma[c] - expected.dgamma[c]).abs();
                assert!(
                    error <= bound,
                    "{what}: dgamma {c}: expected {:e}, got {:e}, {} of the bound",
                    expected.dgamma[c],
                    dgamma[c],
                    error / bound,
                );
                let error = (dbeta[c] - expected.dbeta[c]).abs();
                assert!(
                    error <= DBETA * expected.dbeta_scale[c],
                    "{what}: dbeta {c}: expected {:e}, got {:e}",
                    expected.dbeta[c],
                    dbeta[c],
                );
            }
        }
    }
}

/// Gradients of a row of so many elements whose values are x.
fn dys(x: &[f32], random: &mut Random) -> Vec<(&'static str, Vec<f32>)> {
    let len = x.len();
    let largest = (0..len).max_by(|&a, &b| x[a].abs().total_cmp(&x[b].abs())).unwrap_or(0);
    let one = |i: usize| (0..len).map(|c| if c == i { 1.0 } else { 0.0 }).collect();
    let scaled = |factor: f32, dy: Vec<f32>| dy.into_iter().map(|dy| dy * factor).collect();
    vec![
        ("normal dy", random.normals(len)),
        ("dy of one sign", random.normals(len).into_iter().map(f32::abs).collect()),
        ("dy at the largest x", one(largest)),
        ("dy of ones", vec![1.0; len]),
        ("dy at the first x", one(0)),
        ("no dy", vec![0.0; len]),
        ("dy of 1e-30", scaled(1e-30, random.normals(len))),
        ("subnormal dy", scaled(1e-41, random.normals(len))),
        ("dy of 1e30", scaled(1e30, random.normals(len))),
    ]
}

#[test]
fn gradients_of_a_row_are_within_the_bound() {
    for Case { name, x } in cases() {
        let random = &mut Random::new(x.len() as u64);
        let gamma = random.normals(x.len());
        // The first three, where the reference takes long.
        let kinds = if x.len() <= 2 * INNER + 1 { usize::MAX } else { 3 };
        for (of_dy, dy) in dys(&x, random).into_iter().take(kinds) {
            for layer in LAYERS {
                for (eps, gamma) in [(1e-5, None), (0.0, Some(&gamma[..]))] {
                    let shape = rows(1, x.len());
                    let problem = Problem { layer, shape, x: &x, dy: &dy, gamma, eps };
                    problem.check(&format!("{name}, {of_dy}"));
                }
            }
        }
    }
}

/// Law: so are those of a matrix whose rows are of all kinds, over blocks of rows of every height, and those of few large elements
/// whose gradients have one sign, where dx is up to half the root of the row's length times `rstd * max|g|`.
#[test]
fn gradients_of_many_rows_are_within_the_bound() {
    let longest = if short() { 300 } else { 3000 };
    for (count, cols) in [(3, 40), (31, 17), (33, 64), (130, 5), (300, 100), (2100, 3), (1100, 33)]
    {
        if count * cols > longest * 10 {
            continue;
        }
        let random = &mut Random::new((count * cols) as u64);
        let x: Vec<f32> = (0..count)
            .flat_map(|r| DATA_SETS[r % DATA_SETS.len()].row(cols, random))
            .map(|x| if x.abs() > 1e15 || x.abs() < 1e-15 { 1.5 } else { x })
            .collect();
        let gamma = random.normals(cols);
        let dy = random.normals(count * cols);
        let of_one_sign: Vec<f32> = dy.iter().map(|dy| dy.abs()).collect();
        for (dy, gamma) in [(&dy, None), (&of_one_sign, Some(&gamma[..]))] {
            for layer in LAYERS {
                let shape = rows(count, cols);
                Problem { layer, shape, x: &x, dy, gamma, eps: 1e-5 }.check("rows of all kinds");
            }
        }
    }
    for cols in [1 << 14, 1 << if short() { 15 } else { 20 }] {
        let random = &mut Random::new(cols as u64);
        let mut x = random.normals(cols);
        x[cols / 3] = 1e6;
        let dy: Vec<f32> = random.normals(cols).iter().map(|dy| dy.abs()).collect();
        for layer in [Kind::LayerNorm, Kind::RmsNorm] {
            let problem =
                Problem { layer, shape: rows(1, cols), x: &x, dy: &dy, gamma: None, eps: 1e-5 };
            problem.check("one large x");
        }
    }
}
