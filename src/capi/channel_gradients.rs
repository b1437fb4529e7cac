//! Backward passes over columns and channels: BatchNorm, GroupNorm, InstanceNorm, LayerNorm over channels, and columns whose
//! statistics are given.

use core::mem::offset_of;

use super::boundary::call;
use super::buffers::{Buffer, evenkeel_input, evenkeel_output, gradient_io};
use super::channels::write_len;
use super::dtype::{F32, F64, FLAGS, FLOATS, SIZE};
use super::execution::{Run, evenkeel_execution};
use super::gradients::{
    EVENKEEL_ADD_DBETA, EVENKEEL_ADD_DGAMMA, evenkeel_accumulate, parameter_gradients,
};
use super::member::{read, write};
use super::members::members;
use super::shape::evenkeel_shape;
use super::statistics::add_saved_stats;
use super::status::{Fault, evenkeel_status, unknown};
use super::valid::valid_rows;
use crate::args::grad::GradArgs;
use crate::args::gradient_sums::GradientSums;
use crate::args::norm::unsupported;
use crate::element::Elements;
use crate::error::Error;
use crate::norm::batch_norm::BatchNorm;
use crate::norm::group_norm::GroupNorm;
use crate::norm::instance_norm::InstanceNorm;
use crate::norm::layer_norm::LayerNorm;
use crate::norm::normalize_scale_shift::{NormalizeScaleShift, Statistics};
use crate::simd::Io;

/// The backward pass of a norm of columns or channels. What starts with d is the gradient of a loss by what the name goes on with.
///
/// With `g = dy * gamma`, and means over the channel, the group or the position:
///
/// `dx = rstd * (g - mean(g) - x_hat * mean(g * x_hat))`
///
/// By running or given statistics dx is `rstd * g`. dgamma is the sum of `dy * x_hat` over a channel, dbeta that of dy. dy, x and
/// the shape have to be there. What a function does not name has to be absent.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_channels_backward_args {
    pub size: usize,
    /// The elements of the shape.
    pub dy: evenkeel_input,
    /// As many; it may be dy. Absent: only the other gradients are made.
    pub dx: evenkeel_output,
    pub shape: evenkeel_shape,
    /// At least 0. Default: 1e-5. Given statistics have none.
    pub eps: f64,
    /// NULL: the default.
    pub execution: *const evenkeel_execution,
    /// As dy: x of the forward pass.
    pub x: evenkeel_input,
    /// One a channel; absent: 1.
    pub gamma: evenkeel_input,
    /// One a channel, a group of every sample or a position, as the forward pass wrote it; absent: made again from x. `EVENKEEL_F64`,
    /// or `EVENKEEL_F32` by way of a temporary, which makes `x_hat` less exact by up to 2^-24 * |mean| * rstd.
    pub mean: evenkeel_input,
    /// 1 / sqrt(var + eps), likewise, with mean.
    pub rstd: evenkeel_input,
    /// `evenkeel_batch_norm_inference_backward`: one a channel.
    pub running_mean: evenkeel_input,
    /// Likewise, at least 0.
    pub running_var: evenkeel_input,
    /// `evenkeel_batch_norm_backward_apply`: the sums of dy over the whole batch, one a channel; `EVENKEEL_F64`.
    pub sum_dy: evenkeel_input,
    /// Those of `dy * x_hat`, likewise.
    pub sum_dy_x_hat: evenkeel_input,
    /// Elements of a channel in the whole batch, likewise; else 0.
    pub count: u64,
    /// `evenkeel_group_norm_backward`: a divisor of the channels. Default: 32. Others do not look at it.
    pub groups: usize,
    /// One a channel, written; `EVENKEEL_F32` or `EVENKEEL_F64`.
    pub dgamma: evenkeel_output,
    /// Likewise.
    pub dbeta: evenkeel_output,
    /// At least as many doubles as `evenkeel_channels_backward_scratch_len` says; absent: allocated.
    pub scratch: evenkeel_output,
    /// Which rows or positions are data, as in `evenkeel_layer_norm_args`. Of the others dx is +0.0, and they add nothing to other
    /// gradients.
    pub valid: evenkeel_input,
    /// 0 without lengths.
    pub valid_steps: usize,
    /// `EVENKEEL_ADD_DGAMMA` and `EVENKEEL_ADD_DBETA`, each or 0.
    pub accumulate: evenkeel_accumulate,
    /// 0
    pub reserved: u32,
}

