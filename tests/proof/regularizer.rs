//! `Regularizer`: penalties, gradients, weight decay and proximal steps.
#![forbid(unsafe_code)]

use evenkeel::penalty::Regularizer;
use evenkeel::{Backend, InOut, Parallelism, Stores, reference};

use crate::common::*;
use crate::golden::{hash, words};

/// l1, l2, and a rate or a step: usual ones, none, and what f32 cannot hold.
const FACTORS: [(f64, f64, f64); 12] = [
    (1e-4, 1e-2, 1e-3),
    (0.3, 0.1, 1.2),
    (0.3, 0.0, 1.0),
    (0.0, 0.3, 0.7),
    (0.0, 0.0, 0.0),
    (1.0, 1.0, 1.0),
    (1e6, 3.0, 1.0),
    (1e-40, 1e-42, 1e-3),
    (1e35, 1e-3, 1e-5),
    (1e-3, 1e35, 1e-5),
    (1e300, 1e-300, 1e10),
    (f64::MAX, f64::MAX, f64::MAX),
];

fn regularizer((l1, l2, _): (f64, f64, f64), backend: Backend) -> Regularizer {
    Regularizer::new().with_l1(l1).with_l2(l2).with_backend(backend)
}

/// All outputs for one vector and one gradient: the gradient, the decay, the step; and the penalty.
fn outputs(operation: Regularizer, rate: f64, w: &[f32], g: &[f32]) -> ([Vec<f32>; 3], f64) {
    let [mut gradient, mut decayed, mut step] = [g, g, g].map(<[f32]>::to_vec);
    operation.add_gradient(w, &mut gradient).unwrap();
    operation.decay(InOut::new(w, &mut decayed), rate).unwrap();
    operation.proximal(InOut::new(w, &mut step), rate).unwrap();
    ([gradient, decayed, step], operation.penalty(w).unwrap())
}

fn assert_near(what: &str, w: &[f32], y: &[f32], expected: impl Fn(usize) -> (f64, f64)) {
    for (i, &y) in y.iter().enumerate() {
        let (expected, scale) = expected(i);
        let bound = OUTPUT * scale + SUBNORMAL;
        // Where f32 ends.
        let beyond = expected.abs() > f64::from(f32::MAX);
        let infinite = y.is_infinite() && f64::from(y).signum() == expected.signum();
        assert!(
            (f64::from(y) - expected).abs() <= bound || beyond && infinite,
            "{what}: element {i}, w {:e}: expected {expected:e}, got {y:e}, bound {bound:e}",
            w[i]
        );
    }
}

/// Law: the penalty is within 1e-6 of the definition, for every data set, length and factor.
#[test]
fn penalties_are_those_of_the_reference() {
    for Case { name, x: w } in cases() {
        let [of_l1, of_l2] = [(1.0, 0.0), (0.0, 1.0)].map(|(a, b)| reference::penalty(&w, a, b));
        for backend in backends() {
            for (l1, l2, _) in FACTORS {
                let got = regularizer((l1, l2, 0.0), backend).penalty(&w).unwrap();
                let expected = l1 * of_l1 + l2 * of_l2;
                let near = (got - expected).abs() <= VARIANCE * expected || got == expected;
                assert!(
                    near,
                    "{backend}, {name}, {l1:e}, {l2:e}: expected {expected:e}, got {got:e}"
                );
            }
        }
    }
}

