//! Backward passes over rows: LayerNorm, RmsNorm, and rows whose statistics are given.

use core::mem::offset_of;

use super::boundary::call;
use super::buffers::{Buffer, evenkeel_input, evenkeel_output, gradient_io};
use super::channels::write_len;
use super::dropout::NormDropout;
use super::dtype::{EVENKEEL_F32, F32, F64, FLAGS, FLOATS, SIZE};
use super::execution::{Run, evenkeel_execution};
use super::member::{read, write};
use super::members::members;
use super::rows::{evenkeel_gate_function, evenkeel_gate_place, flag, gate};
use super::shape::evenkeel_shape;
use super::statistics::add_saved_stats;
use super::status::{Fault, evenkeel_status, unknown};
use super::valid::valid_rows;
use crate::args::dropout::Stream;
use crate::args::grad::GradArgs;
use crate::element::{Elements, WideElement};
use crate::error::Error;
use crate::norm::layer_norm::LayerNorm;
use crate::norm::normalize_scale_shift::{NormalizeScaleShift, Statistics};
use crate::norm::rms_norm::RmsNorm;
use crate::shape::Rows;
use crate::simd::Io;

/// Which gradients are added to what is there. The others are overwritten.
pub type evenkeel_accumulate = u32;
pub const EVENKEEL_ADD_DGAMMA: evenkeel_accumulate = 1;
pub const EVENKEEL_ADD_DBETA: evenkeel_accumulate = 2;
pub const EVENKEEL_ADD_DRESIDUAL: evenkeel_accumulate = 4;
pub const EVENKEEL_ADD_DGATE: evenkeel_accumulate = 8;
pub const EVENKEEL_ADD_DBIAS: evenkeel_accumulate = 16;

/// The backward pass of a norm of rows. What starts with d is the gradient of a loss by what the name goes on with.
///
/// With `g = dy * gamma`, and means over the row:
///
/// `dx = rstd * (g - mean(g) - x_hat * mean(g * x_hat)) + dsum`
///
/// RmsNorm has no mean(g); by given statistics dx is `rstd * g + dsum`. dgamma is the sum over all rows of `dy * x_hat`, dbeta that
/// of dy. With a gate after the norm, `dy * f(gate)` takes the place of dy; with one before it, `x * f(gate)` is what is normalised,
/// and dx is what comes back for it, times f(gate). dy, x and the shape, a matrix, have to be there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_norm_backward_args {
    pub size: usize,
    /// The elements of the shape.
    pub dy: evenkeel_input,
    /// As many; it may be dy. Absent: only the other gradients are made.
    pub dx: evenkeel_output,
    pub shape: evenkeel_shape,
    /// That of the forward pass, at least 0. Default: 1e-5. It does not count where rstd is passed, nor in
    /// `evenkeel_normalize_scale_shift_backward`.
    pub eps: f64,
    /// NULL: the default.
    pub execution: *const evenkeel_execution,
    /// As dy: x of the forward pass, or the sum that it wrote.
    pub x: evenkeel_input,
    /// One a column; absent: 1.
    pub gamma: evenkeel_input,
    /// One a row (or a group of it), as the forward pass wrote it; absent: made again from x. `RmsNorm` has none. `EVENKEEL_F64`, or `EVENKEEL_F32` by
    /// way of a temporary, which makes `x_hat` less exact by up to 2^-24 * |mean| * rstd.
    pub mean: evenkeel_input,
    /// 1 / sqrt(var + eps), likewise. LayerNorm: with mean, or neither. RmsNorm: alone. `evenkeel_normalize_scale_shift_backward` needs
    /// both.
    pub rstd: evenkeel_input,
    /// One a column, written; `EVENKEEL_F32` or `EVENKEEL_F64`.
    pub dgamma: evenkeel_output,
    /// Likewise.
    pub dbeta: evenkeel_output,
    /// As dy: the gradient of the sum that the forward pass wrote, added to dx.
    pub dsum: evenkeel_input,
    /// As dy: a second place for dx, the gradient of the residual. There has to be a first one.
    pub dresidual: evenkeel_output,
    /// At least as many doubles as `evenkeel_norm_backward_scratch_len` says; absent: allocated.
    pub scratch: evenkeel_output,
    /// Which rows are data, as in `evenkeel_layer_norm_args`. Of the others dx is +0.0, and they add nothing to other gradients.
    pub valid: evenkeel_input,
    /// 0 without lengths.
    pub valid_steps: usize,
    /// `RmsNorm`: 1: 1 + gamma takes the place of gamma. 0: gamma.
    pub one_plus_gamma: u32,
    /// Flags `EVENKEEL_ADD_...`, joined with `|`, or 0.
    pub accumulate: evenkeel_accumulate,
    /// One a column, of the forward pass: it counts where dgate is wanted of a gate after the norm. Absent: 0.
    pub beta: evenkeel_input,
    /// As dy: the gate of the forward pass. `evenkeel_normalize_scale_shift_backward` has none.
    pub gate: evenkeel_input,
    /// As dy: the gradient of the gate, which has to be there.
    pub dgate: evenkeel_output,
    /// RmsNorm: the group size of the forward pass. 0: the whole row.
    pub group_size: usize,
    /// The function of the gate.
    pub gate_function: evenkeel_gate_function,
    /// What was multiplied with it.
    pub gate_place: evenkeel_gate_place,
    /// The forward pass's, with the seed and the offset, the rows and the mask that follow: dropout of dx, which dresidual does not see. 0 without `dropout_mask`: there is
    /// no dropout.
    pub dropout_p: f64,
    /// The stream that the mask is drawn again from, as in `evenkeel_dropout_args`: element `[r, c]` has the index offset + r * cols + c.
    pub dropout_seed: u64,
    pub dropout_offset: u64,
    /// So many rows are dropped as a whole, with one draw; a divisor of the rows. 0: every element has a draw.
    pub dropout_rows: usize,
    /// What is kept, `EVENKEEL_BITS` or `EVENKEEL_BYTES`, a flag an element (or for rows that are dropped as a whole); absent: drawn.
    pub dropout_mask: evenkeel_input,
    /// The gradient of the bias: one a column, the sum over all rows of dx, written; `EVENKEEL_F32` or `EVENKEEL_F64`. There has to be
    /// a dx.
    pub dbias: evenkeel_output,
}

