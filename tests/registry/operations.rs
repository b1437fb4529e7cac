//! The rows of the registry.
#![forbid(unsafe_code)]

use evenkeel::penalty::Regularizer;
use evenkeel::preprocess::{MinMaxScaler, Norm, Normalizer, StandardScaler};
use evenkeel::{
    Channels, ColumnMoments, DropoutArgs, Error, GateFunction, GatePlace, GradArgs, GradientSums,
    GroupNorm, InOut, InstanceNorm, LayerNorm, Mask, MaskMut, MomentArgs, Moments, NormArgs,
    NormalizeScaleShift, RmsNorm, RowMoments, Rows, Statistics, TrainArgs, ValidRows,
};

use super::Kind::{F32, F64, U8, Usize};
use super::Role::{Read, Update, Write};
use super::{Bag, Buffer, DROPOUT_P, DROPOUT_STREAM, Kind, Operation, Setting, Takes, group_size};

type Io<'x, 'y> = Option<InOut<'x, 'y>>;

// Lengths.
fn elements(rows: Rows) -> Option<usize> {
    Some(rows.elements())
}
fn rows_of(rows: Rows) -> Option<usize> {
    Some(rows.rows())
}
fn cols_of(rows: Rows) -> Option<usize> {
    Some(rows.cols())
}
/// Of the groups of every row.
fn groups_of(rows: Rows) -> Option<usize> {
    Some(rows.elements() / group_size(rows))
}
/// A channel, if there are elements.
fn one(rows: Rows) -> Option<usize> {
    Some(rows.cols().min(1))
}
/// The channel of every row, if there are elements.
fn planes_of(rows: Rows) -> Option<usize> {
    Some(rows.rows() * rows.cols().min(1))
}
/// As many as there are rows, if there are values for them.
fn rows_as_channels(rows: Rows) -> Option<usize> {
    (rows.cols() >= rows.rows()).then_some(rows.rows())
}
/// A set of moments a column, of three places.
fn three_places(rows: Rows) -> Option<usize> {
    rows.cols().checked_mul(3)
}
fn single(_: Rows) -> Option<usize> {
    Some(1)
}
fn packed(rows: Rows) -> Option<usize> {
    Some(rows.elements().div_ceil(8))
}
fn packed_rows(rows: Rows) -> Option<usize> {
    Some(rows.rows().div_ceil(8))
}
fn packed_cols(rows: Rows) -> Option<usize> {
    Some(rows.cols().div_ceil(8))
}
fn column_scratch(rows: Rows) -> Option<usize> {
    Some(ColumnMoments::new().scratch_len(rows))
}
fn plane_scratch(rows: Rows) -> Option<usize> {
    Some(evenkeel::BatchNorm::new().scratch_len(planes(rows)))
}
fn backward_scratch(rows: Rows) -> Option<usize> {
    Some(LayerNorm::new().backward_scratch_len(rows))
}
fn batch_backward_scratch(rows: Rows) -> Option<usize> {
    Some(evenkeel::BatchNorm::new().backward_scratch_len(rows))
}
fn plane_backward_scratch(rows: Rows) -> Option<usize> {
    Some(evenkeel::BatchNorm::new().backward_scratch_len(planes(rows)))
}
fn group_backward_scratch(rows: Rows) -> Option<usize> {
    Some(GroupNorm::new().backward_scratch_len(planes(rows)))
}
fn instance_backward_scratch(rows: Rows) -> Option<usize> {
    Some(InstanceNorm::new().backward_scratch_len(first(rows)))
}
fn last_backward_scratch(rows: Rows) -> Option<usize> {
    Some(GroupNorm::new().backward_scratch_len(last(rows)))
}
fn position_backward_scratch(rows: Rows) -> Option<usize> {
    Some(LayerNorm::new().backward_scratch_len(first(rows)))
}
fn group_scratch(rows: Rows) -> Option<usize> {
    Some(GroupNorm::new().with_groups(1).scratch_len(last(rows)))
}

// The rows as samples: each the only channel of one; each a channel of the same one; each a position of the same one.
fn planes(rows: Rows) -> Channels {
    Channels::first(rows.rows(), rows.cols().min(1), rows.cols()).expect("as many as in rows")
}
fn first(rows: Rows) -> Channels {
    Channels::first(1, rows.rows(), rows.cols()).expect("as many as in rows")
}
fn last(rows: Rows) -> Channels {
    Channels::last(1, rows.rows(), rows.cols()).expect("as many as in rows")
}

// Buffers.
const fn read(name: &'static str, kind: Kind, len: fn(Rows) -> Option<usize>) -> Buffer {
    Buffer::new(name, kind, Read, len)
}
const fn write(name: &'static str, kind: Kind, len: fn(Rows) -> Option<usize>) -> Buffer {
    Buffer::new(name, kind, Write, len)
}
const fn gamma(len: fn(Rows) -> Option<usize>) -> Buffer {
    read("gamma", F32, len).option("gamma")
}
const fn beta(len: fn(Rows) -> Option<usize>) -> Buffer {
    read("beta", F32, len).option("beta")
}
const fn mean(len: fn(Rows) -> Option<usize>) -> Buffer {
    write("mean", F64, len).option("stats")
}
const fn rstd(len: fn(Rows) -> Option<usize>) -> Buffer {
    write("rstd", F64, len).option("stats")
}
const fn scratch(len: fn(Rows) -> Option<usize>) -> Buffer {
    write("scratch", F64, len).option("scratch").at_least()
}

const VALID_BITS: Buffer = read("row_bits", U8, packed_rows).called("mask").option("valid");
const VALID_BYTES: Buffer = read("row_bytes", U8, rows_of).called("mask").option("valid_bytes");
const VALID_LENGTHS: Buffer =
    read("row_lengths", Usize, rows_of).called("lengths").option("valid_lengths");
const RESIDUAL: Buffer = read("residual", F32, elements).from("z").option("residual");
const UPDATED: Buffer = Buffer::new("updated", F32, Update, elements)
    .called("residual")
    .from("z")
    .option("update_residual");
const SUM: Buffer = write("sum", F32, elements).option("sum");
const BIAS: Buffer = read("bias", F32, cols_of).from("beta").option("bias");
const GATE: Buffer = read("gate", F32, elements).from("z").option("gate");
/// A gate that is always there.
const ALWAYS_GATE: Buffer = read("gate", F32, elements).from("z");
const PLUS: Buffer = read("plus", F32, elements).from("z").option("plus");

/// Dropout of norms: drawn, and kept as bits; or given.
const DROPOUT: Buffer = write("drop_mask", U8, packed).called("keep_mask").option("dropout");
const GIVEN_DROPOUT: Buffer =
    read("drop_bits", U8, packed).called("dropout_mask").from("bits").option("dropout_given");

/// The x of a backward pass, which reads dy where others read x.
const FORWARD_X: Buffer = read("forward_x", F32, elements).called("x").from("z");
const SAVED_MEAN: Buffer =
    read("saved_mean", F64, rows_of).called("mean").from("row_mean").option("saved");
