//! dx of columns: the second sweep of a backward pass.
//!
//! The plain algorithm, where g is `dy * gamma`, and c and d are the means of g and of `g * x_hat`:
//!
//! ```text
//! for row r: for each column c: dx = rstd[c] * (g - c[c] - x_hat * d[c])
//! ```
//!
//! Statistics that are given are constants: c and d are 0. What makes it exact and fast is what does it for the forward sweep
//! (`kernels/columns/normalize.rs`):
//!
//! * **Four coefficients a column**, made in f64: `dx = dy * alpha + ((x - hi) * k + shift)` is three operations, and no digit of the
//!   mean is lost.
//! * **Panels** of 1024 columns, several rows at a time, from the last row to the first.
//! * **A range test a vector of columns.** Where a coefficient leaves what f32 can hold, the same code runs on f64 lanes.
//!
//! Where gamma belongs to rows, dy is multiplied with it first.
#![forbid(unsafe_code)]

use core::ops::Range;

use super::narrow;
use super::normalize::COEFFICIENT_VECTORS;
use super::row_walk::{RowGroups, begin_alike, walk};
use crate::kernels::lanes::{Lanes64, lanes_below, load_columns, load_f64};
use crate::kernels::range::LARGEST;
use crate::kernels::split::Split;
use crate::kernels::tuning::{COEFFICIENT_PANEL, WRITE_AHEAD};
use crate::simd::{
    Double, FORWARD_X, Float, Group, INPUTS, Kernel, LANES, RowInputs, RowSpan, Simd,
};

/// Makes dx of every column. There is at least one.
pub(crate) struct ColumnGradients<'a> {
    /// dy and dx.
    pub(crate) io: RowSpan<'a>,
    pub(crate) x: &'a [f32],
    /// Elements from the start of a row of x to the start of the next.
    pub(crate) pitch: usize,
    pub(crate) columns: GradientColumns<'a>,
    /// What dy is multiplied with, one a row.
    pub(crate) factors: Option<&'a [f32]>,
}

/// What dx of a column is made of.
#[derive(Clone, Copy)]
pub(crate) struct GradientColumns<'a> {
    pub(crate) mean: &'a [f64],
    pub(crate) rstd: &'a [f64],
    pub(crate) gamma: Option<&'a [f32]>,
    /// c and d, where they are not 0.
    pub(crate) means: Option<[&'a [f64]; 2]>,
    /// Whether columns have one element each, whose gradient is 0.
    pub(crate) alone: bool,
}

/// What the sweep does to a vector of columns: `dx = dy * alpha + ((x - hi) * k + shift)`.
#[derive(Clone, Copy)]
pub(crate) struct GradientCoefficients<V> {
    hi: V,
    alpha: V,
    k: V,
    shift: V,
}

impl<V: Double> GradientCoefficients<V> {
    /// From mean, rstd, gamma, c and d, and a bit for each lane whose coefficients do not fit f32.
    #[inline(always)]
    pub(crate) fn new(
        token: V::Token,
        (mean, rstd): (V, V),
        gamma: V,
        (c, d): (V, V),
    ) -> (Self, u16) {
        let zero = V::splat(token, 0.0);
        // NaN, where an infinity would leave some gradients infinite and others NaN.
        let finite = (c + d) * zero;
        let minus = zero - rstd;
        let (alpha, k, shift) = (rstd * gamma, minus * (rstd * d) + finite, minus * c + finite);

        let largest = V::splat(token, LARGEST * LARGEST);
        let least = V::splat(token, 1.0 / LARGEST / LARGEST);
        let (alpha_square, k_square) = (alpha * alpha, k * k);
        let sum = mean.mul_add(mean, shift.mul_add(shift, alpha_square + k_square));
        let has_alpha = least.less_or_equal(alpha_square) | alpha.equal(zero);
        let has_k = least.less_or_equal(k_square) | k.equal(zero);
        let fits = has_alpha & has_k & sum.less_or_equal(largest);
        (Self { hi: mean, alpha, k, shift }, !fits)
    }

    /// The same in f32, whose hi leaves a part of the mean to shift.
    #[inline(always)]
    pub(crate) fn narrow(self, token: V::Token) -> GradientCoefficients<V::Single> {
        let hi = self.hi.narrow();
        let lo = self.hi - V::widen(hi);
        let shift = (V::splat(token, 0.0) - lo).mul_add(self.k, self.shift);
        let (alpha, k) = (self.alpha.narrow(), self.k.narrow());
        GradientCoefficients { hi, alpha, k, shift: shift.narrow() }
    }
}

