//! Operations on channels: BatchNorm, GroupNorm, InstanceNorm.

use core::mem::offset_of;

use super::boundary::call;
use super::buffers::{Buffer, evenkeel_input, evenkeel_output, in_out};
use super::dtype::{F32, F64, FLAGS, FLOATS, MOMENTS, SIZE};
use super::execution::{Run, evenkeel_execution};
use super::member::{read, write};
use super::members::members;
use super::rows::{flag, norm_args};
use super::shape::evenkeel_shape;
use super::statistics::{NO_STATS, add_stats};
use super::status::{Fault, evenkeel_status, unknown};
use super::valid::valid_rows;
use crate::args::norm::NormArgs;
use crate::args::train::TrainArgs;
use crate::error::Error;
use crate::norm::batch_norm::BatchNorm;
use crate::norm::group_norm::GroupNorm;
use crate::norm::instance_norm::InstanceNorm;
use crate::shape::Channels;
use crate::simd::Io;
use crate::welford::Moments;

/// How training updates the running statistics.
pub type evenkeel_momentum = u32;
/// `running = momentum * running + (1 - momentum) * batch`: Keras 3, ONNX.
pub const EVENKEEL_MOMENTUM_KEEP: evenkeel_momentum = 1;
/// `running = (1 - momentum) * running + momentum * batch`: PyTorch.
pub const EVENKEEL_MOMENTUM_PYTORCH: evenkeel_momentum = 2;
/// `running += (batch - running) / (batches + 1)`: PyTorch where its momentum is None. `momentum` is not looked at.
pub const EVENKEEL_MOMENTUM_CUMULATIVE: evenkeel_momentum = 3;

/// BatchNorm's training: every column of a matrix, or channel of samples, by its mean and population variance in the batch.
///
/// `y = gamma * (x - mean) / sqrt(var + eps) + beta`
///
/// x, y and the shape have to be there. Running statistics stay finite while the batches are: the call returns
/// `EVENKEEL_STATISTIC_OVERFLOW` where a running variance would not be.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_batch_norm_training_args {
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
    /// One a channel; absent: 1.
    pub gamma: evenkeel_input,
    /// One a channel; absent: 0.
    pub beta: evenkeel_input,
    /// Written, one a channel; `EVENKEEL_F64`, or `EVENKEEL_F32` by way of a temporary.
    pub mean: evenkeel_output,
    /// 1 / sqrt(var + eps), written likewise, where mean is.
    pub rstd: evenkeel_output,
    /// Updated, one a channel, where `running_var` is; start with 0.
    pub running_mean: evenkeel_output,
    /// Updated likewise; start with 1.
    pub running_var: evenkeel_output,
    /// From 0 to 1. Default: 0.9.
    pub momentum: f64,
    /// `EVENKEEL_MOMENTUM_...`. Default: `EVENKEEL_MOMENTUM_KEEP`.
    pub momentum_rule: evenkeel_momentum,
    /// 1: the running variance follows the unbiased variance of the batch, M2 / (n - 1), as that of PyTorch and of TensorFlow 2's
    /// fused kernel does. 0: M2 / n, as in Keras 3 and ONNX.
    pub unbiased_running_var: u32,
    /// 1: a channel keeps its running statistics where the batch has a NaN or an infinity in it. 0: they become NaN.
    pub skip_non_finite_updates: u32,
    /// 0
    pub reserved: u32,
    /// How many batches came before this one, for `EVENKEEL_MOMENTUM_CUMULATIVE`.
    pub batches: u64,
    /// At least as many doubles as `evenkeel_batch_norm_scratch_len` says; absent: allocated.
    pub scratch: evenkeel_output,
    /// Which rows or positions are data, as in `evenkeel_layer_norm_args`.
    pub valid: evenkeel_input,
    /// 0 without lengths.
    pub valid_steps: usize,
}

members! {
    evenkeel_batch_norm_training_args {
        eps: 1e-5, momentum: 0.9, momentum_rule: EVENKEEL_MOMENTUM_KEEP
    },
    512, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required().pitched()),
        y 48 (write(FLOATS).required().pitched().may_be(offset_of!(evenkeel_batch_norm_training_args, x))),
        shape 88, eps 136, execution 144, gamma 152 (read(FLOATS)), beta 192 (read(FLOATS)),
        mean 232 (write(F32 | F64)), rstd 272 (write(F32 | F64)), running_mean 312 (write(F32)),
        running_var 352 (write(F32)), momentum 392, momentum_rule 400,
        skip_non_finite_updates 408, batches 416, scratch 424 (write(F64)),
        valid 464 (read(FLAGS | SIZE)), valid_steps 504,
    ],
    rare valid
}

