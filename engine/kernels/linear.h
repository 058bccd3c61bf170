// y = x W^T + b over constant weights, packed once at load. The one place that chooses among the matrices.
#ifndef MEMGATE_ENGINE_KERNELS_LINEAR_H_
#define MEMGATE_ENGINE_KERNELS_LINEAR_H_

#include <cstddef>
#include <cstdint>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/base/activation.h"
#include "engine/kernels/dnnl_matrix.h"
#include "engine/kernels/panel_matrix.h"
#include "engine/kernels/quantised_matrix.h"
#include "engine/kernels/weight_format.h"

namespace memgate {

// What is known of a layer before its weights are read.
struct LinearShape {
  WeightFormat format = WeightFormat::kF32;
  int out_features = 0;
  int in_features = 0;
  bool has_bias = false;
  bool gated = false;                         // two matrices of this size, gate and up, without bias
  Activation activation = Activation::kSilu;  // of the gate
};

// Not thread-safe: one thread calls the operations (work is spread over its pool, kernels/parallel.h).
//
// A row's result does not depend on the other rows, in no bit. x: [rows, in_features], y: [rows,
// out_features]; they must not overlap. scratch: at least ScratchBytes(shape, rows) at a multiple of
// kCacheLineBytes. Errors: RESOURCE_EXHAUSTED or INTERNAL with oneDNN's reason.
class Linear {
 public:
  // weight: [out_features, in_features] row-major, of a gated layer [2 out_features, in_features]: gate, then
  // up; only read during the call. bias: [out_features] or empty, as the shape says. INVALID_ARGUMENT for
  // weights that the format cannot hold; UNIMPLEMENTED for formats that this CPU cannot multiply row by row;
  // RESOURCE_EXHAUSTED or INTERNAL with oneDNN's reason.
  static absl::StatusOr<Linear> Pack(const LinearShape& shape, absl::Span<const float> weight,
                                     absl::Span<const float> bias);
  // The layer whose bytes() were stored; borrows them (QuantisedMatrix::View).
  static absl::StatusOr<Linear> View(const LinearShape& shape, absl::Span<const std::byte> packed);

  // packed_bytes() of a layer of this shape, before it is packed: rows and columns may be padded.
  static int64_t PackedBytes(const LinearShape& shape);
  static int64_t ScratchBytes(const LinearShape& shape, int rows);

  Linear() = default;  // 0 -> 0; to be assigned

  // y = x W^T + b. REQUIRES: not gated.
  absl::Status Apply(const float* x, int rows, float* y, absl::Span<std::byte> scratch) const;
  // y += x W^T + b. REQUIRES: not gated.
  absl::Status AddTo(const float* x, int rows, float* y, absl::Span<std::byte> scratch) const;
  // y = activation(x Wgate^T) * (x Wup^T). REQUIRES: gated.
  absl::Status ApplyGated(const float* x, int rows, float* y, absl::Span<std::byte> scratch) const;

  const LinearShape& shape() const { return shape_; }
  int64_t packed_bytes() const;
  // All that View needs; empty for formats that it does not know (f32, bf16).
  absl::Span<const std::byte> bytes() const;

 private:
  // Integers in ours; floats in oneDNN's where it keeps rows apart, else in ours.
  using Matrix = std::variant<PanelMatrix, DnnlMatrix, QuantisedMatrix>;
  Linear(const LinearShape& shape, Matrix matrix);

  LinearShape shape_;
  Matrix matrix_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_LINEAR_H_
