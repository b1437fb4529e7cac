//! What a C call is passed: copies of the registry's buffers, with room on either side, and structures that may be wrong.

use std::ptr::{null, null_mut};

use evenkeel::Moments;
use evenkeel::capi::*;

use crate::registry::{Kind, Memory, Operation, Role, Setting, Stored, Takes};

/// Bytes on either side of a buffer, for what is misaligned or overlaps.
const MARGIN: usize = 32;

/// The memory of a buffer.
#[derive(Clone)]
pub(crate) struct Own {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) kind: Kind,
    pub(crate) words: Vec<u64>,
    len: usize,
}

/// A buffer as it is passed.
#[derive(Clone, Copy)]
pub(crate) struct Given {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) buffer: evenkeel_output,
    pub(crate) size: usize,
    pub(crate) at_least: bool,
    pub(crate) optional: bool,
}

impl Own {
    fn new<T: Copy>(name: &'static str, role: Role, kind: Kind, values: &[T]) -> Self {
        let mut words = vec![0_u64; size_of_val(values).div_ceil(8) + 2 * MARGIN / 8];
        unsafe {
            let to = words.as_mut_ptr().cast::<u8>().add(MARGIN).cast();
            values.as_ptr().copy_to(to, values.len());
        }
        Self { name, role, kind, words, len: values.len() }
    }

    fn of(name: &'static str, role: Role, stored: &Stored) -> Self {
        match stored {
            Stored::F32(x) => Self::new(name, role, Kind::F32, x),
            Stored::F64(x) => Self::new(name, role, Kind::F64, x),
            Stored::U8(x) => Self::new(name, role, Kind::U8, x),
            Stored::Usize(x) => Self::new(name, role, Kind::Usize, x),
            Stored::Moments(x) => Self::new(name, role, Kind::Moments, x),
        }
    }

    /// The elements, which are doubles.
    pub(crate) fn doubles(&self) -> Vec<f64> {
        self.words[MARGIN / 8..][..self.len].iter().map(|&word| f64::from_bits(word)).collect()
    }

    /// The bits of every element as the registry tells them.
    fn words(&self) -> Vec<u64> {
        unsafe fn all<T: Clone>(at: *const u8, len: usize) -> Vec<T> {
            unsafe { std::slice::from_raw_parts(at.cast(), len) }.to_vec()
        }
        unsafe {
            let at = self.words.as_ptr().cast::<u8>().add(MARGIN);
            let stored = match self.kind {
                Kind::F32 => Stored::F32(all(at, self.len)),
                Kind::F64 => Stored::F64(all(at, self.len)),
                Kind::U8 => Stored::U8(all(at, self.len)),
                Kind::Usize => Stored::Usize(all(at, self.len)),
                Kind::Moments => Stored::Moments(all::<Moments>(at, self.len)),
            };
            stored.words()
        }
    }
}

/// All memory of a call.
#[derive(Clone)]
pub(crate) struct Owned(pub(crate) Vec<Own>);

