//! GroupNorm, InstanceNorm, and BatchNorm and LayerNorm of channels, which come first or last.

use core::ffi::c_void;

use super::batch_norm::{BatchNormInference, BatchNormTraining};
use super::boundary::guarded;
use super::buffers::Buffer;
use super::execution::{evenkeel_execution, execution};
use super::layout::{channels_shape, evenkeel_layout};
use super::own_statistics::OwnStatistics;
use super::running::evenkeel_running;
use super::statistics::{StatisticBuffer, evenkeel_dtype};
use super::status::evenkeel_status;
use crate::norm::batch_norm::BatchNorm;
use crate::norm::group_norm::GroupNorm;
use crate::norm::instance_norm::InstanceNorm;
use crate::norm::layer_norm::LayerNorm;
use crate::shape::Channels;

/// Writes to `scratch_len` how many doubles of scratch `evenkeel_group_norm_f32`, `evenkeel_instance_norm_f32` and
/// `evenkeel_batch_norm_training_channels_f32` use at most for this shape and execution. The first two use none where
/// channels come first.
///
/// # Safety
///
/// `execution` is NULL or readable, `scratch_len` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_channels_scratch_len(
    layout: evenkeel_layout,
    batch: usize,
    channels: usize,
    positions: usize,
    execution: *const evenkeel_execution,
    scratch_len: *mut usize,
) -> evenkeel_status {
    guarded(move || {
        let out = Buffer::output("scratch_len", scratch_len, 1);
        out.check()?;
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(execution)? };
        let shape = channels_shape(layout, (batch, channels, positions))?;
        let instance_norm = InstanceNorm::new().with_execution(execution).scratch_len(shape);
        let batch_norm = BatchNorm::new().with_execution(execution).scratch_len(shape);
        // SAFETY: the caller's promise; checked.
        unsafe { out.slice_mut()[0] = instance_norm.max(batch_norm) };
        Ok(())
    })
}

/// GroupNorm: every group of `channels / groups` channels of every sample of `x` by its own mean and population variance.
/// `y = gamma * (x - mean) / sqrt(var + eps) + beta`.
///
/// `x_len` and `y_len` are batch * channels * positions; `y` may be `x`. `layout` is `EVENKEEL_CHANNELS_...`. `gamma` (NULL
/// with length 0: 1) and `beta` (NULL with length 0: 0) have channels elements. `mean` and `rstd = 1 / sqrt(var + eps)` are
/// written if they are there, both or neither: batch * groups elements of type `stats_dtype`. `scratch` has at least as
/// many doubles as `evenkeel_channels_scratch_len` says; NULL with length 0: it is allocated, if any is needed.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x`, `gamma` and `beta` readable, the others writable.
/// `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_group_norm_f32(
    x: *const f32,
    x_len: usize,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    layout: evenkeel_layout,
    batch: usize,
    channels: usize,
    positions: usize,
    groups: usize,
    eps: f64,
    y: *mut f32,
    y_len: usize,
    mean: *mut c_void,
    mean_len: usize,
    rstd: *mut c_void,
    rstd_len: usize,
    stats_dtype: evenkeel_dtype,
    scratch: *mut f64,
    scratch_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let own = OwnStatistics {
            x: Buffer::input("x", x, x_len),
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
            y: Buffer::output("y", y, y_len),
            mean: StatisticBuffer::output("mean", mean, mean_len, stats_dtype)?,
            rstd: StatisticBuffer::output("rstd", rstd, rstd_len, stats_dtype)?,
            scratch: Some(Buffer::output("scratch", scratch, scratch_len)),
            valid: None,
        };
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(execution)? };
        let norm = GroupNorm::new().with_groups(groups).with_eps(eps).with_execution(execution);
        let shape = || channels_shape(layout, (batch, channels, positions));
        let statistics = |shape: Channels| shape.batch().saturating_mul(groups);
        // SAFETY: the caller's promise.
        unsafe { own.run(shape, statistics, |io, shape, args| norm.forward(io, shape, args)) }
    })
}

/// InstanceNorm: every channel of every sample of `x` by its own mean and population variance.
/// `y = gamma * (x - mean) / sqrt(var + eps) + beta`.
///
/// As `evenkeel_group_norm_f32`, with a group for each channel: `mean` and `rstd` have batch * channels elements.
///
/// # Safety
///
/// As `evenkeel_group_norm_f32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_instance_norm_f32(
    x: *const f32,
    x_len: usize,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    layout: evenkeel_layout,
    batch: usize,
    channels: usize,
    positions: usize,
    eps: f64,
    y: *mut f32,
    y_len: usize,
    mean: *mut c_void,
    mean_len: usize,
    rstd: *mut c_void,
    rstd_len: usize,
    stats_dtype: evenkeel_dtype,
    scratch: *mut f64,
    scratch_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let own = OwnStatistics {
            x: Buffer::input("x", x, x_len),
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
            y: Buffer::output("y", y, y_len),
            mean: StatisticBuffer::output("mean", mean, mean_len, stats_dtype)?,
            rstd: StatisticBuffer::output("rstd", rstd, rstd_len, stats_dtype)?,
            scratch: Some(Buffer::output("scratch", scratch, scratch_len)),
            valid: None,
        };
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(execution)? };
        let norm = InstanceNorm::new().with_eps(eps).with_execution(execution);
        let shape = || channels_shape(layout, (batch, channels, positions));
        let statistics = |shape: Channels| shape.batch().saturating_mul(shape.channels());
        // SAFETY: the caller's promise.
        unsafe { own.run(shape, statistics, |io, shape, args| norm.forward(io, shape, args)) }
    })
}

