//! evenkeel beside other crates, in one table: see the README.

mod arguments;
mod buffer;
mod check;
mod measure;
mod peers;
mod problem;
mod table;

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
    // Inside a pool of one thread, candle and burn start no others and hand nothing over.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .expect("the system can start a thread");
    if let Err(message) = pool.install(|| run(&arguments)) {
        eprintln!("{message}");
        exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let start = Instant::now();
    let Arguments { operations, shapes, .. } = arguments;
    let mut groups = operations.len() * shapes.len();
    table::print_head();
    for &operation in operations {
        for &shape in shapes {
            // What one group takes too long, the later ones make up for.
            let seconds = (arguments.seconds - start.elapsed().as_secs_f64()) / groups as f64;
            let (memcpy, times) = compare(operation, shape, seconds)?;
            table::print_row(operation, shape, memcpy, &times);
            groups -= 1;
        }
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
            format!("{name} {rows}x{cols}: {} is not evenkeel's: {message}", peer.name)
        })?;
        contenders.push(contender);
    }
    let mut times = measure::medians(&mut contenders, &mut y, seconds).into_iter();
    let memcpy = times.next().expect("memcpy is the first");
    Ok((memcpy, has.into_iter().map(|has| if has { times.next() } else { None }).collect()))
}
