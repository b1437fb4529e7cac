//! The SIMD contract: what a kernel may ask of a CPU, and the backends that answer.
//!
//! **Virtual lanes.** Every vector has [`LANES`] = 16 lanes on every backend, however many registers
//! that takes: AVX-512 holds 16 f32 in one, AVX2 in two, SSE2 and NEON in four. A kernel written on
//! these vectors therefore has one order of operations, and backends that fuse multiply-adds give
//! the same bits. Why 16 and not 32: with 16 a group of rows keeps its sums in AVX2's 16 registers,
//! and rows of fewer than 32 elements do not waste half of a vector.
//!
//! **Safety.** A backend is a zero-sized token that only its own `detect` makes, after it has seen
//! every CPU feature of the backend. A vector is made from a token or from another vector, so having
//! one proves that its instructions exist: arithmetic on vectors is safe. Loads and stores take
//! references to arrays and slices of known length. All of the crate's `unsafe` is in this folder.
//!
//! **Inlining.** Every method is `#[inline(always)]` and carries no target feature of its own; it is
//! inlined into the one `#[target_feature]` function of its backend, [`Simd::vectorize`]. A method
//! that is not inlined there is a slow function call, and nothing else would show it.

#[cfg(feature = "capi")]
mod environment;
mod features;
mod portable;
mod row_span;
mod span;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use core::mem::MaybeUninit;
use core::ops::{Add, BitXor, Div, Mul, Sub};

#[cfg(feature = "capi")]
pub(crate) use environment::with_default as with_default_environment;
pub(crate) use portable::Portable;
pub(crate) use row_span::{RowSpan, reach};
pub(crate) use span::{Group, Span, write_whole};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{Avx2, Avx512};

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

    /// How many rows a kernel works on at a time. It changes no bit, only how much is in flight;
    /// each backend says what it measured.
    const ROWS: usize;
    /// Whether [`Float::mul_add`] rounds once.
    const FUSED: bool;

    /// Runs a kernel compiled for this backend.
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output;

    /// The same, as a function call: for what a kernel seldom does, so that it is compiled once and
    /// not into every loop that might need it.
    fn outline<K: Kernel>(self, kernel: K) -> K::Output;
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

    /// The same lanes, widened where these are f64.
    fn of_single(x: <Self::Token as Simd>::F32) -> Self;

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

    /// Writes sixteen elements around the caches. Other threads see them after [`fence`].
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

    /// Each lane without its sign; of a NaN, a NaN.
    fn abs(self) -> Self;

    /// The lesser of both in each lane; that of `other` where they are equal or either is NaN.
    fn min(self, other: Self) -> Self;

    /// The greater of both in each lane; that of `other` where they are equal or either is NaN.
    fn max(self, other: Self) -> Self;

    /// The sum of the lanes by halving: lane `i` plus lane `i + 8`, then `i + 4`, `i + 2`, `i + 1`.
    fn sum(self) -> Self::Elem;

    /// For each vector, its lanes widened to f64 and summed by halving. Several at once, since
    /// their reductions can share shuffles.
    fn sums<const N: usize>(vectors: [Self; N]) -> [f64; N];

    /// A bit for each lane that compares equal (`==`: NaN never, `-0.0` and `0.0` do), lane 0 lowest.
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

    /// The same lanes as f64.
    fn widen(x: Self::Single) -> Self;

    /// The same lanes, each rounded to f32.
    fn narrow(self) -> Self::Single;

    /// Sixteen elements.
    fn load_f64(token: Self::Token, x: &[f64; LANES]) -> Self;

    /// Writes sixteen elements.
    fn store_f64(self, y: &mut [f64; LANES]);

    /// A bit for each lane that is less than or equal to that of `other`; NaN never is.
    fn less_or_equal(self, other: Self) -> u16;
}

/// Eight lanes of u64: the state of eight random generators. `+` wraps.
pub(crate) trait Word: Copy + Add<Output = Self> + BitXor<Output = Self> {
    /// The backend.
    type Token: Simd;
    /// A choice among 16 lanes.
    type Keep: Keep<Token = Self::Token>;

    /// The lanes.
    fn new(token: Self::Token, lanes: [u64; 8]) -> Self;

    /// The lanes.
    fn to_array(self) -> [u64; 8];

    /// `lane << LEFT`.
    fn shift_left<const LEFT: u32>(self) -> Self;

    /// `lane.rotate_left(LEFT)`, where `RIGHT` is 64 - `LEFT`.
    fn rotate_left<const LEFT: u32, const RIGHT: u32>(self) -> Self;

    /// Read as 32 signed 16-bit integers, lowest bits of the lowest lane first: those that are at
    /// least `least`.
    fn keep_16(self, least: i16) -> [Self::Keep; 2];

    /// Read as 16 signed 32-bit integers, lowest bits of the lowest lane first: those that are at
    /// least `least`.
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

/// Sixteen elements that fill a cache line.
#[repr(align(64))]
pub(crate) struct Line([MaybeUninit<f32>; LANES]);

/// The same address, of whose making the optimiser knows nothing. A loop over several rows then counts one index; of sums that
/// it sees through, it makes a pointer for each row, gamma and beta, and moves every one of them on: normalise-scale-shift of
/// 1x768 went from 198 to 163 ns (AVX-512).
#[inline(always)]
#[cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read there")
)]
fn opaque(address: *const f32) -> *const f32 {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        let mut address = address;
        // SAFETY: no instruction, which gives back what it was given.
        unsafe {
            core::arch::asm!(
                "/* {} */",
                inout(reg) address,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        address
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    address
}

/// Makes what this thread has streamed visible to others before what it writes next.
#[inline(always)]
fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64.
    unsafe {
        core::arch::x86_64::_mm_sfence();
    }
}

/// Asks for a cache line to be brought to L1. A hint: any address is allowed.
#[inline(always)]
pub(crate) fn prefetch(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a prefetch never faults.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The same, to be written.
#[inline(always)]
fn prefetch_write(address: *const f32) {
    // Not the intrinsic: it becomes a prefetch to be read unless PRFCHW is enabled, which has no name in Rust.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes nothing; a CPU without it has a no-op there.
    unsafe {
        core::arch::asm!(
            "prefetchw [{}]",
            in(reg) address,
            options(nostack, readonly, preserves_flags)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
