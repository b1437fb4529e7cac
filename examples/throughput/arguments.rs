//! What to measure.
#![forbid(unsafe_code)]

use evenkeel::{Backend, Stores};

use crate::cold::NORMS;
use crate::contenders::{Contender, OPERATIONS, Operation, Traffic, operation};

pub const USAGE: &str = "usage: throughput [--all] [--json] [--seconds S] [--threads N]
                  [--stores auto|cached|non-temporal]
                  [--op NAME]... [--backend NAME]... [--shape ROWSxCOLS]...
                  [--dtype f32|bf16|f16]...
       throughput --cold [...]
       throughput --svg FILE [--seconds S] [--threads N] [--op NAME]... [--backend NAME]...
--all takes every backend, operation and shape; --op, --backend and --shape choose among them.
--dtype bf16 and f16 need the feature half, and measure layer_norm, rms_norm, their backward passes and dropout.
--cold sweeps the caches before each call, and compares layer_norm and rms_norm with plain loops, vectorised by the compiler.
--svg draws GB/s over size instead, with shapes of its own; without --backend, of every backend.";

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

/// The shapes of `--cold`.
const COLD_SHAPES: [(usize, usize); 8] =
    [(1, 576), (1, 768), (1, 2048), (1, 8192), (4, 4096), (8, 768), (16, 384), (16, 768)];

/// The shapes of a run without `--all`.
const FEW_SHAPES: [(usize, usize); 4] = [(1, 768), (128, 768), (2048, 1024), (4096, 4096)];

pub struct Arguments {
    pub json: bool,
    /// Whether caches are swept before each call.
    pub cold: bool,
    /// The file for the picture, if there is to be one.
    pub svg: Option<String>,
    pub seconds: f64,
    pub threads: Vec<usize>,
    pub shapes: Vec<(usize, usize)>,
    pub stores: Stores,
    pub operations: Vec<&'static str>,
    pub backends: Vec<&'static str>,
    pub dtypes: Vec<&'static str>,
}

impl Arguments {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut all, mut json, mut svg, mut seconds) = (false, false, None, None);
        let (mut stores, mut cold) = (Stores::Auto, false);
        let mut dtypes = vec![];
        let (mut operations, mut backends, mut shapes, mut threads) =
            (vec![], vec![], vec![], vec![]);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--all" => all = true,
                "--json" => json = true,
                "--cold" => cold = true,
                "--svg" => svg = Some(value()?),
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
                "--dtype" => dtypes.push(one_of(&value()?, DTYPES.iter().copied())?),
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
        if svg.is_some() && (json || cold || !shapes.is_empty()) {
            return Err(
                "--svg has shapes of its own and prints no table: it takes neither --shape nor --json nor --cold".to_owned(),
            );
        }
        if cold && operations.is_empty() {
            operations = NORMS.to_vec();
        }
        // A bit an element has no place on an axis of x and y.
        let measured = |op: &Operation| svg.is_none() || op.traffic != Traffic::Mask;
        if let Some(name) = operations.iter().find(|name| !operation(name).is_some_and(measured)) {
            return Err(format!("--svg does not draw {name}, which moves neither x nor y"));
        }
        if operations.is_empty() {
            operations = OPERATIONS.iter().filter(|op| measured(op)).map(|op| op.name).collect();
        }
        if backends.is_empty() {
            backends = match all || svg.is_some() {
                true => Backend::available().map(Backend::name).collect(),
                false => vec![Backend::detect().name()],
            };
        }
        if shapes.is_empty() {
            shapes = match (cold, all) {
                (true, _) => COLD_SHAPES.to_vec(),
                (false, true) => SHAPES.to_vec(),
                (false, false) => FEW_SHAPES.to_vec(),
            };
        }
        if dtypes.is_empty() {
            dtypes.push("f32");
        }
        if svg.is_some() && dtypes != ["f32"] {
            return Err("--svg draws f32".to_owned());
        }
        if threads.is_empty() {
            threads = vec![1];
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            if cores > 1 && !cold && cfg!(feature = "rayon") {
                threads.push(cores);
            }
        }
        let seconds = seconds.unwrap_or(match (&svg, all) {
            (Some(_), _) => 60.0,
            (None, true) => 240.0,
            (None, false) => 13.0,
        });
        Ok(Self { json, cold, svg, seconds, threads, shapes, stores, operations, backends, dtypes })
    }

    /// The yardsticks, and every chosen operation on every chosen backend.
    pub fn contenders(&self) -> Vec<Contender> {
        let mut contenders = vec![Contender::Memcpy, Contender::NonTemporalCopy, Contender::Read];
        if self.cold {
            let norms = NORMS.into_iter().filter(|norm| self.operations.contains(norm));
            contenders.extend(norms.map(Contender::Plain));
        }
        for &name in &self.operations {
            for &dtype in self.dtypes.iter().filter(|&&dtype| is_measured(name, dtype)) {
                for &backend in &self.backends {
                    contenders.push(Contender::Operation { name, dtype, backend });
                }
            }
        }
        contenders
    }
}

/// The types that this build has.
const DTYPES: &[&str] = if cfg!(feature = "half") { &["f32", "bf16", "f16"] } else { &["f32"] };

/// Whether an operation is measured on elements of this type.
fn is_measured(name: &str, dtype: &str) -> bool {
    #[cfg(feature = "half")]
    if dtype != "f32" {
        return crate::half::OPERATIONS.contains(&name);
    }
    let _ = name;
    dtype == "f32"
}

fn one_of(
    word: &str,
    names: impl Iterator<Item = &'static str> + Clone,
) -> Result<&'static str, String> {
    names.clone().find(|name| *name == word).ok_or_else(|| {
        format!("unknown: {word}; there are {}", names.collect::<Vec<_>>().join(", "))
    })
}
