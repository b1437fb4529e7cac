//! Channels first: GroupNorm, InstanceNorm and BatchNorm of `[batch, channels, positions]`.
//!
//! A channel of a sample is a row of `positions` elements, a plane; a group of channels is a row of planes. The plain
//! algorithm, for every group of every sample:
//!
//! ```text
//! (mean, rstd) = statistics of the group's row
//! for each channel c of the group: for x in its plane: y = (x - mean) * rstd * gamma[c] + beta[c]
//! ```
//!
//! What makes it exact and fast:
//!
//! * **The statistics are those of rows** (`kernels/rows/block.rs`, `kernels/rows/short_rows.rs`), the sums of a channel over the batch
//!   their merge in f64: nothing is summed in another way than elsewhere.
//! * **Group by group**: a group is swept over as soon as its statistics are known, while it is in cache. x is read from
//!   memory once. BatchNorm, whose statistics need all of x, sweeps from the last plane to the first, since the last
//!   ones are still in cache.
//! * **Three coefficients a plane** (`kernels/columns/normalize.rs`), made for sixteen channels at a time, gamma and beta
//!   in them: the sweep is two operations an element, and BatchNorm's inference has the bits that it has with channels
//!   last.
//! * **Planes in groups of `S::ROWS`** fill the pipeline where planes are small: the 49 elements of 7x7 are four vectors.
//! * **Planes that do not fill a vector** are swept over side by side, sixteen as one row whose coefficients are repeated
//!   for each element.
//! * **A range test a plane.** Where a coefficient leaves what f32 can hold, the same code runs on f64 lanes.
#![forbid(unsafe_code)]

use crate::kernels::columns::coefficients::{Coefficients, ColumnSource};
use crate::kernels::lanes::{Lanes64, lanes_below};
use crate::kernels::merge::cascade::Cascade;
use crate::kernels::merge::columns::merge_columns;
use crate::kernels::row_filter::RowFilter;
use crate::kernels::rows::block::{BLOCK, BlockStatistic};
use crate::kernels::rows::moments::MeasureRows;
use crate::kernels::rows::normalize::MeasureShort;
use crate::kernels::rows::reduce::{Cascades, reduce_row};
use crate::kernels::rows::short_rows::{SHORT_COLS, ShortRows};
use crate::kernels::rows::source::{GivenRows, MeanVariance, RowSource};
use crate::kernels::rows::sweep::{Standardize, in_groups, sweep_plain};
use crate::kernels::split::Split;
use crate::kernels::tuning::GROUP_COLS;
use crate::pitch::PitchedRows;
use crate::simd::{Double, Float, Group, Kernel, LANES, Simd, Span};
use crate::welford::Moments;

/// Normalises every group of `planes` planes by its own mean and variance.
pub(crate) struct NormalizeGroups<'a> {
    pub(crate) io: Planes<'a>,
    /// Planes of a group, at least one.
    pub(crate) planes: usize,
    pub(crate) source: MeanVariance<'a>,
}

impl Split for NormalizeGroups<'_> {
    fn rows(&self) -> usize {
        self.io.count() / self.planes
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { io, planes, source } = self;
        let (low, high) = io.split_at(at * planes);
        let (source, high_source) = source.split_at(at);
        (Self { io: low, planes, source }, Self { io: high, planes, source: high_source })
    }
}

impl Kernel for NormalizeGroups<'_> {
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

