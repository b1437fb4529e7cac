/* evenkeel: kernels for the normalisation and dropout layers of neural networks.
 *
 * Made by cbindgen from src/capi; do not edit.
 *
 * Calls. A function takes a pointer to a structure of arguments. EVENKEEL_..._INIT sets its size and the defaults; the caller
 * sets the members that it needs, and calls:
 *
 *     evenkeel_layer_norm_args norm = EVENKEEL_LAYER_NORM_INIT;
 *     norm.x = (evenkeel_input)EVENKEEL_BUFFER(EVENKEEL_F32, x, 2 * 768);
 *     norm.y = (evenkeel_output)EVENKEEL_BUFFER(EVENKEEL_F32, y, 2 * 768);
 *     norm.shape = (evenkeel_shape)EVENKEEL_SHAPE_ROWS(2, 768);
 *     if (evenkeel_layer_norm(&norm) != EVENKEEL_OK) puts(evenkeel_last_error_message());
 *
 * C++11 needs no casts. A structure is read before the call writes, and is not changed. No buffer shares memory with it.
 *
 * Buffers. A buffer is where its elements begin, how many they are, how far apart its rows begin (0: they are contiguous), and
 * their type. It is absent where all of that is 0. A type without elements is a buffer of no elements. Elements without a type
 * are an error. Rows of x, y, residual, sum, gate and plus, and gradients of that size, may have a pitch, or two (inner_rows,
 * outer_pitch: the heads of tokens), where the operation works on rows. A buffer is all of data[0] to data[len - 1], with what lies
 * between its rows: two parts of one matrix are not input and output of one call.
 *
 * Lengths, alignment, shapes, parameters and overlap are checked before anything is written. That a pointer has as many elements as its length says
 * is the caller's promise: inputs are readable, outputs writable, and those but y and sum readable too, as are y and sum with a
 * pitch.
 *
 * Outputs share memory with no other buffer, with three exceptions, exactly in place, with the same pitch and type:
 *
 *     y    may be  x         of the functions that have both
 *     sum  may be  residual  of evenkeel_layer_norm and evenkeel_rms_norm
 *     dx   may be  dy        of backward passes
 *
 * Versions. A structure may have the size of an earlier version of this header: what it lacks has its default. It may be larger
 * than the library's if what the library does not know is 0. Reserved members are 0. evenkeel_version tells the library's version.
 *
 * Errors. Functions return an evenkeel_status. No call ends the process or unwinds into C: a panic within the library is
 * caught, in its threads too, and becomes EVENKEEL_PANIC. The text of the last error belongs to the thread that made it.
 *
 * Threads. Any function may be called from several threads at once, on buffers that do not overlap. Work on large buffers is
 * shared with a pool of threads that the first such call starts, or with the host's (evenkeel_execution). After fork() the child has
 * no threads of the library's pool: calls run on the calling thread there.
 *
 * Floating point. The caller's control word (MXCSR, FPCR) is saved, set to the default and restored, in worker threads too:
 * results have the same bits in a host that flushes subnormals or rounds otherwise. EVENKEEL_ENVIRONMENT_HOST keeps the host's.
 * The flags that say which exceptions have happened may change. Bits are the same for every number of tasks, alignment, in place
 * or not, and on every backend that fuses multiply-adds.
 */

#ifndef EVENKEEL_H
#define EVENKEEL_H

#include <stddef.h>
#include <stdint.h>

// The version of this header, of which `evenkeel_version` tells the library's.
#define EVENKEEL_VERSION 100

// A property of a backend: this CPU has it.
#define EVENKEEL_BACKEND_AVAILABLE 1

// A property of a backend: it rounds multiply-adds once. All such backends give the same bits.
#define EVENKEEL_BACKEND_FUSED 2

// Which instructions an operation runs on.
typedef uint32_t evenkeel_backend;

// How a call ended. Where it is not `EVENKEEL_OK`, nothing has been written, but for scratch and after `EVENKEEL_OUT_OF_MEMORY`
// and `EVENKEEL_PANIC`. `evenkeel_last_error_message` says which member of the structure is wrong, what was expected and what
// came.
typedef uint32_t evenkeel_status;

// The type of the elements of a buffer.
typedef uint32_t evenkeel_dtype;

// What a function reads. All zeros: absent.
typedef struct evenkeel_input {
  // The first element.
  const void *data;
  // The number of elements; with a pitch, from the first of the first row to at least the last of the last.
  size_t len;
  // Elements from the start of a row to the start of the next. 0: the rows are contiguous.
  size_t pitch;
  // The second stride, 0 where there is none: after every `inner_rows` rows it is so many elements from the first of them to the next.
  size_t outer_pitch;
  // `EVENKEEL_F32` or another type that the function takes here.
  evenkeel_dtype dtype;
  // Rows of one stride, 0 where there is no second: the heads of a token.
  uint32_t inner_rows;
} evenkeel_input;

// What a function writes. All zeros: absent.
typedef struct evenkeel_output {
  // The first element.
  void *data;
  // The number of elements; with a pitch, from the first of the first row to at least the last of the last.
  size_t len;
  // Elements from the start of a row to the start of the next. 0: the rows are contiguous.
  size_t pitch;
  // The second stride, 0 where there is none: after every `inner_rows` rows it is so many elements from the first of them to the next.
  size_t outer_pitch;
  // `EVENKEEL_F32` or another type that the function takes here.
  evenkeel_dtype dtype;
  // Rows of one stride, 0 where there is no second: the heads of a token.
  uint32_t inner_rows;
} evenkeel_output;

// What a shape is of, and which of its axes comes first in memory.
typedef uint32_t evenkeel_layout;

// A matrix, or samples of channels. What does not belong to its layout is 0.
typedef struct evenkeel_shape {
  // `EVENKEEL_ROWS` or `EVENKEEL_CHANNELS_...`
  evenkeel_layout layout;
  // 0
  uint32_t reserved;
  size_t rows;
  size_t cols;
  size_t batch;
  size_t channels;
  size_t positions;
} evenkeel_shape;

// How an output is written. It never changes the result.
typedef uint32_t evenkeel_stores;

// The floating-point environment of a call.
typedef uint32_t evenkeel_environment;

// A part of the work of a call, for a host's thread: to be called with the `work` that the host was passed, and the number of
// the part.
typedef void (*evenkeel_part)(void *work, size_t index);

// A host's loop over threads: calls `part(work, i)` for every i from 0 up to `parts`, each once, on any threads, in any order,
// and returns when all these calls have returned. `context` is `pool_context`. `parts` is at least 2, and at most 64 and
// `pool_threads`.
//
// It returns normally: it throws no exception and does not jump (longjmp) over the call. What it leaves out is done by the
// calling thread, what it calls twice is done once, and calls after its return do nothing, as long as the library is loaded.
typedef void (*evenkeel_parallel_for)(void *context, size_t parts, evenkeel_part part, void *work);

// How a call runs. It never changes what is computed, and in the default environment not a bit of it between backends that
// fuse multiply-adds. A call whose `execution` is NULL runs as `EVENKEEL_EXECUTION_INIT` says.
typedef struct evenkeel_execution {
  size_t size;
  // `EVENKEEL_BACKEND_...`
  evenkeel_backend backend;
  // `EVENKEEL_STORES_...`
  evenkeel_stores stores;
  // 0: one task for each 64 Ki elements, at most one a thread. On the host's threads or in a thread of a rayon pool, a call
  // uses more than one from 128 Ki elements on; on any other thread from 1 Mi elements on, since rayon's workers sleep there.
  // 1: serial, on the calling thread alone, without a pool. n: as 0, but at most n.
  size_t tasks;
  // `EVENKEEL_ENVIRONMENT_...`
  evenkeel_environment environment;
  // 0
  uint32_t reserved;
  // The host's threads, in place of the library's own; NULL: the library's own. A host's pool may exist for this call only.
  // Functions that say so do not use it: they run on the calling thread then.
  evenkeel_parallel_for parallel_for;
  // What `parallel_for` is passed.
  void *pool_context;
  // How many threads `parallel_for` has, the calling one among them if it takes part. 0 without one. With 1 it is not called:
  // the calling thread does the work.
  size_t pool_threads;
} evenkeel_execution;

// Which gradients are added to what is there. The others are overwritten.
typedef uint32_t evenkeel_accumulate;

