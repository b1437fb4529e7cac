//! The operations that are measured, and their yardsticks.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::mem::replace;
use std::ops::{Deref, DerefMut, Range};

use evenkeel::penalty::Regularizer;
use evenkeel::preprocess::{MinMaxScaler, Normalizer, StandardScaler};
use evenkeel::{
    Backend, BatchNorm, Channels, ColumnMoments, Dropout, DropoutArgs, GateFunction, GatePlace,
    GradArgs, GroupNorm, InOut, InstanceNorm, LayerNorm, Mask, MaskMut, MomentArgs, Moments,
    NormArgs, NormalizeScaleShift, Parallelism, Pitch, RmsNorm, RowMoments, Rows, Statistics,
    Stores, Stream, TrainArgs, ValidRows,
};
use rayon::prelude::*;

use crate::cold;

/// An operation as `--op` and the `op` key name it.
pub struct Operation {
    pub name: &'static str,
    pub traffic: Traffic,
    run: fn(&mut Buffers, Backend),
}

/// The bytes that an operation must move, which decide its yardstick.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// x: the fastest plain sum.
    Read,
    /// x and y: a copy.
    Copy,
    /// x, and again x and y, or x, and y twice: a sum and a copy.
    ReadThenCopy,
    /// x, another input and y: a sum and a copy, too.
    ReadTwoThenCopy,
    /// Two inputs, and again both and y: three sums and a copy.
    ReadThreeThenCopy,
    /// x and y, and a residual that is read and written; or dy and x, and dx and its second place: two copies.
    CopyTwice,
    /// Nothing of x and y: one bit of mask an element, compared with the fastest plain sum of x.
    Mask,
}

impl Traffic {
    /// The time of the yardstick.
    pub fn yardstick(self, times: &BTreeMap<Contender, f64>) -> f64 {
        let (copy, read) = (times[&Contender::Memcpy], times[&Contender::Read]);
        match self {
            Self::Read | Self::Mask => read,
            Self::Copy => copy,
            Self::ReadThenCopy | Self::ReadTwoThenCopy => read + copy,
            Self::ReadThreeThenCopy => 3.0 * read + copy,
            Self::CopyTwice => copy + copy,
        }
    }
}

