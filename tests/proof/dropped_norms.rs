//! Law: dropout as an option of a norm has the bits of the operations one by one, forward and backward. Every backend.
#![forbid(unsafe_code)]

use evenkeel::{
    Channels, Dropout, DropoutArgs, Error, GateFunction, GatePlace, GradArgs, InOut, LayerNorm,
    Mask, MaskMut, NormArgs, RmsNorm, Rows, Stream, ValidRows,
};

use crate::common::*;
use crate::dropout::pack;
use crate::variants::{numbers, shapes, ways};

/// Both widths of random integers, and what is not drawn.
const PROBABILITIES: [f64; 5] = [0.1, 0.0, 0.5, 0.004, 1.0];

/// At the start of a block, in a byte, and next to the end of the stream.
const STREAMS: [Stream; 3] = [
    Stream { seed: 3, offset: 0 },
    Stream { seed: 4, offset: 4096 * 5 + 4091 },
    Stream { seed: 5, offset: u64::MAX - 300 * 520 + 1 },
];

#[derive(Clone, Copy, Debug)]
enum Norm {
    Layer(LayerNorm),
    Rms(RmsNorm),
}

impl Norm {
    fn forward(self, io: InOut<'_, '_>, rows: Rows, args: NormArgs<'_>) -> Result<(), Error> {
        match self {
            Self::Layer(norm) => norm.forward(io, rows, args).map(drop),
            Self::Rms(norm) => norm.forward(io, rows, args).map(drop),
        }
    }

    fn backward(
        self,
        io: InOut<'_, '_>,
        x: &[f32],
        rows: Rows,
        args: GradArgs<'_>,
    ) -> Result<(), Error> {
        match self {
            Self::Layer(norm) => norm.backward(io, x, rows, args).map(drop),
            Self::Rms(norm) => norm.backward(io, x, rows, args).map(drop),
        }
    }
}

/// The norms, each in every way; whether they take a gate; and dropout in the same way.
fn norms(cols: usize) -> impl Iterator<Item = (Norm, bool, Dropout)> {
    ways().flat_map(move |(backend, parallelism, stores)| {
        let layer = LayerNorm::new()
            .with_backend(backend)
            .with_parallelism(parallelism)
            .with_stores(stores);
        let rms =
            RmsNorm::new().with_backend(backend).with_parallelism(parallelism).with_stores(stores);
        let dropout = Dropout::new().with_backend(backend);
        let groups = (2..=cols).find(|groups| cols.is_multiple_of(*groups)).unwrap_or(1);
        [
            (Norm::Layer(layer), false, dropout),
            (Norm::Rms(rms.with_one_plus_gamma(true)), false, dropout),
            (Norm::Rms(rms.with_group_size(cols / groups)), true, dropout),
            (
                Norm::Layer(layer.with_gate(GateFunction::Silu, GatePlace::BeforeNorm)),
                true,
                dropout,
            ),
        ]
    })
}

/// What calls read.
struct Inputs {
    rows: Rows,
    x: Vec<f32>,
    residual: Vec<f32>,
    gate: Vec<f32>,
    bias: Vec<f32>,
    gamma: Vec<f32>,
}

impl Inputs {
    fn new(shape: (usize, usize)) -> Self {
        let random = &mut Random::new(shape.1 as u64 + 70);
        Self {
            rows: rows(shape.0, shape.1),
            x: numbers(shape, random),
            residual: numbers(shape, random),
            gate: random.normals(shape.0 * shape.1),
            bias: random.normals(shape.1),
            gamma: random.normals(shape.1),
        }
    }

    /// `x + bias`, which dropout sees.
    fn biased(&self, with_bias: bool) -> Vec<f32> {
        let bias = |(i, x): (usize, &f32)| match with_bias {
            true => x + self.bias[i % self.rows.cols()],
            false => *x,
        };
        self.x.iter().enumerate().map(bias).collect()
    }

    /// With dropout, and with a gate, a bias and a residual where they are.
    fn all<'a>(
        &'a self,
        (with_gate, with_bias, with_residual): (bool, bool, bool),
        p: f64,
        dropout: DropoutArgs<'a>,
    ) -> NormArgs<'a> {
        let mut args = self.args(with_gate).dropout(p, dropout);
        if with_bias {
            args = args.x_bias(&self.bias);
        }
        if with_residual {
            args = args.residual(&self.residual);
        }
        args
    }

    fn args(&self, with_gate: bool) -> NormArgs<'_> {
        let args = NormArgs::new().gamma(&self.gamma);
        if with_gate { args.gate(&self.gate) } else { args }
    }
}

