// Regular languages over Unicode characters, with intersection and complement.
#ifndef MEMGATE_ENGINE_STRUCTURED_TEXT_LANGUAGE_H_
#define MEMGATE_ENGINE_STRUCTURED_TEXT_LANGUAGE_H_

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/types/span.h"
#include "engine/structured/code_points.h"
#include "engine/structured/compile_budget.h"

namespace memgate {

// Expressions, kept once each: equal ones are equal numbers. Read as states, they are deterministic automata
// that share what is equal in them: what may follow once a text has been read is an expression again, the
// derivative (Brzozowski 1964; Owens, Reppy, Turon 2009).
//
// Expressions belong to the object. Work and memory are those of the budget: once it is spent nothing new is
// made, and what is returned means nothing. Not thread-safe.
class TextLanguages {
 public:
  using Expression = int32_t;

  // Texts that begin with one of `characters` and go on with a text of `rest`.
  struct Edge {
    CodePointSet characters;
    Expression rest = 0;
  };

  // REQUIRES: the budget outlives the object and is not spent yet.
  explicit TextLanguages(CompileBudget& budget);

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

  // At most `digits` decimal digits whose number is a multiple of `divisor`, or none. REQUIRES: divisor > 0.
  Expression MultipleOf(int32_t divisor, int64_t digits) { return Residue(divisor, 0, digits); }
  // How many remainders have to be told apart for that.
  int64_t ResidueCount(int32_t divisor);

  // Whether the text of length 0 is in it.
  bool HasEmpty(Expression e) const { return has_empty_[e]; }
  // Its other texts. The sets are disjoint; no text begins with any other character. Valid until the next
  // call.
  const std::vector<Edge>& EdgesOf(Expression e);
  // REQUIRES: UTF-8.
  bool Matches(Expression e, std::string_view text);

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
  //   kResidue    divisor, the remainder of the number that its digits continue, how many digits may follow
  using Key = std::vector<int64_t>;

  Kind KindOf(Expression e) const { return static_cast<Kind>(keys_[e][0]); }
  Expression Part(Expression e, size_t i) const { return static_cast<Expression>(keys_[e][i + 1]); }
  Expression Intern(Key key, bool has_empty);
  Expression Combine(Kind kind, std::vector<Expression> parts);
  Expression Residue(int64_t divisor, int64_t remainder, int64_t digits);
  const std::vector<int32_t>& ResidueClasses(int64_t divisor);
  // What may follow `character`; `known` are those of the same character that were found already.
  using Derivatives = absl::flat_hash_map<Expression, Expression>;
  Expression Derivative(Expression e, char32_t character, Derivatives& known);
  Expression DerivativeOfParts(Expression e, char32_t character, Derivatives& known);
  void SplitClassesBy(const CodePointSet& set, std::vector<CodePointSet>& classes);
  // Splits `classes` so that all characters of one have the same derivative.
  void SplitClasses(Expression e, std::vector<CodePointSet>& classes, absl::flat_hash_set<Expression>& seen);
  std::vector<Edge> ComputeEdges(Expression e);

  CompileBudget& budget_;
  std::vector<Key> keys_;
  std::vector<bool> has_empty_;
  std::vector<CodePointSet> sets_;
  absl::flat_hash_map<absl::Span<const int64_t>, Expression> numbers_;  // keys point into keys_' vectors
  absl::flat_hash_map<CodePointSet, int64_t> set_numbers_;
  absl::flat_hash_map<Expression, std::vector<Edge>> edges_;  // once they were asked for
  // Of each divisor: for each remainder the least one that the same digits make a multiple.
  absl::flat_hash_map<int64_t, std::vector<int32_t>> residue_classes_;
  Expression any_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_TEXT_LANGUAGE_H_
