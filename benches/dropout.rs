//! Dropout: forward with a packed mask, the mask alone, and backward with the mask drawn again. `scalar` draws
//! each element from xoshiro256++.
//!
//! Bytes are those of x and y; of the mask alone, those of the mask, and `memcpy` copies half as many.
#![forbid(unsafe_code)]

mod common;

use common::{Io, Loops, Operation, assert_close};
use evenkeel::{Backend, DropoutArgs, InOut, MaskMut, Parallelism, Rows, Stream, reference};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const P: f64 = 0.1;
const STREAM: Stream = Stream { seed: 42, offset: 0 };

struct Forward(Masks);

impl Operation for Forward {
    const NAME: &'static str = "dropout";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        Self(Masks::new(io))
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        let args = DropoutArgs::draw(STREAM).keep_mask(MaskMut::Packed(&mut self.0.packed));
        dropout(backend).forward(InOut::new(&io.x, &mut io.y), args).expect("the buffers fit");
    }

    fn spoil(&mut self) {
        self.0.packed.fill(0);
    }

    fn check(&self, io: &Io, tolerance: f64) {
        self.0.check_mask();
        check_output(io, |i| self.0.expected[i], tolerance);
    }

    fn check_loop(&self, io: &Io) {
        self.0.check_share();
        check_output(io, |i| self.0.is_kept(i), 1e-5);
    }
}

impl Forward {
    fn scalar(&mut self, io: &mut Io) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(STREAM.seed);
        let scale = 1.0 / (1.0 - P as f32);
        let io = io.x.chunks(8).zip(io.y.chunks_mut(8));
        for ((x, y), byte) in io.zip(&mut self.0.packed) {
            *byte = 0;
            for (i, (x, y)) in x.iter().zip(y).enumerate() {
                let keep = keeps(&mut random);
                *byte |= u8::from(keep) << i;
                *y = if keep { x * scale } else { 0.0 };
            }
        }
    }
}

struct MaskAlone(Masks);

impl Operation for MaskAlone {
    const NAME: &'static str = "dropout_mask";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        Self(Masks::new(io))
    }

    fn bytes(rows: Rows) -> usize {
        rows.elements().div_ceil(8)
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        dropout(backend)
            .mask(STREAM, io.rows.elements(), MaskMut::Packed(&mut self.0.packed))
            .expect("the buffers fit");
    }

    fn spoil(&mut self) {
        self.0.packed.fill(0);
    }

    fn check(&self, _: &Io, _: f64) {
        self.0.check_mask();
    }

    fn check_loop(&self, _: &Io) {
        self.0.check_share();
    }
}

impl MaskAlone {
    fn scalar(&mut self, _: &mut Io) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(STREAM.seed);
        for byte in &mut self.0.packed {
            *byte = (0..8).fold(0, |byte, i| byte | u8::from(keeps(&mut random)) << i);
        }
    }
}

struct Backward(Masks);

impl Operation for Backward {
    const NAME: &'static str = "dropout_backward";
    const LOOPS: Loops<Self> = &[("scalar", Self::scalar)];

    fn new(io: &Io) -> Self {
        Self(Masks::new(io))
    }

    fn run(&mut self, backend: Backend, io: &mut Io) {
        dropout(backend).backward(InOut::new(&io.x, &mut io.y), STREAM).expect("the buffers fit");
    }

    fn check(&self, io: &Io, tolerance: f64) {
        check_output(io, |i| self.0.expected[i], tolerance);
    }

    fn check_loop(&self, io: &Io) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(STREAM.seed);
        let kept: Vec<_> = io.x.iter().map(|_| keeps(&mut random)).collect();
        check_output(io, |i| kept[i], 1e-5);
    }
}

impl Backward {
    fn scalar(&mut self, io: &mut Io) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(STREAM.seed);
        let scale = 1.0 / (1.0 - P as f32);
        for (x, y) in io.x.iter().zip(&mut *io.y) {
            *y = if keeps(&mut random) { x * scale } else { 0.0 };
        }
    }
}

fn dropout(backend: Backend) -> evenkeel::Dropout {
    evenkeel::Dropout::new().with_p(P).with_backend(backend).with_parallelism(Parallelism::Serial)
}

/// The choice of the loops: a number from 0 to 1 that is at least p.
fn keeps(random: &mut Xoshiro256PlusPlus) -> bool {
    (random.next_u64() >> 40) as f32 / (1 << 24) as f32 >= P as f32
}

/// One bit an element, and what it should be on every backend.
struct Masks {
    packed: Vec<u8>,
    expected: Vec<bool>,
}

impl Masks {
    fn new(io: &Io) -> Self {
        let len = io.rows.elements();
        let expected = reference::dropout_mask(P, STREAM.seed, STREAM.offset, len);
        Self { packed: vec![0; len.div_ceil(8)], expected }
    }

    fn is_kept(&self, i: usize) -> bool {
        self.packed[i / 8] >> (i % 8) & 1 == 1
    }

    fn check_mask(&self) {
        for (i, &expected) in self.expected.iter().enumerate() {
            assert_eq!(self.is_kept(i), expected, "bit {i} of the mask");
        }
    }

    /// The loops have a stream of their own: the share of what is kept is within five standard deviations.
    fn check_share(&self) {
        let n = self.expected.len() as f64;
        let kept = (0..self.expected.len()).filter(|&i| self.is_kept(i)).count() as f64;
        let bound = 5.0 * (P * (1.0 - P) / n).sqrt();
        assert!((kept / n - (1.0 - P)).abs() < bound, "{kept} of {n} are kept");
    }
}

/// y is x scaled up where an element is kept, else 0.
fn check_output(io: &Io, is_kept: impl Fn(usize) -> bool, tolerance: f64) {
    let scaled = |(i, &x)| if is_kept(i) { f64::from(x) / (1.0 - P) } else { 0.0 };
    let expected: Vec<_> = io.x.iter().enumerate().map(scaled).collect();
    assert_close(&io.y, &expected, tolerance);
}

fn main() {
    common::measure::<Forward>();
    common::measure::<MaskAlone>();
    common::measure::<Backward>();
}
