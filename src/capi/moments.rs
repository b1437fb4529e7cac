//! Moments: of rows, of columns and channels, of streams, merged.

use core::mem::offset_of;

use super::boundary::call;
use super::buffers::{Buffer, check, evenkeel_input, evenkeel_output};
use super::channels::write_len;
use super::dtype::{EVENKEEL_MOMENTS, F64, FLAGS, FLOATS, MOMENTS, SIZE};
use super::execution::evenkeel_execution;
use super::member::{read, write};
use super::members::members;
use super::panics::guarded;
use super::shape::evenkeel_shape;
use super::status::{Fault, evenkeel_status};
use super::valid::valid_rows;
use crate::args::moments::MomentArgs;
use crate::moments::column_moments::ColumnMoments;
use crate::moments::row_moments::RowMoments;
use crate::simd::Control;
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

// Buffers of these are read and written as `Moments`.
const _: () = assert!(
    size_of::<evenkeel_moments>() == size_of::<Moments>()
        && size_of::<Moments>() == 32
        && align_of::<evenkeel_moments>() == align_of::<Moments>()
        && offset_of!(evenkeel_moments, count) == offset_of!(Moments, count)
        && offset_of!(evenkeel_moments, mean) == offset_of!(Moments, mean)
        && offset_of!(evenkeel_moments, mean_low) == offset_of!(Moments, mean_low)
        && offset_of!(evenkeel_moments, m2) == offset_of!(Moments, m2),
    "C has another layout"
);

/// The moments of every row, or of the first elements of every row. x, moments and the shape, a matrix, have to be there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_row_moments_args {
    pub size: usize,
    /// The elements of the shape.
    pub x: evenkeel_input,
    /// Written, one a row.
    pub moments: evenkeel_output,
    pub shape: evenkeel_shape,
    /// NULL: the default.
    pub execution: *const evenkeel_execution,
    /// One a row, `EVENKEEL_SIZE`: how many elements of it, the first ones, are data; absent: all.
    pub lengths: evenkeel_input,
}

members! {
    evenkeel_row_moments_args {}, 184, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required().pitched()), moments 48 (write(MOMENTS).required()),
        shape 88, execution 136, lengths 144 (read(SIZE)),
    ]
}

/// The moments of rows.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_row_moments(
    args: *const evenkeel_row_moments_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let &evenkeel_row_moments_args { x, moments, shape, lengths, .. } = args;
            let operation = RowMoments::new().with_execution(run.execution());
            let mut args = with_pitch(&x);
            if let Some(lengths) = lengths.optional() {
                args = args.lengths(lengths);
            }
            if let Some(pool) = run.pool() {
                args = args.pool(pool);
            }
            let x = x.elements();
            Ok(operation.run(x, shape.rows()?, moments.slice_mut(), &args)?)
        })
    }
}

fn with_pitch<'a>(x: &evenkeel_input) -> MomentArgs<'a> {
    match x.pitch() {
        Some(pitch) => MomentArgs::new().x_pitch(pitch),
        None => MomentArgs::new(),
    }
}

/// The moments of every column of a matrix, or of every channel of samples. x, moments and the shape have to be there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_column_moments_args {
    pub size: usize,
    /// The elements of the shape.
    pub x: evenkeel_input,
    /// Written, one a column or channel.
    pub moments: evenkeel_output,
    pub shape: evenkeel_shape,
    /// NULL: the default.
    pub execution: *const evenkeel_execution,
    /// At least as many doubles as `evenkeel_column_moments_scratch_len` says; absent: allocated.
    pub scratch: evenkeel_output,
    /// Which rows are data, as in `evenkeel_layer_norm_args`.
    pub valid: evenkeel_input,
    /// 0 without lengths.
    pub valid_steps: usize,
}

members! {
    evenkeel_column_moments_args {}, 232, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required().pitched()), moments 48 (write(MOMENTS).required()),
        shape 88, execution 136, scratch 144 (write(F64)), valid 184 (read(FLAGS | SIZE)),
        valid_steps 224,
    ],
    rare valid
}

