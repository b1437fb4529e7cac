//! Backward passes over columns and channels: in every layout, place and way the same bits, and of BatchNorm one step as two.
#![forbid(unsafe_code)]
#![no_main]

use arbitrary::Arbitrary;
use evenkeel::{
    Backend, BatchNorm, Channels, Error, GradArgs, GradientSums, GroupNorm, InOut, InstanceNorm,
    LayerNorm,
};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    operation: Operation,
    /// Its lines are the planes of channels.
    matrix: Matrix,
    channels: u8,
    groups: u8,
    dy: Source,
    gamma: Option<Source>,
    eps: Parameter,
    wants_parameters: bool,
    threads: Threads,
    stores: StoresAre,
    shifts: [u8; 3],
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Operation {
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    BatchNorm,
}

fuzz_target!(|input: Continued<Input>| input.0.check());

/// How an operation is to run.
#[derive(Clone, Copy)]
struct Call {
    backend: Backend,
    groups: usize,
    eps: f64,
    shape: Channels,
}

impl Input {
    fn run(
        &self,
        call: Call,
        io: InOut<'_, '_>,
        x: &[f32],
        args: GradArgs<'_>,
    ) -> Result<(), Error> {
        macro_rules! backward {
            ($operation:expr) => {
                $operation
                    .with_eps(call.eps)
                    .with_backend(call.backend)
                    .with_parallelism(self.threads.into())
                    .with_stores(self.stores.into())
                    .backward(io, x, call.shape, args)
                    .map(drop)
            };
        }
        match self.operation {
            Operation::GroupNorm => backward!(GroupNorm::new().with_groups(call.groups)),
            Operation::InstanceNorm => backward!(InstanceNorm::new()),
            Operation::LayerNorm => backward!(LayerNorm::new()),
            Operation::BatchNorm => backward!(BatchNorm::new()),
        }
    }

    fn check(&self) {
        let (x, rows) = self.matrix.make(Lines::Rows);
        let planes = rows.rows();
        let channels = planes / divisor(planes, self.channels).max(1);
        let batch = planes.checked_div(channels).unwrap_or(0);
        let shape = Channels::first(batch, channels, rows.cols()).expect("what the matrix has");
        let dy = self.dy.values(x.len(), 1);
        let gamma = self.gamma.as_ref().map(|gamma| gamma.values(channels, 2));
        let eps = self.eps.value(1e-5);
        let groups = channels / divisor(channels, self.groups).max(1);
        let mut outputs = Expected::new();
        for backend in Backend::available() {
            let call = Call { backend, groups: groups.max(1), eps, shape };
            let what = format_args!("{backend}, {shape:?}, {groups} groups, eps {eps:e}, {self:?}");
            let mut dx = Buffer::<f32>::new(x.len(), self.shifts[0]);
            let mut dgamma = Buffer::<f64>::new(channels, self.shifts[1]);
            let mut dbeta = Buffer::<f64>::new(channels, self.shifts[2]);
            let args = || GradArgs::new().maybe_gamma(gamma.as_deref());
            let full = match self.wants_parameters {
                true => args().dgamma(&mut dgamma).dbeta(&mut dbeta),
                false => args(),
            };
            let result = self.run(call, InOut::new(&dy, &mut dx), &x, full);
            assert_eq!(result.is_ok(), eps_is_valid(eps), "{what}: {result:?}");
            if result.is_err() {
                assert!(dx.is_untouched() && dgamma.is_untouched() && dbeta.is_untouched());
                continue;
            }
            let mut in_place = dy.clone();
            self.run(call, InOut::in_place(&mut in_place), &x, args()).expect("the buffers fit");
            assert!(same(&in_place, &dx), "{what}: in place");
            let written = Written::default().f32(&dx).f64(&dgamma).f64(&dbeta);
            outputs.check(backend, written, what, || ());
            self.check_last(call, (&x, &dy), gamma.as_deref(), &dx);
            if self.operation == Operation::BatchNorm {
                self.check_steps(call, (&x, &dy), gamma.as_deref(), &dx);
            }
        }
    }

    /// One position a sample is the same data in both layouts.
    fn check_last(&self, call: Call, (x, dy): (&[f32], &[f32]), gamma: Option<&[f32]>, dx: &[f32]) {
        let shape = call.shape;
        let is_bound_to_channels = self.operation != Operation::LayerNorm;
        if shape.positions() != 1 || !is_bound_to_channels {
            return;
        }
        let shape = Channels::last(shape.batch(), 1, shape.channels()).expect("as many elements");
        let mut last = vec![0.0; x.len()];
        let args = GradArgs::new().maybe_gamma(gamma);
        self.run(Call { shape, ..call }, InOut::new(dy, &mut last), x, args).expect("they fit");
        assert!(same(&last, dx), "{}, {shape:?}: {self:?}", call.backend);
    }

    /// The sums of a batch, and dx by them and the statistics of the batch.
    fn check_steps(
        &self,
        Call { backend, eps, shape, .. }: Call,
        (x, dy): (&[f32], &[f32]),
        gamma: Option<&[f32]>,
        dx: &[f32],
    ) {
        let channels = shape.channels();
        let norm = BatchNorm::new().with_eps(eps).with_backend(backend);
        let mut sums = [vec![0.0; channels], vec![0.0; channels]];
        let [sum_dy_x_hat, sum_dy] = &mut sums;
        let args = GradArgs::new().dgamma(sum_dy_x_hat).dbeta(sum_dy);
        norm.backward(InOut::read_only(dy), x, shape, args).expect("the buffers fit");
        let (mut mean, mut rstd) = (vec![0.0; channels], vec![0.0; channels]);
        let mut y = vec![0.0; x.len()];
        let args = evenkeel::TrainArgs::new().stats(&mut mean, &mut rstd);
        let trained = norm.forward_training(InOut::new(x, &mut y), shape, args).map(drop);
        if trained.is_err() {
            // Running statistics of a batch of one value do not exist.
            return;
        }
        let count = (shape.batch() * shape.positions()) as u64;
        let mut second = vec![0.0; x.len()];
        let args = GradArgs::new().maybe_gamma(gamma).stats(&mean, &rstd);
        let [sum_dy_x_hat, sum_dy] = &sums;
        let sums = GradientSums::new(count, sum_dy, sum_dy_x_hat);
        norm.backward_apply(InOut::new(dy, &mut second), x, shape, sums, args)
            .expect("the buffers fit");
        assert!(same(&second, dx), "{backend}, {shape:?}, two steps: {self:?}");
    }
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(&a, &b)| bits(a) == bits(b))
}
