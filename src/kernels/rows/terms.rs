//! What x is made of before its rows are read: a sum, a product with a gate, or the product of the sum.
//!
//! * **A sum** is `(x + bias) + residual`, each rounded once, with dropout before the residual if there is any. Where y is written by
//!   non-temporal stores, the addends of the next rows are prefetched. In L2 that is slower (`docs/performance.md`, "What helped" and
//!   "What did not help").
//! * **A product** is `x * f(z)`, rounded once more. It is made in y, a group of rows at a time, so that both sweeps over it find it
//!   in L1 and have nothing else to do than without a gate. Its factors are prefetched, as gates are in the second sweep.
#![forbid(unsafe_code)]

use super::dropped::{DroppedPart, DroppedRows, in_parts};
use super::gate::gate;
use crate::gate::GateFunction;
use crate::kernels::elementwise::choices::REACH;
use crate::simd::{Group, Kernel, RowSpan, Simd, Sums};

/// Makes x of its terms, if it has any, before its rows are read.
#[inline(always)]
pub(super) fn make_rows<S: Simd>(
    token: S,
    io: &mut RowSpan<'_>,
    dropped: &mut Option<DroppedRows<'_>>,
    (first, rows): (usize, usize),
) {
    if let Some(at_a_time) = io.rows_of_terms(rows) {
        let part = (0, at_a_time * io.cols());
        token.outline(Terms { io, dropped, first, rows, at_a_time, part });
    }
}

/// The same of some columns of one row.
#[inline(always)]
pub(super) fn make_part<S: Simd>(
    token: S,
    io: &mut RowSpan<'_>,
    dropped: &mut Option<DroppedRows<'_>>,
    row: usize,
    part: (usize, usize),
) {
    if io.rows_of_terms(1).is_some() {
        token.outline(Terms { io, dropped, first: row, rows: 1, at_a_time: 1, part });
    }
}

/// Rows whose x is made of terms.
struct Terms<'w, 'a, 'd> {
    io: &'w mut RowSpan<'a>,
    dropped: &'w mut Option<DroppedRows<'d>>,
    first: usize,
    rows: usize,
    at_a_time: usize,
    /// Which elements of the rows that are one.
    part: (usize, usize),
}

impl Terms<'_, '_, '_> {
    /// How many elements on the next rows, or the next part, are.
    #[inline(always)]
    fn ahead(&self) -> usize {
        let len = self.part.1 - self.part.0;
        if self.at_a_time == 1 { self.rows * len } else { len }
    }
}

impl Kernel for Terms<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { io, dropped, first, rows, at_a_time, part } = self;
        if io.is_sum() {
            let (io, dropped) = (&mut *io, &mut *dropped);
            token.outline(Add(Terms { io, dropped, first, rows, at_a_time, part }));
        }
        if io.is_product() {
            token.outline(Multiply(Terms { io, dropped, first, rows, at_a_time, part }));
        }
    }
}

/// Makes sums.
struct Add<'w, 'a, 'd>(Terms<'w, 'a, 'd>);

impl Kernel for Add<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let ahead = self.0.io.streams().then_some(self.0.ahead());
        let Terms { io, dropped, first, rows, at_a_time, part } = self.0;
        let number = io.first();
        for row in (first..first + rows).step_by(at_a_time) {
            let Some(sums) = io.sums((row, at_a_time), part) else { return };
            if let Some(dropped) = dropped {
                token.outline(AddDropped { dropped, row: number + row, part, sums, ahead });
                continue;
            }
            let Sums { rows, has_bias, has_residual } = sums;
            match (has_bias, has_residual) {
                (false, true) => add::<S, false, true, false>(token, rows, ahead, None),
                (true, false) => add::<S, true, false, false>(token, rows, ahead, None),
                (true, true) => add::<S, true, true, false>(token, rows, ahead, None),
                (false, false) => add::<S, false, false, false>(token, rows, ahead, None),
            }
        }
    }
}

/// Makes products.
struct Multiply<'w, 'a, 'd>(Terms<'w, 'a, 'd>);

