//! Contenders take turns, sample by sample. The method is that of `examples/throughput`; but who is slow is
//! measured less often, so that the others are measured often enough.

use std::time::{Duration, Instant};

use crate::buffer::Buffer;
use crate::peers::Contender;

/// A sample lasts about this long, so that the clock does not count.
const SAMPLE: Duration = Duration::from_micros(500);
/// Runs of a sample that are discarded: the caches are full of what others left.
const DISCARDED_RUNS: usize = 3;
/// Runs of a sample that count, at least.
const LEAST_RUNS: usize = 3;
/// Samples of each contender, at least and at most.
const LEAST_SAMPLES: usize = 7;
const MOST_SAMPLES: usize = 2000;
/// A run that takes longer is a sample by itself, after one that is discarded: what it touches is far larger
/// than the caches. Such contenders leave after a few samples.
const LONG: Duration = Duration::from_millis(30);
const LONG_SAMPLES: usize = 3;

struct Runs {
    /// Of each sample.
    discarded: usize,
    /// Of each sample, after those.
    counted: usize,
    samples: usize,
}

impl Runs {
    fn new(contender: &mut dyn Contender, y: &mut Buffer) -> Self {
        contender.run(y);
        let once = time(1, contender, y);
        if once > LONG {
            return Self { discarded: 1, counted: 1, samples: LONG_SAMPLES };
        }
        let counted = SAMPLE.as_nanos() / once.as_nanos().max(1);
        Self {
            discarded: DISCARDED_RUNS,
            counted: counted.clamp(LEAST_RUNS as u128, 100_000) as usize,
            samples: MOST_SAMPLES,
        }
    }
}

/// The median time of one run of each contender, in microseconds.
pub fn medians(
    contenders: &mut [Box<dyn Contender + '_>],
    y: &mut Buffer,
    seconds: f64,
) -> Vec<f64> {
    let start = Instant::now();
    let runs: Vec<_> = contenders.iter_mut().map(|it| Runs::new(&mut **it, y)).collect();
    let mut samples = vec![Vec::new(); contenders.len()];
    for sample in 0..MOST_SAMPLES {
        if sample >= LEAST_SAMPLES && start.elapsed().as_secs_f64() > seconds {
            break;
        }
        let turns = contenders.iter_mut().zip(&runs).zip(&mut samples);
        for ((contender, runs), samples) in turns.filter(|((_, runs), _)| sample < runs.samples) {
            time(runs.discarded, &mut **contender, y);
            let time = time(runs.counted, &mut **contender, y);
            samples.push(time.as_secs_f64() * 1e6 / runs.counted as f64);
        }
    }
    samples.iter_mut().map(|samples| median(samples)).collect()
}

fn time(runs: usize, contender: &mut dyn Contender, y: &mut Buffer) -> Duration {
    let start = Instant::now();
    for _ in 0..runs {
        contender.run(y);
    }
    start.elapsed()
}

fn median(samples: &mut [f64]) -> f64 {
    let middle = samples.len() / 2;
    *samples.select_nth_unstable_by(middle, f64::total_cmp).1
}
