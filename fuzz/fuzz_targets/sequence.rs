//! Operations in sequence on shared buffers.
//!
//! A program is a few steps on one memory: three matrices, parameters, statistics, a mask. Each step goes the way that
//! the fuzzer says: on a backend, on threads of a pool, or of a host's that does not do what it should, with stores, in
//! place, into memory that counts as uninitialised, with scratch as the steps before left it. Then the same step is done in a plain way on what the
//! memory was: on one thread, in new buffers, statistics and normalisation one after the other, running
//! statistics and masks by their definition. All of the memory has to hold the same bits, which says too that nothing
//! beside the outputs changed; and outputs have to be within their bounds of the reference.
//!
//! The backends that fuse multiply-adds take turns in one run of the program; any other has a run of its own.
#![forbid(unsafe_code)]
#![no_main]

use std::fmt::Arguments;
use std::ops::Range;
use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use evenkeel::{
    Backend, BatchNorm, ColumnMoments, Dropout, DropoutArgs, Error, InOut, LayerNorm, Mask,
    MaskMut, MomentArgs, Moments, NormArgs, NormalizeScaleShift, Parallelism, RmsNorm, RowMoments,
    Rows, Statistics, Stream, TrainArgs, reference,
};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;
use rayon::{ThreadPool, ThreadPoolBuilder};

#[derive(Debug)]
struct Program(Vec<Step>);

impl<'a> Arbitrary<'a> for Program {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let steps = u.int_in_range(1..=12)?;
        (0..steps).map(|_| u.arbitrary()).collect::<Result<_, _>>().map(Self)
    }
}

#[derive(Arbitrary, Debug)]
struct Step {
    action: Action,
    size: Size,
    from: Place,
    to: Place,
    has_gamma: bool,
    has_beta: bool,
    way: Way,
    wrong: Wrong,
}

#[derive(Arbitrary, Debug)]
enum Action {
    Fill(Source, u64),
    Parameters {
        gamma: Source,
        beta: Source,
    },
    Statistics {
        lines: Lines,
        eps: Parameter,
    },
    RowNorm {
        operation: RowNorm,
        eps: Parameter,
    },
    /// By the statistics that earlier steps left.
    NormalizeScaleShift {
        lines: Lines,
    },
    Train {
        eps: Parameter,
        momentum: Momentum,
        unbiased: bool,
        has_running: bool,
    },
    Infer {
        eps: Parameter,
    },
    Dropout {
        p: Parameter,
        seed: u64,
        offset: u32,
        packed: bool,
    },
    /// By the mask that the last dropout left, or by drawing it again.
    Backward {
        again: bool,
    },
}

/// The shape of a step's matrices.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Size {
    shape: Shape,
    lines: Lines,
    one_in_256_is_large: u8,
    cols: u16,
}

impl Size {
    fn rows(self) -> Rows {
        let (rows, cols) = if self.one_in_256_is_large == u8::MAX {
            let cols = 1 + usize::from(self.cols) % 4096;
            (LARGE.div_ceil(cols), cols)
        } else {
            let (lines, len) = self.shape.resolve();
            if self.lines == Lines::Rows { (lines, len) } else { (len, lines) }
        };
        Rows::new(rows, cols).expect("a small shape")
    }
}

/// A part of one of the matrices.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Place {
    matrix: u8,
    start: u8,
}

impl Place {
    fn matrix(self) -> usize {
        usize::from(self.matrix) % 3
    }

    fn part(self, all: usize, len: usize) -> Range<usize> {
        let start = usize::from(self.start) % (all - len + 1);
        start..start + len
    }
}

/// How a step is done, which must not change a bit.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Way {
    backend: u8,
    threads: Threads,
    in_pool: bool,
    host: Option<HostPool>,
    stores: StoresAre,
    uninit: bool,
    own_scratch: bool,
}

/// What steps share.
#[derive(Clone, Debug)]
struct Memory {
    matrices: [Vec<f32>; 3],
    gamma: Vec<f32>,
    beta: Vec<f32>,
    mean: Vec<f64>,
    rstd: Vec<f64>,
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
    mask: Vec<u8>,
    dropout: Option<Dropped>,
}

