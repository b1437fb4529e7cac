//! What has no row in the registry: versions, backends, scratch, options that no row sets, and what merges.

use std::ffi::CStr;
use std::ptr::null_mut;

use evenkeel::capi::*;
use evenkeel::preprocess::{MinMaxScaler, StandardScaler};
use evenkeel::{
    Backend, BatchNorm, Channels, ColumnMoments, Dropout, DropoutArgs, GroupNorm, InOut, LayerNorm,
    Mask, Moments, Rows, TrainArgs,
};

use crate::message;

fn text(of: *const std::ffi::c_char) -> &'static str {
    unsafe { CStr::from_ptr(of) }.to_str().unwrap()
}

pub(crate) fn output<T>(x: &mut [T], dtype: u32) -> evenkeel_output {
    evenkeel_output {
        data: x.as_mut_ptr().cast(),
        len: x.len(),
        pitch: 0,
        outer_pitch: 0,
        dtype,
        inner_rows: 0,
    }
}

pub(crate) fn input<T>(x: &[T], dtype: u32) -> evenkeel_input {
    evenkeel_input {
        data: x.as_ptr().cast(),
        len: x.len(),
        pitch: 0,
        outer_pitch: 0,
        dtype,
        inner_rows: 0,
    }
}

const NO_SHAPE: evenkeel_shape = evenkeel_shape {
    layout: 0,
    reserved: 0,
    rows: 0,
    cols: 0,
    batch: 0,
    channels: 0,
    positions: 0,
};

#[test]
fn the_version_is_that_of_the_crate_and_of_the_header() {
    assert_eq!(text(evenkeel_version_text()), env!("CARGO_PKG_VERSION"));
    let part = |name: &str| name.parse::<u32>().unwrap();
    let parts = [
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
    ];
    let [major, minor, patch] = parts.map(part);
    assert_eq!(evenkeel_version(), 10_000 * major + 100 * minor + patch);
    assert_eq!(evenkeel_version(), EVENKEEL_VERSION);
}

#[test]
fn backends_have_numbers_and_names() {
    let mut number = 77;
    for backend in Backend::available() {
        let name = std::ffi::CString::new(backend.name()).unwrap();
        assert_eq!(unsafe { evenkeel_backend_by_name(name.as_ptr(), &mut number) }, EVENKEEL_OK);
        assert_eq!(text(evenkeel_backend_name(number)), backend.name());
        let fused = if backend.is_fused() { EVENKEEL_BACKEND_FUSED } else { 0 };
        assert_eq!(evenkeel_backend_properties(number), EVENKEEL_BACKEND_AVAILABLE | fused);
    }
    assert_eq!(text(evenkeel_backend_name(EVENKEEL_BACKEND_DETECT)), Backend::detect().name());
    assert_eq!(unsafe { evenkeel_backend_by_name(c"detect".as_ptr(), &mut number) }, EVENKEEL_OK);
    assert_eq!(number, EVENKEEL_BACKEND_DETECT);
    let unknown = unsafe { evenkeel_backend_by_name(c"sse9".as_ptr(), &mut number) };
    assert_eq!((unknown, number), (EVENKEEL_UNKNOWN_OPTION, EVENKEEL_BACKEND_DETECT));
    let null = unsafe { evenkeel_backend_by_name(std::ptr::null(), &mut number) };
    assert_eq!(null, EVENKEEL_NULL_POINTER);
    assert_eq!(
        unsafe { evenkeel_backend_by_name(c"avx2".as_ptr(), null_mut()) },
        EVENKEEL_NULL_POINTER
    );
}

