//! Law: the error bounds of backward passes over columns and channels. Data: every hard row as a channel, with gradients of every
//! kind, in every layout. Every backend.
#![forbid(unsafe_code)]

use evenkeel::reference::{self, RowGradients};
use evenkeel::{
    Backend, BatchNorm, Channels, Error, GradArgs, GroupNorm, InOut, InstanceNorm, LayerNorm,
    NormalizeScaleShift, Parallelism, Statistics,
};

use crate::common::*;
use crate::gradients::GRADIENT;

/// The error of dbeta, as a part of the sum of `|dy|`.
const DBETA: f64 = 1e-6;
/// Beyond it the docs promise nothing.
const LARGEST: f64 = 3e38;

/// What is differentiated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layer {
    Batch,
    /// With running statistics: those of the batch, rounded.
    Inference,
    /// Channels whose statistics are given: those of the batch.
    Given,
    /// GroupNorm, of so many groups.
    Group(usize),
    Instance,
    /// LayerNorm over channels.
    Positions,
}

/// Those whose statistics are those of channels.
pub const LAYERS: [Layer; 4] = [Layer::Batch, Layer::Inference, Layer::Given, Layer::Instance];

/// A call: samples of x and dy, and gamma.
pub struct Problem<'a> {
    pub layer: Layer,
    pub shape: Channels,
    pub x: &'a [f32],
    pub dy: &'a [f32],
    pub gamma: Option<&'a [f32]>,
    pub eps: f64,
}

/// Gradients in f64, and what their errors are measured in.
pub struct Expected {
    pub dx: Vec<f64>,
    pub dx_scale: Vec<f64>,
    rstd: Vec<f64>,
    pub dgamma: Vec<f64>,
    pub dgamma_scale: Vec<f64>,
    pub dbeta: Vec<f64>,
    dbeta_scale: Vec<f64>,
    /// Whether g, `x_hat`, dx and the scale of its error are in the range of f32, for each element.
    in_range: Vec<bool>,
}

/// The channel of element i.
pub fn channel(shape: Channels, i: usize) -> usize {
    if shape.is_last() { i % shape.channels() } else { i / shape.positions() % shape.channels() }
}

/// The position of element i in its sample.
pub fn position(shape: Channels, i: usize) -> usize {
    if shape.is_last() { i / shape.channels() % shape.positions() } else { i % shape.positions() }
}

