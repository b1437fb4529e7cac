//! Backward passes with gates and of groups: the bounds of the docs, and what parts, places, threads and options change (nothing).
#![forbid(unsafe_code)]

use evenkeel::reference::{self, GatedRow, RowGradients};
use evenkeel::{
    Backend, Error, GateFunction, GatePlace, GradArgs, InOut, LayerNorm, NormArgs,
    NormalizeScaleShift, Parallelism, RmsNorm, Rows, Statistics,
};

use crate::common::*;

const FUNCTIONS: [GateFunction; 2] = [GateFunction::Silu, GateFunction::Sigmoid];
const PLACES: [GatePlace; 2] = [GatePlace::AfterNorm, GatePlace::BeforeNorm];

/// Errors, as parts of what the docs say. Half of what they promise.
const DX: f64 = 2e-6;
/// Of a gate before the norm, whose products are rounded before they are normalised.
const DX_OF_PRODUCTS: f64 = 4e-6;
const DZ: f64 = 1e-6;

/// A call.
struct Problem<'a> {
    centred: bool,
    function: GateFunction,
    place: GatePlace,
    shape: Rows,
    group_size: usize,
    x: &'a [f32],
    z: &'a [f32],
    dy: &'a [f32],
    gamma: Option<&'a [f32]>,
    beta: Option<&'a [f32]>,
    eps: f64,
}

/// dx, dz, dgamma and dbeta.
struct Gradients {
    dx: Vec<f32>,
    dz: Vec<f32>,
    sums: [Vec<f64>; 2],
}

impl Gradients {
    fn words(&self) -> Vec<u64> {
        let singles = self.dx.iter().chain(&self.dz).map(|&dx| u64::from(bits(dx)));
        singles.chain(self.sums.iter().flatten().map(|&sum| bits64(sum))).collect()
    }
}

