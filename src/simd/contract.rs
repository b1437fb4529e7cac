//! The contract: what a backend is, what a kernel is, and what vectors do on every backend.

use core::mem::MaybeUninit;
use core::ops::{Add, BitXor, Div, Mul, Sub};

use crate::element::Half;

/// The names of all backends, slowest first.
pub(crate) const BACKENDS: [&str; 3] = ["portable", "avx2", "avx512"];

/// Lanes of every vector, on every backend.
pub(crate) const LANES: usize = 16;

/// A backend: proof that the CPU has its features, and its vector types.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// 16 lanes of f32.
    type F32: Single<Token = Self>;
    /// 16 lanes of f64: for the statistics of columns, and for what f32 cannot hold.
    type F64: Double<Token = Self, Elem = f64, Single = Self::F32>;
    /// 8 lanes of u64.
    type U64: Word<Token = Self, Keep = Self::Keep>;
    /// A choice among 16 lanes.
    type Keep: Keep<Token = Self, Values = Self::F32>;

    /// How many rows a kernel works on at a time. The number changes no bit, only how much is in flight.
    /// Each backend states the measurement behind its number.
    const ROWS: usize;
    /// Whether [`Float::mul_add`] rounds once.
    const FUSED: bool;

    /// Runs a kernel compiled for this backend.
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output;

    /// The same as a function call, for what a kernel seldom does. The compiler emits it once instead of
    /// inlining it into every loop that might need it.
    fn outline<K: Kernel>(self, kernel: K) -> K::Output;

    /// Widens elements of a format to f32, exactly.
    fn widen(self, half: Half, x: &[u16], y: &mut [f32]);

    /// Narrows f32 to a format, to the nearest, ties to even.
    fn narrow(self, half: Half, x: &[f32], y: &mut [MaybeUninit<u16>]);
}

/// A computation written once for every backend.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;
    /// The computation. Implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// The element of a vector: f32, or f64 where a block or a row leaves what f32 can hold.
pub(crate) trait Real: Copy {
    /// Rounds to this type.
    fn from_f64(x: f64) -> Self;
    /// Exact.
    fn to_f64(self) -> f64;
}

impl Real for f32 {
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
}

/// Sixteen lanes of f32 or f64, loaded from and stored to f32 memory.
///
/// `+`, `-`, `*` and `/` act on each lane and round once.
pub(crate) trait Float:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// The backend.
    type Token: Simd;
    /// The type of a lane.
    type Elem: Real;

    /// `x` in every lane.
    fn splat(token: Self::Token, x: Self::Elem) -> Self;

    /// Sixteen elements, widened where lanes are f64.
    fn load(token: Self::Token, x: &[f32; LANES]) -> Self;

    /// The lanes of `x`, widened where these are f64.
    fn of_single(x: <Self::Token as Simd>::F32) -> Self;

    /// The same lanes as f32, each rounded where these are f64.
    fn to_single(self) -> <Self::Token as Simd>::F32;

    /// The first `x.len()` lanes from `x`, `fill` in the others. Reads nothing beyond `x`.
    ///
    /// # Panics
    ///
    /// If `x` has more than 16 elements.
    fn load_partial(token: Self::Token, x: &[f32], fill: Self::Elem) -> Self;

    /// Writes sixteen elements, each rounded once where lanes are f64.
    fn store(self, y: &mut [MaybeUninit<f32>; LANES]);

    /// The same to memory that is initialised.
    #[inline(always)]
    fn store_init(self, y: &mut [f32; LANES]) {
        // SAFETY: the types have one layout, and `store` writes nothing but initialised lanes.
        self.store(unsafe { &mut *core::ptr::from_mut(y).cast() });
    }

    /// Writes sixteen elements by non-temporal stores, where the CPU has them. Other threads see the elements
    /// after the fence.
    fn stream(self, y: &mut Line);

    /// Writes the first `y.len()` lanes and nothing beyond `y`.
    ///
    /// # Panics
    ///
    /// If `y` has more than 16 elements.
    fn store_partial(self, y: &mut [MaybeUninit<f32>]);

    /// The same to memory that is initialised.
    #[inline(always)]
    fn store_partial_init(self, y: &mut [f32]) {
        // SAFETY: the types have one layout, and `store_partial` writes nothing but initialised lanes.
        self.store_partial(unsafe { &mut *(core::ptr::from_mut(y) as *mut [MaybeUninit<f32>]) });
    }

    /// `self * factor + addend`, rounded once where the backend is [`Simd::FUSED`], else twice.
    fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// The square root, rounded once.
    fn sqrt(self) -> Self;

    /// The absolute value of each lane. A NaN stays a NaN.
    fn abs(self) -> Self;

    /// The minimum in each lane. Where both are equal or either is NaN, the lane of `other`.
    fn min(self, other: Self) -> Self;

    /// The maximum in each lane. Where both are equal or either is NaN, the lane of `other`.
    fn max(self, other: Self) -> Self;

    /// The sum of the lanes by halving: lane `i` plus lane `i + 8`, then `i + 4`, `i + 2` and `i + 1`.
    fn sum(self) -> Self::Elem;

    /// For each vector, its lanes widened to f64 and summed by halving. The reductions of several
    /// vectors share shuffles.
    fn sums<const N: usize>(vectors: [Self; N]) -> [f64; N];

    /// A bit for each lane that compares equal, lane 0 lowest. NaN equals nothing; `-0.0` equals `0.0`.
    fn equal(self, other: Self) -> u16;
}

