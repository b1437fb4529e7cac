//! Tables of statistics, one a digit: a few digits, then the extremes and the mean of all.
#![forbid(unsafe_code)]

use crate::digits::Digits;

/// How many digits have a line of their own.
const SHOWN: usize = 5;

/// What a line says of all digits.
type Summary = fn(&[f64]) -> f64;

/// A statistic of every digit.
pub struct Column {
    pub title: &'static str,
    pub values: Vec<f64>,
    pub format: fn(f64) -> String,
}

/// Prints the columns, which are as long as there are digits.
pub fn print(digits: &Digits, columns: &[Column]) {
    line("", columns, |column| column.title.to_owned());
    for (index, label) in digits.labels.iter().enumerate().take(SHOWN) {
        line(&format!("digit {index}, a {label}"), columns, |column| {
            (column.format)(column.values[index])
        });
    }
    let summaries: [(&str, Summary); 3] = [
        ("least of all", |values| values.iter().copied().fold(f64::INFINITY, f64::min)),
        ("mean of all", |values| values.iter().sum::<f64>() / values.len() as f64),
        ("most of all", |values| values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
    ];
    for (name, summary) in summaries {
        line(name, columns, |column| (column.format)(summary(&column.values)));
    }
    println!();
}

fn line(name: &str, columns: &[Column], cell: impl Fn(&Column) -> String) {
    let cells: String = columns.iter().map(|column| format!("{:>18}", cell(column))).collect();
    println!("  {name:<14}{cells}");
}

/// For values of the order of 1.
pub fn fixed(value: f64) -> String {
    format!("{value:.6}")
}

/// For values that may be rounding errors.
pub fn scientific(value: f64) -> String {
    format!("{value:.1e}")
}
