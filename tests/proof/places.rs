//! A batch that lies in several places: moments merge to those of the whole, and BatchNorm in its parts is BatchNorm.
#![forbid(unsafe_code)]

use approx::assert_abs_diff_eq;
use evenkeel::{
    BatchNorm, Channels, ColumnMoments, Error, GradArgs, GradientSums, InOut, Mask, MomentArgs,
    Moments, NormalizeScaleShift, Statistics, TrainArgs, ValidRows,
};

use crate::columns::moments_of;
use crate::common::*;

/// The moments of parts of some rows, one after another.
fn of_parts(operation: ColumnMoments, x: &[f32], cols: usize, cuts: &[usize]) -> Vec<Moments> {
    let part = |cut: &[usize]| {
        moments_of(operation, &x[cut[0] * cols..cut[1] * cols], (cut[1] - cut[0], cols))
    };
    cuts.windows(2).flat_map(part).collect()
}

fn merged(operation: ColumnMoments, parts: &[Moments], cols: usize) -> Vec<Moments> {
    let mut moments = vec![Moments { count: 7, ..Moments::new() }; cols];
    operation.merge(parts, &mut moments).unwrap();
    moments
}

/// Law: parts of one power of two of blocks each, of which the last may have fewer, have the bits of the whole.
#[test]
fn parts_of_a_power_of_two_of_blocks_have_the_bits_of_the_whole() {
    let random = &mut Random::new(31);
    for cols in [1, 5, 16, 100, 256, 300] {
        let block = ColumnMoments::block_rows(cols);
        for blocks in [1, 2, 4] {
            for places in [1, 2, 3, 5, 8] {
                let each = block * blocks;
                for last in [each, each - 1, block / 2 + 1, 1] {
                    let rows = each * (places - 1) + last;
                    if rows * cols > if short() { 100_000 } else { 400_000 } {
                        continue;
                    }
                    let x: Vec<f32> =
                        random.normals(rows * cols).iter().map(|x| x * 3.0 + 1e3).collect();
                    let cuts: Vec<usize> = (0..=places).map(|i| rows.min(i * each)).collect();
                    for backend in backends() {
                        let operation = ColumnMoments::new().with_backend(backend);
                        let whole = moments_of(operation, &x, (rows, cols));
                        let parts = of_parts(operation, &x, cols, &cuts);
                        let got = merged(operation, &parts, cols);
                        assert_eq!(got, whole, "{backend}, {cols} columns, {blocks} x {places}");
                    }
                }
            }
        }
    }
}

/// Law: a power of two of neighbouring parts can be merged first, as two levels of collectives do: the same bits.
#[test]
fn merged_groups_merge_to_the_same_bits() {
    let random = &mut Random::new(36);
    let mut one = || Moments {
        count: 1 + random.below(70) as u64,
        mean: random.normal(),
        m2: random.normal().abs(),
        ..Moments::new()
    };
    for (cols, backend) in with_backends([1, 16, 37]) {
        let operation = ColumnMoments::new().with_backend(backend);
        for places in 1..=17 {
            let parts: Vec<Moments> = (0..places * cols).map(|_| one()).collect();
            let expected = merged(operation, &parts, cols);
            for group in [1, 2, 4, 8] {
                let groups = parts.chunks(group * cols);
                let of_groups: Vec<Moments> =
                    groups.flat_map(|parts| merged(operation, parts, cols)).collect();
                let got = merged(operation, &of_groups, cols);
                assert_eq!(got, expected, "{backend}, {places} parts in groups of {group}");
            }
        }
    }
}

