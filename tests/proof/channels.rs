//! Channels first and last: GroupNorm, InstanceNorm, BatchNorm and LayerNorm of `[batch, channels, positions]`.
#![forbid(unsafe_code)]

use evenkeel::{
    Backend, BatchNorm, Channels, ColumnMoments, GroupNorm, InOut, InstanceNorm, LayerNorm,
    MomentArgs, Moments, NormArgs, NormalizeScaleShift, Parallelism, RowMoments, Statistics,
    Stores, TrainArgs, reference,
};

use crate::common::*;
use crate::golden::{hash, words, words64};

/// Batch, channels, positions, groups: planes and channels around a vector, short and long rows, blocks, groups of one
/// channel and of all, of sizes that do and do not fill vectors, positions and channels of one.
const SHAPES: [(usize, usize, usize, usize); 23] = [
    (1, 1, 1, 1),
    (3, 5, 1, 5),
    (4, 12, 1, 4),
    (2, 1, 7, 1),
    (5, 3, 49, 3),
    (2, 6, 5, 3),
    (3, 16, 4, 2),
    (2, 32, 49, 8),
    (1, 33, 50, 11),
    (2, 40, 64, 5),
    (7, 4, 100, 1),
    (1, 17, 196, 17),
    (2, 20, 129, 4),
    (1, 8, 1024, 2),
    (2, 3, 1025, 3),
    (1, 6, 2050, 3),
    (3, 2, 2049, 1),
    (1, 70, 257, 14),
    (1, 300, 20, 3),
    (2, 130, 65, 130),
    (1, 600, 7, 4),
    (1, 12, 4100, 12),
    (1, 66, 2048, 11),
];

type Shape = (usize, usize, usize, usize);

fn shapes() -> impl Iterator<Item = Shape> {
    let most = if short() { 3000 } else { usize::MAX };
    SHAPES
        .into_iter()
        .filter(move |(batch, channels, positions, _)| batch * channels * positions < most)
}

pub fn first(batch: usize, channels: usize, positions: usize) -> Channels {
    Channels::first(batch, channels, positions).expect("a shape of test data")
}

pub fn last(batch: usize, channels: usize, positions: usize) -> Channels {
    Channels::last(batch, positions, channels).expect("a shape of test data")
}

/// The elements of `[batch, channels, positions]` as `[batch, positions, channels]`.
pub fn to_last<T: Copy>(x: &[T], shape: Channels) -> Vec<T> {
    let (channels, positions) = (shape.channels(), shape.positions());
    let mut y = Vec::with_capacity(x.len());
    for sample in x.chunks_exact((channels * positions).max(1)) {
        for p in 0..positions {
            y.extend((0..channels).map(|c| sample[c * positions + p]));
        }
    }
    y
}

/// Data whose channels, in every sample, are of a data set each: the sets in turn.
pub fn data(shape: Channels, seed: usize) -> Vec<f32> {
    let random = &mut Random::new(seed as u64);
    let mut x = Vec::new();
    for plane in 0..shape.batch() * shape.channels() {
        let set = &DATA_SETS[(plane + seed) % DATA_SETS.len()];
        x.extend(set.row(shape.positions(), random));
    }
    x
}

/// gamma and beta, each there and not.
fn affines<'a>(gamma: &'a [f32], beta: &'a [f32]) -> [Affine<'a>; 4] {
    let all = [(None, None), (Some(gamma), None), (None, Some(beta)), (Some(gamma), Some(beta))];
    all.map(|(gamma, beta)| Affine { gamma, beta })
}

/// What is compared with the reference: outputs and statistics.
struct Result {
    y: Vec<f32>,
    mean: Vec<f64>,
    rstd: Vec<f64>,
}

/// An operation, and its definition.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Norm {
    Group(usize),
    Instance,
    Batch,
    Layer,
}

#[derive(Clone, Copy)]
struct Affine<'a> {
    gamma: Option<&'a [f32]>,
    beta: Option<&'a [f32]>,
}

impl Norm {
    fn all(groups: usize) -> [Self; 4] {
        [Self::Group(groups), Self::Instance, Self::Batch, Self::Layer]
    }

    fn statistics(self, shape: Channels) -> usize {
        match self {
            Self::Group(groups) => shape.batch() * groups,
            Self::Instance => shape.batch() * shape.channels(),
            Self::Batch => shape.channels(),
            Self::Layer => shape.batch() * shape.positions(),
        }
    }

    fn run_in_place(
        self,
        how: (Backend, Parallelism, Stores),
        eps: f64,
        mut y: Vec<f32>,
        affine: Affine<'_>,
        shape: Channels,
    ) -> Result {
        let (mean, rstd) = self.call(how, eps, InOut::in_place(&mut y), affine, shape);
        Result { y, mean, rstd }
    }

    fn run(
        self,
        how: (Backend, Parallelism, Stores),
        eps: f64,
        x: &[f32],
        affine: Affine<'_>,
        shape: Channels,
    ) -> Result {
        let mut y = vec![f32::NAN; x.len()];
        let (mean, rstd) = self.call(how, eps, InOut::new(x, &mut y), affine, shape);
        Result { y, mean, rstd }
    }

