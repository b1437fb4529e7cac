//! Rows with two strides: the heads of tokens in a buffer of queries, keys and values. No bit depends on where rows lie.
#![forbid(unsafe_code)]

use evenkeel::{
    BatchNorm, Element, Error, GatePlace, GradArgs, InOut, LayerNorm, MomentArgs, Moments,
    NormArgs, Parallelism, Pitch, RmsNorm, RowMoments, TrainArgs,
};

use crate::common::*;
use crate::registry::{AFFINE, Memory, OPERATIONS, PAINT, Place, Setting, Takes, Values};

/// How rows lie: the inner rows, their stride, and the outer one.
#[derive(Clone, Copy, Debug)]
struct Layout {
    inner_rows: usize,
    elements: usize,
    outer: usize,
}

impl Layout {
    /// Heads of tokens, with other elements between heads and between tokens.
    fn heads(inner_rows: usize, cols: usize, gap: usize) -> Self {
        let elements = cols + gap;
        Self { inner_rows, elements, outer: inner_rows * elements + 2 * gap + 3 }
    }

    /// The same memory, heads first: the inner rows are the tokens of a head.
    fn transposed(tokens: usize, heads: usize, cols: usize) -> Self {
        Self { inner_rows: tokens, elements: heads * cols, outer: cols }
    }

    fn all(rows: usize, cols: usize) -> Vec<Self> {
        let mut all = vec![
            Self::heads(1, cols, 0),
            Self::heads(3, cols, 5),
            Self::heads(4, cols, 16),
            Self::heads(16, cols, 0),
        ];
        if rows.is_multiple_of(3) {
            all.push(Self::transposed(rows / 3, 3, cols));
        }
        all
    }

    fn pitch(self) -> Pitch {
        Pitch::nested(self.inner_rows, self.elements, self.outer)
    }

    fn start(self, row: usize) -> usize {
        row / self.inner_rows * self.outer + row % self.inner_rows * self.elements
    }

    fn len(self, rows: usize, cols: usize) -> usize {
        (0..rows).map(|row| self.start(row) + cols).max().unwrap_or(0)
    }

    /// Rows that lie so; what is between them is `fill`.
    fn spread<T: Copy>(self, x: &[T], cols: usize, fill: T) -> Vec<T> {
        let rows = x.len() / cols;
        let mut wide = vec![fill; self.len(rows, cols)];
        for (r, row) in x.chunks(cols).enumerate() {
            wide[self.start(r)..][..cols].copy_from_slice(row);
        }
        wide
    }

    /// The rows again. Nothing has been written between them.
    fn gather<T: Copy>(
        self,
        wide: &[T],
        (rows, cols): (usize, usize),
        is_fill: impl Fn(T) -> bool,
    ) -> Vec<T> {
        let mut between = vec![true; wide.len()];
        let mut x = Vec::new();
        for r in 0..rows {
            x.extend_from_slice(&wide[self.start(r)..][..cols]);
            between[self.start(r)..][..cols].fill(false);
        }
        let untouched = between.iter().zip(wide).all(|(&between, &x)| !between || is_fill(x));
        assert!(untouched, "{self:?}: written between rows");
        x
    }
}

/// Groups of sixteen short rows, of four, and single ones; several blocks; enough for several threads.
fn shapes() -> impl Iterator<Item = (usize, usize)> {
    let all = [(1, 5), (48, 64), (35, 96), (19, 130), (9, 768), (6, 1030), (600, 256)];
    all.into_iter().filter(|(count, cols)| !short() || count * cols < 8000)
}

fn is_paint(x: f32) -> bool {
    x.to_bits() == PAINT.to_bits()
}