/// Law: every output is within the bound of the docs, for every data set and factor.
#[test]
fn outputs_are_those_of_the_reference() {
    for (seed, set) in DATA_SETS.iter().enumerate() {
        for len in [1, 5, 16, 67, 1025, 2100] {
            let random = &mut Random::new((seed * 31 + len) as u64);
            let (w, g) = (set.row(len, random), set.row(len, random));
            for (factors, backend) in with_backends(FACTORS) {
                let (l1, l2, rate) = factors;
                // Beyond f32 only the fused product of l2 and w is what the formula says.
                let most = g.iter().chain(&w).fold(0.0, |a: f32, x| a.max(x.abs()));
                if l2 * f64::from(most) > f64::from(f32::MAX) && !backend.is_fused() {
                    continue;
                }
                let what = format!("{backend}, {}, {len} elements, {factors:?}", set.name);
                let ([gradient, decayed, step], _) =
                    outputs(regularizer(factors, backend), rate, &w, &g);
                assert_near(&format!("{what}: gradient"), &w, &gradient, |i| {
                    let (w, g) = (w[i], f64::from(g[i]));
                    let scale = g.abs() + l1 + l2 * f64::from(w.abs());
                    (g + reference::penalty_gradient(w, l1, l2), scale)
                });
                assert_near(&format!("{what}: decay"), &w, &decayed, |i| {
                    let factor = (1.0 - rate * l2).max(f64::MIN);
                    let expected = f64::from(w[i]) * factor;
                    (expected, expected.abs())
                });
                assert_near(&format!("{what}: proximal"), &w, &step, |i| {
                    let scale = f64::from(w[i].abs()) / (1.0 + rate * l2);
                    (reference::proximal(w[i], l1, l2, rate), scale)
                });
            }
        }
    }
}

/// Law: the error does not grow with the length. All numbers are one, whose sum f32 would lose.
#[test]
fn long_vectors_have_the_error_of_short_ones() {
    let w = vec![0.1_f32; if short() { 1 << 16 } else { 3_000_001 }];
    let (n, one) = (w.len() as f64, f64::from(0.1_f32));
    for backend in backends() {
        let got = regularizer((1.0, 2.0, 0.0), backend).penalty(&w).unwrap();
        approx::assert_relative_eq!(got, n * (one + one * one), max_relative = 1e-6);
    }
}

/// Data whose sums are exact in any order have an exact penalty.
#[test]
fn exact_sums_are_exact() {
    for len in exact_lengths() {
        let random = &mut Random::new(len as u64);
        let w: Vec<f32> = (0..len).map(|_| random.below(511) as f32 - 255.0).collect();
        let sum: f64 = w.iter().map(|&w| f64::from(w.abs() + w * w)).sum();
        for backend in backends() {
            let got = regularizer((1.0, 2.0, 0.0), backend).penalty(&w).unwrap();
            assert_eq!(got, sum, "{backend}, {len} elements");
        }
    }
}

/// Law: the gradient at 0 is that of the loss, and next to 0 it has the whole of l1.
#[test]
fn the_sign_of_zero_is_zero_and_that_of_the_least_number_is_not() {
    let least = f32::from_bits(1);
    let w = [0.0, -0.0, least, -least, f32::MIN_POSITIVE, -f32::MIN_POSITIVE, f32::MAX, f32::MIN];
    let g = [2.0; 8];
    for (l1, backend) in with_backends([1.0, 0.5, 1.0 / 1024.0]) {
        let mut gradient = g;
        regularizer((l1, 0.0, 0.0), backend).add_gradient(&w, &mut gradient).unwrap();
        let (more, less) = (2.0 + l1 as f32, 2.0 - l1 as f32);
        assert_eq!(gradient, [2.0, 2.0, more, less, more, less, more, less], "{backend}, {l1}");
    }
}

/// Law: with l2 = 0 the step is 0 within the threshold, and the threshold less beyond it.
#[test]
fn soft_thresholds_are_exact_where_numbers_are() {
    let w = [3.0, -3.0, 1.0, -1.0, 1.5, -1.5, 0.0, 0.25, -0.25, 1e6];
    let expected = [2.0, -2.0, 0.0, 0.0, 0.5, -0.5, 0.0, 0.0, 0.0, 999_999.0];
    for backend in backends() {
        let mut y = [7.0; 10];
        regularizer((0.5, 0.0, 0.0), backend).proximal(InOut::new(&w, &mut y), 2.0).unwrap();
        assert_eq!(y, expected, "{backend}");
        // A threshold beyond everything; none.
        regularizer((1e300, 0.0, 0.0), backend).proximal(InOut::new(&w, &mut y), 1.0).unwrap();
        assert_eq!(y, [0.0; 10], "{backend}");
        regularizer((1e300, 0.0, 0.0), backend).proximal(InOut::new(&w, &mut y), 0.0).unwrap();
        assert_eq!(y, w, "{backend}");
    }
}

