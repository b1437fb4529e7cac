//! What C can get wrong: a status that says so, and nothing written.

use std::ptr::{null, null_mut};

use evenkeel::capi::evenkeel_status::*;
use evenkeel::capi::*;
use evenkeel::{BatchNorm, Channels, ColumnMoments, GroupNorm};

use crate::*;

/// A buffer of a call: memory of its own, with room for one element more on either side.
pub(crate) struct Arg {
    pub(crate) name: &'static str,
    output: bool,
    size: usize,
    len: usize,
    pub(crate) memory: Vec<u64>,
}

impl Arg {
    fn new<T: Copy>(name: &'static str, output: bool, values: &[T]) -> Self {
        let mut memory = vec![0_u64; (size_of_val(values)).div_ceil(8) + 2];
        unsafe {
            let to = memory.as_mut_ptr().cast::<u8>().add(8).cast();
            values.as_ptr().copy_to(to, values.len());
        }
        Self { name, output, size: size_of::<T>(), len: values.len(), memory }
    }

    fn pointer(&mut self) -> *mut u8 {
        unsafe { self.memory.as_mut_ptr().cast::<u8>().add(8) }
    }
}

pub(crate) type Given = (*mut u8, usize);

/// An entry, its buffers, and how it is called with them.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) args: Vec<Arg>,
    pub(crate) call: fn(&[Given]) -> evenkeel_status,
}

const R: usize = 17;
const C: usize = 9;
/// Elements from a row to the next where there are some between.
const PITCH: usize = C + 3;

