#include "engine/text/added_tokens.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "engine/text/unicode.h"

namespace memgate {
namespace {

bool StartsWithWord(std::string_view text) {
  if (text.empty()) return false;
  const Utf8Step step = ReadUtf8(text);
  return step.state == Utf8State::kValid && IsUnicodeWord(step.code_point);
}

bool EndsWithWord(std::string_view text) {
  if (text.empty()) return false;
  size_t start = text.size() - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return StartsWithWord(text.substr(start));
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<Entry> entries) : tokens_(std::move(entries)) {
  std::vector<std::pair<std::string_view, int32_t>> patterns;
  for (const Entry& entry : tokens_) {
    patterns.emplace_back(entry.pattern, static_cast<int32_t>(patterns.size()));
  }
  patterns_ = ByteTrie(std::move(patterns));
}

void AddedTokenMatcher::Split(std::string_view text, SpecialTokens special,
                              std::vector<TextSegment>& segments) const {
  size_t done = 0;  // text before this is in `segments`
  size_t at = 0;
  while (at < text.size()) {
    const ByteTrie::Match match = patterns_.Longest(text.substr(at));
    if (match.bytes == 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[match.value].token;
    size_t begin = at;
    size_t end = at + match.bytes;
    at = end;  // A match that is not taken still covers its text.
    if (special == SpecialTokens::kPlainText && token.special) continue;
    if (token.single_word && (EndsWithWord(text.substr(0, begin)) || StartsWithWord(text.substr(end))))
      continue;
    if (token.lstrip) begin = std::max(done, begin - TrailingSpaceBytes(text.substr(done, begin - done)));
    if (token.rstrip) end += LeadingSpaceBytes(text.substr(end));
    if (begin > done) segments.push_back({text.substr(done, begin - done), std::nullopt});
    segments.push_back({text.substr(begin, end - begin), token.id});
    done = end;
    at = end;
  }
  if (done < text.size()) segments.push_back({text.substr(done), std::nullopt});
}

}  // namespace memgate
