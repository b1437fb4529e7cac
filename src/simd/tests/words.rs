//! The operations of `Word` and `Keep`, with which dropout draws its masks and applies them.
#![forbid(unsafe_code)]

use core::array::from_fn;
use core::hint::black_box;

use super::scalar::{Lcg, Scalar, inputs, same};
use crate::simd::contract::{Float, Keep, LANES, Simd, Word};

/// Every bit pattern that matters to shifts and signed comparisons, and random ones.
fn words() -> Vec<[u64; 8]> {
    let mut lcg = Lcg(2);
    let named = [
        0,
        u64::MAX,
        1,
        1 << 63,
        0x8000_8000_8000_8000,
        0x7fff_7fff_7fff_7fff,
        0x8000_0000_7fff_ffff,
        0x0123_4567_89ab_cdef,
    ];
    let mut words = vec![named];
    words.extend(named.map(|word| [word; 8]));
    words.extend((0..20).map(|_| from_fn(|_| lcg.below(1 << 32) << 32 | lcg.below(1 << 32))));
    words
}

#[inline(always)]
fn vector<S: Simd>(token: S, lanes: [u64; 8]) -> S::U64 {
    S::U64::new(token, black_box(lanes))
}

#[inline(always)]
pub(super) fn word_arithmetic<E: Scalar, S: Simd>(token: S) {
    for a in words() {
        let x = vector(token, a);
        assert_eq!(x.to_array(), a);
        assert_eq!(x.shift_left::<17>().to_array(), a.map(|lane| lane << 17));
        assert_eq!(x.rotate_left::<23, 41>().to_array(), a.map(|lane| lane.rotate_left(23)));
        assert_eq!(x.rotate_left::<45, 19>().to_array(), a.map(|lane| lane.rotate_left(45)));
        for b in words() {
            let y = vector(token, b);
            assert_eq!((x + y).to_array(), from_fn(|i| a[i].wrapping_add(b[i])));
            assert_eq!((x ^ y).to_array(), from_fn(|i| a[i] ^ b[i]));
        }
    }
}

#[inline(always)]
pub(super) fn word_choices<E: Scalar, S: Simd>(token: S) {
    for a in words() {
        let x = vector(token, a);
        for least in [i16::MIN, i16::MIN + 1, -1, 0, 1, 12_345, i16::MAX] {
            let [low, high] = x.keep_16(least);
            let kept = |i: usize| (a[i / 4] >> (16 * (i % 4))) as i16 >= least;
            let expected: u32 = (0..32).map(|i| u32::from(kept(i)) << i).sum();
            let got = u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16;
            assert_eq!(got, expected, "{a:x?}, 16 bits, at least {least}");
        }
        for least in [i32::MIN, i32::MIN + 1, -1, 0, 1, 123_456_789, i32::MAX] {
            let kept = |i: usize| (a[i / 2] >> (32 * (i % 2))) as i32 >= least;
            let expected: u16 = (0..LANES).map(|i| u16::from(kept(i)) << i).sum();
            assert_eq!(x.keep_32(least).to_bits(), expected, "{a:x?}, 32 bits, at least {least}");
        }
    }
}

#[inline(always)]
pub(super) fn keep<E: Scalar, S: Simd>(token: S) {
    let mut lcg = Lcg(3);
    let named = [0, u16::MAX, 1, 1 << 15, 0xff, 0xff00, 0x5555];
    for set in named.into_iter().chain((0..200).map(|_| lcg.below(1 << 16) as u16)) {
        let keep = S::Keep::from_bits(token, black_box(set));
        assert_eq!(keep.to_bits(), set);
        for a in inputs::<f32>() {
            let got = f32::lanes::<S>(keep.or_zero(S::F32::load(token, &a)));
            for i in 0..LANES {
                let expected = if set >> i & 1 == 1 { a[i] } else { 0.0 };
                assert!(same(got[i], expected), "lane {i} of {a:?}, kept {set:#x}: {}", got[i]);
            }
        }
    }
}
