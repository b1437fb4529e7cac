//! Samples whose padding neither counts nor comes through: gathered, normalised, and put back where they were.
//!
//! The plain algorithm, for each sample:
//!
//! ```text
//! compact = the valid positions of x, in their order
//! compact = norm(compact)
//! y = +0.0 at each position; the valid ones = compact
//! ```
//!
//! The gathered sample has the bits of one that never had padding, in either layout and whichever positions are valid. It
//! costs two copies of a sample, in cache where the sample fits; the kernels below know nothing of padding. Where channels come
//! last and the valid positions are neighbours, as in sequences of different lengths, they are normalised where they are.
#![forbid(unsafe_code)]

use core::ops::Range;

use crate::group_norm::ByGroups;
use crate::kernels::Split;
use crate::kernels::row_statistics::split_optional;
use crate::kernels::valid_rows::Kept;
use crate::simd::{Kernel, Simd, Span};
use crate::{Channels, Error, Parallelism, scratch};

/// Some samples of a batch.
pub(crate) struct PaddedSamples<'a> {
    pub(crate) norm: ByGroups,
    pub(crate) io: Span<'a>,
    /// The shape of the batch; it is not empty.
    pub(crate) shape: Channels,
    pub(crate) gamma: Option<&'a [f32]>,
    pub(crate) beta: Option<&'a [f32]>,
    /// Of the positions of the batch.
    pub(crate) kept: Kept<'a>,
    /// The sample of the batch that is the first of `io`.
    pub(crate) first: usize,
    pub(crate) mean: Option<&'a mut [f64]>,
    pub(crate) rstd: Option<&'a mut [f64]>,
}

impl Split for PaddedSamples<'_> {
    fn rows(&self) -> usize {
        self.io.len() / self.shape.sample()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (low_io, high_io) = self.io.split_at(at * self.shape.sample());
        let statistics = at * self.norm.groups_of(self.shape);
        let (low_mean, high_mean) = split_optional(self.mean, statistics);
        let (low_rstd, high_rstd) = split_optional(self.rstd, statistics);
        let first = self.first + at;
        (
            Self { io: low_io, mean: low_mean, rstd: low_rstd, ..self },
            Self { io: high_io, mean: high_mean, rstd: high_rstd, first, ..self },
        )
    }
}

impl Kernel for PaddedSamples<'_> {
    type Output = Result<(), Error>;

    /// No vectors here: it is a kernel to be spread over threads as others are.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Result<(), Error> {
        self.one_by_one()
    }
}

impl PaddedSamples<'_> {
    #[inline(never)]
    fn one_by_one(self) -> Result<(), Error> {
        let Self { mut norm, mut io, shape, gamma, beta, kept, first, mut mean, mut rstd } = self;
        let (samples, groups) = (io.len() / shape.sample(), norm.groups_of(shape));
        if shape.batch() > 1 {
            // The samples are the tasks.
            norm.execution.parallelism = Parallelism::Serial;
        }
        let (mut compact, mut runs) = (Vec::new(), Vec::new());
        scratch::reserve(&mut compact, shape.sample())?;
        for n in first..first + samples {
            let (sample, of_mean, of_rstd);
            (sample, io) = io.split_at(shape.sample());
            (of_mean, mean) = split_optional(mean, groups);
            (of_rstd, rstd) = split_optional(rstd, groups);

            let start = n * shape.positions();
            // Of this sample alone: a search through padding must not go on through all samples.
            let kept = kept.before(start + shape.positions());
            runs.clear();
            let mut run = kept.next_run(start, usize::MAX);
            while !run.is_empty() {
                scratch::reserve(&mut runs, 1)?;
                runs.push(run.start - start..run.end - start);
                run = kept.next_run(run.end, usize::MAX);
            }
            if let ([run], true) = (&*runs, shape.is_last()) {
                let (before, rest) = sample.split_at(run.start * shape.channels());
                let (valid, after) = rest.split_at(run.len() * shape.channels());
                let statistics = of_mean.zip(of_rstd);
                norm.run(valid, gamma, beta, shape.of_one(run.len()), statistics, None)?;
                before.zero();
                after.zero();
                continue;
            }

            let valid = runs.iter().map(Range::len).sum();
            compact.clear();
            for part in parts(shape, &runs) {
                compact.extend_from_slice(&sample.src()[part]);
            }
            if valid > 0 {
                let (io, shape) = (Span::in_place(&mut compact), shape.of_one(valid));
                norm.run(io, gamma, beta, shape, of_mean.zip(of_rstd), None)?;
            } else {
                for statistics in [of_mean, of_rstd].into_iter().flatten() {
                    statistics.fill(0.0);
                }
            }

            let (mut rest, mut from, mut done) = (sample, &*compact, 0);
            for part in parts(shape, &runs) {
                let (padding, here, values);
                (padding, rest) = rest.split_at(part.start - done);
                padding.zero();
                (here, rest) = rest.split_at(part.len());
                (values, from) = from.split_at(part.len());
                here.put(values);
                done = part.end;
            }
            rest.zero();
        }
        Ok(())
    }
}

/// The elements of a sample that are at its positions `runs`, in their order.
fn parts(shape: Channels, runs: &[Range<usize>]) -> impl Iterator<Item = Range<usize>> {
    let (planes, width) =
        if shape.is_last() { (1, shape.channels()) } else { (shape.channels(), 1) };
    let of_plane = move |plane: usize| {
        let start = plane * shape.positions();
        runs.iter().map(move |run| (start + run.start) * width..(start + run.end) * width)
    };
    (0..planes).flat_map(of_plane)
}
