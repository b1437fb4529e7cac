//! GroupNorm, InstanceNorm, and BatchNorm and LayerNorm of channels, which come first or last.

use core::ffi::c_void;

use super::border::{Buffer, Extent, Fault, Io, Statistic, enter, temporary};
use super::normalize::{Inference, Training, both_or_neither, evenkeel_running};
use super::padding::Valid;
use super::{evenkeel_dtype, evenkeel_execution, evenkeel_status, execution};
use crate::group_norm::ByGroups;
use crate::simd::Span;
use crate::{BatchNorm, Channels, Error, GroupNorm, InstanceNorm, LayerNorm};

/// Which comes first in a sample.
pub type evenkeel_layout = u32;
/// [batch, channels, positions], NCHW.
pub const EVENKEEL_CHANNELS_FIRST: evenkeel_layout = 0;
/// [batch, positions, channels], NHWC.
pub const EVENKEEL_CHANNELS_LAST: evenkeel_layout = 1;

/// A shape.
pub(super) fn channels(
    layout: evenkeel_layout,
    (batch, channels, positions): (usize, usize, usize),
) -> Result<Channels, Box<Fault>> {
    Ok(match layout {
        EVENKEEL_CHANNELS_FIRST => Channels::first(batch, channels, positions)?,
        EVENKEEL_CHANNELS_LAST => Channels::last(batch, positions, channels)?,
        got => {
            let expected = "EVENKEEL_CHANNELS_FIRST or EVENKEEL_CHANNELS_LAST";
            return Err(Fault::Option { arg: "layout", expected, got }.boxed());
        }
    })
}

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
    enter(move || {
        let out = Buffer::output("scratch_len", scratch_len, 1);
        out.check()?;
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(execution)? };
        let shape = self::channels(layout, (batch, channels, positions))?;
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
    enter(move || {
        let own = Own {
            x: Buffer::input("x", x, x_len),
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
            y: Buffer::output("y", y, y_len),
            mean: Statistic::output("mean", mean, mean_len, stats_dtype)?,
            rstd: Statistic::output("rstd", rstd, rstd_len, stats_dtype)?,
            valid: None,
        };
        let scratch = Buffer::output("scratch", scratch, scratch_len);
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(execution)? };
        let norm = GroupNorm::new().with_groups(groups).with_eps(eps).with_execution(execution);
        let shape = || self::channels(layout, (batch, channels, positions));
        // SAFETY: the caller's promise.
        unsafe { own.by_groups(norm.by_groups(), scratch, shape) }
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
    enter(move || {
        let own = Own {
            x: Buffer::input("x", x, x_len),
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
            y: Buffer::output("y", y, y_len),
            mean: Statistic::output("mean", mean, mean_len, stats_dtype)?,
            rstd: Statistic::output("rstd", rstd, rstd_len, stats_dtype)?,
            valid: None,
        };
        let scratch = Buffer::output("scratch", scratch, scratch_len);
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(execution)? };
        let norm = InstanceNorm::new().with_eps(eps).with_execution(execution);
        let shape = || self::channels(layout, (batch, channels, positions));
        // SAFETY: the caller's promise.
        unsafe { own.by_groups(norm.by_groups(), scratch, shape) }
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
    enter(move || {
        let own = Own {
            x: Buffer::input("x", x, x_len),
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
            y: Buffer::output("y", y, y_len),
            mean: Statistic::output("mean", mean, mean_len, stats_dtype)?,
            rstd: Statistic::output("rstd", rstd, rstd_len, stats_dtype)?,
            valid: None,
        };
        let scratch = Buffer::output("scratch", core::ptr::null_mut(), 0);
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(execution)? };
        let operation = LayerNorm::new().with_eps(eps).with_execution(execution);
        let shape = || self::channels(layout, (batch, channels, positions));
        let statistics = |shape: Channels| shape.batch().saturating_mul(shape.positions());
        // SAFETY: the caller's promise.
        unsafe {
            own.run(scratch, shape, (statistics, |_| 0), |io, [gamma, beta], shape, stats, _| {
                operation.run_channels(io, gamma, beta, shape, stats)
            })
        }
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
    enter(move || {
        let training = Training {
            x: Buffer::input("x", x, x_len),
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
            eps,
            y: Buffer::output("y", y, y_len),
            mean: Statistic::output("mean", mean, mean_len, stats_dtype)?,
            rstd: Statistic::output("rstd", rstd, rstd_len, stats_dtype)?,
            running: Buffer::input("running", running, usize::from(!running.is_null())),
            scratch: Buffer::output("scratch", scratch, scratch_len),
            valid: None,
            execution,
        };
        // SAFETY: the caller's promise.
        unsafe { training.run(|| self::channels(layout, (batch, channels, positions))) }
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
    enter(move || {
        let inference = Inference {
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
        unsafe { inference.run(|| self::channels(layout, (batch, channels, positions))) }
    })
}

/// The buffers of an operation that takes its statistics from x.
pub(super) struct Own {
    pub(super) x: Buffer<f32>,
    pub(super) gamma: Buffer<f32>,
    pub(super) beta: Buffer<f32>,
    pub(super) y: Buffer<f32>,
    pub(super) mean: Statistic,
    pub(super) rstd: Statistic,
    pub(super) valid: Option<Valid>,
}

/// gamma and beta.
type Affine<'a> = [Option<&'a [f32]>; 2];

/// Mean and rstd, where they are asked for.
type Stats<'a> = Option<(&'a mut [f64], &'a mut [f64])>;

impl Own {
    /// GroupNorm or InstanceNorm.
    ///
    /// # Safety
    ///
    /// The duties of the entries.
    pub(super) unsafe fn by_groups(
        &self,
        norm: ByGroups,
        scratch: Buffer<f64>,
        shape: impl FnOnce() -> Result<Channels, Box<Fault>>,
    ) -> Result<(), Box<Fault>> {
        let statistics = |shape: Channels| shape.batch().saturating_mul(norm.groups_of(shape));
        // With padding it has scratch of its own.
        let needed = |shape| if self.valid.is_some() { 0 } else { norm.scratch_len(shape) };
        // SAFETY: the caller's promise.
        unsafe {
            self.run(
                scratch,
                shape,
                (statistics, needed),
                |io, [gamma, beta], shape, stats, scratch| match self.valid {
                    None => norm.run(io, gamma, beta, shape, stats, Some(scratch)),
                    Some(valid) => norm.run_masked(io, valid.rows(), gamma, beta, shape, stats),
                },
            )
        }
    }

    /// Runs an operation for whose shape the number of statistics and of scratch are as told.
    ///
    /// # Safety
    ///
    /// The duties of the entries.
    unsafe fn run(
        &self,
        scratch: Buffer<f64>,
        shape: impl FnOnce() -> Result<Channels, Box<Fault>>,
        (statistics, needed): (impl Fn(Channels) -> usize, impl Fn(Channels) -> usize),
        operation: impl FnOnce(
            Span<'_>,
            Affine<'_>,
            Channels,
            Stats<'_>,
            &mut [f64],
        ) -> Result<(), Error>,
    ) -> Result<(), Box<Fault>> {
        let Self { x, gamma, beta, y, mean, rstd, valid } = self;
        let mask = valid.map_or(Extent::default(), |valid| valid.extent());
        let inputs = [x.extent(), gamma.extent(), beta.extent(), mask];
        let outputs = [y.extent(), mean.extent(), rstd.extent(), scratch.extent()];
        let io = Io::check(*x, *y, outputs, inputs)?;
        let shape = shape()?;
        let statistics = statistics(shape);
        both_or_neither(mean, rstd, statistics)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let affine = [gamma.optional(), beta.optional()];
            let mut allocated;
            let scratch = if scratch.is_absent() {
                io.check_lengths(shape.elements())?;
                allocated = temporary(needed(shape))?;
                &mut allocated
            } else {
                scratch.slice_mut()
            };
            let mut wide = [mean.temporary(statistics)?, rstd.temporary(statistics)?];
            let [wide_mean, wide_rstd] = &mut wide;
            let stats = mean.write(wide_mean).zip(rstd.write(wide_rstd));
            io.with_span(shape.elements(), |io| operation(io, affine, shape, stats, scratch))?;
            mean.finish(&wide[0]);
            rstd.finish(&wide[1]);
            Ok(())
        }
    }
}
