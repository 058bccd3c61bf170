#include "engine/text/json_reading.h"

#include <vector>

#include "engine/text/strings.h"

namespace memgate {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxBytes = size_t{256} << 20;  // real files have up to 40 MB
constexpr int kMaxMembers = 2000;

bool NestsTooDeep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

absl::Status WrongType(const char* key, std::string_view where, std::string_view wanted) {
  return absl::InvalidArgumentError(Concat(where, ": \"", key, "\" is not ", wanted));
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, std::string_view what) {
  if (text.size() > kMaxBytes) {
    return absl::InvalidArgumentError(Concat(what, ": ", text.size(), " bytes, at most ", kMaxBytes));
  }
  if (NestsTooDeep(text)) {
    return absl::InvalidArgumentError(Concat(what, ": nested deeper than ", kMaxDepth));
  }
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::parse_error& error) {
    return absl::InvalidArgumentError(Concat(what, ": not valid JSON at byte ", error.byte));
  } catch (const nlohmann::json::exception& error) {  // a number out of range
    return absl::InvalidArgumentError(Concat(what, ": not valid JSON: ", error.what()));
  }
  if (!json.is_object()) return absl::InvalidArgumentError(Concat(what, ": not a JSON object"));
  return json;
}

absl::StatusOr<nlohmann::ordered_json> ParseOrderedJson(std::string_view text) {
  using Json = nlohmann::ordered_json;
  if (NestsTooDeep(text)) return absl::InvalidArgumentError(Concat("nested deeper than ", kMaxDepth));
  std::vector<int> members(kMaxDepth + 2, 0);  // of the open object of each depth
  bool too_wide = false;
  const auto keep = [&](int depth, Json::parse_event_t event, const Json&) {
    if (event == Json::parse_event_t::object_start) members[depth + 1] = 0;
    if (event == Json::parse_event_t::key && ++members[depth] > kMaxMembers) too_wide = true;
    return !too_wide;
  };
  Json json;
  try {
    json = Json::parse(text.begin(), text.end(), keep);
  } catch (const Json::parse_error& error) {
    return absl::InvalidArgumentError(Concat("not valid JSON at byte ", error.byte));
  } catch (const Json::exception& error) {  // a number out of range
    return absl::InvalidArgumentError(Concat("not valid JSON: ", error.what()));
  }
  if (too_wide)
    return absl::InvalidArgumentError(Concat("an object has more than ", kMaxMembers, " members"));
  return json;
}

const nlohmann::json& JsonMember(const nlohmann::json& object, const char* key) {
  static const nlohmann::json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

absl::StatusOr<bool> JsonBool(const nlohmann::json& object, const char* key, bool fallback,
                              std::string_view where) {
  const nlohmann::json& value = JsonMember(object, key);
  if (value.is_null()) return fallback;
  if (!value.is_boolean()) return WrongType(key, where, "true or false");
  return value.get<bool>();
}

absl::StatusOr<std::string> JsonString(const nlohmann::json& object, const char* key,
                                       std::string_view fallback, std::string_view where) {
  const nlohmann::json& value = JsonMember(object, key);
  if (value.is_null()) return std::string(fallback);
  if (!value.is_string()) return WrongType(key, where, "a string");
  return value.get_ref<const std::string&>();
}

absl::StatusOr<std::string> JsonType(const nlohmann::json& object, std::string_view where) {
  if (!object.is_object()) return absl::InvalidArgumentError(Concat(where, ": not an object"));
  absl::StatusOr<std::string> type = JsonString(object, "type", "", where);
  if (type.ok() && type->empty()) return absl::InvalidArgumentError(Concat(where, ": no \"type\""));
  return type;
}

}  // namespace memgate
