//! bf16 and f16: conversions have the bits of the crate `half`, outputs are those of f32 rounded once, whatever the data, the threads, the
//! place and the backend. `tests/capi/half.rs` has every operation and option.
#![forbid(unsafe_code)]

use ::half::{bf16, f16};
use evenkeel::{
    BatchNorm, Dropout, DropoutArgs, Element, Error, GradArgs, InOut, LayerNorm, MaskMut, NormArgs,
    NormalizeScaleShift, Parallelism, Pitch, RmsNorm, Rows, Statistics, Stream, TrainArgs,
    ValidRows, reference, to_vec,
};

use crate::common::*;

/// A type of 16 bits, as the crate `half` converts it.
pub trait Half: Element + Default + PartialEq {
    const NAME: &'static str;
    /// Half of the distance from 1 to the next number: the most that rounding changes a number by, relative to it.
    const HALF_ULP: f64;
    /// Half of the least number.
    const LEAST: f64;
    fn narrow(x: f32) -> Self;
    fn wide(self) -> f32;
    fn bits(self) -> u16;
    fn of_bits(bits: u16) -> Self;
}

macro_rules! half {
    ($type:ident, $half_ulp:expr, $least:expr) => {
        impl Half for $type {
            const NAME: &'static str = stringify!($type);
            const HALF_ULP: f64 = $half_ulp;
            const LEAST: f64 = $least;
            fn narrow(x: f32) -> Self {
                Self::from_f32(x)
            }
            fn wide(self) -> f32 {
                self.to_f32()
            }
            fn bits(self) -> u16 {
                self.to_bits()
            }
            fn of_bits(bits: u16) -> Self {
                Self::from_bits(bits)
            }
        }
    };
}

half!(bf16, 0.003_906_25, 4.591_774_807_899_561e-41);
half!(f16, 0.000_488_281_25, 2.980_232_238_769_531_2e-8);

/// Runs a test for both types.
macro_rules! both {
    ($($name:ident)+) => {$(
        #[test]
        fn $name() {
            for_type::$name::<bf16>();
            for_type::$name::<f16>();
        }
    )+};
}

both! {
    every_number_widens_as_half_does
    numbers_narrow_as_half_does
    layer_norm_is_within_its_bound_and_half_an_ulp
    rms_norm_is_within_its_bound_and_half_an_ulp
    bits_do_not_depend_on_threads_place_or_backend
    gradients_do_not_depend_on_threads_or_backend
    a_sum_is_rounded_before_it_is_normalised
    dropout_in_a_norm_is_that_of_f32_and_the_sum_is_rounded
    a_gradient_of_beta_counts_every_row
    types_that_do_not_go_together_are_errors
}

/// All 2^32 numbers. `docs/audit/full.md` says whether it has been run.
#[test]
#[ignore = "takes minutes where it is optimised"]
fn every_number_narrows_as_half_does() {
    for backend in backends() {
        for high in 0..1_u32 << 12 {
            let x: Vec<f32> =
                (0..1_u32 << 20).map(|low| f32::from_bits(high << 20 | low)).collect();
            for_type::assert_narrows::<bf16>(backend, &x);
            for_type::assert_narrows::<f16>(backend, &x);
        }
    }
}

#[test]
fn from_65520_on_f16_is_infinite() {
    for backend in backends() {
        let x = [65504.0_f32, 65519.996, 65520.0, -65520.0, f32::MAX];
        let y = for_type::copied::<f32, f16>(backend, &x);
        let expected = [65504.0, 65504.0, f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY];
        assert_eq!(y.iter().map(|y| y.to_f32()).collect::<Vec<_>>(), expected, "{backend}");
    }
}

mod for_type {
    use super::*;
    use evenkeel::Backend;

    /// y is x: a conversion alone.
    pub(super) fn copied<X: Element, Y: Element + Default>(backend: Backend, x: &[X]) -> Vec<Y> {
        let mut y = vec![Y::default(); x.len()];
        let dropout = Dropout::new().with_backend(backend);
        dropout.forward_inference(InOut::new(x, &mut y)).unwrap();
        y
    }

    pub(super) fn every_number_widens_as_half_does<T: Half>() {
        let x: Vec<T> = (0..=u16::MAX).map(T::of_bits).collect();
        for backend in backends() {
            // All places in a vector, and tails.
            for start in 0..17 {
                let y: Vec<f32> = copied(backend, &x[start..]);
                for (x, y) in x[start..].iter().zip(y) {
                    let (got, expected) = (y.to_bits(), x.wide().to_bits());
                    assert_eq!(got, expected, "{backend}, {}: {:04x}", T::NAME, x.bits());
                }
            }
        }
    }

