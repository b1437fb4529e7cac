//! Variants of the row operations: with a residual, with rows at a pitch, with 1 + gamma, gated.
#![forbid(unsafe_code)]

use evenkeel::{
    Backend, LayerNorm, Moments, NormalizeScaleShift, Parallelism, RmsNorm, RowMoments, Rows,
    Stores, reference,
};

use crate::common::*;
use crate::golden;

/// The hash of gated rows.
const GOLDEN: u64 = 0x21fd_4555_6f14_1d14;

/// Rows that are short, that fill groups and leave some over, that have several blocks, and enough for several threads.
fn shapes() -> impl Iterator<Item = (usize, usize)> {
    let all = [(1, 1), (3, 5), (33, 7), (19, 100), (5, 768), (7, 1030), (3, 2500), (300, 520)];
    all.into_iter().filter(|(count, cols)| !short() || count * cols < 8000)
}

/// Numbers about 1, a tenth of the rows so large that they are normalised in f64.
fn numbers(shape: (usize, usize), random: &mut Random) -> Vec<f32> {
    let mut x = random.normals(shape.0 * shape.1);
    for row in x.chunks_exact_mut(shape.1).skip(2).step_by(10) {
        row.iter_mut().for_each(|x| *x *= 1e34);
    }
    x
}

/// The operation as it is to be run: each backend, serially and not, through the caches and around them.
fn ways() -> impl Iterator<Item = (Backend, Parallelism, Stores)> {
    backends().into_iter().flat_map(|backend| {
        let serial = (backend, Parallelism::Serial, Stores::Cached);
        [serial, (backend, Parallelism::Auto, Stores::NonTemporal)]
    })
}

/// Asserts the law of residuals for an operation.
macro_rules! assert_residuals {
    ($operation:expr, $what:expr, $x:ident, $residual:ident, $gamma:ident, $beta:ident, $shape:ident) => {{
        let sum: Vec<f32> = $x.iter().zip(&$residual).map(|(x, r)| x + r).collect();
        let mut expected = vec![f32::NAN; $x.len()];
        $operation.forward(&sum, $gamma, $beta, $shape, &mut expected).unwrap();

        let (mut y, mut kept) = (vec![f32::NAN; $x.len()], vec![f32::NAN; $x.len()]);
        let forgotten = None;
        $operation
            .forward_residual(&$x, &$residual, $gamma, $beta, $shape, &mut y, forgotten)
            .unwrap();
        assert_same(&format!("{}, the sum not kept", $what), &expected, &y);
        y.fill(f32::NAN);
        $operation
            .forward_residual(&$x, &$residual, $gamma, $beta, $shape, &mut y, Some(&mut kept))
            .unwrap();
        assert_same(&format!("{}, the sum kept", $what), &expected, &y);
        assert_same(&format!("{}, the sum", $what), &sum, &kept);

        let mut residual = $residual.clone();
        y.fill(f32::NAN);
        $operation
            .forward_update_residual(&$x, &mut residual, $gamma, $beta, $shape, &mut y)
            .unwrap();
        assert_same(&format!("{}, updated", $what), &expected, &y);
        assert_same(&format!("{}, the updated residual", $what), &sum, &residual);

        let (mut xy, mut residual) = ($x.clone(), $residual.clone());
        $operation
            .forward_update_residual_in_place(&mut xy, &mut residual, $gamma, $beta, $shape)
            .unwrap();
        assert_same(&format!("{}, in place", $what), &expected, &xy);
        assert_same(&format!("{}, the residual in place", $what), &sum, &residual);
    }};
}

#[test]
fn with_a_residual_it_is_the_operation_on_the_sum() {
    for shape in shapes() {
        let random = &mut Random::new(shape.1 as u64);
        let (x, residual) = (numbers(shape, random), numbers(shape, random));
        let (gamma, beta) = (random.normals(shape.1), random.normals(shape.1));
        let (gamma, beta) = (Some(gamma.as_slice()), Some(beta.as_slice()));
        let shape = rows(shape.0, shape.1);
        for (backend, parallelism, stores) in ways() {
            let what = format!("{backend}, {parallelism:?}, {shape:?}");
            let layer_norm = LayerNorm::new()
                .with_backend(backend)
                .with_parallelism(parallelism)
                .with_stores(stores);
            assert_residuals!(layer_norm, what, x, residual, gamma, beta, shape);
            let rms_norm = RmsNorm::new()
                .with_backend(backend)
                .with_parallelism(parallelism)
                .with_stores(stores)
                .with_one_plus_gamma(true);
            let none = None;
            assert_residuals!(rms_norm, what, x, residual, gamma, none, shape);
        }
    }
}

