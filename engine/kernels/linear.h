// y = x W^T + b over constant weights, packed once at load. The one place that knows weight formats.
#ifndef MEMGATE_ENGINE_KERNELS_LINEAR_H_
#define MEMGATE_ENGINE_KERNELS_LINEAR_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
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
  Linear();
  Linear(Linear&&) noexcept;
  Linear& operator=(Linear&&) noexcept;
  ~Linear();

  // x: [rows, in_features], y: [rows, out_features]; must not overlap. A row's result does not depend on the
  // other rows, in no bit. Errors: INTERNAL with oneDNN's reason.
  absl::Status Apply(const float* x, int rows, float* y) const;

  int in_features() const;
  int out_features() const;
  int64_t packed_bytes() const;

 private:
  struct Packed;
  std::unique_ptr<Packed> packed_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_LINEAR_H_
