// Regular expressions of tokenizer files, run by PCRE2 with bounded work.
#ifndef MEMGATE_ENGINE_TEXT_REGEX_H_
#define MEMGATE_ENGINE_TEXT_REGEX_H_

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace memgate {

// The same expression in PCRE2's syntax. Tokenizer files are written for Oniguruma's Ruby syntax, where \h is
// a hexadecimal digit, \s, \w and \b follow Unicode's own definitions, (?m) lets a dot match line breaks,
// X{1,3}+ repeats X{1,3}, and a class may contain classes, negated ones and intersections. INVALID_ARGUMENT
// for classes nested too deep or not closed.
absl::StatusOr<std::string> ToPcre2Syntax(std::string_view pattern);

// What all matches in one text share: memory, and the time that they may take together, 0.5 s and 10 us per
// byte of the text. That is time that the calling thread has run, more than a hundred times what encoding a
// text takes with published files, however loaded the machine is. A number of steps would not do: PCRE2
// counts them for each place where a match may begin, and what it looks through in one step may be as long as
// the text. Not thread-safe.
class MatchWork {
 public:
  explicit MatchWork(size_t text_bytes);
  explicit MatchWork(std::chrono::nanoseconds allowed);
  ~MatchWork();

 private:
  friend class Regex;
  struct Pcre;

  // `places`: how many were tried since the last call.
  bool Exceeded(size_t places);

  std::unique_ptr<Pcre> pcre_;
  const std::chrono::nanoseconds allowed_;
  const std::chrono::steady_clock::time_point begin_;
  const std::chrono::nanoseconds cpu_begin_;
  size_t places_ = 0;  // tried since the clock was last read
};

// Thread-safe after construction.
class Regex {
 public:
  // `pattern` in Oniguruma's syntax, with Unicode classes. INVALID_ARGUMENT with PCRE2's message if it does
  // not compile; the offset there is that in PCRE2's syntax.
  static absl::StatusOr<Regex> Compile(std::string_view pattern);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // Calls visit(begin, end) for the matches in `text` (valid UTF-8) from left to right. They do not overlap;
  // empty ones are left out. RESOURCE_EXHAUSTED if one takes more than a fixed number of steps, or all of
  // them more time than `work` allows.
  absl::Status ForEachMatch(std::string_view text, MatchWork& work,
                            absl::FunctionRef<void(size_t, size_t)> visit) const;

 private:
  struct Compiled;
  explicit Regex(std::unique_ptr<Compiled> compiled);

  std::unique_ptr<Compiled> compiled_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_REGEX_H_
