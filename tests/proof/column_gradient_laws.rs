//! Laws of backward passes over columns and channels: what parts, threads, layouts and options change (nothing), and what a gradient
//! is.
#![forbid(unsafe_code)]

use evenkeel::{
    Backend, BatchNorm, Channels, Error, GradArgs, GradientSums, GroupNorm, InOut, LayerNorm, Mask,
    Parallelism, ValidRows, reference,
};

use crate::column_gradients::{Layer, Problem, channel, position};
use crate::common::*;
use crate::gradients::GRADIENT;

/// What is tried: every layer, of channels that are a multiple of 4.
const LAYERS: [Layer; 6] = [
    Layer::Batch,
    Layer::Inference,
    Layer::Given,
    Layer::Group(2),
    Layer::Instance,
    Layer::Positions,
];

/// A problem of ordinary numbers.
fn ordinary(shape: Channels) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let random = &mut Random::new((7 * shape.elements() + shape.channels()) as u64);
    let len = shape.elements();
    (random.normals(len), random.normals(len), random.normals(shape.channels()))
}

/// Both layouts, of small and large samples.
fn shapes() -> Vec<Channels> {
    [(3, 20, 37), (2, 4, 1100), (5, 260, 9), (70, 8, 1), (1, 4, 5000), (17, 36, 50)]
        .into_iter()
        .flat_map(|(n, c, p)| [Channels::first(n, c, p), Channels::last(n, p, c)])
        .map(Result::unwrap)
        .collect()
}

type Gradients = (Vec<f32>, Vec<f64>, Vec<f64>);

fn words((dx, dgamma, dbeta): &Gradients) -> Vec<u64> {
    let dx = dx.iter().map(|&dx| u64::from(bits(dx)));
    dx.chain(dgamma.iter().chain(dbeta).map(|&sum| bits64(sum))).collect()
}

/// Whether LayerNorm over channels is one over rows, which other tests have.
fn is_of_rows(layer: Layer, shape: Channels) -> bool {
    layer == Layer::Positions && (shape.is_last() || shape.positions() == 1)
}

/// Every layer with every shape.
fn every_problem(mut check: impl FnMut(Problem<'_>)) {
    for shape in shapes() {
        let (x, dy, gamma) = ordinary(shape);
        for layer in LAYERS {
            if !is_of_rows(layer, shape) {
                let gamma = Some(&gamma[..]);
                check(Problem { layer, shape, x: &x, dy: &dy, gamma, eps: 1e-5 });
            }
        }
    }
}

/// Law: any number of threads, and any fused backend, gives the same bits, dgamma and dbeta among them.
#[test]
fn threads_and_backends_change_no_bit() {
    for shape in
        [Channels::first(6, 24, 1100), Channels::last(6, 1100, 24), Channels::last(6000, 1, 28)]
    {
        let shape = shape.unwrap();
        let (x, dy, gamma) = ordinary(shape);
        for layer in LAYERS {
            let gamma = Some(&gamma[..]);
            let problem = Problem { layer, shape, x: &x, dy: &dy, gamma, eps: 1e-5 };
            for backend in backends() {
                let expected = words(&problem.call(backend, Parallelism::Serial));
                for threads in [2, 3, 7] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                    let call = || words(&problem.call(backend, Parallelism::Auto));
                    let got = pool.expect("a pool").install(call);
                    assert!(got == expected, "{layer:?}, {backend}, {shape:?}, {threads} threads");
                }
            }
            let all: Vec<_> = fused_backends()
                .into_iter()
                .map(|backend| words(&problem.call(backend, Parallelism::Serial)))
                .collect();
            assert!(all.windows(2).all(|two| two[0] == two[1]), "{layer:?}, {shape:?}");
        }
    }
}

