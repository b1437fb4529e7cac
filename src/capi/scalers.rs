//! Scalers of features, and rows by their norm. What a scaler has learnt is in the caller's buffers.

use core::mem::offset_of;

use super::boundary::call;
use super::buffers::{Buffer, evenkeel_input, evenkeel_output, in_out};
use super::dtype::{F32, F64, FLOATS, MOMENTS};
use super::execution::evenkeel_execution;
use super::member::{read, write};
use super::members::members;
use super::rows::flag;
use super::shape::evenkeel_shape;
use super::status::evenkeel_status;
use super::status::unknown;
use crate::kernels::columns::min_max::{MinMax, merge_ranges};
use crate::kernels::columns::standard_scaler::{Partial, means_and_scales};
use crate::memory::filled;
use crate::preprocess::min_max_scaler;
use crate::preprocess::normalizer::{Norm, Normalizer};
use crate::preprocess::standard_scaler;
use crate::preprocess::state::check_ranges;
use crate::run::stored::read_in_f32;
use crate::shape::{check_length, check_optional};
use crate::welford::{Moments, check_moments};

/// What a standard scaler learns of the samples of x: number, mean and sum of squared deviations of every column. NaN are not
/// counted; no rows change nothing. x, the shape, a matrix, and moments have to be there. A call allocates a temporary of about
/// 40 bytes a column, sixteen times as much where tasks may share the work.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_standard_scaler_partial_fit_args {
    pub size: usize,
    /// The elements of the shape.
    pub x: evenkeel_input,
    pub shape: evenkeel_shape,
    /// Updated, one a column; start with all zeros.
    pub moments: evenkeel_output,
    /// Updated, one double a column: what rounding left of every m2; start with zeros. With it, the error does not grow with the
    /// number of batches.
    pub m2_low: evenkeel_output,
    /// NULL: the default. A pool of the host is not used.
    pub execution: *const evenkeel_execution,
}

members! {
    evenkeel_standard_scaler_partial_fit_args {}, 184, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required()), shape 48, moments 96 (write(MOMENTS).required()),
        m2_low 136 (write(F64)), execution 176,
    ]
}

/// A standard scaler learns from samples.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_standard_scaler_partial_fit(
    args: *const evenkeel_standard_scaler_partial_fit_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let (execution, rows) = (run.without_pool(), args.shape.rows()?);
            let x = args.x.elements();
            check_length("x", x.len(), rows.elements())?;
            args.moments.check_length("moments", rows.cols())?;
            let (moments, m2_low) = (args.moments.slice_mut(), args.m2_low.optional_mut());
            check_optional("m2_low", m2_low.as_deref(), rows.cols())?;
            check_moments("moments", moments)?;
            let needed = standard_scaler::partials_len(execution, rows);
            let mut partials = filled(Partial::EMPTY, needed)?;
            Ok(read_in_f32(execution.call(None), x, |x| {
                standard_scaler::add(execution, x, rows, &mut partials, moments, m2_low);
                Ok(())
            })?)
        })
    }
}

/// What another standard scaler has learnt is added to what one has: afterwards it has seen the samples of both. moments and
/// other have to be there, and what is there is as long as moments. Runs on the calling thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_standard_scaler_merge_args {
    pub size: usize,
    /// Updated.
    pub moments: evenkeel_output,
    /// Updated, as in `evenkeel_standard_scaler_partial_fit_args`.
    pub m2_low: evenkeel_output,
    /// The moments of the other.
    pub other: evenkeel_input,
    /// The `m2_low` of the other.
    pub other_m2_low: evenkeel_input,
    /// NULL: the default.
    pub execution: *const evenkeel_execution,
}

members! {
    evenkeel_standard_scaler_merge_args {}, 176, |args| args.execution,
    [
        size 0, moments 8 (write(MOMENTS).required()), m2_low 48 (write(F64)),
        other 88 (read(MOMENTS).required()), other_m2_low 128 (read(F64)), execution 168,
    ]
}