    pub(super) fn assert_narrows<T: Half>(backend: Backend, x: &[f32]) {
        let y: Vec<T> = copied(backend, x);
        for (x, y) in x.iter().zip(y) {
            let (got, expected) = (y.bits(), T::narrow(*x).bits());
            assert_eq!(got, expected, "{backend}, {}: {:08x}", T::NAME, x.to_bits());
        }
    }

    /// Every number of the type, those around it and around the middle to the next; every exponent; and many others.
    pub(super) fn numbers_narrow_as_half_does<T: Half>() {
        let around =
            |x: u32| (0..7).map(move |i| f32::from_bits(x.wrapping_add(i).wrapping_sub(3)));
        let numbers = || (0..=u16::MAX).map(|bits| T::of_bits(bits).wide().to_bits());
        let mut x: Vec<f32> = numbers().flat_map(around).collect();
        let middle = |(a, b): (u32, u32)| around(a / 2 + b / 2 + (a & b & 1));
        x.extend(numbers().zip(numbers().skip(1)).flat_map(middle));
        x.extend((0..1 << 9).flat_map(|high| around(high << 23)));
        let mut random = Random::new(3);
        let many = if short() { 1 << 18 } else { 1 << 24 };
        x.extend((0..many).map(|_| f32::from_bits(random.bits() as u32)));
        for backend in backends() {
            assert_narrows::<T>(backend, &x);
            assert_narrows::<T>(backend, &x[1..1000]);
        }
    }

    /// A hard row that the type can hold: rounded to it, with what is too large for it left out.
    fn rounded<T: Half>(x: &[f32]) -> Option<Vec<T>> {
        let x: Vec<T> = x.iter().map(|&x| T::narrow(x)).collect();
        x.iter().all(|x| x.wide().is_finite()).then_some(x)
    }

    /// What rounding adds to a bound of f32.
    fn assert_within<T: Half>(what: &str, y: &[T], x_hat: &[f64], expected: &[f64], gamma: &[f32]) {
        for ((y, &expected), (x_hat, &gamma)) in y.iter().zip(expected).zip(x_hat.iter().zip(gamma))
        {
            let of_f32 = 1e-6 * f64::from(gamma).abs() * x_hat.abs().max(1.0) + 2_f64.powi(-149);
            let rounding = T::HALF_ULP * (expected.abs() + of_f32) + T::LEAST;
            let error = (f64::from(y.wide()) - expected).abs();
            assert!(error <= of_f32 + rounding, "{what}: {expected:e}, got {:e}", y.wide());
        }
    }

    pub(super) fn layer_norm_is_within_its_bound_and_half_an_ulp<T: Half>() {
        assert_rows::<T>(|x, gamma, y, backend| {
            let wide: Vec<f32> = x.iter().map(|x| x.wide()).collect();
            let (mut x_hat, mut expected) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            reference::layer_norm(&wide, None, None, 1e-5, &mut x_hat);
            reference::layer_norm(&wide, Some(gamma), None, 1e-5, &mut expected);
            let args = NormArgs::new().gamma(gamma);
            let norm = LayerNorm::new().with_backend(backend);
            norm.forward(InOut::new(x, y), rows(1, x.len()), args).unwrap();
            (x_hat, expected)
        });
    }

    pub(super) fn rms_norm_is_within_its_bound_and_half_an_ulp<T: Half>() {
        assert_rows::<T>(|x, gamma, y, backend| {
            let wide: Vec<f32> = x.iter().map(|x| x.wide()).collect();
            let (mut x_hat, mut expected) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            reference::rms_norm(&wide, None, None, 1e-6, &mut x_hat);
            reference::rms_norm(&wide, Some(gamma), None, 1e-6, &mut expected);
            let args = NormArgs::new().gamma(gamma);
            let norm = RmsNorm::new().with_eps(1e-6).with_backend(backend);
            norm.forward(InOut::new(x, y), rows(1, x.len()), args).unwrap();
            (x_hat, expected)
        });
    }

