//! The network: linear, `LayerNorm`, rectifier, dropout, linear.
#![forbid(unsafe_code)]

use evenkeel::{Dropout, DropoutArgs, Error, GradArgs, InOut, LayerNorm, NormArgs, Rows, Stream};
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::linear::{Linear, add_multiple};

/// Kinds of digits.
const CLASSES: usize = 10;

/// The layers between pixels and scores of the ten kinds of digits.
#[derive(Clone)]
pub struct Network {
    first: Linear,
    norm: Option<Norm>,
    second: Linear,
    units: usize,
}

/// gamma and beta of `LayerNorm`, which learn like weights.
#[derive(Clone)]
pub struct Norm {
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
}

/// Digits and what they are.
pub struct Batch {
    pub pixels: Vec<f32>,
    pub labels: Vec<u8>,
}

/// How a network did on a batch.
#[derive(Clone, Copy)]
pub struct Score {
    /// The mean of -ln(probability of the right kind).
    pub loss: f64,
    pub correct: usize,
}

/// A step of stochastic gradient descent.
#[derive(Clone, Copy)]
pub struct Step {
    pub rate: f32,
    pub dropout: Dropout,
    pub stream: Stream,
}

impl Network {
    /// Weights are drawn from the seed. Without a norm the network is otherwise the same.
    pub fn new(pixels: usize, units: usize, normalised: bool, seed: u64) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        Self {
            first: Linear::new(pixels, units, &mut random),
            norm: normalised.then(|| Norm { gamma: vec![1.0; units], beta: vec![0.0; units] }),
            second: Linear::new(units, CLASSES, &mut random),
            units,
        }
    }

    pub fn norm(&self) -> Option<&Norm> {
        self.norm.as_ref()
    }

    /// The bits of all that the network learns.
    pub fn bits(&self) -> Vec<u32> {
        let norm = self.norm.iter().flat_map(|norm| norm.gamma.iter().chain(&norm.beta));
        let all = self.first.parameters().chain(norm.copied()).chain(self.second.parameters());
        all.map(f32::to_bits).collect()
    }

    /// Inference: nothing is dropped.
    pub fn score(&self, batch: &Batch) -> Result<Score, Error> {
        let rows = Rows::new(batch.labels.len(), self.units)?;
        let mut hidden = vec![0.0; rows.elements()];
        self.first.forward(&batch.pixels, &mut hidden);
        if let Some(Norm { gamma, beta }) = &self.norm {
            let args = NormArgs::new().affine(gamma, beta);
            LayerNorm::new().forward(InOut::in_place(&mut hidden), rows, args)?;
        }
        rectify(&mut hidden);
        let mut scores = vec![0.0; rows.rows() * CLASSES];
        self.second.forward(&hidden, &mut scores);
        Ok(softmax(&mut scores, &batch.labels))
    }

    /// Forward, backward and a step of every parameter. The score is that before the step.
    pub fn train(&mut self, batch: &Batch, step: Step) -> Result<Score, Error> {
        let Step { rate, dropout, stream } = step;
        let rows = Rows::new(batch.labels.len(), self.units)?;
        let (mut x, mut hidden) = (vec![0.0; rows.elements()], vec![0.0; rows.elements()]);
        let (mut mean, mut rstd) = (vec![0.0; rows.rows()], vec![0.0; rows.rows()]);
        self.first.forward(&batch.pixels, &mut x);
        match &self.norm {
            Some(Norm { gamma, beta }) => {
                let args = NormArgs::new().affine(gamma, beta).stats(&mut mean, &mut rstd);
                LayerNorm::new().forward(InOut::new(&x, &mut hidden), rows, args)?;
            }
            None => hidden.copy_from_slice(&x),
        }
        rectify(&mut hidden);
        dropout.forward(InOut::in_place(&mut hidden), DropoutArgs::draw(stream))?;
        let mut scores = vec![0.0; rows.rows() * CLASSES];
        self.second.forward(&hidden, &mut scores);

        let score = softmax(&mut scores, &batch.labels);
        let dscores = scores;
        let mut dhidden = vec![0.0; rows.elements()];
        self.second.backward(&dscores, &mut dhidden);
        self.second.step(rate, &hidden, &dscores);
        // The stream draws the mask of the forward pass again.
        dropout.backward(InOut::in_place(&mut dhidden), stream)?;
        rectify_backward(&hidden, &mut dhidden);
        if let Some(norm) = &mut self.norm {
            let (mut dgamma, mut dbeta) = (vec![0.0; self.units], vec![0.0; self.units]);
            let args = GradArgs::new().gamma(&norm.gamma).stats(&mean, &rstd);
            let args = args.dgamma(&mut dgamma).dbeta(&mut dbeta);
            LayerNorm::new().backward(InOut::in_place(&mut dhidden), &x, rows, args)?;
            add_multiple(-rate, &dgamma, &mut norm.gamma);
            add_multiple(-rate, &dbeta, &mut norm.beta);
        }
        self.first.step(rate, &batch.pixels, &dhidden);
        Ok(score)
    }
}

fn rectify(x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x = x.max(0.0));
}

/// Where the rectifier's output was 0, its gradient is 0. What dropout zeroed has the gradient 0 already.
fn rectify_backward(y: &[f32], dy: &mut [f32]) {
    for (dy, y) in dy.iter_mut().zip(y) {
        *dy = if *y > 0.0 { *dy } else { 0.0 };
    }
}

/// Turns scores into the gradient of the mean loss by them.
fn softmax(scores: &mut [f32], labels: &[u8]) -> Score {
    let (mut loss, mut correct) = (0.0, 0);
    let share = 1.0 / labels.len() as f32;
    for (scores, &label) in scores.chunks_exact_mut(CLASSES).zip(labels) {
        let label = usize::from(label);
        let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        correct += usize::from(scores[label] == best);
        scores.iter_mut().for_each(|score| *score = (*score - best).exp());
        let sum: f32 = scores.iter().sum();
        // A probability that is 0 in f32 counts as the smallest one.
        loss -= f64::from((scores[label] / sum).clamp(f32::MIN_POSITIVE, 1.0)).ln();
        scores.iter_mut().for_each(|score| *score *= share / sum);
        scores[label] -= share;
    }
    Score { loss: loss / labels.len() as f64, correct }
}