/// Law: every operation on rows of the registry has the bits of contiguous rows, with any options, or says that it takes one
/// stride.
#[test]
fn x_and_y_with_two_strides_have_the_same_bits() {
    let mut taken = std::collections::BTreeSet::new();
    for shape @ (count, cols) in shapes() {
        let random = &mut Random::new((count * 31 + cols) as u64);
        let x = random.normals(count * cols);
        let values = Values::new(rows(count, cols), x, 1.0, random).that_train(1.0);
        for backend in backends() {
            let setting = Setting::new(backend, values.rows);
            for operation in OPERATIONS.iter().filter(|operation| operation.takes == Takes::Rows) {
                for options in operation.option_sets() {
                    let options: Vec<&str> = options.into_iter().chain(AFFINE).collect();
                    let what = format!("{}, {options:?}, {backend}, {shape:?}", operation.name);
                    let mut plain = Memory::new(operation, &values, Place::New, &options);
                    if plain.call(operation, &setting).is_err() {
                        continue;
                    }
                    let expected = plain.written(&what);
                    let layouts = Layout::all(count, cols);
                    let of_y = layouts.iter().cycle().skip(1);
                    for (of_x, of_y) in layouts.iter().zip(of_y) {
                        let mut got = Memory::new(operation, &values, Place::New, &options);
                        let x = of_x.spread(&got.x, cols, PAINT);
                        let mut y = vec![PAINT; of_y.len(count, cols)];
                        let (_, mut bag) = got.arguments(operation);
                        let io = InOut::strided(&x, of_x.pitch(), &mut y, of_y.pitch());
                        match (operation.run)(&setting, Some(io), &mut bag) {
                            Err(Error::Unsupported { arg: "x_pitch" | "dy_pitch" }) => {
                                assert!(y.iter().all(|&y| is_paint(y)), "{what}: written");
                                continue;
                            }
                            result => assert_eq!(result, Ok(()), "{what}"),
                        }
                        got.y = of_y.gather(&y, shape, is_paint);
                        assert!(got.written(&what) == expected, "{what}, {of_x:?} to {of_y:?}");
                        taken.insert(operation.method());
                    }
                    // In place.
                    let layout = layouts[1];
                    let mut got = Memory::new(operation, &values, Place::New, &options);
                    let mut y = layout.spread(&got.x, cols, PAINT);
                    let (_, mut bag) = got.arguments(operation);
                    let io = InOut::strided_in_place(&mut y, layout.pitch());
                    if (operation.run)(&setting, Some(io), &mut bag).is_ok() {
                        got.y = layout.gather(&y, shape, is_paint);
                        assert!(got.written(&what) == expected, "{what}, in place");
                    }
                }
            }
        }
    }
    for method in
        ["LayerNorm::forward", "LayerNorm::backward", "RmsNorm::forward", "RmsNorm::backward"]
    {
        assert!(taken.contains(method), "{method} takes two strides: {taken:?}");
    }
}

/// Numbers that are those of every storage.
fn numbers(len: usize, random: &mut Random) -> Vec<f32> {
    (0..len).map(|_| (random.below(2001) as f32 - 1000.0) / 128.0).collect()
}

/// Every other buffer with rows has two strides too, each another layout. `T` is the type of all of them.
fn forward_with_all_inputs<T: Element + PartialEq + core::fmt::Debug>(
    of: impl Fn(f32) -> T,
    place: GatePlace,
) {
    for shape @ (count, cols) in shapes() {
        let random = &mut Random::new(cols as u64);
        let mut some =
            || -> Vec<T> { numbers(count * cols, random).into_iter().map(&of).collect() };
        let (x, residual, gate, plus) = (some(), some(), some(), some());
        let fill = of(77.0);
        let is_fill = |x: T| x == fill;
        for backend in backends() {
            let norm = RmsNorm::new().with_backend(backend);
            let norm = norm.with_gate(evenkeel::GateFunction::Silu, place);
            let rows = rows(count, cols);
            let (mut y, mut sum) = (vec![fill; x.len()], vec![fill; x.len()]);
            let args = NormArgs::new().residual(&residual).sum(&mut sum).gate(&gate).plus(&plus);
            norm.forward(InOut::new(&x, &mut y), rows, args).unwrap();
            let layouts = Layout::all(count, cols);
            let at = |i: usize| layouts[i % layouts.len()];
            let wide = |x: &[T], i| at(i).spread(x, cols, fill);
            let (wide_x, wide_residual) = (wide(&x, 0), wide(&residual, 1));
            let (wide_gate, wide_plus) = (wide(&gate, 2), wide(&plus, 3));
            let mut wide_y = vec![fill; at(4).len(count, cols)];
            let mut wide_sum = vec![fill; at(3).len(count, cols)];
            let args = NormArgs::new()
                .residual(&wide_residual)
                .residual_pitch(at(1).pitch())
                .gate(&wide_gate)
                .gate_pitch(at(2).pitch())
                .plus(&wide_plus)
                .plus_pitch(at(3).pitch());
            let args = args.sum(&mut wide_sum).sum_pitch(at(3).pitch());
            let io = InOut::strided(&wide_x, at(0).pitch(), &mut wide_y, at(4).pitch());
            norm.forward(io, rows, args).unwrap();
            let what = format!("{backend}, {shape:?}, {place:?}");
            assert!(at(4).gather(&wide_y, shape, is_fill) == y, "{what}: y");
            assert!(at(3).gather(&wide_sum, shape, is_fill) == sum, "{what}: the sum");
            // The residual becomes the sum.
            let (mut updated, mut wide_y) = (wide_residual, vec![fill; at(4).len(count, cols)]);
            let args = NormArgs::new()
                .update_residual(&mut updated)
                .residual_pitch(at(1).pitch())
                .gate(&wide_gate)
                .gate_pitch(at(2).pitch())
                .plus(&wide_plus)
                .plus_pitch(at(3).pitch());
            let io = InOut::strided(&wide_x, at(0).pitch(), &mut wide_y, at(4).pitch());
            norm.forward(io, rows, args).unwrap();
            assert!(at(4).gather(&wide_y, shape, is_fill) == y, "{what}: y");
            assert!(at(1).gather(&updated, shape, is_fill) == sum, "{what}: the residual");
        }
    }
}

