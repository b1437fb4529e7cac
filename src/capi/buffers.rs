//! Buffers: pointers from C are checked and become slices. Temporaries, which the library allocates.

use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::slice;

use super::fault::Fault;
use crate::memory;
use crate::shape::check_length;

/// A buffer as C describes it, not checked yet.
pub(super) struct Buffer<T> {
    arg: &'static str,
    start: *mut T,
    len: usize,
}

// A derived `Copy` would require that T is `Copy`.
impl<T> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Buffer<T> {}

impl<T> Buffer<T> {
    pub(super) fn input(arg: &'static str, start: *const T, len: usize) -> Self {
        Self { arg, start: start.cast_mut(), len }
    }

    pub(super) fn output(arg: &'static str, start: *mut T, len: usize) -> Self {
        Self { arg, start, len }
    }

    /// Absent: NULL with length 0.
    pub(super) fn is_absent(&self) -> bool {
        self.start.is_null() && self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns an error if it has another length.
    pub(super) fn check_length(&self, elements: usize) -> Result<(), Box<Fault>> {
        Ok(check_length(self.arg, self.len, elements)?)
    }

    /// Whether it is not empty and begins where `other` begins: one buffer, if the lengths are equal.
    #[inline(always)]
    pub(super) fn begins_with(&self, other: &Self) -> bool {
        self.start == other.start && self.len > 0
    }

    /// The same buffer with elements of another type.
    pub(super) fn cast<U>(&self) -> Buffer<U> {
        Buffer { arg: self.arg, start: self.start.cast(), len: self.len }
    }

    /// Its bytes, to be [checked](check_buffers) with the other buffers of the call.
    #[inline(always)]
    pub(super) fn extent(&self) -> Extent {
        let Self { arg, start, len } = *self;
        let most = isize::MAX as usize / size_of::<T>();
        let bytes = len.wrapping_mul(size_of::<T>());
        Extent { arg, start: start.addr(), len, most, bytes, align: align_of::<T>() }
    }

    /// Returns an error if it cannot be a slice: for a call with one buffer.
    pub(super) fn check(&self) -> Result<(), Box<Fault>> {
        check_buffers(&[self.extent()], &[])
    }

    /// The elements of an input.
    ///
    /// # Safety
    ///
    /// C promises `len` readable elements. They were [checked](check_buffers), and nothing else writes to them
    /// meanwhile.
    pub(super) unsafe fn slice<'a>(&self) -> &'a [T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: not NULL, aligned and not too long, as checked; the rest is the caller's promise.
        unsafe { slice::from_raw_parts(self.start, self.len) }
    }

    /// The elements of an input, if it is there.
    ///
    /// # Safety
    ///
    /// As for [`slice`](Self::slice).
    pub(super) unsafe fn optional<'a>(&self) -> Option<&'a [T]> {
        // SAFETY: the caller's promise.
        (!self.is_absent()).then(|| unsafe { self.slice() })
    }

    /// The elements of an output that is read too.
    ///
    /// # Safety
    ///
    /// C promises `len` readable and writable elements. They were [checked](check_buffers), and no other slice of
    /// them is used meanwhile.
    pub(super) unsafe fn slice_mut<'a>(&self) -> &'a mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: not NULL, aligned and not too long, as checked; the rest is the caller's promise.
        unsafe { slice::from_raw_parts_mut(self.start, self.len) }
    }

    /// The elements of an output that is read too, if it is there.
    ///
    /// # Safety
    ///
    /// As for [`slice_mut`](Self::slice_mut).
    pub(super) unsafe fn optional_mut<'a>(&self) -> Option<&'a mut [T]> {
        // SAFETY: the caller's promise.
        (!self.is_absent()).then(|| unsafe { self.slice_mut() })
    }

    /// The elements of an output, which need not be initialised, if it is there.
    ///
    /// # Safety
    ///
    /// As for [`slice_mut`](Self::slice_mut), but that they need not be readable.
    pub(super) unsafe fn optional_uninit<'a>(&self) -> Option<&'a mut [MaybeUninit<T>]> {
        // SAFETY: the caller's promise; `MaybeUninit<T>` has the layout of T.
        unsafe { self.cast::<MaybeUninit<T>>().optional_mut() }
    }

    /// Where its elements begin, and how many there are. Without elements the pointer is not NULL but dangles.
    #[inline(always)]
    pub(super) fn raw(&self) -> (*mut T, usize) {
        let start = if self.len == 0 { NonNull::dangling().as_ptr() } else { self.start };
        (start, self.len)
    }
}

/// The bytes of a buffer, without the type of its elements.
#[derive(Clone, Copy, Default)]
pub(super) struct Extent {
    arg: &'static str,
    start: usize,
    /// In elements.
    len: usize,
    /// The greatest `len` that memory may have.
    most: usize,
    /// Wrapped where `len` is greater than that.
    bytes: usize,
    align: usize,
}

