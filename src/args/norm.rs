//! Optional inputs and outputs of a normalisation.
#![forbid(unsafe_code)]

#[cfg(feature = "capi")]
use core::mem::MaybeUninit;

use crate::args::dropout::DropoutArgs;
use crate::element::{
    Element, Elements, ElementsMut, ElementsVec, Storage, WideElement, check_elements, single,
};
use crate::error::Error;
use crate::gate::GateFunction;
use crate::mask::ValidRows;
use crate::pitch::{Pitch, check_rows};
use crate::run::pool::Pool;
use crate::shape::{Rows, check_length, check_optional};
use crate::simd::{Io, RowInputs, SumOutput};

/// Optional inputs and outputs of a normalisation. All are absent at first; each setter adds one.
///
/// | setter | what it is | length |
/// |---|---|---|
/// | [`gamma`](Self::gamma), [`beta`](Self::beta), [`affine`](Self::affine) | what `x_hat` is multiplied with, and what is added then | columns, or channels |
/// | [`stats`](Self::stats), [`rstd`](Self::rstd) | mean and `1 / sqrt(var + eps)`, written | one a statistic |
/// | [`x_bias`](Self::x_bias) | added to x before the residual and the statistics; the `bias` of PyTorch's norms is beta | columns |
/// | [`dropout`](Self::dropout) | drops elements of x with its bias, before the residual is added | mask: as x |
/// | [`residual`](Self::residual), [`update_residual`](Self::update_residual) | added to x before the statistics; or the same, and it becomes the sum | as x |
/// | [`sum`](Self::sum), [`sum_vec`](Self::sum_vec) | the sum of x, its bias and the residual, written | as x |
/// | [`gate`](Self::gate) | z: the result, or x, is multiplied with `silu(z)` or `sigmoid(z)` | as x |
/// | [`plus`](Self::plus) | added to the result: `y = added + norm(x)` | as x |
/// | [`valid`](Self::valid) | which rows are data; the others become `+0.0` | rows |
/// | [`scratch`](Self::scratch) | memory, so that the call allocates none | `scratch_len` of the operation |
/// | [`pool`](Self::pool) | the host's threads, in place of rayon's | |
///
/// An operation that does not take an argument returns [`Error::Unsupported`](crate::Error::Unsupported) before it writes
/// anything. A pitch has no effect without its argument. A setter that is called twice keeps the second value.
///
/// | | gamma, beta | stats | `x_bias`, dropout, residual, sum, gate, plus | valid | scratch |
/// |---|---|---|---|---|---|
/// | `LayerNorm`, `RmsNorm` of rows | yes | yes (`RmsNorm`: `rstd`) | yes | yes | not needed |
/// | `LayerNorm` over channels that come first | yes | yes | no | yes | not needed |
/// | `GroupNorm`, `InstanceNorm` | yes | yes | no | yes | yes |
/// | `NormalizeScaleShift` | yes | no | no | yes | not needed |
/// | `BatchNorm::forward_inference` | yes | no | no | yes | not needed |
///
/// The arguments are borrowed, and a call consumes them: [`reborrow`](Self::reborrow) lends them to one call of several.
///
/// ```
/// use evenkeel::{InOut, LayerNorm, NormArgs, Rows};
///
/// let (x, residual, gamma) = ([1.0_f32, 2.0], [0.0_f32, 3.0], [1.0_f32, 0.5]);
/// let (mut y, mut sum, mut mean, mut rstd) = ([0.0_f32; 2], [0.0_f32; 2], [0.0], [0.0]);
/// let args = NormArgs::new().gamma(&gamma).residual(&residual).sum(&mut sum).stats(&mut mean, &mut rstd);
/// LayerNorm::new().with_eps(0.0).forward(InOut::new(&x, &mut y), Rows::new(1, 2)?, args)?;
/// assert_eq!((y, sum, mean, rstd), ([-1.0, 0.5], [1.0, 5.0], [3.0], [0.5]));
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct NormArgs<'a> {
    pub(crate) gamma: Option<Elements<'a>>,
    pub(crate) beta: Option<Elements<'a>>,
    pub(crate) mean: Option<&'a mut [f64]>,
    pub(crate) rstd: Option<&'a mut [f64]>,
    /// Where mean and rstd go if they are stored in f32, in place of those above.
    pub(crate) f32_stats: [Option<&'a mut [f32]>; 2],
    pub(crate) bias: Option<Elements<'a>>,
    pub(crate) dropout: Option<(f64, DropoutArgs<'a>)>,
    pub(crate) residual: Option<Residual<'a>>,
    pub(crate) residual_pitch: Option<Pitch>,
    pub(crate) sum: Option<SumOutput<'a>>,
    pub(crate) sum_pitch: Option<Pitch>,
    pub(crate) gate: Option<Elements<'a>>,
    pub(crate) gate_pitch: Option<Pitch>,
    pub(crate) added: Option<Elements<'a>>,
    pub(crate) added_pitch: Option<Pitch>,
    pub(crate) valid: Option<ValidRows<'a>>,
    pub(crate) scratch: Option<&'a mut [f64]>,
    pub(crate) pool: Option<&'a dyn Pool>,
}

/// What is added to x.
#[derive(Debug)]
pub(crate) enum Residual<'a> {
    /// This.
    Read(Elements<'a>),
    /// This, which becomes the sum.
    Updated(ElementsMut<'a>),
}

impl Residual<'_> {
    /// How it is stored.
    pub(crate) fn storage(&self) -> Storage {
        match self {
            Self::Read(residual) => residual.storage(),
            Self::Updated(residual) => residual.storage(),
        }
    }

    /// The same for one call.
    pub(crate) fn reborrow(&mut self) -> Residual<'_> {
        match self {
            Self::Read(residual) => Residual::Read(*residual),
            Self::Updated(residual) => Residual::Updated(residual.reborrow()),
        }
    }
}

