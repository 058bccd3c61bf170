// Regular expressions of tokenizer files, run by PCRE2 with bounded work.
#ifndef MEMGATE_ENGINE_TEXT_REGEX_H_
#define MEMGATE_ENGINE_TEXT_REGEX_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace memgate {

// The same expression in PCRE2's syntax. Tokenizer files are written for Oniguruma, where \h is a hexadecimal
// digit, \s and \w follow Unicode's own definitions, and a class may contain classes. UNIMPLEMENTED for
// intersections of classes and negated classes within a class.
absl::StatusOr<std::string> ToPcre2Syntax(std::string_view pattern);

// The expression that matches `literal` and nothing else.
std::string EscapeRegex(std::string_view literal);

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
  // empty ones are left out. RESOURCE_EXHAUSTED if one takes more than a fixed number of steps.
  absl::Status ForEachMatch(std::string_view text, absl::FunctionRef<void(size_t, size_t)> visit) const;

 private:
  struct Compiled;
  explicit Regex(std::unique_ptr<Compiled> compiled);

  std::unique_ptr<Compiled> compiled_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_REGEX_H_
