/* Where each member of each structure lies, and what the macros of evenkeel.h leave there: C, and C++ from C++98 on. Changing a
 * number here breaks every program that was compiled before. */
#include <evenkeel.h>
#include <stdio.h>
#include <string.h>

/* An array of -1 elements does not compile. */
#define SIZE(type, bytes) typedef char size_of_##type[sizeof(type) == (bytes) ? 1 : -1]
#define AT(type, member, at) typedef char at_##type##_##member[offsetof(type, member) == (at) ? 1 : -1]

#if SIZE_MAX > 0xffffffff
SIZE(evenkeel_input, 40);
AT(evenkeel_input, data, 0);
AT(evenkeel_input, len, 8);
AT(evenkeel_input, pitch, 16);
AT(evenkeel_input, outer_pitch, 24);
AT(evenkeel_input, dtype, 32);
AT(evenkeel_input, inner_rows, 36);

SIZE(evenkeel_output, 40);
AT(evenkeel_output, data, 0);
AT(evenkeel_output, len, 8);
AT(evenkeel_output, pitch, 16);
AT(evenkeel_output, outer_pitch, 24);
AT(evenkeel_output, dtype, 32);
AT(evenkeel_output, inner_rows, 36);

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

SIZE(evenkeel_layer_norm_args, 680);
AT(evenkeel_layer_norm_args, size, 0);
AT(evenkeel_layer_norm_args, x, 8);
AT(evenkeel_layer_norm_args, y, 48);
AT(evenkeel_layer_norm_args, shape, 88);
AT(evenkeel_layer_norm_args, eps, 136);
AT(evenkeel_layer_norm_args, execution, 144);
AT(evenkeel_layer_norm_args, gamma, 152);
AT(evenkeel_layer_norm_args, beta, 192);
AT(evenkeel_layer_norm_args, mean, 232);
AT(evenkeel_layer_norm_args, rstd, 272);
AT(evenkeel_layer_norm_args, x_bias, 312);
AT(evenkeel_layer_norm_args, residual, 352);
AT(evenkeel_layer_norm_args, sum, 392);
AT(evenkeel_layer_norm_args, gate, 432);
AT(evenkeel_layer_norm_args, plus, 472);
AT(evenkeel_layer_norm_args, valid, 512);
AT(evenkeel_layer_norm_args, valid_steps, 552);
AT(evenkeel_layer_norm_args, gate_function, 560);
AT(evenkeel_layer_norm_args, gate_place, 564);
AT(evenkeel_layer_norm_args, dropout_p, 568);
AT(evenkeel_layer_norm_args, dropout_seed, 576);
AT(evenkeel_layer_norm_args, dropout_offset, 584);
AT(evenkeel_layer_norm_args, dropout_rows, 592);
AT(evenkeel_layer_norm_args, dropout_mask, 600);
AT(evenkeel_layer_norm_args, keep_mask, 640);

SIZE(evenkeel_rms_norm_args, 656);
AT(evenkeel_rms_norm_args, size, 0);
AT(evenkeel_rms_norm_args, x, 8);
AT(evenkeel_rms_norm_args, y, 48);
AT(evenkeel_rms_norm_args, shape, 88);
AT(evenkeel_rms_norm_args, eps, 136);
AT(evenkeel_rms_norm_args, execution, 144);
AT(evenkeel_rms_norm_args, gamma, 152);
AT(evenkeel_rms_norm_args, beta, 192);
AT(evenkeel_rms_norm_args, rstd, 232);
AT(evenkeel_rms_norm_args, one_plus_gamma, 272);
AT(evenkeel_rms_norm_args, reserved, 276);
AT(evenkeel_rms_norm_args, x_bias, 280);
AT(evenkeel_rms_norm_args, residual, 320);
AT(evenkeel_rms_norm_args, sum, 360);
AT(evenkeel_rms_norm_args, gate, 400);
AT(evenkeel_rms_norm_args, plus, 440);
AT(evenkeel_rms_norm_args, valid, 480);
AT(evenkeel_rms_norm_args, valid_steps, 520);
AT(evenkeel_rms_norm_args, gate_function, 528);
AT(evenkeel_rms_norm_args, gate_place, 532);
AT(evenkeel_rms_norm_args, group_size, 536);
AT(evenkeel_rms_norm_args, dropout_p, 544);
AT(evenkeel_rms_norm_args, dropout_seed, 552);
AT(evenkeel_rms_norm_args, dropout_offset, 560);
AT(evenkeel_rms_norm_args, dropout_rows, 568);
AT(evenkeel_rms_norm_args, dropout_mask, 576);
AT(evenkeel_rms_norm_args, keep_mask, 616);

