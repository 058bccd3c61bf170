#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"

namespace memgate {

std::string Decode(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, TextPosition position) {
  Detokenizer detokenizer(tokenizer, position);
  std::string text;
  for (const TokenId id : ids) text += detokenizer.Push(id);
  text += detokenizer.Flush();
  return text;
}

Detokenizer::Detokenizer(const Tokenizer& tokenizer, TextPosition position)
    : tokenizer_(tokenizer),
      strip_space_(position != TextPosition::kContinuation && tokenizer.StripsLeadingSpace()) {}

std::string Detokenizer::Push(TokenId id) {
  std::string_view bytes = tokenizer_.TokenBytes(id);
  if (bytes.empty()) return {};
  if (strip_space_) {
    strip_space_ = false;
    if (bytes.front() == ' ') bytes.remove_prefix(1);
  }
  pending_ += bytes;
  std::string text;
  text.reserve(pending_.size());
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Step step = ReadUtf8(rest);
    if (step.state == Utf8State::kIncomplete) break;
    text += step.state == Utf8State::kValid ? rest.substr(0, step.bytes) : kReplacementCharacter;
    rest.remove_prefix(step.bytes);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return text;
}

std::string Detokenizer::Flush() {
  if (pending_.empty()) return {};
  pending_.clear();
  return std::string(kReplacementCharacter);
}

}  // namespace memgate
