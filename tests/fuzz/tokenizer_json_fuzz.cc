// Input: a tokenizer.json, byte 0, a text and, behind another byte 0, a tokenizer_config.json. Every id must
// be in the vocabulary, what is decoded is UTF-8; nothing may crash or hang.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/tokenizer_checks.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  std::string_view rest = AsText(data, size);
  const std::string_view file = TakePart(rest, '\0');
  const std::string_view text = rest.empty() ? "a b\n" : TakePart(rest, '\0');
  const auto tokenizer = Tokenizer::FromJson(file, rest);
  if (tokenizer.ok()) CheckTokenizer(**tokenizer, text);
  return 0;
}
