//! The time of the whole model, and of its norms in it.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::{Device, Result, Tensor};

use crate::bert::{Bert, MINILM};
use crate::layers::Kind;
use crate::model::{model, weights};
use crate::process;
use crate::tokenizer::Batch;

const KINDS: [Kind; 3] = [Kind::Fused, Kind::Swapped, Kind::Added];
const SHAPES: [(usize, usize); 6] = [(1, 16), (1, 128), (1, 512), (8, 16), (8, 128), (8, 512)];

/// The argument of the process that measures.
pub const CHILD: &str = "inference-run";

pub fn run() -> Result<()> {
    println!("Inference: ms a batch, the median; of the norms with the additions before them");
    println!(
        "                         {:^24}{:^24}{:^24}",
        "candle", "evenkeel", "evenkeel, add + norm"
    );
    println!("threads batch tokens     {}", "   model   norms   share".repeat(3));
    for threads in [1, 2] {
        process::run(threads, &[CHILD], |words| {
            let number = |at| process::number(words, at);
            print!("{threads:7} {:5} {:6}     ", number(0), number(1));
            for at in [2, 4, 6] {
                let (model, norms) = (number(at), number(at + 1));
                print!("{:8.2}{:8.3}{:6.1} %", model * 1e3, norms * 1e3, 100.0 * norms / model);
            }
            println!();
        })?;
    }
    Ok(())
}

/// Prints a line for each shape: the shape, and two times for each kind.
pub fn child() -> Result<()> {
    let weights = weights()?;
    let models = KINDS.map(|kind| model(MINILM, kind, &weights, &BTreeMap::new()));
    let models = models.into_iter().collect::<Result<Vec<_>>>()?;
    for (sentences, tokens) in SHAPES {
        let batch = random_batch(sentences, tokens)?;
        let turns = (4096 / (sentences * tokens)).clamp(3, 31);
        let mut times = vec![(Vec::new(), Vec::new()); models.len()];
        for turn in 0..=turns {
            for (bert, times) in models.iter().zip(&mut times) {
                let (model, norms) = time(bert, &batch)?;
                // The first turn warms up.
                if turn > 0 {
                    times.0.push(model);
                    times.1.push(norms);
                }
            }
        }
        print!("{sentences} {tokens}");
        for (model, norms) in times {
            print!(" {:.9} {:.9}", median(model), median(norms));
        }
        println!();
    }
    Ok(())
}

fn time(bert: &Bert, batch: &Batch) -> Result<(f64, f64)> {
    bert.clock.take();
    let start = Instant::now();
    bert.embed(batch, false)?;
    Ok((start.elapsed().as_secs_f64(), bert.clock.take()))
}

/// Words that mean nothing, without padding.
pub fn random_batch(sentences: usize, tokens: usize) -> Result<Batch> {
    let ids = (0..sentences * tokens).map(|i| 1000 + (i as u32 * 7919) % 20000);
    let ids = Tensor::from_vec(ids.collect::<Vec<_>>(), (sentences, tokens), &Device::Cpu)?;
    Ok(Batch { ids, mask: None })
}

pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
