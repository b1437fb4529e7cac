//! Trainings of `BatchNorm` over mini-batches of digits.
#![forbid(unsafe_code)]

use evenkeel::{BatchNorm, ColumnMoments, Error, InOut, MomentArgs, Moments, Rows, TrainArgs};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::digits::Digits;

/// Digits of a mini-batch.
pub const BATCH: usize = 128;
pub const EPOCHS: usize = 5;
/// Of the order of the digits, which is the same for every training.
const SEED: u64 = 1;

/// The running statistics of every pixel.
#[derive(Clone)]
pub struct Running {
    pub mean: Vec<f32>,
    pub var: Vec<f32>,
}

/// How far running statistics are from those of all digits.
pub struct Distances {
    pub largest: f64,
    pub average: f64,
}

/// The running statistics at the start and after every epoch. `rule` gets the number of batches so
/// far.
pub fn train(digits: &Digits, rule: impl Fn(u64) -> BatchNorm) -> Result<Vec<Running>, Error> {
    let cols = digits.rows.cols();
    let rows = Rows::new(BATCH, cols)?;
    let mut running = Running { mean: vec![0.0; cols], var: vec![1.0; cols] };
    let mut history = vec![running.clone()];

    let mut generator = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let mut order: Vec<&[f32]> = digits.pixels.chunks_exact(cols).collect();
    let mut batches = 0;
    for _ in 0..EPOCHS {
        for last in (1..order.len()).rev() {
            order.swap(last, (generator.next_u64() % (last as u64 + 1)) as usize);
        }
        // The few digits that do not fill a batch are left out, others every time.
        for batch in order.chunks_exact(BATCH) {
            let (batch_norm, mut x) = (rule(batches), batch.concat());
            let args = TrainArgs::new().running(&mut running.mean, &mut running.var);
            batch_norm.forward_training(InOut::in_place(&mut x), rows, args)?;
            batches += 1;
        }
        history.push(running.clone());
    }
    Ok(history)
}

impl Running {
    /// The distances of the means and of the variances.
    pub fn distances(&self, whole: &[Moments]) -> [Distances; 2] {
        let of = |running: &[f32], statistic: fn(&Moments) -> f64| {
            let pairs = running.iter().zip(whole);
            let all = pairs.map(|(&it, whole)| (f64::from(it) - statistic(whole)).abs());
            Distances {
                largest: all.clone().fold(0.0, f64::max),
                average: all.sum::<f64>() / whole.len() as f64,
            }
        };
        [of(&self.mean, |it| it.mean), of(&self.var, variance)]
    }
}

/// The moments of every column.
pub fn moments(x: &[f32], rows: Rows) -> Result<Vec<Moments>, Error> {
    let mut moments = vec![Moments::new(); rows.cols()];
    ColumnMoments::new().compute(x, rows, &mut moments, MomentArgs::new())?;
    Ok(moments)
}

pub fn variance(moments: &Moments) -> f64 {
    moments.population_variance().expect("there are digits")
}
