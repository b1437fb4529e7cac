//! Variants of the row operations: with a bias, a residual, a gate, something to add, 1 + gamma, and rows at a pitch; and any
//! of these together. `masks.rs` has those with padding, `gates.rs` the functions of gates.
#![forbid(unsafe_code)]

use std::ops::Range;

use evenkeel::preprocess::{MinMaxScaler, StandardScaler};
use evenkeel::{
    Backend, BatchNorm, Channels, ColumnMoments, Error, GateFunction, GatePlace, InOut, LayerNorm,
    Mask, MomentArgs, Moments, NormArgs, NormalizeScaleShift, Parallelism, RmsNorm, RowMoments,
    Rows, Statistics, Stores, TrainArgs, ValidRows, to_vec,
};

use crate::common::*;
use crate::padding::{Padded, RULES};
use crate::{gates, golden};

/// Enough rows for several threads.
const LARGE: (usize, usize) = (300, 520);

/// Rows that are short, that fill groups and leave some over, that have several blocks, and enough for several threads.
pub fn shapes() -> impl Iterator<Item = (usize, usize)> {
    let all = [(1, 1), (3, 5), (33, 7), (19, 100), (5, 768), (7, 1030), (3, 2500), LARGE];
    all.into_iter().filter(|(count, cols)| !short() || count * cols < 8000)
}

/// Numbers about 1, a tenth of the rows so large that they are normalised in f64.
pub fn numbers(shape: (usize, usize), random: &mut Random) -> Vec<f32> {
    let mut x = random.normals(shape.0 * shape.1);
    for row in x.chunks_exact_mut(shape.1).skip(2).step_by(10) {
        row.iter_mut().for_each(|x| *x *= 1e34);
    }
    x
}

/// The operation as it is to be run: each backend, serially and not, with ordinary stores and with non-temporal ones.
pub fn ways() -> impl Iterator<Item = (Backend, Parallelism, Stores)> {
    backends().into_iter().flat_map(|backend| {
        let serial = (backend, Parallelism::Serial, Stores::Cached);
        [serial, (backend, Parallelism::Auto, Stores::NonTemporal)]
    })
}

/// An operation on rows that takes its statistics from x.
#[derive(Clone, Copy, Debug)]
pub enum RowNorm {
    Layer(LayerNorm),
    Rms(RmsNorm),
}

impl RowNorm {
    /// LayerNorm, and RmsNorm with 1 + gamma.
    pub fn both((backend, parallelism, stores): (Backend, Parallelism, Stores)) -> [Self; 2] {
        let layer_norm = LayerNorm::new()
            .with_backend(backend)
            .with_parallelism(parallelism)
            .with_stores(stores);
        let rms_norm = RmsNorm::new()
            .with_one_plus_gamma(true)
            .with_backend(backend)
            .with_parallelism(parallelism)
            .with_stores(stores);
        [Self::Layer(layer_norm), Self::Rms(rms_norm)]
    }

    pub fn forward<'y>(
        self,
        io: InOut<'_, 'y>,
        rows: Rows,
        args: NormArgs<'_>,
    ) -> Result<&'y mut [f32], Error> {
        match self {
            Self::Layer(layer_norm) => layer_norm.forward(io, rows, args),
            Self::Rms(rms_norm) => rms_norm.forward(io, rows, args),
        }
    }

    /// Writes the statistics that the operation has. RmsNorm has no mean.
    fn with_stats<'a>(
        self,
        args: NormArgs<'a>,
        mean: &'a mut [f64],
        rstd: &'a mut [f64],
    ) -> NormArgs<'a> {
        match self {
            Self::Layer(_) => args.stats(mean, rstd),
            Self::Rms(_) => args.rstd(rstd),
        }
    }
}

/// A call with options. Its definition is the plain operation, and each option after it or before it.
#[derive(Clone, Copy, Debug)]
struct Case {
    norm: RowNorm,
    plain: RowNorm,
    /// The function of the gate that x is multiplied with, and the backend whose it is.
    first: Option<(GateFunction, Backend)>,
    in_groups: bool,
}

impl Case {
    fn plain(norm: RowNorm) -> Self {
        Self { norm, plain: norm, first: None, in_groups: false }
    }

