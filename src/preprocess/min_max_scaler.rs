//! `MinMaxScaler`: every feature mapped from its own range, learnt from data, to a given one.
#![forbid(unsafe_code)]

use crate::element::{Element, Elements};
use crate::error::Error;
use crate::kernels::columns::min_max::{
    FitRanges, MinMax, ToRange, chunk_rows, merge_chunk_ranges, merge_ranges,
};
use crate::memory::{filled, grow};
use crate::norm::columns::normalize_columns;
use crate::preprocess::state::{Kind, State, check_ranges, min_max_to_bytes};
use crate::run::execution::{Execution, scaler_setters};
use crate::run::stored::{in_f32, read_in_f32};
use crate::shape::{Rows, check_length};
use crate::simd::{InOut, Io, LANES};

/// Maps the features of a matrix `[samples, features]` to a range: that of the samples that it was fitted with
/// becomes `[0, 1]`, or what [`with_feature_range`](Self::with_feature_range) says.
///
/// For every sample r and feature c, with the range `[a, b]`:
///
/// ```text
/// y[r, c] = (x[r, c] - data_min[c]) * (b - a) / (data_max[c] - data_min[c]) + a
/// ```
///
/// A constant feature has 1 for `data_max - data_min`, so that its constant becomes a. Samples outside of the range that
/// was seen become values outside of `[a, b]`, unless [`with_clip`](Self::with_clip) clamps them. [`fit`](Self::fit)
/// forgets what was seen, [`partial_fit`](Self::partial_fit) adds a batch to it, [`merge`](Self::merge) what another
/// scaler has seen. [`inverse_transform`](Self::inverse_transform) is the way back. Matches scikit-learn's
/// `MinMaxScaler`, except that a range below 1.2e-6 is not taken as constant ([a table](crate::preprocess) of all differences).
///
/// To save a scaler, or to send it to another machine, make bytes of it with [`to_bytes`](Self::to_bytes), and have it back with
/// [`from_bytes`](Self::from_bytes). [`from_ranges`](Self::from_ranges) makes one of minima and maxima from elsewhere.
///
/// # Promises
///
/// * **Accuracy**: minima and maxima are exact, for any batches in any order. The error of y is at most
///   `1e-6 * (max(1, |y - a|) + |a|) + 2^-149`; that of the inverse
///   `1e-6 * (range * max(1, |x - a|) + |data_min|) + 2^-149` with `range = (data_max - data_min) / (b - a)`.
///   `data_min` becomes exactly a (as f32); `data_max` may miss b by that error. With clip no y is outside of `[a, b]`,
///   a and b as f32.
/// * **Cost**: fitting reads x once; transforming reads x once and writes y once, clipping included. What a scaler holds
///   is allocated by [`new`](Self::new); nothing more on a single thread.
/// * **Determinism**: the same bits for every thread count, batches, alignment, in place or not, and on every backend
///   that [fuses multiply-adds](crate::Backend::is_fused). A minimum or maximum of zero is `+0.0`.
/// * **Special values**: a NaN is ignored when fitting, and stays NaN when transforming, clipped or not. A feature
///   that has an infinity among its minimum and maximum, or no number at all, gives NaN. No other feature
///   changes by a bit.
///
/// # Example
///
/// ```
/// use evenkeel::preprocess::MinMaxScaler;
/// use evenkeel::{InOut, Rows};
///
/// let mut scaler = MinMaxScaler::new(2)?.with_feature_range(-1.0, 1.0).with_clip(true);
/// scaler.partial_fit(&[1.0_f32, 10.0, 3.0, 10.0], Rows::new(2, 2)?)?;
/// scaler.partial_fit(&[5.0_f32, f32::NAN], Rows::new(1, 2)?)?;
/// assert_eq!((scaler.data_min(), scaler.data_max()), (&[1.0, 10.0][..], &[5.0, 10.0][..]));
///
/// let (x, mut y) = ([2.0_f32, 10.0, 7.0, 10.5], [0.0_f32; 4]);
/// scaler.transform(InOut::new(&x, &mut y), Rows::new(2, 2)?)?;
/// assert_eq!(y, [-0.5, -1.0, 1.0, 0.0]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MinMaxScaler {
    feature_range: [f64; 2],
    clip: bool,
    execution: Execution,
    min: Vec<f32>,
    max: Vec<f32>,
    /// The ranges of chunks of a batch.
    ranges: Vec<MinMax>,
}

impl MinMaxScaler {
    /// A scaler of so many features that has seen nothing: to `[0, 1]`, without clipping, on the detected backend, with
    /// automatic parallelism. It holds 16 bytes a feature.
    ///
    /// # Errors
    ///
    /// * [`Error::OutOfMemory`]: there is no memory for so many features.
    pub fn new(features: usize) -> Result<Self, Error> {
        Ok(Self {
            feature_range: [0.0, 1.0],
            clip: false,
            execution: Execution::DEFAULT,
            min: filled(f32::INFINITY, features)?,
            max: filled(f32::NEG_INFINITY, features)?,
            ranges: filled(MinMax::EMPTY, features.div_ceil(LANES))?,
        })
    }

