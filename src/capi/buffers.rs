//! Buffers of C: their checks, all of them, and slices of what has been checked.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::slice;

use super::dtype::{EVENKEEL_BF16, EVENKEEL_F16, EVENKEEL_NONE, TYPES, evenkeel_dtype};
use super::member::Member;
use super::members::Args;
use super::status::Fault;
use crate::element::{Elements, ElementsMut, Half, Storage};
use crate::pitch::Pitch;
use crate::shape::check_length;
use crate::simd::Io;

/// What a function reads. All zeros: absent.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_input {
    /// The first element.
    pub data: *const c_void,
    /// The number of elements; with a pitch, from the first of the first row to at least the last of the last.
    pub len: usize,
    /// Elements from the start of a row to the start of the next. 0: the rows are contiguous.
    pub pitch: usize,
    /// The second stride, 0 where there is none: after every `inner_rows` rows it is so many elements from the first of them to the next.
    pub outer_pitch: usize,
    /// `EVENKEEL_F32` or another type that the function takes here.
    pub dtype: evenkeel_dtype,
    /// Rows of one stride, 0 where there is no second: the heads of a token.
    pub inner_rows: u32,
}

/// What a function writes. All zeros: absent.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_output {
    /// The first element.
    pub data: *mut c_void,
    /// The number of elements; with a pitch, from the first of the first row to at least the last of the last.
    pub len: usize,
    /// Elements from the start of a row to the start of the next. 0: the rows are contiguous.
    pub pitch: usize,
    /// The second stride, 0 where there is none: after every `inner_rows` rows it is so many elements from the first of them to the next.
    pub outer_pitch: usize,
    /// `EVENKEEL_F32` or another type that the function takes here.
    pub dtype: evenkeel_dtype,
    /// Rows of one stride, 0 where there is no second: the heads of a token.
    pub inner_rows: u32,
}

const _: () = assert!(
    size_of::<evenkeel_input>() == size_of::<evenkeel_output>()
        && align_of::<evenkeel_input>() == align_of::<evenkeel_output>(),
    "`check` reads either as the other"
);

impl Member {
    /// The buffer of a structure.
    #[inline(always)]
    unsafe fn of<'a>(&self, args: *const u8) -> &'a evenkeel_output {
        // SAFETY: the caller passes a structure that has a buffer at this offset, and both kinds have one layout.
        unsafe { &*args.add(self.offset).cast() }
    }
}

/// The most buffers of a structure.
const MOST: usize = 17;

/// Returns an error if a buffer of a structure cannot be a slice, or if an output shares memory with another buffer, unless it
/// is exactly the input that it may be.
#[inline(always)]
pub(super) fn check<T: Args>(args: &T) -> Result<(), Box<Fault>> {
    const { assert!(T::BUFFERS.len() <= MOST, "more buffers than `MOST`") };
    if is_plain(args) {
        return Ok(());
    }
    // SAFETY: `members!` asserts that the table has the offsets of the structure's buffers.
    unsafe { check_members(core::ptr::from_ref(args).cast(), T::BUFFERS) }
}

/// Whether the members from `T::RARE` on are 0, and the buffers before it are sound, of the type that they usually have, and
/// disjoint or in place: the usual call, found with few branches. It knows nothing that [`check_members`] does not.
#[inline(always)]
fn is_plain<T: Args>(args: &T) -> bool {
    if const { usual::<T>() > 8 } {
        return false;
    }
    let base = core::ptr::from_ref(args).cast::<u8>();
    let (mut flaws, mut high) = (0, 0);
    for at in (T::RARE..size_of::<T>()).step_by(size_of::<usize>()) {
        // SAFETY: within the structure, all of whose bits are members.
        flaws |= unsafe { base.add(at).cast::<usize>().read() };
    }
    // Written out, so that each number below is known to the compiler and nothing is kept in memory.
    let mut extents = [(0, 0); 8];
    macro_rules! all {
        ($($i:literal)+) => {
            $(flaws |= usual_flaws::<T, $i>(base, &mut extents, &mut high);)+
            // Once all extents are known.
            $(flaws |= usual_overlap::<T, $i>(base, &extents);)+
        };
    }
    all!(0 1 2 3 4 5 6 7);
    flaws | high & !USUAL_MOST == 0
}

