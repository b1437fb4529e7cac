//! Operations whose statistics are those of rows, or given: LayerNorm, RmsNorm, normalise-scale-shift.

use core::mem::offset_of;

use super::boundary::call;
use super::buffers::{Buffer, evenkeel_input, evenkeel_output, in_out};
use super::dropout::NormDropout;
use super::dtype::{F32, F64, FLAGS, FLOATS, SIZE};
use super::execution::{Run, evenkeel_execution};
use super::member::{read, write};
use super::members::members;
use super::shape::evenkeel_shape;
use super::statistics::{NO_STATS, add_stats};
use super::status::{Fault, evenkeel_status, unknown};
use super::valid::valid_rows;
use crate::args::dropout::Stream;
use crate::args::norm::{NormArgs, Residual};
use crate::gate::{GateFunction, GatePlace};
use crate::norm::layer_norm::LayerNorm;
use crate::norm::normalize_scale_shift::{NormalizeScaleShift, Statistics};
use crate::norm::rms_norm::RmsNorm;
use crate::norm::row_gradients::as_rows;
use crate::shape::Shape;

/// The function of a gate.
pub type evenkeel_gate_function = u32;
/// silu(z) = z / (1 + exp(-z)), also called swish: Mamba-2, Nemotron-H, Zamba2, Gated `DeltaNet`, Qwen3-Next. The default.
pub const EVENKEEL_GATE_SILU: evenkeel_gate_function = 0;
/// sigmoid(z) = 1 / (1 + exp(-z)): Kimi Linear.
pub const EVENKEEL_GATE_SIGMOID: evenkeel_gate_function = 1;

/// What is multiplied with the function of a gate.
pub type evenkeel_gate_place = u32;
/// The result, gamma and beta in it: Gated `DeltaNet`, Qwen3-Next, Kimi Linear. The default.
pub const EVENKEEL_GATE_AFTER_NORM: evenkeel_gate_place = 0;
/// x, before its statistics: Mamba-2 by default, Nemotron-H, Zamba2.
pub const EVENKEEL_GATE_BEFORE_NORM: evenkeel_gate_place = 1;

/// LayerNorm: every row by its own mean and population variance, or every position of samples over its channels.
///
/// `s = dropout(x + x_bias) + residual`,
/// `y = (gamma * (s - mean) / sqrt(var + eps) + beta) * f(gate) + plus`
///
/// x, y and the shape have to be there. With channels that come first there are no pitches, and no `x_bias`, dropout, residual, sum,
/// gate and plus.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_layer_norm_args {
    pub size: usize,
    /// The elements of the shape.
    pub x: evenkeel_input,
    /// As many; it may be x.
    pub y: evenkeel_output,
    pub shape: evenkeel_shape,
    /// At least 0. Default: 1e-5.
    pub eps: f64,
    /// NULL: the default.
    pub execution: *const evenkeel_execution,
    /// One a column or channel; absent: 1.
    pub gamma: evenkeel_input,
    /// One a column or channel; absent: 0.
    pub beta: evenkeel_input,
    /// Written, one a row or position; `EVENKEEL_F64`, or `EVENKEEL_F32` by way of a temporary.
    pub mean: evenkeel_output,
    /// 1 / sqrt(var + eps), written likewise; it may be there without mean.
    pub rstd: evenkeel_output,
    /// One a column, added to x: the bias of the layer before. That of the norm is beta.
    pub x_bias: evenkeel_input,
    /// As x, added to x.
    pub residual: evenkeel_input,
    /// As x: where s is written. It may be residual, which becomes s then. There is no sum without `x_bias`, dropout or a residual.
    pub sum: evenkeel_output,
    /// As x: the result, or x, is multiplied with a function of the gate.
    pub gate: evenkeel_input,
    /// As x, added to the result.
    pub plus: evenkeel_input,
    /// Which rows or positions are data: `EVENKEEL_BITS` or `EVENKEEL_BYTES`, a flag each; or `EVENKEEL_SIZE`, the number of data
    /// at the start of every sample of `valid_steps` rows. The others are padding: their y is +0.0, their statistics are 0.
    pub valid: evenkeel_input,
    /// 0 without lengths.
    pub valid_steps: usize,
    /// The function of the gate.
    pub gate_function: evenkeel_gate_function,
    /// What is multiplied with it.
    pub gate_place: evenkeel_gate_place,
    /// The probability of dropping an element of x + bias, from 0 to 1, before the residual is added. 0 without `dropout_mask`: there is
    /// no dropout.
    pub dropout_p: f64,
    /// The stream that the mask is drawn from, as in `evenkeel_dropout_args`: element `[r, c]` has the index offset + r * cols + c.
    pub dropout_seed: u64,
    pub dropout_offset: u64,
    /// So many rows are dropped as a whole, with one draw; a divisor of the rows. 0: every element has a draw.
    pub dropout_rows: usize,
    /// What is kept, `EVENKEEL_BITS` or `EVENKEEL_BYTES`, a flag an element (or for rows that are dropped as a whole); absent: drawn.
    pub dropout_mask: evenkeel_input,
    /// The mask that is drawn, written likewise; it is absent where `dropout_mask` is there.
    pub keep_mask: evenkeel_output,
}

