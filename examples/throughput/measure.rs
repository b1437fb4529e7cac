//! Contenders take turns, sample by sample.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use evenkeel::{Rows, Stores};

use crate::cold::Sweep;
use crate::contenders::{Buffers, Contender};

/// A sample lasts about this long, so that the clock does not count.
const SAMPLE: Duration = Duration::from_micros(500);
/// Runs of a sample that are discarded. Two would be polluted: after a non-temporal copy of 8 MiB, one
/// LayerNorm takes 1000 us, the next 940, the third 650, and those after it 595.
const DISCARDED_RUNS: usize = 3;
/// Runs of a sample that count, at least.
const LEAST_RUNS: usize = 3;
/// Samples of each contender, at least.
const LEAST_SAMPLES: usize = 3;
/// Samples of each contender, at most.
const MOST_SAMPLES: usize = 2000;

/// The median time of one run of each contender on buffers of this shape, in nanoseconds.
pub fn medians(
    contenders: &[Contender],
    shape: Rows,
    (threads, stores): (usize, Stores),
    cold: bool,
    seconds: f64,
) -> BTreeMap<Contender, f64> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("the system can start the threads");
    let mut buffers = Buffers::new(shape, threads, stores);
    pool.install(|| match cold {
        true => cold_medians(contenders, &mut buffers, seconds),
        false => medians_on(contenders, &mut buffers, seconds),
    })
}

/// The same of single calls, before each of which the caches are swept. The clock is read twice a call: some 40 ns.
fn cold_medians(
    contenders: &[Contender],
    buffers: &mut Buffers,
    seconds: f64,
) -> BTreeMap<Contender, f64> {
    let (start, mut sweep) = (Instant::now(), Sweep::new());
    let mut samples = vec![Vec::new(); contenders.len()];
    for sample in 0..MOST_SAMPLES {
        if sample >= LEAST_SAMPLES && start.elapsed().as_secs_f64() > seconds {
            break;
        }
        for (contender, samples) in contenders.iter().zip(&mut samples) {
            sweep.run(buffers);
            let start = Instant::now();
            contender.run(buffers);
            samples.push(start.elapsed().as_nanos() as f64);
        }
    }
    contenders.iter().copied().zip(samples.iter_mut().map(|samples| median(samples))).collect()
}

fn medians_on(
    contenders: &[Contender],
    buffers: &mut Buffers,
    seconds: f64,
) -> BTreeMap<Contender, f64> {
    let start = Instant::now();
    let runs: Vec<usize> = contenders
        .iter()
        .map(|contender| {
            contender.run(buffers);
            let once = Instant::now();
            contender.run(buffers);
            let once = once.elapsed().as_nanos().max(1);
            (SAMPLE.as_nanos() / once).clamp(LEAST_RUNS as u128, 100_000) as usize
        })
        .collect();

    let mut samples = vec![Vec::new(); contenders.len()];
    for sample in 0..MOST_SAMPLES {
        if sample >= LEAST_SAMPLES && start.elapsed().as_secs_f64() > seconds {
            break;
        }
        for ((contender, &runs), samples) in contenders.iter().zip(&runs).zip(&mut samples) {
            for _ in 0..DISCARDED_RUNS {
                contender.run(buffers);
            }
            let start = Instant::now();
            for _ in 0..runs {
                contender.run(buffers);
            }
            samples.push(start.elapsed().as_nanos() as f64 / runs as f64);
        }
    }
    contenders.iter().copied().zip(samples.iter_mut().map(|samples| median(samples))).collect()
}

fn median(samples: &mut [f64]) -> f64 {
    let middle = samples.len() / 2;
    *samples.select_nth_unstable_by(middle, f64::total_cmp).1
}
