//! `Dropout`: how much is dropped, what stays in expectation, and the mask of the backward pass.
#![forbid(unsafe_code)]

use evenkeel::{
    Dropout, DropoutArgs, Error, InOut, Mask, MaskMut, MomentArgs, Moments, RowMoments, Rows,
    Stream, reference,
};

use crate::digits::{Digits, PIXELS, draw};

const PROBABILITIES: [f64; 3] = [0.1, 0.5, 0.9];
/// Calls for every probability, each on all digits.
const CALLS: usize = 16;
const SEED: u64 = 1;
/// The digit that is drawn, and its probability.
const DRAWN: (usize, f64) = (0, 0.5);
/// Standard deviations that chance does not exceed.
const CHANCE: f64 = 5.0;

/// What happened to the digits in all calls for a probability.
#[derive(Default)]
struct Outcome {
    y: Moments,
    kept: usize,
    /// The largest difference of y from the reference.
    difference: f64,
    /// Elements of dx that are not 0, where dy is nowhere 0.
    passed: usize,
    /// Elements of dx that the stored mask and the mask drawn again make different.
    differing: usize,
}

pub fn run(digits: &Digits) -> Result<(), Error> {
    let elements = CALLS * digits.rows.elements();
    println!(
        "Dropout zeroes each pixel with probability p and scales the others. The mean stays.\n"
    );
    println!(
        "  All digits, {CALLS} times for each p: {elements} elements. Each call draws from a part of \
         its own of\n  the stream with seed {SEED}. \"off\" is in standard deviations of \
         chance.\n",
    );
    // No two calls draw the same.
    let mut stream = Stream { seed: SEED, offset: 0 };
    let mut outcomes = Vec::new();
    for p in PROBABILITIES {
        outcomes.push(repeat(p, digits, &mut stream)?);
    }

    let x = moments(&digits.pixels)?;
    let mean_square = x.mean * x.mean + x.population_variance().expect("there are digits");
    line("p", ["realised p", "dropped", "off", "mean of x", "mean of y", "off"]);
    for (p, outcome) in PROBABILITIES.iter().zip(&outcomes) {
        let expected = Dropout::new().with_p(*p).realised_p()?;
        let seen = 1.0 - outcome.kept as f64 / elements as f64;
        let deviation = (expected * (1.0 - expected) / elements as f64).sqrt();
        let off = (seen - expected) / deviation;
        // The variance of an element of y is x^2 * p / (1 - p).
        let mean_deviation = (expected / (1.0 - expected) * mean_square / elements as f64).sqrt();
        let mean_off = (outcome.y.mean - x.mean) / mean_deviation;
        assert!(off.abs() < CHANCE && mean_off.abs() < CHANCE, "within chance");
        let [expected, seen, before, after] =
            [expected, seen, x.mean, outcome.y.mean].map(|value| format!("{value:.6}"));
        let [off, mean_off] = [off, mean_off].map(|value| format!("{value:+.2}"));
        line(&p.to_string(), [&expected, &seen, &off, &before, &after, &mean_off]);
    }

    println!();
    draw_digit(digits, stream)?;

    println!(
        "  Forward: the largest error of y. Backward, of a dy without zeros: how many elements of dx \
         are not 0,\n  and how many differ between the stored mask and the mask drawn again from \
         the stream.\n",
    );
    line("p", ["kept", "error of y", "dx: not 0", "dx: differing"]);
    for (p, Outcome { kept, difference, passed, differing, .. }) in
        PROBABILITIES.iter().zip(&outcomes)
    {
        assert_eq!(*difference, 0.0, "equal bits are equal numbers");
        assert_eq!((passed, *differing), (kept, 0), "one mask, forward and backward");
        line(
            &p.to_string(),
            [kept.to_string(), difference.to_string(), passed.to_string(), differing.to_string()],
        );
    }
    Ok(())
}

