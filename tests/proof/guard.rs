//! Law: nothing beyond a buffer is read or written.
//!
//! Every buffer of every operation lies in pages of its own between two that cannot be touched: it begins where the
//! pages begin, ends where they end, or lies any number of elements off. Inputs are in pages that
//! cannot be written to. Outputs have painted bytes around them, which the test compares after each
//! call. An access beyond the pages ends the process, after a line on stderr that names the call.
#![expect(unsafe_code, reason = "pages are mapped by the operating system")]

use std::io::{self, Read};
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};
use std::sync::{Mutex, Once};
use std::{mem, ptr, slice};

use std::collections::BTreeMap;

use evenkeel::{Dropout, Moments, Stores, Stream};

use crate::common::*;
use crate::registry::{
    Bag, Buffer, Kind, OPERATIONS, Operation, PAINT as BLANK, Place as Lies, Role, Setting, Slice,
    Stored, Takes, Values, is_painted,
};

/// How many rows of every length there are beside one: groups of two and of sixteen, and what does not fill them.
const COUNTS: [usize; 7] = [2, 3, 4, 5, 16, 17, 33];

/// Other shapes: no rows, columns of several blocks, several panels of columns, rows of several blocks, together and
/// one by one, and work that is shared between threads.
const SHAPES: [(usize, usize); 10] = [
    (0, 7),
    (20_003, 1),
    (8195, 2),
    (1000, 9),
    (200, 65),
    (130, 257),
    (5, 2047),
    (3, 2049),
    (2, 5000),
    (193, 1025),
];

/// Few rows of every length.
fn few_rows() -> impl Iterator<Item = (usize, usize)> {
    COUNTS.into_iter().flat_map(|count| edges().map(move |cols| (count, cols)))
}

/// Every number of rows of few columns.
fn few_columns() -> impl Iterator<Item = (usize, usize)> {
    let columns = [1, 2, 3, 4, 5, 16, 17].into_iter();
    columns.flat_map(|cols| edges().map(move |count| (count, cols)))
}

/// Bytes on both sides of a buffer that the test compares: six vectors of f32. A write further off hits the end of the pages in
/// another arrangement.
const MARGIN: usize = 6 * LANES * size_of::<f32>();
const PAINT: [u8; MARGIN] = [0xa5; MARGIN];

/// Where a buffer lies in its pages: so many elements after their beginning, or before their end.
#[derive(Clone, Copy, Debug)]
enum Place {
    AfterBeginning(usize),
    BeforeEnd(usize),
}

const ENDS: [fn(usize) -> Place; 2] = [Place::AfterBeginning, Place::BeforeEnd];

fn page() -> usize {
    // SAFETY: nothing is handed over.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("the size of a page")
}

