//! The row operations with a residual, with a gate, and of rows at a pitch.

use core::ffi::c_void;

use super::boundary::guarded;
use super::buffers::{Buffer, check_buffers};
use super::execution::{evenkeel_execution, execution};
use super::io::{Io, ResidualSum};
use super::layout::rows_shape;
use super::moments::evenkeel_moments;
use super::statistics::{
    PassedStatistics, StatisticBuffer, both_or_neither, evenkeel_dtype, with_statistics,
    write_statistics,
};
use super::status::evenkeel_status;
use crate::args::moments::MomentArgs;
use crate::args::norm::NormArgs;
use crate::moments::row_moments::RowMoments;
use crate::norm::layer_norm::LayerNorm;
use crate::norm::normalize_scale_shift::NormalizeScaleShift;
use crate::norm::rms_norm::RmsNorm;
use crate::welford::Moments;

/// LayerNorm of every row of `x + residual`, [rows, cols]: a block of a transformer before its normalisation. The bits of
/// `evenkeel_layer_norm_f32` of the sum, which is rounded to float once.
///
/// `x_len`, `residual_len` and `y_len` are rows * cols; `y` may be `x`. The sum is written to `sum` (NULL with length 0: it
/// is not kept), which has rows * cols elements and may be `residual`. `gamma` (NULL with length 0: 1) and `beta` (NULL with
/// length 0: 0) have cols elements. `mean` and `rstd` of the sum are written if they are there, both or neither: rows
/// elements of type `stats_dtype`.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x`, `residual`, `gamma` and `beta` readable, the others writable.
/// `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_layer_norm_residual_f32(
    x: *const f32,
    x_len: usize,
    residual: *const f32,
    residual_len: usize,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    rows: usize,
    cols: usize,
    eps: f64,
    y: *mut f32,
    y_len: usize,
    sum: *mut f32,
    sum_len: usize,
    mean: *mut c_void,
    mean_len: usize,
    rstd: *mut c_void,
    rstd_len: usize,
    stats_dtype: evenkeel_dtype,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let residual = Buffer::input("residual", residual, residual_len);
        let sum = ResidualSum::new(residual, Buffer::output("sum", sum, sum_len));
        let gamma = Buffer::input("gamma", gamma, gamma_len);
        let beta = Buffer::input("beta", beta, beta_len);
        let mean = StatisticBuffer::output("mean", mean, mean_len, stats_dtype)?;
        let rstd = StatisticBuffer::output("rstd", rstd, rstd_len, stats_dtype)?;
        both_or_neither(&mean, &rstd, rows)?;
        let inputs = [x.extent(), sum.residual(), gamma.extent(), beta.extent()];
        let outputs = [y.extent(), sum.extent(), mean.extent(), rstd.extent()];
        let io = Io::check(x, y, outputs, inputs)?;
        // SAFETY: the caller's promise.
        let operation =
            LayerNorm::new().with_eps(eps).with_execution(unsafe { self::execution(execution)? });
        let rows = rows_shape(rows, cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let args = NormArgs::new().maybe_gamma(gamma.optional()).maybe_beta(beta.optional());
            let args = sum.add_to(args, rows.elements())?;
            write_statistics([&mean, &rstd], rows.rows(), |stats| {
                operation.forward(io.get(), rows, with_statistics(args, stats))?;
                Ok(())
            })
        }
    })
}