pub(crate) fn entries() -> Vec<Entry> {
    let data = Data::new((R, C));
    let x = || Arg::new("x", false, &data.x);
    let y = || Arg::new("y", true, &data.y());
    let residual = || Arg::new("residual", false, &data.x);
    let sum = || Arg::new("sum", true, &data.y());
    let wide = |name, output| Arg::new(name, output, &[0.5_f32; (R - 1) * PITCH + C]);
    let w = || Arg::new("w", false, &data.x);
    let dy = || Arg::new("dy", false, &data.x);
    let dx = || Arg::new("dx", true, &data.y());
    let gamma = || Arg::new("gamma", false, &data.gamma);
    let beta = || Arg::new("beta", false, &data.beta);
    let running_mean = |output| Arg::new("running_mean", output, &data.beta);
    let running_var = |output| Arg::new("running_var", output, &data.gamma);
    let double = |name, n, output| Arg::new(name, output, &vec![0.5_f64; n]);
    let rstd_f32 = || Arg::new("rstd", true, &[0.5_f32; R]);
    let scratch = || double("scratch", ColumnMoments::new().scratch_len(data.rows), true);
    let (last, first) = (Channels::last(1, R, C).unwrap(), Channels::first(1, C, R).unwrap());
    let groups_scratch = || double("scratch", GroupNorm::new().scratch_len(last), true);
    let first_scratch = || double("scratch", BatchNorm::new().scratch_len(first), true);
    let mask = |output| Arg::new("mask", output, &[0x5a_u8; (R * C).div_ceil(8)]);
    let moments = |n| Arg::new("moments", true, &vec![NOTHING; n]);
    let learnt = |name, output| {
        let of_feature = evenkeel_moments { count: 3, mean: 2.0, mean_low: 0.0, m2: 6.0 };
        Arg::new(name, output, &[of_feature; C])
    };
    let least = |name, output| Arg::new(name, output, &[-1.0_f32; C]);
    let greatest = |name, output| Arg::new(name, output, &[3.0_f32; C]);
    // Braces: each pointer stays on one line with its length.
    macro_rules! entry {
        ($name:ident, [$($arg:expr),*], |$a:ident| $call:expr) => {
            Entry { name: stringify!($name), args: vec![$($arg),*], call: |$a| unsafe { $call } }
        };
    }
    vec![
        entry! {
            evenkeel_layer_norm_f32,
            [x(), gamma(), beta(), y(), double("mean", R, true), double("rstd", R, true)],
            |a| evenkeel_layer_norm_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, R, C, EPS,
                a[3].0.cast(), a[3].1, a[4].0.cast(), a[4].1, a[5].0.cast(), a[5].1, EVENKEEL_F64, null(),
            )
        },
        entry! {
            evenkeel_rms_norm_f32,
            [x(), gamma(), beta(), y(), rstd_f32()],
            |a| evenkeel_rms_norm_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, 1, a[2].0.cast(), a[2].1, R, C, EPS,
                a[3].0.cast(), a[3].1, a[4].0.cast(), a[4].1, EVENKEEL_F32, null(),
            )
        },
        entry! {
            evenkeel_layer_norm_residual_f32,
            [
                x(), residual(), gamma(), beta(), y(), sum(), double("mean", R, true), double("rstd", R, true)
            ],
            |a| evenkeel_layer_norm_residual_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, a[3].0.cast(), a[3].1,
                R, C, EPS, a[4].0.cast(), a[4].1, a[5].0.cast(), a[5].1, a[6].0.cast(), a[6].1,
                a[7].0.cast(), a[7].1, EVENKEEL_F64, null(),
            )
        },
        entry! {
            evenkeel_rms_norm_residual_f32,
            [x(), residual(), gamma(), beta(), y(), sum(), rstd_f32()],
            |a| evenkeel_rms_norm_residual_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, 1,
                a[3].0.cast(), a[3].1, R, C, EPS, a[4].0.cast(), a[4].1, a[5].0.cast(), a[5].1,
                a[6].0.cast(), a[6].1, EVENKEEL_F32, null(),
            )
        },
        entry! {
            evenkeel_rms_norm_gated_f32,
            [x(), Arg::new("z", false, &data.x), gamma(), y()],
            |a| evenkeel_rms_norm_gated_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, 0, R, C, EPS,
                a[3].0.cast(), a[3].1, null(),
            )
        },
        entry! {
            evenkeel_layer_norm_strided_f32,
            [wide("x", false), gamma(), beta(), wide("y", true)],
            |a| evenkeel_layer_norm_strided_f32(
                a[0].0.cast(), a[0].1, PITCH, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, R, C, EPS,
                a[3].0.cast(), a[3].1, PITCH, null(),
            )
        },
        entry! {
            evenkeel_rms_norm_strided_f32,
            [wide("x", false), gamma(), beta(), wide("y", true)],
            |a| evenkeel_rms_norm_strided_f32(
                a[0].0.cast(), a[0].1, PITCH, a[1].0.cast(), a[1].1, 0, a[2].0.cast(), a[2].1, R, C, EPS,
                a[3].0.cast(), a[3].1, PITCH, null(),
            )
        },
        entry! {
            evenkeel_normalize_rows_strided_f32,
            [
                wide("x", false), double("mean", R, false), double("rstd", R, false), gamma(), beta(),
                wide("y", true)
            ],
            |a| evenkeel_normalize_rows_strided_f32(
                a[0].0.cast(), a[0].1, PITCH, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, EVENKEEL_F64,
                a[3].0.cast(), a[3].1, a[4].0.cast(), a[4].1, R, C, a[5].0.cast(), a[5].1, PITCH, null(),
            )
        },
        entry! {
            evenkeel_row_moments_strided_f32,
            [wide("x", false), moments(R)],
            |a| evenkeel_row_moments_strided_f32(
                a[0].0.cast(), a[0].1, PITCH, R, C, a[1].0.cast(), a[1].1, null(),
            )
        },
        entry! {
            evenkeel_normalize_rows_f32,
            [x(), double("mean", R, false), double("rstd", R, false), gamma(), beta(), y()],
            |a| evenkeel_normalize_rows_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, EVENKEEL_F64,
                a[3].0.cast(), a[3].1, a[4].0.cast(), a[4].1, R, C, a[5].0.cast(), a[5].1, null(),
            )
        },
        entry! {
            evenkeel_normalize_columns_f32,
            [x(), double("mean", C, false), double("rstd", C, false), gamma(), beta(), y()],
            |a| evenkeel_normalize_columns_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, EVENKEEL_F64,
                a[3].0.cast(), a[3].1, a[4].0.cast(), a[4].1, R, C, a[5].0.cast(), a[5].1, null(),
            )
        },
        entry! {
            evenkeel_batch_norm_training_f32,
            [
                x(), gamma(), beta(), y(), double("mean", C, true), double("rstd", C, true),
                running_mean(true), running_var(true), scratch()
            ],
            |a| {
                let running = evenkeel_running {
                    mean: a[6].0.cast(),
                    mean_len: a[6].1,
                    var: a[7].0.cast(),
                    var_len: a[7].1,
                    rule: EVENKEEL_MOMENTUM_KEEP,
                    unbiased_var: 1,
                    momentum: 0.9,
                    batches: 0,
                };
                evenkeel_batch_norm_training_f32(
                    a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, R, C, EPS,
                    a[3].0.cast(), a[3].1, a[4].0.cast(), a[4].1, a[5].0.cast(), a[5].1, EVENKEEL_F64,
                    &raw const running, a[8].0.cast(), a[8].1, null(),
                )
            }
        },
        entry! {
            evenkeel_batch_norm_inference_f32,
            [x(), running_mean(false), running_var(false), gamma(), beta(), y()],
            |a| evenkeel_batch_norm_inference_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, a[3].0.cast(), a[3].1,
                a[4].0.cast(), a[4].1, R, C, EPS, a[5].0.cast(), a[5].1, null(),
            )
        },
        entry! {
            evenkeel_group_norm_f32,
            [
                x(), gamma(), beta(), y(), double("mean", 3, true), double("rstd", 3, true), groups_scratch()
            ],
            |a| evenkeel_group_norm_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1,
                EVENKEEL_CHANNELS_LAST, 1, C, R, 3, EPS, a[3].0.cast(), a[3].1, a[4].0.cast(), a[4].1,
                a[5].0.cast(), a[5].1, EVENKEEL_F64, a[6].0.cast(), a[6].1, null(),
            )
        },
        entry! {
            evenkeel_instance_norm_f32,
            [x(), gamma(), beta(), y(), double("mean", C, true), double("rstd", C, true)],
            |a| evenkeel_instance_norm_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1,
                EVENKEEL_CHANNELS_FIRST, 1, C, R, EPS, a[3].0.cast(), a[3].1, a[4].0.cast(), a[4].1,
                a[5].0.cast(), a[5].1, EVENKEEL_F64, null_mut(), 0, null(),
            )
        },
        entry! {
            evenkeel_layer_norm_channels_f32,
            [x(), gamma(), beta(), y(), double("mean", R, true), double("rstd", R, true)],
            |a| evenkeel_layer_norm_channels_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1,
                EVENKEEL_CHANNELS_FIRST, 1, C, R, EPS, a[3].0.cast(), a[3].1, a[4].0.cast(), a[4].1,
                a[5].0.cast(), a[5].1, EVENKEEL_F64, null(),
            )
        },
        entry! {
            evenkeel_batch_norm_training_channels_f32,
            [
                x(), gamma(), beta(), y(), double("mean", C, true), double("rstd", C, true),
                running_mean(true), running_var(true), first_scratch()
            ],
            |a| {
                let running = evenkeel_running {
                    mean: a[6].0.cast(),
                    mean_len: a[6].1,
                    var: a[7].0.cast(),
                    var_len: a[7].1,
                    rule: EVENKEEL_MOMENTUM_KEEP,
                    unbiased_var: 1,
                    momentum: 0.9,
                    batches: 0,
                };
                evenkeel_batch_norm_training_channels_f32(
                    a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1,
                    EVENKEEL_CHANNELS_FIRST, 1, C, R, EPS, a[3].0.cast(), a[3].1, a[4].0.cast(), a[4].1,
                    a[5].0.cast(), a[5].1, EVENKEEL_F64, &raw const running, a[8].0.cast(), a[8].1, null(),
                )
            }
        },
        entry! {
            evenkeel_batch_norm_inference_channels_f32,
            [x(), running_mean(false), running_var(false), gamma(), beta(), y()],
            |a| evenkeel_batch_norm_inference_channels_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, a[3].0.cast(), a[3].1,
                a[4].0.cast(), a[4].1, EVENKEEL_CHANNELS_FIRST, 1, C, R, EPS, a[5].0.cast(), a[5].1, null(),
            )
        },
        entry! {
            evenkeel_row_moments_f32,
            [x(), moments(R)],
            |a| evenkeel_row_moments_f32(
                a[0].0.cast(), a[0].1, R, C, a[1].0.cast(), a[1].1, null(),
            )
        },
        entry! {
            evenkeel_column_moments_f32,
            [x(), moments(C), scratch()],
            |a| evenkeel_column_moments_f32(
                a[0].0.cast(), a[0].1, R, C, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, null(),
            )
        },
        entry! {
            evenkeel_batch_norm_training_masked_f32,
            [
                x(), Arg::new("mask", false, &[0xff_u8; R.div_ceil(8)]), gamma(), beta(), y(),
                double("mean", C, true), double("rstd", C, true), running_mean(true),
                running_var(true), scratch()
            ],
            |a| {
                let running = evenkeel_running {
                    mean: a[7].0.cast(),
                    mean_len: a[7].1,
                    var: a[8].0.cast(),
                    var_len: a[8].1,
                    rule: EVENKEEL_MOMENTUM_KEEP,
                    unbiased_var: 1,
                    momentum: 0.9,
                    batches: 0,
                };
                evenkeel_batch_norm_training_masked_f32(
                    a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, EVENKEEL_VALID_PACKED, 0,
                    a[2].0.cast(), a[2].1, a[3].0.cast(), a[3].1, R, C, EPS,
                    a[4].0.cast(), a[4].1, a[5].0.cast(), a[5].1, a[6].0.cast(), a[6].1, EVENKEEL_F64,
                    &raw const running, a[9].0.cast(), a[9].1, null(),
                )
            }
        },
        entry! {
            evenkeel_batch_norm_inference_masked_f32,
            [
                x(), Arg::new("mask", false, &[1_u8; R]), running_mean(false), running_var(false),
                gamma(), beta(), y()
            ],
            |a| evenkeel_batch_norm_inference_masked_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, EVENKEEL_VALID_BYTES, 0,
                a[2].0.cast(), a[2].1, a[3].0.cast(), a[3].1, a[4].0.cast(), a[4].1, a[5].0.cast(), a[5].1,
                R, C, EPS, a[6].0.cast(), a[6].1, null(),
            )
        },
        entry! {
            evenkeel_instance_norm_masked_f32,
            [
                x(), Arg::new("mask", false, &[1_u8; R]), gamma(), beta(), y(),
                double("mean", C, true), double("rstd", C, true)
            ],
            |a| evenkeel_instance_norm_masked_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, EVENKEEL_VALID_BYTES,
                a[2].0.cast(), a[2].1, a[3].0.cast(), a[3].1, EVENKEEL_CHANNELS_LAST, 1, C, R, EPS,
                a[4].0.cast(), a[4].1, a[5].0.cast(), a[5].1, a[6].0.cast(), a[6].1, EVENKEEL_F64, null(),
            )
        },
        entry! {
            evenkeel_column_moments_masked_f32,
            [x(), Arg::new("lengths", false, &[1_usize; R]), moments(C), scratch()],
            |a| evenkeel_column_moments_masked_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, EVENKEEL_VALID_LENGTHS, 1, R, C,
                a[2].0.cast(), a[2].1, a[3].0.cast(), a[3].1, null(),
            )
        },
        entry! {
            evenkeel_row_moments_prefixes_f32,
            [x(), Arg::new("lengths", false, &[C / 2; R]), moments(R)],
            |a| evenkeel_row_moments_prefixes_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, R, C, a[2].0.cast(), a[2].1, null(),
            )
        },
        entry! {
            evenkeel_dropout_mask,
            [mask(true)],
            |a| evenkeel_dropout_mask(
                P, 7, 5, R * C, a[0].0, a[0].1, EVENKEEL_MASK_PACKED, null(),
            )
        },
        entry! {
            evenkeel_dropout_f32,
            [x(), y(), mask(true)],
            |a| evenkeel_dropout_f32(
                a[0].0.cast(), a[0].1, P, 7, 5, a[1].0.cast(), a[1].1, a[2].0, a[2].1,
                EVENKEEL_MASK_PACKED, null(),
            )
        },
        entry! {
            evenkeel_dropout_apply_f32,
            [x(), mask(false), y()],
            |a| evenkeel_dropout_apply_f32(
                a[0].0.cast(), a[0].1, P, a[1].0, a[1].1, EVENKEEL_MASK_PACKED, a[2].0.cast(), a[2].1, null(),
            )
        },
        entry! {
            evenkeel_dropout_backward_f32,
            [dy(), dx()],
            |a| evenkeel_dropout_backward_f32(
                a[0].0.cast(), a[0].1, P, 7, 5, a[1].0.cast(), a[1].1, null(),
            )
        },
        entry! {
            evenkeel_dropout_backward_with_mask_f32,
            [dy(), mask(false), dx()],
            |a| evenkeel_dropout_backward_with_mask_f32(
                a[0].0.cast(), a[0].1, P, a[1].0, a[1].1, EVENKEEL_MASK_PACKED, a[2].0.cast(), a[2].1, null(),
            )
        },
        entry! {
            evenkeel_dropout_inference_f32,
            [x(), y()],
            |a| evenkeel_dropout_inference_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1,
            )
        },
        entry! {
            evenkeel_penalty_f32,
            [w(), Arg::new("gradient", true, &data.y())],
            |a| {
                let mut penalty = f64::from(BEFORE);
                let status = evenkeel_penalty_f32(
                    a[0].0.cast(), a[0].1, 0.1, 0.2, &raw mut penalty, a[1].0.cast(), a[1].1, null(),
                );
                assert_eq!(penalty == f64::from(BEFORE), status != EVENKEEL_OK);
                status
            }
        },
        entry! {
            evenkeel_weight_decay_f32,
            [w(), y()],
            |a| evenkeel_weight_decay_f32(
                a[0].0.cast(), a[0].1, 0.1, 0.2, a[1].0.cast(), a[1].1, null(),
            )
        },
        entry! {
            evenkeel_proximal_f32,
            [w(), y()],
            |a| evenkeel_proximal_f32(
                a[0].0.cast(), a[0].1, 0.1, 0.2, 0.3, a[1].0.cast(), a[1].1, null(),
            )
        },
        entry! {
            evenkeel_standard_scaler_partial_fit_f32,
            [x(), learnt("moments", true), double("m2_low", C, true)],
            |a| evenkeel_standard_scaler_partial_fit_f32(
                a[0].0.cast(), a[0].1, R, C, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, null(),
            )
        },
        entry! {
            evenkeel_standard_scaler_merge,
            [
                learnt("moments", true), double("m2_low", C, true), learnt("other", false),
                double("other_m2_low", C, false)
            ],
            |a| evenkeel_standard_scaler_merge(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, a[3].0.cast(), a[3].1,
                null(),
            )
        },
        entry! {
            evenkeel_standard_scaler_statistics,
            [learnt("moments", false), double("mean", C, true), double("scale", C, true)],
            |a| evenkeel_standard_scaler_statistics(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1,
            )
        },
        entry! {
            evenkeel_standard_scaler_transform_f32,
            [x(), learnt("moments", false), y()],
            |a| evenkeel_standard_scaler_transform_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, R, C, 1, 1, a[2].0.cast(), a[2].1, null(),
            )
        },
        entry! {
            evenkeel_standard_scaler_inverse_transform_f32,
            [x(), learnt("moments", false), y()],
            |a| evenkeel_standard_scaler_inverse_transform_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, R, C, 1, 1, a[2].0.cast(), a[2].1, null(),
            )
        },
        entry! {
            evenkeel_min_max_scaler_partial_fit_f32,
            [x(), least("data_min", true), greatest("data_max", true)],
            |a| evenkeel_min_max_scaler_partial_fit_f32(
                a[0].0.cast(), a[0].1, R, C, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, null(),
            )
        },
        entry! {
            evenkeel_min_max_scaler_merge_f32,
            [
                least("data_min", true), greatest("data_max", true), least("other_min", false),
                greatest("other_max", false)
            ],
            |a| evenkeel_min_max_scaler_merge_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, a[3].0.cast(), a[3].1,
            )
        },
        entry! {
            evenkeel_min_max_scaler_transform_f32,
            [x(), least("data_min", false), greatest("data_max", false), y()],
            |a| evenkeel_min_max_scaler_transform_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, R, C, 0.0, 1.0, 1,
                a[3].0.cast(), a[3].1, null(),
            )
        },
        entry! {
            evenkeel_min_max_scaler_inverse_transform_f32,
            [x(), least("data_min", false), greatest("data_max", false), y()],
            |a| evenkeel_min_max_scaler_inverse_transform_f32(
                a[0].0.cast(), a[0].1, a[1].0.cast(), a[1].1, a[2].0.cast(), a[2].1, R, C, 0.0, 1.0,
                a[3].0.cast(), a[3].1, null(),
            )
        },
        entry! {
            evenkeel_normalizer_f32,
            [x(), y()],
            |a| evenkeel_normalizer_f32(
                a[0].0.cast(), a[0].1, R, C, EVENKEEL_NORM_L2, a[1].0.cast(), a[1].1, null(),
            )
        },
    ]
}

