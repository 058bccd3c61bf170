// Typed, range-checked access to the keys of a JSON object.
#ifndef MEMGATE_ENGINE_CHECKPOINT_CONFIG_READER_H_
#define MEMGATE_ENGINE_CHECKPOINT_CONFIG_READER_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace memgate {

// Reads one object key by key and remembers the first error, so that a caller can read everything and ask for
// status() once. A key that is null counts as absent. After an error every getter still returns a value
// within its limits. Borrows the object. Not thread-safe.
class ConfigReader {
 public:
  // `prefix` goes before keys in messages, e.g. "rope_scaling."; empty at the top.
  explicit ConfigReader(const nlohmann::json& object, std::string prefix = "")
      : object_(object), prefix_(std::move(prefix)) {}

  // The value, or null if absent.
  const nlohmann::json* Find(std::string_view key) const;

  // INVALID_ARGUMENT "key: must be ..., found ..." unless the value has the type and lies within [min, max].
  // Required* also fail if the key is absent; the others then return `fallback`, which is not checked.
  int64_t RequiredInt(std::string_view key, int64_t min, int64_t max);
  int64_t Int(std::string_view key, int64_t fallback, int64_t min, int64_t max);
  double RequiredNumber(std::string_view key, double min, double max);
  double Number(std::string_view key, double fallback, double min, double max);
  bool Bool(std::string_view key, bool fallback);
  std::string String(std::string_view key, std::string fallback);
  // An integer or a list of at most `max_count` integers; empty if absent.
  std::vector<int32_t> Ids(std::string_view key, size_t max_count);

  // Exactly `count` numbers within [min, max]; zeros after an error. Fails if the key is absent.
  std::vector<double> RequiredNumbers(std::string_view key, size_t count, double min, double max);
  // Whether the key is there and null, where that means something else than its absence.
  bool IsNull(std::string_view key) const;

  void Fail(std::string_view key, const std::string& reason);
  void FailUnsupported(std::string_view key, const std::string& reason);  // UNIMPLEMENTED
  // Takes over the error of a reader of a nested object.
  void Adopt(const absl::Status& status) { status_.Update(status); }
  const absl::Status& status() const { return status_; }

 private:
  void FailMissing(std::string_view key) { Fail(key, "is required"); }

  const nlohmann::json& object_;
  const std::string prefix_;
  absl::Status status_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_CONFIG_READER_H_