impl<'a> NormArgs<'a> {
    /// No optional arguments.
    #[inline]
    pub const fn new() -> Self {
        Self {
            gamma: None,
            beta: None,
            mean: None,
            rstd: None,
            f32_stats: [None, None],
            bias: None,
            dropout: None,
            residual: None,
            residual_pitch: None,
            sum: None,
            sum_pitch: None,
            gate: None,
            gate_pitch: None,
            added: None,
            added_pitch: None,
            valid: None,
            scratch: None,
            pool: None,
        }
    }

    /// Multiplies `x_hat` with gamma, one a column or channel.
    #[doc(alias = "weight")]
    #[doc(alias = "scale")]
    #[inline]
    pub fn gamma<P: Element>(mut self, gamma: &'a [P]) -> Self {
        self.gamma = Some(Elements::of(gamma));
        self
    }

    /// The same, if there is one.
    #[inline]
    pub fn maybe_gamma<P: Element>(mut self, gamma: Option<&'a [P]>) -> Self {
        self.gamma = gamma.map(Elements::of);
        self
    }

    /// Adds beta, one a column or channel.
    #[doc(alias = "bias")]
    #[doc(alias = "shift")]
    #[inline]
    pub fn beta<P: Element>(mut self, beta: &'a [P]) -> Self {
        self.beta = Some(Elements::of(beta));
        self
    }

    /// The same, if there is one.
    #[inline]
    pub fn maybe_beta<P: Element>(mut self, beta: Option<&'a [P]>) -> Self {
        self.beta = beta.map(Elements::of);
        self
    }

    /// gamma and beta.
    #[inline]
    pub fn affine<P: Element>(self, gamma: &'a [P], beta: &'a [P]) -> Self {
        self.gamma(gamma).beta(beta)
    }