/// What the forward pass says of its statistics.
fn saved(problem: &Problem<'_>, backend: Backend) -> (Vec<f64>, Vec<f64>) {
    let Problem { layer, shape, x, .. } = *problem;
    let count = match layer {
        Layer::Batch => shape.channels(),
        Layer::Group(groups) => shape.batch() * groups,
        Layer::Positions => shape.batch() * shape.positions(),
        _ => shape.batch() * shape.channels(),
    };
    let (mut mean, mut rstd, mut y) = (vec![0.0; count], vec![0.0; count], vec![0.0; x.len()]);
    let io = InOut::new(x, &mut y);
    let args = norm_args(None, None).stats(&mut mean, &mut rstd);
    match layer {
        Layer::Batch => {
            let args = train_args(None, None).stats(&mut mean, &mut rstd);
            BatchNorm::new().with_backend(backend).forward_training(io, shape, args).unwrap()
        }
        Layer::Positions => {
            LayerNorm::new().with_backend(backend).forward(io, shape, args).unwrap()
        }
        _ => {
            let groups = count / shape.batch();
            let norm = GroupNorm::new().with_groups(groups).with_backend(backend);
            norm.forward(io, shape, args).unwrap()
        }
    };
    (mean, rstd)
}

/// Law: statistics that the forward pass wrote change no bit; f32 gradients of parameters are f64 ones, rounded once; those that are
/// added to are rounded once; without dx the others are the same.
#[test]
fn options_do_what_they_say() {
    every_problem(|problem| {
        let channels = problem.shape.channels();
        for backend in backends() {
            let run = |io: InOut<'_, '_>, args: GradArgs<'_>| {
                problem.run(backend, Parallelism::Auto, io, args).map(drop).unwrap();
            };
            let what = format!("{:?}, {backend}, {:?}", problem.layer, problem.shape);
            let (expected, dgamma, dbeta) = problem.call(backend, Parallelism::Auto);
            let depends = !matches!(problem.layer, Layer::Inference | Layer::Given);
            let (mean, rstd) = if depends { saved(&problem, backend) } else { Default::default() };
            let args = || match depends {
                true => GradArgs::new().stats(&mean, &rstd),
                false => GradArgs::new(),
            };
            let mut dx = vec![f32::NAN; problem.x.len()];
            run(InOut::new(problem.dy, &mut dx), args());
            assert_same(&what, &expected, &dx);

            let (mut single, mut double) = (vec![f32::NAN; channels], vec![2.5; channels]);
            let both = args().dgamma(&mut single).add_dbeta(&mut double);
            run(InOut::read_only(problem.dy), both);
            for c in 0..channels {
                assert_eq!(single[c], dgamma[c] as f32, "{what}: dgamma {c}");
                assert_eq!(double[c], 2.5 + dbeta[c], "{what}: dbeta {c}");
            }
            let mut single = vec![0.3_f32; channels];
            run(InOut::read_only(problem.dy), args().add_dgamma(&mut single));
            for c in 0..channels {
                let sum = (f64::from(0.3_f32) + dgamma[c]) as f32;
                assert_eq!(single[c], sum, "{what}: dgamma {c}, added");
            }
            run(InOut::read_only(problem.dy), args());
        }
    });
}