/// How the mask was drawn.
#[derive(Clone, Copy, Debug)]
struct Dropped {
    p: f64,
    stream: Stream,
    len: usize,
    packed: bool,
}

impl Memory {
    /// With room for every step, and for matrices that begin a little later.
    fn new(steps: &[Step]) -> Self {
        let most = |of: fn(Rows) -> usize| {
            steps.iter().map(|step| of(step.size.rows())).max().unwrap_or(0)
        };
        let elements = most(Rows::elements);
        let lines = most(|rows| rows.rows().max(rows.cols())) + 1;
        let matrix =
            |seed| Source::Normal { mean: Number::One, power: 1 }.values(elements + 37, seed);
        Self {
            matrices: [1, 2, 3].map(matrix),
            gamma: vec![1.5; lines],
            beta: vec![-0.5; lines],
            mean: vec![0.5; lines],
            rstd: vec![2.0; lines],
            running_mean: vec![0.0; lines],
            running_var: vec![1.0; lines],
            mask: vec![u8::BEFORE; elements + 1],
            dropout: None,
        }
    }

    fn floats(&self) -> [&[f32]; 7] {
        let Self { matrices: [a, b, c], gamma, beta, running_mean, running_var, .. } = self;
        [a, b, c, gamma, beta, running_mean, running_var]
    }

    fn assert_same(&self, got: &Self, what: Arguments<'_>) {
        for (expected, got) in self.floats().into_iter().zip(got.floats()) {
            if !same_bytes(expected, got) {
                let expected = Written::default().f32(expected);
                expected.assert_same(&Written::default().f32(got), what);
            }
        }
        let statistics = |memory: &Self| Written::default().f64(&memory.mean).f64(&memory.rstd);
        statistics(self).assert_same(&statistics(got), what);
        assert!(self.mask == got.mask, "{what}: masks differ");
    }
}

/// Lengths of what a call is given: right ones, unless the step has a wrong one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sizes {
    x: usize,
    y: usize,
    gamma: usize,
    beta: usize,
    mean: usize,
    rstd: usize,
    running_mean: usize,
    running_var: usize,
    mask: usize,
    scratch: usize,
}

fuzz_target!(|program: Continued<Program>| {
    let Program(steps) = program.0;
    let (fused, others): (Vec<_>, Vec<_>) = Backend::available().partition(|b| b.is_fused());
    let others = others.into_iter().map(|backend| vec![backend]);
    for backends in others.chain([fused]).filter(|backends| !backends.is_empty()) {
        let (mut memory, mut scratch) = (Memory::new(&steps), vec![f64::NAN; 64]);
        for (number, step) in steps.iter().enumerate() {
            step.run(number, &backends, &mut memory, &mut scratch);
        }
    }
});

/// Three threads, however many the machine has.
fn pool() -> &'static ThreadPool {
    static POOL: OnceLock<ThreadPool> = OnceLock::new();
    POOL.get_or_init(|| ThreadPoolBuilder::new().num_threads(3).build().expect("threads"))
}

/// An operation, run where it is told.
macro_rules! with_place {
    ($operation:expr, $backend:expr, $way:expr) => {
        $operation.with_backend($backend).with_parallelism($way.threads.into())
    };
}

/// The same with an output.
macro_rules! with_way {
    ($operation:expr, $backend:expr, $way:expr) => {
        with_place!($operation, $backend, $way).with_stores($way.stores.into())
    };
}

/// An operation, run plainly.
macro_rules! plain {
    ($operation:expr, $backend:expr) => {
        $operation.with_backend($backend).with_parallelism(Parallelism::Serial)
    };
}

impl Step {
    /// The shape of the matrices. The last dropout decided on that of its backward pass.
    fn rows(&self, memory: &Memory) -> Rows {
        match (&self.action, memory.dropout) {
            (Action::Backward { .. }, Some(dropout)) => {
                Rows::new(dropout.len, 1).expect("a shape of before")
            }
            _ => self.size.rows(),
        }
    }

    fn in_place(&self) -> bool {
        self.from.matrix() == self.to.matrix()
    }

    /// Where the output is.
    fn to(&self) -> Place {
        if self.in_place() { self.from } else { self.to }
    }

