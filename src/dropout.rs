//! Dropout: elements chosen by a random stream are set to zero, the others are scaled up.
#![forbid(unsafe_code)]

use crate::args::dropout::{
    DropoutArgs, DropoutPlan, DropoutUnit, MaskSource, Stream, keep_choice, scale,
};
use crate::element::Element;
use crate::error::Error;
use crate::kernels::elementwise::dropout::{ApplyDropout, Choice};
use crate::kernels::elementwise::dropout_units::{ApplyToUnits, Lie};
use crate::mask::MaskMut;
use crate::run::execution::{Execution, output_setters};
use crate::run::stored::in_f32;
use crate::shape::Rows;
use crate::simd::{InOut, Io, Span};

/// Inverted dropout (Srivastava et al., 2014).
///
/// In training every element is dropped with probability p, independently of all others, and what is
/// kept is scaled so that the mean stays:
///
/// ```text
/// y[i] = x[i] * scale  where element i is kept,  +0.0 where it is dropped
/// ```
///
/// | the mask is | scale, rounded once to f32 | why |
/// |---|---|---|
/// | drawn from a [`Stream`] | `1 / (1 - realised p)`, which [`scale`](Self::scale) returns | E\[y\] = x for the elements that this stream drops |
/// | a given [`Mask`](crate::Mask) | `1 / (1 - p)` | what PyTorch, ONNX and oneDNN multiply by, whoever has drawn the mask |
///
/// For p = 0.1 they are 1.1111187 and 1.1111112. They are equal where p is a multiple of 2^-16, as 0.5 and 0.25 are. **A mask that this
/// operation wrote** is applied with the scale that it was drawn with if p is the realised one:
///
/// ```
/// use evenkeel::{Dropout, DropoutArgs, InOut, Mask, MaskMut, Stream};
///
/// let (dropout, stream) = (Dropout::new().with_p(0.1), Stream { seed: 1, offset: 0 });
/// let dropout = dropout.with_p(dropout.realised_p()?); // now masks and streams have one scale
/// let (x, mut y, mut mask) = ([1.0_f32; 64], [0.0_f32; 64], [0; 8]);
/// let args = DropoutArgs::draw(stream).keep_mask(MaskMut::Packed(&mut mask));
/// dropout.forward(InOut::new(&x, &mut y), args)?;
///
/// let (dy, mut dx) = ([1.0_f32; 64], [0.0_f32; 64]);
/// dropout.backward(InOut::new(&dy, &mut dx), Mask::Packed(&mask))?;
/// assert_eq!(dx, y);
/// # Ok::<(), evenkeel::Error>(())
/// ```
///
/// Inference is the identity: leave the layer out, or call [`forward_inference`](Self::forward_inference). The
/// [backward](Self::backward) pass is the same operation on the gradient with the same mask, which was stored or is drawn again.
///
/// * **Probability**: random integers of 16 bits decide where 1/64 <= p <= 63/64, else of 32 bits. The
///   [realised p](Self::realised_p) is p rounded to a multiple of 2^-16 or 2^-32. p = 0 copies and p = 1 writes +0.0; neither draws.
/// * **p next to 0 or 1**: below 2^-33, nothing is dropped. Above 1 - 2^-32 and below 1, the realised p is 1 - 2^-32: one element in
///   4.3e9 is kept, and multiplied by 4.3e9. A given mask takes `1 / (1 - p)` there too: about 1e12 for p = 1 - 1e-12.
/// * **Special values**: a dropped element is +0.0 even if x is NaN or infinite.
/// * **Determinism**: the choice is a function of (seed, index) and p alone: the same on every backend, for every
///   thread count and every way to cut a range into calls. y has the same bits on every backend.
/// * **Cost**: one pass; nothing is allocated on a single thread. An offset that is not a multiple of 4096 costs
///   the draws before it in its block.
/// * **Randomness**: masks pass a battery of statistical tests in `cargo test`, which weak generators fail, and
///   dieharder's tests on the stream in four orders; `docs/randomness.md` in the repository has the results.
/// * Not cryptographic: who sees enough of a mask can compute the rest.
///
/// # The stream
///
/// Version 1. Changing it is a breaking change; known answers in the tests pin it. The indices are cut
/// into blocks of 4096; each has eight xoshiro256++ generators, seeded by SplitMix64 (Blackman and Vigna,
/// <https://prng.di.unimi.it>):
///
/// ```
/// use evenkeel::{Dropout, MaskMut, Stream};
/// use rand_core::{Rng, SeedableRng};
/// use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};
///
/// fn mix(x: u64) -> u64 {
///     // The finaliser of SplitMix64 is its output without the step before it.
///     SplitMix64::from_seed(x.wrapping_sub(0x9e3779b97f4a7c15).to_le_bytes()).next_u64()
/// }
///
/// /// The eight generators of a block.
/// fn generators(seed: u64, block: u64) -> [Xoshiro256PlusPlus; 8] {
///     let x = mix(mix(seed).wrapping_add(0x9e3779b97f4a7c15_u64.wrapping_mul(block + 1)));
///     let mut words = SplitMix64::from_seed(x.to_le_bytes());
///     std::array::from_fn(|_| {
///         let mut state = [0; 32];
///         words.fill_bytes(&mut state); // four words, little-endian
///         Xoshiro256PlusPlus::from_seed(state)
///     })
/// }
///
/// /// Whether each element of a block is kept, for 1/64 <= p <= 63/64.
/// fn block_16(p: f64, seed: u64, block: u64) -> Vec<u8> {
///     let mut generators = generators(seed, block);
///     let dropped = (p * 65536.0).round_ties_even().min(65535.0) as i64;
///     let mut kept = Vec::new();
///     while kept.len() < 4096 {
///         for generator in &mut generators {
///             let draw = generator.next_u64();
///             for part in 0..4 {
///                 let random = (draw >> (16 * part)) as i16;
///                 kept.push(u8::from(i64::from(random) >= dropped - 32768));
///             }
///         }
///     }
///     kept
/// }
///
/// let mut mask = vec![0; 4096];
/// let stream = Stream { seed: 7, offset: 3 * 4096 };
/// Dropout::new().with_p(0.1).mask(stream, 4096, MaskMut::Bytes(&mut mask))?;
/// assert_eq!(mask, block_16(0.1, 7, 3));
/// # Ok::<(), evenkeel::Error>(())
/// ```
///
/// With 32 bits, `part` goes over 2 halves of a draw, compared with `p * 2^32 - 2^31`.
///
/// # Example
///
/// ```
/// use evenkeel::{Dropout, DropoutArgs, InOut, Mask, MaskMut, Stream};
///
/// let dropout = Dropout::new().with_p(0.5);
/// let (x, stream) = ([1.0_f32; 4], Stream { seed: 1, offset: 0 });
/// let (mut y, mut mask) = ([0.0_f32; 4], [0; 1]);
/// let args = DropoutArgs::draw(stream).keep_mask(MaskMut::Packed(&mut mask));
/// dropout.forward(InOut::new(&x, &mut y), args)?;
/// assert!(y.iter().all(|&y| y == 0.0 || y == 2.0));
///
/// let (dy, mut dx, mut again) = ([1.0_f32; 4], [0.0_f32; 4], [0.0_f32; 4]);
/// dropout.backward(InOut::new(&dy, &mut dx), Mask::Packed(&mask))?;
/// dropout.backward(InOut::new(&dy, &mut again), stream)?;
/// assert_eq!((dx, again), (y, y));
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[doc(alias = "bernoulli")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    p: f64,
    execution: Execution,
}