SIZE(evenkeel_norm_backward_args, 816);
AT(evenkeel_norm_backward_args, size, 0);
AT(evenkeel_norm_backward_args, dy, 8);
AT(evenkeel_norm_backward_args, dx, 48);
AT(evenkeel_norm_backward_args, shape, 88);
AT(evenkeel_norm_backward_args, eps, 136);
AT(evenkeel_norm_backward_args, execution, 144);
AT(evenkeel_norm_backward_args, x, 152);
AT(evenkeel_norm_backward_args, gamma, 192);
AT(evenkeel_norm_backward_args, mean, 232);
AT(evenkeel_norm_backward_args, rstd, 272);
AT(evenkeel_norm_backward_args, dgamma, 312);
AT(evenkeel_norm_backward_args, dbeta, 352);
AT(evenkeel_norm_backward_args, dsum, 392);
AT(evenkeel_norm_backward_args, dresidual, 432);
AT(evenkeel_norm_backward_args, scratch, 472);
AT(evenkeel_norm_backward_args, valid, 512);
AT(evenkeel_norm_backward_args, valid_steps, 552);
AT(evenkeel_norm_backward_args, one_plus_gamma, 560);
AT(evenkeel_norm_backward_args, accumulate, 564);
AT(evenkeel_norm_backward_args, beta, 568);
AT(evenkeel_norm_backward_args, gate, 608);
AT(evenkeel_norm_backward_args, dgate, 648);
AT(evenkeel_norm_backward_args, group_size, 688);
AT(evenkeel_norm_backward_args, gate_function, 696);
AT(evenkeel_norm_backward_args, gate_place, 700);
AT(evenkeel_norm_backward_args, dropout_p, 704);
AT(evenkeel_norm_backward_args, dropout_seed, 712);
AT(evenkeel_norm_backward_args, dropout_offset, 720);
AT(evenkeel_norm_backward_args, dropout_rows, 728);
AT(evenkeel_norm_backward_args, dropout_mask, 736);
AT(evenkeel_norm_backward_args, dbias, 776);

SIZE(evenkeel_channels_backward_args, 664);
AT(evenkeel_channels_backward_args, size, 0);
AT(evenkeel_channels_backward_args, dy, 8);
AT(evenkeel_channels_backward_args, dx, 48);
AT(evenkeel_channels_backward_args, shape, 88);
AT(evenkeel_channels_backward_args, eps, 136);
AT(evenkeel_channels_backward_args, execution, 144);
AT(evenkeel_channels_backward_args, x, 152);
AT(evenkeel_channels_backward_args, gamma, 192);
AT(evenkeel_channels_backward_args, mean, 232);
AT(evenkeel_channels_backward_args, rstd, 272);
AT(evenkeel_channels_backward_args, running_mean, 312);
AT(evenkeel_channels_backward_args, running_var, 352);
AT(evenkeel_channels_backward_args, sum_dy, 392);
AT(evenkeel_channels_backward_args, sum_dy_x_hat, 432);
AT(evenkeel_channels_backward_args, count, 472);
AT(evenkeel_channels_backward_args, groups, 480);
AT(evenkeel_channels_backward_args, dgamma, 488);
AT(evenkeel_channels_backward_args, dbeta, 528);
AT(evenkeel_channels_backward_args, scratch, 568);
AT(evenkeel_channels_backward_args, valid, 608);
AT(evenkeel_channels_backward_args, valid_steps, 648);
AT(evenkeel_channels_backward_args, accumulate, 656);
AT(evenkeel_channels_backward_args, reserved, 660);

