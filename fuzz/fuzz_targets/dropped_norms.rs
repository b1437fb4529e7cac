//! Dropout as an option of norms, forward and backward, beside the operations one by one; and dropout of whole rows and channels.
#![forbid(unsafe_code)]
#![no_main]

use arbitrary::Arbitrary;
use evenkeel::{
    Backend, Channels, Dropout, DropoutArgs, Error, GradArgs, InOut, LayerNorm, MaskMut, NormArgs,
    RmsNorm, Rows, Stream,
};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    is_layer_norm: bool,
    matrix: Matrix,
    residual: Source,
    bias: Option<Source>,
    dy: Source,
    p: Parameter,
    seed: u64,
    offset: u64,
    /// Next to the end of the stream.
    at_the_end: bool,
    /// Chooses how many rows are dropped as a whole, if any are.
    whole: u8,
    packed: bool,
    threads: Threads,
    stores: StoresAre,
}

fuzz_target!(|input: Continued<Input>| input.0.check());

/// One of two norms.
#[derive(Clone, Copy)]
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

impl Input {
    fn check(&self) {
        let (x, rows) = self.matrix.make(Lines::Rows);
        let (count, cols, len) = (rows.rows(), rows.cols(), x.len());
        let residual = self.residual.values(len, 1);
        let bias = self.bias.as_ref().map(|bias| bias.values(cols, 2));
        let dy = self.dy.values(len, 3);
        let each = if self.whole == 0 { 0 } else { count / divisor(count, self.whole).max(1) };
        let whole = (each > 0 && cols > 0).then(|| {
            Rows::new(count / each, cols * each).expect("as many elements as the matrix has")
        });
        let units = whole.map_or(len, Rows::rows);
        let offset = match self.at_the_end {
            true => self.offset.wrapping_rem(9).wrapping_sub(units as u64).wrapping_sub(4),
            false => self.offset,
        };
        let (p, stream) = (self.p.value(0.5), Stream { seed: self.seed, offset });
        let valid = (0.0..=1.0).contains(&p) && u128::from(offset) + units as u128 <= 1 << 64;
        let of_rows = |args: DropoutArgs<'static>| match whole {
            Some(rows) => args.whole_rows(rows),
            None => args,
        };
        let drawn = || of_rows(DropoutArgs::draw(stream));
        for backend in Backend::available() {
            let what = format_args!("{backend}, {rows:?}, p {p:e}, {stream:?}, {self:?}");
            let norm = match self.is_layer_norm {
                true => Norm::Layer(
                    LayerNorm::new()
                        .with_backend(backend)
                        .with_parallelism(self.threads.into())
                        .with_stores(self.stores.into()),
                ),
                false => Norm::Rms(
                    RmsNorm::new()
                        .with_backend(backend)
                        .with_parallelism(self.threads.into())
                        .with_stores(self.stores.into()),
                ),
            };
            let dropout = Dropout::new().with_p(p).with_backend(backend);
            let (mut y, mut sum) = (Buffer::<f32>::new(len, 0), Buffer::<f32>::new(len, 0));
            let mut mask = Buffer::<u8>::new(mask_len(units, self.packed), 0);
            let mut args = NormArgs::new().residual(&residual).sum(&mut sum);
            if let Some(bias) = &bias {
                args = args.x_bias(bias);
            }
            let keep =
                if self.packed { MaskMut::Packed(&mut mask) } else { MaskMut::Bytes(&mut mask) };
            let fused = match whole {
                Some(rows) => DropoutArgs::draw(stream).keep_mask(keep).whole_rows(rows),
                None => DropoutArgs::draw(stream).keep_mask(keep),
            };
            let result = norm.forward(InOut::new(&x, &mut y), rows, args.dropout(p, fused));
            assert_eq!(result.is_ok(), valid, "{what}: {result:?}");
            let mut dx = Buffer::<f32>::new(len, 0);
            let mut ds = Buffer::<f32>::new(len, 0);
            let mut dbias = Buffer::<f64>::new(cols, 0);
            let args = GradArgs::new().dresidual(&mut ds).dbias(&mut dbias).dropout(p, drawn());
            let result = norm.backward(InOut::new(&dy, &mut dx), &x, rows, args);
            assert_eq!(result.is_ok(), valid, "{what}: {result:?}");
            if !valid {
                assert!(y.is_untouched() && sum.is_untouched() && mask.is_untouched(), "{what}");
                assert!(dx.is_untouched() && ds.is_untouched() && dbias.is_untouched(), "{what}");
                continue;
            }

            let mut expected = x.clone();
            for row in expected.chunks_mut(cols.max(1)) {
                let bias = bias.iter().flatten();
                row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
            }
            dropout.forward(InOut::in_place(&mut expected), drawn()).expect("the buffers fit");
            expected.iter_mut().zip(&residual).for_each(|(sum, r)| *sum += r);
            assert_eq!(raw(&expected), raw(&sum), "{what}: the sum");
            let kept = defined_mask(p, stream, units);
            assert!(mask[..] == store_mask(&kept, self.packed), "{what}: the mask");
            let mut plain = vec![0.0; len];
            norm.forward(InOut::new(&expected, &mut plain), rows, NormArgs::new())
                .expect("the buffers fit");
            assert_eq!(raw(&plain), raw(&y), "{what}: y");

            let mut expected = vec![0.0; len];
            norm.backward(InOut::new(&dy, &mut expected), &x, rows, GradArgs::new())
                .expect("the buffers fit");
            assert_eq!(raw(&expected), raw(&ds), "{what}: the gradient of the residual");
            dropout.forward(InOut::in_place(&mut expected), drawn()).expect("the buffers fit");
            assert_eq!(raw(&expected), raw(&dx), "{what}: dx");
            for c in 0..cols {
                let column = || dx.iter().skip(c).step_by(cols).map(|&dx| f64::from(dx));
                let (sum, size) = (column().sum::<f64>(), column().map(f64::abs).sum::<f64>());
                let close = (dbias[c] - sum).abs() <= 1e-12 * size;
                assert!(close || !size.is_finite(), "{what}: dbias {c}: {sum:e}, {:e}", dbias[c]);
            }
        }
        self.check_channels(&x, rows, p);
    }

    /// Channels of one sample, in both layouts.
    fn check_channels(&self, x: &[f32], rows: Rows, p: f64) {
        if !(0.0..=1.0).contains(&p) {
            return;
        }
        let (count, cols, stream) =
            (rows.rows(), rows.cols(), Stream { seed: self.seed, offset: 7 });
        let first = Channels::first(1, count, cols).expect("as many elements as the matrix has");
        let last = Channels::last(1, count, cols).expect("as many elements as the matrix has");
        let scale = Dropout::new().with_p(p).scale().expect("a probability");
        for backend in Backend::available() {
            let dropout = Dropout::new()
                .with_p(p)
                .with_backend(backend)
                .with_parallelism(self.threads.into())
                .with_stores(self.stores.into());
            for (channels, units) in [(first, count), (last, cols)] {
                let kept = defined_mask(p, stream, units);
                let args = DropoutArgs::draw(stream).whole_channels(channels);
                let mut y = Buffer::<f32>::new(x.len(), 0);
                dropout.forward(InOut::new(x, &mut y), args).expect("the buffers fit");
                for (i, &x) in x.iter().enumerate() {
                    let unit = if channels.is_last() { i % cols } else { i / cols };
                    let expected = dropped_out(x, kept[unit], p, scale);
                    assert_eq!(bits(expected), bits(y[i]), "{backend}, {channels:?}, p {p:e}: {i}");
                }
            }
        }
    }
}

/// Every NaN is one.
fn raw(x: &[f32]) -> Vec<u32> {
    x.iter().map(|&x| bits(x)).collect()
}
