//! Columns: moments, BatchNorm and normalise-scale-shift, by the laws of the rows.
#![forbid(unsafe_code)]

use evenkeel::{
    BatchNorm, Channels, ColumnMoments, Error, InOut, MomentArgs, Moments, NormArgs,
    NormalizeScaleShift, Parallelism, Statistics, TrainArgs, reference,
};

use crate::common::*;

/// Numbers of rows: every one up to two steps, and around each size at which the algorithm changes.
fn row_counts() -> Vec<usize> {
    let mut counts: Vec<usize> = (1..=17).collect();
    for size in [32, 64, 128, 192, 256, 1024, 2048] {
        counts.extend([size - 1, size, size + 1]);
    }
    if short() {
        counts.retain(|&count| count <= 17 || count <= BLOCK && in_short(count));
    }
    counts
}

/// Numbers of columns: around vectors and panels.
const WIDTHS: [usize; 12] = [1, 2, 3, 15, 16, 17, 31, 33, 48, 100, 1023, 1041];

/// Narrow matrices with enough rows that several of them are worked on as one, and rows that are left over.
pub const FOLDED: [(usize, usize); 8] = [
    (16_384, 1),
    (17_003, 1),
    (8_255, 3),
    (1024, 16),
    (1_103, 16),
    (515, 37),
    (263, 100),
    (129, 255),
];

/// A matrix whose columns are of all data sets in turn. `stretch` makes one row of it 16 elements of a data set,
/// so that what is meant for a block of 1024 elements meets a block of 64 rows.
pub fn matrix(count: usize, cols: usize, stretch: usize, seed: u64) -> Vec<f32> {
    let random = &mut Random::new(seed);
    let mut x = vec![0.0; count * cols];
    for c in 0..cols {
        let set = &DATA_SETS[(c + seed as usize) % DATA_SETS.len()];
        for r in 0..count {
            x[r * cols + c] = set.element(r * stretch, count * stretch, random);
        }
    }
    x
}

fn cases() -> impl Iterator<Item = (String, usize, usize, Vec<f32>)> {
    let (most, most_folded) = if short() { (5000, 17_000) } else { (100_000, usize::MAX) };
    let shapes = row_counts().into_iter().flat_map(move |count| {
        let widths = WIDTHS.into_iter().filter(move |cols| count * cols < most);
        widths.chain([DATA_SETS.len()]).map(move |cols| (count, cols))
    });
    let folded = FOLDED.into_iter().filter(move |(count, cols)| count * cols < most_folded);
    shapes.chain(folded).flat_map(|(count, cols)| {
        [1, 16].into_iter().map(move |stretch| {
            let x = matrix(count, cols, stretch, (count + cols * 7) as u64);
            (format!("{count}x{cols}, stretch {stretch}"), count, cols, x)
        })
    })
}

pub fn moments_of(operation: ColumnMoments, x: &[f32], shape: (usize, usize)) -> Vec<Moments> {
    let mut moments = vec![Moments::new(); shape.1];
    operation.compute(x, rows(shape.0, shape.1), &mut moments, MomentArgs::new()).unwrap();
    moments
}

#[test]
fn column_moments_are_within_the_bound() {
    for (name, count, cols, x) in cases() {
        let expected: Vec<_> =
            (0..cols).map(|c| reference::mean_variance(&reference::column(&x, cols, c))).collect();
        for backend in backends() {
            let moments = moments_of(ColumnMoments::new().with_backend(backend), &x, (count, cols));
            for (c, (moments, (mean, var))) in moments.iter().zip(&expected).enumerate() {
                let got = moments.population_variance().unwrap();
                assert!(
                    approx::relative_eq!(got, *var, epsilon = 0.0, max_relative = VARIANCE),
                    "{backend}, {name}, column {c}: variance: expected {var:e}, got {got:e}, error {:e}",
                    (got - var) / var,
                );
                let bound = VARIANCE * var.sqrt() + 1e-15 * mean.abs();
                assert!(
                    approx::abs_diff_eq!(moments.mean, *mean, epsilon = bound),
                    "{backend}, {name}, column {c}: mean: expected {mean:e}, got {:e}",
                    moments.mean,
                );
                assert_eq!(moments.count, count as u64);
            }
        }
    }
}

/// Asserts the bound of every element, gamma and beta of its column.
#[track_caller]
fn assert_columns(
    what: &str,
    y: &[f32],
    x_hat: &[f64],
    expected: &[f64],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    cols: usize,
) {
    for (r, y) in y.chunks_exact(cols).enumerate() {
        let row = r * cols..(r + 1) * cols;
        assert_output(
            &format!("{what}, row {r}"),
            y,
            &x_hat[row.clone()],
            &expected[row],
            gamma,
            beta,
        );
    }
}

