//! Writes the random stream of dropout to stdout, for the tests of random number generators.
//!
//! ```text
//! cargo run --release --example stream -- mask --order transposed | dieharder -g 200 -d 0
//! ```
//!
//! `raw` is the words of the generators, `mask` the packed mask at p = 0.5, one bit an element. Both begin at block
//! 0 and end when the reader closes the pipe, or after `--bytes`. docs/randomness.md has the results.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use evenkeel::{Dropout, MaskMut, Stream};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};

const USAGE: &str = "usage: stream raw|mask [--order ORDER] [--seed N] [--bytes N]
orders: emitted      block after block, as the kernels draw it
        lane         one of the eight generators of every block alone
        interleaved  one unit of each of 64 neighbouring seeds in turn
        transposed   one unit of each of 64 neighbouring blocks in turn
A unit is a word of 64 bits of raw, one bit of mask.";

/// Elements of a block, and its generators.
const BLOCK: usize = 4096;
const LANES: usize = 8;
/// The generator that is written alone.
const LANE: usize = 0;
/// Streams that are interleaved, and rows that are transposed.
const ROWS: u64 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Raw,
    Mask,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Emitted,
    Lane,
    Interleaved,
    Transposed,
}

struct Arguments {
    source: Source,
    order: Order,
    seed: u64,
    bytes: Option<usize>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let source = match words.next().as_deref() {
            Some("raw") => Source::Raw,
            Some("mask") => Source::Mask,
            Some(other) => return Err(format!("neither raw nor mask: {other}")),
            None => return Err("raw or mask?".to_owned()),
        };
        let mut arguments = Self { source, order: Order::Emitted, seed: 1, bytes: None };
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            let no_number = |_| format!("{word} needs a whole number, not {value}");
            match word.as_str() {
                "--order" => {
                    arguments.order = match value.as_str() {
                        "emitted" => Order::Emitted,
                        "lane" => Order::Lane,
                        "interleaved" => Order::Interleaved,
                        "transposed" => Order::Transposed,
                        _ => return Err(format!("unknown order: {value}")),
                    }
                }
                "--seed" => arguments.seed = value.parse().map_err(no_number)?,
                "--bytes" => arguments.bytes = Some(value.parse().map_err(no_number)?),
                _ => return Err(format!("unknown argument: {word}")),
            }
        }
        Ok(arguments)
    }
}

/// The words of a block in the order in which 16 bits of them decide each element, from the definition of the stream
/// in the docs of [`Dropout`].
fn raw(seed: u64, block: u64) -> Vec<u64> {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |x: u64| SplitMix64::from_seed(x.wrapping_sub(GOLDEN).to_le_bytes()).next_u64();
    let x = mix(mix(seed).wrapping_add(GOLDEN.wrapping_mul(block + 1)));
    let mut words = SplitMix64::from_seed(x.to_le_bytes());
    let mut lanes: [_; LANES] = std::array::from_fn(|_| {
        let mut state = [0; 32];
        words.fill_bytes(&mut state);
        Xoshiro256PlusPlus::from_seed(state)
    });
    let mut raw = Vec::with_capacity(BLOCK / 4);
    while raw.len() < BLOCK / 4 {
        raw.extend(lanes.iter_mut().map(Rng::next_u64));
    }
    raw
}

/// The mask of a block at p = 0.5, a byte an element.
fn mask(seed: u64, block: u64) -> Vec<u8> {
    let mut kept = vec![0; BLOCK];
    let stream = Stream { seed, offset: block * BLOCK as u64 };
    Dropout::new()
        .with_p(0.5)
        .mask(stream, BLOCK, MaskMut::Bytes(&mut kept))
        .expect("the probability is one, the lengths agree and the offset is far from the end");
    kept
}

fn pack(kept: &[u8]) -> Vec<u8> {
    let pack = |bits: &[u8; 8]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit);
    kept.as_chunks().0.iter().map(pack).collect()
}

