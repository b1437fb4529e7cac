//! Regularisation: the penalty, with its gradient in the same pass, and the proximal step. `scalar` is the loop.
//!
//! Bytes are those of w and y. Of the penalty, which only reads, those of w: `memcpy` copies half of it. The gradient is
//! read and written: of three streams two are counted.
#![forbid(unsafe_code)]

mod common;

use common::{Io, Loops, Operation, assert_close};
use evenkeel::penalty::Regularizer;
use evenkeel::{Backend, InOut, Parallelism, Rows, reference};

const L1: f64 = 1e-3;
const L2: f64 = 1e-2;
const STEP: f64 = 100.0;

fn regularizer(backend: Backend) -> Regularizer {
    Regularizer::new()
        .with_l1(L1)
        .with_l2(L2)
        .with_backend(backend)
        .with_parallelism(Parallelism::Serial)
}

struct Penalty {
    penalty: f64,
    expected: f64,
}

impl Operation for Penalty {
    const NAME: &'static str = "penalty";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        Self { penalty: 0.0, expected: reference::penalty(&io.x[..io.rows.elements()], L1, L2) }
    }

    fn bytes(rows: Rows) -> usize {
        size_of::<f32>() * rows.elements()
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        self.penalty = regularizer(backend).penalty(&io.x).expect("right factors");
    }

    fn spoil(&mut self) {
        self.penalty = 0.0;
    }

    fn check(&self, _: &Io, tolerance: f64) {
        assert_close(&[self.penalty / self.expected], &[1.0], tolerance);
    }
}

impl Penalty {
    fn scalar(&mut self, io: &mut Io) {
        let (mut abs, mut squares) = (0.0_f64, 0.0_f64);
        for &w in &*io.x {
            abs += f64::from(w.abs());
            squares += f64::from(w) * f64::from(w);
        }
        self.penalty = L1 * abs + L2 / 2.0 * squares;
    }
}

/// The gradient goes to y, which grows: what is checked is the penalty, and one step of the gradient.
struct Gradient(Penalty);

impl Operation for Gradient {
    const NAME: &'static str = "penalty_and_gradient";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        Self(Penalty::new(io))
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        // What is not a number, as before the first run, would stay so.
        if io.y[0].is_nan() {
            io.y.fill(0.0);
        }
        self.0.penalty = regularizer(backend)
            .penalty_and_add_gradient(&io.x, &mut io.y)
            .expect("the buffers fit");
    }

    fn spoil(&mut self) {
        self.0.spoil();
    }

    fn check(&self, io: &Io, tolerance: f64) {
        self.0.check(io, tolerance);
        let gradient = |&w: &f32| reference::penalty_gradient(w, L1, L2);
        assert_close(&io.y, &io.x.iter().map(gradient).collect::<Vec<_>>(), tolerance);
    }
}

impl Gradient {
    fn scalar(&mut self, io: &mut Io) {
        if io.y[0].is_nan() {
            io.y.fill(0.0);
        }
        self.0.scalar(io);
        for (&w, gradient) in io.x.iter().zip(&mut *io.y) {
            let sign = if w == 0.0 { 0.0 } else { w.signum() };
            *gradient += L1 as f32 * sign + L2 as f32 * w;
        }
    }
}

struct Proximal;

impl Operation for Proximal {
    const NAME: &'static str = "proximal";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(_: &Io) -> Self {
        Self
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        regularizer(backend).proximal(InOut::new(&io.x, &mut io.y), STEP).expect("the buffers fit");
    }

    fn check(&self, io: &Io, tolerance: f64) {
        let step = |&w: &f32| reference::proximal(w, L1, L2, STEP);
        assert_close(&io.y, &io.x.iter().map(step).collect::<Vec<_>>(), tolerance);
    }
}

impl Proximal {
    fn scalar(&mut self, io: &mut Io) {
        let (threshold, scale) = ((STEP * L1) as f32, (1.0 / (1.0 + STEP * L2)) as f32);
        for (&w, y) in io.x.iter().zip(&mut *io.y) {
            *y = (w.abs() - threshold).max(0.0).copysign(w) * scale;
        }
    }
}

fn main() {
    common::measure::<Penalty>();
    common::measure::<Gradient>();
    common::measure::<Proximal>();
}