/// Every operation. Each runs on all of its buffers' threads.
pub const OPERATIONS: &[Operation] = &[
    Operation { name: "layer_norm", traffic: Traffic::Copy, run: layer_norm },
    Operation { name: "rms_norm", traffic: Traffic::Copy, run: rms_norm },
    Operation { name: "rms_norm_heads", traffic: Traffic::Copy, run: rms_norm_heads },
    Operation { name: "rms_norm_residual", traffic: Traffic::CopyTwice, run: rms_norm_residual },
    Operation { name: "rms_norm_gated", traffic: Traffic::ReadTwoThenCopy, run: rms_norm_gated },
    Operation {
        name: "rms_norm_gate_first",
        traffic: Traffic::ReadTwoThenCopy,
        run: rms_norm_gate_first,
    },
    Operation {
        name: "layer_norm_backward",
        traffic: Traffic::ReadTwoThenCopy,
        run: layer_norm_backward,
    },
    Operation {
        name: "rms_norm_backward",
        traffic: Traffic::ReadTwoThenCopy,
        run: rms_norm_backward,
    },
    Operation {
        name: "dropout_residual_layer_norm",
        traffic: Traffic::CopyTwice,
        run: dropout_residual_layer_norm,
    },
    Operation {
        name: "dropout_residual_layer_norm_backward",
        traffic: Traffic::CopyTwice,
        run: dropout_residual_layer_norm_backward,
    },
    Operation { name: "normalize_scale_shift", traffic: Traffic::Copy, run: normalize_scale_shift },
    Operation { name: "row_moments", traffic: Traffic::Read, run: row_moments },
    Operation {
        name: "batch_norm_training",
        traffic: Traffic::ReadThenCopy,
        run: batch_norm_training,
    },
    Operation { name: "batch_norm_inference", traffic: Traffic::Copy, run: batch_norm_inference },
    Operation {
        name: "batch_norm_training_first",
        traffic: Traffic::ReadThenCopy,
        run: batch_norm_training_first,
    },
    Operation {
        name: "batch_norm_backward",
        traffic: Traffic::ReadThreeThenCopy,
        run: batch_norm_backward,
    },
    Operation {
        name: "batch_norm_backward_first",
        traffic: Traffic::ReadTwoThenCopy,
        run: batch_norm_backward_first,
    },
    Operation { name: "group_norm_first", traffic: Traffic::Copy, run: group_norm_first },
    Operation {
        name: "group_norm_backward_first",
        traffic: Traffic::ReadTwoThenCopy,
        run: group_norm_backward_first,
    },
    Operation { name: "group_norm_last", traffic: Traffic::ReadThenCopy, run: group_norm_last },
    Operation { name: "instance_norm_first", traffic: Traffic::Copy, run: instance_norm_first },
    Operation {
        name: "instance_norm_masked_last",
        traffic: Traffic::ReadThenCopy,
        run: instance_norm_masked_last,
    },
    Operation {
        name: "layer_norm_channels_first",
        traffic: Traffic::Copy,
        run: layer_norm_channels_first,
    },
    Operation { name: "column_moments", traffic: Traffic::Read, run: column_moments },
    Operation { name: "column_moments_masked", traffic: Traffic::Read, run: column_moments_masked },
    Operation { name: "penalty", traffic: Traffic::Read, run: penalty },
    Operation { name: "penalty_gradient", traffic: Traffic::ReadThenCopy, run: penalty_gradient },
    Operation { name: "proximal", traffic: Traffic::Copy, run: proximal },
    Operation { name: "standard_scaler_fit", traffic: Traffic::Read, run: standard_scaler_fit },
    Operation {
        name: "standard_scaler_transform",
        traffic: Traffic::Copy,
        run: standard_scaler_transform,
    },
    Operation { name: "min_max_scaler_fit", traffic: Traffic::Read, run: min_max_scaler_fit },
    Operation { name: "normalizer_l2", traffic: Traffic::Copy, run: normalizer_l2 },
    Operation { name: "dropout", traffic: Traffic::Copy, run: dropout },
    Operation { name: "dropout_mask", traffic: Traffic::Mask, run: dropout_mask },
];

pub fn operation(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name)
}

impl Operation {
    /// Runs it on f32.
    pub fn run(&self, buffers: &mut Buffers, backend: Backend) {
        (self.run)(buffers, backend);
    }

    /// x read and y written, and what else there is of their size.
    pub fn bytes(&self, rows: Rows) -> usize {
        let elements = rows.elements();
        match self.traffic {
            Traffic::Read => elements * size_of::<f32>(),
            Traffic::Copy | Traffic::ReadThenCopy => elements * size_of::<f32>() * 2,
            Traffic::ReadTwoThenCopy | Traffic::ReadThreeThenCopy => {
                elements * size_of::<f32>() * 3
            }
            Traffic::CopyTwice => elements * size_of::<f32>() * 4,
            Traffic::Mask => elements.div_ceil(8),
        }
    }
}

/// Elements that start at a cache line, as engines allocate them.
pub struct Aligned {
    elements: Vec<f32>,
    range: Range<usize>,
}

impl Aligned {
    fn new(elements: impl ExactSizeIterator<Item = f32>) -> Self {
        const LINE: usize = 64;
        let len = elements.len();
        let mut padded: Vec<f32> = Vec::with_capacity(len + LINE / size_of::<f32>());
        let start = padded.as_ptr().align_offset(LINE);
        padded.resize(start, 0.0);
        padded.extend(elements);
        Self { elements: padded, range: start..start + len }
    }
}

impl Deref for Aligned {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.elements[self.range.clone()]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.elements[self.range.clone()]
    }
}

