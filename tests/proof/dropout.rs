//! Dropout: the stream bit by bit, and the choice applied. `randomness.rs` tests that the mask is random.
#![forbid(unsafe_code)]

use evenkeel::{Dropout, DropoutArgs, Error, InOut, Mask, MaskMut, Parallelism, Stream, reference};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};

use crate::common::*;

/// Probabilities of both widths, at their borders and next to 0 and 1.
const PROBABILITIES: [f64; 13] = [
    1e-12,
    1e-6,
    0.01,
    0.015_624_9,
    1.0 / 64.0,
    0.1,
    0.5,
    0.9,
    63.0 / 64.0,
    0.984_375_1,
    0.999,
    1.0 - 1e-10,
    1.0 - 1e-16,
];

/// Offsets at the borders of draws and blocks, far out, and next to the end of the stream.
const OFFSETS: [u64; 10] = [0, 1, 7, 31, 32, 4095, 4096, 12_345, 1 << 40, u64::MAX - 20_000];

const LENGTHS: [usize; 12] = [0, 1, 2, 15, 31, 32, 33, 100, 4095, 4097, 8200, 20_000];

fn bytes(operation: Dropout, stream: Stream, len: usize) -> Vec<u8> {
    let mut mask = vec![2; len];
    operation.mask(stream, len, MaskMut::Bytes(&mut mask)).unwrap();
    mask
}

/// Draws the mask, and writes it.
fn draw_and_keep(stream: Stream, mask: MaskMut<'_>) -> DropoutArgs<'_> {
    DropoutArgs::draw(stream).keep_mask(mask)
}

/// Bits of bytes, least significant first.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let pack = |bits: &[u8]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit);
    bytes.chunks(8).map(pack).collect()
}

/// Law: the mask is the reference's; bits, bytes and outputs agree; in place as out of place.
#[test]
fn every_backend_draws_the_stream() {
    let x: Vec<f32> = Random::new(1).normals(20_000);
    let longest = if short() { 4097 } else { x.len() };
    for (case, &p) in PROBABILITIES.iter().enumerate() {
        for &offset in &OFFSETS {
            let stream = Stream { seed: 77 * case as u64, offset };
            let expected = reference::dropout_mask(p, stream.seed, offset, 20_000);
            for backend in backends() {
                let operation = Dropout::new().with_p(p).with_backend(backend);
                let scale = operation.scale().unwrap();
                // A mask that was drawn: with the scale that it was drawn with.
                let realised = operation.with_p(operation.realised_p().unwrap());
                for len in LENGTHS.into_iter().filter(|&len| len <= longest) {
                    let what = format!("{backend}, p {p}, {stream:?}, {len} elements");
                    let expected: Vec<u8> =
                        expected[..len].iter().map(|&kept| kept.into()).collect();
                    assert_eq!(bytes(operation, stream, len), expected, "{what}");
                    let mut packed = vec![0xaa; len.div_ceil(8)];
                    operation.mask(stream, len, MaskMut::Packed(&mut packed)).unwrap();
                    assert_eq!(packed, pack(&expected), "{what}");

                    let x = &x[..len];
                    let scaled: Vec<f32> = x
                        .iter()
                        .zip(&expected)
                        .map(|(x, &kept)| if kept == 1 { x * scale } else { 0.0 })
                        .collect();
                    let (mut y, mut mask) = (vec![f32::NAN; len], vec![0xaa; len.div_ceil(8)]);
                    let args = draw_and_keep(stream, MaskMut::Packed(&mut mask));
                    operation.forward(InOut::new(x, &mut y), args).unwrap();
                    assert_same(&what, &scaled, &y);
                    assert_eq!(mask, packed, "{what}");
                    let (mut again, mut mask) = (x.to_vec(), vec![3; len]);
                    let args = draw_and_keep(stream, MaskMut::Bytes(&mut mask));
                    operation.forward(InOut::in_place(&mut again), args).unwrap();
                    assert_same(&what, &scaled, &again);
                    assert_eq!(mask, expected, "{what}");
                    realised.forward(InOut::new(x, &mut y), Mask::Packed(&packed)).unwrap();
                    assert_same(&what, &scaled, &y);
                    let mut again = x.to_vec();
                    realised.forward(InOut::in_place(&mut again), Mask::Bytes(&mask)).unwrap();
                    assert_same(&what, &scaled, &again);
                    operation.backward(InOut::new(x, &mut y), stream).unwrap();
                    assert_same(&what, &scaled, &y);
                    realised.backward(InOut::new(x, &mut y), Mask::Bytes(&mask)).unwrap();
                    assert_same(&what, &scaled, &y);
                }
            }
        }
    }
}

