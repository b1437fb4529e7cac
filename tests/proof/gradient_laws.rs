//! Laws of backward passes over rows: what parts, places, threads and options change (nothing), and what a gradient is.
#![forbid(unsafe_code)]

use evenkeel::{
    Backend, BatchNorm, Error, GradArgs, InOut, LayerNorm, Mask, NormalizeScaleShift, Parallelism,
    RmsNorm, Statistics, ValidRows, reference,
};

use crate::common::*;
use crate::gradients::{GRADIENT, Kind, LAYERS, Problem};

/// A problem of ordinary numbers, large enough for several tasks and blocks.
fn ordinary(count: usize, cols: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let random = &mut Random::new((7 * count + cols) as u64);
    (random.normals(count * cols), random.normals(count * cols), random.normals(cols))
}

fn words((dx, dgamma, dbeta): &(Vec<f32>, Vec<f64>, Vec<f64>)) -> Vec<u64> {
    let dx = dx.iter().map(|&dx| u64::from(bits(dx)));
    dx.chain(dgamma.iter().chain(dbeta).map(|&sum| bits64(sum))).collect()
}

/// Law: any number of threads, and any fused backend, gives the same bits, dgamma and dbeta among them.
#[test]
fn threads_and_backends_change_no_bit() {
    for (count, cols) in [(64, 1030), (523, 300), (2500, 65)] {
        let (x, dy, gamma) = ordinary(count, cols);
        for layer in LAYERS {
            let shape = rows(count, cols);
            let problem = Problem { layer, shape, x: &x, dy: &dy, gamma: Some(&gamma), eps: 1e-5 };
            for backend in backends() {
                let expected = words(&problem.call(backend, Parallelism::Serial));
                for threads in [1, 2, 3, 7, 16] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                    let call = || words(&problem.call(backend, Parallelism::Auto));
                    let got = pool.expect("a pool").install(call);
                    assert!(got == expected, "{layer:?}, {backend}, {shape:?}, {threads} threads");
                }
            }
            let all: Vec<_> = fused_backends()
                .into_iter()
                .map(|backend| words(&problem.call(backend, Parallelism::Serial)))
                .collect();
            assert!(all.windows(2).all(|two| two[0] == two[1]), "{layer:?}, {shape:?}");
        }
    }
}

