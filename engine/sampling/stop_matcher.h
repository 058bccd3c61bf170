// Finds stop strings in streamed text, also across token borders.
#ifndef MEMGATE_ENGINE_SAMPLING_STOP_MATCHER_H_
#define MEMGATE_ENGINE_SAMPLING_STOP_MATCHER_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace memgate {

// One per answer. Holds back text that may be the beginning of a stop string. Not thread-safe.
class StopMatcher {
 public:
  // Empty strings are ignored.
  explicit StopMatcher(std::vector<std::string> stops);

  struct Result {
    std::string text;                    // may be shown now
    std::optional<std::string> matched;  // the stop string that ended the answer; text precedes it
  };
  // The stop string that begins first ends the answer, however the text is cut into calls: while an earlier
  // one may still complete, a later complete one waits. Among those that begin at one place, the longest
  // that is complete. After a match every call returns an empty text.
  Result Push(std::string_view text);
  // The end of the answer: the held-back rest, or a match in it that was waiting for an earlier one.
  Result Flush();

 private:
  // What `held_` means so far; `at_end` = no text follows.
  Result Scan(bool at_end);

  std::vector<std::string> stops_;
  std::string held_;
  bool done_ = false;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SAMPLING_STOP_MATCHER_H_