    /// A scaler that has seen these minima and maxima, one a feature: infinity and minus infinity where no number has
    /// been seen.
    ///
    /// # Errors
    ///
    /// * [`Error::Length`]: `data_max` is not as long as `data_min`.
    /// * [`Error::Parameter`]: one of them is NaN, or a minimum is greater than its maximum and not both are those of nothing.
    /// * [`Error::OutOfMemory`]: there is no memory for so many features.
    pub fn from_ranges(data_min: &[f32], data_max: &[f32]) -> Result<Self, Error> {
        check_ranges(["data_min", "data_max"], data_min, data_max)?;
        let mut scaler = Self::new(data_min.len())?;
        merge_ranges(&mut scaler.min, &mut scaler.max, data_min, data_max);
        Ok(scaler)
    }

    /// The whole state: what has been learnt and the settings, 8 bytes a feature and 48 more
    /// ([the table of bytes](crate::preprocess#saved-scalers)). Scalers of the same state have the same bytes.
    ///
    /// ```
    /// use evenkeel::Rows;
    /// use evenkeel::preprocess::MinMaxScaler;
    ///
    /// let mut scaler = MinMaxScaler::new(1)?.with_feature_range(-1.0, 1.0);
    /// scaler.fit(&[1.0_f32, 5.0], Rows::new(2, 1)?)?;
    /// let restored = MinMaxScaler::from_bytes(&scaler.to_bytes()?)?;
    /// assert_eq!((restored.data_min(), restored.data_max()), (&[1.0][..], &[5.0][..]));
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// * [`Error::OutOfMemory`]: there is no memory for the bytes.
    #[doc(alias = "save")]
    #[doc(alias = "serialize")]
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        min_max_to_bytes(&self.min, &self.max, self.feature_range, self.clip.into())
    }

    /// The scaler of these bytes, on the detected backend, with automatic parallelism.
    ///
    /// # Errors
    ///
    /// * [`Error::TooShort`], [`Error::Length`]: the bytes are not as many as their header says.
    /// * [`Error::Format`]: they are not the state of a `MinMaxScaler`, or of another version.
    /// * [`Error::Parameter`]: a minimum or a maximum is not what [`from_ranges`](Self::from_ranges) takes.
    /// * [`Error::OutOfMemory`]: there is no memory for so many features.
    #[doc(alias = "load")]
    #[doc(alias = "deserialize")]
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let state = State::of(Kind::MinMax, bytes)?;
        let [min, max] = state.feature_range();
        let scaler = Self::new(state.features)?.with_feature_range(min, max);
        let mut scaler = scaler.with_clip(state.flags & 1 != 0);
        state.ranges(&mut scaler.min, &mut scaler.max)?;
        Ok(scaler)
    }

    /// The range that is mapped to, from `min` to `max`: finite as f32, `min` below `max` (checked by the calls). It may
    /// be set at any time.
    #[must_use]
    pub const fn with_feature_range(mut self, min: f64, max: f64) -> Self {
        self.feature_range = [min, max];
        self
    }

    /// Whether a value outside of the range is clamped to its nearest end. Default: `false`. It may be set at any time.
    #[must_use]
    pub const fn with_clip(mut self, clip: bool) -> Self {
        self.clip = clip;
        self
    }

    scaler_setters!();

    /// The number of features.
    #[must_use]
    pub fn features(&self) -> usize {
        self.min.len()
    }

    /// The least value of every feature; infinity where no number has been seen.
    #[must_use]
    pub fn data_min(&self) -> &[f32] {
        &self.min
    }

    /// The greatest value of every feature; minus infinity where no number has been seen.
    #[must_use]
    pub fn data_max(&self) -> &[f32] {
        &self.max
    }

    /// Whether a number has been seen, of any feature.
    #[must_use]
    pub fn is_fitted(&self) -> bool {
        is_fitted(&self.min, &self.max)
    }

    /// Forgets all samples.
    pub fn reset(&mut self) {
        self.min.fill(f32::INFINITY);
        self.max.fill(f32::NEG_INFINITY);
    }

    /// Forgets all samples and learns from those of `x`. If there are none, the scaler has seen nothing.
    ///
    /// # Errors
    ///
    /// Nothing is forgotten where one is returned.
    ///
    /// * [`Error::Length`]: `x` is not `rows.elements()` long, or `rows.cols()` is not the number of features.
    /// * [`Error::OutOfMemory`]: there is no memory for the ranges of what threads share.
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
        grow(&mut self.ranges, MinMax::EMPTY, ranges_len(self.execution, rows))?;
        if afresh {
            self.reset();
        }
        add(self.execution, x, rows, &mut self.ranges, &mut self.min, &mut self.max);
        Ok(())
    }

    /// Adds what another scaler has seen: its minima and maxima, not its settings.
    ///
    /// # Errors
    ///
    /// The scaler does not change where one is returned.
    ///
    /// * [`Error::Length`]: `other` has another number of features.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        check_length("other", other.features(), self.features())?;
        merge_ranges(&mut self.min, &mut self.max, &other.min, &other.max);
        Ok(())
    }

    /// Maps x to the range and returns y.
    ///
    /// # Errors
    ///
    /// Nothing is written where one is returned.
    ///
    /// * [`Error::Length`], [`Error::TooShort`]: a slice does not fit the shape and its pitch, rows at a pitch overlap, or
    ///   `rows.cols()` is not the number of features.
    /// * [`Error::ShapeOverflow`]: rows at a pitch reach beyond what memory has addresses for.
    /// * [`Error::NotFitted`]: there are elements, and the scaler has seen no number.
    /// * [`Error::Parameter`]: the range is empty or not finite as f32.
    #[inline]
    pub fn transform<'a, X: Element, Y: Element>(
        &self,
        io: InOut<'_, 'a, X, Y>,
        rows: Rows,
    ) -> Result<&'a mut [Y], Error> {
        io.write_whole(|io| self.run(io, rows, false))
    }

    /// The way back, `y = (x - a) * (data_max - data_min) / (b - a) + data_min`, never clipped.
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

    fn run(&self, io: Io<'_>, rows: Rows, inverse: bool) -> Result<(), Error> {
        check_length("features", rows.cols(), self.features())?;
        let (ranges, to) = ((&*self.min, &*self.max), self.feature_range);
        apply(self.execution, io, ranges, to, self.clip, inverse, rows)
    }
}