/// Law: the words of the reference are those of `rand_xoshiro`.
#[test]
fn the_stream_is_that_of_rand_xoshiro() {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |x: u64| SplitMix64::from_seed(x.wrapping_sub(GOLDEN).to_le_bytes()).next_u64();
    for (seed, block) in [(0, 0), (1, 0), (0, 1), (u64::MAX, 5), (0x1234_5678_9abc_def0, 1 << 51)] {
        let x = mix(mix(seed).wrapping_add(GOLDEN.wrapping_mul(block + 1)));
        let mut words = SplitMix64::from_seed(x.to_le_bytes());
        let mut lanes: Vec<Xoshiro256PlusPlus> = Vec::new();
        for _ in 0..8 {
            let mut state = [0; 32];
            for word in state.chunks_exact_mut(8) {
                word.copy_from_slice(&words.next_u64().to_le_bytes());
            }
            lanes.push(Xoshiro256PlusPlus::from_seed(state));
        }
        let mut drawn = Vec::new();
        while drawn.len() < 256 * 8 {
            drawn.extend(lanes.iter_mut().map(|lane| lane.next_u64()));
        }
        let halves = |word: &u64| [*word as i32, (*word >> 32) as i32];
        let quarters = |word: &u64| [0, 16, 32, 48].map(|shift| (*word >> shift) as i16);
        for p in [0.3, 0.001] {
            let kept: Vec<bool> = if p > 1.0 / 64.0 {
                let least = (p * 65536.0_f64).round_ties_even() as i64 - 32768;
                drawn[..1024].iter().flat_map(quarters).map(|r| i64::from(r) >= least).collect()
            } else {
                let least = (p * 4_294_967_296.0_f64).round_ties_even() as i64 - (1 << 31);
                drawn.iter().flat_map(halves).map(|r| i64::from(r) >= least).collect()
            };
            assert_eq!(kept, reference::dropout_mask(p, seed, block * 4096, 4096));
        }
    }
}

/// The first 64 elements, checked in: version 1 of the stream.
#[test]
fn known_answers() {
    let answers: [(u64, u64, f64, u64); 6] = [
        (0, 0, 0.5, ANSWERS[0]),
        (1, 0, 0.5, ANSWERS[1]),
        (0, 4096, 0.5, ANSWERS[2]),
        (u64::MAX, 100, 0.1, ANSWERS[3]),
        (42, 1 << 60, 0.9, ANSWERS[4]),
        (7, 7 << 20, 0.985, ANSWERS[5]),
    ];
    for (seed, offset, p, expected) in answers {
        for backend in backends() {
            let mut mask = [0; 8];
            Dropout::new()
                .with_p(p)
                .with_backend(backend)
                .mask(Stream { seed, offset }, 64, MaskMut::Packed(&mut mask))
                .unwrap();
            let got = u64::from_le_bytes(mask);
            assert_eq!(
                got, expected,
                "{backend}, seed {seed}, offset {offset}, p {p}: {got:#018x}"
            );
        }
    }
}

const ANSWERS: [u64; 6] = [
    0xe8f56ac2fa16a6a3,
    0xbf688ea513604087,
    0x0f21a7671bd33ce9,
    0xfffff7f3bf7feeff,
    0x4d08080800400040,
    0x0020000008100000,
];

