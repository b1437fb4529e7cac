/* Adds a bf16 branch to an f32 residual stream, and normalises the sum into bf16, as a matrix product wants it. */
#include <evenkeel.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 2, COLS = 8, LEN = ROWS * COLS };

/* bf16 is the upper half of an f32. These numbers have no lower half. */
static uint16_t narrow(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return (uint16_t)(bits >> 16);
}

static float widen(uint16_t half) {
  uint32_t bits = (uint32_t)half << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

int main(void) {
  uint16_t branch[LEN], y[LEN];
  float stream[LEN], gamma[COLS];
  for (size_t i = 0; i < LEN; i++) {
    branch[i] = narrow((float)(i % 5) - 2.0f);
    stream[i] = 0.001f * (float)i;
  }
  for (size_t c = 0; c < COLS; c++) gamma[c] = 1.5f;

  /* gamma may be bf16 as well. The sum has the residual's type, and is written over it. */
  evenkeel_rms_norm_args norm = EVENKEEL_RMS_NORM_INIT;
  norm.shape = (evenkeel_shape){.layout = EVENKEEL_ROWS, .rows = ROWS, .cols = COLS};
  norm.x = (evenkeel_input){.data = branch, .len = LEN, .dtype = EVENKEEL_BF16};
  norm.y = (evenkeel_output){.data = y, .len = LEN, .dtype = EVENKEEL_BF16};
  norm.gamma = (evenkeel_input){.data = gamma, .len = COLS, .dtype = EVENKEEL_F32};
  norm.residual = (evenkeel_input){.data = stream, .len = LEN, .dtype = EVENKEEL_F32};
  norm.sum = (evenkeel_output){.data = stream, .len = LEN, .dtype = EVENKEEL_F32};
  norm.eps = 0;
  if (evenkeel_rms_norm(&norm) != EVENKEEL_OK) {
    fprintf(stderr, "%s\n", evenkeel_last_error_message());
    return 1;
  }

  for (size_t r = 0; r < ROWS; r++) {
    double squares = 0;
    for (size_t c = 0; c < COLS; c++) squares += (double)stream[r * COLS + c] * stream[r * COLS + c];
    double rms = sqrt(squares / COLS);
    for (size_t c = 0; c < COLS; c++) {
      double exact = 1.5 * stream[r * COLS + c] / rms, got = widen(y[r * COLS + c]);
      printf(" %9.6f", got);
      /* Rounded once: within half an ulp of bf16, and what the norm of f32 is off by. */
      if (fabs(got - exact) > fabs(exact) / 256 + 1e-5) return 1;
    }
    printf("\n");
  }

  /* Two formats of 16 bits do not go together. */
  norm.y.dtype = EVENKEEL_F16;
  evenkeel_status status = evenkeel_rms_norm(&norm);
  printf("%s: %s\n", evenkeel_status_text(status), evenkeel_last_error_message());
  return status == EVENKEEL_OK;
}
