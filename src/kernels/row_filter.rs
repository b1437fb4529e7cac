//! Rows that count, among others that are padding.
//!
//! A kernel that leaves padding out works on the matrix without it: the same blocks, the same bits. It takes runs of
//! rows that are neighbours in memory: those of a whole block are read where they are, others one by one. Nothing is
//! copied but narrow rows that are to lie side by side (`kernels/columns/moments.rs`), and no list of rows is made: the mask is gone
//! through again where it is needed, 64 rows of a packed one at a time.
#![forbid(unsafe_code)]

use core::ops::Range;

use crate::mask::{Mask, ValidRows};

/// The rows of a matrix that are worked on: the valid ones, or all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowFilter<'a> {
    valid: Option<ValidRows<'a>>,
    rows: usize,
}

impl<'a> RowFilter<'a> {
    pub(crate) fn new(valid: Option<ValidRows<'a>>, rows: usize) -> Self {
        Self { valid, rows }
    }

    /// The same rows as if there were none from `end` on.
    pub(crate) fn before(self, end: usize) -> Self {
        Self { rows: end.min(self.rows), ..self }
    }

    /// The first row of a range that is kept, or that is not; the end of the range if there is none.
    #[inline(always)]
    fn find(self, range: Range<usize>, kept: bool) -> usize {
        let found = match self.valid {
            None if kept => range.start,
            None => range.end,
            Some(ValidRows::Mask(Mask::Packed(bits))) => find_bit(bits, range.clone(), kept),
            Some(ValidRows::Mask(Mask::Bytes(bytes))) => find_byte(bytes, range.clone(), kept),
            Some(ValidRows::Lengths { lengths, steps }) => {
                find_step(lengths, steps, range.clone(), kept)
            }
        };
        found.min(range.end)
    }

    /// The next kept rows that are neighbours, at most `most`, none of them before `from`. Empty if there are no more.
    #[inline(always)]
    pub(crate) fn next_run(self, from: usize, most: usize) -> Range<usize> {
        let start = self.find(from..self.rows, true);
        let last = self.rows.min(start.saturating_add(most));
        start..self.find(start..last, false)
    }

    /// The next padding, none of it before `from`. Empty if there is no more.
    #[inline(always)]
    pub(crate) fn next_padding(self, from: usize) -> Range<usize> {
        let start = self.find(from..self.rows, false);
        start..self.find(start..self.rows, true)
    }

    /// How many rows of a range are kept.
    pub(crate) fn count(self, range: Range<usize>) -> usize {
        match self.valid {
            None => range.len(),
            Some(ValidRows::Mask(Mask::Packed(bits))) => {
                let (first, last) = (range.start / 8, range.end.div_ceil(8));
                if range.is_empty() {
                    return 0;
                }
                let ones = |bytes: &[u8]| -> usize {
                    bytes.iter().map(|byte| byte.count_ones() as usize).sum()
                };
                let before = bits[first] & !(u8::MAX << (range.start % 8));
                let after = match range.end % 8 {
                    0 => 0,
                    end => bits[last - 1] & u8::MAX << end,
                };
                ones(&bits[first..last]) - ones(&[before, after])
            }
            Some(ValidRows::Mask(Mask::Bytes(bytes))) => {
                bytes[range].iter().map(|&byte| usize::from(byte != 0)).sum()
            }
            Some(ValidRows::Lengths { .. }) => {
                let (mut count, mut row) = (0, range.start);
                while row < range.end {
                    let run = self.next_run(row, range.end - row);
                    count += run.end.min(range.end) - run.start.min(range.end);
                    row = run.end;
                }
                count
            }
        }
    }

    /// How many rows are kept.
    pub(crate) fn count_all(self) -> usize {
        match self.valid {
            Some(ValidRows::Lengths { lengths, .. }) => lengths.iter().sum(),
            _ => self.count(0..self.rows),
        }
    }

    /// The row after the next `n` kept rows from `from` on, of which there are as many.
    pub(crate) fn skip(self, from: usize, n: usize) -> usize {
        if self.valid.is_none() {
            return from + n;
        }
        let (mut row, mut left) = (from, n);
        while left > 0 {
            let end = self.rows.min(row + STRIDE);
            let count = self.count(row..end);
            if count >= left {
                break;
            }
            (row, left) = (end, left - count);
        }
        while left > 0 {
            let run = self.next_run(row, left);
            (row, left) = (run.end, left - run.len());
        }
        row
    }
}

/// Rows whose mask is counted at a time on the way to a row.
const STRIDE: usize = 1024;

/// The first bit of a range that is set, or that is not, or one beyond the range.
#[inline(always)]
fn find_bit(bits: &[u8], range: Range<usize>, set: bool) -> usize {
    let mut at = range.start;
    while at < range.end {
        let bytes = &bits[at / 8..];
        let mut eight = [0; 8];
        let count = bytes.len().min(8);
        eight[..count].copy_from_slice(&bytes[..count]);
        let word = u64::from_le_bytes(eight) ^ if set { 0 } else { u64::MAX };
        let found = word >> (at % 8);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += 64 - at % 8;
    }
    at
}

