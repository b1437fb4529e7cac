//! Normalise, scale and shift columns: BatchNorm's second half, its inference, and, with gamma and beta of rows, LayerNorm
//! over channels that come first.
//!
//! The plain algorithm, for every row x of y:
//!
//! ```text
//! for each column c: y[c] = (x[c] - mean[c]) * rstd[c] * gamma[c] + beta[c]
//! ```
//!
//! What makes it exact and fast:
//!
//! * **Three coefficients a column**, made in f64: hi = mean rounded to f32, alpha = rstd * gamma, and
//!   shift = beta - (mean - hi) * alpha. Then `y = (x - hi) * alpha + shift` is two operations, and no digit of
//!   the mean is lost: x - hi is exact or nearly so where it counts.
//! * **Panels** of 1024 columns keep the coefficients (12 KB) in L1; several rows at a time share
//!   their loads.
//! * **Rows from the last to the first**: what the caller, or the pass over the statistics, touched last is
//!   still in cache.
//! * **A range test a vector of columns.** Where a coefficient leaves what f32 can hold, the same code runs
//!   on f64 lanes for these columns, and only for these: a column has the same bits beside any other.
//!
//! Where gamma and beta belong to rows, alpha is rstd, shift is what is left of the mean, and `y * gamma + beta` with those
//! of the row is one operation more ([`RowAffine`]).
#![forbid(unsafe_code)]

use core::ops::Range;

use super::columns::{Lanes64, lanes_below, load_columns};
use super::normalize::LARGEST;
use super::{Split, fold};
use crate::simd::{Double, Float, Group, Kernel, LANES, Real, Simd, Span};

/// Rows that share the loads of coefficients. Measured, inference of 128x768, of memcpy, AVX-512 and AVX2: 2 rows
/// 0.59 and 0.66, 4 rows 0.67 and 0.71, 8 rows 0.65 and 0.58.
const ROWS: usize = 4;

/// Elements from one row of a group to the next, or more: rows of one page, read in turns, are no stream that prefetchers
/// follow. Of a copy around the caches, inference of 1000000x64 went from 0.65 to 0.98, of 250000x256 from 0.67 to 0.98, of
/// 20000000x3 from 0.71 to 0.91 (AVX-512). In the caches it is up to 6% faster or 1% slower.
const APART: usize = 1024;

/// Columns whose coefficients are made at a time: three f32 of each are 12 KB of a 32 or 48 KB L1.
const PANEL: usize = 1024;

/// Vectors of a panel.
pub(crate) const PANEL_VECTORS: usize = PANEL / LANES;

/// Elements that y is asked for ahead: of memcpy, inference of 128x768 0.66 without and 0.69 with it.
const WRITE_AHEAD: usize = 64;

/// Where the statistics of columns come from.
pub(crate) trait ColumnSource: Copy + Send {
    /// Whether y is clamped to [`limits`](Self::limits).
    const CLIPS: bool = false;

    /// mean and rstd of the columns of a vector; anything in lanes beyond the last column.
    fn load<S: Simd>(self, token: S, vector: usize) -> (S::F64, S::F64);

    /// What is added to the columns of a vector where there is no beta.
    #[inline(always)]
    fn shift<S: Simd>(self, token: S, _: usize) -> S::F64 {
        S::F64::splat(token, 0.0)
    }

    /// The least and the greatest y.
    #[inline(always)]
    fn limits(self) -> [f32; 2] {
        [f32::NEG_INFINITY, f32::INFINITY]
    }
}

/// Statistics in f64.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) mean: &'a [f64],
    pub(crate) rstd: &'a [f64],
}

impl ColumnSource for Given<'_> {
    #[inline(always)]
    fn load<S: Simd>(self, token: S, vector: usize) -> (S::F64, S::F64) {
        (load_f64(token, self.mean, vector, 0.0), load_f64(token, self.rstd, vector, 0.0))
    }
}

/// Running statistics: rstd = 1 / sqrt(var + eps), and 0 where that is 1 / 0.
#[derive(Clone, Copy)]
pub(crate) struct Running<'a> {
    pub(crate) mean: &'a [f32],
    pub(crate) var: &'a [f32],
    pub(crate) eps: f64,
}

impl ColumnSource for Running<'_> {
    #[inline(always)]
    fn load<S: Simd>(self, token: S, vector: usize) -> (S::F64, S::F64) {
        let mean = S::F64::widen(load_columns(token, self.mean, vector, 0.0));
        let var = S::F64::widen(load_columns(token, self.var, vector, 1.0));
        (mean, rstd(token, var, self.eps))
    }
}

