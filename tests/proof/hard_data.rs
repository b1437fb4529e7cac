//! Law: the error bounds of the docs. Data: every hard row at every length. Every backend.
#![forbid(unsafe_code)]

use evenkeel::{
    InOut, LayerNorm, MomentArgs, Moments, NormArgs, NormalizeScaleShift, Parallelism, RmsNorm,
    RowMoments, Statistics, reference,
};

use crate::common::*;

type GammaBeta = (Option<Vec<f32>>, Option<Vec<f32>>);

/// gamma and beta of a row: none, one, or both, with random mantissas and signs.
fn affine(len: usize) -> [GammaBeta; 4] {
    let random = &mut Random::new(len as u64);
    let mut make = || random.normals(len);
    [(None, None), (Some(make()), None), (None, Some(make())), (Some(make()), Some(make()))]
}

#[test]
fn moments_are_within_the_bound() {
    for Case { name, x } in cases() {
        let (mean, var) = reference::mean_variance(&x);
        for backend in backends() {
            let mut moments = [Moments::new()];
            RowMoments::new()
                .with_backend(backend)
                .compute(&x, rows(1, x.len()), &mut moments, MomentArgs::new())
                .unwrap();
            let [moments] = moments;
            let got = moments.population_variance().unwrap();
            assert!(
                approx::relative_eq!(got, var, epsilon = 0.0, max_relative = VARIANCE),
                "{backend}, {name}: variance: expected {var:e}, got {got:e}, error {:e}",
                (got - var) / var,
            );
            let bound = VARIANCE * var.sqrt() + 1e-15 * mean.abs();
            assert!(
                approx::abs_diff_eq!(moments.mean, mean, epsilon = bound),
                "{backend}, {name}: mean: expected {mean:e}, got {:e}, bound {bound:e}",
                moments.mean,
            );
            assert_eq!(moments.count, x.len() as u64);
        }
    }
}

#[test]
fn layer_norm_is_within_the_bound() {
    for Case { name, x } in cases() {
        let shape = rows(1, x.len());
        let mut x_hat = vec![0.0; x.len()];
        let mut expected = vec![0.0; x.len()];
        for eps in [1e-5, 0.0] {
            let (mean, rstd) = reference::layer_norm(&x, None, None, eps, &mut x_hat);
            for (gamma, beta) in affine(x.len()) {
                let (gamma, beta) = (gamma.as_deref(), beta.as_deref());
                reference::layer_norm(&x, gamma, beta, eps, &mut expected);
                for backend in backends() {
                    let what = format!("{backend}, {name}, eps {eps}");
                    let operation = LayerNorm::new().with_eps(eps).with_backend(backend);
                    let (mut y, mut stats) = (vec![f32::NAN; x.len()], [[f64::NAN]; 2]);
                    let [got_mean, got_rstd] = &mut stats;
                    let args = norm_args(gamma, beta).stats(got_mean, got_rstd);
                    operation.forward(InOut::new(&x, &mut y), shape, args).unwrap();
                    assert_output(&what, &y, &x_hat, &expected, gamma, beta);
                    let [[got_mean], [got_rstd]] = stats;
                    assert!(
                        approx::relative_eq!(
                            got_rstd,
                            rstd,
                            epsilon = 0.0,
                            max_relative = VARIANCE
                        ),
                        "{what}: rstd: expected {rstd:e}, got {got_rstd:e}"
                    );
                    let bound = 1e-6 / rstd + 1e-15 * mean.abs();
                    assert!(rstd == 0.0 || (got_mean - mean).abs() <= bound, "{what}: mean");

                    let mut again = x.clone();
                    let args = norm_args(gamma, beta);
                    operation.forward(InOut::in_place(&mut again), shape, args).unwrap();
                    assert_same(&format!("{what}, in place"), &y, &again);
                }
            }
        }
    }
}

