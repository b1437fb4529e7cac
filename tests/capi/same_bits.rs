//! Every operation: the bits that Rust gets.

use std::ptr::{null, null_mut};

use evenkeel::capi::evenkeel_status::*;
use evenkeel::capi::*;
use evenkeel::penalty::Regularizer;
use evenkeel::preprocess::{MinMaxScaler, Norm, Normalizer, StandardScaler};
use evenkeel::{
    BatchNorm, Channels, ColumnMoments, Dropout, Error, GroupNorm, InOut, InstanceNorm, LayerNorm,
    Mask, MaskMut, MomentArgs, Moments, NormArgs, NormalizeScaleShift, RmsNorm, RowMoments, Rows,
    Statistics, TrainArgs, ValidRows,
};

use crate::*;

/// Pointer and length of what may be absent.
fn optional(x: Option<&[f32]>) -> (*const f32, usize) {
    x.map_or((null(), 0), |x| (x.as_ptr(), x.len()))
}

/// The arguments with gamma and beta, as far as they are there.
fn affine<'a>(gamma: Option<&'a [f32]>, beta: Option<&'a [f32]>) -> NormArgs<'a> {
    NormArgs::new().maybe_gamma(gamma).maybe_beta(beta)
}

/// Every operation that writes a y, once from Rust and once from C: the same bits, out of place and in place.
fn assert_same_as_rust(
    data: &Data,
    rust: impl for<'a> Fn(InOut<'_, 'a>) -> Result<&'a mut [f32], Error>,
    c: impl Fn(*const f32, usize, *mut f32, usize) -> evenkeel_status,
) {
    let (mut expected, mut y) = (data.y(), data.y());
    rust(InOut::new(&data.x, &mut expected)).unwrap();
    assert_eq!(
        c(data.x.as_ptr(), data.x.len(), y.as_mut_ptr(), y.len()),
        EVENKEEL_OK,
        "{}",
        message()
    );
    assert_eq!(bits(&y), bits(&expected), "out of place, {:?}", data.rows);

    let mut xy = data.x.clone();
    let at = xy.as_mut_ptr();
    assert_eq!(c(at, xy.len(), at, xy.len()), EVENKEEL_OK, "{}", message());
    assert_eq!(bits(&xy), bits(&expected), "in place, {:?}", data.rows);
}

#[test]
fn row_operations_give_the_bits_of_rust() {
    for shape in SHAPES {
        let data = Data::new(shape);
        let (rows, (r, c)) = (data.rows, shape);
        for (gamma, beta) in [
            (Some(&data.gamma[..]), Some(&data.beta[..])),
            (Some(&data.gamma[..]), None),
            (None, Some(&data.beta[..])),
            (None, None),
        ] {
            let ((g, g_len), (b, b_len)) = (optional(gamma), optional(beta));
            assert_same_as_rust(
                &data,
                |io| LayerNorm::new().with_eps(EPS).forward(io, rows, affine(gamma, beta)),
                |x, x_len, y, y_len| unsafe {
                    evenkeel_layer_norm_f32(
                        x,
                        x_len,
                        g,
                        g_len,
                        b,
                        b_len,
                        r,
                        c,
                        EPS,
                        y,
                        y_len,
                        null_mut(),
                        0,
                        null_mut(),
                        0,
                        EVENKEEL_F64,
                        null(),
                    )
                },
            );
            assert_same_as_rust(
                &data,
                |io| RmsNorm::new().with_eps(EPS).forward(io, rows, affine(gamma, beta)),
                |x, x_len, y, y_len| unsafe {
                    evenkeel_rms_norm_f32(
                        x,
                        x_len,
                        g,
                        g_len,
                        0,
                        b,
                        b_len,
                        r,
                        c,
                        EPS,
                        y,
                        y_len,
                        null_mut(),
                        0,
                        EVENKEEL_F64,
                        null(),
                    )
                },
            );
        }
    }
}

/// A residual and a gate are the data in another order.
fn second_of(data: &Data) -> Vec<f32> {
    data.x.iter().rev().copied().collect()
}

/// An entry with a residual, called with pointers to x, the residual, y and the sum, and with statistics as double: the
/// bits of the operation on the sum, whether it is not kept, kept or becomes the residual, out of place and in place.
fn assert_residual(
    data: &Data,
    expected: (&[f32], &[f64]),
    c: impl Fn(*const f32, *const f32, *mut f32, (*mut f32, usize), &mut [f64]) -> evenkeel_status,
) {
    let residual = second_of(data);
    let sum: Vec<f32> = data.x.iter().zip(&residual).map(|(x, r)| x + r).collect();
    let len = sum.len();
    for in_place in [false, true] {
        for place in ["none", "apart", "residual"] {
            let what = format!("{:?}, y is x: {in_place}, the sum: {place}", data.rows);
            let (mut x, mut y) = (data.x.clone(), data.y());
            let (mut residual, mut kept) = (residual.clone(), data.y());
            let mut stats = vec![0.0; expected.1.len()];
            let at = x.as_mut_ptr();
            let to = if in_place { at } else { y.as_mut_ptr() };
            let of = residual.as_mut_ptr();
            let place_of_sum = match place {
                "none" => (null_mut(), 0),
                "apart" => (kept.as_mut_ptr(), len),
                _ => (of, len),
            };
            let status = c(at, of, to, place_of_sum, &mut stats);
            assert_eq!(status, EVENKEEL_OK, "{what}: {}", message());
            assert_eq!(bits(if in_place { &x } else { &y }), bits(expected.0), "{what}");
            assert_eq!(stats, expected.1, "{what}");
            match place {
                "none" => assert_eq!(bits(&kept), bits(&data.y()), "{what}"),
                "apart" => assert_eq!(bits(&kept), bits(&sum), "{what}"),
                _ => assert_eq!(bits(&residual), bits(&sum), "{what}"),
            }
        }
    }
}

#[test]
fn residuals_give_the_bits_of_rust() {
    for shape in SHAPES {
        let data = Data::new(shape);
        let (rows, (r, c), len) = (data.rows, shape, data.x.len());
        let residual = second_of(&data);
        let (gamma, beta) = (Some(&data.gamma[..]), Some(&data.beta[..]));
        let ((g, g_len), (b, b_len)) = (optional(gamma), optional(beta));

        let (mut y, mut stats) = (data.y(), vec![0.0; 2 * r]);
        let (mean, rstd) = stats.split_at_mut(r);
        let args = affine(gamma, beta).residual(&residual).stats(mean, rstd);
        LayerNorm::new().forward(InOut::new(&data.x, &mut y), rows, args).unwrap();
        assert_residual(&data, (&y, &stats), |x, residual, y, (sum, sum_len), stats| unsafe {
            let (mean, rstd) = stats.split_at_mut(r);
            evenkeel_layer_norm_residual_f32(
                x,
                len,
                residual,
                len,
                g,
                g_len,
                b,
                b_len,
                r,
                c,
                EPS,
                y,
                len,
                sum,
                sum_len,
                mean.as_mut_ptr().cast(),
                r,
                rstd.as_mut_ptr().cast(),
                r,
                EVENKEEL_F64,
                null(),
            )
        });

        for one_plus_gamma in [0, 1] {
            let mut stats = vec![0.0; r];
            let args = affine(gamma, beta).residual(&residual).rstd(&mut stats);
            let operation = RmsNorm::new().with_one_plus_gamma(one_plus_gamma == 1);
            operation.forward(InOut::new(&data.x, &mut y), rows, args).unwrap();
            assert_residual(&data, (&y, &stats), |x, residual, y, (sum, sum_len), stats| unsafe {
                evenkeel_rms_norm_residual_f32(
                    x,
                    len,
                    residual,
                    len,
                    g,
                    g_len,
                    one_plus_gamma,
                    b,
                    b_len,
                    r,
                    c,
                    EPS,
                    y,
                    len,
                    sum,
                    sum_len,
                    stats.as_mut_ptr().cast(),
                    r,
                    EVENKEEL_F64,
                    null(),
                )
            });
        }
    }
}

