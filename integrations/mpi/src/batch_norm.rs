//! BatchNorm by the statistics of a batch that lies on several ranks.

use core::any::type_name;

use evenkeel::{
    Backend, BatchNorm, Channels, ColumnMoments, Element, GradArgs, GradientSums, InOut,
    MomentArgs, Moments, NormArgs, NormalizeScaleShift, Parallelism, Statistics, Stores, TrainArgs,
    ValidRows,
};
use mpi::traits::CommunicatorCollectives;

use crate::error::Error;
use crate::ranks::{Header, Operation, agree, gather, hash};

/// BatchNorm of a batch of which every rank of a communicator has some rows: in training, by the statistics of the whole batch.
///
/// A pass has two allgathers: of a header of 48 bytes, then of 16 bytes a channel and 8 more. Moments are merged as
/// [`ColumnMoments::merge`] has it, gradient sums are added in rank order.
///
/// * **Accuracy** is that of [`BatchNorm`] in one process. Where each rank but the last has the same power of two of
///   [blocks](ColumnMoments::block_rows) and the last as many or fewer, y and the running statistics have its bits, and gradients of
///   parameters are within 1e-12 of its own. Where rows are cut at block boundaries, statistics and dbeta are.
/// * **Determinism**: all ranks have the same statistics and gradients of parameters, bit for bit. They depend on which rank has
///   which rows alone.
/// * **A rank without rows** takes part as any other.
#[derive(Clone, Copy, Debug)]
pub struct SyncBatchNorm<'c, C> {
    comm: &'c C,
    norm: BatchNorm,
    settings: u64,
}

/// gamma and beta, one a channel, and which rows are data. All are absent by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Affine<'a> {
    /// Multiplies `x_hat`.
    pub gamma: Option<&'a [f32]>,
    /// Is added then.
    pub beta: Option<&'a [f32]>,
    /// The rows of this rank (positions, of samples) that are data.
    pub valid: Option<ValidRows<'a>>,
}

/// What the backward pass needs of the forward pass: the same on every rank.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// Elements of a channel in the whole batch.
    pub count: u64,
    /// The mean of every channel over the whole batch.
    pub mean: Vec<f64>,
    /// `1 / sqrt(var + eps)`, likewise.
    pub rstd: Vec<f64>,
}

/// The gradients of gamma and beta over the whole batch: the same on every rank, so not to be reduced again.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// The sum of `dy * x_hat` of every channel.
    pub dgamma: Vec<f64>,
    /// The sum of dy of every channel.
    pub dbeta: Vec<f64>,
}

impl<'c, C: CommunicatorCollectives> SyncBatchNorm<'c, C> {
    /// `norm` over the ranks of `comm`. All ranks have the same settings of it; where it runs may differ.
    pub fn new(comm: &'c C, norm: BatchNorm) -> Self {
        let alike = norm.with_backend(Backend::portable()).with_parallelism(Parallelism::Serial);
        let alike = alike.with_stores(Stores::Auto);
        Self { comm, norm, settings: hash(format!("{alike:?}").as_bytes()) }
    }

    /// Normalises this rank's x by the statistics of all ranks' x, and moves the running statistics, mean and variance, towards them:
    /// once, by the whole batch. Equal running statistics on all ranks stay equal.
    ///
    /// # Errors
    ///
    /// On every rank, or on none ([`Error`]).
    pub fn forward<X: Element, Y: Element>(
        &self,
        x: &[X],
        y: &mut [Y],
        shape: impl Into<Channels>,
        affine: Affine<'_>,
        running: Option<(&mut [f32], &mut [f32])>,
    ) -> Result<Saved, Error> {
        let shape = shape.into();
        let mut args = TrainArgs::new();
        if let Some((mean, var)) = running {
            args = args.running(mean, var);
        }
        let prepared = self.own_moments(x, y.len(), shape, affine, args.reborrow());
        let own = agree(self.comm, self.header::<X>(Operation::Forward, shape), prepared)?;

        let channels = shape.channels();
        let parts = self.gather_moments(&own);
        let mut whole = vec![Moments::new(); channels];
        ColumnMoments::new().merge(&parts, &mut whole)?;
        let count = whole.first().map_or(0, |moments| moments.count);
        let (mut mean, mut rstd) = (vec![0.0; channels], vec![0.0; channels]);
        self.norm.training_statistics(&whole, args.stats(&mut mean, &mut rstd))?;
        let args = norm_args(affine);
        let statistics = Statistics::of_columns(&mean, &rstd);
        NormalizeScaleShift::new().forward(InOut::new(x, y), shape, statistics, args)?;
        Ok(Saved { count, mean, rstd })
    }

