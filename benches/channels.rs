//! Channels first and last: the columns of each shape are the channels of samples of 8 positions that come first (of
//! one sample, where they come last), with gamma and beta. `scalar` goes through the elements of each group in order.
#![forbid(unsafe_code)]

mod common;

use common::{Aligned, Io, Loops, Operation, assert_close, spread};
use evenkeel::{
    Backend, BatchNorm, Channels, GroupNorm, InOut, InstanceNorm, LayerNorm, NormArgs, Parallelism,
    TrainArgs, reference,
};

const EPS: f64 = 1e-5;
const GROUPS: usize = 8;

/// A measured operation; a type for each kind.
struct Norm<const KIND: usize> {
    shape: Channels,
    gamma: Aligned,
    beta: Aligned,
    mean: Vec<f64>,
    rstd: Vec<f64>,
    scratch: Vec<f64>,
    expected: Vec<f64>,
}

const GROUP_FIRST: usize = 0;
const GROUP_LAST: usize = 1;
const INSTANCE_FIRST: usize = 2;
const LAYER_FIRST: usize = 3;
const BATCH_FIRST: usize = 4;

impl<const KIND: usize> Operation for Norm<KIND> {
    const NAME: &'static str = [
        "group_norm_first",
        "group_norm_last",
        "instance_norm_first",
        "layer_norm_channels_first",
        "batch_norm_training_first",
    ][KIND];
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        let (rows, cols) = (io.rows.rows(), io.rows.cols());
        let shape = match KIND {
            GROUP_LAST => Channels::last(1, rows, cols),
            // A channel a row, in samples of eight.
            _ => Channels::first(rows / GROUPS, GROUPS, cols),
        };
        let shape = shape.expect("as many elements as the rows have");
        let channels = shape.channels();
        let statistics = match KIND {
            GROUP_FIRST | GROUP_LAST => shape.batch() * GROUPS,
            INSTANCE_FIRST => shape.batch() * channels,
            LAYER_FIRST => shape.batch() * shape.positions(),
            _ => channels,
        };
        let mut norm = Self {
            shape,
            gamma: Aligned::new(channels, |i| 1.0 + 0.1 * spread(i)),
            beta: Aligned::new(channels, |i| 0.1 * spread(i + 7)),
            mean: vec![0.0; statistics],
            rstd: vec![0.0; statistics],
            scratch: vec![
                0.0;
                InstanceNorm::new()
                    .scratch_len(shape)
                    .max(BatchNorm::new().scratch_len(shape))
            ],
            expected: vec![0.0; io.x.len()],
        };
        let (x, gamma, beta) = (&io.x, Some(&*norm.gamma), Some(&*norm.beta));
        let y = &mut norm.expected;
        match KIND {
            GROUP_FIRST | GROUP_LAST => {
                reference::group_norm(x, gamma, beta, shape, GROUPS, EPS, y);
            }
            INSTANCE_FIRST => {
                reference::group_norm(x, gamma, beta, shape, channels, EPS, y);
            }
            LAYER_FIRST => {
                reference::layer_norm_channels(x, gamma, beta, shape, EPS, y);
            }
            _ => {
                reference::batch_norm(x, gamma, beta, shape, EPS, y);
            }
        }
        norm
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        let Self { shape, gamma, beta, mean, rstd, scratch, .. } = self;
        let io = InOut::new(&io.x, &mut io.y);
        let args = NormArgs::new().affine(gamma, beta);
        match KIND {
            GROUP_FIRST | GROUP_LAST => GroupNorm::new()
                .with_groups(GROUPS)
                .with_eps(EPS)
                .with_backend(backend)
                .with_parallelism(Parallelism::Serial)
                .forward(io, *shape, args.stats(mean, rstd).scratch(scratch)),
            INSTANCE_FIRST => InstanceNorm::new()
                .with_eps(EPS)
                .with_backend(backend)
                .with_parallelism(Parallelism::Serial)
                .forward(io, *shape, args.stats(mean, rstd).scratch(scratch)),
            LAYER_FIRST => LayerNorm::new()
                .with_eps(EPS)
                .with_backend(backend)
                .with_parallelism(Parallelism::Serial)
                .forward(io, *shape, args.stats(mean, rstd)),
            _ => BatchNorm::new()
                .with_eps(EPS)
                .with_backend(backend)
                .with_parallelism(Parallelism::Serial)
                .forward_training(
                    io,
                    *shape,
                    TrainArgs::new().affine(gamma, beta).stats(mean, rstd).scratch(scratch),
                ),
        }
        .expect("the buffers fit");
    }

    fn check(&self, io: &Io, tolerance: f64) {
        assert_close(&io.y, &self.expected, tolerance);
    }
}

impl<const KIND: usize> Norm<KIND> {
    /// Two passes over each group, then a third that writes.
    fn scalar(&mut self, io: &mut Io) {
        let shape = self.shape;
        let (channels, positions) = (shape.channels(), shape.positions());
        let place = |n: usize, c: usize, p: usize| match shape.is_last() {
            true => (n * positions + p) * channels + c,
            false => (n * channels + c) * positions + p,
        };
        let all = (0..shape.batch(), 0..channels, 0..positions);
        let sets = match KIND {
            GROUP_FIRST | GROUP_LAST => (shape.batch(), GROUPS, 1),
            INSTANCE_FIRST => (shape.batch(), channels, 1),
            LAYER_FIRST => (shape.batch(), 1, positions),
            _ => (1, channels, 1),
        };
        let part = |of: &std::ops::Range<usize>, parts: usize, i: usize| {
            let each = of.len() / parts;
            i * each..(i + 1) * each
        };
        for n in 0..sets.0 {
            for c in 0..sets.1 {
                for p in 0..sets.2 {
                    let samples = part(&all.0, sets.0, n);
                    let (channels, positions) = (part(&all.1, sets.1, c), part(&all.2, sets.2, p));
                    let each = |visit: &mut dyn FnMut(usize, usize)| {
                        for n in samples.clone() {
                            for c in channels.clone() {
                                positions.clone().for_each(|p| visit(place(n, c, p), c));
                            }
                        }
                    };
                    let count = (samples.len() * channels.len() * positions.len()) as f32;
                    let (mut mean, mut var) = (0.0, 0.0);
                    each(&mut |i, _| mean += io.x[i]);
                    mean /= count;
                    each(&mut |i, _| var += (io.x[i] - mean) * (io.x[i] - mean));
                    let rstd = 1.0 / (var / count + EPS as f32).sqrt();
                    each(&mut |i, c| {
                        io.y[i] = (io.x[i] - mean) * rstd * self.gamma[c] + self.beta[c];
                    });
                }
            }
        }
    }
}

fn main() {
    common::measure::<Norm<GROUP_FIRST>>();
    common::measure::<Norm<GROUP_LAST>>();
    common::measure::<Norm<INSTANCE_FIRST>>();
    common::measure::<Norm<LAYER_FIRST>>();
    common::measure::<Norm<BATCH_FIRST>>();
}