members! {
    evenkeel_channels_backward_args { eps: 1e-5, groups: 32 }, 664, |args| args.execution,
    [
        size 0, dy 8 (read(FLOATS).required().pitched()),
        dx 48 (write(FLOATS).pitched().may_be(offset_of!(evenkeel_channels_backward_args, dy))),
        shape 88, eps 136, execution 144, x 152 (read(FLOATS).required().pitched()),
        gamma 192 (read(FLOATS)), mean 232 (read(F32 | F64)), rstd 272 (read(F32 | F64)),
        running_mean 312 (read(F32)), running_var 352 (read(F32)), sum_dy 392 (read(F64)),
        sum_dy_x_hat 432 (read(F64)), count 472, groups 480, dgamma 488 (write(F32 | F64)),
        dbeta 528 (write(F32 | F64)), scratch 568 (write(F64)), valid 608 (read(FLAGS | SIZE)),
        valid_steps 648, accumulate 656,
    ],
    rare running_mean
}

/// Backward of BatchNorm in training: of a matrix, or of samples of channels. Without dx it is the first of two steps, whose dbeta
/// and dgamma are the sums that `evenkeel_batch_norm_backward_apply` takes.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_batch_norm_backward(
    args: *const evenkeel_channels_backward_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            check_absent(args, [])?;
            let norm = BatchNorm::new().with_eps(args.eps).with_execution(run.execution());
            let shape = args.shape.channels()?;
            with_saved_statistics(args, run, |io, x, gradients| {
                norm.gradients(io, x, shape, norm.of_batch(), gradients)
            })
        })
    }
}

/// dx of BatchNorm in training, of a batch that is in several places: from the sums and the count of all of them. mean and rstd,
/// those of the whole batch, have to be there, and `sum_dy`, `sum_dy_x_hat` and `count`.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_batch_norm_backward_apply(
    args: *const evenkeel_channels_backward_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            check_absent(args, ["sum_dy", "sum_dy_x_hat", "count"])?;
            check_there([
                ("mean", &args.mean),
                ("rstd", &args.rstd),
                ("sum_dy", &args.sum_dy),
                ("sum_dy_x_hat", &args.sum_dy_x_hat),
            ])?;
            let norm = BatchNorm::new().with_eps(args.eps).with_execution(run.execution());
            let shape = args.shape.channels()?;
            let (of_dy, of_x_hat) = (args.sum_dy.slice(), args.sum_dy_x_hat.slice());
            let sums = GradientSums::new(args.count, of_dy, of_x_hat);
            with_saved_statistics(args, run, |io, x, gradients| {
                norm.gradients(io, x, shape, norm.of_part(sums), gradients)
            })
        })
    }
}

/// Backward of BatchNorm in inference, whose running statistics are constants. `running_mean` and `running_var` have to be there.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_batch_norm_inference_backward(
    args: *const evenkeel_channels_backward_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            check_absent(args, ["running_mean", "running_var"])?;
            check_there([
                ("running_mean", &args.running_mean),
                ("running_var", &args.running_var),
            ])?;
            let norm = BatchNorm::new().with_eps(args.eps).with_execution(run.execution());
            let shape = args.shape.channels()?;
            let (mean, var) = (args.running_mean.slice(), args.running_var.slice());
            with_saved_statistics(args, run, |io, x, gradients| {
                norm.gradients(io, x, shape, norm.of_running(mean, var), gradients)
            })
        })
    }
}

/// Backward of GroupNorm.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_group_norm_backward(
    args: *const evenkeel_channels_backward_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            check_absent(args, [])?;
            let norm = GroupNorm::new().with_groups(args.groups).with_eps(args.eps);
            let (norm, shape) = (norm.with_execution(run.execution()), args.shape.samples()?);
            with_saved_statistics(args, run, |io, x, gradients| {
                norm.spec().backward(io, x, shape, gradients)
            })
        })
    }
}

/// Backward of InstanceNorm.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_instance_norm_backward(
    args: *const evenkeel_channels_backward_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            check_absent(args, [])?;
            let norm = InstanceNorm::new().with_eps(args.eps).with_execution(run.execution());
            let shape = args.shape.samples()?;
            with_saved_statistics(args, run, |io, x, gradients| {
                norm.spec().backward(io, x, shape, gradients)
            })
        })
    }
}

/// Backward of LayerNorm over the channels of each position. That of a matrix is `evenkeel_layer_norm_backward`.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_layer_norm_channels_backward(
    args: *const evenkeel_channels_backward_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            check_absent(args, [])?;
            let norm = LayerNorm::new().with_eps(args.eps).with_execution(run.execution());
            let shape = args.shape.samples()?;
            with_saved_statistics(args, run, |io, x, gradients| {
                norm.run_backward(io, x, shape.into(), &mut { gradients })
            })
        })
    }
}

