//! Penalties on parameters, L1 and L2: their sums, their gradient, the decay and the proximal step.
//!
//! The plain algorithms, for every parameter w, and g, its gradient so far:
//!
//! ```text
//! A += |w|;  Q += w * w
//! g = g + l2 * w + l1 * sign(w)                     sign(0) = 0
//! w = w * factor
//! w = (w - min(max(w, -t), t)) * scale              soft threshold: 0 where |w| <= t
//! ```
//!
//! What makes them exact and fast:
//!
//! * **One pass.** All of this is bound by memory from L3 on. The sums and the gradient together are made block by block:
//!   what the sums have read is in L1 when the gradient loads it.
//! * **Sums in blocks** of [`BLOCK`] elements, on two levels of f32, as the statistics of rows have them (`kernels/rows/block.rs`),
//!   merged in f64 in one tree, whatever thread has a block (`kernels/merge/segments.rs`). No term is negative, so that the relative error
//!   of a sum is that of its additions: 16 roundings, whatever the length.
//! * **One test a block**: where f32 cannot hold the squares, or the sum of |w|, the block is done again by the same code on f64 lanes.
//!   A block of zeros, of which L1 leaves many, is not.
//! * **A sign without a comparison.** w * 2^127 is at least 2^-22 in magnitude where w is not 0: the smallest subnormal is
//!   2^-149. Clamped to 2^-22 it is sign(w) * 2^-22, and a NaN is a NaN; a multiply-add with l1 * 2^22 adds l1 * sign(w).
//! * **No select** in the soft threshold: w minus what is clamped of it is 0 within the threshold.
//! * **A range test a call.** Where a coefficient leaves what f32 can hold, the same code runs on f64 lanes.
#![forbid(unsafe_code)]

use crate::kernels::merge::cascade::Merge;
use crate::kernels::merge::segments::Segments;
use crate::kernels::range::{LARGEST, squares_fit};
use crate::kernels::rows::block::{BLOCK, TERMS, prefetch_ahead};
use crate::kernels::split::Split;
use crate::kernels::tuning::WRITE_AHEAD;
use crate::simd::{Float, Group, Kernel, LANES, Real, Simd, Span};

/// Makes every number that is not 0 at least [`SIGN`].
const SCALE: f64 = (1_u128 << 127) as f64;

/// The smallest subnormal f32 times [`SCALE`].
const SIGN: f64 = 1.0 / (1_u32 << 22) as f64;

/// The sums of parameters, and, if `gradient` is there, the gradient of the penalty added to it.
#[derive(Debug)]
pub(crate) struct Penalize<'a> {
    pub(crate) w: &'a [f32],
    pub(crate) gradient: Option<Span<'a>>,
    pub(crate) rule: Gradient,
    /// The index of the first block.
    pub(crate) first: usize,
}

impl Split for Penalize<'_> {
    fn rows(&self) -> usize {
        self.w.len().div_ceil(BLOCK)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { w, gradient, rule, first } = self;
        let cut = split_point(at, w.len());
        let (low, high) = w.split_at(cut);
        let (low_gradient, high_gradient) = gradient.map(|io| io.split_at(cut)).unzip();
        (
            Self { w: low, gradient: low_gradient, rule, first },
            Self { w: high, gradient: high_gradient, rule, first: first + at },
        )
    }
}

impl Kernel for Penalize<'_> {
    type Output = Segments<PenaltySums>;

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> Segments<PenaltySums> {
        let Self { w, mut gradient, rule, first } = self;
        let mut segments = Segments::new(first);
        for (i, block) in w.chunks(BLOCK).enumerate() {
            segments.push(PenaltySums::measure(token, block));
            if let Some(io) = &mut gradient {
                sweep_rule(token, io.group::<1>(i * BLOCK, block.len()), block, rule);
            }
        }
        segments
    }
}

/// Applies a rule to every element of `io`, beside which are as many parameters if the rule reads them, else none.
#[derive(Debug)]
pub(crate) struct ApplyRule<'a, T> {
    pub(crate) io: Span<'a>,
    pub(crate) w: &'a [f32],
    pub(crate) rule: T,
}

impl<T: Rule> Split for ApplyRule<'_, T> {
    fn rows(&self) -> usize {
        self.io.len().div_ceil(BLOCK)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { io, w, rule } = self;
        let at = split_point(at, io.len());
        let (low, high) = io.split_at(at);
        let (low_w, high_w) = w.split_at(at.min(w.len()));
        (Self { io: low, w: low_w, rule }, Self { io: high, w: high_w, rule })
    }
}

impl<T: Rule> Kernel for ApplyRule<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { mut io, w, rule } = self;
        let len = io.len();
        sweep_rule(token, io.group::<1>(0, len), w, rule);
    }
}

