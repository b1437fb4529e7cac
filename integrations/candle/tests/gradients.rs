//! The norms and their gradients beside candle's own operations, in f64 where those have a gradient.

mod common;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Module, VarBuilder, VarMap};
use common::{EPS, double, numbers, slow, values, var};
use evenkeel_candle::{Dropout, LayerNorm, RmsNorm, layer_norm, ops, rms_norm};

fn ours(
    x: &Tensor,
    gamma: Option<&Tensor>,
    beta: Option<&Tensor>,
    centred: bool,
) -> Result<Tensor> {
    if centred { ops::layer_norm(x, gamma, beta, EPS) } else { ops::rms_norm(x, gamma, EPS) }
}

#[track_caller]
fn assert_near(what: &str, got: &Tensor, expected: &Tensor) {
    assert_eq!(got.dims(), expected.dims(), "{what}");
    let (got, expected) = (values(got), values(expected));
    let scale = expected.iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
    for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
        let error = (got - expected).abs() / scale;
        assert!(error < 4e-6, "{what}, element {i}: expected {expected}, got {got}");
    }
}

fn gradient(gradients: &GradStore, of: &Var) -> Tensor {
    gradients.get(of).expect("a gradient").clone()
}

/// A loss in which every output has a weight of its own.
fn loss(y: &Tensor) -> Result<Tensor> {
    let len = y.elem_count();
    let weights = Tensor::from_vec(numbers(len, 99), y.shape(), &Device::Cpu)?;
    (y * weights.to_dtype(y.dtype())?)?.sum_all()
}

#[test]
fn outputs_and_gradients_are_those_of_candles_operations_in_f64() {
    for shape in [&[5, 7][..], &[3, 4, 64], &[2, 3, 5, 33], &[1, 769], &[300, 16], &[12]] {
        let cols = *shape.last().unwrap();
        let (x, gamma, beta) = (var(shape, 1), var(&[cols], 2), var(&[cols], 3));
        let (x64, gamma64, beta64) = (double(&x), double(&gamma), double(&beta));
        for (centred, has_gamma, has_beta) in [
            (true, true, true),
            (true, true, false),
            (true, false, false),
            (true, false, true),
            (false, true, false),
            (false, false, false),
        ] {
            let what = format!("{shape:?}, centred {centred}, gamma {has_gamma}, beta {has_beta}");
            let given = |there: bool, var: &Var| there.then(|| var.as_tensor().clone());
            let (g, b) = (given(has_gamma, &gamma), given(has_beta, &beta));
            let y = ours(&x, g.as_ref(), b.as_ref(), centred).unwrap();
            let (g, b) = (given(has_gamma, &gamma64), given(has_beta, &beta64));
            let expected = slow(&x64, g.as_ref(), b.as_ref(), centred).unwrap();
            assert_near(&what, &y, &expected);
            let got = loss(&y).unwrap().backward().unwrap();
            let expected = loss(&expected).unwrap().backward().unwrap();
            assert_near(&format!("{what}: dx"), &gradient(&got, &x), &gradient(&expected, &x64));
            if has_gamma {
                let (got, expected) = (gradient(&got, &gamma), gradient(&expected, &gamma64));
                assert_near(&format!("{what}: dgamma"), &got, &expected);
            }
            if has_beta {
                let (got, expected) = (gradient(&got, &beta), gradient(&expected, &beta64));
                assert_near(&format!("{what}: dbeta"), &got, &expected);
            }
        }
    }
}

/// What this crate is for.
#[test]
fn candles_fused_norms_give_no_gradient_and_ours_do() {
    let (x, gamma, beta) = (var(&[4, 8], 1), var(&[8], 2), var(&[8], 3));
    let below = var(&[8, 8], 4);
    let hidden = x.matmul(&below).unwrap();
    let theirs = candle_nn::ops::layer_norm(&hidden, &gamma, &beta, EPS as f32).unwrap();
    let gradients = loss(&theirs).unwrap().backward().unwrap();
    for var in [&below, &gamma, &beta] {
        assert!(gradients.get(var).is_none(), "candle has a gradient now: say so in the README");
    }
    let theirs = candle_nn::ops::rms_norm(&hidden, &gamma, EPS as f32).unwrap();
    let gradients = loss(&theirs).unwrap().backward().unwrap();
    assert!(gradients.get(&below).is_none(), "candle has a gradient now: say so in the README");

    let y = ops::layer_norm(&hidden, Some(&gamma), Some(&beta), EPS).unwrap();
    let gradients = loss(&y).unwrap().backward().unwrap();
    for var in [&below, &gamma, &beta] {
        assert!(gradients.get(var).is_some(), "a gradient");
    }
}