/// Law: positions that are not valid have dx = +0.0 and add nothing, whatever they hold. The others have the gradients of samples
/// that have only these: of channels, and of samples with as many valid positions.
#[test]
fn padding_has_no_gradient() {
    every_problem(|problem| {
        let Problem { layer, shape, gamma, eps, .. } = problem;
        let (batch, positions, channels) = (shape.batch(), shape.positions(), shape.channels());
        // As many of each sample, but where samples are rows.
        let is_valid = |n: usize, p: usize| match positions {
            1 => n % 3 != 1 && n != 0,
            _ => (p + n) % positions % 5 != 2 && !(p + n).is_multiple_of(positions),
        };
        let valid: Vec<u8> = (0..batch * positions)
            .map(|row| u8::from(is_valid(row / positions, row % positions)))
            .collect();
        let row = |i: usize| i / (channels * positions) * positions + position(shape, i);
        let kept = |of: &[f32]| -> Vec<f32> {
            (0..of.len()).filter(|&i| valid[row(i)] == 1).map(|i| of[i]).collect()
        };
        let count = valid.iter().filter(|&&valid| valid == 1).count();
        let of_kept = match (positions, shape.is_last()) {
            (1, false) => Channels::first(count, channels, 1),
            (1, true) => Channels::last(count, 1, channels),
            (_, false) => Channels::first(batch, channels, count / batch),
            (_, true) => Channels::last(batch, count / batch, channels),
        };
        let (only_x, only_dy) = (kept(problem.x), kept(problem.dy));
        let of_kept =
            Problem { layer, shape: of_kept.unwrap(), x: &only_x, dy: &only_dy, gamma, eps };
        let expected = of_kept.expected();
        let mut words = Vec::new();
        for other in [f32::NAN, 3e38, 1.0] {
            // Those of the reference are of all x.
            if matches!(layer, Layer::Inference | Layer::Given) {
                continue;
            }
            let hold = |of: &[f32]| -> Vec<f32> {
                let of = of.iter().enumerate();
                of.map(|(i, &x)| if valid[row(i)] == 1 { x } else { other }).collect()
            };
            let (x, dy) = (hold(problem.x), hold(problem.dy));
            let problem = Problem { layer, shape, x: &x, dy: &dy, gamma, eps };
            let mut dx = vec![f32::NAN; x.len()];
            let (mut dgamma, mut dbeta) = (vec![f64::NAN; channels], vec![f64::NAN; channels]);
            let args = GradArgs::new()
                .valid(ValidRows::Mask(Mask::Bytes(&valid)))
                .dgamma(&mut dgamma)
                .dbeta(&mut dbeta);
            let io = InOut::new(&dy, &mut dx);
            problem.run(Backend::detect(), Parallelism::Auto, io, args).unwrap();
            let what = format!("{layer:?}, {shape:?}, padding of {other}");
            for i in (0..dx.len()).filter(|&i| valid[row(i)] == 0) {
                assert!(dx[i].to_bits() == 0, "{what}: dx {i} is {}", dx[i]);
            }
            for (i, dx) in kept(&dx).into_iter().enumerate() {
                let error = (f64::from(dx) - expected.dx[i]).abs();
                assert!(error <= GRADIENT * expected.dx_scale[i], "{what}: dx {i}: {error:e}");
            }
            for c in 0..channels {
                let error = (dgamma[c] - expected.dgamma[c]).abs();
                assert!(error <= GRADIENT * expected.dgamma_scale[c], "{what}: dgamma {c}");
                assert!((dbeta[c] - expected.dbeta[c]).abs() <= 1e-4, "{what}: dbeta {c}");
            }
            // With rows, and of samples, the bits are those of what is kept alone.
            if layer != Layer::Positions {
                let (dx_of_kept, ..) = of_kept.call(Backend::detect(), Parallelism::Auto);
                if shape.is_last() || layer != Layer::Batch {
                    assert_same(&what, &dx_of_kept, &kept(&dx));
                }
            }
            words.push((dx, dgamma, dbeta));
        }
        assert!(
            words.windows(2).all(|two| two[0] == two[1]),
            "{layer:?}, {shape:?}: what padding holds"
        );
    });
}