#[test]
fn batch_norm_training_is_within_the_bound() {
    for (name, count, cols, x) in cases() {
        let shape = rows(count, cols);
        let random = &mut Random::new(cols as u64);
        let (gamma, beta) = (random.normals(cols), random.normals(cols));
        let (mut x_hat, mut expected) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        for eps in [1e-5, 0.0] {
            let (mean, rstd) = reference::batch_statistics(&x, cols, eps);
            reference::normalize_scale_shift_columns(&x, &mean, &rstd, None, None, &mut x_hat);
            for (gamma, beta) in [
                (None, None),
                (Some(&gamma[..]), None),
                (None, Some(&beta[..])),
                (Some(&gamma[..]), Some(&beta[..])),
            ] {
                reference::normalize_scale_shift_columns(
                    &x,
                    &mean,
                    &rstd,
                    gamma,
                    beta,
                    &mut expected,
                );
                for backend in backends() {
                    let what = format!("{backend}, {name}, eps {eps}");
                    let operation = BatchNorm::new().with_eps(eps).with_backend(backend);
                    let mut y = vec![f32::NAN; x.len()];
                    let (mut got_mean, mut got_rstd) = (vec![f64::NAN; cols], vec![f64::NAN; cols]);
                    let args = train_args(gamma, beta).stats(&mut got_mean, &mut got_rstd);
                    operation.forward_training(InOut::new(&x, &mut y), shape, args).unwrap();
                    assert_columns(&what, &y, &x_hat, &expected, gamma, beta, cols);
                    for c in 0..cols {
                        assert!(
                            approx::relative_eq!(
                                got_rstd[c],
                                rstd[c],
                                epsilon = 0.0,
                                max_relative = VARIANCE
                            ),
                            "{what}, column {c}: rstd: expected {:e}, got {:e}",
                            rstd[c],
                            got_rstd[c]
                        );
                    }

                    // It is the column moments, then normalise-scale-shift; in place as out of place.
                    let moments =
                        moments_of(ColumnMoments::new().with_backend(backend), &x, (count, cols));
                    let second = |moments: &Moments| {
                        reference::rstd(moments.population_variance().unwrap(), eps)
                    };
                    let mean: Vec<_> = moments.iter().map(|moments| moments.mean).collect();
                    let rstd: Vec<_> = moments.iter().map(second).collect();
                    assert_eq!((&mean, &rstd), (&got_mean, &got_rstd), "{what}");
                    let mut again = x.clone();
                    let (given, args) =
                        (Statistics::of_columns(&mean, &rstd), norm_args(gamma, beta));
                    NormalizeScaleShift::new()
                        .with_backend(backend)
                        .forward(InOut::in_place(&mut again), shape, given, args)
                        .unwrap();
                    assert_same(&what, &y, &again);
                    let mut again = x.clone();
                    let args = train_args(gamma, beta).stats(&mut got_mean, &mut got_rstd);
                    operation.forward_training(InOut::in_place(&mut again), shape, args).unwrap();
                    assert_same(&format!("{what}, in place"), &y, &again);
                }
            }
        }
    }
}

#[test]
fn batch_norm_inference_is_within_the_bound() {
    for (name, count, cols, x) in cases().filter(|case| case.1 < 200) {
        let shape = rows(count, cols);
        let random = &mut Random::new(cols as u64);
        let (gamma, beta) = (random.normals(cols), random.normals(cols));
        // Statistics near the data's, as f32 has them, and some that are not.
        let mut mean = Vec::new();
        let mut var = Vec::new();
        for c in 0..cols {
            let (of_mean, of_var) = reference::mean_variance(&reference::column(&x, cols, c));
            let far = random.below(5) == 0;
            mean.push(if far { random.normal() } else { of_mean } as f32);
            var.push(if far { random.uniform() } else { of_var }.min(1e38) as f32);
        }
        let eps = 1e-5;
        let mean64: Vec<_> = mean.iter().map(|&mean| f64::from(mean)).collect();
        let rstd: Vec<_> = var.iter().map(|&var| reference::rstd(f64::from(var), eps)).collect();
        let (mut x_hat, mut expected) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        reference::normalize_scale_shift_columns(&x, &mean64, &rstd, None, None, &mut x_hat);
        if x_hat.iter().any(|x_hat| x_hat.abs() > 1e38) {
            continue;
        }
        let (gamma, beta) = (Some(&gamma[..]), Some(&beta[..]));
        reference::normalize_scale_shift_columns(&x, &mean64, &rstd, gamma, beta, &mut expected);
        for backend in backends() {
            let what = format!("{backend}, {name}");
            let operation = BatchNorm::new().with_eps(eps).with_backend(backend);
            let mut y = vec![f32::NAN; x.len()];
            let args = norm_args(gamma, beta);
            let io = InOut::new(&x, &mut y);
            operation.forward_inference(io, shape, &mean, &var, args).unwrap();
            assert_columns(&what, &y, &x_hat, &expected, gamma, beta, cols);
            let mut again = x.clone();
            let args = norm_args(gamma, beta);
            let io = InOut::in_place(&mut again);
            operation.forward_inference(io, shape, &mean, &var, args).unwrap();
            assert_same(&format!("{what}, in place"), &y, &again);
        }
    }
}

