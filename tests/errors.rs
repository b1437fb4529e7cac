//! What every call refuses, what it says then, and that it has written nothing.
//!
//! [`METHODS`] lists every method that takes buffers, with what it reads and what it writes. The tests
//! go through the list with one argument wrong at a time, and with any number of them, and compare all buffers, and
//! the memory on both sides of them, bit for bit with what was there before the call.
//!
//! Input that has broken this or another library, what it is answered with, and the test. Those not in this file are
//! in `tests/proof/`, or in `tests/large.rs`.
//!
//! | input | answer | test |
//! |---|---|---|
//! | no rows, empty rows, an empty slice for dropout | nothing to do | `empty_shapes_are_no_work_and_have_no_statistic` |
//! | a statistic asked of empty rows or columns | error | the same |
//! | one column; a batch of one row | beta | `hard_data::constant_rows_equal_beta`, `columns::constant_columns_equal_beta` |
//! | rows * cols that overflows | error | `a_shape_that_no_slice_can_have`, `any_two_numbers_are_a_shape_...` |
//! | batch * channels * positions that overflows, or any two of them | error | `any_three_numbers_are_a_shape_...` |
//! | no groups, more groups than channels, groups that do not divide them | error | `groups_that_do_not_divide_the_channels` |
//! | shapes over 2^31 and 2^32 elements | the bits of small ones | `large.rs` |
//! | a length that is right in 31 or 32 of its bits | error | `any_call_succeeds_or_says_...`, `large::a_length_...` |
//! | gamma or beta too short or too long; running statistics, outputs or scratch too short or empty | error | `a_length_that_is_not_the_shapes` |
//! | gamma without beta, beta without gamma | the formula | the same, `hard_data` |
//! | inference without running statistics | the types rule it out | |
//! | a running variance below 0 | error | `a_running_variance_that_is_negative` |
//! | running statistics of NaN or infinity | NaN in their channel; beta | `edges::running_statistics_that_are_poisoned`, `edges::no_variance_...` |
//! | constant rows and columns, of any magnitude, with eps or without | beta | `hard_data::constant_rows_equal_beta` |
//! | variance 0 and eps 0 | beta | the same, `edges::no_variance_and_no_eps_give_beta` |
//! | eps below 0, NaN, infinite | error | `an_eps_that_is_negative_or_not_finite` |
//! | eps beyond f32, small or large | counts as what it is | `edges::an_eps_that_f32_cannot_hold` |
//! | a NaN or an infinity in a row or column | its own is NaN, no other bit changes | `hard_data::non_finite_values_stay_in_their_row`, `columns::non_finite_values_...` |
//! | both infinities | NaN | `edges::infinities_that_cancel` |
//! | squares that overflow f32; f32::MAX; neighbours that f32 cannot tell apart; subnormals | within the bound | `hard_data`, `edges::rows_that_were_bugs_elsewhere` |
//! | rows of -0.0 | beta | `hard_data::constant_rows_equal_beta`, `edges::no_variance_...` |
//! | one row whose running variance is to be unbiased | error | `a_batch_of_one_row_whose_variance_is_to_be_unbiased` |
//! | momentum below 0, above 1, NaN | error | `a_momentum_that_is_not_from_0_to_1` |
//! | a factor of a penalty, a rate or a step below 0, NaN, infinite | error | `a_factor_or_a_rate_that_is_negative_or_not_finite` |
//! | a mask or lengths that are not those of the rows; a length above what there is | error | `a_length_that_is_not_the_shapes`, `a_length_of_a_sample_...`, `samples_and_steps_...` |
//! | no valid row | padding is zeroed, statistics stay | `padding::a_batch_without_a_valid_row_...` |
//! | NaN in padding | not read | `padding` |
//! | p below 0, above 1, NaN | error | `a_probability_that_is_not_from_0_to_1` |
//! | p of 0 and 1, whatever x is | a copy; +0.0 | `dropout::the_ends_of_p` |
//! | p next to 1 | finite | `edges::a_probability_next_to_1` |
//! | a stream that ends; seeds and offsets next to 2^64 | error beyond the end; the bits of the definition | `a_range_that_ends_beyond_the_stream`, `edges::the_end_of_the_last_stream` |
//! | in place | the bits of out of place | `hard_data`, `columns`, `dropout` |
//! | null, misaligned or overlapping buffers, negative sizes | the types rule it out; a status in C | `tests/capi/refused.rs` |
//! | no tasks, a million, the most there are | the same bits | `edges::any_number_of_tasks` |
//! | calls within a pool's tasks, from several threads at once | the same bits | `edges::calls_within_tasks_and_from_many_threads` |
//! | a call after a fork | the same bits, serially | `edges::serial_calls_in_a_forked_process` |
//! | a scaler that has seen nothing | error | `a_scaler_that_has_seen_no_number` |
//! | samples of more or fewer features than were fitted | error | `samples_of_other_features_than_the_scalers` |
//! | a range whose lower end is not the lower one, NaN, infinite | error | `a_feature_range_that_is_none` |
//! | statistics that no data have | error | `statistics_that_no_samples_have` |
//! | NaN, infinities and constants among the features | ignored; NaN; scale 1 | `scalers::non_finite_values_...`, `scalers::constant_features` |
//! | a backend that the CPU lacks, or that no one knows | error | `a_name_that_no_backend_has_or_whose_backend_this_cpu_lacks` |
//! | moments of nothing, merged | nothing changes | `moments::an_empty_set_merges_as_nothing` |
//! | counts over 2^24, 2^53, 2^64 | exact up to the last, where they stop | `edges::counts_of_any_size` |

use std::mem::MaybeUninit;

use evenkeel::{
    Backend, BatchNorm, Channels, ColumnMoments, Dropout, Error, GroupNorm, InstanceNorm,
    LayerNorm, Mask, MaskMut, MinMaxScaler, Moments, NormalizeScaleShift, Normalizer, Parallelism,
    Regularizer, RmsNorm, RowMoments, Rows, RunningStatistics, StandardScaler, Stream, ValidRows,
};
use proptest::prelude::*;

const LAYER_NORM: LayerNorm = LayerNorm::new();
const RMS_NORM: RmsNorm = RmsNorm::new();
const NORMALIZE: NormalizeScaleShift = NormalizeScaleShift::new();
const GROUP_NORM: GroupNorm = GroupNorm::new().with_groups(1);
const INSTANCE_NORM: InstanceNorm = InstanceNorm::new();

/// A matrix as one sample: its columns as channels that come first, its rows as positions.
fn first(rows: Rows) -> Channels {
    Channels::first(1, rows.cols(), rows.rows()).expect("as many elements as the matrix has")
}

/// The same with channels that come last.
fn last(rows: Rows) -> Channels {
    Channels::last(1, rows.rows(), rows.cols()).expect("as many elements as the matrix has")
}

/// A method, and the buffers that it takes.
struct Method {
    name: &'static str,
    reads: &'static [&'static str],
    writes: &'static [&'static str],
    call: fn(&mut Arguments) -> Result<(), Error>,
}

/// `"name": what it reads => what it writes; a call`, for which each buffer is there by its name and all
/// other arguments are fields of the closure's.
macro_rules! methods {
    ($($name:literal: $($read:ident)* => $($write:ident)*; |$a:ident| $call:expr;)+) => {
        &[$(Method {
            name: $name,
            reads: &[$(stringify!($read)),*],
            writes: &[$(stringify!($write)),*],
            call: |$a| {
                $(let $read = $a.$read.get();)*
                $(let $write = $a.$write.get_mut();)*
                $call.map(|_| ())
            },
        }),+]
    };
}