/// What becomes of a row after its columns are normalised, scaled and shifted.
pub(crate) trait RowAffine: Copy + Send {
    /// Whether that is nothing, so that several narrow rows may be worked on as one.
    const NONE: bool;

    /// The same without the first `rows` rows.
    fn skip(self, rows: usize) -> Self;

    /// gamma and beta of a row.
    fn load<V: Float>(self, token: V::Token, row: usize) -> (V, V);

    /// `x * gamma + beta`.
    fn apply<V: Float>(coefficients: (V, V), x: V) -> V;
}

/// Nothing.
impl RowAffine for () {
    const NONE: bool = true;

    fn skip(self, _: usize) -> Self {}

    #[inline(always)]
    fn load<V: Float>(self, token: V::Token, _: usize) -> (V, V) {
        let zero = V::splat(token, V::Elem::from_f64(0.0));
        (zero, zero)
    }

    #[inline(always)]
    fn apply<V: Float>(_: (V, V), x: V) -> V {
        x
    }
}

/// gamma and beta of every row.
#[derive(Clone, Copy)]
pub(crate) struct ByRow<'a> {
    pub(crate) gamma: Option<&'a [f32]>,
    pub(crate) beta: Option<&'a [f32]>,
}

impl RowAffine for ByRow<'_> {
    const NONE: bool = false;

    fn skip(self, rows: usize) -> Self {
        let Self { gamma, beta } = self;
        Self { gamma: gamma.map(|gamma| &gamma[rows..]), beta: beta.map(|beta| &beta[rows..]) }
    }

    #[inline(always)]
    fn load<V: Float>(self, token: V::Token, row: usize) -> (V, V) {
        let gamma = self.gamma.map_or(1.0, |gamma| gamma[row]);
        // Adding -0.0 changes nothing, not even 0.0.
        let beta = self.beta.map_or(-0.0, |beta| beta[row]);
        let splat = |x: f32| V::splat(token, V::Elem::from_f64(x.into()));
        (splat(gamma), splat(beta))
    }

    #[inline(always)]
    fn apply<V: Float>((gamma, beta): (V, V), x: V) -> V {
        x.mul_add(gamma, beta)
    }
}

/// 1 / sqrt(var + eps), and 0 where that is 1 / 0.
#[inline(always)]
pub(crate) fn rstd<S: Simd>(token: S, var: S::F64, eps: f64) -> S::F64 {
    let zero = S::F64::splat(token, 0.0);
    let var = var + S::F64::splat(token, eps);
    let rstd = S::F64::splat(token, 1.0) / var.sqrt();
    let bits = var.equal(zero);
    if bits == 0 { rstd } else { replace(token, rstd, bits, 0.0) }
}

/// `value` in the lanes whose bit is set.
#[inline(always)]
pub(super) fn replace<S: Simd>(token: S, vector: S::F64, bits: u16, value: f64) -> S::F64 {
    let mut lanes = [0.0; LANES];
    vector.store_f64(&mut lanes);
    for (i, lane) in lanes.iter_mut().enumerate() {
        if bits >> i & 1 == 1 {
            *lane = value;
        }
    }
    S::F64::load_f64(token, &lanes)
}

/// Vector `i` of `x`: sixteen elements, or those that there are, and `fill`.
#[inline(always)]
pub(crate) fn load_f64<S: Simd>(token: S, x: &[f64], i: usize, fill: f64) -> S::F64 {
    let (vectors, tail) = x.as_chunks::<LANES>();
    if let Some(vector) = vectors.get(i) {
        return S::F64::load_f64(token, vector);
    }
    let mut lanes: Lanes64 = [fill; LANES];
    lanes[..tail.len()].copy_from_slice(tail);
    S::F64::load_f64(token, &lanes)
}

/// What the sweep does to a vector of columns: `y = (x - hi) * alpha + shift`.
#[derive(Clone, Copy)]
pub(crate) struct Coefficients<V> {
    pub(crate) hi: V,
    pub(crate) alpha: V,
    pub(crate) shift: V,
}

