//! `StandardScaler`: every feature less its mean, divided by its standard deviation, both learnt from data.
#![forbid(unsafe_code)]

use crate::element::{Element, Elements};
use crate::error::Error;
use crate::kernels::columns::standard_scaler::{
    FitChunks, FitMoments, MergeInput, MergeInto, Partial, Standard, means_and_scales,
};
use crate::memory::{filled, grow};
use crate::norm::columns::normalize_columns;
use crate::preprocess::state::{Kind, State, standard_to_bytes};
use crate::run::execution::{Execution, scaler_setters};
use crate::run::stored::{in_f32, read_in_f32};
use crate::shape::{Rows, check_length};
use crate::simd::{InOut, Io, LANES};
use crate::welford::{Moments, check_moments};

/// Standardises the features of a matrix `[samples, features]`: mean 0 and variance 1 over the samples that it was
/// fitted with.
///
/// For every sample r and feature c:
///
/// ```text
/// y[r, c] = (x[r, c] - mean[c]) / scale[c]
/// ```
///
/// mean and scale are those of the samples seen so far: scale is the population standard deviation, or 1 for a constant
/// feature. [`fit`](Self::fit) forgets what was seen, [`partial_fit`](Self::partial_fit) adds a batch to it, and
/// [`merge`](Self::merge) adds what another scaler has seen, on another machine perhaps.
/// [`inverse_transform`](Self::inverse_transform) is the way back. Matches scikit-learn's `StandardScaler` ([a table](crate::preprocess)
/// of the differences).
///
/// To save a scaler, or to send it to another machine, make bytes of it with [`to_bytes`](Self::to_bytes), and have it back with
/// [`from_bytes`](Self::from_bytes). [`from_moments`](Self::from_moments) makes one of statistics from elsewhere: one that was fitted
/// by scikit-learn has `Moments { count: n_samples_seen_, mean: mean_, mean_low: 0.0, m2: var_ * n_samples_seen_ }` for every feature.
///
/// # Promises
///
/// * **Accuracy**: mean and variance are those of the exact sums to 1e-12, whatever mean / std, and however the samples are
///   cut into batches, in any order, over any number of scalers that are merged (the error of the mean: of the standard
///   deviation, or one rounding of f64). With `y` as it is by these in exact arithmetic, the error of y is at most
///   `1e-6 * max(1, |y|) + 2^-149`; that of the inverse `1e-6 * (scale * max(1, |y|) + |mean|) + 2^-149`.
/// * **Method**: blocks of 256 rows (of fewer than 256 features: a power of two more) summed in f64 around their first
///   row, merged by Welford's rule as Chan, Golub and LeVeque generalised it (1979). Means and sums of squares are kept
///   in two f64 each, so that the number of batches does not count.
/// * **Cost**: fitting reads x once; transforming reads x once and writes y once. What a scaler holds is allocated by
///   [`new`](Self::new); nothing more on a single thread. A count stops at `u64::MAX`.
/// * **Determinism**: the same bits for every thread count and alignment, in place or not, and on every backend that
///   [fuses multiply-adds](crate::Backend::is_fused). Batches change last bits of the statistics.
/// * **Constant features**: a feature is constant if its variance is at most
///   `n * 2.2e-16 * var + (n * 2.2e-16 * mean)^2`, the error that the usual algorithm may make, as scikit-learn has it;
///   of n, at most 2^26 count. Of one that is exactly constant the variance is exactly 0, and y is exactly 0.
/// * **Special values**: a NaN is ignored when fitting, and stays NaN when transforming. An infinity makes the
///   statistics of its feature NaN, and everything that is transformed by them; a feature without any number has them
///   NaN, too. No other feature changes by a bit.
///
/// # Example
///
/// ```
/// use evenkeel::preprocess::StandardScaler;
/// use evenkeel::{InOut, Rows};
///
/// let mut scaler = StandardScaler::new(2)?;
/// scaler.partial_fit(&[1.0_f32, 10.0, 3.0, 10.0], Rows::new(2, 2)?)?;
/// scaler.partial_fit(&[5.0_f32, f32::NAN], Rows::new(1, 2)?)?;
/// assert_eq!(scaler.mean(), [3.0, 10.0]);
/// assert_eq!(scaler.scale(), [(8.0_f64 / 3.0).sqrt(), 1.0]);
///
/// let mut x = [3.0_f32, 12.0];
/// scaler.transform(InOut::in_place(&mut x), Rows::new(1, 2)?)?;
/// assert_eq!(x, [0.0, 2.0]);
/// scaler.inverse_transform(InOut::in_place(&mut x), Rows::new(1, 2)?)?;
/// assert_eq!(x, [3.0, 12.0]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StandardScaler {
    with_mean: bool,
    with_std: bool,
    execution: Execution,
    moments: Vec<Moments>,
    /// What rounding left of every M2.
    m2_low: Vec<f64>,
    mean: Vec<f64>,
    scale: Vec<f64>,
    /// The moments of chunks of a batch.
    partials: Vec<Partial>,
}

