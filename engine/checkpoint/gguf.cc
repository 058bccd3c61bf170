// magic "GGUF" | version u32 | tensors u64 | keys u64 | keys: name, type u32, value | tensor infos: name,
// dimensions u32, sizes u64, type u32, offset u64 | padding | the tensors' bytes. A string is a u64 length
// and its bytes, an array the type of its elements u32, their number u64, and they. All little-endian;
// offsets count from the end of the padding.
#include "engine/checkpoint/gguf.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/strings.h"
#include "engine/checkpoint/json_util.h"
#include "engine/checkpoint/part_errors.h"

namespace memgate {
namespace {

constexpr char kMagic[] = {'G', 'G', 'U', 'F'};
constexpr size_t kMaxNameBytes = 1024;  // the format allows 64 for tensors, 65,535 for keys
constexpr uint32_t kMaxRank = 4;        // the format's own limit
constexpr uint64_t kMaxKeys = 1 << 16;  // real files have some fifty
constexpr uint64_t kMaxTensors = 1 << 20;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr char kAlignmentKey[] = "general.alignment";

struct TensorType {
  uint32_t number;
  std::string_view name;
  std::optional<DType> dtype;
};

constexpr TensorType kTensorTypes[] = {
    {0, "F32", DType::kF32},
    {1, "F16", DType::kF16},
    {2, "Q4_0", DType::kQ4_0},
    {3, "Q4_1", DType::kQ4_1},
    {6, "Q5_0", DType::kQ5_0},
    {7, "Q5_1", DType::kQ5_1},
    {8, "Q8_0", DType::kQ8_0},
    {9, "Q8_1"},
    {10, "Q2_K", DType::kQ2_K},
    {11, "Q3_K", DType::kQ3_K},
    {12, "Q4_K", DType::kQ4_K},
    {13, "Q5_K", DType::kQ5_K},
    {14, "Q6_K", DType::kQ6_K},
    {15, "Q8_K"},
    {16, "IQ2_XXS"},
    {17, "IQ2_XS"},
    {18, "IQ3_XXS"},
    {19, "IQ1_S"},
    {20, "IQ4_NL", DType::kIQ4_NL},
    {21, "IQ3_S"},
    {22, "IQ2_S"},
    {23, "IQ4_XS", DType::kIQ4_XS},
    {24, "I8"},
    {25, "I16"},
    {26, "I32"},
    {27, "I64"},
    {28, "F64"},
    {29, "IQ1_M"},
    {30, "BF16", DType::kBF16},
    {34, "TQ1_0"},
    {35, "TQ2_0"},
    {39, "MXFP4"},
    {40, "NVFP4"},
    {41, "Q1_0"},
    {42, "Q2_0"},
};

// Bytes of a scalar in metadata; 0 for types that have no fixed size or do not exist.
size_t ScalarBytes(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  return 0;
}

absl::Status CutShort(std::string_view what) {
  return absl::InvalidArgumentError(Concat(what, ": the file ends within it"));
}

// Reads forward. After a read past the end, ok() is false and everything that is read is zero or empty.
class Cursor {
 public:
  explicit Cursor(absl::Span<const std::byte> file) : file_(file) {}

  bool ok() const { return ok_; }
  size_t position() const { return position_; }
  uint64_t left() const { return file_.size() - position_; }

  template <typename T>
  T Read() {
    T value{};
    const absl::Span<const std::byte> bytes = Take(sizeof(T));
    if (ok_) std::memcpy(&value, bytes.data(), sizeof(T));  // little-endian, as the host (dtype.cc)
    return value;
  }

  absl::Span<const std::byte> Take(uint64_t bytes) {
    if (bytes > left()) ok_ = false;
    if (!ok_) return {};
    const auto taken = file_.subspan(position_, bytes);
    position_ += bytes;
    return taken;
  }

