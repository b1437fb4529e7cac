//! Scalers and norms: the known answers of scikit-learn, the definition on hard data, and the laws of batches.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::mem::MaybeUninit;

use evenkeel::preprocess::{MinMaxScaler, Norm, Normalizer, StandardScaler};
use evenkeel::{Backend, Error, InOut, Moments, Parallelism, Stores, reference};

use crate::columns::{FOLDED, matrix};
use crate::common::*;
use crate::golden::{hash, words, words64};

/// How far the statistics of batches may be from those of all samples at once, relative to variance and deviation.
const BATCHES: f64 = 1e-12;

const NORMS: [Norm; 3] = [Norm::L1, Norm::L2, Norm::Max];

/// Shapes around vectors, blocks and panels, and narrow ones.
fn shapes() -> impl Iterator<Item = (usize, usize)> {
    let counts = [1, 2, 7, 8, 9, 64, 255, 256, 257, 700].into_iter();
    let widths = [1, 3, 16, 17, 64, 300, 1041];
    let all = counts.flat_map(move |count| widths.into_iter().map(move |cols| (count, cols)));
    let most = if short() { 10_000 } else { 320_000 };
    all.chain(FOLDED).chain([(257, 1041), (1100, 256)]).filter(move |(n, cols)| n * cols <= most)
}

fn unfitted(
    cols: usize,
    backend: Backend,
    parallelism: Parallelism,
) -> (StandardScaler, MinMaxScaler) {
    let (standard, min_max) =
        (StandardScaler::new(cols).unwrap(), MinMaxScaler::new(cols).unwrap());
    let standard = standard.with_backend(backend).with_parallelism(parallelism);
    (standard, min_max.with_backend(backend).with_parallelism(parallelism))
}

fn standard(backend: Backend, x: &[f32], shape: (usize, usize)) -> StandardScaler {
    let mut scaler = StandardScaler::new(shape.1).unwrap().with_backend(backend);
    scaler.fit(x, rows(shape.0, shape.1)).unwrap();
    scaler
}

fn min_max(backend: Backend, x: &[f32], shape: (usize, usize)) -> MinMaxScaler {
    let mut scaler = MinMaxScaler::new(shape.1).unwrap().with_backend(backend);
    scaler.fit(x, rows(shape.0, shape.1)).unwrap();
    scaler
}

fn moment_bits(moments: &[Moments]) -> Vec<[u64; 4]> {
    let bits = |m: &Moments| [m.count, bits64(m.mean), bits64(m.mean_low), bits64(m.m2)];
    moments.iter().map(bits).collect()
}

/// Asserts that the moments of every column are those of another set, or of the definition.
#[track_caller]
fn assert_moments(what: &str, expected: &[Moments], got: &[Moments]) {
    assert_eq!(expected.len(), got.len(), "{what}");
    for (c, (expected, got)) in expected.iter().zip(got).enumerate() {
        assert_eq!(expected.count, got.count, "{what}, column {c}: count");
        if expected.mean.is_nan() {
            assert!(got.mean.is_nan() && got.m2.is_nan(), "{what}, column {c}: {got:?}");
            continue;
        }
        let std = (expected.m2 / (expected.count.max(1)) as f64).sqrt();
        let bound = BATCHES * std + 3e-16 * expected.mean.abs();
        assert!(
            (expected.mean - got.mean).abs() <= bound,
            "{what}, column {c}: mean: expected {:e}, got {:e}, std {std:e}",
            expected.mean,
            got.mean
        );
        assert!(
            approx::relative_eq!(expected.m2, got.m2, epsilon = 0.0, max_relative = BATCHES),
            "{what}, column {c}: M2: expected {:e}, got {:e}, error {:e}",
            expected.m2,
            got.m2,
            (got.m2 - expected.m2) / expected.m2
        );
    }
}

/// The moments of every column by the definition, NaN ignored.
fn definition(x: &[f32], cols: usize) -> Vec<Moments> {
    let of_column = |c| {
        let mut column = reference::column(x, cols, c);
        column.retain(|x| !x.is_nan());
        if column.is_empty() {
            return Moments::new();
        }
        let (mean, var) = reference::mean_variance(&column);
        let m2 = var * column.len() as f64;
        Moments { count: column.len() as u64, mean, mean_low: 0.0, m2 }
    };
    (0..cols).map(of_column).collect()
}

/// A real data set: its samples, and what scikit-learn makes of them.
struct Known {
    name: &'static str,
    x: Vec<f32>,
    shape: (usize, usize),
    answers: HashMap<&'static str, Vec<f64>>,
}

