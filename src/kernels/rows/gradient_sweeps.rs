//! The sweeps of a backward pass over a group of rows: the means c and d, then dx and the sums of columns.
//!
//! `kernels/rows/backward.rs` says what makes them exact and fast.
#![forbid(unsafe_code)]

use super::block::{BLOCK, TERMS};
use super::column_sums::{DbiasSums, LaneSums};
use super::dropped::DroppedPart;
use super::source::{RowSource, RowStatistics};
use super::sweep::Standardize;
use crate::kernels::range::{LARGEST, LARGEST_GRADIENT_SQUARES};
use crate::simd::{DSUM, FORWARD_X, Float, Group, INPUTS, LANES, Real, Simd};

/// What dy is multiplied with.
#[derive(Clone, Copy)]
pub(crate) struct Gamma<'a> {
    pub(crate) gamma: Option<&'a [f32]>,
    /// What is added to gamma: 1, or -0.0, which changes no number. Where gamma is absent the factor is 1 either way.
    pub(crate) offset: f32,
}

/// What the first sweep makes of a row: the sums of g, of `g * x_hat`, and of dy^2. Where statistics are given, `x_hat^2` takes the
/// place of `g * x_hat`.
#[derive(Clone, Copy)]
pub(super) struct RowSums {
    g: f64,
    g_x_hat: f64,
    pub(super) squares: f64,
}

impl Gamma<'_> {
    /// The part for columns `start` up to `end`.
    #[inline(always)]
    pub(super) fn columns(self, start: usize, end: usize) -> Self {
        let gamma = self.gamma.map(
            #[inline(always)]
            |gamma| &gamma[start..end],
        );
        Self { gamma, ..self }
    }

    /// The factors of vector `i`. The sum is one of f32 where lanes are f64 too, as in the forward pass.
    #[inline(always)]
    pub(super) fn load<V: Float>(self, token: V::Token, i: usize) -> V {
        self.factor(
            token,
            #[inline(always)]
            |gamma| Float::load(token, &gamma.as_chunks().0[i]),
        )
    }

    /// The same of the tail.
    #[inline(always)]
    pub(super) fn load_tail<V: Float>(self, token: V::Token) -> V {
        self.factor(
            token,
            #[inline(always)]
            |gamma| Float::load_partial(token, gamma.as_chunks::<LANES>().1, 0.0),
        )
    }

    #[inline(always)]
    fn factor<V: Float>(self, token: V::Token, load: impl Fn(&[f32]) -> Single<V>) -> V {
        match self.gamma {
            Some(gamma) => V::of_single(Single::<V>::splat(token, self.offset) + load(gamma)),
            None => V::splat(token, V::Elem::from_f64(1.0)),
        }
    }
}

/// The largest magnitude of a factor of dy. NaN is not looked for: c and d are NaN where a factor is.
#[inline(always)]
pub(super) fn largest_factor<S: Simd>(token: S, gamma: Gamma<'_>) -> f64 {
    let Some(all) = gamma.gamma else { return 1.0 };
    let mut most = S::F32::splat(token, 0.0);
    for i in 0..all.len() / LANES {
        most = gamma.load::<S::F32>(token, i).abs().max(most);
    }
    // The lanes beyond the tail hold the offset alone.
    let mut largest = 0.0_f32;
    for factor in &all[all.len() - all.len() % LANES..] {
        largest = largest.max((gamma.offset + factor).abs());
    }
    let mut lanes = [0.0; LANES];
    most.store_init(&mut lanes);
    f64::from(lanes.into_iter().fold(largest, f32::max))
}

/// c and d.
#[derive(Clone, Copy)]
pub(super) struct Means {
    c: f64,
    d: f64,
}

impl Means {
    pub(super) const NONE: Self = Self { c: 0.0, d: 0.0 };

    #[inline(always)]
    pub(super) fn new<T: RowSource>(sums: RowSums, cols: usize) -> Self {
        let n = cols as f64;
        Self { c: if T::CENTRED { sums.g / n } else { 0.0 }, d: sums.g_x_hat / n }
    }

    /// Whether f32 holds the gradients of a row for sure: none is too large, and c and d, which no mean of tiny numbers exceeds,
    /// say that some are large enough. What f32 loses of those that are not has no weight then.
    #[inline(always)]
    pub(super) fn fit_f32<T: RowSource>(
        self,
        rstd: f64,
        squares: f64,
        largest: f64,
        cols: usize,
    ) -> bool {
        let (most, least) = (rstd.abs().max(1.0), rstd.abs().min(1.0));
        let sum = self.c.abs() + self.d.abs();
        let is_small = squares < LARGEST_GRADIENT_SQUARES
            && squares * (largest * largest) * (most * most) <= LARGEST * LARGEST;
        is_small
            && self.x_hat_fits::<T>(squares, cols)
            && (T::ONE_SWEEP || (sum * least >= 1.0 / LARGEST && Self::rounds::<T>(cols)))
    }