impl<V: Double> Coefficients<V> {
    /// From the statistics, gamma and beta of vector `vector` of `cols` columns, and a bit for each column whose do not fit
    /// f32.
    #[inline(always)]
    pub(crate) fn new(
        token: V::Token,
        (mean, rstd, shift): (V, V, V),
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        (vector, cols): (usize, usize),
    ) -> (Self, u16) {
        let mut alpha = rstd;
        if let Some(gamma) = gamma {
            alpha = rstd * V::widen(load_columns(token, gamma, vector, 0.0));
        }
        let mut shift = shift;
        if let Some(beta) = beta {
            shift = V::widen(load_columns(token, beta, vector, 0.0));
        }
        let largest = V::splat(token, LARGEST * LARGEST);
        let least = V::splat(token, 1.0 / LARGEST / LARGEST);
        // Squares, for want of an absolute value, and their sum, for one comparison: they cannot overflow before
        // they are too large.
        let alpha_square = alpha * alpha;
        let product = mean * alpha;
        let sum = product.mul_add(product, mean.mul_add(mean, alpha_square));
        let zero = alpha.equal(V::splat(token, 0.0));
        let fits = (least.less_or_equal(alpha_square) | zero) & sum.less_or_equal(largest);
        let lanes = lanes_below(cols - vector * LANES);
        (Self { hi: mean, alpha, shift }, !fits & lanes)
    }

    /// The same in f32, whose hi leaves a part of the mean to shift.
    #[inline(always)]
    pub(crate) fn narrow(self, token: V::Token) -> Coefficients<V::Single> {
        let hi = self.hi.narrow();
        let lo = self.hi - V::widen(hi);
        let shift = (V::splat(token, 0.0) - lo).mul_add(self.alpha, self.shift);
        Coefficients { hi, alpha: self.alpha.narrow(), shift: shift.narrow() }
    }
}

impl<V: Float> Coefficients<V> {
    #[inline(always)]
    pub(crate) fn apply(self, x: V) -> V {
        (x - self.hi).mul_add(self.alpha, self.shift)
    }
}

/// `y` between the limits. NaN stays NaN.
#[inline(always)]
fn clip<S: Simd>(token: S, [least, greatest]: [f32; 2], y: S::F32) -> S::F32 {
    // Where either is NaN, both operations give their second argument.
    S::F32::splat(token, greatest).min(S::F32::splat(token, least).max(y))
}

/// Normalises, scales and shifts every column. There is at least one.
#[derive(Debug)]
pub(crate) struct NormalizeColumns<'a, T, A = ()> {
    pub(crate) io: Span<'a>,
    pub(crate) cols: usize,
    pub(crate) source: T,
    pub(crate) gamma: Option<&'a [f32]>,
    pub(crate) beta: Option<&'a [f32]>,
    pub(crate) rows: A,
}

impl<T: ColumnSource, A: RowAffine> Split for NormalizeColumns<'_, T, A> {
    fn rows(&self) -> usize {
        self.io.len() / self.cols
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (low, high) = self.io.split_at(at * self.cols);
        (Self { io: low, ..self }, Self { io: high, rows: self.rows.skip(at), ..self })
    }
}

impl<T: ColumnSource, A: RowAffine> Kernel for NormalizeColumns<'_, T, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, token: S) {
        let vectors = self.cols.div_ceil(LANES);
        let mut first = 0;
        while first < vectors {
            let end = vectors.min(first + PANEL_VECTORS);
            self.panel::<S>(token, first, end);
            first = end;
        }
    }
}

/// Coefficients of a panel, aligned so that no vector of them lies in two cache lines.
#[repr(align(64))]
struct Panel {
    hi: [f32; PANEL],
    alpha: [f32; PANEL],
    shift: [f32; PANEL],
}

impl Panel {
    const EMPTY: Self = Self { hi: [0.0; PANEL], alpha: [0.0; PANEL], shift: [0.0; PANEL] };
}

