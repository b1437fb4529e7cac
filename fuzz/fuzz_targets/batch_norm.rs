//! `BatchNorm`: training, inference and running statistics; `NormalizeScaleShift` of columns.
#![forbid(unsafe_code)]
#![no_main]

use std::fmt::Arguments;

use arbitrary::Arbitrary;
use evenkeel::{Backend, BatchNorm, Error, Rows, RunningStatistics, reference};
use evenkeel_fuzz::given::{self, Given};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input {
    Training(Training),
    Inference(Inference),
    NormalizeScaleShift(Given),
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
    shifts: [u8; 9],
    wrong: Wrong,
    more_scratch: u8,
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
    shifts: [u8; 6],
    wrong: Wrong,
}

/// Running statistics: unless they are of the data, of anything.
#[derive(Arbitrary, Debug)]
struct Running {
    of_data: bool,
    mean: Source,
    var: Source,
    /// A negative variance is refused.
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
        Input::NormalizeScaleShift(given) => given::check(&given, Lines::Columns),
    }
});

/// The rule of the running statistics.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Momentum {
    Keep(Parameter),
    Take(Parameter),
    Cumulative(u64),
    CumulativeFew(u8),
}

impl Momentum {
    fn set(self, operation: BatchNorm) -> BatchNorm {
        match self {
            Self::Keep(momentum) => operation.with_momentum(momentum.value(0.9)),
            Self::Take(momentum) => operation.with_pytorch_momentum(momentum.value(0.1)),
            Self::Cumulative(batches) => operation.with_cumulative_average(batches),
            Self::CumulativeFew(batches) => operation.with_cumulative_average(batches.into()),
        }
    }

    fn is_valid(self) -> bool {
        match self {
            Self::Keep(momentum) => (0.0..=1.0).contains(&momentum.value(0.9)),
            Self::Take(momentum) => (0.0..=1.0).contains(&momentum.value(0.1)),
            Self::Cumulative(_) | Self::CumulativeFew(_) => true,
        }
    }

    /// What the running and the batch's statistic are multiplied by.
    fn weights(self) -> (f64, f64) {
        match self {
            Self::Keep(momentum) => (momentum.value(0.9), 1.0 - momentum.value(0.9)),
            Self::Take(momentum) => (1.0 - momentum.value(0.1), momentum.value(0.1)),
            Self::Cumulative(batches) => {
                let weight = 1.0 / (batches as f64 + 1.0);
                (1.0 - weight, weight)
            }
            Self::CumulativeFew(batches) => Self::Cumulative(batches.into()).weights(),
        }
    }
}

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
}

const METHODS: [Method; 5] = [
    Method { io: Io::TwoBuffers, given_scratch: false },
    Method { io: Io::TwoBuffers, given_scratch: true },
    Method { io: Io::InPlace, given_scratch: false },
    Method { io: Io::InPlace, given_scratch: true },
    Method { io: Io::Uninit, given_scratch: true },
];

