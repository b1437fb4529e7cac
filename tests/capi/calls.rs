//! A C call for each row of the registry.

use evenkeel::capi::*;
use evenkeel::penalty::Regularizer;

use crate::arguments::{Call, Pass};
use crate::registry::{DROPOUT_P, DROPOUT_STREAM, OPERATIONS, group_size};

/// The row's name, and the call.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) function: &'static str,
    pub(crate) call: fn(&Call<'_>) -> evenkeel_status,
}

macro_rules! row {
    ($name:literal, $function:ident, $args:ident, |$c:ident| { $($member:ident: $value:expr),* $(,)? }) => {
        Row {
            name: $name,
            function: stringify!($function),
            call: |$c| {
                let args = $args { execution: $c.execution, $($member: $value,)* ..$args::default() };
                $c.pass($function, args)
            },
        }
    };
}

const VALID: [&str; 6] = ["row_bits", "row_bytes", "row_lengths", "half", "lengths", "bits"];

/// The probability of dropout in a norm, if its mask is drawn or one is there.
fn dropout_p(c: &Call<'_>, drawn: bool) -> f64 {
    let has_mask = c.given.iter().any(|given| ["drop_mask", "drop_bits"].contains(&given.name));
    if drawn || has_mask { DROPOUT_P } else { 0.0 }
}

fn layer_norm(c: &Call<'_>, shape: evenkeel_shape, gate_place: u32) -> evenkeel_status {
    dropped_layer_norm(c, shape, gate_place, 0)
}

/// So many rows are dropped as a whole, if any are.
fn dropped_layer_norm(
    c: &Call<'_>,
    shape: evenkeel_shape,
    gate_place: u32,
    dropout_rows: usize,
) -> evenkeel_status {
    let dropout_p = dropout_p(c, dropout_rows > 0);
    let (valid, valid_steps) = c.valid(&VALID, shape.positions);
    let updated = c.write("updated");
    let is_updated = updated.dtype != 0 || updated.len != 0;
    let args = evenkeel_layer_norm_args {
        x: c.read("x"),
        y: c.write("y"),
        shape,
        eps: c.setting.eps,
        execution: c.execution,
        gamma: c.read("gamma"),
        beta: c.read("beta"),
        mean: c.write("mean"),
        rstd: c.write("rstd"),
        x_bias: c.read("bias"),
        residual: c.read(if is_updated { "updated" } else { "residual" }),
        sum: if is_updated { updated } else { c.write("sum") },
        gate: c.read("gate"),
        plus: c.read("plus"),
        valid,
        valid_steps,
        gate_place,
        dropout_p,
        dropout_seed: DROPOUT_STREAM.seed,
        dropout_offset: DROPOUT_STREAM.offset,
        dropout_rows,
        dropout_mask: c.read("drop_bits"),
        keep_mask: c.write(if dropout_rows > 0 { "row_mask" } else { "drop_mask" }),
        ..evenkeel_layer_norm_args::default()
    };
    c.pass(evenkeel_layer_norm, args)
}

fn rms_norm(
    c: &Call<'_>,
    one_plus_gamma: u32,
    (gate_function, gate_place): (u32, u32),
    group_size: usize,
) -> evenkeel_status {
    let (valid, valid_steps) = c.valid(&VALID, 1);
    let updated = c.write("updated");
    let is_updated = updated.dtype != 0 || updated.len != 0;
    let args = evenkeel_rms_norm_args {
        x: c.read("x"),
        y: c.write("y"),
        shape: c.rows(),
        eps: c.setting.eps,
        execution: c.execution,
        gamma: c.read("gamma"),
        beta: c.read("beta"),
        rstd: c.write("rstd"),
        one_plus_gamma,
        x_bias: c.read("bias"),
        residual: c.read(if is_updated { "updated" } else { "residual" }),
        sum: if is_updated { updated } else { c.write("sum") },
        gate: c.read("gate"),
        plus: c.read("plus"),
        valid,
        valid_steps,
        gate_function,
        gate_place,
        group_size,
        dropout_p: dropout_p(c, false),
        dropout_seed: DROPOUT_STREAM.seed,
        dropout_offset: DROPOUT_STREAM.offset,
        dropout_mask: c.read("drop_bits"),
        keep_mask: c.write("drop_mask"),
        ..evenkeel_rms_norm_args::default()
    };
    c.pass(evenkeel_rms_norm, args)
}

