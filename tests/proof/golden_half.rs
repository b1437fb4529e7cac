//! The bits of operations on bf16 and f16, checked in, as `golden_operations.rs` has those of f32: a line for an operation and a type, a
//! column for a shape. It has each way in which elements are converted. `tests/capi/half.rs` compares every operation and option with f32.
//!
//! **A change of bits is a line in CHANGELOG.md.** If one is meant, write that line and make the table by
//! `EVENKEEL_BLESS=1 cargo test --features half --test proof golden_half`.
#![forbid(unsafe_code)]

use ::half::{bf16, f16};
use evenkeel::penalty::Regularizer;
use evenkeel::preprocess::{MinMaxScaler, Normalizer, StandardScaler};
use evenkeel::{
    BatchNorm, Channels, ColumnMoments, Dropout, DropoutArgs, Error, GradArgs, GroupNorm, InOut,
    InstanceNorm, LayerNorm, Mask, MaskMut, MomentArgs, Moments, NormArgs, NormalizeScaleShift,
    RmsNorm, RowMoments, Rows, Statistics, Stream, TrainArgs, ValidRows,
};

use crate::channels::{first, last};
use crate::common::*;
use crate::golden::{words, words64};
use crate::golden_operations::{Hashes, Table, Way, hash, run, words_of_moments};
use crate::half::Half;

const STREAM: Stream = Stream { seed: 3, offset: 4000 };

/// The arguments of every operation, in one type.
struct Data<T> {
    /// The elements as channels first, as channels last, and as a matrix with a row for each position.
    first: Channels,
    last: Channels,
    rows: Rows,
    x: Vec<T>,
    residual: Vec<T>,
    gate: Vec<T>,
    dy: Vec<T>,
    /// One a channel.
    bias: Vec<T>,
    gamma: Vec<T>,
    beta: Vec<T>,
    /// The same in f32.
    wide_gamma: Vec<f32>,
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
    /// Valid positions of each sample.
    lengths: Vec<usize>,
}

impl<T: Half> Data<T> {
    fn new((batch, channels, positions): (usize, usize, usize)) -> Self {
        let (last, rows) = (last(batch, channels, positions), rows(batch * positions, channels));
        let random = &mut Random::new((batch * 7 + channels) as u64);
        let elements = rows.elements();
        // Rows that both types hold, and which no row beside them drowns where statistics are those of columns.
        let moderate = |x: &f32| x.is_finite() && x.abs() < 100.0;
        let mut hard = (0..).map(|i| DATA_SETS[i % DATA_SETS.len()].row(channels, random));
        let mut x = Vec::new();
        for r in 0..rows.rows() {
            let drawn = hard.by_ref().nth(usize::from(r == 0) * (channels % 7)).expect("no end");
            let held = drawn.iter().all(moderate);
            let row = if held {
                drawn
            } else {
                Random::new((r * 31 + channels) as u64).normals(channels)
            };
            x.extend(row);
        }
        drop(hard);
        let narrow = |x: Vec<f32>| x.into_iter().map(T::narrow).collect::<Vec<T>>();
        let wide_gamma = random.normals(channels);
        Self {
            first: first(batch, channels, positions),
            last,
            rows,
            x: narrow(x),
            residual: narrow(random.normals(elements)),
            gate: narrow(random.normals(elements)),
            dy: narrow(random.normals(elements)),
            bias: narrow(random.normals(channels)),
            gamma: narrow(wide_gamma.clone()),
            beta: narrow(random.normals(channels)),
            wide_gamma,
            running_mean: random.normals(channels),
            running_var: random.normals(channels).iter().map(|std| std * std).collect(),
            lengths: (0..batch).map(|_| 1 + random.below(positions)).collect(),
        }
    }

    fn affine(&self) -> NormArgs<'_> {
        NormArgs::new().affine(&self.gamma, &self.beta)
    }

    fn valid(&self) -> ValidRows<'_> {
        ValidRows::Lengths { lengths: &self.lengths, steps: self.first.positions() }
    }

    /// What a call writes to memory as large as x.
    fn written(
        &self,
        forward: impl for<'y> FnOnce(&'y mut [T]) -> Result<&'y mut [T], Error>,
    ) -> Vec<u64> {
        let mut y = vec![T::narrow(7.0); self.x.len()];
        forward(&mut y).unwrap();
        assert!(y.iter().all(|y| y.wide().is_finite()), "there is something that a hash hides");
        bits_of(&y).collect()
    }

    /// What a backward pass writes: dx, dgamma and dbeta.
    fn gradients(
        &self,
        backward: impl for<'y> FnOnce(InOut<'_, 'y, T, T>, GradArgs<'_>) -> Result<&'y mut [T], Error>,
    ) -> Vec<u64> {
        let channels = self.rows.cols();
        let (mut dgamma, mut dbeta) = (vec![0.0_f64; channels], vec![0.0_f32; channels]);
        let args = GradArgs::new().gamma(&self.gamma).dgamma(&mut dgamma).dbeta(&mut dbeta);
        let mut all = self.written(|dx| backward(InOut::new(&self.dy, dx), args));
        all.extend(words64(&dgamma).chain(words(&dbeta)));
        all
    }
}