/// Law: permuting columns permutes results.
#[test]
fn columns_do_not_touch_each_other() {
    for (name, count, cols, x) in cases().filter(|case| case.2 == DATA_SETS.len()) {
        let turned: Vec<f32> = (0..x.len()).map(|i| x[i - i % cols + (i + 1) % cols]).collect();
        for backend in backends() {
            let operation = ColumnMoments::new().with_backend(backend);
            let mut expected = moments_of(operation, &x, (count, cols));
            expected.rotate_left(1);
            assert_eq!(
                moments_of(operation, &turned, (count, cols)),
                expected,
                "{backend}, {name}"
            );
        }
    }
}

/// Law: a channel has the same output beside any other, one that f32 cannot hold too.
#[test]
fn channels_do_not_touch_each_other() {
    let (count, gamma, beta) = (150, [0.3], [-0.7]);
    for cols in [2, 16, 17, 40] {
        let mut x = matrix(count, cols, 16, 3);
        for (c, bad) in [(cols - 1, f32::NAN), (0, 1e38), (cols / 2, f32::INFINITY)] {
            x.iter_mut().skip(c).step_by(cols).for_each(|x| *x = bad);
        }
        let shape = rows(count, cols);
        for backend in backends() {
            let operation = BatchNorm::new().with_eps(0.0).with_backend(backend);
            let train = |x: &[f32]| {
                let (mut y, gamma, beta) = (x.to_vec(), gamma.repeat(cols), beta.repeat(cols));
                let args = TrainArgs::new().affine(&gamma, &beta);
                operation.forward_training(InOut::in_place(&mut y), shape, args).unwrap();
                y
            };
            let together = train(&x);
            for c in 0..cols {
                let column = reference::column(&x, cols, c);
                let copies: Vec<f32> =
                    column.iter().flat_map(|&x| std::iter::repeat_n(x, cols)).collect();
                let expected = reference::column(&train(&copies), cols, 0);
                let what = format!("{backend}, {cols} columns, column {c}");
                assert_same(&what, &expected, &reference::column(&together, cols, c));
            }
        }
    }
}

/// A NaN or an infinity makes its own column NaN and changes no bit of another.
#[test]
fn non_finite_values_stay_in_their_column() {
    let (count, cols) = (150, 37);
    let clean = Random::new(1).normals(count * cols);
    for backend in backends() {
        let operation = ColumnMoments::new().with_backend(backend);
        let expected = moments_of(operation, &clean, (count, cols));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (row, column) in [(0, 0), (9, 3), (70, 20), (120, 7), (149, 36)] {
                let mut x = clean.clone();
                x[row * cols + column] = bad;
                let moments = moments_of(operation, &x, (count, cols));
                for c in 0..cols {
                    if c == column {
                        assert!(moments[c].m2.is_nan() && moments[c].mean.is_nan());
                    } else {
                        assert_eq!(moments[c], expected[c]);
                    }
                }
            }
        }
    }
}

#[test]
fn constant_columns_equal_beta() {
    for count in row_counts() {
        let constants = [0.0, 1e7, 0.1, -1.234_567_9, 1e-40, 1e30, f32::MAX, f32::MIN];
        let x = constants.repeat(count);
        let beta = Random::new(2).normals(8);
        let gamma = Random::new(3).normals(8);
        for backend in backends() {
            for eps in [1e-5, 0.0, 1e-300] {
                let (mut y, mut mean, mut rstd) = (x.clone(), [0.0; 8], [0.0; 8]);
                let args = TrainArgs::new().affine(&gamma, &beta).stats(&mut mean, &mut rstd);
                BatchNorm::new()
                    .with_eps(eps)
                    .with_backend(backend)
                    .forward_training(InOut::in_place(&mut y), rows(count, 8), args)
                    .unwrap();
                assert_eq!(mean, constants.map(f64::from));
                assert_eq!(y, beta.repeat(count), "{backend}, {count} rows, eps {eps}");
            }
        }
    }
}