members! {
    evenkeel_norm_backward_args { eps: 1e-5 }, 816, |args| args.execution,
    [
        size 0, dy 8 (read(FLOATS).required().pitched()),
        dx 48 (write(FLOATS).pitched().may_be(offset_of!(evenkeel_norm_backward_args, dy))),
        shape 88, eps 136, execution 144, x 152 (read(FLOATS).required().pitched()),
        gamma 192 (read(FLOATS)), mean 232 (read(F32 | F64)), rstd 272 (read(F32 | F64)),
        dgamma 312 (write(F32 | F64)), dbeta 352 (write(F32 | F64)),
        dsum 392 (read(FLOATS).pitched()), dresidual 432 (write(FLOATS).pitched()),
        scratch 472 (write(F64)), valid 512 (read(FLAGS | SIZE)), valid_steps 552,
        one_plus_gamma 560, accumulate 564, beta 568 (read(FLOATS)), gate 608 (read(FLOATS).pitched()),
        dgate 648 (write(FLOATS).pitched()), group_size 688, gate_function 696, gate_place 700,
        dropout_p 704, dropout_seed 712, dropout_offset 720, dropout_rows 728,
        dropout_mask 736 (read(FLAGS)), dbias 776 (write(F32 | F64)),
    ],
    rare dsum
}

/// Backward of LayerNorm.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_layer_norm_backward(
    args: *const evenkeel_norm_backward_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            check_rms_norm_alone(args)?;
            let (function, place) = gate(args.gate_function, args.gate_place)?;
            let norm = LayerNorm::new()
                .with_eps(args.eps)
                .with_gate(function, place)
                .with_execution(run.execution());
            with_saved_statistics(args, run, |io, x, rows, mut args| {
                norm.run_backward(io, x, rows.into(), &mut args)
            })
        })
    }
}

/// Backward of RmsNorm.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_rms_norm_backward(
    args: *const evenkeel_norm_backward_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let (function, place) = gate(args.gate_function, args.gate_place)?;
            let mut norm = RmsNorm::new()
                .with_eps(args.eps)
                .with_one_plus_gamma(flag("one_plus_gamma", args.one_plus_gamma, 0)?)
                .with_gate(function, place)
                .with_execution(run.execution());
            if args.group_size > 0 {
                norm = norm.with_group_size(args.group_size);
            }
            with_saved_statistics(args, run, |io, x, rows, mut args| {
                norm.run_backward(io, x, rows.into(), &mut args)
            })
        })
    }
}