#[test]
fn rms_norm_is_within_the_bound() {
    for Case { name, x } in cases() {
        let shape = rows(1, x.len());
        let mut x_hat = vec![0.0; x.len()];
        let mut expected = vec![0.0; x.len()];
        for eps in [1e-6, 0.0] {
            let rstd = reference::rms_norm(&x, None, None, eps, &mut x_hat);
            for (gamma, beta) in affine(x.len()) {
                let (gamma, beta) = (gamma.as_deref(), beta.as_deref());
                reference::rms_norm(&x, gamma, beta, eps, &mut expected);
                for backend in backends() {
                    let what = format!("{backend}, {name}, eps {eps}");
                    let operation = RmsNorm::new().with_eps(eps).with_backend(backend);
                    let (mut y, mut got) = (vec![f32::NAN; x.len()], [f64::NAN]);
                    let args = norm_args(gamma, beta).rstd(&mut got);
                    operation.forward(InOut::new(&x, &mut y), shape, args).unwrap();
                    assert_output(&what, &y, &x_hat, &expected, gamma, beta);
                    assert!(
                        approx::relative_eq!(got[0], rstd, epsilon = 0.0, max_relative = VARIANCE),
                        "{what}: rstd: expected {rstd:e}, got {:e}",
                        got[0]
                    );
                    let mut again = x.clone();
                    let args = norm_args(gamma, beta);
                    operation.forward(InOut::in_place(&mut again), shape, args).unwrap();
                    assert_same(&format!("{what}, in place"), &y, &again);
                }
            }
        }
    }
}

#[test]
fn normalize_scale_shift_is_within_the_bound() {
    let statistics =
        [(0.0, 1.0), (1e6, 0.1), (-3.25, 1e-3), (1e30, 1e-30), (1e-25, 1e25), (2.0, 0.0)];
    let far = [(1e300, 1e-300), (1e-300, 1e30), (0.5, 1e-40), (0.5, -2.0)];
    let longest = if short() { 2 * INNER + 1 } else { 2 * BLOCK - 1 };
    for Case { name, x } in cases().filter(|case| case.x.len() <= longest) {
        let shape = rows(1, x.len());
        let mut x_hat = vec![0.0; x.len()];
        let mut expected = vec![0.0; x.len()];
        for (mean, rstd) in statistics.into_iter().chain(far) {
            reference::normalize_scale_shift(&x, mean, rstd, None, None, &mut x_hat);
            // Beyond f32 the docs promise nothing.
            if x_hat.iter().any(|x_hat| x_hat.abs() > 1e38) {
                continue;
            }
            for (gamma, beta) in affine(x.len()) {
                let (gamma, beta) = (gamma.as_deref(), beta.as_deref());
                reference::normalize_scale_shift(&x, mean, rstd, gamma, beta, &mut expected);
                for backend in backends() {
                    let what = format!("{backend}, {name}, mean {mean:e}, rstd {rstd:e}");
                    let operation = NormalizeScaleShift::new().with_backend(backend);
                    let mut y = vec![f32::NAN; x.len()];
                    let (of_row, io) = (([mean], [rstd]), InOut::new(&x, &mut y));
                    let given = Statistics::of_rows(&of_row.0, &of_row.1);
                    operation.forward(io, shape, given, norm_args(gamma, beta)).unwrap();
                    assert_output(&what, &y, &x_hat, &expected, gamma, beta);
                    let mut again = x.clone();
                    let io = InOut::in_place(&mut again);
                    operation.forward(io, shape, given, norm_args(gamma, beta)).unwrap();
                    assert_same(&format!("{what}, in place"), &y, &again);
                }
            }
        }
    }
}

