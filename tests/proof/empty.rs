//! The rule of no elements: what has none is never an error. Its statistics are those of nothing: mean and rstd 0,
//! `Moments::new()`. Running statistics stay. Parameters and lengths are checked as ever.
#![forbid(unsafe_code)]

use evenkeel::penalty::Regularizer;
use evenkeel::preprocess::{MinMaxScaler, Normalizer, StandardScaler};
use evenkeel::{
    BatchNorm, Channels, ColumnMoments, Dropout, DropoutArgs, Error, GroupNorm, InOut,
    InstanceNorm, LayerNorm, Mask, MaskMut, MomentArgs, Moments, NormArgs, NormalizeScaleShift,
    RmsNorm, RowMoments, Rows, Statistics, Stream, TrainArgs, ValidRows, to_vec,
};

use crate::common::*;

/// No elements.
const NONE: [f32; 0] = [];

/// Shapes of no rows, and of rows without elements.
fn shapes() -> [Rows; 3] {
    [rows(0, 0), rows(0, 5), rows(3, 0)]
}

/// No rows, or rows without elements, of every combination of arguments; their statistics are 0.
#[test]
fn rows_of_layer_norm_and_rms_norm() {
    for shape in shapes() {
        let ones = vec![1.0_f32; shape.cols()];
        let masks = [vec![0; shape.rows()], vec![1; shape.rows()]];
        for valid in masks.iter().map(|mask| ValidRows::Mask(Mask::Bytes(mask))) {
            let [mut mean, mut rstd] = [(); 2].map(|()| vec![7.0; shape.rows()]);
            let (mut sum, mut y, mut vec) = (NONE, NONE, vec![7.0_f32]);
            let args =
                || NormArgs::new().affine(&ones, &ones).x_bias(&ones).gate(&NONE).plus(&NONE);
            let all = args().residual(&NONE).sum(&mut sum).stats(&mut mean, &mut rstd).valid(valid);
            LayerNorm::new().forward(InOut::new(&NONE, &mut y), shape, all).unwrap();
            assert!(mean.iter().chain(&rstd).all(|&statistic| statistic == 0.0), "{shape:?}");

            rstd.fill(7.0);
            let mut residual = NONE;
            let all = args().update_residual(&mut residual).rstd(&mut rstd);
            RmsNorm::new().forward(InOut::in_place(&mut y), shape, all).unwrap();
            assert!(rstd.iter().all(|&rstd| rstd == 0.0), "{shape:?}");

            let all = args().residual(&NONE).sum_vec(&mut vec);
            let norm = RmsNorm::new();
            let y = to_vec(0, |y| norm.forward(InOut::uninit(&NONE, y), shape, all)).unwrap();
            assert_eq!((y, vec), (vec![], vec![]), "{shape:?}");

            let mut y = [7.0; 20];
            let io = InOut::strided(&[0.5; 20], 8, &mut y, 9);
            norm.forward(io, shape, NormArgs::new().gamma(&ones)).unwrap();
            assert_eq!(y, [7.0; 20], "{shape:?}");
        }
    }
}

#[test]
fn rows_and_columns_of_given_statistics() {
    for shape in shapes() {
        let (of_rows, of_columns) = (vec![1.0; shape.rows()], vec![1.0; shape.cols()]);
        let (operation, mut y) = (NormalizeScaleShift::new(), NONE);
        for given in [
            Statistics::of_rows(&of_rows, &of_rows),
            Statistics::of_columns(&of_columns, &of_columns),
        ] {
            operation.forward(InOut::new(&NONE, &mut y), shape, given, NormArgs::new()).unwrap();
        }
    }
}

/// Shapes of samples without elements: no samples, no channels, no positions, in both layouts.
fn channel_shapes() -> impl Iterator<Item = Channels> {
    [(0, 3, 4), (2, 0, 4), (2, 3, 0), (0, 0, 0), (2, 3, 0), (0, 3, 1), (2, 0, 1)]
        .into_iter()
        .flat_map(|(batch, channels, positions)| {
            [
                Channels::first(batch, channels, positions),
                Channels::last(batch, positions, channels),
            ]
        })
        .map(Result::unwrap)
}