/// Asserts that the statistics are those of the sum, for an operation with these.
macro_rules! assert_statistics {
    ($operation:expr, $x:ident, $residual:ident, $shape:ident, $($stat:ident),+) => {{
        let sum: Vec<f32> = $x.iter().zip(&$residual).map(|(x, r)| x + r).collect();
        let (mut expected, count) = (vec![f32::NAN; $x.len()], $shape.rows());
        $(let mut $stat = vec![f64::NAN; count];)+
        $operation
            .forward_with_stats(&sum, None, None, $shape, &mut expected, $(&mut $stat),+)
            .unwrap();
        let right = [$($stat),+];
        for form in 0..3 {
            let what = format!("{:?}, {:?}, form {form}", $operation, $shape);
            $(let mut $stat = vec![f64::NAN; count];)+
            let (mut x, mut residual) = ($x.clone(), $residual.clone());
            let mut y = vec![f32::NAN; x.len()];
            match form {
                0 => $operation.forward_residual_with_stats(
                    &x, &residual, None, None, $shape, &mut y, None, $(&mut $stat),+
                ),
                1 => $operation.forward_update_residual_with_stats(
                    &x, &mut residual, None, None, $shape, &mut y, $(&mut $stat),+
                ),
                _ => $operation.forward_update_residual_in_place_with_stats(
                    &mut x, &mut residual, None, None, $shape, $(&mut $stat),+
                ),
            }
            .unwrap();
            assert_same(&what, &expected, if form == 2 { &x } else { &y });
            assert_eq!(right, [$($stat),+], "{what}");
        }
    }};
}

#[test]
fn with_a_residual_the_statistics_are_those_of_the_sum() {
    for shape in shapes() {
        let random = &mut Random::new(shape.1 as u64);
        let (x, residual) = (numbers(shape, random), numbers(shape, random));
        let shape = rows(shape.0, shape.1);
        for backend in backends() {
            let layer_norm = LayerNorm::new().with_backend(backend);
            assert_statistics!(layer_norm, x, residual, shape, mean, rstd);
            let rms_norm = RmsNorm::new().with_backend(backend);
            assert_statistics!(rms_norm, x, residual, shape, rstd);
        }
    }
}

/// Rows of x at a pitch, NaN between them.
fn spread_out(x: &[f32], cols: usize, pitch: usize) -> Vec<f32> {
    let mut wide = vec![f32::NAN; (x.len() / cols - 1) * pitch + cols];
    for (row, x) in wide.chunks_mut(pitch).zip(x.chunks_exact(cols)) {
        row[..cols].copy_from_slice(x);
    }
    wide
}

#[test]
fn rows_at_a_pitch_have_the_bits_of_rows_without_and_nothing_between_is_touched() {
    for ((count, cols), pitches) in
        shapes().flat_map(|shape| [(0, 3), (24, 0), (1, 16)].map(|more| (shape, more)))
    {
        let random = &mut Random::new(cols as u64);
        let x = numbers((count, cols), random);
        let (gamma, beta) = (random.normals(cols), random.normals(cols));
        let (gamma, beta) = (Some(gamma.as_slice()), Some(beta.as_slice()));
        let (x_pitch, y_pitch) = (cols + pitches.0, cols + pitches.1);
        let (mean, rstd) = (vec![0.25; count], vec![1.5; count]);
        let shape = rows(count, cols);
        let wide = spread_out(&x, cols, x_pitch);
        for (backend, parallelism, stores) in ways() {
            macro_rules! check {
                ($operation:expr, $($given:expr),*) => {{
                    let operation = $operation
                        .with_backend(backend)
                        .with_parallelism(parallelism)
                        .with_stores(stores);
                    let what = format!("{operation:?}, {shape:?}, pitches {x_pitch}, {y_pitch}");
                    let mut y = vec![f32::NAN; x.len()];
                    operation.forward(&x, $($given,)* gamma, beta, shape, &mut y).unwrap();
                    let mut got = vec![f32::NAN; (count - 1) * y_pitch + cols];
                    operation
                        .forward_strided(
                            &wide, x_pitch, $($given,)* gamma, beta, shape, &mut got, y_pitch,
                        )
                        .unwrap();
                    assert_same(&what, &spread_out(&y, cols, y_pitch), &got);
                    let mut got = wide.clone();
                    operation
                        .forward_strided_in_place(
                            &mut got, x_pitch, $($given,)* gamma, beta, shape,
                        )
                        .unwrap();
                    assert_same(&what, &spread_out(&y, cols, x_pitch), &got);
                }};
            }
            check!(LayerNorm::new(),);
            check!(RmsNorm::new(),);
            check!(NormalizeScaleShift::new(), &mean, &rstd);

            let row_moments = RowMoments::new().with_backend(backend).with_parallelism(parallelism);
            let (mut expected, mut got) =
                (vec![Moments::new(); count], vec![Moments::new(); count]);
            row_moments.compute(&x, shape, &mut expected).unwrap();
            row_moments.compute_strided(&wide, x_pitch, shape, &mut got).unwrap();
            assert_eq!(expected, got, "{backend}, {shape:?}, pitch {x_pitch}");
        }
    }
}