    /// The same of a row whose largest gradients are known, so that c and d do not have to tell.
    #[inline(always)]
    pub(super) fn hold_in_f32<T: RowSource>(
        self,
        rstd: f64,
        squares: f64,
        Extremes { dy, g }: Extremes,
        largest: f64,
        cols: usize,
    ) -> bool {
        let (most, least) = (rstd.abs().max(1.0), rstd.abs().min(1.0));
        let is_small = dy * dy <= LARGEST_GRADIENT_SQUARES && g * most <= LARGEST;
        let is_zero = dy == 0.0 || rstd == 0.0 || largest == 0.0;
        let is_large = g * least >= 1.0 / LARGEST || is_zero;
        let is_number = (squares + self.c + self.d).is_finite();
        is_number
            && is_small
            && self.x_hat_fits::<T>(squares, cols)
            && (T::ONE_SWEEP || (is_large && Self::rounds::<T>(cols)))
    }

    /// Whether f32 holds the products of dy and `x_hat`. By statistics of its own a row has an `x_hat` of at most the root of its
    /// length; by given ones of any size.
    #[inline(always)]
    fn x_hat_fits<T: RowSource>(self, squares: f64, cols: usize) -> bool {
        !T::ONE_SWEEP || squares * (self.d * cols as f64) <= LARGEST * LARGEST
    }

    /// Whether dx may have roundings. A row of one element that is centred has the gradient 0: in f64, g is exact and so is c.
    #[inline(always)]
    fn rounds<T: RowSource>(cols: usize) -> bool {
        !T::CENTRED || cols > 1
    }

    /// NaN, where an infinity would leave some gradients of the row infinite and others NaN.
    #[inline(always)]
    pub(super) fn finite_or_nan(self) -> Self {
        if (self.c + self.d).is_finite() { self } else { Self { c: f64::NAN, d: f64::NAN } }
    }
}

/// The largest magnitudes of a row's dy and g.
#[derive(Clone, Copy)]
pub(super) struct Extremes {
    dy: f64,
    g: f64,
}

#[inline(always)]
pub(super) fn extremes<S: Simd>(
    token: S,
    row: &Group<'_, 1, INPUTS>,
    gamma: Gamma<'_>,
) -> Extremes {
    let zero = S::F32::splat(token, 0.0);
    let (mut most, mut most_g) = (zero, zero);
    for i in 0..row.full() {
        let dy: S::F32 = row.load(token, 0, i);
        most = dy.abs().max(most);
        most_g = (dy * gamma.load(token, i)).abs().max(most_g);
    }
    let dy: S::F32 = row.load_tail(token, 0, 0.0);
    let gamma = gamma.columns(row.full() * LANES, row.cols());
    most = dy.abs().max(most);
    most_g = (dy * gamma.load_tail(token)).abs().max(most_g);
    let largest = |most: S::F32| {
        let mut lanes = [0.0; LANES];
        most.store_init(&mut lanes);
        f64::from(lanes.into_iter().fold(0.0, f32::max))
    };
    Extremes { dy: largest(most), g: largest(most_g) }
}

/// The first sweep over `R` rows. Of given statistics it makes the sums of squares alone.
#[inline(always)]
pub(super) fn row_sums<T: RowSource, V: Float, const R: usize>(
    token: V::Token,
    group: &Group<'_, R, INPUTS>,
    rows: &[Standardize<V>; R],
    gamma: Gamma<'_>,
) -> [RowSums; R] {
    let zero = V::splat(token, V::Elem::from_f64(0.0));
    let mut all = [RowSums { g: 0.0, g_x_hat: 0.0, squares: 0.0 }; R];
    let full = group.full();
    let mut start = 0;
    loop {
        let end = full.min(start + BLOCK / LANES);
        let (mut sum_g, mut sum_g_x_hat, mut squares) = ([zero; R], [zero; R], [zero; R]);
        let mut from = start;
        while from < end {
            let to = end.min(from + TERMS);
            let (mut of_g, mut of_g_x_hat) = ([zero; R], [zero; R]);
            for i in from..to {
                let gamma = gamma.load(token, i);
                for r in 0..R {
                    let x = rows[r].apply::<T>(group.load_input(token, FORWARD_X, r, i));
                    let dy: V = group.load(token, r, i);
                    add_terms::<T, V>(
                        (dy, x, gamma),
                        &mut of_g[r],
                        &mut of_g_x_hat[r],
                        &mut squares[r],
                    );
                }
            }
            for r in 0..R {
                sum_g[r] = sum_g[r] + of_g[r];
                sum_g_x_hat[r] = sum_g_x_hat[r] + of_g_x_hat[r];
            }
            from = to;
        }
        let last = end == full;
        if last && group.tail() > 0 {
            let gamma = gamma.columns(full * LANES, group.cols()).load_tail(token);
            for r in 0..R {
                let zero = V::Elem::from_f64(0.0);
                let x = rows[r].apply::<T>(group.load_input_tail(token, FORWARD_X, r, zero));
                let dy: V = group.load_tail(token, r, zero);
                add_terms::<T, V>(
                    (dy, x, gamma),
                    &mut sum_g[r],
                    &mut sum_g_x_hat[r],
                    &mut squares[r],
                );
            }
        }
        let squares = V::sums(squares);
        for r in 0..R {
            all[r].squares += squares[r];
        }
        let g_x_hat = V::sums(sum_g_x_hat);
        for r in 0..R {
            all[r].g_x_hat += g_x_hat[r];
        }
        if T::CENTRED && !T::ONE_SWEEP {
            let g = V::sums(sum_g);
            for r in 0..R {
                all[r].g += g[r];
            }
        }
        if last {
            return all;
        }
        start = end;
    }
}