    fn run(
        &self,
        number: usize,
        backends: &[Backend],
        memory: &mut Memory,
        scratch: &mut Vec<f64>,
    ) {
        let rows = self.rows(memory);
        match &self.action {
            Action::Fill(source, seed) => {
                let to = self.to.part(memory.matrices[0].len(), rows.elements());
                let values = source.values(rows.elements(), *seed);
                memory.matrices[self.to.matrix()][to].copy_from_slice(&values);
                return;
            }
            Action::Parameters { gamma, beta } => {
                memory.gamma = gamma.values(memory.gamma.len(), 1);
                memory.beta = beta.values(memory.beta.len(), 2);
                return;
            }
            Action::Backward { .. } if memory.dropout.is_none() => return,
            _ => {}
        }
        let backend = backends[usize::from(self.way.backend) % backends.len()];
        let columns = with_place!(ColumnMoments::new(), backend, self.way);
        let needed = columns.scratch_len(rows);
        scratch.resize(scratch.len().max(needed), f64::NAN);
        let right = self.right_sizes(rows, needed, memory);
        let sizes = self.sizes(right, memory, scratch.len());
        let what = format_args!(
            "step {number}, {:?}, {backend}, {}x{}, {:?}, {sizes:?}",
            self.action,
            rows.rows(),
            rows.cols(),
            self.way
        );

        let mut expected = memory.clone();
        let scratch = &mut scratch[..sizes.scratch];
        let mut call = || self.call(backend, rows, sizes, memory, scratch);
        let result = if self.way.in_pool { pool().install(call) } else { call() };
        let valid = self.is_valid(rows, right, sizes, &expected);
        // Whether a running variance leaves f32 is for `batch_norm` to check.
        let overflows = matches!(result, Err(Error::StatisticOverflow { .. }));
        assert_eq!(result.is_ok() || overflows, valid, "{what}: {result:?}");
        let valid = valid && !overflows;
        if valid && rows.elements() > 0 {
            self.check(rows, &expected, memory, what);
        }
        if valid {
            self.plainly(backends[0], rows, &mut expected);
        }
        expected.assert_same(memory, what);
        if let (true, Action::Dropout { p, packed, .. }) = (valid, &self.action) {
            let stream = self.stream();
            let (p, len, packed) = (p.value(0.5), rows.elements(), *packed);
            memory.dropout = Some(Dropped { p, stream, len, packed });
        }
    }

    /// Elements of a dropout's stream. Ranges of many steps overlap.
    fn stream(&self) -> Stream {
        match self.action {
            Action::Dropout { seed, offset, .. } => Stream { seed, offset: offset.into() },
            _ => Stream { seed: 0, offset: 0 },
        }
    }

    /// Rows or columns of which there are statistics.
    fn lines(&self) -> Lines {
        match self.action {
            Action::Statistics { lines, .. } | Action::NormalizeScaleShift { lines } => lines,
            Action::RowNorm { .. } => Lines::Rows,
            _ => Lines::Columns,
        }
    }

    fn right_sizes(&self, rows: Rows, scratch: usize, memory: &Memory) -> Sizes {
        let (elements, cols) = (rows.elements(), rows.cols());
        let lines = if self.lines() == Lines::Rows { rows.rows() } else { cols };
        let packed = match (&self.action, memory.dropout) {
            (Action::Dropout { packed, .. }, _) => *packed,
            (_, dropout) => dropout.is_some_and(|dropout| dropout.packed),
        };
        Sizes {
            x: elements,
            y: elements,
            gamma: cols,
            beta: cols,
            mean: lines,
            rstd: lines,
            running_mean: cols,
            running_var: cols,
            mask: mask_len(elements, packed),
            scratch,
        }
    }

