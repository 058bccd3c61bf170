#include "tests/reference/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace memgate::reference {

double Dot(absl::Span<const double> x, absl::Span<const double> y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

Vector RmsNorm(absl::Span<const double> x, absl::Span<const double> weight, double eps) {
  const double mean = Dot(x, x) / static_cast<double>(x.size());
  Vector out(x.size());
  for (size_t i = 0; i < x.size(); ++i) out[i] = x[i] / std::sqrt(mean + eps) * weight[i];
  return out;
}

Vector ActivateMultiply(Activation activation, absl::Span<const double> gate, absl::Span<const double> up) {
  const auto silu = [](double x) { return x / (1.0 + std::exp(-x)); };
  const auto gelu = [](double x) {
    return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
  };
  Vector out(gate.size());
  for (size_t i = 0; i < gate.size(); ++i) {
    out[i] = (activation == Activation::kSilu ? silu(gate[i]) : gelu(gate[i])) * up[i];
  }
  return out;
}

Vector Linear(absl::Span<const double> weight, absl::Span<const double> bias, absl::Span<const double> x) {
  Vector out(weight.size() / x.size());
  for (size_t o = 0; o < out.size(); ++o) {
    out[o] = Dot(weight.subspan(o * x.size(), x.size()), x) + (bias.empty() ? 0.0 : bias[o]);
  }
  return out;
}

Vector Softmax(absl::Span<const double> logits) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const double logit : logits) largest = std::max(largest, logit);
  Vector out(logits.size());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) sum += out[i] = std::exp(logits[i] - largest);
  for (double& weight : out) weight /= sum;
  return out;
}

Vector WeightedSum(absl::Span<const double> logits, const Rows& values, int dim) {
  Vector out(dim, 0.0);
  const Vector weights = Softmax(logits);
  for (size_t r = 0; r < values.size(); ++r) {
    for (int d = 0; d < dim; ++d) out[d] += weights[r] * values[r][d];
  }
  return out;
}

Vector RopeFrequencies(const RopeConfig& rope, int head_dim, int64_t context_tokens) {
  Vector out;
  if (!rope.rotates) return Vector(head_dim / 2, 0.0);
  const int dims = rope.rotated_dims > 0 ? rope.rotated_dims : head_dim;
  for (int i = 0; i < dims; i += 2) {
    double frequency = 1.0 / std::pow(rope.theta, static_cast<double>(i) / dims);
    frequency /= rope.linear_factor;
    if (rope.llama3) {
      const Llama3RopeScaling& scaling = *rope.llama3;
      const double original = static_cast<double>(scaling.original_max_position);
      const double wavelength = 2 * std::numbers::pi / frequency;
      if (wavelength > original / scaling.low_freq_factor) {
        frequency /= scaling.factor;
      } else if (wavelength >= original / scaling.high_freq_factor) {
        const double smooth = (original / wavelength - scaling.low_freq_factor) /
                              (scaling.high_freq_factor - scaling.low_freq_factor);
        frequency = (1 - smooth) * frequency / scaling.factor + smooth * frequency;
      }
    }
    if (rope.longrope) {
      const bool longer = context_tokens > rope.longrope->original_max_position;
      frequency /= longer ? rope.longrope->long_factors[i / 2] : rope.longrope->short_factors[i / 2];
    }
    out.push_back(frequency);
  }
  return out;
}

Vector Rotated(absl::Span<const double> x, absl::Span<const double> frequencies, double position) {
  const size_t half = frequencies.size();
  Vector out(x.begin(), x.end());  // what is not rotated stays
  for (size_t i = 0; i < half; ++i) {
    const double angle = position * frequencies[i];
    out[i] = x[i] * std::cos(angle) - x[i + half] * std::sin(angle);
    out[i + half] = x[i + half] * std::cos(angle) + x[i] * std::sin(angle);
  }
  return out;
}

Vector ToDouble(absl::Span<const float> x) { return Vector(x.begin(), x.end()); }

}  // namespace memgate::reference
