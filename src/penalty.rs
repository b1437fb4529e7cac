//! L1 and L2 regularisation of parameters: the penalty, its gradient, weight decay, the proximal step.
#![forbid(unsafe_code)]

use crate::element::{Element, Elements};
use crate::error::Error;
use crate::kernels::elementwise::penalty::{ApplyRule, Decay, Gradient, Penalize, Proximal, Rule};
use crate::kernels::merge::segments::Segments;
use crate::run::execution::{Execution, output_setters};
use crate::run::stored::{half_format, in_f32, read_in_f32};
use crate::shape::{Rows, check_length, check_not_negative};
use crate::simd::{InOut, Io, Span};

/// L1 and L2 regularisation of a vector of parameters: lasso (Tibshirani, 1996), ridge (Hoerl and Kennard, 1970), and with
/// both factors the elastic net (Zou and Hastie, 2005).
///
/// ```text
/// penalty(w) = l1 * (sum of |w[i]|) + l2 / 2 * (sum of w[i]^2)
/// ```
///
/// There are three ways to train with it:
///
/// | method | what it does | which is |
/// |---|---|---|
/// | [`add_gradient`](Self::add_gradient) | `gradient[i] += l1 * sign(w[i]) + l2 * w[i]`, where sign(0) = 0 | a subgradient of the penalty; PyTorch's `weight_decay` in `SGD` and `Adam` is its l2 |
/// | [`decay`](Self::decay) | `y[i] = w[i] * (1 - learning_rate * l2)` | decoupled weight decay, as in `AdamW` (Loshchilov and Hutter, 2019, arXiv 1711.05101); l1 has no part in it |
/// | [`proximal`](Self::proximal) | `y[i] = soft(w[i], step * l1) / (1 + step * l2)` | the proximal operator of `step * penalty`, the second half of ISTA (Beck and Teboulle, 2009); the soft threshold `soft(w, t) = sign(w) * max(abs(w) - t, 0)` makes parameters exactly 0, which no subgradient does |
///
/// l2 is halved in the penalty, so that its gradient is l2 * w: where a library has `alpha * sum of w^2`, l2 is `2 * alpha`.
///
/// * **Accuracy**, for every finite input: relative error of the penalty at most 1e-6, whatever the length. Error of the
///   gradient at most `1e-6 * (|gradient| + l1 + l2 * |w|) + 2^-149`, as long as `l2 * |w|` is below the largest f32; of `decay` at
///   most 1e-6 * |y|, of `proximal` at most `1e-6 * |w| / (1 + step * l2)`, plus 2^-149. Where the threshold is next to |w|, one
///   rounding of it decides whether y is 0.
/// * **Cost**: each buffer is read once and each output written once: the speed of memory. O(n); no allocation on a single
///   thread.
/// * **Determinism**: the same bits for every thread count, alignment, in place or not, and on every backend that
///   [fuses multiply-adds](crate::Backend::is_fused). The penalty is summed in blocks of 1024 elements, which are merged in one tree
///   fixed by the length, however they are spread over threads.
/// * **Special values**: a NaN in w makes the penalty NaN, and its own element of an output. A NaN or an infinity in the gradient stays
///   in its own element. An infinity in w is what the formula says by IEEE arithmetic: infinity times a factor of 0 is NaN, so
///   that the penalty is infinite where both factors are above 0 and NaN where one is 0.
///   The gradient at 0, of either sign, is that of the loss. Whether a zero in an output is `-0.0` is not
///   specified, but the same wherever bits are promised.
///
/// # Example
///
/// ```
/// use evenkeel::InOut;
/// use evenkeel::penalty::Regularizer;
///
/// let lasso = Regularizer::new().with_l1(0.5);
/// let (w, mut gradient) = ([3.0_f32, -0.25, 0.0], [1.0_f32, 1.0, 1.0]);
/// assert_eq!(lasso.penalty_and_add_gradient(&w, &mut gradient)?, 1.625);
/// assert_eq!(gradient, [1.5, 0.5, 1.0]);
///
/// let mut w = w;
/// lasso.proximal(InOut::in_place(&mut w), 1.0)?;
/// assert_eq!(w, [2.5, 0.0, 0.0]);
///
/// Regularizer::new().with_l2(0.5).decay(InOut::in_place(&mut w), 0.5)?;
/// assert_eq!(w, [1.875, 0.0, 0.0]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[doc(alias = "lasso")]
#[doc(alias = "ridge")]
#[doc(alias = "elastic_net")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regularizer {
    l1: f64,
    l2: f64,
    execution: Execution,
}

