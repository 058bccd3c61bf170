// A constant f32 or bf16 matrix in oneDNN's packed layout.
#ifndef MEMGATE_ENGINE_KERNELS_DNNL_MATRIX_H_
#define MEMGATE_ENGINE_KERNELS_DNNL_MATRIX_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/kernels/weight_format.h"

namespace memgate {

// Exists only where oneDNN computes each row by itself, so that a row's bits do not depend on the rows beside
// it. The outputs are packed in one slice for each of the ComputeThreads() of the thread that packs; Apply
// spreads slices and blocks of rows over the pool (kernels/parallel.h) and keeps oneDNN's own threads
// (OpenMP) out of it, whatever OMP_* variables say. Not thread-safe: one thread calls Apply, which caches
// primitives.
//
// kF32: f32 throughout. kBf16: weights and x are rounded to bfloat16 (to nearest, ties to even); products are
// exact in f32, and sums, bias and y are f32.
class DnnlMatrix {
 public:
  // Bytes that a matrix of this size will hold if the calling thread packs it (rows and columns may be
  // padded). None where oneDNN's kernel on this CPU sums a row in another order beside other rows, and for
  // other formats.
  static std::optional<int64_t> Bytes(int out_features, int in_features, bool has_bias, WeightFormat format);

  // weight: [out_features, in_features] row-major, only read during the call. bias: [out_features] or empty.
  // UNIMPLEMENTED where Bytes() is none; RESOURCE_EXHAUSTED or INTERNAL with oneDNN's reason.
  static absl::StatusOr<DnnlMatrix> Pack(absl::Span<const float> weight, absl::Span<const float> bias,
                                         int out_features, int in_features, WeightFormat format);
  DnnlMatrix(DnnlMatrix&&) noexcept;
  DnnlMatrix& operator=(DnnlMatrix&&) noexcept;
  ~DnnlMatrix();

  int64_t bytes() const;

  // y = x W^T + b. x: [rows, in_features], y: [rows, out_features]; must not overlap. RESOURCE_EXHAUSTED or
  // INTERNAL with oneDNN's reason.
  absl::Status Apply(const float* x, int rows, float* y) const;
  // y += x W^T + b, rounded as if the sum were made after Apply.
  absl::Status AddTo(const float* x, int rows, float* y) const;

 private:
  struct Packed;
  explicit DnnlMatrix(std::unique_ptr<Packed> packed);
  std::unique_ptr<Packed> packed_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_DNNL_MATRIX_H_
