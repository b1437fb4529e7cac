//! `LayerNorm` and `RmsNorm`.
#![forbid(unsafe_code)]
#![no_main]

use arbitrary::Arbitrary;
use evenkeel::{
    Backend, Error, InOut, LayerNorm, MomentArgs, Moments, NormArgs, NormalizeScaleShift,
    Parallelism, RmsNorm, RowMoments, Rows, Statistics, Stores, reference,
};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input {
    LayerNorm(Norm),
    RmsNorm(Norm),
}

#[derive(Arbitrary, Debug)]
struct Norm {
    matrix: Matrix,
    gamma: Option<Source>,
    beta: Option<Source>,
    eps: Parameter,
    thorough: Thorough,
    threads: Threads,
    stores: StoresAre,
    shifts: [u8; 6],
    wrong: Wrong,
    stored: StoredAs,
}

fuzz_target!(|input: Continued<Input>| {
    match input.0 {
        Input::LayerNorm(norm) => norm.check(RowNorm::LayerNorm),
        Input::RmsNorm(norm) => norm.check(RowNorm::RmsNorm),
    }
});

#[derive(Clone, Copy, Debug)]
struct Method {
    io: Io,
    writes_statistics: bool,
}

/// How an operation is to run.
#[derive(Clone, Copy)]
struct Call {
    operation: RowNorm,
    backend: Backend,
    threads: Parallelism,
    stores: Stores,
    eps: f64,
    rows: Rows,
}

/// Everything that a call may read or write.
struct Buffers<X: Stored = f32, P: Stored = f32> {
    x: Buffer<X>,
    y: Buffer<X>,
    gamma: Option<Buffer<P>>,
    beta: Option<Buffer<P>>,
    mean: Buffer<f64>,
    rstd: Buffer<f64>,
}

impl Call {
    fn run<X: Stored, P: Stored>(
        &self,
        method: Method,
        buffers: &mut Buffers<X, P>,
    ) -> Result<(), Error> {
        let Self { backend, threads, stores, eps, rows, .. } = *self;
        let Buffers { x, y, gamma, beta, mean, rstd } = buffers;
        let args = NormArgs::new().maybe_gamma(gamma.as_deref()).maybe_beta(beta.as_deref());
        let args = match (method.writes_statistics, self.operation) {
            (false, _) => args,
            (true, RowNorm::LayerNorm) => args.stats(mean, rstd),
            (true, RowNorm::RmsNorm) => args.rstd(rstd),
        };
        method.io.call_contiguous(x, y, |io| match self.operation {
            RowNorm::LayerNorm => LayerNorm::new()
                .with_eps(eps)
                .with_backend(backend)
                .with_parallelism(threads)
                .with_stores(stores)
                .forward(io, rows, args),
            RowNorm::RmsNorm => RmsNorm::new()
                .with_eps(eps)
                .with_backend(backend)
                .with_parallelism(threads)
                .with_stores(stores)
                .forward(io, rows, args),
        })
    }
}