// The backward pass of a norm of columns or channels. What starts with d is the gradient of a loss by what the name goes on with.
//
// With `g = dy * gamma`, and means over the channel, the group or the position:
//
// `dx = rstd * (g - mean(g) - x_hat * mean(g * x_hat))`
//
// By running or given statistics dx is `rstd * g`. dgamma is the sum of `dy * x_hat` over a channel, dbeta that of dy. dy, x and
// the shape have to be there. What a function does not name has to be absent.
typedef struct evenkeel_channels_backward_args {
  size_t size;
  // The elements of the shape.
  struct evenkeel_input dy;
  // As many; it may be dy. Absent: only the other gradients are made.
  struct evenkeel_output dx;
  struct evenkeel_shape shape;
  // At least 0. Default: 1e-5. Given statistics have none.
  double eps;
  // NULL: the default.
  const struct evenkeel_execution *execution;
  // As dy: x of the forward pass.
  struct evenkeel_input x;
  // One a channel; absent: 1.
  struct evenkeel_input gamma;
  // One a channel, a group of every sample or a position, as the forward pass wrote it; absent: made again from x. `EVENKEEL_F64`,
  // or `EVENKEEL_F32` by way of a temporary, which makes `x_hat` less exact by up to 2^-24 * |mean| * rstd.
  struct evenkeel_input mean;
  // 1 / sqrt(var + eps), likewise, with mean.
  struct evenkeel_input rstd;
  // `evenkeel_batch_norm_inference_backward`: one a channel.
  struct evenkeel_input running_mean;
  // Likewise, at least 0.
  struct evenkeel_input running_var;
  // `evenkeel_batch_norm_backward_apply`: the sums of dy over the whole batch, one a channel; `EVENKEEL_F64`.
  struct evenkeel_input sum_dy;
  // Those of `dy * x_hat`, likewise.
  struct evenkeel_input sum_dy_x_hat;
  // Elements of a channel in the whole batch, likewise; else 0.
  uint64_t count;
  // `evenkeel_group_norm_backward`: a divisor of the channels. Default: 32. Others do not look at it.
  size_t groups;
  // One a channel, written; `EVENKEEL_F32` or `EVENKEEL_F64`.
  struct evenkeel_output dgamma;
  // Likewise.
  struct evenkeel_output dbeta;
  // At least as many doubles as `evenkeel_channels_backward_scratch_len` says; absent: allocated.
  struct evenkeel_output scratch;
  // Which rows or positions are data, as in `evenkeel_layer_norm_args`. Of the others dx is +0.0, and they add nothing to other
  // gradients.
  struct evenkeel_input valid;
  // 0 without lengths.
  size_t valid_steps;
  // `EVENKEEL_ADD_DGAMMA` and `EVENKEEL_ADD_DBETA`, each or 0.
  evenkeel_accumulate accumulate;
  // 0
  uint32_t reserved;
} evenkeel_channels_backward_args;

// How training updates the running statistics.
typedef uint32_t evenkeel_momentum;

// BatchNorm's training: every column of a matrix, or channel of samples, by its mean and population variance in the batch.
//
// `y = gamma * (x - mean) / sqrt(var + eps) + beta`
//
// x, y and the shape have to be there. Running statistics stay finite while the batches are: the call returns
// `EVENKEEL_STATISTIC_OVERFLOW` where a running variance would not be.
typedef struct evenkeel_batch_norm_training_args {
  size_t size;
  // The elements of the shape.
  struct evenkeel_input x;
  // As many; it may be x.
  struct evenkeel_output y;
  struct evenkeel_shape shape;
  // At least 0. Default: 1e-5.
  double eps;
  // NULL: the default.
  const struct evenkeel_execution *execution;
  // One a channel; absent: 1.
  struct evenkeel_input gamma;
  // One a channel; absent: 0.
  struct evenkeel_input beta;
  // Written, one a channel; `EVENKEEL_F64`, or `EVENKEEL_F32` by way of a temporary.
  struct evenkeel_output mean;
  // 1 / sqrt(var + eps), written likewise, where mean is.
  struct evenkeel_output rstd;
  // Updated, one a channel, where `running_var` is; start with 0.
  struct evenkeel_output running_mean;
  // Updated likewise; start with 1.
  struct evenkeel_output running_var;
  // From 0 to 1. Default: 0.9.
  double momentum;
  // `EVENKEEL_MOMENTUM_...`. Default: `EVENKEEL_MOMENTUM_KEEP`.
  evenkeel_momentum momentum_rule;
  // 1: the running variance follows the unbiased variance of the batch, M2 / (n - 1), as that of PyTorch and of TensorFlow 2's
  // fused kernel does. 0: M2 / n, as in Keras 3 and ONNX.
  uint32_t unbiased_running_var;
  // 1: a channel keeps its running statistics where the batch has a NaN or an infinity in it. 0: they become NaN.
  uint32_t skip_non_finite_updates;
  // 0
  uint32_t reserved;
  // How many batches came before this one, for `EVENKEEL_MOMENTUM_CUMULATIVE`.
  uint64_t batches;
  // At least as many doubles as `evenkeel_batch_norm_scratch_len` says; absent: allocated.
  struct evenkeel_output scratch;
  // Which rows or positions are data, as in `evenkeel_layer_norm_args`.
  struct evenkeel_input valid;
  // 0 without lengths.
  size_t valid_steps;
} evenkeel_batch_norm_training_args;

// The statistics of BatchNorm's training of a batch that is in several places: from the moments of all of it, one set a channel.
//
// It is the second of three steps. The first is `evenkeel_column_moments` in every place, and `evenkeel_column_moments_merge`. The
// third is `evenkeel_normalize_scale_shift` with mean and rstd, in every place. In one place, the three have the bits of
// `evenkeel_batch_norm_training`. moments have to be there. Runs on the calling thread.
typedef struct evenkeel_batch_norm_statistics_args {
  size_t size;
  // One a channel, all with one count.
  struct evenkeel_input moments;
  // At least 0. Default: 1e-5.
  double eps;
  // NULL: the default. A pool of the host is not used.
  const struct evenkeel_execution *execution;
  // Written, one a channel; `EVENKEEL_F64`, or `EVENKEEL_F32` by way of a temporary.
  struct evenkeel_output mean;
  // 1 / sqrt(var + eps), written likewise, where mean is.
  struct evenkeel_output rstd;
  // Updated, one a channel, where `running_var` is; start with 0.
  struct evenkeel_output running_mean;
  // Updated likewise; start with 1.
  struct evenkeel_output running_var;
  // From 0 to 1. Default: 0.9.
  double momentum;
  // `EVENKEEL_MOMENTUM_...`. Default: `EVENKEEL_MOMENTUM_KEEP`.
  evenkeel_momentum momentum_rule;
  // As in `evenkeel_batch_norm_training_args`.
  uint32_t unbiased_running_var;
  // Likewise.
  uint32_t skip_non_finite_updates;
  // 0
  uint32_t reserved;
  // How many batches came before this one, for `EVENKEEL_MOMENTUM_CUMULATIVE`.
  uint64_t batches;
} evenkeel_batch_norm_statistics_args;

// BatchNorm's inference: every column of a matrix, or channel of samples, by running statistics.
//
// `y = gamma * (x - running_mean) / sqrt(running_var + eps) + beta`
//
// x, y, the shape, `running_mean` and `running_var` have to be there.
typedef struct evenkeel_batch_norm_inference_args {
  size_t size;
  // The elements of the shape.
  struct evenkeel_input x;
  // As many; it may be x.
  struct evenkeel_output y;
  struct evenkeel_shape shape;
  // At least 0. Default: 1e-5.
  double eps;
  // NULL: the default.
  const struct evenkeel_execution *execution;
  // One a channel.
  struct evenkeel_input running_mean;
  // One a channel, at least 0.
  struct evenkeel_input running_var;
  // One a channel; absent: 1.
  struct evenkeel_input gamma;
  // One a channel; absent: 0.
  struct evenkeel_input beta;
  // Which rows or positions are data, as in `evenkeel_layer_norm_args`.
  struct evenkeel_input valid;
  // 0 without lengths.
  size_t valid_steps;
} evenkeel_batch_norm_inference_args;

// GroupNorm: every group of `channels / groups` channels of every sample by its own mean and population variance. InstanceNorm:
// every channel of every sample by its own.
//
// `y = gamma * (x - mean) / sqrt(var + eps) + beta`
//
// x, y and the shape, of samples, have to be there. There are no pitches.
typedef struct evenkeel_group_norm_args {
  size_t size;
  // The elements of the shape.
  struct evenkeel_input x;
  // As many; it may be x.
  struct evenkeel_output y;
  struct evenkeel_shape shape;
  // At least 0. Default: 1e-5.
  double eps;
  // NULL: the default.
  const struct evenkeel_execution *execution;
  // A divisor of the channels. Default: 32. InstanceNorm does not look at it.
  size_t groups;
  // One a channel; absent: 1.
  struct evenkeel_input gamma;
  // One a channel; absent: 0.
  struct evenkeel_input beta;
  // Written, one a group (InstanceNorm: channel) of every sample; `EVENKEEL_F64`, or `EVENKEEL_F32` by way of a temporary.
  struct evenkeel_output mean;
  // 1 / sqrt(var + eps), written likewise; it may be there without mean.
  struct evenkeel_output rstd;
  // At least as many doubles as `evenkeel_group_norm_scratch_len` says; absent: allocated.
  struct evenkeel_output scratch;
  // Which positions of all samples are data, as in `evenkeel_layer_norm_args`.
  struct evenkeel_input valid;
  // 0 without lengths.
  size_t valid_steps;
} evenkeel_group_norm_args;

