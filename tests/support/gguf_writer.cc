#include "tests/support/gguf_writer.h"

#include <cstdlib>
#include <iterator>

namespace memgate {
namespace {

template <typename T>
void Append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendText(std::string& out, std::string_view text) {
  Append(out, uint64_t{text.size()});
  out.append(text);
}

void Pad(std::string& out, uint64_t alignment) {
  out.resize((out.size() + alignment - 1) / alignment * alignment, '\0');
}

}  // namespace

uint32_t GgufTensorType(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kQ4_0:
      return 2;
    case DType::kQ4_1:
      return 3;
    case DType::kQ5_0:
      return 6;
    case DType::kQ5_1:
      return 7;
    case DType::kQ8_0:
      return 8;
    case DType::kQ2_K:
      return 10;
    case DType::kQ3_K:
      return 11;
    case DType::kQ4_K:
      return 12;
    case DType::kQ5_K:
      return 13;
    case DType::kQ6_K:
      return 14;
    case DType::kIQ4_NL:
      return 20;
    case DType::kIQ4_XS:
      return 23;
    case DType::kBF16:
      return 30;
  }
  std::abort();
}

GgufWriter& GgufWriter::Text(std::string_view key, std::string_view value) {
  std::string bytes;
  AppendText(bytes, value);
  return Raw(key, static_cast<uint32_t>(GgufType::kString), bytes);
}

GgufWriter& GgufWriter::Texts(std::string_view key, const std::vector<std::string>& values) {
  std::string elements;
  for (const std::string& value : values) AppendText(elements, value);
  return Array(key, GgufType::kString, values.size(), elements);
}

GgufWriter& GgufWriter::F32s(std::string_view key, const std::vector<float>& values) {
  std::string elements;
  for (const float value : values) Append(elements, value);
  return Array(key, GgufType::kFloat32, values.size(), elements);
}

GgufWriter& GgufWriter::I32s(std::string_view key, const std::vector<int32_t>& values) {
  std::string elements;
  for (const int32_t value : values) Append(elements, value);
  return Array(key, GgufType::kInt32, values.size(), elements);
}

GgufWriter& GgufWriter::Array(std::string_view key, GgufType type, uint64_t count,
                              std::string_view elements) {
  std::string bytes;
  Append(bytes, static_cast<uint32_t>(type));
  Append(bytes, count);
  bytes.append(elements);
  return Raw(key, static_cast<uint32_t>(GgufType::kArray), bytes);
}

GgufWriter& GgufWriter::Raw(std::string_view key, uint32_t type, std::string_view bytes) {
  AppendText(metadata_, key);
  Append(metadata_, type);
  metadata_.append(bytes);
  ++keys_;
  return *this;
}

GgufWriter& GgufWriter::Tensor(std::string_view name, const std::vector<int64_t>& shape, uint32_t type,
                               std::string_view data) {
  Pad(data_, alignment_);
  TensorAt(name, shape, type, data_.size());
  data_.append(data);
  return *this;
}

GgufWriter& GgufWriter::TensorAt(std::string_view name, const std::vector<int64_t>& shape, uint32_t type,
                                 uint64_t offset) {
  AppendText(infos_, name);
  Append(infos_, static_cast<uint32_t>(shape.size()));
  for (auto size = shape.rbegin(); size != shape.rend(); ++size) Append(infos_, *size);
  Append(infos_, type);
  Append(infos_, offset);
  ++tensors_;
  return *this;
}

GgufWriter& GgufWriter::Alignment(uint64_t alignment) {
  alignment_ = alignment;
  return *this;
}

std::string GgufWriter::Image(uint32_t version) const {
  std::string image = "GGUF";
  Append(image, version);
  Append(image, tensors_);
  Append(image, keys_);
  image += metadata_ + infos_;
  Pad(image, alignment_);
  return image + data_;
}

}  // namespace memgate