#[test]
fn gates_and_one_plus_gamma_give_the_bits_of_rust() {
    for shape in SHAPES {
        let data = Data::new(shape);
        let (rows, (r, c)) = (data.rows, shape);
        let z = second_of(&data);
        for (gamma, one_plus_gamma) in
            [(None, 0), (Some(&data.gamma[..]), 0), (Some(&data.gamma[..]), 1)]
        {
            let (g, g_len) = optional(gamma);
            let operation = RmsNorm::new().with_one_plus_gamma(one_plus_gamma == 1);
            assert_same_as_rust(
                &data,
                |io| operation.forward(io, rows, affine(gamma, None).gate(&z)),
                |x, x_len, y, y_len| unsafe {
                    evenkeel_rms_norm_gated_f32(
                        x,
                        x_len,
                        z.as_ptr(),
                        z.len(),
                        g,
                        g_len,
                        one_plus_gamma,
                        r,
                        c,
                        EPS,
                        y,
                        y_len,
                        null(),
                    )
                },
            );
            assert_same_as_rust(
                &data,
                |io| operation.forward(io, rows, affine(gamma, None)),
                |x, x_len, y, y_len| unsafe {
                    evenkeel_rms_norm_f32(
                        x,
                        x_len,
                        g,
                        g_len,
                        one_plus_gamma,
                        null(),
                        0,
                        r,
                        c,
                        EPS,
                        y,
                        y_len,
                        null_mut(),
                        0,
                        EVENKEEL_F64,
                        null(),
                    )
                },
            );
        }
    }
}

/// Rows at pitches, out of place and in place; what lies between those of y stays.
#[test]
fn rows_at_a_pitch_give_the_bits_of_rust() {
    for (shape, (x_more, y_more)) in SHAPES.into_iter().flat_map(|s| [(s, (3, 0)), (s, (0, 16))]) {
        let (r, c) = shape;
        let data = Data::new(shape);
        let (rows, x_pitch, y_pitch) = (data.rows, c + x_more, c + y_more);
        let x = Data::new((r, x_pitch)).x;
        let (x_len, y_len) = (x.len(), (r - 1) * y_pitch + c);
        let (gamma, beta) = (Some(&data.gamma[..]), Some(&data.beta[..]));
        let ((g, g_len), (b, b_len)) = (optional(gamma), optional(beta));
        let (mean, rstd) = (vec![0.25_f64; r], vec![1.5_f64; r]);

        /// An operation with these arguments beside x, y and the pitches, and its entry.
        macro_rules! check {
            ($operation:expr, ($($given:expr),*), |$x:ident, $x_pitch:ident, $y:ident, $y_pitch:ident| $c:expr) => {{
                let c = |$x: (*const f32, usize), $x_pitch, $y: (*mut f32, usize), $y_pitch| unsafe { $c };
                let (mut expected, mut y) = (vec![BEFORE; y_len], vec![BEFORE; y_len]);
                let operation = $operation;
                let io = InOut::strided(&x, x_pitch, &mut expected, y_pitch);
                operation.forward(io, rows, $($given,)* affine(gamma, beta)).unwrap();
                let status = c((x.as_ptr(), x_len), x_pitch, (y.as_mut_ptr(), y_len), y_pitch);
                assert_eq!(status, EVENKEEL_OK, "{}", message());
                assert_eq!(bits(&y), bits(&expected), "{operation:?}, {rows:?}, {x_pitch}, {y_pitch}");

                let (mut expected, mut xy) = (x.clone(), x.clone());
                let io = InOut::strided_in_place(&mut expected, x_pitch);
                operation.forward(io, rows, $($given,)* affine(gamma, beta)).unwrap();
                let at = xy.as_mut_ptr();
                assert_eq!(c((at, x_len), x_pitch, (at, x_len), x_pitch), EVENKEEL_OK, "{}", message());
                assert_eq!(bits(&xy), bits(&expected), "{operation:?}, {rows:?}, {x_pitch}, in place");
            }};
        }
        check!(LayerNorm::new(), (), |x, x_pitch, y, y_pitch| {
            evenkeel_layer_norm_strided_f32(
                x.0,
                x.1,
                x_pitch,
                g,
                g_len,
                b,
                b_len,
                r,
                c,
                EPS,
                y.0,
                y.1,
                y_pitch,
                null(),
            )
        });
        for one_plus_gamma in [0, 1] {
            let operation = RmsNorm::new().with_one_plus_gamma(one_plus_gamma == 1);
            check!(operation, (), |x, x_pitch, y, y_pitch| {
                evenkeel_rms_norm_strided_f32(
                    x.0,
                    x.1,
                    x_pitch,
                    g,
                    g_len,
                    one_plus_gamma,
                    b,
                    b_len,
                    r,
                    c,
                    EPS,
                    y.0,
                    y.1,
                    y_pitch,
                    null(),
                )
            });
        }
        let given = NormalizeScaleShift::new();
        check!(given, (Statistics::of_rows(&mean, &rstd)), |x, x_pitch, y, y_pitch| {
            evenkeel_normalize_rows_strided_f32(
                x.0,
                x.1,
                x_pitch,
                mean.as_ptr().cast(),
                r,
                rstd.as_ptr().cast(),
                r,
                EVENKEEL_F64,
                g,
                g_len,
                b,
                b_len,
                r,
                c,
                y.0,
                y.1,
                y_pitch,
                null(),
            )
        });

        let mut moments = vec![Moments::new(); r];
        let args = MomentArgs::new().x_pitch(x_pitch);
        RowMoments::new().compute(&x, rows, &mut moments, args).unwrap();
        let mut got = vec![NOTHING; r];
        let status = unsafe {
            evenkeel_row_moments_strided_f32(
                x.as_ptr(),
                x_len,
                x_pitch,
                r,
                c,
                got.as_mut_ptr(),
                r,
                null(),
            )
        };
        assert_eq!(status, EVENKEEL_OK, "{}", message());
        for (got, expected) in got.iter().zip(&moments) {
            let Moments { count, mean, m2, .. } = *expected;
            assert_eq!((got.count, got.mean, got.m2), (count, mean, m2));
        }
    }
}

