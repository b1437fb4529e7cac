//! Training learns, and its bits do not depend on the number of threads.
#![forbid(unsafe_code)]

use super::RECIPE;
use super::fit::{Fit, Recipe, Split, fit};
use crate::digits::Digits;

/// Three epochs. A batch has so many hidden units that evenkeel shares them between two threads.
fn trained(normalised: bool, threads: usize) -> Fit {
    let split = Split::new(&Digits::load().expect("the digits have a shape"), 1.0 / 16.0);
    let recipe = Recipe { epochs: 3, rate: 0.1, normalised, ..RECIPE };
    fit(&split, recipe, threads, |_| ()).expect("every call has the lengths of the shape")
}

#[test]
fn training_lowers_the_loss() {
    for normalised in [true, false] {
        let Fit { losses, held_out, .. } = trained(normalised, 1);
        assert!(losses[2] < 0.75 * losses[0], "normalised {normalised}: {losses:?}");
        // Guessing gives ln(10) = 2.3.
        assert!(held_out.loss < 1.5, "normalised {normalised}: {}", held_out.loss);
    }
}

#[test]
fn gamma_and_beta_learn() {
    let network = trained(true, 1).network;
    let norm = network.norm().expect("the network has a norm");
    // The rectifier may hold a unit at 0 for all digits; then its gamma and beta stay.
    let moved = |values: &[f32], start| values.iter().filter(|&&value| value != start).count();
    assert!(10 * moved(&norm.gamma, 1.0) > 9 * RECIPE.units, "{:?}", norm.gamma);
    assert!(10 * moved(&norm.beta, 0.0) > 9 * RECIPE.units, "{:?}", norm.beta);
}

#[test]
fn one_thread_and_two_give_the_same_bits() {
    let [one, two] = [1, 2].map(|threads| trained(true, threads));
    assert_eq!(one.network.bits(), two.network.bits());
    assert_eq!(one.losses, two.losses);
    assert_eq!(one.held_out.loss, two.held_out.loss);
}
