//! Known answers: the gradients of `PyTorch`'s autograd in f64, which `autograd.py` made. Every backend.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use evenkeel::{
    Backend, BatchNorm, Channels, Error, GateFunction, GatePlace, GradArgs, GroupNorm, InOut,
    InstanceNorm, LayerNorm, RmsNorm,
};

use crate::common::*;

/// Rows, columns and elements of a group.
const SHAPE: (usize, usize) = (5, 12);
const GROUP: usize = 4;

/// The answers by case and by what they are.
fn answers() -> HashMap<(&'static str, &'static str), Vec<f64>> {
    let lines = include_str!("autograd.txt").lines().map(|line| {
        let mut words = line.split(' ');
        let (case, what) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        ((case, what), words.map(|word| word.parse().expect("a number")).collect())
    });
    lines.collect()
}

/// A norm of the table.
#[derive(Clone, Copy)]
enum Norm {
    Layer(LayerNorm),
    Rms(RmsNorm),
}

/// The norms without a gate, by their names.
fn norms(backend: Backend) -> [(&'static str, Norm); 4] {
    let rms = RmsNorm::new().with_backend(backend);
    [
        ("layer_norm", Norm::Layer(LayerNorm::new().with_backend(backend))),
        ("rms_norm", Norm::Rms(rms)),
        ("one_plus_gamma", Norm::Rms(rms.with_one_plus_gamma(true))),
        ("groups", Norm::Rms(rms.with_group_size(GROUP))),
    ]
}

impl Norm {
    fn with_gate(self, function: GateFunction, place: GatePlace) -> Self {
        match self {
            Self::Layer(norm) => Self::Layer(norm.with_gate(function, place)),
            Self::Rms(norm) => Self::Rms(norm.with_gate(function, place)),
        }
    }
}

#[test]
fn gradients_are_those_of_autograd() {
    let all = answers();
    let input = |name| all[&("input", name)].iter().map(|&x| x as f32).collect::<Vec<f32>>();
    let [x, dy, z, dsum, gamma, beta] = ["x", "dy", "z", "dsum", "gamma", "beta"].map(input);
    let shape = rows(SHAPE.0, SHAPE.1);
    let mut compared = 0;
    let mut check = |case: &str, norm: Norm, is_gated: bool, has_dsum: bool| {
        let [mut dx, mut dz] = [(); 2].map(|()| vec![f32::NAN; x.len()]);
        let [mut dgamma, mut dbeta] = [(); 2].map(|()| vec![f64::NAN; SHAPE.1]);
        let mut args = GradArgs::new().gamma(&gamma).dgamma(&mut dgamma).dbeta(&mut dbeta);
        if is_gated {
            args = args.gate(&z).dgate(&mut dz);
        }
        if has_dsum {
            args = args.dsum(&dsum);
        }
        let io = InOut::new(&dy, &mut dx);
        match norm {
            // RmsNorm of PyTorch has no beta.
            Norm::Layer(norm) => norm.backward(io, &x, shape, args.beta(&beta)),
            Norm::Rms(norm) => norm.backward(io, &x, shape, args),
        }
        .unwrap();
        let wide = |all: &[f32]| all.iter().copied().map(f64::from).collect::<Vec<_>>();
        for (what, got) in
            [("dx", wide(&dx)), ("dz", wide(&dz)), ("dgamma", dgamma), ("dbeta", dbeta)]
        {
            let Some(expected) = all.get(&(case, what)) else { continue };
            compared += 1;
            let scale = expected.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
            for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                let off = (got - expected).abs();
                assert!(off <= 1e-6 * scale, "{case}, {what} {i}: {got:e}, not {expected:e}");
            }
        }
    };
    let backends = backends();
    for &backend in &backends {
        for (name, norm) in norms(backend) {
            check(name, norm, false, false);
            if name == "layer_norm" {
                check("layer_norm_dsum", norm, false, true);
            }
            for (of, function) in [("silu", GateFunction::Silu), ("sigmoid", GateFunction::Sigmoid)]
            {
                for (at, place) in
                    [("after", GatePlace::AfterNorm), ("before", GatePlace::BeforeNorm)]
                {
                    check(
                        &format!("{name}_{of}_{at}"),
                        norm.with_gate(function, place),
                        true,
                        false,
                    );
                }
            }
        }
    }
    // Four without a gate and dsum's; of ten with one, dx, dgamma and dz, and dbeta of LayerNorm.
    assert_eq!(compared, backends.len() * (3 + 3 * 2 + 1 + 10 * 3 + 4), "answers compared");
}