/// Law: statistics that the forward pass wrote change no bit; f32 gradients of parameters are f64 ones, rounded once; those that are
/// added to are rounded once; without dx the others are the same; dsum and a second place are what they say.
#[test]
fn options_do_what_they_say() {
    let (count, cols) = (37, 70);
    let (x, dy, gamma) = ordinary(count, cols);
    let (shape, dsum) = (rows(count, cols), ordinary(cols, count).0);
    let (mut mean, mut rstd, mut y) = (vec![0.0; count], vec![0.0; count], vec![0.0; x.len()]);
    for (layer, backend) in with_backends([Kind::LayerNorm, Kind::RmsNorm]) {
        let problem = Problem { layer, shape, x: &x, dy: &dy, gamma: Some(&gamma), eps: 1e-5 };
        let args = norm_args(None, None);
        if layer == Kind::LayerNorm {
            let norm = LayerNorm::new().with_backend(backend);
            norm.forward(InOut::new(&x, &mut y), shape, args.stats(&mut mean, &mut rstd)).unwrap();
        } else {
            let norm = RmsNorm::new().with_backend(backend);
            norm.forward(InOut::new(&x, &mut y), shape, args.rstd(&mut rstd)).unwrap();
        }
        let saved = || match layer {
            Kind::LayerNorm => GradArgs::new().stats(&mean, &rstd),
            _ => GradArgs::new().rstd(&rstd),
        };
        let run = |io: InOut<'_, '_>, args: GradArgs<'_>| {
            problem.run(backend, Parallelism::Auto, io, args).map(drop)
        };
        let (expected, dgamma, dbeta) = problem.call(backend, Parallelism::Auto);

        let mut dx = vec![f32::NAN; x.len()];
        run(InOut::new(&dy, &mut dx), saved()).unwrap();
        assert_same("saved statistics, dx alone", &expected, &dx);

        let (mut single, mut double) = (vec![f32::NAN; cols], vec![2.5; cols]);
        let args = saved().dgamma(&mut single).add_dbeta(&mut double);
        run(InOut::read_only(&dy), args).unwrap();
        for c in 0..cols {
            assert_eq!(single[c], dgamma[c] as f32, "{layer:?}, {backend}: dgamma {c}");
            assert_eq!(double[c], 2.5 + dbeta[c], "{layer:?}, {backend}: dbeta {c}");
        }
        let mut single = vec![0.3_f32; cols];
        run(InOut::read_only(&dy), saved().add_dgamma(&mut single)).unwrap();
        for c in 0..cols {
            let sum = (f64::from(0.3_f32) + dgamma[c]) as f32;
            assert_eq!(single[c], sum, "{layer:?}, {backend}: dgamma {c}, added");
        }

        let with_sum: Vec<f32> = expected.iter().zip(&dsum).map(|(dx, dsum)| dsum + dx).collect();
        let (mut in_place, mut second) = (dy.clone(), vec![f32::NAN; x.len()]);
        let args = GradArgs::new().dsum(&dsum).dresidual(&mut second);
        run(InOut::in_place(&mut in_place), args).unwrap();
        assert_same("dsum", &with_sum, &in_place);
        assert_same("a second place", &with_sum, &second);
        let added: Vec<f32> = with_sum.iter().map(|dx| 1.5 + dx).collect();
        second.fill(1.5);
        run(InOut::new(&dy, &mut dx), GradArgs::new().dsum(&dsum).add_dresidual(&mut second))
            .unwrap();
        assert_same("a second place that is added to", &added, &second);
    }
}

/// Law: rows of x, dy, dx, dsum and a second place lie at pitches of their own.
#[test]
fn every_buffer_has_its_pitch() {
    let (count, cols) = (9, 21);
    let (x, dy, gamma) = ordinary(count, cols);
    let dsum = ordinary(cols, count).0;
    let spread = |x: &[f32], pitch: usize| {
        let mut wide = vec![9.5; (count - 1) * pitch + cols];
        for (r, row) in x.chunks(cols).enumerate() {
            wide[r * pitch..][..cols].copy_from_slice(row);
        }
        wide
    };
    for layer in [Kind::LayerNorm, Kind::RmsNorm] {
        let shape = rows(count, cols);
        let dense = Problem { layer, shape, x: &x, dy: &dy, gamma: Some(&gamma), eps: 1e-5 };
        let mut expected = vec![f32::NAN; x.len()];
        let (io, args) = (InOut::new(&dy, &mut expected), GradArgs::new().dsum(&dsum));
        dense.run(Backend::detect(), Parallelism::Auto, io, args).unwrap();
        let (x, dy, dsum) = (spread(&x, 23), spread(&dy, 25), spread(&dsum, 22));
        let (mut dx, mut second) = (spread(&[], 31), spread(&[], 24));
        let wide = Problem { x: &x, dy: &dy, ..dense };
        let args = GradArgs::new()
            .x_pitch(23)
            .dsum(&dsum)
            .dsum_pitch(22)
            .dresidual(&mut second)
            .dresidual_pitch(24);
        let io = InOut::strided(&dy, 25, &mut dx, 31);
        wide.run(Backend::detect(), Parallelism::Auto, io, args).unwrap();
        assert_same("dx", &spread(&expected, 31), &dx);
        assert_same("a second place", &spread(&expected, 24), &second);
    }
}

