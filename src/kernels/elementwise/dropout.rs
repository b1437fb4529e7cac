//! Dropout: draw, choose, scale, and write the mask, in one pass.
//!
//! The plain algorithm, for the element with index i of the stream:
//!
//! ```text
//! kept = random(seed, i) >= threshold
//! y = if kept { x * scale } else { 0 }
//! ```
//!
//! What makes it fast:
//!
//! * **Eight generators side by side**, on every backend: one AVX-512 register, two of AVX2, four of SSE2. One draw
//!   decides 32 elements by 16 bits each, or 16 by 32.
//! * **Branchless.** The integers are compared as signed ones, for which every instruction set has an instruction,
//!   and the result of the comparison is the mask. A dropped element is selected to be +0.0, not multiplied,
//!   so that a NaN in it is dropped too.
//! * **Twice x is x + x**, as for the default p of 0.5: the bits of the product, and no penalty for subnormal numbers. Only a product
//!   of them takes longer than one of other numbers (`docs/performance.md`, "Single calls").
//! * **Blocks** of 4096 elements with generators of their own (`kernels/elementwise/stream.rs`), so that any part of the stream can
//!   be drawn by itself: by another thread, by the backward pass, from any offset.
#![forbid(unsafe_code)]

use super::stream::{STREAM_BLOCK, Threshold, block_state};
use crate::kernels::split::Split;
use crate::kernels::tuning::{DROPOUT_READ_AHEAD, WRITE_AHEAD};
use crate::mask::{Mask, MaskMut};
use crate::simd::{Float, Group, Keep, Kernel, LANES, Simd, Span, Word};

/// Elements that are decided together: two vectors.
pub(super) const GROUP: usize = 2 * LANES;

/// Elements of a unit of work: a task begins at a multiple of it, and so at a byte of the mask.
const UNIT: usize = STREAM_BLOCK as usize;

/// Writes y, or the mask, or both.
#[derive(Debug)]
pub(crate) struct ApplyDropout<'a> {
    /// The number of elements.
    pub(crate) len: usize,
    /// x and y, unless only the mask is wanted.
    pub(crate) io: Option<Span<'a>>,
    pub(crate) scale: f32,
    pub(crate) choice: Choice<'a>,
    pub(crate) mask: Option<MaskMut<'a>>,
}

impl Split for ApplyDropout<'_> {
    fn rows(&self) -> usize {
        self.len.div_ceil(UNIT)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let Self { len, io, scale, choice, mask } = self;
        let at = at.saturating_mul(UNIT).min(len);
        let (low_io, high_io) = io.map(|io| io.split_at(at)).unzip();
        let (low_mask, high_mask) = mask.map(|mask| mask.split_at(at)).unzip();
        let (low_choice, high_choice) = match choice {
            Choice::Stream { seed, offset, threshold } => {
                let offset = offset.wrapping_add(at as u64);
                (choice, Choice::Stream { seed, offset, threshold })
            }
            Choice::Mask(mask) => {
                let (low, high) = mask.split_at(at);
                (Choice::Mask(low), Choice::Mask(high))
            }
        };
        (
            Self { len: at, io: low_io, scale, choice: low_choice, mask: low_mask },
            Self { len: len - at, io: high_io, scale, choice: high_choice, mask: high_mask },
        )
    }
}

impl Kernel for ApplyDropout<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { len, io, scale, choice, mask } = self;
        let writer = Writer { out: mask, waiting: 0, count: 0, done: 0 };
        let mut cursor = Cursor { io, at: 0, scale, writer };
        match choice {
            Choice::Stream { seed, offset, threshold: Threshold::Bits16(least) } => {
                cursor.stream::<S, 16>(token, seed, offset, i32::from(least), len);
            }
            Choice::Stream { seed, offset, threshold: Threshold::Bits32(least) } => {
                cursor.stream::<S, 32>(token, seed, offset, least, len);
            }
            Choice::Mask(Mask::Packed(bits)) => {
                cursor.run(token, &mut Packed { bits }, 0, len);
            }
            Choice::Mask(Mask::Bytes(bytes)) => {
                cursor.run(token, &mut Bytes { bytes }, 0, len);
            }
        }
        cursor.writer.finish();
    }
}

