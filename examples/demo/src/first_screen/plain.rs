//! The loops that a user would write without evenkeel: f32, one statement after the other, no intrinsics.
//!
//! The compiler keeps the order of additions, so that the sums of a row are not vectorised. All else is.
#![forbid(unsafe_code)]

use rand_core::Rng;

const EPS: f32 = 1e-5;

/// A matrix of rows of `cols` numbers is normalised with these.
pub struct Plain<'a> {
    pub cols: usize,
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
}

/// What a backward pass writes.
pub struct Gradients<'a> {
    pub dx: &'a mut [f32],
    pub dgamma: &'a mut [f32],
    pub dbeta: &'a mut [f32],
}

impl Plain<'_> {
    pub fn layer_norm(&self, x: &[f32], y: &mut [f32]) {
        for (x, y) in x.chunks_exact(self.cols).zip(y.chunks_exact_mut(self.cols)) {
            let (mean, rstd) = statistics(x);
            for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(self.gamma).zip(self.beta) {
                *y = (x - mean) * rstd * gamma + beta;
            }
        }
    }

    pub fn layer_norm_backward(&self, dy: &[f32], x: &[f32], gradients: &mut Gradients<'_>) {
        let Gradients { dx, dgamma, dbeta } = gradients;
        dgamma.fill(0.0);
        dbeta.fill(0.0);
        let rows = dy.chunks_exact(self.cols).zip(x.chunks_exact(self.cols));
        for ((dy, x), dx) in rows.zip(dx.chunks_exact_mut(self.cols)) {
            let (mean, rstd) = statistics(x);
            let (mut sum, mut product) = (0.0, 0.0);
            for ((dy, x), gamma) in dy.iter().zip(x).zip(self.gamma) {
                sum += dy * gamma;
                product += dy * gamma * (x - mean) * rstd;
            }
            let (sum, product) = (sum / self.cols as f32, product / self.cols as f32);
            for i in 0..self.cols {
                let x_hat = (x[i] - mean) * rstd;
                dx[i] = rstd * (dy[i] * self.gamma[i] - sum - x_hat * product);
                dgamma[i] += dy[i] * x_hat;
                dbeta[i] += dy[i];
            }
        }
    }

    pub fn rms_norm(&self, x: &[f32], y: &mut [f32]) {
        for (x, y) in x.chunks_exact(self.cols).zip(y.chunks_exact_mut(self.cols)) {
            let mean_square = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
            let rrms = 1.0 / (mean_square + EPS).sqrt();
            for ((y, x), gamma) in y.iter_mut().zip(x).zip(self.gamma) {
                *y = x * rrms * gamma;
            }
        }
    }

    /// By the statistics of the batch.
    pub fn batch_norm(&self, x: &[f32], y: &mut [f32]) {
        let n = (x.len() / self.cols) as f32;
        let (mut mean, mut var) = (vec![0.0; self.cols], vec![0.0; self.cols]);
        for x in x.chunks_exact(self.cols) {
            mean.iter_mut().zip(x).for_each(|(mean, x)| *mean += x);
        }
        mean.iter_mut().for_each(|mean| *mean /= n);
        for x in x.chunks_exact(self.cols) {
            for ((var, x), mean) in var.iter_mut().zip(x).zip(&mean) {
                *var += (x - mean) * (x - mean);
            }
        }
        let rstd: Vec<f32> = var.iter().map(|var| 1.0 / (var / n + EPS).sqrt()).collect();
        for (x, y) in x.chunks_exact(self.cols).zip(y.chunks_exact_mut(self.cols)) {
            for i in 0..self.cols {
                y[i] = (x[i] - mean[i]) * rstd[i] * self.gamma[i] + self.beta[i];
            }
        }
    }
}

/// Every element is 0 with the probability p, else it is scaled.
pub fn dropout(p: f32, random: &mut impl Rng, x: &[f32], y: &mut [f32]) {
    let scale = 1.0 / (1.0 - p);
    for (x, y) in x.iter().zip(y) {
        let uniform = (random.next_u64() >> 40) as f32 / (1 << 24) as f32;
        *y = if uniform < p { 0.0 } else { x * scale };
    }
}

/// The mean of a row, and 1 / sqrt(variance + eps).
fn statistics(x: &[f32]) -> (f32, f32) {
    let mean = x.iter().sum::<f32>() / x.len() as f32;
    let var = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / x.len() as f32;
    (mean, 1.0 / (var + EPS).sqrt())
}