/// Law: rows that are not valid have dx = +0.0 and add nothing, whatever they hold; a second place that is added to keeps its
/// padding. Valid rows have the dx that they have by themselves.
#[test]
fn padding_has_no_gradient() {
    let (count, cols) = (75, 19);
    let (mut x, mut dy, gamma) = ordinary(count, cols);
    let valid: Vec<u8> =
        (0..count).map(|r| u8::from(r % 5 != 2 && !(20..41).contains(&r))).collect();
    for layer in LAYERS {
        let shape = rows(count, cols);
        let kept = |of: &[f32]| -> Vec<f32> {
            let rows = of.chunks(cols).zip(&valid).filter(|(_, valid)| **valid == 1);
            rows.flat_map(|(row, _)| row.to_vec()).collect()
        };
        for r in (0..count).filter(|&r| valid[r] == 0) {
            x[r * cols..][..cols].fill(1.0);
            dy[r * cols..][..cols].fill(1.0);
        }
        let (only_x, only_dy) = (kept(&x), kept(&dy));
        let of_kept = Problem {
            layer,
            shape: rows(only_x.len() / cols, cols),
            x: &only_x,
            dy: &only_dy,
            gamma: Some(&gamma),
            eps: 1e-5,
        };
        let (dx_of_kept, dgamma_of_kept, _) = of_kept.call(Backend::detect(), Parallelism::Auto);
        let scale = of_kept.expected().dgamma_scale;
        let mut words = Vec::new();
        for other in [f32::NAN, 3e38] {
            if layer != Kind::Given {
                for r in (0..count).filter(|&r| valid[r] == 0) {
                    x[r * cols..][..cols].fill(other);
                    dy[r * cols..][..cols].fill(other);
                }
            }
            let problem = Problem { layer, shape, x: &x, dy: &dy, gamma: Some(&gamma), eps: 1e-5 };
            let (mut dx, mut second) = (vec![f32::NAN; x.len()], vec![7.5; x.len()]);
            let mut dgamma = vec![f64::NAN; cols];
            let args = GradArgs::new()
                .valid(ValidRows::Mask(Mask::Bytes(&valid)))
                .dgamma(&mut dgamma)
                .add_dresidual(&mut second);
            let io = InOut::new(&dy, &mut dx);
            problem.run(Backend::detect(), Parallelism::Auto, io, args).unwrap();
            assert_same("dx of rows that are kept", &dx_of_kept, &kept(&dx));
            for r in (0..count).filter(|&r| valid[r] == 0) {
                assert!(dx[r * cols..][..cols].iter().all(|dx| dx.to_bits() == 0), "row {r}");
                assert!(second[r * cols..][..cols].iter().all(|&dx| dx == 7.5), "row {r}, added");
            }
            for c in 0..cols {
                let error = (dgamma[c] - dgamma_of_kept[c]).abs();
                assert!(error <= GRADIENT * scale[c], "{layer:?}: dgamma {c}: {error:e}");
            }
            words.push((dx, dgamma));
        }
        assert!(words[0] == words[1], "{layer:?}: what padding holds");
    }
}

/// Law: a constant row adds exactly nothing to dgamma, and its dx is finite, 0 where eps is; a row of one element has neither.
#[test]
fn a_row_without_variance() {
    for (cols, backend) in with_backends([1, 5, 64, 100]) {
        let (_, dy, gamma) = ordinary(3, cols);
        for (value, eps) in [(2.5, 1e-5), (2.5, 0.0), (-1e30, 1e-5), (1e-41, 0.0)] {
            let (x, shape) = (vec![value; 3 * cols], rows(3, cols));
            let gamma = Some(&gamma[..]);
            let problem = Problem { layer: Kind::LayerNorm, shape, x: &x, dy: &dy, gamma, eps };
            let (dx, dgamma, _) = problem.call(backend, Parallelism::Auto);
            let what = format!("{backend}, {cols} times {value:e}, eps {eps}");
            assert!(dgamma.iter().all(|&sum| sum == 0.0), "{what}: dgamma {dgamma:?}");
            let is_zero = cols == 1 || eps == 0.0;
            assert!(
                dx.iter().all(|dx| dx.is_finite() && (!is_zero || *dx == 0.0)),
                "{what}: {dx:?}"
            );
        }
    }
}

