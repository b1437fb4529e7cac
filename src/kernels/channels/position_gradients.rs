//! Gradients of LayerNorm over channels that come first.
//!
//! The plain algorithm, for every sample, a matrix of a row a channel and a column a position:
//!
//! ```text
//! for each position p: (mean[p], rstd[p]) = statistics of the column;  c[p], d[p] = means of g and of g * x_hat
//! for each channel c: dgamma[c] += sum of dy * x_hat of its row;  dbeta[c] += sum of dy
//! dx[c, p] = rstd[p] * (dy[c, p] * gamma[c] - c[p] - x_hat * d[p])
//! ```
//!
//! No element is moved: statistics, sums and dx are those of columns (`kernels/columns/`), with gamma of rows. The sums of rows are
//! a sweep of their own, over panels of positions whose coefficients are in L1.
#![forbid(unsafe_code)]

use super::gradients::Pair;
use super::group_gradients::Slots;
use super::statistics::GroupStatistics;
use crate::kernels::columns::block::PanelSums;
use crate::kernels::columns::block_rows::Selection;
use crate::kernels::columns::coefficients::Coefficients;
use crate::kernels::columns::gradient_sums::{GradientRows, SumPanel, column_sums, sums_len};
use crate::kernels::columns::gradients::{ColumnGradients, GradientColumns, GradientMeans};
use crate::kernels::columns::moments::column_moments;
use crate::kernels::lanes::{Lanes64, lanes_below, load_f64};
use crate::kernels::range::LARGEST;
use crate::kernels::row_filter::RowFilter;
use crate::kernels::rows::block::{BLOCK, TERMS};
use crate::kernels::split::Split;
use crate::simd::{Float, Kernel, LANES, RowSpan, Simd};

/// The gradients of samples, every position by itself. Rows of the work are slots: so many samples that share scratch.
pub(crate) struct PositionGradients<'a> {
    /// dy and dx, if it is wanted; a row is a plane.
    pub(crate) io: RowSpan<'a>,
    pub(crate) x: &'a [f32],
    pub(crate) channels: usize,
    pub(crate) gamma: Option<&'a [f32]>,
    pub(crate) eps: f64,
    /// Mean and rstd of the positions, where the forward pass kept them.
    pub(crate) saved: Option<[&'a [f64]; 2]>,
    /// Which positions of the batch are data.
    pub(crate) kept: RowFilter<'a>,
    /// The sample of the batch that is the first of these.
    pub(crate) first: usize,
    pub(crate) slots: Slots,
    pub(crate) scratch: &'a mut [Lanes64],
    /// The sums of dy and of `dy * x_hat` of every plane, written. Empty if nobody wants them.
    pub(crate) sums: &'a mut [[f64; 2]],
}

impl PositionGradients<'_> {
    /// How samples of a shape share scratch.
    #[inline(always)]
    pub(crate) fn slots(samples: usize, channels: usize, positions: usize) -> Slots {
        // The sums of columns too.
        Slots::new(samples, channels, positions).with(sums_len(positions))
    }
}

impl Split for PositionGradients<'_> {
    fn rows(&self) -> usize {
        self.slots.of(self.scratch)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let positions = self.io.cols();
        let samples = self.slots.samples_before(at, self.io.rows() / self.channels);
        let planes = samples * self.channels;
        let (x, high_x) = self.x.split_at(planes * positions);
        let (io, high_io) = self.io.split_at(planes);
        let (sums, high_sums) = self.sums.split_at_mut(planes.min(self.sums.len()));
        let (scratch, high_scratch) = self.scratch.split_at_mut(self.slots.scratch_before(at));
        (
            Self { io, x, scratch, sums, ..self },
            Self {
                io: high_io,
                x: high_x,
                scratch: high_scratch,
                sums: high_sums,
                first: self.first + samples,
                ..self
            },
        )
    }
}

