// The backward pass of a pre-norm block's RmsNorm, whose forward pass added the branch to the residual stream.
#include <evenkeel.h>

#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <vector>

static void check(evenkeel_status status) {
  if (status != EVENKEEL_OK) throw std::runtime_error(evenkeel_last_error_message());
}

int main() {
  const std::size_t rows = 4, cols = 64, len = rows * cols;
  std::vector<float> branch(len), stream(len, 0.5f), y(len), gamma(cols, 1.5f);
  std::vector<double> rstd(rows);
  for (std::size_t i = 0; i < len; i++) branch[i] = static_cast<float>(i % 7) - 3.0f;

  // stream += branch; y = norm(stream).
  evenkeel_rms_norm_args norm = EVENKEEL_RMS_NORM_INIT;
  norm.shape = EVENKEEL_SHAPE_ROWS(rows, cols);
  norm.x = EVENKEEL_BUFFER(EVENKEEL_F32, branch.data(), len);
  norm.y = EVENKEEL_BUFFER(EVENKEEL_F32, y.data(), len);
  norm.gamma = EVENKEEL_BUFFER(EVENKEEL_F32, gamma.data(), cols);
  norm.residual = EVENKEEL_BUFFER(EVENKEEL_F32, stream.data(), len);
  norm.sum = EVENKEEL_BUFFER(EVENKEEL_F32, stream.data(), len);
  norm.rstd = EVENKEEL_BUFFER(EVENKEEL_F64, rstd.data(), rows);
  check(evenkeel_rms_norm(&norm));

  // dstream is the gradient that came back along the stream. dx is that of the branch and of the stream before it.
  std::vector<float> dy(len, 1.0f), dstream(len, 0.25f), dx(len);
  std::vector<double> dgamma(cols);
  evenkeel_norm_backward_args back = EVENKEEL_NORM_BACKWARD_INIT;
  back.shape = norm.shape;
  back.dy = EVENKEEL_BUFFER(EVENKEEL_F32, dy.data(), len);
  back.dx = EVENKEEL_BUFFER(EVENKEEL_F32, dx.data(), len);
  back.x = EVENKEEL_BUFFER(EVENKEEL_F32, stream.data(), len);
  back.gamma = norm.gamma;
  back.rstd = EVENKEEL_BUFFER(EVENKEEL_F64, rstd.data(), rows);
  back.dgamma = EVENKEEL_BUFFER(EVENKEEL_F64, dgamma.data(), cols);
  back.dsum = EVENKEEL_BUFFER(EVENKEEL_F32, dstream.data(), len);

  // With scratch a call allocates nothing. It depends on the shape alone.
  std::size_t scratch_len = 0;
  check(evenkeel_norm_backward_scratch_len(&back, &scratch_len));
  std::vector<double> scratch(scratch_len);
  back.scratch = EVENKEEL_BUFFER(EVENKEEL_F64, scratch.data(), scratch_len);
  check(evenkeel_rms_norm_backward(&back));

  // y does not change with the scale of a row, so that dx without dstream is orthogonal to the row.
  for (std::size_t r = 0; r < rows; r++) {
    double dot = 0;
    for (std::size_t i = r * cols; i < (r + 1) * cols; i++) dot += (dx[i] - dstream[i]) * stream[i];
    if (std::fabs(dot) > 1e-3) throw std::runtime_error("a gradient along the row");
  }
  std::printf("dx[0] %g, dgamma[0] %g, %zu doubles of scratch\n", dx[0], dgamma[0], scratch_len);
}