impl<V: Double> GradientCoefficients<V> {
    /// The same numbers in all lanes.
    #[inline(always)]
    pub(crate) fn of(token: V::Token, [hi, alpha, k, shift]: [f64; 4]) -> Self {
        let splat = |x| V::splat(token, x);
        Self { hi: splat(hi), alpha: splat(alpha), k: splat(k), shift: splat(shift) }
    }

    /// The lanes of hi, alpha, k and shift.
    #[inline(always)]
    pub(crate) fn to_lanes64(self) -> [Lanes64; 4] {
        let mut lanes = [[0.0; LANES]; 4];
        let all = [self.hi, self.alpha, self.k, self.shift];
        for (lanes, vector) in lanes.iter_mut().zip(all) {
            vector.store_f64(lanes);
        }
        lanes
    }
}

impl<V: Float<Elem = f32>> GradientCoefficients<V> {
    /// Those of one lane in all.
    #[inline(always)]
    pub(crate) fn splat(token: V::Token, lanes: &[[f32; LANES]; 4], lane: usize) -> Self {
        let [hi, alpha, k, shift] = lanes;
        let splat = |lanes: &[f32; LANES]| V::splat(token, lanes[lane]);
        Self { hi: splat(hi), alpha: splat(alpha), k: splat(k), shift: splat(shift) }
    }

    /// The lanes of hi, alpha, k and shift.
    #[inline(always)]
    pub(crate) fn to_lanes(self) -> [[f32; LANES]; 4] {
        let mut lanes = [[0.0; LANES]; 4];
        let all = [self.hi, self.alpha, self.k, self.shift];
        for (lanes, vector) in lanes.iter_mut().zip(all) {
            vector.store_init(lanes);
        }
        lanes
    }
}

impl<V: Float> GradientCoefficients<V> {
    #[inline(always)]
    pub(crate) fn apply(self, dy: V, x: V) -> V {
        dy.mul_add(self.alpha, (x - self.hi).mul_add(self.k, self.shift))
    }
}

impl GradientColumns<'_> {
    /// Some of the columns.
    #[inline(always)]
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        Self {
            mean: &self.mean[range.clone()],
            rstd: &self.rstd[range.clone()],
            gamma: self.gamma.map(|gamma| &gamma[range.clone()]),
            means: self.means.map(|means| means.map(|means| &means[range.clone()])),
            alone: self.alone,
        }
    }

    /// The f64 coefficients of a vector of `cols` columns, and a bit for each column whose do not fit f32.
    #[inline(always)]
    pub(crate) fn coefficients<S: Simd>(
        &self,
        token: S,
        vector: usize,
        cols: usize,
    ) -> (GradientCoefficients<S::F64>, u16) {
        let zero = S::F64::splat(token, 0.0);
        let mean = load_f64(token, self.mean, vector, 0.0);
        let rstd = if self.alone { zero } else { load_f64(token, self.rstd, vector, 0.0) };
        let gamma = match self.gamma {
            Some(gamma) => S::F64::widen(load_columns(token, gamma, vector, 0.0)),
            None => S::F64::splat(token, 1.0),
        };
        let means = match self.means {
            Some([c, d]) => (load_f64(token, c, vector, 0.0), load_f64(token, d, vector, 0.0)),
            None => (zero, zero),
        };
        let (wide, outside) = GradientCoefficients::new(token, (mean, rstd), gamma, means);
        (wide, outside & lanes_below(cols - vector * LANES))
    }
}

impl Split for ColumnGradients<'_> {
    fn rows(&self) -> usize {
        self.io.rows()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (low, high) = self.io.split_at(at);
        let (low_x, high_x) = self.x.split_at(self.x.len().min(at * self.pitch));
        let high_factors = self.factors.map(|factors| &factors[at..]);
        (
            Self { io: low, x: low_x, ..self },
            Self { io: high, x: high_x, factors: high_factors, ..self },
        )
    }
}