    /// Writes the mean and `rstd = 1 / sqrt(var + eps)` of every row, group, channel or position. Those of nothing are 0.
    ///
    /// In f32 they are rounded: one that f32 cannot hold becomes infinite, and a [backward pass](crate::GradArgs::stats) is less
    /// exact with them. With f32 the call allocates a copy in f64.
    #[inline]
    pub fn stats<S: WideElement>(mut self, mean: &'a mut [S], rstd: &'a mut [S]) -> Self {
        self.set_mean(S::wide_mut(mean));
        self.rstd(rstd)
    }

    /// Writes `rstd` alone, in f64, or in f32 as of [`stats`](Self::stats).
    #[doc(alias = "InvStdDev")]
    #[inline]
    pub fn rstd<S: WideElement>(mut self, rstd: &'a mut [S]) -> Self {
        self.set_rstd(S::wide_mut(rstd));
        self
    }

    /// Adds the bias of the linear layer before the norm to every row of x, before the residual: `x + bias` is rounded to f32 once.
    ///
    /// It is not the bias of the norm, which is [`beta`](Self::beta).
    #[doc(alias = "bias")]
    #[inline]
    pub fn x_bias<P: Element>(mut self, bias: &'a [P]) -> Self {
        self.bias = Some(Elements::of(bias));
        self
    }

    /// Drops elements of x, its bias in it, with probability `p` before the residual is added:
    ///
    /// ```text
    /// y = norm(residual + dropout(x + x_bias))
    /// ```
    ///
    /// The mask is drawn from a [`Stream`](crate::Stream), or given ([`DropoutArgs`]), and kept where
    /// [`DropoutArgs::keep_mask`] says. Element `[r, c]` has the index `r * columns + c`, whatever the pitch. In f32 the bits are those of
    /// [`Dropout`](crate::Dropout) and a norm with a residual, one after the other. p = 0 costs nothing where the mask is drawn. Rows may be
    /// dropped as a whole ([`DropoutArgs::whole_rows`]: all columns of one row or more), channels may not.
    ///
    /// ```
    /// use evenkeel::{Dropout, InOut, LayerNorm, NormArgs, Rows, Stream};
    ///
    /// let (x, residual, stream) = ([1.0_f32; 6], [0.5_f32; 6], Stream { seed: 1, offset: 0 });
    /// let (mut y, mut dropped, mut again) = ([0.0_f32; 6], [0.0_f32; 6], [0.0_f32; 6]);
    /// let (norm, rows) = (LayerNorm::new(), Rows::new(2, 3)?);
    /// norm.forward(InOut::new(&x, &mut y), rows, NormArgs::new().dropout(0.5, stream).residual(&residual))?;
    ///
    /// Dropout::new().with_p(0.5).forward(InOut::new(&x, &mut dropped), stream)?;
    /// norm.forward(InOut::new(&dropped, &mut again), rows, NormArgs::new().residual(&residual))?;
    /// assert_eq!(y, again);
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    #[inline]
    pub fn dropout(mut self, p: f64, args: impl Into<DropoutArgs<'a>>) -> Self {
        self.dropout = Some((p, args.into()));
        self
    }

    /// Adds a residual to x, and normalises the sum, rounded to f32 once. The sum is kept where [`sum`](Self::sum) says.
    ///
    /// ```text
    /// y = norm(x + residual)
    /// ```
    #[doc(alias = "skip")]
    #[inline]
    pub fn residual<P: Element>(mut self, residual: &'a [P]) -> Self {
        self.residual = Some(Residual::Read(Elements::of(residual)));
        self
    }

    /// As [`residual`](Self::residual), and the residual becomes the sum: `residual += x; y = norm(residual)`.
    #[doc(alias = "fused_add_norm")]
    #[doc(alias = "SkipLayerNormalization")]
    #[inline]
    pub fn update_residual<P: Element>(mut self, residual: &'a mut [P]) -> Self {
        self.residual = Some(Residual::Updated(ElementsMut::of(residual)));
        self
    }

    /// Elements from the start of a row of the residual to the start of the next.
    #[inline]
    pub fn residual_pitch(mut self, pitch: impl Into<Pitch>) -> Self {
        self.residual_pitch = Some(pitch.into());
        self
    }

