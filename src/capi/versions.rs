//! A structure of this version of the header, or of another.

use core::ptr;

use super::members::Args;
use super::status::Fault;

/// The size that a structure says it has.
///
/// # Safety
///
/// `args` is NULL or points to a `usize`.
#[inline(always)]
pub(super) unsafe fn size_of_args<T: Args>(args: *const T) -> Result<usize, Box<Fault>> {
    if args.is_null() || !args.is_aligned() {
        return Err(no_args::<T>(args.addr()));
    }
    // SAFETY: aligned and not NULL; the rest is the caller's promise.
    Ok(unsafe { args.cast::<usize>().read() })
}

#[cold]
fn no_args<T: Args>(address: usize) -> Box<Fault> {
    let (arg, align) = (T::NAME, align_of::<T>());
    let fault = match address {
        0 => Fault::Null { arg, len: 1 },
        address => Fault::Misaligned { arg, align, address },
    };
    fault.boxed()
}

/// A structure of a caller that was compiled with another version of the header. What an earlier one lacks has its default. What
/// a later one has beside must be 0.
///
/// # Safety
///
/// `args` points to `size` bytes.
#[cold]
pub(super) unsafe fn of_another_version<T: Args>(
    args: *const T,
    size: usize,
) -> Result<T, Box<Fault>> {
    let (arg, known) = (T::NAME, size_of::<T>());
    if size < known && !T::ENDS[1..].contains(&size) {
        return Err(Fault::Size { arg, expected: known, got: size }.boxed());
    }
    let from = args.cast::<u8>();
    for at in known..size {
        // SAFETY: the caller's promise.
        if unsafe { from.add(at).read() } != 0 {
            return Err(Fault::Tail { arg, known }.boxed());
        }
    }
    let mut own = T::default();
    let to = ptr::from_mut(&mut own).cast::<u8>();
    // SAFETY: both have as many bytes, and every bit pattern is a T.
    unsafe { to.copy_from_nonoverlapping(from, size.min(known)) };
    Ok(own)
}
