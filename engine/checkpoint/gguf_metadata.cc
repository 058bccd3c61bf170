#include "engine/checkpoint/gguf_metadata.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/part_errors.h"

namespace memgate {
namespace {

// Real chat templates have less than 100 kB, real vocabularies and their merges less than 20 MB.
constexpr size_t kMaxTextBytes = size_t{16} << 20;
constexpr size_t kMaxArrayBytes = size_t{256} << 20;

template <typename T>
T At(const GgufValue& value, uint64_t index) {
  T element;
  std::memcpy(&element, value.bytes.data() + index * sizeof(T), sizeof(T));
  return element;
}

// Element `index` as int64, if it is an integer that fits one.
std::optional<int64_t> IntAt(const GgufValue& value, uint64_t index) {
  switch (value.type) {
    case GgufType::kUint8:
      return At<uint8_t>(value, index);
    case GgufType::kInt8:
      return At<int8_t>(value, index);
    case GgufType::kUint16:
      return At<uint16_t>(value, index);
    case GgufType::kInt16:
      return At<int16_t>(value, index);
    case GgufType::kUint32:
      return At<uint32_t>(value, index);
    case GgufType::kInt32:
      return At<int32_t>(value, index);
    case GgufType::kInt64:
      return At<int64_t>(value, index);
    case GgufType::kUint64: {
      const uint64_t number = At<uint64_t>(value, index);
      if (number > std::numeric_limits<int64_t>::max()) return std::nullopt;
      return static_cast<int64_t>(number);
    }
    default:
      return std::nullopt;
  }
}

std::optional<double> NumberAt(const GgufValue& value, uint64_t index) {
  if (value.type == GgufType::kFloat32) return At<float>(value, index);
  if (value.type == GgufType::kFloat64) return At<double>(value, index);
  if (const auto number = IntAt(value, index)) return static_cast<double>(*number);
  return std::nullopt;
}

bool AllEqual(const GgufValue& value) {
  const size_t size = value.bytes.size() / value.count;
  for (uint64_t i = 1; i < value.count; ++i) {
    if (std::memcmp(value.bytes.data(), value.bytes.data() + i * size, size) != 0) return false;
  }
  return true;
}

}  // namespace

const GgufValue* GgufMetadata::Find(std::string_view key) const {
  const auto found = file_.metadata.find(key);
  return found == file_.metadata.end() ? nullptr : &found->second;
}

std::optional<int64_t> GgufMetadata::Int(std::string_view key, int64_t min, int64_t max) {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_array && value->type != GgufType::kString && value->count > 0 && !AllEqual(*value)) {
    FailUnsupported(key, "values that differ from layer to layer are not supported");
    return std::nullopt;
  }
  if (value->count > 0) {
    if (const auto number = IntAt(*value, 0); number && *number >= min && *number <= max) return number;
  }
  Fail(key, absl::StrCat("must be an integer within ", min, "..", max));
  return std::nullopt;
}

std::optional<double> GgufMetadata::Number(std::string_view key) {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array) {
    if (const auto number = NumberAt(*value, 0); number && std::isfinite(*number)) return number;
  }
  Fail(key, "must be a finite number");
  return std::nullopt;
}

std::optional<bool> GgufMetadata::Bool(std::string_view key) {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array && value->type == GgufType::kBool && At<uint8_t>(*value, 0) <= 1) {
    return At<uint8_t>(*value, 0) == 1;
  }
  Fail(key, "must be true or false");
  return std::nullopt;
}

std::optional<std::string> GgufMetadata::String(std::string_view key) {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array && value->type == GgufType::kString) {
    const auto text = value->bytes.subspan(sizeof(uint64_t));
    if (text.size() > kMaxTextBytes) {
      Fail(key, absl::StrCat("has ", text.size(), " bytes, at most ", kMaxTextBytes));
      return std::nullopt;
    }
    return std::string(reinterpret_cast<const char*>(text.data()), text.size());
  }
  Fail(key, "must be a string");
  return std::nullopt;
}

const GgufValue* GgufMetadata::Array(std::string_view key, uint64_t max_count) {
  const GgufValue* value = Find(key);
  if (value == nullptr) return nullptr;
  if (!value->is_array) {
    Fail(key, "must be an array");
    return nullptr;
  }
  if (value->count > max_count) {
    Fail(key, absl::StrCat("has ", value->count, " elements, at most ", max_count));
    return nullptr;
  }
  if (value->bytes.size() > kMaxArrayBytes) {
    Fail(key, absl::StrCat("has ", value->bytes.size(), " bytes, at most ", kMaxArrayBytes));
    return nullptr;
  }
  return value;
}

std::vector<float> GgufMetadata::Floats(std::string_view key, uint64_t max_count) {
  const GgufValue* value = Array(key, max_count);
  if (value == nullptr) return {};
  if (value->type != GgufType::kFloat32) {
    Fail(key, "must be an array of 32-bit floats");
    return {};
  }
  std::vector<float> numbers(value->count);
  DecodeElements(DType::kF32, value->bytes.data(), absl::MakeSpan(numbers));
  return numbers;
}

std::vector<int32_t> GgufMetadata::Ints(std::string_view key, uint64_t max_count) {
  const GgufValue* value = Array(key, max_count);
  if (value == nullptr) return {};
  std::vector<int32_t> numbers;
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto number = IntAt(*value, i);
    if (!number || *number < std::numeric_limits<int32_t>::min() ||
        *number > std::numeric_limits<int32_t>::max()) {
      Fail(key, "must be an array of 32-bit integers");
      return {};
    }
    numbers.push_back(static_cast<int32_t>(*number));
  }
  return numbers;
}

std::vector<std::string> GgufMetadata::Strings(std::string_view key, uint64_t max_count) {
  const GgufValue* value = Array(key, max_count);
  if (value == nullptr) return {};
  if (value->type != GgufType::kString) {
    Fail(key, "must be an array of strings");
    return {};
  }
  std::vector<std::string> texts;
  absl::Span<const std::byte> rest = value->bytes;
  for (uint64_t i = 0; i < value->count; ++i) {  // lengths were checked by ParseGguf
    uint64_t size;
    std::memcpy(&size, rest.data(), sizeof(size));
    texts.emplace_back(reinterpret_cast<const char*>(rest.data()) + sizeof(size), size);
    rest.remove_prefix(sizeof(size) + size);
  }
  return texts;
}

std::string GgufMetadata::Bytes(std::string_view key, uint64_t max_count) {
  const GgufValue* value = Array(key, max_count);
  if (value == nullptr) return {};
  if (value->type != GgufType::kUint8 && value->type != GgufType::kInt8) {
    Fail(key, "must be an array of bytes");
    return {};
  }
  return {reinterpret_cast<const char*>(value->bytes.data()), value->bytes.size()};
}

void GgufMetadata::Fail(std::string_view key, const std::string& reason) {
  status_.Update(KeyError(key, reason));
}

void GgufMetadata::FailUnsupported(std::string_view key, const std::string& reason) {
  status_.Update(KeyError(key, reason, absl::StatusCode::kUnimplemented));
}

}  // namespace memgate
