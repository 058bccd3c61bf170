// What every tokenizer must hold, whatever file it was made from.
#ifndef MEMGATE_TESTS_FUZZ_TOKENIZER_CHECKS_H_
#define MEMGATE_TESTS_FUZZ_TOKENIZER_CHECKS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"
#include "tests/fuzz/input_parts.h"

namespace memgate {

// `text` and what follows it in an input that begins with its length.
inline std::pair<std::string_view, std::string_view> TextAndRest(std::string_view input) {
  uint32_t bytes = 0;
  if (input.size() < sizeof(bytes)) return {"a b\n", input};
  std::memcpy(&bytes, input.data(), sizeof(bytes));
  input.remove_prefix(sizeof(bytes));
  const std::string_view text = input.substr(0, bytes);
  return {text, input.substr(text.size())};
}

// Ids decoded one by one: every part is whole characters, and they add up to the text of all.
inline void CheckDecoding(const Tokenizer& tokenizer, const std::vector<TokenId>& ids,
                          TextPosition position) {
  Detokenizer detokenizer(tokenizer, position);
  std::string text;
  for (const TokenId id : ids) {
    const std::string part = detokenizer.Push(id);
    Require(CheckUtf8(part).ok());
    text += part;
  }
  text += detokenizer.Flush();
  Require(CheckUtf8(text).ok() && text == Decode(tokenizer, ids, position));
}

// Every id, and those on either side of the vocabulary; of large vocabularies its ends.
inline void CheckEveryId(const Tokenizer& tokenizer) {
  constexpr TokenId kChecked = 256;
  const TokenId size = tokenizer.vocab_size();
  std::vector<TokenId> ids;
  for (TokenId id = -1; id <= std::min(size, kChecked); ++id) ids.push_back(id);
  for (TokenId id = std::max(kChecked, size - kChecked); id <= size; ++id) ids.push_back(id);
  for (const TokenId id : ids) {
    Require(CheckUtf8(tokenizer.Piece(id)).ok());
    Require(!tokenizer.IsSpecial(id) || tokenizer.TokenBytes(id).empty());
  }
  CheckDecoding(tokenizer, ids, TextPosition::kStart);
  for (const auto& id : {tokenizer.bos_id(), tokenizer.eos_id()}) {
    Require(!id.has_value() || (*id >= 0 && *id < size));
  }
  for (const TokenId id : tokenizer.end_ids()) Require(id >= 0 && id < size);
}

// Where special tokens are not asked for, no text becomes one, but for those that must stand for text: the
// unknown token, bytes, and characters that are tokens by themselves.
inline void CheckPlainText(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  std::optional<TokenId> unknown;
  for (const TokenId id : ids) {
    if (!tokenizer.IsSpecial(id)) continue;
    const std::string_view piece = tokenizer.Piece(id);
    Require(!piece.empty());
    if (ReadUtf8(piece).bytes == piece.size() || piece.starts_with("<0x")) continue;
    Require(unknown.value_or(id) == id);
    unknown = id;
  }
}

// Encodes `text` in every way and decodes it again. Only its start is taken: a file may bring a pattern that
// takes its full budget of steps at every byte.
inline void CheckTokenizer(const Tokenizer& tokenizer, std::string_view text) {
  CheckEveryId(tokenizer);
  text = text.substr(0, 64);
  for (const TextPosition position :
       {TextPosition::kStart, TextPosition::kStartAsWritten, TextPosition::kContinuation}) {
    for (const SpecialTokens special : {SpecialTokens::kParse, SpecialTokens::kPlainText}) {
      const auto ids = tokenizer.Encode(text, position, special);
      if (!ids.ok()) continue;
      for (const TokenId id : *ids) Require(id >= 0 && id < tokenizer.vocab_size());
      CheckDecoding(tokenizer, *ids, position);
      const bool plain = special == SpecialTokens::kPlainText && position == TextPosition::kContinuation;
      if (plain) CheckPlainText(tokenizer, *ids);
    }
  }
}

}  // namespace memgate

#endif  // MEMGATE_TESTS_FUZZ_TOKENIZER_CHECKS_H_