/// Buffers of one shape, allocated and touched.
pub struct Buffers {
    pub rows: Rows,
    threads: usize,
    pub stores: Stores,
    pub x: Aligned,
    pub y: Aligned,
    residual: Aligned,
    pub z: Aligned,
    /// The rows as heads of tokens, between other parts of each token, once they are wanted.
    heads: Option<Aligned>,
    pub gamma: Aligned,
    pub beta: Aligned,
    pub mean: Vec<f64>,
    pub rstd: Vec<f64>,
    moments: Vec<Moments>,
    column_mean: Vec<f64>,
    column_rstd: Vec<f64>,
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
    pub dgamma: Vec<f32>,
    pub dbeta: Vec<f32>,
    dbias: Vec<f32>,
    scratch: Vec<f64>,
    mask: Vec<u8>,
    standard_scaler: StandardScaler,
    min_max_scaler: MinMaxScaler,
    /// Every eighth row is padding.
    valid_rows: Vec<u8>,
    /// The rows as one sample of planes that come first, and as positions of one whose channels come last.
    first: Channels,
    last: Channels,
    plane_gamma: Vec<f32>,
    plane_beta: Vec<f32>,
    plane_dgamma: Vec<f32>,
    plane_dbeta: Vec<f32>,
    /// The same elements in 16 bits.
    #[cfg(feature = "half")]
    pub narrowed: crate::half::Narrowed,
}