/// Pages between two that cannot be touched, and a buffer in them.
struct Guarded<T> {
    pages: *mut u8,
    bytes: usize,
    start: usize,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Copy> Guarded<T> {
    /// Pages for a buffer of `len` elements and [`MARGIN`].
    fn new(len: usize) -> Self {
        // As many elements aside as a vector of f32 has, of whatever size.
        let room = MARGIN.max(16 * size_of::<T>());
        let bytes = (len * size_of::<T>() + room).next_multiple_of(page());
        let (all, flags) = (bytes + 2 * page(), libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new pages, none of which can be touched.
        let first = unsafe { libc::mmap(ptr::null_mut(), all, libc::PROT_NONE, flags, -1, 0) };
        assert!(first != libc::MAP_FAILED, "{}", io::Error::last_os_error());
        let pages = first.cast::<u8>().wrapping_add(page());
        let mut guarded = Self { pages, bytes, start: 0, len, element: PhantomData };
        guarded.allow(libc::PROT_READ | libc::PROT_WRITE);
        guarded
    }

    /// Allows to read, or to write too.
    fn allow(&mut self, access: i32) {
        // SAFETY: pages of this buffer, to which there are no references now.
        let result = unsafe { libc::mprotect(self.pages.cast(), self.bytes, access) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    /// Puts the buffer somewhere, and paint around it.
    fn place(&mut self, place: Place) {
        self.start = match place {
            Place::AfterBeginning(elements) => elements * size_of::<T>(),
            Place::BeforeEnd(elements) => self.bytes - (elements + self.len) * size_of::<T>(),
        };
        for margin in self.margins() {
            // SAFETY: within the pages, which can be written to, and beside the buffer.
            unsafe { (&mut *margin).copy_from_slice(&PAINT[..margin.len()]) };
        }
    }

    /// What is before and after the buffer, as far as pages and [`MARGIN`] go.
    fn margins(&self) -> [*mut [u8]; 2] {
        let end = self.start + self.len * size_of::<T>();
        let (before, after) = (self.start.min(MARGIN), (self.bytes - end).min(MARGIN));
        [(self.start - before, before), (end, after)]
            .map(|(at, bytes)| ptr::slice_from_raw_parts_mut(self.pages.wrapping_add(at), bytes))
    }

    fn get(&self) -> &[T] {
        // SAFETY: the pages hold the buffer, aligned, since its distance from either end is a number of elements; any
        // bits are a number.
        unsafe { slice::from_raw_parts(self.pages.add(self.start).cast(), self.len) }
    }

    fn get_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { slice::from_raw_parts_mut(self.pages.add(self.start).cast(), self.len) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        let first = self.pages.wrapping_sub(page());
        // SAFETY: what `new` has mapped.
        unsafe { libc::munmap(first.cast(), self.bytes + 2 * page()) };
    }
}

/// A buffer of any kind in pages.
enum Pages {
    F32(Guarded<f32>),
    F64(Guarded<f64>),
    U8(Guarded<u8>),
    Usize(Guarded<usize>),
    Moments(Guarded<Moments>),
}

/// Evaluates an expression with whichever buffer it is.
macro_rules! each {
    ($pages:expr, $buffer:ident => $body:expr) => {
        match $pages {
            Pages::F32($buffer) => $body,
            Pages::F64($buffer) => $body,
            Pages::U8($buffer) => $body,
            Pages::Usize($buffer) => $body,
            Pages::Moments($buffer) => $body,
        }
    };
}

impl Pages {
    fn new(kind: Kind, len: usize) -> Self {
        match kind {
            Kind::F32 => Self::F32(Guarded::new(len)),
            Kind::F64 => Self::F64(Guarded::new(len)),
            Kind::U8 => Self::U8(Guarded::new(len)),
            Kind::Usize => Self::Usize(Guarded::new(len)),
            Kind::Moments => Self::Moments(Guarded::new(len)),
        }
    }

    /// Puts the buffer somewhere, writable.
    fn place(&mut self, place: Place) {
        each!(self, buffer => {
            buffer.allow(libc::PROT_READ | libc::PROT_WRITE);
            buffer.place(place);
        });
    }

    fn fill(&mut self, values: &Stored) {
        match (self, values) {
            (Self::F32(buffer), Stored::F32(values)) => buffer.get_mut().copy_from_slice(values),
            (Self::F64(buffer), Stored::F64(values)) => buffer.get_mut().copy_from_slice(values),
            (Self::U8(buffer), Stored::U8(values)) => buffer.get_mut().copy_from_slice(values),
            (Self::Usize(buffer), Stored::Usize(values)) => {
                buffer.get_mut().copy_from_slice(values);
            }
            (Self::Moments(buffer), Stored::Moments(values)) => {
                buffer.get_mut().copy_from_slice(values);
            }
            _ => panic!("values of another kind"),
        }
    }

    fn protect(&mut self) {
        each!(self, buffer => buffer.allow(libc::PROT_READ));
    }

    fn margins(&self) -> [*mut [u8]; 2] {
        each!(self, buffer => buffer.margins())
    }

    fn read(&self) -> Slice<'_> {
        match self {
            Self::F32(buffer) => Slice::F32(buffer.get()),
            Self::F64(buffer) => Slice::F64(buffer.get()),
            Self::U8(buffer) => Slice::U8(buffer.get()),
            Self::Usize(buffer) => Slice::Usize(buffer.get()),
            Self::Moments(buffer) => Slice::Moments(buffer.get()),
        }
    }

    fn write(&mut self) -> Slice<'_> {
        match self {
            Self::F32(buffer) => Slice::F32Mut(buffer.get_mut()),
            Self::F64(buffer) => Slice::F64Mut(buffer.get_mut()),
            Self::U8(buffer) => Slice::U8Mut(buffer.get_mut()),
            Self::Usize(_) => panic!("no operation writes counts"),
            Self::Moments(buffer) => Slice::MomentsMut(buffer.get_mut()),
        }
    }
}

/// The call that runs, for the handler of the signal.
struct Running<'a> {
    method: &'static str,
    case: &'a str,
}

static RUNNING: AtomicPtr<Running<'static>> = AtomicPtr::new(ptr::null_mut());

/// Names the call. The signal then comes again and finds its default action.
extern "C" fn name_the_call(_: i32) {
    // SAFETY: null, or what `watch` has on its stack.
    if let Some(running) = unsafe { RUNNING.load(Relaxed).as_ref() } {
        for text in ["\nbeyond a buffer: ", running.method, ", ", running.case, "\n"] {
            // SAFETY: the bytes of the text.
            unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
        }
    }
}

fn install_handler() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: an action is plain data, and its handler calls only what a handler may.
        let installed = unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = name_the_call as extern "C" fn(i32) as usize;
            action.sa_flags = libc::SA_ONSTACK | libc::SA_RESETHAND;
            libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut())
        };
        assert_eq!(installed, 0, "{}", io::Error::last_os_error());
    });
}

