// A walk through an automaton that checks what is promised of every grammar.
#ifndef MEMGATE_TESTS_FUZZ_GRAMMAR_WALK_H_
#define MEMGATE_TESTS_FUZZ_GRAMMAR_WALK_H_

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/structured/automaton.h"
#include "engine/structured/grammar.h"

namespace memgate {

// Reads random bytes that are allowed. Aborts if neither a byte may follow nor the text may end. `matched`
// sees every text on the way that matches as a whole.
inline void WalkGrammar(Grammar grammar, uint32_t seed,
                        const std::function<void(const std::string&)>& matched) {
  constexpr int kBytes = 200;
  constexpr int64_t kSteps = 50'000;
  Automaton automaton(std::make_shared<const Grammar>(std::move(grammar)), int64_t{4} << 20, kSteps);
  if (automaton.exhausted()) return;
  std::mt19937 random(seed);
  Automaton::State state = automaton.start();
  std::string text;
  for (int i = 0; i < kBytes; ++i) {
    automaton.Allow(kSteps);
    const Automaton::Row& row = automaton.RowOf(state);
    if (automaton.exhausted()) return;
    if (automaton.Accepts(state)) matched(text);
    std::vector<uint8_t> bytes;
    for (int byte = 0; byte < 256; ++byte) {
      if (row.Next(static_cast<uint8_t>(byte)) != Automaton::kDead)
        bytes.push_back(static_cast<uint8_t>(byte));
    }
    if (bytes.empty()) {
      if (!automaton.Accepts(state)) std::abort();
      return;
    }
    const uint8_t byte = bytes[random() % bytes.size()];
    state = row.Next(byte);
    text += static_cast<char>(byte);
    if (i % 16 == 0) automaton.Compact(std::vector<Automaton::State*>{&state});
  }
}

}  // namespace memgate

#endif  // MEMGATE_TESTS_FUZZ_GRAMMAR_WALK_H_