    fn assert_rows<T: Half>(
        forward: impl Fn(&[T], &[f32], &mut [T], Backend) -> (Vec<f64>, Vec<f64>),
    ) {
        for Case { name, x } in cases() {
            let Some(x) = rounded::<T>(&x) else { continue };
            let gamma = Random::new(x.len() as u64).normals(x.len());
            for backend in backends() {
                let mut y = vec![T::default(); x.len()];
                let (x_hat, expected) = forward(&x, &gamma, &mut y, backend);
                let what = format!("{}, {backend}, {name}", T::NAME);
                assert_within(&what, &y, &x_hat, &expected, &gamma);
            }
        }
    }

    fn normals<T: Half>(len: usize, seed: u64) -> Vec<T> {
        Random::new(seed).normals(len).into_iter().map(T::narrow).collect()
    }

    pub(super) fn bits_do_not_depend_on_threads_place_or_backend<T: Half>() {
        for (count, cols) in [(300, 768), (7, 20_000), (1000, 100)] {
            let (shape, x) = (rows(count, cols), normals::<T>(count * cols, 1));
            let (residual, gamma) = (normals::<T>(count * cols, 2), normals::<T>(cols, 3));
            let args = || NormArgs::new().gamma(&gamma).residual(&residual);
            let run = |norm: LayerNorm| {
                let mut sum = Vec::<T>::new();
                let y = to_vec(x.len(), |y| {
                    norm.forward(InOut::uninit(&x, y), shape, args().sum_vec(&mut sum))
                });
                (y.unwrap(), sum)
            };
            let serial = LayerNorm::new().with_parallelism(Parallelism::Serial);
            let expected = run(serial);
            for backend in fused_backends() {
                assert!(run(serial.with_backend(backend)) == expected, "{backend}");
            }
            for threads in [2, 3, 7] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert!(pool.install(|| run(LayerNorm::new())) == expected, "{threads} threads");
            }
            let mut in_place = x.clone();
            serial.forward(InOut::in_place(&mut in_place), shape, args()).unwrap();
            assert!(in_place == expected.0, "in place");
        }
    }

    pub(super) fn gradients_do_not_depend_on_threads_or_backend<T: Half>() {
        for (count, cols) in [(300, 768), (2000, 64)] {
            let (shape, x) = (rows(count, cols), normals::<T>(count * cols, 1));
            let (dy, gamma) = (normals::<T>(count * cols, 2), normals::<T>(cols, 3));
            let run = |norm: LayerNorm| {
                let (mut dx, mut dgamma) = (vec![T::default(); x.len()], vec![0.0_f64; cols]);
                let mut dbeta = vec![0.0_f32; cols];
                let args = GradArgs::new().gamma(&gamma).dgamma(&mut dgamma).dbeta(&mut dbeta);
                norm.backward(InOut::new(&dy, &mut dx), &x, shape, args).unwrap();
                (dx, dgamma, dbeta)
            };
            let serial = LayerNorm::new().with_parallelism(Parallelism::Serial);
            let expected = run(serial);
            for backend in fused_backends() {
                assert!(run(serial.with_backend(backend)) == expected, "{backend}");
            }
            for threads in [2, 3, 7] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert!(pool.install(|| run(LayerNorm::new())) == expected, "{threads} threads");
            }
            // The sums are those of f32, but for the order in which blocks are added.
            let wide = |x: &[T]| x.iter().map(|x| x.wide()).collect::<Vec<f32>>();
            let (wide_dy, wide_x, gamma) = (wide(&dy), wide(&x), wide(&gamma));
            let (mut dx, mut dgamma) = (vec![0.0_f32; x.len()], vec![0.0_f64; cols]);
            let args = GradArgs::new().gamma(&gamma).dgamma(&mut dgamma);
            serial.backward(InOut::new(&wide_dy, &mut dx), &wide_x, shape, args).unwrap();
            assert!(dx.iter().map(|&dx| T::narrow(dx)).eq(expected.0.iter().copied()), "dx");
            let largest = dgamma.iter().fold(0.0, |most: f64, sum| most.max(sum.abs()));
            for (got, sum) in expected.1.iter().zip(&dgamma) {
                assert!((got - sum).abs() <= 1e-6 * largest, "dgamma: {sum}, got {got}");
            }
        }
    }

    /// As an engine that adds, stores and then normalises.
    pub(super) fn a_sum_is_rounded_before_it_is_normalised<T: Half>() {
        let (count, cols) = (5, 333);
        let (shape, x) = (rows(count, cols), normals::<T>(count * cols, 1));
        let residual = normals::<T>(count * cols, 2);
        let sum: Vec<T> =
            x.iter().zip(&residual).map(|(x, r)| T::narrow(x.wide() + r.wide())).collect();
        let (norm, args) = (LayerNorm::new(), NormArgs::new);
        let normed = |x: &[T], args: NormArgs<'_>| {
            to_vec(x.len(), |y| norm.forward(InOut::uninit(x, y), shape, args)).unwrap()
        };
        let expected = normed(&sum, args());
        assert!(normed(&x, args().residual(&residual)) == expected, "the sum is not kept");
        let mut kept = vec![T::default(); x.len()];
        assert!(normed(&x, args().residual(&residual).sum(&mut kept)) == expected, "it is kept");
        assert!(kept == sum, "the sum");
        let mut updated = residual.clone();
        assert!(normed(&x, args().update_residual(&mut updated)) == expected, "it is updated");
        assert!(updated == sum, "the residual");

        // A stream of f32 is not rounded.
        let stream = Random::new(4).normals(count * cols);
        let sum: Vec<f32> = x.iter().zip(&stream).map(|(x, r)| x.wide() + r).collect();
        let mut expected = vec![T::default(); x.len()];
        norm.forward(InOut::new(&sum, &mut expected), shape, args()).unwrap();
        let mut updated = stream.clone();
        assert!(normed(&x, args().update_residual(&mut updated)) == expected, "a sum in f32");
        assert_eq!(updated, sum);
    }

    pub(super) fn dropout_in_a_norm_is_that_of_f32_and_the_sum_is_rounded<T: Half>() {
        for (count, cols) in [(5, 333), (40, 5000)] {
            let (shape, x) = (rows(count, cols), normals::<T>(count * cols, 1));
            let (residual, bias) = (normals::<T>(count * cols, 2), normals::<T>(cols, 3));
            let stream = Stream { seed: 9, offset: 77 };
            let mut sum: Vec<f32> =
                x.iter().enumerate().map(|(i, x)| x.wide() + bias[i % cols].wide()).collect();
            Dropout::new().with_p(0.3).forward(InOut::in_place(&mut sum), stream).unwrap();
            let sum: Vec<T> =
                sum.iter().zip(&residual).map(|(x, r)| T::narrow(x + r.wide())).collect();
            let norm = RmsNorm::new();
            let mut expected = vec![T::default(); x.len()];
            norm.forward(InOut::new(&sum, &mut expected), shape, NormArgs::new()).unwrap();
            let (mut kept, mut mask) = (Vec::<T>::new(), vec![0; x.len().div_ceil(8)]);
            let args = NormArgs::new().x_bias(&bias).residual(&residual).sum_vec(&mut kept);
            let dropout = DropoutArgs::draw(stream).keep_mask(MaskMut::Packed(&mut mask));
            let args = args.dropout(0.3, dropout);
            let y = to_vec(x.len(), |y| norm.forward(InOut::uninit(&x, y), shape, args)).unwrap();
            assert!(kept == sum, "the sum");
            assert!(y == expected, "y");

            // A sum without room is an error before the mask is written.
            let (mut short, mut mask, mut y) = ([T::default(); 3], vec![7; mask.len()], y);
            let dropout = DropoutArgs::draw(stream).keep_mask(MaskMut::Packed(&mut mask));
            let args = NormArgs::new().residual(&residual).sum(&mut short).dropout(0.3, dropout);
            let error = Error::Length { arg: "sum", expected: x.len(), got: 3 };
            assert_eq!(norm.forward(InOut::new(&x, &mut y), shape, args).err(), Some(error));
            assert!(y == expected && mask.iter().all(|&bits| bits == 7), "something is written");
        }
    }

    /// A sum in the type itself stops at 256 in bf16.
    pub(super) fn a_gradient_of_beta_counts_every_row<T: Half>() {
        let (count, cols) = (4096, 3);
        let (x, dy) = (normals::<T>(count * cols, 1), vec![T::narrow(1.0); count * cols]);
        let mut dbeta = [0.0_f32; 3];
        let args = GradArgs::new().dbeta(&mut dbeta);
        LayerNorm::new().backward(InOut::read_only(&dy), &x, rows(count, cols), args).unwrap();
        assert_eq!(dbeta, [4096.0; 3]);
    }

    pub(super) fn types_that_do_not_go_together_are_errors<T: Half>() {
        let (x, other_bf16, other_f16) = ([T::default(); 4], [bf16::ONE; 4], [f16::ONE; 4]);
        let shape = rows(1, 4);
        let mut y = [T::narrow(7.0); 4];
        let with = |args: NormArgs<'_>, y: &mut [T]| {
            LayerNorm::new().forward(InOut::new(&x, y), shape, args).map(|_| ())
        };
        let results = [
            ("gamma", with(NormArgs::new().gamma(&other_bf16), &mut y)),
            ("gamma", with(NormArgs::new().gamma(&other_f16), &mut y)),
        ];
        let wrong = results.iter().filter(|(_, result)| result.is_err()).count();
        assert_eq!(wrong, 1, "{results:?}");
        for (arg, result) in results {
            assert!(result.is_ok() || result == Err(Error::Type { arg }), "{result:?}");
        }
        // The sum has the residual's type.
        let (residual, mut sum) = ([T::default(); 4], [0.0_f32; 4]);
        let mut y = [T::narrow(7.0); 4];
        let result = with(NormArgs::new().residual(&residual).sum(&mut sum), &mut y);
        assert_eq!(result, Err(Error::Type { arg: "sum" }));
        assert!(y == [T::narrow(7.0); 4] && sum == [0.0; 4], "something has been written");
    }
}