impl Kernel for Multiply<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let ahead = self.0.ahead();
        let Terms { io, first, rows, at_a_time, part, .. } = self.0;
        for row in (first..first + rows).step_by(at_a_time) {
            let Some((function, factors)) = io.products((row, at_a_time), part) else { return };
            match function {
                GateFunction::Silu => multiply(token, GateFunction::Silu, factors, ahead),
                GateFunction::Sigmoid => multiply(token, GateFunction::Sigmoid, factors, ahead),
            }
        }
    }
}

/// Makes sums with dropout, as much at a time as its choices reach.
struct AddDropped<'w, 'd> {
    dropped: &'w mut DroppedRows<'d>,
    /// The number of the first row.
    row: usize,
    part: (usize, usize),
    sums: Sums<'w>,
    ahead: Option<usize>,
}

impl Kernel for AddDropped<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { dropped, row, part: (first, end), sums, ahead } = self;
        let Sums { mut rows, has_bias, has_residual } = sums;
        for (start, end) in in_parts(first, end, REACH) {
            let dropped = Some(dropped.reach(token, row, (start, end)));
            let rows = rows.columns(start - first, end - first);
            match (has_bias, has_residual) {
                (false, true) => add::<S, false, true, true>(token, rows, ahead, dropped),
                (true, false) => add::<S, true, false, true>(token, rows, ahead, dropped),
                (true, true) => add::<S, true, true, true>(token, rows, ahead, dropped),
                (false, false) => add::<S, false, false, true>(token, rows, ahead, dropped),
            }
        }
    }
}

/// `dropout(x + bias) + residual`, of what is there, each rounded once. What is `ahead` elements on is prefetched.
#[inline(always)]
fn add<S: Simd, const BIAS: bool, const RESIDUAL: bool, const DROPPED: bool>(
    token: S,
    mut terms: Group<'_, 1, 3>,
    ahead: Option<usize>,
    dropped: Option<DroppedPart<'_>>,
) {
    for i in 0..terms.full() {
        let mut sum: S::F32 = terms.load_input(token, 0, 0, i);
        if BIAS {
            sum = sum + terms.load_input(token, 1, 0, i);
        }
        if let (true, Some(dropped)) = (DROPPED, dropped) {
            sum = dropped.apply(token, i, sum);
        }
        if RESIDUAL {
            sum = sum + terms.load_input(token, 2, 0, i);
        }
        if let Some(ahead) = ahead {
            terms.prefetch_input(0, 0, i, ahead);
            terms.prefetch_input(2, 0, i, ahead);
        }
        terms.store::<S::F32, false>(0, i, sum);
    }
    if terms.tail() > 0 {
        let mut sum: S::F32 = terms.load_input_tail(token, 0, 0, 0.0);
        if BIAS {
            sum = sum + terms.load_input_tail(token, 1, 0, 0.0);
        }
        if let (true, Some(dropped)) = (DROPPED, dropped) {
            sum = dropped.apply(token, terms.full(), sum);
        }
        if RESIDUAL {
            sum = sum + terms.load_input_tail(token, 2, 0, 0.0);
        }
        terms.store_tail(0, sum);
    }
}

/// `x * f(z)`, rounded once. What is `ahead` elements on is prefetched.
#[inline(always)]
fn multiply<S: Simd>(token: S, function: GateFunction, mut factors: Group<'_, 1, 2>, ahead: usize) {
    for i in 0..factors.full() {
        let x: S::F32 = factors.load_input(token, 0, 0, i);
        let z: S::F32 = factors.load_input(token, 1, 0, i);
        factors.prefetch_input(0, 0, i, ahead);
        factors.prefetch_input(1, 0, i, ahead);
        factors.store::<S::F32, false>(0, i, x * gate(token, function, z));
    }
    if factors.tail() > 0 {
        let x: S::F32 = factors.load_input_tail(token, 0, 0, 0.0);
        let z: S::F32 = factors.load_input_tail(token, 1, 0, 0.0);
        factors.store_tail(0, x * gate(token, function, z));
    }
}