    /// Mean and rstd.
    fn call(
        self,
        (backend, parallelism, stores): (Backend, Parallelism, Stores),
        eps: f64,
        io: InOut<'_, '_>,
        Affine { gamma, beta }: Affine<'_>,
        shape: Channels,
    ) -> (Vec<f64>, Vec<f64>) {
        let mut mean = vec![f64::NAN; self.statistics(shape)];
        let mut rstd = mean.clone();
        macro_rules! configured {
            ($operation:expr) => {
                $operation
                    .with_eps(eps)
                    .with_backend(backend)
                    .with_parallelism(parallelism)
                    .with_stores(stores)
            };
        }
        let args = norm_args(gamma, beta).stats(&mut mean, &mut rstd);
        match self {
            Self::Group(groups) => {
                configured!(GroupNorm::new().with_groups(groups)).forward(io, shape, args)
            }
            Self::Instance => configured!(InstanceNorm::new()).forward(io, shape, args),
            Self::Layer => configured!(LayerNorm::new()).forward(io, shape, args),
            Self::Batch => {
                let args = train_args(gamma, beta).stats(&mut mean, &mut rstd);
                configured!(BatchNorm::new()).forward_training(io, shape, args)
            }
        }
        .unwrap();
        (mean, rstd)
    }

    fn defined(
        self,
        eps: f64,
        x: &[f32],
        Affine { gamma, beta }: Affine<'_>,
        shape: Channels,
        y: &mut [f64],
    ) -> (Vec<f64>, Vec<f64>) {
        match self {
            Self::Group(groups) => reference::group_norm(x, gamma, beta, shape, groups, eps, y),
            Self::Instance => {
                reference::group_norm(x, gamma, beta, shape, shape.channels(), eps, y)
            }
            Self::Batch => reference::batch_norm(x, gamma, beta, shape, eps, y),
            Self::Layer => reference::layer_norm_channels(x, gamma, beta, shape, eps, y),
        }
    }
}

const NO_AFFINE: Affine<'static> = Affine { gamma: None, beta: None };

fn serial(backend: Backend) -> (Backend, Parallelism, Stores) {
    (backend, Parallelism::Serial, Stores::Auto)
}

/// One of each element's channel.
fn of_channels(of: Option<&[f32]>, shape: Channels) -> Option<Vec<f32>> {
    of.map(|of| {
        let by_plane = of.iter().flat_map(|&g| std::iter::repeat_n(g, shape.positions()));
        let sample: Vec<f32> = by_plane.collect();
        let all = sample.repeat(shape.batch());
        if shape.is_last() {
            let order = first(shape.batch(), shape.channels(), shape.positions());
            to_last(&all, order)
        } else {
            all
        }
    })
}

#[test]
fn every_operation_is_within_the_bound_in_both_layouts_and_the_same_in_place() {
    for (seed, (batch, channels, positions, groups)) in shapes().enumerate() {
        let random = &mut Random::new(seed as u64);
        let (gamma, beta) = (random.normals(channels), random.normals(channels));
        let order = first(batch, channels, positions);
        for turn in [0, 17, 31] {
            let x = data(order, seed + turn);
            let x_last = to_last(&x, order);
            for (shape, x) in [(order, &x), (last(batch, channels, positions), &x_last)] {
                for norm in Norm::all(groups) {
                    let eps = if turn == 17 { 0.0 } else { 1e-5 };
                    let (mut x_hat, mut expected) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                    norm.defined(eps, x, NO_AFFINE, shape, &mut x_hat);
                    for affine in affines(&gamma, &beta) {
                        let Affine { gamma, beta } = affine;
                        let (mean, rstd) = norm.defined(eps, x, affine, shape, &mut expected);
                        let (gamma, beta) = (of_channels(gamma, shape), of_channels(beta, shape));
                        for backend in backends() {
                            let what = format!("{backend}, {norm:?}, {shape:?}, turn {turn}");
                            let got = norm.run(serial(backend), eps, x, affine, shape);
                            let (gamma, beta) = (gamma.as_deref(), beta.as_deref());
                            assert_output(&what, &got.y, &x_hat, &expected, gamma, beta);
                            assert_statistics(&what, (&mean, &rstd), (&got.mean, &got.rstd));
                            let how = serial(backend);
                            let again = norm.run_in_place(how, eps, x.clone(), affine, shape);
                            assert_same(&format!("{what}, in place"), &got.y, &again.y);
                            assert_eq!(got.mean, again.mean, "{what}");
                            assert_eq!(got.rstd, again.rstd, "{what}");
                        }
                    }
                }
            }
        }
    }
}

#[track_caller]
fn assert_statistics(what: &str, expected: (&[f64], &[f64]), got: (&[f64], &[f64])) {
    for i in 0..expected.0.len() {
        let (mean, rstd) = (expected.0[i], expected.1[i]);
        assert!(
            approx::relative_eq!(got.1[i], rstd, epsilon = 0.0, max_relative = VARIANCE),
            "{what}, statistic {i}: rstd: expected {rstd:e}, got {:e}",
            got.1[i]
        );
        let bound = if rstd == 0.0 { 0.0 } else { VARIANCE / rstd } + 1e-15 * mean.abs();
        assert!(
            approx::abs_diff_eq!(got.0[i], mean, epsilon = bound),
            "{what}, statistic {i}: mean: expected {mean:e}, got {:e}",
            got.0[i]
        );
    }
}

/// The moments of rows of x, as mean and rstd.
fn statistics_of_rows(backend: Backend, x: &[f32], cols: usize, eps: f64) -> (Vec<f64>, Vec<f64>) {
    let count = x.len() / cols;
    let mut moments = vec![Moments::new(); count];
    let operation = RowMoments::new().with_backend(backend);
    operation.compute(x, rows(count, cols), &mut moments, MomentArgs::new()).unwrap();
    statistics(&moments, eps)
}

fn statistics(moments: &[Moments], eps: f64) -> (Vec<f64>, Vec<f64>) {
    let one = |moments: &Moments| {
        (moments.mean, reference::rstd(moments.population_variance().unwrap(), eps))
    };
    moments.iter().map(one).unzip()
}