/// Law: a constant channel adds exactly nothing to dgamma, and its dx is finite, 0 where eps is; so are those of one element.
#[test]
fn channels_without_variance() {
    for shape in shapes()
        .into_iter()
        .chain([Channels::first(1, 4, 1).unwrap(), Channels::last(1, 1, 40).unwrap()])
    {
        let (_, dy, gamma) = ordinary(shape);
        for (layer, backend) in with_backends([Layer::Batch, Layer::Group(2), Layer::Positions]) {
            if is_of_rows(layer, shape) {
                continue;
            }
            let alone = layer == Layer::Batch && shape.batch() * shape.positions() == 1;
            for (value, eps) in [(2.5, 1e-5), (2.5, 0.0), (-1e30, 1e-5), (1e-41, 0.0)] {
                let x = vec![value; shape.elements()];
                let gamma = Some(&gamma[..]);
                let problem = Problem { layer, shape, x: &x, dy: &dy, gamma, eps };
                let (dx, dgamma, _) = problem.call(backend, Parallelism::Auto);
                let what = format!("{layer:?}, {backend}, {shape:?} of {value:e}, eps {eps}");
                assert!(dgamma.iter().all(|&sum| sum == 0.0), "{what}: dgamma {dgamma:?}");
                let is_zero = alone || eps == 0.0;
                assert!(dx.iter().all(|dx| dx.is_finite() && (!is_zero || *dx == 0.0)), "{what}");
            }
        }
    }
}

/// Law: NaN and infinity stay in their channel, or group; dbeta has only those of dy.
#[test]
fn what_is_not_a_number_stays_in_its_channel() {
    every_problem(|problem| {
        let Problem { layer, shape, gamma, eps, .. } = problem;
        if !matches!(layer, Layer::Batch | Layer::Instance) {
            return;
        }
        let at = shape.elements() / 2 + 1;
        let of = |i: usize| {
            (
                if layer == Layer::Batch { 0 } else { i / (shape.elements() / shape.batch()) },
                channel(shape, i),
            )
        };
        for backend in backends() {
            let right = problem.call(backend, Parallelism::Auto);
            for (bad, in_dy) in
                [(f32::NAN, true), (f32::INFINITY, true), (f32::NAN, false), (f32::INFINITY, false)]
            {
                let (mut x, mut dy) = (problem.x.to_vec(), problem.dy.to_vec());
                *(if in_dy { &mut dy[at] } else { &mut x[at] }) = bad;
                let got = Problem { layer, shape, x: &x, dy: &dy, gamma, eps }
                    .call(backend, Parallelism::Auto);
                let what = format!("{layer:?}, {backend}, {shape:?}, {bad} in dy: {in_dy}");
                for (i, (got, right)) in got.0.iter().zip(&right.0).enumerate() {
                    if of(i) == of(at) {
                        assert!(got.is_nan(), "{what}: dx {i} is {got}");
                    } else {
                        assert_eq!(bits(*got), bits(*right), "{what}: dx {i}");
                    }
                }
                for c in 0..shape.channels() {
                    let is_there = c == channel(shape, at);
                    assert_eq!(is_there, !got.1[c].is_finite(), "{what}: dgamma {c}");
                    assert_eq!(is_there && in_dy, !got.2[c].is_finite(), "{what}: dbeta {c}");
                }
            }
        }
    });
}