/// So is a row whose statistics are given, whatever those of the rows beside it: any sign, in and out of the
/// range of f32, not a number.
#[test]
fn rows_of_given_statistics_do_not_touch_each_other() {
    let random = &mut Random::new(6);
    let rstds = [1.3, -1.3, 1e25, -1e25, -1e-25, 1e-40, -1e40, 0.0, -0.0, f64::NAN];
    for (count, cols) in [(16, 1), (17, 5), (16, 40), (35, 64), (33, 100), (7, 129), (5, 1000)] {
        let shape = rows(count, cols);
        let x = random.normals(count * cols);
        // So small that y is in the range of f32 where x_hat is.
        let gamma: Vec<f32> = random.normals(cols).iter().map(|gamma| 1e-12 * gamma).collect();
        let beta = random.normals(cols);
        let (gamma, beta) = (Some(&gamma[..]), Some(&beta[..]).filter(|_| cols > 50));
        for of_all in [None, Some(-1e23), Some(-3.0)] {
            let rstd: Vec<f64> =
                (0..count).map(|r| of_all.unwrap_or(rstds[r % rstds.len()])).collect();
            let mean: Vec<f64> = (0..count).map(|r| 0.3 * r as f64 - 1.0).collect();
            for backend in backends() {
                let operation = NormalizeScaleShift::new().with_backend(backend);
                let (mut y, mut alone) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
                let given = Statistics::of_rows(&mean, &rstd);
                let io = InOut::new(&x, &mut y);
                operation.forward(io, shape, given, norm_args(gamma, beta)).unwrap();
                for r in 0..count {
                    let (row, shape) = (r * cols..(r + 1) * cols, rows(1, cols));
                    let given = Statistics::of_rows(&mean[r..=r], &rstd[r..=r]);
                    let io = InOut::new(&x[row.clone()], &mut alone[row]);
                    operation.forward(io, shape, given, norm_args(gamma, beta)).unwrap();
                }
                assert_same(&format!("{backend}, {count}x{cols}, {of_all:?}"), &alone, &y);
            }
        }
    }
}

/// Law: among many rows of different data, every row has the bits that it has alone, on any backend, misaligned by any
/// number of elements.
#[test]
fn rows_do_not_touch_each_other() {
    let random = &mut Random::new(3);
    for cols in [1, 5, 16, 63, 64, 100, 127, 128, 129, 768, 1024, 1025, 2500, 5000] {
        // Short rows are worked on sixteen at a time.
        let many: &[usize] = if cols < 200 { &[16, 17, 35] } else { &[] };
        for count in [1, 2, 3, 4, 5, 7, 9].into_iter().chain(many.iter().copied()) {
            let shape = rows(count, cols);
            let mut x = Vec::new();
            for _ in 0..count {
                x.extend(DATA_SETS[random.below(DATA_SETS.len())].row(cols, random));
            }
            let (gamma, beta) = (random.normals(cols), random.normals(cols));
            let args = || NormArgs::new().affine(&gamma, &beta);
            for backend in backends() {
                let what = format!("{backend}, {count}x{cols}");
                let layer_norm =
                    LayerNorm::new().with_backend(backend).with_parallelism(Parallelism::Serial);
                let rms_norm = RmsNorm::new().with_backend(backend);
                let mut alone = vec![f32::NAN; 2 * x.len()];
                let (of_layer_norm, of_rms_norm) = alone.split_at_mut(x.len());
                for r in 0..count {
                    let row = r * cols..(r + 1) * cols;
                    let (x, shape) = (&x[row.clone()], rows(1, cols));
                    let io = InOut::new(x, &mut of_layer_norm[row.clone()]);
                    layer_norm.forward(io, shape, args()).unwrap();
                    let io = InOut::new(x, &mut of_rms_norm[row]);
                    rms_norm.forward(io, shape, args()).unwrap();
                }
                for offset in [0, 1, 3, 7, 13] {
                    let mut shifted = vec![0.0; offset];
                    shifted.extend(&x);
                    let mut y = vec![f32::NAN; x.len() + offset + 2];
                    let (shifted, out) =
                        (&shifted[offset..], &mut y[offset + 1..offset + 1 + x.len()]);
                    layer_norm.forward(InOut::new(shifted, out), shape, args()).unwrap();
                    assert_same(&what, of_layer_norm, out);
                    rms_norm.forward(InOut::new(shifted, out), shape, args()).unwrap();
                    assert_same(&what, of_rms_norm, out);
                    let outside = [&y[..=offset], &y[offset + 1 + x.len()..]].concat();
                    assert!(outside.iter().all(|y| y.is_nan()), "{what}: written outside of y");
                }
            }
        }
    }
}