/// Parts of a wider matrix are read where they lie; a transposed one is copied.
#[test]
fn any_layout() {
    let wide = var(&[6, 5, 40], 1);
    let (gamma, beta) = (var(&[16], 2), var(&[16], 3));
    let (wide64, gamma64, beta64) = (double(&wide), double(&gamma), double(&beta));
    type View = fn(&Tensor) -> Result<Tensor>;
    let views: [(&str, View); 5] = [
        ("a part of each row", |x| x.narrow(2, 8, 16)),
        ("a part of some rows", |x| x.narrow(1, 1, 3)?.narrow(2, 3, 16)),
        ("rows in another order", |x| x.narrow(2, 8, 16)?.transpose(0, 1)),
        ("columns", |x| {
            x.narrow(2, 0, 6)?
                .narrow(1, 0, 4)?
                .t()?
                .narrow(0, 0, 6)?
                .reshape((6, 24))?
                .narrow(1, 3, 16)
        }),
        ("one row again and again", |x| {
            x.narrow(0, 2, 1)?.narrow(2, 8, 16)?.broadcast_as((6, 5, 16))
        }),
    ];
    for (name, view) in views {
        let got = ours(&view(&wide).unwrap(), Some(&gamma), Some(&beta), true).unwrap();
        let expected = slow(&view(&wide64).unwrap(), Some(&gamma64), Some(&beta64), true).unwrap();
        assert_near(name, &got, &expected);
        // The gradient of a sum is one number everywhere: a view of one element.
        for loss in [loss, Tensor::sum_all] {
            let got = loss(&got.sqr().unwrap()).unwrap().backward().unwrap();
            let expected = loss(&expected.sqr().unwrap()).unwrap().backward().unwrap();
            assert_near(name, &gradient(&got, &wide), &gradient(&expected, &wide64));
            assert_near(name, &gradient(&got, &gamma), &gradient(&expected, &gamma64));
        }
    }
    let y = ops::layer_norm(&wide.narrow(2, 0, 16).unwrap(), None, None, EPS).unwrap();
    let gradients = y.sum_all().unwrap().backward().unwrap();
    let of_sum = values(&gradient(&gradients, &wide));
    assert!(of_sum.iter().all(|dx| dx.abs() < 1e-5), "the sum of a centred row is constant");
}

#[test]
fn the_sum_and_its_norm_have_the_gradients_of_both() {
    for centred in [true, false] {
        let (x, residual, gamma) = (var(&[9, 33], 1), var(&[9, 33], 2), var(&[33], 3));
        let (x64, residual64, gamma64) = (double(&x), double(&residual), double(&gamma));
        let (y, sum) = match centred {
            true => ops::add_layer_norm(&x, &residual, &gamma, None, EPS).unwrap(),
            false => ops::add_rms_norm(&x, &residual, &gamma, EPS).unwrap(),
        };
        let sum64 = (x64.as_tensor() + residual64.as_tensor()).unwrap();
        let y64 = slow(&sum64, Some(&gamma64), None, centred).unwrap();
        assert_near("the sum", &sum, &sum64);
        assert_near("the norm", &y, &y64);
        let both = |y: &Tensor, sum: &Tensor| (loss(y)? + loss(&sum.sqr()?)?)?.backward();
        let (got, expected) = (both(&y, &sum).unwrap(), both(&y64, &sum64).unwrap());
        for (var, of) in [(&x, &x64), (&residual, &residual64), (&gamma, &gamma64)] {
            assert_near("a gradient", &gradient(&got, var), &gradient(&expected, of));
        }
    }
}

