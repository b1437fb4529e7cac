//! What the operations do to 1797 handwritten digits, and how far they are from their definition.
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
mod layer_norm;
mod running;
mod scalers;
mod table;

use digits::Digits;
use evenkeel::{Backend, Error};

fn main() -> Result<(), Error> {
    let digits = Digits::load()?;
    println!(
        "{} handwritten digits, a row of {} pixels from 0 to 16 each, on the {} backend.\n",
        digits.rows.rows(),
        digits.rows.cols(),
        Backend::detect(),
    );
    layer_norm::run(&digits)?;
    println!();
    batch_norm::run(&digits)?;
    println!();
    dropout::run(&digits)?;
    println!();
    scalers::run(&digits)
}
