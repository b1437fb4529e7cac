//! `BatchNorm`: training, inference and running statistics.
#![forbid(unsafe_code)]
#![no_main]

use arbitrary::Arbitrary;
use evenkeel::{Backend, BatchNorm, Error, NormArgs, Rows, TrainArgs, reference};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input {
    Training(Training),
    Inference(Inference),
}

#[derive(Arbitrary, Debug)]
struct Training {
    matrix: Matrix,
    gamma: Option<Source>,
    beta: Option<Source>,
    eps: Parameter,
    momentum: Momentum,
    unbiased: bool,
    running: Option<Running>,
    thorough: Thorough,
    threads: Threads,
    stores: StoresAre,
    shifts: [u8; 9],
    wrong: Wrong,
    more_scratch: u8,
    /// Elements between rows of x and of y.
    between: [u8; 2],
}

#[derive(Arbitrary, Debug)]
struct Inference {
    matrix: Matrix,
    gamma: Option<Source>,
    beta: Option<Source>,
    eps: Parameter,
    running: Running,
    thorough: Thorough,
    threads: Threads,
    stores: StoresAre,
    shifts: [u8; 6],
    wrong: Wrong,
    /// Elements between rows of x and of y.
    between: [u8; 2],
}

/// Running statistics: unless they are of the data, of anything.
#[derive(Arbitrary, Debug)]
struct Running {
    of_data: bool,
    mean: Source,
    var: Source,
    /// A negative variance is an error.
    any_sign: u8,
}

impl Running {
    fn make(&self, x: &[f32], rows: Rows) -> (Vec<f32>, Vec<f32>) {
        let cols = rows.cols();
        if self.of_data && rows.rows() > 0 {
            let of_column = |c| reference::mean_variance(&reference::column(x, cols, c));
            return (0..cols).map(of_column).map(|(mean, var)| (mean as f32, var as f32)).unzip();
        }
        let mut var = self.var.values(cols, 4);
        if self.any_sign % 8 != 7 {
            var.iter_mut().for_each(|var| *var = var.abs());
        }
        (self.mean.values(cols, 3), var)
    }
}

fuzz_target!(|input: Continued<Input>| {
    match input.0 {
        Input::Training(training) => training.check(),
        Input::Inference(inference) => inference.check(),
    }
});