/// Runs a call under the eyes of the handler.
fn watch<R>(method: &'static str, case: &str, call: impl FnOnce() -> R) -> R {
    let running = Running { method, case };
    RUNNING.store(ptr::from_ref(&running).cast_mut().cast(), Relaxed);
    let result = call();
    RUNNING.store(ptr::null_mut(), Relaxed);
    result
}

/// Stores; whether there is gamma, and beta; the probability and the offset of dropout.
type Way = (Stores, (bool, bool), (f64, u64));

/// With probabilities of 16 and of 32 bits and at both ends, and from offsets into a group and to the end of a block.
const WAYS: [Way; 8] = [
    (Stores::Cached, (true, true), (0.5, 0)),
    (Stores::NonTemporal, (true, true), (0.5, 0)),
    (Stores::Cached, (true, false), (0.001, 5)),
    (Stores::NonTemporal, (true, false), (0.001, 5)),
    (Stores::Cached, (false, true), (0.3, 4090)),
    (Stores::NonTemporal, (false, true), (0.3, 4090)),
    (Stores::Cached, (false, false), (1.0, 0)),
    (Stores::NonTemporal, (false, false), (0.0, 0)),
];

/// Of numbers that f32 holds well, and of numbers whose squares it cannot hold.
const SCALES: [f32; 2] = [1.0, 1e35];

/// One row of every length, off the ends of the pages by any number of elements; a part of the other shapes.
#[test]
fn nothing_beyond_a_buffer_is_touched() {
    let (offsets, part) = if short() { (2, 73) } else { (LANES, 11) };
    touch_nothing_beyond(edges().map(|cols| (1, cols)), offsets, true);
    touch_nothing_beyond(few_rows().chain(few_columns()).step_by(part), 0, true);
}

// `.ci/run` has a process for each of these two: one process runs one call at a time.

#[test]
#[ignore = "takes a minute"]
fn nothing_beyond_few_rows_is_touched() {
    touch_nothing_beyond(few_rows(), 2, false);
}

#[test]
#[ignore = "takes a minute"]
fn nothing_beyond_few_columns_is_touched() {
    touch_nothing_beyond(few_columns(), 2, false);
    touch_nothing_beyond(SHAPES.into_iter(), 0, false);
}