impl Owned {
    /// Copies of what the registry's call has, as C keeps it: what scalers have learnt is in buffers.
    pub(crate) fn new(operation: &Operation, memory: &Memory) -> Self {
        let mut all = Vec::new();
        if operation.takes != Takes::Nothing {
            if !memory.place.in_place() {
                all.push(Own::new("x", Role::Read, Kind::F32, &memory.x));
            }
            all.push(Own::new("y", Role::Write, Kind::F32, &memory.y));
        }
        let stored = |name| memory.others.iter().find(|(buffer, _)| buffer.name == name);
        let f64s = |name| match stored(name) {
            Some((_, Stored::F64(x))) => x.clone(),
            _ => panic!("{name} is there"),
        };
        let f32s = |name| match stored(name) {
            Some((_, Stored::F32(x))) => x.clone(),
            _ => panic!("{name} is there"),
        };
        let fits = operation.method().ends_with("fit");
        let role = if fits { Role::Update } else { Role::Read };
        let cols = memory.rows.cols();
        if operation.name.starts_with("StandardScaler") {
            let seen = if operation.method().ends_with("::fit") {
                vec![Moments::new(); cols]
            } else {
                let of = |(&mean, &m2): (&f64, &f64)| Moments {
                    count: 9,
                    mean,
                    mean_low: 0.0,
                    m2: f64::abs(m2),
                };
                f64s("col_mean").iter().zip(&f64s("col_rstd")).map(of).collect()
            };
            all.push(Own::new("moments", role, Kind::Moments, &seen));
            if fits {
                all.push(Own::new("m2_low", role, Kind::F64, &vec![0.0; cols]));
            }
        } else if operation.name.starts_with("MinMaxScaler") {
            let (min, max) = if operation.method().ends_with("::fit") {
                (vec![f32::INFINITY; cols], vec![f32::NEG_INFINITY; cols])
            } else {
                let (min, spread) = (f32s("running_mean"), f32s("running_var"));
                let max = min.iter().zip(&spread).map(|(min, spread)| min + spread).collect();
                (min, max)
            };
            all.push(Own::new("data_min", role, Kind::F32, &min));
            all.push(Own::new("data_max", role, Kind::F32, &max));
        } else if operation.name.starts_with("Moments::") {
            all.push(Own::new("moments", Role::Update, Kind::Moments, &[Moments::new()]));
        }
        for (buffer, stored) in &memory.others {
            let is_state = ["col_mean", "col_rstd", "running_mean", "running_var"]
                .contains(&buffer.name)
                && operation.name.contains("Scaler");
            if !is_state && !all.iter().any(|own| own.name == buffer.name) {
                all.push(Own::of(buffer.name, buffer.role, stored));
            }
        }
        Self(all)
    }

    /// The buffers to be passed.
    pub(crate) fn given(&mut self, operation: &Operation, memory: &Memory) -> Vec<Given> {
        let in_place = operation.takes != Takes::Nothing && memory.place.in_place();
        let pitches = memory.place.pitches(memory.rows);
        let mut given = Vec::new();
        for own in &mut self.0 {
            let of = operation.buffers.iter().find(|buffer| buffer.name == own.name);
            let bytes = own.name.contains("bytes") || operation.name.ends_with(", bytes");
            let (dtype, size) = match own.kind {
                Kind::F32 => (EVENKEEL_F32, 4),
                Kind::F64 => (EVENKEEL_F64, 8),
                Kind::U8 if bytes => (EVENKEEL_BYTES, 1),
                Kind::U8 => (EVENKEEL_BITS, 1),
                Kind::Usize => (EVENKEEL_SIZE, size_of::<usize>()),
                Kind::Moments => (EVENKEEL_MOMENTS, 32),
            };
            let is_strided = format!("{:?}", memory.place).starts_with("Strided");
            let pitch = match own.name {
                "x" if is_strided && operation.takes == Takes::Rows => pitches[0],
                "y" if is_strided && operation.takes == Takes::Rows => pitches[1],
                _ => 0,
            };
            let data = unsafe { own.words.as_mut_ptr().cast::<u8>().add(MARGIN) }.cast();
            let buffer =
                evenkeel_output { data, len: own.len, pitch, outer_pitch: 0, dtype, inner_rows: 0 };
            let at_least = of.is_some_and(|buffer| buffer.at_least);
            let optional =
                of.is_some_and(|buffer| !buffer.option.is_empty()) || own.name == "m2_low";
            let role = own.role;
            given.push(Given { name: own.name, role, buffer, size, at_least, optional });
            if own.name == "y" && in_place {
                given.insert(0, Given { name: "x", role: Role::Read, ..given[given.len() - 1] });
            }
        }
        given
    }

