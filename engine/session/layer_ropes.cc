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
  const int pairs = rope.Pairs(head_dim);
  for (int i = 0; i < pairs; ++i) {
    const double frequency = std::pow(rope.theta, -static_cast<double>(i) / pairs) / rope.linear_factor;
    frequencies[i] = rope.llama3 ? StretchLlama3(frequency, *rope.llama3) : frequency;
    if (!rope.divisors.empty()) frequencies[i] /= rope.divisors[i];
    if (rope.longrope) {
      const LongRopeScaling& scaling = *rope.longrope;
      frequencies[i] /= (scaling.Stretches(context_tokens) ? scaling.long_factors : scaling.short_factors)[i];
    }
  }
  return frequencies;
}

LayerRopes::LayerRopes(const ModelConfig& config) {
  constexpr int64_t kLongest = std::numeric_limits<int64_t>::max();
  for (const RopeConfig& rope : config.ropes) {
    entries_.push_back({rope.longrope, Rope(RopeFrequencies(rope, config.head_dim, 0)),
                        Rope(RopeFrequencies(rope, config.head_dim, kLongest))});
  }
}

const Rope& LayerRopes::At(int index, int64_t context_tokens) const {
  const Entry& entry = entries_[index];
  const bool stretches = entry.longrope && entry.longrope->Stretches(context_tokens);
  return stretches ? entry.stretched : entry.rope;
}

}  // namespace memgate