/// The first byte of a range that is not 0, or that is.
#[inline(always)]
fn find_byte(bytes: &[u8], range: Range<usize>, set: bool) -> usize {
    const GROUP: usize = 16;
    let mut at = range.start;
    let (groups, _) = bytes[range.clone()].as_chunks::<GROUP>();
    for group in groups {
        // Without an early end, all of a group at once.
        if group.iter().fold(false, |found, &byte| found | ((byte != 0) == set)) {
            break;
        }
        at += GROUP;
    }
    while at < range.end && (bytes[at] != 0) != set {
        at += 1;
    }
    at
}

/// The first step of a range that is within its sample's length, or that is not.
#[inline(always)]
fn find_step(lengths: &[usize], steps: usize, range: Range<usize>, within: bool) -> usize {
    if range.is_empty() {
        return range.end;
    }
    let (mut sample, step) = (range.start / steps, range.start % steps);
    if (step < lengths[sample]) == within {
        return range.start;
    }
    if !within && lengths[sample] < steps {
        return sample * steps + lengths[sample];
    }
    // The first step of a sample is valid unless its length is 0.
    loop {
        sample += 1;
        let start = sample * steps;
        if start >= range.end || (lengths[sample] > 0) == within {
            return start;
        }
        if !within && lengths[sample] < steps {
            return start + lengths[sample];
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Masks of every kind of the same rows: single rows, runs, words of nothing, ends within a byte.
    pub(in crate::kernels) fn cases() -> impl Iterator<Item = Vec<bool>> {
        let rows = [0, 1, 7, 8, 9, 63, 64, 65, 130, 1024, 1030, 3000];
        let rules: [fn(usize) -> bool; 8] = [
            |_| true,
            |_| false,
            |r| r % 2 == 0,
            |r| r % 3 != 0,
            |r| r / 70 % 2 == 1,
            |r| r > 64,
            |r| r < 65,
            |r| (r * r + r / 5) % 7 < 3,
        ];
        rows.into_iter().flat_map(move |rows| rules.map(|rule| (0..rows).map(rule).collect()))
    }

    pub(in crate::kernels) fn packed(kept: &[bool]) -> Vec<u8> {
        // Bits beyond the last row are not looked at.
        let mut bits = vec![0; kept.len().div_ceil(8)];
        if let Some(last) = bits.last_mut() {
            *last = if kept.len().is_multiple_of(8) { 0 } else { u8::MAX << (kept.len() % 8) };
        }
        for (row, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
            bits[row / 8] |= 1 << (row % 8);
        }
        bits
    }

    fn check(kept: &[bool], rows: RowFilter<'_>) {
        let of = |range: Range<usize>| kept[range].iter().filter(|kept| **kept).count();
        let (all, what) = (kept.len(), format!("{rows:?}"));
        assert_eq!(rows.count_all(), of(0..all), "{what}");
        let wanted: Vec<usize> = (0..all).filter(|&row| kept[row]).collect();
        for most in [1, 3, 64, usize::MAX] {
            let (mut found, mut row) = (Vec::new(), 0);
            loop {
                let run = rows.next_run(row, most);
                if run.is_empty() {
                    break;
                }
                assert!(run.len() <= most, "{what}");
                row = run.end;
                found.extend(run);
            }
            assert_eq!(found, wanted, "{what}, {most}");
        }
        for from in (0..all).step_by(1 + all / 40) {
            for end in (from..=all).step_by(1 + all / 40) {
                assert_eq!(rows.count(from..end), of(from..end), "{what}, {from}..{end}");
                let skipped = rows.skip(from, of(from..end));
                assert_eq!(of(from..skipped), of(from..end), "{what}, {from}..{end}");
                assert!(skipped <= end, "{what}, {from}..{end}");
            }
        }
    }

    #[test]
    fn runs_counts_and_places_are_those_of_a_list() {
        for kept in cases() {
            let bytes: Vec<u8> = kept.iter().map(|&kept| 7 * u8::from(kept)).collect();
            let bits = packed(&kept);
            for mask in [Mask::Packed(&bits), Mask::Bytes(&bytes)] {
                check(&kept, RowFilter::new(Some(ValidRows::Mask(mask)), kept.len()));
            }
            check(&vec![true; kept.len()], RowFilter::new(None, kept.len()));
        }
    }

    #[test]
    fn lengths_are_a_mask() {
        for steps in [1, 2, 5, 64, 100] {
            for lengths in [
                vec![],
                vec![0],
                vec![steps],
                vec![0, steps, 0, 0, steps, steps, 1, 0],
                vec![steps, steps / 2, steps - 1, 0, steps / 3, steps],
            ] {
                let kept: Vec<bool> =
                    lengths.iter().flat_map(|&n| (0..steps).map(move |step| step < n)).collect();
                let valid = ValidRows::Lengths { lengths: &lengths, steps };
                check(&kept, RowFilter::new(Some(valid), kept.len()));
            }
        }
    }
}