/// A standard scaler learns what another has learnt.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_standard_scaler_merge(
    args: *const evenkeel_standard_scaler_merge_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let (moments, m2_low) = (args.moments.slice_mut(), args.m2_low.optional_mut());
            let (other, other_low) = (args.other.slice(), args.other_m2_low.optional());
            check_length("other", other.len(), moments.len())?;
            check_optional("m2_low", m2_low.as_deref(), moments.len())?;
            check_optional("other_m2_low", other_low, moments.len())?;
            check_moments("moments", moments)?;
            check_moments("other", other)?;
            standard_scaler::merge(run.execution(), moments, m2_low, other, other_low);
            Ok(())
        })
    }
}

/// Standardises every column by what a standard scaler has learnt: y = (x - mean) / scale, where scale is the population standard
/// deviation, 1 of a constant column. A column without a number becomes NaN; if there are elements and there is no number at all,
/// the call returns `EVENKEEL_NOT_FITTED`. x, y, the shape, a matrix, and moments have to be there. A call allocates a temporary
/// of 16 bytes a column.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_standard_scaler_transform_args {
    pub size: usize,
    /// The elements of the shape.
    pub x: evenkeel_input,
    /// As many; it may be x.
    pub y: evenkeel_output,
    pub shape: evenkeel_shape,
    /// One a column.
    pub moments: evenkeel_input,
    /// 0: mean is taken as 0. Default: 1.
    pub with_mean: u32,
    /// 0: scale is taken as 1. Default: 1.
    pub with_std: u32,
    /// 1: the way back, y = x * scale + mean. 0: the way there.
    pub inverse: u32,
    /// 0
    pub reserved: u32,
    /// NULL: the default. A pool of the host is not used.
    pub execution: *const evenkeel_execution,
}

members! {
    evenkeel_standard_scaler_transform_args { with_mean: 1, with_std: 1 }, 200, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required().pitched()),
        y 48 (write(FLOATS).required().pitched().may_be(offset_of!(evenkeel_standard_scaler_transform_args, x))),
        shape 88, moments 136 (read(MOMENTS).required()), with_mean 176, inverse 184, execution 192,
    ]
}

/// Standardises samples, or goes the way back.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_standard_scaler_transform(
    args: *const evenkeel_standard_scaler_transform_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let (execution, rows) = (run.without_pool(), args.shape.rows()?);
            let with_mean = flag("with_mean", args.with_mean, 0)?;
            let with_std = flag("with_std", args.with_std, 0)?;
            let inverse = flag("inverse", args.inverse, args.reserved)?;
            let moments = args.moments.slice::<Moments>();
            check_length("moments", moments.len(), rows.cols())?;
            check_moments("moments", moments)?;
            let mut mean = filled(0.0, moments.len())?;
            let mut scale = filled(0.0, moments.len())?;
            means_and_scales(moments, &mut mean, &mut scale);
            let (mean, scale) = (with_mean.then_some(&mean[..]), with_std.then_some(&scale[..]));
            let io = in_out(&args.x, &args.y);
            Ok(match inverse {
                false => standard_scaler::apply::<false>(execution, io, moments, mean, scale, rows),
                true => standard_scaler::apply::<true>(execution, io, moments, mean, scale, rows),
            }?)
        })
    }
}

/// The mean of every column, which a standard scaler subtracts, and its scale, by which it divides. Both are NaN where no number
/// has been seen. moments have to be there. Runs on the calling thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_standard_scaler_statistics_args {
    pub size: usize,
    /// One a column.
    pub moments: evenkeel_input,
    /// Written, one double a column. Absent: it is not wanted.
    pub mean: evenkeel_output,
    /// Written likewise.
    pub scale: evenkeel_output,
}

members! {
    evenkeel_standard_scaler_statistics_args {}, 128, |_| core::ptr::null(),
    [
        size 0, moments 8 (read(MOMENTS).required()), mean 48 (write(F64)), scale 88 (write(F64)),
    ]
}

