//! Spans without vectors, and parts of a group: columns, cache lines, and what precedes the first line.
#![forbid(unsafe_code)]

use super::scalar::{SENTINEL, Scalar, Vector, from_f32, minus, numbers, panics, same_memory};
use crate::simd::contract::{Float, LANES, Simd};
use crate::simd::span::Span;

/// The operations of spans that need no vectors.
#[inline(always)]
pub(super) fn spans<E: Scalar, S: Simd>(_: S) {
    for len in [0, 1, 5, 40] {
        let (x, mut y) = (numbers(len), vec![SENTINEL; len]);
        let mut span = Span::new(&x, &mut y);
        for i in 0..len {
            let read = span.read(i);
            assert_eq!(read, x[i]);
            span.write(i, -read);
        }
        assert!(panics(|| span.read(len)) && panics(|| span.write(len, 0.0)));
        drop(span);
        assert_eq!(y, minus(&x));
        Span::new(&x, &mut y).copy();
        assert_eq!(y, x);
        Span::in_place(&mut y).copy();
        assert_eq!(y, x);
        Span::in_place(&mut y).zero();
        assert!(same_memory(&y, &vec![0.0; len]));
    }
}

/// Writes columns `start` up to `end` of two rows, negated, and nothing else.
#[inline(always)]
pub(super) fn columns<E: Scalar, S: Simd>(token: S) {
    let cols = 53;
    let x = numbers(2 * cols);
    for (start, end) in [(0, 0), (0, 53), (53, 53), (1, 17), (3, 20), (16, 53), (20, 52)] {
        let mut y = vec![SENTINEL; 2 * cols];
        let mut span = Span::new(&x, &mut y);
        let mut group = span.group::<2>(0, cols);
        let mut part = group.columns(start, end);
        assert_eq!((part.cols(), part.full()), (end - start, (end - start) / LANES));
        let zero: E = from_f32(0.0);
        let negated = |x: Vector<E, S>| Vector::<E, S>::splat(token, zero) - x;
        for r in 0..2 {
            for i in 0..part.full() {
                let vector = part.load(token, r, i);
                part.store::<_, false>(r, i, negated(vector));
            }
            let tail = part.load_tail(token, r, zero);
            part.store_tail(r, negated(tail));
        }
        drop(span);
        let expected: Vec<f32> = (0..2 * cols)
            .map(|i| if (start..end).contains(&(i % cols)) { 0.0 - x[i] } else { SENTINEL })
            .collect();
        assert!(same_memory(&y, &expected), "columns {start} to {end}");
    }
}

/// The boundary is at most 15 elements away, and the address there is one of a cache line.
#[inline(always)]
pub(super) fn lines<E: Scalar, S: Simd>(_: S) {
    let x = numbers(100);
    let mut y = vec![SENTINEL; 140];
    for offset in 0..40 {
        let out = &mut y[offset..offset + 100];
        let address = out.as_ptr().addr();
        let mut span = Span::new(&x, out);
        let before = span.group::<1>(0, 100).before_line();
        assert!(before < LANES);
        assert_eq!((address + before * size_of::<f32>()) % 64, 0);
        assert_eq!(span.group::<1>(0, 1).before_line(), before.min(1));
    }
    let mut span = Span::new(&x, &mut y[..100]);
    let mut group = span.group::<2>(0, 50);
    for (start, end) in [(0, 51), (51, 51), (2, 1), (usize::MAX, 0)] {
        assert!(panics(|| group.columns(start, end).cols()), "columns {start} to {end}");
    }
}

/// Negates lines by non-temporal stores where y begins at a line and is not x. Elsewhere such a store panics.
#[inline(always)]
pub(super) fn streamed<E: Scalar, S: Simd>(token: S) {
    let x = numbers(3 * LANES);
    let zero = Vector::<E, S>::splat(token, from_f32(0.0));
    let mut memory = vec![SENTINEL; 4 * LANES];
    for start in 0..LANES {
        let y = &mut memory[start..start + x.len()];
        let begins_at_line = y.as_ptr().addr().is_multiple_of(64);
        let mut span = Span::new(&x, y).streaming();
        let mut group = span.group::<1>(0, x.len());
        assert_eq!(group.streams(), begins_at_line, "{start}");
        for i in 0..3 {
            let vector = zero - group.load::<Vector<E, S>>(token, 0, i);
            if begins_at_line {
                group.store::<_, true>(0, i, vector);
            } else {
                assert!(panics(|| group.store::<_, true>(0, i, vector)), "{start}");
                group.store::<_, false>(0, i, vector);
            }
        }
        drop(span);
        assert!(same_memory(y, &minus(&x)), "{start}");
    }
    for start in 0..LANES {
        let mut span = Span::in_place(&mut memory[start..start + LANES]).streaming();
        assert!(!span.streams(), "in place, {start}");
        let mut group = span.group::<1>(0, LANES);
        assert!(!group.streams(), "in place, {start}");
        assert!(panics(|| group.store::<_, true>(0, 0, zero)), "in place, {start}");
    }
}