impl<T: ColumnSource, A: RowAffine> NormalizeColumns<'_, T, A> {
    /// The f64 coefficients of a vector of columns, and a bit for each column whose do not fit f32.
    #[inline(always)]
    fn coefficients<S: Simd>(&self, token: S, vector: usize) -> (Coefficients<S::F64>, u16) {
        let (mean, rstd) = self.source.load(token, vector);
        let statistics = (mean, rstd, self.source.shift(token, vector));
        Coefficients::new(token, statistics, self.gamma, self.beta, (vector, self.cols))
    }

    /// The columns of the vectors `first` up to `end`, at most a panel.
    #[inline(always)]
    pub(crate) fn panel<S: Simd>(&mut self, token: S, first: usize, end: usize) {
        let mut panel = Panel::EMPTY;
        let mut outside = [0; PANEL_VECTORS];
        let mut any_outside = 0;
        // No branch on what is outside: the divisions of several vectors overlap. With one, the coefficients of 16
        // columns took 155 cycles.
        for (i, outside) in outside[..end - first].iter_mut().enumerate() {
            let (wide, unfit) = self.coefficients(token, first + i);
            let single = wide.narrow(token);
            single.hi.store_init(&mut panel.hi.as_chunks_mut().0[i]);
            single.alpha.store_init(&mut panel.alpha.as_chunks_mut().0[i]);
            single.shift.store_init(&mut panel.shift.as_chunks_mut().0[i]);
            *outside = unfit;
            any_outside |= unfit;
        }
        if A::NONE && any_outside == 0 && end * LANES >= self.cols && first == 0 {
            return self.sweep_folded::<S>(token, &mut panel);
        }
        // The longest run of vectors that fit f32, then one that does not.
        let mut start = first;
        while start < end {
            let fit = outside[start - first..end - first].iter().take_while(|bits| **bits == 0);
            let run_end = start + fit.count();
            let columns = start * LANES..self.cols.min(run_end * LANES);
            let rows = 0..self.io.len() / self.cols;
            self.sweep(token, &panel, self.cols, rows, first * LANES, columns);
            if run_end < end {
                let (panel, i) = (&panel, run_end - first);
                let outside = outside[i];
                token.outline(SweepInF64 { work: self, vector: run_end, outside, panel, i });
            }
            start = run_end + 1;
        }
    }

    /// All columns, several narrow rows at a time as one, from the last row to the first.
    #[inline(always)]
    fn sweep_folded<S: Simd>(&mut self, token: S, panel: &mut Panel) {
        let rows = self.io.len() / self.cols;
        let factor = fold::factor(self.cols);
        let (wide_rows, wide) = (rows / factor, factor * self.cols);
        self.sweep(token, panel, self.cols, wide_rows * factor..rows, 0, 0..self.cols);
        if wide_rows > 0 {
            for coefficients in [&mut panel.hi, &mut panel.alpha, &mut panel.shift] {
                fold::repeat_part(&mut coefficients[..wide], factor);
            }
            self.sweep(token, panel, wide, 0..wide_rows, 0, 0..wide);
        }
    }

    /// Some columns of some rows of `cols`, in a panel that begins with column `first`, from the last row to
    /// the first.
    #[inline(always)]
    fn sweep<S: Simd>(
        &mut self,
        token: S,
        panel: &Panel,
        cols: usize,
        rows: Range<usize>,
        first: usize,
        columns: Range<usize>,
    ) {
        if columns.is_empty() || rows.is_empty() {
            return;
        }
        let (io, affine, limits) = (&mut self.io, self.rows, self.source.limits());
        if T::CLIPS {
            let sweep = Sweep::<A, true> { io, panel, cols, rows, first, columns, affine, limits };
            token.vectorize(sweep);
        } else {
            let sweep = Sweep::<A, false> { io, panel, cols, rows, first, columns, affine, limits };
            token.vectorize(sweep);
        }
    }
}

/// Some columns of some rows of `cols`, whose coefficients are in a panel that begins with column `first`. A function of its
/// own, whatever the statistics came from, compiled once for all operations on columns.
struct Sweep<'w, 'a, A, const CLIPS: bool> {
    io: &'w mut Span<'a>,
    panel: &'w Panel,
    cols: usize,
    rows: Range<usize>,
    first: usize,
    columns: Range<usize>,
    affine: A,
    limits: [f32; 2],
}

impl<A: RowAffine, const CLIPS: bool> Kernel for Sweep<'_, '_, A, CLIPS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, token: S) {
        // Lines that are written around the caches must begin alike in the rows of a group.
        let alike = !self.io.streams() || self.cols.is_multiple_of(LANES);
        let mut apart = (APART / self.cols).max(1);
        let first = self.rows.start;
        let mut row = self.rows.end;
        while row > first {
            if row - first < ROWS * apart {
                apart = 1;
            }
            if alike && row - first >= ROWS {
                row -= ROWS * apart;
                for row in row..row + apart {
                    self.group::<S, ROWS>(token, row, apart);
                }
            } else {
                row -= 1;
                self.group::<S, 1>(token, row, 1);
            }
        }
    }
}

impl<A: RowAffine, const CLIPS: bool> Sweep<'_, '_, A, CLIPS> {
    /// `R` rows, each so many after the one before: the columns before the first cache line boundary of y, then the
    /// rest, so that stores do not cross cache lines.
    #[inline(always)]
    fn group<S: Simd, const R: usize>(&mut self, token: S, row: usize, apart: usize) {
        let Self { panel, cols, first, limits, .. } = *self;
        let mut affine = [self.affine.load(token, row); R];
        for r in 1..R {
            affine[r] = self.affine.load(token, row + r * apart);
        }
        let mut rows = self.io.group_apart::<R>(row * cols, cols, apart * cols);
        let mut rows = rows.columns(self.columns.start, self.columns.end);
        let (width, head) = (rows.cols(), rows.before_line());
        for (start, end) in [(0, head), (head, width)] {
            if start < end {
                let first = self.columns.start - first;
                let (mut part, columns) = (rows.columns(start, end), first + start..first + end);
                if part.streams() {
                    sweep_part::<S, A, CLIPS, true, R>(
                        token, &mut part, panel, columns, &affine, limits,
                    );
                } else {
                    sweep_part::<S, A, CLIPS, false, R>(
                        token, &mut part, panel, columns, &affine, limits,
                    );
                }
            }
        }
    }
}

