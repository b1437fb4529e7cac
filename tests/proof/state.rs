//! Scalers as bytes: nothing is lost, the format is pinned, and bytes that are none are errors.
#![forbid(unsafe_code)]

use evenkeel::Error;
use evenkeel::preprocess::{MinMaxScaler, StandardScaler};

use crate::common::*;

const COLS: usize = 19;

fn fitted() -> (StandardScaler, MinMaxScaler) {
    let random = &mut Random::new(41);
    let mut standard = StandardScaler::new(COLS).unwrap().with_std(false);
    let mut min_max = MinMaxScaler::new(COLS).unwrap().with_feature_range(-2.0, 3.0);
    for count in [300, 1, 70] {
        let x: Vec<f32> = random.normals(count * COLS).iter().map(|x| x * 0.1 - 7.0).collect();
        standard.partial_fit(&x, rows(count, COLS)).unwrap();
        min_max.partial_fit(&x, rows(count, COLS)).unwrap();
    }
    (standard, min_max.with_clip(true))
}

/// Law: a scaler from bytes has the bits of the scaler, and goes on as it would.
#[test]
fn a_scaler_from_bytes_goes_on_with_the_same_bits() {
    let (mut standard, mut min_max) = fitted();
    let mut standard_again = StandardScaler::from_bytes(&standard.to_bytes().unwrap()).unwrap();
    let mut min_max_again = MinMaxScaler::from_bytes(&min_max.to_bytes().unwrap()).unwrap();
    let x = Random::new(42).normals(50 * COLS);
    let shape = rows(50, COLS);
    for round in 0..2 {
        assert_eq!(standard.to_bytes(), standard_again.to_bytes(), "round {round}");
        assert_eq!(min_max.to_bytes(), min_max_again.to_bytes(), "round {round}");
        let mut y = [vec![0.0; x.len()], vec![0.0; x.len()]];
        let [one, other] = &mut y;
        standard.transform(evenkeel::InOut::new(&x, one), shape).unwrap();
        standard_again.transform(evenkeel::InOut::new(&x, other), shape).unwrap();
        assert_same("standard", one, other);
        min_max.transform(evenkeel::InOut::new(&x, one), shape).unwrap();
        min_max_again.transform(evenkeel::InOut::new(&x, other), shape).unwrap();
        assert_same("min-max", one, other);
        for scaler in [&mut standard, &mut standard_again] {
            scaler.partial_fit(&x, shape).unwrap();
        }
        for scaler in [&mut min_max, &mut min_max_again] {
            scaler.partial_fit(&x, shape).unwrap();
        }
    }
}

/// Data: version 1, byte for byte.
#[test]
fn the_bytes_of_version_1() {
    let moments = evenkeel::Moments { count: 3, mean: 1.0, mean_low: -0.0, m2: 2.0 };
    let standard = StandardScaler::from_moments(&[moments]).unwrap().with_mean(false);
    let header = |kind: u8, features: u8, flags: u8| {
        let mut bytes = b"EVENKEEL\x01\0\0\0".to_vec();
        bytes.extend([kind, 0, 0, 0, features, 0, 0, 0, 0, 0, 0, 0, flags, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    };
    let mut expected = header(1, 1, 2);
    expected.extend([3, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 0x80]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 0x40]);
    expected.extend([0; 8]);
    assert_eq!(standard.to_bytes().unwrap(), expected);

    let min_max = MinMaxScaler::from_ranges(&[1.0, f32::INFINITY], &[2.0, f32::NEG_INFINITY]);
    let mut expected = header(2, 2, 1);
    expected.extend([0; 8]);
    expected.extend([0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    expected.extend([0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0, 0, 0x80, 0x7f, 0, 0, 0x80, 0xff]);
    assert_eq!(min_max.unwrap().with_clip(true).to_bytes().unwrap(), expected);
}

/// Law: any number of bytes but the right one, and any other bit of the header, is an error or other settings; never a panic.
#[test]
fn bytes_that_are_no_state_are_errors() {
    let (standard, min_max) = fitted();
    let all = [standard.to_bytes().unwrap(), min_max.to_bytes().unwrap()];
    for (kind, right) in all.iter().enumerate() {
        let read = |bytes: &[u8]| match kind {
            0 => StandardScaler::from_bytes(bytes).and_then(|scaler| scaler.to_bytes()),
            _ => MinMaxScaler::from_bytes(bytes).and_then(|scaler| scaler.to_bytes()),
        };
        assert_eq!(read(right).as_ref(), Ok(right));
        for len in 0..right.len() {
            let error = read(&right[..len]).unwrap_err();
            let is_it = match len {
                0..32 => matches!(error, Error::TooShort { arg: "bytes", expected: 32, .. }),
                _ => matches!(error, Error::Length { arg: "bytes", .. }),
            };
            assert!(is_it, "{len} bytes: {error}");
        }
        let longer = [right.as_slice(), &[0]].concat();
        assert!(matches!(read(&longer), Err(Error::Length { arg: "bytes", .. })));
        for bit in 0..8 * 32 {
            let mut bytes = right.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let known_flags = if kind == 0 { 2 } else { 1 };
            match (bit, read(&bytes)) {
                // Settings.
                (192.., Ok(again)) if bit < 192 + known_flags => assert_eq!(again, bytes),
                (0..128 | 192.., Err(Error::Format { at, .. })) => {
                    assert!(at <= bit / 8 && bit / 8 < at + 8, "bit {bit}: at {at}");
                }
                (128..192, Err(Error::Length { arg: "bytes", .. })) => {}
                (_, result) => panic!("bit {bit}: {result:?}"),
            }
        }
        // The other scaler's.
        let error = read(&all[1 - kind]).unwrap_err();
        assert!(matches!(error, Error::Format { at: 12, .. }), "{error}");
    }
    let text = StandardScaler::from_bytes(&all[1]).unwrap_err().to_string();
    assert_eq!(text, "`bytes`: expected 1, the state of a StandardScaler at byte 12, got 0x2");
}

/// Data: statistics that no samples have.
#[test]
fn bytes_of_statistics_that_no_samples_have() {
    let (standard, min_max) = fitted();
    let mut bytes = standard.to_bytes().unwrap();
    bytes[32 + 40 * 3 + 24..][..8].copy_from_slice(&(-2.5_f64).to_le_bytes());
    let error = StandardScaler::from_bytes(&bytes).unwrap_err();
    assert!(matches!(error, Error::Parameter { arg: "bytes", got: -2.5, .. }), "{error}");
    for wrong in [[f32::NAN, 1.0], [1.0, f32::NAN], [2.0, 1.0]] {
        let mut bytes = min_max.to_bytes().unwrap();
        for (i, number) in wrong.into_iter().enumerate() {
            bytes[48 + 8 * 5 + 4 * i..][..4].copy_from_slice(&number.to_le_bytes());
        }
        let error = MinMaxScaler::from_bytes(&bytes).unwrap_err();
        assert!(matches!(error, Error::Parameter { arg: "bytes", .. }), "{wrong:?}: {error}");
    }
}
