//! Which elements dropout keeps, and its optional outputs.
#![forbid(unsafe_code)]

use crate::mask::{Mask, MaskMut};
use crate::run::pool::Pool;

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
    pub(crate) pool: Option<&'a dyn Pool>,
}

/// Where the mask comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MaskSource<'a> {
    Drawn(Stream),
    Given(Mask<'a>),
}

impl<'a> DropoutArgs<'a> {
    /// Draws the mask from a stream.
    #[inline]
    pub const fn draw(stream: Stream) -> Self {
        Self { source: MaskSource::Drawn(stream), mask: None, pool: None }
    }

    /// Applies this mask, with the scale `1 / (1 - p)`.
    #[inline]
    pub const fn given(mask: Mask<'a>) -> Self {
        Self { source: MaskSource::Given(mask), mask: None, pool: None }
    }

    /// Writes the mask that is drawn. The scale of this call is that of the realised p: [`Dropout`](crate::Dropout) says how a
    /// later call applies the mask with the same scale.
    #[inline]
    pub fn keep_mask(mut self, mask: MaskMut<'a>) -> Self {
        self.mask = Some(mask);
        self
    }

    /// Runs on the host's threads.
    #[inline]
    pub const fn pool(mut self, pool: &'a dyn Pool) -> Self {
        self.pool = Some(pool);
        self
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
