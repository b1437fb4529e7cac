//! Every operation of the contract on every backend, bit for bit against plain scalar code.
//!
//! A check is written once and runs inside the target-feature entry of each backend, as a kernel does; its test's
//! name ends with the backend. One that this CPU lacks is `SKIPPED`, or fails where `EVENKEEL_REQUIRE_BACKENDS`
//! lists it (names with commas between them, or `all`).

mod parts;
mod rows;
mod words;

use core::array::from_fn;
use core::fmt::{Arguments, Debug};
use core::hint::black_box;
use core::mem::MaybeUninit;
use core::ops::{Add, Div, Mul, Sub};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{env, io, thread};

use self::parts::{columns, lines, spans, streamed};
use self::rows::row_splits;
use self::words::{keep, word_arithmetic, word_choices};
use super::{Double, Float, Kernel, LANES, Real, Simd, Single, Span, write_whole};
use crate::{Backend, Error};

/// Runs a check on the backend of this name, inlined and as a function call, or says that it does not.
fn on<K: Kernel<Output = String> + Copy>(name: &str, check: K) {
    match Backend::by_name(name) {
        Ok(backend) => {
            for token in [backend.dispatch(check), backend.dispatch(Outlined(check))] {
                assert!(token.ends_with(&format!("::{name}")), "{name} ran with {token}");
            }
        }
        Err(Error::UnavailableBackend { .. }) => skip(name),
        Err(error) => panic!("{error}"),
    }
}

struct Outlined<K>(K);
impl<K: Kernel> Kernel for Outlined<K> {
    type Output = K::Output;
    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> K::Output {
        token.outline(self.0)
    }
}

/// Written to stderr itself: the test harness shows what `eprintln!` prints only where a test fails.
fn skip(name: &str) {
    let required = env::var("EVENKEEL_REQUIRE_BACKENDS").unwrap_or_default();
    assert!(!lists(&required, name), "{name} is required, and this CPU lacks it");
    let test = thread::current().name().unwrap_or_default().to_owned();
    writeln!(io::stderr(), "SKIPPED: {name} (this CPU lacks it): {test}").expect("stderr");
}

/// Whether a list of required backends has this one.
fn lists(required: &str, name: &str) -> bool {
    let listed = || required.split(',').map(str::trim).filter(|listed| !listed.is_empty());
    let known = |listed| listed == "all" || Backend::NAMES.contains(&listed);
    assert!(listed().all(known), "{required:?} lists a backend that there is not");
    listed().any(|listed| listed == "all" || listed == name)
}

#[test]
fn required_backends_are_a_list() {
    assert!(lists("all", "avx2") && lists("avx2, avx512", "avx512") && lists("avx2", "avx2"));
    assert!(!lists("", "avx2") && !lists("avx512", "avx2") && !lists("avx2,", "avx512"));
    assert!(panics(|| lists("avx51", "avx2")), "a name that is none");
}