#[test]
fn statistics_come_as_double_or_rounded_to_float() {
    for shape in SHAPES {
        let data = Data::new(shape);
        let (rows, (r, c)) = (data.rows, shape);
        let (mut y, mut mean, mut rstd) = (data.y(), vec![0.0; r], vec![0.0; r]);
        let args = NormArgs::new().stats(&mut mean, &mut rstd);
        LayerNorm::new().forward(InOut::new(&data.x, &mut y), rows, args).unwrap();
        let (mut mean64, mut rstd64) = (vec![0.0_f64; r], vec![0.0_f64; r]);
        let (mut mean32, mut rstd32) = (vec![0.0_f32; r], vec![0.0_f32; r]);
        let (x, len) = (data.x.as_ptr(), data.x.len());
        let mut call = |mean, rstd, dtype| unsafe {
            evenkeel_layer_norm_f32(
                x,
                len,
                null(),
                0,
                null(),
                0,
                r,
                c,
                EPS,
                y.as_mut_ptr(),
                len,
                mean,
                r,
                rstd,
                r,
                dtype,
                null(),
            )
        };
        let wide = call(mean64.as_mut_ptr().cast(), rstd64.as_mut_ptr().cast(), EVENKEEL_F64);
        let single = call(mean32.as_mut_ptr().cast(), rstd32.as_mut_ptr().cast(), EVENKEEL_F32);
        assert_eq!((wide, single), (EVENKEEL_OK, EVENKEEL_OK), "{}", message());
        assert_eq!((&mean64, &rstd64), (&mean, &rstd));
        for i in 0..r {
            assert_eq!(
                (mean32[i], rstd32[i]),
                (mean[i] as f32, rstd[i] as f32),
                "row {i} of {r}x{c}"
            );
        }

        // And are given as either: doubles, and what the floats widen to.
        let widened = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        for (mean, rstd, dtype) in [
            (mean.clone(), rstd.clone(), EVENKEEL_F64),
            (widened(&mean32), widened(&rstd32), EVENKEEL_F32),
        ] {
            assert_same_as_rust(
                &data,
                |io| {
                    let statistics = Statistics::of_rows(&mean, &rstd);
                    NormalizeScaleShift::new().forward(io, rows, statistics, NormArgs::new())
                },
                |x, x_len, y, y_len| unsafe {
                    let (m, s) = match dtype {
                        EVENKEEL_F32 => (mean32.as_ptr().cast(), rstd32.as_ptr().cast()),
                        _ => (mean64.as_ptr().cast(), rstd64.as_ptr().cast()),
                    };
                    evenkeel_normalize_rows_f32(
                        x,
                        x_len,
                        m,
                        r,
                        s,
                        r,
                        dtype,
                        null(),
                        0,
                        null(),
                        0,
                        r,
                        c,
                        y,
                        y_len,
                        null(),
                    )
                },
            );
        }
    }
}

#[test]
fn column_operations_give_the_bits_of_rust() {
    for shape in SHAPES {
        let data = Data::new(shape);
        let (rows, (r, c)) = (data.rows, shape);
        let (gamma, beta) = (Some(&data.gamma[..]), Some(&data.beta[..]));
        let ((g, g_len), (b, b_len)) = (optional(gamma), optional(beta));
        let mut scratch_len = 0;
        let status = unsafe { evenkeel_column_scratch_len(r, c, null(), &raw mut scratch_len) };
        assert_eq!((status, scratch_len), (EVENKEEL_OK, ColumnMoments::new().scratch_len(rows)));
        let mut scratch = vec![0.0; scratch_len];

        for rule in
            [EVENKEEL_MOMENTUM_KEEP, EVENKEEL_MOMENTUM_PYTORCH, EVENKEEL_MOMENTUM_CUMULATIVE]
        {
            let operation = match rule {
                EVENKEEL_MOMENTUM_KEEP => BatchNorm::new().with_momentum(0.75),
                EVENKEEL_MOMENTUM_PYTORCH => BatchNorm::new().with_pytorch_momentum(0.75),
                _ => BatchNorm::new().with_cumulative_average(3),
            };
            let unbiased = r > 1;
            let operation = operation.with_eps(EPS).with_unbiased_running_var(unbiased);
            let (mut mean, mut rstd) = (vec![0.0; c], vec![0.0; c]);
            let (mut running_mean, mut running_var) = (vec![0.5; c], vec![2.0; c]);
            let mut expected = data.y();
            let args = TrainArgs::new().maybe_gamma(gamma).maybe_beta(beta);
            let args = args.stats(&mut mean, &mut rstd);
            let args = args.running(&mut running_mean, &mut running_var);
            let io = InOut::new(&data.x, &mut expected);
            operation.forward_training(io, rows, args).unwrap();

            for (scratch, scratch_len) in [(null_mut(), 0), (scratch.as_mut_ptr(), scratch_len)] {
                let (mut y, mut mean_c, mut rstd_c) =
                    (data.y(), vec![0.0_f32; c], vec![0.0_f32; c]);
                let (mut running_mean_c, mut running_var_c) = (vec![0.5; c], vec![2.0; c]);
                let running = evenkeel_running {
                    mean: running_mean_c.as_mut_ptr(),
                    mean_len: c,
                    var: running_var_c.as_mut_ptr(),
                    var_len: c,
                    rule,
                    unbiased_var: unbiased.into(),
                    momentum: 0.75,
                    batches: 3,
                };
                let status = unsafe {
                    evenkeel_batch_norm_training_f32(
                        data.x.as_ptr(),
                        data.x.len(),
                        g,
                        g_len,
                        b,
                        b_len,
                        r,
                        c,
                        EPS,
                        y.as_mut_ptr(),
                        y.len(),
                        mean_c.as_mut_ptr().cast(),
                        c,
                        rstd_c.as_mut_ptr().cast(),
                        c,
                        EVENKEEL_F32,
                        &raw const running,
                        scratch,
                        scratch_len,
                        null(),
                    )
                };
                assert_eq!(status, EVENKEEL_OK, "{}", message());
                assert_eq!(bits(&y), bits(&expected), "{r}x{c}");
                assert_eq!((&running_mean_c, &running_var_c), (&running_mean, &running_var));
                assert!((0..c).all(|i| (mean_c[i], rstd_c[i]) == (mean[i] as f32, rstd[i] as f32)));
            }

            let (rm, rv) = (&running_mean, &running_var);
            assert_same_as_rust(
                &data,
                |io| operation.forward_inference(io, rows, rm, rv, affine(gamma, beta)),
                |x, x_len, y, y_len| unsafe {
                    evenkeel_batch_norm_inference_f32(
                        x,
                        x_len,
                        rm.as_ptr(),
                        c,
                        rv.as_ptr(),
                        c,
                        g,
                        g_len,
                        b,
                        b_len,
                        r,
                        c,
                        EPS,
                        y,
                        y_len,
                        null(),
                    )
                },
            );
            assert_same_as_rust(
                &data,
                |io| {
                    let statistics = Statistics::of_columns(&mean, &rstd);
                    NormalizeScaleShift::new().forward(io, rows, statistics, affine(gamma, beta))
                },
                |x, x_len, y, y_len| unsafe {
                    evenkeel_normalize_columns_f32(
                        x,
                        x_len,
                        mean.as_ptr().cast(),
                        c,
                        rstd.as_ptr().cast(),
                        c,
                        EVENKEEL_F64,
                        g,
                        g_len,
                        b,
                        b_len,
                        r,
                        c,
                        y,
                        y_len,
                        null(),
                    )
                },
            );
        }
    }
}

