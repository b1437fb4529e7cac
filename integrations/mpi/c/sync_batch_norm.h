/* BatchNorm and scalers whose rows lie on the ranks of an MPI job, over the C ABI of evenkeel.
 *
 * Every function is collective: all ranks of the communicator call it, also those without rows. It returns EVENKEEL_OK on every rank
 * or on none. On a rank whose own call is wrong it returns that status; on the others, and where ranks differ, SYNC_RANKS_DISAGREE. */
#ifndef EVENKEEL_SYNC_BATCH_NORM_H
#define EVENKEEL_SYNC_BATCH_NORM_H

#include <evenkeel.h>
#include <mpi.h>

/* Another rank has an error of its own, or another shape, type, pass or setting than rank 0. */
#define SYNC_RANKS_DISAGREE ((evenkeel_status)1000)

/* The running statistics and what else the pass needs beside x and y. Buffers that are not wanted are absent. */
typedef struct sync_batch_norm {
  MPI_Comm comm;
  /* eps, the momentum and its rule, the running statistics; mean and rstd are not looked at. */
  evenkeel_batch_norm_statistics_args settings;
  /* One a channel. */
  evenkeel_input gamma, beta;
} sync_batch_norm;

/* What the backward pass needs of the forward pass, the same on every rank: count elements a channel in the whole batch. The caller
 * lends mean and rstd, one a channel. */
typedef struct sync_saved {
  uint64_t count;
  double *mean, *rstd;
} sync_saved;

/* Normalises this rank's x by the statistics of all ranks' x, and moves the running statistics once. */
evenkeel_status sync_batch_norm_forward(const sync_batch_norm *norm, evenkeel_input x, evenkeel_output y, evenkeel_shape shape,
                                        sync_saved *saved);

/* Writes dx of this rank's rows. sums has two doubles a channel: those of dy, dbeta, then those of dy * x_hat, dgamma, over the whole
 * batch, the same on every rank. */
evenkeel_status sync_batch_norm_backward(const sync_batch_norm *norm, evenkeel_input x, evenkeel_input dy, evenkeel_output dx,
                                         evenkeel_shape shape, const sync_saved *saved, double *sums);

/* What the standard scalers of all ranks have learnt, in place of what this rank's has: the same on every rank. Both have one element
 * a feature. */
evenkeel_status sync_standard_scaler_merge(MPI_Comm comm, evenkeel_moments *moments, double *m2_low, size_t features);

/* The same of min-max scalers. */
evenkeel_status sync_min_max_scaler_merge(MPI_Comm comm, float *data_min, float *data_max, size_t features);

#endif