fn known() -> Vec<Known> {
    let sets = [
        ("iris", include_str!("../../data/iris.csv"), (150, 4)),
        ("wine", include_str!("../../data/wine.csv"), (178, 13)),
        ("breast_cancer", include_str!("../../data/breast_cancer.csv"), (569, 30)),
        ("digits", include_str!("../../data/digits.csv"), (1797, 64)),
    ];
    sets.into_iter()
        .map(|(name, csv, shape)| {
            // All but the digits have a line of titles; the last number of a line is the label.
            let lines = csv.lines().skip(usize::from(name != "digits"));
            let x: Vec<f32> = lines
                .flat_map(|line| line.split(',').take(shape.1))
                .map(|number| number.parse().expect("a number"))
                .collect();
            assert_eq!(x.len(), shape.0 * shape.1, "{name}");
            let answers = include_str!("scikit_learn.txt").lines().filter_map(|line| {
                let mut words = line.split(' ');
                let is_of_set = words.next() == Some(name);
                let what = words.next()?;
                let numbers = words.map(|word| word.parse().expect("a number")).collect();
                is_of_set.then_some((what, numbers))
            });
            Known { name, x, shape, answers: answers.collect() }
        })
        .collect()
}

impl Known {
    #[track_caller]
    fn assert(&self, what: &str, backend: Backend, got: impl IntoIterator<Item = f64>) {
        let (name, expected) = (self.name, &self.answers[what]);
        let got: Vec<f64> = got.into_iter().collect();
        assert_eq!(got.len(), expected.len(), "{name}, {what}");
        for (c, (&expected, got)) in expected.iter().zip(got).enumerate() {
            // Nine digits are in the table.
            let bound = 1e-6 * expected.abs().max(1.0);
            assert!(
                approx::abs_diff_eq!(got, expected, epsilon = bound),
                "{backend}, {name}, {what} of feature {c}: expected {expected:e}, got {got:e}"
            );
        }
    }
}

/// Statistics within 1e-6 relative, outputs within `1e-6 * max(1, |y|)`.
#[test]
fn known_answers_of_scikit_learn() {
    for (known, backend) in
        known().iter().flat_map(|known| backends().into_iter().map(move |b| (known, b)))
    {
        let (count, cols) = known.shape;
        let shape = rows(count, cols);
        let scaler = standard(backend, &known.x, known.shape);
        let relative = |what: &str, got: &mut dyn Iterator<Item = f64>| {
            for (c, (&expected, got)) in known.answers[what].iter().zip(got).enumerate() {
                assert!(
                    approx::relative_eq!(got, expected, epsilon = 1e-300, max_relative = 1e-8),
                    "{backend}, {}, {what} of feature {c}: expected {expected:e}, got {got:e}",
                    known.name
                );
            }
        };
        relative("mean", &mut scaler.mean().iter().copied());
        relative("var", &mut scaler.var());
        relative("scale", &mut scaler.scale().iter().copied());
        let ranges = min_max(backend, &known.x, known.shape).with_feature_range(-1.0, 3.0);
        relative("min", &mut ranges.data_min().iter().map(|&x| x.into()));
        relative("max", &mut ranges.data_max().iter().map(|&x| x.into()));

        let last = (count - 1) * cols..count * cols;
        let mut y = vec![0.0; known.x.len()];
        let last_of = |y: &[f32]| y[last.clone()].iter().map(|&y| y.into()).collect::<Vec<f64>>();
        scaler.transform(InOut::new(&known.x, &mut y), shape).unwrap();
        known.assert("standard", backend, last_of(&y));
        scaler.clone().with_mean(false).transform(InOut::new(&known.x, &mut y), shape).unwrap();
        known.assert("no_mean", backend, last_of(&y));
        scaler.with_std(false).transform(InOut::new(&known.x, &mut y), shape).unwrap();
        known.assert("no_std", backend, last_of(&y));
        ranges.transform(InOut::new(&known.x, &mut y), shape).unwrap();
        known.assert("range", backend, last_of(&y));
        let half = (count / 2, cols);
        min_max(backend, &known.x[..half.0 * cols], half)
            .with_feature_range(-1.0, 3.0)
            .with_clip(true)
            .transform(InOut::new(&known.x, &mut y), shape)
            .unwrap();
        known.assert("clip", backend, last_of(&y));
        for (norm, what) in NORMS.into_iter().zip(["norm_l1", "norm_l2", "norm_max"]) {
            let operation = Normalizer::new().with_norm(norm).with_backend(backend);
            operation.forward(InOut::new(&known.x, &mut y), shape).unwrap();
            known.assert(what, backend, last_of(&y));
        }
    }
}

