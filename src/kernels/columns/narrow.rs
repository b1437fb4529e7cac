//! Narrow matrices: several rows side by side are one.
//!
//! Rows of a few columns fill a part of a vector and leave the rest idle. `[rows, cols]` is, without moving an
//! element, `[rows / F, F * cols]`, in whose rows every column occurs F times: it is worked on as any wide
//! matrix, with one shift or one set of coefficients repeated F times, and sums are added over the F parts.
//! Rows that are left over are done by themselves.
//!
//! `docs/performance.md` has what it gains, under "What helped".
#![forbid(unsafe_code)]

/// Columns that are wide enough: one vector of seventeen, at most, is not full.
pub(crate) const WIDE: usize = 256;

/// The most columns that a narrow matrix has as a wide one.
pub(crate) const WIDEST: usize = 2 * WIDE;

/// How many rows of so many columns are one: the smallest power of two that makes [`WIDE`] columns or more.
#[inline(always)]
pub(crate) fn factor(cols: usize) -> usize {
    match cols {
        1..WIDE => WIDE.div_ceil(cols).next_power_of_two(),
        _ => 1,
    }
}

/// Adds the parts of every column: `x` has `factor` of them, a power of two, side by side. The sums are where the
/// first part was.
#[inline(always)]
pub(crate) fn add_parts<T: Copy + core::ops::Add<Output = T>>(x: &mut [T], factor: usize) {
    combine_parts(
        x,
        factor,
        #[inline(always)]
        |a, b| a + b,
    );
}

/// The same by any operation on two parts.
#[inline(always)]
pub(crate) fn combine_parts<T: Copy>(mut x: &mut [T], factor: usize, combine: impl Fn(T, T) -> T) {
    let mut parts = factor;
    while parts > 1 {
        parts /= 2;
        let (first, second) = x.split_at_mut(x.len() / 2);
        for (a, &b) in first.iter_mut().zip(&*second) {
            *a = combine(*a, b);
        }
        x = first;
    }
}

/// Repeats the first part of `x` in the others, of which there are `factor`.
#[inline(always)]
pub(crate) fn repeat_part(x: &mut [f32], factor: usize) {
    let mut filled = x.len() / factor;
    while filled < x.len() {
        x.copy_within(..filled, filled);
        filled *= 2;
    }
}
