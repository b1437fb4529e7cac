//! Law: on exact data the statistics are exact, tolerance 0, and outputs are within 5e-7. Every operation that takes
//! statistics, every backend, every length, as rows and as columns.
#![forbid(unsafe_code)]

use evenkeel::{
    BatchNorm, ColumnMoments, InOut, LayerNorm, MomentArgs, Moments, RmsNorm, RowMoments, reference,
};

use crate::columns::moments_of;
use crate::common::*;

const EPS: [f64; 2] = [0.0, 1.0 / 16.0];

/// Lines of exact data, each of the next set, and their exact moments. They are the rows or the columns of a matrix.
struct Lines {
    x: Vec<Vec<f32>>,
    moments: Vec<Moments>,
}

impl Lines {
    fn new<'a>(sets: impl Iterator<Item = &'a ExactSet>, len: usize, random: &mut Random) -> Self {
        let (mut x, mut moments) = (Vec::new(), Vec::new());
        for set in sets {
            let (line, m2) = set.make(len, random);
            moments.push(Moments { count: len as u64, mean: set.mean, m2, ..Moments::new() });
            x.push(line);
        }
        Self { x, moments }
    }

    fn mean(&self) -> Vec<f64> {
        self.moments.iter().map(|moments| moments.mean).collect()
    }

    fn var(&self) -> Vec<f64> {
        self.moments.iter().map(|moments| moments.population_variance().unwrap()).collect()
    }

    /// The mean of squares is (M2 + n * mean^2) / n.
    fn mean_square(&self) -> Vec<f64> {
        let of = |Moments { count, mean, m2, .. }: &Moments| {
            let n = *count as f64;
            (m2 + n * mean * mean) / n
        };
        self.moments.iter().map(of).collect()
    }

    fn as_rows(&self) -> Vec<f32> {
        self.x.concat()
    }

    fn as_columns(&self) -> Vec<f32> {
        let row = |r: usize| self.x.iter().map(move |line| line[r]);
        (0..self.x[0].len()).flat_map(row).collect()
    }
}

fn rstd(var: &[f64], eps: f64) -> Vec<f64> {
    var.iter().map(|&var| reference::rstd(var, eps)).collect()
}

/// So many rows that short ones are worked on sixteen at a time, longer ones several, and that some are left over.
fn row_count(len: usize) -> usize {
    if len <= 130 { 2 * LANES + 5 } else { EXACT_SETS.len() }
}

/// Widths of matrices: one column, several rows to a vector, a vector, and more.
fn widths(len: usize) -> &'static [usize] {
    if len < 5 * BLOCK { &[1, 3, 16, 37] } else { &[1, 11] }
}

type Affine = Option<(Vec<f32>, Vec<f32>)>;

/// gamma and beta: neither, or both.
fn affines(len: usize, random: &mut Random) -> [Affine; 2] {
    [None, Some((random.normals(len), random.normals(len)))]
}

fn slices(affine: &Affine) -> (Option<&[f32]>, Option<&[f32]>) {
    affine.as_ref().map(|(gamma, beta)| (&gamma[..], &beta[..])).unzip()
}

/// Asserts the outputs of a row or column that has this mean and rstd. Where they are not scaled and shifted, the
/// bound is relative to each of them.
#[track_caller]
fn assert_line(what: &str, x: &[f32], y: &[f32], (mean, rstd): (f64, f64), affine: &Affine) {
    let (gamma, beta) = slices(affine);
    let (mut x_hat, mut expected) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    reference::normalize_scale_shift(x, mean, rstd, None, None, &mut x_hat);
    reference::normalize_scale_shift(x, mean, rstd, gamma, beta, &mut expected);
    assert_output_within(EXACT_OUTPUT, what, y, &x_hat, &expected, gamma, beta);
    if affine.is_none() {
        for (i, (&y, &expected)) in y.iter().zip(&expected).enumerate() {
            assert!(
                (f64::from(y) - expected).abs() <= EXACT_OUTPUT * expected.abs() + SUBNORMAL,
                "{what}: element {i}: expected {expected:e}, got {y:e}"
            );
        }
    }
}

/// What the others compare with.
#[test]
fn the_reference_is_exact() {
    let random = &mut Random::new(1);
    for len in exact_lengths() {
        for set in EXACT_SETS {
            let (x, m2) = set.make(len, random);
            let expected = (set.mean, m2 / len as f64);
            assert_eq!(reference::mean_variance(&x), expected, "{}, {len} elements", set.name);
        }
    }
}

#[test]
fn exact_rows_have_exact_moments() {
    let random = &mut Random::new(2);
    for len in exact_lengths() {
        let count = row_count(len);
        let lines = Lines::new(EXACT_SETS.iter().cycle().take(count), len, random);
        let x = lines.as_rows();
        for backend in backends() {
            let mut moments = vec![Moments::new(); count];
            let operation = RowMoments::new().with_backend(backend);
            operation.compute(&x, rows(count, len), &mut moments, MomentArgs::new()).unwrap();
            assert_eq!(moments, lines.moments, "{backend}, {count} rows of {len}");
        }
    }
}

#[test]
fn exact_columns_have_exact_moments() {
    let random = &mut Random::new(3);
    for len in exact_lengths() {
        for &cols in widths(len) {
            let lines = Lines::new(EXACT_SETS.iter().cycle().skip(cols).take(cols), len, random);
            let x = lines.as_columns();
            for backend in backends() {
                let operation = ColumnMoments::new().with_backend(backend);
                let moments = moments_of(operation, &x, (len, cols));
                assert_eq!(moments, lines.moments, "{backend}, {cols} columns of {len}");
            }
        }
    }
}