/// Law: both steps of BatchNorm's backward give its bits; sums of parts, cut between blocks, merge to those of the whole, and dx of
/// a part that is made of them is a part of the whole.
#[test]
fn two_steps_are_one_and_parts_are_the_whole() {
    for shape in shapes() {
        let (x, dy, gamma) = ordinary(shape);
        let channels = shape.channels();
        let norm = BatchNorm::new();
        let problem =
            Problem { layer: Layer::Batch, shape, x: &x, dy: &dy, gamma: Some(&gamma), eps: 1e-5 };
        let (expected, dgamma, dbeta) = problem.call(Backend::detect(), Parallelism::Auto);
        let (mean, rstd) = saved(&problem, Backend::detect());
        let args = || GradArgs::new().gamma(&gamma).stats(&mean, &rstd);
        let n = (shape.batch() * shape.positions()) as u64;
        let sums = GradientSums::new(n, &dbeta, &dgamma);
        let mut dx = vec![f32::NAN; x.len()];
        norm.backward_apply(InOut::new(&dy, &mut dx), &x, shape, sums, args()).unwrap();
        assert_same("two steps", &expected, &dx);

        // Two parts of the samples.
        let [low, high] = [shape.batch() / 2, shape.batch() - shape.batch() / 2];
        let part = |batch: usize| match shape.is_last() {
            true => Channels::last(batch, shape.positions(), channels).unwrap(),
            false => Channels::first(batch, channels, shape.positions()).unwrap(),
        };
        let (mut of_dy, mut of_x_hat) = (vec![0.0; channels], vec![0.0; channels]);
        let cut = part(low).elements();
        for (shape, range) in [(part(low), 0..cut), (part(high), cut..x.len())] {
            let args = args().add_dbeta(&mut of_dy).add_dgamma(&mut of_x_hat);
            let (dy, x) = (&dy[range.clone()], &x[range]);
            norm.backward(InOut::read_only(dy), x, shape, args).unwrap();
        }
        let exact = problem.expected();
        for c in 0..channels {
            // Blocks are cut otherwise: of each, the rounding is that of f32.
            let bound = GRADIENT * exact.dgamma_scale[c];
            assert!((of_x_hat[c] - dgamma[c]).abs() <= bound, "{shape:?}: channel {c}");
        }
        let sums = GradientSums::new(n, &of_dy, &of_x_hat);
        let mut of_part = vec![f32::NAN; cut];
        let io = InOut::new(&dy[..cut], &mut of_part);
        norm.backward_apply(io, &x[..cut], part(low), sums, args()).unwrap();
        for (i, dx) in of_part.into_iter().enumerate() {
            let error = (f64::from(dx) - exact.dx[i]).abs();
            assert!(error <= GRADIENT * exact.dx_scale[i], "{shape:?}: dx {i}: {error:e}");
        }
    }
    // Cut between blocks of 64 wide rows, nothing but f64 is otherwise.
    let shape = Channels::last(2048, 1, 300).unwrap();
    let (x, dy, _) = ordinary(shape);
    let (mean, rstd) = (vec![0.1; 300], vec![0.9; 300]);
    let sums = |from: usize, to: usize| -> Vec<f64> {
        let (mut dgamma, part) = (vec![0.0_f64; 300], from * 300..to * 300);
        let args = GradArgs::new().stats(&mean, &rstd).dgamma(&mut dgamma);
        let (dy, shape) = (InOut::read_only(&dy[part.clone()]), Channels::last(to - from, 1, 300));
        BatchNorm::new().backward(dy, &x[part], shape.unwrap(), args).unwrap();
        dgamma
    };
    let (whole, low, high) = (sums(0, 2048), sums(0, 640), sums(640, 2048));
    for c in 0..300 {
        let error = (whole[c] - low[c] - high[c]).abs();
        assert!(error <= 1e-12 * whole[c].abs().max(1.0), "channel {c}: {error:e}");
    }
}

/// Law: the sum of dx over a channel, a group, a position is 0, but for its error.
#[test]
fn gradients_of_what_is_centred_sum_to_zero() {
    every_problem(|problem| {
        let Problem { layer, shape, .. } = problem;
        if !matches!(layer, Layer::Batch | Layer::Instance) {
            return;
        }
        let scale = problem.expected().dx_scale;
        for backend in backends() {
            let (dx, ..) = problem.call(backend, Parallelism::Auto);
            let mut sums = vec![(0.0, 0.0); shape.channels()];
            for (i, &dx) in dx.iter().enumerate() {
                let (sum, bound) = &mut sums[channel(shape, i)];
                *sum += f64::from(dx);
                *bound += GRADIENT * scale[i];
            }
            for (sum, bound) in sums {
                assert!(sum.abs() <= bound, "{layer:?}, {backend}, {shape:?}: {sum:e}, {bound:e}");
            }
        }
    });
}

