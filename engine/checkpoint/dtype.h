// Element types of tensors, block-quantised ones included.
#ifndef MEMGATE_ENGINE_CHECKPOINT_DTYPE_H_
#define MEMGATE_ENGINE_CHECKPOINT_DTYPE_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/types/span.h"

namespace memgate {

// The quantised types are those of GGUF files: a row is cut into blocks, each of which holds its elements as
// small integers beside the numbers that scale them (ggml_blocks.cc has the layouts).
enum class DType {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
};

// As safetensors and GGUF spell it: "F32", "Q4_K".
std::string_view DTypeName(DType dtype);

// Elements that are stored together, 1 for types that are not quantised. A row holds whole blocks.
int64_t BlockElements(DType dtype);

// Bytes of `elements` elements of one row, or of any number of whole rows. REQUIRES: a multiple of
// BlockElements, and a result that fits an int64.
int64_t DTypeBytes(DType dtype, int64_t elements);

// The values of out.size() elements at `data`, which need not be aligned. Each is the real number that the
// format defines, rounded once to f32, to nearest; for all types but those with a minimum per block (Q4_1,
// Q5_1, Q2_K, Q4_K, Q5_K) it is exact. REQUIRES: as DTypeBytes.
void DecodeElements(DType dtype, const std::byte* data, absl::Span<float> out);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_DTYPE_H_
