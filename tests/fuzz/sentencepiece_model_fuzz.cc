// Input: u32 (little-endian), that many bytes of a text and, behind a byte 0, of a tokenizer_config.json, and
// a tokenizer.model. Every id must be in the vocabulary, what is decoded is UTF-8; nothing may crash or hang.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/tokenizer_checks.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  auto [config, model] = TextAndRest(AsText(data, size));
  const std::string_view text = TakePart(config, '\0');
  const auto tokenizer = Tokenizer::FromSentencePiece(model, config);
  if (tokenizer.ok()) CheckTokenizer(**tokenizer, text);
  return 0;
}
