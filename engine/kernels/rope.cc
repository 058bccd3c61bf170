#include "engine/kernels/rope.h"

#include <cmath>
#include <utility>

namespace memgate {
namespace {

void RotateBySign(const float* cos_sin, int head_dim, float sign, const float* x, float* out) {
  const int half = head_dim / 2;
  const float* cos = cos_sin;
  const float* sin = cos_sin + half;
  for (int i = 0; i < half; ++i) {
    const float a = x[i];
    const float b = x[i + half];
    const float s = sign * sin[i];
    out[i] = a * cos[i] - b * s;
    out[i + half] = b * cos[i] + a * s;
  }
}

}  // namespace

Rope::Rope(std::vector<double> inverse_frequencies) : inverse_frequencies_(std::move(inverse_frequencies)) {}

void Rope::Angles(int64_t position, float* cos_sin) const {
  const size_t half = inverse_frequencies_.size();
  for (size_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * inverse_frequencies_[i];
    cos_sin[i] = static_cast<float>(std::cos(angle));
    cos_sin[half + i] = static_cast<float>(std::sin(angle));
  }
}

void Rotate(const float* cos_sin, int head_dim, const float* x, float* out) {
  RotateBySign(cos_sin, head_dim, 1.0f, x, out);
}

void RotateBack(const float* cos_sin, int head_dim, const float* x, float* out) {
  RotateBySign(cos_sin, head_dim, -1.0f, x, out);
}

}  // namespace memgate