/// Law: parts that begin at blocks are within 1e-12 of the whole, and any parts within the accuracy of one call.
#[test]
fn any_parts_are_the_whole() {
    let random = &mut Random::new(32);
    let (cols, blocks) = (270, 9);
    let (block, rows) = (ColumnMoments::block_rows(cols), 9 * ColumnMoments::block_rows(cols));
    for scale in [0.0, 1.0, 1e4] {
        let x: Vec<f32> = random.normals(rows * cols).iter().map(|x| x + scale).collect();
        for (trial, backend) in with_backends(0..6) {
            let operation = ColumnMoments::new().with_backend(backend);
            let whole = moments_of(operation, &x, (rows, cols));
            let aligned = trial < 3;
            let mut cuts: Vec<usize> = (0..5)
                .map(|_| if aligned { random.below(blocks) * block } else { random.below(rows) })
                .chain([0, rows])
                .collect();
            cuts.sort_unstable();
            let got = merged(operation, &of_parts(operation, &x, cols, &cuts), cols);
            for (got, whole) in got.iter().zip(&whole) {
                let std = whole.population_variance().unwrap().sqrt();
                let (of_mean, of_m2) = if aligned { (1e-12, 1e-12) } else { (1e-6, 2e-6) };
                assert_eq!(got.count, whole.count);
                let mean_bound = of_mean * std + 2.0 * f64::EPSILON * whole.mean.abs();
                assert_abs_diff_eq!(got.mean, whole.mean, epsilon = mean_bound);
                assert_abs_diff_eq!(got.m2, whole.m2, epsilon = of_m2 * whole.m2);
            }
        }
    }
}

/// Law: with channels first a sample is a block: parts of a power of two of samples have the bits of the whole. Padding too.
#[test]
fn samples_of_channels_that_come_first_merge_to_the_bits_of_the_whole() {
    let (channels, positions) = (19, 70);
    let random = &mut Random::new(33);
    for (each, places) in [(1, 1), (1, 3), (2, 4), (4, 3)] {
        let batch = each * places;
        let x = random.normals(batch * channels * positions);
        let lengths: Vec<usize> = (0..batch).map(|i| i * 31 % (positions + 1)).collect();
        for (pads, backend) in with_backends([false, true]) {
            let operation = ColumnMoments::new().with_backend(backend);
            let of = |from: usize, to: usize| {
                let (mut moments, mut args) = (vec![Moments::new(); channels], MomentArgs::new());
                if pads {
                    let lengths = &lengths[from..to];
                    args = args.valid(ValidRows::Lengths { lengths, steps: positions });
                }
                let shape = Channels::first(to - from, channels, positions).unwrap();
                let x = &x[from * channels * positions..to * channels * positions];
                operation.compute(x, shape, &mut moments, args).unwrap();
                moments
            };
            let parts: Vec<Moments> =
                (0..places).flat_map(|i| of(i * each, i * each + each)).collect();
            let what = format!("{backend}, {each} x {places}, padding {pads}");
            assert_eq!(merged(operation, &parts, channels), of(0, batch), "{what}");
        }
    }
}

/// Data: parts without values change nothing, wherever they are; of nothing, the result is nothing; columns have their own counts.
#[test]
fn empty_parts_change_nothing() {
    let none = Moments::new();
    let some = |i: u64| Moments { count: 3 + i, mean: 1e300 / i as f64, m2: 5.0, ..none };
    for (cols, backend) in with_backends([1, 16, 19]) {
        let operation = ColumnMoments::new().with_backend(backend);
        let alone: Vec<Moments> = (1..=cols as u64).map(some).collect();
        for place in 0..4 {
            let mut parts = vec![none; 4 * cols];
            parts[place * cols..][..cols].copy_from_slice(&alone);
            assert_eq!(merged(operation, &parts, cols), alone, "{backend}, place {place}");
        }
        // Every other column of either part is empty.
        let parts: Vec<Moments> = (0..2 * cols)
            .map(|i| if (i / cols + i % cols) % 2 == 0 { alone[i % cols] } else { none })
            .collect();
        assert_eq!(merged(operation, &parts, cols), alone, "{backend}");
        assert_eq!(merged(operation, &vec![none; 3 * cols], cols), vec![none; cols], "{backend}");
        assert_eq!(merged(operation, &[], cols), vec![none; cols], "{backend}");
        let full = Moments { count: u64::MAX, mean: 2.0, ..none };
        let got = merged(operation, &vec![full; 2 * cols], cols);
        assert_eq!(got, vec![full; cols], "{backend}");
    }
    ColumnMoments::new().merge(&[], &mut []).unwrap();
}

