//! The table of special values in the docs of the crate, line by line, on every backend.
#![forbid(unsafe_code)]

use evenkeel::{
    Backend, BatchNorm, Dropout, InOut, LayerNorm, Mask, MomentArgs, Moments, NormArgs,
    NormalizeScaleShift, RmsNorm, RowMoments, Statistics, TrainArgs, reference,
};

use crate::common::*;

/// One row and few, groups of sixteen, a row of two blocks, and columns that are worked on as wide rows or not.
const SHAPES: [(usize, usize); 4] = [(1, 5), (3, 40), (35, 17), (5, 1030)];

/// The places of a NaN or an infinity.
const BAD: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// What the operations with gamma and beta read.
#[derive(Clone)]
struct Input {
    shape: (usize, usize),
    x: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    row_mean: Vec<f64>,
    row_rstd: Vec<f64>,
    col_mean: Vec<f64>,
    col_rstd: Vec<f64>,
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
}

impl Input {
    fn new((count, cols): (usize, usize)) -> Self {
        let random = &mut Random::new((count * cols) as u64);
        let mut wide = |len| random.normals(len).iter().map(|&x| f64::from(x)).collect();
        let [row_mean, row_rstd] = [wide(count), wide(count)];
        let [col_mean, col_rstd] = [wide(cols), wide(cols)];
        Self {
            shape: (count, cols),
            x: random.normals(count * cols),
            gamma: random.normals(cols),
            beta: random.normals(cols),
            row_mean,
            row_rstd,
            col_mean,
            col_rstd,
            running_mean: random.normals(cols),
            running_var: random.normals(cols).iter().map(|std| std * std).collect(),
        }
    }

    /// Element i of y with given statistics, as the docs have it.
    fn formula(&self, i: usize, mean: f64, rstd: f64) -> f64 {
        let column = i % self.shape.1;
        let (gamma, beta) = (f64::from(self.gamma[column]), f64::from(self.beta[column]));
        (f64::from(self.x[i]) - mean) * rstd * gamma + beta
    }

