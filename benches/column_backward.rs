//! Backward of BatchNorm and GroupNorm with gamma, whose forward pass kept mean and rstd: dx, dgamma and dbeta. The columns of each shape
//! are channels, or the channels of samples of 8 that come first. `scalar` is two passes over the elements of each channel or group.
#![forbid(unsafe_code)]

mod common;

use common::{Aligned, Io, Loops, Operation, assert_close, spread};
use evenkeel::reference::{self, RowGradients};
use evenkeel::{Backend, BatchNorm, Channels, GradArgs, GroupNorm, InOut, Parallelism};

const EPS: f64 = 1e-5;
/// Channels of a sample where they come first, and its groups.
const FIRST: usize = 8;
const GROUPS: usize = 4;

/// What is measured, of a kind by number: a type for each.
struct Backward<const KIND: usize> {
    shape: Channels,
    dy: Aligned,
    gamma: Aligned,
    mean: Vec<f64>,
    rstd: Vec<f64>,
    dgamma: Vec<f32>,
    dbeta: Vec<f32>,
    scratch: Vec<f64>,
}

const BATCH: usize = 0;
const BATCH_FIRST: usize = 1;
const GROUP_FIRST: usize = 2;

impl<const KIND: usize> Operation for Backward<KIND> {
    const NAME: &'static str =
        ["batch_norm_backward", "batch_norm_backward_first", "group_norm_backward_first"][KIND];
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        let (rows, cols) = (io.rows.rows(), io.rows.cols());
        let shape = match KIND {
            BATCH => Channels::from(io.rows),
            // A channel a row, in samples of eight.
            _ => Channels::first(rows / FIRST, FIRST, cols).expect("as many elements"),
        };
        let mut y = vec![0.0; io.x.len()];
        let (mean, rstd) = match KIND {
            GROUP_FIRST => reference::group_norm(&io.x, None, None, shape, GROUPS, EPS, &mut y),
            _ => reference::batch_norm(&io.x, None, None, shape, EPS, &mut y),
        };
        let channels = shape.channels();
        let batch_norm = BatchNorm::new().backward_scratch_len(shape);
        let scratch = batch_norm.max(GroupNorm::new().backward_scratch_len(shape));
        Self {
            shape,
            dy: Aligned::new(io.x.len(), |i| spread(i + 3)),
            gamma: Aligned::new(channels, |i| 1.0 + 0.1 * spread(i)),
            mean,
            rstd,
            dgamma: vec![0.0; channels],
            dbeta: vec![0.0; channels],
            scratch: vec![0.0; scratch],
        }
    }

    /// x, dy and dx.
    fn bytes(rows: evenkeel::Rows) -> usize {
        3 * size_of::<f32>() * rows.elements()
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        let args = GradArgs::new()
            .gamma(&self.gamma)
            .stats(&self.mean, &self.rstd)
            .dgamma(&mut self.dgamma)
            .dbeta(&mut self.dbeta)
            .scratch(&mut self.scratch);
        let (dy, serial) = (InOut::new(&self.dy, &mut io.y), Parallelism::Serial);
        let dx = match KIND {
            GROUP_FIRST => GroupNorm::new()
                .with_groups(GROUPS)
                .with_backend(backend)
                .with_parallelism(serial)
                .backward(dy, &io.x, self.shape, args),
            _ => BatchNorm::new()
                .with_backend(backend)
                .with_parallelism(serial)
                .backward(dy, &io.x, self.shape, args),
        };
        dx.expect("the buffers fit");
    }

    fn spoil(&mut self) {
        self.dgamma.fill(f32::NAN);
        self.dbeta.fill(f32::NAN);
    }

    fn check(&self, io: &Io, tolerance: f64) {
        let (shape, channels) = (self.shape, self.shape.channels());
        let [mut dx, mut dgamma, mut dbeta] =
            [io.x.len(), channels, channels].map(|len| vec![0.0; len]);
        let gradients = &mut RowGradients { dx: &mut dx, dgamma: &mut dgamma, dbeta: &mut dbeta };
        let gamma = Some(&*self.gamma);
        match KIND {
            GROUP_FIRST => reference::group_norm_backward(
                &self.dy, &io.x, gamma, shape, GROUPS, EPS, gradients,
            ),
            _ => reference::batch_norm_backward(&self.dy, &io.x, gamma, shape, EPS, gradients),
        }
        assert_close(&io.y, &dx, tolerance);
        // Sums of many elements.
        let tolerance = tolerance * (io.x.len() / channels) as f64;
        assert_close(&self.dgamma, &dgamma, tolerance);
        assert_close(&self.dbeta, &dbeta, tolerance);
    }
}

impl<const KIND: usize> Backward<KIND> {
    /// The channel of element i, and whose statistics it has.
    fn place(&self, i: usize) -> (usize, usize) {
        let (channels, positions) = (self.shape.channels(), self.shape.positions());
        match KIND {
            BATCH => (i % channels, i % channels),
            BATCH_FIRST => (i / positions % channels, i / positions % channels),
            _ => (i / positions % channels, i / positions / (channels / GROUPS)),
        }
    }

    fn scalar(&mut self, io: &mut Io) {
        let n = (io.x.len() / self.mean.len()) as f32;
        let (mut of_g, mut of_x_hat) = (vec![0.0; self.mean.len()], vec![0.0; self.mean.len()]);
        self.dgamma.fill(0.0);
        self.dbeta.fill(0.0);
        for i in 0..io.x.len() {
            let (c, set) = self.place(i);
            let x_hat = (io.x[i] - self.mean[set] as f32) * self.rstd[set] as f32;
            let dy = self.dy[i];
            self.dgamma[c] += dy * x_hat;
            self.dbeta[c] += dy;
            of_g[set] += dy * self.gamma[c];
            of_x_hat[set] += dy * self.gamma[c] * x_hat;
        }
        for i in 0..io.x.len() {
            let (c, set) = self.place(i);
            let rstd = self.rstd[set] as f32;
            let x_hat = (io.x[i] - self.mean[set] as f32) * rstd;
            let g = self.dy[i] * self.gamma[c];
            io.y[i] = rstd * (g - of_g[set] / n - x_hat * of_x_hat[set] / n);
        }
    }
}

fn main() {
    common::measure::<Backward<BATCH>>();
    common::measure::<Backward<BATCH_FIRST>>();
    common::measure::<Backward<GROUP_FIRST>>();
}