/// The moments of columns.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_column_moments(
    args: *const evenkeel_column_moments_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let &evenkeel_column_moments_args { x, moments, shape, scratch, valid, .. } = args;
            let operation = ColumnMoments::new().with_execution(run.execution());
            let mut moment_args = with_pitch(&x);
            if let Some(valid) = valid_rows(&valid, args.valid_steps)? {
                moment_args = moment_args.valid(valid);
            }
            if let Some(scratch) = scratch.optional_mut() {
                moment_args = moment_args.scratch(scratch);
            }
            if let Some(pool) = run.pool() {
                moment_args = moment_args.pool(pool);
            }
            let x = x.elements();
            Ok(operation.run(x, shape.channels()?, moments.slice_mut(), moment_args)?)
        })
    }
}

/// Writes to `scratch_len` how many doubles of scratch `evenkeel_column_moments` uses for these arguments, of which the shape and
/// the execution count.
///
/// # Safety
///
/// `args` points to a structure as this header describes it. `scratch_len` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_column_moments_scratch_len(
    args: *const evenkeel_column_moments_args,
    scratch_len: *mut usize,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let operation = ColumnMoments::new().with_execution(run.execution());
            write_len(scratch_len, operation.scratch_len(args.shape.channels()?))
        })
    }
}

/// The moments of a whole from those of its parts, one set a column of each. The result depends on the parts and on their order
/// alone. Where each part but the last has the same power of two of blocks (`evenkeel_column_moments_block_rows`), and the last as many
/// or fewer, it has the bits of `evenkeel_column_moments` of the whole. `mean_low` of the parts is not looked at. parts and moments
/// have to be there. Runs on the calling thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_column_moments_merge_args {
    pub size: usize,
    /// Those of the first part, then those of the second, and so on: each as many as moments.
    pub parts: evenkeel_input,
    /// Written, one a column.
    pub moments: evenkeel_output,
    /// NULL: the default. A pool of the host is not used.
    pub execution: *const evenkeel_execution,
}

members! {
    evenkeel_column_moments_merge_args {}, 96, |args| args.execution,
    [
        size 0, parts 8 (read(MOMENTS).required()), moments 48 (write(MOMENTS).required()),
        execution 88,
    ]
}

/// The moments of a whole from those of its parts.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_column_moments_merge(
    args: *const evenkeel_column_moments_merge_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let operation = ColumnMoments::new().with_execution(run.execution());
            Ok(operation.merge(args.parts.slice(), args.moments.slice_mut())?)
        })
    }
}

/// Rows of a block of a matrix of so many columns: where parts of a matrix begin at multiples of it, their blocks are those of the
/// whole.
#[unsafe(no_mangle)]
pub extern "C" fn evenkeel_column_moments_block_rows(cols: usize) -> usize {
    ColumnMoments::block_rows(cols)
}

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
    guarded(Control::DEFAULT, move || {
        // SAFETY: the caller's promise; `other` is copied before `into` becomes a reference. One layout, as asserted.
        unsafe {
            let other = *single::<Moments>("other", other.cast_mut().cast())?;
            (*single::<Moments>("into", into.cast())?).merge(&other);
        }
        Ok(())
    })
}

/// A pointer to one thing, if it can be one.
fn single<T>(arg: &'static str, pointer: *mut T) -> Result<*mut T, Box<Fault>> {
    let (align, address) = (align_of::<T>(), pointer.addr());
    if pointer.is_null() {
        return Err(Fault::Null { arg, len: 1 }.boxed());
    }
    if !pointer.is_aligned() {
        return Err(Fault::Misaligned { arg, align, address }.boxed());
    }
    Ok(pointer)
}

/// The arguments of `evenkeel_moments_extend` as a structure.
#[repr(C)]
struct Extend {
    size: usize,
    into: evenkeel_output,
    x: evenkeel_input,
}

members! {
    Extend {}, 88, |_| core::ptr::null(),
    [size 0, into 8 (write(MOMENTS).required()), x 48 (read(FLOATS).required())]
}

/// Adds every value of `x` to `into`. Runs on the calling thread.
///
/// # Safety
///
/// `into` is NULL or readable and writable; `x` is NULL or points to an input as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_moments_extend(
    into: *mut evenkeel_moments,
    x: *const evenkeel_input,
) -> evenkeel_status {
    guarded(Control::DEFAULT, move || {
        let dtype = EVENKEEL_MOMENTS;
        let into = evenkeel_output {
            data: single("into", into)?.cast(),
            len: 1,
            dtype,
            ..evenkeel_output::ABSENT
        };
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let args = Extend { into, x: *single("x", x.cast_mut())?, ..Extend::ZERO };
            check(&args)?;
            into.slice_mut::<Moments>()[0].extend_from(args.x.elements());
        }
        Ok(())
    })
}