/// Law: with channels first, a group's statistics are the moments of a row, bit for bit.
#[test]
fn statistics_of_channels_first_are_those_of_rows_and_columns() {
    for (seed, (batch, channels, positions, groups)) in shapes().enumerate() {
        let shape = first(batch, channels, positions);
        let (x, eps) = (data(shape, seed), 1e-5);
        for backend in backends() {
            let what = format!("{backend}, {shape:?}");
            let how = serial(backend);
            let group = channels / groups * positions;
            for (norm, cols) in [(Norm::Group(groups), group), (Norm::Instance, positions)] {
                let Result { mean, rstd, .. } = norm.run(how, eps, &x, NO_AFFINE, shape);
                let expected = statistics_of_rows(backend, &x, cols, eps);
                assert_eq!((mean, rstd), expected, "{what}, {norm:?}");
            }
            if batch == 1 {
                let Result { mean, rstd, .. } = Norm::Batch.run(how, eps, &x, NO_AFFINE, shape);
                if positions > 1 {
                    let expected = statistics_of_rows(backend, &x, positions, eps);
                    assert_eq!((mean, rstd), expected, "{what}, BatchNorm");
                }
            }
            if positions > 1 {
                let Result { mean, rstd, .. } = Norm::Layer.run(how, eps, &x, NO_AFFINE, shape);
                let (mut means, mut rstds) = (Vec::new(), Vec::new());
                for sample in x.chunks_exact(channels * positions) {
                    let mut moments = vec![Moments::new(); positions];
                    let operation = ColumnMoments::new().with_backend(backend);
                    let shape = rows(channels, positions);
                    operation.compute(sample, shape, &mut moments, MomentArgs::new()).unwrap();
                    let (mean, rstd) = statistics(&moments, eps);
                    means.extend(mean);
                    rstds.extend(rstd);
                }
                assert_eq!((mean, rstd), (means, rstds), "{what}, LayerNorm");
            }
        }
    }
}

/// Law: the second half is that of columns, bit for bit: normalise-scale-shift of the transposed sample, with the
/// statistics of each channel's group; of LayerNorm, with those of each position, before gamma and beta.
#[test]
fn the_second_half_is_that_of_columns() {
    for (seed, (batch, channels, positions, groups)) in shapes().enumerate() {
        let (order, random) = (first(batch, channels, positions), &mut Random::new(seed as u64));
        let (gamma, beta) = (random.normals(channels), random.normals(channels));
        let x = data(order, seed + 3);
        let x_last = to_last(&x, order);
        for backend in backends() {
            let how = serial(backend);
            let affine = Affine { gamma: Some(&gamma), beta: Some(&beta) };
            let normalize = NormalizeScaleShift::new().with_backend(backend);
            for (shape, x) in [(order, &x), (last(batch, channels, positions), &x_last)] {
                let got = Norm::Group(groups).run(how, 0.0, x, affine, shape);
                let y = if shape.is_last() { got.y } else { to_last(&got.y, order) };
                for n in 0..batch {
                    let of_channels = |of: &[f64]| -> Vec<f64> {
                        let of = &of[n * groups..][..groups];
                        let repeat = |&x| std::iter::repeat_n(x, channels / groups);
                        of.iter().flat_map(repeat).collect()
                    };
                    let (mean, rstd) = (of_channels(&got.mean), of_channels(&got.rstd));
                    let sample = n * channels * positions..(n + 1) * channels * positions;
                    let mut expected = x_last[sample.clone()].to_vec();
                    let (io, columns) = (InOut::in_place(&mut expected), rows(positions, channels));
                    let given = Statistics::of_columns(&mean, &rstd);
                    let args = norm_args(affine.gamma, affine.beta);
                    normalize.forward(io, columns, given, args).unwrap();
                    let what = format!("{backend}, {shape:?}, sample {n}");
                    assert_same(&what, &expected, &y[sample]);
                }
            }
            if positions > 1 {
                let got = Norm::Layer.run(how, 0.0, &x, NO_AFFINE, order);
                let mut expected = x.clone();
                for (n, sample) in expected.chunks_exact_mut(channels * positions).enumerate() {
                    let part = n * positions..(n + 1) * positions;
                    let (mean, rstd) = (&got.mean[part.clone()], &got.rstd[part]);
                    let shape = rows(channels, positions);
                    let (io, given) = (InOut::in_place(sample), Statistics::of_columns(mean, rstd));
                    normalize.forward(io, shape, given, NormArgs::new()).unwrap();
                }
                assert_same(&format!("{backend}, {order:?}, LayerNorm"), &expected, &got.y);
            }
        }
    }
}

/// Law: so it is with BatchNorm, whose statistics are those of a channel in all samples: its y is normalise-scale-shift of the
/// batch, in either layout.
#[test]
fn the_second_half_of_batch_norm_is_that_of_channels() {
    for (seed, (batch, channels, positions, _)) in shapes().enumerate() {
        let (order, random) = (first(batch, channels, positions), &mut Random::new(seed as u64));
        let (gamma, beta) = (random.normals(channels), random.normals(channels));
        let affine = Affine { gamma: Some(&gamma), beta: Some(&beta) };
        let x = data(order, seed + 9);
        for (shape, backend) in with_backends([order, last(batch, channels, positions)]) {
            let what = format!("{backend}, {shape:?}");
            let x = if shape.is_last() { to_last(&x, order) } else { x.clone() };
            let Result { y, mean, rstd } = Norm::Batch.run(serial(backend), 0.0, &x, affine, shape);
            let mut got = vec![f32::NAN; x.len()];
            let (io, given) = (InOut::new(&x, &mut got), Statistics::of_columns(&mean, &rstd));
            let args = || norm_args(affine.gamma, affine.beta);
            let normalize = NormalizeScaleShift::new().with_backend(backend);
            normalize.forward(io, shape, given, args()).unwrap();
            assert_same(&what, &y, &got);
            let mut got = x;
            normalize.forward(InOut::in_place(&mut got), shape, given, args()).unwrap();
            assert_same(&format!("{what}, in place"), &y, &got);
        }
    }
}

