//! Gates: the functions of z, before the norm and after it, and the groups that go with them. `variants.rs` has any of it together
//! with other arguments.
#![forbid(unsafe_code)]

use evenkeel::{Backend, GateFunction, GatePlace, InOut, NormArgs, RmsNorm, reference};

use crate::common::*;
use crate::golden;
use crate::variants::{Inputs, RowNorm, numbers, shapes, ways};

/// The hash of gated rows.
const GOLDEN: u64 = 0x21fd_4555_6f14_1d14;

const FUNCTIONS: [GateFunction; 2] = [GateFunction::Silu, GateFunction::Sigmoid];

fn exact(function: GateFunction, z: f32) -> f64 {
    match function {
        GateFunction::Silu => reference::silu(z),
        GateFunction::Sigmoid => reference::sigmoid(z),
        other => panic!("no definition of {other:?}"),
    }
}

/// Asserts the bound of the docs, of which the error of a beta is a part where there is one.
#[track_caller]
fn assert_gated(what: &str, y: &[f32], x_hat: &[f64], of: impl Fn(usize) -> (f64, f64, f64)) {
    for (i, (&y, &x_hat)) in y.iter().zip(x_hat).enumerate() {
        let (gamma, beta, gate) = of(i);
        let bound = OUTPUT * (gamma * gate).abs() + 2.0 * SUBNORMAL * gamma.abs().max(1.0);
        let bound = bound * x_hat.abs().max(1.0) + OUTPUT * (beta * gate).abs();
        let error = (f64::from(y) - (x_hat * gamma + beta) * gate).abs();
        assert!(error <= bound, "{what}, element {i}: {y:e}, off by {error:e} of {bound:e}");
    }
}

/// Law: `y = (x_hat * gamma + beta) * f(z)` within the bound of the docs, with gamma and beta each there and not.
#[test]
fn gated_it_is_within_the_bound_with_the_same_bits_everywhere() {
    let cases =
        shapes().flat_map(|shape| FUNCTIONS.map(|of| (shape, of == GateFunction::Silu, of)));
    for (shape, one_plus, function) in cases.flat_map(|(shape, one_plus, of)| {
        [(shape, false, of), (shape, true, of)].into_iter().take(1 + usize::from(one_plus))
    }) {
        let of = Inputs::new(shape);
        let (cols, shape) = (shape.1, rows(shape.0, shape.1));
        let mut x_hat = [vec![0.0; of.x.len()], vec![0.0; of.x.len()]];
        for (i, x) in of.x.chunks_exact(cols).enumerate() {
            let row = i * cols..(i + 1) * cols;
            reference::layer_norm(x, None, None, 1e-5, &mut x_hat[0][row.clone()]);
            reference::rms_norm(x, None, None, 1e-5, &mut x_hat[1][row]);
        }
        for (gamma, beta) in [(false, false), (true, false), (false, true), (true, true)] {
            let gamma = gamma.then_some(&of.gamma[..]);
            let beta = beta.then_some(&of.beta[..]);
            let mut first: [Option<Vec<f32>>; 2] = [None, None];
            for way in ways() {
                let norms = RowNorm::both(way).map(|norm| match norm {
                    RowNorm::Rms(norm) => {
                        let norm = norm.with_one_plus_gamma(one_plus);
                        RowNorm::Rms(norm.with_gate(function, GatePlace::AfterNorm))
                    }
                    RowNorm::Layer(norm) => {
                        RowNorm::Layer(norm.with_gate(function, GatePlace::AfterNorm))
                    }
                });
                for ((norm, x_hat), first) in norms.into_iter().zip(&x_hat).zip(&mut first) {
                    let what = format!("{norm:?}, {shape:?}, {:?}", (gamma.is_some(), beta));
                    let args = || norm_args(gamma, beta).gate(&of.gate);
                    let mut y = vec![f32::NAN; of.x.len()];
                    norm.forward(InOut::new(&of.x, &mut y), shape, args()).unwrap();
                    let is_offset = one_plus && matches!(norm, RowNorm::Rms(_));
                    assert_gated(&what, &y, x_hat, |i| {
                        let offset = f64::from(u8::from(is_offset));
                        let gamma = gamma.map_or(1.0, |gamma| offset + f64::from(gamma[i % cols]));
                        let beta = beta.map_or(0.0, |beta| f64::from(beta[i % cols]));
                        (gamma, beta, exact(function, of.gate[i]))
                    });
                    let mut xy = of.x.clone();
                    norm.forward(InOut::in_place(&mut xy), shape, args()).unwrap();
                    assert_same(&format!("{what}, in place"), &y, &xy);
                    if way.0.is_fused() {
                        assert_same(&what, first.get_or_insert_with(|| y.clone()), &y);
                    }
                }
            }
        }
    }
}