// Dropout in training: y = x * scale where an element is kept, +0.0 where it is dropped. x and y have to be there.
//
// The scale of a mask that is drawn is 1 / (1 - realised p), as `evenkeel_dropout_rate` says. That of a given mask is 1 / (1 -
// p), whoever has drawn it. A mask that `keep_mask` has received is applied with its own scale if p is the realised p.
//
// What is kept is drawn from the stream of `seed`, whose element `offset` is that of `x[0]`; or `mask` says it. Never use the same
// elements of a stream for two things. In inference dropout is the identity, as it is with p = 0.
typedef struct evenkeel_dropout_args {
  size_t size;
  // In the backward pass, the gradient of y.
  struct evenkeel_input x;
  // As many elements; it may be x. In the backward pass, the gradient of x.
  struct evenkeel_output y;
  // The probability of dropping, from 0 to 1. Default: 0.5.
  double p;
  // NULL: the default.
  const struct evenkeel_execution *execution;
  // Names the stream.
  uint64_t seed;
  // The index of the first element.
  uint64_t offset;
  // What is kept, `EVENKEEL_BITS` or `EVENKEEL_BYTES`, a flag an element; absent: drawn.
  struct evenkeel_input mask;
  // The mask that is drawn, written likewise; it is absent where `mask` is there.
  struct evenkeel_output keep_mask;
  // Its rows, or its channels of each sample, are dropped as a whole, with one draw each, and masks have a flag for each: `DropPath`,
  // spatial dropout. All zeros: every element has a draw.
  struct evenkeel_shape shape;
} evenkeel_dropout_args;

// The mask that dropout draws. `mask` has to be there.
typedef struct evenkeel_dropout_mask_args {
  size_t size;
  // Written, `EVENKEEL_BITS` or `EVENKEEL_BYTES`, a flag for each of `count` elements.
  struct evenkeel_output mask;
  // The number of elements.
  size_t count;
  // The probability of dropping, from 0 to 1. Default: 0.5.
  double p;
  // NULL: the default. A pool of the host is not used.
  const struct evenkeel_execution *execution;
  // Names the stream.
  uint64_t seed;
  // The index of the first element.
  uint64_t offset;
} evenkeel_dropout_mask_args;

// The function of a gate.
typedef uint32_t evenkeel_gate_function;

// What is multiplied with the function of a gate.
typedef uint32_t evenkeel_gate_place;

// The backward pass of a norm of rows. What starts with d is the gradient of a loss by what the name goes on with.
//
// With `g = dy * gamma`, and means over the row:
//
// `dx = rstd * (g - mean(g) - x_hat * mean(g * x_hat)) + dsum`
//
// RmsNorm has no mean(g); by given statistics dx is `rstd * g + dsum`. dgamma is the sum over all rows of `dy * x_hat`, dbeta that
// of dy. With a gate after the norm, `dy * f(gate)` takes the place of dy; with one before it, `x * f(gate)` is what is normalised,
// and dx is what comes back for it, times f(gate). dy, x and the shape, a matrix, have to be there.
typedef struct evenkeel_norm_backward_args {
  size_t size;
  // The elements of the shape.
  struct evenkeel_input dy;
  // As many; it may be dy. Absent: only the other gradients are made.
  struct evenkeel_output dx;
  struct evenkeel_shape shape;
  // That of the forward pass, at least 0. Default: 1e-5. It does not count where rstd is passed, nor in
  // `evenkeel_normalize_scale_shift_backward`.
  double eps;
  // NULL: the default.
  const struct evenkeel_execution *execution;
  // As dy: x of the forward pass, or the sum that it wrote.
  struct evenkeel_input x;
  // One a column; absent: 1.
  struct evenkeel_input gamma;
  // One a row (or a group of it), as the forward pass wrote it; absent: made again from x. `RmsNorm` has none. `EVENKEEL_F64`, or `EVENKEEL_F32` by
  // way of a temporary, which makes `x_hat` less exact by up to 2^-24 * |mean| * rstd.
  struct evenkeel_input mean;
  // 1 / sqrt(var + eps), likewise. LayerNorm: with mean, or neither. RmsNorm: alone. `evenkeel_normalize_scale_shift_backward` needs
  // both.
  struct evenkeel_input rstd;
  // One a column, written; `EVENKEEL_F32` or `EVENKEEL_F64`.
  struct evenkeel_output dgamma;
  // Likewise.
  struct evenkeel_output dbeta;
  // As dy: the gradient of the sum that the forward pass wrote, added to dx.
  struct evenkeel_input dsum;
  // As dy: a second place for dx, the gradient of the residual. There has to be a first one.
  struct evenkeel_output dresidual;
  // At least as many doubles as `evenkeel_norm_backward_scratch_len` says; absent: allocated.
  struct evenkeel_output scratch;
  // Which rows are data, as in `evenkeel_layer_norm_args`. Of the others dx is +0.0, and they add nothing to other gradients.
  struct evenkeel_input valid;
  // 0 without lengths.
  size_t valid_steps;
  // `RmsNorm`: 1: 1 + gamma takes the place of gamma. 0: gamma.
  uint32_t one_plus_gamma;
  // Flags `EVENKEEL_ADD_...`, joined with `|`, or 0.
  evenkeel_accumulate accumulate;
  // One a column, of the forward pass: it counts where dgate is wanted of a gate after the norm. Absent: 0.
  struct evenkeel_input beta;
  // As dy: the gate of the forward pass. `evenkeel_normalize_scale_shift_backward` has none.
  struct evenkeel_input gate;
  // As dy: the gradient of the gate, which has to be there.
  struct evenkeel_output dgate;
  // RmsNorm: the group size of the forward pass. 0: the whole row.
  size_t group_size;
  // The function of the gate.
  evenkeel_gate_function gate_function;
  // What was multiplied with it.
  evenkeel_gate_place gate_place;
  // The forward pass's, with the seed and the offset, the rows and the mask that follow: dropout of dx, which dresidual does not see. 0 without `dropout_mask`: there is
  // no dropout.
  double dropout_p;
  // The stream that the mask is drawn again from, as in `evenkeel_dropout_args`: element `[r, c]` has the index offset + r * cols + c.
  uint64_t dropout_seed;
  uint64_t dropout_offset;
  // So many rows are dropped as a whole, with one draw; a divisor of the rows. 0: every element has a draw.
  size_t dropout_rows;
  // What is kept, `EVENKEEL_BITS` or `EVENKEEL_BYTES`, a flag an element (or for rows that are dropped as a whole); absent: drawn.
  struct evenkeel_input dropout_mask;
  // The gradient of the bias: one a column, the sum over all rows of dx, written; `EVENKEEL_F32` or `EVENKEEL_F64`. There has to be
  // a dx.
  struct evenkeel_output dbias;
} evenkeel_norm_backward_args;

// The moments of every row, or of the first elements of every row. x, moments and the shape, a matrix, have to be there.
typedef struct evenkeel_row_moments_args {
  size_t size;
  // The elements of the shape.
  struct evenkeel_input x;
  // Written, one a row.
  struct evenkeel_output moments;
  struct evenkeel_shape shape;
  // NULL: the default.
  const struct evenkeel_execution *execution;
  // One a row, `EVENKEEL_SIZE`: how many elements of it, the first ones, are data; absent: all.
  struct evenkeel_input lengths;
} evenkeel_row_moments_args;

// The moments of every column of a matrix, or of every channel of samples. x, moments and the shape have to be there.
typedef struct evenkeel_column_moments_args {
  size_t size;
  // The elements of the shape.
  struct evenkeel_input x;
  // Written, one a column or channel.
  struct evenkeel_output moments;
  struct evenkeel_shape shape;
  // NULL: the default.
  const struct evenkeel_execution *execution;
  // At least as many doubles as `evenkeel_column_moments_scratch_len` says; absent: allocated.
  struct evenkeel_output scratch;
  // Which rows are data, as in `evenkeel_layer_norm_args`.
  struct evenkeel_input valid;
  // 0 without lengths.
  size_t valid_steps;
} evenkeel_column_moments_args;

// The moments of a whole from those of its parts, one set a column of each. The result depends on the parts and on their order
// alone. Where each part but the last has the same power of two of blocks (`evenkeel_column_moments_block_rows`), and the last as many
// or fewer, it has the bits of `evenkeel_column_moments` of the whole. `mean_low` of the parts is not looked at. parts and moments
// have to be there. Runs on the calling thread.
typedef struct evenkeel_column_moments_merge_args {
  size_t size;
  // Those of the first part, then those of the second, and so on: each as many as moments.
  struct evenkeel_input parts;
  // Written, one a column.
  struct evenkeel_output moments;
  // NULL: the default. A pool of the host is not used.
  const struct evenkeel_execution *execution;
} evenkeel_column_moments_merge_args;

