//! Rows at pitches, with a second input and with terms: their parts, what panics, what is stored non-temporally.
#![forbid(unsafe_code)]

use super::scalar::{SENTINEL, Scalar, numbers, panics, same_memory};
use crate::element::ElementsMut;
use crate::gate::GateFunction;
use crate::shape::Rows;
use crate::simd::contract::{Float, Simd};
use crate::simd::inout::InOut;
use crate::simd::row_inputs::RowInputs;
use crate::simd::row_span::{ADDED, GATE, INPUTS, RowSpan, Sums};
use crate::simd::span::Span;
use crate::simd::sum_output::SumOutput;

#[test]
fn row_spans_panic_for_rows_beyond_their_buffers() {
    let (x, mut y) = (numbers(40), vec![SENTINEL; 40]);
    for shape in [(4, 9), (5, 10), (0, 1), (usize::MAX, 2)] {
        assert!(panics(|| RowSpan::new(Span::new(&x, &mut y), shape.0, shape.1)), "{shape:?}");
    }
    let mut rows = strided(&x, 11, &mut y, 10, (4, 7));
    for first in [3, 4, usize::MAX] {
        assert!(panics(|| rows.group::<2, 1>(first).full()), "2 from {first}");
    }
    for (first, apart) in [(0, 4), (1, 3), (0, usize::MAX), (usize::MAX, 1)] {
        assert!(
            panics(|| rows.group_apart::<2, 1>(first, apart).full()),
            "2 from {first}, {apart}"
        );
    }
    assert!(panics(|| rows.zero_rows(2, 5)) && panics(|| rows.zero_rows(3, 2)));
    assert!(panics(|| rows.widened(2).rows()), "rows that are not contiguous are not one");
    assert!(panics(|| rows.split_at(5)));
    assert!(same_memory(&y, &[SENTINEL; 40]));
}

/// The rows of a call, as its driver has them.
fn rows_of<'a>(io: InOut<'a, 'a>, shape: Rows) -> RowSpan<'a> {
    io.erased().plain_rows(shape).expect("the rows are there")
}

/// Rows of `x` and `y` at pitches.
fn strided<'a>(
    x: &'a [f32],
    x_pitch: usize,
    y: &'a mut [f32],
    y_pitch: usize,
    (rows, cols): (usize, usize),
) -> RowSpan<'a> {
    let shape = Rows::new(rows, cols).expect("a small shape");
    rows_of(InOut::strided(x, x_pitch, y, y_pitch), shape)
}

/// Four rows of ten.
fn whole<'a>(x: &'a [f32], y: &'a mut [f32]) -> RowSpan<'a> {
    RowSpan::new(Span::new(x, y), 4, 10)
}

