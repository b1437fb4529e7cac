//! The norms of channels and dropout, beside candle's own operations in f64, which have a gradient.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Module, ModuleT};
use evenkeel_candle::{BatchNorm, Dropout, GroupNorm};

const EPS: f64 = 1e-5;
const CHANNELS: usize = 6;

fn var(shape: &[usize], seed: u64, offset: f32) -> Var {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0 + offset
    };
    let numbers: Vec<f32> = (0..shape.iter().product()).map(next).collect();
    Var::from_tensor(&Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()).unwrap()
}

fn double(var: &Var) -> Var {
    Var::from_tensor(&var.to_dtype(DType::F64).unwrap()).unwrap()
}

#[track_caller]
fn assert_near(what: &str, got: &Tensor, expected: &Tensor) {
    assert_eq!(got.dims(), expected.dims(), "{what}");
    let values = |tensor: &Tensor| -> Vec<f64> {
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    let (got, expected) = (values(got), values(expected));
    let scale = expected.iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
    for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
        let error = (got - expected).abs() / scale;
        assert!(error < 4e-6, "{what}, element {i}: expected {expected}, got {got}");
    }
}

/// y and the gradients of all of `vars`, of the sum of y * dy.
fn gradients(y: &Tensor, dy: &Tensor, vars: &[&Var]) -> Vec<Tensor> {
    let gradients = (y * dy.to_dtype(y.dtype()).unwrap()).unwrap().sum_all().unwrap();
    let gradients = gradients.backward().unwrap();
    vars.iter().map(|var| gradients.get(var).expect("a gradient").clone()).collect()
}

fn compare(what: &str, ours: [Tensor; 2], dy: &Var, vars: [Vec<Var>; 2]) {
    let [ours, theirs] = [0, 1].map(|i| {
        let y = ours[i].clone();
        let vars: Vec<&Var> = vars[i].iter().collect();
        [vec![y.clone()], gradients(&y, dy.as_tensor(), &vars)].concat()
    });
    for (i, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_near(&format!("{what}, {i} of y, dx, dgamma, dbeta"), ours, theirs);
    }
}

#[test]
fn batch_norm_has_the_outputs_gradients_and_running_statistics_of_candle() {
    for shape in [&[5, CHANNELS][..], &[2, CHANNELS, 7], &[3, CHANNELS, 4, 5]] {
        let (x, dy) = (var(shape, 1, 0.5), var(shape, 2, 0.0));
        let (weight, bias) = (var(&[CHANNELS], 3, 0.0), var(&[CHANNELS], 4, 0.0));
        let running = [var(&[CHANNELS], 5, 0.0), var(&[CHANNELS], 6, 2.0)];
        let all = [x, weight, bias, running[0].clone(), running[1].clone()];
        let wide = all.each_ref().map(double);
        let tensors = |all: &[Var; 5]| all.each_ref().map(|var| var.as_tensor().clone());
        let [x, weight, bias, mean, variance] = tensors(&all);
        let ours = BatchNorm::new(CHANNELS, mean, variance, weight, bias, EPS).unwrap();
        let [wide_x, weight, bias, mean, variance] = tensors(&wide);
        let theirs =
            candle_nn::BatchNorm::new(CHANNELS, mean, variance, weight, bias, EPS).unwrap();
        for train in [true, false] {
            let y = [ours.forward_t(&x, train).unwrap(), theirs.forward_t(&wide_x, train).unwrap()];
            let vars = [all[..3].to_vec(), wide[..3].to_vec()];
            compare(&format!("BatchNorm of {shape:?}, train: {train}"), y, &dy, vars);
            assert_near("the running mean", ours.running_mean(), theirs.running_mean());
            assert_near("the running variance", ours.running_var(), theirs.running_var());
        }
    }
}

#[test]
fn group_norm_has_the_outputs_and_gradients_of_candle() {
    for groups in [1, 3, CHANNELS] {
        let shape = [2, CHANNELS, 9];
        let (x, dy) = (var(&shape, 1, 0.5), var(&shape, 2, 0.0));
        let all = [x, var(&[CHANNELS], 3, 0.0), var(&[CHANNELS], 4, 0.0)];
        let wide = all.each_ref().map(double);
        let tensors = |all: &[Var; 3]| all.each_ref().map(|var| var.as_tensor().clone());
        let [x, weight, bias] = tensors(&all);
        let ours = GroupNorm::new(weight, bias, CHANNELS, groups, EPS).unwrap().forward(&x);
        let [x, weight, bias] = tensors(&wide);
        let theirs = candle_nn::GroupNorm::new(weight, bias, CHANNELS, groups, EPS).unwrap();
        let y = [ours.unwrap(), theirs.forward(&x).unwrap()];
        compare(&format!("GroupNorm of {groups}"), y, &dy, [all.to_vec(), wide.to_vec()]);
    }
}

/// Law: a seed gives the same masks again, each its own; what is dropped has no gradient, and what is kept has that of the scale.
#[test]
fn dropout_is_a_function_of_its_seed() {
    let x = var(&[40, 25], 1, 5.0);
    let [first, second] = [(); 2].map(|()| Dropout::new(0.25, 7));
    let y = first.forward(&x, true).unwrap();
    let again = second.forward(&x, true).unwrap();
    let next = second.forward(&x, true).unwrap();
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values(&y), values(&again));
    assert_ne!(values(&y), values(&next));
    let dx = &gradients(&y, &Tensor::ones((40, 25), DType::F32, &Device::Cpu).unwrap(), &[&x])[0];
    let (x, y, dx) = (values(&x), values(&y), values(dx));
    let dropped = y.iter().filter(|y| **y == 0.0).count();
    assert!((200..300).contains(&dropped), "{dropped} of 1000 dropped with p = 1/4");
    for i in 0..x.len() {
        if y[i] == 0.0 {
            assert_eq!(dx[i], 0.0);
        } else {
            assert!((y[i] / x[i] - dx[i]).abs() < 1e-6 && (dx[i] - 4.0 / 3.0).abs() < 1e-2);
        }
    }
    let kept = first.forward(&Tensor::ones(9, DType::F32, &Device::Cpu).unwrap(), false).unwrap();
    assert_eq!(values(&kept), [1.0; 9]);
}
