//! Gradients of groups of channels: backward of GroupNorm and InstanceNorm.
//!
//! The plain algorithm, for every group of every sample, where b and e are the sums of dy and of `dy * x_hat` of a channel:
//!
//! ```text
//! (mean, rstd) = statistics of the group;  b, e = sums of each of its channels
//! c = sum of gamma * b / elements;  d = sum of gamma * e / elements
//! dx = rstd * (dy * gamma - c - x_hat * d)
//! ```
//!
//! * **Channels first**: a group is worked on as a whole, while it is in cache: x and dy are read from memory once. Groups are what
//!   threads share.
//! * **Channels last**: a sample is a matrix, whose columns have statistics and sums (`kernels/columns/`). Samples are what threads
//!   share, in slots that have scratch.
//! * **The sums of every channel of every sample** are kept: dgamma and dbeta are theirs, added sample by sample.
#![forbid(unsafe_code)]

use super::gradients::{Term, plane_sums, sweep_planes};
use super::statistics::GroupStatistics;
use crate::kernels::columns::block::PanelSums;
use crate::kernels::columns::block_rows::Selection;
use crate::kernels::columns::gradient_sums::{GradientRows, SumPanel, column_sums, sums_len};
use crate::kernels::columns::gradients::{ColumnGradients, GradientColumns, GradientMeans};
use crate::kernels::columns::moments::{RowChunks, column_moments};
use crate::kernels::lanes::{Lanes64, rstd};
use crate::kernels::row_filter::RowFilter;
use crate::kernels::rows::moments::MeasureRows;
use crate::kernels::split::Split;
use crate::pitch::PitchedRows;
use crate::simd::{Kernel, LANES, RowInputs, RowSpan, Simd};
use crate::welford::Moments;

/// The gradients of groups where channels come first. Rows of the work are groups.
pub(crate) struct GroupGradients<'a> {
    /// dy and dx, if it is wanted; a row is a plane.
    pub(crate) io: RowSpan<'a>,
    pub(crate) x: &'a [f32],
    pub(crate) channels: usize,
    /// Channels of a group.
    pub(crate) per_group: usize,
    pub(crate) gamma: Option<&'a [f32]>,
    pub(crate) eps: f64,
    /// Mean and rstd of the groups, where the forward pass kept them.
    pub(crate) saved: Saved<'a>,
    /// The plane of the batch that is the first of these.
    pub(crate) first: usize,
    /// The sums of dy and of `dy * x_hat` of every plane, written.
    pub(crate) sums: &'a mut [[f64; 2]],
}

impl Split for GroupGradients<'_> {
    fn rows(&self) -> usize {
        self.sums.len() / self.per_group
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let planes = at * self.per_group;
        let (x, high_x) = self.x.split_at(planes * self.io.cols());
        let (io, high_io) = self.io.split_at(planes);
        let (sums, high_sums) = self.sums.split_at_mut(planes);
        let (saved, high_saved) = split_saved(self.saved, at);
        let first = self.first + planes;
        (
            Self { io, x, sums, saved, ..self },
            Self { io: high_io, x: high_x, sums: high_sums, saved: high_saved, first, ..self },
        )
    }
}

/// Mean and rstd, if the forward pass kept them.
type Saved<'a> = Option<[&'a [f64]; 2]>;

/// Splits what may be absent.
#[inline(always)]
fn split_saved(saved: Saved<'_>, at: usize) -> (Saved<'_>, Saved<'_>) {
    (saved.map(|saved| saved.map(|of| &of[..at])), saved.map(|saved| saved.map(|of| &of[at..])))
}

