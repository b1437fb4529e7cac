/* evenkeel: kernels for the normalisation and dropout layers of neural networks.
 *
 * Made by cbindgen from src/capi; do not edit.
 *
 * Buffers. Every pointer comes with its number of elements. A buffer that may be absent is absent where it is NULL and
 * its length is 0. Matrices are row-major and contiguous. An output may be exactly the x of its operation (in place);
 * otherwise it shares memory with no other buffer. Lengths, alignment, shapes, parameters and overlap are checked before
 * anything is written. That a pointer has as many elements as its length says is the caller's promise.
 *
 * Errors. Functions return an evenkeel_status. No call ends the process or unwinds into C: a panic within the library is
 * caught, in its threads too, and becomes EVENKEEL_PANIC.
 *
 * Threads. Any function may be called from several threads at once, on buffers that do not overlap. Work on large
 * buffers is shared with a pool of threads that the first such call starts; evenkeel_execution says how many tasks. After
 * fork(), the child has no such threads: it may only make calls with tasks = 1, which touch no pool (or call exec).
 *
 * Floating point. The caller's control word (MXCSR, FPCR) is saved, set to the default and restored, in worker threads
 * too: results have the same bits in a host that flushes subnormals or rounds otherwise. The flags that say which exceptions
 * have happened may change. Bits are the same for every number of tasks, alignment, in place or not, and on every backend
 * that fuses multiply-adds.
 */

#ifndef EVENKEEL_H
#define EVENKEEL_H

#include <stddef.h>
#include <stdint.h>

/**
 * How a call ended. Where it is not `EVENKEEL_OK`, nothing has been written (but after `EVENKEEL_PANIC`), and
 * `evenkeel_last_error_message` says what is wrong: the argument, what was expected and what came.
 */
typedef enum evenkeel_status {
  /**
   * Done.
   */
  EVENKEEL_OK = 0,
  /**
   * A buffer is NULL and its length is not 0, or something that must be there is NULL.
   */
  EVENKEEL_NULL_POINTER = 1,
  /**
   * A buffer does not begin at a multiple of its element's size.
   */
  EVENKEEL_MISALIGNED = 2,
  /**
   * An output shares memory with another buffer and is not exactly in place.
   */
  EVENKEEL_OVERLAP = 3,
  /**
   * A buffer has the wrong number of elements.
   */
  EVENKEEL_LENGTH = 4,
  /**
   * The elements of a shape, or the bytes of a buffer, are more than memory has addresses.
   */
  EVENKEEL_SHAPE_OVERFLOW = 5,
  /**
   * A parameter is outside its domain.
   */
  EVENKEEL_PARAMETER = 6,
  /**
   * There are too few rows for a statistic.
   */
  EVENKEEL_TOO_FEW_ROWS = 7,
  /**
   * A range of a random stream ends beyond its 2^64 elements.
   */
  EVENKEEL_STREAM_OVERFLOW = 8,
  /**
   * A number or a name that means no option.
   */
  EVENKEEL_UNKNOWN_OPTION = 9,
  /**
   * The backend exists, but this CPU or this build does not have it.
   */
  EVENKEEL_UNAVAILABLE_BACKEND = 10,
  /**
   * A temporary could not be allocated.
   */
  EVENKEEL_OUT_OF_MEMORY = 11,
  /**
   * A bug of this library was caught; outputs may have been written in part.
   */
  EVENKEEL_PANIC = 12,
  /**
   * A scaler that has seen no number was to transform.
   */
  EVENKEEL_NOT_FITTED = 13,
  /**
   * The operation does not take an argument, or not with this shape.
   */
  EVENKEEL_UNSUPPORTED = 14,
  /**
   * A buffer has elements of a type that the operation does not take.
   */
  EVENKEEL_TYPE = 15,
} evenkeel_status;

/**
 * Which instructions an operation runs on.
 */
typedef uint32_t evenkeel_backend;

/**
 * Which comes first in a sample.
 */
typedef uint32_t evenkeel_layout;

/**
 * How an output is written. It never changes the result.
 */
typedef uint32_t evenkeel_stores;

/**
 * How an operation runs. It never changes what it computes, and between backends that fuse multiply-adds not a
 * bit of it. All zeros is the default, and so is NULL for a pointer to it.
 */
typedef struct evenkeel_execution {
  /**
   * `EVENKEEL_BACKEND_...`.
   */
  evenkeel_backend backend;
  /**
   * `EVENKEEL_STORES_...`.
   */
  evenkeel_stores stores;
  /**
   * 0: as many tasks as the work is worth and the pool has threads; 1: serial, on the calling thread alone, without a
   * pool; n: as 0, but at most n.
   */
  size_t tasks;
} evenkeel_execution;

/**
 * The element type of statistics.
 */
typedef uint32_t evenkeel_dtype;

/**
 * How training updates the running statistics.
 */
typedef uint32_t evenkeel_momentum;

/**
 * Running statistics that training updates, and how.
 */
typedef struct evenkeel_running {
  /**
   * The running mean of every column; start with 0.
   */
  float *mean;
  /**
   * cols
   */
  size_t mean_len;
  /**
   * The running variance of every column, at least 0; start with 1.
   */
  float *var;
  /**
   * cols
   */
  size_t var_len;
  /**
   * `EVENKEEL_MOMENTUM_...`.
   */
  evenkeel_momentum rule;
  /**
   * Not 0: the running variance follows the unbiased variance of the batch, M2 / (rows - 1), as PyTorch's does.
   */
  uint32_t unbiased_var;
  /**
   * From 0 to 1.
   */
  double momentum;
  /**
   * How many batches came before this one, for `EVENKEEL_MOMENTUM_CUMULATIVE`.
   */
  uint64_t batches;
} evenkeel_running;

/**
 * How a mask is stored.
 */
typedef uint32_t evenkeel_mask;

/**
 * Number, mean and sum of squared deviations of a set of values. All zeros is the empty set. The population variance is
 * m2 / count, the sample variance m2 / (count - 1).
 */
typedef struct evenkeel_moments {
  /**
   * The number of values.
   */
  uint64_t count;
  /**
   * Their mean; 0 if there are none.
   */
  double mean;
  /**
   * What rounding left of the mean.
   */
  double mean_low;
  /**
   * The sum of their squared deviations from the mean.
   */
  double m2;
} evenkeel_moments;

/**
 * How it is said which rows are valid; the others are padding.
 */
typedef uint32_t evenkeel_valid;

/**
 * What the length of a row is.
 */
typedef uint32_t evenkeel_norm;

/**
 * The fastest that this CPU has.
 */
#define EVENKEEL_BACKEND_DETECT 0

/**
 * What the library was compiled for: SSE2, NEON.
 */
#define EVENKEEL_BACKEND_PORTABLE 1

/**
 * AVX2 and FMA.
 */
