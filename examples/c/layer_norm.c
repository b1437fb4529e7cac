/* Adds a residual to two rows, normalises the sum, and shows what the library says of a wrong call. */
#include <evenkeel.h>
#include <stdio.h>

enum { ROWS = 2, COLS = 4, LEN = ROWS * COLS };

int main(void) {
  const float x[LEN] = {1, 2, 3, 4, 1e6f, 1e6f + 1, 1e6f + 2, 1e6f + 3};
  const float residual[LEN] = {0, 0, 0, 1};
  const float gamma[COLS] = {1, 1, 2, 2};
  float y[LEN], sum[LEN];
  double mean[ROWS], rstd[ROWS];

  evenkeel_layer_norm_args norm = EVENKEEL_LAYER_NORM_INIT;
  norm.shape = (evenkeel_shape){.layout = EVENKEEL_ROWS, .rows = ROWS, .cols = COLS};
  norm.x = (evenkeel_input){.data = x, .len = LEN, .dtype = EVENKEEL_F32};
  norm.y = (evenkeel_output){.data = y, .len = LEN, .dtype = EVENKEEL_F32};
  norm.residual = (evenkeel_input){.data = residual, .len = LEN, .dtype = EVENKEEL_F32};
  norm.sum = (evenkeel_output){.data = sum, .len = LEN, .dtype = EVENKEEL_F32};
  norm.gamma = (evenkeel_input){.data = gamma, .len = COLS, .dtype = EVENKEEL_F32};
  norm.mean = (evenkeel_output){.data = mean, .len = ROWS, .dtype = EVENKEEL_F64};
  norm.rstd = (evenkeel_output){.data = rstd, .len = ROWS, .dtype = EVENKEEL_F64};
  if (evenkeel_layer_norm(&norm) != EVENKEEL_OK) {
    fprintf(stderr, "%s\n", evenkeel_last_error_message());
    return 1;
  }

  printf("evenkeel %s on %s\n", evenkeel_version_text(), evenkeel_backend_name(EVENKEEL_BACKEND_DETECT));
  for (size_t r = 0; r < ROWS; r++) {
    printf("mean %g, rstd %g:", mean[r], rstd[r]);
    for (size_t c = 0; c < COLS; c++) printf(" %9.6f", y[r * COLS + c]);
    printf("\n");
  }

  /* gamma one element short: a status, a message with both numbers, and y untouched. */
  norm.gamma.len = COLS - 1;
  evenkeel_status status = evenkeel_layer_norm(&norm);
  printf("%s: %s\n", evenkeel_status_text(status), evenkeel_last_error_message());
  return status == EVENKEEL_LENGTH ? 0 : 1;
}
