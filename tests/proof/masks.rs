//! Padding of normalisations: positions that are not data. They have no part in a statistic that they could have a part in,
//! their y is `+0.0`, and their own statistics are 0. `padding.rs` has that of columns.
#![forbid(unsafe_code)]

use evenkeel::{
    BatchNorm, Channels, Error, GroupNorm, InOut, InstanceNorm, LayerNorm, Mask, NormArgs,
    NormalizeScaleShift, Parallelism, RmsNorm, Statistics, Stores, TrainArgs, ValidRows, reference,
};

use crate::common::*;
use crate::padding::{Padded, RULES};

/// Asserts that y has the bits of a call without a mask where rows are valid, and that padding is `+0.0`. Elements between
/// rows at a pitch are NaN.
#[track_caller]
fn assert_rows(what: &str, valid: &[bool], cols: usize, pitch: usize, unmasked: &[f32], y: &[f32]) {
    let zeros = vec![0.0; cols];
    for (r, &valid) in valid.iter().enumerate() {
        let row = r * pitch..r * pitch + cols;
        let expected = if valid { &unmasked[r * cols..(r + 1) * cols] } else { &zeros };
        assert_same(&format!("{what}, row {r}"), expected, &y[row.clone()]);
        assert!(valid || y[row].iter().all(|y| y.to_bits() == 0), "{what}, row {r}: +0.0");
        let end = y.len().min((r + 1) * pitch);
        assert!(y[r * pitch + cols..end].iter().all(|y| y.is_nan()), "{what}, row {r}: after it");
    }
}

/// Asserts that statistics are those of a call without a mask where rows are valid, else 0.
#[track_caller]
fn assert_row_statistics(what: &str, valid: &[bool], unmasked: &[f64], got: &[f64]) {
    for (r, ((valid, unmasked), got)) in valid.iter().zip(unmasked).zip(got).enumerate() {
        let expected = if *valid { *unmasked } else { 0.0 };
        assert_eq!(bits64(*got), bits64(expected), "{what}, row {r}: statistics");
    }
}

/// Rows that are short, that are long, and enough of them for several tasks.
const ROWS: [(usize, usize); 6] = [(1, 1), (37, 5), (70, 64), (35, 300), (9, 2500), (2100, 100)];

/// Law: valid rows, and their statistics, have the bits of a call without a mask; padding is `+0.0`, its statistics 0. A sum is
/// written for every row. At a pitch nothing between rows is touched.
#[test]
fn rows_of_layer_norm_and_rms_norm() {
    let shapes = ROWS.into_iter().filter(|(count, cols)| !short() || count * cols < 50_000);
    for (shape, rule) in shapes.flat_map(|shape| RULES.map(|rule| (shape, rule))) {
        let padded = Padded::new(shape, rule);
        let ((count, cols), x, valid) = (padded.shape, &padded.x, &padded.valid);
        let (shape, random) = (rows(count, cols), &mut Random::new(cols as u64));
        let (gamma, beta) = (random.normals(cols), random.normals(cols));
        let [residual, gate, added] = [(); 3].map(|()| random.normals(count * cols));
        let args = || NormArgs::new().affine(&gamma, &beta);
        let more = || args().residual(&residual).gate(&gate).plus(&added);
        let pitch = cols + 3;
        for (parallelism, backend) in with_backends([Parallelism::Serial, Parallelism::Auto]) {
            let what = format!("{backend}, {parallelism:?}, {}", padded.name);
            for (i, mask) in padded.masks().into_iter().enumerate() {
                let stores = [Stores::Cached, Stores::NonTemporal][i];
                let layer_norm = LayerNorm::new()
                    .with_backend(backend)
                    .with_parallelism(parallelism)
                    .with_stores(stores);
                let rms_norm = RmsNorm::new()
                    .with_backend(backend)
                    .with_parallelism(parallelism)
                    .with_stores(stores);
                let [mut expected, mut y, mut sum, mut masked_sum] =
                    [(); 4].map(|()| vec![f32::NAN; x.len()]);
                let [mut mean, mut rstd, mut masked_mean, mut masked_rstd] =
                    [(); 4].map(|()| vec![f64::NAN; count]);

                let of_all = args().stats(&mut mean, &mut rstd);
                layer_norm.forward(InOut::new(x, &mut expected), shape, of_all).unwrap();
                let of_valid = args().stats(&mut masked_mean, &mut masked_rstd).valid(mask);
                layer_norm.forward(InOut::new(x, &mut y), shape, of_valid).unwrap();
                assert_rows(&what, valid, cols, cols, &expected, &y);
                assert_row_statistics(&what, valid, &mean, &masked_mean);
                assert_row_statistics(&what, valid, &rstd, &masked_rstd);
                let mut xy = x.clone();
                layer_norm.forward(InOut::in_place(&mut xy), shape, args().valid(mask)).unwrap();
                assert_same(&format!("{what}, in place"), &y, &xy);
                let mut wide = vec![f32::NAN; (count - 1) * pitch + cols];
                let io = InOut::strided(x, cols, &mut wide, pitch);
                layer_norm.forward(io, shape, args().valid(mask)).unwrap();
                assert_rows(&format!("{what}, at a pitch"), valid, cols, pitch, &expected, &wide);

                let of_all = more().sum(&mut sum).rstd(&mut rstd);
                rms_norm.forward(InOut::new(x, &mut expected), shape, of_all).unwrap();
                let of_valid = more().sum(&mut masked_sum).rstd(&mut masked_rstd).valid(mask);
                rms_norm.forward(InOut::new(x, &mut y), shape, of_valid).unwrap();
                assert_rows(&format!("{what}, RmsNorm"), valid, cols, cols, &expected, &y);
                assert_row_statistics(&what, valid, &rstd, &masked_rstd);
                assert_same(&format!("{what}, the sum"), &sum, &masked_sum);
            }
        }
    }
}