impl Kernel for ColumnGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, token: S) {
        let vectors = self.io.cols().div_ceil(LANES);
        let mut panel = GradientPanel::EMPTY;
        for first in (0..vectors).step_by(COEFFICIENT_VECTORS) {
            let end = vectors.min(first + COEFFICIENT_VECTORS);
            self.panel::<S>(token, first, end, &mut panel);
        }
    }
}

/// Coefficients of a panel, aligned so that no vector of them lies in two cache lines.
#[repr(align(64))]
struct GradientPanel {
    hi: [f32; COEFFICIENT_PANEL],
    alpha: [f32; COEFFICIENT_PANEL],
    k: [f32; COEFFICIENT_PANEL],
    shift: [f32; COEFFICIENT_PANEL],
}

impl GradientPanel {
    const EMPTY: Self = Self {
        hi: [0.0; COEFFICIENT_PANEL],
        alpha: [0.0; COEFFICIENT_PANEL],
        k: [0.0; COEFFICIENT_PANEL],
        shift: [0.0; COEFFICIENT_PANEL],
    };

    /// The coefficients of a vector.
    #[inline(always)]
    fn load<V: Float<Elem = f32>>(&self, token: V::Token, i: usize) -> GradientCoefficients<V> {
        GradientCoefficients {
            hi: V::load(token, &self.hi.as_chunks().0[i]),
            alpha: V::load(token, &self.alpha.as_chunks().0[i]),
            k: V::load(token, &self.k.as_chunks().0[i]),
            shift: V::load(token, &self.shift.as_chunks().0[i]),
        }
    }
}

impl ColumnGradients<'_> {
    /// The columns of the vectors `first` up to `end`, at most a panel.
    #[inline(always)]
    fn panel<S: Simd>(&mut self, token: S, first: usize, end: usize, panel: &mut GradientPanel) {
        let (rows, cols) = (self.io.rows(), self.io.cols());
        let mut outside = [0; COEFFICIENT_VECTORS];
        let mut any_outside = 0;
        for (i, outside) in outside[..end - first].iter_mut().enumerate() {
            let (wide, unfit) = self.columns.coefficients(token, first + i, cols);
            let single = wide.narrow(token);
            single.hi.store_init(&mut panel.hi.as_chunks_mut().0[i]);
            single.alpha.store_init(&mut panel.alpha.as_chunks_mut().0[i]);
            single.k.store_init(&mut panel.k.as_chunks_mut().0[i]);
            single.shift.store_init(&mut panel.shift.as_chunks_mut().0[i]);
            *outside = unfit;
            any_outside |= unfit;
        }
        let whole = first == 0 && end * LANES >= cols;
        let contiguous = self.io.is_contiguous() && self.pitch == cols;
        if self.factors.is_none() && any_outside == 0 && whole && contiguous {
            return self.sweep_folded::<S>(token, panel);
        }
        // The longest run of vectors that fit f32, then one that does not.
        let mut start = first;
        while start < end {
            let fit = outside[start - first..end - first].iter().take_while(|bits| **bits == 0);
            let run_end = start + fit.count();
            let columns = start * LANES..cols.min(run_end * LANES);
            self.sweep(token, panel, 1, 0..rows, first * LANES, columns);
            if run_end < end {
                let (panel, i) = (&*panel, run_end - first);
                let outside = outside[i];
                token.outline(SweepVectorInF64 { work: self, vector: run_end, outside, panel, i });
            }
            start = run_end + 1;
        }
    }

    /// All columns, several narrow rows at a time as one, from the last row to the first.
    #[inline(always)]
    fn sweep_folded<S: Simd>(&mut self, token: S, panel: &mut GradientPanel) {
        let (rows, cols) = (self.io.rows(), self.io.cols());
        let factor = narrow::factor(cols);
        let (wide_rows, wide) = (rows / factor, factor * cols);
        self.sweep(token, panel, 1, wide_rows * factor..rows, 0, 0..cols);
        if wide_rows > 0 {
            for coefficients in [&mut panel.hi, &mut panel.alpha, &mut panel.k, &mut panel.shift] {
                narrow::repeat_part(&mut coefficients[..wide], factor);
            }
            self.sweep(token, panel, factor, 0..wide_rows, 0, 0..wide);
        }
    }

    /// Some columns of some rows, each of which is so many of the matrix, in a panel that begins with column `first`, from the
    /// last row to the first.
    #[inline(always)]
    fn sweep<S: Simd>(
        &mut self,
        token: S,
        panel: &GradientPanel,
        factor: usize,
        rows: Range<usize>,
        first: usize,
        columns: Range<usize>,
    ) {
        if columns.is_empty() || rows.is_empty() {
            return;
        }
        let (x, pitch, factors) = (self.x, self.pitch, self.factors);
        let io = if factor > 1 { self.io.widened(factor) } else { self.io.reborrow() };
        let (count, cols) = (io.rows(), io.cols());
        let mut inputs = RowInputs::new(count, cols);
        inputs.forward_x(x, if factor > 1 { cols } else { pitch });
        let io = io.with_inputs(&mut inputs);
        if let Some(factors) = factors {
            token.vectorize(SweepRows::<true> { io, panel, rows, first, columns, factors });
        } else {
            let factors = &[];
            token.vectorize(SweepRows::<false> { io, panel, rows, first, columns, factors });
        }
    }
}