impl NormalizeGroups<'_> {
    #[inline(always)]
    fn in_groups<S: Simd, const R: usize>(mut self, token: S) {
        let (groups, planes) = (self.rows(), self.planes);
        // Of small groups the coefficients are made for as many at a time as there are lanes.
        let at_a_time = if planes * self.io.positions <= GROUP_COLS { LANES } else { 1 };
        let (mut cascades, mut cascade) = (None, None);
        let mut first = 0;
        while first < groups {
            let count = at_a_time.min(groups - first);
            let (means, rstds) =
                self.statistics::<S, R>(token, first, count, &mut cascades, &mut cascade);
            let (mut plane, end) = (first * planes, (first + count) * planes);
            while plane < end {
                let run = self.io.run_from(plane, end);
                let (mut mean, mut rstd) = ([0.0; LANES], [0.0; LANES]);
                let (mut group, mut left) = (plane / planes - first, planes - plane % planes);
                for lane in run.lane..run.lane + run.len {
                    (mean[lane], rstd[lane]) = (means[group], rstds[group]);
                    left -= 1;
                    if left == 0 {
                        (group, left) = (group + 1, planes);
                    }
                }
                let statistics = (S::F64::load_f64(token, &mean), S::F64::load_f64(token, &rstd));
                self.io.sweep::<MeanVariance<'_>, S, R>(token, run, statistics);
                plane += run.len;
            }
            first += count;
        }
    }

    /// Mean and rstd of `count` groups, at most sixteen.
    #[inline(always)]
    fn statistics<S: Simd, const R: usize>(
        &mut self,
        token: S,
        first: usize,
        count: usize,
        cascades: &mut Cascades<Moments, R>,
        cascade: &mut Cascades<Moments, 1>,
    ) -> (Lanes64, Lanes64) {
        let (len, source) = (self.planes * self.io.positions, &mut self.source);
        if count == LANES && len <= SHORT_COLS {
            let rows = self.io.io.group::<LANES>(first * len, len);
            let rows = ShortRows::new(rows.rows(), LANES * len);
            let statistics = token.outline(MeasureShort { source, first, rows });
            return (statistics.mean, statistics.rstd);
        }
        let (mut means, mut rstds) = ([0.0; LANES], [0.0; LANES]);
        let mut done = 0;
        while count - done >= R {
            let rows = self.io.io.group::<R>((first + done) * len, len);
            let statistics = source.rows(token, first + done, rows.rows(), cascades);
            for r in 0..R {
                (means[done + r], rstds[done + r]) = (statistics[r].mean, statistics[r].rstd);
            }
            done += R;
        }
        while done < count {
            let row = self.io.io.group::<1>((first + done) * len, len);
            let [statistics] = source.rows(token, first + done, row.rows(), cascade);
            (means[done], rstds[done]) = (statistics.mean, statistics.rstd);
            done += 1;
        }
        (means, rstds)
    }
}

/// Normalises every plane by the given statistics of its channel.
pub(crate) struct NormalizePlanes<'a, T> {
    pub(crate) io: Planes<'a>,
    pub(crate) source: T,
}

impl<T: ColumnSource> Split for NormalizePlanes<'_, T> {
    fn rows(&self) -> usize {
        self.io.count()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { io, source } = self;
        let (io, high) = io.split_at(at);
        (Self { io, source }, Self { io: high, source })
    }
}

impl<T: ColumnSource> Kernel for NormalizePlanes<'_, T> {
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

impl<T: ColumnSource> NormalizePlanes<'_, T> {
    #[inline(always)]
    fn in_groups<S: Simd, const R: usize>(mut self, token: S) {
        let mut end = self.io.count();
        while end > 0 {
            let run = self.io.run_to(end);
            let statistics = self.source.load(token, run.vector);
            self.io.sweep::<GivenRows<'_>, S, R>(token, run, statistics);
            end = run.plane;
        }
    }
}

/// Planes of x and y, and gamma and beta of every channel.
pub(crate) struct Planes<'a> {
    io: Span<'a>,
    positions: usize,
    channels: usize,
    /// The channel of the first plane.
    first: usize,
    gamma: Option<&'a [f32]>,
    beta: Option<&'a [f32]>,
}

/// Planes whose channels are in one vector of them.
#[derive(Clone, Copy)]
struct ChannelRun {
    /// The first plane.
    plane: usize,
    len: usize,
    /// The vector of its channel, and the lane.
    vector: usize,
    lane: usize,
}

/// Planes of fewer elements are swept over side by side.
const SMALL: usize = LANES;