/// Law: so it is with given statistics, of rows and of columns; and a NaN among those of padding does not matter.
#[test]
fn rows_of_given_statistics() {
    let shapes = ROWS.into_iter().filter(|(count, cols)| !short() || count * cols < 50_000);
    for (shape, rule) in shapes.flat_map(|shape| RULES.map(|rule| (shape, rule))) {
        let padded = Padded::new(shape, rule);
        let ((count, cols), x, valid) = (padded.shape, &padded.x, &padded.valid);
        let (shape, random) = (rows(count, cols), &mut Random::new(cols as u64));
        let (gamma, beta) = (random.normals(cols), random.normals(cols));
        let args = || NormArgs::new().affine(&gamma, &beta);
        let of_rows: Vec<f64> =
            valid.iter().map(|&valid| if valid { random.normal() } else { f64::NAN }).collect();
        let of_columns: Vec<f64> = (0..cols).map(|_| random.normal()).collect();
        for (mask, backend) in with_backends(padded.masks()) {
            let operation = NormalizeScaleShift::new().with_backend(backend);
            for given in [
                Statistics::of_rows(&of_rows, &of_rows),
                Statistics::of_columns(&of_columns, &of_columns),
            ] {
                let what = format!("{backend}, {}, {given:?}", padded.name);
                let [mut expected, mut y] = [(); 2].map(|()| vec![f32::NAN; x.len()]);
                operation.forward(InOut::new(x, &mut expected), shape, given, args()).unwrap();
                let io = InOut::new(x, &mut y);
                operation.forward(io, shape, given, args().valid(mask)).unwrap();
                assert_rows(&what, valid, cols, cols, &expected, &y);
                let mut xy = x.clone();
                let io = InOut::in_place(&mut xy);
                operation.forward(io, shape, given, args().valid(mask)).unwrap();
                assert_same(&format!("{what}, in place"), &y, &xy);
            }
        }
    }
}

/// Batch, channels, positions: planes that are small, that fill vectors, that have several blocks; enough for several tasks.
const SAMPLES: [(usize, usize, usize); 7] =
    [(1, 1, 2), (3, 2, 5), (2, 17, 70), (5, 3, 300), (2, 5, 1100), (3, 4, 2500), (40, 40, 100)];

fn samples() -> impl Iterator<Item = (usize, usize, usize)> {
    SAMPLES.into_iter().filter(|(n, c, p)| !short() || n * c * p < 20_000)
}

/// Positions of samples of channels, as a matrix whose rows they are, in a layout.
#[derive(Clone, Copy, Debug)]
struct Layout {
    last: bool,
    channels: usize,
}

impl Layout {
    fn shape(self, batch: usize, positions: usize) -> Channels {
        if self.last {
            Channels::last(batch, positions, self.channels)
        } else {
            Channels::first(batch, self.channels, positions)
        }
        .unwrap()
    }

