/* Where each member of each structure lies, and what the macros of evenkeel.h leave there: C, and C++ from C++98 on. Changing a
 * number here breaks every program that was compiled before. */
#include <evenkeel.h>
#include <stdio.h>
#include <string.h>

/* An array of -1 elements does not compile. */
#define SIZE(type, bytes) typedef char size_of_##type[sizeof(type) == (bytes) ? 1 : -1]
#define AT(type, member, at) typedef char at_##type##_##member[offsetof(type, member) == (at) ? 1 : -1]

#if SIZE_MAX > 0xffffffff
SIZE(evenkeel_input, 32);
AT(evenkeel_input, data, 0);
AT(evenkeel_input, len, 8);
AT(evenkeel_input, pitch, 16);
AT(evenkeel_input, dtype, 24);
AT(evenkeel_input, reserved, 28);

SIZE(evenkeel_output, 32);
AT(evenkeel_output, data, 0);
AT(evenkeel_output, len, 8);
AT(evenkeel_output, pitch, 16);
AT(evenkeel_output, dtype, 24);
AT(evenkeel_output, reserved, 28);

SIZE(evenkeel_shape, 48);
AT(evenkeel_shape, layout, 0);
AT(evenkeel_shape, reserved, 4);
AT(evenkeel_shape, rows, 8);
AT(evenkeel_shape, cols, 16);
AT(evenkeel_shape, batch, 24);
AT(evenkeel_shape, channels, 32);
AT(evenkeel_shape, positions, 40);

SIZE(evenkeel_execution, 56);
AT(evenkeel_execution, size, 0);
AT(evenkeel_execution, backend, 8);
AT(evenkeel_execution, stores, 12);
AT(evenkeel_execution, tasks, 16);
AT(evenkeel_execution, environment, 24);
AT(evenkeel_execution, reserved, 28);
AT(evenkeel_execution, parallel_for, 32);
AT(evenkeel_execution, pool_context, 40);
AT(evenkeel_execution, pool_threads, 48);

SIZE(evenkeel_layer_norm_args, 568);
AT(evenkeel_layer_norm_args, size, 0);
AT(evenkeel_layer_norm_args, x, 8);
AT(evenkeel_layer_norm_args, y, 40);
AT(evenkeel_layer_norm_args, shape, 72);
AT(evenkeel_layer_norm_args, eps, 120);
AT(evenkeel_layer_norm_args, execution, 128);
AT(evenkeel_layer_norm_args, gamma, 136);
AT(evenkeel_layer_norm_args, beta, 168);
AT(evenkeel_layer_norm_args, mean, 200);
AT(evenkeel_layer_norm_args, rstd, 232);
AT(evenkeel_layer_norm_args, x_bias, 264);
AT(evenkeel_layer_norm_args, residual, 296);
AT(evenkeel_layer_norm_args, sum, 328);
AT(evenkeel_layer_norm_args, gate, 360);
AT(evenkeel_layer_norm_args, plus, 392);
AT(evenkeel_layer_norm_args, valid, 424);
AT(evenkeel_layer_norm_args, valid_steps, 456);
AT(evenkeel_layer_norm_args, gate_function, 464);
AT(evenkeel_layer_norm_args, gate_place, 468);
AT(evenkeel_layer_norm_args, dropout_p, 472);
AT(evenkeel_layer_norm_args, dropout_seed, 480);
AT(evenkeel_layer_norm_args, dropout_offset, 488);
AT(evenkeel_layer_norm_args, dropout_rows, 496);
AT(evenkeel_layer_norm_args, dropout_mask, 504);
AT(evenkeel_layer_norm_args, keep_mask, 536);