  std::string_view Text() {
    const auto bytes = Take(Read<uint64_t>());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  // What was read since `begin`.
  absl::Span<const std::byte> Since(size_t begin) const { return file_.subspan(begin, position_ - begin); }

 private:
  const absl::Span<const std::byte> file_;
  size_t position_ = 0;
  bool ok_ = true;
};

absl::StatusOr<GgufValue> ReadValue(std::string_view key, Cursor& cursor) {
  GgufValue value;
  value.type = static_cast<GgufType>(cursor.Read<uint32_t>());
  if (value.type == GgufType::kArray) {
    value.is_array = true;
    value.type = static_cast<GgufType>(cursor.Read<uint32_t>());
    value.count = cursor.Read<uint64_t>();
    if (value.type == GgufType::kArray) return KeyError(key, "arrays of arrays are not supported");
  }
  const size_t begin = cursor.position();
  if (value.type == GgufType::kString) {
    for (uint64_t i = 0; i < value.count && cursor.ok(); ++i) cursor.Text();
  } else if (const size_t bytes = ScalarBytes(value.type); bytes > 0) {
    // More elements than bytes are left do not fit; the product of fewer and their size does not overflow.
    cursor.Take(value.count > cursor.left() ? std::numeric_limits<uint64_t>::max() : value.count * bytes);
  } else if (cursor.ok()) {
    return KeyError(key, absl::StrCat("has type ", static_cast<uint32_t>(value.type), ", which is none"));
  }
  if (!cursor.ok()) return CutShort(absl::StrCat("key ", DescribeJson(std::string(key))));
  value.bytes = cursor.Since(begin);
  return value;
}

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name.find('\0') == std::string_view::npos;
}

absl::Status ReadMetadata(uint64_t count, Cursor& cursor, GgufFile& file) {
  for (uint64_t i = 0; i < count; ++i) {
    const std::string_view key = cursor.Text();
    if (!cursor.ok()) return CutShort(absl::StrCat("metadata, key ", i + 1, " of ", count));
    if (!IsName(key)) {
      return KeyError(key.substr(0, kMaxNameBytes),
                      absl::StrCat("keys have 1 to ", kMaxNameBytes, " bytes, none of them 0"));
    }
    absl::StatusOr<GgufValue> value = ReadValue(key, cursor);
    if (!value.ok()) return value.status();
    if (!file.metadata.emplace(key, *value).second) return KeyError(key, "appears twice");
  }
  return absl::OkStatus();
}

// Name, shape, type, and the offset as the file has it in `begin`.
absl::StatusOr<GgufTensor> ReadTensorInfo(Cursor& cursor) {
  GgufTensor tensor;
  const std::string_view name = cursor.Text();
  const uint32_t rank = cursor.Read<uint32_t>();
  if (!cursor.ok()) return CutShort("the list of tensors");
  if (!IsName(name)) {
    return TensorError(name.substr(0, kMaxNameBytes),
                       absl::StrCat("names have 1 to ", kMaxNameBytes, " bytes, none of them 0"));
  }
  tensor.name = std::string(name);
  if (rank < 1 || rank > kMaxRank) {
    return TensorError(name, absl::StrCat("has ", rank, " dimensions, not 1 to ", kMaxRank));
  }
  for (uint32_t i = 0; i < rank; ++i) tensor.shape.push_back(cursor.Read<int64_t>());
  std::reverse(tensor.shape.begin(), tensor.shape.end());
  const uint32_t number = cursor.Read<uint32_t>();
  tensor.begin = cursor.Read<uint64_t>();
  if (!cursor.ok()) return CutShort(absl::StrCat("tensor ", DescribeJson(tensor.name)));
  tensor.type_name = absl::StrCat("type ", number);
  for (const TensorType& type : kTensorTypes) {
    if (type.number != number) continue;
    tensor.type_name = std::string(type.name);
    tensor.dtype = type.dtype;
  }
  return tensor;
}

// Fills `bytes`. Eight times the number of elements still fits an int64, so that their bytes do.
absl::Status MeasureTensor(GgufTensor& tensor) {
  int64_t elements = 1;
  for (const int64_t size : tensor.shape) {
    if (size < 1 || __builtin_mul_overflow(elements, size, &elements) ||
        elements > std::numeric_limits<int64_t>::max() / 8) {
      return TensorError(tensor.name, absl::StrCat("a size of ", size, " is negative, zero or too large"));
    }
  }
  if (!tensor.dtype.has_value()) return absl::OkStatus();
  if (tensor.shape.back() % BlockElements(*tensor.dtype) != 0) {
    return TensorError(tensor.name,
                       absl::StrCat("rows of ", tensor.shape.back(), " elements are no whole blocks of ",
                                    BlockElements(*tensor.dtype), ", which ", tensor.type_name, " needs"));
  }
  tensor.bytes = static_cast<size_t>(DTypeBytes(*tensor.dtype, elements));
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Alignment(const GgufFile& file) {
  const auto found = file.metadata.find(kAlignmentKey);
  if (found == file.metadata.end()) return kDefaultAlignment;
  const GgufValue& value = found->second;
  if (value.is_array || value.type != GgufType::kUint32) return KeyError(kAlignmentKey, "must be a u32");
  uint32_t alignment;
  std::memcpy(&alignment, value.bytes.data(), sizeof(alignment));
  if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > kMaxAlignment) {
    return KeyError(kAlignmentKey,
                    absl::StrCat(alignment, " is no power of two from 1 to ", uint64_t{kMaxAlignment}));
  }
  return alignment;
}

// Turns offsets into places in the file.
absl::Status PlaceTensors(uint64_t data_begin, uint64_t alignment, uint64_t file_bytes,
                          std::vector<GgufTensor>& tensors) {
  // The last bytes of padding may be missing where nothing follows them.
  data_begin = std::min(data_begin, file_bytes);
  const uint64_t data_bytes = file_bytes - data_begin;
  for (GgufTensor& tensor : tensors) {
    if (tensor.begin % alignment != 0) {
      return TensorError(tensor.name,
                         absl::StrCat("offset ", tensor.begin, " is no multiple of ", alignment));
    }
    if (tensor.begin > data_bytes || tensor.bytes > data_bytes - tensor.begin) {
      return TensorError(tensor.name, absl::StrCat(tensor.bytes, " bytes at offset ", tensor.begin,
                                                   " do not lie within the ", data_bytes, " bytes of data"));
    }
    tensor.begin += data_begin;
  }
  return absl::OkStatus();
}

absl::Status CheckDistinct(const std::vector<GgufTensor>& tensors) {
  std::vector<const GgufTensor*> order;
  order.reserve(tensors.size());
  for (const GgufTensor& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->name < b->name; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i]->name == order[i - 1]->name) return TensorError(order[i]->name, "appears twice");
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->begin, a->bytes) < std::pair(b->begin, b->bytes);
  });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i]->begin < order[i - 1]->begin + order[i - 1]->bytes) {
      return TensorError(order[i]->name, absl::StrCat("overlaps tensor ", DescribeJson(order[i - 1]->name)));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckVersion(uint32_t version) {
  if (version == 2 || version == 3) return absl::OkStatus();
  if (version != 0 && (version & 0xffff) == 0) {
    return absl::UnimplementedError("big-endian GGUF files are not supported");
  }
  return absl::UnimplementedError(
      absl::StrCat("GGUF version ", version, " is not supported; supported are 2 and 3"));
}

}  // namespace

