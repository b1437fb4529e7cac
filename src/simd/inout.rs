//! Where an operation reads and writes: [`InOut`], and buffers of a type that is known at run time.
//!
//! Invariant of [`InOut`] and [`Io`]: x is valid for reads of `x_len` elements, y for writes of `y_len`. Either they begin at
//! one address with one pitch, or they do not overlap. Nothing else writes to either during `'a`, and nothing else reads y.
//! Where y has a pitch, all of it is initialised. One that only reads has a y of no elements. The constructors establish the
//! invariant from references. Those from raw pointers, which only the C ABI calls, leave it to their caller.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::slice;

use super::row_span::RowSpan;
use super::span::Span;
use super::stored::{Place, StoredRows};
use crate::element::{Element, Storage};
use crate::error::Error;
use crate::pitch::{Pitch, check_rows};
use crate::shape::{Rows, check_length};

/// Where an operation reads x and writes y.
///
/// | constructor | x and y |
/// |---|---|
/// | [`new`](Self::new) | two buffers |
/// | [`in_place`](Self::in_place) | one buffer |
/// | [`uninit`](Self::uninit) | two buffers, of which y is not initialised: the operation writes all of it |
/// | [`strided`](Self::strided), [`strided_in_place`](Self::strided_in_place) | the same with rows at a pitch, such as the parts of a wider matrix |
/// | [`strided_uninit`](Self::strided_uninit) | the same with rows of x at a pitch; those of y are contiguous |
/// | [`read_only`](Self::read_only), [`strided_read_only`](Self::strided_read_only) | x alone: for a backward pass without dx |
///
/// The operation checks the lengths against its shape. They are an [`Error`](crate::Error), never a panic. An operation that
/// returns `Ok` has written every row of y; what lies between two rows is not touched.
///
/// ```
/// use evenkeel::{InOut, NormArgs, RmsNorm, Rows};
///
/// // Two rows of three elements, the first half of a matrix of six columns.
/// let x = [3.0_f32, 0.0, 4.0, 9.0, 9.0, 9.0, 0.0, 6.0, 8.0, 9.0, 9.0, 9.0];
/// let mut y = [0.0_f32; 6];
/// let norm = RmsNorm::new().with_eps(0.0);
/// norm.forward(InOut::strided(&x, 6, &mut y, 3), Rows::new(2, 3)?, NormArgs::new())?;
/// assert!((y[0] - 1.039_230_5).abs() < 1e-6);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[derive(Debug)]
pub struct InOut<'x, 'y, X = f32, Y = X> {
    x: *const X,
    x_len: usize,
    y: *mut Y,
    y_len: usize,
    x_pitch: Option<Pitch>,
    y_pitch: Option<Pitch>,
    /// Whether there is no y: then it has no elements.
    reads_only: bool,
    lifetime: PhantomData<(&'x [X], &'y mut [Y])>,
}

// SAFETY: an `InOut` stands for a `&[X]` and a `&mut [Y]`.
unsafe impl<X: Sync, Y: Send> Send for InOut<'_, '_, X, Y> {}
// SAFETY: as above; a shared `InOut` gives access to nothing.
unsafe impl<X: Sync, Y: Sync> Sync for InOut<'_, '_, X, Y> {}

impl<'x, 'y, X: Element, Y: Element> InOut<'x, 'y, X, Y> {
    /// Reads `x`, writes `y`.
    #[inline]
    pub fn new(x: &'x [X], y: &'y mut [Y]) -> Self {
        Self::of(x, (y.as_mut_ptr(), y.len()), [None; 2])
    }

    /// Reads rows that begin every `x_pitch` elements of `x`, writes rows that begin every `y_pitch` elements of `y`.
    #[inline]
    pub fn strided(
        x: &'x [X],
        x_pitch: impl Into<Pitch>,
        y: &'y mut [Y],
        y_pitch: impl Into<Pitch>,
    ) -> Self {
        let pitches = [Some(x_pitch.into()), Some(y_pitch.into())];
        Self::of(x, (y.as_mut_ptr(), y.len()), pitches)
    }

    /// The same, with a pitch or none of each.
    pub(crate) fn at_pitches(x: &'x [X], y: &'y mut [Y], pitches: [Option<Pitch>; 2]) -> Self {
        Self::of(x, (y.as_mut_ptr(), y.len()), pitches)
    }