/// Splits between blocks.
#[inline(always)]
fn split_point(at: usize, len: usize) -> usize {
    at.saturating_mul(BLOCK).min(len)
}

/// Sum of magnitudes, sum of squares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PenaltySums {
    pub(crate) abs: f64,
    pub(crate) squares: f64,
}

impl Merge for PenaltySums {
    const EMPTY: Self = Self { abs: 0.0, squares: 0.0 };

    #[inline(always)]
    fn merged(self, other: Self) -> Self {
        Self { abs: self.abs + other.abs, squares: self.squares + other.squares }
    }
}

impl PenaltySums {
    /// Of a block, 1 to [`BLOCK`] elements.
    #[inline(always)]
    fn measure<S: Simd>(token: S, w: &[f32]) -> Self {
        let norms = penalty_sums::<S::F32>(token, w);
        // Sums of subnormal numbers are exact: only zeros have the sum 0.
        let good = norms.abs == 0.0
            || norms.abs < f64::INFINITY && squares_fit(norms.squares, w.len() as f64);
        if good { norms } else { token.outline(PenaltySumsInF64 { w }) }
    }

    /// `l1 * A + l2 / 2 * Q`.
    pub(crate) fn penalty(self, l1: f64, l2: f64) -> f64 {
        l1 * self.abs + 0.5 * l2 * self.squares
    }
}

/// The sums of a block on lanes of type `V`.
#[inline(always)]
fn penalty_sums<V: Float>(token: V::Token, w: &[f32]) -> PenaltySums {
    let zero = V::splat(token, V::Elem::from_f64(0.0));
    let (mut abs, mut squares) = (zero, zero);
    let (vectors, tail) = w.as_chunks::<LANES>();
    let (groups, rest) = vectors.as_chunks::<TERMS>();
    for group in groups {
        prefetch_ahead(group);
        let first = V::load(token, &group[0]);
        let (mut inner_abs, mut inner_squares) = (first.abs(), first * first);
        for vector in &group[1..] {
            let w = V::load(token, vector);
            (inner_abs, inner_squares) = (inner_abs + w.abs(), w.mul_add(w, inner_squares));
        }
        (abs, squares) = (abs + inner_abs, squares + inner_squares);
    }
    if rest.len() + tail.len() > 0 {
        let last = V::load_partial(token, tail, V::Elem::from_f64(0.0));
        let (mut inner_abs, mut inner_squares) = (last.abs(), last * last);
        for vector in rest {
            let w = V::load(token, vector);
            (inner_abs, inner_squares) = (inner_abs + w.abs(), w.mul_add(w, inner_squares));
        }
        (abs, squares) = (abs + inner_abs, squares + inner_squares);
    }
    let [abs, squares] = V::sums([abs, squares]);
    PenaltySums { abs, squares }
}

/// Applies a rule: to the elements before the first cache line boundary of y, then to the rest, so that stores do not
/// cross cache lines.
#[inline(always)]
fn sweep_rule<S: Simd, T: Rule>(token: S, mut row: Group<'_, 1>, w: &[f32], rule: T) {
    if !rule.fits_f32() {
        return token.outline(SweepRuleInF64 { row, w, rule });
    }
    let (head, len) = (row.before_line(), row.cols());
    for (start, end) in [(0, head), (head, len)] {
        if start < end {
            let w = if T::READS_W { &w[start..end] } else { w };
            let mut part = row.columns(start, end);
            if part.streams() {
                sweep_rule_part::<S::F32, T, true>(token, &mut part, w, rule);
            } else {
                sweep_rule_part::<S::F32, T, false>(token, &mut part, w, rule);
            }
        }
    }
}

#[inline(always)]
fn sweep_rule_part<V: Float, T: Rule, const STREAM: bool>(
    token: V::Token,
    row: &mut Group<'_, 1>,
    w: &[f32],
    rule: T,
) {
    let mut coefficients = [V::splat(token, V::Elem::from_f64(0.0)); 3];
    for (lanes, coefficient) in coefficients.iter_mut().zip(rule.coefficients()) {
        *lanes = V::splat(token, V::Elem::from_f64(coefficient));
    }
    let (full, (vectors, tail)) = (row.full(), w.as_chunks::<LANES>());
    let vectors = if T::READS_W { &vectors[..full] } else { vectors };
    for i in 0..full {
        if !STREAM {
            row.prefetch_write(0, i, WRITE_AHEAD);
        }
        let x: V = row.load(token, 0, i);
        let w = if T::READS_W { V::load(token, &vectors[i]) } else { x };
        row.store::<V, STREAM>(0, i, T::apply(token, coefficients, x, w));
    }
    if row.tail() > 0 {
        let zero = V::Elem::from_f64(0.0);
        let x: V = row.load_tail(token, 0, zero);
        let w = if T::READS_W { V::load_partial(token, tail, zero) } else { x };
        row.store_tail(0, T::apply(token, coefficients, x, w));
    }
}

