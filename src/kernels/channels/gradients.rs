//! Gradients where channels come first: the planes of `[batch, channels, positions]`.
//!
//! The plain algorithm, for every plane, where g is `dy * gamma` of its channel:
//!
//! ```text
//! for each position: x_hat = (x - mean) * rstd;  b += dy;  d += dy * x_hat
//! for each position: dx = rstd * (g - mean of g - x_hat * (mean of g * x_hat))
//! ```
//!
//! The means are those of a channel (`BatchNorm`) or of a group (`GroupNorm`), which are sums of those of planes. What makes it
//! exact and fast:
//!
//! * **Blocks** of 1024 positions are summed in f32, in two levels, and added to f64, in order.
//! * **Coefficients** are those of columns (`kernels/columns/gradients.rs`), made for up to sixteen planes at a time.
//! * **A group of `GroupNorm`** has its statistics, its sums and its dx made one after the other, while it is in cache.
//! * **One test a block, and one a plane**: what leaves f32 is done again on f64 lanes.
#![forbid(unsafe_code)]

use crate::kernels::columns::coefficients::Coefficients;
use crate::kernels::columns::gradients::{GradientCoefficients, GradientColumns};
use crate::kernels::lanes::{Lanes64, load_f64};
use crate::kernels::range::LARGEST;
use crate::kernels::row_filter::RowFilter;
use crate::kernels::rows::block::{BLOCK, TERMS};
use crate::kernels::split::Split;
use crate::kernels::tuning::WRITE_AHEAD;
use crate::simd::{
    Double, FORWARD_X, Float, Group, INPUTS, Kernel, LANES, Real, RowInputs, RowSpan, Simd,
};

/// The sums of dy and of `dy * x_hat`.
pub(super) type Pair = [f64; 2];

/// Makes the sums of every plane, with the statistics of its channel.
pub(crate) struct PlaneSums<'a> {
    pub(crate) dy: &'a [f32],
    pub(crate) x: &'a [f32],
    pub(crate) positions: usize,
    /// One of each a channel.
    pub(crate) mean: &'a [f64],
    pub(crate) rstd: &'a [f64],
    /// Which positions of the batch are data, where some are not.
    pub(crate) kept: Option<RowFilter<'a>>,
    /// The plane of the batch that is the first of these.
    pub(crate) first: usize,
    /// A pair a plane.
    pub(crate) sums: &'a mut [[f64; 2]],
}

impl Split for PlaneSums<'_> {
    fn rows(&self) -> usize {
        self.sums.len()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (dy, high_dy) = self.dy.split_at(at * self.positions);
        let (x, high_x) = self.x.split_at(at * self.positions);
        let (sums, high_sums) = self.sums.split_at_mut(at);
        (
            Self { dy, x, sums, ..self },
            Self { dy: high_dy, x: high_x, sums: high_sums, first: self.first + at, ..self },
        )
    }
}

impl Kernel for PlaneSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { dy, x, positions, mean, rstd, kept, first, sums } = self;
        let channels = mean.len();
        let (mut plane, count) = (0, sums.len());
        while plane < count {
            let channel = (first + plane) % channels;
            let len = LANES.min(channels - channel).min(count - plane);
            let range = channel..channel + len;
            let terms = PlaneTerms::new(token, &mean[range.clone()], &rstd[range]);
            for lane in 0..len {
                let part = (plane + lane) * positions..(plane + lane + 1) * positions;
                let (dy, x) = (&dy[part.clone()], &x[part]);
                let term = terms.lane(token, lane);
                let sample = (first + plane) / channels * positions;
                sums[plane + lane] = sums_of_plane(token, (dy, x), term, (kept, sample));
            }
            plane += len;
        }
    }
}

/// What `x_hat` of up to sixteen planes is made of.
pub(super) struct PlaneTerms {
    mean: Lanes64,
    rstd: Lanes64,
    hi: [f32; LANES],
    alpha: [f32; LANES],
    shift: [f32; LANES],
    outside: u16,
}

/// The same of one plane.
#[derive(Clone, Copy)]
pub(super) struct Term {
    mean: f64,
    rstd: f64,
    hi: f32,
    alpha: f32,
    shift: f32,
    /// Whether f32 holds the last three.
    fits: bool,
}