/// Backward of `evenkeel_normalize_scale_shift` by statistics of rows, which are constants.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_normalize_scale_shift_backward(
    args: *const evenkeel_norm_backward_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            check_rms_norm_alone(args)?;
            gate(args.gate_function, args.gate_place)?;
            let operation = NormalizeScaleShift::new().with_execution(run.execution());
            let rows = args.shape.rows()?;
            for (arg, statistic) in [("mean", &args.mean), ("rstd", &args.rstd)] {
                if !statistic.is_there() {
                    return Err(Fault::Absent { arg }.boxed());
                }
            }
            let given = Statistics::new(true, [args.mean.wide(), args.rstd.wide()]);
            let (io, x) = (gradient_io(&args.dy, &args.dx), args.x.elements());
            let mut gradients = gradients(args, run)?;
            Ok(operation.run_backward(io, x, rows.into(), given, &mut gradients)?)
        })
    }
}

/// Writes to `scratch_len` how many doubles of scratch the backward pass of a norm uses for these arguments, of which the shape
/// counts.
///
/// # Safety
///
/// `args` points to a structure as this header describes it. `scratch_len` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_norm_backward_scratch_len(
    args: *const evenkeel_norm_backward_args,
    scratch_len: *mut usize,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, _| {
            write_len(scratch_len, LayerNorm::new().backward_scratch_len(args.shape.rows()?))
        })
    }
}

/// Returns an error where there is what RmsNorm alone takes.
fn check_rms_norm_alone(args: &evenkeel_norm_backward_args) -> Result<(), Box<Fault>> {
    match (args.one_plus_gamma, args.group_size) {
        (0, 0) => Ok(()),
        (0, got) => Err(unknown("group_size", "0", got as u64)),
        (got, _) => Err(unknown("one_plus_gamma", "0", got.into())),
    }
}

/// Runs a backward pass with the statistics that C has kept, if it has.
///
/// # Safety
///
/// As for [`Buffer::slice`] and [`evenkeel_output::slice_mut`].
unsafe fn with_saved_statistics(
    args: &evenkeel_norm_backward_args,
    run: &Run,
    backward: impl FnOnce(Io<'_>, Elements<'_>, Rows, GradArgs<'_>) -> Result<(), Error>,
) -> Result<(), Box<Fault>> {
    let rows = args.shape.rows()?;
    // SAFETY: the caller's promise.
    unsafe {
        let mut gradients = gradients(args, run)?;
        add_saved_stats(&mut gradients, [&args.mean, &args.rstd])?;
        backward(gradient_io(&args.dy, &args.dx), args.x.elements(), rows, gradients)?;
    }
    Ok(())
}

/// Everything that all three passes take.
///
/// # Safety
///
/// As for [`Buffer::slice`] and [`evenkeel_output::slice_mut`].
unsafe fn gradients<'a>(
    args: &evenkeel_norm_backward_args,
    run: &'a Run,
) -> Result<GradArgs<'a>, Box<Fault>> {
    const ALL: u32 = EVENKEEL_ADD_DGAMMA
        | EVENKEEL_ADD_DBETA
        | EVENKEEL_ADD_DRESIDUAL
        | EVENKEEL_ADD_DGATE
        | EVENKEEL_ADD_DBIAS;
    if args.accumulate & !ALL != 0 {
        let expected = "a sum of EVENKEEL_ADD_...";
        return Err(unknown("accumulate", expected, args.accumulate.into()));
    }
    let adds = |flag| args.accumulate & flag != 0;
    // SAFETY: the caller's promise; the type is that which was checked.
    unsafe {
        let mut gradients = GradArgs::new();
        gradients.gamma = args.gamma.optional_elements();
        gradients.beta = args.beta.optional_elements();
        gradients = parameter_gradients(gradients, [&args.dgamma, &args.dbeta], args.accumulate);
        gradients.gate = args.gate.optional_elements();
        gradients.dgate = args.dgate.optional_elements_mut();
        gradients.adds_dgate = adds(EVENKEEL_ADD_DGATE);
        gradients.dsum = args.dsum.optional_elements();
        gradients.dresidual = args.dresidual.optional_elements_mut();
        gradients.adds_dresidual = adds(EVENKEEL_ADD_DRESIDUAL);
        gradients = match args.dbias.dtype {
            _ if !args.dbias.is_there() => gradients,
            EVENKEEL_F32 => dbias::<f32>(gradients, &args.dbias, adds(EVENKEEL_ADD_DBIAS)),
            _ => dbias::<f64>(gradients, &args.dbias, adds(EVENKEEL_ADD_DBIAS)),
        };
        let dropout = NormDropout {
            p: args.dropout_p,
            stream: Stream { seed: args.dropout_seed, offset: args.dropout_offset },
            rows: args.dropout_rows,
            mask: &args.dropout_mask,
            keep_mask: None,
        };
        if dropout.is_there() {
            let (p, dropout) = dropout.args(args.shape.rows()?)?;
            gradients = gradients.dropout(p, dropout);
        }
        if let Some(scratch) = args.scratch.optional_mut() {
            gradients = gradients.scratch(scratch);
        }
        if let Some(valid) = valid_rows(&args.valid, args.valid_steps)? {
            gradients = gradients.valid(valid);
        }
        gradients.x_pitch = args.x.pitch();
        gradients.gate_pitch = args.gate.pitch();
        gradients.dgate_pitch = args.dgate.pitch();
        gradients.dsum_pitch = args.dsum.pitch();
        gradients.dresidual_pitch = args.dresidual.pitch();
        Ok(GradArgs { pool: run.pool(), ..gradients })
    }
}