impl Kernel for PositionGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { mut io, x, channels, gamma, eps, saved, kept, first, slots, scratch, sums } =
            self;
        let positions = io.cols();
        let vectors = positions.div_ceil(LANES);
        let (mut of_moments, mut of_sums) = (PanelSums::new(), SumPanel::new());
        // One slot's scratch is enough for a task, whose slots come one after the other.
        let scratch = &mut scratch[..slots.scratch_before(1)];
        let (of_means, scratch) = scratch.split_at_mut(2 * vectors);
        let (column, of_statistics) = scratch.split_at_mut(2 * vectors);
        let mut sums = sums.chunks_exact_mut(channels);
        for (n, x) in x.chunks_exact(channels * positions).enumerate() {
            let sample;
            (sample, io) = io.split_at(channels);
            let n = first + n;
            let [mean, rstd] = match saved {
                Some(saved) => saved.map(|of| &of[n * positions..(n + 1) * positions]),
                None => {
                    column_moments(
                        token,
                        Selection::all(x, positions),
                        of_statistics,
                        &mut of_moments,
                    );
                    let (means, m2s) = of_statistics[..2 * vectors].split_at_mut(vectors);
                    token.outline(GroupStatistics {
                        rows: channels,
                        channels: positions,
                        per_group: 1,
                        eps,
                        means: &mut *means,
                        m2s: &mut *m2s,
                        mean: None,
                        rstd: None,
                    });
                    [&*means, &*m2s].map(|of| &of.as_flattened()[..positions])
                }
            };
            if let Some(sums) = sums.next() {
                let kept = kept.before((n + 1) * positions);
                let (dy, statistics) = (sample.src(), [mean, rstd]);
                let start = n * positions;
                token.outline(ChannelSums { dy, x, statistics, kept, start, sums });
            }
            if !sample.writes() {
                continue;
            }
            let rows = GradientRows {
                dy: sample.src(),
                x,
                cols: positions,
                pitches: [positions; 2],
                kept: RowFilter::new(None, channels),
                first: 0,
                count: channels,
                factors: gamma,
            };
            match gamma {
                Some(_) => column_sums::<S, true>(token, rows, [mean, rstd], column, &mut of_sums),
                None => column_sums::<S, false>(token, rows, [mean, rstd], column, &mut of_sums),
            };
            let (of_g, of_x_hat) = column.split_at(vectors);
            let (c, d) = of_means.split_at_mut(vectors);
            GradientMeans {
                sums: [of_g, of_x_hat].map(|of| &of.as_flattened()[..positions]),
                gamma: None,
                per_group: 1,
                elements: channels as f64,
                means: [&mut *c, &mut *d].map(|of| &mut of.as_flattened_mut()[..positions]),
            }
            .run(token);
            let means = Some([&*c, &*d].map(|of| &of.as_flattened()[..positions]));
            let alone = channels == 1;
            let columns = GradientColumns { mean, rstd, gamma: None, means, alone };
            let (pitch, factors) = (positions, gamma);
            token.outline(ColumnGradients { io: sample, x, pitch, columns, factors });
        }
    }
}

/// The sums of dy and of `dy * x_hat` of every channel of a sample, over the positions that are kept, of which the first is row
/// `start` of the filter.
struct ChannelSums<'a> {
    dy: &'a [f32],
    x: &'a [f32],
    /// Of the positions.
    statistics: [&'a [f64]; 2],
    kept: RowFilter<'a>,
    start: usize,
    sums: &'a mut [[f64; 2]],
}

/// Vectors of a panel of positions, which is a block.
const VECTORS: usize = BLOCK / LANES;

/// What `x_hat` of a panel of positions is made of.
#[repr(align(64))]
struct Terms {
    hi: [[f32; LANES]; VECTORS],
    rstd: [[f32; LANES]; VECTORS],
    shift: [[f32; LANES]; VECTORS],
}

impl Kernel for ChannelSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { dy, x, statistics: [mean, rstd], kept, start, sums } = self;
        let positions = mean.len();
        sums.fill([0.0; 2]);
        let zeros = [[0.0; LANES]; VECTORS];
        let mut terms = Terms { hi: zeros, rstd: zeros, shift: zeros };
        let zero = S::F64::splat(token, 0.0);
        for first in (0..positions).step_by(BLOCK) {
            let end = positions.min(first + BLOCK);
            let mut outside = [0; VECTORS];
            for i in 0..(end - first).div_ceil(LANES) {
                let vector = first / LANES + i;
                let of =
                    (load_f64(token, mean, vector, 0.0), load_f64(token, rstd, vector, 0.0), zero);
                let place = (vector, positions);
                let (wide, unfit) = Coefficients::new(token, of, None, None, place);
                let single = wide.narrow(token);
                single.hi.store_init(&mut terms.hi[i]);
                single.alpha.store_init(&mut terms.rstd[i]);
                single.shift.store_init(&mut terms.shift[i]);
                outside[i] = unfit & lanes_below(positions - vector * LANES);
            }
            let kept = kept.before(start + end);
            let mut run = kept.next_run(start + first, usize::MAX);
            while !run.is_empty() {
                let part = run.start - start..run.end - start;
                let statistics = [&mean[part.clone()], &rstd[part.clone()]];
                // Padding has no say: its statistics may be anything.
                let is_outside = (part.start - first..part.end - first)
                    .any(|i| outside[i / LANES] >> (i % LANES) & 1 == 1);
                for (channel, sums) in sums.iter_mut().enumerate() {
                    let row = channel * positions;
                    let here = row + part.start..row + part.end;
                    let (dy, x) = (&dy[here.clone()], &x[here]);
                    let mut of_run = terms.sums(token, dy, x, part.start - first..part.end - first);
                    let squares = of_run[0] * of_run[0] + of_run[1] * of_run[1];
                    let fits = (1.0 / LARGEST / LARGEST..f64::INFINITY).contains(&squares);
                    if is_outside || !fits {
                        of_run = token.outline(SumsInF64 { dy, x, statistics });
                    }
                    for (sum, more) in sums.iter_mut().zip(of_run) {
                        *sum += more;
                    }
                }
                run = kept.next_run(run.end, usize::MAX);
            }
        }
    }
}

