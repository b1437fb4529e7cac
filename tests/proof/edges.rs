//! Input that has broken kernels and is no error: what comes out is what the docs promise. What is an error is in
//! `tests/errors.rs`, which lists both.
#![expect(unsafe_code, reason = "a limit of the operating system is set")]

use evenkeel::{
    BatchNorm, ColumnMoments, Dropout, InOut, LayerNorm, Mask, MaskMut, MomentArgs, Moments,
    NormArgs, NormalizeScaleShift, Parallelism, RmsNorm, RowMoments, Statistics, Stream, TrainArgs,
    reference,
};

use crate::common::*;

/// Rows from reports of bugs in other libraries: variances that came out negative, NaN or 0, or that were off.
fn reported_rows() -> [(&'static str, Vec<f32>); 7] {
    let random = &mut Random::new(11);
    let mut around = |mean: f64, std: f64, len| {
        (0..len).map(|_| (mean + std * random.normal()) as f32).collect()
    };
    [
        ("40000 to 40003", vec![40_000.0, 40_001.0, 40_002.0, 40_003.0]),
        ("a constant of 1234", vec![1234.0; 256]),
        ("2000 and some", around(2000.0, 1.0, 20)),
        ("1449.5 and some", around(1449.5, 0.1, 16)),
        ("100 and a hundredth", around(100.0, 0.01, 32_768)),
        ("numbers that f32 cannot tell apart", (0..5).map(|i| 1e15 + i as f32).collect()),
        ("squares that f32 cannot hold", around(1e30, 1e29, 300)),
    ]
}

#[test]
fn rows_that_were_bugs_elsewhere() {
    for (name, x) in reported_rows() {
        let (mean, var) = reference::mean_variance(&x);
        let mut expected = vec![0.0; x.len()];
        for backend in backends() {
            let mut moments = [Moments::new(); 2];
            let (of_row, of_column) = moments.split_at_mut(1);
            let (n, args) = (x.len(), MomentArgs::new);
            let (row, column) = (rows(1, n), rows(n, 1));
            RowMoments::new().with_backend(backend).compute(&x, row, of_row, args()).unwrap();
            let operation = ColumnMoments::new().with_backend(backend);
            operation.compute(&x, column, of_column, args()).unwrap();
            for moments in moments {
                let got = moments.population_variance().unwrap();
                approx::assert_relative_eq!(got, var, epsilon = 0.0, max_relative = VARIANCE);
                let bound = VARIANCE * var.sqrt() + 1e-15 * mean.abs();
                approx::assert_abs_diff_eq!(moments.mean, mean, epsilon = bound);
            }
            for eps in [1e-5, 0.0] {
                let mut y = vec![f32::NAN; n];
                reference::layer_norm(&x, None, None, eps, &mut expected);
                LayerNorm::new()
                    .with_eps(eps)
                    .with_backend(backend)
                    .forward(InOut::new(&x, &mut y), rows(1, n), NormArgs::new())
                    .unwrap();
                let what = format!("{backend}, {name}, eps {eps}");
                assert_output(&what, &y, &expected, &expected, None, None);
            }
        }
    }
}

/// eps is added in f64: one that f32 cannot hold, small or large, counts as what it is.
#[test]
fn an_eps_that_f32_cannot_hold() {
    let (n, random) = (100, &mut Random::new(12));
    let (gamma, beta) = (random.normals(n), random.normals(n));
    let affine = (Some(&gamma[..]), Some(&beta[..]));
    let tiny: Vec<f32> = random.normals(n).iter().map(|x| x * 1e-30).collect();
    for x in [vec![0.0; n], tiny, random.normals(n), vec![f32::MAX; n]] {
        for eps in [f64::MIN_POSITIVE, 1e-60, 1e-46, 1e40, 1e300, f64::MAX] {
            let (mut x_hat, mut expected) = (vec![0.0; n], vec![0.0; n]);
            for backend in backends() {
                let what = format!("{backend}, eps {eps:e}, x {:e} ...", x[0]);
                let mut y = vec![f32::NAN; n];
                reference::layer_norm(&x, None, None, eps, &mut x_hat);
                reference::layer_norm(&x, affine.0, affine.1, eps, &mut expected);
                LayerNorm::new()
                    .with_eps(eps)
                    .with_backend(backend)
                    .forward(InOut::new(&x, &mut y), rows(1, n), norm_args(affine.0, affine.1))
                    .unwrap();
                assert_output(&what, &y, &x_hat, &expected, affine.0, affine.1);

                reference::rms_norm(&x, None, None, eps, &mut x_hat);
                reference::rms_norm(&x, affine.0, affine.1, eps, &mut expected);
                RmsNorm::new()
                    .with_eps(eps)
                    .with_backend(backend)
                    .forward(InOut::new(&x, &mut y), rows(1, n), norm_args(affine.0, affine.1))
                    .unwrap();
                // Where x / sqrt(eps) leaves f32, nothing is promised.
                if x_hat.iter().all(|x_hat| x_hat.abs() < 1e38) {
                    assert_output(&what, &y, &x_hat, &expected, affine.0, affine.1);
                }

                // One column, normalised by itself, with the first gamma and beta.
                let (gamma, beta) = (&gamma[..1], &beta[..1]);
                let every = (gamma.repeat(n), beta.repeat(n));
                let every = (Some(&every.0[..]), Some(&every.1[..]));
                reference::layer_norm(&x, None, None, eps, &mut x_hat);
                reference::layer_norm(&x, every.0, every.1, eps, &mut expected);
                BatchNorm::new()
                    .with_eps(eps)
                    .with_backend(backend)
                    .forward_training(
                        InOut::new(&x, &mut y),
                        rows(n, 1),
                        TrainArgs::new().affine(gamma, beta),
                    )
                    .unwrap();
                assert_output(&what, &y, &x_hat, &expected, every.0, every.1);
            }
        }
    }
}

/// Where nothing but 0 is under the root, rstd is 0 and y is beta, of every operation.
#[test]
fn no_variance_and_no_eps_give_beta() {
    let (count, cols, random) = (19, 37, &mut Random::new(13));
    let (x, gamma, beta) =
        (random.normals(count * cols), random.normals(cols), random.normals(cols));
    let (shape, affine) = (rows(count, cols), (Some(&gamma[..]), Some(&beta[..])));
    let mean: Vec<f32> = random.normals(cols);
    let (zeros, wide) = (vec![0.0; cols], vec![2.5; count.max(cols)]);
    for backend in backends() {
        let expected = beta.repeat(count);
        let mut y = vec![f32::NAN; x.len()];
        let is_beta = |what: &str, y: &mut Vec<f32>| {
            assert!(*y == expected, "{backend}, {what}");
            y.fill(f32::NAN);
        };
        let batch_norm = BatchNorm::new().with_eps(0.0).with_backend(backend);
        let args = || norm_args(affine.0, affine.1);
        let io = InOut::new(&x, &mut y);
        batch_norm.forward_inference(io, shape, &mean, &zeros, args()).unwrap();
        is_beta("inference with a running variance of 0", &mut y);
        let infinite = vec![f32::INFINITY; cols];
        let io = InOut::new(&x, &mut y);
        batch_norm.forward_inference(io, shape, &mean, &infinite, args()).unwrap();
        is_beta("inference with an infinite running variance", &mut y);
        let normalize = NormalizeScaleShift::new().with_backend(backend);
        let (of_rows, no_rstd) = (&wide[..count], vec![0.0; count.max(cols)]);
        let given = Statistics::of_rows(of_rows, &no_rstd[..count]);
        normalize.forward(InOut::new(&x, &mut y), shape, given, args()).unwrap();
        is_beta("rows with an rstd of 0", &mut y);
        let given = Statistics::of_columns(&wide[..cols], &no_rstd[..cols]);
        normalize.forward(InOut::new(&x, &mut y), shape, given, args()).unwrap();
        is_beta("columns with an rstd of 0", &mut y);
        for zero in [0.0, -0.0] {
            let (x, mut rstd) = (vec![zero; count * cols], vec![f64::NAN; count]);
            RmsNorm::new()
                .with_eps(0.0)
                .with_backend(backend)
                .forward(InOut::new(&x, &mut y), shape, args().rstd(&mut rstd))
                .unwrap();
            assert_eq!(rstd, vec![0.0; count], "{backend}, {zero}");
            is_beta("RmsNorm of zeros", &mut y);
        }
    }
}

/// Infinities of both signs in one row or column make it NaN, and change no bit of another.
#[test]
fn infinities_that_cancel() {
    let (count, cols) = (19, 37);
    let (shape, clean) = (rows(count, cols), Random::new(14).normals(count * cols));
    let (row, column) = (4, 20);
    let mut x = clean.clone();
    x[row * cols + column] = f32::INFINITY;
    x[row * cols + 3] = f32::NEG_INFINITY;
    let mut of_column = clean.clone();
    of_column[row * cols + column] = f32::INFINITY;
    of_column[(row + 9) * cols + column] = f32::NEG_INFINITY;
    for backend in backends() {
        let layer_norm = |x: &[f32]| {
            let mut y = vec![0.0; x.len()];
            let operation = LayerNorm::new().with_backend(backend);
            operation.forward(InOut::new(x, &mut y), shape, NormArgs::new()).unwrap();
            y
        };
        let batch_norm = |x: &[f32]| {
            let mut y = x.to_vec();
            let (operation, args) = (BatchNorm::new().with_backend(backend), TrainArgs::new());
            operation.forward_training(InOut::in_place(&mut y), shape, args).unwrap();
            y
        };
        for (i, (y, clean)) in layer_norm(&x).iter().zip(layer_norm(&clean)).enumerate() {
            let expected = if i / cols == row { f32::NAN } else { clean };
            assert_eq!(bits(*y), bits(expected), "{backend}, LayerNorm, element {i}");
        }
        for (i, (y, clean)) in batch_norm(&of_column).iter().zip(batch_norm(&clean)).enumerate() {
            let expected = if i % cols == column { f32::NAN } else { clean };
            assert_eq!(bits(*y), bits(expected), "{backend}, BatchNorm, element {i}");
        }
    }
}

/// A NaN in a channel makes its running statistics NaN for good; one in running statistics makes the channel NaN. No
/// bit of another channel changes.
#[test]
fn running_statistics_that_are_poisoned() {
    let (count, cols, bad) = (50, 37, 20);
    let (shape, random) = (rows(count, cols), &mut Random::new(15));
    let clean = random.normals(count * cols);
    let mut poisoned = clean.clone();
    poisoned[7 * cols + bad] = f32::NAN;
    for backend in backends() {
        let operation = BatchNorm::new().with_backend(backend);
        let train = |x: &[f32], mean: &mut [f32], var: &mut [f32]| {
            let (mut y, args) = (x.to_vec(), TrainArgs::new().running(mean, var));
            operation.forward_training(InOut::in_place(&mut y), shape, args).unwrap();
        };
        let run = |first: &[f32]| {
            let (mut mean, mut var) = (vec![0.5; cols], vec![2.0; cols]);
            train(first, &mut mean, &mut var);
            train(&clean, &mut mean, &mut var);
            let mut y = clean.clone();
            let (io, args) = (InOut::in_place(&mut y), NormArgs::new());
            operation.forward_inference(io, shape, &mean, &var, args).unwrap();
            (mean, var, y)
        };
        let (expected, got) = (run(&clean), run(&poisoned));
        let compare = |what: &str, expected: Vec<f32>, got: Vec<f32>| {
            for (i, (expected, got)) in expected.into_iter().zip(got).enumerate() {
                let expected = if i % cols == bad { f32::NAN } else { expected };
                assert_eq!(bits(got), bits(expected), "{backend}, {what}, element {i}");
            }
        };
        compare("running mean", expected.0, got.0);
        compare("running variance", expected.1, got.1);
        compare("inference", expected.2, got.2);
    }
}

/// p = 1 - 2^-25 keeps one element of 33 million, and multiplies it by 2^25.
#[test]
fn a_probability_next_to_1() {
    let operation = Dropout::new().with_p(1.0 - 2.0_f64.powi(-25));
    assert_eq!(operation.realised_p(), Ok(1.0 - 2.0_f64.powi(-25)));
    assert_eq!(operation.scale(), Ok(2.0_f32.powi(25)));
    for backend in backends() {
        let operation = operation.with_backend(backend);
        let mut y = [3.0_f32, -1.5, 1e38];
        operation.forward(InOut::in_place(&mut y), Mask::Bytes(&[1, 1, 0])).unwrap();
        assert_eq!(y, [3.0 * 2.0_f32.powi(25), -1.5 * 2.0_f32.powi(25), 0.0]);
    }
}

/// The last elements that the largest seed has: no counter wraps before them.
#[test]
fn the_end_of_the_last_stream() {
    let len = 5000;
    let stream = Stream { seed: u64::MAX, offset: u64::MAX - (len - 1) };
    for p in [0.001, 0.5] {
        let expected = reference::dropout_mask(p, stream.seed, stream.offset, len as usize);
        let expected: Vec<u8> = expected.into_iter().map(u8::from).collect();
        for backend in backends() {
            let operation = Dropout::new().with_p(p).with_backend(backend);
            let mut mask = vec![2; len as usize];
            operation.mask(stream, len as usize, MaskMut::Bytes(&mut mask)).unwrap();
            assert!(mask == expected, "{backend}, p = {p}");
        }
    }
}

/// Counts beyond what f32 and f64 can hold, up to the last: they stop there.
#[test]
fn counts_of_any_size() {
    for bit in [1, 23, 24, 25, 31, 32, 33, 52, 53, 54, 60] {
        let half = Moments { count: 1 << bit, mean: 1.0, mean_low: 0.0, m2: 0.0 };
        let mut whole = half;
        whole.merge(&Moments { mean: 3.0, ..half });
        assert_eq!((whole.count, whole.mean), (2 << bit, 2.0), "2^{bit}");
        assert_eq!(whole.population_variance(), Some(1.0), "2^{bit}");
        let count = (1 << bit) + 1;
        let mut one_more = half;
        one_more.push(1.0);
        assert_eq!(one_more, Moments { count, ..half }, "2^{bit}");
        let mut one_more = half;
        one_more.extend_from_slice(&[1.0_f32]);
        assert_eq!(one_more, Moments { count, ..half }, "2^{bit}");
    }
    let full = Moments { count: u64::MAX, mean: 1.0, mean_low: 0.0, m2: 0.0 };
    let (mut pushed, mut extended, mut merged) = (full, full, full);
    pushed.push(1.0);
    extended.extend_from_slice(&[1.0_f32; 3]);
    merged.merge(&Moments { mean: 3.0, ..full });
    assert_eq!((pushed, extended), (full, full));
    assert_eq!((merged.count, merged.mean), (u64::MAX, 2.0));
    assert_eq!(merged.sample_variance().map(|var| var.is_finite()), Some(true));
}

/// The bits of a call that is worth many tasks.
fn large_call(parallelism: Parallelism, x: &[f32]) -> Vec<u32> {
    let mut y = vec![f32::NAN; x.len()];
    LayerNorm::new()
        .with_parallelism(parallelism)
        .forward(InOut::new(x, &mut y), rows(x.len() / 1000, 1000), NormArgs::new())
        .unwrap();
    y.into_iter().map(bits).collect()
}

/// No number of tasks is too small or too large.
#[test]
fn any_number_of_tasks() {
    let x = Random::new(16).normals(300_000);
    let expected = large_call(Parallelism::Serial, &x);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for tasks in [0, 1, 1_000_001, usize::MAX] {
        let got = pool.install(|| large_call(Parallelism::AtMost(tasks), &x));
        assert!(got == expected, "{tasks} tasks");
    }
}

/// Calls from several threads at once, and from within tasks of the pool that they use themselves, end, and give the
/// same bits.
#[test]
fn calls_within_tasks_and_from_many_threads() {
    // Calls from outside of a pool use it from 2^20 elements on.
    let x = Random::new(17).normals(1_050_000);
    let expected = large_call(Parallelism::Serial, &x);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let check = || assert!(large_call(Parallelism::Auto, &x) == expected);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| pool.scope(|tasks| (0..4).for_each(|_| tasks.spawn(|_| check()))));
            threads.spawn(check);
        }
    });
}

