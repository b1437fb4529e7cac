//! Loads and stores: whole and partial vectors, of f32 and f64 memory.

use core::array::from_fn;
use core::hint::black_box;
use core::mem::MaybeUninit;

use super::scalar::{
    Lcg, SENTINEL, Scalar, Vector, assert_lanes, from_f32, inputs, same, same_memory, stored,
    to_f32,
};
use crate::simd::contract::{Double, Float, LANES, Simd};

type Memory = [MaybeUninit<f32>];

#[inline(always)]
pub(super) fn splat<E: Scalar, S: Simd>(token: S) {
    for x in inputs::<E>().into_iter().flatten() {
        let got = Vector::<E, S>::splat(token, black_box(x));
        assert_lanes(token, got, [x; LANES], format_args!("splat"));
    }
}

#[inline(always)]
pub(super) fn load<E: Scalar, S: Simd>(token: S) {
    let elements = inputs::<f32>().concat();
    for (start, x) in elements.windows(LANES).enumerate() {
        let x: &[f32; LANES] = x.try_into().expect("16 elements");
        let got = Vector::<E, S>::load(token, x);
        assert_lanes::<E, S>(token, got, x.map(from_f32), format_args!("from element {start}"));
    }
}

#[inline(always)]
pub(super) fn load_partial<E: Scalar, S: Simd>(token: S) {
    let elements = inputs::<f32>().concat();
    let fills = E::named().into_iter().chain([Lcg(3).number()]);
    for (k, fill) in fills.enumerate() {
        for len in 0..=LANES {
            for start in (k..elements.len() - LANES).step_by(7) {
                let x = &elements[start..start + len];
                let got = Vector::<E, S>::load_partial(token, x, fill);
                let expected = from_fn(|i| x.get(i).map_or(fill, |&x| from_f32(x)));
                assert_lanes::<E, S>(token, got, expected, format_args!("{len} of {x:?}"));
            }
        }
    }
}

#[inline(always)]
pub(super) fn store<E: Scalar, S: Simd>(token: S) {
    stores::<E, S>(token, LANES, |vector, y| vector.store(y.try_into().expect("16 elements")));
    for lanes in inputs::<E>() {
        let y = stored(E::vector(token, lanes));
        assert!(same_memory(&y, &lanes.map(to_f32)), "{lanes:?} to initialised memory: {y:?}");
    }
}

#[inline(always)]
pub(super) fn store_partial<E: Scalar, S: Simd>(token: S) {
    for len in 0..=LANES {
        stores::<E, S>(token, len, Vector::<E, S>::store_partial);
    }
}

/// Stores `len` lanes and looks at the memory around them.
#[inline(always)]
fn stores<E: Scalar, S: Simd>(token: S, len: usize, write: impl Fn(Vector<E, S>, &mut Memory)) {
    for (i, lanes) in inputs::<E>().into_iter().enumerate() {
        let target = i % (2 * LANES + 1)..;
        let mut y = [MaybeUninit::new(SENTINEL); 3 * LANES];
        write(E::vector(token, lanes), &mut y[target.clone()][..len]);
        // SAFETY: it was made from numbers, and vectors write numbers.
        let y = y.map(|element| unsafe { element.assume_init() });
        let mut expected = [SENTINEL; 3 * LANES];
        expected[target.clone()][..len].copy_from_slice(&lanes.map(to_f32)[..len]);
        assert!(same_memory(&y, &expected), "{len} of {lanes:?} to {target:?}: {y:?}");
    }
}

/// The loads and stores of f64 memory, and conversions. `E` is f64.
#[inline(always)]
pub(super) fn double_memory<E: Scalar, S: Simd>(token: S) {
    let elements = inputs::<f64>().concat();
    for (start, x) in elements.windows(LANES).enumerate() {
        let x: &[f64; LANES] = x.try_into().expect("16 elements");
        let vector = S::F64::load_f64(token, x);
        assert_lanes(token, vector, *x, format_args!("from element {start}"));
        assert_lanes(token, vector.narrow(), x.map(to_f32), format_args!("{x:?} narrowed"));
        let target = start % (2 * LANES + 1)..;
        let mut y = [0.5; 3 * LANES];
        vector.store_f64((&mut y[target.clone()][..LANES]).try_into().expect("16 elements"));
        let mut expected = [0.5; 3 * LANES];
        expected[target.clone()][..LANES].copy_from_slice(x);
        assert!(y.iter().zip(expected).all(|(&y, x)| same(y, x)), "{x:?} to {target:?}: {y:?}");
    }
    for x in inputs::<f32>() {
        let wide = S::F64::widen(f32::vector(token, x));
        assert_lanes(token, wide, x.map(f64::from), format_args!("{x:?} widened"));
    }
}