/// Law: scratch is as good as memory of the call's own, whatever it holds.
#[test]
fn scratch_may_hold_anything() {
    for (seed, (batch, channels, positions, groups)) in shapes().enumerate() {
        let (order, random) = (first(batch, channels, positions), &mut Random::new(seed as u64));
        let x = data(order, seed + 13);
        let (gamma, beta) = (random.normals(channels), random.normals(channels));
        let affine = Affine { gamma: Some(&gamma), beta: Some(&beta) };
        for (shape, backend) in with_backends([order, last(batch, channels, positions)]) {
            let what = format!("{backend}, {shape:?}");
            let expected = |norm: Norm| norm.run(serial(backend), 1e-5, &x, affine, shape).y;
            let args = || NormArgs::new().affine(&gamma, &beta);
            let mut y = vec![f32::NAN; x.len()];
            let operation = GroupNorm::new().with_groups(groups).with_backend(backend);
            let mut scratch = vec![f64::NAN; operation.scratch_len(shape)];
            let io = InOut::new(&x, &mut y);
            operation.forward(io, shape, args().scratch(&mut scratch)).unwrap();
            assert_same(&what, &expected(Norm::Group(groups)), &y);
            let operation = InstanceNorm::new().with_backend(backend);
            let mut scratch = vec![f64::NAN; operation.scratch_len(shape) + 1];
            let io = InOut::new(&x, &mut y);
            operation.forward(io, shape, args().scratch(&mut scratch)).unwrap();
            assert_same(&what, &expected(Norm::Instance), &y);
            let operation = BatchNorm::new().with_backend(backend);
            let mut scratch = vec![f64::NAN; operation.scratch_len(shape)];
            let args = TrainArgs::new().affine(&gamma, &beta).scratch(&mut scratch);
            operation.forward_training(InOut::new(&x, &mut y), shape, args).unwrap();
            assert_same(&what, &expected(Norm::Batch), &y);
        }
    }
}

/// Law: the second half of LayerNorm is that of columns where its statistics have no room on the stack, too.
#[test]
fn more_channels_than_a_stack_holds() {
    let (channels, positions) = if short() { (130, 255) } else { (17_000, 255) };
    let random = &mut Random::new(1);
    let x: Vec<f32> = (0..channels * positions).map(|_| random.mantissa() - 1.4).collect();
    let (shape, columns) = (first(1, channels, positions), rows(channels, positions));
    let how = serial(Backend::detect());
    let got = Norm::Layer.run(how, 1e-5, &x, NO_AFFINE, shape);
    let mut moments = vec![Moments::new(); positions];
    ColumnMoments::new().compute(&x, columns, &mut moments, MomentArgs::new()).unwrap();
    let (mean, rstd) = statistics(&moments, 1e-5);
    let mut expected = x;
    let (io, given) = (InOut::in_place(&mut expected), Statistics::of_columns(&mean, &rstd));
    NormalizeScaleShift::new().forward(io, columns, given, NormArgs::new()).unwrap();
    assert_same("LayerNorm", &expected, &got.y);
    assert_eq!((mean, rstd), (got.mean, got.rstd));
}

/// Law: InstanceNorm is GroupNorm with a group for each channel, and, with channels last, BatchNorm of each sample;
/// LayerNorm with channels last is that of rows; a matrix is a batch of rows with one position.
#[test]
fn one_operation_is_another() {
    for (seed, (batch, channels, positions, _)) in shapes().enumerate() {
        let random = &mut Random::new(seed as u64);
        let (gamma, beta) = (random.normals(channels), random.normals(channels));
        let affine = Affine { gamma: Some(&gamma), beta: Some(&beta) };
        let x = data(first(batch, channels, positions), seed + 7);
        for backend in backends() {
            let how = serial(backend);
            for shape in [first(batch, channels, positions), last(batch, channels, positions)] {
                let what = format!("{backend}, {shape:?}");
                let run = |norm: Norm, x: &[f32], shape| norm.run(how, 1e-6, x, affine, shape);
                let group = run(Norm::Group(channels), &x, shape);
                let instance = run(Norm::Instance, &x, shape);
                assert_same(&what, &group.y, &instance.y);
                assert_eq!((&group.mean, &group.rstd), (&instance.mean, &instance.rstd), "{what}");
                if !shape.is_last() {
                    continue;
                }
                let sample = channels * positions;
                for n in 0..if positions > 1 { batch } else { 0 } {
                    let shape = last(1, channels, positions);
                    let batch_norm = run(Norm::Batch, &x[n * sample..(n + 1) * sample], shape);
                    let what = format!("{what}, sample {n}");
                    assert_same(&what, &batch_norm.y, &instance.y[n * sample..(n + 1) * sample]);
                }
                let layer = run(Norm::Layer, &x, shape);
                let mut expected = x.clone();
                LayerNorm::new()
                    .with_eps(1e-6)
                    .with_backend(backend)
                    .forward(
                        InOut::in_place(&mut expected),
                        rows(batch * positions, channels),
                        NormArgs::new().affine(&gamma, &beta),
                    )
                    .unwrap();
                assert_same(&what, &expected, &layer.y);
                let whole = run(Norm::Batch, &x, shape);
                let of_rows = run(Norm::Batch, &x, rows(batch * positions, channels).into());
                assert_same(&what, &whole.y, &of_rows.y);
                assert_eq!((whole.mean, whole.rstd), (of_rows.mean, of_rows.rstd), "{what}");
            }
        }
    }
}