#[test]
fn moments_are_those_of_the_definition() {
    for (count, cols) in shapes() {
        for stretch in [1, 16] {
            let x = matrix(count, cols, stretch, (count + cols * 7) as u64);
            let expected = definition(&x, cols);
            for backend in backends() {
                let what = format!("{backend}, {count}x{cols}, stretch {stretch}");
                let scaler = standard(backend, &x, (count, cols));
                assert_moments(&what, &expected, scaler.moments());
                for (c, moments) in scaler.moments().iter().enumerate() {
                    let (mean, scale) = reference::mean_scale(&reference::column(&x, cols, c));
                    assert_eq!(scaler.mean()[c], moments.mean);
                    // Where the variance is about the bound of a constant feature, both are right.
                    let var = moments.population_variance().unwrap();
                    let bound = (count as f64 * f64::EPSILON * mean).powi(2);
                    if (0.9 * bound..1.1 * bound).contains(&var) && bound > 0.0 {
                        continue;
                    }
                    assert!(
                        approx::relative_eq!(
                            scaler.scale()[c],
                            scale,
                            epsilon = 0.0,
                            max_relative = BATCHES
                        ),
                        "{what}, column {c}: scale: expected {scale:e}, got {:e}",
                        scaler.scale()[c]
                    );
                }
            }
        }
    }
}

/// Law: batches of any size, in any order, by one scaler or by several that are merged, are one fit.
#[test]
fn batches_in_any_order_are_one_fit() {
    for (count, cols) in [(1000, 50), (3000, 7), (500, 300), (2000, 1)] {
        if short() && count * cols > 20_000 {
            continue;
        }
        let x = matrix(count, cols, 16, 5);
        let random = &mut Random::new(count as u64);
        for backend in backends() {
            let whole = standard(backend, &x, (count, cols));
            let ranges = min_max(backend, &x, (count, cols));
            for most in [1, 3, 64, 1000] {
                let mut batches: Vec<&[f32]> = Vec::new();
                let mut rest = &x[..];
                while !rest.is_empty() {
                    let batch = cols * (1 + random.below(most)).min(rest.len() / cols);
                    let (batch, others) = rest.split_at(batch);
                    batches.insert(random.below(batches.len() + 1), batch);
                    rest = others;
                }
                let mut parts = vec![StandardScaler::new(cols).unwrap().with_backend(backend); 3];
                let mut of_ranges = vec![MinMaxScaler::new(cols).unwrap().with_backend(backend); 3];
                for batch in batches {
                    let (shape, part) = (rows(batch.len() / cols, cols), random.below(3));
                    parts[part].partial_fit(batch, shape).unwrap();
                    of_ranges[part].partial_fit(batch, shape).unwrap();
                }
                let mut all = StandardScaler::new(cols).unwrap().with_backend(backend);
                let mut all_ranges = MinMaxScaler::new(cols).unwrap();
                for (part, of_ranges) in parts.iter().zip(&of_ranges) {
                    all.merge(part).unwrap();
                    all_ranges.merge(of_ranges).unwrap();
                }
                let what = format!("{backend}, {count}x{cols}, batches of up to {most}");
                assert_moments(&what, whole.moments(), all.moments());
                assert_same(&what, ranges.data_min(), all_ranges.data_min());
                assert_same(&what, ranges.data_max(), all_ranges.data_max());
            }
        }
    }
}

/// Values whose M2 grows by nearly the same with every sample: roundings to one side would add up.
#[test]
fn many_batches_of_one_sample_lose_nothing() {
    let count = if short() { 10_000 } else { 200_000 };
    let x: Vec<f32> = (0..count).map(|i| if i % 2 == 0 { 1.1 } else { -0.3 } + 1e3).collect();
    let mut scaler = StandardScaler::new(1).unwrap();
    for x in &x {
        scaler.partial_fit(std::slice::from_ref(x), rows(1, 1)).unwrap();
    }
    let [expected] = definition(&x, 1)[..] else { unreachable!("one column") };
    assert!(approx::relative_eq!(scaler.moments()[0].m2, expected.m2, max_relative = 4e-16));
    assert_eq!(scaler.moments()[0].count, count as u64);
}

