//! `Regularizer`: penalties, gradients, decay, proximal steps.
#![forbid(unsafe_code)]
#![no_main]

use std::fmt::Arguments;

use arbitrary::Arbitrary;
use evenkeel::penalty::Regularizer;
use evenkeel::{Backend, Error, InOut, reference};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    w: Source,
    gradient: Source,
    seed: u64,
    len: Len,
    l1: Parameter,
    l2: Parameter,
    rate: Parameter,
    patches: Vec<(u16, Number)>,
    thorough: Thorough,
    threads: Threads,
    stores: StoresAre,
    shifts: [u8; 2],
    wrong: Wrong,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Len {
    Short(u8),
    Medium(u16),
    /// Around a number of blocks.
    Blocks(u8, i8),
}

impl Len {
    fn value(self) -> usize {
        match self {
            Self::Short(len) => len.into(),
            Self::Medium(len) => usize::from(len) % 5001,
            Self::Blocks(blocks, delta) => {
                (1024 * usize::from(blocks % 6)).saturating_add_signed(delta.into())
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    Penalty,
    AddGradient,
    Both,
    Decay(Io),
    Proximal(Io),
}

const METHODS: [Method; 9] = [
    Method::Both,
    Method::Decay(Io::TwoBuffers),
    Method::Proximal(Io::TwoBuffers),
    Method::Penalty,
    Method::AddGradient,
    Method::Decay(Io::InPlace),
    Method::Decay(Io::Uninit),
    Method::Proximal(Io::InPlace),
    Method::Proximal(Io::Uninit),
];

/// The methods that write the same.
const KINDS: usize = 4;

impl Method {
    /// Which methods write the same: the penalty and the gradient are two of them.
    fn kind(self) -> usize {
        match self {
            Self::Penalty | Self::Both => 0,
            Self::AddGradient => 1,
            Self::Decay(_) => 2,
            Self::Proximal(_) => 3,
        }
    }

    fn in_place(self) -> bool {
        matches!(self, Self::Decay(Io::InPlace) | Self::Proximal(Io::InPlace))
    }

    /// Calls, with w and the other buffer; gives the penalty, or 0.
    fn call(
        self,
        operation: Regularizer,
        rate: f64,
        w: &mut [f32],
        other: &mut [f32],
    ) -> Result<f64, Error> {
        match self {
            Self::Penalty => operation.penalty(w),
            Self::AddGradient => operation.add_gradient(w, other).map(|()| 0.0),
            Self::Both => operation.penalty_and_add_gradient(w, other),
            Self::Decay(io) => over(io, w, other, |io| operation.decay(io, rate)),
            Self::Proximal(io) => over(io, w, other, |io| operation.proximal(io, rate)),
        }
    }
}

/// Calls with w and y, or in place with what y is then: a copy of w.
fn over(
    io: Io,
    w: &mut [f32],
    y: &mut [f32],
    operation: impl for<'a> FnOnce(InOut<'_, 'a>) -> Result<&'a mut [f32], Error>,
) -> Result<f64, Error> {
    let (x, y) = if io.in_place() { (y, &mut [][..]) } else { (w, y) };
    io.call_contiguous(x, y, operation).map(|()| 0.0)
}

fuzz_target!(|input: Continued<Input>| input.0.check());

/// What the definition says of an element: the value, and what the error is measured in.
struct Defined {
    value: f64,
    scale: f64,
    in_range: bool,
}

impl Input {
    fn check(&self) {
        let len = self.len.value();
        let mut w = self.w.values(len, self.seed);
        let gradient = self.gradient.values(len, self.seed ^ 1);
        for (at, number) in &self.patches {
            if len > 0 {
                w[usize::from(*at) % len] = number.f32();
            }
        }
        let (l1, l2, rate) = (self.l1.value(1e-3), self.l2.value(1e-2), self.rate.value(0.1));
        let [other_len] = lengths([len], self.wrong);
        let mut expected: [Expected; KINDS] = std::array::from_fn(|_| Expected::new());
        for backend in Backend::available() {
            let operation = Regularizer::new()
                .with_l1(l1)
                .with_l2(l2)
                .with_backend(backend)
                .with_parallelism(self.threads.into())
                .with_stores(self.stores.into());
            let methods = if self.thorough.is(backend) { &METHODS[..] } else { &METHODS[..3] };
            for &method in methods {
                let what = format_args!("{method:?}, {backend}, {len}, {l1:e}, {l2:e}, {rate:e}");
                let mut given = Buffer::of(&w, len, self.shifts[0]);
                let mut other = match method {
                    _ if method.in_place() => Buffer::of(&w, len, self.shifts[1]),
                    Method::AddGradient | Method::Both => {
                        Buffer::of(&gradient, other_len, self.shifts[1])
                    }
                    _ => Buffer::new(other_len, self.shifts[1]),
                };
                let before = raw_bits(&other);
                let right_rates = match method {
                    Method::Decay(_) | Method::Proximal(_) => eps_is_valid(rate),
                    _ => true,
                };
                let right_len = method == Method::Penalty || other.len() == len;
                let valid = eps_is_valid(l1) && eps_is_valid(l2) && right_rates && right_len;
                let result = method.call(operation, rate, &mut given, &mut other);
                assert_eq!(result.is_ok(), valid, "{what}: {result:?}");
                let Ok(penalty) = result else {
                    assert_eq!(raw_bits(&other), before, "{what}");
                    continue;
                };
                assert!(same_bytes(&given, &w), "{what}: w is changed");
                if matches!(method, Method::Penalty | Method::Both) {
                    let written = Written::default().f64(&[penalty]);
                    expected[0].check(backend, written, what, || {
                        check_penalty(&w, l1, l2, penalty, what);
                    });
                }
                if method == Method::Penalty {
                    assert_eq!(raw_bits(&other), before, "{what}");
                    continue;
                }
                let kind = method.kind().max(1);
                expected[kind].check(backend, Written::default().f32(&other), what, || {
                    for i in 0..len {
                        let what = format_args!("{what}, element {i}, w {:e}", w[i]);
                        let defined = define(method, (w[i], gradient[i]), l1, l2, rate);
                        check_element(other[i], (w[i], gradient[i]), &defined, method, what);
                    }
                });
            }
        }
    }
}

fn check_penalty(w: &[f32], l1: f64, l2: f64, got: f64, what: Arguments<'_>) {
    let expected = reference::penalty(w, l1, l2);
    if !expected.is_finite() {
        assert_eq!(bits64(got), bits64(expected), "{what}: the penalty");
    } else if got.is_finite() || expected < 1e300 {
        let bound = OUTPUT * expected + f64::MIN_POSITIVE;
        assert_within(Bound::Variance, got, expected, bound, what);
    }
}

fn define(method: Method, (w, g): (f32, f32), l1: f64, l2: f64, rate: f64) -> Defined {
    let (magnitude, g) = (f64::from(w.abs()), f64::from(g));
    let small = |value: f64| value.abs() <= LARGEST;
    match method {
        Method::Decay(_) => {
            let value = f64::from(w) * (1.0 - rate * l2).max(f64::MIN);
            Defined { value, scale: value.abs(), in_range: small(value) }
        }
        Method::Proximal(_) => {
            let value = reference::proximal(w, l1, l2, rate);
            Defined { value, scale: magnitude / (1.0 + rate * l2), in_range: true }
        }
        _ => {
            let value = g + reference::penalty_gradient(w, l1, l2);
            let terms = [g, l1, l2 * magnitude, value];
            let scale = g.abs() + l1 + l2 * magnitude;
            Defined { value, scale, in_range: terms.into_iter().all(small) }
        }
    }
}

fn check_element(
    y: f32,
    (w, g): (f32, f32),
    defined: &Defined,
    method: Method,
    what: Arguments<'_>,
) {
    let adds = matches!(method, Method::AddGradient | Method::Both);
    if w.is_nan() || adds && g.is_nan() {
        assert!(y.is_nan(), "{what}: expected NaN, got {y:e}");
        return;
    }
    if !w.is_finite() || adds && !g.is_finite() {
        return;
    }
    assert!(!y.is_nan(), "{what}: NaN of finite numbers");
    if defined.in_range {
        let bound = OUTPUT * defined.scale + SUBNORMAL;
        assert_within(Bound::Output, y.into(), defined.value, bound, what);
    }
}