// Number, mean and sum of squared deviations of a set of values. All zeros is the empty set. The population variance is
// m2 / count, the sample variance m2 / (count - 1).
typedef struct evenkeel_moments {
  // The number of values.
  uint64_t count;
  // Their mean; 0 if there are none.
  double mean;
  // What rounding left of the mean.
  double mean_low;
  // The sum of their squared deviations from the mean.
  double m2;
} evenkeel_moments;

// The penalty l1 * (sum of |w|) + l2 / 2 * (sum of w^2), and its gradient l1 * sign(w) + l2 * w, in one pass; the sign of 0 is
// 0. w has to be there.
typedef struct evenkeel_penalty_args {
  size_t size;
  // The parameters.
  struct evenkeel_input w;
  // As many; the gradient is added to it. Absent: it is not wanted.
  struct evenkeel_output gradient;
  // One double, written. Absent: it is not wanted.
  struct evenkeel_output penalty;
  // At least 0.
  double l1;
  // At least 0.
  double l2;
  // NULL: the default. A pool of the host is not used.
  const struct evenkeel_execution *execution;
} evenkeel_penalty_args;

// Decoupled weight decay: y = x * (1 - `learning_rate` * l2). x and y have to be there.
typedef struct evenkeel_weight_decay_args {
  size_t size;
  // The parameters.
  struct evenkeel_input x;
  // As many; it may be x.
  struct evenkeel_output y;
  // At least 0.
  double l2;
  // At least 0.
  double learning_rate;
  // NULL: the default. A pool of the host is not used.
  const struct evenkeel_execution *execution;
} evenkeel_weight_decay_args;

// The proximal operator of step * penalty: y = soft(x, step * l1) / (1 + step * l2), where soft(x, t) is x - t above t,
// x + t below -t and 0 between. x and y have to be there.
typedef struct evenkeel_proximal_args {
  size_t size;
  // The parameters.
  struct evenkeel_input x;
  // As many; it may be x.
  struct evenkeel_output y;
  // At least 0.
  double l1;
  // At least 0.
  double l2;
  // At least 0.
  double step;
  // NULL: the default. A pool of the host is not used.
  const struct evenkeel_execution *execution;
} evenkeel_proximal_args;

// LayerNorm: every row by its own mean and population variance, or every position of samples over its channels.
//
// `s = dropout(x + x_bias) + residual`,
// `y = (gamma * (s - mean) / sqrt(var + eps) + beta) * f(gate) + plus`
//
// x, y and the shape have to be there. With channels that come first there are no pitches, and no `x_bias`, dropout, residual, sum,
// gate and plus.
typedef struct evenkeel_layer_norm_args {
  size_t size;
  // The elements of the shape.
  struct evenkeel_input x;
  // As many; it may be x.
  struct evenkeel_output y;
  struct evenkeel_shape shape;
  // At least 0. Default: 1e-5.
  double eps;
  // NULL: the default.
  const struct evenkeel_execution *execution;
  // One a column or channel; absent: 1.
  struct evenkeel_input gamma;
  // One a column or channel; absent: 0.
  struct evenkeel_input beta;
  // Written, one a row or position; `EVENKEEL_F64`, or `EVENKEEL_F32` by way of a temporary.
  struct evenkeel_output mean;
  // 1 / sqrt(var + eps), written likewise; it may be there without mean.
  struct evenkeel_output rstd;
  // One a column, added to x: the bias of the layer before. That of the norm is beta.
  struct evenkeel_input x_bias;
  // As x, added to x.
  struct evenkeel_input residual;
  // As x: where s is written. It may be residual, which becomes s then. There is no sum without `x_bias`, dropout or a residual.
  struct evenkeel_output sum;
  // As x: the result, or x, is multiplied with a function of the gate.
  struct evenkeel_input gate;
  // As x, added to the result.
  struct evenkeel_input plus;
  // Which rows or positions are data: `EVENKEEL_BITS` or `EVENKEEL_BYTES`, a flag each; or `EVENKEEL_SIZE`, the number of data
  // at the start of every sample of `valid_steps` rows. The others are padding: their y is +0.0, their statistics are 0.
  struct evenkeel_input valid;
  // 0 without lengths.
  size_t valid_steps;
  // The function of the gate.
  evenkeel_gate_function gate_function;
  // What is multiplied with it.
  evenkeel_gate_place gate_place;
  // The probability of dropping an element of x + bias, from 0 to 1, before the residual is added. 0 without `dropout_mask`: there is
  // no dropout.
  double dropout_p;
  // The stream that the mask is drawn from, as in `evenkeel_dropout_args`: element `[r, c]` has the index offset + r * cols + c.
  uint64_t dropout_seed;
  uint64_t dropout_offset;
  // So many rows are dropped as a whole, with one draw; a divisor of the rows. 0: every element has a draw.
  size_t dropout_rows;
  // What is kept, `EVENKEEL_BITS` or `EVENKEEL_BYTES`, a flag an element (or for rows that are dropped as a whole); absent: drawn.
  struct evenkeel_input dropout_mask;
  // The mask that is drawn, written likewise; it is absent where `dropout_mask` is there.
  struct evenkeel_output keep_mask;
} evenkeel_layer_norm_args;

// RmsNorm: every row divided by its root mean square.
//
// `s = dropout(x + x_bias) + residual`,
// `y = (gamma * s / sqrt(mean(s^2) + eps) + beta) * f(gate) + plus`
//
// x, y and the shape, a matrix, have to be there.
typedef struct evenkeel_rms_norm_args {
  size_t size;
  // The elements of the shape.
  struct evenkeel_input x;
  // As many; it may be x.
  struct evenkeel_output y;
  struct evenkeel_shape shape;
  // At least 0. Default: 1e-5.
  double eps;
  // NULL: the default.
  const struct evenkeel_execution *execution;
  // One a column; absent: 1.
  struct evenkeel_input gamma;
  // One a column; absent: 0.
  struct evenkeel_input beta;
  // 1 / sqrt(mean(s^2) + eps), written, one a row; `EVENKEEL_F64`, or `EVENKEEL_F32` by way of a temporary.
  struct evenkeel_output rstd;
  // 1: 1 + gamma takes the place of gamma, as in the models of the Gemma family. 0: gamma.
  uint32_t one_plus_gamma;
  // 0
  uint32_t reserved;
  // One a column, added to x: the bias of the layer before. That of the norm is beta.
  struct evenkeel_input x_bias;
  // As x, added to x.
  struct evenkeel_input residual;
  // As x: where s is written. It may be residual, which becomes s then. There is no sum without `x_bias`, dropout or a residual.
  struct evenkeel_output sum;
  // As x: the result, or x, is multiplied with a function of the gate.
  struct evenkeel_input gate;
  // As x, added to the result.
  struct evenkeel_input plus;
  // Which rows are data, as in `evenkeel_layer_norm_args`.
  struct evenkeel_input valid;
  // 0 without lengths.
  size_t valid_steps;
  // The function of the gate.
  evenkeel_gate_function gate_function;
  // What is multiplied with it.
  evenkeel_gate_place gate_place;
  // Every so many elements of a row are normalised by themselves, as Mamba-2 does with several groups; a divisor of the columns.
  // rstd has one a group then. 0: the whole row.
  size_t group_size;
  // The probability of dropping an element of x + bias, from 0 to 1, before the residual is added. 0 without `dropout_mask`: there is
  // no dropout.
  double dropout_p;
  // The stream that the mask is drawn from, as in `evenkeel_dropout_args`: element `[r, c]` has the index offset + r * cols + c.
  uint64_t dropout_seed;
  uint64_t dropout_offset;
  // So many rows are dropped as a whole, with one draw; a divisor of the rows. 0: every element has a draw.
  size_t dropout_rows;
  // What is kept, `EVENKEEL_BITS` or `EVENKEEL_BYTES`, a flag an element (or for rows that are dropped as a whole); absent: drawn.
  struct evenkeel_input dropout_mask;
  // The mask that is drawn, written likewise; it is absent where `dropout_mask` is there.
  struct evenkeel_output keep_mask;
} evenkeel_rms_norm_args;

// Whose statistics are given.
typedef uint32_t evenkeel_statistics_of;

