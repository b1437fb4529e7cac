//! The moments of every row, and of the first elements of every row.
//!
//! The plain algorithm:
//!
//! ```text
//! for each row x: (n, mean, M2) = those of its blocks, merged
//! ```
//!
//! * **Short rows** sixteen at a time (`kernels/rows/short_rows.rs`), rows of up to a few blocks `S::ROWS` at a time, longer ones
//!   one by one: it changes no bit.
//! * **The rows that follow** are prefetched: nothing is written that would leave memory time for it.
#![forbid(unsafe_code)]

use super::reduce::{Cascades, reduce_row, reduce_rows};
use super::short_rows::{SHORT_COLS, ShortRows, short_moments};
use crate::kernels::lanes::Lanes64;
use crate::kernels::split::Split;
use crate::kernels::tuning::GROUP_COLS;
use crate::pitch::PitchedRows;
use crate::simd::{Kernel, LANES, Simd};
use crate::welford::Moments;

/// The moments of every row of x. Rows have at least one element.
pub(crate) struct MeasureRows<'a> {
    pub(crate) x: PitchedRows<'a>,
    pub(crate) cols: usize,
    pub(crate) moments: &'a mut [Moments],
}

impl Split for MeasureRows<'_> {
    fn rows(&self) -> usize {
        self.moments.len()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { x, cols, moments } = self;
        let (low_x, high_x) = x.split_at(at);
        let (low, high) = moments.split_at_mut(at);
        (Self { x: low_x, cols, moments: low }, Self { x: high_x, cols, moments: high })
    }
}

impl Kernel for MeasureRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        match S::ROWS {
            4.. => self.in_groups::<S, 4>(token),
            2.. => self.in_groups::<S, 2>(token),
            _ => self.in_groups::<S, 1>(token),
        }
    }
}

impl MeasureRows<'_> {
    #[inline(always)]
    fn in_groups<S: Simd, const R: usize>(self, token: S) {
        let Self { x, cols, moments } = self;
        let mut first = 0;
        let (mut short, mut groups): (&mut [[Moments; LANES]], &mut [[Moments; R]]) =
            (&mut [], &mut []);
        let mut rest = moments;
        if cols <= SHORT_COLS {
            (short, rest) = rest.as_chunks_mut();
        }
        if cols <= GROUP_COLS {
            (groups, rest) = rest.as_chunks_mut();
        }
        for group in short {
            let rows = ShortRows::new(rows_from(x, first, cols), x.ahead(first, LANES));
            first += LANES;
            let (mean, m2) = token.outline(MeasureShortRows { rows });
            for r in 0..LANES {
                group[r] = Moments { count: cols as u64, mean: mean[r], mean_low: 0.0, m2: m2[r] };
            }
        }
        let mut cascades: Cascades<Moments, R> = None;
        for group in groups {
            let rows = rows_from::<R>(x, first, cols);
            *group = reduce_rows::<_, S, R, true>(token, rows, &mut cascades);
            first += R;
        }
        for moments in rest {
            let row = x.part(first, (0, cols));
            *moments = reduce_row::<_, S, R, true>(token, row, &mut cascades);
            first += 1;
        }
    }
}

/// The moments of the first elements of every row of x.
pub(crate) struct MeasurePrefixes<'a> {
    pub(crate) x: PitchedRows<'a>,
    /// One a row, at most as many as a row has.
    pub(crate) lengths: &'a [usize],
    pub(crate) moments: &'a mut [Moments],
}

impl Split for MeasurePrefixes<'_> {
    fn rows(&self) -> usize {
        self.moments.len()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { x, lengths, moments } = self;
        let (low_x, high_x) = x.split_at(at);
        let (low_lengths, high_lengths) = lengths.split_at(at);
        let (low, high) = moments.split_at_mut(at);
        (
            Self { x: low_x, lengths: low_lengths, moments: low },
            Self { x: high_x, lengths: high_lengths, moments: high },
        )
    }
}

impl Kernel for MeasurePrefixes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        match S::ROWS {
            4.. => self.one_by_one::<S, 4>(token),
            2.. => self.one_by_one::<S, 2>(token),
            _ => self.one_by_one::<S, 1>(token),
        }
    }
}

impl MeasurePrefixes<'_> {
    /// Rows are of any lengths, so that they are not worked on in groups: a row has the same bits by itself.
    #[inline(always)]
    fn one_by_one<S: Simd, const R: usize>(self, token: S) {
        let Self { x, lengths, moments } = self;
        let mut cascades: Cascades<Moments, R> = None;
        for (row, (moments, &len)) in moments.iter_mut().zip(lengths).enumerate() {
            *moments = match len {
                0 => Moments::new(),
                _ => reduce_row::<_, S, R, false>(token, x.part(row, (0, len)), &mut cascades),
            };
        }
    }
}

/// `R` rows of x, the first of them row `first`.
#[inline(always)]
fn rows_from<const R: usize>(x: PitchedRows<'_>, first: usize, cols: usize) -> [&[f32]; R] {
    let mut rows: [&[f32]; R] = [&[]; R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = x.part(first + r, (0, cols));
    }
    rows
}

/// Mean and M2 of sixteen short rows.
struct MeasureShortRows<'a> {
    rows: ShortRows<'a>,
}

impl Kernel for MeasureShortRows<'_> {
    type Output = (Lanes64, Lanes64);

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> Self::Output {
        short_moments(token, &self.rows)
    }
}