const SAVED_RSTD: Buffer =
    read("saved_rstd", F64, rows_of).called("rstd").from("row_rstd").option("saved");
const DGAMMA: Buffer = write("dgamma", F32, cols_of).option("dgamma");
const DBETA: Buffer = write("dbeta", F64, cols_of).option("dbeta");
const ADD_DGAMMA: Buffer = Buffer::new("add_dgamma", F64, Update, cols_of)
    .called("dgamma")
    .from("col_mean")
    .option("add_dgamma");
const ADD_DBETA: Buffer =
    Buffer::new("add_dbeta", F32, Update, cols_of).called("dbeta").from("beta").option("add_dbeta");
const DSUM: Buffer = read("dsum", F32, elements).from("z").option("dsum");
const DBIAS: Buffer = write("dbias", F64, cols_of).option("dbias");
const ADD_DBIAS: Buffer =
    Buffer::new("add_dbias", F32, Update, cols_of).called("dbias").from("beta").option("add_dbias");
const DRESIDUAL: Buffer = write("dresidual", F32, elements).option("dresidual");
const ADD_DRESIDUAL: Buffer = Buffer::new("add_dresidual", F32, Update, elements)
    .called("dresidual")
    .from("z")
    .option("add_dresidual");

/// Of the groups of every row.
const SAVED_GROUPS: Buffer =
    read("saved_rstd", F64, groups_of).called("rstd").from("row_rstd").option("saved");
const DGATE: Buffer = write("dgate", F32, elements).option("dgate");
const ADD_DGATE: Buffer =
    Buffer::new("add_dgate", F32, Update, elements).called("dgate").from("z").option("add_dgate");
/// The same of channels: statistics, and gradients of parameters.
const fn saved_mean(len: fn(Rows) -> Option<usize>) -> Buffer {
    read("saved_mean", F64, len).called("mean").from("col_mean").option("saved")
}
const fn saved_rstd(len: fn(Rows) -> Option<usize>) -> Buffer {
    read("saved_rstd", F64, len).called("rstd").from("col_rstd").option("saved")
}
const fn dgamma(len: fn(Rows) -> Option<usize>) -> Buffer {
    write("dgamma", F32, len).option("dgamma")
}
const fn add_dbeta(len: fn(Rows) -> Option<usize>) -> Buffer {
    Buffer::new("add_dbeta", F32, Update, len).called("dbeta").from("beta").option("add_dbeta")
}

/// What a backward pass writes or adds to.
const GRADIENT_EXCLUDES: &[(&str, &str)] = &[
    ("dgamma", "add_dgamma"),
    ("dbeta", "add_dbeta"),
    ("dresidual", "add_dresidual"),
    ("dbias", "add_dbias"),
];

const fn running(name: &'static str, len: fn(Rows) -> Option<usize>) -> Buffer {
    Buffer::new(name, F32, Update, len).option("running")
}

/// What goes together, and what does not, of the inputs of rows.
const ROW_EXCLUDES: &[(&str, &str)] =
    &[("residual", "update_residual"), ("sum", "update_residual")];
const ROW_NEEDS: &[(&str, &[&str])] = &[("sum", &["residual", "bias", "dropout"])];
/// One way to say which rows are valid.
const ONE_VALID: &[(&str, &str)] =
    &[("valid", "valid_bytes"), ("valid", "valid_lengths"), ("valid_bytes", "valid_lengths")];

macro_rules! configured {
    ($setting:expr, $operation:expr) => {
        $operation
            .with_backend($setting.backend)
            .with_parallelism($setting.parallelism)
            .with_stores($setting.stores)
    };
}

fn valid<'a>(bag: &mut Bag<'a>) -> Option<ValidRows<'a>> {
    let bits = bag.maybe_u8("row_bits").map(|bits| ValidRows::Mask(Mask::Packed(bits)));
    let bytes = bag.maybe_u8("row_bytes").map(|bytes| ValidRows::Mask(Mask::Bytes(bytes)));
    let lengths = bag.maybe_usize("row_lengths");
    bits.or(bytes).or(lengths.map(|lengths| ValidRows::Lengths { lengths, steps: 1 }))
}

fn norm_args<'a>(bag: &mut Bag<'a>) -> NormArgs<'a> {
    let mut args =
        NormArgs::new().maybe_gamma(bag.maybe_f32("gamma")).maybe_beta(bag.maybe_f32("beta"));
    if let Some(rstd) = bag.maybe_f64_mut("rstd") {
        args = match bag.maybe_f64_mut("mean") {
            Some(mean) => args.stats(mean, rstd),
            None => args.rstd(rstd),
        };
    }
    if let Some(bias) = bag.maybe_f32("bias") {
        args = args.bias(bias);
    }
    if let Some(bits) = bag.maybe_u8_mut("drop_mask") {
        let drawn = DropoutArgs::draw(DROPOUT_STREAM);
        args = args.dropout(DROPOUT_P, drawn.keep_mask(MaskMut::Packed(bits)));
    }
    if let Some(bits) = bag.maybe_u8("drop_bits") {
        args = args.dropout(DROPOUT_P, Mask::Packed(bits));
    }
    if let Some(residual) = bag.maybe_f32("residual") {
        args = args.residual(residual);
    }
    if let Some(residual) = bag.maybe_f32_mut("updated") {
        args = args.update_residual(residual);
    }
    if let Some(sum) = bag.maybe_f32_mut("sum") {
        args = args.sum(sum);
    }
    if let Some(gate) = bag.maybe_f32("gate") {
        args = args.gate(gate);
    }
    if let Some(plus) = bag.maybe_f32("plus") {
        args = args.plus(plus);
    }
    if let Some(valid) = valid(bag) {
        args = args.valid(valid);
    }
    if let Some(scratch) = bag.maybe_f64_mut("scratch") {
        args = args.scratch(scratch);
    }
    args
}

fn train_args<'a>(bag: &mut Bag<'a>) -> TrainArgs<'a> {
    let mut args =
        TrainArgs::new().maybe_gamma(bag.maybe_f32("gamma")).maybe_beta(bag.maybe_f32("beta"));
    if let Some(mean) = bag.maybe_f64_mut("mean") {
        args = args.stats(mean, bag.f64_mut("rstd"));
    }
    if let Some(mean) = bag.maybe_f32_mut("running_mean") {
        args = args.running(mean, bag.f32_mut("running_var"));
    }
    if let Some(valid) = valid(bag) {
        args = args.valid(valid);
    }
    if let Some(scratch) = bag.maybe_f64_mut("scratch") {
        args = args.scratch(scratch);
    }
    args
}