impl<'a> Planes<'a> {
    /// The planes of a batch. Neither `positions` nor `channels` is 0.
    pub(crate) fn new(
        io: Span<'a>,
        (channels, positions): (usize, usize),
        gamma: Option<&'a [f32]>,
        beta: Option<&'a [f32]>,
    ) -> Self {
        Self { io, positions, channels, first: 0, gamma, beta }
    }

    fn count(&self) -> usize {
        self.io.len() / self.positions
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let first = (self.first + at) % self.channels;
        let (low, high) = self.io.split_at(at * self.positions);
        (Self { io: low, ..self }, Self { io: high, first, ..self })
    }

    /// The run that begins with `plane`, and ends at `end` or before.
    #[inline(always)]
    fn run_from(&self, plane: usize, end: usize) -> ChannelRun {
        let channel = (self.first + plane) % self.channels;
        let lane = channel % LANES;
        let len = (LANES - lane).min(self.channels - channel).min(end - plane);
        ChannelRun { plane, len, vector: channel / LANES, lane }
    }

    /// The run that ends before plane `end`, which is not the first.
    #[inline(always)]
    fn run_to(&self, end: usize) -> ChannelRun {
        let last = (self.first + end - 1) % self.channels;
        let len = (last % LANES + 1).min(end);
        ChannelRun { plane: end - len, len, vector: last / LANES, lane: last % LANES + 1 - len }
    }

    /// Sweeps over the planes of a run. The lanes of `statistics` are those of the channels' vector.
    #[inline(always)]
    fn sweep<T: RowSource, S: Simd, const R: usize>(
        &mut self,
        token: S,
        run: ChannelRun,
        statistics: (S::F64, S::F64),
    ) {
        let ChannelRun { plane, len, vector, lane } = run;
        let place = (vector, self.channels);
        let (mean, rstd) = statistics;
        let statistics = (mean, rstd, S::F64::splat(token, 0.0));
        let (wide, outside) = Coefficients::new(token, statistics, self.gamma, self.beta, place);
        let single = wide.narrow(token);
        let (mut hi, mut alpha, mut shift) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        single.hi.store_init(&mut hi);
        single.alpha.store_init(&mut alpha);
        single.shift.store_init(&mut shift);
        let outside = outside >> lane & lanes_below(len);

        let cols = self.positions;
        if outside == 0 && cols < SMALL {
            let mut row = self.io.group::<1>(plane * cols, len * cols);
            let lanes = [&hi, &alpha, &shift].map(|lanes| &lanes[lane..lane + len]);
            return sweep_small(token, &mut row, lanes, cols);
        }
        let mut r = 0;
        if outside == 0 && in_groups(self.io.streams(), cols.is_multiple_of(LANES), cols) {
            while len - r >= R {
                let mut group = self.io.group::<R>((plane + r) * cols, cols);
                let rows = Standardize::from_lanes::<R>(token, [&hi, &alpha, &shift], lane + r);
                sweep_plain::<T, S::F32, R>(token, &mut group, rows);
                r += R;
            }
        }
        while r < len {
            let mut group = self.io.group::<1>((plane + r) * cols, cols);
            if outside >> r & 1 == 0 {
                let rows = Standardize::from_lanes::<1>(token, [&hi, &alpha, &shift], lane + r);
                sweep_plain::<T, S::F32, 1>(token, &mut group, rows);
            } else {
                let mut coefficients = [[0.0; LANES]; 3];
                let [hi, alpha, shift] = &mut coefficients;
                wide.hi.store_f64(hi);
                wide.alpha.store_f64(alpha);
                wide.shift.store_f64(shift);
                let coefficients = coefficients.map(|lanes| lanes[lane + r]);
                token.outline(PlaneInF64 { plane: group, coefficients });
            }
            r += 1;
        }
    }
}

