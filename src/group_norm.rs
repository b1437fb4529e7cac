//! GroupNorm: every group of channels of every sample normalised by its own mean and variance.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;

use crate::column_moments::{all_rows, column_statistics, scratch_len};
use crate::execution::{Execution, output_setters};
use crate::kernels::columns::Chunks;
use crate::kernels::normalize_columns::Given;
use crate::kernels::planes::{NormalizeGroups, Planes};
use crate::kernels::row_statistics::{MeanVariance, split_optional};
use crate::kernels::samples::{GroupStatistics, NormalizeSamples};
use crate::normalize_scale_shift::normalize_columns;
use crate::padded_samples::PaddedSamples;
use crate::shape::{check_at_least, check_eps, check_length, check_optional};
use crate::simd::{LANES, Span, write_whole};
use crate::valid_rows::kept_rows;
use crate::{Channels, Error, ValidRows, scratch};

/// Group normalisation (Wu and He, 2018, arXiv 1803.08494) of `[batch, channels, positions]` or `[batch, positions,
/// channels]`.
///
/// The channels of a sample fall into groups of `channels / groups` neighbours. For every sample n, channel c, its group g,
/// and position p, with the mean and the population variance over all positions of all channels of the group:
///
/// ```text
/// y[n, c, p] = gamma[c] * (x[n, c, p] - mean[n, g]) / sqrt(var[n, g] + eps) + beta[c]
/// ```
///
/// gamma (absent: 1) and beta (absent: 0) are independent of each other. Training and inference are the same. The
/// `_with_stats` methods also write `mean` and `rstd = 1 / sqrt(var + eps)` of every group, `[batch, groups]`. With one
/// group the channels of a sample have their statistics in common; with as many groups as channels this is
/// [`InstanceNorm`](crate::InstanceNorm).
///
/// * **Accuracy**: relative error of the variance at most 1e-6; with `x_hat = (x - mean) * rstd`, error of
///   y at most `1e-6 * (|gamma| * max(1, |x_hat|) + |beta|) + 2^-149`; for every finite input, whatever its
///   mean / std, its magnitude or its outliers.
/// * **Method**: with channels first a group is a row, whose statistics are those of
///   [`RowMoments`](crate::RowMoments); with channels last they are those of
///   [`ColumnMoments`](crate::ColumnMoments) of the sample, merged over the channels of a group.
/// * **Cost**: O(elements). With channels first, reads x from memory once and writes y once, and needs no scratch. With channels
///   last, a sample is read twice, the second time from a cache that holds it, and the statistics of its channels take
///   [`scratch_len`](Self::scratch_len) numbers. Nothing else is allocated on a single thread. Threads share samples, and
///   groups (first) or positions (last) of one.
/// * **Determinism**: the same bits for every thread count, batch size, alignment, in place or not, and on
///   every backend that [fuses multiply-adds](crate::Backend::is_fused). The two layouts differ in their last bits.
/// * **Special values**: a constant group gives beta (`==`). Where var + eps = 0, rstd is taken as 0. A NaN or infinity
///   makes its own group NaN and touches no other.
///
/// # Example
///
/// ```
/// use evenkeel::{Channels, GroupNorm};
///
/// // One sample of four channels at two positions, in two groups.
/// let x = [1.0, 3.0, 5.0, 7.0, 20.0, 20.0, 20.0, 20.0];
/// let (gamma, beta) = ([1.0, 2.0, 1.0, 1.0], [0.0, 0.0, 0.5, -0.5]);
/// let (mut y, mut mean, mut rstd) = ([0.0; 8], [0.0; 2], [0.0; 2]);
/// let norm = GroupNorm::new().with_groups(2).with_eps(0.0);
/// let shape = Channels::first(1, 4, 2)?;
/// norm.forward_with_stats(&x, Some(&gamma), Some(&beta), shape, &mut y, &mut mean, &mut rstd)?;
/// assert_eq!((mean, rstd), ([4.0, 20.0], [0.2_f64.sqrt(), 0.0]));
/// assert!((y[3] - 2.0 * 1.341_641).abs() < 1e-6);
/// assert_eq!(y[4..], [0.5, 0.5, -0.5, -0.5]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNorm {
    groups: usize,
    eps: f64,
    execution: Execution,
}