#[test]
fn scratch_is_as_long_as_in_rust() {
    let (rows, first) = (Rows::new(3000, 70).unwrap(), Channels::first(5, 7, 90).unwrap());
    let last = Channels::last(5, 90, 7).unwrap();
    let of_rows = evenkeel_shape { layout: EVENKEEL_ROWS, rows: 3000, cols: 70, ..NO_SHAPE };
    let samples = evenkeel_shape { batch: 5, channels: 7, positions: 90, ..NO_SHAPE };
    let (of_first, of_last) = (
        evenkeel_shape { layout: EVENKEEL_CHANNELS_FIRST, ..samples },
        evenkeel_shape { layout: EVENKEEL_CHANNELS_LAST, ..samples },
    );
    // x and y have to be there, and are not looked at.
    let (mut y, mut sums) =
        ([0.0_f32; 1], [evenkeel_moments { count: 0, mean: 0.0, mean_low: 0.0, m2: 0.0 }]);
    let (x, y, moments) = (
        input(&[1.0_f32], EVENKEEL_F32),
        output(&mut y, EVENKEEL_F32),
        output(&mut sums, EVENKEEL_MOMENTS),
    );
    let train = |shape| {
        let (mut len, args) =
            (77, evenkeel_batch_norm_training_args { x, y, shape, ..Default::default() });
        assert_eq!(
            unsafe { evenkeel_batch_norm_scratch_len(&args, &mut len) },
            EVENKEEL_OK,
            "{}",
            message()
        );
        assert_eq!(
            unsafe { evenkeel_batch_norm_scratch_len(&args, null_mut()) },
            EVENKEEL_NULL_POINTER
        );
        len
    };
    assert_eq!(train(of_rows), BatchNorm::new().scratch_len(rows));
    assert_eq!(train(of_first), BatchNorm::new().scratch_len(first));
    let group = |shape| {
        let (mut len, args) = (77, evenkeel_group_norm_args { x, y, shape, ..Default::default() });
        assert_eq!(
            unsafe { evenkeel_group_norm_scratch_len(&args, &mut len) },
            EVENKEEL_OK,
            "{}",
            message()
        );
        len
    };
    assert_eq!(group(of_first), 0);
    assert_eq!(group(of_last), GroupNorm::new().with_groups(7).scratch_len(last));
    let (mut len, args) =
        (77, evenkeel_column_moments_args { x, moments, shape: of_rows, ..Default::default() });
    assert_eq!(
        unsafe { evenkeel_column_moments_scratch_len(&args, &mut len) },
        EVENKEEL_OK,
        "{}",
        message()
    );
    assert_eq!(len, ColumnMoments::new().scratch_len(rows));
    let (mut len, args) =
        (77, evenkeel_norm_backward_args { dy: x, x, shape: of_rows, ..Default::default() });
    let status = unsafe { evenkeel_norm_backward_scratch_len(&args, &mut len) };
    assert_eq!(status, EVENKEEL_OK, "{}", message());
    assert_eq!(len, LayerNorm::new().backward_scratch_len(rows));
    let (mut len, args) =
        (77, evenkeel_channels_backward_args { dy: x, x, shape: of_rows, ..Default::default() });
    let status = unsafe { evenkeel_channels_backward_scratch_len(&args, &mut len) };
    assert_eq!(status, EVENKEEL_OK, "{}", message());
    assert_eq!(len, BatchNorm::new().backward_scratch_len(rows), "BatchNorm alone takes a matrix");
    for (shape, of) in [(of_first, first), (of_last, last)] {
        let (mut len, args) =
            (77, evenkeel_channels_backward_args { dy: x, x, shape, ..Default::default() });
        let status = unsafe { evenkeel_channels_backward_scratch_len(&args, &mut len) };
        assert_eq!(status, EVENKEEL_OK, "{}", message());
        let needed = [
            BatchNorm::new().backward_scratch_len(of),
            GroupNorm::new().backward_scratch_len(of),
            LayerNorm::new().backward_scratch_len(of),
        ];
        assert_eq!(Some(len), needed.into_iter().max());
    }
}

#[test]
fn the_rate_of_dropout() {
    let (mut realised, mut scale) = (0.0, 0.0);
    assert_eq!(unsafe { evenkeel_dropout_rate(0.3, &mut realised, &mut scale) }, EVENKEEL_OK);
    let dropout = Dropout::new().with_p(0.3);
    assert_eq!((realised, scale), (dropout.realised_p().unwrap(), dropout.scale().unwrap()));
    assert_eq!(unsafe { evenkeel_dropout_rate(0.3, null_mut(), null_mut()) }, EVENKEEL_OK);
    let wrong = unsafe { evenkeel_dropout_rate(2.0, &mut realised, null_mut()) };
    assert_eq!((wrong, realised), (EVENKEEL_PARAMETER, dropout.realised_p().unwrap()));
}