/// Errors: lengths that do not fit, and a negative m2. Nothing is written.
#[test]
fn parts_that_do_not_fit() {
    let (one, operation) = (Moments { count: 2, m2: 1.0, ..Moments::new() }, ColumnMoments::new());
    let mut moments = [one; 3];
    for len in [1, 2, 4, 5, 7] {
        let expected = if len < 3 {
            3
        } else if len < 6 {
            6
        } else {
            9
        };
        let error = Error::Length { arg: "parts", expected, got: len };
        assert_eq!(operation.merge(&vec![Moments::new(); len], &mut moments), Err(error));
    }
    let error = Error::Length { arg: "parts", expected: 0, got: 1 };
    assert_eq!(operation.merge(&[one], &mut []), Err(error));
    let wrong = Moments { m2: -1.0, ..one };
    let error = operation.merge(&[one, wrong, one], &mut moments).unwrap_err();
    assert!(matches!(error, Error::Parameter { arg: "parts", got: -1.0, .. }), "{error}");
    assert_eq!(moments, [one; 3]);
}

/// The layouts of a batch of 37 channels, and of one with more than 256.
fn layouts() -> [Channels; 4] {
    [
        rows(130, 37).into(),
        Channels::last(5, 26, 37).unwrap(),
        Channels::first(5, 37, 26).unwrap(),
        rows(70, 530).into(),
    ]
}

/// y, mean, rstd and the running statistics.
type Step = (Vec<f32>, [Vec<f64>; 2], [Vec<f32>; 2]);

/// Training in three steps.
fn in_parts(
    operation: BatchNorm,
    shape: Channels,
    x: &[f32],
    valid: Option<ValidRows<'_>>,
    affine: [&[f32]; 2],
) -> Step {
    let channels = shape.channels();
    let (mut moments, mut args) = (vec![Moments::new(); channels], MomentArgs::new());
    let mut norm = norm_args(Some(affine[0]), Some(affine[1]));
    if let Some(valid) = valid {
        (args, norm) = (args.valid(valid), norm.valid(valid));
    }
    ColumnMoments::new().compute(x, shape, &mut moments, args).unwrap();
    let (mut mean, mut rstd) = (vec![7.0; channels], vec![7.0; channels]);
    let mut running = [vec![0.5; channels], vec![2.0; channels]];
    let [running_mean, running_var] = &mut running;
    let args = TrainArgs::new().stats(&mut mean, &mut rstd).running(running_mean, running_var);
    operation.training_statistics(&moments, args).unwrap();
    let mut y = vec![7.0; x.len()];
    let (io, statistics) = (InOut::new(x, &mut y), Statistics::of_columns(&mean, &rstd));
    NormalizeScaleShift::new().forward(io, shape, statistics, norm).unwrap();
    (y, [mean, rstd], running)
}

fn at_once(
    operation: BatchNorm,
    shape: Channels,
    x: &[f32],
    valid: Option<ValidRows<'_>>,
    affine: [&[f32]; 2],
) -> Step {
    let channels = shape.channels();
    let (mut mean, mut rstd) = (vec![7.0; channels], vec![7.0; channels]);
    let mut running = [vec![0.5; channels], vec![2.0; channels]];
    let [running_mean, running_var] = &mut running;
    let mut args = train_args(Some(affine[0]), Some(affine[1])).stats(&mut mean, &mut rstd);
    args = args.running(running_mean, running_var);
    if let Some(valid) = valid {
        args = args.valid(valid);
    }
    let mut y = vec![7.0; x.len()];
    operation.forward_training(InOut::new(x, &mut y), shape, args).unwrap();
    (y, [mean, rstd], running)
}

