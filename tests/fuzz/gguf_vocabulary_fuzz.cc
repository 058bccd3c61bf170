// Input: lines. The first is a text; "model", "pre", "charsmap", "chat_template", "bos", "eos", "eot",
// "unknown", "padding", "add_bos", "add_eos", "add_space_prefix" and "remove_extra_whitespaces" with a value
// set a field of the vocabulary; "token TYPE SCORE PIECE" and "merge LEFT RIGHT" add to it. Every id must be
// in the vocabulary, what is decoded is UTF-8; nothing may crash or hang.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "engine/text/gguf_vocabulary.h"
#include "tests/fuzz/tokenizer_checks.h"

namespace memgate {
namespace {

int32_t Number(std::string_view text) {
  return static_cast<int32_t>(std::strtol(std::string(text).c_str(), nullptr, 10));
}

GgufVocabulary ReadVocabulary(std::string_view lines) {
  GgufVocabulary vocabulary;
  const std::map<std::string_view, std::function<void(std::string_view)>> setters = {
      {"model", [&](std::string_view value) { vocabulary.model = value; }},
      {"pre", [&](std::string_view value) { vocabulary.pre = value; }},
      {"charsmap", [&](std::string_view value) { vocabulary.precompiled_charsmap = value; }},
      {"chat_template", [&](std::string_view value) { vocabulary.chat_templates["default"] = value; }},
      {"bos", [&](std::string_view value) { vocabulary.bos_id = Number(value); }},
      {"eos", [&](std::string_view value) { vocabulary.eos_id = Number(value); }},
      {"eot", [&](std::string_view value) { vocabulary.eot_id = Number(value); }},
      {"unknown", [&](std::string_view value) { vocabulary.unknown_id = Number(value); }},
      {"padding", [&](std::string_view value) { vocabulary.padding_id = Number(value); }},
      {"add_bos", [&](std::string_view value) { vocabulary.add_bos = value == "1"; }},
      {"add_eos", [&](std::string_view value) { vocabulary.add_eos = value == "1"; }},
      {"add_space_prefix", [&](std::string_view value) { vocabulary.add_space_prefix = value == "1"; }},
      {"remove_extra_whitespaces",
       [&](std::string_view value) { vocabulary.remove_extra_whitespaces = value == "1"; }},
      {"merge", [&](std::string_view value) { vocabulary.merges.emplace_back(value); }},
      {"token", [&](std::string_view value) {
         vocabulary.types.push_back(Number(TakePart(value, ' ')));
         vocabulary.scores.push_back(std::strtof(std::string(TakePart(value, ' ')).c_str(), nullptr));
         vocabulary.tokens.emplace_back(value);
       }}};
  while (!lines.empty()) {
    std::string_view value = TakePart(lines, '\n');
    const auto setter = setters.find(TakePart(value, ' '));
    if (setter != setters.end()) setter->second(value);
  }
  return vocabulary;
}

}  // namespace
}  // namespace memgate

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  std::string_view input = AsText(data, size);
  const std::string_view text = TakePart(input, '\n');
  const auto tokenizer = Tokenizer::FromGguf(ReadVocabulary(input));
  if (tokenizer.ok()) CheckTokenizer(**tokenizer, text);
  return 0;
}