/// Where the choice comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice<'a> {
    /// From the stream, from the element with this index on.
    Stream { seed: u64, offset: u64, threshold: Threshold },
    /// From a mask.
    Mask(Mask<'a>),
}

/// The state of a call: where in x, y and the mask it is.
struct Cursor<'a> {
    io: Option<Span<'a>>,
    at: usize,
    scale: f32,
    writer: Writer<'a>,
}

impl Cursor<'_> {
    /// Decides `len` elements from the element `offset` of the stream on, block by block.
    #[inline(always)]
    fn stream<S: Simd, const BITS: u32>(
        &mut self,
        token: S,
        seed: u64,
        offset: u64,
        least: i32,
        len: usize,
    ) {
        let mut done = 0;
        while done < len {
            let index = offset + done as u64;
            let skip = (index % STREAM_BLOCK) as usize;
            let count = (len - done).min(STREAM_BLOCK as usize - skip);
            let mut drawn = Drawn::<S, BITS>::new(token, seed, index / STREAM_BLOCK, least);
            self.run(token, &mut drawn, skip, count);
            done += count;
        }
    }

    /// Decides `len` elements of which `chooser` gives the first `skip` ones in vain.
    #[inline(always)]
    fn run<S: Simd, C: Chooser<S>>(&mut self, token: S, chooser: &mut C, skip: usize, len: usize) {
        let (mut skip, mut len) = (skip, len);
        while skip >= GROUP {
            chooser.next(token);
            skip -= GROUP;
        }
        if skip > 0 && len > 0 {
            let count = len.min(GROUP - skip);
            let keep = bits::<S>(chooser.next(token)) >> skip;
            self.partial(keep, count);
            len -= count;
        }
        let groups = len / GROUP;
        if groups > 0 {
            self.groups(token, chooser, groups);
            len -= groups * GROUP;
        }
        if len > 0 {
            let keep = bits::<S>(chooser.next(token));
            self.partial(keep, len);
        }
    }

    /// Decides whole groups.
    #[inline(always)]
    fn groups<S: Simd, C: Chooser<S>>(&mut self, token: S, chooser: &mut C, groups: usize) {
        let scale = S::F32::splat(token, self.scale);
        let is_two = self.scale == 2.0;
        let Self { io, at, writer, .. } = self;
        match io {
            None => writer.groups::<S, C>(
                groups,
                #[inline(always)]
                |_| bits::<S>(chooser.next(token)),
            ),
            Some(io) => {
                let row = &mut io.group::<1>(*at, groups * GROUP);
                match (row.streams(), is_two) {
                    (true, _) => writer.groups::<S, C>(
                        groups,
                        Self::decide::<S, C, true, false>(token, chooser, row, scale),
                    ),
                    (false, false) => writer.groups::<S, C>(
                        groups,
                        Self::decide::<S, C, false, false>(token, chooser, row, scale),
                    ),
                    (false, true) => writer.groups::<S, C>(
                        groups,
                        Self::decide::<S, C, false, true>(token, chooser, row, scale),
                    ),
                }
            }
        }
        self.at += groups * GROUP;
    }

    /// Decides a group of a row, writes it, and gives a bit for each element. With `TWO`, the scale is 2.
    #[inline(always)]
    fn decide<S: Simd, C: Chooser<S>, const STREAM: bool, const TWO: bool>(
        token: S,
        chooser: &mut C,
        row: &mut Group<'_, 1>,
        scale: S::F32,
    ) -> impl FnMut(usize) -> u32 {
        #[inline(always)]
        move |i| {
            row.prefetch(0, 2 * i, DROPOUT_READ_AHEAD);
            row.prefetch(0, 2 * i + 1, DROPOUT_READ_AHEAD);
            if !STREAM {
                row.prefetch_write(0, 2 * i, WRITE_AHEAD);
                row.prefetch_write(0, 2 * i + 1, WRITE_AHEAD);
            }
            let keep = chooser.next(token);
            let low: S::F32 = row.load(token, 0, 2 * i);
            let high: S::F32 = row.load(token, 0, 2 * i + 1);
            row.store::<S::F32, STREAM>(
                0,
                2 * i,
                keep[0].or_zero(if TWO { low + low } else { low * scale }),
            );
            row.store::<S::F32, STREAM>(
                0,
                2 * i + 1,
                keep[1].or_zero(if TWO { high + high } else { high * scale }),
            );
            bits::<S>(keep)
        }
    }

    /// Decides the first `count` elements of a group, one by one.
    #[inline(always)]
    fn partial(&mut self, keep: u32, count: usize) {
        let keep = keep & (u32::MAX >> (GROUP - count));
        if let Some(io) = &mut self.io {
            for i in 0..count {
                let y = io.read(self.at + i) * self.scale;
                io.write(self.at + i, if keep >> i & 1 == 1 { y } else { 0.0 });
            }
        }
        self.writer.write(keep, count as u32);
        self.at += count;
    }
}