/// Checks that min < max.
fn check_feature_range([min, max]: [f64; 2]) -> Result<(), Error> {
    let arg = "feature_range";
    if !(min as f32).is_finite() {
        return Err(Error::Parameter {
            arg,
            expected: "a lower end that is finite as f32",
            got: min,
        });
    }
    if !(max as f32).is_finite() || max <= min {
        let expected = "an upper end above the lower one and finite as f32";
        return Err(Error::Parameter { arg, expected, got: max });
    }
    Ok(())
}

/// Whether a number has been seen.
fn is_fitted(min: &[f32], max: &[f32]) -> bool {
    min.iter().zip(max).any(|(min, max)| min <= max)
}

/// How many ranges of sixteen columns [`add`] works with.
pub(crate) fn ranges_len(execution: Execution, rows: Rows) -> usize {
    let chunks = rows.rows().div_ceil(rows_of_chunk(execution, rows)).max(1);
    chunks.saturating_mul(rows.cols().div_ceil(LANES))
}

fn rows_of_chunk(execution: Execution, rows: Rows) -> usize {
    chunk_rows(rows.rows(), execution.parallelism.may_fork(rows.elements()))
}

/// Adds the ranges of the columns of `x` to `min` and `max`. `ranges` is as long as [`ranges_len`] says, or longer.
/// Everything has been checked.
pub(crate) fn add(
    execution: Execution,
    x: &[f32],
    rows: Rows,
    ranges: &mut [MinMax],
    min: &mut [f32],
    max: &mut [f32],
) {
    if rows.elements() == 0 {
        return;
    }
    let cols = rows.cols();
    let ranges = &mut ranges[..ranges_len(execution, rows)];
    let chunk = rows_of_chunk(execution, rows);
    execution.call(None).run_parallel(FitRanges { x, cols, rows: chunk, ranges }, rows.elements());
    for ranges in ranges.chunks_exact(cols.div_ceil(LANES)) {
        merge_chunk_ranges(min, max, ranges);
    }
}

/// Checks the range and whether a number has been seen, then maps x to the range, or back. Everything else has been
/// checked.
pub(crate) fn apply(
    execution: Execution,
    io: Io<'_>,
    (min, max): (&[f32], &[f32]),
    to: [f64; 2],
    clip: bool,
    inverse: bool,
    rows: Rows,
) -> Result<(), Error> {
    in_f32(execution.call(None), io, rows, |io| {
        apply_f32(execution, io, (min, max), to, clip, inverse, rows)
    })
}

fn apply_f32(
    execution: Execution,
    io: Io<'_>,
    (min, max): (&[f32], &[f32]),
    to: [f64; 2],
    clip: bool,
    inverse: bool,
    rows: Rows,
) -> Result<(), Error> {
    let io = io.plain_rows(rows)?;
    check_feature_range(to)?;
    if !is_fitted(min, max) && rows.elements() > 0 {
        return Err(Error::NotFitted { arg: "scaler" });
    }
    let call = execution.call(None);
    match (inverse, clip) {
        (true, _) => {
            let source = ToRange::<true, false> { min, max, to };
            normalize_columns(call, io, source, None, None);
        }
        (false, false) => {
            let source = ToRange::<false, false> { min, max, to };
            normalize_columns(call, io, source, None, None);
        }
        (false, true) => {
            let source = ToRange::<false, true> { min, max, to };
            normalize_columns(call, io, source, None, None);
        }
    }
    Ok(())
}
