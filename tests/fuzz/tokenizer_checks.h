// What every tokenizer must hold, whatever file it was made from.
#ifndef MEMGATE_TESTS_FUZZ_TOKENIZER_CHECKS_H_
#define MEMGATE_TESTS_FUZZ_TOKENIZER_CHECKS_H_

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"

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

// Aborts if an id is outside the vocabulary or a decoded text is not valid UTF-8. Only the start of `text` is
// taken: a file may bring a pattern that takes its full budget of steps at every byte.
inline void CheckTokenizer(const Tokenizer& tokenizer, std::string_view text) {
  text = text.substr(0, 64);
  for (const TextPosition position : {TextPosition::kStart, TextPosition::kContinuation}) {
    for (const SpecialTokens special : {SpecialTokens::kParse, SpecialTokens::kPlainText}) {
      const auto ids = tokenizer.Encode(text, position, special);
      if (!ids.ok()) continue;
      for (const TokenId id : *ids) {
        if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
        if (!CheckUtf8(tokenizer.Piece(id)).ok()) std::abort();
      }
      if (!CheckUtf8(Decode(tokenizer, *ids, position)).ok()) std::abort();
    }
  }
}

}  // namespace memgate

#endif  // MEMGATE_TESTS_FUZZ_TOKENIZER_CHECKS_H_
