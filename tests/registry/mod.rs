//! Every operation of the crate, once: its name, its buffers, its options and its call.
//!
//! A test that is about all operations is one loop over [`OPERATIONS`]: bad arguments, guard pages, allocation, places,
//! threads, backends, floating-point environments, golden bits. `proof/complete.rs` compares the names with the sources, so that an
//! operation or an argument that is left out fails a test. To add one, add a row to a file of `operations/`.
#![expect(unsafe_code, reason = "as an engine hands out memory that it has not initialised")]

mod memory;
mod operations;
mod random;
mod short;
mod values;

use std::mem::MaybeUninit;

use evenkeel::{
    Backend, BatchNorm, Dropout, Error, InOut, Moments, Parallelism, Rows, Stores, Stream,
};

pub use memory::{Memory, PAINT, Stored, is_painted};
pub use operations::{ARGUMENTS, Argument, OPERATIONS};
pub use random::Random;
pub use short::short;
pub use values::Values;

/// The options that nearly every normalisation has, which tests choose by themselves.
pub const AFFINE: [&str; 2] = ["gamma", "beta"];

/// The probability of dropout in norms, and its stream: in the middle of a byte, next to the end of a block.
pub const DROPOUT_P: f64 = 0.3;
pub const DROPOUT_STREAM: Stream = Stream { seed: 6, offset: 4091 };

/// A row of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// `Type::method`, and what is special after a comma.
    pub name: &'static str,
    /// What x and y are.
    pub takes: Takes,
    /// The other buffers.
    pub buffers: &'static [Buffer],
    /// Options of which one rules out the other.
    pub excludes: &'static [(&'static str, &'static str)],
    /// Options that need one of others.
    pub needs: &'static [(&'static str, &'static [&'static str])],
    /// The call. What is optional is there if the bag has it.
    pub run: fn(&Setting, Option<InOut<'_, '_>>, &mut Bag<'_>) -> Result<(), Error>,
}

/// What an operation does with x and y, which have the elements of the shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Rows, at any pitch.
    Rows,
    /// Elements, which are contiguous.
    Elements,
    /// x and y are among the buffers, or there are none.
    Nothing,
}

/// A buffer beside x and y.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// Its name in the bag.
    pub name: &'static str,
    /// Its name in errors.
    pub arg: &'static str,
    pub kind: Kind,
    pub role: Role,
    /// Where its values come from.
    pub value: &'static str,
    /// How long it is; `None` where the shape has none.
    pub len: fn(Rows) -> Option<usize>,
    /// The option that it belongs to; empty if it is always there.
    pub option: &'static str,
    /// Whether it may be longer.
    pub at_least: bool,
}

/// The type of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    F32,
    F64,
    U8,
    Usize,
    Moments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Read,
    Write,
    Update,
}

impl Buffer {
    const fn new(
        name: &'static str,
        kind: Kind,
        role: Role,
        len: fn(Rows) -> Option<usize>,
    ) -> Self {
        Self { name, arg: name, kind, role, value: name, len, option: "", at_least: false }
    }

    /// With the values of another name.
    const fn from(mut self, value: &'static str) -> Self {
        self.value = value;
        self
    }

    /// That errors call otherwise.
    const fn called(mut self, arg: &'static str) -> Self {
        self.arg = arg;
        self
    }

    /// That may be longer.
    const fn at_least(mut self) -> Self {
        self.at_least = true;
        self
    }

    /// There where the option is chosen.
    const fn option(mut self, option: &'static str) -> Self {
        self.option = option;
        self
    }
}

/// Where x and y lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "as the constructors of InOut are called")]
pub enum Place {
    New,
    InPlace,
    Uninit,
    Strided,
    StridedInPlace,
    StridedUninit,
}

impl Place {
    pub const ALL: [Self; 6] = [
        Self::New,
        Self::InPlace,
        Self::Uninit,
        Self::Strided,
        Self::StridedInPlace,
        Self::StridedUninit,
    ];

    pub fn in_place(self) -> bool {
        matches!(self, Self::InPlace | Self::StridedInPlace)
    }

