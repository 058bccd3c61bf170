// Input: u32 (little-endian), that many bytes of a text, and a tokenizer.model. Every id must be in the
// vocabulary; nothing may crash or hang.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/tokenizer_checks.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  const auto [text, model] = TextAndRest({reinterpret_cast<const char*>(data), size});
  const auto tokenizer = Tokenizer::FromSentencePiece(model, "");
  if (tokenizer.ok()) CheckTokenizer(**tokenizer, text);
  return 0;
}