/// Law: a sample has the bits that it has by itself.
#[test]
fn a_batch_of_b_is_b_batches_of_one() {
    for (seed, (batch, channels, positions, groups)) in shapes().enumerate() {
        let random = &mut Random::new(seed as u64);
        let (gamma, beta) = (random.normals(channels), random.normals(channels));
        let affine = Affine { gamma: Some(&gamma), beta: Some(&beta) };
        let x = data(first(batch, channels, positions), seed + 11);
        for backend in backends() {
            for shape in [first(batch, channels, positions), last(batch, channels, positions)] {
                for norm in [Norm::Group(groups), Norm::Instance, Norm::Layer] {
                    let all = norm.run(serial(backend), 1e-5, &x, affine, shape);
                    let one = if shape.is_last() { last } else { first };
                    let (mut y, mut mean, mut rstd) = (Vec::new(), Vec::new(), Vec::new());
                    for sample in x.chunks_exact(channels * positions) {
                        let shape = one(1, channels, positions);
                        let got = norm.run(serial(backend), 1e-5, sample, affine, shape);
                        y.extend(got.y);
                        mean.extend(got.mean);
                        rstd.extend(got.rstd);
                    }
                    let what = format!("{backend}, {norm:?}, {shape:?}");
                    assert_same(&what, &all.y, &y);
                    assert_eq!((all.mean, all.rstd), (mean, rstd), "{what}");
                }
            }
        }
    }
}

/// Law: inference has the same bits in both layouts; training has exact means where those of each sample are.
#[test]
fn batch_norm_of_both_layouts() {
    for (seed, (batch, channels, positions, _)) in shapes().enumerate() {
        let (order, random) = (first(batch, channels, positions), &mut Random::new(seed as u64));
        let shapes = [order, last(batch, channels, positions)];
        let (gamma, beta) = (random.normals(channels), random.normals(channels));
        let (gamma, beta) = (Some(&gamma[..]), Some(&beta[..]));
        let mut exact = Vec::new();
        for n in 0..batch * channels {
            let set = &EXACT_SETS[n % channels % EXACT_SETS.len()];
            exact.extend(set.make(positions, random).0);
        }
        for x in [data(order, seed + 5), exact.clone()] {
            let (mean, var) = (random.normals(channels), random.normals(channels));
            let var: Vec<f32> = var.iter().map(|var| var.abs()).collect();
            for backend in backends() {
                let operation = BatchNorm::new().with_backend(backend);
                let outputs = shapes.map(|shape| {
                    let mut y = if shape.is_last() { to_last(&x, order) } else { x.clone() };
                    let (io, args) = (InOut::in_place(&mut y), norm_args(gamma, beta));
                    operation.forward_inference(io, shape, &mean, &var, args).unwrap();
                    if shape.is_last() { y } else { to_last(&y, order) }
                });
                let [first, last] = outputs;
                assert_same(&format!("{backend}, {order:?}, inference"), &first, &last);
            }
        }
        for backend in backends() {
            let operation =
                BatchNorm::new().with_backend(backend).with_pytorch_momentum(0.1).with_eps(0.0);
            let operation = operation.with_unbiased_running_var(batch * positions > 1);
            let [first, last] = shapes.map(|shape| {
                let x = if shape.is_last() { to_last(&exact, order) } else { exact.clone() };
                let (mut mean, mut rstd) = (vec![0.0; channels], vec![0.0; channels]);
                let (mut running_mean, mut running_var) =
                    (vec![0.5; channels], vec![2.0; channels]);
                let mut y = vec![0.0; x.len()];
                train_past_overflow(&mut running_var, |running_var| {
                    let args = train_args(gamma, beta)
                        .stats(&mut mean, &mut rstd)
                        .running(&mut running_mean, running_var);
                    operation.forward_training(InOut::new(&x, &mut y), shape, args).map(drop)
                });
                (mean, rstd, running_mean, running_var)
            });
            let what = format!("{backend}, {order:?}, training");
            let means: Vec<f64> =
                (0..channels).map(|c| EXACT_SETS[c % EXACT_SETS.len()].mean).collect();
            assert_eq!(first.0, means, "{what}");
            assert_statistics(&what, (&first.0, &first.1), (&last.0, &last.1));
            let follows = |&mean: &f64| ((1.0 - 0.1) * 0.5 + 0.1 * mean) as f32;
            assert_eq!(first.2, means.iter().map(follows).collect::<Vec<_>>(), "{what}");
        }
    }
}

/// A constant group equals beta, whatever the constant.
#[test]
fn constant_groups_equal_beta() {
    let constants = [0.0, 1e7, 0.1, -1.234_567_9, 1e-40, 1e30, f32::MAX, f32::MIN];
    for (batch, channels, positions, groups) in shapes() {
        let beta = Random::new(2).normals(channels);
        let gamma = Random::new(3).normals(channels);
        let affine = Affine { gamma: Some(&gamma), beta: Some(&beta) };
        for constant in constants {
            let x = vec![constant; batch * channels * positions];
            for backend in backends() {
                for shape in [first(batch, channels, positions), last(batch, channels, positions)] {
                    let expected = of_channels(Some(&beta), shape).expect("a beta");
                    for norm in Norm::all(groups) {
                        let got = norm.run(serial(backend), 0.0, &x, affine, shape);
                        assert_eq!(got.y, expected, "{backend}, {norm:?}, {shape:?}, {constant}");
                        assert!(got.mean.iter().all(|&mean| mean == f64::from(constant)));
                    }
                }
            }
        }
    }
}