/// Mean and scale of what a standard scaler has learnt.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_standard_scaler_statistics(
    args: *const evenkeel_standard_scaler_statistics_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, _| {
            let moments = args.moments.slice();
            let (mean, scale) = (args.mean.optional_mut(), args.scale.optional_mut());
            check_optional("mean", mean.as_deref(), moments.len())?;
            check_optional("scale", scale.as_deref(), moments.len())?;
            check_moments("moments", moments)?;
            means_and_scales(moments, mean.unwrap_or_default(), scale.unwrap_or_default());
            Ok(())
        })
    }
}

/// What a min-max scaler learns of the samples of x: the least and the greatest value of every column. NaN are ignored; no rows
/// change nothing. All but execution have to be there. A call allocates a temporary of about 8 bytes a column, sixteen times as
/// much where tasks may share the work.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_min_max_scaler_partial_fit_args {
    pub size: usize,
    /// The elements of the shape.
    pub x: evenkeel_input,
    pub shape: evenkeel_shape,
    /// Updated, one a column; start with INFINITY.
    pub data_min: evenkeel_output,
    /// Updated, one a column; start with -INFINITY.
    pub data_max: evenkeel_output,
    /// NULL: the default. A pool of the host is not used.
    pub execution: *const evenkeel_execution,
}

members! {
    evenkeel_min_max_scaler_partial_fit_args {}, 184, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required()), shape 48, data_min 96 (write(F32).required()),
        data_max 136 (write(F32).required()), execution 176,
    ]
}

/// The names of a range.
const RANGE: [&str; 2] = ["data_min", "data_max"];

/// A min-max scaler learns from samples.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_min_max_scaler_partial_fit(
    args: *const evenkeel_min_max_scaler_partial_fit_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let (execution, rows) = (run.without_pool(), args.shape.rows()?);
            let x = args.x.elements();
            check_length("x", x.len(), rows.elements())?;
            args.data_min.check_length("data_min", rows.cols())?;
            let (min, max) = (args.data_min.slice_mut(), args.data_max.slice_mut());
            check_ranges(RANGE, min, max)?;
            let needed = min_max_scaler::ranges_len(execution, rows);
            let mut ranges = filled(MinMax::EMPTY, needed)?;
            Ok(read_in_f32(execution.call(None), x, |x| {
                min_max_scaler::add(execution, x, rows, &mut ranges, min, max);
                Ok(())
            })?)
        })
    }
}

/// What another min-max scaler has learnt is added to what one has: afterwards it has seen the samples of both. All have to be
/// there, and are equally long. Runs on the calling thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_min_max_scaler_merge_args {
    pub size: usize,
    /// Updated.
    pub data_min: evenkeel_output,
    /// Updated.
    pub data_max: evenkeel_output,
    /// The `data_min` of the other.
    pub other_min: evenkeel_input,
    /// The `data_max` of the other.
    pub other_max: evenkeel_input,
}

members! {
    evenkeel_min_max_scaler_merge_args {}, 168, |_| core::ptr::null(),
    [
        size 0, data_min 8 (write(F32).required()), data_max 48 (write(F32).required()),
        other_min 88 (read(F32).required()), other_max 128 (read(F32).required()),
    ]
}

/// A min-max scaler learns what another has learnt.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_min_max_scaler_merge(
    args: *const evenkeel_min_max_scaler_merge_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, _| {
            let (min, max) = (args.data_min.slice_mut(), args.data_max.slice_mut());
            let (other_min, other_max) = (args.other_min.slice(), args.other_max.slice());
            check_length("other_min", other_min.len(), min.len())?;
            check_ranges(RANGE, min, max)?;
            check_ranges(["other_min", "other_max"], other_min, other_max)?;
            merge_ranges(min, max, other_min, other_max);
            Ok(())
        })
    }
}

