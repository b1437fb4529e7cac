//! The running statistics of BatchNorm where f32 cannot hold them, and where a batch is not finite. Every layout, with padding.
#![forbid(unsafe_code)]

use evenkeel::{BatchNorm, Channels, Error, InOut, Mask, TrainArgs, ValidRows};

use crate::common::*;

const CHANNELS: usize = 37;
/// Samples, and positions of a sample.
const SHAPE: (usize, usize) = (3, 5);

/// x, y, mean, rstd, running mean and running variance of a step.
type Step = (Vec<f32>, Vec<f64>, Vec<f64>, Vec<f32>, Vec<f32>);

/// Channels last of x, and channels first. Rows are those of channels last.
fn layouts(x: &[f32]) -> [(&'static str, Channels, Vec<f32>); 3] {
    let (batch, positions) = SHAPE;
    let mut first = vec![0.0; x.len()];
    for (i, &x) in x.iter().enumerate() {
        let (row, c) = (i / CHANNELS, i % CHANNELS);
        let (sample, position) = (row / positions, row % positions);
        first[(sample * CHANNELS + c) * positions + position] = x;
    }
    [
        ("rows", rows(batch * positions, CHANNELS).into(), x.to_vec()),
        ("channels last", Channels::last(batch, positions, CHANNELS).unwrap(), x.to_vec()),
        ("channels first", Channels::first(batch, CHANNELS, positions).unwrap(), first),
    ]
}

/// A step from a running mean of 0.5 and a running variance of `before`.
fn step(
    operation: BatchNorm,
    (shape, x): (Channels, &[f32]),
    valid: Option<&[u8]>,
    before: f32,
) -> (Result<(), Error>, Step) {
    let (mut y, mut mean, mut rstd) =
        (vec![7.0; x.len()], vec![7.0; CHANNELS], vec![7.0; CHANNELS]);
    let (mut running_mean, mut running_var) = (vec![0.5; CHANNELS], vec![before; CHANNELS]);
    let mut args =
        TrainArgs::new().stats(&mut mean, &mut rstd).running(&mut running_mean, &mut running_var);
    if let Some(valid) = valid {
        args = args.valid(ValidRows::Mask(Mask::Bytes(valid)));
    }
    let result = operation.forward_training(InOut::new(x, &mut y), shape, args).map(drop);
    (result, (y, mean, rstd, running_mean, running_var))
}

/// Normal data, of which a channel is 1e25 and 3e25 in turn: its variance is 1e50.
fn too_large(channel: usize) -> Vec<f32> {
    let mut x = Random::new(5).normals(SHAPE.0 * SHAPE.1 * CHANNELS);
    for (r, row) in x.chunks_exact_mut(CHANNELS).enumerate() {
        row[channel] = if r % 2 == 0 { 1e25 } else { 3e25 };
    }
    x
}

/// Data: a finite batch whose variance f32 cannot hold is an error that names the first such channel, and nothing is written.
#[test]
fn a_running_variance_that_f32_cannot_hold_is_an_error() {
    for channel in [0, 15, 16, 36] {
        for (layout, shape, x) in layouts(&too_large(channel)) {
            for (valid, backend) in with_backends([None, Some(&[1_u8; 15][..])]) {
                let what = format!("{backend}, {layout}, channel {channel}, {valid:?}");
                let operation = BatchNorm::new().with_backend(backend);
                for operation in [
                    operation,
                    operation.with_skip_non_finite_updates(true),
                    operation.with_unbiased_running_var(true),
                    operation.with_pytorch_momentum(0.1),
                    operation.with_cumulative_average(9),
                ] {
                    let (result, written) = step(operation, (shape, &x), valid, 1.0);
                    let error = result.unwrap_err();
                    let Error::StatisticOverflow { arg: "running_var", channel: c, got } = error
                    else {
                        panic!("{what}: {error}")
                    };
                    assert_eq!(c, channel, "{what}");
                    assert!((9e48..1.1e49).contains(&got), "{what}: {got}");
                    let untouched = (
                        vec![7.0; x.len()],
                        vec![7.0; CHANNELS],
                        vec![7.0; CHANNELS],
                        vec![0.5; CHANNELS],
                        vec![1.0; CHANNELS],
                    );
                    assert!(written == untouched, "{what}: written");
                }
                // Without running statistics, with those that do not move, and with an infinite one there is no error.
                let mut y = vec![0.0; x.len()];
                operation
                    .forward_training(InOut::new(&x, &mut y), shape, TrainArgs::new())
                    .unwrap();
                step(operation.with_momentum(1.0), (shape, &x), valid, 1.0).0.unwrap();
                let (result, written) = step(operation, (shape, &x), valid, f32::INFINITY);
                assert_eq!(result, Ok(()), "{what}");
                assert_same(&what, &written.0, &y);
            }
        }
    }
}

/// Data: the largest variance that f32 holds is none too large. Two values a and -a have the variance a^2.
#[test]
fn the_largest_running_variance() {
    let (below, above) = (1.844_674_2e19_f32, 1.844_674_4e19_f32);
    assert!(
        (f64::from(below).powi(2) as f32).is_finite()
            && (f64::from(above).powi(2) as f32).is_infinite()
    );
    for backend in backends() {
        let operation = BatchNorm::new().with_backend(backend).with_momentum(0.0);
        for (a, fits) in [(below, true), (above, false)] {
            let (mut y, mut mean, mut var) = ([0.0; 2], [0.0], [1.0]);
            let args = TrainArgs::new().running(&mut mean, &mut var);
            let x = [a, -a];
            let result = operation.forward_training(InOut::new(&x, &mut y), rows(2, 1), args);
            assert_eq!(result.is_ok(), fits, "{backend}, {a}");
            let expected = if fits { (f64::from(a) * f64::from(a)) as f32 } else { 1.0 };
            assert_eq!(var, [expected], "{backend}, {a}");
        }
    }
}

/// Law: with the option, channels with a NaN or an infinity keep their running statistics, and nothing else changes by a bit.
#[test]
fn a_batch_that_is_not_finite_leaves_running_statistics_alone_if_asked() {
    let clean = Random::new(6).normals(SHAPE.0 * SHAPE.1 * CHANNELS);
    let mask: Vec<u8> = (0..SHAPE.0 * SHAPE.1).map(|r| u8::from(r % 4 != 1)).collect();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for channel in [0, 16, 36] {
            let mut x = clean.clone();
            x[7 * CHANNELS + channel] = bad;
            for (layout, shape, x) in layouts(&x) {
                for (valid, backend) in with_backends([None, Some(&mask[..])]) {
                    let what = format!("{backend}, {layout}, {bad} in channel {channel}");
                    let operation = BatchNorm::new().with_backend(backend);
                    let skips = operation.with_skip_non_finite_updates(true);
                    let (result, usual) = step(operation, (shape, &x), valid, 2.0);
                    let (skipped, kept) = step(skips, (shape, &x), valid, 2.0);
                    assert_eq!((result, skipped), (Ok(()), Ok(())), "{what}");
                    assert_same(&what, &usual.0, &kept.0);
                    assert!(
                        (usual.3[channel].is_nan(), usual.4[channel].is_nan()) == (true, true),
                        "{what}"
                    );
                    for (usual, kept, before) in [(usual.3, kept.3, 0.5), (usual.4, kept.4, 2.0)] {
                        for c in 0..CHANNELS {
                            let expected = if c == channel { before } else { usual[c] };
                            assert_eq!(bits(kept[c]), bits(expected), "{what}, of {c}");
                        }
                    }
                }
            }
        }
    }
}