/// Buffers begin here at most, and have so many elements at most, of 32 bytes at most: they end within the addresses, and no slice is
/// too long. What is greater is left to [`check_members`].
const USUAL_MOST: usize = usize::MAX >> 7;

const _: () = {
    let mut dtype = 0;
    while dtype < TYPES.len() {
        assert!(TYPES[dtype].1 <= 32, "elements of `USUAL_MOST`");
        dtype += 1;
    }
};

/// 0 if a buffer is as it usually is, and is not NULL. Notes where it is, and adds to `high` what may be at most [`USUAL_MOST`].
#[inline(always)]
fn usual_flaws<T: Args, const I: usize>(
    base: *const u8,
    extents: &mut [(usize, usize)],
    high: &mut usize,
) -> usize {
    if const { I >= usual::<T>() } {
        return 0;
    }
    let member = &T::BUFFERS[I];
    // SAFETY: `members!` asserts that there is a buffer.
    let buffer = unsafe { member.of(base) };
    let (start, len, shift) = (buffer.data.addr(), buffer.len, member.plain_shift);
    extents[I] = (start, start.wrapping_add(len << shift));
    // A second stride is not usual.
    let types = u64::from(buffer.dtype) | u64::from(buffer.inner_rows) << 32;
    if types == u64::from(member.plain) {
        // NULL has every bit.
        *high |= start.wrapping_sub(1) | len;
        let pitch = if member.pitched { 0 } else { buffer.pitch };
        start & ((1 << shift) - 1) | pitch | buffer.outer_pitch
    } else {
        types as usize | start | len | buffer.pitches() | usize::from(member.required)
    }
}

/// 0 if an output shares no memory with the other buffers, or is in place.
#[inline(always)]
fn usual_overlap<T: Args, const I: usize>(base: *const u8, extents: &[(usize, usize)]) -> usize {
    if const { I >= usual::<T>() || !T::BUFFERS[I].output } || extents[I].1 == 0 {
        return 0;
    }
    let mut shared = 0;
    macro_rules! each {
        ($($i:literal)+) => { $(shared |= overlap::<T, I, $i>(base, extents);)+ };
    }
    each!(0 1 2 3 4 5 6 7);
    shared
}

/// 1 if an output shares memory with another buffer, and is not in place.
#[inline(always)]
fn overlap<T: Args, const I: usize, const J: usize>(
    base: *const u8,
    extents: &[(usize, usize)],
) -> usize {
    // Two outputs once.
    if const { I == J || J >= usual::<T>() || J > I && T::BUFFERS[J].output } {
        return 0;
    }
    let (output, other) = (&T::BUFFERS[I], &T::BUFFERS[J]);
    let overlap = extents[I].0.max(extents[J].0) < extents[I].1.min(extents[J].1);
    if output.may_be != other.offset {
        return usize::from(overlap);
    }
    // SAFETY: as above.
    let (y, x) = unsafe { (output.of(base), other.of(base)) };
    usize::from(overlap & !((y.data == x.data) & (y.pitch == x.pitch)))
}

/// How many buffers of a structure lie before `T::RARE`.
const fn usual<T: Args>() -> usize {
    let mut count = 0;
    while count < T::BUFFERS.len() && T::BUFFERS[count].offset < T::RARE {
        count += 1;
    }
    count
}

/// # Safety
///
/// `args` is a structure with buffers at the offsets of the members.
unsafe fn check_members(args: *const u8, members: &'static [Member]) -> Result<(), Box<Fault>> {
    let mut extents = [Extent::default(); MOST];
    let mut count = 0;
    for member in members {
        // SAFETY: the caller's promise.
        let buffer = unsafe { member.of(args) };
        if buffer.is_zero() {
            if member.required {
                return Err(Fault::Absent { arg: member.name }.boxed());
            }
            continue;
        }
        let Some(bytes) = buffer.sound(member) else { return Err(first_flaw(buffer, member)) };
        let start = buffer.data.addr();
        let this = Extent { start, end: start + bytes, member: Some(member) };
        for other in &extents[..count] {
            let Some(of) = other.member else { continue };
            let shared = start.max(other.start) < this.end.min(other.end);
            if shared && (member.output || of.output) {
                // SAFETY: the caller's promise.
                sharing(buffer, member, unsafe { of.of(args) }, of)?;
            }
        }
        extents[count] = this;
        count += 1;
    }
    Ok(())
}

