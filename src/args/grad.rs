//! What a backward pass may take and give beside dy, x and dx.
#![forbid(unsafe_code)]

use crate::args::dropout::DropoutArgs;
use crate::args::norm::unsupported;
use crate::element::{
    Element, Elements, ElementsMut, Storage, WideElement, WideMut, check_elements, single,
};
use crate::error::Error;
use crate::mask::ValidRows;
use crate::pitch::{Pitch, PitchedRows, check_rows};
use crate::run::pool::Pool;
use crate::shape::{Rows, check_length, check_optional};
use crate::simd::{InOut, Io};

/// Optional inputs and outputs of a backward pass. All are absent at first; each setter adds one. What starts with d is the
/// gradient of a loss by what the name goes on with.
///
/// | setter | what it is | length |
/// |---|---|---|
/// | [`gamma`](Self::gamma) | gamma of the forward pass | columns |
/// | [`beta`](Self::beta) | beta of the forward pass: only the gradient of a gate after the norm needs it | columns |
/// | [`gate`](Self::gate) | the gate z of the forward pass | as x |
/// | [`stats`](Self::stats), [`rstd`](Self::rstd) | mean and rstd that the forward pass wrote; without them they are made again from x | one a row, or a group of it |
/// | [`dgamma`](Self::dgamma), [`dbeta`](Self::dbeta) | gradients of gamma and beta, written | columns |
/// | [`add_dgamma`](Self::add_dgamma), [`add_dbeta`](Self::add_dbeta) | the same, added to what is there | columns |
/// | [`dgate`](Self::dgate), [`add_dgate`](Self::add_dgate) | gradient of the gate, written or added to | as x |
/// | [`dbias`](Self::dbias), [`add_dbias`](Self::add_dbias) | gradient of the bias, written or added to | columns |
/// | [`dropout`](Self::dropout) | dropout of the forward pass, between bias and residual | mask: as x |
/// | [`dsum`](Self::dsum) | the gradient of the sum that the forward pass kept, added to dx | as x |
/// | [`dresidual`](Self::dresidual), [`add_dresidual`](Self::add_dresidual) | a second place for dx, written or added to | as x |
/// | [`x_pitch`](Self::x_pitch), [`gate_pitch`](Self::gate_pitch), ... | elements from the start of a row of x, or of another argument, to the start of the next | |
/// | [`valid`](Self::valid) | which rows are data: of the others dx is `+0.0`, and they add nothing to other gradients | rows |
/// | [`scratch`](Self::scratch) | memory, so that the call allocates none | `backward_scratch_len` of the operation |
/// | [`pool`](Self::pool) | the host's threads, in place of rayon's | |
///
/// That is the table of rows. Of columns and channels, gamma and the gradients of parameters have an element a channel, mean and rstd
/// one a channel, a group or a position, as the forward pass wrote them. There is no dbias, no dropout, no dsum, and no second place for dx.
///
/// An operation that does not take an argument returns [`Error::Unsupported`](crate::Error::Unsupported) before it writes
/// anything. A pitch counts where its argument is there. A setter that is called twice keeps the second value. The
/// arguments are borrowed, and a call consumes them: [`reborrow`](Self::reborrow) lends them to one call of several.
///
/// ```
/// use evenkeel::{GradArgs, InOut, LayerNorm, Rows};
///
/// let (x, dy, gamma) = ([1.0_f32, 2.0, 6.0], [1.0_f32, 0.0, 0.0], [2.0_f32, 1.0, 1.0]);
/// let (mut dx, mut dgamma, mut dbeta) = ([0.0_f32; 3], [0.0_f32; 3], [0.0_f64; 3]);
/// let args = GradArgs::new().gamma(&gamma).dgamma(&mut dgamma).dbeta(&mut dbeta);
/// LayerNorm::new().backward(InOut::new(&dy, &mut dx), &x, Rows::new(1, 3)?, args)?;
/// assert!((dx[0] - 0.352_694).abs() < 1e-5 && (dgamma[0] + 0.925_819).abs() < 1e-5);
/// assert_eq!(dbeta, [1.0, 0.0, 0.0]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct GradArgs<'a> {
    pub(crate) gamma: Option<Elements<'a>>,
    pub(crate) beta: Option<Elements<'a>>,
    pub(crate) gate: Option<Elements<'a>>,
    pub(crate) gate_pitch: Option<Pitch>,
    pub(crate) dgate: Option<ElementsMut<'a>>,
    pub(crate) adds_dgate: bool,
    pub(crate) dgate_pitch: Option<Pitch>,
    pub(crate) mean: Option<&'a [f64]>,
    pub(crate) rstd: Option<&'a [f64]>,
    /// Mean and rstd that are stored in f32, in place of those above.
    pub(crate) f32_stats: [Option<&'a [f32]>; 2],
    pub(crate) dgamma: Option<Accumulated<'a>>,
    pub(crate) dbeta: Option<Accumulated<'a>>,
    pub(crate) dbias: Option<Accumulated<'a>>,
    pub(crate) dropout: Option<(f64, DropoutArgs<'a>)>,
    pub(crate) dsum: Option<Elements<'a>>,
    pub(crate) dsum_pitch: Option<Pitch>,
    pub(crate) dresidual: Option<ElementsMut<'a>>,
    pub(crate) adds_dresidual: bool,
    pub(crate) dresidual_pitch: Option<Pitch>,
    pub(crate) x_pitch: Option<Pitch>,
    pub(crate) valid: Option<ValidRows<'a>>,
    pub(crate) scratch: Option<&'a mut [f64]>,
    pub(crate) pool: Option<&'a dyn Pool>,
}

/// Where a gradient of parameters is written.
#[derive(Debug)]
pub(crate) struct Accumulated<'a> {
    pub(crate) out: WideMut<'a>,
    /// Whether it is added to what is there.
    pub(crate) adds: bool,
}