impl Default for GroupNorm {
    fn default() -> Self {
        Self::new()
    }
}

impl GroupNorm {
    /// 32 groups, eps = 1e-5, on the detected backend, with automatic parallelism.
    #[must_use]
    pub const fn new() -> Self {
        Self { groups: 32, eps: 1e-5, execution: Execution::DEFAULT }
    }

    /// How many groups the channels of a sample fall into; divides their number (checked by the calls).
    #[must_use]
    pub const fn with_groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Adds `eps` to the variance, under the root; finite and at least 0 (checked by the calls).
    #[must_use]
    pub const fn with_eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    output_setters!();

    /// How much scratch the methods `_with_scratch` need: none for channels that come first, about
    /// `2 * channels * log2(positions / 64)` numbers a thread for channels that come last.
    #[must_use]
    pub fn scratch_len(&self, shape: Channels) -> usize {
        self.by_groups().scratch_len(shape)
    }

    /// Reads `x`, writes `y`, both `shape.elements()` long; `gamma` and `beta` are `shape.channels()` long. Allocates the
    /// scratch, where channels come last.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] if eps is negative or not finite;
    /// [`Error::Groups`] if the groups do not divide the channels; [`Error::Length`] if a slice has another length.
    /// Nothing is written then.
    pub fn forward(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &mut [f32],
    ) -> Result<(), Error> {
        shape.check_io(x.len(), y.len())?;
        self.by_groups().run(Span::new(x, y), gamma, beta, shape, None, None)
    }

    /// As [`forward`](Self::forward), and writes `mean` and `rstd`, one of each a group of every sample.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward); [`Error::Length`] if `mean` or `rstd` is not `shape.batch() * groups` long;
    /// [`Error::EmptyAxis`] if there are groups and they are empty.
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_with_stats(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &mut [f32],
        mean: &mut [f64],
        rstd: &mut [f64],
    ) -> Result<(), Error> {
        shape.check_io(x.len(), y.len())?;
        self.by_groups().run(Span::new(x, y), gamma, beta, shape, Some((mean, rstd)), None)
    }

    /// As [`forward_with_stats`](Self::forward_with_stats), with scratch of at least
    /// [`scratch_len`](Self::scratch_len) numbers. Allocates nothing on a single thread.
    ///
    /// # Errors
    ///
    /// As [`forward_with_stats`](Self::forward_with_stats); [`Error::Length`] if `scratch` is too short.
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_with_scratch(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &mut [f32],
        mean: &mut [f64],
        rstd: &mut [f64],
        scratch: &mut [f64],
    ) -> Result<(), Error> {
        shape.check_io(x.len(), y.len())?;
        let stats = Some((mean, rstd));
        self.by_groups().run(Span::new(x, y), gamma, beta, shape, stats, Some(scratch))
    }

    /// Reads and writes `x`.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_in_place(
        &self,
        x: &mut [f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
    ) -> Result<(), Error> {
        check_length("x", x.len(), shape.elements())?;
        self.by_groups().run(Span::in_place(x), gamma, beta, shape, None, None)
    }