const METHODS: &[Method] = methods! {
    "LayerNorm::forward": x gamma beta => y;
        |a| LAYER_NORM.with_eps(a.eps).forward(x, gamma, beta, a.rows, y);
    "LayerNorm::forward_with_stats": x gamma beta => y mean rstd;
        |a| LAYER_NORM.with_eps(a.eps).forward_with_stats(x, gamma, beta, a.rows, y, mean, rstd);
    "LayerNorm::forward_in_place": gamma beta => x;
        |a| LAYER_NORM.with_eps(a.eps).forward_in_place(x, gamma, beta, a.rows);
    "LayerNorm::forward_in_place_with_stats": gamma beta => x mean rstd;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_in_place_with_stats(x, gamma, beta, a.rows, mean, rstd);
    "LayerNorm::forward_uninit": x gamma beta => y;
        |a| LAYER_NORM.with_eps(a.eps).forward_uninit(x, gamma, beta, a.rows, uninit(y));
    "LayerNorm::forward_uninit_with_stats": x gamma beta => y mean rstd;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_uninit_with_stats(x, gamma, beta, a.rows, uninit(y), mean, rstd);

    "RmsNorm::forward": x gamma beta => y;
        |a| RMS_NORM.with_eps(a.eps).forward(x, gamma, beta, a.rows, y);
    "RmsNorm::forward_with_stats": x gamma beta => y rstd;
        |a| RMS_NORM.with_eps(a.eps).forward_with_stats(x, gamma, beta, a.rows, y, rstd);
    "RmsNorm::forward_in_place": gamma beta => x;
        |a| RMS_NORM.with_eps(a.eps).forward_in_place(x, gamma, beta, a.rows);
    "RmsNorm::forward_in_place_with_stats": gamma beta => x rstd;
        |a| RMS_NORM.with_eps(a.eps).forward_in_place_with_stats(x, gamma, beta, a.rows, rstd);
    "RmsNorm::forward_uninit": x gamma beta => y;
        |a| RMS_NORM.with_eps(a.eps).forward_uninit(x, gamma, beta, a.rows, uninit(y));
    "RmsNorm::forward_uninit_with_stats": x gamma beta => y rstd;
        |a| RMS_NORM.with_eps(a.eps).forward_uninit_with_stats(x, gamma, beta, a.rows, uninit(y), rstd);

    "LayerNorm::forward_residual": x residual gamma beta => y sum;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_residual(x, residual, gamma, beta, a.rows, y, Some(sum));
    "LayerNorm::forward_residual, no sum": x residual gamma beta => y;
        |a| LAYER_NORM.with_eps(a.eps).forward_residual(x, residual, gamma, beta, a.rows, y, None);
    "LayerNorm::forward_update_residual": x gamma beta => residual y;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_update_residual(x, residual, gamma, beta, a.rows, y);
    "LayerNorm::forward_update_residual_in_place": gamma beta => x residual;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_update_residual_in_place(x, residual, gamma, beta, a.rows);
    "LayerNorm::forward_residual_with_stats": x residual gamma beta => y sum mean rstd;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_residual_with_stats(x, residual, gamma, beta, a.rows, y, Some(sum), mean, rstd);
    "LayerNorm::forward_update_residual_with_stats": x gamma beta => residual y mean rstd;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_update_residual_with_stats(x, residual, gamma, beta, a.rows, y, mean, rstd);
    "LayerNorm::forward_update_residual_in_place_with_stats": gamma beta => x residual mean rstd;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_update_residual_in_place_with_stats(x, residual, gamma, beta, a.rows, mean, rstd);
    "RmsNorm::forward_residual": x residual gamma beta => y sum;
        |a| RMS_NORM.with_eps(a.eps)
            .forward_residual(x, residual, gamma, beta, a.rows, y, Some(sum));
    "RmsNorm::forward_residual, no sum": x residual gamma beta => y;
        |a| RMS_NORM.with_eps(a.eps).forward_residual(x, residual, gamma, beta, a.rows, y, None);
    "RmsNorm::forward_update_residual": x gamma beta => residual y;
        |a| RMS_NORM.with_eps(a.eps)
            .forward_update_residual(x, residual, gamma, beta, a.rows, y);
    "RmsNorm::forward_update_residual_in_place": gamma beta => x residual;
        |a| RMS_NORM.with_eps(a.eps)
            .forward_update_residual_in_place(x, residual, gamma, beta, a.rows);
    "RmsNorm::forward_residual_with_stats": x residual gamma beta => y sum rstd;
        |a| RMS_NORM.with_eps(a.eps)
            .forward_residual_with_stats(x, residual, gamma, beta, a.rows, y, Some(sum), rstd);
    "RmsNorm::forward_update_residual_with_stats": x gamma beta => residual y rstd;
        |a| RMS_NORM.with_eps(a.eps)
            .forward_update_residual_with_stats(x, residual, gamma, beta, a.rows, y, rstd);
    "RmsNorm::forward_update_residual_in_place_with_stats": gamma beta => x residual rstd;
        |a| RMS_NORM.with_eps(a.eps)
            .forward_update_residual_in_place_with_stats(x, residual, gamma, beta, a.rows, rstd);
    "RmsNorm::forward_gated": x z gamma => y;
        |a| RMS_NORM.with_eps(a.eps).forward_gated(x, z, gamma, a.rows, y);
    "RmsNorm::forward_gated_in_place": z gamma => x;
        |a| RMS_NORM.with_eps(a.eps).forward_gated_in_place(x, z, gamma, a.rows);
    "RmsNorm::forward_gated_uninit": x z gamma => y;
        |a| RMS_NORM.with_eps(a.eps).forward_gated_uninit(x, z, gamma, a.rows, uninit(y));

    "NormalizeScaleShift::forward": x mean rstd gamma beta => y;
        |a| NORMALIZE.forward(x, mean, rstd, gamma, beta, a.rows, y);
    "NormalizeScaleShift::forward_in_place": mean rstd gamma beta => x;
        |a| NORMALIZE.forward_in_place(x, mean, rstd, gamma, beta, a.rows);
    "NormalizeScaleShift::forward_uninit": x mean rstd gamma beta => y;
        |a| NORMALIZE.forward_uninit(x, mean, rstd, gamma, beta, a.rows, uninit(y));
    "NormalizeScaleShift::forward_columns": x mean rstd gamma beta => y;
        |a| NORMALIZE.forward_columns(x, mean, rstd, gamma, beta, a.rows, y);
    "NormalizeScaleShift::forward_columns_in_place": mean rstd gamma beta => x;
        |a| NORMALIZE.forward_columns_in_place(x, mean, rstd, gamma, beta, a.rows);
    "NormalizeScaleShift::forward_columns_uninit": x mean rstd gamma beta => y;
        |a| NORMALIZE.forward_columns_uninit(x, mean, rstd, gamma, beta, a.rows, uninit(y));

    "BatchNorm::forward_training": x gamma beta => y mean rstd running_mean running_var;
        |a| a.batch_norm.with_eps(a.eps).forward_training(
            x, gamma, beta, a.rows, y, mean, rstd, running(running_mean, running_var));
    "BatchNorm::forward_training_with_scratch":
        x gamma beta => y mean rstd running_mean running_var scratch;
        |a| a.batch_norm.with_eps(a.eps).forward_training_with_scratch(
            x, gamma, beta, a.rows, y, mean, rstd, running(running_mean, running_var), scratch);
    "BatchNorm::forward_training_in_place": gamma beta => x mean rstd running_mean running_var;
        |a| a.batch_norm.with_eps(a.eps).forward_training_in_place(
            x, gamma, beta, a.rows, mean, rstd, running(running_mean, running_var));
    "BatchNorm::forward_training_in_place_with_scratch":
        gamma beta => x mean rstd running_mean running_var scratch;
        |a| a.batch_norm.with_eps(a.eps).forward_training_in_place_with_scratch(
            x, gamma, beta, a.rows, mean, rstd, running(running_mean, running_var), scratch);
    "BatchNorm::forward_training_uninit":
        x gamma beta => y mean rstd running_mean running_var scratch;
        |a| a.batch_norm.with_eps(a.eps).forward_training_uninit(
            x, gamma, beta, a.rows, uninit(y), mean, rstd, running(running_mean, running_var),
            scratch);
    "BatchNorm::forward_training without running statistics": x gamma beta => y mean rstd;
        |a| a.batch_norm.with_eps(a.eps)
            .forward_training(x, gamma, beta, a.rows, y, mean, rstd, None);
    "BatchNorm::forward_inference": x running_mean running_var gamma beta => y;
        |a| a.batch_norm.with_eps(a.eps)
            .forward_inference(x, running_mean, running_var, gamma, beta, a.rows, y);
    "BatchNorm::forward_inference_in_place": running_mean running_var gamma beta => x;
        |a| a.batch_norm.with_eps(a.eps)
            .forward_inference_in_place(x, running_mean, running_var, gamma, beta, a.rows);
    "BatchNorm::forward_inference_uninit": x running_mean running_var gamma beta => y;
        |a| a.batch_norm.with_eps(a.eps)
            .forward_inference_uninit(x, running_mean, running_var, gamma, beta, a.rows, uninit(y));

    "BatchNorm::forward_training_masked":
        x row_bits gamma beta => y mean rstd running_mean running_var;
        |a| a.batch_norm.with_eps(a.eps).forward_training_masked(
            x, packed_rows(row_bits), gamma, beta, a.rows, y, mean, rstd,
            running(running_mean, running_var));
    "BatchNorm::forward_training_masked_with_scratch":
        x row_bytes gamma beta => y mean rstd running_mean running_var scratch;
        |a| a.batch_norm.with_eps(a.eps).forward_training_masked_with_scratch(
            x, ValidRows::Mask(Mask::Bytes(row_bytes)), gamma, beta, a.rows, y, mean, rstd,
            running(running_mean, running_var), scratch);
    "BatchNorm::forward_training_masked_in_place":
        lengths gamma beta => x mean rstd running_mean running_var;
        |a| a.batch_norm.with_eps(a.eps).forward_training_masked_in_place(
            x, ValidRows::Lengths { lengths, steps: 1 }, gamma, beta, a.rows, mean, rstd,
            running(running_mean, running_var));
    "BatchNorm::forward_training_masked_in_place_with_scratch":
        row_bits gamma beta => x mean rstd running_mean running_var scratch;
        |a| a.batch_norm.with_eps(a.eps).forward_training_masked_in_place_with_scratch(
            x, packed_rows(row_bits), gamma, beta, a.rows, mean, rstd,
            running(running_mean, running_var), scratch);
    "BatchNorm::forward_training_masked_uninit":
        x lengths gamma beta => y mean rstd running_mean running_var scratch;
        |a| a.batch_norm.with_eps(a.eps).forward_training_masked_uninit(
            x, ValidRows::Lengths { lengths, steps: 1 }, gamma, beta, a.rows, uninit(y), mean, rstd,
            running(running_mean, running_var), scratch);
    "BatchNorm::forward_inference_masked": x row_bits running_mean running_var gamma beta => y;
        |a| a.batch_norm.with_eps(a.eps).forward_inference_masked(
            x, packed_rows(row_bits), running_mean, running_var, gamma, beta, a.rows, y);
    "BatchNorm::forward_inference_masked_in_place":
        row_bytes running_mean running_var gamma beta => x;
        |a| a.batch_norm.with_eps(a.eps).forward_inference_masked_in_place(
            x, ValidRows::Mask(Mask::Bytes(row_bytes)), running_mean, running_var, gamma, beta,
            a.rows);
    "BatchNorm::forward_inference_masked_uninit":
        x lengths running_mean running_var gamma beta => y;
        |a| a.batch_norm.with_eps(a.eps).forward_inference_masked_uninit(
            x, ValidRows::Lengths { lengths, steps: 1 }, running_mean, running_var, gamma, beta,
            a.rows, uninit(y));
    "BatchNorm::forward_training, first": x gamma beta => y mean rstd running_mean running_var;
        |a| a.batch_norm.with_eps(a.eps).forward_training(
            x, gamma, beta, first(a.rows), y, mean, rstd, running(running_mean, running_var));
    "BatchNorm::forward_training_with_scratch, first":
        x gamma beta => y mean rstd running_mean running_var scratch;
        |a| a.batch_norm.with_eps(a.eps).forward_training_with_scratch(
            x, gamma, beta, first(a.rows), y, mean, rstd, running(running_mean, running_var), scratch);
    "BatchNorm::forward_training_in_place, first": gamma beta => x mean rstd running_mean running_var;
        |a| a.batch_norm.with_eps(a.eps).forward_training_in_place(
            x, gamma, beta, first(a.rows), mean, rstd, running(running_mean, running_var));
    "BatchNorm::forward_training_in_place_with_scratch, first":
        gamma beta => x mean rstd running_mean running_var scratch;
        |a| a.batch_norm.with_eps(a.eps).forward_training_in_place_with_scratch(
            x, gamma, beta, first(a.rows), mean, rstd, running(running_mean, running_var), scratch);
    "BatchNorm::forward_training_uninit, first":
        x gamma beta => y mean rstd running_mean running_var scratch;
        |a| a.batch_norm.with_eps(a.eps).forward_training_uninit(
            x, gamma, beta, first(a.rows), uninit(y), mean, rstd, running(running_mean, running_var),
            scratch);
    "BatchNorm::forward_training without running statistics, first": x gamma beta => y mean rstd;
        |a| a.batch_norm.with_eps(a.eps)
            .forward_training(x, gamma, beta, first(a.rows), y, mean, rstd, None);
    "BatchNorm::forward_inference, first": x running_mean running_var gamma beta => y;
        |a| a.batch_norm.with_eps(a.eps)
            .forward_inference(x, running_mean, running_var, gamma, beta, first(a.rows), y);
    "BatchNorm::forward_inference_in_place, first": running_mean running_var gamma beta => x;
        |a| a.batch_norm.with_eps(a.eps)
            .forward_inference_in_place(x, running_mean, running_var, gamma, beta, first(a.rows));
    "BatchNorm::forward_inference_uninit, first": x running_mean running_var gamma beta => y;
        |a| a.batch_norm.with_eps(a.eps)
            .forward_inference_uninit(x, running_mean, running_var, gamma, beta, first(a.rows), uninit(y));

    "GroupNorm::forward, first": x gamma beta => y;
        |a| GROUP_NORM.with_eps(a.eps).forward(x, gamma, beta, first(a.rows), y);
    "GroupNorm::forward_with_stats, first": x gamma beta => y mean rstd;
        |a| GROUP_NORM.with_eps(a.eps)
            .forward_with_stats(x, gamma, beta, first(a.rows), y, mean, rstd);
    "GroupNorm::forward_with_scratch, first": x gamma beta => y mean rstd scratch;
        |a| GROUP_NORM.with_eps(a.eps)
            .forward_with_scratch(x, gamma, beta, first(a.rows), y, mean, rstd, scratch);
    "GroupNorm::forward_in_place, first": gamma beta => x;
        |a| GROUP_NORM.with_eps(a.eps).forward_in_place(x, gamma, beta, first(a.rows));
    "GroupNorm::forward_in_place_with_stats, first": gamma beta => x mean rstd;
        |a| GROUP_NORM.with_eps(a.eps)
            .forward_in_place_with_stats(x, gamma, beta, first(a.rows), mean, rstd);
    "GroupNorm::forward_in_place_with_scratch, first": gamma beta => x mean rstd scratch;
        |a| GROUP_NORM.with_eps(a.eps)
            .forward_in_place_with_scratch(x, gamma, beta, first(a.rows), mean, rstd, scratch);
    "GroupNorm::forward_uninit, first": x gamma beta => y;
        |a| GROUP_NORM.with_eps(a.eps)
            .forward_uninit(x, gamma, beta, first(a.rows), uninit(y));
    "GroupNorm::forward_uninit_with_scratch, first": x gamma beta => y mean rstd scratch;
        |a| GROUP_NORM.with_eps(a.eps).forward_uninit_with_scratch(
            x, gamma, beta, first(a.rows), uninit(y), mean, rstd, scratch);

    "GroupNorm::forward, last": x gamma beta => y;
        |a| GROUP_NORM.with_eps(a.eps).forward(x, gamma, beta, last(a.rows), y);
    "GroupNorm::forward_with_stats, last": x gamma beta => y mean rstd;
        |a| GROUP_NORM.with_eps(a.eps)
            .forward_with_stats(x, gamma, beta, last(a.rows), y, mean, rstd);
    "GroupNorm::forward_with_scratch, last": x gamma beta => y mean rstd scratch;
        |a| GROUP_NORM.with_eps(a.eps)
            .forward_with_scratch(x, gamma, beta, last(a.rows), y, mean, rstd, scratch);
    "GroupNorm::forward_in_place, last": gamma beta => x;
        |a| GROUP_NORM.with_eps(a.eps).forward_in_place(x, gamma, beta, last(a.rows));
    "GroupNorm::forward_in_place_with_stats, last": gamma beta => x mean rstd;
        |a| GROUP_NORM.with_eps(a.eps)
            .forward_in_place_with_stats(x, gamma, beta, last(a.rows), mean, rstd);
    "GroupNorm::forward_in_place_with_scratch, last": gamma beta => x mean rstd scratch;
        |a| GROUP_NORM.with_eps(a.eps)
            .forward_in_place_with_scratch(x, gamma, beta, last(a.rows), mean, rstd, scratch);
    "GroupNorm::forward_uninit, last": x gamma beta => y;
        |a| GROUP_NORM.with_eps(a.eps)
            .forward_uninit(x, gamma, beta, last(a.rows), uninit(y));
    "GroupNorm::forward_uninit_with_scratch, last": x gamma beta => y mean rstd scratch;
        |a| GROUP_NORM.with_eps(a.eps).forward_uninit_with_scratch(
            x, gamma, beta, last(a.rows), uninit(y), mean, rstd, scratch);

    "InstanceNorm::forward, first": x gamma beta => y;
        |a| INSTANCE_NORM.with_eps(a.eps).forward(x, gamma, beta, first(a.rows), y);
    "InstanceNorm::forward_with_stats, first": x gamma beta => y mean rstd;
        |a| INSTANCE_NORM.with_eps(a.eps)
            .forward_with_stats(x, gamma, beta, first(a.rows), y, mean, rstd);
    "InstanceNorm::forward_with_scratch, first": x gamma beta => y mean rstd scratch;
        |a| INSTANCE_NORM.with_eps(a.eps)
            .forward_with_scratch(x, gamma, beta, first(a.rows), y, mean, rstd, scratch);
    "InstanceNorm::forward_in_place, first": gamma beta => x;
        |a| INSTANCE_NORM.with_eps(a.eps).forward_in_place(x, gamma, beta, first(a.rows));
    "InstanceNorm::forward_in_place_with_stats, first": gamma beta => x mean rstd;
        |a| INSTANCE_NORM.with_eps(a.eps)
            .forward_in_place_with_stats(x, gamma, beta, first(a.rows), mean, rstd);
    "InstanceNorm::forward_in_place_with_scratch, first": gamma beta => x mean rstd scratch;
        |a| INSTANCE_NORM.with_eps(a.eps)
            .forward_in_place_with_scratch(x, gamma, beta, first(a.rows), mean, rstd, scratch);
    "InstanceNorm::forward_uninit, first": x gamma beta => y;
        |a| INSTANCE_NORM.with_eps(a.eps)
            .forward_uninit(x, gamma, beta, first(a.rows), uninit(y));
    "InstanceNorm::forward_uninit_with_scratch, first": x gamma beta => y mean rstd scratch;
        |a| INSTANCE_NORM.with_eps(a.eps).forward_uninit_with_scratch(
            x, gamma, beta, first(a.rows), uninit(y), mean, rstd, scratch);

    "InstanceNorm::forward, last": x gamma beta => y;
        |a| INSTANCE_NORM.with_eps(a.eps).forward(x, gamma, beta, last(a.rows), y);
    "InstanceNorm::forward_with_stats, last": x gamma beta => y mean rstd;
        |a| INSTANCE_NORM.with_eps(a.eps)
            .forward_with_stats(x, gamma, beta, last(a.rows), y, mean, rstd);
    "InstanceNorm::forward_with_scratch, last": x gamma beta => y mean rstd scratch;
        |a| INSTANCE_NORM.with_eps(a.eps)
            .forward_with_scratch(x, gamma, beta, last(a.rows), y, mean, rstd, scratch);
    "InstanceNorm::forward_in_place, last": gamma beta => x;
        |a| INSTANCE_NORM.with_eps(a.eps).forward_in_place(x, gamma, beta, last(a.rows));
    "InstanceNorm::forward_in_place_with_stats, last": gamma beta => x mean rstd;
        |a| INSTANCE_NORM.with_eps(a.eps)
            .forward_in_place_with_stats(x, gamma, beta, last(a.rows), mean, rstd);
    "InstanceNorm::forward_in_place_with_scratch, last": gamma beta => x mean rstd scratch;
        |a| INSTANCE_NORM.with_eps(a.eps)
            .forward_in_place_with_scratch(x, gamma, beta, last(a.rows), mean, rstd, scratch);
    "InstanceNorm::forward_uninit, last": x gamma beta => y;
        |a| INSTANCE_NORM.with_eps(a.eps)
            .forward_uninit(x, gamma, beta, last(a.rows), uninit(y));
    "InstanceNorm::forward_uninit_with_scratch, last": x gamma beta => y mean rstd scratch;
        |a| INSTANCE_NORM.with_eps(a.eps).forward_uninit_with_scratch(
            x, gamma, beta, last(a.rows), uninit(y), mean, rstd, scratch);

    "InstanceNorm::forward_masked, first": x row_bytes gamma beta => y;
        |a| INSTANCE_NORM.with_eps(a.eps).forward_masked(
            x, ValidRows::Mask(Mask::Bytes(row_bytes)), gamma, beta, first(a.rows), y);
    "InstanceNorm::forward_masked_with_stats, last": x row_bits gamma beta => y mean rstd;
        |a| INSTANCE_NORM.with_eps(a.eps).forward_masked_with_stats(
            x, packed_rows(row_bits), gamma, beta, last(a.rows), y, mean, rstd);
    "InstanceNorm::forward_masked_in_place, last": row_bits gamma beta => x;
        |a| INSTANCE_NORM.with_eps(a.eps)
            .forward_masked_in_place(x, packed_rows(row_bits), gamma, beta, last(a.rows));
    "InstanceNorm::forward_masked_uninit, first": x row_bytes gamma beta => y;
        |a| INSTANCE_NORM.with_eps(a.eps).forward_masked_uninit(
            x, ValidRows::Mask(Mask::Bytes(row_bytes)), gamma, beta, first(a.rows), uninit(y));

    "LayerNorm::forward_channels, first": x gamma beta => y;
        |a| LAYER_NORM.with_eps(a.eps).forward_channels(x, gamma, beta, first(a.rows), y);
    "LayerNorm::forward_channels_with_stats, first": x gamma beta => y mean rstd;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_channels_with_stats(x, gamma, beta, first(a.rows), y, mean, rstd);
    "LayerNorm::forward_channels_in_place, first": gamma beta => x;
        |a| LAYER_NORM.with_eps(a.eps).forward_channels_in_place(x, gamma, beta, first(a.rows));
    "LayerNorm::forward_channels_in_place_with_stats, first": gamma beta => x mean rstd;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_channels_in_place_with_stats(x, gamma, beta, first(a.rows), mean, rstd);
    "LayerNorm::forward_channels_uninit, first": x gamma beta => y;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_channels_uninit(x, gamma, beta, first(a.rows), uninit(y));
    "LayerNorm::forward_channels_uninit_with_stats, first": x gamma beta => y mean rstd;
        |a| LAYER_NORM.with_eps(a.eps).forward_channels_uninit_with_stats(
            x, gamma, beta, first(a.rows), uninit(y), mean, rstd);

    "LayerNorm::forward_channels, last": x gamma beta => y;
        |a| LAYER_NORM.with_eps(a.eps).forward_channels(x, gamma, beta, last(a.rows), y);
    "LayerNorm::forward_channels_with_stats, last": x gamma beta => y mean rstd;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_channels_with_stats(x, gamma, beta, last(a.rows), y, mean, rstd);
    "LayerNorm::forward_channels_in_place, last": gamma beta => x;
        |a| LAYER_NORM.with_eps(a.eps).forward_channels_in_place(x, gamma, beta, last(a.rows));
    "LayerNorm::forward_channels_in_place_with_stats, last": gamma beta => x mean rstd;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_channels_in_place_with_stats(x, gamma, beta, last(a.rows), mean, rstd);
    "LayerNorm::forward_channels_uninit, last": x gamma beta => y;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_channels_uninit(x, gamma, beta, last(a.rows), uninit(y));
    "LayerNorm::forward_channels_uninit_with_stats, last": x gamma beta => y mean rstd;
        |a| LAYER_NORM.with_eps(a.eps).forward_channels_uninit_with_stats(
            x, gamma, beta, last(a.rows), uninit(y), mean, rstd);
    "Normalizer::forward": x => y;
        |a| Normalizer::new().forward(x, a.rows, y);
    "Normalizer::forward_in_place": => x;
        |a| Normalizer::new().forward_in_place(x, a.rows);
    "Normalizer::forward_uninit": x => y;
        |a| Normalizer::new().forward_uninit(x, a.rows, uninit(y));

    "RowMoments::compute": x => moments;
        |a| RowMoments::new().compute(x, a.rows, moments);
    "RowMoments::compute_prefixes": x lengths => moments;
        |a| RowMoments::new().compute_prefixes(x, lengths, a.rows, moments);
    "ColumnMoments::compute_masked": x row_bits => moments;
        |a| ColumnMoments::new().compute_masked(x, packed_rows(row_bits), a.rows, moments);
    "ColumnMoments::compute_masked_with_scratch": x lengths => moments scratch;
        |a| ColumnMoments::new().compute_masked_with_scratch(
            x, ValidRows::Lengths { lengths, steps: 1 }, a.rows, moments, scratch);
    "ColumnMoments::compute": x => moments;
        |a| ColumnMoments::new().compute(x, a.rows, moments);
    "ColumnMoments::compute_with_scratch": x => moments scratch;
        |a| ColumnMoments::new().compute_with_scratch(x, a.rows, moments, scratch);

    "Dropout::mask, packed": => packed;
        |a| a.dropout.mask(a.stream, a.rows.elements(), MaskMut::Packed(packed));
    "Dropout::mask, bytes": => bytes;
        |a| a.dropout.mask(a.stream, a.rows.elements(), MaskMut::Bytes(bytes));
    "Dropout::forward": x => y;
        |a| a.dropout.forward(x, a.stream, y);
    "Dropout::forward_with_mask, packed": x => y packed;
        |a| a.dropout.forward_with_mask(x, a.stream, y, MaskMut::Packed(packed));
    "Dropout::forward_with_mask, bytes": x => y bytes;
        |a| a.dropout.forward_with_mask(x, a.stream, y, MaskMut::Bytes(bytes));
    "Dropout::forward_in_place": => x;
        |a| a.dropout.forward_in_place(x, a.stream);
    "Dropout::forward_in_place_with_mask, packed": => x packed;
        |a| a.dropout.forward_in_place_with_mask(x, a.stream, MaskMut::Packed(packed));
    "Dropout::forward_in_place_with_mask, bytes": => x bytes;
        |a| a.dropout.forward_in_place_with_mask(x, a.stream, MaskMut::Bytes(bytes));
    "Dropout::forward_uninit": x => y;
        |a| a.dropout.forward_uninit(x, a.stream, uninit(y), None);
    "Dropout::forward_uninit, packed": x => y packed;
        |a| a.dropout.forward_uninit(x, a.stream, uninit(y), Some(MaskMut::Packed(packed)));
    "Dropout::forward_uninit, bytes": x => y bytes;
        |a| a.dropout.forward_uninit(x, a.stream, uninit(y), Some(MaskMut::Bytes(bytes)));
    "Dropout::forward_inference": x => y;
        |a| a.dropout.forward_inference(x, y);
    "Dropout::apply, packed": x packed => y;
        |a| a.dropout.apply(x, Mask::Packed(packed), y);
    "Dropout::apply, bytes": x bytes => y;
        |a| a.dropout.apply(x, Mask::Bytes(bytes), y);
    "Dropout::apply_in_place, packed": packed => x;
        |a| a.dropout.apply_in_place(x, Mask::Packed(packed));
    "Dropout::apply_in_place, bytes": bytes => x;
        |a| a.dropout.apply_in_place(x, Mask::Bytes(bytes));
    "Dropout::apply_uninit, packed": x packed => y;
        |a| a.dropout.apply_uninit(x, Mask::Packed(packed), uninit(y));
    "Dropout::apply_uninit, bytes": x bytes => y;
        |a| a.dropout.apply_uninit(x, Mask::Bytes(bytes), uninit(y));
    "Dropout::backward": dy => dx;
        |a| a.dropout.backward(dy, a.stream, dx);
    "Dropout::backward_with_mask, packed": dy packed => dx;
        |a| a.dropout.backward_with_mask(dy, Mask::Packed(packed), dx);
    "Dropout::backward_with_mask, bytes": dy bytes => dx;
        |a| a.dropout.backward_with_mask(dy, Mask::Bytes(bytes), dx);

    "Regularizer::penalty": w => ;
        |a| a.regularizer.penalty(w);
    "Regularizer::add_gradient": w => gradient;
        |a| a.regularizer.add_gradient(w, gradient);
    "Regularizer::penalty_and_add_gradient": w => gradient;
        |a| a.regularizer.penalty_and_add_gradient(w, gradient);
    "Regularizer::decay": w => y;
        |a| a.regularizer.decay(w, a.rate, y);
    "Regularizer::decay_in_place": => w;
        |a| a.regularizer.decay_in_place(w, a.rate);
    "Regularizer::decay_uninit": w => y;
        |a| a.regularizer.decay_uninit(w, a.rate, uninit(y));
    "Regularizer::proximal": w => y;
        |a| a.regularizer.proximal(w, a.rate, y);
    "Regularizer::proximal_in_place": => w;
        |a| a.regularizer.proximal_in_place(w, a.rate);
    "Regularizer::proximal_uninit": w => y;
        |a| a.regularizer.proximal_uninit(w, a.rate, uninit(y));
};

