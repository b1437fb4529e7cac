/* Normalises two rows, one of them far off zero, and shows what the library says of a wrong call. */
#include <evenkeel.h>
#include <stdio.h>

int main(void) {
  const size_t rows = 2, cols = 4;
  const float x[8] = {1.0f, 2.0f, 3.0f, 4.0f, 1e6f, 1e6f + 1, 1e6f + 2, 1e6f + 3};
  const float gamma[4] = {1.0f, 1.0f, 2.0f, 2.0f};
  float y[8], mean[2], rstd[2];

  evenkeel_status status =
      evenkeel_layer_norm_f32(x, 8, gamma, 4, NULL, 0, rows, cols, 1e-5, y, 8, mean, 2, rstd, 2,
                              EVENKEEL_F32, NULL);
  if (status != EVENKEEL_OK) {
    fprintf(stderr, "%s\n", evenkeel_last_error_message());
    return 1;
  }
  printf("evenkeel %s, backend %s\n", evenkeel_version(),
         evenkeel_backend_name(evenkeel_backend_detect()));
  for (size_t r = 0; r < rows; r++) {
    printf("mean %g, rstd %g:", mean[r], rstd[r]);
    for (size_t c = 0; c < cols; c++) printf(" %9.6f", y[r * cols + c]);
    printf("\n");
  }

  /* gamma one element short: a status, a message with both numbers, and y untouched. */
  status = evenkeel_layer_norm_f32(x, 8, gamma, 3, NULL, 0, rows, cols, 1e-5, y, 8, NULL, 0, NULL, 0,
                                   EVENKEEL_F32, NULL);
  printf("%s: %s\n", evenkeel_status_text(status), evenkeel_last_error_message());
  return status == EVENKEEL_LENGTH ? 0 : 1;
}