/// For each check a module of its name with one test a backend, which runs it for each type of lanes.
macro_rules! on_every_backend {
    ($($check:ident: $($elem:ident)+;)+) => {$(
        mod $check {
            use crate::simd::{Kernel, Simd};
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
    groups: f32 f64; splits: f32 f64; row_splits: f32; spans: f32; refusals: f32 f64;
    word_arithmetic: f32; word_choices: f32; keep: f32; columns: f32 f64; lines: f32;
    streamed: f32 f64;
}

/// What a vector does in one lane, in plain scalar code.
trait Scalar:
    Real
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    /// The vector of such lanes.
    type Vector<S: Simd>: Float<Token = S, Elem = Self>;
    /// The distance from 1 to the next number.
    const EPSILON: Self;
    /// Numbers with which arithmetic may go wrong, more of them than lanes.
    fn named() -> Vec<Self>;
    /// `self * factor + addend`, rounded once.
    fn fused(self, factor: Self, addend: Self) -> Self;
    /// The square root.
    fn root(self) -> Self;
    /// Without the sign.
    fn magnitude(self) -> Self;

    fn vector<S: Simd>(token: S, lanes: [Self; LANES]) -> Self::Vector<S>;
    fn lanes<S: Simd>(vector: Self::Vector<S>) -> [Self; LANES];
}

type Memory = [MaybeUninit<f32>];
type Lanes<E> = [E; LANES];
type Vector<E, S> = <E as Scalar>::Vector<S>;

impl Scalar for f32 {
    type Vector<S: Simd> = S::F32;
    const EPSILON: Self = f32::EPSILON;

    fn named() -> Vec<Self> {
        let (least, subnormal) = (f32::from_bits(1), f32::MIN_POSITIVE - f32::from_bits(1));
        let (above, below) = (1.0 + f32::EPSILON, 1.0 - f32::EPSILON / 2.0);
        let mut named = vec![0.0, -0.0, 1.0, above, below, -0.1, 3.0];
        named.extend([least, -subnormal, f32::MIN_POSITIVE, 1e30, -1e-30, f32::MAX, f32::MIN]);
        named.extend([f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
        named
    }
    fn fused(self, factor: Self, addend: Self) -> Self {
        self.mul_add(factor, addend)
    }
    fn root(self) -> Self {
        self.sqrt()
    }
    fn magnitude(self) -> Self {
        self.abs()
    }
    #[inline(always)]
    fn vector<S: Simd>(token: S, lanes: [Self; LANES]) -> S::F32 {
        S::F32::load(token, &black_box(lanes))
    }
    #[inline(always)]
    fn lanes<S: Simd>(vector: S::F32) -> [Self; LANES] {
        stored(vector)
    }
}

impl Scalar for f64 {
    type Vector<S: Simd> = S::F64;
    const EPSILON: Self = f64::EPSILON;

    fn named() -> Vec<Self> {
        let (ulp, max) = (f64::from(f32::EPSILON), f64::from(f32::MAX));
        let mut named: Vec<_> = f32::named().into_iter().map(f64::from).collect();
        // Halfway between two f32: to even, which is down and up; and just off halfway.
        named.extend([1.0 + 0.5 * ulp, 1.0 + 1.5 * ulp, 1.0 + 0.5 * ulp + f64::EPSILON]);
        // Halfway from f32::MAX to what would be next: infinite in f32; and less than halfway.
        named.extend([max * (1.0 + 0.25 * ulp), max * (1.0 + 0.125 * ulp)]);
        // Subnormal in f32, below half of its least, and nowhere near it.
        named.extend([-1.234e-41, -1e-46, f64::MIN_POSITIVE, f64::from_bits(1), 1e300, f64::MIN]);
        named
    }
    fn fused(self, factor: Self, addend: Self) -> Self {
        self.mul_add(factor, addend)
    }
    fn root(self) -> Self {
        self.sqrt()
    }
    fn magnitude(self) -> Self {
        self.abs()
    }
    #[inline(always)]
    fn vector<S: Simd>(token: S, lanes: [Self; LANES]) -> S::F64 {
        S::F64::load_f64(token, &black_box(lanes))
    }
    #[inline(always)]
    fn lanes<S: Simd>(vector: S::F64) -> [Self; LANES] {
        let mut y = [0.0; LANES];
        vector.store_f64(&mut y);
        y
    }
}

/// The linear congruential generator of Knuth's MMIX.
struct Lcg(u64);

impl Lcg {
    /// One of 0 to `n - 1`.
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((u128::from(self.0) * u128::from(n)) >> 64) as u64
    }

    /// Either sign, random digits, a magnitude of 2^-20 to 2^20.
    fn number<E: Real>(&mut self) -> E {
        let (sign, exponent) = (self.below(2) << 63, (1023 - 20 + self.below(41)) << 52);
        E::from_f64(f64::from_bits(sign | exponent | self.below(1 << 52)))
    }

    fn lanes<E: Real>(&mut self) -> Lanes<E> {
        from_fn(|_| self.number())
    }
}

/// The named numbers, each of them in each lane.
fn rotations<E: Scalar>() -> Vec<Lanes<E>> {
    let named = E::named();
    (0..named.len()).map(|k| from_fn(|i| named[(k + i) % named.len()])).collect()
}

/// Lanes of all kinds.
fn inputs<E: Scalar>() -> Vec<Lanes<E>> {
    let mut lcg = Lcg(1);
    let mut inputs = rotations();
    for (k, named) in E::named().into_iter().enumerate() {
        let mut with_named = lcg.lanes();
        with_named[k % LANES] = named;
        inputs.extend([[named; LANES], with_named, lcg.lanes(), lcg.lanes()]);
    }
    inputs
}

/// Every one with every one.
fn pairs<E: Scalar>(lanes: &[Lanes<E>]) -> impl Iterator<Item = (Lanes<E>, Lanes<E>)> {
    lanes.iter().flat_map(|&a| lanes.iter().map(move |&b| (a, b)))
}

/// What memory holds that must not be written: a NaN that no arithmetic makes.
const SENTINEL: f32 = f32::from_bits(0x7fc5_a5a5);

/// Whether the bits are the same; NaN equals NaN.
fn same<E: Real>(a: E, b: E) -> bool {
    let (a, b) = (a.to_f64(), b.to_f64());
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// The same for memory; the sentinel equals no other NaN.
fn same_memory(a: &[f32], b: &[f32]) -> bool {
    let sentinel = |x: f32| x.to_bits() == SENTINEL.to_bits();
    let alike = |(&a, &b): (&f32, &f32)| same(a, b) && sentinel(a) == sentinel(b);
    a.len() == b.len() && a.iter().zip(b).all(alike)
}

fn from_f32<E: Real>(x: f32) -> E {
    E::from_f64(f64::from(x))
}

fn to_f32<E: Real>(x: E) -> f32 {
    x.to_f64() as f32
}

#[inline(always)]
fn stored<V: Float>(vector: V) -> [f32; LANES] {
    let mut y = [SENTINEL; LANES];
    vector.store_init(&mut y);
    y
}

#[inline(always)]
fn assert_lanes<E: Scalar, S: Simd>(_: S, got: Vector<E, S>, expected: Lanes<E>, what: Arguments) {
    let got = E::lanes::<S>(got);
    let same = got.iter().zip(&expected).all(|(&got, &expected)| same(got, expected));
    assert!(same, "{what}: got {got:?}, expected {expected:?}");
}

/// Bit `i` is whether the predicate holds of lane `i`.
fn bits<E: Scalar>(a: Lanes<E>, b: Lanes<E>, holds: impl Fn(&E, &E) -> bool) -> u16 {
    (0..LANES).map(|i| u16::from(holds(&a[i], &b[i])) << i).sum()
}

/// Lane `i` plus lane `i + 8`, then `i + 4`, `i + 2`, `i + 1`.
fn halved<E: Scalar>(lanes: Lanes<E>) -> E {
    let mut sums = lanes.to_vec();
    while sums.len() > 1 {
        let (low, high) = sums.split_at(sums.len() / 2);
        sums = low.iter().zip(high).map(|(&low, &high)| low + high).collect();
    }
    sums[0]
}

fn panics<T>(action: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(action)).is_err()
}

#[inline(always)]
fn splat<E: Scalar, S: Simd>(token: S) {
    for x in inputs::<E>().into_iter().flatten() {
        let got = Vector::<E, S>::splat(token, black_box(x));
        assert_lanes(token, got, [x; LANES], format_args!("splat"));
    }
}

#[inline(always)]
fn load<E: Scalar, S: Simd>(token: S) {
    let elements = inputs::<f32>().concat();
    for (start, x) in elements.windows(LANES).enumerate() {
        let x: &[f32; LANES] = x.try_into().expect("16 elements");
        let got = Vector::<E, S>::load(token, x);
        assert_lanes::<E, S>(token, got, x.map(from_f32), format_args!("from element {start}"));
    }
}

#[inline(always)]
fn load_partial<E: Scalar, S: Simd>(token: S) {
    let elements = inputs::<f32>().concat();
    let fills = E::named().into_iter().chain([Lcg(3).number()]);
    for (k, fill) in fills.enumerate() {
        for len in 0..=LANES {
            for start in (k..elements.len() - LANES).step_by(7) {
                let x = &elements[start..start + len];
                let got = Vector::<E, S>::load_partial(token, x, fill);
                let expected = from_fn(|i| x.get(i).map_or(fill, |&x| from_f32(x)));
                assert_lanes::<E, S>(token, got, expected, format_args!("{len} of {x:?}"));
            }
        }
    }
}

#[inline(always)]
fn store<E: Scalar, S: Simd>(token: S) {
    stores::<E, S>(token, LANES, |vector, y| vector.store(y.try_into().expect("16 elements")));
    for lanes in inputs::<E>() {
        let y = stored(E::vector(token, lanes));
        assert!(same_memory(&y, &lanes.map(to_f32)), "{lanes:?} to initialised memory: {y:?}");
    }
}

#[inline(always)]
fn store_partial<E: Scalar, S: Simd>(token: S) {
    for len in 0..=LANES {
        stores::<E, S>(token, len, Vector::<E, S>::store_partial);
    }
}

/// Stores `len` lanes and looks at the memory around them.
#[inline(always)]
fn stores<E: Scalar, S: Simd>(token: S, len: usize, write: impl Fn(Vector<E, S>, &mut Memory)) {
    for (i, lanes) in inputs::<E>().into_iter().enumerate() {
        let target = i % (2 * LANES + 1)..;
        let mut y = [MaybeUninit::new(SENTINEL); 3 * LANES];
        write(E::vector(token, lanes), &mut y[target.clone()][..len]);
        // SAFETY: it was made from numbers, and vectors write numbers.
        let y = y.map(|element| unsafe { element.assume_init() });
        let mut expected = [SENTINEL; 3 * LANES];
        expected[target.clone()][..len].copy_from_slice(&lanes.map(to_f32)[..len]);
        assert!(same_memory(&y, &expected), "{len} of {lanes:?} to {target:?}: {y:?}");
    }
}

#[inline(always)]
fn arithmetic<E: Scalar, S: Simd>(token: S) {
    for (a, b) in pairs::<E>(&inputs()) {
        let (x, y) = (E::vector(token, a), E::vector(token, b));
        assert_lanes(token, x + y, from_fn(|i| a[i] + b[i]), format_args!("{a:?} + {b:?}"));
        assert_lanes(token, x - y, from_fn(|i| a[i] - b[i]), format_args!("{a:?} - {b:?}"));
        assert_lanes(token, x * y, from_fn(|i| a[i] * b[i]), format_args!("{a:?} * {b:?}"));
        assert_lanes(token, x / y, from_fn(|i| a[i] / b[i]), format_args!("{a:?} / {b:?}"));
        assert_lanes(token, x.sqrt(), a.map(E::root), format_args!("roots of {a:?}"));
        assert_lanes(token, x.abs(), a.map(E::magnitude), format_args!("{a:?} without signs"));
        let lesser = from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] });
        assert_lanes(token, x.min(y), lesser, format_args!("the lesser of {a:?} and {b:?}"));
        let greater = from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] });
        assert_lanes(token, x.max(y), greater, format_args!("the greater of {a:?} and {b:?}"));
    }
}

