//! What the fuzz targets share: shapes, values, buffers that notice a stray write, and the bounds.
//!
//! `README.md` beside this says how to run them.
//!
//! # Where a promised bound applies
//!
//! The docs of evenkeel promise bounds "for every finite input". This is what that means here, in one
//! place; everything else is checked without exception.
//!
//! * **Data**: a row or column without NaN or infinity. With one, it has to be NaN altogether.
//! * **gamma, beta**: finite. An element whose gamma or beta is not is only compared between backends.
//! * **Range**: an element whose exact `x_hat`, `gamma * x_hat`, beta or y is beyond [`LARGEST`] is only
//!   compared between backends: f32 ends at 3.4e38.
//! * **Subnormal outputs** can be off by the smallest subnormal of f32, [`SUBNORMAL`], however small gamma is.
//! * **eps** may be any f64 that the operations accept. `var + eps` cannot overflow: a variance of f32 data is
//!   below 1.2e77, which is nothing beside the largest f64.
//! * **Mean**: within 1e-6 standard deviations or a few roundings of f64 ([`MEAN_ROUNDING`]), whichever
//!   is more.
//! * **Given statistics** (`NormalizeScaleShift`) may be any f64; the bound applies where they are finite. Of
//!   columns, `rstd * gamma` has to be a normal f64, too, unless one of them is 0.
//! * **Running statistics** (`BatchNorm`): within what the bounds of the batch's mean and variance leave after
//!   the update rule, and one rounding to f32; where the exact ones are beyond [`LARGEST`], they are only compared
//!   between backends. Inference has bounds where the running statistics are finite.
//! * **`Moments` of streams** (`push`, `merge`): what n roundings of f64 can do to the sums. Counts stay below
//!   2^62.

mod checks;
mod inputs;
mod io;
mod pool;
mod stored;

pub use checks::*;
pub use inputs::*;
pub use io::*;
pub use pool::*;
pub use stored::*;

use std::fmt::Arguments;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU8, Ordering};

use evenkeel::{Backend, Moments, reference};

/// The error of a variance, relative.
pub const VARIANCE: f64 = 2.2e-6;
/// The error of a mean, as a part of the standard deviation.
pub const MEAN: f64 = 1e-6;
/// The error of an output, as a part of `|gamma| * max(1, |x_hat|) + |beta|`.
pub const OUTPUT: f64 = 1e-6;
/// The distance of subnormal f32.
pub const SUBNORMAL: f64 = 1.41e-45;
/// The error of a mean, as a part of the mean: a few roundings of f64.
pub const MEAN_ROUNDING: f64 = 1e-15;
/// Beyond this, f32 is near its end.
pub const LARGEST: f64 = 1e38;

/// What buffers hold before they are written.
pub trait Element: Copy + PartialEq + std::fmt::Debug {
    const BEFORE: Self;
}

impl Element for f32 {
    const BEFORE: Self = 7.654_321e11;
}

impl Element for f64 {
    const BEFORE: Self = 7.654_321e111;
}

impl Element for u8 {
    const BEFORE: Self = 0xa5;
}

impl Element for Moments {
    const BEFORE: Self =
        Self { count: u64::MAX, mean: f64::BEFORE, mean_low: f64::BEFORE, m2: -1.0 };
}

/// A buffer of any alignment. It ends where its allocation ends, so that the address sanitiser sees a
/// write beyond it, and what lies before it is checked when it is dropped.
#[derive(Debug)]
pub struct Buffer<T: Element> {
    all: Vec<T>,
    start: usize,
}

impl<T: Element> Buffer<T> {
    /// Nothing written yet.
    pub fn new(len: usize, shift: u8) -> Self {
        let start = usize::from(shift % 17);
        Self { all: vec![T::BEFORE; start + len], start }
    }

    /// `len` elements, those of `values` as far as there are any.
    pub fn of(values: &[T], len: usize, shift: u8) -> Self {
        let mut buffer = Self::new(len, shift);
        let common = len.min(values.len());
        buffer[..common].copy_from_slice(&values[..common]);
        buffer
    }