    fn sizes(&self, right: Sizes, memory: &Memory, scratch: usize) -> Sizes {
        let Sizes { x, y, gamma, beta, mean, rstd, running_mean, running_var, mask, .. } = right;
        let right = [x, y, gamma, beta, mean, rstd, running_mean, running_var, mask, right.scratch];
        let wrong = lengths(right, self.wrong);
        let [mut x, y, gamma, beta, mean, rstd, running_mean, running_var, mask, own] = wrong;
        if matches!(self.action, Action::Dropout { .. } | Action::Backward { .. }) {
            // What the others have to fit.
            x = right[0];
        }
        let (elements, lines) = (memory.matrices[0].len(), memory.mean.len());
        Sizes {
            x: x.min(elements),
            y: y.min(elements),
            gamma: gamma.min(lines),
            beta: beta.min(lines),
            mean: mean.min(lines),
            rstd: rstd.min(lines),
            running_mean: running_mean.min(lines),
            running_var: running_var.min(lines),
            mask: mask.min(memory.mask.len()),
            scratch: own.min(scratch),
        }
    }

    fn is_valid(&self, rows: Rows, right: Sizes, sizes: Sizes, memory: &Memory) -> bool {
        let io = sizes.x == right.x && (self.in_place() || sizes.y == right.y);
        let affine = (!self.has_gamma || sizes.gamma == right.gamma)
            && (!self.has_beta || sizes.beta == right.beta);
        let (mean, rstd) = (sizes.mean == right.mean, sizes.rstd == right.rstd);
        let scratch = self.way.own_scratch || sizes.scratch >= right.scratch;
        let running = sizes.running_mean == right.running_mean
            && sizes.running_var == right.running_var
            && memory.running_var[..sizes.running_var].iter().all(|&var| !(var < 0.0));
        match self.action {
            Action::Fill(..) | Action::Parameters { .. } => true,
            Action::Statistics { lines: Lines::Rows, .. } => sizes.x == right.x && mean,
            Action::Statistics { lines: Lines::Columns, .. } => {
                sizes.x == right.x && mean && scratch
            }
            Action::RowNorm { operation, eps } => {
                let mean = mean || operation == RowNorm::RmsNorm;
                io && affine && mean && rstd && eps_is_valid(eps.value(1e-5))
            }
            Action::NormalizeScaleShift { .. } => io && affine && mean && rstd,
            Action::Train { eps, momentum, unbiased, has_running } => {
                io && affine
                    && mean
                    && rstd
                    && (!has_running
                        || running && !(unbiased && rows.rows() == 1 && rows.cols() > 0))
                    && scratch
                    && eps_is_valid(eps.value(1e-5))
                    && momentum.is_valid()
            }
            Action::Infer { eps } => io && affine && running && eps_is_valid(eps.value(1e-5)),
            Action::Dropout { p, .. } => {
                io && sizes.mask == right.mask && (0.0..=1.0).contains(&p.value(0.5))
            }
            Action::Backward { again } => io && (again || sizes.mask == right.mask),
        }
    }