#[inline(always)]
fn add_terms<T: RowSource, V: Float>(
    (dy, x_hat, gamma): (V, V, V),
    of_g: &mut V,
    of_g_x_hat: &mut V,
    squares: &mut V,
) {
    *squares = dy.mul_add(dy, *squares);
    if T::ONE_SWEEP {
        *of_g_x_hat = x_hat.mul_add(x_hat, *of_g_x_hat);
    } else {
        let g = dy * gamma;
        *of_g_x_hat = g.mul_add(x_hat, *of_g_x_hat);
        if T::CENTRED {
            *of_g = *of_g + g;
        }
    }
}

/// What the second sweep does to a row: `dx = (g - c) * rstd + x_hat * k`, where k is `-d * rstd`.
#[derive(Clone, Copy)]
pub(super) struct Coefficients<V> {
    x: Standardize<V>,
    minus_c: V,
    k: V,
}

impl<V: Float> Coefficients<V> {
    #[inline(always)]
    pub(super) fn array<const R: usize>(
        token: V::Token,
        lanes: [Standardize<V>; R],
        statistics: [RowStatistics; R],
        means: [Means; R],
    ) -> [Self; R] {
        let zero = V::splat(token, V::Elem::from_f64(0.0));
        let mut rows = [Self { x: lanes[0], minus_c: zero, k: zero }; R];
        for r in 0..R {
            rows[r].x = lanes[r];
            rows[r].minus_c = V::splat(token, V::Elem::from_f64(-means[r].c));
            rows[r].k = V::splat(token, V::Elem::from_f64(-means[r].d * statistics[r].rstd));
        }
        rows
    }

    #[inline(always)]
    fn dx<T: RowSource>(self, (dy, x_hat, gamma): (V, V, V)) -> V {
        match (T::ONE_SWEEP, T::CENTRED) {
            (true, _) => dy * gamma * self.x.rstd,
            (false, true) => dy.mul_add(gamma, self.minus_c).mul_add(self.x.rstd, x_hat * self.k),
            (false, false) => (dy * gamma).mul_add(self.x.rstd, x_hat * self.k),
        }
    }
}

/// Adds to `N` sums of a column.
#[inline(always)]
fn add_to_sums<V: Float, const N: usize>(sums: &mut [V; N], dy: V, x_hat: V) {
    if N > 0 {
        sums[0] = dy.mul_add(x_hat, sums[0]);
    }
    if N > 1 {
        sums[1] = sums[1] + dy;
    }
}

/// dx is written, and nothing else is done with it.
pub(super) const PLAIN: u8 = 0;
/// Something may be added to dx, and it may have a second place.
pub(super) const EXTRA: u8 = 1;
/// Likewise, and then there may be dropout, or the sum of dx: of one row at a time.
pub(super) const DROPPED: u8 = 2;

/// What is done with dx beside writing it.
pub(super) struct Extra<'w, const R: usize> {
    pub(super) has_dsum: bool,
    pub(super) second: Option<Group<'w, R>>,
    pub(super) adds: bool,
    pub(super) dropped: Option<DroppedPart<'w>>,
    pub(super) dbias: Option<DbiasSums<'w>>,
}

/// The second sweep over `R` rows: dx, and the sums of columns. The next group of rows is `ahead` elements on.
#[inline(always)]
pub(super) fn write_dx<
    T: RowSource,
    V: Float,
    L: LaneSums<V, N>,
    const STREAM: bool,
    const R: usize,
    const N: usize,
    const KIND: u8,
