//! Scalers of features, and rows by their norm. What a scaler has learnt is in the caller's buffers.

use super::boundary::guarded;
use super::buffers::{Buffer, check_buffers, temporary, temporary_of};
use super::execution::{evenkeel_execution, execution};
use super::fault::Fault;
use super::io::Io;
use super::layout::rows_shape;
use super::moments::evenkeel_moments;
use super::status::evenkeel_status;
use crate::kernels::columns::min_max::{MinMax, merge_ranges};
use crate::kernels::columns::standard_scaler::{Partial, means_and_scales};
use crate::preprocess::min_max_scaler::{self, check_ranges};
use crate::preprocess::normalizer::Norm;
use crate::preprocess::normalizer::Normalizer;
use crate::preprocess::standard_scaler::{self, check_moments};
use crate::shape::{check_length, check_optional};
use crate::welford::Moments;

/// Adds the samples of `x`, [rows, cols], to what a standard scaler has learnt: number, mean and sum of squared deviations of
/// every column. NaN are not counted; no rows change nothing.
///
/// `x_len` is rows * cols. `moments` has cols elements; start with all zeros. `m2_low` is what rounding left of every m2:
/// cols doubles, start with zeros, or NULL with length 0. With it, the error does not grow with the number of batches. A
/// call allocates a temporary of about 40 bytes a column, sixteen times as much where tasks may share the work.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x` readable, `moments` and `m2_low` readable and writable.
/// `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_standard_scaler_partial_fit_f32(
    x: *const f32,
    x_len: usize,
    rows: usize,
    cols: usize,
    moments: *mut evenkeel_moments,
    moments_len: usize,
    m2_low: *mut f64,
    m2_low_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let x = Buffer::input("x", x, x_len);
        let moments = Buffer::output("moments", moments, moments_len).cast::<Moments>();
        let m2_low = Buffer::output("m2_low", m2_low, m2_low_len);
        check_buffers(&[moments.extent(), m2_low.extent()], &[x.extent()])?;
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(execution)? };
        let rows = rows_shape(rows, cols)?;
        check_length("x", x.len(), rows.elements())?;
        check_length("moments", moments.len(), cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let (moments, m2_low) = (moments.slice_mut(), m2_low.optional_mut());
            check_optional("m2_low", m2_low.as_deref(), cols)?;
            check_moments("moments", moments)?;
            let needed = standard_scaler::partials_len(execution, rows);
            let mut partials = temporary_of(Partial::EMPTY, needed)?;
            standard_scaler::add(execution, x.slice(), rows, &mut partials, moments, m2_low);
        }
        Ok(())
    })
}

/// Adds what another standard scaler has learnt, `other` and `other_m2_low`, to `moments` and `m2_low`: afterwards this one
/// has seen the samples of both.
///
/// `other_len` is `moments_len`, as are `m2_low_len` and `other_m2_low_len` unless they are NULL with length 0. Runs on the
/// calling thread.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `moments` and `m2_low` readable and writable, the others readable.
/// `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_standard_scaler_merge(
    moments: *mut evenkeel_moments,
    moments_len: usize,
    m2_low: *mut f64,
    m2_low_len: usize,
    other: *const evenkeel_moments,
    other_len: usize,
    other_m2_low: *const f64,
    other_m2_low_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let moments = Buffer::output("moments", moments, moments_len).cast::<Moments>();
        let m2_low = Buffer::output("m2_low", m2_low, m2_low_len);
        let other = Buffer::input("other", other, other_len).cast::<Moments>();
        let other_low = Buffer::input("other_m2_low", other_m2_low, other_m2_low_len);
        let inputs = [other.extent(), other_low.extent()];
        check_buffers(&[moments.extent(), m2_low.extent()], &inputs)?;
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(execution)? };
        check_length("other", other.len(), moments_len)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let (moments, m2_low) = (moments.slice_mut(), m2_low.optional_mut());
            let (other, other_low) = (other.slice(), other_low.optional());
            check_optional("m2_low", m2_low.as_deref(), moments_len)?;
            check_optional("other_m2_low", other_low, moments_len)?;
            check_moments("moments", moments)?;
            check_moments("other", other)?;
            standard_scaler::merge(execution, moments, m2_low, other, other_low);
        }
        Ok(())
    })
}