/// Law: NaN and infinity in dy stay in their row of dx and their column of the sums; those in x stay in their row of dx.
#[test]
fn what_is_not_a_number_stays_in_its_row_and_column() {
    let (count, cols) = (13, 37);
    let (x, dy, gamma) = ordinary(count, cols);
    let (row, column) = (4, 30);
    for (layer, backend) in with_backends([Kind::LayerNorm, Kind::RmsNorm]) {
        let shape = rows(count, cols);
        let of = |x: &[f32], dy: &[f32]| {
            let problem = Problem { layer, shape, x, dy, gamma: Some(&gamma), eps: 1e-5 };
            problem.call(backend, Parallelism::Auto)
        };
        let right = of(&x, &dy);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut bad_dy = dy.clone();
            bad_dy[row * cols + column] = bad;
            let what = format!("{layer:?}, {backend}, {bad}");
            let got = of(&x, &bad_dy);
            let mut bad_x = x.clone();
            bad_x[row * cols + column] = bad;
            let of_bad_x = of(&bad_x, &dy);
            for (i, expected) in right.0.iter().enumerate() {
                let is_there = i / cols == row;
                for dx in [got.0[i], of_bad_x.0[i]] {
                    assert!(
                        if is_there { dx.is_nan() } else { dx == *expected },
                        "{what}: dx {i}: {dx}"
                    );
                }
            }
            for c in 0..cols {
                let (dgamma, dbeta) = (got.1[c], got.2[c]);
                if c == column {
                    assert!(!dgamma.is_finite() && !dbeta.is_finite(), "{what}: {dgamma}, {dbeta}");
                } else {
                    // The row is summed otherwise.
                    let near = |got: f64, right: f64| (got - right).abs() <= 1e-4;
                    assert!(
                        near(dgamma, right.1[c]) && near(dbeta, right.2[c]),
                        "{what}: column {c}"
                    );
                }
                assert!(of_bad_x.1[c].is_nan(), "{what}: x_hat of the row is NaN");
            }
        }
    }
}

/// Law: dx of a batch is that of its rows; sums of parts that are cut between blocks merge to those of the whole.
#[test]
fn a_batch_is_its_rows() {
    let (count, cols) = (2048, 6);
    let (x, dy, gamma) = ordinary(count, cols);
    for layer in LAYERS {
        let of = |from: usize, to: usize| {
            let part = from * cols..to * cols;
            let (x, dy) = (&x[part.clone()], &dy[part]);
            let shape = rows(to - from, cols);
            let problem = Problem { layer, shape, x, dy, gamma: Some(&gamma), eps: 1e-5 };
            problem.call(Backend::detect(), Parallelism::Auto)
        };
        let whole = of(0, count);
        for r in [0, 3, 1027, 2047] {
            assert_same("a row", &whole.0[r * cols..(r + 1) * cols], &of(r, r + 1).0);
        }
        // Blocks of 64 rows here and there.
        let (low, high) = (of(0, 1024), of(1024, count));
        for c in 0..cols {
            for (whole, sum) in
                [(whole.1[c], low.1[c] + high.1[c]), (whole.2[c], low.2[c] + high.2[c])]
            {
                assert!(
                    (whole - sum).abs() <= 1e-12 * whole.abs().max(1.0),
                    "{layer:?}, column {c}"
                );
            }
        }
    }
}

/// Law: the sum of LayerNorm's dx over a row is 0, but for its error.
#[test]
fn gradients_of_a_centred_row_sum_to_zero() {
    for cols in [2, 16, 100, 1500] {
        let (x, dy, gamma) = ordinary(4, cols);
        let (shape, gamma) = (rows(4, cols), Some(&gamma[..]));
        let problem = Problem { layer: Kind::LayerNorm, shape, x: &x, dy: &dy, gamma, eps: 1e-5 };
        let scale = problem.expected().dx_scale;
        for backend in backends() {
            let (dx, ..) = problem.call(backend, Parallelism::Auto);
            for (dx, scale) in dx.chunks(cols).zip(scale.chunks(cols)) {
                let sum: f64 = dx.iter().map(|&dx| f64::from(dx)).sum();
                let bound: f64 = scale.iter().map(|scale| GRADIENT * scale).sum();
                assert!(sum.abs() <= bound, "{backend}, {cols}: {sum:e}, bound {bound:e}");
            }
        }
    }
}