/// A NaN or an infinity makes its own group NaN and changes no bit of another.
#[test]
fn non_finite_values_stay_in_their_group() {
    for (batch, channels, positions, groups) in shapes() {
        let order = first(batch, channels, positions);
        let clean = Random::new(1).normals(order.elements());
        let per_group = channels / groups;
        let random = &mut Random::new(9);
        for shape in [order, last(batch, channels, positions)] {
            let place = |n: usize, c: usize, p: usize| match shape.is_last() {
                true => (n * positions + p) * channels + c,
                false => (n * channels + c) * positions + p,
            };
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let at = (random.below(batch), random.below(channels), random.below(positions));
                let mut x = clean.clone();
                x[place(at.0, at.1, at.2)] = bad;
                for (backend, norm) in backends()
                    .into_iter()
                    .flat_map(|backend| Norm::all(groups).map(|norm| (backend, norm)))
                {
                    let expected = norm.run(serial(backend), 1e-5, &clean, NO_AFFINE, shape);
                    let got = norm.run(serial(backend), 1e-5, &x, NO_AFFINE, shape);
                    for n in 0..batch {
                        for c in 0..channels {
                            for p in 0..positions {
                                let touched = match norm {
                                    Norm::Group(_) => {
                                        (n, c / per_group) == (at.0, at.1 / per_group)
                                    }
                                    Norm::Instance => (n, c) == (at.0, at.1),
                                    Norm::Batch => c == at.1,
                                    Norm::Layer => (n, p) == (at.0, at.2),
                                };
                                let i = place(n, c, p);
                                let same = bits(got.y[i]) == bits(expected.y[i]);
                                assert!(
                                    if touched { got.y[i].is_nan() } else { same },
                                    "{backend}, {norm:?}, {shape:?}, {bad} at {at:?}: element {i}: {}",
                                    got.y[i],
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Large enough for several tasks: many samples, few of many groups, one; positions that do not fill vectors.
const LARGE: [Shape; 6] = [
    (37, 24, 300, 6),
    (3, 48, 2100, 8),
    (1, 70, 4001, 7),
    (2, 600, 260, 3),
    (1, 5, 60_000, 1),
    (300, 20, 49, 5),
];

/// Law: any number of threads and tasks, and stores of any kind, give the bits of one thread.
#[test]
fn parallel_gives_the_bits_of_serial() {
    for &(batch, channels, positions, groups) in if short() { &LARGE[1..2] } else { &LARGE } {
        let random = &mut Random::new(positions as u64);
        let elements = batch * channels * positions;
        let x: Vec<f32> = (0..elements).map(|_| random.mantissa() - 1.4).collect();
        let (gamma, beta) = (random.normals(channels), random.normals(channels));
        let affine = Affine { gamma: Some(&gamma), beta: Some(&beta) };
        for shape in [first(batch, channels, positions), last(batch, channels, positions)] {
            for norm in Norm::all(groups) {
                let run = |parallelism, stores| {
                    let how = (Backend::detect(), parallelism, stores);
                    let Result { y, mean, rstd } = norm.run(how, 1e-5, &x, affine, shape);
                    (y.into_iter().map(bits).collect::<Vec<_>>(), mean, rstd)
                };
                let expected = run(Parallelism::Serial, Stores::Cached);
                let what = format!("{norm:?}, {shape:?}");
                let non_temporal = run(Parallelism::Serial, Stores::NonTemporal);
                assert!(non_temporal == expected, "{what}, non-temporal");
                for threads in [2, 3, 7, 16] {
                    let stores = if threads == 3 { Stores::NonTemporal } else { Stores::Auto };
                    let pool =
                        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let in_pool = pool.install(|| run(Parallelism::Auto, stores));
                    assert!(in_pool == expected, "{what}, a pool of {threads}");
                    let tasks = pool.install(|| run(Parallelism::AtMost(2), stores));
                    assert!(tasks == expected, "{what}, two tasks in a pool of {threads}");
                }
            }
        }
    }
}

/// Two samples of four channels at three positions; what PyTorch 2.15 says of them in f64, by
///
/// ```python
/// import torch, torch.nn.functional as f
/// n, c, p = 2, 4, 3
/// x = torch.tensor([(i * 37 % 101) / 8 - 6 for i in range(n * c * p)], dtype=torch.float64).reshape(n, c, p)
/// w, b = torch.tensor([1, 0.5, -2, 3], dtype=torch.float64), torch.tensor([0, -1, 0.25, 2], dtype=torch.float64)
/// m, v = torch.zeros(c, dtype=torch.float64), torch.ones(c, dtype=torch.float64)
/// print(f.group_norm(x, 2, w, b, 1e-5), f.instance_norm(x, weight=w, bias=b, eps=1e-5),
///       f.batch_norm(x, m, v, w, b, True, 0.1, 1e-5), m, v, f.batch_norm(x, m, v, w, b, False, 0.1, 1e-5),
///       f.layer_norm(x.transpose(1, 2), [c], w, b, 1e-5).transpose(1, 2))
/// ```
#[rustfmt::skip]
mod pytorch {
    pub const GROUP: [f32; 24] = [-1.371592, -0.1632847, 1.045022, -1.522511, -0.9183576, -0.3142041, 1.89128, -0.5217275, -2.934734, 0.5163268, 4.135837, -2.124938, -0.312037, 1.073407, -1.323037, -0.9687963, -0.2760741, -1.474296, -0.3407014, -2.91199, 1.535644, 3.928466, -2.742985, 1.113948];
    pub const INSTANCE: [f32; 24] = [-1.224744, 0.0, 1.224744, -1.612372, -1.0, -0.3876278, 2.699489, 0.25, -2.199489, 1.618815, 5.849965, -1.468781, -0.1270616, 1.283322, -1.15626, -1.063531, -0.3583391, -1.57813, 0.5041231, -2.316644, 2.56252, 5.468781, -1.849965, 2.381185];
    pub const BATCH: [f32; 24] = [-1.410901, -0.1112329, 1.188435, -1.705451, -1.055616, -0.4057823, 3.071802, 0.4724657, -2.126871, 1.262047, 5.462704, -1.803298, -0.005854361, 1.293814, -0.9542609, -1.002927, -0.3530931, -1.47713, 0.2617087, -2.337628, 2.158522, 5.803298, -1.462704, 2.737953];
    pub const RUNNING_MEAN: [f32; 4] = [-0.09791667, 0.02708333, 0.1520833, -0.14375];
    pub const RUNNING_VAR: [f32; 4] = [2.419635, 2.419635, 2.419635, 2.209219];
    pub const INFERENCE: [f32; 24] = [-3.794281, -0.8210004, 2.15228, -2.535525, -1.048885, 0.4377552, 4.94564, -1.000921, -6.947482, -2.251193, 7.083771, -9.063194, -0.5799236, 2.393357, -2.749615, -0.9283466, 0.5582936, -2.013192, -1.483074, -7.429635, 2.856308, 7.84066, -8.306305, 1.028659];
    pub const LAYER: [f32; 24] = [-1.341637, -1.341637, 0.2864752, -1.223606, -1.223606, -0.7170184, -0.6444249, -0.6444249, -1.440902, 6.024912, 6.024912, -3.093668, -1.341637, 0.2864752, -1.341637, -1.223606, -0.7170184, -1.223606, -0.6444249, -1.440902, -0.6444249, 6.024912, -3.093668, 6.024912];
}

#[test]
fn pytorch_says_the_same() {
    let x: Vec<f32> = (0..24).map(|i| (i * 37 % 101) as f32 / 8.0 - 6.0).collect();
    let (gamma, beta) = ([1.0, 0.5, -2.0, 3.0], [0.0, -1.0, 0.25, 2.0]);
    let affine = Affine { gamma: Some(&gamma), beta: Some(&beta) };
    let order = first(2, 4, 3);
    let near = |what: &str, expected: &[f32], got: &[f32]| {
        for (i, (expected, got)) in expected.iter().zip(got).enumerate() {
            assert!((expected - got).abs() <= 5e-6, "{what}, element {i}: {expected}, got {got}");
        }
    };
    for shape in [order, last(2, 4, 3)] {
        let in_order = |x: &[f32]| if shape.is_last() { to_last(x, order) } else { x.to_vec() };
        let x = in_order(&x);
        for backend in backends() {
            for (norm, expected) in [
                (Norm::Group(2), &pytorch::GROUP),
                (Norm::Instance, &pytorch::INSTANCE),
                (Norm::Batch, &pytorch::BATCH),
                (Norm::Layer, &pytorch::LAYER),
            ] {
                let what = format!("{backend}, {norm:?}, {shape:?}");
                let got = norm.run(serial(backend), 1e-5, &x, affine, shape);
                near(&what, &in_order(expected), &got.y);
            }
            let operation = BatchNorm::new().with_backend(backend).with_pytorch_momentum(0.1);
            let (mut mean, mut var) = ([0.0; 4], [1.0; 4]);
            let mut y = x.clone();
            let args = TrainArgs::new().affine(&gamma, &beta).running(&mut mean, &mut var);
            operation
                .with_unbiased_running_var(true)
                .forward_training(InOut::in_place(&mut y), shape, args)
                .unwrap();
            near("running mean", &pytorch::RUNNING_MEAN, &mean);
            near("running variance", &pytorch::RUNNING_VAR, &var);
            let (io, args) = (InOut::new(&x, &mut y), NormArgs::new().affine(&gamma, &beta));
            operation.forward_inference(io, shape, &mean, &var, args).unwrap();
            near("inference", &in_order(&pytorch::INFERENCE), &y);
        }
    }
}

/// Batch, channels, positions, groups, and the hashes of every operation with channels first, then last. A change of bits
/// is a line in CHANGELOG.md; the new table is from
/// `EVENKEEL_BLESS=1 cargo test --test proof channels::golden -- --nocapture`.
const GOLDEN: [(Shape, [u64; 8]); 14] = [
    (
        (1, 1, 1, 1),
        [
            0x7e20207516dda74d,
            0x7e20207516dda74d,
            0x7e20207516dda74d,
            0x7e20207516dda74d,
            0x7e20207516dda74d,
            0x7e20207516dda74d,
            0x7e20207516dda74d,
            0x7e20207516dda74d,
        ],
    ),
    (
        (4, 12, 1, 4),
        [
            0x33d3e4fd9b0b656b,
            0x3eab425cc0429311,
            0x0b365c628aebc78b,
            0x0723c520c0ba437e,
            0x33d3e4fd9b0b656b,
            0x3eab425cc0429311,
            0x0b365c628aebc78b,
            0x0723c520c0ba437e,
        ],
    ),
    (
        (5, 3, 49, 3),
        [
            0x2018b0a49dd8b498,
            0x2018b0a49dd8b498,
            0x4842b354f6d4cbb6,
            0x561f75af4cffb363,
            0x53e89fd691d191d2,
            0x53e89fd691d191d2,
            0x044edd98bc5ad22e,
            0xe60fd3d3c634db34,
        ],
    ),
    (
        (3, 16, 4, 2),
        [
            0x87445089543f4e22,
            0x97cbe0f41c7fa398,
            0x0d3a59811f5db713,
            0x7ed946bae64256dc,
            0xc3c0f5a62a83eb1a,
            0x109ccfbfc1af1bfe,
            0xb5b59f9ae3940121,
            0x998f7700836bfd6c,
        ],
    ),
    (
        (1, 33, 50, 11),
        [
            0x912eac3833d5110d,
            0xac7ec3b4829620d8,
            0xac7ec3b4829620d8,
            0xa0353a0bd831db99,
            0x67d08f587841805e,
            0x7aac089bdb43a7ce,
            0x7aac089bdb43a7ce,
            0x995cfd4b1d9f8a15,
        ],
    ),
    (
        (7, 4, 100, 1),
        [
            0x0d5fe864fe2bbae9,
            0x150053c8ada96c31,
            0xaefa4bfa8f220a6d,
            0x7253099d6e3d2d9f,
            0xee5be9d03acde190,
            0xe8466926951ee923,
            0xdd0f78403cb39298,
            0xa9e54d577c49365f,
        ],
    ),
    (
        (2, 20, 129, 4),
        [
            0x5b2bd10e081b4488,
            0x05a38fae38f27d71,
            0x06699bd06af7545c,
            0x36e0dec7fc448436,
            0x052283b95a6f20bd,
            0x6681c3e12cf5fc01,
            0x86b3a9933a3177a7,
            0xbc86e28321b3fdde,
        ],
    ),
    (
        (2, 3, 1025, 3),
        [
            0xf0d6fed869a7da18,
            0xf0d6fed869a7da18,
            0x6cff7a03ca79b35b,
            0x6ed5037472099abe,
            0x0781143c85f15659,
            0x0781143c85f15659,
            0x6a137f57e788174a,
            0x96df5cb5a2b98f4e,
        ],
    ),
    (
        (3, 2, 2049, 1),
        [
            0x803a8d1ef5c3e89a,
            0xd254a46d9085b930,
            0xa18b2350f1c8d6dd,
            0x434bc7c85bb8eeed,
            0x7f277deac06eac92,
            0x386c4dcdcd49e3bc,
            0x7d0ae70d88747add,
            0x40309ca9dd5861b9,
        ],
    ),
    (
        (1, 300, 20, 3),
        [
            0x5c2d5485c0c6bdf7,
            0x8688e201e8432642,
            0x8688e201e8432642,
            0x5b18f034a1a42885,
            0x0e96d4b8895971bd,
            0x0e09f887675e63d9,
            0x0e09f887675e63d9,
            0x9adb06c23eac37f4,
        ],
    ),
    (
        (1, 600, 7, 4),
        [
            0x239ce310d1f30c6d,
            0xde5106a7fa516cbe,
            0xde5106a7fa516cbe,
            0x1541b94aadc6a601,
            0xff6eb3961ef32fb8,
            0x0c172b9bb9d959ef,
            0x0c172b9bb9d959ef,
            0x90fd69b92352160f,
        ],
    ),
    (
        (1, 66, 2048, 11),
        [
            0x6348827a38971d94,
            0x7fadb6eb94549e50,
            0x7fadb6eb94549e50,
            0xbd511587567927f6,
            0xf06536f745b14fac,
            0x0cc8719032033854,
            0x0cc8719032033854,
            0xff2618d1319d95c7,
        ],
    ),
    (
        (37, 24, 300, 6),
        [
            0x6f4c63fa76849552,
            0x069d8da5275e8b43,
            0xdfb82b17a85249fe,
            0x1aabf1728f7253cf,
            0x3b507ecb48c845a7,
            0x95798c78bf87eab3,
            0xd5e0d3826588b241,
            0x2e87f7ab31b01c07,
        ],
    ),
    (
        (2, 600, 260, 3),
        [
            0xa9c34bf80dbf5c5e,
            0x47ff92b7dc493917,
            0x7e666c22ce9bbbaa,
            0x5740a5789ab676ad,
            0x7e9a0b1f37353220,
            0xe84f17d6e0a8683f,
            0xca6a84f71382df85,
            0xeadab1aeb7147698,
        ],
    ),
];

/// Every output on data that is the same everywhere, of which every plane is of another data set.
fn golden_hashes(
    how: (Backend, Parallelism, Stores),
    (batch, channels, positions, groups): Shape,
    in_place: bool,
) -> [u64; 8] {
    let order = first(batch, channels, positions);
    let random = &mut Random::new(order.elements() as u64);
    let (gamma, beta) = (random.normals(channels), random.normals(channels));
    let affine = Affine { gamma: Some(&gamma), beta: Some(&beta) };
    let x = data(order, positions);
    let mut hashes = Vec::new();
    for shape in [order, last(batch, channels, positions)] {
        for norm in Norm::all(groups) {
            let x = if shape.is_last() { to_last(&x, order) } else { x.clone() };
            let Result { y, mean, rstd } = match in_place {
                true => norm.run_in_place(how, 1e-5, x, affine, shape),
                false => norm.run(how, 1e-5, &x, affine, shape),
            };
            hashes.push(hash(words(&y).chain(words64(&mean)).chain(words64(&rstd))));
        }
    }
    hashes.try_into().expect("eight hashes")
}

#[test]
fn golden_hashes_hold_on_every_fused_backend_and_number_of_threads() {
    let shapes = SHAPES.into_iter().step_by(2).chain([LARGE[0], LARGE[3]]);
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        for shape in shapes {
            let hashes = golden_hashes(serial(Backend::detect()), shape, false);
            println!("    ({shape:?}, {hashes:#018x?}),");
        }
        return;
    }
    let golden: Vec<_> = GOLDEN.into_iter().collect();
    assert_eq!(golden.len(), shapes.count(), "a row for each shape");
    let pools = [2, 7].map(|threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool")
    });
    for (shape, expected) in golden {
        if short() && shape.0 * shape.1 * shape.2 > 3000 {
            continue;
        }
        for backend in fused_backends() {
            assert_eq!(
                golden_hashes(serial(backend), shape, false),
                expected,
                "{backend}, {shape:?}"
            );
            assert_eq!(
                golden_hashes(serial(backend), shape, true),
                expected,
                "{backend}, {shape:?}"
            );
            for pool in &pools {
                let how = (backend, Parallelism::Auto, Stores::Auto);
                let got = pool.install(|| golden_hashes(how, shape, false));
                assert_eq!(got, expected, "{backend}, {shape:?}, {pool:?}");
            }
        }
    }
}