/// Every NaN as one.
fn bits_of<T: Half>(x: &[T]) -> impl Iterator<Item = u64> {
    x.iter().map(|x| if x.wide().is_nan() { 1 << 16 } else { x.bits().into() })
}

type Named<T> = (&'static str, fn(&Data<T>, Way) -> Vec<u64>);

fn operations<T: Half>() -> [Named<T>; 33] {
    [
        ("LayerNorm::forward", |data, way| {
            let norm = run!(LayerNorm::new(), way);
            data.written(|y| norm.forward(InOut::new(&data.x, y), data.rows, data.affine()))
        }),
        ("LayerNorm::forward, a residual and a bias, the sum kept", |data, way| {
            let norm = run!(LayerNorm::new(), way);
            let mut sum = Vec::<T>::new();
            let args = data.affine().x_bias(&data.bias).residual(&data.residual).sum_vec(&mut sum);
            let mut all = data.written(|y| norm.forward(InOut::new(&data.x, y), data.rows, args));
            all.extend(bits_of(&sum));
            all
        }),
        ("LayerNorm::forward, dropout", |data, way| {
            let norm = run!(LayerNorm::new(), way);
            let mut mask = vec![0; data.x.len().div_ceil(8)];
            let dropout = DropoutArgs::draw(STREAM).keep_mask(MaskMut::Packed(&mut mask));
            let args = data.affine().dropout(0.3, dropout).residual(&data.residual);
            let mut all = data.written(|y| norm.forward(InOut::new(&data.x, y), data.rows, args));
            all.extend(mask.iter().map(|&bits| u64::from(bits)));
            all
        }),
        ("LayerNorm::forward, y in f32, padding", |data, way| {
            let norm = run!(LayerNorm::new(), way);
            let mut y = vec![7.0_f32; data.x.len()];
            let args = data.affine().valid(data.valid());
            norm.forward(InOut::new(&data.x, &mut y), data.rows, args).unwrap();
            words(&y).collect()
        }),
        ("LayerNorm::forward, channels first", |data, way| {
            let norm = run!(LayerNorm::new(), way);
            data.written(|y| norm.forward(InOut::new(&data.x, y), data.first, data.affine()))
        }),
        ("LayerNorm::backward", |data, way| {
            let norm = run!(LayerNorm::new(), way);
            data.gradients(|io, args| norm.backward(io, &data.x, data.rows, args))
        }),
        ("LayerNorm::backward, dropout, dsum, dresidual", |data, way| {
            let norm = run!(LayerNorm::new(), way);
            let mut dresidual = vec![T::narrow(7.0); data.x.len()];
            let mut all = data.gradients(|io, args| {
                let args = args.dropout(0.3, STREAM).dsum(&data.residual).dresidual(&mut dresidual);
                norm.backward(io, &data.x, data.rows, args)
            });
            all.extend(bits_of(&dresidual));
            all
        }),
        ("LayerNorm::backward, channels first", |data, way| {
            let norm = run!(LayerNorm::new(), way);
            data.gradients(|io, args| norm.backward(io, &data.x, data.first, args))
        }),
        ("RmsNorm::forward, gamma in f32", |data, way| {
            let norm = run!(RmsNorm::new(), way);
            let args = NormArgs::new().gamma(&data.wide_gamma);
            data.written(|y| norm.forward(InOut::new(&data.x, y), data.rows, args))
        }),
        ("RmsNorm::forward, a residual updated, a gate", |data, way| {
            let norm = run!(RmsNorm::new(), way);
            let mut residual = data.residual.clone();
            let args =
                NormArgs::new().gamma(&data.gamma).update_residual(&mut residual).gate(&data.gate);
            let mut all = data.written(|y| norm.forward(InOut::new(&data.x, y), data.rows, args));
            all.extend(bits_of(&residual));
            all
        }),
        ("RmsNorm::forward, plus", |data, way| {
            let norm = run!(RmsNorm::new().with_one_plus_gamma(true), way);
            let args = NormArgs::new().gamma(&data.gamma).plus(&data.residual);
            data.written(|y| norm.forward(InOut::new(&data.x, y), data.rows, args))
        }),
        ("RmsNorm::backward, a gate", |data, way| {
            let norm = run!(RmsNorm::new(), way);
            let mut dgate = vec![T::narrow(7.0); data.x.len()];
            let mut all = data.gradients(|io, args| {
                let args = args.gate(&data.gate).dgate(&mut dgate);
                norm.backward(io, &data.x, data.rows, args)
            });
            all.extend(bits_of(&dgate));
            all
        }),
        ("GroupNorm::forward", |data, way| {
            let norm = run!(GroupNorm::new().with_groups(1), way);
            data.written(|y| norm.forward(InOut::new(&data.x, y), data.first, data.affine()))
        }),
        ("GroupNorm::backward", |data, way| {
            let norm = run!(GroupNorm::new().with_groups(1), way);
            data.gradients(|io, args| norm.backward(io, &data.x, data.last, args))
        }),
        ("InstanceNorm::forward", |data, way| {
            let norm = run!(InstanceNorm::new(), way);
            let args = data.affine().valid(data.valid());
            data.written(|y| norm.forward(InOut::new(&data.x, y), data.last, args))
        }),
        ("InstanceNorm::backward", |data, way| {
            let norm = run!(InstanceNorm::new(), way);
            data.gradients(|io, args| norm.backward(io, &data.x, data.first, args))
        }),
        ("BatchNorm::forward_training", |data, way| {
            let norm = run!(BatchNorm::new(), way);
            let [mut all, other] = [data.first, data.last].map(|shape| {
                let (mut mean, mut rstd) =
                    (vec![0.0_f64; data.rows.cols()], vec![0.0; data.rows.cols()]);
                let args =
                    TrainArgs::new().affine(&data.gamma, &data.beta).stats(&mut mean, &mut rstd);
                let mut all =
                    data.written(|y| norm.forward_training(InOut::new(&data.x, y), shape, args));
                all.extend(words64(&mean).chain(words64(&rstd)));
                all
            });
            all.extend(other);
            all
        }),
        ("BatchNorm::forward_inference", |data, way| {
            let norm = run!(BatchNorm::new(), way);
            let (mean, var) = (&data.running_mean, &data.running_var);
            data.written(|y| {
                norm.forward_inference(InOut::new(&data.x, y), data.rows, mean, var, data.affine())
            })
        }),
        ("BatchNorm::backward", |data, way| {
            let norm = run!(BatchNorm::new(), way);
            let [mut all, other] = [data.first, data.last]
                .map(|shape| data.gradients(|io, args| norm.backward(io, &data.x, shape, args)));
            all.extend(other);
            all
        }),
        ("NormalizeScaleShift::forward", |data, way| {
            let (operation, rows) = (run!(NormalizeScaleShift::new(), way), data.rows.rows());
            let (mean, rstd) = (vec![0.25; rows], vec![1.5; rows]);
            let given = Statistics::of_rows(&mean, &rstd);
            data.written(|y| {
                operation.forward(InOut::new(&data.x, y), data.rows, given, data.affine())
            })
        }),
        ("NormalizeScaleShift::forward, columns", |data, way| {
            let (operation, columns) = (run!(NormalizeScaleShift::new(), way), data.rows.cols());
            let (mean, rstd) = (vec![0.25_f32; columns], vec![1.5; columns]);
            let given = Statistics::of_columns(&mean, &rstd);
            data.written(|y| {
                operation.forward(InOut::new(&data.x, y), data.first, given, data.affine())
            })
        }),
        ("NormalizeScaleShift::backward", |data, way| {
            let (operation, rows) = (run!(NormalizeScaleShift::new(), way), data.rows.rows());
            let (mean, rstd) = (vec![0.25; rows], vec![1.5; rows]);
            let given = Statistics::of_rows(&mean, &rstd);
            data.gradients(|io, args| operation.backward(io, &data.x, data.rows, given, args))
        }),
        ("BatchNorm::backward_inference", |data, way| {
            let norm = run!(BatchNorm::new(), way);
            let running = (&data.running_mean[..], &data.running_var[..]);
            data.gradients(|io, args| {
                norm.backward_inference(io, &data.x, data.rows, running, args)
            })
        }),
        ("RmsNorm::backward, 1 + gamma", |data, way| {
            let norm = run!(RmsNorm::new().with_one_plus_gamma(true), way);
            data.gradients(|io, args| norm.backward(io, &data.x, data.rows, args))
        }),
        ("StandardScaler::inverse_transform", |data, way| {
            let mut scaler = run!(StandardScaler::new(data.rows.cols()).unwrap(), way);
            scaler.partial_fit(&data.residual, data.rows).unwrap();
            data.written(|y| scaler.inverse_transform(InOut::new(&data.x, y), data.rows))
        }),
        ("Regularizer::proximal", |data, way| {
            let regularizer = run!(Regularizer::new().with_l1(0.1).with_l2(0.2), way);
            data.written(|y| regularizer.proximal(InOut::new(&data.residual, y), 0.1))
        }),
        ("Dropout::forward", |data, way| {
            let dropout = run!(Dropout::new().with_p(0.1), way);
            data.written(|y| dropout.forward(InOut::new(&data.x, y), STREAM))
        }),
        ("Dropout::backward", |data, way| {
            let dropout = run!(Dropout::new().with_p(0.1), way);
            let bits: Vec<u8> = (0..data.x.len().div_ceil(8)).map(|i| (i * 37) as u8).collect();
            data.written(|dx| dropout.backward(InOut::new(&data.dy, dx), Mask::Packed(&bits)))
        }),
        ("RowMoments, ColumnMoments", |data, way| {
            let (rows, columns) = (RowMoments::new(), ColumnMoments::new());
            let mut of_rows = vec![Moments::new(); data.rows.rows()];
            let mut of_columns = vec![Moments::new(); data.rows.cols()];
            let rows = rows.with_backend(way.backend).with_parallelism(way.parallelism);
            rows.compute(&data.x, data.rows, &mut of_rows, MomentArgs::new()).unwrap();
            let columns = columns.with_backend(way.backend).with_parallelism(way.parallelism);
            columns.compute(&data.x, data.rows, &mut of_columns, MomentArgs::new()).unwrap();
            words_of_moments(&of_rows).chain(words_of_moments(&of_columns)).collect()
        }),
        ("StandardScaler", |data, way| {
            let mut scaler = run!(StandardScaler::new(data.rows.cols()).unwrap(), way);
            scaler.fit(&data.residual, data.rows).unwrap();
            data.written(|y| scaler.transform(InOut::new(&data.x, y), data.rows))
        }),
        ("MinMaxScaler", |data, way| {
            let mut scaler = run!(MinMaxScaler::new(data.rows.cols()).unwrap(), way);
            scaler.fit(&data.residual, data.rows).unwrap();
            data.written(|y| scaler.transform(InOut::new(&data.x, y), data.rows))
        }),
        ("Normalizer", |data, way| {
            let normalizer = run!(Normalizer::new(), way);
            data.written(|y| normalizer.forward(InOut::new(&data.x, y), data.rows))
        }),
        ("Regularizer", |data, way| {
            let regularizer = run!(Regularizer::new().with_l1(0.1).with_l2(0.2), way);
            let mut gradient = data.dy.clone();
            let penalty =
                regularizer.penalty_and_add_gradient(&data.residual, &mut gradient).unwrap();
            let mut all: Vec<u64> = bits_of(&gradient).chain([bits64(penalty)]).collect();
            all.extend(data.written(|y| regularizer.decay(InOut::new(&data.residual, y), 0.1)));
            all
        }),
    ]
}

/// Batch, channels, positions. Rows of channels: short, of a group of 16, long, of several blocks; and large enough for threads.
const SHAPES: [(usize, usize, usize); 7] =
    [(3, 5, 2), (5, 3, 49), (2, 33, 50), (1, 768, 17), (1, 1025, 3), (2, 64, 300), (1, 2100, 70)];

fn hashes_of<T: Half>(shape: (usize, usize, usize), way: Way) -> Hashes {
    let data = Data::<T>::new(shape);
    let named =
        |(name, operation): Named<T>| (format!("{} {name}", T::NAME), hash(operation(&data, way)));
    operations().map(named).to_vec()
}

#[test]
fn operations_on_16_bits_have_their_golden_bits() {
    let name = |(batch, channels, positions)| {
        (format!("{batch}x{channels}x{positions}"), batch * channels * positions)
    };
    let table = Table { file: "golden_half.txt", text: include_str!("golden_half.txt") };
    table.assert_holds(&SHAPES.map(name), |case, way| {
        let mut hashes = hashes_of::<bf16>(SHAPES[case], way);
        hashes.extend(hashes_of::<f16>(SHAPES[case], way));
        hashes
    });
}
