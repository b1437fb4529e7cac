//! Dropout and penalties.
#![forbid(unsafe_code)]

use evenkeel::{DropoutArgs, Mask, MaskMut};

use super::buffers::*;
use super::calls::*;
use super::operation;
use crate::registry::Kind::{F32, U8};
use crate::registry::Role::Update;
use crate::registry::{Buffer, Operation, Takes};

const KEPT_MASKS: [Buffer; 2] = [
    write("mask", U8, packed).option("mask"),
    write("mask_bytes", U8, elements).called("mask").option("mask_bytes"),
];
const ONE_MASK: &[(&str, &str)] = &[("mask", "mask_bytes")];

pub const ROWS: &[Operation] = &[
    operation("Dropout::mask, bits", Takes::Nothing, &[write("mask", U8, packed)], |s, _, bag| {
        dropout(s).mask(s.stream, s.rows.elements(), MaskMut::Packed(bag.u8_mut("mask")))
    }),
    operation(
        "Dropout::mask, bytes",
        Takes::Nothing,
        &[write("mask", U8, elements)],
        |s, _, bag| {
            dropout(s).mask(s.stream, s.rows.elements(), MaskMut::Bytes(bag.u8_mut("mask")))
        },
    ),
    operation("Dropout::forward", Takes::Elements, &KEPT_MASKS, |s, x, bag| {
        done(dropout(s).forward(io(x), dropout_args(s, bag)))
    })
    .excludes(ONE_MASK),
    operation(
        "Dropout::forward, given bits",
        Takes::Elements,
        &[read("bits", U8, packed).called("mask")],
        |s, x, bag| done(dropout(s).forward(io(x), Mask::Packed(bag.u8("bits")))),
    ),
    operation(
        "Dropout::backward, given bytes",
        Takes::Elements,
        &[read("bytes", U8, elements).called("mask")],
        |s, x, bag| done(dropout(s).backward(io(x), Mask::Bytes(bag.u8("bytes")))),
    ),
    operation("Dropout::backward", Takes::Elements, &KEPT_MASKS, |s, x, bag| {
        done(dropout(s).backward(io(x), dropout_args(s, bag)))
    })
    .excludes(ONE_MASK),
    operation(
        "Dropout::forward, whole rows",
        Takes::Elements,
        &[write("row_mask", U8, packed_rows).called("mask").option("mask")],
        |s, x, bag| {
            let mut args = DropoutArgs::draw(s.stream).whole_rows(s.rows);
            if let Some(bits) = bag.maybe_u8_mut("row_mask") {
                args = args.keep_mask(MaskMut::Packed(bits));
            }
            done(dropout(s).forward(io(x), args))
        },
    ),
    operation(
        "Dropout::backward, whole channels",
        Takes::Elements,
        &[read("column_bits", U8, packed_cols).called("mask").from("bits")],
        |s, x, bag| {
            let args = DropoutArgs::given(Mask::Packed(bag.u8("column_bits")));
            done(dropout(s).backward(io(x), args.whole_channels(last(s.rows))))
        },
    ),
    operation("Dropout::forward_inference", Takes::Elements, &[], |s, x, _| {
        done(dropout(s).forward_inference(io(x)))
    }),
    operation(
        "Regularizer::penalty",
        Takes::Nothing,
        &[read("w", F32, elements).from("x")],
        |s, _, bag| done(regularizer(s).penalty(bag.f32("w"))),
    ),
    operation(
        "Regularizer::add_gradient",
        Takes::Nothing,
        &[
            read("w", F32, elements).from("x"),
            Buffer::new("gradient", F32, Update, elements).from("x"),
        ],
        |s, _, bag| regularizer(s).add_gradient(bag.f32("w"), bag.f32_mut("gradient")),
    ),
    operation(
        "Regularizer::penalty_and_add_gradient",
        Takes::Nothing,
        &[
            read("w", F32, elements).from("x"),
            Buffer::new("gradient", F32, Update, elements).from("x"),
        ],
        |s, _, bag| {
            done(regularizer(s).penalty_and_add_gradient(bag.f32("w"), bag.f32_mut("gradient")))
        },
    ),
    operation("Regularizer::decay", Takes::Elements, &[], |s, x, _| {
        done(regularizer(s).decay(io(x), s.rate))
    }),
    operation("Regularizer::proximal", Takes::Elements, &[], |s, x, _| {
        done(regularizer(s).proximal(io(x), s.rate))
    }),
];
