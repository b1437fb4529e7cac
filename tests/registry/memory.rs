//! Memory for the buffers of a call, where it does not matter where they lie.
#![forbid(unsafe_code)]

use evenkeel::{Error, InOut, Moments, Rows};

use super::{Bag, Buffer, Kind, Operation, Place, Role, Setting, Slice, Takes, Values};

/// What no operation writes: a NaN with a payload of its own.
pub const PAINT: f32 = f32::from_bits(0xffc5_a5a5);
const PAINT_64: f64 = f64::from_bits(0xfffc_a5a5_a5a5_a5a5);
const PAINTED_BYTE: u8 = 0xa5;
const PAINTED: Moments = Moments { count: u64::MAX, ..Moments::new() };

/// A buffer of any kind.
#[derive(Clone, Debug)]
pub enum Stored {
    F32(Vec<f32>),
    F64(Vec<f64>),
    U8(Vec<u8>),
    Usize(Vec<usize>),
    Moments(Vec<Moments>),
}

impl Stored {
    /// What nothing has been written to.
    pub fn painted(kind: Kind, len: usize) -> Self {
        match kind {
            Kind::F32 => Self::F32(vec![PAINT; len]),
            Kind::F64 => Self::F64(vec![PAINT_64; len]),
            Kind::U8 => Self::U8(vec![PAINTED_BYTE; len]),
            Kind::Usize => Self::Usize(vec![usize::MAX; len]),
            Kind::Moments => Self::Moments(vec![PAINTED; len]),
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::F32(_) => Kind::F32,
            Self::F64(_) => Kind::F64,
            Self::U8(_) => Kind::U8,
            Self::Usize(_) => Kind::Usize,
            Self::Moments(_) => Kind::Moments,
        }
    }

    /// The bits of every element, a NaN as one of them.
    pub fn words(&self) -> Vec<u64> {
        let bits = |x: f32| if x.is_nan() { 0x7fc0_0000 } else { u64::from(x.to_bits()) };
        let bits64 = |x: f64| if x.is_nan() { 0x7ff8_0000_0000_0000 } else { x.to_bits() };
        match self {
            Self::F32(x) => x.iter().map(|&x| bits(x)).collect(),
            Self::F64(x) => x.iter().map(|&x| bits64(x)).collect(),
            Self::U8(x) => x.iter().map(|&x| x.into()).collect(),
            Self::Usize(x) => x.iter().map(|&x| x as u64).collect(),
            Self::Moments(x) => {
                let words =
                    |m: &Moments| [m.count, bits64(m.mean), bits64(m.mean_low), bits64(m.m2)];
                x.iter().flat_map(words).collect()
            }
        }
    }

    /// The bits of every element, as they are.
    pub fn raw(&self) -> Vec<u64> {
        match self {
            Self::F32(x) => x.iter().map(|x| x.to_bits().into()).collect(),
            Self::F64(x) => x.iter().map(|x| x.to_bits()).collect(),
            Self::U8(x) => x.iter().map(|&x| x.into()).collect(),
            Self::Usize(x) => x.iter().map(|&x| x as u64).collect(),
            Self::Moments(x) => {
                let f64s = |m: &Moments| [m.mean, m.mean_low, m.m2].map(f64::to_bits);
                x.iter().flat_map(|m| [m.count].into_iter().chain(f64s(m))).collect()
            }
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::F64(x) => x.len(),
            Self::U8(x) => x.len(),
            Self::Usize(x) => x.len(),
            Self::Moments(x) => x.len(),
        }
    }

    /// Drops elements, or adds some.
    pub fn resize(&mut self, len: usize) {
        match self {
            Self::F32(x) => x.resize(len, 0.5),
            Self::F64(x) => x.resize(len, 0.25),
            Self::U8(x) => x.resize(len, 1),
            Self::Usize(x) => x.resize(len, 0),
            Self::Moments(x) => x.resize(len, PAINTED),
        }
    }

    /// As an input.
    pub fn read(&self) -> Slice<'_> {
        match self {
            Self::F32(x) => Slice::F32(x),
            Self::F64(x) => Slice::F64(x),
            Self::U8(x) => Slice::U8(x),
            Self::Usize(x) => Slice::Usize(x),
            Self::Moments(x) => Slice::Moments(x),
        }
    }

    /// As an output.
    pub fn write(&mut self) -> Slice<'_> {
        match self {
            Self::F32(x) => Slice::F32Mut(x),
            Self::F64(x) => Slice::F64Mut(x),
            Self::U8(x) => Slice::U8Mut(x),
            Self::Usize(_) => panic!("no operation writes counts"),
            Self::Moments(x) => Slice::MomentsMut(x),
        }
    }
}

/// Whether an element is as nothing has been written to it.
pub fn is_painted(x: f32) -> bool {
    x.to_bits() == PAINT.to_bits()
}

