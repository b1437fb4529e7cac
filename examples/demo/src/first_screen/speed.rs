//! How long operations, plain loops and memcpy take, in turn.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

use evenkeel::{
    BatchNorm, Dropout, DropoutArgs, Error, GradArgs, InOut, LayerNorm, NormArgs, Parallelism,
    RmsNorm, Stream, TrainArgs,
};
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::Layer;
use super::plain::{self, Gradients};

/// How often each is measured.
pub const RUNS: usize = 21;
/// A run works on at least so many elements, by as many calls as that needs.
const RUN_ELEMENTS: usize = 1 << 21;
const P: f64 = 0.1;

/// Medians of a call, in seconds.
pub struct Speed {
    pub memcpy: f64,
    pub operations: Vec<Times>,
}

/// Medians of a call of one operation, in seconds.
pub struct Times {
    pub name: &'static str,
    pub evenkeel: f64,
    pub plain: f64,
}

/// Writes y, or dx.
type Run<'a> = Box<dyn FnMut(&mut [f32]) -> Result<(), Error> + 'a>;

/// Measures all in turn, so that what slows the machine down meanwhile slows all of them.
pub fn measure(layer: &Layer) -> Result<Speed, Error> {
    let memcpy: Run<'_> = Box::new(|y| {
        y.copy_from_slice(&layer.x);
        Ok(())
    });
    let operations =
        [layer_norm(layer), gradients(layer), rms_norm(layer), batch_norm(layer), dropout(layer)];
    let mut names = Vec::new();
    let mut runs = vec![memcpy];
    for (name, operation) in operations {
        names.push(name);
        runs.extend(operation);
    }

    let mut y = vec![0.0; layer.x.len()];
    let calls = RUN_ELEMENTS.div_ceil(layer.x.len());
    let mut seconds = vec![Vec::new(); runs.len()];
    // The first round, in which memory is new and code cold, does not count.
    for round in 0..=RUNS {
        for (run, seconds) in runs.iter_mut().zip(&mut seconds) {
            let start = Instant::now();
            for _ in 0..calls {
                run(black_box(&mut y))?;
            }
            let elapsed = start.elapsed().as_secs_f64() / calls as f64;
            if round > 0 {
                seconds.push(elapsed);
            }
        }
    }
    let medians: Vec<f64> = seconds.into_iter().map(median).collect();
    let operations = names.into_iter().zip(medians[1..].chunks_exact(2));
    let times = |(name, it): (_, &[f64])| Times { name, evenkeel: it[0], plain: it[1] };
    Ok(Speed { memcpy: medians[0], operations: operations.map(times).collect() })
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// evenkeel's, then the plain loop.
type Operation<'a> = (&'static str, [Run<'a>; 2]);

fn layer_norm(layer: &Layer) -> Operation<'_> {
    let norm = LayerNorm::new().with_parallelism(Parallelism::Serial);
    let args = || NormArgs::new().affine(&layer.gamma, &layer.beta);
    let evenkeel: Run<'_> =
        Box::new(move |y| norm.forward(InOut::new(&layer.x, y), layer.rows, args()).map(drop));
    let plain = layer.plain();
    ("LayerNorm", [evenkeel, infallible(move |y| plain.layer_norm(&layer.x, y))])
}

fn gradients(layer: &Layer) -> Operation<'_> {
    let cols = layer.rows.cols();
    let norm = LayerNorm::new().with_parallelism(Parallelism::Serial);
    let (mut dgamma, mut dbeta) = (vec![0.0_f32; cols], vec![0.0_f32; cols]);
    let evenkeel: Run<'_> = Box::new(move |dx| {
        let args = GradArgs::new().gamma(&layer.gamma).dgamma(&mut dgamma).dbeta(&mut dbeta);
        norm.backward(InOut::new(&layer.dy, dx), &layer.x, layer.rows, args).map(drop)
    });
    let plain = layer.plain();
    let (mut dgamma, mut dbeta) = (vec![0.0; cols], vec![0.0; cols]);
    let plain = infallible(move |dx| {
        let mut gradients = Gradients { dx, dgamma: &mut dgamma, dbeta: &mut dbeta };
        plain.layer_norm_backward(&layer.dy, &layer.x, &mut gradients);
    });
    ("LayerNorm backward", [evenkeel, plain])
}

fn rms_norm(layer: &Layer) -> Operation<'_> {
    let norm = RmsNorm::new().with_parallelism(Parallelism::Serial);
    let args = || NormArgs::new().gamma(&layer.gamma);
    let evenkeel: Run<'_> =
        Box::new(move |y| norm.forward(InOut::new(&layer.x, y), layer.rows, args()).map(drop));
    let plain = layer.plain();
    ("RmsNorm", [evenkeel, infallible(move |y| plain.rms_norm(&layer.x, y))])
}

fn batch_norm(layer: &Layer) -> Operation<'_> {
    let norm = BatchNorm::new().with_parallelism(Parallelism::Serial);
    let args = || TrainArgs::new().affine(&layer.gamma, &layer.beta);
    let evenkeel: Run<'_> = Box::new(move |y| {
        norm.forward_training(InOut::new(&layer.x, y), layer.rows, args()).map(drop)
    });
    let plain = layer.plain();
    ("BatchNorm training", [evenkeel, infallible(move |y| plain.batch_norm(&layer.x, y))])
}

fn dropout(layer: &Layer) -> Operation<'_> {
    let dropout = Dropout::new().with_p(P).with_parallelism(Parallelism::Serial);
    let args = || DropoutArgs::draw(Stream { seed: 1, offset: 0 });
    let evenkeel: Run<'_> =
        Box::new(move |y| dropout.forward(InOut::new(&layer.x, y), args()).map(drop));
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let plain = infallible(move |y| plain::dropout(P as f32, &mut random, &layer.x, y));
    ("Dropout, p = 0.1", [evenkeel, plain])
}

fn infallible<'a>(mut run: impl FnMut(&mut [f32]) + 'a) -> Run<'a> {
    Box::new(move |y| {
        run(y);
        Ok(())
    })
}
