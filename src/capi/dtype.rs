//! The types of the elements of C's buffers.
#![forbid(unsafe_code)]

/// The type of the elements of a buffer.
pub type evenkeel_dtype = u32;
/// None: the buffer is absent, and all its members are 0.
pub const EVENKEEL_NONE: evenkeel_dtype = 0;
/// float
pub const EVENKEEL_F32: evenkeel_dtype = 1;
/// double
pub const EVENKEEL_F64: evenkeel_dtype = 2;
/// bfloat16: the upper 16 bits of a float, in a `uint16_t`.
pub const EVENKEEL_BF16: evenkeel_dtype = 3;
/// IEEE 754 binary16: `_Float16`, or its bits in a `uint16_t`.
pub const EVENKEEL_F16: evenkeel_dtype = 4;
/// `uint8_t`, eight flags in each, the least significant bit first: len counts bytes. Bits beyond the last flag are written as 0
/// and not looked at.
pub const EVENKEEL_BITS: evenkeel_dtype = 8;
/// `uint8_t`, a flag in each, which is not 0 where it is set, and written as 0 or 1; or the bytes of a scaler's state.
pub const EVENKEEL_BYTES: evenkeel_dtype = 9;
/// `size_t`
pub const EVENKEEL_SIZE: evenkeel_dtype = 10;
/// `evenkeel_moments`
pub const EVENKEEL_MOMENTS: evenkeel_dtype = 11;

/// Sets of types.
pub(super) const F32: u32 = 1 << EVENKEEL_F32;
/// What elements are stored as.
pub(super) const FLOATS: u32 = F32 | 1 << EVENKEEL_BF16 | 1 << EVENKEEL_F16;
pub(super) const F64: u32 = 1 << EVENKEEL_F64;
pub(super) const BYTES: u32 = 1 << EVENKEEL_BYTES;
pub(super) const FLAGS: u32 = 1 << EVENKEEL_BITS | 1 << EVENKEEL_BYTES;
pub(super) const SIZE: u32 = 1 << EVENKEEL_SIZE;
pub(super) const MOMENTS: u32 = 1 << EVENKEEL_MOMENTS;

/// By type: its name, the bytes of an element, and its alignment.
pub(super) const TYPES: [(&str, usize, usize); 12] = {
    const NONE: (&str, usize, usize) = ("", 1, 1);
    const WORD: usize = align_of::<usize>();
    let mut types = [NONE; 12];
    types[EVENKEEL_F32 as usize] = ("EVENKEEL_F32", 4, 4);
    types[EVENKEEL_F64 as usize] = ("EVENKEEL_F64", 8, align_of::<f64>());
    types[EVENKEEL_BF16 as usize] = ("EVENKEEL_BF16", 2, 2);
    types[EVENKEEL_F16 as usize] = ("EVENKEEL_F16", 2, 2);
    types[EVENKEEL_BITS as usize] = ("EVENKEEL_BITS", 1, 1);
    types[EVENKEEL_BYTES as usize] = ("EVENKEEL_BYTES", 1, 1);
    types[EVENKEEL_SIZE as usize] = ("EVENKEEL_SIZE", size_of::<usize>(), WORD);
    types[EVENKEEL_MOMENTS as usize] = ("EVENKEEL_MOMENTS", 32, align_of::<u64>());
    types
};

/// The names of a set of types.
pub(super) fn type_names(set: u32) -> String {
    let names = TYPES.iter().enumerate().filter(|(dtype, _)| set >> dtype & 1 != 0);
    names.map(|(_, (name, ..))| *name).collect::<Vec<_>>().join(" or ")
}