impl Problem<'_> {
    fn call(&self, backend: Backend, parallelism: Parallelism) -> Gradients {
        let cols = self.shape.cols();
        let (mut dx, mut dz) = (vec![f32::NAN; self.x.len()], vec![f32::NAN; self.x.len()]);
        let [mut dgamma, mut dbeta] = [(); 2].map(|()| vec![f64::NAN; cols]);
        let args = GradArgs::new().gate(self.z).dgate(&mut dz);
        let args = args.dgamma(&mut dgamma).dbeta(&mut dbeta);
        self.run(backend, parallelism, InOut::new(self.dy, &mut dx), args).unwrap();
        Gradients { dx, dz, sums: [dgamma, dbeta] }
    }

    fn run<'a>(
        &self,
        backend: Backend,
        parallelism: Parallelism,
        io: InOut<'_, 'a>,
        args: GradArgs<'_>,
    ) -> Result<&'a mut [f32], Error> {
        let args = args.maybe_gamma(self.gamma).maybe_beta(self.beta);
        if self.centred {
            let norm = LayerNorm::new().with_eps(self.eps).with_gate(self.function, self.place);
            let norm = norm.with_backend(backend).with_parallelism(parallelism);
            return norm.backward(io, self.x, self.shape, args);
        }
        let norm = RmsNorm::new().with_eps(self.eps).with_gate(self.function, self.place);
        let norm = norm.with_backend(backend).with_parallelism(parallelism);
        norm.with_group_size(self.group_size).backward(io, self.x, self.shape, args)
    }

    /// The groups of the rows, by what the reference calls a row.
    fn parts(&self) -> impl Iterator<Item = (usize, usize, GatedRow<'_>)> {
        let (cols, size) = (self.shape.cols(), self.group_size);
        (0..self.x.len()).step_by(size).map(move |start| {
            let (part, column) = (start..start + size, start % cols);
            let row = GatedRow {
                x: &self.x[part.clone()],
                z: &self.z[part],
                function: self.function,
                place: self.place,
                centred: self.centred,
                gamma: self.gamma.map(|gamma| &gamma[column..column + size]),
                beta: self.beta.map(|beta| &beta[column..column + size]),
                eps: self.eps,
            };
            (start, column, row)
        })
    }

    /// Asserts the bounds of the docs.
    #[track_caller]
    fn check(&self, name: &str) {
        let (cols, size) = (self.shape.cols(), self.group_size);
        let mut dx = vec![0.0; self.x.len()];
        let (mut dz, mut bounds) = (dx.clone(), vec![[0.0; 2]; dx.len()]);
        let [mut dgamma, mut dbeta] = [(); 2].map(|()| vec![0.0; cols]);
        let mut sum_bounds = vec![[0.0; 2]; cols];
        for (start, column, row) in self.parts() {
            let (part, columns) = (start..start + size, column..column + size);
            let dy = &self.dy[part.clone()];
            let gradients = &mut RowGradients {
                dx: &mut dx[part.clone()],
                dgamma: &mut dgamma[columns.clone()],
                dbeta: &mut dbeta[columns.clone()],
            };
            row.backward(dy, gradients, &mut dz[part]);
            let (x_hat, rstd) = row.x_hat();
            let after = self.place == GatePlace::AfterNorm;
            let f = |i: usize| match self.function {
                GateFunction::Silu => reference::silu(row.z[i]),
                _ => reference::sigmoid(row.z[i]),
            };
            // The derivative, without what cancels in it.
            let slope = |i: usize| match self.function {
                GateFunction::Silu => {
                    let z = f64::from(row.z[i]).abs();
                    reference::sigmoid(row.z[i]) + z * reference::sigmoid_derivative(row.z[i])
                }
                _ => reference::sigmoid_derivative(row.z[i]),
            };
            let of_norm = |i: usize| (f64::from(dy[i]) * if after { f(i) } else { 1.0 }).abs();
            let gamma = |i: usize| row.gamma.map_or(1.0, |gamma| f64::from(gamma[i])).abs();
            let most = (0..size).fold(0.0_f64, |most, i| most.max(of_norm(i) * gamma(i)));
            for i in 0..size {
                let (dy, beta) =
                    (f64::from(dy[i]).abs(), row.beta.map_or(0.0, |beta| beta[i].into()));
                let du = rstd * most * (1.0 + x_hat[i].abs());
                let tiny = 4.0 * SUBNORMAL * (1.0 + rstd);
                bounds[start + i] = if after {
                    let norm = gamma(i) * x_hat[i].abs().max(1.0) + f64::abs(beta);
                    [DX * du + tiny, DZ * dy * norm * slope(i) + 4.0 * SUBNORMAL * (1.0 + norm)]
                } else {
                    let x = f64::from(row.x[i]).abs();
                    let dz = DX_OF_PRODUCTS * du * x * slope(i);
                    [
                        DX_OF_PRODUCTS * du * f(i).abs() + tiny * (1.0 + f(i).abs()),
                        dz + tiny * (1.0 + x),
                    ]
                };
                let c = if after { DX } else { DX_OF_PRODUCTS };
                sum_bounds[column + i][0] += c * of_norm(i) * x_hat[i].abs().max(1.0) + SUBNORMAL;
                sum_bounds[column + i][1] += c * of_norm(i) + SUBNORMAL;
            }
        }
        for backend in backends() {
            let got = self.call(backend, Parallelism::Auto);
            let what = format!(
                "{backend}, centred: {}, {:?} {:?}, {:?} by {size}, {name}, eps {}",
                self.centred, self.function, self.place, self.shape, self.eps
            );
            let wide = |singles: &[f32]| singles.iter().copied().map(f64::from).collect::<Vec<_>>();
            for (k, of, got, expected) in
                [(0, "dx", wide(&got.dx), &dx), (1, "dz", wide(&got.dz), &dz)]
            {
                for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                    let part = (got - expected).abs() / bounds[i][k];
                    assert!(
                        part <= 1.0,
                        "{what}: {of} {i}: {got:e}, not {expected:e}: {part} of the bound"
                    );
                }
            }
            for (k, of, got, expected) in
                [(0, "dgamma", &got.sums[0], &dgamma), (1, "dbeta", &got.sums[1], &dbeta)]
            {
                for (c, (got, expected)) in got.iter().zip(expected).enumerate() {
                    let part = (got - expected).abs() / sum_bounds[c][k];
                    assert!(
                        part <= 1.0,
                        "{what}: {of} {c}: {got:e}, not {expected:e}: {part} of the bound"
                    );
                }
            }
        }
    }
}

/// Law: a gate after the norm has gradients within the bound, of every hard row.
#[test]
fn gradients_of_a_gate_after_the_norm_are_within_the_bound() {
    for Case { name, x } in cases() {
        // Where gradients leave f32 nothing is promised.
        if x.is_empty() || x.len() > 3000 || x.iter().any(|x| *x != 0.0 && x.abs() < 1e-20) {
            continue;
        }
        let random = &mut Random::new(x.len() as u64 + 7);
        let [gamma, beta, dy] = [(); 3].map(|()| random.normals(x.len()));
        let z: Vec<f32> = random.normals(x.len()).iter().map(|z| z * 6.0).collect();
        for (function, centred) in FUNCTIONS.into_iter().flat_map(|of| [(of, true), (of, false)]) {
            for (gamma, beta) in [(None, None), (Some(&gamma[..]), Some(&beta[..]))] {
                Problem {
                    centred,
                    function,
                    place: GatePlace::AfterNorm,
                    shape: rows(1, x.len()),
                    group_size: x.len(),
                    x: &x,
                    z: &z,
                    dy: &dy,
                    gamma,
                    beta,
                    eps: 1e-5,
                }
                .check(&name);
            }
        }
    }
}

