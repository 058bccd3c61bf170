#include "engine/text/sentencepiece_normalizer.h"

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate {

absl::StatusOr<SentencePieceNormalizer> SentencePieceNormalizer::Create(const SentencePieceRule& rule) {
  SentencePieceNormalizer normalizer(rule);
  if (!rule.charsmap.empty()) {
    absl::StatusOr<Charsmap> charsmap = Charsmap::Parse(rule.charsmap);
    if (!charsmap.ok()) return charsmap.status();
    normalizer.charsmap_ = *std::move(charsmap);
  }
  std::vector<std::pair<std::string_view, int32_t>> kept;
  for (const std::string& symbol : rule.kept) kept.emplace_back(symbol, 0);
  normalizer.kept_ = ByteTrie(std::move(kept));
  normalizer.rule_.charsmap.clear();
  normalizer.rule_.kept.clear();
  return normalizer;
}

// The start of `text` that is replaced as one, and by what.
Charsmap::Match SentencePieceNormalizer::NextPart(std::string_view text) const {
  if (!kept_.empty()) {
    const ByteTrie::Match symbol = kept_.Longest(text);
    if (symbol.bytes > 0) return {symbol.bytes, text.substr(0, symbol.bytes)};
  }
  if (charsmap_.has_value()) {
    const Charsmap::Match match = charsmap_->Longest(text);
    if (match.bytes > 0) return match;
  }
  const size_t bytes = ReadUtf8(text).bytes;
  return {bytes, text.substr(0, bytes)};
}

void SentencePieceNormalizer::DropSpacesAtEnd(std::string& out) const {
  while (!rule_.space.empty() && out.ends_with(rule_.space)) out.resize(out.size() - rule_.space.size());
}

absl::StatusOr<std::string> SentencePieceNormalizer::Normalize(std::string_view text, Prepending prepending,
                                                               size_t max_bytes) const {
  std::string out;
  out.reserve(text.size() + text.size() / 2);
  const bool starts = prepending == Prepending::kOn;
  // What a run of spaces leaves is decided as in the library: spaces at the start of a part are dropped where
  // the part before it ended with one, or at the start of the text.
  bool after_space = rule_.remove_extra_spaces && starts;
  bool begun = false;
  while (!text.empty()) {
    Charsmap::Match part = NextPart(text);
    text.remove_prefix(part.bytes);
    if (!begun && after_space && part.replacement == " ") continue;
    if (!begun && starts && rule_.add_dummy_prefix) out += rule_.space;
    begun = true;
    while (after_space && part.replacement.starts_with(' ')) part.replacement.remove_prefix(1);
    for (const char c : part.replacement) {
      if (c == ' ') {
        out += rule_.space;
      } else {
        out.push_back(c);
      }
    }
    if (!part.replacement.empty()) after_space = rule_.remove_extra_spaces && part.replacement.ends_with(' ');
    if (out.size() > max_bytes) {
      return absl::ResourceExhaustedError(
          Concat("the text is longer than ", max_bytes, " bytes when normalised"));
    }
  }
  if (rule_.remove_extra_spaces) DropSpacesAtEnd(out);
  return out;
}

}  // namespace memgate