/// Each matrix as one sample whose channels are its columns, in either layout.
#[test]
fn operations_on_channels_give_the_bits_of_rust() {
    for (r, c) in SHAPES {
        let data = Data::new((r, c));
        let (gamma, beta) = (Some(&data.gamma[..]), Some(&data.beta[..]));
        let ((g, g_len), (b, b_len)) = (optional(gamma), optional(beta));
        let shapes = [
            (EVENKEEL_CHANNELS_FIRST, Channels::first(1, c, r).unwrap()),
            (EVENKEEL_CHANNELS_LAST, Channels::last(1, r, c).unwrap()),
        ];
        for (layout, shape) in shapes {
            let mut scratch_len = 0;
            let status = unsafe {
                evenkeel_channels_scratch_len(layout, 1, c, r, null(), &raw mut scratch_len)
            };
            assert_eq!(status, EVENKEEL_OK, "{}", message());
            let mut scratch = vec![0.0; scratch_len];
            let scratch = scratch.as_mut_ptr();

            let group_norm = GroupNorm::new().with_groups(1).with_eps(EPS);
            assert_same_as_rust(
                &data,
                |io| group_norm.forward(io, shape, affine(gamma, beta)),
                |x, x_len, y, y_len| unsafe {
                    evenkeel_group_norm_f32(
                        x,
                        x_len,
                        g,
                        g_len,
                        b,
                        b_len,
                        layout,
                        1,
                        c,
                        r,
                        1,
                        EPS,
                        y,
                        y_len,
                        null_mut(),
                        0,
                        null_mut(),
                        0,
                        EVENKEEL_F64,
                        null_mut(),
                        0,
                        null(),
                    )
                },
            );
            let norm = InstanceNorm::new().with_eps(EPS);
            let (mut y, mut mean, mut rstd) = (data.y(), vec![0.0; c], vec![0.0; c]);
            let args = affine(gamma, beta).stats(&mut mean, &mut rstd);
            norm.forward(InOut::new(&data.x, &mut y), shape, args).unwrap();
            let (mut mean_c, mut rstd_c) = (vec![0.0_f32; c], vec![0.0_f32; c]);
            let (mean_at, rstd_at) = (mean_c.as_mut_ptr(), rstd_c.as_mut_ptr());
            assert_same_as_rust(
                &data,
                |io| norm.forward(io, shape, affine(gamma, beta)),
                |x, x_len, y, y_len| unsafe {
                    evenkeel_instance_norm_f32(
                        x,
                        x_len,
                        g,
                        g_len,
                        b,
                        b_len,
                        layout,
                        1,
                        c,
                        r,
                        EPS,
                        y,
                        y_len,
                        mean_at.cast(),
                        c,
                        rstd_at.cast(),
                        c,
                        EVENKEEL_F32,
                        scratch,
                        scratch_len,
                        null(),
                    )
                },
            );
            assert!((0..c).all(|i| (mean_c[i], rstd_c[i]) == (mean[i] as f32, rstd[i] as f32)));

            let norm = LayerNorm::new().with_eps(EPS);
            let (mut mean, mut rstd) = (vec![0.0; r], vec![0.0; r]);
            let args = affine(gamma, beta).stats(&mut mean, &mut rstd);
            norm.forward(InOut::new(&data.x, &mut y), shape, args).unwrap();
            let (mut mean_c, mut rstd_c) = (vec![0.0_f64; r], vec![0.0_f64; r]);
            let (mean_at, rstd_at) = (mean_c.as_mut_ptr(), rstd_c.as_mut_ptr());
            assert_same_as_rust(
                &data,
                |io| norm.forward(io, shape, affine(gamma, beta)),
                |x, x_len, y, y_len| unsafe {
                    evenkeel_layer_norm_channels_f32(
                        x,
                        x_len,
                        g,
                        g_len,
                        b,
                        b_len,
                        layout,
                        1,
                        c,
                        r,
                        EPS,
                        y,
                        y_len,
                        mean_at.cast(),
                        r,
                        rstd_at.cast(),
                        r,
                        EVENKEEL_F64,
                        null(),
                    )
                },
            );
            assert_eq!((mean_c, rstd_c), (mean, rstd));

            let norm = BatchNorm::new().with_eps(EPS).with_pytorch_momentum(0.75);
            let (mut mean, mut rstd) = (vec![0.0; c], vec![0.0; c]);
            let (mut running_mean, mut running_var) = (vec![0.5; c], vec![2.0; c]);
            let args = TrainArgs::new().maybe_gamma(gamma).maybe_beta(beta);
            let args = args.stats(&mut mean, &mut rstd);
            let args = args.running(&mut running_mean, &mut running_var);
            norm.forward_training(InOut::new(&data.x, &mut y), shape, args).unwrap();
            for (scratch, scratch_len) in [(null_mut(), 0), (scratch, scratch_len)] {
                let mut y_c = data.y();
                let (mut mean_c, mut rstd_c) = (vec![0.0_f64; c], vec![0.0_f64; c]);
                let (mut running_mean_c, mut running_var_c) = (vec![0.5; c], vec![2.0; c]);
                let running = evenkeel_running {
                    mean: running_mean_c.as_mut_ptr(),
                    mean_len: c,
                    var: running_var_c.as_mut_ptr(),
                    var_len: c,
                    rule: EVENKEEL_MOMENTUM_PYTORCH,
                    unbiased_var: 0,
                    momentum: 0.75,
                    batches: 0,
                };
                let status = unsafe {
                    evenkeel_batch_norm_training_channels_f32(
                        data.x.as_ptr(),
                        data.x.len(),
                        g,
                        g_len,
                        b,
                        b_len,
                        layout,
                        1,
                        c,
                        r,
                        EPS,
                        y_c.as_mut_ptr(),
                        y_c.len(),
                        mean_c.as_mut_ptr().cast(),
                        c,
                        rstd_c.as_mut_ptr().cast(),
                        c,
                        EVENKEEL_F64,
                        &raw const running,
                        scratch,
                        scratch_len,
                        null(),
                    )
                };
                assert_eq!(status, EVENKEEL_OK, "{}", message());
                assert_eq!(bits(&y_c), bits(&y), "{shape:?}");
                assert_eq!((&running_mean_c, &running_var_c), (&running_mean, &running_var));
                assert_eq!((&mean_c, &rstd_c), (&mean, &rstd));
            }
            let (rm, rv) = (&running_mean, &running_var);
            assert_same_as_rust(
                &data,
                |io| norm.forward_inference(io, shape, rm, rv, affine(gamma, beta)),
                |x, x_len, y, y_len| unsafe {
                    evenkeel_batch_norm_inference_channels_f32(
                        x,
                        x_len,
                        rm.as_ptr(),
                        c,
                        rv.as_ptr(),
                        c,
                        g,
                        g_len,
                        b,
                        b_len,
                        layout,
                        1,
                        c,
                        r,
                        EPS,
                        y,
                        y_len,
                        null(),
                    )
                },
            );
        }
    }
}