    /// As [`forward_in_place`](Self::forward_in_place), and writes `mean` and `rstd`, one of each a group of every sample.
    ///
    /// # Errors
    ///
    /// As [`forward_with_stats`](Self::forward_with_stats).
    pub fn forward_in_place_with_stats(
        &self,
        x: &mut [f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        mean: &mut [f64],
        rstd: &mut [f64],
    ) -> Result<(), Error> {
        check_length("x", x.len(), shape.elements())?;
        self.by_groups().run(Span::in_place(x), gamma, beta, shape, Some((mean, rstd)), None)
    }

    /// As [`forward_in_place_with_stats`](Self::forward_in_place_with_stats), with scratch of at least
    /// [`scratch_len`](Self::scratch_len) numbers. Allocates nothing on a single thread.
    ///
    /// # Errors
    ///
    /// As [`forward_with_scratch`](Self::forward_with_scratch).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_in_place_with_scratch(
        &self,
        x: &mut [f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        mean: &mut [f64],
        rstd: &mut [f64],
        scratch: &mut [f64],
    ) -> Result<(), Error> {
        check_length("x", x.len(), shape.elements())?;
        let stats = Some((mean, rstd));
        self.by_groups().run(Span::in_place(x), gamma, beta, shape, stats, Some(scratch))
    }

    /// Reads `x`, initialises `y` and returns it. Allocates the scratch, where channels come last.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_uninit<'y>(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &'y mut [MaybeUninit<f32>],
    ) -> Result<&'y mut [f32], Error> {
        shape.check_io(x.len(), y.len())?;
        write_whole(x, y, |io| self.by_groups().run(io, gamma, beta, shape, None, None))
    }

    /// As [`forward_with_scratch`](Self::forward_with_scratch); initialises `y` and returns it.
    ///
    /// # Errors
    ///
    /// As [`forward_with_scratch`](Self::forward_with_scratch).
    #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
    pub fn forward_uninit_with_scratch<'y>(
        &self,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        y: &'y mut [MaybeUninit<f32>],
        mean: &mut [f64],
        rstd: &mut [f64],
        scratch: &mut [f64],
    ) -> Result<&'y mut [f32], Error> {
        shape.check_io(x.len(), y.len())?;
        let stats = Some((mean, rstd));
        write_whole(x, y, |io| self.by_groups().run(io, gamma, beta, shape, stats, Some(scratch)))
    }

    pub(crate) const fn by_groups(&self) -> ByGroups {
        let Self { groups, eps, execution } = *self;
        ByGroups { groups: Some(groups), eps, execution }
    }
}

/// Where mean and rstd go, if they are asked for.
type Statistics<'s> = (Option<&'s mut [f64]>, Option<&'s mut [f64]>);

/// What GroupNorm and InstanceNorm are.
#[derive(Clone, Copy)]
pub(crate) struct ByGroups {
    /// `None`: every channel is one.
    pub(crate) groups: Option<usize>,
    pub(crate) eps: f64,
    pub(crate) execution: Execution,
}

/// How the work is done. What it is done on, and every result, is the same.
enum Plan {
    /// Every group is a row.
    Rows,
    /// Every sample by itself, in slots of so many, each with so many vectors of scratch.
    Samples { slots: usize, samples: usize, each: usize },
    /// One sample after the other, each on all threads.
    Within,
}

/// Slots of samples, at most, for threads to share: each has scratch of its own.
const MOST_SLOTS: usize = 16;

impl ByGroups {
    fn plan(&self, shape: Channels) -> Plan {
        if !shape.is_last() || shape.positions() == 1 {
            return Plan::Rows;
        }
        let parallelism = self.execution.parallelism;
        let most = if parallelism.may_fork(shape.elements()) { MOST_SLOTS } else { 1 };
        if shape.batch() < most && parallelism.may_fork(shape.sample()) {
            return Plan::Within;
        }
        let samples = shape.batch().div_ceil(most).max(1);
        let each = Chunks::new(shape.positions(), shape.channels(), false).scratch;
        Plan::Samples { slots: shape.batch().div_ceil(samples), samples, each }
    }

    pub(crate) fn scratch_len(&self, shape: Channels) -> usize {
        match self.plan(shape) {
            Plan::Rows => 0,
            Plan::Samples { slots, each, .. } => slots.saturating_mul(each).saturating_mul(LANES),
            Plan::Within => scratch_len(self.execution, shape.sample_rows()),
        }
    }

    /// Groups of a sample.
    pub(crate) fn groups_of(&self, shape: Channels) -> usize {
        self.groups.unwrap_or(shape.channels())
    }