/// Law: the sum and the norm are those of dropout, an addition and a norm, and so are the gradients of x and of the residual. A seed
/// gives the same mask to both.
#[test]
fn dropout_before_the_sum_has_the_gradients_of_the_operations() {
    for (centred, train) in [(true, true), (false, true), (true, false)] {
        let what = format!("centred {centred}, train {train}");
        let (x, residual) = (var(&[9, 33], 1), var(&[9, 33], 2));
        let (gamma, beta) = (var(&[33], 3), var(&[33], 4));
        let [fused, apart] = [(); 2].map(|()| Dropout::new(0.3, 5));
        let weight = gamma.as_tensor().clone();
        let (y, sum) = match centred {
            true => LayerNorm::new(weight, beta.as_tensor().clone(), EPS)
                .forward_dropout_add(&x, &residual, &fused, train),
            false => RmsNorm::new(weight, EPS).forward_dropout_add(&x, &residual, &fused, train),
        }
        .unwrap();
        let (x64, residual64, gamma64, beta64) =
            (double(&x), double(&residual), double(&gamma), double(&beta));
        // What the mask multiplies x with.
        let ones = Tensor::ones((9, 33), DType::F32, &Device::Cpu).unwrap();
        let factors = apart.forward(&ones, train).unwrap().to_dtype(DType::F64).unwrap();
        assert_eq!(train, values(&factors).contains(&0.0), "{what}");
        let sum64 = ((x64.as_tensor() * &factors).unwrap() + residual64.as_tensor()).unwrap();
        let shift = centred.then(|| beta64.as_tensor().clone());
        let y64 = slow(&sum64, Some(&gamma64), shift.as_ref(), centred).unwrap();
        assert_near(&format!("{what}: the sum"), &sum, &sum64);
        assert_near(&format!("{what}: the norm"), &y, &y64);
        let both = |y: &Tensor, sum: &Tensor| (loss(y)? + loss(&sum.sqr()?)?)?.backward();
        let (got, expected) = (both(&y, &sum).unwrap(), both(&y64, &sum64).unwrap());
        for (var, of) in [(&x, &x64), (&residual, &residual64), (&gamma, &gamma64)] {
            assert_near(&what, &gradient(&got, var), &gradient(&expected, of));
        }
        // Of the sum alone there is no gradient of the norm to add.
        let (got, expected) = (sum.sum_all().unwrap(), sum64.sum_all().unwrap());
        let (got, expected) = (got.backward().unwrap(), expected.backward().unwrap());
        assert_near(&what, &gradient(&got, &x), &gradient(&expected, &x64));
    }
}

/// Where nobody needs the sum it is not written. The norm has the same bits.
#[test]
fn the_norm_of_a_sum_is_the_same_without_the_sum() {
    let (x, residual, gamma, beta) =
        (var(&[9, 33], 1), var(&[9, 33], 2), var(&[33], 3), var(&[33], 4));
    let frozen = LayerNorm::new(gamma.as_detached_tensor(), beta.as_detached_tensor(), EPS);
    let learning = LayerNorm::new(gamma.as_tensor().clone(), beta.as_tensor().clone(), EPS);
    let (expected, _) = learning.forward_add(&x, &residual).unwrap();
    let [fixed_x, fixed_residual] = [&x, &residual].map(|var| var.as_detached_tensor());
    let got = frozen.forward_residual(&fixed_x, &fixed_residual).unwrap();
    assert!(!got.track_op(), "nothing to differentiate");
    assert_eq!(values(&got), values(&expected));
    let frozen = RmsNorm::new(gamma.as_detached_tensor(), EPS);
    let (expected, _) = frozen.forward_add(&x, &residual).unwrap();
    assert_eq!(
        values(&frozen.forward_residual(&fixed_x, &fixed_residual).unwrap()),
        values(&expected)
    );

    // One of the four learns, and that is enough for a gradient.
    for learns in [&x, &residual, &gamma, &beta] {
        let of = |var: &Var| {
            if var.id() == learns.id() { var.as_tensor().clone() } else { var.as_detached_tensor() }
        };
        let norm = LayerNorm::new(of(&gamma), of(&beta), EPS);
        let y = norm.forward_residual(&of(&x), &of(&residual)).unwrap();
        let got = gradient(&loss(&y).unwrap().backward().unwrap(), learns);
        let (y, _) = learning.forward_add(&x, &residual).unwrap();
        let expected = gradient(&loss(&y).unwrap().backward().unwrap(), learns);
        assert_eq!(values(&got), values(&expected));
    }
}

/// As in Gemma: gamma is stored less 1.
#[test]
fn one_plus_gamma_has_the_gradients_of_candles_operations() {
    let (x, gamma) = (var(&[9, 33], 1), var(&[33], 2));
    let (x64, gamma64) = (double(&x), double(&gamma));
    let norm = RmsNorm::new(gamma.as_tensor().clone(), EPS).with_one_plus_gamma(true);
    let y = norm.forward(&x).unwrap();
    let one_plus = (gamma64.as_tensor() + 1.0).unwrap();
    let expected = slow(&x64, Some(&one_plus), None, false).unwrap();
    assert_near("the norm", &y, &expected);
    let (got, expected) =
        (loss(&y).unwrap().backward().unwrap(), loss(&expected).unwrap().backward().unwrap());
    for (var, of) in [(&x, &x64), (&gamma, &gamma64)] {
        assert_near("a gradient", &gradient(&got, var), &gradient(&expected, of));
    }
}

