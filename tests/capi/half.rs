//! Every operation on bf16 and f16: what f32 gives for the same numbers, rounded once.
//!
//! The numbers are multiples of 1/4, small enough that both formats hold them and every sum of three.

use ::half::{bf16, f16};
use evenkeel::capi::*;

use crate::arguments::{Call, Given, Owned};
use crate::calls::CALLS;
use crate::others::input;
use crate::registry::{Memory, OPERATIONS, Operation, Role, Stored, Values, is_painted};
use crate::*;

/// A format.
#[derive(Clone, Copy)]
struct Format {
    name: &'static str,
    dtype: evenkeel_dtype,
    narrow: fn(f32) -> u16,
}

const FORMATS: [Format; 2] = [
    Format { name: "bf16", dtype: EVENKEEL_BF16, narrow: |x| bf16::from_f32(x).to_bits() },
    Format { name: "f16", dtype: EVENKEEL_F16, narrow: |x| f16::from_f32(x).to_bits() },
];

/// The buffers that may be stored in 16 bits.
const STORED: [&str; 18] = [
    "x",
    "y",
    "gamma",
    "beta",
    "bias",
    "residual",
    "updated",
    "sum",
    "gate",
    "plus",
    "forward_x",
    "dsum",
    "dresidual",
    "add_dresidual",
    "dgate",
    "add_dgate",
    "w",
    "gradient",
];

/// Makes every number a multiple of 1/4 from -12 to 12.
fn coarse(memory: &mut Memory) {
    let others = memory.others.iter_mut().filter_map(|(buffer, stored)| match stored {
        Stored::F32(x) if !buffer.name.starts_with("running") => Some(x),
        _ => None,
    });
    for x in others.chain([&mut memory.x, &mut memory.y]) {
        for x in x.iter_mut().filter(|x| !is_painted(**x)) {
            *x = (*x * 4.0).round().clamp(-48.0, 48.0) / 4.0;
        }
    }
}

/// The buffers of a call in 16 bits, and what they are passed as.
fn narrowed(given: &[Given], format: Format, keep_f32: &[&str]) -> (Vec<Vec<u16>>, Vec<Given>) {
    let mut stores: Vec<(*mut std::ffi::c_void, Vec<u16>)> = Vec::new();
    let mut passed = given.to_vec();
    for given in &mut passed {
        let buffer = &mut given.buffer;
        if !STORED.contains(&given.name) || keep_f32.contains(&given.name) {
            continue;
        }
        assert_eq!(buffer.dtype, EVENKEEL_F32, "{}", given.name);
        // In place, x and y are one.
        let known = stores.iter().position(|(data, _)| *data == buffer.data);
        let place = known.unwrap_or_else(|| {
            let x: &[f32] = unsafe { std::slice::from_raw_parts(buffer.data.cast(), buffer.len) };
            stores.push((buffer.data, x.iter().map(|&x| (format.narrow)(x)).collect()));
            stores.len() - 1
        });
        buffer.data = stores[place].1.as_mut_ptr().cast();
        (buffer.dtype, given.size) = (format.dtype, 2);
    }
    (stores.into_iter().map(|(_, store)| store).collect(), passed)
}

/// The bits of a buffer, every NaN as one of them.
fn words(given: &Given) -> Vec<u64> {
    let (data, len) = (given.buffer.data, given.buffer.len);
    unsafe fn all<'a, T>(data: *mut std::ffi::c_void, len: usize) -> &'a [T] {
        unsafe { std::slice::from_raw_parts(data.cast(), len) }
    }
    unsafe {
        match (given.buffer.dtype, given.size) {
            (EVENKEEL_F32, _) => Stored::F32(all(data, len).to_vec()).words(),
            (EVENKEEL_F64, _) => Stored::F64(all(data, len).to_vec()).words(),
            (EVENKEEL_BF16, _) => {
                let nan = |x: &u16| if bf16::from_bits(*x).is_nan() { 0x7fc0 } else { (*x).into() };
                all::<u16>(data, len).iter().map(nan).collect()
            }
            (EVENKEEL_F16, _) => {
                let nan = |x: &u16| if f16::from_bits(*x).is_nan() { 0x7e00 } else { (*x).into() };
                all::<u16>(data, len).iter().map(nan).collect()
            }
            (_, size) => all::<u8>(data, len * size).iter().map(|&x| x.into()).collect(),
        }
    }
}

