//! Parts of a group: columns, and those before a cache line boundary.

use super::{SENTINEL, Scalar, Vector, from_f32, numbers, panics, same_memory};
use crate::simd::{Float, LANES, Simd, Span};

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
        let minus = |x: Vector<E, S>| Vector::<E, S>::splat(token, zero) - x;
        for r in 0..2 {
            for i in 0..part.full() {
                let vector = part.load(token, r, i);
                part.store(r, i, minus(vector));
            }
            let tail = part.load_tail(token, r, zero);
            part.store_tail(r, minus(tail));
        }
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
