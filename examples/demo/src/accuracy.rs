//! Outputs beside the scalar reference.
#![forbid(unsafe_code)]

use evenkeel::Error;

use crate::digits::Digits;

/// Prints the heading of the lines of [`print`].
pub fn print_header() {
    println!("The largest error beside a scalar computation in f64\n");
    println!("  {:<48}{:>18}{:>18}", "", "error", "share of bound");
}

/// Prints the largest differences between an operation and its definition: without gamma and beta,
/// and with a ramp of each.
///
/// `forward` gets gamma and beta, and returns y of all digits; `reference` gets x, gamma, beta and y for one.
///
/// # Panics
///
/// If an element is outside the bound that the documentation of the operations promises,
/// `1e-6 * (|gamma| * max(1, |x_hat|) + |beta|)`.
pub fn print(
    operation: &str,
    digits: &Digits,
    forward: impl Fn(Option<&[f32]>, Option<&[f32]>) -> Result<Vec<f32>, Error>,
    reference: impl Fn(&[f32], Option<&[f32]>, Option<&[f32]>, &mut [f64]),
) -> Result<(), Error> {
    let cols = digits.rows.cols();
    let (gamma, beta) = (ramp(cols, 0.5, 2.0), ramp(cols, -1.0, 1.0));
    for (parameters, gamma, beta) in [
        ("gamma 1, beta 0", None, None),
        ("gamma 0.5 to 2, beta -1 to 1", Some(gamma.as_slice()), Some(beta.as_slice())),
    ] {
        let y = forward(gamma, beta)?;
        let (mut difference, mut share) = (0.0_f64, 0.0_f64);
        let (mut x_hat, mut exact) = (vec![0.0; cols], vec![0.0; cols]);
        for (x, y) in digits.pixels.chunks_exact(cols).zip(y.chunks_exact(cols)) {
            reference(x, None, None, &mut x_hat);
            reference(x, gamma, beta, &mut exact);
            for col in 0..cols {
                let gamma = gamma.map_or(1.0, |gamma| f64::from(gamma[col]));
                let beta = beta.map_or(0.0, |beta| f64::from(beta[col]));
                let bound = 1e-6 * (gamma.abs() * x_hat[col].abs().max(1.0) + beta.abs());
                let off = (f64::from(y[col]) - exact[col]).abs();
                assert!(off <= bound, "{operation}: {off:e} from the reference, not {bound:e}");
                difference = difference.max(off);
                share = share.max(off / bound);
            }
        }
        let share = format!("{:.1} %", share * 100.0);
        println!("  {operation:<20}{parameters:<28}{difference:>18.1e}{share:>18}");
    }
    Ok(())
}

/// Prints what [`print`] has proved of every line.
pub fn print_footer(digits: &Digits) {
    println!(
        "\n  All {} outputs of each line are within the promised bound,\n  \
         1e-6 * (|gamma| * max(1, |x_hat|) + |beta|).",
        digits.rows.elements(),
    );
}

/// `n` values from `first` to `last`, evenly spaced.
fn ramp(n: usize, first: f32, last: f32) -> Vec<f32> {
    (0..n).map(|i| first + (last - first) * i as f32 / (n - 1) as f32).collect()
}
