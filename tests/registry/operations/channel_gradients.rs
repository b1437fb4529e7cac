//! Backward passes of columns and channels.
#![forbid(unsafe_code)]

use evenkeel::{GradientSums, InOut, Mask, ValidRows};

use super::buffers::*;
use super::calls::*;
use super::operation;
use crate::registry::Kind::{F32, F64, U8, Usize};
use crate::registry::{Operation, Takes};

pub const ROWS: &[Operation] = &[
    operation(
        "BatchNorm::backward",
        Takes::Rows,
        &[
            FORWARD_X,
            gamma(cols_of),
            saved_mean(cols_of),
            saved_rstd(cols_of),
            DGAMMA,
            DBETA,
            ADD_DGAMMA,
            ADD_DBETA,
            VALID_BITS,
            scratch(batch_backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            done(batch_norm(s).backward(io(dy), x, s.rows, grad_args(bag)))
        },
    )
    .excludes(GRADIENT_EXCLUDES),
    operation(
        "BatchNorm::backward, channels first",
        Takes::Elements,
        &[
            FORWARD_X,
            gamma(one),
            saved_mean(one),
            saved_rstd(one),
            dgamma(one),
            add_dbeta(one),
            read("bits", U8, packed).called("mask").option("valid"),
            scratch(plane_backward_scratch),
        ],
        |s, dy, bag| {
            let (x, mut args) = (bag.f32("forward_x"), grad_args(bag));
            if let Some(bits) = bag.maybe_u8("bits") {
                args = args.valid(ValidRows::Mask(Mask::Packed(bits)));
            }
            done(batch_norm(s).backward(io(dy), x, planes(s.rows), args))
        },
    ),
    operation(
        "BatchNorm::backward, read only",
        Takes::Nothing,
        &[
            read("dy", F32, elements).from("x"),
            FORWARD_X,
            gamma(cols_of),
            saved_mean(cols_of),
            saved_rstd(cols_of),
            DGAMMA,
            ADD_DBETA,
            VALID_BYTES,
            scratch(batch_backward_scratch),
        ],
        |s, _, bag| {
            let (dy, x) = (InOut::read_only(bag.f32("dy")), bag.f32("forward_x"));
            done(batch_norm(s).backward(dy, x, s.rows, grad_args(bag)))
        },
    ),
    operation(
        "BatchNorm::backward_inference",
        Takes::Rows,
        &[
            FORWARD_X,
            read("running_mean", F32, cols_of),
            read("running_var", F32, cols_of),
            gamma(cols_of),
            DGAMMA,
            ADD_DBETA,
            VALID_BITS,
            scratch(batch_backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            let running = (bag.f32("running_mean"), bag.f32("running_var"));
            done(batch_norm(s).backward_inference(io(dy), x, s.rows, running, grad_args(bag)))
        },
    ),
    operation(
        "BatchNorm::backward_apply",
        Takes::Rows,
        &[
            FORWARD_X,
            read("sum_dy", F64, cols_of).from("col_mean"),
            read("sum_dy_x_hat", F64, cols_of).from("col_mean"),
            read("saved_mean", F64, cols_of).called("mean").from("col_mean"),
            read("saved_rstd", F64, cols_of).called("rstd").from("col_rstd"),
            gamma(cols_of),
            VALID_BITS,
            scratch(batch_backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            let count = (s.rows.rows() as u64).saturating_add(5);
            let sums = GradientSums::new(count, bag.f64("sum_dy"), bag.f64("sum_dy_x_hat"));
            done(batch_norm(s).backward_apply(io(dy), x, s.rows, sums, grad_args(bag)))
        },
    ),
    operation(
        "NormalizeScaleShift::backward, columns",
        Takes::Rows,
        &[
            FORWARD_X,
            read("col_mean", F64, cols_of).called("mean"),
            read("col_rstd", F64, cols_of).called("rstd"),
            gamma(cols_of),
            DGAMMA,
            ADD_DBETA,
            VALID_BITS,
            scratch(batch_backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            let given = given(bag, false, ["col_mean", "col_rstd"]);
            done(normalize(s).backward(io(dy), x, s.rows, given, grad_args(bag)))
        },
    ),
    operation(
        "GroupNorm::backward, planes",
        Takes::Elements,
        &[
            FORWARD_X,
            gamma(one),
            read("lengths", Usize, rows_of).option("valid"),
            SAVED_MEAN,
            SAVED_RSTD,
            dgamma(one),
            add_dbeta(one),
            scratch(group_backward_scratch),
        ],
        |s, dy, bag| {
            let (x, mut args) = (bag.f32("forward_x"), grad_args(bag));
            if let Some(lengths) = bag.maybe_usize("lengths") {
                args = args.valid(ValidRows::Lengths { lengths, steps: s.rows.cols() });
            }
            done(group_norm(s).backward(io(dy), x, planes(s.rows), args))
        },
    ),
    operation(
        "GroupNorm::backward, channels last",
        Takes::Elements,
        &[
            FORWARD_X,
            gamma(cols_of),
            VALID_BITS,
            saved_mean(single),
            saved_rstd(single),
            DGAMMA,
            ADD_DBETA,
            scratch(last_backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            done(group_norm(s).backward(io(dy), x, last(s.rows), grad_args(bag)))
        },
    ),
    operation(
        "InstanceNorm::backward, channels first",
        Takes::Elements,
        &[
            FORWARD_X,
            gamma(rows_as_channels),
            SAVED_MEAN,
            SAVED_RSTD,
            dgamma(rows_of),
            add_dbeta(rows_of),
            HALF,
            scratch(instance_backward_scratch),
        ],
        |s, dy, bag| {
            let (x, mut args) = (bag.f32("forward_x"), grad_args(bag));
            if let Some(valid) = half(s, bag) {
                args = args.valid(valid);
            }
            done(instance_norm(s).backward(io(dy), x, first(s.rows), args))
        },
    ),
    operation(
        "LayerNorm::backward, channels first",
        Takes::Elements,
        &[
            FORWARD_X,
            gamma(rows_as_channels),
            saved_mean(cols_of),
            saved_rstd(cols_of),
            dgamma(rows_of),
            add_dbeta(rows_of),
            HALF,
            scratch(position_backward_scratch),
        ],
        |s, dy, bag| {
            let (x, mut args) = (bag.f32("forward_x"), grad_args(bag));
            if let Some(valid) = half(s, bag) {
                args = args.valid(valid);
            }
            done(layer_norm(s).backward(io(dy), x, first(s.rows), args))
        },
    ),
];