    /// The pitches of x and y.
    pub fn pitches(self, rows: Rows) -> [usize; 2] {
        let (cols, wide) = (rows.cols(), rows.cols() + 5);
        match self {
            Self::New | Self::InPlace | Self::Uninit => [cols, cols],
            Self::Strided => [wide, cols + 2],
            Self::StridedInPlace => [wide, wide],
            Self::StridedUninit => [wide, cols],
        }
    }

    /// The elements of x and y, from the first of the first row to the last of the last.
    pub fn lens(self, rows: Rows) -> [usize; 2] {
        self.pitches(rows).map(|pitch| match rows.rows() {
            0 => 0,
            count => (count - 1) * pitch + rows.cols(),
        })
    }

    /// Where a call reads and writes. In place, x is not looked at.
    pub fn io<'x, 'y>(self, rows: Rows, x: &'x [f32], y: &'y mut [f32]) -> InOut<'x, 'y>
    where
        'y: 'x,
    {
        let [x_pitch, y_pitch] = self.pitches(rows);
        match self {
            Self::New => InOut::new(x, y),
            Self::InPlace => InOut::in_place(y),
            Self::Uninit => InOut::uninit(x, uninit(y)),
            Self::Strided => InOut::strided(x, x_pitch, y, y_pitch),
            Self::StridedInPlace => InOut::strided_in_place(y, y_pitch),
            Self::StridedUninit => InOut::strided_uninit(x, x_pitch, uninit(y)),
        }
    }
}

/// As an engine hands out memory.
pub fn uninit(y: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    let y: *mut [f32] = y;
    // SAFETY: the layout is the same, and the operations write nothing but numbers to it.
    unsafe { &mut *(y as *mut [MaybeUninit<f32>]) }
}

/// Columns of a group: several groups fill a row, if there can be so many.
pub fn group_size(rows: Rows) -> usize {
    let cols = rows.cols();
    (2..=cols.min(1 << 12))
        .find(|groups| cols.is_multiple_of(*groups))
        .map_or(1, |groups| cols / groups)
}

/// How operations are configured.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub backend: Backend,
    pub parallelism: Parallelism,
    pub stores: Stores,
    pub rows: Rows,
    pub eps: f64,
    pub stream: Stream,
    pub dropout: Dropout,
    pub batch_norm: BatchNorm,
    pub l1: f64,
    pub l2: f64,
    /// The learning rate, or the step.
    pub rate: f64,
}

impl Setting {
    pub fn new(backend: Backend, rows: Rows) -> Self {
        Self {
            backend,
            parallelism: Parallelism::Auto,
            stores: Stores::Auto,
            rows,
            eps: 1e-5,
            stream: Stream { seed: 5, offset: 0 },
            dropout: Dropout::new(),
            batch_norm: BatchNorm::new(),
            l1: 0.01,
            l2: 0.5,
            rate: 0.1,
        }
    }
}

/// The buffers of a call, by name. A call takes each of them out.
#[derive(Debug, Default)]
pub struct Bag<'a>(Vec<(&'static str, Slice<'a>)>);