SIZE(evenkeel_normalize_scale_shift_args, 360);
AT(evenkeel_normalize_scale_shift_args, size, 0);
AT(evenkeel_normalize_scale_shift_args, x, 8);
AT(evenkeel_normalize_scale_shift_args, y, 48);
AT(evenkeel_normalize_scale_shift_args, shape, 88);
AT(evenkeel_normalize_scale_shift_args, execution, 136);
AT(evenkeel_normalize_scale_shift_args, statistics_of, 144);
AT(evenkeel_normalize_scale_shift_args, reserved, 148);
AT(evenkeel_normalize_scale_shift_args, mean, 152);
AT(evenkeel_normalize_scale_shift_args, rstd, 192);
AT(evenkeel_normalize_scale_shift_args, gamma, 232);
AT(evenkeel_normalize_scale_shift_args, beta, 272);
AT(evenkeel_normalize_scale_shift_args, valid, 312);
AT(evenkeel_normalize_scale_shift_args, valid_steps, 352);

SIZE(evenkeel_batch_norm_training_args, 512);
AT(evenkeel_batch_norm_training_args, size, 0);
AT(evenkeel_batch_norm_training_args, x, 8);
AT(evenkeel_batch_norm_training_args, y, 48);
AT(evenkeel_batch_norm_training_args, shape, 88);
AT(evenkeel_batch_norm_training_args, eps, 136);
AT(evenkeel_batch_norm_training_args, execution, 144);
AT(evenkeel_batch_norm_training_args, gamma, 152);
AT(evenkeel_batch_norm_training_args, beta, 192);
AT(evenkeel_batch_norm_training_args, mean, 232);
AT(evenkeel_batch_norm_training_args, rstd, 272);
AT(evenkeel_batch_norm_training_args, running_mean, 312);
AT(evenkeel_batch_norm_training_args, running_var, 352);
AT(evenkeel_batch_norm_training_args, momentum, 392);
AT(evenkeel_batch_norm_training_args, momentum_rule, 400);
AT(evenkeel_batch_norm_training_args, unbiased_running_var, 404);
AT(evenkeel_batch_norm_training_args, skip_non_finite_updates, 408);
AT(evenkeel_batch_norm_training_args, reserved, 412);
AT(evenkeel_batch_norm_training_args, batches, 416);
AT(evenkeel_batch_norm_training_args, scratch, 424);
AT(evenkeel_batch_norm_training_args, valid, 464);
AT(evenkeel_batch_norm_training_args, valid_steps, 504);

SIZE(evenkeel_batch_norm_inference_args, 360);
AT(evenkeel_batch_norm_inference_args, size, 0);
AT(evenkeel_batch_norm_inference_args, x, 8);
AT(evenkeel_batch_norm_inference_args, y, 48);
AT(evenkeel_batch_norm_inference_args, shape, 88);
AT(evenkeel_batch_norm_inference_args, eps, 136);
AT(evenkeel_batch_norm_inference_args, execution, 144);
AT(evenkeel_batch_norm_inference_args, running_mean, 152);
AT(evenkeel_batch_norm_inference_args, running_var, 192);
AT(evenkeel_batch_norm_inference_args, gamma, 232);
AT(evenkeel_batch_norm_inference_args, beta, 272);
AT(evenkeel_batch_norm_inference_args, valid, 312);
AT(evenkeel_batch_norm_inference_args, valid_steps, 352);

SIZE(evenkeel_group_norm_args, 408);
AT(evenkeel_group_norm_args, size, 0);
AT(evenkeel_group_norm_args, x, 8);
AT(evenkeel_group_norm_args, y, 48);
AT(evenkeel_group_norm_args, shape, 88);
AT(evenkeel_group_norm_args, eps, 136);
AT(evenkeel_group_norm_args, execution, 144);
AT(evenkeel_group_norm_args, groups, 152);
AT(evenkeel_group_norm_args, gamma, 160);
AT(evenkeel_group_norm_args, beta, 200);
AT(evenkeel_group_norm_args, mean, 240);
AT(evenkeel_group_norm_args, rstd, 280);
AT(evenkeel_group_norm_args, scratch, 320);
AT(evenkeel_group_norm_args, valid, 360);
AT(evenkeel_group_norm_args, valid_steps, 400);