impl Buffers {
    pub fn new(shape: Rows, threads: usize, stores: Stores) -> Self {
        let (rows, cols) = (shape.rows(), shape.cols());
        // Two uniform numbers of a hash: spread over (-2, 2) with a peak in the middle, without a pattern in rows or
        // columns, and the same in every run.
        let spread = |i: usize| {
            let hash = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let hash = (hash ^ hash >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let (a, b) = ((hash >> 40) as f32, (hash >> 16 & 0xff_ffff) as f32);
            (a - b) / (1 << 23) as f32
        };
        let first = Channels::first(1, rows, cols).expect("as many elements as the shape has");
        let last = Channels::last(1, rows, cols).expect("as many elements as the shape has");
        let x = Aligned::new((0..shape.elements()).map(spread));
        let mut standard_scaler = StandardScaler::new(cols).expect("memory");
        standard_scaler.fit(&x, shape).expect("as many features");
        let scratch = BatchNorm::new().scratch_len(shape).max(BatchNorm::new().scratch_len(first));
        let scratch = [
            scratch,
            LayerNorm::new().backward_scratch_len(shape),
            BatchNorm::new().backward_scratch_len(shape),
            BatchNorm::new().backward_scratch_len(first),
            GroupNorm::new().backward_scratch_len(first),
        ];
        let scratch = scratch.into_iter().max().unwrap_or(0);
        Self {
            rows: shape,
            threads,
            stores,
            x,
            y: Aligned::new((0..shape.elements()).map(|_| 1.0)),
            residual: Aligned::new((0..shape.elements()).map(|_| 0.0)),
            z: Aligned::new((0..shape.elements()).map(|i| spread(i + 3))),
            heads: None,
            gamma: Aligned::new((0..cols).map(|i| 1.0 + 0.1 * spread(i))),
            beta: Aligned::new((0..cols).map(|i| 0.1 * spread(i + 7))),
            mean: vec![0.25; rows],
            rstd: vec![0.75; rows],
            moments: vec![Moments::new(); rows.max(cols)],
            column_mean: vec![0.0; cols],
            column_rstd: vec![1.0; cols],
            running_mean: vec![0.0; cols],
            running_var: vec![1.0; cols],
            dgamma: vec![0.0; cols],
            dbeta: vec![0.0; cols],
            dbias: vec![0.0; cols],
            scratch: vec![0.0; scratch],
            mask: vec![0; shape.elements().div_ceil(8)],
            standard_scaler,
            min_max_scaler: MinMaxScaler::new(cols).expect("memory"),
            valid_rows: vec![!(1 << 5); rows.div_ceil(8)],
            first,
            last,
            plane_gamma: (0..rows).map(|i| 1.0 + 0.1 * spread(i)).collect(),
            plane_beta: (0..rows).map(|i| 0.1 * spread(i + 7)).collect(),
            plane_dgamma: vec![0.0; rows],
            plane_dbeta: vec![0.0; rows],
            #[cfg(feature = "half")]
            narrowed: Default::default(),
        }
    }

    pub fn parallelism(&self) -> Parallelism {
        if self.threads == 1 { Parallelism::Serial } else { Parallelism::AtMost(self.threads) }
    }

    /// Elements for each thread of a yardstick.
    fn share(&self) -> usize {
        self.x.len().div_ceil(self.threads)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// `copy_from_slice` of x to y.
    Memcpy,
    /// The same with non-temporal stores.
    NonTemporalCopy,
    /// The fastest plain sum of x.
    Read,
    /// A plain norm.
    Plain(&'static str),
    Operation {
        name: &'static str,
        dtype: &'static str,
        backend: &'static str,
    },
}

impl Contender {
    pub fn run(self, buffers: &mut Buffers) {
        let share = buffers.share();
        match self {
            Self::Memcpy => both(buffers, share, |x, y| y.copy_from_slice(x)),
            Self::NonTemporalCopy => both(buffers, share, non_temporal_copy),
            Self::Read if share == buffers.x.len() => {
                black_box(sum(&buffers.x));
            }
            Self::Read => buffers.x.par_chunks(share).for_each(|x| {
                black_box(sum(x));
            }),
            Self::Plain(name) => cold::plain(name, buffers),
            Self::Operation { name, dtype, backend } => {
                let backend = Backend::by_name(backend).expect("the backend is available");
                #[cfg(feature = "half")]
                if dtype != "f32" {
                    return crate::half::run(name, dtype, buffers, backend);
                }
                debug_assert_eq!(dtype, "f32", "others need the feature half");
                operation(name).expect("the operation exists").run(buffers, backend);
            }
        }
        black_box(buffers.y.as_mut_ptr());
    }
}

/// Runs `copy` on each thread's share of x and y.
fn both(buffers: &mut Buffers, share: usize, copy: impl Fn(&[f32], &mut [f32]) + Sync) {
    let Buffers { x, y, .. } = buffers;
    if share == x.len() {
        return copy(x, y);
    }
    x.par_chunks(share).zip(y.par_chunks_mut(share)).for_each(|(x, y)| copy(x, y));
}

fn layer_norm(b: &mut Buffers, backend: Backend) {
    let args = NormArgs::new().affine(&b.gamma, &b.beta);
    LayerNorm::new()
        .with_backend(backend)
        .with_parallelism(b.parallelism())
        .with_stores(b.stores)
        .forward(InOut::new(&b.x, &mut b.y), b.rows, args)
        .expect("the buffers fit");
}

fn rms_norm(b: &mut Buffers, backend: Backend) {
    let args = NormArgs::new().gamma(&b.gamma);
    RmsNorm::new()
        .with_backend(backend)
        .with_parallelism(b.parallelism())
        .with_stores(b.stores)
        .forward(InOut::new(&b.x, &mut b.y), b.rows, args)
        .expect("the buffers fit");
}

/// Rows are the heads of tokens: x lies in the first third of each token. Eight heads, if so many divide the rows.
fn rms_norm_heads(b: &mut Buffers, backend: Backend) {
    let (rows, cols) = (b.rows.rows(), b.rows.cols());
    let heads = if rows.is_multiple_of(8) { 8 } else { 1 };
    let width = heads * cols;
    let parallelism = b.parallelism();
    let x = b.heads.get_or_insert_with(|| {
        let tokens: Vec<f32> = b.x.chunks(width).flat_map(|token| token.repeat(3)).collect();
        Aligned::new(tokens.into_iter())
    });
    let args = NormArgs::new().gamma(&b.gamma);
    let io = InOut::strided(x, Pitch::nested(heads, cols, 3 * width), &mut b.y, cols);
    RmsNorm::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .with_stores(b.stores)
        .forward(io, b.rows, args)
        .expect("the buffers fit");
}

/// z is dy and y is dx. The statistics are those that a forward pass kept, as far as time goes.
fn layer_norm_backward(b: &mut Buffers, backend: Backend) {
    let parallelism = b.parallelism();
    let args = GradArgs::new()
        .gamma(&b.gamma)
        .stats(&b.mean, &b.rstd)
        .dgamma(&mut b.dgamma)
        .dbeta(&mut b.dbeta)
        .scratch(&mut b.scratch);
    LayerNorm::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .with_stores(b.stores)
        .backward(InOut::new(&b.z, &mut b.y), &b.x, b.rows, args)
        .expect("the buffers fit");
}

fn rms_norm_backward(b: &mut Buffers, backend: Backend) {
    let parallelism = b.parallelism();
    let args =
        GradArgs::new().gamma(&b.gamma).rstd(&b.rstd).dgamma(&mut b.dgamma).scratch(&mut b.scratch);
    RmsNorm::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .with_stores(b.stores)
        .backward(InOut::new(&b.z, &mut b.y), &b.x, b.rows, args)
        .expect("the buffers fit");
}

/// Training: the sum, which backward needs, takes the place of the residual, and the mask is drawn again there.
fn dropout_residual_layer_norm(b: &mut Buffers, backend: Backend) {
    let parallelism = b.parallelism();
    let args = NormArgs::new()
        .affine(&b.gamma, &b.beta)
        .x_bias(&b.beta)
        .dropout(0.1, STREAM)
        .update_residual(&mut b.residual)
        .stats(&mut b.mean, &mut b.rstd);
    LayerNorm::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .with_stores(b.stores)
        .forward(InOut::new(&b.x, &mut b.y), b.rows, args)
        .expect("the buffers fit");
}

/// z is dy, y is dx, and the residual's place has its gradient.
fn dropout_residual_layer_norm_backward(b: &mut Buffers, backend: Backend) {
    let parallelism = b.parallelism();
    let args = GradArgs::new()
        .gamma(&b.gamma)
        .stats(&b.mean, &b.rstd)
        .dropout(0.1, STREAM)
        .dresidual(&mut b.residual)
        .dgamma(&mut b.dgamma)
        .dbeta(&mut b.dbeta)
        .dbias(&mut b.dbias)
        .scratch(&mut b.scratch);
    LayerNorm::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .with_stores(b.stores)
        .backward(InOut::new(&b.z, &mut b.y), &b.x, b.rows, args)
        .expect("the buffers fit");
}

/// As of the gradients of rows.
fn batch_norm_backward(b: &mut Buffers, backend: Backend) {
    let parallelism = b.parallelism();
    let args = GradArgs::new()
        .gamma(&b.gamma)
        .stats(&b.column_mean, &b.column_rstd)
        .dgamma(&mut b.dgamma)
        .dbeta(&mut b.dbeta)
        .scratch(&mut b.scratch);
    BatchNorm::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .with_stores(b.stores)
        .backward(InOut::new(&b.z, &mut b.y), &b.x, b.rows, args)
        .expect("the buffers fit");
}

fn batch_norm_backward_first(b: &mut Buffers, backend: Backend) {
    let parallelism = b.parallelism();
    let args = GradArgs::new()
        .gamma(&b.plane_gamma)
        .stats(&b.mean, &b.rstd)
        .dgamma(&mut b.plane_dgamma)
        .dbeta(&mut b.plane_dbeta)
        .scratch(&mut b.scratch);
    BatchNorm::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .with_stores(b.stores)
        .backward(InOut::new(&b.z, &mut b.y), &b.x, b.first, args)
        .expect("the buffers fit");
}

fn group_norm_backward_first(b: &mut Buffers, backend: Backend) {
    let (groups, parallelism) = (groups(b.first.channels()), b.parallelism());
    let args = GradArgs::new()
        .gamma(&b.plane_gamma)
        .stats(&b.mean[..groups], &b.rstd[..groups])
        .dgamma(&mut b.plane_dgamma)
        .dbeta(&mut b.plane_dbeta)
        .scratch(&mut b.scratch);
    GroupNorm::new()
        .with_groups(groups)
        .with_backend(backend)
        .with_parallelism(parallelism)
        .with_stores(b.stores)
        .backward(InOut::new(&b.z, &mut b.y), &b.x, b.first, args)
        .expect("the buffers fit");
}

/// Every run adds x to the residual again, which no sum of squares minds.
fn rms_norm_residual(b: &mut Buffers, backend: Backend) {
    let parallelism = b.parallelism();
    let args = NormArgs::new().gamma(&b.gamma).update_residual(&mut b.residual);
    RmsNorm::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .with_stores(b.stores)
        .forward(InOut::new(&b.x, &mut b.y), b.rows, args)
        .expect("the buffers fit");
}

fn rms_norm_gated(b: &mut Buffers, backend: Backend) {
    rms_norm_gate(b, backend, GatePlace::AfterNorm);
}

fn rms_norm_gate_first(b: &mut Buffers, backend: Backend) {
    rms_norm_gate(b, backend, GatePlace::BeforeNorm);
}

fn rms_norm_gate(b: &mut Buffers, backend: Backend, place: GatePlace) {
    let args = NormArgs::new().gamma(&b.gamma).gate(&b.z);
    RmsNorm::new()
        .with_gate(GateFunction::Silu, place)
        .with_backend(backend)
        .with_parallelism(b.parallelism())
        .with_stores(b.stores)
        .forward(InOut::new(&b.x, &mut b.y), b.rows, args)
        .expect("the buffers fit");
}

fn normalize_scale_shift(b: &mut Buffers, backend: Backend) {
    let statistics = Statistics::of_rows(&b.mean, &b.rstd);
    let args = NormArgs::new().affine(&b.gamma, &b.beta);
    NormalizeScaleShift::new()
        .with_backend(backend)
        .with_parallelism(b.parallelism())
        .with_stores(b.stores)
        .forward(InOut::new(&b.x, &mut b.y), b.rows, statistics, args)
        .expect("the buffers fit");
}

fn row_moments(b: &mut Buffers, backend: Backend) {
    RowMoments::new()
        .with_backend(backend)
        .with_parallelism(b.parallelism())
        .compute(&b.x, b.rows, &mut b.moments[..b.rows.rows()], MomentArgs::new())
        .expect("the buffers fit");
}

fn batch_norm_training(b: &mut Buffers, backend: Backend) {
    let parallelism = b.parallelism();
    let args = TrainArgs::new()
        .affine(&b.gamma, &b.beta)
        .stats(&mut b.column_mean, &mut b.column_rstd)
        .running(&mut b.running_mean, &mut b.running_var)
        .scratch(&mut b.scratch);
    BatchNorm::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .with_stores(b.stores)
        .forward_training(InOut::new(&b.x, &mut b.y), b.rows, args)
        .expect("the buffers fit");
}

fn batch_norm_inference(b: &mut Buffers, backend: Backend) {
    let args = NormArgs::new().affine(&b.gamma, &b.beta);
    let (mean, var) = (&b.running_mean, &b.running_var);
    BatchNorm::new()
        .with_backend(backend)
        .with_parallelism(b.parallelism())
        .with_stores(b.stores)
        .forward_inference(InOut::new(&b.x, &mut b.y), b.rows, mean, var, args)
        .expect("the buffers fit");
}

fn batch_norm_training_first(b: &mut Buffers, backend: Backend) {
    let parallelism = b.parallelism();
    let args = TrainArgs::new()
        .affine(&b.plane_gamma, &b.plane_beta)
        .stats(&mut b.mean, &mut b.rstd)
        .scratch(&mut b.scratch);
    BatchNorm::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .with_stores(b.stores)
        .forward_training(InOut::new(&b.x, &mut b.y), b.first, args)
        .expect("the buffers fit");
}

/// Groups of eight channels, as far as there are as many.
fn groups(channels: usize) -> usize {
    if channels.is_multiple_of(8) { channels / 8 } else { 1 }
}

fn group_norm_first(b: &mut Buffers, backend: Backend) {
    let args = NormArgs::new().affine(&b.plane_gamma, &b.plane_beta);
    GroupNorm::new()
        .with_groups(groups(b.first.channels()))
        .with_backend(backend)
        .with_parallelism(b.parallelism())
        .with_stores(b.stores)
        .forward(InOut::new(&b.x, &mut b.y), b.first, args)
        .expect("the buffers fit");
}

fn group_norm_last(b: &mut Buffers, backend: Backend) {
    let (groups, parallelism) = (groups(b.last.channels()), b.parallelism());
    let args = NormArgs::new()
        .affine(&b.gamma, &b.beta)
        .stats(&mut b.column_mean[..groups], &mut b.column_rstd[..groups])
        .scratch(&mut b.scratch);
    GroupNorm::new()
        .with_groups(groups)
        .with_backend(backend)
        .with_parallelism(parallelism)
        .with_stores(b.stores)
        .forward(InOut::new(&b.x, &mut b.y), b.last, args)
        .expect("the buffers fit");
}

fn instance_norm_first(b: &mut Buffers, backend: Backend) {
    let args = NormArgs::new().affine(&b.plane_gamma, &b.plane_beta);
    InstanceNorm::new()
        .with_backend(backend)
        .with_parallelism(b.parallelism())
        .with_stores(b.stores)
        .forward(InOut::new(&b.x, &mut b.y), b.first, args)
        .expect("the buffers fit");
}

fn instance_norm_masked_last(b: &mut Buffers, backend: Backend) {
    let valid = ValidRows::Mask(Mask::Packed(&b.valid_rows));
    let args = NormArgs::new().affine(&b.gamma, &b.beta).valid(valid);
    InstanceNorm::new()
        .with_backend(backend)
        .with_parallelism(b.parallelism())
        .with_stores(b.stores)
        .forward(InOut::new(&b.x, &mut b.y), b.last, args)
        .expect("the buffers fit");
}

fn layer_norm_channels_first(b: &mut Buffers, backend: Backend) {
    let args = NormArgs::new().affine(&b.plane_gamma, &b.plane_beta);
    LayerNorm::new()
        .with_backend(backend)
        .with_parallelism(b.parallelism())
        .with_stores(b.stores)
        .forward(InOut::new(&b.x, &mut b.y), b.first, args)
        .expect("the buffers fit");
}

fn column_moments(b: &mut Buffers, backend: Backend) {
    let parallelism = b.parallelism();
    let args = MomentArgs::new().scratch(&mut b.scratch);
    ColumnMoments::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .compute(&b.x, b.rows, &mut b.moments[..b.rows.cols()], args)
        .expect("the buffers fit");
}

fn column_moments_masked(b: &mut Buffers, backend: Backend) {
    let parallelism = b.parallelism();
    let valid = ValidRows::Mask(Mask::Packed(&b.valid_rows));
    let args = MomentArgs::new().valid(valid).scratch(&mut b.scratch);
    ColumnMoments::new()
        .with_backend(backend)
        .with_parallelism(parallelism)
        .compute(&b.x, b.rows, &mut b.moments[..b.rows.cols()], args)
        .expect("the buffers fit");
}

fn regularizer(b: &Buffers, backend: Backend) -> Regularizer {
    Regularizer::new()
        .with_l1(1e-4)
        .with_l2(1e-2)
        .with_backend(backend)
        .with_parallelism(b.parallelism())
        .with_stores(b.stores)
}

fn penalty(b: &mut Buffers, backend: Backend) {
    black_box(regularizer(b, backend).penalty(&b.x)).expect("right factors");
}

fn penalty_gradient(b: &mut Buffers, backend: Backend) {
    black_box(regularizer(b, backend).penalty_and_add_gradient(&b.x, &mut b.y))
        .expect("the buffers fit");
}

fn proximal(b: &mut Buffers, backend: Backend) {
    regularizer(b, backend).proximal(InOut::new(&b.x, &mut b.y), 0.1).expect("the buffers fit");
}

fn standard_scaler_fit(b: &mut Buffers, backend: Backend) {
    // A setter takes the scaler, whose buffers are to stay.
    let scaler = replace(&mut b.standard_scaler, StandardScaler::new(0).expect("memory"));
    b.standard_scaler = scaler.with_backend(backend).with_parallelism(b.parallelism());
    b.standard_scaler.fit(&b.x, b.rows).expect("the buffers fit");
}

fn standard_scaler_transform(b: &mut Buffers, backend: Backend) {
    let scaler = replace(&mut b.standard_scaler, StandardScaler::new(0).expect("memory"));
    let scaler = scaler.with_backend(backend).with_parallelism(b.parallelism());
    b.standard_scaler = scaler.with_stores(b.stores);
    b.standard_scaler.transform(InOut::new(&b.x, &mut b.y), b.rows).expect("the buffers fit");
}

fn min_max_scaler_fit(b: &mut Buffers, backend: Backend) {
    let scaler = replace(&mut b.min_max_scaler, MinMaxScaler::new(0).expect("memory"));
    b.min_max_scaler = scaler.with_backend(backend).with_parallelism(b.parallelism());
    b.min_max_scaler.fit(&b.x, b.rows).expect("the buffers fit");
}

fn normalizer_l2(b: &mut Buffers, backend: Backend) {
    Normalizer::new()
        .with_backend(backend)
        .with_parallelism(b.parallelism())
        .with_stores(b.stores)
        .forward(InOut::new(&b.x, &mut b.y), b.rows)
        .expect("the buffers fit");
}

fn dropout(b: &mut Buffers, backend: Backend) {
    let parallelism = b.parallelism();
    let args = DropoutArgs::draw(STREAM).keep_mask(MaskMut::Packed(&mut b.mask));
    Dropout::new()
        .with_p(0.1)
        .with_backend(backend)
        .with_parallelism(parallelism)
        .with_stores(b.stores)
        .forward(InOut::new(&b.x, &mut b.y), args)
        .expect("the buffers fit");
}

fn dropout_mask(b: &mut Buffers, backend: Backend) {
    Dropout::new()
        .with_p(0.1)
        .with_backend(backend)
        .with_parallelism(b.parallelism())
        .mask(STREAM, b.x.len(), MaskMut::Packed(&mut b.mask))
        .expect("the buffers fit");
}

pub const STREAM: Stream = Stream { seed: 42, offset: 0 };

/// A copy with non-temporal stores.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "std has no such store")]
fn non_temporal_copy(x: &[f32], y: &mut [f32]) {
    use std::arch::x86_64::{__m128, _mm_loadu_ps, _mm_sfence, _mm_stream_ps};

    // SAFETY: a __m128 is four f32 of any bits.
    let (start, lines, end) = unsafe { y.align_to_mut::<[__m128; 4]>() };
    let (x_start, x_rest) = x.split_at(start.len());
    let (x_lines, x_end) = x_rest.as_chunks::<16>();
    start.copy_from_slice(x_start);
    for (x, y) in x_lines.iter().zip(&mut *lines) {
        for (x, y) in x.as_chunks::<4>().0.iter().zip(y) {
            // SAFETY: `x` is four readable elements, `y` is writable and aligned to 16 bytes.
            unsafe { _mm_stream_ps(std::ptr::from_mut(y).cast(), _mm_loadu_ps(x.as_ptr())) };
        }
    }
    // SAFETY: SSE is part of x86-64. It orders the stores above before what the caller does next.
    unsafe { _mm_sfence() };
    let (x_left, _) =
        x_lines[lines.len()..].as_flattened().split_at(x_lines[lines.len()..].len() * 16);
    end[..x_left.len()].copy_from_slice(x_left);
    end[x_left.len()..].copy_from_slice(x_end);
}

/// Elsewhere the yardstick is memcpy.
#[cfg(not(target_arch = "x86_64"))]
fn non_temporal_copy(x: &[f32], y: &mut [f32]) {
    y.copy_from_slice(x);
}

/// The fastest plain sum: 128 partial sums, on the widest registers there are.
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls what the CPU was seen to have")
)]
fn sum(x: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f")]
        fn avx512(x: &[f32]) -> f32 {
            partial_sums::<128>(x)
        }
        #[target_feature(enable = "avx2")]
        fn avx2(x: &[f32]) -> f32 {
            partial_sums::<64>(x)
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the CPU has AVX-512F.
            return unsafe { avx512(x) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the CPU has AVX2.
            return unsafe { avx2(x) };
        }
    }
    partial_sums::<32>(x)
}

#[inline(always)]
fn partial_sums<const N: usize>(x: &[f32]) -> f32 {
    let mut sums = [0.0; N];
    let (chunks, rest) = x.as_chunks::<N>();
    for chunk in chunks {
        for i in 0..N {
            sums[i] += chunk[i];
        }
    }
    sums.iter().chain(rest).sum()
}
