//! The C ABI, called from Rust: the bits of the Rust operations, a status for everything that C can get wrong, and nothing
//! written then. `calls.rs` has a C call for each row of the registry; the tests loop over them. `tests/c/` calls it from C.
#![expect(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "the one duty is C's: each buffer has as many elements as its length says"
)]

mod arguments;
mod bad_input;
mod calls;
mod environment;
mod half;
mod nested;
mod others;
mod out_of_memory;
mod pool;
mod same_bits;
mod state;
mod structs;

#[path = "../registry/mod.rs"]
#[expect(dead_code, unreachable_pub, unused_imports, reason = "each test uses a part of it")]
mod registry;

use std::ffi::CStr;

use evenkeel::capi::evenkeel_last_error_message;
use evenkeel::{Backend, Rows};

use registry::{AFFINE, Operation, Place, Random, Setting, Values};

fn message() -> String {
    // SAFETY: a C string that lives until the next fault of this thread.
    unsafe { CStr::from_ptr(evenkeel_last_error_message()) }.to_str().unwrap().to_owned()
}

/// Values of several magnitudes, with subnormal numbers and rows far off their mean.
fn values((rows, cols): (usize, usize)) -> Values {
    let mut random = Random::new(11);
    let scales = [1.0, 1e4, 1e-40, 1e-19];
    let x = |i: usize| random.normal() as f32 * scales[i / cols.max(1) % 4];
    let x = (0..rows * cols).map(x).collect();
    Values::new(Rows::new(rows, cols).unwrap(), x, 1.0, &mut random)
}

fn setting(rows: Rows) -> Setting {
    Setting::new(Backend::detect(), rows)
}

/// The sets of options of an operation, gamma and beta among them.
fn option_sets(operation: &Operation) -> Vec<Vec<&'static str>> {
    let sets = operation.option_sets();
    sets.into_iter().map(|set| set.into_iter().chain(AFFINE).collect()).collect()
}

/// As many options as go together.
fn most_options(operation: &Operation) -> Vec<&'static str> {
    option_sets(operation).into_iter().max_by_key(Vec::len).unwrap()
}

/// The places of x and y of an operation that C tells apart.
fn places(operation: &Operation) -> impl Iterator<Item = Place> {
    operation.places().iter().copied()
}
