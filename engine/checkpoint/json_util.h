// Strict parsing of JSON that was written by others.
#ifndef MEMGATE_ENGINE_CHECKPOINT_JSON_UTIL_H_
#define MEMGATE_ENGINE_CHECKPOINT_JSON_UTIL_H_

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace memgate {

// A text may take some twenty times its bytes while it is parsed.
struct JsonLimits {
  size_t bytes = 0;
  int depth = 0;  // of objects and lists in each other; 1 = only the object itself
};
// Of config.json and the like: real ones have less than 100 kB.
inline constexpr JsonLimits kConfigLimits = {.bytes = size_t{1} << 20, .depth = 16};

// Parses a JSON object. INVALID_ARGUMENT with the byte offset for malformed text; also for a text beyond
// `limits`, a key that appears twice in one object (readers disagree on which one counts), and a top level
// that is no object. Never throws.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, const JsonLimits& limits);

// A short description of `value` for error messages: scalars as they are written, others by their type.
// ASCII.
std::string DescribeJson(const nlohmann::json& value);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_JSON_UTIL_H_
