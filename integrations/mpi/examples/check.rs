//! What `integrations/mpi/check` runs on several ranks: the laws of the crate, each on data of which every rank knows all.
//!
//! ```sh
//! mpirun -n 3 target/debug/examples/check          # the laws
//! mpirun -n 3 target/debug/examples/check die      # a rank dies in the middle of a pass
//! ```

use std::env;
use std::process::abort;
use std::time::Duration;

use evenkeel::preprocess::{MinMaxScaler, StandardScaler};
use evenkeel::{BatchNorm, Channels, GradArgs, InOut, Mask, Rows, TrainArgs, ValidRows};
use evenkeel_mpi::{Affine, Error, Gradients, Saved, SyncBatchNorm, scalers};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};

/// How rows are dealt to ranks. `integrations/mpi/c` and `python` have the same five.
const DEALS: [&str; 5] = ["uneven", "empty", "one-row", "blocks", "powers"];

fn main() {
    let universe = mpi::initialize().expect("MPI has not been initialised before");
    let world = universe.world();
    if env::args().nth(1).as_deref() == Some("die") {
        die(&world);
    }
    let ranks = world.size() as usize;
    for deal in DEALS {
        // The matrix of which the bits are told; narrow rows; both layouts of samples.
        for (shape, unit) in [
            (Channels::from(matrix(128 * ranks, 300)), 64),
            (matrix(2 * 4096 * ranks, 5).into(), 4096),
            (Channels::last(2 * ranks, 32, 300).expect("a small shape"), 2),
            (Channels::first(4 * ranks, 37, 30).expect("a small shape"), 1),
        ] {
            check_deal(&world, deal, shape, unit);
        }
        println_once(&world, &format!("bits {deal} {:016x}", bits(&world, deal)));
    }
    padding(&world);
    errors(&world);
    println_once(&world, &format!("{ranks} ranks: every law holds"));
}

fn matrix(rows: usize, cols: usize) -> Rows {
    Rows::new(rows, cols).expect("a small shape")
}