impl Method {
    fn buffers(&self) -> impl Iterator<Item = &'static str> {
        self.reads.iter().chain(self.writes).copied()
    }
    fn takes(&self, buffer: &str) -> bool {
        self.buffers().any(|taken| taken == buffer)
    }
    fn takes_eps(&self) -> bool {
        let operation = self.name.split("::").next().unwrap_or_default();
        operation.ends_with("Norm")
    }
    fn trains(&self) -> bool {
        self.name.starts_with("BatchNorm::forward_training")
    }
    /// Whether channels fall into groups, perhaps of one.
    fn takes_groups(&self) -> bool {
        ["GroupNorm", "InstanceNorm"].iter().any(|name| self.name.starts_with(name))
    }
    fn drops(&self) -> bool {
        self.name.starts_with("Dropout::")
    }
    fn takes_p(&self) -> bool {
        self.drops() && self.name != "Dropout::forward_inference"
    }
    fn takes_stream(&self) -> bool {
        let given = ["apply", "backward_with_mask"];
        self.takes_p() && !given.iter().any(|name| self.name.contains(name))
    }

    fn regularizes(&self) -> bool {
        self.name.starts_with("Regularizer::")
    }
    /// The name of the rate that a regularizer takes.
    fn rate(&self) -> Option<&'static str> {
        let rates = [("decay", "learning_rate"), ("proximal", "step")];
        let rate = rates.into_iter().find(|(method, _)| self.name.contains(method));
        rate.map(|(_, rate)| rate).filter(|_| self.regularizes())
    }

    /// Whether a buffer sets the number of elements itself: dropout and regularizers know no shape.
    fn is_measure(&self, buffer: &str) -> bool {
        self.drops() && ["x", "dy"].contains(&buffer) || self.regularizes() && buffer == "w"
    }

    /// The name that a buffer has in the method's signature.
    fn arg(&self, buffer: &'static str) -> &'static str {
        let masks = ["packed", "bytes", "row_bits", "row_bytes"];
        if masks.contains(&buffer) { "mask" } else { buffer }
    }

    /// Whether statistics are one a column, not one a row.
    fn is_of_columns(&self) -> bool {
        let of_columns = ["BatchNorm", "InstanceNorm", "ColumnMoments", "columns"];
        of_columns.iter().any(|name| self.name.contains(name))
    }

    /// The length that a buffer must have.
    fn length(&self, buffer: &str, shape: Rows) -> usize {
        match buffer {
            "x" | "y" | "dx" | "dy" | "w" | "gradient" | "bytes" => shape.elements(),
            "residual" | "sum" | "z" => shape.elements(),
            "packed" => shape.elements().div_ceil(8),
            "row_bits" => shape.rows().div_ceil(8),
            "row_bytes" | "lengths" => shape.rows(),
            "gamma" | "beta" | "running_mean" | "running_var" => shape.cols(),
            // The one group of the one sample.
            "mean" | "rstd" if self.name.starts_with("GroupNorm") => 1,
            "mean" | "rstd" | "moments" if self.is_of_columns() => shape.cols(),
            "mean" | "rstd" | "moments" => shape.rows(),
            "scratch" if self.trains() && self.name.ends_with("first") => {
                BatchNorm::new().scratch_len(first(shape))
            }
            "scratch" if self.trains() => BatchNorm::new().scratch_len(shape),
            "scratch" if self.takes_groups() && self.name.ends_with("first") => 0,
            "scratch" if self.name.starts_with("GroupNorm") => GROUP_NORM.scratch_len(last(shape)),
            "scratch" if self.name.starts_with("Instance") => {
                INSTANCE_NORM.scratch_len(last(shape))
            }
            "scratch" => ColumnMoments::new().scratch_len(shape),
            _ => unreachable!("no buffer is named {buffer}"),
        }
    }

    /// The length of a buffer that the method takes, and of no other.
    fn taken(&self, buffer: &str, shape: Rows) -> usize {
        if self.takes(buffer) { self.length(buffer, shape) } else { 0 }
    }

    /// The axis without elements that statistics are asked of. A batch of no rows is fine.
    fn empty_axis(&self, shape: Rows) -> Option<&'static str> {
        let measures = ["mean", "rstd", "moments"].iter().any(|out| self.writes.contains(out));
        match (shape.rows(), shape.cols()) {
            (0, 1..) if self.name.starts_with("ColumnMoments") => Some("rows"),
            (_, 0) if measures && self.name.starts_with("GroupNorm") => Some("channels"),
            (0, 1..) if measures && self.takes_groups() => Some("positions"),
            (1.., 0) if measures && self.name.contains("forward_channels") => Some("channels"),
            (1.., 0) if measures && !self.is_of_columns() => Some("cols"),
            _ => None,
        }
    }

    /// Calls, and finds that it refuses as expected and leaves every buffer as it was.
    fn refuses(&self, arguments: &mut Arguments, expected: &Error) {
        let before = arguments.bits();
        let error = (self.call)(arguments).expect_err(self.name);
        // As text, since an error that holds a NaN equals no other.
        assert_eq!(format!("{error:?}"), format!("{expected:?}"), "{}", self.name);
        assert!(arguments.bits() == before, "{}: {error}, and yet something is written", self.name);
    }

    /// Calls, and finds that it succeeds and leaves every buffer as it was.
    fn does_nothing(&self, arguments: &mut Arguments) {
        let before = arguments.bits();
        assert_eq!((self.call)(arguments), Ok(()), "{} {:?}", self.name, arguments.rows);
        assert!(arguments.bits() == before, "{} {:?}", self.name, arguments.rows);
    }
}