    /// y of every operation with gamma and beta.
    fn outputs(&self, backend: Backend) -> [(&'static str, Vec<f32>); 6] {
        let shape = rows(self.shape.0, self.shape.1);
        let args = || NormArgs::new().affine(&self.gamma, &self.beta);
        let normalize = NormalizeScaleShift::new().with_backend(backend);
        let batch_norm = BatchNorm::new().with_backend(backend);
        let mut y = [(); 6].map(|()| vec![0.0; self.x.len()]);
        let [y0, y1, y2, y3, y4, y5] = y.each_mut().map(|y| InOut::new(&self.x, y.as_mut_slice()));
        LayerNorm::new().with_backend(backend).forward(y0, shape, args()).unwrap();
        RmsNorm::new().with_backend(backend).forward(y1, shape, args()).unwrap();
        let of_rows = Statistics::of_rows(&self.row_mean, &self.row_rstd);
        normalize.forward(y2, shape, of_rows, args()).unwrap();
        let of_columns = Statistics::of_columns(&self.col_mean, &self.col_rstd);
        normalize.forward(y3, shape, of_columns, args()).unwrap();
        let training = TrainArgs::new().affine(&self.gamma, &self.beta);
        batch_norm.forward_training(y4, shape, training).unwrap();
        batch_norm
            .forward_inference(y5, shape, &self.running_mean, &self.running_var, args())
            .unwrap();
        let [y0, y1, y2, y3, y4, y5] = y;
        [
            (LAYER_NORM, y0),
            (RMS_NORM, y1),
            (ROWS, y2),
            (COLUMNS, y3),
            (TRAINING, y4),
            (INFERENCE, y5),
        ]
    }
}

const LAYER_NORM: &str = "layer norm";
const RMS_NORM: &str = "rms norm";
const ROWS: &str = "normalise-scale-shift of rows";
const COLUMNS: &str = "normalise-scale-shift of columns";
const TRAINING: &str = "batch norm, training";
const INFERENCE: &str = "batch norm, inference";

/// Asserts that a change of the input makes elements what `expected` says, and leaves the bits of all others, where it
/// says nothing.
fn assert_change(
    change: impl Fn(&mut Input),
    expected: impl Fn(&'static str, &Input, usize) -> Option<f64>,
) {
    for (shape, backend) in with_backends(SHAPES) {
        let clean = Input::new(shape);
        let mut changed = clean.clone();
        change(&mut changed);
        for ((operation, before), (_, after)) in
            clean.outputs(backend).into_iter().zip(changed.outputs(backend))
        {
            for i in 0..before.len() {
                let expected = expected(operation, &changed, i).map_or(before[i], |y| y as f32);
                assert_eq!(
                    bits(after[i]),
                    bits(expected),
                    "{operation}, {backend}, {shape:?}, element {i}: expected {expected:e}, got {:e}",
                    after[i]
                );
            }
        }
    }
}

/// A NaN or an infinity in x: all of its row or column is NaN where that has its statistics from x, else its element is
/// what the formula says.
#[test]
fn in_x() {
    for bad in BAD {
        let at = |input: &Input| input.x.len() / 2;
        assert_change(
            |input| {
                let at = at(input);
                input.x[at] = bad;
            },
            |operation, input, i| {
                let (at, cols) = (at(input), input.shape.1);
                let (row, column) = (i / cols, i % cols);
                match operation {
                    LAYER_NORM | RMS_NORM => (row == at / cols).then_some(f64::NAN),
                    TRAINING => (column == at % cols).then_some(f64::NAN),
                    ROWS => (i == at)
                        .then(|| input.formula(i, input.row_mean[row], input.row_rstd[row])),
                    COLUMNS => (i == at)
                        .then(|| input.formula(i, input.col_mean[column], input.col_rstd[column])),
                    _ => (i == at).then(|| {
                        let var = f64::from(input.running_var[column]);
                        input.formula(
                            i,
                            input.running_mean[column].into(),
                            reference::rstd(var, 1e-5),
                        )
                    }),
                }
            },
        );
    }
}

/// In gamma or beta: its column is what the formula says.
#[test]
fn in_gamma_and_beta() {
    for bad in BAD {
        let column = |input: &Input| input.shape.1 / 2;
        let plain = |input: &Input, operation, i: usize| {
            let mut plain = input.clone();
            plain.gamma.fill(1.0);
            plain.beta.fill(0.0);
            let outputs = plain.outputs(Backend::portable());
            let x_hat =
                outputs.iter().find(|output| output.0 == operation).expect("an operation").1[i];
            let at = i % input.shape.1;
            f64::from(x_hat) * f64::from(input.gamma[at]) + f64::from(input.beta[at])
        };
        let of_column = |operation, input: &Input, i| {
            (i % input.shape.1 == column(input)).then(|| plain(input, operation, i))
        };
        let of_gamma = |input: &mut Input| {
            let at = column(input);
            input.gamma[at] = bad;
        };
        assert_change(of_gamma, of_column);
        let of_beta = |input: &mut Input| {
            let at = column(input);
            input.beta[at] = bad;
        };
        assert_change(of_beta, of_column);
    }
}

/// Among given statistics: NaN in its row; in its column what the formula says.
#[test]
fn in_given_statistics() {
    for bad in BAD {
        for of_rstd in [false, true] {
            let change = |input: &mut Input| {
                let (row, column) = (input.shape.0 / 2, input.shape.1 / 2);
                if of_rstd {
                    (input.row_rstd[row], input.col_rstd[column]) = (bad.into(), bad.into());
                } else {
                    (input.row_mean[row], input.col_mean[column]) = (bad.into(), bad.into());
                    input.running_mean[column] = bad;
                }
            };
            assert_change(change, |operation, input, i| {
                let (row, column) = (i / input.shape.1, i % input.shape.1);
                match operation {
                    ROWS => (row == input.shape.0 / 2).then_some(f64::NAN),
                    COLUMNS if column == input.shape.1 / 2 => {
                        Some(input.formula(i, input.col_mean[column], input.col_rstd[column]))
                    }
                    INFERENCE if column == input.shape.1 / 2 && !of_rstd => {
                        let var = f64::from(input.running_var[column]);
                        Some(input.formula(i, bad.into(), reference::rstd(var, 1e-5)))
                    }
                    _ => None,
                }
            });
        }
    }
    // rstd is 0 where the variance is infinite.
    let column = |input: &Input| input.shape.1 / 2;
    assert_change(
        |input| {
            let at = column(input);
            input.running_var[at] = f32::INFINITY;
        },
        |operation, input, i| {
            let own = operation == INFERENCE && i % input.shape.1 == column(input);
            own.then(|| input.beta[column(input)].into())
        },
    );
}

/// A given rstd may be negative: a row has the bits that it has alone, among sixteen too.
#[test]
fn negative_rstds() {
    for (shape, backend) in with_backends(SHAPES) {
        let mut input = Input::new(shape);
        input.row_rstd.iter_mut().for_each(|rstd| *rstd = -rstd.abs());
        let outputs = input.outputs(backend);
        let (_, together) = outputs.iter().find(|output| output.0 == ROWS).expect("rows");
        let (normalize, cols) = (NormalizeScaleShift::new().with_backend(backend), shape.1);
        for (r, together) in together.chunks(cols).enumerate() {
            let (x, mut alone) = (&input.x[r * cols..][..cols], vec![0.0; cols]);
            let given = Statistics::of_rows(&input.row_mean[r..=r], &input.row_rstd[r..=r]);
            let args = NormArgs::new().affine(&input.gamma, &input.beta);
            normalize.forward(InOut::new(x, &mut alone), rows(1, cols), given, args).unwrap();
            assert_same(&format!("{backend}, {shape:?}, row {r}"), &alone, together);
        }
    }
}

/// -0.0 is the number 0, wherever it is read.
#[test]
fn negative_zeros_are_zeros() {
    fn zeros<T: Copy>(values: &mut [T], zero: T) {
        values.iter_mut().step_by(3).for_each(|value| *value = zero);
    }
    for (shape, backend) in with_backends(SHAPES) {
        let with = |zero: f32| {
            let mut input = Input::new(shape);
            for values in [
                &mut input.x,
                &mut input.gamma,
                &mut input.beta,
                &mut input.running_mean,
                &mut input.running_var,
            ] {
                zeros(values, zero);
            }
            for values in
                [&mut input.row_mean, &mut input.row_rstd, &mut input.col_mean, &mut input.col_rstd]
            {
                zeros(values, zero.into());
            }
            input
        };
        let (positive, negative) = (with(0.0), with(-0.0));
        assert_eq!(positive.outputs(backend), negative.outputs(backend), "{backend}, {shape:?}");
        let moments = |input: &Input| {
            let mut moments = vec![Moments::new(); shape.0];
            RowMoments::new()
                .with_backend(backend)
                .compute(&input.x, rows(shape.0, shape.1), &mut moments, MomentArgs::new())
                .unwrap();
            moments
        };
        assert_eq!(moments(&positive), moments(&negative), "{backend}, {shape:?}");
    }
}

/// Law: RmsNorm's factor is gamma, also where it is `-0.0`, whose sign y has.
#[test]
fn a_gamma_of_negative_zero_keeps_its_sign() {
    for (len, backend) in with_backends([1, 16, 37]) {
        let mut y = vec![2.0_f32; len];
        let gamma = vec![-0.0_f32; len];
        RmsNorm::new()
            .with_backend(backend)
            .forward(InOut::in_place(&mut y), rows(1, len), NormArgs::new().gamma(&gamma))
            .unwrap();
        assert!(y.iter().all(|y| y.to_bits() == (-0.0_f32).to_bits()), "{backend}, {len}: {y:?}");
    }
}

/// Subnormal numbers are numbers like any other, where they are read and where they are written.
#[test]
fn subnormal_gammas_betas_and_outputs() {
    for len in [1, 17, 100, 1030] {
        let random = &mut Random::new(len as u64);
        let x = random.normals(len);
        let mut tiny = || (0..len).map(|_| (1e-40 * random.normal()) as f32).collect::<Vec<_>>();
        let (gamma, beta) = (tiny(), tiny());
        let (mut x_hat, mut expected, mut y) = (vec![0.0; len], vec![0.0; len], vec![0.0; len]);
        reference::layer_norm(&x, None, None, 1e-5, &mut x_hat);
        reference::layer_norm(&x, Some(&gamma), Some(&beta), 1e-5, &mut expected);
        for backend in backends() {
            let operation = LayerNorm::new().with_backend(backend);
            let args = NormArgs::new().affine(&gamma, &beta);
            operation.forward(InOut::new(&x, &mut y), rows(1, len), args).unwrap();
            assert_output(backend.name(), &y, &x_hat, &expected, Some(&gamma), Some(&beta));
            assert!(y.iter().any(|y| y.is_subnormal()), "{backend}, {len} elements");

            let operation = Dropout::new().with_p(0.25).with_backend(backend);
            let scale = operation.scale().unwrap();
            let all = vec![1; len];
            operation.forward(InOut::new(&beta, &mut y), Mask::Bytes(&all)).unwrap();
            let scaled: Vec<f32> = beta.iter().map(|x| x * scale).collect();
            assert_same(backend.name(), &scaled, &y);
        }
    }
}
