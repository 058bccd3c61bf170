#include "engine/kernels/quantised_packing.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/kernels/parallel.h"
#include "engine/kernels/quantised_layout.h"

namespace memgate {
namespace {

constexpr float kLargestInt8 = 127.0f;
// Group scale times the farthest 4-bit integer must fit into 8 bits: 15 * -8 = -120.
constexpr int kLargestGroupScale = 15;
constexpr float kLeastInt4 = -8.0f;
constexpr float kLargestInt4 = 7.0f;
// Group scales that are tried lie this close to the one that maps the largest weight to -8.
constexpr int kScaleCandidates = 2;

// One output's weights as integers; `integers` of int4 are q, and `group_scales` what they are multiplied by.
struct QuantisedRow {
  std::vector<float> integers;      // [in]
  std::vector<float> group_scales;  // [groups], int4 only
  float scale = 0.0f;
};

// Infinity if one of the n numbers is not finite.
float LargestMagnitude(const float* x, int n) {
  float largest = 0.0f;
  bool finite = true;
  for (int i = 0; i < n; ++i) {
    const float magnitude = std::abs(x[i]);
    finite &= magnitude <= std::numeric_limits<float>::max();
    largest = std::max(largest, magnitude);
  }
  return finite ? largest : std::numeric_limits<float>::infinity();
}

void QuantiseInt8(const float* weight, int n, float largest, QuantisedRow& out) {
  out.scale = largest / kLargestInt8;
  const float inverse = kLargestInt8 / largest;
  for (int i = 0; i < n; ++i) out.integers[i] = std::rint(weight[i] * inverse);
}

// q = the integers in [-8, 7] for which s q is nearest to x. Returns the squared error.
float RoundGroup(const float* x, int n, float s, float* q) {
  const float inverse = 1.0f / s;
  float error = 0.0f;
  for (int i = 0; i < n; ++i) {
    q[i] = std::clamp(std::rint(x[i] * inverse), kLeastInt4, kLargestInt4);
    const float rest = x[i] - s * q[i];
    error += rest * rest;
  }
  return error;
}

// The scale in [-15, 15] and the integers with the least squared error that were found. x: a group in units
// of its output, at most 120 in magnitude.
float QuantiseGroup(const float* x, int n, float* q) {
  const float* farthest =
      std::max_element(x, x + n, [](float a, float b) { return std::abs(a) < std::abs(b); });
  const float sign = *farthest > 0.0f ? -1.0f : 1.0f;
  const int nearest = static_cast<int>(std::rint(std::abs(*farthest) / -kLeastInt4));
  const int low = std::max(1, nearest - kScaleCandidates);
  const int high = std::min(kLargestGroupScale, std::max(low, nearest + 1));
  float best = 0.0f;
  float least_error = std::numeric_limits<float>::infinity();
  float candidate[kGroupInputs];
  for (int s = low; s <= high; ++s) {
    const float error = RoundGroup(x, n, sign * static_cast<float>(s), candidate);
    if (error >= least_error) continue;
    least_error = error;
    best = sign * static_cast<float>(s);
    std::copy_n(candidate, n, q);
  }
  return best;
}

void QuantiseInt4(const float* weight, int n, float largest, QuantisedRow& out) {
  const float inverse = kLargestGroupScale * -kLeastInt4 / largest;
  double products = 0.0, squares = 0.0;  // of weight * integer and integer^2
  for (int begin = 0; begin < n; begin += kGroupInputs) {
    const int count = std::min(kGroupInputs, n - begin);
    float x[kGroupInputs];
    for (int i = 0; i < count; ++i) x[i] = weight[begin + i] * inverse;
    float* q = &out.integers[begin];
    const float s = QuantiseGroup(x, count, q);
    out.group_scales[begin / kGroupInputs] = s;
    for (int i = 0; i < count; ++i) {
      products += double{weight[begin + i]} * (s * q[i]);
      squares += double{s * q[i]} * (s * q[i]);
    }
  }
  out.scale = static_cast<float>(products / squares);  // least squares, given the integers
}

// False if a weight is not finite.
bool QuantiseRow(const float* weight, int n, bool int4, QuantisedRow& out) {
  const float largest = LargestMagnitude(weight, n);
  if (largest > std::numeric_limits<float>::max()) return false;
  if (largest < QuantisedMatrix::kLeastMagnitude) {
    out.scale = 0.0f;
    std::fill(out.integers.begin(), out.integers.end(), 0.0f);
    std::fill(out.group_scales.begin(), out.group_scales.end(), 0.0f);
  } else if (int4) {
    QuantiseInt4(weight, n, largest, out);
  } else {
    QuantiseInt8(weight, n, largest, out);
  }
  return true;
}

int32_t SumOfIntegers(const QuantisedRow& row, bool int4) {
  int32_t sum = 0;
  for (size_t k = 0; k < row.integers.size(); ++k) {
    sum += static_cast<int32_t>(row.integers[k] * (int4 ? row.group_scales[k / kGroupInputs] : 1.0f));
  }
  return sum;
}

// Puts a quantised row at output `lane` of a panel that holds zeros.
class PanelWriter {
 public:
  PanelWriter(const QuantisedLayout& layout, std::byte* panel)
      : outputs_(*reinterpret_cast<PanelOutputs*>(panel)),
        weights_(reinterpret_cast<uint8_t*>(panel + sizeof(PanelOutputs))),
        int4_(layout.int4) {}

