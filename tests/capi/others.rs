//! What has no row in the registry: versions, backends, scratch, and what merges.

use std::ffi::CStr;
use std::ptr::null_mut;

use evenkeel::capi::*;
use evenkeel::preprocess::{MinMaxScaler, StandardScaler};
use evenkeel::{Backend, BatchNorm, Channels, ColumnMoments, Dropout, GroupNorm, Moments, Rows};

use crate::message;

fn text(of: *const std::ffi::c_char) -> &'static str {
    unsafe { CStr::from_ptr(of) }.to_str().unwrap()
}

fn output<T>(x: &mut [T], dtype: u32) -> evenkeel_output {
    evenkeel_output { data: x.as_mut_ptr().cast(), len: x.len(), pitch: 0, dtype, reserved: 0 }
}

fn input<T>(x: &[T], dtype: u32) -> evenkeel_input {
    evenkeel_input { data: x.as_ptr().cast(), len: x.len(), pitch: 0, dtype, reserved: 0 }
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

fn of_c(moments: &Moments) -> evenkeel_moments {
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