#[test]
fn every_input_of_a_forward_pass_with_two_strides() {
    for place in [GatePlace::AfterNorm, GatePlace::BeforeNorm] {
        forward_with_all_inputs(|x| x, place);
        #[cfg(feature = "half")]
        forward_with_all_inputs(half::bf16::from_f32, place);
    }
}

/// The same of a backward pass, with its outputs.
fn backward_with_all<T: Element + PartialEq + core::fmt::Debug>(
    of: impl Fn(f32) -> T,
    gated: bool,
) {
    for shape @ (count, cols) in shapes() {
        let random = &mut Random::new(cols as u64);
        let mut some =
            || -> Vec<T> { numbers(count * cols, random).into_iter().map(&of).collect() };
        let (x, dy, dsum, gate) = (some(), some(), some(), some());
        let fill = of(77.0);
        let is_fill = |x: T| x == fill;
        let gamma: Vec<T> = (0..cols).map(|i| of(1.0 + (i % 7) as f32)).collect();
        for backend in backends() {
            for parallelism in [Parallelism::Serial, Parallelism::Auto] {
                let norm = LayerNorm::new().with_backend(backend).with_parallelism(parallelism);
                let rows = rows(count, cols);
                let new = || vec![fill; x.len()];
                let (mut dx, mut dresidual, mut dgate) = (new(), new(), new());
                let (mut dgamma, mut dbeta) = (vec![0.0_f64; cols], vec![0.0_f64; cols]);
                let args = GradArgs::new().gamma(&gamma).dgamma(&mut dgamma).dbeta(&mut dbeta);
                let args = args.dsum(&dsum).dresidual(&mut dresidual);
                let args = if gated { args.gate(&gate).dgate(&mut dgate) } else { args };
                norm.backward(InOut::new(&dy, &mut dx), &x, rows, args).unwrap();

                let layouts = Layout::all(count, cols);
                let at = |i: usize| layouts[i % layouts.len()];
                let wide = |x: &[T], i| at(i).spread(x, cols, fill);
                let wide_new = |i: usize| vec![fill; at(i).len(count, cols)];
                let (wide_x, wide_dy, wide_dsum) = (wide(&x, 0), wide(&dy, 1), wide(&dsum, 2));
                let wide_gate = wide(&gate, 3);
                let (mut wide_dx, mut wide_dresidual) = (wide_new(4), wide_new(3));
                let mut wide_dgate = wide_new(2);
                let (mut wide_dgamma, mut wide_dbeta) = (vec![0.0_f64; cols], vec![0.0_f64; cols]);
                let args = GradArgs::new().gamma(&gamma);
                let args = args.dgamma(&mut wide_dgamma).dbeta(&mut wide_dbeta);
                let args = args.x_pitch(at(0).pitch()).dsum(&wide_dsum).dsum_pitch(at(2).pitch());
                let args = args.dresidual(&mut wide_dresidual).dresidual_pitch(at(3).pitch());
                let args = match gated {
                    true => args
                        .gate(&wide_gate)
                        .gate_pitch(at(3).pitch())
                        .dgate(&mut wide_dgate)
                        .dgate_pitch(at(2).pitch()),
                    false => args,
                };
                let io = InOut::strided(&wide_dy, at(1).pitch(), &mut wide_dx, at(4).pitch());
                norm.backward(io, &wide_x, rows, args).unwrap();
                let what = format!("{backend}, {shape:?}, gated: {gated}");
                assert!(at(4).gather(&wide_dx, shape, is_fill) == dx, "{what}: dx");
                let got = at(3).gather(&wide_dresidual, shape, is_fill);
                assert!(got == dresidual, "{what}: dresidual");
                assert_eq!((wide_dgamma, wide_dbeta), (dgamma, dbeta), "{what}");
                if gated {
                    let got = at(2).gather(&wide_dgate, shape, is_fill);
                    assert!(got == dgate, "{what}: dgate");
                }
            }
        }
    }
}

