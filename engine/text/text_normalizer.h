// The normaliser of a tokenizer: rewrites a text before it is split.
#ifndef MEMGATE_ENGINE_TEXT_TEXT_NORMALIZER_H_
#define MEMGATE_ENGINE_TEXT_TEXT_NORMALIZER_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/regex.h"
#include "engine/text/sentencepiece_normalizer.h"
#include "engine/text/unicode.h"

namespace memgate {

// The kinds of rule, named as in tokenizer.json where they occur there.
struct PrependRule {
  std::string prefix;
};
struct ReplaceRule {
  std::string pattern;  // not empty
  std::string content;  // taken as it is
  bool is_literal = true;
};
struct UnicodeRule {
  NormalizationForm form = NormalizationForm::kNfc;
};
struct LowercaseRule {};
struct StripAccentsRule {};  // drops combining marks
struct StripRule {           // white space at the ends
  bool left = true;
  bool right = true;
};
struct NmtRule {};  // drops control characters; white space and invisible characters become spaces
using NormalizerRule = std::variant<PrependRule, ReplaceRule, UnicodeRule, LowercaseRule, StripAccentsRule,
                                    StripRule, NmtRule, SentencePieceRule>;

// Thread-safe after construction.
class TextNormalizer {
 public:
  TextNormalizer() = default;
  // Errors as of Regex::Compile and Charsmap::Parse.
  static absl::StatusOr<TextNormalizer> Compile(const std::vector<NormalizerRule>& rules);

  bool empty() const { return steps_.empty(); }

  // Applies the rules in order. RESOURCE_EXHAUSTED if a result would be more than a fixed multiple of the
  // input, or 64 MiB, or as of Regex::ForEachMatch. REQUIRES: `text` is valid UTF-8; so is the result.
  absl::StatusOr<std::string> Normalize(std::string_view text, Prepending prepending, MatchWork& work) const;

 private:
  struct RegexReplacement {
    Regex pattern;
    std::string content;
  };
  using Step = std::variant<PrependRule, ReplaceRule, UnicodeRule, LowercaseRule, StripAccentsRule, StripRule,
                            NmtRule, RegexReplacement, SentencePieceNormalizer>;
  struct Application;

  std::vector<Step> steps_;
};

// `text` with every `from`, which is not empty, replaced by `to`.
std::string ReplaceEvery(std::string_view text, std::string_view from, std::string_view to);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_TEXT_NORMALIZER_H_
