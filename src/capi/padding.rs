//! Padding: BatchNorm, InstanceNorm and moments of the valid rows or elements alone.

use core::ffi::c_void;

use super::batch_norm::{BatchNormInference, BatchNormTraining};
use super::boundary::guarded;
use super::buffers::{Buffer, check_buffers};
use super::execution::{evenkeel_execution, execution};
use super::layout::{channels_shape, evenkeel_layout, rows_shape};
use super::moments::{evenkeel_moments, with_scratch};
use super::own_statistics::OwnStatistics;
use super::running::evenkeel_running;
use super::statistics::{StatisticBuffer, evenkeel_dtype};
use super::status::evenkeel_status;
use super::valid::{ValidBuffer, evenkeel_valid};
use crate::args::moments::MomentArgs;
use crate::moments::column_moments::ColumnMoments;
use crate::moments::row_moments::RowMoments;
use crate::norm::instance_norm::InstanceNorm;
use crate::shape::Channels;
use crate::welford::Moments;

/// `evenkeel_batch_norm_training_f32` of the batch without its padding, bit for bit; padding of `y` becomes +0.0, whatever
/// `x` holds there. Without a valid row, `mean` and `rstd` become 0 and the running statistics stay.
///
/// `valid` has `valid_len` elements of the type that `valid_kind` says. `steps` counts for `EVENKEEL_VALID_LENGTHS` alone:
/// `x` is [samples, steps, cols] then, and rows is samples * steps.
///
/// # Safety
///
/// As `evenkeel_batch_norm_training_f32`; `valid` is readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_batch_norm_training_masked_f32(
    x: *const f32,
    x_len: usize,
    valid: *const c_void,
    valid_len: usize,
    valid_kind: evenkeel_valid,
    steps: usize,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    rows: usize,
    cols: usize,
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
            valid: Some(ValidBuffer::new(valid, valid_len, valid_kind, steps)?),
            execution,
        };
        // SAFETY: the caller's promise.
        unsafe { training.run(|| Ok(rows_shape(rows, cols)?.into())) }
    })
}

/// `evenkeel_batch_norm_inference_f32` of the valid rows, bit for bit; padding of `y` becomes +0.0, whatever `x` holds
/// there.
///
/// `valid`, `valid_kind` and `steps` are those of `evenkeel_batch_norm_training_masked_f32`.
///
/// # Safety
///
/// As `evenkeel_batch_norm_inference_f32`; `valid` is readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_batch_norm_inference_masked_f32(
    x: *const f32,
    x_len: usize,
    valid: *const c_void,
    valid_len: usize,
    valid_kind: evenkeel_valid,
    steps: usize,
    running_mean: *const f32,
    running_mean_len: usize,
    running_var: *const f32,
    running_var_len: usize,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    rows: usize,
    cols: usize,
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
            valid: Some(ValidBuffer::new(valid, valid_len, valid_kind, steps)?),
            execution,
        };
        // SAFETY: the caller's promise.
        unsafe { inference.run(|| Ok(rows_shape(rows, cols)?.into())) }
    })
}

/// `evenkeel_column_moments_f32` of the valid rows of `x`, with the bits of the matrix without the others. Those of no valid
/// row are all zeros.
///
/// `valid`, `valid_kind` and `steps` are those of `evenkeel_batch_norm_training_masked_f32`.
///
/// # Safety
///
/// As `evenkeel_column_moments_f32`; `valid` is readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_column_moments_masked_f32(
    x: *const f32,
    x_len: usize,
    valid: *const c_void,
    valid_len: usize,
    valid_kind: evenkeel_valid,
    steps: usize,
    rows: usize,
    cols: usize,
    moments: *mut evenkeel_moments,
    moments_len: usize,
    scratch: *mut f64,
    scratch_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let x = Buffer::input("x", x, x_len);
        let valid = ValidBuffer::new(valid, valid_len, valid_kind, steps)?;
        let moments = Buffer::output("moments", moments, moments_len).cast::<Moments>();
        let scratch = Buffer::output("scratch", scratch, scratch_len);
        check_buffers(&[moments.extent(), scratch.extent()], &[x.extent(), valid.extent()])?;
        // SAFETY: the caller's promise.
        let operation = ColumnMoments::new().with_execution(unsafe { self::execution(execution)? });
        let rows = rows_shape(rows, cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let args = with_scratch(MomentArgs::new().valid(valid.rows()), scratch);
            Ok(operation.compute(x.slice(), rows, moments.slice_mut(), args)?)
        }
    })
}

/// `evenkeel_instance_norm_f32` of the samples without their padding, bit for bit; padding of `y` becomes +0.0, whatever `x`
/// holds there. `mean` and `rstd` of a sample without a valid position are 0.
///
/// `valid` says it of the positions of the samples, batch * positions, in either layout: `valid_len` elements of the type
/// that `valid_kind` says. Lengths are those of samples, at most positions.
///
/// # Safety
///
/// As `evenkeel_instance_norm_f32`; `valid` is readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_instance_norm_masked_f32(
    x: *const f32,
    x_len: usize,
    valid: *const c_void,
    valid_len: usize,
    valid_kind: evenkeel_valid,
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
            valid: Some(ValidBuffer::new(valid, valid_len, valid_kind, positions)?),
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

/// The moments of the first `lengths[r]` elements of every row r of `x`, [rows, cols]: `lengths_len` and `moments_len` are
/// rows, a length is at most cols. Those of no elements are all zeros.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x` and `lengths` readable, `moments` writable. `execution` is
/// NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_row_moments_prefixes_f32(
    x: *const f32,
    x_len: usize,
    lengths: *const usize,
    lengths_len: usize,
    rows: usize,
    cols: usize,
    moments: *mut evenkeel_moments,
    moments_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let x = Buffer::input("x", x, x_len);
        let lengths = Buffer::input("lengths", lengths, lengths_len);
        let moments = Buffer::output("moments", moments, moments_len).cast::<Moments>();
        check_buffers(&[moments.extent()], &[x.extent(), lengths.extent()])?;
        // SAFETY: the caller's promise.
        let operation = RowMoments::new().with_execution(unsafe { self::execution(execution)? });
        let rows = rows_shape(rows, cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let args = MomentArgs::new().lengths(lengths.slice());
            Ok(operation.compute(x.slice(), rows, moments.slice_mut(), args)?)
        }
    })
}