impl<'a> Accumulated<'a> {
    fn new<G: WideElement>(out: &'a mut [G], adds: bool) -> Self {
        Self { out: G::wide_mut(out), adds }
    }

    fn reborrow(&mut self) -> Accumulated<'_> {
        Accumulated { out: self.out.reborrow(), adds: self.adds }
    }
}

impl<'a> GradArgs<'a> {
    /// No optional arguments.
    #[inline]
    pub const fn new() -> Self {
        Self {
            gamma: None,
            beta: None,
            gate: None,
            gate_pitch: None,
            dgate: None,
            adds_dgate: false,
            dgate_pitch: None,
            mean: None,
            rstd: None,
            f32_stats: [None, None],
            dgamma: None,
            dbeta: None,
            dbias: None,
            dropout: None,
            dsum: None,
            dsum_pitch: None,
            dresidual: None,
            adds_dresidual: false,
            dresidual_pitch: None,
            x_pitch: None,
            valid: None,
            scratch: None,
            pool: None,
        }
    }

    /// The forward pass multiplied `x_hat` with gamma, one a column.
    #[doc(alias = "weight")]
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

    /// The forward pass added beta, one a column. It counts where [`dgate`](Self::dgate) is wanted of a gate after the norm, and has
    /// no part in any other gradient.
    #[doc(alias = "bias")]
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

    /// The gate z of the forward pass ([`NormArgs::gate`](crate::NormArgs::gate)). Its function and place are those of the operation.
    #[inline]
    pub fn gate<P: Element>(mut self, gate: &'a [P]) -> Self {
        self.gate = Some(Elements::of(gate));
        self
    }

    /// The rows of the gate begin every so many elements.
    #[inline]
    pub fn gate_pitch(mut self, pitch: impl Into<Pitch>) -> Self {
        self.gate_pitch = Some(pitch.into());
        self
    }

    /// Writes the gradient of the gate.
    ///
    /// ```
    /// use evenkeel::{GradArgs, InOut, RmsNorm, Rows};
    ///
    /// // norm(x) * silu(z): where z is 0, silu is 0 and its derivative 1/2.
    /// let (x, z, dy) = ([3.0_f32, 4.0], [0.0_f32; 2], [1.0_f32; 2]);
    /// let (mut dx, mut dz) = ([0.0_f32; 2], [0.0_f32; 2]);
    /// let args = GradArgs::new().gate(&z).dgate(&mut dz);
    /// RmsNorm::new().with_eps(0.0).backward(InOut::new(&dy, &mut dx), &x, Rows::new(1, 2)?, args)?;
    /// assert_eq!(dx, [0.0; 2]);
    /// assert!((dz[0] - 0.424_264).abs() < 1e-6 && (dz[1] - 0.565_685).abs() < 1e-6);
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    #[inline]
    pub fn dgate<P: Element>(mut self, dgate: &'a mut [P]) -> Self {
        self.dgate = Some(ElementsMut::of(dgate));
        self.adds_dgate = false;
        self
    }