/// A mask of rows, one bit each.
const fn packed_rows(bits: &[u8]) -> ValidRows<'_> {
    ValidRows::Mask(Mask::Packed(bits))
}

const fn running<'a>(mean: &'a mut [f32], var: &'a mut [f32]) -> Option<RunningStatistics<'a>> {
    Some(RunningStatistics { mean, var })
}

#[expect(unsafe_code, reason = "as an engine hands out memory that it has not initialised")]
fn uninit(y: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    let y: *mut [f32] = y;
    // SAFETY: the layout is the same, and the operations write nothing but numbers to it.
    unsafe { &mut *(y as *mut [MaybeUninit<f32>]) }
}

/// Elements on both sides of every buffer that no call may touch.
const MARGIN: usize = 20;

/// An element of a buffer.
trait Element: Copy {
    /// What is in memory that has yet to be written: NaN, with a payload that no arithmetic makes.
    const PAINT: Self;
    /// What is in memory that is read.
    const NUMBERS: [Self; 5];
    fn bits(self) -> [u64; 4];
}

impl Element for f32 {
    const PAINT: Self = f32::from_bits(0x7fc5_a5a5);
    const NUMBERS: [Self; 5] = [0.5, 7.5, 3.25, 10.5, 6.0];
    fn bits(self) -> [u64; 4] {
        [self.to_bits().into(), 0, 0, 0]
    }
}

impl Element for f64 {
    const PAINT: Self = f64::from_bits(0x7ff8_5a5a_a5a5_5a5a);
    const NUMBERS: [Self; 5] = [0.5, 7.5, 3.25, 10.5, 6.0];
    fn bits(self) -> [u64; 4] {
        [self.to_bits(), 0, 0, 0]
    }
}

impl Element for u8 {
    const PAINT: Self = 0xa5;
    const NUMBERS: [Self; 5] = [0, 1, 0x35, 0xff, 2];
    fn bits(self) -> [u64; 4] {
        [self.into(), 0, 0, 0]
    }
}

impl Element for usize {
    const PAINT: Self = 0x5a5a;
    const NUMBERS: [Self; 5] = [1, 0, 1, 1, 0];
    fn bits(self) -> [u64; 4] {
        [self as u64, 0, 0, 0]
    }
}

impl Element for Moments {
    const PAINT: Self =
        Moments { count: 0x5a5a, mean: f64::PAINT, mean_low: f64::PAINT, m2: f64::PAINT };
    const NUMBERS: [Self; 5] = [Self::PAINT; 5];
    fn bits(self) -> [u64; 4] {
        [self.count, self.mean.to_bits(), self.mean_low.to_bits(), self.m2.to_bits()]
    }
}

/// A buffer, within memory that is none.
struct Buffer<T>(Vec<T>);

impl<T: Element> Buffer<T> {
    fn new(len: usize, element: impl Fn(usize) -> T) -> Self {
        let mut memory = vec![T::PAINT; len + 2 * MARGIN];
        for i in 0..len {
            memory[MARGIN + i] = element(i);
        }
        Self(memory)
    }
    fn get(&self) -> &[T] {
        &self.0[MARGIN..self.0.len() - MARGIN]
    }
    fn get_mut(&mut self) -> &mut [T] {
        let end = self.0.len() - MARGIN;
        &mut self.0[MARGIN..end]
    }
}

/// gamma or beta.
struct Optional {
    buffer: Buffer<f32>,
    absent: bool,
}

impl Optional {
    fn get(&self) -> Option<&[f32]> {
        (!self.absent).then(|| self.buffer.get())
    }
}

/// A buffer of elements of any type.
trait AnyBuffer {
    fn len(&self) -> usize;
    fn resize(&mut self, len: usize);
    /// The bits of all of its memory.
    fn bits(&self) -> Vec<[u64; 4]>;
}

impl<T: Element> AnyBuffer for Buffer<T> {
    fn len(&self) -> usize {
        self.get().len()
    }
    fn resize(&mut self, len: usize) {
        let old = self.get().to_vec();
        *self = Self::new(len, |i| old.get(i).copied().unwrap_or(T::NUMBERS[i % 5]));
    }
    fn bits(&self) -> Vec<[u64; 4]> {
        self.0.iter().map(|element| element.bits()).collect()
    }
}

const BUFFERS: usize = 22;

/// The arguments of any method: those of one call, and some that it does not take.
struct Arguments {
    rows: Rows,
    eps: f64,
    batch_norm: BatchNorm,
    dropout: Dropout,
    stream: Stream,
    regularizer: Regularizer,
    rate: f64,
    x: Buffer<f32>,
    dy: Buffer<f32>,
    gamma: Optional,
    beta: Optional,
    y: Buffer<f32>,
    dx: Buffer<f32>,
    w: Buffer<f32>,
    gradient: Buffer<f32>,
    residual: Buffer<f32>,
    sum: Buffer<f32>,
    z: Buffer<f32>,
    packed: Buffer<u8>,
    bytes: Buffer<u8>,
    row_bits: Buffer<u8>,
    row_bytes: Buffer<u8>,
    lengths: Buffer<usize>,
    mean: Buffer<f64>,
    rstd: Buffer<f64>,
    moments: Buffer<Moments>,
    running_mean: Buffer<f32>,
    running_var: Buffer<f32>,
    scratch: Buffer<f64>,
}

