// Dropout in training, its mask stored and drawn again, and BatchNorm's training with PyTorch's momentum.
#include <evenkeel.h>

#include <cstdio>
#include <stdexcept>
#include <vector>

static void check(evenkeel_status status) {
  if (status != EVENKEEL_OK) throw std::runtime_error(evenkeel_last_error_message());
}

int main() {
  const double p = 0.25;
  const std::uint64_t seed = 42, offset = 0;
  std::vector<float> x(1000, 1.0f), y(x.size()), dx(x.size());
  std::vector<std::uint8_t> mask((x.size() + 7) / 8);

  check(evenkeel_dropout_f32(x.data(), x.size(), p, seed, offset, y.data(), y.size(), mask.data(), mask.size(),
                             EVENKEEL_MASK_PACKED, nullptr));
  std::size_t kept = 0;
  for (float value : y) kept += value != 0.0f;
  std::printf("kept %zu of %zu\n", kept, x.size());

  // The same mask, drawn again: nothing has to be stored for the backward pass.
  check(evenkeel_dropout_backward_f32(x.data(), x.size(), p, seed, offset, dx.data(), dx.size(), nullptr));
  if (dx != y) throw std::runtime_error("the mask drawn again is another one");

  const std::size_t rows = 250, cols = 4;
  std::vector<float> running_mean(cols, 0.0f), running_var(cols, 1.0f), mean(cols), rstd(cols);
  evenkeel_running running{};
  running.mean = running_mean.data();
  running.mean_len = cols;
  running.var = running_var.data();
  running.var_len = cols;
  running.rule = EVENKEEL_MOMENTUM_PYTORCH;
  running.momentum = 0.1;
  running.unbiased_var = 1;
  check(evenkeel_batch_norm_training_f32(y.data(), y.size(), nullptr, 0, nullptr, 0, rows, cols, 1e-5, y.data(),
                                         y.size(), mean.data(), cols, rstd.data(), cols, EVENKEEL_F32, &running,
                                         nullptr, 0, nullptr));
  for (std::size_t c = 0; c < cols; c++)
    std::printf("column %zu: batch mean %g, running mean %g, running variance %g\n", c, mean[c], running_mean[c],
                running_var[c]);
}
