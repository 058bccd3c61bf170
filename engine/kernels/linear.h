// y = x W^T + b over constant weights, packed once at load. The one place that chooses among the matrices.
#ifndef MEMGATE_ENGINE_KERNELS_LINEAR_H_
#define MEMGATE_ENGINE_KERNELS_LINEAR_H_

#include <cstdint>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/kernels/dnnl_matrix.h"
#include "engine/kernels/panel_matrix.h"
#include "engine/kernels/weight_format.h"

namespace memgate {

// Not thread-safe: one thread calls Apply (work is spread over its pool, kernels/parallel.h).
class Linear {
 public:
  // weight: [out_features, in_features] row-major, only read during the call. bias: [out_features] or empty.
  // RESOURCE_EXHAUSTED or INTERNAL with oneDNN's reason.
  static absl::StatusOr<Linear> Pack(absl::Span<const float> weight, absl::Span<const float> bias,
                                     int out_features, int in_features, WeightFormat format);
  // packed_bytes() of a layer of this size, before it is packed: rows and columns may be padded.
  static int64_t PackedBytes(int out_features, int in_features, bool has_bias, WeightFormat format);
  Linear() = default;  // 0 -> 0; to be assigned

  // x: [rows, in_features], y: [rows, out_features]; must not overlap. A row's result does not depend on the
  // other rows, in no bit. Errors: INTERNAL with oneDNN's reason.
  absl::Status Apply(const float* x, int rows, float* y) const;

  int in_features() const { return in_features_; }
  int out_features() const { return out_features_; }
  int64_t packed_bytes() const;

 private:
  // oneDNN's where it keeps rows apart, else ours.
  using Matrix = std::variant<PanelMatrix, DnnlMatrix>;
  Linear(Matrix matrix, int out_features, int in_features);

  Matrix matrix_;
  int out_features_ = 0;
  int in_features_ = 0;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_LINEAR_H_