#define EVENKEEL_BACKEND_AVX2 2

/**
 * AVX-512 F, BW, DQ and VL.
 */
#define EVENKEEL_BACKEND_AVX512 3

/**
 * By non-temporal stores where the output is large.
 */
#define EVENKEEL_STORES_AUTO 0

/**
 * Through the caches: where the output is read again soon.
 */
#define EVENKEEL_STORES_CACHED 1

/**
 * By non-temporal stores: where it is not.
 */
#define EVENKEEL_STORES_NON_TEMPORAL 2

/**
 * double, what the operations compute: nothing is lost.
 */
#define EVENKEEL_F64 0

/**
 * float, as many engines keep statistics: each is rounded once. A call with float statistics allocates a temporary of
 * doubles for them.
 */
#define EVENKEEL_F32 1

/**
 * [batch, channels, positions], NCHW.
 */
#define EVENKEEL_CHANNELS_FIRST 0

/**
 * [batch, positions, channels], NHWC.
 */
#define EVENKEEL_CHANNELS_LAST 1

/**
 * One bit an element, least significant first, 1 where it is kept: (len + 7) / 8 bytes. Bits beyond the last element
 * are written as 0 and not looked at.
 */
#define EVENKEEL_MASK_PACKED 0

/**
 * One byte an element, 1 where it is kept and else 0; not 0 counts as kept.
 */
#define EVENKEEL_MASK_BYTES 1

/**
 * `running = momentum * running + (1 - momentum) * batch`: Keras, ONNX.
 */
#define EVENKEEL_MOMENTUM_KEEP 0

/**
 * `running = (1 - momentum) * running + momentum * batch`: PyTorch.
 */
#define EVENKEEL_MOMENTUM_PYTORCH 1

/**
 * `running += (batch - running) / (batches + 1)`: PyTorch where its momentum is None. `momentum` is not looked at.
 */
#define EVENKEEL_MOMENTUM_CUMULATIVE 2

/**
 * One bit a row, least significant first, 1 where it is valid: (rows + 7) / 8 bytes, `uint8_t`.
 */
#define EVENKEEL_VALID_PACKED 0

/**
 * One byte a row, not 0 where it is valid: rows bytes, `uint8_t`.
 */
#define EVENKEEL_VALID_BYTES 1

/**
 * One length a sample, `size_t`, at most `steps`: of each sample's `steps` rows the first so many are valid.
 */
#define EVENKEEL_VALID_LENGTHS 2

/**
 * The sum of absolute values.
 */
#define EVENKEEL_NORM_L1 0

/**
 * The root of the sum of squares.
 */
#define EVENKEEL_NORM_L2 1

/**
 * The largest absolute value.
 */
#define EVENKEEL_NORM_MAX 2

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * A name for a status.
 */
const char *evenkeel_status_text(uint32_t status);

/**
 * What the last call of this thread that did not return `EVENKEEL_OK` complained of, in full: the argument, what was
 * expected and what came. Empty if there was none. The text lives until the next such call of this thread.
 */
const char *evenkeel_last_error_message(void);

/**
 * The version of the library, as `0.1.0`.
 */
const char *evenkeel_version(void);

/**
 * The fastest backend that this CPU has: what `EVENKEEL_BACKEND_DETECT` means here.
 */
evenkeel_backend evenkeel_backend_detect(void);

/**
 * Whether this CPU has a backend: 1 or 0.
 */
int32_t evenkeel_backend_is_available(evenkeel_backend backend);

/**
 * Whether a backend of this CPU rounds multiply-adds once: 1 or 0. All such backends give the same bits.
 */
int32_t evenkeel_backend_is_fused(evenkeel_backend backend);

/**
 * The name of a backend (`detect`, `portable`, `avx2`, `avx512`), or NULL.
 */
const char *evenkeel_backend_name(evenkeel_backend backend);

/**
 * Writes the backend of a name to `backend`: `EVENKEEL_UNKNOWN_OPTION` if there is none, `EVENKEEL_UNAVAILABLE_BACKEND`
 * if this CPU does not have it.
 *
 * # Safety
 *
 * `name` is NULL or a C string, `backend` NULL or writable.
 */
enum evenkeel_status evenkeel_backend_by_name(const char *name,
                                              evenkeel_backend *backend);

/**
 * Writes to `scratch_len` how many doubles of scratch `evenkeel_group_norm_f32`, `evenkeel_instance_norm_f32` and
 * `evenkeel_batch_norm_training_channels_f32` use at most for this shape and execution. The first two use none where
 * channels come first.
 *
 * # Safety
 *
 * `execution` is NULL or readable, `scratch_len` NULL or writable.
 */
enum evenkeel_status evenkeel_channels_scratch_len(evenkeel_layout layout,
                                                   size_t batch,
                                                   size_t channels,
                                                   size_t positions,
                                                   const struct evenkeel_execution *execution,
                                                   size_t *scratch_len);

/**
 * GroupNorm: every group of `channels / groups` channels of every sample of `x` by its own mean and population variance.
 * `y = gamma * (x - mean) / sqrt(var + eps) + beta`.
 *
 * `x_len` and `y_len` are batch * channels * positions; `y` may be `x`. `layout` is `EVENKEEL_CHANNELS_...`. `gamma` (NULL
 * with length 0: 1) and `beta` (NULL with length 0: 0) have channels elements. `mean` and `rstd = 1 / sqrt(var + eps)` are
 * written if they are there, both or neither: batch * groups elements of type `stats_dtype`. `scratch` has at least as
 * many doubles as `evenkeel_channels_scratch_len` says; NULL with length 0: it is allocated, if any is needed.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x`, `gamma` and `beta` readable, the others writable.
 * `execution` is NULL or readable.
 */
enum evenkeel_status evenkeel_group_norm_f32(const float *x,
                                             size_t x_len,
                                             const float *gamma,
                                             size_t gamma_len,
                                             const float *beta,
                                             size_t beta_len,
                                             evenkeel_layout layout,
                                             size_t batch,
                                             size_t channels,
                                             size_t positions,
                                             size_t groups,
                                             double eps,
                                             float *y,
                                             size_t y_len,
                                             void *mean,
                                             size_t mean_len,
                                             void *rstd,
                                             size_t rstd_len,
                                             evenkeel_dtype stats_dtype,
                                             double *scratch,
                                             size_t scratch_len,
                                             const struct evenkeel_execution *execution);

/**
 * InstanceNorm: every channel of every sample of `x` by its own mean and population variance.
 * `y = gamma * (x - mean) / sqrt(var + eps) + beta`.
 *
 * As `evenkeel_group_norm_f32`, with a group for each channel: `mean` and `rstd` have batch * channels elements.
 *
 * # Safety
 *
 * As `evenkeel_group_norm_f32`.
 */