SIZE(evenkeel_rms_norm_args, 552);
AT(evenkeel_rms_norm_args, size, 0);
AT(evenkeel_rms_norm_args, x, 8);
AT(evenkeel_rms_norm_args, y, 40);
AT(evenkeel_rms_norm_args, shape, 72);
AT(evenkeel_rms_norm_args, eps, 120);
AT(evenkeel_rms_norm_args, execution, 128);
AT(evenkeel_rms_norm_args, gamma, 136);
AT(evenkeel_rms_norm_args, beta, 168);
AT(evenkeel_rms_norm_args, rstd, 200);
AT(evenkeel_rms_norm_args, one_plus_gamma, 232);
AT(evenkeel_rms_norm_args, reserved, 236);
AT(evenkeel_rms_norm_args, x_bias, 240);
AT(evenkeel_rms_norm_args, residual, 272);
AT(evenkeel_rms_norm_args, sum, 304);
AT(evenkeel_rms_norm_args, gate, 336);
AT(evenkeel_rms_norm_args, plus, 368);
AT(evenkeel_rms_norm_args, valid, 400);
AT(evenkeel_rms_norm_args, valid_steps, 432);
AT(evenkeel_rms_norm_args, gate_function, 440);
AT(evenkeel_rms_norm_args, gate_place, 444);
AT(evenkeel_rms_norm_args, group_size, 448);
AT(evenkeel_rms_norm_args, dropout_p, 456);
AT(evenkeel_rms_norm_args, dropout_seed, 464);
AT(evenkeel_rms_norm_args, dropout_offset, 472);
AT(evenkeel_rms_norm_args, dropout_rows, 480);
AT(evenkeel_rms_norm_args, dropout_mask, 488);
AT(evenkeel_rms_norm_args, keep_mask, 520);

SIZE(evenkeel_norm_backward_args, 680);
AT(evenkeel_norm_backward_args, size, 0);
AT(evenkeel_norm_backward_args, dy, 8);
AT(evenkeel_norm_backward_args, dx, 40);
AT(evenkeel_norm_backward_args, shape, 72);
AT(evenkeel_norm_backward_args, eps, 120);
AT(evenkeel_norm_backward_args, execution, 128);
AT(evenkeel_norm_backward_args, x, 136);
AT(evenkeel_norm_backward_args, gamma, 168);
AT(evenkeel_norm_backward_args, mean, 200);
AT(evenkeel_norm_backward_args, rstd, 232);
AT(evenkeel_norm_backward_args, dgamma, 264);
AT(evenkeel_norm_backward_args, dbeta, 296);
AT(evenkeel_norm_backward_args, dsum, 328);
AT(evenkeel_norm_backward_args, dresidual, 360);
AT(evenkeel_norm_backward_args, scratch, 392);
AT(evenkeel_norm_backward_args, valid, 424);
AT(evenkeel_norm_backward_args, valid_steps, 456);
AT(evenkeel_norm_backward_args, one_plus_gamma, 464);
AT(evenkeel_norm_backward_args, accumulate, 468);
AT(evenkeel_norm_backward_args, beta, 472);
AT(evenkeel_norm_backward_args, gate, 504);
AT(evenkeel_norm_backward_args, dgate, 536);
AT(evenkeel_norm_backward_args, group_size, 568);
AT(evenkeel_norm_backward_args, gate_function, 576);
AT(evenkeel_norm_backward_args, gate_place, 580);
AT(evenkeel_norm_backward_args, dropout_p, 584);
AT(evenkeel_norm_backward_args, dropout_seed, 592);
AT(evenkeel_norm_backward_args, dropout_offset, 600);
AT(evenkeel_norm_backward_args, dropout_rows, 608);
AT(evenkeel_norm_backward_args, dropout_mask, 616);
AT(evenkeel_norm_backward_args, dbias, 648);