    #[inline]
    fn of(x: &'x [X], (y, y_len): (*mut Y, usize), [x_pitch, y_pitch]: [Option<Pitch>; 2]) -> Self {
        let (x, x_len, lifetime) = (x.as_ptr(), x.len(), PhantomData);
        Self { x, x_len, y, y_len, x_pitch, y_pitch, reads_only: false, lifetime }
    }

    /// The same buffers, of a type that is known at run time.
    #[inline]
    pub(crate) fn erased<'a>(self) -> Io<'a>
    where
        'x: 'a,
        'y: 'a,
    {
        let Self { x, x_len, y, y_len, x_pitch, y_pitch, reads_only, lifetime: _ } = self;
        let (x, y, storage) = (x.cast(), y.cast(), [X::STORAGE, Y::STORAGE]);
        let (pitches, lifetime) = (Io::UNCHECKED, PhantomData);
        Io { x, x_len, y, y_len, storage, x_pitch, y_pitch, pitches, reads_only, lifetime }
    }

    /// Calls `write` with the same buffers. If it succeeds, returns y as initialised.
    ///
    /// `write` has one duty that its type does not state: if it returns `Ok`, it has written every row of y. AUDITING.md says
    /// why each operation fulfils it; `tests/memory.rs` looks at every element of outputs of every length.
    #[inline]
    pub(crate) fn write_whole(
        self,
        write: impl FnOnce(Io<'_>) -> Result<(), Error>,
    ) -> Result<&'y mut [Y], Error> {
        let Self { y, y_len, .. } = self;
        write(self.erased())?;
        // SAFETY: y is valid for `y_len` elements during `'y`, and initialised: its rows by the duty of `write`, and what
        // lies between them since y has no pitch or was initialised before.
        Ok(unsafe { slice::from_raw_parts_mut(y, y_len) })
    }
}

impl<'x, 'y, X: Element> InOut<'x, 'y, X, X> {
    /// Reads `x`, writes all of `y`, which need not be initialised.
    ///
    /// The operation returns `y` as initialised. [`to_vec`](crate::to_vec) makes a new `Vec` of it.
    #[inline]
    pub fn uninit(x: &'x [X], y: &'y mut [MaybeUninit<X>]) -> Self {
        Self::of(x, (y.as_mut_ptr().cast(), y.len()), [None; 2])
    }

    /// Reads rows that begin every `x_pitch` elements of `x`, writes all of `y`, which need not be initialised and whose rows
    /// are contiguous.
    #[inline]
    pub fn strided_uninit(
        x: &'x [X],
        x_pitch: impl Into<Pitch>,
        y: &'y mut [MaybeUninit<X>],
    ) -> Self {
        let pitches = [Some(x_pitch.into()), None];
        Self::of(x, (y.as_mut_ptr().cast(), y.len()), pitches)
    }
}

impl<'x, 'y, X: Element> InOut<'x, 'y, X, X> {
    /// Reads `x` and writes no y: a backward pass makes the gradients of parameters alone, and returns an empty slice. An
    /// operation that has to write y returns [`Error::Length`](crate::Error::Length).
    #[inline]
    pub fn read_only(x: &'x [X]) -> Self {
        Self { reads_only: true, ..Self::of(x, (NonNull::dangling().as_ptr(), 0), [None; 2]) }
    }

    /// The same of rows that begin every `x_pitch` elements of `x`.
    #[inline]
    pub fn strided_read_only(x: &'x [X], x_pitch: impl Into<Pitch>) -> Self {
        Self { x_pitch: Some(x_pitch.into()), ..Self::read_only(x) }
    }
}

impl<'a, X: Element> InOut<'a, 'a, X, X> {
    /// Reads and writes `x`.
    #[inline]
    pub fn in_place(x: &'a mut [X]) -> Self {
        Self::of_one(x, None)
    }

    /// Reads and writes rows that begin every `pitch` elements of `x`.
    #[inline]
    pub fn strided_in_place(x: &'a mut [X], pitch: impl Into<Pitch>) -> Self {
        Self::of_one(x, Some(pitch.into()))
    }

    #[inline]
    fn of_one(x: &'a mut [X], pitch: Option<Pitch>) -> Self {
        let (y, len) = (x.as_mut_ptr(), x.len());
        Self {
            x: y,
            x_len: len,
            y,
            y_len: len,
            x_pitch: pitch,
            y_pitch: pitch,
            reads_only: false,
            lifetime: PhantomData,
        }
    }
}

