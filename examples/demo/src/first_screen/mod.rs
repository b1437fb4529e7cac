//! The first screen: what was normalised, how fast, and how exactly, beside plain loops. All of it is measured now.
#![forbid(unsafe_code)]

mod errors;
mod plain;
mod speed;

use evenkeel::{Backend, Error, Rows};
use plain::Plain;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use speed::{RUNS, Speed, Times};

/// Rows and columns of a matrix that is in a cache, as a layer of a model finds it, and of one that usually is not.
const SHAPES: [[usize; 2]; 2] = [[128, 768], [2048, 1024]];
/// Means of the data that the errors are about. Its standard deviation is 1.
const MEANS: [f32; 2] = [0.0, 1000.0];

pub fn run() -> Result<(), Error> {
    println!(
        "Two matrices of f32, normalised on one thread by evenkeel's {} backend and by plain loops.\n\
         LayerNorm and RmsNorm normalise each row (a token), BatchNorm each column (a feature).\n\
         Times are medians of {RUNS} runs in turn, with the same compiler flags. ratio = plain / evenkeel.\n",
        Backend::detect(),
    );
    let [cached, large] =
        SHAPES.map(|shape| Layer::new(shape, 0.0).and_then(|layer| speed::measure(&layer)));
    print_speed([cached?, large?]);
    let [near, far] =
        MEANS.map(|mean| Layer::new(SHAPES[1], mean).and_then(|layer| errors::measure(&layer)));
    print_errors(&near?, &far?);
    Ok(())
}

fn print_speed(speed: [Speed; 2]) {
    let titles = SHAPES.map(|[rows, cols]| {
        let mebibytes = (rows * cols * size_of::<f32>()) as f64 / f64::from(1 << 20);
        format!("{:>29}", format!("{rows} x {cols}, {mebibytes:.1} MiB"))
    });
    println!("  {:<20}{}", "", titles.concat());
    let columns = format!("{:>10}{:>11}{:>8}", "evenkeel", "plain", "ratio");
    println!("  {:<20}{columns}{columns}", "");
    let [cached, large] = &speed;
    for (cached, large) in cached.operations.iter().zip(&large.operations) {
        let cells = [cached, large].map(|Times { evenkeel, plain, .. }| {
            format!("{:>10}{:>11}{:>8.1}", time(*evenkeel), time(*plain), plain / evenkeel)
        });
        println!("  {:<20}{}", cached.name, cells.concat());
    }
    let memcpy = speed.map(|it| format!("{:>10}{:19}", time(it.memcpy), ""));
    println!("  {:<20}{}\n", "memcpy of x to y", memcpy.concat().trim_end());
}

fn print_errors(near: &[errors::Errors], far: &[errors::Errors]) {
    let [rows, cols] = SHAPES[1];
    println!(
        "Largest error beside f64, for {rows} x {cols} numbers x with the standard deviation 1.\n"
    );
    let titles = MEANS.map(|mean| format!("{:>29}", format!("mean of x {mean}")));
    println!("  {:<20}{}", "", titles.concat());
    let columns = format!("{:>18}{:>11}", "evenkeel", "plain");
    println!("  {:<20}{columns}{columns}", "");
    for (near, far) in near.iter().zip(far) {
        let cells = [near, far].map(|it| format!("{:>18.0e}{:>11.0e}", it.evenkeel, it.plain));
        println!("  {:<20}{}", near.name, cells.concat());
    }
}

fn time(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{:.1} us", seconds * 1e6)
    } else {
        format!("{:.2} ms", seconds * 1e3)
    }
}

/// What a layer of a network gets.
struct Layer {
    rows: Rows,
    x: Vec<f32>,
    /// A gradient that comes back.
    dy: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl Layer {
    /// x has this mean and the standard deviation 1.
    fn new([rows, cols]: [usize; 2], mean: f32) -> Result<Self, Error> {
        let rows = Rows::new(rows, cols)?;
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut normal = |mean| (0..rows.elements()).map(|_| mean + draw(&mut random)).collect();
        let (x, dy) = (normal(mean), normal(0.0));
        let ramp = |first: f32, last: f32| {
            (0..cols).map(|i| first + (last - first) * i as f32 / cols as f32).collect()
        };
        Ok(Self { rows, x, dy, gamma: ramp(0.5, 1.5), beta: ramp(-1.0, 1.0) })
    }

    fn plain(&self) -> Plain<'_> {
        Plain { cols: self.rows.cols(), gamma: &self.gamma, beta: &self.beta }
    }
}

/// Nearly normal, with the mean 0 and the standard deviation 1: four uniform numbers.
fn draw(random: &mut impl Rng) -> f32 {
    let bits = random.next_u64();
    let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
    (sum as f32 / 65536.0 - 2.0) * 3_f32.sqrt()
}
