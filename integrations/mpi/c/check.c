/* The laws of sync_batch_norm.c on several ranks: what is one rank's error is one on every rank, and a hash of all results, which
 * integrations/mpi/check compares with that of the Rust and the Python program.
 *
 * mpirun -n 3 check          the laws
 * mpirun -n 3 check die      a rank dies in the middle of a pass */
#include "sync_batch_norm.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLS = 300, BLOCK = 64, ROWS_A_RANK = 128 };

static int rank, ranks;

#define HOLDS(law)                                                               \
  do {                                                                           \
    if (!(law)) {                                                                \
      fprintf(stderr, "rank %d, line %d: not so: %s\n", rank, __LINE__, #law);   \
      MPI_Abort(MPI_COMM_WORLD, 1);                                              \
    }                                                                            \
  } while (0)

/* FNV-1a */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t len) {
  for (size_t i = 0; i < len; i++) hash = (hash ^ ((const unsigned char *)bytes)[i]) * 0x00000100000001b3;
  return hash;
}

static const uint64_t EMPTY_HASH = 0xcbf29ce484222325;

/* A number from 0 to 1, at random: the Rust and the Python program have the same. */
static float uniform(uint64_t i, uint64_t seed) {
  uint64_t h = (i ^ seed << 40) * 0x9e3779b97f4a7c15;
  h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9;
  return (float)(h >> 40) / 16777216.0f;
}

/* Where the rows of a rank begin. */
static size_t cut(const char *deal, size_t r) {
  size_t rows = (size_t)ROWS_A_RANK * ranks, pairs = (size_t)ranks * (ranks + 1);
  if (strcmp(deal, "uneven") == 0) return rows * r * (r + 1) / pairs;
  if (strcmp(deal, "empty") == 0) return rows * ((r + 1) / 2) / ((ranks + 1) / 2);
  if (strcmp(deal, "one-row") == 0) return r == 0 ? 0 : rows - (ranks - r);
  if (strcmp(deal, "blocks") == 0) return BLOCK * ((rows / BLOCK) * r * (r + 1) / pairs);
  return rows / ranks * r;
}

static evenkeel_input input(const void *data, size_t len, uint32_t dtype) {
  return (evenkeel_input){.data = data, .len = len, .dtype = dtype};
}

static evenkeel_output output(void *data, size_t len, uint32_t dtype) {
  return (evenkeel_output){.data = data, .len = len, .dtype = dtype};
}

static evenkeel_shape matrix(size_t rows, size_t cols) {
  return (evenkeel_shape){.layout = EVENKEEL_ROWS, .rows = rows, .cols = cols};
}

/* The state of a standard scaler, or of a min-max scaler, that has seen the rows of all ranks. */
static uint64_t hash_scalers(uint64_t hash, const float *x, size_t rows) {
  static evenkeel_moments moments[COLS];
  static double m2_low[COLS];
  static float min[COLS], max[COLS];
  static unsigned char bytes[32 + 40 * COLS];
  memset(moments, 0, sizeof moments);
  memset(m2_low, 0, sizeof m2_low);
  evenkeel_standard_scaler_partial_fit_args fit = EVENKEEL_STANDARD_SCALER_PARTIAL_FIT_INIT;
  fit.x = input(x, rows * COLS, EVENKEEL_F32);
  fit.shape = matrix(rows, COLS);
  fit.moments = output(moments, COLS, EVENKEEL_MOMENTS);
  fit.m2_low = output(m2_low, COLS, EVENKEEL_F64);
  HOLDS(evenkeel_standard_scaler_partial_fit(&fit) == EVENKEEL_OK);
  HOLDS(sync_standard_scaler_merge(MPI_COMM_WORLD, moments, m2_low, COLS) == EVENKEEL_OK);
  evenkeel_standard_scaler_to_bytes_args save = EVENKEEL_STANDARD_SCALER_TO_BYTES_INIT;
  save.moments = input(moments, COLS, EVENKEEL_MOMENTS);
  save.m2_low = input(m2_low, COLS, EVENKEEL_F64);
  save.bytes = output(bytes, 32 + 40 * COLS, EVENKEEL_BYTES);
  HOLDS(evenkeel_standard_scaler_to_bytes(&save) == EVENKEEL_OK);
  hash = hash_bytes(hash, bytes, 32 + 40 * COLS);

  for (size_t c = 0; c < COLS; c++) min[c] = INFINITY, max[c] = -INFINITY;
  evenkeel_min_max_scaler_partial_fit_args range = EVENKEEL_MIN_MAX_SCALER_PARTIAL_FIT_INIT;
  range.x = fit.x;
  range.shape = fit.shape;
  range.data_min = output(min, COLS, EVENKEEL_F32);
  range.data_max = output(max, COLS, EVENKEEL_F32);
  HOLDS(evenkeel_min_max_scaler_partial_fit(&range) == EVENKEEL_OK);
  HOLDS(sync_min_max_scaler_merge(MPI_COMM_WORLD, min, max, COLS) == EVENKEEL_OK);
  evenkeel_min_max_scaler_to_bytes_args keep = EVENKEEL_MIN_MAX_SCALER_TO_BYTES_INIT;
  keep.data_min = input(min, COLS, EVENKEEL_F32);
  keep.data_max = input(max, COLS, EVENKEEL_F32);
  keep.bytes = output(bytes, 48 + 8 * COLS, EVENKEEL_BYTES);
  HOLDS(evenkeel_min_max_scaler_to_bytes(&keep) == EVENKEEL_OK);
  return hash_bytes(hash, bytes, 48 + 8 * COLS);
}