  void Write(int lane, const QuantisedRow& row, float bias) {
    outputs_.scale[lane] = row.scale;
    outputs_.correction[lane] = kZeroPoint * SumOfIntegers(row, int4_);
    outputs_.bias[lane] = bias;
    for (size_t g = 0; g < row.group_scales.size(); ++g) {
      weights_[GroupScalesOffset(g) + lane] = static_cast<uint8_t>(static_cast<int>(row.group_scales[g]));
    }
    for (size_t k = 0; k < row.integers.size(); ++k) {
      const auto integer = static_cast<uint8_t>(static_cast<int>(row.integers[k]));
      const size_t byte = k % kStepInputs + size_t{kStepInputs} * lane;
      if (!int4_) {
        weights_[k / kStepInputs * kStepBytes + byte] = integer;
      } else {
        const int shift = k / kStepInputs % 2 * 4;
        const size_t step = k % kGroupInputs / (2 * kStepInputs);
        weights_[NibblesOffset(k / kGroupInputs) + step * kStepBytes + byte] |= (integer & 15) << shift;
      }
    }
  }

 private:
  PanelOutputs& outputs_;
  uint8_t* weights_;
  bool int4_;
};

}  // namespace

absl::Status PackPanels(const QuantisedShape& shape, absl::Span<const float> weight,
                        absl::Span<const float> bias, absl::Span<std::byte> panels) {
  const QuantisedLayout layout(shape);
  const int n = shape.in_features;
  std::atomic<bool> finite = true;
  ParallelFor(layout.panels, LeastItems(64 * int64_t{n}), [&](int64_t begin, int64_t end, int) {
    QuantisedRow row{std::vector<float>(n), std::vector<float>(layout.int4 ? layout.groups : 0)};
    for (int64_t p = begin; p < end; ++p) {
      std::byte* panel = panels.data() + p * layout.panel_bytes();
      std::fill_n(panel, layout.panel_bytes(), std::byte{0});
      PanelWriter writer(layout, panel);
      for (int lane = 0; lane < kPanelOutputs; ++lane) {
        const int64_t output = p * layout.outputs + lane % layout.outputs;
        if (output >= shape.out_features) continue;
        const int64_t stored = output + (lane >= layout.outputs ? shape.out_features : 0);
        if (!QuantiseRow(weight.data() + stored * n, n, layout.int4, row)) finite = false;
        writer.Write(lane, row, bias.empty() ? 0.0f : bias[output]);
      }
    }
  });
  return finite ? absl::OkStatus() : absl::InvalidArgumentError("a weight is no finite number");
}

}  // namespace memgate
