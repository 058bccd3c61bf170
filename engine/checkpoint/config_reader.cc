#include "engine/checkpoint/config_reader.h"

#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/json_util.h"

namespace memgate {
namespace {

using nlohmann::json;

// The value as int64, if it is an integer within [min, max].
std::optional<int64_t> IntWithin(const json& value, int64_t min, int64_t max) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<uint64_t>() > std::numeric_limits<int64_t>::max()) {
    return std::nullopt;
  }
  const int64_t number = value.get<int64_t>();
  if (number < min || number > max) return std::nullopt;
  return number;
}

}  // namespace

const json* ConfigReader::Find(std::string_view key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

int64_t ConfigReader::RequiredInt(std::string_view key, int64_t min, int64_t max) {
  if (Find(key) == nullptr) FailMissing(key);
  return Int(key, min, min, max);
}

int64_t ConfigReader::Int(std::string_view key, int64_t fallback, int64_t min, int64_t max) {
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  if (const std::optional<int64_t> number = IntWithin(*value, min, max)) return *number;
  Fail(key, absl::StrCat("must be an integer within ", min, "..", max, ", found ", DescribeJson(*value)));
  return min;
}

double ConfigReader::RequiredNumber(std::string_view key, double min, double max) {
  if (Find(key) == nullptr) FailMissing(key);
  return Number(key, min, min, max);
}

double ConfigReader::Number(std::string_view key, double fallback, double min, double max) {
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  if (value->is_number()) {
    const double number = value->get<double>();
    if (number >= min && number <= max) return number;
  }
  Fail(key, absl::StrCat("must be a number within ", min, "..", max, ", found ", DescribeJson(*value)));
  return min;
}

bool ConfigReader::Bool(std::string_view key, bool fallback) {
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  if (value->is_boolean()) return value->get<bool>();
  Fail(key, absl::StrCat("must be true or false, found ", DescribeJson(*value)));
  return fallback;
}

std::string ConfigReader::String(std::string_view key, std::string fallback) {
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  if (value->is_string()) return value->get<std::string>();
  Fail(key, absl::StrCat("must be a string, found ", DescribeJson(*value)));
  return fallback;
}

std::vector<int32_t> ConfigReader::Ids(std::string_view key, size_t max_count) {
  const json* value = Find(key);
  if (value == nullptr) return {};
  const json list = value->is_array() ? *value : json::array({*value});
  if (list.size() > max_count) {
    Fail(key, absl::StrCat("holds ", list.size(), " token ids, at most ", max_count));
    return {};
  }
  std::vector<int32_t> ids;
  for (const json& item : list) {
    const std::optional<int64_t> id = IntWithin(item, 0, std::numeric_limits<int32_t>::max());
    if (!id.has_value()) {
      Fail(key, absl::StrCat("must be a token id or a list of them, found ", DescribeJson(item)));
      return {};
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

std::vector<double> ConfigReader::RequiredNumbers(std::string_view key, size_t count, double min,
                                                  double max) {
  std::vector<double> numbers(count, 0.0);
  const json* value = Find(key);
  if (value == nullptr) {
    FailMissing(key);
  } else if (!value->is_array() || value->size() != count) {
    Fail(key, absl::StrCat("must be a list of ", count, " numbers"));
  } else {
    for (size_t i = 0; i < count; ++i) {
      const json& item = (*value)[i];
      if (item.is_number()) numbers[i] = item.get<double>();
      if (!item.is_number() || !(numbers[i] >= min && numbers[i] <= max)) {
        Fail(key, absl::StrCat("must hold numbers within ", min, "..", max, ", found ", DescribeJson(item)));
        return std::vector<double>(count, 0.0);
      }
    }
  }
  return numbers;
}

bool ConfigReader::IsNull(std::string_view key) const {
  const auto found = object_.find(key);
  return found != object_.end() && found->is_null();
}

void ConfigReader::Fail(std::string_view key, const std::string& reason) {
  status_.Update(absl::InvalidArgumentError(absl::StrCat(prefix_, std::string(key), ": ", reason)));
}

void ConfigReader::FailUnsupported(std::string_view key, const std::string& reason) {
  status_.Update(absl::UnimplementedError(absl::StrCat(prefix_, std::string(key), ": ", reason)));
}

}  // namespace memgate