/// An operation on samples.
type Run<'a> = dyn for<'y> Fn(InOut<'_, 'y>, NormArgs<'_>) -> Result<&'y mut [f32], Error> + 'a;

/// Statistics of nothing are 0. Groups need not divide channels that have no elements.
#[test]
fn samples() {
    for (shape, backend) in with_backends(channel_shapes()) {
        let (batch, channels, positions) = (shape.batch(), shape.channels(), shape.positions());
        let ones = vec![1.0_f32; channels];
        let check = |statistics: usize, run: &Run<'_>| {
            let bytes = vec![1; batch * positions];
            let [mut mean, mut rstd] = [(); 2].map(|()| vec![7.0; statistics]);
            for masked in [false, true] {
                let mut y = NONE;
                mean.fill(7.0);
                rstd.fill(7.0);
                let mut args = NormArgs::new().affine(&ones, &ones).stats(&mut mean, &mut rstd);
                if masked {
                    args = args.valid(ValidRows::Mask(Mask::Bytes(&bytes)));
                }
                run(InOut::new(&NONE, &mut y), args).unwrap();
                assert!(mean.iter().chain(&rstd).all(|&statistic| statistic == 0.0), "{shape:?}");
            }
        };
        for groups in [0, 1, 3, 7] {
            let norm = GroupNorm::new().with_groups(groups).with_backend(backend);
            check(batch * groups, &|io, args| norm.forward(io, shape, args));
        }
        let norm = InstanceNorm::new().with_backend(backend);
        check(batch * channels, &|io, args| norm.forward(io, shape, args));
        let norm = LayerNorm::new().with_backend(backend);
        check(batch * positions, &|io, args| norm.forward(io, shape, args));
    }
}

/// A batch without elements has 0 for its statistics, and leaves the running ones as they are, an unbiased variance too.
#[test]
fn batch_norm() {
    let matrices = shapes().map(Channels::from).into_iter();
    for (shape, backend) in with_backends(matrices.chain(channel_shapes())) {
        let channels = shape.channels();
        for unbiased in [false, true] {
            let norm = BatchNorm::new().with_unbiased_running_var(unbiased).with_backend(backend);
            let [mut mean, mut rstd] = [(); 2].map(|()| vec![7.0; channels]);
            let (mut running_mean, mut running_var) = (vec![0.5; channels], vec![2.0; channels]);
            let mut y = NONE;
            let args = TrainArgs::new()
                .stats(&mut mean, &mut rstd)
                .running(&mut running_mean, &mut running_var);
            norm.forward_training(InOut::new(&NONE, &mut y), shape, args).unwrap();
            assert!(mean.iter().chain(&rstd).all(|&statistic| statistic == 0.0), "{shape:?}");
            assert!(running_mean.iter().all(|&mean| mean == 0.5), "{shape:?}");
            assert!(running_var.iter().all(|&var| var == 2.0), "{shape:?}");
            let (io, args) = (InOut::in_place(&mut y), NormArgs::new());
            norm.forward_inference(io, shape, &running_mean, &running_var, args).unwrap();
        }
    }
}

#[test]
fn moments() {
    let nothing = Moments { count: 9, mean: 9.0, ..Moments::new() };
    for (shape, backend) in with_backends(shapes()) {
        let operation = RowMoments::new().with_backend(backend);
        let lengths = vec![0; shape.rows()];
        for args in [MomentArgs::new(), MomentArgs::new().lengths(&lengths)] {
            let mut moments = vec![nothing; shape.rows()];
            operation.compute(&NONE, shape, &mut moments, args).unwrap();
            assert!(moments.iter().all(|moments| *moments == Moments::new()), "{shape:?}");
        }
        let operation = ColumnMoments::new().with_backend(backend);
        let bytes = vec![1; shape.rows()];
        let valid = ValidRows::Mask(Mask::Bytes(&bytes));
        for args in [MomentArgs::new(), MomentArgs::new().valid(valid)] {
            let mut moments = vec![nothing; shape.cols()];
            operation.compute(&NONE, shape, &mut moments, args).unwrap();
            assert!(moments.iter().all(|moments| *moments == Moments::new()), "{shape:?}");
        }
    }
}