    /// Writes the sum of x, bias and residual. Its rows are contiguous, unless `sum_pitch` is set. There has to be a bias, dropout or a residual. It does not go with
    /// [`update_residual`](Self::update_residual), where the residual is the place of the sum.
    #[inline]
    pub fn sum<P: Element>(mut self, sum: &'a mut [P]) -> Self {
        self.sum = Some(SumOutput::Slice(ElementsMut::of(sum)));
        self
    }

    /// Writes the sum of x, its bias and the residual to a vector, in place of its old elements. The memory is written once. The vector
    /// may be empty after [`Error::OutOfMemory`](crate::Error::OutOfMemory); another error leaves it as it was.
    #[inline]
    pub fn sum_vec<P: Element>(mut self, sum: &'a mut Vec<P>) -> Self {
        self.sum = Some(SumOutput::Vec(ElementsVec::of(sum)));
        self
    }

    /// Writes the sum of x, its bias and the residual, whose rows are contiguous, to memory that need not be initialised.
    #[cfg(feature = "capi")]
    #[inline]
    pub(crate) fn sum_uninit(mut self, storage: Storage, sum: &'a mut [MaybeUninit<u8>]) -> Self {
        self.sum = Some(SumOutput::Uninit(storage, sum));
        self
    }

    /// Elements from the start of a row of the slice passed to [`sum`](Self::sum) to the start of the next. The rows of a vector are
    /// contiguous.
    #[inline]
    pub fn sum_pitch(mut self, pitch: impl Into<Pitch>) -> Self {
        self.sum_pitch = Some(pitch.into());
        self
    }

    /// Multiplies the result, gamma and beta in it, with `silu(z) = z / (1 + exp(-z))`: `y = norm(x) * silu(z)`.
    ///
    /// [`RmsNorm::with_gate`](crate::RmsNorm::with_gate) and [`LayerNorm::with_gate`](crate::LayerNorm::with_gate) choose another
    /// function, and another place: `y = norm(x * silu(z))`.
    ///
    /// | gate | models |
    /// |---|---|
    /// | `norm(x) * silu(z)`, the default | Qwen3-Next, Gated `DeltaNet`; Mamba-2 with `norm_before_gate=True` |
    /// | `norm(x * silu(z))` | Mamba-2, Nemotron-H, Zamba2 |
    /// | `norm(x) * sigmoid(z)` | Kimi Linear |
    ///
    /// **Accuracy** after the norm: with the function's value s, the error of y is at most
    /// `(2.4e-6 * |gamma * s| + 2^-148 * max(1, |gamma|)) * max(1, |x_hat|) + 2.4e-6 * |beta * s|`, half of it where nothing is
    /// centred. Before it, the product is within
    /// `4e-7` of itself, or 2^-149, and is rounded to f32 as a [sum](Self::sum) is. The norm of this product has the norm's error.
    #[doc(alias = "swish")]
    #[inline]
    pub fn gate<P: Element>(mut self, z: &'a [P]) -> Self {
        self.gate = Some(Elements::of(z));
        self
    }

    /// Elements from the start of a row of the gate to the start of the next.
    #[inline]
    pub fn gate_pitch(mut self, pitch: impl Into<Pitch>) -> Self {
        self.gate_pitch = Some(pitch.into());
        self
    }

    /// Adds this tensor to the result, after the gate: `y = added + norm(x)`. Gemma 2 and 3, OLMo 2 and GLM-4 normalise a branch
    /// so before they add it to the residual stream.
    #[doc(alias = "post_norm")]
    #[inline]
    pub fn plus<P: Element>(mut self, added: &'a [P]) -> Self {
        self.added = Some(Elements::of(added));
        self
    }

    /// Elements from the start of a row of what [`plus`](Self::plus) adds to the start of the next.
    #[inline]
    pub fn plus_pitch(mut self, pitch: impl Into<Pitch>) -> Self {
        self.added_pitch = Some(pitch.into());
        self
    }

