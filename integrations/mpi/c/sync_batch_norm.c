#include "sync_batch_norm.h"

#include <stdlib.h>
#include <string.h>

/* What all ranks of a call must have alike. failed is 1 where the rank has an error of its own. */
typedef struct header {
  uint64_t failed, operation, dtype, layout, channels, settings;
} header;

enum { FORWARD = 1, BACKWARD = 2, MERGE_STANDARD = 3, MERGE_MIN_MAX = 4 };

/* Gathers the headers of all ranks: OK if all are ready and agree. */
static evenkeel_status agree(MPI_Comm comm, header own, evenkeel_status prepared) {
  int ranks, disagree = 0;
  MPI_Comm_size(comm, &ranks);
  own.failed = prepared != EVENKEEL_OK;
  header *all = malloc((size_t)ranks * sizeof *all);
  if (all == NULL) MPI_Abort(comm, 1);
  MPI_Allgather(&own, sizeof own, MPI_BYTE, all, sizeof own, MPI_BYTE, comm);
  for (int rank = 0; rank < ranks; rank++) disagree |= all[rank].failed || memcmp(&all[rank], &all[0], sizeof own) != 0;
  free(all);
  if (prepared != EVENKEEL_OK) return prepared;
  return disagree ? SYNC_RANKS_DISAGREE : EVENKEEL_OK;
}

/* size bytes of every rank, in rank order. */
static void *gather(MPI_Comm comm, const void *own, size_t size) {
  int ranks;
  MPI_Comm_size(comm, &ranks);
  void *all = malloc((size_t)ranks * size + 1);
  if (all == NULL || size > INT32_MAX) MPI_Abort(comm, 1);
  MPI_Allgather(own, (int)size, MPI_BYTE, all, (int)size, MPI_BYTE, comm);
  return all;
}

static void *zeros(MPI_Comm comm, size_t count, size_t size) {
  void *all = calloc(count + 1, size);
  if (all == NULL) MPI_Abort(comm, 1);
  return all;
}

static size_t channels_of(evenkeel_shape shape) {
  return shape.layout == EVENKEEL_ROWS ? shape.cols : shape.channels;
}

static size_t elements_of(evenkeel_shape shape) {
  return shape.layout == EVENKEEL_ROWS ? shape.rows * shape.cols : shape.batch * shape.channels * shape.positions;
}

static header header_of(const sync_batch_norm *norm, uint64_t operation, uint32_t dtype, evenkeel_shape shape) {
  const evenkeel_batch_norm_statistics_args *settings = &norm->settings;
  uint64_t eps, momentum, options = settings->momentum_rule;
  memcpy(&eps, &settings->eps, sizeof eps);
  memcpy(&momentum, &settings->momentum, sizeof momentum);
  options = options << 1 | settings->unbiased_running_var;
  options = options << 1 | settings->skip_non_finite_updates;
  options = (options + settings->batches) * 0x9e3779b97f4a7c15 ^ momentum;
  return (header){
      .operation = operation,
      .dtype = dtype,
      .layout = shape.layout == EVENKEEL_CHANNELS_FIRST ? 2 : 1,
      .channels = channels_of(shape),
      .settings = options * 0x9e3779b97f4a7c15 ^ eps,
  };
}

static evenkeel_input doubles(const double *data, size_t len) {
  return (evenkeel_input){.data = data, .len = len, .dtype = EVENKEEL_F64};
}

static evenkeel_output doubles_out(double *data, size_t len) {
  return (evenkeel_output){.data = data, .len = len, .dtype = EVENKEEL_F64};
}

