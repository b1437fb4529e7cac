//! Hand-vectorised CPU kernels for the normalisation layers of neural networks.
//!
//! An operation is a small configuration with one method for each pass. A call takes plain slices, a shape and optional
//! arguments, and returns y.
//!
//! ```
//! use evenkeel::{InOut, LayerNorm, NormArgs, Parallelism, RmsNorm, Rows, to_vec};
//!
//! let rows = Rows::new(2, 3)?;
//! let (x, gamma) = ([1.0_f32, 2.0, 3.0, -4.0, 0.0, 4.0], [1.0_f32, 0.5, 2.0]);
//! let layer_norm = LayerNorm::new().with_eps(1e-6).with_parallelism(Parallelism::Serial);
//!
//! // From x to y.
//! let mut y = [0.0_f32; 6];
//! layer_norm.forward(InOut::new(&x, &mut y), rows, NormArgs::new().gamma(&gamma))?;
//!
//! // Into a new `Vec`.
//! let args = NormArgs::new().gamma(&gamma);
//! let new = to_vec(6, |y| layer_norm.forward(InOut::uninit(&x, y), rows, args))?;
//! assert_eq!(new, y);
//!
//! // In place, of the sum of x and y.
//! let mut x = x;
//! let args = NormArgs::new().gamma(&gamma).residual(&y);
//! RmsNorm::new().forward(InOut::in_place(&mut x), rows, args)?;
//! # Ok::<(), evenkeel::Error>(())
//! ```
//!
//! | part of a call | what it says |
//! |---|---|
//! | [`InOut`] | where x and y are: two buffers, one, memory that is not initialised, rows at a pitch |
//! | [`Rows`], [`Channels`], [`Shape`] | the shape: a matrix, samples of channels, either |
//! | [`NormArgs`], [`TrainArgs`], [`GradArgs`], [`MomentArgs`], [`DropoutArgs`] | what is optional: parameters, statistics, a residual and its sum, a gate, padding, scratch, threads |
//!
//! Every argument goes with every [`InOut`] and with every other argument; but a residual that is updated is the one place of the
//! sum. An operation that does not take an argument, or a pitch, returns [`Error::Unsupported`].
//!
//! # Operations
//!
//! | operation | what it does |
//! |---|---|
//! | [`LayerNorm`] | every row by its own mean and variance |
//! | [`RmsNorm`] | every row by its root mean square |
//! | [`BatchNorm`] | every column, or channel, by its own mean and variance; running statistics; inference |
//! | [`GroupNorm`], [`InstanceNorm`] | every group of channels, or channel, of a sample by its own mean and variance |
//! | [`LayerNorm`] of [`Channels`] | every position of a sample by the mean and variance of its channels |
//! | [`Dropout`] | inverted dropout, its mask drawn, stored, applied or drawn again |
//! | [`NormalizeScaleShift`] | rows, columns or channels whose [`Statistics`] the caller has |
//! | [`RowMoments`], [`ColumnMoments`], [`Moments`] | mean and variance: of rows, of columns, of streams, merged |
//! | [`preprocess`]: [`StandardScaler`](preprocess::StandardScaler), [`MinMaxScaler`](preprocess::MinMaxScaler) | every feature by its mean and variance, or its range, learnt in batches |
//! | [`preprocess`]: [`Normalizer`](preprocess::Normalizer) | every row divided by its L1, L2 or largest norm |
//! | [`penalty`]: [`Regularizer`](penalty::Regularizer) | L1 and L2 penalties of parameters, their gradient, weight decay, the proximal step |
//! | [`mod@reference`] | the scalar definition of all of them |
//!
//! [`LayerNorm`] and [`RmsNorm`] of rows also take a bias and a residual, and normalise their sum with x. They take a gate, which
//! multiplies the result or, [before the norm](GatePlace::BeforeNorm), x. They take a tensor that is added to the result.
//! [`RmsNorm`] can use 1 + gamma in place of gamma, and [groups](RmsNorm::with_group_size) of a row.
//!
//! The `backward` of a normalisation, such as [`LayerNorm::backward`], reads dy, the gradient of a loss by y, and x. It writes dx, and the
//! gradients of gamma and beta, each if [`GradArgs`] has a place for it. [`BatchNorm::backward_apply`] makes dx of a batch that is in
//! several places.
//!
//! Rows that are part of a wider matrix need no copy: an [`InOut`] takes the pitch of x and of y.
//!
//! Where some rows are padding, [`ValidRows`] says which are not. The statistics leave padding out, and its y is `+0.0`.
//!
//! # Words
//!
//! | here | PyTorch | ONNX | oneDNN |
//! |---|---|---|---|
//! | `gamma` | `weight` | `Scale` | scale |
//! | `beta` | `bias` | `B` | shift |
//! | `eps` | `eps` | `epsilon` | epsilon |
//! | `mean` | `mean` | `Mean` | mean |
//! | `var`, population variance | `var(correction=0)` | | variance |
//! | `rstd`, 1 / sqrt(var + eps) | `rstd` | `InvStdDev` | |
//! | `dy`, `dx`, `dgamma`, `dbeta` | `grad_output`, `grad_input`, `weight.grad`, `bias.grad` | | `diff_dst`, `diff_src`, `diff_scale`, `diff_shift` |
//! | `rows`, `cols` | `M`, `N` (`normalized_shape`) | `axis` | |
//! | [`Channels`]: `batch`, `channels`, `positions` | `N`, `C`, `*` (`H * W`) | `N`, `C`, `D1 * D2 ...` | `N`, `C`, `H * W` |
//! | [`Channels::first`], [`Channels::last`] | `contiguous_format`, `channels_last` | | `nchw`, `nhwc` |
//! | `groups` | `num_groups` | `num_groups` | groups |
//!
//! [`NormArgs::bias`] is not PyTorch's `bias`: it is added to x, before the statistics.
//!
//! # What is promised
//!
//! * **Accuracy**, for every finite input: relative error of a variance at most 2.2e-6, error of an output at
//!   most `1e-6 * (|gamma| * max(1, |x_hat|) + |beta|) + 2^-149`, where `x_hat` is the normalised value (the last
//!   term, the smallest subnormal, counts where y is subnormal). One limit: a mean is an f64, so where mean / std is
//!   above 1e9, which f32 data reach only in rows of millions of elements that are constant but for a few, the error of
//!   an output is up to `1.2e-16 * mean / std * |gamma|` more. `docs/accuracy.md` in the repository derives what roundings can make at
//!   worst: 2.2e-6 of a variance, and 2e-6 of an output that is centred, if all of a row go in one direction. A search of such data
//!   has come to 1.05e-6 and 0.55e-6.
//! * **Bits**: an output is a function of its row, the arguments that belong to it, and eps. The thread count, the pool, the
//!   batch, the alignment, in place or not, and the [`Backend`] do not change a bit, as long as the backend
//!   [fuses multiply-adds](Backend::is_fused) and the floating-point environment is the default one. A NaN is
//!   a NaN, of unspecified sign and payload.
//! * **Errors**: everything that a caller supplies is checked before the first write, and comes back as an
//!   [`Error`], and so does memory that there is not. A panic is a bug of this crate, or of a [`Pool`]. A shape without elements is no error:
//!   its statistics are those of nothing (mean 0, rstd 0, [`Moments::new`]), and running statistics stay as they are.
//! * **Threads**: [`Parallelism`] says how many. Tasks run in the caller's rayon pool, or on the host's own threads if the call
//!   is passed a [`Pool`].
//! * **Memory**: a call on a single thread allocates nothing, as long as operations on columns, and on channels, are passed
//!   their scratch ([`NormArgs::scratch`], [`TrainArgs::scratch`], [`MomentArgs::scratch`]). [`GroupNorm`] and [`InstanceNorm`]
//!   with padding gather samples in memory of their own. [`to_vec`] and [`NormArgs::sum_vec`] allocate the `Vec` that they
//!   fill. Outputs of 32 MiB and more are written with non-temporal stores; [`Stores`] forces either. Where nothing is optimised, a
//!   function takes up to 1 MiB of stack.
//!
//! # Special values
//!
//! | | statistics from x: [`LayerNorm`], [`RmsNorm`], [`GroupNorm`], training, moments | given: [`NormalizeScaleShift`], inference | [`Dropout`] |
//! |---|---|---|---|
//! | NaN in x | its row (column, group) is NaN | its element is NaN | NaN where it is kept, else `+0.0` |
//! | infinity in x | its row (column, group) is NaN | its element is what the formula says | kept, or `+0.0` |
//! | either in gamma, beta | its column is what the formula says | likewise | |
//! | either in statistics | | a row is NaN, a column what the formula says | |
//! | `-0.0` | the number 0 | the number 0 | kept as it is, or `+0.0` |
//! | subnormal numbers | numbers like any other, read and written | likewise | likewise |
//!
//! Here x is the sum of x, bias and residual, and its product with a gate before the norm. A NaN in a gate after the norm, or in
//! what is added to the result, makes its own element NaN. Where RmsNorm has groups, each is what a row is here.
//! What padding holds does not matter.
//!
//! What the formula says is said by IEEE arithmetic: infinity times 0 is NaN. No other row, column or element changes
//! by a bit. Whether a zero in y is `-0.0` is not specified, but the same wherever bits are promised.
//!
//! # Subnormal numbers
//!
//! They are numbers like any other, and cost more: x86 CPUs multiply them in microcode. Where all of x are subnormal, 128x768 takes 37
//! times as long in [`LayerNorm`], 44 in [`RmsNorm`], 78 with a gate, 23 in BatchNorm's inference (Xeon). Sums cost nothing more, so
//! that [`Dropout`] with p = 0.5, which doubles, takes a quarter longer, unless its stores are non-temporal. With another p it takes 19
//! times as long.
//!
//! No call can switch that off: Rust code is only defined in the default floating-point environment. A host can:
//!
//! * replace numbers below 2^-126 by zeros where it makes them: after a decaying average, a product of small factors, a softmax;
//! * scale such a tensor by a power of two, which LayerNorm and RmsNorm with eps = 0 do not see;
//! * keep the loss scale of training in half precision high enough.
//!
//! # Other floating-point environments
//!
//! No function changes the rounding, the treatment of subnormal numbers or the exceptions that trap (MXCSR, FPCR), on
//! the calling thread or on others. Everything above is promised in the default environment, the only one in which Rust
//! code is defined. Hosts have been seen to set another; with exceptions masked, these are tested to hold then too:
//!
//! * No call crashes, hangs, panics, or reads or writes beyond its buffers. Errors are those of the default environment,
//!   but for subnormal numbers that are read as zeros.
//! * A NaN or infinity stays in its row, column or element. A constant row or column equals beta. Dropout chooses the
//!   same elements.
//! * Where subnormal numbers are flushed (FTZ, DAZ, FZ) and rounding is to nearest, the error bounds hold for x,
//!   gamma and beta as they are read, plus the smallest normal number, 2^-126.
//! * With another rounding errors are up to ten times as large, as long as f32 can hold the sum of squares of a block;
//!   beyond (from `|x|` of about 1e17 on) there is no bound, since sums no longer become infinite.
//!
//! Bits are not promised: a thread has an environment of its own, those of a pool perhaps that of whoever started it,
//! and an output depends on that of the thread which makes it.
//!
//! # Features
//!
//! * `capi`: the C ABI, for `libevenkeel` and its header.
//! * `rayon` (default): parallel execution. Without it everything works, serially or on the threads of a [`Pool`], with the
//!   same bits.

