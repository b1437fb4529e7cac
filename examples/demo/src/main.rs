//! What evenkeel does on this machine, and what it does to 1797 handwritten digits.
//!
//! ```text
//! cargo run --release --example demo
//! ```
//!
//! A chapter is a module with a function `run` that prints. It panics if an output is not within
//! the promised bound.
#![forbid(unsafe_code)]
#![expect(unreachable_pub, reason = "the modules of an example have no outside")]

mod accuracy;
mod batch_norm;
mod digits;
mod dropout;
mod first_screen;
mod layer_norm;
mod running;
mod scalers;
mod table;
mod training;

use digits::{Digits, PIXELS};
use evenkeel::Error;

fn main() -> Result<(), Error> {
    first_screen::run()?;
    let digits = Digits::load()?;
    println!(
        "\nWhat follows is about {} handwritten digits, a row of {} pixels each, from {} (paper) to {} (ink).\n",
        digits.rows.rows(),
        digits.rows.cols(),
        PIXELS.0,
        PIXELS.1,
    );
    layer_norm::run(&digits)?;
    println!();
    batch_norm::run(&digits)?;
    println!();
    dropout::run(&digits)?;
    println!();
    scalers::run(&digits)?;
    println!();
    training::run(&digits)
}