    /// What the step calls.
    fn call(
        &self,
        backend: Backend,
        rows: Rows,
        sizes: Sizes,
        memory: &mut Memory,
        scratch: &mut [f64],
    ) -> Result<(), Error> {
        let way = self.way;
        let Memory { matrices, gamma, beta, mean, rstd, running_mean, running_var, mask, .. } =
            memory;
        let gamma = self.has_gamma.then(|| &gamma[..sizes.gamma]);
        let beta = self.has_beta.then(|| &beta[..sizes.beta]);
        let x_part = self.from.part(matrices[0].len(), sizes.x);
        if let Action::Statistics { lines, eps } = self.action {
            let x = &matrices[self.from.matrix()][x_part];
            let mut moments = vec![Moments::new(); sizes.mean];
            let mut args = MomentArgs::new();
            if let Some(host) = &way.host {
                args = args.pool(host);
            }
            match lines {
                Lines::Rows => {
                    let operation = with_place!(RowMoments::new(), backend, way);
                    operation.compute(x, rows, &mut moments, args)?;
                }
                Lines::Columns => {
                    if !way.own_scratch {
                        args = args.scratch(scratch);
                    }
                    let operation = with_place!(ColumnMoments::new(), backend, way);
                    operation.compute(x, rows, &mut moments, args)?;
                }
            }
            keep(&moments, eps, mean, rstd);
            return Ok(());
        }
        let (mean, rstd) = (&mut mean[..sizes.mean], &mut rstd[..sizes.rstd]);
        let (running_mean, running_var) =
            (&mut running_mean[..sizes.running_mean], &mut running_var[..sizes.running_var]);
        let mask = &mut mask[..sizes.mask];

        let io = if self.in_place() {
            InOut::in_place(&mut matrices[self.from.matrix()][x_part])
        } else {
            let y_part = self.to.part(matrices[0].len(), sizes.y);
            let [x, y] = matrices
                .get_disjoint_mut([self.from.matrix(), self.to.matrix()])
                .expect("two matrices");
            let (x, y) = (&x[x_part], &mut y[y_part]);
            if way.uninit { InOut::uninit(x, uninit(y)) } else { InOut::new(x, y) }
        };
        let mut args = NormArgs::new().maybe_gamma(gamma).maybe_beta(beta);
        if let Some(host) = &way.host {
            args = args.pool(host);
        }
        let written = match self.action {
            Action::RowNorm { operation: RowNorm::LayerNorm, eps } => {
                let operation = LayerNorm::new().with_eps(eps.value(1e-5));
                let operation = with_way!(operation, backend, way);
                operation.forward(io, rows, args.stats(mean, rstd))
            }
            Action::RowNorm { operation: RowNorm::RmsNorm, eps } => {
                let operation = RmsNorm::new().with_eps(eps.value(1e-5));
                with_way!(operation, backend, way).forward(io, rows, args.rstd(rstd))
            }
            Action::NormalizeScaleShift { lines } => {
                let statistics = of_lines(lines, mean, rstd);
                let operation = with_way!(NormalizeScaleShift::new(), backend, way);
                operation.forward(io, rows, statistics, args)
            }
            Action::Train { eps, momentum, unbiased, has_running } => {
                let operation = BatchNorm::new().with_eps(eps.value(1e-5));
                let operation = momentum.set(operation).with_unbiased_running_var(unbiased);
                let operation = with_way!(operation, backend, way);
                let mut args = TrainArgs::new().maybe_gamma(gamma).maybe_beta(beta);
                args = args.stats(mean, rstd);
                if has_running {
                    args = args.running(running_mean, running_var);
                }
                if !way.own_scratch {
                    args = args.scratch(scratch);
                }
                if let Some(host) = &way.host {
                    args = args.pool(host);
                }
                operation.forward_training(io, rows, args)
            }
            Action::Infer { eps } => {
                let operation = BatchNorm::new().with_eps(eps.value(1e-5));
                let operation = with_way!(operation, backend, way);
                operation.forward_inference(io, rows, running_mean, running_var, args)
            }
            Action::Dropout { p, packed, .. } => {
                let operation = Dropout::new().with_p(p.value(0.5));
                let mut args = DropoutArgs::draw(self.stream()).keep_mask(mask_mut(mask, packed));
                if let Some(host) = &way.host {
                    args = args.pool(host);
                }
                with_way!(operation, backend, way).forward(io, args)
            }
            Action::Backward { again } => {
                let Dropped { p, stream, packed, .. } = memory.dropout.expect("a dropout before");
                let dropout = Dropout::new().with_p(p);
                // A given mask takes the scale that it was drawn with where p is the realised one.
                let p = if again { p } else { dropout.realised_p()? };
                let operation = with_way!(dropout.with_p(p), backend, way);
                let mask = if packed { Mask::Packed(mask) } else { Mask::Bytes(mask) };
                let mut args =
                    if again { DropoutArgs::draw(stream) } else { DropoutArgs::given(mask) };
                if let Some(host) = &way.host {
                    args = args.pool(host);
                }
                operation.backward(io, args)
            }
            Action::Fill(..) | Action::Parameters { .. } | Action::Statistics { .. } => {
                unreachable!("done before")
            }
        };
        written.map(drop)
    }