#[test]
fn parallel_gives_the_bits_of_serial() {
    let shapes = [(4099, 100), (200_003, 3), (40_000, 16), (1100, 1041), (130, 5000)];
    for &(count, cols) in if short() { &shapes[..1] } else { &shapes } {
        let (shape, random) = (rows(count, cols), &mut Random::new(cols as u64));
        let x: Vec<f32> = (0..count * cols).map(|_| random.mantissa() - 1.4).collect();
        let (gamma, beta) = (random.normals(cols), random.normals(cols));
        let run = |parallelism| {
            let operation = BatchNorm::new().with_parallelism(parallelism);
            let (mut y, mut mean, mut rstd) =
                (vec![0.0; x.len()], vec![0.0; cols], vec![0.0; cols]);
            let (mut running_mean, mut running_var) = (vec![0.0; cols], vec![1.0; cols]);
            let args = TrainArgs::new()
                .affine(&gamma, &beta)
                .stats(&mut mean, &mut rstd)
                .running(&mut running_mean, &mut running_var);
            operation.forward_training(InOut::new(&x, &mut y), shape, args).unwrap();
            let mut inference = vec![0.0; x.len()];
            let (io, args) = (InOut::new(&x, &mut inference), NormArgs::new());
            operation.forward_inference(io, shape, &running_mean, &running_var, args).unwrap();
            let all = [y, running_mean, running_var, inference].concat();
            (all.into_iter().map(bits).collect::<Vec<_>>(), mean, rstd)
        };
        let expected = run(Parallelism::Serial);
        let largest = rayon::ThreadPoolBuilder::new().num_threads(16).build().unwrap();
        for tasks in [0, 1, 2, 3, 7, 16] {
            let got = largest.install(|| run(Parallelism::AtMost(tasks)));
            assert!(got == expected, "{count}x{cols}, {tasks} tasks");
        }
        for threads in [1, 2, 3, 7, 16] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let in_pool = pool.install(|| run(Parallelism::Auto));
            assert!(in_pool == expected, "{count}x{cols}, a pool of {threads}");
        }
    }
}

/// One batch of a channel with mean 2 and population variance 1, unbiased 2.
fn running_after(operation: BatchNorm, mean: f32, var: f32) -> (f32, f32) {
    running_after_batch(&[1.0, 3.0], operation, mean, var)
}

/// One batch of a channel.
fn running_after_batch(x: &[f32], operation: BatchNorm, mean: f32, var: f32) -> (f32, f32) {
    let (mut running_mean, mut running_var) = ([mean], [var]);
    let args = TrainArgs::new().running(&mut running_mean, &mut running_var);
    let mut y = vec![0.0; x.len()];
    operation.forward_training(InOut::new(x, &mut y), rows(x.len(), 1), args).unwrap();
    (running_mean[0], running_var[0])
}

#[test]
fn running_statistics_follow_their_rule() {
    let batch_norm = BatchNorm::new();
    assert_eq!(running_after(batch_norm, 10.0, 5.0), (9.2, 4.6));
    assert_eq!(running_after(batch_norm.with_momentum(0.75), 10.0, 5.0), (8.0, 4.0));
    assert_eq!(running_after(batch_norm.with_momentum(0.0), 10.0, 5.0), (2.0, 1.0));
    assert_eq!(running_after(batch_norm.with_momentum(1.0), 10.0, 5.0), (10.0, 5.0));
    let pytorch = batch_norm.with_pytorch_momentum(0.25).with_unbiased_running_var(true);
    assert_eq!(running_after(pytorch, 10.0, 6.0), (8.0, 5.0));
    // Of two rows, to divide by n - 1 is to multiply with it.
    let last = pytorch.with_pytorch_momentum(1.0);
    assert_eq!(running_after_batch(&[1.0, 2.0, 3.0, 2.0, 2.0], last, 10.0, 6.0), (2.0, 0.5));
    let cumulative = |batches| batch_norm.with_cumulative_average(batches);
    assert_eq!(running_after(cumulative(0), 10.0, 5.0), (2.0, 1.0));
    assert_eq!(running_after(cumulative(3), 10.0, 5.0), (8.0, 4.0));
}