    /// Adds the gradient of the gate to what is there, rounded once.
    #[inline]
    pub fn add_dgate<P: Element>(mut self, dgate: &'a mut [P]) -> Self {
        self.dgate = Some(ElementsMut::of(dgate));
        self.adds_dgate = true;
        self
    }

    /// The rows of the gradient of the gate begin every so many elements.
    #[inline]
    pub fn dgate_pitch(mut self, pitch: impl Into<Pitch>) -> Self {
        self.dgate_pitch = Some(pitch.into());
        self
    }

    /// Mean and rstd that the forward pass wrote ([`NormArgs::stats`](crate::NormArgs::stats)). The gradients have the bits that
    /// they have without: then the same statistics are made again, which costs a third sweep over rows that lie in a cache.
    ///
    /// Saved in f32 they have lost digits, and the gradients have bits of their own: `x_hat` is off by up to
    /// `2^-24 * (|mean| * rstd + |x_hat|)` more, where f32 holds both as normal numbers. With f32 the call allocates a copy in f64.
    #[inline]
    pub fn stats<S: WideElement>(mut self, mean: &'a [S], rstd: &'a [S]) -> Self {
        self.set_mean(S::wide(mean));
        self.rstd(rstd)
    }

    /// rstd that the forward pass of an operation without a mean wrote, in f64, or in f32 as of [`stats`](Self::stats).
    #[inline]
    pub fn rstd<S: WideElement>(mut self, rstd: &'a [S]) -> Self {
        self.set_rstd(S::wide(rstd));
        self
    }

    /// Writes the gradient of gamma, one a column: the sum over all rows of `dy * x_hat`.
    #[inline]
    pub fn dgamma<G: WideElement>(mut self, dgamma: &'a mut [G]) -> Self {
        self.dgamma = Some(Accumulated::new(dgamma, false));
        self
    }

    /// Adds the gradient of gamma to what is there, rounded once.
    #[inline]
    pub fn add_dgamma<G: WideElement>(mut self, dgamma: &'a mut [G]) -> Self {
        self.dgamma = Some(Accumulated::new(dgamma, true));
        self
    }

    /// Writes the gradient of beta, one a column: the sum over all rows of dy.
    #[inline]
    pub fn dbeta<G: WideElement>(mut self, dbeta: &'a mut [G]) -> Self {
        self.dbeta = Some(Accumulated::new(dbeta, false));
        self
    }

    /// Adds the gradient of beta to what is there, rounded once.
    #[inline]
    pub fn add_dbeta<G: WideElement>(mut self, dbeta: &'a mut [G]) -> Self {
        self.dbeta = Some(Accumulated::new(dbeta, true));
        self
    }

