//! Backward passes of LayerNorm and RmsNorm.
#![forbid(unsafe_code)]

use evenkeel::{GateFunction, GatePlace, InOut};

use super::buffers::*;
use super::calls::*;
use super::operation;
use crate::registry::Kind::F32;
use crate::registry::{DROPOUT_P, DROPOUT_STREAM, Operation, Takes, group_size};

pub const ROWS: &[Operation] = &[
    operation(
        "LayerNorm::backward",
        Takes::Rows,
        &[
            FORWARD_X,
            gamma(cols_of),
            SAVED_MEAN,
            SAVED_RSTD,
            DGAMMA,
            DBETA,
            ADD_DGAMMA,
            ADD_DBETA,
            GIVEN_DROPOUT,
            DBIAS,
            ADD_DBIAS,
            DSUM,
            DRESIDUAL,
            ADD_DRESIDUAL,
            VALID_BITS,
            scratch(backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            done(layer_norm(s).backward(io(dy), x, s.rows, grad_args(bag)))
        },
    )
    .excludes(GRADIENT_EXCLUDES),
    operation(
        "LayerNorm::backward, read only",
        Takes::Nothing,
        &[
            read("dy", F32, elements).from("x"),
            FORWARD_X,
            gamma(cols_of),
            SAVED_MEAN,
            SAVED_RSTD,
            DGAMMA,
            ADD_DBETA,
            VALID_BYTES,
            scratch(backward_scratch),
        ],
        |s, _, bag| {
            let (dy, x) = (InOut::read_only(bag.f32("dy")), bag.f32("forward_x"));
            done(layer_norm(s).backward(dy, x, s.rows, grad_args(bag)))
        },
    ),
    operation(
        "RmsNorm::backward",
        Takes::Rows,
        &[
            FORWARD_X,
            gamma(cols_of),
            SAVED_RSTD,
            DGAMMA,
            DBETA,
            ADD_DGAMMA,
            ADD_DBETA,
            GIVEN_DROPOUT,
            DBIAS,
            ADD_DBIAS,
            DSUM,
            DRESIDUAL,
            ADD_DRESIDUAL,
            VALID_BITS,
            scratch(backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            done(rms_norm(s).backward(io(dy), x, s.rows, grad_args(bag)))
        },
    )
    .excludes(GRADIENT_EXCLUDES),
    operation(
        "RmsNorm::backward, 1 + gamma",
        Takes::Rows,
        &[FORWARD_X, gamma(cols_of), DGAMMA, DSUM],
        |s, dy, bag| {
            let (norm, x) = (rms_norm(s).with_one_plus_gamma(true), bag.f32("forward_x"));
            done(norm.backward(io(dy), x, s.rows, grad_args(bag)))
        },
    ),
    operation(
        "RmsNorm::backward, grouped",
        Takes::Rows,
        &[FORWARD_X, gamma(cols_of), SAVED_GROUPS, DGAMMA, DSUM, scratch(backward_scratch)],
        |s, dy, bag| {
            let (norm, x) = (rms_norm(s).with_group_size(group_size(s.rows)), bag.f32("forward_x"));
            done(norm.backward(io(dy), x, s.rows, grad_args(bag)))
        },
    ),
    operation(
        "LayerNorm::backward, gated",
        Takes::Rows,
        &[
            FORWARD_X,
            ALWAYS_GATE,
            gamma(cols_of),
            beta(cols_of),
            DGATE,
            ADD_DGATE,
            DBETA,
            GIVEN_DROPOUT,
            DBIAS,
            DRESIDUAL,
            VALID_BITS,
            scratch(backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            done(layer_norm(s).backward(io(dy), x, s.rows, grad_args(bag)))
        },
    )
    .excludes(&[("dgate", "add_dgate")]),
    operation(
        "RmsNorm::backward, gated first, grouped",
        Takes::Rows,
        &[
            FORWARD_X,
            ALWAYS_GATE,
            gamma(cols_of),
            SAVED_GROUPS,
            DGATE,
            ADD_DGATE,
            DGAMMA,
            GIVEN_DROPOUT,
            ADD_DBIAS,
            DSUM,
            ADD_DRESIDUAL,
            VALID_BYTES,
            scratch(backward_scratch),
        ],
        |s, dy, bag| {
            let norm = rms_norm(s).with_gate(GateFunction::Sigmoid, GatePlace::BeforeNorm);
            let norm = norm.with_group_size(group_size(s.rows));
            let x = bag.f32("forward_x");
            done(norm.backward(io(dy), x, s.rows, grad_args(bag)))
        },
    )
    .excludes(&[("dgate", "add_dgate")]),
    operation(
        "RmsNorm::backward, gated first, read only",
        Takes::Nothing,
        &[
            read("dy", F32, elements).from("x"),
            FORWARD_X,
            ALWAYS_GATE,
            gamma(cols_of),
            DGATE,
            DGAMMA,
            scratch(backward_scratch),
        ],
        |s, _, bag| {
            let norm = rms_norm(s).with_gate(GateFunction::Silu, GatePlace::BeforeNorm);
            let (dy, x) = (InOut::read_only(bag.f32("dy")), bag.f32("forward_x"));
            done(norm.backward(dy, x, s.rows, grad_args(bag)))
        },
    ),
    operation(
        "LayerNorm::backward, dropout drawn again",
        Takes::Rows,
        &[FORWARD_X, gamma(cols_of), DGAMMA, DBIAS, DSUM, DRESIDUAL, VALID_BITS],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            let args = grad_args(bag).dropout(DROPOUT_P, DROPOUT_STREAM);
            done(layer_norm(s).backward(io(dy), x, s.rows, args))
        },
    ),
];