/// Makes a new `Vec` of `len` elements that `write` writes, once each: `write` initialises what it is passed and returns it,
/// as every operation does with [`InOut::uninit`].
///
/// ```
/// use evenkeel::{InOut, LayerNorm, NormArgs, Rows, to_vec};
///
/// let (x, rows) = ([1.0_f32, 3.0, 2.0, 6.0], Rows::new(2, 2)?);
/// let norm = LayerNorm::new().with_eps(0.0);
/// let y = to_vec(rows.elements(), |y| norm.forward(InOut::uninit(&x, y), rows, NormArgs::new()))?;
/// assert_eq!(y, [-1.0, 1.0, -1.0, 1.0]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
///
/// # Errors
///
/// Those of `write`, and:
///
/// * [`Error::OutOfMemory`](crate::Error::OutOfMemory): there is no memory for `len` elements.
/// * [`Error::Length`](crate::Error::Length): `write` returns another slice than it was passed.
pub fn to_vec<T: Element>(
    len: usize,
    write: impl for<'y> FnOnce(&'y mut [MaybeUninit<T>]) -> Result<&'y mut [T], Error>,
) -> Result<Vec<T>, Error> {
    let mut vec = Vec::new();
    crate::memory::reserve(&mut vec, len)?;
    let passed = &mut vec.spare_capacity_mut()[..len];
    let (start, mut written) = (passed.as_ptr().cast::<T>(), write(passed)?);
    if !core::ptr::eq(written.as_ptr(), start) {
        written = &mut [];
    }
    check_length("y", written.len(), len)?;
    // SAFETY: what `write` returned are the first `len` elements of the capacity, as initialised.
    unsafe { vec.set_len(len) };
    Ok(vec)
}

/// An [`InOut`] whose types are known at run time.
#[derive(Debug)]
pub(crate) struct Io<'a> {
    x: *const u8,
    x_len: usize,
    y: *mut u8,
    y_len: usize,
    /// Of x and of y.
    storage: [Storage; 2],
    x_pitch: Option<Pitch>,
    y_pitch: Option<Pitch>,
    /// Of x and y, once they have been checked.
    pitches: [Pitch; 2],
    reads_only: bool,
    lifetime: PhantomData<(&'a [u8], &'a mut [u8])>,
}

/// Names of x and y, and of their pitches.
const FORWARD: [(&str, &str); 2] = [("x", "x_pitch"), ("y", "y_pitch")];
/// The same of a backward pass.
const BACKWARD: [(&str, &str); 2] = [("dy", "dy_pitch"), ("dx", "dx_pitch")];

impl<'a> Io<'a> {
    /// Pitches that have not been checked.
    const UNCHECKED: [Pitch; 2] = [Pitch::nested(0, 0, 0); 2];

    /// Reads `x`, writes `y`: buffers of C, whose rows begin every so many elements where there is a pitch.
    ///
    /// # Safety
    ///
    /// The pointers are aligned for their storage and not null, those of no elements too. They, the numbers of elements and the pitches
    /// keep the invariant at the head of this file.
    #[cfg(feature = "capi")]
    #[inline]
    pub(crate) unsafe fn from_raw(
        (x, x_len): (*mut u8, usize),
        (y, y_len): (*mut u8, usize),
        storage: [Storage; 2],
        [x_pitch, y_pitch]: [Option<Pitch>; 2],
    ) -> Self {
        let (pitches, reads_only, lifetime) = (Self::UNCHECKED, false, PhantomData);
        Self { x, x_len, y, y_len, storage, x_pitch, y_pitch, pitches, reads_only, lifetime }
    }

    /// Reads `x`, likewise, and writes nothing.
    ///
    /// # Safety
    ///
    /// As for [`from_raw`](Self::from_raw).
    #[cfg(feature = "capi")]
    pub(crate) unsafe fn read_only_from_raw(
        x: (*mut u8, usize),
        storage: Storage,
        pitch: Option<Pitch>,
    ) -> Self {
        let y = NonNull::<f64>::dangling().as_ptr().cast();
        // SAFETY: the caller's promise; a y of no elements overlaps nothing.
        let io = unsafe { Self::from_raw(x, (y, 0), [storage; 2], [pitch, None]) };
        Self { reads_only: true, ..io }
    }

    /// How x and y are stored.
    #[inline(always)]
    pub(crate) fn storage(&self) -> [Storage; 2] {
        self.storage
    }

