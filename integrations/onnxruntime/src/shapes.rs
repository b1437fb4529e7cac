//! Axes, and inputs that are smaller than x.
#![forbid(unsafe_code)]

/// The number of elements.
pub(crate) fn elements(dims: &[usize]) -> Result<usize, String> {
    let product = dims.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
    product.ok_or_else(|| format!("a shape {dims:?} has more elements than memory has addresses"))
}

/// The first axis that is normalised, counted from the front.
pub(crate) fn first_axis(axis: i64, rank: usize) -> Result<usize, String> {
    let from_front = if axis < 0 { axis + rank as i64 } else { axis };
    match usize::try_from(from_front) {
        Ok(first) if first < rank => Ok(first),
        _ if rank == 0 => {
            Err("expected a tensor with an axis to normalise, got a scalar".to_owned())
        }
        _ => Err(format!("`axis`: expected from -{rank} to {}, got {axis}", rank - 1)),
    }
}

/// How gamma or beta lies over x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// One for each element of a row.
    Row,
    /// Fewer: elements of a row share it.
    Shared,
    /// Rows have different ones.
    EachRow,
}

/// How a tensor of `dims` lies over x, whose rows are the axes from `first` on. None: it does not broadcast to x.
pub(crate) fn spread(dims: &[usize], x: &[usize], first: usize) -> Option<Spread> {
    let missing = x.len().checked_sub(dims.len())?;
    let aligned = |axis: usize| if axis < missing { 1 } else { dims[axis - missing] };
    if (0..x.len()).any(|axis| aligned(axis) != 1 && aligned(axis) != x[axis]) {
        return None;
    }
    if (0..first).any(|axis| aligned(axis) != 1) {
        return Some(Spread::EachRow);
    }
    let is_whole = (first..x.len()).all(|axis| aligned(axis) == x[axis]);
    Some(if is_whole { Spread::Row } else { Spread::Shared })
}

/// The elements of a tensor, repeated until they have the shape `to`. `spread` has found that they can be.
pub(crate) fn broadcast<T: Copy>(source: &[T], dims: &[usize], to: &[usize]) -> Vec<T> {
    let Some((&length, outer)) = to.split_first() else { return source.to_vec() };
    // Dimensions that `dims` has beyond those of `to` are 1.
    let dims = &dims[dims.len().saturating_sub(to.len())..];
    let (repeats, inner) = match dims.split_first() {
        Some((&dim, inner)) if dims.len() == to.len() => (dim != length, inner),
        _ => (true, dims),
    };
    let step = if repeats { 0 } else { source.len() / length.max(1) };
    let part = if repeats { source.len() } else { step };
    (0..length).flat_map(|i| broadcast(&source[i * step..][..part], inner, outer)).collect()
}

/// After how many elements of x a skip of `dims` begins again. None: it is not the last axes of x.
pub(crate) fn period(dims: &[usize], x: &[usize]) -> Option<usize> {
    let ones = dims.iter().take_while(|dim| **dim == 1).count().min(dims.len().saturating_sub(1));
    let last = &dims[ones..];
    if last.is_empty() || !x.ends_with(last) {
        return None;
    }
    elements(last).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_counts_from_either_end() {
        assert_eq!(first_axis(-1, 3), Ok(2));
        assert_eq!(first_axis(-3, 3), Ok(0));
        assert_eq!(first_axis(1, 3), Ok(1));
        for axis in [-4, 3] {
            let expected = format!("`axis`: expected from -3 to 2, got {axis}");
            assert_eq!(first_axis(axis, 3), Err(expected));
        }
        assert!(first_axis(-1, 0).is_err());
    }

    #[test]
    fn gamma_lies_over_rows_or_parts_of_them_or_differs_between_rows() {
        let x = [2, 3, 4];
        assert_eq!(spread(&[4], &x, 2), Some(Spread::Row));
        assert_eq!(spread(&[1, 1, 4], &x, 2), Some(Spread::Row));
        assert_eq!(spread(&[3, 4], &x, 1), Some(Spread::Row));
        assert_eq!(spread(&[4], &x, 1), Some(Spread::Shared));
        assert_eq!(spread(&[], &x, 2), Some(Spread::Shared));
        assert_eq!(spread(&[3, 4], &x, 2), Some(Spread::EachRow));
        assert_eq!(spread(&[2, 1, 4], &x, 2), Some(Spread::EachRow));
        for other in [&[3][..], &[2, 4], &[1, 2, 3, 4], &[0]] {
            assert_eq!(spread(other, &x, 2), None, "{other:?}");
        }
    }

    #[test]
    fn what_broadcasts_is_repeated() {
        assert_eq!(broadcast(&[1, 2], &[2], &[2]), [1, 2]);
        assert_eq!(broadcast(&[1, 2], &[2], &[2, 2]), [1, 2, 1, 2]);
        assert_eq!(broadcast(&[1, 2], &[2, 1], &[2, 3]), [1, 1, 1, 2, 2, 2]);
        assert_eq!(broadcast(&[1, 2], &[2, 1, 1], &[2, 1, 2]), [1, 1, 2, 2]);
        assert_eq!(broadcast(&[7], &[], &[3]), [7, 7, 7]);
        assert_eq!(broadcast(&[1, 2, 3], &[1, 1, 3], &[3]), [1, 2, 3]);
        assert_eq!(broadcast::<u8>(&[1], &[1], &[2, 0]), []);
    }

    #[test]
    fn a_skip_is_as_x_or_its_last_axes() {
        let x = [2, 3, 4];
        assert_eq!(period(&[2, 3, 4], &x), Some(24));
        assert_eq!(period(&[1, 3, 4], &x), Some(12));
        assert_eq!(period(&[3, 4], &x), Some(12));
        assert_eq!(period(&[4], &x), Some(4));
        assert_eq!(period(&[1, 1], &[5, 1]), Some(1));
        for other in [&[2, 1, 4][..], &[3], &[], &[2, 3, 4, 1], &[2, 2, 3, 4]] {
            assert_eq!(period(other, &x), None, "{other:?}");
        }
    }
}