/// The buffers of one call.
#[derive(Clone, Debug)]
pub struct Memory {
    pub place: Place,
    pub rows: Rows,
    /// In place, what was there before the call.
    pub x: Vec<f32>,
    pub y: Vec<f32>,
    pub others: Vec<(&'static Buffer, Stored)>,
}

impl Memory {
    /// Buffers with values in what is read, and paint in what is written and between rows.
    pub fn new(
        operation: &Operation,
        values: &Values,
        place: Place,
        options: &[&'static str],
    ) -> Self {
        let rows = values.rows;
        let (mut x, mut y) = (Vec::new(), Vec::new());
        if operation.takes != Takes::Nothing {
            let ([x_pitch, _], [x_len, y_len]) = (place.pitches(rows), place.lens(rows));
            (x, y) = (vec![PAINT; x_len], vec![PAINT; y_len]);
            for r in 0..rows.rows() {
                x[r * x_pitch..][..rows.cols()]
                    .copy_from_slice(&values.x[r * rows.cols()..][..rows.cols()]);
            }
            if place.in_place() {
                y.clone_from(&x);
            }
        }
        let stored = |(buffer, len): (&'static Buffer, usize)| match buffer.role {
            Role::Write => (buffer, Stored::painted(buffer.kind, len)),
            Role::Read | Role::Update => (buffer, values.stored(buffer.value, buffer.kind, len)),
        };
        let others = operation.present(rows, options).map(stored).collect();
        Self { place, rows, x, y, others }
    }

    /// Makes the call.
    pub fn call(&mut self, operation: &Operation, setting: &Setting) -> Result<(), Error> {
        let (io, mut bag) = self.arguments(operation);
        (operation.run)(setting, io, &mut bag)
    }

    /// Stores mean and rstd in f32 instead of f64. Says whether there are any.
    pub fn round_statistics(&mut self) -> bool {
        let mut any = false;
        for (buffer, stored) in &mut self.others {
            let Stored::F64(wide) = stored else { continue };
            if ["mean", "rstd"].contains(&buffer.arg) {
                *stored = Stored::F32(wide.iter().map(|&x| x as f32).collect());
                any = true;
            }
        }
        any
    }

    /// The same mean and rstd in f64.
    pub fn widen_statistics(&mut self) {
        for (buffer, stored) in &mut self.others {
            let Stored::F32(single) = stored else { continue };
            if buffer.kind == Kind::F64 {
                *stored = Stored::F64(single.iter().map(|&x| x.into()).collect());
            }
        }
    }

    /// Takes the running variances as infinite that the call makes so: it is an error where they are finite before.
    pub fn admit_overflow(&mut self, operation: &Operation, setting: &Setting) {
        let is_moved =
            |buffer: &Buffer| buffer.name == "running_var" && buffer.role == Role::Update;
        while let Some(i) = self.others.iter().position(|(buffer, _)| is_moved(buffer)) {
            let mut trial = self.clone();
            let (io, mut bag) = trial.arguments(operation);
            let result = (operation.run)(setting, io, &mut bag);
            let Err(Error::StatisticOverflow { channel, .. }) = result else { return };
            let Stored::F32(running_var) = &mut self.others[i].1 else { return };
            running_var[channel] = f32::INFINITY;
        }
    }

    /// What the call is passed.
    pub fn arguments(&mut self, operation: &Operation) -> (Option<InOut<'_, '_>>, Bag<'_>) {
        let Self { place, rows, x, y, others } = self;
        let mut bag = Bag::default();
        for (buffer, stored) in others {
            let slice = if buffer.role == Role::Read { stored.read() } else { stored.write() };
            bag.put(buffer.name, slice);
        }
        let io = (operation.takes != Takes::Nothing).then(|| place.io(*rows, x, y));
        (io, bag)
    }

    /// The bits of every buffer, as they are.
    pub fn raw(&self) -> Vec<Vec<u64>> {
        let x_and_y = [&self.x, &self.y].map(|x| Stored::F32(x.clone()).raw());
        x_and_y.into_iter().chain(self.others.iter().map(|(_, stored)| stored.raw())).collect()
    }

    /// The bits of everything that is written, each row of y without what lies between rows; and asserts that nothing is
    /// written there.
    pub fn written(&self, what: &str) -> Vec<u64> {
        let ([_, pitch], cols) = (self.place.pitches(self.rows), self.rows.cols());
        let mut words = Vec::new();
        for row in self.y.chunks(pitch.max(1)) {
            let (row, between) = row.split_at(cols.min(row.len()));
            assert!(between.iter().copied().all(is_painted), "{what}: written between rows");
            words.extend(Stored::F32(row.to_vec()).words());
        }
        let written = self.others.iter().filter(|(buffer, _)| buffer.role != Role::Read);
        // What scratch holds afterwards is nobody's business.
        let written = written.filter(|(buffer, _)| buffer.name != "scratch");
        written.for_each(|(_, stored)| words.extend(stored.words()));
        words
    }
}