#[test]
fn row_spans_panic_for_inputs_that_do_not_hold_their_rows() {
    let (x, mut y, mut other) = (numbers(40), vec![SENTINEL; 40], numbers(41));
    for (len, pitch) in [(39, 10), (0, 10), (40, 9), (40, 11), (40, usize::MAX)] {
        let what = format!("{len} elements, pitch {pitch}");
        let passed = &other[..len];
        assert!(panics(|| RowInputs::new(4, 10).gate(passed, pitch, None)), "{what}");
        assert!(panics(|| RowInputs::new(4, 10).added(passed, pitch)), "{what}");
        assert!(panics(|| RowInputs::new(4, 10).residual(passed, pitch)), "{what}");
        let residual = &mut other[..len];
        assert!(panics(|| RowInputs::new(4, 10).updated_residual(residual, pitch)), "{what}");
    }
    for len in [9, 11] {
        assert!(panics(|| RowInputs::new(4, 10).bias(&other[..len])), "a bias of {len}");
    }
    for shape in [(3, 10), (5, 10), (4, 9), (10, 4)] {
        let mut others = RowInputs::new(shape.0, shape.1);
        let io = whole(&x, &mut y);
        assert!(panics(|| io.with_inputs(&mut others).rows()), "inputs of {shape:?}");
    }

    let [mut others, mut more] = [(); 2].map(|()| RowInputs::new(4, 10));
    others.bias(&x[..10]);
    let io = whole(&x, &mut y).with_inputs(&mut others);
    assert!(panics(|| io.with_inputs(&mut more).rows()), "a span has inputs once");

    let mut others = RowInputs::new(4, 10);
    others.updated_residual(&mut other[..40], 10);
    let mut rows = whole(&x, &mut y).with_inputs(&mut others);
    for (first, count) in [(0, 5), (3, 2), (4, 1), (usize::MAX, 1), (1, usize::MAX)] {
        assert!(panics(|| rows.sums((first, count), (0, 10)).is_some()), "{count} from {first}");
    }
    for part in [(0, 31), (11, 10), (31, 31), (1, usize::MAX)] {
        assert!(panics(|| rows.sums((1, 3), part).is_some()), "elements {part:?} of three rows");
    }
    assert_eq!(rows.rows_of_terms(3), Some(3));
    assert!(rows.sums((1, 3), (0, 30)).is_some_and(|sums| sums.rows.cols() == 30));
    assert!(rows.products((1, 3), (0, 30)).is_none(), "there is no gate");
    drop(rows);
    let bias = &numbers(10);
    let mut others = RowInputs::new(4, 10);
    others.bias(bias);
    let mut rows = whole(&x, &mut y).with_inputs(&mut others);
    assert_eq!(rows.rows_of_terms(3), Some(1), "every row has the same bias");
    assert!(panics(|| rows.sums((1, 3), (0, 30)).is_some()));
    drop(rows);
    let mut plain = whole(&x, &mut y);
    assert!(plain.sums((0, 4), (0, 40)).is_none());
    drop(plain);
    let mut others = RowInputs::new(4, 10);
    others.gate(&x, 10, Some(GateFunction::Silu));
    let mut rows = whole(&x, &mut y).with_inputs(&mut others);
    for (first, count) in [(0, 5), (3, 2), (4, 1), (usize::MAX, 1), (1, usize::MAX)] {
        let part = (0, 10);
        assert!(panics(|| rows.products((first, count), part).is_some()), "{count} from {first}");
    }
    assert!(panics(|| rows.products((1, 3), (0, 31)).is_some()), "31 elements of three rows");
    assert!(rows.sums((1, 3), (0, 30)).is_none(), "there is no sum");
    assert!(rows.products((1, 3), (10, 30)).is_some_and(|(_, factors)| factors.cols() == 20));
    drop(rows);

    let mut sum = vec![SENTINEL; 40];
    let mut assert_panics = |inputs: RowInputs<'_>, (rows, cols), what: &str| {
        let shape = Rows::new(rows, cols).expect("a small shape");
        let output = SumOutput::Slice(ElementsMut::F32(&mut sum));
        assert!(panics(|| output.write_whole(None, inputs, shape, |_| Ok(()))), "{what}");
    };
    let mut gate = RowInputs::new(4, 10);
    gate.gate(&x, 10, None);
    assert_panics(gate, (4, 10), "without addends there is no sum");
    let mut updated = RowInputs::new(4, 10);
    updated.updated_residual(&mut other[..40], 10);
    assert_panics(updated, (4, 10), "the residual is the place of the sum");
    let mut residual = RowInputs::new(4, 10);
    residual.residual(&x, 10);
    assert_panics(residual, (10, 4), "the sum has another shape");
    assert!(same_memory(&y, &[SENTINEL; 40]));
}

/// y is written by non-temporal stores unless it is read: as x, as a term, or as the sum.
/// Inputs that a part of some rows gets have a row for each of its own, the first for its first.
#[test]
fn inputs_of_a_part_begin_with_its_first_row() {
    let (x, mut y) = (numbers(40), vec![SENTINEL; 40]);
    let (_, high) = whole(&x, &mut y).split_at(1);
    let shape = (high.rows(), high.cols());
    let added = numbers(shape.0 * shape.1);
    let mut inputs = RowInputs::new(shape.0, shape.1);
    inputs.added(&added, shape.1);
    let (_, mut last) = high.with_inputs(&mut inputs).split_at(shape.0 - 1);
    let group = last.group::<1, INPUTS>(0);
    let [row] = group.rows_of(ADDED);
    assert_eq!(row, &added[(shape.0 - 1) * shape.1..]);
}