/// Everything that a call may read or write.
struct Buffers {
    x: Buffer<f32>,
    y: Buffer<f32>,
    gamma: Option<Buffer<f32>>,
    beta: Option<Buffer<f32>>,
    mean: Buffer<f64>,
    rstd: Buffer<f64>,
    running: Option<(Buffer<f32>, Buffer<f32>)>,
    scratch: Buffer<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Method {
    io: Io,
    given_scratch: bool,
    writes_statistics: bool,
}

/// On a backend that is not looked at thoroughly, the first one alone.
const METHODS: [Method; 8] = [
    Method { io: Io::TwoBuffers, given_scratch: true, writes_statistics: true },
    Method { io: Io::TwoBuffers, given_scratch: false, writes_statistics: true },
    Method { io: Io::InPlace, given_scratch: false, writes_statistics: true },
    Method { io: Io::InPlace, given_scratch: true, writes_statistics: false },
    Method { io: Io::Uninit, given_scratch: true, writes_statistics: true },
    Method { io: Io::Strided, given_scratch: true, writes_statistics: true },
    Method { io: Io::StridedInPlace, given_scratch: false, writes_statistics: true },
    Method { io: Io::StridedUninit, given_scratch: true, writes_statistics: false },
];

fn train(
    operation: BatchNorm,
    method: Method,
    (rows, pitches): (Rows, [usize; 2]),
    buffers: &mut Buffers,
) -> Result<(), Error> {
    let Buffers { x, y, gamma, beta, mean, rstd, running, scratch } = buffers;
    let mut args = TrainArgs::new().maybe_gamma(gamma.as_deref()).maybe_beta(beta.as_deref());
    if method.writes_statistics {
        args = args.stats(mean, rstd);
    }
    if let Some((mean, var)) = running {
        args = args.running(mean, var);
    }
    if method.given_scratch {
        args = args.scratch(scratch);
    }
    method.io.call(x, y, pitches, |io| operation.forward_training(io, rows, args))
}

impl Training {
    fn check(&self) {
        let (x, rows) = self.matrix.make(Lines::Columns);
        let (count, cols) = (rows.rows(), rows.cols());
        let eps = self.eps.value(1e-5);
        let affine = Affine::new(&self.gamma, &self.beta, cols);
        let running = self.running.as_ref().map(|running| running.make(&x, rows));
        let exact: Vec<Exact> =
            (0..cols).map(|c| Exact::of(&reference::column(&x, cols, c))).collect();

        let rule = Rule { momentum: self.momentum, unbiased: self.unbiased, rows: count };
        let pitches = pitches(rows, self.between);
        let (mut outputs, mut statistics) = (Expected::new(), Expected::new());
        for backend in Backend::available() {
            let operation = BatchNorm::new()
                .with_eps(eps)
                .with_unbiased_running_var(self.unbiased)
                .with_backend(backend)
                .with_parallelism(self.threads.into())
                .with_stores(self.stores.into());
            let operation = self.momentum.set(operation);
            let scratch = operation.scratch_len(rows);
            let methods = if self.thorough.is(backend) { &METHODS[..] } else { &METHODS[..1] };
            for &method in methods {
                let Method { io, given_scratch, writes_statistics } = method;
                let what = format_args!(
                    "BatchNorm, {method:?}, {backend}, {count}x{cols}, {pitches:?}, eps {eps:e}, {:?}",
                    self.momentum
                );
                let [of_x, of_y] = io.layouts(rows, pitches);
                let right =
                    [of_x.reach(), of_y.reach(), cols, cols, cols, cols, cols, cols, scratch];
                let lengths = lengths(right, self.wrong);
                let fits = |i: usize| lengths[i] == right[i];
                let more = if fits(8) { usize::from(self.more_scratch) } else { 0 };
                let shifts = self.shifts;
                let values = |values: &[f32], i: usize| Buffer::of(values, lengths[i], shifts[i]);
                let mut buffers = Buffers {
                    x: values(&of_x.spread(&x), 0),
                    y: Buffer::new(lengths[1], shifts[1]),
                    gamma: affine.gamma().map(|gamma| values(gamma, 2)),
                    beta: affine.beta().map(|beta| values(beta, 3)),
                    mean: Buffer::new(lengths[4], shifts[4]),
                    rstd: Buffer::new(lengths[5], shifts[5]),
                    running: running.as_ref().map(|(mean, var)| (values(mean, 6), values(var, 7))),
                    scratch: Buffer::new(lengths[8] + more, shifts[8]),
                };
                let is_negative =
                    |running: &(Buffer<f32>, Buffer<f32>)| running.1.iter().any(|&var| var < 0.0);
                let running_fits = fits(6) && fits(7) && !(self.unbiased && count == 1 && cols > 0);
                let valid = of_x.fits(lengths[0])
                    && (io.in_place() || of_y.fits(lengths[1]))
                    && (affine.gamma().is_none() || fits(2))
                    && (affine.beta().is_none() || fits(3))
                    && (!writes_statistics || fits(4) && fits(5))
                    && (running.is_none() || running_fits)
                    && !buffers.running.as_ref().is_some_and(is_negative)
                    && (!given_scratch || lengths[8] >= right[8])
                    && eps_is_valid(eps)
                    && self.momentum.is_valid();
                let (x_before, y_before) = (buffers.x.to_vec(), buffers.y.to_vec());
                let running_before = buffers.running_bits();
                let result = train(operation, method, (rows, pitches), &mut buffers);
                let running_is_as_before = running_before == buffers.running_bits();
                if let Err(Error::StatisticOverflow { got, .. }) = &result {
                    let Buffers { x, y, mean, rstd, .. } = &buffers;
                    let as_before =
                        raw_bits(x) == raw_bits(&x_before) && raw_bits(y) == raw_bits(&y_before);
                    let untouched = mean.is_untouched() && rstd.is_untouched();
                    assert!(as_before && untouched && running_is_as_before, "{what}: written");
                    assert!(valid && *got > f32::MAX.into(), "{what}: {got:e}");
                    continue;
                }
                assert_eq!(result.is_ok(), valid, "{what}: {result:?}");

                let Buffers { x: x_after, y, mean, rstd, running: running_after, scratch, .. } =
                    &buffers;
                let (x_both, y_both) = ([&x_before, &**x_after], [&y_before, &**y]);
                let y = io.written(valid, [of_x, of_y], x_both, y_both, what);
                let writes = valid && !x.is_empty();
                assert!(running_is_as_before || writes, "{what}: running statistics");
                assert!(mean.is_untouched() || valid && writes_statistics, "{what}: mean");
                assert!(rstd.is_untouched() || valid && writes_statistics, "{what}: rstd");
                assert!(scratch.is_untouched() || writes && given_scratch, "{what}: scratch");
                if valid && !writes && writes_statistics {
                    let are_zero = mean.iter().chain(rstd.iter()).all(|&number| number == 0.0);
                    assert!(are_zero, "{what}: statistics of nothing");
                }
                let Some(y) = y.filter(|_| writes) else { continue };

                let mut written = Written::default().f32(&y);
                if let Some((mean, var)) = running_after {
                    written = written.f32(mean).f32(var);
                }
                outputs.check(backend, written, what, || {
                    for (c, exact) in exact.iter().enumerate() {
                        let what = format_args!("{what}, column {c}");
                        let column = |all: &[f32]| reference::column(all, cols, c);
                        let (x, y) = (&column(&x), &column(&y));
                        let (mean, rstd) = if writes_statistics {
                            (mean[c], rstd[c])
                        } else {
                            (exact.mean, reference::rstd(exact.var, eps))
                        };
                        Trained { x, y, mean, rstd }.check(exact, eps, affine.at(c), what);
                        if let (Some(before), Some(after)) = (&running, running_after) {
                            let (before, after) =
                                ((before.0[c], before.1[c]), (after.0[c], after.1[c]));
                            rule.check(exact, before, after, what);
                        }
                    }
                });
                if writes_statistics {
                    let written = Written::default().f64(mean).f64(rstd);
                    statistics.check(backend, written, what, || {});
                }
                if self.thorough.is(backend) && io == Io::TwoBuffers {
                    let columns = (0..cols).step_by(cols / 16 + 1);
                    columns.for_each(|c| self.check_column_alone(operation, c, rows, &buffers));
                }
            }
        }
    }