/// Backward of `evenkeel_normalize_scale_shift` by statistics of columns or channels, which are constants. mean and rstd have to be
/// there.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_normalize_scale_shift_columns_backward(
    args: *const evenkeel_channels_backward_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            check_absent(args, [])?;
            check_there([("mean", &args.mean), ("rstd", &args.rstd)])?;
            let operation = NormalizeScaleShift::new().with_execution(run.execution());
            let shape = args.shape.channels()?;
            let given = Statistics::new(false, [args.mean.wide(), args.rstd.wide()]);
            let (io, x) = (gradient_io(&args.dy, &args.dx), args.x.elements());
            let mut gradients = gradients(args, run)?;
            Ok(operation.run_backward(io, x, shape.into(), given, &mut gradients)?)
        })
    }
}

/// Writes to `scratch_len` how many doubles of scratch are enough for every function that takes these arguments, of which the shape
/// and the execution count.
///
/// # Safety
///
/// `args` points to a structure as this header describes it. `scratch_len` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_channels_backward_scratch_len(
    args: *const evenkeel_channels_backward_args,
    scratch_len: *mut usize,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let shape = args.shape.channels()?;
            let batch_norm = BatchNorm::new().with_execution(run.execution());
            // BatchNorm and given statistics alone take a matrix.
            if args.shape.rows().is_ok() {
                return write_len(scratch_len, batch_norm.backward_scratch_len(shape));
            }
            let lens = [
                batch_norm.backward_scratch_len(shape),
                InstanceNorm::new().backward_scratch_len(shape),
                LayerNorm::new().backward_scratch_len(shape),
            ];
            write_len(scratch_len, lens.into_iter().max().unwrap_or(0))
        })
    }
}

/// Returns an error where there is an argument that belongs to other functions than one that takes `own`.
fn check_absent<const N: usize>(
    args: &evenkeel_channels_backward_args,
    own: [&str; N],
) -> Result<(), Box<Fault>> {
    let of_others = [
        ("running_mean", args.running_mean.is_there()),
        ("running_var", args.running_var.is_there()),
        ("sum_dy", args.sum_dy.is_there()),
        ("sum_dy_x_hat", args.sum_dy_x_hat.is_there()),
        ("count", args.count != 0),
    ];
    unsupported(of_others.map(|(arg, is_there)| (arg, is_there && !own.contains(&arg))))?;
    match args.reserved {
        0 => Ok(()),
        got => Err(unknown("reserved", "0", got.into())),
    }
}

/// Returns an error where one is absent.
fn check_there<const N: usize>(
    inputs: [(&'static str, &evenkeel_input); N],
) -> Result<(), Box<Fault>> {
    match inputs.into_iter().find(|(_, input)| !input.is_there()) {
        Some((arg, _)) => Err(Fault::Absent { arg }.boxed()),
        None => Ok(()),
    }
}

/// Runs a backward pass with the statistics that C has kept, if it has.
///
/// # Safety
///
/// As for [`Buffer::slice`] and [`evenkeel_output::slice_mut`].
unsafe fn with_saved_statistics(
    args: &evenkeel_channels_backward_args,
    run: &Run,
    backward: impl FnOnce(Io<'_>, Elements<'_>, GradArgs<'_>) -> Result<(), Error>,
) -> Result<(), Box<Fault>> {
    // SAFETY: the caller's promise.
    unsafe {
        let mut gradients = gradients(args, run)?;
        add_saved_stats(&mut gradients, [&args.mean, &args.rstd])?;
        backward(gradient_io(&args.dy, &args.dx), args.x.elements(), gradients)?;
    }
    Ok(())
}

/// Everything that all passes take but the statistics.
///
/// # Safety
///
/// As for [`Buffer::slice`] and [`evenkeel_output::slice_mut`].
unsafe fn gradients<'a>(
    args: &evenkeel_channels_backward_args,
    run: &'a Run,
) -> Result<GradArgs<'a>, Box<Fault>> {
    if args.accumulate & !(EVENKEEL_ADD_DGAMMA | EVENKEEL_ADD_DBETA) != 0 {
        let expected = "EVENKEEL_ADD_DGAMMA, EVENKEEL_ADD_DBETA, both or 0";
        return Err(unknown("accumulate", expected, args.accumulate.into()));
    }
    // SAFETY: the caller's promise; the type is that which was checked.
    unsafe {
        let gamma = args.gamma.optional_elements();
        let gradients = GradArgs { gamma, ..GradArgs::new() };
        let outputs = [&args.dgamma, &args.dbeta];
        let mut gradients = parameter_gradients(gradients, outputs, args.accumulate);
        if let Some(scratch) = args.scratch.optional_mut() {
            gradients = gradients.scratch(scratch);
        }
        if let Some(valid) = valid_rows(&args.valid, args.valid_steps)? {
            gradients = gradients.valid(valid);
        }
        gradients.x_pitch = args.x.pitch();
        Ok(GradArgs { pool: run.pool(), ..gradients })
    }
}