/// A mask that is given has the scale of p, one that is drawn that of the realised p.
#[test]
fn a_given_mask_has_the_nominal_scale() {
    let (x, mask, p) = ([3.0_f32; 16], [0xA5_u8, 0x0F], 0.1);
    let (mut expected, mut y) = ([0.0_f32; 16], [0.0_f32; 16]);
    let dropout = Dropout::new().with_p(p);
    let given = DropoutArgs::given(Mask::Packed(&mask));
    dropout.forward(InOut::new(&x, &mut expected), given).unwrap();
    let args = evenkeel_dropout_args {
        x: input(&x, EVENKEEL_F32),
        y: output(&mut y, EVENKEEL_F32),
        p,
        mask: input(&mask, EVENKEEL_BITS),
        ..Default::default()
    };
    for function in [evenkeel_dropout, evenkeel_dropout_backward] {
        y.fill(f32::NAN);
        assert_eq!(unsafe { function(&args) }, EVENKEEL_OK, "{}", message());
        assert_eq!(y, expected);
    }
    assert_eq!(y[0], 3.0 * (1.0 / 0.9_f64) as f32);
    assert_ne!(y[0], 3.0 * dropout.scale().unwrap());
}

/// Two channels, of which the second has a value that is not finite.
const SPOILT: [f32; 4] = [1.0, f32::INFINITY, 3.0, 5.0];

fn two_channels() -> evenkeel_shape {
    evenkeel_shape { layout: EVENKEEL_ROWS, rows: 2, cols: 2, ..NO_SHAPE }
}

#[test]
fn updates_that_are_not_finite_are_skipped_on_request() {
    for skip in [false, true] {
        let ([mut mean, mut var], [mut c_mean, mut c_var]) = ([[0.5; 2]; 2], [[0.5; 2]; 2]);
        let (mut y, rows) = ([0.0; 4], Rows::new(2, 2).unwrap());
        let args = TrainArgs::new().running(&mut mean, &mut var);
        let batch_norm = BatchNorm::new().with_skip_non_finite_updates(skip);
        batch_norm.forward_training(InOut::new(&SPOILT, &mut y), rows, args).unwrap();
        let args = evenkeel_batch_norm_training_args {
            x: input(&SPOILT, EVENKEEL_F32),
            y: output(&mut y, EVENKEEL_F32),
            shape: two_channels(),
            running_mean: output(&mut c_mean, EVENKEEL_F32),
            running_var: output(&mut c_var, EVENKEEL_F32),
            skip_non_finite_updates: skip.into(),
            ..Default::default()
        };
        assert_eq!(unsafe { evenkeel_batch_norm_training(&args) }, EVENKEEL_OK, "{}", message());
        let bits = |x: [f32; 2]| x.map(f32::to_bits);
        assert_eq!((bits(c_mean), bits(c_var)), (bits(mean), bits(var)), "{skip}");
        assert_eq!(c_var[1] == 0.5, skip, "{c_var:?}");
        assert_ne!(c_var[0], 0.5);
        for (flag, reserved, arg) in [(2, 0, "`skip_non_finite_updates`"), (0, 1, "`reserved`")] {
            let wrong = evenkeel_batch_norm_training_args {
                skip_non_finite_updates: flag,
                reserved,
                ..args
            };
            let status = unsafe { evenkeel_batch_norm_training(&wrong) };
            assert_eq!(status, EVENKEEL_UNKNOWN_OPTION);
            assert!(message().starts_with(arg), "{}", message());
        }
    }
}

/// A finite batch whose variance leaves f32: a status of its own, and nothing written.
#[test]
fn a_running_variance_that_overflows() {
    let (x, mut y) = ([1.0_f32, 1e25, 3.0, 3e25], [7.0_f32; 4]);
    let (mut mean, mut rstd) = ([7.0_f64; 2], [7.0_f32; 2]);
    let (mut running_mean, mut running_var) = ([7.0_f32; 2], [7.0_f32; 2]);
    let args = evenkeel_batch_norm_training_args {
        x: input(&x, EVENKEEL_F32),
        y: output(&mut y, EVENKEEL_F32),
        shape: two_channels(),
        mean: output(&mut mean, EVENKEEL_F64),
        rstd: output(&mut rstd, EVENKEEL_F32),
        running_mean: output(&mut running_mean, EVENKEEL_F32),
        running_var: output(&mut running_var, EVENKEEL_F32),
        ..Default::default()
    };
    let status = unsafe { evenkeel_batch_norm_training(&args) };
    assert_eq!(status, EVENKEEL_STATISTIC_OVERFLOW, "{}", message());
    assert!(message().starts_with("`running_var`: expected at most 3.4"), "{}", message());
    assert!(message().contains("channel 1"), "{}", message());
    assert_eq!((y, mean, rstd), ([7.0; 4], [7.0; 2], [7.0; 2]));
    assert_eq!((running_mean, running_var), ([7.0; 2], [7.0; 2]));
}

