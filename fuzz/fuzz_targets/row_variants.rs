//! What rows take and give beside x and y, in any combination, on any buffers: beside the same done one after the other.
#![forbid(unsafe_code)]
#![no_main]

use arbitrary::Arbitrary;
use evenkeel::{
    Backend, Error, GateFunction, GatePlace, InOut, LayerNorm, NormArgs, NormalizeScaleShift,
    Parallelism, RmsNorm, Rows, Statistics, Stores,
};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    operation: Operation,
    matrix: Matrix,
    affine: (Option<Source>, Option<Source>),
    bias: Option<Source>,
    residual: Option<(ResidualIs, Source)>,
    sum: Option<SumIs>,
    gate: Option<Source>,
    plus: Option<Source>,
    statistics: StatisticsAre,
    /// Of rows whose statistics are given.
    given: (Source, Source),
    valid: Option<(Valid, ValidIs)>,
    eps: Parameter,
    /// Elements between rows of x and of y.
    between: [u8; 2],
    /// Elements between rows of the residual, the sum, the gate and what is added, where these are at a pitch.
    between_others: [Option<u8>; 4],
    /// In one of eight inputs, arguments stay that the operation does not take, and pitches of nothing. What is left of the number
    /// says which gate and which groups there are.
    one_in_eight_is_strange: u8,
    one_in_256_is_large: u8,
    /// Of a backend that is not looked at thoroughly.
    io: u8,
    thorough: Thorough,
    threads: Threads,
    host: Option<HostPool>,
    stores: StoresAre,
    shifts: [u8; 12],
    wrong: Wrong,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Operation {
    LayerNorm,
    RmsNorm,
    /// `RmsNorm` with 1 + gamma.
    OnePlusGamma,
    /// `NormalizeScaleShift` of rows.
    Given,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum ResidualIs {
    Read,
    Updated,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum SumIs {
    Slice,
    Vec,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum StatisticsAre {
    NotWritten,
    Rstd,
    Both,
}

fuzz_target!(|input: Continued<Input>| {
    let case = Case::new(&input.0);
    input.0.check(&case);
});

/// What a call reads, and what else is there.
struct Case {
    x: Vec<f32>,
    rows: Rows,
    affine: Affine,
    bias: Option<Vec<f32>>,
    residual: Option<(ResidualIs, Vec<f32>)>,
    sum: Option<SumIs>,
    gate: Option<Vec<f32>>,
    gate_is: (GateFunction, GatePlace),
    /// Groups of a row.
    groups: usize,
    plus: Option<Vec<f32>>,
    statistics: StatisticsAre,
    /// Mean and rstd of rows whose statistics are given.
    given: [Vec<f64>; 2],
    filter: Option<Filter>,
    eps: f64,
    pitches: [usize; 2],
    of_residual: Layout,
    of_sum: Layout,
    of_gate: Layout,
    of_plus: Layout,
}

/// What a call writes, the rows one behind the other.
struct Outputs {
    y: Vec<f32>,
    sum: Vec<f32>,
    mean: Vec<f64>,
    rstd: Vec<f64>,
}

/// What each backend is compared with, of the kind that it is.
struct Known {
    plain: Expected,
    gated: Expected,
}

/// Everything that a call may read or write.
struct Buffers {
    x: Buffer<f32>,
    y: Buffer<f32>,
    beside: Beside,
}

/// What there is beside x and y.
struct Beside {
    gamma: Option<Buffer<f32>>,
    beta: Option<Buffer<f32>>,
    bias: Option<Buffer<f32>>,
    residual: Option<Buffer<f32>>,
    sum: Buffer<f32>,
    sum_vec: Vec<f32>,
    gate: Option<Buffer<f32>>,
    plus: Option<Buffer<f32>>,
    mean: Buffer<f64>,
    rstd: Buffer<f64>,
    filter: Option<PassedFilter>,
}

impl Buffers {
    /// All that might have been written, but for the vector.
    fn written(&self) -> Written {
        let Self { x, y, beside: Beside { residual, sum, mean, rstd, .. } } = self;
        let written = Written::default().f32(x).f32(y).f32(sum).f64(mean).f64(rstd);
        residual.iter().fold(written, |written, residual| written.f32(residual))
    }
}

impl Case {
    fn new(input: &Input) -> Self {
        let (mut x, mut rows) = input.matrix.make(Lines::Rows);
        if input.one_in_256_is_large == u8::MAX {
            (x, rows) = repeated(x, rows);
        }
        let steps = input.valid.as_ref().map_or(1, |(_, is)| is.steps(rows.rows()));
        rows = whole_samples(&mut x, rows, steps);
        let (len, count, cols) = (x.len(), rows.rows(), rows.cols());
        let values = |source: &Option<Source>, len, seed| {
            source.as_ref().map(|source| source.values(len, seed))
        };
        let given = |source: &Source, seed| -> Vec<f64> {
            source.values(count, seed).into_iter().map(f64::from).collect()
        };
        let [of_residual, of_sum, of_gate, of_plus] = input.between_others.map(|between| {
            let pitch = between.map(|between| pitches(rows, [between])[0]);
            Layout { rows, pitch }
        });
        let mut case = Self {
            affine: Affine::new(&input.affine.0, &input.affine.1, cols),
            bias: values(&input.bias, cols, 3),
            residual: input.residual.as_ref().map(|(is, of)| (*is, of.values(len, 4))),
            sum: input.sum,
            gate: values(&input.gate, len, 5),
            gate_is: input.gate_is(),
            groups: input.groups(cols),
            plus: values(&input.plus, len, 6),
            statistics: input.statistics,
            given: [given(&input.given.0, 7), given(&input.given.1, 8)],
            filter: input.valid.as_ref().map(|(valid, is)| valid.of(*is, count, steps)),
            eps: input.eps.value(1e-5),
            pitches: pitches(rows, input.between),
            of_residual,
            of_sum,
            of_gate,
            of_plus,
            x,
            rows,
        };
        if input.one_in_eight_is_strange % 8 != 7 {
            case.leave_out_unsupported(input.operation);
        }
        case
    }

    fn leave_out_unsupported(&mut self, operation: Operation) {
        if operation == Operation::Given {
            (self.bias, self.residual, self.sum, self.gate, self.plus) = Default::default();
            self.statistics = StatisticsAre::NotWritten;
        }
        if self.statistics == StatisticsAre::Both && operation != Operation::LayerNorm {
            self.statistics = StatisticsAre::Rstd;
        }
        if !self.has_sum() {
            self.sum = None;
        }
    }

    /// Whether there is a sum that is written nowhere else.
    fn has_sum(&self) -> bool {
        match self.residual {
            Some((is, _)) => is == ResidualIs::Read,
            None => self.bias.is_some(),
        }
    }

    /// Whether the operation takes these arguments.
    fn is_supported(&self, operation: Operation) -> bool {
        let of_rows = self.bias.is_some()
            || self.residual.is_some()
            || self.sum.is_some()
            || self.gate.is_some()
            || self.plus.is_some();
        let written = match self.statistics {
            StatisticsAre::NotWritten => true,
            StatisticsAre::Rstd => operation != Operation::Given,
            StatisticsAre::Both => operation == Operation::LayerNorm,
        };
        (operation != Operation::Given || !of_rows)
            && written
            && (self.sum.is_none() || self.has_sum())
    }

    /// x, the bias and the residual, as far as they are there: each sum rounded once.
    fn sum(&self) -> Vec<f32> {
        let mut sum = self.x.clone();
        if let Some(bias) = &self.bias {
            sum.iter_mut().zip(bias.iter().cycle()).for_each(|(x, bias)| *x += bias);
        }
        if let Some((_, residual)) = &self.residual {
            sum.iter_mut().zip(residual).for_each(|(x, residual)| *x += residual);
        }
        sum
    }
}

/// The function of a gate by itself: rows of one element, whose squares are 1, times it.
fn factors(backend: Backend, function: GateFunction, z: &[f32]) -> Vec<f32> {
    let mut y = vec![1.0; z.len()];
    let norm = RmsNorm::new().with_eps(0.0).with_backend(backend);
    let norm = norm.with_gate(function, GatePlace::AfterNorm);
    let rows = Rows::new(z.len(), 1).expect("as many as there are");
    norm.forward(InOut::in_place(&mut y), rows, NormArgs::new().gate(z)).expect("valid");
    y
}

/// How an operation is to run.
#[derive(Clone, Copy)]
struct Call {
    operation: Operation,
    eps: f64,
    rows: Rows,
    gate_is: (GateFunction, GatePlace),
    /// Elements of a group, where there are several a row.
    group_size: Option<usize>,
    backend: Backend,
    threads: Parallelism,
    stores: Stores,
}

impl Call {
    fn run<'y>(
        &self,
        io: InOut<'_, 'y>,
        given: Statistics<'_>,
        args: NormArgs<'_>,
    ) -> Result<&'y mut [f32], Error> {
        let Self { operation, eps, rows, gate_is, group_size, backend, threads, stores } = *self;
        let rms_norm = match group_size {
            Some(group_size) => RmsNorm::new().with_group_size(group_size),
            None => RmsNorm::new(),
        };
        match operation {
            Operation::LayerNorm => LayerNorm::new()
                .with_eps(eps)
                .with_gate(gate_is.0, gate_is.1)
                .with_backend(backend)
                .with_parallelism(threads)
                .with_stores(stores)
                .forward(io, rows, args),
            Operation::RmsNorm | Operation::OnePlusGamma => rms_norm
                .with_eps(eps)
                .with_gate(gate_is.0, gate_is.1)
                .with_one_plus_gamma(operation == Operation::OnePlusGamma)
                .with_backend(backend)
                .with_parallelism(threads)
                .with_stores(stores)
                .forward(io, rows, args),
            Operation::Given => NormalizeScaleShift::new()
                .with_backend(backend)
                .with_parallelism(threads)
                .with_stores(stores)
                .forward(io, rows, given, args),
        }
    }
}

impl Input {
    fn gate_is(&self) -> (GateFunction, GatePlace) {
        let bits = self.one_in_eight_is_strange >> 3;
        let function = if bits & 1 == 1 { GateFunction::Sigmoid } else { GateFunction::Silu };
        (function, if bits & 2 == 2 { GatePlace::BeforeNorm } else { GatePlace::AfterNorm })
    }

    /// One, all columns, or the first number that divides them.
    fn groups(&self, cols: usize) -> usize {
        let is_rms = matches!(self.operation, Operation::RmsNorm | Operation::OnePlusGamma);
        match self.one_in_eight_is_strange >> 5 {
            6 if is_rms => cols,
            7 if is_rms => (2..=cols).find(|groups| cols.is_multiple_of(*groups)).unwrap_or(cols),
            _ => 1,
        }
    }

    fn check(&self, case: &Case) {
        let mut known = Known { plain: Expected::new(), gated: Expected::new() };
        for backend in Backend::available() {
            let can_succeed = self.operation == Operation::Given || eps_is_valid(case.eps);
            let outputs = can_succeed.then(|| self.one_by_one(case, backend, &mut known));
            let few = &[Io::ALL[usize::from(self.io) % Io::ALL.len()]][..];
            for &io in if self.thorough.is(backend) { &Io::ALL[..] } else { few } {
                self.check_call(case, io, backend, outputs.as_ref());
            }
        }
    }

    /// Adds, normalises, gates and adds, each in a call of its own on one thread or by its definition; padding last.
    fn one_by_one(&self, case: &Case, backend: Backend, known: &mut Known) -> Outputs {
        let Case { rows, affine, gate, given: [mean, rstd], eps, .. } = case;
        let (rows, eps) = (*rows, *eps);
        let (function, place) = case.gate_is;
        let what = format_args!("{:?}, {backend}, {rows:?}, eps {eps:e}", self.operation);
        let call = Call {
            operation: match self.operation {
                Operation::OnePlusGamma => Operation::RmsNorm,
                operation => operation,
            },
            eps,
            rows,
            gate_is: (function, GatePlace::AfterNorm),
            group_size: None,
            backend,
            threads: Parallelism::Serial,
            stores: Stores::Auto,
        };
        let given = Statistics::of_rows(mean, rstd);
        let whole: Option<Vec<f32>> = match self.operation {
            Operation::OnePlusGamma => {
                affine.gamma().map(|gamma| gamma.iter().map(|gamma| 1.0 + gamma).collect())
            }
            _ => affine.gamma().map(<[f32]>::to_vec),
        };
        let affine = Affine::of(whole.as_deref(), affine.beta());
        let args = || NormArgs::new().maybe_gamma(affine.gamma()).maybe_beta(affine.beta());

        let sum = case.sum();
        let statistics = rows.rows() * case.groups;
        let mut outputs = Outputs {
            y: vec![f32::BEFORE; sum.len()],
            mean: vec![f64::BEFORE; statistics],
            rstd: vec![f64::BEFORE; statistics],
            sum,
        };
        let Outputs { y, sum, mean, rstd } = &mut outputs;
        let (mut x, mut gate) =
            (sum.clone(), gate.as_deref().filter(|_| self.row_norm().is_some()));
        if let (Some(z), GatePlace::BeforeNorm) = (gate, place) {
            x.iter_mut().zip(factors(backend, function, z)).for_each(|(x, factor)| *x *= factor);
            gate = None;
        }
        if case.groups != 1 {
            self.one_group_after_the_other(case, call, &affine, (&x, gate), (y, rstd));
            self.add_and_pad(case, &mut outputs);
            return outputs;
        }
        let with_statistics = match call.operation {
            Operation::LayerNorm => args().stats(mean, rstd),
            Operation::RmsNorm | Operation::OnePlusGamma => args().rstd(rstd),
            Operation::Given => args(),
        };
        call.run(InOut::new(&x, y), given, with_statistics).expect("valid");
        let written = Written::default().f32(y).f64(mean).f64(rstd);
        known.plain.check(backend, written, what, || {
            for (r, (x, y)) in lines(&x, rows).zip(lines(y, rows)).enumerate() {
                let what = format_args!("{what}, row {r}");
                match self.row_norm() {
                    Some(operation) => {
                        let exact = ExactRow::of(operation, x, eps);
                        exact.check_output(x, y, &affine, what);
                        exact.check_statistics(mean[r], rstd[r], what);
                    }
                    None => {
                        let statistics = (case.given[0][r], case.given[1][r]);
                        for (c, (&x, &y)) in x.iter().zip(y).enumerate() {
                            check_given(x, y, statistics, affine.at(c), Lines::Rows, what);
                        }
                    }
                }
            }
        });

        if let (Some(gate), Some(operation)) = (gate, self.row_norm()) {
            call.run(InOut::new(&x, y), given, args().gate(gate)).expect("valid");
            known.gated.check(backend, Written::default().f32(y), what, || {
                let rows_of_y = lines(&x, rows).zip(lines(gate, rows)).zip(lines(y, rows));
                for (r, (of_row, y)) in rows_of_y.enumerate() {
                    let exact = ExactRow::of(operation, of_row.0, eps);
                    let what = format_args!("{what}, gated, row {r}");
                    exact.check_gated(of_row, function, y, &affine, what);
                }
            });
        }
        self.add_and_pad(case, &mut outputs);
        outputs
    }

    /// Adds what is added to the result; zeroes padding and its statistics.
    fn add_and_pad(&self, case: &Case, outputs: &mut Outputs) {
        let Outputs { y, mean, rstd, .. } = outputs;
        if let Some(plus) = &case.plus {
            y.iter_mut().zip(plus).for_each(|(y, plus)| *y += plus);
        }
        if let Some(filter) = &case.filter {
            filter.zero_padding(y, case.rows.cols());
            filter.zero_statistics(mean, case.groups);
            filter.zero_statistics(rstd, case.groups);
        }
    }

    /// Normalises each group of columns as a matrix of its own, gate and all.
    fn one_group_after_the_other(
        &self,
        case: &Case,
        call: Call,
        affine: &Affine,
        (x, gate): (&[f32], Option<&[f32]>),
        (y, rstd): (&mut [f32], &mut [f64]),
    ) {
        let (count, cols) = (case.rows.rows(), case.rows.cols());
        for group in 0..case.groups {
            let size = cols / case.groups;
            let part = group * size..(group + 1) * size;
            let columns = |x: &[f32]| -> Vec<f32> {
                x.chunks(cols).flat_map(|row| &row[part.clone()]).copied().collect()
            };
            let [gamma, beta] =
                [affine.gamma(), affine.beta()].map(|of| of.map(|of| &of[part.clone()]));
            let (x, gate) = (columns(x), gate.map(columns));
            let (mut of_group, mut rstds) = (vec![f32::BEFORE; x.len()], vec![f64::BEFORE; count]);
            let mut args = NormArgs::new().maybe_gamma(gamma).maybe_beta(beta).rstd(&mut rstds);
            if let Some(gate) = &gate {
                args = args.gate(gate);
            }
            let call = Call { rows: Rows::new(count, size).expect("a part"), ..call };
            let given = Statistics::of_rows::<f64>(&[], &[]);
            call.run(InOut::new(&x, &mut of_group), given, args).expect("valid");
            for r in 0..count {
                y[r * cols..][part.clone()].copy_from_slice(&of_group[r * size..(r + 1) * size]);
                rstd[r * case.groups + group] = rstds[r];
            }
        }
    }

    /// The operation by statistics of its own.
    fn row_norm(&self) -> Option<RowNorm> {
        match self.operation {
            Operation::LayerNorm => Some(RowNorm::LayerNorm),
            Operation::RmsNorm | Operation::OnePlusGamma => Some(RowNorm::RmsNorm),
            Operation::Given => None,
        }
    }

    /// All at once, which has to leave what the steps left. `outputs` is not there if no call can succeed.
    fn check_call(&self, case: &Case, io: Io, backend: Backend, outputs: Option<&Outputs>) {
        let Case { rows, affine, eps, pitches, .. } = case;
        let (count, cols) = (rows.rows(), rows.cols());
        let what = format_args!(
            "{:?}, {io:?}, {backend}, {rows:?}, {pitches:?}, eps {eps:e}",
            self.operation
        );
        let [of_x, of_y] = io.layouts(*rows, *pitches);
        let right = [
            of_x.reach(),
            of_y.reach(),
            cols,
            cols,
            cols,
            case.of_residual.reach(),
            case.of_sum.reach(),
            case.of_gate.reach(),
            case.of_plus.reach(),
            count * case.groups,
            count * case.groups,
            case.filter.as_ref().map_or(0, Filter::right_len),
        ];
        let lengths = lengths(right, self.wrong);
        let make = || self.buffers(case, of_x, lengths);

        let fits = |i: usize| lengths[i] == right[i];
        let is_absent = |part: &Option<Vec<f32>>| part.is_none();
        let statistics_fit = match case.statistics {
            _ if self.operation == Operation::Given => fits(9) && fits(10),
            StatisticsAre::NotWritten => true,
            StatisticsAre::Rstd => fits(10),
            StatisticsAre::Both => fits(9) && fits(10),
        };
        let valid = of_x.fits(lengths[0])
            && (io.in_place() || of_y.fits(lengths[1]))
            && (affine.gamma().is_none() || fits(2))
            && (affine.beta().is_none() || fits(3))
            && (is_absent(&case.bias) || fits(4))
            && (case.residual.is_none() || case.of_residual.fits(lengths[5]))
            && (case.sum != Some(SumIs::Slice) || case.of_sum.fits(lengths[6]))
            && (is_absent(&case.gate) || case.of_gate.fits(lengths[7]))
            && (is_absent(&case.plus) || case.of_plus.fits(lengths[8]))
            && statistics_fit
            && (case.filter.is_none() || fits(11))
            && case.is_supported(self.operation);
        let outputs = outputs.filter(|_| valid);

        let mut got = make();
        let old_sum = got.beside.sum_vec.clone();
        let result = self.call(case, io, backend, &mut got);
        assert_eq!(result.is_ok(), outputs.is_some(), "{what}: {result:?}");

        let mut expected = make();
        let Some(Outputs { y, sum, mean, rstd }) = outputs else {
            expected.written().assert_same(&got.written(), what);
            assert!(same_bytes(&got.beside.sum_vec, &old_sum), "{what}: the vector of the sum");
            return;
        };
        match io.in_place() {
            true => of_x.put(y, &mut expected.x),
            false => of_y.put(y, &mut expected.y),
        }
        if let (Some((ResidualIs::Updated, _)), Some(residual)) =
            (&case.residual, &mut expected.beside.residual)
        {
            case.of_residual.put(sum, residual);
        }
        let (sum_before, sum_is) = (expected.beside.sum_vec.clone(), case.sum);
        if sum_is == Some(SumIs::Slice) {
            case.of_sum.put(sum, &mut expected.beside.sum);
        }
        let sum_vec = if sum_is == Some(SumIs::Vec) { sum } else { &sum_before };
        let vectors = [sum_vec, &got.beside.sum_vec].map(|vec| Written::default().f32(vec));
        vectors[0].assert_same(&vectors[1], what);
        if case.statistics != StatisticsAre::NotWritten {
            expected.beside.rstd.copy_from_slice(rstd);
        }
        if case.statistics == StatisticsAre::Both {
            expected.beside.mean.copy_from_slice(mean);
        }
        expected.written().assert_same(&got.written(), what);
    }

    fn buffers(&self, case: &Case, of_x: Layout, lengths: [usize; 12]) -> Buffers {
        let of = |values: &[f32], i: usize| Buffer::of(values, lengths[i], self.shifts[i]);
        let optional = |values: Option<&[f32]>, i: usize| values.map(|values| of(values, i));
        let spread = |values: Option<&[f32]>, layout: Layout, i: usize| {
            values.map(|values| of(&layout.spread(values), i))
        };
        let x = of_x.spread(&case.x);
        let residual = case.residual.as_ref().map(|(_, residual)| &residual[..]);
        let [mean, rstd] = [0, 1].map(|i| match self.operation {
            Operation::Given => Buffer::of(&case.given[i], lengths[9 + i], self.shifts[9 + i]),
            _ => Buffer::new(lengths[9 + i], self.shifts[9 + i]),
        });
        Buffers {
            x: of(&x, 0),
            y: Buffer::new(lengths[1], self.shifts[1]),
            beside: Beside {
                gamma: optional(case.affine.gamma(), 2),
                beta: optional(case.affine.beta(), 3),
                bias: optional(case.bias.as_deref(), 4),
                residual: spread(residual, case.of_residual, 5),
                sum: Buffer::new(lengths[6], self.shifts[6]),
                sum_vec: vec![f32::BEFORE; self.shifts[6].into()],
                gate: spread(case.gate.as_deref(), case.of_gate, 7),
                plus: spread(case.plus.as_deref(), case.of_plus, 8),
                mean,
                rstd,
                filter: case
                    .filter
                    .as_ref()
                    .map(|filter| filter.resized(lengths[11], self.shifts[11])),
            },
        }
    }

    fn call(
        &self,
        case: &Case,
        io: Io,
        backend: Backend,
        buffers: &mut Buffers,
    ) -> Result<(), Error> {
        let Buffers { x, y, beside } = buffers;
        let Beside { gamma, beta, bias, residual, sum, sum_vec, gate, plus, mean, rstd, filter } =
            beside;
        let mut args = NormArgs::new().maybe_gamma(gamma.as_deref()).maybe_beta(beta.as_deref());
        if let Some(bias) = bias {
            args = args.x_bias(bias);
        }
        if let (Some((is, _)), Some(residual)) = (&case.residual, residual) {
            args = match is {
                ResidualIs::Read => args.residual(residual),
                ResidualIs::Updated => args.update_residual(residual),
            };
        }
        match case.sum {
            None => {}
            Some(SumIs::Slice) => args = args.sum(sum),
            Some(SumIs::Vec) => args = args.sum_vec(sum_vec),
        }
        if let Some(gate) = gate {
            args = args.gate(gate);
        }
        if let Some(plus) = plus {
            args = args.plus(plus);
        }
        if let Some(pitch) = case.of_residual.pitch {
            args = args.residual_pitch(pitch);
        }
        if let Some(pitch) = case.of_sum.pitch {
            args = args.sum_pitch(pitch);
        }
        if let Some(pitch) = case.of_gate.pitch {
            args = args.gate_pitch(pitch);
        }
        if let Some(pitch) = case.of_plus.pitch {
            args = args.plus_pitch(pitch);
        }
        if let Some(filter) = filter {
            args = args.valid(filter.rows());
        }
        if let Some(host) = &self.host {
            args = args.pool(host);
        }
        // Statistics are an input here, and an output there.
        let mut given = Statistics::of_rows::<f64>(&[], &[]);
        match (self.operation, case.statistics) {
            (Operation::Given, StatisticsAre::NotWritten) => {
                given = Statistics::of_rows(mean, rstd);
            }
            (_, StatisticsAre::NotWritten) => {}
            (_, StatisticsAre::Rstd) => args = args.rstd(rstd),
            (_, StatisticsAre::Both) => args = args.stats(mean, rstd),
        }
        let call = Call {
            operation: self.operation,
            eps: case.eps,
            rows: case.rows,
            gate_is: case.gate_is,
            group_size: (case.groups != 1)
                .then(|| case.rows.cols().checked_div(case.groups).unwrap_or(1)),
            backend,
            threads: self.threads.into(),
            stores: self.stores.into(),
        };
        io.call(x, y, case.pitches, |io| call.run(io, given, args))
    }
}