members! {
    evenkeel_layer_norm_args { eps: 1e-5 }, 680, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required().pitched()),
        y 48 (write(FLOATS).required().pitched().may_be(offset_of!(evenkeel_layer_norm_args, x))),
        shape 88, eps 136, execution 144, gamma 152 (read(FLOATS)), beta 192 (read(FLOATS)),
        mean 232 (write(F32 | F64)), rstd 272 (write(F32 | F64)), x_bias 312 (read(FLOATS)),
        residual 352 (read(FLOATS).pitched()),
        sum 392 (write(FLOATS).pitched().may_be(offset_of!(evenkeel_layer_norm_args, residual))),
        gate 432 (read(FLOATS).pitched()), plus 472 (read(FLOATS).pitched()),
        valid 512 (read(FLAGS | SIZE)), valid_steps 552, gate_function 560, gate_place 564,
        dropout_p 568, dropout_seed 576, dropout_offset 584, dropout_rows 592,
        dropout_mask 600 (read(FLAGS)), keep_mask 640 (write(FLAGS)),
    ],
    rare x_bias
}

/// LayerNorm.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_layer_norm(
    args: *const evenkeel_layer_norm_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let shape = args.shape.either()?;
            let (function, place) = gate(args.gate_function, args.gate_place)?;
            let operation = LayerNorm::new()
                .with_eps(args.eps)
                .with_gate(function, place)
                .with_execution(run.execution());
            let forward = |mut norm_args: NormArgs<'_>| {
                Ok(operation.run(in_out(&args.x, &args.y), shape, &mut norm_args)?)
            };
            let (gamma, beta, stats) = (&args.gamma, &args.beta, [&args.mean, &args.rstd]);
            let inputs = RowInputs {
                bias: &args.x_bias,
                residual: &args.residual,
                sum: &args.sum,
                gate: &args.gate,
                plus: &args.plus,
                valid: &args.valid,
                valid_steps: args.valid_steps,
                dropout: NormDropout {
                    p: args.dropout_p,
                    stream: Stream { seed: args.dropout_seed, offset: args.dropout_offset },
                    rows: args.dropout_rows,
                    mask: &args.dropout_mask,
                    keep_mask: Some(&args.keep_mask),
                },
            };
            let norm_args = norm_args(gamma, beta, stats, run)?;
            if inputs.are_there() {
                return forward(inputs.add_to(norm_args, shape)?);
            }
            forward(norm_args)
        })
    }
}

