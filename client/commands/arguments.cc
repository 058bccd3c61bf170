#include "client/commands/arguments.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace memgate {
namespace {

constexpr char kUsageErrorUrl[] = "memgate/usage-error";

const OptionSpec* Find(const std::vector<OptionSpec>& specs, absl::string_view name) {
  const auto found = std::find_if(specs.begin(), specs.end(), [&](const auto& s) { return s.name == name; });
  return found == specs.end() ? nullptr : &*found;
}

absl::Status UnknownOption(const std::vector<OptionSpec>& specs, absl::string_view name) {
  std::vector<std::string> known;
  for (const OptionSpec& spec : specs) known.push_back(spec.name);
  const std::string closest = ClosestWord(name, known);
  return UsageError(absl::StrCat("unknown option --", name,
                                 closest.empty() ? "" : absl::StrCat("; did you mean --", closest, "?")));
}

// Levenshtein distance.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::optional<double> ByteUnit(absl::string_view unit) {
  static constexpr std::pair<absl::string_view, double> kUnits[] = {
      {"", 1},     {"b", 1},        {"kb", 1e3},        {"mb", 1e6},
      {"gb", 1e9}, {"kib", 1024.0}, {"mib", 1048576.0}, {"gib", 1073741824.0}};
  const std::string lower = absl::AsciiStrToLower(unit);
  for (const auto& [name, factor] : kUnits) {
    if (lower == name) return factor;
  }
  return std::nullopt;
}

}  // namespace

std::string ClosestWord(absl::string_view word, const std::vector<std::string>& candidates) {
  std::string closest;
  // A third of the letters may be wrong; beyond that a suggestion confuses more than it helps.
  size_t best = word.size() / 3 + 2;
  for (const std::string& candidate : candidates) {
    const size_t distance =
        absl::StartsWith(candidate, word) && word.size() >= 2 ? 1 : EditDistance(word, candidate);
    if (distance < best) {
      best = distance;
      closest = candidate;
    }
  }
  return closest;
}

absl::StatusOr<Arguments> ParseArguments(const std::vector<OptionSpec>& specs,
                                         const std::vector<std::string>& words) {
  Arguments arguments;
  for (size_t i = 0; i < words.size(); ++i) {
    absl::string_view word = words[i];
    if (word == "--") {
      arguments.positional_.insert(arguments.positional_.end(), words.begin() + i + 1, words.end());
      break;
    }
    if (!absl::ConsumePrefix(&word, "--")) {
      if (word.size() > 1 && word[0] == '-' && !absl::ascii_isdigit(word[1])) {
        return UsageError(absl::StrCat("unknown option ", word, "; options start with two dashes"));
      }
      arguments.positional_.emplace_back(word);
      continue;
    }
    const size_t equals = word.find('=');
    const std::string name(word.substr(0, equals));
    const OptionSpec* spec = Find(specs, name);
    if (spec == nullptr) return UnknownOption(specs, name);
    std::string value;
    if (equals != word.npos) {
      if (spec->value.empty()) return UsageError(absl::StrCat("--", name, " takes no value"));
      value = std::string(word.substr(equals + 1));
    } else if (!spec->value.empty()) {
      if (++i == words.size()) {
        return UsageError(absl::StrCat("--", name, " needs a value: ", spec->value));
      }
      value = words[i];
    }
    arguments.options_[name].push_back(std::move(value));
  }
  return arguments;
}

const std::vector<std::string>& Arguments::All(absl::string_view name) const {
  static const auto* const kNone = new std::vector<std::string>();
  const auto found = options_.find(name);
  return found == options_.end() ? *kNone : found->second;
}

std::string Arguments::Text(absl::string_view name) const {
  const auto& values = All(name);
  return values.empty() ? "" : values.back();
}

absl::Status UsageError(absl::string_view message) {
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kUsageErrorUrl, absl::Cord());
  return status;
}

bool IsUsageError(const absl::Status& status) { return status.GetPayload(kUsageErrorUrl).has_value(); }

const std::string* OptionReader::Value(absl::string_view name) const {
  const auto& values = arguments_.All(name);
  return values.empty() || !status_.ok() ? nullptr : &values.back();
}

void OptionReader::Wrong(absl::string_view name, absl::string_view value, absl::string_view expected) {
  status_ = UsageError(absl::StrCat("--", name, " takes ", expected, ", not \"", value, "\""));
}

void OptionReader::Int32(absl::string_view name, absl::FunctionRef<void(int32_t)> set) {
  const std::string* text = Value(name);
  int32_t value = 0;
  if (text == nullptr) return;
  if (!absl::SimpleAtoi(*text, &value)) return Wrong(name, *text, "a whole number");
  set(value);
}

void OptionReader::Uint64(absl::string_view name, absl::FunctionRef<void(uint64_t)> set) {
  const std::string* text = Value(name);
  uint64_t value = 0;
  if (text == nullptr) return;
  if (!absl::SimpleAtoi(*text, &value)) return Wrong(name, *text, "a whole number that is not negative");
  set(value);
}

void OptionReader::Number(absl::string_view name, absl::FunctionRef<void(float)> set) {
  const std::string* text = Value(name);
  float value = 0;
  if (text == nullptr) return;
  if (!absl::SimpleAtof(*text, &value) || !std::isfinite(value)) return Wrong(name, *text, "a number");
  set(value);
}

void OptionReader::Time(absl::string_view name, absl::FunctionRef<void(absl::Duration)> set) {
  const std::string* text = Value(name);
  absl::Duration value;
  if (text == nullptr) return;
  if (!absl::ParseDuration(*text, &value) || value < absl::ZeroDuration()) {
    return Wrong(name, *text, "a time such as 90s, 15m or 1h30m");
  }
  set(value);
}

void OptionReader::Bytes(absl::string_view name, absl::FunctionRef<void(int64_t)> set) {
  const std::string* text = Value(name);
  if (text == nullptr) return;
  const size_t digits = std::min(text->find_first_not_of("0123456789."), text->size());
  const auto unit = ByteUnit(absl::StripAsciiWhitespace(absl::string_view(*text).substr(digits)));
  double value = 0;
  // int64_t ends a little above 9e18.
  if (!unit || !absl::SimpleAtod(text->substr(0, digits), &value) || value * *unit > 9e18) {
    return Wrong(name, *text, "a size such as 4096, 512KiB or 12MB");
  }
  set(static_cast<int64_t>(value * *unit));
}

}  // namespace memgate