/// Law: y, the sum and the mask are those of bias, dropout, residual and norm one by one; in place, and with a given mask too.
#[test]
fn dropout_in_a_norm_is_dropout_before_it() {
    for shape in shapes() {
        let inputs = Inputs::new(shape);
        let (rows, len) = (inputs.rows, inputs.x.len());
        for (case, (norm, with_gate, dropout)) in norms(shape.1).enumerate() {
            for (i, &p) in PROBABILITIES.iter().enumerate() {
                let stream = STREAMS[(case + i) % 3];
                let (with_bias, with_residual) = (case % 3 > 0, (case + i) % 4 > 0);
                let what =
                    format!("{norm:?}, p {p}, {stream:?}, {shape:?}, {with_bias}, {with_residual}");
                let dropout = dropout.with_p(p);
                let (mut sum, mut bytes) = (inputs.biased(with_bias), vec![7; len]);
                let args = DropoutArgs::draw(stream).keep_mask(MaskMut::Bytes(&mut bytes));
                dropout.forward(InOut::in_place(&mut sum), args).unwrap();
                if with_residual {
                    sum.iter_mut().zip(&inputs.residual).for_each(|(sum, r)| *sum += r);
                }
                let mut expected = vec![f32::NAN; len];
                norm.forward(InOut::new(&sum, &mut expected), rows, inputs.args(with_gate))
                    .unwrap();

                let options = (with_gate, with_bias, with_residual);
                let (mut y, mut kept, mut packed) =
                    (vec![f32::NAN; len], vec![f32::NAN; len], vec![0xaa; len.div_ceil(8)]);
                norm.forward(InOut::new(&inputs.x, &mut y), rows, {
                    let keep = DropoutArgs::draw(stream).keep_mask(MaskMut::Packed(&mut packed));
                    inputs.all(options, p, keep).sum(&mut kept)
                })
                .unwrap();
                assert_same(&what, &expected, &y);
                assert_same(&what, &sum, &kept);
                assert_eq!(packed, pack(&bytes), "{what}");

                let mut y = inputs.x.clone();
                let args = inputs.all(options, p, stream.into());
                norm.forward(InOut::in_place(&mut y), rows, args).unwrap();
                assert_same(&what, &expected, &y);
                let realised = dropout.realised_p().unwrap();
                for mask in [Mask::Packed(&packed), Mask::Bytes(&bytes)] {
                    let mut y = vec![f32::NAN; len];
                    let mut given =
                        inputs.all((with_gate, with_bias, false), realised, mask.into());
                    let mut updated = inputs.residual.clone();
                    if with_residual {
                        given = given.update_residual(&mut updated);
                    }
                    norm.forward(InOut::new(&inputs.x, &mut y), rows, given).unwrap();
                    assert_same(&what, &expected, &y);
                    if with_residual {
                        assert_same(&what, &sum, &updated);
                    }
                }
            }
        }
    }
}

