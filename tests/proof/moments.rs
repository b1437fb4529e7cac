//! `Moments`: streams, merges and slices.
#![forbid(unsafe_code)]

use approx::{assert_abs_diff_eq, assert_relative_eq};
use evenkeel::Moments;

use crate::common::*;

pub fn of(values: &[f64]) -> Moments {
    let mut moments = Moments::new();
    for &value in values {
        moments.push(value);
    }
    moments
}

#[test]
fn variances_need_enough_values() {
    assert_eq!(of(&[]).population_variance(), None);
    assert_eq!(of(&[]).sample_variance(), None);
    assert_eq!(of(&[5.0]).population_variance(), Some(0.0));
    assert_eq!(of(&[5.0]).sample_variance(), None);
    assert_eq!(of(&[5.0, 7.0]).population_variance(), Some(1.0));
    assert_eq!(of(&[5.0, 7.0]).sample_variance(), Some(2.0));
}

#[test]
fn an_empty_set_merges_as_nothing() {
    let some = of(&[1.5, -2.5, 1e6]);
    let (mut left, mut right) = (Moments::new(), some);
    left.merge(&some);
    right.merge(&Moments::new());
    assert_eq!((left, right), (some, some));
    let mut none = Moments::new();
    none.merge(&Moments::new());
    assert_eq!(none, Moments::new());
}

/// Law: merging the parts of any split gives the whole, within 1e-12, whatever mean / std.
#[test]
fn merged_splits_are_the_whole() {
    let random = &mut Random::new(1);
    for set in DATA_SETS {
        let values: Vec<f64> = set.row(3000, random).into_iter().map(f64::from).collect();
        let whole = of(&values);
        for _ in 0..20 {
            let (mut merged, mut rest) = (Moments::new(), values.as_slice());
            while !rest.is_empty() {
                let (part, others) = rest.split_at(1 + random.below(rest.len()));
                merged.merge(&of(part));
                rest = others;
            }
            assert_eq!(merged.count, 3000);
            let std = (whole.m2 / 3000.0).sqrt();
            let mean_bound = 1e-12 * std + f64::EPSILON * whole.mean.abs();
            assert_abs_diff_eq!(merged.mean, whole.mean, epsilon = mean_bound);
            assert_relative_eq!(merged.m2, whole.m2, epsilon = 0.0, max_relative = 1e-12);
        }
    }
}

/// `extend_from_slice` and `RowMoments` agree with the stream of pushes.
#[test]
fn slices_are_streams() {
    let random = &mut Random::new(2);
    for len in lengths() {
        let x = random.normals(len);
        let (mut slice, mut stream) = (of(&[3.0]), of(&[3.0]));
        slice.extend_from_slice(&x);
        for &x in &x {
            stream.push(f64::from(x));
        }
        assert_eq!(slice.count, stream.count);
        assert_abs_diff_eq!(slice.mean, stream.mean, epsilon = 1e-6);
        assert_relative_eq!(slice.m2, stream.m2, max_relative = 1e-6);
    }
    let mut moments = of(&[1.0]);
    moments.extend_from_slice(&[0.0_f32; 0]);
    assert_eq!(moments, of(&[1.0]));
}