/// The bytes of a buffer.
#[derive(Clone, Copy, Default)]
struct Extent {
    start: usize,
    end: usize,
    member: Option<&'static Member>,
}

impl evenkeel_output {
    pub(super) const ABSENT: Self = Self {
        data: core::ptr::null_mut(),
        len: 0,
        pitch: 0,
        outer_pitch: 0,
        dtype: EVENKEEL_NONE,
        inner_rows: 0,
    };

    /// 0 where there are no pitches.
    #[inline(always)]
    fn pitches(&self) -> usize {
        self.pitch | self.outer_pitch | self.inner_rows as usize
    }

    /// Whether it is absent.
    #[inline(always)]
    fn is_zero(&self) -> bool {
        self.data.addr() | self.len | self.pitches() | self.dtype as usize == 0
    }

    /// The number of its bytes, if it can be a slice: of a type that the member may have, aligned, not NULL unless it is empty,
    /// and not beyond the last address.
    #[inline(always)]
    fn sound(&self, member: &Member) -> Option<usize> {
        let Self { data, len, dtype, .. } = *self;
        let (_, size, align) = *TYPES.get(dtype as usize)?;
        let bytes = len.wrapping_mul(size);
        let start = data.addr();
        // NULL or too high, in one comparison.
        let nowhere = (start.wrapping_sub(1) >= usize::MAX - bytes) & (len != 0);
        // Sizes are powers of two: a greater `len` has a bit that the greatest lacks.
        let long = len & !(isize::MAX as usize / size);
        let misaligned = start & (align - 1);
        // A second stride has both its numbers.
        let pitches = match (member.pitched, self.inner_rows) {
            (false, _) => self.pitches(),
            (true, 0) => self.outer_pitch,
            (true, _) => 0,
        };
        let of_type = member.types >> dtype & 1 != 0;
        let flaws = usize::from(nowhere) | long | misaligned | pitches;
        (flaws == 0 && of_type).then_some(bytes)
    }
}

/// The flaw of a buffer that is not sound.
#[cold]
fn first_flaw(buffer: &evenkeel_output, member: &Member) -> Box<Fault> {
    let evenkeel_output { data, len, pitch, outer_pitch, dtype, inner_rows } = *buffer;
    let Member { name: arg, types: expected, .. } = *member;
    if expected.checked_shr(dtype).unwrap_or(0) & 1 == 0 {
        return Fault::Type { arg, expected, got: dtype }.boxed();
    }
    let (_, _, align) = TYPES[dtype as usize];
    let address = data.addr();
    let fault = if pitch != 0 && !member.pitched {
        Fault::Pitch { arg, got: pitch }
    } else if inner_rows != 0 && !member.pitched {
        Fault::Option { arg, expected: "0 in `inner_rows`", got: inner_rows.into() }
    } else if outer_pitch != 0 && inner_rows == 0 {
        let (expected, got) = ("0 in `outer_pitch`, or `inner_rows`", outer_pitch as u64);
        Fault::Option { arg, expected, got }
    } else if data.is_null() && len != 0 {
        Fault::Null { arg, len }
    } else if !address.is_multiple_of(align) {
        Fault::Misaligned { arg, align, address }
    } else {
        Fault::TooLong { arg, len }
    };
    fault.boxed()
}