/// Law: a NaN is not there for a fit, wherever it is; an infinity makes its feature NaN; neither changes a bit of others.
#[test]
fn non_finite_values_stay_in_their_feature() {
    for (count, cols) in [(9, 5), (300, 20), (1000, 3), (700, 1), (520, 300)] {
        let random = &mut Random::new(cols as u64);
        let clean: Vec<f32> = random.normals(count * cols).iter().map(|x| x + 1e4).collect();
        for backend in backends() {
            let expected = standard(backend, &clean, (count, cols));
            for part in [1, 2, 20] {
                let (poisoned, mut x) = (random.below(cols), clean.clone());
                let (mut all_nan, infinite) = (false, random.below(3) == 0);
                for (r, row) in x.chunks_exact_mut(cols).enumerate() {
                    if part == 1 || r % part == 0 {
                        row[poisoned] = f32::NAN;
                        all_nan = part == 1;
                    } else if infinite && r + 1 == count {
                        row[poisoned] = f32::NEG_INFINITY;
                    }
                }
                let what = format!("{backend}, {count}x{cols}, every {part}th");
                let scaler = standard(backend, &x, (count, cols));
                assert_moments(&what, &definition(&x, cols), scaler.moments());
                let ranges = min_max(backend, &x, (count, cols));
                for c in 0..cols {
                    let column = reference::column(&x, cols, c);
                    let (min, max) = reference::min_max(&column);
                    assert_eq!((ranges.data_min()[c], ranges.data_max()[c]), (min, max), "{what}");
                    if c != poisoned {
                        let one = |scaler: &StandardScaler| moment_bits(&scaler.moments()[c..=c]);
                        assert_eq!(one(&expected), one(&scaler), "{what}, column {c}");
                    }
                }
                let mut y = vec![0.0; x.len()];
                if all_nan && cols == 1 {
                    let error = scaler.transform(InOut::new(&x, &mut y), rows(count, cols));
                    assert_eq!(error.unwrap_err(), Error::NotFitted { arg: "scaler" });
                    continue;
                }
                let mut of_ranges = y.clone();
                scaler.transform(InOut::new(&clean, &mut y), rows(count, cols)).unwrap();
                ranges.transform(InOut::new(&clean, &mut of_ranges), rows(count, cols)).unwrap();
                let lost = all_nan || x.iter().any(|x| x.is_infinite());
                for (i, (y, of_ranges)) in y.iter().zip(&of_ranges).enumerate() {
                    let nan = lost && i % cols == poisoned;
                    assert_eq!((y.is_nan(), of_ranges.is_nan()), (nan, nan), "{what}, element {i}");
                }
            }
        }
    }
}

/// Law: any number of threads gives the bits of one, and so does any backend that fuses.
#[test]
fn threads_and_backends_give_the_same_bits() {
    let shapes = [(1, 1), (5000, 64), (90_001, 3), (3000, 100), (300, 1041), (70, 5000)];
    for (count, cols) in shapes.into_iter().filter(|(n, cols)| !short() || n * cols < 100_000) {
        let mut x = matrix(count, cols, 4, 3);
        for i in (0..x.len()).step_by(1001) {
            x[i] = f32::NAN;
        }
        let fit = |backend, parallelism| {
            let (mut scaler, mut ranges) = unfitted(cols, backend, parallelism);
            // Twice, the second time with what the first has left.
            for _ in 0..2 {
                scaler.fit(&x, rows(count, cols)).unwrap();
                ranges.fit(&x, rows(count, cols)).unwrap();
            }
            let range = ranges.data_min().iter().chain(ranges.data_max()).map(|&x| bits(x));
            (moment_bits(scaler.moments()), range.collect::<Vec<_>>())
        };
        let mut fused = None;
        for backend in backends() {
            let serial = fit(backend, Parallelism::Serial);
            for threads in [1, 2, 3, 7] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let parallel = pool.install(|| fit(backend, Parallelism::Auto));
                assert!(serial == parallel, "{backend}, {count}x{cols}, {threads} threads");
            }
            if backend.is_fused() {
                let expected = fused.get_or_insert_with(|| serial.clone());
                assert!(*expected == serial, "{backend}, {count}x{cols}");
            }
        }
    }
}

/// Law: where a buffer begins changes no bit, nor does the column beside.
#[test]
fn alignment_changes_no_bit() {
    let (x, shape) = (matrix(300, 37, 4, 1), (300, 37));
    for backend in backends() {
        let expected = standard(backend, &x, shape);
        for start in 0..LANES {
            let placed = Placed::new(&x, start);
            let scaler = standard(backend, &placed, shape);
            assert_eq!(moment_bits(expected.moments()), moment_bits(scaler.moments()), "{start}");
        }
    }
}

/// What a transform is within of the definition: by the statistics that were fitted, NaN for NaN.
#[test]
fn transforms_are_within_the_bound_of_the_definition() {
    for (count, cols) in [(1, 1), (9, 48), (100, 17), (40, 1041), (300, 3)] {
        let x = matrix(count, cols, 16, 11);
        let shape = rows(count, cols);
        // The samples fitted, and others.
        let mut others: Vec<f32> = x.iter().map(|x| x * 1.5 - 0.1).collect();
        others[0] = f32::NAN;
        for backend in backends() {
            let scaler = standard(backend, &x, (count, cols));
            let ranges = min_max(backend, &x, (count, cols)).with_feature_range(-1.0, 0.5);
            for x in [&x, &others] {
                let mut y = vec![0.0; x.len()];
                scaler.transform(InOut::new(x, &mut y), shape).unwrap();
                let expected = |i: usize| {
                    reference::standardized(x[i], scaler.mean()[i % cols], scaler.scale()[i % cols])
                };
                assert_within(&format!("{backend}, {count}x{cols}"), &y, 0.0, expected);

                ranges.transform(InOut::new(x, &mut y), shape).unwrap();
                let expected = |i: usize| {
                    let c = i % cols;
                    let range = (ranges.data_min()[c], ranges.data_max()[c]);
                    reference::min_maxed(x[i], range, (-1.0, 0.5))
                };
                assert_within(&format!("{backend}, {count}x{cols}, range"), &y, 1.0, expected);

                let clip = ranges.clone().with_clip(true);
                let mut clipped = y.clone();
                clip.transform(InOut::new(x, &mut clipped), shape).unwrap();
                let expected: Vec<f32> =
                    y.iter().map(|y| if y.is_nan() { *y } else { y.clamp(-1.0, 0.5) }).collect();
                assert_same(&format!("{backend}, {count}x{cols}, clipped"), &expected, &clipped);
            }
        }
    }
}