SIZE(evenkeel_channels_backward_args, 552);
AT(evenkeel_channels_backward_args, size, 0);
AT(evenkeel_channels_backward_args, dy, 8);
AT(evenkeel_channels_backward_args, dx, 40);
AT(evenkeel_channels_backward_args, shape, 72);
AT(evenkeel_channels_backward_args, eps, 120);
AT(evenkeel_channels_backward_args, execution, 128);
AT(evenkeel_channels_backward_args, x, 136);
AT(evenkeel_channels_backward_args, gamma, 168);
AT(evenkeel_channels_backward_args, mean, 200);
AT(evenkeel_channels_backward_args, rstd, 232);
AT(evenkeel_channels_backward_args, running_mean, 264);
AT(evenkeel_channels_backward_args, running_var, 296);
AT(evenkeel_channels_backward_args, sum_dy, 328);
AT(evenkeel_channels_backward_args, sum_dy_x_hat, 360);
AT(evenkeel_channels_backward_args, count, 392);
AT(evenkeel_channels_backward_args, groups, 400);
AT(evenkeel_channels_backward_args, dgamma, 408);
AT(evenkeel_channels_backward_args, dbeta, 440);
AT(evenkeel_channels_backward_args, scratch, 472);
AT(evenkeel_channels_backward_args, valid, 504);
AT(evenkeel_channels_backward_args, valid_steps, 536);
AT(evenkeel_channels_backward_args, accumulate, 544);
AT(evenkeel_channels_backward_args, reserved, 548);

SIZE(evenkeel_normalize_scale_shift_args, 304);
AT(evenkeel_normalize_scale_shift_args, size, 0);
AT(evenkeel_normalize_scale_shift_args, x, 8);
AT(evenkeel_normalize_scale_shift_args, y, 40);
AT(evenkeel_normalize_scale_shift_args, shape, 72);
AT(evenkeel_normalize_scale_shift_args, execution, 120);
AT(evenkeel_normalize_scale_shift_args, statistics_of, 128);
AT(evenkeel_normalize_scale_shift_args, reserved, 132);
AT(evenkeel_normalize_scale_shift_args, mean, 136);
AT(evenkeel_normalize_scale_shift_args, rstd, 168);
AT(evenkeel_normalize_scale_shift_args, gamma, 200);
AT(evenkeel_normalize_scale_shift_args, beta, 232);
AT(evenkeel_normalize_scale_shift_args, valid, 264);
AT(evenkeel_normalize_scale_shift_args, valid_steps, 296);

SIZE(evenkeel_batch_norm_training_args, 432);
AT(evenkeel_batch_norm_training_args, size, 0);
AT(evenkeel_batch_norm_training_args, x, 8);
AT(evenkeel_batch_norm_training_args, y, 40);
AT(evenkeel_batch_norm_training_args, shape, 72);
AT(evenkeel_batch_norm_training_args, eps, 120);
AT(evenkeel_batch_norm_training_args, execution, 128);
AT(evenkeel_batch_norm_training_args, gamma, 136);
AT(evenkeel_batch_norm_training_args, beta, 168);
AT(evenkeel_batch_norm_training_args, mean, 200);
AT(evenkeel_batch_norm_training_args, rstd, 232);
AT(evenkeel_batch_norm_training_args, running_mean, 264);
AT(evenkeel_batch_norm_training_args, running_var, 296);
AT(evenkeel_batch_norm_training_args, momentum, 328);
AT(evenkeel_batch_norm_training_args, momentum_rule, 336);
AT(evenkeel_batch_norm_training_args, unbiased_running_var, 340);
AT(evenkeel_batch_norm_training_args, skip_non_finite_updates, 344);
AT(evenkeel_batch_norm_training_args, reserved, 348);
AT(evenkeel_batch_norm_training_args, batches, 352);
AT(evenkeel_batch_norm_training_args, scratch, 360);
AT(evenkeel_batch_norm_training_args, valid, 392);
AT(evenkeel_batch_norm_training_args, valid_steps, 424);

SIZE(evenkeel_batch_norm_inference_args, 304);
AT(evenkeel_batch_norm_inference_args, size, 0);
AT(evenkeel_batch_norm_inference_args, x, 8);
AT(evenkeel_batch_norm_inference_args, y, 40);
AT(evenkeel_batch_norm_inference_args, shape, 72);
AT(evenkeel_batch_norm_inference_args, eps, 120);
AT(evenkeel_batch_norm_inference_args, execution, 128);
AT(evenkeel_batch_norm_inference_args, running_mean, 136);
AT(evenkeel_batch_norm_inference_args, running_var, 168);
AT(evenkeel_batch_norm_inference_args, gamma, 200);
AT(evenkeel_batch_norm_inference_args, beta, 232);
AT(evenkeel_batch_norm_inference_args, valid, 264);
AT(evenkeel_batch_norm_inference_args, valid_steps, 296);