// Normalise, scale and shift by statistics that the caller has.
//
// `y = gamma * (x - mean) * rstd + beta`
//
// x, y, the shape, mean, rstd and what they are of have to be there. With the statistics as doubles that
// `evenkeel_batch_norm_training` writes, y has the bits of its y, in every layout. Statistics as floats are off by up to
// 2^-24 * |mean| * rstd.
typedef struct evenkeel_normalize_scale_shift_args {
  size_t size;
  // The elements of the shape.
  struct evenkeel_input x;
  // As many; it may be x.
  struct evenkeel_output y;
  struct evenkeel_shape shape;
  // NULL: the default.
  const struct evenkeel_execution *execution;
  // `EVENKEEL_OF_ROWS` (of a matrix) or `EVENKEEL_OF_COLUMNS`
  evenkeel_statistics_of statistics_of;
  // 0
  uint32_t reserved;
  // `EVENKEEL_F64`, or `EVENKEEL_F32` by way of a temporary.
  struct evenkeel_input mean;
  // 1 / sqrt(var + eps), likewise.
  struct evenkeel_input rstd;
  // One a column or channel; absent: 1.
  struct evenkeel_input gamma;
  // One a column or channel; absent: 0.
  struct evenkeel_input beta;
  // Which rows or positions are data, as in `evenkeel_layer_norm_args`.
  struct evenkeel_input valid;
  // 0 without lengths.
  size_t valid_steps;
} evenkeel_normalize_scale_shift_args;

// The kind of a scaler.
typedef uint32_t evenkeel_scaler;

// What a state is of. What does not belong to its kind is 0.
typedef struct evenkeel_scaler_info {
  size_t features;
  // `EVENKEEL_STANDARD_SCALER` or `EVENKEEL_MIN_MAX_SCALER`
  evenkeel_scaler scaler;
  // As in `evenkeel_standard_scaler_transform_args`.
  uint32_t with_mean;
  // Likewise.
  uint32_t with_std;
  // As in `evenkeel_min_max_scaler_transform_args`.
  uint32_t clip;
  // Likewise.
  double range_min;
  // Likewise.
  double range_max;
} evenkeel_scaler_info;

// The arguments of `evenkeel_scaler_state_info`: both have to be there.
typedef struct evenkeel_scaler_state_info_args {
  size_t size;
  // The state, `EVENKEEL_BYTES`.
  struct evenkeel_input bytes;
  // Written.
  struct evenkeel_scaler_info *info;
} evenkeel_scaler_state_info_args;

// The state of a standard scaler, from what it has learnt and its settings. moments and bytes have to be there. A call allocates a
// temporary as large as bytes.
typedef struct evenkeel_standard_scaler_to_bytes_args {
  size_t size;
  // One a column.
  struct evenkeel_input moments;
  // As in `evenkeel_standard_scaler_partial_fit_args`; absent: zeros.
  struct evenkeel_input m2_low;
  // Written, 32 bytes and 40 a column; `EVENKEEL_BYTES`.
  struct evenkeel_output bytes;
  // As in `evenkeel_standard_scaler_transform_args`. Default: 1.
  uint32_t with_mean;
  // Likewise.
  uint32_t with_std;
} evenkeel_standard_scaler_to_bytes_args;

// What a standard scaler has learnt, from its state. bytes and moments have to be there. `evenkeel_scaler_state_info` tells how many
// columns there are, and the settings.
typedef struct evenkeel_standard_scaler_from_bytes_args {
  size_t size;
  // The state, `EVENKEEL_BYTES`.
  struct evenkeel_input bytes;
  // Written, one a column.
  struct evenkeel_output moments;
  // Written, as in `evenkeel_standard_scaler_partial_fit_args`; absent: it is lost.
  struct evenkeel_output m2_low;
} evenkeel_standard_scaler_from_bytes_args;

// The state of a min-max scaler, from what it has learnt and its settings. `data_min`, `data_max` and bytes have to be there. A call
// allocates a temporary as large as bytes.
typedef struct evenkeel_min_max_scaler_to_bytes_args {
  size_t size;
  // One a column.
  struct evenkeel_input data_min;
  // One a column.
  struct evenkeel_input data_max;
  // Written, 48 bytes and 8 a column; `EVENKEEL_BYTES`.
  struct evenkeel_output bytes;
  // As in `evenkeel_min_max_scaler_transform_args`. Default: 0.
  double range_min;
  // Likewise. Default: 1.
  double range_max;
  // Likewise. Default: 0.
  uint32_t clip;
  // 0
  uint32_t reserved;
} evenkeel_min_max_scaler_to_bytes_args;

// What a min-max scaler has learnt, from its state. All have to be there.
typedef struct evenkeel_min_max_scaler_from_bytes_args {
  size_t size;
  // The state, `EVENKEEL_BYTES`.
  struct evenkeel_input bytes;
  // Written, one a column.
  struct evenkeel_output data_min;
  // Written, one a column.
  struct evenkeel_output data_max;
} evenkeel_min_max_scaler_from_bytes_args;

// What a standard scaler learns of the samples of x: number, mean and sum of squared deviations of every column. NaN are not
// counted; no rows change nothing. x, the shape, a matrix, and moments have to be there. A call allocates a temporary of about
// 40 bytes a column, sixteen times as much where tasks may share the work.
typedef struct evenkeel_standard_scaler_partial_fit_args {
  size_t size;
  // The elements of the shape.
  struct evenkeel_input x;
  struct evenkeel_shape shape;
  // Updated, one a column; start with all zeros.
  struct evenkeel_output moments;
  // Updated, one double a column: what rounding left of every m2; start with zeros. With it, the error does not grow with the
  // number of batches.
  struct evenkeel_output m2_low;
  // NULL: the default. A pool of the host is not used.
  const struct evenkeel_execution *execution;
} evenkeel_standard_scaler_partial_fit_args;

// What another standard scaler has learnt is added to what one has: afterwards it has seen the samples of both. moments and
// other have to be there, and what is there is as long as moments. Runs on the calling thread.
typedef struct evenkeel_standard_scaler_merge_args {
  size_t size;
  // Updated.
  struct evenkeel_output moments;
  // Updated, as in `evenkeel_standard_scaler_partial_fit_args`.
  struct evenkeel_output m2_low;
  // The moments of the other.
  struct evenkeel_input other;
  // The `m2_low` of the other.
  struct evenkeel_input other_m2_low;
  // NULL: the default.
  const struct evenkeel_execution *execution;
} evenkeel_standard_scaler_merge_args;

// Standardises every column by what a standard scaler has learnt: y = (x - mean) / scale, where scale is the population standard
// deviation, 1 of a constant column. A column without a number becomes NaN; if there are elements and there is no number at all,
// the call returns `EVENKEEL_NOT_FITTED`. x, y, the shape, a matrix, and moments have to be there. A call allocates a temporary
// of 16 bytes a column.
typedef struct evenkeel_standard_scaler_transform_args {
  size_t size;
  // The elements of the shape.
  struct evenkeel_input x;
  // As many; it may be x.
  struct evenkeel_output y;
  struct evenkeel_shape shape;
  // One a column.
  struct evenkeel_input moments;
  // 0: mean is taken as 0. Default: 1.
  uint32_t with_mean;
  // 0: scale is taken as 1. Default: 1.
  uint32_t with_std;
  // 1: the way back, y = x * scale + mean. 0: the way there.
  uint32_t inverse;
  // 0
  uint32_t reserved;
  // NULL: the default. A pool of the host is not used.
  const struct evenkeel_execution *execution;
} evenkeel_standard_scaler_transform_args;

// The mean of every column, which a standard scaler subtracts, and its scale, by which it divides. Both are NaN where no number
// has been seen. moments have to be there. Runs on the calling thread.
typedef struct evenkeel_standard_scaler_statistics_args {
  size_t size;
  // One a column.
  struct evenkeel_input moments;
  // Written, one double a column. Absent: it is not wanted.
  struct evenkeel_output mean;
  // Written likewise.
  struct evenkeel_output scale;
} evenkeel_standard_scaler_statistics_args;

// What a min-max scaler learns of the samples of x: the least and the greatest value of every column. NaN are ignored; no rows
// change nothing. All but execution have to be there. A call allocates a temporary of about 8 bytes a column, sixteen times as
// much where tasks may share the work.
typedef struct evenkeel_min_max_scaler_partial_fit_args {
  size_t size;
  // The elements of the shape.
  struct evenkeel_input x;
  struct evenkeel_shape shape;
  // Updated, one a column; start with INFINITY.
  struct evenkeel_output data_min;
  // Updated, one a column; start with -INFINITY.
  struct evenkeel_output data_max;
  // NULL: the default. A pool of the host is not used.
  const struct evenkeel_execution *execution;
} evenkeel_min_max_scaler_partial_fit_args;

// What another min-max scaler has learnt is added to what one has: afterwards it has seen the samples of both. All have to be
// there, and are equally long. Runs on the calling thread.
typedef struct evenkeel_min_max_scaler_merge_args {
  size_t size;
  // Updated.
  struct evenkeel_output data_min;
  // Updated.
  struct evenkeel_output data_max;
  // The `data_min` of the other.
  struct evenkeel_input other_min;
  // The `data_max` of the other.
  struct evenkeel_input other_max;
} evenkeel_min_max_scaler_merge_args;