/// Law: any part, from any offset, on any number of threads, is that part of the whole.
#[test]
fn parts_and_threads_give_the_bits_of_the_whole() {
    let len = 400_003;
    let random = &mut Random::new(5);
    let x = random.normals(len);
    for p in [0.1, 0.001] {
        let base = Dropout::new().with_p(p);
        let base = base.with_p(base.realised_p().unwrap());
        let stream = Stream { seed: 3, offset: 1_000_001 };
        let run = |parallelism| {
            let (mut y, mut packed) = (vec![0.0; len], vec![0; len.div_ceil(8)]);
            let operation = base.with_parallelism(parallelism);
            let args = draw_and_keep(stream, MaskMut::Packed(&mut packed));
            operation.forward(InOut::new(&x, &mut y), args).unwrap();
            let (mut applied, mut mask) = (vec![0.0; len], vec![0; len]);
            operation.forward(InOut::new(&x, &mut applied), Mask::Packed(&packed)).unwrap();
            assert_same("a mask of bits", &y, &applied);
            operation.mask(stream, len, MaskMut::Bytes(&mut mask)).unwrap();
            operation.forward(InOut::new(&x, &mut applied), Mask::Bytes(&mask)).unwrap();
            assert_same("a mask of bytes", &y, &applied);
            (y, packed, mask)
        };
        let (y, packed, mask) = run(Parallelism::Serial);
        assert_eq!(pack(&mask), packed);
        for tasks in [2, 3, 7, 16] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(tasks).build().unwrap();
            let got = pool.install(|| run(Parallelism::AtMost(tasks)));
            assert_same("threads", &y, &got.0);
            assert!((got.1, got.2) == (packed.clone(), mask.clone()), "{tasks} tasks");
        }
        for _ in 0..50 {
            let start = random.below(len);
            let end = start + random.below(len - start + 1);
            let part = Stream { offset: stream.offset + start as u64, ..stream };
            assert_eq!(bytes(base, part, end - start), mask[start..end], "{start}..{end}");
        }
    }
}

#[test]
fn the_ends_of_p() {
    let x = [1.5, f32::NAN, f32::INFINITY, -0.0, 1e-40, -3.0, 2.0, 7.0, 9.0];
    let stream = Stream { seed: 1, offset: u64::MAX - 8 };
    for backend in backends() {
        let (mut y, mut packed) = ([5.0; 9], [0xaa; 2]);
        let keep = Dropout::new().with_p(0.0).with_backend(backend);
        let args = draw_and_keep(stream, MaskMut::Packed(&mut packed));
        keep.forward(InOut::new(&x, &mut y), args).unwrap();
        assert_eq!(y.map(f32::to_bits), x.map(f32::to_bits), "p = 0 copies, every bit");
        assert_eq!(packed, [0xff, 1]);
        assert_eq!((keep.realised_p(), keep.scale()), (Ok(0.0), Ok(1.0)));
        for len in 0..=25_usize {
            let mut packed = vec![0xaa; len.div_ceil(8)];
            keep.mask(Stream { seed: 1, offset: 0 }, len, MaskMut::Packed(&mut packed)).unwrap();
            let expected = (0..8 * packed.len()).map(|i| i < len);
            let got = (0..8 * packed.len()).map(|i| packed[i / 8] >> (i % 8) & 1 == 1);
            assert!(got.eq(expected), "p = 0 keeps {len} and none beyond: {packed:x?}");
        }
        let drop = Dropout::new().with_p(1.0).with_backend(backend);
        let args = draw_and_keep(stream, MaskMut::Packed(&mut packed));
        drop.forward(InOut::new(&x, &mut y), args).unwrap();
        assert_eq!(y.map(f32::to_bits), [0; 9], "p = 1 writes +0.0");
        assert_eq!(packed, [0, 0]);
        assert_eq!((drop.realised_p(), drop.scale()), (Ok(1.0), Ok(0.0)));
        drop.forward(InOut::new(&x, &mut y), Mask::Packed(&[0xff, 1])).unwrap();
        assert_eq!(y.map(f32::to_bits), [0; 9]);
    }
    let mut y = [5.0; 9];
    Dropout::new().forward_inference(InOut::new(&x, &mut y)).unwrap();
    assert_eq!(y.map(f32::to_bits), x.map(f32::to_bits), "inference is the identity");
}