/// Standardises every column of `x`, [rows, cols], by what a standard scaler has learnt: `y = (x - mean) / scale`. scale is
/// the population standard deviation, 1 of a constant column.
///
/// `x_len` and `y_len` are rows * cols; `y` may be `x`. `moments` has cols elements. Where `with_mean` is 0, so is mean; where
/// `with_std` is 0, scale is 1. A column without a number becomes NaN; if there is no number at all, the call returns
/// `EVENKEEL_NOT_FITTED`. A call allocates a temporary of 16 bytes a column.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `y` writable, the others readable. `execution` is NULL or
/// readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_standard_scaler_transform_f32(
    x: *const f32,
    x_len: usize,
    moments: *const evenkeel_moments,
    moments_len: usize,
    rows: usize,
    cols: usize,
    with_mean: u32,
    with_std: u32,
    y: *mut f32,
    y_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let standard = StandardTransform {
            x: Buffer::input("x", x, x_len),
            moments: Buffer::input("moments", moments, moments_len).cast(),
            with: [with_mean != 0, with_std != 0],
            y: Buffer::output("y", y, y_len),
            execution,
        };
        // SAFETY: the caller's promise.
        unsafe { standard.run::<false>(rows, cols) }
    })
}

/// The way back from `evenkeel_standard_scaler_transform_f32`, with its arguments: `y = x * scale + mean`.
///
/// # Safety
///
/// As `evenkeel_standard_scaler_transform_f32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_standard_scaler_inverse_transform_f32(
    x: *const f32,
    x_len: usize,
    moments: *const evenkeel_moments,
    moments_len: usize,
    rows: usize,
    cols: usize,
    with_mean: u32,
    with_std: u32,
    y: *mut f32,
    y_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let standard = StandardTransform {
            x: Buffer::input("x", x, x_len),
            moments: Buffer::input("moments", moments, moments_len).cast(),
            with: [with_mean != 0, with_std != 0],
            y: Buffer::output("y", y, y_len),
            execution,
        };
        // SAFETY: the caller's promise.
        unsafe { standard.run::<true>(rows, cols) }
    })
}

/// The mean of every column, which a standard scaler subtracts, and its scale, by which it divides: the square root of the
/// population variance, or 1 if the column is constant. Both are NaN where no number has been seen.
///
/// `mean_len` and `scale_len` are `moments_len`, unless one of the two is NULL with length 0. Runs on the calling thread.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `moments` readable, the others readable and writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_standard_scaler_statistics(
    moments: *const evenkeel_moments,
    moments_len: usize,
    mean: *mut f64,
    mean_len: usize,
    scale: *mut f64,
    scale_len: usize,
) -> evenkeel_status {
    guarded(move || {
        let moments = Buffer::input("moments", moments, moments_len).cast::<Moments>();
        let mean = Buffer::output("mean", mean, mean_len);
        let scale = Buffer::output("scale", scale, scale_len);
        check_buffers(&[mean.extent(), scale.extent()], &[moments.extent()])?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let moments = moments.slice();
            let (mean, scale) = (mean.optional_mut(), scale.optional_mut());
            check_optional("mean", mean.as_deref(), moments.len())?;
            check_optional("scale", scale.as_deref(), moments.len())?;
            check_moments("moments", moments)?;
            means_and_scales(moments, mean.unwrap_or_default(), scale.unwrap_or_default());
        }
        Ok(())
    })
}

/// The arguments of a standard scaler's transformation, without the shape.
struct StandardTransform {
    x: Buffer<f32>,
    moments: Buffer<Moments>,
    /// Whether the mean is subtracted, and whether the standard deviation divides.
    with: [bool; 2],
    y: Buffer<f32>,
    execution: *const evenkeel_execution,
}

impl StandardTransform {
    /// # Safety
    ///
    /// The duties of the entries.
    unsafe fn run<const INVERSE: bool>(&self, rows: usize, cols: usize) -> Result<(), Box<Fault>> {
        let Self { x, moments, with: [with_mean, with_std], y, execution } = self;
        let io = Io::check(*x, *y, [y.extent()], [x.extent(), moments.extent()])?;
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(*execution)? };
        let rows = rows_shape(rows, cols)?;
        check_length("moments", moments.len(), cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let moments = moments.slice();
            check_moments("moments", moments)?;
            let (mut mean, mut scale) = (temporary(cols)?, temporary(cols)?);
            means_and_scales(moments, &mut mean, &mut scale);
            let (mean, scale) = (with_mean.then_some(&mean[..]), with_std.then_some(&scale[..]));
            io.get().write_whole(|io| {
                standard_scaler::apply::<INVERSE>(execution, io, moments, mean, scale, rows)
            })?;
            Ok(())
        }
    }
}

