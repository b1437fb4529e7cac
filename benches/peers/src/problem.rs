//! The operation to compute, and its data.

use crate::buffer::Buffer;

pub const EPS: f64 = 1e-5;
/// What a batch counts in running statistics.
pub const MOMENTUM: f64 = 0.1;
/// The probability of dropping.
pub const P: f64 = 0.1;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    LayerNorm,
    RmsNorm,
    BatchNormTraining,
    BatchNormInference,
    Dropout,
}

impl Operation {
    pub const ALL: [Self; 5] = [
        Self::LayerNorm,
        Self::RmsNorm,
        Self::BatchNormTraining,
        Self::BatchNormInference,
        Self::Dropout,
    ];

    /// As `--op` and the table name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LayerNorm => "layer_norm",
            Self::RmsNorm => "rms_norm",
            Self::BatchNormTraining => "batch_norm_training",
            Self::BatchNormInference => "batch_norm_inference",
            Self::Dropout => "dropout",
        }
    }

    /// One row has no variance to train with: running variances would go to 0 through the subnormals, and
    /// their arithmetic is what would be timed.
    pub fn least_rows(self) -> usize {
        if self == Self::BatchNormTraining { 2 } else { 1 }
    }
}

/// The inputs of one shape, the same for every contender.
pub struct Problem {
    pub rows: usize,
    pub cols: usize,
    /// Mean 0.3, standard deviation 1.5.
    pub x: Buffer,
    pub gamma: Buffer,
    pub beta: Buffer,
    pub running_mean: Buffer,
    pub running_var: Buffer,
}

impl Problem {
    pub fn new(rows: usize, cols: usize) -> Self {
        Self {
            rows,
            cols,
            x: Buffer::new(rows * cols, |i| 0.3 + 1.3 * spread(i)),
            gamma: Buffer::new(cols, |i| 1.0 + 0.1 * spread(i)),
            beta: Buffer::new(cols, |i| 0.1 * spread(i + 7)),
            running_mean: Buffer::new(cols, |i| 0.3 + 0.1 * spread(i + 11)),
            running_var: Buffer::new(cols, |i| 2.0 + 0.1 * spread(i + 13)),
        }
    }
}

/// Weyl's sequence: spread evenly over [-2, 2], and the same in every run.
fn spread(i: usize) -> f32 {
    (i as u32).wrapping_mul(0x9e37_79b9) as f32 / (1 << 30) as f32 - 2.0
}