/// Two samples of three channels at ten positions, in both layouts.
#[test]
fn gradients_of_channels_are_those_of_autograd() {
    const BATCH: usize = 2;
    const CHANNELS: usize = 3;
    const POSITIONS: usize = 10;
    const CASES: [&str; 5] =
        ["batch_norm", "batch_norm_running", "group_norm", "instance_norm", "layer_norm_channels"];
    let all = answers();
    let input = |name| all[&("input", name)].iter().map(|&x| x as f32).collect::<Vec<f32>>();
    let [x, dy, gamma] = ["x", "dy", "gamma"].map(input);
    let gamma = &gamma[..CHANNELS];
    let (mean, var) = ([0.25, -0.5, 1.0], [1.5, 0.5, 2.0]);
    let first = Channels::first(BATCH, CHANNELS, POSITIONS).unwrap();
    let last = Channels::last(BATCH, POSITIONS, CHANNELS).unwrap();
    // Where an element of NCHW is in NHWC.
    let moved = |i: usize| {
        let (position, plane) = (i % POSITIONS, i / POSITIONS);
        (plane / CHANNELS * POSITIONS + position) * CHANNELS + plane % CHANNELS
    };
    for (case, backend) in with_backends(CASES) {
        for (shape, is_last) in [(first, false), (last, true)] {
            let at = |i| if is_last { moved(i) } else { i };
            let [mut of_x, mut of_dy] = [(); 2].map(|()| vec![0.0; x.len()]);
            for i in 0..x.len() {
                (of_x[at(i)], of_dy[at(i)]) = (x[i], dy[i]);
            }
            let (x, dy) = (&of_x, &of_dy);
            let mut dx = vec![f32::NAN; x.len()];
            let (mut dgamma, mut dbeta) = ([f64::NAN; CHANNELS], [f64::NAN; CHANNELS]);
            let args = GradArgs::new().gamma(gamma).dgamma(&mut dgamma).dbeta(&mut dbeta);
            let (io, batch_norm) =
                (InOut::new(dy, &mut dx), BatchNorm::new().with_backend(backend));
            let result: Result<_, Error> = match case {
                "batch_norm" => batch_norm.backward(io, x, shape, args),
                "batch_norm_running" => {
                    batch_norm.backward_inference(io, x, shape, (&mean, &var), args)
                }
                "group_norm" => GroupNorm::new()
                    .with_groups(1)
                    .with_backend(backend)
                    .backward(io, x, shape, args),
                "instance_norm" => {
                    InstanceNorm::new().with_backend(backend).backward(io, x, shape, args)
                }
                _ => LayerNorm::new().with_backend(backend).backward(io, x, shape, args),
            };
            result.unwrap();
            let dx: Vec<f64> = (0..dx.len()).map(|i| f64::from(dx[at(i)])).collect();
            for (what, got) in [("dx", &dx[..]), ("dgamma", &dgamma), ("dbeta", &dbeta)] {
                let expected = &all[&(case, what)];
                assert_eq!(got.len(), expected.len(), "{case}, {what}");
                let scale = expected.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
                for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                    let off = (got - expected).abs();
                    let what = format_args!("{backend}, {case}, {shape:?}, {what} {i}");
                    assert!(off <= 1e-6 * scale, "{what}: {got:e}, not {expected:e}");
                }
            }
        }
    }
}
