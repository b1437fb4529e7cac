//! Scalers as bytes in C: those of Rust, and errors before anything is written.

use std::ptr::null_mut;

use evenkeel::Moments;
use evenkeel::capi::*;
use evenkeel::preprocess::{MinMaxScaler, StandardScaler};

use crate::message;
use crate::others::{input, of_c, output};

const INFO: evenkeel_scaler_info = evenkeel_scaler_info {
    features: 77,
    scaler: 77,
    with_mean: 77,
    with_std: 77,
    clip: 77,
    range_min: 7.0,
    range_max: 7.0,
};

fn info(bytes: &[u8]) -> (evenkeel_status, String) {
    let mut info = INFO;
    let bytes = input(bytes, EVENKEEL_BYTES);
    let args = evenkeel_scaler_state_info_args { bytes, info: &mut info, ..Default::default() };
    (unsafe { evenkeel_scaler_state_info(&args) }, format!("{info:?}"))
}

#[test]
fn a_standard_scaler_has_the_bytes_of_rust() {
    let seen = [
        Moments { count: 3, mean: 1.5, mean_low: 1e-17, m2: 2.0 },
        Moments { count: 4, mean: -1.0, mean_low: 0.0, m2: 0.5 },
    ];
    let scaler = StandardScaler::from_moments(&seen).unwrap().with_mean(false);
    let expected = scaler.to_bytes().unwrap();
    let (moments, low, mut bytes) = (seen.map(|of| of_c(&of)), [0.0, 0.0], [7_u8; 112]);
    let mut save = evenkeel_standard_scaler_to_bytes_args {
        moments: input(&moments, EVENKEEL_MOMENTS),
        m2_low: input(&low, EVENKEEL_F64),
        bytes: output(&mut bytes, EVENKEEL_BYTES),
        with_mean: 0,
        ..Default::default()
    };
    assert_eq!(unsafe { evenkeel_standard_scaler_to_bytes(&save) }, EVENKEEL_OK, "{}", message());
    assert_eq!(bytes[..], expected);
    // Every member wrong, one at a time.
    bytes = [7; 112];
    let right = save;
    type Edit = fn(&mut evenkeel_standard_scaler_to_bytes_args);
    let wrong: [(Edit, u32, &str); 4] = [
        (|args| args.bytes.len -= 1, EVENKEEL_LENGTH, "`bytes`"),
        (|args| args.m2_low.len -= 1, EVENKEEL_LENGTH, "`m2_low`"),
        (|args| args.moments.len -= 1, EVENKEEL_LENGTH, "`m2_low`"),
        (|args| args.with_std = 2, EVENKEEL_UNKNOWN_OPTION, "`with_std`"),
    ];
    for (wrong, status, names) in wrong {
        save = right;
        wrong(&mut save);
        assert_eq!(unsafe { evenkeel_standard_scaler_to_bytes(&save) }, status, "{}", message());
        assert!(message().starts_with(names), "{}", message());
    }
    assert_eq!(bytes, [7; 112]);

    let (status, got) = info(&expected);
    assert_eq!(status, EVENKEEL_OK, "{}", message());
    let standard = evenkeel_scaler_info {
        features: 2,
        scaler: EVENKEEL_STANDARD_SCALER,
        with_mean: 0,
        with_std: 1,
        clip: 0,
        range_min: 0.0,
        range_max: 0.0,
    };
    assert_eq!(got, format!("{standard:?}"));
    let (mut moments, mut low) = ([of_c(&Moments::new()); 2], [7.0; 2]);
    let load = evenkeel_standard_scaler_from_bytes_args {
        bytes: input(&expected, EVENKEEL_BYTES),
        moments: output(&mut moments, EVENKEEL_MOMENTS),
        m2_low: output(&mut low, EVENKEEL_F64),
        ..Default::default()
    };
    assert_eq!(unsafe { evenkeel_standard_scaler_from_bytes(&load) }, EVENKEEL_OK, "{}", message());
    assert_eq!(format!("{moments:?}"), format!("{:?}", seen.map(|of| of_c(&of))));
    assert_eq!(low, [0.0; 2]);
}