    /// The moments of this rank's rows, if its call has no error.
    fn own_moments<X: Element>(
        &self,
        x: &[X],
        y_len: usize,
        shape: Channels,
        affine: Affine<'_>,
        running: TrainArgs<'_>,
    ) -> Result<Vec<Moments>, evenkeel::Error> {
        let channels = shape.channels();
        check_length("y", y_len, shape.elements())?;
        check_length("gamma", affine.gamma.map_or(channels, <[f32]>::len), channels)?;
        check_length("beta", affine.beta.map_or(channels, <[f32]>::len), channels)?;
        // Those of nothing: eps, the momentum and the running statistics are checked, and stay.
        let mut moments = vec![Moments::new(); channels];
        self.norm.training_statistics(&moments, running)?;
        let mut args = MomentArgs::new();
        if let Some(valid) = affine.valid {
            args = args.valid(valid);
        }
        ColumnMoments::new().compute(x, shape, &mut moments, args)?;
        Ok(moments)
    }

    /// The moments of all ranks, in rank order. One rank's channels have one count.
    fn gather_moments(&self, own: &[Moments]) -> Vec<Moments> {
        let count = own.first().map_or(0, |moments| moments.count);
        let numbers = own.iter().flat_map(|moments| [moments.mean, moments.m2]);
        let words: Vec<u64> = [count].into_iter().chain(numbers.map(f64::to_bits)).collect();
        let all = gather(self.comm, &words);
        let of_rank = |words: &[u64]| {
            let (count, numbers) = (words[0], words[1..].as_chunks::<2>().0.to_vec());
            numbers.into_iter().map(move |[mean, m2]| {
                let (mean, m2) = (f64::from_bits(mean), f64::from_bits(m2));
                Moments { count, mean, m2, ..Moments::new() }
            })
        };
        all.chunks_exact(words.len()).flat_map(of_rank).collect()
    }

    /// Writes dx of this rank's rows, from this rank's x and dy and what the forward pass saved, and gives the gradients of gamma and
    /// beta over the whole batch.
    ///
    /// # Errors
    ///
    /// On every rank, or on none ([`Error`]).
    pub fn backward<X: Element, Y: Element>(
        &self,
        (x, dy): (&[X], &[X]),
        dx: &mut [Y],
        shape: impl Into<Channels>,
        affine: Affine<'_>,
        saved: &Saved,
    ) -> Result<Gradients, Error> {
        let shape = shape.into();
        let prepared = self.own_sums((x, dy), dx.len(), shape, affine, saved);
        let own = agree(self.comm, self.header::<X>(Operation::Backward, shape), prepared)?;

        let channels = shape.channels();
        let words: Vec<u64> = own.into_iter().map(f64::to_bits).collect();
        let all = gather(self.comm, &words);
        let mut sums = vec![0.0; 2 * channels];
        for of_rank in all.chunks_exact(words.len().max(1)) {
            for (sum, &part) in sums.iter_mut().zip(of_rank) {
                *sum += f64::from_bits(part);
            }
        }
        let dgamma = sums.split_off(channels);
        let global = GradientSums::new(saved.count, &sums, &dgamma);
        let args = grad_args(affine, saved);
        self.norm.backward_apply(InOut::new(dy, dx), x, shape, global, args)?;
        Ok(Gradients { dgamma, dbeta: sums })
    }

    /// The sums of dy, then those of `dy * x_hat`, of this rank's rows, if its call has no error.
    fn own_sums<X: Element>(
        &self,
        (x, dy): (&[X], &[X]),
        dx_len: usize,
        shape: Channels,
        affine: Affine<'_>,
        saved: &Saved,
    ) -> Result<Vec<f64>, evenkeel::Error> {
        let channels = shape.channels();
        check_length("dx", dx_len, shape.elements())?;
        let mut sums = vec![0.0; 2 * channels];
        // With nothing to write, it is a check that the second step has no error.
        let trial = GradientSums::new(saved.count, &sums[..channels], &sums[..channels]);
        let (io, args) = (InOut::<X, X>::read_only(dy), grad_args(affine, saved));
        self.norm.backward_apply(io, x, shape, trial, args)?;
        let (of_dy, of_x_hat) = sums.split_at_mut(channels);
        let args = grad_args(affine, saved).dbeta(of_dy).dgamma(of_x_hat);
        self.norm.backward(InOut::<X, X>::read_only(dy), x, shape, args)?;
        Ok(sums)
    }

    fn header<X: Element>(&self, operation: Operation, shape: Channels) -> Header {
        Header {
            operation,
            element: hash(type_name::<X>().as_bytes()),
            layout: if shape.is_last() { 1 } else { 2 },
            channels: shape.channels() as u64,
            settings: self.settings,
        }
    }
}

fn norm_args(affine: Affine<'_>) -> NormArgs<'_> {
    let args = NormArgs::new().maybe_gamma(affine.gamma).maybe_beta(affine.beta);
    match affine.valid {
        Some(valid) => args.valid(valid),
        None => args,
    }
}

fn grad_args<'a>(affine: Affine<'a>, saved: &'a Saved) -> GradArgs<'a> {
    let args = GradArgs::new().maybe_gamma(affine.gamma).stats(&saved.mean, &saved.rstd);
    match affine.valid {
        Some(valid) => args.valid(valid),
        None => args,
    }
}

fn check_length(arg: &'static str, got: usize, expected: usize) -> Result<(), evenkeel::Error> {
    if got == expected { Ok(()) } else { Err(evenkeel::Error::Length { arg, expected, got }) }
}
