//! How outputs are written: by ordinary or by non-temporal stores.
#![forbid(unsafe_code)]

use crate::kernels::tuning::{STREAMED_BYTES, STREAMED_COLS};
use crate::simd::{LANES, RowSpan, Span};

/// How an operation writes its output. It never changes the result.
///
/// An ordinary store loads its cache line first. A non-temporal store does not: it writes the line to memory and leaves none in
/// the caches. That saves a third of the traffic of an output that is larger than the caches. Of a smaller output it costs the
/// reader a load from memory.
///
/// Only whole cache lines of an output that is not the input are written by non-temporal stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stores {
    /// Non-temporal stores for outputs of 32 MiB and more, unless rows are shorter than 256 and no multiple of 16. Else ordinary
    /// stores.
    #[default]
    Auto,
    /// Always ordinary stores: where the output is read again soon.
    Cached,
    /// Non-temporal stores at every size: where the output is not read again soon.
    NonTemporal,
}

impl Stores {
    /// The span of rows of `cols` elements, with this policy.
    pub(crate) fn apply(self, io: Span<'_>, cols: usize) -> Span<'_> {
        if self.non_temporal(io.len(), cols) { io.streaming() } else { io }
    }

    /// The rows, with this policy.
    pub(crate) fn apply_to_rows(self, io: RowSpan<'_>) -> RowSpan<'_> {
        let non_temporal = self.non_temporal(io.rows() * io.cols(), io.cols());
        if non_temporal { io.streaming() } else { io }
    }

    /// The same of rows whose y is written and not read, whatever x is.
    pub(crate) fn apply_to_written(self, io: RowSpan<'_>) -> RowSpan<'_> {
        let non_temporal = self.non_temporal(io.rows() * io.cols(), io.cols());
        if non_temporal { io.streaming_unread() } else { io }
    }

    /// The same of rows whose columns are worked on: where they are contiguous, narrow ones are worked on as wide ones.
    pub(crate) fn apply_to_columns(self, io: RowSpan<'_>) -> RowSpan<'_> {
        let elements = io.rows() * io.cols();
        let width = if io.is_contiguous() { elements } else { io.cols() };
        if self.non_temporal(elements, width) { io.streaming() } else { io }
    }

    /// Whether so many elements, in rows of `cols`, are written by non-temporal stores.
    fn non_temporal(self, elements: usize, cols: usize) -> bool {
        match self {
            Self::Auto => {
                elements.saturating_mul(size_of::<f32>()) >= STREAMED_BYTES
                    && (cols >= STREAMED_COLS || cols.is_multiple_of(LANES))
            }
            Self::Cached => false,
            Self::NonTemporal => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Stores;
    use crate::simd::Span;

    #[test]
    fn auto_is_non_temporal_from_32_mib_where_rows_have_whole_lines() {
        const LEN: usize = (32 << 20) / size_of::<f32>();
        // Zeros that nobody touches take no memory.
        let (x, mut y) = (vec![0.0; LEN], vec![0.0; LEN]);
        for (len, cols, non_temporal) in [
            (LEN, LEN, true),
            (LEN, 257, true),
            (LEN, 256, true),
            (LEN, 255, false),
            (LEN, 240, true),
            (LEN, 17, false),
            (LEN, 16, true),
            (LEN - 1, LEN - 1, false),
            (LEN - 1, 16, false),
        ] {
            for (stores, expected) in
                [(Stores::Auto, non_temporal), (Stores::Cached, false), (Stores::NonTemporal, true)]
            {
                let what = format!("{stores:?}, {len} elements, rows of {cols}");
                let span = stores.apply(Span::new(&x[..len], &mut y[..len]), cols);
                assert_eq!(span.streams(), expected, "{what}");
                drop(span);
                let in_place = stores.apply(Span::in_place(&mut y[..len]), cols);
                assert!(!in_place.streams(), "{what}, in place");
            }
        }
    }
}