static void check_deal(const char *deal) {
  size_t from = cut(deal, rank), rows = cut(deal, rank + 1) - from, len = rows * COLS;
  float *x = malloc(4 * len + 4), *dy = malloc(4 * len + 4), *y = malloc(4 * len + 4), *dx = malloc(4 * len + 4);
  static float gamma[COLS], beta[COLS], running_mean[COLS], running_var[COLS];
  static double mean[COLS], rstd[COLS], sums[2 * COLS];
  HOLDS(x && dy && y && dx);
  for (size_t i = 0; i < len; i++) {
    size_t at = from * COLS + i;
    x[i] = 3.0f * uniform(at, 1);
    x[i] = x[i] + 100.0f * (float)(at % COLS % 3);
    dy[i] = uniform(at, 2) - 0.5f;
  }
  for (size_t c = 0; c < COLS; c++) {
    gamma[c] = uniform(c, 3) - 0.25f;
    beta[c] = uniform(c, 4) - 0.25f;
    running_mean[c] = 0.5f;
    running_var[c] = 1.0f;
  }
  sync_batch_norm norm = {.comm = MPI_COMM_WORLD, .settings = EVENKEEL_BATCH_NORM_STATISTICS_INIT};
  norm.settings.momentum_rule = EVENKEEL_MOMENTUM_PYTORCH;
  norm.settings.momentum = 0.25;
  norm.settings.unbiased_running_var = 1;
  norm.settings.running_mean = output(running_mean, COLS, EVENKEEL_F32);
  norm.settings.running_var = output(running_var, COLS, EVENKEEL_F32);
  norm.gamma = input(gamma, COLS, EVENKEEL_F32);
  norm.beta = input(beta, COLS, EVENKEEL_F32);
  sync_saved saved = {.mean = mean, .rstd = rstd};
  evenkeel_input in = input(x, len, EVENKEEL_F32), gradient = input(dy, len, EVENKEEL_F32);
  evenkeel_shape shape = matrix(rows, COLS);
  HOLDS(sync_batch_norm_forward(&norm, in, output(y, len, EVENKEEL_F32), shape, &saved) == EVENKEEL_OK);
  HOLDS(saved.count == (uint64_t)ROWS_A_RANK * ranks);
  HOLDS(sync_batch_norm_backward(&norm, in, gradient, output(dx, len, EVENKEEL_F32), shape, &saved, sums) == EVENKEEL_OK);

  uint64_t own = hash_bytes(hash_bytes(EMPTY_HASH, y, 4 * len), dx, 4 * len), *all = malloc(8 * (size_t)ranks);
  HOLDS(all != NULL);
  MPI_Allgather(&own, 8, MPI_BYTE, all, 8, MPI_BYTE, MPI_COMM_WORLD);
  uint64_t hash = hash_bytes(EMPTY_HASH, all, 8 * (size_t)ranks);
  hash = hash_bytes(hash_bytes(hash, running_mean, sizeof running_mean), running_var, sizeof running_var);
  hash = hash_bytes(hash_bytes(hash, mean, sizeof mean), rstd, sizeof rstd);
  hash = hash_bytes(hash_bytes(hash, sums + COLS, sizeof mean), sums, sizeof mean);
  hash = hash_scalers(hash, x, rows);
  MPI_Allgather(&hash, 8, MPI_BYTE, all, 8, MPI_BYTE, MPI_COMM_WORLD);
  for (int other = 0; other < ranks; other++) HOLDS(all[other] == hash);
  if (rank == 0) printf("bits %s %016llx\n", deal, (unsigned long long)hash);
  free(all);
  free(dx);
  free(y);
  free(dy);
  free(x);
}