/// Some columns of some rows, whose coefficients are in a panel that begins with column `first`. `WEIGHTED` says whether rows have
/// factors.
struct SweepRows<'w, 'a, const WEIGHTED: bool> {
    io: RowSpan<'a>,
    panel: &'w GradientPanel,
    rows: Range<usize>,
    first: usize,
    columns: Range<usize>,
    factors: &'w [f32],
}

impl<const WEIGHTED: bool> Kernel for SweepRows<'_, '_, WEIGHTED> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, token: S) {
        let (rows, cols, alike) = (self.rows.clone(), self.io.cols(), begin_alike(&self.io));
        walk(token, &mut self, rows, cols, alike);
    }
}

impl<const WEIGHTED: bool> RowGroups for SweepRows<'_, '_, WEIGHTED> {
    /// `R` rows, each so many after the one before: the columns before the first cache line boundary of dx, then the rest, so that
    /// stores do not cross cache lines.
    #[inline(always)]
    fn group<S: Simd, const R: usize>(&mut self, token: S, row: usize, apart: usize) {
        let Self { panel, first, factors, .. } = *self;
        let mut of_rows = [S::F32::splat(token, 1.0); R];
        if WEIGHTED {
            for r in 0..R {
                of_rows[r] = S::F32::splat(token, factors[row + r * apart]);
            }
        }
        let mut rows = self.io.group_apart::<R, INPUTS>(row, apart);
        let mut rows = rows.columns(self.columns.start, self.columns.end);
        let (width, head) = (rows.cols(), rows.before_line());
        for (start, end) in [(0, head), (head, width)] {
            if start < end {
                let first = self.columns.start - first;
                let (mut part, columns) = (rows.columns(start, end), first + start..first + end);
                if part.streams() {
                    sweep_part::<S, WEIGHTED, true, R>(token, &mut part, panel, columns, &of_rows);
                } else {
                    sweep_part::<S, WEIGHTED, false, R>(token, &mut part, panel, columns, &of_rows);
                }
            }
        }
    }
}

/// Rows whose coefficients are those at `part` of the panel.
#[inline(always)]
fn sweep_part<S: Simd, const WEIGHTED: bool, const STREAM: bool, const R: usize>(
    token: S,
    rows: &mut Group<'_, R, INPUTS>,
    panel: &GradientPanel,
    part: Range<usize>,
    factors: &[S::F32; R],
) {
    let (hi, hi_tail) = panel.hi[part.clone()].as_chunks();
    let (alpha, alpha_tail) = panel.alpha[part.clone()].as_chunks();
    let (k, k_tail) = panel.k[part.clone()].as_chunks();
    let (shift, shift_tail) = panel.shift[part].as_chunks();
    let full = rows.full();
    let (hi, alpha, k, shift) = (&hi[..full], &alpha[..full], &k[..full], &shift[..full]);
    let zero = S::F32::splat(token, 0.0);
    let (mut dy, mut x) = ([zero; R], [zero; R]);
    for i in 0..full {
        let coefficients = GradientCoefficients {
            hi: S::F32::load(token, &hi[i]),
            alpha: S::F32::load(token, &alpha[i]),
            k: S::F32::load(token, &k[i]),
            shift: S::F32::load(token, &shift[i]),
        };
        for r in 0..R {
            dy[r] = rows.load(token, r, i);
            x[r] = rows.load_input(token, FORWARD_X, r, i);
            if !STREAM {
                rows.prefetch_write(r, i, WRITE_AHEAD);
            }
        }
        for r in 0..R {
            let g = if WEIGHTED { dy[r] * factors[r] } else { dy[r] };
            rows.store::<S::F32, STREAM>(r, i, coefficients.apply(g, x[r]));
        }
    }
    if rows.tail() > 0 {
        let coefficients = GradientCoefficients {
            hi: S::F32::load_partial(token, hi_tail, 0.0),
            alpha: S::F32::load_partial(token, alpha_tail, 0.0),
            k: S::F32::load_partial(token, k_tail, 0.0),
            shift: S::F32::load_partial(token, shift_tail, 0.0),
        };
        for r in 0..R {
            let dy: S::F32 = rows.load_tail(token, r, 0.0);
            let x = rows.load_input_tail(token, FORWARD_X, r, 0.0);
            let g = if WEIGHTED { dy * factors[r] } else { dy };
            rows.store_tail(r, coefficients.apply(g, x));
        }
    }
}