    /// LayerNorm and RmsNorm with the gates that they do not have at first; RmsNorm of groups, with each.
    fn gated(way: (Backend, Parallelism, Stores), cols: usize) -> Vec<Self> {
        use GateFunction::{Sigmoid, Silu};
        use GatePlace::{AfterNorm, BeforeNorm};
        let [RowNorm::Layer(layer_norm), RowNorm::Rms(rms_norm)] = RowNorm::both(way) else {
            panic!("LayerNorm, and RmsNorm");
        };
        let layer = |function, place| Self {
            norm: RowNorm::Layer(layer_norm.with_gate(function, place)),
            plain: RowNorm::Layer(layer_norm.with_gate(function, AfterNorm)),
            first: (place == BeforeNorm).then_some((function, way.0)),
            in_groups: false,
        };
        let rms = |function, place, in_groups| {
            let norm = rms_norm.with_gate(function, place);
            Self {
                norm: RowNorm::Rms(match in_groups {
                    true => norm.with_group_size(cols / groups(cols)),
                    false => norm,
                }),
                plain: RowNorm::Rms(rms_norm.with_gate(function, AfterNorm)),
                first: (place == BeforeNorm).then_some((function, way.0)),
                in_groups,
            }
        };
        vec![
            layer(Silu, BeforeNorm),
            layer(Sigmoid, AfterNorm),
            rms(Silu, BeforeNorm, false),
            rms(Sigmoid, BeforeNorm, false),
            rms(Silu, AfterNorm, true),
            rms(Silu, BeforeNorm, true),
            rms(Sigmoid, AfterNorm, true),
        ]
    }

    fn groups(self, cols: usize) -> usize {
        if self.in_groups { groups(cols) } else { 1 }
    }
}

/// Groups of a row, several if there can be.
fn groups(cols: usize) -> usize {
    (2..=cols).find(|groups| cols.is_multiple_of(*groups)).unwrap_or(1)
}

/// Columns of a matrix.
fn columns(x: &[f32], cols: usize, part: Range<usize>) -> Vec<f32> {
    x.chunks_exact(cols).flat_map(|row| &row[part.clone()]).copied().collect()
}

/// Rows of x at a pitch, NaN between them.
fn spread_out(x: &[f32], cols: usize, pitch: usize) -> Vec<f32> {
    let mut wide = vec![f32::NAN; (x.len() / cols - 1) * pitch + cols];
    for (row, x) in wide.chunks_mut(pitch).zip(x.chunks_exact(cols)) {
        row[..cols].copy_from_slice(x);
    }
    wide
}

/// Whether statistics have the same bits. Those that the operation does not have are NaN.
fn same(a: &[f64], b: &[f64]) -> bool {
    golden::words64(a).eq(golden::words64(b))
}

/// What a call reads, of one shape.
pub struct Inputs {
    pub shape: (usize, usize),
    pub x: Vec<f32>,
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
    pub gate: Vec<f32>,
    added: Vec<f32>,
}

