//! BatchNorm, GroupNorm and InstanceNorm, forward.
#![forbid(unsafe_code)]

use evenkeel::{Mask, ValidRows};

use super::buffers::*;
use super::calls::*;
use super::operation;
use crate::registry::Kind::{F32, F64, U8, Usize};
use crate::registry::{Kind, Operation, Takes};

pub const ROWS: &[Operation] = &[
    operation(
        "BatchNorm::forward_training",
        Takes::Rows,
        &[
            gamma(cols_of),
            beta(cols_of),
            running("running_mean", cols_of),
            running("running_var", cols_of),
            VALID_BITS,
            VALID_BYTES,
            VALID_LENGTHS,
            mean(cols_of),
            rstd(cols_of),
            scratch(column_scratch),
        ],
        |s, x, bag| done(batch_norm(s).forward_training(io(x), s.rows, train_args(bag))),
    )
    .excludes(ONE_VALID),
    operation(
        "BatchNorm::forward_training, channels first",
        Takes::Elements,
        &[
            gamma(one),
            beta(one),
            running("running_mean", one),
            running("running_var", one),
            read("lengths", Usize, rows_of).option("valid"),
            mean(one),
            rstd(one),
            scratch(plane_scratch),
        ],
        |s, x, bag| {
            let mut args = train_args(bag);
            if let Some(lengths) = bag.maybe_usize("lengths") {
                args = args.valid(ValidRows::Lengths { lengths, steps: s.rows.cols() });
            }
            done(batch_norm(s).forward_training(io(x), planes(s.rows), args))
        },
    ),
    operation(
        "BatchNorm::training_statistics",
        Takes::Nothing,
        &[
            read("seen", Kind::Moments, cols_of).called("moments"),
            running("running_mean", cols_of),
            running("running_var", cols_of),
            write("mean", F64, cols_of),
            write("rstd", F64, cols_of),
        ],
        |s, _, bag| batch_norm(s).training_statistics(bag.moments("seen"), train_args(bag)),
    ),
    operation(
        "BatchNorm::forward_inference",
        Takes::Rows,
        &[
            read("running_mean", F32, cols_of),
            read("running_var", F32, cols_of),
            gamma(cols_of),
            beta(cols_of),
            VALID_BITS,
            VALID_BYTES,
            VALID_LENGTHS,
        ],
        |s, x, bag| {
            let (mean, var) = (bag.f32("running_mean"), bag.f32("running_var"));
            done(batch_norm(s).forward_inference(io(x), s.rows, mean, var, norm_args(bag)))
        },
    )
    .excludes(ONE_VALID),
    operation(
        "BatchNorm::forward_inference, channels first",
        Takes::Elements,
        &[
            read("running_mean", F32, one),
            read("running_var", F32, one),
            gamma(one),
            beta(one),
            read("bits", U8, packed).called("mask").option("valid"),
        ],
        |s, x, bag| {
            let (mean, var) = (bag.f32("running_mean"), bag.f32("running_var"));
            let mut args = norm_args(bag);
            if let Some(bits) = bag.maybe_u8("bits") {
                args = args.valid(ValidRows::Mask(Mask::Packed(bits)));
            }
            done(batch_norm(s).forward_inference(io(x), planes(s.rows), mean, var, args))
        },
    ),
    operation(
        "GroupNorm::forward, planes",
        Takes::Elements,
        &[
            gamma(one),
            beta(one),
            read("lengths", Usize, rows_of).option("valid"),
            mean(rows_of),
            rstd(rows_of),
        ],
        |s, x, bag| {
            let mut args = norm_args(bag);
            if let Some(lengths) = bag.maybe_usize("lengths") {
                args = args.valid(ValidRows::Lengths { lengths, steps: s.rows.cols() });
            }
            done(group_norm(s).forward(io(x), planes(s.rows), args))
        },
    ),
    operation(
        "GroupNorm::forward, channels first",
        Takes::Elements,
        &[gamma(rows_as_channels), beta(rows_as_channels), HALF, mean(single), rstd(single)],
        |s, x, bag| {
            let mut args = norm_args(bag);
            if let Some(valid) = half(s, bag) {
                args = args.valid(valid);
            }
            done(group_norm(s).forward(io(x), first(s.rows), args))
        },
    ),
    operation(
        "GroupNorm::forward, channels last",
        Takes::Elements,
        &[
            gamma(cols_of),
            beta(cols_of),
            VALID_BITS,
            mean(single),
            rstd(single),
            scratch(group_scratch),
        ],
        |s, x, bag| done(group_norm(s).forward(io(x), last(s.rows), norm_args(bag))),
    ),
    operation(
        "InstanceNorm::forward, planes",
        Takes::Elements,
        &[
            gamma(one),
            beta(one),
            read("bits", U8, packed).called("mask").option("valid"),
            mean(planes_of),
            rstd(planes_of),
        ],
        |s, x, bag| {
            let mut args = norm_args(bag);
            if let Some(bits) = bag.maybe_u8("bits") {
                args = args.valid(ValidRows::Mask(Mask::Packed(bits)));
            }
            done(instance_norm(s).forward(io(x), planes(s.rows), args))
        },
    ),
    operation(
        "InstanceNorm::forward, channels first",
        Takes::Elements,
        &[gamma(rows_as_channels), beta(rows_as_channels), HALF, mean(rows_of), rstd(rows_of)],
        |s, x, bag| {
            let mut args = norm_args(bag);
            if let Some(valid) = half(s, bag) {
                args = args.valid(valid);
            }
            done(instance_norm(s).forward(io(x), first(s.rows), args))
        },
    ),
    operation(
        "InstanceNorm::forward, channels last",
        Takes::Elements,
        &[
            gamma(cols_of),
            beta(cols_of),
            VALID_BITS,
            VALID_BYTES,
            VALID_LENGTHS,
            mean(cols_of),
            rstd(cols_of),
            scratch(group_scratch),
        ],
        |s, x, bag| done(instance_norm(s).forward(io(x), last(s.rows), norm_args(bag))),
    )
    .excludes(ONE_VALID),
];