/// In half precision a norm is that of the f32 that it is converted to, rounded once.
#[test]
fn other_types_are_converted() {
    for dtype in [DType::BF16, DType::F16, DType::F64] {
        let x = var(&[4, 32], 1).to_dtype(dtype).unwrap();
        let gamma = var(&[32], 2);
        let y = ops::rms_norm(&x, Some(&gamma), EPS).unwrap();
        assert_eq!(y.dtype(), dtype);
        let single = x.to_dtype(DType::F32).unwrap();
        let expected = ops::rms_norm(&single, Some(&gamma), EPS).unwrap().to_dtype(dtype).unwrap();
        assert_eq!(values(&y), values(&expected), "{dtype:?}");
        let gradients = loss(&y).unwrap().backward().unwrap();
        assert!(gradients.get(&gamma).is_some(), "{dtype:?}");
        let (y, sum) = ops::add_rms_norm(&x, &x, &gamma, EPS).unwrap();
        assert_eq!((y.dtype(), sum.dtype()), (dtype, dtype));
    }
}

/// The layers read candle's parameters by candle's names, and give what its layers give.
#[test]
fn modules_take_the_place_of_candles() {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let ours = layer_norm(24, EPS, vb.pp("layer")).unwrap();
    let ours_rms = rms_norm(24, EPS, vb.pp("rms")).unwrap();
    let names: Vec<String> = map.data().lock().unwrap().keys().cloned().collect();
    for name in ["layer.weight", "layer.bias", "rms.weight"] {
        assert!(names.iter().any(|of| of == name), "{names:?} lacks {name}");
    }
    for (i, var) in map.all_vars().iter().enumerate() {
        var.set(var_of(24, i).as_tensor()).unwrap();
    }
    let theirs = candle_nn::layer_norm(24, EPS, vb.pp("layer")).unwrap();
    let theirs_rms = candle_nn::rms_norm(24, EPS, vb.pp("rms")).unwrap();
    let x = var(&[3, 5, 24], 7);
    assert_near("LayerNorm", &ours.forward(&x).unwrap(), &theirs.forward(&x).unwrap());
    assert_near("RmsNorm", &ours_rms.forward(&x).unwrap(), &theirs_rms.forward(&x).unwrap());
    let gradients = loss(&ours.forward(&x).unwrap()).unwrap().backward().unwrap();
    let trained = map.all_vars().iter().filter(|var| gradients.get(var).is_some()).count();
    assert_eq!(trained, 2, "weight and bias of the layer learn");
    let (y, sum) = ours.forward_add(&x, &x).unwrap();
    assert_near("a sum", &sum, &(x.as_tensor() * 2.0).unwrap());
    assert_near("its norm", &y, &ours.forward(&sum).unwrap());
    let by_hand = LayerNorm::new(ours.weight().clone(), ours.bias().unwrap().clone(), ours.eps());
    assert_eq!(values(&by_hand.forward(&x).unwrap()), values(&ours.forward(&x).unwrap()));
    let by_hand = RmsNorm::new(ours_rms.weight().clone(), ours_rms.eps());
    assert_eq!(values(&by_hand.forward(&x).unwrap()), values(&ours_rms.forward(&x).unwrap()));
}

fn var_of(len: usize, seed: usize) -> Var {
    var(&[len], seed as u64 + 20)
}

#[test]
fn wrong_shapes_are_errors() {
    let (x, gamma) = (var(&[4, 8], 1), var(&[7], 2));
    let error = ops::layer_norm(&x, Some(&gamma), None, EPS).unwrap_err().to_string();
    assert!(error.contains("gamma"), "{error}");
    let gamma = var(&[8], 2);
    assert!(ops::add_rms_norm(&x, &var(&[3, 8], 1), &gamma, EPS).is_err());
    let scalar = Tensor::new(1.0_f32, &Device::Cpu).unwrap();
    assert!(ops::rms_norm(&scalar, None, EPS).is_err());
}

/// The same bits with any number of threads.
#[test]
fn threads_change_no_bit() {
    let (x, gamma, beta) = (var(&[600, 384], 1), var(&[384], 2), var(&[384], 3));
    let run = || {
        let y = ops::layer_norm(&x, Some(&gamma), Some(&beta), EPS).unwrap();
        let gradients = loss(&y.sqr().unwrap()).unwrap().backward().unwrap();
        [&x, &gamma, &beta].map(|var| values(&gradient(&gradients, var)))
    };
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let expected = pool(1).install(run);
    for threads in [2, 3, 5] {
        assert!(pool(threads).install(run) == expected, "{threads} threads");
    }
}