/// The realised probability is p to the width of the integers, and the scale is its.
#[test]
fn realised_probabilities() {
    for (p, expected) in [
        (0.5, 0.5),
        (0.1, 6554.0 / 65536.0),
        (1.0 / 64.0, 1.0 / 64.0),
        (0.01, 42_949_673.0 / 4_294_967_296.0),
        (1e-12, 0.0),
        (1.0 - 1e-16, 1.0 - 1.0 / 4_294_967_296.0),
    ] {
        let operation = Dropout::new().with_p(p);
        assert_eq!(operation.realised_p(), Ok(expected));
        assert_eq!(operation.scale(), Ok((1.0 / (1.0 - expected)) as f32));
    }
}

/// Data: what other frameworks multiply a kept element by, 1 / (1 - p) rounded to f32; and what drawing at the same p does.
#[test]
fn a_given_mask_takes_the_scale_of_p_and_a_drawn_one_that_of_the_realised_p() {
    for (p, given, drawn) in [
        (0.1, 1.111_111_2_f32, 1.111_118_7_f32),
        (0.5, 2.0, 2.0),
        (0.9, 10.0, 9.999_39),
        (0.01, 1.010_101, 1.010_101),
        (1e-12, 1.0, 1.0),
        (1.0 - 2.0_f64.powi(-40), 2.0_f32.powi(40), 2.0_f32.powi(32)),
    ] {
        for backend in backends() {
            let operation = Dropout::new().with_p(p).with_backend(backend);
            assert_eq!(operation.scale(), Ok(drawn), "{backend}, p {p}");
            let expected: Vec<f32> =
                (0..70).map(|i| if i % 3 == 0 { 0.0 } else { given }).collect();
            let mask: Vec<u8> = (0..70).map(|i| u8::from(i % 3 != 0)).collect();
            let packed = pack(&mask);
            for mask in [Mask::Bytes(&mask), Mask::Packed(&packed)] {
                let (x, mut y) = (vec![1.0; 70], vec![f32::NAN; 70]);
                operation.forward(InOut::new(&x, &mut y), mask).unwrap();
                assert_same(&format!("{backend}, p {p}, forward"), &expected, &y);
                let mut dx = x;
                operation.backward(InOut::in_place(&mut dx), mask).unwrap();
                assert_same(&format!("{backend}, p {p}, backward"), &expected, &dx);
            }
        }
    }
}

/// A dropped element is +0.0 whatever it was; a kept one keeps its NaN or infinity.
#[test]
fn dropped_places_hold_zero_whatever_was_there() {
    let stream = Stream { seed: 9, offset: 5 };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0] {
        for backend in backends() {
            let operation = Dropout::new().with_p(0.4).with_backend(backend);
            let mask = bytes(operation, stream, 200);
            let mut y = vec![bad; 200];
            operation.forward(InOut::in_place(&mut y), stream).unwrap();
            for (y, kept) in y.iter().zip(mask) {
                let expected = if kept == 1 { bad } else { 0.0 };
                assert_eq!(bits(*y), bits(expected), "{backend}, {bad}");
            }
        }
    }
}

/// Law: a kept number of any size, subnormal or next to the largest, is the product with the scale, which is 2 for p = 0.5.
#[test]
fn a_kept_number_of_every_size_has_the_bits_of_the_product() {
    // Of all bit patterns one in a prime.
    let mut x: Vec<f32> = (0..=u32::MAX).step_by(2_000_003).map(f32::from_bits).collect();
    x.extend([0.0, -0.0, f32::from_bits(1), -f32::MIN_POSITIVE, f32::MAX, -f32::MAX / 2.0]);
    x.retain(|x| !x.is_nan());
    let mask = vec![1; x.len()];
    for (p, backend) in with_backends([0.5, 0.25, 0.9]) {
        let scale = (1.0 / (1.0 - p)) as f32;
        let mut y = vec![f32::NAN; x.len()];
        let operation = Dropout::new().with_p(p).with_backend(backend);
        operation.forward(InOut::new(&x, &mut y), Mask::Bytes(&mask)).unwrap();
        for (x, y) in x.iter().zip(&y) {
            assert_eq!(y.to_bits(), (x * scale).to_bits(), "{backend}, p {p}: {x:e}");
        }
    }
}

