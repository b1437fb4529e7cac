//! Dropout.

use core::mem::offset_of;

use super::boundary::call;
use super::buffers::{Buffer, evenkeel_input, evenkeel_output, in_out};
use super::dtype::{FLAGS, FLOATS};
use super::execution::evenkeel_execution;
use super::member::{read, write};
use super::members::members;
use super::panics::guarded;
use super::shape::evenkeel_shape;
use super::status::{Fault, evenkeel_status, unknown};
use super::valid::{mask, mask_mut};
use crate::args::dropout::{DropoutArgs, Stream};
use crate::dropout::Dropout;
use crate::shape::{Rows, Shape};
use crate::simd::Control;

/// Dropout in training: y = x * scale where an element is kept, +0.0 where it is dropped. x and y have to be there.
///
/// The scale of a mask that is drawn is 1 / (1 - realised p), as `evenkeel_dropout_rate` says. That of a given mask is 1 / (1 -
/// p), whoever has drawn it. A mask that `keep_mask` has received is applied with its own scale if p is the realised p.
///
/// What is kept is drawn from the stream of `seed`, whose element `offset` is that of `x[0]`; or `mask` says it. Never use the same
/// elements of a stream for two things. In inference dropout is the identity, as it is with p = 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_dropout_args {
    pub size: usize,
    /// In the backward pass, the gradient of y.
    pub x: evenkeel_input,
    /// As many elements; it may be x. In the backward pass, the gradient of x.
    pub y: evenkeel_output,
    /// The probability of dropping, from 0 to 1. Default: 0.5.
    pub p: f64,
    /// NULL: the default.
    pub execution: *const evenkeel_execution,
    /// Names the stream.
    pub seed: u64,
    /// The index of the first element.
    pub offset: u64,
    /// What is kept, `EVENKEEL_BITS` or `EVENKEEL_BYTES`, a flag an element; absent: drawn.
    pub mask: evenkeel_input,
    /// The mask that is drawn, written likewise; it is absent where `mask` is there.
    pub keep_mask: evenkeel_output,
    /// Its rows, or its channels of each sample, are dropped as a whole, with one draw each, and masks have a flag for each: `DropPath`,
    /// spatial dropout. All zeros: every element has a draw.
    pub shape: evenkeel_shape,
}

members! {
    evenkeel_dropout_args { p: 0.5 }, 248, |args| args.execution,
    [
        size 0, x 8 (read(FLOATS).required().pitched()),
        y 48 (write(FLOATS).required().pitched().may_be(offset_of!(evenkeel_dropout_args, x))),
        p 88, execution 96, seed 104, offset 112, mask 120 (read(FLAGS)), keep_mask 160 (write(FLAGS)),
        shape 200,
    ]
}

/// Dropout in training, or with p = 0 a copy.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_dropout(args: *const evenkeel_dropout_args) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let &evenkeel_dropout_args { x, y, p, seed, offset, keep_mask, .. } = args;
            let mut dropout_args = match args.mask.is_there() {
                true => DropoutArgs::given(mask(&args.mask)),
                false => DropoutArgs::draw(Stream { seed, offset }),
            };
            if keep_mask.is_there() {
                dropout_args = dropout_args.keep_mask(mask_mut(&keep_mask));
            }
            if args.shape.is_there() {
                dropout_args = match args.shape.either()? {
                    Shape::Rows(rows) => dropout_args.whole_rows(rows),
                    Shape::Channels(channels) => dropout_args.whole_channels(channels),
                };
            }
            if let Some(pool) = run.pool() {
                dropout_args = dropout_args.pool(pool);
            }
            let operation = Dropout::new().with_p(p).with_execution(run.execution());
            Ok(operation.run(in_out(&x, &y), dropout_args)?)
        })
    }
}

/// The backward pass of dropout: the gradient of x from that of y, with the `mask` of the forward pass, or with its seed and
/// offset, from which the mask is drawn again. The scale of a given mask is 1 / (1 - p).
///
/// # Safety
///
/// As `evenkeel_dropout`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_dropout_backward(
    args: *const evenkeel_dropout_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise. One computation, as in Rust.
    unsafe { evenkeel_dropout(args) }
}

