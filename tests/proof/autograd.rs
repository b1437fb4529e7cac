//! Known answers: the gradients of `PyTorch`'s autograd in f64, which `autograd.py` made. Every backend.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use evenkeel::{Backend, GateFunction, GatePlace, GradArgs, InOut, LayerNorm, RmsNorm};

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