/// The textbook's example: x = (1, 1, 1, 1), two kept at p = 0.5; the sum is scaled back to 4.
#[test]
fn two_of_four_sum_to_four() {
    let operation = Dropout::new().with_p(0.5);
    let mut y = [0.0; 4];
    operation.forward(InOut::new(&[1.0; 4], &mut y), Mask::Bytes(&[1, 0, 1, 0])).unwrap();
    assert_eq!(y, [2.0, 0.0, 2.0, 0.0]);
    assert_eq!(y.iter().sum::<f32>(), 4.0);
}

/// Law: bad input is an error, and nothing is written.
#[test]
fn bad_input_is_an_error_and_nothing_is_written() {
    let stream = Stream { seed: 0, offset: 0 };
    let (x, mut y, mut mask) = ([1.0; 16], [7.0; 16], [9; 2]);
    for p in [-1e-9, 1.0 + 1e-9, f64::NAN, f64::INFINITY] {
        let operation = Dropout::new().with_p(p);
        let args = draw_and_keep(stream, MaskMut::Packed(&mut mask));
        let error = operation.forward(InOut::new(&x, &mut y), args).unwrap_err();
        assert!(matches!(error, Error::Parameter { arg: "p", .. }), "{error}");
        assert!(operation.forward(InOut::new(&x, &mut y), Mask::Packed(&[0; 2])).is_err());
        assert!(operation.realised_p().is_err() && operation.scale().is_err());
    }
    for p in [0.0, 0.3, 1.0] {
        let operation = Dropout::new().with_p(p);
        let length = |arg, expected, got| Error::Length { arg, expected, got };
        let error = operation.forward(InOut::new(&x, &mut y[..15]), stream).unwrap_err();
        assert_eq!(error, length("y", 16, 15));
        let error = operation.backward(InOut::new(&x, &mut y[..15]), stream).unwrap_err();
        assert_eq!(error, length("y", 16, 15));
        let args = draw_and_keep(stream, MaskMut::Packed(&mut mask[..1]));
        let error = operation.forward(InOut::new(&x, &mut y), args).unwrap_err();
        assert_eq!(error, length("mask", 2, 1));
        let error = operation.mask(stream, 3, MaskMut::Bytes(&mut mask)).unwrap_err();
        assert_eq!(error, length("mask", 3, 2));
        for (given, error) in [
            (Mask::Packed(&[0; 3]), length("mask", 2, 3)),
            (Mask::Bytes(&[1; 15]), length("mask", 16, 15)),
        ] {
            assert_eq!(operation.forward(InOut::new(&x, &mut y), given).unwrap_err(), error);
        }
        let args = DropoutArgs::given(Mask::Packed(&[1; 2])).keep_mask(MaskMut::Packed(&mut mask));
        let error = operation.forward(InOut::new(&x, &mut y), args).unwrap_err();
        assert_eq!(error, Error::Unsupported { arg: "mask" });
        let beyond = Stream { offset: u64::MAX - 14, ..stream };
        let error = operation.forward(InOut::new(&x, &mut y), beyond).unwrap_err();
        assert_eq!(error, Error::StreamOverflow { offset: u64::MAX - 14, len: 16 });
    }
    assert_eq!((y, mask), ([7.0; 16], [9; 2]));
    let last = Stream { offset: u64::MAX - 15, ..stream };
    Dropout::new().forward(InOut::new(&x, &mut y), last).unwrap();
}