#[inline(always)]
fn mul_add<E: Scalar, S: Simd>(token: S) {
    let check = |a: Lanes<E>, b: Lanes<E>, c: Lanes<E>| {
        let fused = |i: usize| a[i].fused(b[i], c[i]);
        let expected = from_fn(|i| if S::FUSED { fused(i) } else { a[i] * b[i] + c[i] });
        let got = E::vector(token, a).mul_add(E::vector(token, b), E::vector(token, c));
        assert_lanes(token, got, expected, format_args!("{a:?} * {b:?} + {c:?}"));
    };
    for (a, b) in pairs(&rotations()) {
        for named in E::named() {
            check(a, b, [named; LANES]);
        }
    }
    let mut lcg = Lcg(4);
    for _ in 0..1000 {
        let (a, b) = (lcg.lanes::<E>(), lcg.lanes());
        check(a, b, lcg.lanes());
        // One rounding leaves of a product that cancels what two do not.
        check(a, b, from_fn(|i| from_f32::<E>(0.0) - a[i] * b[i]));
    }
}

#[inline(always)]
fn sum<E: Scalar, S: Simd>(token: S) {
    for lanes in inputs::<E>() {
        let (got, expected) = (E::vector(token, lanes).sum(), halved(lanes));
        assert!(same(got, expected), "sum of {lanes:?}: {got:?}, expected {expected:?}");
    }
}

