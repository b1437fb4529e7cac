//! Dropout.

use super::boundary::guarded;
use super::buffers::Buffer;
use super::execution::{evenkeel_execution, execution};
use super::fault::Fault;
use super::io::Io;
use super::masks::{evenkeel_mask, mask, mask_mut};
use super::status::evenkeel_status;
use crate::args::dropout::{DropoutArgs, Stream};
use crate::dropout::Dropout;

/// The operation with the arguments of C.
///
/// # Safety
///
/// As for [`execution`].
unsafe fn dropout(p: f64, execution: *const evenkeel_execution) -> Result<Dropout, Box<Fault>> {
    // SAFETY: the caller's promise.
    Ok(Dropout::new().with_p(p).with_execution(unsafe { self::execution(execution)? }))
}

/// Writes to `realised_p` the probability that the random integers realise: p rounded to a multiple of 2^-16 or 2^-32.
///
/// # Safety
///
/// `realised_p` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_dropout_realised_p(
    p: f64,
    realised_p: *mut f64,
) -> evenkeel_status {
    guarded(move || {
        let out = Buffer::output("realised_p", realised_p, 1);
        out.check()?;
        let realised = Dropout::new().with_p(p).realised_p()?;
        // SAFETY: the caller's promise; checked.
        unsafe { out.slice_mut()[0] = realised };
        Ok(())
    })
}

/// Writes to `scale` what kept elements are multiplied by: 1 / (1 - realised p), and 0 where p is 1.
///
/// # Safety
///
/// `scale` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_dropout_scale_f32(p: f64, scale: *mut f32) -> evenkeel_status {
    guarded(move || {
        let out = Buffer::output("scale", scale, 1);
        out.check()?;
        let factor = Dropout::new().with_p(p).scale()?;
        // SAFETY: the caller's promise; checked.
        unsafe { out.slice_mut()[0] = factor };
        Ok(())
    })
}

/// Draws the mask of `len` elements, the first with index `offset`, of the stream that `seed` names. Never use the same
/// indices of one seed for two things.
///
/// # Safety
///
/// `mask` has `mask_len` writable bytes. `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_dropout_mask(
    p: f64,
    seed: u64,
    offset: u64,
    len: usize,
    mask: *mut u8,
    mask_len: usize,
    mask_kind: evenkeel_mask,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let mask = Buffer::output("mask", mask, mask_len);
        mask.check()?;
        // SAFETY: the caller's promise; checked.
        let (operation, mask) = unsafe { (dropout(p, execution)?, mask_mut(mask, mask_kind)?) };
        Ok(operation.mask(Stream { seed, offset }, len, mask)?)
    })
}

/// Dropout in training: `y = x / (1 - realised p)` where an element is kept, +0.0 where it is dropped.
///
/// `y_len` is `x_len`; `y` may be `x`. The mask is written if it is there (NULL with length 0: it is not stored).
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x` readable, the others writable. `execution` is NULL or
/// readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_dropout_f32(
    x: *const f32,
    x_len: usize,
    p: f64,
    seed: u64,
    offset: u64,
    y: *mut f32,
    y_len: usize,
    mask: *mut u8,
    mask_len: usize,
    mask_kind: evenkeel_mask,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let mask = Buffer::output("mask", mask, mask_len);
        let io = Io::check(x, y, [y.extent(), mask.extent()], [x.extent()])?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let mut args = DropoutArgs::draw(Stream { seed, offset });
            if !mask.is_absent() {
                args = args.keep_mask(mask_mut(mask, mask_kind)?);
            }
            dropout(p, execution)?.forward(io.get(), args)?;
            Ok(())
        }
    })
}

/// Applies a stored mask: `y = x / (1 - realised p)` where it keeps, else +0.0.
///
/// `y_len` is `x_len`; `y` may be `x`.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `y` writable, the others readable. `execution` is NULL or
/// readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_dropout_apply_f32(
    x: *const f32,
    x_len: usize,
    p: f64,
    mask: *const u8,
    mask_len: usize,
    mask_kind: evenkeel_mask,
    y: *mut f32,
    y_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let mask = Buffer::input("mask", mask, mask_len);
        // SAFETY: the caller's promise.
        unsafe { apply(x, y, p, mask, mask_kind, execution) }
    })
}

/// # Safety
///
/// The duties of the entries.
unsafe fn apply(
    x: Buffer<f32>,
    y: Buffer<f32>,
    p: f64,
    mask: Buffer<u8>,
    mask_kind: evenkeel_mask,
    execution: *const evenkeel_execution,
) -> Result<(), Box<Fault>> {
    let io = Io::check(x, y, [y.extent()], [x.extent(), mask.extent()])?;
    // SAFETY: the caller's promise; checked and disjoint.
    unsafe {
        // The operation has another name for that of a gradient.
        y.check_length(x.len())?;
        dropout(p, execution)?.forward(io.get(), self::mask(mask, mask_kind)?)?;
        Ok(())
    }
}

/// The gradient of x from that of y, the mask drawn again: `dx = dy / (1 - realised p)` where the forward pass with the
/// same p, seed and offset kept, else +0.0.
///
/// `dx_len` is `dy_len`; `dx` may be `dy`.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `dy` readable, `dx` writable. `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_dropout_backward_f32(
    dy: *const f32,
    dy_len: usize,
    p: f64,
    seed: u64,
    offset: u64,
    dx: *mut f32,
    dx_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let (dy, dx) = (Buffer::input("dy", dy, dy_len), Buffer::output("dx", dx, dx_len));
        let io = Io::check(dy, dx, [dx.extent()], [dy.extent()])?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            // The operation has another name for it.
            dx.check_length(dy_len)?;
            dropout(p, execution)?.backward(io.get(), Stream { seed, offset })?;
            Ok(())
        }
    })
}

/// The gradient of x from that of y, with the stored mask of the forward pass.
///
/// As `evenkeel_dropout_apply_f32`, with `dy` for `x` and `dx` for `y`.
///
/// # Safety
///
/// As `evenkeel_dropout_apply_f32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_dropout_backward_with_mask_f32(
    dy: *const f32,
    dy_len: usize,
    p: f64,
    mask: *const u8,
    mask_len: usize,
    mask_kind: evenkeel_mask,
    dx: *mut f32,
    dx_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let (dy, dx) = (Buffer::input("dy", dy, dy_len), Buffer::output("dx", dx, dx_len));
        let mask = Buffer::input("mask", mask, mask_len);
        // SAFETY: the caller's promise.
        unsafe { apply(dy, dx, p, mask, mask_kind, execution) }
    })
}

/// Dropout in inference is the identity: copies `x` to `y`, whose `y_len` is `x_len`. Where `y` is `x`, there is nothing
/// to do.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x` readable, `y` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_dropout_inference_f32(
    x: *const f32,
    x_len: usize,
    y: *mut f32,
    y_len: usize,
) -> evenkeel_status {
    guarded(move || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let io = Io::check(x, y, [y.extent()], [x.extent()])?;
        // SAFETY: the caller's promise; checked and disjoint.
        Dropout::new().forward_inference(unsafe { io.get() })?;
        Ok(())
    })
}
