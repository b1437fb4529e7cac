//! How outputs are written: through the caches or around them.
#![forbid(unsafe_code)]

use crate::kernels::tuning::{STREAMED_BYTES, STREAMED_COLS};
use crate::simd::{LANES, RowSpan, Span};

/// How an operation writes its output. It never changes the result.
///
/// A store brings the line that it writes to into the caches first, unless it is non-temporal: then the line is
/// written to memory and leaves the caches. That saves a third of the traffic where the output is too large to be
/// found in a cache by whoever reads it, and costs a reading from memory where it is not.
///
/// Only whole cache lines of an output that is not the input are written around the caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stores {
    /// Around the caches for outputs of 32 MiB and more (unless rows are shorter than 256 and no multiple of 16), else
    /// through them.
    #[default]
    Auto,
    /// Always through the caches: where the output is read again soon.
    Cached,
    /// Around the caches at every size: where the output is not read again soon.
    NonTemporal,
}

impl Stores {
    /// The span of rows of `cols` elements, to be written as told.
    pub(crate) fn apply(self, io: Span<'_>, cols: usize) -> Span<'_> {
        if self.around(io.len(), cols) { io.streaming() } else { io }
    }

    /// The rows, to be written as told.
    pub(crate) fn apply_to_rows(self, io: RowSpan<'_>) -> RowSpan<'_> {
        let around = self.around(io.rows() * io.cols(), io.cols());
        if around { io.streaming() } else { io }
    }

    /// The same of rows whose columns are worked on: where they are contiguous, narrow ones are worked on as wide ones.
    pub(crate) fn apply_to_columns(self, io: RowSpan<'_>) -> RowSpan<'_> {
        let elements = io.rows() * io.cols();
        let width = if io.is_contiguous() { elements } else { io.cols() };
        if self.around(elements, width) { io.streaming() } else { io }
    }

    /// Whether so many elements, in rows of `cols`, are written around the caches.
    fn around(self, elements: usize, cols: usize) -> bool {
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
    fn auto_goes_around_the_caches_from_32_mib_where_rows_have_whole_lines() {
        const LEN: usize = (32 << 20) / size_of::<f32>();
        // Zeros that nobody touches take no memory.
        let (x, mut y) = (vec![0.0; LEN], vec![0.0; LEN]);
        for (len, cols, around) in [
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
                [(Stores::Auto, around), (Stores::Cached, false), (Stores::NonTemporal, true)]
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
