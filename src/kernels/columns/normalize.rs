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

use super::coefficients::{Coefficients, ColumnSource};
use super::narrow;
use super::row_affine::RowAffine;
use super::row_walk::{RowGroups, begin_alike, walk};
use crate::kernels::split::Split;
use crate::kernels::tuning::{COEFFICIENT_PANEL, WRITE_AHEAD};
use crate::simd::{Double, Float, Group, Kernel, LANES, RowSpan, Simd};

/// Vectors of a panel.
pub(crate) const COEFFICIENT_VECTORS: usize = COEFFICIENT_PANEL / LANES;

/// Normalises, scales and shifts every column. There is at least one.
#[derive(Debug)]
pub(crate) struct NormalizeColumns<'a, T, A = ()> {
    pub(crate) io: RowSpan<'a>,
    pub(crate) source: T,
    pub(crate) gamma: Option<&'a [f32]>,
    pub(crate) beta: Option<&'a [f32]>,
    pub(crate) rows: A,
}

impl<T: ColumnSource, A: RowAffine> Split for NormalizeColumns<'_, T, A> {
    fn rows(&self) -> usize {
        self.io.rows()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (low, high) = self.io.split_at(at);
        (Self { io: low, ..self }, Self { io: high, rows: self.rows.skip(at), ..self })
    }
}

impl<T: ColumnSource, A: RowAffine> Kernel for NormalizeColumns<'_, T, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, token: S) {
        let vectors = self.io.cols().div_ceil(LANES);
        let mut first = 0;
        while first < vectors {
            let end = vectors.min(first + COEFFICIENT_VECTORS);
            self.panel::<S>(token, first, end);
            first = end;
        }
    }
}

impl<T: ColumnSource, A: RowAffine> NormalizeColumns<'_, T, A> {
    /// The f64 coefficients of a vector of columns, and a bit for each column whose do not fit f32.
    #[inline(always)]
    fn coefficients<S: Simd>(&self, token: S, vector: usize) -> (Coefficients<S::F64>, u16) {
        let (mean, rstd) = self.source.load(token, vector);
        let statistics = (mean, rstd, self.source.shift(token, vector));
        Coefficients::new(token, statistics, self.gamma, self.beta, (vector, self.io.cols()))
    }

    /// The columns of the vectors `first` up to `end`, at most a panel.
    #[inline(always)]
    pub(crate) fn panel<S: Simd>(&mut self, token: S, first: usize, end: usize) {
        let mut panel = CoefficientPanel::EMPTY;
        let mut outside = [0; COEFFICIENT_VECTORS];
        let mut any_outside = 0;
        // No branch on what is outside: the divisions of several vectors overlap (docs/performance.md, "What helped").
        for (i, outside) in outside[..end - first].iter_mut().enumerate() {
            let (wide, unfit) = self.coefficients(token, first + i);
            let single = wide.narrow(token);
            single.hi.store_init(&mut panel.hi.as_chunks_mut().0[i]);
            single.alpha.store_init(&mut panel.alpha.as_chunks_mut().0[i]);
            single.shift.store_init(&mut panel.shift.as_chunks_mut().0[i]);
            *outside = unfit;
            any_outside |= unfit;
        }
        let (rows, cols) = (self.io.rows(), self.io.cols());
        let whole = first == 0 && end * LANES >= cols;
        if A::NONE && any_outside == 0 && whole && self.io.is_contiguous() {
            return self.sweep_folded::<S>(token, &mut panel);
        }
        // The longest run of vectors that fit f32, then one that does not.
        let mut start = first;
        while start < end {
            let fit = outside[start - first..end - first].iter().take_while(|bits| **bits == 0);
            let run_end = start + fit.count();
            let columns = start * LANES..cols.min(run_end * LANES);
            self.sweep(token, &panel, 1, 0..rows, first * LANES, columns);
            if run_end < end {
                let (panel, i) = (&panel, run_end - first);
                let outside = outside[i];
                token.outline(SweepVectorInF64 { work: self, vector: run_end, outside, panel, i });
            }
            start = run_end + 1;
        }
    }

    /// All columns, several narrow rows at a time as one, from the last row to the first.
    #[inline(always)]
    fn sweep_folded<S: Simd>(&mut self, token: S, panel: &mut CoefficientPanel) {
        let (rows, cols) = (self.io.rows(), self.io.cols());
        let factor = narrow::factor(cols);
        let (wide_rows, wide) = (rows / factor, factor * cols);
        self.sweep(token, panel, 1, wide_rows * factor..rows, 0, 0..cols);
        if wide_rows > 0 {
            for coefficients in [&mut panel.hi, &mut panel.alpha, &mut panel.shift] {
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
        panel: &CoefficientPanel,
        factor: usize,
        rows: Range<usize>,
        first: usize,
        columns: Range<usize>,
    ) {
        if columns.is_empty() || rows.is_empty() {
            return;
        }
        let (affine, limits) = (self.rows, self.source.limits());
        let io = if factor > 1 { self.io.widened(factor) } else { self.io.reborrow() };
        if T::CLIPS {
            let sweep = SweepRows::<A, true> { io, panel, rows, first, columns, affine, limits };
            token.vectorize(sweep);
        } else {
            let sweep = SweepRows::<A, false> { io, panel, rows, first, columns, affine, limits };
            token.vectorize(sweep);
        }
    }
}

/// Coefficients of a panel, aligned so that no vector of them lies in two cache lines.
#[repr(align(64))]
struct CoefficientPanel {
    hi: [f32; COEFFICIENT_PANEL],
    alpha: [f32; COEFFICIENT_PANEL],
    shift: [f32; COEFFICIENT_PANEL],
}

impl CoefficientPanel {
    const EMPTY: Self = Self {
        hi: [0.0; COEFFICIENT_PANEL],
        alpha: [0.0; COEFFICIENT_PANEL],
        shift: [0.0; COEFFICIENT_PANEL],
    };
}

/// Some columns of some rows, whose coefficients are in a panel that begins with column `first`. A function of its
/// own, whatever the statistics came from, compiled once for all operations on columns.
struct SweepRows<'w, 'a, A, const CLIPS: bool> {
    io: RowSpan<'a>,
    panel: &'w CoefficientPanel,
    rows: Range<usize>,
    first: usize,
    columns: Range<usize>,
    affine: A,
    limits: [f32; 2],
}

impl<A: RowAffine, const CLIPS: bool> Kernel for SweepRows<'_, '_, A, CLIPS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, token: S) {
        let (rows, cols, alike) = (self.rows.clone(), self.io.cols(), begin_alike(&self.io));
        walk(token, &mut self, rows, cols, alike);
    }
}