    /// Refuses parameters that do not fit the shape; gives mean and rstd back.
    fn check<'s>(
        &self,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        stats: Option<(&'s mut [f64], &'s mut [f64])>,
        scratch: Option<&[f64]>,
    ) -> Result<Statistics<'s>, Error> {
        let (channels, positions) = (shape.channels(), shape.positions());
        let groups = self.groups_of(shape);
        check_eps(self.eps)?;
        if self.groups.is_some() && (groups == 0 || !channels.is_multiple_of(groups)) {
            return Err(Error::Groups { channels, got: groups });
        }
        check_optional("gamma", gamma, channels)?;
        check_optional("beta", beta, channels)?;
        let (mean, rstd) = stats.unzip();
        // Where there are no channels, there may be more groups than can be counted.
        let statistics = shape.batch().saturating_mul(groups);
        check_optional("mean", mean.as_deref(), statistics)?;
        check_optional("rstd", rstd.as_deref(), statistics)?;
        if let Some(scratch) = scratch {
            check_at_least("scratch", scratch.len(), self.scratch_len(shape))?;
        }
        if mean.is_some() && statistics > 0 {
            for (arg, len) in [("channels", channels), ("positions", positions)] {
                if len == 0 {
                    return Err(Error::EmptyAxis { arg });
                }
            }
        }
        Ok((mean, rstd))
    }

    /// As [`run`](Self::run) of the samples without their padding, which becomes `+0.0`.
    pub(crate) fn run_masked(
        &self,
        io: Span<'_>,
        valid: ValidRows<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        stats: Option<(&mut [f64], &mut [f64])>,
    ) -> Result<(), Error> {
        let (mean, rstd) = self.check(gamma, beta, shape, stats, None)?;
        let (kept, _) = kept_rows(Some(valid), shape.batch() * shape.positions())?;
        if shape.elements() == 0 {
            return Ok(());
        }
        let work =
            PaddedSamples { norm: *self, io, shape, gamma, beta, kept, first: 0, mean, rstd };
        self.execution.reduce(work, shape.elements(), Result::and)
    }

    pub(crate) fn run(
        &self,
        io: Span<'_>,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        shape: Channels,
        stats: Option<(&mut [f64], &mut [f64])>,
        scratch: Option<&mut [f64]>,
    ) -> Result<(), Error> {
        let (channels, positions) = (shape.channels(), shape.positions());
        let (mean, rstd) = self.check(gamma, beta, shape, stats, scratch.as_deref())?;
        if shape.elements() == 0 {
            return Ok(());
        }

        let (Self { eps, execution, .. }, groups) = (*self, self.groups_of(shape));
        let per_group = channels / groups;
        let mut allocated = Vec::new();
        let scratch = scratch::or_allocated(scratch, &mut allocated, self.scratch_len(shape))?;
        match self.plan(shape) {
            Plan::Rows => {
                let io = execution.stores.apply(io, positions);
                let io = Planes::new(io, (channels, positions), gamma, beta);
                let source = MeanVariance { eps, mean, rstd };
                let work = NormalizeGroups { io, planes: per_group, source };
                execution.run(work, shape.elements());
            }
            Plan::Samples { slots, samples, each } => {
                let io = execution.stores.apply(io, shape.elements());
                let scratch = &mut scratch.as_chunks_mut().0[..slots * each];
                let work = NormalizeSamples {
                    io,
                    positions,
                    channels,
                    per_group,
                    eps,
                    gamma,
                    beta,
                    mean,
                    rstd,
                    samples,
                    each,
                    scratch,
                };
                execution.run(work, shape.elements());
            }
            Plan::Within => {
                let (mut io, mut mean, mut rstd) =
                    (execution.stores.apply(io, shape.elements()), mean, rstd);
                let rows = shape.sample_rows();
                for _ in 0..shape.batch() {
                    let (sample, of_mean, of_rstd);
                    (sample, io) = io.split_at(rows.elements());
                    (of_mean, mean) = split_optional(mean, groups);
                    (of_rstd, rstd) = split_optional(rstd, groups);
                    let (means, m2s) =
                        column_statistics(execution, sample.src(), rows, all_rows(rows), scratch);
                    execution.run_here(GroupStatistics {
                        rows: positions,
                        channels,
                        per_group,
                        eps,
                        means: &mut *means,
                        m2s: &mut *m2s,
                        mean: of_mean,
                        rstd: of_rstd,
                    });
                    let source = Given {
                        mean: &means.as_flattened()[..channels],
                        rstd: &m2s.as_flattened()[..channels],
                    };
                    normalize_columns(execution, sample, source, gamma, beta, rows);
                }
            }
        }
        Ok(())
    }
}
