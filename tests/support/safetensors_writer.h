// Writes safetensors images for tests, well-formed ones and deliberately wrong ones.
#ifndef MEMGATE_TESTS_SUPPORT_SAFETENSORS_WRITER_H_
#define MEMGATE_TESTS_SUPPORT_SAFETENSORS_WRITER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"

namespace memgate {

struct TensorToWrite {
  std::string name;
  std::string dtype;  // as safetensors spells it, e.g. "F32"
  std::vector<int64_t> shape;
  std::string data;  // raw bytes, row-major, little-endian
};

// REQUIRES: values.size() == product of shape.
TensorToWrite F32Tensor(std::string name, std::vector<int64_t> shape, absl::Span<const float> values);
// Takes the upper half of each value: exact for values with at most 8 significant bits.
TensorToWrite BF16Tensor(std::string name, std::vector<int64_t> shape, absl::Span<const float> values);

// A well-formed image with the tensors' bytes in the given order. `header_padding` spaces after the header
// shift the data, e.g. off alignment.
std::string SafetensorsImage(const std::vector<TensorToWrite>& tensors, int header_padding = 0);

// The length prefix, then `header_json`, then `data`; nothing is checked.
std::string RawSafetensorsImage(std::string_view header_json, std::string_view data);

absl::Span<const std::byte> AsBytes(std::string_view text);

}  // namespace memgate

#endif  // MEMGATE_TESTS_SUPPORT_SAFETENSORS_WRITER_H_