/// What becomes of every element.
pub(crate) trait Rule: Copy + Send {
    /// Whether an element depends on a parameter beside it.
    const READS_W: bool;

    /// What the formula needs, the same for all elements.
    fn coefficients(self) -> [f64; 3];

    /// Whether f32 can do it.
    fn fits_f32(self) -> bool;

    /// The formula, for elements x and the parameters w beside them.
    fn apply<V: Float>(token: V::Token, coefficients: [V; 3], x: V, w: V) -> V;
}

/// Whether a coefficient and its products are well within the range of f32.
#[inline(always)]
fn coefficient_fits(coefficient: f64) -> bool {
    coefficient == 0.0 || (1.0 / LARGEST..=LARGEST).contains(&coefficient.abs())
}

/// `g + l2 * w + l1 * sign(w)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gradient {
    pub(crate) l1: f64,
    pub(crate) l2: f64,
}

impl Rule for Gradient {
    const READS_W: bool = true;

    #[inline(always)]
    fn coefficients(self) -> [f64; 3] {
        // At most f64::MAX, so that times a sign of 0 it is 0.
        [(self.l1 / SIGN).min(f64::MAX), self.l2, SIGN]
    }

    #[inline(always)]
    fn fits_f32(self) -> bool {
        coefficient_fits(self.l1) && coefficient_fits(self.l2)
    }

    #[inline(always)]
    fn apply<V: Float>(token: V::Token, [l1, l2, most]: [V; 3], x: V, w: V) -> V {
        let scale = V::splat(token, V::Elem::from_f64(SCALE));
        let least = V::splat(token, V::Elem::from_f64(0.0)) - most;
        // In this order a NaN stays.
        let sign = least.max(most.min(w * scale));
        sign.mul_add(l1, w.mul_add(l2, x))
    }
}

/// `x * factor`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decay {
    factor: f64,
}

impl Decay {
    /// The factor is `1 - rate * l2`.
    pub(crate) fn new(l2: f64, rate: f64) -> Self {
        // Finite, so that times 0 it is 0.
        Self { factor: (1.0 - rate * l2).max(f64::MIN) }
    }
}

impl Rule for Decay {
    const READS_W: bool = false;

    #[inline(always)]
    fn coefficients(self) -> [f64; 3] {
        [self.factor, 0.0, 0.0]
    }

    #[inline(always)]
    fn fits_f32(self) -> bool {
        coefficient_fits(self.factor)
    }

    #[inline(always)]
    fn apply<V: Float>(_: V::Token, [factor, ..]: [V; 3], x: V, _: V) -> V {
        x * factor
    }
}

/// `(x - clamp(x, -threshold, threshold)) * scale`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proximal {
    threshold: f64,
    scale: f64,
}

impl Proximal {
    /// The threshold is `step * l1`, the scale `1 / (1 + step * l2)`.
    pub(crate) fn new(l1: f64, l2: f64, step: f64) -> Self {
        // Finite, so that an infinity is beyond it.
        let threshold = (step * l1).min(f64::MAX);
        Self { threshold, scale: 1.0 / (1.0 + step * l2) }
    }
}

impl Rule for Proximal {
    const READS_W: bool = false;

    #[inline(always)]
    fn coefficients(self) -> [f64; 3] {
        [self.threshold, -self.threshold, self.scale]
    }

    #[inline(always)]
    fn fits_f32(self) -> bool {
        // A threshold of no weight beside normal numbers may be rounded as it is.
        self.threshold <= LARGEST && coefficient_fits(self.scale)
    }

    #[inline(always)]
    fn apply<V: Float>(_: V::Token, [most, least, scale]: [V; 3], x: V, _: V) -> V {
        // In this order a NaN stays.
        (x - least.max(most.min(x))) * scale
    }
}

/// What f32 cannot do.
struct SweepRuleInF64<'w, 'a, T> {
    row: Group<'a, 1>,
    w: &'w [f32],
    rule: T,
}

impl<T: Rule> Kernel for SweepRuleInF64<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, token: S) {
        sweep_rule_part::<S::F64, T, false>(token, &mut self.row, self.w, self.rule);
    }
}

/// The sums of a block that f32 cannot do.
struct PenaltySumsInF64<'a> {
    w: &'a [f32],
}

impl Kernel for PenaltySumsInF64<'_> {
    type Output = PenaltySums;

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> PenaltySums {
        penalty_sums::<S::F64>(token, self.w)
    }
}
