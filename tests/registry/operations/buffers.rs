//! The buffers of operations, and how long they are.
#![forbid(unsafe_code)]

use evenkeel::{BatchNorm, Channels, ColumnMoments, GroupNorm, InstanceNorm, LayerNorm, Rows};

use crate::registry::Kind::{F32, F64, U8, Usize};
use crate::registry::Role::{Read, Update, Write};
use crate::registry::{Buffer, Kind, group_size};

// Lengths.
pub fn elements(rows: Rows) -> Option<usize> {
    Some(rows.elements())
}
pub fn rows_of(rows: Rows) -> Option<usize> {
    Some(rows.rows())
}
pub fn cols_of(rows: Rows) -> Option<usize> {
    Some(rows.cols())
}
/// Of the groups of every row.
pub fn groups_of(rows: Rows) -> Option<usize> {
    Some(rows.elements() / group_size(rows))
}
/// A channel, if there are elements.
pub fn one(rows: Rows) -> Option<usize> {
    Some(rows.cols().min(1))
}
/// The channel of every row, if there are elements.
pub fn planes_of(rows: Rows) -> Option<usize> {
    Some(rows.rows() * rows.cols().min(1))
}
/// As many as there are rows, if there are values for them.
pub fn rows_as_channels(rows: Rows) -> Option<usize> {
    (rows.cols() >= rows.rows()).then_some(rows.rows())
}
/// A set of moments a column, of three places.
pub fn three_places(rows: Rows) -> Option<usize> {
    rows.cols().checked_mul(3)
}
pub fn single(_: Rows) -> Option<usize> {
    Some(1)
}
pub fn packed(rows: Rows) -> Option<usize> {
    Some(rows.elements().div_ceil(8))
}
pub fn packed_rows(rows: Rows) -> Option<usize> {
    Some(rows.rows().div_ceil(8))
}
pub fn packed_cols(rows: Rows) -> Option<usize> {
    Some(rows.cols().div_ceil(8))
}
pub fn column_scratch(rows: Rows) -> Option<usize> {
    Some(ColumnMoments::new().scratch_len(rows))
}
pub fn plane_scratch(rows: Rows) -> Option<usize> {
    Some(BatchNorm::new().scratch_len(planes(rows)))
}
pub fn backward_scratch(rows: Rows) -> Option<usize> {
    Some(LayerNorm::new().backward_scratch_len(rows))
}
pub fn batch_backward_scratch(rows: Rows) -> Option<usize> {
    Some(BatchNorm::new().backward_scratch_len(rows))
}
pub fn plane_backward_scratch(rows: Rows) -> Option<usize> {
    Some(BatchNorm::new().backward_scratch_len(planes(rows)))
}
pub fn group_backward_scratch(rows: Rows) -> Option<usize> {
    Some(GroupNorm::new().backward_scratch_len(planes(rows)))
}
pub fn instance_backward_scratch(rows: Rows) -> Option<usize> {
    Some(InstanceNorm::new().backward_scratch_len(first(rows)))
}
pub fn last_backward_scratch(rows: Rows) -> Option<usize> {
    Some(GroupNorm::new().backward_scratch_len(last(rows)))
}
pub fn position_backward_scratch(rows: Rows) -> Option<usize> {
    Some(LayerNorm::new().backward_scratch_len(first(rows)))
}
pub fn group_scratch(rows: Rows) -> Option<usize> {
    Some(GroupNorm::new().with_groups(1).scratch_len(last(rows)))
}

// The rows as samples: each the only channel of one; each a channel of the same one; each a position of the same one.
pub fn planes(rows: Rows) -> Channels {
    Channels::first(rows.rows(), rows.cols().min(1), rows.cols()).expect("as many as in rows")
}
pub fn first(rows: Rows) -> Channels {
    Channels::first(1, rows.rows(), rows.cols()).expect("as many as in rows")
}
pub fn last(rows: Rows) -> Channels {
    Channels::last(1, rows.rows(), rows.cols()).expect("as many as in rows")
}

// Buffers.
pub const fn read(name: &'static str, kind: Kind, len: fn(Rows) -> Option<usize>) -> Buffer {
    Buffer::new(name, kind, Read, len)
}
pub const fn write(name: &'static str, kind: Kind, len: fn(Rows) -> Option<usize>) -> Buffer {
    Buffer::new(name, kind, Write, len)
}
pub const fn gamma(len: fn(Rows) -> Option<usize>) -> Buffer {
    read("gamma", F32, len).option("gamma")
}
pub const fn beta(len: fn(Rows) -> Option<usize>) -> Buffer {
    read("beta", F32, len).option("beta")
}
pub const fn mean(len: fn(Rows) -> Option<usize>) -> Buffer {
    write("mean", F64, len).option("stats")
}
pub const fn rstd(len: fn(Rows) -> Option<usize>) -> Buffer {
    write("rstd", F64, len).option("stats")
}
pub const fn scratch(len: fn(Rows) -> Option<usize>) -> Buffer {
    write("scratch", F64, len).option("scratch").at_least()
}