/// Law: what the reference calls gradients are those of its forward pass, by central differences.
#[test]
fn the_reference_has_the_gradients_of_its_outputs() {
    const EPS: f64 = 1e-2;
    let cols = 7;
    let (_, dy, gamma) = ordinary(1, cols);
    // Steps of eighths are exact.
    let x: Vec<f32> = (0..cols).map(|c| ((c * 5) % 7) as f32 * 0.5 - 1.25).collect();
    for layer in [Kind::LayerNorm, Kind::RmsNorm] {
        let problem =
            Problem { layer, shape: rows(1, cols), x: &x, dy: &dy, gamma: Some(&gamma), eps: EPS };
        let expected = problem.expected();
        let loss = |x: &[f32], gamma: &[f32]| -> f64 {
            let mut y = vec![0.0; cols];
            match layer {
                Kind::LayerNorm => drop(reference::layer_norm(x, Some(gamma), None, EPS, &mut y)),
                _ => drop(reference::rms_norm(x, Some(gamma), None, EPS, &mut y)),
            }
            y.iter().zip(&dy).map(|(y, &dy)| y * f64::from(dy)).sum()
        };
        // Two steps, whose difference leaves an error of the fourth power of a step.
        let derivative = |of: &dyn Fn(f32) -> f64| {
            let central = |h: f32| (of(h) - of(-h)) / (2.0 * f64::from(h));
            (4.0 * central(1.0 / 512.0) - central(1.0 / 256.0)) / 3.0
        };
        for c in 0..cols {
            let moved = |of: &[f32], by: f32| {
                let mut of = of.to_vec();
                of[c] += by;
                of
            };
            let by_x = derivative(&|h| loss(&moved(&x, h), &gamma));
            assert!(
                (by_x - expected.dx[c]).abs() < 1e-7,
                "{layer:?}, x {c}: {by_x}, {}",
                expected.dx[c]
            );
            // The loss is linear in gamma: any step does.
            let step = f64::from(gamma[c] + 0.5) - f64::from(gamma[c] - 0.5);
            let by_gamma = (loss(&x, &moved(&gamma, 0.5)) - loss(&x, &moved(&gamma, -0.5))) / step;
            assert!(
                (by_gamma - expected.dgamma[c]).abs() < 1e-12,
                "{layer:?}, gamma {c}: {by_gamma}"
            );
        }
    }
}

/// No rows have no gradients; what is added to stays.
#[test]
fn no_rows() {
    for (count, cols) in [(0, 5), (5, 0), (0, 0)] {
        let shape = rows(count, cols);
        let (mut dgamma, mut dbeta) = (vec![f32::NAN; cols], vec![2.5; cols]);
        let args = GradArgs::new().dgamma(&mut dgamma).add_dbeta(&mut dbeta);
        let io = InOut::<f32>::new(&[], &mut []);
        let dx = LayerNorm::new().backward(io, &[], shape, args).unwrap();
        assert!(dx.is_empty() && dgamma.iter().all(|&sum| sum == 0.0), "{shape:?}");
        assert!(dbeta.iter().all(|&sum: &f64| sum == 2.5), "{shape:?}");
    }
}

/// What a backward pass does not take is an error, and nothing is written.
/// Law: a row whose gradients are just large enough for f32 has the same bits beside any other row.
#[test]
fn small_gradients_have_the_same_bits_beside_any_row() {
    let (cols, tiny) = (7, 7e-31_f32);
    let mut x = [0.0_f32; 14];
    x[cols - 1] = -1.0;
    x[cols..].copy_from_slice(&[3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0]);
    for backend in backends() {
        let gradients = |other: f32| {
            let mut dy = [tiny; 14];
            dy[cols - 1] = -tiny;
            dy[cols..].fill(other);
            dy[cols] = -other;
            let (mut dx, mut dgamma) = ([f32::NAN; 14], [f64::NAN; 7]);
            let norm = LayerNorm::new().with_eps(0.0).with_backend(backend);
            let args = GradArgs::new().dgamma(&mut dgamma);
            norm.backward(InOut::new(&dy, &mut dx), &x, rows(2, cols), args).unwrap();
            dx[..cols].to_vec()
        };
        assert_same(&format!("{backend}"), &gradients(1.0), &gradients(0.0));
    }
}