/// A fork leaves the pool's threads behind. After the parent has used the pool, the child runs everything on its own thread, and
/// does not wait for them.
#[cfg(unix)]
#[test]
fn calls_in_a_forked_process() {
    use std::os::unix::process::CommandExt;

    let x = Random::new(18).normals(1_050_000);
    let expected = large_call(Parallelism::Auto, &x);
    let mut y = vec![f32::NAN; x.len()];
    let in_child = move || {
        // Nothing is allocated between the fork and the program that follows it.
        let shape = rows(1050, 1000);
        let serial = LayerNorm::new().with_parallelism(Parallelism::Serial);
        let large = serial.forward(InOut::new(&x, &mut y), shape, NormArgs::new()).is_ok();
        let same = y.iter().zip(&expected).all(|(y, expected)| bits(*y) == *expected);
        y.fill(f32::NAN);
        let auto = LayerNorm::new();
        let shared = auto.forward(InOut::new(&x, &mut y), shape, NormArgs::new()).is_ok();
        let same = same && y.iter().zip(&expected).all(|(y, expected)| bits(*y) == *expected);
        y.fill(f32::NAN);
        let (first, shape) = (20_000, rows(20, 1000));
        let io = InOut::new(&x[..first], &mut y[..first]);
        let small = LayerNorm::new().forward(io, shape, NormArgs::new()).is_ok();
        let same = same && y.iter().zip(&expected[..first]).all(|(y, same)| bits(*y) == *same);
        let done = large && shared && small && same;
        if done { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
    };
    let mut program = std::process::Command::new("true");
    // SAFETY: the closure calls kernels that neither allocate, nor lock, nor use another thread.
    unsafe { program.pre_exec(in_child) };
    assert!(program.status().expect("the same bits in the child").success());
}