#[inline(always)]
fn sums<E: Scalar, S: Simd>(token: S) {
    macro_rules! at_once {
        ($($n:literal)+) => { $(sums_of::<E, S, $n>(token);)+ };
    }
    at_once!(1 2 3 4 5 6 7 8 9 12 17);
}

#[inline(always)]
fn sums_of<E: Scalar, S: Simd, const N: usize>(token: S) {
    for some in inputs::<E>().windows(N) {
        let got = Vector::<E, S>::sums::<N>(from_fn(|i| E::vector(token, some[i])));
        for (got, lanes) in got.into_iter().zip(some) {
            let expected = halved(lanes.map(Real::to_f64));
            assert!(same(got, expected), "{N} at once, {lanes:?}: {got}, expected {expected}");
        }
    }
}

#[inline(always)]
fn equal<E: Scalar, S: Simd>(token: S) {
    let check = |a: Lanes<E>, b: Lanes<E>| {
        let got = E::vector(token, a).equal(E::vector(token, b));
        assert_eq!(got, bits(a, b, E::eq), "{a:?} == {b:?}");
    };
    for (a, b) in pairs(&inputs()) {
        check(a, b);
        // All the same but for the last digit of one lane.
        for i in 0..LANES {
            let mut b = a;
            b[i] = a[i] + a[i] * E::EPSILON;
            check(a, b);
        }
    }
}