/// The sweep over planes of `cols` elements, fewer than [`SMALL`], that are side by side in a row. Coefficients are one of
/// each a plane.
#[inline(always)]
fn sweep_small<S: Simd>(token: S, row: &mut Group<'_, 1>, planes: [&[f32]; 3], cols: usize) {
    let mut repeated = [[0.0; LANES * SMALL]; 3];
    for (repeated, planes) in repeated.iter_mut().zip(planes) {
        for (repeated, &coefficient) in repeated.chunks_exact_mut(cols).zip(planes) {
            repeated.fill(coefficient);
        }
    }
    for i in 0..row.full() {
        let y = load_coefficients::<S>(token, &repeated, i).apply(row.load(token, 0, i));
        row.store::<S::F32, false>(0, i, y);
    }
    if row.tail() > 0 {
        let coefficients = load_coefficients::<S>(token, &repeated, row.full());
        row.store_tail(0, coefficients.apply(row.load_tail(token, 0, 0.0)));
    }
}

/// Those of vector `i`.
#[inline(always)]
fn load_coefficients<S: Simd>(
    token: S,
    [hi, alpha, shift]: &[[f32; LANES * SMALL]; 3],
    i: usize,
) -> Coefficients<S::F32> {
    Coefficients {
        hi: S::F32::load(token, &hi.as_chunks().0[i]),
        alpha: S::F32::load(token, &alpha.as_chunks().0[i]),
        shift: S::F32::load(token, &shift.as_chunks().0[i]),
    }
}

/// The mean and M2 of every plane, a lane for each: every sixteen channels of a sample are a vector.
pub(crate) struct PlaneMoments<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) positions: usize,
    pub(crate) channels: usize,
    /// The first vector of the first sample.
    pub(crate) first: usize,
    /// Which positions of the batch are data, where some are not.
    pub(crate) kept: Option<RowFilter<'a>>,
    pub(crate) means: &'a mut [Lanes64],
    pub(crate) m2s: &'a mut [Lanes64],
}

impl PlaneMoments<'_> {
    /// The planes before a vector.
    fn planes_before(&self, vector: usize) -> usize {
        let vectors = self.channels.div_ceil(LANES);
        vector / vectors * self.channels + vector % vectors * LANES
    }
}

impl Split for PlaneMoments<'_> {
    fn rows(&self) -> usize {
        self.means.len()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let planes = self.planes_before(self.first + at) - self.planes_before(self.first);
        let Self { x, positions, channels, first, kept, means, m2s } = self;
        let (x, high_x) = x.split_at(planes * positions);
        let (means, high_means) = means.split_at_mut(at);
        let (m2s, high_m2s) = m2s.split_at_mut(at);
        let high = first + at;
        (
            Self { x, positions, channels, first, kept, means, m2s },
            Self {
                x: high_x,
                positions,
                channels,
                first: high,
                kept,
                means: high_means,
                m2s: high_m2s,
            },
        )
    }
}

impl Kernel for PlaneMoments<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { mut x, positions, channels, first, kept, means, m2s } = self;
        let vectors = channels.div_ceil(LANES);
        let mut moments = [Moments::new(); LANES];
        for (i, (mean, m2)) in means.iter_mut().zip(m2s).enumerate() {
            let channel = (first + i) % vectors * LANES;
            let moments = &mut moments[..LANES.min(channels - channel)];
            let planes;
            (planes, x) = x.split_at(moments.len() * positions);
            match kept {
                None => {
                    MeasureRows {
                        x: PitchedRows::contiguous(planes, positions),
                        cols: positions,
                        moments,
                    }
                    .run(token);
                }
                Some(kept) => {
                    let sample = (first + i) / vectors * positions;
                    for (moments, plane) in moments.iter_mut().zip(planes.chunks_exact(positions)) {
                        *moments = token.outline(KeptMoments { plane, kept, sample });
                    }
                }
            }
            (*mean, *m2) = ([0.0; LANES], [0.0; LANES]);
            for (lane, moments) in moments.iter().enumerate() {
                (mean[lane], m2[lane]) = (moments.mean, moments.m2);
            }
        }
    }
}