/// Writes a mask as it is decided: bits that do not fill a byte wait for the next ones.
struct Writer<'a> {
    out: Option<MaskMut<'a>>,
    waiting: u64,
    count: u32,
    done: usize,
}

impl Writer<'_> {
    /// Writes the lowest `count` of 32 bits.
    #[inline(always)]
    fn write(&mut self, bits: u32, count: u32) {
        match &mut self.out {
            None => {}
            Some(MaskMut::Packed(bytes)) => {
                self.waiting |= u64::from(bits) << self.count;
                self.count += count;
                if self.count >= 32 {
                    let word = (self.waiting as u32).to_le_bytes();
                    bytes[self.done..self.done + 4].copy_from_slice(&word);
                    self.done += 4;
                    self.waiting >>= 32;
                    self.count -= 32;
                }
            }
            Some(MaskMut::Bytes(bytes)) => {
                let end = self.done + count as usize;
                for (i, byte) in bytes[self.done..end].iter_mut().enumerate() {
                    *byte = (bits >> i & 1) as u8;
                }
                self.done = end;
            }
        }
    }

    /// Writes whole groups, each as `decide` has it. Where the groups are words of the mask, as they are unless the
    /// offset says otherwise, a word is stored without a shift or a check (`docs/performance.md`, "What helped").
    #[inline(always)]
    fn groups<S: Simd, C: Chooser<S>>(
        &mut self,
        groups: usize,
        mut decide: impl FnMut(usize) -> u32,
    ) {
        if C::GIVEN {
            debug_assert!(self.out.is_none(), "nobody wants a copy of a given mask");
            for i in 0..groups {
                decide(i);
            }
            return;
        }
        match &mut self.out {
            None => {
                for i in 0..groups {
                    decide(i);
                }
            }
            Some(MaskMut::Packed(bytes)) if self.count == 0 => {
                let words = &mut bytes[self.done..].as_chunks_mut::<{ GROUP / 8 }>().0[..groups];
                for (i, word) in words.iter_mut().enumerate() {
                    *word = decide(i).to_le_bytes();
                }
                self.done += words.as_flattened().len();
            }
            _ => {
                for i in 0..groups {
                    self.write(decide(i), GROUP as u32);
                }
            }
        }
    }

    /// Writes what waits; the bits beyond the last element are 0.
    #[inline(always)]
    fn finish(mut self) {
        if let Some(MaskMut::Packed(bytes)) = &mut self.out {
            let rest = self.count.div_ceil(8) as usize;
            let word = self.waiting.to_le_bytes();
            bytes[self.done..self.done + rest].copy_from_slice(&word[..rest]);
        }
    }
}