impl Entry {
    pub(crate) fn given(&mut self) -> Vec<Given> {
        self.args.iter_mut().map(|arg| (arg.pointer(), arg.len)).collect()
    }

    /// Calls with the buffers as `change` leaves them: the status must be this, the message name the argument, and no
    /// byte of any buffer have changed.
    fn refused(
        &mut self,
        what: &str,
        arg: usize,
        expected: evenkeel_status,
        change: impl Fn(&mut Vec<Given>),
    ) -> String {
        let mut given = self.given();
        change(&mut given);
        let before: Vec<_> = self.args.iter().map(|arg| arg.memory.clone()).collect();
        let status = (self.call)(&given);
        let (name, arg) = (self.name, self.args[arg].name);
        assert_eq!(status, expected, "{name}, {arg}: {what}: {}", message());
        assert!(message().contains(&format!("`{arg}`")), "{name}, {arg}: {what}: {}", message());
        for (after, before) in self.args.iter().zip(&before) {
            assert_eq!(&after.memory, before, "{name}, {arg}: {what}: {} was written", after.name);
        }
        message()
    }
}

#[test]
fn bad_buffers_are_refused_by_name_and_nothing_is_written() {
    for mut entry in entries() {
        for i in 0..entry.args.len() {
            let (len, size) = (entry.args[i].len, entry.args[i].size);
            let text =
                entry.refused("NULL", i, EVENKEEL_NULL_POINTER, |given| given[i].0 = null_mut());
            assert!(text.contains(&len.to_string()), "{text}");
            if size > 1 {
                entry.refused("misaligned", i, EVENKEEL_MISALIGNED, |given| {
                    given[i].0 = given[i].0.wrapping_add(1);
                });
            }
            entry.refused("more bytes than addresses", i, EVENKEEL_SHAPE_OVERFLOW, |given| {
                given[i].1 = usize::MAX;
            });
            // The length of dropout's input is the shape, that of parameters, and that of a scaler without data: the others
            // have the wrong one then.
            let measures = ["dropout", "scaler_merge", "scaler_statistics"];
            let is_measure =
                measures.iter().any(|of| entry.name.contains(of)) || entry.args[i].name == "w";
            if is_measure && i == 0 && entry.args.len() > 1 {
                continue;
            }
            let text =
                entry.refused("one element short", i, EVENKEEL_LENGTH, |given| given[i].1 -= 1);
            assert!(text.contains(&(len - 1).to_string()), "{text}");
            let may_be_longer = match entry.args[i].name {
                "x" | "y" => entry.name.contains("strided"),
                name => name == "scratch",
            };
            if !may_be_longer {
                entry.refused("one element over", i, EVENKEEL_LENGTH, |given| given[i].1 += 1);
            }
        }
        let status = (entry.call)(&entry.given());
        assert_eq!(status, EVENKEEL_OK, "{}: {}", entry.name, message());
    }
}