fn train(
    operation: BatchNorm,
    method: Method,
    rows: Rows,
    buffers: &mut Buffers,
) -> Result<(), Error> {
    let Buffers { x, y, gamma, beta, mean, rstd, running, scratch } = buffers;
    let (gamma, beta) = (gamma.as_deref(), beta.as_deref());
    let running = running.as_mut().map(|(mean, var)| RunningStatistics { mean, var });
    match (method.io, method.given_scratch) {
        (Io::TwoBuffers, false) => {
            operation.forward_training(x, gamma, beta, rows, y, mean, rstd, running)
        }
        (Io::TwoBuffers, true) => operation
            .forward_training_with_scratch(x, gamma, beta, rows, y, mean, rstd, running, scratch),
        (Io::InPlace, false) => {
            operation.forward_training_in_place(x, gamma, beta, rows, mean, rstd, running)
        }
        (Io::InPlace, true) => operation.forward_training_in_place_with_scratch(
            x, gamma, beta, rows, mean, rstd, running, scratch,
        ),
        (Io::Uninit, _) => operation
            .forward_training_uninit(x, gamma, beta, rows, uninit(y), mean, rstd, running, scratch)
            .map(drop),
    }
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

        let mut outputs = Expected::new();
        for backend in Backend::available() {
            let operation = BatchNorm::new()
                .with_eps(eps)
                .with_unbiased_running_var(self.unbiased)
                .with_backend(backend)
                .with_parallelism(self.threads.into());
            let operation = self.momentum.set(operation);
            let scratch = operation.scratch_len(rows);
            let right = [x.len(), x.len(), cols, cols, cols, cols, cols, cols, scratch];
            let lengths = lengths(right, self.wrong);
            let fits = |i: usize| lengths[i] == right[i];
            let more = if fits(8) { usize::from(self.more_scratch) } else { 0 };
            let methods = if self.thorough.is(backend) { &METHODS[..] } else { &METHODS[1..2] };
            for &method in methods {
                let Method { io, given_scratch } = method;
                let what = format_args!(
                    "BatchNorm, {method:?}, {backend}, {count}x{cols}, eps {eps:e}, {:?}",
                    self.momentum
                );
                let shifts = self.shifts;
                let values = |values: &[f32], i: usize| Buffer::of(values, lengths[i], shifts[i]);
                let mut buffers = Buffers {
                    x: values(&x, 0),
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
                let running_fits = fits(6) && fits(7) && !(self.unbiased && count == 1);
                let valid = fits(0)
                    && (io == Io::InPlace || fits(1))
                    && (affine.gamma().is_none() || fits(2))
                    && (affine.beta().is_none() || fits(3))
                    && fits(4)
                    && fits(5)
                    && (running.is_none() || running_fits)
                    && !buffers.running.as_ref().is_some_and(is_negative)
                    && (!given_scratch || lengths[8] >= right[8])
                    && eps_is_valid(eps)
                    && self.momentum.is_valid();
                let before = (raw_bits(&buffers.x), buffers.running_bits());
                let result = train(operation, method, rows, &mut buffers);
                assert_eq!(result.is_ok(), valid, "{what}: {result:?}");

                let after = (raw_bits(&buffers.x), buffers.running_bits());
                let Buffers { x: x_after, y, mean, rstd, running: running_after, scratch, .. } =
                    &buffers;
                let writes = valid && !x.is_empty();
                assert!(y.is_untouched() || writes && io != Io::InPlace, "{what}: y");
                assert!(after.0 == before.0 || writes && io == Io::InPlace, "{what}: x");
                assert!(after.1 == before.1 || writes, "{what}: running statistics");
                assert!(mean.is_untouched() || writes, "{what}: mean");
                assert!(rstd.is_untouched() || writes, "{what}: rstd");
                assert!(scratch.is_untouched() || writes && given_scratch, "{what}: scratch");
                if !writes {
                    continue;
                }

                let y: &[f32] = if io == Io::InPlace { x_after } else { y };
                let mut written = Written::default().f32(y).f64(mean).f64(rstd);
                if let Some((mean, var)) = running_after {
                    written = written.f32(mean).f32(var);
                }
                outputs.check(backend, written, what, || {
                    for (c, exact) in exact.iter().enumerate() {
                        let what = format_args!("{what}, column {c}");
                        exact.check_mean(mean[c], what);
                        let exact_rstd = reference::rstd(exact.var, eps);
                        check_rstd(rstd[c], exact_rstd, exact.finite, what);
                        let columns = x.iter().zip(y).skip(c).step_by(cols);
                        for (r, (&x, &y)) in columns.enumerate() {
                            let what = format_args!("{what}, row {r}");
                            if !exact.finite {
                                assert!(y.is_nan(), "{what}: expected NaN, got {y:e}");
                                continue;
                            }
                            let x_hat = (f64::from(x) - exact.mean) * exact_rstd;
                            check_output(y, x_hat, affine.at(c), what);
                            if exact.var == 0.0 {
                                check_constant(y, affine.at(c), what);
                            }
                        }
                        if let (Some(before), Some(after)) = (&running, running_after) {
                            let before = (before.0[c], before.1[c]);
                            self.check_running(
                                exact,
                                count,
                                before,
                                (after.0[c], after.1[c]),
                                what,
                            );
                        }
                    }
                });
                if self.thorough.is(backend) && io == Io::TwoBuffers {
                    let columns = (0..cols).step_by(cols / 16 + 1);
                    columns.for_each(|c| self.check_column_alone(operation, c, rows, &buffers));
                }
            }
        }
    }

    fn check_running(
        &self,
        exact: &Exact,
        count: usize,
        (mean, var): (f32, f32),
        (mean_after, var_after): (f32, f32),
        what: Arguments<'_>,
    ) {
        if !exact.finite {
            let both = mean_after.is_nan() && var_after.is_nan();
            assert!(both, "{what}: running statistics: {mean_after:e}, {var_after:e}");
            return;
        }
        let is_variance = var_after >= 0.0 || var_after.is_nan();
        assert!(is_variance, "{what}: negative running variance {var_after:e}");
        let n = count as f64;
        let batch_var = if self.unbiased { exact.var * n / (n - 1.0) } else { exact.var };
        let mean_error = VARIANCE * exact.var.sqrt() + MEAN_ROUNDING * exact.mean.abs();
        let (keep, take) = self.momentum.weights();
        let check = |before: f32, batch: f64, error: f64, after: f32| {
            let before = f64::from(before);
            let next = keep * before + take * batch;
            let in_f64 = MEAN_ROUNDING * (before.abs() + batch.abs());
            let rounding = 0.5 * f64::from(f32::EPSILON) * next.abs() + SUBNORMAL;
            // 1.000_001, since what is rounded is not `next` itself.
            let bound = take * error + in_f64 + 1.000_001 * rounding;
            if next.abs() <= LARGEST {
                assert_within(Bound::Running, after.into(), next, bound, what);
            }
        };
        check(mean, exact.mean, mean_error, mean_after);
        check(var, batch_var, VARIANCE * batch_var, var_after);
    }

    /// A column is what it is among copies of itself, whatever the others hold.
    fn check_column_alone(&self, operation: BatchNorm, c: usize, rows: Rows, all: &Buffers) {
        let cols = rows.cols();
        let mut buffers = all.column(cols, c, cols);
        let method = Method { io: Io::TwoBuffers, given_scratch: false };
        train(operation, method, rows, &mut buffers).expect("a column of what was accepted");
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
    rows: Rows,
    (mean, var): (&[f32], &[f32]),
    buffers: &mut Buffers,
) -> Result<(), Error> {
    let Buffers { x, y, gamma, beta, .. } = buffers;
    let (gamma, beta) = (gamma.as_deref(), beta.as_deref());
    match io {
        Io::TwoBuffers => operation.forward_inference(x, mean, var, gamma, beta, rows, y),
        Io::InPlace => operation.forward_inference_in_place(x, mean, var, gamma, beta, rows),
        Io::Uninit => {
            operation.forward_inference_uninit(x, mean, var, gamma, beta, rows, uninit(y)).map(drop)
        }
    }
}

impl Inference {
    fn check(&self) {
        let (x, rows) = self.matrix.make(Lines::Columns);
        let (count, cols) = (rows.rows(), rows.cols());
        let eps = self.eps.value(1e-5);
        let affine = Affine::new(&self.gamma, &self.beta, cols);
        let (mean, var) = self.running.make(&x, rows);

        let right = [x.len(), x.len(), cols, cols, cols, cols];
        let lengths = lengths(right, self.wrong);
        let fits = |i: usize| lengths[i] == right[i];
        let mut outputs = Expected::new();
        for backend in Backend::available() {
            let operation = BatchNorm::new()
                .with_eps(eps)
                .with_backend(backend)
                .with_parallelism(self.threads.into());
            let methods = if self.thorough.is(backend) { &Io::ALL[..] } else { &Io::ALL[..1] };
            for &io in methods {
                let what =
                    format_args!("inference, {io:?}, {backend}, {count}x{cols}, eps {eps:e}");
                let shifts = self.shifts;
                let values = |values: &[f32], i: usize| Buffer::of(values, lengths[i], shifts[i]);
                let mut buffers = Buffers {
                    x: values(&x, 0),
                    y: Buffer::new(lengths[1], shifts[1]),
                    gamma: affine.gamma().map(|gamma| values(gamma, 2)),
                    beta: affine.beta().map(|beta| values(beta, 3)),
                    mean: Buffer::new(0, 0),
                    rstd: Buffer::new(0, 0),
                    running: None,
                    scratch: Buffer::new(0, 0),
                };
                let running = (values(&mean, 4), values(&var, 5));
                let valid = fits(0)
                    && (io == Io::InPlace || fits(1))
                    && (affine.gamma().is_none() || fits(2))
                    && (affine.beta().is_none() || fits(3))
                    && fits(4)
                    && fits(5)
                    && !var.iter().any(|&var| var < 0.0)
                    && eps_is_valid(eps);
                let before = raw_bits(&buffers.x);
                let result = infer(operation, io, rows, (&running.0, &running.1), &mut buffers);
                assert_eq!(result.is_ok(), valid, "{what}: {result:?}");
                let Buffers { x: x_after, y, .. } = &buffers;
                assert!(y.is_untouched() || valid && io != Io::InPlace, "{what}: y");
                let x_may_change = valid && io == Io::InPlace;
                assert!(x_may_change || raw_bits(x_after) == before, "{what}: x");
                if !valid {
                    continue;
                }
                let y: &[f32] = if io == Io::InPlace { x_after } else { y };
                outputs.check(backend, Written::default().f32(y), what, || {
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

/// A column is what it is without the others, whatever they hold.
fn check_inferred_alone(
    operation: BatchNorm,
    c: usize,
    rows: Rows,
    running: (&[f32], &[f32]),
    all: &Buffers,
) {
    let mut buffers = all.column(rows.cols(), c, 1);
    let shape = Rows::new(rows.rows(), 1).expect("a column");
    infer(operation, Io::TwoBuffers, shape, running, &mut buffers).expect("what was accepted");
    let together = reference::column(&all.y, rows.cols(), c);
    let what = format_args!("inference, {operation:?}, column {c} of {rows:?}, alone");
    Written::default().f32(&buffers.y).assert_same(&Written::default().f32(&together), what);
}

fn check_inferred(
    x: f32,
    y: f32,
    (mean, var, eps): (f32, f32, f64),
    affine: (Option<f32>, Option<f32>),
    what: Arguments<'_>,
) {
    let what = format_args!("{what}, x {x:e}, mean {mean:e}, var {var:e}, affine {affine:?}");
    if x.is_nan() || mean.is_nan() || var.is_nan() {
        assert!(y.is_nan(), "{what}: expected NaN, got {y:e}");
    } else if !x.is_finite() {
        assert!(!y.is_finite(), "{what}: expected NaN or infinity, got {y:e}");
    } else if mean.is_finite() && var.is_finite() {
        let rstd = reference::rstd(var.into(), eps);
        let x_hat = (f64::from(x) - f64::from(mean)) * rstd;
        check_output(y, x_hat, affine, what);
    }
}