#[test]
fn padding_gives_the_bits_of_rust() {
    for shape in SHAPES {
        let data = Data::new(shape);
        let (rows, (r, c), (x, len)) = (data.rows, shape, (data.x.as_ptr(), data.x.len()));
        let packed: Vec<u8> = (0..r.div_ceil(8)).map(|i| 0b1011_0101 ^ i as u8).collect();
        let bytes: Vec<u8> = (0..r).map(|i| u8::from(i % 3 != 1)).collect();
        // One sample, of which the last step is padding.
        let lengths = [r.max(2) - 1];
        for (valid, start, valid_len, kind, steps) in [
            (
                ValidRows::Mask(Mask::Packed(&packed)),
                packed.as_ptr().cast(),
                packed.len(),
                EVENKEEL_VALID_PACKED,
                0,
            ),
            (
                ValidRows::Mask(Mask::Bytes(&bytes)),
                bytes.as_ptr().cast(),
                r,
                EVENKEEL_VALID_BYTES,
                0,
            ),
            (
                ValidRows::Lengths { lengths: &lengths, steps: r },
                lengths.as_ptr().cast(),
                1,
                EVENKEEL_VALID_LENGTHS,
                r,
            ),
        ] {
            let operation = BatchNorm::new().with_eps(EPS);
            let (mut mean, mut rstd) = (vec![0.0; c], vec![0.0; c]);
            let (mut mean_c, mut rstd_c) = (vec![0.0_f64; c], vec![0.0_f64; c]);
            let to_c = (mean_c.as_mut_ptr(), rstd_c.as_mut_ptr());
            let (mut y, mut y_c) = (data.y(), data.y());
            let args = TrainArgs::new().valid(valid).stats(&mut mean, &mut rstd);
            operation.forward_training(InOut::new(&data.x, &mut y), rows, args).unwrap();
            let status = unsafe {
                evenkeel_batch_norm_training_masked_f32(
                    x,
                    len,
                    start,
                    valid_len,
                    kind,
                    steps,
                    null(),
                    0,
                    null(),
                    0,
                    r,
                    c,
                    EPS,
                    y_c.as_mut_ptr(),
                    len,
                    to_c.0.cast(),
                    c,
                    to_c.1.cast(),
                    c,
                    EVENKEEL_F64,
                    null(),
                    null_mut(),
                    0,
                    null(),
                )
            };
            assert_eq!(status, EVENKEEL_OK, "{}", message());
            assert_eq!((bits(&y_c), &mean_c, &rstd_c), (bits(&y), &mean, &rstd), "{r}x{c}");

            let (m, v) = (&data.beta, &data.gamma);
            assert_same_as_rust(
                &data,
                |io| operation.forward_inference(io, rows, m, v, NormArgs::new().valid(valid)),
                |x, x_len, y, y_len| unsafe {
                    evenkeel_batch_norm_inference_masked_f32(
                        x,
                        x_len,
                        start,
                        valid_len,
                        kind,
                        steps,
                        m.as_ptr(),
                        c,
                        v.as_ptr(),
                        c,
                        null(),
                        0,
                        null(),
                        0,
                        r,
                        c,
                        EPS,
                        y,
                        y_len,
                        null(),
                    )
                },
            );

            let (mut of_columns, mut columns_c) = (vec![Moments::new(); c], vec![NOTHING; c]);
            let args = MomentArgs::new().valid(valid);
            ColumnMoments::new().compute(&data.x, rows, &mut of_columns, args).unwrap();
            let out = columns_c.as_mut_ptr();
            let status = unsafe {
                evenkeel_column_moments_masked_f32(
                    x,
                    len,
                    start,
                    valid_len,
                    kind,
                    steps,
                    r,
                    c,
                    out,
                    c,
                    null_mut(),
                    0,
                    null(),
                )
            };
            assert_eq!((status, in_bits(&columns_c)), (EVENKEEL_OK, as_c(&of_columns)));
        }
        let lengths: Vec<usize> = (0..r).map(|i| i * 7 % (c + 1)).collect();
        let (mut of_rows, mut rows_c) = (vec![Moments::new(); r], vec![NOTHING; r]);
        let args = MomentArgs::new().lengths(&lengths);
        RowMoments::new().compute(&data.x, rows, &mut of_rows, args).unwrap();
        let (from, out) = (lengths.as_ptr(), rows_c.as_mut_ptr());
        let status =
            unsafe { evenkeel_row_moments_prefixes_f32(x, len, from, r, r, c, out, r, null()) };
        assert_eq!((status, in_bits(&rows_c)), (EVENKEEL_OK, as_c(&of_rows)));
    }
}

#[test]
fn padded_instances_give_the_bits_of_rust() {
    for shape in SHAPES {
        let data = Data::new(shape);
        let (r, c) = shape;
        let bytes: Vec<u8> = (0..r).map(|i| u8::from(i % 3 != 1)).collect();
        let lengths = [r.max(2) - 1];
        for (valid, start, valid_len, kind) in [
            (ValidRows::Mask(Mask::Bytes(&bytes)), bytes.as_ptr().cast(), r, EVENKEEL_VALID_BYTES),
            (
                ValidRows::Lengths { lengths: &lengths, steps: r },
                lengths.as_ptr().cast(),
                1,
                EVENKEEL_VALID_LENGTHS,
            ),
        ] {
            for (layout, shape) in [
                (EVENKEEL_CHANNELS_FIRST, Channels::first(1, c, r).unwrap()),
                (EVENKEEL_CHANNELS_LAST, Channels::last(1, r, c).unwrap()),
            ] {
                let norm = InstanceNorm::new().with_eps(EPS);
                let (mut y, mut mean, mut rstd) = (data.y(), vec![0.0; c], vec![0.0; c]);
                let args = NormArgs::new().valid(valid).stats(&mut mean, &mut rstd);
                norm.forward(InOut::new(&data.x, &mut y), shape, args).unwrap();
                let (mut mean_c, mut rstd_c) = (vec![0.0_f64; c], vec![0.0_f64; c]);
                let (mean_at, rstd_at) = (mean_c.as_mut_ptr(), rstd_c.as_mut_ptr());
                assert_same_as_rust(
                    &data,
                    |io| norm.forward(io, shape, NormArgs::new().valid(valid)),
                    |x, x_len, y, y_len| unsafe {
                        evenkeel_instance_norm_masked_f32(
                            x,
                            x_len,
                            start,
                            valid_len,
                            kind,
                            null(),
                            0,
                            null(),
                            0,
                            layout,
                            1,
                            c,
                            r,
                            EPS,
                            y,
                            y_len,
                            mean_at.cast(),
                            c,
                            rstd_at.cast(),
                            c,
                            EVENKEEL_F64,
                            null(),
                        )
                    },
                );
                assert_eq!((mean_c, rstd_c), (mean, rstd), "{r}x{c}");
            }
        }
    }
}