#![deny(unsafe_code)]
// Of the library alone: a test may say less where it panics.
#![deny(clippy::missing_assert_message, clippy::unwrap_used)]

mod args;
#[cfg(feature = "capi")]
#[expect(unsafe_code, reason = "pointers from C become slices; see capi/buffers.rs")]
pub mod capi;
mod dropout;
mod element;
mod error;
mod gate;
mod kernels;
mod mask;
mod memory;
mod moments;
mod norm;
pub mod penalty;
pub mod preprocess;
pub mod reference;
mod run;
mod shape;
#[expect(unsafe_code, reason = "intrinsics and the pointers of in-place buffers; see simd/mod.rs")]
mod simd;
mod welford;

// The example of the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use args::dropout::{DropoutArgs, Stream};
pub use args::grad::GradArgs;
pub use args::gradient_sums::GradientSums;
pub use args::moments::MomentArgs;
pub use args::norm::NormArgs;
pub use args::train::TrainArgs;
pub use dropout::Dropout;
pub use element::{Element, GradElement};
pub use error::Error;
pub use gate::{GateFunction, GatePlace};
pub use mask::{Mask, MaskMut, ValidRows};
pub use moments::column_moments::ColumnMoments;
pub use moments::row_moments::RowMoments;
pub use norm::batch_norm::BatchNorm;
pub use norm::group_norm::GroupNorm;
pub use norm::instance_norm::InstanceNorm;
pub use norm::layer_norm::LayerNorm;
pub use norm::normalize_scale_shift::{NormalizeScaleShift, Statistics};
pub use norm::rms_norm::RmsNorm;
pub use run::backend::Backend;
pub use run::parallel::Parallelism;
pub use run::pool::Pool;
pub use run::write_policy::Stores;
pub use shape::{Channels, Rows, Shape};
pub use simd::{InOut, Pitch, to_vec};
pub use welford::Moments;
