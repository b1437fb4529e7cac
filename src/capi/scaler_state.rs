//! What a scaler has learnt, as bytes: to be saved, or sent to another process.

use super::boundary::call;
use super::buffers::{Buffer, evenkeel_input, evenkeel_output};
use super::dtype::{BYTES, F32, F64, MOMENTS};
use super::member::{read, write};
use super::members::members;
use super::rows::flag;
use super::status::{Fault, evenkeel_status};
use crate::preprocess::state::{Kind, State, check_ranges, min_max_to_bytes, standard_to_bytes};
use crate::shape::{check_length, check_optional};
use crate::welford::check_moments;

/// The kind of a scaler.
pub type evenkeel_scaler = u32;
/// A standard scaler. Its state has 32 bytes and 40 a column.
pub const EVENKEEL_STANDARD_SCALER: evenkeel_scaler = 1;
/// A min-max scaler. Its state has 48 bytes and 8 a column.
pub const EVENKEEL_MIN_MAX_SCALER: evenkeel_scaler = 2;

/// What a state is of. What does not belong to its kind is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_scaler_info {
    pub features: usize,
    /// `EVENKEEL_STANDARD_SCALER` or `EVENKEEL_MIN_MAX_SCALER`
    pub scaler: evenkeel_scaler,
    /// As in `evenkeel_standard_scaler_transform_args`.
    pub with_mean: u32,
    /// Likewise.
    pub with_std: u32,
    /// As in `evenkeel_min_max_scaler_transform_args`.
    pub clip: u32,
    /// Likewise.
    pub range_min: f64,
    /// Likewise.
    pub range_max: f64,
}

/// The arguments of `evenkeel_scaler_state_info`: both have to be there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_scaler_state_info_args {
    pub size: usize,
    /// The state, `EVENKEEL_BYTES`.
    pub bytes: evenkeel_input,
    /// Written.
    pub info: *mut evenkeel_scaler_info,
}

members! {
    evenkeel_scaler_state_info_args {}, 56, |_| core::ptr::null(),
    [size 0, bytes 8 (read(BYTES).required()), info 48]
}

/// Checks the header and the length of a state, and writes what it is of.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_scaler_state_info(
    args: *const evenkeel_scaler_state_info_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, _| {
            let (arg, align) = ("info", align_of::<evenkeel_scaler_info>());
            if args.info.is_null() {
                return Err(Fault::Null { arg, len: 1 }.boxed());
            }
            if !args.info.is_aligned() {
                return Err(Fault::Misaligned { arg, align, address: args.info.addr() }.boxed());
            }
            let state = State::read(args.bytes.slice())?;
            let State { kind, features, flags, .. } = state;
            let bit = |kinds, bit: u32| u32::from(kind == kinds && flags >> bit & 1 == 1);
            let [range_min, range_max] = match kind {
                Kind::Standard => [0.0; 2],
                Kind::MinMax => state.feature_range(),
            };
            args.info.write(evenkeel_scaler_info {
                features,
                scaler: kind.code(),
                with_mean: bit(Kind::Standard, 0),
                with_std: bit(Kind::Standard, 1),
                clip: bit(Kind::MinMax, 0),
                range_min,
                range_max,
            });
            Ok(())
        })
    }
}

/// The state of a standard scaler, from what it has learnt and its settings. moments and bytes have to be there. A call allocates a
/// temporary as large as bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_standard_scaler_to_bytes_args {
    pub size: usize,
    /// One a column.
    pub moments: evenkeel_input,
    /// As in `evenkeel_standard_scaler_partial_fit_args`; absent: zeros.
    pub m2_low: evenkeel_input,
    /// Written, 32 bytes and 40 a column; `EVENKEEL_BYTES`.
    pub bytes: evenkeel_output,
    /// As in `evenkeel_standard_scaler_transform_args`. Default: 1.
    pub with_mean: u32,
    /// Likewise.
    pub with_std: u32,
}

members! {
    evenkeel_standard_scaler_to_bytes_args { with_mean: 1, with_std: 1 }, 136, |_| core::ptr::null(),
    [
        size 0, moments 8 (read(MOMENTS).required()), m2_low 48 (read(F64)),
        bytes 88 (write(BYTES).required()), with_mean 128,
    ]
}