impl Default for Dropout {
    fn default() -> Self {
        Self::new()
    }
}

impl Dropout {
    /// p = 0.5, on the detected backend, with automatic parallelism.
    #[must_use]
    pub const fn new() -> Self {
        Self { p: 0.5, execution: Execution::DEFAULT }
    }

    /// Drops with probability `p`, from 0 to 1 (checked by the calls).
    #[doc(alias = "rate")]
    #[doc(alias = "ratio")]
    #[must_use]
    pub const fn with_p(mut self, p: f64) -> Self {
        self.p = p;
        self
    }

    output_setters!();

    /// The probability of dropping that the random integers realise: p rounded to a multiple of 2^-16
    /// or, where p < 1/64 or p > 63/64, of 2^-32 (and at most 1 - 2^-32, unless p is 1).
    ///
    /// # Errors
    ///
    /// * [`Error::Parameter`]: p is not from 0 to 1.
    pub fn realised_p(&self) -> Result<f64, Error> {
        DropoutPlan::new("p", self.p).map(DropoutPlan::realised_p)
    }

    /// What kept elements are multiplied by where the mask is drawn: `1 / (1 - realised p)`, and 0 where p is 1.
    ///
    /// A given mask takes `1 / (1 - p)` instead, with the same p.
    ///
    /// # Errors
    ///
    /// * [`Error::Parameter`]: p is not from 0 to 1.
    pub fn scale(&self) -> Result<f32, Error> {
        DropoutPlan::new("p", self.p).map(DropoutPlan::scale)
    }

