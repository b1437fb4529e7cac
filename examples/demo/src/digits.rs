//! The digits: reading and drawing them.
#![forbid(unsafe_code)]

use evenkeel::{Error, Rows};

/// Pixels along an edge.
pub const SIDE: usize = 8;
/// The range of a pixel: background to ink.
pub const PIXELS: (f32, f32) = (0.0, 16.0);

const CSV: &str = include_str!("../../../data/digits.csv");
const RAMP: [char; 10] = [' ', '.', ':', '-', '=', '+', '*', '#', '%', '@'];

/// The data set, one digit a row.
pub struct Digits {
    pub pixels: Vec<f32>,
    pub labels: Vec<u8>,
    pub rows: Rows,
}

impl Digits {
    /// Reads `data/digits.csv`, which is part of the program.
    pub fn load() -> Result<Self, Error> {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for line in CSV.lines() {
            let (row, label) = line.rsplit_once(',').expect("a line is pixels, then a label");
            pixels.extend(row.split(',').map(|it| it.parse::<f32>().expect("a pixel is a number")));
            labels.push(label.parse().expect("a label is a digit"));
        }
        assert_eq!(pixels.len(), labels.len() * SIDE * SIDE, "every digit has all its pixels");
        let rows = Rows::new(labels.len(), SIDE * SIDE)?;
        Ok(Self { pixels, labels, rows })
    }
}

/// The lines of a digit. `low` is drawn blank and `high` darkest, and what is outside as these.
///
/// A pixel is two characters, since characters are about twice as high as wide.
pub fn draw(digit: &[f32], (low, high): (f32, f32)) -> Vec<String> {
    let shade = |value: f32| {
        let step = (value - low) / (high - low) * RAMP.len() as f32;
        RAMP[(step.max(0.0) as usize).min(RAMP.len() - 1)]
    };
    digit
        .chunks_exact(SIDE)
        .map(|line| line.iter().flat_map(|&value| [shade(value); 2]).collect())
        .collect()
}