/// Adds the samples of `x`, [rows, cols], to what a min-max scaler has learnt: the least and the greatest value of every
/// column. NaN are ignored; no rows change nothing.
///
/// `x_len` is rows * cols. `data_min` and `data_max` have cols elements; start with INFINITY and -INFINITY. A call allocates
/// a temporary of about 8 bytes a column, sixteen times as much where tasks may share the work.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x` readable, the others readable and writable. `execution` is
/// NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_min_max_scaler_partial_fit_f32(
    x: *const f32,
    x_len: usize,
    rows: usize,
    cols: usize,
    data_min: *mut f32,
    data_min_len: usize,
    data_max: *mut f32,
    data_max_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let x = Buffer::input("x", x, x_len);
        let min = Buffer::output("data_min", data_min, data_min_len);
        let max = Buffer::output("data_max", data_max, data_max_len);
        check_buffers(&[min.extent(), max.extent()], &[x.extent()])?;
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(execution)? };
        let rows = rows_shape(rows, cols)?;
        check_length("x", x.len(), rows.elements())?;
        check_length("data_min", min.len(), cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let (min, max) = (min.slice_mut(), max.slice_mut());
            check_ranges(RANGE, min, max)?;
            let needed = min_max_scaler::ranges_len(execution, rows);
            let mut ranges = temporary_of(MinMax::EMPTY, needed)?;
            min_max_scaler::add(execution, x.slice(), rows, &mut ranges, min, max);
        }
        Ok(())
    })
}

/// The arguments that are a range.
const RANGE: [&str; 2] = ["data_min", "data_max"];

/// Adds what another min-max scaler has learnt, `other_min` and `other_max`, to `data_min` and `data_max`: afterwards this one
/// has seen the samples of both. All four lengths are equal.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `data_min` and `data_max` readable and writable, the others
/// readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_min_max_scaler_merge_f32(
    data_min: *mut f32,
    data_min_len: usize,
    data_max: *mut f32,
    data_max_len: usize,
    other_min: *const f32,
    other_min_len: usize,
    other_max: *const f32,
    other_max_len: usize,
) -> evenkeel_status {
    guarded(move || {
        let min = Buffer::output("data_min", data_min, data_min_len);
        let max = Buffer::output("data_max", data_max, data_max_len);
        let other_min = Buffer::input("other_min", other_min, other_min_len);
        let other_max = Buffer::input("other_max", other_max, other_max_len);
        check_buffers(&[min.extent(), max.extent()], &[other_min.extent(), other_max.extent()])?;
        check_length("other_min", other_min.len(), data_min_len)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let (min, max) = (min.slice_mut(), max.slice_mut());
            let (other_min, other_max) = (other_min.slice(), other_max.slice());
            check_ranges(RANGE, min, max)?;
            check_ranges(["other_min", "other_max"], other_min, other_max)?;
            merge_ranges(min, max, other_min, other_max);
        }
        Ok(())
    })
}

/// Maps every column of `x`, [rows, cols], from the range that a min-max scaler has learnt to that from `range_min` to
/// `range_max`: `y = (x - data_min) * (range_max - range_min) / (data_max - data_min) + range_min`. A constant column has 1 for
/// `data_max - data_min`.
///
/// `x_len` and `y_len` are rows * cols; `y` may be `x`. `data_min` and `data_max` have cols elements. `range_min` is less than
/// `range_max`, both are finite as float. Where `clip` is not 0, what would be outside of the range becomes its nearest end.
/// A column without a number becomes NaN; if there is no number at all, the call returns `EVENKEEL_NOT_FITTED`.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `y` writable, the others readable. `execution` is NULL or
/// readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_min_max_scaler_transform_f32(
    x: *const f32,
    x_len: usize,
    data_min: *const f32,
    data_min_len: usize,
    data_max: *const f32,
    data_max_len: usize,
    rows: usize,
    cols: usize,
    range_min: f64,
    range_max: f64,
    clip: u32,
    y: *mut f32,
    y_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let min_max = MinMaxTransform {
            x: Buffer::input("x", x, x_len),
            min: Buffer::input("data_min", data_min, data_min_len),
            max: Buffer::input("data_max", data_max, data_max_len),
            to: [range_min, range_max],
            y: Buffer::output("y", y, y_len),
            execution,
        };
        // SAFETY: the caller's promise.
        unsafe { min_max.run((rows, cols), clip != 0, false) }
    })
}

