//! Every operation of the contract on every backend, bit for bit against plain scalar code.
//!
//! A check is written once and runs inside the target-feature entry of each backend, as a kernel does. The name of its
//! test ends with the backend. A test whose backend this CPU lacks prints `SKIPPED`. It fails where
//! `EVENKEEL_REQUIRE_BACKENDS` lists the backend (names with commas between them, or `all`).
//!
//! | file | checks of |
//! |---|---|
//! | `scalar.rs` | none: plain scalar code, inputs and comparisons |
//! | `loads_and_stores.rs` | loads and stores of vectors |
//! | `lane_arithmetic.rs` | arithmetic, sums and comparisons of vectors |
//! | `words.rs` | `Word` and `Keep` |
//! | `row_groups.rs`, `parts.rs` | spans and groups of rows |
//! | `rows.rs` | rows at pitches, with a second input and with terms |

mod lane_arithmetic;
mod loads_and_stores;
mod parts;
mod row_groups;
mod rows;
mod scalar;
mod words;

use std::io::Write;
use std::{env, io, thread};

use self::lane_arithmetic::{arithmetic, double_arithmetic, equal, mul_add, scale, sum, sums};
use self::loads_and_stores::{double_memory, load, load_partial, splat, store, store_partial};
use self::parts::{columns, lines, spans, streamed};
use self::row_groups::{groups, panicking, splits};
use self::rows::row_splits;
use self::scalar::panics;
use self::words::{keep, word_arithmetic, word_choices};
use super::contract::{BACKENDS, Kernel, Simd};
use super::portable::Portable;
#[cfg(target_arch = "x86_64")]
use super::x86_64::{Avx2, Avx512};

/// Runs a check on the backend of this name, inlined and as a function call, or prints that this CPU lacks it.
fn on<K: Kernel<Output = String> + Copy>(name: &str, check: K) {
    assert!(BACKENDS.contains(&name), "{name} is a backend");
    let ran = match name {
        "portable" => Some(inlined_and_outlined(Portable, check)),
        #[cfg(target_arch = "x86_64")]
        "avx2" => Avx2::detect().map(|token| inlined_and_outlined(token, check)),
        #[cfg(target_arch = "x86_64")]
        "avx512" => Avx512::detect().map(|token| inlined_and_outlined(token, check)),
        _ => None,
    };
    let Some(tokens) = ran else { return skip(name) };
    for token in tokens {
        assert!(token.ends_with(&format!("::{name}")), "{name} ran with {token}");
    }
}

fn inlined_and_outlined<S: Simd, K: Kernel<Output = String> + Copy>(
    token: S,
    check: K,
) -> [String; 2] {
    [token.vectorize(check), token.vectorize(Outlined(check))]
}

struct Outlined<K>(K);
impl<K: Kernel> Kernel for Outlined<K> {
    type Output = K::Output;
    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> K::Output {
        token.outline(self.0)
    }
}

/// Writes to stderr itself: the test harness shows the output of `eprintln!` only if a test fails.
fn skip(name: &str) {
    let required = env::var("EVENKEEL_REQUIRE_BACKENDS").unwrap_or_default();
    assert!(!lists(&required, name), "{name} is required, and this CPU lacks it");
    let test = thread::current().name().unwrap_or_default().to_owned();
    writeln!(io::stderr(), "SKIPPED: {name} (this CPU lacks it): {test}").expect("stderr");
}

/// Whether a list of required backends has this one.
fn lists(required: &str, name: &str) -> bool {
    let listed = || required.split(',').map(str::trim).filter(|listed| !listed.is_empty());
    let known = |listed| listed == "all" || BACKENDS.contains(&listed);
    assert!(listed().all(known), "{required:?} lists an unknown backend");
    listed().any(|listed| listed == "all" || listed == name)
}

#[test]
fn required_backends_are_a_list() {
    assert!(lists("all", "avx2") && lists("avx2, avx512", "avx512") && lists("avx2", "avx2"));
    assert!(!lists("", "avx2") && !lists("avx512", "avx2") && !lists("avx2,", "avx512"));
    assert!(panics(|| lists("avx51", "avx2")), "a name that is none");
}

/// A module for each check, of its name. It has one test for each backend, which runs the check for each type of lanes.
macro_rules! on_every_backend {
    ($($check:ident: $($elem:ident)+;)+) => {$(
        mod $check {
            use crate::simd::contract::{Kernel, Simd};
            #[derive(Clone, Copy)]
            struct Check;
            impl Kernel for Check {
                type Output = String;
                #[inline(always)]
                fn run<S: Simd>(self, token: S) -> String {
                    $(super::$check::<$elem, S>(token);)+
                    core::any::type_name::<S>().to_lowercase()
                }
            }
            #[test] fn portable() { super::on("portable", Check); }
            #[test] fn avx2() { super::on("avx2", Check); }
            #[test] fn avx512() { super::on("avx512", Check); }
        }
    )+};
}

on_every_backend! {
    splat: f32 f64; load: f32 f64; load_partial: f32 f64; store: f32 f64;
    store_partial: f32 f64; arithmetic: f32 f64; mul_add: f32 f64; sum: f32 f64; sums: f32 f64;
    equal: f32 f64; scale: f32; double_memory: f64; double_arithmetic: f64;
    groups: f32 f64; splits: f32 f64; row_splits: f32; spans: f32; panicking: f32 f64;
    word_arithmetic: f32; word_choices: f32; keep: f32; columns: f32 f64; lines: f32;
    streamed: f32 f64;
}
