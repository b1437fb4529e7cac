//! Normalise, scale and shift columns: BatchNorm's second half, and its inference.
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
#![forbid(unsafe_code)]

use core::ops::Range;

use super::columns::{Lanes64, lanes_below, load_columns};
use super::normalize::LARGEST;
use super::{Split, fold};
use crate::simd::{Double, Float, Group, Kernel, LANES, Simd, Span};

/// Rows that share the loads of coefficients. Measured, inference of 128x768, of memcpy, AVX-512 and AVX2: 2 rows
/// 0.59 and 0.66, 4 rows 0.67 and 0.71, 8 rows 0.65 and 0.58.
const ROWS: usize = 4;

/// Columns whose coefficients are made at a time: three f32 of each are 12 KB of a 32 or 48 KB L1.
const PANEL: usize = 1024;

/// Vectors of a panel.
const PANEL_VECTORS: usize = PANEL / LANES;

/// Elements that y is asked for ahead: of memcpy, inference of 128x768 0.66 without and 0.69 with it.
const WRITE_AHEAD: usize = 64;

/// Where the statistics of columns come from.
pub(crate) trait ColumnSource: Copy + Send {
    /// mean and rstd of the columns of a vector; anything in lanes beyond the last column.
    fn load<S: Simd>(self, token: S, vector: usize) -> (S::F64, S::F64);
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
        (load_f64(token, self.mean, vector), load_f64(token, self.rstd, vector))
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
fn replace<S: Simd>(token: S, vector: S::F64, bits: u16, value: f64) -> S::F64 {
    let mut lanes = [0.0; LANES];
    vector.store_f64(&mut lanes);
    for (i, lane) in lanes.iter_mut().enumerate() {
        if bits >> i & 1 == 1 {
            *lane = value;
        }
    }
    S::F64::load_f64(token, &lanes)
}

/// Vector `i` of `x`: sixteen elements, or those that there are and zeros.
#[inline(always)]
fn load_f64<S: Simd>(token: S, x: &[f64], i: usize) -> S::F64 {
    let (vectors, tail) = x.as_chunks::<LANES>();
    if let Some(vector) = vectors.get(i) {
        return S::F64::load_f64(token, vector);
    }
    let mut lanes: Lanes64 = [0.0; LANES];
    lanes[..tail.len()].copy_from_slice(tail);
    S::F64::load_f64(token, &lanes)
}

/// What the sweep does to a vector of columns: `y = (x - hi) * alpha + shift`.
#[derive(Clone, Copy)]
struct Coefficients<V> {
    hi: V,
    alpha: V,
    shift: V,
}

impl<V: Float> Coefficients<V> {
    #[inline(always)]
    fn apply(self, x: V) -> V {
        (x - self.hi).mul_add(self.alpha, self.shift)
    }
}

/// Normalises, scales and shifts every column. There is at least one.
#[derive(Debug)]
pub(crate) struct NormalizeColumns<'a, T> {
    pub(crate) io: Span<'a>,
    pub(crate) cols: usize,
    pub(crate) source: T,
    pub(crate) gamma: Option<&'a [f32]>,
    pub(crate) beta: Option<&'a [f32]>,
}

impl<T: ColumnSource> Split for NormalizeColumns<'_, T> {
    fn rows(&self) -> usize {
        self.io.len() / self.cols
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (low, high) = self.io.split_at(at * self.cols);
        (Self { io: low, ..self }, Self { io: high, ..self })
    }
}

impl<T: ColumnSource> Kernel for NormalizeColumns<'_, T> {
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