    /// How x and y are stored, by their names.
    pub(crate) fn storages(&self) -> [(&'static str, Option<Storage>); 2] {
        let [x, y] = self.storage;
        [("x", Some(x)), ("y", Some(y))]
    }

    /// All of x as one row, which is read.
    pub(crate) fn reading(&mut self) -> StoredRows<'_> {
        let x = Place::new(self.x.cast_mut(), self.storage[0], self.x_len.into());
        // SAFETY: the invariant: x is valid for reads of so many elements.
        unsafe { StoredRows::of_reads(x, (1, self.x_len)) }
    }

    /// Whether there is no y.
    pub(crate) fn reads_only(&self) -> bool {
        self.reads_only
    }

    /// The number of elements of x and of y.
    pub(crate) fn lengths(&self) -> [usize; 2] {
        [self.x_len, self.y_len]
    }

    /// The pitches of x and of y.
    pub(crate) fn pitches(&self) -> [Option<Pitch>; 2] {
        [self.x_pitch, self.y_pitch]
    }

    /// Returns an error where x or y is not stored as f32.
    #[inline(always)]
    fn check_f32(&self, names: [(&'static str, &'static str); 2]) -> Result<(), Error> {
        for (storage, (arg, _)) in self.storage.into_iter().zip(names) {
            if storage != Storage::F32 {
                return Err(Error::Type { arg });
            }
        }
        Ok(())
    }

