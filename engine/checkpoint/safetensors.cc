// The header of a safetensors file: 8 bytes little-endian length N, N bytes of JSON, then the tensors' bytes.
#include "engine/checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/checkpoint/json_util.h"
#include "engine/checkpoint/part_errors.h"

namespace memgate {
namespace {

using nlohmann::json;

constexpr size_t kLengthBytes = 8;
// The format's own limit on its header.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
// {name: {"shape": [...]}} is three levels; the rest is slack for what writers put into __metadata__.
constexpr int kMaxHeaderDepth = 8;
constexpr size_t kMaxRank = 8;
constexpr size_t kMaxNameBytes = 1024;

struct ElementType {
  std::string_view name;
  size_t bits;
  std::optional<DType> dtype;
};

constexpr ElementType kElementTypes[] = {
    {"F32", 32, DType::kF32},
    {"F16", 16, DType::kF16},
    {"BF16", 16, DType::kBF16},
    {"F64", 64},
    {"I64", 64},
    {"U64", 64},
    {"I32", 32},
    {"U32", 32},
    {"I16", 16},
    {"U16", 16},
    {"I8", 8},
    {"U8", 8},
    {"BOOL", 8},
    {"F8_E4M3", 8},
    {"F8_E5M2", 8},
};

absl::StatusOr<std::vector<int64_t>> ParseShape(const std::string& name, const json& value) {
  const auto shape = value.find("shape");
  if (shape == value.end() || !shape->is_array()) return TensorError(name, "shape must be a list");
  if (shape->size() > kMaxRank) {
    return TensorError(name, absl::StrCat("shape has ", shape->size(), " dimensions, at most ", kMaxRank));
  }
  std::vector<int64_t> sizes;
  for (const json& size : *shape) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > std::numeric_limits<int64_t>::max()) {
      return TensorError(name, absl::StrCat("shape holds ", DescribeJson(size)));
    }
    sizes.push_back(size.get<int64_t>());
  }
  return sizes;
}

// Bytes of `shape`; an error if they do not fit the address space or are no whole number.
absl::StatusOr<size_t> ExpectedBytes(const std::string& name, const std::vector<int64_t>& shape,
                                     size_t bits) {
  size_t total = bits;
  for (int64_t size : shape) {
    if (__builtin_mul_overflow(total, static_cast<size_t>(size), &total) ||
        total > std::numeric_limits<int64_t>::max()) {
      return TensorError(name, "shape is too large");
    }
  }
  return total / 8;
}

absl::StatusOr<SafetensorsEntry> ParseEntry(const std::string& name, const json& value, size_t data_begin,
                                            size_t file_bytes) {
  if (name.empty() || name.size() > kMaxNameBytes || name.find('\0') != std::string::npos) {
    return TensorError(name, absl::StrCat("names have 1 to ", kMaxNameBytes, " bytes, none of them 0"));
  }
  if (!value.is_object()) return TensorError(name, "entry must be an object");
  SafetensorsEntry entry;
  entry.name = name;

  const auto dtype = value.find("dtype");
  if (dtype == value.end() || !dtype->is_string()) return TensorError(name, "dtype must be a string");
  entry.dtype_name = dtype->get<std::string>();

  absl::StatusOr<std::vector<int64_t>> shape = ParseShape(name, value);
  if (!shape.ok()) return shape.status();
  entry.shape = *std::move(shape);

  const auto offsets = value.find("data_offsets");
  if (offsets == value.end() || !offsets->is_array() || offsets->size() != 2 ||
      !(*offsets)[0].is_number_unsigned() || !(*offsets)[1].is_number_unsigned()) {
    return TensorError(name, "data_offsets must be two integers");
  }
  const uint64_t begin = (*offsets)[0].get<uint64_t>();
  const uint64_t end = (*offsets)[1].get<uint64_t>();
  const uint64_t data_bytes = file_bytes - data_begin;
  if (begin > end || end > data_bytes) {
    return TensorError(name, absl::StrCat("data_offsets [", begin, ", ", end, "] do not lie within the ",
                                          data_bytes, " bytes of data"));
  }
  entry.begin = data_begin + begin;
  entry.end = data_begin + end;

  for (const ElementType& type : kElementTypes) {
    if (type.name != entry.dtype_name) continue;
    const absl::StatusOr<size_t> expected = ExpectedBytes(name, entry.shape, type.bits);
    if (!expected.ok()) return expected.status();
    if (*expected != end - begin) {
      return TensorError(
          name, absl::StrCat("data_offsets hold ", end - begin, " bytes, dtype and shape need ", *expected));
    }
    entry.dtype = type.dtype;
  }
  return entry;
}

// The tensors must tile the data without overlap, hole or rest: a byte that belongs to two tensors or to none
// means that the writer and this reader disagree about the file.
absl::Status CheckTiling(const std::vector<SafetensorsEntry>& entries, size_t data_begin, size_t file_bytes) {
  std::vector<const SafetensorsEntry*> by_offset;
  by_offset.reserve(entries.size());
  for (const SafetensorsEntry& entry : entries) by_offset.push_back(&entry);
  std::sort(by_offset.begin(), by_offset.end(), [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  size_t covered = data_begin;
  for (const SafetensorsEntry* entry : by_offset) {
    if (entry->begin < covered) return TensorError(entry->name, "overlaps another tensor");
    if (entry->begin > covered) {
      return TensorError(entry->name, absl::StrCat(entry->begin - covered, " unused bytes before it"));
    }
    covered = entry->end;
  }
  if (covered != file_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(file_bytes - covered, " bytes after the last tensor"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<SafetensorsEntry>> ParseSafetensorsHeader(absl::Span<const std::byte> file) {
  if (file.size() < kLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat("not a safetensors file: only ", file.size(), " bytes"));
  }
  uint64_t header_bytes;
  std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));  // little-endian, as the host (dtype.cc)
  if (header_bytes > file.size() - kLengthBytes || header_bytes > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat("header of ", header_bytes, " bytes in a file of ",
                                                   file.size(), " bytes (limit ", kMaxHeaderBytes, ")"));
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, header_bytes);
  const absl::StatusOr<json> header =
      ParseJsonObject(text, {.bytes = kMaxHeaderBytes, .depth = kMaxHeaderDepth});
  if (!header.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("header: ", header.status().message()));
  }

  const size_t data_begin = kLengthBytes + static_cast<size_t>(header_bytes);
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, value] : header->items()) {  // a sorted map: ascending byte order
    if (name == "__metadata__") continue;
    absl::StatusOr<SafetensorsEntry> entry = ParseEntry(name, value, data_begin, file.size());
    if (!entry.ok()) return entry.status();
    entries.push_back(*std::move(entry));
  }
  const absl::Status tiling = CheckTiling(entries, data_begin, file.size());
  if (!tiling.ok()) return tiling;
  return entries;
}

}  // namespace memgate
