//! L1 and L2 regularisation of parameters.

use core::mem::offset_of;

use super::boundary::call;
use super::buffers::{Buffer, evenkeel_input, evenkeel_output, in_out, in_place};
use super::dtype::{F64, FLOATS};
use super::execution::evenkeel_execution;
use super::member::{read, write};
use super::members::members;
use super::status::evenkeel_status;
use crate::penalty::Regularizer;

/// The penalty l1 * (sum of |w|) + l2 / 2 * (sum of w^2), and its gradient l1 * sign(w) + l2 * w, in one pass; the sign of 0 is
/// 0. w has to be there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_penalty_args {
    pub size: usize,
    /// The parameters.
    pub w: evenkeel_input,
    /// As many; the gradient is added to it. Absent: it is not wanted.
    pub gradient: evenkeel_output,
    /// One double, written. Absent: it is not wanted.
    pub penalty: evenkeel_output,
    /// At least 0.
    pub l1: f64,
    /// At least 0.
    pub l2: f64,
    /// NULL: the default. A pool of the host is not used.
    pub execution: *const evenkeel_execution,
}

members! {
    evenkeel_penalty_args {}, 152, |args| args.execution,
    [
        size 0, w 8 (read(FLOATS).required()), gradient 48 (write(FLOATS)), penalty 88 (write(F64)),
        l1 128, l2 136, execution 144,
    ]
}

/// The L1 and L2 penalty of parameters, and its gradient.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_penalty(args: *const evenkeel_penalty_args) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let &evenkeel_penalty_args { w, gradient, penalty, l1, l2, .. } = args;
            let operation = Regularizer::new().with_l1(l1).with_l2(l2);
            let operation = operation.with_execution(run.without_pool());
            let w = w.elements();
            if penalty.is_there() {
                penalty.check_length("penalty", 1)?;
            }
            let mut wanted = 0.0;
            match (gradient.is_there(), penalty.is_there()) {
                (false, _) => wanted = operation.run_penalty(w)?,
                (true, true) => operation.run_both(w, in_place(&gradient), &mut wanted)?,
                (true, false) => return Ok(operation.run_gradient(w, in_place(&gradient))?),
            }
            penalty.slice_mut().fill(wanted);
            Ok(())
        })
    }
}

/// Decoupled weight decay: y = x * (1 - `learning_rate` * l2). x and y have to be there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_weight_decay_args {
    pub size: usize,
    /// The parameters.
    pub x: evenkeel_input,
    /// As many; it may be x.
    pub y: evenkeel_output,
    /// At least 0.
    pub l2: f64,
    /// At least 0.
    pub learning_rate: f64,
    /// NULL: the default. A pool of the host is not used.
    pub execution: *const evenkeel_execution,
}

members! {
    evenkeel_weight_decay_args {}, 112, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required().pitched()),
        y 48 (write(FLOATS).required().pitched().may_be(offset_of!(evenkeel_weight_decay_args, x))),
        l2 88, learning_rate 96, execution 104,
    ]
}

/// Decoupled weight decay.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_weight_decay(
    args: *const evenkeel_weight_decay_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let operation = Regularizer::new().with_l2(args.l2).with_execution(run.without_pool());
            Ok(operation.run_decay(in_out(&args.x, &args.y), args.learning_rate)?)
        })
    }
}

/// The proximal operator of step * penalty: y = soft(x, step * l1) / (1 + step * l2), where soft(x, t) is x - t above t,
/// x + t below -t and 0 between. x and y have to be there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_proximal_args {
    pub size: usize,
    /// The parameters.
    pub x: evenkeel_input,
    /// As many; it may be x.
    pub y: evenkeel_output,
    /// At least 0.
    pub l1: f64,
    /// At least 0.
    pub l2: f64,
    /// At least 0.
    pub step: f64,
    /// NULL: the default. A pool of the host is not used.
    pub execution: *const evenkeel_execution,
}

members! {
    evenkeel_proximal_args {}, 120, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required().pitched()),
        y 48 (write(FLOATS).required().pitched().may_be(offset_of!(evenkeel_proximal_args, x))),
        l1 88, l2 96, step 104, execution 112,
    ]
}

/// The proximal operator of the penalty.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_proximal(args: *const evenkeel_proximal_args) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let operation = Regularizer::new().with_l1(args.l1).with_l2(args.l2);
            let operation = operation.with_execution(run.without_pool());
            Ok(operation.run_proximal(in_out(&args.x, &args.y), args.step)?)
        })
    }
}