/// The bits, once and for all: FNV-1a of the gated rows of a few shapes.
#[test]
fn gated_it_has_the_golden_bits() {
    let mut words = Vec::new();
    for (shape, seed) in [((33, 7), 1), ((5, 768), 2), ((2, 1030), 3)] {
        let random = &mut Random::new(seed);
        let (x, gamma) = (numbers(shape, random), random.normals(shape.1));
        let z: Vec<f32> = random.normals(x.len()).iter().map(|z| z * 5.0).collect();
        words.push((rows(shape.0, shape.1), x, z, gamma));
    }
    for backend in fused_backends() {
        let rms_norm = RmsNorm::new().with_backend(backend);
        let mut outputs = Vec::new();
        for (shape, x, z, gamma) in &words {
            let mut y = x.clone();
            let args = NormArgs::new().gamma(gamma).gate(z);
            rms_norm.forward(InOut::in_place(&mut y), *shape, args).unwrap();
            outputs.extend(y);
        }
        let got = golden::hash(golden::words(&outputs));
        assert_eq!(
            got, GOLDEN,
            "{backend}: {got:#018x}; a change of bits is a line in CHANGELOG.md"
        );
    }
}

/// A row of one element whose square is 1 is 1 once it is normalised: what comes out is the function.
pub fn factors(backend: Backend, function: GateFunction, z: &[f32]) -> Vec<f32> {
    let mut y = vec![1.0; z.len()];
    let rms_norm = RmsNorm::new().with_eps(0.0).with_backend(backend);
    let rms_norm = rms_norm.with_gate(function, GatePlace::AfterNorm);
    let args = NormArgs::new().gate(z);
    rms_norm.forward(InOut::in_place(&mut y), rows(z.len(), 1), args).unwrap();
    y
}

#[test]
fn functions_are_right_for_numbers_of_every_size() {
    // Of all 2^32 bit patterns one in a prime.
    let step = if short() { 2_000_003 } else { 40_009 };
    let mut z: Vec<f32> = (0..=u32::MAX).step_by(step).map(f32::from_bits).collect();
    z.retain(|z| z.is_finite());
    for near in [0.0, 1.0, 87.3, 88.7, 100.0, 104.0, 107.0, 108.6, 109.0, 110.0, 110.1, 120.0] {
        z.extend([near, -near]);
    }
    // Where a step of the sigmoid from 0 to 1 is neither, in part.
    z.extend([1e-45, 1e-40, 5e-39, f32::MIN_POSITIVE, 3e-38].iter().flat_map(|z| [*z, -z]));
    for (function, backend) in with_backends(FUNCTIONS) {
        for (&z, y) in z.iter().zip(factors(backend, function, &z)) {
            let expected = exact(function, z);
            let bound = 3e-7 * expected.abs() + SUBNORMAL;
            let error = (f64::from(y) - expected).abs();
            assert!(error <= bound, "{backend}: {function:?} of {z:e} is {expected:e}, got {y:e}");
        }
        let special = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, -0.0];
        let [nan, below, above, zero] = factors(backend, function, &special)[..] else {
            panic!("four of four")
        };
        let expected =
            if function == GateFunction::Silu { (f32::INFINITY, 0.0) } else { (1.0, 0.5) };
        assert!(nan.is_nan() && below == 0.0, "{backend}, {function:?}");
        assert_eq!((above, zero), expected, "{backend}, {function:?}");
    }
}

/// Law: gated before the norm, y is within the bound of the docs of the norm of exact products. With RmsNorm no mean cancels, so
/// that twice the error of a product is all that there is more.
#[test]
fn gated_first_it_is_within_the_bound() {
    for (shape, function) in shapes().flat_map(|shape| FUNCTIONS.map(|function| (shape, function)))
    {
        let of = Inputs::new(shape);
        for way in ways() {
            let [_, RowNorm::Rms(norm)] = RowNorm::both(way) else {
                panic!("RmsNorm is the second")
            };
            let norm = norm.with_one_plus_gamma(false).with_gate(function, GatePlace::BeforeNorm);
            let mut y = vec![f32::NAN; of.x.len()];
            let args = NormArgs::new().gamma(&of.gamma).gate(&of.gate);
            norm.forward(InOut::new(&of.x, &mut y), rows(shape.0, shape.1), args).unwrap();
            for (r, y) in y.chunks_exact(shape.1).enumerate() {
                let row = r * shape.1..(r + 1) * shape.1;
                let products: Vec<f64> = of.x[row.clone()]
                    .iter()
                    .zip(&of.gate[row])
                    .map(|(&x, &z)| f64::from(x) * exact(function, z))
                    .collect();
                let square = products.iter().map(|p| p * p).sum::<f64>() / shape.1 as f64;
                let rstd = 1.0 / (square + 1e-5).sqrt();
                for (i, (&y, product)) in y.iter().zip(&products).enumerate() {
                    let (x_hat, gamma) = (product * rstd, f64::from(of.gamma[i]));
                    let error = (f64::from(y) - x_hat * gamma).abs();
                    let bound = (OUTPUT + 8e-7) * gamma.abs() * x_hat.abs().max(1.0);
                    let bound = bound + SUBNORMAL * (1.0 + rstd * gamma.abs());
                    assert!(
                        error <= bound,
                        "{norm:?}, {shape:?}, row {r}, {i}: {error:e} of {bound:e}"
                    );
                }
            }
        }
    }
}