    /// Whether nothing has been written.
    pub fn is_untouched(&self) -> bool {
        self.all.iter().all(|&element| element == T::BEFORE)
    }
}

impl<T: Element> std::ops::Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.all[self.start..]
    }
}

impl<T: Element> std::ops::DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.all[self.start..]
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        let before = &self.all[..self.start];
        if !std::thread::panicking() {
            assert!(before.iter().all(|&element| element == T::BEFORE), "written before a buffer");
        }
    }
}

/// A slice as what `InOut::uninit` takes.
#[expect(unsafe_code, reason = "std has no such cast")]
pub fn uninit<T: Copy>(x: &mut [T]) -> &mut [MaybeUninit<T>] {
    // SAFETY: the two types have one layout, and the operations write nothing but initialised elements.
    unsafe { &mut *(std::ptr::from_mut(x) as *mut [MaybeUninit<T>]) }
}

/// Bits for comparison: every NaN is one.
pub fn bits(x: f32) -> u32 {
    if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }
}

/// Bits for comparison: every NaN is one.
pub fn bits64(x: f64) -> u64 {
    if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() }
}

/// The exact bits, of NaN too: whether an input is what it was.
pub fn raw_bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Whether both hold the same bytes: faster than to look at each element.
#[expect(unsafe_code, reason = "std has no such cast")]
pub fn same_bytes(a: &[f32], b: &[f32]) -> bool {
    // SAFETY: an f32 is four initialised bytes.
    let bytes =
        |x: &[f32]| unsafe { std::slice::from_raw_parts(x.as_ptr().cast::<u8>(), size_of_val(x)) };
    bytes(a) == bytes(b)
}

/// Everything that a call wrote, for comparison.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written(Vec<u64>);

impl Written {
    #[must_use]
    pub fn f32(mut self, values: &[f32]) -> Self {
        self.0.extend(values.iter().map(|&value| u64::from(bits(value))));
        self
    }

    #[must_use]
    pub fn f64(mut self, values: &[f64]) -> Self {
        self.0.extend(values.iter().map(|&value| bits64(value)));
        self
    }

    /// Asserts that both are the same.
    #[track_caller]
    pub fn assert_same(&self, other: &Self, what: Arguments<'_>) {
        if self != other {
            let pairs = self.0.iter().zip(&other.0).enumerate();
            let differing: Vec<_> = pairs.filter(|(_, (a, b))| a != b).take(8).collect();
            panic!("{what}: bits differ, (place, (expected, got)): {differing:x?}");
        }
    }
}

/// The first result of each kind of backend, with which all others are compared: all that fuse are one
/// kind, and every other one is its own.
#[derive(Debug, Default)]
pub struct Expected(Vec<(Backend, Written)>);

impl Expected {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// Asserts that the result of `backend` is that of its kind. If it is the first, `check` says
    /// whether it is right.
    #[track_caller]
    pub fn check(
        &mut self,
        backend: Backend,
        result: Written,
        what: Arguments<'_>,
        check: impl FnOnce(),
    ) {
        let same = |other: Backend| other == backend || other.is_fused() && backend.is_fused();
        match self.0.iter().find(|(other, _)| same(*other)) {
            Some((_, expected)) => expected.assert_same(&result, what),
            None => {
                check();
                self.0.push((backend, result));
            }
        }
    }
}

/// Whether the operations accept it.
pub fn eps_is_valid(eps: f64) -> bool {
    eps >= 0.0 && eps.is_finite()
}

pub fn is_finite(x: &[f32]) -> bool {
    x.iter().all(|x| x.is_finite())
}

/// What an error is measured in.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    Variance,
    Mean,
    Rstd,
    Output,
    Running,
}