#[test]
fn row_spans_stream_only_what_is_not_read() {
    const SUM: bool = true;
    type Set = for<'i> fn(&mut RowInputs<'i>, &'i [f32]);
    let (nothing, gate, added): (Set, Set, Set) =
        (|_, _| (), |io, other| io.gate(other, 10, None), |io, other| io.added(other, 10));
    let gate_first: Set = |io, other| io.gate(other, 10, Some(GateFunction::Sigmoid));
    let (residual, bias): (Set, Set) =
        (|io, other| io.residual(other, 10), |io, other| io.bias(&other[..10]));
    let (x, mut y, mut other) = (numbers(40), vec![SENTINEL; 40], numbers(40));
    let (mut sum, shape) = (vec![SENTINEL; 40], Rows::new(4, 10).expect("a small shape"));
    let mut streams = |in_place: bool, has_sum: bool, set: Set| {
        let mut others = RowInputs::new(4, 10);
        set(&mut others, &other);
        let io = if in_place { Span::in_place(&mut y) } else { Span::new(&x, &mut y) };
        let io = RowSpan::new(io, 4, 10);
        let mut streams = false;
        let write = |mut others: RowInputs<'_>| {
            streams = io.with_inputs(&mut others).streaming().streams();
            Ok(())
        };
        let written = if has_sum {
            SumOutput::Slice(ElementsMut::F32(&mut sum)).write_whole(None, others, shape, write)
        } else {
            write(others)
        };
        written.expect("the sum has the shape");
        streams
    };
    for in_place in [false, true] {
        for set in [nothing, gate, added] {
            assert_eq!(streams(in_place, !SUM, set), !in_place);
        }
        for set in [residual, bias] {
            assert_eq!(streams(in_place, SUM, set), !in_place);
            assert!(!streams(in_place, !SUM, set), "the sum is made in y");
        }
        assert!(!streams(in_place, !SUM, gate_first), "the product is made in y");
        let both: Set = |io, other| {
            io.residual(other, 10);
            io.gate(other, 10, Some(GateFunction::Silu));
        };
        assert!(!streams(in_place, SUM, both), "so is that of a sum which is kept");
    }
    let mut updates = |io: Span<'_>| {
        let mut others = RowInputs::new(4, 10);
        others.updated_residual(&mut other, 10);
        RowSpan::new(io, 4, 10).with_inputs(&mut others).streaming().streams()
    };
    assert!(updates(Span::new(&x, &mut y)));
    assert!(!updates(Span::in_place(&mut y)));
}

const ROWS: usize = 4;
const COLS: usize = 5;

/// Writes x + 2 * gate + 4 * what is added, row by row; the sums of addends are made before, and then products with a gate that
/// comes first.
#[inline(always)]
fn combine<S: Simd>(token: S, mut rows: RowSpan<'_>) {
    let (two, four) = (S::F32::splat(token, 2.0), S::F32::splat(token, 4.0));
    for r in 0..rows.rows() {
        let one = ((r, 1), (0, COLS));
        if let Some(Sums { rows: mut terms, has_bias, has_residual }) = rows.sums(one.0, one.1) {
            let mut sum = terms.load_tail::<S::F32>(token, 0, 0.0);
            if has_bias {
                sum = sum + terms.load_input_tail(token, 1, 0, 0.0);
            }
            if has_residual {
                sum = sum + terms.load_input_tail(token, 2, 0, 0.0);
            }
            terms.store_tail(0, sum);
        }
        if let Some((_, mut factors)) = rows.products(one.0, one.1) {
            let x = factors.load_tail::<S::F32>(token, 0, 0.0);
            let product = x * factors.load_input_tail(token, 1, 0, 0.0);
            factors.store_tail(0, product);
        }
        let mut row = rows.group::<1, INPUTS>(r);
        let x = row.load_tail::<S::F32>(token, 0, 0.0);
        let gate: S::F32 = row.load_input_tail(token, GATE, 0, 0.0);
        let added: S::F32 = row.load_input_tail(token, ADDED, 0, 0.0);
        row.store_tail(0, x + two * gate + four * added);
    }
}

