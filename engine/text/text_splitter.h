// Cuts a text into the pieces that BPE works on: the pre-tokeniser of a tokenizer.json.
#ifndef MEMGATE_ENGINE_TEXT_TEXT_SPLITTER_H_
#define MEMGATE_ENGINE_TEXT_TEXT_SPLITTER_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace memgate {

// What becomes of a match of the pattern; names as in tokenizer.json.
enum class SplitBehavior {
  kIsolated,            // a piece of its own
  kMergedWithPrevious,  // the end of the piece before it
  kMergedWithNext,      // the start of the piece after it
  kRemoved,             // dropped
};

// What GPT-2 splits with; ByteLevel means it when it says use_regex.
extern const std::string_view kGpt2Pattern;

// One splitting rule. Thread-safe after construction.
class TextSplitter {
 public:
  // `pattern` is a Perl-compatible regular expression with Unicode classes. With `invert`, what lies between
  // the matches is treated as the match. INVALID_ARGUMENT with PCRE2's message and offset if it does not
  // compile.
  static absl::StatusOr<TextSplitter> Compile(const std::string& pattern, SplitBehavior behavior,
                                              bool invert);
  // The same for a fixed string.
  static absl::StatusOr<TextSplitter> ForLiteral(std::string_view literal, SplitBehavior behavior,
                                                 bool invert);

  TextSplitter(TextSplitter&&) noexcept;
  TextSplitter& operator=(TextSplitter&&) noexcept;
  ~TextSplitter();

  // Appends the pieces of `text` (valid UTF-8), none empty, to `pieces`; they point into `text`.
  // RESOURCE_EXHAUSTED if a match takes more than a fixed number of steps.
  absl::Status Split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  struct Pattern;
  TextSplitter(std::unique_ptr<Pattern> pattern, SplitBehavior behavior, bool invert);

  std::unique_ptr<Pattern> pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_TEXT_SPLITTER_H_
