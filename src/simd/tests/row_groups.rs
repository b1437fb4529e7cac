//! Groups of rows: what they read and write, halves of a span, and what panics.
#![forbid(unsafe_code)]

use core::array::from_fn;
use core::mem::MaybeUninit;
use std::thread;

use super::scalar::{
    SENTINEL, Scalar, Vector, assert_lanes, from_f32, minus, numbers, panics, same_memory,
};
use crate::simd::contract::{Float, LANES, Simd};
use crate::simd::inout::{InOut, Io};
use crate::simd::span::Span;

#[inline(always)]
pub(super) fn groups<E: Scalar, S: Simd>(token: S) {
    for cols in [0, 1, 2, 15, 16, 17, 31, 32, 33, 48, 67] {
        for (start, beyond) in [(0, 0), (1, 0), (16, 5), (21, 5)] {
            let shape = [start, cols, beyond];
            groups_of::<E, S, 1>(token, shape);
            groups_of::<E, S, 2>(token, shape);
            groups_of::<E, S, 4>(token, shape);
        }
    }
}

#[inline(always)]
fn groups_of<E: Scalar, S: Simd, const R: usize>(token: S, [start, cols, beyond]: [usize; 3]) {
    let rows = start..start + R * cols;
    let x = numbers(rows.end + beyond);
    let expected = |before: &[f32]| {
        let mut y = before.to_vec();
        y[rows.clone()].copy_from_slice(&minus(&x[rows.clone()]));
        y
    };
    let mut y = vec![SENTINEL; x.len()];
    let expected_y = expected(&y);
    negate::<E, S, R>(token, Span::new(&x, &mut y), &x, [start, cols]);
    assert!(same_memory(&y, &expected_y), "{R} rows of {cols} in {rows:?}: {y:?}");
    let mut xy = numbers(x.len());
    negate::<E, S, R>(token, Span::in_place(&mut xy), &x, [start, cols]);
    assert!(same_memory(&xy, &expected(&x)), "{R} rows of {cols} in {rows:?}, in place: {xy:?}");
}

#[inline(always)]
pub(super) fn splits<E: Scalar, S: Simd>(token: S) {
    let x = numbers(40);
    for at in 0..=x.len() {
        let negate_both = |span: Span<'_>| {
            let (low, high) = span.split_at(at);
            // Each half on another thread, as tasks are.
            thread::scope(|scope| {
                scope.spawn(|| negate::<E, S, 1>(token, high, &x[at..], [0, x.len() - at]));
                scope.spawn(|| negate::<E, S, 1>(token, low, &x[..at], [0, at]));
            });
            Ok::<_, &str>(())
        };
        let mut y = vec![SENTINEL; x.len()];
        assert_eq!(negate_both(Span::new(&x, &mut y)), Ok(()));
        assert_eq!(y, minus(&x), "split at {at}");
        let mut xy = numbers(x.len());
        assert_eq!(negate_both(Span::in_place(&mut xy)), Ok(()));
        assert_eq!(xy, minus(&x), "split at {at}, in place");
        let mut y = vec![MaybeUninit::new(SENTINEL); x.len()];
        let address = y.as_ptr().cast();
        let io = InOut::uninit(&x, &mut y);
        let negate_io = |io: Io<'_>| {
            negate_both(io.whole()?).expect("what the closure returns");
            Ok(())
        };
        let whole = io.write_whole(negate_io).expect("what the closure returns");
        assert_eq!((whole.as_ptr(), &*whole), (address, &*minus(&x)), "split at {at}, new");
    }
}

