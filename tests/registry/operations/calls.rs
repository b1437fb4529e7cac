//! How a row configures its operation, and takes its arguments out of a bag.
#![forbid(unsafe_code)]

use evenkeel::penalty::Regularizer;
use evenkeel::preprocess::{Norm, Normalizer};
use evenkeel::{
    BatchNorm, ColumnMoments, Dropout, DropoutArgs, Error, GradArgs, GroupNorm, InOut,
    InstanceNorm, LayerNorm, Mask, MaskMut, MomentArgs, NormArgs, NormalizeScaleShift, RmsNorm,
    RowMoments, Statistics, TrainArgs, ValidRows,
};

use crate::registry::{Bag, DROPOUT_P, DROPOUT_STREAM, Setting};

macro_rules! configured {
    ($setting:expr, $operation:expr) => {
        $operation
            .with_backend($setting.backend)
            .with_parallelism($setting.parallelism)
            .with_stores($setting.stores)
    };
}
pub(super) use configured;

fn valid<'a>(bag: &mut Bag<'a>) -> Option<ValidRows<'a>> {
    let bits = bag.maybe_u8("row_bits").map(|bits| ValidRows::Mask(Mask::Packed(bits)));
    let bytes = bag.maybe_u8("row_bytes").map(|bytes| ValidRows::Mask(Mask::Bytes(bytes)));
    let lengths = bag.maybe_usize("row_lengths");
    bits.or(bytes).or(lengths.map(|lengths| ValidRows::Lengths { lengths, steps: 1 }))
}

/// The first half of the positions of a sample.
pub fn half<'a>(s: &Setting, bag: &mut Bag<'a>) -> Option<ValidRows<'a>> {
    let lengths = bag.maybe_usize("half")?;
    Some(ValidRows::Lengths { lengths, steps: s.rows.cols() })
}

pub fn norm_args<'a>(bag: &mut Bag<'a>) -> NormArgs<'a> {
    let mut args =
        NormArgs::new().maybe_gamma(bag.maybe_f32("gamma")).maybe_beta(bag.maybe_f32("beta"));
    if bag.is_f32("rstd") {
        args = match bag.maybe_f32_mut("mean") {
            Some(mean) => args.stats(mean, bag.f32_mut("rstd")),
            None => args.rstd(bag.f32_mut("rstd")),
        };
    } else if let Some(rstd) = bag.maybe_f64_mut("rstd") {
        args = match bag.maybe_f64_mut("mean") {
            Some(mean) => args.stats(mean, rstd),
            None => args.rstd(rstd),
        };
    }
    if let Some(bias) = bag.maybe_f32("bias") {
        args = args.x_bias(bias);
    }
    if let Some(bits) = bag.maybe_u8_mut("drop_mask") {
        let drawn = DropoutArgs::draw(DROPOUT_STREAM);
        args = args.dropout(DROPOUT_P, drawn.keep_mask(MaskMut::Packed(bits)));
    }
    if let Some(bits) = bag.maybe_u8("drop_bits") {
        args = args.dropout(DROPOUT_P, Mask::Packed(bits));
    }
    if let Some(residual) = bag.maybe_f32("residual") {
        args = args.residual(residual);
    }
    if let Some(residual) = bag.maybe_f32_mut("updated") {
        args = args.update_residual(residual);
    }
    if let Some(sum) = bag.maybe_f32_mut("sum") {
        args = args.sum(sum);
    }
    if let Some(gate) = bag.maybe_f32("gate") {
        args = args.gate(gate);
    }
    if let Some(plus) = bag.maybe_f32("plus") {
        args = args.plus(plus);
    }
    if let Some(valid) = valid(bag) {
        args = args.valid(valid);
    }
    if let Some(scratch) = bag.maybe_f64_mut("scratch") {
        args = args.scratch(scratch);
    }
    args
}

pub fn train_args<'a>(bag: &mut Bag<'a>) -> TrainArgs<'a> {
    let mut args =
        TrainArgs::new().maybe_gamma(bag.maybe_f32("gamma")).maybe_beta(bag.maybe_f32("beta"));
    if bag.is_f32("mean") {
        args = args.stats(bag.f32_mut("mean"), bag.f32_mut("rstd"));
    } else if let Some(mean) = bag.maybe_f64_mut("mean") {
        args = args.stats(mean, bag.f64_mut("rstd"));
    }
    if let Some(mean) = bag.maybe_f32_mut("running_mean") {
        args = args.running(mean, bag.f32_mut("running_var"));
    }
    if let Some(valid) = valid(bag) {
        args = args.valid(valid);
    }
    if let Some(scratch) = bag.maybe_f64_mut("scratch") {
        args = args.scratch(scratch);
    }
    args
}