/// RmsNorm: every row divided by its root mean square.
///
/// `s = dropout(x + x_bias) + residual`,
/// `y = (gamma * s / sqrt(mean(s^2) + eps) + beta) * f(gate) + plus`
///
/// x, y and the shape, a matrix, have to be there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_rms_norm_args {
    pub size: usize,
    /// The elements of the shape.
    pub x: evenkeel_input,
    /// As many; it may be x.
    pub y: evenkeel_output,
    pub shape: evenkeel_shape,
    /// At least 0. Default: 1e-5.
    pub eps: f64,
    /// NULL: the default.
    pub execution: *const evenkeel_execution,
    /// One a column; absent: 1.
    pub gamma: evenkeel_input,
    /// One a column; absent: 0.
    pub beta: evenkeel_input,
    /// 1 / sqrt(mean(s^2) + eps), written, one a row; `EVENKEEL_F64`, or `EVENKEEL_F32` by way of a temporary.
    pub rstd: evenkeel_output,
    /// 1: 1 + gamma takes the place of gamma, as in the models of the Gemma family. 0: gamma.
    pub one_plus_gamma: u32,
    /// 0
    pub reserved: u32,
    /// One a column, added to x: the bias of the layer before. That of the norm is beta.
    pub x_bias: evenkeel_input,
    /// As x, added to x.
    pub residual: evenkeel_input,
    /// As x: where s is written. It may be residual, which becomes s then. There is no sum without `x_bias`, dropout or a residual.
    pub sum: evenkeel_output,
    /// As x: the result, or x, is multiplied with a function of the gate.
    pub gate: evenkeel_input,
    /// As x, added to the result.
    pub plus: evenkeel_input,
    /// Which rows are data, as in `evenkeel_layer_norm_args`.
    pub valid: evenkeel_input,
    /// 0 without lengths.
    pub valid_steps: usize,
    /// The function of the gate.
    pub gate_function: evenkeel_gate_function,
    /// What is multiplied with it.
    pub gate_place: evenkeel_gate_place,
    /// Every so many elements of a row are normalised by themselves, as Mamba-2 does with several groups; a divisor of the columns.
    /// rstd has one a group then. 0: the whole row.
    pub group_size: usize,
    /// The probability of dropping an element of x + bias, from 0 to 1, before the residual is added. 0 without `dropout_mask`: there is
    /// no dropout.
    pub dropout_p: f64,
    /// The stream that the mask is drawn from, as in `evenkeel_dropout_args`: element `[r, c]` has the index offset + r * cols + c.
    pub dropout_seed: u64,
    pub dropout_offset: u64,
    /// So many rows are dropped as a whole, with one draw; a divisor of the rows. 0: every element has a draw.
    pub dropout_rows: usize,
    /// What is kept, `EVENKEEL_BITS` or `EVENKEEL_BYTES`, a flag an element (or for rows that are dropped as a whole); absent: drawn.
    pub dropout_mask: evenkeel_input,
    /// The mask that is drawn, written likewise; it is absent where `dropout_mask` is there.
    pub keep_mask: evenkeel_output,
}

members! {
    evenkeel_rms_norm_args { eps: 1e-5 }, 656, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required().pitched()),
        y 48 (write(FLOATS).required().pitched().may_be(offset_of!(evenkeel_rms_norm_args, x))),
        shape 88, eps 136, execution 144, gamma 152 (read(FLOATS)), beta 192 (read(FLOATS)),
        rstd 232 (write(F32 | F64)), one_plus_gamma 272, x_bias 280 (read(FLOATS)),
        residual 320 (read(FLOATS).pitched()),
        sum 360 (write(FLOATS).pitched().may_be(offset_of!(evenkeel_rms_norm_args, residual))),
        gate 400 (read(FLOATS).pitched()), plus 440 (read(FLOATS).pitched()),
        valid 480 (read(FLAGS | SIZE)), valid_steps 520, gate_function 528, gate_place 532,
        group_size 536,
        dropout_p 544, dropout_seed 552, dropout_offset 560, dropout_rows 568,
        dropout_mask 576 (read(FLAGS)), keep_mask 616 (write(FLAGS)),
    ],
    rare x_bias
}

/// RmsNorm.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_rms_norm(args: *const evenkeel_rms_norm_args) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let rows = args.shape.rows()?;
            let one_plus_gamma = flag("one_plus_gamma", args.one_plus_gamma, args.reserved)?;
            let (function, place) = gate(args.gate_function, args.gate_place)?;
            let mut operation = RmsNorm::new()
                .with_eps(args.eps)
                .with_one_plus_gamma(one_plus_gamma)
                .with_gate(function, place)
                .with_execution(run.execution());
            if args.group_size > 0 {
                operation = operation.with_group_size(args.group_size);
            }
            let forward = |norm_args: NormArgs<'_>| {
                Ok(operation.run(in_out(&args.x, &args.y), rows, &mut { norm_args })?)
            };
            let (gamma, beta) = (&args.gamma, &args.beta);
            let stats = [&evenkeel_output::ABSENT, &args.rstd];
            let inputs = RowInputs {
                bias: &args.x_bias,
                residual: &args.residual,
                sum: &args.sum,
                gate: &args.gate,
                plus: &args.plus,
                valid: &args.valid,
                valid_steps: args.valid_steps,
                dropout: NormDropout {
                    p: args.dropout_p,
                    stream: Stream { seed: args.dropout_seed, offset: args.dropout_offset },
                    rows: args.dropout_rows,
                    mask: &args.dropout_mask,
                    keep_mask: Some(&args.keep_mask),
                },
            };
            let norm_args = norm_args(gamma, beta, stats, run)?;
            if inputs.are_there() {
                return forward(inputs.add_to(norm_args, rows.into())?);
            }
            forward(norm_args)
        })
    }
}