impl StandardScaler {
    /// A scaler of so many features that has seen nothing: subtracts the mean, divides by the standard deviation, on the
    /// detected backend, with automatic parallelism. It holds about 100 bytes a feature.
    ///
    /// # Errors
    ///
    /// * [`Error::OutOfMemory`]: there is no memory for so many features.
    pub fn new(features: usize) -> Result<Self, Error> {
        Ok(Self {
            with_mean: true,
            with_std: true,
            execution: Execution::DEFAULT,
            moments: filled(Moments::new(), features)?,
            m2_low: filled(0.0, features)?,
            mean: filled(f64::NAN, features)?,
            scale: filled(f64::NAN, features)?,
            partials: filled(Partial::EMPTY, features.div_ceil(LANES))?,
        })
    }

    /// A scaler that has seen the values that these moments, one a feature, describe.
    ///
    /// # Errors
    ///
    /// * [`Error::Parameter`]: a sum of squared deviations is negative.
    /// * [`Error::OutOfMemory`]: there is no memory for so many features.
    pub fn from_moments(moments: &[Moments]) -> Result<Self, Error> {
        check_moments("moments", moments)?;
        let mut scaler = Self::new(moments.len())?;
        scaler.moments.copy_from_slice(moments);
        scaler.update();
        Ok(scaler)
    }