enum evenkeel_status evenkeel_instance_norm_f32(const float *x,
                                                size_t x_len,
                                                const float *gamma,
                                                size_t gamma_len,
                                                const float *beta,
                                                size_t beta_len,
                                                evenkeel_layout layout,
                                                size_t batch,
                                                size_t channels,
                                                size_t positions,
                                                double eps,
                                                float *y,
                                                size_t y_len,
                                                void *mean,
                                                size_t mean_len,
                                                void *rstd,
                                                size_t rstd_len,
                                                evenkeel_dtype stats_dtype,
                                                double *scratch,
                                                size_t scratch_len,
                                                const struct evenkeel_execution *execution);

/**
 * LayerNorm over channels: every position of every sample of `x` by its own mean and population variance over the
 * channels. `y = gamma * (x - mean) / sqrt(var + eps) + beta`.
 *
 * `x_len` and `y_len` are batch * channels * positions; `y` may be `x`. `layout` is `EVENKEEL_CHANNELS_...`. `gamma` (NULL
 * with length 0: 1) and `beta` (NULL with length 0: 0) have channels elements. `mean` and `rstd = 1 / sqrt(var + eps)` are
 * written if they are there, both or neither: batch * positions elements of type `stats_dtype`.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x`, `gamma` and `beta` readable, the others writable.
 * `execution` is NULL or readable.
 */
enum evenkeel_status evenkeel_layer_norm_channels_f32(const float *x,
                                                      size_t x_len,
                                                      const float *gamma,
                                                      size_t gamma_len,
                                                      const float *beta,
                                                      size_t beta_len,
                                                      evenkeel_layout layout,
                                                      size_t batch,
                                                      size_t channels,
                                                      size_t positions,
                                                      double eps,
                                                      float *y,
                                                      size_t y_len,
                                                      void *mean,
                                                      size_t mean_len,
                                                      void *rstd,
                                                      size_t rstd_len,
                                                      evenkeel_dtype stats_dtype,
                                                      const struct evenkeel_execution *execution);

/**
 * BatchNorm's training on the channels of `x`, as `evenkeel_batch_norm_training_f32`, whose columns they are.
 *
 * `x_len` and `y_len` are batch * channels * positions; `layout` is `EVENKEEL_CHANNELS_...`. What has cols elements there
 * has channels elements here; `scratch` has at least as many doubles as `evenkeel_channels_scratch_len` says.
 *
 * # Safety
 *
 * As `evenkeel_batch_norm_training_f32`.
 */
enum evenkeel_status evenkeel_batch_norm_training_channels_f32(const float *x,
                                                               size_t x_len,
                                                               const float *gamma,
                                                               size_t gamma_len,
                                                               const float *beta,
                                                               size_t beta_len,
                                                               evenkeel_layout layout,
                                                               size_t batch,
                                                               size_t channels,
                                                               size_t positions,
                                                               double eps,
                                                               float *y,
                                                               size_t y_len,
                                                               void *mean,
                                                               size_t mean_len,
                                                               void *rstd,
                                                               size_t rstd_len,
                                                               evenkeel_dtype stats_dtype,
                                                               const struct evenkeel_running *running,
                                                               double *scratch,
                                                               size_t scratch_len,
                                                               const struct evenkeel_execution *execution);

/**
 * BatchNorm's inference on the channels of `x`, as `evenkeel_batch_norm_inference_f32`, whose columns they are.
 *
 * `x_len` and `y_len` are batch * channels * positions; `layout` is `EVENKEEL_CHANNELS_...`. What has cols elements there
 * has channels elements here.
 *
 * # Safety
 *
 * As `evenkeel_batch_norm_inference_f32`.
 */
enum evenkeel_status evenkeel_batch_norm_inference_channels_f32(const float *x,
                                                                size_t x_len,
                                                                const float *running_mean,
                                                                size_t running_mean_len,
                                                                const float *running_var,
                                                                size_t running_var_len,
                                                                const float *gamma,
                                                                size_t gamma_len,
                                                                const float *beta,
                                                                size_t beta_len,
                                                                evenkeel_layout layout,
                                                                size_t batch,
                                                                size_t channels,
                                                                size_t positions,
                                                                double eps,
                                                                float *y,
                                                                size_t y_len,
                                                                const struct evenkeel_execution *execution);

/**
 * Writes to `realised_p` the probability that the random integers realise: p rounded to a multiple of 2^-16 or 2^-32.
 *
 * # Safety
 *
 * `realised_p` is NULL or writable.
 */
enum evenkeel_status evenkeel_dropout_realised_p(double p,
                                                 double *realised_p);

/**
 * Writes to `scale` what kept elements are multiplied by: 1 / (1 - realised p), and 0 where p is 1.
 *
 * # Safety
 *
 * `scale` is NULL or writable.
 */
enum evenkeel_status evenkeel_dropout_scale_f32(double p, float *scale);

/**
 * Draws the mask of `len` elements, the first with index `offset`, of the stream that `seed` names. Never use the same
 * indices of one seed for two things.
 *
 * # Safety
 *
 * `mask` has `mask_len` writable bytes. `execution` is NULL or readable.
 */
enum evenkeel_status evenkeel_dropout_mask(double p,
                                           uint64_t seed,
                                           uint64_t offset,
                                           size_t len,
                                           uint8_t *mask,
                                           size_t mask_len,
                                           evenkeel_mask mask_kind,
                                           const struct evenkeel_execution *execution);

/**
 * Dropout in training: `y = x / (1 - realised p)` where an element is kept, +0.0 where it is dropped.
 *
 * `y_len` is `x_len`; `y` may be `x`. The mask is written if it is there (NULL with length 0: it is not stored).
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x` readable, the others writable. `execution` is NULL or
 * readable.
 */
enum evenkeel_status evenkeel_dropout_f32(const float *x,
                                          size_t x_len,
                                          double p,
                                          uint64_t seed,
                                          uint64_t offset,
                                          float *y,
                                          size_t y_len,
                                          uint8_t *mask,
                                          size_t mask_len,
                                          evenkeel_mask mask_kind,
                                          const struct evenkeel_execution *execution);

/**
 * Applies a stored mask: `y = x / (1 - realised p)` where it keeps, else +0.0.
 *
 * `y_len` is `x_len`; `y` may be `x`.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `y` writable, the others readable. `execution` is NULL or
 * readable.
 */
enum evenkeel_status evenkeel_dropout_apply_f32(const float *x,
                                                size_t x_len,
                                                double p,
                                                const uint8_t *mask,
                                                size_t mask_len,
                                                evenkeel_mask mask_kind,
                                                float *y,
                                                size_t y_len,
                                                const struct evenkeel_execution *execution);

