#include "engine/session/layer_ropes.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace memgate {
namespace {

double StretchLlama3(double frequency, const Llama3RopeScaling& scaling) {
  const double wavelength = 2 * std::numbers::pi / frequency;  // positions
  const double rotations = static_cast<double>(scaling.original_max_position) / wavelength;
  if (rotations > scaling.high_freq_factor) return frequency;
  if (rotations < scaling.low_freq_factor) return frequency / scaling.factor;
  const double blend =
      (rotations - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - blend) * frequency / scaling.factor + blend * frequency;
}

}  // namespace

std::vector<double> RopeFrequencies(const RopeConfig& rope, int head_dim, int64_t context_tokens) {
  std::vector<double> frequencies(head_dim / 2, 0.0);
  if (!rope.rotates) return frequencies;
  for (int i = 0; i < head_dim / 2; ++i) {
    const double frequency = std::pow(rope.theta, -2.0 * i / head_dim) / rope.linear_factor;
    frequencies[i] = rope.llama3 ? StretchLlama3(frequency, *rope.llama3) : frequency;
    if (!rope.divisors.empty()) frequencies[i] /= rope.divisors[i];
    if (rope.longrope) {
      const bool fits = context_tokens <= rope.longrope->original_max_position;
      frequencies[i] /= (fits ? rope.longrope->short_factors : rope.longrope->long_factors)[i];
    }
  }
  return frequencies;
}

LayerRopes::LayerRopes(const ModelConfig& config) {
  constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
  for (const RopeConfig& rope : config.ropes) {
    entries_.push_back({Rope(RopeFrequencies(rope, config.head_dim, 0)),
                        rope.longrope ? rope.longrope->original_max_position : kAny,
                        Rope(RopeFrequencies(rope, config.head_dim, kAny))});
  }
}

const Rope& LayerRopes::At(int index, int64_t context_tokens) const {
  const Entry& entry = entries_[index];
  return context_tokens <= entry.original_max_position ? entry.rope : entry.stretched;
}

}  // namespace memgate