/// Drops from all digits again and again, by the next indices of the stream.
///
/// # Panics
///
/// If an element of y does not have the bits of the reference.
fn repeat(p: f64, digits: &Digits, stream: &mut Stream) -> Result<Outcome, Error> {
    let dropout = Dropout::new().with_p(p);
    // With the realised p, the stored mask and the mask drawn again have one scale.
    let dropout = dropout.with_p(dropout.realised_p()?);
    let x = &digits.pixels;
    let dy: Vec<f32> = x.iter().map(|x| x + 1.0).collect();
    let scale = dropout.scale()?;
    let mut outcome = Outcome::default();
    let mut mask = vec![0; x.len().div_ceil(8)];
    let (mut y, mut dx, mut again) = (vec![0.0; x.len()], vec![0.0; x.len()], vec![0.0; x.len()]);
    for _ in 0..CALLS {
        let args = DropoutArgs::draw(*stream).keep_mask(MaskMut::Packed(&mut mask));
        dropout.forward(InOut::new(x, &mut y), args)?;
        outcome.y.merge(&moments(&y)?);
        outcome.kept += mask.iter().map(|bits| bits.count_ones() as usize).sum::<usize>();
        let keep = reference::dropout_mask(p, stream.seed, stream.offset, x.len());
        for ((x, y), keep) in x.iter().zip(&y).zip(keep) {
            let exact = if keep { x * scale } else { 0.0 };
            assert_eq!(y.to_bits(), exact.to_bits(), "y is that of the reference");
            outcome.difference = outcome.difference.max(f64::from((y - exact).abs()));
        }

        dropout.backward(InOut::new(&dy, &mut dx), Mask::Packed(&mask))?;
        dropout.backward(InOut::new(&dy, &mut again), *stream)?;
        outcome.passed += dx.iter().filter(|&&dx| dx != 0.0).count();
        let differs = |(dx, again): &(&f32, &f32)| dx.to_bits() != again.to_bits();
        outcome.differing += dx.iter().zip(&again).filter(differs).count();
        stream.offset += x.len() as u64;
    }
    Ok(outcome)
}

/// Draws a digit, its mask and what is left of it.
fn draw_digit(digits: &Digits, stream: Stream) -> Result<(), Error> {
    let ((digit, p), cols) = (DRAWN, digits.rows.cols());
    let dropout = Dropout::new().with_p(p);
    let (x, label) = (&digits.pixels[digit * cols..][..cols], digits.labels[digit]);
    let (mut y, mut mask) = (vec![0.0; x.len()], vec![0; x.len()]);
    let args = DropoutArgs::draw(stream).keep_mask(MaskMut::Bytes(&mut mask));
    dropout.forward(InOut::new(x, &mut y), args)?;
    let mask: Vec<f32> = mask.into_iter().map(f32::from).collect();
    let scaled = (PIXELS.0, PIXELS.1 * dropout.scale()?);
    println!(
        "  Digit {digit}, a {label}, shaded from {} to {}; its mask for p = {p}, dark where a \
         pixel\n  is kept; and what is left, shaded from {} to {}:\n",
        PIXELS.0, PIXELS.1, scaled.0, scaled.1,
    );
    let panels = [draw(x, PIXELS), draw(&mask, (0.0, 1.0)), draw(&y, scaled)];
    for line in 0..panels[0].len() {
        let [x, mask, y] = panels.each_ref().map(|panel| &panel[line]);
        println!("{:16}|{x}|{:6}|{mask}|{:6}|{y}|", "", "", "");
    }
    println!();
    Ok(())
}

/// The moments of all elements.
fn moments(x: &[f32]) -> Result<Moments, Error> {
    let mut moments = [Moments::new()];
    RowMoments::new().compute(x, Rows::new(1, x.len())?, &mut moments, MomentArgs::new())?;
    Ok(moments[0])
}

fn line<const N: usize>(name: &str, cells: [impl AsRef<str>; N]) {
    let cells: String = cells.iter().map(|cell| format!("{:>15}", cell.as_ref())).collect();
    println!("  {name:<4}{cells}");
}
