//! `BatchNorm`: every pixel by the statistics of a batch, and by running ones.
#![forbid(unsafe_code)]

use evenkeel::{BatchNorm, Error, InOut, Moments, NormArgs, TrainArgs, reference, to_vec};

use crate::accuracy;
use crate::digits::Digits;
use crate::running::{BATCH, EPOCHS, Running, moments, train, variance};

const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.9;

pub fn run(digits: &Digits) -> Result<(), Error> {
    println!(
        "BatchNorm normalises each pixel over many digits: over the batch in training, by running \
         statistics in\ninference.\n"
    );
    let whole = moments(&digits.pixels, digits.rows)?;
    explain(digits, &whole);

    let batch_norm = BatchNorm::new().with_eps(EPS);
    assert_eq!(batch_norm.with_momentum(MOMENTUM), BatchNorm::new(), "both are the defaults");
    let average = |batches| batch_norm.with_cumulative_average(batches);
    let by_momentum = train(digits, |_| batch_norm.with_momentum(MOMENTUM))?;
    let by_average = train(digits, average)?;
    let unbiased = train(digits, |batches| average(batches).with_unbiased_running_var(true))?;
    print_distances(&by_momentum, &by_average, &whole);
    let [_, var] = unbiased[EPOCHS].distances(&whole);
    println!(
        "\n  The variance M2 / n of a batch is too small by 1/{BATCH} on average. \
         with_unbiased_running_var takes\n  M2 / (n - 1). Then the cumulative average ends {:.4} \
         from that of all digits at most, {:.4} on average.\n",
        var.largest, var.average,
    );

    let titles = ["least mean", "most mean", "least variance", "most variance"];
    let titles = titles.map(|title| format!("{title:>17}")).concat();
    println!("  {:<26}{titles}", "inference on all digits");
    let furthest = print_inference("momentum", digits, &by_momentum[EPOCHS], &whole)?;
    print_inference("cumulative average", digits, &by_average[EPOCHS], &whole)?;
    print_inference("the same by M2 / (n - 1)", digits, &unbiased[EPOCHS], &whole)?;
    let inked = digits.pixels.chunks_exact(whole.len()).filter(|it| it[furthest] != 0.0).count();
    println!(
        "\n  The table is about outputs of pixels that vary. By momentum, pixel {furthest} ends \
         furthest from the\n  variance 1. Digits with ink there: {inked} of {}.\n",
        digits.rows.rows(),
    );
    print_accuracy(digits, &unbiased[EPOCHS])
}

fn explain(digits: &Digits, whole: &[Moments]) {
    let (all, pixels) = (digits.rows.rows(), whole.len());
    let batches = all / BATCH;
    let constant: Vec<_> = whole.iter().filter(|it| it.m2 == 0.0).collect();
    assert!(constant.iter().all(|it| it.mean == 0.0), "pixels that do not vary are background");
    let weight = |batches: usize| 100.0 * MOMENTUM.powi(batches as i32);
    println!(
        "  {EPOCHS} epochs of {batches} batches of {BATCH} digits, in shuffled order. Running means \
         start at 0, variances at 1.",
    );
    println!(
        "  Momentum, the default: running = {MOMENTUM} * running + {:.1} * batch. The start has \
         {:.1} % of the\n  weight after an epoch, {:.2} % after {EPOCHS}. The last 10 batches have \
         {:.0} %, and their noise stays.",
        1.0 - MOMENTUM,
        weight(batches),
        weight(EPOCHS * batches),
        100.0 - weight(10),
    );
    println!(
        "  Cumulative average: running += (batch - running) / (k + 1) after k batches. All have the \
         same weight.\n",
    );
    println!(
        "  How far the running statistics are from those of all {all} digits, over {pixels} pixels, {} \
         of which are always 0:\n",
        constant.len(),
    );
}

