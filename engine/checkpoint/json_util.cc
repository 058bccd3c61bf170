#include "engine/checkpoint/json_util.h"

#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace memgate {
namespace {

using nlohmann::json;

constexpr size_t kMaxDescribedBytes = 60;

// Walks the text without building anything, so that hostile nesting is refused before it costs memory.
class StructureCheck : public json::json_sax_t {
 public:
  explicit StructureCheck(int max_depth) : max_depth_(max_depth) {}

  const absl::Status& status() const { return status_; }

  bool start_object(size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool start_array(size_t) override { return Enter(); }
  bool end_array() override { return Leave(); }

  bool key(string_t& key) override {
    if (keys_.back().insert(key).second) return true;
    return Fail(absl::StrCat("key ", DescribeJson(key), " appears twice"));
  }

  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    return Fail(absl::StrCat("malformed JSON at byte ", position));
  }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }

 private:
  bool Enter() {
    if (static_cast<int>(keys_.size()) >= max_depth_) {
      return Fail(absl::StrCat("JSON nested deeper than ", max_depth_, " levels"));
    }
    keys_.emplace_back();
    return true;
  }
  bool Leave() {
    keys_.pop_back();
    return true;
  }
  bool Fail(std::string message) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(message);
    return false;
  }

  const int max_depth_;
  std::vector<std::unordered_set<std::string>> keys_;  // of the open objects and (empty) arrays
  absl::Status status_;
};

}  // namespace

absl::StatusOr<json> ParseJsonObject(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.bytes) {
    return absl::InvalidArgumentError(absl::StrCat(text.size(), " bytes, at most ", limits.bytes));
  }
  StructureCheck check(limits.depth);
  const bool well_formed = json::sax_parse(text.begin(), text.end(), &check);
  if (!check.status().ok()) return check.status();
  if (!well_formed) return absl::InvalidArgumentError("malformed JSON");
  json value = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("must be a JSON object, found ", DescribeJson(value)));
  }
  return value;
}

std::string DescribeJson(const json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
  if (text.size() > kMaxDescribedBytes) text = text.substr(0, kMaxDescribedBytes) + "...";
  return text;
}

}  // namespace memgate
