// Typed, range-checked access to the metadata of a GGUF file.
#ifndef MEMGATE_ENGINE_CHECKPOINT_GGUF_METADATA_H_
#define MEMGATE_ENGINE_CHECKPOINT_GGUF_METADATA_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/checkpoint/gguf.h"

namespace memgate {

// Reads key by key and remembers the first error, so that a caller can read everything and ask for status()
// once. What is absent or wrong is returned empty. Borrows the file. Not thread-safe.
class GgufMetadata {
 public:
  explicit GgufMetadata(const GgufFile& file) : file_(file) {}

  bool Has(std::string_view key) const { return Find(key) != nullptr; }

  // INVALID_ARGUMENT 'key "...": must be ...' unless the value has the type. Integers of any width and sign
  // count as integers, floats and integers as numbers. An array of equal integers counts as one of them, for
  // keys that some writers give per layer; UNIMPLEMENTED if they differ.
  std::optional<int64_t> Int(std::string_view key, int64_t min, int64_t max);
  std::optional<double> Number(std::string_view key);
  std::optional<bool> Bool(std::string_view key);
  std::optional<std::string> String(std::string_view key);  // of at most 16 MiB
  // Arrays of at most `max_count` elements and 256 MiB.
  std::vector<float> Floats(std::string_view key, uint64_t max_count);
  std::vector<int32_t> Ints(std::string_view key, uint64_t max_count);
  std::vector<std::string> Strings(std::string_view key, uint64_t max_count);
  std::string Bytes(std::string_view key, uint64_t max_count);  // an array of 8-bit integers

  void Fail(std::string_view key, const std::string& reason);             // INVALID_ARGUMENT
  void FailUnsupported(std::string_view key, const std::string& reason);  // UNIMPLEMENTED
  const absl::Status& status() const { return status_; }

 private:
  const GgufValue* Find(std::string_view key) const;
  // The array of `key`, if it is one, of at most `max_count`; null otherwise.
  const GgufValue* Array(std::string_view key, uint64_t max_count);

  const GgufFile& file_;
  absl::Status status_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_GGUF_METADATA_H_