    /// Only these rows (positions, of samples of channels) are data. The others are padding:
    ///
    /// * Statistics leave them out, and their own statistics are 0.
    /// * Their y is `+0.0`, whatever x holds there.
    /// * A sum of x and a residual ([`sum`](Self::sum), [`update_residual`](Self::update_residual)) includes them.
    #[doc(alias = "mask")]
    #[doc(alias = "padding")]
    #[inline]
    pub fn valid(mut self, valid: ValidRows<'a>) -> Self {
        self.valid = Some(valid);
        self
    }

    /// Memory for the call, at least as long as the operation's `scratch_len` says, so that it allocates none.
    #[inline]
    pub fn scratch(mut self, scratch: &'a mut [f64]) -> Self {
        self.scratch = Some(scratch);
        self
    }

    /// Runs on the host's threads.
    #[inline]
    pub fn pool(mut self, pool: &'a dyn Pool) -> Self {
        self.pool = Some(pool);
        self
    }

    /// The same arguments for one call, after which these can be used again.
    #[inline]
    pub fn reborrow(&mut self) -> NormArgs<'_> {
        NormArgs {
            mean: self.mean.as_deref_mut(),
            rstd: self.rstd.as_deref_mut(),
            f32_stats: self.f32_stats.each_mut().map(Option::as_deref_mut),
            dropout: self.dropout.as_mut().map(|(p, dropout)| (*p, dropout.reborrow())),
            residual: self.residual.as_mut().map(Residual::reborrow),
            sum: self.sum.as_mut().map(SumOutput::reborrow),
            scratch: self.scratch.as_deref_mut(),
            ..*self
        }
    }

    /// Checks gamma and beta.
    pub(crate) fn check_affine(&self, columns: usize) -> Result<(), Error> {
        check_elements("gamma", self.gamma, columns)?;
        check_elements("beta", self.beta, columns)
    }

    /// Checks where mean and rstd go.
    pub(crate) fn check_stats(&self, statistics: usize) -> Result<(), Error> {
        check_optional("mean", self.mean.as_deref(), statistics)?;
        check_optional("rstd", self.rstd.as_deref(), statistics)
    }

    /// Returns an error if an argument is present that only operations on rows take.
    #[inline]
    pub(crate) fn check_no_row_arguments(&self) -> Result<(), Error> {
        unsupported([
            ("x_bias", self.bias.is_some()),
            ("dropout", self.dropout.is_some()),
            ("residual", self.residual.is_some()),
            ("sum", self.sum.is_some()),
            ("gate", self.gate.is_some()),
            ("plus", self.added.is_some()),
        ])
    }

    /// Returns an error if statistics are to be written.
    #[inline]
    pub(crate) fn check_no_stats(&self) -> Result<(), Error> {
        let [f32_mean, f32_rstd] = self.f32_stats.each_ref().map(Option::is_some);
        unsupported([
            ("mean", self.mean.is_some() || f32_mean),
            ("rstd", self.rstd.is_some() || f32_rstd),
        ])
    }

    /// gamma and beta where they are f32 of so many columns and nothing else is read or written but statistics. `None`: that is not so,
    /// or something is wrong.
    #[inline(always)]
    pub(crate) fn usual_affine(&self, cols: usize) -> Option<[Option<&'a [f32]>; 2]> {
        let of = |elements: Option<Elements<'a>>| match elements {
            None => Some(None),
            Some(Elements::F32(elements)) if elements.len() == cols => Some(Some(elements)),
            Some(_) => None,
        };
        let affine = [of(self.gamma)?, of(self.beta)?];
        (!self.has_inputs() && self.sum.is_none()).then_some(affine)
    }

    /// Whether x, y and everything beside them is stored as f32: the usual case, found in few instructions.
    #[inline(always)]
    pub(crate) fn is_f32(&self, io: &Io<'_>) -> bool {
        let is_f32 =
            |elements: Option<Elements<'_>>| matches!(elements, None | Some(Elements::F32(_)));
        io.storage() == [Storage::F32; 2]
            && [self.gamma, self.beta, self.bias, self.gate, self.added].into_iter().all(is_f32)
            && self.residual.as_ref().is_none_or(|residual| residual.storage() == Storage::F32)
            && self.sum.as_ref().is_none_or(|sum| sum.storage() == Storage::F32)
    }

    /// How x, y and the arguments are stored that are there.
    #[inline]
    pub(crate) fn storages(&self, io: &Io<'_>) -> [(&'static str, Option<Storage>); 9] {
        let of = |elements: Option<Elements<'_>>| elements.map(|elements| elements.storage());
        let [x, y] = io.storage();
        [
            ("x", Some(x)),
            ("y", Some(y)),
            ("gamma", of(self.gamma)),
            ("beta", of(self.beta)),
            ("x_bias", of(self.bias)),
            ("residual", self.residual.as_ref().map(Residual::storage)),
            ("sum", self.sum.as_ref().map(SumOutput::storage)),
            ("gate", of(self.gate)),
            ("plus", of(self.added)),
        ]
    }

    /// Returns an error for a sum of nothing, or whose place is the residual already.
    #[inline]
    pub(crate) fn check_sum(&self) -> Result<(), Error> {
        if self.sum.is_some() {
            // A sum needs an addend.
            let updated = matches!(self.residual, Some(Residual::Updated(_)));
            let is_sum = self.bias.is_some() || self.dropout.is_some() || self.residual.is_some();
            unsupported([("sum", updated || !is_sum)])?;
        }
        Ok(())
    }

    /// Whether anything is read beside x.
    #[inline]
    pub(crate) fn has_inputs(&self) -> bool {
        !matches!(
            self,
            Self { bias: None, dropout: None, residual: None, gate: None, added: None, .. }
        )
    }

    /// Checks what is read beside x against the shape, and adds it to the inputs of a span. `gate_first` is the function of a gate
    /// before the norm.
    #[inline(never)]
    pub(crate) fn take_inputs(
        &mut self,
        rows: Rows,
        gate_first: Option<GateFunction>,
        inputs: &mut RowInputs<'a>,
    ) -> Result<(), Error> {
        if let Some(bias) = single("x_bias", self.bias)? {
            check_length("x_bias", bias.len(), rows.cols())?;
            inputs.bias(bias);
        }
        let at_pitch =
            |arg, pitch_arg, len, pitch| check_rows(rows, (arg, len), (pitch_arg, pitch));
        if let Some(residual) = self.residual.take() {
            let at = |len| at_pitch("residual", "residual_pitch", len, self.residual_pitch);
            match residual {
                Residual::Read(residual) => {
                    let residual = residual.single("residual")?;
                    inputs.residual(residual, at(residual.len())?);
                }
                Residual::Updated(residual) => {
                    let residual = residual.single("residual")?;
                    let pitch = at(residual.len())?;
                    inputs.updated_residual(residual, pitch);
                }
            }
        }
        if let Some(gate) = single("gate", self.gate)? {
            let pitch = at_pitch("gate", "gate_pitch", gate.len(), self.gate_pitch)?;
            inputs.gate(gate, pitch, gate_first);
        }
        if let Some(added) = single("plus", self.added)? {
            let pitch = at_pitch("plus", "plus_pitch", added.len(), self.added_pitch)?;
            inputs.added(added, pitch);
        }
        Ok(())
    }
}

/// Returns an error for the first argument that is present. Inlined, only the tests remain, and no list is built.
#[inline(always)]
pub(crate) fn unsupported<const N: usize>(
    arguments: [(&'static str, bool); N],
) -> Result<(), Error> {
    for (arg, is_there) in arguments {
        if is_there {
            return Err(Error::Unsupported { arg });
        }
    }
    Ok(())
}
