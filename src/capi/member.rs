//! What a buffer of a structure may be.
#![forbid(unsafe_code)]

use super::dtype::{EVENKEEL_F64, EVENKEEL_MOMENTS, F64, TYPES, evenkeel_dtype};

/// What a buffer of a structure may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) offset: usize,
    /// The set of types.
    pub(super) types: u32,
    pub(super) output: bool,
    pub(super) required: bool,
    pub(super) pitched: bool,
    /// The offset of the input that it may be, exactly.
    pub(super) may_be: usize,
    /// The type that it usually has, and the logarithm of the size and the alignment of its elements.
    pub(super) plain: evenkeel_dtype,
    pub(super) plain_shift: u32,
}

/// A buffer that is read.
pub(super) const fn read(types: u32) -> Member {
    let plain = if types & F64 != 0 { EVENKEEL_F64 } else { types.trailing_zeros() };
    let (_, size, align) = TYPES[plain as usize];
    assert!(size == align || plain == EVENKEEL_MOMENTS, "one number says both");
    Member {
        name: "",
        offset: 0,
        types,
        output: false,
        required: false,
        pitched: false,
        may_be: usize::MAX,
        // Aligned by 32 or not, moments are looked up.
        plain,
        plain_shift: size.trailing_zeros(),
    }
}

/// A buffer that is written.
pub(super) const fn write(types: u32) -> Member {
    Member { output: true, ..read(types) }
}

impl Member {
    /// Of this name, at this offset.
    pub(super) const fn at(self, name: &'static str, offset: usize) -> Self {
        Self { name, offset, ..self }
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    pub(super) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    pub(super) const fn pitched(self) -> Self {
        Self { pitched: true, ..self }
    }

    pub(super) const fn may_be(self, offset: usize) -> Self {
        Self { may_be: offset, ..self }
    }
}
