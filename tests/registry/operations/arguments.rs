//! The arguments of calls, and the buffers that pass them.
#![forbid(unsafe_code)]

use evenkeel::{Error, Rows};

use super::buffers::*;
use crate::registry::Buffer;
use crate::registry::Kind::{U8, Usize};

/// An argument of calls.
pub struct Argument {
    /// The type that passes it.
    pub of: &'static str,
    /// The setters that do.
    pub setters: &'static [&'static str],
    /// Which buffers are it.
    pub is: fn(&Buffer) -> bool,
    /// Buffers that pass it to a row without it, beside those that the row has.
    pub probe: &'static [Buffer],
}

impl Argument {
    /// Whether a call does nothing with it but check it: operations without scratch leave it alone, which would be too short;
    /// beta of a backward pass counts beside a gate.
    pub fn is_ignored(&self, result: &Result<(), Error>) -> bool {
        match self.setters {
            ["scratch"] => result.is_ok(),
            ["beta", "maybe_beta"] => {
                matches!(result, Ok(()) | Err(Error::Length { arg: "beta", .. }))
            }
            _ => false,
        }
    }
}

const fn argument(
    of: &'static str,
    setters: &'static [&'static str],
    is: fn(&Buffer) -> bool,
    probe: &'static [Buffer],
) -> Argument {
    Argument { of, setters, is, probe }
}

fn is_gamma(buffer: &Buffer) -> bool {
    buffer.name == "gamma"
}
fn is_beta(buffer: &Buffer) -> bool {
    buffer.name == "beta"
}
fn is_mean(buffer: &Buffer) -> bool {
    buffer.name == "mean"
}
fn is_rstd(buffer: &Buffer) -> bool {
    buffer.name == "rstd"
}
fn is_valid(buffer: &Buffer) -> bool {
    buffer.option.starts_with("valid")
}
fn is_scratch(buffer: &Buffer) -> bool {
    buffer.name == "scratch"
}

/// Every argument that is a buffer.
pub static ARGUMENTS: &[Argument] = &[
    argument("NormArgs", &["gamma", "maybe_gamma", "affine"], is_gamma, &[gamma(cols_of)]),
    argument("NormArgs", &["beta", "maybe_beta", "affine"], is_beta, &[beta(cols_of)]),
    argument("NormArgs", &["stats"], is_mean, &[mean(rows_of), rstd(rows_of)]),
    argument("NormArgs", &["rstd"], is_rstd, &[rstd(rows_of)]),
    argument("NormArgs", &["x_bias"], |buffer| buffer.name == "bias", &[BIAS]),
    argument(
        "NormArgs",
        &["dropout"],
        |buffer| ["drop_mask", "drop_bits", "row_mask"].contains(&buffer.name),
        &[DROPOUT],
    ),
    argument("NormArgs", &["residual"], |buffer| buffer.name == "residual", &[RESIDUAL]),
    argument("NormArgs", &["update_residual"], |buffer| buffer.name == "updated", &[UPDATED]),
    // There is no sum without an addend.
    argument("NormArgs", &["sum"], |buffer| buffer.name == "sum", &[SUM, RESIDUAL]),
    argument("NormArgs", &["gate"], |buffer| buffer.name == "gate", &[GATE]),
    argument("NormArgs", &["plus"], |buffer| buffer.name == "plus", &[PLUS]),
    argument("NormArgs", &["valid"], is_valid, &[VALID_BITS]),
    argument("NormArgs", &["scratch"], is_scratch, &[scratch(none)]),
    argument("TrainArgs", &["gamma", "maybe_gamma", "affine"], is_gamma, &[gamma(cols_of)]),
    argument("TrainArgs", &["beta", "maybe_beta", "affine"], is_beta, &[beta(cols_of)]),
    argument("TrainArgs", &["stats"], is_mean, &[mean(cols_of), rstd(cols_of)]),
    argument(
        "TrainArgs",
        &["running"],
        |buffer| buffer.name == "running_mean",
        &[running("running_mean", cols_of), running("running_var", cols_of)],
    ),
    argument("TrainArgs", &["valid"], is_valid, &[VALID_BITS]),
    argument("TrainArgs", &["scratch"], is_scratch, &[scratch(none)]),
    argument("GradArgs", &["gamma", "maybe_gamma"], is_gamma, &[gamma(cols_of)]),
    argument("GradArgs", &["beta", "maybe_beta"], is_beta, &[beta(cols_of)]),
    argument("GradArgs", &["gate"], |buffer| buffer.name == "gate", &[GATE]),
    argument("GradArgs", &["dgate", "add_dgate"], |buffer| buffer.arg == "dgate", &[DGATE, GATE]),
    argument(
        "GradArgs",
        &["stats"],
        |buffer| buffer.name == "saved_mean",
        &[SAVED_MEAN, SAVED_RSTD],
    ),
    argument("GradArgs", &["rstd"], |buffer| buffer.name == "saved_rstd", &[SAVED_RSTD]),
    argument("GradArgs", &["dgamma", "add_dgamma"], |buffer| buffer.arg == "dgamma", &[DGAMMA]),
    argument("GradArgs", &["dbeta", "add_dbeta"], |buffer| buffer.arg == "dbeta", &[DBETA]),
    argument("GradArgs", &["dbias", "add_dbias"], |buffer| buffer.arg == "dbias", &[DBIAS]),
    argument("GradArgs", &["dropout"], |buffer| buffer.name == "drop_bits", &[GIVEN_DROPOUT]),
    argument("GradArgs", &["dsum"], |buffer| buffer.name == "dsum", &[DSUM]),
    argument(
        "GradArgs",
        &["dresidual", "add_dresidual"],
        |buffer| buffer.arg == "dresidual",
        &[DRESIDUAL],
    ),
    argument("GradArgs", &["valid"], is_valid, &[VALID_BITS]),
    argument("GradArgs", &["scratch"], is_scratch, &[scratch(none)]),
    argument(
        "MomentArgs",
        &["lengths"],
        |buffer| buffer.name == "lengths",
        &[read("lengths", Usize, rows_of).option("lengths")],
    ),
    argument("MomentArgs", &["valid"], is_valid, &[VALID_BITS]),
    argument("MomentArgs", &["scratch"], is_scratch, &[scratch(none)]),
    argument(
        "DropoutArgs",
        &["keep_mask"],
        |buffer| buffer.option == "mask",
        &[write("mask", U8, packed).option("mask")],
    ),
];

/// Scratch that is too short wherever some is needed.
fn none(_: Rows) -> Option<usize> {
    Some(0)
}