// Maps every column from the range that a min-max scaler has learnt to that from `range_min` to `range_max`:
//
// `y = (x - data_min) * (range_max - range_min) / (data_max - data_min) + range_min`
//
// A constant column has 1 for `data_max` - `data_min`. A column without a number becomes NaN; if there are elements and there is
// no number at all, the call returns `EVENKEEL_NOT_FITTED`. x, y, the shape, a matrix, `data_min` and `data_max` have to be
// there.
typedef struct evenkeel_min_max_scaler_transform_args {
  size_t size;
  // The elements of the shape.
  struct evenkeel_input x;
  // As many; it may be x.
  struct evenkeel_output y;
  struct evenkeel_shape shape;
  // One a column.
  struct evenkeel_input data_min;
  // One a column.
  struct evenkeel_input data_max;
  // Less than `range_max`, finite as float. Default: 0.
  double range_min;
  // Finite as float. Default: 1.
  double range_max;
  // 1: what would be outside of the range becomes its nearest end. 0: it is outside.
  uint32_t clip;
  // 1: the way back, never clipped, from the range to the data. 0: the way there.
  uint32_t inverse;
  // NULL: the default. A pool of the host is not used.
  const struct evenkeel_execution *execution;
} evenkeel_min_max_scaler_transform_args;

// What the length of a row is.
typedef uint32_t evenkeel_norm;

// Divides every row by its norm: y = x / norm. A row of zeros stays one. x, y and the shape, a matrix, have to be there.
typedef struct evenkeel_normalizer_args {
  size_t size;
  // The elements of the shape.
  struct evenkeel_input x;
  // As many; it may be x.
  struct evenkeel_output y;
  struct evenkeel_shape shape;
  // `EVENKEEL_NORM_...`. Default: `EVENKEEL_NORM_L2`.
  evenkeel_norm norm;
  // 0
  uint32_t reserved;
  // NULL: the default. A pool of the host is not used.
  const struct evenkeel_execution *execution;
} evenkeel_normalizer_args;

// The fastest that this CPU has.
#define EVENKEEL_BACKEND_DETECT 0

// What the library was compiled for: SSE2, NEON.
#define EVENKEEL_BACKEND_PORTABLE 1

// AVX2 and FMA.
#define EVENKEEL_BACKEND_AVX2 2

// AVX-512 F, BW, DQ and VL.
#define EVENKEEL_BACKEND_AVX512 3

// `running = momentum * running + (1 - momentum) * batch`: Keras 3, ONNX.
#define EVENKEEL_MOMENTUM_KEEP 1

// `running = (1 - momentum) * running + momentum * batch`: PyTorch.
#define EVENKEEL_MOMENTUM_PYTORCH 2

// `running += (batch - running) / (batches + 1)`: PyTorch where its momentum is None. `momentum` is not looked at.
#define EVENKEEL_MOMENTUM_CUMULATIVE 3

// None: the buffer is absent, and all its members are 0.
#define EVENKEEL_NONE 0

// float
#define EVENKEEL_F32 1

// double
#define EVENKEEL_F64 2

// bfloat16: the upper 16 bits of a float, in a `uint16_t`.
#define EVENKEEL_BF16 3

// IEEE 754 binary16: `_Float16`, or its bits in a `uint16_t`.
#define EVENKEEL_F16 4

// `uint8_t`, eight flags in each, the least significant bit first: len counts bytes. Bits beyond the last flag are written as 0
// and not looked at.
#define EVENKEEL_BITS 8

// `uint8_t`, a flag in each, which is not 0 where it is set, and written as 0 or 1; or the bytes of a scaler's state.
#define EVENKEEL_BYTES 9

// `size_t`
#define EVENKEEL_SIZE 10

// `evenkeel_moments`
#define EVENKEEL_MOMENTS 11

// By non-temporal stores where the output is large.
#define EVENKEEL_STORES_AUTO 0

// By ordinary stores: where the output is read again soon.
#define EVENKEEL_STORES_CACHED 1

// By non-temporal stores: where it is not.
#define EVENKEEL_STORES_NON_TEMPORAL 2

// Round to nearest, subnormal numbers are numbers like any other. The control word of the calling thread is restored after the
// call. The bits are the same in every host.
#define EVENKEEL_ENVIRONMENT_DEFAULT 0

// That of the calling thread, in every task: a host that flushes subnormal numbers (FTZ, DAZ) keeps the speed that it gains by
// that. Exceptions do not trap. Bits are not promised, and errors are bounded where rounding is to nearest: the bounds hold for
// inputs as they are read, plus 2^-126.
#define EVENKEEL_ENVIRONMENT_HOST 1

#define EVENKEEL_ADD_DGAMMA 1

#define EVENKEEL_ADD_DBETA 2

#define EVENKEEL_ADD_DRESIDUAL 4

#define EVENKEEL_ADD_DGATE 8

#define EVENKEEL_ADD_DBIAS 16

// silu(z) = z / (1 + exp(-z)), also called swish: Mamba-2, Nemotron-H, Zamba2, Gated `DeltaNet`, Qwen3-Next. The default.
#define EVENKEEL_GATE_SILU 0

// sigmoid(z) = 1 / (1 + exp(-z)): Kimi Linear.
#define EVENKEEL_GATE_SIGMOID 1

// The result, gamma and beta in it: Gated `DeltaNet`, Qwen3-Next, Kimi Linear. The default.
#define EVENKEEL_GATE_AFTER_NORM 0

// x, before its statistics: Mamba-2 by default, Nemotron-H, Zamba2.
#define EVENKEEL_GATE_BEFORE_NORM 1

// Of rows: one of each a row.
#define EVENKEEL_OF_ROWS 1

// Of columns or channels: one of each a column or channel.
#define EVENKEEL_OF_COLUMNS 2

// A standard scaler. Its state has 32 bytes and 40 a column.
#define EVENKEEL_STANDARD_SCALER 1

// A min-max scaler. Its state has 48 bytes and 8 a column.
#define EVENKEEL_MIN_MAX_SCALER 2

// The sum of absolute values.
#define EVENKEEL_NORM_L1 1

// The root of the sum of squares.
#define EVENKEEL_NORM_L2 2

// The largest absolute value.
#define EVENKEEL_NORM_MAX 3

// A matrix [rows, cols].
#define EVENKEEL_ROWS 1

// Samples [batch, channels, positions], NCHW.
#define EVENKEEL_CHANNELS_FIRST 2

// Samples [batch, positions, channels], NHWC.
#define EVENKEEL_CHANNELS_LAST 3

// Done.
#define EVENKEEL_OK 0

// A pointer is NULL, or a member absent, that has to be there.
#define EVENKEEL_NULL_POINTER 1

// A buffer does not begin at a multiple of its element's size.
#define EVENKEEL_MISALIGNED 2

// An output shares memory with another buffer and is not exactly in place.
#define EVENKEEL_OVERLAP 3

// A buffer has the wrong number of elements.
#define EVENKEEL_LENGTH 4

// The elements of a shape, or the bytes of a buffer, are more than memory has addresses.
#define EVENKEEL_SHAPE_OVERFLOW 5

// A parameter is outside its domain.
#define EVENKEEL_PARAMETER 6

// There are too few rows for a statistic.
#define EVENKEEL_TOO_FEW_ROWS 7

// A range of a random stream ends beyond its 2^64 elements.
#define EVENKEEL_STREAM_OVERFLOW 8

// A number or a name that means no option, or a reserved member that is not 0.
#define EVENKEEL_UNKNOWN_OPTION 9

// The backend exists, but this CPU or this build does not have it.
#define EVENKEEL_UNAVAILABLE_BACKEND 10

// A temporary could not be allocated. GroupNorm and InstanceNorm with padding may have written samples of y.
#define EVENKEEL_OUT_OF_MEMORY 11

// A bug of this library was caught; outputs may have been written in part.
#define EVENKEEL_PANIC 12

// A scaler that has seen no number was to transform.
#define EVENKEEL_NOT_FITTED 13

// The operation does not take an argument or a pitch, or not with this shape.
#define EVENKEEL_UNSUPPORTED 14

// A buffer has no dtype, or one that the operation does not take there.
#define EVENKEEL_TYPE 15

// The size of a structure is none that this version of the library knows, or it has members that this version lacks.
#define EVENKEEL_STRUCT_SIZE 16

// A running variance would not be finite as float after this batch, which is finite.
#define EVENKEEL_STATISTIC_OVERFLOW 17

// Bytes are not the state of a scaler.
#define EVENKEEL_FORMAT 18

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the library: 10000 * major + 100 * minor + patch, as `EVENKEEL_VERSION` is that of the header.
uint32_t evenkeel_version(void);

// The version of the library as text: `0.1.0`.
const char *evenkeel_version_text(void);

// The properties of a backend on this CPU, `EVENKEEL_BACKEND_AVAILABLE` and `EVENKEEL_BACKEND_FUSED` added. 0: this CPU lacks
// it, or there is no such number.
uint32_t evenkeel_backend_properties(evenkeel_backend backend);