/**
 * The gradient of x from that of y, the mask drawn again: `dx = dy / (1 - realised p)` where the forward pass with the
 * same p, seed and offset kept, else +0.0.
 *
 * `dx_len` is `dy_len`; `dx` may be `dy`.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `dy` readable, `dx` writable. `execution` is NULL or readable.
 */
enum evenkeel_status evenkeel_dropout_backward_f32(const float *dy,
                                                   size_t dy_len,
                                                   double p,
                                                   uint64_t seed,
                                                   uint64_t offset,
                                                   float *dx,
                                                   size_t dx_len,
                                                   const struct evenkeel_execution *execution);

/**
 * The gradient of x from that of y, with the stored mask of the forward pass.
 *
 * As `evenkeel_dropout_apply_f32`, with `dy` for `x` and `dx` for `y`.
 *
 * # Safety
 *
 * As `evenkeel_dropout_apply_f32`.
 */
enum evenkeel_status evenkeel_dropout_backward_with_mask_f32(const float *dy,
                                                             size_t dy_len,
                                                             double p,
                                                             const uint8_t *mask,
                                                             size_t mask_len,
                                                             evenkeel_mask mask_kind,
                                                             float *dx,
                                                             size_t dx_len,
                                                             const struct evenkeel_execution *execution);

/**
 * Dropout in inference is the identity: copies `x` to `y`, whose `y_len` is `x_len`. Where `y` is `x`, there is nothing
 * to do.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x` readable, `y` writable.
 */
enum evenkeel_status evenkeel_dropout_inference_f32(const float *x,
                                                    size_t x_len,
                                                    float *y,
                                                    size_t y_len);

/**
 * Adds the values of `other` to `into`: the merge of Chan, Golub and LeVeque. `other` may be `into`.
 *
 * # Safety
 *
 * `into` is NULL or readable and writable, `other` NULL or readable.
 */
enum evenkeel_status evenkeel_moments_merge(struct evenkeel_moments *into,
                                            const struct evenkeel_moments *other);

/**
 * Adds every value of `x` to `into`. Runs on the calling thread.
 *
 * # Safety
 *
 * `into` is NULL or readable and writable; `x` has `x_len` readable elements.
 */
enum evenkeel_status evenkeel_moments_extend_f32(struct evenkeel_moments *into,
                                                 const float *x,
                                                 size_t x_len);

/**
 * The moments of every row of `x`, [rows, cols]: `moments_len` is rows. Those of no elements are all zeros.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x` readable, `moments` writable. `execution` is NULL or
 * readable.
 */
enum evenkeel_status evenkeel_row_moments_f32(const float *x,
                                              size_t x_len,
                                              size_t rows,
                                              size_t cols,
                                              struct evenkeel_moments *moments,
                                              size_t moments_len,
                                              const struct evenkeel_execution *execution);

/**
 * Writes to `scratch_len` how many doubles of scratch `evenkeel_column_moments_f32` and
 * `evenkeel_batch_norm_training_f32` use for this shape and execution.
 *
 * # Safety
 *
 * `execution` is NULL or readable, `scratch_len` NULL or writable.
 */
enum evenkeel_status evenkeel_column_scratch_len(size_t rows,
                                                 size_t cols,
                                                 const struct evenkeel_execution *execution,
                                                 size_t *scratch_len);

/**
 * The moments of every column of `x`, [rows, cols]: `moments_len` is cols. Those of no rows are all zeros.
 *
 * `scratch` has at least as many doubles as `evenkeel_column_scratch_len` says; NULL with length 0: it is allocated.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x` readable, `moments` and `scratch` writable. `execution` is
 * NULL or readable.
 */
enum evenkeel_status evenkeel_column_moments_f32(const float *x,
                                                 size_t x_len,
                                                 size_t rows,
                                                 size_t cols,
                                                 struct evenkeel_moments *moments,
                                                 size_t moments_len,
                                                 double *scratch,
                                                 size_t scratch_len,
                                                 const struct evenkeel_execution *execution);

/**
 * LayerNorm of every row of `x`, [rows, cols]: `y = gamma * (x - mean) / sqrt(var + eps) + beta`, with the mean and the
 * population variance of the row.
 *
 * `x_len` and `y_len` are rows * cols; `y` may be `x`. `gamma` (NULL with length 0: 1) and `beta` (NULL with length 0: 0)
 * have cols elements. `mean` and `rstd = 1 / sqrt(var + eps)` are written if they are there, both or neither: rows
 * elements of type `stats_dtype`.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x`, `gamma` and `beta` readable, the others writable.
 * `execution` is NULL or readable.
 */
enum evenkeel_status evenkeel_layer_norm_f32(const float *x,
                                             size_t x_len,
                                             const float *gamma,
                                             size_t gamma_len,
                                             const float *beta,
                                             size_t beta_len,
                                             size_t rows,
                                             size_t cols,
                                             double eps,
                                             float *y,
                                             size_t y_len,
                                             void *mean,
                                             size_t mean_len,
                                             void *rstd,
                                             size_t rstd_len,
                                             evenkeel_dtype stats_dtype,
                                             const struct evenkeel_execution *execution);

/**
 * RmsNorm of every row of `x`, [rows, cols]: `y = gamma * x / sqrt(mean of x^2 + eps) + beta`.
 *
 * `x_len` and `y_len` are rows * cols; `y` may be `x`. `gamma` (NULL with length 0: 1) and `beta` (NULL with length 0: 0)
 * have cols elements; if `one_plus_gamma` is not 0, 1 + gamma takes the place of gamma, as in the models of the Gemma
 * family. `rstd = 1 / sqrt(mean of x^2 + eps)` is written if it is there: rows elements of type `stats_dtype`.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x`, `gamma` and `beta` readable, the others writable.
 * `execution` is NULL or readable.
 */
enum evenkeel_status evenkeel_rms_norm_f32(const float *x,
                                           size_t x_len,
                                           const float *gamma,
                                           size_t gamma_len,
                                           uint32_t one_plus_gamma,
                                           const float *beta,
                                           size_t beta_len,
                                           size_t rows,
                                           size_t cols,
                                           double eps,
                                           float *y,
                                           size_t y_len,
                                           void *rstd,
                                           size_t rstd_len,
                                           evenkeel_dtype stats_dtype,
                                           const struct evenkeel_execution *execution);

/**
 * Normalises every row of `x`, [rows, cols], by a mean and rstd that the caller has, one of each a row:
 * `y = gamma * (x - mean) * rstd + beta`.
 *
 * `x_len` and `y_len` are rows * cols; `y` may be `x`. `mean` and `rstd` have rows elements of type `stats_dtype`.
 * `gamma` (NULL with length 0: 1) and `beta` (NULL with length 0: 0) have cols elements.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `y` writable, the others readable. `execution` is NULL or
 * readable.
 */
