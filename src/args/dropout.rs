//! Which elements dropout keeps, and its optional outputs.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::kernels::elementwise::dropout::{ApplyDropout, Choice};
use crate::kernels::elementwise::stream::Threshold;
use crate::mask::{Mask, MaskMut};
use crate::run::execution::Call;
use crate::run::pool::Pool;
use crate::shape::{Channels, Rows, check_length};

/// Which part of which random stream a call draws: its elements have the indices `offset`, `offset + 1`, ...
///
/// Never use the same indices of the same seed twice for different things: masks would be equal. Give each layer,
/// step and rank a range of its own, for instance one seed a run, and
/// `offset = ((step * ranks + rank) * layers + layer) * elements`, with the largest number of elements of a layer; or a
/// seed of its own to each layer and rank. Any two seeds, neighbouring ones too, give unrelated streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    /// Names the stream.
    pub seed: u64,
    /// The index of the first element of the call.
    pub offset: u64,
}

/// Which elements [`Dropout::forward`](crate::Dropout::forward) keeps, and optional outputs. `From` a [`Stream`] and a [`Mask`].
///
/// ```
/// use evenkeel::{Dropout, DropoutArgs, InOut, MaskMut, Stream};
///
/// let (x, mut y, mut bits) = ([1.0_f32; 4], [0.0_f32; 4], [0; 1]);
/// let stream = Stream { seed: 1, offset: 0 };
/// let args = DropoutArgs::draw(stream).keep_mask(MaskMut::Packed(&mut bits));
/// Dropout::new().forward(InOut::new(&x, &mut y), args)?;
/// assert_eq!(bits[0].count_ones() as usize, y.iter().filter(|&&y| y == 2.0).count());
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct DropoutArgs<'a> {
    pub(crate) source: MaskSource<'a>,
    pub(crate) mask: Option<MaskMut<'a>>,
    pub(crate) unit: DropoutUnit,
    pub(crate) pool: Option<&'a dyn Pool>,
}

/// What is kept or dropped as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DropoutUnit {
    Element,
    Row(Rows),
    /// A channel of a sample.
    Channel(Channels),
}

impl DropoutUnit {
    /// The elements of the shape that says what a unit is.
    pub(crate) fn elements(self) -> Option<usize> {
        match self {
            Self::Element => None,
            Self::Row(rows) => Some(rows.elements()),
            Self::Channel(channels) => Some(channels.elements()),
        }
    }

    /// How many units `len` elements are.
    pub(crate) fn count(self, len: usize) -> Result<usize, Error> {
        match self {
            Self::Element => Ok(len),
            Self::Row(rows) => check_length("x", len, rows.elements()).map(|()| rows.rows()),
            Self::Channel(channels) => {
                check_length("x", len, channels.elements())?;
                Ok(channels.batch() * channels.channels())
            }
        }
    }
}

/// Where the mask comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MaskSource<'a> {
    Drawn(Stream),
    Given(Mask<'a>),
}

impl<'a> DropoutArgs<'a> {
    const fn new(source: MaskSource<'a>) -> Self {
        Self { source, mask: None, unit: DropoutUnit::Element, pool: None }
    }

    /// Draws the mask from a stream.
    #[inline]
    pub const fn draw(stream: Stream) -> Self {
        Self::new(MaskSource::Drawn(stream))
    }

    /// Applies this mask, with the scale `1 / (1 - p)`.
    #[inline]
    pub const fn given(mask: Mask<'a>) -> Self {
        Self::new(MaskSource::Given(mask))
    }

    /// Writes the mask that is drawn. The scale of this call is that of the realised p: [`Dropout`](crate::Dropout) says how a
    /// later call applies the mask with the same scale.
    #[inline]
    pub fn keep_mask(mut self, mask: MaskMut<'a>) -> Self {
        self.mask = Some(mask);
        self
    }

    /// Drops rows as a whole, with one draw each: stochastic depth, where a row is a sample. The mask has an element a row.
    ///
    /// ```
    /// use evenkeel::{Dropout, DropoutArgs, InOut, Rows, Stream};
    ///
    /// let (x, mut y) = ([1.0_f32; 4 * 3], [0.0_f32; 4 * 3]);
    /// let args = DropoutArgs::draw(Stream { seed: 1, offset: 0 }).whole_rows(Rows::new(4, 3)?);
    /// Dropout::new().forward(InOut::new(&x, &mut y), args)?;
    /// assert!(y.chunks(3).all(|row| row == [0.0; 3] || row == [2.0; 3]));
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    #[doc(alias = "DropPath")]
    #[doc(alias = "stochastic_depth")]
    #[inline]
    pub const fn whole_rows(mut self, rows: Rows) -> Self {
        self.unit = DropoutUnit::Row(rows);
        self
    }

