//! Work that parallel tasks can share.
#![forbid(unsafe_code)]

/// Work on rows that can be cut between any two of them, for parallel tasks.
pub(crate) trait Split: Send + Sized {
    /// The number of rows.
    fn rows(&self) -> usize;
    /// The rows before `at`, and the others.
    fn split_at(self, at: usize) -> (Self, Self);
}

/// Splits what may be absent.
#[inline(always)]
pub(crate) fn split_optional(
    out: Option<&mut [f64]>,
    at: usize,
) -> (Option<&mut [f64]>, Option<&mut [f64]>) {
    match out {
        Some(out) => {
            let (low, high) = out.split_at_mut(at);
            (Some(low), Some(high))
        }
        None => (None, None),
    }
}

/// Where there are enough rows, tasks begin at multiples of this many, so that only the last one has
/// rows that do not fill a group.
pub(crate) const CUT_ROWS: usize = 8;

/// The rows of the first `left` of so many tasks.
pub(crate) fn cut(rows: usize, left: usize, tasks: usize) -> usize {
    // rows * left / tasks without overflow.
    let at = rows / tasks * left + rows % tasks * left / tasks;
    if rows >= CUT_ROWS * tasks { at - at % CUT_ROWS } else { at }
}
