// Inputs for comparisons with the oracle, and the distance to it.
#ifndef MEMGATE_TESTS_REFERENCE_COMPARE_H_
#define MEMGATE_TESTS_REFERENCE_COMPARE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "absl/types/span.h"

namespace memgate::reference {

// Uniform in [-1, 1), the same on every machine.
inline std::vector<float> RandomFloats(uint64_t seed, int64_t count) {
  std::mt19937_64 engine(seed);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = static_cast<float>(static_cast<double>(engine() >> 11) * 0x1p-52 - 1.0);
  return out;
}

// max |actual - expected| / max |expected|; infinity if the sizes differ or something is not a number.
inline double RelativeError(absl::Span<const float> actual, absl::Span<const double> expected) {
  if (actual.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double difference = 0;
  double size = 1e-30;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double d = std::abs(actual[i] - expected[i]);
    if (!std::isfinite(d)) return std::numeric_limits<double>::infinity();
    difference = std::max(difference, d);
    size = std::max(size, std::abs(expected[i]));
  }
  return difference / size;
}

}  // namespace memgate::reference

#endif  // MEMGATE_TESTS_REFERENCE_COMPARE_H_