/// Asserts `1e-6 * (max(1, |y|) + more) + 2^-149`, or both NaN.
#[track_caller]
fn assert_within(what: &str, y: &[f32], more: f64, expected: impl Fn(usize) -> f64) {
    for (i, &y) in y.iter().enumerate() {
        let expected = expected(i);
        if expected.is_nan() {
            assert!(y.is_nan(), "{what}: element {i}: expected NaN, got {y:e}");
            continue;
        }
        if expected.abs() > f64::from(f32::MAX) {
            continue;
        }
        let bound = OUTPUT * (expected.abs().max(1.0) + more) + SUBNORMAL;
        assert!(
            approx::abs_diff_eq!(f64::from(y), expected, epsilon = bound),
            "{what}: element {i}: expected {expected:e}, got {y:e}, bound {bound:e}"
        );
    }
}

/// Law: the inverse of a transform is x, within the sum of both bounds.
#[test]
fn inverse_transforms_lead_back() {
    let (count, cols) = (60, 49);
    let (x, shape) = (matrix(count, cols, 16, 2), rows(count, cols));
    for backend in backends() {
        let scaler = standard(backend, &x, (count, cols));
        let ranges = min_max(backend, &x, (count, cols)).with_feature_range(2.0, 5.0);
        let mut y = vec![0.0; x.len()];
        for (with_mean, with_std) in [(true, true), (false, true), (true, false), (false, false)] {
            let scaler = scaler.clone().with_mean(with_mean).with_std(with_std);
            scaler.transform(InOut::new(&x, &mut y), shape).unwrap();
            let between = y.clone();
            scaler.inverse_transform(InOut::in_place(&mut y), shape).unwrap();
            for i in 0..x.len() {
                let (mean, scale) = (scaler.mean()[i % cols].abs(), scaler.scale()[i % cols]);
                let mean = if with_mean { mean } else { 0.0 };
                let scale = if with_std { scale } else { 1.0 };
                let bound = 2e-6 * (scale * f64::from(between[i].abs()).max(1.0) + mean);
                let error = (f64::from(x[i]) - f64::from(y[i])).abs();
                assert!(
                    error <= bound + 2.0 * SUBNORMAL || !between[i].is_finite(),
                    "{backend}, {with_mean}, {with_std}, element {i}: {:e}, {:e}",
                    x[i],
                    y[i]
                );
            }
        }
        ranges.transform(InOut::new(&x, &mut y), shape).unwrap();
        let between = y.clone();
        ranges.with_clip(true).inverse_transform(InOut::in_place(&mut y), shape).unwrap();
        for i in 0..x.len() {
            let column = reference::column(&x, cols, i % cols);
            let (min, max) = reference::min_max(&column);
            let range = (f64::from(max) - f64::from(min)) / 3.0;
            let range = if range == 0.0 { 1.0 / 3.0 } else { range };
            let least = f64::from(min.abs());
            let bound = 2e-6 * (range * (f64::from(between[i].abs()) + 2.0).max(1.0) + least);
            let error = (f64::from(x[i]) - f64::from(y[i])).abs();
            assert!(
                error <= bound + 2.0 * SUBNORMAL,
                "{backend}, element {i}: {:e}, {:e}",
                x[i],
                y[i]
            );
        }
    }
}

/// An operation on x and y, which returns y.
type Run<'a> = &'a dyn for<'y> Fn(InOut<'_, 'y>) -> Result<&'y mut [f32], Error>;