// The name of a backend: `portable`, `avx2`, `avx512`; of `EVENKEEL_BACKEND_DETECT` that of the fastest that this CPU has. NULL
// if there is no such number.
const char *evenkeel_backend_name(evenkeel_backend backend);

// Writes the backend of a name, as `evenkeel_backend_name` gives it or `detect`, to `backend`. `EVENKEEL_UNKNOWN_OPTION` if
// there is none, `EVENKEEL_UNAVAILABLE_BACKEND` if this CPU does not have it.
//
// # Safety
//
// `name` is NULL or a C string, `backend` NULL or writable.
evenkeel_status evenkeel_backend_by_name(const char *name,
                                         evenkeel_backend *backend);

// Backward of BatchNorm in training: of a matrix, or of samples of channels. Without dx it is the first of two steps, whose dbeta
// and dgamma are the sums that `evenkeel_batch_norm_backward_apply` takes.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_batch_norm_backward(const struct evenkeel_channels_backward_args *args);

// dx of BatchNorm in training, of a batch that is in several places: from the sums and the count of all of them. mean and rstd,
// those of the whole batch, have to be there, and `sum_dy`, `sum_dy_x_hat` and `count`.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_batch_norm_backward_apply(const struct evenkeel_channels_backward_args *args);

// Backward of BatchNorm in inference, whose running statistics are constants. `running_mean` and `running_var` have to be there.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_batch_norm_inference_backward(const struct evenkeel_channels_backward_args *args);

// Backward of GroupNorm.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_group_norm_backward(const struct evenkeel_channels_backward_args *args);

// Backward of InstanceNorm.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_instance_norm_backward(const struct evenkeel_channels_backward_args *args);

// Backward of LayerNorm over the channels of each position. That of a matrix is `evenkeel_layer_norm_backward`.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_layer_norm_channels_backward(const struct evenkeel_channels_backward_args *args);

// Backward of `evenkeel_normalize_scale_shift` by statistics of columns or channels, which are constants. mean and rstd have to be
// there.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_normalize_scale_shift_columns_backward(const struct evenkeel_channels_backward_args *args);

// Writes to `scratch_len` how many doubles of scratch are enough for every function that takes these arguments, of which the shape
// and the execution count.
//
// # Safety
//
// `args` points to a structure as this header describes it. `scratch_len` is NULL or writable.
evenkeel_status evenkeel_channels_backward_scratch_len(const struct evenkeel_channels_backward_args *args,
                                                       size_t *scratch_len);

// BatchNorm in training.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_batch_norm_training(const struct evenkeel_batch_norm_training_args *args);

// The statistics of BatchNorm's training, from the moments of a whole batch.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_batch_norm_statistics(const struct evenkeel_batch_norm_statistics_args *args);

// Writes to `scratch_len` how many doubles of scratch `evenkeel_batch_norm_training` uses for these arguments, of which the
// shape and the execution count.
//
// # Safety
//
// `args` points to a structure as this header describes it. `scratch_len` is NULL or writable.
evenkeel_status evenkeel_batch_norm_scratch_len(const struct evenkeel_batch_norm_training_args *args,
                                                size_t *scratch_len);

// BatchNorm in inference.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_batch_norm_inference(const struct evenkeel_batch_norm_inference_args *args);

// GroupNorm.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_group_norm(const struct evenkeel_group_norm_args *args);

// InstanceNorm: GroupNorm with a group for each channel, bit for bit.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_instance_norm(const struct evenkeel_group_norm_args *args);

// Writes to `scratch_len` how many doubles of scratch `evenkeel_group_norm` and `evenkeel_instance_norm` use for these
// arguments, of which the shape and the execution count.
//
// # Safety
//
// `args` points to a structure as this header describes it. `scratch_len` is NULL or writable.
evenkeel_status evenkeel_group_norm_scratch_len(const struct evenkeel_group_norm_args *args,
                                                size_t *scratch_len);

// Dropout in training, or with p = 0 a copy.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_dropout(const struct evenkeel_dropout_args *args);

// The backward pass of dropout: the gradient of x from that of y, with the `mask` of the forward pass, or with its seed and
// offset, from which the mask is drawn again. The scale of a given mask is 1 / (1 - p).
//
// # Safety
//
// As `evenkeel_dropout`.
evenkeel_status evenkeel_dropout_backward(const struct evenkeel_dropout_args *args);

// The mask of dropout alone.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_dropout_mask(const struct evenkeel_dropout_mask_args *args);

// Writes to `realised_p` the probability that the random integers realise, p rounded to a multiple of 2^-16 or 2^-32; and to
// `scale` what kept elements are multiplied by where the mask is drawn, 1 / (1 - realised p), and 0 where p is 1. What is not
// wanted is NULL.
//
// # Safety
//
// Both are NULL or writable.
evenkeel_status evenkeel_dropout_rate(double p,
                                      double *realised_p,
                                      float *scale);

// Backward of LayerNorm.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_layer_norm_backward(const struct evenkeel_norm_backward_args *args);

// Backward of RmsNorm.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_rms_norm_backward(const struct evenkeel_norm_backward_args *args);

// Backward of `evenkeel_normalize_scale_shift` by statistics of rows, which are constants.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_normalize_scale_shift_backward(const struct evenkeel_norm_backward_args *args);

// Writes to `scratch_len` how many doubles of scratch the backward pass of a norm uses for these arguments, of which the shape
// counts.
//
// # Safety
//
// `args` points to a structure as this header describes it. `scratch_len` is NULL or writable.
evenkeel_status evenkeel_norm_backward_scratch_len(const struct evenkeel_norm_backward_args *args,
                                                   size_t *scratch_len);

// The moments of rows.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_row_moments(const struct evenkeel_row_moments_args *args);

// The moments of columns.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_column_moments(const struct evenkeel_column_moments_args *args);

// Writes to `scratch_len` how many doubles of scratch `evenkeel_column_moments` uses for these arguments, of which the shape and
// the execution count.
//
// # Safety
//
// `args` points to a structure as this header describes it. `scratch_len` is NULL or writable.
evenkeel_status evenkeel_column_moments_scratch_len(const struct evenkeel_column_moments_args *args,
                                                    size_t *scratch_len);

// The moments of a whole from those of its parts.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_column_moments_merge(const struct evenkeel_column_moments_merge_args *args);

// Rows of a block of a matrix of so many columns: where parts of a matrix begin at multiples of it, their blocks are those of the
// whole.
size_t evenkeel_column_moments_block_rows(size_t cols);

// Adds the values of `other` to `into`: the merge of Chan, Golub and LeVeque. `other` may be `into`.
//
// # Safety
//
// `into` is NULL or readable and writable, `other` NULL or readable.
evenkeel_status evenkeel_moments_merge(struct evenkeel_moments *into,
                                       const struct evenkeel_moments *other);

// Adds every value of `x` to `into`. Runs on the calling thread.
//
// # Safety
//
// `into` is NULL or readable and writable; `x` is NULL or points to an input as this header describes it.
evenkeel_status evenkeel_moments_extend(struct evenkeel_moments *into,
                                        const struct evenkeel_input *x);

// The L1 and L2 penalty of parameters, and its gradient.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_penalty(const struct evenkeel_penalty_args *args);

// Decoupled weight decay.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_weight_decay(const struct evenkeel_weight_decay_args *args);

// The proximal operator of the penalty.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_proximal(const struct evenkeel_proximal_args *args);

// LayerNorm.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_layer_norm(const struct evenkeel_layer_norm_args *args);

// RmsNorm.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_rms_norm(const struct evenkeel_rms_norm_args *args);

// Normalise, scale and shift.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_normalize_scale_shift(const struct evenkeel_normalize_scale_shift_args *args);

// Checks the header and the length of a state, and writes what it is of.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_scaler_state_info(const struct evenkeel_scaler_state_info_args *args);

// The state of a standard scaler as bytes.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_standard_scaler_to_bytes(const struct evenkeel_standard_scaler_to_bytes_args *args);

// A standard scaler from its state.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_standard_scaler_from_bytes(const struct evenkeel_standard_scaler_from_bytes_args *args);

// The state of a min-max scaler as bytes.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_min_max_scaler_to_bytes(const struct evenkeel_min_max_scaler_to_bytes_args *args);

// A min-max scaler from its state.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_min_max_scaler_from_bytes(const struct evenkeel_min_max_scaler_from_bytes_args *args);

// A standard scaler learns from samples.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_standard_scaler_partial_fit(const struct evenkeel_standard_scaler_partial_fit_args *args);

// A standard scaler learns what another has learnt.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_standard_scaler_merge(const struct evenkeel_standard_scaler_merge_args *args);

// Standardises samples, or goes the way back.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_standard_scaler_transform(const struct evenkeel_standard_scaler_transform_args *args);