/// BatchNorm in training.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_batch_norm_training(
    args: *const evenkeel_batch_norm_training_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let shape = args.shape.channels()?;
            let evenkeel_batch_norm_training_args { running_mean, running_var, .. } = args;
            let operation = training(
                args.eps,
                (args.momentum_rule, args.momentum, args.batches),
                [args.unbiased_running_var, args.skip_non_finite_updates, args.reserved],
            )?
            .with_execution(run.execution());
            check_pairs([&args.mean, &args.rstd], [running_mean, running_var])?;
            let norm = norm_args(&args.gamma, &args.beta, [&args.mean, &args.rstd], run)?;
            let mut train = TrainArgs { norm, running: None };
            if running_mean.is_there() {
                train = train.running(running_mean.slice_mut(), running_var.slice_mut());
            }
            if let Some(valid) = valid_rows(&args.valid, args.valid_steps)? {
                train = train.valid(valid);
            }
            if let Some(scratch) = args.scratch.optional_mut() {
                train = train.scratch(scratch);
            }
            Ok(operation.driver().train(in_out(&args.x, &args.y), shape, train)?)
        })
    }
}

/// BatchNorm as it trains, of what C passes: eps, the momentum's rule, itself and the batches before, and the two flags with what is
/// reserved.
fn training(
    eps: f64,
    (rule, momentum, batches): (evenkeel_momentum, f64, u64),
    [unbiased, skip, reserved]: [u32; 3],
) -> Result<BatchNorm, Box<Fault>> {
    let unbiased = flag("unbiased_running_var", unbiased, 0)?;
    let skip = flag("skip_non_finite_updates", skip, reserved)?;
    let operation = BatchNorm::new().with_eps(eps).with_unbiased_running_var(unbiased);
    let operation = operation.with_skip_non_finite_updates(skip);
    match rule {
        EVENKEEL_MOMENTUM_KEEP => Ok(operation.with_momentum(momentum)),
        EVENKEEL_MOMENTUM_PYTORCH => Ok(operation.with_pytorch_momentum(momentum)),
        EVENKEEL_MOMENTUM_CUMULATIVE => Ok(operation.with_cumulative_average(batches)),
        got => Err(unknown("momentum_rule", "a number EVENKEEL_MOMENTUM_...", got.into())),
    }
}

/// Returns an error where one of the running statistics is absent, or mean where rstd is there.
fn check_pairs(
    [mean, rstd]: [&evenkeel_output; 2],
    [running_mean, running_var]: [&evenkeel_output; 2],
) -> Result<(), Box<Fault>> {
    if running_mean.is_there() != running_var.is_there() {
        let arg = if running_mean.is_there() { "running_var" } else { "running_mean" };
        return Err(Fault::Absent { arg }.boxed());
    }
    if !mean.is_there() && rstd.is_there() {
        return Err(Fault::Absent { arg: "mean" }.boxed());
    }
    Ok(())
}

/// The statistics of BatchNorm's training of a batch that is in several places: from the moments of all of it, one set a channel.
///
/// It is the second of three steps. The first is `evenkeel_column_moments` in every place, and `evenkeel_column_moments_merge`. The
/// third is `evenkeel_normalize_scale_shift` with mean and rstd, in every place. In one place, the three have the bits of
/// `evenkeel_batch_norm_training`. moments have to be there. Runs on the calling thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_batch_norm_statistics_args {
    pub size: usize,
    /// One a channel, all with one count.
    pub moments: evenkeel_input,
    /// At least 0. Default: 1e-5.
    pub eps: f64,
    /// NULL: the default. A pool of the host is not used.
    pub execution: *const evenkeel_execution,
    /// Written, one a channel; `EVENKEEL_F64`, or `EVENKEEL_F32` by way of a temporary.
    pub mean: evenkeel_output,
    /// 1 / sqrt(var + eps), written likewise, where mean is.
    pub rstd: evenkeel_output,
    /// Updated, one a channel, where `running_var` is; start with 0.
    pub running_mean: evenkeel_output,
    /// Updated likewise; start with 1.
    pub running_var: evenkeel_output,
    /// From 0 to 1. Default: 0.9.
    pub momentum: f64,
    /// `EVENKEEL_MOMENTUM_...`. Default: `EVENKEEL_MOMENTUM_KEEP`.
    pub momentum_rule: evenkeel_momentum,
    /// As in `evenkeel_batch_norm_training_args`.
    pub unbiased_running_var: u32,
    /// Likewise.
    pub skip_non_finite_updates: u32,
    /// 0
    pub reserved: u32,
    /// How many batches came before this one, for `EVENKEEL_MOMENTUM_CUMULATIVE`.
    pub batches: u64,
}