impl Kernel for GroupGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { io, x, channels, per_group, gamma, eps, saved, first, sums } = self;
        let (positions, writes) = (io.cols(), io.writes());
        let elements = per_group * positions;
        let mut inputs = RowInputs::new(io.rows(), positions);
        inputs.forward_x(x, positions);
        let mut io = io.with_inputs(&mut inputs);
        for (group, sums) in sums.chunks_exact_mut(per_group).enumerate() {
            let [mean, rstd] = match saved {
                Some([mean, rstd]) => [mean[group], rstd[group]],
                None => {
                    let x = &x[group * elements..(group + 1) * elements];
                    token.outline(MeasureGroup { x, eps })
                }
            };
            let term = Term::new(token, mean, rstd);
            for (plane, sums) in sums.iter_mut().enumerate() {
                let start = (group * per_group + plane) * positions;
                let part = start..start + positions;
                *sums = plane_sums(token, &io.src()[part.clone()], &x[part], term);
            }
            if !writes {
                continue;
            }
            let channel = (first + group * per_group) % channels;
            let gamma = gamma.map(|gamma| &gamma[channel..channel + per_group]);
            let means = group_means(sums, gamma, elements);
            let [mean, rstd, c, d] =
                [mean, rstd, means[0], means[1]].map(|statistic| [statistic; LANES]);
            for plane in (0..per_group).step_by(LANES) {
                let len = LANES.min(per_group - plane);
                let columns = GradientColumns {
                    mean: &mean[..len],
                    rstd: &rstd[..len],
                    gamma: gamma.map(|gamma| &gamma[plane..plane + len]),
                    means: Some([&c[..len], &d[..len]]),
                    alone: elements == 1,
                };
                sweep_planes(token, &mut io, group * per_group + plane, columns);
            }
        }
    }
}

/// c and d of a group.
#[inline(always)]
fn group_means(sums: &[[f64; 2]], gamma: Option<&[f32]>, elements: usize) -> [f64; 2] {
    let mut all = [0.0; 2];
    for (plane, sums) in sums.iter().enumerate() {
        let gamma = gamma.map_or(1.0, |gamma| f64::from(gamma[plane]));
        for (all, sum) in all.iter_mut().zip(sums) {
            *all += gamma * sum;
        }
    }
    all.map(|sum| sum / elements as f64)
}

/// Mean and rstd of a group.
struct MeasureGroup<'a> {
    x: &'a [f32],
    eps: f64,
}

impl Kernel for MeasureGroup<'_> {
    type Output = [f64; 2];

    #[inline(always)]
    fn run<S: Simd>(self, token: S) -> [f64; 2] {
        let Self { x, eps } = self;
        let mut moments = [Moments::new()];
        let (x, cols) = (PitchedRows::contiguous(x, x.len()), x.len());
        MeasureRows { x, cols, moments: &mut moments }.run(token);
        let [Moments { mean, m2, .. }] = moments;
        [mean, rstd(m2 / cols as f64, eps)]
    }
}

/// The gradients of samples whose channels come last. Rows of the work are slots: so many samples that share scratch.
pub(crate) struct SampleGradients<'a> {
    /// dy and dx, if it is wanted; a row is a position.
    pub(crate) io: RowSpan<'a>,
    pub(crate) x: &'a [f32],
    pub(crate) positions: usize,
    pub(crate) per_group: usize,
    pub(crate) gamma: Option<&'a [f32]>,
    pub(crate) eps: f64,
    /// Mean and rstd of the groups, where the forward pass kept them.
    pub(crate) saved: Saved<'a>,
    pub(crate) slots: Slots,
    pub(crate) scratch: &'a mut [Lanes64],
    /// The sums of dy, then those of `dy * x_hat`, of the channels of every sample, written.
    pub(crate) sums: &'a mut [Lanes64],
}

/// How samples share scratch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    pub(crate) count: usize,
    /// Samples of a slot.
    samples: usize,
    /// Vectors of f64 of the scratch of a slot.
    each: usize,
}

/// At most this many slots, for threads to share.
const MOST_SLOTS: usize = 16;

impl Slots {
    /// Of samples that are matrices.
    #[inline(always)]
    pub(crate) fn new(samples: usize, rows: usize, cols: usize) -> Self {
        let of_slot = samples.div_ceil(MOST_SLOTS).max(1);
        // The statistics, and c and d.
        let each = RowChunks::new(rows, cols, false).scratch.saturating_add(sums_len(cols));
        Self { count: samples.div_ceil(of_slot), samples: of_slot, each }
    }

    /// With so many vectors of f64 more.
    #[inline(always)]
    pub(super) fn with(self, more: usize) -> Self {
        Self { each: self.each.saturating_add(more), ..self }
    }

    /// Vectors of f64 of all slots.
    #[inline(always)]
    pub(crate) fn scratch(self) -> usize {
        self.count.saturating_mul(self.each)
    }

    /// The slots of some scratch.
    #[inline(always)]
    pub(super) fn of(self, scratch: &[Lanes64]) -> usize {
        scratch.len() / self.each
    }