#[inline(always)]
pub(super) fn panicking<E: Scalar, S: Simd>(token: S) {
    let (x, mut y) = (numbers(40), vec![SENTINEL; 40]);
    let zero: E = from_f32(0.0);
    let vector = Vector::<E, S>::splat(token, zero);
    assert!(panics(|| Vector::<E, S>::load_partial(token, &x[..17], zero)));
    assert!(panics(|| vector.store_partial(&mut [MaybeUninit::new(0.0); 17])));

    assert!(panics(|| Span::new(&x[1..], &mut y)));
    assert!(panics(|| Span::new(&x, &mut y[1..])));
    assert!(panics(|| Span::new(&x, &mut y).split_at(41)));
    assert!(panics(|| Span::in_place(&mut y).split_at(usize::MAX)));

    for len in [0, 39, 41] {
        let values = vec![1.0; len];
        assert!(panics(|| Span::new(&x, &mut y).put(&values)), "{len} of 40");
    }
    let mut span = Span::new(&x, &mut y);
    for (start, cols) in [(0, 41), (1, 40), (41, 0), (usize::MAX, 1), (1, usize::MAX)] {
        assert!(panics(|| span.group::<1>(start, cols).full()), "{cols} from {start}");
    }
    for (start, cols) in [(0, 21), (1, 20), (2, usize::MAX / 2), (0, usize::MAX / 2 + 1)] {
        assert!(panics(|| span.group::<2>(start, cols).full()), "2 of {cols} from {start}");
    }
    assert_eq!(span.group::<2>(40, 0).full(), 0);
    for (cols, pitch) in [(10, 31), (41, 0), (1, usize::MAX), (usize::MAX, 1)] {
        let panicked = panics(|| span.group_apart::<2>(0, cols, pitch).full());
        assert!(panicked, "2 of {cols}, {pitch} apart");
    }
    assert!(panics(|| span.group_apart::<3>(1, 9, 16).full()));
    assert_eq!(span.group_apart::<3>(1, 7, 16).cols(), 7);

    let mut group = span.group::<2>(2, 19);
    for (r, i) in [(0, 1), (1, 1), (2, 0), (0, usize::MAX), (0, usize::MAX / LANES + 1)] {
        assert!(panics(|| group.load::<Vector<E, S>>(token, r, i)), "vector {i} of row {r}");
        assert!(panics(|| group.store::<_, false>(r, i, vector)), "vector {i} of row {r}");
    }
    assert!(panics(|| group.load_tail::<Vector<E, S>>(token, 2, zero)));
    assert!(panics(|| group.store_tail(2, vector)));
    drop(span);
    assert!(same_memory(&y, &[SENTINEL; 40]), "a store that panics writes nothing");

    let (before, rest) = Span::new(&x, &mut y).split_at(1);
    before.put(&x[..1]);
    let (between, after) = rest.split_at(36);
    after.put(&x[..3]);
    between.split_at(36).1.put(&[]);
    assert!(same_memory(&y[37..], &x[..3]) && same_memory(&y[..1], &x[..1]));
    assert!(same_memory(&y[1..37], &[SENTINEL; 36]), "nothing beside is written");
}

/// Negates `R` rows at `[start, cols]` of a span that reads `x`, and checks everything that their group returns.
#[inline(always)]
fn negate<E: Scalar, S: Simd, const R: usize>(token: S, mut io: Span, x: &[f32], at: [usize; 2]) {
    let [start, cols] = at;
    assert_eq!((io.len(), io.src()), (x.len(), x));
    let mut group = io.group::<R>(start, cols);
    assert_eq!((group.full(), group.tail()), (cols / LANES, cols % LANES));
    let zero = Vector::<E, S>::splat(token, from_f32(0.0));
    for r in 0..R {
        let expected = &x[start + r * cols..][..cols];
        assert_eq!(group.rows()[r], expected);
        let (vectors, tail) = expected.as_chunks::<LANES>();
        for (i, vector) in vectors.iter().enumerate() {
            let got: Vector<E, S> = group.load(token, r, i);
            let what = format_args!("row {r} of {R}, vector {i}");
            assert_lanes::<E, S>(token, got, vector.map(from_f32), what);
            group.store::<_, false>(r, i, zero - got);
            group.prefetch(r, i, usize::MAX);
        }
        let fill = from_f32(-7.0);
        let got: Vector<E, S> = group.load_tail(token, r, fill);
        let expected = from_fn(|i| tail.get(i).map_or(fill, |&x| from_f32(x)));
        assert_lanes::<E, S>(token, got, expected, format_args!("row {r} of {R}, tail"));
        group.store_tail(r, zero - got);
    }
}
