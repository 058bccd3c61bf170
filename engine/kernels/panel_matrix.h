// A constant f32 matrix in panels of outputs, multiplied in SIMD with run-time dispatch.
#ifndef MEMGATE_ENGINE_KERNELS_PANEL_MATRIX_H_
#define MEMGATE_ENGINE_KERNELS_PANEL_MATRIX_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace memgate {

// Every output is one sum over the inputs in ascending order, started from the bias: the rows that are
// multiplied together, their number and the threads change no bit of it. Constant after construction.
class PanelMatrix {
 public:
  PanelMatrix() = default;
  // weight: [out_features, in_features] row-major, only read during the call. bias: [out_features] or empty.
  PanelMatrix(absl::Span<const float> weight, absl::Span<const float> bias, int out_features,
              int in_features);

  // Bytes that a matrix of this size holds.
  static int64_t Bytes(int out_features, int in_features);
  // What this one holds.
  int64_t bytes() const { return static_cast<int64_t>((panels_.size() + bias_.size()) * sizeof(float)); }

  // y = x W^T + b. x: [rows, in_features], y: [rows, out_features]; must not overlap.
  void Apply(const float* x, int rows, float* y) const;
  // y += x W^T + b.
  void AddTo(const float* x, int rows, float* y) const;

 private:
  // Calls finish(sums, count, y) for every row's `count` sums of a panel and their place in y.
  template <class Finish>
  void Multiply(const float* x, int rows, float* y, const Finish& finish) const;

  int out_features_ = 0;
  int in_features_ = 0;
  std::vector<float> panels_;  // [panels, in_features, outputs of a panel], zeros behind the last output
  std::vector<float> bias_;    // [panels, outputs of a panel]
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_PANEL_MATRIX_H_