/// Returns an error for two buffers that share memory, one of them an output, unless they are one buffer and may be.
fn sharing(
    a: &evenkeel_output,
    a_member: &Member,
    b: &evenkeel_output,
    b_member: &Member,
) -> Result<(), Box<Fault>> {
    let (output, input) = if a_member.output { (a_member, b_member) } else { (b_member, a_member) };
    let (arg, other) = (output.name, input.name);
    if output.may_be != input.offset || a.data != b.data {
        return Err(Fault::Overlap { arg, other }.boxed());
    }
    let places = [a, b].map(|buffer| {
        let &evenkeel_output { pitch, outer_pitch, inner_rows, dtype, .. } = buffer;
        (pitch, outer_pitch, inner_rows, dtype)
    });
    if places[0] != places[1] {
        return Err(Fault::Unequal { arg, other }.boxed());
    }
    Ok(())
}

/// What both kinds of buffers are once they have been checked.
pub(super) trait Buffer {
    fn raw(&self) -> &evenkeel_output;

    /// Whether it is there.
    #[inline(always)]
    fn is_there(&self) -> bool {
        self.raw().dtype != EVENKEEL_NONE
    }

    /// Its pitch, if it has one.
    #[inline(always)]
    fn pitch(&self) -> Option<Pitch> {
        let &evenkeel_output { pitch, outer_pitch, inner_rows, .. } = self.raw();
        match (inner_rows, pitch) {
            (0, 0) => None,
            (0, pitch) => Some(pitch.into()),
            (inner_rows, pitch) => Some(Pitch::nested(inner_rows as usize, pitch, outer_pitch)),
        }
    }

    /// Where its elements begin, and how many there are. Without elements the pointer is not NULL but dangles.
    #[inline(always)]
    fn start<T>(&self) -> (*mut T, usize) {
        let &evenkeel_output { data, len, .. } = self.raw();
        // Aligned for every type of elements, whatever T is.
        let dangling = NonNull::<f64>::dangling().as_ptr().cast();
        let start = if len == 0 { dangling } else { data.cast() };
        (start, len)
    }

    /// The elements of an input; none of an absent one.
    ///
    /// # Safety
    ///
    /// The buffer has been [checked](check), and T is its type. C promises that it has `len` readable elements, and that nothing
    /// else writes to them meanwhile.
    #[inline(always)]
    unsafe fn slice<'a, T>(&self) -> &'a [T] {
        let (start, len) = self.start();
        // SAFETY: not NULL, aligned and not too long, as checked; the rest is the caller's promise.
        unsafe { slice::from_raw_parts(start, len) }
    }

    /// How its elements are stored, of a type in [`FLOATS`](super::dtype::FLOATS).
    #[inline(always)]
    fn storage(&self) -> Storage {
        match self.raw().dtype {
            EVENKEEL_BF16 => Storage::Half(Half::Bf16),
            EVENKEEL_F16 => Storage::Half(Half::F16),
            _ => Storage::F32,
        }
    }

    /// The elements of an input, of a type in [`FLOATS`](super::dtype::FLOATS); none of an absent one.
    ///
    /// # Safety
    ///
    /// As for [`slice`](Self::slice).
    #[inline(always)]
    unsafe fn elements<'a>(&self) -> Elements<'a> {
        // SAFETY: the caller's promise; the type is that of the buffer.
        unsafe {
            match self.storage() {
                Storage::F32 => Elements::F32(self.slice()),
                Storage::Half(half) => Elements::Half(half, self.slice()),
            }
        }
    }

    /// The same, if it is there.
    ///
    /// # Safety
    ///
    /// As for [`slice`](Self::slice).
    #[inline(always)]
    unsafe fn optional_elements<'a>(&self) -> Option<Elements<'a>> {
        // SAFETY: the caller's promise.
        self.is_there().then(|| unsafe { self.elements() })
    }

    /// The elements of an input, if it is there.
    ///
    /// # Safety
    ///
    /// As for [`slice`](Self::slice).
    #[inline(always)]
    unsafe fn optional<'a, T>(&self) -> Option<&'a [T]> {
        // SAFETY: the caller's promise.
        self.is_there().then(|| unsafe { self.slice() })
    }
}