/// The rows of two parts are those of the whole: in x, y, every other input, the addends and their sum, at any pitches.
#[inline(always)]
pub(super) fn row_splits<E: Scalar, S: Simd>(token: S) {
    let in_parts = |at, rows: RowSpan<'_>| {
        let (low, high) = rows.split_at(at);
        assert_eq!((low.rows(), low.cols()), (at, COLS));
        assert_eq!((high.rows(), high.cols()), (ROWS - at, COLS));
        // The later rows first.
        combine(token, high);
        combine(token, low);
    };
    let shape = Rows::new(ROWS, COLS).expect("a small shape");
    // Elements of buffers are whole numbers, so that every sum is exact.
    let wide = |pitch: usize, factor: f32| -> Vec<f32> {
        (0..(ROWS - 1) * pitch + COLS).map(|i| (i + 1) as f32 * factor).collect()
    };
    for at in 0..=ROWS {
        for extra in [0, 6] {
            let pitches: [usize; 6] = core::array::from_fn(|i| COLS + i * extra);
            let [x_pitch, y_pitch, gate_pitch, added_pitch, residual_pitch, sum_pitch] = pitches;
            let (x, gate, added) =
                (wide(x_pitch, 1.0), wide(gate_pitch, 3.0), wide(added_pitch, 5.0));
            let (residual, bias) = (wide(residual_pitch, 7.0), wide(COLS, 11.0));
            let blank = |pitch| vec![SENTINEL; (ROWS - 1) * pitch + COLS];
            let expected = |pitch: usize, f: &dyn Fn(usize, usize) -> f32| {
                let mut expected = blank(pitch);
                for r in 0..ROWS {
                    for c in 0..COLS {
                        expected[r * pitch + c] = f(r, c);
                    }
                }
                expected
            };
            let of_x = |r: usize, c: usize| x[r * x_pitch + c];
            let beside = |r: usize, c: usize| {
                2.0 * gate[r * gate_pitch + c] + 4.0 * added[r * added_pitch + c]
            };
            let sum = |r: usize, c: usize| of_x(r, c) + bias[c] + residual[r * residual_pitch + c];
            let what = format!("split at {at}, pitches {pitches:?}");

            let mut y = blank(y_pitch);
            let io = rows_of(InOut::strided(&x, x_pitch, &mut y, y_pitch), shape);
            let mut others = RowInputs::new(ROWS, COLS);
            others.gate(&gate, gate_pitch, None);
            others.added(&added, added_pitch);
            in_parts(at, io.with_inputs(&mut others));
            let expected_y = expected(y_pitch, &|r, c| of_x(r, c) + beside(r, c));
            assert!(same_memory(&y, &expected_y), "{what}: {y:?}");

            let (mut y, mut kept) = (blank(y_pitch), blank(sum_pitch));
            let io = rows_of(InOut::strided(&x, x_pitch, &mut y, y_pitch), shape);
            let mut others = RowInputs::new(ROWS, COLS);
            others.gate(&gate, gate_pitch, None);
            others.added(&added, added_pitch);
            others.bias(&bias[..COLS]);
            others.residual(&residual, residual_pitch);
            let output = SumOutput::Slice(ElementsMut::F32(&mut kept));
            let written =
                output.write_whole(Some(sum_pitch.into()), others, shape, |mut others| {
                    in_parts(at, io.with_inputs(&mut others));
                    Ok(())
                });
            assert_eq!(written, Ok(()), "{what}");
            let expected_y = expected(y_pitch, &|r, c| sum(r, c) + beside(r, c));
            assert!(same_memory(&kept, &expected(sum_pitch, &sum)), "sum, {what}: {kept:?}");
            assert!(same_memory(&y, &expected_y), "with a sum, {what}: {y:?}");

            // The same sum times the gate, and x times the gate.
            let of_gate = |r: usize, c: usize| gate[r * gate_pitch + c];
            let (mut y, mut kept) = (blank(y_pitch), blank(sum_pitch));
            let io = rows_of(InOut::strided(&x, x_pitch, &mut y, y_pitch), shape);
            let mut others = RowInputs::new(ROWS, COLS);
            others.gate(&gate, gate_pitch, Some(GateFunction::Silu));
            others.bias(&bias[..COLS]);
            others.residual(&residual, residual_pitch);
            let output = SumOutput::Slice(ElementsMut::F32(&mut kept));
            let written =
                output.write_whole(Some(sum_pitch.into()), others, shape, |mut others| {
                    in_parts(at, io.with_inputs(&mut others));
                    Ok(())
                });
            assert_eq!(written, Ok(()), "{what}");
            let product = |r, c| 5.0 * sum(r, c) * of_gate(r, c) + 2.0 * of_gate(r, c);
            assert!(same_memory(&kept, &expected(sum_pitch, &sum)), "sum, {what}: {kept:?}");
            let expected_y = expected(y_pitch, &product);
            assert!(same_memory(&y, &expected_y), "a product of sums, {what}: {y:?}");

            let mut xy = x.clone();
            let io = rows_of(InOut::strided_in_place(&mut xy, x_pitch), shape);
            let mut others = RowInputs::new(ROWS, COLS);
            others.gate(&gate, gate_pitch, Some(GateFunction::Silu));
            in_parts(at, io.with_inputs(&mut others));
            for r in 0..ROWS {
                let row = &xy[r * x_pitch..][..COLS];
                let product = |c| 5.0 * of_x(r, c) * of_gate(r, c) + 2.0 * of_gate(r, c);
                assert!((0..COLS).all(|c| row[c] == product(c)), "a product in place, {what}");
            }

            // The sum is dropped: it is in y while it is needed.
            let mut y = blank(y_pitch);
            let io = rows_of(InOut::strided(&x, x_pitch, &mut y, y_pitch), shape);
            let mut others = RowInputs::new(ROWS, COLS);
            others.residual(&residual, residual_pitch);
            others.bias(&bias[..COLS]);
            // The sum stands for the gate and what is added, where there is none.
            in_parts(at, io.with_inputs(&mut others));
            let expected_y = expected(y_pitch, &|r, c| 7.0 * sum(r, c));
            assert!(same_memory(&y, &expected_y), "without a sum, {what}: {y:?}");

            let (mut y, mut updated) = (blank(y_pitch), residual.clone());
            let io = rows_of(InOut::strided(&x, x_pitch, &mut y, y_pitch), shape);
            let mut others = RowInputs::new(ROWS, COLS);
            others.updated_residual(&mut updated, residual_pitch);
            in_parts(at, io.with_inputs(&mut others));
            let plain = |r: usize, c: usize| of_x(r, c) + residual[r * residual_pitch + c];
            let expected_y = expected(y_pitch, &|r, c| 7.0 * plain(r, c));
            for r in 0..ROWS {
                let row = &updated[r * residual_pitch..][..COLS];
                assert!((0..COLS).all(|c| row[c] == plain(r, c)), "residual, {what}");
            }
            assert!(same_memory(&y, &expected_y), "added to, {what}: {y:?}");

            let mut xy = x.clone();
            in_parts(at, rows_of(InOut::strided_in_place(&mut xy, x_pitch), shape));
            for r in 0..ROWS {
                let row = &xy[r * x_pitch..][..COLS];
                assert!((0..COLS).all(|c| row[c] == 7.0 * of_x(r, c)), "in place, {what}");
            }
        }
    }
}
