// API messages as JSON, the way the command line prints them.
#ifndef MEMGATE_CLIENT_MESSAGE_JSON_H_
#define MEMGATE_CLIENT_MESSAGE_JSON_H_

#include <google/protobuf/message.h>

#include <nlohmann/json.hpp>
#include <string>

namespace memgate {

// Field names as in the .proto files, all scalar fields present, unset messages absent. 64-bit integers are
// numbers (the protobuf mapping makes strings of them), enum values are lower case without their prefix
// ("PATH_GATED" -> "gated"), timestamps RFC 3339 in UTC, durations seconds, bytes base64.
nlohmann::ordered_json ToJson(const google::protobuf::Message& message);

// Bytes that are not UTF-8 become U+FFFD; never throws.
std::string Dump(const nlohmann::ordered_json& json);

// "gated" for PATH_GATED; "unspecified" for the zero value.
std::string EnumLabel(const google::protobuf::EnumValueDescriptor& value);

template <typename Enum>
std::string EnumLabel(Enum value) {
  const auto* found = google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(value);
  return found == nullptr ? std::to_string(static_cast<int>(value)) : EnumLabel(*found);
}

}  // namespace memgate

#endif  // MEMGATE_CLIENT_MESSAGE_JSON_H_