/// Numbers for rows of several groups.
fn ordinary(count: usize, cols: usize) -> [Vec<f32>; 4] {
    let random = &mut Random::new((count * 31 + cols) as u64);
    let z = random.normals(count * cols).iter().map(|z| z * 4.0).collect();
    [random.normals(count * cols), z, random.normals(count * cols), random.normals(cols)]
}

/// Law: so have gates before the norm, and groups of a row, with ordinary numbers, over several blocks of rows.
#[test]
fn gradients_of_products_and_of_groups_are_within_the_bound() {
    for (count, cols, group_size) in
        [(1, 5, 5), (9, 48, 16), (130, 33, 11), (3, 700, 350), (2, 64, 1)]
    {
        let [x, z, dy, gamma] = ordinary(count, cols);
        for (function, place) in FUNCTIONS.into_iter().flat_map(|of| PLACES.map(|at| (of, at))) {
            for centred in [false, true] {
                Problem {
                    centred,
                    function,
                    place,
                    shape: rows(count, cols),
                    group_size: if centred { cols } else { group_size },
                    x: &x,
                    z: &z,
                    dy: &dy,
                    gamma: Some(&gamma),
                    beta: None,
                    eps: 1e-5,
                }
                .check("ordinary numbers");
            }
        }
    }
}

/// Law: any number of threads, and any fused backend, gives the same bits.
#[test]
fn threads_and_backends_change_no_bit_of_gated_gradients() {
    for (count, cols, group_size) in [(70, 600, 150), (523, 96, 96)] {
        let [x, z, dy, gamma] = ordinary(count, cols);
        for (place, centred) in PLACES.into_iter().flat_map(|at| [(at, true), (at, false)]) {
            let problem = Problem {
                centred,
                function: GateFunction::Silu,
                place,
                shape: rows(count, cols),
                group_size: if centred { cols } else { group_size },
                x: &x,
                z: &z,
                dy: &dy,
                gamma: Some(&gamma),
                beta: Some(&gamma),
                eps: 1e-5,
            };
            for backend in backends() {
                let expected = problem.call(backend, Parallelism::Serial).words();
                for threads in [1, 2, 3, 7, 16] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                    let call = || problem.call(backend, Parallelism::Auto).words();
                    let got = pool.expect("a pool").install(call);
                    assert!(got == expected, "{place:?}, {backend}, {count}x{cols}, {threads}");
                }
            }
            let all: Vec<_> = fused_backends()
                .into_iter()
                .map(|backend| problem.call(backend, Parallelism::Serial).words())
                .collect();
            assert!(all.windows(2).all(|two| two[0] == two[1]), "{place:?}, {count}x{cols}");
        }
    }
}

/// Law: a group has the gradients that it has as a row of its own, bit for bit, and saved statistics change none.
#[test]
fn groups_are_rows() {
    let (count, cols, size) = (37, 120, 40);
    let [x, _, dy, gamma] = ordinary(count, cols);
    for backend in backends() {
        let norm = RmsNorm::new().with_backend(backend);
        let grouped = norm.with_group_size(size);
        let (mut dx, mut dgamma) = (vec![f32::NAN; x.len()], vec![f64::NAN; cols]);
        let args = GradArgs::new().gamma(&gamma).dgamma(&mut dgamma);
        let shape = rows(count, cols);
        grouped.backward(InOut::new(&dy, &mut dx), &x, shape, args).unwrap();
        for group in 0..cols / size {
            let columns = group * size..(group + 1) * size;
            let of = |all: &[f32]| -> Vec<f32> {
                all.chunks(cols).flat_map(|row| &row[columns.clone()]).copied().collect()
            };
            let (mut part, mut sums) = (vec![f32::NAN; count * size], vec![f64::NAN; size]);
            let args = GradArgs::new().gamma(&gamma[columns.clone()]).dgamma(&mut sums);
            let (x, dy) = (of(&x), of(&dy));
            norm.backward(InOut::new(&dy, &mut part), &x, rows(count, size), args).unwrap();
            assert_same(&format!("{backend}, dx of group {group}"), &part, &of(&dx));
            assert_eq!(sums, dgamma[columns.clone()], "{backend}, dgamma of group {group}");
        }
        let (mut rstd, mut y) = (vec![0.0; count * cols / size], x.clone());
        grouped.forward(InOut::in_place(&mut y), shape, NormArgs::new().rstd(&mut rstd)).unwrap();
        let mut saved = vec![f32::NAN; x.len()];
        let args = GradArgs::new().gamma(&gamma).rstd(&rstd);
        grouped.backward(InOut::new(&dy, &mut saved), &x, shape, args).unwrap();
        assert_same(&format!("{backend}, saved rstd"), &dx, &saved);
    }
}

