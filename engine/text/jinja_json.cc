#include "engine/text/jinja_json.h"

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "engine/text/json_reading.h"

namespace memgate::jinja {
namespace {

using Json = nlohmann::ordered_json;

// Nested as deep as ParseOrderedJson allows. Nothing for whole numbers that a value cannot hold.
std::optional<Value> ToValue(const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value::Bool(json.get<bool>());
    case Json::value_t::number_unsigned:
      if (json.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        return std::nullopt;
      return Value::Int(json.get<int64_t>());
    case Json::value_t::number_integer:
      return Value::Int(json.get<int64_t>());
    case Json::value_t::number_float:
      return Value::Float(json.get<double>());
    case Json::value_t::string:
      return Value::String(json.get<std::string>());
    case Json::value_t::array: {
      List list;
      for (const Json& item : json) {
        std::optional<Value> value = ToValue(item);
        if (!value) return std::nullopt;
        list.push_back(*std::move(value));
      }
      return Value::FromList(std::move(list));
    }
    case Json::value_t::object: {
      Dict dict;
      for (const auto& [key, item] : json.items()) {
        std::optional<Value> value = ToValue(item);
        if (!value) return std::nullopt;
        dict.emplace_back(key, *std::move(value));
      }
      return Value::FromDict(std::move(dict));
    }
    default:
      return Value::NoneValue();
  }
}

}  // namespace

absl::StatusOr<Value> ValueFromJson(std::string_view text) {
  absl::StatusOr<Json> json = ParseOrderedJson(text);
  if (!json.ok()) return json.status();
  std::optional<Value> value = ToValue(*json);
  if (!value) return absl::InvalidArgumentError("a whole number has more than 64 bits");
  return *std::move(value);
}

}  // namespace memgate::jinja
