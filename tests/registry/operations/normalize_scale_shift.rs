//! `NormalizeScaleShift`: backward with statistics of rows, and forward.
#![forbid(unsafe_code)]

use super::buffers::*;
use super::calls::*;
use super::operation;
use crate::registry::Kind::F64;
use crate::registry::{Operation, Takes};

pub const ROWS: &[Operation] = &[
    operation(
        "NormalizeScaleShift::backward",
        Takes::Rows,
        &[
            FORWARD_X,
            read("row_mean", F64, rows_of).called("mean"),
            read("row_rstd", F64, rows_of).called("rstd"),
            gamma(cols_of),
            DGAMMA,
            DBETA,
            ADD_DGAMMA,
            ADD_DBETA,
            GIVEN_DROPOUT,
            ADD_DBIAS,
            DSUM,
            DRESIDUAL,
            ADD_DRESIDUAL,
            VALID_BITS,
            scratch(backward_scratch),
        ],
        |s, dy, bag| {
            let x = bag.f32("forward_x");
            let given = given(bag, true, ["row_mean", "row_rstd"]);
            done(normalize(s).backward(io(dy), x, s.rows, given, grad_args(bag)))
        },
    )
    .excludes(GRADIENT_EXCLUDES),
    operation(
        "NormalizeScaleShift::forward",
        Takes::Rows,
        &[
            read("row_mean", F64, rows_of).called("mean"),
            read("row_rstd", F64, rows_of).called("rstd"),
            gamma(cols_of),
            beta(cols_of),
            VALID_BITS,
        ],
        |s, x, bag| {
            let given = given(bag, true, ["row_mean", "row_rstd"]);
            done(normalize(s).forward(io(x), s.rows, given, norm_args(bag)))
        },
    ),
    operation(
        "NormalizeScaleShift::forward, columns",
        Takes::Rows,
        &[
            read("col_mean", F64, cols_of).called("mean"),
            read("col_rstd", F64, cols_of).called("rstd"),
            gamma(cols_of),
            beta(cols_of),
            VALID_BITS,
        ],
        |s, x, bag| {
            let given = given(bag, false, ["col_mean", "col_rstd"]);
            done(normalize(s).forward(io(x), s.rows, given, norm_args(bag)))
        },
    ),
    operation(
        "NormalizeScaleShift::forward, channels first",
        Takes::Elements,
        &[
            read("row_mean", F64, rows_of).called("mean"),
            read("row_rstd", F64, rows_of).called("rstd"),
            gamma(rows_as_channels),
            beta(rows_as_channels),
            HALF,
        ],
        |s, x, bag| {
            let given = given(bag, false, ["row_mean", "row_rstd"]);
            let mut args = norm_args(bag);
            if let Some(valid) = half(s, bag) {
                args = args.valid(valid);
            }
            done(normalize(s).forward(io(x), first(s.rows), given, args))
        },
    ),
];
