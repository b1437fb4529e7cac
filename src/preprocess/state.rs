//! The state of a scaler as bytes: what is saved, and what is sent to another process.
//!
//! The documentation of `preprocess` has the table of bytes.
//!
//! Reading checks everything before anything is written.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::memory::filled;
use crate::shape::{check_at_least, check_length};
use crate::welford::{Moments, check_moments};

const MAGIC: [u8; 8] = *b"EVENKEEL";
const VERSION: u32 = 1;
const HEADER: usize = 32;

/// Whose state it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Standard,
    MinMax,
}

impl Kind {
    /// Its number in a state.
    pub(crate) const fn code(self) -> u32 {
        match self {
            Self::Standard => 1,
            Self::MinMax => 2,
        }
    }

    /// Bits of settings that there are.
    const fn flags(self) -> u64 {
        match self {
            Self::Standard => 0b11,
            Self::MinMax => 0b1,
        }
    }

    /// Bytes before those of the first feature, and of each feature.
    const fn sizes(self) -> (usize, usize) {
        match self {
            Self::Standard => (HEADER, 40),
            Self::MinMax => (HEADER + 16, 8),
        }
    }

    /// Bytes of a state of so many features.
    pub(crate) const fn len(self, features: usize) -> usize {
        let (head, each) = self.sizes();
        features.saturating_mul(each).saturating_add(head)
    }
}

/// A state whose header and length have been checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State<'a> {
    pub(crate) kind: Kind,
    pub(crate) features: usize,
    pub(crate) flags: u64,
    bytes: &'a [u8],
}

impl<'a> State<'a> {
    /// That in `bytes`, of either kind.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        check_at_least("bytes", bytes.len(), HEADER)?;
        let word = |at| u64::from_le_bytes(array(bytes, at));
        let half = |at| u32::from_le_bytes(array(bytes, at));
        let format = |at, expected, got| Err(Error::Format { at, expected, got });
        if bytes[..MAGIC.len()] != MAGIC {
            return format(0, "`EVENKEEL`, with which the state of a scaler begins", word(0));
        }
        if half(8) != VERSION {
            return format(8, "version 1", half(8).into());
        }
        let kind = match half(12) {
            1 => Kind::Standard,
            2 => Kind::MinMax,
            got => return format(12, "1 of a StandardScaler or 2 of a MinMaxScaler", got.into()),
        };
        let (features, flags) = (usize::try_from(word(16)).unwrap_or(usize::MAX), word(24));
        if flags & !kind.flags() != 0 {
            return format(24, "no bits but those of the settings", flags);
        }
        check_length("bytes", bytes.len(), kind.len(features))?;
        Ok(Self { kind, features, flags, bytes })
    }

    /// That of a scaler of this kind.
    pub(crate) fn of(kind: Kind, bytes: &'a [u8]) -> Result<Self, Error> {
        let state = Self::read(bytes)?;
        if state.kind != kind {
            let expected = match kind {
                Kind::Standard => "1, the state of a StandardScaler",
                Kind::MinMax => "2, the state of a MinMaxScaler",
            };
            return Err(Error::Format { at: 12, expected, got: state.kind.code().into() });
        }
        Ok(state)
    }

    /// Moments of every feature, and what rounding left of m2. Nothing is written where an error is returned.
    pub(crate) fn moments(
        self,
        moments: &mut [Moments],
        m2_low: Option<&mut [f64]>,
    ) -> Result<(), Error> {
        let each = self.bytes[HEADER..].as_chunks::<40>().0;
        let f64_at = |feature: &[u8; 40], at| f64::from_le_bytes(array(feature, at));
        let of = |feature: &[u8; 40]| Moments {
            count: u64::from_le_bytes(array(feature, 0)),
            mean: f64_at(feature, 8),
            mean_low: f64_at(feature, 16),
            m2: f64_at(feature, 24),
        };
        each.iter().try_for_each(|feature| check_moments("bytes", &[of(feature)]))?;
        for (moments, feature) in moments.iter_mut().zip(each) {
            *moments = of(feature);
        }
        for (low, feature) in m2_low.into_iter().flatten().zip(each) {
            *low = f64_at(feature, 32);
        }
        Ok(())
    }

    /// The range that features are mapped to.
    pub(crate) fn feature_range(self) -> [f64; 2] {
        [HEADER, HEADER + 8].map(|at| f64::from_le_bytes(array(self.bytes, at)))
    }

    /// Minimum and maximum of every feature. Nothing is written where an error is returned.
    pub(crate) fn ranges(self, data_min: &mut [f32], data_max: &mut [f32]) -> Result<(), Error> {
        let each = self.bytes[HEADER + 16..].as_chunks::<8>().0;
        let of = |feature: &[u8; 8]| [0, 4].map(|at| f32::from_le_bytes(array(feature, at)));
        for feature in each {
            let [min, max] = of(feature);
            check_ranges(["bytes", "bytes"], &[min], &[max])?;
        }
        for ((min, max), feature) in data_min.iter_mut().zip(data_max).zip(each) {
            [*min, *max] = of(feature);
        }
        Ok(())
    }
}