    /// A sample `[positions, channels]` in this layout.
    fn arranged<T: Copy>(self, sample: &[T]) -> Vec<T> {
        if self.last {
            return sample.to_vec();
        }
        let positions = sample.len() / self.channels;
        let element = |i: usize| sample[i % positions * self.channels + i / positions];
        (0..sample.len()).map(element).collect()
    }

    /// The way back.
    fn as_rows<T: Copy>(self, sample: &[T]) -> Vec<T> {
        let positions = sample.len() / self.channels;
        Self { last: self.last, channels: positions.max(1) }.arranged(sample)
    }

    /// The same of a batch.
    fn batch_arranged<T: Copy>(self, x: &[T], positions: usize) -> Vec<T> {
        x.chunks_exact(positions * self.channels).flat_map(|x| self.arranged(x)).collect()
    }

    fn batch_as_rows<T: Copy>(self, x: &[T], positions: usize) -> Vec<T> {
        x.chunks_exact(positions * self.channels).flat_map(|x| self.as_rows(x)).collect()
    }
}

/// An operation.
type Run<'a> =
    dyn for<'y> Fn(InOut<'_, 'y>, NormArgs<'_>) -> Result<&'y mut [f32], Error> + Sync + 'a;

/// An operation with padding.
type RunMasked<'a> =
    dyn for<'y> Fn(InOut<'_, 'y>, ValidRows<'_>) -> Result<&'y mut [f32], Error> + 'a;

/// Law: LayerNorm over channels: valid positions, and their statistics, have the bits of a call without a mask; padding is
/// `+0.0`, its statistics 0. Normalise-scale-shift and BatchNorm's inference, whose statistics are given: likewise.
#[test]
fn positions_that_do_not_count_for_each_other() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for ((batch, channels, positions), rule) in
        samples().flat_map(|shape| RULES.map(|rule| (shape, rule)))
    {
        let padded = Padded::new((batch * positions, channels), rule);
        let (valid, random) = (&padded.valid, &mut Random::new(channels as u64));
        let (gamma, beta) = (random.normals(channels), random.normals(channels));
        let (mean, var) = (random.normals(channels), random.normals(channels));
        let var: Vec<f32> = var.iter().map(|std| std * std).collect();
        let given: Vec<f64> = var.iter().map(|&x| f64::from(x) - 0.5).collect();
        let args = || NormArgs::new().affine(&gamma, &beta);
        for (last, backend) in with_backends([false, true]) {
            let layout = Layout { last, channels };
            let shape = layout.shape(batch, positions);
            let x = layout.batch_arranged(&padded.x, positions);
            let check = |what: &str, run: &Run<'_>| {
                let [mut all, mut y] = [(); 2].map(|()| vec![f32::NAN; x.len()]);
                run(InOut::new(&x, &mut all), args()).unwrap();
                let all = layout.batch_as_rows(&all, positions);
                for (i, mask) in padded.masks().into_iter().enumerate() {
                    let what = format!("{backend}, {}, {shape:?}, {what}, mask {i}", padded.name);
                    pool.install(|| run(InOut::new(&x, &mut y), args().valid(mask)).map(drop))
                        .unwrap();
                    let got = layout.batch_as_rows(&y, positions);
                    assert_rows(&what, valid, channels, channels, &all, &got);
                    let mut xy = x.clone();
                    run(InOut::in_place(&mut xy), args().valid(mask)).unwrap();
                    assert_same(&format!("{what}, in place"), &y, &xy);
                }
            };
            let layer_norm = LayerNorm::new().with_backend(backend);
            check("LayerNorm", &|io, args| layer_norm.forward(io, shape, args));
            let normalize = NormalizeScaleShift::new().with_backend(backend);
            check("normalise-scale-shift", &|io, args| {
                normalize.forward(io, shape, Statistics::of_columns(&given, &given), args)
            });
            let batch_norm = BatchNorm::new().with_backend(backend);
            check("BatchNorm, inference", &|io, args| {
                batch_norm.forward_inference(io, shape, &mean, &var, args)
            });

            let [mut mean, mut rstd, mut masked_mean, mut masked_rstd] =
                [(); 4].map(|()| vec![f64::NAN; batch * positions]);
            let mut y = vec![f32::NAN; x.len()];
            let of_all = NormArgs::new().stats(&mut mean, &mut rstd);
            layer_norm.forward(InOut::new(&x, &mut y), shape, of_all).unwrap();
            let of_valid = NormArgs::new().stats(&mut masked_mean, &mut masked_rstd);
            let of_valid = of_valid.valid(padded.masks()[0]);
            layer_norm.forward(InOut::new(&x, &mut y), shape, of_valid).unwrap();
            let what = format!("{backend}, {}, {shape:?}", padded.name);
            assert_row_statistics(&what, valid, &mean, &masked_mean);
            assert_row_statistics(&what, valid, &rstd, &masked_rstd);
        }
    }
}