/// A buffer of any kind.
#[derive(Debug)]
pub enum Slice<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    U8(&'a [u8]),
    Usize(&'a [usize]),
    F32Mut(&'a mut [f32]),
    F64Mut(&'a mut [f64]),
    U8Mut(&'a mut [u8]),
    Moments(&'a [Moments]),
    MomentsMut(&'a mut [Moments]),
}

/// Methods that take a buffer out, if it is there, or for certain.
macro_rules! take {
    ($($maybe:ident $take:ident $kind:ident $slice:ty;)+) => {$(
        pub fn $maybe(&mut self, name: &str) -> Option<$slice> {
            match self.take(name)? {
                Slice::$kind(slice) => Some(slice),
                other => panic!("{name} is {other:?}"),
            }
        }
        pub fn $take(&mut self, name: &str) -> $slice {
            self.$maybe(name).unwrap_or_else(|| panic!("{name} is there"))
        }
    )+};
}

impl<'a> Bag<'a> {
    pub fn put(&mut self, name: &'static str, slice: Slice<'a>) {
        self.0.push((name, slice));
    }

    /// What has not been taken out.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }

    /// Whether statistics of this name are there, in f32.
    pub fn is_f32(&self, name: &str) -> bool {
        let is_f32 = |slice: &Slice<'_>| matches!(slice, Slice::F32(_) | Slice::F32Mut(_));
        self.0.iter().any(|(of, slice)| *of == name && is_f32(slice))
    }

    fn take(&mut self, name: &str) -> Option<Slice<'a>> {
        let place = self.0.iter().position(|(of, _)| *of == name)?;
        Some(self.0.swap_remove(place).1)
    }

    take! {
        maybe_f32 f32 F32 &'a [f32];
        maybe_f64 f64 F64 &'a [f64];
        maybe_u8 u8 U8 &'a [u8];
        maybe_usize usize Usize &'a [usize];
        maybe_f32_mut f32_mut F32Mut &'a mut [f32];
        maybe_f64_mut f64_mut F64Mut &'a mut [f64];
        maybe_u8_mut u8_mut U8Mut &'a mut [u8];
        maybe_moments moments Moments &'a [Moments];
        maybe_moments_mut moments_mut MomentsMut &'a mut [Moments];
    }
}

impl Operation {
    /// The places that x and y may have.
    pub fn places(&self) -> &'static [Place] {
        match self.takes {
            Takes::Rows => &Place::ALL,
            Takes::Elements => &Place::ALL[..3],
            Takes::Nothing => &Place::ALL[..1],
        }
    }

    /// `Type::method`.
    pub fn method(&self) -> &'static str {
        self.name.split(',').next().unwrap_or_default()
    }

    /// The options beside gamma and beta, each once.
    pub fn options(&self) -> Vec<&'static str> {
        let mut options: Vec<&str> = Vec::new();
        for buffer in self.buffers {
            let is_affine = AFFINE.contains(&buffer.option);
            if !buffer.option.is_empty() && !is_affine && !options.contains(&buffer.option) {
                options.push(buffer.option);
            }
        }
        options
    }

    /// Whether options go together.
    pub fn allows(&self, options: &[&str]) -> bool {
        let has = |option: &str| options.contains(&option);
        !self.excludes.iter().any(|(a, b)| has(a) && has(b))
            && self
                .needs
                .iter()
                .all(|(option, others)| !has(option) || others.iter().any(|o| has(o)))
    }

    /// No option, each by itself, and every two that go together in a set with as many as go with them: first the smallest set. What
    /// needs another one has it.
    pub fn option_sets(&self) -> Vec<Vec<&'static str>> {
        let options = self.options();
        let mut sets = vec![vec![]];
        for &option in &options {
            sets.extend(self.with(&[], &[option]).filter(|set| !sets.contains(set)));
        }
        for (i, &a) in options.iter().enumerate() {
            for &b in &options[..i] {
                let has_both = |set: &Vec<&str>| set.contains(&a) && set.contains(&b);
                let Some(mut set) = self.with(&[], &[a, b]).filter(|_| !sets.iter().any(has_both))
                else {
                    continue;
                };
                for &option in &options {
                    set = self.with(&set, &[option]).unwrap_or(set);
                }
                sets.push(set);
            }
        }
        sets.sort_by_key(Vec::len);
        sets
    }

    /// The set with these options, and what they need, if they go together.
    fn with(&self, set: &[&'static str], added: &[&'static str]) -> Option<Vec<&'static str>> {
        let mut set = set.to_vec();
        set.extend(added);
        for (option, others) in self.needs {
            if set.contains(option) && !others.iter().any(|other| set.contains(other)) {
                set.push(others[0]);
            }
        }
        set.sort_unstable();
        set.dedup();
        self.allows(&set).then_some(set)
    }

    /// The buffers that a call with these options has in this shape.
    pub fn present<'o>(
        &'o self,
        rows: Rows,
        options: &'o [&'static str],
    ) -> impl Iterator<Item = (&'static Buffer, usize)> + 'o {
        let chosen =
            move |buffer: &&Buffer| buffer.option.is_empty() || options.contains(&buffer.option);
        self.buffers
            .iter()
            .filter(chosen)
            .filter_map(move |buffer| Some((buffer, (buffer.len)(rows)?)))
    }
}