/// Law: in place, into new memory, with non-temporal stores or without, the bits are the same.
#[test]
fn every_way_of_a_transform_gives_the_same_bits() {
    for (count, cols) in [(3, 7), (70, 64), (130, 100), (9, 1041)] {
        let (x, shape) = (matrix(count, cols, 4, 9), rows(count, cols));
        for backend in backends() {
            let ranges = min_max(backend, &x, (count, cols)).with_clip(true);
            let scaler = standard(backend, &x, (count, cols));
            let what = format!("{backend}, {count}x{cols}");
            for stores in [Stores::Cached, Stores::NonTemporal] {
                let (scaler, ranges) =
                    (scaler.clone().with_stores(stores), ranges.clone().with_stores(stores));
                let same = |run: Run<'_>| {
                    let (mut y, mut xy) = (vec![f32::NAN; x.len()], x.clone());
                    let mut new = vec![MaybeUninit::new(f32::NAN); x.len()];
                    run(InOut::new(&x, &mut y)).unwrap();
                    run(InOut::in_place(&mut xy)).unwrap();
                    assert_same(&what, &y, &xy);
                    assert_same(&what, &y, run(InOut::uninit(&x, &mut new)).unwrap());
                };
                same(&|io| scaler.transform(io, shape));
                same(&|io| scaler.inverse_transform(io, shape));
                same(&|io| ranges.transform(io, shape));
                same(&|io| ranges.inverse_transform(io, shape));
                for norm in NORMS {
                    let operation =
                        Normalizer::new().with_norm(norm).with_backend(backend).with_stores(stores);
                    same(&|io| operation.forward(io, shape));
                }
            }
        }
    }
}

/// A constant feature has scale 1 and becomes 0, whatever the constant; in a range, its lower end.
#[test]
fn constant_features() {
    for constant in [0.0, 14.62, -1e7, 1e-40, f32::MAX, 1.276_491_2] {
        for (count, cols) in [(1, 3), (7, 3), (1000, 1), (300, 17), (300, 300)] {
            let (mut x, shape) = (vec![constant; count * cols], rows(count, cols));
            if count > 3 {
                x[cols] = f32::NAN;
            }
            for backend in backends() {
                let scaler = standard(backend, &x, (count, cols));
                let what = format!("{backend}, {count}x{cols}, {constant:e}");
                assert!(scaler.scale().iter().all(|&scale| scale == 1.0), "{what}");
                assert!(scaler.var().all(|var| var == 0.0), "{what}");
                let mut y = vec![1.0; x.len()];
                scaler.transform(InOut::new(&x, &mut y), shape).unwrap();
                assert!(y.iter().all(|&y| y == 0.0 || y.is_nan()), "{what}");
                let ranges = min_max(backend, &x, (count, cols)).with_feature_range(2.0, 3.0);
                ranges.transform(InOut::new(&x, &mut y), shape).unwrap();
                assert!(y.iter().all(|&y| y == 2.0 || y.is_nan()), "{what}");
                assert_eq!(y.iter().filter(|y| y.is_nan()).count(), usize::from(count > 3));
            }
        }
    }
    // Nearly constant: what scikit-learn's bound takes for the error of its own variance.
    let mut x = vec![1e7; 100_000];
    x[5] = 10_000_001.0;
    let scaler = standard(Backend::detect(), &x, (100_000, 1));
    assert!(scaler.var().all(|var| approx::relative_eq!(var, 1e-5 - 1e-10, max_relative = 1e-9)));
    assert!(scaler.scale()[0] < 0.004);
}

/// A saved scaler is the one that it was.
#[test]
fn a_scaler_is_restored_from_its_statistics() {
    let (x, shape) = (matrix(200, 48, 4, 8), rows(200, 48));
    let scaler = standard(Backend::detect(), &x, (200, 48));
    let restored = StandardScaler::from_moments(scaler.moments()).unwrap();
    assert_eq!(moment_bits(scaler.moments()), moment_bits(restored.moments()));
    assert_eq!((scaler.mean(), scaler.scale()), (restored.mean(), restored.scale()));
    let ranges = min_max(Backend::detect(), &x, (200, 48));
    let restored_ranges = MinMaxScaler::from_ranges(ranges.data_min(), ranges.data_max()).unwrap();
    let [mut y, mut again] = [(); 2].map(|()| vec![0.0; x.len()]);
    scaler.transform(InOut::new(&x, &mut y), shape).unwrap();
    restored.transform(InOut::new(&x, &mut again), shape).unwrap();
    assert_same("standard", &y, &again);
    ranges.transform(InOut::new(&x, &mut y), shape).unwrap();
    restored_ranges.transform(InOut::new(&x, &mut again), shape).unwrap();
    assert_same("range", &y, &again);

    assert!(restored.is_fitted() && restored_ranges.is_fitted());
    let mut forgetful = restored_ranges;
    forgetful.reset();
    assert!(!forgetful.is_fitted() && forgetful.data_min()[0] == f32::INFINITY);

    // Counts are those of the samples, up to the last there is.
    let many = Moments { count: u64::MAX - 1, mean: 1.0, mean_low: 0.0, m2: 1.0 };
    let mut scaler = StandardScaler::from_moments(&[many]).unwrap();
    for expected in [u64::MAX, u64::MAX] {
        scaler.partial_fit(&[1.0], rows(1, 1)).unwrap();
        assert_eq!(scaler.moments()[0].count, expected);
    }
    scaler.reset();
    assert!(!scaler.is_fitted() && scaler.mean()[0].is_nan());
}

