// Input: a grammar. Reading it must end; so must a walk through it, which can always go on or end, and every
// text that matches is UTF-8.
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "engine/structured/gbnf.h"
#include "engine/text/unicode.h"
#include "tests/fuzz/grammar_walk.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  auto grammar = ParseGbnf(AsText(data, size));
  if (!grammar.ok()) return 0;
  WalkGrammar(*std::move(grammar), static_cast<uint32_t>(size),
              [](const std::string& text) { Require(CheckUtf8(text).ok()); });
  return 0;
}