/// Law: what the reference calls gradients are those of its forward pass, by central differences.
#[test]
fn the_reference_has_the_gradients_of_gated_outputs() {
    let [x, z, dy, gamma] = ordinary(1, 7);
    let beta = [0.5; 7];
    for (function, place) in FUNCTIONS.into_iter().flat_map(|of| PLACES.map(|at| (of, at))) {
        for centred in [false, true] {
            let row = GatedRow {
                x: &x,
                z: &z,
                function,
                place,
                centred,
                gamma: Some(&gamma),
                beta: Some(&beta),
                eps: 1e-5,
            };
            let loss = |x: &[f32], z: &[f32]| {
                let y = GatedRow { x, z, ..row }.forward();
                y.iter().zip(&dy).map(|(y, &dy)| y * f64::from(dy)).sum::<f64>()
            };
            let [mut dx, mut dz, mut dgamma, mut dbeta] = [(); 4].map(|()| vec![0.0; 7]);
            let gradients =
                &mut RowGradients { dx: &mut dx, dgamma: &mut dgamma, dbeta: &mut dbeta };
            row.backward(&dy, gradients, &mut dz);
            for i in 0..7 {
                let step = 1.0 / 1024.0;
                let moved = |all: &[f32], by: f32| {
                    let mut all = all.to_vec();
                    all[i] += by;
                    all
                };
                let (up, down) = (moved(&x, step), moved(&x, -step));
                let width = f64::from(up[i]) - f64::from(down[i]);
                let by_x = (loss(&up, &z) - loss(&down, &z)) / width;
                let (up, down) = (moved(&z, step), moved(&z, -step));
                let width = f64::from(up[i]) - f64::from(down[i]);
                let by_z = (loss(&x, &up) - loss(&x, &down)) / width;
                for (what, got, expected) in [("dx", dx[i], by_x), ("dz", dz[i], by_z)] {
                    assert!(
                        (got - expected).abs() < 2e-5,
                        "{function:?} {place:?}, centred: {centred}, {what} {i}: {got}, {expected}"
                    );
                }
            }
        }
    }
}

/// Special values of a gate: an infinite one and a NaN are those of their element of dz; minus infinity is a gate of 0.
#[test]
fn special_gates_have_finite_derivatives() {
    let (x, dy) = ([1.0_f32, 2.0, 3.0, 4.0], [0.0, 1.0, 1.0, 0.5]);
    let z = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0];
    for (function, backend) in with_backends(FUNCTIONS) {
        let mut dz = [f32::INFINITY; 4];
        let args = GradArgs::new().gate(&z).dgate(&mut dz);
        let norm = RmsNorm::new().with_backend(backend).with_gate(function, GatePlace::AfterNorm);
        norm.backward(InOut::read_only(&dy), &x, rows(1, 4), args).unwrap();
        let rms = (30.0_f32 / 4.0).sqrt();
        let (at_infinity, at_zero) = match function {
            GateFunction::Silu => (2.0 / rms, 0.5 * 0.5 * 4.0 / rms),
            _ => (0.0, 0.25 * 0.5 * 4.0 / rms),
        };
        assert!(dz[0].is_nan(), "{backend}, {function:?}: {dz:?}");
        assert_eq!(dz[2].abs(), 0.0, "{backend}, {function:?}: {dz:?}");
        for (got, expected) in [(dz[1], at_infinity), (dz[3], at_zero)] {
            assert!((got - expected).abs() <= 1e-6, "{backend}, {function:?}: {dz:?}");
        }
    }
}

#[test]
fn a_gate_that_is_not_taken_is_an_error() {
    let (x, dy, shape) = ([1.0_f32, 2.0], [1.0_f32, 1.0], rows(1, 2));
    let (mut dx, mut dz) = ([7.0; 2], [7.0; 2]);
    let args = GradArgs::new().dgate(&mut dz);
    let result = RmsNorm::new().backward(InOut::new(&dy, &mut dx), &x, shape, args);
    assert_eq!(result.unwrap_err(), Error::Unsupported { arg: "dgate" });
    let given = Statistics::of_rows(&[0.0], &[1.0]);
    let args = GradArgs::new().gate(&x);
    let operation = NormalizeScaleShift::new();
    let result = operation.backward(InOut::new(&dy, &mut dx), &x, shape, given, args);
    assert_eq!(result.unwrap_err(), Error::Unsupported { arg: "gate" });
    assert_eq!((dx, dz), ([7.0; 2], [7.0; 2]), "nothing is written");
}