impl Inputs {
    pub fn new(shape: (usize, usize)) -> Self {
        let random = &mut Random::new(shape.1 as u64);
        Self {
            shape,
            x: numbers(shape, random),
            residual: numbers(shape, random),
            gamma: random.normals(shape.1),
            beta: random.normals(shape.1),
            bias: random.normals(shape.1),
            gate: random.normals(shape.0 * shape.1).iter().map(|z| z * z * z * 9.0).collect(),
            added: random.normals(shape.0 * shape.1),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Residual {
    Absent,
    Read,
    Updated,
}

/// Where the sum of x, bias and residual is kept, beside the residual that is updated.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sum {
    Forgotten,
    Slice,
    Vec,
}

/// The arguments of a call.
#[derive(Clone, Copy, Debug)]
struct Arguments {
    gamma: bool,
    beta: bool,
    bias: bool,
    residual: Residual,
    sum: Sum,
    gate: bool,
    plus: bool,
}

impl Arguments {
    /// All of them, in every combination that there is.
    fn all() -> impl Iterator<Item = Self> {
        use Residual::{Absent, Read, Updated};
        // There has to be a sum, and one place for it.
        let kept = |bias: bool, residual| match residual {
            Absent if !bias => &[Sum::Forgotten][..],
            Updated => &[Sum::Forgotten],
            Absent | Read => &[Sum::Forgotten, Sum::Slice, Sum::Vec],
        };
        let bits = (0..32_u32).map(|bits| [0, 1, 2, 3, 4].map(|bit| bits >> bit & 1 == 1));
        bits.flat_map(move |[gamma, beta, bias, gate, plus]| {
            [Absent, Read, Updated].into_iter().flat_map(move |residual| {
                let of = move |&sum| Self { gamma, beta, bias, residual, sum, gate, plus };
                kept(bias, residual).iter().map(of)
            })
        })
    }

    /// Those of them that x becomes a sum of.
    fn has_addends(self) -> bool {
        self.bias || self.residual != Residual::Absent
    }

    /// gamma and beta.
    fn affine(self, of: &Inputs) -> [Option<&[f32]>; 2] {
        [self.gamma.then_some(&of.gamma[..]), self.beta.then_some(&of.beta[..])]
    }

    /// The definition: one operation after the other.
    fn one_by_one(self, case: Case, of: &Inputs) -> Outcome {
        let (count, cols) = of.shape;
        let mut sum = of.x.clone();
        if self.bias {
            for row in sum.chunks_exact_mut(cols) {
                row.iter_mut().zip(&of.bias).for_each(|(sum, bias)| *sum += bias);
            }
        }
        if self.residual != Residual::Absent {
            sum.iter_mut().zip(&of.residual).for_each(|(sum, residual)| *sum += residual);
        }
        let (mut x, mut gate) = (sum.clone(), self.gate.then_some(&of.gate));
        if let (Some((function, backend)), Some(z)) = (case.first, gate) {
            let factors = gates::factors(backend, function, z);
            x.iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
            gate = None;
        }
        let groups = case.groups(cols);
        let (mut mean, mut rstd) = (vec![f64::NAN; count * groups], vec![f64::NAN; count * groups]);
        let mut y = vec![f32::NAN; sum.len()];
        let size = cols / groups;
        for group in 0..groups {
            let part = group * size..(group + 1) * size;
            let [gamma, beta] = self.affine(of).map(|of| of.map(|of| &of[part.clone()]));
            let x = columns(&x, cols, part.clone());
            let gate = gate.map(|gate| columns(gate, cols, part.clone()));
            let mut of_group = vec![f32::NAN; x.len()];
            let (mut group_mean, mut group_rstd) = (vec![f64::NAN; count], vec![f64::NAN; count]);
            let args = norm_args(gamma, beta);
            let mut args = case.plain.with_stats(args, &mut group_mean, &mut group_rstd);
            if let Some(gate) = &gate {
                args = args.gate(gate);
            }
            case.plain.forward(InOut::new(&x, &mut of_group), rows(count, size), args).unwrap();
            for r in 0..count {
                y[r * cols..][part.clone()].copy_from_slice(&of_group[r * size..(r + 1) * size]);
                (mean[r * groups + group], rstd[r * groups + group]) =
                    (group_mean[r], group_rstd[r]);
            }
        }
        if self.plus {
            y.iter_mut().zip(&of.added).for_each(|(y, added)| *y += added);
        }
        Outcome { sum, y, mean, rstd }
    }

    /// Asserts that a call with all arguments has the bits of the definition, and touches nothing between rows.
    fn assert_one_by_one(self, case: Case, of: &Inputs, buffers: Buffers) {
        let norm = case.norm;
        let what = format!("{norm:?}, {:?}, {buffers:?}, {self:?}", of.shape);
        let expected = self.one_by_one(case, of);
        let (count, cols) = of.shape;
        // Every buffer has another pitch. Those beside x and y have one where x and y do, or where these do not.
        let (x_pitch, y_pitch, apart) = (cols + 3, cols + 5, buffers.is_strided() != self.beta);
        let x_pitch = if buffers.is_strided() { x_pitch } else { cols };
        let pitches = [16, 1, 2, 7].map(|more| if apart { cols + more } else { cols });
        let [residual_pitch, sum_pitch, gate_pitch, plus_pitch] = pitches;
        let spread = |x: &[f32], pitch| spread_out(x, cols, pitch);
        let mut residual = spread(&of.residual, residual_pitch);
        let gate = spread(&of.gate, gate_pitch);
        let added = spread(&of.added, plus_pitch);
        let (mut sum, mut vec) = (vec![f32::NAN; (count - 1) * sum_pitch + cols], vec![7.0_f32]);
        let statistics = count * case.groups(cols);
        let (mut mean, mut rstd) = (vec![f64::NAN; statistics], vec![f64::NAN; statistics]);

        let [gamma, beta] = self.affine(of);
        let mut args = norm.with_stats(norm_args(gamma, beta), &mut mean, &mut rstd);
        if self.bias {
            args = args.x_bias(&of.bias);
        }
        args = match self.residual {
            Residual::Absent => args,
            Residual::Read => args.residual(&residual),
            Residual::Updated => args.update_residual(&mut residual),
        };
        args = match self.sum {
            Sum::Forgotten => args,
            Sum::Slice => args.sum(&mut sum),
            Sum::Vec => args.sum_vec(&mut vec),
        };
        if self.gate {
            args = args.gate(&gate);
        }
        if self.plus {
            args = args.plus(&added);
        }
        if apart {
            args = args
                .residual_pitch(residual_pitch)
                .sum_pitch(sum_pitch)
                .gate_pitch(gate_pitch)
                .plus_pitch(plus_pitch);
        }
        let x = spread(&of.x, x_pitch);
        let (y, pitch) = buffers
            .run(x, of.shape, x_pitch, y_pitch, |io| norm.forward(io, rows(count, cols), args));

        assert_same(&what, &spread(&expected.y, pitch), &y);
        assert!(same(&mean, &expected.mean) && same(&rstd, &expected.rstd), "{what}: statistics");
        let is_updated = self.residual == Residual::Updated;
        let left = if is_updated { &expected.sum } else { &of.residual };
        assert_same(&format!("{what}, residual"), &spread(left, residual_pitch), &residual);
        match self.sum {
            Sum::Forgotten => {}
            Sum::Slice => assert_same(&what, &spread(&expected.sum, sum_pitch), &sum),
            Sum::Vec => assert_same(&format!("{what}, sum"), &expected.sum, &vec),
        }
    }

    /// The same with x and y in every place, on data of every shape.
    fn assert_law(
        arguments: impl Fn(&Self) -> bool,
        cases: impl Fn((Backend, Parallelism, Stores), usize) -> Vec<Case>,
    ) {
        for shape in shapes() {
            let of = Inputs::new(shape);
            let arguments = Self::all().filter(&arguments);
            let calls = arguments.flat_map(|arguments| ways().map(move |way| (arguments, way)));
            for (turn, (arguments, way)) in calls.enumerate() {
                if shape == LARGE && arguments.gamma != arguments.beta {
                    continue;
                }
                // Of many cases each call takes one in turn: all of them take four minutes.
                let mut cases = cases(way, shape.1);
                if cases.len() > 2 {
                    cases = vec![cases.swap_remove(turn % cases.len())];
                }
                // A short run has one place in turn.
                let in_turn = (turn + turn / Buffers::ALL.len()) % Buffers::ALL.len();
                let wanted = |place| !short() || place == in_turn;
                for case in cases {
                    for (place, buffers) in Buffers::ALL.into_iter().enumerate() {
                        if wanted(place) {
                            arguments.assert_one_by_one(case, &of, buffers);
                        }
                    }
                }
            }
        }
    }
}

/// What a call writes.
struct Outcome {
    sum: Vec<f32>,
    y: Vec<f32>,
    mean: Vec<f64>,
    rstd: Vec<f64>,
}

/// Where x and y are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Buffers {
    New,
    InPlace,
    Uninit,
    Strided,
    StridedInPlace,
    StridedUninit,
}

impl Buffers {
    const ALL: [Self; 6] = [
        Self::New,
        Self::InPlace,
        Self::Uninit,
        Self::Strided,
        Self::StridedInPlace,
        Self::StridedUninit,
    ];

