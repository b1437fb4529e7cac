//! Dropout of whole rows, and of whole channels of samples: one draw each. Every backend, serially and not.
#![forbid(unsafe_code)]

use evenkeel::{
    Channels, Dropout, DropoutArgs, Error, InOut, Mask, MaskMut, Rows, Stream, reference,
};

use crate::common::*;
use crate::dropout::pack;
use crate::variants::ways;

/// Units and elements: how many units there are, and the unit of each element.
fn of_channels(channels: Channels) -> (usize, Vec<usize>) {
    let (samples, count, positions) = (channels.batch(), channels.channels(), channels.positions());
    let unit = |i: usize| match channels.is_last() {
        true => i / (count * positions) * count + i % count,
        false => i / positions,
    };
    (samples * count, (0..channels.elements()).map(unit).collect())
}

/// Checks a way to drop units.
fn check(
    what: &str,
    (units, of): (usize, Vec<usize>),
    whole: impl for<'a> Fn(DropoutArgs<'a>) -> DropoutArgs<'a>,
) {
    let x = Random::new(units as u64).normals(of.len());
    for (p, offset) in [(0.5, 0), (0.3, 4090), (0.002, 4096 * 3 + 17), (0.0, 5), (1.0, 5)] {
        let stream = Stream { seed: 12, offset };
        let drawn = reference::dropout_mask(p, stream.seed, offset, units);
        for (backend, parallelism, stores) in ways() {
            let dropout = Dropout::new()
                .with_p(p)
                .with_backend(backend)
                .with_parallelism(parallelism)
                .with_stores(stores);
            let what = format!("{what}, {backend}, p {p}, {stream:?}");
            let scale = dropout.scale().unwrap();
            let expected: Vec<f32> =
                x.iter().zip(&of).map(|(x, &u)| if drawn[u] { x * scale } else { 0.0 }).collect();
            let bytes: Vec<u8> = drawn.iter().map(|&kept| kept.into()).collect();

            let (mut y, mut packed) = (vec![f32::NAN; x.len()], vec![0xaa; units.div_ceil(8)]);
            let keep = DropoutArgs::draw(stream).keep_mask(MaskMut::Packed(&mut packed));
            dropout.forward(InOut::new(&x, &mut y), whole(keep)).unwrap();
            assert_same(&what, &expected, &y);
            assert_eq!(packed, pack(&bytes), "{what}");
            let mut dx = x.clone();
            dropout.backward(InOut::in_place(&mut dx), whole(stream.into())).unwrap();
            assert_same(&what, &expected, &dx);
            let realised = dropout.with_p(dropout.realised_p().unwrap());
            for mask in [Mask::Packed(&packed), Mask::Bytes(&bytes)] {
                let mut dx = vec![f32::NAN; x.len()];
                realised.backward(InOut::new(&x, &mut dx), whole(mask.into())).unwrap();
                assert_same(&what, &expected, &dx);
            }
        }
    }
}

/// Law: each row has the choice of its element of the stream.
#[test]
fn rows_are_kept_or_dropped_as_a_whole() {
    for (count, cols) in [(1, 1), (5, 33), (700, 3), (4100, 20), (9, 20_000), (3, 0)] {
        let rows = rows(count, cols);
        let of = (0..rows.elements()).map(|i| i / cols).collect();
        check(&format!("{rows:?}"), (count, of), |args| args.whole_rows(rows));
    }
}

/// Law: each channel of a sample has the choice of its element of the stream, wherever its positions lie.
#[test]
fn channels_are_kept_or_dropped_as_a_whole() {
    for (samples, count, positions) in
        [(1, 1, 1), (2, 3, 40), (5, 70, 49), (3, 4100, 5), (2, 9, 20_000)]
    {
        let first = Channels::first(samples, count, positions).unwrap();
        let last = Channels::last(samples, positions, count).unwrap();
        for channels in [first, last] {
            check(&format!("{channels:?}"), of_channels(channels), |args| {
                args.whole_channels(channels)
            });
        }
    }
}

/// Law: a shape of other elements, or a mask of other units, is an error, and nothing is written.
#[test]
fn another_shape_is_an_error() {
    let (x, mut y, stream) = ([1.0_f32; 12], [9.0_f32; 12], Stream { seed: 1, offset: 0 });
    let mut forward = |args: DropoutArgs<'_>| {
        let result = Dropout::new().forward(InOut::new(&x, &mut y), args).map(drop);
        assert_eq!(y, [9.0; 12]);
        result.expect_err("an error")
    };
    let length = |arg, expected, got| Error::Length { arg, expected, got };
    let rows = |count, cols| Rows::new(count, cols).unwrap();
    let drawn = || DropoutArgs::draw(stream);
    assert_eq!(forward(drawn().whole_rows(rows(3, 5))), length("x", 15, 12));
    let channels = Channels::last(2, 2, 4).unwrap();
    assert_eq!(forward(drawn().whole_channels(channels)), length("x", 16, 12));
    let mask = DropoutArgs::given(Mask::Bytes(&[1; 12])).whole_rows(rows(3, 4));
    assert_eq!(forward(mask), length("mask", 3, 12));
    let end = Stream { seed: 1, offset: u64::MAX - 1 };
    let overflow = Error::StreamOverflow { offset: end.offset, len: 3 };
    assert_eq!(forward(DropoutArgs::draw(end).whole_rows(rows(3, 4))), overflow);
}
