//! L1 and L2 regularisation of parameters.

use super::boundary::guarded;
use super::buffers::{Buffer, check_buffers};
use super::execution::{evenkeel_execution, execution};
use super::fault::Fault;
use super::io::Io;
use super::status::evenkeel_status;
use crate::penalty::Regularizer;

/// The operation with the arguments of C.
///
/// # Safety
///
/// As for [`execution`].
unsafe fn regularizer(
    l1: f64,
    l2: f64,
    execution: *const evenkeel_execution,
) -> Result<Regularizer, Box<Fault>> {
    // SAFETY: the caller's promise.
    let execution = unsafe { self::execution(execution)? };
    Ok(Regularizer::new().with_l1(l1).with_l2(l2).with_execution(execution))
}

/// Writes `l1 * (sum of |w|) + l2 / 2 * (sum of w^2)` to `penalty` and adds `l1 * sign(w) + l2 * w` to `gradient`, in one
/// pass; the sign of 0 is 0.
///
/// `gradient_len` is `w_len`. What is not wanted is NULL: `penalty`, or `gradient` with length 0.
///
/// # Safety
///
/// `w` has `w_len` readable elements, `gradient` as many as its length says, readable and writable. `penalty` is NULL or
/// writable, `execution` NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_penalty_f32(
    w: *const f32,
    w_len: usize,
    l1: f64,
    l2: f64,
    penalty: *mut f64,
    gradient: *mut f32,
    gradient_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let w = Buffer::input("w", w, w_len);
        let penalty = Buffer::output("penalty", penalty, usize::from(!penalty.is_null()));
        let gradient = Buffer::output("gradient", gradient, gradient_len);
        check_buffers(&[penalty.extent(), gradient.extent()], &[w.extent()])?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let (operation, w) = (regularizer(l1, l2, execution)?, w.slice());
            let wanted = match (penalty.is_absent(), gradient.is_absent()) {
                (true, false) => {
                    operation.add_gradient(w, gradient.slice_mut())?;
                    return Ok(());
                }
                (_, true) => operation.penalty(w)?,
                (false, false) => operation.penalty_and_add_gradient(w, gradient.slice_mut())?,
            };
            penalty.slice_mut().fill(wanted);
        }
        Ok(())
    })
}

/// Decoupled weight decay: `y = w * (1 - learning_rate * l2)`.
///
/// `y_len` is `w_len`; `y` may be `w`.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `w` readable, `y` writable. `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_weight_decay_f32(
    w: *const f32,
    w_len: usize,
    l2: f64,
    learning_rate: f64,
    y: *mut f32,
    y_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let (w, y) = (Buffer::input("w", w, w_len), Buffer::output("y", y, y_len));
        let io = Io::check(w, y, [y.extent()], [w.extent()])?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            regularizer(0.0, l2, execution)?.decay(io.get(), learning_rate)?;
            Ok(())
        }
    })
}

/// The proximal operator of `step * penalty`: `y = soft(w, step * l1) / (1 + step * l2)`, where `soft(w, t)` is w - t above
/// t, w + t below -t and 0 between.
///
/// `y_len` is `w_len`; `y` may be `w`.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `w` readable, `y` writable. `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_proximal_f32(
    w: *const f32,
    w_len: usize,
    l1: f64,
    l2: f64,
    step: f64,
    y: *mut f32,
    y_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    guarded(move || {
        let (w, y) = (Buffer::input("w", w, w_len), Buffer::output("y", y, y_len));
        let io = Io::check(w, y, [y.extent()], [w.extent()])?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            regularizer(l1, l2, execution)?.proximal(io.get(), step)?;
            Ok(())
        }
    })
}