/// Law: GroupNorm and InstanceNorm of padded samples have the bits of each sample without its padding, which becomes `+0.0`: in
/// either layout, for any mask, in place, on any number of threads. A sample that is all padding has 0 for its statistics.
#[test]
fn group_norm_has_the_bits_of_the_samples_without_padding() {
    let shapes = [(1, 1, 1)].into_iter().chain(samples());
    // On a machine of one core too.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for ((batch, channels, positions), rule) in
        shapes.flat_map(|shape| RULES.map(|rule| (shape, rule)))
    {
        let padded = Padded::new((batch * positions, channels), rule);
        let gamma: Vec<f32> = (0..channels).map(|c| 0.5 + c as f32).collect();
        let affine = || NormArgs::new().affine(&gamma, &gamma);
        // InstanceNorm, one group, and some where they divide the channels.
        let groups = [None, Some(1), Some(2), Some(5)].into_iter();
        let groups = groups.filter(|groups| channels.is_multiple_of(groups.unwrap_or(1)));
        for ((groups, last), backend) in
            with_backends(groups.flat_map(|groups| [false, true].map(|last| (groups, last))))
        {
            let what = &format!("{}, {batch} samples, {groups:?}, {last}, {backend}", padded.name);
            let (layout, statistics) = (Layout { last, channels }, groups.unwrap_or(channels));
            let norm = |parallelism, io: InOut<'_, '_>, shape, args: NormArgs<'_>| {
                if let Some(groups) = groups {
                    let norm = GroupNorm::new().with_groups(groups).with_backend(backend);
                    norm.with_parallelism(parallelism).forward(io, shape, args).map(drop)
                } else {
                    let norm = InstanceNorm::new().with_backend(backend);
                    norm.with_parallelism(parallelism).forward(io, shape, args).map(drop)
                }
                .unwrap();
            };

            let (mut x, mut expected, mut of_samples) = (vec![], vec![], [vec![], vec![]]);
            for (n, sample) in padded.x.chunks_exact(positions * channels).enumerate() {
                x.extend(layout.arranged(sample));
                let valid = &padded.valid[n * positions..][..positions];
                let rows = sample.chunks_exact(channels).zip(valid).filter(|(_, valid)| **valid);
                let compact: Vec<f32> = rows.flat_map(|(row, _)| row).copied().collect();
                let (mut y, count) = (layout.arranged(&compact), compact.len() / channels);
                let (mut mean, mut rstd) = (vec![0.0; statistics], vec![0.0; statistics]);
                if count > 0 {
                    let args = affine().stats(&mut mean, &mut rstd);
                    let shape = layout.shape(1, count);
                    norm(Parallelism::Serial, InOut::in_place(&mut y), shape, args);
                }
                of_samples[0].extend(mean);
                of_samples[1].extend(rstd);
                let y = layout.as_rows(&y);
                let mut y = y.chunks_exact(channels);
                let zeros = vec![0.0; channels];
                let spread: Vec<f32> = valid
                    .iter()
                    .flat_map(|&valid| if valid { y.next().unwrap() } else { &zeros })
                    .copied()
                    .collect();
                expected.extend(layout.arranged(&spread));
            }
            let shape = layout.shape(batch, positions);
            let [mask, other] = padded.masks();
            for parallelism in [Parallelism::Serial, Parallelism::Auto, Parallelism::AtMost(3)] {
                let [mut y, mut z] = [(); 2].map(|()| vec![7.0; x.len()]);
                let [mut mean, mut rstd] = [(); 2].map(|()| vec![7.0; batch * statistics]);
                let mut xy = x.clone();
                pool.install(|| {
                    let args = || affine().valid(mask);
                    norm(parallelism, InOut::new(&x, &mut z), shape, args());
                    let in_place = affine().valid(other);
                    norm(parallelism, InOut::in_place(&mut xy), shape, in_place);
                    let args = args().stats(&mut mean, &mut rstd);
                    norm(parallelism, InOut::new(&x, &mut y), shape, args);
                });
                for y in [&y, &xy, &z] {
                    assert_same(what, &expected, y);
                    let zero = |(y, e): (&f32, &f32)| *e != 0.0 || y.to_bits() == e.to_bits();
                    assert!(y.iter().zip(&expected).all(zero), "{what}: padding is +0.0");
                }
                let same = |a: &[f64], b: &[f64]| {
                    a.iter().map(|&a| bits64(a)).eq(b.iter().map(|&b| bits64(b)))
                };
                assert!(same(&mean, &of_samples[0]) && same(&rstd, &of_samples[1]), "{what}");
            }
        }
    }
}

