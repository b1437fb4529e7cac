//! Statistics that the caller stores in f32: an operation writes those of f64 rounded once, and takes them as the same numbers in f64.
#![forbid(unsafe_code)]

use evenkeel::{GradArgs, InOut, LayerNorm, NormArgs};

use crate::common::*;
use crate::registry::{Memory, OPERATIONS, Place, Random, Setting, Values};

#[test]
fn statistics_in_f32_are_those_of_f64_rounded_once() {
    let mut seen = 0;
    for (count, cols) in [(0, 4), (1, 1), (5, 33), (17, 100), (3, 2100)] {
        let shape = rows(count, cols);
        let random = &mut Random::new(cols as u64);
        let values = Values::new(shape, random.normals(count * cols), 1.0, random);
        for operation in OPERATIONS {
            for options in operation.option_sets() {
                let what = format!("{}, {options:?}, {count}x{cols}", operation.name);
                let mut rounded = Memory::new(operation, &values, Place::New, &options);
                if !rounded.round_statistics() {
                    continue;
                }
                let mut wide = rounded.clone();
                wide.widen_statistics();
                for backend in backends() {
                    let setting = Setting::new(backend, shape);
                    let (mut rounded, mut wide) = (rounded.clone(), wide.clone());
                    let expected = wide.call(operation, &setting);
                    seen += usize::from(expected.is_ok());
                    assert_eq!(rounded.call(operation, &setting), expected, "{what}");
                    wide.round_statistics();
                    assert_eq!(rounded.written(&what), wide.written(&what), "{what}, {backend}");
                }
            }
        }
    }
    assert!(seen > 1000, "{seen} calls take statistics");
}

/// An argument of a wrong length is the error that it is in f64, and nothing is written.
#[test]
fn statistics_in_f32_are_checked_as_those_in_f64() {
    for operation in OPERATIONS {
        let shape = rows(5, 12);
        let values = Values::new(shape, vec![1.0; 60], 1.0, &mut Random::new(1));
        for options in operation.option_sets() {
            let mut memory = Memory::new(operation, &values, Place::New, &options);
            if !memory.round_statistics() {
                continue;
            }
            for i in 0..memory.others.len() {
                let (buffer, _) = memory.others[i];
                if !["mean", "rstd"].contains(&buffer.arg) {
                    continue;
                }
                let len = memory.others[i].1.len();
                for len in [len - 1, len + 1] {
                    let mut wrong = memory.clone();
                    wrong.others[i].1.resize(len);
                    let mut wide = wrong.clone();
                    wide.widen_statistics();
                    let setting = Setting::new(evenkeel::Backend::detect(), shape);
                    let before = wrong.raw();
                    let result = wrong.call(operation, &setting);
                    assert_eq!(result, wide.call(operation, &setting), "{}", operation.name);
                    assert!(result.is_err(), "{}, {}", operation.name, buffer.name);
                    assert!(wrong.raw() == before, "{}, {}", operation.name, buffer.name);
                }
            }
        }
    }
}

/// The documented loss: `2^-24 * |mean| * rstd` of `x_hat`.
#[test]
fn a_backward_pass_with_statistics_in_f32_is_off_by_their_rounding() {
    let (cols, ratio) = (768, 1e4_f32);
    let x: Vec<f32> = Random::new(1).normals(cols).iter().map(|x| x + ratio).collect();
    let (shape, dy) = (rows(1, cols), Random::new(2).normals(cols));
    let (mut mean, mut rstd, mut y) = ([0.0_f32], [0.0_f32], vec![0.0; cols]);
    let args = NormArgs::new().stats(&mut mean, &mut rstd);
    LayerNorm::new().forward(InOut::new(&x, &mut y), shape, args).unwrap();
    let dgamma = |args: GradArgs<'_>| {
        let mut dgamma = vec![0.0_f64; cols];
        LayerNorm::new()
            .backward(InOut::read_only(&dy), &x, shape, args.dgamma(&mut dgamma))
            .unwrap();
        dgamma
    };
    let (exact, rounded) = (dgamma(GradArgs::new()), dgamma(GradArgs::new().stats(&mean, &rstd)));
    assert_ne!(exact, rounded);
    let most = 2.0_f64.powi(-24) * f64::from(ratio) * 1.1;
    for ((exact, rounded), dy) in exact.iter().zip(&rounded).zip(&dy) {
        assert!((exact - rounded).abs() <= (most + 1e-6 * 4.0) * f64::from(dy.abs()));
    }
}
