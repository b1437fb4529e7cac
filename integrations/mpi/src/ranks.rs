//! The two collectives of a call: headers, which ranks must agree on, then data of one length.

use mpi::traits::CommunicatorCollectives;

use crate::error::Error;

/// What all ranks of a call must have alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// Which call it is.
    pub(crate) operation: Operation,
    /// The type of elements.
    pub(crate) element: u64,
    /// 0 where the layout does not matter, 1 where channels come last, 2 where they come first.
    pub(crate) layout: u64,
    /// Channels or features.
    pub(crate) channels: u64,
    /// A hash of the settings.
    pub(crate) settings: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Forward = 1,
    Backward = 2,
    Merge = 3,
}

/// The names of a header's words. The first is 1 where the rank has an error of its own.
const NAMES: [&str; 6] = ["error", "operation", "element type", "layout", "channels", "settings"];

/// A header as it is sent.
type Words = [u64; NAMES.len()];

impl Header {
    fn words(self, failed: bool) -> Words {
        let Self { operation, element, layout, channels, settings } = self;
        [failed.into(), operation as u64, element, layout, channels, settings]
    }
}

/// Gathers the headers of all ranks: what this rank has prepared, if all are ready and agree. All ranks return an error, or none does.
pub(crate) fn agree<T>(
    comm: &impl CommunicatorCollectives,
    header: Header,
    prepared: Result<T, evenkeel::Error>,
) -> Result<T, Error> {
    let headers = gather(comm, &header.words(prepared.is_err()));
    let prepared = prepared.map_err(Error::Here)?;
    check(headers.as_chunks().0)?;
    Ok(prepared)
}

/// Finds the first rank that has an error of its own, or the first that differs from rank 0.
fn check(headers: &[Words]) -> Result<(), Error> {
    if let Some(rank) = headers.iter().position(|words| words[0] != 0) {
        return Err(Error::OnRank { rank });
    }
    for (rank, words) in headers.iter().enumerate() {
        for ((what, &got), &expected) in NAMES.iter().zip(words).zip(&headers[0]) {
            if got != expected {
                return Err(Error::Differs { rank, what, expected, got });
            }
        }
    }
    Ok(())
}

/// What every rank has, in rank order. All have as many words.
pub(crate) fn gather(comm: &impl CommunicatorCollectives, words: &[u64]) -> Vec<u64> {
    let mut all = vec![0; words.len() * comm.size() as usize];
    if !words.is_empty() {
        comm.all_gather_into(words, &mut all[..]);
    }
    all
}

/// FNV-1a, of 64 bits.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header =
        Header { operation: Operation::Forward, element: 7, layout: 1, channels: 64, settings: 5 };

    /// Data: a difference in any word is an error that names it and the first rank that has it.
    #[test]
    fn a_rank_that_differs_is_named() {
        let same = HEADER.words(false);
        assert_eq!(check(&[same; 3]), Ok(()));
        let differ: [(&str, Header); 5] = [
            ("operation", Header { operation: Operation::Backward, ..HEADER }),
            ("element type", Header { element: 8, ..HEADER }),
            ("layout", Header { layout: 2, ..HEADER }),
            ("channels", Header { channels: 65, ..HEADER }),
            ("settings", Header { settings: 6, ..HEADER }),
        ];
        for (name, other) in differ {
            let other = other.words(false);
            let error = check(&[same, same, other, other]).expect_err("ranks that differ");
            let Error::Differs { rank: 2, what, expected, got } = error else { panic!("{error}") };
            assert_eq!(what, name);
            assert_ne!(expected, got);
        }
    }

    /// Data: an error of one rank comes before differences.
    #[test]
    fn a_rank_with_an_error_is_named() {
        let headers = [HEADER.words(false), Header { channels: 1, ..HEADER }.words(true)];
        assert_eq!(check(&headers), Err(Error::OnRank { rank: 1 }));
    }
}