impl Buffer for evenkeel_input {
    #[inline(always)]
    fn raw(&self) -> &evenkeel_output {
        // SAFETY: one layout, as asserted; a pointer that is only read is passed on as such.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }
}

impl Buffer for evenkeel_output {
    #[inline(always)]
    fn raw(&self) -> &evenkeel_output {
        self
    }
}

impl evenkeel_output {
    /// The elements of an output that is read too; none of an absent one.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice`], and C promises that they are writable. No other slice of them is used meanwhile.
    #[inline(always)]
    pub(super) unsafe fn slice_mut<'a, T>(&self) -> &'a mut [T] {
        let (start, len) = self.start();
        // SAFETY: not NULL, aligned and not too long, as checked; the rest is the caller's promise.
        unsafe { slice::from_raw_parts_mut(start, len) }
    }

    /// The elements of an output that is read too, if it is there.
    ///
    /// # Safety
    ///
    /// As for [`slice_mut`](Self::slice_mut).
    #[inline(always)]
    pub(super) unsafe fn optional_mut<'a, T>(&self) -> Option<&'a mut [T]> {
        // SAFETY: the caller's promise.
        self.is_there().then(|| unsafe { self.slice_mut() })
    }

    /// The elements of an output that is read too, of a type in [`FLOATS`](super::dtype::FLOATS), if it is there.
    ///
    /// # Safety
    ///
    /// As for [`slice_mut`](Self::slice_mut).
    pub(super) unsafe fn optional_elements_mut<'a>(&self) -> Option<ElementsMut<'a>> {
        // SAFETY: the caller's promise; the type is that of the buffer.
        self.is_there().then(|| unsafe {
            match self.storage() {
                Storage::F32 => ElementsMut::F32(self.slice_mut()),
                Storage::Half(half) => ElementsMut::Half(half, self.slice_mut()),
            }
        })
    }

    /// The bytes of an output of a type in [`FLOATS`](super::dtype::FLOATS), which need not be initialised.
    ///
    /// # Safety
    ///
    /// As for [`slice_mut`](Self::slice_mut), but that they need not be readable.
    pub(super) unsafe fn bytes_uninit<'a>(&self) -> &'a mut [MaybeUninit<u8>] {
        let (start, len) = self.start();
        // SAFETY: the caller's promise; as many bytes as the elements have, by `check`.
        unsafe { slice::from_raw_parts_mut(start, len * self.storage().size()) }
    }

    /// Returns an error if it has another length.
    pub(super) fn check_length(
        &self,
        arg: &'static str,
        elements: usize,
    ) -> Result<(), Box<Fault>> {
        Ok(check_length(arg, self.len, elements)?)
    }
}

/// x and y of an operation: two buffers, or exactly one.
///
/// # Safety
///
/// Both have been [checked](check), with y that may be x, and are of types in [`FLOATS`](super::dtype::FLOATS). C promises that x is readable and y writable, and with
/// a pitch readable too. Nothing else uses them during `'a`.
#[inline(always)]
pub(super) unsafe fn in_out<'a>(x: &evenkeel_input, y: &evenkeel_output) -> Io<'a> {
    let ((start, len), storage) = (x.start(), [x.storage(), y.storage()]);
    // SAFETY: aligned and not NULL, as checked. They do not overlap, or begin at one address with one pitch and type. The rest is
    // the caller's promise.
    unsafe { Io::from_raw((start, len), y.start(), storage, [x.pitch(), y.pitch()]) }
}

/// A buffer that is read and written.
///
/// # Safety
///
/// As for [`in_out`].
pub(super) unsafe fn in_place<'a>(x: &evenkeel_output) -> Io<'a> {
    let (buffer, storage) = (x.start(), [x.storage(); 2]);
    // SAFETY: aligned and not NULL, as checked. The rest is the caller's promise.
    unsafe { Io::from_raw(buffer, buffer, storage, [None; 2]) }
}

/// dy, and dx if it is there.
///
/// # Safety
///
/// As for [`in_out`].
pub(super) unsafe fn gradient_io<'a>(dy: &evenkeel_input, dx: &evenkeel_output) -> Io<'a> {
    if dx.is_there() {
        // SAFETY: the caller's promise.
        return unsafe { in_out(dy, dx) };
    }
    let (start, len) = dy.start();
    // SAFETY: aligned and not NULL, as checked. The rest is the caller's promise.
    unsafe { Io::read_only_from_raw((start, len), dy.storage(), dy.pitch()) }
}