    /// The bits of everything that the registry's call writes, in its order, as `Memory::written` has them.
    pub(crate) fn written(&self, memory: &Memory) -> Vec<u64> {
        let own = |name| self.0.iter().find(|own| own.name == name);
        let mut after = memory.clone();
        if let Some(y) = own("y") {
            let at = unsafe { y.words.as_ptr().cast::<u8>().add(MARGIN).cast() };
            after.y.copy_from_slice(unsafe { std::slice::from_raw_parts(at, y.len) });
        }
        let mut words = after.written("C");
        // The others follow; what the registry's copy holds of them is from before the call.
        let written = memory
            .others
            .iter()
            .filter(|(buffer, _)| buffer.role != Role::Read && buffer.name != "scratch");
        let others: Vec<u64> =
            written.flat_map(|(buffer, _)| own(buffer.name).unwrap().words()).collect();
        words.truncate(words.len() - others.len());
        words.extend(others);
        words
    }
}

/// How a structure is passed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pass {
    Whole,
    Null,
    Misaligned,
    /// With this size, and no byte more.
    Size(usize),
    /// Whole, with the defaults from this byte on.
    Cut(usize),
    /// With so many zeros behind it.
    Longer(usize),
    /// With a number in the last of so many bytes behind it.
    Unknown(usize),
}

/// A call of C.
pub(crate) struct Call<'a> {
    pub(crate) setting: &'a Setting,
    pub(crate) given: &'a [Given],
    pub(crate) execution: *const evenkeel_execution,
    pub(crate) pass: Pass,
    pub(crate) edit_shape: fn(&mut evenkeel_shape),
}

/// No buffer.
pub(crate) const ABSENT: evenkeel_output =
    evenkeel_output { data: null_mut(), len: 0, pitch: 0, outer_pitch: 0, dtype: 0, inner_rows: 0 };

impl<'a> Call<'a> {
    pub(crate) fn new(setting: &'a Setting, given: &'a [Given]) -> Self {
        let execution = null();
        Self { setting, given, execution, pass: Pass::Whole, edit_shape: |_| () }
    }

    /// An output by its name; all zeros where it is not there.
    pub(crate) fn write(&self, name: &str) -> evenkeel_output {
        self.given.iter().find(|given| given.name == name).map_or(ABSENT, |given| given.buffer)
    }

    /// An input.
    pub(crate) fn read(&self, name: &str) -> evenkeel_input {
        let evenkeel_output { data, len, pitch, outer_pitch, dtype, inner_rows } = self.write(name);
        evenkeel_input { data, len, pitch, outer_pitch, dtype, inner_rows }
    }

    /// The first of several inputs that is there, and the steps of lengths.
    pub(crate) fn valid(&self, names: &[&str], steps: usize) -> (evenkeel_input, usize) {
        let valid = names
            .iter()
            .map(|name| self.read(name))
            .find(|valid| valid.len | valid.dtype as usize != 0);
        let valid = valid.unwrap_or(self.read(""));
        let is_lengths = names.iter().any(|name| name.contains("lengths") || *name == "half")
            && self.given.iter().any(|given| names.contains(&given.name) && given.size == 8);
        (valid, if is_lengths { steps } else { 0 })
    }

    fn shape(&self, mut shape: evenkeel_shape) -> evenkeel_shape {
        (self.edit_shape)(&mut shape);
        shape
    }

    pub(crate) fn rows(&self) -> evenkeel_shape {
        let (rows, cols) = (self.setting.rows.rows(), self.setting.rows.cols());
        self.shape(evenkeel_shape { layout: EVENKEEL_ROWS, rows, cols, ..NO_SHAPE })
    }

    /// Each row a channel of one sample.
    pub(crate) fn first(&self) -> evenkeel_shape {
        let (channels, positions) = (self.setting.rows.rows(), self.setting.rows.cols());
        let layout = EVENKEEL_CHANNELS_FIRST;
        self.shape(evenkeel_shape { layout, batch: 1, channels, positions, ..NO_SHAPE })
    }

    /// Each row a position of one sample.
    pub(crate) fn last(&self) -> evenkeel_shape {
        let (positions, channels) = (self.setting.rows.rows(), self.setting.rows.cols());
        let layout = EVENKEEL_CHANNELS_LAST;
        self.shape(evenkeel_shape { layout, batch: 1, channels, positions, ..NO_SHAPE })
    }

