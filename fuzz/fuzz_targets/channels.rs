//! GroupNorm, InstanceNorm, and BatchNorm and LayerNorm of channels, which come first or last.
#![forbid(unsafe_code)]
#![no_main]

use arbitrary::Arbitrary;
use evenkeel::{
    Backend, BatchNorm, Channels, Error, GroupNorm, InstanceNorm, LayerNorm, NormArgs, Rows,
    TrainArgs,
};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    operation: Operation,
    /// Its lines are the planes, or the samples' positions: rows.
    matrix: Matrix,
    /// What the rows are of.
    rows_are: RowsAre,
    /// Chooses a divisor of the channels, or a number that is none.
    groups: u8,
    any_groups: bool,
    gamma: Option<Source>,
    beta: Option<Source>,
    eps: Parameter,
    thorough: Thorough,
    threads: Threads,
    stores: StoresAre,
    shifts: [u8; 7],
    wrong: Wrong,
    own_scratch: bool,
    /// Elements between rows of x and of y.
    between: [u8; 2],
    stored: StoredAs,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Operation {
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    BatchNorm,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum RowsAre {
    /// Channels of samples of so many.
    Planes { channels: u8 },
    /// Positions of samples of so many.
    Positions { positions: u8 },
}

fuzz_target!(|input: Continued<Input>| input.0.check());

struct Buffers<X: Stored = f32, P: Stored = f32> {
    x: Buffer<X>,
    y: Buffer<X>,
    gamma: Option<Buffer<P>>,
    beta: Option<Buffer<P>>,
    mean: Buffer<f64>,
    rstd: Buffer<f64>,
    scratch: Buffer<f64>,
}

/// How an operation is to run.
#[derive(Clone, Copy)]
struct Call {
    operation: Operation,
    groups: usize,
    eps: f64,
    shape: Channels,
}

impl Call {
    /// In which set of elements with statistics of their own an element is.
    fn set(&self, (n, c, p): (usize, usize, usize)) -> usize {
        let shape = self.shape;
        match self.operation {
            Operation::GroupNorm => n * self.groups + c / (shape.channels() / self.groups),
            Operation::InstanceNorm => n * shape.channels() + c,
            Operation::LayerNorm => n * shape.positions() + p,
            Operation::BatchNorm => c,
        }
    }

    fn sets(&self) -> usize {
        let shape = self.shape;
        match self.operation {
            Operation::GroupNorm => shape.batch().saturating_mul(self.groups),
            Operation::InstanceNorm => shape.batch() * shape.channels(),
            Operation::LayerNorm => shape.batch() * shape.positions(),
            Operation::BatchNorm => shape.channels(),
        }
    }

    /// Whether x and y may be rows at a pitch.
    fn takes_pitches(&self) -> bool {
        let rows = self.shape.is_last() || self.shape.positions() == 1;
        rows && matches!(self.operation, Operation::LayerNorm | Operation::BatchNorm)
    }
}

impl Input {
    fn run<X: Stored, P: Stored>(
        &self,
        call: Call,
        backend: Backend,
        (io, pitches): (Io, [usize; 2]),
        buffers: &mut Buffers<X, P>,
    ) -> Result<(), Error> {
        let Buffers { x, y, gamma, beta, mean, rstd, scratch } = buffers;
        let (gamma, beta, shape) = (gamma.as_deref(), beta.as_deref(), call.shape);
        let scratch = (!self.own_scratch).then_some(&mut **scratch);
        macro_rules! configured {
            ($operation:expr) => {
                $operation
                    .with_eps(call.eps)
                    .with_backend(backend)
                    .with_parallelism(self.threads.into())
                    .with_stores(self.stores.into())
            };
        }
        if call.operation == Operation::BatchNorm {
            let args = TrainArgs::new().maybe_gamma(gamma).maybe_beta(beta).stats(mean, rstd);
            let args = match scratch {
                Some(scratch) => args.scratch(scratch),
                None => args,
            };
            let operation = configured!(BatchNorm::new());
            return io.call(x, y, pitches, |io| operation.forward_training(io, shape, args));
        }
        let args = NormArgs::new().maybe_gamma(gamma).maybe_beta(beta).stats(mean, rstd);
        let args = match scratch {
            Some(scratch) => args.scratch(scratch),
            None => args,
        };
        io.call(x, y, pitches, |io| match call.operation {
            Operation::GroupNorm => {
                let operation = GroupNorm::new().with_groups(call.groups);
                configured!(operation).forward(io, shape, args)
            }
            Operation::InstanceNorm => configured!(InstanceNorm::new()).forward(io, shape, args),
            Operation::LayerNorm => configured!(LayerNorm::new()).forward(io, shape, args),
            Operation::BatchNorm => unreachable!("done above"),
        })
    }

    fn scratch_len(&self, call: Call, backend: Backend) -> usize {
        macro_rules! of {
            ($operation:expr) => {
                $operation
                    .with_backend(backend)
                    .with_parallelism(self.threads.into())
                    .scratch_len(call.shape)
            };
        }
        match call.operation {
            Operation::GroupNorm => of!(GroupNorm::new().with_groups(call.groups)),
            Operation::InstanceNorm => of!(InstanceNorm::new()),
            Operation::LayerNorm => 0,
            Operation::BatchNorm => of!(BatchNorm::new()),
        }
    }

    /// Elements of another type give what f32 gives for their numbers, rounded once; and the same statistics.
    fn check_stored<T: Stored, P: Stored>(&self, call: Call, x: &[f32], affine: &Affine) {
        for backend in Backend::available() {
            let ios =
                if self.thorough.is(backend) { &Io::CONTIGUOUS[..] } else { &[Io::TwoBuffers] };
            for &io in ios {
                let mut half = self.buffers::<T, P>((call, backend), &narrowed(x), affine);
                let affine = affine.rounded::<P>();
                let mut single =
                    self.buffers::<f32, f32>((call, backend), &rounded::<T>(x), &affine);
                let what = format_args!(
                    "{:?}, {io:?}, {backend}, {:?}, {}, {:?}",
                    call.operation, call.shape, call.groups, self.stored
                );
                let result = self.run(call, backend, (io, [0; 2]), &mut half);
                let of_f32 = self.run(call, backend, (io, [0; 2]), &mut single);
                assert_same_result(&result, &of_f32, what);
                if result.is_err() {
                    continue;
                }
                let y = if io.in_place() { &single.x } else { &single.y };
                let expected = Written::default().f32(&rounded::<T>(y));
                let expected = expected.f64(&single.mean).f64(&single.rstd);
                let y = if io.in_place() { &half.x } else { &half.y };
                let got = Written::default().f32(&widened(y)).f64(&half.mean).f64(&half.rstd);
                expected.assert_same(&got, what);
            }
        }
    }

    /// Buffers of the right lengths.
    fn buffers<X: Stored, P: Stored>(
        &self,
        (call, backend): (Call, Backend),
        x: &[X],
        affine: &Affine,
    ) -> Buffers<X, P> {
        let shifts = self.shifts;
        let parameters = |values: Option<&[f32]>, i: usize| {
            values.map(|values| Buffer::of(&narrowed(values), values.len(), shifts[i]))
        };
        Buffers {
            x: Buffer::of(x, x.len(), shifts[0]),
            y: Buffer::new(x.len(), shifts[1]),
            gamma: parameters(affine.gamma(), 2),
            beta: parameters(affine.beta(), 3),
            mean: Buffer::new(call.sets(), shifts[4]),
            rstd: Buffer::new(call.sets(), shifts[5]),
            scratch: Buffer::new(self.scratch_len(call, backend), shifts[6]),
        }
    }

    fn check(&self) {
        let (x, rows) = self.matrix.make(Lines::Rows);
        let (count, cols) = (rows.rows(), rows.cols());
        let shape = match self.rows_are {
            RowsAre::Planes { channels } => {
                let channels = divisor(count, channels);
                Channels::first(count / channels, channels, cols)
            }
            RowsAre::Positions { positions } => {
                let positions = divisor(count, positions);
                Channels::last(count / positions, positions, cols)
            }
        };
        let shape = shape.expect("as many elements as the matrix has");
        let (channels, positions) = (shape.channels(), shape.positions());
        let groups =
            if self.any_groups { usize::from(self.groups) } else { divisor(channels, self.groups) };
        let eps = self.eps.value(1e-5);
        let call = Call { operation: self.operation, groups, eps, shape };
        let affine = Affine::new(&self.gamma, &self.beta, channels);
        // Nothing falls into any number of groups.
        let divides = call.operation != Operation::GroupNorm
            || x.is_empty()
            || groups > 0 && channels.is_multiple_of(groups);
        let sets = call.sets();
        let rows = Rows::new(shape.batch() * positions, channels).expect("a small shape");
        let pitches = pitches(rows, self.between);

        let mut elements = vec![Vec::new(); if divides { sets } else { 0 }];
        if divides {
            for n in 0..shape.batch() {
                for c in 0..channels {
                    for p in 0..positions {
                        let i = match shape.is_last() {
                            true => (n * positions + p) * channels + c,
                            false => (n * channels + c) * positions + p,
                        };
                        elements[call.set((n, c, p))].push((i, c));
                    }
                }
            }
        }

        if divides {
            for_stored!(self.stored, self.check_stored(call, &x, &affine));
        }
        let mut outputs = Expected::new();
        for backend in Backend::available() {
            let scratch_len = self.scratch_len(call, backend);
            let methods = if self.thorough.is(backend) { &Io::ALL[..] } else { &Io::ALL[..1] };
            for &io in methods {
                let operation = self.operation;
                let what = format_args!("{operation:?}, {io:?}, {backend}, {shape:?}, {groups}");
                let [of_x, of_y] = io.layouts(rows, pitches);
                let pitched = of_x.pitch.is_some();
                let right =
                    [of_x.reach(), of_y.reach(), channels, channels, sets, sets, scratch_len];
                let lengths = lengths(right, self.wrong);
                let fits = |i: usize| lengths[i] == right[i];
                let shifts = self.shifts;
                let optional = |values: Option<&[f32]>, i: usize| {
                    values.map(|values| Buffer::of(values, lengths[i], shifts[i]))
                };
                let mut buffers = Buffers {
                    x: Buffer::of(&of_x.spread(&x), lengths[0], shifts[0]),
                    y: Buffer::new(lengths[1], shifts[1]),
                    gamma: optional(affine.gamma(), 2),
                    beta: optional(affine.beta(), 3),
                    mean: Buffer::new(lengths[4], shifts[4]),
                    rstd: Buffer::new(lengths[5], shifts[5]),
                    scratch: Buffer::new(lengths[6], shifts[6]),
                };
                let (x_before, y_before) = (buffers.x.to_vec(), buffers.y.to_vec());
                let result = self.run(call, backend, (io, pitches), &mut buffers);
                let valid = of_x.fits(lengths[0])
                    && (io.in_place() || of_y.fits(lengths[1]))
                    && (!pitched || call.takes_pitches())
                    && (affine.gamma().is_none() || fits(2))
                    && (affine.beta().is_none() || fits(3))
                    && fits(4)
                    && fits(5)
                    && (self.own_scratch || lengths[6] >= scratch_len)
                    && divides
                    && eps_is_valid(eps);
                assert_eq!(result.is_ok(), valid, "{what}: {result:?}");

                let Buffers { x: x_after, y, mean, rstd, scratch, .. } = &buffers;
                let (x_both, y_both) = ([&x_before, &**x_after], [&y_before, &**y]);
                let Some(y) = io.written(valid, [of_x, of_y], x_both, y_both, what) else {
                    let statistics = mean.is_untouched() && rstd.is_untouched();
                    assert!(statistics && scratch.is_untouched(), "{what}: statistics");
                    continue;
                };
                assert!(!self.own_scratch || scratch.is_untouched(), "{what}: scratch");
                if x.is_empty() {
                    let are_zero = mean.iter().chain(rstd.iter()).all(|&number| number == 0.0);
                    assert!(are_zero, "{what}: statistics of nothing");
                    continue;
                }
                let written = Written::default().f32(&y).f64(mean).f64(rstd);
                outputs.check(backend, written, what, || {
                    for (set, elements) in elements.iter().enumerate() {
                        let of = |from: &[f32]| -> Vec<f32> {
                            elements.iter().map(|&(i, _)| from[i]).collect()
                        };
                        let channel = |of: Option<&[f32]>| -> Option<Vec<f32>> {
                            of.map(|of| elements.iter().map(|&(_, c)| of[c]).collect())
                        };
                        let (gamma, beta) = (channel(affine.gamma()), channel(affine.beta()));
                        let affine = Affine::of(gamma.as_deref(), beta.as_deref());
                        let what = format_args!("{what}, set {set}");
                        let (x, y) = (of(&x), of(&y));
                        let exact = ExactRow::of(RowNorm::LayerNorm, &x, eps);
                        exact.check_output(&x, &y, &affine, what);
                        exact.check_statistics(mean[set], rstd[set], what);
                    }
                });
            }
        }
    }
}
