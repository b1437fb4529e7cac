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
