//! The proof: every operation on every backend against the scalar reference, and the laws.
//!
//! `common.rs` holds what all of it shares: lengths, data sets, tolerances, backends. A backend that
//! this CPU lacks is named on stderr; with `EVENKEEL_REQUIRE_BACKENDS=avx2,avx512` (or `all`) in the
//! environment it is a failure instead.
#![expect(unreachable_pub, reason = "the modules of a test have no outside")]

mod autograd;
mod channels;
mod column_gradient_laws;
mod column_gradients;
mod columns;
mod common;
mod complete;
mod dropout;
mod dropout_units;
mod dropped_norms;
mod edges;
mod empty;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod environment;
mod exact;
mod f32_statistics;
mod gate_gradients;
mod gates;
mod golden;
#[cfg(feature = "half")]
mod golden_half;
mod golden_operations;
mod gradient_laws;
mod gradients;
#[cfg(target_os = "linux")]
mod guard;
#[cfg(feature = "half")]
mod half;
mod hard_data;
mod laws;
mod masks;
mod moments;
mod nested;
mod nist;
mod operations;
mod padding;
mod parallel;
mod places;
mod pools;
mod randomness;
#[path = "../registry/mod.rs"]
#[expect(dead_code, reason = "each test uses a part of it")]
mod registry;
mod regularizer;
mod running;
mod scalers;
mod search;
mod special_values;
mod state;
mod stores;
mod variants;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[test]
fn environment() {
    common::skipped("floating-point environments", "set on x86-64 and aarch64 only");
}

#[cfg(not(target_os = "linux"))]
#[test]
fn guard() {
    common::skipped("guard pages", "made by calls of Linux");
}