impl<A: RowAffine, const CLIPS: bool> RowGroups for SweepRows<'_, '_, A, CLIPS> {
    /// `R` rows, each so many after the one before: the columns before the first cache line boundary of y, then the
    /// rest, so that stores do not cross cache lines.
    #[inline(always)]
    fn group<S: Simd, const R: usize>(&mut self, token: S, row: usize, apart: usize) {
        let Self { panel, first, limits, .. } = *self;
        let mut affine = [self.affine.load(token, row); R];
        for r in 1..R {
            affine[r] = self.affine.load(token, row + r * apart);
        }
        let mut rows = self.io.group_apart::<R, 1>(row, apart);
        let mut rows = rows.columns(self.columns.start, self.columns.end);
        let (width, head) = (rows.cols(), rows.before_line());
        for (start, end) in [(0, head), (head, width)] {
            if start < end {
                let first = self.columns.start - first;
                let (mut part, columns) = (rows.columns(start, end), first + start..first + end);
                if part.streams() {
                    sweep_columns_part::<S, A, CLIPS, true, R>(
                        token, &mut part, panel, columns, &affine, limits,
                    );
                } else {
                    sweep_columns_part::<S, A, CLIPS, false, R>(
                        token, &mut part, panel, columns, &affine, limits,
                    );
                }
            }
        }
    }
}

/// Rows whose coefficients are those at `part` of the panel.
#[inline(always)]
fn sweep_columns_part<
    S: Simd,
    A: RowAffine,
    const CLIPS: bool,
    const STREAM: bool,
    const R: usize,
>(
    token: S,
    rows: &mut Group<'_, R>,
    panel: &CoefficientPanel,
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

/// `y` between the limits. NaN stays NaN.
#[inline(always)]
fn clip<S: Simd>(token: S, [least, greatest]: [f32; 2], y: S::F32) -> S::F32 {
    // Where either is NaN, both operations give their second argument.
    S::F32::splat(token, greatest).min(S::F32::splat(token, least).max(y))
}

/// One vector of columns, some of them on f64 lanes: the others keep the bits that they have beside any
/// columns.
struct SweepVectorInF64<'w, 'a, T, A> {
    work: &'w mut NormalizeColumns<'a, T, A>,
    vector: usize,
    /// A bit for each column that needs f64.
    outside: u16,
    panel: &'w CoefficientPanel,
    /// The place of the vector in the panel.
    i: usize,
}

impl<T: ColumnSource, A: RowAffine> Kernel for SweepVectorInF64<'_, '_, T, A> {
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
        for row in 0..work.io.rows() {
            let mut group = work.io.group::<1, 1>(row);
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