/// Law: lengths of samples are their mask, for every operation on samples.
#[test]
fn lengths_of_samples_are_a_mask() {
    let (x, lengths) = (Random::new(3).normals(4 * 3 * 50), [50, 0, 17, 1]);
    let bytes: Vec<u8> =
        lengths.iter().flat_map(|&length| (0..50).map(move |p| u8::from(p < length))).collect();
    let mask = ValidRows::Mask(Mask::Bytes(&bytes));
    let lengths = ValidRows::Lengths { lengths: &lengths, steps: 50 };
    let shapes = [Channels::first(4, 3, 50), Channels::last(4, 50, 3)].map(Result::unwrap);
    for (shape, backend) in with_backends(shapes) {
        let check = |run: &RunMasked<'_>| {
            let [expected, got] = [mask, lengths].map(|valid| {
                let mut y = x.clone();
                run(InOut::in_place(&mut y), valid).unwrap();
                y
            });
            assert_same("lengths", &expected, &got);
        };
        check(&|io, valid| {
            let operation = InstanceNorm::new().with_backend(backend);
            operation.forward(io, shape, NormArgs::new().valid(valid))
        });
        check(&|io, valid| {
            let operation = GroupNorm::new().with_groups(3).with_backend(backend);
            operation.forward(io, shape, NormArgs::new().valid(valid))
        });
        check(&|io, valid| {
            let operation = LayerNorm::new().with_backend(backend);
            operation.forward(io, shape, NormArgs::new().valid(valid))
        });
        check(&|io, valid| {
            let operation = BatchNorm::new().with_backend(backend);
            operation.forward_training(io, shape, TrainArgs::new().valid(valid))
        });
        check(&|io, valid| {
            let operation = BatchNorm::new().with_backend(backend);
            operation.forward_inference(
                io,
                shape,
                &[0.5; 3],
                &[2.0; 3],
                NormArgs::new().valid(valid),
            )
        });
    }
}

/// What a training step of BatchNorm writes.
struct Trained {
    y: Vec<f32>,
    mean: Vec<f64>,
    rstd: Vec<f64>,
    running: Vec<f32>,
}

impl Trained {
    /// Of samples whose channels come first.
    fn new(
        operation: BatchNorm,
        io: InOut<'_, '_>,
        shape: Channels,
        valid: Option<ValidRows<'_>>,
    ) -> Self {
        let channels = shape.channels();
        let [mut mean, mut rstd] = [(); 2].map(|()| vec![7.0; channels]);
        let (mut running_mean, mut running_var) = (vec![0.5; channels], vec![2.0; channels]);
        let (gamma, beta) = affine_of(channels);
        let mut args = TrainArgs::new()
            .affine(&gamma, &beta)
            .stats(&mut mean, &mut rstd)
            .running(&mut running_mean, &mut running_var);
        if let Some(valid) = valid {
            args = args.valid(valid);
        }
        let y = operation.forward_training(io, shape, args).unwrap().to_vec();
        Self { y, mean, rstd, running: [running_mean, running_var].concat() }
    }

    /// The bits of all but y.
    fn statistics(&self) -> Vec<u64> {
        let running = self.running.iter().map(|&x| u64::from(bits(x)));
        self.mean.iter().chain(&self.rstd).map(|&x| bits64(x)).chain(running).collect()
    }
}

/// gamma and beta.
fn affine_of(channels: usize) -> (Vec<f32>, Vec<f32>) {
    let random = &mut Random::new(channels as u64);
    (random.normals(channels), random.normals(channels))
}

