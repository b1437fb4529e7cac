//! Shapes: matrices, and samples whose channels come first or last.
#![forbid(unsafe_code)]

use super::status::Fault;
use super::status::unknown;
use crate::shape::{Channels, Rows, Shape};

/// What a shape is of, and which of its axes comes first in memory.
pub type evenkeel_layout = u32;
/// A matrix [rows, cols].
pub const EVENKEEL_ROWS: evenkeel_layout = 1;
/// Samples [batch, channels, positions], NCHW.
pub const EVENKEEL_CHANNELS_FIRST: evenkeel_layout = 2;
/// Samples [batch, positions, channels], NHWC.
pub const EVENKEEL_CHANNELS_LAST: evenkeel_layout = 3;

/// A matrix, or samples of channels. What does not belong to its layout is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct evenkeel_shape {
    /// `EVENKEEL_ROWS` or `EVENKEEL_CHANNELS_...`
    pub layout: evenkeel_layout,
    /// 0
    pub reserved: u32,
    pub rows: usize,
    pub cols: usize,
    pub batch: usize,
    pub channels: usize,
    pub positions: usize,
}

impl evenkeel_shape {
    /// Whether a member is not 0, where there need not be a shape.
    pub(super) fn is_there(&self) -> bool {
        let Self { layout, reserved, rows, cols, batch, channels, positions } = *self;
        layout | reserved != 0 || rows | cols | batch | channels | positions != 0
    }

    /// Of a function that takes either.
    #[inline(always)]
    pub(super) fn either(&self) -> Result<Shape, Box<Fault>> {
        if self.layout == EVENKEEL_ROWS {
            Ok(self.rows()?.into())
        } else {
            Ok(self.samples()?.into())
        }
    }

    /// Of a function on channels, which the columns of a matrix are.
    pub(super) fn channels(&self) -> Result<Channels, Box<Fault>> {
        if self.layout == EVENKEEL_ROWS { Ok(self.rows()?.into()) } else { self.samples() }
    }

    /// Of a function that takes a matrix.
    #[inline(always)]
    pub(super) fn rows(&self) -> Result<Rows, Box<Fault>> {
        let Self { layout, reserved, rows, cols, batch, channels, positions } = *self;
        if layout != EVENKEEL_ROWS {
            return Err(unknown("shape.layout", "EVENKEEL_ROWS", layout.into()));
        }
        if reserved as usize | batch | channels | positions != 0 {
            return Err(unused("`rows` and `cols` alone with EVENKEEL_ROWS"));
        }
        Ok(Rows::new(rows, cols)?)
    }

    /// Of a function that takes samples of channels.
    pub(super) fn samples(&self) -> Result<Channels, Box<Fault>> {
        let Self { layout, reserved, rows, cols, batch, channels, positions } = *self;
        let last = match layout {
            EVENKEEL_CHANNELS_FIRST => false,
            EVENKEEL_CHANNELS_LAST => true,
            got => {
                let expected = "EVENKEEL_ROWS or EVENKEEL_CHANNELS_..., as the function takes";
                return Err(unknown("shape.layout", expected, got.into()));
            }
        };
        if reserved as usize | rows | cols != 0 {
            let expected = "`batch`, `channels` and `positions` alone with EVENKEEL_CHANNELS_...";
            return Err(unused(expected));
        }
        Ok(match last {
            false => Channels::first(batch, channels, positions)?,
            true => Channels::last(batch, positions, channels)?,
        })
    }
}

#[cold]
fn unused(expected: &'static str) -> Box<Fault> {
    Fault::Shape { expected }.boxed()
}
