//! Why a collective call failed.

use core::fmt;

/// Why a collective call failed. Where it is found before data are gathered, which is always but for
/// [`evenkeel::Error::StatisticOverflow`], `TooFewRows` and a lack of memory, every rank returns an error, and nothing is written.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// This rank's own call is wrong.
    Here(evenkeel::Error),
    /// Another rank's own call is wrong. What is wrong, it knows itself.
    OnRank {
        /// The first such rank.
        rank: usize,
    },
    /// A rank differs from rank 0.
    Differs {
        /// The first rank that does.
        rank: usize,
        /// In what.
        what: &'static str,
        /// What rank 0 has.
        expected: u64,
        /// What the rank has.
        got: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(error) => write!(f, "{error}"),
            Self::OnRank { rank } => {
                write!(f, "expected a call without an error on every rank, got one on rank {rank}")
            }
            Self::Differs { rank, what, expected, got } => {
                write!(f, "`{what}` of rank {rank}: expected {expected}, as on rank 0, got {got}")
            }
        }
    }
}

impl core::error::Error for Error {}

impl From<evenkeel::Error> for Error {
    fn from(error: evenkeel::Error) -> Self {
        Self::Here(error)
    }
}