/// A forward pass without a y is an error before anything is written, the residual too.
#[test]
fn a_forward_pass_needs_a_y() {
    let (x, shape) = ([bf16::ONE; 4], rows(1, 4));
    let mut residual = [bf16::from_f32(5.0); 4];
    let length = Err(Error::Length { arg: "y", expected: 4, got: 0 });
    let args = NormArgs::new().update_residual(&mut residual);
    let result = LayerNorm::new().forward(InOut::read_only(&x), shape, args).map(|_| ());
    assert_eq!(result, length);
    assert_eq!(residual, [bf16::from_f32(5.0); 4]);
    let result = RmsNorm::new().forward(InOut::read_only(&x), shape, NormArgs::new()).map(|_| ());
    assert_eq!(result, length);
    let (scale, given) = (NormalizeScaleShift::new(), Statistics::of_rows(&[0.0], &[1.0]));
    let result = scale.forward(InOut::read_only(&x), shape, given, NormArgs::new()).map(|_| ());
    assert_eq!(result, length);
    let result = BatchNorm::new().forward_training(InOut::read_only(&x), shape, TrainArgs::new());
    assert_eq!(result.map(|_| ()), length);
}

/// At a pitch a buffer may be longer than its rows, at a pitch of a row too.
#[test]
fn columns_of_a_longer_buffer() {
    let (count, cols) = (9, 5);
    let x: Vec<bf16> = (0..count * cols + 3).map(|i| bf16::from_f32((i * i % 17) as f32)).collect();
    let shape = rows(count, cols);
    let mut expected = vec![bf16::ZERO; count * cols];
    let io = InOut::new(&x[..count * cols], &mut expected);
    BatchNorm::new().forward_training(io, shape, TrainArgs::new()).unwrap();
    let mut y = vec![bf16::from_f32(7.0); x.len()];
    let io = InOut::strided(&x, cols, &mut y, cols);
    BatchNorm::new().forward_training(io, shape, TrainArgs::new()).unwrap();
    assert_eq!(y[..count * cols], expected);
    assert_eq!(y[count * cols..], [bf16::from_f32(7.0); 3]);
    // Without a pitch it may not, and then nothing is written.
    let (mut mean, mut var) = (vec![0.0; cols], vec![1.0; cols]);
    let mut y = vec![core::mem::MaybeUninit::new(bf16::ZERO); count * cols + 1];
    let io = InOut::strided_uninit(&x[..count * cols], cols, &mut y);
    let args = TrainArgs::new().running(&mut mean, &mut var);
    let result = BatchNorm::new().forward_training(io, shape, args).map(|_| ());
    let (expected, got) = (count * cols, count * cols + 1);
    assert_eq!(result, Err(Error::Length { arg: "y", expected, got }));
    assert_eq!((mean, var), (vec![0.0; cols], vec![1.0; cols]));
}

/// Padding of rows without elements takes no time, however many there are.
#[test]
fn padding_of_rows_without_elements() {
    let shape = Rows::new(usize::MAX, 0).unwrap();
    let valid = ValidRows::Lengths { lengths: &[0], steps: usize::MAX };
    let mut x: [bf16; 0] = [];
    let io = InOut::strided_in_place(&mut x, Pitch::nested(1, 0, 0));
    RmsNorm::new().forward(io, shape, NormArgs::new().valid(valid)).unwrap();
}