/// RmsNorm of every row of `x + residual`, [rows, cols]: a block of a transformer before its normalisation. The bits of
/// `evenkeel_rms_norm_f32` of the sum, which is rounded to float once.
///
/// `x_len`, `residual_len` and `y_len` are rows * cols; `y` may be `x`. The sum is written to `sum` (NULL with length 0: it
/// is not kept), which has rows * cols elements and may be `residual`. `gamma` (NULL with length 0: 1) and `beta` (NULL with
/// length 0: 0) have cols elements; if `one_plus_gamma` is not 0, 1 + gamma takes the place of gamma. `rstd` of the sum is
/// written if it is there: rows elements of type `stats_dtype`.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x`, `residual`, `gamma` and `beta` readable, the others writable.
/// `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_rms_norm_residual_f32(
    x: *const f32,
    x_len: usize,
    residual: *const f32,
    residual_len: usize,
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
    sum: *mut f32,
    sum_len: usize,
    rstd: *mut c_void,
    rstd_len: usize,
    stats_dtype: evenkeel_dtype,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let residual = Buffer::input("residual", residual, residual_len);
        let sum = ResidualSum::new(residual, Buffer::output("sum", sum, sum_len));
        let gamma = Buffer::input("gamma", gamma, gamma_len);
        let beta = Buffer::input("beta", beta, beta_len);
        let rstd = StatisticBuffer::output("rstd", rstd, rstd_len, stats_dtype)?;
        let inputs = [x.extent(), sum.residual(), gamma.extent(), beta.extent()];
        let io = Io::check(x, y, [y.extent(), sum.extent(), rstd.extent()], inputs)?;
        // SAFETY: the caller's promise.
        let operation =
            RmsNorm::new().with_eps(eps).with_execution(unsafe { self::execution(execution)? });
        let operation = operation.with_one_plus_gamma(one_plus_gamma != 0);
        let rows = rows_shape(rows, cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let args = NormArgs::new().maybe_gamma(gamma.optional()).maybe_beta(beta.optional());
            let mut args = sum.add_to(args, rows.elements())?;
            let mut wide = rstd.temporary(rows.rows())?;
            if let Some(rstd) = rstd.write(&mut wide) {
                args = args.rstd(rstd);
            }
            operation.forward(io.get(), rows, args)?;
            rstd.finish(&wide);
            Ok(())
        }
    })
}

/// RmsNorm of every row of `x`, [rows, cols], gated by `z` after the norm, as in Qwen3-Next and Gated `DeltaNet` (Mamba-2 gates before the norm):
/// `y = gamma * x / sqrt(mean of x^2 + eps) * silu(z)` with `silu(z) = z / (1 + exp(-z))`.
///
/// `x_len`, `z_len` and `y_len` are rows * cols; `y` may be `x`. `gamma` (NULL with length 0: 1) has cols elements; if
/// `one_plus_gamma` is not 0, 1 + gamma takes the place of gamma.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `y` writable, the others readable. `execution` is NULL or
/// readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_rms_norm_gated_f32(
    x: *const f32,
    x_len: usize,
    z: *const f32,
    z_len: usize,
    gamma: *const f32,
    gamma_len: usize,
    one_plus_gamma: u32,
    rows: usize,
    cols: usize,
    eps: f64,
    y: *mut f32,
    y_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let z = Buffer::input("z", z, z_len);
        let gamma = Buffer::input("gamma", gamma, gamma_len);
        let io = Io::check(x, y, [y.extent()], [x.extent(), z.extent(), gamma.extent()])?;
        // SAFETY: the caller's promise.
        let operation =
            RmsNorm::new().with_eps(eps).with_execution(unsafe { self::execution(execution)? });
        let operation = operation.with_one_plus_gamma(one_plus_gamma != 0);
        let rows = rows_shape(rows, cols)?;
        // The operation has another name for it.
        z.check_length(rows.elements())?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let args = NormArgs::new().maybe_gamma(gamma.optional()).gate(z.slice());
            operation.forward(io.get(), rows, args)?;
            Ok(())
        }
    })
}

/// `evenkeel_layer_norm_f32` of rows that begin every `x_pitch` elements of `x` and every `y_pitch` of `y`, as the parts of a
/// wider matrix do, bit for bit. What lies between two rows of `y` is not touched.
///
/// A pitch is at least cols; `x_len` and `y_len` are at least (rows - 1) * pitch + cols, and 0 will do without rows. `y` may
/// be `x` with the same pitch; else the two share no memory, between the rows neither. `gamma` (NULL with length 0: 1) and
/// `beta` (NULL with length 0: 0) have cols elements.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `y` readable and writable, the others readable. Nothing else writes
/// to them meanwhile, and nothing reads `y`, between its rows neither. `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_layer_norm_strided_f32(
    x: *const f32,
    x_len: usize,
    x_pitch: usize,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    rows: usize,
    cols: usize,
    eps: f64,
    y: *mut f32,
    y_len: usize,
    y_pitch: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let gamma = Buffer::input("gamma", gamma, gamma_len);
        let beta = Buffer::input("beta", beta, beta_len);
        let inputs = [x.extent(), gamma.extent(), beta.extent()];
        let io = Io::check_pitches((x, x_pitch), (y, y_pitch), [y.extent()], inputs)?;
        // SAFETY: the caller's promise.
        let operation =
            LayerNorm::new().with_eps(eps).with_execution(unsafe { self::execution(execution)? });
        let rows = rows_shape(rows, cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let args = NormArgs::new().maybe_gamma(gamma.optional()).maybe_beta(beta.optional());
            operation.forward(io.get_strided([x_pitch, y_pitch]), rows, args)?;
            Ok(())
        }
    })
}