fn grad_args<'a>(bag: &mut Bag<'a>) -> GradArgs<'a> {
    let mut args =
        GradArgs::new().maybe_gamma(bag.maybe_f32("gamma")).maybe_beta(bag.maybe_f32("beta"));
    if let Some(gate) = bag.maybe_f32("gate") {
        args = args.gate(gate);
    }
    if let Some(dgate) = bag.maybe_f32_mut("dgate") {
        args = args.dgate(dgate);
    }
    if let Some(dgate) = bag.maybe_f32_mut("add_dgate") {
        args = args.add_dgate(dgate);
    }
    if let Some(rstd) = bag.maybe_f64("saved_rstd") {
        args = match bag.maybe_f64("saved_mean") {
            Some(mean) => args.stats(mean, rstd),
            None => args.rstd(rstd),
        };
    }
    if let Some(dgamma) = bag.maybe_f32_mut("dgamma") {
        args = args.dgamma(dgamma);
    }
    if let Some(dgamma) = bag.maybe_f64_mut("add_dgamma") {
        args = args.add_dgamma(dgamma);
    }
    if let Some(dbeta) = bag.maybe_f64_mut("dbeta") {
        args = args.dbeta(dbeta);
    }
    if let Some(dbeta) = bag.maybe_f32_mut("add_dbeta") {
        args = args.add_dbeta(dbeta);
    }
    if let Some(dbias) = bag.maybe_f64_mut("dbias") {
        args = args.dbias(dbias);
    }
    if let Some(dbias) = bag.maybe_f32_mut("add_dbias") {
        args = args.add_dbias(dbias);
    }
    if let Some(bits) = bag.maybe_u8("drop_bits") {
        args = args.dropout(DROPOUT_P, Mask::Packed(bits));
    }
    if let Some(dsum) = bag.maybe_f32("dsum") {
        args = args.dsum(dsum);
    }
    if let Some(dresidual) = bag.maybe_f32_mut("dresidual") {
        args = args.dresidual(dresidual);
    }
    if let Some(dresidual) = bag.maybe_f32_mut("add_dresidual") {
        args = args.add_dresidual(dresidual);
    }
    if let Some(valid) = valid(bag) {
        args = args.valid(valid);
    }
    if let Some(scratch) = bag.maybe_f64_mut("scratch") {
        args = args.scratch(scratch);
    }
    args
}

fn moment_args<'a>(bag: &mut Bag<'a>) -> MomentArgs<'a> {
    let mut args = MomentArgs::new();
    if let Some(lengths) = bag.maybe_usize("lengths") {
        args = args.lengths(lengths);
    }
    if let Some(valid) = valid(bag) {
        args = args.valid(valid);
    }
    if let Some(scratch) = bag.maybe_f64_mut("scratch") {
        args = args.scratch(scratch);
    }
    args
}

fn io<'x, 'y>(io: Io<'x, 'y>) -> InOut<'x, 'y> {
    io.expect("x and y")
}

fn done<T>(result: Result<T, Error>) -> Result<(), Error> {
    result.map(drop)
}

fn layer_norm(s: &Setting) -> LayerNorm {
    configured!(s, LayerNorm::new().with_eps(s.eps))
}
fn rms_norm(s: &Setting) -> RmsNorm {
    configured!(s, RmsNorm::new().with_eps(s.eps))
}
fn group_norm(s: &Setting) -> GroupNorm {
    configured!(s, GroupNorm::new().with_groups(1).with_eps(s.eps))
}
fn instance_norm(s: &Setting) -> InstanceNorm {
    configured!(s, InstanceNorm::new().with_eps(s.eps))
}
fn normalize(s: &Setting) -> NormalizeScaleShift {
    configured!(s, NormalizeScaleShift::new())
}
fn batch_norm(s: &Setting) -> evenkeel::BatchNorm {
    configured!(s, s.batch_norm.with_eps(s.eps))
}
fn dropout(s: &Setting) -> evenkeel::Dropout {
    configured!(s, s.dropout)
}
fn regularizer(s: &Setting) -> Regularizer {
    configured!(s, Regularizer::new().with_l1(s.l1).with_l2(s.l2))
}
fn normalizer(s: &Setting, norm: Norm) -> Normalizer {
    configured!(s, Normalizer::new().with_norm(norm))
}
fn row_moments(s: &Setting) -> RowMoments {
    RowMoments::new().with_backend(s.backend).with_parallelism(s.parallelism)
}
fn column_moments(s: &Setting) -> ColumnMoments {
    ColumnMoments::new().with_backend(s.backend).with_parallelism(s.parallelism)
}

/// A scaler that has seen statistics, whatever x is.
fn standard_scaler(s: &Setting, bag: &mut Bag<'_>) -> Result<StandardScaler, Error> {
    let (mean, m2) = (bag.f64("col_mean"), bag.f64("col_rstd"));
    let of = |(&mean, &m2): (&f64, &f64)| Moments { count: 9, mean, mean_low: 0.0, m2: m2.abs() };
    let seen: Vec<Moments> = mean.iter().zip(m2).map(of).collect();
    Ok(configured!(s, StandardScaler::from_moments(&seen)?))
}
fn min_max_scaler(s: &Setting, bag: &mut Bag<'_>) -> Result<MinMaxScaler, Error> {
    let (min, spread) = (bag.f32("running_mean"), bag.f32("running_var"));
    let max: Vec<f32> = min.iter().zip(spread).map(|(min, spread)| min + spread).collect();
    Ok(configured!(s, MinMaxScaler::from_ranges(min, &max)?))
}
/// What a scaler has seen is a part of its state: always there, and of the right length.
const SEEN: [Buffer; 2] = [read("col_mean", F64, cols_of), read("col_rstd", F64, cols_of)];
const RANGES: [Buffer; 2] = [read("running_mean", F32, cols_of), read("running_var", F32, cols_of)];

const fn operation(
    name: &'static str,
    takes: Takes,
    buffers: &'static [Buffer],
    run: fn(&Setting, Io<'_, '_>, &mut Bag<'_>) -> Result<(), Error>,
) -> Operation {
    Operation { name, takes, buffers, excludes: &[], needs: &[], run }
}

impl Operation {
    const fn excludes(mut self, excludes: &'static [(&'static str, &'static str)]) -> Self {
        self.excludes = excludes;
        self
    }
    const fn needs(mut self, needs: &'static [(&'static str, &'static [&'static str])]) -> Self {
        self.needs = needs;
        self
    }
}