enum evenkeel_status evenkeel_normalize_rows_f32(const float *x,
                                                 size_t x_len,
                                                 const void *mean,
                                                 size_t mean_len,
                                                 const void *rstd,
                                                 size_t rstd_len,
                                                 evenkeel_dtype stats_dtype,
                                                 const float *gamma,
                                                 size_t gamma_len,
                                                 const float *beta,
                                                 size_t beta_len,
                                                 size_t rows,
                                                 size_t cols,
                                                 float *y,
                                                 size_t y_len,
                                                 const struct evenkeel_execution *execution);

/**
 * Normalises every column of `x`, [rows, cols], by a mean and rstd that the caller has, one of each a column: the second
 * half of BatchNorm's training.
 *
 * As `evenkeel_normalize_rows_f32`, but that `mean` and `rstd` have cols elements.
 *
 * # Safety
 *
 * As `evenkeel_normalize_rows_f32`.
 */
enum evenkeel_status evenkeel_normalize_columns_f32(const float *x,
                                                    size_t x_len,
                                                    const void *mean,
                                                    size_t mean_len,
                                                    const void *rstd,
                                                    size_t rstd_len,
                                                    evenkeel_dtype stats_dtype,
                                                    const float *gamma,
                                                    size_t gamma_len,
                                                    const float *beta,
                                                    size_t beta_len,
                                                    size_t rows,
                                                    size_t cols,
                                                    float *y,
                                                    size_t y_len,
                                                    const struct evenkeel_execution *execution);

/**
 * BatchNorm's training on `x`, [rows, cols], channels last: every column by its own mean and population variance.
 * `y = gamma * (x - mean) / sqrt(var + eps) + beta`.
 *
 * `x_len` and `y_len` are rows * cols; `y` may be `x`. `gamma` (NULL with length 0: 1) and `beta` (NULL with length 0: 0)
 * have cols elements. `mean` and `rstd = 1 / sqrt(var + eps)` of the batch are written: cols elements of type
 * `stats_dtype`. `running` is NULL, or what is updated. `scratch` has at least as many doubles as
 * `evenkeel_column_scratch_len` says; NULL with length 0: it is allocated.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x`, `gamma` and `beta` readable, the others writable, the
 * running statistics both. `running` and `execution` are NULL or readable.
 */
enum evenkeel_status evenkeel_batch_norm_training_f32(const float *x,
                                                      size_t x_len,
                                                      const float *gamma,
                                                      size_t gamma_len,
                                                      const float *beta,
                                                      size_t beta_len,
                                                      size_t rows,
                                                      size_t cols,
                                                      double eps,
                                                      float *y,
                                                      size_t y_len,
                                                      void *mean,
                                                      size_t mean_len,
                                                      void *rstd,
                                                      size_t rstd_len,
                                                      evenkeel_dtype stats_dtype,
                                                      const struct evenkeel_running *running,
                                                      double *scratch,
                                                      size_t scratch_len,
                                                      const struct evenkeel_execution *execution);

/**
 * BatchNorm's inference on `x`, [rows, cols], channels last: every column by running statistics.
 * `y = gamma * (x - running_mean) / sqrt(running_var + eps) + beta`.
 *
 * `x_len` and `y_len` are rows * cols; `y` may be `x`. `running_mean` and `running_var` have cols elements, as have
 * `gamma` (NULL with length 0: 1) and `beta` (NULL with length 0: 0).
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `y` writable, the others readable. `execution` is NULL or
 * readable.
 */
enum evenkeel_status evenkeel_batch_norm_inference_f32(const float *x,
                                                       size_t x_len,
                                                       const float *running_mean,
                                                       size_t running_mean_len,
                                                       const float *running_var,
                                                       size_t running_var_len,
                                                       const float *gamma,
                                                       size_t gamma_len,
                                                       const float *beta,
                                                       size_t beta_len,
                                                       size_t rows,
                                                       size_t cols,
                                                       double eps,
                                                       float *y,
                                                       size_t y_len,
                                                       const struct evenkeel_execution *execution);

/**
 * `evenkeel_batch_norm_training_f32` of the batch without its padding, bit for bit; padding of `y` becomes +0.0, whatever
 * `x` holds there. Without a valid row, `mean` and `rstd` become 0 and the running statistics stay.
 *
 * `valid` has `valid_len` elements of the type that `valid_kind` says. `steps` counts for `EVENKEEL_VALID_LENGTHS` alone:
 * `x` is [samples, steps, cols] then, and rows is samples * steps.
 *
 * # Safety
 *
 * As `evenkeel_batch_norm_training_f32`; `valid` is readable.
 */
enum evenkeel_status evenkeel_batch_norm_training_masked_f32(const float *x,
                                                             size_t x_len,
                                                             const void *valid,
                                                             size_t valid_len,
                                                             evenkeel_valid valid_kind,
                                                             size_t steps,
                                                             const float *gamma,
                                                             size_t gamma_len,
                                                             const float *beta,
                                                             size_t beta_len,
                                                             size_t rows,
                                                             size_t cols,
                                                             double eps,
                                                             float *y,
                                                             size_t y_len,
                                                             void *mean,
                                                             size_t mean_len,
                                                             void *rstd,
                                                             size_t rstd_len,
                                                             evenkeel_dtype stats_dtype,
                                                             const struct evenkeel_running *running,
                                                             double *scratch,
                                                             size_t scratch_len,
                                                             const struct evenkeel_execution *execution);

/**
 * `evenkeel_batch_norm_inference_f32` of the valid rows, bit for bit; padding of `y` becomes +0.0, whatever `x` holds
 * there.
 *
 * `valid`, `valid_kind` and `steps` are those of `evenkeel_batch_norm_training_masked_f32`.
 *
 * # Safety
 *
 * As `evenkeel_batch_norm_inference_f32`; `valid` is readable.
 */
enum evenkeel_status evenkeel_batch_norm_inference_masked_f32(const float *x,
                                                              size_t x_len,
                                                              const void *valid,
                                                              size_t valid_len,
                                                              evenkeel_valid valid_kind,
                                                              size_t steps,
                                                              const float *running_mean,
                                                              size_t running_mean_len,
                                                              const float *running_var,
                                                              size_t running_var_len,
                                                              const float *gamma,
                                                              size_t gamma_len,
                                                              const float *beta,
                                                              size_t beta_len,
                                                              size_t rows,
                                                              size_t cols,
                                                              double eps,
                                                              float *y,
                                                              size_t y_len,
                                                              const struct evenkeel_execution *execution);

/**
 * `evenkeel_column_moments_f32` of the valid rows of `x`, with the bits of the matrix without the others. Those of no valid
 * row are all zeros.
 *
 * `valid`, `valid_kind` and `steps` are those of `evenkeel_batch_norm_training_masked_f32`.
 *
 * # Safety
 *
 * As `evenkeel_column_moments_f32`; `valid` is readable.
 */