/// Takes the choice group by group, as what [`Choice`] says.
pub(super) trait Chooser<S: Simd> {
    /// Whether the choice is a mask. `DropoutArgs::check` returns an error where a call wants a copy of it.
    const GIVEN: bool;

    /// The next 32 elements.
    fn next(&mut self, token: S) -> [S::Keep; 2];
}

/// The elements of one block.
pub(super) struct Drawn<S: Simd, const BITS: u32> {
    generators: Generators<S>,
    least: i32,
}

impl<S: Simd, const BITS: u32> Drawn<S, BITS> {
    #[inline(always)]
    pub(super) fn new(token: S, seed: u64, block: u64, least: i32) -> Self {
        Self { generators: Generators::new(token, seed, block), least }
    }
}

impl<S: Simd, const BITS: u32> Chooser<S> for Drawn<S, BITS> {
    const GIVEN: bool = false;

    #[inline(always)]
    fn next(&mut self, _: S) -> [S::Keep; 2] {
        if BITS == 16 {
            return self.generators.draw().keep_16(self.least as i16);
        }
        let low = self.generators.draw().keep_32(self.least);
        [low, self.generators.draw().keep_32(self.least)]
    }
}

/// Eight xoshiro256++ generators.
struct Generators<S: Simd> {
    state: [S::U64; 4],
}

impl<S: Simd> Generators<S> {
    #[inline(always)]
    fn new(token: S, seed: u64, block: u64) -> Self {
        let [a, b, c, d] = block_state(seed, block);
        let new = S::U64::new;
        Self { state: [new(token, a), new(token, b), new(token, c), new(token, d)] }
    }

    /// One draw of every generator.
    #[inline(always)]
    fn draw(&mut self) -> S::U64 {
        let [s0, s1, s2, s3] = self.state;
        let out = (s0 + s3).rotate_left::<23, 41>() + s0;
        let t = s1.shift_left::<17>();
        let (s2, s3) = (s2 ^ s0, s3 ^ s1);
        let (s1, s0) = (s1 ^ s2, s0 ^ s3);
        self.state = [s0, s1, s2 ^ t, s3.rotate_left::<45, 19>()];
        out
    }
}

/// A given mask, one bit an element.
struct Packed<'a> {
    bits: &'a [u8],
}

impl<S: Simd> Chooser<S> for Packed<'_> {
    const GIVEN: bool = true;

    #[inline(always)]
    fn next(&mut self, token: S) -> [S::Keep; 2] {
        let mut four = [0; 4];
        if let Some((bytes, rest)) = self.bits.split_first_chunk::<4>() {
            (four, self.bits) = (*bytes, rest);
        } else {
            four[..self.bits.len()].copy_from_slice(self.bits);
            self.bits = &[];
        }
        keep_32_bits(token, u32::from_le_bytes(four))
    }
}

/// A given mask, one byte an element: kept where it is not 0.
pub(super) struct Bytes<'a> {
    pub(super) bytes: &'a [u8],
}

impl<S: Simd> Chooser<S> for Bytes<'_> {
    const GIVEN: bool = true;

    #[inline(always)]
    fn next(&mut self, token: S) -> [S::Keep; 2] {
        let (group, rest) = self.bytes.split_at(self.bytes.len().min(GROUP));
        self.bytes = rest;
        let mut bits = 0;
        for (i, &byte) in group.iter().enumerate() {
            bits |= u32::from(byte != 0) << i;
        }
        keep_32_bits(token, bits)
    }
}

#[inline(always)]
fn keep_32_bits<S: Simd>(token: S, bits: u32) -> [S::Keep; 2] {
    [S::Keep::from_bits(token, bits as u16), S::Keep::from_bits(token, (bits >> 16) as u16)]
}

#[inline(always)]
pub(super) fn bits<S: Simd>(keep: [S::Keep; 2]) -> u32 {
    u32::from(keep[0].to_bits()) | u32::from(keep[1].to_bits()) << 16
}
