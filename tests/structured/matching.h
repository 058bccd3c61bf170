// Whole texts against a grammar.
#ifndef MEMGATE_TESTS_STRUCTURED_MATCHING_H_
#define MEMGATE_TESTS_STRUCTURED_MATCHING_H_

#include <memory>
#include <string_view>

#include "engine/structured/automaton.h"
#include "engine/structured/grammar.h"

namespace memgate {

// Decides texts; keeps what it learns, like the automaton of a server.
class Matcher {
 public:
  explicit Matcher(Grammar grammar)
      : automaton_(std::make_shared<const Grammar>(std::move(grammar)), int64_t{64} << 20, kSteps) {}

  // Whether the whole text matches.
  bool Matches(std::string_view text) {
    const Automaton::State state = After(text);
    return state != Automaton::kDead && automaton_.Accepts(state);
  }
  // Whether some text that begins so matches.
  bool Begins(std::string_view text) { return After(text) != Automaton::kDead; }

  Automaton& automaton() { return automaton_; }

 private:
  static constexpr int64_t kSteps = 100'000'000;

  Automaton::State After(std::string_view text) {
    automaton_.Allow(kSteps);
    return automaton_.Advance(automaton_.start(), text);
  }

  Automaton automaton_;
};

}  // namespace memgate

#endif  // MEMGATE_TESTS_STRUCTURED_MATCHING_H_
