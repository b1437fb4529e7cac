//! all-MiniLM-L6-v2 in candle, with candle's norms and with evenkeel's: the same embeddings, and a fine-tuning that learns.
//!
//! ```sh
//! examples/minilm/fetch                               # the weights, once
//! cargo run --release --example minilm                # all of it
//! cargo run --release --example minilm -- similar     # or a part: similar, inference, steps, training
//! ```

mod bert;
mod inference;
mod layers;
mod model;
mod picture;
mod process;
mod sentences;
mod similar;
mod tokenizer;
mod training;

use candle_core::{Result, bail};

use layers::{KINDS, Kind};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let Err(error) = run(&args) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run(args: &[&str]) -> Result<()> {
    match *args {
        [] => {
            similar::run()?;
            inference::run()?;
            training::steps()?;
            training::run()
        }
        ["similar"] => similar::run(),
        ["inference"] => inference::run(),
        ["steps"] => training::steps(),
        ["training"] => training::run(),
        [inference::CHILD] => inference::child(),
        [training::STEP_CHILD, name] => training::step_child(kind(name)?),
        [training::CHILD, name, steps] => match steps.parse() {
            Ok(steps) => training::child(kind(name)?, steps),
            Err(_) => bail!("{steps} is no number of steps"),
        },
        _ => {
            bail!("expected similar, inference, steps, training, or nothing for all; got {args:?}")
        }
    }
}

fn kind(name: &str) -> Result<Kind> {
    match KINDS.into_iter().find(|kind| kind.name() == name) {
        Some(kind) => Ok(kind),
        None => bail!("{name} is no kind of norm"),
    }
}
