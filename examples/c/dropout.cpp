// Dropout, its mask drawn again in the backward pass, and BatchNorm's training with PyTorch's momentum.
#include <evenkeel.h>

#include <cstdio>
#include <stdexcept>
#include <vector>

static void check(evenkeel_status status) {
  if (status != EVENKEEL_OK) throw std::runtime_error(evenkeel_last_error_message());
}

int main() {
  std::vector<float> x(1000, 1.0f), y(x.size()), dx(x.size());

  evenkeel_dropout_args dropout = EVENKEEL_DROPOUT_INIT;
  dropout.p = 0.25;
  dropout.seed = 42;
  dropout.x = EVENKEEL_BUFFER(EVENKEEL_F32, x.data(), x.size());
  dropout.y = EVENKEEL_BUFFER(EVENKEEL_F32, y.data(), y.size());
  check(evenkeel_dropout(&dropout));
  std::size_t kept = 0;
  for (float value : y) kept += value != 0.0f;
  std::printf("kept %zu of %zu\n", kept, x.size());

  // The gradient of y is 1. The mask is drawn again: nothing has to be stored for the backward pass.
  dropout.y = EVENKEEL_BUFFER(EVENKEEL_F32, dx.data(), dx.size());
  check(evenkeel_dropout_backward(&dropout));
  if (dx != y) throw std::runtime_error("the mask drawn again is another one");

  const std::size_t cols = 4;
  std::vector<float> running_mean(cols, 0.0f), running_var(cols, 1.0f);
  evenkeel_batch_norm_training_args norm = EVENKEEL_BATCH_NORM_TRAINING_INIT;
  norm.shape = EVENKEEL_SHAPE_ROWS(y.size() / cols, cols);
  norm.x = EVENKEEL_BUFFER(EVENKEEL_F32, y.data(), y.size());
  norm.y = EVENKEEL_BUFFER(EVENKEEL_F32, y.data(), y.size());  // in place
  norm.running_mean = EVENKEEL_BUFFER(EVENKEEL_F32, running_mean.data(), cols);
  norm.running_var = EVENKEEL_BUFFER(EVENKEEL_F32, running_var.data(), cols);
  norm.momentum_rule = EVENKEEL_MOMENTUM_PYTORCH;
  norm.momentum = 0.1;
  norm.unbiased_running_var = 1;
  check(evenkeel_batch_norm_training(&norm));
  for (std::size_t c = 0; c < cols; c++)
    std::printf("column %zu: running mean %g, running variance %g\n", c, running_mean[c], running_var[c]);
}