impl Problem<'_> {
    /// The elements that have their statistics in common with element i: a number for each set, below that of elements.
    fn set(&self, i: usize) -> usize {
        let (shape, c) = (self.shape, channel(self.shape, i));
        let (n, p) = (i / (shape.channels() * shape.positions()), position(shape, i));
        match self.layer {
            Layer::Batch | Layer::Inference | Layer::Given => c,
            Layer::Group(groups) => n * groups + c / (shape.channels() / groups),
            Layer::Instance => n * shape.channels() + c,
            Layer::Positions => n * shape.positions() + p,
        }
    }

    /// Mean and rstd of every set.
    fn statistics(&self) -> (Vec<f64>, Vec<f64>) {
        let Self { x, shape, eps, .. } = *self;
        let mut y = vec![0.0; x.len()];
        match self.layer {
            Layer::Batch | Layer::Given => reference::batch_norm(x, None, None, shape, eps, &mut y),
            Layer::Group(groups) => {
                reference::group_norm(x, None, None, shape, groups, eps, &mut y)
            }
            Layer::Instance => {
                reference::group_norm(x, None, None, shape, shape.channels(), eps, &mut y)
            }
            Layer::Positions => reference::layer_norm_channels(x, None, None, shape, eps, &mut y),
            Layer::Inference => {
                let (mean, var) = self.running();
                let rstd = var.iter().map(|&var| reference::rstd(f64::from(var), eps));
                (mean.iter().map(|&mean| f64::from(mean)).collect(), rstd.collect())
            }
        }
    }

    /// Running statistics.
    fn running(&self) -> (Vec<f32>, Vec<f32>) {
        let mut y = vec![0.0; self.x.len()];
        // 1 / sqrt(var + 0)
        let (mean, rstd) = reference::batch_norm(self.x, None, None, self.shape, 0.0, &mut y);
        let var = rstd.iter().map(|rstd| if *rstd == 0.0 { 0.0 } else { (1.0 / rstd).powi(2) });
        let var = var.map(|var| (var as f32).min(f32::MAX)).collect();
        (mean.iter().map(|&mean| mean as f32).collect(), var)
    }

    pub fn expected(&self) -> Expected {
        let Self { x, dy, shape, gamma, eps, .. } = *self;
        let (len, channels) = (x.len(), shape.channels());
        let [mut dx, mut dgamma, mut dbeta] = [len, channels, channels].map(|len| vec![0.0; len]);
        let gradients = &mut RowGradients { dx: &mut dx, dgamma: &mut dgamma, dbeta: &mut dbeta };
        let (mean, rstd) = self.statistics();
        match self.layer {
            Layer::Batch => reference::batch_norm_backward(dy, x, gamma, shape, eps, gradients),
            Layer::Group(groups) => {
                reference::group_norm_backward(dy, x, gamma, shape, groups, eps, gradients);
            }
            Layer::Instance => {
                let groups = shape.channels();
                reference::group_norm_backward(dy, x, gamma, shape, groups, eps, gradients);
            }
            Layer::Positions => {
                reference::layer_norm_channels_backward(dy, x, gamma, shape, eps, gradients);
            }
            Layer::Inference | Layer::Given => reference::normalize_scale_shift_channels_backward(
                dy,
                x,
                [&mean, &rstd],
                gamma,
                shape,
                gradients,
            ),
        }
        let g = |i: usize| {
            f64::from(dy[i]) * gamma.map_or(1.0, |gamma| f64::from(gamma[channel(shape, i)]))
        };
        let mut most = vec![0.0_f64; mean.len()];
        for i in 0..len {
            let most = &mut most[self.set(i)];
            *most = most.max(g(i).abs());
        }
        let mut all = Expected {
            dx,
            dx_scale: vec![0.0; len],
            rstd: vec![0.0; len],
            dgamma,
            dgamma_scale: vec![0.0; channels],
            dbeta,
            dbeta_scale: vec![0.0; channels],
            in_range: vec![true; len],
        };
        for i in 0..len {
            let (c, set) = (channel(shape, i), self.set(i));
            let x_hat = (f64::from(x[i]) - mean[set]) * rstd[set];
            let of_dy = f64::from(dy[i]).abs();
            all.dx_scale[i] = rstd[set] * most[set] * (1.0 + x_hat.abs());
            all.rstd[i] = rstd[set];
            all.dgamma_scale[c] += of_dy * x_hat.abs().max(1.0);
            all.dbeta_scale[c] += of_dy;
            let numbers = [g(i), x_hat, all.dx[i], all.dx_scale[i]];
            all.in_range[i] = numbers.iter().all(|number| number.abs() < LARGEST);
        }
        all
    }

    /// dx, dgamma and dbeta of a call.
    pub fn call(
        &self,
        backend: Backend,
        parallelism: Parallelism,
    ) -> (Vec<f32>, Vec<f64>, Vec<f64>) {
        let channels = self.shape.channels();
        let mut dx = vec![f32::NAN; self.x.len()];
        let (mut dgamma, mut dbeta) = (vec![f64::NAN; channels], vec![f64::NAN; channels]);
        let args = GradArgs::new().dgamma(&mut dgamma).dbeta(&mut dbeta);
        let io = InOut::new(self.dy, &mut dx);
        self.run(backend, parallelism, io, args).unwrap();
        (dx, dgamma, dbeta)
    }

    pub fn run<'a>(
        &self,
        backend: Backend,
        parallelism: Parallelism,
        io: InOut<'_, 'a>,
        args: GradArgs<'_>,
    ) -> Result<&'a mut [f32], Error> {
        let args = args.maybe_gamma(self.gamma);
        let Self { x, shape, .. } = *self;
        let batch_norm =
            BatchNorm::new().with_eps(self.eps).with_backend(backend).with_parallelism(parallelism);
        match self.layer {
            Layer::Group(groups) => GroupNorm::new()
                .with_groups(groups)
                .with_eps(self.eps)
                .with_backend(backend)
                .with_parallelism(parallelism)
                .backward(io, x, shape, args),
            Layer::Instance => InstanceNorm::new()
                .with_eps(self.eps)
                .with_backend(backend)
                .with_parallelism(parallelism)
                .backward(io, x, shape, args),
            Layer::Positions => LayerNorm::new()
                .with_eps(self.eps)
                .with_backend(backend)
                .with_parallelism(parallelism)
                .backward(io, x, shape, args),
            Layer::Batch => batch_norm.backward(io, x, shape, args),
            Layer::Inference => {
                let (mean, var) = self.running();
                batch_norm.backward_inference(io, x, shape, (&mean, &var), args)
            }
            Layer::Given => {
                let (mean, rstd) = self.statistics();
                NormalizeScaleShift::new()
                    .with_backend(backend)
                    .with_parallelism(parallelism)
                    .backward(io, x, shape, Statistics::of_columns(&mean, &rstd), args)
            }
        }
    }

    /// Asserts the bounds of the docs.
    #[track_caller]
    fn check(&self, name: &str) {
        let expected = self.expected();
        let (mut in_range, mut set_in_range) =
            (vec![true; self.shape.channels()], vec![true; self.x.len()]);
        for (i, is_there) in expected.in_range.iter().enumerate() {
            in_range[channel(self.shape, i)] &= is_there;
            set_in_range[self.set(i)] &= is_there;
        }
        let elements = self.x.len() as f64 / self.shape.channels().max(1) as f64;
        for backend in backends() {
            let (dx, dgamma, dbeta) = self.call(backend, Parallelism::Auto);
            let what =
                format!("{:?}, {backend}, {:?}, {name}, eps {}", self.layer, self.shape, self.eps);
            for (i, &dx) in dx.iter().enumerate() {
                if !set_in_range[self.set(i)] {
                    continue;
                }
                let bound = GRADIENT * expected.dx_scale[i] + SUBNORMAL * (1.0 + expected.rstd[i]);
                let error = (f64::from(dx) - expected.dx[i]).abs();
                assert!(
                    error <= bound,
                    "{what}: dx {i}, channel {}: expected {:e}, got {dx:e}, {} of the bound",
                    channel(self.shape, i),
                    expected.dx[i],
                    error / bound,
                );
            }
            for c in (0..self.shape.channels()).filter(|&c| in_range[c]) {
                let bound = GRADIENT * expected.dgamma_scale[c] + elements * SUBNORMAL;
                let error = (dgamma[c] - expected.dgamma[c]).abs();
                assert!(
                    error <= bound,
                    "{what}: dgamma {c}: expected {:e}, got {:e}, {} of the bound",
                    expected.dgamma[c],
                    dgamma[c],
                    error / bound,
                );
                let error = (dbeta[c] - expected.dbeta[c]).abs();
                assert!(
                    error <= DBETA * expected.dbeta_scale[c],
                    "{what}: dbeta {c}: expected {:e}, got {:e}",
                    expected.dbeta[c],
                    dbeta[c],
                );
            }
        }
    }
}