#[test]
fn outputs_that_overlap_are_refused_and_nothing_is_written() {
    for mut entry in entries() {
        for i in 0..entry.args.len() {
            if !entry.args[i].output {
                continue;
            }
            for j in (0..entry.args.len()).filter(|&j| j != i) {
                let (a, b) = (entry.args[i].name, entry.args[j].name);
                let in_place =
                    matches!((a, b), ("y", "x" | "w") | ("dx", "dy") | ("sum", "residual"));
                for shift in [0, 8] {
                    // Beyond the end of a short b there is memory of nobody.
                    let is_beyond = shift >= entry.args[j].size * entry.args[j].len;
                    if shift == 0 && in_place || is_beyond {
                        continue;
                    }
                    let mut given = entry.given();
                    given[i].0 = given[j].0.wrapping_add(shift);
                    let before: Vec<_> = entry.args.iter().map(|arg| arg.memory.clone()).collect();
                    let status = (entry.call)(&given);
                    assert_eq!(
                        status,
                        EVENKEEL_OVERLAP,
                        "{}: {a} in {b}: {}",
                        entry.name,
                        message()
                    );
                    // From where b is it may reach into a third.
                    assert!(message().contains(a), "{}", message());
                    for (after, before) in entry.args.iter().zip(&before) {
                        assert_eq!(&after.memory, before, "{}: {a} in {b}", entry.name);
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_that_mean_no_option_are_refused() {
    let x = [1.0, 2.0];
    let mut y = [BEFORE; 2];
    let mut call = |backend, stores, dtype, eps| {
        let execution = evenkeel_execution { backend, stores, tasks: 1 };
        y = [BEFORE; 2];
        let status = unsafe {
            evenkeel_layer_norm_f32(
                x.as_ptr(),
                2,
                null(),
                0,
                null(),
                0,
                1,
                2,
                eps,
                y.as_mut_ptr(),
                2,
                null_mut(),
                0,
                null_mut(),
                0,
                dtype,
                &raw const execution,
            )
        };
        if status != EVENKEEL_OK {
            assert_eq!(y, [BEFORE; 2]);
        }
        (status, message())
    };
    let (status, text) = call(9, 0, 0, EPS);
    assert_eq!(
        (status, text.contains("`backend`") && text.contains('9')),
        (EVENKEEL_UNKNOWN_OPTION, true)
    );
    let (status, text) = call(0, 3, 0, EPS);
    assert_eq!(
        (status, text.contains("`stores`") && text.contains('3')),
        (EVENKEEL_UNKNOWN_OPTION, true)
    );
    let (status, text) = call(0, 0, 2, EPS);
    assert_eq!((status, text.contains("`stats_dtype`")), (EVENKEEL_UNKNOWN_OPTION, true));
    for eps in [-1.0, f64::NAN, f64::INFINITY] {
        let (status, text) = call(0, 0, 0, eps);
        assert_eq!((status, text.contains("`eps`")), (EVENKEEL_PARAMETER, true));
    }
    for backend in [EVENKEEL_BACKEND_PORTABLE, EVENKEEL_BACKEND_AVX2, EVENKEEL_BACKEND_AVX512] {
        let expected = match evenkeel_backend_is_available(backend) {
            1 => EVENKEEL_OK,
            _ => EVENKEEL_UNAVAILABLE_BACKEND,
        };
        assert_eq!(call(backend, 0, 0, EPS).0, expected);
    }
    assert_eq!(call(evenkeel_backend_detect(), 2, 0, EPS).0, EVENKEEL_OK);
}

#[test]
fn parameters_and_shapes_outside_of_their_domain_have_the_status_of_their_error() {
    let (mut y, mut moments, mut mask) = ([BEFORE; 1], [NOTHING; 1], [0; 1]);
    unsafe {
        let huge = usize::MAX / 2;
        let status =
            evenkeel_row_moments_f32([0.0].as_ptr(), 1, huge, 4, moments.as_mut_ptr(), 1, null());
        assert_eq!(
            (status, message().contains(&huge.to_string())),
            (EVENKEEL_SHAPE_OVERFLOW, true)
        );
        let status = evenkeel_dropout_mask(1.5, 0, 0, 1, mask.as_mut_ptr(), 1, 0, null());
        assert_eq!((status, message().contains("`p`")), (EVENKEEL_PARAMETER, true));
        let status = evenkeel_dropout_mask(0.5, 0, u64::MAX, 8, mask.as_mut_ptr(), 1, 0, null());
        assert_eq!((status, message().contains("`offset`")), (EVENKEEL_STREAM_OVERFLOW, true));
        let status = evenkeel_dropout_mask(0.5, 0, 0, 1, mask.as_mut_ptr(), 1, 2, null());
        assert_eq!((status, message().contains("`mask_kind`")), (EVENKEEL_UNKNOWN_OPTION, true));
        let status = evenkeel_penalty_f32(null(), 0, -1.0, 0.0, null_mut(), null_mut(), 0, null());
        assert_eq!((status, message().contains("`l1`")), (EVENKEEL_PARAMETER, true));
        let status =
            evenkeel_weight_decay_f32([0.0].as_ptr(), 1, 0.0, f64::NAN, y.as_mut_ptr(), 1, null());
        assert_eq!((status, message().contains("`learning_rate`")), (EVENKEEL_PARAMETER, true));
        let status =
            evenkeel_proximal_f32([0.0].as_ptr(), 1, 0.0, 0.0, -1.0, y.as_mut_ptr(), 1, null());
        assert_eq!((status, message().contains("`step`")), (EVENKEEL_PARAMETER, true));
        let (lengths, valid) = ([2_usize], [0.0_f64]);
        let status = evenkeel_row_moments_prefixes_f32(
            [0.0].as_ptr(),
            1,
            lengths.as_ptr(),
            1,
            1,
            1,
            moments.as_mut_ptr(),
            1,
            null(),
        );
        assert_eq!((status, message().contains("`lengths`")), (EVENKEEL_PARAMETER, true));
        let mut masked = |kind, steps| {
            evenkeel_column_moments_masked_f32(
                [0.0].as_ptr(),
                1,
                valid.as_ptr().cast(),
                1,
                kind,
                steps,
                1,
                1,
                moments.as_mut_ptr(),
                1,
                null_mut(),
                0,
                null(),
            )
        };
        let status = masked(3, 1);
        assert_eq!((status, message().contains("`valid_kind`")), (EVENKEEL_UNKNOWN_OPTION, true));
        let status = masked(EVENKEEL_VALID_LENGTHS, 2);
        assert_eq!((status, message().contains("`steps`")), (EVENKEEL_PARAMETER, true));
        let (mut mean, mut rstd, mut running) = ([0.0_f64], [0.0_f64], [0.0; 2]);
        let at = running.as_mut_ptr();
        let running = evenkeel_running {
            mean: at,
            mean_len: 1,
            var: at.add(1),
            var_len: 1,
            rule: EVENKEEL_MOMENTUM_KEEP,
            unbiased_var: 1,
            momentum: 0.9,
            batches: 0,
        };
        let status = evenkeel_batch_norm_training_f32(
            [0.0].as_ptr(),
            1,
            null(),
            0,
            null(),
            0,
            1,
            1,
            EPS,
            y.as_mut_ptr(),
            1,
            mean.as_mut_ptr().cast(),
            1,
            rstd.as_mut_ptr().cast(),
            1,
            EVENKEEL_F64,
            &raw const running,
            null_mut(),
            0,
            null(),
        );
        assert_eq!((status, message().contains("`rows`")), (EVENKEEL_TOO_FEW_ROWS, true));
    }
    assert_eq!((y, mask), ([BEFORE; 1], [0; 1]));
}

/// In place, each length is checked; absent, the sum does not hide a residual that is NULL.
#[test]
fn residuals_in_place_are_checked_too() {
    let (x, mut y, mut residual) = ([1.0_f32; 4], [BEFORE; 4], [2.0_f32; 4]);
    let mut call = |residual: *const f32, residual_len, sum, sum_len| {
        let status = unsafe {
            evenkeel_rms_norm_residual_f32(
                x.as_ptr(),
                4,
                residual,
                residual_len,
                null(),
                0,
                0,
                null(),
                0,
                2,
                2,
                EPS,
                y.as_mut_ptr(),
                4,
                sum,
                sum_len,
                null_mut(),
                0,
                EVENKEEL_F64,
                null(),
            )
        };
        if status != EVENKEEL_OK {
            assert_eq!(y, [BEFORE; 4]);
        }
        (status, message())
    };
    let at = residual.as_mut_ptr();
    let refused = [
        (at.cast_const(), 3, at, 4, EVENKEEL_LENGTH, "`residual`"),
        (at, 4, at, 3, EVENKEEL_LENGTH, "`sum`"),
        (at, 4, at, 0, EVENKEEL_LENGTH, "`sum`"),
        (null(), 4, null_mut(), 0, EVENKEEL_NULL_POINTER, "`residual`"),
        (null(), 4, null_mut(), 4, EVENKEEL_NULL_POINTER, "`sum`"),
        (at, 4, null_mut(), 4, EVENKEEL_NULL_POINTER, "`sum`"),
    ];
    for (residual, residual_len, sum, sum_len, expected, arg) in refused {
        let (status, text) = call(residual, residual_len, sum, sum_len);
        assert_eq!((status, text.contains(arg)), (expected, true), "{text}");
    }
    assert_eq!(call(at, 4, at, 4).0, EVENKEEL_OK);
    assert_eq!(residual, [3.0; 4]);
}

/// Pitches below a row, beyond memory, and two of them in place.
#[test]
fn pitches_that_are_none_are_refused() {
    let (mut x, mut y) = ([1.0_f32; 10], [BEFORE; 10]);
    let (from, to) = (x.as_mut_ptr(), y.as_mut_ptr());
    let call = |x_pitch, y: *mut f32, y_len, y_pitch| {
        let status = unsafe {
            evenkeel_layer_norm_strided_f32(
                from,
                10,
                x_pitch,
                null(),
                0,
                null(),
                0,
                3,
                2,
                EPS,
                y,
                y_len,
                y_pitch,
                null(),
            )
        };
        (status, message())
    };
    let far = usize::MAX / 2;
    let refused = [
        (1, to, 2, EVENKEEL_LENGTH, "`x_pitch`"),
        (0, to, 2, EVENKEEL_LENGTH, "`x_pitch`"),
        (5, to, 2, EVENKEEL_LENGTH, "`x`"),
        (4, to, 1, EVENKEEL_LENGTH, "`y_pitch`"),
        (4, to, 5, EVENKEEL_LENGTH, "`y`"),
        (far, to, 2, EVENKEEL_SHAPE_OVERFLOW, "`x_pitch`"),
        (usize::MAX, to, 2, EVENKEEL_SHAPE_OVERFLOW, "`x_pitch`"),
        (4, to, far, EVENKEEL_SHAPE_OVERFLOW, "`y_pitch`"),
        (3, from, 2, EVENKEEL_OVERLAP, "`y`"),
        (1, from, 1, EVENKEEL_LENGTH, "`x_pitch`"),
        (5, from, 5, EVENKEEL_LENGTH, "`x`"),
    ];
    for (x_pitch, out, y_pitch, expected, arg) in refused {
        let (status, text) = call(x_pitch, out, 10, y_pitch);
        assert_eq!((status, text.contains(arg)), (expected, true), "{x_pitch}, {y_pitch}: {text}");
    }
    let (status, text) = call(4, from, 9, 4);
    assert_eq!((status, text.contains("`y`")), (EVENKEEL_LENGTH, true), "{text}");
    let mut moments = [NOTHING; 3];
    for (pitch, expected) in [(1, EVENKEEL_LENGTH), (far, EVENKEEL_SHAPE_OVERFLOW)] {
        let at = moments.as_mut_ptr();
        let status =
            unsafe { evenkeel_row_moments_strided_f32(from, 10, pitch, 3, 2, at, 3, null()) };
        assert_eq!((status, message().contains("`x_pitch`")), (expected, true));
    }
    assert_eq!((x, y), ([1.0; 10], [BEFORE; 10]));
    assert!(moments.iter().all(|moments| moments.count == 0));
    // Between the rows nothing is written.
    let (from, to) = (x.as_mut_ptr(), y.as_mut_ptr());
    let status = unsafe {
        evenkeel_rms_norm_strided_f32(
            from,
            10,
            2,
            null(),
            0,
            0,
            null(),
            0,
            3,
            2,
            EPS,
            to,
            10,
            4,
            null(),
        )
    };
    assert_eq!(status, EVENKEEL_OK, "{}", message());
    assert!((0..10).all(|i| (y[i] == BEFORE) == (i % 4 > 1)), "{y:?}");
}

/// A layout that there is not, a shape that no memory has, groups that do not divide the channels.
#[test]
fn channels_that_are_no_shape_are_refused() {
    let (x, mut y, mut len) = ([1.0; 12], [BEFORE; 12], 77);
    let mut call = |layout, (batch, channels, positions), groups| {
        let status = unsafe {
            evenkeel_group_norm_f32(
                x.as_ptr(),
                12,
                null(),
                0,
                null(),
                0,
                layout,
                batch,
                channels,
                positions,
                groups,
                EPS,
                y.as_mut_ptr(),
                12,
                null_mut(),
                0,
                null_mut(),
                0,
                EVENKEEL_F64,
                null_mut(),
                0,
                null(),
            )
        };
        if status != EVENKEEL_OK {
            assert_eq!(y, [BEFORE; 12]);
        }
        (status, message())
    };
    let refused = [
        (2, (2, 3, 2), 3, EVENKEEL_UNKNOWN_OPTION, "`layout`"),
        (0, (usize::MAX, 3, 2), 3, EVENKEEL_SHAPE_OVERFLOW, "`shape`"),
        (1, (2, 1 << 40, 1 << 40), 1, EVENKEEL_SHAPE_OVERFLOW, "`shape`"),
        (0, (2, 3, 2), 2, EVENKEEL_PARAMETER, "`groups`"),
        (1, (2, 3, 2), 0, EVENKEEL_PARAMETER, "`groups`"),
    ];
    for (layout, shape, groups, expected, arg) in refused {
        let (status, text) = call(layout, shape, groups);
        assert_eq!((status, text.contains(arg)), (expected, true), "{text}");
    }
    assert_eq!(call(1, (2, 3, 2), 3).0, EVENKEEL_OK);

    let mut scratch =
        |layout| unsafe { evenkeel_channels_scratch_len(layout, 2, 3, 2, null(), &raw mut len) };
    assert_eq!(scratch(2), EVENKEEL_UNKNOWN_OPTION);
    assert_eq!(scratch(0), EVENKEEL_OK);
    let shape = Channels::first(2, 3, 2).unwrap();
    assert_eq!(len, BatchNorm::new().scratch_len(shape));
}

/// A length that C claims and memory does not have must be refused before a temporary of it is made.
#[test]
fn a_length_that_no_shape_asks_for_allocates_nothing() {
    let (x, mut y, mut stats) = ([1.0, 2.0], [BEFORE; 2], [0.0_f32; 2]);
    let claimed = isize::MAX as usize / 8;
    let status = unsafe {
        evenkeel_rms_norm_f32(
            x.as_ptr(),
            2,
            null(),
            0,
            0,
            null(),
            0,
            1,
            2,
            EPS,
            y.as_mut_ptr(),
            2,
            stats.as_mut_ptr().cast(),
            claimed,
            EVENKEEL_F32,
            null(),
        )
    };
    // Claimed that far, it may reach into the others.
    assert!(matches!(status, EVENKEEL_LENGTH | EVENKEEL_OVERLAP), "{}", message());
    assert_eq!(y, [BEFORE; 2]);
}

#[test]
fn backends_have_names() {
    let mut backend = 77;
    for number in 0..4 {
        let name = evenkeel_backend_name(number);
        let status = unsafe { evenkeel_backend_by_name(name, &raw mut backend) };
        match evenkeel_backend_is_available(number) {
            1 => assert_eq!((status, backend), (EVENKEEL_OK, number)),
            _ => assert_eq!(status, EVENKEEL_UNAVAILABLE_BACKEND),
        }
    }
    assert!(evenkeel_backend_name(4).is_null());
    assert_eq!(
        unsafe { evenkeel_backend_by_name(c"sse9".as_ptr(), &raw mut backend) },
        EVENKEEL_UNKNOWN_OPTION
    );
    assert!(message().contains("sse9"));
    assert_eq!(
        unsafe { evenkeel_backend_by_name(null(), &raw mut backend) },
        EVENKEEL_NULL_POINTER
    );
}

/// Statistics that no samples have, a range that is none, a norm that there is not, a scaler that has seen nothing.
#[test]
fn scalers_that_can_be_of_no_samples_are_refused() {
    let (x, mut y) = ([1.0, 2.0], [BEFORE; 2]);
    let fitted = evenkeel_moments { count: 1, mean: 1.0, mean_low: 0.0, m2: 0.0 };
    let mut standard = |moments: &[evenkeel_moments; 2]| {
        let (m, y) = (moments.as_ptr(), y.as_mut_ptr());
        let status = unsafe {
            evenkeel_standard_scaler_transform_f32(x.as_ptr(), 2, m, 2, 1, 2, 1, 1, y, 2, null())
        };
        (status, message())
    };
    let (status, text) = standard(&[NOTHING; 2]);
    assert_eq!((status, text.contains("`scaler`")), (EVENKEEL_NOT_FITTED, true), "{text}");
    let negative = evenkeel_moments { m2: -1.0, ..fitted };
    let (status, text) = standard(&[fitted, negative]);
    assert_eq!((status, text.contains("`moments`")), (EVENKEEL_PARAMETER, true), "{text}");
    assert_eq!(y, [BEFORE; 2]);

    let (mut moments, other) = ([fitted], [negative]);
    let (to, from) = (moments.as_mut_ptr(), other.as_ptr());
    let status =
        unsafe { evenkeel_standard_scaler_merge(to, 1, null_mut(), 0, from, 1, null(), 0, null()) };
    assert_eq!((status, message().contains("`other`")), (EVENKEEL_PARAMETER, true));
    assert_eq!((moments[0].count, moments[0].m2), (1, 0.0));

    let mut min_max = |min: [f32; 2], max: [f32; 2], from, to| {
        let (min, max, y) = (min.as_ptr(), max.as_ptr(), y.as_mut_ptr());
        let status = unsafe {
            evenkeel_min_max_scaler_transform_f32(
                x.as_ptr(),
                2,
                min,
                2,
                max,
                2,
                1,
                2,
                from,
                to,
                0,
                y,
                2,
                null(),
            )
        };
        (status, message())
    };
    let (nothing, less) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
    let refused = [
        (nothing, less, 0.0, 1.0, EVENKEEL_NOT_FITTED, "`scaler`"),
        ([f32::NAN, 1.0], [1.0; 2], 0.0, 1.0, EVENKEEL_PARAMETER, "`data_min`"),
        ([1.0; 2], [1.0, 0.5], 0.0, 1.0, EVENKEEL_PARAMETER, "`data_max`"),
        ([1.0; 2], [2.0; 2], 1.0, 1.0, EVENKEEL_PARAMETER, "`feature_range`"),
        ([1.0; 2], [2.0; 2], f64::NAN, 1.0, EVENKEEL_PARAMETER, "`feature_range`"),
    ];
    for (min, max, from, to, expected, arg) in refused {
        let (status, text) = min_max(min, max, from, to);
        assert_eq!((status, text.contains(arg)), (expected, true), "{text}");
    }
    let (mut min, mut max) = ([1.0], [2.0]);
    let (to_min, to_max, bad) = (min.as_mut_ptr(), max.as_mut_ptr(), [f32::NAN]);
    let status = unsafe {
        evenkeel_min_max_scaler_merge_f32(to_min, 1, to_max, 1, x.as_ptr(), 1, bad.as_ptr(), 1)
    };
    assert_eq!((status, message().contains("`other_max`")), (EVENKEEL_PARAMETER, true));
    assert_eq!((min, max), ([1.0], [2.0]));

    let status =
        unsafe { evenkeel_normalizer_f32(x.as_ptr(), 2, 1, 2, 3, y.as_mut_ptr(), 2, null()) };
    assert_eq!((status, message().contains("`norm`")), (EVENKEEL_UNKNOWN_OPTION, true));
    assert_eq!(y, [BEFORE; 2]);
}
