// Numbers as tensors of GGUF files hold them, rounded as simply as the formats allow.
#ifndef MEMGATE_TESTS_SUPPORT_GGML_ENCODER_H_
#define MEMGATE_TESTS_SUPPORT_GGML_ENCODER_H_

#include <string>

#include "absl/types/span.h"
#include "engine/checkpoint/dtype.h"

namespace memgate {

// Bytes that DecodeElements makes nearly `values` of. F32, BF16, Q8_0 and Q4_K; aborts the test program for
// other types, and for numbers whose scale is none of f16. REQUIRES: whole blocks.
std::string EncodeElements(DType dtype, absl::Span<const float> values);

}  // namespace memgate

#endif  // MEMGATE_TESTS_SUPPORT_GGML_ENCODER_H_