    /// Asserts that what the step made of the memory is within the bounds of the reference.
    fn check(&self, rows: Rows, before: &Memory, after: &Memory, what: Arguments<'_>) {
        let cols = rows.cols();
        let part = |memory: &Memory, place: Place| {
            let part = place.part(memory.matrices[0].len(), rows.elements());
            memory.matrices[place.matrix()][part].to_vec()
        };
        let (x, y) = (part(before, self.from), part(after, self.to()));
        let affine = self.affine(before, cols);
        match self.action {
            Action::RowNorm { operation, eps } => {
                for (r, (x, y)) in lines(&x, rows).zip(lines(&y, rows)).enumerate() {
                    let what = format_args!("{what}, row {r}");
                    let exact = ExactRow::of(operation, x, eps.value(1e-5));
                    exact.check_output(x, y, &affine, what);
                    exact.check_statistics(after.mean[r], after.rstd[r], what);
                }
            }
            Action::Statistics { lines: Lines::Rows, eps } => {
                for (r, x) in lines(&x, rows).enumerate() {
                    check_kept(&Exact::of(x), eps, after.mean[r], after.rstd[r], what);
                }
            }
            Action::Statistics { lines: Lines::Columns, eps } => {
                for c in 0..cols {
                    let exact = Exact::of(&reference::column(&x, cols, c));
                    check_kept(&exact, eps, after.mean[c], after.rstd[c], what);
                }
            }
            Action::NormalizeScaleShift { lines } => {
                for i in 0..x.len() {
                    let line = if lines == Lines::Rows { i / cols } else { i % cols };
                    let statistics = (before.mean[line], before.rstd[line]);
                    let what = format_args!("{what}, element {i}");
                    check_given(x[i], y[i], statistics, affine.at(i % cols), lines, what);
                }
            }
            Action::Train { eps, momentum, unbiased, has_running } => {
                let rule = Rule { momentum, unbiased, rows: rows.rows() };
                for c in 0..cols {
                    let what = format_args!("{what}, column {c}");
                    let column = |all: &[f32]| reference::column(all, cols, c);
                    let (x, y) = (&column(&x), &column(&y));
                    let exact = Exact::of(x);
                    let trained = Trained { x, y, mean: after.mean[c], rstd: after.rstd[c] };
                    trained.check(&exact, eps.value(1e-5), affine.at(c), what);
                    if has_running {
                        let of = |memory: &Memory| (memory.running_mean[c], memory.running_var[c]);
                        rule.check(&exact, of(before), of(after), what);
                    }
                }
            }
            Action::Infer { eps } => {
                for i in 0..x.len() {
                    let (c, eps) = (i % cols, eps.value(1e-5));
                    let running = (before.running_mean[c], before.running_var[c], eps);
                    let what = format_args!("{what}, element {i}");
                    check_inferred(x[i], y[i], running, affine.at(c), what);
                }
            }
            // The plain way is their definition.
            Action::Dropout { .. } | Action::Backward { .. } => {}
            Action::Fill(..) | Action::Parameters { .. } => {}
        }
    }

    fn affine(&self, memory: &Memory, cols: usize) -> Affine {
        Affine::of(
            self.has_gamma.then(|| &memory.gamma[..cols]),
            self.has_beta.then(|| &memory.beta[..cols]),
        )
    }

