//! LayerNorm, RmsNorm, BatchNorm and normalise-scale-shift.

use core::ffi::c_void;

use super::batch_norm::{BatchNormInference, BatchNormTraining};
use super::boundary::{guarded, guarded_after};
use super::buffers::Buffer;
use super::execution::{evenkeel_execution, execution};
use super::fault::Fault;
use super::io::Io;
use super::layout::rows_shape;
use super::running::evenkeel_running;
use super::statistics::{
    PassedStatistics, StatisticBuffer, both_or_neither, evenkeel_dtype, with_statistics,
    write_statistics,
};
use super::status::evenkeel_status;
use crate::args::norm::NormArgs;
use crate::norm::layer_norm::LayerNorm;
use crate::norm::normalize_scale_shift::NormalizeScaleShift;
use crate::norm::rms_norm::RmsNorm;

/// LayerNorm of every row of `x`, [rows, cols]: `y = gamma * (x - mean) / sqrt(var + eps) + beta`, with the mean and the
/// population variance of the row.
///
/// `x_len` and `y_len` are rows * cols; `y` may be `x`. `gamma` (NULL with length 0: 1) and `beta` (NULL with length 0: 0)
/// have cols elements. `mean` and `rstd = 1 / sqrt(var + eps)` are written if they are there, both or neither: rows
/// elements of type `stats_dtype`.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x`, `gamma` and `beta` readable, the others writable.
/// `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_layer_norm_f32(
    x: *const f32,
    x_len: usize,
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
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    let check = || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let gamma = Buffer::input("gamma", gamma, gamma_len);
        let beta = Buffer::input("beta", beta, beta_len);
        let mean = StatisticBuffer::output("mean", mean, mean_len, stats_dtype)?;
        let rstd = StatisticBuffer::output("rstd", rstd, rstd_len, stats_dtype)?;
        let inputs = [x.extent(), gamma.extent(), beta.extent()];
        let without = mean.is_absent() && rstd.is_absent();
        let io = match without {
            true => Io::check(x, y, [y.extent()], inputs)?,
            false => {
                both_or_neither(&mean, &rstd, rows)?;
                Io::check(x, y, [y.extent(), mean.extent(), rstd.extent()], inputs)?
            }
        };
        // SAFETY: the caller's promise.
        let operation =
            LayerNorm::new().with_eps(eps).with_execution(unsafe { self::execution(execution)? });
        let rows = rows_shape(rows, cols)?;
        let statistics = (!without).then_some((mean, rstd));
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let (gamma, beta) = (gamma.optional(), beta.optional());
            Ok((operation, io, gamma, beta, rows, statistics))
        }
    };
    guarded_after(check, |&(ref operation, ref io, gamma, beta, rows, ref statistics)| {
        let args = NormArgs::new().maybe_gamma(gamma).maybe_beta(beta);
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let Some((mean, rstd)) = statistics else {
                operation.forward(io.get(), rows, args)?;
                return Ok(());
            };
            write_statistics([mean, rstd], rows.rows(), |stats| {
                operation.forward(io.get(), rows, with_statistics(args, stats))?;
                Ok(())
            })
        }
    })
}

/// RmsNorm of every row of `x`, [rows, cols]: `y = gamma * x / sqrt(mean of x^2 + eps) + beta`.
///
/// `x_len` and `y_len` are rows * cols; `y` may be `x`. `gamma` (NULL with length 0: 1) and `beta` (NULL with length 0: 0)
/// have cols elements; if `one_plus_gamma` is not 0, 1 + gamma takes the place of gamma, as in the models of the Gemma
/// family. `rstd = 1 / sqrt(mean of x^2 + eps)` is written if it is there: rows elements of type `stats_dtype`.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x`, `gamma` and `beta` readable, the others writable.
/// `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_rms_norm_f32(
    x: *const f32,
    x_len: usize,
    gamma: *const f32,
    gamma_len: usize,
    one_plus_gamma: u32,
    beta: *const f32,
    beta_len: usize,
    rows: usize,
    cols: usize,
    eps: f64,
    y: *mut f32,
    y_len: usize,
    rstd: *mut c_void,
    rstd_len: usize,
    stats_dtype: evenkeel_dtype,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    let check = || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let gamma = Buffer::input("gamma", gamma, gamma_len);
        let beta = Buffer::input("beta", beta, beta_len);
        let rstd = StatisticBuffer::output("rstd", rstd, rstd_len, stats_dtype)?;
        let inputs = [x.extent(), gamma.extent(), beta.extent()];
        let io = match rstd.is_absent() {
            true => Io::check(x, y, [y.extent()], inputs)?,
            false => Io::check(x, y, [y.extent(), rstd.extent()], inputs)?,
        };
        // SAFETY: the caller's promise.
        let operation =
            RmsNorm::new().with_eps(eps).with_execution(unsafe { self::execution(execution)? });
        let operation = operation.with_one_plus_gamma(one_plus_gamma != 0);
        let rows = rows_shape(rows, cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let (gamma, beta) = (gamma.optional(), beta.optional());
            Ok((operation, io, gamma, beta, rows, rstd))
        }
    };
    guarded_after(check, |&(ref operation, ref io, gamma, beta, rows, ref rstd)| {
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let mut wide = rstd.temporary(rows.rows())?;
            let mut args = NormArgs::new().maybe_gamma(gamma).maybe_beta(beta);
            if let Some(rstd) = rstd.write(&mut wide) {
                args = args.rstd(rstd);
            }
            operation.forward(io.get(), rows, args)?;
            rstd.finish(&wide);
        }
        Ok(())
    })
}