SIZE(evenkeel_group_norm_args, 344);
AT(evenkeel_group_norm_args, size, 0);
AT(evenkeel_group_norm_args, x, 8);
AT(evenkeel_group_norm_args, y, 40);
AT(evenkeel_group_norm_args, shape, 72);
AT(evenkeel_group_norm_args, eps, 120);
AT(evenkeel_group_norm_args, execution, 128);
AT(evenkeel_group_norm_args, groups, 136);
AT(evenkeel_group_norm_args, gamma, 144);
AT(evenkeel_group_norm_args, beta, 176);
AT(evenkeel_group_norm_args, mean, 208);
AT(evenkeel_group_norm_args, rstd, 240);
AT(evenkeel_group_norm_args, scratch, 272);
AT(evenkeel_group_norm_args, valid, 304);
AT(evenkeel_group_norm_args, valid_steps, 336);

SIZE(evenkeel_dropout_args, 216);
AT(evenkeel_dropout_args, size, 0);
AT(evenkeel_dropout_args, x, 8);
AT(evenkeel_dropout_args, y, 40);
AT(evenkeel_dropout_args, p, 72);
AT(evenkeel_dropout_args, execution, 80);
AT(evenkeel_dropout_args, seed, 88);
AT(evenkeel_dropout_args, offset, 96);
AT(evenkeel_dropout_args, mask, 104);
AT(evenkeel_dropout_args, keep_mask, 136);
AT(evenkeel_dropout_args, shape, 168);

SIZE(evenkeel_dropout_mask_args, 80);
AT(evenkeel_dropout_mask_args, size, 0);
AT(evenkeel_dropout_mask_args, mask, 8);
AT(evenkeel_dropout_mask_args, count, 40);
AT(evenkeel_dropout_mask_args, p, 48);
AT(evenkeel_dropout_mask_args, execution, 56);
AT(evenkeel_dropout_mask_args, seed, 64);
AT(evenkeel_dropout_mask_args, offset, 72);

SIZE(evenkeel_moments, 32);
AT(evenkeel_moments, count, 0);
AT(evenkeel_moments, mean, 8);
AT(evenkeel_moments, mean_low, 16);
AT(evenkeel_moments, m2, 24);

SIZE(evenkeel_row_moments_args, 160);
AT(evenkeel_row_moments_args, size, 0);
AT(evenkeel_row_moments_args, x, 8);
AT(evenkeel_row_moments_args, moments, 40);
AT(evenkeel_row_moments_args, shape, 72);
AT(evenkeel_row_moments_args, execution, 120);
AT(evenkeel_row_moments_args, lengths, 128);

SIZE(evenkeel_column_moments_args, 200);
AT(evenkeel_column_moments_args, size, 0);
AT(evenkeel_column_moments_args, x, 8);
AT(evenkeel_column_moments_args, moments, 40);
AT(evenkeel_column_moments_args, shape, 72);
AT(evenkeel_column_moments_args, execution, 120);
AT(evenkeel_column_moments_args, scratch, 128);
AT(evenkeel_column_moments_args, valid, 160);
AT(evenkeel_column_moments_args, valid_steps, 192);

SIZE(evenkeel_column_moments_merge_args, 80);
AT(evenkeel_column_moments_merge_args, size, 0);
AT(evenkeel_column_moments_merge_args, parts, 8);
AT(evenkeel_column_moments_merge_args, moments, 40);
AT(evenkeel_column_moments_merge_args, execution, 72);