/* The moments of this rank's rows. What else could be wrong later is tried with a batch of nothing, which writes nothing. */
static evenkeel_status own_moments(const sync_batch_norm *norm, evenkeel_input x, evenkeel_output y, evenkeel_shape shape,
                                   evenkeel_moments *moments) {
  size_t channels = channels_of(shape);
  evenkeel_batch_norm_statistics_args nothing = norm->settings;
  nothing.moments = (evenkeel_input){.data = moments, .len = channels, .dtype = EVENKEEL_MOMENTS};
  nothing.mean = nothing.rstd = (evenkeel_output){0};
  evenkeel_status status = evenkeel_batch_norm_statistics(&nothing);
  if (status != EVENKEEL_OK) return status;
  if (y.len != elements_of(shape)) return EVENKEEL_LENGTH;
  if (norm->gamma.dtype != 0 && norm->gamma.len != channels) return EVENKEEL_LENGTH;
  if (norm->beta.dtype != 0 && norm->beta.len != channels) return EVENKEEL_LENGTH;
  evenkeel_column_moments_args args = EVENKEEL_COLUMN_MOMENTS_INIT;
  args.x = x;
  args.shape = shape;
  args.moments = (evenkeel_output){.data = moments, .len = channels, .dtype = EVENKEEL_MOMENTS};
  return evenkeel_column_moments(&args);
}

evenkeel_status sync_batch_norm_forward(const sync_batch_norm *norm, evenkeel_input x, evenkeel_output y, evenkeel_shape shape,
                                        sync_saved *saved) {
  int ranks;
  MPI_Comm_size(norm->comm, &ranks);
  size_t channels = channels_of(shape);
  evenkeel_moments *own = zeros(norm->comm, channels, sizeof *own);
  evenkeel_status status = own_moments(norm, x, y, shape, own);
  status = agree(norm->comm, header_of(norm, FORWARD, x.dtype, shape), status);
  if (status != EVENKEEL_OK) {
    free(own);
    return status;
  }

  /* evenkeel_moments is plain old data: it is sent as it is. */
  evenkeel_moments *parts = gather(norm->comm, own, channels * sizeof *own);
  evenkeel_column_moments_merge_args merge = EVENKEEL_COLUMN_MOMENTS_MERGE_INIT;
  merge.parts = (evenkeel_input){.data = parts, .len = (size_t)ranks * channels, .dtype = EVENKEEL_MOMENTS};
  merge.moments = (evenkeel_output){.data = own, .len = channels, .dtype = EVENKEEL_MOMENTS};
  status = evenkeel_column_moments_merge(&merge);
  saved->count = channels > 0 ? own[0].count : 0;

  evenkeel_batch_norm_statistics_args statistics = norm->settings;
  statistics.moments = (evenkeel_input){.data = own, .len = channels, .dtype = EVENKEEL_MOMENTS};
  statistics.mean = doubles_out(saved->mean, channels);
  statistics.rstd = doubles_out(saved->rstd, channels);
  if (status == EVENKEEL_OK) status = evenkeel_batch_norm_statistics(&statistics);

  evenkeel_normalize_scale_shift_args apply = EVENKEEL_NORMALIZE_SCALE_SHIFT_INIT;
  apply.x = x;
  apply.y = y;
  apply.shape = shape;
  apply.statistics_of = EVENKEEL_OF_COLUMNS;
  apply.mean = doubles(saved->mean, channels);
  apply.rstd = doubles(saved->rstd, channels);
  apply.gamma = norm->gamma;
  apply.beta = norm->beta;
  if (status == EVENKEEL_OK) status = evenkeel_normalize_scale_shift(&apply);
  free(parts);
  free(own);
  return status;
}