/// Calls every operation on every backend, in every way, with data by turns, and with all of them, with buffers at the ends of their
/// pages; then `offsets` times with each buffer off by an offset of its own, in one way and with one data. With every set of
/// [`options_in_turn`], or with one of them by turns.
fn touch_nothing_beyond(
    shapes: impl Iterator<Item = (usize, usize)>,
    offsets: usize,
    every_set: bool,
) {
    // The handler knows of one call at a time.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    if reads_what_is_masked_off() {
        return skipped("guard pages", "this CPU reads what a masked load leaves out");
    }
    install_handler();
    for (turn, (count, cols)) in shapes.enumerate() {
        let (shape, random) = (rows(count, cols), &mut Random::new(turn as u64));
        let mut pages = BTreeMap::new();
        let values = SCALES.map(|scale| {
            let x = random.normals(shape.elements()).iter().map(|x| x * scale).collect();
            Values::new(shape, x, scale, random).that_train(scale)
        });
        for offset in 0..=offsets {
            let (way, data) = ((turn + offset) % WAYS.len(), turn % SCALES.len());
            let values = if offset == 0 { &values[..] } else { &values[data..=data] };
            for ((i, values), end) in
                values.iter().enumerate().flat_map(|values| ENDS.map(|end| (values, end)))
            {
                let is_in_turn = |at: usize| match offset {
                    0 => (at / 2 + i + turn).is_multiple_of(SCALES.len()),
                    _ => at == way,
                };
                let ways: Vec<Way> =
                    (0..WAYS.len()).filter(|&at| is_in_turn(at)).map(|at| WAYS[at]).collect();
                let mut buffer = 0;
                let mut place = || {
                    buffer += turn;
                    end(if offset == 0 { 0 } else { (offset + buffer) % LANES })
                };
                let mut turns = turn + offset;
                for (number, operation) in OPERATIONS.iter().enumerate() {
                    let sets = options_in_turn(operation, turn);
                    let one = (turn + offset + number) % sets.len();
                    for (_, options) in
                        sets.into_iter().enumerate().filter(|(set, _)| every_set || *set == one)
                    {
                        // Each time x and y lie in another way.
                        turns += 1;
                        let lies = operation.places()[turns % operation.places().len()];
                        let call = Guard { operation, options: &options, values, lies };
                        call.run(&mut pages, &mut place, &ways);
                    }
                }
            }
        }
    }
}

/// No option, one by itself, another one each turn, and as many as go together.
fn options_in_turn(operation: &Operation, turn: usize) -> Vec<Vec<&'static str>> {
    let mut sets = operation.option_sets();
    let all = sets.pop();
    sets.retain(|set| set.len() == 1);
    let one = (!sets.is_empty()).then(|| sets.swap_remove(turn % sets.len()));
    let mut sets: Vec<_> = [Some(Vec::new()), one, all].into_iter().flatten().collect();
    sets.dedup();
    sets
}

/// Pages by the name and the length of their buffer.
type AllPages = BTreeMap<(&'static str, usize), Pages>;

/// An operation whose buffers lie in pages.
struct Guard<'a> {
    operation: &'a Operation,
    options: &'a [&'static str],
    values: &'a Values,
    lies: Lies,
}

