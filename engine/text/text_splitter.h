// Cuts a text into the pieces that a model works on: the pre-tokeniser of a tokenizer file.
#ifndef MEMGATE_ENGINE_TEXT_TEXT_SPLITTER_H_
#define MEMGATE_ENGINE_TEXT_TEXT_SPLITTER_H_

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/regex.h"

namespace memgate {

// What becomes of a match of the pattern; names as in tokenizer.json.
enum class SplitBehavior {
  kIsolated,            // a piece of its own
  kMergedWithPrevious,  // the end of the piece before it
  kMergedWithNext,      // the start of the piece after it
  kContiguous,          // a piece together with the matches that follow it without a gap
  kRemoved,             // dropped
};

// What GPT-2 splits with; ByteLevel means it when it says use_regex.
extern const std::string_view kGpt2Pattern;

// One splitting rule. Thread-safe after construction.
class TextSplitter {
 public:
  // With `invert`, what lies between the matches is treated as the match. Errors as of Regex::Compile.
  static absl::StatusOr<TextSplitter> Compile(std::string_view pattern, SplitBehavior behavior, bool invert);
  // The same for a fixed string, which is not empty.
  static TextSplitter ForLiteral(std::string_view literal, SplitBehavior behavior, bool invert);

  // Appends the pieces of `text` (valid UTF-8), none empty, to `pieces`; they point into `text`.
  // Errors as of Regex::ForEachMatch.
  absl::Status Split(std::string_view text, MatchWork& work, std::vector<std::string_view>& pieces) const;

 private:
  TextSplitter(std::variant<Regex, std::string> pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  std::variant<Regex, std::string> pattern_;  // or a fixed string
  SplitBehavior behavior_;
  bool invert_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_TEXT_SPLITTER_H_
