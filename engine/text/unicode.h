// UTF-8 and Unicode properties, as far as tokenisers and templates need them.
#ifndef MEMGATE_ENGINE_TEXT_UNICODE_H_
#define MEMGATE_ENGINE_TEXT_UNICODE_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace memgate {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

enum class Utf8State {
  kValid,       // a whole character
  kInvalid,     // bytes that no continuation can make valid
  kIncomplete,  // the text ends inside a character that could still become valid
};

struct Utf8Step {
  Utf8State state = Utf8State::kInvalid;
  size_t bytes = 0;  // of the character, or of the longest prefix of one; at least 1
  char32_t code_point = 0;
};

// Reads the character at the start of `text`. REQUIRES: text is not empty.
Utf8Step ReadUtf8(std::string_view text);

// INVALID_ARGUMENT with the offset of the first byte that is not part of a valid character; `base` is added
// to the reported offset.
absl::Status CheckUtf8(std::string_view text, size_t base = 0);

// How many bytes of valid `text` precede an incomplete last character (text.size() if it is complete).
size_t CompleteUtf8Bytes(std::string_view text);

void AppendUtf8(char32_t code_point, std::string& out);

// Unicode White_Space.
bool IsUnicodeSpace(char32_t code_point);
// General category Mark.
bool IsUnicodeMark(char32_t code_point);
// Letters, marks, decimal digits, connectors: what a regular expression calls \w.
bool IsUnicodeWord(char32_t code_point);

// The character in lower case, by itself: what surrounds it plays no part.
void AppendLowercase(char32_t code_point, std::string& out);

// Where leading / trailing white space of valid UTF-8 ends / begins.
size_t LeadingSpaceBytes(std::string_view text);
size_t TrailingSpaceBytes(std::string_view text);

enum class NormalizationForm { kNfc, kNfd, kNfkc, kNfkd };
// REQUIRES: valid UTF-8.
absl::StatusOr<std::string> NormalizeUnicode(std::string_view text, NormalizationForm form);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_UNICODE_H_