impl Arguments {
    /// What is right for a method: paint in what it only writes, numbers in what it reads, nothing in the rest.
    fn right(method: &Method, (rows, cols): (usize, usize)) -> Self {
        fn new<T: Element>(method: &Method, name: &str, rows: Rows) -> Buffer<T> {
            let fresh =
                ["y", "dx", "sum", "packed", "bytes", "mean", "rstd", "moments"].contains(&name);
            let painted = fresh && !method.reads.contains(&name);
            let elements = if painted { [T::PAINT; 5] } else { T::NUMBERS };
            Buffer::new(method.taken(name, rows), |i| elements[i % 5])
        }
        let rows = Rows::new(rows, cols).expect("a small shape");
        Self {
            rows,
            eps: 1e-5,
            batch_norm: BatchNorm::new(),
            dropout: Dropout::new(),
            stream: Stream { seed: 1, offset: 3 },
            regularizer: Regularizer::new().with_l1(0.1).with_l2(0.2),
            rate: 0.3,
            x: new(method, "x", rows),
            dy: new(method, "dy", rows),
            gamma: Optional { buffer: new(method, "gamma", rows), absent: false },
            beta: Optional { buffer: new(method, "beta", rows), absent: false },
            y: new(method, "y", rows),
            dx: new(method, "dx", rows),
            w: new(method, "w", rows),
            gradient: new(method, "gradient", rows),
            residual: new(method, "residual", rows),
            sum: new(method, "sum", rows),
            z: new(method, "z", rows),
            packed: new(method, "packed", rows),
            bytes: new(method, "bytes", rows),
            // All rows are valid, and one element of each.
            row_bits: Buffer::new(method.taken("row_bits", rows), |_| u8::MAX),
            row_bytes: Buffer::new(method.taken("row_bytes", rows), |i| 1 + i as u8 % 9),
            lengths: Buffer::new(method.taken("lengths", rows), |_| 1),
            mean: new(method, "mean", rows),
            rstd: new(method, "rstd", rows),
            moments: new(method, "moments", rows),
            running_mean: new(method, "running_mean", rows),
            running_var: new(method, "running_var", rows),
            scratch: new(method, "scratch", rows),
        }
    }