/// Law: moments, statistics and apply have the bits of a training step, in every layout, with padding, by every rule.
#[test]
fn training_in_three_steps_has_the_bits_of_one() {
    let random = &mut Random::new(34);
    for shape in layouts() {
        let x: Vec<f32> = random.normals(shape.elements()).iter().map(|x| x * 2.0 - 30.0).collect();
        let gamma = random.normals(shape.channels());
        let beta = random.normals(shape.channels());
        let positions = shape.elements() / shape.channels();
        let mask: Vec<u8> = (0..positions).map(|r| u8::from(r % 3 != 1)).collect();
        let none = vec![0; positions];
        let base = BatchNorm::new().with_eps(1e-3);
        for operation in [
            base,
            base.with_pytorch_momentum(0.3).with_unbiased_running_var(true),
            base.with_cumulative_average(4).with_skip_non_finite_updates(true),
        ] {
            for mask in [None, Some(&mask), Some(&none)] {
                let valid = mask.map(|mask| ValidRows::Mask(Mask::Bytes(mask)));
                let affine = [&gamma[..], &beta[..]];
                let got = in_parts(operation, shape, &x, valid, affine);
                let expected = at_once(operation, shape, &x, valid, affine);
                assert!(got == expected, "{shape:?}, {operation:?}, {mask:?}");
            }
        }
    }
}

/// Law: a batch in places, one of which is empty and one of which has a row, has the gradients of one place.
#[test]
fn gradients_of_places_are_those_of_one() {
    let (rows_of, cols) = (193, 37);
    let random = &mut Random::new(35);
    let (x, dy) = (random.normals(rows_of * cols), random.normals(rows_of * cols));
    let (gamma, shape) = (random.normals(cols), rows(rows_of, cols));
    let operation = BatchNorm::new();
    let moments = moments_of(ColumnMoments::new(), &x, (rows_of, cols));
    let (mut mean, mut rstd) = (vec![0.0; cols], vec![0.0; cols]);
    let args = TrainArgs::new().stats(&mut mean, &mut rstd);
    operation.training_statistics(&moments, args).unwrap();
    let mut expected = vec![0.0; x.len()];
    let args = GradArgs::new().gamma(&gamma).stats(&mean, &rstd);
    operation.backward(InOut::new(&dy, &mut expected), &x, shape, args).unwrap();

    let cuts = [0, 64, 64, 65, rows_of];
    let part = |cut: &[usize]| (cut[0] * cols..cut[1] * cols, rows(cut[1] - cut[0], cols));
    let (mut of_dy, mut of_x_hat) = (vec![0.0; cols], vec![0.0; cols]);
    for cut in cuts.windows(2) {
        let (range, shape) = part(cut);
        let args = GradArgs::new().stats(&mean, &rstd);
        let args = args.add_dbeta(&mut of_dy).add_dgamma(&mut of_x_hat);
        let (io, x) = (InOut::<f32, f32>::read_only(&dy[range.clone()]), &x[range]);
        operation.backward(io, x, shape, args).unwrap();
    }
    let sums = GradientSums::new(rows_of as u64, &of_dy, &of_x_hat);
    for cut in cuts.windows(2) {
        let (range, shape) = part(cut);
        let mut dx = vec![0.0; range.len()];
        let args = GradArgs::new().gamma(&gamma).stats(&mean, &rstd);
        let io = InOut::new(&dy[range.clone()], &mut dx);
        operation.backward_apply(io, &x[range.clone()], shape, sums, args).unwrap();
        for (got, expected) in dx.iter().zip(&expected[range]) {
            assert_abs_diff_eq!(*got, *expected, epsilon = 2e-6);
        }
    }
}