enum evenkeel_status evenkeel_column_moments_masked_f32(const float *x,
                                                        size_t x_len,
                                                        const void *valid,
                                                        size_t valid_len,
                                                        evenkeel_valid valid_kind,
                                                        size_t steps,
                                                        size_t rows,
                                                        size_t cols,
                                                        struct evenkeel_moments *moments,
                                                        size_t moments_len,
                                                        double *scratch,
                                                        size_t scratch_len,
                                                        const struct evenkeel_execution *execution);

/**
 * `evenkeel_instance_norm_f32` of the samples without their padding, bit for bit; padding of `y` becomes +0.0, whatever `x`
 * holds there. `mean` and `rstd` of a sample without a valid position are 0.
 *
 * `valid` says it of the positions of the samples, batch * positions, in either layout: `valid_len` elements of the type
 * that `valid_kind` says. Lengths are those of samples, at most positions.
 *
 * # Safety
 *
 * As `evenkeel_instance_norm_f32`; `valid` is readable.
 */
enum evenkeel_status evenkeel_instance_norm_masked_f32(const float *x,
                                                       size_t x_len,
                                                       const void *valid,
                                                       size_t valid_len,
                                                       evenkeel_valid valid_kind,
                                                       const float *gamma,
                                                       size_t gamma_len,
                                                       const float *beta,
                                                       size_t beta_len,
                                                       evenkeel_layout layout,
                                                       size_t batch,
                                                       size_t channels,
                                                       size_t positions,
                                                       double eps,
                                                       float *y,
                                                       size_t y_len,
                                                       void *mean,
                                                       size_t mean_len,
                                                       void *rstd,
                                                       size_t rstd_len,
                                                       evenkeel_dtype stats_dtype,
                                                       const struct evenkeel_execution *execution);

/**
 * The moments of the first `lengths[r]` elements of every row r of `x`, [rows, cols]: `lengths_len` and `moments_len` are
 * rows, a length is at most cols. Those of no elements are all zeros.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x` and `lengths` readable, `moments` writable. `execution` is
 * NULL or readable.
 */
enum evenkeel_status evenkeel_row_moments_prefixes_f32(const float *x,
                                                       size_t x_len,
                                                       const size_t *lengths,
                                                       size_t lengths_len,
                                                       size_t rows,
                                                       size_t cols,
                                                       struct evenkeel_moments *moments,
                                                       size_t moments_len,
                                                       const struct evenkeel_execution *execution);

/**
 * Writes `l1 * (sum of |w|) + l2 / 2 * (sum of w^2)` to `penalty` and adds `l1 * sign(w) + l2 * w` to `gradient`, in one
 * pass; the sign of 0 is 0.
 *
 * `gradient_len` is `w_len`. What is not wanted is NULL: `penalty`, or `gradient` with length 0.
 *
 * # Safety
 *
 * `w` has `w_len` readable elements, `gradient` as many as its length says, readable and writable. `penalty` is NULL or
 * writable, `execution` NULL or readable.
 */
enum evenkeel_status evenkeel_penalty_f32(const float *w,
                                          size_t w_len,
                                          double l1,
                                          double l2,
                                          double *penalty,
                                          float *gradient,
                                          size_t gradient_len,
                                          const struct evenkeel_execution *execution);

/**
 * Decoupled weight decay: `y = w * (1 - learning_rate * l2)`.
 *
 * `y_len` is `w_len`; `y` may be `w`.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `w` readable, `y` writable. `execution` is NULL or readable.
 */
enum evenkeel_status evenkeel_weight_decay_f32(const float *w,
                                               size_t w_len,
                                               double l2,
                                               double learning_rate,
                                               float *y,
                                               size_t y_len,
                                               const struct evenkeel_execution *execution);

/**
 * The proximal operator of `step * penalty`: `y = soft(w, step * l1) / (1 + step * l2)`, where `soft(w, t)` is w - t above
 * t, w + t below -t and 0 between.
 *
 * `y_len` is `w_len`; `y` may be `w`.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `w` readable, `y` writable. `execution` is NULL or readable.
 */
enum evenkeel_status evenkeel_proximal_f32(const float *w,
                                           size_t w_len,
                                           double l1,
                                           double l2,
                                           double step,
                                           float *y,
                                           size_t y_len,
                                           const struct evenkeel_execution *execution);

/**
 * LayerNorm of every row of `x + residual`, [rows, cols]: a block of a transformer before its normalisation. The bits of
 * `evenkeel_layer_norm_f32` of the sum, which is rounded to float once.
 *
 * `x_len`, `residual_len` and `y_len` are rows * cols; `y` may be `x`. The sum is written to `sum` (NULL with length 0: it
 * is not kept), which has rows * cols elements and may be `residual`. `gamma` (NULL with length 0: 1) and `beta` (NULL with
 * length 0: 0) have cols elements. `mean` and `rstd` of the sum are written if they are there, both or neither: rows
 * elements of type `stats_dtype`.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x`, `residual`, `gamma` and `beta` readable, the others writable.
 * `execution` is NULL or readable.
 */
enum evenkeel_status evenkeel_layer_norm_residual_f32(const float *x,
                                                      size_t x_len,
                                                      const float *residual,
                                                      size_t residual_len,
                                                      const float *gamma,
                                                      size_t gamma_len,
                                                      const float *beta,
                                                      size_t beta_len,
                                                      size_t rows,
                                                      size_t cols,
                                                      double eps,
                                                      float *y,
                                                      size_t y_len,
                                                      float *sum,
                                                      size_t sum_len,
                                                      void *mean,
                                                      size_t mean_len,
                                                      void *rstd,
                                                      size_t rstd_len,
                                                      evenkeel_dtype stats_dtype,
                                                      const struct evenkeel_execution *execution);

/**
 * RmsNorm of every row of `x + residual`, [rows, cols]: a block of a transformer before its normalisation. The bits of
 * `evenkeel_rms_norm_f32` of the sum, which is rounded to float once.
 *
 * `x_len`, `residual_len` and `y_len` are rows * cols; `y` may be `x`. The sum is written to `sum` (NULL with length 0: it
 * is not kept), which has rows * cols elements and may be `residual`. `gamma` (NULL with length 0: 1) and `beta` (NULL with
 * length 0: 0) have cols elements; if `one_plus_gamma` is not 0, 1 + gamma takes the place of gamma. `rstd` of the sum is
 * written if it is there: rows elements of type `stats_dtype`.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x`, `residual`, `gamma` and `beta` readable, the others writable.
 * `execution` is NULL or readable.
 */