/// Part number `part` of the stream in this order; a unit is what is not torn apart.
fn arrange<T: Copy>(
    order: Order,
    seed: u64,
    part: u64,
    block: impl Fn(u64, u64) -> Vec<T>,
) -> Vec<T> {
    let rows: Vec<Vec<T>> = match order {
        Order::Emitted => return block(seed, part),
        Order::Lane => {
            let units = block(seed, part);
            // A draw of eight words is 8 units of raw, 32 of mask.
            let per_lane = units.len() / (BLOCK / 32) / LANES;
            return units.chunks(per_lane).skip(LANE).step_by(LANES).flatten().copied().collect();
        }
        Order::Interleaved => (0..ROWS).map(|row| block(seed.wrapping_add(row), part)).collect(),
        Order::Transposed => (0..ROWS).map(|row| block(seed, part * ROWS + row)).collect(),
    };
    (0..rows[0].len()).flat_map(|i| rows.iter().map(move |row| row[i])).collect()
}

fn write(arguments: &Arguments, out: &mut impl Write) -> io::Result<()> {
    let Arguments { source, order, seed, bytes } = *arguments;
    let mut left = bytes.unwrap_or(usize::MAX);
    for part in 0.. {
        let bytes: Vec<u8> = match source {
            Source::Raw => {
                arrange(order, seed, part, raw).into_iter().flat_map(u64::to_le_bytes).collect()
            }
            Source::Mask => pack(&arrange(order, seed, part, mask)),
        };
        let bytes = &bytes[..bytes.len().min(left)];
        out.write_all(bytes)?;
        if arguments.bytes.is_some() {
            left -= bytes.len();
            if left == 0 {
                break;
            }
        }
    }
    out.flush()
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match write(&arguments, &mut io::BufWriter::with_capacity(1 << 16, io::stdout().lock())) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has had enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stdout: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At p = 0.5 the highest bit of 16 decides: an element is kept where it is 0.
    #[test]
    fn the_mask_is_made_of_the_raw_stream() {
        for (seed, block) in [(1, 0), (u64::MAX, 77)] {
            let decide = |word: u64| [15, 31, 47, 63].map(|bit| 1 - (word >> bit & 1) as u8);
            let decided: Vec<u8> = raw(seed, block).into_iter().flat_map(decide).collect();
            assert_eq!(decided, mask(seed, block));
        }
    }

    #[test]
    fn orders() {
        // Unit i of a block says where it is from.
        let block = |seed, block| (0..1024).map(|i| (seed, block, i)).collect();
        let units = |order| arrange(order, 5, 2, block);
        assert_eq!(units(Order::Emitted)[..2], [(5, 2, 0), (5, 2, 1)]);
        assert_eq!(units(Order::Lane)[..3], [(5, 2, 0), (5, 2, 8), (5, 2, 16)]);
        assert_eq!(units(Order::Lane).len(), 128);
        let interleaved = units(Order::Interleaved);
        assert_eq!(interleaved[62..65], [(67, 2, 0), (68, 2, 0), (5, 2, 1)]);
        let transposed = units(Order::Transposed);
        assert_eq!(transposed[62..65], [(5, 190, 0), (5, 191, 0), (5, 128, 1)]);
        let bits = arrange(Order::Lane, 5, 2, |_, _| (0..4096).collect());
        assert_eq!(bits[..6], [0, 1, 2, 3, 32, 33]);
    }

    #[test]
    fn as_many_bytes_as_asked_for() {
        for source in [Source::Raw, Source::Mask] {
            for order in [Order::Emitted, Order::Lane, Order::Interleaved, Order::Transposed] {
                for bytes in [0, 1, 1000, 100_000] {
                    let mut out = Vec::new();
                    let arguments = Arguments { source, order, seed: 1, bytes: Some(bytes) };
                    write(&arguments, &mut out).unwrap();
                    assert_eq!(out.len(), bytes, "{source:?}, {order:?}");
                }
            }
        }
    }
}
