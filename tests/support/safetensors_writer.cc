#include "tests/support/safetensors_writer.h"

#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

namespace memgate {
namespace {

template <typename T>
void AppendRaw(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

}  // namespace

TensorToWrite F32Tensor(std::string name, std::vector<int64_t> shape, absl::Span<const float> values) {
  TensorToWrite tensor{std::move(name), "F32", std::move(shape), {}};
  for (const float value : values) AppendRaw(tensor.data, value);
  return tensor;
}

TensorToWrite BF16Tensor(std::string name, std::vector<int64_t> shape, absl::Span<const float> values) {
  TensorToWrite tensor{std::move(name), "BF16", std::move(shape), {}};
  for (const float value : values) {
    AppendRaw(tensor.data, static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
  }
  return tensor;
}

std::string SafetensorsImage(const std::vector<TensorToWrite>& tensors, int header_padding) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  for (const TensorToWrite& tensor : tensors) {
    const size_t begin = data.size();
    data += tensor.data;
    header[tensor.name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  return RawSafetensorsImage(header.dump() + std::string(header_padding, ' '), data);
}

std::string RawSafetensorsImage(std::string_view header_json, std::string_view data) {
  std::string image;
  AppendRaw(image, static_cast<uint64_t>(header_json.size()));
  image.append(header_json);
  image.append(data);
  return image;
}

absl::Span<const std::byte> AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

}  // namespace memgate