members! {
    evenkeel_batch_norm_statistics_args {
        eps: 1e-5, momentum: 0.9, momentum_rule: EVENKEEL_MOMENTUM_KEEP
    },
    256, |args| args.execution,
    [
        size 0, moments 8 (read(MOMENTS).required()), eps 48, execution 56,
        mean 64 (write(F32 | F64)), rstd 104 (write(F32 | F64)), running_mean 144 (write(F32)),
        running_var 184 (write(F32)), momentum 224, momentum_rule 232,
        skip_non_finite_updates 240, batches 248,
    ]
}

/// The statistics of BatchNorm's training, from the moments of a whole batch.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_batch_norm_statistics(
    args: *const evenkeel_batch_norm_statistics_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let operation = training(
                args.eps,
                (args.momentum_rule, args.momentum, args.batches),
                [args.unbiased_running_var, args.skip_non_finite_updates, args.reserved],
            )?
            .with_execution(run.execution());
            check_pairs([&args.mean, &args.rstd], [&args.running_mean, &args.running_var])?;
            let moments = args.moments.slice::<Moments>();
            let mut train = TrainArgs::new();
            add_stats(&mut train.norm, [&args.mean, &args.rstd])?;
            if args.running_mean.is_there() {
                let running_mean = args.running_mean.slice_mut();
                train = train.running(running_mean, args.running_var.slice_mut());
            }
            Ok(operation.training_statistics(moments, train)?)
        })
    }
}

/// Writes to `scratch_len` how many doubles of scratch `evenkeel_batch_norm_training` uses for these arguments, of which the
/// shape and the execution count.
///
/// # Safety
///
/// `args` points to a structure as this header describes it. `scratch_len` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_batch_norm_scratch_len(
    args: *const evenkeel_batch_norm_training_args,
    scratch_len: *mut usize,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let operation = BatchNorm::new().with_execution(run.execution());
            write_len(scratch_len, operation.scratch_len(args.shape.channels()?))
        })
    }
}

/// Writes a length to a pointer of C.
///
/// # Safety
///
/// `to` is NULL or writable.
pub(super) unsafe fn write_len(to: *mut usize, len: usize) -> Result<(), Box<Fault>> {
    if to.is_null() || !to.is_aligned() {
        return Err(Fault::Null { arg: "scratch_len", len: 1 }.boxed());
    }
    // SAFETY: not NULL, aligned; the rest is the caller's promise.
    unsafe { to.write(len) };
    Ok(())
}

/// BatchNorm's inference: every column of a matrix, or channel of samples, by running statistics.
///
/// `y = gamma * (x - running_mean) / sqrt(running_var + eps) + beta`
///
/// x, y, the shape, `running_mean` and `running_var` have to be there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_batch_norm_inference_args {
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
    /// One a channel.
    pub running_mean: evenkeel_input,
    /// One a channel, at least 0.
    pub running_var: evenkeel_input,
    /// One a channel; absent: 1.
    pub gamma: evenkeel_input,
    /// One a channel; absent: 0.
    pub beta: evenkeel_input,
    /// Which rows or positions are data, as in `evenkeel_layer_norm_args`.
    pub valid: evenkeel_input,
    /// 0 without lengths.
    pub valid_steps: usize,
}

members! {
    evenkeel_batch_norm_inference_args { eps: 1e-5 }, 360, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required().pitched()),
        y 48 (write(FLOATS).required().pitched().may_be(offset_of!(evenkeel_batch_norm_inference_args, x))),
        shape 88, eps 136, execution 144, running_mean 152 (read(F32).required()),
        running_var 192 (read(F32).required()), gamma 232 (read(FLOATS)), beta 272 (read(FLOATS)),
        valid 312 (read(FLAGS | SIZE)), valid_steps 352,
    ],
    rare valid
}