    fn buffers(&mut self) -> [(&'static str, &mut dyn AnyBuffer); BUFFERS] {
        [
            ("x", &mut self.x),
            ("dy", &mut self.dy),
            ("gamma", &mut self.gamma.buffer),
            ("beta", &mut self.beta.buffer),
            ("y", &mut self.y),
            ("dx", &mut self.dx),
            ("w", &mut self.w),
            ("gradient", &mut self.gradient),
            ("residual", &mut self.residual),
            ("sum", &mut self.sum),
            ("z", &mut self.z),
            ("packed", &mut self.packed),
            ("bytes", &mut self.bytes),
            ("row_bits", &mut self.row_bits),
            ("row_bytes", &mut self.row_bytes),
            ("lengths", &mut self.lengths),
            ("mean", &mut self.mean),
            ("rstd", &mut self.rstd),
            ("moments", &mut self.moments),
            ("running_mean", &mut self.running_mean),
            ("running_var", &mut self.running_var),
            ("scratch", &mut self.scratch),
        ]
    }

    fn buffer(&mut self, name: &str) -> &mut dyn AnyBuffer {
        let named = self.buffers().into_iter().find(|(other, _)| *other == name);
        named.expect("a buffer's name").1
    }

    /// Every buffer's name, and the bits of it and its margins.
    fn bits(&mut self) -> [(&'static str, Vec<[u64; 4]>); BUFFERS] {
        self.buffers().map(|(name, buffer)| (name, buffer.bits()))
    }
}

const SHAPES: [(usize, usize); 7] = [(1, 1), (2, 3), (3, 16), (5, 17), (4, 67), (9, 33), (70, 5)];

/// Otherwise a refusal would prove nothing.
#[test]
fn right_arguments_are_accepted_and_every_output_is_written() {
    let paint = [f32::PAINT.bits(), f64::PAINT.bits(), Moments::PAINT.bits()];
    for method in METHODS {
        for shape in SHAPES {
            let mut arguments = Arguments::right(method, shape);
            let before = arguments.bits();
            assert_eq!((method.call)(&mut arguments), Ok(()), "{}", method.name);
            for ((name, before), (_, after)) in before.into_iter().zip(arguments.bits()) {
                let what = format!("{}: {name}, {shape:?}", method.name);
                if method.writes.contains(&name) {
                    let end = after.len() - MARGIN;
                    let around = |memory: &[_]| [&memory[..MARGIN], &memory[end..]].concat();
                    assert_eq!(around(&after), around(&before), "{what}, the memory around it");
                    let painted = after[MARGIN..end].iter().any(|bits| paint.contains(bits));
                    assert!(!painted, "{what} is written to the last element");
                } else {
                    assert_eq!(after, before, "{what} is only read");
                }
            }
        }
    }
}

/// Rows at a pitch: less than a row, or more than the slices have, or than memory has.
#[test]
fn a_pitch_that_does_not_fit() {
    let shape = Rows::new(3, 5).expect("a small shape");
    let length = |arg, expected, got| Error::Length { arg, expected, got };
    let (pitch, most) = (usize::MAX / 2, [1, 3, usize::MAX / 2]);
    let overflow = Error::ShapeOverflow { arg: "x_pitch", got: most };
    for (len, pitch, expected) in [
        (15, 4, length("x_pitch", 5, 4)),
        (15, 0, length("x_pitch", 5, 0)),
        (20, 8, length("x", 21, 20)),
        (0, 5, length("x", 15, 0)),
        (20, pitch, overflow),
    ] {
        let (mut x, mut y) = (vec![1.5; len], [7.5; 40]);
        let mut moments = [Moments::PAINT; 3];
        let given = [0.5; 3];
        let refusals = [
            LAYER_NORM.forward_strided(&x, pitch, None, None, shape, &mut y, 6),
            RMS_NORM.forward_strided(&x, pitch, None, None, shape, &mut y, 6),
            NORMALIZE.forward_strided(&x, pitch, &given, &given, None, None, shape, &mut y, 6),
            RowMoments::new().compute_strided(&x, pitch, shape, &mut moments),
            LAYER_NORM.forward_strided_in_place(&mut x, pitch, None, None, shape),
            RMS_NORM.forward_strided_in_place(&mut x, pitch, None, None, shape),
            NORMALIZE.forward_strided_in_place(&mut x, pitch, &given, &given, None, None, shape),
        ];
        for refused in refusals {
            assert_eq!(refused, Err(expected.clone()), "{len} elements, pitch {pitch}");
        }
        assert_eq!((x, y), (vec![1.5; len], [7.5; 40]));
        assert!(moments.iter().all(|row| row.bits() == Moments::PAINT.bits()));
    }
    let mut y = [7.5; 16];
    for (y_pitch, expected) in [(4, length("y_pitch", 5, 4)), (6, length("y", 17, 16))] {
        let refused = LAYER_NORM.forward_strided(&[1.5; 15], 5, None, None, shape, &mut y, y_pitch);
        assert_eq!(refused, Err(expected));
    }
    assert_eq!(y, [7.5; 16]);
}

#[test]
fn a_length_that_is_not_the_shapes() {
    for method in METHODS {
        for shape in SHAPES {
            for buffer in method.buffers().filter(|buffer| !method.is_measure(buffer)) {
                let expected = method.length(buffer, Arguments::right(method, shape).rows);
                let arg = method.arg(buffer);
                // Where no scratch is needed, none is too little.
                for got in [expected.saturating_sub(1), expected + 1, 0, 2 * expected] {
                    // gamma and beta are independent of each other.
                    for absent in ["neither", "gamma", "beta"] {
                        if absent == buffer || absent != "neither" && !method.takes(absent) {
                            continue;
                        }
                        let mut arguments = Arguments::right(method, shape);
                        arguments.gamma.absent = absent == "gamma";
                        arguments.beta.absent = absent == "beta";
                        arguments.buffer(buffer).resize(got);
                        if arg == "scratch" && got >= expected {
                            assert_eq!((method.call)(&mut arguments), Ok(()), "{}", method.name);
                        } else {
                            method.refuses(&mut arguments, &Error::Length { arg, expected, got });
                        }
                    }
                }
            }
        }
    }
}

/// Lengths are checked before it is asked whether there is anything to do.
#[test]
fn a_length_that_is_not_that_of_an_empty_shape() {
    for method in METHODS {
        for shape in [(0, 0), (0, 5), (5, 0)] {
            let exact = |buffer: &&str| *buffer != "scratch" && !method.is_measure(buffer);
            for buffer in method.buffers().filter(exact) {
                let mut arguments = Arguments::right(method, shape);
                let expected = method.length(buffer, arguments.rows);
                let (arg, got) = (method.arg(buffer), expected + 1);
                arguments.buffer(buffer).resize(got);
                if method.empty_axis(arguments.rows).is_some() {
                    // Two things are wrong. Either may be said.
                    let before = arguments.bits();
                    assert!((method.call)(&mut arguments).is_err(), "{}", method.name);
                    assert!(arguments.bits() == before, "{}", method.name);
                } else {
                    method.refuses(&mut arguments, &Error::Length { arg, expected, got });
                }
            }
        }
    }
}

#[test]
fn an_eps_that_is_negative_or_not_finite() {
    let expected = "a finite number of at least 0";
    for method in METHODS.iter().filter(|method| method.takes_eps()) {
        for got in [-1e-9, -1e300, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for shape in SHAPES.into_iter().chain([(0, 0), (0, 5)]) {
                let mut arguments = Arguments::right(method, shape);
                arguments.eps = got;
                method.refuses(&mut arguments, &Error::Parameter { arg: "eps", expected, got });
            }
        }
        for right in [0.0, -0.0, f64::from_bits(1), 1e-5, 1.0, f64::MAX] {
            let mut arguments = Arguments::right(method, (2, 3));
            arguments.eps = right;
            assert_eq!((method.call)(&mut arguments), Ok(()), "{}: {right:e}", method.name);
        }
    }
}

#[test]
fn a_momentum_that_is_not_from_0_to_1() {
    let (expected, new) = ("a number from 0 to 1", BatchNorm::new());
    let both = |momentum| [new.with_momentum(momentum), new.with_pytorch_momentum(momentum)];
    let cumulative = [0, 1, u64::MAX].map(|batches| new.with_cumulative_average(batches));
    for method in METHODS.iter().filter(|method| method.trains()) {
        for got in [-1e-9, 1.0 + f64::EPSILON, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for batch_norm in both(got) {
                let mut arguments = Arguments::right(method, (2, 3));
                arguments.batch_norm = batch_norm;
                let expected = Error::Parameter { arg: "momentum", expected, got };
                method.refuses(&mut arguments, &expected);
            }
        }
        for batch_norm in [0.0, -0.0, 0.5, 1.0].into_iter().flat_map(both).chain(cumulative) {
            let mut arguments = Arguments::right(method, (2, 3));
            arguments.batch_norm = batch_norm;
            assert_eq!((method.call)(&mut arguments), Ok(()), "{} {batch_norm:?}", method.name);
        }
    }
}

#[test]
fn a_running_variance_that_is_negative() {
    let (arg, expected) = ("running_var", "numbers of at least 0");
    for method in METHODS.iter().filter(|method| method.takes(arg)) {
        for shape in [(2, 1), (2, 3), (70, 33), (0, 5)] {
            for at in 0..shape.1 {
                for var in [-1.5, -f32::from_bits(1), f32::NEG_INFINITY] {
                    let mut arguments = Arguments::right(method, shape);
                    arguments.running_var.get_mut()[at] = var;
                    let got = f64::from(var);
                    method.refuses(&mut arguments, &Error::Parameter { arg, expected, got });
                }
            }
        }
        // However many are, the least is named.
        for negative in [2, 3] {
            let mut arguments = Arguments::right(method, (2, 3));
            let least_second = &[-1.5, -2.5, -0.5][..negative];
            arguments.running_var.get_mut()[..negative].copy_from_slice(least_second);
            method.refuses(&mut arguments, &Error::Parameter { arg, expected, got: -2.5 });
        }
        let mut arguments = Arguments::right(method, (2, 3));
        arguments.running_var.get_mut().copy_from_slice(&[0.0, -0.0, f32::MAX]);
        assert_eq!((method.call)(&mut arguments), Ok(()), "{}", method.name);
    }
}

#[test]
fn a_probability_that_is_not_from_0_to_1() {
    let (arg, expected) = ("p", "a probability, from 0 to 1");
    for got in [-1e-9, -0.5, 1.0 + f64::EPSILON, 2.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let (dropout, error) =
            (Dropout::new().with_p(got), Error::Parameter { arg, expected, got });
        for method in METHODS.iter().filter(|method| method.takes_p()) {
            for shape in [(1, 1), (2, 3), (3, 67), (0, 0), (5, 0)] {
                let mut arguments = Arguments::right(method, shape);
                arguments.dropout = dropout;
                method.refuses(&mut arguments, &error);
            }
        }
        // As text, since an error that holds a NaN equals no other.
        assert_eq!(format!("{:?}", dropout.realised_p()), format!("{:?}", Err::<f64, _>(&error)));
        assert_eq!(format!("{:?}", dropout.scale()), format!("{:?}", Err::<f32, _>(&error)));
    }
    for p in [0.0, -0.0, f64::from_bits(1), 1e-300, 0.5, 1.0 - f64::EPSILON / 2.0, 1.0] {
        for method in METHODS.iter().filter(|method| method.drops()) {
            let mut arguments = Arguments::right(method, (2, 35));
            arguments.dropout = Dropout::new().with_p(p);
            assert_eq!((method.call)(&mut arguments), Ok(()), "{}: {p:e}", method.name);
        }
    }
}

#[test]
fn a_factor_or_a_rate_that_is_negative_or_not_finite() {
    let expected = "a finite number of at least 0";
    let set = |arguments: &mut Arguments, arg: &str, to: f64| match arg {
        "l1" => arguments.regularizer = arguments.regularizer.with_l1(to),
        "l2" => arguments.regularizer = arguments.regularizer.with_l2(to),
        _ => arguments.rate = to,
    };
    for method in METHODS.iter().filter(|method| method.regularizes()) {
        for arg in ["l1", "l2"].into_iter().chain(method.rate()) {
            for got in [-1e-9, -1e300, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                for shape in SHAPES.into_iter().chain([(0, 0)]) {
                    let mut arguments = Arguments::right(method, shape);
                    set(&mut arguments, arg, got);
                    method.refuses(&mut arguments, &Error::Parameter { arg, expected, got });
                }
            }
            for right in [0.0, -0.0, f64::from_bits(1), 1e-5, 1.0, f64::MAX] {
                let mut arguments = Arguments::right(method, (2, 3));
                set(&mut arguments, arg, right);
                assert_eq!((method.call)(&mut arguments), Ok(()), "{}: {right:e}", method.name);
            }
        }
    }
}

/// The stream has 2^64 elements. Whether p asks for any of them makes no difference.
#[test]
fn a_range_that_ends_beyond_the_stream() {
    for method in METHODS.iter().filter(|method| method.takes_stream()) {
        for p in [0.0, 0.001, 0.5, 1.0] {
            for (rows, cols) in SHAPES {
                let (len, dropout) = (rows * cols, Dropout::new().with_p(p));
                let last = u64::MAX - (len as u64 - 1);
                for offset in [last.saturating_add(1), u64::MAX].into_iter().filter(|&at| at > last)
                {
                    let mut arguments = Arguments::right(method, (rows, cols));
                    (arguments.dropout, arguments.stream.offset) = (dropout, offset);
                    method.refuses(&mut arguments, &Error::StreamOverflow { offset, len });
                }
                let mut arguments = Arguments::right(method, (rows, cols));
                (arguments.dropout, arguments.stream.offset) = (dropout, last);
                assert_eq!((method.call)(&mut arguments), Ok(()), "{}, {len}", method.name);
            }
            // No elements end nowhere.
            let mut arguments = Arguments::right(method, (0, 0));
            arguments.stream.offset = u64::MAX;
            method.does_nothing(&mut arguments);
        }
    }
}

/// One row has no unbiased variance. It matters where a running variance is to follow it.
#[test]
fn a_batch_of_one_row_whose_variance_is_to_be_unbiased() {
    let expected = Error::TooFewRows { arg: "unbiased variance", expected: 2, got: 1 };
    for method in METHODS.iter().filter(|method| method.trains()) {
        for (rows, unbiased) in [(1, true), (1, false), (2, true), (0, true)] {
            let mut arguments = Arguments::right(method, (rows, 3));
            arguments.batch_norm = BatchNorm::new().with_unbiased_running_var(unbiased);
            if (rows, unbiased) == (1, true) && method.writes.contains(&"running_var") {
                method.refuses(&mut arguments, &expected);
            } else {
                assert_eq!((method.call)(&mut arguments), Ok(()), "{}", method.name);
            }
        }
    }
}

#[test]
fn a_length_of_a_sample_that_is_more_than_there_is() {
    for method in METHODS.iter().filter(|method| method.reads.contains(&"lengths")) {
        for (shape, sample) in [((1, 1), 0), ((5, 17), 0), ((5, 17), 4), ((70, 5), 33)] {
            let most = if method.is_of_columns() { 1 } else { shape.1 };
            for got in [most + 1, usize::MAX] {
                let mut arguments = Arguments::right(method, shape);
                arguments.lengths.get_mut()[sample] = got;
                // The first of several is named.
                arguments.lengths.get_mut()[shape.0 - 1] = got;
                method.refuses(&mut arguments, &Error::SampleLength { sample, most, got });
            }
        }
    }
}

/// Samples of steps are the rows of the matrix.
#[test]
fn samples_and_steps_that_are_not_the_rows() {
    let (x, moments) = ([1.0; 12], &mut [Moments::PAINT; 2]);
    let expected = "a divisor of the number of rows";
    let rows = Rows::new(6, 2).expect("a small shape");
    let mut refuse = |lengths: &[usize], steps, expected| {
        let valid = ValidRows::Lengths { lengths, steps };
        let result = ColumnMoments::new().compute_masked(&x, valid, rows, moments);
        assert_eq!(result, Err(expected), "{lengths:?}, {steps}");
        assert_eq!(moments.map(|moments| moments.count), [Moments::PAINT.count; 2]);
    };
    for steps in [0, 4, 5, 7, 12, usize::MAX] {
        let got = steps as f64;
        refuse(&[1], steps, Error::Parameter { arg: "steps", expected, got });
    }
    for (steps, lengths) in [(1, 6), (2, 3), (3, 2), (6, 1)] {
        for got in [0, lengths - 1, lengths + 1].into_iter().filter(|&got| got != lengths) {
            let error = Error::Length { arg: "lengths", expected: lengths, got };
            refuse(&[1; 7][..got], steps, error);
        }
    }
    // Right ones; and any number of samples without steps, of which none has a step.
    let (of_two, none) = (ValidRows::Lengths { lengths: &[2, 0, 1], steps: 2 }, [0; 3]);
    assert_eq!(ColumnMoments::new().compute_masked(&x, of_two, rows, moments), Ok(()));
    assert_eq!(moments.map(|moments| moments.count), [3; 2]);
    let (mean, rstd, empty) = (&mut [7.0; 2], &mut [7.0; 2], Rows::new(0, 2).expect("empty"));
    let mut train = |lengths| {
        let valid = ValidRows::Lengths { lengths, steps: 0 };
        BatchNorm::new().forward_training_masked(
            &[],
            valid,
            None,
            None,
            empty,
            &mut [],
            mean,
            rstd,
            None,
        )
    };
    assert_eq!(train(&none), Ok(()));
    assert_eq!(train(&[0, 1]), Err(Error::SampleLength { sample: 1, most: 0, got: 1 }));
}

#[test]
fn empty_shapes_are_no_work_and_have_no_statistic() {
    for method in METHODS {
        for shape in [(0, 0), (0, 1), (0, 5), (0, 67), (1, 0), (2, 0), (9, 0)] {
            let mut arguments = Arguments::right(method, shape);
            match method.empty_axis(arguments.rows) {
                Some(arg) => method.refuses(&mut arguments, &Error::EmptyAxis { arg }),
                None => method.does_nothing(&mut arguments),
            }
        }
    }
}

/// Where rows are empty there may be any number of them, and without rows they may have any length.
#[test]
fn the_largest_empty_shapes() {
    const MOST: usize = usize::MAX;
    for method in METHODS {
        for (rows, cols) in [(0, MOST), (MOST, 0)] {
            let mut arguments = Arguments::right(method, (0, 0));
            let none = arguments.rows;
            (arguments.gamma.absent, arguments.beta.absent) = (true, true);
            arguments.rows = Rows::new(rows, cols).expect("no elements");
            let lengths =
                |buffer| (method.length(buffer, arguments.rows), method.length(buffer, none));
            let statistics = method.buffers().filter(|name| !["gamma", "beta"].contains(name));
            match { statistics }.map(|buffer| (buffer, lengths(buffer))).find(|(_, (a, b))| a > b) {
                Some((buffer, (expected, got))) => {
                    let expected = Error::Length { arg: method.arg(buffer), expected, got };
                    method.refuses(&mut arguments, &expected);
                }
                None => match method.empty_axis(arguments.rows) {
                    Some(arg) => method.refuses(&mut arguments, &Error::EmptyAxis { arg }),
                    None => method.does_nothing(&mut arguments),
                },
            }
        }
    }
}

#[test]
fn groups_that_do_not_divide_the_channels() {
    let (x, mut y) = ([1.0; 24], [7.0; 24]);
    for shape in [Channels::first(2, 12, 1), Channels::first(1, 12, 2), Channels::last(1, 2, 12)] {
        let shape = shape.expect("a small shape");
        for got in [0, 5, 7, 8, 24, usize::MAX] {
            let norm = GroupNorm::new().with_groups(got);
            let expected = Err(Error::Groups { channels: 12, got });
            assert_eq!(norm.forward(&x, None, None, shape, &mut y), expected, "{shape:?}");
            assert_eq!(norm.forward_in_place(&mut y, None, None, shape), expected, "{shape:?}");
            assert_eq!(y, [7.0; 24], "{shape:?}: written, and yet refused");
        }
        for groups in [1, 2, 3, 4, 6, 12] {
            let norm = GroupNorm::new().with_groups(groups);
            assert_eq!(norm.forward(&x, None, None, shape, &mut y.clone()), Ok(()), "{shape:?}");
        }
    }
    // The groups of no channels are any number.
    let none = Channels::first(2, 0, 3).expect("no elements");
    assert_eq!(GroupNorm::new().forward(&[], None, None, none, &mut []), Ok(()));
    let expected = Err(Error::Groups { channels: 0, got: 0 });
    let norm = GroupNorm::new().with_groups(0);
    assert_eq!(norm.forward(&[], None, None, none, &mut []), expected);
}

#[test]
fn a_shape_that_no_slice_can_have() {
    const MOST: usize = isize::MAX as usize / size_of::<f64>();
    const HALF: usize = 1 << (usize::BITS / 2);
    let largest = [(MOST, 1), (1, MOST), (MOST / 2, 2), (usize::MAX, 0), (0, usize::MAX), (0, 0)];
    for (rows, cols) in largest {
        let shape = Rows::new(rows, cols).expect("a shape that fits");
        assert_eq!((shape.rows(), shape.cols()), (rows, cols));
        assert_eq!(shape.elements(), rows * cols);
    }
    // HALF * HALF comes back to 0 elements and usize::MAX * usize::MAX to 1.
    let too_large = [[MOST + 1, 1], [1, MOST + 1], [MOST / 2 + 1, 2], [usize::MAX, 1]];
    for got in too_large.into_iter().chain([[usize::MAX, 2], [HALF, HALF], [usize::MAX; 2]]) {
        let [rows, cols] = got;
        assert_eq!(
            Rows::new(rows, cols),
            Err(Error::ShapeOverflow { arg: "rows", got: [1, rows, cols] })
        );
    }
}

#[test]
fn a_name_that_no_backend_has_or_whose_backend_this_cpu_lacks() {
    for name in ["sse9", "", "AVX2", " avx2", "avx2 ", "avx512f", "auto"] {
        let expected = Error::UnknownBackend { got: name.to_owned() };
        assert_eq!(Backend::by_name(name), Err(expected));
    }
    for name in Backend::NAMES {
        let available = Backend::available().find(|backend| backend.name() == name);
        let expected = available.ok_or(Error::UnavailableBackend { got: name });
        assert_eq!(Backend::by_name(name), expected);
    }
    assert_eq!(Backend::by_name("portable"), Ok(Backend::portable()));
    assert_eq!(Backend::by_name("avx2").ok(), Backend::avx2());
    assert_eq!(Backend::by_name("avx512").ok(), Backend::avx512());
}

/// Every variant names the argument, what was expected and what came.
#[test]
fn what_an_error_says() {
    macro_rules! table {
        ($($error:expr => $text:expr;)+) => { [$(($error, $text)),+] };
    }
    let (arg, expected) = ("eps", "a finite number of at least 0");
    let says = table! {
        Error::Length { arg: "gamma", expected: 768, got: 767 }
            => "`gamma`: expected 768 elements, got 767";
        Error::ShapeOverflow { arg: "rows", got: [1, 12, usize::MAX] }
            => &format!("`rows`: expected at most {} elements, got 12 x {}", isize::MAX / 8, usize::MAX);
        Error::ShapeOverflow { arg: "shape", got: [2, 3, usize::MAX] }
            => &format!("`shape`: expected at most {} elements, got 2 x 3 x {}", isize::MAX / 8, usize::MAX);
        Error::Groups { channels: 48, got: 32 }
            => "`groups`: expected a divisor of the 48 channels, got 32";
        Error::Parameter { arg, expected, got: -0.5 }
            => "`eps`: expected a finite number of at least 0, got -0.5";
        Error::Parameter { arg, expected, got: f64::NAN }
            => "`eps`: expected a finite number of at least 0, got NaN";
        Error::EmptyAxis { arg: "cols" }
            => "`cols`: expected at least 1 where a statistic is asked for, got 0";
        Error::TooFewRows { arg: "unbiased variance", expected: 2, got: 1 }
            => "`rows`: expected at least 2 rows for the unbiased variance, got 1";
        Error::SampleLength { sample: 2, most: 10, got: 11 }
            => "`lengths`: expected at most 10 for sample 2, got 11";
        Error::StreamOverflow { offset: 1 << 63, len: 70 }
            => "`offset`: expected at most 2^64 - 70 for 70 elements, got 9223372036854775808";
        Error::UnknownBackend { got: "sse9".to_owned() }
            => "`name`: expected one of [\"portable\", \"avx2\", \"avx512\"], got \"sse9\"";
        Error::UnavailableBackend { got: "avx512" }
            => "`name`: expected a backend that this CPU has, got \"avx512\"";
    };
    for (error, text) in says {
        assert_eq!(error.to_string(), text);
        let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
        assert_eq!(boxed.to_string(), text);
    }
}

/// Lengths and shapes that have broken kernels: small ones, those around powers of two at which a narrower integer
/// wraps or turns negative, those next to the largest, and any.
fn size() -> impl Strategy<Value = usize> {
    let around = |bit: u32| (-3..=3_i64).prop_map(move |by| (1_u64 << bit).wrapping_add_signed(by));
    prop_oneof![
        4 => 0..6_u64,
        2 => 0..70_u64,
        1 => prop::sample::select(vec![15, 16, 31, 32, 33, 60, 61, 62, 63]).prop_flat_map(around),
        1 => u64::MAX - 3..=u64::MAX,
        1 => any::<u64>(),
    ]
    .prop_map(|size| size as usize)
}

/// `rights` three times of four, or any of `wrongs`, with some that are right after all.
fn mostly(right: f64, wrongs: Vec<f64>) -> impl Strategy<Value = f64> {
    prop_oneof![15 => Just(right), 1 => prop::sample::select(wrongs), 1 => any::<f64>()]
}

/// What a call is given besides its buffers.
#[derive(Clone, Copy, Debug)]
struct Parameters {
    eps: f64,
    momentum: f64,
    unbiased: bool,
    p: f64,
    offset: u64,
    l1: f64,
    l2: f64,
    rate: f64,
}

fn parameters() -> impl Strategy<Value = Parameters> {
    let numbers = vec![0.0, -0.0, 1.0, -1e-300, 1.0 + f64::EPSILON, f64::INFINITY, f64::NAN];
    let offset = prop_oneof![8 => Just(3), 1 => u64::MAX - 300..=u64::MAX, 1 => any::<u64>()];
    let [eps, momentum, p, l1, l2, rate] =
        [1e-5, 0.9, 0.5, 0.1, 0.2, 0.3].map(|right| mostly(right, numbers.clone()));
    (eps, momentum, any::<bool>(), p, offset, (l1, l2, rate)).prop_map(
        |(eps, momentum, unbiased, p, offset, (l1, l2, rate))| Parameters {
            eps,
            momentum,
            unbiased,
            p,
            offset,
            l1,
            l2,
            rate,
        },
    )
}

impl Method {
    /// All that is wrong with a call, by the docs. A call may say any of it.
    fn faults(&self, arguments: &mut Arguments, parameters: Parameters) -> Vec<Error> {
        let Parameters { eps, momentum, unbiased, p, offset, l1, l2, rate } = parameters;
        let mut faults = Vec::new();
        // Dropout has the shape of its input.
        let measure = self.buffers().find(|buffer| self.is_measure(buffer));
        let shape = match measure.map(|buffer| arguments.buffer(buffer).len()) {
            Some(len) => Rows::new(1, len).expect("the length of a buffer"),
            None => arguments.rows,
        };
        for buffer in self.buffers() {
            let absent = match buffer {
                "gamma" => arguments.gamma.absent,
                "beta" => arguments.beta.absent,
                _ => false,
            };
            let (expected, got) = (self.length(buffer, shape), arguments.buffer(buffer).len());
            let enough = if buffer == "scratch" { got >= expected } else { got == expected };
            if !absent && !enough {
                faults.push(Error::Length { arg: self.arg(buffer), expected, got });
            }
            if buffer == "running_var" {
                let least = arguments.running_var.get().iter().copied().fold(0.0, f32::min);
                let (expected, got) = ("numbers of at least 0", least.into());
                if got < 0.0 {
                    faults.push(Error::Parameter { arg: buffer, expected, got });
                }
            }
        }
        let unit = |number: f64| (0.0..=1.0).contains(&number);
        let mut demand = |right: bool, arg, expected, got| {
            if !right {
                faults.push(Error::Parameter { arg, expected, got });
            }
        };
        if self.takes_eps() {
            let right = (0.0..f64::INFINITY).contains(&eps);
            demand(right, "eps", "a finite number of at least 0", eps);
        }
        if self.trains() {
            demand(unit(momentum), "momentum", "a number from 0 to 1", momentum);
        }
        if self.takes_p() {
            demand(unit(p), "p", "a probability, from 0 to 1", p);
        }
        if self.regularizes() {
            let rates = self.rate().map(|arg| (arg, rate));
            for (arg, number) in [("l1", l1), ("l2", l2)].into_iter().chain(rates) {
                let right = (0.0..f64::INFINITY).contains(&number);
                demand(right, arg, "a finite number of at least 0", number);
            }
        }
        if self.takes_stream() && (1 << 64) - u128::from(offset) < shape.elements() as u128 {
            faults.push(Error::StreamOverflow { offset, len: shape.elements() });
        }
        let valid = self.valid_rows(arguments, shape);
        if self.writes.contains(&"running_var") && unbiased && valid == 1 {
            faults.push(Error::TooFewRows { arg: "unbiased variance", expected: 2, got: 1 });
        }
        faults.extend(self.empty_axis(shape).map(|arg| Error::EmptyAxis { arg }));
        if valid == 0 && self.name.starts_with("ColumnMoments") && shape.cols() > 0 {
            faults.push(Error::EmptyAxis { arg: "rows" });
        }
        let most = if self.is_of_columns() { 1 } else { shape.cols() };
        let lengths = arguments.lengths.get();
        if let Some(sample) = lengths.iter().position(|&length| length > most)
            && self.reads.contains(&"lengths")
        {
            faults.push(Error::SampleLength { sample, most, got: lengths[sample] });
        }
        faults
    }

    /// The number of valid rows, as far as buffers of this length say.
    fn valid_rows(&self, arguments: &Arguments, shape: Rows) -> usize {
        let (bits, bytes) = (arguments.row_bits.get(), arguments.row_bytes.get());
        let lengths = arguments.lengths.get();
        let right = |buffer, len| self.reads.contains(&buffer) && len == self.length(buffer, shape);
        match shape.rows() {
            n if right("row_bits", bits.len()) => {
                (0..n).filter(|&r| bits[r / 8] >> (r % 8) & 1 == 1).count()
            }
            n if right("row_bytes", bytes.len()) => (0..n).filter(|&r| bytes[r] != 0).count(),
            _ if right("lengths", lengths.len()) => lengths.iter().filter(|&&n| n > 0).count(),
            n => n,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_two_numbers_are_a_shape_that_a_slice_can_have_or_an_error(rows in size(), cols in size()) {
        let shape = Rows::new(rows, cols);
        let elements = rows as u128 * cols as u128;
        if elements <= isize::MAX as u128 / 8 {
            let shape = shape.unwrap();
            prop_assert_eq!((shape.rows(), shape.cols()), (rows, cols));
            prop_assert_eq!(shape.elements() as u128, elements);
            // What scratch such a shape needs is asked before there is an x.
            for parallelism in [Parallelism::Serial, Parallelism::Auto] {
                let len = ColumnMoments::new().with_parallelism(parallelism).scratch_len(shape);
                prop_assert!(len >= 2 * cols.min(usize::MAX / 2));
                let batch_norm = BatchNorm::new().with_parallelism(parallelism);
                prop_assert_eq!(batch_norm.scratch_len(shape), len);
            }
        } else {
            prop_assert_eq!(shape, Err(Error::ShapeOverflow { arg: "rows", got: [1, rows, cols] }));
        }
    }

    /// Of any two of the three, too: no product of dimensions is checked again.
    #[test]
    fn any_three_numbers_are_a_shape_that_a_slice_can_have_or_an_error(
        batch in size(), channels in size(), positions in size(),
    ) {
        let product = |a: usize, b: usize| a as u128 * b as u128;
        let pairs = [(batch, channels), (batch, positions), (channels, positions)];
        let elements = product(batch, channels).checked_mul(positions as u128);
        let fits = elements.is_some_and(|elements| elements <= isize::MAX as u128 / 8)
            && pairs.iter().all(|&(a, b)| product(a, b) <= usize::MAX as u128);
        let (first, last) = ([batch, channels, positions], [batch, positions, channels]);
        for (is_last, got) in [(false, first), (true, last)] {
            let [a, b, c] = got;
            let shape = if is_last { Channels::last(a, b, c) } else { Channels::first(a, b, c) };
            if !fits {
                prop_assert_eq!(shape, Err(Error::ShapeOverflow { arg: "shape", got }));
                continue;
            }
            let shape = shape.unwrap();
            let dimensions = (shape.batch(), shape.channels(), shape.positions(), shape.is_last());
            prop_assert_eq!(dimensions, (batch, channels, positions, is_last));
            prop_assert_eq!(Some(shape.elements() as u128), elements);
            // What scratch such a shape needs is asked before there is an x.
            for parallelism in [Parallelism::Serial, Parallelism::Auto] {
                let group_norm = GROUP_NORM.with_parallelism(parallelism).scratch_len(shape);
                let instance_norm = INSTANCE_NORM.with_parallelism(parallelism).scratch_len(shape);
                prop_assert_eq!(group_norm, instance_norm);
                let batch_norm = BatchNorm::new().with_parallelism(parallelism).scratch_len(shape);
                prop_assert!(batch == 0 || batch_norm >= channels.min(usize::MAX / 2));
            }
        }
    }

    /// Any number of things wrong: the call says one of them, and has written nothing. Nothing wrong: it succeeds.
    #[test]
    fn any_call_succeeds_or_says_what_is_wrong_and_writes_nothing(
        method in 0..METHODS.len(),
        right in (0..5_usize, 0..40_usize),
        told in prop_oneof![2 => Just(None), 1 => (size(), size()).prop_map(Some)],
        wraps in prop_oneof![3 => Just((0, 0)), 1 => (0..4_u64, 0..4_u64)],
        resized in prop::collection::vec((any::<prop::sample::Index>(), 0..200_usize), 0..2),
        absent in any::<(bool, bool)>(),
        parameters in parameters(),
        running_var in mostly(0.25, vec![0.0, -0.0, -1e-30, -1.0]),
    ) {
        let method = &METHODS[method];
        let mut arguments = Arguments::right(method, right);
        // Buffers of a small shape, and a shape that is the same in 31 or 32 bits, or another.
        let (rows, cols) = told.unwrap_or(right);
        let widened = |size: usize, times: u64| size.wrapping_add((times << 31) as usize);
        let Ok(told) = Rows::new(widened(rows, wraps.0), widened(cols, wraps.1)) else {
            return Ok(());
        };
        arguments.rows = told;
        for (index, len) in resized {
            let buffers: Vec<_> = method.buffers().collect();
            arguments.buffer(buffers[index.index(buffers.len())]).resize(len);
        }
        (arguments.gamma.absent, arguments.beta.absent) = absent;
        if let Some(var) = arguments.running_var.get_mut().last_mut() {
            *var = running_var as f32;
        }
        let Parameters { eps, momentum, unbiased, p, offset, l1, l2, rate } = parameters;
        arguments.eps = eps;
        arguments.batch_norm =
            BatchNorm::new().with_momentum(momentum).with_unbiased_running_var(unbiased);
        arguments.dropout = Dropout::new().with_p(p);
        arguments.stream.offset = offset;
        (arguments.regularizer, arguments.rate) =
            (Regularizer::new().with_l1(l1).with_l2(l2), rate);

        let faults = method.faults(&mut arguments, parameters);
        let before = arguments.bits();
        match (method.call)(&mut arguments) {
            Ok(()) => prop_assert!(faults.is_empty(), "{}: {faults:?}", method.name),
            Err(error) => {
                // As text, since an error that holds a NaN equals no other.
                let said = format!("{error:?}");
                let known = faults.iter().any(|fault| format!("{fault:?}") == said);
                prop_assert!(known, "{}: {error:?}, expected one of {faults:?}", method.name);
                prop_assert!(arguments.bits() == before, "{}: {error}", method.name);
            }
        }
    }
}

/// A fitted scaler of so many features.
fn standard(features: usize) -> StandardScaler {
    let moments = Moments { count: 3, mean: 1.5, mean_low: 0.0, m2: 7.0 };
    StandardScaler::from_moments(&vec![moments; features]).expect("moments of some values")
}

/// The same.
fn min_max(features: usize) -> MinMaxScaler {
    let (min, max) = (vec![0.5; features], vec![9.0; features]);
    MinMaxScaler::from_ranges(&min, &max).expect("ranges of some values")
}

/// What can be seen of a scaler.
fn state(standard: &StandardScaler, min_max: &MinMaxScaler) -> String {
    // As text: infinities and NaN are among it.
    let moments = (standard.moments(), standard.mean(), standard.scale());
    format!("{moments:?} {:?} {:?}", min_max.data_min(), min_max.data_max())
}

#[test]
fn samples_of_other_features_than_the_scalers() {
    let (mut standard, mut min_max) = (standard(3), min_max(3));
    let before = state(&standard, &min_max);
    for features in [0, 1, 2, 4, 17] {
        let (rows, x) = (Rows::new(2, features).expect("a small shape"), vec![1.0; 2 * features]);
        let refused = Err(Error::Length { arg: "features", expected: 3, got: features });
        let mut y = x.clone();
        assert_eq!(standard.fit(&x, rows), refused);
        assert_eq!(standard.partial_fit(&x, rows), refused);
        assert_eq!(standard.transform(&x, rows, &mut y), refused);
        assert_eq!(standard.transform_in_place(&mut y, rows), refused);
        assert_eq!(standard.inverse_transform(&x, rows, &mut y), refused);
        assert_eq!(min_max.fit(&x, rows), refused);
        assert_eq!(min_max.partial_fit(&x, rows), refused);
        assert_eq!(min_max.transform(&x, rows, &mut y), refused);
        assert_eq!(min_max.transform_in_place(&mut y, rows), refused);
        assert_eq!(min_max.inverse_transform(&x, rows, &mut y), refused);
        let refused = Err(Error::Length { arg: "other", expected: 3, got: features });
        assert_eq!(standard.merge(&StandardScaler::new(features).unwrap()), refused);
        assert_eq!(min_max.merge(&MinMaxScaler::new(features).unwrap()), refused);
        assert_eq!(y, x, "{features} features");
    }
    // A wrong length, and nothing to learn from.
    let rows = Rows::new(2, 3).expect("a small shape");
    for got in [0, 5, 7] {
        let length = |arg, got| Error::Length { arg, expected: 6, got };
        let (x, refused) = (vec![1.0; got], Err(length("x", got)));
        assert_eq!(standard.fit(&x, rows), refused);
        assert_eq!(standard.partial_fit(&x, rows), refused);
        assert_eq!(min_max.fit(&x, rows), refused);
        assert_eq!(min_max.partial_fit(&x, rows), refused);
        let (mut right, mut y) = ([5.0; 6], vec![5.0; got]);
        assert_eq!(standard.transform(&x, rows, &mut right), refused);
        assert_eq!(standard.transform_in_place(&mut y, rows), refused);
        assert_eq!(standard.transform_uninit(&x, rows, uninit(&mut right)), Err(length("x", got)));
        assert_eq!(standard.inverse_transform(&x, rows, &mut right), refused);
        assert_eq!(standard.inverse_transform_in_place(&mut y, rows), refused);
        assert_eq!(min_max.transform(&x, rows, &mut right), refused);
        assert_eq!(min_max.transform_in_place(&mut y, rows), refused);
        assert_eq!(min_max.transform_uninit(&x, rows, uninit(&mut right)), Err(length("x", got)));
        assert_eq!(min_max.inverse_transform(&x, rows, &mut right), refused);
        assert_eq!(min_max.inverse_transform_in_place(&mut y, rows), refused);
        let refused = Err(length("y", got));
        assert_eq!(standard.transform(&right, rows, &mut y), refused);
        assert_eq!(standard.transform_uninit(&right, rows, uninit(&mut y)), Err(length("y", got)));
        assert_eq!(standard.inverse_transform(&right, rows, &mut y), refused);
        assert_eq!(min_max.transform(&right, rows, &mut y), refused);
        assert_eq!(min_max.inverse_transform(&right, rows, &mut y), refused);
        assert!(right == [5.0; 6] && y.iter().all(|&y| y == 5.0));
    }
    let (none, refused) =
        (Rows::new(0, 3).expect("a shape"), Err(Error::EmptyAxis { arg: "rows" }));
    assert_eq!((standard.fit(&[], none), min_max.fit(&[], none)), (refused.clone(), refused));
    assert_eq!((standard.partial_fit(&[], none), min_max.partial_fit(&[], none)), (Ok(()), Ok(())));
    // There is nothing to learn of no features.
    let (mut of_none, mut ranges_of_none) =
        (StandardScaler::new(0).unwrap(), MinMaxScaler::new(0).unwrap());
    for rows in [0, 3] {
        let rows = Rows::new(rows, 0).expect("a shape");
        assert_eq!((of_none.fit(&[], rows), ranges_of_none.fit(&[], rows)), (Ok(()), Ok(())));
    }
    assert_eq!(state(&standard, &min_max), before, "no call that fails changes a scaler");
}

/// A number of features that came with a model does not end the process.
#[test]
fn a_scaler_of_more_features_than_memory_has() {
    for features in [usize::MAX, usize::MAX / 2] {
        let refused = Error::OutOfMemory { bytes: usize::MAX };
        assert_eq!(StandardScaler::new(features).expect_err("no memory"), refused);
        assert_eq!(MinMaxScaler::new(features).expect_err("no memory"), refused);
    }
}

#[test]
fn a_scaler_that_has_seen_no_number() {
    let rows = Rows::new(1, 2).expect("a small shape");
    let (mut standard, mut min_max) =
        (StandardScaler::new(2).unwrap(), MinMaxScaler::new(2).unwrap());
    for _ in 0..2 {
        let (refused, mut y) = (Err(Error::NotFitted { arg: "scaler" }), [5.0; 2]);
        assert_eq!(standard.transform(&[1.0; 2], rows, &mut y), refused);
        assert_eq!(standard.transform_in_place(&mut y, rows), refused);
        assert_eq!(standard.inverse_transform(&[1.0; 2], rows, &mut y), refused);
        assert_eq!(min_max.transform(&[1.0; 2], rows, &mut y), refused);
        assert_eq!(min_max.transform_in_place(&mut y, rows), refused);
        assert_eq!(min_max.inverse_transform(&[1.0; 2], rows, &mut y), refused);
        assert_eq!(y, [5.0; 2]);
        standard.partial_fit(&[f32::NAN; 2], rows).expect("a batch");
        min_max.partial_fit(&[f32::NAN; 2], rows).expect("a batch");
    }
    let text = Error::NotFitted { arg: "scaler" }.to_string();
    assert_eq!(text, "`scaler`: expected one that has been fitted, got one that has seen nothing");
    // No features need no fit.
    let (none, mut y) = (Rows::new(3, 0).expect("a shape"), []);
    assert_eq!(StandardScaler::new(0).unwrap().transform(&[], none, &mut y), Ok(()));
    assert_eq!(MinMaxScaler::new(0).unwrap().transform(&[], none, &mut y), Ok(()));
}

#[test]
fn a_feature_range_that_is_none() {
    let rows = Rows::new(1, 2).expect("a small shape");
    let lower = "a lower end that is finite as f32";
    let upper = "an upper end above the lower one and finite as f32";
    let (nan, infinity) = (f64::NAN, f64::INFINITY);
    for (min, max, expected, got) in [
        (1.0, 1.0, upper, 1.0),
        (1.0, 0.5, upper, 0.5),
        (0.0, -0.0, upper, -0.0),
        (0.0, nan, upper, nan),
        (0.0, infinity, upper, infinity),
        (0.0, 1e39, upper, 1e39),
        (nan, 1.0, lower, nan),
        (-infinity, 1.0, lower, -infinity),
        (-1e39, 1.0, lower, -1e39),
    ] {
        let scaler = min_max(2).with_feature_range(min, max);
        let refused = Error::Parameter { arg: "feature_range", expected, got };
        let mut y = [5.0; 2];
        for clip in [false, true] {
            let scaler = scaler.clone().with_clip(clip);
            for result in [
                scaler.transform(&[1.0; 2], rows, &mut y),
                scaler.transform_in_place(&mut y, rows),
                scaler.inverse_transform(&[1.0; 2], rows, &mut y),
                scaler.inverse_transform_in_place(&mut y, rows),
            ] {
                assert_eq!(format!("{result:?}"), format!("{:?}", Err::<(), _>(&refused)));
            }
        }
        assert_eq!(y, [5.0; 2]);
    }
}

#[test]
fn statistics_that_no_samples_have() {
    let negative = Moments { count: 3, m2: -1.0, ..Moments::new() };
    let expected = "sums of squared deviations of at least 0";
    let refused = Error::Parameter { arg: "moments", expected, got: -1.0 };
    let got = StandardScaler::from_moments(&[Moments::new(), negative]);
    assert_eq!(got.expect_err("negative"), refused);
    let refused = |min: &[f32], max: &[f32]| {
        MinMaxScaler::from_ranges(min, max).expect_err("no range").to_string()
    };
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    assert_eq!(refused(&[1.0; 2], &[1.0]), "`data_max`: expected 2 elements, got 1");
    let expected = "`data_min`: expected numbers, infinity where none has been seen, got NaN";
    assert_eq!(refused(&[1.0, nan], &[1.0, 2.0]), expected);
    let expected = "`data_max`: expected numbers of at least the minimum, minus infinity where none has been seen, got ";
    for (max, got) in [(0.5, "0.5"), (nan, "NaN"), (-infinity, "-inf")] {
        assert_eq!(refused(&[1.0], &[max]), format!("{expected}{got}"));
    }
    assert!(MinMaxScaler::from_ranges(&[infinity, 1.0], &[-infinity, 1.0]).is_ok());
}