impl Default for Regularizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Regularizer {
    /// l1 = 0 and l2 = 0, no penalty at all, on the detected backend, with automatic parallelism.
    #[must_use]
    pub const fn new() -> Self {
        Self { l1: 0.0, l2: 0.0, execution: Execution::DEFAULT }
    }

    /// The factor of the sum of magnitudes; finite and at least 0 (checked by the calls).
    #[must_use]
    pub const fn with_l1(mut self, l1: f64) -> Self {
        self.l1 = l1;
        self
    }

    /// The factor of half the sum of squares; finite and at least 0 (checked by the calls).
    #[must_use]
    pub const fn with_l2(mut self, l2: f64) -> Self {
        self.l2 = l2;
        self
    }

    output_setters!();

    /// The penalty of `w`: `l1 * (sum of |w|) + l2 / 2 * (sum of w^2)`. That of no parameters is 0.
    ///
    /// # Errors
    ///
    /// * [`Error::Parameter`]: l1 or l2 is negative or not finite.
    #[inline]
    pub fn penalty<X: Element>(&self, w: &[X]) -> Result<f64, Error> {
        self.run_penalty(Elements::of(w))
    }

    /// Adds the gradient of the penalty of `w` to `gradient`, of the same length: `l1 * sign(w) + l2 * w`, where the
    /// sign of 0 is 0.
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Parameter`]: l1 or l2 is negative or not finite.
    /// * [`Error::Length`]: `gradient` is not as long as `w`.
    #[inline]
    pub fn add_gradient<X: Element, Y: Element>(
        &self,
        w: &[X],
        gradient: &mut [Y],
    ) -> Result<(), Error> {
        InOut::in_place(gradient).write_whole(|io| self.run_gradient(Elements::of(w), io))?;
        Ok(())
    }

    /// [`penalty`](Self::penalty) and [`add_gradient`](Self::add_gradient) in one pass over memory, with the bits of both.
    ///
    /// # Errors
    ///
    /// Those of [`add_gradient`](Self::add_gradient).
    #[inline]
    pub fn penalty_and_add_gradient<X: Element, Y: Element>(
        &self,
        w: &[X],
        gradient: &mut [Y],
    ) -> Result<f64, Error> {
        let mut penalty = 0.0;
        InOut::in_place(gradient)
            .write_whole(|io| self.run_both(Elements::of(w), io, &mut penalty))?;
        Ok(penalty)
    }

    /// Decoupled weight decay (`AdamW`): reads w, writes `y = w * (1 - learning_rate * l2)`, and returns y.
    ///
    /// The factor is made in f64. Where `learning_rate * l2` is above 1 it is negative.
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Parameter`]: l1, l2 or `learning_rate` is negative or not finite.
    /// * [`Error::Length`]: y is not as long as w.
    /// * [`Error::Unsupported`]: a pitch.
    #[doc(alias = "weight_decay")]
    #[inline]
    pub fn decay<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        learning_rate: f64,
    ) -> Result<&'a mut [Y], Error> {
        io.write_whole(|io| self.run_decay(io, learning_rate))
    }

    /// The proximal operator of `step * penalty`: reads w, writes `y = soft(w, step * l1) / (1 + step * l2)`, and returns y.
    /// `soft(w, t)` is `w - t` above t, `w + t` below -t and 0 between.
    ///
    /// `step` is the learning rate of the gradient step before it, on the loss alone.
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Parameter`]: l1, l2 or `step` is negative or not finite.
    /// * [`Error::Length`]: y is not as long as w.
    /// * [`Error::Unsupported`]: a pitch.
    #[doc(alias = "soft_threshold")]
    #[inline]
    pub fn proximal<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        step: f64,
    ) -> Result<&'a mut [Y], Error> {
        io.write_whole(|io| self.run_proximal(io, step))
    }

    pub(crate) fn run_penalty(&self, w: Elements<'_>) -> Result<f64, Error> {
        read_in_f32(self.execution.call(None), w, |w| self.sum(w, None))
    }

    pub(crate) fn run_gradient(&self, w: Elements<'_>, gradient: Io<'_>) -> Result<(), Error> {
        self.with_gradient(w, gradient, |w, gradient| self.add(w, gradient))
    }

    /// Writes the penalty too.
    pub(crate) fn run_both(
        &self,
        w: Elements<'_>,
        gradient: Io<'_>,
        penalty: &mut f64,
    ) -> Result<(), Error> {
        self.with_gradient(w, gradient, |w, gradient| {
            *penalty = self.sum(w, Some(gradient))?;
            Ok(())
        })
    }

    /// Calls `run` with w and the gradient as f32.
    fn with_gradient(
        &self,
        w: Elements<'_>,
        gradient: Io<'_>,
        run: impl FnOnce(&[f32], Span<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let call = self.execution.call(None);
        let [_, to] = gradient.storage();
        half_format([("w", Some(w.storage())), ("gradient", Some(to))])?;
        self.in_f32(gradient, |io| read_in_f32(call, w, |w| run(w, io.whole()?)))
    }

    /// Calls `run` with the buffers as f32.
    fn in_f32(
        &self,
        io: Io<'_>,
        run: impl FnOnce(Io<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let [len, _] = io.lengths();
        in_f32(self.execution.call(None), io, Rows::one(len), run)
    }

    pub(crate) fn run_decay(&self, io: Io<'_>, learning_rate: f64) -> Result<(), Error> {
        self.in_f32(io, |io| {
            let io = io.whole()?;
            self.check()?;
            check_not_negative("learning_rate", learning_rate)?;
            self.update(io, &[], Decay::new(self.l2, learning_rate));
            Ok(())
        })
    }

    pub(crate) fn run_proximal(&self, io: Io<'_>, step: f64) -> Result<(), Error> {
        self.in_f32(io, |io| {
            let io = io.whole()?;
            self.check()?;
            check_not_negative("step", step)?;
            self.update(io, &[], Proximal::new(self.l1, self.l2, step));
            Ok(())
        })
    }

    fn add(&self, w: &[f32], gradient: Span<'_>) -> Result<(), Error> {
        self.check()?;
        check_length("gradient", gradient.len(), w.len())?;
        self.update(gradient, w, self.gradient());
        Ok(())
    }

    /// The penalty, and its gradient added.
    fn sum(&self, w: &[f32], gradient: Option<Span<'_>>) -> Result<f64, Error> {
        self.check()?;
        if let Some(gradient) = &gradient {
            check_length("gradient", gradient.len(), w.len())?;
        }
        let work = Penalize { w, gradient, rule: self.gradient(), first: 0 };
        let all = self.execution.call(None).reduce(work, w.len(), Segments::merged);
        Ok(all.finish().penalty(self.l1, self.l2))
    }

    fn check(&self) -> Result<(), Error> {
        check_not_negative("l1", self.l1)?;
        check_not_negative("l2", self.l2)
    }

    fn gradient(&self) -> Gradient {
        Gradient { l1: self.l1, l2: self.l2 }
    }

    fn update<T: Rule>(&self, io: Span<'_>, w: &[f32], rule: T) {
        let (call, len) = (self.execution.call(None), io.len());
        let io = call.stores().apply(io, len);
        call.run_parallel(ApplyRule { io, w, rule }, len);
    }
}
