//! The scalers: every pixel standardised, or mapped to a range, by statistics that are learnt in mini-batches.
#![forbid(unsafe_code)]

use evenkeel::preprocess::{MinMaxScaler, StandardScaler};
use evenkeel::{Error, InOut, Moments, Rows, reference};

use crate::digits::Digits;

/// Sizes of mini-batches. The last batch of each has what is left.
const BATCHES: [usize; 4] = [1, 7, 128, 1000];
/// How far the statistics of batches may be from those of all digits: of the variance, and of the deviation.
const MOST: f64 = 1e-12;

pub fn run(digits: &Digits) -> Result<(), Error> {
    let (x, rows) = (&digits.pixels, digits.rows);
    println!(
        "StandardScaler and MinMaxScaler learn the mean, variance and range of each pixel from \
         mini-batches.\nThe result is that of all digits at once.\n"
    );
    let (mut whole, mut range) =
        (StandardScaler::new(rows.cols())?, MinMaxScaler::new(rows.cols())?);
    whole.fit(x, rows)?;
    range.fit(x, rows)?;
    let mut expected = vec![0.0; rows.elements()];
    whole.transform(InOut::new(x, &mut expected), rows)?;

    let titles = ["batches", "mean off by", "variance off by", "output off by", "ranges"];
    let titles: String = titles.iter().map(|title| format!("{title:>17}")).collect();
    println!("  {:<26}{titles}", "digits of a mini-batch");
    for size in BATCHES {
        let (scaler, ranges) = in_batches(digits, size, 1)?;
        print_distance(&size.to_string(), digits, &scaler, &whole, &expected)?;
        assert_eq!(ranges[0].data_min(), range.data_min(), "minima are exact");
        assert_eq!(ranges[0].data_max(), range.data_max(), "maxima are exact");
    }
    let (merged, ranges) = in_batches(digits, 128, 3)?;
    print_distance("128, three merged scalers", digits, &merged, &whole, &expected)?;
    let mut all = MinMaxScaler::new(rows.cols())?;
    for part in &ranges {
        all.merge(part)?;
    }
    assert_eq!((all.data_min(), all.data_max()), (range.data_min(), range.data_max()));
    println!(
        "\n  Means are off in units of the standard deviation, variances relative to themselves, each by at most {MOST:e}.\n"
    );
    print_accuracy(digits, &whole, &expected)
}

/// A scaler fitted in mini-batches from the last digit to the first, by `parts` scalers in turn that are merged, and
/// those of the ranges.
fn in_batches(
    digits: &Digits,
    size: usize,
    parts: usize,
) -> Result<(StandardScaler, Vec<MinMaxScaler>), Error> {
    let cols = digits.rows.cols();
    let mut scalers = vec![StandardScaler::new(cols)?; parts];
    let mut ranges = vec![MinMaxScaler::new(cols)?; parts];
    for (i, batch) in digits.pixels.chunks(size * cols).rev().enumerate() {
        let rows = Rows::new(batch.len() / cols, cols)?;
        scalers[i % parts].partial_fit(batch, rows)?;
        ranges[i % parts].partial_fit(batch, rows)?;
    }
    let mut all = StandardScaler::new(cols)?;
    for scaler in &scalers {
        all.merge(scaler)?;
    }
    Ok((all, ranges))
}

/// Prints how far a scaler and its outputs are from that of all digits.
///
/// # Panics
///
/// If mean or variance is further than [`MOST`].
fn print_distance(
    name: &str,
    digits: &Digits,
    scaler: &StandardScaler,
    whole: &StandardScaler,
    expected: &[f32],
) -> Result<(), Error> {
    let pairs = || scaler.moments().iter().zip(whole.moments());
    let std = |it: &Moments| it.population_variance().expect("there are digits").sqrt();
    let relative = |off: f64, of: f64| if off == 0.0 { 0.0 } else { off / of };
    let mean = pairs().map(|(a, b)| relative((a.mean - b.mean).abs(), std(b)));
    let var = pairs().map(|(a, b)| relative((a.m2 - b.m2).abs(), b.m2));
    let [mean, var] = [mean.fold(0.0, f64::max), var.fold(0.0, f64::max)];
    assert!(mean <= MOST && var <= MOST, "batches are one fit: {mean:e}, {var:e}");
    assert!(pairs().all(|(a, b)| a.count == b.count), "every digit is counted");

    let mut y = vec![0.0; expected.len()];
    scaler.transform(InOut::new(&digits.pixels, &mut y), digits.rows)?;
    let off = y.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let batches = if name.starts_with("128") { 128 } else { name.parse().unwrap_or(1) };
    let batches = digits.rows.rows().div_ceil(batches);
    println!("  {name:<26}{batches:>17}{mean:>17.1e}{var:>17.1e}{off:>17.1e}{:>17}", "equal");
    Ok(())
}

/// Prints what the outputs are like, and how far from the definition and, back again, from the digits.
///
/// # Panics
///
/// If an output is not within the promised bound.
fn print_accuracy(digits: &Digits, scaler: &StandardScaler, y: &[f32]) -> Result<(), Error> {
    let (x, cols) = (&digits.pixels, digits.rows.cols());
    let constant = scaler.var().filter(|&var| var == 0.0).count();
    let mut worst = 0.0_f64;
    for (i, (&x, &y)) in x.iter().zip(y).enumerate() {
        let exact = reference::standardized(x, scaler.mean()[i % cols], scaler.scale()[i % cols]);
        worst = worst.max((f64::from(y) - exact).abs() / exact.abs().max(1.0));
    }
    assert!(worst <= 1e-6, "an output is off by {worst:e}");
    let mut back = y.to_vec();
    scaler.inverse_transform(InOut::in_place(&mut back), digits.rows)?;
    let off = back.iter().zip(x).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!(
        "  {constant} pixels are constant: their scale is 1, and they become 0. The largest error of an output is \
         {worst:.1e}\n  of max(1, |y|); 1e-6 is promised. Transformed back, pixels are off by {off:.1e} of 16.",
    );
    Ok(())
}