/// The moments of the positions of a plane that are kept, of which the first is row `sample` of the filter. They have the bits
/// of a plane that has only these.
struct KeptMoments<'a> {
    plane: &'a [f32],
    kept: RowFilter<'a>,
    sample: usize,
}

impl Kernel for KeptMoments<'_> {
    type Output = Moments;

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> Moments {
        let Self { plane, kept, sample } = self;
        let kept = kept.before(sample + plane.len());
        let mut run = kept.next_run(sample, usize::MAX);
        if run.len() == kept.count(sample..sample + plane.len()) && !run.is_empty() {
            let x = &plane[run.start - sample..run.end - sample];
            return reduce_row::<_, S, 1, false>(token, x, &mut None);
        }
        // Block by block, each moved together.
        let mut cascade = Cascade::new();
        let (mut block, mut filled) = ([0.0; BLOCK], 0);
        while !run.is_empty() {
            let mut x = &plane[run.start - sample..run.end - sample];
            while !x.is_empty() {
                let count = x.len().min(BLOCK - filled);
                block[filled..filled + count].copy_from_slice(&x[..count]);
                (x, filled) = (&x[count..], filled + count);
                if filled == BLOCK {
                    let [moments] = Moments::blocks::<S, 1, false>(token, [&block]);
                    cascade.push(moments);
                    filled = 0;
                }
            }
            run = kept.next_run(run.end, usize::MAX);
        }
        if filled > 0 {
            let [moments] = Moments::blocks::<S, 1, false>(token, [&block[..filled]]);
            cascade.push(moments);
        }
        cascade.finish()
    }
}

/// Merges the moments of the samples into those of the first, in the tree that splits at the largest power of two below
/// their number.
pub(crate) struct MergeSamples<'a> {
    pub(crate) samples: usize,
    /// Elements of a plane.
    pub(crate) positions: usize,
    /// Which positions of the batch are data, where some are not.
    pub(crate) kept: Option<RowFilter<'a>>,
    /// Means, and M2, of every sample.
    pub(crate) means: &'a mut [Lanes64],
    pub(crate) m2s: &'a mut [Lanes64],
}

impl Kernel for MergeSamples<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { samples, positions, kept, means, m2s } = self;
        // Elements of a channel in some samples.
        let count = |from: usize, to: usize| match kept {
            Some(kept) => kept.count(from * positions..to * positions),
            None => (to - from) * positions,
        };
        let vectors = means.len() / samples;
        let mut distance = 1;
        while distance < samples {
            let mut left = 0;
            while left + distance < samples {
                let right = left + distance;
                let (mean, other_mean) = means.split_at_mut(right * vectors);
                let (m2, other_m2) = m2s.split_at_mut(right * vectors);
                let end = samples.min(right + distance);
                let count = (count(left, right), count(right, end));
                let first = left * vectors..left * vectors + vectors;
                let (mean, m2) = (&mut mean[first.clone()], &mut m2[first]);
                let (other_mean, other_m2) = (&other_mean[..vectors], &other_m2[..vectors]);
                if count.0 == 0 {
                    mean.copy_from_slice(other_mean);
                    m2.copy_from_slice(other_m2);
                } else if count.1 > 0 {
                    merge_columns(token, count, (mean, m2), (other_mean, other_m2));
                }
                left += 2 * distance;
            }
            distance *= 2;
        }
    }
}

/// The sweep over a plane whose coefficients leave f32.
struct PlaneInF64<'a> {
    plane: Group<'a, 1>,
    coefficients: [f64; 3],
}

impl Kernel for PlaneInF64<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, token: S) {
        let rows = Standardize::<S::F64>::from_lanes::<1>(
            token,
            [&[self.coefficients[0]], &[self.coefficients[1]], &[self.coefficients[2]]],
            0,
        );
        sweep_plain::<GivenRows<'_>, S::F64, 1>(token, &mut self.plane, rows);
    }
}
