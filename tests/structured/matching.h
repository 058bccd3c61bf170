// Whole texts against a grammar or a regular language.
#ifndef MEMGATE_TESTS_STRUCTURED_MATCHING_H_
#define MEMGATE_TESTS_STRUCTURED_MATCHING_H_

#include <memory>
#include <string_view>

#include "engine/structured/automaton.h"
#include "engine/structured/compile_budget.h"
#include "engine/structured/grammar.h"
#include "engine/structured/text_language.h"

namespace memgate {

// Decides texts; keeps what it learns, like the automaton of a server.
class Matcher {
 public:
  explicit Matcher(Grammar grammar)
      : automaton_(std::make_shared<const Grammar>(std::move(grammar)), kMaxBytes, kSteps) {}

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
  static constexpr int64_t kMaxBytes = int64_t{64} << 20;

  Automaton::State After(std::string_view text) {
    constexpr size_t kPart = 1024;
    Automaton::State state = automaton_.start();
    for (size_t begin = 0; begin < text.size(); begin += kPart) {
      automaton_.Allow(kSteps);
      state = automaton_.Advance(state, text.substr(begin, kPart));
      if (automaton_.bytes() > kMaxBytes / 2) automaton_.Compact({&state});
    }
    return state;
  }

  Automaton automaton_;
};

// A language by itself.
struct OneLanguage {
  bool Matches(std::string_view text) { return languages.Matches(expression, text); }

  CompileBudget budget;
  TextLanguages languages{budget};
  TextLanguages::Expression expression = languages.Nothing();
};

}  // namespace memgate

#endif  // MEMGATE_TESTS_STRUCTURED_MATCHING_H_
