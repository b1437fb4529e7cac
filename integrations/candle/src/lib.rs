//! Norms and dropout for [candle](https://github.com/huggingface/candle) on CPUs, by the kernels of evenkeel, with gradients.
//!
//! candle's own fused norms have no gradient: what lies before them silently never learns. These have one. They compute the
//! forward pass in one sweep over memory, and the backward pass in another.
//!
//! * [`LayerNorm`] and [`RmsNorm`] are modules with the constructors and parameter names of `candle_nn`.
//! * [`ops`] has the same as functions of tensors, and [`ops::add_layer_norm`] and [`ops::add_rms_norm`], which normalise
//!   `x + residual` and return the sum as well. [`LayerNorm::forward_residual`] returns the norm alone.
//! * [`GroupNorm`], [`BatchNorm`] and [`Dropout`] are modules likewise. Dropout takes a seed, and keeps no mask.
//!   [`LayerNorm::forward_dropout_add`] is dropout, an addition and the norm in one sweep over memory.
//!
//! Norms over the last dimension take f32, bf16 and f16 as they are, with gamma and beta of the same type or f32; an output is rounded
//! once, and gradients of parameters are sums of f64. Elsewhere, and of other types, tensors are converted to f32 and outputs back. Rows of x may lie at any pitch, such as
//! a part of a wider matrix; where the elements of a row are not neighbours, x is copied first. Work runs on rayon's current
//! pool, as candle's does. Statistics are kept in f64 from the forward pass to the backward pass.
//!
//! ```
//! use candle_core::{Device, Tensor, Var};
//! use candle_nn::Module;
//! use evenkeel_candle::LayerNorm;
//!
//! let (weight, bias) = (Var::ones(4, candle_core::DType::F32, &Device::Cpu)?, Var::zeros(4, candle_core::DType::F32, &Device::Cpu)?);
//! let norm = LayerNorm::new(weight.as_tensor().clone(), bias.as_tensor().clone(), 1e-5);
//! let x = Tensor::new(&[[1.0_f32, 2.0, 3.0, 6.0]], &Device::Cpu)?;
//! let gradients = norm.forward(&x)?.sqr()?.sum_all()?.backward()?;
//! assert!(gradients.get(&weight).is_some() && gradients.get(&bias).is_some());
//! # Ok::<(), candle_core::Error>(())
//! ```

mod autograd;
mod channel_modules;
mod channels;
mod dropout;
mod layout;
mod modules;
pub mod ops;

pub use channel_modules::{BatchNorm, GroupNorm, batch_norm, group_norm};
pub use dropout::Dropout;
pub use modules::{LayerNorm, RmsNorm, layer_norm, layer_norm_no_bias, rms_norm};

// The example of the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