/// Law: what the reference calls gradients are those of its forward pass, by central differences.
#[test]
fn the_reference_has_the_gradients_of_its_outputs() {
    const EPS: f64 = 1e-2;
    for shape in [Channels::first(2, 4, 3).unwrap(), Channels::last(2, 3, 4).unwrap()] {
        let (_, dy, gamma) = ordinary(shape);
        // Steps of eighths are exact.
        let x: Vec<f32> = (0..24).map(|c| ((c * 5) % 7) as f32 * 0.5 - 1.25).collect();
        for layer in [Layer::Batch, Layer::Group(2), Layer::Instance, Layer::Positions] {
            let problem = Problem { layer, shape, x: &x, dy: &dy, gamma: Some(&gamma), eps: EPS };
            let expected = problem.expected();
            let loss = |x: &[f32]| -> f64 {
                let (mut y, gamma) = (vec![0.0; x.len()], Some(&gamma[..]));
                match layer {
                    Layer::Batch => reference::batch_norm(x, gamma, None, shape, EPS, &mut y),
                    Layer::Positions => {
                        reference::layer_norm_channels(x, gamma, None, shape, EPS, &mut y)
                    }
                    Layer::Group(groups) => {
                        reference::group_norm(x, gamma, None, shape, groups, EPS, &mut y)
                    }
                    _ => reference::group_norm(x, gamma, None, shape, 4, EPS, &mut y),
                };
                y.iter().zip(&dy).map(|(y, &dy)| y * f64::from(dy)).sum()
            };
            for i in 0..x.len() {
                let moved = |by: f32| {
                    let mut x = x.clone();
                    x[i] += by;
                    loss(&x)
                };
                // Two steps, whose difference leaves an error of the fourth power of a step.
                let central = |h: f32| (moved(h) - moved(-h)) / (2.0 * f64::from(h));
                let by_x = (4.0 * central(1.0 / 512.0) - central(1.0 / 256.0)) / 3.0;
                assert!(
                    (by_x - expected.dx[i]).abs() < 1e-6,
                    "{layer:?}, x {i}: {by_x}, {}",
                    expected.dx[i]
                );
            }
        }
    }
}

