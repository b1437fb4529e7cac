//! Padding: BatchNorm, InstanceNorm and moments of the valid rows or elements alone.

use core::ffi::c_void;

use super::border::{Buffer, Extent, Fault, Statistic, check, enter, temporary};
use super::channels::{Own, channels, evenkeel_layout};
use super::normalize::{Inference, Training};
use super::{
    evenkeel_dtype, evenkeel_execution, evenkeel_moments, evenkeel_running, evenkeel_status,
    execution, shape,
};
use crate::{ColumnMoments, InstanceNorm, Mask, Moments, RowMoments, ValidRows};

/// How it is said which rows are valid; the others are padding.
pub type evenkeel_valid = u32;
/// One bit a row, least significant first, 1 where it is valid: (rows + 7) / 8 bytes, `uint8_t`.
pub const EVENKEEL_VALID_PACKED: evenkeel_valid = 0;
/// One byte a row, not 0 where it is valid: rows bytes, `uint8_t`.
pub const EVENKEEL_VALID_BYTES: evenkeel_valid = 1;
/// One length a sample, `size_t`, at most `steps`: of each sample's `steps` rows the first so many are valid.
pub const EVENKEEL_VALID_LENGTHS: evenkeel_valid = 2;

/// Which rows are valid, as C says it.
#[derive(Clone, Copy)]
pub(super) enum Valid {
    Packed(Buffer<u8>),
    Bytes(Buffer<u8>),
    Lengths(Buffer<usize>, usize),
}

impl Valid {
    fn new(
        start: *const c_void,
        len: usize,
        kind: evenkeel_valid,
        steps: usize,
    ) -> Result<Self, Box<Fault>> {
        match kind {
            EVENKEEL_VALID_PACKED => Ok(Self::Packed(Buffer::input("mask", start.cast(), len))),
            EVENKEEL_VALID_BYTES => Ok(Self::Bytes(Buffer::input("mask", start.cast(), len))),
            EVENKEEL_VALID_LENGTHS => {
                Ok(Self::Lengths(Buffer::input("lengths", start.cast(), len), steps))
            }
            got => {
                let expected = "a number EVENKEEL_VALID_...";
                Err(Fault::Option { arg: "valid_kind", expected, got }.boxed())
            }
        }
    }

    /// As [`Buffer::extent`].
    #[inline(always)]
    pub(super) fn extent(&self) -> Extent {
        match self {
            Self::Packed(mask) | Self::Bytes(mask) => mask.extent(),
            Self::Lengths(lengths, _) => lengths.extent(),
        }
    }

    /// The rows.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice`].
    pub(super) unsafe fn rows<'a>(&self) -> ValidRows<'a> {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Packed(mask) => ValidRows::Mask(Mask::Packed(mask.slice())),
                Self::Bytes(mask) => ValidRows::Mask(Mask::Bytes(mask.slice())),
                &Self::Lengths(lengths, steps) => {
                    ValidRows::Lengths { lengths: lengths.slice(), steps }
                }
            }
        }
    }
}

/// `evenkeel_batch_norm_training_f32` of the batch without its padding, bit for bit; padding of `y` becomes +0.0, whatever
/// `x` holds there. Without a valid row, that is all that is written.
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
            valid: Some(Valid::new(valid, valid_len, valid_kind, steps)?),
            execution,
        };
        // SAFETY: the caller's promise.
        unsafe { training.run(|| Ok(shape(rows, cols)?.into())) }
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
    enter(move || {
        let inference = Inference {
            x: Buffer::input("x", x, x_len),
            running_mean: Buffer::input("running_mean", running_mean, running_mean_len),
            running_var: Buffer::input("running_var", running_var, running_var_len),
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
            eps,
            y: Buffer::output("y", y, y_len),
            valid: Some(Valid::new(valid, valid_len, valid_kind, steps)?),
            execution,
        };
        // SAFETY: the caller's promise.
        unsafe { inference.run(|| Ok(shape(rows, cols)?.into())) }
    })
}

/// `evenkeel_column_moments_f32` of the valid rows of `x`, with the bits of the matrix without the others. There is at least
/// one unless cols is 0.
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
    enter(move || {
        let x = Buffer::input("x", x, x_len);
        let valid = Valid::new(valid, valid_len, valid_kind, steps)?;
        let moments = Buffer::output("moments", moments, moments_len).cast::<Moments>();
        let scratch = Buffer::output("scratch", scratch, scratch_len);
        check(&[moments.extent(), scratch.extent()], &[x.extent(), valid.extent()])?;
        // SAFETY: the caller's promise.
        let operation = ColumnMoments::new().with_execution(unsafe { self::execution(execution)? });
        let rows = shape(rows, cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        let (x, valid, moments) = unsafe { (x.slice(), valid.rows(), moments.slice_mut()) };
        let mut allocated;
        let scratch = if scratch.is_absent() {
            operation.check(x, rows, moments)?;
            allocated = temporary(operation.scratch_len(rows))?;
            &mut allocated[..]
        } else {
            // SAFETY: the same.
            unsafe { scratch.slice_mut() }
        };
        Ok(operation.compute_masked_with_scratch(x, valid, rows, moments, scratch)?)
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
    enter(move || {
        let own = Own {
            x: Buffer::input("x", x, x_len),
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
            y: Buffer::output("y", y, y_len),
            mean: Statistic::output("mean", mean, mean_len, stats_dtype)?,
            rstd: Statistic::output("rstd", rstd, rstd_len, stats_dtype)?,
            valid: Some(Valid::new(valid, valid_len, valid_kind, positions)?),
        };
        let scratch = Buffer::output("scratch", core::ptr::null_mut(), 0);
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(execution)? };
        let norm = InstanceNorm::new().with_eps(eps).with_execution(execution);
        let shape = || self::channels(layout, (batch, channels, positions));
        // SAFETY: the caller's promise.
        unsafe { own.by_groups(norm.by_groups(), scratch, shape) }
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
    enter(move || {
        let x = Buffer::input("x", x, x_len);
        let lengths = Buffer::input("lengths", lengths, lengths_len);
        let moments = Buffer::output("moments", moments, moments_len).cast::<Moments>();
        check(&[moments.extent()], &[x.extent(), lengths.extent()])?;
        // SAFETY: the caller's promise.
        let operation = RowMoments::new().with_execution(unsafe { self::execution(execution)? });
        // SAFETY: the caller's promise; checked and disjoint.
        let (x, lengths, moments) = unsafe { (x.slice(), lengths.slice(), moments.slice_mut()) };
        Ok(operation.compute_prefixes(x, lengths, shape(rows, cols)?, moments)?)
    })
}