/// Given the doubles of training, the second half of batch norm has the bits of training, in both layouts of channels.
#[test]
fn the_statistics_of_training_give_its_bits() {
    let x: Vec<f32> = (0..2 * 3 * 70).map(|i| (i * i % 97) as f32 - 1e3).collect();
    for layout in [EVENKEEL_CHANNELS_FIRST, EVENKEEL_CHANNELS_LAST] {
        let shape = evenkeel_shape { layout, batch: 2, channels: 3, positions: 70, ..NO_SHAPE };
        let (mut expected, mut y) = (vec![0.0_f32; x.len()], vec![0.0_f32; x.len()]);
        let (mut mean, mut rstd) = ([0.0_f64; 3], [0.0_f64; 3]);
        let train = evenkeel_batch_norm_training_args {
            x: input(&x, EVENKEEL_F32),
            y: output(&mut expected, EVENKEEL_F32),
            shape,
            mean: output(&mut mean, EVENKEEL_F64),
            rstd: output(&mut rstd, EVENKEEL_F64),
            ..Default::default()
        };
        assert_eq!(unsafe { evenkeel_batch_norm_training(&train) }, EVENKEEL_OK, "{}", message());
        let apply = evenkeel_normalize_scale_shift_args {
            x: input(&x, EVENKEEL_F32),
            y: output(&mut y, EVENKEEL_F32),
            shape,
            statistics_of: EVENKEEL_OF_COLUMNS,
            mean: input(&mean, EVENKEEL_F64),
            rstd: input(&rstd, EVENKEEL_F64),
            ..Default::default()
        };
        assert_eq!(unsafe { evenkeel_normalize_scale_shift(&apply) }, EVENKEEL_OK, "{}", message());
        assert!(y == expected && y[0] != 0.0, "layout {layout}");
    }
}

/// As in Rust, a scaler that has seen nothing transforms no elements, and returns an error for any.
#[test]
fn a_scaler_that_is_not_fitted_transforms_no_elements() {
    let moments = [of_c(&Moments::new()); 2];
    let (min, max) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
    let (x, mut y) = ([1.0_f32; 2], [7.0_f32; 2]);
    for (rows, status) in [(0, EVENKEEL_OK), (1, EVENKEEL_NOT_FITTED)] {
        let shape = evenkeel_shape { layout: EVENKEEL_ROWS, rows, cols: 2, ..NO_SHAPE };
        let (x, y) =
            (input(&x[..2 * rows], EVENKEEL_F32), output(&mut y[..2 * rows], EVENKEEL_F32));
        for inverse in [0, 1] {
            let moments = input(&moments, EVENKEEL_MOMENTS);
            let standard = evenkeel_standard_scaler_transform_args {
                x,
                y,
                shape,
                moments,
                inverse,
                ..Default::default()
            };
            let got = unsafe { evenkeel_standard_scaler_transform(&standard) };
            assert_eq!(got, status, "{rows} rows: {}", message());
            let (data_min, data_max) = (input(&min, EVENKEEL_F32), input(&max, EVENKEEL_F32));
            let min_max = evenkeel_min_max_scaler_transform_args {
                x,
                y,
                shape,
                data_min,
                data_max,
                inverse,
                ..Default::default()
            };
            let got = unsafe { evenkeel_min_max_scaler_transform(&min_max) };
            assert_eq!(got, status, "{rows} rows: {}", message());
        }
    }
    assert_eq!(y, [7.0; 2]);
}

pub(crate) fn of_c(moments: &Moments) -> evenkeel_moments {
    let Moments { count, mean, mean_low, m2 } = *moments;
    evenkeel_moments { count, mean, mean_low, m2 }
}

#[test]
fn moments_merge_as_in_rust() {
    let (mut a, mut b) = (Moments::new(), Moments::new());
    a.extend_from_slice(&[1.0_f32, 5.0, -3.0]);
    b.extend_from_slice(&[1e6_f32, 2.0]);
    let (mut into, other) = (of_c(&a), of_c(&b));
    a.merge(&b);
    assert_eq!(unsafe { evenkeel_moments_merge(&mut into, &other) }, EVENKEEL_OK);
    assert_eq!(format!("{into:?}"), format!("{:?}", of_c(&a)));
    let at = &raw mut into;
    let twice = a;
    a.merge(&twice);
    assert_eq!(unsafe { evenkeel_moments_merge(at, at) }, EVENKEEL_OK);
    assert_eq!(format!("{into:?}"), format!("{:?}", of_c(&a)));
    assert_eq!(unsafe { evenkeel_moments_merge(null_mut(), &other) }, EVENKEEL_NULL_POINTER);
    assert_eq!(
        unsafe { evenkeel_moments_merge(&mut into, std::ptr::null()) },
        EVENKEEL_NULL_POINTER
    );
}