/// LayerNorm over channels: every position of every sample of `x` by its own mean and population variance over the
/// channels. `y = gamma * (x - mean) / sqrt(var + eps) + beta`.
///
/// `x_len` and `y_len` are batch * channels * positions; `y` may be `x`. `layout` is `EVENKEEL_CHANNELS_...`. `gamma` (NULL
/// with length 0: 1) and `beta` (NULL with length 0: 0) have channels elements. `mean` and `rstd = 1 / sqrt(var + eps)` are
/// written if they are there, both or neither: batch * positions elements of type `stats_dtype`.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x`, `gamma` and `beta` readable, the others writable.
/// `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_layer_norm_channels_f32(
    x: *const f32,
    x_len: usize,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    layout: evenkeel_layout,
    batch: usize,
    channels: usize,
    positions: usize,
    eps: f64,
    y: *mut f32,
    y_len: usize,
    mean: *mut c_void,
    mean_len: usize,
    rstd: *mut c_void,
    rstd_len: usize,
    stats_dtype: evenkeel_dtype,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let own = OwnStatistics {
            x: Buffer::input("x", x, x_len),
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
            y: Buffer::output("y", y, y_len),
            mean: StatisticBuffer::output("mean", mean, mean_len, stats_dtype)?,
            rstd: StatisticBuffer::output("rstd", rstd, rstd_len, stats_dtype)?,
            scratch: None,
            valid: None,
        };
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(execution)? };
        let norm = LayerNorm::new().with_eps(eps).with_execution(execution);
        let shape = || channels_shape(layout, (batch, channels, positions));
        let statistics = |shape: Channels| shape.batch().saturating_mul(shape.positions());
        // SAFETY: the caller's promise.
        unsafe { own.run(shape, statistics, |io, shape, args| norm.forward(io, shape, args)) }
    })
}

/// BatchNorm's training on the channels of `x`, as `evenkeel_batch_norm_training_f32`, whose columns they are.
///
/// `x_len` and `y_len` are batch * channels * positions; `layout` is `EVENKEEL_CHANNELS_...`. What has cols elements there
/// has channels elements here; `scratch` has at least as many doubles as `evenkeel_channels_scratch_len` says.
///
/// # Safety
///
/// As `evenkeel_batch_norm_training_f32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_batch_norm_training_channels_f32(
    x: *const f32,
    x_len: usize,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    layout: evenkeel_layout,
    batch: usize,
    channels: usize,
    positions: usize,
    eps: f64,
    y: *mut f32,
    y_len: usize,
    mean: *mut c_void,
    mean_len: usize,
    rstd: *mut c_void,
    rstd_len: usize,
    stats_dtype: evenkeel_dtype,
    running: *const evenkeel_running,
    scratch: *mut f64,
    scratch_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let training = BatchNormTraining {
            x: Buffer::input("x", x, x_len),
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
            eps,
            y: Buffer::output("y", y, y_len),
            mean: StatisticBuffer::output("mean", mean, mean_len, stats_dtype)?,
            rstd: StatisticBuffer::output("rstd", rstd, rstd_len, stats_dtype)?,
            running: Buffer::input("running", running, usize::from(!running.is_null())),
            scratch: Buffer::output("scratch", scratch, scratch_len),
            valid: None,
            execution,
        };
        // SAFETY: the caller's promise.
        unsafe { training.run(|| channels_shape(layout, (batch, channels, positions))) }
    })
}

/// BatchNorm's inference on the channels of `x`, as `evenkeel_batch_norm_inference_f32`, whose columns they are.
///
/// `x_len` and `y_len` are batch * channels * positions; `layout` is `EVENKEEL_CHANNELS_...`. What has cols elements there
/// has channels elements here.
///
/// # Safety
///
/// As `evenkeel_batch_norm_inference_f32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_batch_norm_inference_channels_f32(
    x: *const f32,
    x_len: usize,
    running_mean: *const f32,
    running_mean_len: usize,
    running_var: *const f32,
    running_var_len: usize,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    layout: evenkeel_layout,
    batch: usize,
    channels: usize,
    positions: usize,
    eps: f64,
    y: *mut f32,
    y_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let inference = BatchNormInference {
            x: Buffer::input("x", x, x_len),
            running_mean: Buffer::input("running_mean", running_mean, running_mean_len),
            running_var: Buffer::input("running_var", running_var, running_var_len),
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
            eps,
            y: Buffer::output("y", y, y_len),
            valid: None,
            execution,
        };
        // SAFETY: the caller's promise.
        unsafe { inference.run(|| channels_shape(layout, (batch, channels, positions))) }
    })
}
