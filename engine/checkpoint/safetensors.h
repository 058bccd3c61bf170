// Reader of safetensors files: single files and sharded folders. Never trusts a byte (docs/formats.md).
#ifndef MEMGATE_ENGINE_CHECKPOINT_SAFETENSORS_H_
#define MEMGATE_ENGINE_CHECKPOINT_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/checkpoint/tensor.h"

namespace memgate {

// One tensor's place in a file, offsets relative to the start of the file and checked against its size.
struct SafetensorsEntry {
  std::string name;
  std::optional<DType> dtype;  // not set for element types that memgate does not read, e.g. "I64"
  std::string dtype_name;      // as the file spells it
  std::vector<int64_t> shape;  // sizes >= 0; their product times the element size is end - begin
  size_t begin = 0;            // bytes
  size_t end = 0;              // bytes
};

// Parses the header of a safetensors image; entries come in ascending byte order of name. Pure: this is what
// the fuzzer drives. INVALID_ARGUMENT names the tensor and the reason for anything malformed: header length
// past the end or above 100 MB, offsets out of range, overlapping or leaving a hole, a byte count that does
// not match dtype x shape, duplicate names. An element type that memgate does not read is no error here
// (`dtype` is not set), because checkpoints carry such tensors beside the weights; its byte count is checked
// where it is known.
absl::StatusOr<std::vector<SafetensorsEntry>> ParseSafetensorsHeader(absl::Span<const std::byte> file);

// Sources: Names() and Has() speak of the tensors that can be read. Find() of a tensor whose element type is
// not supported returns UNIMPLEMENTED and names the type. Describe() names the file, of shards the one.

// Maps one file. Errors: NOT_FOUND, INVALID_ARGUMENT (message starts with the path).
absl::StatusOr<std::unique_ptr<TensorSource>> OpenSafetensorsFile(const std::string& path);

// `folder` holds model.safetensors, or model.safetensors.index.json and the shards it names (names may not
// leave the folder). Only tensors that the index lists are visible. Errors as above; NOT_FOUND says which
// files were looked for; INVALID_ARGUMENT names tensor and shard if a listed tensor is not in its shard.
absl::StatusOr<std::unique_ptr<TensorSource>> OpenSafetensorsFolder(const std::string& folder);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_SAFETENSORS_H_
