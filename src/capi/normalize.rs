//! LayerNorm, RmsNorm, BatchNorm and normalise-scale-shift.

use core::ffi::c_void;

use super::border::{Buffer, Extent, Fault, Io, Statistic, enter, enter_checked, temporary};
use super::padding::Valid;
use super::{evenkeel_dtype, evenkeel_execution, evenkeel_status, execution, shape};
use crate::valid_rows::kept_rows;
use crate::{BatchNorm, Channels, LayerNorm, NormalizeScaleShift, RmsNorm, RunningStatistics};

/// LayerNorm of every row of `x`, [rows, cols]: `y = gamma * (x - mean) / sqrt(var + eps) + beta`, with the mean and the
/// population variance of the row.
///
/// `x_len` and `y_len` are rows * cols; `y` may be `x`. `gamma` (NULL with length 0: 1) and `beta` (NULL with length 0: 0)
/// have cols elements. `mean` and `rstd = 1 / sqrt(var + eps)` are written if they are there, both or neither: rows
/// elements of type `stats_dtype`.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x`, `gamma` and `beta` readable, the others writable.
/// `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_layer_norm_f32(
    x: *const f32,
    x_len: usize,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    rows: usize,
    cols: usize,
    eps: f64,
    y: *mut f32,
    y_len: usize,
    mean: *mut c_void,
    mean_len: usize,
    rstd: *mut c_void,
    rstd_len: usize,
    stats_dtype: evenkeel_dtype,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    let check = || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let gamma = Buffer::input("gamma", gamma, gamma_len);
        let beta = Buffer::input("beta", beta, beta_len);
        let mean = Statistic::output("mean", mean, mean_len, stats_dtype)?;
        let rstd = Statistic::output("rstd", rstd, rstd_len, stats_dtype)?;
        let inputs = [x.extent(), gamma.extent(), beta.extent()];
        let without = mean.is_absent() && rstd.is_absent();
        let io = match without {
            true => Io::check(x, y, [y.extent()], inputs)?,
            false => {
                both_or_neither(&mean, &rstd, rows)?;
                Io::check(x, y, [y.extent(), mean.extent(), rstd.extent()], inputs)?
            }
        };
        // SAFETY: the caller's promise.
        let operation =
            LayerNorm::new().with_eps(eps).with_execution(unsafe { self::execution(execution)? });
        let rows = shape(rows, cols)?;
        let statistics = (!without).then_some((mean, rstd));
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let (gamma, beta) = (gamma.optional(), beta.optional());
            Ok((operation, io, gamma, beta, rows, statistics))
        }
    };
    enter_checked(check, |&(ref operation, ref io, gamma, beta, rows, ref statistics)| {
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let Some((mean, rstd)) = statistics else {
                return io
                    .with_span(rows.elements(), |io| operation.run(io, gamma, beta, rows, None));
            };
            let mut wide = [mean.temporary(rows.rows())?, rstd.temporary(rows.rows())?];
            let [wide_mean, wide_rstd] = &mut wide;
            let stats = mean.write(wide_mean).zip(rstd.write(wide_rstd));
            io.with_span(rows.elements(), |io| operation.run(io, gamma, beta, rows, stats))?;
            mean.finish(&wide[0]);
            rstd.finish(&wide[1]);
        }
        Ok(())
    })
}

/// Refuses one of two statistics without the other.
pub(super) fn both_or_neither(
    mean: &Statistic,
    rstd: &Statistic,
    len: usize,
) -> Result<(), Box<Fault>> {
    match (mean.is_absent(), rstd.is_absent()) {
        (true, false) if len > 0 => Err(Fault::Null { arg: "mean", len }.boxed()),
        (false, true) if len > 0 => Err(Fault::Null { arg: "rstd", len }.boxed()),
        _ => Ok(()),
    }
}

