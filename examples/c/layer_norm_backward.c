/* One step of training of a LayerNorm: forward, with its statistics kept, and backward. */
#include <evenkeel.h>
#include <math.h>
#include <stdio.h>

enum { ROWS = 3, COLS = 4, LEN = ROWS * COLS };

static int failed(evenkeel_status status) {
  if (status != EVENKEEL_OK) fprintf(stderr, "%s\n", evenkeel_last_error_message());
  return status != EVENKEEL_OK;
}

int main(void) {
  const float x[LEN] = {1, 2, 3, 6, 0, 1, 0, 1, 1e6f, 1e6f + 1, 1e6f + 2, 1e6f + 3};
  const float gamma[COLS] = {1, 1, 2, 2}, beta[COLS] = {0};
  float y[LEN], dgamma[COLS] = {0}, dbeta[COLS] = {0};
  double mean[ROWS], rstd[ROWS];

  evenkeel_layer_norm_args norm = EVENKEEL_LAYER_NORM_INIT;
  norm.shape = (evenkeel_shape){.layout = EVENKEEL_ROWS, .rows = ROWS, .cols = COLS};
  norm.x = (evenkeel_input){.data = x, .len = LEN, .dtype = EVENKEEL_F32};
  norm.y = (evenkeel_output){.data = y, .len = LEN, .dtype = EVENKEEL_F32};
  norm.gamma = (evenkeel_input){.data = gamma, .len = COLS, .dtype = EVENKEEL_F32};
  norm.beta = (evenkeel_input){.data = beta, .len = COLS, .dtype = EVENKEEL_F32};
  norm.mean = (evenkeel_output){.data = mean, .len = ROWS, .dtype = EVENKEEL_F64};
  norm.rstd = (evenkeel_output){.data = rstd, .len = ROWS, .dtype = EVENKEEL_F64};
  if (failed(evenkeel_layer_norm(&norm))) return 1;

  /* The loss is half of the sum of y^2, so that dy is y. dx is written over dy. */
  float *dy = y;
  evenkeel_norm_backward_args back = EVENKEEL_NORM_BACKWARD_INIT;
  back.shape = norm.shape;
  back.dy = (evenkeel_input){.data = dy, .len = LEN, .dtype = EVENKEEL_F32};
  back.dx = (evenkeel_output){.data = dy, .len = LEN, .dtype = EVENKEEL_F32};
  back.x = norm.x;
  back.gamma = norm.gamma;
  back.mean = (evenkeel_input){.data = mean, .len = ROWS, .dtype = EVENKEEL_F64};
  back.rstd = (evenkeel_input){.data = rstd, .len = ROWS, .dtype = EVENKEEL_F64};
  back.dgamma = (evenkeel_output){.data = dgamma, .len = COLS, .dtype = EVENKEEL_F32};
  back.dbeta = (evenkeel_output){.data = dbeta, .len = COLS, .dtype = EVENKEEL_F32};
  back.accumulate = EVENKEEL_ADD_DGAMMA | EVENKEEL_ADD_DBETA; /* to what earlier micro-batches gave */
  if (failed(evenkeel_layer_norm_backward(&back))) return 1;

  for (size_t r = 0; r < ROWS; r++) {
    double sum = 0;
    printf("dx:");
    for (size_t c = 0; c < COLS; c++) {
      printf(" %9.6f", dy[r * COLS + c]);
      sum += dy[r * COLS + c];
    }
    printf("\n");
    if (fabs(sum) > 1e-5) return 1; /* a norm does not see a constant that is added to a row */
  }
  for (size_t c = 0; c < COLS; c++) printf("dgamma %9.6f, dbeta %9.6f\n", dgamma[c], dbeta[c]);
  return 0;
}