/// A constant row equals beta, whatever the constant, gamma and eps; so does a row of one element.
#[test]
fn constant_rows_equal_beta() {
    let random = &mut Random::new(4);
    for len in lengths() {
        let (gamma, beta) = (random.normals(len), random.normals(len));
        let constants =
            [0.0, -0.0, 1e7, 0.1, -random.mantissa(), 1e-40, 1e30, f32::MAX, f32::MIN, 1e-20];
        for constant in constants {
            for eps in [1e-5, 0.0, 1e-300, 1e300] {
                for backend in backends() {
                    let mut x = vec![constant; len];
                    LayerNorm::new()
                        .with_eps(eps)
                        .with_backend(backend)
                        .forward(
                            InOut::in_place(&mut x),
                            rows(1, len),
                            NormArgs::new().affine(&gamma, &beta),
                        )
                        .unwrap();
                    assert!(x == beta, "{backend}, {len} times {constant:e}, eps {eps:e}");
                }
            }
        }
    }
}

/// A NaN or an infinity makes its own row NaN and changes no bit of another.
#[test]
fn non_finite_values_stay_in_their_row() {
    let random = &mut Random::new(5);
    for (count, cols) in [
        (9, 1),
        (35, 1),
        (9, 7),
        (35, 16),
        (9, 50),
        (35, 100),
        (9, 768),
        (9, 1030),
        (9, 3000),
        (9, 5000),
    ] {
        let shape = rows(count, cols);
        let clean = random.normals(count * cols);
        for backend in backends() {
            let layer_norm = LayerNorm::new().with_backend(backend);
            let rms_norm = RmsNorm::new().with_backend(backend);
            let mut expected = [vec![0.0; clean.len()], vec![0.0; clean.len()]];
            let io = InOut::new(&clean, &mut expected[0]);
            layer_norm.forward(io, shape, NormArgs::new()).unwrap();
            let io = InOut::new(&clean, &mut expected[1]);
            rms_norm.forward(io, shape, NormArgs::new()).unwrap();
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for row in [0, 4, count - 1] {
                    let mut x = clean.clone();
                    let place = if row == 0 { cols - 1 } else { random.below(cols) };
                    x[row * cols + place] = bad;
                    let mut moments = vec![Moments::new(); count];
                    let row_moments = RowMoments::new().with_backend(backend);
                    row_moments.compute(&x, shape, &mut moments, MomentArgs::new()).unwrap();
                    for (r, moments) in moments.iter().enumerate() {
                        let nan = [moments.mean.is_nan(), moments.m2.is_nan()];
                        assert_eq!(
                            nan,
                            [r == row; 2],
                            "{backend}, {count}x{cols}, row {r}: {moments:?}"
                        );
                    }
                    let mut y = [vec![0.0; x.len()], vec![0.0; x.len()]];
                    let io = InOut::new(&x, &mut y[0]);
                    layer_norm.forward(io, shape, NormArgs::new()).unwrap();
                    let io = InOut::new(&x, &mut y[1]);
                    rms_norm.forward(io, shape, NormArgs::new()).unwrap();
                    for (y, expected) in y.iter().zip(&expected) {
                        let what = format!("{backend}, {count}x{cols}, {bad} in row {row}");
                        let (before, rest) = y.split_at(row * cols);
                        let (own, after) = rest.split_at(cols);
                        assert!(own.iter().all(|y| y.is_nan()), "{what}: its own row");
                        assert_same(&what, &expected[..row * cols], before);
                        assert_same(&what, &expected[(row + 1) * cols..], after);
                    }
                }
            }
        }
    }
}