/// RmsNorm of every row of `x`, [rows, cols]: `y = gamma * x / sqrt(mean of x^2 + eps) + beta`.
///
/// `x_len` and `y_len` are rows * cols; `y` may be `x`. `gamma` (NULL with length 0: 1) and `beta` (NULL with length 0: 0)
/// have cols elements; if `one_plus_gamma` is not 0, 1 + gamma takes the place of gamma, as in the models of the Gemma
/// family. `rstd = 1 / sqrt(mean of x^2 + eps)` is written if it is there: rows elements of type `stats_dtype`.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x`, `gamma` and `beta` readable, the others writable.
/// `execution` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_rms_norm_f32(
    x: *const f32,
    x_len: usize,
    gamma: *const f32,
    gamma_len: usize,
    one_plus_gamma: u32,
    beta: *const f32,
    beta_len: usize,
    rows: usize,
    cols: usize,
    eps: f64,
    y: *mut f32,
    y_len: usize,
    rstd: *mut c_void,
    rstd_len: usize,
    stats_dtype: evenkeel_dtype,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    let check = || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let gamma = Buffer::input("gamma", gamma, gamma_len);
        let beta = Buffer::input("beta", beta, beta_len);
        let rstd = Statistic::output("rstd", rstd, rstd_len, stats_dtype)?;
        let inputs = [x.extent(), gamma.extent(), beta.extent()];
        let io = match rstd.is_absent() {
            true => Io::check(x, y, [y.extent()], inputs)?,
            false => Io::check(x, y, [y.extent(), rstd.extent()], inputs)?,
        };
        // SAFETY: the caller's promise.
        let operation =
            RmsNorm::new().with_eps(eps).with_execution(unsafe { self::execution(execution)? });
        let operation = operation.with_one_plus_gamma(one_plus_gamma != 0);
        let rows = shape(rows, cols)?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let (gamma, beta) = (gamma.optional(), beta.optional());
            Ok((operation, io, gamma, beta, rows, rstd))
        }
    };
    enter_checked(check, |&(ref operation, ref io, gamma, beta, rows, ref rstd)| {
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let mut wide = rstd.temporary(rows.rows())?;
            let out = rstd.write(&mut wide);
            io.with_span(rows.elements(), |io| operation.run(io, gamma, beta, rows, out))?;
            rstd.finish(&wide);
        }
        Ok(())
    })
}

/// Normalises every row of `x`, [rows, cols], by a mean and rstd that the caller has, one of each a row:
/// `y = gamma * (x - mean) * rstd + beta`.
///
/// `x_len` and `y_len` are rows * cols; `y` may be `x`. `mean` and `rstd` have rows elements of type `stats_dtype`.
/// `gamma` (NULL with length 0: 1) and `beta` (NULL with length 0: 0) have cols elements.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `y` writable, the others readable. `execution` is NULL or
/// readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_normalize_rows_f32(
    x: *const f32,
    x_len: usize,
    mean: *const c_void,
    mean_len: usize,
    rstd: *const c_void,
    rstd_len: usize,
    stats_dtype: evenkeel_dtype,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    rows: usize,
    cols: usize,
    y: *mut f32,
    y_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    enter(move || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let given = Given {
            mean: Statistic::input("mean", mean, mean_len, stats_dtype)?,
            rstd: Statistic::input("rstd", rstd, rstd_len, stats_dtype)?,
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
        };
        // SAFETY: the caller's promise.
        unsafe { normalize(x, y, &given, (rows, cols), execution, true) }
    })
}

/// Normalises every column of `x`, [rows, cols], by a mean and rstd that the caller has, one of each a column: the second
/// half of BatchNorm's training.
///
/// As `evenkeel_normalize_rows_f32`, but that `mean` and `rstd` have cols elements.
///
/// # Safety
///
/// As `evenkeel_normalize_rows_f32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_normalize_columns_f32(
    x: *const f32,
    x_len: usize,
    mean: *const c_void,
    mean_len: usize,
    rstd: *const c_void,
    rstd_len: usize,
    stats_dtype: evenkeel_dtype,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    rows: usize,
    cols: usize,
    y: *mut f32,
    y_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    enter(move || {
        let (x, y) = (Buffer::input("x", x, x_len), Buffer::output("y", y, y_len));
        let given = Given {
            mean: Statistic::input("mean", mean, mean_len, stats_dtype)?,
            rstd: Statistic::input("rstd", rstd, rstd_len, stats_dtype)?,
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
        };
        // SAFETY: the caller's promise.
        unsafe { normalize(x, y, &given, (rows, cols), execution, false) }
    })
}

/// What x is normalised by.
pub(super) struct Given {
    pub(super) mean: Statistic,
    pub(super) rstd: Statistic,
    pub(super) gamma: Buffer<f32>,
    pub(super) beta: Buffer<f32>,
}

impl Given {
    /// All that is read.
    #[inline(always)]
    pub(super) fn inputs(&self, x: Buffer<f32>) -> [Extent; 5] {
        let Self { mean, rstd, gamma, beta } = self;
        [x.extent(), mean.extent(), rstd.extent(), gamma.extent(), beta.extent()]
    }
}

/// # Safety
///
/// The duties of the entries.
unsafe fn normalize(
    x: Buffer<f32>,
    y: Buffer<f32>,
    given: &Given,
    (rows, cols): (usize, usize),
    execution: *const evenkeel_execution,
    by_rows: bool,
) -> Result<(), Box<Fault>> {
    let io = Io::check(x, y, [y.extent()], given.inputs(x))?;
    let Given { mean, rstd, gamma, beta } = given;
    // SAFETY: the caller's promise.
    let operation =
        NormalizeScaleShift::new().with_execution(unsafe { self::execution(execution)? });
    let rows = shape(rows, cols)?;
    let each = if by_rows { rows.rows() } else { rows.cols() };
    // SAFETY: the caller's promise; checked and disjoint.
    unsafe {
        let (gamma, beta) = (gamma.optional(), beta.optional());
        let mut wide = [mean.temporary(each)?, rstd.temporary(each)?];
        let [wide_mean, wide_rstd] = &mut wide;
        let (mean, rstd) = (mean.read(wide_mean), rstd.read(wide_rstd));
        io.with_span(rows.elements(), |io| match by_rows {
            true => operation.run(rows.span(io), mean, rstd, gamma, beta, rows),
            false => operation.run_columns(io, mean, rstd, gamma, beta, rows),
        })
    }
}

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