/// Dropout as an option of a norm of rows.
pub(super) struct NormDropout<'s> {
    pub(super) p: f64,
    pub(super) stream: Stream,
    /// Rows that are dropped as a whole, or 0.
    pub(super) rows: usize,
    pub(super) mask: &'s evenkeel_input,
    pub(super) keep_mask: Option<&'s evenkeel_output>,
}

impl NormDropout<'_> {
    /// Whether it is there.
    #[inline(always)]
    pub(super) fn is_there(&self) -> bool {
        let masks = self.mask.dtype | self.keep_mask.map_or(0, |mask| mask.dtype);
        self.p != 0.0 || masks != 0 || self.rows != 0
    }

    /// The arguments of the operation.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice`] and [`evenkeel_output::slice_mut`].
    #[inline(never)]
    pub(super) unsafe fn args<'a>(
        &self,
        shape: Rows,
    ) -> Result<(f64, DropoutArgs<'a>), Box<Fault>> {
        let mut args = match self.mask.is_there() {
            // SAFETY: the caller's promise.
            true => DropoutArgs::given(unsafe { mask(self.mask) }),
            false => DropoutArgs::draw(self.stream),
        };
        if let Some(keep_mask) = self.keep_mask.filter(|mask| mask.is_there()) {
            // SAFETY: the caller's promise.
            args = args.keep_mask(unsafe { mask_mut(keep_mask) });
        }
        if self.rows > 0 {
            if !shape.rows().is_multiple_of(self.rows) {
                let expected = "a divisor of the rows, or 0";
                return Err(unknown("dropout_rows", expected, self.rows as u64));
            }
            let (units, cols) = (shape.rows() / self.rows, shape.cols().saturating_mul(self.rows));
            args = args.whole_rows(Rows::new(units, cols)?);
        }
        Ok((self.p, args))
    }
}

/// The mask that dropout draws. `mask` has to be there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_dropout_mask_args {
    pub size: usize,
    /// Written, `EVENKEEL_BITS` or `EVENKEEL_BYTES`, a flag for each of `count` elements.
    pub mask: evenkeel_output,
    /// The number of elements.
    pub count: usize,
    /// The probability of dropping, from 0 to 1. Default: 0.5.
    pub p: f64,
    /// NULL: the default. A pool of the host is not used.
    pub execution: *const evenkeel_execution,
    /// Names the stream.
    pub seed: u64,
    /// The index of the first element.
    pub offset: u64,
}

members! {
    evenkeel_dropout_mask_args { p: 0.5 }, 88, |args| args.execution,
    [
        size 0, mask 8 (write(FLAGS).required()), count 48, p 56, execution 64, seed 72, offset 80,
    ]
}

/// The mask of dropout alone.
///
/// # Safety
///
/// `args` points to a structure as this header describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_dropout_mask(
    args: *const evenkeel_dropout_mask_args,
) -> evenkeel_status {
    // SAFETY: the caller's promise; `call` has checked the buffers before the closure runs.
    unsafe {
        call(args, |args, run| {
            let &evenkeel_dropout_mask_args { mask, count, p, seed, offset, .. } = args;
            let operation = Dropout::new().with_p(p).with_execution(run.without_pool());
            Ok(operation.mask(Stream { seed, offset }, count, mask_mut(&mask))?)
        })
    }
}

/// Writes to `realised_p` the probability that the random integers realise, p rounded to a multiple of 2^-16 or 2^-32; and to
/// `scale` what kept elements are multiplied by where the mask is drawn, 1 / (1 - realised p), and 0 where p is 1. What is not
/// wanted is NULL.
///
/// # Safety
///
/// Both are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_dropout_rate(
    p: f64,
    realised_p: *mut f64,
    scale: *mut f32,
) -> evenkeel_status {
    guarded(Control::DEFAULT, move || {
        let operation = Dropout::new().with_p(p);
        let (realised, factor) = (operation.realised_p()?, operation.scale()?);
        // SAFETY: the caller's promise.
        unsafe {
            if !realised_p.is_null() {
                realised_p.write(realised);
            }
            if !scale.is_null() {
                scale.write(factor);
            }
        }
        Ok(())
    })
}