/// Law: BatchNorm of channels that come first: the statistics are those of the valid positions, within the bound; so is y, and
/// padding is `+0.0`; in place, on any number of threads, with either kind of mask and of stores the same bits.
#[test]
fn batch_norm_of_channels_first_is_within_the_bound_of_the_valid_positions() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for ((batch, channels, positions), rule) in
        samples().flat_map(|shape| RULES.map(|rule| (shape, rule)))
    {
        let padded = Padded::new((batch * positions, channels), rule);
        let layout = Layout { last: false, channels };
        let shape = layout.shape(batch, positions);
        let x = layout.batch_arranged(&padded.x, positions);
        let (gamma, beta) = affine_of(channels);
        let compact = padded.compact();
        let (mean, rstd) = if compact.is_empty() {
            (vec![0.0; channels], vec![0.0; channels])
        } else {
            reference::batch_statistics(compact, channels, 1e-5)
        };
        let [mut x_hat, mut expected] = [(); 2].map(|()| vec![0.0; compact.len()]);
        let normalized = reference::normalize_scale_shift_columns;
        normalized(compact, &mean, &rstd, None, None, &mut x_hat);
        normalized(compact, &mean, &rstd, Some(&gamma), Some(&beta), &mut expected);
        for backend in backends() {
            let what = format!("{backend}, {}, {batch} samples", padded.name);
            let operation = BatchNorm::new().with_backend(backend);
            let [mask, other] = padded.masks();
            let mut y = vec![f32::NAN; x.len()];
            let serial = operation.with_parallelism(Parallelism::Serial);
            let trained = Trained::new(serial, InOut::new(&x, &mut y), shape, Some(mask));
            for c in 0..channels {
                let bound = VARIANCE / rstd[c] + 1e-15 * mean[c].abs();
                let off = (trained.mean[c] - mean[c]).abs();
                assert!(rstd[c] == 0.0 || off <= bound, "{what}, channel {c}: mean");
                approx::assert_relative_eq!(
                    trained.rstd[c],
                    rstd[c],
                    epsilon = 0.0,
                    max_relative = VARIANCE
                );
            }
            let rows_of_y = layout.batch_as_rows(&trained.y, positions);
            let (mut kept, mut zeros) = (Vec::new(), Vec::new());
            for (row, &valid) in rows_of_y.chunks_exact(channels).zip(&padded.valid) {
                if valid { &mut kept } else { &mut zeros }.extend_from_slice(row);
            }
            assert!(zeros.iter().all(|y| y.to_bits() == 0), "{what}: padding is +0.0");
            for (r, y) in kept.chunks_exact(channels).enumerate() {
                let (row, what) = (r * channels..(r + 1) * channels, format!("{what}, valid {r}"));
                let (x_hat, expected) = (&x_hat[row.clone()], &expected[row]);
                assert_output(&what, y, x_hat, expected, Some(&gamma), Some(&beta));
            }
            if compact.is_empty() {
                let running = [vec![0.5; channels], vec![2.0; channels]].concat();
                assert_eq!(trained.running, running, "{what}: running statistics stay");
            }

            let mut xy = x.clone();
            let io = InOut::in_place(&mut xy);
            let around = operation.with_stores(Stores::NonTemporal);
            let again = pool.install(|| {
                [
                    Trained::new(operation, io, shape, Some(other)),
                    Trained::new(around, InOut::new(&x, &mut y), shape, Some(other)),
                ]
            });
            for again in again {
                assert_same(&format!("{what}, again"), &trained.y, &again.y);
                assert_eq!(trained.statistics(), again.statistics(), "{what}, again");
            }
        }
    }
}

