//! evenkeel beside other crates, in one table: see the README.

mod arguments;
mod buffer;
mod check;
mod measure;
mod peers;
mod problem;
mod table;
mod threads;

use std::process::exit;
use std::time::Instant;

use arguments::Arguments;
use buffer::Buffer;
use peers::PEERS;
use problem::{Operation, Problem};

fn main() {
    let arguments = Arguments::parse(std::env::args().skip(1)).unwrap_or_else(|message| {
        eprintln!("{message}\n\n{}", arguments::USAGE);
        exit(2);
    });
    let result = threads::single(|| run(&arguments)).map_err(|error| error.to_string());
    if let Err(message) = result.flatten() {
        eprintln!("{message}");
        exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let start = Instant::now();
    let Arguments { operations, shapes, .. } = arguments;
    let groups: Vec<_> = operations
        .iter()
        .flat_map(|&operation| shapes.iter().map(move |&shape| (operation, shape)))
        .filter(|&(operation, (rows, _))| rows >= operation.least_rows())
        .collect();
    table::print_head();
    for (i, &(operation, shape)) in groups.iter().enumerate() {
        // What one group takes too long, the later ones make up for.
        let left = arguments.seconds - start.elapsed().as_secs_f64();
        let (memcpy, times) = compare(operation, shape, left / (groups.len() - i) as f64)?;
        table::print_row(operation, shape, memcpy, &times);
    }
    table::print_notes();
    Ok(())
}

/// The time of memcpy, and that of each peer that has the operation.
fn compare(
    operation: Operation,
    (rows, cols): (usize, usize),
    seconds: f64,
) -> Result<(f64, Vec<Option<f64>>), String> {
    let problem = Problem::new(rows, cols);
    let mut y = Buffer::new(rows * cols, |_| f32::NAN);
    let mut contenders = vec![peers::memcpy(&problem)];
    let mut has = Vec::new();
    let mut expected = None;
    for peer in &PEERS {
        let contender = (peer.contender)(operation, &problem);
        has.push(contender.is_some());
        let Some(mut contender) = contender else { continue };
        let output = contender.output(&mut y);
        let expected = expected.get_or_insert_with(|| output.clone());
        check::check(operation, &problem, expected, &output).map_err(|message| {
            let name = operation.name();
            format!("{name} {rows}x{cols}: wrong output of {}: {message}", peer.name)
        })?;
        contenders.push(contender);
    }
    let mut times = measure::medians(&mut contenders, &mut y, seconds).into_iter();
    let memcpy = times.next().expect("memcpy is the first");
    Ok((memcpy, has.into_iter().map(|has| if has { times.next() } else { None }).collect()))
}