/// What f32 lanes have beyond [`Float`].
pub(crate) trait Single: Float<Elem = f32> {
    /// `self * 2^n` of whole numbers n from -126 to 127, rounded once.
    fn scale(self, n: Self) -> Self;
}

/// What f64 lanes have beyond [`Float`].
pub(crate) trait Double: Float<Elem = f64> {
    /// The vector of as many f32 lanes.
    type Single: Single<Token = Self::Token>;

    /// The lanes of `x` as f64.
    fn widen(x: Self::Single) -> Self;

    /// The same lanes, each rounded to f32.
    fn narrow(self) -> Self::Single;

    /// Sixteen elements.
    fn load_f64(token: Self::Token, x: &[f64; LANES]) -> Self;

    /// Writes sixteen elements.
    fn store_f64(self, y: &mut [f64; LANES]);

    /// A bit for each lane that is less than or equal to the lane of `other`. NaN never is.
    fn less_or_equal(self, other: Self) -> u16;
}

/// Eight lanes of u64: the state of eight random generators. `+` wraps.
pub(crate) trait Word: Copy + Add<Output = Self> + BitXor<Output = Self> {
    /// The backend.
    type Token: Simd;
    /// A choice among 16 lanes.
    type Keep: Keep<Token = Self::Token>;

    /// A vector of these lanes.
    fn new(token: Self::Token, lanes: [u64; 8]) -> Self;

    /// The lanes.
    fn to_array(self) -> [u64; 8];

    /// `lane << LEFT`.
    fn shift_left<const LEFT: u32>(self) -> Self;

    /// `lane.rotate_left(LEFT)`, where `RIGHT` is 64 - `LEFT`.
    fn rotate_left<const LEFT: u32, const RIGHT: u32>(self) -> Self;

    /// The lanes as 32 signed 16-bit integers, lowest bits of the lowest lane first: chosen are those
    /// of at least `least`.
    fn keep_16(self, least: i16) -> [Self::Keep; 2];

    /// The lanes as 16 signed 32-bit integers, lowest bits of the lowest lane first: chosen are those
    /// of at least `least`.
    fn keep_32(self, least: i32) -> Self::Keep;
}

/// A choice among 16 lanes.
pub(crate) trait Keep: Copy {
    /// The backend.
    type Token: Simd;
    /// What is chosen among.
    type Values: Float<Token = Self::Token, Elem = f32>;

    /// The lanes whose bit is set, lane 0 lowest.
    fn from_bits(token: Self::Token, bits: u16) -> Self;

    /// A bit for each chosen lane.
    fn to_bits(self) -> u16;

    /// `value` in the chosen lanes, `+0.0` in the others, whatever `value` is there.
    fn or_zero(self, value: Self::Values) -> Self::Values;
}

/// The sixteen elements of one cache line.
#[repr(align(64))]
pub(crate) struct Line(pub(super) [MaybeUninit<f32>; LANES]);