    /// The whole state: what has been learnt and the settings, 40 bytes a feature and 32 more
    /// ([the table of bytes](crate::preprocess#saved-scalers)). Scalers of the same state have the same bytes.
    ///
    /// ```
    /// use evenkeel::Rows;
    /// use evenkeel::preprocess::StandardScaler;
    ///
    /// let mut scaler = StandardScaler::new(2)?;
    /// scaler.fit(&[1.0_f32, 10.0, 3.0, 30.0], Rows::new(2, 2)?)?;
    /// let bytes = scaler.to_bytes()?;
    /// let mut restored = StandardScaler::from_bytes(&bytes)?;
    /// assert_eq!(restored.mean(), [2.0, 20.0]);
    /// restored.partial_fit(&[5.0_f32, 50.0], Rows::new(1, 2)?)?; // it goes on
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// * [`Error::OutOfMemory`]: there is no memory for the bytes.
    #[doc(alias = "save")]
    #[doc(alias = "serialize")]
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let flags = u64::from(self.with_mean) | u64::from(self.with_std) << 1;
        standard_to_bytes(&self.moments, Some(&self.m2_low), flags)
    }

    /// The scaler of these bytes, on the detected backend, with automatic parallelism.
    ///
    /// # Errors
    ///
    /// * [`Error::TooShort`], [`Error::Length`]: the bytes are not as many as their header says.
    /// * [`Error::Format`]: they are not the state of a `StandardScaler`, or of another version.
    /// * [`Error::Parameter`]: a sum of squared deviations is negative.
    /// * [`Error::OutOfMemory`]: there is no memory for so many features.
    #[doc(alias = "load")]
    #[doc(alias = "deserialize")]
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let state = State::of(Kind::Standard, bytes)?;
        let scaler = Self::new(state.features)?;
        let mut scaler = scaler.with_mean(state.flags & 1 != 0).with_std(state.flags & 2 != 0);
        state.moments(&mut scaler.moments, Some(&mut scaler.m2_low))?;
        scaler.update();
        Ok(scaler)
    }

    /// Whether the mean is subtracted. Default: `true`. It may be set at any time.
    #[must_use]
    pub const fn with_mean(mut self, with_mean: bool) -> Self {
        self.with_mean = with_mean;
        self
    }

    /// Whether to divide by the standard deviation. Default: `true`. It may be set at any time.
    #[must_use]
    pub const fn with_std(mut self, with_std: bool) -> Self {
        self.with_std = with_std;
        self
    }

    scaler_setters!();

    /// The number of features.
    #[must_use]
    pub fn features(&self) -> usize {
        self.moments.len()
    }

    /// Number, mean and sum of squared deviations of the values of every feature. NaN are not counted.
    #[must_use]
    pub fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// The mean of every feature; NaN where no number has been seen.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The population variance of every feature; NaN where no number has been seen.
    #[must_use]
    pub fn var(&self) -> impl ExactSizeIterator<Item = f64> + '_ {
        self.moments.iter().map(|moments| moments.population_variance().unwrap_or(f64::NAN))
    }

    /// What every feature is divided by: the square root of its variance, 1 if it is constant, NaN where no number has
    /// been seen.
    #[must_use]
    pub fn scale(&self) -> &[f64] {
        &self.scale
    }

    /// Whether a number has been seen, of any feature.
    #[must_use]
    pub fn is_fitted(&self) -> bool {
        is_fitted(&self.moments)
    }

    /// Forgets all samples.
    pub fn reset(&mut self) {
        self.moments.fill(Moments::new());
        self.m2_low.fill(0.0);
        self.update();
    }

    /// Forgets all samples and learns from those of `x`. If there are none, the scaler has seen nothing.
    ///
    /// # Errors
    ///
    /// Nothing is forgotten where one is returned.
    ///
    /// * [`Error::Length`]: `x` is not `rows.elements()` long, or `rows.cols()` is not the number of features.
    /// * [`Error::OutOfMemory`]: there is no memory for the moments of what threads share.
    #[inline]
    pub fn fit<X: Element>(&mut self, x: &[X], rows: Rows) -> Result<(), Error> {
        self.learn(Elements::of(x), rows, true)
    }

    /// Learns from another batch of samples. An empty batch changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`fit`](Self::fit). The scaler does not change where one is returned.
    #[inline]
    pub fn partial_fit<X: Element>(&mut self, x: &[X], rows: Rows) -> Result<(), Error> {
        self.learn(Elements::of(x), rows, false)
    }

    fn learn(&mut self, x: Elements<'_>, rows: Rows, afresh: bool) -> Result<(), Error> {
        read_in_f32(self.execution.call(None), x, |x| self.learn_f32(x, rows, afresh))
    }

    fn learn_f32(&mut self, x: &[f32], rows: Rows, afresh: bool) -> Result<(), Error> {
        check_length("x", x.len(), rows.elements())?;
        check_length("features", rows.cols(), self.features())?;
        let needed = partials_len(self.execution, rows);
        grow(&mut self.partials, Partial::EMPTY, needed)?;
        if afresh {
            self.reset();
        }
        let (partials, low) = (&mut self.partials, &mut self.m2_low);
        add(self.execution, x, rows, partials, &mut self.moments, Some(low));
        self.update();
        Ok(())
    }

    /// Adds what another scaler has seen: its statistics, not its settings.
    ///
    /// # Errors
    ///
    /// The scaler does not change where one is returned.
    ///
    /// * [`Error::Length`]: `other` has another number of features.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        check_length("other", other.features(), self.features())?;
        let (moments, m2_low) = (&mut self.moments, Some(&mut self.m2_low[..]));
        merge(self.execution, moments, m2_low, &other.moments, Some(&other.m2_low));
        self.update();
        Ok(())
    }

    /// Standardises x and returns y.
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Length`], [`Error::TooShort`]: a slice does not fit the shape and its pitch, rows at a pitch overlap, or
    ///   `rows.cols()` is not the number of features.
    /// * [`Error::ShapeOverflow`]: rows at a pitch reach beyond what memory has addresses for.
    /// * [`Error::NotFitted`]: there are elements, and the scaler has seen no number.
    #[inline]
    pub fn transform<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        rows: Rows,
    ) -> Result<&'a mut [Y], Error> {
        io.write_whole(|io| self.run(io, rows, false))
    }

    /// The way back: `y = x * scale + mean`.
    ///
    /// # Errors
    ///
    /// Those of [`transform`](Self::transform).
    #[inline]
    pub fn inverse_transform<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        rows: Rows,
    ) -> Result<&'a mut [Y], Error> {
        io.write_whole(|io| self.run(io, rows, true))
    }

    /// Makes mean and scale of the moments.
    fn update(&mut self) {
        means_and_scales(&self.moments, &mut self.mean, &mut self.scale);
    }

    #[inline(never)]
    fn run(&self, io: Io<'_>, rows: Rows, inverse: bool) -> Result<(), Error> {
        check_length("features", rows.cols(), self.features())?;
        let mean = self.with_mean.then_some(&self.mean[..]);
        let scale = self.with_std.then_some(&self.scale[..]);
        if inverse {
            return apply::<true>(self.execution, io, &self.moments, mean, scale, rows);
        }
        apply::<false>(self.execution, io, &self.moments, mean, scale, rows)
    }
}

/// Whether a number has been seen.
fn is_fitted(moments: &[Moments]) -> bool {
    moments.iter().any(|moments| moments.count > 0)
}

/// How many sets of the moments of sixteen columns [`add`] works with: of one chunk, or of all, where threads share them.
pub(crate) fn partials_len(execution: Execution, rows: Rows) -> usize {
    let shared = execution.parallelism.may_fork(rows.elements());
    let chunks = if shared { FitChunks::new(rows.rows(), rows.cols()).count } else { 1 };
    chunks.saturating_mul(rows.cols().div_ceil(LANES))
}

/// Adds the moments of the columns of `x` to `moments`. `partials` is as long as [`partials_len`] says, or longer.
/// Everything has been checked.
pub(crate) fn add(
    execution: Execution,
    x: &[f32],
    rows: Rows,
    partials: &mut [Partial],
    moments: &mut [Moments],
    mut m2_low: Option<&mut [f64]>,
) {
    if rows.elements() == 0 {
        return;
    }
    let (cols, vectors) = (rows.cols(), rows.cols().div_ceil(LANES));
    let chunks = FitChunks::new(rows.rows(), cols);
    // As many chunks at a time as there is room for; they are merged one after another, whoever has made them.
    let at_once = partials_len(execution, rows) / vectors;
    for x in x.chunks(chunks.rows.saturating_mul(cols).saturating_mul(at_once)) {
        let count = (x.len() / cols).div_ceil(chunks.rows);
        let partials = &mut partials[..count * vectors];
        let work = FitMoments { x, cols, rows: chunks.rows, partials };
        execution.call(None).run_parallel(work, rows.elements());
        for partials in partials.chunks_exact(vectors) {
            let (moments, m2_low) = (&mut *moments, m2_low.as_deref_mut());
            execution.call(None).run_serial(MergeInto {
                moments,
                m2_low,
                input: MergeInput::Chunk(partials),
            });
        }
    }
}

/// Adds the moments of other values to `moments`, which are as many.
pub(crate) fn merge(
    execution: Execution,
    moments: &mut [Moments],
    m2_low: Option<&mut [f64]>,
    others: &[Moments],
    others_low: Option<&[f64]>,
) {
    execution.call(None).run_serial(MergeInto {
        moments,
        m2_low,
        input: MergeInput::Moments(others, others_low),
    });
}

/// Checks whether a number has been seen, then subtracts the mean, which absent is 0, and divides by the scale, which absent
/// is 1, or goes the way back. Everything else has been checked.
pub(crate) fn apply<const INVERSE: bool>(
    execution: Execution,
    io: Io<'_>,
    moments: &[Moments],
    mean: Option<&[f64]>,
    scale: Option<&[f64]>,
    rows: Rows,
) -> Result<(), Error> {
    in_f32(execution.call(None), io, rows, |io| {
        let io = io.plain_rows(rows)?;
        if !is_fitted(moments) && rows.elements() > 0 {
            return Err(Error::NotFitted { arg: "scaler" });
        }
        let source = Standard::<INVERSE> { mean, scale };
        normalize_columns(execution.call(None), io, source, None, None);
        Ok(())
    })
}