/// What f64 lanes have of their own. `E` is f64, here and below.
#[inline(always)]
fn double_memory<E: Scalar, S: Simd>(token: S) {
    let elements = inputs::<f64>().concat();
    for (start, x) in elements.windows(LANES).enumerate() {
        let x: &[f64; LANES] = x.try_into().expect("16 elements");
        let vector = S::F64::load_f64(token, x);
        assert_lanes(token, vector, *x, format_args!("from element {start}"));
        assert_lanes(token, vector.narrow(), x.map(to_f32), format_args!("{x:?} narrowed"));
        let target = start % (2 * LANES + 1)..;
        let mut y = [0.5; 3 * LANES];
        vector.store_f64((&mut y[target.clone()][..LANES]).try_into().expect("16 elements"));
        let mut expected = [0.5; 3 * LANES];
        expected[target.clone()][..LANES].copy_from_slice(x);
        assert!(y.iter().zip(expected).all(|(&y, x)| same(y, x)), "{x:?} to {target:?}: {y:?}");
    }
    for x in inputs::<f32>() {
        let wide = S::F64::widen(f32::vector(token, x));
        assert_lanes(token, wide, x.map(f64::from), format_args!("{x:?} widened"));
    }
}

#[inline(always)]
fn scale<E: Scalar, S: Simd>(token: S) {
    for x in [1.0, -1.0, 0.0, 1.276_491_2, 110.000_01, 1e-20, -1e-40, f32::MAX] {
        for least in -126..=127 - LANES as i32 + 1 {
            let n: [f32; LANES] = from_fn(|i| (least + i as i32) as f32);
            let got = f32::vector(token, [x; LANES]).scale(f32::vector(token, n));
            // Exact in f64.
            let expected = n.map(|n| (f64::from(x) * 2.0_f64.powi(n as i32)) as f32);
            assert_lanes::<f32, S>(token, got, expected, format_args!("{x} {n:?}"));
        }
    }
}

#[inline(always)]
fn double_arithmetic<E: Scalar, S: Simd>(token: S) {
    for (a, b) in pairs(&inputs::<f64>()) {
        let (x, y) = (f64::vector(token, a), f64::vector(token, b));
        assert_eq!(x.less_or_equal(y), bits(a, b, f64::le), "{a:?} <= {b:?}");
    }
}