#[test]
fn one_plus_gamma_is_gamma_of_which_one_was_taken() {
    for shape in shapes() {
        let random = &mut Random::new(shape.1 as u64);
        let (x, gamma) = (numbers(shape, random), random.normals(shape.1));
        let beta = random.normals(shape.1);
        let whole: Vec<f32> = gamma.iter().map(|gamma| 1.0 + gamma).collect();
        let shape = rows(shape.0, shape.1);
        for (beta, backend) in with_backends([None, Some(beta.as_slice())]) {
            let rms_norm = RmsNorm::new().with_backend(backend);
            let (mut expected, mut got) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
            rms_norm.forward(&x, Some(&whole), beta, shape, &mut expected).unwrap();
            let of_models = rms_norm.with_one_plus_gamma(true);
            of_models.forward(&x, Some(&gamma), beta, shape, &mut got).unwrap();
            assert_same(&format!("{backend}, {shape:?}"), &expected, &got);
            rms_norm.forward(&x, None, beta, shape, &mut expected).unwrap();
            of_models.forward(&x, None, beta, shape, &mut got).unwrap();
            assert_same(&format!("{backend}, {shape:?}, no gamma"), &expected, &got);
        }
    }
}

/// Asserts the bound of the docs.
#[track_caller]
fn assert_gated(what: &str, y: &[f32], x_hat: &[f64], of: impl Fn(usize) -> (f64, f64)) {
    for (i, (&y, &x_hat)) in y.iter().zip(x_hat).enumerate() {
        let (gamma, gate) = of(i);
        let factor = gamma * gate;
        let bound = OUTPUT * factor.abs() + 2.0 * SUBNORMAL * gamma.abs().max(1.0);
        let bound = bound * x_hat.abs().max(1.0);
        let error = (f64::from(y) - x_hat * factor).abs();
        assert!(error <= bound, "{what}, element {i}: {y:e}, off by {error:e} of {bound:e}");
    }
}