/// Normalises every row of `x`, [rows, cols], by a mean and rstd that the caller has, one of each a row:
/// `y = gamma * (x - mean) * rstd + beta`.
///
/// `x_len` and `y_len` are rows * cols; `y` may be `x`. `mean` and `rstd` have rows elements of type `stats_dtype`.
/// `gamma` (NULL with length 0: 1) and `beta` (NULL with length 0: 0) have cols elements.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `y` writable, the others readable. `execution` is NULL or
/// readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_normalize_rows_f32(
    x: *const f32,
    x_len: usize,
    mean: *const c_void,
    mean_len: usize,
    rstd: *const c_void,
    rstd_len: usize,
    stats_dtype: evenkeel_dtype,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    rows: usize,
    cols: usize,
    y: *mut f32,
    y_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let passed = PassedStatistics {
            mean: StatisticBuffer::input("mean", mean, mean_len, stats_dtype)?,
            rstd: StatisticBuffer::input("rstd", rstd, rstd_len, stats_dtype)?,
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
        };
        // SAFETY: the caller's promise.
        unsafe { normalize((x, y), &passed, (rows, cols), execution, true) }
    })
}

/// Normalises every column of `x`, [rows, cols], by a mean and rstd that the caller has, one of each a column: the second
/// half of BatchNorm's training.
///
/// As `evenkeel_normalize_rows_f32`, but that `mean` and `rstd` have cols elements.
///
/// # Safety
///
/// As `evenkeel_normalize_rows_f32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_normalize_columns_f32(
    x: *const f32,
    x_len: usize,
    mean: *const c_void,
    mean_len: usize,
    rstd: *const c_void,
    rstd_len: usize,
    stats_dtype: evenkeel_dtype,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    rows: usize,
    cols: usize,
    y: *mut f32,
    y_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let passed = PassedStatistics {
            mean: StatisticBuffer::input("mean", mean, mean_len, stats_dtype)?,
            rstd: StatisticBuffer::input("rstd", rstd, rstd_len, stats_dtype)?,
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
        };
        // SAFETY: the caller's promise.
        unsafe { normalize((x, y), &passed, (rows, cols), execution, false) }
    })
}

/// # Safety
///
/// The duties of the entries.
unsafe fn normalize(
    (x, y): (Buffer<f32>, Buffer<f32>),
    passed: &PassedStatistics,
    (rows, cols): (usize, usize),
    execution: *const evenkeel_execution,
    of_rows: bool,
) -> Result<(), Box<Fault>> {
    let io = Io::check(x, y, [y.extent()], passed.inputs(x))?;
    // SAFETY: the caller's promise.
    let operation =
        NormalizeScaleShift::new().with_execution(unsafe { self::execution(execution)? });
    let rows = rows_shape(rows, cols)?;
    // SAFETY: the caller's promise; checked and disjoint.
    unsafe {
        passed.read(rows, of_rows, |statistics, args| {
            operation.forward(io.get(), rows, statistics, args)?;
            Ok(())
        })
    }
}

/// BatchNorm's training on `x`, [rows, cols], channels last: every column by its own mean and population variance.
/// `y = gamma * (x - mean) / sqrt(var + eps) + beta`.
///
/// `x_len` and `y_len` are rows * cols; `y` may be `x`. `gamma` (NULL with length 0: 1) and `beta` (NULL with length 0: 0)
/// have cols elements. `mean` and `rstd = 1 / sqrt(var + eps)` of the batch are written: cols elements of type
/// `stats_dtype`. `running` is NULL, or what is updated. `scratch` has at least as many doubles as
/// `evenkeel_column_scratch_len` says; NULL with length 0: it is allocated.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x`, `gamma` and `beta` readable, the others writable, the
/// running statistics both. `running` and `execution` are NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_batch_norm_training_f32(
    x: *const f32,
    x_len: usize,
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
            valid: None,
            execution,
        };
        // SAFETY: the caller's promise.
        unsafe { training.run(|| Ok(rows_shape(rows, cols)?.into())) }
    })
}

/// BatchNorm's inference on `x`, [rows, cols], channels last: every column by running statistics.
/// `y = gamma * (x - running_mean) / sqrt(running_var + eps) + beta`.
///
/// `x_len` and `y_len` are rows * cols; `y` may be `x`. `running_mean` and `running_var` have cols elements, as have
/// `gamma` (NULL with length 0: 1) and `beta` (NULL with length 0: 0).
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `y` writable, the others readable. `execution` is NULL or
/// readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_batch_norm_inference_f32(
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
            valid: None,
            execution,
        };
        // SAFETY: the caller's promise.
        unsafe { inference.run(|| Ok(rows_shape(rows, cols)?.into())) }
    })
}