/// The state of a standard scaler as bytes.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_standard_scaler_to_bytes(
    args: *const evenkeel_standard_scaler_to_bytes_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, _| {
            let with_mean = flag("with_mean", args.with_mean, 0)?;
            let with_std = flag("with_std", args.with_std, 0)?;
            let (moments, m2_low) = (args.moments.slice(), args.m2_low.optional());
            check_optional("m2_low", m2_low, moments.len())?;
            check_length("bytes", args.bytes.len, Kind::Standard.len(moments.len()))?;
            check_moments("moments", moments)?;
            let flags = u64::from(with_mean) | u64::from(with_std) << 1;
            let bytes = standard_to_bytes(moments, m2_low, flags)?;
            args.bytes.slice_mut().copy_from_slice(&bytes);
            Ok(())
        })
    }
}

/// What a standard scaler has learnt, from its state. bytes and moments have to be there. `evenkeel_scaler_state_info` tells how many
/// columns there are, and the settings.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_standard_scaler_from_bytes_args {
    pub size: usize,
    /// The state, `EVENKEEL_BYTES`.
    pub bytes: evenkeel_input,
    /// Written, one a column.
    pub moments: evenkeel_output,
    /// Written, as in `evenkeel_standard_scaler_partial_fit_args`; absent: it is lost.
    pub m2_low: evenkeel_output,
}

members! {
    evenkeel_standard_scaler_from_bytes_args {}, 128, |_| core::ptr::null(),
    [
        size 0, bytes 8 (read(BYTES).required()), moments 48 (write(MOMENTS).required()),
        m2_low 88 (write(F64)),
    ]
}

/// A standard scaler from its state.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_standard_scaler_from_bytes(
    args: *const evenkeel_standard_scaler_from_bytes_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, _| {
            let state = State::of(Kind::Standard, args.bytes.slice())?;
            let (moments, m2_low) = (args.moments.slice_mut(), args.m2_low.optional_mut());
            check_length("moments", moments.len(), state.features)?;
            check_optional("m2_low", m2_low.as_deref(), state.features)?;
            Ok(state.moments(moments, m2_low)?)
        })
    }
}

/// The state of a min-max scaler, from what it has learnt and its settings. `data_min`, `data_max` and bytes have to be there. A call
/// allocates a temporary as large as bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_min_max_scaler_to_bytes_args {
    pub size: usize,
    /// One a column.
    pub data_min: evenkeel_input,
    /// One a column.
    pub data_max: evenkeel_input,
    /// Written, 48 bytes and 8 a column; `EVENKEEL_BYTES`.
    pub bytes: evenkeel_output,
    /// As in `evenkeel_min_max_scaler_transform_args`. Default: 0.
    pub range_min: f64,
    /// Likewise. Default: 1.
    pub range_max: f64,
    /// Likewise. Default: 0.
    pub clip: u32,
    /// 0
    pub reserved: u32,
}

members! {
    evenkeel_min_max_scaler_to_bytes_args { range_max: 1.0 }, 152, |_| core::ptr::null(),
    [
        size 0, data_min 8 (read(F32).required()), data_max 48 (read(F32).required()),
        bytes 88 (write(BYTES).required()), range_min 128, range_max 136, clip 144,
    ]
}

/// The state of a min-max scaler as bytes.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_min_max_scaler_to_bytes(
    args: *const evenkeel_min_max_scaler_to_bytes_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, _| {
            let clip = flag("clip", args.clip, args.reserved)?;
            let (min, max) = (args.data_min.slice(), args.data_max.slice());
            check_ranges(["data_min", "data_max"], min, max)?;
            check_length("bytes", args.bytes.len, Kind::MinMax.len(min.len()))?;
            let bytes = min_max_to_bytes(min, max, [args.range_min, args.range_max], clip.into())?;
            args.bytes.slice_mut().copy_from_slice(&bytes);
            Ok(())
        })
    }
}

/// What a min-max scaler has learnt, from its state. All have to be there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_min_max_scaler_from_bytes_args {
    pub size: usize,
    /// The state, `EVENKEEL_BYTES`.
    pub bytes: evenkeel_input,
    /// Written, one a column.
    pub data_min: evenkeel_output,
    /// Written, one a column.
    pub data_max: evenkeel_output,
}

members! {
    evenkeel_min_max_scaler_from_bytes_args {}, 128, |_| core::ptr::null(),
    [
        size 0, bytes 8 (read(BYTES).required()), data_min 48 (write(F32).required()),
        data_max 88 (write(F32).required()),
    ]
}

/// A min-max scaler from its state.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_min_max_scaler_from_bytes(
    args: *const evenkeel_min_max_scaler_from_bytes_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, _| {
            let state = State::of(Kind::MinMax, args.bytes.slice())?;
            let (min, max) = (args.data_min.slice_mut(), args.data_max.slice_mut());
            check_length("data_min", min.len(), state.features)?;
            check_length("data_max", max.len(), state.features)?;
            Ok(state.ranges(min, max)?)
        })
    }
}
