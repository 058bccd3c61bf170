// Input: a tokenizer.json, byte 0, a text. Every id must be in the vocabulary; nothing may crash or hang.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/tokenizer_checks.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t split = input.find('\0');
  const std::string_view text = split == std::string_view::npos ? "a b\n" : input.substr(split + 1);
  const auto tokenizer = Tokenizer::FromJson(input.substr(0, split), "");
  if (tokenizer.ok()) CheckTokenizer(**tokenizer, text);
  return 0;
}