/// Rank 1 dies while the others wait for it.
fn die(world: &SimpleCommunicator) -> ! {
    world.barrier();
    if world.rank() == 1 {
        abort();
    }
    let (x, rows, mut y) = ([1.0_f32, 3.0], matrix(2, 1), [0.0; 2]);
    let norm = SyncBatchNorm::new(world, BatchNorm::new());
    loop {
        let result = norm.forward(&x, &mut y, rows, Affine::default(), None);
        println!("rank {}: {result:?}", world.rank());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Prints on rank 0.
fn println_once(world: &SimpleCommunicator, line: &str) {
    if world.rank() == 0 {
        println!("{line}");
    }
}

/// Where the units (blocks, samples) or rows of each rank begin, and where the last one's end.
fn cuts(deal: &str, rows: usize, unit: usize, ranks: usize) -> Vec<usize> {
    let triangle = |r: usize, whole: usize| whole * r * (r + 1) / (ranks * (ranks + 1));
    let even = ranks.div_ceil(2);
    (0..=ranks)
        .map(|r| match deal {
            "uneven" => triangle(r, rows),
            "empty" => rows * r.div_ceil(2) / even,
            "one-row" if r == 0 => 0,
            "one-row" => rows - (ranks - r),
            "blocks" => unit * triangle(r, rows / unit),
            _ => rows / ranks * r,
        })
        .collect()
}

/// A number from 0 to 1, at random: `integrations/mpi/c` and `python` have the same.
fn uniform(i: usize, seed: u64) -> f32 {
    let h = (i as u64 ^ seed << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let h = (h ^ h >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (h >> 40) as f32 / 16_777_216.0
}

/// All of a batch, which is dealt to ranks by its samples or rows.
struct Batch {
    shape: Channels,
    x: Vec<f32>,
    dy: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl Batch {
    fn new(shape: Channels) -> Self {
        let (channels, len) = (shape.channels(), shape.elements());
        let channel = |i: usize| {
            if shape.is_last() { i % channels } else { i / shape.positions() % channels }
        };
        let x = |i| 3.0 * uniform(i, 1) + 100.0 * (channel(i) % 3) as f32;
        let parameter = |seed| (0..channels).map(|c| uniform(c, seed) - 0.25).collect();
        Self {
            shape,
            x: (0..len).map(x).collect(),
            dy: (0..len).map(|i| uniform(i, 2) - 0.5).collect(),
            gamma: parameter(3),
            beta: parameter(4),
        }
    }

    /// The elements of some of the samples.
    fn part(&self, from: usize, to: usize) -> (Channels, std::ops::Range<usize>) {
        let Self { shape, .. } = *self;
        let (channels, positions) = (shape.channels(), shape.positions());
        let part = match shape.is_last() {
            true => Channels::last(to - from, positions, channels),
            false => Channels::first(to - from, channels, positions),
        };
        let each = channels * positions;
        (part.expect("a part of a shape"), from * each..to * each)
    }

    fn affine(&self) -> Affine<'_> {
        Affine { gamma: Some(&self.gamma), beta: Some(&self.beta), valid: None }
    }
}

/// PyTorch's rule, whose running variance is that of n - 1.
fn norm() -> BatchNorm {
    BatchNorm::new().with_pytorch_momentum(0.25).with_unbiased_running_var(true)
}

/// What a training step gives.
#[derive(Debug, PartialEq)]
struct Step {
    y: Vec<f32>,
    dx: Vec<f32>,
    running: [Vec<f32>; 2],
    saved: Saved,
    gradients: Gradients,
}

/// A step of this rank's part.
fn step(world: &SimpleCommunicator, batch: &Batch, cuts: &[usize]) -> Result<Step, Error> {
    let rank = world.rank() as usize;
    let (shape, range) = batch.part(cuts[rank], cuts[rank + 1]);
    let (x, dy) = (&batch.x[range.clone()], &batch.dy[range]);
    let (mut y, mut dx) = (vec![7.0; x.len()], vec![7.0; x.len()]);
    let channels = shape.channels();
    let mut running = [vec![0.5; channels], vec![1.0; channels]];
    let [mean, var] = &mut running;
    let sync = SyncBatchNorm::new(world, norm());
    let saved = sync.forward(x, &mut y, shape, batch.affine(), Some((mean, var)))?;
    let gradients = sync.backward((x, dy), &mut dx, shape, batch.affine(), &saved)?;
    Ok(Step { y, dx, running, saved, gradients })
}

/// The same step in one process.
fn whole_step(batch: &Batch) -> Step {
    let Batch { shape, x, dy, gamma, beta } = batch;
    let channels = shape.channels();
    let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    let (mut mean, mut rstd) = (vec![0.0; channels], vec![0.0; channels]);
    let (mut dgamma, mut dbeta) = (vec![0.0; channels], vec![0.0; channels]);
    let mut running = [vec![0.5; channels], vec![1.0; channels]];
    let [running_mean, running_var] = &mut running;
    let args = TrainArgs::new().affine(gamma, beta).stats(&mut mean, &mut rstd);
    let args = args.running(running_mean, running_var);
    norm().forward_training(InOut::new(x, &mut y), *shape, args).expect("one process");
    let args = GradArgs::new().gamma(gamma).stats(&mean, &rstd);
    let args = args.dgamma(&mut dgamma).dbeta(&mut dbeta);
    norm().backward(InOut::new(dy, &mut dx), x, *shape, args).expect("one process");
    let count = (x.len() / channels) as u64;
    let (saved, gradients) = (Saved { count, mean, rstd }, Gradients { dgamma, dbeta });
    Step { y, dx, running, saved, gradients }
}

/// Laws of a deal: accuracy, bits, equality on all ranks.
fn check_deal(world: &SimpleCommunicator, deal: &str, shape: Channels, unit: usize) {
    let (batch, ranks, rank) = (Batch::new(shape), world.size() as usize, world.rank() as usize);
    let cuts = cuts(deal, shape.batch(), unit, ranks);
    let what = format!("{deal}, {shape:?}, rank {rank} of {ranks}");
    let got = step(world, &batch, &cuts).unwrap_or_else(|error| panic!("{what}: {error}"));
    let one = whole_step(&batch);
    let exact = Exact::new(&batch);

    let (_, range) = batch.part(cuts[rank], cuts[rank + 1]);
    exact.check_outputs(&what, &batch, range.clone(), &got);
    exact.check_parameters(&what, &got);
    assert_eq!(got.saved.count, one.saved.count, "{what}: count");
    same_on_all_ranks(world, &what, &got);
    if ["blocks", "powers"].contains(&deal) {
        for c in 0..shape.channels() {
            let std = 1.0 / one.saved.rstd[c];
            let bound = 1e-12 * std + f64::EPSILON * one.saved.mean[c].abs();
            near(&what, got.saved.mean[c], one.saved.mean[c], bound);
            near(&what, got.saved.rstd[c], one.saved.rstd[c], 1e-12 / std);
            let (of_dy, of_x_hat) = exact.sizes[c];
            near(&what, got.gradients.dbeta[c], one.gradients.dbeta[c], 1e-12 * of_dy);
            // Another last bit of the mean is another rounding of x_hat, here and there.
            let of_rounding = if deal == "powers" { 1e-12 } else { 1e-7 };
            near(&what, got.gradients.dgamma[c], one.gradients.dgamma[c], of_rounding * of_x_hat);
        }
    }
    // A sample of several positions, where channels come last, is a part of a block.
    if deal == "powers" || ranks == 1 {
        assert_eq!(got.saved, one.saved, "{what}: statistics");
        assert!(got.y == one.y[range], "{what}: bits of y");
        assert_eq!(got.running, one.running, "{what}: bits of running statistics");
    }
    if shape.positions() == 1 {
        check_scalers(world, &what, &batch, &cuts);
    }
}

fn near(what: &str, got: f64, expected: f64, bound: f64) {
    assert!((got - expected).abs() <= bound, "{what}: {got}, not {expected} to {bound:e}");
}

/// The step in f64, by its definition.
struct Exact {
    count: f64,
    mean: Vec<f64>,
    var: Vec<f64>,
    dbeta: Vec<f64>,
    dgamma: Vec<f64>,
    /// The sums of |dy| and of `|dy| max(1, |x_hat|)` of every channel, which bounds are relative to.
    sizes: Vec<(f64, f64)>,
    most_g: Vec<f64>,
}

const EPS: f64 = 1e-5;

impl Exact {
    fn new(batch: &Batch) -> Self {
        let Batch { shape, x, dy, gamma, .. } = batch;
        let (channels, count) = (shape.channels(), (x.len() / shape.channels()) as f64);
        let zeros = || vec![0.0; channels];
        let mut exact = Self {
            count,
            mean: zeros(),
            var: zeros(),
            dbeta: zeros(),
            dgamma: zeros(),
            sizes: vec![(0.0, 0.0); channels],
            most_g: zeros(),
        };
        for (i, &x) in x.iter().enumerate() {
            exact.mean[channel(*shape, i)] += f64::from(x) / count;
        }
        for (i, &x) in x.iter().enumerate() {
            let c = channel(*shape, i);
            exact.var[c] += (f64::from(x) - exact.mean[c]).powi(2) / count;
        }
        for (i, (&x, &dy)) in x.iter().zip(dy).enumerate() {
            let (c, dy) = (channel(*shape, i), f64::from(dy));
            let x_hat = exact.x_hat(c, x);
            exact.dbeta[c] += dy;
            exact.dgamma[c] += dy * x_hat;
            exact.sizes[c].0 += dy.abs();
            exact.sizes[c].1 += dy.abs() * x_hat.abs().max(1.0);
            exact.most_g[c] = exact.most_g[c].max((dy * f64::from(gamma[c])).abs());
        }
        exact
    }

    fn rstd(&self, c: usize) -> f64 {
        1.0 / (self.var[c] + EPS).sqrt()
    }

    fn x_hat(&self, c: usize, x: f32) -> f64 {
        (f64::from(x) - self.mean[c]) * self.rstd(c)
    }

    /// y and dx of some elements of the batch, within what evenkeel promises of one process.
    fn check_outputs(&self, what: &str, batch: &Batch, range: std::ops::Range<usize>, got: &Step) {
        for (at, i) in range.enumerate() {
            let c = channel(batch.shape, i);
            let (gamma, beta) = (f64::from(batch.gamma[c]), f64::from(batch.beta[c]));
            let (x_hat, rstd) = (self.x_hat(c, batch.x[i]), self.rstd(c));
            let bound = 1e-6 * (gamma.abs() * x_hat.abs().max(1.0) + beta.abs());
            near(what, got.y[at].into(), gamma * x_hat + beta, bound);
            let of_mean = (self.dbeta[c] + x_hat * self.dgamma[c]) / self.count;
            let dx = gamma * rstd * (f64::from(batch.dy[i]) - of_mean);
            let bound = 7e-6 * rstd * self.most_g[c] * (1.0 + x_hat.abs());
            near(what, got.dx[at].into(), dx, bound);
        }
    }

    /// Statistics and gradients of parameters, within the same. The running statistics have moved once, towards the whole batch.
    fn check_parameters(&self, what: &str, got: &Step) {
        for c in 0..self.mean.len() {
            near(what, got.gradients.dbeta[c], self.dbeta[c], 1e-6 * self.sizes[c].0);
            near(what, got.gradients.dgamma[c], self.dgamma[c], 4e-6 * self.sizes[c].1);
            let [mean, var] = &got.running;
            let unbiased = self.var[c] * self.count / (self.count - 1.0);
            let (of_mean, of_var) = (0.375 + 0.25 * self.mean[c], 0.75 + 0.25 * unbiased);
            let (std, ulp) = (self.var[c].sqrt(), f64::from(f32::EPSILON));
            near(what, mean[c].into(), of_mean, 1e-6 * std + ulp * of_mean.abs());
            near(what, var[c].into(), of_var, 2.2e-6 * unbiased + ulp * of_var);
        }
    }
}

fn channel(shape: Channels, i: usize) -> usize {
    let channels = shape.channels();
    if shape.is_last() { i % channels } else { i / shape.positions() % channels }
}

/// Law: what all ranks have, they have with the same bits.
fn same_on_all_ranks(world: &SimpleCommunicator, what: &str, got: &Step) {
    let Step { running, saved, gradients, .. } = got;
    let mut hash = Hash::new();
    running.iter().for_each(|of| hash.f32s(of));
    [&saved.mean, &saved.rstd, &gradients.dgamma, &gradients.dbeta]
        .into_iter()
        .for_each(|of| hash.f64s(of));
    let all = all_hashes(world, hash);
    assert!(all.iter().all(|hash| *hash == all[0]), "{what}: ranks differ");
}

fn all_hashes(world: &SimpleCommunicator, hash: Hash) -> Vec<u64> {
    let mut all = vec![0; world.size() as usize];
    world.all_gather_into(&hash.0, &mut all[..]);
    all
}

/// FNV-1a.
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn f32s(&mut self, x: &[f32]) {
        x.iter().for_each(|x| self.bytes(&x.to_le_bytes()));
    }

    fn f64s(&mut self, x: &[f64]) {
        x.iter().for_each(|x| self.bytes(&x.to_le_bytes()));
    }
}

/// A hash of everything that a step of the first matrix gives on all ranks, and of the scalers' states.
fn bits(world: &SimpleCommunicator, deal: &str) -> u64 {
    let (ranks, rank) = (world.size() as usize, world.rank() as usize);
    let batch = Batch::new(matrix(128 * ranks, 300).into());
    let cuts = cuts(deal, 128 * ranks, 64, ranks);
    let got = step(world, &batch, &cuts).expect("a step");
    let mut own = Hash::new();
    own.f32s(&got.y);
    own.f32s(&got.dx);
    let mut hash = Hash::new();
    all_hashes(world, own).iter().for_each(|own| hash.bytes(&own.to_le_bytes()));
    got.running.iter().for_each(|of| hash.f32s(of));
    [&got.saved.mean, &got.saved.rstd].into_iter().for_each(|of| hash.f64s(of));
    [&got.gradients.dgamma, &got.gradients.dbeta].into_iter().for_each(|of| hash.f64s(of));
    let (_, range) = batch.part(cuts[rank], cuts[rank + 1]);
    let rows = matrix(cuts[rank + 1] - cuts[rank], 300);
    let mut standard = StandardScaler::new(300).expect("a small scaler");
    scalers::fit(world, &mut standard, &batch.x[range.clone()], rows).expect("a fit");
    hash.bytes(&standard.to_bytes().expect("memory"));
    let mut min_max = MinMaxScaler::new(300).expect("a small scaler");
    scalers::fit(world, &mut min_max, &batch.x[range], rows).expect("a fit");
    hash.bytes(&min_max.to_bytes().expect("memory"));
    hash.0
}

/// Laws: scalers are those of one process, and the same on all ranks. NaN are not counted.
fn check_scalers(world: &SimpleCommunicator, what: &str, batch: &Batch, cuts: &[usize]) {
    let rank = world.rank() as usize;
    let mut x = batch.x.clone();
    x.iter_mut().step_by(37).for_each(|x| *x = f32::NAN);
    let (cols, rows) = (batch.shape.channels(), batch.shape.batch());
    let part = &x[cuts[rank] * cols..cuts[rank + 1] * cols];
    let part_rows = matrix(cuts[rank + 1] - cuts[rank], cols);

    let mut one = StandardScaler::new(cols).expect("a small scaler");
    one.fit(&x, matrix(rows, cols)).expect("one process");
    let mut got = StandardScaler::new(cols).expect("a small scaler").with_std(false);
    scalers::fit(world, &mut got, part, part_rows).expect("a fit");
    for (got, one) in got.moments().iter().zip(one.moments()) {
        assert_eq!(got.count, one.count, "{what}: count");
        let std = one.population_variance().unwrap_or(0.0).sqrt();
        near(what, got.mean, one.mean, 1e-12 * std + f64::EPSILON * one.mean.abs());
        near(what, got.m2, one.m2, 1e-12 * one.m2);
    }
    let mut of_ranges = MinMaxScaler::new(cols).expect("a small scaler").with_clip(true);
    scalers::fit(world, &mut of_ranges, part, part_rows).expect("a fit");
    let mut one = MinMaxScaler::new(cols).expect("a small scaler").with_clip(true);
    one.fit(&x, matrix(rows, cols)).expect("one process");
    assert_eq!(of_ranges.to_bytes(), one.to_bytes(), "{what}: minima and maxima");
    let mut hash = Hash::new();
    hash.bytes(&got.to_bytes().expect("memory"));
    let all = all_hashes(world, hash);
    assert!(all.iter().all(|hash| *hash == all[0]), "{what}: scalers differ");
}

/// Law: padding on any rank leaves statistics and gradients as those of the batch without it.
fn padding(world: &SimpleCommunicator) {
    let (ranks, rank) = (world.size() as usize, world.rank() as usize);
    let batch = Batch::new(matrix(9 * ranks, 11).into());
    // Every third row is padding; of the last rank, all but one are.
    let is_data = |row: usize| match row / 9 {
        of if of + 1 == ranks => row % 9 == 4,
        _ => row % 3 != 1,
    };
    let mask: Vec<u8> = (9 * rank..9 * rank + 9).map(|row| is_data(row).into()).collect();
    let valid = Some(ValidRows::Mask(Mask::Bytes(&mask)));
    let affine = Affine { valid, ..batch.affine() };
    let (rows, range) = (matrix(9, 11), 99 * rank..99 * rank + 99);
    let (mut y, mut dx) = ([7.0; 99], [7.0; 99]);
    let sync = SyncBatchNorm::new(world, norm());
    let saved = sync.forward(&batch.x[range.clone()], &mut y, rows, affine, None).expect("a step");
    let (x, dy) = (&batch.x[range.clone()], &batch.dy[range]);
    let gradients = sync.backward((x, dy), &mut dx, rows, affine, &saved).expect("a step");

    let data: Vec<usize> = (0..9 * ranks).filter(|&row| is_data(row)).collect();
    let of = |x: &[f32]| data.iter().flat_map(|row| x[11 * row..11 * row + 11].to_vec()).collect();
    let (gamma, beta) = (batch.gamma.clone(), batch.beta.clone());
    let shape = matrix(data.len(), 11).into();
    let without = Batch { shape, x: of(&batch.x), dy: of(&batch.dy), gamma, beta };
    let exact = Exact::new(&without);
    assert_eq!(saved.count, data.len() as u64);
    for c in 0..11 {
        near("padding", saved.mean[c], exact.mean[c], 1e-6);
        near("padding", gradients.dbeta[c], exact.dbeta[c], 1e-6 * exact.sizes[c].0);
        near("padding", gradients.dgamma[c], exact.dgamma[c], 4e-6 * exact.sizes[c].1);
    }
    for (row, mask) in mask.iter().enumerate().filter(|(_, mask)| **mask == 0) {
        let of_row = 11 * row..11 * row + 11;
        assert!(y[of_row.clone()].iter().chain(&dx[of_row]).all(|x| *x == 0.0), "row {row} {mask}");
    }
}

/// Laws: what one rank does wrong is an error on all ranks, and nothing is written.
fn errors(world: &SimpleCommunicator) {
    let (ranks, rank) = (world.size() as usize, world.rank() as usize);
    let odd_one_out = rank + 1 == ranks;
    let sync = SyncBatchNorm::new(world, norm());
    let other_norm = if odd_one_out { norm().with_eps(1e-3) } else { norm() };
    let other_settings = SyncBatchNorm::new(world, other_norm);
    let case =
        |what: &str, cols: usize, y_len: usize, sync: &SyncBatchNorm<'_, SimpleCommunicator>| {
            let (x, mut y) = (vec![1.0_f32; 4 * cols], vec![7.0_f32; y_len]);
            let mut running = [vec![0.5; cols], vec![1.0; cols]];
            let [mean, var] = &mut running;
            let affine = Affine::default();
            let result = sync.forward(&x, &mut y, matrix(4, cols), affine, Some((mean, var)));
            let error = result.expect_err(what);
            assert!(y.iter().all(|y| *y == 7.0), "{what}: y is written");
            assert_eq!(running, [vec![0.5; cols], vec![1.0; cols]], "{what}: written");
            error
        };
    let error = case("a wrong length on one rank", 6, 24 - usize::from(odd_one_out), &sync);
    match odd_one_out {
        true => assert!(matches!(error, Error::Here(evenkeel::Error::Length { .. })), "{error}"),
        false => assert_eq!(error, Error::OnRank { rank: ranks - 1 }),
    }
    if ranks == 1 {
        return;
    }
    let differs = |error: &Error, of: &str| {
        let is_it =
            matches!(error, Error::Differs { rank, what, .. } if *rank == ranks - 1 && *what == of);
        assert!(is_it, "{of}: {error}");
    };
    let cols = 6 + usize::from(odd_one_out);
    differs(&case("another number of channels on one rank", cols, 4 * cols, &sync), "channels");
    differs(&case("another eps on one rank", 6, 24, &other_settings), "settings");

    // Another layout, and another pass.
    let (x, mut y) = (vec![1.0_f32; 24], vec![7.0_f32; 24]);
    let shape = match odd_one_out {
        true => Channels::first(2, 6, 2),
        false => Channels::last(2, 2, 6),
    };
    let shape = shape.expect("a small shape");
    let affine = Affine::default();
    differs(&sync.forward(&x, &mut y, shape, affine, None).expect_err("layouts"), "layout");
    let saved = Saved { count: 100, mean: vec![0.0; 6], rstd: vec![1.0; 6] };
    let error = match odd_one_out {
        true => sync.backward((&x, &x), &mut y, matrix(4, 6), affine, &saved).map(drop),
        false => sync.forward(&x, &mut y, matrix(4, 6), affine, None).map(drop),
    };
    differs(&error.expect_err("passes"), "operation");
    assert!(y.iter().all(|y| *y == 7.0), "y is written");

    // Scalers of other features, and of other settings, of which those that were fitted stay as they are.
    let mut scaler = StandardScaler::new(cols).expect("a small scaler");
    scaler.fit(&vec![2.0_f32; cols], matrix(1, cols)).expect("one process");
    let before = scaler.to_bytes();
    let error = scalers::fit(world, &mut scaler, &vec![1.0_f32; 4 * cols], matrix(4, cols));
    differs(&error.expect_err("features"), "channels");
    assert_eq!(scaler.to_bytes(), before);
    let scaler = MinMaxScaler::new(3).expect("a small scaler").with_clip(odd_one_out);
    differs(&scalers::merge(world, &scaler).expect_err("settings"), "settings");
}