#[test]
fn every_buffer_of_a_backward_pass_with_two_strides() {
    for gated in [false, true] {
        backward_with_all(|x| x, gated);
        #[cfg(feature = "half")]
        backward_with_all(half::bf16::from_f32, gated);
    }
}

#[test]
fn moments_of_rows_with_two_strides() {
    for shape @ (count, cols) in shapes() {
        let random = &mut Random::new(cols as u64);
        let x = random.normals(count * cols);
        let lengths: Vec<usize> = (0..count).map(|_| random.below(cols + 1)).collect();
        for backend in backends() {
            let operation = RowMoments::new().with_backend(backend);
            for lengths in [None, Some(lengths.as_slice())] {
                let run = |x: &[f32], pitch: Option<Pitch>| {
                    let mut moments = vec![Moments::new(); count];
                    let mut args = MomentArgs::new();
                    args = pitch.into_iter().fold(args, MomentArgs::x_pitch);
                    args = lengths.into_iter().fold(args, MomentArgs::lengths);
                    operation.compute(x, rows(count, cols), &mut moments, args).unwrap();
                    moments
                };
                let expected = run(&x, None);
                for layout in Layout::all(count, cols) {
                    let got = run(&layout.spread(&x, cols, f32::NAN), Some(layout.pitch()));
                    assert_eq!(got, expected, "{backend}, {shape:?}, {layout:?}");
                }
            }
        }
    }
}

/// The rows of y of a forward pass that returns an error are as they were.
fn error(x_len: usize, y_len: usize, x_pitch: Pitch, y_pitch: Pitch) -> Error {
    let (x, mut y) = (vec![1.0_f32; x_len], vec![PAINT; y_len]);
    let io = InOut::strided(&x, x_pitch, &mut y, y_pitch);
    let error = RmsNorm::new().forward(io, rows(6, 4), NormArgs::new()).map(|_| ());
    let error = error.expect_err("a wrong pitch");
    assert!(y.iter().all(|&y| is_paint(y)));
    error
}

#[test]
fn wrong_strides_are_errors() {
    let good = Pitch::nested(3, 4, 12);
    let too_short = |arg, expected, got| Error::TooShort { arg, expected, got };
    let x = |pitch, len| error(len, 24, pitch, good);
    assert_eq!(x(Pitch::nested(3, 3, 12), 24), too_short("x_pitch", 4, 3));
    assert_eq!(x(Pitch::nested(0, 4, 12), 24), too_short("x_pitch", 4, 0));
    // Tokens that overlap; and heads that mesh with tokens where not all fit between two.
    assert_eq!(x(Pitch::nested(3, 4, 11), 24), too_short("x_pitch", 12, 11));
    assert_eq!(x(Pitch::nested(3, 7, 4), 24), too_short("x_pitch", 18, 4));
    assert_eq!(x(good, 23), too_short("x", 24, 23));
    assert_eq!(x(Pitch::nested(3, 5, 20), 33), too_short("x", 34, 33));
    let far = Pitch::nested(1, 4, usize::MAX / 2);
    assert!(matches!(x(far, 24), Error::ShapeOverflow { arg: "x_pitch", .. }));
    assert_eq!(error(24, 24, good, Pitch::nested(3, 4, 11)), too_short("y_pitch", 12, 11));

    // Columns have one stride.
    let (x, mut y) = (vec![1.0_f32; 24], vec![PAINT; 24]);
    let io = InOut::strided(&x, good, &mut y, good);
    let result = BatchNorm::new().forward_training(io, rows(6, 4), TrainArgs::new()).map(|_| ());
    assert_eq!(result, Err(Error::Unsupported { arg: "x_pitch" }));
}
