// Input: a tokenizer.json, byte 0, a text. Every id must be in the vocabulary; nothing may crash or hang.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t split = input.find('\0');
  const std::string_view file = input.substr(0, split);
  // Short, because a file may bring a pattern that takes its full budget of steps at every byte.
  const std::string_view text =
      split == std::string_view::npos ? "a b\n" : input.substr(split + 1).substr(0, 64);
  const auto tokenizer = Tokenizer::FromJson(file, "");
  if (!tokenizer.ok()) return 0;
  for (const TextPosition position : {TextPosition::kStart, TextPosition::kContinuation}) {
    for (const SpecialTokens special : {SpecialTokens::kParse, SpecialTokens::kPlainText}) {
      const auto ids = (*tokenizer)->Encode(text, position, special);
      if (!ids.ok()) continue;
      for (const TokenId id : *ids) {
        if (id < 0 || id >= (*tokenizer)->vocab_size()) std::abort();
      }
      Decode(**tokenizer, *ids, position);
    }
  }
  return 0;
}