fn normalize(
    c: &Call<'_>,
    shape: evenkeel_shape,
    statistics_of: u32,
    each: &str,
) -> evenkeel_status {
    let (valid, valid_steps) = c.valid(&VALID, shape.positions);
    let args = evenkeel_normalize_scale_shift_args {
        x: c.read("x"),
        y: c.write("y"),
        shape,
        execution: c.execution,
        statistics_of,
        mean: c.read(&format!("{each}_mean")),
        rstd: c.read(&format!("{each}_rstd")),
        gamma: c.read("gamma"),
        beta: c.read("beta"),
        valid,
        valid_steps,
        ..evenkeel_normalize_scale_shift_args::default()
    };
    c.pass(evenkeel_normalize_scale_shift, args)
}

/// What a backward pass is set to.
#[derive(Default)]
struct Settings {
    one_plus_gamma: u32,
    gate: (u32, u32),
    group_size: usize,
    /// Whether dropout is drawn.
    drawn: bool,
}

fn backward(
    c: &Call<'_>,
    function: unsafe extern "C" fn(*const evenkeel_norm_backward_args) -> evenkeel_status,
    saved: &str,
    settings: Settings,
) -> evenkeel_status {
    let (valid, valid_steps) = c.valid(&VALID, 1);
    let is_there = |buffer: evenkeel_output| buffer.dtype != 0 || buffer.len != 0;
    // The output, or that of the same name which is added to.
    let mut accumulate = 0;
    let mut output = |name: &str, flag| {
        let added = c.write(&format!("add_{name}"));
        if !is_there(added) {
            return c.write(name);
        }
        accumulate |= flag;
        added
    };
    let dgamma = output("dgamma", EVENKEEL_ADD_DGAMMA);
    let dbeta = output("dbeta", EVENKEEL_ADD_DBETA);
    let dresidual = output("dresidual", EVENKEEL_ADD_DRESIDUAL);
    let dgate = output("dgate", EVENKEEL_ADD_DGATE);
    let dbias = output("dbias", EVENKEEL_ADD_DBIAS);
    let Settings { one_plus_gamma, gate: (gate_function, gate_place), group_size, drawn } =
        settings;
    let reads_only = is_there(c.write("dy"));
    let args = evenkeel_norm_backward_args {
        dy: c.read(if reads_only { "dy" } else { "x" }),
        dx: c.write("y"),
        shape: c.rows(),
        eps: c.setting.eps,
        execution: c.execution,
        x: c.read("forward_x"),
        gamma: c.read("gamma"),
        mean: c.read(&format!("{saved}_mean")),
        rstd: c.read(&format!("{saved}_rstd")),
        dgamma,
        dbeta,
        dsum: c.read("dsum"),
        dresidual,
        scratch: c.write("scratch"),
        valid,
        valid_steps,
        one_plus_gamma,
        accumulate,
        beta: c.read("beta"),
        gate: c.read("gate"),
        dgate,
        group_size,
        gate_function,
        gate_place,
        dropout_p: dropout_p(c, drawn),
        dropout_seed: DROPOUT_STREAM.seed,
        dropout_offset: DROPOUT_STREAM.offset,
        dropout_mask: c.read("drop_bits"),
        dbias,
        ..evenkeel_norm_backward_args::default()
    };
    c.pass(function, args)
}