pub fn grad_args<'a>(bag: &mut Bag<'a>) -> GradArgs<'a> {
    let mut args =
        GradArgs::new().maybe_gamma(bag.maybe_f32("gamma")).maybe_beta(bag.maybe_f32("beta"));
    if let Some(gate) = bag.maybe_f32("gate") {
        args = args.gate(gate);
    }
    if let Some(dgate) = bag.maybe_f32_mut("dgate") {
        args = args.dgate(dgate);
    }
    if let Some(dgate) = bag.maybe_f32_mut("add_dgate") {
        args = args.add_dgate(dgate);
    }
    if bag.is_f32("saved_rstd") {
        args = match bag.maybe_f32("saved_mean") {
            Some(mean) => args.stats(mean, bag.f32("saved_rstd")),
            None => args.rstd(bag.f32("saved_rstd")),
        };
    } else if let Some(rstd) = bag.maybe_f64("saved_rstd") {
        args = match bag.maybe_f64("saved_mean") {
            Some(mean) => args.stats(mean, rstd),
            None => args.rstd(rstd),
        };
    }
    if let Some(dgamma) = bag.maybe_f32_mut("dgamma") {
        args = args.dgamma(dgamma);
    }
    if let Some(dgamma) = bag.maybe_f64_mut("add_dgamma") {
        args = args.add_dgamma(dgamma);
    }
    if let Some(dbeta) = bag.maybe_f64_mut("dbeta") {
        args = args.dbeta(dbeta);
    }
    if let Some(dbeta) = bag.maybe_f32_mut("add_dbeta") {
        args = args.add_dbeta(dbeta);
    }
    if let Some(dbias) = bag.maybe_f64_mut("dbias") {
        args = args.dbias(dbias);
    }
    if let Some(dbias) = bag.maybe_f32_mut("add_dbias") {
        args = args.add_dbias(dbias);
    }
    if let Some(bits) = bag.maybe_u8("drop_bits") {
        args = args.dropout(DROPOUT_P, Mask::Packed(bits));
    }
    if let Some(dsum) = bag.maybe_f32("dsum") {
        args = args.dsum(dsum);
    }
    if let Some(dresidual) = bag.maybe_f32_mut("dresidual") {
        args = args.dresidual(dresidual);
    }
    if let Some(dresidual) = bag.maybe_f32_mut("add_dresidual") {
        args = args.add_dresidual(dresidual);
    }
    if let Some(valid) = valid(bag) {
        args = args.valid(valid);
    }
    if let Some(scratch) = bag.maybe_f64_mut("scratch") {
        args = args.scratch(scratch);
    }
    args
}

/// Given statistics of rows, or of columns, stored as f64 or f32.
pub fn given<'a>(bag: &mut Bag<'a>, of_rows: bool, [mean, rstd]: [&str; 2]) -> Statistics<'a> {
    match (of_rows, bag.is_f32(mean)) {
        (true, true) => Statistics::of_rows(bag.f32(mean), bag.f32(rstd)),
        (true, false) => Statistics::of_rows(bag.f64(mean), bag.f64(rstd)),
        (false, true) => Statistics::of_columns(bag.f32(mean), bag.f32(rstd)),
        (false, false) => Statistics::of_columns(bag.f64(mean), bag.f64(rstd)),
    }
}

pub fn moment_args<'a>(bag: &mut Bag<'a>) -> MomentArgs<'a> {
    let mut args = MomentArgs::new();
    if let Some(lengths) = bag.maybe_usize("lengths") {
        args = args.lengths(lengths);
    }
    if let Some(valid) = valid(bag) {
        args = args.valid(valid);
    }
    if let Some(scratch) = bag.maybe_f64_mut("scratch") {
        args = args.scratch(scratch);
    }
    args
}

/// A mask that is drawn.
pub fn dropout_args<'a>(s: &Setting, bag: &mut Bag<'a>) -> DropoutArgs<'a> {
    let mut args = DropoutArgs::draw(s.stream);
    if let Some(bits) = bag.maybe_u8_mut("mask") {
        args = args.keep_mask(MaskMut::Packed(bits));
    }
    if let Some(bytes) = bag.maybe_u8_mut("mask_bytes") {
        args = args.keep_mask(MaskMut::Bytes(bytes));
    }
    args
}

pub fn io<'x, 'y>(io: Option<InOut<'x, 'y>>) -> InOut<'x, 'y> {
    io.expect("x and y")
}

pub fn done<T>(result: Result<T, Error>) -> Result<(), Error> {
    result.map(drop)
}

pub fn layer_norm(s: &Setting) -> LayerNorm {
    configured!(s, LayerNorm::new().with_eps(s.eps))
}
pub fn rms_norm(s: &Setting) -> RmsNorm {
    configured!(s, RmsNorm::new().with_eps(s.eps))
}
pub fn group_norm(s: &Setting) -> GroupNorm {
    configured!(s, GroupNorm::new().with_groups(1).with_eps(s.eps))
}
pub fn instance_norm(s: &Setting) -> InstanceNorm {
    configured!(s, InstanceNorm::new().with_eps(s.eps))
}
pub fn normalize(s: &Setting) -> NormalizeScaleShift {
    configured!(s, NormalizeScaleShift::new())
}
pub fn batch_norm(s: &Setting) -> BatchNorm {
    configured!(s, s.batch_norm.with_eps(s.eps))
}
pub fn dropout(s: &Setting) -> Dropout {
    configured!(s, s.dropout)
}
pub fn regularizer(s: &Setting) -> Regularizer {
    configured!(s, Regularizer::new().with_l1(s.l1).with_l2(s.l2))
}
pub fn normalizer(s: &Setting, norm: Norm) -> Normalizer {
    configured!(s, Normalizer::new().with_norm(norm))
}
pub fn row_moments(s: &Setting) -> RowMoments {
    RowMoments::new().with_backend(s.backend).with_parallelism(s.parallelism)
}
pub fn column_moments(s: &Setting) -> ColumnMoments {
    ColumnMoments::new().with_backend(s.backend).with_parallelism(s.parallelism)
}
