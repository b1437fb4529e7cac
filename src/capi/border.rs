//! The border between C and Rust: what comes as a pointer is checked and becomes a slice; what goes wrong, a panic too,
//! becomes a status.

use core::any::Any;
use core::cell::RefCell;
use core::ffi::{CStr, c_char, c_void};
use core::fmt;
use core::mem::MaybeUninit;
use core::slice;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{EVENKEEL_F32, EVENKEEL_F64, evenkeel_dtype, evenkeel_status};
use crate::row_variants::Residual;
use crate::shape::check_length;
use crate::simd::{RowSpan, Span, with_default_environment};
use crate::{Error, Rows, scratch};

/// Why a call from C was refused. What returns it, boxes it: with results that fit in two registers, a call that is not
/// refused takes 43 instructions less (RmsNorm, callgrind).
#[derive(Debug)]
pub(super) enum Fault {
    /// NULL where there must be elements.
    Null { arg: &'static str, len: usize },
    /// An address that is not a multiple of the element's alignment.
    Misaligned { arg: &'static str, align: usize, address: usize },
    /// More elements than memory has addresses.
    TooLong { arg: &'static str, len: usize },
    /// An output that shares memory with another buffer.
    Overlap { arg: &'static str, other: &'static str },
    /// A number that names no option.
    Option { arg: &'static str, expected: &'static str, got: u32 },
    /// A bug of this library.
    Panic(String),
    /// What the Rust operation refuses.
    Operation(Error),
}

impl From<Error> for Box<Fault> {
    #[cold]
    fn from(error: Error) -> Self {
        Fault::Operation(error).boxed()
    }
}

impl Fault {
    #[cold]
    #[inline(never)]
    pub(super) fn boxed(self) -> Box<Self> {
        Box::new(self)
    }

    fn status(&self) -> evenkeel_status {
        match self {
            Self::Null { .. } => evenkeel_status::EVENKEEL_NULL_POINTER,
            Self::Misaligned { .. } => evenkeel_status::EVENKEEL_MISALIGNED,
            Self::TooLong { .. } => evenkeel_status::EVENKEEL_SHAPE_OVERFLOW,
            Self::Overlap { .. } => evenkeel_status::EVENKEEL_OVERLAP,
            Self::Option { .. } => evenkeel_status::EVENKEEL_UNKNOWN_OPTION,
            Self::Panic(_) => evenkeel_status::EVENKEEL_PANIC,
            Self::Operation(error) => match error {
                Error::Length { .. } => evenkeel_status::EVENKEEL_LENGTH,
                Error::ShapeOverflow { .. } => evenkeel_status::EVENKEEL_SHAPE_OVERFLOW,
                Error::Parameter { .. } | Error::SampleLength { .. } | Error::Groups { .. } => {
                    evenkeel_status::EVENKEEL_PARAMETER
                }
                Error::EmptyAxis { .. } => evenkeel_status::EVENKEEL_EMPTY_AXIS,
                Error::TooFewRows { .. } => evenkeel_status::EVENKEEL_TOO_FEW_ROWS,
                Error::NotFitted { .. } => evenkeel_status::EVENKEEL_NOT_FITTED,
                Error::StreamOverflow { .. } => evenkeel_status::EVENKEEL_STREAM_OVERFLOW,
                Error::OutOfMemory { .. } => evenkeel_status::EVENKEEL_OUT_OF_MEMORY,
                Error::UnknownBackend { .. } => evenkeel_status::EVENKEEL_UNKNOWN_OPTION,
                Error::UnavailableBackend { .. } => evenkeel_status::EVENKEEL_UNAVAILABLE_BACKEND,
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null { arg, len } => {
                write!(f, "`{arg}`: expected a pointer to {len} elements, got NULL")
            }
            Self::Misaligned { arg, align, address } => {
                write!(f, "`{arg}`: expected an address that {align} divides, got {address:#x}")
            }
            Self::TooLong { arg, len } => {
                write!(f, "`{arg}`: expected at most SSIZE_MAX bytes, got {len} elements")
            }
            Self::Overlap { arg, other } => {
                write!(f, "`{arg}`: expected memory of its own, got some of `{other}`'s")
            }
            Self::Option { arg, expected, got } => {
                write!(f, "`{arg}`: expected {expected}, got {got}")
            }
            Self::Panic(message) => write!(f, "a bug of evenkeel: {message}"),
            Self::Operation(error) => error.fmt(f),
        }
    }
}

thread_local! {
    /// The message of this thread's last fault.
    static LAST: RefCell<CString> = RefCell::default();
}

/// Runs the body of an entry: in the default floating-point environment, with panics caught.
///
/// What is passed on is a reference to the body: its captures, up to 20 arguments, would be copied at each step.
#[inline(always)]
pub(super) fn enter(body: impl Fn() -> Result<(), Box<Fault>>) -> evenkeel_status {
    match with_default_environment(|| catch_unwind(AssertUnwindSafe(&body))) {
        Ok(Ok(())) => evenkeel_status::EVENKEEL_OK,
        Ok(Err(fault)) => refused(fault),
        Err(payload) => panicked(payload),
    }
}

/// The same where a call takes 200 ns, and the border is to cost no more than 20: what `check` makes of the arguments is
/// passed on instead of them. They are copied by loads of 16 bytes from what the caller has just stored as 8, and no CPU
/// forwards two stores to one load: LayerNorm's border takes 20 ns instead of 28 so, with as many instructions (Zen 3).
/// `check` has no panic to catch.
#[inline(always)]
pub(super) fn enter_checked<T>(
    check: impl FnOnce() -> Result<T, Box<Fault>>,
    body: impl Fn(&T) -> Result<(), Box<Fault>>,
) -> evenkeel_status {
    match check() {
        Ok(checked) => enter(|| body(&checked)),
        Err(fault) => refused(fault),
    }
}

#[cold]
fn panicked(payload: Box<dyn Any + Send>) -> evenkeel_status {
    let text = payload.downcast::<String>().map(|text| *text);
    let text = text.or_else(|payload| payload.downcast::<&str>().map(|text| (*text).to_owned()));
    let message = text.unwrap_or_else(|payload| {
        // What the destructor of anything else does is not known, and it might panic.
        core::mem::forget(payload);
        "a panic without a message".to_owned()
    });
    refused(Fault::Panic(message).boxed())
}

#[cold]
fn refused(fault: Box<Fault>) -> evenkeel_status {
    let mut text = fault.to_string();
    text.retain(|char| char != '\0');
    // A thread that is ending has no place for it any more.
    let _ = LAST.try_with(|last| *last.borrow_mut() = CString::new(text).unwrap_or_default());
    fault.status()
}

/// The message of this thread's last fault, empty if there was none; it lives until the next one.
pub(super) fn last_message() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// A buffer as C describes it. Nothing is known of it yet.
pub(super) struct Buffer<T> {
    arg: &'static str,
    start: *mut T,
    len: usize,
}

// A derived `Copy` would ask it of T.
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

    /// The same buffer with elements of another type.
    pub(super) fn cast<U>(&self) -> Buffer<U> {
        Buffer { arg: self.arg, start: self.start.cast(), len: self.len }
    }

    /// Its bytes, whose claims are checked with those of the call's other buffers.
    #[inline(always)]
    pub(super) fn extent(&self) -> Extent {
        let Self { arg, start, len } = *self;
        let most = isize::MAX as usize / size_of::<T>();
        let bytes = len.wrapping_mul(size_of::<T>());
        Extent { arg, start: start.addr(), len, most, bytes, align: align_of::<T>() }
    }

    /// Refuses what cannot be a slice: the one buffer of a call.
    pub(super) fn check(&self) -> Result<(), Box<Fault>> {
        check(&[self.extent()], &[])
    }

    /// The elements of an input.
    ///
    /// # Safety
    ///
    /// C promises `len` readable elements; they were [checked](check), and nothing else writes to them
    /// meanwhile ([`check`]).
    pub(super) unsafe fn slice<'a>(&self) -> &'a [T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: not NULL, aligned and not too long, since it was checked; the rest is the caller's promise.
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
    /// C promises `len` readable and writable elements; they were [checked](check), and no other slice of
    /// them is used meanwhile ([`check`]).
    pub(super) unsafe fn slice_mut<'a>(&self) -> &'a mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: not NULL, aligned and not too long, since it was checked; the rest is the caller's promise.
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

    /// The elements of an output, which need not be initialised.
    ///
    /// # Safety
    ///
    /// As for [`slice_mut`](Self::slice_mut), but that they need not be readable.
    pub(super) unsafe fn uninit<'a>(&self) -> &'a mut [MaybeUninit<T>] {
        // SAFETY: the caller's promise; `MaybeUninit<T>` has the layout of T.
        unsafe { self.cast::<MaybeUninit<T>>().slice_mut() }
    }
}

/// The bytes of a buffer: what can be said of it without its type.
#[derive(Clone, Copy, Default)]
pub(super) struct Extent {
    arg: &'static str,
    start: usize,
    /// In elements.
    len: usize,
    /// Elements that memory may have.
    most: usize,
    /// Wrapped where `len` is more than that.
    bytes: usize,
    align: usize,
}

impl Extent {
    /// 0 if it can be a slice: not NULL unless it is empty, aligned, and not beyond the last address. Else bits, so that those
    /// of several extents together ask for one branch.
    #[inline(always)]
    fn flaws(&self) -> usize {
        let Self { start, len, most, bytes, align, .. } = *self;
        // NULL or too far up, in one comparison.
        let nowhere = (start.wrapping_sub(1) >= usize::MAX - bytes) & (len != 0);
        // `most` is a power of two less one: what it lacks are the bits of what is more.
        (start & align.wrapping_sub(1)) | (len & !most) | usize::from(nowhere)
    }

    /// Of sound extents. An empty one overlaps nothing.
    #[inline(always)]
    fn overlaps(&self, other: &Self) -> bool {
        let end = self.start.wrapping_add(self.bytes).min(other.start.wrapping_add(other.bytes));
        self.start.max(other.start) < end
    }

    /// What is wrong with it, if it is not sound.
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

/// Refuses what cannot be a slice, and an output that shares memory with another buffer.
#[inline(always)]
pub(super) fn check<const OUT: usize, const IN: usize>(
    outputs: &[Extent; OUT],
    inputs: &[Extent; IN],
) -> Result<(), Box<Fault>> {
    // Arrays, and no branch for each, so that the loops are unrolled: `benches/capi.rs` measures what it costs.
    let mut flaws = 0;
    for i in 0..OUT {
        flaws |= outputs[i].flaws();
    }
    for i in 0..IN {
        flaws |= inputs[i].flaws();
    }
    if flaws != 0 {
        // Copies, so that the fast way need not have them in memory.
        return Err(unsound(*outputs, *inputs).boxed());
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
    if shared { Err(overlapping(*outputs, *inputs).boxed()) } else { Ok(()) }
}

#[cold]
#[inline(never)]
fn unsound<const OUT: usize, const IN: usize>(
    outputs: [Extent; OUT],
    inputs: [Extent; IN],
) -> Fault {
    let mut faults = inputs.iter().chain(&outputs).filter_map(Extent::fault);
    faults.next().unwrap_or(Fault::Null { arg: "", len: 0 })
}

#[cold]
#[inline(never)]
fn overlapping<const OUT: usize, const IN: usize>(
    outputs: [Extent; OUT],
    inputs: [Extent; IN],
) -> Fault {
    let pairs = outputs.iter().enumerate();
    let mut pairs =
        pairs.flat_map(|(i, a)| outputs[..i].iter().chain(&inputs).map(move |b| (a, b)));
    let (arg, other) = pairs.find(|(a, b)| a.overlaps(b)).map_or(("", ""), |(a, b)| (a.arg, b.arg));
    Fault::Overlap { arg, other }
}

/// The x and y of an operation: two buffers, or exactly one.
pub(super) struct Io {
    x: Buffer<f32>,
    y: Buffer<f32>,
    in_place: bool,
}

impl Io {
    /// Checks them, the first of the inputs and of the outputs, with the others.
    #[inline(always)]
    pub(super) fn check<const OUT: usize, const IN: usize>(
        x: Buffer<f32>,
        y: Buffer<f32>,
        outputs: [Extent; OUT],
        inputs: [Extent; IN],
    ) -> Result<Self, Box<Fault>> {
        Self::check_pitches((x, 0), (y, 0), outputs, inputs)
    }

    /// The same for rows at pitches: with two of them, one buffer is an overlap.
    #[inline(always)]
    pub(super) fn check_pitches<const OUT: usize, const IN: usize>(
        (x, x_pitch): (Buffer<f32>, usize),
        (y, y_pitch): (Buffer<f32>, usize),
        outputs: [Extent; OUT],
        mut inputs: [Extent; IN],
    ) -> Result<Self, Box<Fault>> {
        // One address, one buffer: that the lengths are equal too is checked with the shape.
        let in_place = x.start == y.start && x.len > 0 && x_pitch == y_pitch;
        if in_place {
            // Of no bytes, it overlaps nothing; y's say whether they are sound.
            inputs[0].bytes = 0;
        }
        check(&outputs, &inputs)?;
        Ok(Self { x, y, in_place })
    }

    /// Refuses an x or a y that is not so long.
    pub(super) fn check_lengths(&self, elements: usize) -> Result<(), Box<Fault>> {
        check_length(self.x.arg, self.x.len, elements)?;
        Ok(check_length(self.y.arg, self.y.len, elements)?)
    }

    /// Runs an operation on x and y, `elements` each.
    ///
    /// # Safety
    ///
    /// C promises that x is readable and y writable.
    #[inline(always)]
    pub(super) unsafe fn with_span(
        &self,
        elements: usize,
        run: impl FnOnce(Span<'_>) -> Result<(), Error>,
    ) -> Result<(), Box<Fault>> {
        self.check_lengths(elements)?;
        let Self { x, y, in_place } = self;
        // One call of the operation, so that it is compiled once.
        let io = match in_place {
            // SAFETY: the caller's promise. Both are one buffer, of which this is the only slice.
            true => Span::in_place(unsafe { y.slice_mut() }),
            // SAFETY: the caller's promise. The two are disjoint.
            false => Span::uninit(unsafe { x.slice() }, unsafe { y.uninit() }),
        };
        Ok(run(io)?)
    }

    /// Runs an operation on rows of x and y at pitches.
    ///
    /// # Safety
    ///
    /// C promises that x is readable and y readable and writable.
    #[inline(always)]
    pub(super) unsafe fn with_rows(
        &self,
        rows: Rows,
        [x_pitch, y_pitch]: [usize; 2],
        run: impl FnOnce(RowSpan<'_>) -> Result<(), Error>,
    ) -> Result<(), Box<Fault>> {
        let Self { x, y, in_place } = self;
        let io = if *in_place {
            rows.check_strided(x.arg, x.len, "x_pitch", x_pitch)?;
            rows.check_strided(y.arg, y.len, "y_pitch", y_pitch)?;
            // SAFETY: the caller's promise. Both are one buffer, of which this is the only slice.
            rows.strided_in_place(unsafe { y.slice_mut() }, y_pitch)?
        } else {
            // SAFETY: the caller's promise. The two are disjoint.
            let (x, y) = unsafe { (x.slice(), y.slice_mut()) };
            rows.strided(x, x_pitch, y, y_pitch)?
        };
        Ok(run(io)?)
    }
}

/// A residual, and where its sum with x goes: to a buffer of its own, to the residual itself, or nowhere.
pub(super) struct Sum {
    residual: Buffer<f32>,
    sum: Buffer<f32>,
    in_place: bool,
}

impl Sum {
    pub(super) fn new(residual: Buffer<f32>, sum: Buffer<f32>) -> Self {
        // As in `Io::check`; absent, it has no address.
        let in_place = residual.start == sum.start && residual.len > 0 && !sum.is_absent();
        Self { residual, sum, in_place }
    }

    /// What is only read, as [`Buffer::extent`].
    #[inline(always)]
    pub(super) fn residual(&self) -> Extent {
        if self.in_place { Extent::default() } else { self.residual.extent() }
    }

    /// What is written, as [`Buffer::extent`].
    #[inline(always)]
    pub(super) fn extent(&self) -> Extent {
        self.sum.extent()
    }

    /// Refuses a residual or a sum that is not so long.
    pub(super) fn check_lengths(&self, elements: usize) -> Result<(), Box<Fault>> {
        let Self { residual, sum, .. } = self;
        check_length(residual.arg, residual.len, elements)?;
        if !sum.is_absent() {
            check_length(sum.arg, sum.len, elements)?;
        }
        Ok(())
    }

    /// Both for the operation.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice`] and [`Buffer::slice_mut`]; the lengths [were checked](Self::check_lengths).
    pub(super) unsafe fn get<'a>(&self) -> Residual<'a> {
        // SAFETY: the caller's promise. In place both are one buffer, of which this is the only slice.
        unsafe {
            match self.in_place {
                true => Residual::Updated(self.sum.slice_mut()),
                false => Residual::Added(self.residual.slice(), self.sum.optional_mut()),
            }
        }
    }
}

/// A statistic of every row or column: f64, or f32 by way of a temporary.
pub(super) struct Statistic {
    buffer: Buffer<c_void>,
    single: bool,
}

impl Statistic {
    fn new(buffer: Buffer<c_void>, dtype: evenkeel_dtype) -> Result<Self, Box<Fault>> {
        match dtype {
            EVENKEEL_F64 | EVENKEEL_F32 => Ok(Self { buffer, single: dtype == EVENKEEL_F32 }),
            got => {
                let expected = "EVENKEEL_F64 or EVENKEEL_F32";
                Err(Fault::Option { arg: "stats_dtype", expected, got }.boxed())
            }
        }
    }

    pub(super) fn input(
        arg: &'static str,
        start: *const c_void,
        len: usize,
        dtype: evenkeel_dtype,
    ) -> Result<Self, Box<Fault>> {
        Self::new(Buffer::input(arg, start, len), dtype)
    }

    pub(super) fn output(
        arg: &'static str,
        start: *mut c_void,
        len: usize,
        dtype: evenkeel_dtype,
    ) -> Result<Self, Box<Fault>> {
        Self::new(Buffer::output(arg, start, len), dtype)
    }

    pub(super) fn is_absent(&self) -> bool {
        self.buffer.is_absent()
    }

    /// As [`Buffer::extent`].
    #[inline(always)]
    pub(super) fn extent(&self) -> Extent {
        match self.single {
            true => self.buffer.cast::<f32>().extent(),
            false => self.buffer.cast::<f64>().extent(),
        }
    }

    /// What floats are read or written by way of: a temporary of doubles for `expected` rows or columns. Refuses floats
    /// that are more or fewer, before it allocates. Empty for doubles and where the statistic is absent.
    #[inline(always)]
    pub(super) fn temporary(&self, expected: usize) -> Result<Vec<f64>, Box<Fault>> {
        if !self.single || self.is_absent() {
            return Ok(Vec::new());
        }
        check_length(self.buffer.arg, self.buffer.len, expected)?;
        temporary(expected)
    }

    /// The doubles that are read, in `wide` if C has floats.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice`].
    #[inline(always)]
    pub(super) unsafe fn read<'a>(&self, wide: &'a mut [f64]) -> &'a [f64] {
        if !self.single {
            // SAFETY: the caller's promise.
            return unsafe { self.buffer.cast().slice() };
        }
        // SAFETY: the caller's promise.
        for (wide, &single) in wide.iter_mut().zip(unsafe { self.buffer.cast::<f32>().slice() }) {
            *wide = single.into();
        }
        wide
    }

    /// Where doubles are written to, if the statistic is wanted: `wide` if C has floats.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice_mut`].
    #[inline(always)]
    pub(super) unsafe fn write<'a>(&self, wide: &'a mut [f64]) -> Option<&'a mut [f64]> {
        match (self.is_absent(), self.single) {
            (true, _) => None,
            (false, true) => Some(wide),
            // SAFETY: the caller's promise.
            (false, false) => Some(unsafe { self.buffer.cast().slice_mut() }),
        }
    }

    /// Rounds what was written to `wide` to the floats of C, if it has floats.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice_mut`].
    #[inline(always)]
    pub(super) unsafe fn finish(&self, wide: &[f64]) {
        if wide.is_empty() {
            return;
        }
        // SAFETY: the caller's promise; there is a temporary for floats only.
        let single = unsafe { self.buffer.cast::<f32>().slice_mut() };
        for (single, &wide) in single.iter_mut().zip(wide) {
            *single = wide as f32;
        }
    }
}

/// A temporary of zeros, whose allocation may fail.
pub(super) fn temporary(len: usize) -> Result<Vec<f64>, Box<Fault>> {
    temporary_of(0.0, len)
}

/// The same of anything.
pub(super) fn temporary_of<T: Clone>(element: T, len: usize) -> Result<Vec<T>, Box<Fault>> {
    Ok(scratch::filled(element, len)?)
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