/// Checks that some values can have these minima and maxima.
pub(crate) fn check_ranges(
    [arg_min, arg_max]: [&'static str; 2],
    data_min: &[f32],
    data_max: &[f32],
) -> Result<(), Error> {
    check_length(arg_max, data_max.len(), data_min.len())?;
    for (&min, &max) in data_min.iter().zip(data_max) {
        let empty = min == f32::INFINITY && max == f32::NEG_INFINITY;
        if min.is_nan() {
            let expected = "numbers, infinity where none has been seen";
            return Err(Error::Parameter { arg: arg_min, expected, got: min.into() });
        }
        if max.is_nan() || max < min && !empty {
            let expected =
                "numbers of at least the minimum, minus infinity where none has been seen";
            return Err(Error::Parameter { arg: arg_max, expected, got: max.into() });
        }
    }
    Ok(())
}

/// So many bytes from `at` on.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// The state of a `StandardScaler`.
pub(crate) fn standard_to_bytes(
    moments: &[Moments],
    m2_low: Option<&[f64]>,
    flags: u64,
) -> Result<Vec<u8>, Error> {
    let (mut bytes, mut at) = begin(Kind::Standard, moments.len(), flags)?;
    for (i, moments) in moments.iter().enumerate() {
        put(&mut bytes, &mut at, moments.count.to_le_bytes());
        let low = m2_low.map_or(0.0, |low| low[i]);
        for number in [moments.mean, moments.mean_low, moments.m2, low] {
            put(&mut bytes, &mut at, number.to_le_bytes());
        }
    }
    Ok(bytes)
}

/// The state of a `MinMaxScaler`.
pub(crate) fn min_max_to_bytes(
    data_min: &[f32],
    data_max: &[f32],
    feature_range: [f64; 2],
    flags: u64,
) -> Result<Vec<u8>, Error> {
    let (mut bytes, mut at) = begin(Kind::MinMax, data_min.len(), flags)?;
    feature_range.iter().for_each(|end| put(&mut bytes, &mut at, end.to_le_bytes()));
    for (min, max) in data_min.iter().zip(data_max) {
        put(&mut bytes, &mut at, min.to_le_bytes());
        put(&mut bytes, &mut at, max.to_le_bytes());
    }
    Ok(bytes)
}

/// The bytes of a state, of which the header is written, and where that ends.
fn begin(kind: Kind, features: usize, flags: u64) -> Result<(Vec<u8>, usize), Error> {
    let (mut bytes, mut at) = (filled(0, kind.len(features))?, 0);
    put(&mut bytes, &mut at, MAGIC);
    put(&mut bytes, &mut at, VERSION.to_le_bytes());
    put(&mut bytes, &mut at, kind.code().to_le_bytes());
    put(&mut bytes, &mut at, (features as u64).to_le_bytes());
    put(&mut bytes, &mut at, flags.to_le_bytes());
    Ok((bytes, at))
}

fn put<const N: usize>(bytes: &mut [u8], at: &mut usize, number: [u8; N]) {
    bytes[*at..*at + N].copy_from_slice(&number);
    *at += N;
}
