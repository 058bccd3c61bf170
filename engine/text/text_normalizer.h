// The normaliser of a tokenizer.json: rewrites a text before it is split.
#ifndef MEMGATE_ENGINE_TEXT_TEXT_NORMALIZER_H_
#define MEMGATE_ENGINE_TEXT_TEXT_NORMALIZER_H_

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/unicode.h"

namespace memgate {

struct PrependRule {
  std::string prefix;
};
struct ReplaceRule {
  std::string pattern;  // a fixed string, not empty
  std::string content;
};
struct UnicodeRule {
  NormalizationForm form = NormalizationForm::kNfc;
};
using NormalizerRule = std::variant<PrependRule, ReplaceRule, UnicodeRule>;

// Whether Prepend rules apply: they mark the start of a text and must not be repeated in its continuation.
enum class Prepending { kOn, kOff };

// Applies `rules` in order. RESOURCE_EXHAUSTED if the result would be more than a fixed multiple of the
// input. REQUIRES: `text` is valid UTF-8.
absl::StatusOr<std::string> NormalizeText(const std::vector<NormalizerRule>& rules, std::string_view text,
                                          Prepending prepending);

// `text` with every `from` replaced by `to`.
std::string ReplaceEvery(std::string_view text, std::string_view from, std::string_view to);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_TEXT_NORMALIZER_H_