/// Prints a line an epoch.
///
/// # Panics
///
/// If the cumulative average is not nearer in the end.
fn print_distances(by_momentum: &[Running], by_average: &[Running], whole: &[Moments]) {
    println!("  {:<10}{:>28}{:>49}", "", "momentum", "cumulative average");
    let titles =
        format!("{:>12}{:>10}{:>12}{:>10}", "mean: most", "average", "var: most", "average");
    println!("  {:<10}{titles}{titles}", "");
    for (epoch, (by_momentum, by_average)) in by_momentum.iter().zip(by_average).enumerate() {
        let name = if epoch == 0 { "start".to_owned() } else { format!("epoch {epoch}") };
        let (by_momentum, by_average) = (by_momentum.distances(whole), by_average.distances(whole));
        let cells: String = by_momentum
            .iter()
            .chain(&by_average)
            .map(|it| format!("{:>12.4}{:>10.4}", it.largest, it.average))
            .collect();
        println!("  {name:<10}{cells}");
        let nearer = by_average.iter().zip(&by_momentum).all(|(average, momentum)| {
            average.largest < momentum.largest && average.average < momentum.average
        });
        assert!(epoch < EPOCHS || nearer, "the cumulative average is nearer in the end");
    }
}

/// Prints the extremes of the moments of the outputs, and returns the pixel whose variance is
/// furthest from 1.
///
/// # Panics
///
/// If a pixel that does not vary does not become 0.
fn print_inference(
    rule: &str,
    digits: &Digits,
    running: &Running,
    whole: &[Moments],
) -> Result<usize, Error> {
    let (x, rows) = (&digits.pixels, digits.rows);
    let mut y = vec![0.0; rows.elements()];
    let batch_norm = BatchNorm::new().with_eps(EPS);
    let io = InOut::new(x, &mut y);
    batch_norm.forward_inference(io, rows, &running.mean, &running.var, NormArgs::new())?;
    let after = moments(&y, rows)?;
    let (varying, constant): (Vec<_>, Vec<_>) =
        (0..whole.len()).partition(|&pixel| whole[pixel].m2 > 0.0);
    assert!(constant.iter().all(|&it| (after[it].mean, after[it].m2) == (0.0, 0.0)), "0 stays 0");

    let cells: String = [|it: &Moments| it.mean, variance]
        .iter()
        .flat_map(|statistic| {
            let values = || varying.iter().map(|&pixel| statistic(&after[pixel]));
            [values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max)]
        })
        .map(|value| format!("{value:>17.4}"))
        .collect();
    println!("  {rule:<26}{cells}");
    let off = |pixel: usize| (variance(&after[pixel]) - 1.0).abs();
    Ok(varying.into_iter().max_by(|&a, &b| off(a).total_cmp(&off(b))).expect("pixels vary"))
}

/// Training takes all digits as one batch here; inference takes the running statistics as they are.
fn print_accuracy(digits: &Digits, running: &Running) -> Result<(), Error> {
    let (x, rows, batch_norm) = (&digits.pixels, digits.rows, BatchNorm::new().with_eps(EPS));
    let cols = rows.cols();
    accuracy::print_header();
    let definition = reference::normalize_scale_shift_columns;
    let (mean, rstd) = reference::batch_statistics(x, cols, EPS);
    accuracy::print(
        "BatchNorm training",
        digits,
        |gamma, beta| {
            let args = TrainArgs::new().maybe_gamma(gamma).maybe_beta(beta);
            to_vec(x.len(), |y| batch_norm.forward_training(InOut::uninit(x, y), rows, args))
        },
        |x, gamma, beta, y| definition(x, &mean, &rstd, gamma, beta, y),
    )?;
    let Running { mean, var } = running;
    let (exact_mean, rstd): (Vec<_>, Vec<_>) = mean
        .iter()
        .zip(var)
        .map(|(&mean, &var)| (f64::from(mean), reference::rstd(f64::from(var), EPS)))
        .unzip();
    accuracy::print(
        "BatchNorm inference",
        digits,
        |gamma, beta| {
            let args = NormArgs::new().maybe_gamma(gamma).maybe_beta(beta);
            to_vec(x.len(), |y| {
                batch_norm.forward_inference(InOut::uninit(x, y), rows, mean, var, args)
            })
        },
        |x, gamma, beta, y| definition(x, &exact_mean, &rstd, gamma, beta, y),
    )?;
    accuracy::print_footer(digits);
    Ok(())
}
