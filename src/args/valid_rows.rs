//! Checks and counts the rows that a caller marks as valid.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::kernels::row_filter::RowFilter;
use crate::mask::{Mask, ValidRows};
use crate::shape::check_length;

/// The rows of a matrix that are worked on, and how many these are: the valid ones, or all. Returns an
/// error for what does not fit the matrix.
pub(crate) fn kept_rows(
    valid: Option<ValidRows<'_>>,
    rows: usize,
) -> Result<(RowFilter<'_>, usize), Error> {
    match valid {
        None => {}
        Some(ValidRows::Mask(Mask::Packed(bits))) => {
            check_length("mask", bits.len(), rows.div_ceil(8))?;
        }
        Some(ValidRows::Mask(Mask::Bytes(bytes))) => check_length("mask", bytes.len(), rows)?,
        Some(ValidRows::Lengths { lengths, steps }) => {
            check_samples(lengths.len(), steps, rows)?;
            check_lengths(lengths, steps)?;
        }
    }
    let kept = RowFilter::new(valid, rows);
    Ok((kept, kept.count_all()))
}

/// Returns an error for steps that do not divide the rows, and for lengths that are not one a sample.
fn check_samples(lengths: usize, steps: usize, rows: usize) -> Result<(), Error> {
    if rows == 0 && steps == 0 {
        // Any number of samples without steps.
        return Ok(());
    }
    if steps == 0 || !rows.is_multiple_of(steps) {
        let expected = "a divisor of the number of rows";
        return Err(Error::Parameter { arg: "steps", expected, got: steps as f64 });
    }
    check_length("lengths", lengths, rows / steps)
}

/// Returns an error for a length that is more than there is.
pub(crate) fn check_lengths(lengths: &[usize], most: usize) -> Result<(), Error> {
    match lengths.iter().position(|&length| length > most) {
        Some(sample) => Err(Error::SampleLength { sample, most, got: lengths[sample] }),
        None => Ok(()),
    }
}