SIZE(evenkeel_batch_norm_statistics_args, 216);
AT(evenkeel_batch_norm_statistics_args, size, 0);
AT(evenkeel_batch_norm_statistics_args, moments, 8);
AT(evenkeel_batch_norm_statistics_args, eps, 40);
AT(evenkeel_batch_norm_statistics_args, execution, 48);
AT(evenkeel_batch_norm_statistics_args, mean, 56);
AT(evenkeel_batch_norm_statistics_args, rstd, 88);
AT(evenkeel_batch_norm_statistics_args, running_mean, 120);
AT(evenkeel_batch_norm_statistics_args, running_var, 152);
AT(evenkeel_batch_norm_statistics_args, momentum, 184);
AT(evenkeel_batch_norm_statistics_args, momentum_rule, 192);
AT(evenkeel_batch_norm_statistics_args, unbiased_running_var, 196);
AT(evenkeel_batch_norm_statistics_args, skip_non_finite_updates, 200);
AT(evenkeel_batch_norm_statistics_args, reserved, 204);
AT(evenkeel_batch_norm_statistics_args, batches, 208);

SIZE(evenkeel_penalty_args, 128);
AT(evenkeel_penalty_args, size, 0);
AT(evenkeel_penalty_args, w, 8);
AT(evenkeel_penalty_args, gradient, 40);
AT(evenkeel_penalty_args, penalty, 72);
AT(evenkeel_penalty_args, l1, 104);
AT(evenkeel_penalty_args, l2, 112);
AT(evenkeel_penalty_args, execution, 120);

SIZE(evenkeel_weight_decay_args, 96);
AT(evenkeel_weight_decay_args, size, 0);
AT(evenkeel_weight_decay_args, x, 8);
AT(evenkeel_weight_decay_args, y, 40);
AT(evenkeel_weight_decay_args, l2, 72);
AT(evenkeel_weight_decay_args, learning_rate, 80);
AT(evenkeel_weight_decay_args, execution, 88);

SIZE(evenkeel_proximal_args, 104);
AT(evenkeel_proximal_args, size, 0);
AT(evenkeel_proximal_args, x, 8);
AT(evenkeel_proximal_args, y, 40);
AT(evenkeel_proximal_args, l1, 72);
AT(evenkeel_proximal_args, l2, 80);
AT(evenkeel_proximal_args, step, 88);
AT(evenkeel_proximal_args, execution, 96);

SIZE(evenkeel_standard_scaler_partial_fit_args, 160);
AT(evenkeel_standard_scaler_partial_fit_args, size, 0);
AT(evenkeel_standard_scaler_partial_fit_args, x, 8);
AT(evenkeel_standard_scaler_partial_fit_args, shape, 40);
AT(evenkeel_standard_scaler_partial_fit_args, moments, 88);
AT(evenkeel_standard_scaler_partial_fit_args, m2_low, 120);
AT(evenkeel_standard_scaler_partial_fit_args, execution, 152);

SIZE(evenkeel_standard_scaler_merge_args, 144);
AT(evenkeel_standard_scaler_merge_args, size, 0);
AT(evenkeel_standard_scaler_merge_args, moments, 8);
AT(evenkeel_standard_scaler_merge_args, m2_low, 40);
AT(evenkeel_standard_scaler_merge_args, other, 72);
AT(evenkeel_standard_scaler_merge_args, other_m2_low, 104);
AT(evenkeel_standard_scaler_merge_args, execution, 136);

SIZE(evenkeel_standard_scaler_transform_args, 176);
AT(evenkeel_standard_scaler_transform_args, size, 0);
AT(evenkeel_standard_scaler_transform_args, x, 8);
AT(evenkeel_standard_scaler_transform_args, y, 40);
AT(evenkeel_standard_scaler_transform_args, shape, 72);
AT(evenkeel_standard_scaler_transform_args, moments, 120);
AT(evenkeel_standard_scaler_transform_args, with_mean, 152);
AT(evenkeel_standard_scaler_transform_args, with_std, 156);
AT(evenkeel_standard_scaler_transform_args, inverse, 160);
AT(evenkeel_standard_scaler_transform_args, reserved, 164);
AT(evenkeel_standard_scaler_transform_args, execution, 168);

SIZE(evenkeel_standard_scaler_statistics_args, 104);
AT(evenkeel_standard_scaler_statistics_args, size, 0);
AT(evenkeel_standard_scaler_statistics_args, moments, 8);
AT(evenkeel_standard_scaler_statistics_args, mean, 40);
AT(evenkeel_standard_scaler_statistics_args, scale, 72);