impl Terms {
    /// The sums of some positions of a row, `part` of the panel.
    #[inline(always)]
    fn sums<S: Simd>(
        &self,
        token: S,
        dy: &[f32],
        x: &[f32],
        part: core::ops::Range<usize>,
    ) -> Pair {
        let (hi, hi_tail) = self.hi.as_flattened()[part.clone()].as_chunks::<LANES>();
        let (rstd, rstd_tail) = self.rstd.as_flattened()[part.clone()].as_chunks::<LANES>();
        let (shift, shift_tail) = self.shift.as_flattened()[part].as_chunks::<LANES>();
        let (dy, dy_tail) = dy.as_chunks::<LANES>();
        let (x, x_tail) = x.as_chunks::<LANES>();
        let zero = S::F32::splat(token, 0.0);
        let (mut of_dy, mut of_x_hat) = (zero, zero);
        let full = dy.len();
        let (hi, rstd, shift, x) = (&hi[..full], &rstd[..full], &shift[..full], &x[..full]);
        for from in (0..full).step_by(TERMS) {
            let (mut step_dy, mut step_x_hat) = (zero, zero);
            for i in from..full.min(from + TERMS) {
                let coefficients = Coefficients {
                    hi: S::F32::load(token, &hi[i]),
                    alpha: S::F32::load(token, &rstd[i]),
                    shift: S::F32::load(token, &shift[i]),
                };
                let dy = S::F32::load(token, &dy[i]);
                step_dy = step_dy + dy;
                step_x_hat = dy.mul_add(coefficients.apply(S::F32::load(token, &x[i])), step_x_hat);
            }
            (of_dy, of_x_hat) = (of_dy + step_dy, of_x_hat + step_x_hat);
        }
        if !dy_tail.is_empty() {
            let coefficients = Coefficients {
                hi: S::F32::load_partial(token, hi_tail, 0.0),
                alpha: S::F32::load_partial(token, rstd_tail, 0.0),
                shift: S::F32::load_partial(token, shift_tail, 0.0),
            };
            let dy = S::F32::load_partial(token, dy_tail, 0.0);
            let x_hat = coefficients.apply(S::F32::load_partial(token, x_tail, 0.0));
            (of_dy, of_x_hat) = (of_dy + dy, dy.mul_add(x_hat, of_x_hat));
        }
        S::F32::sums([of_dy, of_x_hat])
    }
}

/// The same on f64 lanes.
struct SumsInF64<'a> {
    dy: &'a [f32],
    x: &'a [f32],
    /// Of the positions of the part.
    statistics: [&'a [f64]; 2],
}

impl Kernel for SumsInF64<'_> {
    type Output = Pair;

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> Pair {
        let Self { dy, x, statistics: [mean, rstd] } = self;
        let zero = S::F64::splat(token, 0.0);
        let (mut of_dy, mut of_x_hat) = (zero, zero);
        for (i, (dy, x)) in dy.chunks(LANES).zip(x.chunks(LANES)).enumerate() {
            let dy = S::F64::load_partial(token, dy, 0.0);
            let (mean, rstd) = (load_f64(token, mean, i, 0.0), load_f64(token, rstd, i, 0.0));
            let x_hat = (S::F64::load_partial(token, x, 0.0) - mean) * rstd;
            (of_dy, of_x_hat) = (of_dy + dy, dy.mul_add(x_hat, of_x_hat));
        }
        S::F64::sums([of_dy, of_x_hat])
    }
}
