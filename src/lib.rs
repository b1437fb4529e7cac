//! CPU kernels for the normalisation and dropout layers of neural networks, vectorised by hand.
//!
//! An operation is a small configuration with one method for each pass. A call takes slices, a shape and optional arguments,
//! and returns y. [`guide`] says which call a layer of a model needs.
//!
//! # Three calls
//!
//! From x to y:
//!
//! ```
//! use evenkeel::{InOut, LayerNorm, NormArgs, Rows};
//!
//! let (x, gamma, mut y) = ([1.0_f32, 2.0, 3.0, -4.0, 0.0, 4.0], [1.0_f32, 0.5, 2.0], [0.0_f32; 6]);
//! let norm = LayerNorm::new().with_eps(1e-6);
//! norm.forward(InOut::new(&x, &mut y), Rows::new(2, 3)?, NormArgs::new().gamma(&gamma))?;
//! assert!((y[0] + 1.224_744).abs() < 1e-5);
//! # Ok::<(), evenkeel::Error>(())
//! ```
//!
//! Into a new `Vec`, whose memory is written once:
//!
//! ```
//! use evenkeel::{InOut, LayerNorm, NormArgs, Rows, to_vec};
//!
//! let (x, norm, rows) = ([1.0_f32, 3.0, 2.0, 6.0], LayerNorm::new().with_eps(0.0), Rows::new(2, 2)?);
//! let y = to_vec(4, |y| norm.forward(InOut::uninit(&x, y), rows, NormArgs::new()))?;
//! assert_eq!(y, [-1.0, 1.0, -1.0, 1.0]);
//! # Ok::<(), evenkeel::Error>(())
//! ```
//!
//! In place, of a sum: the residual becomes `residual + x`, and x the norm of that.
//!
//! ```
//! use evenkeel::{InOut, NormArgs, Parallelism, RmsNorm, Rows};
//!
//! let (mut x, mut residual) = ([1.0_f32, 2.0], [2.0_f32, 2.0]);
//! let norm = RmsNorm::new().with_eps(0.0).with_parallelism(Parallelism::Serial);
//! let args = NormArgs::new().update_residual(&mut residual);
//! norm.forward(InOut::in_place(&mut x), Rows::new(1, 2)?, args)?;
//! assert_eq!(residual, [3.0, 4.0]);
//! assert!((x[0] - 0.848_528).abs() < 1e-6);
//! # Ok::<(), evenkeel::Error>(())
//! ```
//!
//! | part of a call | what it says |
//! |---|---|
//! | [`InOut`] | where x and y are: two buffers, one, memory that is not initialised, rows at a pitch |
//! | [`Rows`], [`Channels`], [`Shape`] | the shape: a matrix, samples of channels, either |
//! | [`NormArgs`], [`TrainArgs`], [`GradArgs`], [`MomentArgs`], [`DropoutArgs`] | what is optional: parameters, statistics, a residual and its sum, a gate, padding, scratch, threads |
//! | `with_backend`, `with_parallelism`, `with_stores` | how it runs ([`Backend`], [`Parallelism`], [`Stores`]); none of them changes a bit |
//!
//! Every argument goes with every [`InOut`] and with every other argument, with one exception: a residual that is updated is
//! itself the place of the sum. An operation that does not take an argument, or a pitch, returns [`Error::Unsupported`].
//!
//! # Operations
//!
//! | operation | y | shapes | backward |
//! |---|---|---|---|
//! | [`LayerNorm`] | `gamma * (x - mean) / sqrt(var + eps) + beta` | rows; the channels of a position | yes |
//! | [`RmsNorm`] | `gamma * x / sqrt(mean(x^2) + eps) + beta` | rows, groups of a row | yes |
//! | [`BatchNorm`] | as `LayerNorm`, by the batch's or by running statistics; both passes also in parts | columns, channels | yes |
//! | [`GroupNorm`], [`InstanceNorm`] | as `LayerNorm`, over a group of channels, or over each | channels | yes |
//! | [`NormalizeScaleShift`] | `gamma * (x - mean) * rstd + beta`, by given statistics | rows, columns, channels | yes |
//! | [`Dropout`] | `x / (1 - p)` where a random mask keeps, else 0; also of whole rows and channels | any | yes |
//! | [`RowMoments`], [`ColumnMoments`], [`Moments`] | count, mean and sum of squared deviations | rows; columns, channels; a stream | |
//! | [`preprocess`]: [`StandardScaler`](preprocess::StandardScaler) | `(x - mean) / std` of a feature, learnt in batches, and back | columns | |
//! | [`preprocess`]: [`MinMaxScaler`](preprocess::MinMaxScaler) | `(x - min) / (max - min) * (b - a) + a` of a feature, likewise | columns | |
//! | [`preprocess`]: [`Normalizer`](preprocess::Normalizer) | `x / norm`: L1, L2 or the largest | rows | |
//! | [`penalty`]: [`Regularizer`](penalty::Regularizer) | `l1 * sum(abs(w)) + l2 / 2 * sum(w^2)`; weight decay, the proximal step | any | its gradient |
//! | [`mod@reference`] | the scalar f64 definition of all of them | | |
//!
//! [`LayerNorm`] and [`RmsNorm`] of rows have more options, all in the same pass:
//!
//! * a bias and a residual, which are added to x first, and a place for that sum;
//! * a gate, which multiplies the result or, [before the norm](GatePlace::BeforeNorm), x;
//! * a tensor that is added to the result ([`NormArgs::plus`]);
//! * [`RmsNorm`] alone: 1 + gamma in place of gamma, and [groups](RmsNorm::with_group_size) of a row.
//!
//! A backward pass reads dy, the gradient of a loss by y, and x. It writes dx, and the gradients of gamma and beta, each if
//! [`GradArgs`] has a place for it.
//!
//! A batch, or a data set, may lie in several places: in processes, on machines. [`BatchNorm::training_statistics`] says which calls
//! make its statistics, [`BatchNorm::backward_apply`] its gradients. [Scalers](preprocess#saved-scalers) become bytes, and merge.
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | row, column | of a row-major matrix [`Rows`]; the elements of a row are contiguous |
//! | channels, positions | the shape [`Channels`]: a position is a pixel or a time step; channels come first (NCHW) or last (NHWC) |
//! | group | neighbouring channels that share statistics, or neighbouring elements of a row ([`RmsNorm::with_group_size`]) |
//! | `x_hat` | the normalised value: `(x - mean) * rstd`, of [`RmsNorm`] `x * rstd` |
//! | pitch | elements from the start of a row to the start of the next ([`Pitch`]), or two such strides; elsewhere stride or leading dimension |
//! | scratch | memory for a call, so that it allocates none; `scratch_len` says how much |
//! | valid rows, padding | which rows are data ([`ValidRows`]); statistics leave padding out, and its y is `+0.0` |
//! | backend | the instructions that a call runs on ([`Backend`]) |
//! | stream | the random numbers of [`Dropout`]: a function of a seed and an index ([`Stream`]) |
//! | mean / std | how far a row is from 0, in its standard deviations: what makes a variance hard |
//!
//! The words of other libraries:
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
//! [`NormArgs::x_bias`] is another bias than that of a norm: it is added to x, before the statistics.
//!
//! # Guarantees
//!
//! * **Accuracy**, for every finite input: the relative error of a variance is at most 2.2e-6. The error of an output is at most
//!   `2e-6 * (|gamma| * max(1, |x_hat|) + |beta|) + 2^-149`. It is half of that where nothing is centred ([`RmsNorm`]) and where the
//!   statistics are given. The last term, the smallest subnormal, counts where y is subnormal.
//!   There is one limit. A mean is an f64, so above a mean / std of 1e9 the error of an output is up to
//!   `1.2e-16 * mean / std * |gamma|` more. f32 data reach that only in rows of millions of elements that are constant but for a
//!   few. `docs/accuracy.md` in the repository derives both bounds from the roundings of a row that all go in one direction. A search
//!   of such data has come to 1.05e-6 of a variance, and 0.55e-6 of an output. Tests hold outputs to 1e-6.
//! * **Bits**: an output is a function of its row, the arguments that belong to it, and eps. The thread count, the pool, the
//!   batch, the alignment, in place or not, and the [`Backend`] do not change a bit, as long as the backend
//!   [fuses multiply-adds](Backend::is_fused) and the floating-point environment is the default one. A NaN is
//!   a NaN, of unspecified sign and payload.
//! * **Errors**: every length, shape and parameter is checked before the first write, and what is wrong comes back as an
//!   [`Error`]. So does a lack of memory. A panic is a bug of this crate, or of a [`Pool`]. A shape without elements is no error:
//!   its statistics are those of nothing (mean 0, rstd 0, [`Moments::new`]), and running statistics stay as they are.
//! * **Threads**: [`Parallelism`] says how many. By default, large calls run in the caller's rayon pool, which may start the global
//!   one. With [`Parallelism::Serial`] a call stays on its thread. A call that is passed a [`Pool`] runs on the host's threads.
//! * **Memory**: a call on a single thread allocates nothing, as long as statistics are stored in f64, and operations on columns and on
//!   channels, and backward passes, are passed their scratch ([`NormArgs::scratch`], [`TrainArgs::scratch`], [`MomentArgs::scratch`], [`GradArgs::scratch`]). [`GroupNorm`] and [`InstanceNorm`]
//!   with padding gather samples in memory of their own. [`to_vec`] and [`NormArgs::sum_vec`] allocate the `Vec` that they
//!   fill. Outputs of 32 MiB and more are written with non-temporal stores; [`Stores`] forces either. In a build without
//!   optimisation a function takes up to 1 MiB of stack.
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
//! Here x is the sum of x, its bias and the residual, and its product with a gate before the norm. A NaN in a gate after the norm, or in
//! what is added to the result, makes its own element NaN. Where RmsNorm has groups, each is what a row is here.
//! The values of padding do not matter.
//!
//! "What the formula says" is by IEEE arithmetic: infinity times 0 is NaN. No other row, column or element changes
//! by a bit. Whether a zero in y is `-0.0` is not specified, but the same wherever bits are promised.
//!
//! # Subnormal numbers
//!
//! They are numbers like any other, and cost more: x86 CPUs multiply them in microcode. Where all of x are subnormal, a norm takes
//! more than ten times longer (`docs/performance.md` in the repository has the figures). Sums cost nothing more, so [`Dropout`] with
//! p = 0.5, which doubles, is hardly slower. With another p it is.
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
//! | feature | default | what it adds |
//! |---|---|---|
//! | `rayon` | yes | threads of rayon's pool. Without it a call is serial, or runs on the threads of a [`Pool`]; the bits are the same |
//! | `half` | no | [`Element`] is also `bf16` and `f16` of the crate `half`. Without it nothing of them is compiled |
//! | `capi` | no | the C ABI, for `libevenkeel` and its header |

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
#[doc = include_str!("../docs/engine.md")]
pub mod guide {}
mod kernels;
mod mask;
mod memory;
mod moments;
mod norm;
pub mod penalty;
mod pitch;
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
pub use element::{Element, WideElement};
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
pub use pitch::Pitch;
pub use run::backend::Backend;
pub use run::parallel::Parallelism;
pub use run::pool::Pool;
pub use run::write_policy::Stores;
pub use shape::{Channels, Rows, Shape};
pub use simd::{InOut, to_vec};
pub use welford::Moments;
