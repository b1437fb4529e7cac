//! The C ABI, called from Rust: the bits of the Rust operations, a status for everything that C can get wrong, and nothing
//! written then. `tests/c/` calls it from C.
#![expect(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "the one duty is C's: each buffer has as many elements as its length says"
)]

mod environment;
mod out_of_memory;
mod refused;
mod same_bits;

use std::ffi::CStr;

use evenkeel::capi::{evenkeel_last_error_message, evenkeel_moments};
use evenkeel::{Rows, Stream};

const SHAPES: [(usize, usize); 6] = [(1, 1), (3, 7), (5, 64), (17, 100), (4, 2049), (300, 768)];
const EPS: f64 = 1e-5;
const P: f64 = 0.3;
const STREAM: Stream = Stream { seed: 7, offset: 5 };
/// What outputs hold before a call.
const BEFORE: f32 = -77.25;

/// Data of several magnitudes, with subnormal numbers and rows far off their mean.
struct Data {
    rows: Rows,
    x: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl Data {
    fn new((rows, cols): (usize, usize)) -> Self {
        let x = |i: usize| {
            let noise = (i.wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32 / 65536.0 - 0.5;
            match i / cols % 4 {
                0 => noise,
                1 => noise + 1e4,
                2 => noise * 1e-40,
                _ => noise * 1e-19,
            }
        };
        Self {
            rows: Rows::new(rows, cols).unwrap(),
            x: (0..rows * cols).map(x).collect(),
            gamma: (0..cols).map(|c| 1.0 + c as f32 / 64.0).collect(),
            beta: (0..cols).map(|c| 0.5 - c as f32 / 32.0).collect(),
        }
    }

    fn y(&self) -> Vec<f32> {
        vec![BEFORE; self.x.len()]
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn message() -> String {
    // SAFETY: a C string that lives until the next fault of this thread.
    unsafe { CStr::from_ptr(evenkeel_last_error_message()) }.to_str().unwrap().to_owned()
}

/// The moments of no values.
const NOTHING: evenkeel_moments = evenkeel_moments { count: 0, mean: 0.0, mean_low: 0.0, m2: 0.0 };