    fn is_strided(self) -> bool {
        matches!(self, Self::Strided | Self::StridedInPlace | Self::StridedUninit)
    }

    /// y and its pitch. NaN is in y, before.
    fn run(
        self,
        mut x: Vec<f32>,
        (count, cols): (usize, usize),
        x_pitch: usize,
        y_pitch: usize,
        forward: impl for<'y> FnOnce(InOut<'_, 'y>) -> Result<&'y mut [f32], Error>,
    ) -> (Vec<f32>, usize) {
        let len = count * cols;
        let y_len = if self == Self::Strided { (count - 1) * y_pitch + cols } else { len };
        let mut y = vec![f32::NAN; y_len];
        match self {
            Self::New => forward(InOut::new(&x, &mut y)).map(drop).map(|()| (y, cols)),
            Self::InPlace => forward(InOut::in_place(&mut x)).map(drop).map(|()| (x, cols)),
            Self::Uninit => to_vec(len, |y| forward(InOut::uninit(&x, y))).map(|y| (y, cols)),
            Self::Strided => forward(InOut::strided(&x, x_pitch, &mut y, y_pitch))
                .map(drop)
                .map(|()| (y, y_pitch)),
            Self::StridedInPlace => {
                forward(InOut::strided_in_place(&mut x, x_pitch)).map(drop).map(|()| (x, x_pitch))
            }
            Self::StridedUninit => {
                to_vec(len, |y| forward(InOut::strided_uninit(&x, x_pitch, y))).map(|y| (y, cols))
            }
        }
        .unwrap()
    }
}

/// Law: with a residual it is the operation on the sum, bit for bit, statistics too. The sum is forgotten, kept in a slice or a
/// new vector, or is what the residual becomes. With a bias, the sum is `(x + bias) + residual`, each rounded once.
#[test]
fn with_a_bias_and_a_residual_it_is_the_operation_on_the_sum() {
    Arguments::assert_law(|args| args.has_addends() && !args.gate && !args.plus, plain);
}

/// Law: a sum is made before the gate: `y = norm(x + residual) * silu(z)` has the bits of the gated sum.
#[test]
fn with_a_residual_and_a_gate_it_is_the_gated_operation_on_the_sum() {
    Arguments::assert_law(|args| args.gate && !args.plus, plain);
}

/// Law: what is added to the result is added last, rounded once: also where a row is normalised in f64, and with a gate.
#[test]
fn with_something_added_it_is_the_operation_and_then_the_sum() {
    Arguments::assert_law(|args| args.plus, plain);
}

/// Law: with a gate before the norm it is the operation on the product of x, or of the sum, and the function of z; groups of a row
/// are rows with the gamma and beta of their columns; any function goes with any argument.
#[test]
fn with_a_gate_first_and_in_groups_it_is_the_operation_on_products_and_parts() {
    Arguments::assert_law(|args| args.gate || args.residual != Residual::Updated, Case::gated);
}

fn plain(way: (Backend, Parallelism, Stores), _: usize) -> Vec<Case> {
    RowNorm::both(way).map(Case::plain).to_vec()
}

/// Law: y and the sum in new memory, which is written once, have the bits of slices.
#[test]
fn new_memory_for_y_and_for_the_sum() {
    for of in shapes().filter(|shape| *shape != LARGE).map(Inputs::new) {
        let ((count, cols), x) = (of.shape, &of.x);
        let shape = rows(count, cols);
        let args = || NormArgs::new().gamma(&of.gamma).x_bias(&of.bias).residual(&of.residual);
        for norm in ways().flat_map(RowNorm::both) {
            let [mut expected, mut expected_sum] = [(); 2].map(|()| vec![f32::NAN; x.len()]);
            let to_slices = args().sum(&mut expected_sum);
            norm.forward(InOut::new(x, &mut expected), shape, to_slices).unwrap();
            // What was in the vector is dropped.
            for mut sum in [vec![], vec![7.0; 2 * x.len()]] {
                let to_vecs = args().sum_vec(&mut sum);
                let y = to_vec(x.len(), |y| norm.forward(InOut::uninit(x, y), shape, to_vecs));
                let what = format!("{norm:?}, {:?}", of.shape);
                assert_same(&what, &expected, &y.unwrap());
                assert_same(&format!("{what}, the sum"), &expected_sum, &sum);
            }
        }
    }
}

/// Arguments that are lent to a call can be used again.
#[test]
fn arguments_can_be_used_again() {
    let of = Inputs::new((19, 100));
    let shape = rows(19, 100);
    for norm in ways().flat_map(RowNorm::both) {
        let mut residual = of.residual.clone();
        let (mut mean, mut rstd) = (vec![f64::NAN; 19], vec![f64::NAN; 19]);
        let (mut first, mut second) = (vec![f32::NAN; of.x.len()], vec![f32::NAN; of.x.len()]);
        let args = NormArgs::new().gamma(&of.gamma).update_residual(&mut residual);
        let mut args = norm.with_stats(args, &mut mean, &mut rstd).gate(&of.gate).plus(&of.added);
        norm.forward(InOut::new(&of.x, &mut first), shape, args.reborrow()).unwrap();
        norm.forward(InOut::new(&of.x, &mut second), shape, args).unwrap();

        // The second call has the sum of the first for its residual.
        let arguments = Arguments {
            gamma: true,
            beta: false,
            bias: false,
            residual: Residual::Updated,
            sum: Sum::Forgotten,
            gate: true,
            plus: true,
        };
        let once = arguments.one_by_one(Case::plain(norm), &of);
        let twice = Inputs { residual: once.sum, ..Inputs::new((19, 100)) };
        let twice = arguments.one_by_one(Case::plain(norm), &twice);
        assert_same(&format!("{norm:?}, first"), &once.y, &first);
        assert_same(&format!("{norm:?}, second"), &twice.y, &second);
        assert_same(&format!("{norm:?}, residual"), &twice.sum, &residual);
        assert!(same(&mean, &twice.mean) && same(&rstd, &twice.rstd), "{norm:?}: statistics");

        // What is read, and a sum that is written.
        let (mut sum, mut vec) = (vec![f32::NAN; of.x.len()], Vec::new());
        let mut args = NormArgs::new().x_bias(&of.bias).residual(&of.residual).sum(&mut sum);
        norm.forward(InOut::new(&of.x, &mut first), shape, args.reborrow()).unwrap();
        norm.forward(InOut::new(&of.x, &mut second), shape, args).unwrap();
        assert_same(&format!("{norm:?}, again"), &first, &second);
        let mut args = NormArgs::new().x_bias(&of.bias).residual(&of.residual).sum_vec(&mut vec);
        norm.forward(InOut::new(&of.x, &mut second), shape, args.reborrow()).unwrap();
        norm.forward(InOut::new(&of.x, &mut second), shape, args).unwrap();
        assert_same(&format!("{norm:?}, once more"), &first, &second);
        assert_same(&format!("{norm:?}, the sum"), &sum, &vec);
    }
}

/// So can those of a training step, whose running statistics move twice, and of moments; their scratch, which may hold
/// anything, is that of each call.
#[test]
fn arguments_of_columns_can_be_used_again() {
    for ((count, cols), backend) in with_backends([(1, 1), (300, 7), (130, 300), (600, 300)]) {
        let (x, shape) = (numbers((count, cols), &mut Random::new(3)), rows(count, cols));
        let what = format!("{backend}, {count}x{cols}");
        let operation = BatchNorm::new().with_backend(backend);
        let [mut expected, mut y] = [(); 2].map(|()| vec![f32::NAN; x.len()]);
        // Where there are two rows and more, f32 does not hold the variances of the batch.
        let [mut mean, mut var, mut expected_mean, mut expected_var] =
            [0.5, f32::INFINITY, 0.5, f32::INFINITY].map(|before| vec![before; cols]);
        for _ in 0..2 {
            let args = TrainArgs::new().running(&mut expected_mean, &mut expected_var);
            operation.forward_training(InOut::new(&x, &mut expected), shape, args).unwrap();
        }
        let mut scratch = vec![f64::NAN; operation.scratch_len(shape)];
        let mut args = TrainArgs::new().running(&mut mean, &mut var).scratch(&mut scratch);
        for _ in 0..2 {
            let io = InOut::new(&x, &mut y);
            operation.forward_training(io, shape, args.reborrow()).unwrap();
            assert_same(&what, &expected, &y);
        }
        assert_same(&format!("{what}, running mean"), &expected_mean, &mean);
        assert_same(&format!("{what}, running variance"), &expected_var, &var);

        let operation = ColumnMoments::new().with_backend(backend);
        let [mut expected, mut moments] = [(); 2].map(|()| vec![Moments::new(); cols]);
        operation.compute(&x, shape, &mut expected, MomentArgs::new()).unwrap();
        let mut scratch = vec![f64::NAN; operation.scratch_len(shape)];
        let mut args = MomentArgs::new().scratch(&mut scratch);
        for _ in 0..2 {
            operation.compute(&x, shape, &mut moments, args.reborrow()).unwrap();
            assert_eq!(expected, moments, "{what}");
        }
    }
}

/// Asserts that a call on rows at pitches writes the bits of a call on contiguous rows, to y and to every other output, and touches
/// nothing between rows.
fn assert_strided(
    what: &str,
    x: &[f32],
    (count, cols): (usize, usize),
    (x_pitch, y_pitch): (usize, usize),
    forward: impl for<'y> Fn(InOut<'_, 'y>, &mut Vec<u64>) -> Result<&'y mut [f32], Error>,
) {
    let (mut y, mut beside) = (vec![f32::NAN; x.len()], Vec::new());
    forward(InOut::new(x, &mut y), &mut beside).unwrap();
    for buffers in Buffers::ALL.into_iter().filter(|buffers| buffers.is_strided()) {
        let (wide, mut got_beside) = (spread_out(x, cols, x_pitch), Vec::new());
        let (got, pitch) =
            buffers.run(wide, (count, cols), x_pitch, y_pitch, |io| forward(io, &mut got_beside));
        let what = format!("{what}, {count}x{cols}, pitches {x_pitch}, {y_pitch}, {buffers:?}");
        assert_same(&what, &spread_out(&y, cols, pitch), &got);
        assert!(got_beside == beside, "{what}: what is written beside y");
    }
}

/// Pitches of x and y, less the columns.
const PITCHES: [(usize, usize); 3] = [(0, 3), (24, 0), (1, 16)];

/// Law: rows at a pitch have the bits of contiguous ones, and their statistics; nothing between them is touched.
#[test]
fn rows_at_a_pitch_have_the_bits_of_rows_without_and_nothing_between_is_touched() {
    for ((count, cols), more) in shapes().flat_map(|shape| PITCHES.map(|more| (shape, more))) {
        let random = &mut Random::new(cols as u64);
        let x = numbers((count, cols), random);
        let (gamma, beta) = (random.normals(cols), random.normals(cols));
        let args = || NormArgs::new().affine(&gamma, &beta);
        let pitches = (cols + more.0, cols + more.1);
        let (mean, rstd) = (vec![0.25; count], vec![1.5; count]);
        let shape = rows(count, cols);
        for way in ways() {
            let (backend, parallelism, stores) = way;
            let what = format!("{way:?}");
            for norm in RowNorm::both(way) {
                assert_strided(&what, &x, (count, cols), pitches, |io, beside| {
                    let (mut mean, mut rstd) = (vec![0.0; count], vec![f64::NAN; count]);
                    let y =
                        norm.forward(io, shape, norm.with_stats(args(), &mut mean, &mut rstd))?;
                    beside.extend(golden::words64(&mean).chain(golden::words64(&rstd)));
                    Ok(y)
                });
            }
            let normalize = NormalizeScaleShift::new()
                .with_backend(backend)
                .with_parallelism(parallelism)
                .with_stores(stores);
            assert_strided(&what, &x, (count, cols), pitches, |io, _| {
                normalize.forward(io, shape, Statistics::of_rows(&mean, &rstd), args())
            });

            let row_moments = RowMoments::new().with_backend(backend).with_parallelism(parallelism);
            let (mut expected, mut got) =
                (vec![Moments::new(); count], vec![Moments::new(); count]);
            row_moments.compute(&x, shape, &mut expected, MomentArgs::new()).unwrap();
            let wide = spread_out(&x, cols, pitches.0);
            let at_pitch = MomentArgs::new().x_pitch(pitches.0);
            row_moments.compute(&wide, shape, &mut got, at_pitch).unwrap();
            assert_eq!(expected, got, "{backend}, {shape:?}, pitch {}", pitches.0);
        }
    }
}

/// Narrow matrices, of which several rows are worked on as one where they are contiguous, and wide ones; the last two are worth
/// several tasks.
const COLUMN_SHAPES: [(usize, usize); 11] = [
    (1, 1),
    (5, 3),
    (300, 7),
    (2000, 3),
    (130, 100),
    (70, 255),
    (64, 256),
    (129, 300),
    (20, 1041),
    (1100, 255),
    (600, 300),
];

/// Law: columns of rows at a pitch have the bits of those of contiguous rows, with padding among the rows and without: y, batch
/// statistics, running statistics and moments. Nothing between rows is touched.
#[test]
fn columns_of_rows_at_a_pitch_have_the_bits_of_rows_without() {
    let shapes = COLUMN_SHAPES.into_iter().filter(|(n, cols)| !short() || n * cols < 40_000);
    let rules = [RULES[0], RULES[1], RULES[4], RULES[6], RULES[8]];
    for (i, rule) in shapes.flat_map(|shape| rules.map(|rule| (shape, rule))) {
        let padded = Padded::new(i, rule);
        // With every row valid there is no mask.
        let valid = Some(padded.masks()[padded.shape.0 % 2]).filter(|_| rule.0 != "all");
        let ((count, cols), x) = (padded.shape, &padded.x[..]);
        let (shape, random) = (rows(count, cols), &mut Random::new(cols as u64));
        let (gamma, beta) = (random.normals(cols), random.normals(cols));
        let (mean, var) = (random.normals(cols), random.normals(cols));
        let var: Vec<f32> = var.iter().map(|std| std * std).collect();
        let given = (vec![0.25; cols], vec![-1.5; cols]);
        let args = || {
            let args = NormArgs::new().affine(&gamma, &beta);
            if let Some(valid) = valid { args.valid(valid) } else { args }
        };
        for ((backend, parallelism, stores), more) in
            ways().flat_map(|way| PITCHES.map(|more| (way, more)))
        {
            let pitches = (cols + more.0, cols + more.1);
            let what = format!("{backend}, {parallelism:?}, {}", padded.name);
            let batch_norm = BatchNorm::new()
                .with_backend(backend)
                .with_parallelism(parallelism)
                .with_stores(stores);
            assert_strided(&what, x, (count, cols), pitches, |io, beside| {
                let (mut mean, mut rstd) = (vec![f64::NAN; cols], vec![f64::NAN; cols]);
                let (mut running_mean, mut running_var) = (vec![0.5; cols], vec![2.0; cols]);
                let mut args = TrainArgs::new()
                    .affine(&gamma, &beta)
                    .stats(&mut mean, &mut rstd)
                    .running(&mut running_mean, &mut running_var);
                if let Some(valid) = valid {
                    args = args.valid(valid);
                }
                let y = batch_norm.forward_training(io, shape, args)?;
                beside.extend(golden::words64(&mean).chain(golden::words64(&rstd)));
                beside.extend(golden::words(&running_mean).chain(golden::words(&running_var)));
                Ok(y)
            });
            assert_strided(&what, x, (count, cols), pitches, |io, _| {
                batch_norm.forward_inference(io, shape, &mean, &var, args())
            });
            let normalize = NormalizeScaleShift::new()
                .with_backend(backend)
                .with_parallelism(parallelism)
                .with_stores(stores);
            assert_strided(&what, x, (count, cols), pitches, |io, _| {
                normalize.forward(io, shape, Statistics::of_columns(&given.0, &given.1), args())
            });

            let operation =
                ColumnMoments::new().with_backend(backend).with_parallelism(parallelism);
            let [mut expected, mut got] = [(); 2].map(|()| vec![Moments::new(); cols]);
            let wide = spread_out(x, cols, pitches.0);
            let args = || match valid {
                Some(valid) => MomentArgs::new().valid(valid),
                None => MomentArgs::new(),
            };
            operation.compute(x, shape, &mut expected, args()).unwrap();
            operation.compute(&wide, shape, &mut got, args().x_pitch(pitches.0)).unwrap();
            let words = |moments: &[Moments]| -> Vec<_> {
                moments.iter().map(|m| (m.count, bits64(m.mean), bits64(m.m2))).collect()
            };
            assert_eq!(words(&expected), words(&got), "{what}, pitch {}", pitches.0);
        }
    }
}

/// Law: so it is with the features of samples that scalers transform, and transform back.
#[test]
fn scalers_transform_samples_at_a_pitch() {
    for (count, cols) in COLUMN_SHAPES.into_iter().filter(|(n, cols)| !short() || n * cols < 40_000)
    {
        let (x, shape) = (Padded::new((count, cols), RULES[0]).x, rows(count, cols));
        for ((backend, parallelism, stores), more) in
            ways().flat_map(|way| PITCHES.map(|more| (way, more)))
        {
            let pitches = (cols + more.0, cols + more.1);
            let what = format!("{backend}, {parallelism:?}");
            let mut standard = StandardScaler::new(cols)
                .unwrap()
                .with_backend(backend)
                .with_parallelism(parallelism)
                .with_stores(stores);
            standard.fit(&x, shape).unwrap();
            let mut min_max = MinMaxScaler::new(cols)
                .unwrap()
                .with_backend(backend)
                .with_parallelism(parallelism)
                .with_stores(stores);
            min_max.fit(&x, shape).unwrap();
            let check =
                |forward: &dyn for<'y> Fn(InOut<'_, 'y>) -> Result<&'y mut [f32], Error>| {
                    assert_strided(&what, &x, (count, cols), pitches, |io, _| forward(io));
                };
            check(&|io| standard.transform(io, shape));
            check(&|io| standard.inverse_transform(io, shape));
            check(&|io| min_max.transform(io, shape));
            check(&|io| min_max.inverse_transform(io, shape));
        }
    }
}

/// Law: whether a training step writes the statistics of the batch changes nothing else.
#[test]
fn batch_norm_without_its_statistics() {
    let (batch, channels, positions) = (7, 21, 30);
    let x = Random::new(8).normals(batch * channels * positions);
    let (gamma, beta) = (Random::new(9).normals(channels), Random::new(10).normals(channels));
    let bytes: Vec<u8> = (0..batch * positions).map(|i| u8::from(i % 5 != 2)).collect();
    let shapes = [
        rows(batch * positions, channels).into(),
        Channels::last(batch, positions, channels).unwrap(),
        Channels::first(batch, channels, positions).unwrap(),
    ];
    for (shape, backend) in with_backends(shapes) {
        for masked in [false, true] {
            let operation = BatchNorm::new().with_backend(backend);
            let train = |stats: Option<[&mut [f64]; 2]>| {
                let mut y = vec![f32::NAN; x.len()];
                let (mut mean, mut var) = (vec![0.5; channels], vec![2.0; channels]);
                let mut args = TrainArgs::new().affine(&gamma, &beta).running(&mut mean, &mut var);
                if let Some([mean, rstd]) = stats {
                    args = args.stats(mean, rstd);
                }
                if masked {
                    args = args.valid(ValidRows::Mask(Mask::Bytes(&bytes)));
                }
                operation.forward_training(InOut::new(&x, &mut y), shape, args).unwrap();
                [y, mean, var].concat()
            };
            let [mut mean, mut rstd] = [(); 2].map(|()| vec![f64::NAN; channels]);
            let expected = train(Some([&mut mean, &mut rstd]));
            assert_same(&format!("{backend}, {shape:?}, {masked}"), &expected, &train(None));
        }
    }
}

#[test]
fn one_plus_gamma_is_gamma_of_which_one_was_taken() {
    for shape in shapes() {
        let random = &mut Random::new(shape.1 as u64);
        let (x, gamma) = (numbers(shape, random), random.normals(shape.1));
        let beta = random.normals(shape.1);
        let whole: Vec<f32> = gamma.iter().map(|gamma| 1.0 + gamma).collect();
        let shape = rows(shape.0, shape.1);
        for (beta, backend) in with_backends([None, Some(beta.as_slice())]) {
            let rms_norm = RmsNorm::new().with_backend(backend);
            let of_models = rms_norm.with_one_plus_gamma(true);
            let run = |operation: RmsNorm, gamma| {
                let mut y = vec![f32::NAN; x.len()];
                operation.forward(InOut::new(&x, &mut y), shape, norm_args(gamma, beta)).unwrap();
                y
            };
            let (expected, got) = (run(rms_norm, Some(&whole)), run(of_models, Some(&gamma)));
            assert_same(&format!("{backend}, {shape:?}"), &expected, &got);
            let (expected, got) = (run(rms_norm, None), run(of_models, None));
            assert_same(&format!("{backend}, {shape:?}, no gamma"), &expected, &got);
        }
    }
}

/// Law: a gamma that is stored less 1 and absent is 0, beside every other argument.
#[test]
fn one_plus_gamma_without_gamma_is_that_of_zeros() {
    for shape in shapes() {
        let of = Inputs::new(shape);
        let (zeros, matrix) = (vec![0.0_f32; shape.1], rows(shape.0, shape.1));
        for way in ways() {
            let [_, RowNorm::Rms(norm)] = RowNorm::both(way) else {
                panic!("RmsNorm is the second")
            };
            for options in 0..8 {
                let run = |gamma: Option<&[f32]>| {
                    let mut y = vec![f32::NAN; of.x.len()];
                    let mut args = NormArgs::new().maybe_gamma(gamma);
                    if options & 1 == 1 {
                        args = args.beta(&of.bias);
                    }
                    if options & 2 == 2 {
                        args = args.gate(&of.x);
                    }
                    if options & 4 == 4 {
                        args = args.residual(&of.residual);
                    }
                    norm.forward(InOut::new(&of.x, &mut y), matrix, args).unwrap();
                    y
                };
                let what = format!("{way:?}, {shape:?}, options {options:03b}");
                assert_same(&what, &run(Some(&zeros)), &run(None));
            }
        }
    }
}
