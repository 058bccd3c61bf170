// Strict parsing of JSON that was written by others.
#ifndef MEMGATE_ENGINE_CHECKPOINT_JSON_UTIL_H_
#define MEMGATE_ENGINE_CHECKPOINT_JSON_UTIL_H_

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace memgate {

// Parses a JSON object. INVALID_ARGUMENT with the byte offset for malformed text; also for nesting deeper
// than `max_depth` (the object itself is depth 1), a key that appears twice in one object (readers disagree
// on which one counts), and a top level that is no object. Never throws.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, int max_depth);

// A short description of `value` for error messages: scalars as they are written, others by their type.
// ASCII.
std::string DescribeJson(const nlohmann::json& value);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_JSON_UTIL_H_