/// Law: a NaN makes the penalty NaN, and of every output its own element; an infinity is what the formula says. No
/// other bit changes.
#[test]
fn non_finite_values_stay_in_their_element() {
    const INF: f32 = f32::INFINITY;
    for len in [1, 17, 40, 1100] {
        let random = &mut Random::new(len as u64);
        let (w, g) = (random.normals(len), random.normals(len));
        let factors = (0.3, 0.1, 0.5);
        for (at, backend) in with_backends([0, len / 2, len - 1]) {
            let operation = regularizer(factors, backend);
            let clean = outputs(operation, 0.5, &w, &g).0;
            for (bad, expected, penalty) in [
                (f32::NAN, f32::NAN, f64::NAN),
                (INF, INF, f64::INFINITY),
                (-INF, -INF, f64::INFINITY),
            ] {
                let mut w = w.clone();
                w[at] = bad;
                let (got, of_all) = outputs(operation, 0.5, &w, &g);
                let what = format!("{backend}, {len} elements, {bad} at {at}");
                assert_eq!(bits64(of_all), bits64(penalty), "{what}: the penalty");
                for (got, clean) in got.iter().zip(&clean) {
                    let mut all = clean.clone();
                    all[at] = expected;
                    assert_same(&what, &all, got);
                }
                let mut gradient = g.clone();
                gradient[at] = bad;
                let mut all = clean[0].clone();
                all[at] = bad;
                operation
                    .add_gradient(
                        &{
                            let mut w = w.clone();
                            w[at] = 0.5;
                            w
                        },
                        &mut gradient,
                    )
                    .unwrap();
                assert_same(&what, &all, &gradient);
            }
        }
    }
}

/// Law: in place gives the bits of out of place, both at once those of each, any alignment and either kind of stores
/// those of the other.
#[test]
fn every_way_to_call_gives_the_same_bits() {
    let random = &mut Random::new(5);
    for len in edges() {
        let (w, g) = (random.normals(len), random.normals(len));
        for (factors, backend) in with_backends([FACTORS[1], FACTORS[10]]) {
            let rate = factors.2;
            let operation = regularizer(factors, backend);
            let (expected, penalty) = outputs(operation, rate, &w, &g);
            for start in 0..LANES {
                let what = format!("{backend}, {len} elements, {start} off, {factors:?}");
                let mut gradient = Placed::new(&g, start);
                let placed = Placed::new(&w, (start * 7) % LANES);
                let both = operation.penalty_and_add_gradient(&placed, &mut gradient).unwrap();
                assert_eq!(bits64(both), bits64(penalty), "{what}");
                assert_same(&what, &expected[0], &gradient);
                let (mut decayed, mut step) = (Placed::new(&w, start), Placed::new(&w, start));
                operation.decay(InOut::in_place(&mut decayed), rate).unwrap();
                operation.proximal(InOut::in_place(&mut step), rate).unwrap();
                assert_same(&what, &expected[1], &decayed);
                assert_same(&what, &expected[2], &step);
                let around = operation.with_stores(Stores::NonTemporal);
                around.decay(InOut::new(&placed, &mut decayed), rate).unwrap();
                around.proximal(InOut::new(&placed, &mut step), rate).unwrap();
                assert_same(&what, &expected[1], &decayed);
                assert_same(&what, &expected[2], &step);
            }
        }
    }
}

/// Law: any number of threads and tasks gives the bits of one.
#[test]
fn parallel_gives_the_bits_of_serial() {
    let len = if short() { 150_001 } else { 1_000_003 };
    let random = &mut Random::new(9);
    let w: Vec<f32> = (0..len).map(|_| random.mantissa() - 1.4).collect();
    let run = |parallelism| {
        let operation = Regularizer::new().with_l1(0.3).with_l2(0.1).with_parallelism(parallelism);
        let mut gradient = w.clone();
        let both = operation.penalty_and_add_gradient(&w, &mut gradient).unwrap();
        let (all, penalty) = outputs(operation, 0.5, &w, &w);
        assert_same("both at once", &gradient, &all[0]);
        (all, both.to_bits(), penalty.to_bits())
    };
    let expected = run(Parallelism::Serial);
    for threads in [1, 2, 3, 7, 16] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for parallelism in [Parallelism::Auto, Parallelism::AtMost(3), Parallelism::AtMost(11)] {
            let got = pool.install(|| run(parallelism));
            assert!(got == expected, "{threads} threads, {parallelism:?}");
        }
    }
}

