//! The running statistics of BatchNorm.
#![forbid(unsafe_code)]

/// How training updates the running statistics.
pub type evenkeel_momentum = u32;
/// `running = momentum * running + (1 - momentum) * batch`: Keras, ONNX.
pub const EVENKEEL_MOMENTUM_KEEP: evenkeel_momentum = 0;
/// `running = (1 - momentum) * running + momentum * batch`: PyTorch.
pub const EVENKEEL_MOMENTUM_PYTORCH: evenkeel_momentum = 1;
/// `running += (batch - running) / (batches + 1)`: PyTorch where its momentum is None. `momentum` is not looked at.
pub const EVENKEEL_MOMENTUM_CUMULATIVE: evenkeel_momentum = 2;

/// Running statistics that training updates, and how.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_running {
    /// The running mean of every column; start with 0.
    pub mean: *mut f32,
    /// cols
    pub mean_len: usize,
    /// The running variance of every column, at least 0; start with 1.
    pub var: *mut f32,
    /// cols
    pub var_len: usize,
    /// `EVENKEEL_MOMENTUM_...`.
    pub rule: evenkeel_momentum,
    /// Not 0: the running variance follows the unbiased variance of the batch, M2 / (rows - 1), as PyTorch's does.
    pub unbiased_var: u32,
    /// From 0 to 1.
    pub momentum: f64,
    /// How many batches came before this one, for `EVENKEEL_MOMENTUM_CUMULATIVE`.
    pub batches: u64,
}