    /// The forward pass dropped elements of x with probability `p` ([`NormArgs::dropout`](crate::NormArgs::dropout)), before it added the
    /// residual. With the gradient ds of the sum, [`dsum`](Self::dsum) in it, dx is that of x, and the second place has ds:
    ///
    /// ```text
    /// ds = backward(dy) + dsum;  dresidual = ds;  dx = dropout(ds)
    /// ```
    ///
    /// The mask is the one that the forward pass kept, or is drawn again from its stream. A given mask has the scale of given masks: see
    /// [`Dropout`](crate::Dropout).
    ///
    /// ```
    /// use evenkeel::{GradArgs, InOut, LayerNorm, NormArgs, Rows, Stream};
    ///
    /// let (x, residual, stream) = ([1.0_f32, -2.0, 4.0], [0.5_f32; 3], Stream { seed: 1, offset: 0 });
    /// let (mut y, mut sum, norm, rows) = ([0.0_f32; 3], [0.0_f32; 3], LayerNorm::new(), Rows::new(1, 3)?);
    /// let args = NormArgs::new().dropout(0.5, stream).residual(&residual).sum(&mut sum);
    /// norm.forward(InOut::new(&x, &mut y), rows, args)?;
    ///
    /// let (dy, mut dx, mut dresidual) = ([1.0_f32, 0.0, 0.0], [0.0_f32; 3], [0.0_f32; 3]);
    /// let args = GradArgs::new().dropout(0.5, stream).dresidual(&mut dresidual);
    /// norm.backward(InOut::new(&dy, &mut dx), &sum, rows, args)?;
    /// assert!(dx.iter().zip(&dresidual).all(|(&dx, ds)| dx == 0.0 || dx == 2.0 * ds));
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    #[inline]
    pub fn dropout(mut self, p: f64, args: impl Into<DropoutArgs<'a>>) -> Self {
        self.dropout = Some((p, args.into()));
        self
    }

    /// Writes the gradient of the bias that the forward pass added to x, one a column: the sum over all rows of dx, made in f64.
    #[inline]
    pub fn dbias<G: WideElement>(mut self, dbias: &'a mut [G]) -> Self {
        self.dbias = Some(Accumulated::new(dbias, false));
        self
    }

    /// Adds the gradient of the bias to what is there, rounded once.
    #[inline]
    pub fn add_dbias<G: WideElement>(mut self, dbias: &'a mut [G]) -> Self {
        self.dbias = Some(Accumulated::new(dbias, true));
        self
    }

    /// Adds this to dx, rounded once more. Where the forward pass normalised `sum = x + residual` and gave the sum on, x of the
    /// backward pass is that sum, this is the gradient that came back for it, and dx is the gradient of x and of the residual.
    #[inline]
    pub fn dsum<P: Element>(mut self, dsum: &'a [P]) -> Self {
        self.dsum = Some(Elements::of(dsum));
        self
    }

    /// The rows of what [`dsum`](Self::dsum) is given begin every so many elements.
    #[inline]
    pub fn dsum_pitch(mut self, pitch: impl Into<Pitch>) -> Self {
        self.dsum_pitch = Some(pitch.into());
        self
    }

    /// Writes dx before dropout, [`dsum`](Self::dsum) in it, to a second place: the gradient of the residual.
    #[inline]
    pub fn dresidual<P: Element>(mut self, dresidual: &'a mut [P]) -> Self {
        self.dresidual = Some(ElementsMut::of(dresidual));
        self.adds_dresidual = false;
        self
    }

    /// Adds dx before dropout, [`dsum`](Self::dsum) in it, to a second place, rounded once.
    #[inline]
    pub fn add_dresidual<P: Element>(mut self, dresidual: &'a mut [P]) -> Self {
        self.dresidual = Some(ElementsMut::of(dresidual));
        self.adds_dresidual = true;
        self
    }

    /// The rows of the gradient of the residual begin every so many elements.
    #[inline]
    pub fn dresidual_pitch(mut self, pitch: impl Into<Pitch>) -> Self {
        self.dresidual_pitch = Some(pitch.into());
        self
    }

    /// The rows of x begin every so many elements.
    #[inline]
    pub fn x_pitch(mut self, pitch: impl Into<Pitch>) -> Self {
        self.x_pitch = Some(pitch.into());
        self
    }

    /// Only these rows are data. Of the others dx is `+0.0`, and they add nothing to the gradients of parameters.
    #[doc(alias = "mask")]
    #[inline]
    pub fn valid(mut self, valid: ValidRows<'a>) -> Self {
        self.valid = Some(valid);
        self
    }