/// The inputs of rows beside x, and their sum.
struct RowInputs<'s> {
    bias: &'s evenkeel_input,
    residual: &'s evenkeel_input,
    sum: &'s evenkeel_output,
    gate: &'s evenkeel_input,
    plus: &'s evenkeel_input,
    valid: &'s evenkeel_input,
    valid_steps: usize,
    dropout: NormDropout<'s>,
}

impl RowInputs<'_> {
    /// Whether one of them is.
    #[inline(always)]
    fn are_there(&self) -> bool {
        let types = self.bias.dtype | self.residual.dtype | self.sum.dtype | self.gate.dtype;
        types | self.plus.dtype | self.valid.dtype != 0
            || self.valid_steps != 0
            || self.dropout.is_there()
    }

    /// The arguments of the operation with what is there.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice`] and [`evenkeel_output::slice_mut`].
    #[inline(never)]
    unsafe fn add_to<'a>(
        &self,
        mut args: NormArgs<'a>,
        shape: Shape,
    ) -> Result<NormArgs<'a>, Box<Fault>> {
        let &Self { bias, residual, sum, gate, plus, valid, valid_steps, ref dropout } = self;
        let is_updated = sum.is_there() && sum.len > 0 && sum.data.cast_const() == residual.data;
        // SAFETY: the caller's promise. Where the sum is the residual, it is the only slice of both.
        unsafe {
            args.bias = bias.optional_elements();
            if dropout.is_there() {
                let (p, dropout) = dropout.args(as_rows(shape)?)?;
                args = args.dropout(p, dropout);
            }
            if is_updated {
                sum.check_length("sum", residual.len)?;
                args.residual = sum.optional_elements_mut().map(Residual::Updated);
            } else {
                args.residual = residual.optional_elements().map(Residual::Read);
                if sum.is_there() {
                    args = args.sum_uninit(sum.storage(), sum.bytes_uninit());
                }
            }
            args.gate = gate.optional_elements();
            args.added = plus.optional_elements();
            if let Some(valid) = valid_rows(valid, valid_steps)? {
                args = args.valid(valid);
            }
        }
        if let Some(pitch) = residual.pitch() {
            args = args.residual_pitch(pitch);
        }
        if let Some(pitch) = sum.pitch() {
            args = args.sum_pitch(pitch);
        }
        if let Some(pitch) = gate.pitch() {
            args = args.gate_pitch(pitch);
        }
        if let Some(pitch) = plus.pitch() {
            args = args.plus_pitch(pitch);
        }
        Ok(args)
    }
}

/// The arguments with gamma, beta, statistics and the pool, as far as they are there.
///
/// # Safety
///
/// As for [`Buffer::slice`] and [`evenkeel_output::slice_mut`]; statistics are `EVENKEEL_F64` or `EVENKEEL_F32`, as checked.
#[inline(always)]
pub(super) unsafe fn norm_args<'a>(
    gamma: &evenkeel_input,
    beta: &evenkeel_input,
    stats: [&evenkeel_output; 2],
    run: &'a Run,
) -> Result<NormArgs<'a>, Box<Fault>> {
    // SAFETY: the caller's promise.
    unsafe {
        let (gamma, beta) = (gamma.optional_elements(), beta.optional_elements());
        let mut args = NormArgs { gamma, beta, pool: run.pool(), ..NormArgs::new() };
        add_stats(&mut args, stats)?;
        Ok(args)
    }
}

/// What a gate does.
pub(super) fn gate(function: u32, place: u32) -> Result<(GateFunction, GatePlace), Box<Fault>> {
    let function = match function {
        EVENKEEL_GATE_SILU => GateFunction::Silu,
        EVENKEEL_GATE_SIGMOID => GateFunction::Sigmoid,
        got => {
            let expected = "EVENKEEL_GATE_SILU or EVENKEEL_GATE_SIGMOID";
            return Err(unknown("gate_function", expected, got.into()));
        }
    };
    match place {
        EVENKEEL_GATE_AFTER_NORM => Ok((function, GatePlace::AfterNorm)),
        EVENKEEL_GATE_BEFORE_NORM => Ok((function, GatePlace::BeforeNorm)),
        got => {
            let expected = "EVENKEEL_GATE_AFTER_NORM or EVENKEEL_GATE_BEFORE_NORM";
            Err(unknown("gate_place", expected, got.into()))
        }
    }
}