/// So many gradients of the kind with a number: of one sign, of one element, tiny, huge and others.
fn dys(kind: usize, len: usize, random: &mut Random) -> Vec<f32> {
    let normals = random.normals(len);
    let one = |i: usize| (0..len).map(|c| if c == i { 1.0 } else { 0.0 }).collect();
    let scaled = |factor: f32| normals.iter().map(|dy| dy * factor).collect();
    match kind % 9 {
        0 => normals,
        1 => normals.iter().map(|dy| dy.abs()).collect(),
        2 => one(len / 2),
        3 => vec![1.0; len],
        4 => one(0),
        5 => vec![0.0; len],
        6 => scaled(1e-30),
        7 => scaled(1e-41),
        _ => scaled(1e30),
    }
}

/// Channels, one for each data set, whose rows are the values of one; and their gradients, of one kind after the other.
fn hard(len: usize, shift: usize) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let random = &mut Random::new((len * 7 + shift) as u64);
    let x = DATA_SETS.iter().map(|set| set.row(len, random)).collect();
    let dy = (0..DATA_SETS.len()).map(|c| dys(c + shift, len, random)).collect();
    (x, dy)
}

/// The elements of positions, each of which has so many channels.
fn across(shape: Channels, positions: &[Vec<f32>]) -> Vec<f32> {
    (0..shape.elements()).map(|i| positions[position(shape, i)][channel(shape, i)]).collect()
}

/// The elements of channels in a layout.
fn laid_out(shape: Channels, channels: &[Vec<f32>]) -> Vec<f32> {
    let (count, positions) = (shape.channels(), shape.positions());
    (0..shape.elements())
        .map(|i| {
            let row = if shape.is_last() {
                i / count
            } else {
                i / (count * positions) * positions + i % positions
            };
            channels[channel(shape, i)][row]
        })
        .collect()
}

/// Lengths of channels: blocks of narrow and of wide rows, and of planes.
fn lens() -> impl Iterator<Item = usize> {
    let all = [1, 2, 3, 7, 16, 63, 64, 65, 130, 300, 511, 520, 1027, 2100, 4100];
    all.into_iter().filter(|&len| !short() || len <= 130)
}