enum evenkeel_status evenkeel_rms_norm_residual_f32(const float *x,
                                                    size_t x_len,
                                                    const float *residual,
                                                    size_t residual_len,
                                                    const float *gamma,
                                                    size_t gamma_len,
                                                    uint32_t one_plus_gamma,
                                                    const float *beta,
                                                    size_t beta_len,
                                                    size_t rows,
                                                    size_t cols,
                                                    double eps,
                                                    float *y,
                                                    size_t y_len,
                                                    float *sum,
                                                    size_t sum_len,
                                                    void *rstd,
                                                    size_t rstd_len,
                                                    evenkeel_dtype stats_dtype,
                                                    const struct evenkeel_execution *execution);

/**
 * RmsNorm of every row of `x`, [rows, cols], gated by `z` after the norm, as in Qwen3-Next and Gated `DeltaNet` (Mamba-2 gates before the norm):
 * `y = gamma * x / sqrt(mean of x^2 + eps) * silu(z)` with `silu(z) = z / (1 + exp(-z))`.
 *
 * `x_len`, `z_len` and `y_len` are rows * cols; `y` may be `x`. `gamma` (NULL with length 0: 1) has cols elements; if
 * `one_plus_gamma` is not 0, 1 + gamma takes the place of gamma.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `y` writable, the others readable. `execution` is NULL or
 * readable.
 */
enum evenkeel_status evenkeel_rms_norm_gated_f32(const float *x,
                                                 size_t x_len,
                                                 const float *z,
                                                 size_t z_len,
                                                 const float *gamma,
                                                 size_t gamma_len,
                                                 uint32_t one_plus_gamma,
                                                 size_t rows,
                                                 size_t cols,
                                                 double eps,
                                                 float *y,
                                                 size_t y_len,
                                                 const struct evenkeel_execution *execution);

/**
 * `evenkeel_layer_norm_f32` of rows that begin every `x_pitch` elements of `x` and every `y_pitch` of `y`, as the parts of a
 * wider matrix do, bit for bit. What lies between two rows of `y` is not touched.
 *
 * A pitch is at least cols; `x_len` and `y_len` are at least (rows - 1) * pitch + cols, and 0 will do without rows. `y` may
 * be `x` with the same pitch; else the two share no memory, between the rows neither. `gamma` (NULL with length 0: 1) and
 * `beta` (NULL with length 0: 0) have cols elements.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `y` readable and writable, the others readable. Nothing else writes
 * to them meanwhile, and nothing reads `y`, between its rows neither. `execution` is NULL or readable.
 */
enum evenkeel_status evenkeel_layer_norm_strided_f32(const float *x,
                                                     size_t x_len,
                                                     size_t x_pitch,
                                                     const float *gamma,
                                                     size_t gamma_len,
                                                     const float *beta,
                                                     size_t beta_len,
                                                     size_t rows,
                                                     size_t cols,
                                                     double eps,
                                                     float *y,
                                                     size_t y_len,
                                                     size_t y_pitch,
                                                     const struct evenkeel_execution *execution);

/**
 * `evenkeel_rms_norm_f32` of rows that begin every `x_pitch` elements of `x` and every `y_pitch` of `y`, bit for bit.
 *
 * `x`, `y` and their pitches are as in `evenkeel_layer_norm_strided_f32`, the rest as in `evenkeel_rms_norm_f32`.
 *
 * # Safety
 *
 * As `evenkeel_layer_norm_strided_f32`.
 */
enum evenkeel_status evenkeel_rms_norm_strided_f32(const float *x,
                                                   size_t x_len,
                                                   size_t x_pitch,
                                                   const float *gamma,
                                                   size_t gamma_len,
                                                   uint32_t one_plus_gamma,
                                                   const float *beta,
                                                   size_t beta_len,
                                                   size_t rows,
                                                   size_t cols,
                                                   double eps,
                                                   float *y,
                                                   size_t y_len,
                                                   size_t y_pitch,
                                                   const struct evenkeel_execution *execution);

/**
 * `evenkeel_normalize_rows_f32` of rows that begin every `x_pitch` elements of `x` and every `y_pitch` of `y`, bit for bit.
 *
 * `x`, `y` and their pitches are as in `evenkeel_layer_norm_strided_f32`, the rest as in `evenkeel_normalize_rows_f32`.
 *
 * # Safety
 *
 * As `evenkeel_layer_norm_strided_f32`.
 */
enum evenkeel_status evenkeel_normalize_rows_strided_f32(const float *x,
                                                         size_t x_len,
                                                         size_t x_pitch,
                                                         const void *mean,
                                                         size_t mean_len,
                                                         const void *rstd,
                                                         size_t rstd_len,
                                                         evenkeel_dtype stats_dtype,
                                                         const float *gamma,
                                                         size_t gamma_len,
                                                         const float *beta,
                                                         size_t beta_len,
                                                         size_t rows,
                                                         size_t cols,
                                                         float *y,
                                                         size_t y_len,
                                                         size_t y_pitch,
                                                         const struct evenkeel_execution *execution);

/**
 * The moments of every row of `x`, whose rows begin every `x_pitch` elements: `x_pitch` is at least cols, `x_len` at least
 * `(rows - 1) * x_pitch + cols`, and `moments_len` is rows.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x` readable, `moments` writable. `execution` is NULL or
 * readable.
 */
enum evenkeel_status evenkeel_row_moments_strided_f32(const float *x,
                                                      size_t x_len,
                                                      size_t x_pitch,
                                                      size_t rows,
                                                      size_t cols,
                                                      struct evenkeel_moments *moments,
                                                      size_t moments_len,
                                                      const struct evenkeel_execution *execution);

/**
 * Adds the samples of `x`, [rows, cols], to what a standard scaler has learnt: number, mean and sum of squared deviations of
 * every column. NaN are not counted; no rows change nothing.
 *
 * `x_len` is rows * cols. `moments` has cols elements; start with all zeros. `m2_low` is what rounding left of every m2:
 * cols doubles, start with zeros, or NULL with length 0. With it, the error does not grow with the number of batches. A
 * call allocates a temporary of about 40 bytes a column, sixteen times as much where tasks may share the work.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x` readable, `moments` and `m2_low` readable and writable.
 * `execution` is NULL or readable.
 */
enum evenkeel_status evenkeel_standard_scaler_partial_fit_f32(const float *x,
                                                              size_t x_len,
                                                              size_t rows,
                                                              size_t cols,
                                                              struct evenkeel_moments *moments,
                                                              size_t moments_len,
                                                              double *m2_low,
                                                              size_t m2_low_len,
                                                              const struct evenkeel_execution *execution);

/**
 * Adds what another standard scaler has learnt, `other` and `other_m2_low`, to `moments` and `m2_low`: afterwards this one
 * has seen the samples of both.
 *
 * `other_len` is `moments_len`, as are `m2_low_len` and `other_m2_low_len` unless they are NULL with length 0. Runs on the
 * calling thread.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `moments` and `m2_low` readable and writable, the others readable.
 * `execution` is NULL or readable.
 */