#[test]
fn dropout_and_regularizer() {
    let (mut y, mut bits) = (NONE, [0; 0]);
    for p in [0.0, 0.3, 1.0] {
        let operation = Dropout::new().with_p(p);
        let args = DropoutArgs::draw(Stream { seed: 1, offset: u64::MAX });
        let args = args.keep_mask(MaskMut::Packed(&mut bits));
        operation.forward(InOut::new(&NONE, &mut y), args).unwrap();
        operation.backward(InOut::in_place(&mut y), Mask::Bytes(&[])).unwrap();
        operation.forward_inference(InOut::new(&NONE, &mut y)).unwrap();
    }
    let operation = Regularizer::new().with_l1(1.0).with_l2(2.0);
    assert_eq!(operation.penalty(&NONE), Ok(0.0));
    assert_eq!(operation.penalty_and_add_gradient(&NONE, &mut y), Ok(0.0));
    operation.add_gradient(&NONE, &mut y).unwrap();
    operation.decay(InOut::new(&NONE, &mut y), 0.1).unwrap();
    operation.proximal(InOut::in_place(&mut y), 0.1).unwrap();
}

/// A scaler that learns from no samples has seen nothing. It transforms no elements all the same.
#[test]
fn preprocessing() {
    for shape in shapes() {
        let mut y = NONE;
        Normalizer::new().forward(InOut::new(&NONE, &mut y), shape).unwrap();
        let mut standard = StandardScaler::new(shape.cols()).unwrap();
        standard.fit(&NONE, shape).unwrap();
        assert!(!standard.is_fitted(), "{shape:?}");
        standard.transform(InOut::new(&NONE, &mut y), shape).unwrap();
        standard.inverse_transform(InOut::in_place(&mut y), shape).unwrap();
        let mut min_max = MinMaxScaler::new(shape.cols()).unwrap();
        min_max.fit(&NONE, shape).unwrap();
        assert!(!min_max.is_fitted(), "{shape:?}");
        min_max.transform(InOut::new(&NONE, &mut y), shape).unwrap();
        min_max.inverse_transform(InOut::in_place(&mut y), shape).unwrap();
    }
    let (x, some, none) = ([1.0_f32, 5.0, 3.0, 5.0], rows(2, 2), rows(0, 2));
    let (mut y, mut nothing) = ([0.0_f32; 4], NONE);
    let mut standard = StandardScaler::new(2).unwrap();
    standard.fit(&x, some).unwrap();
    standard.partial_fit(&NONE, none).unwrap();
    standard.transform(InOut::new(&x, &mut y), some).unwrap();
    assert_eq!(y, [-1.0, 0.0, 1.0, 0.0]);
    standard.transform(InOut::in_place(&mut nothing), none).unwrap();
    standard.fit(&NONE, none).unwrap();
    assert!(!standard.is_fitted());
    let mut min_max = MinMaxScaler::new(2).unwrap();
    min_max.fit(&x, some).unwrap();
    min_max.partial_fit(&NONE, none).unwrap();
    min_max.transform(InOut::new(&x, &mut y), some).unwrap();
    assert_eq!(y, [0.0, 0.0, 1.0, 0.0]);
    min_max.transform(InOut::in_place(&mut nothing), none).unwrap();
    min_max.fit(&NONE, none).unwrap();
    assert!(!min_max.is_fitted());
}

/// Without elements parameters and lengths are checked all the same.
#[test]
fn what_is_an_error_is_one_without_elements_too() {
    let (mut y, shape) = (NONE, rows(0, 5));
    let norm = LayerNorm::new().with_eps(-1.0);
    let error = norm.forward(InOut::in_place(&mut y), shape, NormArgs::new()).map(drop);
    assert!(matches!(error, Err(Error::Parameter { arg: "eps", .. })), "{error:?}");
    let args = NormArgs::new().gamma(&[1.0_f32; 4]);
    let error = LayerNorm::new().forward(InOut::in_place(&mut y), shape, args).map(drop);
    assert_eq!(error, Err(Error::Length { arg: "gamma", expected: 5, got: 4 }));
    let io = InOut::new(&[1.0], &mut y);
    let error = LayerNorm::new().forward(io, shape, NormArgs::new()).map(drop);
    assert_eq!(error, Err(Error::Length { arg: "x", expected: 0, got: 1 }));
}