#[test]
fn gated_it_is_within_the_bound_with_the_same_bits_everywhere() {
    for (shape, one_plus) in shapes().flat_map(|shape| [(shape, false), (shape, true)]) {
        let random = &mut Random::new(shape.1 as u64);
        let (x, gamma) = (numbers(shape, random), random.normals(shape.1));
        let z: Vec<f32> = random.normals(x.len()).iter().map(|z| z * z * z * 9.0).collect();
        let (cols, shape) = (shape.1, rows(shape.0, shape.1));
        let mut x_hat = vec![0.0; x.len()];
        for (x, x_hat) in x.chunks_exact(cols).zip(x_hat.chunks_exact_mut(cols)) {
            reference::rms_norm(x, None, None, 1e-5, x_hat);
        }
        for gamma in [None, Some(gamma.as_slice())] {
            let mut first: Option<Vec<f32>> = None;
            for (backend, parallelism, stores) in ways() {
                let rms_norm = RmsNorm::new()
                    .with_backend(backend)
                    .with_parallelism(parallelism)
                    .with_stores(stores)
                    .with_one_plus_gamma(one_plus);
                let what = format!("{rms_norm:?}, {shape:?}, gamma {}", gamma.is_some());
                let mut y = vec![f32::NAN; x.len()];
                rms_norm.forward_gated(&x, &z, gamma, shape, &mut y).unwrap();
                assert_gated(&what, &y, &x_hat, |i| {
                    let offset = f64::from(u8::from(one_plus));
                    let gamma = gamma.map_or(1.0, |gamma| offset + f64::from(gamma[i % cols]));
                    (gamma, reference::silu(z[i]))
                });
                let mut xy = x.clone();
                rms_norm.forward_gated_in_place(&mut xy, &z, gamma, shape).unwrap();
                assert_same(&format!("{what}, in place"), &y, &xy);
                if backend.is_fused() {
                    assert_same(&what, first.get_or_insert_with(|| y.clone()), &y);
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
            rms_norm.forward_gated_in_place(&mut y, z, Some(gamma), *shape).unwrap();
            outputs.extend(y);
        }
        let got = golden::hash(golden::words(&outputs));
        assert_eq!(
            got, GOLDEN,
            "{backend}: {got:#018x}; a change of bits is a line in CHANGELOG.md"
        );
    }
}

/// A row of one element whose square is 1 is 1 once it is normalised: what comes out is the gate.
fn silu(backend: Backend, z: &[f32]) -> Vec<f32> {
    let mut y = vec![1.0; z.len()];
    let rms_norm = RmsNorm::new().with_eps(0.0).with_backend(backend);
    rms_norm.forward_gated_in_place(&mut y, z, None, rows(z.len(), 1)).unwrap();
    y
}

#[test]
fn the_gate_is_right_for_numbers_of_every_size() {
    // Of all 2^32 bit patterns one in a prime.
    let step = if short() { 2_000_003 } else { 40_009 };
    let mut z: Vec<f32> = (0..=u32::MAX).step_by(step).map(f32::from_bits).collect();
    z.retain(|z| z.is_finite());
    for near in [0.0, 1.0, 87.3, 88.7, 100.0, 104.0, 107.0, 108.6, 109.0, 110.0, 110.1, 120.0] {
        z.extend([near, -near]);
    }
    for backend in backends() {
        for (&z, y) in z.iter().zip(silu(backend, &z)) {
            let expected = reference::silu(z);
            let bound = 3e-7 * expected.abs() + SUBNORMAL;
            let error = (f64::from(y) - expected).abs();
            assert!(error <= bound, "{backend}: silu({z:e}) is {expected:e}, got {y:e}");
        }
        let [nan, below, above, zero] =
            silu(backend, &[f32::NAN, f32::NEG_INFINITY, f32::INFINITY, -0.0])[..]
        else {
            panic!("four of four")
        };
        assert!(nan.is_nan() && below == 0.0 && above == f32::INFINITY && zero == 0.0);
    }
}

/// Known answers of `PyTorch` 2.15.0 (`torch.nn.functional.rms_norm(x, (4,), 1 + w, 1e-6) * torch.nn.functional.silu(z)`).
#[test]
fn a_known_answer() {
    let (x, w) = ([1.0, -2.0, 3.0, 0.5], [0.5, -0.25, 0.0, 1.0]);
    let z = [0.5, -1.0, 2.0, 10.0];
    let expected = [0.2473402, 0.213_733, 2.7999458, 5.2978883];
    for backend in backends() {
        let mut y = [0.0; 4];
        RmsNorm::new()
            .with_eps(1e-6)
            .with_one_plus_gamma(true)
            .with_backend(backend)
            .forward_gated(&x, &z, Some(&w), rows(1, 4), &mut y)
            .unwrap();
        for (y, expected) in y.iter().zip(expected) {
            assert!(approx::relative_eq!(*y, expected, max_relative = 1e-6), "{y} {expected}");
        }
    }
}

#[test]
fn no_rows_and_empty_rows_are_no_work() {
    for (count, cols) in [(0, 0), (0, 5), (3, 0)] {
        let shape = Rows::new(count, cols).unwrap();
        let gamma = vec![1.0; cols];
        let gamma = Some(gamma.as_slice());
        let rms_norm = RmsNorm::new();
        rms_norm.forward_residual(&[], &[], gamma, None, shape, &mut [], Some(&mut [])).unwrap();
        rms_norm.forward_gated(&[], &[], gamma, shape, &mut []).unwrap();
        let mut y = [7.0; 20];
        rms_norm.forward_strided(&[0.5; 20], 8, gamma, None, shape, &mut y, 9).unwrap();
        assert_eq!(y, [7.0; 20]);
    }
}