/// The same arguments with the places of dgamma and dbeta, as far as they are there.
///
/// # Safety
///
/// As for [`evenkeel_output::slice_mut`].
pub(super) unsafe fn parameter_gradients<'a>(
    gradients: GradArgs<'a>,
    [of_gamma, of_beta]: [&evenkeel_output; 2],
    accumulate: evenkeel_accumulate,
) -> GradArgs<'a> {
    let adds = |flag| accumulate & flag != 0;
    // SAFETY: the caller's promise; the type is that which was checked.
    unsafe {
        let gradients = match of_gamma.dtype {
            _ if !of_gamma.is_there() => gradients,
            EVENKEEL_F32 => dgamma::<f32>(gradients, of_gamma, adds(EVENKEEL_ADD_DGAMMA)),
            _ => dgamma::<f64>(gradients, of_gamma, adds(EVENKEEL_ADD_DGAMMA)),
        };
        match of_beta.dtype {
            _ if !of_beta.is_there() => gradients,
            EVENKEEL_F32 => dbeta::<f32>(gradients, of_beta, adds(EVENKEEL_ADD_DBETA)),
            _ => dbeta::<f64>(gradients, of_beta, adds(EVENKEEL_ADD_DBETA)),
        }
    }
}

/// # Safety
///
/// As for [`evenkeel_output::slice_mut`].
unsafe fn dgamma<'a, G: WideElement>(
    gradients: GradArgs<'a>,
    out: &evenkeel_output,
    adds: bool,
) -> GradArgs<'a> {
    // SAFETY: the caller's promise.
    let out = unsafe { out.slice_mut::<G>() };
    if adds { gradients.add_dgamma(out) } else { gradients.dgamma(out) }
}

/// # Safety
///
/// As for [`evenkeel_output::slice_mut`].
unsafe fn dbeta<'a, G: WideElement>(
    gradients: GradArgs<'a>,
    out: &evenkeel_output,
    adds: bool,
) -> GradArgs<'a> {
    // SAFETY: the caller's promise.
    let out = unsafe { out.slice_mut::<G>() };
    if adds { gradients.add_dbeta(out) } else { gradients.dbeta(out) }
}

/// # Safety
///
/// As for [`evenkeel_output::slice_mut`].
unsafe fn dbias<'a, G: WideElement>(
    gradients: GradArgs<'a>,
    out: &evenkeel_output,
    adds: bool,
) -> GradArgs<'a> {
    // SAFETY: the caller's promise.
    let out = unsafe { out.slice_mut::<G>() };
    if adds { gradients.add_dbias(out) } else { gradients.dbias(out) }
}