/// Law: dx is dropout of the gradient of the sum, which the residual gets as it is; dbias is the sum of dx over the rows that are
/// data, rounded once.
#[test]
fn backward_drops_the_gradient_of_the_sum() {
    for shape in shapes() {
        let inputs = Inputs::new(shape);
        let (rows, len, (count, cols)) = (inputs.rows, inputs.x.len(), shape);
        let (dy, dsum) = (&inputs.gate, &inputs.residual);
        let valid: Vec<u8> = (0..count).map(|r| u8::from(r % 4 != 1)).collect();
        for (case, (norm, with_gate, dropout)) in norms(cols).enumerate() {
            for (i, &p) in PROBABILITIES.iter().enumerate() {
                let stream = STREAMS[(case + i) % 3];
                let (with_dsum, pads) = ((case + i) % 2 > 0, case % 3 == 1);
                let what = format!("{norm:?}, p {p}, {stream:?}, {shape:?}, {with_dsum}, {pads}");
                let dropout = dropout.with_p(p);
                let args = || {
                    let mut args = GradArgs::new().gamma(&inputs.gamma);
                    if with_gate {
                        args = args.gate(&inputs.gate);
                    }
                    if with_dsum {
                        args = args.dsum(dsum);
                    }
                    if pads {
                        args = args.valid(ValidRows::Mask(Mask::Bytes(&valid)));
                    }
                    args
                };
                let (mut ds, mut dgamma) = (vec![f32::NAN; len], vec![f64::NAN; cols]);
                let plain = args().dgamma(&mut dgamma);
                norm.backward(InOut::new(dy, &mut ds), &inputs.x, rows, plain).unwrap();
                let (mut expected, mut bytes) = (ds.clone(), vec![7; len]);
                dropout
                    .forward(InOut::in_place(&mut expected), {
                        DropoutArgs::draw(stream).keep_mask(MaskMut::Bytes(&mut bytes))
                    })
                    .unwrap();

                let (mut dx, mut dresidual) = (vec![f32::NAN; len], vec![f32::NAN; len]);
                let (mut again, mut dbias) = (vec![f64::NAN; cols], vec![0.5; cols]);
                let full = args()
                    .dropout(p, stream)
                    .dresidual(&mut dresidual)
                    .dgamma(&mut again)
                    .add_dbias(&mut dbias);
                norm.backward(InOut::new(dy, &mut dx), &inputs.x, rows, full).unwrap();
                assert_same(&what, &expected, &dx);
                assert_same(&what, &ds, &dresidual);
                assert!(dgamma.iter().zip(&again).all(|(a, b)| bits64(*a) == bits64(*b)), "{what}");
                for c in 0..cols {
                    let column = || expected.iter().skip(c).step_by(cols).map(|&dx| f64::from(dx));
                    let (sum, size) = (column().sum::<f64>(), column().map(f64::abs).sum::<f64>());
                    let error = (dbias[c] - 0.5 - sum).abs();
                    assert!(error <= 1e-13 * size + 1e-15, "{what}: dbias {c} is off by {error:e}");
                }

                let mut in_place = dy.clone();
                let realised = dropout.realised_p().unwrap();
                let given = args().dropout(realised, Mask::Bytes(&bytes));
                norm.backward(InOut::in_place(&mut in_place), &inputs.x, rows, given).unwrap();
                assert_same(&what, &expected, &in_place);
                let mut single = vec![f32::NAN; cols];
                let packed = pack(&bytes);
                let given = args().dropout(realised, Mask::Packed(&packed)).dbias(&mut single);
                norm.backward(InOut::new(dy, &mut dx), &inputs.x, rows, given).unwrap();
                assert_same(&what, &expected, &dx);
                for c in 0..cols {
                    let close = (f64::from(single[c]) - (dbias[c] - 0.5)).abs();
                    let bound = 1e-7 * dbias[c].abs() + 1e-7;
                    assert!(close <= bound, "{what}: dbias {c} in f32 is off by {close:e}");
                }
            }
        }
    }
}

/// Law: rows that are dropped as a whole are those of dropout by rows, forward and backward, each row or two of them together.
#[test]
fn rows_are_dropped_as_a_whole() {
    for shape in [(1, 5), (6, 7), (34, 100), (8, 768), (300, 520)] {
        let inputs = Inputs::new(shape);
        let (rows, len, (count, cols)) = (inputs.rows, inputs.x.len(), shape);
        for (case, (norm, with_gate, dropout)) in norms(cols).enumerate() {
            let each = 1 + (case + 1) % 2 * usize::from(count % 2 == 0);
            let units = crate::common::rows(count / each, cols * each);
            let stream = Stream { seed: 8, offset: 4090 };
            let what = format!("{norm:?}, {shape:?}, units of {each} rows");
            let mut sum = inputs.x.clone();
            let args = DropoutArgs::draw(stream).whole_rows(units);
            dropout.forward(InOut::in_place(&mut sum), args).unwrap();
            sum.iter_mut().zip(&inputs.residual).for_each(|(sum, r)| *sum += r);
            let (mut expected, mut y) = (vec![f32::NAN; len], vec![f32::NAN; len]);
            norm.forward(InOut::new(&sum, &mut expected), rows, inputs.args(with_gate)).unwrap();
            let mut mask = vec![9; count / each];
            let drawn = DropoutArgs::draw(stream).whole_rows(units);
            let args = inputs
                .args(with_gate)
                .dropout(0.5, drawn.keep_mask(MaskMut::Bytes(&mut mask)))
                .residual(&inputs.residual);
            norm.forward(InOut::new(&inputs.x, &mut y), rows, args).unwrap();
            assert_same(&what, &expected, &y);

            let grad_args = || {
                let args = GradArgs::new();
                if with_gate { args.gate(&inputs.gate) } else { args }
            };
            let (dy, mut dx) = (&inputs.residual, vec![f32::NAN; len]);
            norm.backward(InOut::new(dy, &mut dx), &sum, rows, grad_args()).unwrap();
            let given = DropoutArgs::given(Mask::Bytes(&mask)).whole_rows(units);
            dropout.backward(InOut::in_place(&mut dx), given).unwrap();
            let mut fused = vec![f32::NAN; len];
            let args = grad_args().dropout(0.5, DropoutArgs::draw(stream).whole_rows(units));
            norm.backward(InOut::new(dy, &mut fused), &sum, rows, args).unwrap();
            assert_same(&what, &dx, &fused);
        }
    }
}