/// Every operation.
pub static OPERATIONS: &[Operation] = &[
    operation(
        "LayerNorm::forward",
        Takes::Rows,
        &[
            gamma(cols_of),
            beta(cols_of),
            UPDATED,
            RESIDUAL,
            SUM,
            BIAS,
            DROPOUT,
            GATE,
            PLUS,
            VALID_BITS,
            mean(rows_of),
            rstd(rows_of),
        ],
        |s, x, bag| done(layer_norm(s).forward(io(x), s.rows, norm_args(bag))),
    )
    .excludes(ROW_EXCLUDES)
    .needs(ROW_NEEDS),
    operation(
        "LayerNorm::forward, channels first",
        Takes::Elements,
        &[
            gamma(rows_as_channels),
            beta(rows_as_channels),
            read("half", Usize, single).called("lengths").option("valid"),
            mean(cols_of),
            rstd(cols_of),
        ],
        |s, x, bag| {
            let mut args = norm_args(bag);
            if let Some(lengths) = bag.maybe_usize("half") {
                args = args.valid(ValidRows::Lengths { lengths, steps: s.rows.cols() });
            }
            done(layer_norm(s).forward(io(x), first(s.rows), args))
        },
    ),
    operation(
        "LayerNorm::forward, channels last",
        Takes::Rows,
        &[
            gamma(cols_of),
            beta(cols_of),
            UPDATED,
            RESIDUAL,
            SUM,
            BIAS,
            GATE,
            PLUS,
            VALID_BYTES,
            mean(rows_of),
            rstd(rows_of),
        ],
        |s, x, bag| done(layer_norm(s).forward(io(x), last(s.rows), norm_args(bag))),
    )
    .excludes(ROW_EXCLUDES)
    .needs(ROW_NEEDS),
    operation(
        "RmsNorm::forward",
        Takes::Rows,
        &[
            gamma(cols_of),
            beta(cols_of),
            UPDATED,
            RESIDUAL,
            SUM,
            BIAS,
            DROPOUT,
            GATE,
            PLUS,
            VALID_BITS,
            rstd(rows_of),
        ],
        |s, x, bag| done(rms_norm(s).forward(io(x), s.rows, norm_args(bag))),
    )
    .excludes(ROW_EXCLUDES)
    .needs(ROW_NEEDS),
    operation(
        "RmsNorm::forward, 1 + gamma",
        Takes::Rows,
        &[gamma(cols_of), beta(cols_of), RESIDUAL, GATE, PLUS, rstd(rows_of)],
        |s, x, bag| {
            let norm = rms_norm(s).with_one_plus_gamma(true);
            done(norm.forward(io(x), s.rows, norm_args(bag)))
        },
    ),
    operation(
        "LayerNorm::forward, gate before",
        Takes::Rows,
        &[
            gamma(cols_of),
            beta(cols_of),
            RESIDUAL,
            SUM,
            ALWAYS_GATE,
            PLUS,
            VALID_BITS,
            mean(rows_of),
            rstd(rows_of),
        ],
        |s, x, bag| {
            let norm = layer_norm(s).with_gate(GateFunction::Silu, GatePlace::BeforeNorm);
            done(norm.forward(io(x), s.rows, norm_args(bag)))
        },
    )
    .needs(&[("sum", &["residual"])]),
    operation(
        "RmsNorm::forward, gate before",
        Takes::Rows,
        &[
            gamma(cols_of),
            beta(cols_of),
            UPDATED,
            RESIDUAL,
            SUM,
            BIAS,
            GIVEN_DROPOUT,
            ALWAYS_GATE,
            PLUS,
            VALID_BITS,
            rstd(rows_of),
        ],
        |s, x, bag| {
            let norm = rms_norm(s).with_gate(GateFunction::Silu, GatePlace::BeforeNorm);
            done(norm.forward(io(x), s.rows, norm_args(bag)))
        },
    )
    .excludes(ROW_EXCLUDES)
    .needs(ROW_NEEDS),
    operation(
        "RmsNorm::forward, sigmoid before",
        Takes::Rows,
        &[gamma(cols_of), beta(cols_of), ALWAYS_GATE, rstd(rows_of)],
        |s, x, bag| {
            let norm = rms_norm(s).with_gate(GateFunction::Sigmoid, GatePlace::BeforeNorm);
            done(norm.forward(io(x), s.rows, norm_args(bag)))
        },
    ),
    operation(
        "RmsNorm::forward, sigmoid",
        Takes::Rows,
        &[gamma(cols_of), beta(cols_of), RESIDUAL, ALWAYS_GATE, PLUS, VALID_BITS, rstd(rows_of)],
        |s, x, bag| {
            let norm = rms_norm(s).with_gate(GateFunction::Sigmoid, GatePlace::AfterNorm);
            done(norm.forward(io(x), s.rows, norm_args(bag)))
        },
    ),
    operation(
        "RmsNorm::forward, groups",
        Takes::Rows,
        &[
            gamma(cols_of),
            beta(cols_of),
            UPDATED,
            RESIDUAL,
            SUM,
            BIAS,
            DROPOUT,
            GATE,
            PLUS,
            VALID_BITS,
            rstd(groups_of),
        ],
        |s, x, bag| {
            let norm = rms_norm(s).with_group_size(group_size(s.rows));
            done(norm.forward(io(x), s.rows, norm_args(bag)))
        },
    )
    .excludes(ROW_EXCLUDES)
    .needs(ROW_NEEDS),
    operation(
        "RmsNorm::forward, groups, gate before",
        Takes::Rows,
        &[gamma(cols_of), beta(cols_of), RESIDUAL, BIAS, ALWAYS_GATE, rstd(groups_of)],
        |s, x, bag| {
            let norm = rms_norm(s).with_gate(GateFunction::Silu, GatePlace::BeforeNorm);
            let norm = norm.with_group_size(group_size(s.rows));
            done(norm.forward(io(x), s.rows, norm_args(bag)))
        },
    ),
    operation(
        "LayerNorm::backward",
        Takes::Rows,
        &[
            FORWARD_X,
            gamma(cols_of),
            SAVED_MEAN,
            SAVED_RSTD,
            DGAMMA,
            DBETA,
            ADD_DGAMMA,
            ADD_DBETA,
            GIVEN_DROPOUT,
            DBIAS,
            ADD_DBIAS,
            DSUM,
            DRESIDUAL,
            ADD_DRESIDUAL,
            VALID_BITS,
            scratch(backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            done(layer_norm(s).backward(io(dy), x, s.rows, grad_args(bag)))
        },
    )
    .excludes(GRADIENT_EXCLUDES),
    operation(
        "LayerNorm::forward, whole rows dropped",
        Takes::Rows,
        &[
            gamma(cols_of),
            RESIDUAL,
            SUM,
            write("row_mask", U8, packed_rows).called("keep_mask").option("mask"),
            VALID_BYTES,
        ],
        |s, x, bag| {
            let mut drawn = DropoutArgs::draw(DROPOUT_STREAM).whole_rows(s.rows);
            if let Some(bits) = bag.maybe_u8_mut("row_mask") {
                drawn = drawn.keep_mask(MaskMut::Packed(bits));
            }
            let args = norm_args(bag).dropout(DROPOUT_P, drawn);
            done(layer_norm(s).forward(io(x), s.rows, args))
        },
    ),
    operation(
        "LayerNorm::backward, dropout drawn again",
        Takes::Rows,
        &[FORWARD_X, gamma(cols_of), DGAMMA, DBIAS, DSUM, DRESIDUAL, VALID_BITS],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            let args = grad_args(bag).dropout(DROPOUT_P, DROPOUT_STREAM);
            done(layer_norm(s).backward(io(dy), x, s.rows, args))
        },
    ),
    operation(
        "LayerNorm::backward, read only",
        Takes::Nothing,
        &[
            read("dy", F32, elements).from("x"),
            FORWARD_X,
            gamma(cols_of),
            SAVED_MEAN,
            SAVED_RSTD,
            DGAMMA,
            ADD_DBETA,
            VALID_BYTES,
            scratch(backward_scratch),
        ],
        |s, _, bag| {
            let (dy, x) = (InOut::read_only(bag.f32("dy")), bag.f32("forward_x"));
            done(layer_norm(s).backward(dy, x, s.rows, grad_args(bag)))
        },
    ),
    operation(
        "RmsNorm::backward",
        Takes::Rows,
        &[
            FORWARD_X,
            gamma(cols_of),
            SAVED_RSTD,
            DGAMMA,
            DBETA,
            ADD_DGAMMA,
            ADD_DBETA,
            GIVEN_DROPOUT,
            DBIAS,
            ADD_DBIAS,
            DSUM,
            DRESIDUAL,
            ADD_DRESIDUAL,
            VALID_BITS,
            scratch(backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            done(rms_norm(s).backward(io(dy), x, s.rows, grad_args(bag)))
        },
    )
    .excludes(GRADIENT_EXCLUDES),
    operation(
        "RmsNorm::backward, 1 + gamma",
        Takes::Rows,
        &[FORWARD_X, gamma(cols_of), DGAMMA, DSUM],
        |s, dy, bag| {
            let (norm, x) = (rms_norm(s).with_one_plus_gamma(true), bag.f32("forward_x"));
            done(norm.backward(io(dy), x, s.rows, grad_args(bag)))
        },
    ),
    operation(
        "RmsNorm::backward, grouped",
        Takes::Rows,
        &[FORWARD_X, gamma(cols_of), SAVED_GROUPS, DGAMMA, DSUM, scratch(backward_scratch)],
        |s, dy, bag| {
            let (norm, x) = (rms_norm(s).with_group_size(group_size(s.rows)), bag.f32("forward_x"));
            done(norm.backward(io(dy), x, s.rows, grad_args(bag)))
        },
    ),
    operation(
        "LayerNorm::backward, gated",
        Takes::Rows,
        &[
            FORWARD_X,
            ALWAYS_GATE,
            gamma(cols_of),
            beta(cols_of),
            DGATE,
            ADD_DGATE,
            DBETA,
            GIVEN_DROPOUT,
            DBIAS,
            DRESIDUAL,
            VALID_BITS,
            scratch(backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            done(layer_norm(s).backward(io(dy), x, s.rows, grad_args(bag)))
        },
    )
    .excludes(&[("dgate", "add_dgate")]),
    operation(
        "RmsNorm::backward, gated first, grouped",
        Takes::Rows,
        &[
            FORWARD_X,
            ALWAYS_GATE,
            gamma(cols_of),
            SAVED_GROUPS,
            DGATE,
            ADD_DGATE,
            DGAMMA,
            GIVEN_DROPOUT,
            ADD_DBIAS,
            DSUM,
            ADD_DRESIDUAL,
            VALID_BYTES,
            scratch(backward_scratch),
        ],
        |s, dy, bag| {
            let norm = rms_norm(s).with_gate(GateFunction::Sigmoid, GatePlace::BeforeNorm);
            let norm = norm.with_group_size(group_size(s.rows));
            let x = bag.f32("forward_x");
            done(norm.backward(io(dy), x, s.rows, grad_args(bag)))
        },
    )
    .excludes(&[("dgate", "add_dgate")]),
    operation(
        "RmsNorm::backward, gated first, read only",
        Takes::Nothing,
        &[
            read("dy", F32, elements).from("x"),
            FORWARD_X,
            ALWAYS_GATE,
            gamma(cols_of),
            DGATE,
            DGAMMA,
            scratch(backward_scratch),
        ],
        |s, _, bag| {
            let norm = rms_norm(s).with_gate(GateFunction::Silu, GatePlace::BeforeNorm);
            let (dy, x) = (InOut::read_only(bag.f32("dy")), bag.f32("forward_x"));
            done(norm.backward(dy, x, s.rows, grad_args(bag)))
        },
    ),
    operation(
        "NormalizeScaleShift::backward",
        Takes::Rows,
        &[
            FORWARD_X,
            read("row_mean", F64, rows_of).called("mean"),
            read("row_rstd", F64, rows_of).called("rstd"),
            gamma(cols_of),
            DGAMMA,
            DBETA,
            ADD_DGAMMA,
            ADD_DBETA,
            GIVEN_DROPOUT,
            ADD_DBIAS,
            DSUM,
            DRESIDUAL,
            ADD_DRESIDUAL,
            VALID_BITS,
            scratch(backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            let given = Statistics::of_rows(bag.f64("row_mean"), bag.f64("row_rstd"));
            done(normalize(s).backward(io(dy), x, s.rows, given, grad_args(bag)))
        },
    )
    .excludes(GRADIENT_EXCLUDES),
    operation(
        "NormalizeScaleShift::forward",
        Takes::Rows,
        &[
            read("row_mean", F64, rows_of).called("mean"),
            read("row_rstd", F64, rows_of).called("rstd"),
            gamma(cols_of),
            beta(cols_of),
            VALID_BITS,
        ],
        |s, x, bag| {
            let given = Statistics::of_rows(bag.f64("row_mean"), bag.f64("row_rstd"));
            done(normalize(s).forward(io(x), s.rows, given, norm_args(bag)))
        },
    ),
    operation(
        "NormalizeScaleShift::forward, columns",
        Takes::Rows,
        &[
            read("col_mean", F64, cols_of).called("mean"),
            read("col_rstd", F64, cols_of).called("rstd"),
            gamma(cols_of),
            beta(cols_of),
            VALID_BITS,
        ],
        |s, x, bag| {
            let given = Statistics::of_columns(bag.f64("col_mean"), bag.f64("col_rstd"));
            done(normalize(s).forward(io(x), s.rows, given, norm_args(bag)))
        },
    ),
    operation(
        "NormalizeScaleShift::forward, channels first",
        Takes::Elements,
        &[
            read("row_mean", F64, rows_of).called("mean"),
            read("row_rstd", F64, rows_of).called("rstd"),
            gamma(rows_as_channels),
            beta(rows_as_channels),
        ],
        |s, x, bag| {
            let given = Statistics::of_columns(bag.f64("row_mean"), bag.f64("row_rstd"));
            done(normalize(s).forward(io(x), first(s.rows), given, norm_args(bag)))
        },
    ),
    operation(
        "BatchNorm::backward",
        Takes::Rows,
        &[
            FORWARD_X,
            gamma(cols_of),
            saved_mean(cols_of),
            saved_rstd(cols_of),
            DGAMMA,
            DBETA,
            ADD_DGAMMA,
            ADD_DBETA,
            VALID_BITS,
            scratch(batch_backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            done(batch_norm(s).backward(io(dy), x, s.rows, grad_args(bag)))
        },
    )
    .excludes(GRADIENT_EXCLUDES),
    operation(
        "BatchNorm::backward, channels first",
        Takes::Elements,
        &[
            FORWARD_X,
            gamma(one),
            saved_mean(one),
            saved_rstd(one),
            dgamma(one),
            add_dbeta(one),
            read("bits", U8, packed).called("mask").option("valid"),
            scratch(plane_backward_scratch),
        ],
        |s, dy, bag| {
            let (x, mut args) = (bag.f32("forward_x"), grad_args(bag));
            if let Some(bits) = bag.maybe_u8("bits") {
                args = args.valid(ValidRows::Mask(Mask::Packed(bits)));
            }
            done(batch_norm(s).backward(io(dy), x, planes(s.rows), args))
        },
    ),
    operation(
        "BatchNorm::backward, read only",
        Takes::Nothing,
        &[
            read("dy", F32, elements).from("x"),
            FORWARD_X,
            gamma(cols_of),
            saved_mean(cols_of),
            saved_rstd(cols_of),
            DGAMMA,
            ADD_DBETA,
            VALID_BYTES,
            scratch(batch_backward_scratch),
        ],
        |s, _, bag| {
            let (dy, x) = (InOut::read_only(bag.f32("dy")), bag.f32("forward_x"));
            done(batch_norm(s).backward(dy, x, s.rows, grad_args(bag)))
        },
    ),
    operation(
        "BatchNorm::backward_inference",
        Takes::Rows,
        &[
            FORWARD_X,
            read("running_mean", F32, cols_of),
            read("running_var", F32, cols_of),
            gamma(cols_of),
            DGAMMA,
            ADD_DBETA,
            VALID_BITS,
            scratch(batch_backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            let running = (bag.f32("running_mean"), bag.f32("running_var"));
            done(batch_norm(s).backward_inference(io(dy), x, s.rows, running, grad_args(bag)))
        },
    ),
    operation(
        "BatchNorm::backward_apply",
        Takes::Rows,
        &[
            FORWARD_X,
            read("sum_dy", F64, cols_of).from("col_mean"),
            read("sum_dy_x_hat", F64, cols_of).from("col_mean"),
            read("saved_mean", F64, cols_of).called("mean").from("col_mean"),
            read("saved_rstd", F64, cols_of).called("rstd").from("col_rstd"),
            gamma(cols_of),
            VALID_BITS,
            scratch(batch_backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            let count = (s.rows.rows() as u64).saturating_add(5);
            let sums = GradientSums::new(count, bag.f64("sum_dy"), bag.f64("sum_dy_x_hat"));
            done(batch_norm(s).backward_apply(io(dy), x, s.rows, sums, grad_args(bag)))
        },
    ),
    operation(
        "NormalizeScaleShift::backward, columns",
        Takes::Rows,
        &[
            FORWARD_X,
            read("col_mean", F64, cols_of).called("mean"),
            read("col_rstd", F64, cols_of).called("rstd"),
            gamma(cols_of),
            DGAMMA,
            ADD_DBETA,
            VALID_BITS,
            scratch(batch_backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            let given = Statistics::of_columns(bag.f64("col_mean"), bag.f64("col_rstd"));
            done(normalize(s).backward(io(dy), x, s.rows, given, grad_args(bag)))
        },
    ),
    operation(
        "GroupNorm::backward, planes",
        Takes::Elements,
        &[
            FORWARD_X,
            gamma(one),
            read("lengths", Usize, rows_of).option("valid"),
            SAVED_MEAN,
            SAVED_RSTD,
            dgamma(one),
            add_dbeta(one),
            scratch(group_backward_scratch),
        ],
        |s, dy, bag| {
            let (x, mut args) = (bag.f32("forward_x"), grad_args(bag));
            if let Some(lengths) = bag.maybe_usize("lengths") {
                args = args.valid(ValidRows::Lengths { lengths, steps: s.rows.cols() });
            }
            done(group_norm(s).backward(io(dy), x, planes(s.rows), args))
        },
    ),
    operation(
        "GroupNorm::backward, channels last",
        Takes::Elements,
        &[
            FORWARD_X,
            gamma(cols_of),
            VALID_BITS,
            saved_mean(single),
            saved_rstd(single),
            DGAMMA,
            ADD_DBETA,
            scratch(last_backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            done(group_norm(s).backward(io(dy), x, last(s.rows), grad_args(bag)))
        },
    ),
    operation(
        "InstanceNorm::backward, channels first",
        Takes::Elements,
        &[
            FORWARD_X,
            gamma(rows_as_channels),
            SAVED_MEAN,
            SAVED_RSTD,
            dgamma(rows_of),
            add_dbeta(rows_of),
            scratch(instance_backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            done(instance_norm(s).backward(io(dy), x, first(s.rows), grad_args(bag)))
        },
    ),
    operation(
        "LayerNorm::backward, channels first",
        Takes::Elements,
        &[
            FORWARD_X,
            gamma(rows_as_channels),
            saved_mean(cols_of),
            saved_rstd(cols_of),
            dgamma(rows_of),
            add_dbeta(rows_of),
            scratch(position_backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            done(layer_norm(s).backward(io(dy), x, first(s.rows), grad_args(bag)))
        },
    ),
    operation(
        "BatchNorm::forward_training",
        Takes::Rows,
        &[
            gamma(cols_of),
            beta(cols_of),
            running("running_mean", cols_of),
            running("running_var", cols_of),
            VALID_BITS,
            VALID_BYTES,
            VALID_LENGTHS,
            mean(cols_of),
            rstd(cols_of),
            scratch(column_scratch),
        ],
        |s, x, bag| done(batch_norm(s).forward_training(io(x), s.rows, train_args(bag))),
    )
    .excludes(ONE_VALID),
    operation(
        "BatchNorm::forward_training, channels first",
        Takes::Elements,
        &[
            gamma(one),
            beta(one),
            running("running_mean", one),
            running("running_var", one),
            read("lengths", Usize, rows_of).option("valid"),
            mean(one),
            rstd(one),
            scratch(plane_scratch),
        ],
        |s, x, bag| {
            let mut args = train_args(bag);
            if let Some(lengths) = bag.maybe_usize("lengths") {
                args = args.valid(ValidRows::Lengths { lengths, steps: s.rows.cols() });
            }
            done(batch_norm(s).forward_training(io(x), planes(s.rows), args))
        },
    ),
    operation(
        "BatchNorm::training_statistics",
        Takes::Nothing,
        &[
            read("seen", Kind::Moments, cols_of).called("moments"),
            running("running_mean", cols_of),
            running("running_var", cols_of),
            write("mean", F64, cols_of),
            write("rstd", F64, cols_of),
        ],
        |s, _, bag| batch_norm(s).training_statistics(bag.moments("seen"), train_args(bag)),
    ),
    operation(
        "BatchNorm::forward_inference",
        Takes::Rows,
        &[
            read("running_mean", F32, cols_of),
            read("running_var", F32, cols_of),
            gamma(cols_of),
            beta(cols_of),
            VALID_BITS,
            VALID_BYTES,
            VALID_LENGTHS,
        ],
        |s, x, bag| {
            let (mean, var) = (bag.f32("running_mean"), bag.f32("running_var"));
            done(batch_norm(s).forward_inference(io(x), s.rows, mean, var, norm_args(bag)))
        },
    )
    .excludes(ONE_VALID),
    operation(
        "BatchNorm::forward_inference, channels first",
        Takes::Elements,
        &[
            read("running_mean", F32, one),
            read("running_var", F32, one),
            gamma(one),
            beta(one),
            read("bits", U8, packed).called("mask").option("valid"),
        ],
        |s, x, bag| {
            let (mean, var) = (bag.f32("running_mean"), bag.f32("running_var"));
            let mut args = norm_args(bag);
            if let Some(bits) = bag.maybe_u8("bits") {
                args = args.valid(ValidRows::Mask(Mask::Packed(bits)));
            }
            done(batch_norm(s).forward_inference(io(x), planes(s.rows), mean, var, args))
        },
    ),
    operation(
        "GroupNorm::forward, planes",
        Takes::Elements,
        &[
            gamma(one),
            beta(one),
            read("lengths", Usize, rows_of).option("valid"),
            mean(rows_of),
            rstd(rows_of),
        ],
        |s, x, bag| {
            let mut args = norm_args(bag);
            if let Some(lengths) = bag.maybe_usize("lengths") {
                args = args.valid(ValidRows::Lengths { lengths, steps: s.rows.cols() });
            }
            done(group_norm(s).forward(io(x), planes(s.rows), args))
        },
    ),
    operation(
        "GroupNorm::forward, channels first",
        Takes::Elements,
        &[gamma(rows_as_channels), beta(rows_as_channels), mean(single), rstd(single)],
        |s, x, bag| done(group_norm(s).forward(io(x), first(s.rows), norm_args(bag))),
    ),
    operation(
        "GroupNorm::forward, channels last",
        Takes::Elements,
        &[
            gamma(cols_of),
            beta(cols_of),
            VALID_BITS,
            mean(single),
            rstd(single),
            scratch(group_scratch),
        ],
        |s, x, bag| done(group_norm(s).forward(io(x), last(s.rows), norm_args(bag))),
    ),
    operation(
        "InstanceNorm::forward, planes",
        Takes::Elements,
        &[
            gamma(one),
            beta(one),
            read("bits", U8, packed).called("mask").option("valid"),
            mean(planes_of),
            rstd(planes_of),
        ],
        |s, x, bag| {
            let mut args = norm_args(bag);
            if let Some(bits) = bag.maybe_u8("bits") {
                args = args.valid(ValidRows::Mask(Mask::Packed(bits)));
            }
            done(instance_norm(s).forward(io(x), planes(s.rows), args))
        },
    ),
    operation(
        "InstanceNorm::forward, channels first",
        Takes::Elements,
        &[
            gamma(rows_as_channels),
            beta(rows_as_channels),
            read("half", Usize, single).called("lengths").option("valid"),
            mean(rows_of),
            rstd(rows_of),
        ],
        |s, x, bag| {
            let mut args = norm_args(bag);
            if let Some(lengths) = bag.maybe_usize("half") {
                args = args.valid(ValidRows::Lengths { lengths, steps: s.rows.cols() });
            }
            done(instance_norm(s).forward(io(x), first(s.rows), args))
        },
    ),
    operation(
        "InstanceNorm::forward, channels last",
        Takes::Elements,
        &[
            gamma(cols_of),
            beta(cols_of),
            VALID_BITS,
            VALID_BYTES,
            VALID_LENGTHS,
            mean(cols_of),
            rstd(cols_of),
            scratch(group_scratch),
        ],
        |s, x, bag| done(instance_norm(s).forward(io(x), last(s.rows), norm_args(bag))),
    )
    .excludes(ONE_VALID),
    operation("Dropout::mask, bits", Takes::Nothing, &[write("mask", U8, packed)], |s, _, bag| {
        dropout(s).mask(s.stream, s.rows.elements(), MaskMut::Packed(bag.u8_mut("mask")))
    }),
    operation(
        "Dropout::mask, bytes",
        Takes::Nothing,
        &[write("mask", U8, elements)],
        |s, _, bag| {
            dropout(s).mask(s.stream, s.rows.elements(), MaskMut::Bytes(bag.u8_mut("mask")))
        },
    ),
    operation(
        "Dropout::forward",
        Takes::Elements,
        &[
            write("mask", U8, packed).option("mask"),
            write("mask_bytes", U8, elements).called("mask").option("mask_bytes"),
        ],
        |s, x, bag| {
            let mut args = DropoutArgs::draw(s.stream);
            if let Some(bits) = bag.maybe_u8_mut("mask") {
                args = args.keep_mask(MaskMut::Packed(bits));
            }
            if let Some(bytes) = bag.maybe_u8_mut("mask_bytes") {
                args = args.keep_mask(MaskMut::Bytes(bytes));
            }
            done(dropout(s).forward(io(x), args))
        },
    )
    .excludes(&[("mask", "mask_bytes")]),
    operation(
        "Dropout::forward, given bits",
        Takes::Elements,
        &[read("bits", U8, packed).called("mask")],
        |s, x, bag| done(dropout(s).forward(io(x), Mask::Packed(bag.u8("bits")))),
    ),
    operation(
        "Dropout::backward, given bytes",
        Takes::Elements,
        &[read("bytes", U8, elements).called("mask")],
        |s, x, bag| done(dropout(s).backward(io(x), Mask::Bytes(bag.u8("bytes")))),
    ),
    operation("Dropout::backward", Takes::Elements, &[], |s, x, _| {
        done(dropout(s).backward(io(x), s.stream))
    }),
    operation(
        "Dropout::forward, whole rows",
        Takes::Elements,
        &[write("row_mask", U8, packed_rows).called("mask").option("mask")],
        |s, x, bag| {
            let mut args = DropoutArgs::draw(s.stream).whole_rows(s.rows);
            if let Some(bits) = bag.maybe_u8_mut("row_mask") {
                args = args.keep_mask(MaskMut::Packed(bits));
            }
            done(dropout(s).forward(io(x), args))
        },
    ),
    operation(
        "Dropout::backward, whole channels",
        Takes::Elements,
        &[read("column_bits", U8, packed_cols).called("mask").from("bits")],
        |s, x, bag| {
            let args = DropoutArgs::given(Mask::Packed(bag.u8("column_bits")));
            done(dropout(s).backward(io(x), args.whole_channels(last(s.rows))))
        },
    ),
    operation("Dropout::forward_inference", Takes::Elements, &[], |s, x, _| {
        done(dropout(s).forward_inference(io(x)))
    }),
    operation(
        "Regularizer::penalty",
        Takes::Nothing,
        &[read("w", F32, elements).from("x")],
        |s, _, bag| done(regularizer(s).penalty(bag.f32("w"))),
    ),
    operation(
        "Regularizer::add_gradient",
        Takes::Nothing,
        &[
            read("w", F32, elements).from("x"),
            Buffer::new("gradient", F32, Update, elements).from("x"),
        ],
        |s, _, bag| regularizer(s).add_gradient(bag.f32("w"), bag.f32_mut("gradient")),
    ),
    operation(
        "Regularizer::penalty_and_add_gradient",
        Takes::Nothing,
        &[
            read("w", F32, elements).from("x"),
            Buffer::new("gradient", F32, Update, elements).from("x"),
        ],
        |s, _, bag| {
            done(regularizer(s).penalty_and_add_gradient(bag.f32("w"), bag.f32_mut("gradient")))
        },
    ),
    operation("Regularizer::decay", Takes::Elements, &[], |s, x, _| {
        done(regularizer(s).decay(io(x), s.rate))
    }),
    operation("Regularizer::proximal", Takes::Elements, &[], |s, x, _| {
        done(regularizer(s).proximal(io(x), s.rate))
    }),
    operation(
        "RowMoments::compute",
        Takes::Nothing,
        &[
            read("x", F32, elements),
            read("lengths", Usize, rows_of).option("lengths"),
            write("moments", Kind::Moments, rows_of),
        ],
        |s, _, bag| {
            let (x, moments) = (bag.f32("x"), bag.moments_mut("moments"));
            row_moments(s).compute(x, s.rows, moments, moment_args(bag))
        },
    ),
    operation(
        "ColumnMoments::compute",
        Takes::Nothing,
        &[
            read("x", F32, elements),
            VALID_BITS,
            VALID_BYTES,
            VALID_LENGTHS,
            write("moments", Kind::Moments, cols_of),
            scratch(column_scratch),
        ],
        |s, _, bag| {
            let (x, moments) = (bag.f32("x"), bag.moments_mut("moments"));
            column_moments(s).compute(x, s.rows, moments, moment_args(bag))
        },
    )
    .excludes(ONE_VALID),
    operation(
        "ColumnMoments::compute, channels first",
        Takes::Nothing,
        &[
            read("x", F32, elements),
            read("lengths", Usize, rows_of).option("valid"),
            write("moments", Kind::Moments, one),
            scratch(plane_scratch),
        ],
        |s, _, bag| {
            let (x, moments) = (bag.f32("x"), bag.moments_mut("moments"));
            let mut args = MomentArgs::new();
            if let Some(lengths) = bag.maybe_usize("lengths") {
                args = args.valid(ValidRows::Lengths { lengths, steps: s.rows.cols() });
            }
            if let Some(scratch) = bag.maybe_f64_mut("scratch") {
                args = args.scratch(scratch);
            }
            column_moments(s).compute(x, planes(s.rows), moments, args)
        },
    ),
    operation(
        "ColumnMoments::merge",
        Takes::Nothing,
        &[
            read("parts", Kind::Moments, three_places).from("seen"),
            write("moments", Kind::Moments, cols_of),
        ],
        |s, _, bag| column_moments(s).merge(bag.moments("parts"), bag.moments_mut("moments")),
    ),
    operation(
        "Moments::extend_from_slice",
        Takes::Nothing,
        &[read("x", F32, elements), write("moments", Kind::Moments, single)],
        |_, _, bag| {
            let mut moments = Moments::new();
            moments.extend_from_slice(bag.f32("x"));
            bag.moments_mut("moments")[0] = moments;
            Ok(())
        },
    ),
    operation("Normalizer::forward, L1", Takes::Rows, &[], |s, x, _| {
        done(normalizer(s, Norm::L1).forward(io(x), s.rows))
    }),
    operation("Normalizer::forward, L2", Takes::Rows, &[], |s, x, _| {
        done(normalizer(s, Norm::L2).forward(io(x), s.rows))
    }),
    operation("Normalizer::forward, largest", Takes::Rows, &[], |s, x, _| {
        done(normalizer(s, Norm::Max).forward(io(x), s.rows))
    }),
    operation(
        "StandardScaler::fit",
        Takes::Nothing,
        &[read("x", F32, elements), write("moments", Kind::Moments, cols_of)],
        |s, _, bag| {
            let mut scaler = configured!(s, StandardScaler::new(s.rows.cols())?);
            scaler.fit(bag.f32("x"), s.rows)?;
            bag.moments_mut("moments").copy_from_slice(scaler.moments());
            Ok(())
        },
    ),
    operation(
        "StandardScaler::partial_fit",
        Takes::Nothing,
        &[SEEN[0], SEEN[1], read("x", F32, elements), write("moments", Kind::Moments, cols_of)],
        |s, _, bag| {
            let mut scaler = standard_scaler(s, bag)?;
            scaler.partial_fit(bag.f32("x"), s.rows)?;
            bag.moments_mut("moments").copy_from_slice(scaler.moments());
            Ok(())
        },
    ),
    operation("StandardScaler::transform", Takes::Rows, &SEEN, |s, x, bag| {
        done(standard_scaler(s, bag)?.transform(io(x), s.rows))
    }),
    operation("StandardScaler::inverse_transform", Takes::Rows, &SEEN, |s, x, bag| {
        done(standard_scaler(s, bag)?.inverse_transform(io(x), s.rows))
    }),
    operation(
        "MinMaxScaler::fit",
        Takes::Nothing,
        &[
            read("x", F32, elements),
            write("data_min", F32, cols_of),
            write("data_max", F32, cols_of),
        ],
        |s, _, bag| {
            let mut scaler = configured!(s, MinMaxScaler::new(s.rows.cols())?);
            scaler.fit(bag.f32("x"), s.rows)?;
            bag.f32_mut("data_min").copy_from_slice(scaler.data_min());
            bag.f32_mut("data_max").copy_from_slice(scaler.data_max());
            Ok(())
        },
    ),
    operation(
        "MinMaxScaler::partial_fit",
        Takes::Nothing,
        &[
            RANGES[0],
            RANGES[1],
            read("x", F32, elements),
            write("data_min", F32, cols_of),
            write("data_max", F32, cols_of),
        ],
        |s, _, bag| {
            let mut scaler = min_max_scaler(s, bag)?;
            scaler.partial_fit(bag.f32("x"), s.rows)?;
            bag.f32_mut("data_min").copy_from_slice(scaler.data_min());
            bag.f32_mut("data_max").copy_from_slice(scaler.data_max());
            Ok(())
        },
    ),
    operation("MinMaxScaler::transform", Takes::Rows, &RANGES, |s, x, bag| {
        done(min_max_scaler(s, bag)?.transform(io(x), s.rows))
    }),
    operation("MinMaxScaler::transform, clipped", Takes::Rows, &RANGES, |s, x, bag| {
        done(min_max_scaler(s, bag)?.with_clip(true).transform(io(x), s.rows))
    }),
    operation("MinMaxScaler::inverse_transform", Takes::Rows, &RANGES, |s, x, bag| {
        done(min_max_scaler(s, bag)?.inverse_transform(io(x), s.rows))
    }),
];