/// `len` different numbers, in memory that exists even for none: qemu's AVX2 reads the lanes that a masked load leaves
/// out, at the address 4 of an empty `Vec` too.
fn numbers(len: usize) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(len + LANES);
    numbers.extend((0..len).map(|i| i as f32 + 0.5));
    black_box(numbers)
}

fn minus(x: &[f32]) -> Vec<f32> {
    x.iter().map(|x| -x).collect()
}

/// Negates `R` rows at `[start, cols]` of a span that reads `x`, and looks at everything that a group says
/// about them.
#[inline(always)]
fn negate<E: Scalar, S: Simd, const R: usize>(token: S, mut io: Span, x: &[f32], at: [usize; 2]) {
    let [start, cols] = at;
    assert_eq!((io.len(), io.src()), (x.len(), x));
    let mut group = io.group::<R>(start, cols);
    assert_eq!((group.full(), group.tail()), (cols / LANES, cols % LANES));
    let zero = Vector::<E, S>::splat(token, from_f32(0.0));
    for r in 0..R {
        let expected = &x[start + r * cols..][..cols];
        assert_eq!(group.rows()[r], expected);
        let (vectors, tail) = expected.as_chunks::<LANES>();
        for (i, vector) in vectors.iter().enumerate() {
            let got: Vector<E, S> = group.load(token, r, i);
            let what = format_args!("row {r} of {R}, vector {i}");
            assert_lanes::<E, S>(token, got, vector.map(from_f32), what);
            group.store::<_, false>(r, i, zero - got);
            group.prefetch(r, i, usize::MAX);
        }
        let fill = from_f32(-7.0);
        let got: Vector<E, S> = group.load_tail(token, r, fill);
        let expected = from_fn(|i| tail.get(i).map_or(fill, |&x| from_f32(x)));
        assert_lanes::<E, S>(token, got, expected, format_args!("row {r} of {R}, tail"));
        group.store_tail(r, zero - got);
    }
}

#[inline(always)]
fn groups<E: Scalar, S: Simd>(token: S) {
    for cols in [0, 1, 2, 15, 16, 17, 31, 32, 33, 48, 67] {
        for (start, beyond) in [(0, 0), (1, 0), (16, 5), (21, 5)] {
            let shape = [start, cols, beyond];
            groups_of::<E, S, 1>(token, shape);
            groups_of::<E, S, 2>(token, shape);
            groups_of::<E, S, 4>(token, shape);
        }
    }
}

#[inline(always)]
fn groups_of<E: Scalar, S: Simd, const R: usize>(token: S, [start, cols, beyond]: [usize; 3]) {
    let rows = start..start + R * cols;
    let x = numbers(rows.end + beyond);
    let expected = |before: &[f32]| {
        let mut y = before.to_vec();
        y[rows.clone()].copy_from_slice(&minus(&x[rows.clone()]));
        y
    };
    let mut y = vec![SENTINEL; x.len()];
    let expected_y = expected(&y);
    negate::<E, S, R>(token, Span::new(&x, &mut y), &x, [start, cols]);
    assert!(same_memory(&y, &expected_y), "{R} rows of {cols} in {rows:?}: {y:?}");
    let mut xy = numbers(x.len());
    negate::<E, S, R>(token, Span::in_place(&mut xy), &x, [start, cols]);
    assert!(same_memory(&xy, &expected(&x)), "{R} rows of {cols} in {rows:?}, in place: {xy:?}");
}

#[inline(always)]
fn splits<E: Scalar, S: Simd>(token: S) {
    let x = numbers(40);
    for at in 0..=x.len() {
        let negate_both = |span: Span<'_>| {
            let (low, high) = span.split_at(at);
            // Each on a thread of its own, as tasks are.
            thread::scope(|scope| {
                scope.spawn(|| negate::<E, S, 1>(token, high, &x[at..], [0, x.len() - at]));
                scope.spawn(|| negate::<E, S, 1>(token, low, &x[..at], [0, at]));
            });
            Ok::<_, Error>(())
        };
        let mut y = vec![SENTINEL; x.len()];
        assert_eq!(negate_both(Span::new(&x, &mut y)), Ok(()));
        assert_eq!(y, minus(&x), "split at {at}");
        let mut xy = numbers(x.len());
        assert_eq!(negate_both(Span::in_place(&mut xy)), Ok(()));
        assert_eq!(xy, minus(&x), "split at {at}, in place");
        let mut y = vec![MaybeUninit::new(SENTINEL); x.len()];
        let address = y.as_ptr().cast();
        let whole = write_whole(&x, &mut y, negate_both).expect("what the closure returns");
        assert_eq!((whole.as_ptr(), &*whole), (address, &*minus(&x)), "split at {at}, new");
    }
}