/// Law: where every sample has as many valid positions they are those of a batch of shorter samples, bit for bit. (Of one
/// position each the batch would be a matrix, whose statistics are summed in another order.) So it is with one sample, whose
/// valid positions may be anywhere.
#[test]
fn batch_norm_of_samples_of_one_length_is_that_of_shorter_samples() {
    for (batch, channels, positions) in samples() {
        let layout = Layout { last: false, channels };
        for length in [2, 3, 16, 17, 100, 1024, 1025, positions] {
            if length > positions {
                continue;
            }
            for one in [false, true] {
                // One length: the first positions. One sample: some positions.
                let batch = if one { 1 } else { batch };
                let valid: Vec<bool> = (0..batch * positions)
                    .map(|p| if one { p % 5 != 2 } else { p % positions < length })
                    .collect();
                let bytes: Vec<u8> = valid.iter().map(|&valid| u8::from(valid)).collect();
                let matrix = Padded::new((batch * positions, channels), RULES[0]).x;
                let rows = || matrix.chunks_exact(channels).zip(&valid);
                let compact: Vec<f32> =
                    rows().filter(|(_, valid)| **valid).flat_map(|(row, _)| row).copied().collect();
                let bad: Vec<f32> = rows()
                    .flat_map(|(row, valid)| row.iter().map(|x| if *valid { *x } else { f32::NAN }))
                    .collect();
                let length = compact.len() / channels / batch;
                if length < 2 {
                    continue;
                }
                for backend in backends() {
                    let what = format!("{backend}, {batch}x{channels}x{positions}, {length}");
                    let operation = BatchNorm::new().with_backend(backend);
                    let x = layout.batch_arranged(&compact, length);
                    let mut y = vec![f32::NAN; x.len()];
                    let shape = layout.shape(batch, length);
                    let expected = Trained::new(operation, InOut::new(&x, &mut y), shape, None);
                    let x = layout.batch_arranged(&bad, positions);
                    let mut y = vec![f32::NAN; x.len()];
                    let (shape, mask) =
                        (layout.shape(batch, positions), ValidRows::Mask(Mask::Bytes(&bytes)));
                    let got = Trained::new(operation, InOut::new(&x, &mut y), shape, Some(mask));
                    assert_eq!(got.statistics(), expected.statistics(), "{what}");
                    let y = layout.batch_as_rows(&got.y, positions);
                    let kept = y.chunks_exact(channels).zip(&valid).filter(|(_, valid)| **valid);
                    let kept: Vec<f32> = kept.flat_map(|(row, _)| row).copied().collect();
                    let expected = layout.batch_as_rows(&expected.y, length);
                    assert_same(&what, &expected, &kept);
                }
            }
        }
    }
}

/// Law: a sample without a valid position has no part in the statistics: of two samples, they are the bits of the other one.
#[test]
fn batch_norm_without_the_samples_that_are_all_padding() {
    for (_, channels, positions) in samples() {
        let layout = Layout { last: false, channels };
        let x = layout.batch_arranged(&Random::new(5).normals(channels * positions), positions);
        let padding = vec![f32::NAN; x.len()];
        for (padding_first, backend) in with_backends([true, false]) {
            let operation = BatchNorm::new().with_backend(backend);
            let mut y = vec![f32::NAN; x.len()];
            let shape = layout.shape(1, positions);
            let expected = Trained::new(operation, InOut::new(&x, &mut y), shape, None);
            let two = if padding_first { [&padding, &x] } else { [&x, &padding] };
            let two = two.map(Vec::as_slice).concat();
            let lengths = if padding_first { [0, positions] } else { [positions, 0] };
            let valid = ValidRows::Lengths { lengths: &lengths, steps: positions };
            let mut y = vec![f32::NAN; two.len()];
            let shape = layout.shape(2, positions);
            let got = Trained::new(operation, InOut::new(&two, &mut y), shape, Some(valid));
            let what = format!("{backend}, {channels}x{positions}, {lengths:?}");
            assert_eq!(got.statistics(), expected.statistics(), "{what}");
            let (low, high) = got.y.split_at(x.len());
            let (zeros, y) = if padding_first { (low, high) } else { (high, low) };
            assert_same(&what, &expected.y, y);
            assert!(zeros.iter().all(|y| y.to_bits() == 0), "{what}: padding is +0.0");
        }
    }
}

/// One valid position has no unbiased variance, however many there are in a sample.
#[test]
fn one_valid_position_has_no_unbiased_variance() {
    let shape = Channels::first(2, 1, 3).unwrap();
    let valid = ValidRows::Lengths { lengths: &[0, 1], steps: 3 };
    let (mut y, mut mean, mut var) = ([7.0; 6], [0.0], [1.0]);
    let operation = BatchNorm::new().with_unbiased_running_var(true);
    let args = TrainArgs::new().valid(valid).running(&mut mean, &mut var);
    let result = operation.forward_training(InOut::new(&[1.0; 6], &mut y), shape, args).map(drop);
    let expected = Error::TooFewRows { arg: "unbiased variance", expected: 2, got: 1 };
    assert_eq!(result, Err(expected));
    assert_eq!((y, mean, var), ([7.0; 6], [0.0], [1.0]));
}