/// The bits themselves: length, and the hash of penalty, gradient, decay and step. To be changed with a line in
/// CHANGELOG.md (`golden.rs` says how).
const GOLDEN: [(usize, u64); 5] = [
    (1, 0xf0778de6544dc29d),
    (67, 0xb08669d964104b3e),
    (1024, 0xb59519718a304f12),
    (3001, 0xf7219b937e50d976),
    (200_003, 0xf6b3c9673937cc87),
];

#[test]
fn golden_hashes_hold_on_every_fused_backend() {
    for (len, expected) in GOLDEN.into_iter().filter(|&(len, _)| !short() || len < 10_000) {
        let random = &mut Random::new(len as u64);
        let w: Vec<f32> =
            (0..len).map(|i| DATA_SETS[i / 50 % DATA_SETS.len()].element(i, len, random)).collect();
        let g = random.normals(len);
        for backend in fused_backends() {
            let mut all = Vec::new();
            for factors in [FACTORS[0], FACTORS[1], FACTORS[8]] {
                let (y, penalty) = outputs(regularizer(factors, backend), factors.2, &w, &g);
                all.extend(y.iter().flat_map(|y| words(y)).chain([bits64(penalty)]));
            }
            let got = hash(all.into_iter());
            if std::env::var_os("EVENKEEL_BLESS").is_some() {
                println!("({len}, {got:#018x}), // {backend}");
                continue;
            }
            assert_eq!(got, expected, "{backend}, {len} elements: {got:#018x}");
        }
    }
}

/// Known answers of PyTorch 2.15.0 in f64, of the f32 numbers below: the penalty and its gradient by `autograd` of
/// `0.3 * w.abs().sum() + 0.1 / 2 * (w * w).sum()`, the step by `torch.nn.functional.softshrink(w, 0.3 * 1.2)`, the
/// decay by a step of `torch.optim.AdamW([w], lr=0.5, weight_decay=0.1)` with a gradient of 0.
#[test]
fn known_answers_of_pytorch() {
    let w = [1.5, -2.25, 0.0, 0.3, -0.3, 1e-3, -40.0, 0.7];
    let g = [0.5, 0.25, -1.0, 0.0, 2.0, -0.125, 3.0, -0.5];
    let penalty = 93.914_425_053_471_33;
    let gradient = [
        0.95,
        -0.275,
        -1.0,
        0.330_000_001_192_092_9,
        1.669_999_998_807_907,
        0.175_100_000_004_749_73,
        -1.299_999_999_999_999_8,
        -0.130_000_001_192_092_87,
    ];
    let step = [1.14, -1.89, 0.0, 0.0, 0.0, 0.0, -39.64, 0.339_999_988_079_071_06];
    let decayed = [
        1.425,
        -2.1375,
        0.0,
        0.285_000_011_324_882_5,
        -0.285_000_011_324_882_5,
        0.000_950_000_045_122_578_7,
        -38.0,
        0.664_999_988_675_117_4,
    ];
    for backend in backends() {
        let operation = Regularizer::new().with_l1(0.3).with_l2(0.1).with_backend(backend);
        let mut got = g;
        let sum = operation.penalty_and_add_gradient(&w, &mut got).unwrap();
        approx::assert_relative_eq!(sum, penalty, max_relative = 1e-6);
        let near = |what: &str, got: &[f32; 8], expected: &[f64; 8]| {
            for (&got, &expected) in got.iter().zip(expected) {
                let got = f64::from(got);
                assert!((got - expected).abs() <= 1e-6, "{backend}, {what}: {got}, {expected}");
            }
        };
        near("gradient", &got, &gradient);
        operation.decay(InOut::new(&w, &mut got), 0.5).unwrap();
        near("decay", &got, &decayed);
        operation.with_l2(0.0).proximal(InOut::new(&w, &mut got), 1.2).unwrap();
        near("proximal", &got, &step);
    }
}