/// Norms of rows of every length, on hard data: the sum or the largest within 1e-6, y within `1e-6 * max(1, |y|)`.
#[test]
fn norms_are_within_the_bound() {
    for case in cases() {
        let (len, x) = (case.x.len(), &case.x);
        let mut expected = vec![0.0; len];
        for norm in NORMS {
            reference::normalizer(x, norm, &mut expected);
            let mut fused: Option<Vec<f32>> = None;
            for backend in backends() {
                let what = format!("{backend}, {}, {norm:?}", case.name);
                let operation = Normalizer::new().with_norm(norm).with_backend(backend);
                let mut y = vec![f32::NAN; len];
                operation.forward(InOut::new(x, &mut y), rows(1, len)).unwrap();
                assert_output(&what, &y, &expected, &expected, None, None);
                if backend.is_fused() {
                    assert_same(&what, fused.get_or_insert_with(|| y.clone()), &y);
                }
            }
        }
    }
}

/// Law: a row has the bits that it has by itself, beside any others, on any number of threads.
#[test]
fn norms_of_rows_are_their_own() {
    for (count, cols) in [(33, 5), (20, 100), (19, 128), (7, 129), (5, 5000), (3000, 100)] {
        let random = &mut Random::new(cols as u64);
        let mut x = Vec::new();
        for _ in 0..count {
            x.extend(DATA_SETS[random.below(DATA_SETS.len())].row(cols, random));
        }
        x[0] = f32::NAN;
        x[3 * cols - 1] = f32::INFINITY;
        for (norm, backend) in with_backends(NORMS) {
            let operation = Normalizer::new().with_norm(norm).with_backend(backend);
            let mut y = vec![0.0; x.len()];
            operation.forward(InOut::new(&x, &mut y), rows(count, cols)).unwrap();
            let mut alone = vec![0.0; x.len()];
            for (x, y) in x.chunks(cols).zip(alone.chunks_mut(cols)) {
                operation.forward(InOut::new(x, y), rows(1, cols)).unwrap();
            }
            assert_same(&format!("{backend}, {norm:?}, {count}x{cols}"), &alone, &y);
            for (r, row) in y.chunks(cols).enumerate() {
                let nan = r == 0 || r == 2;
                assert!(row.iter().all(|y| y.is_nan() == nan), "{backend}, {norm:?}, row {r}");
            }
        }
    }
}

/// Shape, and the hashes of what each of [`GOLDEN_OPERATIONS`] gives. **A change of bits is a line in CHANGELOG.md**;
/// `EVENKEEL_BLESS=1 cargo test --test proof scalers::golden -- --nocapture` makes the new table.
const GOLDEN: [(usize, usize, [u64; 5]); 7] = [
    (
        1,
        1,
        [
            0xc83943e6f1078458,
            0xe86700c44d673d4d,
            0x097a29ee2da29518,
            0x097a29ee2da29518,
            0x097a29ee2da29518,
        ],
    ),
    (
        3,
        7,
        [
            0x9110c55879d977c4,
            0xcd603563094a720b,
            0x4746e1b962553f14,
            0x0c6ffce54cf6f817,
            0x8c73190f7297e7bc,
        ],
    ),
    (
        300,
        64,
        [
            0xded083f70342b9cf,
            0x071c96f3d9592ce8,
            0x159a0fea550e919b,
            0xdc015ddb84d0edae,
            0x01b533f334197526,
        ],
    ),
    (
        9,
        100,
        [
            0xe4123646dc8d03de,
            0x0cc674ad37799ab1,
            0x6b26b562480842ec,
            0x4e30755b9e9436a1,
            0x3f9cd27d70cc0abd,
        ],
    ),
    (
        3000,
        37,
        [
            0x23498e7447432a54,
            0x895cb40774e30f45,
            0x334d48df01fe00ba,
            0x3746ec6998e47e65,
            0x3746ec6998e47e65,
        ],
    ),
    (
        40,
        1041,
        [
            0x7e89d4bd2400ca6a,
            0x920eedf2347621c6,
            0x46cf77ad38bc9e3f,
            0x78ed1e9bf0a7606f,
            0x1f6ff6fa7c042628,
        ],
    ),
    (
        2,
        5000,
        [
            0x79f0531f6a3f6fd7,
            0xa5e172dc6e6ff605,
            0x6a2ad0cffa8824c7,
            0xd705fc4b00cf9e4e,
            0x47f8ea6d029f94db,
        ],
    ),
];

const GOLDEN_OPERATIONS: [&str; 5] =
    ["StandardScaler", "MinMaxScaler", "Normalizer, L1", "Normalizer, L2", "Normalizer, Max"];