/// Rows whose coefficients are those at `part` of the panel.
#[inline(always)]
fn sweep_part<S: Simd, A: RowAffine, const CLIPS: bool, const STREAM: bool, const R: usize>(
    token: S,
    rows: &mut Group<'_, R>,
    panel: &Panel,
    part: Range<usize>,
    affine: &[(S::F32, S::F32); R],
    limits: [f32; 2],
) {
    let (hi, hi_tail) = panel.hi[part.clone()].as_chunks();
    let (alpha, alpha_tail) = panel.alpha[part.clone()].as_chunks();
    let (shift, shift_tail) = panel.shift[part].as_chunks();
    let full = rows.full();
    let (hi, alpha, shift) = (&hi[..full], &alpha[..full], &shift[..full]);
    let mut x = [S::F32::splat(token, 0.0); R];
    for i in 0..full {
        let coefficients = Coefficients {
            hi: S::F32::load(token, &hi[i]),
            alpha: S::F32::load(token, &alpha[i]),
            shift: S::F32::load(token, &shift[i]),
        };
        for r in 0..R {
            x[r] = rows.load(token, r, i);
            if !STREAM {
                rows.prefetch_write(r, i, WRITE_AHEAD);
            }
        }
        for r in 0..R {
            let y = A::apply(affine[r], coefficients.apply(x[r]));
            let y = if CLIPS { clip(token, limits, y) } else { y };
            rows.store::<S::F32, STREAM>(r, i, y);
        }
    }
    if rows.tail() > 0 {
        let coefficients = Coefficients {
            hi: S::F32::load_partial(token, hi_tail, 0.0),
            alpha: S::F32::load_partial(token, alpha_tail, 0.0),
            shift: S::F32::load_partial(token, shift_tail, 0.0),
        };
        for r in 0..R {
            let x = rows.load_tail(token, r, 0.0);
            let y = A::apply(affine[r], coefficients.apply(x));
            let y = if CLIPS { clip(token, limits, y) } else { y };
            rows.store_tail(r, y);
        }
    }
}

/// One vector of columns, some of them on f64 lanes: the others keep the bits that they have beside any
/// columns.
struct SweepInF64<'w, 'a, T, A> {
    work: &'w mut NormalizeColumns<'a, T, A>,
    vector: usize,
    /// A bit for each column that needs f64.
    outside: u16,
    panel: &'w Panel,
    /// The place of the vector in the panel.
    i: usize,
}

impl<T: ColumnSource, A: RowAffine> Kernel for SweepInF64<'_, '_, T, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { work, vector, outside, panel, i } = self;
        let (wide, _) = work.coefficients(token, vector);
        let single = Coefficients {
            hi: S::F32::load(token, &panel.hi.as_chunks().0[i]),
            alpha: S::F32::load(token, &panel.alpha.as_chunks().0[i]),
            shift: S::F32::load(token, &panel.shift.as_chunks().0[i]),
        };
        let cols = work.cols;
        for row in 0..work.io.len() / cols {
            let mut group = work.io.group::<1>(row * cols, cols);
            let is_full = vector < group.full();
            let x: S::F32 =
                if is_full { group.load(token, 0, vector) } else { group.load_tail(token, 0, 0.0) };
            let (mut y, mut of_f64) = ([0.0; LANES], [0.0; LANES]);
            let affine = work.rows.load::<S::F32>(token, row);
            A::apply(affine, single.apply(x)).store_init(&mut y);
            let affine = work.rows.load::<S::F64>(token, row);
            let of_row = A::apply(affine, wide.apply(S::F64::widen(x)));
            of_row.narrow().store_init(&mut of_f64);
            for lane in (0..LANES).filter(|lane| outside >> lane & 1 == 1) {
                y[lane] = of_f64[lane];
            }
            let mut y = S::F32::load(token, &y);
            if T::CLIPS {
                y = clip(token, work.source.limits(), y);
            }
            if is_full {
                group.store::<S::F32, false>(0, vector, y);
            } else {
                group.store_tail(0, y);
            }
        }
    }
}