/// The way back from `evenkeel_min_max_scaler_transform_f32`, with its arguments, never clipped:
/// `y = (x - range_min) * (data_max - data_min) / (range_max - range_min) + data_min`.
///
/// # Safety
///
/// As `evenkeel_min_max_scaler_transform_f32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_min_max_scaler_inverse_transform_f32(
    x: *const f32,
    x_len: usize,
    data_min: *const f32,
    data_min_len: usize,
    data_max: *const f32,
    data_max_len: usize,
    rows: usize,
    cols: usize,
    range_min: f64,
    range_max: f64,
    y: *mut f32,
    y_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let min_max = MinMaxTransform {
            x: Buffer::input("x", x, x_len),
            min: Buffer::input("data_min", data_min, data_min_len),
            max: Buffer::input("data_max", data_max, data_max_len),
            to: [range_min, range_max],
            y: Buffer::output("y", y, y_len),
            execution,
        };
        // SAFETY: the caller's promise.
        unsafe { min_max.run((rows, cols), false, true) }
    })
}

/// The arguments of a min-max scaler's transformation, without the shape.
struct MinMaxTransform {
    x: Buffer<f32>,
    min: Buffer<f32>,
    max: Buffer<f32>,
    /// The range that is mapped to.
    to: [f64; 2],
    y: Buffer<f32>,
    execution: *const evenkeel_execution,
}

impl MinMaxTransform {
    /// # Safety
    ///
    /// The duties of the entries.
    unsafe fn run(
        &self,
        (rows, cols): (usize, usize),
        clip: bool,
        inverse: bool,
    ) -> Result<(), Box<Fault>> {
        let Self { x, min, max, to, y, execution } = self;
        let io = Io::check(*x, *y, [y.extent()], [x.extent(), min.extent(), max.extent()])?;
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(*execution)? };
        let rows = rows_shape(rows, cols)?;
        check_length("data_min", min.len(), cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let (min, max) = (min.slice(), max.slice());
            check_ranges(RANGE, min, max)?;
            io.get().write_whole(|io| {
                min_max_scaler::apply(execution, io, (min, max), *to, clip, inverse, rows)
            })?;
            Ok(())
        }
    }
}

/// What the length of a row is.
pub type evenkeel_norm = u32;
/// The sum of absolute values.
pub const EVENKEEL_NORM_L1: evenkeel_norm = 0;
/// The root of the sum of squares.
pub const EVENKEEL_NORM_L2: evenkeel_norm = 1;
/// The largest absolute value.
pub const EVENKEEL_NORM_MAX: evenkeel_norm = 2;

/// Divides every row of `x`, [rows, cols], by its norm: `y = x / norm`. A row of zeros stays one.
///
/// `x_len` and `y_len` are rows * cols; `y` may be `x`. `norm` is `EVENKEEL_NORM_...`.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x` readable, `y` writable. `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_normalizer_f32(
    x: *const f32,
    x_len: usize,
    rows: usize,
    cols: usize,
    norm: evenkeel_norm,
    y: *mut f32,
    y_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let io = Io::check(x, y, [y.extent()], [x.extent()])?;
        let norm = match norm {
            EVENKEEL_NORM_L1 => Norm::L1,
            EVENKEEL_NORM_L2 => Norm::L2,
            EVENKEEL_NORM_MAX => Norm::Max,
            got => {
                let expected = "a number EVENKEEL_NORM_...";
                return Err(Fault::Option { arg: "norm", expected, got }.boxed());
            }
        };
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(execution)? };
        let operation = Normalizer::new().with_norm(norm).with_execution(execution);
        let rows = rows_shape(rows, cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        operation.forward(unsafe { io.get() }, rows)?;
        Ok(())
    })
}