#[inline(always)]
fn refusals<E: Scalar, S: Simd>(token: S) {
    let (x, mut y) = (numbers(40), vec![SENTINEL; 40]);
    let zero: E = from_f32(0.0);
    let vector = Vector::<E, S>::splat(token, zero);
    assert!(panics(|| Vector::<E, S>::load_partial(token, &x[..17], zero)));
    assert!(panics(|| vector.store_partial(&mut [MaybeUninit::new(0.0); 17])));

    assert!(panics(|| Span::new(&x[1..], &mut y)));
    assert!(panics(|| Span::new(&x, &mut y[1..])));
    let memory = |len| vec![MaybeUninit::new(0.0); len];
    assert_eq!(write_whole(&x, &mut memory(40), |_| Err("no")), Err("no"));
    for len in [39, 41] {
        assert!(panics(|| write_whole(&x, &mut memory(len), |_| Err("no")).is_ok()));
    }
    assert!(panics(|| Span::new(&x, &mut y).split_at(41)));
    assert!(panics(|| Span::in_place(&mut y).split_at(usize::MAX)));

    for len in [0, 39, 41] {
        let values = vec![1.0; len];
        assert!(panics(|| Span::new(&x, &mut y).put(&values)), "{len} of 40");
    }
    let mut span = Span::new(&x, &mut y);
    for (start, cols) in [(0, 41), (1, 40), (41, 0), (usize::MAX, 1), (1, usize::MAX)] {
        assert!(panics(|| span.group::<1>(start, cols).full()), "{cols} from {start}");
    }
    for (start, cols) in [(0, 21), (1, 20), (2, usize::MAX / 2), (0, usize::MAX / 2 + 1)] {
        assert!(panics(|| span.group::<2>(start, cols).full()), "2 of {cols} from {start}");
    }
    assert_eq!(span.group::<2>(40, 0).full(), 0);
    for (cols, pitch) in [(10, 31), (41, 0), (1, usize::MAX), (usize::MAX, 1)] {
        let refused = panics(|| span.group_apart::<2>(0, cols, pitch).full());
        assert!(refused, "2 of {cols}, {pitch} apart");
    }
    assert!(panics(|| span.group_apart::<3>(1, 9, 16).full()));
    assert_eq!(span.group_apart::<3>(1, 7, 16).cols(), 7);

    let mut group = span.group::<2>(2, 19);
    for (r, i) in [(0, 1), (1, 1), (2, 0), (0, usize::MAX), (0, usize::MAX / LANES + 1)] {
        assert!(panics(|| group.load::<Vector<E, S>>(token, r, i)), "vector {i} of row {r}");
        assert!(panics(|| group.store::<_, false>(r, i, vector)), "vector {i} of row {r}");
    }
    assert!(panics(|| group.load_tail::<Vector<E, S>>(token, 2, zero)));
    assert!(panics(|| group.store_tail(2, vector)));
    drop(span);
    assert!(same_memory(&y, &[SENTINEL; 40]), "a refused store writes nothing");

    let (before, rest) = Span::new(&x, &mut y).split_at(1);
    before.put(&x[..1]);
    let (between, after) = rest.split_at(36);
    after.put(&x[..3]);
    between.split_at(36).1.put(&[]);
    assert!(same_memory(&y[37..], &x[..3]) && same_memory(&y[..1], &x[..1]));
    assert!(same_memory(&y[1..37], &[SENTINEL; 36]), "nothing beside is written");
}