    /// Samples before a slot, of so many.
    #[inline(always)]
    pub(super) fn samples_before(self, slot: usize, samples: usize) -> usize {
        slot.saturating_mul(self.samples).min(samples)
    }

    /// Vectors of f64 before a slot.
    #[inline(always)]
    pub(super) fn scratch_before(self, slot: usize) -> usize {
        slot * self.each
    }
}

impl Split for SampleGradients<'_> {
    fn rows(&self) -> usize {
        self.slots.of(self.scratch)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let cols = self.io.cols();
        let samples = self.slots.samples_before(at, self.io.rows() / self.positions);
        let rows = samples * self.positions;
        let (x, high_x) = self.x.split_at(rows * cols);
        let (io, high_io) = self.io.split_at(rows);
        let (saved, high_saved) = split_saved(self.saved, samples * (cols / self.per_group));
        let (sums, high_sums) = self.sums.split_at_mut(samples * 2 * cols.div_ceil(LANES));
        let (scratch, high_scratch) = self.scratch.split_at_mut(self.slots.scratch_before(at));
        (
            Self { io, x, saved, scratch, sums, ..self },
            Self {
                io: high_io,
                x: high_x,
                saved: high_saved,
                scratch: high_scratch,
                sums: high_sums,
                ..self
            },
        )
    }
}

impl Kernel for SampleGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { mut io, x, positions, per_group, gamma, eps, saved, slots, scratch, sums } =
            self;
        let channels = io.cols();
        let (vectors, groups) = (channels.div_ceil(LANES), channels / per_group);
        let (mut of_moments, mut of_sums) = (PanelSums::new(), SumPanel::new());
        // One slot's scratch is enough for a task, whose slots come one after the other.
        let scratch = &mut scratch[..slots.scratch_before(1)];
        let (of_means, of_statistics) = scratch.split_at_mut(2 * vectors);
        let samples = x.chunks_exact(positions * channels).zip(sums.chunks_exact_mut(2 * vectors));
        for (n, (x, sums)) in samples.enumerate() {
            let sample;
            (sample, io) = io.split_at(positions);
            if saved.is_none() {
                column_moments(token, Selection::all(x, channels), of_statistics, &mut of_moments);
            }
            let (means, rstds) = of_statistics[..2 * vectors].split_at_mut(vectors);
            match saved {
                Some(saved) => {
                    for (of_groups, lanes) in saved.into_iter().zip([&mut *means, &mut *rstds]) {
                        let of_groups = &of_groups[n * groups..(n + 1) * groups];
                        let of_channels = lanes.as_flattened_mut().chunks_mut(per_group);
                        of_channels.zip(of_groups).for_each(|(of, value)| of.fill(*value));
                    }
                }
                None => token.outline(GroupStatistics {
                    rows: positions,
                    channels,
                    per_group,
                    eps,
                    means: &mut *means,
                    m2s: &mut *rstds,
                    mean: None,
                    rstd: None,
                }),
            }
            let [mean, rstd] = [&*means, &*rstds].map(|of| &of.as_flattened()[..channels]);
            let rows = GradientRows {
                dy: sample.src(),
                x,
                cols: channels,
                pitches: [channels; 2],
                kept: RowFilter::new(None, positions),
                first: 0,
                count: positions,
                factors: None,
            };
            column_sums::<S, false>(token, rows, [mean, rstd], sums, &mut of_sums);
            if !sample.writes() {
                continue;
            }
            let (c, d) = of_means.split_at_mut(vectors);
            let (of_dy, of_x_hat) = sums.split_at(vectors);
            let elements = positions * per_group;
            GradientMeans {
                sums: [of_dy, of_x_hat].map(|of| &of.as_flattened()[..channels]),
                gamma,
                per_group,
                elements: elements as f64,
                means: [&mut *c, &mut *d].map(|of| &mut of.as_flattened_mut()[..channels]),
            }
            .run(token);
            let means = Some([&*c, &*d].map(|of| &of.as_flattened()[..channels]));
            let columns = GradientColumns { mean, rstd, gamma, means, alone: elements == 1 };
            let pitch = channels;
            token.outline(ColumnGradients { io: sample, x, pitch, columns, factors: None });
        }
    }
}
