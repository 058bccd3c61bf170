// Reader of GGUF files, versions 2 and 3. Never trusts a byte (docs/formats.md).
#ifndef MEMGATE_ENGINE_CHECKPOINT_GGUF_H_
#define MEMGATE_ENGINE_CHECKPOINT_GGUF_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/checkpoint/dtype.h"

namespace memgate {

// As the file numbers them.
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// A value of the metadata, as it lies in the file: a scalar, or an array of scalars of one type. Borrows the
// file.
struct GgufValue {
  GgufType type = GgufType::kUint8;  // of the scalar or of the array's elements; never kArray
  bool is_array = false;
  uint64_t count = 1;                 // elements; 1 unless it is an array
  absl::Span<const std::byte> bytes;  // of all elements; a string is a u64 length and its bytes
};

// One tensor's place in a file, checked against its size.
struct GgufTensor {
  std::string name;
  std::optional<DType> dtype;  // not set for types that memgate does not read
  std::string type_name;       // "Q4_K", "IQ1_S", "type 77"
  std::vector<int64_t> shape;  // row-major: the file lists the dimensions the other way round; sizes >= 1
  size_t begin = 0;            // bytes from the start of the file
  size_t bytes = 0;            // 0 where dtype is not set
};

struct GgufFile {
  uint32_t version = 0;
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<GgufTensor> tensors;  // in the order of the file
};

// Whether a file begins as GGUF files do.
bool LooksLikeGguf(absl::Span<const std::byte> file);

// Parses header, metadata and tensor infos, and checks every length, so that all values and tensors can be
// read. Pure: this is what the fuzzer drives. Memory is in proportion to the header, whatever it claims. The
// result borrows `file`. INVALID_ARGUMENT names the key or tensor and the reason: anything cut short,
// duplicate names, an array of arrays, a type without a meaning in metadata, more than four dimensions, rows
// that are no whole number of blocks, offsets that are unaligned, past the end or overlapping. UNIMPLEMENTED
// for other versions and byte orders. A tensor of a type that memgate does not read is no error here.
absl::StatusOr<GgufFile> ParseGguf(absl::Span<const std::byte> file);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_GGUF_H_