/// The bits themselves, on every backend that fuses, on one thread and on several.
#[test]
fn golden_hashes_hold() {
    let bless = std::env::var_os("EVENKEEL_BLESS").is_some();
    for (count, cols, golden) in GOLDEN {
        let shape = rows(count, cols);
        let mut x = matrix(count, cols, 16, (count * 31 + cols) as u64);
        if x.len() > 100 {
            x[77] = f32::NAN;
        }
        for backend in fused_backends() {
            for parallelism in [Parallelism::Serial, Parallelism::Auto] {
                let (mut scaler, mut ranges) = unfitted(cols, backend, parallelism);
                scaler.fit(&x, shape).unwrap();
                ranges.fit(&x, shape).unwrap();
                let mut y = vec![0.0; x.len()];
                scaler.transform(InOut::new(&x, &mut y), shape).unwrap();
                let moments = moment_bits(scaler.moments()).into_iter().flatten();
                let of_standard = hash(words(&y).chain(moments).chain(words64(scaler.scale())));
                ranges.transform(InOut::new(&x, &mut y), shape).unwrap();
                let bounds = words(ranges.data_min()).chain(words(ranges.data_max()));
                let mut hashes = [of_standard, hash(words(&y).chain(bounds)), 0, 0, 0];
                for (norm, hashed) in NORMS.into_iter().zip(&mut hashes[2..]) {
                    let operation = Normalizer::new()
                        .with_norm(norm)
                        .with_backend(backend)
                        .with_parallelism(parallelism);
                    operation.forward(InOut::new(&x, &mut y), shape).unwrap();
                    *hashed = hash(words(&y));
                }
                if bless {
                    println!("    ({count}, {cols}, {hashes:#018x?}),");
                    continue;
                }
                for (operation, (expected, got)) in
                    GOLDEN_OPERATIONS.iter().zip(golden.iter().zip(&hashes))
                {
                    assert_eq!(
                        expected, got,
                        "{operation} of {count}x{cols} has other bits than before: {backend}, \
                         {parallelism:?}, got {got:#018x}"
                    );
                }
            }
        }
    }
}

/// Data: what the table of differences from scikit-learn says, which `scikit_learn.py` has from scikit-learn. In a range or a norm
/// below 10 eps of f32, 1.19e-6, scikit-learn leaves values as they are, and this crate does not.
#[test]
fn where_results_differ_from_scikit_learn() {
    for tiny in [2e-6_f32, 1.1e-6, 1e-7, 1e-20, 1e-38] {
        for backend in backends() {
            let (mut standard, mut min_max) = unfitted(1, backend, Parallelism::Serial);
            let (x, mut y) = ([0.0, tiny], [f32::NAN; 2]);
            min_max.fit(&x, rows(2, 1)).unwrap();
            min_max.transform(InOut::new(&x, &mut y), rows(2, 1)).unwrap();
            assert!(y[0] == 0.0 && (y[1] - 1.0).abs() <= 1e-6, "{backend}, {tiny}: {y:?}");
            standard.fit(&x, rows(2, 1)).unwrap();
            standard.transform(InOut::new(&x, &mut y), rows(2, 1)).unwrap();
            let off = (y[0] + 1.0).abs().max((y[1] - 1.0).abs());
            assert!(off <= 1e-6, "{backend}, {tiny}: {y:?}");
            for norm in NORMS {
                let operation = Normalizer::new().with_norm(norm).with_backend(backend);
                operation.forward(InOut::new(&x, &mut y), rows(1, 2)).unwrap();
                assert!(y[0] == 0.0 && (y[1] - 1.0).abs() <= 1e-6, "{backend}, {norm:?}: {y:?}");
            }
        }
    }
    // Features of which some, or all, are NaN.
    let (nan, one, mut y) = (f32::NAN, rows(1, 2), [7.0; 2]);
    let (mut standard, mut min_max) = unfitted(2, Backend::detect(), Parallelism::Serial);
    standard.fit(&[nan; 2], one).unwrap();
    min_max.fit(&[nan; 2], one).unwrap();
    let expected = Error::NotFitted { arg: "scaler" };
    assert_eq!(standard.transform(InOut::new(&[1.0; 2], &mut y), one), Err(expected.clone()));
    assert_eq!(min_max.transform(InOut::new(&[1.0; 2], &mut y), one), Err(expected));
    assert_eq!(y, [7.0; 2]);
    standard.partial_fit(&[nan, 1.0], one).unwrap();
    min_max.partial_fit(&[nan, 1.0], one).unwrap();
    standard.transform(InOut::new(&[1.0; 2], &mut y), one).unwrap();
    assert!(y[0].is_nan() && y[1] == 0.0, "{y:?}");
    min_max.transform(InOut::new(&[1.0; 2], &mut y), one).unwrap();
    assert!(y[0].is_nan() && y[1] == 0.0, "{y:?}");
}