/// Law: `x_hat` of given statistics may be of any size; the sums of f32 that it leaves are made in f64.
#[test]
fn given_statistics_may_make_a_large_x_hat() {
    let power = |n: i32| 2.0_f32.powi(n);
    for backend in backends() {
        let (x, gamma) = ([power(70); 2], [power(-40)]);
        for (dy, expected) in [([power(59); 2], 2.0_f64.powi(130)), ([power(59), -power(59)], 0.0)]
        {
            let (mut dx, mut dgamma) = ([f32::NAN; 2], [f64::NAN]);
            let args = GradArgs::new().gamma(&gamma).dgamma(&mut dgamma);
            let given = Statistics::of_rows(&[0.0; 2], &[1.0; 2]);
            let operation = NormalizeScaleShift::new().with_backend(backend);
            operation.backward(InOut::new(&dy, &mut dx), &x, rows(2, 1), given, args).unwrap();
            assert_eq!((dx[0], dgamma), (power(19), [expected]), "{backend}");
        }
    }
}

#[test]
fn what_it_does_not_take_is_an_error() {
    let (x, dy, stats) = ([1.5; 6], [0.5; 6], [0.5; 2]);
    let (mut dx, mut second, shape) = ([7.5; 6], [7.5; 6], rows(2, 3));
    let unsupported = |arg| Err(Error::Unsupported { arg });
    let norm = LayerNorm::new();
    let of = |result: Result<&mut [f32], Error>| result.map(drop);
    let io = || InOut::read_only(&dy);
    assert_eq!(
        of(norm.backward(io(), &x, shape, GradArgs::new().rstd(&stats))),
        unsupported("rstd")
    );
    let args = GradArgs::new().dresidual(&mut second);
    assert_eq!(of(norm.backward(io(), &x, shape, args)), unsupported("dresidual"));
    assert_eq!(of(norm.backward(io(), &x, shape, GradArgs::new().dsum(&x))), unsupported("dsum"));
    let short_beta = GradArgs::new().beta(&[1.0_f32; 2]);
    assert_eq!(
        of(BatchNorm::new().backward(InOut::new(&dy, &mut dx), &x, shape, short_beta)),
        Err(Error::Length { arg: "beta", expected: 3, got: 2 })
    );
    let args = GradArgs::new().stats(&stats, &stats);
    assert_eq!(of(RmsNorm::new().backward(io(), &x, shape, args)), unsupported("mean"));
    let given = Statistics::of_rows(&stats, &stats);
    let args = GradArgs::new().rstd(&stats);
    let result = NormalizeScaleShift::new().backward(InOut::read_only(&dy), &x, shape, given, args);
    assert_eq!(of(result), unsupported("rstd"));
    for (args, expected) in [
        (GradArgs::new().x_pitch(2), Error::TooShort { arg: "x_pitch", expected: 3, got: 2 }),
        (GradArgs::new().x_pitch(4), Error::TooShort { arg: "x", expected: 7, got: 6 }),
        (
            GradArgs::new().dsum(&x).dsum_pitch(4),
            Error::TooShort { arg: "dsum", expected: 7, got: 6 },
        ),
    ] {
        assert_eq!(of(norm.backward(InOut::new(&dy, &mut dx), &x, shape, args)), Err(expected));
    }
    let forward = norm.forward(InOut::read_only(&x), shape, norm_args(None, None));
    assert_eq!(of(forward), Err(Error::Length { arg: "y", expected: 6, got: 0 }));
    assert_eq!((dx, second), ([7.5; 6], [7.5; 6]), "written");
}