impl PlaneTerms {
    /// From the statistics of up to sixteen planes.
    #[inline(always)]
    pub(super) fn new<S: Simd>(token: S, mean: &[f64], rstd: &[f64]) -> Self {
        let zero = S::F64::splat(token, 0.0);
        let (of_mean, of_rstd) = (load_f64(token, mean, 0, 0.0), load_f64(token, rstd, 0, 0.0));
        let statistics = (of_mean, of_rstd, zero);
        let (wide, outside) = Coefficients::new(token, statistics, None, None, (0, LANES));
        let single = wide.narrow(token);
        let mut terms = Self {
            mean: [0.0; LANES],
            rstd: [0.0; LANES],
            hi: [0.0; LANES],
            alpha: [0.0; LANES],
            shift: [0.0; LANES],
            outside,
        };
        of_mean.store_f64(&mut terms.mean);
        of_rstd.store_f64(&mut terms.rstd);
        single.hi.store_init(&mut terms.hi);
        single.alpha.store_init(&mut terms.alpha);
        single.shift.store_init(&mut terms.shift);
        terms
    }

    #[inline(always)]
    pub(super) fn lane<S: Simd>(&self, _: S, lane: usize) -> Term {
        Term {
            mean: self.mean[lane],
            rstd: self.rstd[lane],
            hi: self.hi[lane],
            alpha: self.alpha[lane],
            shift: self.shift[lane],
            fits: self.outside >> lane & 1 == 0,
        }
    }
}

impl Term {
    /// Of one mean and rstd.
    #[inline(always)]
    pub(super) fn new<S: Simd>(token: S, mean: f64, rstd: f64) -> Self {
        PlaneTerms::new(token, &[mean], &[rstd]).lane(token, 0)
    }

    #[inline(always)]
    fn coefficients<S: Simd>(self, token: S) -> Coefficients<S::F32> {
        Coefficients {
            hi: S::F32::splat(token, self.hi),
            alpha: S::F32::splat(token, self.alpha),
            shift: S::F32::splat(token, self.shift),
        }
    }
}

/// The sums of a plane, of whose positions those are left out that the filter, if there is one, does not keep. The first is its
/// row `sample`.
#[inline(always)]
pub(super) fn sums_of_plane<S: Simd>(
    token: S,
    (dy, x): (&[f32], &[f32]),
    term: Term,
    (kept, sample): (Option<RowFilter<'_>>, usize),
) -> Pair {
    match kept {
        None => plane_sums(token, dy, x, term),
        Some(kept) => token.outline(KeptSums { dy, x, term, kept, sample }),
    }
}

/// The sums of a plane.
#[inline(always)]
pub(super) fn plane_sums<S: Simd>(token: S, dy: &[f32], x: &[f32], term: Term) -> Pair {
    let mut all = [0.0; 2];
    for (dy, x) in dy.chunks(BLOCK).zip(x.chunks(BLOCK)) {
        let sums = block_sums(token, dy, x, term);
        all = [all[0] + sums[0], all[1] + sums[1]];
    }
    all
}

/// The sums of a block.
#[inline(always)]
fn block_sums<S: Simd>(token: S, dy: &[f32], x: &[f32], term: Term) -> Pair {
    let coefficients = term.coefficients(token);
    let zero = S::F32::splat(token, 0.0);
    let (dys, dy_tail) = dy.as_chunks::<LANES>();
    let (xs, x_tail) = x.as_chunks::<LANES>();
    let (mut of_dy, mut of_x_hat) = (zero, zero);
    for (dys, xs) in dys.chunks(TERMS).zip(xs.chunks(TERMS)) {
        let (mut step_dy, mut step_x_hat) = (zero, zero);
        for (dy, x) in dys.iter().zip(xs) {
            let dy = S::F32::load(token, dy);
            step_dy = step_dy + dy;
            step_x_hat = dy.mul_add(coefficients.apply(S::F32::load(token, x)), step_x_hat);
        }
        (of_dy, of_x_hat) = (of_dy + step_dy, of_x_hat + step_x_hat);
    }
    if !dy_tail.is_empty() {
        let dy = S::F32::load_partial(token, dy_tail, 0.0);
        let x_hat = coefficients.apply(S::F32::load_partial(token, x_tail, term.hi));
        (of_dy, of_x_hat) = (of_dy + dy, dy.mul_add(x_hat, of_x_hat));
    }
    let sums = S::F32::sums([of_dy, of_x_hat]);
    // Neither can overflow. Both sums are large enough if one is: what is lost of terms that are not has no weight.
    let squares = sums[0] * sums[0] + sums[1] * sums[1];
    if term.fits && (1.0 / LARGEST / LARGEST..f64::INFINITY).contains(&squares) {
        return sums;
    }
    token.outline(SumsInF64 { dy, x, term })
}

/// The sums of a block on f64 lanes.
struct SumsInF64<'a> {
    dy: &'a [f32],
    x: &'a [f32],
    term: Term,
}