/// One vector of columns, some of them on f64 lanes: the others keep the bits that they have beside any columns.
struct SweepVectorInF64<'w, 'a> {
    work: &'w mut ColumnGradients<'a>,
    vector: usize,
    /// A bit for each column that needs f64.
    outside: u16,
    panel: &'w GradientPanel,
    /// The place of the vector in the panel.
    i: usize,
}

impl Kernel for SweepVectorInF64<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { work, vector, outside, panel, i } = self;
        let cols = work.io.cols();
        let (wide, _) = work.columns.coefficients(token, vector, cols);
        let single = panel.load::<S::F32>(token, i);
        let mut inputs = RowInputs::new(work.io.rows(), cols);
        inputs.forward_x(work.x, work.pitch);
        let mut io = work.io.reborrow().with_inputs(&mut inputs);
        for row in 0..io.rows() {
            let mut group = io.group::<1, INPUTS>(row);
            let is_full = vector < group.full();
            let (dy, x): (S::F32, S::F32) = if is_full {
                (group.load(token, 0, vector), group.load_input(token, FORWARD_X, 0, vector))
            } else {
                (group.load_tail(token, 0, 0.0), group.load_input_tail(token, FORWARD_X, 0, 0.0))
            };
            let factor = work.factors.map_or(1.0, |factors| factors[row]);
            let (mut dx, mut of_f64) = ([0.0; LANES], [0.0; LANES]);
            single.apply(dy * S::F32::splat(token, factor), x).store_init(&mut dx);
            let g = S::F64::widen(dy) * S::F64::splat(token, f64::from(factor));
            wide.apply(g, S::F64::widen(x)).narrow().store_init(&mut of_f64);
            for lane in (0..LANES).filter(|lane| outside >> lane & 1 == 1) {
                dx[lane] = of_f64[lane];
            }
            let dx = S::F32::load(token, &dx);
            if is_full {
                group.store::<S::F32, false>(0, vector, dx);
            } else {
                group.store_tail(0, dx);
            }
        }
    }
}

/// Makes c and d of every channel, from the sums of dy and of `dy * x_hat`: their means over a group, weighted with gamma.
pub(crate) struct GradientMeans<'a> {
    pub(crate) sums: [&'a [f64]; 2],
    pub(crate) gamma: Option<&'a [f32]>,
    /// Channels of a group, and elements of it.
    pub(crate) per_group: usize,
    pub(crate) elements: f64,
    /// One of each a channel.
    pub(crate) means: [&'a mut [f64]; 2],
}

impl Kernel for GradientMeans<'_> {
    type Output = ();

    /// No vectors here: it is a few numbers a channel.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { sums, gamma, per_group, elements, means } = self;
        for (sums, means) in sums.into_iter().zip(means) {
            match gamma {
                Some(gamma) => {
                    let weighted = means.iter_mut().zip(sums).zip(gamma);
                    weighted.for_each(|((mean, sum), gamma)| *mean = sum * f64::from(*gamma));
                }
                None => means.copy_from_slice(&sums[..means.len()]),
            }
            if per_group == 1 {
                means.iter_mut().for_each(|mean| *mean /= elements);
                continue;
            }
            for group in means.chunks_exact_mut(per_group) {
                let mean = group.iter().sum::<f64>() / elements;
                group.fill(mean);
            }
        }
    }
}