#[test]
fn gradients_of_hard_channels_are_within_the_bound() {
    for len in lens() {
        for shift in 0..if short() { 2 } else { 9 } {
            let (x, dy) = hard(len, shift);
            let gamma = Random::new(len as u64).normals(x.len());
            let count = x.len();
            let layouts = [
                Channels::last(1, len, count),
                Channels::first(1, count, len),
                Channels::first(len, count, 1),
                if len % 3 == 0 {
                    Channels::first(3, count, len / 3)
                } else {
                    Channels::last(len, 1, count)
                },
            ];
            for (l, shape) in layouts.into_iter().enumerate() {
                let shape = shape.unwrap();
                let (x, dy) = (laid_out(shape, &x), laid_out(shape, &dy));
                for layer in LAYERS {
                    let (eps, gamma) =
                        if (l + shift) % 2 == 0 { (1e-5, None) } else { (0.0, Some(&gamma[..])) };
                    let problem = Problem { layer, shape, x: &x, dy: &dy, gamma, eps };
                    problem.check(&format!("gradients of kind {shift}"));
                }
            }
        }
    }
}

/// Law: so are those of wide rows, in several panels, and of many rows, in several chunks.
#[test]
fn gradients_of_many_columns_are_within_the_bound() {
    for (count, cols) in [(70, 300), (5, 2100), (200, 1030), (20_000, 3), (9000, 20)] {
        if short() && count * cols > 25_000 {
            continue;
        }
        let random = &mut Random::new((count * cols) as u64);
        let columns: Vec<Vec<f32>> =
            (0..cols).map(|c| DATA_SETS[c % 20].row(count, random)).collect();
        let (dy, gamma) = (random.normals(count * cols), random.normals(cols));
        let of_one_sign: Vec<f32> = dy.iter().map(|dy| dy.abs()).collect();
        for shape in [Channels::last(1, count, cols), Channels::first(1, cols, count)] {
            let shape = shape.unwrap();
            let x = laid_out(shape, &columns);
            for (dy, gamma) in [(&dy, None), (&of_one_sign, Some(&gamma[..]))] {
                for layer in [Layer::Batch, Layer::Group(if cols % 5 == 0 { 5 } else { 1 })] {
                    Problem { layer, shape, x: &x, dy, gamma, eps: 1e-5 }.check("many");
                }
            }
        }
    }
}

/// Law: so are those of groups of two channels, which have the values of one data set.
#[test]
fn gradients_of_hard_groups_are_within_the_bound() {
    for len in lens().filter(|len| len % 2 == 0) {
        for shift in 0..if short() { 2 } else { 9 } {
            let (x, dy) = hard(len, shift);
            let (groups, channels) = (x.len(), 2 * x.len());
            let gamma = Random::new(len as u64).normals(channels);
            let halves = |of: &[Vec<f32>]| -> Vec<Vec<f32>> {
                of.iter().flat_map(|row| row.chunks(len / 2).map(<[f32]>::to_vec)).collect()
            };
            let (x, dy) = (halves(&x), halves(&dy));
            for shape in
                [Channels::last(1, len / 2, channels), Channels::first(1, channels, len / 2)]
            {
                let shape = shape.unwrap();
                let (x, dy) = (laid_out(shape, &x), laid_out(shape, &dy));
                let (layer, gamma) = (Layer::Group(groups), Some(&gamma[..]));
                let problem = Problem { layer, shape, x: &x, dy: &dy, gamma, eps: 1e-5 };
                problem.check(&format!("gradients of kind {shift}"));
            }
        }
    }
}

/// Law: so are those of positions, whose channels have the values of a data set. Those that leave f32 are left out: every channel
/// would have one.
#[test]
fn gradients_of_hard_positions_are_within_the_bound() {
    for len in lens() {
        for shift in 0..if short() { 2 } else { 9 } {
            let (x, dy) = hard(len, shift);
            let gamma = Random::new(len as u64).normals(len);
            let (eps, gamma) = if shift % 2 == 0 { (1e-5, None) } else { (0.0, Some(&gamma[..])) };
            let layer = Layer::Positions;
            let all = Channels::first(1, len, x.len()).unwrap();
            let (all_x, all_dy) = (across(all, &x), across(all, &dy));
            let expected =
                Problem { layer, shape: all, x: &all_x, dy: &all_dy, gamma, eps }.expected();
            let fits = |p: usize| (0..len).all(|c| expected.in_range[c * x.len() + p]);
            let keep = |of: &[Vec<f32>]| -> Vec<Vec<f32>> {
                (0..of.len()).filter(|&p| fits(p)).map(|p| of[p].clone()).collect()
            };
            let (x, dy) = (keep(&x), keep(&dy));
            let shape = Channels::first(1, len, x.len()).unwrap();
            let (x, dy) = (across(shape, &x), across(shape, &dy));
            let problem = Problem { layer, shape, x: &x, dy: &dy, gamma, eps };
            problem.check(&format!("gradients of kind {shift}"));
        }
    }
}