impl Kernel for SumsInF64<'_> {
    type Output = Pair;

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> Pair {
        let Self { dy, x, term: Term { mean, rstd, .. } } = self;
        let (mean, rstd) = (S::F64::splat(token, mean), S::F64::splat(token, rstd));
        let zero = S::F64::splat(token, 0.0);
        let (mut of_dy, mut of_x_hat) = (zero, zero);
        for (dy, x) in dy.chunks(LANES).zip(x.chunks(LANES)) {
            let dy = S::F64::load_partial(token, dy, 0.0);
            let x_hat = (S::F64::load_partial(token, x, 0.0) - mean) * rstd;
            (of_dy, of_x_hat) = (of_dy + dy, dy.mul_add(x_hat, of_x_hat));
        }
        S::F64::sums([of_dy, of_x_hat])
    }
}

/// The sums of the positions of a plane that are kept, of which the first is row `sample` of the filter. They have the bits of a
/// plane that has only these.
struct KeptSums<'a> {
    dy: &'a [f32],
    x: &'a [f32],
    term: Term,
    kept: RowFilter<'a>,
    sample: usize,
}

impl Kernel for KeptSums<'_> {
    type Output = Pair;

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> Pair {
        let Self { dy, x, term, kept, sample } = self;
        let kept = kept.before(sample + dy.len());
        let mut run = kept.next_run(sample, usize::MAX);
        // Block by block, each moved together.
        let (mut of_dy, mut of_x, mut filled) = ([0.0; BLOCK], [0.0; BLOCK], 0);
        let mut all = [0.0; 2];
        while !run.is_empty() {
            let mut part = run.start - sample..run.end - sample;
            while !part.is_empty() {
                let count = part.len().min(BLOCK - filled);
                let from = part.start..part.start + count;
                of_dy[filled..filled + count].copy_from_slice(&dy[from.clone()]);
                of_x[filled..filled + count].copy_from_slice(&x[from]);
                (part.start, filled) = (part.start + count, filled + count);
                if filled == BLOCK {
                    let sums = block_sums(token, &of_dy, &of_x, term);
                    all = [all[0] + sums[0], all[1] + sums[1]];
                    filled = 0;
                }
            }
            run = kept.next_run(run.end, usize::MAX);
        }
        if filled > 0 {
            let sums = block_sums(token, &of_dy[..filled], &of_x[..filled], term);
            all = [all[0] + sums[0], all[1] + sums[1]];
        }
        all
    }
}

/// Adds the sums of the planes of every channel, sample by sample.
pub(crate) struct MergePlanes<'a> {
    /// A pair a plane.
    pub(crate) planes: &'a [[f64; 2]],
    /// One of each a channel, written.
    pub(crate) sums: [&'a mut [f64]; 2],
}

impl Kernel for MergePlanes<'_> {
    type Output = ();

    /// No vectors here: it is a few numbers a plane.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { planes, sums: [of_dy, of_x_hat] } = self;
        of_dy.fill(0.0);
        of_x_hat.fill(0.0);
        for sample in planes.chunks_exact(of_dy.len()) {
            let sums = of_dy.iter_mut().zip(&mut *of_x_hat);
            for ((of_dy, of_x_hat), [dy, x_hat]) in sums.zip(sample) {
                *of_dy += dy;
                *of_x_hat += x_hat;
            }
        }
    }
}