>(
    token: V::Token,
    group: &mut Group<'_, R, INPUTS>,
    rows: &[Coefficients<V>; R],
    gamma: Gamma<'_>,
    ahead: usize,
    mut extra: Extra<'_, R>,
    sums: &mut L,
) {
    let zero = V::splat(token, V::Elem::from_f64(0.0));
    let (mut dy, mut x_hat) = ([zero; R], [zero; R]);
    let second_streams = extra.second.as_ref().is_some_and(
        #[inline(always)]
        |second| second.streams(),
    );
    for i in 0..group.full() {
        let factor = gamma.load(token, i);
        for r in 0..R {
            x_hat[r] = rows[r].x.apply::<T>(group.load_input(token, FORWARD_X, r, i));
            dy[r] = group.load(token, r, i);
            group.prefetch(r, i, ahead);
            group.prefetch_input(FORWARD_X, r, i, ahead);
        }
        let mut of_columns = sums.load(token, i);
        for r in 0..R {
            add_to_sums(&mut of_columns, dy[r], x_hat[r]);
        }
        sums.store(i, of_columns);
        for r in 0..R {
            let mut dx = rows[r].dx::<T>((dy[r], x_hat[r], factor)).to_single();
            if KIND != PLAIN && extra.has_dsum {
                dx = group.load_input::<Single<V>>(token, DSUM, r, i) + dx;
            }
            if let (true, Some(second)) = (KIND != PLAIN, &mut extra.second) {
                let added =
                    if extra.adds { second.load::<Single<V>>(token, r, i) + dx } else { dx };
                if STREAM && second_streams {
                    second.store::<_, true>(r, i, added);
                } else {
                    second.store::<_, false>(r, i, added);
                }
            }
            if let (DROPPED, Some(dropped)) = (KIND, extra.dropped) {
                dx = dropped.apply(token, i, dx);
            }
            group.store::<_, STREAM>(r, i, dx);
            if let (DROPPED, Some(dbias)) = (KIND, &mut extra.dbias) {
                dbias.add(token, i, dx);
            }
        }
    }
    if group.tail() > 0 {
        let factor = gamma.columns(group.full() * LANES, group.cols()).load_tail(token);
        let mut of_columns = sums.load_tail(token);
        for r in 0..R {
            let fill = V::Elem::from_f64(0.0);
            let x = rows[r].x.apply::<T>(group.load_input_tail(token, FORWARD_X, r, fill));
            let dy: V = group.load_tail(token, r, fill);
            add_to_sums(&mut of_columns, dy, x);
            let mut dx = rows[r].dx::<T>((dy, x, factor)).to_single();
            if KIND != PLAIN && extra.has_dsum {
                dx = group.load_input_tail::<Single<V>>(token, DSUM, r, 0.0) + dx;
            }
            if let (true, Some(second)) = (KIND != PLAIN, &mut extra.second) {
                let added =
                    if extra.adds { second.load_tail::<Single<V>>(token, r, 0.0) + dx } else { dx };
                second.store_tail(r, added);
            }
            if let (DROPPED, Some(dropped)) = (KIND, extra.dropped) {
                dx = dropped.apply(token, group.full(), dx);
            }
            group.store_tail(r, dx);
            if let (DROPPED, Some(dbias)) = (KIND, &mut extra.dbias) {
                dbias.add_tail(token, dx);
            }
        }
        sums.store_tail(of_columns);
    }
}

/// f32 lanes of the same backend.
type Single<V> = <<V as Float>::Token as Simd>::F32;

/// The sums of columns alone.
#[inline(always)]
pub(super) fn add_columns<
    T: RowSource,
    V: Float,
    L: LaneSums<V, N>,
    const R: usize,
    const N: usize,
>(
    token: V::Token,
    group: &Group<'_, R, INPUTS>,
    rows: &[Coefficients<V>; R],
    sums: &mut L,
) {
    for i in 0..group.full() {
        let mut of_columns = sums.load(token, i);
        for r in 0..R {
            let x = rows[r].x.apply::<T>(group.load_input(token, FORWARD_X, r, i));
            add_to_sums(&mut of_columns, group.load(token, r, i), x);
        }
        sums.store(i, of_columns);
    }
    if group.tail() > 0 {
        let mut of_columns = sums.load_tail(token);
        for r in 0..R {
            let fill = V::Elem::from_f64(0.0);
            let x = rows[r].x.apply::<T>(group.load_input_tail(token, FORWARD_X, r, fill));
            add_to_sums(&mut of_columns, group.load_tail(token, r, fill), x);
        }
        sums.store_tail(of_columns);
    }
}
