//! A small network learns the digits, with `LayerNorm` and without, on one thread and on two.
#![forbid(unsafe_code)]

mod fit;
mod linear;
mod network;
#[cfg(test)]
mod tests;

use std::time::Instant;

use evenkeel::Error;
use fit::{Fit, Recipe, Split, fit};
use indicatif::{ProgressBar, ProgressStyle};
use network::Norm;

use crate::digits::{Digits, PIXELS};

/// The hidden units of a batch are as many elements as evenkeel shares between two threads.
const RECIPE: Recipe =
    Recipe { units: 512, batch: 256, epochs: 30, rate: 0.3, p: 0.2, normalised: true };
/// What the largest pixel becomes: the digits as they are, and the usual scales of images.
const LARGEST: [f32; 3] = [1.0, PIXELS.1, 255.0];
/// These have a column in the table of losses.
const EPOCHS: [usize; 6] = [1, 2, 5, 10, 20, 30];

/// # Panics
///
/// If a network with `LayerNorm` does not learn, or if two threads give other bits than one.
pub fn run(digits: &Digits) -> Result<(), Error> {
    let start = Instant::now();
    println!("Training: a small network learns the digits, with LayerNorm and without\n");
    let splits = LARGEST.map(|largest| Split::new(digits, largest / PIXELS.1));
    explain(&splits[0]);

    let trainings = 2 * splits.len() + 1;
    let bar = ProgressBar::new((trainings * RECIPE.epochs) as u64);
    let style = ProgressStyle::with_template("  {bar:48} {msg}").expect("a template");
    bar.set_style(style);
    let train = |split: &Split, normalised, threads| {
        fit(split, Recipe { normalised, ..RECIPE }, threads, |loss| {
            bar.inc(1);
            bar.set_message(format!("training {}, loss {loss:.4}", name(normalised)));
        })
    };
    let mut fits = Vec::new();
    for split in &splits {
        fits.push([train(split, true, 1)?, train(split, false, 1)?]);
    }
    let two_threads = train(&splits[1], true, 2)?;
    bar.finish_and_clear();

    print_fits(&splits, &fits);
    print_losses(&fits[1]);
    let network = &fits[1][0].network;
    if let Some(Norm { gamma, beta }) = network.norm() {
        println!(
            "\n  gamma was 1 and is now {}; beta was 0 and is now {}.",
            range(gamma),
            range(beta),
        );
    }
    let bits = network.bits();
    assert_eq!(bits, two_threads.network.bits(), "two threads give the bits of one");
    println!(
        "  Trained on two threads, all {} weights, gammas and betas have the bits of one thread.\n  \
         These {trainings} trainings took {:.1} s.",
        bits.len(),
        start.elapsed().as_secs_f64(),
    );
    Ok(())
}

fn explain(split: &Split) {
    let Recipe { units, batch, epochs, rate, p, .. } = RECIPE;
    let (train, held_out) = (split.train.labels.len(), split.held_out.labels.len());
    println!(
        "  64 pixels, linear, {units} units, LayerNorm, rectifier, dropout of {p}, linear, 10 kinds of digits.\n  \
         {epochs} epochs of {} batches of {batch} out of {train} digits; gradient descent, learning rate {rate}.\n  \
         The other {held_out} digits are held out. One thread.\n",
        train / batch,
    );
}

fn name(normalised: bool) -> &'static str {
    if normalised { "with LayerNorm" } else { "without it" }
}

/// # Panics
///
/// If a network with `LayerNorm` knows fewer than 9 of 10 digits.
fn print_fits(splits: &[Split], fits: &[[Fit; 2]]) {
    let names = [true, false].map(|normalised| format!("{:>36}", name(normalised)));
    println!("  {:<18}{}", "", names.concat());
    let columns = format!("{:>8}{:>15}{:>13}", "loss", "held-out loss", "accuracy");
    println!("  {:<18}{columns}{columns}", "pixels");
    for ((largest, split), fits) in LARGEST.iter().zip(splits).zip(fits) {
        let cells = fits.each_ref().map(|Fit { losses, held_out, .. }| {
            let share = held_out.correct as f64 / split.held_out.labels.len() as f64;
            let accuracy = format!("{:.1} %", 100.0 * share);
            format!("{:>8.4}{:>15.4}{accuracy:>13}", losses[RECIPE.epochs - 1], held_out.loss)
        });
        println!("  {:<18}{}", format!("0 to {largest}"), cells.concat());
        let correct = fits[0].held_out.correct;
        assert!(10 * correct > 9 * split.held_out.labels.len(), "it learns: {correct} are right");
    }
    println!(
        "\n  LayerNorm takes the scale out of its input, so that one learning rate serves all scales of pixels.\n  \
         Without it, each scale needs a learning rate of its own.\n"
    );
}

fn print_losses(fits: &[Fit; 2]) {
    println!("  The mean loss of an epoch, for pixels from 0 to {}:\n", LARGEST[1]);
    let epochs = EPOCHS.map(|epoch| format!("{epoch:>12}"));
    println!("  {:<18}{}", "epoch", epochs.concat());
    for (fit, normalised) in fits.iter().zip([true, false]) {
        let losses = EPOCHS.map(|epoch| format!("{:>12.4}", fit.losses[epoch - 1]));
        println!("  {:<18}{}", name(normalised), losses.concat());
    }
}

fn range(values: &[f32]) -> String {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    format!("{least:.2} to {most:.2}")
}
