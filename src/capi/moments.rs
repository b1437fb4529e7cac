//! Moments: of rows, of columns, of streams, merged.

use core::mem::offset_of;

use super::boundary::guarded;
use super::buffers::{Buffer, check_buffers};
use super::execution::{evenkeel_execution, execution};
use super::layout::rows_shape;
use super::status::evenkeel_status;
use crate::args::moments::MomentArgs;
use crate::moments::column_moments::ColumnMoments;
use crate::moments::row_moments::RowMoments;
use crate::welford::Moments;

/// Number, mean and sum of squared deviations of a set of values. All zeros is the empty set. The population variance is
/// m2 / count, the sample variance m2 / (count - 1).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_moments {
    /// The number of values.
    pub count: u64,
    /// Their mean; 0 if there are none.
    pub mean: f64,
    /// What rounding left of the mean.
    pub mean_low: f64,
    /// The sum of their squared deviations from the mean.
    pub m2: f64,
}

// What `cast` below rests on.
const _: () = assert!(
    size_of::<evenkeel_moments>() == size_of::<Moments>()
        && align_of::<evenkeel_moments>() == align_of::<Moments>()
        && offset_of!(evenkeel_moments, count) == offset_of!(Moments, count)
        && offset_of!(evenkeel_moments, mean) == offset_of!(Moments, mean)
        && offset_of!(evenkeel_moments, mean_low) == offset_of!(Moments, mean_low)
        && offset_of!(evenkeel_moments, m2) == offset_of!(Moments, m2),
    "C has another layout"
);

/// Adds the values of `other` to `into`: the merge of Chan, Golub and LeVeque. `other` may be `into`.
///
/// # Safety
///
/// `into` is NULL or readable and writable, `other` NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_moments_merge(
    into: *mut evenkeel_moments,
    other: *const evenkeel_moments,
) -> evenkeel_status {
    guarded(move || {
        let into = Buffer::output("into", into, 1).cast::<Moments>();
        let other = Buffer::input("other", other, 1).cast::<Moments>();
        into.check()?;
        other.check()?;
        // SAFETY: the caller's promise. `other` is copied before `into` becomes a slice.
        unsafe {
            let other = other.slice()[0];
            into.slice_mut()[0].merge(&other);
        }
        Ok(())
    })
}

/// Adds every value of `x` to `into`. Runs on the calling thread.
///
/// # Safety
///
/// `into` is NULL or readable and writable; `x` has `x_len` readable elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_moments_extend_f32(
    into: *mut evenkeel_moments,
    x: *const f32,
    x_len: usize,
) -> evenkeel_status {
    guarded(move || {
        let into = Buffer::output("into", into, 1).cast::<Moments>();
        let x = Buffer::input("x", x, x_len);
        check_buffers(&[into.extent()], &[x.extent()])?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe { into.slice_mut()[0].extend_from_slice(x.slice()) };
        Ok(())
    })
}

/// The moments of every row of `x`, [rows, cols]: `moments_len` is rows. Those of no elements are all zeros.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x` readable, `moments` writable. `execution` is NULL or
/// readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_row_moments_f32(
    x: *const f32,
    x_len: usize,
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
        let rows = rows_shape(rows, cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe { Ok(operation.compute(x.slice(), rows, moments.slice_mut(), MomentArgs::new())?) }
    })
}

/// Writes to `scratch_len` how many doubles of scratch `evenkeel_column_moments_f32` and
/// `evenkeel_batch_norm_training_f32` use for this shape and execution.
///
/// # Safety
///
/// `execution` is NULL or readable, `scratch_len` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_column_scratch_len(
    rows: usize,
    cols: usize,
    execution: *const evenkeel_execution,
    scratch_len: *mut usize,
) -> evenkeel_status {
    guarded(move || {
        let out = Buffer::output("scratch_len", scratch_len, 1);
        out.check()?;
        // SAFETY: the caller's promise.
        let operation = ColumnMoments::new().with_execution(unsafe { self::execution(execution)? });
        let len = operation.scratch_len(rows_shape(rows, cols)?);
        // SAFETY: the caller's promise; checked.
        unsafe { out.slice_mut()[0] = len };
        Ok(())
    })
}

/// The moments of every column of `x`, [rows, cols]: `moments_len` is cols. Those of no rows are all zeros.
///
/// `scratch` has at least as many doubles as `evenkeel_column_scratch_len` says; NULL with length 0: it is allocated.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x` readable, `moments` and `scratch` writable. `execution` is
/// NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_column_moments_f32(
    x: *const f32,
    x_len: usize,
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
        let moments = Buffer::output("moments", moments, moments_len).cast::<Moments>();
        let scratch = Buffer::output("scratch", scratch, scratch_len);
        check_buffers(&[moments.extent(), scratch.extent()], &[x.extent()])?;
        // SAFETY: the caller's promise.
        let operation = ColumnMoments::new().with_execution(unsafe { self::execution(execution)? });
        let rows = rows_shape(rows, cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let args = with_scratch(MomentArgs::new(), scratch);
            Ok(operation.compute(x.slice(), rows, moments.slice_mut(), args)?)
        }
    })
}

/// The arguments with scratch, if it is there.
///
/// # Safety
///
/// As for [`Buffer::slice_mut`].
pub(super) unsafe fn with_scratch(args: MomentArgs<'_>, scratch: Buffer<f64>) -> MomentArgs<'_> {
    // SAFETY: the caller's promise.
    match unsafe { scratch.optional_mut() } {
        Some(scratch) => args.scratch(scratch),
        None => args,
    }
}