/// Maps every column from the range that a min-max scaler has learnt to that from `range_min` to `range_max`:
///
/// `y = (x - data_min) * (range_max - range_min) / (data_max - data_min) + range_min`
///
/// A constant column has 1 for `data_max` - `data_min`. A column without a number becomes NaN; if there are elements and there is
/// no number at all, the call returns `EVENKEEL_NOT_FITTED`. x, y, the shape, a matrix, `data_min` and `data_max` have to be
/// there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_min_max_scaler_transform_args {
    pub size: usize,
    /// The elements of the shape.
    pub x: evenkeel_input,
    /// As many; it may be x.
    pub y: evenkeel_output,
    pub shape: evenkeel_shape,
    /// One a column.
    pub data_min: evenkeel_input,
    /// One a column.
    pub data_max: evenkeel_input,
    /// Less than `range_max`, finite as float. Default: 0.
    pub range_min: f64,
    /// Finite as float. Default: 1.
    pub range_max: f64,
    /// 1: what would be outside of the range becomes its nearest end. 0: it is outside.
    pub clip: u32,
    /// 1: the way back, never clipped, from the range to the data. 0: the way there.
    pub inverse: u32,
    /// NULL: the default. A pool of the host is not used.
    pub execution: *const evenkeel_execution,
}

members! {
    evenkeel_min_max_scaler_transform_args { range_max: 1.0 }, 248, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required().pitched()),
        y 48 (write(FLOATS).required().pitched().may_be(offset_of!(evenkeel_min_max_scaler_transform_args, x))),
        shape 88, data_min 136 (read(F32).required()), data_max 176 (read(F32).required()),
        range_min 216, range_max 224, clip 232, execution 240,
    ]
}

/// Maps samples to a range, or goes the way back.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_min_max_scaler_transform(
    args: *const evenkeel_min_max_scaler_transform_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let (execution, rows) = (run.without_pool(), args.shape.rows()?);
            let (clip, inverse) = (flag("clip", args.clip, 0)?, flag("inverse", args.inverse, 0)?);
            let ranges = (args.data_min.slice::<f32>(), args.data_max.slice::<f32>());
            check_length("data_min", ranges.0.len(), rows.cols())?;
            check_ranges(RANGE, ranges.0, ranges.1)?;
            let to = [args.range_min, args.range_max];
            let io = in_out(&args.x, &args.y);
            Ok(min_max_scaler::apply(execution, io, ranges, to, clip, inverse, rows)?)
        })
    }
}

/// What the length of a row is.
pub type evenkeel_norm = u32;
/// The sum of absolute values.
pub const EVENKEEL_NORM_L1: evenkeel_norm = 1;
/// The root of the sum of squares.
pub const EVENKEEL_NORM_L2: evenkeel_norm = 2;
/// The largest absolute value.
pub const EVENKEEL_NORM_MAX: evenkeel_norm = 3;

/// Divides every row by its norm: y = x / norm. A row of zeros stays one. x, y and the shape, a matrix, have to be there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_normalizer_args {
    pub size: usize,
    /// The elements of the shape.
    pub x: evenkeel_input,
    /// As many; it may be x.
    pub y: evenkeel_output,
    pub shape: evenkeel_shape,
    /// `EVENKEEL_NORM_...`. Default: `EVENKEEL_NORM_L2`.
    pub norm: evenkeel_norm,
    /// 0
    pub reserved: u32,
    /// NULL: the default. A pool of the host is not used.
    pub execution: *const evenkeel_execution,
}

members! {
    evenkeel_normalizer_args { norm: EVENKEEL_NORM_L2 }, 152, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required().pitched()),
        y 48 (write(FLOATS).required().pitched().may_be(offset_of!(evenkeel_normalizer_args, x))),
        shape 88, norm 136, execution 144,
    ]
}

/// Divides rows by their norms.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_normalizer(
    args: *const evenkeel_normalizer_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let norm = match (args.norm, args.reserved) {
                (EVENKEEL_NORM_L1, 0) => Norm::L1,
                (EVENKEEL_NORM_L2, 0) => Norm::L2,
                (EVENKEEL_NORM_MAX, 0) => Norm::Max,
                (got, 0) => return Err(unknown("norm", "a number EVENKEEL_NORM_...", got.into())),
                (_, got) => return Err(unknown("reserved", "0", got.into())),
            };
            let operation = Normalizer::new().with_norm(norm).with_execution(run.without_pool());
            Ok(operation.run(in_out(&args.x, &args.y), args.shape.rows()?)?)
        })
    }
}