SIZE(evenkeel_min_max_scaler_partial_fit_args, 160);
AT(evenkeel_min_max_scaler_partial_fit_args, size, 0);
AT(evenkeel_min_max_scaler_partial_fit_args, x, 8);
AT(evenkeel_min_max_scaler_partial_fit_args, shape, 40);
AT(evenkeel_min_max_scaler_partial_fit_args, data_min, 88);
AT(evenkeel_min_max_scaler_partial_fit_args, data_max, 120);
AT(evenkeel_min_max_scaler_partial_fit_args, execution, 152);

SIZE(evenkeel_min_max_scaler_merge_args, 136);
AT(evenkeel_min_max_scaler_merge_args, size, 0);
AT(evenkeel_min_max_scaler_merge_args, data_min, 8);
AT(evenkeel_min_max_scaler_merge_args, data_max, 40);
AT(evenkeel_min_max_scaler_merge_args, other_min, 72);
AT(evenkeel_min_max_scaler_merge_args, other_max, 104);

SIZE(evenkeel_min_max_scaler_transform_args, 216);
AT(evenkeel_min_max_scaler_transform_args, size, 0);
AT(evenkeel_min_max_scaler_transform_args, x, 8);
AT(evenkeel_min_max_scaler_transform_args, y, 40);
AT(evenkeel_min_max_scaler_transform_args, shape, 72);
AT(evenkeel_min_max_scaler_transform_args, data_min, 120);
AT(evenkeel_min_max_scaler_transform_args, data_max, 152);
AT(evenkeel_min_max_scaler_transform_args, range_min, 184);
AT(evenkeel_min_max_scaler_transform_args, range_max, 192);
AT(evenkeel_min_max_scaler_transform_args, clip, 200);
AT(evenkeel_min_max_scaler_transform_args, inverse, 204);
AT(evenkeel_min_max_scaler_transform_args, execution, 208);

SIZE(evenkeel_scaler_info, 40);
AT(evenkeel_scaler_info, features, 0);
AT(evenkeel_scaler_info, scaler, 8);
AT(evenkeel_scaler_info, with_mean, 12);
AT(evenkeel_scaler_info, with_std, 16);
AT(evenkeel_scaler_info, clip, 20);
AT(evenkeel_scaler_info, range_min, 24);
AT(evenkeel_scaler_info, range_max, 32);

SIZE(evenkeel_scaler_state_info_args, 48);
AT(evenkeel_scaler_state_info_args, size, 0);
AT(evenkeel_scaler_state_info_args, bytes, 8);
AT(evenkeel_scaler_state_info_args, info, 40);

SIZE(evenkeel_standard_scaler_to_bytes_args, 112);
AT(evenkeel_standard_scaler_to_bytes_args, size, 0);
AT(evenkeel_standard_scaler_to_bytes_args, moments, 8);
AT(evenkeel_standard_scaler_to_bytes_args, m2_low, 40);
AT(evenkeel_standard_scaler_to_bytes_args, bytes, 72);
AT(evenkeel_standard_scaler_to_bytes_args, with_mean, 104);
AT(evenkeel_standard_scaler_to_bytes_args, with_std, 108);

SIZE(evenkeel_standard_scaler_from_bytes_args, 104);
AT(evenkeel_standard_scaler_from_bytes_args, size, 0);
AT(evenkeel_standard_scaler_from_bytes_args, bytes, 8);
AT(evenkeel_standard_scaler_from_bytes_args, moments, 40);
AT(evenkeel_standard_scaler_from_bytes_args, m2_low, 72);

SIZE(evenkeel_min_max_scaler_to_bytes_args, 128);
AT(evenkeel_min_max_scaler_to_bytes_args, size, 0);
AT(evenkeel_min_max_scaler_to_bytes_args, data_min, 8);
AT(evenkeel_min_max_scaler_to_bytes_args, data_max, 40);
AT(evenkeel_min_max_scaler_to_bytes_args, bytes, 72);
AT(evenkeel_min_max_scaler_to_bytes_args, range_min, 104);
AT(evenkeel_min_max_scaler_to_bytes_args, range_max, 112);
AT(evenkeel_min_max_scaler_to_bytes_args, clip, 120);
AT(evenkeel_min_max_scaler_to_bytes_args, reserved, 124);

