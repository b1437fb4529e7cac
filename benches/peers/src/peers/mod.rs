//! Who competes. A new peer is a file beside this one and a line in [`PEERS`].

mod burn;
mod candle;
mod evenkeel;
mod plain;
mod rten;
mod wide;

use std::hint::black_box;

use crate::buffer::Buffer;
use crate::problem::{Operation, Problem};

pub struct Peer {
    /// The package, or what it is instead of one.
    pub name: &'static str,
    pub contender: for<'a> fn(Operation, &'a Problem) -> Option<Box<dyn Contender + 'a>>,
}

/// The first is what the others are compared with.
pub const PEERS: [Peer; 6] = [
    Peer { name: "evenkeel", contender: evenkeel::contender },
    Peer { name: "rten-vecmath", contender: rten::contender },
    Peer { name: "candle-nn", contender: candle::contender },
    Peer { name: "burn-flex", contender: burn::contender },
    Peer { name: "plain loop", contender: plain::contender },
    Peer { name: "wide", contender: wide::contender },
];

/// One way to do one operation on one problem, with everything prepared that its users would keep.
pub trait Contender {
    /// What is timed. Who can write to memory that exists writes to y, which all of them share.
    fn run(&mut self, y: &mut Buffer);

    /// Runs once, and gives the output.
    fn output(&mut self, y: &mut Buffer) -> Vec<f32>;
}

/// The yardstick.
pub fn memcpy(problem: &Problem) -> Box<dyn Contender + '_> {
    writes(|y| y.copy_from_slice(&problem.x))
}

/// A contender that writes to y.
fn writes<'a>(run: impl FnMut(&mut Buffer) + 'a) -> Box<dyn Contender + 'a> {
    Box::new(Writes(run))
}

/// A contender that gives its output in a tensor of its own, which is dropped at the end of the run.
fn returns<'a, T>(
    run: impl FnMut() -> T + 'a,
    read: impl Fn(T) -> Vec<f32> + 'a,
) -> Box<dyn Contender + 'a>
where
    T: 'a,
{
    Box::new(Returns { run, read })
}

struct Writes<R>(R);

impl<R: FnMut(&mut Buffer)> Contender for Writes<R> {
    fn run(&mut self, y: &mut Buffer) {
        self.0(y);
        black_box(y.as_mut_ptr());
    }

    fn output(&mut self, y: &mut Buffer) -> Vec<f32> {
        // So that nobody passes with the output of another.
        y.fill(f32::NAN);
        self.run(y);
        y.to_vec()
    }
}

struct Returns<R, O> {
    run: R,
    read: O,
}

impl<T, R: FnMut() -> T, O: Fn(T) -> Vec<f32>> Contender for Returns<R, O> {
    fn run(&mut self, _: &mut Buffer) {
        black_box((self.run)());
    }

    fn output(&mut self, _: &mut Buffer) -> Vec<f32> {
        (self.read)((self.run)())
    }
}
