//! The residual that is added to x before it is normalised.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::shape::{Rows, check_length, check_optional};
use crate::simd::{RowSpan, Span};

/// What is added to x.
pub(crate) enum Residual<'a> {
    /// This; the sum is kept where there is a place for it.
    Added(&'a [f32], Option<&'a mut [f32]>),
    /// This, which becomes the sum.
    Updated(&'a mut [f32]),
}

impl<'a> Residual<'a> {
    /// The rows of `io`, x of them the sum. `io` has the shape `rows`.
    pub(crate) fn add_to(self, io: Span<'a>, rows: Rows) -> Result<RowSpan<'a>, Error> {
        let elements = rows.elements();
        let io = RowSpan::new(io, rows.rows(), rows.cols());
        Ok(match self {
            Self::Added(residual, sum) => {
                check_length("residual", residual.len(), elements)?;
                check_optional("sum", sum.as_deref(), elements)?;
                io.plus(residual, sum)
            }
            Self::Updated(residual) => {
                check_length("residual", residual.len(), elements)?;
                io.added_to(residual)
            }
        })
    }
}
