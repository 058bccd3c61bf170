// Writes GGUF images for tests, well-formed ones and deliberately wrong ones.
#ifndef MEMGATE_TESTS_SUPPORT_GGUF_WRITER_H_
#define MEMGATE_TESTS_SUPPORT_GGUF_WRITER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/gguf.h"

namespace memgate {

// The file's number of a tensor type that memgate reads.
uint32_t GgufTensorType(DType dtype);

// Keys and tensors in the order of the calls; nothing is checked.
//
// Usage: const std::string image = GgufWriter().Text("general.architecture", "llama").U32(...).Image();
class GgufWriter {
 public:
  GgufWriter& U32(std::string_view key, uint32_t value) { return Scalar(key, GgufType::kUint32, value); }
  GgufWriter& I32(std::string_view key, int32_t value) { return Scalar(key, GgufType::kInt32, value); }
  GgufWriter& U64(std::string_view key, uint64_t value) { return Scalar(key, GgufType::kUint64, value); }
  GgufWriter& F32(std::string_view key, float value) { return Scalar(key, GgufType::kFloat32, value); }
  GgufWriter& F64(std::string_view key, double value) { return Scalar(key, GgufType::kFloat64, value); }
  GgufWriter& Bool(std::string_view key, bool value) {
    return Scalar(key, GgufType::kBool, static_cast<uint8_t>(value));
  }
  GgufWriter& Text(std::string_view key, std::string_view value);
  GgufWriter& Texts(std::string_view key, const std::vector<std::string>& values);
  GgufWriter& F32s(std::string_view key, const std::vector<float>& values);
  GgufWriter& I32s(std::string_view key, const std::vector<int32_t>& values);
  // A key, its type, and whatever bytes are to follow.
  GgufWriter& Raw(std::string_view key, uint32_t type, std::string_view bytes);

  // `shape` row-major; `data` is placed at the next multiple of the alignment.
  GgufWriter& Tensor(std::string_view name, const std::vector<int64_t>& shape, uint32_t type,
                     std::string_view data);
  // The same with an offset that may be wrong.
  GgufWriter& TensorAt(std::string_view name, const std::vector<int64_t>& shape, uint32_t type,
                       uint64_t offset);

  // Of the next tensors and of the image's data; the file says it only if a key does.
  GgufWriter& Alignment(uint64_t alignment);

  std::string Image(uint32_t version = 3) const;

 private:
  template <typename T>
  GgufWriter& Scalar(std::string_view key, GgufType type, T value) {
    return Raw(key, static_cast<uint32_t>(type), {reinterpret_cast<const char*>(&value), sizeof(value)});
  }
  GgufWriter& Array(std::string_view key, GgufType type, uint64_t count, std::string_view elements);

  uint64_t alignment_ = 32;
  uint64_t keys_ = 0;
  uint64_t tensors_ = 0;
  std::string metadata_;
  std::string infos_;
  std::string data_;
};

}  // namespace memgate

#endif  // MEMGATE_TESTS_SUPPORT_GGUF_WRITER_H_
