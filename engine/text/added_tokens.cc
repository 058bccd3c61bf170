#include "engine/text/added_tokens.h"

#include <algorithm>

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

void AddedTokenMatcher::Add(const AddedToken& token, std::string_view pattern) {
  if (pattern.empty()) return;
  uint32_t node = 0;
  for (const char c : pattern) {
    const uint64_t key = static_cast<uint64_t>(node) << 8 | static_cast<unsigned char>(c);
    const auto [edge, added] = edges_.try_emplace(key, static_cast<uint32_t>(token_at_node_.size()));
    if (added) token_at_node_.push_back(-1);
    node = edge->second;
  }
  can_start_[static_cast<unsigned char>(pattern[0])] = true;
  token_at_node_[node] = static_cast<int>(tokens_.size());
  tokens_.push_back(token);
}

AddedTokenMatcher::Match AddedTokenMatcher::LongestAt(std::string_view text) const {
  Match best;
  uint32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto edge = edges_.find(static_cast<uint64_t>(node) << 8 | static_cast<unsigned char>(text[i]));
    if (edge == edges_.end()) break;
    node = edge->second;
    if (token_at_node_[node] >= 0) best = {&tokens_[token_at_node_[node]], i + 1};
  }
  return best;
}

void AddedTokenMatcher::Split(std::string_view text, SpecialTokens special,
                              std::vector<TextSegment>& segments) const {
  size_t done = 0;  // text before this is in `segments`
  size_t at = 0;
  while (at < text.size()) {
    if (!can_start_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    const Match match = LongestAt(text.substr(at));
    if (match.token == nullptr) {
      ++at;
      continue;
    }
    const AddedToken& token = *match.token;
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