/// Two scalers, merged: moments, means and scales of Rust.
#[test]
fn standard_scalers_merge_and_tell_their_statistics() {
    let (x, rows) = ([1.0_f32, 10.0, 3.0, 30.0, 5.0, 20.0], Rows::new(3, 2).unwrap());
    let mut scaler = StandardScaler::new(2).unwrap();
    scaler.partial_fit(&x, rows).unwrap();
    let other = scaler.clone();
    let mut moments: Vec<evenkeel_moments> = scaler.moments().iter().map(of_c).collect();
    let others = moments.clone();
    scaler.merge(&other).unwrap();
    let mut low = [0.0_f64; 2];
    let args = evenkeel_standard_scaler_merge_args {
        moments: output(&mut moments, EVENKEEL_MOMENTS),
        m2_low: output(&mut low, EVENKEEL_F64),
        other: input(&others, EVENKEEL_MOMENTS),
        ..Default::default()
    };
    assert_eq!(unsafe { evenkeel_standard_scaler_merge(&args) }, EVENKEEL_OK, "{}", message());
    let expected: Vec<_> = scaler.moments().iter().map(of_c).collect();
    assert_eq!(format!("{moments:?}"), format!("{expected:?}"));
    let short = evenkeel_standard_scaler_merge_args {
        other: input(&others[..1], EVENKEEL_MOMENTS),
        ..args
    };
    assert_eq!(unsafe { evenkeel_standard_scaler_merge(&short) }, EVENKEEL_LENGTH);
    let shared =
        evenkeel_standard_scaler_merge_args { other: input(&moments, EVENKEEL_MOMENTS), ..args };
    assert_eq!(unsafe { evenkeel_standard_scaler_merge(&shared) }, EVENKEEL_OVERLAP);

    let (mut mean, mut scale) = ([0.0_f64; 2], [0.0_f64; 2]);
    let args = evenkeel_standard_scaler_statistics_args {
        moments: input(&moments, EVENKEEL_MOMENTS),
        mean: output(&mut mean, EVENKEEL_F64),
        scale: output(&mut scale, EVENKEEL_F64),
        ..Default::default()
    };
    assert_eq!(unsafe { evenkeel_standard_scaler_statistics(&args) }, EVENKEEL_OK, "{}", message());
    assert_eq!((&mean[..], &scale[..]), (scaler.mean(), scaler.scale()));
    let negative = [evenkeel_moments { m2: -1.0, ..moments[0] }; 2];
    let wrong = evenkeel_standard_scaler_statistics_args {
        moments: input(&negative, EVENKEEL_MOMENTS),
        ..args
    };
    assert_eq!(unsafe { evenkeel_standard_scaler_statistics(&wrong) }, EVENKEEL_PARAMETER);
}

#[test]
fn min_max_scalers_merge() {
    let mut scaler = MinMaxScaler::from_ranges(&[1.0, -2.0], &[3.0, 2.0]).unwrap();
    let other = MinMaxScaler::from_ranges(&[0.0, -1.0], &[2.0, 9.0]).unwrap();
    let (mut min, mut max) = (scaler.data_min().to_vec(), scaler.data_max().to_vec());
    scaler.merge(&other).unwrap();
    let args = evenkeel_min_max_scaler_merge_args {
        data_min: output(&mut min, EVENKEEL_F32),
        data_max: output(&mut max, EVENKEEL_F32),
        other_min: input(other.data_min(), EVENKEEL_F32),
        other_max: input(other.data_max(), EVENKEEL_F32),
        ..Default::default()
    };
    assert_eq!(unsafe { evenkeel_min_max_scaler_merge(&args) }, EVENKEEL_OK, "{}", message());
    assert_eq!((&min[..], &max[..]), (scaler.data_min(), scaler.data_max()));
    let swapped = evenkeel_min_max_scaler_merge_args {
        other_min: args.other_max,
        other_max: args.other_min,
        ..args
    };
    assert_eq!(unsafe { evenkeel_min_max_scaler_merge(&swapped) }, EVENKEEL_PARAMETER);
    let nan = [f32::NAN; 2];
    let wrong = evenkeel_min_max_scaler_merge_args { other_min: input(&nan, EVENKEEL_F32), ..args };
    assert_eq!(unsafe { evenkeel_min_max_scaler_merge(&wrong) }, EVENKEEL_PARAMETER);
}