/// No rows are fine: their statistics are 0, and running ones stay. One row is fine too, unless the variance is to be
/// unbiased.
#[test]
fn few_rows() {
    let mut running = ([3.0_f32], [4.0_f32]);
    let mut stats = ([7.0], [8.0]);
    let mut train = |operation: BatchNorm, x: &[f32], running: &mut ([f32; 1], [f32; 1])| {
        let mut y = vec![0.0; x.len()];
        let args = TrainArgs::new()
            .beta(&[0.5_f32])
            .stats(&mut stats.0, &mut stats.1)
            .running(&mut running.0, &mut running.1);
        let io = InOut::new(x, &mut y);
        operation.forward_training(io, rows(x.len(), 1), args).map(drop).map(|()| (y, stats))
    };
    let unbiased = BatchNorm::new().with_unbiased_running_var(true);
    assert_eq!(train(unbiased, &[], &mut running), Ok((vec![], ([0.0], [0.0]))));
    assert_eq!(running, ([3.0], [4.0]));
    let error = train(unbiased, &[5.0], &mut running);
    assert!(matches!(error, Err(Error::TooFewRows { expected: 2, got: 1, .. })), "{error:?}");
    assert_eq!(running, ([3.0], [4.0]));
    let of_one = train(BatchNorm::new().with_momentum(0.5), &[5.0], &mut running);
    assert_eq!(of_one.map(|(y, _)| y), Ok(vec![0.5]));
    assert_eq!(running, ([4.0], [2.0]));

    // The moments of no rows are those of nothing.
    let mut moments = [Moments { count: 9, ..Moments::new() }];
    let (operation, none) = (ColumnMoments::new(), [0.0_f32; 0]);
    assert_eq!(operation.compute(&none, rows(0, 1), &mut moments, MomentArgs::new()), Ok(()));
    assert_eq!(moments, [Moments::new()]);
    assert_eq!(operation.compute(&none, rows(5, 0), &mut [], MomentArgs::new()), Ok(()));
}

/// Law: normalise-scale-shift by the f64 statistics of a batch has the bits of BatchNorm's training, in every layout, at mean / std
/// 1e6, and is within the bound. With a running mean in f32 the same y is off by more than 1e-2.
#[test]
fn given_f64_statistics_give_the_bits_of_training_far_from_zero() {
    let (batch, channels, positions) = (3, 37, 50);
    let random = &mut Random::new(9);
    let x: Vec<f32> =
        random.normals(batch * channels * positions).iter().map(|x| x + 1e6).collect();
    let (gamma, beta) = (random.normals(channels), random.normals(channels));
    let shapes = [
        Channels::first(batch, channels, positions).unwrap(),
        Channels::last(batch, positions, channels).unwrap(),
        rows(batch * positions, channels).into(),
    ];
    let channel = |shape: Channels, i: usize| {
        if shape.is_last() { i % channels } else { i / positions % channels }
    };
    for (shape, backend) in with_backends(shapes) {
        let (what, args) =
            (format!("{backend}, {shape:?}"), || NormArgs::new().affine(&gamma, &beta));
        let [mut trained, mut y, mut inferred] = [(); 3].map(|()| vec![f32::NAN; x.len()]);
        let (mut mean, mut rstd) = (vec![0.0; channels], vec![0.0; channels]);
        let (mut running_mean, mut running_var) = (vec![0.0; channels], vec![0.0; channels]);
        let operation = BatchNorm::new().with_momentum(0.0).with_backend(backend);
        let training = TrainArgs::new()
            .affine(&gamma, &beta)
            .stats(&mut mean, &mut rstd)
            .running(&mut running_mean, &mut running_var);
        operation.forward_training(InOut::new(&x, &mut trained), shape, training).unwrap();
        let given = Statistics::of_columns(&mean, &rstd);
        NormalizeScaleShift::new()
            .with_backend(backend)
            .forward(InOut::new(&x, &mut y), shape, given, args())
            .unwrap();
        assert_same(&what, &trained, &y);
        let io = InOut::new(&x, &mut inferred);
        operation.forward_inference(io, shape, &running_mean, &running_var, args()).unwrap();
        let mut largest = 0.0_f64;
        for (i, (&x, &y)) in x.iter().zip(&y).enumerate() {
            let c = channel(shape, i);
            let x_hat = (f64::from(x) - mean[c]) * rstd[c];
            let (gamma, beta) = (f64::from(gamma[c]), f64::from(beta[c]));
            let bound = 1e-6 * (gamma.abs() * x_hat.abs().max(1.0) + beta.abs());
            let error = (f64::from(y) - (gamma * x_hat + beta)).abs();
            assert!(error <= bound, "{what}, element {i}: {error:e} of {bound:e}");
            largest = largest.max((f64::from(inferred[i]) - f64::from(y)).abs());
        }
        assert!((1e-2..0.2).contains(&largest), "{what}: {largest}");
    }
}
