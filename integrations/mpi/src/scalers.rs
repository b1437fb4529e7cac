//! Scalers that are fitted to the rows of all ranks.

use evenkeel::preprocess::{MinMaxScaler, StandardScaler};
use evenkeel::{Element, Rows};
use mpi::traits::CommunicatorCollectives;

use crate::error::Error;
use crate::ranks::{Header, Operation, agree, gather, hash};

/// A scaler of evenkeel: [`StandardScaler`] or [`MinMaxScaler`]. The trait is sealed.
pub trait Scaler: sealed::Scaler {}

impl Scaler for StandardScaler {}
impl Scaler for MinMaxScaler {}

/// Forgets all samples and learns from the rows of all ranks: [`merge`] of what each rank has learnt.
///
/// # Errors
///
/// On every rank, or on none ([`Error`]). The scaler does not change then.
pub fn fit<S: Scaler, X: Element>(
    comm: &impl CommunicatorCollectives,
    scaler: &mut S,
    x: &[X],
    rows: Rows,
) -> Result<(), Error> {
    let mut own = scaler.clone();
    let fitted = own.learn_from(x, rows);
    *scaler = merge_fitted(comm, own, fitted)?;
    Ok(())
}

/// The scaler that has seen what the scalers of all ranks have seen: the same on every rank.
///
/// Each rank streams its rows through `partial_fit` first. What they have learnt is merged in rank order, so every rank has the same
/// bits. Mean and variance are those of one scaler that sees all rows, within 1e-12; minima and maxima are exact. All ranks must have
/// the same settings.
///
/// # Errors
///
/// On every rank, or on none ([`Error`]).
pub fn merge<S: Scaler>(comm: &impl CommunicatorCollectives, scaler: &S) -> Result<S, Error> {
    merge_fitted(comm, scaler.clone(), Ok(()))
}

fn merge_fitted<S: Scaler>(
    comm: &impl CommunicatorCollectives,
    own: S,
    fitted: Result<(), evenkeel::Error>,
) -> Result<S, Error> {
    let mut all = own.clone();
    all.forget();
    // The kind, the version of the state, the number of features and the settings.
    let settings = all.state().map_or(0, |bytes| hash(&bytes));
    let header = Header {
        operation: Operation::Merge,
        element: 0,
        layout: 0,
        channels: own.columns() as u64,
        settings,
    };
    let prepared = fitted.and_then(|()| own.state());
    let bytes = agree(comm, header, prepared)?;
    let words: Vec<u64> =
        bytes.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word)).collect();
    for words in gather(comm, &words).chunks_exact(words.len()) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        all.add(&S::restored(&bytes)?)?;
    }
    Ok(all)
}

mod sealed {
    use evenkeel::preprocess::{MinMaxScaler, StandardScaler};
    use evenkeel::{Element, Error, Rows};

    /// What both scalers have.
    pub trait Scaler: Clone {
        fn learn_from<X: Element>(&mut self, x: &[X], rows: Rows) -> Result<(), Error>;
        fn forget(&mut self);
        fn columns(&self) -> usize;
        /// A multiple of 8 bytes.
        fn state(&self) -> Result<Vec<u8>, Error>;
        fn restored(bytes: &[u8]) -> Result<Self, Error>;
        fn add(&mut self, other: &Self) -> Result<(), Error>;
    }

    macro_rules! scaler {
        ($of:ty) => {
            impl Scaler for $of {
                fn learn_from<X: Element>(&mut self, x: &[X], rows: Rows) -> Result<(), Error> {
                    self.fit(x, rows)
                }
                fn forget(&mut self) {
                    self.reset();
                }
                fn columns(&self) -> usize {
                    self.features()
                }
                fn state(&self) -> Result<Vec<u8>, Error> {
                    self.to_bytes()
                }
                fn restored(bytes: &[u8]) -> Result<Self, Error> {
                    Self::from_bytes(bytes)
                }
                fn add(&mut self, other: &Self) -> Result<(), Error> {
                    self.merge(other)
                }
            }
        };
    }

    scaler!(StandardScaler);
    scaler!(MinMaxScaler);
}
