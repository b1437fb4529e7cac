//! Shapes: matrices, and samples whose channels come first or last.
#![forbid(unsafe_code)]

use super::fault::Fault;
use crate::shape::Channels;
use crate::shape::Rows;

/// Which comes first in a sample.
pub type evenkeel_layout = u32;
/// [batch, channels, positions], NCHW.
pub const EVENKEEL_CHANNELS_FIRST: evenkeel_layout = 0;
/// [batch, positions, channels], NHWC.
pub const EVENKEEL_CHANNELS_LAST: evenkeel_layout = 1;

/// The shape of samples with channels.
pub(super) fn channels_shape(
    layout: evenkeel_layout,
    (batch, channels, positions): (usize, usize, usize),
) -> Result<Channels, Box<Fault>> {
    Ok(match layout {
        EVENKEEL_CHANNELS_FIRST => Channels::first(batch, channels, positions)?,
        EVENKEEL_CHANNELS_LAST => Channels::last(batch, positions, channels)?,
        got => {
            let expected = "EVENKEEL_CHANNELS_FIRST or EVENKEEL_CHANNELS_LAST";
            return Err(Fault::Option { arg: "layout", expected, got }.boxed());
        }
    })
}

/// The shape of a matrix.
pub(super) fn rows_shape(rows: usize, cols: usize) -> Result<Rows, Box<Fault>> {
    Ok(Rows::new(rows, cols)?)
}
