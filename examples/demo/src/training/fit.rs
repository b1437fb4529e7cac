//! Training: epochs of mini-batches in shuffled order, on a given number of threads.
#![forbid(unsafe_code)]

use evenkeel::{Dropout, Error, Stream};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::network::{Batch, Network, Score, Step};
use crate::digits::Digits;

/// Of the weights, the order of digits and what is dropped: the same for every training.
const SEED: u64 = 1;

/// How to train.
#[derive(Clone, Copy)]
pub struct Recipe {
    /// Of the layer between the two linear ones.
    pub units: usize,
    /// Digits of a mini-batch.
    pub batch: usize,
    pub epochs: usize,
    /// What a step multiplies gradients by.
    pub rate: f32,
    /// The probability that dropout drops a unit.
    pub p: f64,
    /// Whether `LayerNorm` is between the linear layers.
    pub normalised: bool,
}

/// What training gave.
pub struct Fit {
    pub network: Network,
    /// The mean loss of the batches of each epoch.
    pub losses: Vec<f64>,
    /// On digits that training did not see.
    pub held_out: Score,
}

/// The digits to train with, and those held out.
pub struct Split {
    pub train: Batch,
    pub held_out: Batch,
}

impl Split {
    /// Holds out every fifth digit. Every pixel is multiplied by `scale`.
    pub fn new(digits: &Digits, scale: f32) -> Self {
        let empty = || Batch { pixels: Vec::new(), labels: Vec::new() };
        let mut split = Self { train: empty(), held_out: empty() };
        let all = digits.pixels.chunks_exact(digits.rows.cols()).zip(&digits.labels);
        for (index, (pixels, &label)) in all.enumerate() {
            let part = if index % 5 == 4 { &mut split.held_out } else { &mut split.train };
            part.pixels.extend(pixels.iter().map(|pixel| pixel * scale));
            part.labels.push(label);
        }
        split
    }
}

/// Trains a network on so many threads. `progress` gets the mean loss of each epoch.
///
/// # Panics
///
/// If the system does not start the threads.
pub fn fit(
    split: &Split,
    recipe: Recipe,
    threads: usize,
    progress: impl Fn(f64) + Send,
) -> Result<Fit, Error> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    // Both the linear layers and evenkeel run in the pool that the caller is in.
    pool.expect("the system starts the threads").install(|| epochs(split, recipe, progress))
}

fn epochs(split: &Split, recipe: Recipe, progress: impl Fn(f64)) -> Result<Fit, Error> {
    let Recipe { units, batch: size, epochs, rate, p, normalised } = recipe;
    let train = &split.train;
    let cols = train.pixels.len() / train.labels.len();
    let mut network = Network::new(cols, units, normalised, SEED);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let mut order: Vec<usize> = (0..train.labels.len()).collect();
    let mut step =
        Step { rate, dropout: Dropout::new().with_p(p), stream: Stream { seed: SEED, offset: 0 } };
    let mut losses = Vec::new();
    for _ in 0..epochs {
        for last in (1..order.len()).rev() {
            order.swap(last, (random.next_u64() % (last as u64 + 1)) as usize);
        }
        // Digits that do not fill a batch are left out, others in every epoch.
        let batches = order.chunks_exact(size);
        let (count, mut loss) = (batches.len(), 0.0);
        for order in batches {
            let pixels = order.iter().flat_map(|&it| &train.pixels[it * cols..][..cols]);
            let labels = order.iter().map(|&it| train.labels[it]);
            let batch = Batch { pixels: pixels.copied().collect(), labels: labels.collect() };
            loss += network.train(&batch, step)?.loss / count as f64;
            // No two steps draw the same elements of the stream.
            step.stream.offset += (size * units) as u64;
        }
        losses.push(loss);
        progress(loss);
    }
    let held_out = network.score(&split.held_out)?;
    Ok(Fit { network, losses, held_out })
}
