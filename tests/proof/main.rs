//! The proof: every operation on every backend against the scalar reference, and the laws.
//!
//! `common.rs` holds what all of it shares: lengths, data sets, tolerances, backends. A backend that
//! this CPU lacks is named on stderr; with `EVENKEEL_REQUIRE_BACKENDS=avx2,avx512` (or `all`) in the
//! environment it is a failure instead.

#![expect(unreachable_pub, reason = "the modules of a test have no outside")]

mod columns;
mod common;
mod dropout;
mod edges;
mod exact;
mod golden;
#[cfg(target_os = "linux")]
mod guard;
mod hard_data;
mod laws;
mod moments;
mod nist;
mod operations;
mod parallel;
mod randomness;
mod stores;

#[cfg(not(target_os = "linux"))]
#[test]
fn guard() {
    common::skipped("guard pages", "made by calls of Linux");
}