/// Errors: statistics of training, each argument wrong; nothing is written.
#[test]
fn statistics_that_do_not_fit() {
    let of = |count, m2| Moments { count, mean: 1.0, m2, ..Moments::new() };
    let attempt = |operation: BatchNorm, moments: &[Moments], running: [f32; 300]| {
        let (mut mean, mut rstd) = ([7.0; 300], [7.0; 300]);
        let (mut running_mean, mut running_var) = ([7.0; 300], running);
        let args = TrainArgs::new().stats(&mut mean, &mut rstd);
        let args = args.running(&mut running_mean, &mut running_var);
        let result = operation.training_statistics(moments, args);
        assert_eq!((mean, rstd, running_mean), ([7.0; 300], [7.0; 300], [7.0; 300]));
        assert_eq!(running_var, running);
        result.unwrap_err()
    };
    let (norm, right, one) = (BatchNorm::new(), vec![of(4, 2.0); 300], [1.0; 300]);
    let with = |at: usize, other| {
        let mut moments = right.clone();
        moments[at] = other;
        moments
    };
    let error = attempt(norm.with_eps(-1.0), &right, one);
    assert!(matches!(error, Error::Parameter { arg: "eps", .. }), "{error}");
    let error = attempt(norm.with_momentum(1.5), &right, one);
    assert!(matches!(error, Error::Parameter { arg: "momentum", .. }), "{error}");
    let error = attempt(norm, &with(299, of(5, 2.0)), one);
    assert!(matches!(error, Error::Parameter { arg: "moments", got: 5.0, .. }), "{error}");
    let error = attempt(norm, &with(7, of(4, -2.0)), one);
    assert!(matches!(error, Error::Parameter { arg: "moments", got: -2.0, .. }), "{error}");
    let error = attempt(norm, &right, [-1.0; 300]);
    assert!(matches!(error, Error::Parameter { arg: "running_var", .. }), "{error}");
    let error = attempt(norm, &right[1..], one);
    assert!(matches!(error, Error::Length { expected: 299, got: 300, .. }), "{error}");
    let unbiased = norm.with_unbiased_running_var(true);
    let error = attempt(unbiased, &vec![of(1, 0.0); 300], one);
    assert!(matches!(error, Error::TooFewRows { expected: 2, got: 1, .. }), "{error}");
    // In any vector of the channels, also beyond those that are gathered at a time.
    for channel in [0, 17, 255, 256, 299] {
        let error = attempt(norm, &with(channel, of(4, 4e50)), one);
        let Error::StatisticOverflow { arg: "running_var", channel: c, got } = error else {
            panic!("{channel}: {error}")
        };
        assert_eq!(c, channel);
        assert!((9e48..1.1e49).contains(&got), "{got}");
    }
    let mut scratch = [7.0; 9000];
    let beside = [
        ("gamma", TrainArgs::new().gamma(&[1.0_f32; 300])),
        ("beta", TrainArgs::new().beta(&[1.0_f32; 300])),
        ("valid", TrainArgs::new().valid(ValidRows::Mask(Mask::Bytes(&[1; 4])))),
        ("scratch", TrainArgs::new().scratch(&mut scratch)),
    ];
    for (arg, args) in beside {
        let expected = Err(Error::Unsupported { arg });
        assert_eq!(norm.training_statistics(&right, args), expected, "{arg}");
    }
    let shape = Channels::first(2, 3, 4).unwrap();
    let (mut moments, args) = ([of(9, 1.0); 3], MomentArgs::new().x_pitch(5));
    let result = ColumnMoments::new().compute(&[0.0_f32; 24], shape, &mut moments, args);
    assert_eq!(result, Err(Error::Unsupported { arg: "x_pitch" }));
    let result =
        ColumnMoments::new().compute(&[0.0_f32; 23], shape, &mut moments, MomentArgs::new());
    assert_eq!(result, Err(Error::Length { arg: "x", expected: 24, got: 23 }));
    assert_eq!(moments, [of(9, 1.0); 3]);
}

/// Data: with running statistics alone, these move, without a forward pass; of nothing, they stay, and statistics are 0.
#[test]
fn running_statistics_move_without_a_forward_pass() {
    let moments = [Moments { count: 4, mean: 3.0, m2: 12.0, ..Moments::new() }];
    let (mut mean, mut var) = ([1.0], [1.0]);
    let norm = BatchNorm::new().with_pytorch_momentum(0.5).with_unbiased_running_var(true);
    let args = TrainArgs::new().running(&mut mean, &mut var);
    norm.training_statistics(&moments, args).unwrap();
    assert_eq!((mean, var), ([2.0], [2.5]));
    let (mut of_mean, mut of_rstd) = ([7.0], [7.0]);
    let args = TrainArgs::new().running(&mut mean, &mut var).stats(&mut of_mean, &mut of_rstd);
    norm.training_statistics(&[Moments::new()], args).unwrap();
    assert_eq!((mean, var, of_mean, of_rstd), ([2.0], [2.5], [0.0], [0.0]));
    norm.training_statistics(&[], TrainArgs::new()).unwrap();
}