bool LooksLikeGguf(absl::Span<const std::byte> file) {
  return file.size() >= sizeof(kMagic) && std::memcmp(file.data(), kMagic, sizeof(kMagic)) == 0;
}

absl::StatusOr<GgufFile> ParseGguf(absl::Span<const std::byte> bytes) {
  if (!LooksLikeGguf(bytes)) return absl::InvalidArgumentError("not a GGUF file");
  Cursor cursor(bytes);
  cursor.Take(sizeof(kMagic));
  GgufFile file;
  file.version = cursor.Read<uint32_t>();
  if (!cursor.ok()) return CutShort("the header");
  if (auto s = CheckVersion(file.version); !s.ok()) return s;
  const uint64_t tensors = cursor.Read<uint64_t>();
  const uint64_t keys = cursor.Read<uint64_t>();
  if (!cursor.ok()) return CutShort("the header");
  if (keys > kMaxKeys || tensors > kMaxTensors) {
    return absl::InvalidArgumentError(absl::StrCat("claims ", keys, " keys and ", tensors,
                                                   " tensors, at most ", uint64_t{kMaxKeys}, " and ",
                                                   uint64_t{kMaxTensors}));
  }
  if (auto s = ReadMetadata(keys, cursor, file); !s.ok()) return s;
  for (uint64_t i = 0; i < tensors; ++i) {
    absl::StatusOr<GgufTensor> tensor = ReadTensorInfo(cursor);
    if (!tensor.ok()) return tensor.status();
    if (auto s = MeasureTensor(*tensor); !s.ok()) return s;
    file.tensors.push_back(*std::move(tensor));
  }
  const absl::StatusOr<uint64_t> alignment = Alignment(file);
  if (!alignment.ok()) return alignment.status();
  const uint64_t data_begin = (cursor.position() + *alignment - 1) / *alignment * *alignment;
  if (auto s = PlaceTensors(data_begin, *alignment, bytes.size(), file.tensors); !s.ok()) return s;
  if (auto s = CheckDistinct(file.tensors); !s.ok()) return s;
  return file;
}

}  // namespace memgate