/// `evenkeel_rms_norm_f32` of rows that begin every `x_pitch` elements of `x` and every `y_pitch` of `y`, bit for bit.
///
/// `x`, `y` and their pitches are as in `evenkeel_layer_norm_strided_f32`, the rest as in `evenkeel_rms_norm_f32`.
///
/// # Safety
///
/// As `evenkeel_layer_norm_strided_f32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_rms_norm_strided_f32(
    x: *const f32,
    x_len: usize,
    x_pitch: usize,
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
    y_pitch: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let gamma = Buffer::input("gamma", gamma, gamma_len);
        let beta = Buffer::input("beta", beta, beta_len);
        let inputs = [x.extent(), gamma.extent(), beta.extent()];
        let io = Io::check_pitches((x, x_pitch), (y, y_pitch), [y.extent()], inputs)?;
        // SAFETY: the caller's promise.
        let operation =
            RmsNorm::new().with_eps(eps).with_execution(unsafe { self::execution(execution)? });
        let operation = operation.with_one_plus_gamma(one_plus_gamma != 0);
        let rows = rows_shape(rows, cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let args = NormArgs::new().maybe_gamma(gamma.optional()).maybe_beta(beta.optional());
            operation.forward(io.get_strided([x_pitch, y_pitch]), rows, args)?;
            Ok(())
        }
    })
}

/// `evenkeel_normalize_rows_f32` of rows that begin every `x_pitch` elements of `x` and every `y_pitch` of `y`, bit for bit.
///
/// `x`, `y` and their pitches are as in `evenkeel_layer_norm_strided_f32`, the rest as in `evenkeel_normalize_rows_f32`.
///
/// # Safety
///
/// As `evenkeel_layer_norm_strided_f32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_normalize_rows_strided_f32(
    x: *const f32,
    x_len: usize,
    x_pitch: usize,
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
    y_pitch: usize,
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
        let inputs = passed.inputs(x);
        let io = Io::check_pitches((x, x_pitch), (y, y_pitch), [y.extent()], inputs)?;
        // SAFETY: the caller's promise.
        let operation =
            NormalizeScaleShift::new().with_execution(unsafe { self::execution(execution)? });
        let rows = rows_shape(rows, cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let io = io.get_strided([x_pitch, y_pitch]);
            passed.read(rows, true, |statistics, args| {
                operation.forward(io, rows, statistics, args)?;
                Ok(())
            })
        }
    })
}

/// The moments of every row of `x`, whose rows begin every `x_pitch` elements: `x_pitch` is at least cols, `x_len` at least
/// `(rows - 1) * x_pitch + cols`, and `moments_len` is rows.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x` readable, `moments` writable. `execution` is NULL or
/// readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_row_moments_strided_f32(
    x: *const f32,
    x_len: usize,
    x_pitch: usize,
    rows: usize,
    cols: usize,
    moments: *mut evenkeel_moments,
    moments_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let x = Buffer::input("x", x, x_len);
        let moments = Buffer::output("moments", moments, moments_len).cast::<Moments>();
        check_buffers(&[moments.extent()], &[x.extent()])?;
        // SAFETY: the caller's promise.
        let operation = RowMoments::new().with_execution(unsafe { self::execution(execution)? });
        let (rows, args) = (rows_shape(rows, cols)?, MomentArgs::new().x_pitch(x_pitch));
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe { Ok(operation.compute(x.slice(), rows, moments.slice_mut(), args)?) }
    })
}