    /// Drops channels of samples as a whole, with one draw each: spatial dropout. The mask has an element for each channel of each
    /// sample, in that order.
    ///
    /// ```
    /// use evenkeel::{Channels, Dropout, DropoutArgs, InOut, Stream};
    ///
    /// let (x, mut y) = ([1.0_f32; 12], [0.0_f32; 12]);
    /// let channels = Channels::last(2, 3, 2)?; // samples, positions, channels
    /// let args = DropoutArgs::draw(Stream { seed: 1, offset: 0 }).whole_channels(channels);
    /// Dropout::new().forward(InOut::new(&x, &mut y), args)?;
    /// assert!(y[..2] == y[2..4] && y[..2] == y[4..6]);
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    #[doc(alias = "Dropout2d")]
    #[doc(alias = "FeatureDropout")]
    #[inline]
    pub const fn whole_channels(mut self, channels: Channels) -> Self {
        self.unit = DropoutUnit::Channel(channels);
        self
    }

    /// Runs on the host's threads.
    #[inline]
    pub const fn pool(mut self, pool: &'a dyn Pool) -> Self {
        self.pool = Some(pool);
        self
    }
}

/// What p means.
#[derive(Clone, Copy)]
pub(crate) enum DropoutPlan {
    KeepAll,
    DropAll,
    Draw { threshold: Threshold, realised: f64 },
}

impl DropoutPlan {
    pub(crate) fn new(arg: &'static str, p: f64) -> Result<Self, Error> {
        match p {
            p if !(0.0..=1.0).contains(&p) => {
                Err(Error::Parameter { arg, expected: "a probability, from 0 to 1", got: p })
            }
            0.0 => Ok(Self::KeepAll),
            1.0 => Ok(Self::DropAll),
            p => {
                let (threshold, realised) = Threshold::new(p);
                Ok(Self::Draw { threshold, realised })
            }
        }
    }

    pub(crate) fn realised_p(self) -> f64 {
        match self {
            Self::KeepAll => 0.0,
            Self::DropAll => 1.0,
            Self::Draw { realised, .. } => realised,
        }
    }

    /// The scale of a mask that is drawn.
    pub(crate) fn scale(self) -> f32 {
        match self {
            Self::DropAll => 0.0,
            _ => scale(self.realised_p()),
        }
    }
}

/// What elements are multiplied by that are kept with the probability 1 - p.
pub(crate) fn scale(p: f64) -> f32 {
    (1.0 / (1.0 - p)) as f32
}

/// Writes the mask where it is to be kept. The choice is that mask then: nothing is drawn twice.
pub(crate) fn keep_choice<'a>(
    call: Call<'_>,
    choice: Choice<'a>,
    units: usize,
    mask: Option<MaskMut<'a>>,
) -> Choice<'a> {
    let Some(mut mask) = mask else { return choice };
    let out = Some(mask.reborrow());
    let work = ApplyDropout { len: units, io: None, scale: 1.0, choice, mask: out };
    call.run_parallel(work, units);
    Choice::Mask(mask.written())
}

impl Stream {
    /// Checks that the stream has so many elements.
    pub(crate) fn check(self, len: usize) -> Result<(), Error> {
        let Self { offset, .. } = self;
        if len as u128 > (1 << 64) - u128::from(offset) {
            return Err(Error::StreamOverflow { offset, len });
        }
        Ok(())
    }
}

impl<'a> DropoutArgs<'a> {
    /// Checks the mask, or the stream and the mask that is kept, of a call on so many units and elements. The names are those of the
    /// two masks.
    pub(crate) fn check(
        &self,
        (units, elements): (usize, usize),
        [given_arg, kept_arg]: [&'static str; 2],
    ) -> Result<(), Error> {
        match (self.source, &self.mask) {
            (MaskSource::Given(_), Some(_)) => Err(Error::Unsupported { arg: kept_arg }),
            (MaskSource::Given(mask), None) => mask.check(given_arg, units),
            (MaskSource::Drawn(stream), mask) => {
                if let Some(mask) = mask {
                    mask.check(kept_arg, units)?;
                }
                // Nothing is drawn for units without elements, unless their mask is kept.
                if elements > 0 || mask.is_some() { stream.check(units) } else { Ok(()) }
            }
        }
    }

    /// The same arguments for one call.
    pub(crate) fn reborrow(&mut self) -> DropoutArgs<'_> {
        DropoutArgs { mask: self.mask.as_mut().map(MaskMut::reborrow), ..*self }
    }
}

impl From<Stream> for DropoutArgs<'_> {
    fn from(stream: Stream) -> Self {
        Self::draw(stream)
    }
}

impl<'a> From<Mask<'a>> for DropoutArgs<'a> {
    fn from(mask: Mask<'a>) -> Self {
        Self::given(mask)
    }
}