    /// A column has the bits that it has among copies of itself, whatever the others hold.
    fn check_column_alone(&self, operation: BatchNorm, c: usize, rows: Rows, all: &Buffers) {
        let cols = rows.cols();
        let mut buffers = all.column(cols, c, cols);
        let contiguous = (rows, [cols; 2]);
        let result = train(operation, METHODS[1], contiguous, &mut buffers);
        if matches!(result, Err(Error::StatisticOverflow { .. })) {
            return;
        }
        result.expect("columns as they were");
        let Buffers { y, mean, rstd, .. } = &buffers;
        let y = reference::column(y, cols, 0);
        let alone = Written::default().f32(&y).f64(&mean[..1]).f64(&rstd[..1]);
        let column = reference::column(&all.y, cols, c);
        let (mean, rstd) = (&all.mean[c..=c], &all.rstd[c..=c]);
        let together = Written::default().f32(&column).f64(mean).f64(rstd);
        alone.assert_same(&together, format_args!("{operation:?}, column {c} of {rows:?}, copied"));
    }
}

impl Buffers {
    fn running_bits(&self) -> Option<(Vec<u32>, Vec<u32>)> {
        self.running.as_ref().map(|(mean, var)| (raw_bits(mean), raw_bits(var)))
    }

    /// So many copies of column c of x, gamma and beta.
    fn column(&self, cols: usize, c: usize, copies: usize) -> Self {
        let one = |values: &Option<Buffer<f32>>| {
            values.as_ref().map(|values| Buffer::of(&values[c..=c].repeat(copies), copies, 0))
        };
        let x: Vec<f32> = reference::column(&self.x, cols, c)
            .into_iter()
            .flat_map(|x| std::iter::repeat_n(x, copies))
            .collect();
        Self {
            x: Buffer::of(&x, x.len(), 0),
            y: Buffer::new(x.len(), 0),
            gamma: one(&self.gamma),
            beta: one(&self.beta),
            mean: Buffer::new(copies, 0),
            rstd: Buffer::new(copies, 0),
            running: None,
            scratch: Buffer::new(0, 0),
        }
    }
}

fn infer(
    operation: BatchNorm,
    io: Io,
    (rows, pitches): (Rows, [usize; 2]),
    (mean, var): (&[f32], &[f32]),
    buffers: &mut Buffers,
) -> Result<(), Error> {
    let Buffers { x, y, gamma, beta, .. } = buffers;
    let args = NormArgs::new().maybe_gamma(gamma.as_deref()).maybe_beta(beta.as_deref());
    io.call(x, y, pitches, |io| operation.forward_inference(io, rows, mean, var, args))
}

impl Inference {
    fn check(&self) {
        let (x, rows) = self.matrix.make(Lines::Columns);
        let (count, cols) = (rows.rows(), rows.cols());
        let eps = self.eps.value(1e-5);
        let affine = Affine::new(&self.gamma, &self.beta, cols);
        let (mean, var) = self.running.make(&x, rows);
        let pitches = pitches(rows, self.between);

        let mut outputs = Expected::new();
        for backend in Backend::available() {
            let operation = BatchNorm::new()
                .with_eps(eps)
                .with_backend(backend)
                .with_parallelism(self.threads.into())
                .with_stores(self.stores.into());
            let methods = if self.thorough.is(backend) { &Io::ALL[..] } else { &Io::ALL[..1] };
            for &io in methods {
                let what = format_args!(
                    "inference, {io:?}, {backend}, {count}x{cols}, {pitches:?}, eps {eps:e}"
                );
                let [of_x, of_y] = io.layouts(rows, pitches);
                let right = [of_x.reach(), of_y.reach(), cols, cols, cols, cols];
                let lengths = lengths(right, self.wrong);
                let fits = |i: usize| lengths[i] == right[i];
                let shifts = self.shifts;
                let values = |values: &[f32], i: usize| Buffer::of(values, lengths[i], shifts[i]);
                let mut buffers = Buffers {
                    x: values(&of_x.spread(&x), 0),
                    y: Buffer::new(lengths[1], shifts[1]),
                    gamma: affine.gamma().map(|gamma| values(gamma, 2)),
                    beta: affine.beta().map(|beta| values(beta, 3)),
                    mean: Buffer::new(0, 0),
                    rstd: Buffer::new(0, 0),
                    running: None,
                    scratch: Buffer::new(0, 0),
                };
                let running = (values(&mean, 4), values(&var, 5));
                let valid = of_x.fits(lengths[0])
                    && (io.in_place() || of_y.fits(lengths[1]))
                    && (affine.gamma().is_none() || fits(2))
                    && (affine.beta().is_none() || fits(3))
                    && fits(4)
                    && fits(5)
                    && !var.iter().any(|&var| var < 0.0)
                    && eps_is_valid(eps);
                let (x_before, y_before) = (buffers.x.to_vec(), buffers.y.to_vec());
                let (shape, given) = ((rows, pitches), (&*running.0, &*running.1));
                let result = infer(operation, io, shape, given, &mut buffers);
                assert_eq!(result.is_ok(), valid, "{what}: {result:?}");
                let (x_both, y_both) = ([&x_before, &*buffers.x], [&y_before, &*buffers.y]);
                let y = io.written(valid, [of_x, of_y], x_both, y_both, what);
                let Some(y) = y else { continue };
                outputs.check(backend, Written::default().f32(&y), what, || {
                    for i in 0..x.len() {
                        let c = i % cols;
                        let what = format_args!("{what}, element {i}");
                        check_inferred(x[i], y[i], (mean[c], var[c], eps), affine.at(c), what);
                    }
                });
                if self.thorough.is(backend) && io == Io::TwoBuffers && count > 0 {
                    for c in (0..cols).step_by(cols / 16 + 1) {
                        let running = (&mean[c..=c], &var[c..=c]);
                        check_inferred_alone(operation, c, rows, running, &buffers);
                    }
                }
            }
        }
    }
}

/// A column has the bits that it has alone, whatever the others hold.
fn check_inferred_alone(
    operation: BatchNorm,
    c: usize,
    rows: Rows,
    running: (&[f32], &[f32]),
    all: &Buffers,
) {
    let mut buffers = all.column(rows.cols(), c, 1);
    let shape = Rows::new(rows.rows(), 1).expect("a column");
    let contiguous = (shape, [1; 2]);
    infer(operation, Io::TwoBuffers, contiguous, running, &mut buffers).expect("what was accepted");
    let together = reference::column(&all.y, rows.cols(), c);
    let what = format_args!("inference, {operation:?}, column {c} of {rows:?}, alone");
    Written::default().f32(&buffers.y).assert_same(&Written::default().f32(&together), what);
}