/// Known answers, of `PyTorch` 2.15.0 (`torch.nn.functional.rms_norm(x, (4,), 1 + w, 1e-6) * torch.nn.functional.silu(z)`).
#[test]
fn a_known_answer_with_one_plus_gamma() {
    let (x, w) = ([1.0, -2.0, 3.0, 0.5], [0.5_f32, -0.25, 0.0, 1.0]);
    let z = [0.5_f32, -1.0, 2.0, 10.0];
    let expected = [0.2473402, 0.213_733, 2.7999458, 5.2978883];
    for backend in backends() {
        let norm = RmsNorm::new().with_eps(1e-6).with_one_plus_gamma(true).with_backend(backend);
        assert_answer(norm, &x, &w, &z, expected);
    }
}

/// Known answers: what the formulas of state-spaces/mamba (`layernorm_gated.py`, with `norm_before_gate` or without, and with
/// `group_size`) give in f64.
#[test]
fn known_answers_of_each_gate_and_of_groups() {
    use GateFunction::{Sigmoid, Silu};
    use GatePlace::{AfterNorm, BeforeNorm};
    let (x, gamma, z) = ([3.0, 4.0, -1.0, 2.0], [1.0, 2.0, 1.0, 0.5], [1.0, -1.0, 2.0, 0.5]);
    let answers = [
        (Silu, AfterNorm, 4, [0.800_834_5, -0.785_628_2, -0.643_243_2, 0.113_645_0]),
        (Silu, BeforeNorm, 4, [1.426_279_6, -1.399_197_2, -1.145_610_8, 0.202_400_8]),
        (Silu, AfterNorm, 2, [0.620_323_8, -0.608_545_0, -1.114_130_0, 0.196_838_9]),
        (Silu, BeforeNorm, 2, [1.269_696_1, -1.245_587_0, -1.333_418_5, 0.235_581_7]),
        (Sigmoid, AfterNorm, 4, [0.800_834_5, 0.785_628_2, -0.321_621_6, 0.227_290_0]),
        (Sigmoid, BeforeNorm, 4, [1.523_174_8, 1.494_252_5, -0.611_719_3, 0.432_302_1]),
        (Sigmoid, AfterNorm, 2, [0.620_323_8, 0.608_545_0, -0.557_065_0, 0.393_677_8]),
        (Sigmoid, BeforeNorm, 2, [1.269_696_1, 1.245_587_0, -0.816_809_8, 0.577_239_5]),
    ];
    for ((function, place, group_size, expected), backend) in with_backends(answers) {
        let norm = RmsNorm::new().with_eps(1e-12).with_backend(backend);
        let norm = norm.with_gate(function, place).with_group_size(group_size);
        assert_answer(norm, &x, &gamma, &z, expected);
    }
}

fn assert_answer(norm: RmsNorm, x: &[f32; 4], gamma: &[f32; 4], z: &[f32; 4], expected: [f64; 4]) {
    let mut y = [0.0; 4];
    let args = NormArgs::new().gamma(gamma).gate(z);
    norm.forward(InOut::new(x, &mut y), rows(1, 4), args).unwrap();
    for (got, expected) in y.iter().zip(expected) {
        assert!(
            approx::relative_eq!(f64::from(*got), expected, max_relative = 1e-6),
            "{norm:?}: expected {expected}, got {got}"
        );
    }
}

/// Law: an infinity or a NaN of x is that of its group: no other group changes by a bit.
#[test]
fn what_is_not_finite_stays_in_its_group() {
    let (count, cols, size) = (3, 600, 200);
    let x = Random::new(7).normals(count * cols);
    for (hole, backend) in with_backends([f32::NAN, f32::INFINITY]) {
        let norm = RmsNorm::new().with_group_size(size).with_backend(backend);
        let run = |x: &[f32]| {
            let (mut y, mut rstd) = (vec![f32::NAN; x.len()], vec![f64::NAN; count * cols / size]);
            let args = NormArgs::new().rstd(&mut rstd);
            norm.forward(InOut::new(x, &mut y), rows(count, cols), args).unwrap();
            (y, rstd)
        };
        let (expected, expected_rstd) = run(&x);
        let mut with_hole = x.clone();
        // In the second row's last group.
        with_hole[cols + 2 * size + 3] = hole;
        let (y, rstd) = run(&with_hole);
        for group in 0..y.len() / size {
            let part = group * size..(group + 1) * size;
            if group == 5 {
                assert!(y[part].iter().all(|y| y.is_nan()) && rstd[group].is_nan(), "{backend}");
                continue;
            }
            assert_same(&format!("{backend}, group {group}"), &expected[part.clone()], &y[part]);
            assert_eq!(rstd[group].to_bits(), expected_rstd[group].to_bits(), "{backend}");
        }
    }
}