/// Of columns and channels, with the statistics that are called so.
fn channels_backward(
    c: &Call<'_>,
    function: unsafe extern "C" fn(*const evenkeel_channels_backward_args) -> evenkeel_status,
    shape: evenkeel_shape,
    saved: &str,
    steps: usize,
) -> evenkeel_status {
    let (valid, valid_steps) = c.valid(&VALID, steps);
    let is_there = |buffer: evenkeel_output| buffer.dtype != 0 || buffer.len != 0;
    let mut accumulate = 0;
    let mut output = |name: &str, flag| {
        let added = c.write(&format!("add_{name}"));
        if !is_there(added) {
            return c.write(name);
        }
        accumulate |= flag;
        added
    };
    let dgamma = output("dgamma", EVENKEEL_ADD_DGAMMA);
    let dbeta = output("dbeta", EVENKEEL_ADD_DBETA);
    let reads_only = is_there(c.write("dy"));
    let sum_dy = c.read("sum_dy");
    // As the registry has it.
    let count = if sum_dy.dtype == 0 { 0 } else { c.setting.rows.rows() as u64 + 5 };
    let args = evenkeel_channels_backward_args {
        dy: c.read(if reads_only { "dy" } else { "x" }),
        dx: c.write("y"),
        shape,
        eps: c.setting.eps,
        execution: c.execution,
        x: c.read("forward_x"),
        gamma: c.read("gamma"),
        mean: c.read(&format!("{saved}_mean")),
        rstd: c.read(&format!("{saved}_rstd")),
        running_mean: c.read("running_mean"),
        running_var: c.read("running_var"),
        sum_dy,
        sum_dy_x_hat: c.read("sum_dy_x_hat"),
        count,
        groups: 1,
        dgamma,
        dbeta,
        scratch: c.write("scratch"),
        valid,
        valid_steps,
        accumulate,
        ..evenkeel_channels_backward_args::default()
    };
    c.pass(function, args)
}

fn train(c: &Call<'_>, shape: evenkeel_shape, steps: usize) -> evenkeel_status {
    let (valid, valid_steps) = c.valid(&VALID, steps);
    let args = evenkeel_batch_norm_training_args {
        x: c.read("x"),
        y: c.write("y"),
        shape,
        eps: c.setting.eps,
        execution: c.execution,
        gamma: c.read("gamma"),
        beta: c.read("beta"),
        mean: c.write("mean"),
        rstd: c.write("rstd"),
        running_mean: c.write("running_mean"),
        running_var: c.write("running_var"),
        scratch: c.write("scratch"),
        valid,
        valid_steps,
        ..evenkeel_batch_norm_training_args::default()
    };
    c.pass(evenkeel_batch_norm_training, args)
}

fn infer(c: &Call<'_>, shape: evenkeel_shape) -> evenkeel_status {
    let (valid, valid_steps) = c.valid(&VALID, 1);
    let args = evenkeel_batch_norm_inference_args {
        x: c.read("x"),
        y: c.write("y"),
        shape,
        eps: c.setting.eps,
        execution: c.execution,
        running_mean: c.read("running_mean"),
        running_var: c.read("running_var"),
        gamma: c.read("gamma"),
        beta: c.read("beta"),
        valid,
        valid_steps,
        ..evenkeel_batch_norm_inference_args::default()
    };
    c.pass(evenkeel_batch_norm_inference, args)
}

fn groups(
    c: &Call<'_>,
    function: unsafe extern "C" fn(*const evenkeel_group_norm_args) -> evenkeel_status,
    shape: evenkeel_shape,
    steps: usize,
) -> evenkeel_status {
    let (valid, valid_steps) = c.valid(&VALID, steps);
    let args = evenkeel_group_norm_args {
        x: c.read("x"),
        y: c.write("y"),
        shape,
        eps: c.setting.eps,
        execution: c.execution,
        groups: 1,
        gamma: c.read("gamma"),
        beta: c.read("beta"),
        mean: c.write("mean"),
        rstd: c.write("rstd"),
        scratch: c.write("scratch"),
        valid,
        valid_steps,
        ..evenkeel_group_norm_args::default()
    };
    c.pass(function, args)
}

fn dropout(
    c: &Call<'_>,
    function: unsafe extern "C" fn(*const evenkeel_dropout_args) -> evenkeel_status,
    p: f64,
) -> evenkeel_status {
    dropout_of(c, function, p, evenkeel_dropout_args::default().shape)
}

/// With a shape whose rows or channels are dropped as a whole.
fn dropout_of(
    c: &Call<'_>,
    function: unsafe extern "C" fn(*const evenkeel_dropout_args) -> evenkeel_status,
    p: f64,
    shape: evenkeel_shape,
) -> evenkeel_status {
    let masks = ["mask", "mask_bytes", "row_mask"].map(|name| c.write(name));
    let absent = c.write("");
    let args = evenkeel_dropout_args {
        x: c.read("x"),
        y: c.write("y"),
        p,
        execution: c.execution,
        seed: c.setting.stream.seed,
        offset: c.setting.stream.offset,
        mask: c.valid(&["bits", "bytes", "column_bits"], 0).0,
        keep_mask: masks.into_iter().find(|mask| mask.len > 0).unwrap_or(absent),
        shape,
        ..evenkeel_dropout_args::default()
    };
    c.pass(function, args)
}