SIZE(evenkeel_dropout_args, 248);
AT(evenkeel_dropout_args, size, 0);
AT(evenkeel_dropout_args, x, 8);
AT(evenkeel_dropout_args, y, 48);
AT(evenkeel_dropout_args, p, 88);
AT(evenkeel_dropout_args, execution, 96);
AT(evenkeel_dropout_args, seed, 104);
AT(evenkeel_dropout_args, offset, 112);
AT(evenkeel_dropout_args, mask, 120);
AT(evenkeel_dropout_args, keep_mask, 160);
AT(evenkeel_dropout_args, shape, 200);

SIZE(evenkeel_dropout_mask_args, 88);
AT(evenkeel_dropout_mask_args, size, 0);
AT(evenkeel_dropout_mask_args, mask, 8);
AT(evenkeel_dropout_mask_args, count, 48);
AT(evenkeel_dropout_mask_args, p, 56);
AT(evenkeel_dropout_mask_args, execution, 64);
AT(evenkeel_dropout_mask_args, seed, 72);
AT(evenkeel_dropout_mask_args, offset, 80);

SIZE(evenkeel_moments, 32);
AT(evenkeel_moments, count, 0);
AT(evenkeel_moments, mean, 8);
AT(evenkeel_moments, mean_low, 16);
AT(evenkeel_moments, m2, 24);

SIZE(evenkeel_row_moments_args, 184);
AT(evenkeel_row_moments_args, size, 0);
AT(evenkeel_row_moments_args, x, 8);
AT(evenkeel_row_moments_args, moments, 48);
AT(evenkeel_row_moments_args, shape, 88);
AT(evenkeel_row_moments_args, execution, 136);
AT(evenkeel_row_moments_args, lengths, 144);

SIZE(evenkeel_column_moments_args, 232);
AT(evenkeel_column_moments_args, size, 0);
AT(evenkeel_column_moments_args, x, 8);
AT(evenkeel_column_moments_args, moments, 48);
AT(evenkeel_column_moments_args, shape, 88);
AT(evenkeel_column_moments_args, execution, 136);
AT(evenkeel_column_moments_args, scratch, 144);
AT(evenkeel_column_moments_args, valid, 184);
AT(evenkeel_column_moments_args, valid_steps, 224);

SIZE(evenkeel_column_moments_merge_args, 96);
AT(evenkeel_column_moments_merge_args, size, 0);
AT(evenkeel_column_moments_merge_args, parts, 8);
AT(evenkeel_column_moments_merge_args, moments, 48);
AT(evenkeel_column_moments_merge_args, execution, 88);

SIZE(evenkeel_batch_norm_statistics_args, 256);
AT(evenkeel_batch_norm_statistics_args, size, 0);
AT(evenkeel_batch_norm_statistics_args, moments, 8);
AT(evenkeel_batch_norm_statistics_args, eps, 48);
AT(evenkeel_batch_norm_statistics_args, execution, 56);
AT(evenkeel_batch_norm_statistics_args, mean, 64);
AT(evenkeel_batch_norm_statistics_args, rstd, 104);
AT(evenkeel_batch_norm_statistics_args, running_mean, 144);
AT(evenkeel_batch_norm_statistics_args, running_var, 184);
AT(evenkeel_batch_norm_statistics_args, momentum, 224);
AT(evenkeel_batch_norm_statistics_args, momentum_rule, 232);
AT(evenkeel_batch_norm_statistics_args, unbiased_running_var, 236);
AT(evenkeel_batch_norm_statistics_args, skip_non_finite_updates, 240);
AT(evenkeel_batch_norm_statistics_args, reserved, 244);
AT(evenkeel_batch_norm_statistics_args, batches, 248);

SIZE(evenkeel_penalty_args, 152);
AT(evenkeel_penalty_args, size, 0);
AT(evenkeel_penalty_args, w, 8);
AT(evenkeel_penalty_args, gradient, 48);
AT(evenkeel_penalty_args, penalty, 88);
AT(evenkeel_penalty_args, l1, 128);
AT(evenkeel_penalty_args, l2, 136);
AT(evenkeel_penalty_args, execution, 144);