enum evenkeel_status evenkeel_standard_scaler_merge(struct evenkeel_moments *moments,
                                                    size_t moments_len,
                                                    double *m2_low,
                                                    size_t m2_low_len,
                                                    const struct evenkeel_moments *other,
                                                    size_t other_len,
                                                    const double *other_m2_low,
                                                    size_t other_m2_low_len,
                                                    const struct evenkeel_execution *execution);

/**
 * Standardises every column of `x`, [rows, cols], by what a standard scaler has learnt: `y = (x - mean) / scale`. scale is
 * the population standard deviation, 1 of a constant column.
 *
 * `x_len` and `y_len` are rows * cols; `y` may be `x`. `moments` has cols elements. Where `with_mean` is 0, so is mean; where
 * `with_std` is 0, scale is 1. A column without a number becomes NaN; if there is no number at all, the call returns
 * `EVENKEEL_NOT_FITTED`. A call allocates a temporary of 16 bytes a column.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `y` writable, the others readable. `execution` is NULL or
 * readable.
 */
enum evenkeel_status evenkeel_standard_scaler_transform_f32(const float *x,
                                                            size_t x_len,
                                                            const struct evenkeel_moments *moments,
                                                            size_t moments_len,
                                                            size_t rows,
                                                            size_t cols,
                                                            uint32_t with_mean,
                                                            uint32_t with_std,
                                                            float *y,
                                                            size_t y_len,
                                                            const struct evenkeel_execution *execution);

/**
 * The way back from `evenkeel_standard_scaler_transform_f32`, with its arguments: `y = x * scale + mean`.
 *
 * # Safety
 *
 * As `evenkeel_standard_scaler_transform_f32`.
 */
enum evenkeel_status evenkeel_standard_scaler_inverse_transform_f32(const float *x,
                                                                    size_t x_len,
                                                                    const struct evenkeel_moments *moments,
                                                                    size_t moments_len,
                                                                    size_t rows,
                                                                    size_t cols,
                                                                    uint32_t with_mean,
                                                                    uint32_t with_std,
                                                                    float *y,
                                                                    size_t y_len,
                                                                    const struct evenkeel_execution *execution);

/**
 * The mean of every column, which a standard scaler subtracts, and its scale, by which it divides: the square root of the
 * population variance, or 1 if the column is constant. Both are NaN where no number has been seen.
 *
 * `mean_len` and `scale_len` are `moments_len`, unless one of the two is NULL with length 0. Runs on the calling thread.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `moments` readable, the others readable and writable.
 */
enum evenkeel_status evenkeel_standard_scaler_statistics(const struct evenkeel_moments *moments,
                                                         size_t moments_len,
                                                         double *mean,
                                                         size_t mean_len,
                                                         double *scale,
                                                         size_t scale_len);

/**
 * Adds the samples of `x`, [rows, cols], to what a min-max scaler has learnt: the least and the greatest value of every
 * column. NaN are ignored; no rows change nothing.
 *
 * `x_len` is rows * cols. `data_min` and `data_max` have cols elements; start with INFINITY and -INFINITY. A call allocates
 * a temporary of about 8 bytes a column, sixteen times as much where tasks may share the work.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x` readable, the others readable and writable. `execution` is
 * NULL or readable.
 */
enum evenkeel_status evenkeel_min_max_scaler_partial_fit_f32(const float *x,
                                                             size_t x_len,
                                                             size_t rows,
                                                             size_t cols,
                                                             float *data_min,
                                                             size_t data_min_len,
                                                             float *data_max,
                                                             size_t data_max_len,
                                                             const struct evenkeel_execution *execution);

/**
 * Adds what another min-max scaler has learnt, `other_min` and `other_max`, to `data_min` and `data_max`: afterwards this one
 * has seen the samples of both. All four lengths are equal.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `data_min` and `data_max` readable and writable, the others
 * readable.
 */
enum evenkeel_status evenkeel_min_max_scaler_merge_f32(float *data_min,
                                                       size_t data_min_len,
                                                       float *data_max,
                                                       size_t data_max_len,
                                                       const float *other_min,
                                                       size_t other_min_len,
                                                       const float *other_max,
                                                       size_t other_max_len);

/**
 * Maps every column of `x`, [rows, cols], from the range that a min-max scaler has learnt to that from `range_min` to
 * `range_max`: `y = (x - data_min) * (range_max - range_min) / (data_max - data_min) + range_min`. A constant column has 1 for
 * `data_max - data_min`.
 *
 * `x_len` and `y_len` are rows * cols; `y` may be `x`. `data_min` and `data_max` have cols elements. `range_min` is less than
 * `range_max`, both are finite as float. Where `clip` is not 0, what would be outside of the range becomes its nearest end.
 * A column without a number becomes NaN; if there is no number at all, the call returns `EVENKEEL_NOT_FITTED`.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `y` writable, the others readable. `execution` is NULL or
 * readable.
 */
enum evenkeel_status evenkeel_min_max_scaler_transform_f32(const float *x,
                                                           size_t x_len,
                                                           const float *data_min,
                                                           size_t data_min_len,
                                                           const float *data_max,
                                                           size_t data_max_len,
                                                           size_t rows,
                                                           size_t cols,
                                                           double range_min,
                                                           double range_max,
                                                           uint32_t clip,
                                                           float *y,
                                                           size_t y_len,
                                                           const struct evenkeel_execution *execution);

/**
 * The way back from `evenkeel_min_max_scaler_transform_f32`, with its arguments, never clipped:
 * `y = (x - range_min) * (data_max - data_min) / (range_max - range_min) + data_min`.
 *
 * # Safety
 *
 * As `evenkeel_min_max_scaler_transform_f32`.
 */
enum evenkeel_status evenkeel_min_max_scaler_inverse_transform_f32(const float *x,
                                                                   size_t x_len,
                                                                   const float *data_min,
                                                                   size_t data_min_len,
                                                                   const float *data_max,
                                                                   size_t data_max_len,
                                                                   size_t rows,
                                                                   size_t cols,
                                                                   double range_min,
                                                                   double range_max,
                                                                   float *y,
                                                                   size_t y_len,
                                                                   const struct evenkeel_execution *execution);

/**
 * Divides every row of `x`, [rows, cols], by its norm: `y = x / norm`. A row of zeros stays one.
 *
 * `x_len` and `y_len` are rows * cols; `y` may be `x`. `norm` is `EVENKEEL_NORM_...`.
 *
 * # Safety
 *
 * Every buffer has as many elements as its length says: `x` readable, `y` writable. `execution` is NULL or readable.
 */
enum evenkeel_status evenkeel_normalizer_f32(const float *x,
                                             size_t x_len,
                                             size_t rows,
                                             size_t cols,
                                             evenkeel_norm norm,
                                             float *y,
                                             size_t y_len,
                                             const struct evenkeel_execution *execution);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* EVENKEEL_H */