/// Functions and places of gates.
const AFTER: (u32, u32) = (EVENKEEL_GATE_SILU, EVENKEEL_GATE_AFTER_NORM);
const BEFORE: (u32, u32) = (EVENKEEL_GATE_SILU, EVENKEEL_GATE_BEFORE_NORM);

/// As the registry sets it.
const P: f64 = 0.5;

fn mask(c: &Call<'_>) -> evenkeel_status {
    let args = evenkeel_dropout_mask_args {
        mask: c.write("mask"),
        count: c.setting.rows.elements(),
        p: P,
        execution: c.execution,
        seed: c.setting.stream.seed,
        offset: c.setting.stream.offset,
        ..evenkeel_dropout_mask_args::default()
    };
    c.pass(evenkeel_dropout_mask, args)
}

/// Also compares the penalty, which the registry's call keeps for itself.
fn penalty(c: &Call<'_>, wanted: bool) -> evenkeel_status {
    let (mut got, mut data) = (f64::NAN, evenkeel_output { ..c.write("") });
    if wanted {
        data = evenkeel_output { data: (&raw mut got).cast(), len: 1, dtype: EVENKEEL_F64, ..data };
    }
    let (l1, l2) = (c.setting.l1, c.setting.l2);
    let args = evenkeel_penalty_args {
        w: c.read("w"),
        gradient: c.write("gradient"),
        penalty: data,
        l1,
        l2,
        execution: c.execution,
        ..evenkeel_penalty_args::default()
    };
    let status = c.pass(evenkeel_penalty, args);
    let w = c.read("w");
    let is_f32 = w.dtype == EVENKEEL_F32 && w.len > 0;
    if wanted && c.pass == Pass::Whole && status == EVENKEEL_OK && is_f32 {
        let w: &[f32] = unsafe { std::slice::from_raw_parts(w.data.cast(), w.len) };
        let expected = Regularizer::new().with_l1(l1).with_l2(l2).penalty(w).unwrap();
        assert_eq!(got.to_bits(), expected.to_bits(), "the penalty");
    }
    status
}

fn scale(c: &Call<'_>, inverse: u32) -> evenkeel_status {
    let args = evenkeel_standard_scaler_transform_args {
        x: c.read("x"),
        y: c.write("y"),
        shape: c.rows(),
        moments: c.read("moments"),
        inverse,
        execution: c.execution,
        ..evenkeel_standard_scaler_transform_args::default()
    };
    c.pass(evenkeel_standard_scaler_transform, args)
}

fn to_range(c: &Call<'_>, clip: u32, inverse: u32) -> evenkeel_status {
    let args = evenkeel_min_max_scaler_transform_args {
        x: c.read("x"),
        y: c.write("y"),
        shape: c.rows(),
        data_min: c.read("data_min"),
        data_max: c.read("data_max"),
        clip,
        inverse,
        execution: c.execution,
        ..evenkeel_min_max_scaler_transform_args::default()
    };
    c.pass(evenkeel_min_max_scaler_transform, args)
}

fn normalizer(c: &Call<'_>, norm: u32) -> evenkeel_status {
    let (x, y, shape, execution) = (c.read("x"), c.write("y"), c.rows(), c.execution);
    let args = evenkeel_normalizer_args {
        x,
        y,
        shape,
        norm,
        execution,
        ..evenkeel_normalizer_args::default()
    };
    c.pass(evenkeel_normalizer, args)
}

