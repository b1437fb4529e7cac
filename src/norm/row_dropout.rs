//! Dropout as an option of passes over rows: what they check, and the mask that they keep.
#![forbid(unsafe_code)]

use crate::args::dropout::{
    DropoutArgs, DropoutPlan, DropoutUnit, MaskSource, Stream, keep_choice, scale,
};
use crate::error::Error;
use crate::kernels::elementwise::dropout::{ApplyDropout, Choice};
use crate::kernels::elementwise::dropout_units::{ApplyToUnits, Lie};
use crate::kernels::rows::dropped::{Kept, RowDropout};
use crate::mask::MaskMut;
use crate::run::execution::Call;
use crate::shape::Rows;
use crate::simd::Span;

/// Drops elements of rows, which are contiguous.
pub(super) fn drop_rows(call: Call<'_>, io: Span<'_>, cols: usize, dropout: RowDropout<'_>) {
    let (len, RowDropout { kept, scale }) = (io.len(), dropout);
    match kept {
        Kept::Nothing => io.zero(),
        Kept::Elements(choice) => {
            let work = ApplyDropout { len, io: Some(io), scale, choice, mask: None };
            call.run_parallel(work, len);
        }
        Kept::Rows(choice, rows) => {
            let lie = Lie::Runs(rows * cols);
            call.run_parallel(ApplyToUnits { io, lie, first: 0, scale, choice }, len);
        }
    }
}

/// Dropout of a matrix, checked.
pub(crate) struct MatrixDropout<'a> {
    plan: DropoutPlan,
    p: f64,
    source: MaskSource<'a>,
    /// Rows that are dropped as a whole, if they are.
    whole: Option<usize>,
    units: usize,
    mask: Option<MaskMut<'a>>,
}

impl<'a> MatrixDropout<'a> {
    pub(crate) fn check(
        args: Option<(f64, DropoutArgs<'a>)>,
        rows: Rows,
    ) -> Result<Option<Self>, Error> {
        let Some((p, args)) = args else { return Ok(None) };
        let plan = DropoutPlan::new("dropout_p", p)?;
        let units = args.unit.count(rows.elements())?;
        let whole = match args.unit {
            DropoutUnit::Element => None,
            DropoutUnit::Row(units) if units.cols().is_multiple_of(rows.cols().max(1)) => {
                Some(units.cols() / rows.cols().max(1))
            }
            _ => return Err(Error::Unsupported { arg: "dropout" }),
        };
        args.check((units, rows.elements()), ["dropout_mask", "keep_mask"])?;
        let DropoutArgs { source, mask, .. } = args;
        Ok(Some(Self { plan, p, source, whole, units, mask }))
    }

    /// Whether elements change.
    pub(crate) fn changes(&self) -> bool {
        !matches!((self.plan, self.source), (DropoutPlan::KeepAll, MaskSource::Drawn(_)))
    }

    /// Whether rows are dropped as a whole.
    pub(crate) fn goes_by_row(&self) -> bool {
        self.whole.is_some()
    }

    /// Writes the mask where it is to be kept. None if no element changes.
    pub(crate) fn keep_mask(self, call: Call<'_>) -> Option<RowDropout<'a>> {
        let Self { plan, p, source, whole, units, mask } = self;
        let (choice, scale) = match (source, plan) {
            (_, DropoutPlan::DropAll) => {
                if let Some(mask) = mask {
                    mask.fill(units, false);
                }
                return Some(RowDropout { kept: Kept::Nothing, scale: 0.0 });
            }
            (MaskSource::Drawn(_), DropoutPlan::KeepAll) => {
                if let Some(mask) = mask {
                    mask.fill(units, true);
                }
                return None;
            }
            (MaskSource::Drawn(Stream { seed, offset }), DropoutPlan::Draw { threshold, .. }) => {
                (Choice::Stream { seed, offset, threshold }, plan.scale())
            }
            // Whoever has drawn it.
            (MaskSource::Given(mask), _) => (Choice::Mask(mask), scale(p)),
        };
        let choice = keep_choice(call, choice, units, mask);
        let kept = match whole {
            None => Kept::Elements(choice),
            Some(rows) => Kept::Rows(choice, rows.max(1)),
        };
        Some(RowDropout { kept, scale })
    }
}
