//! Rows at pitches, with a second input and with terms: their parts, what panics, what is stored non-temporally.
#![forbid(unsafe_code)]

use super::scalar::{SENTINEL, Scalar, numbers, panics, same_memory};
use crate::simd::contract::{Float, Simd};
use crate::simd::row_span::{RowSpan, reach};
use crate::simd::span::Span;

#[test]
fn rows_reach_from_the_first_element_to_the_last() {
    assert_eq!([reach(0, 5, 9), reach(1, 5, 9), reach(3, 5, 9)], [Some(0), Some(5), Some(23)]);
    assert_eq!(reach(3, 5, usize::MAX / 2), None);
    assert_eq!(
        (reach(2, 2, usize::MAX - 1), reach(2, 1, usize::MAX - 1)),
        (None, Some(usize::MAX))
    );
}

#[test]
fn row_spans_panic_for_rows_beyond_their_buffers() {
    let (mut x, mut y) = (numbers(40), vec![SENTINEL; 40]);
    for shape in [(4, 9), (5, 10), (0, 1), (usize::MAX, 2)] {
        assert!(panics(|| RowSpan::new(Span::new(&x, &mut y), shape.0, shape.1)), "{shape:?}");
    }
    // Of 4 rows of 7 with 11 from one to the next, the last ends with element 40.
    assert!(!panics(|| RowSpan::strided(&x, 11, &mut y, 7, (4, 7))));
    assert!(!panics(|| RowSpan::strided_in_place(&mut x, 11, (4, 7))));
    for pitch in [6, 0, 12, usize::MAX / 2, usize::MAX] {
        assert!(panics(|| RowSpan::strided(&x, pitch, &mut y, 7, (4, 7))), "x, {pitch}");
        assert!(panics(|| RowSpan::strided(&x, 7, &mut y, pitch, (4, 7))), "y, {pitch}");
        assert!(panics(|| RowSpan::strided_in_place(&mut x, pitch, (4, 7))), "in place, {pitch}");
    }
    assert!(panics(|| RowSpan::strided(&x[1..], 11, &mut y, 7, (4, 7))));
    assert!(panics(|| RowSpan::strided(&x, 7, &mut y[1..], 11, (4, 7))));
    assert!(panics(|| RowSpan::strided_in_place(&mut x[1..], 11, (4, 7))));

    let mut rows = RowSpan::strided(&x, 11, &mut y, 10, (4, 7));
    for first in [3, 4, usize::MAX] {
        assert!(panics(|| rows.group::<2>(first).full()), "2 from {first}");
    }
    assert!(panics(|| rows.split_at(5)));
    assert!(same_memory(&y, &[SENTINEL; 40]));
}

#[test]
fn row_spans_panic_for_terms_and_second_inputs_of_another_length() {
    let (x, mut y, mut other) = (numbers(40), vec![SENTINEL; 40], numbers(41));
    for len in [39, 41] {
        let passed = &other[..len];
        assert!(panics(|| RowSpan::new(Span::new(&x, &mut y), 4, 10).with_second(passed)), "{len}");
        assert!(panics(|| RowSpan::new(Span::new(&x, &mut y), 4, 10).plus(passed, None)), "{len}");
        let sum = &mut vec![SENTINEL; len][..];
        assert!(panics(|| RowSpan::new(Span::new(&x, &mut y), 4, 10).plus(&x, Some(sum))), "{len}");
        let residual = &mut other[..len];
        assert!(panics(|| RowSpan::new(Span::new(&x, &mut y), 4, 10).added_to(residual)), "{len}");
    }
    // Rows that are not contiguous have neither a second input nor terms, even of as many elements.
    let (passed, residual) = (numbers(20), &mut numbers(20)[..]);
    for pitches in [(5, 6), (6, 5), (6, 6)] {
        let (x_pitch, y_pitch) = pitches;
        let rows = RowSpan::strided(&x, x_pitch, &mut y, y_pitch, (4, 5));
        assert!(panics(|| rows.with_second(&passed)), "{pitches:?}");
        let rows = RowSpan::strided(&x, x_pitch, &mut y, y_pitch, (4, 5));
        assert!(panics(|| rows.plus(&passed, None)), "{pitches:?}");
        let rows = RowSpan::strided(&x, x_pitch, &mut y, y_pitch, (4, 5));
        assert!(panics(|| rows.added_to(residual)), "{pitches:?}");
    }

    let mut rows = RowSpan::new(Span::new(&x, &mut y), 4, 10).added_to(&mut other[..40]);
    for (first, count) in [(0, 5), (3, 2), (4, 1), (usize::MAX, 1), (1, usize::MAX)] {
        assert!(panics(|| rows.terms(first, count).is_some()), "{count} from {first}");
    }
    assert!(rows.terms(1, 3).is_some_and(|terms| terms.cols() == 30));
    drop(rows);
    let mut plain = RowSpan::new(Span::new(&x, &mut y), 4, 10);
    assert!(plain.terms(0, 4).is_none());
    drop(plain);
    assert!(same_memory(&y, &[SENTINEL; 40]));
}

