//! What to measure.

use evenkeel::{Backend, Stores};

use crate::contenders::{Contender, OPERATIONS};

pub const USAGE: &str = "usage: throughput [--all] [--json] [--seconds S] [--threads N]
                  [--stores auto|cached|non-temporal]
                  [--op NAME]... [--backend NAME]... [--shape ROWSxCOLS]...
--all takes every backend, operation and shape; --op, --backend and --shape choose among them.";

/// Every shape of `--all`. The first ones live in L2, 2048x1024 in a large L3, the largest in memory.
const SHAPES: [(usize, usize); 12] = [
    (1, 768),
    (8, 768),
    (32, 768),
    (128, 768),
    (512, 1024),
    (128, 4096),
    (2048, 1024),
    (4096, 4096),
    (16384, 1024),
    (16384, 4096),
    (65536, 64),
    (1024, 8192),
];

/// The shapes of a run without `--all`.
const FEW_SHAPES: [(usize, usize); 4] = [(1, 768), (128, 768), (2048, 1024), (4096, 4096)];

pub struct Arguments {
    pub json: bool,
    pub seconds: f64,
    pub threads: Vec<usize>,
    pub shapes: Vec<(usize, usize)>,
    pub stores: Stores,
    operations: Vec<&'static str>,
    backends: Vec<&'static str>,
}

impl Arguments {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut all, mut json, mut seconds, mut stores) = (false, false, None, Stores::Auto);
        let (mut operations, mut backends, mut shapes, mut threads) =
            (vec![], vec![], vec![], vec![]);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--all" => all = true,
                "--json" => json = true,
                "--seconds" => {
                    let value = value()?;
                    let number = value.parse::<f64>().ok().filter(|s| s.is_finite() && *s > 0.0);
                    seconds = Some(number.ok_or(format!("no number of seconds: {value}"))?);
                }
                "--threads" => {
                    let value = value()?;
                    let number = value.parse::<usize>().ok().filter(|&n| n > 0);
                    threads.push(number.ok_or(format!("no number of threads: {value}"))?);
                }
                "--stores" => {
                    stores = match value()?.as_str() {
                        "auto" => Stores::Auto,
                        "cached" => Stores::Cached,
                        "non-temporal" => Stores::NonTemporal,
                        other => return Err(format!("unknown stores: {other}")),
                    };
                }
                "--op" => operations.push(one_of(&value()?, OPERATIONS.iter().map(|op| op.name))?),
                "--backend" => {
                    let name = value()?;
                    let backend = Backend::by_name(&name).map_err(|error| error.to_string())?;
                    backends.push(backend.name());
                }
                "--shape" => {
                    let value = value()?;
                    let shape = value.split_once('x').and_then(|(rows, cols)| {
                        Some((rows.parse().ok()?, cols.parse().ok()?)).filter(|s| s.0 * s.1 > 0)
                    });
                    shapes.push(shape.ok_or(format!("no shape ROWSxCOLS: {value}"))?);
                }
                _ => return Err(format!("unknown argument: {word}")),
            }
        }
        if operations.is_empty() {
            operations = OPERATIONS.iter().map(|op| op.name).collect();
        }
        if backends.is_empty() {
            backends = match all {
                true => Backend::available().map(Backend::name).collect(),
                false => vec![Backend::detect().name()],
            };
        }
        if shapes.is_empty() {
            shapes = if all { SHAPES.to_vec() } else { FEW_SHAPES.to_vec() };
        }
        if threads.is_empty() {
            threads = vec![1];
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            if cores > 1 && cfg!(feature = "rayon") {
                threads.push(cores);
            }
        }
        let seconds = seconds.unwrap_or(if all { 240.0 } else { 13.0 });
        Ok(Self { json, seconds, threads, shapes, stores, operations, backends })
    }

    /// The yardsticks, and every chosen operation on every chosen backend.
    pub fn contenders(&self) -> Vec<Contender> {
        let mut contenders = vec![Contender::Memcpy, Contender::NonTemporalCopy, Contender::Read];
        for &name in &self.operations {
            for &backend in &self.backends {
                contenders.push(Contender::Operation { name, backend });
            }
        }
        contenders
    }
}

fn one_of(
    word: &str,
    names: impl Iterator<Item = &'static str> + Clone,
) -> Result<&'static str, String> {
    names.clone().find(|name| *name == word).ok_or_else(|| {
        format!("unknown operation: {word}; there are {}", names.collect::<Vec<_>>().join(", "))
    })
}
