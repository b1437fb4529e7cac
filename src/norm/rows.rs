//! The driver of operations on rows: what they check and how they run.
#![forbid(unsafe_code)]

use crate::error::{Error, MOST_ELEMENTS};
use crate::kernels::rows::normalize::NormalizeRows;
use crate::kernels::rows::source::RowSource;
use crate::run::execution::Execution;
use crate::shape::{Rows, check_at_least, check_optional};
use crate::simd::{RowSpan, Span, reach};

/// What an operation that does not centre may do otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    /// Whether 1 + gamma takes the place of gamma.
    pub(crate) one_plus_gamma: bool,
    /// Whether silu of the second input is a factor, and beta absent.
    pub(crate) gated: bool,
}

/// No variant.
pub(crate) const PLAIN: Variant = Variant { one_plus_gamma: false, gated: false };

/// Checks gamma and beta, then normalises every row with the statistics of `source`: what the row
/// operations have in common. Everything else has been checked.
pub(crate) fn normalize_rows<T: RowSource>(
    execution: Execution,
    io: RowSpan<'_>,
    source: T,
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    Variant { one_plus_gamma, gated }: Variant,
) -> Result<(), Error> {
    let (cols, elements) = (io.cols(), io.rows() * io.cols());
    check_optional("gamma", gamma, cols)?;
    check_optional("beta", beta, cols)?;
    if elements > 0 {
        let io = execution.stores.apply_to_rows(io);
        let gamma_offset = if one_plus_gamma { 1.0 } else { -0.0 };
        execution
            .run_parallel(NormalizeRows { io, source, gamma, beta, gamma_offset, gated }, elements);
    }
    Ok(())
}

/// The rows of a span, one behind the other.
pub(crate) fn contiguous(rows: Rows, io: Span<'_>) -> RowSpan<'_> {
    RowSpan::new(io, rows.rows(), rows.cols())
}

/// Refuses rows that begin every `pitch` elements where they overlap or are not all there.
pub(crate) fn check_strided(
    rows: Rows,
    arg: &'static str,
    len: usize,
    pitch_arg: &'static str,
    pitch: usize,
) -> Result<(), Error> {
    check_at_least(pitch_arg, pitch, rows.cols())?;
    match reach(rows.rows(), rows.cols(), pitch) {
        Some(reach) if reach <= MOST_ELEMENTS => check_at_least(arg, len, reach),
        _ => Err(Error::ShapeOverflow { arg: pitch_arg, got: [1, rows.rows(), pitch] }),
    }
}

/// Rows of this shape at pitches, from x to y, if they are all there.
pub(crate) fn strided<'a>(
    rows: Rows,
    x: &'a [f32],
    x_pitch: usize,
    y: &'a mut [f32],
    y_pitch: usize,
) -> Result<RowSpan<'a>, Error> {
    check_strided(rows, "x", x.len(), "x_pitch", x_pitch)?;
    check_strided(rows, "y", y.len(), "y_pitch", y_pitch)?;
    Ok(RowSpan::strided(x, x_pitch, y, y_pitch, (rows.rows(), rows.cols())))
}

/// The same where y is x.
pub(crate) fn strided_in_place(
    rows: Rows,
    x: &mut [f32],
    pitch: usize,
) -> Result<RowSpan<'_>, Error> {
    check_strided(rows, "x", x.len(), "x_pitch", pitch)?;
    Ok(RowSpan::strided_in_place(x, pitch, (rows.rows(), rows.cols())))
}