    /// Does the step in a plain way.
    fn plainly(&self, backend: Backend, rows: Rows, memory: &mut Memory) {
        const VALID: &str = "what was accepted";
        let affine = self.affine(memory, rows.cols());
        let (gamma, beta) = (affine.gamma(), affine.beta());
        let all = memory.matrices[0].len();
        let x = memory.matrices[self.from.matrix()][self.from.part(all, rows.elements())].to_vec();
        let mut y = vec![0.0; x.len()];
        let io = InOut::new(&x, &mut y);
        let args = NormArgs::new().maybe_gamma(gamma).maybe_beta(beta);
        let given = plain!(NormalizeScaleShift::new(), backend);
        let lines = self.lines();
        let count = if lines == Lines::Rows { rows.rows() } else { rows.cols() };
        let (mean, rstd) = (&mut memory.mean[..count], &mut memory.rstd[..count]);
        let mut moments = vec![Moments::new(); count];
        let mut statistics = || {
            let none = MomentArgs::new();
            match lines {
                Lines::Rows => {
                    plain!(RowMoments::new(), backend).compute(&x, rows, &mut moments, none)
                }
                Lines::Columns => {
                    plain!(ColumnMoments::new(), backend).compute(&x, rows, &mut moments, none)
                }
            }
            .expect(VALID);
            moments.clone()
        };
        match self.action {
            Action::Statistics { eps, .. } => {
                return keep(&statistics(), eps, mean, rstd);
            }
            Action::RowNorm { operation: RowNorm::LayerNorm, eps } => {
                keep(&statistics(), eps, mean, rstd);
                given.forward(io, rows, of_lines(lines, mean, rstd), args).expect(VALID);
            }
            Action::RowNorm { operation: RowNorm::RmsNorm, eps } => {
                plain!(RmsNorm::new().with_eps(eps.value(1e-5)), backend)
                    .forward(io, rows, args.rstd(rstd))
                    .expect(VALID);
            }
            Action::NormalizeScaleShift { lines } => {
                given.forward(io, rows, of_lines(lines, mean, rstd), args).expect(VALID);
            }
            Action::Train { eps, momentum, unbiased, has_running } => {
                let moments = statistics();
                keep(&moments, eps, mean, rstd);
                given.forward(io, rows, of_lines(lines, mean, rstd), args).expect(VALID);
                let updated = has_running && rows.rows() > 0;
                for (c, moments) in moments.iter().enumerate().filter(|_| updated) {
                    let n = rows.rows() as f64;
                    let var = moments.m2 / if unbiased { n - 1.0 } else { n };
                    momentum.apply(&mut memory.running_mean[c], moments.mean);
                    momentum.apply(&mut memory.running_var[c], var);
                }
            }
            Action::Infer { eps } => {
                let (mean, var) = (&memory.running_mean, &memory.running_var);
                let (mean, var) = (&mean[..rows.cols()], &var[..rows.cols()]);
                let operation = BatchNorm::new().with_eps(eps.value(1e-5));
                plain!(operation, backend)
                    .forward_inference(io, rows, mean, var, args)
                    .expect(VALID);
            }
            Action::Dropout { p, packed, .. } => {
                let kept = defined_mask(p.value(0.5), self.stream(), x.len());
                let stored = store_mask(&kept, packed);
                memory.mask[..stored.len()].copy_from_slice(&stored);
                drop_out(&x, &kept, p.value(0.5), &mut y);
            }
            Action::Backward { .. } => {
                let Dropped { p, stream, len, packed } = memory.dropout.expect("one before");
                let kept = defined_mask(p, stream, len);
                let as_kept = |i: usize| is_kept(&memory.mask, packed, i) == kept[i];
                assert!((0..len).all(as_kept), "the mask that was kept is not the one drawn");
                drop_out(&x, &kept, p, &mut y);
            }
            Action::Fill(..) | Action::Parameters { .. } => unreachable!("done before"),
        }
        let to = self.to();
        memory.matrices[to.matrix()][to.part(all, y.len())].copy_from_slice(&y);
    }
}

/// Keeps statistics of lines. Those of nothing are 0.
fn keep(moments: &[Moments], eps: Parameter, mean: &mut [f64], rstd: &mut [f64]) {
    for (i, moments) in moments.iter().enumerate() {
        mean[i] = moments.mean;
        rstd[i] = match moments.count {
            0 => 0.0,
            count => reference::rstd(moments.m2 / count as f64, eps.value(1e-5)),
        };
    }
}

/// Statistics that a step left.
fn of_lines<'a>(lines: Lines, mean: &'a [f64], rstd: &'a [f64]) -> Statistics<'a> {
    match lines {
        Lines::Rows => Statistics::of_rows(mean, rstd),
        Lines::Columns => Statistics::of_columns(mean, rstd),
    }
}

/// Asserts that kept statistics are right.
fn check_kept(exact: &Exact, eps: Parameter, mean: f64, rstd: f64, what: Arguments<'_>) {
    exact.check_mean(mean, what);
    if eps_is_valid(eps.value(1e-5)) {
        check_rstd(rstd, reference::rstd(exact.var, eps.value(1e-5)), exact.finite, what);
    }
}

fn mask_mut(mask: &mut [u8], packed: bool) -> MaskMut<'_> {
    if packed { MaskMut::Packed(mask) } else { MaskMut::Bytes(mask) }
}

/// Dropout by its definition.
fn drop_out(x: &[f32], kept: &[bool], p: f64, y: &mut [f32]) {
    let scale = Dropout::new().with_p(p).scale().expect("a probability");
    for (i, y) in y.iter_mut().enumerate() {
        *y = dropped_out(x[i], kept[i], p, scale);
    }
}