/// Law: what makes no sense is an error, and nothing is written.
#[test]
fn impossible_dropout_is_an_error() {
    let (rows, x) = (rows(4, 6), [1.0_f32; 24]);
    let (stream, mut mask) = (Stream { seed: 1, offset: 0 }, [7; 3]);
    let far = Stream { seed: 1, offset: u64::MAX - 22 };
    let units =
        |count, cols| DropoutArgs::draw(stream).whole_rows(crate::common::rows(count, cols));
    let channels = Channels::first(2, 3, 4).unwrap();
    let forward = |p: f64, dropout: DropoutArgs<'_>| {
        let mut y = [9.0_f32; 24];
        let args = NormArgs::new().dropout(p, dropout);
        let result = LayerNorm::new().forward(InOut::new(&x, &mut y), rows, args).map(drop);
        assert_eq!(y, [9.0; 24]);
        result.expect_err("an error")
    };
    let backward = |dropout: DropoutArgs<'_>| {
        let mut dx = [9.0_f32; 24];
        let args = GradArgs::new().dropout(0.5, dropout);
        let result = LayerNorm::new().backward(InOut::new(&x, &mut dx), &x, rows, args).map(drop);
        assert_eq!(dx, [9.0; 24]);
        result.expect_err("an error")
    };
    let is_p = |error| matches!(error, Error::Parameter { arg: "dropout_p", .. });
    assert!(is_p(forward(1.5, stream.into())) && is_p(forward(f64::NAN, stream.into())));
    let length = |expected, got| Error::Length { arg: "dropout_mask", expected, got };
    assert_eq!(forward(0.5, Mask::Packed(&[0; 2]).into()), length(3, 2));
    assert_eq!(backward(Mask::Bytes(&[0; 25]).into()), length(24, 25));
    assert_eq!(forward(0.0, far.into()), Error::StreamOverflow { offset: far.offset, len: 24 });
    assert_eq!(backward(far.into()), Error::StreamOverflow { offset: far.offset, len: 24 });
    let unsupported = |arg| Error::Unsupported { arg };
    let both = DropoutArgs::given(Mask::Packed(&[0; 3])).keep_mask(MaskMut::Packed(&mut mask));
    assert_eq!(forward(0.5, both), unsupported("keep_mask"));
    assert_eq!(
        backward(DropoutArgs::draw(stream).keep_mask(MaskMut::Packed(&mut mask))),
        unsupported("keep_mask")
    );
    assert_eq!(forward(0.5, units(3, 8)), unsupported("dropout"));
    assert_eq!(backward(units(8, 3)), unsupported("dropout"));
    assert_eq!(forward(0.5, units(2, 6)), Error::Length { arg: "x", expected: 12, got: 24 });
    assert_eq!(
        forward(0.5, DropoutArgs::draw(stream).whole_channels(channels)),
        unsupported("dropout")
    );
    assert_eq!(mask, [7; 3]);
    let mut dbias = [7.0; 6];
    let args = GradArgs::new().dbias(&mut dbias);
    let result = LayerNorm::new().backward(InOut::read_only(&x), &x, rows, args).map(drop);
    assert_eq!(result, Err(unsupported("dbias")));
}
