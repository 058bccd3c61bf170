// Plain-loop twins of engine/kernels/, in double precision.
#ifndef MEMGATE_TESTS_REFERENCE_OPERATORS_H_
#define MEMGATE_TESTS_REFERENCE_OPERATORS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/checkpoint/model_config.h"

namespace memgate::reference {

using Vector = std::vector<double>;
using Rows = std::vector<Vector>;

double Dot(absl::Span<const double> x, absl::Span<const double> y);

// x / sqrt(mean(x^2) + eps) * weight.
Vector RmsNorm(absl::Span<const double> x, absl::Span<const double> weight, double eps);

// activation(gate) * up.
Vector ActivateMultiply(Activation activation, absl::Span<const double> gate, absl::Span<const double> up);

// W x + b. weight: [out, x.size()] row-major; bias: [out] or empty.
Vector Linear(absl::Span<const double> weight, absl::Span<const double> bias, absl::Span<const double> x);

// Weights of a softmax.
Vector Softmax(absl::Span<const double> logits);

// sum_r softmax(logits)_r values_r; zeros of size `dim` without rows.
Vector WeightedSum(absl::Span<const double> logits, const Rows& values, int dim);

// Radians per position of each pair of elements that is rotated, scaling for so long a context included. At
// most [D/2].
Vector RopeFrequencies(const RopeConfig& rope, int head_dim, int64_t context_tokens = 0);

// x with the pair (i, i + n) rotated by position * frequencies[i], n = frequencies.size().
Vector Rotated(absl::Span<const double> x, absl::Span<const double> frequencies, double position);

Vector ToDouble(absl::Span<const float> x);

}  // namespace memgate::reference

#endif  // MEMGATE_TESTS_REFERENCE_OPERATORS_H_