impl Guard<'_> {
    fn run(&self, all: &mut AllPages, place: &mut impl FnMut() -> Place, ways: &[Way]) {
        for &(stores, affine, (p, offset)) in ways {
            let with_affine = [(affine.0, "gamma"), (affine.1, "beta")];
            let chosen = with_affine.into_iter().filter(|(is_there, _)| *is_there);
            let options: Vec<&'static str> =
                self.options.iter().copied().chain(chosen.map(|(_, name)| name)).collect();
            let mut taken = self.take(all, place, &options);
            for backend in backends() {
                let setting = Setting {
                    stores,
                    eps: 0.0,
                    stream: Stream { seed: 5, offset },
                    dropout: Dropout::new().with_p(p),
                    l2: p,
                    ..Setting::new(backend, self.values.rows)
                };
                let case = format!("{:?}, {options:?}, {setting:?}", self.lies);
                self.call(&mut taken, &setting, &case);
            }
            for ((buffer, len), pages) in taken.others {
                all.insert((buffer.name, len), pages);
            }
            for (name, len, pages) in taken.xy {
                all.insert((name, len), pages);
            }
        }
    }

    /// Takes the pages of every buffer, places the buffers and fills them.
    fn take(
        &self,
        all: &mut AllPages,
        place: &mut impl FnMut() -> Place,
        options: &[&'static str],
    ) -> Taken {
        let rows = self.values.rows;
        let mut take = |name, kind, len| {
            let mut pages = all.remove(&(name, len)).unwrap_or_else(|| Pages::new(kind, len));
            pages.place(place());
            pages
        };
        let mut xy = Vec::new();
        if self.operation.takes != Takes::Nothing {
            for (name, len) in
                ["x at its pitch", "y at its pitch"].into_iter().zip(self.lies.lens(rows))
            {
                xy.push((name, len, take(name, Kind::F32, len)));
            }
            xy[0].2.fill(&Stored::F32(self.wide_x()));
            xy[0].2.protect();
        }
        let mut others: Vec<((&'static Buffer, usize), Pages)> = Vec::new();
        for (buffer, len) in self.operation.present(rows, options) {
            let mut pages = take(buffer.name, buffer.kind, len);
            if buffer.role == Role::Read {
                pages.fill(&self.values.stored(buffer.value, buffer.kind, len));
                pages.protect();
            }
            others.push(((buffer, len), pages));
        }
        Taken { xy, others }
    }

    /// The rows of x at their pitch.
    fn wide_x(&self) -> Vec<f32> {
        let (rows, cols) = (self.values.rows, self.values.rows.cols());
        let ([pitch, _], [len, _]) = (self.lies.pitches(rows), self.lies.lens(rows));
        let mut wide = vec![BLANK; len];
        for r in 0..rows.rows() {
            wide[r * pitch..][..cols].copy_from_slice(&self.values.x[r * cols..][..cols]);
        }
        wide
    }

    fn call(&self, Taken { xy, others }: &mut Taken, setting: &Setting, case: &str) {
        let (rows, operation) = (self.values.rows, self.operation);
        let in_place = self.lies.in_place();
        if let [_, (_, len, y)] = &mut xy[..] {
            y.fill(&Stored::F32(if in_place { self.wide_x() } else { vec![BLANK; *len] }));
        }
        let mut margins: Vec<(&str, [*mut [u8]; 2])> = Vec::new();
        margins.extend(xy.iter().map(|(name, _, pages)| (*name, pages.margins())));
        let mut bag = Bag::default();
        for ((buffer, len), pages) in others {
            margins.push((buffer.name, pages.margins()));
            match buffer.role {
                Role::Read => bag.put(buffer.name, pages.read()),
                Role::Write => bag.put(buffer.name, pages.write()),
                Role::Update => {
                    pages.fill(&self.values.stored(buffer.value, buffer.kind, *len));
                    bag.put(buffer.name, pages.write());
                }
            }
        }
        let io = match &mut xy[..] {
            [(_, _, Pages::F32(x)), (_, _, Pages::F32(y))] => {
                Some(self.lies.io(rows, x.get(), y.get_mut()))
            }
            _ => None,
        };
        let result = watch(operation.name, case, || (operation.run)(setting, io, &mut bag));
        assert_eq!(result, Ok(()), "{}, {case}", operation.name);
        for (buffer, margins) in margins {
            for margin in margins {
                // SAFETY: within the pages of the buffer and beside it.
                let margin = unsafe { &*margin };
                let name = operation.name;
                assert!(
                    *margin == PAINT[..margin.len()],
                    "{name}, {case}: written beside {buffer}"
                );
            }
        }
        if let [_, (_, _, Pages::F32(y))] = &xy[..] {
            let [_, pitch] = self.lies.pitches(rows);
            let between =
                y.get().chunks(pitch.max(1)).flat_map(|row| &row[rows.cols().min(row.len())..]);
            let untouched = between.copied().all(is_painted);
            assert!(untouched, "{}, {case}: written between rows", operation.name);
        }
    }
}

/// The pages of a call.
struct Taken {
    /// x and y, if there are any.
    xy: Vec<(&'static str, usize, Pages)>,
    others: Vec<((&'static Buffer, usize), Pages)>,
}

/// Starts a process for a call that does nothing that may not be done after a fork.
fn in_child(call: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child does nothing but the call.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", io::Error::last_os_error());
    if child == 0 {
        call();
        // SAFETY: ends the child without the destructors of the parent.
        unsafe { libc::_exit(0) };
    }
    child
}

/// Waits for a child, and gives the signal that has ended it.
fn end_of(child: libc::pid_t) -> Option<i32> {
    let mut status = 0;
    // SAFETY: a child that nothing else waits for.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status))
}

/// Whether the CPU reads lanes that a masked load leaves out, as an emulator may that has AVX2.
#[cfg(target_arch = "x86_64")]
fn reads_what_is_masked_off() -> bool {
    use std::arch::x86_64::{_mm256_maskload_ps, _mm256_setr_epi32};
    use std::hint::black_box;

    #[target_feature(enable = "avx")]
    fn load_first(x: &f32) {
        // With a mask that it knows, the compiler loads the one lane instead.
        let first = black_box(_mm256_setr_epi32(-1, 0, 0, 0, 0, 0, 0, 0));
        // SAFETY: the mask selects one lane, which is readable.
        black_box(unsafe { _mm256_maskload_ps(x, first) });
    }
    let mut buffer = Guarded::<f32>::new(1);
    buffer.place(Place::BeforeEnd(0));
    // SAFETY: the CPU has the feature.
    let load = || unsafe { load_first(&buffer.get()[0]) };
    is_x86_feature_detected!("avx2") && end_of(in_child(load)).is_some()
}

#[cfg(not(target_arch = "x86_64"))]
fn reads_what_is_masked_off() -> bool {
    false
}

/// Otherwise nothing would be proved: an access beyond a buffer, or a write to an input, ends the process (here a child), and the
/// message names the call.
#[test]
fn a_touch_beyond_a_buffer_ends_the_process() {
    install_handler();
    let mut buffer = Guarded::<f32>::new(100);
    let ends: [(&'static str, Place, isize, bool); 4] = [
        ("reads before", Place::AfterBeginning(0), -1, false),
        ("reads after", Place::BeforeEnd(0), 100, false),
        ("writes after", Place::BeforeEnd(0), 100, true),
        ("writes within", Place::BeforeEnd(0), 50, true),
    ];
    for (method, place, element, writes) in ends {
        buffer.place(place);
        buffer.allow(libc::PROT_READ);
        let address = buffer.get_mut().as_mut_ptr().wrapping_offset(element);
        let (mut from_child, to_parent) = io::pipe().expect("a pipe");
        let child = in_child(|| {
            watch(method, "in a child", || {
                // SAFETY: none: it is to end the child.
                unsafe {
                    libc::dup2(to_parent.as_raw_fd(), libc::STDERR_FILENO);
                    if writes {
                        address.write_volatile(1.0)
                    } else {
                        let _ = address.read_volatile();
                    }
                }
            })
        });
        drop(to_parent);
        let mut said = String::new();
        from_child.read_to_string(&mut said).expect("what the child says");
        assert_eq!(end_of(child), Some(libc::SIGSEGV), "{method}");
        // An emulator may add a line.
        let named = format!("\nbeyond a buffer: {method}, in a child\n");
        assert!(said.starts_with(&named), "expected {named:?}, got {said:?}");
        buffer.allow(libc::PROT_READ | libc::PROT_WRITE);
    }
}