#[test]
fn a_min_max_scaler_has_the_bytes_of_rust() {
    let (min, max) = ([1.0_f32, -3.0, 0.5], [1.0_f32, 4.0, 0.75]);
    let scaler = MinMaxScaler::from_ranges(&min, &max).unwrap();
    let expected = scaler.with_feature_range(-1.0, 2.5).with_clip(true).to_bytes().unwrap();
    let mut bytes = [7_u8; 72];
    let save = evenkeel_min_max_scaler_to_bytes_args {
        data_min: input(&min, EVENKEEL_F32),
        data_max: input(&max, EVENKEEL_F32),
        bytes: output(&mut bytes, EVENKEEL_BYTES),
        range_min: -1.0,
        range_max: 2.5,
        clip: 1,
        ..Default::default()
    };
    assert_eq!(unsafe { evenkeel_min_max_scaler_to_bytes(&save) }, EVENKEEL_OK, "{}", message());
    assert_eq!(bytes[..], expected);
    let (status, got) = info(&bytes);
    assert_eq!(status, EVENKEEL_OK, "{}", message());
    let min_max = evenkeel_scaler_info {
        features: 3,
        scaler: EVENKEEL_MIN_MAX_SCALER,
        with_mean: 0,
        with_std: 0,
        clip: 1,
        range_min: -1.0,
        range_max: 2.5,
    };
    assert_eq!(got, format!("{min_max:?}"));
    let mut ends = [[7.0_f32; 3]; 2];
    let [of_min, of_max] = &mut ends;
    let load = evenkeel_min_max_scaler_from_bytes_args {
        bytes: input(&bytes, EVENKEEL_BYTES),
        data_min: output(of_min, EVENKEEL_F32),
        data_max: output(of_max, EVENKEEL_F32),
        ..Default::default()
    };
    assert_eq!(unsafe { evenkeel_min_max_scaler_from_bytes(&load) }, EVENKEEL_OK, "{}", message());
    assert_eq!(ends, [min, max]);
}

/// What is no state, of another kind, of other lengths, or of statistics that no samples have: nothing is written.
#[test]
fn bytes_that_are_no_state() {
    let right = StandardScaler::new(1).unwrap().to_bytes().unwrap();
    let min_max = MinMaxScaler::new(1).unwrap().to_bytes().unwrap();
    let mut negative = right.clone();
    negative[32 + 24 + 7] = 0xc0;
    let mut version = right.clone();
    version[8] = 2;
    for (bytes, status, is_header) in [
        (&right[..31], EVENKEEL_LENGTH, true),
        (&right[..71], EVENKEEL_LENGTH, true),
        (&version[..], EVENKEEL_FORMAT, true),
        (&min_max[..], EVENKEEL_FORMAT, false),
        (&negative[..], EVENKEEL_PARAMETER, false),
    ] {
        let (mut moments, mut low) = ([of_c(&Moments { count: 7, ..Moments::new() })], [7.0]);
        let before = format!("{moments:?}");
        let load = evenkeel_standard_scaler_from_bytes_args {
            bytes: input(bytes, EVENKEEL_BYTES),
            moments: output(&mut moments, EVENKEEL_MOMENTS),
            m2_low: output(&mut low, EVENKEEL_F64),
            ..Default::default()
        };
        let got = unsafe { evenkeel_standard_scaler_from_bytes(&load) };
        assert_eq!(got, status, "{}", message());
        assert_eq!((format!("{moments:?}"), low), (before, [7.0]));
        let (got, written) = info(bytes);
        assert_eq!(got, if is_header { status } else { EVENKEEL_OK }, "{}", message());
        assert_eq!(written == format!("{INFO:?}"), is_header);
    }
    let mut ends = [[7.0_f32; 2]; 2];
    let [of_min, of_max] = &mut ends;
    let load = evenkeel_min_max_scaler_from_bytes_args {
        bytes: input(&min_max, EVENKEEL_BYTES),
        data_min: output(of_min, EVENKEEL_F32),
        data_max: output(of_max, EVENKEEL_F32),
        ..Default::default()
    };
    assert_eq!(unsafe { evenkeel_min_max_scaler_from_bytes(&load) }, EVENKEEL_LENGTH);
    assert!(message().starts_with("`data_min`"), "{}", message());
    let bytes = input(&right, EVENKEEL_BYTES);
    let args = evenkeel_scaler_state_info_args { bytes, info: null_mut(), ..Default::default() };
    assert_eq!(unsafe { evenkeel_scaler_state_info(&args) }, EVENKEEL_NULL_POINTER);
    assert!(message().starts_with("`info`"), "{}", message());
    assert_eq!(ends, [[7.0; 2]; 2]);
}

#[test]
fn block_rows_are_those_of_rust() {
    for cols in [1, 5, 100, 256, 300] {
        let expected = evenkeel::ColumnMoments::block_rows(cols);
        assert_eq!(evenkeel_column_moments_block_rows(cols), expected);
    }
}