/// The statistics of a batch of no rows, or of padding alone, are 0, in floats as in doubles.
#[test]
fn statistics_of_no_rows_are_zeros() {
    let (x, mask) = ([1.0, 2.0], [0_u8; 2]);
    for (rows, kind) in [(0, EVENKEEL_VALID_BYTES), (2, EVENKEEL_VALID_BYTES)] {
        let (mut y, mut mean, mut rstd) = ([BEFORE; 2], [BEFORE; 1], [BEFORE; 1]);
        let status = unsafe {
            evenkeel_batch_norm_training_masked_f32(
                x.as_ptr(),
                rows,
                mask.as_ptr().cast(),
                rows,
                kind,
                0,
                null(),
                0,
                null(),
                0,
                rows,
                1,
                EPS,
                y.as_mut_ptr(),
                rows,
                mean.as_mut_ptr().cast(),
                1,
                rstd.as_mut_ptr().cast(),
                1,
                EVENKEEL_F32,
                null(),
                null_mut(),
                0,
                null(),
            )
        };
        assert_eq!(status, EVENKEEL_OK, "{}", message());
        assert_eq!((mean, rstd), ([0.0; 1], [0.0; 1]), "{rows} rows");
        assert_eq!(y, if rows == 0 { [BEFORE; 2] } else { [0.0; 2] });
    }
}

/// Rows without elements, columns without rows, and columns of padding alone are no error: their statistics are those of
/// nothing.
#[test]
fn statistics_of_no_elements_are_zeros() {
    let (mut mean, mut rstd) = ([f64::from(BEFORE); 3], [f64::from(BEFORE); 3]);
    let (to_mean, to_rstd) = (mean.as_mut_ptr().cast(), rstd.as_mut_ptr().cast());
    let (dtype, no, out) = (EVENKEEL_F64, null(), null_mut());
    let status = unsafe {
        evenkeel_layer_norm_f32(
            no,
            0,
            no,
            0,
            no,
            0,
            3,
            0,
            EPS,
            out,
            0,
            to_mean,
            3,
            to_rstd,
            3,
            dtype,
            null(),
        )
    };
    assert_eq!(status, EVENKEEL_OK, "{}", message());
    assert_eq!((mean, rstd), ([0.0; 3], [0.0; 3]));

    let seen = evenkeel_moments { count: 3, mean: 2.0, mean_low: 1.0, m2: 6.0 };
    let (mut of_row, mut of_column, mut of_padding) = ([seen], [seen], [seen]);
    let (row, column, padding) =
        (of_row.as_mut_ptr(), of_column.as_mut_ptr(), of_padding.as_mut_ptr());
    let (x, mask, bytes) = ([1.0_f32], [0_u8], EVENKEEL_VALID_BYTES);
    let (x, valid, out) = (x.as_ptr(), mask.as_ptr().cast(), null_mut());
    let statuses = unsafe {
        [
            evenkeel_row_moments_f32(no, 0, 1, 0, row, 1, null()),
            evenkeel_column_moments_f32(no, 0, 0, 1, column, 1, out, 0, null()),
            evenkeel_column_moments_masked_f32(
                x,
                1,
                valid,
                1,
                bytes,
                0,
                1,
                1,
                padding,
                1,
                out,
                0,
                null(),
            ),
        ]
    };
    assert_eq!(statuses, [EVENKEEL_OK; 3], "{}", message());
    let nothing = in_bits(&[NOTHING]);
    assert_eq!([in_bits(&of_row), in_bits(&of_column)], [nothing.clone(), nothing.clone()]);
    assert_eq!(in_bits(&of_padding), nothing);
}

fn as_c(moments: &[Moments]) -> Vec<(u64, [u64; 3])> {
    moments.iter().map(|m| (m.count, [m.mean, m.mean_low, m.m2].map(f64::to_bits))).collect()
}

fn in_bits(moments: &[evenkeel_moments]) -> Vec<(u64, [u64; 3])> {
    moments.iter().map(|m| (m.count, [m.mean, m.mean_low, m.m2].map(f64::to_bits))).collect()
}

#[test]
fn moments_give_the_bits_of_rust() {
    for shape in SHAPES {
        let data = Data::new(shape);
        let (rows, (r, c), (x, len)) = (data.rows, shape, (data.x.as_ptr(), data.x.len()));
        let (mut of_rows, mut of_columns) = (vec![Moments::new(); r], vec![Moments::new(); c]);
        RowMoments::new().compute(&data.x, rows, &mut of_rows, MomentArgs::new()).unwrap();
        ColumnMoments::new().compute(&data.x, rows, &mut of_columns, MomentArgs::new()).unwrap();
        let (mut rows_c, mut columns_c) = (vec![NOTHING; r], vec![NOTHING; c]);
        let statuses = unsafe {
            (
                evenkeel_row_moments_f32(x, len, r, c, rows_c.as_mut_ptr(), r, null()),
                evenkeel_column_moments_f32(
                    x,
                    len,
                    r,
                    c,
                    columns_c.as_mut_ptr(),
                    c,
                    null_mut(),
                    0,
                    null(),
                ),
            )
        };
        assert_eq!(statuses, (EVENKEEL_OK, EVENKEEL_OK), "{}", message());
        assert_eq!(in_bits(&rows_c), as_c(&of_rows));
        assert_eq!(in_bits(&columns_c), as_c(&of_columns));

        let mut whole = Moments::new();
        whole.extend_from_slice(&data.x);
        whole.merge(&of_rows[0]);
        let mut whole_c = [NOTHING];
        let into = whole_c.as_mut_ptr();
        unsafe {
            assert_eq!(evenkeel_moments_extend_f32(into, x, len), EVENKEEL_OK);
            assert_eq!(evenkeel_moments_merge(into, rows_c.as_ptr()), EVENKEEL_OK);
        }
        assert_eq!(in_bits(&whole_c), as_c(&[whole]));
        // A set merged with itself.
        whole.merge(&whole.clone());
        assert_eq!(unsafe { evenkeel_moments_merge(into, into) }, EVENKEEL_OK);
        assert_eq!(in_bits(&whole_c), as_c(&[whole]));
    }
}