impl<T: ColumnSource> NormalizeColumns<'_, T> {
    /// The f64 coefficients of a vector of columns, and a bit for each column whose do not fit f32.
    #[inline(always)]
    fn coefficients<S: Simd>(&self, token: S, vector: usize) -> (Coefficients<S::F64>, u16) {
        let (mean, rstd) = self.source.load(token, vector);
        let mut alpha = rstd;
        if let Some(gamma) = self.gamma {
            alpha = rstd * S::F64::widen(load_columns(token, gamma, vector, 0.0));
        }
        let mut shift = S::F64::splat(token, 0.0);
        if let Some(beta) = self.beta {
            shift = S::F64::widen(load_columns(token, beta, vector, 0.0));
        }
        let largest = S::F64::splat(token, LARGEST * LARGEST);
        let least = S::F64::splat(token, 1.0 / LARGEST / LARGEST);
        // Squares, for want of an absolute value, and their sum, for one comparison: they cannot overflow before
        // they are too large.
        let alpha_square = alpha * alpha;
        let product = mean * alpha;
        let sum = product.mul_add(product, mean.mul_add(mean, alpha_square));
        let zero = alpha.equal(S::F64::splat(token, 0.0));
        let fits = (least.less_or_equal(alpha_square) | zero) & sum.less_or_equal(largest);
        let lanes = lanes_below(self.cols - vector * LANES);
        (Coefficients { hi: mean, alpha, shift }, !fits & lanes)
    }

    #[inline(always)]
    fn panel<S: Simd>(&mut self, token: S, first: usize, end: usize) {
        let mut panel = Panel::EMPTY;
        let mut outside = [0; PANEL_VECTORS];
        let mut any_outside = 0;
        // No branch on what is outside: the divisions of several vectors overlap. With one, the coefficients of 16
        // columns took 155 cycles.
        for (i, outside) in outside[..end - first].iter_mut().enumerate() {
            let (wide, unfit) = self.coefficients(token, first + i);
            let hi = wide.hi.narrow();
            let lo = wide.hi - S::F64::widen(hi);
            let zero = S::F64::splat(token, 0.0);
            let shift = (zero - lo).mul_add(wide.alpha, wide.shift);
            hi.store_init(&mut panel.hi.as_chunks_mut().0[i]);
            wide.alpha.narrow().store_init(&mut panel.alpha.as_chunks_mut().0[i]);
            shift.narrow().store_init(&mut panel.shift.as_chunks_mut().0[i]);
            *outside = unfit;
            any_outside |= unfit;
        }
        if any_outside == 0 && end * LANES >= self.cols && first == 0 {
            return self.sweep_folded::<S>(token, &mut panel);
        }
        // The longest run of vectors that fit f32, then one that does not.
        let mut start = first;
        while start < end {
            let fit = outside[start - first..end - first].iter().take_while(|bits| **bits == 0);
            let run_end = start + fit.count();
            let columns = start * LANES..self.cols.min(run_end * LANES);
            let rows = 0..self.io.len() / self.cols;
            self.sweep::<S>(token, &panel, self.cols, rows, first * LANES, columns);
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
        self.sweep::<S>(token, panel, self.cols, wide_rows * factor..rows, 0, 0..self.cols);
        if wide_rows > 0 {
            for coefficients in [&mut panel.hi, &mut panel.alpha, &mut panel.shift] {
                fold::repeat_part(&mut coefficients[..wide], factor);
            }
            self.sweep::<S>(token, panel, wide, 0..wide_rows, 0, 0..wide);
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
        if columns.is_empty() {
            return;
        }
        // Lines that are written around the caches must begin alike in the rows of a group.
        let alike = !self.io.streams() || cols.is_multiple_of(LANES);
        let mut row = rows.end;
        while row > rows.start {
            if alike && row - rows.start >= ROWS {
                row -= ROWS;
                let mut group = self.io.group::<ROWS>(row * cols, cols);
                sweep_rows::<S, ROWS>(token, &mut group, panel, first, columns.clone());
            } else {
                row -= 1;
                let mut group = self.io.group::<1>(row * cols, cols);
                sweep_rows::<S, 1>(token, &mut group, panel, first, columns.clone());
            }
        }
    }
}

/// Some columns of `R` rows: those before the first cache line boundary of y, then the rest, so that stores
/// do not cross cache lines.
#[inline(always)]
fn sweep_rows<S: Simd, const R: usize>(
    token: S,
    rows: &mut Group<'_, R>,
    panel: &Panel,
    first: usize,
    columns: Range<usize>,
) {
    let mut rows = rows.columns(columns.start, columns.end);
    let (width, head) = (rows.cols(), rows.before_line());
    for (start, end) in [(0, head), (head, width)] {
        if start < end {
            let first = columns.start - first;
            let mut part = rows.columns(start, end);
            if part.streams() {
                sweep_part::<S, true, R>(token, &mut part, panel, first + start..first + end);
            } else {
                sweep_part::<S, false, R>(token, &mut part, panel, first + start..first + end);
            }
        }
    }
}

/// Rows whose coefficients are those at `part` of the panel.
#[inline(always)]
fn sweep_part<S: Simd, const STREAM: bool, const R: usize>(
    token: S,
    rows: &mut Group<'_, R>,
    panel: &Panel,
    part: Range<usize>,
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
            rows.store::<S::F32, STREAM>(r, i, coefficients.apply(x[r]));
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
            rows.store_tail(r, coefficients.apply(x));
        }
    }
}

/// One vector of columns, some of them on f64 lanes: the others keep the bits that they have beside any
/// columns.
struct SweepInF64<'w, 'a, T> {
    work: &'w mut NormalizeColumns<'a, T>,
    vector: usize,
    /// A bit for each column that needs f64.
    outside: u16,
    panel: &'w Panel,
    /// The place of the vector in the panel.
    i: usize,
}

impl<T: ColumnSource> Kernel for SweepInF64<'_, '_, T> {
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
            single.apply(x).store_init(&mut y);
            wide.apply(S::F64::widen(x)).narrow().store_init(&mut of_f64);
            for lane in (0..LANES).filter(|lane| outside >> lane & 1 == 1) {
                y[lane] = of_f64[lane];
            }
            let y = S::F32::load(token, &y);
            if is_full {
                group.store::<S::F32, false>(0, vector, y);
            } else {
                group.store_tail(0, y);
            }
        }
    }
}