/// Calls with f32 and with a format, and compares everything that is written.
fn assert_rounded(
    (row, operation): (usize, &Operation),
    options: &[&'static str],
    (place, shape): (Place, (usize, usize)),
    format: Format,
    keep_f32: &[&str],
) {
    let values: Values = values(shape);
    let what = format!("{}, {options:?}, {place:?}, {shape:?}", operation.name);
    let what = format!("{what}, {}, all but {keep_f32:?}", format.name);
    let mut memory = Memory::new(operation, &values, place, options);
    coarse(&mut memory);
    let setting = setting(values.rows);
    let mut in_half = Owned::new(operation, &memory);
    let mut in_f32 = in_half.clone();
    let before = in_half.given(operation, &memory);
    let (_stores, passed) = narrowed(&before, format, keep_f32);
    let given = in_f32.given(operation, &memory);
    let expected = (CALLS[row].call)(&Call::new(&setting, &given));
    let status = (CALLS[row].call)(&Call::new(&setting, &passed));
    assert_eq!(status, expected, "{what}: {}", message());
    // A scale may make sums that the format does not hold: `tests/proof/half.rs` has them.
    let drops = operation.name.contains("dropped")
        || options.iter().any(|option| option.starts_with("dropout"))
            && operation.method().ends_with("::forward");
    // Moments are extended by pieces of 4096 elements.
    let in_pieces = operation.name.starts_with("Moments::") && shape.0 * shape.1 > 4096;
    if expected != EVENKEEL_OK || drops || in_pieces {
        return;
    }
    for (half, single) in passed.iter().zip(&given) {
        if half.role == Role::Read || half.name == "scratch" {
            continue;
        }
        let single = if half.buffer.dtype == format.dtype {
            let x: &[f32] =
                unsafe { std::slice::from_raw_parts(single.buffer.data.cast(), single.buffer.len) };
            let mut rounded: Vec<u16> = x.iter().map(|&x| (format.narrow)(x)).collect();
            let buffer = evenkeel_output { data: rounded.as_mut_ptr().cast(), ..half.buffer };
            words(&Given { buffer, ..*half })
        } else {
            words(single)
        };
        let got = words(half);
        if let Some(i) = (0..got.len()).find(|&i| got[i] != single[i]) {
            let (got, expected) = (got[i], single[i]);
            panic!("{what}: {}[{i}]: expected {expected:x}, got {got:x}", half.name);
        }
    }
}

#[test]
fn every_operation_gives_what_f32_gives_rounded_once() {
    for format in FORMATS {
        for (row, operation) in OPERATIONS.iter().enumerate() {
            let operation = (row, operation);
            for options in option_sets(operation.1) {
                for shape in [(5, 64), (17, 100)] {
                    assert_rounded(operation, &options, (Place::New, shape), format, &[]);
                }
            }
            for shape in [(0, 0), (1, 1), (3, 0), (4, 2049)] {
                let options = most_options(operation.1);
                assert_rounded(operation, &options, (Place::New, shape), format, &[]);
            }
            for place in places(operation.1) {
                let options = most_options(operation.1);
                assert_rounded(operation, &options, (place, (7, 64)), format, &[]);
            }
        }
    }
}

/// The arguments that may stay f32 beside x in 16 bits, and y.
#[test]
fn types_mix() {
    let mixes: [&[&str]; 4] = [
        &["gamma", "beta", "bias"],
        &["residual", "updated", "sum", "gate", "plus", "dsum", "dresidual", "dgate", "gradient"],
        &["y"],
        &["x", "forward_x", "gate"],
    ];
    for format in FORMATS {
        for (row, operation) in OPERATIONS.iter().enumerate() {
            for keep_f32 in mixes {
                let place = (Place::New, (9, 100));
                let options = most_options(operation);
                assert_rounded((row, operation), &options, place, format, keep_f32);
            }
        }
    }
}

#[test]
fn a_call_has_one_format() {
    let (x, gamma) = ([0_u16; 8], [0_u16; 4]);
    let mut y = [7_u16; 8];
    let data = y.as_mut_ptr().cast();
    let output =
        |dtype| evenkeel_output { data, len: 8, pitch: 0, outer_pitch: 0, dtype, inner_rows: 0 };
    let setting = setting(Rows::new(2, 4).unwrap());
    let shape = Call::new(&setting, &[]).rows();
    let status = |y, gamma| {
        let x = input(&x, EVENKEEL_BF16);
        let args = evenkeel_layer_norm_args { x, y, shape, gamma, ..Default::default() };
        unsafe { evenkeel_layer_norm(&args) }
    };
    assert_ne!(status(output(EVENKEEL_F16), input(&gamma, EVENKEEL_BF16)), EVENKEEL_OK);
    assert!(message().contains('y'), "{}", message());
    assert_ne!(status(output(EVENKEEL_BF16), input(&gamma, EVENKEEL_F16)), EVENKEEL_OK);
    assert!(message().contains("gamma"), "{}", message());
    assert_eq!(y, [7; 8]);
}