#[test]
fn dropout_gives_the_bits_and_the_masks_of_rust() {
    let dropout = Dropout::new().with_p(P);
    let Stream { seed, offset } = STREAM;
    for shape in SHAPES {
        let data = Data::new(shape);
        let len = data.x.len();
        for (kind, bytes) in [(EVENKEEL_MASK_PACKED, len.div_ceil(8)), (EVENKEEL_MASK_BYTES, len)] {
            let mut mask = vec![0xaa; bytes];
            match kind {
                EVENKEEL_MASK_PACKED => {
                    dropout.mask(STREAM, len, MaskMut::Packed(&mut mask)).unwrap()
                }
                _ => dropout.mask(STREAM, len, MaskMut::Bytes(&mut mask)).unwrap(),
            }
            let given = match kind {
                EVENKEEL_MASK_PACKED => Mask::Packed(&mask),
                _ => Mask::Bytes(&mask),
            };
            let mut drawn = vec![0xaa; bytes];
            let status = unsafe {
                evenkeel_dropout_mask(P, seed, offset, len, drawn.as_mut_ptr(), bytes, kind, null())
            };
            assert_eq!((status, &drawn), (EVENKEEL_OK, &mask), "{}", message());

            drawn.fill(0xaa);
            let out = drawn.as_mut_ptr();
            assert_same_as_rust(
                &data,
                |io| dropout.forward(io, STREAM),
                |x, x_len, y, y_len| unsafe {
                    evenkeel_dropout_f32(
                        x,
                        x_len,
                        P,
                        seed,
                        offset,
                        y,
                        y_len,
                        out,
                        bytes,
                        kind,
                        null(),
                    )
                },
            );
            assert_eq!(drawn, mask);
            assert_same_as_rust(
                &data,
                |io| dropout.forward(io, given),
                |x, x_len, y, y_len| unsafe {
                    evenkeel_dropout_apply_f32(
                        x,
                        x_len,
                        P,
                        mask.as_ptr(),
                        bytes,
                        kind,
                        y,
                        y_len,
                        null(),
                    )
                },
            );
            assert_same_as_rust(
                &data,
                |io| dropout.backward(io, given),
                |dy, dy_len, dx, dx_len| unsafe {
                    evenkeel_dropout_backward_with_mask_f32(
                        dy,
                        dy_len,
                        P,
                        mask.as_ptr(),
                        bytes,
                        kind,
                        dx,
                        dx_len,
                        null(),
                    )
                },
            );
        }
        assert_same_as_rust(
            &data,
            |io| dropout.backward(io, STREAM),
            |dy, dy_len, dx, dx_len| unsafe {
                evenkeel_dropout_backward_f32(dy, dy_len, P, seed, offset, dx, dx_len, null())
            },
        );
        assert_same_as_rust(
            &data,
            |io| dropout.forward_inference(io),
            |x, x_len, y, y_len| unsafe { evenkeel_dropout_inference_f32(x, x_len, y, y_len) },
        );
    }
    let (mut realised, mut scale) = (0.0, 0.0);
    unsafe {
        assert_eq!(evenkeel_dropout_realised_p(P, &raw mut realised), EVENKEEL_OK);
        assert_eq!(evenkeel_dropout_scale_f32(P, &raw mut scale), EVENKEEL_OK);
    }
    assert_eq!((realised, scale), (dropout.realised_p().unwrap(), dropout.scale().unwrap()));
}

#[test]
fn regularizers_give_the_bits_of_rust() {
    let (l1, l2, rate) = (0.1, 0.2, 0.3);
    let regularizer = Regularizer::new().with_l1(l1).with_l2(l2);
    for shape in SHAPES {
        let data = Data::new(shape);
        let (w, len) = (data.x.as_ptr(), data.x.len());
        let mut expected = data.y();
        let penalty = regularizer.penalty_and_add_gradient(&data.x, &mut expected).unwrap();
        // Both, and either alone.
        for (wants_penalty, wants_gradient) in [(true, true), (true, false), (false, true)] {
            let (mut gradient, mut sum) = (data.y(), f64::from(BEFORE));
            let out = if wants_penalty { &raw mut sum } else { null_mut() };
            let (to, to_len) =
                if wants_gradient { (gradient.as_mut_ptr(), len) } else { (null_mut(), 0) };
            let status = unsafe { evenkeel_penalty_f32(w, len, l1, l2, out, to, to_len, null()) };
            assert_eq!(status, EVENKEEL_OK, "{}", message());
            let after = if wants_gradient { expected.clone() } else { data.y() };
            assert_eq!(bits(&gradient), bits(&after));
            assert_eq!(sum, if wants_penalty { penalty } else { f64::from(BEFORE) });
        }
        assert_same_as_rust(
            &data,
            |io| regularizer.decay(io, rate),
            |w, w_len, y, y_len| unsafe {
                evenkeel_weight_decay_f32(w, w_len, l2, rate, y, y_len, null())
            },
        );
        assert_same_as_rust(
            &data,
            |io| regularizer.proximal(io, rate),
            |w, w_len, y, y_len| unsafe {
                evenkeel_proximal_f32(w, w_len, l1, l2, rate, y, y_len, null())
            },
        );
    }
}

/// The rows that are the first of two batches, and the others.
fn batches(data: &Data) -> [(&[f32], Rows); 2] {
    let (rows, cols) = (data.rows.rows(), data.rows.cols());
    let (first, rest) = data.x.split_at(rows.div_ceil(3) * cols);
    [first, rest].map(|x| (x, Rows::new(x.len() / cols, cols).unwrap()))
}

/// Two batches, once more merged with themselves, and transforms by what they leave.
#[test]
fn standard_scalers_give_the_bits_of_rust() {
    for shape in SHAPES {
        let (data, (r, c)) = (Data::new(shape), shape);
        let (mut scaler, mut whole) =
            (StandardScaler::new(c).unwrap(), StandardScaler::new(c).unwrap());
        let (mut moments, mut m2_low) = (vec![NOTHING; c], vec![0.0; c]);
        for (x, rows) in batches(&data) {
            scaler.partial_fit(x, rows).unwrap();
            let (to, low) = (moments.as_mut_ptr(), m2_low.as_mut_ptr());
            let (x, len, r) = (x.as_ptr(), x.len(), rows.rows());
            let status = unsafe {
                evenkeel_standard_scaler_partial_fit_f32(x, len, r, c, to, c, low, c, null())
            };
            assert_eq!(status, EVENKEEL_OK, "{}", message());
        }
        assert_eq!(in_bits(&moments), as_c(scaler.moments()), "{r}x{c}");

        // Without what rounding left: a scaler of saved moments.
        let saved = StandardScaler::from_moments(scaler.moments()).unwrap();
        whole.merge(&scaler).unwrap();
        whole.merge(&saved).unwrap();
        let (mut whole_c, mut whole_low) = (vec![NOTHING; c], vec![0.0; c]);
        for low in [m2_low.as_ptr(), null()] {
            let status = unsafe {
                evenkeel_standard_scaler_merge(
                    whole_c.as_mut_ptr(),
                    c,
                    whole_low.as_mut_ptr(),
                    c,
                    moments.as_ptr(),
                    c,
                    low,
                    if low.is_null() { 0 } else { c },
                    null(),
                )
            };
            assert_eq!(status, EVENKEEL_OK, "{}", message());
        }
        assert_eq!(in_bits(&whole_c), as_c(whole.moments()), "{r}x{c}");

        for (has_mean, has_scale) in [(true, true), (true, false), (false, true), (false, false)] {
            let (mut mean, mut scale) = (vec![0.5; c], vec![0.5; c]);
            let to = |wanted, of: &mut [f64]| match wanted {
                true => (of.as_mut_ptr(), c),
                false => (null_mut(), 0),
            };
            let ((to_mean, mean_len), (to_scale, scale_len)) =
                (to(has_mean, &mut mean), to(has_scale, &mut scale));
            let from = moments.as_ptr();
            let status = unsafe {
                evenkeel_standard_scaler_statistics(from, c, to_mean, mean_len, to_scale, scale_len)
            };
            assert_eq!(status, EVENKEEL_OK, "{}", message());
            let expected = |wanted, of: &[f64]| if wanted { of.to_vec() } else { vec![0.5; c] };
            assert_eq!(mean, expected(has_mean, scaler.mean()), "{r}x{c}");
            assert_eq!(scale, expected(has_scale, scaler.scale()), "{r}x{c}");
        }

        for (mean, std) in [(true, true), (true, false), (false, true), (false, false)] {
            let scaler = scaler.clone().with_mean(mean).with_std(std);
            let (m, mean, std) = (moments.as_ptr(), mean.into(), std.into());
            assert_same_as_rust(
                &data,
                |io| scaler.transform(io, data.rows),
                |x, x_len, y, y_len| unsafe {
                    evenkeel_standard_scaler_transform_f32(
                        x,
                        x_len,
                        m,
                        c,
                        r,
                        c,
                        mean,
                        std,
                        y,
                        y_len,
                        null(),
                    )
                },
            );
            assert_same_as_rust(
                &data,
                |io| scaler.inverse_transform(io, data.rows),
                |x, x_len, y, y_len| unsafe {
                    evenkeel_standard_scaler_inverse_transform_f32(
                        x,
                        x_len,
                        m,
                        c,
                        r,
                        c,
                        mean,
                        std,
                        y,
                        y_len,
                        null(),
                    )
                },
            );
        }
    }
}

