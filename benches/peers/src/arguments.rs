//! What to compare.

use crate::problem::Operation;

pub const USAGE: &str = "usage: evenkeel-peers [--seconds S] [--op NAME]... [--shape ROWSxCOLS]...";

/// A row alone, and shapes that live in L2, in a large L3 and in memory.
const SHAPES: [(usize, usize); 4] = [(1, 768), (128, 768), (2048, 1024), (4096, 4096)];

pub struct Arguments {
    /// For everything.
    pub seconds: f64,
    pub operations: Vec<Operation>,
    pub shapes: Vec<(usize, usize)>,
}

impl Arguments {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self { seconds: 60.0, operations: vec![], shapes: vec![] };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--seconds" => arguments.seconds = seconds(&value()?)?,
                "--op" => arguments.operations.push(operation(&value()?)?),
                "--shape" => arguments.shapes.push(shape(&value()?)?),
                _ => return Err(format!("unknown argument: {word}")),
            }
        }
        if arguments.operations.is_empty() {
            arguments.operations = Operation::ALL.to_vec();
        }
        if arguments.shapes.is_empty() {
            arguments.shapes = SHAPES.to_vec();
        }
        Ok(arguments)
    }
}

fn seconds(word: &str) -> Result<f64, String> {
    let number = word.parse::<f64>().ok().filter(|s| s.is_finite() && *s > 0.0);
    number.ok_or_else(|| format!("no number of seconds: {word}"))
}

fn operation(word: &str) -> Result<Operation, String> {
    Operation::ALL.into_iter().find(|operation| operation.name() == word).ok_or_else(|| {
        let names = Operation::ALL.map(Operation::name).join(", ");
        format!("unknown operation: {word}; there are {names}")
    })
}

fn shape(word: &str) -> Result<(usize, usize), String> {
    word.split_once('x')
        .and_then(|(rows, cols)| Some((rows.parse().ok()?, cols.parse().ok()?)))
        .filter(|&(rows, cols): &(usize, usize)| rows.checked_mul(cols).is_some_and(|n| n > 0))
        .ok_or_else(|| format!("no shape ROWSxCOLS: {word}"))
}