/* One rank is wrong: an error on every rank, and nothing written. */
static void check_errors(void) {
  bool odd_one_out = rank + 1 == ranks;
  float x[28] = {1}, y[28] = {7}, running_mean[7] = {0}, running_var[7] = {1};
  double mean[7], rstd[7], sums[14];
  sync_batch_norm norm = {.comm = MPI_COMM_WORLD, .settings = EVENKEEL_BATCH_NORM_STATISTICS_INIT};
  sync_saved saved = {.count = 100, .mean = mean, .rstd = rstd};
  evenkeel_input in = input(x, 24, EVENKEEL_F32);
  evenkeel_output out = output(y, 24, EVENKEEL_F32);
  norm.settings.running_mean = output(running_mean, 6, EVENKEEL_F32);
  norm.settings.running_var = output(running_var, 6, EVENKEEL_F32);

  evenkeel_status own = odd_one_out ? EVENKEEL_LENGTH : SYNC_RANKS_DISAGREE;
  evenkeel_output shorter = output(y, odd_one_out ? 23 : 24, EVENKEEL_F32);
  HOLDS(sync_batch_norm_forward(&norm, in, shorter, matrix(4, 6), &saved) == own);
  /* Another type: this library takes none of doubles. */
  own = odd_one_out ? EVENKEEL_TYPE : SYNC_RANKS_DISAGREE;
  evenkeel_input typed = input(x, 24, odd_one_out ? EVENKEEL_F64 : EVENKEEL_F32);
  HOLDS(sync_batch_norm_forward(&norm, typed, out, matrix(4, 6), &saved) == own);
  if (ranks > 1) {
    size_t cols = odd_one_out ? 7 : 6;
    sync_batch_norm wide = norm;
    wide.settings.running_mean.len = wide.settings.running_var.len = cols;
    in.len = out.len = 4 * cols;
    HOLDS(sync_batch_norm_forward(&wide, in, out, matrix(4, cols), &saved) == SYNC_RANKS_DISAGREE);
    in.len = out.len = 24;
    sync_batch_norm other = norm;
    other.settings.eps = odd_one_out ? 1e-3 : 1e-5;
    HOLDS(sync_batch_norm_forward(&other, in, out, matrix(4, 6), &saved) == SYNC_RANKS_DISAGREE);
    for (int c = 0; c < 6; c++) mean[c] = 0, rstd[c] = 1;
    evenkeel_status status = odd_one_out ? sync_batch_norm_backward(&norm, in, in, out, matrix(4, 6), &saved, sums)
                                         : sync_batch_norm_forward(&norm, in, out, matrix(4, 6), &saved);
    HOLDS(status == SYNC_RANKS_DISAGREE);
    evenkeel_moments moments[7] = {{.count = 3, .mean = 1}};
    double m2_low[7] = {0};
    HOLDS(sync_standard_scaler_merge(MPI_COMM_WORLD, moments, m2_low, cols) == SYNC_RANKS_DISAGREE);
    HOLDS(moments[0].count == 3 && moments[0].mean == 1);
    HOLDS(sync_min_max_scaler_merge(MPI_COMM_WORLD, x, y, cols) == SYNC_RANKS_DISAGREE);
  }
  HOLDS(y[0] == 7 && y[1] == 0 && running_mean[0] == 0 && running_var[0] == 1);
}

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (argc > 1 && strcmp(argv[1], "die") == 0) {
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 1) abort();
    for (;;) check_deal("uneven");
  }
  const char *deals[] = {"uneven", "empty", "one-row", "blocks", "powers"};
  for (size_t i = 0; i < sizeof deals / sizeof *deals; i++) check_deal(deals[i]);
  check_errors();
  if (rank == 0) printf("%d ranks: every law holds\n", ranks);
  MPI_Finalize();
  return 0;
}