/// y is written by non-temporal stores unless it is read: as x, as a term, or as the sum.
#[test]
fn row_spans_stream_only_what_is_not_read() {
    fn apart<'a>(x: &'a [f32], y: &'a mut [f32]) -> RowSpan<'a> {
        RowSpan::new(Span::new(x, y), 4, 10)
    }
    fn in_place(y: &mut [f32]) -> RowSpan<'_> {
        RowSpan::new(Span::in_place(y), 4, 10)
    }
    let (x, mut y, mut residual) = (numbers(40), vec![SENTINEL; 40], numbers(40));
    let mut sum = vec![SENTINEL; 40];
    assert!(apart(&x, &mut y).streaming().streams());
    assert!(apart(&x, &mut y).with_second(&residual).streaming().streams());
    assert!(apart(&x, &mut y).plus(&residual, Some(&mut sum)).streaming().streams());
    assert!(apart(&x, &mut y).added_to(&mut residual).streaming().streams());
    assert!(!apart(&x, &mut y).plus(&residual, None).streaming().streams());
    assert!(!in_place(&mut y).streaming().streams());
    assert!(!in_place(&mut y).plus(&residual, Some(&mut sum)).streaming().streams());
    assert!(!in_place(&mut y).added_to(&mut residual).streaming().streams());
    assert!(!RowSpan::strided_in_place(&mut y, 10, (4, 10)).streaming().streams());
}

const ROWS: usize = 4;
const COLS: usize = 5;

/// Writes x + 2 * the second input, row by row, terms added before.
#[inline(always)]
fn combine<S: Simd>(token: S, mut rows: RowSpan<'_>) {
    let two = S::F32::splat(token, 2.0);
    for r in 0..rows.rows() {
        if let Some(mut terms) = rows.terms(r, 1) {
            let sum = terms.load_tail::<S::F32>(token, 0, 0.0) + terms.load_second_tail(token, 0);
            terms.store_tail(0, sum);
        }
        let mut row = rows.group::<1>(r);
        let x = row.load_tail::<S::F32>(token, 0, 0.0);
        row.store_tail(0, x + two * row.load_second_tail(token, 0));
    }
}

/// The rows of two parts are those of the whole: in x, y, the second input and the terms.
#[inline(always)]
pub(super) fn row_splits<E: Scalar, S: Simd>(token: S) {
    let in_parts = |at, rows: RowSpan<'_>| {
        let (low, high) = rows.split_at(at);
        assert_eq!((low.rows(), low.cols()), (at, COLS));
        assert_eq!((high.rows(), high.cols()), (ROWS - at, COLS));
        // The later rows first.
        combine(token, high);
        combine(token, low);
    };
    let x = numbers(ROWS * COLS);
    let other: Vec<f32> = (0..x.len()).map(|i| i as f32 / 2.0).collect();
    let with = |f: fn(f32, f32) -> f32| -> Vec<f32> {
        x.iter().zip(&other).map(|(&x, &other)| f(x, other)).collect()
    };
    for at in 0..=ROWS {
        let mut y = vec![SENTINEL; x.len()];
        in_parts(at, RowSpan::new(Span::new(&x, &mut y), ROWS, COLS).with_second(&other));
        assert!(same_memory(&y, &with(|x, other| x + 2.0 * other)), "second, at {at}: {y:?}");

        // Where there are terms, the second input is the first of them.
        let (mut y, mut sum) = (vec![SENTINEL; x.len()], vec![SENTINEL; x.len()]);
        let rows = RowSpan::new(Span::new(&x, &mut y), ROWS, COLS);
        in_parts(at, rows.plus(&other, Some(&mut sum)));
        assert!(same_memory(&sum, &with(|x, other| x + other)), "sum, at {at}: {sum:?}");
        assert!(same_memory(&y, &with(|x, other| (x + other) + 2.0 * x)), "terms, at {at}: {y:?}");

        let (mut y, mut residual) = (vec![SENTINEL; x.len()], other.clone());
        let rows = RowSpan::new(Span::new(&x, &mut y), ROWS, COLS);
        in_parts(at, rows.added_to(&mut residual));
        assert!(same_memory(&residual, &with(|x, other| x + other)), "residual, at {at}");
        assert!(same_memory(&y, &with(|x, other| (x + other) + 2.0 * x)), "added to, at {at}");

        // At pitches, the second input is x.
        let (x_pitch, y_pitch) = (COLS + 6, COLS + 2);
        let wide = numbers(ROWS * x_pitch - 6);
        let mut y = vec![SENTINEL; ROWS * y_pitch - 2];
        let mut expected = y.clone();
        for r in 0..ROWS {
            for c in 0..COLS {
                expected[r * y_pitch + c] = 3.0 * wide[r * x_pitch + c];
            }
        }
        in_parts(at, RowSpan::strided(&wide, x_pitch, &mut y, y_pitch, (ROWS, COLS)));
        assert!(same_memory(&y, &expected), "pitches, at {at}: {y:?}");
    }
}