#[test]
fn layer_norm_of_exact_rows() {
    let random = &mut Random::new(4);
    for len in exact_lengths() {
        let count = row_count(len);
        let lines = Lines::new(EXACT_SETS.iter().cycle().take(count), len, random);
        let (x, shape, mean) = (lines.as_rows(), rows(count, len), lines.mean());
        let affines = affines(len, random);
        for eps in EPS {
            let rstd = rstd(&lines.var(), eps);
            for (backend, affine) in each(&affines) {
                let (gamma, beta) = slices(affine);
                let what = format!("{backend}, {count} rows of {len}, eps {eps}");
                let mut y = vec![f32::NAN; x.len()];
                let (mut got_mean, mut got_rstd) = (vec![f64::NAN; count], vec![f64::NAN; count]);
                let operation = LayerNorm::new().with_eps(eps).with_backend(backend);
                let args = norm_args(gamma, beta).stats(&mut got_mean, &mut got_rstd);
                operation.forward(InOut::new(&x, &mut y), shape, args).unwrap();
                assert_eq!((&got_mean, &got_rstd), (&mean, &rstd), "{what}");
                for (r, y) in y.chunks_exact(len).enumerate() {
                    let what = format!("{what}, row {r}");
                    assert_line(&what, &lines.x[r], y, (mean[r], rstd[r]), affine);
                }
            }
        }
    }
}

/// Of those data whose squares have exact sums.
#[test]
fn rms_norm_of_exact_rows() {
    let random = &mut Random::new(5);
    let sets = || EXACT_SETS.iter().filter(|set| set.has_exact_squares());
    assert!(sets().count() > 5, "most sets have exact squares");
    for len in exact_lengths() {
        let count = row_count(len);
        let lines = Lines::new(sets().cycle().take(count), len, random);
        let (x, shape) = (lines.as_rows(), rows(count, len));
        let affines = affines(len, random);
        for eps in EPS {
            let rstd = rstd(&lines.mean_square(), eps);
            for (backend, affine) in each(&affines) {
                let (gamma, beta) = slices(affine);
                let what = format!("{backend}, {count} rows of {len}, eps {eps}");
                let (mut y, mut got) = (vec![f32::NAN; x.len()], vec![f64::NAN; count]);
                let operation = RmsNorm::new().with_eps(eps).with_backend(backend);
                let args = norm_args(gamma, beta).rstd(&mut got);
                operation.forward(InOut::new(&x, &mut y), shape, args).unwrap();
                assert_eq!(got, rstd, "{what}");
                for (r, y) in y.chunks_exact(len).enumerate() {
                    let what = format!("{what}, row {r}");
                    assert_line(&what, &lines.x[r], y, (0.0, rstd[r]), affine);
                }
            }
        }
    }
}

/// With momentum 0 the running statistics are those of the batch.
#[test]
fn batch_norm_of_exact_columns() {
    let random = &mut Random::new(6);
    for len in exact_lengths() {
        for &cols in widths(len) {
            let lines = Lines::new(EXACT_SETS.iter().cycle().skip(cols).take(cols), len, random);
            let (x, shape, mean, var) =
                (lines.as_columns(), rows(len, cols), lines.mean(), lines.var());
            let affines = affines(cols, random);
            for eps in EPS {
                let rstd = rstd(&var, eps);
                for (backend, affine) in each(&affines) {
                    let (gamma, beta) = slices(affine);
                    let what = format!("{backend}, {cols} columns of {len}, eps {eps}");
                    let mut y = vec![f32::NAN; x.len()];
                    let (mut got_mean, mut got_rstd) = (vec![f64::NAN; cols], vec![f64::NAN; cols]);
                    let (mut running_mean, mut running_var) = (vec![1.0; cols], vec![1.0; cols]);
                    let operation = BatchNorm::new().with_eps(eps).with_backend(backend);
                    let operation = operation.with_momentum(0.0);
                    train_past_overflow(&mut running_var, |running_var| {
                        let args = train_args(gamma, beta)
                            .stats(&mut got_mean, &mut got_rstd)
                            .running(&mut running_mean, running_var);
                        operation.forward_training(InOut::new(&x, &mut y), shape, args).map(drop)
                    });
                    assert_eq!((&got_mean, &got_rstd), (&mean, &rstd), "{what}");
                    let rounded = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<_>>();
                    assert_eq!(running_mean, rounded(&mean), "{what}");
                    assert_eq!(running_var, rounded(&var), "{what}");
                    for c in 0..cols {
                        let repeated = affine
                            .as_ref()
                            .map(|(gamma, beta)| (vec![gamma[c]; len], vec![beta[c]; len]));
                        let y = reference::column(&y, cols, c);
                        let what = format!("{what}, column {c}");
                        assert_line(&what, &lines.x[c], &y, (mean[c], rstd[c]), &repeated);
                    }
                }
            }
        }
    }
}

/// Every backend with each.
fn each<T>(of: &[T]) -> impl Iterator<Item = (evenkeel::Backend, &T)> {
    backends().into_iter().flat_map(move |backend| of.iter().map(move |one| (backend, one)))
}