pub const VALID_BITS: Buffer = read("row_bits", U8, packed_rows).called("mask").option("valid");
pub const VALID_BYTES: Buffer = read("row_bytes", U8, rows_of).called("mask").option("valid_bytes");
pub const VALID_LENGTHS: Buffer =
    read("row_lengths", Usize, rows_of).called("lengths").option("valid_lengths");
/// The first half of the positions of a sample.
pub const HALF: Buffer = read("half", Usize, single).called("lengths").option("valid");
pub const RESIDUAL: Buffer = read("residual", F32, elements).from("z").option("residual");
pub const UPDATED: Buffer = Buffer::new("updated", F32, Update, elements)
    .called("residual")
    .from("z")
    .option("update_residual");
pub const SUM: Buffer = write("sum", F32, elements).option("sum");
pub const BIAS: Buffer = read("bias", F32, cols_of).called("x_bias").from("beta").option("bias");
pub const GATE: Buffer = read("gate", F32, elements).from("z").option("gate");
/// A gate that is always there.
pub const ALWAYS_GATE: Buffer = read("gate", F32, elements).from("z");
pub const PLUS: Buffer = read("plus", F32, elements).from("z").option("plus");

/// Dropout of norms: drawn, and kept as bits; or given.
pub const DROPOUT: Buffer = write("drop_mask", U8, packed).called("keep_mask").option("dropout");
pub const GIVEN_DROPOUT: Buffer =
    read("drop_bits", U8, packed).called("dropout_mask").from("bits").option("dropout_given");

/// The x of a backward pass, which reads dy where others read x.
pub const FORWARD_X: Buffer = read("forward_x", F32, elements).called("x").from("z");
pub const SAVED_MEAN: Buffer =
    read("saved_mean", F64, rows_of).called("mean").from("row_mean").option("saved");
pub const SAVED_RSTD: Buffer =
    read("saved_rstd", F64, rows_of).called("rstd").from("row_rstd").option("saved");
pub const DGAMMA: Buffer = write("dgamma", F32, cols_of).option("dgamma");
pub const DBETA: Buffer = write("dbeta", F64, cols_of).option("dbeta");
pub const ADD_DGAMMA: Buffer = Buffer::new("add_dgamma", F64, Update, cols_of)
    .called("dgamma")
    .from("col_mean")
    .option("add_dgamma");
pub const ADD_DBETA: Buffer =
    Buffer::new("add_dbeta", F32, Update, cols_of).called("dbeta").from("beta").option("add_dbeta");
pub const DSUM: Buffer = read("dsum", F32, elements).from("z").option("dsum");
pub const DBIAS: Buffer = write("dbias", F64, cols_of).option("dbias");
pub const ADD_DBIAS: Buffer =
    Buffer::new("add_dbias", F32, Update, cols_of).called("dbias").from("beta").option("add_dbias");
pub const DRESIDUAL: Buffer = write("dresidual", F32, elements).option("dresidual");
pub const ADD_DRESIDUAL: Buffer = Buffer::new("add_dresidual", F32, Update, elements)
    .called("dresidual")
    .from("z")
    .option("add_dresidual");

/// Of the groups of every row.
pub const SAVED_GROUPS: Buffer =
    read("saved_rstd", F64, groups_of).called("rstd").from("row_rstd").option("saved");
pub const DGATE: Buffer = write("dgate", F32, elements).option("dgate");
pub const ADD_DGATE: Buffer =
    Buffer::new("add_dgate", F32, Update, elements).called("dgate").from("z").option("add_dgate");
/// The same of channels: statistics, and gradients of parameters.
pub const fn saved_mean(len: fn(Rows) -> Option<usize>) -> Buffer {
    read("saved_mean", F64, len).called("mean").from("col_mean").option("saved")
}
pub const fn saved_rstd(len: fn(Rows) -> Option<usize>) -> Buffer {
    read("saved_rstd", F64, len).called("rstd").from("col_rstd").option("saved")
}
pub const fn dgamma(len: fn(Rows) -> Option<usize>) -> Buffer {
    write("dgamma", F32, len).option("dgamma")
}
pub const fn add_dbeta(len: fn(Rows) -> Option<usize>) -> Buffer {
    Buffer::new("add_dbeta", F32, Update, len).called("dbeta").from("beta").option("add_dbeta")
}

/// What a backward pass writes or adds to.
pub const GRADIENT_EXCLUDES: &[(&str, &str)] = &[
    ("dgamma", "add_dgamma"),
    ("dbeta", "add_dbeta"),
    ("dresidual", "add_dresidual"),
    ("dbias", "add_dbias"),
];

pub const fn running(name: &'static str, len: fn(Rows) -> Option<usize>) -> Buffer {
    Buffer::new(name, F32, Update, len).option("running")
}

/// What goes together, and what does not, of the inputs of rows.
pub const ROW_EXCLUDES: &[(&str, &str)] =
    &[("residual", "update_residual"), ("sum", "update_residual")];
pub const ROW_NEEDS: &[(&str, &[&str])] = &[("sum", &["residual", "bias", "dropout"])];
/// One way to say which rows are valid.
pub const ONE_VALID: &[(&str, &str)] =
    &[("valid", "valid_bytes"), ("valid", "valid_lengths"), ("valid_bytes", "valid_lengths")];