/// What a backward pass does not take is an error, and nothing is written.
#[test]
fn what_it_does_not_take_is_an_error() {
    let (x, dy, stats, other) = ([1.5; 6], [0.5; 6], [0.5; 3], [0.5; 6]);
    let (mut dx, mut second) = ([7.5; 6], [7.5; 6]);
    let (first, last) = (Channels::first(1, 3, 2).unwrap(), Channels::last(1, 2, 3).unwrap());
    let unsupported = |arg| Err(Error::Unsupported { arg });
    let of = |result: Result<&mut [f32], Error>| result.map(drop);
    let io = || InOut::read_only(&dy);
    let norm = BatchNorm::new();
    let group = GroupNorm::new().with_groups(3);
    let layer = LayerNorm::new();
    for shape in [first, last] {
        for run in
            [&|args| of(norm.backward(io(), &x, shape, args)) as Result<(), Error>, &|args| {
                of(group.backward(io(), &x, shape, args)) as Result<(), Error>
            }] as [&dyn Fn(GradArgs<'_>) -> Result<(), Error>; 2]
        {
            assert_eq!(run(GradArgs::new().dsum(&other)), unsupported("dsum"));
            let dropped = GradArgs::new().dropout(0.5, evenkeel::Stream { seed: 1, offset: 0 });
            assert_eq!(run(dropped), unsupported("dropout"));
            assert_eq!(run(GradArgs::new().dbias(&mut [0.0_f32; 1])), unsupported("dbias"));
            assert_eq!(run(GradArgs::new().dresidual(&mut second)), unsupported("dresidual"));
            assert_eq!(run(GradArgs::new().rstd(&stats)), unsupported("rstd"));
        }
        let args = GradArgs::new().stats(&stats, &stats);
        let result = norm.backward_inference(io(), &x, shape, (&[0.5; 3], &[0.5; 3]), args);
        assert_eq!(of(result), unsupported("mean"));
        let sums = GradientSums::new(1, &stats, &stats);
        let args = || GradArgs::new().stats(&stats, &stats);
        let mut dx = [7.5; 6];
        let result = norm.backward_apply(InOut::new(&dy, &mut dx), &x, shape, sums, args());
        assert_eq!(of(result), Err(Error::TooFewRows { arg: "count", expected: 2, got: 1 }));
        let sums = GradientSums::new(2, &stats, &stats);
        let io = InOut::new(&dy, &mut dx);
        let result = norm.backward_apply(io, &x, shape, sums, GradArgs::new());
        assert_eq!(of(result), Err(Error::Length { arg: "mean", expected: 3, got: 0 }));
        let mut dgamma = [7.5; 3];
        let io = InOut::new(&dy, &mut dx);
        let result = norm.backward_apply(io, &x, shape, sums, args().dgamma(&mut dgamma));
        assert_eq!(of(result), unsupported("dgamma"));
        let sums = GradientSums::new(2, &stats[..2], &stats);
        let io = InOut::new(&dy, &mut dx);
        let result = norm.backward_apply(io, &x, shape, sums, args());
        assert_eq!(of(result), Err(Error::Length { arg: "sum_dy", expected: 3, got: 2 }));
        assert_eq!((dx, dgamma), ([7.5; 6], [7.5; 3]), "written");
    }
    assert_eq!(
        of(norm.backward(io(), &x, first, GradArgs::new().x_pitch(2))),
        unsupported("x_pitch")
    );
    let strided = InOut::strided(&dy, 2, &mut dx, 2);
    assert_eq!(of(layer.backward(strided, &x, first, GradArgs::new())), unsupported("dy_pitch"));
    let groups = GroupNorm::new().with_groups(2).backward(io(), &x, first, GradArgs::new());
    assert_eq!(of(groups), Err(Error::Groups { channels: 3, got: 2 }));
    assert_eq!((dx, second), ([7.5; 6], [7.5; 6]), "written");
}

/// No elements have no gradients; what is added to stays. So has a batch of padding alone.
#[test]
fn no_data() {
    for shape in [
        Channels::first(0, 4, 3),
        Channels::first(2, 4, 0),
        Channels::last(0, 3, 4),
        Channels::first(2, 0, 3),
        Channels::last(2, 3, 0),
        Channels::first(2, 4, 3),
        Channels::last(2, 3, 4),
    ] {
        let shape = shape.unwrap();
        let (x, dy) = (vec![f32::NAN; shape.elements()], vec![f32::NAN; shape.elements()]);
        for layer in [Layer::Batch, Layer::Group(2), Layer::Instance, Layer::Positions] {
            let channels = shape.channels();
            let lengths = vec![0; shape.batch()];
            let steps = shape.positions();
            let mut dx = vec![f32::NAN; x.len()];
            let (mut dgamma, mut dbeta) = (vec![f32::NAN; channels], vec![2.5; channels]);
            let args = GradArgs::new()
                .valid(ValidRows::Lengths { lengths: &lengths, steps })
                .dgamma(&mut dgamma)
                .add_dbeta(&mut dbeta);
            let problem = Problem { layer, shape, x: &x, dy: &dy, gamma: None, eps: 1e-5 };
            let io = InOut::new(&dy, &mut dx);
            problem.run(Backend::detect(), Parallelism::Auto, io, args).unwrap();
            let what = format!("{layer:?}, {shape:?}");
            assert!(dx.iter().all(|dx| dx.to_bits() == 0), "{what}: {dx:?}");
            assert!(dgamma.iter().all(|&sum| sum == 0.0), "{what}: {dgamma:?}");
            assert!(dbeta.iter().all(|&sum: &f64| sum == 2.5), "{what}: {dbeta:?}");
        }
    }
}