const fn row(
    name: &'static str,
    function: &'static str,
    call: fn(&Call<'_>) -> evenkeel_status,
) -> Row {
    Row { name, function, call }
}

pub(crate) static CALLS: &[Row] = &[
    row("LayerNorm::forward", "evenkeel_layer_norm", |c| layer_norm(c, c.rows(), 0)),
    row("LayerNorm::forward, channels first", "evenkeel_layer_norm", |c| {
        layer_norm(c, c.first(), 0)
    }),
    row("LayerNorm::forward, channels last", "evenkeel_layer_norm", |c| layer_norm(c, c.last(), 0)),
    row("RmsNorm::forward", "evenkeel_rms_norm", |c| rms_norm(c, 0, AFTER, 0)),
    row("RmsNorm::forward, 1 + gamma", "evenkeel_rms_norm", |c| rms_norm(c, 1, AFTER, 0)),
    row("LayerNorm::forward, gate before", "evenkeel_layer_norm", |c| {
        layer_norm(c, c.rows(), EVENKEEL_GATE_BEFORE_NORM)
    }),
    row("RmsNorm::forward, gate before", "evenkeel_rms_norm", |c| rms_norm(c, 0, BEFORE, 0)),
    row("RmsNorm::forward, sigmoid before", "evenkeel_rms_norm", |c| {
        rms_norm(c, 0, (EVENKEEL_GATE_SIGMOID, EVENKEEL_GATE_BEFORE_NORM), 0)
    }),
    row("RmsNorm::forward, sigmoid", "evenkeel_rms_norm", |c| {
        rms_norm(c, 0, (EVENKEEL_GATE_SIGMOID, EVENKEEL_GATE_AFTER_NORM), 0)
    }),
    row("RmsNorm::forward, groups", "evenkeel_rms_norm", |c| {
        rms_norm(c, 0, AFTER, group_size(c.setting.rows))
    }),
    row("RmsNorm::forward, groups, gate before", "evenkeel_rms_norm", |c| {
        rms_norm(c, 0, BEFORE, group_size(c.setting.rows))
    }),
    row("LayerNorm::forward, whole rows dropped", "evenkeel_layer_norm", |c| {
        dropped_layer_norm(c, c.rows(), 0, 1)
    }),
    row("LayerNorm::backward", "evenkeel_layer_norm_backward", |c| {
        backward(c, evenkeel_layer_norm_backward, "saved", Settings::default())
    }),
    row("LayerNorm::backward, read only", "evenkeel_layer_norm_backward", |c| {
        backward(c, evenkeel_layer_norm_backward, "saved", Settings::default())
    }),
    row("RmsNorm::backward", "evenkeel_rms_norm_backward", |c| {
        backward(c, evenkeel_rms_norm_backward, "saved", Settings::default())
    }),
    row("RmsNorm::backward, 1 + gamma", "evenkeel_rms_norm_backward", |c| {
        let settings = Settings { one_plus_gamma: 1, ..Settings::default() };
        backward(c, evenkeel_rms_norm_backward, "saved", settings)
    }),
    row("RmsNorm::backward, grouped", "evenkeel_rms_norm_backward", |c| {
        let settings = Settings { group_size: group_size(c.setting.rows), ..Settings::default() };
        backward(c, evenkeel_rms_norm_backward, "saved", settings)
    }),
    row("LayerNorm::backward, gated", "evenkeel_layer_norm_backward", |c| {
        backward(c, evenkeel_layer_norm_backward, "saved", Settings::default())
    }),
    row("RmsNorm::backward, gated first, grouped", "evenkeel_rms_norm_backward", |c| {
        let gate = (EVENKEEL_GATE_SIGMOID, EVENKEEL_GATE_BEFORE_NORM);
        let settings =
            Settings { gate, group_size: group_size(c.setting.rows), ..Settings::default() };
        backward(c, evenkeel_rms_norm_backward, "saved", settings)
    }),
    row("RmsNorm::backward, gated first, read only", "evenkeel_rms_norm_backward", |c| {
        let settings = Settings { gate: BEFORE, ..Settings::default() };
        backward(c, evenkeel_rms_norm_backward, "saved", settings)
    }),
    row("LayerNorm::backward, dropout drawn again", "evenkeel_layer_norm_backward", |c| {
        let settings = Settings { drawn: true, ..Settings::default() };
        backward(c, evenkeel_layer_norm_backward, "saved", settings)
    }),
    row("NormalizeScaleShift::backward", "evenkeel_normalize_scale_shift_backward", |c| {
        backward(c, evenkeel_normalize_scale_shift_backward, "row", Settings::default())
    }),
    row("NormalizeScaleShift::forward", "evenkeel_normalize_scale_shift", |c| {
        normalize(c, c.rows(), EVENKEEL_OF_ROWS, "row")
    }),
    row("NormalizeScaleShift::forward, columns", "evenkeel_normalize_scale_shift", |c| {
        normalize(c, c.rows(), EVENKEEL_OF_COLUMNS, "col")
    }),
    row("NormalizeScaleShift::forward, channels first", "evenkeel_normalize_scale_shift", |c| {
        normalize(c, c.first(), EVENKEEL_OF_COLUMNS, "row")
    }),
    row("BatchNorm::backward", "evenkeel_batch_norm_backward", |c| {
        channels_backward(c, evenkeel_batch_norm_backward, c.rows(), "saved", 1)
    }),
    row("BatchNorm::backward, channels first", "evenkeel_batch_norm_backward", |c| {
        channels_backward(c, evenkeel_batch_norm_backward, c.planes(), "saved", 1)
    }),
    row("BatchNorm::backward, read only", "evenkeel_batch_norm_backward", |c| {
        channels_backward(c, evenkeel_batch_norm_backward, c.rows(), "saved", 1)
    }),
    row("BatchNorm::backward_inference", "evenkeel_batch_norm_inference_backward", |c| {
        channels_backward(c, evenkeel_batch_norm_inference_backward, c.rows(), "saved", 1)
    }),
    row("BatchNorm::backward_apply", "evenkeel_batch_norm_backward_apply", |c| {
        channels_backward(c, evenkeel_batch_norm_backward_apply, c.rows(), "saved", 1)
    }),
    row(
        "NormalizeScaleShift::backward, columns",
        "evenkeel_normalize_scale_shift_columns_backward",
        |c| {
            let function = evenkeel_normalize_scale_shift_columns_backward;
            channels_backward(c, function, c.rows(), "col", 1)
        },
    ),
    row("GroupNorm::backward, planes", "evenkeel_group_norm_backward", |c| {
        let steps = c.setting.rows.cols();
        channels_backward(c, evenkeel_group_norm_backward, c.planes(), "saved", steps)
    }),
    row("GroupNorm::backward, channels last", "evenkeel_group_norm_backward", |c| {
        channels_backward(c, evenkeel_group_norm_backward, c.last(), "saved", 1)
    }),
    row("InstanceNorm::backward, channels first", "evenkeel_instance_norm_backward", |c| {
        let steps = c.setting.rows.cols();
        channels_backward(c, evenkeel_instance_norm_backward, c.first(), "saved", steps)
    }),
    row("LayerNorm::backward, channels first", "evenkeel_layer_norm_channels_backward", |c| {
        let steps = c.setting.rows.cols();
        channels_backward(c, evenkeel_layer_norm_channels_backward, c.first(), "saved", steps)
    }),
    row("BatchNorm::forward_training", "evenkeel_batch_norm_training", |c| train(c, c.rows(), 1)),
    row("BatchNorm::forward_training, channels first", "evenkeel_batch_norm_training", |c| {
        train(c, c.planes(), c.setting.rows.cols())
    }),
    row!(
        "BatchNorm::training_statistics",
        evenkeel_batch_norm_statistics,
        evenkeel_batch_norm_statistics_args,
        |c| {
            moments: c.read("seen"), eps: c.setting.eps, mean: c.write("mean"), rstd: c.write("rstd"),
            running_mean: c.write("running_mean"), running_var: c.write("running_var"),
        }
    ),
    row("BatchNorm::forward_inference", "evenkeel_batch_norm_inference", |c| infer(c, c.rows())),
    row("BatchNorm::forward_inference, channels first", "evenkeel_batch_norm_inference", |c| {
        infer(c, c.planes())
    }),
    row("GroupNorm::forward, planes", "evenkeel_group_norm", |c| {
        groups(c, evenkeel_group_norm, c.planes(), c.setting.rows.cols())
    }),
    row("GroupNorm::forward, channels first", "evenkeel_group_norm", |c| {
        groups(c, evenkeel_group_norm, c.first(), c.setting.rows.cols())
    }),
    row("GroupNorm::forward, channels last", "evenkeel_group_norm", |c| {
        groups(c, evenkeel_group_norm, c.last(), 1)
    }),
    row("InstanceNorm::forward, planes", "evenkeel_instance_norm", |c| {
        groups(c, evenkeel_instance_norm, c.planes(), 1)
    }),
    row("InstanceNorm::forward, channels first", "evenkeel_instance_norm", |c| {
        groups(c, evenkeel_instance_norm, c.first(), c.setting.rows.cols())
    }),
    row("InstanceNorm::forward, channels last", "evenkeel_instance_norm", |c| {
        groups(c, evenkeel_instance_norm, c.last(), 1)
    }),
    row("Dropout::mask, bits", "evenkeel_dropout_mask", mask),
    row("Dropout::mask, bytes", "evenkeel_dropout_mask", mask),
    row("Dropout::forward", "evenkeel_dropout", |c| dropout(c, evenkeel_dropout, P)),
    row("Dropout::forward, given bits", "evenkeel_dropout", |c| dropout(c, evenkeel_dropout, P)),
    row("Dropout::backward, given bytes", "evenkeel_dropout_backward", |c| {
        dropout(c, evenkeel_dropout_backward, P)
    }),
    row("Dropout::backward", "evenkeel_dropout_backward", |c| {
        dropout(c, evenkeel_dropout_backward, P)
    }),
    row("Dropout::forward, whole rows", "evenkeel_dropout", |c| {
        dropout_of(c, evenkeel_dropout, P, c.rows())
    }),
    row("Dropout::backward, whole channels", "evenkeel_dropout_backward", |c| {
        dropout_of(c, evenkeel_dropout_backward, P, c.last())
    }),
    row("Dropout::forward_inference", "evenkeel_dropout", |c| dropout(c, evenkeel_dropout, 0.0)),
    row("Regularizer::penalty", "evenkeel_penalty", |c| penalty(c, true)),
    row("Regularizer::add_gradient", "evenkeel_penalty", |c| penalty(c, false)),
    row("Regularizer::penalty_and_add_gradient", "evenkeel_penalty", |c| penalty(c, true)),
    row!("Regularizer::decay", evenkeel_weight_decay, evenkeel_weight_decay_args, |c| {
        x: c.read("x"), y: c.write("y"), l2: c.setting.l2, learning_rate: c.setting.rate,
    }),
    row!("Regularizer::proximal", evenkeel_proximal, evenkeel_proximal_args, |c| {
        x: c.read("x"), y: c.write("y"), l1: c.setting.l1, l2: c.setting.l2, step: c.setting.rate,
    }),
    row!("RowMoments::compute", evenkeel_row_moments, evenkeel_row_moments_args, |c| {
        x: c.read("x"), moments: c.write("moments"), shape: c.rows(), lengths: c.read("lengths"),
    }),
    row!("ColumnMoments::compute", evenkeel_column_moments, evenkeel_column_moments_args, |c| {
        x: c.read("x"), moments: c.write("moments"), shape: c.rows(), scratch: c.write("scratch"),
        valid: c.valid(&VALID, 1).0, valid_steps: c.valid(&VALID, 1).1,
    }),
    row!(
        "ColumnMoments::compute, channels first",
        evenkeel_column_moments,
        evenkeel_column_moments_args,
        |c| {
            x: c.read("x"), moments: c.write("moments"), shape: c.planes(), scratch: c.write("scratch"),
            valid: c.valid(&VALID, c.setting.rows.cols()).0,
            valid_steps: c.valid(&VALID, c.setting.rows.cols()).1,
        }
    ),
    row!(
        "ColumnMoments::merge",
        evenkeel_column_moments_merge,
        evenkeel_column_moments_merge_args,
        |c| { parts: c.read("parts"), moments: c.write("moments") }
    ),
    row("Moments::extend_from_slice", "evenkeel_moments_extend", |c| unsafe {
        evenkeel_moments_extend(c.write("moments").data.cast(), &c.read("x"))
    }),
    row("Normalizer::forward, L1", "evenkeel_normalizer", |c| normalizer(c, EVENKEEL_NORM_L1)),
    row("Normalizer::forward, L2", "evenkeel_normalizer", |c| normalizer(c, EVENKEEL_NORM_L2)),
    row("Normalizer::forward, largest", "evenkeel_normalizer", |c| {
        normalizer(c, EVENKEEL_NORM_MAX)
    }),
    FIT,
    Row { name: "StandardScaler::partial_fit", ..FIT },
    row("StandardScaler::transform", "evenkeel_standard_scaler_transform", |c| scale(c, 0)),
    row("StandardScaler::inverse_transform", "evenkeel_standard_scaler_transform", |c| scale(c, 1)),
    FIT_RANGES,
    Row { name: "MinMaxScaler::partial_fit", ..FIT_RANGES },
    row("MinMaxScaler::transform", "evenkeel_min_max_scaler_transform", |c| to_range(c, 0, 0)),
    row("MinMaxScaler::transform, clipped", "evenkeel_min_max_scaler_transform", |c| {
        to_range(c, 1, 0)
    }),
    row("MinMaxScaler::inverse_transform", "evenkeel_min_max_scaler_transform", |c| {
        to_range(c, 0, 1)
    }),
];

const FIT: Row = row!(
    "StandardScaler::fit",
    evenkeel_standard_scaler_partial_fit,
    evenkeel_standard_scaler_partial_fit_args,
    |c| { x: c.read("x"), shape: c.rows(), moments: c.write("moments"), m2_low: c.write("m2_low") }
);

const FIT_RANGES: Row = row!(
    "MinMaxScaler::fit",
    evenkeel_min_max_scaler_partial_fit,
    evenkeel_min_max_scaler_partial_fit_args,
    |c| { x: c.read("x"), shape: c.rows(), data_min: c.write("data_min"), data_max: c.write("data_max") }
);

/// The functions that no row calls: `others.rs` has their tests.
const OTHERS: [&str; 23] = [
    "evenkeel_version",
    "evenkeel_version_text",
    "evenkeel_status_text",
    "evenkeel_last_error_message",
    "evenkeel_backend_name",
    "evenkeel_backend_by_name",
    "evenkeel_backend_properties",
    "evenkeel_batch_norm_scratch_len",
    "evenkeel_group_norm_scratch_len",
    "evenkeel_column_moments_scratch_len",
    "evenkeel_norm_backward_scratch_len",
    "evenkeel_channels_backward_scratch_len",
    "evenkeel_dropout_rate",
    "evenkeel_moments_merge",
    "evenkeel_standard_scaler_merge",
    "evenkeel_standard_scaler_statistics",
    "evenkeel_min_max_scaler_merge",
    "evenkeel_column_moments_block_rows",
    "evenkeel_scaler_state_info",
    "evenkeel_standard_scaler_to_bytes",
    "evenkeel_standard_scaler_from_bytes",
    "evenkeel_min_max_scaler_to_bytes",
    "evenkeel_min_max_scaler_from_bytes",
];

#[test]
fn every_operation_of_the_registry_has_a_call() {
    let names: Vec<&str> = CALLS.iter().map(|row| row.name).collect();
    let expected: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    assert_eq!(names, expected);
}

/// All functions of the header are tested, have at most four parameters, and are few.
#[test]
fn every_function_of_the_header_is_tested() {
    let header = include_str!("../../include/evenkeel.h");
    let (_, declarations) = header.split_once("extern \"C\" {").unwrap();
    let (declarations, _) = declarations.split_once("}  // extern").unwrap();
    let code = declarations.lines().filter(|line| !line.starts_with(['/', '#', '}']));
    let code = code.collect::<Vec<_>>().join(" ");
    let mut functions = Vec::new();
    for declaration in code.split(';').filter(|text| text.contains('(')) {
        let (before, parameters) = declaration.split_once('(').unwrap();
        assert!(parameters.split(',').count() <= 4, "{declaration}");
        functions.push(before.rsplit([' ', '*']).next().unwrap());
    }
    let mut tested: Vec<&str> = CALLS.iter().map(|row| row.function).chain(OTHERS).collect();
    tested.sort_unstable();
    tested.dedup();
    functions.sort_unstable();
    assert_eq!(functions, tested);
    // 36, 12 of backward passes, 3 of a batch in several places, and 5 of scalers as bytes.
    assert!(functions.len() <= 56, "{} functions: say here why there is one more", functions.len());
}
