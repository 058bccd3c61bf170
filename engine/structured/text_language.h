// Regular languages over Unicode characters, with intersection and complement.
#ifndef MEMGATE_ENGINE_STRUCTURED_TEXT_LANGUAGE_H_
#define MEMGATE_ENGINE_STRUCTURED_TEXT_LANGUAGE_H_

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/structured/code_points.h"

namespace memgate {

// A deterministic automaton. State 0 is the start.
struct TextAutomaton {
  struct Edge {
    CodePointSet characters;
    int32_t target = 0;
  };
  struct State {
    bool accepts = false;
    std::vector<Edge> edges;  // their sets are disjoint; any other character leads nowhere
  };
  std::vector<State> states;

  // REQUIRES: `text` is UTF-8.
  bool Matches(std::string_view text) const;
};

// Expressions, kept once each, and their automata. A language's automaton has a state for each derivative of
// its expression (Brzozowski 1964; Owens, Reppy, Turon 2009): what may follow once a text has been read.
//
// Expressions are numbers that belong to the object. Work and memory are bounded: past kMaxExpressions
// nothing new is made, what is returned means nothing, and ToAutomaton fails. Not thread-safe.
class TextLanguages {
 public:
  using Expression = int32_t;
  static constexpr int kMaxExpressions = 1 << 17;
  static constexpr int kMaxStates = 1 << 14;

  TextLanguages();

  Expression Nothing() const { return kNothing; }  // no text
  Expression Empty() const { return kEmpty; }      // the text of length 0
  Expression Any() const { return any_; }          // every text
  Expression Character(const CodePointSet& set);
  // REQUIRES: UTF-8.
  Expression Literal(std::string_view text);
  Expression Join(Expression a, Expression b);
  Expression Either(Expression a, Expression b) { return Combine(Kind::kEither, {a, b}); }
  Expression Either(std::vector<Expression> parts) { return Combine(Kind::kEither, std::move(parts)); }
  Expression Both(Expression a, Expression b) { return Combine(Kind::kBoth, {a, b}); }
  Expression Not(Expression a);
  // `max` < 0 = any number.
  Expression Repeat(Expression a, int64_t min, int64_t max);

  // Decimal digits whose number is a multiple of `divisor`, and the empty text. REQUIRES: divisor > 0.
  Expression MultipleOf(int32_t divisor) { return Residue(divisor, 0); }

  // INVALID_ARGUMENT if it has more than kMaxStates states, or more expressions were needed than there may
  // be.
  absl::StatusOr<TextAutomaton> ToAutomaton(Expression expression);

 private:
  enum class Kind : int32_t {
    kNothing,
    kEmpty,
    kCharacter,
    kConcat,
    kEither,
    kBoth,
    kNot,
    kRepeat,
    kResidue
  };
  static constexpr Expression kNothing = 0;
  static constexpr Expression kEmpty = 1;

  // What an expression is made of, as one row of numbers: its kind, then
  //   kCharacter  index in sets_
  //   kConcat     a, b
  //   kEither, kBoth  parts, ascending
  //   kNot        a
  //   kRepeat     a, min, max
  //   kResidue    divisor, and the remainder of the number that its digits continue
  using Key = std::vector<int64_t>;

  Kind KindOf(Expression e) const { return static_cast<Kind>(keys_[e][0]); }
  Expression Part(Expression e, size_t i) const { return static_cast<Expression>(keys_[e][i + 1]); }
  Expression Intern(Key key, bool nullable);
  Expression Combine(Kind kind, std::vector<Expression> parts);
  Expression Residue(int64_t divisor, int64_t remainder) {
    return Intern({static_cast<int64_t>(Kind::kResidue), divisor, remainder}, remainder == 0);
  }
  // What may follow `character`; `known` are those of the same character that were found already.
  using Derivatives = absl::flat_hash_map<Expression, Expression>;
  Expression Derivative(Expression e, char32_t character, Derivatives& known);
  Expression DerivativeOfParts(Expression e, char32_t character, Derivatives& known);
  void SplitClassesBy(const CodePointSet& set, std::vector<CodePointSet>& classes);
  // Splits `classes` so that all characters of one have the same derivative.
  void SplitClasses(Expression e, std::vector<CodePointSet>& classes,
                    absl::flat_hash_map<Expression, bool>& seen);
  std::vector<TextAutomaton::Edge> EdgesOf(Expression e, absl::flat_hash_map<Expression, int32_t>& states,
                                           std::vector<Expression>& work);

  std::vector<Key> keys_;
  std::vector<bool> nullable_;  // whether the text of length 0 is in it
  std::vector<CodePointSet> sets_;
  absl::flat_hash_map<absl::Span<const int64_t>, Expression> numbers_;  // keys point into keys_' vectors
  absl::flat_hash_map<CodePointSet, int64_t> set_numbers_;
  int64_t work_ = 0;  // characters and expressions looked at
  bool full_ = false;
  Expression any_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_TEXT_LANGUAGE_H_