SIZE(evenkeel_min_max_scaler_from_bytes_args, 104);
AT(evenkeel_min_max_scaler_from_bytes_args, size, 0);
AT(evenkeel_min_max_scaler_from_bytes_args, bytes, 8);
AT(evenkeel_min_max_scaler_from_bytes_args, data_min, 40);
AT(evenkeel_min_max_scaler_from_bytes_args, data_max, 72);

SIZE(evenkeel_normalizer_args, 136);
AT(evenkeel_normalizer_args, size, 0);
AT(evenkeel_normalizer_args, x, 8);
AT(evenkeel_normalizer_args, y, 40);
AT(evenkeel_normalizer_args, shape, 72);
AT(evenkeel_normalizer_args, norm, 120);
AT(evenkeel_normalizer_args, reserved, 124);
AT(evenkeel_normalizer_args, execution, 128);
#endif

static int failures = 0;

/* All zeros but the size and what is set. */
#define DEFAULTS(type, init, set)                                    \
  do {                                                               \
    type given = init, zero;                                         \
    memset(&zero, 0, sizeof zero);                                   \
    zero.size = sizeof zero;                                         \
    set;                                                             \
    if (memcmp(&given, &zero, sizeof zero) != 0) {                   \
      printf(#init " leaves something else\n");                      \
      failures++;                                                    \
    }                                                                \
  } while (0)

int main(void) {
  const float one = 1.0f;
  const evenkeel_input buffer = EVENKEEL_BUFFER(EVENKEEL_F32, &one, 1);
  const evenkeel_input pitched = EVENKEEL_PITCHED(EVENKEEL_F32, &one, 1, 7);
  const evenkeel_shape rows = EVENKEEL_SHAPE_ROWS(2, 3);
  const evenkeel_shape first = EVENKEEL_SHAPE_CHANNELS_FIRST(2, 3, 4);
  const evenkeel_shape last = EVENKEEL_SHAPE_CHANNELS_LAST(2, 4, 3);
  DEFAULTS(evenkeel_execution, EVENKEEL_EXECUTION_INIT, (void)0);
  DEFAULTS(evenkeel_layer_norm_args, EVENKEEL_LAYER_NORM_INIT, zero.eps = 1e-5);
  DEFAULTS(evenkeel_rms_norm_args, EVENKEEL_RMS_NORM_INIT, zero.eps = 1e-5);
  DEFAULTS(evenkeel_norm_backward_args, EVENKEEL_NORM_BACKWARD_INIT, zero.eps = 1e-5);
  DEFAULTS(evenkeel_channels_backward_args, EVENKEEL_CHANNELS_BACKWARD_INIT, zero.eps = 1e-5; zero.groups = 32);
  DEFAULTS(evenkeel_normalize_scale_shift_args, EVENKEEL_NORMALIZE_SCALE_SHIFT_INIT, (void)0);
  DEFAULTS(evenkeel_batch_norm_training_args, EVENKEEL_BATCH_NORM_TRAINING_INIT, zero.eps = 1e-5; zero.momentum = 0.9; zero.momentum_rule = EVENKEEL_MOMENTUM_KEEP);
  DEFAULTS(evenkeel_batch_norm_inference_args, EVENKEEL_BATCH_NORM_INFERENCE_INIT, zero.eps = 1e-5);
  DEFAULTS(evenkeel_group_norm_args, EVENKEEL_GROUP_NORM_INIT, zero.eps = 1e-5; zero.groups = 32);
  DEFAULTS(evenkeel_dropout_args, EVENKEEL_DROPOUT_INIT, zero.p = 0.5);
  DEFAULTS(evenkeel_dropout_mask_args, EVENKEEL_DROPOUT_MASK_INIT, zero.p = 0.5);
  DEFAULTS(evenkeel_row_moments_args, EVENKEEL_ROW_MOMENTS_INIT, (void)0);
  DEFAULTS(evenkeel_column_moments_args, EVENKEEL_COLUMN_MOMENTS_INIT, (void)0);
  DEFAULTS(evenkeel_column_moments_merge_args, EVENKEEL_COLUMN_MOMENTS_MERGE_INIT, (void)0);
  DEFAULTS(evenkeel_batch_norm_statistics_args, EVENKEEL_BATCH_NORM_STATISTICS_INIT, zero.eps = 1e-5; zero.momentum = 0.9; zero.momentum_rule = EVENKEEL_MOMENTUM_KEEP);
  DEFAULTS(evenkeel_penalty_args, EVENKEEL_PENALTY_INIT, (void)0);
  DEFAULTS(evenkeel_weight_decay_args, EVENKEEL_WEIGHT_DECAY_INIT, (void)0);
  DEFAULTS(evenkeel_proximal_args, EVENKEEL_PROXIMAL_INIT, (void)0);
  DEFAULTS(evenkeel_standard_scaler_partial_fit_args, EVENKEEL_STANDARD_SCALER_PARTIAL_FIT_INIT, (void)0);
  DEFAULTS(evenkeel_standard_scaler_merge_args, EVENKEEL_STANDARD_SCALER_MERGE_INIT, (void)0);
  DEFAULTS(evenkeel_standard_scaler_transform_args, EVENKEEL_STANDARD_SCALER_TRANSFORM_INIT, zero.with_mean = 1; zero.with_std = 1);
  DEFAULTS(evenkeel_standard_scaler_statistics_args, EVENKEEL_STANDARD_SCALER_STATISTICS_INIT, (void)0);
  DEFAULTS(evenkeel_min_max_scaler_partial_fit_args, EVENKEEL_MIN_MAX_SCALER_PARTIAL_FIT_INIT, (void)0);
  DEFAULTS(evenkeel_min_max_scaler_merge_args, EVENKEEL_MIN_MAX_SCALER_MERGE_INIT, (void)0);
  DEFAULTS(evenkeel_min_max_scaler_transform_args, EVENKEEL_MIN_MAX_SCALER_TRANSFORM_INIT, zero.range_max = 1.0);
  DEFAULTS(evenkeel_scaler_state_info_args, EVENKEEL_SCALER_STATE_INFO_INIT, (void)0);
  DEFAULTS(evenkeel_standard_scaler_to_bytes_args, EVENKEEL_STANDARD_SCALER_TO_BYTES_INIT, zero.with_mean = 1; zero.with_std = 1);
  DEFAULTS(evenkeel_standard_scaler_from_bytes_args, EVENKEEL_STANDARD_SCALER_FROM_BYTES_INIT, (void)0);
  DEFAULTS(evenkeel_min_max_scaler_to_bytes_args, EVENKEEL_MIN_MAX_SCALER_TO_BYTES_INIT, zero.range_max = 1.0);
  DEFAULTS(evenkeel_min_max_scaler_from_bytes_args, EVENKEEL_MIN_MAX_SCALER_FROM_BYTES_INIT, (void)0);
  DEFAULTS(evenkeel_normalizer_args, EVENKEEL_NORMALIZER_INIT, zero.norm = EVENKEEL_NORM_L2);
  if (buffer.data != &one || buffer.len != 1 || buffer.pitch != 0 || buffer.dtype != EVENKEEL_F32) failures++;
  if (pitched.data != &one || pitched.len != 1 || pitched.pitch != 7 || pitched.dtype != EVENKEEL_F32) failures++;
  if (rows.layout != EVENKEEL_ROWS || rows.rows != 2 || rows.cols != 3) failures++;
  if (first.layout != EVENKEEL_CHANNELS_FIRST || first.batch != 2 || first.channels != 3 || first.positions != 4) failures++;
  if (last.layout != EVENKEEL_CHANNELS_LAST || last.batch != 2 || last.channels != 3 || last.positions != 4) failures++;
  if (evenkeel_version() != EVENKEEL_VERSION) failures++;
  if (failures == 0) printf("tests/c/layout.c: every structure is what it was\n");
  return failures != 0;
}
