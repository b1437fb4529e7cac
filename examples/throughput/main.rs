//! How fast this machine runs every operation, beside a copy of the same bytes.
//!
//! ```text
//! cargo run --release --example throughput              # about 15 seconds: the detected backend, a few shapes
//! cargo run --release --example throughput -- --all     # every backend, operation and shape: up to 5 minutes
//! cargo run --release --example throughput -- --all --json --op layer_norm --shape 128x768
//! cargo run --release --example throughput -- --svg throughput.svg    # a picture: about a minute
//! cargo run --release --example throughput -- --cold    # a few rows, each call with other code and data in the caches
//! ```
//!
//! A sample is several runs of one contender in a row on the same touched buffers, its first runs
//! discarded. Contenders of a shape take turns, sample by sample, and the median sample of each counts:
//! whatever else the machine is doing, it does to all of them.

#![expect(unreachable_pub, reason = "the modules of an example have no outside")]

mod arguments;
mod cold;
mod contenders;
mod cpu;
#[cfg(feature = "half")]
mod half;
mod measure;
mod picture;

use std::collections::BTreeMap;

use arguments::Arguments;
use contenders::Contender;
use evenkeel::{Backend, Rows};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

fn main() {
    let arguments = Arguments::parse(std::env::args().skip(1)).unwrap_or_else(|message| {
        eprintln!("{message}\n\n{}", arguments::USAGE);
        std::process::exit(2);
    });
    if let Some(path) = &arguments.svg {
        if let Err(error) = picture::draw(&arguments, path) {
            eprintln!("{path}: {error}");
            std::process::exit(1);
        }
        println!("wrote {path}");
        return;
    }
    if !arguments.json {
        println!("This machine gets the {} backend.", Backend::detect());
        println!(
            "GB/s count x read and y written, and the residual and the gate. `of copy` is the ratio to memcpy of the\n\
             same bytes, for rms_norm_residual two of it; for operations that only read, to the fastest plain sum;\n\
             for batch_norm_training, penalty_gradient, gates and backward passes, to one of each. dropout_mask counts its\n\
             bits and is compared with the sum of as many f32.\n"
        );
        println!(
            "{:<22} {:<5} {:<9} {:>11} {:>7} {:>9} {:>8} {:>8}",
            "operation",
            "dtype",
            "backend",
            "shape",
            "threads",
            "us",
            "GB/s",
            if arguments.cold { "of plain" } else { "of copy" }
        );
    }

    let groups: Vec<_> = arguments
        .shapes
        .iter()
        .flat_map(|&shape| arguments.threads.iter().map(move |&threads| (shape, threads)))
        .collect();
    let contenders = arguments.contenders();
    let seconds = arguments.seconds / groups.len() as f64;
    let progress = progress(groups.len());
    for ((rows, cols), threads) in groups {
        progress.set_message(format!("{rows}x{cols}, {threads} threads"));
        let shape = Rows::new(rows, cols).expect("the shape can be held");
        let Arguments { stores, cold, .. } = arguments;
        let times = measure::medians(&contenders, shape, (threads, stores), cold, seconds);
        let lines = report(&arguments, &contenders, &times, shape, threads);
        progress.suspend(|| print!("{lines}"));
        progress.inc(1);
    }
    progress.finish_and_clear();
}

fn progress(len: usize) -> ProgressBar {
    ProgressBar::new(len as u64).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({eta} left)")
            .expect("the template is valid"),
    )
}

/// One line for each operation and backend.
fn report(
    arguments: &Arguments,
    contenders: &[Contender],
    times: &BTreeMap<Contender, f64>,
    shape: Rows,
    threads: usize,
) -> String {
    let (rows, cols) = (shape.rows(), shape.cols());
    let mut lines = String::new();
    for contender in contenders {
        let Contender::Operation { name, dtype, backend } = *contender else { continue };
        let operation = contenders::operation(name).expect("contenders name known operations");
        let ns = times[contender];
        // The yardsticks move f32.
        let part = if dtype == "f32" { 1 } else { 2 };
        let bytes = operation.bytes(shape) / part;
        let yardstick = match times.get(&Contender::Plain(name)) {
            Some(plain) => *plain,
            None => operation.traffic.yardstick(times) / part as f64,
        };
        let line = if arguments.json {
            json!({
                "op": name, "cold": arguments.cold, "plain_ns": times.get(&Contender::Plain(name)),
                "dtype": dtype, "backend": backend, "rows": rows, "cols": cols,
                "threads": threads, "ns": ns, "bytes": bytes,
                "memcpy_ns": times[&Contender::Memcpy],
                "nt_copy_ns": times[&Contender::NonTemporalCopy],
                "read_ns": times[&Contender::Read],
            })
            .to_string()
        } else {
            format!(
                "{name:<22} {dtype:<5} {backend:<9} {:>11} {threads:>7} {:>9.2} {:>8.1} {:>8.2}",
                format!("{rows}x{cols}"),
                ns / 1e3,
                bytes as f64 / ns,
                yardstick / ns,
            )
        };
        lines += &line;
        lines.push('\n');
    }
    lines
}