    /// Writes the mask of `len` elements.
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Parameter`]: p is not from 0 to 1.
    /// * [`Error::Length`]: `mask` is not as long as `len` needs.
    /// * [`Error::StreamOverflow`]: the range ends beyond 2^64.
    pub fn mask(&self, stream: Stream, len: usize, mask: MaskMut<'_>) -> Result<(), Error> {
        self.apply(None, len, DropoutArgs::draw(stream).keep_mask(mask))
    }

    /// Drops elements of x and returns y. The mask is drawn from a [`Stream`], or is a given [`Mask`](crate::Mask).
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Parameter`]: p is not from 0 to 1.
    /// * [`Error::Length`]: y is not as long as x, or a mask not as long as x needs.
    /// * [`Error::StreamOverflow`]: the range of the stream ends beyond 2^64.
    /// * [`Error::Unsupported`]: a pitch, or a given mask that is to be written too.
    #[inline]
    pub fn forward<'a, 'm, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        args: impl Into<DropoutArgs<'m>>,
    ) -> Result<&'a mut [Y], Error> {
        let args = args.into();
        io.write_whole(|io| self.run(io, args))
    }

    /// Takes the gradient of y and returns that of x: [`forward`](Self::forward) with the mask of the forward pass, drawn again
    /// from the same stream, or given. A given mask has the scale of given masks: see [`Dropout`].
    ///
    /// # Errors
    ///
    /// Those of [`forward`](Self::forward).
    #[inline]
    pub fn backward<'a, 'm, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        args: impl Into<DropoutArgs<'m>>,
    ) -> Result<&'a mut [Y], Error> {
        self.forward(io, args)
    }

    /// Inference: y is x.
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Parameter`]: p is not from 0 to 1.
    /// * [`Error::Length`]: y is not as long as x.
    /// * [`Error::Unsupported`]: a pitch.
    #[inline]
    pub fn forward_inference<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
    ) -> Result<&'a mut [Y], Error> {
        io.write_whole(|io| {
            DropoutPlan::new("p", self.p)?;
            let ([len, _], call) = (io.lengths(), self.execution.call(None));
            in_f32(call, io, Rows::one(len), |io| {
                io.whole()?.copy();
                Ok(())
            })
        })
    }

    pub(crate) fn run(&self, io: Io<'_>, args: DropoutArgs<'_>) -> Result<(), Error> {
        let ([len, _], call) = (io.lengths(), self.execution.call(args.pool));
        in_f32(call, io, Rows::one(len), |io| self.run_f32(io, args))
    }

    fn run_f32(&self, io: Io<'_>, args: DropoutArgs<'_>) -> Result<(), Error> {
        let io = match args.unit.elements() {
            Some(len) => io.span(len)?,
            None => io.whole()?,
        };
        let len = io.len();
        self.apply(Some(io), len, args)
    }

    /// Draws the mask or takes the given one, and applies it to `io` and writes it as far as they are there.
    fn apply(&self, io: Option<Span<'_>>, len: usize, args: DropoutArgs<'_>) -> Result<(), Error> {
        let plan = DropoutPlan::new("p", self.p)?;
        let units = args.unit.count(len)?;
        args.check((units, len), ["mask"; 2])?;
        let DropoutArgs { source, mask, unit, pool } = args;
        let call = self.execution.call(pool);
        let (choice, scale) = match (source, plan) {
            (_, DropoutPlan::DropAll) => {
                if let Some(io) = io {
                    io.zero();
                }
                if let Some(mask) = mask {
                    mask.fill(units, false);
                }
                return Ok(());
            }
            (MaskSource::Drawn(_), DropoutPlan::KeepAll) => {
                if let Some(io) = io {
                    io.copy();
                }
                if let Some(mask) = mask {
                    mask.fill(units, true);
                }
                return Ok(());
            }
            (MaskSource::Drawn(Stream { seed, offset }), DropoutPlan::Draw { threshold, .. }) => {
                (Choice::Stream { seed, offset, threshold }, plan.scale())
            }
            // Whoever has drawn it.
            (MaskSource::Given(mask), _) => (Choice::Mask(mask), scale(self.p)),
        };
        let io = io.map(|io| call.stores().apply(io, len));
        match (unit, io) {
            (DropoutUnit::Element, io) => {
                call.run_parallel(ApplyDropout { len, io, scale, choice, mask }, len);
            }
            (_, None) => {
                let work = ApplyDropout { len: units, io: None, scale, choice, mask };
                call.run_parallel(work, units);
            }
            (unit, Some(io)) => {
                let choice = keep_choice(call, choice, units, mask);
                let lie = match unit {
                    DropoutUnit::Channel(channels) if channels.is_last() => Lie::Columns {
                        positions: channels.positions(),
                        columns: channels.channels(),
                    },
                    _ => Lie::Runs(len / units.max(1)),
                };
                if len > 0 {
                    let work = ApplyToUnits { io, lie, first: 0, scale, choice };
                    call.run_parallel(work, len);
                }
            }
        }
        Ok(())
    }
}
