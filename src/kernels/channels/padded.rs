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

use crate::error::Error;
use crate::kernels::row_filter::RowFilter;
use crate::kernels::split::{Split, split_optional};
use crate::memory;
use crate::shape::Channels;
use crate::simd::{Float, Group, Kernel, RowSpan, Simd, Span};

/// Where mean and rstd of the groups of a sample go, if they are wanted.
type SampleOutputs<'s> = [Option<&'s mut [f64]>; 2];

/// Normalises one sample, of the shape that is passed, without padding.
pub(crate) trait NormalizeSample:
    for<'s> Fn(Span<'s>, Channels, SampleOutputs<'s>) -> Result<(), Error> + Copy + Send
{
}

impl<F> NormalizeSample for F where
    F: for<'s> Fn(Span<'s>, Channels, SampleOutputs<'s>) -> Result<(), Error> + Copy + Send
{
}

/// Some samples of a batch.
pub(crate) struct PaddedSamples<'a, N> {
    pub(crate) normalize: N,
    pub(crate) io: Span<'a>,
    /// The shape of the batch; it is not empty.
    pub(crate) shape: Channels,
    /// Groups of a sample.
    pub(crate) groups: usize,
    /// Of the positions of the batch.
    pub(crate) kept: RowFilter<'a>,
    /// The sample of the batch that is the first of `io`.
    pub(crate) first: usize,
    pub(crate) mean: Option<&'a mut [f64]>,
    pub(crate) rstd: Option<&'a mut [f64]>,
}

impl<N: NormalizeSample> Split for PaddedSamples<'_, N> {
    fn rows(&self) -> usize {
        self.io.len() / self.shape.sample()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (low_io, high_io) = self.io.split_at(at * self.shape.sample());
        let statistics = at * self.groups;
        let (low_mean, high_mean) = split_optional(self.mean, statistics);
        let (low_rstd, high_rstd) = split_optional(self.rstd, statistics);
        let first = self.first + at;
        (
            Self { io: low_io, mean: low_mean, rstd: low_rstd, ..self },
            Self { io: high_io, mean: high_mean, rstd: high_rstd, first, ..self },
        )
    }
}

impl<N: NormalizeSample> Kernel for PaddedSamples<'_, N> {
    type Output = Result<(), Error>;

    /// No vectors here: it is a kernel to be spread over threads as others are.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Result<(), Error> {
        self.one_by_one()
    }
}

impl<N: NormalizeSample> PaddedSamples<'_, N> {
    #[inline(never)]
    fn one_by_one(self) -> Result<(), Error> {
        let Self { normalize, mut io, shape, groups, kept, first, mut mean, mut rstd } = self;
        let samples = io.len() / shape.sample();
        let (mut compact, mut runs) = (Vec::new(), Vec::new());
        memory::reserve(&mut compact, shape.sample())?;
        for n in first..first + samples {
            let (sample, of_mean, of_rstd);
            (sample, io) = io.split_at(shape.sample());
            (of_mean, mean) = split_optional(mean, groups);
            (of_rstd, rstd) = split_optional(rstd, groups);

            let start = n * shape.positions();
            valid_runs(kept, start..start + shape.positions(), &mut runs)?;
            if let ([run], true) = (&*runs, shape.is_last()) {
                let (before, rest) = sample.split_at(run.start * shape.channels());
                let (valid, after) = rest.split_at(run.len() * shape.channels());
                normalize(valid, shape.with_one_sample(run.len()), [of_mean, of_rstd])?;
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
                let (io, shape) = (Span::in_place(&mut compact), shape.with_one_sample(valid));
                normalize(io, shape, [of_mean, of_rstd])?;
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

/// The valid positions of the sample that has the positions `sample` of a batch.
pub(crate) fn valid_runs(
    kept: RowFilter<'_>,
    sample: Range<usize>,
    runs: &mut Vec<Range<usize>>,
) -> Result<(), Error> {
    // Of this sample alone: a search through padding must not go on through all samples.
    let kept = kept.before(sample.end);
    runs.clear();
    let mut run = kept.next_run(sample.start, usize::MAX);
    while !run.is_empty() {
        memory::reserve(runs, 1)?;
        runs.push(run.start - sample.start..run.end - sample.start);
        run = kept.next_run(run.end, usize::MAX);
    }
    Ok(())
}

/// Writes gathered values to the positions of a sample that they belong to.
pub(crate) struct PutSample<'a> {
    /// A row is a plane, or a position.
    pub(crate) io: RowSpan<'a>,
    pub(crate) planes: bool,
    pub(crate) runs: &'a [Range<usize>],
    pub(crate) values: &'a [f32],
}

impl Kernel for PutSample<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { mut io, planes, runs, mut values } = self;
        let cols = io.cols();
        if !planes {
            for row in runs.iter().cloned().flatten() {
                let part;
                (part, values) = values.split_at(cols);
                put(token, &mut io.group::<1, 1>(row), part);
            }
            return;
        }
        for plane in 0..io.rows() {
            let mut plane = io.group::<1, 1>(plane);
            for run in runs {
                let part;
                (part, values) = values.split_at(run.len());
                put(token, &mut plane.columns(run.start, run.end), part);
            }
        }
    }
}

/// Writes a row.
#[inline(always)]
fn put<S: Simd>(token: S, row: &mut Group<'_, 1>, values: &[f32]) {
    let (vectors, tail) = values.as_chunks();
    for (i, vector) in vectors.iter().enumerate() {
        row.store::<S::F32, false>(0, i, S::F32::load(token, vector));
    }
    row.store_tail(0, S::F32::load_partial(token, tail, 0.0));
}

/// The elements of a sample that are at its positions `runs`, in their order.
pub(crate) fn parts(shape: Channels, runs: &[Range<usize>]) -> impl Iterator<Item = Range<usize>> {
    let (planes, width) =
        if shape.is_last() { (1, shape.channels()) } else { (shape.channels(), 1) };
    let of_plane = move |plane: usize| {
        let start = plane * shape.positions();
        runs.iter().map(move |run| (start + run.start) * width..(start + run.end) * width)
    };
    (0..planes).flat_map(of_plane)
}
