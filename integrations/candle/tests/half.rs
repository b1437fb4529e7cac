//! Norms of bf16 and f16 beside candle's operations in f64, on the same numbers.

mod common;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use common::{EPS, double, numbers, slow, values, var};
use evenkeel_candle::ops;

/// The types, and half an ulp of each: what rounding once changes a number by, relative to it.
const TYPES: [(DType, f64); 2] = [(DType::BF16, 1.0 / 256.0), (DType::F16, 1.0 / 2048.0)];

/// A variable whose numbers a type holds.
fn stored(shape: &[usize], seed: u64, dtype: DType) -> Var {
    Var::from_tensor(&var(shape, seed).to_dtype(dtype).unwrap()).unwrap()
}

/// Asserts that every element is within so many roundings of itself, and the error of f32.
#[track_caller]
fn assert_rounded(what: &str, got: &Tensor, expected: &Tensor, half_ulp: f64) {
    assert_eq!(got.dims(), expected.dims(), "{what}");
    let (got, expected) = (values(got), values(expected));
    let scale = expected.iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
    for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
        let bound = half_ulp * expected.abs() + 4e-6 * scale;
        let error = (got - expected).abs();
        assert!(error <= bound, "{what}, element {i}: expected {expected}, got {got}");
    }
}

/// The gradients of a weighted sum of y. A type holds the weights.
fn backward(y: &Tensor, dtype: DType) -> Result<GradStore> {
    let weights = Tensor::from_vec(numbers(y.elem_count(), 99), y.shape(), &Device::Cpu)?;
    (y * weights.to_dtype(dtype)?.to_dtype(y.dtype())?)?.sum_all()?.backward()
}

#[test]
fn outputs_and_gradients_are_those_of_f64_rounded_once() {
    for (dtype, half_ulp) in TYPES {
        for parameters in [dtype, DType::F32] {
            for (centred, shape) in [(true, [5, 64]), (true, [300, 7]), (false, [9, 769])] {
                let what = format!("{dtype:?}, {parameters:?}, centred {centred}, {shape:?}");
                let x = stored(&shape, 1, dtype);
                let [gamma, beta] = [2, 3].map(|seed| stored(&shape[1..], seed, parameters));
                let [x64, gamma64, beta64] = [&x, &gamma, &beta].map(double);
                let (y, shift) = if centred {
                    let y = ops::layer_norm(&x, Some(&gamma), Some(&beta), EPS);
                    (y.unwrap(), Some(beta64.as_tensor()))
                } else {
                    (ops::rms_norm(&x, Some(&gamma), EPS).unwrap(), None)
                };
                assert_eq!(y.dtype(), dtype, "{what}");
                let expected = slow(&x64, Some(&gamma64), shift, centred).unwrap();
                assert_rounded(&what, &y, &expected, half_ulp);

                let got = backward(&y, dtype).unwrap();
                let expected = backward(&expected, dtype).unwrap();
                let mut learning = vec![(&x, &x64), (&gamma, &gamma64)];
                if centred {
                    learning.push((&beta, &beta64));
                }
                for (i, (var, of)) in learning.into_iter().enumerate() {
                    let (got, expected) = (got.get(var).unwrap(), expected.get(of).unwrap());
                    assert_eq!(got.dtype(), var.dtype(), "{what}, gradient {i}");
                    let half_ulp = if var.dtype() == dtype { half_ulp } else { 0.0 };
                    assert_rounded(&format!("{what}, gradient {i}"), got, expected, half_ulp);
                }
            }
        }
    }
}

/// The sum has the type of x, and what is normalised is the rounded sum.
#[test]
fn a_sum_is_rounded_before_it_is_normalised() {
    for (dtype, half_ulp) in TYPES {
        let what = format!("{dtype:?}");
        let [x, residual] = [1, 2].map(|seed| stored(&[9, 33], seed, dtype));
        let [gamma, beta] = [3, 4].map(|seed| stored(&[33], seed, DType::F32));
        let (y, sum) = ops::add_layer_norm(&x, &residual, &gamma, Some(&beta), EPS).unwrap();
        assert_eq!((y.dtype(), sum.dtype()), (dtype, dtype));
        let [x64, residual64, gamma64, beta64] = [&x, &residual, &gamma, &beta].map(double);
        let exact = (x64.as_tensor() + residual64.as_tensor()).unwrap();
        assert_rounded(&what, &sum, &exact, half_ulp);
        let sum64 = Var::from_tensor(&sum.to_dtype(DType::F64).unwrap()).unwrap();
        let expected = slow(&sum64, Some(&gamma64), Some(&beta64), true).unwrap();
        assert_rounded(&what, &y, &expected, half_ulp);
        let (got, expected) = (backward(&y, dtype).unwrap(), backward(&expected, dtype).unwrap());
        for var in [&x, &residual] {
            let (got, expected) = (got.get(var).unwrap(), expected.get(&sum64).unwrap());
            assert_rounded(&what, got, expected, half_ulp);
        }
        let (got, expected) = (got.get(&gamma).unwrap(), expected.get(&gamma64).unwrap());
        assert_rounded(&what, got, expected, 0.0);
    }
}