impl Norm {
    fn check(&self, operation: RowNorm) {
        let (x, rows) = self.matrix.make(Lines::Rows);
        let (count, cols) = (rows.rows(), rows.cols());
        let eps = self.eps.value(1e-5);
        let affine = Affine::new(&self.gamma, &self.beta, cols);
        let exact: Vec<ExactRow> =
            lines(&x, rows).map(|row| ExactRow::of(operation, row, eps)).collect();

        let right = [x.len(), x.len(), cols, cols, count, count];
        let lengths = lengths(right, self.wrong);
        let make = || {
            let shifts = self.shifts;
            let optional = |values: Option<&[f32]>, i: usize| {
                values.map(|values| Buffer::of(values, lengths[i], shifts[i]))
            };
            Buffers {
                x: Buffer::of(&x, lengths[0], shifts[0]),
                y: Buffer::new(lengths[1], shifts[1]),
                gamma: optional(affine.gamma(), 2),
                beta: optional(affine.beta(), 3),
                mean: Buffer::new(lengths[4], shifts[4]),
                rstd: Buffer::new(lengths[5], shifts[5]),
            }
        };
        let valid = |Method { io, writes_statistics }: Method| {
            let fits = |i: usize| lengths[i] == right[i];
            let mean_fits = operation == RowNorm::RmsNorm || fits(4);
            fits(0)
                && (io == Io::InPlace || fits(1))
                && (affine.gamma().is_none() || fits(2))
                && (affine.beta().is_none() || fits(3))
                && (!writes_statistics || mean_fits && fits(5))
                && eps_is_valid(eps)
        };

        let (mut outputs, mut statistics) = (Expected::new(), Expected::new());
        for backend in Backend::available() {
            let (threads, stores) = (self.threads.into(), self.stores.into());
            let call = Call { operation, backend, threads, stores, eps, rows };
            let mut alone = None;
            for (io, writes_statistics) in
                Io::CONTIGUOUS.into_iter().flat_map(|io| [(io, true), (io, false)])
            {
                let method = Method { io, writes_statistics };
                if alone.is_some() && !self.thorough.is(backend) {
                    break;
                }
                let what = format_args!(
                    "{operation:?}, {method:?}, {backend}, {count}x{cols}, eps {eps:e}"
                );
                let mut buffers = make();
                let before = raw_bits(&buffers.x);
                let result = call.run(method, &mut buffers);
                assert_eq!(result.is_ok(), valid(method), "{what}: {result:?}");

                let Buffers { x: x_after, y, mean, rstd, .. } = &buffers;
                let failed = result.is_err();
                let writes_mean = writes_statistics && operation == RowNorm::LayerNorm;
                assert!(mean.is_untouched() || !failed && writes_mean, "{what}: mean");
                assert!(rstd.is_untouched() || !failed && writes_statistics, "{what}: rstd");
                assert!(y.is_untouched() || !failed && io != Io::InPlace, "{what}: y");
                let x_may_change = !failed && io == Io::InPlace;
                assert!(x_may_change || raw_bits(x_after) == before, "{what}: x");
                if failed {
                    continue;
                }

                let y: &[f32] = if io == Io::InPlace { x_after } else { y };
                outputs.check(backend, Written::default().f32(y), what, || {
                    for ((row, exact), y) in lines(&x, rows).zip(&exact).zip(lines(y, rows)) {
                        exact.check_output(row, y, &affine, what);
                    }
                });
                if writes_statistics {
                    let written = Written::default().f64(mean).f64(rstd);
                    statistics.check(backend, written, what, || {
                        for (r, exact) in exact.iter().enumerate() {
                            let what = format_args!("{what}, row {r}");
                            // RmsNorm has no mean, and any length of it.
                            let mean = if writes_mean { mean[r] } else { 0.0 };
                            exact.check_statistics(mean, rstd[r], what);
                        }
                    });
                }
                alone = Some(y.to_vec());
            }
            if let (Some(y), true) = (alone, self.thorough.is(backend)) {
                call.check_rows_alone(&x, &affine, &y);
                if operation == RowNorm::LayerNorm && cols > 0 {
                    call.check_two_steps(&x, &affine, &y);
                }
            }
            for_stored!(self.stored, self.check_stored(call, &x, &affine));
        }
    }
}

impl Norm {
    /// Elements of another type give what f32 gives for their numbers, rounded once; and the same statistics.
    fn check_stored<T: Stored, P: Stored>(&self, call: Call, x: &[f32], affine: &Affine) {
        let methods =
            if self.thorough.is(call.backend) { &Io::CONTIGUOUS[..] } else { &[Io::InPlace] };
        for &io in methods {
            let method = Method { io, writes_statistics: true };
            let mut half = self.buffers::<T, P>(call, &narrowed(x), affine);
            let mut single =
                self.buffers::<f32, f32>(call, &rounded::<T>(x), &affine.rounded::<P>());
            let result = call.run(method, &mut half);
            let of_f32 = call.run(method, &mut single);
            assert_same_result(&result, &of_f32, format_args!("{method:?}"));
            let written = |y: &[f32], mean: &[f64], rstd: &[f64]| {
                Written::default().f32(y).f64(mean).f64(rstd)
            };
            let expected = if io.in_place() { &single.x } else { &single.y };
            let got = if io.in_place() { &half.x } else { &half.y };
            if result.is_ok() {
                let expected = written(&rounded::<T>(expected), &single.mean, &single.rstd);
                let got = written(&widened(got), &half.mean, &half.rstd);
                let Call { operation, backend, rows, eps, .. } = call;
                let what = format_args!(
                    "{operation:?}, {method:?}, {backend}, {rows:?}, eps {eps:e}, {:?}",
                    self.stored
                );
                expected.assert_same(&got, what);
            }
        }
    }

