#include "engine/model/rope_frequencies.h"

#include <cmath>
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

std::vector<double> RopeFrequencies(const RopeConfig& rope, int head_dim) {
  std::vector<double> frequencies(head_dim / 2);
  for (int i = 0; i < head_dim / 2; ++i) {
    const double frequency = std::pow(rope.theta, -2.0 * i / head_dim) / rope.linear_factor;
    frequencies[i] = rope.llama3 ? StretchLlama3(frequency, *rope.llama3) : frequency;
  }
  return frequencies;
}

}  // namespace memgate
