// A constant matrix of 8- or 4-bit integers, multiplied in integers with run-time SIMD dispatch.
#ifndef MEMGATE_ENGINE_KERNELS_QUANTISED_MATRIX_H_
#define MEMGATE_ENGINE_KERNELS_QUANTISED_MATRIX_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/base/activation.h"
#include "engine/kernels/aligned_bytes.h"
#include "engine/kernels/weight_format.h"

namespace memgate {

struct QuantisedShape {
  WeightFormat format = WeightFormat::kInt8;  // kInt8 or kInt4
  int out_features = 0;
  int in_features = 0;  // at most QuantisedMatrix::kMaxInFeatures
  bool gated = false;   // two matrices of this size, gate and up, of one layer
};

// y = x W^T with W(o, k) = scale_o * w(o, k), w in [-127, 127].
//   kInt8: w is stored; scale_o is the largest magnitude of the output's weights / 127.
//   kInt4: w(o, k) = s(o, k / 32) * q(o, k), of which s in [-15, 15] and q in [-8, 7] are stored: 4.25 bits
//   a weight. s and q minimise the squared error; w never leaves 8 bits, so both formats are one product.
// Each row of x is rounded to 8 bits by itself, x(r, k) ~ scale_r * a(r, k), a in [-127, 127]; the sums of
// w * a are exact integers. So neither the SIMD target changes them, nor do the other rows or the threads
// change any bit of a row of y. A row whose largest magnitude is below kLeastMagnitude counts as zeros; a
// row that holds a NaN or an infinity gives NaNs.
//
// All that is needed to multiply lies in one block of bytes (engine/kernels/quantised_layout.h), which can be
// stored and viewed again. Constant after construction; thread-safe, except that work is spread over the
// caller's pool (kernels/parallel.h).
class QuantisedMatrix {
 public:
  // Sums of products stay within 32 bits.
  static constexpr int kMaxInFeatures = 1 << 17;
  static constexpr float kLeastMagnitude = 0x1p-100f;
  // Of bytes(): other places of the values, or other values for the same weights, need another version, or
  // old files of the weight cache would still be read.
  static constexpr uint32_t kLayoutVersion = 2;

  // Size of bytes() for a matrix of this shape, before it exists.
  static int64_t Bytes(const QuantisedShape& shape);

  // Rounds weights. weight: [out_features, in_features] row-major, of a gated matrix [2 out_features,
  // in_features]: gate, then up. bias: [out_features] or empty; a gated matrix has none.
  // INVALID_ARGUMENT: a weight that is no finite number, or a size out of range.
  static absl::StatusOr<QuantisedMatrix> Quantise(const QuantisedShape& shape, absl::Span<const float> weight,
                                                  absl::Span<const float> bias);

  // The matrix whose bytes() were stored. Borrows `packed`, which must outlive it and lie at a multiple of
  // kCacheLineBytes. INVALID_ARGUMENT if they are not those of a matrix of this shape in this layout; the
  // weights themselves are not checked, and any bytes of the right size and header are safe to multiply by.
  static absl::StatusOr<QuantisedMatrix> View(const QuantisedShape& shape,
                                              absl::Span<const std::byte> packed);

  QuantisedMatrix() = default;

  const QuantisedShape& shape() const { return shape_; }
  // Little-endian, whatever SIMD target packed them.
  absl::Span<const std::byte> bytes() const { return bytes_; }

  // Work memory of the operations below for `rows` rows of in_features inputs.
  static int64_t ScratchBytes(int rows, int in_features);

  // What each of the operations below begins with: rounds the rows of x [rows, in_features] to 8 bits, into
  // `scratch` as below.
  static void QuantiseRows(const float* x, int rows, int in_features, absl::Span<std::byte> scratch);
  // y = x W^T + b. x: [rows, in_features], y: [rows, out_features]; must not overlap. scratch: at least
  // ScratchBytes(rows, in_features) at a multiple of kCacheLineBytes. REQUIRES: not gated.
  void Apply(const float* x, int rows, float* y, absl::Span<std::byte> scratch) const;
  // y += x W^T + b, rounded as if the sum were made after Apply.
  void AddTo(const float* x, int rows, float* y, absl::Span<std::byte> scratch) const;
  // y = activation(x Wgate^T) * (x Wup^T). y: [rows, out_features]. REQUIRES: gated.
  void ApplyGated(Activation activation, const float* x, int rows, float* y,
                  absl::Span<std::byte> scratch) const;

 private:
  QuantisedShape shape_;
  AlignedBytes owned_;                 // empty if the bytes are borrowed
  absl::Span<const std::byte> bytes_;  // lie in owned_ or with someone else
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_QUANTISED_MATRIX_H_