// Mean and scale of what a standard scaler has learnt.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_standard_scaler_statistics(const struct evenkeel_standard_scaler_statistics_args *args);

// A min-max scaler learns from samples.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_min_max_scaler_partial_fit(const struct evenkeel_min_max_scaler_partial_fit_args *args);

// A min-max scaler learns what another has learnt.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_min_max_scaler_merge(const struct evenkeel_min_max_scaler_merge_args *args);

// Maps samples to a range, or goes the way back.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_min_max_scaler_transform(const struct evenkeel_min_max_scaler_transform_args *args);

// Divides rows by their norms.
//
// # Safety
//
// `args` points to a structure as this header describes it.
evenkeel_status evenkeel_normalizer(const struct evenkeel_normalizer_args *args);

// A name for a status.
const char *evenkeel_status_text(evenkeel_status status);

// What the last call of this thread that did not return `EVENKEEL_OK` complained of, in full: the member, what was
// expected and what came. Empty if there was none. The text lives until the next such call of this thread.
const char *evenkeel_last_error_message(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* EVENKEEL_H */

/* A buffer of contiguous elements: initialises an evenkeel_input or an evenkeel_output. */
#define EVENKEEL_BUFFER(dtype, data, len) {(data), (len), 0, 0, (dtype), 0}

/* The same with rows that begin every so many elements. */
#define EVENKEEL_PITCHED(dtype, data, len, pitch) {(data), (len), (pitch), 0, (dtype), 0}

/* The same with a second stride: of every inner_rows rows, the first begins outer_pitch elements after the first before it. */
#define EVENKEEL_NESTED(dtype, data, len, inner_rows, pitch, outer_pitch) \
  {(data), (len), (pitch), (outer_pitch), (dtype), (inner_rows)}

/* No buffer. */
#define EVENKEEL_ABSENT {0, 0, 0, 0, 0, 0}

/* Each initialises an evenkeel_shape. */
#define EVENKEEL_SHAPE_ROWS(rows, cols) {EVENKEEL_ROWS, 0, (rows), (cols), 0, 0, 0}
#define EVENKEEL_SHAPE_CHANNELS_FIRST(batch, channels, positions) \
  {EVENKEEL_CHANNELS_FIRST, 0, 0, 0, (batch), (channels), (positions)}
#define EVENKEEL_SHAPE_CHANNELS_LAST(batch, positions, channels) \
  {EVENKEEL_CHANNELS_LAST, 0, 0, 0, (batch), (channels), (positions)}
#define EVENKEEL_NO_SHAPE {0, 0, 0, 0, 0, 0, 0}

/* Each initialises the structure of its name: its size, and the defaults. */
#define EVENKEEL_EXECUTION_INIT \
  {sizeof(evenkeel_execution), 0, 0, 0, 0, 0, 0, 0, 0}

#define EVENKEEL_LAYER_NORM_INIT \
  {sizeof(evenkeel_layer_norm_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_NO_SHAPE, 1e-5, \
   0, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0, 0, 0, \
   0, 0, 0, 0, EVENKEEL_ABSENT, EVENKEEL_ABSENT}

#define EVENKEEL_RMS_NORM_INIT \
  {sizeof(evenkeel_rms_norm_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_NO_SHAPE, 1e-5, 0, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0, 0, EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0, 0, 0, 0, 0, 0, 0, 0, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT}

#define EVENKEEL_NORM_BACKWARD_INIT \
  {sizeof(evenkeel_norm_backward_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_NO_SHAPE, 1e-5, \
   0, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0, 0, 0, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0, 0, 0, 0, 0, 0, 0, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT}

#define EVENKEEL_CHANNELS_BACKWARD_INIT \
  {sizeof(evenkeel_channels_backward_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_NO_SHAPE, \
   1e-5, 0, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0, 32, EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0, 0, 0}

#define EVENKEEL_NORMALIZE_SCALE_SHIFT_INIT \
  {sizeof(evenkeel_normalize_scale_shift_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_NO_SHAPE, 0, 0, 0, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0}

#define EVENKEEL_BATCH_NORM_TRAINING_INIT \
  {sizeof(evenkeel_batch_norm_training_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_NO_SHAPE, 1e-5, 0, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0.9, EVENKEEL_MOMENTUM_KEEP, 0, 0, \
   0, 0, EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0}

#define EVENKEEL_BATCH_NORM_INFERENCE_INIT \
  {sizeof(evenkeel_batch_norm_inference_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_NO_SHAPE, 1e-5, 0, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0}

#define EVENKEEL_GROUP_NORM_INIT \
  {sizeof(evenkeel_group_norm_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_NO_SHAPE, 1e-5, \
   0, 32, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT, 0}

#define EVENKEEL_DROPOUT_INIT \
  {sizeof(evenkeel_dropout_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0.5, 0, 0, 0, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_NO_SHAPE}

#define EVENKEEL_DROPOUT_MASK_INIT \
  {sizeof(evenkeel_dropout_mask_args), EVENKEEL_ABSENT, 0, 0.5, 0, 0, 0}

#define EVENKEEL_ROW_MOMENTS_INIT \
  {sizeof(evenkeel_row_moments_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_NO_SHAPE, 0, \
   EVENKEEL_ABSENT}

#define EVENKEEL_COLUMN_MOMENTS_INIT \
  {sizeof(evenkeel_column_moments_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_NO_SHAPE, 0, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0}

#define EVENKEEL_COLUMN_MOMENTS_MERGE_INIT \
  {sizeof(evenkeel_column_moments_merge_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0}

#define EVENKEEL_BATCH_NORM_STATISTICS_INIT \
  {sizeof(evenkeel_batch_norm_statistics_args), EVENKEEL_ABSENT, 1e-5, 0, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0.9, EVENKEEL_MOMENTUM_KEEP, 0, 0, 0, 0}

#define EVENKEEL_PENALTY_INIT \
  {sizeof(evenkeel_penalty_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0.0, 0.0, 0}

#define EVENKEEL_WEIGHT_DECAY_INIT \
  {sizeof(evenkeel_weight_decay_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0.0, 0.0, 0}

#define EVENKEEL_PROXIMAL_INIT \
  {sizeof(evenkeel_proximal_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0.0, 0.0, 0.0, 0}

#define EVENKEEL_STANDARD_SCALER_PARTIAL_FIT_INIT \
  {sizeof(evenkeel_standard_scaler_partial_fit_args), EVENKEEL_ABSENT, EVENKEEL_NO_SHAPE, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0}

#define EVENKEEL_STANDARD_SCALER_MERGE_INIT \
  {sizeof(evenkeel_standard_scaler_merge_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0}

#define EVENKEEL_STANDARD_SCALER_TRANSFORM_INIT \
  {sizeof(evenkeel_standard_scaler_transform_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_NO_SHAPE, EVENKEEL_ABSENT, 1, 1, 0, 0, 0}

#define EVENKEEL_STANDARD_SCALER_STATISTICS_INIT \
  {sizeof(evenkeel_standard_scaler_statistics_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT}

#define EVENKEEL_MIN_MAX_SCALER_PARTIAL_FIT_INIT \
  {sizeof(evenkeel_min_max_scaler_partial_fit_args), EVENKEEL_ABSENT, EVENKEEL_NO_SHAPE, \
   EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0}

#define EVENKEEL_MIN_MAX_SCALER_MERGE_INIT \
  {sizeof(evenkeel_min_max_scaler_merge_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT}

#define EVENKEEL_MIN_MAX_SCALER_TRANSFORM_INIT \
  {sizeof(evenkeel_min_max_scaler_transform_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_NO_SHAPE, EVENKEEL_ABSENT, EVENKEEL_ABSENT, 0.0, 1.0, 0, 0, 0}

#define EVENKEEL_SCALER_STATE_INFO_INIT \
  {sizeof(evenkeel_scaler_state_info_args), EVENKEEL_ABSENT, 0}

#define EVENKEEL_STANDARD_SCALER_TO_BYTES_INIT \
  {sizeof(evenkeel_standard_scaler_to_bytes_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT, 1, 1}

#define EVENKEEL_STANDARD_SCALER_FROM_BYTES_INIT \
  {sizeof(evenkeel_standard_scaler_from_bytes_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT}

#define EVENKEEL_MIN_MAX_SCALER_TO_BYTES_INIT \
  {sizeof(evenkeel_min_max_scaler_to_bytes_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT, 0.0, 1.0, 0, 0}

#define EVENKEEL_MIN_MAX_SCALER_FROM_BYTES_INIT \
  {sizeof(evenkeel_min_max_scaler_from_bytes_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, \
   EVENKEEL_ABSENT}

#define EVENKEEL_NORMALIZER_INIT \
  {sizeof(evenkeel_normalizer_args), EVENKEEL_ABSENT, EVENKEEL_ABSENT, EVENKEEL_NO_SHAPE, \
   EVENKEEL_NORM_L2, 0, 0}
