//! How an engine calls evenkeel: tensors, memory and threads are its own. `cargo run --release --example engine`
#![forbid(unsafe_code)]

use std::thread;

use evenkeel::{
    BatchNorm, Channels, Dropout, DropoutArgs, Error, InOut, LayerNorm, NormArgs, Pool, RmsNorm,
    Rows, Stream, to_vec,
};

struct Tensor {
    shape: [usize; 3],
    data: Vec<f32>,
}

/// So many threads, the calling one among them. Each takes every n-th part.
struct Threads(usize);

impl Pool for Threads {
    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        let work = |first: usize| (first..parts).step_by(self.0).for_each(part);
        thread::scope(|scope| {
            (1..self.0).for_each(|first| drop(scope.spawn(move || work(first))));
            work(0);
        });
    }
}

fn main() -> Result<(), Error> {
    let (pool, shape @ [batch, channels, positions]) = (Threads(4), [4, 64, 768]);
    let data = (0..batch * channels * positions).map(|i| (i % 1009) as f32).collect();
    let (mut x, rows) = (Tensor { shape, data }, Rows::new(batch * channels, positions)?);
    let (gamma, beta) = ([2.0_f32; 768], [0.5_f32; 768]);

    // Into a new tensor, whose memory is written once. The threads change no bit.
    let layer_norm = |args: NormArgs<'_>| -> Result<Tensor, Error> {
        let norm = LayerNorm::new();
        let data = to_vec(x.data.len(), |y| norm.forward(InOut::uninit(&x.data, y), rows, args))?;
        Ok(Tensor { shape, data })
    };
    let normal = layer_norm(NormArgs::new().affine(&gamma, &beta).pool(&pool))?;
    assert_eq!(normal.data, layer_norm(NormArgs::new().affine(&gamma, &beta))?.data);
    let mean_of_row = normal.data[..768].iter().sum::<f32>() / 768.0;
    assert!((mean_of_row - beta[0]).abs() < 1e-4, "{mean_of_row}");
    println!("LayerNorm of {:?}: {:?}", normal.shape, &normal.data[..4]);

    // In place: x becomes norm(x + residual). The sum goes to new memory.
    let (before, mut sum) = (x.data.clone(), Vec::<f32>::new());
    let args = NormArgs::new().gamma(&gamma).residual(&normal.data).sum_vec(&mut sum).pool(&pool);
    RmsNorm::new().forward(InOut::in_place(&mut x.data), rows, args)?;
    assert!(sum.iter().zip(before.iter().zip(&normal.data)).all(|(sum, (x, r))| *sum == x + r));
    let mean_square = x.data[..768].iter().map(|y| y * y).sum::<f32>() / 768.0;
    assert!((mean_square - gamma[0] * gamma[0]).abs() < 1e-3, "{mean_square}");
    println!("RmsNorm of x + residual: {:?}", &x.data[..4]);

    // Out of place, the same elements as samples of channels.
    let (mean, var, mut y) = ([1.0_f32; 64], [4.0_f32; 64], vec![0.0_f32; sum.len()]);
    let (io, samples) = (InOut::new(&sum, &mut y), Channels::first(batch, channels, positions)?);
    let (norm, args) = (BatchNorm::new().with_eps(0.0), NormArgs::new().pool(&pool));
    norm.forward_inference(io, samples, &mean, &var, args)?;
    assert!(y.iter().zip(&sum).all(|(y, x)| (y - (x - 1.0) / 2.0).abs() <= 1e-3));
    println!("BatchNorm, inference: {:?}", &y[..4]);

    let args = DropoutArgs::draw(Stream { seed: 1, offset: 0 }).pool(&pool);
    let y = Dropout::new().with_p(0.25).forward(InOut::in_place(&mut y), args)?;
    let share = y.iter().filter(|&&y| y == 0.0).count() as f64 / y.len() as f64;
    assert!((share - 0.25).abs() < 0.01, "{share} is dropped");
    println!("Dropout with p = 0.25: {share:.4} is dropped");
    Ok(())
}