/// BatchNorm in inference.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_batch_norm_inference(
    args: *const evenkeel_batch_norm_inference_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let shape = args.shape.channels()?;
            let operation = BatchNorm::new().with_eps(args.eps).with_execution(run.execution());
            let (mean, var) = (args.running_mean.slice(), args.running_var.slice());
            let mut norm_args = norm_args(&args.gamma, &args.beta, NO_STATS, run)?;
            if let Some(valid) = valid_rows(&args.valid, args.valid_steps)? {
                norm_args = norm_args.valid(valid);
            }
            Ok(operation.infer(in_out(&args.x, &args.y), shape, mean, var, &norm_args)?)
        })
    }
}

/// GroupNorm: every group of `channels / groups` channels of every sample by its own mean and population variance. InstanceNorm:
/// every channel of every sample by its own.
///
/// `y = gamma * (x - mean) / sqrt(var + eps) + beta`
///
/// x, y and the shape, of samples, have to be there. There are no pitches.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_group_norm_args {
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
    /// A divisor of the channels. Default: 32. InstanceNorm does not look at it.
    pub groups: usize,
    /// One a channel; absent: 1.
    pub gamma: evenkeel_input,
    /// One a channel; absent: 0.
    pub beta: evenkeel_input,
    /// Written, one a group (InstanceNorm: channel) of every sample; `EVENKEEL_F64`, or `EVENKEEL_F32` by way of a temporary.
    pub mean: evenkeel_output,
    /// 1 / sqrt(var + eps), written likewise; it may be there without mean.
    pub rstd: evenkeel_output,
    /// At least as many doubles as `evenkeel_group_norm_scratch_len` says; absent: allocated.
    pub scratch: evenkeel_output,
    /// Which positions of all samples are data, as in `evenkeel_layer_norm_args`.
    pub valid: evenkeel_input,
    /// 0 without lengths.
    pub valid_steps: usize,
}

members! {
    evenkeel_group_norm_args { eps: 1e-5, groups: 32 }, 408, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required().pitched()),
        y 48 (write(FLOATS).required().pitched().may_be(offset_of!(evenkeel_group_norm_args, x))),
        shape 88, eps 136, execution 144, groups 152, gamma 160 (read(FLOATS)),
        beta 200 (read(FLOATS)), mean 240 (write(F32 | F64)), rstd 280 (write(F32 | F64)),
        scratch 320 (write(F64)), valid 360 (read(FLAGS | SIZE)), valid_steps 400,
    ],
    rare valid
}

/// GroupNorm.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_group_norm(
    args: *const evenkeel_group_norm_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let operation = GroupNorm::new().with_groups(args.groups).with_eps(args.eps);
            let operation = operation.with_execution(run.execution());
            normalize_groups(args, run, |io, shape, args| operation.spec().run(io, shape, args))
        })
    }
}

/// InstanceNorm: GroupNorm with a group for each channel, bit for bit.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_instance_norm(
    args: *const evenkeel_group_norm_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let operation = InstanceNorm::new().with_eps(args.eps).with_execution(run.execution());
            normalize_groups(args, run, |io, shape, args| operation.spec().run(io, shape, args))
        })
    }
}

/// # Safety
///
/// The buffers of `args` have been checked, and are as the header says.
unsafe fn normalize_groups(
    args: &evenkeel_group_norm_args,
    run: &Run,
    operation: impl FnOnce(Io<'_>, Channels, NormArgs<'_>) -> Result<(), Error>,
) -> Result<(), Box<Fault>> {
    let shape = args.shape.samples()?;
    // SAFETY: the caller's promise.
    unsafe {
        let stats = [&args.mean, &args.rstd];
        let mut norm_args = norm_args(&args.gamma, &args.beta, stats, run)?;
        if let Some(valid) = valid_rows(&args.valid, args.valid_steps)? {
            norm_args = norm_args.valid(valid);
        }
        if let Some(scratch) = args.scratch.optional_mut() {
            norm_args = norm_args.scratch(scratch);
        }
        Ok(operation(in_out(&args.x, &args.y), shape, norm_args)?)
    }
}

/// Writes to `scratch_len` how many doubles of scratch `evenkeel_group_norm` and `evenkeel_instance_norm` use for these
/// arguments, of which the shape and the execution count.
///
/// # Safety
///
/// `args` points to a structure as this header describes it. `scratch_len` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_group_norm_scratch_len(
    args: *const evenkeel_group_norm_args,
    scratch_len: *mut usize,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let operation = InstanceNorm::new().with_execution(run.execution());
            write_len(scratch_len, operation.scratch_len(args.shape.samples()?))
        })
    }
}
