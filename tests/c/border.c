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

enum { ROWS = 600, COLS = 768, LEN = ROWS * COLS };
static float x[LEN], y[LEN], expected[LEN], gamma_[COLS], beta[COLS];
static double mean[ROWS], rstd[ROWS];
static uint8_t mask[LEN];

static const evenkeel_execution serial = {EVENKEEL_BACKEND_DETECT, EVENKEEL_STORES_AUTO, 1};

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

static evenkeel_status layer_norm(const float *from, size_t from_len, const float *gamma, size_t gamma_len, float *to,
                                  size_t to_len, double eps, const evenkeel_execution *execution) {
  return evenkeel_layer_norm_f32(from, from_len, gamma, gamma_len, beta, COLS, ROWS, COLS, eps, to, to_len, mean, ROWS,
                                 rstd, ROWS, EVENKEEL_F64, execution);
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

static void refused(const char *what, evenkeel_status status, evenkeel_status wanted, const char *arg) {
  if (status != wanted || !strstr(evenkeel_last_error_message(), arg) || !untouched()) {
    printf("%s: status %d, wanted %d: %s%s\n", what, (int)status, (int)wanted, evenkeel_last_error_message(),
           untouched() ? "" : " (written)");
    failures++;
  }
  reset();
}

static void bad_input(void) {
  const size_t huge = SIZE_MAX / 2;
  const evenkeel_execution no_backend = {77, 0, 0}, no_stores = {0, 77, 0};
  reset();
  refused("x is NULL", layer_norm(NULL, LEN, gamma_, COLS, y, LEN, 0, NULL), EVENKEEL_NULL_POINTER, "`x`");
  refused("y is NULL", layer_norm(x, LEN, gamma_, COLS, NULL, LEN, 0, NULL), EVENKEEL_NULL_POINTER, "`y`");
  refused("gamma is NULL with a length", layer_norm(x, LEN, NULL, COLS, y, LEN, 0, NULL), EVENKEEL_NULL_POINTER,
          "`gamma`");
  refused("x is absent", layer_norm(NULL, 0, gamma_, COLS, y, LEN, 0, NULL), EVENKEEL_LENGTH, "`x`");
  refused("x is short", layer_norm(x, LEN - 1, gamma_, COLS, y, LEN, 0, NULL), EVENKEEL_LENGTH, "`x`");
  refused("y is short", layer_norm(x, LEN, gamma_, COLS, y, LEN - 1, 0, NULL), EVENKEEL_LENGTH, "`y`");
  refused("gamma is long", layer_norm(x, LEN, gamma_, COLS + 1, y, LEN, 0, NULL), EVENKEEL_LENGTH, "`gamma`");
  refused("x is misaligned", layer_norm((const float *)((const char *)x + 1), LEN - 1, gamma_, COLS, y, LEN, 0, NULL),
          EVENKEEL_MISALIGNED, "`x`");
  refused("x has more bytes than addresses", layer_norm(x, SIZE_MAX, gamma_, COLS, y, LEN, 0, NULL),
          EVENKEEL_SHAPE_OVERFLOW, "`x`");
  refused("y is x, shifted", layer_norm(y, LEN - 1, gamma_, COLS, y + 1, LEN - 1, 0, NULL), EVENKEEL_OVERLAP, "`y`");
  refused("y is gamma", layer_norm(x, LEN, y, COLS, y, LEN, 0, NULL), EVENKEEL_OVERLAP, "`y`");
  refused("eps is negative", layer_norm(x, LEN, gamma_, COLS, y, LEN, -1, NULL), EVENKEEL_PARAMETER, "`eps`");
  refused("eps is NaN", layer_norm(x, LEN, gamma_, COLS, y, LEN, strtod("nan", NULL), NULL), EVENKEEL_PARAMETER,
          "`eps`");
  refused("no such backend", layer_norm(x, LEN, gamma_, COLS, y, LEN, 0, &no_backend), EVENKEEL_UNKNOWN_OPTION,
          "`backend`");
  refused("no such stores", layer_norm(x, LEN, gamma_, COLS, y, LEN, 0, &no_stores), EVENKEEL_UNKNOWN_OPTION,
          "`stores`");
  refused("rows * cols overflows",
          evenkeel_rms_norm_f32(x, LEN, NULL, 0, 0, NULL, 0, huge, 4, 0, y, LEN, NULL, 0, EVENKEEL_F64, NULL),
          EVENKEEL_SHAPE_OVERFLOW, "`rows`");
  refused("p above 1", evenkeel_dropout_f32(x, LEN, 1.5, 0, 0, y, LEN, NULL, 0, 0, NULL), EVENKEEL_PARAMETER, "`p`");
  refused("a stream that ends beyond 2^64", evenkeel_dropout_f32(x, LEN, 0.5, 0, UINT64_MAX, y, LEN, NULL, 0, 0, NULL),
          EVENKEEL_STREAM_OVERFLOW, "`offset`");
  refused("a mask that is short", evenkeel_dropout_f32(x, LEN, 0.5, 0, 0, y, LEN, mask, LEN - 1, EVENKEEL_MASK_BYTES, NULL),
          EVENKEEL_LENGTH, "`mask`");
  refused("a mask of no kind", evenkeel_dropout_f32(x, LEN, 0.5, 0, 0, y, LEN, mask, LEN, 77, NULL),
          EVENKEEL_UNKNOWN_OPTION, "`mask_kind`");
  HOLDS(evenkeel_moments_merge(NULL, NULL) == EVENKEEL_NULL_POINTER);
  HOLDS(evenkeel_backend_by_name(NULL, NULL) == EVENKEEL_NULL_POINTER);
  /* No rows: nothing to do, and NULL is a buffer of no elements. */
  HOLDS(evenkeel_layer_norm_f32(NULL, 0, NULL, 0, NULL, 0, 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, EVENKEEL_F64, NULL) ==
        EVENKEEL_OK);
  HOLDS(untouched());
  /* Rows without elements: their statistics are 0. */
  HOLDS(evenkeel_layer_norm_f32(NULL, 0, NULL, 0, NULL, 0, 3, 0, 0, NULL, 0, mean, 3, rstd, 3, EVENKEEL_F64, NULL) ==
        EVENKEEL_OK);
  for (size_t i = 0; i < 3; i++) HOLDS(mean[i] == 0 && rstd[i] == 0);
}

static int same(void) { return memcmp(y, expected, sizeof y) == 0; }

/* The host's floating-point environment changes no bit, and is what it was after the call. */
static void environment(void) {
  static const int roundings[] = {FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO, FE_TONEAREST};
  for (size_t i = 0; i < sizeof roundings / sizeof roundings[0]; i++) {
    HOLDS(fesetround(roundings[i]) == 0);
    reset();
    evenkeel_status alone = layer_norm(x, LEN, gamma_, COLS, y, LEN, 0, &serial);
    int same_alone = same();
    reset();
    evenkeel_status shared = layer_norm(x, LEN, gamma_, COLS, y, LEN, 0, NULL);
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
    evenkeel_status status = layer_norm(x, LEN, gamma_, COLS, y, LEN, 0, NULL);
    int trapped = fegetexcept();
    fedisableexcept(FE_ALL_EXCEPT);
    HOLDS(status == EVENKEEL_OK && same());
    HOLDS(trapped == (FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INEXACT));
  }
#endif
}

static void *in_a_thread(void *out) {
  float *mine = malloc(sizeof y);
  evenkeel_status status = evenkeel_layer_norm_f32(x, LEN, gamma_, COLS, beta, COLS, ROWS, COLS, 0, mine, LEN, NULL, 0,
                                                   NULL, 0, EVENKEEL_F64, NULL);
  *(int *)out = status == EVENKEEL_OK && memcmp(mine, expected, sizeof y) == 0;
  /* The last error is this thread's own. */
  *(int *)out &= evenkeel_last_error_message()[0] == '\0';
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

/* After fork(), with the pool's threads gone, serial calls work. */
static void forked(void) {
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    reset();
    evenkeel_status status = layer_norm(x, LEN, gamma_, COLS, y, LEN, 0, &serial);
    _exit(status == EVENKEEL_OK && same() ? 0 : 1);
  }
  int status = 1;
  HOLDS(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

/* With --default-environment, what changes the environment is left out: an emulator may have but one. */
int main(int argc, char **argv) {
  int default_only = argc > 1 && strcmp(argv[1], "--default-environment") == 0;
  fill();
  HOLDS(fesetenv(FE_DFL_ENV) == 0);
  HOLDS(layer_norm(x, LEN, gamma_, COLS, expected, LEN, 0, &serial) == EVENKEEL_OK);
  memcpy(y, x, sizeof y);
  HOLDS(layer_norm(y, LEN, gamma_, COLS, y, LEN, 0, NULL) == EVENKEEL_OK);
  HOLDS(same());
  bad_input();
  if (!default_only) environment();
  threads();
  forked();
  if (failures == 0) printf("tests/c/border.c: every law holds\n");
  return failures != 0;
}