    /// Memory for the call, at least as long as the operation's `backward_scratch_len` says, so that it allocates none. `GroupNorm` and
    /// `InstanceNorm` with padding allocate samples without it all the same.
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
    pub fn reborrow(&mut self) -> GradArgs<'_> {
        GradArgs {
            dgamma: self.dgamma.as_mut().map(Accumulated::reborrow),
            dbeta: self.dbeta.as_mut().map(Accumulated::reborrow),
            dbias: self.dbias.as_mut().map(Accumulated::reborrow),
            dropout: self.dropout.as_mut().map(|(p, dropout)| (*p, dropout.reborrow())),
            dgate: self.dgate.as_mut().map(ElementsMut::reborrow),
            dresidual: self.dresidual.as_mut().map(ElementsMut::reborrow),
            scratch: self.scratch.as_deref_mut(),
            ..*self
        }
    }

    /// Returns an error if there are statistics.
    pub(crate) fn check_no_stats(&self) -> Result<(), Error> {
        let [f32_mean, f32_rstd] = self.f32_stats.map(|stats| stats.is_some());
        unsupported([
            ("mean", self.mean.is_some() || f32_mean),
            ("rstd", self.rstd.is_some() || f32_rstd),
        ])
    }

    /// How dy, dx, x and the arguments are stored that are there.
    pub(crate) fn storages(
        &self,
        io: &Io<'_>,
        x: Elements<'_>,
    ) -> [(&'static str, Option<Storage>); 9] {
        let of = |elements: Option<Elements<'_>>| elements.map(|elements| elements.storage());
        let [dy, dx] = io.storage();
        [
            ("dy", Some(dy)),
            ("dx", Some(dx)),
            ("x", Some(x.storage())),
            ("gamma", of(self.gamma)),
            ("beta", of(self.beta)),
            ("gate", of(self.gate)),
            ("dgate", self.dgate.as_ref().map(ElementsMut::storage)),
            ("dsum", of(self.dsum)),
            ("dresidual", self.dresidual.as_ref().map(ElementsMut::storage)),
        ]
    }

    /// Checks everything that has an element a column, or one a row or a part of it.
    pub(crate) fn check(&self, rows: Rows, parts: usize) -> Result<(), Error> {
        check_elements("gamma", self.gamma, rows.cols())?;
        check_elements("beta", self.beta, rows.cols())?;
        check_optional("mean", self.mean, rows.rows() * parts)?;
        check_optional("rstd", self.rstd, rows.rows() * parts)?;
        let gradients = [("dgamma", &self.dgamma), ("dbeta", &self.dbeta), ("dbias", &self.dbias)];
        for (arg, gradient) in gradients {
            if let Some(gradient) = gradient {
                check_length(arg, gradient.out.len(), rows.cols())?;
            }
        }
        Ok(())
    }

    /// What is read beside dy, checked against the shape: x, what is added to dx, and the gate.
    pub(crate) fn inputs(
        &self,
        x: &'a [f32],
        rows: Rows,
    ) -> Result<(PitchedRows<'a>, [Option<PitchedRows<'a>>; 2]), Error> {
        let checked = |elements: &'a [f32], arg, pitch| {
            let pitch = check_rows(rows, (arg, elements.len()), pitch)?;
            Ok(PitchedRows::new(elements, pitch))
        };
        let x = checked(x, "x", ("x_pitch", self.x_pitch))?;
        let (dsum, gate) = (single("dsum", self.dsum)?, single("gate", self.gate)?);
        let dsum = dsum.map(|dsum| checked(dsum, "dsum", ("dsum_pitch", self.dsum_pitch)));
        let gate = gate.map(|gate| checked(gate, "gate", ("gate_pitch", self.gate_pitch)));
        Ok((x, [dsum.transpose()?, gate.transpose()?]))
    }

    /// The second place of dx.
    pub(crate) fn take_dresidual(&mut self) -> Result<Option<Io<'a>>, Error> {
        written("dresidual", self.dresidual.take(), self.dresidual_pitch)
    }

    /// The gradient of the gate.
    pub(crate) fn take_dgate(&mut self) -> Result<Option<Io<'a>>, Error> {
        written("dgate", self.dgate.take(), self.dgate_pitch)
    }
}

/// An output that is there.
fn written<'a>(
    arg: &'static str,
    out: Option<ElementsMut<'a>>,
    pitch: Option<Pitch>,
) -> Result<Option<Io<'a>>, Error> {
    let Some(out) = out else { return Ok(None) };
    let out = out.single(arg)?;
    let io = match pitch {
        Some(pitch) => InOut::strided_in_place(out, pitch),
        None => InOut::in_place(out),
    };
    Ok(Some(io.erased()))
}
