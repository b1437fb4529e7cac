//! LayerNorm and RmsNorm, forward.
#![forbid(unsafe_code)]

use evenkeel::{DropoutArgs, GateFunction, GatePlace, MaskMut};

use super::buffers::*;
use super::calls::*;
use super::operation;
use crate::registry::Kind::U8;
use crate::registry::{DROPOUT_P, DROPOUT_STREAM, Operation, Takes, group_size};

pub const ROWS: &[Operation] = &[
    operation(
        "LayerNorm::forward",
        Takes::Rows,
        &[
            gamma(cols_of),
            beta(cols_of),
            UPDATED,
            RESIDUAL,
            SUM,
            BIAS,
            DROPOUT,
            GATE,
            PLUS,
            VALID_BITS,
            mean(rows_of),
            rstd(rows_of),
        ],
        |s, x, bag| done(layer_norm(s).forward(io(x), s.rows, norm_args(bag))),
    )
    .excludes(ROW_EXCLUDES)
    .needs(ROW_NEEDS),
    operation(
        "LayerNorm::forward, channels first",
        Takes::Elements,
        &[gamma(rows_as_channels), beta(rows_as_channels), HALF, mean(cols_of), rstd(cols_of)],
        |s, x, bag| {
            let mut args = norm_args(bag);
            if let Some(valid) = half(s, bag) {
                args = args.valid(valid);
            }
            done(layer_norm(s).forward(io(x), first(s.rows), args))
        },
    ),
    operation(
        "LayerNorm::forward, channels last",
        Takes::Rows,
        &[
            gamma(cols_of),
            beta(cols_of),
            UPDATED,
            RESIDUAL,
            SUM,
            BIAS,
            DROPOUT,
            GATE,
            PLUS,
            VALID_BYTES,
            mean(rows_of),
            rstd(rows_of),
        ],
        |s, x, bag| done(layer_norm(s).forward(io(x), last(s.rows), norm_args(bag))),
    )
    .excludes(ROW_EXCLUDES)
    .needs(ROW_NEEDS),
    operation(
        "RmsNorm::forward",
        Takes::Rows,
        &[
            gamma(cols_of),
            beta(cols_of),
            UPDATED,
            RESIDUAL,
            SUM,
            BIAS,
            DROPOUT,
            GATE,
            PLUS,
            VALID_BITS,
            rstd(rows_of),
        ],
        |s, x, bag| done(rms_norm(s).forward(io(x), s.rows, norm_args(bag))),
    )
    .excludes(ROW_EXCLUDES)
    .needs(ROW_NEEDS),
    operation(
        "RmsNorm::forward, 1 + gamma",
        Takes::Rows,
        &[gamma(cols_of), beta(cols_of), RESIDUAL, GATE, PLUS, rstd(rows_of)],
        |s, x, bag| {
            let norm = rms_norm(s).with_one_plus_gamma(true);
            done(norm.forward(io(x), s.rows, norm_args(bag)))
        },
    ),
    operation(
        "LayerNorm::forward, gate before",
        Takes::Rows,
        &[
            gamma(cols_of),
            beta(cols_of),
            RESIDUAL,
            SUM,
            ALWAYS_GATE,
            PLUS,
            VALID_BITS,
            mean(rows_of),
            rstd(rows_of),
        ],
        |s, x, bag| {
            let norm = layer_norm(s).with_gate(GateFunction::Silu, GatePlace::BeforeNorm);
            done(norm.forward(io(x), s.rows, norm_args(bag)))
        },
    )
    .needs(&[("sum", &["residual"])]),
    operation(
        "RmsNorm::forward, gate before",
        Takes::Rows,
        &[
            gamma(cols_of),
            beta(cols_of),
            UPDATED,
            RESIDUAL,
            SUM,
            BIAS,
            GIVEN_DROPOUT,
            ALWAYS_GATE,
            PLUS,
            VALID_BITS,
            rstd(rows_of),
        ],
        |s, x, bag| {
            let norm = rms_norm(s).with_gate(GateFunction::Silu, GatePlace::BeforeNorm);
            done(norm.forward(io(x), s.rows, norm_args(bag)))
        },
    )
    .excludes(ROW_EXCLUDES)
    .needs(ROW_NEEDS),
    operation(
        "RmsNorm::forward, sigmoid before",
        Takes::Rows,
        &[gamma(cols_of), beta(cols_of), ALWAYS_GATE, rstd(rows_of)],
        |s, x, bag| {
            let norm = rms_norm(s).with_gate(GateFunction::Sigmoid, GatePlace::BeforeNorm);
            done(norm.forward(io(x), s.rows, norm_args(bag)))
        },
    ),
    operation(
        "RmsNorm::forward, sigmoid",
        Takes::Rows,
        &[gamma(cols_of), beta(cols_of), RESIDUAL, ALWAYS_GATE, PLUS, VALID_BITS, rstd(rows_of)],
        |s, x, bag| {
            let norm = rms_norm(s).with_gate(GateFunction::Sigmoid, GatePlace::AfterNorm);
            done(norm.forward(io(x), s.rows, norm_args(bag)))
        },
    ),
    operation(
        "RmsNorm::forward, groups",
        Takes::Rows,
        &[
            gamma(cols_of),
            beta(cols_of),
            UPDATED,
            RESIDUAL,
            SUM,
            BIAS,
            DROPOUT,
            GATE,
            PLUS,
            VALID_BITS,
            rstd(groups_of),
        ],
        |s, x, bag| {
            let norm = rms_norm(s).with_group_size(group_size(s.rows));
            done(norm.forward(io(x), s.rows, norm_args(bag)))
        },
    )
    .excludes(ROW_EXCLUDES)
    .needs(ROW_NEEDS),
    operation(
        "RmsNorm::forward, groups, gate before",
        Takes::Rows,
        &[gamma(cols_of), beta(cols_of), RESIDUAL, BIAS, ALWAYS_GATE, rstd(groups_of)],
        |s, x, bag| {
            let norm = rms_norm(s).with_gate(GateFunction::Silu, GatePlace::BeforeNorm);
            let norm = norm.with_group_size(group_size(s.rows));
            done(norm.forward(io(x), s.rows, norm_args(bag)))
        },
    ),
    operation(
        "LayerNorm::forward, whole rows dropped",
        Takes::Rows,
        &[
            gamma(cols_of),
            RESIDUAL,
            SUM,
            write("row_mask", U8, packed_rows).called("keep_mask").option("mask"),
            VALID_BYTES,
        ],
        |s, x, bag| {
            let mut drawn = DropoutArgs::draw(DROPOUT_STREAM).whole_rows(s.rows);
            if let Some(bits) = bag.maybe_u8_mut("row_mask") {
                drawn = drawn.keep_mask(MaskMut::Packed(bits));
            }
            let args = norm_args(bag).dropout(DROPOUT_P, drawn);
            done(layer_norm(s).forward(io(x), s.rows, args))
        },
    ),
];