SIZE(evenkeel_weight_decay_args, 112);
AT(evenkeel_weight_decay_args, size, 0);
AT(evenkeel_weight_decay_args, x, 8);
AT(evenkeel_weight_decay_args, y, 48);
AT(evenkeel_weight_decay_args, l2, 88);
AT(evenkeel_weight_decay_args, learning_rate, 96);
AT(evenkeel_weight_decay_args, execution, 104);

SIZE(evenkeel_proximal_args, 120);
AT(evenkeel_proximal_args, size, 0);
AT(evenkeel_proximal_args, x, 8);
AT(evenkeel_proximal_args, y, 48);
AT(evenkeel_proximal_args, l1, 88);
AT(evenkeel_proximal_args, l2, 96);
AT(evenkeel_proximal_args, step, 104);
AT(evenkeel_proximal_args, execution, 112);

SIZE(evenkeel_standard_scaler_partial_fit_args, 184);
AT(evenkeel_standard_scaler_partial_fit_args, size, 0);
AT(evenkeel_standard_scaler_partial_fit_args, x, 8);
AT(evenkeel_standard_scaler_partial_fit_args, shape, 48);
AT(evenkeel_standard_scaler_partial_fit_args, moments, 96);
AT(evenkeel_standard_scaler_partial_fit_args, m2_low, 136);
AT(evenkeel_standard_scaler_partial_fit_args, execution, 176);

SIZE(evenkeel_standard_scaler_merge_args, 176);
AT(evenkeel_standard_scaler_merge_args, size, 0);
AT(evenkeel_standard_scaler_merge_args, moments, 8);
AT(evenkeel_standard_scaler_merge_args, m2_low, 48);
AT(evenkeel_standard_scaler_merge_args, other, 88);
AT(evenkeel_standard_scaler_merge_args, other_m2_low, 128);
AT(evenkeel_standard_scaler_merge_args, execution, 168);

SIZE(evenkeel_standard_scaler_transform_args, 200);
AT(evenkeel_standard_scaler_transform_args, size, 0);
AT(evenkeel_standard_scaler_transform_args, x, 8);
AT(evenkeel_standard_scaler_transform_args, y, 48);
AT(evenkeel_standard_scaler_transform_args, shape, 88);
AT(evenkeel_standard_scaler_transform_args, moments, 136);
AT(evenkeel_standard_scaler_transform_args, with_mean, 176);
AT(evenkeel_standard_scaler_transform_args, with_std, 180);
AT(evenkeel_standard_scaler_transform_args, inverse, 184);
AT(evenkeel_standard_scaler_transform_args, reserved, 188);
AT(evenkeel_standard_scaler_transform_args, execution, 192);

SIZE(evenkeel_standard_scaler_statistics_args, 128);
AT(evenkeel_standard_scaler_statistics_args, size, 0);
AT(evenkeel_standard_scaler_statistics_args, moments, 8);
AT(evenkeel_standard_scaler_statistics_args, mean, 48);
AT(evenkeel_standard_scaler_statistics_args, scale, 88);

SIZE(evenkeel_min_max_scaler_partial_fit_args, 184);
AT(evenkeel_min_max_scaler_partial_fit_args, size, 0);
AT(evenkeel_min_max_scaler_partial_fit_args, x, 8);
AT(evenkeel_min_max_scaler_partial_fit_args, shape, 48);
AT(evenkeel_min_max_scaler_partial_fit_args, data_min, 96);
AT(evenkeel_min_max_scaler_partial_fit_args, data_max, 136);
AT(evenkeel_min_max_scaler_partial_fit_args, execution, 176);

SIZE(evenkeel_min_max_scaler_merge_args, 168);
AT(evenkeel_min_max_scaler_merge_args, size, 0);
AT(evenkeel_min_max_scaler_merge_args, data_min, 8);
AT(evenkeel_min_max_scaler_merge_args, data_max, 48);
AT(evenkeel_min_max_scaler_merge_args, other_min, 88);
AT(evenkeel_min_max_scaler_merge_args, other_max, 128);