/// A scaler that keeps no `m2_low` has the moments of the first batch, and of more to their last bits.
#[test]
fn a_standard_scaler_needs_no_m2_low() {
    let (x, mut moments, mut merged) = ([1.0, 10.0, 3.0, 10.0, 5.0, 10.0], [NOTHING; 2], NOTHING);
    for (x, rows) in [(&x[..4], 2), (&x[4..], 1)] {
        let (len, to) = (x.len(), moments.as_mut_ptr());
        let status = unsafe {
            evenkeel_standard_scaler_partial_fit_f32(
                x.as_ptr(),
                len,
                rows,
                2,
                to,
                2,
                null_mut(),
                0,
                null(),
            )
        };
        assert_eq!(status, EVENKEEL_OK, "{}", message());
    }
    assert_eq!((moments[0].count, moments[0].mean, moments[0].m2), (3, 3.0, 8.0));
    assert_eq!((moments[1].count, moments[1].mean, moments[1].m2), (3, 10.0, 0.0));
    let (to, from) = (&raw mut merged, moments.as_ptr());
    let status =
        unsafe { evenkeel_standard_scaler_merge(to, 1, null_mut(), 0, from, 1, null(), 0, null()) };
    assert_eq!((status, in_bits(&[merged])), (EVENKEEL_OK, in_bits(&moments[..1])));
}

#[test]
fn min_max_scalers_give_the_bits_of_rust() {
    for shape in SHAPES {
        let (data, (r, c)) = (Data::new(shape), shape);
        let mut scaler = MinMaxScaler::new(c).unwrap().with_feature_range(-1.0, 0.5);
        let (mut min, mut max) = (vec![f32::INFINITY; c], vec![f32::NEG_INFINITY; c]);
        // The first batch alone, so that some of x is outside of the range.
        let (x, rows) = batches(&data)[0];
        scaler.partial_fit(x, rows).unwrap();
        let (to_min, to_max) = (min.as_mut_ptr(), max.as_mut_ptr());
        let (x, len, fitted) = (x.as_ptr(), x.len(), rows.rows());
        let status = unsafe {
            evenkeel_min_max_scaler_partial_fit_f32(x, len, fitted, c, to_min, c, to_max, c, null())
        };
        assert_eq!(status, EVENKEEL_OK, "{}", message());
        assert_eq!((bits(&min), bits(&max)), (bits(scaler.data_min()), bits(scaler.data_max())));

        let (from_min, from_max) = (min.as_ptr(), max.as_ptr());
        for clip in [false, true] {
            let scaler = scaler.clone().with_clip(clip);
            assert_same_as_rust(
                &data,
                |io| scaler.transform(io, data.rows),
                |x, x_len, y, y_len| unsafe {
                    evenkeel_min_max_scaler_transform_f32(
                        x,
                        x_len,
                        from_min,
                        c,
                        from_max,
                        c,
                        r,
                        c,
                        -1.0,
                        0.5,
                        clip.into(),
                        y,
                        y_len,
                        null(),
                    )
                },
            );
        }
        assert_same_as_rust(
            &data,
            |io| scaler.inverse_transform(io, data.rows),
            |x, x_len, y, y_len| unsafe {
                evenkeel_min_max_scaler_inverse_transform_f32(
                    x,
                    x_len,
                    from_min,
                    c,
                    from_max,
                    c,
                    r,
                    c,
                    -1.0,
                    0.5,
                    y,
                    y_len,
                    null(),
                )
            },
        );

        let other = MinMaxScaler::from_ranges(&data.beta, &data.gamma);
        let (less, more) = (data.beta.as_ptr(), data.gamma.as_ptr());
        let status =
            unsafe { evenkeel_min_max_scaler_merge_f32(to_min, c, to_max, c, less, c, more, c) };
        let mut merged = scaler;
        merged.merge(&other.unwrap()).unwrap();
        assert_eq!(status, EVENKEEL_OK, "{}", message());
        assert_eq!((bits(&min), bits(&max)), (bits(merged.data_min()), bits(merged.data_max())));
    }
}

#[test]
fn normalizers_give_the_bits_of_rust() {
    let norms = [
        (EVENKEEL_NORM_L1, Norm::L1),
        (EVENKEEL_NORM_L2, Norm::L2),
        (EVENKEEL_NORM_MAX, Norm::Max),
    ];
    for ((r, c), (number, norm)) in SHAPES.into_iter().flat_map(|shape| norms.map(|n| (shape, n))) {
        let data = Data::new((r, c));
        assert_same_as_rust(
            &data,
            |io| Normalizer::new().with_norm(norm).forward(io, data.rows),
            |x, x_len, y, y_len| unsafe {
                evenkeel_normalizer_f32(x, x_len, r, c, number, y, y_len, null())
            },
        );
    }
}

#[test]
fn calls_from_many_threads_at_once_give_the_same_bits() {
    let data = Data::new((300, 768));
    let mut expected = data.y();
    let io = InOut::new(&data.x, &mut expected);
    LayerNorm::new().with_eps(EPS).forward(io, data.rows, NormArgs::new()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..4 {
                    let (mut y, len) = (data.y(), data.x.len());
                    let status = unsafe {
                        evenkeel_layer_norm_f32(
                            data.x.as_ptr(),
                            len,
                            null(),
                            0,
                            null(),
                            0,
                            300,
                            768,
                            EPS,
                            y.as_mut_ptr(),
                            len,
                            null_mut(),
                            0,
                            null_mut(),
                            0,
                            EVENKEEL_F64,
                            null(),
                        )
                    };
                    assert_eq!((status, bits(&y) == bits(&expected)), (EVENKEEL_OK, true));
                }
            });
        }
    });
}
