//! `LayerNorm` and `RmsNorm`: every digit by its own statistics.
#![forbid(unsafe_code)]

use evenkeel::{
    Error, InOut, LayerNorm, MomentArgs, Moments, NormArgs, RmsNorm, RowMoments, Rows, reference,
    to_vec,
};

use crate::accuracy;
use crate::digits::{Digits, PIXELS, draw};
use crate::table::{self, Column, fixed, scientific};

const EPS: f64 = 1e-5;
/// Normalised digits are drawn from one standard deviation below the mean to two above it: the same
/// shades for every digit, faint or bold.
const STANDARD_DEVIATIONS: (f32, f32) = (-1.0, 2.0);

pub fn run(digits: &Digits) -> Result<(), Error> {
    let (layer_norm, rms_norm) = (LayerNorm::new().with_eps(EPS), RmsNorm::new().with_eps(EPS));
    let (x, rows) = (digits.pixels.as_slice(), digits.rows);
    let mut y = vec![0.0; rows.elements()];
    let before = moments(x, rows)?;

    println!(
        "LayerNorm normalises each digit by itself: its mean becomes 0, its variance 1.\n\n  \
         To be exact, the variance becomes var / (var + {EPS:e}).\n"
    );
    layer_norm.forward(InOut::new(x, &mut y), rows, NormArgs::new())?;
    let after = moments(&y, rows)?;
    table::print(
        digits,
        &[
            column("mean before", &before, |it| it.mean, fixed),
            column("mean after", &after, |it| it.mean, scientific),
            column("variance before", &before, variance, fixed),
            column("variance after", &after, variance, fixed),
        ],
    );
    draw_faintest(digits, &before, &y);

    println!(
        "RmsNorm scales each digit by itself: its mean square becomes 1. The mean stays in.\n"
    );
    rms_norm.forward(InOut::new(x, &mut y), rows, NormArgs::new())?;
    let after = moments(&y, rows)?;
    table::print(
        digits,
        &[
            column("mean before", &before, |it| it.mean, fixed),
            column("mean after", &after, |it| it.mean, fixed),
            column("mean sq. before", &before, mean_square, fixed),
            column("mean sq. after", &after, mean_square, fixed),
        ],
    );

    accuracy::print_header();
    accuracy::print(
        "LayerNorm",
        digits,
        |gamma, beta| {
            let args = NormArgs::new().maybe_gamma(gamma).maybe_beta(beta);
            to_vec(x.len(), |y| layer_norm.forward(InOut::uninit(x, y), rows, args))
        },
        |x, gamma, beta, y| _ = reference::layer_norm(x, gamma, beta, EPS, y),
    )?;
    accuracy::print(
        "RmsNorm",
        digits,
        |gamma, beta| {
            let args = NormArgs::new().maybe_gamma(gamma).maybe_beta(beta);
            to_vec(x.len(), |y| rms_norm.forward(InOut::uninit(x, y), rows, args))
        },
        |x, gamma, beta, y| _ = reference::rms_norm(x, gamma, beta, EPS, y),
    )?;
    accuracy::print_footer(digits);
    Ok(())
}

fn moments(x: &[f32], rows: Rows) -> Result<Vec<Moments>, Error> {
    let mut moments = vec![Moments::new(); rows.rows()];
    RowMoments::new().compute(x, rows, &mut moments, MomentArgs::new())?;
    Ok(moments)
}

fn variance(moments: &Moments) -> f64 {
    moments.population_variance().expect("a digit has pixels")
}

fn mean_square(moments: &Moments) -> f64 {
    moments.mean * moments.mean + variance(moments)
}

fn column(
    title: &'static str,
    moments: &[Moments],
    statistic: fn(&Moments) -> f64,
    format: fn(f64) -> String,
) -> Column {
    Column { title, values: moments.iter().map(statistic).collect(), format }
}

/// Draws the digit of the least variance, which `LayerNorm` gives the contrast of all others.
fn draw_faintest(digits: &Digits, moments: &[Moments], y: &[f32]) {
    let faintest = (0..moments.len())
        .min_by(|&a, &b| variance(&moments[a]).total_cmp(&variance(&moments[b])))
        .expect("there are digits");
    let cols = digits.rows.cols();
    let pixels = faintest * cols..(faintest + 1) * cols;
    let before = draw(&digits.pixels[pixels.clone()], PIXELS);
    let after = draw(&y[pixels], STANDARD_DEVIATIONS);
    println!(
        "  Digit {faintest}, a {}, has the least variance. Its pixels, shaded from {} to {},\n  \
         and its values after LayerNorm, shaded from {} to {} standard deviations:\n",
        digits.labels[faintest], PIXELS.0, PIXELS.1, STANDARD_DEVIATIONS.0, STANDARD_DEVIATIONS.1,
    );
    for (before, after) in before.iter().zip(&after) {
        println!("{:16}|{before}|{:12}|{after}|", "", "");
    }
    println!();
}