    /// Buffers of the right lengths.
    fn buffers<X: Stored, P: Stored>(&self, call: Call, x: &[X], affine: &Affine) -> Buffers<X, P> {
        let (shifts, count) = (self.shifts, call.rows.rows());
        let parameters = |values: Option<&[f32]>, i: usize| {
            values.map(|values| Buffer::of(&narrowed(values), values.len(), shifts[i]))
        };
        Buffers {
            x: Buffer::of(x, x.len(), shifts[0]),
            y: Buffer::new(x.len(), shifts[1]),
            gamma: parameters(affine.gamma(), 2),
            beta: parameters(affine.beta(), 3),
            mean: Buffer::new(count, shifts[4]),
            rstd: Buffer::new(count, shifts[5]),
        }
    }
}

impl Call {
    /// A row has the bits that it has alone, whatever the others hold.
    fn check_rows_alone(&self, x: &[f32], affine: &Affine, y: &[f32]) {
        let (count, cols) = (self.rows.rows(), self.rows.cols());
        let alone = Self { rows: Rows::new(1, cols).expect("a row"), ..*self };
        let method = Method { io: Io::TwoBuffers, writes_statistics: false };
        for r in (0..count).step_by(count / 16 + 1) {
            let row = r * cols..(r + 1) * cols;
            let mut buffers = Buffers {
                x: Buffer::of(&x[row.clone()], cols, 0),
                y: Buffer::new(cols, 0),
                gamma: affine.gamma().map(|gamma| Buffer::of(gamma, cols, 0)),
                beta: affine.beta().map(|beta| Buffer::of(beta, cols, 0)),
                mean: Buffer::new(0, 0),
                rstd: Buffer::new(0, 0),
            };
            alone.run(method, &mut buffers).expect("one row of what was accepted");
            let (expected, got) =
                (Written::default().f32(&buffers.y), Written::default().f32(&y[row]));
            let Self { operation, backend, .. } = self;
            let what = format_args!("{operation:?}, {backend}, row {r} of {count}x{cols}, alone");
            expected.assert_same(&got, what);
        }
    }

    /// `LayerNorm` is `RowMoments` and `NormalizeScaleShift`.
    fn check_two_steps(&self, x: &[f32], affine: &Affine, y: &[f32]) {
        let Self { backend, eps, rows, .. } = *self;
        let mut moments = vec![Moments::new(); rows.rows()];
        RowMoments::new()
            .with_backend(backend)
            .compute(x, rows, &mut moments, MomentArgs::new())
            .expect("valid");
        let rstd = |row: &Moments| reference::rstd(row.m2 / row.count as f64, eps);
        let rstd: Vec<f64> = moments.iter().map(rstd).collect();
        let mean: Vec<f64> = moments.iter().map(|row| row.mean).collect();
        let mut second = vec![f32::BEFORE; x.len()];
        let (io, statistics) = (InOut::new(x, &mut second), Statistics::of_rows(&mean, &rstd));
        let args = NormArgs::new().maybe_gamma(affine.gamma()).maybe_beta(affine.beta());
        NormalizeScaleShift::new()
            .with_backend(backend)
            .forward(io, rows, statistics, args)
            .expect("valid");
        let second = Written::default().f32(&second);
        Written::default().f32(y).assert_same(&second, format_args!("{backend}, in two steps"));
    }
}