/// BatchNorm's training on `x`, [rows, cols], channels last: every column by its own mean and population variance.
/// `y = gamma * (x - mean) / sqrt(var + eps) + beta`.
///
/// `x_len` and `y_len` are rows * cols; `y` may be `x`. `gamma` (NULL with length 0: 1) and `beta` (NULL with length 0: 0)
/// have cols elements. `mean` and `rstd = 1 / sqrt(var + eps)` of the batch are written: cols elements of type
/// `stats_dtype`. `running` is NULL, or what is updated. `scratch` has at least as many doubles as
/// `evenkeel_column_scratch_len` says; NULL with length 0: it is allocated.
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `x`, `gamma` and `beta` readable, the others writable, the
/// running statistics both. `running` and `execution` are NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_batch_norm_training_f32(
    x: *const f32,
    x_len: usize,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    rows: usize,
    cols: usize,
    eps: f64,
    y: *mut f32,
    y_len: usize,
    mean: *mut c_void,
    mean_len: usize,
    rstd: *mut c_void,
    rstd_len: usize,
    stats_dtype: evenkeel_dtype,
    running: *const evenkeel_running,
    scratch: *mut f64,
    scratch_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    enter(move || {
        let training = Training {
            x: Buffer::input("x", x, x_len),
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
            eps,
            y: Buffer::output("y", y, y_len),
            mean: Statistic::output("mean", mean, mean_len, stats_dtype)?,
            rstd: Statistic::output("rstd", rstd, rstd_len, stats_dtype)?,
            running: Buffer::input("running", running, usize::from(!running.is_null())),
            scratch: Buffer::output("scratch", scratch, scratch_len),
            valid: None,
            execution,
        };
        // SAFETY: the caller's promise.
        unsafe { training.run(|| Ok(shape(rows, cols)?.into())) }
    })
}

/// The arguments of BatchNorm's training but the shape.
pub(super) struct Training {
    pub(super) x: Buffer<f32>,
    pub(super) gamma: Buffer<f32>,
    pub(super) beta: Buffer<f32>,
    pub(super) eps: f64,
    pub(super) y: Buffer<f32>,
    pub(super) mean: Statistic,
    pub(super) rstd: Statistic,
    pub(super) running: Buffer<evenkeel_running>,
    pub(super) scratch: Buffer<f64>,
    pub(super) valid: Option<Valid>,
    pub(super) execution: *const evenkeel_execution,
}

impl Training {
    /// # Safety
    ///
    /// The duties of the entries.
    pub(super) unsafe fn run(
        &self,
        shape: impl FnOnce() -> Result<Channels, Box<Fault>>,
    ) -> Result<(), Box<Fault>> {
        let Self { x, gamma, beta, eps, y, mean, rstd, running, scratch, valid, execution } = self;
        running.check()?;
        // SAFETY: the caller's promise.
        let (running, execution) =
            unsafe { (running.slice().first().copied(), self::execution(*execution)?) };
        let mut operation = BatchNorm::new().with_eps(*eps).with_execution(execution);
        if let Some(running) = &running {
            operation = operation.with_unbiased_running_var(running.unbiased_var != 0);
            operation = match running.rule {
                EVENKEEL_MOMENTUM_KEEP => operation.with_momentum(running.momentum),
                EVENKEEL_MOMENTUM_PYTORCH => operation.with_pytorch_momentum(running.momentum),
                EVENKEEL_MOMENTUM_CUMULATIVE => operation.with_cumulative_average(running.batches),
                got => {
                    let expected = "a number EVENKEEL_MOMENTUM_...";
                    return Err(Fault::Option { arg: "rule", expected, got }.boxed());
                }
            };
        }
        let running = running.map(|running| {
            let mean = Buffer::output("running_mean", running.mean, running.mean_len);
            (mean, Buffer::output("running_var", running.var, running.var_len))
        });
        let [running_mean, running_var] = match &running {
            Some((mean, var)) => [mean.extent(), var.extent()],
            None => Default::default(),
        };
        let mask = valid.map_or(Extent::default(), |valid| valid.extent());
        let inputs = [x.extent(), gamma.extent(), beta.extent(), mask];
        let outputs =
            [y.extent(), mean.extent(), rstd.extent(), scratch.extent(), running_mean, running_var];
        let io = Io::check(*x, *y, outputs, inputs)?;
        let shape = shape()?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let (gamma, beta) = (gamma.optional(), beta.optional());
            let valid = valid.map(|valid| valid.rows());
            let running = running.map(|(mean, var)| RunningStatistics {
                mean: mean.slice_mut(),
                var: var.slice_mut(),
            });
            let mut allocated;
            let scratch = if scratch.is_absent() {
                io.check_lengths(shape.elements())?;
                allocated = temporary(operation.scratch_len(shape))?;
                &mut allocated
            } else {
                scratch.slice_mut()
            };
            let mut wide = [mean.temporary(shape.channels())?, rstd.temporary(shape.channels())?];
            let [wide_mean, wide_rstd] = &mut wide;
            let means = mean.write(wide_mean).unwrap_or_default();
            let rstds = rstd.write(wide_rstd).unwrap_or_default();
            io.with_span(shape.elements(), |io| {
                let scratch = Some(scratch);
                operation.train(io, valid, gamma, beta, shape, means, rstds, running, scratch)
            })?;
            // A batch of no rows has no statistics: what is there stays.
            if kept_rows(valid, shape.batch() * shape.positions())?.1 > 0 {
                mean.finish(&wide[0]);
                rstd.finish(&wide[1]);
            }
            Ok(())
        }
    }
}