/// Makes dx of every plane, from what its channel has.
pub(crate) struct PlaneGradients<'a> {
    /// dy and dx; a row is a plane.
    pub(crate) io: RowSpan<'a>,
    pub(crate) x: &'a [f32],
    pub(crate) channels: GradientColumns<'a>,
    /// The plane of the batch that is the first of these.
    pub(crate) first: usize,
}

impl Split for PlaneGradients<'_> {
    fn rows(&self) -> usize {
        self.io.rows()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (x, high_x) = self.x.split_at(at * self.io.cols());
        let (io, high_io) = self.io.split_at(at);
        (Self { io, x, ..self }, Self { io: high_io, x: high_x, first: self.first + at, ..self })
    }
}

impl Kernel for PlaneGradients<'_> {
    type Output = ();

    /// From the last plane to the first: the last ones are in cache.
    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { io, x, channels: all, first } = self;
        let channels = all.mean.len();
        let mut inputs = RowInputs::new(io.rows(), io.cols());
        inputs.forward_x(x, io.cols());
        let mut io = io.with_inputs(&mut inputs);
        let mut end = io.rows();
        while end > 0 {
            let last = (first + end - 1) % channels;
            let len = LANES.min(last + 1).min(end);
            let columns = all.part(last + 1 - len..last + 1);
            sweep_planes(token, &mut io, end - len, columns);
            end -= len;
        }
    }
}

/// Planes of fewer elements are swept over in one part.
const SHORT: usize = 8 * LANES;

/// dx of up to sixteen planes from `first` on, which have the columns.
#[inline(always)]
pub(super) fn sweep_planes<S: Simd>(
    token: S,
    io: &mut RowSpan<'_>,
    first: usize,
    columns: GradientColumns<'_>,
) {
    let len = columns.mean.len();
    let (wide, outside) = columns.coefficients(token, 0, len);
    let single = wide.narrow(token).to_lanes();
    for lane in 0..len {
        let mut plane = io.group::<1, INPUTS>(first + lane);
        if outside >> lane & 1 == 1 {
            let coefficients = wide.to_lanes64().map(|lanes| lanes[lane]);
            token.outline(PlaneInF64 { plane, coefficients });
            continue;
        }
        let coefficients = GradientCoefficients::<S::F32>::splat(token, &single, lane);
        let cols = plane.cols();
        // Stores of a short plane may cross cache lines: another part would cost more.
        let head = if cols < SHORT { 0 } else { plane.before_line() };
        for (start, end) in [(0, head), (head, cols)] {
            if start < end {
                let part = &mut plane.columns(start, end);
                if part.streams() {
                    sweep_plane::<S::F32, true>(token, part, coefficients);
                } else {
                    sweep_plane::<S::F32, false>(token, part, coefficients);
                }
            }
        }
    }
}

/// dx of a plane.
#[inline(always)]
fn sweep_plane<V: Float, const STREAM: bool>(
    token: V::Token,
    plane: &mut Group<'_, 1, INPUTS>,
    coefficients: GradientCoefficients<V>,
) {
    for i in 0..plane.full() {
        let dy: V = plane.load(token, 0, i);
        let x = plane.load_input(token, FORWARD_X, 0, i);
        if !STREAM {
            plane.prefetch_write(0, i, WRITE_AHEAD);
        }
        plane.store::<_, STREAM>(0, i, coefficients.apply(dy, x).to_single());
    }
    if plane.tail() > 0 {
        let zero = V::Elem::from_f64(0.0);
        let dy: V = plane.load_tail(token, 0, zero);
        let x = plane.load_input_tail(token, FORWARD_X, 0, zero);
        plane.store_tail(0, coefficients.apply(dy, x).to_single());
    }
}

/// The same where a coefficient leaves f32.
struct PlaneInF64<'a> {
    plane: Group<'a, 1, INPUTS>,
    coefficients: [f64; 4],
}

impl Kernel for PlaneInF64<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, token: S) {
        let coefficients = GradientCoefficients::<S::F64>::of(token, self.coefficients);
        sweep_plane::<S::F64, false>(token, &mut self.plane, coefficients);
    }
}