evenkeel_status sync_batch_norm_backward(const sync_batch_norm *norm, evenkeel_input x, evenkeel_input dy, evenkeel_output dx,
                                         evenkeel_shape shape, const sync_saved *saved, double *sums) {
  int ranks;
  MPI_Comm_size(norm->comm, &ranks);
  size_t channels = channels_of(shape);
  double *own = zeros(norm->comm, 2 * channels, sizeof *own);
  evenkeel_channels_backward_args args = EVENKEEL_CHANNELS_BACKWARD_INIT;
  args.dy = dy;
  args.x = x;
  args.shape = shape;
  args.eps = norm->settings.eps;
  args.gamma = norm->gamma;
  args.mean = doubles(saved->mean, channels);
  args.rstd = doubles(saved->rstd, channels);

  /* Without dx, the second step only checks that it has no error. */
  evenkeel_channels_backward_args second = args;
  second.sum_dy = doubles(own, channels);
  second.sum_dy_x_hat = doubles(own + channels, channels);
  second.count = saved->count;
  evenkeel_status status = dx.len == elements_of(shape) ? evenkeel_batch_norm_backward_apply(&second) : EVENKEEL_LENGTH;
  args.dbeta = doubles_out(own, channels);
  args.dgamma = doubles_out(own + channels, channels);
  if (status == EVENKEEL_OK) status = evenkeel_batch_norm_backward(&args);
  status = agree(norm->comm, header_of(norm, BACKWARD, x.dtype, shape), status);
  if (status == EVENKEEL_OK) {
    double *all = gather(norm->comm, own, 2 * channels * sizeof *own);
    memset(sums, 0, 2 * channels * sizeof *sums);
    for (size_t i = 0; i < 2 * channels * (size_t)ranks; i++) sums[i % (2 * channels)] += all[i];
    free(all);
    second.sum_dy = doubles(sums, channels);
    second.sum_dy_x_hat = doubles(sums + channels, channels);
    second.dx = dx;
    status = evenkeel_batch_norm_backward_apply(&second);
  }
  free(own);
  return status;
}

evenkeel_status sync_standard_scaler_merge(MPI_Comm comm, evenkeel_moments *moments, double *m2_low, size_t features) {
  int ranks;
  MPI_Comm_size(comm, &ranks);
  header own = {.operation = MERGE_STANDARD, .channels = features};
  evenkeel_status status = agree(comm, own, EVENKEEL_OK);
  if (status != EVENKEEL_OK) return status;
  evenkeel_moments *all = gather(comm, moments, features * sizeof *moments);
  double *low = gather(comm, m2_low, features * sizeof *m2_low);
  memset(moments, 0, features * sizeof *moments);
  memset(m2_low, 0, features * sizeof *m2_low);
  evenkeel_standard_scaler_merge_args args = EVENKEEL_STANDARD_SCALER_MERGE_INIT;
  args.moments = (evenkeel_output){.data = moments, .len = features, .dtype = EVENKEEL_MOMENTS};
  args.m2_low = doubles_out(m2_low, features);
  for (size_t rank = 0; rank < (size_t)ranks && status == EVENKEEL_OK; rank++) {
    args.other = (evenkeel_input){.data = all + rank * features, .len = features, .dtype = EVENKEEL_MOMENTS};
    args.other_m2_low = doubles(low + rank * features, features);
    status = evenkeel_standard_scaler_merge(&args);
  }
  free(low);
  free(all);
  return status;
}

evenkeel_status sync_min_max_scaler_merge(MPI_Comm comm, float *data_min, float *data_max, size_t features) {
  int ranks;
  MPI_Comm_size(comm, &ranks);
  header own = {.operation = MERGE_MIN_MAX, .channels = features};
  evenkeel_status status = agree(comm, own, EVENKEEL_OK);
  if (status != EVENKEEL_OK) return status;
  float *min = gather(comm, data_min, features * sizeof *data_min);
  float *max = gather(comm, data_max, features * sizeof *data_max);
  evenkeel_min_max_scaler_merge_args args = EVENKEEL_MIN_MAX_SCALER_MERGE_INIT;
  args.data_min = (evenkeel_output){.data = data_min, .len = features, .dtype = EVENKEEL_F32};
  args.data_max = (evenkeel_output){.data = data_max, .len = features, .dtype = EVENKEEL_F32};
  for (size_t rank = 0; rank < (size_t)ranks && status == EVENKEEL_OK; rank++) {
    args.other_min = (evenkeel_input){.data = min + rank * features, .len = features, .dtype = EVENKEEL_F32};
    args.other_max = (evenkeel_input){.data = max + rank * features, .len = features, .dtype = EVENKEEL_F32};
    status = evenkeel_min_max_scaler_merge(&args);
  }
  free(max);
  free(min);
  return status;
}