/// BatchNorm's inference on `x`, [rows, cols], channels last: every column by running statistics.
/// `y = gamma * (x - running_mean) / sqrt(running_var + eps) + beta`.
///
/// `x_len` and `y_len` are rows * cols; `y` may be `x`. `running_mean` and `running_var` have cols elements, as have
/// `gamma` (NULL with length 0: 1) and `beta` (NULL with length 0: 0).
///
/// # Safety
///
/// Every buffer has as many elements as its length says: `y` writable, the others readable. `execution` is NULL or
/// readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evenkeel_batch_norm_inference_f32(
    x: *const f32,
    x_len: usize,
    running_mean: *const f32,
    running_mean_len: usize,
    running_var: *const f32,
    running_var_len: usize,
    gamma: *const f32,
    gamma_len: usize,
    beta: *const f32,
    beta_len: usize,
    rows: usize,
    cols: usize,
    eps: f64,
    y: *mut f32,
    y_len: usize,
    execution: *const evenkeel_execution,
) -> evenkeel_status {
    enter(move || {
        let inference = Inference {
            x: Buffer::input("x", x, x_len),
            running_mean: Buffer::input("running_mean", running_mean, running_mean_len),
            running_var: Buffer::input("running_var", running_var, running_var_len),
            gamma: Buffer::input("gamma", gamma, gamma_len),
            beta: Buffer::input("beta", beta, beta_len),
            eps,
            y: Buffer::output("y", y, y_len),
            valid: None,
            execution,
        };
        // SAFETY: the caller's promise.
        unsafe { inference.run(|| Ok(shape(rows, cols)?.into())) }
    })
}

/// The arguments of BatchNorm's inference but the shape.
pub(super) struct Inference {
    pub(super) x: Buffer<f32>,
    pub(super) running_mean: Buffer<f32>,
    pub(super) running_var: Buffer<f32>,
    pub(super) gamma: Buffer<f32>,
    pub(super) beta: Buffer<f32>,
    pub(super) eps: f64,
    pub(super) y: Buffer<f32>,
    pub(super) valid: Option<Valid>,
    pub(super) execution: *const evenkeel_execution,
}

impl Inference {
    /// # Safety
    ///
    /// The duties of the entries.
    pub(super) unsafe fn run(
        &self,
        shape: impl FnOnce() -> Result<Channels, Box<Fault>>,
    ) -> Result<(), Box<Fault>> {
        let Self { x, running_mean: mean, running_var: var, gamma, beta, eps, y, valid, execution } =
            self;
        let mask = valid.map_or(Extent::default(), |valid| valid.extent());
        let inputs = [x.extent(), mean.extent(), var.extent(), gamma.extent(), beta.extent(), mask];
        let io = Io::check(*x, *y, [y.extent()], inputs)?;
        // SAFETY: the caller's promise.
        let execution = unsafe { self::execution(*execution)? };
        let operation = BatchNorm::new().with_eps(*eps).with_execution(execution);
        let shape = shape()?;
        // SAFETY: the caller's promise; checked and disjoint.
        unsafe {
            let (mean, var) = (mean.slice(), var.slice());
            let (gamma, beta) = (gamma.optional(), beta.optional());
            let valid = valid.map(|valid| valid.rows());
            let elements = shape.elements();
            io.with_span(elements, |io| operation.infer(io, valid, mean, var, gamma, beta, shape))
        }
    }
}