    /// Each row the only channel of a sample.
    pub(crate) fn planes(&self) -> evenkeel_shape {
        let (batch, positions) = (self.setting.rows.rows(), self.setting.rows.cols());
        let channels = positions.min(1);
        let layout = EVENKEEL_CHANNELS_FIRST;
        self.shape(evenkeel_shape { layout, batch, channels, positions, ..NO_SHAPE })
    }

    /// Calls a function with a structure.
    pub(crate) fn pass<T: Default>(
        &self,
        function: unsafe extern "C" fn(*const T) -> evenkeel_status,
        args: T,
    ) -> evenkeel_status {
        let size = size_of::<T>();
        // As many bytes as the structure says that it has, unless no structure has so many.
        let (said, behind) = match self.pass {
            Pass::Whole => return unsafe { function(&raw const args) },
            Pass::Null => return unsafe { function(null()) },
            Pass::Cut(at) => {
                let mut cut = T::default();
                let (to, from) = ((&raw mut cut).cast::<u8>(), (&raw const args).cast::<u8>());
                unsafe { to.add(8).copy_from(from.add(8), at.min(size) - 8) };
                return unsafe { function(&raw const cut) };
            }
            Pass::Misaligned => (size, 0),
            Pass::Size(said) => (said, 0),
            Pass::Longer(behind) | Pass::Unknown(behind) => (size + behind, behind),
        };
        let mut words = vec![0_u64; said.min(1 << 16).div_ceil(8).max(1)];
        let bytes = words.as_mut_ptr().cast::<u8>();
        unsafe {
            bytes.copy_from((&raw const args).cast(), said.min(size));
            words[0] = said as u64;
            if self.pass == Pass::Unknown(behind) {
                bytes.add(size + behind - 1).write(1);
            }
            let at = bytes.add(usize::from(self.pass == Pass::Misaligned));
            function(at.cast())
        }
    }
}

const NO_SHAPE: evenkeel_shape = evenkeel_shape {
    layout: 0,
    reserved: 0,
    rows: 0,
    cols: 0,
    batch: 0,
    channels: 0,
    positions: 0,
};

impl Given {
    pub(crate) fn is_output(&self) -> bool {
        self.role != Role::Read
    }

    /// The name in messages, which is that of the structure's member.
    pub(crate) fn member(&self, operation: &Operation) -> &'static str {
        match self.name {
            "row_bits" | "row_bytes" | "row_lengths" | "half" => "valid",
            "lengths" if !operation.name.starts_with("RowMoments") => "valid",
            "bits" | "bytes" if !operation.name.starts_with("Dropout") => "valid",
            "bits" | "bytes" => "mask",
            "mask" | "mask_bytes" if !operation.name.starts_with("Dropout::mask") => "keep_mask",
            "bias" => "x_bias",
            "updated" => "residual",
            "x" if is_backward_norm(operation) => "dy",
            "y" if is_backward_norm(operation) => "dx",
            "forward_x" => "x",
            "saved_mean" => "mean",
            "saved_rstd" => "rstd",
            "add_dgamma" => "dgamma",
            "add_dbeta" => "dbeta",
            "add_dresidual" => "dresidual",
            "add_dgate" => "dgate",
            "add_dbias" => "dbias",
            "drop_mask" => "keep_mask",
            "drop_bits" => "dropout_mask",
            "row_mask" => "keep_mask",
            "column_bits" => "mask",
            "seen" => "moments",
            "row_mean" | "col_mean" => "mean",
            "row_rstd" | "col_rstd" => "rstd",
            "moments" if operation.name.starts_with("Moments::") => "into",
            name => name,
        }
    }
}

/// Whether it is a backward pass of a norm: that of dropout has x and y.
pub(crate) fn is_backward_norm(operation: &Operation) -> bool {
    operation.name.contains("::backward") && !operation.name.starts_with("Dropout")
}