    /// Rows of any storage.
    pub(crate) fn stored_rows(self, rows: Rows) -> Result<StoredRows<'a>, Error> {
        self.check_writes(rows)?;
        self.stored(rows, FORWARD)
    }

    /// The same of a backward pass.
    pub(crate) fn stored_gradient_rows(self, rows: Rows) -> Result<StoredRows<'a>, Error> {
        self.stored(rows, BACKWARD)
    }

    fn stored(
        self,
        rows: Rows,
        [(x, x_pitch), (y, y_pitch)]: [(&'static str, &'static str); 2],
    ) -> Result<StoredRows<'a>, Error> {
        let [x_storage, y_storage] = self.storage;
        let shape = (rows.rows(), rows.cols());
        let pitch = check_rows(rows, (x, self.x_len), (x_pitch, self.x_pitch))?;
        let place = Place::new(self.x.cast_mut(), x_storage, pitch);
        if self.reads_only {
            // SAFETY: the rows lie within x, as has been checked, and the invariant. There is no y.
            return Ok(unsafe { StoredRows::of_reads(place, shape) });
        }
        let pitch = check_rows(rows, (y, self.y_len), (y_pitch, self.y_pitch))?;
        let y = Place::new(self.y, y_storage, pitch);
        // SAFETY: the rows lie within x and y and do not overlap, as has been checked, and the invariant. One buffer has one type.
        Ok(unsafe { StoredRows::from_places(place, y, shape) })
    }
    /// All elements, which are `len` and contiguous.
    pub(crate) fn span(self, len: usize) -> Result<Span<'a>, Error> {
        self.check_f32(FORWARD)?;
        self.check_contiguous(["x_pitch", "y_pitch"])?;
        check_length("x", self.x_len, len)?;
        check_length("y", self.y_len, len)?;
        // SAFETY: both are `len` f32 long, and the invariant.
        Ok(unsafe { Span::from_pointers(self.x.cast(), self.y.cast(), len) })
    }

    /// All elements, which are as many in x as in y and contiguous.
    pub(crate) fn whole(self) -> Result<Span<'a>, Error> {
        let len = self.x_len;
        self.span(len)
    }

    /// Returns an error where there is a pitch.
    fn check_contiguous(&self, names: [&'static str; 2]) -> Result<(), Error> {
        let mut pitches = names.into_iter().zip([self.x_pitch, self.y_pitch]);
        match pitches.find(|(_, pitch)| pitch.is_some()) {
            Some((arg, _)) => Err(Error::Unsupported { arg }),
            None => Ok(()),
        }
    }

    /// Rows of a shape, at any pitch.
    #[inline]
    pub(crate) fn rows(&mut self, rows: Rows) -> Result<RowSpan<'_>, Error> {
        self.check_writes(rows)?;
        self.rows_named(rows, FORWARD)
    }

    /// The same where x and y are f32, contiguous and of the right lengths. `None`: they are not, or something is wrong, which
    /// [`rows`](Self::rows) says.
    #[inline(always)]
    pub(crate) fn usual_rows(&mut self, rows: Rows) -> Option<RowSpan<'_>> {
        let (of_x, of_y, cols) = (self.x.cast(), self.y.cast(), rows.cols());
        let is_usual = self.storage == [Storage::F32; 2]
            && self.x_pitch.is_none()
            && self.y_pitch.is_none()
            && !self.reads_only
            && self.x_len == rows.elements()
            && self.y_len == rows.elements();
        // SAFETY: the rows lie within x and y and do not overlap, as has been checked, and the invariant.
        is_usual.then(|| unsafe {
            RowSpan::from_pointers((of_x, cols), (of_y, cols), (rows.rows(), cols))
        })
    }

    /// The same, each at one stride.
    #[inline]
    pub(crate) fn plain_rows(self, rows: Rows) -> Result<RowSpan<'a>, Error> {
        self.check_writes(rows)?;
        self.plain_rows_named(rows, FORWARD)
    }

    /// Rows of the gradient of y, and of that of x if it is written, at any pitch.
    pub(crate) fn gradient_rows(&mut self, rows: Rows) -> Result<RowSpan<'_>, Error> {
        self.rows_named(rows, BACKWARD)
    }

    /// The same, each at one stride.
    pub(crate) fn plain_gradient_rows(self, rows: Rows) -> Result<RowSpan<'a>, Error> {
        self.plain_rows_named(rows, BACKWARD)
    }

    /// The same, which are contiguous.
    pub(crate) fn gradient_planes(self, planes: Rows) -> Result<RowSpan<'a>, Error> {
        self.check_contiguous(["dy_pitch", "dx_pitch"])?;
        self.plain_gradient_rows(planes)
    }

    /// Rows of an output that is read too. Errors use these names for the buffer and its pitch.
    pub(crate) fn rows_in_place(
        &mut self,
        rows: Rows,
        names: (&'static str, &'static str),
    ) -> Result<RowSpan<'_>, Error> {
        self.rows_named(rows, [names; 2])
    }

    #[inline]
    fn rows_named(
        &mut self,
        rows: Rows,
        names: [(&'static str, &'static str); 2],
    ) -> Result<RowSpan<'_>, Error> {
        self.pitches = self.check_rows(rows, names)?;
        let (x, y) = (self.x.cast(), self.y_or_null().cast());
        let shape = (rows.rows(), rows.cols());
        // SAFETY: the rows lie within x and y and do not overlap, as has been checked, and the invariant.
        Ok(unsafe { RowSpan::at_pitches(x, y, &self.pitches, shape) })
    }

    #[inline]
    fn plain_rows_named(
        self,
        rows: Rows,
        names: [(&'static str, &'static str); 2],
    ) -> Result<RowSpan<'a>, Error> {
        let [x_pitch, y_pitch] = self.check_rows(rows, names)?;
        let [(_, of_x), (_, of_y)] = names;
        let x = (self.x.cast(), x_pitch.single(of_x)?);
        let y = (self.y_or_null().cast(), y_pitch.single(of_y)?);
        // SAFETY: as of `rows_named`.
        Ok(unsafe { RowSpan::from_pointers(x, y, (rows.rows(), rows.cols())) })
    }

    /// Checks that x and y are rows of f32, and returns their pitches. Without a y, it has none that counts.
    #[inline(always)]
    fn check_rows(
        &self,
        rows: Rows,
        names: [(&'static str, &'static str); 2],
    ) -> Result<[Pitch; 2], Error> {
        self.check_f32(names)?;
        let [(x, x_pitch), (y, y_pitch)] = names;
        let of_x = check_rows(rows, (x, self.x_len), (x_pitch, self.x_pitch))?;
        if self.reads_only {
            return Ok([of_x, 0.into()]);
        }
        Ok([of_x, check_rows(rows, (y, self.y_len), (y_pitch, self.y_pitch))?])
    }

    /// Returns an error where there is no y and a forward pass would write to it.
    #[inline(always)]
    fn check_writes(&self, rows: Rows) -> Result<(), Error> {
        if self.reads_only { check_length("y", 0, rows.elements()) } else { Ok(()) }
    }

    /// y, if there is one.
    #[inline(always)]
    fn y_or_null(&self) -> *mut u8 {
        if self.reads_only { core::ptr::null_mut() } else { self.y }
    }
}
