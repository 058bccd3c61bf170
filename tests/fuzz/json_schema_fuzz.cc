// Input: a JSON schema. Compiling it must end; so must a walk through its grammar, which can always go on or
// end, and every text that matches is JSON.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "engine/structured/json_schema.h"
#include "tests/fuzz/grammar_walk.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  auto grammar = CompileJsonSchema(AsText(data, size));
  if (!grammar.ok()) return 0;
  WalkGrammar(*std::move(grammar), static_cast<uint32_t>(size),
              [](const std::string& text) { Require(nlohmann::json::accept(text)); });
  return 0;
}