SIZE(evenkeel_min_max_scaler_transform_args, 248);
AT(evenkeel_min_max_scaler_transform_args, size, 0);
AT(evenkeel_min_max_scaler_transform_args, x, 8);
AT(evenkeel_min_max_scaler_transform_args, y, 48);
AT(evenkeel_min_max_scaler_transform_args, shape, 88);
AT(evenkeel_min_max_scaler_transform_args, data_min, 136);
AT(evenkeel_min_max_scaler_transform_args, data_max, 176);
AT(evenkeel_min_max_scaler_transform_args, range_min, 216);
AT(evenkeel_min_max_scaler_transform_args, range_max, 224);
AT(evenkeel_min_max_scaler_transform_args, clip, 232);
AT(evenkeel_min_max_scaler_transform_args, inverse, 236);
AT(evenkeel_min_max_scaler_transform_args, execution, 240);

SIZE(evenkeel_scaler_info, 40);
AT(evenkeel_scaler_info, features, 0);
AT(evenkeel_scaler_info, scaler, 8);
AT(evenkeel_scaler_info, with_mean, 12);
AT(evenkeel_scaler_info, with_std, 16);
AT(evenkeel_scaler_info, clip, 20);
AT(evenkeel_scaler_info, range_min, 24);
AT(evenkeel_scaler_info, range_max, 32);

SIZE(evenkeel_scaler_state_info_args, 56);
AT(evenkeel_scaler_state_info_args, size, 0);
AT(evenkeel_scaler_state_info_args, bytes, 8);
AT(evenkeel_scaler_state_info_args, info, 48);

SIZE(evenkeel_standard_scaler_to_bytes_args, 136);
AT(evenkeel_standard_scaler_to_bytes_args, size, 0);
AT(evenkeel_standard_scaler_to_bytes_args, moments, 8);
AT(evenkeel_standard_scaler_to_bytes_args, m2_low, 48);
AT(evenkeel_standard_scaler_to_bytes_args, bytes, 88);
AT(evenkeel_standard_scaler_to_bytes_args, with_mean, 128);
AT(evenkeel_standard_scaler_to_bytes_args, with_std, 132);

SIZE(evenkeel_standard_scaler_from_bytes_args, 128);
AT(evenkeel_standard_scaler_from_bytes_args, size, 0);
AT(evenkeel_standard_scaler_from_bytes_args, bytes, 8);
AT(evenkeel_standard_scaler_from_bytes_args, moments, 48);
AT(evenkeel_standard_scaler_from_bytes_args, m2_low, 88);

SIZE(evenkeel_min_max_scaler_to_bytes_args, 152);
AT(evenkeel_min_max_scaler_to_bytes_args, size, 0);
AT(evenkeel_min_max_scaler_to_bytes_args, data_min, 8);
AT(evenkeel_min_max_scaler_to_bytes_args, data_max, 48);
AT(evenkeel_min_max_scaler_to_bytes_args, bytes, 88);
AT(evenkeel_min_max_scaler_to_bytes_args, range_min, 128);
AT(evenkeel_min_max_scaler_to_bytes_args, range_max, 136);
AT(evenkeel_min_max_scaler_to_bytes_args, clip, 144);
AT(evenkeel_min_max_scaler_to_bytes_args, reserved, 148);

SIZE(evenkeel_min_max_scaler_from_bytes_args, 128);
AT(evenkeel_min_max_scaler_from_bytes_args, size, 0);
AT(evenkeel_min_max_scaler_from_bytes_args, bytes, 8);
AT(evenkeel_min_max_scaler_from_bytes_args, data_min, 48);
AT(evenkeel_min_max_scaler_from_bytes_args, data_max, 88);

SIZE(evenkeel_normalizer_args, 152);
AT(evenkeel_normalizer_args, size, 0);
AT(evenkeel_normalizer_args, x, 8);
AT(evenkeel_normalizer_args, y, 48);
AT(evenkeel_normalizer_args, shape, 88);
AT(evenkeel_normalizer_args, norm, 136);
AT(evenkeel_normalizer_args, reserved, 140);
AT(evenkeel_normalizer_args, execution, 144);
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