/// An option that is 0 or 1, and the reserved member beside it.
pub(super) fn flag(arg: &'static str, flag: u32, reserved: u32) -> Result<bool, Box<Fault>> {
    match (flag, reserved) {
        (0 | 1, 0) => Ok(flag == 1),
        (0 | 1, got) => Err(unknown("reserved", "0", got.into())),
        (got, _) => Err(unknown(arg, "0 or 1", got.into())),
    }
}

/// Whose statistics are given.
pub type evenkeel_statistics_of = u32;
/// Of rows: one of each a row.
pub const EVENKEEL_OF_ROWS: evenkeel_statistics_of = 1;
/// Of columns or channels: one of each a column or channel.
pub const EVENKEEL_OF_COLUMNS: evenkeel_statistics_of = 2;

/// Normalise, scale and shift by statistics that the caller has.
///
/// `y = gamma * (x - mean) * rstd + beta`
///
/// x, y, the shape, mean, rstd and what they are of have to be there. With the statistics as doubles that
/// `evenkeel_batch_norm_training` writes, y has the bits of its y, in every layout. Statistics as floats are off by up to
/// 2^-24 * |mean| * rstd.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_normalize_scale_shift_args {
    pub size: usize,
    /// The elements of the shape.
    pub x: evenkeel_input,
    /// As many; it may be x.
    pub y: evenkeel_output,
    pub shape: evenkeel_shape,
    /// NULL: the default.
    pub execution: *const evenkeel_execution,
    /// `EVENKEEL_OF_ROWS` (of a matrix) or `EVENKEEL_OF_COLUMNS`
    pub statistics_of: evenkeel_statistics_of,
    /// 0
    pub reserved: u32,
    /// `EVENKEEL_F64`, or `EVENKEEL_F32` by way of a temporary.
    pub mean: evenkeel_input,
    /// 1 / sqrt(var + eps), likewise.
    pub rstd: evenkeel_input,
    /// One a column or channel; absent: 1.
    pub gamma: evenkeel_input,
    /// One a column or channel; absent: 0.
    pub beta: evenkeel_input,
    /// Which rows or positions are data, as in `evenkeel_layer_norm_args`.
    pub valid: evenkeel_input,
    /// 0 without lengths.
    pub valid_steps: usize,
}

members! {
    evenkeel_normalize_scale_shift_args {}, 360, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required().pitched()),
        y 48 (write(FLOATS).required().pitched().may_be(offset_of!(evenkeel_normalize_scale_shift_args, x))),
        shape 88, execution 136, statistics_of 144, mean 152 (read(F32 | F64).required()),
        rstd 192 (read(F32 | F64).required()), gamma 232 (read(FLOATS)), beta 272 (read(FLOATS)),
        valid 312 (read(FLAGS | SIZE)), valid_steps 352,
    ],
    rare valid
}

/// Normalise, scale and shift.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_normalize_scale_shift(
    args: *const evenkeel_normalize_scale_shift_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let shape = args.shape.either()?;
            let of_rows = match (args.statistics_of, args.reserved) {
                (EVENKEEL_OF_ROWS, 0) => true,
                (EVENKEEL_OF_COLUMNS, 0) => false,
                (EVENKEEL_OF_ROWS | EVENKEEL_OF_COLUMNS, got) => {
                    return Err(unknown("reserved", "0", got.into()));
                }
                (got, _) => {
                    let expected = "EVENKEEL_OF_ROWS or EVENKEEL_OF_COLUMNS";
                    return Err(unknown("statistics_of", expected, got.into()));
                }
            };
            let operation = NormalizeScaleShift::new().with_execution(run.execution());
            let mut norm_args = norm_args(&args.gamma, &args.beta, NO_STATS, run)?;
            if let Some(valid) = valid_rows(&args.valid, args.valid_steps)? {
                norm_args = norm_args.valid(valid);
            }
            let given = Statistics::new(of_rows, [args.mean.wide(), args.rstd.wide()]);
            Ok(operation.run(in_out(&args.x, &args.y), shape, given, &mut norm_args)?)
        })
    }
}
