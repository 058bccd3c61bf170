// Reading untrusted JSON: bounded depth, typed look-ups with errors that name the key.
#ifndef MEMGATE_ENGINE_TEXT_JSON_READING_H_
#define MEMGATE_ENGINE_TEXT_JSON_READING_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace memgate {

// A JSON object. INVALID_ARGUMENT, naming `what`, if the text is no JSON, no object or nested deeper than 64.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, std::string_view what);

// Any JSON document; members keep their order. INVALID_ARGUMENT "why" if the text is no JSON, nested deeper
// than 64, or an object has more than 2,000 members: ordered ones are searched one by one.
absl::StatusOr<nlohmann::ordered_json> ParseOrderedJson(std::string_view text);

// The member, or null if it is absent. `object` may be of any type.
const nlohmann::json& JsonMember(const nlohmann::json& object, const char* key);

// `where` names the place in the file. A missing or null member gives `fallback`; another type is an error.
absl::StatusOr<bool> JsonBool(const nlohmann::json& object, const char* key, bool fallback,
                              std::string_view where);
absl::StatusOr<std::string> JsonString(const nlohmann::json& object, const char* key,
                                       std::string_view fallback, std::string_view where);

// "type" of a component such as a normaliser; INVALID_ARGUMENT if `object` is no object or has none.
absl::StatusOr<std::string> JsonType(const nlohmann::json& object, std::string_view where);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_JSON_READING_H_