/// Asserts that an error is within its bound, and lets the fuzzer know how near it came: inputs that come
/// nearer than any before are worth keeping.
#[track_caller]
pub fn assert_within(kind: Bound, got: f64, expected: f64, bound: f64, what: Arguments<'_>) {
    let error = (got - expected).abs();
    assert!(
        error <= bound,
        "{what}: {kind:?}: expected {expected:e}, got {got:e}, error {error:e}, bound {bound:e}"
    );
    if error > 0.0 {
        let part = (error / bound * (STEPS as f64 - 1.0)) as usize;
        NEARNESS[kind as usize * STEPS + part].store(1, Ordering::Relaxed);
    }
}

/// Steps of nearness to a bound.
const STEPS: usize = 64;

/// libFuzzer counts what is in this section as coverage.
#[cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "a section is what a linker makes of it")
)]
#[cfg_attr(target_os = "linux", unsafe(link_section = "__libfuzzer_extra_counters"))]
static NEARNESS: [AtomicU8; STEPS * 5] = [const { AtomicU8::new(0) }; STEPS * 5];

/// What the reference says of a line.
#[derive(Clone, Copy, Debug)]
pub struct Exact {
    pub mean: f64,
    pub var: f64,
    pub finite: bool,
}

impl Exact {
    /// Of nothing: 0 and 0.
    pub fn of(x: &[f32]) -> Self {
        if x.is_empty() {
            return Self { mean: 0.0, var: 0.0, finite: true };
        }
        let (mean, var) = reference::mean_variance(x);
        Self { mean, var, finite: is_finite(x) }
    }

    /// Asserts that a mean is within its bound, or not finite if the data are not.
    #[track_caller]
    pub fn check_mean(&self, got: f64, what: Arguments<'_>) {
        if !self.finite {
            assert!(got.is_nan(), "{what}: mean: expected NaN, got {got:e}");
            return;
        }
        let bound = MEAN * self.var.sqrt() + MEAN_ROUNDING * self.mean.abs();
        assert_within(Bound::Mean, got, self.mean, bound, what);
    }

    /// Asserts that a population variance is within its bound, or NaN if the data are not finite.
    #[track_caller]
    pub fn check_variance(&self, got: f64, what: Arguments<'_>) {
        if !self.finite {
            assert!(got.is_nan(), "{what}: variance: expected NaN, got {got:e}");
            return;
        }
        assert_within(Bound::Variance, got, self.var, VARIANCE * self.var, what);
    }
}

/// Asserts that rstd is within its bound, or NaN if the data are not finite.
#[track_caller]
pub fn check_rstd(got: f64, expected: f64, finite: bool, what: Arguments<'_>) {
    if !finite {
        assert!(got.is_nan(), "{what}: rstd: expected NaN, got {got:e}");
        return;
    }
    assert_within(Bound::Rstd, got, expected, VARIANCE * expected, what);
}

/// Asserts that an output is within its bound, where that applies.
#[track_caller]
pub fn check_output(
    y: f32,
    x_hat: f64,
    (gamma, beta): (Option<f32>, Option<f32>),
    what: Arguments<'_>,
) {
    let (gamma, beta) = (gamma.map_or(1.0, f64::from), beta.map_or(0.0, f64::from));
    let product = x_hat * gamma;
    let expected = product + beta;
    let in_range = |value: f64| value.abs() <= LARGEST;
    if !(gamma.is_finite() && [x_hat, product, beta, expected].into_iter().all(in_range)) {
        return;
    }
    let bound = OUTPUT * (gamma.abs() * x_hat.abs().max(1.0) + beta.abs()) + SUBNORMAL;
    assert_within(Bound::Output, y.into(), expected, bound, what);
}

/// Asserts that an element of a constant row or column is beta: nothing else is left of it.
#[track_caller]
pub fn check_constant(y: f32, (gamma, beta): (Option<f32>, Option<f32>), what: Arguments<'_>) {
    let (gamma, beta) = (gamma.unwrap_or(1.0), beta.unwrap_or(0.0));
    if gamma.is_finite() && !beta.is_nan() {
        assert!(y == beta, "{what}: constant: expected {beta:e}, got {y:e}");
    }
}