impl Extent {
    /// 0 if it can be a slice: not NULL unless it is empty, aligned, and not beyond the last address. Otherwise some bits are
    /// set. The bits of several extents together need one branch.
    #[inline(always)]
    fn flaws(&self) -> usize {
        let Self { start, len, most, bytes, align, .. } = *self;
        // NULL or too high, in one comparison.
        let nowhere = (start.wrapping_sub(1) >= usize::MAX - bytes) & (len != 0);
        // `most` is a power of two less one: a greater `len` has a bit that `most` lacks.
        (start & align.wrapping_sub(1)) | (len & !most) | usize::from(nowhere)
    }

    /// Removes its bytes. An empty extent overlaps nothing.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.bytes = 0;
    }

    /// Whether two sound extents overlap. An empty one overlaps nothing.
    #[inline(always)]
    fn overlaps(&self, other: &Self) -> bool {
        let end = self.start.wrapping_add(self.bytes).min(other.start.wrapping_add(other.bytes));
        self.start.max(other.start) < end
    }

    /// The fault of an extent that is not sound.
    fn fault(&self) -> Option<Fault> {
        let Self { arg, start, len, align, .. } = *self;
        if self.flaws() == 0 {
            return None;
        }
        if start == 0 {
            return Some(match len {
                0 => return None,
                _ => Fault::Null { arg, len },
            });
        }
        Some(match start % align {
            0 => Fault::TooLong { arg, len },
            _ => Fault::Misaligned { arg, align, address: start },
        })
    }
}

/// Returns an error if a buffer cannot be a slice, or if an output shares memory with another buffer.
#[inline(always)]
pub(super) fn check_buffers<const OUT: usize, const IN: usize>(
    outputs: &[Extent; OUT],
    inputs: &[Extent; IN],
) -> Result<(), Box<Fault>> {
    // Arrays without a branch for each element, so that the loops are unrolled. `benches/capi.rs` measures the cost.
    let mut flaws = 0;
    for i in 0..OUT {
        flaws |= outputs[i].flaws();
    }
    for i in 0..IN {
        flaws |= inputs[i].flaws();
    }
    if flaws != 0 {
        // Copies, so that the fast path does not keep them in memory.
        return Err(first_fault(*outputs, *inputs).boxed());
    }
    let mut shared = false;
    for i in 0..OUT {
        for j in 0..i {
            shared |= outputs[i].overlaps(&outputs[j]);
        }
        for j in 0..IN {
            shared |= outputs[i].overlaps(&inputs[j]);
        }
    }
    if shared { Err(first_overlap(*outputs, *inputs).boxed()) } else { Ok(()) }
}

#[cold]
#[inline(never)]
fn first_fault<const OUT: usize, const IN: usize>(
    outputs: [Extent; OUT],
    inputs: [Extent; IN],
) -> Fault {
    let mut faults = inputs.iter().chain(&outputs).filter_map(Extent::fault);
    faults.next().unwrap_or(Fault::Null { arg: "", len: 0 })
}

#[cold]
#[inline(never)]
fn first_overlap<const OUT: usize, const IN: usize>(
    outputs: [Extent; OUT],
    inputs: [Extent; IN],
) -> Fault {
    let pairs = outputs.iter().enumerate();
    let mut pairs =
        pairs.flat_map(|(i, a)| outputs[..i].iter().chain(&inputs).map(move |b| (a, b)));
    let (arg, other) = pairs.find(|(a, b)| a.overlaps(b)).map_or(("", ""), |(a, b)| (a.arg, b.arg));
    Fault::Overlap { arg, other }
}

/// The text of a C string.
///
/// # Safety
///
/// `text` is NULL or a C string.
pub(super) unsafe fn text<'a>(
    arg: &'static str,
    text: *const c_char,
) -> Result<&'a str, Box<Fault>> {
    if text.is_null() {
        return Err(Fault::Null { arg, len: 1 }.boxed());
    }
    // SAFETY: not NULL; the rest is the caller's promise.
    Ok(unsafe { CStr::from_ptr(text) }.to_str().unwrap_or("\u{fffd}"))
}

/// A temporary of `len` zeros, or an error if it cannot be allocated.
pub(super) fn temporary(len: usize) -> Result<Vec<f64>, Box<Fault>> {
    temporary_of(0.0, len)
}

/// A temporary of `len` times this element, or an error if it cannot be allocated.
pub(super) fn temporary_of<T: Clone>(element: T, len: usize) -> Result<Vec<T>, Box<Fault>> {
    Ok(memory::filled(element, len)?)
}
