//! Laws, on any values: proptest draws shapes, bit patterns and parameters.
#![forbid(unsafe_code)]

use evenkeel::{
    BatchNorm, InOut, LayerNorm, MomentArgs, Moments, NormArgs, NormalizeScaleShift, RmsNorm,
    RowMoments, Statistics, TrainArgs, reference,
};
use proptest::prelude::*;

use crate::common::*;

/// A matrix of any bit patterns, of ordinary numbers, or of one and a few of the other.
fn matrix() -> impl Strategy<Value = (usize, usize, Vec<f32>)> {
    (1_usize..40, 1_usize..200, any::<u64>(), 0..4).prop_map(|(rows, cols, seed, kind)| {
        let random = &mut Random::new(seed);
        let x = (0..rows * cols).map(|_| match kind {
            0 => f32::from_bits(random.bits() as u32),
            1 if random.below(50) == 0 => f32::from_bits(random.bits() as u32),
            2 => (random.normal() + 1e4) as f32,
            _ => random.normal() as f32,
        });
        let x = x.collect();
        (rows, cols, x)
    })
}

/// Every output of every row operation.
fn outputs(backend: evenkeel::Backend, shape: (usize, usize), x: &[f32], eps: f64) -> Vec<u64> {
    let (count, cols) = shape;
    let shape = rows(count, cols);
    let gamma: Vec<f32> = (0..cols).map(|i| 0.5 + i as f32 * 0.37 % 1.7).collect();
    let beta: Vec<f32> = (0..cols).map(|i| i as f32 * 0.21 % 1.3 - 0.6).collect();
    let args = || NormArgs::new().affine(&gamma, &beta);
    let (mut y, mut mean, mut rstd) = (vec![0.0; x.len()], vec![0.0; count], vec![0.0; count]);
    let mut all = Vec::new();
    LayerNorm::new()
        .with_eps(eps)
        .with_backend(backend)
        .forward(InOut::new(x, &mut y), shape, args().stats(&mut mean, &mut rstd))
        .unwrap();
    all.extend(y.iter().map(|&y| u64::from(bits(y))));
    all.extend(mean.iter().chain(&rstd).map(|&x| bits64(x)));
    RmsNorm::new()
        .with_eps(eps)
        .with_backend(backend)
        .forward(InOut::new(x, &mut y), shape, NormArgs::new().gamma(&gamma).rstd(&mut rstd))
        .unwrap();
    all.extend(y.iter().map(|&y| u64::from(bits(y))));
    all.extend(rstd.iter().map(|&x| bits64(x)));
    let batch_norm = BatchNorm::new().with_eps(eps).with_backend(backend);
    let (mut mean, mut rstd) = (vec![0.0; cols], vec![0.0; cols]);
    let training = TrainArgs::new().affine(&gamma, &beta).stats(&mut mean, &mut rstd);
    batch_norm.forward_training(InOut::new(x, &mut y), shape, training).unwrap();
    all.extend(y.iter().map(|&y| u64::from(bits(y))));
    all.extend(mean.iter().chain(&rstd).map(|&x| bits64(x)));
    let mean: Vec<f32> = mean.iter().map(|&mean| mean as f32).collect();
    let var: Vec<f32> = x[..cols].iter().map(|x| x.abs()).collect();
    batch_norm.forward_inference(InOut::new(x, &mut y), shape, &mean, &var, args()).unwrap();
    all.extend(y.iter().map(|&y| u64::from(bits(y))));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn fused_backends_give_the_same_bits((count, cols, x) in matrix(), eps in 0.0..1e-3_f64) {
        let mut backends = fused_backends().into_iter();
        if let Some(first) = backends.next() {
            let expected = outputs(first, (count, cols), &x, eps);
            for backend in backends {
                prop_assert_eq!(&expected, &outputs(backend, (count, cols), &x, eps));
            }
        }
    }

    #[test]
    fn layer_norm_is_row_moments_then_normalize_scale_shift(
        (count, cols, x) in matrix(), eps in 0.0..1e-3_f64,
    ) {
        let shape = rows(count, cols);
        let gamma = Random::new(1).normals(cols);
        for backend in backends() {
            let mut moments = vec![Moments::new(); count];
            RowMoments::new().with_backend(backend)
                .compute(&x, shape, &mut moments, MomentArgs::new()).unwrap();
            let mean: Vec<f64> = moments.iter().map(|row| row.mean).collect();
            let rstd: Vec<f64> = moments
                .iter()
                .map(|row| reference::rstd(row.population_variance().unwrap(), eps))
                .collect();
            let (mut whole, mut second) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let args = || NormArgs::new().gamma(&gamma);
            LayerNorm::new().with_eps(eps).with_backend(backend)
                .forward(InOut::new(&x, &mut whole), shape, args()).unwrap();
            let (io, given) = (InOut::new(&x, &mut second), Statistics::of_rows(&mean, &rstd));
            NormalizeScaleShift::new().with_backend(backend)
                .forward(io, shape, given, args()).unwrap();
            assert_same(backend.name(), &whole, &second);
        }
    }

    #[test]
    fn scaling_x_by_a_power_of_two_and_eps_by_its_square_changes_no_bit(
        seed in any::<u64>(), cols in 1_usize..3000, power in -20..20_i32, eps in 0.0..1e-3_f64,
    ) {
        let x = Random::new(seed).normals(cols);
        let factor = 2.0_f64.powi(power);
        let scaled: Vec<f32> = x.iter().map(|&x| x * factor as f32).collect();
        for backend in backends() {
            let (mut y, mut of_scaled) = (vec![0.0; cols], vec![0.0; cols]);
            let operation = LayerNorm::new().with_backend(backend);
            let io = InOut::new(&x, &mut y);
            operation.with_eps(eps).forward(io, rows(1, cols), NormArgs::new()).unwrap();
            let io = InOut::new(&scaled, &mut of_scaled);
            operation.with_eps(eps * factor * factor)
                .forward(io, rows(1, cols), NormArgs::new()).unwrap();
            assert_same(backend.name(), &y, &of_scaled);

            // As three columns.
            let shape = rows(cols.div_ceil(3), 3);
            let operation = BatchNorm::new().with_backend(backend);
            let train = |eps: f64, x: &[f32]| {
                let mut y = x.to_vec();
                y.resize(shape.elements(), 0.0);
                operation.with_eps(eps)
                    .forward_training(InOut::in_place(&mut y), shape, TrainArgs::new()).unwrap();
                y
            };
            assert_same(backend.name(), &train(eps, &x), &train(eps * factor * factor, &scaled));
        }
    }

    #[test]
    fn negating_x_negates_y(seed in any::<u64>(), cols in 1_usize..3000) {
        let x = Random::new(seed).normals(cols);
        for backend in backends() {
            let operation = LayerNorm::new().with_backend(backend);
            let (mut y, mut negated) = (vec![0.0; cols], vec![0.0; cols]);
            operation.forward(InOut::new(&x, &mut y), rows(1, cols), NormArgs::new()).unwrap();
            let x: Vec<f32> = x.iter().map(|x| -x).collect();
            let io = InOut::new(&x, &mut negated);
            operation.forward(io, rows(1, cols), NormArgs::new()).unwrap();
            for (y, negated) in y.iter().zip(&negated) {
                prop_assert_eq!(*y, -negated);
            }
        }
    }

    /// Bad luck in the values cannot leave the bound: any finite bit patterns.
    #[test]
    fn any_finite_row_is_within_the_bound(seed in any::<u64>(), cols in 1_usize..3000) {
        let random = &mut Random::new(seed);
        let spread = 1 + random.below(254) as u32;
        let x: Vec<f32> = (0..cols)
            .map(|_| {
                let bits = random.bits() as u32;
                let exponent = (bits >> 23 & 0xff) % spread;
                f32::from_bits(bits & 0x807f_ffff | exponent << 23)
            })
            .collect();
        let (mut x_hat, shape) = (vec![0.0; cols], rows(1, cols));
        let mut y = vec![0.0; cols];
        for backend in backends() {
            reference::layer_norm(&x, None, None, 0.0, &mut x_hat);
            LayerNorm::new().with_eps(0.0).with_backend(backend)
                .forward(InOut::new(&x, &mut y), shape, NormArgs::new()).unwrap();
            assert_output(backend.name(), &y, &x_hat, &x_hat, None, None);
            reference::rms_norm(&x, None, None, 0.0, &mut x_hat);
            RmsNorm::new().with_eps(0.0).with_backend(backend)
                .forward(InOut::new(&x, &mut y), shape, NormArgs::new()).unwrap();
            assert_output(backend.name(), &y, &x_hat, &x_hat, None, None);
        }
    }
}
