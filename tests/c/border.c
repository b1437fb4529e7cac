/* What a host in C can get wrong, and what it may do: every line is a law of evenkeel.h. Prints what fails; exits 1 then.
 * Build with -ffast-math: such a host flushes subnormals. */
#define _GNU_SOURCE
#include <evenkeel.h>
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures = 0;

#define HOLDS(condition)                                                                          \
  do {                                                                                            \
    if (!(condition)) {                                                                           \
      printf("%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, evenkeel_last_error_message());  \
      failures++;                                                                                 \
    }                                                                                             \
  } while (0)

/* Large enough that a call from this thread uses the pool, from 2^20 elements on. */
enum { ROWS = 1400, COLS = 768, LEN = ROWS * COLS };
static float x[LEN], y[LEN], expected[LEN], gamma_[COLS], beta[COLS];
static double mean[ROWS], rstd[ROWS];

static evenkeel_execution serial = EVENKEEL_EXECUTION_INIT;

static void fill(void) {
  uint32_t state = 1;
  for (size_t i = 0; i < LEN; i++) {
    state = state * 1664525u + 1013904223u;
    x[i] = (float)(state >> 8) / 16777216.0f - 0.5f;
    /* Subnormal rows: a host that flushes them reads zeros. */
    if (i / COLS % 3 == 1) {
      uint32_t bits = state >> 10;
      memcpy(&x[i], &bits, sizeof bits);
    }
  }
  for (size_t c = 0; c < COLS; c++) {
    gamma_[c] = 1.0f + (float)c / 64.0f;
    beta[c] = 0.5f;
  }
}

static evenkeel_input in(const float *data, size_t len) {
  return (evenkeel_input){.data = data, .len = len, .dtype = EVENKEEL_F32};
}

static evenkeel_output out(void *data, size_t len, evenkeel_dtype dtype) {
  return (evenkeel_output){.data = data, .len = len, .dtype = dtype};
}

/* A right call from x to y, with everything in it. */
static evenkeel_layer_norm_args right(const evenkeel_execution *execution) {
  evenkeel_layer_norm_args norm = EVENKEEL_LAYER_NORM_INIT;
  norm.shape = (evenkeel_shape){.layout = EVENKEEL_ROWS, .rows = ROWS, .cols = COLS};
  norm.x = in(x, LEN);
  norm.y = out(y, LEN, EVENKEEL_F32);
  norm.eps = 0;
  norm.execution = execution;
  norm.gamma = in(gamma_, COLS);
  norm.beta = in(beta, COLS);
  norm.mean = out(mean, ROWS, EVENKEEL_F64);
  norm.rstd = out(rstd, ROWS, EVENKEEL_F64);
  return norm;
}

static evenkeel_status layer_norm(const evenkeel_execution *execution) {
  const evenkeel_layer_norm_args norm = right(execution);
  return evenkeel_layer_norm(&norm);
}

/* Nothing of y, mean and rstd has been written. */
static void reset(void) {
  memset(y, 0x5a, sizeof y);
  memset(mean, 0x5a, sizeof mean);
  memset(rstd, 0x5a, sizeof rstd);
}

static int untouched(void) {
  const unsigned char *bytes = (const unsigned char *)y, *m = (const unsigned char *)mean,
                      *r = (const unsigned char *)rstd;
  for (size_t i = 0; i < sizeof y; i++)
    if (bytes[i] != 0x5a) return 0;
  for (size_t i = 0; i < sizeof mean; i++)
    if (m[i] != 0x5a || r[i] != 0x5a) return 0;
  return 1;
}

static void returns_error(const char *what, evenkeel_status status, evenkeel_status wanted, const char *arg) {
  if (status != wanted || !strstr(evenkeel_last_error_message(), arg) || !untouched()) {
    printf("%s: status %d, wanted %d: %s%s\n", what, (int)status, (int)wanted, evenkeel_last_error_message(),
           untouched() ? "" : " (written)");
    failures++;
  }
  reset();
}

/* A right call, made wrong by a statement. */
#define RETURNS_ERROR(wrong, status, arg)                           \
  do {                                                              \
    evenkeel_layer_norm_args norm = right(NULL);                    \
    wrong;                                                          \
    returns_error(#wrong, evenkeel_layer_norm(&norm), status, arg); \
  } while (0)

static void bad_input(void) {
  evenkeel_execution no_backend = EVENKEEL_EXECUTION_INIT, no_stores = EVENKEEL_EXECUTION_INIT;
  no_backend.backend = 77;
  no_stores.stores = 77;
  reset();
  RETURNS_ERROR(norm.x.data = NULL, EVENKEEL_NULL_POINTER, "`x.data`");
  RETURNS_ERROR(norm.y.data = NULL, EVENKEEL_NULL_POINTER, "`y.data`");
  RETURNS_ERROR(norm.gamma.data = NULL, EVENKEEL_NULL_POINTER, "`gamma.data`");
  RETURNS_ERROR(norm.gamma.dtype = 0, EVENKEEL_TYPE, "`gamma.dtype`");
  RETURNS_ERROR(norm.x = (evenkeel_input)EVENKEEL_ABSENT, EVENKEEL_NULL_POINTER, "`x`");
  RETURNS_ERROR(norm.x.len--, EVENKEEL_LENGTH, "`x`");
  RETURNS_ERROR(norm.y.len--, EVENKEEL_LENGTH, "`y`");
  RETURNS_ERROR(norm.gamma.len++, EVENKEEL_LENGTH, "`gamma`");
  RETURNS_ERROR(norm.x.data = (const char *)x + 1, EVENKEEL_MISALIGNED, "`x`");
  RETURNS_ERROR(norm.x.len = SIZE_MAX, EVENKEEL_SHAPE_OVERFLOW, "`x.len`");
  RETURNS_ERROR(norm.x.data = y + 1, EVENKEEL_OVERLAP, "`y`");
  RETURNS_ERROR((norm.x.data = y, norm.x.pitch = COLS), EVENKEEL_OVERLAP, "`y`: expected the pitch");
  RETURNS_ERROR(norm.gamma.data = y, EVENKEEL_OVERLAP, "`y`");
  RETURNS_ERROR(norm.eps = -1, EVENKEEL_PARAMETER, "`eps`");
  RETURNS_ERROR(norm.eps = strtod("nan", NULL), EVENKEEL_PARAMETER, "`eps`");
  RETURNS_ERROR(norm.execution = &no_backend, EVENKEEL_UNKNOWN_OPTION, "`backend`");
  RETURNS_ERROR(norm.execution = &no_stores, EVENKEEL_UNKNOWN_OPTION, "`stores`");
  RETURNS_ERROR(norm.shape.rows = SIZE_MAX / 2, EVENKEEL_SHAPE_OVERFLOW, "`shape`");
  RETURNS_ERROR(norm.shape.layout = 0, EVENKEEL_UNKNOWN_OPTION, "`shape.layout`");
  RETURNS_ERROR(norm.size = 7, EVENKEEL_STRUCT_SIZE, "`evenkeel_layer_norm_args.size`");
  RETURNS_ERROR(norm.size = 0, EVENKEEL_STRUCT_SIZE, "`evenkeel_layer_norm_args.size`");
  HOLDS(evenkeel_layer_norm(NULL) == EVENKEEL_NULL_POINTER);
  HOLDS(evenkeel_moments_merge(NULL, NULL) == EVENKEEL_NULL_POINTER);
  HOLDS(evenkeel_backend_by_name(NULL, NULL) == EVENKEEL_NULL_POINTER);
  /* Rows without elements: nothing to do, but for their statistics, which are 0. A buffer of no elements may be NULL. */
  evenkeel_layer_norm_args norm = right(NULL);
  norm.shape = (evenkeel_shape){.layout = EVENKEEL_ROWS, .rows = 3};
  norm.x = in(NULL, 0);
  norm.y = out(NULL, 0, EVENKEEL_F32);
  norm.gamma = norm.beta = (evenkeel_input)EVENKEEL_ABSENT;
  norm.mean.len = norm.rstd.len = 3;
  HOLDS(evenkeel_layer_norm(&norm) == EVENKEEL_OK);
  for (size_t i = 0; i < 3; i++) HOLDS(mean[i] == 0 && rstd[i] == 0);
}

static int same(void) { return memcmp(y, expected, sizeof y) == 0; }

/* The host's floating-point environment changes no bit, and is what it was after the call. */
static void environment(void) {
  static const int roundings[] = {FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO, FE_TONEAREST};
  for (size_t i = 0; i < sizeof roundings / sizeof roundings[0]; i++) {
    HOLDS(fesetround(roundings[i]) == 0);
    reset();
    evenkeel_status alone = layer_norm(&serial);
    int same_alone = same();
    reset();
    evenkeel_status shared = layer_norm(NULL);
    int same_shared = same(), after = fegetround();
    fesetround(FE_TONEAREST);
    HOLDS(alone == EVENKEEL_OK && shared == EVENKEEL_OK);
    HOLDS(same_alone);
    HOLDS(same_shared);
    HOLDS(after == roundings[i]);
  }
#ifdef __GLIBC__
  /* Exceptions that trap stay trapped, and none is raised meanwhile. */
  feclearexcept(FE_ALL_EXCEPT);
  if (feenableexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INEXACT) != -1) {
    reset();
    evenkeel_status status = layer_norm(NULL);
    int trapped = fegetexcept();
    fedisableexcept(FE_ALL_EXCEPT);
    HOLDS(status == EVENKEEL_OK && same());
    HOLDS(trapped == (FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INEXACT));
  }
#endif
}

/* A caller of an earlier version, whose structure ends before its last members, and one of a later version. */
static void other_versions(void) {
  evenkeel_layer_norm_args norm = right(NULL);
  const size_t earlier = offsetof(evenkeel_layer_norm_args, x_bias);
  /* No byte more than it says. */
  void *args = malloc(earlier);
  norm.size = earlier;
  memcpy(args, &norm, earlier);
  reset();
  HOLDS(evenkeel_layer_norm(args) == EVENKEEL_OK && same());
  free(args);
  struct {
    evenkeel_layer_norm_args known;
    evenkeel_input unknown;
  } later = {right(NULL), EVENKEEL_ABSENT};
  later.known.size = sizeof later;
  reset();
  HOLDS(evenkeel_layer_norm(&later.known) == EVENKEEL_OK && same());
  reset();
  later.unknown.len = 1;
  returns_error("a member that is not known", evenkeel_layer_norm(&later.known), EVENKEEL_STRUCT_SIZE, "zeros");
}

/* A host's own threads, and hosts that are wrong about them. */
typedef struct {
  evenkeel_part part;
  void *work;
  size_t first, parts;
} share;

static void *run_share(void *of) {
  const share *mine = of;
  for (size_t i = mine->first; i < mine->parts; i += 4) mine->part(mine->work, i);
  return NULL;
}

static void on_threads(void *calls, size_t parts, evenkeel_part part, void *work) {
  pthread_t ids[4];
  share shares[4];
  ++*(int *)calls;
  for (size_t t = 0; t < 4; t++) {
    shares[t] = (share){part, work, t, parts};
    HOLDS(pthread_create(&ids[t], NULL, run_share, &shares[t]) == 0);
  }
  for (size_t t = 0; t < 4; t++) pthread_join(ids[t], NULL);
}

static void never(void *calls, size_t parts, evenkeel_part part, void *work) {
  ++*(int *)calls;
  (void)parts, (void)part, (void)work;
}

static void twice(void *calls, size_t parts, evenkeel_part part, void *work) {
  on_threads(calls, parts, part, work);
  on_threads(calls, parts, part, work);
}

static share remembered;
static void too_late(void *calls, size_t parts, evenkeel_part part, void *work) {
  ++*(int *)calls;
  remembered = (share){part, work, 0, parts};
}

static void pools(void) {
  static const evenkeel_parallel_for hosts[] = {on_threads, never, twice, too_late};
  for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
    int calls = 0;
    evenkeel_execution execution = EVENKEEL_EXECUTION_INIT;
    execution.parallel_for = hosts[i];
    execution.pool_context = &calls;
    execution.pool_threads = 4;
    reset();
    HOLDS(layer_norm(&execution) == EVENKEEL_OK && same() && calls > 0);
  }
  /* The call has returned long ago. */
  reset();
  for (size_t i = 0; i < remembered.parts; i++) remembered.part(remembered.work, i);
  HOLDS(remembered.parts > 0 && untouched());
}

/* Under the host's own control word, which -ffast-math sets to read subnormal numbers as zeros, rows of these are beta. */
static void own_environment(void) {
#ifdef __SSE__
  const unsigned kept = __builtin_ia32_stmxcsr();
  evenkeel_execution execution = EVENKEEL_EXECUTION_INIT;
  execution.environment = EVENKEEL_ENVIRONMENT_HOST;
  __builtin_ia32_ldmxcsr(kept | 0x8040);
  reset();
  evenkeel_status status = layer_norm(&execution);
  const unsigned after = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(kept);
  HOLDS(status == EVENKEEL_OK && (after & 0x8040) == 0x8040);
  for (size_t r = 1; r < ROWS; r += 3) HOLDS(memcmp(y + r * COLS, beta, sizeof beta) == 0);
  HOLDS(memcmp(expected + COLS, beta, sizeof beta) != 0);
#endif
}

static void *in_a_thread(void *right_) {
  float *mine = malloc(sizeof y);
  evenkeel_layer_norm_args norm = right(NULL);
  norm.y = out(mine, LEN, EVENKEEL_F32);
  norm.mean = norm.rstd = (evenkeel_output)EVENKEEL_ABSENT;
  evenkeel_status status = evenkeel_layer_norm(&norm);
  *(int *)right_ = status == EVENKEEL_OK && memcmp(mine, expected, sizeof y) == 0;
  /* The last error is this thread's own. */
  *(int *)right_ &= evenkeel_last_error_message()[0] == '\0';
  free(mine);
  return NULL;
}

static void threads(void) {
  pthread_t ids[8];
  int right[8] = {0};
  for (int i = 0; i < 8; i++) HOLDS(pthread_create(&ids[i], NULL, in_a_thread, &right[i]) == 0);
  for (int i = 0; i < 8; i++) {
    pthread_join(ids[i], NULL);
    HOLDS(right[i]);
  }
}

/* After fork(), with the pool's threads gone, calls work: serial ones and those that would use the pool. */
static void forked(void) {
  fflush(stdout);
  HOLDS(layer_norm(NULL) == EVENKEEL_OK);
  pid_t child = fork();
  if (child == 0) {
    /* A call that waits for threads that are not there ends the child. */
    alarm(20);
    reset();
    int works = layer_norm(&serial) == EVENKEEL_OK && same();
    reset();
    works &= layer_norm(NULL) == EVENKEEL_OK && same();
    _exit(works ? 0 : 1);
  }
  int status = 1;
  HOLDS(child > 0 && waitpid(child, &status, 0) == child && status == 0);
  /* The parent has its threads still. */
  reset();
  HOLDS(layer_norm(NULL) == EVENKEEL_OK && same());
}

/* With --default-environment, what changes the environment is left out: an emulator may have but one. */
int main(int argc, char **argv) {
  int default_only = argc > 1 && strcmp(argv[1], "--default-environment") == 0;
  serial.tasks = 1;
  fill();
  HOLDS(fesetenv(FE_DFL_ENV) == 0);
  HOLDS(layer_norm(&serial) == EVENKEEL_OK);
  memcpy(expected, y, sizeof y);
  memcpy(y, x, sizeof y);
  evenkeel_layer_norm_args in_place = right(NULL);
  in_place.x.data = y;
  HOLDS(evenkeel_layer_norm(&in_place) == EVENKEEL_OK && same());
  bad_input();
  other_versions();
  pools();
  if (!default_only) {
    environment();
    own_environment();
  }
  threads();
  forked();
  if (failures == 0) printf("tests/c/border.c: every law holds\n");
  return failures != 0;
}
